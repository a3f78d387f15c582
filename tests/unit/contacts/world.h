/* The small world of the on-loop tests: a loop, a raw server, the adapter under test, and calls that remember
 * what became of them. */
#ifndef SIGNUP_TEST_WORLD_H
#define SIGNUP_TEST_WORLD_H

#include "raw_server.h"
#include "signup/contacts/contacts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define WORLD_KEY "trk_0123456789abcdefghijABCDEFGHIJ01"
#define WORLD_BODY "{\"phone_number\":\"+14155550100\",\"list_number\":\"+14155550199\"}"
#define WORLD_DEADLINE_US (10 * US_PER_S)

struct test_call {
    struct upsert_call call;
    struct arena arena;
    struct signup signup;
    int done; /* how often */
    bool inside_submit;
};

struct world {
    uv_loop_t loop;
    struct raw_server server;
    struct contacts *contacts;
    bool closed;
    uv_timer_t ticker; /* bounds each turn of the loop, so that deadlines are looked at */
    int pokes;
};

RAW_UNUSED static void world_tick(uv_timer_t *timer)
{
    (void)timer;
}

static void world_poke(void *ctx)
{
    ((struct world *)ctx)->pokes++;
}

static struct contacts_config world_config(struct world *world, char *url, size_t size)
{
    snprintf(url, size, "http://127.0.0.1:%d/api/v2", world->server.port);
    return (struct contacts_config){.base_url = url,
                                    .key = WORLD_KEY,
                                    .timeout_ms = 5000,
                                    .connect_timeout_ms = 2000,
                                    .max_in_flight = 8,
                                    .poke = world_poke,
                                    .poke_ctx = world};
}

static void world_open(struct world *world)
{
    memset(world, 0, sizeof *world);
    uv_loop_init(&world->loop);
    uv_timer_init(&world->loop, &world->ticker);
    uv_timer_start(&world->ticker, world_tick, 5, 5);
    raw_server_start(&world->server, &world->loop);
}

static void world_connect(struct world *world, const struct contacts_config *config)
{
    struct contacts_error error;
    world->contacts = contacts_create(&world->loop, config, &error);
    if (!world->contacts)
        fail_msg("contacts_create: %s", error.text);
}

/* The usual one: default settings against the raw server. */
RAW_UNUSED static void world_begin(struct world *world,
                                   void (*answer)(struct raw_server *, struct raw_conn *))
{
    char url[64];
    world_open(world);
    world->server.answer = answer;
    struct contacts_config config = world_config(world, url, sizeof url);
    world_connect(world, &config);
}

/* Turns the loop until `*count` has reached `want`; fails at the deadline. */
static void world_until(struct world *world, const int *count, int want)
{
    mono_us_t end = mono_add(clock_mono_now(), WORLD_DEADLINE_US);
    while (*count < want) {
        if (mono_reached(clock_mono_now(), end))
            fail_msg("waited for %d, have %d", want, *count);
        uv_run(&world->loop, UV_RUN_ONCE);
    }
}

static void world_on_closed(void *ctx)
{
    ((struct world *)ctx)->closed = true;
}

/* Closes everything; the loop must be empty afterwards: no handle is left behind. */
static void world_end(struct world *world)
{
    if (world->contacts)
        contacts_close(world->contacts, world_on_closed, world);
    raw_server_stop(&world->server);
    uv_close((uv_handle_t *)&world->ticker, NULL);
    uv_run(&world->loop, UV_RUN_DEFAULT);
    assert_true(world->closed || !world->contacts);
    assert_int_equal(uv_loop_close(&world->loop), 0);
}

static void call_done(struct upsert_call *call)
{
    struct test_call *test = call->owner;
    assert_false(test->inside_submit);
    test->done++;
}

static void call_start_by(struct world *world, struct test_call *test, mono_us_t answer_by)
{
    memset(test, 0, sizeof *test);
    arena_init(&test->arena, 1 << 20);
    test->call = (struct upsert_call){.body = SLICE_LITERAL(WORLD_BODY),
                                      .answer_by = answer_by,
                                      .arena = &test->arena,
                                      .signup = &test->signup,
                                      .done = call_done,
                                      .owner = test};
    test->inside_submit = true;
    assert_int_equal(contacts_functions()->upsert(world->contacts, &test->call), PORT_OK);
    test->inside_submit = false;
}

RAW_UNUSED static void call_start(struct world *world, struct test_call *test)
{
    call_start_by(world, test, (mono_us_t){0});
}

RAW_UNUSED static void call_end(struct test_call *test)
{
    assert_int_equal(test->done, 1);
    arena_fini(&test->arena);
}

/* One call from start to outcome; call_end() is the caller's. */
RAW_UNUSED static void call_run(struct world *world, struct test_call *test)
{
    call_start(world, test);
    world_until(world, &test->done, 1);
}

RAW_UNUSED static struct contacts_stats world_stats(const struct world *world)
{
    struct contacts_stats stats;
    contacts_read_stats(world->contacts, &stats);
    return stats;
}

#endif
