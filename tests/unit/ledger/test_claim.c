/* The claim's answers (design section 4), on a real PostgreSQL. */
#include "ledger_world.h"

static struct peer ours;

static int open_peer(void **state)
{
    (void)state;
    world_clear();
    peer_open(&ours);
    return 0;
}

static int close_peer(void **state)
{
    (void)state;
    peer_close(&ours);
    return 0;
}

#define A "+12025550101"
#define B "+12025550102"

static void new_event_goes(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_false(e.claim.maybe_sent);
    assert_int_equal(e.claim.attempts, 0);
    assert_sql(
        "claimed signups 0 5 +12025550101 +18885550000 32 t t {} 0",
        "SELECT concat_ws(' ', state, topic, partition, \"offset\", phone_number, list_number, length(payload_digest),"
        " lease_until > now() + interval '50 s', received_at <= now(), sources, replays) FROM signup.event");
}

static void same_token_again_goes(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_false(e.claim.maybe_sent);
}

static void contactless_event_goes(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "signups:0:9", 9, NULL, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_sql("t", "SELECT phone_number IS NULL AND list_number IS NULL FROM signup.event");
}

static void final_row_settles_its_position(void **state)
{
    (void)state;
    const enum record_state states[] = {RECORD_ACCEPTED, RECORD_DEAD, RECORD_PARKED};
    for (size_t i = 0; i < 3; i++) {
        world_clear();
        struct event e;
        event_init(&e, "e1", 5, A, 1);
        assert_int_equal(claim(&ours, &e), CLAIM_GO);
        assert_int_equal(record(&ours, &e, states[i]), RECORD_DONE);
        char before[64];
        snprintf(before, sizeof before, "%s", ASK("SELECT xmin FROM signup.event"));
        e.token = token_of(2);
        assert_int_equal(claim(&ours, &e), CLAIM_SETTLED);
        /* Reading again changes no row, also not by an update that changes nothing. */
        assert_sql(before, "SELECT xmin FROM signup.event");
    }
}

static void same_contact_settles_other_position(void **state)
{
    (void)state;
    struct event first;
    struct event second;
    event_init(&first, "e1", 5, A, 1);
    event_init(&second, "e1", 6, A, 2);
    assert_int_equal(claim(&ours, &first), CLAIM_GO);
    assert_int_equal(record(&ours, &first, RECORD_ACCEPTED), RECORD_DONE);
    assert_int_equal(claim(&ours, &second), CLAIM_SETTLED);
    assert_sql("0", "SELECT count(*) FROM signup.warning");
}

static void differing_duplicate_is_warned_of_once(void **state)
{
    (void)state;
    struct event first;
    struct event second;
    event_init(&first, "e1", 5, A, 1);
    event_init(&second, "e1", 6, A, 2);
    second.signup.digest[0] = 1;
    assert_int_equal(claim(&ours, &first), CLAIM_GO);
    assert_int_equal(record(&ours, &first, RECORD_PARKED), RECORD_DONE);
    for (int i = 0; i < 3; i++)
        assert_int_equal(claim(&ours, &second), CLAIM_SETTLED);
    assert_sql(
        "1 t worker duplicate_differs",
        "SELECT concat_ws(' ', count(*), min(message) LIKE '%%signups:0:6%%', min(source), min(code)) FROM signup.warning");
    second.record.offset = 7;
    assert_int_equal(claim(&ours, &second), CLAIM_SETTLED);
    assert_sql("2", "SELECT count(*) FROM signup.warning");
    /* The row's own position is settled before anything is compared. */
    first.signup.digest[0] = 3;
    assert_int_equal(claim(&ours, &first), CLAIM_SETTLED);
    assert_sql("2", "SELECT count(*) FROM signup.warning");
}

static void dead_row_is_reopened_at_another_position(void **state)
{
    (void)state;
    struct event bad;
    struct event good;
    event_init(&bad, "e1", 5, NULL, 1);
    event_init(&good, "e1", 6, A, 2);
    good.signup.digest[0] = 9;
    assert_int_equal(claim(&ours, &bad), CLAIM_GO);
    assert_int_equal(record(&ours, &bad, RECORD_DEAD), RECORD_DONE);
    ASK("UPDATE signup.event SET dead_letter_published_at = now(), maybe_sent = true, attempts = 4");
    assert_int_equal(claim(&ours, &good), CLAIM_GO);
    assert_true(good.claim.maybe_sent);
    assert_int_equal(good.claim.attempts, 0);
    assert_sql(
        "claimed 6 1 {signups:0:5} +12025550101 t 0",
        "SELECT concat_ws(' ', state, \"offset\", replays, sources, phone_number,"
        " http_status IS NULL AND code IS NULL AND error IS NULL AND error_class IS NULL AND payload IS NULL AND headers IS NULL"
        " AND record_key IS NULL AND finished_at IS NULL AND dead_letter_published_at IS NULL AND"
        " get_byte(payload_digest, 0) = 9, attempts) FROM signup.event");
    assert_int_equal(record(&ours, &good, RECORD_ACCEPTED), RECORD_DONE);
    /* The old position is among the sources: reading the whole topic again makes no call. */
    bad.token = token_of(3);
    assert_int_equal(claim(&ours, &bad), CLAIM_SETTLED);
    assert_int_equal(claim(&ours, &good), CLAIM_SETTLED);
    assert_sql("1 0",
               "SELECT concat_ws(' ', replays, (SELECT count(*) FROM signup.warning)) FROM signup.event");
}

static void dead_again_settles_all_its_positions(void **state)
{
    (void)state;
    struct event first;
    struct event second;
    event_init(&first, "e1", 5, A, 1);
    event_init(&second, "e1", 6, A, 2);
    assert_int_equal(claim(&ours, &first), CLAIM_GO);
    assert_int_equal(record(&ours, &first, RECORD_DEAD), RECORD_DONE);
    assert_int_equal(claim(&ours, &second), CLAIM_GO);
    assert_int_equal(record(&ours, &second, RECORD_DEAD), RECORD_DONE);
    first.token = second.token = token_of(3);
    assert_int_equal(claim(&ours, &first), CLAIM_SETTLED);
    assert_int_equal(claim(&ours, &second), CLAIM_SETTLED);
    second.record.offset = 7;
    assert_int_equal(claim(&ours, &second), CLAIM_GO);
    assert_sql("2 {signups:0:5,signups:0:6}", "SELECT concat_ws(' ', replays, sources) FROM signup.event");
}

static void live_claim_is_busy_or_conflict(void **state)
{
    (void)state;
    struct event e;
    struct event twin;
    struct event stranger;
    struct event contactless;
    event_init(&e, "e1", 5, A, 1);
    event_init(&twin, "e1", 6, A, 2);
    event_init(&stranger, "e1", 7, B, 3);
    event_init(&contactless, "e1", 8, NULL, 4);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    e.token = token_of(9);
    assert_int_equal(claim(&ours, &e), CLAIM_BUSY);
    assert_int_equal(claim(&ours, &twin), CLAIM_BUSY);
    assert_int_equal(claim(&ours, &stranger), CLAIM_CONFLICT);
    assert_int_equal(claim(&ours, &contactless), CLAIM_CONFLICT);
}

/* A claimed row without a contact is about to die: the corrected event under its id must be served, not
 * refused. */
static void contactless_claim_makes_others_wait(void **state)
{
    (void)state;
    struct event bad;
    struct event good;
    event_init(&bad, "e1", 5, NULL, 1);
    event_init(&good, "e1", 6, A, 2);
    assert_int_equal(claim(&ours, &bad), CLAIM_GO);
    assert_int_equal(claim(&ours, &good), CLAIM_BUSY);
    assert_int_equal(record(&ours, &bad, RECORD_DEAD), RECORD_DONE);
    assert_int_equal(claim(&ours, &good), CLAIM_GO);
}

static void expired_claim_is_taken_over(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    assert_int_equal(claim_for(&ours, &e, 0), CLAIM_GO);
    e.token = token_of(2);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_true(e.claim.maybe_sent);
    assert_sql("{} t", "SELECT concat_ws(' ', sources, maybe_sent) FROM signup.event");
}

static void expired_claim_is_taken_over_by_its_twin(void **state)
{
    (void)state;
    struct event e;
    struct event twin;
    struct event stranger;
    event_init(&e, "e1", 5, A, 1);
    event_init(&twin, "e1", 6, A, 2);
    event_init(&stranger, "e1", 7, B, 3);
    assert_int_equal(claim_for(&ours, &e, 0), CLAIM_GO);
    assert_int_equal(claim(&ours, &stranger), CLAIM_CONFLICT);
    assert_int_equal(claim_for(&ours, &twin, 0), CLAIM_GO);
    assert_true(twin.claim.maybe_sent);
    assert_sql("6 {signups:0:5}", "SELECT concat_ws(' ', \"offset\", sources) FROM signup.event");
    /* A position among the sources is answered for by the later one, also while that is in work or its
     * claimant is gone. */
    e.token = token_of(4);
    assert_int_equal(claim(&ours, &e), CLAIM_SETTLED);
    assert_sql("6 {signups:0:5}", "SELECT concat_ws(' ', \"offset\", sources) FROM signup.event");
}

/* A record that met a foreign event under its id has a row of its own, and keeps it when the foreign event
 * has died since. */
static void conflicts_row_answers_for_its_record(void **state)
{
    (void)state;
    struct event foreign;
    struct event reuser;
    struct event own;
    event_init(&foreign, "e1", 5, A, 1);
    event_init(&reuser, "e1", 6, B, 2);
    event_init(&own, "signups:0:6", 6, B, 3);
    assert_int_equal(claim(&ours, &foreign), CLAIM_GO);
    assert_int_equal(claim(&ours, &reuser), CLAIM_CONFLICT);
    assert_int_equal(claim(&ours, &own), CLAIM_GO);
    assert_sql("", "UPDATE signup.event SET state = 'dead' WHERE event_id = 'e1' RETURNING ''");
    reuser.token = token_of(4);
    assert_int_equal(claim(&ours, &reuser), CLAIM_CONFLICT); /* its own row is still in work */
    assert_sql("", "UPDATE signup.event SET state = 'dead' WHERE event_id = 'signups:0:6' RETURNING ''");
    assert_int_equal(claim(&ours, &reuser), CLAIM_SETTLED);
    assert_sql("0 {}", "SELECT concat_ws(' ', replays, sources) FROM signup.event WHERE event_id = 'e1'");
}

/* Taking over is no way past an earlier event of the same contact. */
static void takeover_waits_for_the_contact(void **state)
{
    (void)state;
    struct event gone;
    struct event live;
    event_init(&gone, "e1", 5, A, 1);
    assert_int_equal(claim_for(&ours, &gone, 0), CLAIM_GO);
    event_init(&live, "e2", 6, A, 2);
    assert_int_equal(claim(&ours, &live), CLAIM_GO);
    gone.token = token_of(3);
    assert_int_equal(claim(&ours, &gone), CLAIM_BUSY);
}

static void released_claim_is_clean(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    record_fill(&e, RECORD_RELEASED);
    e.recording.attempts = 3;
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    assert_sql(
        "claimed t t f 3",
        "SELECT concat_ws(' ', state, token IS NULL, lease_until <= now(), maybe_sent, attempts) FROM signup.event");
    e.token = token_of(2);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_false(e.claim.maybe_sent);
    assert_int_equal(e.claim.attempts, 3);
    record_fill(&e, RECORD_RELEASED);
    e.recording.maybe_sent = true;
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    e.token = token_of(3);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_true(e.claim.maybe_sent);
}

static void other_contact_conflicts_with_final_row(void **state)
{
    (void)state;
    const enum record_state states[] = {RECORD_ACCEPTED, RECORD_PARKED};
    for (size_t i = 0; i < 2; i++) {
        world_clear();
        struct event e;
        struct event stranger;
        struct event contactless;
        event_init(&e, "e1", 5, A, 1);
        event_init(&stranger, "e1", 6, B, 2);
        event_init(&contactless, "e1", 7, NULL, 3);
        assert_int_equal(claim(&ours, &e), CLAIM_GO);
        assert_int_equal(record(&ours, &e, states[i]), RECORD_DONE);
        assert_int_equal(claim(&ours, &stranger), CLAIM_CONFLICT);
        assert_int_equal(claim(&ours, &contactless), CLAIM_CONFLICT);
    }
}

static void parked_neighbour_means_behind(void **state)
{
    (void)state;
    struct event first;
    struct event second;
    event_init(&first, "e1", 5, A, 1);
    event_init(&second, "e2", 6, A, 2);
    assert_int_equal(claim(&ours, &first), CLAIM_GO);
    assert_int_equal(claim(&ours, &second), CLAIM_BUSY);
    assert_int_equal(record(&ours, &first, RECORD_PARKED), RECORD_DONE);
    assert_int_equal(claim(&ours, &second), CLAIM_BEHIND);
    assert_false(second.claim.maybe_sent);
    assert_sql("claimed t t",
               "SELECT concat_ws(' ', state, lease_until > now(), park_order IS NOT NULL) FROM signup.event"
               " WHERE event_id = 'e2'");
    assert_int_equal(record(&ours, &second, RECORD_PARKED), RECORD_DONE);
    assert_sql("parked +12025550101 6 t",
               "SELECT concat_ws(' ', state, phone_number, \"offset\", due_at > now()) FROM signup.event"
               " WHERE event_id = 'e2'");
    ASK("UPDATE signup.event SET state = 'accepted'");
    struct event third;
    event_init(&third, "e3", 7, A, 3);
    assert_int_equal(claim(&ours, &third), CLAIM_GO);
    struct event other;
    event_init(&other, "e4", 8, B, 3);
    assert_int_equal(claim(&ours, &other), CLAIM_GO);
}

static void neighbour_in_flight_means_busy_until_its_lease_ends(void **state)
{
    (void)state;
    struct event first;
    struct event second;
    event_init(&first, "e1", 5, A, 1);
    event_init(&second, "e2", 6, A, 2);
    assert_int_equal(claim(&ours, &first), CLAIM_GO);
    assert_int_equal(claim(&ours, &second), CLAIM_BUSY);
    ASK("UPDATE signup.event SET lease_until = now()");
    assert_int_equal(claim(&ours, &second), CLAIM_GO);
}

static void reopening_waits_behind_a_parked_neighbour(void **state)
{
    (void)state;
    struct event dead;
    struct event parked;
    event_init(&dead, "e1", 5, A, 1);
    event_init(&parked, "e2", 6, A, 2);
    assert_int_equal(claim(&ours, &dead), CLAIM_GO);
    assert_int_equal(record(&ours, &dead, RECORD_DEAD), RECORD_DONE);
    assert_int_equal(claim(&ours, &parked), CLAIM_GO);
    assert_int_equal(record(&ours, &parked, RECORD_PARKED), RECORD_DONE);
    dead.record.offset = 7;
    dead.token = token_of(3);
    assert_int_equal(claim(&ours, &dead), CLAIM_BEHIND);
    assert_sql("claimed 1 {signups:0:5} t",
               "SELECT concat_ws(' ', state, replays, sources, age_from IS NOT NULL) FROM signup.event"
               " WHERE event_id = 'e1'");
    assert_int_equal(record(&ours, &dead, RECORD_PARKED), RECORD_DONE);
    assert_sql("e2,e1", "SELECT string_agg(event_id, ',' ORDER BY park_order) FROM signup.event WHERE state = 'parked'");
}

/* ------------------------------------------------------------------ batches */

#define BATCH 500

static void batch_init(struct event *events, struct claim_item **items, int count, int token)
{
    for (int i = 0; i < count; i++) {
        char id[32];
        char phone[32];
        snprintf(id, sizeof id, "batch-%04d", i);
        snprintf(phone, sizeof phone, "+1202555%04d", i);
        event_init(&events[i], id, i, phone, token + i);
        claim_fill(&events[i]);
        items[i] = &events[i].claim;
    }
}

static void batch_of_500(void **state)
{
    (void)state;
    static struct event events[BATCH];
    static struct claim_item *items[BATCH];
    batch_init(events, items, BATCH, 1000);
    struct answer answer = {0};
    struct claim_op op = {
        .items = items, .count = BATCH, .lease_us = US_PER_S, .done = on_claimed, .owner = &answer};
    assert_int_equal(ledger_port()->claim(ours.ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    for (int i = 0; i < BATCH; i++)
        assert_int_equal(items[i]->answer, CLAIM_GO);
    assert_sql("500", "SELECT count(DISTINCT token) FROM signup.event");
}

static void answers_in_one_batch_differ(void **state)
{
    (void)state;
    struct event e[4];
    event_init(&e[0], "a-settled", 1, "+12025550001", 1);
    event_init(&e[1], "b-busy", 2, "+12025550002", 2);
    assert_int_equal(claim(&ours, &e[0]), CLAIM_GO);
    assert_int_equal(record(&ours, &e[0], RECORD_ACCEPTED), RECORD_DONE);
    assert_int_equal(claim(&ours, &e[1]), CLAIM_GO);
    e[1].token = token_of(20);
    event_init(&e[2], "c-new", 3, "+12025550003", 3);
    event_init(&e[3], "d-new", 4, NULL, 4);
    struct claim_item *items[4];
    for (int i = 0; i < 4; i++) {
        claim_fill(&e[i]);
        items[i] = &e[i].claim;
    }
    struct answer answer = {0};
    struct claim_op op = {
        .items = items, .count = 4, .lease_us = US_PER_S, .done = on_claimed, .owner = &answer};
    assert_int_equal(ledger_port()->claim(ours.ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    const enum claim_answer expected[] = {CLAIM_SETTLED, CLAIM_BUSY, CLAIM_GO, CLAIM_GO};
    for (int i = 0; i < 4; i++)
        assert_int_equal(e[i].claim.answer, expected[i]);
}

static void poison_is_found_and_its_neighbours_go(void **state)
{
    (void)state;
    static struct event events[100];
    static struct claim_item *items[100];
    batch_init(events, items, 100, 1);
    for (int i = 17; i < 100; i += 41) /* no text column takes 0xFF */
        events[i].claim.event_id = events[i].signup.event_id =
            (struct slice){i == 17 ? "batch-0017\xff" : "batch-0058\xff", 11};
    struct answer answer = {0};
    struct claim_op op = {
        .items = items, .count = 100, .lease_us = US_PER_S, .done = on_claimed, .owner = &answer};
    assert_int_equal(ledger_port()->claim(ours.ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(answer.calls, 1);
    for (int i = 0; i < 100; i++)
        assert_int_equal(items[i]->answer, i == 17 || i == 58 || i == 99 ? CLAIM_POISON : CLAIM_GO);
    assert_sql("97", "SELECT count(*) FROM signup.event");
}

/* ------------------------------------------------------------------ races */

/* Two workers claim the same 500 events at the same time, again and again: each goes to exactly one. */
static void racing_claims_give_each_event_once(void **state)
{
    (void)state;
    static struct event events[2][BATCH];
    static struct claim_item *items[2][BATCH];
    struct peer theirs;
    peer_open(&theirs);
    for (int round = 0; round < 6; round++) {
        world_clear();
        struct answer answers[2] = {{0}};
        struct claim_op ops[2];
        struct peer *peers[] = {&ours, &theirs};
        for (int p = 0; p < 2; p++) {
            batch_init(events[p], items[p], BATCH, 1000 * (p + 1));
            ops[p] = (struct claim_op){.items = items[p],
                                       .count = BATCH,
                                       .lease_us = 60 * US_PER_S,
                                       .done = on_claimed,
                                       .owner = &answers[p]};
        }
        for (int p = 0; p < 2; p++)
            assert_int_equal(ledger_port()->claim(peers[(p + round) % 2]->ledger, &ops[p]), PORT_OK);
        world_wait(&answers[0].done, ANSWER_MS);
        world_wait(&answers[1].done, ANSWER_MS);
        for (int i = 0; i < BATCH; i++) {
            int given = (items[0][i]->answer == CLAIM_GO) + (items[1][i]->answer == CLAIM_GO);
            int busy = (items[0][i]->answer == CLAIM_BUSY) + (items[1][i]->answer == CLAIM_BUSY);
            assert_int_equal(given, 1);
            assert_int_equal(busy, 1);
        }
    }
    peer_close(&theirs);
}

/* The row appears, uncommitted, between their snapshot and their lock: they wait for it, and ask again. */
static void row_that_appears_meanwhile_is_busy(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    claim_fill(&e);
    struct claim_item *items[] = {&e.claim};
    struct answer answer = {0};
    struct claim_op op = {
        .items = items, .count = 1, .lease_us = US_PER_S, .done = on_claimed, .owner = &answer};
    ASK("BEGIN");
    ASK("INSERT INTO signup.event (event_id, topic, partition, \"offset\", state, token, lease_until)"
        " VALUES ('e1', 'signups', 0, 5, 'claimed', gen_random_uuid(), now() + interval '1 min')");
    assert_int_equal(ledger_port()->claim(ours.ledger, &op), PORT_OK);
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
    ASK("COMMIT");
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(e.claim.answer, CLAIM_BUSY);
}

/* Another worker takes over an expired claim while ours waits for the row's lock: only one of us has it. */
static void takeover_is_judged_under_the_lock(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    assert_int_equal(claim_for(&ours, &e, 0), CLAIM_GO);
    e.token = token_of(2);
    claim_fill(&e);
    struct claim_item *items[] = {&e.claim};
    struct answer answer = {0};
    struct claim_op op = {
        .items = items, .count = 1, .lease_us = US_PER_S, .done = on_claimed, .owner = &answer};
    ASK("BEGIN");
    ASK("UPDATE signup.event SET token = gen_random_uuid(), lease_until = now() + interval '1 min'");
    assert_int_equal(ledger_port()->claim(ours.ledger, &op), PORT_OK);
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
    ASK("COMMIT");
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(e.claim.answer, CLAIM_BUSY);
    assert_sql("f", "SELECT token = '02000000-0000-0000-0000-000000000001' FROM signup.event");
}

/* ------------------------------------------------------------------ leases */

static void extension_needs_the_token(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    assert_int_equal(claim_for(&ours, &e, US_PER_S), CLAIM_GO);
    struct lease_item items[] = {{.event_id = e.signup.event_id, .token = e.token, .maybe_sent = true},
                                 {.event_id = SLICE_LITERAL("e1-not-there"), .token = e.token, .held = true}};
    struct answer answer = {0};
    struct lease_op op = {
        .items = items, .count = 2, .lease_us = 60 * US_PER_S, .done = on_extended, .owner = &answer};
    assert_int_equal(ledger_port()->extend(ours.ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_true(items[0].held);
    assert_false(items[1].held);
    assert_sql("t t",
               "SELECT concat_ws(' ', lease_until > now() + interval '50 s', maybe_sent) FROM signup.event");
    items[0].token = token_of(99);
    answer.done = false;
    assert_int_equal(ledger_port()->extend(ours.ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_false(items[0].held);
}

/* The plans that are kept for ever must find rows by their key. Made while the table is of one page, where a
 * scan looks cheap, and looked at when it is full. */
static void plans_find_rows_by_index(void **state)
{
    (void)state;
    ASK("VACUUM ANALYZE signup.event");
    ASK("SELECT pg_stat_force_next_flush()"); /* what this test itself has looked at is counted before */
    struct peer theirs;
    peer_open(&theirs);
    static struct event events[BATCH];
    static struct claim_item *items[BATCH];
    static struct record_item *records[BATCH];
    static struct lease_item leases[BATCH];
    char scans[64];
    char fetched[64];
    snprintf(scans, sizeof scans, "%s",
             ASK("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'event'"));
    snprintf(fetched, sizeof fetched, "%s",
             ASK("SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'event'"));
    for (int round = 0; round < 8; round++) {
        batch_init(events, items, BATCH, BATCH * round + 1);
        for (int k = 0; k < BATCH; k++) {
            events[k].id[0] = (char)('a' + round);
            leases[k] = (struct lease_item){.event_id = events[k].signup.event_id, .token = events[k].token};
            record_fill(&events[k], round % 2 ? RECORD_ACCEPTED : RECORD_DEAD);
            records[k] = &events[k].recording;
        }
        struct answer answer = {0};
        struct claim_op op = {
            .items = items, .count = BATCH, .lease_us = US_PER_S, .done = on_claimed, .owner = &answer};
        assert_int_equal(ledger_port()->claim(theirs.ledger, &op), PORT_OK);
        world_wait(&answer.done, ANSWER_MS);
        assert_int_equal(items[0]->answer, CLAIM_GO);
        answer = (struct answer){0};
        struct lease_op lease = {
            .items = leases, .count = BATCH, .lease_us = US_PER_S, .done = on_extended, .owner = &answer};
        assert_int_equal(ledger_port()->extend(theirs.ledger, &lease), PORT_OK);
        world_wait(&answer.done, ANSWER_MS);
        assert_true(leases[BATCH - 1].held);
        answer = (struct answer){0};
        struct record_op record_op = {
            .items = records, .count = BATCH, .done = on_recorded, .owner = &answer};
        assert_int_equal(ledger_port()->record(theirs.ledger, &record_op), PORT_OK);
        world_wait(&answer.done, ANSWER_MS);
    }
    peer_close(&theirs);
    double end = cluster_now() + 10; /* the backend reports its counts when it leaves */
    while (strcmp(ASK("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signup-worker'"),
                  "1") != 0)
        assert_true(cluster_now() < end);
    assert_sql(scans, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'event'");
    /* 4000 rows, each found a few times: by a claim's look, an extension, a record. */
    assert_sql(
        "t",
        "SELECT idx_tup_fetch - %s BETWEEN 4000 AND 20000 FROM pg_stat_user_tables WHERE relname = 'event'",
        fetched);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_peer, close_peer)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(new_event_goes),
        CASE(same_token_again_goes),
        CASE(contactless_event_goes),
        CASE(final_row_settles_its_position),
        CASE(same_contact_settles_other_position),
        CASE(differing_duplicate_is_warned_of_once),
        CASE(dead_row_is_reopened_at_another_position),
        CASE(dead_again_settles_all_its_positions),
        CASE(live_claim_is_busy_or_conflict),
        CASE(contactless_claim_makes_others_wait),
        CASE(expired_claim_is_taken_over),
        CASE(expired_claim_is_taken_over_by_its_twin),
        CASE(conflicts_row_answers_for_its_record),
        CASE(takeover_waits_for_the_contact),
        CASE(released_claim_is_clean),
        CASE(other_contact_conflicts_with_final_row),
        CASE(parked_neighbour_means_behind),
        CASE(neighbour_in_flight_means_busy_until_its_lease_ends),
        CASE(reopening_waits_behind_a_parked_neighbour),
        CASE(batch_of_500),
        CASE(answers_in_one_batch_differ),
        CASE(poison_is_found_and_its_neighbours_go),
        CASE(racing_claims_give_each_event_once),
        CASE(row_that_appears_meanwhile_is_busy),
        CASE(takeover_is_judged_under_the_lock),
        CASE(extension_needs_the_token),
        CASE(plans_find_rows_by_index),
    };
    return cmocka_run_group_tests_name("ledger/claim", tests, world_setup, world_teardown);
}
