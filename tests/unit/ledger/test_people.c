/* One person: the evidence of their consent, and its erasure, alone and among workers. */
#include "ledger_world.h"
#include "signup/ledger/people.h"
#include "signup/ledger/replay.h"

#include <pthread.h>
#include <sched.h>

static struct peer ours;
static struct peer theirs;
static struct people_ledger *people;
static struct ledger_config config;
static char error[LEDGER_ERROR_BYTES];

static int open_all(void **state)
{
    (void)state;
    world_clear();
    ASK("TRUNCATE signup.replay");
    peer_open(&ours);
    peer_open(&theirs);
    config = (struct ledger_config){.dsn = world.cluster.dsn, .schema = "signup"};
    assert_int_equal(ledger_people_open(&config, &people, error), LEDGER_VERDICT_WELL);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    ledger_people_close(people);
    people = NULL;
    peer_close(&ours);
    peer_close(&theirs);
    return 0;
}

#define A "+12025550101"
#define B "+12025550202"

static struct warning second_warning = {
    .source = WARNING_WORKER, .code = {"field_dropped", 13}, .message = {"url: not absolute", 17}};
static struct warning first_warning = {
    .next = &second_warning, .source = WARNING_API, .code = {"api_warning", 11}, .message = {"hm", 2}};
static struct attempt one_attempt = {
    .number = 1, .route = "upsert", .at = {1742049000000000}, .duration_us = 5000000, .verdict = "accepted"};

/* An event of the phone with everything that can be of a person, recorded in that state. */
static void put(struct event *e, const char *id, int64_t offset, const char *phone, enum record_state state)
{
    event_init(e, id, offset, phone, (int)offset + 1000);
    e->signup.ip_address = SLICE_LITERAL("203.0.113.7");
    e->signup.url = SLICE_LITERAL("https://example.com/?p=2025550101");
    e->signup.ad_network_source = SLICE_LITERAL("facebook");
    e->signup.ad_network_id = SLICE_LITERAL("camp-2025550101");
    e->signup.attribution = SLICE_LITERAL("{\"gclid\":\"2025550101\"}");
    e->signup.schema_id = 7;
    e->signup.consent = SLICE_LITERAL("{\"text\":\"call (202) 555-0101 \xc3\xbc\"}");
    e->signup.has_signup_date = true;
    e->signup.signup_date = (wall_us_t){1742049000000000};
    e->signup.warnings = &first_warning;
    assert_int_equal(claim(&ours, e), CLAIM_GO);
    record_fill(e, state);
    e->recording.attempts_made = &one_attempt;
    e->recording.validation =
        SLICE_LITERAL("{\"phone\":\"+12025550101\",\"disposition\":\"ok\",\"cost\":0.003}");
    e->recording.validation_fresh = true;
    e->recording.request = SLICE_LITERAL("{\"phone_number\":\"+12025550101\"}");
    assert_int_equal(record_filled(&ours, e), RECORD_DONE);
}

static void published(void)
{
    ASK("UPDATE signup.event SET dead_letter_published_at = now() WHERE state = 'dead'");
}

/* ------------------------------------------------------------------ the trail */

struct seen {
    char ids[256];
    int rows;
    int stop_at; /* 0: never */
    bool before_provenance;
};

static bool note_row(void *ctx, const struct consent_row *row)
{
    struct seen *seen = ctx;
    snprintf(seen->ids + strlen(seen->ids), sizeof seen->ids - strlen(seen->ids), "%s%s",
             seen->rows ? "," : "", row->event_id.ptr);
    seen->before_provenance = row->before_provenance;
    return ++seen->rows != seen->stop_at;
}

static const char *trail_ids(const struct consent_filter *filter, int stop_at)
{
    static struct seen seen;
    seen = (struct seen){.stop_at = stop_at};
    assert_int_equal(ledger_people_trail(people, filter, note_row, &seen), LEDGER_VERDICT_WELL);
    return seen.ids;
}

static bool check_row(void *ctx, const struct consent_row *row)
{
    (*(int *)ctx)++;
    assert_true(slice_is(row->event_id, "e1") && slice_is(row->source, "signups:0:1"));
    assert_true(slice_is(row->sources, "[\"signups:0:9\"]"));
    assert_true(llabs(row->received_at.us - clock_wall_now().us) < 60 * US_PER_S);
    assert_true(row->finished && row->finished_at.us >= row->received_at.us);
    assert_true(row->has_signup_date && row->signup_date.us == 1742049000000000);
    assert_true(slice_is(row->list_number, "+18885550000") && slice_is(row->ip_address, "203.0.113.7"));
    assert_true(slice_is(row->url, "https://example.com/?p=2025550101"));
    assert_true(slice_is(row->consent_text, "call (202) 555-0101 \xc3\xbc"));
    assert_true(slice_is(row->consent, "{\"text\": \"call (202) 555-0101 \xc3\xbc\"}"));
    assert_true(slice_is(row->state, "accepted") && !slice_present(row->code) && !slice_present(row->error));
    assert_true(row->http_status == 201 && row->attempts == 1 && !row->maybe_sent);
    assert_true(slice_is(row->contact_id, "c-1") && slice_is(row->list_contact_id, "lc-1"));
    assert_true(slice_is(row->is_new_contact, "true"));
    assert_true(slice_is(row->ad_network_source, "facebook") &&
                slice_is(row->ad_network_id, "camp-2025550101"));
    assert_true(slice_is(row->attribution, "{\"gclid\": \"2025550101\"}") && slice_is(row->schema_id, "7"));
    assert_true(slice_is(row->request, "{\"phone_number\": \"+12025550101\"}"));
    assert_non_null(strstr(row->warnings.ptr, "\"code\": \"api_warning\""));
    assert_non_null(strstr(row->warnings.ptr, "\"code\": \"field_dropped\""));
    assert_false(row->before_provenance);
    return true;
}

static void trail_gives_everything(void **state)
{
    (void)state;
    struct event e;
    int rows = 0;
    put(&e, "e1", 1, A, RECORD_ACCEPTED);
    ASK("UPDATE signup.event SET sources = '{signups:0:9}'");
    const struct consent_filter filter = {.phone_number = A};
    assert_int_equal(ledger_people_trail(people, &filter, check_row, &rows), LEDGER_VERDICT_WELL);
    assert_int_equal(rows, 1);
}

static void trail_is_filtered_and_in_order(void **state)
{
    (void)state;
    struct event e;
    for (int i = 0; i < 4; i++) {
        char id[8];
        snprintf(id, sizeof id, "e%d", i);
        event_init(&e, id, i, i == 3 ? B : A, i + 1);
        assert_int_equal(claim(&ours, &e), CLAIM_GO);
        assert_int_equal(record(&ours, &e, i == 1 ? RECORD_DEAD : RECORD_ACCEPTED), RECORD_DONE);
    }
    ASK("UPDATE signup.event SET received_at = '2025-05-03Z'::timestamptz - \"offset\" * interval '1 day'");
    ASK("UPDATE signup.event SET list_number = '+18885550001' WHERE event_id = 'e2'");
    const char *const lists[] = {"+18885550001", "+18885550002"};
    assert_string_equal(trail_ids(&(struct consent_filter){.phone_number = A}, 0), "e2,e1,e0");
    assert_string_equal(trail_ids(&(struct consent_filter){.phone_number = A}, 2), "e2,e1");
    assert_string_equal(trail_ids(&(struct consent_filter){.phone_number = B}, 0), "e3");
    assert_string_equal(trail_ids(&(struct consent_filter){.phone_number = "+12025550999"}, 0), "");
    assert_string_equal(
        trail_ids(&(struct consent_filter){.phone_number = A, .lists = lists, .list_count = 2}, 0), "e2");
    const wall_us_t second_of_may = {INT64_C(1746144000) * US_PER_S};
    assert_string_equal(
        trail_ids(&(struct consent_filter){.phone_number = A, .has_from = true, .from = second_of_may}, 0),
        "e1,e0");
    assert_string_equal(
        trail_ids(&(struct consent_filter){.phone_number = A, .has_to = true, .to = second_of_may}, 0), "e2");
    /* Usable again after one that was broken off, and rows of before are told. */
    struct seen seen = {0};
    ASK("UPDATE signup.event SET received_at = '2000-01-01Z' WHERE event_id = 'e0'");
    const struct consent_filter first = {
        .phone_number = A, .has_to = true, .to = {INT64_C(946771200) * US_PER_S}};
    assert_int_equal(ledger_people_trail(people, &first, note_row, &seen), LEDGER_VERDICT_WELL);
    assert_true(seen.rows == 1 && seen.before_provenance);
}

/* ------------------------------------------------------------------ what is left */

/* Every row of every table, as text and, for bytes, as hex: nothing of it may hold the phone. */
static void assert_nobody_knows(const char *digits)
{
    static const char *const tables[] = {"event",   "warning", "attempt",      "phone_validation", "outcome",
                                         "erasure", "replay",  "forgotten_id", "validation_day"};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        assert_sql(
            "0",
            "SELECT count(*) FROM signup.%s t WHERE strpos(regexp_replace(t::text, '[^0-9]', '', 'g'), '%s') > 0"
            " OR strpos(t::text, encode(convert_to('%s', 'UTF8'), 'hex')) > 0",
            tables[i], digits, digits);
}

static const struct forget_order order_a = {.phone_number = A, .who = "ann", .reason = "asked by letter"};

static enum forget_answer forget(const struct forget_order *order, struct forget_counts *counts)
{
    enum forget_answer answer = FORGET_LOCKED;
    int64_t erasure_id = 0;
    assert_int_equal(ledger_forget(people, order, &answer, counts, &erasure_id), LEDGER_VERDICT_WELL);
    assert_true((answer == FORGET_DONE) == (erasure_id > 0));
    return answer;
}

static void note_erasure(void *ctx, const struct people_erasure *erasure)
{
    char *text = ctx;
    snprintf(text + strlen(text), 128 - strlen(text), "%s %s %d;", erasure->who.ptr,
             slice_present(erasure->reason) ? erasure->reason.ptr : "-", (int)erasure->events);
    assert_true(llabs(erasure->at.us - clock_wall_now().us) < 60 * US_PER_S);
}

static const char *erasures(const char *phone)
{
    static char text[128];
    text[0] = '\0';
    assert_int_equal(ledger_people_erasures(people, phone, note_erasure, text), LEDGER_VERDICT_WELL);
    return text;
}

static void nothing_of_the_person_is_left(void **state)
{
    (void)state;
    struct event e[5];
    struct forget_counts counts;
    put(&e[0], "e0", 10, A, RECORD_ACCEPTED);
    put(&e[1], "lead-(202) 555-0101", 11, A, RECORD_ACCEPTED);
    put(&e[2], "e2", 12, A, RECORD_DEAD);
    put(&e[3], "e3", 13, A, RECORD_PARKED);
    put(&e[4], "other", 14, B, RECORD_DEAD);
    published();
    ASK("INSERT INTO signup.replay (who, reason, selection, selected) VALUES"
        " ('ann', 'for 202-555-0101', '{}', 1), ('ann', NULL, '{\"event\": [\"lead-(202) 555-0101\"]}', 1), ('ann', 'x', '{}', 1)");
    char other[4096];
    snprintf(other, sizeof other, "%s", ASK("SELECT e FROM signup.event e WHERE event_id = 'other'"));
    assert_int_equal(ledger_forget_look(people, A, &counts), LEDGER_VERDICT_WELL);
    assert_true(counts.events == 4 && counts.accepted == 2 && counts.dead == 1 && counts.waiting == 1);
    assert_true(counts.warnings == 6 && counts.attempts == 4 && counts.validations == 1 &&
                counts.renamed == 1);
    assert_true(counts.dated && counts.first_at.us <= counts.last_at.us);
    assert_false(ledger_forget_is_refused(&order_a, &counts));
    struct forget_counts done;
    assert_int_equal(forget(&order_a, &done), FORGET_DONE);
    assert_memory_equal(&done, &counts, offsetof(struct forget_counts, dated));
    /* The other person's row and that of theirs that remains known by it, whole. */
    assert_sql(other, "SELECT e FROM signup.event e WHERE event_id = 'other'");
    ASK("DELETE FROM signup.event WHERE event_id = 'other'");
    ASK("DELETE FROM signup.warning WHERE event_id = 'other'");
    ASK("DELETE FROM signup.phone_validation WHERE phone_number = '" B "'");
    assert_nobody_knows("2025550101");
    assert_nobody_knows("5550101");
    assert_sql("e0 accepted|e2 dead|e3 dead|signups:0:11 accepted",
               "SELECT string_agg(event_id || ' ' || state, '|' ORDER BY event_id) FROM signup.event");
    assert_sql(
        "4",
        "SELECT count(*) FROM signup.event WHERE code = 'forgotten' AND forgotten_at IS NOT NULL AND finished_at IS NOT NULL"
        " AND num_nulls(phone_number, list_number, ip_address, url, signup_date, consent, request, payload, headers, record_key,"
        "  record_timestamp_ms, payload_digest, validation, contact_id, list_contact_id, ad_network_source, ad_network_id,"
        "  attribution, error, error_class, token, lease_until, due_at, park_order, outbox_token) = 25");
    assert_sql("0", "SELECT count(*) FROM signup.warning");
    assert_sql("ann asked by letter 4 1 1 6 4 1",
               "SELECT concat_ws(' ', who, reason, events, not_sent, renamed, warnings, attempts,"
               " validations) FROM signup.erasure");
    assert_sql("t", "SELECT phone_hash = sha256(salt || '" A "') AND length(salt) = 32 FROM signup.erasure");
    assert_sql(
        "2",
        "SELECT count(*) FROM signup.replay WHERE selection = '{\"forgotten\": true}' AND reason IS NULL");
    assert_sql(
        "0",
        "SELECT count(*) FROM signup.dead_letter WHERE published_at IS NULL"); /* none is published now */
    /* Once more: it was done. */
    assert_int_equal(forget(&order_a, &counts), FORGET_NOTHING);
    assert_string_equal(erasures(A), "ann asked by letter 4;");
    assert_string_equal(erasures(B), "");
    assert_sql("1", "SELECT count(*) FROM signup.erasure");
}

static void validation_alone_is_forgotten(void **state)
{
    (void)state;
    struct forget_counts counts;
    ASK("INSERT INTO signup.phone_validation (phone_number, validation) VALUES ('" A "', '{}')");
    assert_int_equal(forget(&(struct forget_order){.phone_number = A, .who = "bob"}, &counts), FORGET_DONE);
    assert_true(counts.events == 0 && counts.validations == 1 && !counts.dated);
    assert_sql("0", "SELECT count(*) FROM signup.phone_validation");
    assert_string_equal(erasures(A), "bob - 0;");
}

static void digits_are_found_whatever_stands_between(void **state)
{
    (void)state;
    static const char *const holding[] = {"2025550101", "+12025550101",    "lead-202.555.0101",
                                          "5550101",    "x5y5z5a0b1c0d1e", "t-12025550101-9",
                                          "555 0101"};
    static const char *const not [] = {"", "e1", "555010", "55501 O1", "5550102", "1010555", "lead"};
    for (size_t i = 0; i < sizeof holding / sizeof holding[0]; i++)
        assert_true(ledger_holds_phone(holding[i], A));
    for (size_t i = 0; i < sizeof not / sizeof not [0]; i++)
        assert_false(ledger_holds_phone(not [i], A));
    /* The statement's own rule is the same. */
    for (size_t i = 0; i < 14; i++) {
        bool holds = i < 7;
        const char *id = holds ? holding[i] : not [i - 7];
        if (!*id)
            continue;
        world_clear();
        struct event e;
        struct forget_counts counts;
        event_init(&e, id, 5, A, 1);
        assert_int_equal(claim(&ours, &e), CLAIM_GO);
        assert_int_equal(record(&ours, &e, RECORD_ACCEPTED), RECORD_DONE);
        assert_int_equal(forget(&order_a, &counts), FORGET_DONE);
        assert_int_equal(counts.renamed, holds);
        assert_sql(holds ? "signups:0:5" : id, "SELECT event_id FROM signup.event");
    }
}

/* A position that another row is named by, and two rows of one position. */
static void names_never_collide(void **state)
{
    (void)state;
    struct event e;
    struct forget_counts counts;
    const char *ids[] = {"a-2025550101", "b-2025550101", "c-2025550101", "signups:0:8"};
    for (int i = 0; i < 4; i++) {
        event_init(&e, ids[i], i < 2 ? 7 : 8, i < 3 ? A : B, i + 1);
        assert_int_equal(claim(&ours, &e), CLAIM_GO);
        assert_int_equal(record(&ours, &e, RECORD_ACCEPTED), RECORD_DONE);
    }
    assert_int_equal(forget(&order_a, &counts), FORGET_DONE);
    assert_int_equal(counts.renamed, 3);
    assert_sql(
        "signups:0:7,signups:0:7:*,signups:0:8,signups:0:8:*",
        "SELECT string_agg(regexp_replace(event_id, ':[0-9a-f]{32}$', ':*'), ',' ORDER BY event_id) FROM signup.event");
    assert_sql("3", "SELECT count(*) FROM signup.forgotten_id");
}

/* ------------------------------------------------------------------ what is in the way */

static void each_in_its_way(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        bool refused;
        bool abandoned_refused;
    } cases[] = {
        {"state = 'claimed', lease_until = now() + interval '1 min', finished_at = NULL", true, true},
        {"state = 'claimed', lease_until = now() - interval '1 min', finished_at = NULL", true, false},
        {"state = 'claimed', lease_until = now(), token = NULL, finished_at = NULL", true,
         false}, /* given back */
        {"state = 'parked', due_at = now(), finished_at = NULL, park_order = 1", false, false},
        {"state = 'parked', due_at = now(), lease_until = now() + interval '1 min', park_order = 1", true,
         true},
        {"state = 'parked', due_at = now(), lease_until = now() - interval '1 min', park_order = 1", true,
         false},
        {"state = 'dead'", true, false},
        {"state = 'dead', outbox_token = gen_random_uuid(), lease_until = now() + interval '1 min'", true,
         true},
        {"state = 'dead', outbox_token = gen_random_uuid(), lease_until = now() - interval '1 min'", true,
         false},
        {"state = 'dead', lease_until = now() + interval '1 min'", true, false}, /* is tried again later */
        {"state = 'dead', dead_letter_published_at = now()", false, false},
        {"state = 'accepted'", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int abandoned_too = 0; abandoned_too < 2; abandoned_too++) {
            struct event e;
            struct forget_counts counts;
            world_clear();
            put(&e, "e1", 1, A, RECORD_ACCEPTED);
            ASK("UPDATE signup.event SET %s", cases[i].set);
            char before[4096];
            snprintf(before, sizeof before, "%s",
                     ASK("SELECT concat_ws(' ', e, e.xmin) FROM signup.event e"));
            struct forget_order order = order_a;
            order.abandoned_too = abandoned_too;
            bool refused = abandoned_too ? cases[i].abandoned_refused : cases[i].refused;
            assert_int_equal(forget(&order, &counts), refused ? FORGET_REFUSED : FORGET_DONE);
            if (refused) {
                assert_sql(before, "SELECT concat_ws(' ', e, e.xmin) FROM signup.event e");
                assert_sql("2", "SELECT count(*) FROM signup.warning");
                assert_sql("0", "SELECT count(*) FROM signup.erasure");
            } else {
                assert_nobody_knows("5550101");
                assert_sql("0", "SELECT count(*) FROM signup.event WHERE state NOT IN ('accepted', 'dead')");
                assert_sql("0", "SELECT count(*) FROM signup.dead_letter WHERE published_at IS NULL");
            }
        }
    }
}

static void outcomes_are_in_the_way(void **state)
{
    (void)state;
    struct event e;
    struct forget_counts counts;
    struct forget_order abandoned_too = order_a;
    abandoned_too.abandoned_too = true;
    put(&e, "e1", 1, A, RECORD_ACCEPTED);
    ASK("INSERT INTO signup.outcome (event_id, body) VALUES ('e1', '{\"phone\":\"2025550101\"}'), ('x', '{}')");
    assert_int_equal(forget(&order_a, &counts), FORGET_REFUSED);
    assert_true(counts.outcomes == 1 && counts.outcomes_leased == 0 && counts.in_work == 0 &&
                counts.letters == 0);
    ASK("UPDATE signup.outcome SET token = gen_random_uuid(), lease_until = now() + interval '1 min'");
    assert_int_equal(forget(&abandoned_too, &counts), FORGET_REFUSED);
    assert_true(counts.outcomes_leased == 1);
    ASK("UPDATE signup.outcome SET lease_until = now()");
    assert_int_equal(forget(&abandoned_too, &counts), FORGET_DONE);
    assert_sql("x", "SELECT string_agg(event_id, ',') FROM signup.outcome");
    assert_nobody_knows("5550101");
}

/* ------------------------------------------------------------------ records that are read again */

static enum claim_answer claim_anew(struct event *e, const char *id, int64_t offset, const char *phone,
                                    int token)
{
    event_init(e, id, offset, phone, token);
    e->signup.digest[0] = (uint8_t)token;
    return claim(&theirs, e);
}

static void forgotten_rows_settle_whatever_comes(void **state)
{
    (void)state;
    struct event e;
    struct forget_counts counts;
    const enum record_state states[] = {RECORD_ACCEPTED, RECORD_DEAD, RECORD_PARKED};
    const char *ids[] = {"plain", "lead-2025550101"};
    for (int i = 0; i < 6; i++) {
        world_clear();
        const char *id = ids[i / 3];
        put(&e, id, 1, A, states[i % 3]);
        published();
        assert_int_equal(forget(&order_a, &counts), FORGET_DONE);
        char before[4096];
        snprintf(before, sizeof before, "%s", ASK("SELECT concat_ws(' ', e, e.xmin) FROM signup.event e"));
        assert_int_equal(claim_anew(&e, id, 1, A, 1), CLAIM_SETTLED);    /* the record itself */
        assert_int_equal(claim_anew(&e, id, 2, A, 2), CLAIM_SETTLED);    /* published twice */
        assert_int_equal(claim_anew(&e, id, 3, B, 3), CLAIM_SETTLED);    /* of somebody else */
        assert_int_equal(claim_anew(&e, id, 4, NULL, 4), CLAIM_SETTLED); /* unreadable by now */
        assert_sql(before, "SELECT concat_ws(' ', e, e.xmin) FROM signup.event e");
        assert_sql("0", "SELECT count(*) FROM signup.warning");
        /* A new event of theirs is one. */
        assert_int_equal(claim_anew(&e, "new", 5, A, 5), CLAIM_GO);
        assert_int_equal(record(&theirs, &e, RECORD_ACCEPTED), RECORD_DONE);
        assert_int_equal(forget(&order_a, &counts), FORGET_DONE);
        assert_string_equal(erasures(A), "ann asked by letter 1;ann asked by letter 1;");
        assert_nobody_knows("5550101");
    }
}

/* In one batch, with ids that were never forgotten. */
static void renamed_ids_are_found_among_others(void **state)
{
    (void)state;
    static struct event events[64];
    static struct claim_item *items[64];
    struct event e;
    struct forget_counts counts;
    for (int i = 0; i < 64; i += 8) {
        char id[32];
        snprintf(id, sizeof id, "b%02d-2025550101", i);
        put(&e, id, i, A, RECORD_ACCEPTED);
    }
    assert_int_equal(forget(&order_a, &counts), FORGET_DONE);
    assert_int_equal(counts.renamed, 8);
    for (int i = 0; i < 64; i++) {
        char id[32];
        char phone[32];
        snprintf(id, sizeof id, i % 8 ? "b%02d-new" : "b%02d-2025550101", i);
        snprintf(phone, sizeof phone, i % 8 ? "+1202556%04d" : A, i);
        event_init(&events[i], id, 100 + i, phone, i + 1);
        claim_fill(&events[i]);
        items[i] = &events[i].claim;
    }
    struct answer answer = {0};
    struct claim_op op = {
        .items = items, .count = 64, .lease_us = US_PER_S, .done = on_claimed, .owner = &answer};
    assert_int_equal(ledger_port()->claim(ours.ledger, &op), PORT_OK);
    world_wait(&answer.done, ANSWER_MS);
    for (int i = 0; i < 64; i++)
        assert_int_equal(items[i]->answer, i % 8 ? CLAIM_GO : CLAIM_SETTLED);
}

/* The last record that was confirmed to a worker is gone by its name: that is no loss. */
static void renamed_row_is_no_loss(void **state)
{
    (void)state;
    for (int lost = 0; lost < 2; lost++) {
        for (int pooled = 0; pooled < 2; pooled++) {
            struct event e;
            struct peer peer;
            struct forget_counts counts;
            struct ledger_status status;
            world_clear();
            peer_open_with(&peer, (struct ledger_config){
                                      .dsn = world.cluster.dsn, .schema = "signup", .pooled = pooled});
            peer_wait(&peer, LEDGER_CONDITION_UP, ANSWER_MS);
            event_init(&e, "lead-2025550101", 1, A, 1);
            assert_int_equal(claim(&peer, &e), CLAIM_GO);
            assert_int_equal(record(&peer, &e, RECORD_ACCEPTED), RECORD_DONE);
            if (lost)
                ASK("DELETE FROM signup.event");
            else
                assert_int_equal(forget(&order_a, &counts), FORGET_DONE);
            ASK("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'signup-worker'");
            peer_wait(&peer, LEDGER_CONDITION_AWAY, ANSWER_MS);
            peer_wait(&peer, LEDGER_CONDITION_UP, ANSWER_MS);
            ledger_status(peer.ledger, &status);
            assert_int_equal(status.forgotten, lost);
            peer_close(&peer);
            ledger_people_close(people);
            assert_int_equal(ledger_people_open(&config, &people, error), LEDGER_VERDICT_WELL);
            peer_wait(&ours, LEDGER_CONDITION_UP, ANSWER_MS);
            peer_wait(&theirs, LEDGER_CONDITION_UP, ANSWER_MS);
        }
    }
}

/* ------------------------------------------------------------------ replays */

static bool count_row(void *ctx, const struct replay_row *row)
{
    (void)row;
    (*(int *)ctx)++;
    return true;
}

static void on_end(void *ctx, const struct replay_end *end)
{
    assert_true(!end->accepted && slice_is(end->code, "forgotten"));
    (*(int *)ctx)++;
}

/* Also where a letter on the topic tells of them still. */
static void nobody_is_replayed_who_was_forgotten(void **state)
{
    (void)state;
    struct event e[2];
    struct forget_counts counts;
    struct replay_ledger *replay;
    const char *ids[] = {"plain", "lead-2025550101"};
    for (int i = 0; i < 2; i++)
        put(&e[i], ids[i], i, A, RECORD_DEAD);
    published();
    assert_int_equal(forget(&order_a, &counts), FORGET_DONE);
    assert_int_equal(ledger_replay_open(&config, &replay, error), LEDGER_VERDICT_WELL);
    int rows = 0;
    assert_int_equal(ledger_replay_select(replay, &(struct replay_filter){0}, count_row, &rows),
                     LEDGER_VERDICT_WELL);
    assert_int_equal(rows, 0);
    int64_t replay_id;
    const struct replay_run run = {.who = "ann", .selection = "{}", .selected = 2};
    assert_int_equal(ledger_replay_begin(replay, &run, &replay_id), LEDGER_VERDICT_WELL);
    struct replay_letter letters[2];
    struct replay_item items[2];
    struct replay_known known[2];
    struct slice names[2];
    const struct replay_tally tally = {0};
    for (int i = 0; i < 2; i++) {
        letters[i] = (struct replay_letter){.original = e[i].record,
                                            .signup = &e[i].signup,
                                            .code = SLICE_LITERAL("x"),
                                            .message = SLICE_LITERAL("y"),
                                            .cls = SLICE_LITERAL("rejected"),
                                            .failed_at = clock_wall_now()};
        known[i] = (struct replay_known){.event_id = e[i].signup.event_id,
                                         .topic = e[i].record.topic,
                                         .offset = i,
                                         .phone_number = e[i].signup.phone_number,
                                         .list_number = e[i].signup.list_number};
        names[i] = e[i].signup.event_id;
    }
    assert_int_equal(ledger_replay_look(replay, known, 2, false), LEDGER_VERDICT_WELL);
    for (int i = 0; i < 2; i++)
        assert_true(known[i].there && !known[i].dead);
    for (int with_letters = 0; with_letters < 2; with_letters++) {
        for (int i = 0; i < 2; i++)
            items[i] = (struct replay_item){.event_id = e[i].signup.event_id,
                                            .letter = with_letters ? &letters[i] : NULL};
        assert_int_equal(ledger_replay_hand_over(replay, replay_id, items, 2, &tally), LEDGER_VERDICT_WELL);
        assert_int_equal(items[0].answer, REPLAY_NOT_DEAD);
        assert_int_equal(items[1].answer, REPLAY_NOT_DEAD);
    }
    int ended = 0;
    assert_int_equal(ledger_replay_follow(replay, names, 2, on_end, &ended), LEDGER_VERDICT_WELL);
    assert_int_equal(ended, 2);
    ledger_replay_close(replay);
    assert_sql("2", "SELECT count(*) FROM signup.event WHERE forgotten_at IS NOT NULL AND state = 'dead'");
    assert_nobody_knows("5550101");
}

/* ------------------------------------------------------------------ among workers */

struct forgetting {
    pthread_t thread;
    struct forget_order order;
    enum ledger_verdict verdict;
    enum forget_answer answer;
    struct forget_counts counts;
    int64_t erasure_id;
    bool connected; /* atomic, as those below */
    bool go;
    bool done;
};

static void turn_until(const bool *flag)
{
    double end = cluster_now() + ANSWER_MS / 1000.0;
    while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE)) {
        uv_run(&world.loop, UV_RUN_NOWAIT);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
        assert_true(cluster_now() < end);
    }
}

static void *forget_in_thread(void *ctx)
{
    struct forgetting *it = ctx;
    struct people_ledger *own;
    char text[LEDGER_ERROR_BYTES];
    it->verdict = ledger_people_open(&config, &own, text);
    __atomic_store_n(&it->connected, true, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&it->go, __ATOMIC_ACQUIRE))
        sched_yield();
    if (it->verdict == LEDGER_VERDICT_WELL)
        it->verdict = ledger_forget(own, &it->order, &it->answer, &it->counts, &it->erasure_id);
    ledger_people_close(own);
    __atomic_store_n(&it->done, true, __ATOMIC_RELEASE);
    return NULL;
}

/* Connected, and ready to go. */
static void forget_prepare(struct forgetting *it)
{
    *it = (struct forgetting){.order = order_a, .answer = FORGET_LOCKED};
    assert_int_equal(pthread_create(&it->thread, NULL, forget_in_thread, it), 0);
    turn_until(&it->connected);
}

static void forget_go(struct forgetting *it)
{
    __atomic_store_n(&it->go, true, __ATOMIC_RELEASE);
}

static void forget_start(struct forgetting *it)
{
    forget_prepare(it);
    forget_go(it);
}

static void forget_join(struct forgetting *it)
{
    turn_until(&it->done);
    pthread_join(it->thread, NULL);
    assert_int_equal(it->verdict, LEDGER_VERDICT_WELL);
}

static void wait_for_locks(const char *count)
{
    struct cluster watcher = world.cluster;
    watcher.admin = NULL;
    double end = cluster_now() + 5;
    while (
        strcmp(cluster_ask(&watcher, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"),
               count) != 0) {
        uv_run(&world.loop, UV_RUN_NOWAIT);
        assert_true(cluster_now() < end);
    }
    PQfinish(watcher.admin);
}

/* What it waited for, it sees: a worker that records the row, and tells of it, while the lock is waited for.
 */
static void end_of_the_row_is_seen(void **state)
{
    (void)state;
    struct event e;
    struct forgetting it;
    put(&e, "e1", 1, A, RECORD_ACCEPTED);
    ASK("BEGIN");
    ASK("UPDATE signup.event SET attempts = 2");
    forget_start(&it);
    wait_for_locks("1");
    ASK("INSERT INTO signup.outcome (event_id, body) VALUES ('e1', '{}')");
    ASK("COMMIT");
    forget_join(&it);
    assert_int_equal(it.answer, FORGET_REFUSED);
    assert_int_equal(it.counts.outcomes, 1);
    /* And a row that comes meanwhile is locked, too. */
    ASK("DELETE FROM signup.outcome");
    ASK("BEGIN");
    ASK("UPDATE signup.event SET attempts = 3");
    forget_start(&it);
    wait_for_locks("1");
    ASK("INSERT INTO signup.event (event_id, topic, partition, \"offset\", state, phone_number, finished_at)"
        " VALUES ('e2', 'signups', 0, 2, 'accepted', '" A "', now())");
    ASK("COMMIT");
    forget_join(&it);
    assert_int_equal(it.answer, FORGET_DONE);
    assert_int_equal(it.counts.events, 2);
    assert_nobody_knows("5550101");
}

/* A claim that has judged already waits for the row's lock, and then must not have it. */
static void claim_that_waits_gets_nothing(void **state)
{
    (void)state;
    for (int renamed = 0; renamed < 2; renamed++) {
        struct event e;
        struct forgetting it;
        struct answer answer = {0};
        const char *id = renamed ? "lead-2025550101" : "plain";
        world_clear();
        put(&e, id, 1, A, RECORD_DEAD);
        published();
        ASK("BEGIN");
        ASK("LOCK TABLE signup.erasure IN ACCESS EXCLUSIVE MODE"); /* holds the forgetting up in its middle */
        forget_start(&it);
        wait_for_locks("1");
        event_init(&e, id, 2, A, 2); /* published again: it would come back to life */
        claim_fill(&e);
        struct claim_item *items[] = {&e.claim};
        struct claim_op op = {
            .items = items, .count = 1, .lease_us = US_PER_S, .done = on_claimed, .owner = &answer};
        assert_int_equal(ledger_port()->claim(ours.ledger, &op), PORT_OK);
        wait_for_locks("2");
        ASK("COMMIT");
        forget_join(&it);
        assert_int_equal(it.answer, FORGET_DONE);
        world_wait(&answer.done, ANSWER_MS);
        assert_int_equal(answer.result, LEDGER_OK);
        assert_int_equal(e.claim.answer, renamed ? CLAIM_SETTLED : CLAIM_BUSY);
        assert_int_equal(claim(&ours, &e), CLAIM_SETTLED);
        assert_nobody_knows("5550101");
    }
}

/* Whoever holds the rows for long: nothing is changed, and that is said. */
static void long_locks_are_not_waited_for(void **state)
{
    (void)state;
    struct event e;
    struct forgetting it;
    put(&e, "e1", 1, A, RECORD_ACCEPTED);
    ASK("BEGIN");
    ASK("UPDATE signup.event SET attempts = 2");
    forget_start(&it);
    forget_join(&it);
    assert_int_equal(it.answer, FORGET_LOCKED);
    ASK("COMMIT");
    assert_sql("1", "SELECT count(*) FROM signup.event WHERE phone_number = '" A "'");
    assert_int_equal(forget(&order_a, &it.counts), FORGET_DONE);
}

#define EVENTS 12

/* Dead events are published again, and parked ones taken up, by two workers at the moment at which their
 * person is forgotten, by two people. Whoever comes first: never is an event given to a worker that is
 * forgotten, too. */
static void workers_and_forgetting_exclude_each_other(void **state)
{
    (void)state;
    int forgotten = 0;
    int refused = 0;
    for (int round = 0; round < 60; round++) {
        static struct event events[2][EVENTS];
        struct claim_item *items[2][EVENTS];
        struct answer answers[2] = {{0}, {0}};
        struct claim_op ops[2];
        struct forgetting it[2];
        world_clear();
        for (int i = 0; i < EVENTS; i++) {
            char id[32];
            snprintf(id, sizeof id, i % 3 == 2 && round % 4 < 2 ? "e%02d-2025550101" : "e%02d", i);
            ASK("INSERT INTO signup.event (event_id, topic, partition, \"offset\", state, phone_number, list_number, finished_at,"
                " dead_letter_published_at) VALUES ('%s', 'signups', 0, %d, 'dead', '" A
                "', '+1888555%04d', now(), now())",
                id, i, i);
            for (int k = 0; k < 2; k++) {
                event_init(&events[k][i], id, 100 * (k + 1) + i, A, 1000 * (k + 1) + i);
                snprintf(events[k][i].list, sizeof events[k][i].list, "+1888555%04d", i);
                events[k][i].signup.list_number = slice_from_str(events[k][i].list);
                claim_fill(&events[k][i]);
                items[k][i] = &events[k][i].claim;
            }
        }
        for (int k = 0; k < 2; k++)
            forget_prepare(&it[k]);
        if (round % 2) { /* the claims come a moment later, each round another one */
            forget_go(&it[0]);
            nanosleep(&(struct timespec){.tv_nsec = (round * 150000L) % 4000000}, NULL);
        }
        for (int k = 0; k < 2; k++) {
            ops[k] = (struct claim_op){.items = items[k],
                                       .count = EVENTS,
                                       .lease_us = 60 * US_PER_S,
                                       .done = on_claimed,
                                       .owner = &answers[k]};
            assert_int_equal(ledger_port()->claim((k ? &theirs : &ours)->ledger, &ops[k]), PORT_OK);
        }
        nanosleep(&(struct timespec){.tv_nsec = round % 2 ? 0 : (round * 50000L) % 1000000}, NULL);
        forget_go(&it[0]);
        forget_go(&it[1]);
        forget_join(&it[0]);
        forget_join(&it[1]);
        int gone = 0;
        for (int k = 0; k < 2; k++) {
            world_wait(&answers[k].done, ANSWER_MS);
            assert_int_equal(answers[k].result, LEDGER_OK);
            for (int i = 0; i < EVENTS; i++)
                gone += events[k][i].claim.answer == CLAIM_GO;
        }
        bool done = it[0].answer == FORGET_DONE || it[1].answer == FORGET_DONE;
        assert_false(it[0].answer == FORGET_DONE && it[1].answer == FORGET_DONE);
        assert_true(done ? gone == 0 : gone == EVENTS);
        assert_sql(done ? "0" : "12", "SELECT count(*) FROM signup.event WHERE phone_number IS NOT NULL");
        if (done)
            assert_nobody_knows("5550101");
        forgotten += done;
        refused += !done;
    }
    print_message("forgotten %d times, refused %d times\n", forgotten, refused);
    assert_true(forgotten > 0 && refused > 0); /* it was a race */
}

/* A lost connection: whether it was done is known by asking again. */
static void lost_connection_is_away(void **state)
{
    (void)state;
    struct event e;
    struct forget_counts counts;
    enum forget_answer answer;
    int64_t id;
    put(&e, "e1", 1, A, RECORD_ACCEPTED);
    ASK("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'signup-worker'");
    assert_int_equal(ledger_forget(people, &order_a, &answer, &counts, &id), LEDGER_VERDICT_AWAY);
    assert_true(error[0] != '\0');
    ledger_people_close(people);
    assert_int_equal(ledger_people_open(&config, &people, error), LEDGER_VERDICT_WELL);
    assert_int_equal(forget(&order_a, &counts), FORGET_DONE);
}

/* A user that may write, but not delete. */
static void missing_privilege_is_said(void **state)
{
    (void)state;
    struct event e;
    struct forget_counts counts;
    enum forget_answer answer;
    int64_t id;
    char dsn[256];
    put(&e, "e1", 1, A, RECORD_ACCEPTED);
    ASK("CREATE ROLE scribe LOGIN");
    ASK("GRANT USAGE ON SCHEMA signup TO scribe");
    ASK("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA signup TO scribe");
    snprintf(dsn, sizeof dsn, "host=%s port=%d user=scribe dbname=postgres", world.cluster.folder,
             world.cluster.port);
    const struct ledger_config theirs_config = {.dsn = dsn, .schema = "signup"};
    struct people_ledger *scribe;
    assert_int_equal(ledger_people_open(&theirs_config, &scribe, error), LEDGER_VERDICT_WELL);
    assert_int_equal(ledger_forget(scribe, &order_a, &answer, &counts, &id), LEDGER_VERDICT_REFUSED);
    assert_non_null(strstr(error, "permission denied for table warning"));
    ledger_people_close(scribe);
    assert_sql("1", "SELECT count(*) FROM signup.event WHERE phone_number = '" A "'");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(trail_gives_everything),
        CASE(trail_is_filtered_and_in_order),
        CASE(nothing_of_the_person_is_left),
        CASE(validation_alone_is_forgotten),
        CASE(digits_are_found_whatever_stands_between),
        CASE(names_never_collide),
        CASE(each_in_its_way),
        CASE(outcomes_are_in_the_way),
        CASE(forgotten_rows_settle_whatever_comes),
        CASE(renamed_ids_are_found_among_others),
        CASE(renamed_row_is_no_loss),
        CASE(nobody_is_replayed_who_was_forgotten),
        CASE(end_of_the_row_is_seen),
        CASE(claim_that_waits_gets_nothing),
        CASE(long_locks_are_not_waited_for),
        CASE(workers_and_forgetting_exclude_each_other),
        CASE(lost_connection_is_away),
        CASE(missing_privilege_is_said),
    };
    return cmocka_run_group_tests_name("ledger/people", tests, world_setup, world_teardown);
}
