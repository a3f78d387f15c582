/* Records: what is written, under which token, once; and what happens to rows that the database refuses. */
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

static struct warning api_warning = {
    .source = WARNING_API,
    .code = {"journeys_not_used", 17},
    .message = {"list has active Welcome Journeys and use_journeys was not set", 61}};
static struct warning worker_warning = {.next = &api_warning,
                                        .source = WARNING_WORKER,
                                        .code = {"url_dropped", 11},
                                        .message = {"url: not absolute", 17}};
static struct attempt second_attempt = {.number = 2,
                                        .route = "upsert",
                                        .at = {1742049001000000},
                                        .duration_us = 12345,
                                        .http_status = 201,
                                        .verdict = "accepted"};
static struct attempt first_attempt = {.next = &second_attempt,
                                       .number = 1,
                                       .route = "upsert",
                                       .at = {1742049000000000},
                                       .duration_us = 5000000,
                                       .code = "timeout",
                                       .verdict = "retry"};

static void event_fill(struct event *e)
{
    e->signup.ip_address = SLICE_LITERAL("203.0.113.7");
    e->signup.url = SLICE_LITERAL("https://example.com/");
    e->signup.ad_network_source = SLICE_LITERAL("facebook");
    e->signup.ad_network_id = SLICE_LITERAL("camp-1");
    e->signup.consent = SLICE_LITERAL("{\"text\":\"yes \u00fc\"}");
    e->signup.has_signup_date = true;
    e->signup.signup_date = (wall_us_t){1742049000000000};
    e->signup.warnings = &worker_warning;
}

static void accepted_writes_everything(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    event_fill(&e);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    record_fill(&e, RECORD_ACCEPTED);
    e.reply.validation = SLICE_LITERAL(
        "{\"disposition\":\"ok\",\"line_type\":\"mobile\",\"on_dnc\":false,\"cost\":0.003,\"cached\":false}");
    e.recording.attempts_made = &first_attempt;
    e.recording.attempts = 2;
    assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
    assert_sql(
        "accepted 2 201 c-1 lc-1 t f 2 203.0.113.7 https://example.com/ facebook camp-1 2025-03-15 14:30:00 f",
        "SELECT concat_ws(' ', state, attempts, http_status, code, error, error_class, contact_id, list_contact_id,"
        " is_new_contact, is_new_list_contact, journeys_enrolled, ip_address, url, ad_network_source, ad_network_id,"
        " signup_date AT TIME ZONE 'UTC', maybe_sent) FROM signup.event");
    assert_sql(
        "t",
        "SELECT payload IS NULL AND headers IS NULL AND record_key IS NULL AND lease_until IS NULL AND due_at IS NULL AND"
        " token IS NOT NULL AND finished_at IS NOT NULL AND consent ->> 'text' = 'yes \u00fc' AND"
        " request ->> 'phone_number' = '+12025550100' AND validation ->> 'disposition' = 'ok' FROM signup.event");
    assert_sql(
        "api journeys_not_used,worker url_dropped",
        "SELECT string_agg(source || ' ' || code, ',' ORDER BY source) FROM signup.warning WHERE event_id = 'e1'");
    assert_sql(
        "1 upsert 5000 timeout retry|2 upsert 12 201 accepted",
        "SELECT string_agg(concat_ws(' ', attempt, route, duration_ms, http_status, code, verdict), '|' ORDER BY attempt)"
        " FROM signup.attempt WHERE event_id = 'e1'");
    assert_sql(
        "+12025550101 ok mobile f",
        "SELECT concat_ws(' ', phone_number, disposition, line_type, on_dnc) FROM signup.phone_validation");
    assert_sql("1", "SELECT events FROM signup.journey_gap WHERE list_number = '+18885550000'");
    assert_sql("0.003 1", "SELECT concat_ws(' ', cost_usd, paid_lookups) FROM signup.validation_spend");
    assert_sql(
        "1 0 1 2025-03-15",
        "SELECT concat_ws(' ', accepted, dead, new_contacts, day) FROM signup.attribution WHERE ad_network_id = 'camp-1'");
}

static void dead_keeps_the_original(void **state)
{
    (void)state;
    static const struct record_header headers[] = {
        {{"traceparent", 11}, {"00-ab", 5}}, {{"bin", 3}, {"\xff\x00\x01", 3}}, {{"null", 4}, {NULL, 0}}};
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    e.record.headers = headers;
    e.record.header_count = 3;
    e.record.value = (struct slice){"bad \xff\x00 bytes", 12};
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_int_equal(record(&ours, &e, RECORD_DEAD), RECORD_DONE);
    assert_sql(
        "dead 400 not_sendable the carrier says no rejected t t t 1742049000123",
        "SELECT concat_ws(' ', state, http_status, code, error, error_class,"
        " payload = '\\x62616420ff00206279746573', record_key = 'key', finished_at IS NOT NULL, record_timestamp_ms) FROM signup.event");
    assert_sql(
        "[{\"name\": \"traceparent\", \"value\": \"00-ab\"}, {\"name\": \"bin\", \"base64\": \"/wAB\"}, {\"name\": \"null\", \"value\": null}]",
        "SELECT headers FROM signup.event");
    assert_sql("not_sendable signups:0:5 bad \\377\\000 bytes",
               "SELECT concat_ws(' ', code, source, payload_text) FROM signup.dead_letter");
    assert_sql("dead not_sendable 400 1",
               "SELECT concat_ws(' ', state, code, http_status, events) FROM signup.outcome_by_code");
}

static void parked_is_due(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_int_equal(record(&ours, &e, RECORD_PARKED), RECORD_DONE);
    assert_sql(
        "t",
        "SELECT state = 'parked' AND due_at BETWEEN now() + interval '50 s' AND now() + interval '60 s' AND payload IS NOT NULL"
        " AND finished_at IS NULL AND lease_until IS NULL FROM signup.event");
}

static void token_is_demanded(void **state)
{
    (void)state;
    const enum record_state states[] = {RECORD_ACCEPTED, RECORD_DEAD, RECORD_PARKED, RECORD_RELEASED};
    for (size_t i = 0; i < 4; i++) {
        world_clear();
        struct event e;
        event_init(&e, "e1", 5, A, 1);
        e.signup.warnings = &worker_warning;
        assert_int_equal(claim(&ours, &e), CLAIM_GO);
        e.token = token_of(2);
        assert_int_equal(record(&ours, &e, states[i]), RECORD_REFUSED);
        assert_sql("claimed 0",
                   "SELECT concat_ws(' ', state, (SELECT count(*) FROM signup.warning)) FROM signup.event");
    }
}

static void same_record_again_is_done_once(void **state)
{
    (void)state;
    const enum record_state states[] = {RECORD_ACCEPTED, RECORD_DEAD, RECORD_PARKED, RECORD_RELEASED};
    for (size_t i = 0; i < 4; i++) {
        world_clear();
        struct event e;
        event_init(&e, "e1", 5, A, 1);
        e.signup.warnings = &worker_warning;
        assert_int_equal(claim(&ours, &e), CLAIM_GO);
        for (int again = 0; again < 3; again++) {
            record_fill(&e, states[i]);
            e.recording.attempts_made = &first_attempt;
            assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
        }
        assert_sql(
            states[i] == RECORD_RELEASED ? "0 0"
            : states[i] == RECORD_PARKED ? "0 2" /* whoever takes it up finds its warnings again */
                                         : "2 2",
            "SELECT concat_ws(' ', (SELECT count(*) FROM signup.warning), (SELECT count(*) FROM signup.attempt))");
    }
}

static void final_row_is_not_written_over(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    assert_int_equal(claim(&ours, &e), CLAIM_GO);
    assert_int_equal(record(&ours, &e, RECORD_ACCEPTED), RECORD_DONE);
    assert_int_equal(record(&ours, &e, RECORD_DEAD), RECORD_REFUSED);
    assert_int_equal(record(&ours, &e, RECORD_RELEASED), RECORD_REFUSED);
    assert_sql("accepted", "SELECT state FROM signup.event");
}

/* A failover lost the claim: the outcome is known all the same. */
static void missing_row_is_written_whole(void **state)
{
    (void)state;
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    assert_int_equal(record(&ours, &e, RECORD_ACCEPTED), RECORD_DONE);
    assert_sql(
        "accepted signups 5 +12025550101 32",
        "SELECT concat_ws(' ', state, topic, \"offset\", phone_number, length(payload_digest)) FROM signup.event");
    event_init(&e, "e2", 6, A, 1);
    assert_int_equal(record(&ours, &e, RECORD_RELEASED), RECORD_REFUSED);
    assert_sql("1", "SELECT count(*) FROM signup.event");
}

/* ------------------------------------------------------------------ batches and poison */

static void batch_of_mixed_fates(void **state)
{
    (void)state;
    static struct event events[40];
    static struct record_item *items[40];
    for (int i = 0; i < 40; i++) {
        char id[16];
        char phone[32];
        snprintf(id, sizeof id, "m-%02d", i);
        snprintf(phone, sizeof phone, "+1202555%04d", i);
        event_init(&events[i], id, i, phone, i + 1);
        if (i % 5 != 4)
            assert_int_equal(claim(&ours, &events[i]), CLAIM_GO);
        record_fill(&events[i], (enum record_state)(i % 4));
        items[i] = &events[i].recording;
        if (i == 7 || i == 8)
            events[i].recording.token = token_of(999); /* somebody else's by now */
    }
    struct answer answer = {0};
    struct record_op op = {.items = items, .count = 40, .done = on_recorded, .owner = &answer};
    assert_int_equal(ledger_port()->record(ours.ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(answer.calls, 1);
    for (int i = 0; i < 40; i++) {
        bool missing_release = i % 4 == 3 && i % 5 == 4;
        assert_int_equal(items[i]->answer,
                         i == 7 || i == 8 || missing_release ? RECORD_REFUSED : RECORD_DONE);
    }
}

static void poison_is_found_and_written_bare(void **state)
{
    (void)state;
    static struct event events[64];
    static struct record_item *items[64];
    for (int i = 0; i < 64; i++) {
        char id[16];
        char phone[32];
        snprintf(id, sizeof id, "p-%02d", i);
        snprintf(phone, sizeof phone, "+1202555%04d", i);
        event_init(&events[i], id, i, phone, i + 1);
        assert_int_equal(claim(&ours, &events[i]), CLAIM_GO);
        event_fill(&events[i]);
        record_fill(&events[i], i % 2 ? RECORD_DEAD : RECORD_ACCEPTED);
        items[i] = &events[i].recording;
    }
    events[10].signup.consent = SLICE_LITERAL("{\"text\":\"\\u0000\"}"); /* 22P05 */
    events[11].signup.consent = SLICE_LITERAL("not json");               /* 22P02 */
    events[31].signup.url = SLICE_LITERAL("https://\xff/");              /* 22021 */
    events[63].signup.signup_date.us = INT64_MIN;                        /* 22008 */
    snprintf(events[31].outcome.code, sizeof events[31].outcome.code, "\xff");
    struct answer answer = {0};
    struct record_op op = {.items = items, .count = 64, .done = on_recorded, .owner = &answer};
    assert_int_equal(ledger_port()->record(ours.ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    const int poisoned[] = {10, 11, 31, 63};
    for (int i = 0, next = 0; i < 64; i++) {
        bool refused = next < 4 && i == poisoned[next];
        next += refused;
        assert_int_equal(items[i]->answer, refused ? RECORD_POISON : RECORD_DONE);
    }
    assert_sql("4", "SELECT count(*) FROM signup.event WHERE state = 'claimed'");
    for (int i = 0; i < 4; i++) {
        events[poisoned[i]].recording.bare = true;
        assert_int_equal(record_filled(&ours, &events[poisoned[i]]), RECORD_DONE);
    }
    assert_sql(
        "p-10 accepted c-1|p-11 dead not_sendable|p-31 dead ledger_refused|p-63 dead not_sendable",
        "SELECT string_agg(concat_ws(' ', event_id, state, code, contact_id), '|' ORDER BY event_id) FROM signup.event"
        " WHERE consent IS NULL AND request IS NULL AND signup_date IS NULL");
    assert_sql("4", "SELECT count(*) FROM signup.warning WHERE code = 'ledger_refused'");
    assert_sql(
        "3",
        "SELECT count(*) FROM signup.event WHERE request IS NULL AND consent IS NULL AND payload IS NOT NULL");
}

/* More payload than one statement carries: cut into several, one completion. */
static void heavy_batch_is_cut(void **state)
{
    (void)state;
    static struct event events[48];
    static struct record_item *items[48];
    static char payload[262144];
    memset(payload, 'x', sizeof payload);
    for (int i = 0; i < 48; i++) {
        char id[16];
        snprintf(id, sizeof id, "h-%02d", i);
        event_init(&events[i], id, i, NULL, i + 1);
        assert_int_equal(claim(&ours, &events[i]), CLAIM_GO);
        events[i].record.value = (struct slice){payload, sizeof payload};
        record_fill(&events[i], RECORD_DEAD);
        items[i] = &events[i].recording;
    }
    struct ledger_status before;
    struct ledger_status after;
    ledger_status(ours.ledger, &before);
    struct answer answer = {0};
    struct record_op op = {.items = items, .count = 48, .done = on_recorded, .owner = &answer};
    assert_int_equal(ledger_port()->record(ours.ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(answer.calls, 1);
    ledger_status(ours.ledger, &after);
    assert_in_range(after.statements - before.statements, 13, 18);
    assert_int_equal(after.pending, 0);
    assert_sql(
        "48 12582912",
        "SELECT concat_ws(' ', count(*), sum(length(payload))) FROM signup.event WHERE state = 'dead'");
}

/* ------------------------------------------------------------------ locks and lost answers */

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

/* The answer is lost in two ways: the statement was never executed, or it was. Sending it again is right in
 * both. */
static void lost_answer_is_sent_again(void **state)
{
    (void)state;
    for (int executed = 0; executed < 2; executed++) {
        world_clear();
        struct event e;
        event_init(&e, "e1", 5, A, 1);
        e.signup.warnings = &worker_warning;
        peer_wait(&ours, LEDGER_CONDITION_UP, ANSWER_MS);
        assert_int_equal(claim(&ours, &e), CLAIM_GO);
        record_fill(&e, RECORD_DEAD);
        if (executed) {
            /* As the server would have done it before it died. */
            struct peer theirs;
            peer_open(&theirs);
            assert_int_equal(record_filled(&theirs, &e), RECORD_DONE);
            peer_close(&theirs);
        }
        ASK("BEGIN");
        ASK("LOCK TABLE signup.event IN ACCESS EXCLUSIVE MODE");
        struct record_item *items[] = {&e.recording};
        struct answer answer = {0};
        struct record_op op = {.items = items, .count = 1, .done = on_recorded, .owner = &answer};
        assert_int_equal(ledger_port()->record(ours.ledger, &op), PORT_OK);
        wait_for_lock();
        ASK("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
        world_wait(&answer.done, ANSWER_MS);
        assert_int_equal(answer.result, LEDGER_AWAY);
        assert_int_equal(answer.calls, 1);
        ASK("COMMIT");
        peer_wait(&ours, LEDGER_CONDITION_UP, 5000);
        assert_int_equal(record_filled(&ours, &e), RECORD_DONE);
        assert_sql("dead 2",
                   "SELECT concat_ws(' ', state, (SELECT count(*) FROM signup.warning)) FROM signup.event");
    }
}

/* Two workers lock the same rows in opposite orders: the server kills one statement, the adapter repeats it.
 */
static void deadlock_is_repeated(void **state)
{
    (void)state;
    struct event a;
    struct event b;
    event_init(&a, "a", 1, A, 1);
    event_init(&b, "b", 2, "+12025550109", 2);
    assert_int_equal(claim(&ours, &a), CLAIM_GO);
    assert_int_equal(claim(&ours, &b), CLAIM_GO);
    record_fill(&a, RECORD_ACCEPTED);
    record_fill(&b, RECORD_ACCEPTED);
    struct record_item *items[] = {&a.recording, &b.recording};
    struct answer answer = {0};
    struct record_op op = {.items = items, .count = 2, .done = on_recorded, .owner = &answer};
    ASK("BEGIN");
    ASK("SET LOCAL deadlock_timeout = '10s'"); /* the other side shall be the victim */
    ASK("SELECT 1 FROM signup.event WHERE event_id = 'b' FOR UPDATE");
    assert_int_equal(ledger_port()->record(ours.ledger, &op), PORT_OK);
    wait_for_lock();
    ASK("SELECT 1 FROM signup.event WHERE event_id = 'a' FOR UPDATE");
    ASK("COMMIT");
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(a.recording.answer, RECORD_DONE);
    assert_int_equal(b.recording.answer, RECORD_DONE);
    struct ledger_status status;
    ledger_status(ours.ledger, &status);
    assert_int_equal(status.retries, 1);
}

/* Somebody keeps a row locked for longer than the lock timeout. */
static void lock_timeout_is_repeated(void **state)
{
    (void)state;
    struct peer hasty;
    peer_open_with(&hasty,
                   (struct ledger_config){.dsn = world.cluster.dsn, .schema = "signup", .deadline_ms = 500});
    peer_wait(&hasty, LEDGER_CONDITION_UP, ANSWER_MS);
    struct event e;
    event_init(&e, "e1", 5, A, 1);
    assert_int_equal(claim(&hasty, &e), CLAIM_GO);
    record_fill(&e, RECORD_ACCEPTED);
    struct record_item *items[] = {&e.recording};
    struct answer answer = {0};
    struct record_op op = {.items = items, .count = 1, .done = on_recorded, .owner = &answer};
    ASK("BEGIN");
    ASK("SELECT 1 FROM signup.event FOR UPDATE");
    assert_int_equal(ledger_port()->record(hasty.ledger, &op), PORT_OK);
    struct ledger_status status = {0};
    for (double end = cluster_now() + 10; status.retries < 2 && cluster_now() < end;) {
        uv_run(&world.loop, UV_RUN_ONCE);
        ledger_status(hasty.ledger, &status);
    }
    ASK("COMMIT");
    world_wait(&answer.done, ANSWER_MS);
    assert_int_equal(answer.result, LEDGER_OK);
    assert_int_equal(e.recording.answer, RECORD_DONE);
    assert_true(status.retries >= 2);
    peer_close(&hasty);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_peer, close_peer)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(accepted_writes_everything),
        CASE(dead_keeps_the_original),
        CASE(parked_is_due),
        CASE(token_is_demanded),
        CASE(same_record_again_is_done_once),
        CASE(final_row_is_not_written_over),
        CASE(missing_row_is_written_whole),
        CASE(batch_of_mixed_fates),
        CASE(poison_is_found_and_written_bare),
        CASE(heavy_batch_is_cut),
        CASE(lost_answer_is_sent_again),
        CASE(deadlock_is_repeated),
        CASE(lock_timeout_is_repeated),
    };
    return cmocka_run_group_tests_name("ledger/record", tests, world_setup, world_teardown);
}
