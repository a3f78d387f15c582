/* The outbox: each dead letter is taken by one worker at a time, as it came, and is marked once it is
 * published. */
#include "ledger_world.h"

static struct peer ours;
static struct peer theirs;

static int open_peers(void **state)
{
    (void)state;
    world_clear();
    peer_open(&ours);
    peer_open(&theirs);
    return 0;
}

static int close_peers(void **state)
{
    (void)state;
    peer_close(&ours);
    peer_close(&theirs);
    return 0;
}

static void on_taken(struct outbox_take_op *op, enum ledger_result result)
{
    answered(op->owner, result);
}

static void on_marked(struct outbox_mark_op *op, enum ledger_result result)
{
    answered(op->owner, result);
}

static void take(struct peer *peer, struct outbox_take_op *op, struct arena *arena, size_t limit, int token,
                 int64_t lease_us)
{
    struct answer answer = {0};
    *op = (struct outbox_take_op){.limit = limit,
                                  .lease_us = lease_us,
                                  .token = token_of(token),
                                  .arena = arena,
                                  .done = on_taken,
                                  .owner = &answer};
    assert_int_equal(ledger_port()->outbox_take(peer->ledger, op), PORT_OK);
    assert_false(answer.done);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
}

static void mark_for(struct peer *peer, const struct outbox_take_op *taken, int64_t retry_in_us)
{
    struct answer answer = {0};
    struct outbox_mark_op op = {.letters = taken->letters,
                                .count = taken->count,
                                .retry_in_us = retry_in_us,
                                .token = taken->token,
                                .done = on_marked,
                                .owner = &answer};
    assert_int_equal(ledger_port()->outbox_mark(peer->ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
}

static void mark(struct peer *peer, const struct outbox_take_op *taken)
{
    mark_for(peer, taken, 0);
}

static void die(struct event *e, const char *id, int64_t offset)
{
    event_init(e, id, offset, NULL, (int)offset + 1);
    assert_int_equal(claim(&ours, e), CLAIM_GO);
    assert_int_equal(record(&ours, e, RECORD_DEAD), RECORD_DONE);
}

static void letter_is_as_it_came(void **state)
{
    (void)state;
    static const struct record_header headers[] = {{{"traceparent", 11}, {"00-\"ab\"", 7}},
                                                   {{"bin", 3}, {"\xff\x00\x01\x02", 4}},
                                                   {{"null", 4}, {NULL, 0}},
                                                   {{"empty", 5}, {"", 0}},
                                                   {{"n\xffm", 3}, {"x", 1}}};
    struct event e;
    struct arena arena;
    struct outbox_take_op op;
    arena_init(&arena, 1 << 20);
    event_init(&e, "e1", 5, NULL, 1);
    e.record.headers = headers;
    e.record.header_count = 5;
    e.record.key = SLICE_ABSENT;
    e.record.value = (struct slice){"\xff\x00z", 3};
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    record_fill(&e, RECORD_DEAD);
    e.outcome.http_status = 0;
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    take(&ours, &op, &arena, 10, 1, US_PER_S);
    assert_int_equal(op.count, 1);
    assert_false(op.more);
    const struct dead_letter *letter = &op.letters[0];
    assert_true(slice_is(letter->event_id, "e1"));
    assert_true(slice_is(letter->original.topic, "signups"));
    assert_int_equal(letter->original.offset, 5);
    assert_true(letter->original.timestamp_ms == 1742049000123);
    assert_false(slice_present(letter->original.key));
    assert_true(slice_equal(letter->original.value, e.record.value));
    assert_int_equal(letter->original.header_count, 5);
    for (size_t i = 0; i < 5; i++) {
        assert_true(slice_equal(letter->original.headers[i].name, headers[i].name));
        assert_true(slice_equal(letter->original.headers[i].value, headers[i].value));
    }
    assert_true(slice_is(letter->code, "not_sendable"));
    assert_true(slice_is(letter->message, "the carrier says no"));
    assert_true(slice_is(letter->cls, "rejected"));
    assert_int_equal(letter->http_status, 0);
    assert_int_equal(letter->attempts, 1);
    assert_true(llabs(letter->failed_at.us - clock_wall_now().us) < 60 * US_PER_S);
    arena_fini(&arena);
}

static void tombstone_stays_null(void **state)
{
    (void)state;
    struct event e;
    struct arena arena;
    struct outbox_take_op op;
    arena_init(&arena, 1 << 20);
    event_init(&e, "signups:0:5", 5, NULL, 1);
    e.record.value = SLICE_ABSENT;
    e.record.key = SLICE_LITERAL("");
    e.record.timestamp_ms = -1;
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_int_equal(record(&ours, &e, RECORD_DEAD), RECORD_DONE);
    take(&ours, &op, &arena, 10, 1, US_PER_S);
    assert_int_equal(op.count, 1);
    assert_false(slice_present(op.letters[0].original.value));
    assert_true(slice_is(op.letters[0].original.key, ""));
    assert_true(op.letters[0].original.timestamp_ms == -1);
    arena_fini(&arena);
}

static void two_workers_take_different_letters(void **state)
{
    (void)state;
    struct event e[5];
    struct arena arenas[2];
    struct outbox_take_op a;
    struct outbox_take_op b;
    arena_init(&arenas[0], 1 << 20);
    arena_init(&arenas[1], 1 << 20);
    for (int i = 0; i < 5; i++) {
        char id[8];
        snprintf(id, sizeof id, "e%d", i);
        die(&e[i], id, i);
    }
    take(&ours, &a, &arenas[0], 3, 1, 60 * US_PER_S);
    take(&theirs, &b, &arenas[1], 3, 2, 60 * US_PER_S);
    assert_int_equal(a.count, 3);
    assert_true(a.more);
    assert_int_equal(b.count, 2);
    assert_false(b.more);
    /* Oldest first, none twice. */
    for (size_t i = 0; i < 5; i++) {
        const struct dead_letter *letter = i < 3 ? &a.letters[i] : &b.letters[i - 3];
        assert_int_equal(letter->original.offset, i);
    }
    /* One is not published: its lease is given back; the others are marked. */
    a.letters[0].published = a.letters[2].published = true;
    mark(&ours, &a);
    assert_sql("2", "SELECT count(*) FROM signup.event WHERE dead_letter_published_at IS NOT NULL");
    struct outbox_take_op again;
    take(&theirs, &again, &arenas[1], 3, 3, 60 * US_PER_S);
    assert_int_equal(again.count, 1);
    assert_int_equal(again.letters[0].original.offset, 1);
    arena_fini(&arenas[0]);
    arena_fini(&arenas[1]);
}

/* What the broker refuses does not stand before what it would take. */
static void refused_letter_lets_others_pass(void **state)
{
    (void)state;
    struct event e[3];
    struct arena arena;
    struct outbox_take_op op;
    arena_init(&arena, 1 << 20);
    for (int i = 0; i < 3; i++) {
        char id[8];
        snprintf(id, sizeof id, "e%d", i);
        die(&e[i], id, i);
    }
    take(&ours, &op, &arena, 2, 1, 60 * US_PER_S);
    assert_int_equal(op.count, 2);
    op.letters[1].published = true;
    mark_for(&ours, &op, 30 * US_PER_S);
    assert_sql("e0 t t,e1 f f,e2 f f",
               "SELECT string_agg(concat_ws(' ', event_id, lease_until > now() + interval '20 s' IS TRUE,"
               " dead_letter_published_at IS NULL AND lease_until IS NOT NULL), ',' ORDER BY event_id) FROM signup.event");
    take(&theirs, &op, &arena, 2, 2, 60 * US_PER_S);
    assert_int_equal(op.count, 1);
    assert_true(slice_is(op.letters[0].event_id, "e2"));
    mark(&theirs, &op);
    ASK("UPDATE signup.event SET lease_until = now() WHERE event_id = 'e0'");
    take(&theirs, &op, &arena, 2, 3, 60 * US_PER_S);
    assert_int_equal(op.count, 2);
    assert_true(slice_is(op.letters[0].event_id, "e0"));
    arena_fini(&arena);
}

static void dead_workers_letters_come_back(void **state)
{
    (void)state;
    struct event e;
    struct arena arena;
    struct outbox_take_op first;
    struct outbox_take_op second;
    arena_init(&arena, 1 << 20);
    die(&e, "e1", 1);
    take(&ours, &first, &arena, 3, 1, 0);
    assert_int_equal(first.count, 1);
    take(&theirs, &second, &arena, 3, 2, 60 * US_PER_S);
    assert_int_equal(second.count, 1);
    /* The late one marks nothing that is no longer its. */
    first.letters[0].published = true;
    mark(&ours, &first);
    assert_sql("f", "SELECT dead_letter_published_at IS NOT NULL FROM signup.event");
    second.letters[0].published = true;
    mark(&theirs, &second);
    assert_sql("t", "SELECT dead_letter_published_at IS NOT NULL FROM signup.event");
    struct outbox_take_op third;
    take(&theirs, &third, &arena, 3, 3, 60 * US_PER_S);
    assert_int_equal(third.count, 0);
    assert_false(third.more);
    arena_fini(&arena);
}

/* The lease of the outbox does not disturb a record whose answer was lost. */
static void taken_row_still_knows_its_record(void **state)
{
    (void)state;
    struct event e;
    struct arena arena;
    struct outbox_take_op op;
    arena_init(&arena, 1 << 20);
    die(&e, "e1", 1);
    take(&theirs, &op, &arena, 3, 77, 60 * US_PER_S);
    assert_int_equal(op.count, 1);
    assert_int_equal(record(&ours, &e, RECORD_DEAD), RECORD_DONE);
    arena_fini(&arena);
}

static void small_room_ends_the_batch(void **state)
{
    (void)state;
    static char payload[100000];
    struct event e[6];
    struct arena arena;
    struct outbox_take_op op;
    memset(payload, 'x', sizeof payload);
    for (int i = 0; i < 6; i++) {
        char id[8];
        snprintf(id, sizeof id, "e%d", i);
        event_init(&e[i], id, i, NULL, i + 1);
        e[i].record.value = (struct slice){payload, sizeof payload};
        assert_int_equal(claim(&ours, &e[i]), CLAIM_GO);
        assert_int_equal(record(&ours, &e[i], RECORD_DEAD), RECORD_DONE);
    }
    size_t seen = 0;
    for (int token = 1; token < 10 && seen < 6; token++) {
        arena_init(&arena, 500000);
        take(&ours, &op, &arena, 6, token, 60 * US_PER_S);
        assert_in_range(op.count, 1, 3);
        assert_int_equal(op.more, seen + op.count < 6);
        for (size_t i = 0; i < op.count; i++) {
            assert_int_equal(op.letters[i].original.offset, seen + i);
            op.letters[i].published = true;
        }
        seen += op.count;
        mark(&ours, &op);
        arena_fini(&arena);
    }
    assert_int_equal(seen, 6);
    assert_sql("6", "SELECT count(*) FROM signup.event WHERE dead_letter_published_at IS NOT NULL");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_peers, close_peers)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(letter_is_as_it_came),
        CASE(tombstone_stays_null),
        CASE(two_workers_take_different_letters),
        CASE(refused_letter_lets_others_pass),
        CASE(dead_workers_letters_come_back),
        CASE(taken_row_still_knows_its_record),
        CASE(small_room_ends_the_batch),
    };
    return cmocka_run_group_tests_name("ledger/outbox", tests, world_setup, world_teardown);
}
