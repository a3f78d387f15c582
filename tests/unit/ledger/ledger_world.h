/* What the ledger's tests share: a loop, one or two ledgers on a private PostgreSQL, events, and operations
 * that wait for their answer. */
#ifndef SIGNUP_TESTS_LEDGER_WORLD_H
#define SIGNUP_TESTS_LEDGER_WORLD_H

#include "pg_cluster.h"
#include "signup/ledger/ledger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <uv.h>

#define ANSWER_MS 20000

struct peer {
    struct ledger *ledger;
    enum ledger_condition condition;
    char why[512];
    int changes;
    int pokes;
    bool closed;
};

struct world {
    struct cluster cluster;
    uv_loop_t loop;
};

static struct world world;

static inline void on_world_timer(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

/* Turns the loop until `*flag` reaches `want`; fails the test when that takes too long. */
static inline void world_wait(const bool *flag, int ms)
{
    bool late = false;
    uv_timer_t timer;
    uv_timer_init(&world.loop, &timer);
    timer.data = &late;
    uv_timer_start(&timer, on_world_timer, (uint64_t)ms, 0);
    while (!*flag && !late)
        uv_run(&world.loop, UV_RUN_ONCE);
    bool in_time = *flag;
    uv_close((uv_handle_t *)&timer, NULL);
    while (uv_is_active((uv_handle_t *)&timer))
        uv_run(&world.loop, UV_RUN_NOWAIT);
    uv_run(&world.loop, UV_RUN_NOWAIT);
    assert_true(in_time);
}

static inline void on_peer_state(void *ctx, enum ledger_condition condition, const char *why, wall_us_t since)
{
    struct peer *peer = ctx;
    assert_true(since.us > 0);
    peer->condition = condition;
    snprintf(peer->why, sizeof peer->why, "%s", why);
    peer->changes++;
}

static inline void on_peer_poke(void *ctx)
{
    ((struct peer *)ctx)->pokes++;
}

static inline void peer_wait(struct peer *peer, enum ledger_condition condition, int ms)
{
    double end = cluster_now() + ms / 1000.0;
    while (peer->condition != condition && cluster_now() < end) {
        uv_run(&world.loop, UV_RUN_NOWAIT);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(peer->condition, condition);
}

static inline void peer_open_with(struct peer *peer, struct ledger_config config)
{
    char error[LEDGER_ERROR_BYTES];
    memset(peer, 0, sizeof *peer);
    peer->condition = LEDGER_CONDITION_AWAY;
    config.on_state = on_peer_state;
    config.poke = on_peer_poke;
    config.ctx = peer;
    peer->ledger = ledger_create(&world.loop, &config, error);
    assert_non_null(peer->ledger);
}

static inline void peer_open(struct peer *peer)
{
    peer_open_with(peer,
                   (struct ledger_config){.dsn = world.cluster.dsn, .schema = "signup", .deadline_ms = 5000});
    peer_wait(peer, LEDGER_CONDITION_UP, ANSWER_MS);
}

static inline void on_peer_closed(void *ctx)
{
    ((struct peer *)ctx)->closed = true;
}

static inline void peer_close(struct peer *peer)
{
    ledger_close(peer->ledger, on_peer_closed, peer);
    world_wait(&peer->closed, ANSWER_MS);
    peer->ledger = NULL;
}

static inline void world_start(void)
{
    cluster_start(&world.cluster);
    assert_int_equal(uv_loop_init(&world.loop), 0);
    char error[LEDGER_ERROR_BYTES];
    struct ledger_config config = {.dsn = world.cluster.dsn, .schema = "signup"};
    assert_int_equal(ledger_migrate(&config, NULL, NULL, error), LEDGER_VERDICT_WELL);
}

/* Every handle is closed: nothing of the ledger is left on the loop. A test that failed may have left some:
 * then it ends all the same. */
static inline void world_stop(void)
{
    for (double end = cluster_now() + 5; uv_run(&world.loop, UV_RUN_NOWAIT) && cluster_now() < end;)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    int left = uv_loop_close(&world.loop);
    cluster_destroy(&world.cluster);
    assert_int_equal(left, 0);
}

static inline int world_setup(void **state)
{
    (void)state;
    world_start();
    return 0;
}

static inline int world_teardown(void **state)
{
    (void)state;
    world_stop();
    return 0;
}

static inline void world_clear(void)
{
    cluster_ask(&world.cluster,
                "TRUNCATE signup.event, signup.warning, signup.attempt, signup.phone_validation,"
                " signup.validation_day, signup.outcome, signup.erasure, signup.forgotten_id");
}

/* ------------------------------------------------------------------ events */

struct event {
    char id[256];
    char phone[32];
    char list[32];
    struct record record;
    struct signup signup;
    struct claim_token token;
    struct claim_item claim;
    struct record_item recording;
    struct outcome outcome;
    struct upsert_reply reply;
};

static inline struct claim_token token_of(int number)
{
    struct claim_token token = {{0}};
    memcpy(token.bytes, &number, sizeof number);
    token.bytes[15] = 1;
    return token;
}

/* An event at signups:0:offset, of a contact, with a token and a digest. */
static inline void event_init(struct event *event, const char *id, int64_t offset, const char *phone,
                              int token)
{
    memset(event, 0, sizeof *event);
    snprintf(event->id, sizeof event->id, "%s", id);
    event->record = (struct record){.topic = SLICE_LITERAL("signups"),
                                    .offset = offset,
                                    .timestamp_ms = 1742049000123,
                                    .key = SLICE_LITERAL("key"),
                                    .value = SLICE_LITERAL("{\"phone_number\":\"+12025550100\"}")};
    event->signup.event_id = slice_from_str(event->id);
    if (phone) {
        snprintf(event->phone, sizeof event->phone, "%s", phone);
        snprintf(event->list, sizeof event->list, "+18885550000");
        event->signup.phone_number = slice_from_str(event->phone);
        event->signup.list_number = slice_from_str(event->list);
    }
    event->signup.schema_id = -1;
    memset(event->signup.digest, 7, sizeof event->signup.digest);
    event->token = token_of(token);
}

struct answer {
    bool done;
    int calls;
    enum ledger_result result;
};

static inline void answered(struct answer *answer, enum ledger_result result)
{
    answer->done = true;
    answer->calls++;
    answer->result = result;
}

static inline void on_claimed(struct claim_op *op, enum ledger_result result)
{
    answered(op->owner, result);
}

static inline void on_recorded(struct record_op *op, enum ledger_result result)
{
    answered(op->owner, result);
}

static inline void on_extended(struct lease_op *op, enum ledger_result result)
{
    answered(op->owner, result);
}

static inline void claim_fill(struct event *event)
{
    event->claim = (struct claim_item){.event_id = event->signup.event_id,
                                       .record = &event->record,
                                       .signup = &event->signup,
                                       .token = event->token,
                                       .answer = CLAIM_POISON};
}

/* Claims one event for a minute. */
static inline enum claim_answer claim_for(struct peer *peer, struct event *event, int64_t lease_us)
{
    claim_fill(event);
    struct claim_item *items[] = {&event->claim};
    struct answer answer = {0};
    struct claim_op op = {
        .items = items, .count = 1, .lease_us = lease_us, .done = on_claimed, .owner = &answer};
    assert_int_equal(ledger_port()->claim(peer->ledger, &op), PORT_OK);
    assert_false(answer.done); /* never inside submit */
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(answer.calls, 1);
    return event->claim.answer;
}

static inline enum claim_answer claim(struct peer *peer, struct event *event)
{
    return claim_for(peer, event, 60 * US_PER_S);
}

static inline void record_fill(struct event *event, enum record_state state)
{
    event->recording = (struct record_item){.event_id = event->signup.event_id,
                                            .token = event->token,
                                            .state = state,
                                            .record = &event->record,
                                            .signup = &event->signup,
                                            .attempts = 1,
                                            .answer = RECORD_POISON};
    if (state == RECORD_ACCEPTED) {
        outcome_set(&event->outcome, OUTCOME_ACCEPTED, 201, "", "", false);
        event->reply = (struct upsert_reply){.contact_id = SLICE_LITERAL("c-1"),
                                             .list_contact_id = SLICE_LITERAL("lc-1"),
                                             .is_new_contact = true,
                                             .journeys_enrolled = 2};
        event->recording.reply = &event->reply;
        event->recording.request = SLICE_LITERAL("{\"phone_number\":\"+12025550100\"}");
        event->recording.outcome = &event->outcome;
    } else if (state != RECORD_RELEASED) {
        outcome_set(&event->outcome, OUTCOME_REJECTED, 400, "not_sendable", "the carrier says no", false);
        event->recording.outcome = &event->outcome;
        event->recording.due_in_us = state == RECORD_PARKED ? 60 * US_PER_S : 0;
    }
}

static inline enum record_answer record_filled(struct peer *peer, struct event *event)
{
    struct record_item *items[] = {&event->recording};
    struct answer answer = {0};
    struct record_op op = {.items = items, .count = 1, .done = on_recorded, .owner = &answer};
    assert_int_equal(ledger_port()->record(peer->ledger, &op), PORT_OK);
    assert_false(answer.done);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(answer.calls, 1);
    return event->recording.answer;
}

static inline enum record_answer record(struct peer *peer, struct event *event, enum record_state state)
{
    record_fill(event, state);
    return record_filled(peer, event);
}

/* ------------------------------------------------------------------ parked events */

static inline void on_due_taken(struct due_take_op *op, enum ledger_result result)
{
    answered(op->owner, result);
}

static inline void due_fill(struct due_take_op *op, struct arena *arena, size_t limit, int token,
                            struct answer *answer)
{
    *answer = (struct answer){0};
    *op = (struct due_take_op){.limit = limit,
                               .lease_us = 60 * US_PER_S,
                               .token = token_of(token),
                               .arena = arena,
                               .done = on_due_taken,
                               .owner = answer};
}

/* Takes up to `limit` parked events under a lease of a minute. */
static inline size_t due_take(struct peer *peer, struct due_take_op *op, struct arena *arena, size_t limit,
                              int token)
{
    struct answer answer;
    due_fill(op, arena, limit, token, &answer);
    assert_int_equal(ledger_port()->due_take(peer->ledger, op), PORT_OK);
    assert_false(answer.done);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(answer.calls, 1);
    return op->count;
}

static inline enum record_answer record_taken_up(struct peer *peer, struct event *event,
                                                 enum record_state state)
{
    record_fill(event, state);
    event->recording.taken_up = true;
    return record_filled(peer, event);
}

#define ASK(...) cluster_ask(&world.cluster, __VA_ARGS__)
#define assert_sql(expected, ...) assert_string_equal(ASK(__VA_ARGS__), expected)

#endif
