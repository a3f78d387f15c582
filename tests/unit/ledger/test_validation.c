/* Validations: what is known of a phone comes with the claim and the take-up, what was looked up is
 * remembered and spent once, and what came from memory changes neither. */
#include "ledger_world.h"

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

#define A "+12025550101"
#define B "+12025550102"
#define PAID \
    "{\"disposition\":\"ok\",\"line_type\":\"mobile\",\"on_dnc\":false,\"cost\":0.003,\"cached\":false}"
#define FREE "{\"disposition\":\"risky\",\"cost\":0,\"cached\":true}"

static bool holds(struct slice text, const char *part)
{
    char copy[1024];
    snprintf(copy, sizeof copy, "%.*s", (int)text.len, text.ptr);
    return strstr(copy, part) != NULL;
}

static void remember(const char *phone, const char *age)
{
    ASK("INSERT INTO signup.phone_validation (phone_number, validation, validated_at) VALUES ('%s', '" PAID
        "', now() - interval '%s')",
        phone, age);
}

static enum claim_answer claim_known(struct peer *peer, struct event *event)
{
    claim_fill(event);
    event->claim.wants_known = true;
    event->claim.arena = &arena;
    struct claim_item *items[] = {&event->claim};
    struct answer answer = {0};
    struct claim_op op = {
        .items = items, .count = 1, .lease_us = 60 * US_PER_S, .done = on_claimed, .owner = &answer};
    assert_int_equal(ledger_port()->claim(peer->ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    return event->claim.answer;
}

static enum record_answer record_validated(struct peer *peer, struct event *event, enum record_state state,
                                           const char *validation, bool fresh)
{
    record_fill(event, state);
    event->recording.validation = slice_from_str(validation);
    event->recording.validation_fresh = fresh;
    return record_filled(peer, event);
}

/* ------------------------------------------------------------------ what is known */

static void claim_tells_what_is_known(void **state)
{
    (void)state;
    struct event e;
    remember(A, "2 hours");
    event_init(&e, "e1", 1, A, 1);
    assert_int_equal(claim_known(&ours, &e), CLAIM_GO);
    const struct known_validation *known = &e.claim.known;
    assert_true(slice_present(known->validation));
    assert_true(holds(known->validation, "\"cost\": 0,") || holds(known->validation, "\"cost\": 0}"));
    assert_true(holds(known->validation, "\"cached\": true"));
    assert_true(holds(known->validation, "\"disposition\": \"ok\""));
    assert_in_range(known->age_us, 7200 * US_PER_S, 7260 * US_PER_S);
    /* The same claim again (its answer was lost) tells it again. */
    e.claim.known = (struct known_validation){0};
    assert_int_equal(claim_known(&ours, &e), CLAIM_GO);
    assert_true(slice_present(e.claim.known.validation));
    event_init(&e, "e2", 2, B, 2);
    assert_int_equal(claim_known(&ours, &e), CLAIM_GO);
    assert_false(slice_present(e.claim.known.validation));
    event_init(&e, "e3", 3, NULL, 3);
    assert_int_equal(claim_known(&ours, &e), CLAIM_GO);
    assert_false(slice_present(e.claim.known.validation));
    /* Nothing that could be read as a validation. */
    ASK("UPDATE signup.phone_validation SET validation = '[1]'");
    event_init(&e, "e4", 4, A, 4);
    ASK("DELETE FROM signup.event");
    assert_int_equal(claim_known(&ours, &e), CLAIM_GO);
    assert_false(slice_present(e.claim.known.validation));
}

/* Written by a statement that had begun after ours: of age 0, not of the future. */
static void what_is_known_is_never_of_the_future(void **state)
{
    (void)state;
    struct event e;
    remember(A, "-1 minute");
    event_init(&e, "e1", 1, A, 1);
    assert_int_equal(claim_known(&ours, &e), CLAIM_GO);
    assert_true(slice_present(e.claim.known.validation) && e.claim.known.age_us == 0);
}

static void full_arena_means_nothing_known(void **state)
{
    (void)state;
    struct event e;
    remember(A, "1 s");
    arena_fini(&arena);
    arena_init(&arena, 16);
    event_init(&e, "e1", 1, A, 1);
    assert_int_equal(claim_known(&ours, &e), CLAIM_GO);
    assert_false(slice_present(e.claim.known.validation));
}

#define BATCH 256
static struct event events[BATCH];
static struct claim_item *claims[BATCH];
static struct record_item *records[BATCH];

static void batch_init(const char *prefix, int first)
{
    for (int i = 0; i < BATCH; i++) {
        char id[32];
        char phone[32];
        snprintf(id, sizeof id, "%s-%05d", prefix, first + i);
        snprintf(phone, sizeof phone, "+1303%07d", first + i);
        event_init(&events[i], id, first + i, phone, first + i + 1);
        claim_fill(&events[i]);
        events[i].claim.arena = &arena;
        claims[i] = &events[i].claim;
        records[i] = &events[i].recording;
    }
}

static void batch_claim(struct peer *peer)
{
    struct answer answer = {0};
    struct claim_op op = {
        .items = claims, .count = BATCH, .lease_us = 60 * US_PER_S, .done = on_claimed, .owner = &answer};
    assert_int_equal(ledger_port()->claim(peer->ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(answer.calls, 1);
}

static void batch_record(struct peer *peer)
{
    struct answer answer = {0};
    struct record_op op = {.items = records, .count = BATCH, .done = on_recorded, .owner = &answer};
    assert_int_equal(ledger_port()->record(peer->ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
}

static void only_those_who_ask_are_told(void **state)
{
    (void)state;
    batch_init("e", 0);
    ASK("INSERT INTO signup.phone_validation (phone_number, validation)"
        " SELECT '+1303' || lpad(g::text, 7, '0'), '" PAID "' FROM generate_series(0, 255) g");
    for (int i = 0; i < BATCH; i++)
        events[i].claim.wants_known = i % 3 == 0;
    events[100].signup.phone_number = (struct slice){"+1\xff", 3}; /* the batch is halved on the way */
    batch_claim(&ours);
    for (int i = 0; i < BATCH; i++) {
        assert_int_equal(events[i].claim.answer, i == 100 ? CLAIM_POISON : CLAIM_GO);
        assert_int_equal(slice_present(events[i].claim.known.validation), i % 3 == 0);
    }
}

static void due_take_tells_what_is_known(void **state)
{
    (void)state;
    struct event e[3];
    struct due_take_op op;
    const char *phones[] = {A, B, NULL};
    remember(A, "3 days");
    for (int i = 0; i < 3; i++) {
        char id[8];
        snprintf(id, sizeof id, "e%d", i);
        event_init(&e[i], id, i, phones[i], i + 1);
        assert_int_equal(claim(&ours, &e[i]), CLAIM_GO);
        record_fill(&e[i], RECORD_PARKED);
        e[i].recording.due_in_us = (i - 10) * US_PER_S;
        assert_int_equal(record_filled(&ours, &e[i]), RECORD_DONE);
    }
    assert_int_equal(due_take(&ours, &op, &arena, 10, 50), 3);
    assert_true(holds(op.events[0].known.validation, "\"cached\": true"));
    assert_in_range(op.events[0].known.age_us, 3 * 86400 * US_PER_S, (3 * 86400 + 60) * US_PER_S);
    assert_false(slice_present(op.events[1].known.validation));
    assert_false(slice_present(op.events[2].known.validation));
}

/* ------------------------------------------------------------------ what is written */

static void fresh_one_is_remembered_and_spent(void **state)
{
    (void)state;
    struct event e;
    const enum record_state states[] = {RECORD_ACCEPTED, RECORD_DEAD, RECORD_PARKED};
    for (int i = 0; i < 3; i++) {
        world_clear();
        event_init(&e, "e1", 1, A, 1);
        assert_int_equal(claim(&ours, &e), CLAIM_GO);
        for (int again = 0; again < 3; again++) /* answers that were lost */
            assert_int_equal(record_validated(&ours, &e, states[i], PAID, true), RECORD_DONE);
        assert_sql("t mobile", "SELECT concat_ws(' ', (validation ->> 'cost')::numeric = 0.003,"
                               " (SELECT line_type FROM signup.phone_validation WHERE phone_number = '" A
                               "')) FROM signup.event");
        assert_sql(
            "1 1 1 0.003",
            "SELECT concat_ws(' ', count(*), sum(lookups), sum(paid), sum(cost_usd)) FROM signup.validation_day"
            " WHERE day = (now() AT TIME ZONE 'UTC')::date");
    }
}

static void one_from_memory_costs_nothing(void **state)
{
    (void)state;
    struct event e;
    remember(A, "1 day");
    char before[128];
    snprintf(before, sizeof before, "%s",
             ASK("SELECT concat_ws(' ', validation, validated_at) FROM signup.phone_validation"));
    event_init(&e, "e1", 1, A, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_int_equal(record_validated(&ours, &e, RECORD_ACCEPTED, FREE, false), RECORD_DONE);
    assert_sql("risky", "SELECT validation ->> 'disposition' FROM signup.event");
    assert_sql(before, "SELECT concat_ws(' ', validation, validated_at) FROM signup.phone_validation");
    assert_sql("0", "SELECT count(*) FROM signup.validation_day");
    assert_sql("0 0 1",
               "SELECT concat_ws(' ', cost_usd, paid_lookups, validations) FROM signup.validation_spend");
}

/* A row that has paid keeps what it has paid for; one that is looked up anew has the new one. */
static void parked_row_keeps_its_validation(void **state)
{
    (void)state;
    struct event e;
    struct due_take_op op;
    event_init(&e, "e1", 1, A, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    record_fill(&e, RECORD_PARKED);
    e.recording.due_in_us = 0;
    e.recording.validation = SLICE_LITERAL(PAID);
    e.recording.validation_fresh = true;
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    const char *others[] = {NULL, FREE};
    for (int i = 0; i < 2; i++) {
        arena_fini(&arena);
        arena_init(&arena, 1 << 20);
        assert_int_equal(due_take(&ours, &op, &arena, 10, 50 + i), 1);
        e.token = op.token;
        record_fill(&e, RECORD_PARKED);
        e.recording.due_in_us = 0;
        e.recording.validation = slice_from_str(others[i]);
        assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
        assert_sql("ok", "SELECT validation ->> 'disposition' FROM signup.event");
    }
    arena_fini(&arena);
    arena_init(&arena, 1 << 20);
    assert_int_equal(due_take(&ours, &op, &arena, 10, 60), 1);
    e.token = op.token;
    assert_int_equal(record_validated(&ours, &e, RECORD_ACCEPTED, FREE, true), RECORD_DONE);
    assert_sql("risky risky", "SELECT concat_ws(' ', validation ->> 'disposition', (SELECT disposition FROM"
                              " signup.phone_validation)) FROM signup.event");
    assert_sql("2 1 0.003",
               "SELECT concat_ws(' ', lookups, paid_lookups, cost_usd) FROM signup.validation_budget");
}

/* A corrected event under its old id speaks of another phone. */
static void validation_of_another_phone_is_not_kept(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 1, A, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_int_equal(record_validated(&ours, &e, RECORD_DEAD, PAID, true), RECORD_DONE);
    event_init(&e, "e1", 2, B, 2);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_sql("t", "SELECT validation IS NULL FROM signup.event");
    assert_int_equal(record_validated(&ours, &e, RECORD_ACCEPTED, FREE, false), RECORD_DONE);
    assert_sql("risky", "SELECT validation ->> 'disposition' FROM signup.event");
    /* Of the same phone it is. */
    event_init(&e, "e2", 3, A, 3);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_int_equal(record_validated(&ours, &e, RECORD_DEAD, PAID, true), RECORD_DONE);
    event_init(&e, "e2", 4, A, 4);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_int_equal(record_validated(&ours, &e, RECORD_ACCEPTED, FREE, false), RECORD_DONE);
    assert_sql("ok", "SELECT validation ->> 'disposition' FROM signup.event WHERE event_id = 'e2'");
}

/* Whoever records the reply alone had asked for its validation. */
static void validation_of_a_reply_is_fresh(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 1, A, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    record_fill(&e, RECORD_ACCEPTED);
    e.reply.validation = SLICE_LITERAL(PAID);
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    assert_sql("1 0.003", "SELECT concat_ws(' ', lookups, cost_usd) FROM signup.validation_day");
    assert_sql("1", "SELECT count(*) FROM signup.phone_validation");
}

static void odd_costs_are_nothing(void **state)
{
    (void)state;
    static const char *const odd[] = {"{\"disposition\":\"ok\"}",
                                      "{\"cost\":\"0.003\"}",
                                      "{\"cost\":null}",
                                      "{\"cost\":-5}",
                                      "{\"cost\":{}}",
                                      "[]"};
    for (int i = 0; i < 6; i++) {
        char id[8];
        struct event e;
        snprintf(id, sizeof id, "e%d", i);
        event_init(&e, id, i, A, i + 1);
        assert_int_equal(claim(&ours, &e), CLAIM_GO);
        assert_int_equal(record_validated(&ours, &e, RECORD_ACCEPTED, odd[i], true), RECORD_DONE);
    }
    assert_sql("6 0 0", "SELECT concat_ws(' ', lookups, paid, cost_usd) FROM signup.validation_day");
}

/* What is refused, and what is somebody else's, is not spent. */
static void only_rows_that_are_written_count(void **state)
{
    (void)state;
    batch_init("e", 0);
    batch_claim(&ours);
    for (int i = 0; i < BATCH; i++) {
        record_fill(&events[i], i % 2 ? RECORD_ACCEPTED : RECORD_DEAD);
        events[i].recording.validation = SLICE_LITERAL(PAID);
        events[i].recording.validation_fresh = i % 4 == 0;
    }
    events[8].recording.token = token_of(999999);               /* another's by now */
    events[12].recording.validation = SLICE_LITERAL("no json"); /* poison: the batch is halved */
    batch_record(&ours);
    batch_record(&ours); /* its answer was lost */
    assert_int_equal(events[8].recording.answer, RECORD_REFUSED);
    assert_int_equal(events[12].recording.answer, RECORD_POISON);
    assert_sql("62 62 0.186", "SELECT concat_ws(' ', lookups, paid, cost_usd) FROM signup.validation_day");
    assert_sql("62", "SELECT count(*) FROM signup.phone_validation");
    events[12].recording.bare = true;
    assert_int_equal(record_filled(&ours, &events[12]), RECORD_DONE);
    assert_sql("62", "SELECT lookups FROM signup.validation_day");
}

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

/* A statement that is lost on the way, executed or not: recorded again it counts once. */
static void lost_record_is_spent_once(void **state)
{
    (void)state;
    for (int executed = 0; executed < 2; executed++) {
        struct event e;
        struct answer answer = {0};
        world_clear();
        event_init(&e, "e1", 1, A, 1);
        assert_int_equal(claim(&ours, &e), CLAIM_GO);
        if (executed) /* as the server would have done it before it died */
            assert_int_equal(record_validated(&theirs, &e, RECORD_ACCEPTED, PAID, true), RECORD_DONE);
        ASK("BEGIN");
        ASK("LOCK TABLE signup.event IN ACCESS EXCLUSIVE MODE");
        record_fill(&e, RECORD_ACCEPTED);
        e.recording.validation = SLICE_LITERAL(PAID);
        e.recording.validation_fresh = true;
        struct record_item *items[] = {&e.recording};
        struct record_op op = {.items = items, .count = 1, .done = on_recorded, .owner = &answer};
        assert_int_equal(ledger_port()->record(ours.ledger, &op), PORT_OK);
        wait_for_lock();
        ASK("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
        world_wait(&answer.done, ANSWER_MS);
        assert_int_equal(answer.result, LEDGER_AWAY);
        ASK("COMMIT");
        peer_wait(&ours, LEDGER_CONDITION_UP, 5000);
        assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
        assert_sql("1 0.003", "SELECT concat_ws(' ', lookups, cost_usd) FROM signup.validation_budget");
    }
}

/* ------------------------------------------------------------------ the day's spend */

static void on_spend(struct spend_op *op, enum ledger_result result)
{
    answered(op->owner, result);
}

static void spend(struct peer *peer, struct spend_op *op)
{
    struct answer answer = {0};
    *op = (struct spend_op){.spent = 77, .done = on_spend, .owner = &answer};
    assert_int_equal(ledger_port()->spend(peer->ledger, op), PORT_OK);
    assert_false(answer.done);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(answer.calls, 1);
}

static void spend_is_that_of_all_workers_today(void **state)
{
    (void)state;
    struct spend_op op;
    spend(&ours, &op);
    assert_true(op.spent == 0);
    assert_int_equal(op.day, clock_wall_now().us / US_PER_S / 86400);
    int64_t left_us = 86400 * US_PER_S - clock_wall_now().us % (86400 * US_PER_S);
    assert_true(llabs(op.day_ends_in_us - left_us) < 5 * US_PER_S);
    for (int i = 0; i < 5; i++) {
        struct event e;
        char id[8];
        snprintf(id, sizeof id, "e%d", i);
        event_init(&e, id, i, A, i + 1);
        struct peer *peer = i % 2 ? &ours : &theirs;
        assert_int_equal(claim(peer, &e), CLAIM_GO);
        assert_int_equal(record_validated(peer, &e, RECORD_ACCEPTED, PAID, true), RECORD_DONE);
    }
    ASK("INSERT INTO signup.validation_day VALUES ((now() AT TIME ZONE 'UTC')::date - 1, gen_random_uuid(), 9, 9, 1000),"
        " ((now() AT TIME ZONE 'UTC')::date, gen_random_uuid(), 1, 1, 1.5)");
    spend(&ours, &op);
    assert_true(op.spent == 15000 + 1500000);
    assert_sql("3 6 1.515", "SELECT concat_ws(' ', workers, lookups, cost_usd) FROM signup.validation_budget"
                            " WHERE day = (now() AT TIME ZONE 'UTC')::date");
}

/* Each has a row of its own: one that stands still in the middle of its statement holds up nobody. */
static void workers_do_not_wait_for_each_other(void **state)
{
    (void)state;
    struct event e[2];
    for (int i = 0; i < 2; i++) {
        event_init(&e[i], i ? "theirs" : "ours", i, i ? B : A, i + 1);
        assert_int_equal(claim(&ours, &e[i]), CLAIM_GO);
    }
    event_init(&e[1], "first", 3, "+12025550103", 4);
    assert_int_equal(claim(&ours, &e[1]), CLAIM_GO);
    assert_int_equal(record_validated(&ours, &e[1], RECORD_ACCEPTED, PAID, true), RECORD_DONE);
    ASK("BEGIN");
    ASK("SELECT 1 FROM signup.validation_day FOR UPDATE"); /* ours is in the middle of it */
    assert_int_equal(record_validated(&theirs, &e[0], RECORD_ACCEPTED, PAID, true), RECORD_DONE);
    ASK("COMMIT");
    assert_sql("2", "SELECT count(*) FROM signup.validation_day");
}

/* Plans made on empty tables, used on full ones. */
static void plans_stay_near(void **state)
{
    (void)state;
    struct peer fresh;
    ASK("VACUUM ANALYZE signup.event");
    ASK("VACUUM ANALYZE signup.phone_validation");
    peer_open(&fresh);
    batch_init("warm", 0);
    events[0].claim.wants_known = true;
    batch_claim(&fresh);
    /* 200,000 phones; a contact of 20,000 events that are final, whose index of all events by phone looks as
     * good as that of the open ones while the table is empty. */
    ASK("INSERT INTO signup.phone_validation (phone_number, validation)"
        " SELECT '+1303' || lpad(g::text, 7, '0'), '" PAID "' FROM generate_series(0, 200000) g");
    ASK("INSERT INTO signup.event (event_id, topic, partition, \"offset\", state, phone_number, list_number, finished_at)"
        " SELECT 'crowd' || g, 'signups', 1, g, 'accepted', '" A
        "', '+18885550000', now() FROM generate_series(1, 20000) g");
    ASK("SELECT pg_stat_force_next_flush()");
    static const char counts[] =
        "SELECT concat_ws(' ', sum(seq_scan), sum(CASE relname WHEN 'event' THEN idx_tup_fetch END),"
        " sum(CASE relname WHEN 'phone_validation' THEN idx_tup_fetch END))"
        " FROM pg_stat_user_tables WHERE relname IN ('event', 'phone_validation', 'validation_day')";
    long long before[3];
    long long after[3];
    assert_int_equal(sscanf(ASK("%s", counts), "%lld %lld %lld", &before[0], &before[1], &before[2]), 3);
    for (int round = 1; round <= 4; round++) {
        batch_init("round", round * 1000);
        events[7].signup.phone_number = SLICE_LITERAL(A);
        for (int i = 0; i < BATCH; i++)
            events[i].claim.wants_known = true;
        batch_claim(&fresh);
        struct lease_item lease = {.event_id = events[7].signup.event_id, .token = events[7].token};
        struct answer answer = {0};
        struct lease_op extend = {
            .items = &lease, .count = 1, .lease_us = 60 * US_PER_S, .done = on_extended, .owner = &answer};
        ASK("UPDATE signup.event SET lease_until = now() - interval '1 s' WHERE event_id = 'round-%05d'",
            round * 1000 + 7);
        assert_int_equal(ledger_port()->extend(fresh.ledger, &extend), PORT_OK);
        world_wait(&answer.done, ANSWER_MS);
        assert_true(lease.held);
        for (int i = 0; i < BATCH; i++) {
            assert_int_equal(events[i].claim.answer, CLAIM_GO);
            assert_int_equal(slice_present(events[i].claim.known.validation), i != 7 || round > 1);
            record_fill(&events[i], RECORD_PARKED);
            events[i].recording.due_in_us = 0;
            events[i].recording.validation = SLICE_LITERAL(PAID);
            events[i].recording.validation_fresh = i % 2;
        }
        batch_record(&fresh);
        struct due_take_op op;
        arena_fini(&arena);
        arena_init(&arena, 8 << 20);
        assert_int_equal(due_take(&fresh, &op, &arena, BATCH, 5000000 + round), BATCH);
        for (int i = 0; i < BATCH; i++) {
            events[i].token = op.token;
            record_fill(&events[i], RECORD_ACCEPTED);
            events[i].recording.taken_up = true;
        }
        batch_record(&fresh);
        assert_int_equal(events[7].recording.answer, RECORD_DONE);
        struct spend_op today;
        spend(&fresh, &today);
    }
    peer_close(&fresh);
    double end = cluster_now() + 10; /* the backend reports its counts when it leaves */
    while (strcmp(ASK("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signup-worker'"),
                  "2") != 0)
        assert_true(cluster_now() < end);
    assert_int_equal(sscanf(ASK("%s", counts), "%lld %lld %lld", &after[0], &after[1], &after[2]), 3);
    assert_int_equal(after[0], before[0]); /* no scan of a table */
    assert_in_range(after[1] - before[1], 4000,
                    20000); /* 1024 events, found a few times each; never the crowd's */
    assert_in_range(after[2] - before[2], 2000, 6000); /* asked for twice, written once by half of them */
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_peers, close_peers)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(claim_tells_what_is_known),
        CASE(what_is_known_is_never_of_the_future),
        CASE(full_arena_means_nothing_known),
        CASE(only_those_who_ask_are_told),
        CASE(due_take_tells_what_is_known),
        CASE(fresh_one_is_remembered_and_spent),
        CASE(one_from_memory_costs_nothing),
        CASE(parked_row_keeps_its_validation),
        CASE(validation_of_another_phone_is_not_kept),
        CASE(validation_of_a_reply_is_fresh),
        CASE(odd_costs_are_nothing),
        CASE(only_rows_that_are_written_count),
        CASE(lost_record_is_spent_once),
        CASE(spend_is_that_of_all_workers_today),
        CASE(workers_do_not_wait_for_each_other),
        CASE(plans_stay_near),
    };
    return cmocka_run_group_tests_name("ledger/validation", tests, world_setup, world_teardown);
}
