/* Outcomes for their topic: written with the row and once, taken in their order by one worker at a time, gone
 * once they are published. */
#include "ledger_world.h"

#include <jansson.h>

static struct peer ours;
static struct peer theirs;
static struct arena arena;

static int open_peers(void **state)
{
    (void)state;
    world_clear();
    peer_open(&ours);
    peer_open(&theirs);
    arena_init(&arena, 1 << 20);
    return 0;
}

static int close_peers(void **state)
{
    (void)state;
    peer_close(&ours);
    peer_close(&theirs);
    arena_fini(&arena);
    return 0;
}

static void on_taken(struct outcome_take_op *op, enum ledger_result result)
{
    answered(op->owner, result);
}

static void on_marked(struct outcome_mark_op *op, enum ledger_result result)
{
    answered(op->owner, result);
}

static size_t take_for(struct peer *peer, struct outcome_take_op *op, size_t limit, int token,
                       int64_t lease_us)
{
    struct answer answer = {0};
    *op = (struct outcome_take_op){.limit = limit,
                                   .lease_us = lease_us,
                                   .token = token_of(token),
                                   .arena = &arena,
                                   .done = on_taken,
                                   .owner = &answer};
    assert_int_equal(ledger_port()->outcome_take(peer->ledger, op), PORT_OK);
    assert_false(answer.done);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(answer.calls, 1);
    return op->count;
}

static size_t take(struct peer *peer, struct outcome_take_op *op, size_t limit, int token)
{
    return take_for(peer, op, limit, token, 60 * US_PER_S);
}

static void mark(struct peer *peer, const struct outcome_take_op *taken, int64_t retry_in_us)
{
    struct answer answer = {0};
    struct outcome_mark_op op = {.letters = taken->letters,
                                 .count = taken->count,
                                 .retry_in_us = retry_in_us,
                                 .token = taken->token,
                                 .done = on_marked,
                                 .owner = &answer};
    assert_int_equal(ledger_port()->outcome_mark(peer->ledger, &op), PORT_OK);
    assert_false(answer.done);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(answer.calls, 1);
}

/* Recorded as accepted, and told. */
static void tell(struct event *e, const char *id, int64_t offset)
{
    event_init(e, id, offset, NULL, (int)offset + 1);
    assert_int_equal(claim(&ours, e), CLAIM_GO);
    record_fill(e, RECORD_ACCEPTED);
    e->recording.announcement = SLICE_LITERAL("{\"event_id\":\"x\",\"name\":\"\xc3\xbc\xf0\x9f\x98\x80\"");
    assert_int_equal(record_filled(&ours, e), RECORD_DONE);
}

static void outcome_is_written_with_its_row(void **state)
{
    (void)state;
    struct event e;
    struct outcome_take_op op;
    tell(&e, "e1", 5);
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE); /* its answer was lost */
    assert_int_equal(record_filled(&theirs, &e), RECORD_DONE);
    assert_int_equal(take(&ours, &op, 10, 1), 1);
    assert_false(op.more);
    assert_true(slice_is(op.letters[0].event_id, "e1"));
    assert_false(op.letters[0].published);
    json_t *told = json_loadb(op.letters[0].text.ptr, op.letters[0].text.len, 0, NULL);
    assert_non_null(told);
    assert_string_equal(json_string_value(json_object_get(told, "name")), "\xc3\xbc\xf0\x9f\x98\x80");
    assert_sql(
        json_string_value(json_object_get(told, "finished_at")),
        "SELECT to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM signup.event");
    json_decref(told);
    op.letters[0].published = true;
    mark(&ours, &op, 0);
    assert_sql("0", "SELECT count(*) FROM signup.outcome");
    assert_int_equal(take(&ours, &op, 10, 2), 0);
}

/* Somebody else's row, and one without an announcement, tell nothing. */
static void only_rows_that_are_written_are_told(void **state)
{
    (void)state;
    struct event e[3];
    for (int i = 0; i < 3; i++) {
        char id[8];
        snprintf(id, sizeof id, "e%d", i);
        event_init(&e[i], id, i, NULL, i + 1);
        assert_int_equal(claim(&ours, &e[i]), CLAIM_GO);
        record_fill(&e[i], i == 2 ? RECORD_DEAD : RECORD_ACCEPTED);
        e[i].recording.announcement = i == 1 ? SLICE_ABSENT : SLICE_LITERAL("{\"n\":1");
    }
    e[0].recording.token = token_of(99);
    struct record_item *items[] = {&e[0].recording, &e[1].recording, &e[2].recording};
    struct answer answer = {0};
    struct record_op op = {.items = items, .count = 3, .done = on_recorded, .owner = &answer};
    assert_int_equal(ledger_port()->record(ours.ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(e[0].recording.answer, RECORD_REFUSED);
    assert_sql("e2", "SELECT string_agg(event_id, ',') FROM signup.outcome");
}

/* A row that the database refuses for its data is told of all the same, in plain letters. */
static void bare_row_is_told_in_plain_letters(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 1, NULL, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    record_fill(&e, RECORD_ACCEPTED);
    e.signup.consent = SLICE_LITERAL("no json");
    e.recording.announcement = SLICE_LITERAL("{\"name\":\"\xc3\xbc\xf0\x9f\x98\x80\"");
    assert_int_equal(record_filled(&ours, &e), RECORD_POISON);
    e.recording.bare = true;
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    assert_sql(
        "t \xc3\xbc\xf0\x9f\x98\x80",
        "SELECT concat_ws(' ', body LIKE '{\"name\":\"\\\\u00fc\\\\ud83d\\\\ude00\",%%', body::jsonb ->> 'name') FROM signup.outcome");
    event_init(&e, "e2", 2, NULL, 2);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    record_fill(&e, RECORD_ACCEPTED);
    e.recording.announcement = SLICE_LITERAL("{\"name\":\"\xff\"");
    assert_int_equal(record_filled(&ours, &e), RECORD_POISON);
    e.recording.bare = true;
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    assert_sql("1", "SELECT count(*) FROM signup.outcome");
}

static void taken_in_order_by_one_at_a_time(void **state)
{
    (void)state;
    struct outcome_take_op first;
    struct outcome_take_op second;
    ASK("INSERT INTO signup.outcome (event_id, body) SELECT 'e' || g, '{}' FROM generate_series(1, 10) g");
    assert_int_equal(take(&ours, &first, 4, 1), 4);
    assert_true(first.more);
    assert_int_equal(take(&theirs, &second, 10, 2), 6);
    assert_false(second.more);
    for (size_t i = 0; i < 4; i++)
        assert_true(i == 0 || first.letters[i].number > first.letters[i - 1].number);
    assert_true(second.letters[0].number > first.letters[3].number);
    /* Two are published, two are not: those wait, and then come again, first. */
    first.letters[0].published = first.letters[2].published = true;
    mark(&ours, &first, 3600 * US_PER_S);
    assert_sql("8", "SELECT count(*) FROM signup.outcome");
    assert_int_equal(take(&ours, &first, 10, 3), 0);
    ASK("UPDATE signup.outcome SET lease_until = now() WHERE token IS NULL");
    assert_int_equal(take(&ours, &first, 10, 4), 2);
    assert_true(slice_is(first.letters[0].event_id, "e2") && slice_is(first.letters[1].event_id, "e4"));
    mark(&ours, &first, 0); /* none was published: due at once */
    assert_int_equal(take(&ours, &first, 10, 5), 2);
    /* A lease that ended is another's: marking it afterwards does nothing. */
    ASK("UPDATE signup.outcome SET lease_until = now()");
    assert_int_equal(take(&theirs, &second, 10, 6), 8);
    first.letters[0].published = first.letters[1].published = true;
    mark(&ours, &first, 0);
    assert_sql("8", "SELECT count(*) FROM signup.outcome");
    for (size_t i = 0; i < 8; i++)
        second.letters[i].published = true;
    mark(&theirs, &second, 0);
    assert_sql("0", "SELECT count(*) FROM signup.outcome");
}

static void what_does_not_fit_is_not_taken(void **state)
{
    (void)state;
    struct outcome_take_op op;
    ASK("INSERT INTO signup.outcome (event_id, body) SELECT 'e' || g, repeat('x', 100000) FROM generate_series(1, 12) g");
    assert_int_equal(take(&ours, &op, 100, 1), 5); /* half of a mebibyte */
    assert_true(op.more);
    arena_fini(&arena);
    arena_init(&arena, 110000); /* room for one, and for one is always asked */
    assert_int_equal(take(&ours, &op, 100, 2), 1);
    assert_true(op.more);
    arena_fini(&arena);
    arena_init(&arena, 1000);
    assert_int_equal(take(&ours, &op, 100, 3), 0);
    assert_true(op.more);
}

/* Many takers at once: every outcome is given once. */
static void racing_takers_give_each_once(void **state)
{
    (void)state;
    ASK("INSERT INTO signup.outcome (event_id, body) SELECT 'e' || g, '{}' FROM generate_series(1, 600) g");
    size_t taken = 0;
    for (int round = 0; taken < 600; round++) {
        struct answer answers[2] = {{0}, {0}};
        struct outcome_take_op ops[2];
        for (int i = 0; i < 2; i++) {
            ops[i] = (struct outcome_take_op){.limit = 50,
                                              .lease_us = 60 * US_PER_S,
                                              .token = token_of(1 + round * 2 + i),
                                              .arena = &arena,
                                              .done = on_taken,
                                              .owner = &answers[i]};
            assert_int_equal(ledger_port()->outcome_take((i ? &theirs : &ours)->ledger, &ops[i]), PORT_OK);
        }
        for (int i = 0; i < 2; i++) {
            world_wait(&answers[i].done, ANSWER_MS);
            assert_int_equal(answers[i].result, LEDGER_OK);
            taken += ops[i].count;
            for (size_t k = 0; k < ops[i].count; k++)
                ops[i].letters[k].published = true;
            mark(i ? &theirs : &ours, &ops[i], 0);
        }
        assert_true(round < 60);
    }
    assert_int_equal(taken, 600);
    assert_sql("0", "SELECT count(*) FROM signup.outcome");
}

static void on_counted(struct ledger_counts_op *op, enum ledger_result result)
{
    answered(op->owner, result);
}

static void what_waits_is_counted(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        struct answer answer = {0};
        struct ledger_counts_op op = {.done = on_counted, .owner = &answer};
        if (round)
            ASK("INSERT INTO signup.outcome (event_id, body, finished_at)"
                " SELECT 'e' || g, '{}', now() - interval '1 hour' FROM generate_series(1, 45000) g");
        assert_int_equal(ledger_count(ours.ledger, &op), PORT_OK);
        world_wait(&answer.done, ANSWER_MS);
        assert_int_equal(answer.result, LEDGER_OK);
        assert_true(op.outcomes_unpublished == (round ? 45000 : 0));
        if (round)
            assert_in_range(op.oldest_outcome_us, 3600 * US_PER_S, 3620 * US_PER_S);
        else
            assert_true(op.oldest_outcome_us == -1);
    }
}

/* Plans made on an empty table, used on a full one, and with a front of leased rows. */
static void plans_stay_near(void **state)
{
    (void)state;
    struct outcome_take_op op;
    struct peer fresh;
    ASK("VACUUM ANALYZE signup.outcome");
    peer_open(&fresh);
    assert_int_equal(take(&fresh, &op, 256, 1), 0);
    ASK("INSERT INTO signup.outcome (event_id, body) SELECT 'e' || g, '{}' FROM generate_series(1, 60000) g");
    ASK("SELECT pg_stat_force_next_flush()");
    static const char counts[] =
        "SELECT concat_ws(' ', seq_scan, idx_tup_fetch) FROM pg_stat_user_tables WHERE relname = 'outcome'";
    long long before[2];
    long long after[2];
    assert_int_equal(sscanf(ASK("%s", counts), "%lld %lld", &before[0], &before[1]), 2);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(take(&fresh, &op, 256, 10 + i), 256);
        assert_true(op.more);
        for (size_t k = 0; k < op.count; k++)
            op.letters[k].published = k % 2;
        mark(&fresh, &op, 3600 * US_PER_S);
        arena_fini(&arena);
    }
    peer_close(&fresh);
    double end = cluster_now() + 10; /* the backend reports its counts when it leaves */
    while (strcmp(ASK("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signup-worker'"),
                  "2") != 0)
        assert_true(cluster_now() < end);
    assert_int_equal(sscanf(ASK("%s", counts), "%lld %lld", &after[0], &after[1]), 2);
    assert_int_equal(after[0], before[0]);
    /* 2048 taken: found once as due, twice to be written; behind them those that wait are passed over. */
    assert_in_range(after[1] - before[1], 6000, 16000);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_peers, close_peers)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(outcome_is_written_with_its_row),
        CASE(only_rows_that_are_written_are_told),
        CASE(bare_row_is_told_in_plain_letters),
        CASE(taken_in_order_by_one_at_a_time),
        CASE(what_does_not_fit_is_not_taken),
        CASE(racing_takers_give_each_once),
        CASE(what_waits_is_counted),
        CASE(plans_stay_near),
    };
    return cmocka_run_group_tests_name("ledger/outcome", tests, world_setup, world_teardown);
}
