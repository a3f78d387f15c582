/* G7: a request must not leave when its lease would not last, however long the process stood still after it was decided on. What stands still
 * here is the loop: it is simply not turned. */
#include "world.h"

#define TIMEOUT_MS 1500 /* enough for a call on a busy machine */

static void answer_ok(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    raw_answer(conn, 201, "", RAW_OK_BODY("c-1"));
}

static void begin(struct world *world)
{
    char url[64];
    world_open(world);
    world->server.answer = answer_ok;
    struct contacts_config config = world_config(world, url, sizeof url);
    config.timeout_ms = TIMEOUT_MS;
    world_connect(world, &config);
}

static void stand_still(mono_us_t until)
{
    while (!mono_reached(clock_mono_now(), until))
        uv_sleep(1);
}

static mono_us_t timeout_from(mono_us_t since)
{
    return mono_add(since, TIMEOUT_MS * US_PER_MS);
}

static void assert_lapsed(struct world *world, struct test_call *test)
{
    world_until(world, &test->done, 1);
    assert_true(test->call.lapsed);
    assert_false(test->call.outcome.maybe_sent);
    assert_string_equal(test->call.outcome.code, "lapsed");
    assert_non_null(strstr(test->call.outcome.message, "nothing was sent"));
    call_end(test);
}

static void assert_accepted(struct world *world, struct test_call *test)
{
    world_until(world, &test->done, 1);
    assert_false(test->call.lapsed);
    assert_int_equal(test->call.outcome.cls, OUTCOME_ACCEPTED);
    call_end(test);
}

/* It stood still before the request was taken. */
static void a_lease_that_will_not_last_is_not_used(void **state)
{
    struct world world;
    struct test_call late, enough, whenever;
    (void)state;
    begin(&world);
    call_start_by(&world, &late, mono_add(clock_mono_now(), TIMEOUT_MS * US_PER_MS / 2));
    assert_lapsed(&world, &late);
    assert_int_equal(world.server.requests, 0);
    assert_int_equal(world_stats(&world).lapsed, 1);
    call_start_by(&world, &enough, mono_add(clock_mono_now(), 100 * TIMEOUT_MS * US_PER_MS));
    assert_accepted(&world, &enough);
    call_start_by(&world, &whenever, (mono_us_t){0});
    assert_accepted(&world, &whenever);
    assert_int_equal(world.server.requests, 2);
    world_end(&world);
}

/* It stood still between taking the request and sending it: on a connection that is open already, and on a new one. libcurl's own timeout does
 * not help, it counts from when libcurl first looks at the transfer. */
static void what_has_waited_beyond_its_timeout_does_not_leave(void **state)
{
    (void)state;
    for (int connections = 0; connections <= 1; connections++) {
        struct world world;
        struct test_call first, late, next;
        begin(&world);
        if (connections) {
            call_start_by(&world, &first, (mono_us_t){0});
            assert_accepted(&world, &first);
        }
        mono_us_t began = clock_mono_now();
        call_start_by(&world, &late, mono_add(began, 2 * TIMEOUT_MS * US_PER_MS));
        stand_still(timeout_from(clock_mono_now()));
        assert_lapsed(&world, &late);
        assert_int_equal(world.server.requests, connections);
        call_start_by(&world, &next, (mono_us_t){0});
        assert_accepted(&world, &next);
        assert_int_equal(world.server.requests, connections + 1);
        world_end(&world);
    }
}

/* A request that waits here for a free connection is looked at when its turn comes. */
static void waiting_in_line_uses_the_lease_up(void **state)
{
    struct world world;
    struct test_call first, second;
    char url[64];
    (void)state;
    world_open(&world);
    world.server.answer = answer_ok;
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.max_in_flight = 1;
    config.timeout_ms = TIMEOUT_MS;
    world_connect(&world, &config);
    call_start_by(&world, &first, (mono_us_t){0});
    call_start_by(&world, &second, timeout_from(clock_mono_now()));
    stand_still(mono_add(clock_mono_now(), US_PER_MS));
    world_until(&world, &first.done, 1);
    call_end(&first);
    assert_lapsed(&world, &second);
    world_end(&world);
}

static void read_done(struct read_call *call)
{
    ++*(int *)call->owner;
}

static void validate_done(struct validate_call *call)
{
    ++*(int *)call->owner;
}

static void reads_and_lookups_lapse_likewise(void **state)
{
    struct world world;
    struct arena arena;
    char url[64];
    int done = 0;
    (void)state;
    world_open(&world);
    world.server.answer = answer_ok;
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.validation_url = url;
    world_connect(&world, &config);
    arena_init(&arena, 1 << 16);
    struct read_call read = {.phone_number = SLICE_LITERAL("+14155550100"),
                             .list_number = SLICE_LITERAL("+14155550199"),
                             .answer_by = clock_mono_now(),
                             .arena = &arena,
                             .done = read_done,
                             .owner = &done};
    struct validate_call lookup = {.phone_number = SLICE_LITERAL("+14155550100"),
                                   .answer_by = clock_mono_now(),
                                   .arena = &arena,
                                   .done = validate_done,
                                   .owner = &done};
    assert_int_equal(contacts_functions()->read(world.contacts, &read), PORT_OK);
    assert_int_equal(contacts_functions()->validate(world.contacts, &lookup), PORT_OK);
    world_until(&world, &done, 2);
    assert_true(read.lapsed && lookup.lapsed);
    assert_false(lookup.outcome.maybe_sent);
    assert_int_equal(world.server.requests, 0);
    assert_int_equal(world_stats(&world).lapsed, 2);
    arena_fini(&arena);
    world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lease_that_will_not_last_is_not_used),
        cmocka_unit_test(what_has_waited_beyond_its_timeout_does_not_leave),
        cmocka_unit_test(waiting_in_line_uses_the_lease_up),
        cmocka_unit_test(reads_and_lookups_lapse_likewise),
    };
    return cmocka_run_group_tests_name("contacts: lapse", tests, NULL, NULL);
}
