/* Parking: order within a contact, taking up, leases, lost answers, and the end of what was taken up; on a
 * real PostgreSQL. */
#include "ledger_world.h"

static struct peer ours;
static struct peer theirs;
static struct arena arena;

static int open_peers(void **state)
{
    (void)state;
    world_clear();
    arena_init(&arena, 8 << 20);
    peer_open(&ours);
    peer_open(&theirs);
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

#define A "+12025550101"
#define B "+12025550102"

/* Claims (it may be behind) and parks one event. */
static void park(struct event *e, const char *id, int64_t offset, const char *phone, int64_t due_in_us)
{
    event_init(e, id, offset, phone, 1000 + (int)offset);
    enum claim_answer answer = claim(&ours, e);
    assert_true(answer == CLAIM_GO || answer == CLAIM_BEHIND);
    record_fill(e, RECORD_PARKED);
    e->recording.due_in_us = due_in_us;
    assert_int_equal(record_filled(&ours, e), RECORD_DONE);
}

static const char *taken_ids(const struct due_take_op *op)
{
    static char text[4096];
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < op->count; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s", i ? "," : "",
                                (int)op->events[i].event_id.len, op->events[i].event_id.ptr);
    return text;
}

static void parked_event_is_as_it_came(void **state)
{
    (void)state;
    static const struct record_header headers[] = {{{"traceparent", 11}, {"00-\"ab\"", 7}},
                                                   {{"bin", 3}, {"\xff\x00\x01\x02", 4}},
                                                   {{"null", 4}, {NULL, 0}}};
    struct event e;
    struct due_take_op op;
    event_init(&e, "e1", 5, A, 1);
    e.record.headers = headers;
    e.record.header_count = 3;
    e.record.value = (struct slice){"{\"x\":\"\xff\x00\"}", 10};
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    record_fill(&e, RECORD_PARKED);
    e.recording.attempts = 4;
    e.recording.maybe_sent = true;
    e.recording.due_in_us = 0;
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    ASK("UPDATE signup.event SET received_at = received_at - interval '49 hours'");
    assert_int_equal(due_take(&theirs, &op, &arena, 10, 77), 1);
    const struct parked_event *taken = &op.events[0];
    assert_true(slice_is(taken->event_id, "e1"));
    assert_true(slice_is(taken->original.topic, "signups"));
    assert_int_equal(taken->original.partition, 0);
    assert_int_equal(taken->original.offset, 5);
    assert_int_equal(taken->original.epoch, 0);
    assert_true(taken->original.timestamp_ms == 1742049000123);
    assert_true(slice_is(taken->original.key, "key"));
    assert_true(slice_equal(taken->original.value, e.record.value));
    assert_int_equal(taken->original.header_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(slice_equal(taken->original.headers[i].name, headers[i].name));
        assert_true(slice_equal(taken->original.headers[i].value, headers[i].value));
    }
    assert_true(taken->maybe_sent);
    assert_int_equal(taken->attempts, 4);
    assert_true(llabs(taken->age_us - 49 * 3600 * US_PER_S) < 60 * US_PER_S);
    assert_sql("parked t t", "SELECT concat_ws(' ', state, lease_until > now() + interval '50 s',"
                             " token = '4d000000-0000-0000-0000-000000000001') FROM signup.event");
}

static void tombstone_stays_null(void **state)
{
    (void)state;
    struct event e;
    struct due_take_op op;
    event_init(&e, "signups:0:5", 5, NULL, 1);
    e.record.value = e.record.key = SLICE_ABSENT;
    e.record.timestamp_ms = -1;
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    record_fill(&e, RECORD_PARKED);
    e.recording.due_in_us = 0;
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 7), 1);
    assert_false(slice_present(op.events[0].original.value));
    assert_false(slice_present(op.events[0].original.key));
    assert_true(op.events[0].original.timestamp_ms == -1);
    assert_int_equal(op.events[0].original.header_count, 0);
}

static void nothing_is_parked(void **state)
{
    (void)state;
    struct due_take_op op;
    assert_int_equal(due_take(&ours, &op, &arena, 10, 7), 0);
    assert_true(op.next_due_in_us == -1);
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 7), 0);
    assert_true(op.next_due_in_us == -1);
}

static void next_due_is_told(void **state)
{
    (void)state;
    struct event e[4];
    struct due_take_op op;
    park(&e[0], "later", 1, A, 50 * US_PER_S);
    park(&e[1], "latest", 2, B, 500 * US_PER_S);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 7), 0);
    assert_true(op.next_due_in_us > 45 * US_PER_S && op.next_due_in_us <= 50 * US_PER_S);
    park(&e[2], "now-1", 3, "+12025550103", 0);
    park(&e[3], "now-2", 4, "+12025550104", 0);
    assert_int_equal(due_take(&ours, &op, &arena, 1, 8), 1);
    assert_true(op.next_due_in_us == 0);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 9), 1);
    assert_true(op.next_due_in_us > 45 * US_PER_S && op.next_due_in_us <= 50 * US_PER_S);
    /* A lease that ends earlier than anything is due counts. */
    ASK("UPDATE signup.event SET lease_until = now() + interval '20 s' WHERE event_id = 'now-2'");
    assert_int_equal(due_take(&ours, &op, &arena, 10, 10), 0);
    assert_true(op.next_due_in_us > 15 * US_PER_S && op.next_due_in_us <= 20 * US_PER_S);
    ASK("DELETE FROM signup.event WHERE lease_until IS NULL");
    assert_int_equal(due_take(&ours, &op, &arena, 10, 11), 0);
    assert_true(op.next_due_in_us > 15 * US_PER_S && op.next_due_in_us <= 20 * US_PER_S);
}

/* Also when the later one is due first. */
static void contacts_go_in_their_order(void **state)
{
    (void)state;
    struct event e[3];
    struct due_take_op op;
    park(&e[0], "z-first", 1, A, 0);
    park(&e[1], "m-second", 2, A, -10 * US_PER_S);
    park(&e[2], "a-third", 3, A, -20 * US_PER_S);
    const char *ids[] = {"z-first", "m-second", "a-third"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(due_take(i % 2 ? &theirs : &ours, &op, &arena, 10, 50 + i), 1);
        assert_string_equal(taken_ids(&op), ids[i]);
        assert_true(op.next_due_in_us > 0);
        assert_int_equal(due_take(&theirs, &op, &arena, 10, 60 + i), 0);
        assert_true(op.next_due_in_us > 0 && op.next_due_in_us <= 60 * US_PER_S);
        e[i].token = token_of(50 + i);
        /* Its end makes the next one due at once. */
        assert_int_equal(record_taken_up(&ours, &e[i], i == 1 ? RECORD_DEAD : RECORD_ACCEPTED), RECORD_DONE);
    }
    assert_int_equal(due_take(&ours, &op, &arena, 10, 70), 0);
    assert_true(op.next_due_in_us == -1);
    assert_sql("0",
               "SELECT count(*) FROM signup.event WHERE park_order IS NOT NULL OR lease_until IS NOT NULL");
}

static void parked_again_keeps_its_place(void **state)
{
    (void)state;
    struct event e[2];
    struct due_take_op op;
    park(&e[0], "first", 1, A, 0);
    park(&e[1], "second", 2, A, 0);
    char place[32];
    snprintf(place, sizeof place, "%s", ASK("SELECT park_order FROM signup.event WHERE event_id = 'first'"));
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 1);
    e[0].token = op.token;
    record_fill(&e[0], RECORD_PARKED);
    e[0].recording.taken_up = true;
    e[0].recording.due_in_us = 300 * US_PER_S;
    e[0].recording.attempts = 2;
    assert_int_equal(record_filled(&ours, &e[0]), RECORD_DONE);
    assert_sql(place, "SELECT park_order FROM signup.event WHERE event_id = 'first'");
    assert_sql("t 2 t", "SELECT concat_ws(' ', due_at > now() + interval '250 s', attempts, lease_until IS "
                        "NULL AND payload IS NOT NULL)"
                        " FROM signup.event WHERE event_id = 'first'");
    /* The second is not taken, and not looked at before the first is due. */
    ASK("UPDATE signup.event SET due_at = now() WHERE event_id = 'second'");
    assert_int_equal(due_take(&theirs, &op, &arena, 10, 51), 0);
    assert_true(op.next_due_in_us > 250 * US_PER_S);
    /* And a later one of the contact goes behind both. */
    struct event third;
    event_init(&third, "third", 3, A, 9);
    assert_int_equal(claim(&theirs, &third), CLAIM_BEHIND);
}

/* Whatever becomes of the worker that took the first one up, the later ones see a parked event. */
static void taken_up_still_keeps_others_behind(void **state)
{
    (void)state;
    struct event first;
    struct event later;
    struct due_take_op op;
    park(&first, "first", 1, A, 0);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 1);
    event_init(&later, "later", 2, A, 2);
    assert_int_equal(claim(&theirs, &later), CLAIM_BEHIND);
    ASK("UPDATE signup.event SET lease_until = now() WHERE event_id = 'first'");
    assert_int_equal(claim(&theirs, &later), CLAIM_BEHIND);
    assert_int_equal(record(&theirs, &later, RECORD_PARKED), RECORD_DONE);
    /* Itself read again, it is answered for. */
    first.token = token_of(99);
    assert_int_equal(claim(&theirs, &first), CLAIM_SETTLED);
}

static void ended_lease_means_maybe_sent(void **state)
{
    (void)state;
    struct event e;
    struct due_take_op op;
    park(&e, "e1", 1, A, 0);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 1);
    assert_false(op.events[0].maybe_sent);
    ASK("UPDATE signup.event SET lease_until = now()");
    assert_int_equal(due_take(&theirs, &op, &arena, 10, 51), 1);
    assert_true(op.events[0].maybe_sent);
    /* The one that lost it records nothing, and extends nothing. */
    e.token = token_of(50);
    assert_int_equal(record_taken_up(&ours, &e, RECORD_ACCEPTED), RECORD_REFUSED);
    assert_int_equal(record_taken_up(&ours, &e, RECORD_PARKED), RECORD_REFUSED);
    assert_int_equal(record_taken_up(&ours, &e, RECORD_RELEASED), RECORD_REFUSED);
    e.token = token_of(51);
    assert_int_equal(record_taken_up(&theirs, &e, RECORD_ACCEPTED), RECORD_DONE);
    assert_sql("accepted t f", "SELECT concat_ws(' ', state, payload IS NULL AND headers IS NULL AND "
                               "record_key IS NULL, maybe_sent) FROM signup.event");
}

static void released_is_due_as_before(void **state)
{
    (void)state;
    struct event e;
    struct due_take_op op;
    park(&e, "e1", 1, A, -5 * US_PER_S);
    char before[64];
    snprintf(before, sizeof before, "%s", ASK("SELECT concat_ws(' ', due_at, park_order) FROM signup.event"));
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 1);
    e.token = op.token;
    record_fill(&e, RECORD_RELEASED);
    e.recording.taken_up = true;
    e.recording.attempts = 3;
    for (int again = 0; again < 2; again++) /* the second time as after a lost answer */
        assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    assert_sql(before, "SELECT concat_ws(' ', due_at, park_order) FROM signup.event");
    assert_sql("parked t 3", "SELECT concat_ws(' ', state, token IS NULL AND lease_until IS NULL AND payload "
                             "IS NOT NULL, attempts) FROM signup.event");
    assert_int_equal(due_take(&theirs, &op, &arena, 10, 51), 1);
    assert_false(op.events[0].maybe_sent);
    assert_int_equal(op.events[0].attempts, 3);
    e.token = op.token;
    record_fill(&e, RECORD_RELEASED);
    e.recording.taken_up = e.recording.maybe_sent = true;
    assert_int_equal(record_filled(&theirs, &e), RECORD_DONE);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 52), 1);
    assert_true(op.events[0].maybe_sent);
}

static void extension_of_a_taken_up_event(void **state)
{
    (void)state;
    struct event e;
    struct due_take_op op;
    park(&e, "e1", 1, A, 0);
    struct lease_item item = {.event_id = e.signup.event_id, .token = e.token};
    struct answer answer = {0};
    struct lease_op lease = {
        .items = &item, .count = 1, .lease_us = 600 * US_PER_S, .done = on_extended, .owner = &answer};
    /* Recorded as parked, it is nobody's, although the token stands. */
    assert_int_equal(ledger_port()->extend(ours.ledger, &lease), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_false(item.held);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 1);
    item.token = op.token;
    item.maybe_sent = true;
    answer.done = false;
    assert_int_equal(ledger_port()->extend(ours.ledger, &lease), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_true(item.held);
    assert_sql(
        "parked t t",
        "SELECT concat_ws(' ', state, lease_until > now() + interval '500 s', maybe_sent) FROM signup.event");
}

/* A parked event that was brought back from the dead while a later one is on its way. */
static void live_claim_is_waited_for(void **state)
{
    (void)state;
    struct event old;
    struct event fresh;
    struct due_take_op op;
    park(&old, "old", 1, A, 0);
    ASK("UPDATE signup.event SET state = 'accepted'");
    event_init(&fresh, "fresh", 2, A, 2);
    assert_int_equal(claim(&theirs, &fresh), CLAIM_GO);
    ASK("UPDATE signup.event SET state = 'parked' WHERE event_id = 'old'");
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 0);
    assert_true(op.next_due_in_us > US_PER_S && op.next_due_in_us <= 2 * US_PER_S);
    assert_int_equal(record(&theirs, &fresh, RECORD_ACCEPTED), RECORD_DONE);
    ASK("UPDATE signup.event SET due_at = now() WHERE event_id = 'old'");
    assert_int_equal(due_take(&ours, &op, &arena, 10, 51), 1);
}

static void contactless_is_never_blocked(void **state)
{
    (void)state;
    struct event e[3];
    struct due_take_op op;
    for (int i = 0; i < 3; i++) {
        char id[16];
        snprintf(id, sizeof id, "c%d", i);
        park(&e[i], id, i, NULL, 0);
    }
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 3);
    assert_string_equal(taken_ids(&op), "c0,c1,c2");
}

/* ------------------------------------------------------------------ claims behind */

/* A claim behind does not hold up the event that it waits for, else a busy contact would never move. */
static void claim_behind_blocks_nobody_before_it(void **state)
{
    (void)state;
    struct event first;
    struct event second;
    struct event third;
    struct due_take_op op;
    park(&first, "first", 1, A, 0);
    event_init(&second, "second", 2, A, 2);
    assert_int_equal(claim(&theirs, &second), CLAIM_BEHIND);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 1);
    first.token = op.token;
    assert_int_equal(record_taken_up(&ours, &first, RECORD_ACCEPTED), RECORD_DONE);
    /* Not parked yet, but it has its place: a third one goes behind it and waits for it. */
    event_init(&third, "third", 3, A, 3);
    assert_int_equal(claim(&ours, &third), CLAIM_BEHIND);
    record_fill(&third, RECORD_PARKED);
    third.recording.due_in_us = 0;
    assert_int_equal(record_filled(&ours, &third), RECORD_DONE);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 51), 0);
    assert_int_equal(record(&theirs, &second, RECORD_PARKED), RECORD_DONE);
    ASK("UPDATE signup.event SET due_at = now() WHERE state = 'parked'");
    assert_int_equal(due_take(&ours, &op, &arena, 10, 52), 1);
    assert_string_equal(taken_ids(&op), "second");
}

/* The answer to a claim was lost; meanwhile what was parked is gone, or has come. */
static void lost_claim_is_judged_again(void **state)
{
    (void)state;
    struct event first;
    struct event second;
    struct event third;
    struct due_take_op op;
    park(&first, "first", 1, A, 0);
    event_init(&second, "second", 2, A, 2);
    assert_int_equal(claim(&theirs, &second), CLAIM_BEHIND);
    assert_int_equal(claim(&theirs, &second), CLAIM_BEHIND);
    ASK("UPDATE signup.event SET state = 'accepted', park_order = NULL WHERE event_id = 'first'");
    assert_int_equal(claim(&theirs, &second), CLAIM_GO);
    assert_false(second.claim.maybe_sent);
    assert_sql("t", "SELECT park_order IS NULL FROM signup.event WHERE event_id = 'second'");
    event_init(&third, "third", 3, A, 3);
    assert_int_equal(claim(&ours, &third), CLAIM_BUSY);
    park(&first, "other", 7, B, 0);
    ASK("UPDATE signup.event SET phone_number = '" A "' WHERE event_id = 'other'");
    assert_int_equal(claim(&theirs, &second), CLAIM_BEHIND);
    assert_sql("0", "SELECT count(*) FROM signup.warning");
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 1);
}

/* The worker that claimed behind died: taken over, it is judged by what is parked then. */
static void claim_behind_is_taken_over(void **state)
{
    (void)state;
    struct event first;
    struct event second;
    park(&first, "first", 1, A, 0);
    event_init(&second, "second", 2, A, 2);
    assert_int_equal(claim_for(&theirs, &second, 0), CLAIM_BEHIND);
    second.token = token_of(3);
    assert_int_equal(claim_for(&ours, &second, 0), CLAIM_BEHIND);
    assert_true(second.claim.maybe_sent);
    ASK("UPDATE signup.event SET state = 'accepted', park_order = NULL WHERE event_id = 'first'");
    second.token = token_of(4);
    assert_int_equal(claim(&ours, &second), CLAIM_GO);
    assert_sql("t", "SELECT park_order IS NULL FROM signup.event WHERE event_id = 'second'");
}

static void age_counts_from_the_present_life(void **state)
{
    (void)state;
    struct event e;
    struct due_take_op op;
    event_init(&e, "e1", 1, A, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_true(e.claim.age_us == 0);
    ASK("UPDATE signup.event SET received_at = received_at - interval '10 days'");
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_true(e.claim.age_us >= 10 * 86400 * US_PER_S && e.claim.age_us < 11 * 86400 * US_PER_S);
    assert_int_equal(record(&ours, &e, RECORD_DEAD), RECORD_DONE);
    e.record.offset = 2;
    e.token = token_of(2);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_true(e.claim.age_us == 0);
    record_fill(&e, RECORD_PARKED);
    e.recording.due_in_us = 0;
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    ASK("UPDATE signup.event SET age_from = age_from - interval '1 hour'");
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 1);
    assert_true(op.events[0].age_us >= 3600 * US_PER_S && op.events[0].age_us < 3700 * US_PER_S);
}

/* ------------------------------------------------------------------ tries and warnings */

static void tries_are_numbered_on(void **state)
{
    (void)state;
    static struct attempt second = {
        .number = 2, .route = "read", .at = {1742049001000000}, .verdict = "retry"};
    static struct attempt first = {
        .next = &second, .number = 1, .route = "upsert", .at = {1742049000000000}, .verdict = "retry"};
    struct event e;
    struct due_take_op op;
    park(&e, "e1", 1, A, 0);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(due_take(&ours, &op, &arena, 10, 50 + round), 1);
        e.token = op.token;
        record_fill(&e, round < 2 ? RECORD_PARKED : RECORD_ACCEPTED);
        e.recording.taken_up = true;
        e.recording.due_in_us = 0;
        e.recording.attempts_made = &first;
        for (int again = 0; again < 2; again++) /* as after a lost answer: written once */
            assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    }
    assert_sql("1 upsert,2 read,3 upsert,4 read,5 upsert,6 read",
               "SELECT string_agg(attempt || ' ' || route, ',' ORDER BY attempt) FROM signup.attempt");
}

static void warnings_are_written_once_it_is_final(void **state)
{
    (void)state;
    static struct warning warning = {
        .source = WARNING_WORKER, .code = {"url_dropped", 11}, .message = {"url: not absolute", 17}};
    struct event e;
    struct due_take_op op;
    event_init(&e, "e1", 1, A, 1);
    e.signup.warnings = &warning;
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    record_fill(&e, RECORD_PARKED);
    e.recording.due_in_us = 0;
    e.recording.bare = true;
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    assert_sql("0", "SELECT count(*) FROM signup.warning");
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 1);
    e.token = op.token;
    assert_int_equal(record_taken_up(&ours, &e, RECORD_ACCEPTED), RECORD_DONE);
    assert_sql("url_dropped", "SELECT string_agg(code, ',') FROM signup.warning");
}

/* ------------------------------------------------------------------ lost answers */

static void wait_for_lock(void)
{
    struct cluster watcher = world.cluster;
    watcher.admin = NULL;
    double end = cluster_now() + 5;
    while (
        strcmp(cluster_ask(&watcher, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"),
               "1") != 0) {
        uv_run(&world.loop, UV_RUN_NOWAIT);
        assert_true(cluster_now() < end);
    }
    PQfinish(watcher.admin);
}

/* Our statement waits for a lock when its connection is ended. */
static void lose_take(struct due_take_op *op, size_t limit, int token)
{
    struct answer answer;
    ASK("BEGIN");
    ASK("LOCK TABLE signup.event IN ACCESS EXCLUSIVE MODE");
    due_fill(op, &arena, limit, token, &answer);
    assert_int_equal(ledger_port()->due_take(ours.ledger, op), PORT_OK);
    wait_for_lock();
    ASK("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_AWAY);
    ASK("COMMIT");
    peer_wait(&ours, LEDGER_CONDITION_UP, 5000);
}

static void lost_take_gives_the_same_again(void **state)
{
    (void)state;
    for (int executed = 0; executed < 2; executed++) {
        struct event e[6];
        struct due_take_op op;
        world_clear();
        for (int i = 0; i < 6; i++) {
            char id[8];
            char phone[16];
            snprintf(id, sizeof id, "e%d", i);
            snprintf(phone, sizeof phone, "+1202555010%d", i);
            park(&e[i], id, i, phone, -US_PER_S * (6 - i));
        }
        if (executed) { /* as the server would have done it before it died */
            assert_int_equal(due_take(&theirs, &op, &arena, 3, 50), 3);
            /* What has become due in front since then is not what was taken. */
            ASK("UPDATE signup.event SET due_at = now() - interval '1 hour' WHERE event_id = 'e5'");
        }
        lose_take(&op, 3, 50);
        assert_int_equal(due_take(&ours, &op, &arena, 3, 50), 3);
        assert_string_equal(taken_ids(&op), "e0,e1,e2");
        for (size_t i = 0; i < 3; i++)
            assert_false(op.events[i].maybe_sent);
        assert_true(op.next_due_in_us == 0);
        assert_int_equal(due_take(&ours, &op, &arena, 10, 51), 3);
        assert_string_equal(taken_ids(&op), executed ? "e5,e3,e4" : "e3,e4,e5");
    }
}

static void lost_record_of_a_parked_event(void **state)
{
    (void)state;
    struct event e;
    struct due_take_op op;
    park(&e, "e1", 1, A, 0);
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 1);
    e.token = op.token;
    record_fill(&e, RECORD_PARKED);
    e.recording.taken_up = true;
    assert_int_equal(record_filled(&theirs, &e), RECORD_DONE);
    char before[64];
    snprintf(before, sizeof before, "%s", ASK("SELECT xmin FROM signup.event"));
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    assert_sql(before, "SELECT xmin FROM signup.event");
    /* Taken up by another since: that one answers for it. */
    ASK("UPDATE signup.event SET due_at = now()");
    assert_int_equal(due_take(&theirs, &op, &arena, 10, 51), 1);
    assert_int_equal(record_filled(&ours, &e), RECORD_REFUSED);
    assert_sql("t", "SELECT lease_until > now() FROM signup.event");
}

/* ------------------------------------------------------------------ the wake */

static void wake_never_waits(void **state)
{
    (void)state;
    struct event first;
    struct event second;
    struct due_take_op op;
    park(&first, "first", 1, A, 0);
    park(&second, "second", 2, A, 100 * US_PER_S);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 1);
    first.token = op.token;
    ASK("BEGIN");
    ASK("SELECT FROM signup.event WHERE event_id = 'second' FOR UPDATE");
    double start = cluster_now();
    assert_int_equal(record_taken_up(&ours, &first, RECORD_ACCEPTED), RECORD_DONE);
    assert_true(cluster_now() - start < 1.5); /* the lock timeout is at 2 s */
    ASK("COMMIT");
    assert_sql("t", "SELECT due_at > now() + interval '90 s' FROM signup.event WHERE event_id = 'second'");
}

static void only_final_records_wake(void **state)
{
    (void)state;
    struct event e[2];
    struct due_take_op op;
    park(&e[0], "first", 1, A, 0);
    park(&e[1], "second", 2, A, 100 * US_PER_S);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 1);
    e[0].token = op.token;
    assert_int_equal(record_taken_up(&ours, &e[0], RECORD_RELEASED), RECORD_DONE);
    assert_sql("t", "SELECT due_at > now() + interval '90 s' FROM signup.event WHERE event_id = 'second'");
    assert_int_equal(due_take(&ours, &op, &arena, 10, 51), 1);
    e[0].token = op.token;
    assert_int_equal(record_taken_up(&ours, &e[0], RECORD_PARKED), RECORD_DONE);
    assert_sql("t", "SELECT due_at > now() + interval '90 s' FROM signup.event WHERE event_id = 'second'");
}

/* One row of the batch is refused: the others are recorded, and wake. */
static void poison_among_the_taken_up(void **state)
{
    (void)state;
    enum { CONTACTS = 9 };
    static struct event first[CONTACTS];
    static struct event second[CONTACTS];
    struct record_item *items[CONTACTS];
    struct due_take_op op;
    for (int i = 0; i < CONTACTS; i++) {
        char id[16];
        char phone[16];
        snprintf(phone, sizeof phone, "+1202555010%d", i);
        snprintf(id, sizeof id, "first-%d", i);
        park(&first[i], id, i, phone, 0);
        snprintf(id, sizeof id, "second-%d", i);
        park(&second[i], id, 100 + i, phone, 100 * US_PER_S);
    }
    assert_int_equal(due_take(&ours, &op, &arena, 20, 50), CONTACTS);
    for (int i = 0; i < CONTACTS; i++) {
        first[i].token = op.token;
        record_fill(&first[i], i % 2 ? RECORD_ACCEPTED : RECORD_DEAD);
        first[i].recording.taken_up = true;
        items[i] = &first[i].recording;
    }
    first[3].signup.consent = SLICE_LITERAL("{\"text\":\"\\u0000\"}"); /* 22P05 */
    first[6].signup.phone_number = (struct slice){"+1\xff", 3};        /* 22021, in the wake too */
    struct answer answer = {0};
    struct record_op record_op = {.items = items, .count = CONTACTS, .done = on_recorded, .owner = &answer};
    assert_int_equal(ledger_port()->record(ours.ledger, &record_op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    for (int i = 0; i < CONTACTS; i++)
        assert_int_equal(items[i]->answer, i == 3 || i == 6 ? RECORD_POISON : RECORD_DONE);
    assert_sql("7", "SELECT count(*) FROM signup.event WHERE event_id LIKE 'second%%' AND due_at <= now()");
    for (int i = 3; i <= 6; i += 3) {
        first[i].recording.bare = true;
        assert_int_equal(record_filled(&ours, &first[i]), RECORD_DONE);
    }
    assert_sql("8", "SELECT count(*) FROM signup.event WHERE event_id LIKE 'second%%' AND due_at <= now()");
    assert_int_equal(due_take(&ours, &op, &arena, 20, 51), 8);
}

/* ------------------------------------------------------------------ room, crowds, races */

static void what_does_not_fit_is_not_taken(void **state)
{
    (void)state;
    static char payload[100000];
    struct event e[5];
    struct due_take_op op;
    memset(payload, 'x', sizeof payload);
    for (int i = 0; i < 5; i++) {
        char id[8];
        snprintf(id, sizeof id, "e%d", i);
        event_init(&e[i], id, i, NULL, i + 1);
        e[i].record.value = (struct slice){payload, i == 1 ? sizeof payload : 20000};
        assert_int_equal(claim(&ours, &e[i]), CLAIM_GO);
        record_fill(&e[i], RECORD_PARKED);
        e[i].recording.due_in_us = -US_PER_S * (10 - i);
        assert_int_equal(record_filled(&ours, &e[i]), RECORD_DONE);
    }
    struct arena small;
    arena_init(&small, 100000);
    assert_int_equal(due_take(&ours, &op, &small, 10, 50), 2);
    assert_string_equal(taken_ids(&op), "e0,e2");
    assert_true(op.next_due_in_us == 0);
    arena_fini(&small);
    /* The large one waits for somebody with more room, and does not stand before the others. */
    assert_sql("e1", "SELECT event_id FROM signup.event WHERE due_at > now() + interval '20 s'");
    assert_int_equal(due_take(&ours, &op, &arena, 10, 51), 2);
    assert_string_equal(taken_ids(&op), "e3,e4");
    ASK("UPDATE signup.event SET due_at = now() WHERE event_id = 'e1'");
    assert_int_equal(due_take(&theirs, &op, &arena, 10, 52), 1);
}

/* A row that somebody has written over by hand does not keep the others from being taken. */
static void unreadable_row_is_passed_over(void **state)
{
    (void)state;
    struct event e[3];
    struct due_take_op op;
    for (int i = 0; i < 3; i++) {
        char id[8];
        snprintf(id, sizeof id, "e%d", i);
        park(&e[i], id, i, NULL, 0);
    }
    ASK("UPDATE signup.event SET headers = '{\"not\": \"ours\"}' WHERE event_id = 'e1'");
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 2);
    assert_string_equal(taken_ids(&op), "e0,e2");
}

/* Thousands behind one event cost a few looks, not one each time, and nobody else waits for them. */
static void crowd_behind_one_contact_gives_way(void **state)
{
    (void)state;
    struct event e;
    struct due_take_op op;
    park(&e, "head", 1, A, 0);
    ASK("INSERT INTO signup.event (event_id, topic, partition, \"offset\", state, phone_number, list_number, "
        "due_at, park_order, payload)"
        " SELECT 'crowd-' || g, 'signups', 0, g, 'parked', '" A
        "', '+18885550000', now() - interval '1 min', 1000000 + g, 'x'"
        " FROM generate_series(1, 3000) g");
    park(&e, "other", 5000, B, 0);
    int looks = 0;
    size_t seen = 0;
    bool other = false;
    for (; looks < 60; looks++) {
        size_t count = due_take(&ours, &op, &arena, 64, 50 + looks);
        for (size_t i = 0; i < count; i++)
            other = other || slice_is(op.events[i].event_id, "other");
        seen += count;
        if (op.next_due_in_us > 0)
            break;
    }
    assert_true(other);
    assert_int_equal(seen, 2);
    assert_in_range(looks, 40, 50);
    assert_true(op.next_due_in_us > US_PER_S);
    assert_sql("t", "SELECT count(*) > 2900 FROM signup.event WHERE due_at > now() + interval '25 s'");
    assert_sql("t", "SELECT max(due_at) < now() + interval '31 s' FROM signup.event");
    assert_int_equal(due_take(&theirs, &op, &arena, 64, 99), 0);
}

/* Two workers take up, record and park again what is due until all is final: nobody has what another has, and
 * each contact's events end in their order. */
static void two_workers_drain_in_order(void **state)
{
    (void)state;
    enum { CONTACTS = 30, EACH = 6 };
    static struct event events[CONTACTS][EACH];
    int ended[CONTACTS] = {0};
    bool held[CONTACTS] = {false};
    for (int i = 0; i < EACH; i++) {
        for (int c = 0; c < CONTACTS; c++) {
            char id[32];
            char phone[32];
            snprintf(id, sizeof id, "%02d-%02d", c, EACH - i); /* ids sort against the order */
            snprintf(phone, sizeof phone, "+120255501%02d", c);
            park(&events[c][i], id, i * CONTACTS + c, phone, (c * 7 + i * 3) % 5 * -US_PER_S);
        }
    }
    struct peer *peers[] = {&ours, &theirs};
    int left = CONTACTS * EACH;
    for (int round = 0; left > 0; round++) {
        assert_true(round < 400);
        struct due_take_op ops[2];
        struct answer answers[2];
        for (int p = 0; p < 2; p++) {
            due_fill(&ops[p], &arena, 11, 2000 + 2 * round + p, &answers[p]);
            assert_int_equal(ledger_port()->due_take(peers[(p + round) % 2]->ledger, &ops[p]), PORT_OK);
        }
        for (int p = 0; p < 2; p++)
            world_wait(&answers[p].done, ANSWER_MS);
        memset(held, 0, sizeof held);
        for (int p = 0; p < 2; p++) {
            for (size_t k = 0; k < ops[p].count; k++) {
                int c = atoi(ops[p].events[k].event_id.ptr);
                assert_false(held[c]);
                held[c] = true;
                struct event *e = &events[c][ended[c]];
                assert_true(slice_equal(ops[p].events[k].event_id, e->signup.event_id));
                e->token = ops[p].token;
                bool again = (round + c) % 4 == 0;
                record_fill(e, again ? RECORD_PARKED : c % 2 ? RECORD_DEAD : RECORD_ACCEPTED);
                e->recording.taken_up = true;
                e->recording.due_in_us = 0;
                assert_int_equal(record_filled(peers[p], e), RECORD_DONE);
                ended[c] += !again;
                left -= !again;
            }
        }
        arena_fini(&arena);
        /* The clock is the server's: what was pushed comes due. */
        if (ops[0].count + ops[1].count == 0)
            ASK("UPDATE signup.event SET due_at = now() WHERE state = 'parked'");
    }
    assert_sql("0", "SELECT count(*) FROM signup.event WHERE state NOT IN ('accepted', 'dead')");
}

/* Plans made on an empty table, used on a full one: no scan of the table, no look at more than is near. */
static void plans_stay_near(void **state)
{
    (void)state;
    struct due_take_op op;
    struct peer fresh;
    ASK("VACUUM ANALYZE signup.event");
    peer_open(&fresh);
    assert_int_equal(due_take(&fresh, &op, &arena, 256, 1), 0);
    ASK("INSERT INTO signup.event (event_id, topic, partition, \"offset\", state, phone_number, list_number, "
        "due_at, park_order, payload)"
        " SELECT 'p' || g, 'signups', 0, g, 'parked', '+1' || g, '+18885550000',"
        " now() + (g - 30000) * interval '1 s', g, 'x' FROM generate_series(1, 60000) g");
    ASK("SELECT pg_stat_force_next_flush()");
    char scans[64];
    char fetched[64];
    snprintf(scans, sizeof scans, "%s",
             ASK("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'event'"));
    snprintf(fetched, sizeof fetched, "%s",
             ASK("SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'event'"));
    for (int i = 0; i < 10; i++) {
        assert_int_equal(due_take(&fresh, &op, &arena, 256, 10 + i), 256);
        assert_true(op.next_due_in_us == 0);
        arena_fini(&arena);
    }
    peer_close(&fresh);
    double end = cluster_now() + 10; /* the backend reports its counts when it leaves */
    while (strcmp(ASK("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signup-worker'"),
                  "2") != 0)
        assert_true(cluster_now() < end);
    assert_sql(scans, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'event'");
    /* 2560 taken: each found once as due and once to be written; behind them those with a lease are passed
     * over, 11520 in all. */
    assert_sql(
        "t",
        "SELECT idx_tup_fetch - %s BETWEEN 5000 AND 25000 FROM pg_stat_user_tables WHERE relname = 'event'",
        fetched);
}

/* ------------------------------------------------------------------ counts */

static void on_counted(struct ledger_counts_op *op, enum ledger_result result)
{
    answered(op->owner, result);
}

static void count(struct ledger_counts_op *op)
{
    struct answer answer = {0};
    *op = (struct ledger_counts_op){.parked = 77, .done = on_counted, .owner = &answer};
    assert_int_equal(ledger_count(ours.ledger, op), PORT_OK);
    assert_false(answer.done);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(answer.calls, 1);
}

static void what_waits_is_counted(void **state)
{
    (void)state;
    struct ledger_counts_op op;
    count(&op);
    assert_true(op.parked == 0 && op.parked_due == 0 && op.dead_unpublished == 0);
    assert_true(op.oldest_parked_due_us == -1 && op.oldest_unpublished_us == -1);
    struct event e[4];
    park(&e[0], "later", 1, NULL, 60 * US_PER_S);
    count(&op);
    assert_true(op.parked == 1 && op.parked_due == 0 && op.oldest_parked_due_us == -1);
    park(&e[1], "now", 2, NULL, -30 * US_PER_S);
    event_init(&e[2], "dead", 3, NULL, 3);
    event_init(&e[3], "published", 4, NULL, 4);
    for (int i = 2; i < 4; i++) {
        assert_int_equal(claim(&ours, &e[i]), CLAIM_GO);
        assert_int_equal(record(&ours, &e[i], RECORD_DEAD), RECORD_DONE);
    }
    ASK("UPDATE signup.event SET dead_letter_published_at = now() WHERE event_id = 'published'");
    ASK("UPDATE signup.event SET finished_at = now() - interval '1 hour' WHERE state = 'dead'");
    count(&op);
    assert_true(op.parked == 2 && op.parked_due == 1 && op.dead_unpublished == 1);
    assert_in_range(op.oldest_parked_due_us, 30 * US_PER_S, 40 * US_PER_S);
    assert_in_range(op.oldest_unpublished_us, 3600 * US_PER_S, 3610 * US_PER_S);
}

/* More than a slice, and many of one time. */
static void slices_miss_nothing(void **state)
{
    (void)state;
    struct ledger_counts_op op;
    ASK("INSERT INTO signup.event (event_id, topic, partition, \"offset\", state, due_at, park_order)"
        " SELECT 'p' || g, 'signups', 0, g, 'parked', now() + (CASE WHEN g BETWEEN 15000 AND 45000 THEN "
        "15000 ELSE g END - 50000)"
        "   * interval '1 ms', g FROM generate_series(1, 70000) g");
    ASK("INSERT INTO signup.event (event_id, topic, partition, \"offset\", state, finished_at)"
        " SELECT 'd' || g, 'signups', 0, g, 'dead', now() - interval '1 s' FROM generate_series(1, 25000) g");
    count(&op);
    assert_true(op.parked == 70000 && op.parked_due >= 50000 && op.dead_unpublished == 25000);
    assert_in_range(op.oldest_parked_due_us, 49 * US_PER_S, 60 * US_PER_S);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_peers, close_peers)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(parked_event_is_as_it_came),
        CASE(tombstone_stays_null),
        CASE(nothing_is_parked),
        CASE(next_due_is_told),
        CASE(contacts_go_in_their_order),
        CASE(parked_again_keeps_its_place),
        CASE(taken_up_still_keeps_others_behind),
        CASE(ended_lease_means_maybe_sent),
        CASE(released_is_due_as_before),
        CASE(extension_of_a_taken_up_event),
        CASE(live_claim_is_waited_for),
        CASE(contactless_is_never_blocked),
        CASE(claim_behind_blocks_nobody_before_it),
        CASE(lost_claim_is_judged_again),
        CASE(claim_behind_is_taken_over),
        CASE(age_counts_from_the_present_life),
        CASE(tries_are_numbered_on),
        CASE(warnings_are_written_once_it_is_final),
        CASE(lost_take_gives_the_same_again),
        CASE(lost_record_of_a_parked_event),
        CASE(wake_never_waits),
        CASE(only_final_records_wake),
        CASE(poison_among_the_taken_up),
        CASE(what_does_not_fit_is_not_taken),
        CASE(unreadable_row_is_passed_over),
        CASE(crowd_behind_one_contact_gives_way),
        CASE(two_workers_drain_in_order),
        CASE(plans_stay_near),
        CASE(what_waits_is_counted),
        CASE(slices_miss_nothing),
    };
    return cmocka_run_group_tests_name("ledger/due", tests, world_setup, world_teardown);
}
