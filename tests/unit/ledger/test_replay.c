/* Replays on a real PostgreSQL: what is selected and in which order, what a row is given when it comes back,
 * what is left alone, and that nothing happens twice. */
#include "ledger_world.h"
#include "signup/ledger/replay.h"

#include <pthread.h>

#define LIST "+18885550000"

static struct ledger_config config;
static char error[LEDGER_ERROR_BYTES];
static const struct replay_tally NO_TALLY;

static struct replay_ledger *opened(void)
{
    struct replay_ledger *ledger = NULL;
    config = (struct ledger_config){.dsn = world.cluster.dsn, .schema = "signup"};
    assert_int_equal(ledger_replay_open(&config, &ledger, error), LEDGER_VERDICT_WELL);
    return ledger;
}

static void clear(void)
{
    ASK("TRUNCATE signup.event, signup.warning, signup.attempt, signup.replay RESTART IDENTITY");
}

/* A row that died `minutes` after noon; more columns as "name = value, …". */
static void dead(const char *id, int partition, int offset, const char *phone, int minutes, const char *more)
{
    ASK("INSERT INTO signup.event (event_id, topic, partition, \"offset\", received_at, state, phone_number, list_number,"
        " attempts, http_status, code, error, error_class, payload, finished_at, token, dead_letter_published_at)"
        " VALUES ('%s', 'signups', %d, %d, '2025-05-01 11:00Z', 'dead', nullif('%s', ''), nullif('%s', ''), 3, 400,"
        " 'not_sendable', 'no', 'rejected', 'bytes', timestamptz '2025-05-01 12:00Z' + %d * interval '1 minute',"
        " gen_random_uuid(), now())",
        id, partition, offset, phone, *phone ? LIST : "", minutes);
    if (*more)
        ASK("UPDATE signup.event SET %s WHERE event_id = '%s'", more, id);
}

/* ------------------------------------------------------------------ selecting */

struct selected {
    char ids[1024]; /* "a b c" */
    char superseded[1024];
    char without_original[1024];
    size_t count;
    size_t stop_after;
};

static void note(char *list, size_t size, struct slice id)
{
    size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%.*s", used ? " " : "", (int)id.len, id.ptr);
}

static bool on_row(void *ctx, const struct replay_row *row)
{
    struct selected *selected = ctx;
    note(selected->ids, sizeof selected->ids, row->event_id);
    if (row->superseded)
        note(selected->superseded, sizeof selected->superseded, row->event_id);
    if (!row->original)
        note(selected->without_original, sizeof selected->without_original, row->event_id);
    return ++selected->count != selected->stop_after;
}

static struct selected select_by(const struct replay_filter *filter)
{
    struct selected selected = {0};
    struct replay_ledger *ledger = opened();
    assert_int_equal(ledger_replay_select(ledger, filter, on_row, &selected), LEDGER_VERDICT_WELL);
    ledger_replay_close(ledger);
    return selected;
}

#define assert_selects(expected, ...)                                                                        \
    do {                                                                                                     \
        const struct replay_filter filter_ = {__VA_ARGS__};                                                  \
        struct selected selected_ = select_by(&filter_);                                                     \
        assert_string_equal(selected_.ids, expected);                                                        \
    } while (0)

#define TEXTS(...)                                                                                           \
    {                                                                                                        \
        (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)      \
    }

static wall_us_t minute(int64_t n)
{
    return (wall_us_t){(INT64_C(1746100800) + n * 60) * US_PER_S}; /* from 2025-05-01T12:00:00Z */
}

static void selects_by_each_criterion(void **state)
{
    (void)state;
    clear();
    dead("a", 0, 1, "+12025550101", 1, "code = 'invalid_phone'");
    dead("b", 0, 2, "+12025550102", 2, "http_status = NULL, code = 'missing_phone_number'");
    dead("c", 0, 3, "+12025550103", 3, "error_class = 'billing', http_status = 402, code = NULL");
    dead("d", 0, 4, "+12025550104", 4, "list_number = '+18885559999'");
    dead("e", 0, 5, "+12025550105", 5, "ad_network_source = 'facebook', ad_network_id = 'c-9'");
    ASK("INSERT INTO signup.event (event_id, topic, partition, \"offset\", state, finished_at, payload)"
        " VALUES ('x', 'signups', 0, 9, 'accepted', now(), 'bytes'), ('y', 'signups', 0, 10, 'parked', NULL, 'bytes')");
    assert_selects("a b c d e", .codes = {0});
    assert_selects("a b", .codes = TEXTS("invalid_phone", "missing_phone_number"));
    assert_selects("c", .statuses = (int[]){402}, .status_count = 1);
    assert_selects("b c", .statuses = (int[]){0, 402}, .status_count = 2);
    assert_selects("c", .classes = TEXTS("billing"));
    assert_selects("d", .lists = TEXTS("+18885559999"));
    assert_selects("e", .ad_networks = TEXTS("facebook"));
    assert_selects("e", .ad_ids = TEXTS("c-9", "c-10"));
    assert_selects("a c", .event_ids = TEXTS("c", "a", "x", "y", "nobody"),
                   .classes = TEXTS("nothing", "billing", "rejected"), .codes = {0}, .has_since = false);
    assert_selects("b c", .has_since = true, .since = minute(2), .has_until = true, .until = minute(4));
    assert_selects("", .codes = TEXTS("invalid_phone"), .statuses = (int[]){402}, .status_count = 1);
    struct selected first = {.stop_after = 2};
    struct replay_ledger *ledger = opened();
    assert_int_equal(ledger_replay_select(ledger, &(struct replay_filter){0}, on_row, &first),
                     LEDGER_VERDICT_WELL);
    assert_string_equal(first.ids, "a b");
    assert_int_equal(ledger_replay_select(ledger, &(struct replay_filter){0}, on_row, &first),
                     LEDGER_VERDICT_WELL);
    ledger_replay_close(ledger);
}

/* By the time of death, but a contact's events of one partition by their offsets. */
static void order_is_never_against_a_contacts_offsets(void **state)
{
    (void)state;
    clear();
    dead("p5", 0, 5, "+12025550101", 9, "");
    dead("p7", 0, 7, "+12025550101", 2, "");
    dead("q6", 0, 6, "+12025550102", 1, "");
    dead("q9", 0, 9, "+12025550102", 3, "");
    dead("r1", 1, 1, "+12025550101", 4, "");
    dead("z8", 0, 8, "", 0, "");
    assert_selects("z8 q6 p5 p7 q9 r1", .codes = {0});
}

static void accepted(const char *id, int partition, int offset, const char *phone, const char *more)
{
    ASK("INSERT INTO signup.event (event_id, topic, partition, \"offset\", received_at, state, phone_number, list_number,"
        " finished_at) VALUES ('%s', 'signups', %d, %d, '2025-05-01 11:00Z', 'accepted', '%s', '" LIST
        "', now())",
        id, partition, offset, phone);
    if (*more)
        ASK("UPDATE signup.event SET %s WHERE event_id = '%s'", more, id);
}

static void newer_accepted_event_supersedes(void **state)
{
    (void)state;
    clear();
    dead("further-on", 0, 5, "+12025550101", 1, "");
    accepted("a1", 0, 6, "+12025550101",
             "signup_date = '2000-01-01'"); /* in one partition the offset counts */
    dead("before", 0, 5, "+12025550102", 2, "");
    accepted("a2", 0, 4, "+12025550102", "signup_date = '2030-01-01'");
    dead("other-partition-later", 0, 5, "+12025550103", 3, "signup_date = '2025-01-01'");
    accepted("a3", 1, 1, "+12025550103", "signup_date = '2025-01-02'");
    dead("other-partition-earlier", 0, 5, "+12025550104", 4, "signup_date = '2025-01-03'");
    accepted("a4", 1, 9, "+12025550104", "signup_date = '2025-01-02'");
    dead("by-reception", 0, 5, "+12025550105", 5, "");
    accepted("a5", 1, 1, "+12025550105", "received_at = '2025-05-01 11:01Z'");
    dead("other-list", 0, 5, "+12025550106", 6, "");
    accepted("a6", 0, 6, "+12025550106", "list_number = '+18885559999'");
    dead("other-topic", 0, 5, "+12025550107", 7, "signup_date = '2025-01-03'");
    accepted("a7", 0, 6, "+12025550107", "topic = 'elsewhere', signup_date = '2025-01-02'");
    dead("nobody", 0, 5, "", 8, "");
    accepted("own-old-and-foreign-new", 0, 1, "+12025550108", "");
    dead("both", 0, 5, "+12025550108", 9, "signup_date = '2025-01-01'");
    accepted("a8", 2, 1, "+12025550108", "signup_date = '2026-01-01'");
    struct selected selected = select_by(&(struct replay_filter){0});
    assert_int_equal(selected.count, 9);
    assert_string_equal(selected.superseded, "further-on other-partition-later by-reception both");
    selected = select_by(&(struct replay_filter){.superseded_too = true});
    assert_int_equal(selected.count, 9);
    assert_string_equal(selected.superseded, "");
}

/* ------------------------------------------------------------------ handing over */

static int64_t begun(struct replay_ledger *ledger)
{
    const struct replay_run run = {
        .who = "ann@example", .reason = "it was the list", .selection = "{\"all\":true}", .selected = 9};
    int64_t replay_id = 0;
    assert_int_equal(ledger_replay_begin(ledger, &run, &replay_id), LEDGER_VERDICT_WELL);
    assert_true(replay_id > 0);
    return replay_id;
}

static size_t items_of(struct replay_item *items, const char *const *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        items[i] = (struct replay_item){.event_id = slice_from_str(ids[i]), .answer = REPLAY_REFUSED};
    return count;
}

#define HAND_OVER(ledger, replay_id, items, ...)                                                             \
    do {                                                                                                     \
        const char *const ids_[] = {__VA_ARGS__};                                                            \
        size_t count_ = items_of(items, ids_, sizeof ids_ / sizeof ids_[0]);                                 \
        assert_int_equal(ledger_replay_hand_over(ledger, replay_id, items, count_, &NO_TALLY),               \
                         LEDGER_VERDICT_WELL);                                                               \
    } while (0)

static void dead_row_comes_back_parked_and_due(void **state)
{
    (void)state;
    clear();
    dead(
        "a", 0, 1, "+12025550101", 1,
        "maybe_sent = true, outbox_token = gen_random_uuid(), lease_until = now() + interval '1 hour', headers = '[]',"
        " record_key = 'k', record_timestamp_ms = 5, sources = '{signups:0:0}', replays = 2");
    struct replay_ledger *ledger = opened();
    int64_t replay_id = begun(ledger);
    struct replay_item items[4];
    HAND_OVER(ledger, replay_id, items, "a");
    assert_int_equal(items[0].answer, REPLAY_PARKED);
    assert_sql(
        "parked|0|3|t|t|t|t",
        "SELECT state || '|' || attempts || '|' || replays || '|' || maybe_sent::text::char || '|' ||"
        " (due_at = age_from AND due_at <= now())::text::char || '|' || (park_order IS NOT NULL)::text::char || '|' ||"
        " (token IS NULL AND lease_until IS NULL AND outbox_token IS NULL AND dead_letter_published_at IS NULL"
        " AND finished_at IS NULL)::text::char FROM signup.event");
    assert_sql(
        "t",
        "SELECT payload = 'bytes' AND headers = '[]' AND record_key = 'k' AND record_timestamp_ms = 5"
        " AND sources = '{signups:0:0}' AND code = 'not_sendable' AND error = 'no' AND error_class = 'rejected'"
        " AND http_status = 400 FROM signup.event");
    assert_sql("worker|replayed|replayed by ann@example (replay 1): it had died of not_sendable (HTTP 400)",
               "SELECT source || '|' || code || '|' || message FROM signup.warning");
    assert_sql("1", "SELECT replay_id FROM signup.event");
    assert_sql(
        "1|9|f",
        "SELECT replayed || '|' || selected || '|' || (finished_at IS NOT NULL)::text::char FROM signup.replay");
    const struct replay_tally tally = {1, 2, 3, 4, 5};
    assert_int_equal(ledger_replay_finish(ledger, replay_id, &tally), LEDGER_VERDICT_WELL);
    assert_sql(
        "ann@example|it was the list|{\"all\": true}|1|1|2|3|4|5",
        "SELECT concat_ws('|', who, reason, selection, replayed, skipped_unsubscribed, skipped_superseded,"
        " skipped_without_original, skipped_not_dead, failed) FROM signup.replay WHERE finished_at >= started_at");
    ledger_replay_close(ledger);
}

static void what_is_not_dead_or_not_kept_is_left_alone(void **state)
{
    (void)state;
    clear();
    dead("bytes-gone", 0, 1, "+12025550101", 1, "payload = NULL");
    accepted("accepted", 0, 2, "+12025550102", "");
    dead("parked", 0, 3, "+12025550103", 1, "state = 'parked'");
    char before[512];
    snprintf(before, sizeof before, "%s",
             ASK("SELECT md5(string_agg(e::text, '' ORDER BY event_id)) FROM signup.event e"));
    struct replay_ledger *ledger = opened();
    struct replay_item items[4];
    HAND_OVER(ledger, begun(ledger), items, "parked", "missing", "bytes-gone", "accepted");
    assert_int_equal(items[0].answer, REPLAY_NOT_DEAD);
    assert_int_equal(items[1].answer, REPLAY_NOT_DEAD);
    assert_int_equal(items[2].answer, REPLAY_WITHOUT_ORIGINAL);
    assert_int_equal(items[3].answer, REPLAY_NOT_DEAD);
    assert_sql(before, "SELECT md5(string_agg(e::text, '' ORDER BY event_id)) FROM signup.event e");
    assert_sql("0", "SELECT count(*) FROM signup.warning");
    ledger_replay_close(ledger);
}

/* The same batch again, as after an answer that was lost: parked, but not a second time, also when it has
 * died since. */
static void batch_again_changes_nothing(void **state)
{
    (void)state;
    clear();
    dead("a", 0, 1, "+12025550101", 1, "");
    dead("b", 0, 2, "+12025550102", 1, "");
    struct replay_ledger *ledger = opened();
    int64_t replay_id = begun(ledger);
    struct replay_item items[2];
    HAND_OVER(ledger, replay_id, items, "a", "b");
    ASK("UPDATE signup.event SET state = 'dead', finished_at = now() WHERE event_id = 'b'");
    assert_int_equal(ledger_replay_reopen(ledger), LEDGER_VERDICT_WELL);
    HAND_OVER(ledger, replay_id, items, "a", "b");
    assert_int_equal(items[0].answer, REPLAY_PARKED);
    assert_int_equal(items[1].answer, REPLAY_PARKED);
    assert_sql(
        "a parked 1, b dead 1",
        "SELECT string_agg(concat_ws(' ', event_id, state, replays), ', ' ORDER BY event_id) FROM signup.event");
    assert_sql("2 2",
               "SELECT (SELECT replayed FROM signup.replay) || ' ' || (SELECT count(*) FROM signup.warning)");
    HAND_OVER(ledger, begun(ledger), items, "a", "b"); /* another replay may bring it back again */
    assert_int_equal(items[0].answer, REPLAY_NOT_DEAD);
    assert_int_equal(items[1].answer, REPLAY_PARKED);
    ledger_replay_close(ledger);
}

static void park_order_is_that_of_the_batch(void **state)
{
    (void)state;
    clear();
    const char *const ids[] = {"m", "z", "a", "q", "c"};
    struct replay_item items[5];
    for (int i = 0; i < 5; i++)
        dead(ids[i], 0, i, "+12025550101", 1, "");
    struct replay_ledger *ledger = opened();
    HAND_OVER(ledger, begun(ledger), items, "m", "z", "a", "q", "c");
    assert_sql("m z a q c", "SELECT string_agg(event_id, ' ' ORDER BY park_order) FROM signup.event");
    ledger_replay_close(ledger);
}

/* ------------------------------------------------------------------ two operators at once */

#define CROWD 4
#define CROWD_EVENTS 400

struct operator
{
    pthread_t thread;
    int64_t replay_id;
    size_t parked;
    bool backwards;
};

static void *operate(void *arg)
{
    struct operator* me = arg;
    char failure[LEDGER_ERROR_BYTES];
    struct ledger_config own = {.dsn = world.cluster.dsn, .schema = "signup"};
    struct replay_ledger *ledger = NULL;
    struct replay_item items[50];
    static char names[CROWD_EVENTS][8];
    if (ledger_replay_open(&own, &ledger, failure) != LEDGER_VERDICT_WELL)
        return NULL;
    for (int from = 0; from < CROWD_EVENTS; from += 50) {
        for (int i = 0; i < 50; i++) {
            int nth = me->backwards ? CROWD_EVENTS - 1 - from - i : from + i;
            snprintf(names[nth], sizeof names[nth], "%05d", nth);
            items[i] = (struct replay_item){.event_id = slice_from_str(names[nth])};
        }
        if (ledger_replay_hand_over(ledger, me->replay_id, items, 50, &NO_TALLY) != LEDGER_VERDICT_WELL)
            break;
        for (int i = 0; i < 50; i++)
            me->parked += items[i].answer == REPLAY_PARKED;
    }
    ledger_replay_close(ledger);
    return NULL;
}

static void many_operators_replay_each_event_once(void **state)
{
    (void)state;
    clear();
    ASK("INSERT INTO signup.event (event_id, topic, partition, \"offset\", state, phone_number, list_number, payload, finished_at)"
        " SELECT to_char(n, 'FM00000'), 'signups', 0, n, 'dead', '+1202555' || to_char(n, 'FM0000'), '" LIST
        "', 'bytes', now()"
        " FROM generate_series(0, %d - 1) n",
        CROWD_EVENTS);
    struct operator operators[CROWD] = {0};
    struct replay_ledger *ledger = opened();
    for (int i = 0; i < CROWD; i++) {
        operators[i].replay_id = begun(ledger);
        operators[i].backwards = i % 2;
    }
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&operators[i].thread, NULL, operate, &operators[i]), 0);
    size_t parked = 0;
    for (int i = 0; i < CROWD; i++) {
        pthread_join(operators[i].thread, NULL);
        parked += operators[i].parked;
    }
    assert_int_equal(parked, CROWD_EVENTS);
    assert_sql(
        "400 400 400",
        "SELECT concat_ws(' ', (SELECT count(*) FROM signup.event WHERE state = 'parked' AND replays = 1),"
        " (SELECT sum(replayed) FROM signup.replay), (SELECT count(*) FROM signup.warning))");
    ledger_replay_close(ledger);
}

/* ------------------------------------------------------------------ letters */

struct letter {
    struct replay_letter letter;
    struct signup signup;
    struct record_header header;
    char phone[20];
};

static void letter_init(struct letter *it, int64_t offset, const char *phone)
{
    memset(it, 0, sizeof *it);
    snprintf(it->phone, sizeof it->phone, "%s", phone);
    it->header = (struct record_header){SLICE_LITERAL("traceparent"), SLICE_LITERAL("\xff\x01")};
    it->signup.phone_number = slice_from_str(it->phone);
    it->signup.list_number = SLICE_LITERAL(LIST);
    it->signup.ad_network_source = SLICE_LITERAL("adwords");
    it->letter = (struct replay_letter){
        .original = {.topic = SLICE_LITERAL("signups"),
                     .partition = 3,
                     .offset = offset,
                     .timestamp_ms = 77,
                     .key = SLICE_LITERAL("\x80key"),
                     .value = SLICE_LITERAL("{\"a\":1}"),
                     .headers = &it->header,
                     .header_count = 1},
        .signup = &it->signup,
        .code = SLICE_LITERAL("not_sendable"),
        .message = SLICE_LITERAL("the carrier says no"),
        .cls = SLICE_LITERAL("rejected"),
        .http_status = 400,
        .failed_at = minute(1),
        .maybe_sent = true,
    };
}

static void letters_are_put_back_where_the_ledger_is_gone(void **state)
{
    (void)state;
    clear();
    struct letter letters[2];
    letter_init(&letters[0], 8, "+12025550108");
    letter_init(&letters[1], 7, "+12025550107");
    letters[1].letter.maybe_sent = false;
    letters[1].letter.http_status = 0;
    letters[1].letter.original.timestamp_ms = -1;
    letters[1].letter.original.key = SLICE_ABSENT;
    letters[1].letter.original.header_count = 0;
    struct replay_item items[] = {{.event_id = SLICE_LITERAL("l-8"), .letter = &letters[0].letter},
                                  {.event_id = SLICE_LITERAL("l-7"), .letter = &letters[1].letter}};
    struct replay_ledger *ledger = opened();
    int64_t replay_id = begun(ledger);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(ledger_replay_hand_over(ledger, replay_id, items, 2, &NO_TALLY),
                         LEDGER_VERDICT_WELL);
        assert_int_equal(items[0].answer, REPLAY_PARKED);
        assert_int_equal(items[1].answer, REPLAY_PARKED);
    }
    assert_sql(
        "l-8 l-7",
        "SELECT string_agg(event_id, ' ' ORDER BY park_order) FROM signup.event WHERE state = 'parked'"
        " AND due_at <= now() AND replays = 1 AND attempts = 0 AND age_from = due_at AND token IS NULL");
    assert_sql(
        "t",
        "SELECT topic = 'signups' AND partition = 3 AND \"offset\" = 8 AND received_at = '2025-05-01 12:01Z'"
        " AND phone_number = '+12025550108' AND list_number = '" LIST "' AND http_status = 400"
        " AND code = 'not_sendable' AND error = 'the carrier says no' AND error_class = 'rejected' AND maybe_sent"
        " AND ad_network_source = 'adwords' AND payload = '{\"a\":1}' AND record_key = '\\x806b6579'"
        " AND record_timestamp_ms = 77 AND headers = '[{\"name\": \"traceparent\", \"base64\": \"/wE=\"}]'"
        " FROM signup.event WHERE event_id = 'l-8'");
    assert_sql("t", "SELECT http_status IS NULL AND NOT maybe_sent AND record_key IS NULL AND headers IS NULL"
                    " AND record_timestamp_ms IS NULL FROM signup.event WHERE event_id = 'l-7'");
    assert_sql("2 2",
               "SELECT (SELECT replayed FROM signup.replay) || ' ' || (SELECT count(*) FROM signup.warning)");
    assert_int_equal(ledger_replay_hand_over(ledger, begun(ledger), items, 2, &NO_TALLY),
                     LEDGER_VERDICT_WELL);
    assert_int_equal(items[0].answer, REPLAY_NOT_DEAD);
    ledger_replay_close(ledger);
}

static void letters_meet_what_is_there(void **state)
{
    (void)state;
    clear();
    struct letter letter;
    letter_init(&letter, 8, "+12025550108");
    dead("dead", 0, 1, "+12025550108", 1, "maybe_sent = true");
    dead("bytes-gone", 0, 2, "+12025550108", 1, "payload = NULL");
    accepted("accepted", 0, 3, "+12025550108", "");
    struct replay_item items[] = {{.event_id = SLICE_LITERAL("dead"), .letter = &letter.letter},
                                  {.event_id = SLICE_LITERAL("accepted"), .letter = &letter.letter},
                                  {.event_id = SLICE_LITERAL("bytes-gone"), .letter = &letter.letter}};
    letter.letter.maybe_sent = false;
    struct replay_ledger *ledger = opened();
    assert_int_equal(ledger_replay_hand_over(ledger, begun(ledger), items, 3, &NO_TALLY),
                     LEDGER_VERDICT_WELL);
    assert_int_equal(items[0].answer, REPLAY_PARKED);
    assert_int_equal(items[1].answer, REPLAY_NOT_DEAD);
    assert_int_equal(items[2].answer, REPLAY_PARKED);
    assert_sql("accepted", "SELECT state FROM signup.event WHERE event_id = 'accepted' AND replays = 0");
    assert_sql("bytes t 1",
               "SELECT concat_ws(' ', payload::text, maybe_sent::text::char, \"offset\") FROM"
               " (SELECT encode(payload, 'escape') AS payload, maybe_sent, \"offset\" FROM signup.event"
               "  WHERE event_id = 'dead' AND state = 'parked') e");
    assert_sql("{\"a\":1} 77",
               "SELECT encode(payload, 'escape') || ' ' || record_timestamp_ms FROM signup.event"
               " WHERE event_id = 'bytes-gone' AND state = 'parked'");
    ledger_replay_close(ledger);
}

/* The others go; the one that the database does not take is named. */
static void letter_that_the_database_refuses_is_found(void **state)
{
    (void)state;
    clear();
    struct letter letters[7];
    struct replay_item items[7];
    char ids[7][8];
    for (int i = 0; i < 7; i++) {
        letter_init(&letters[i], i, "+12025550108");
        snprintf(ids[i], sizeof ids[i], "l-%d", i);
        items[i] = (struct replay_item){.event_id = slice_from_str(ids[i]), .letter = &letters[i].letter};
    }
    letters[4].letter.message = (struct slice){"\xff", 1};
    struct replay_ledger *ledger = opened();
    assert_int_equal(ledger_replay_hand_over(ledger, begun(ledger), items, 7, &NO_TALLY),
                     LEDGER_VERDICT_WELL);
    for (int i = 0; i < 7; i++)
        assert_int_equal(items[i].answer, i == 4 ? REPLAY_REFUSED : REPLAY_PARKED);
    assert_sql("6 6", "SELECT (SELECT replayed FROM signup.replay) || ' ' || count(*) FROM signup.event");
    ledger_replay_close(ledger);
}

static void what_is_known_of_letters(void **state)
{
    (void)state;
    clear();
    dead("dead", 0, 1, "+12025550101", 1, "");
    dead("bytes-gone", 0, 2, "+12025550102", 1, "payload = NULL");
    accepted("overtakes", 0, 3, "+12025550101", "");
    struct replay_known known[] = {
        {.event_id = SLICE_LITERAL("dead"), .offset = 1}, /* a pointer: only the ledger knows the contact */
        {.event_id = SLICE_LITERAL("bytes-gone"), .offset = 2},
        {.event_id = SLICE_LITERAL("new"),
         .offset = 2,
         .phone_number = SLICE_LITERAL("+12025550101"),
         .list_number = SLICE_LITERAL(LIST)},
        {.event_id = SLICE_LITERAL("newer"),
         .offset = 4,
         .phone_number = SLICE_LITERAL("+12025550101"),
         .list_number = SLICE_LITERAL(LIST)},
        {.event_id = SLICE_LITERAL("overtakes"), .offset = 3}};
    for (size_t i = 0; i < 5; i++) {
        known[i].topic = SLICE_LITERAL("signups");
        known[i].dated = minute(0);
    }
    struct replay_ledger *ledger = opened();
    assert_int_equal(ledger_replay_look(ledger, known, 5, false), LEDGER_VERDICT_WELL);
    assert_true(known[0].there && known[0].dead && known[0].original && known[0].superseded);
    assert_string_equal(known[0].phone, "+12025550101");
    assert_string_equal(known[0].list, LIST);
    assert_true(known[1].there && known[1].dead && !known[1].original && !known[1].superseded);
    assert_true(!known[2].there && !known[2].dead && known[2].superseded);
    assert_true(!known[3].there && !known[3].superseded);
    assert_true(known[4].there && !known[4].dead && !known[4].superseded);
    assert_int_equal(ledger_replay_look(ledger, known, 5, true), LEDGER_VERDICT_WELL);
    assert_true(!known[0].superseded && !known[2].superseded);
    ledger_replay_close(ledger);
}

/* ------------------------------------------------------------------ following, and trouble */

struct ends {
    int accepted;
    int dead;
    size_t nth;
    char code[32];
    int http_status;
};

static void on_end(void *ctx, const struct replay_end *end)
{
    struct ends *ends = ctx;
    ends->accepted += end->accepted;
    ends->dead += !end->accepted;
    if (!end->accepted) {
        ends->nth = end->nth;
        ends->http_status = end->http_status;
        snprintf(ends->code, sizeof ends->code, "%.*s", (int)end->code.len, end->code.ptr);
    }
}

static void follow_tells_of_those_that_are_final(void **state)
{
    (void)state;
    clear();
    accepted("a", 0, 1, "+12025550101", "");
    dead("p", 0, 2, "+12025550102", 1, "state = 'parked'");
    dead("d", 0, 3, "+12025550103", 1, "");
    const struct slice ids[] = {SLICE_LITERAL("a"), SLICE_LITERAL("p"), SLICE_LITERAL("d"),
                                SLICE_LITERAL("nobody")};
    struct ends ends = {0};
    struct replay_ledger *ledger = opened();
    assert_int_equal(ledger_replay_follow(ledger, ids, 4, on_end, &ends), LEDGER_VERDICT_WELL);
    assert_int_equal(ends.accepted, 1);
    assert_int_equal(ends.dead, 1);
    assert_int_equal(ends.nth, 2);
    assert_int_equal(ends.http_status, 400);
    assert_string_equal(ends.code, "not_sendable");
    ledger_replay_close(ledger);
}

static void lost_connection_is_away_and_reopened(void **state)
{
    (void)state;
    clear();
    dead("a", 0, 1, "+12025550101", 1, "");
    struct replay_ledger *ledger = opened();
    int64_t replay_id = begun(ledger);
    struct selected selected = {0};
    struct replay_item items[1];
    const char *const ids[] = {"a"};
    items_of(items, ids, 1);
    for (int round = 0; round < 3; round++) {
        ASK("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname IS NOT NULL");
        enum ledger_verdict verdict =
            round == 0   ? ledger_replay_select(ledger, &(struct replay_filter){0}, on_row, &selected)
            : round == 1 ? ledger_replay_hand_over(ledger, replay_id, items, 1, &NO_TALLY)
                         : ledger_replay_finish(ledger, replay_id, &NO_TALLY);
        assert_int_equal(verdict, LEDGER_VERDICT_AWAY);
        assert_non_null(strstr(error, "PostgreSQL at "));
        assert_int_equal(ledger_replay_reopen(ledger), LEDGER_VERDICT_WELL);
    }
    HAND_OVER(ledger, replay_id, items, "a");
    assert_int_equal(items[0].answer, REPLAY_PARKED);
    ledger_replay_close(ledger);
}

static void schema_without_replays_is_refused(void **state)
{
    (void)state;
    struct ledger_config nowhere = {.dsn = world.cluster.dsn, .schema = "nowhere"};
    struct replay_ledger *ledger = NULL;
    assert_int_equal(ledger_replay_open(&nowhere, &ledger, error), LEDGER_VERDICT_SCHEMA);
    assert_null(ledger);
    assert_non_null(strstr(error, "signup-worker migrate"));
    struct ledger_config away = {.dsn = "host=127.0.0.1 port=1", .schema = "signup"};
    assert_int_equal(ledger_replay_open(&away, &ledger, error), LEDGER_VERDICT_AWAY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selects_by_each_criterion),
        cmocka_unit_test(order_is_never_against_a_contacts_offsets),
        cmocka_unit_test(newer_accepted_event_supersedes),
        cmocka_unit_test(dead_row_comes_back_parked_and_due),
        cmocka_unit_test(what_is_not_dead_or_not_kept_is_left_alone),
        cmocka_unit_test(batch_again_changes_nothing),
        cmocka_unit_test(park_order_is_that_of_the_batch),
        cmocka_unit_test(many_operators_replay_each_event_once),
        cmocka_unit_test(letters_are_put_back_where_the_ledger_is_gone),
        cmocka_unit_test(letters_meet_what_is_there),
        cmocka_unit_test(letter_that_the_database_refuses_is_found),
        cmocka_unit_test(what_is_known_of_letters),
        cmocka_unit_test(follow_tells_of_those_that_are_final),
        cmocka_unit_test(lost_connection_is_away_and_reopened),
        cmocka_unit_test(schema_without_replays_is_refused),
    };
    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
