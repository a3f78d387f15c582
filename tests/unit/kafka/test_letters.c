/* The dead-letter topic read back, against the mock cluster: everything that a letter says, strangers among
 * them, where the reading begins and ends, and what is said when it cannot. */
#include "mock_kafka.h"

#include "signup/kafka/dead_letter.h"
#include "signup/kafka/letters.h"

#define FETCH_REQUEST 1 /* its key in the protocol */

static struct mock mock;

static int setup(void **state)
{
    (void)state;
    mock_start(&mock, 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    mock_stop(&mock);
    return 0;
}

static const char *const TOPICS[] = {"signups"};
/* So that the mock's answers are quick; a letter of 5 MiB retention is one batch a fetch. */
static const struct kafka_property QUICK[] = {{"fetch.wait.max.ms", "20"}};

static struct kafka_config make_config(void)
{
    return (struct kafka_config){.brokers = mock.brokers,
                                 .topics = TOPICS,
                                 .topic_count = 1,
                                 .group = "group",
                                 .dead_letter_topic = "dlq",
                                 .properties = QUICK,
                                 .property_count = 1};
}

/* ------------------------------------------------------------------ the one who reads */

#define SEEN 4096

struct seen {
    size_t count;
    size_t stop_at; /* 0: never */
    int32_t partitions[SEEN];
    int64_t offsets[SEEN];
    const char *malformed[SEEN];
    struct kafka_letters_counts shown;
    size_t shows;
    size_t stop_at_show;
    void (*look)(const struct kafka_letter *letter);
    char error[512];
    struct kafka_letters_counts counts;
};

static struct seen seen;

static bool on_letter(void *ctx, const struct kafka_letter *letter)
{
    struct seen *s = ctx;
    assert_true(slice_is(letter->topic, "dlq"));
    assert_true(s->count < SEEN);
    s->partitions[s->count] = letter->partition;
    s->offsets[s->count] = letter->offset;
    s->malformed[s->count] = letter->malformed;
    if (s->look)
        s->look(letter);
    return ++s->count != s->stop_at;
}

static bool on_progress(void *ctx, const struct kafka_letters_counts *counts)
{
    struct seen *s = ctx;
    assert_true(counts->passed >= s->shown.passed && counts->passed <= counts->to_read);
    s->shown = *counts;
    return ++s->shows != s->stop_at_show;
}

static enum kafka_letters_result read_from(const struct kafka_letters_start *starts, size_t count,
                                           int64_t timeout_ms)
{
    struct kafka_config config = make_config();
    struct kafka_letters_request request = {
        .starts = starts,
        .start_count = count,
        .timeout_ms = timeout_ms,
        .letter = on_letter,
        .progress = on_progress,
        .ctx = &seen,
    };
    size_t stop_at = seen.stop_at;
    size_t stop_at_show = seen.stop_at_show;
    void (*look)(const struct kafka_letter *) = seen.look;
    memset(&seen, 0, sizeof seen);
    seen.stop_at = stop_at;
    seen.stop_at_show = stop_at_show;
    seen.look = look;
    enum kafka_letters_result result =
        kafka_letters_read(&config, &request, &seen.counts, seen.error, sizeof seen.error);
    seen.stop_at = seen.stop_at_show = 0;
    seen.look = NULL;
    return result;
}

static enum kafka_letters_result read_all(int64_t timeout_ms)
{
    return read_from(NULL, 0, timeout_ms);
}

/* ------------------------------------------------------------------ what the worker wrote */

static bool is_set(void *ctx)
{
    return *(const bool *)ctx;
}

static void on_done(struct publish_op *op)
{
    *(bool *)op->owner = true;
}

static void on_closed(void *owner, bool clean)
{
    assert_true(clean);
    *(bool *)owner = true;
}

static void publish(struct dead_letter *letters, size_t count)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct kafka_config config = make_config();
    char error[256];
    struct kafka_dead_letter *producer = kafka_dead_letter_create(&loop, &config, error, sizeof error);
    assert_non_null(producer);
    bool done = false;
    struct publish_op op = {letters, count, on_done, &done};
    assert_int_equal(kafka_dead_letter_port()->publish(producer, &op), PORT_OK);
    assert_true(mock_wait(&loop, 15000, is_set, &done));
    for (size_t i = 0; i < count; i++)
        assert_true(letters[i].published);
    bool closed = false;
    kafka_dead_letter_close(producer, 5000, on_closed, &closed);
    assert_true(mock_wait(&loop, 6000, is_set, &closed));
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static const struct record_header HEADERS[] = {{{"traceparent", 11}, {"00-4bf9", 7}},
                                               {{"signup.attempts", 15}, {"forged", 6}},
                                               {{"none", 4}, {NULL, 0}}};

static struct dead_letter make_letter(void)
{
    return (struct dead_letter){
        .event_id = SLICE_LITERAL("evt-1"),
        .original = {.topic = SLICE_LITERAL(
                         "signups.eu:west"), /* none can be named so: but it is split from its end */
                     .partition = 3,
                     .offset = INT64_C(9007199254740993),
                     .timestamp_ms = INT64_C(1742048999001),
                     .key = {"k\0y", 3},
                     .value = SLICE_LITERAL("{\"phone\":1}"),
                     .headers = HEADERS,
                     .header_count = 3},
        .code = SLICE_LITERAL("invalid_phone"),
        .message = SLICE_LITERAL("the phone number is too short"),
        .cls = SLICE_LITERAL("rejected"),
        .http_status = 400,
        .attempts = 2,
        .failed_at = {INT64_C(1742049000123000)},
    };
}

static void expect_whole(const struct kafka_letter *letter)
{
    assert_null(letter->malformed);
    assert_true(slice_is(letter->event_id, "evt-1"));
    assert_true(slice_is(letter->code, "invalid_phone"));
    assert_true(slice_is(letter->message, "the phone number is too short"));
    assert_true(slice_is(letter->cls, "rejected"));
    assert_int_equal(letter->attempts, 2);
    assert_true(letter->failed_at.us == INT64_C(1742049000123000));
    assert_true(slice_is(letter->source_topic, "signups.eu:west"));
    assert_int_equal(letter->source_partition, 3);
    assert_true(letter->source_offset == INT64_C(9007199254740993));
    if (letter->offset == 1) {
        assert_int_equal(letter->http_status, 0);
        assert_true(letter->source_timestamp_ms > INT64_C(1742049000123)); /* it had none: when the letter was published */
        assert_false(slice_present(letter->value));
        assert_int_equal(letter->header_count, 0);
        return;
    }
    assert_int_equal(letter->http_status, 400);
    assert_true(letter->source_timestamp_ms == INT64_C(1742048999001));
    assert_int_equal(letter->key.len, 3);
    assert_memory_equal(letter->key.ptr, "k\0y", 3);
    assert_int_equal(letter->header_count, 2);
    assert_true(slice_is(letter->headers[0].name, "traceparent"));
    assert_true(slice_is(letter->headers[0].value, "00-4bf9"));
    assert_true(slice_is(letter->headers[1].name, "none"));
    assert_false(slice_present(letter->headers[1].value));
    if (letter->offset == 0)
        assert_true(slice_is(letter->value, "{\"phone\":1}"));
    assert_int_equal(letter->pointer, letter->offset == 2);
}

static void what_the_worker_writes_is_read_back(void **state)
{
    (void)state;
    mock_topic(&mock, "dlq", 1);
    char *huge = calloc(1, 5u << 20);
    struct dead_letter letters[3] = {make_letter(), make_letter(), make_letter()};
    letters[1].http_status = 0;
    letters[1].original.value = SLICE_ABSENT;
    letters[1].original.timestamp_ms = -1;
    letters[1].original.header_count = 0;
    letters[2].original.value = (struct slice){huge, 5u << 20};
    publish(letters, 3);
    free(huge);
    seen.look = expect_whole;
    assert_int_equal(read_all(5000), KAFKA_LETTERS_DONE);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.counts.given, 3);
    assert_int_equal(seen.counts.pointers, 1);
    assert_int_equal(seen.counts.malformed, 0);
    assert_int_equal(mock_committed(&mock, "group", "dlq", 0),
                     RD_KAFKA_OFFSET_INVALID); /* nothing is committed */
}

/* ------------------------------------------------------------------ what anybody may write */

struct header {
    const char *name;
    const char *value; /* NULL: no such header */
};

/* The headers of a sound letter, one of them replaced. */
static void produce_with(rd_kafka_t *producer, const char *name, const char *value)
{
    static const struct header SOUND[] = {
        {"signup.event_id", "evt-1"},        {"signup.error.code", ""},
        {"signup.error.class", "transport"}, {"signup.attempts", "0"},
        {"signup.source", "signups:0:7"},    {"signup.failed_at", "2025-03-15T14:30:00.123Z"}};
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    for (size_t i = 0; i < 6; i++)
        if (!name || strcmp(SOUND[i].name, name) != 0)
            rd_kafka_header_add(headers, SOUND[i].name, -1, SOUND[i].value, -1);
    if (name && value)
        rd_kafka_header_add(headers, name, -1, value, -1);
    assert_int_equal(rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("dlq"), RD_KAFKA_V_PARTITION(0),
                                       RD_KAFKA_V_VALUE((void *)"v", 1), RD_KAFKA_V_HEADERS(headers),
                                       RD_KAFKA_V_END),
                     0);
}

static const struct {
    const char *name;
    const char *value;
    const char *reason; /* NULL: sound */
} ODD[] = {
    {NULL, NULL, NULL},
    {"signup.error.message", "said", NULL},
    {"signup.error.status", "503", NULL},
    {"signup.pointer", "true", NULL},
    {"signup.event_id", NULL, "no dead letter of this program"},
    {"signup.event_id", "", "signup.event_id is empty"},
    {"signup.source", NULL, "no header signup.source"},
    {"signup.source", "signups", "topic:partition:offset"},
    {"signup.source", "signups:1", "topic:partition:offset"},
    {"signup.source", ":1:2", "topic:partition:offset"},
    {"signup.source", "signups:x:2", "topic:partition:offset"},
    {"signup.source", "signups:1:-2", "topic:partition:offset"},
    {"signup.source", "signups:2147483648:2", "topic:partition:offset"},
    {"signup.source", "signups:1:9223372036854775808", "topic:partition:offset"},
    {"signup.source", "signups:1:", "topic:partition:offset"},
    {"signup.error.class", NULL, "no header signup.error.class"},
    {"signup.error.class", "", "signup.error.class is empty"},
    {"signup.error.code", NULL, "no header signup.error.code"},
    {"signup.error.status", "ok", "signup.error.status is not a number"},
    {"signup.attempts", NULL, "no header signup.attempts"},
    {"signup.attempts", "two", "signup.attempts is not a number"},
    {"signup.attempts", "2147483648", "signup.attempts is not a number"},
    {"signup.failed_at", NULL, "no header signup.failed_at"},
    {"signup.failed_at", "yesterday", "signup.failed_at is not a time"},
    {"signup.failed_at", "2025-13-15T14:30:00.123Z", "signup.failed_at is not a time"},
    {"signup.failed_at", "2025-03-15 14:30:00.123Z", "signup.failed_at is not a time"},
    {"signup.pointer", "yes", "signup.pointer"},
};
#define ODD_COUNT (sizeof ODD / sizeof ODD[0])

static void expect_odd(const struct kafka_letter *letter)
{
    if (letter->offset >= (int64_t)ODD_COUNT) {
        assert_int_equal(letter->attempts, -1); /* a stranger's record: nothing could be read */
        assert_int_equal(letter->source_partition, -1);
        assert_true(letter->source_offset == -1);
        assert_false(slice_present(letter->event_id) || slice_present(letter->source_topic));
    } else if (ODD[letter->offset].name && strcmp(ODD[letter->offset].name, "signup.event_id") != 0) {
        assert_true(slice_is(letter->event_id, "evt-1")); /* what could be read is there */
    }
}

static void strangers_are_given_with_a_reason(void **state)
{
    (void)state;
    mock_topic(&mock, "dlq", 1);
    rd_kafka_t *producer = mock_client(RD_KAFKA_PRODUCER, mock.brokers, NULL);
    for (size_t i = 0; i < ODD_COUNT; i++)
        produce_with(producer, ODD[i].name, ODD[i].value);
    assert_int_equal(rd_kafka_flush(producer, 10000), 0);
    rd_kafka_destroy(producer);
    mock_produce(&mock, "dlq", 0, 0, 1, 0); /* without any header */
    seen.look = expect_odd;
    assert_int_equal(read_all(5000), KAFKA_LETTERS_DONE);
    assert_int_equal(seen.count, ODD_COUNT + 1);
    assert_int_equal(seen.counts.malformed, ODD_COUNT + 1 - 4);
    for (size_t i = 0; i < ODD_COUNT; i++)
        if (!ODD[i].reason != !seen.malformed[i] ||
            (ODD[i].reason && !strstr(seen.malformed[i], ODD[i].reason)))
            fail_msg("%s=%s: %s", ODD[i].name, ODD[i].value ? ODD[i].value : "(none)", seen.malformed[i]);
    assert_non_null(strstr(seen.malformed[ODD_COUNT], "no dead letter of this program"));
}

/* ------------------------------------------------------------------ from where to where */

static void expect_ordered(int32_t partition, int64_t first, int64_t last)
{
    int64_t next = first;
    for (size_t i = 0; i < seen.count; i++)
        if (seen.partitions[i] == partition)
            assert_true(seen.offsets[i] == next++);
    assert_true(next == last + 1);
}

static void every_partition_is_read_in_order_and_counted(void **state)
{
    (void)state;
    mock_topic(&mock, "dlq", 4);
    for (int32_t p = 0; p < 3; p++) /* the last one is empty */
        mock_produce(&mock, "dlq", p, 0, 500, 0);
    assert_int_equal(read_all(5000), KAFKA_LETTERS_DONE);
    assert_int_equal(seen.count, 1500);
    for (int32_t p = 0; p < 3; p++)
        expect_ordered(p, 0, 499);
    assert_int_equal(seen.counts.to_read, 1500);
    assert_int_equal(seen.counts.passed, 1500);
    assert_true(seen.shows >= 2);
    assert_int_equal(seen.shown.passed, 1500);
    /* again: nothing has been taken away */
    static const struct kafka_letters_start STARTS[] = {{1, 450}, {2, 500}, {0, 9999}};
    assert_int_equal(read_from(STARTS, 3, 5000), KAFKA_LETTERS_DONE);
    assert_int_equal(seen.count, 50);
    expect_ordered(1, 450, 499);
    static const struct kafka_letters_start NONE[] = {{4, 0}};
    assert_int_equal(read_from(NONE, 1, 5000), KAFKA_LETTERS_CONFIG);
    assert_non_null(strstr(seen.error, "no partition 4"));
}

static void an_empty_topic_is_read_at_once(void **state)
{
    (void)state;
    mock_topic(&mock, "dlq", 2);
    assert_int_equal(read_all(5000), KAFKA_LETTERS_DONE);
    assert_int_equal(seen.count, 0);
    assert_int_equal(seen.counts.to_read, 0);
}

static void publish_one_more(const struct kafka_letter *letter)
{
    if (letter->offset == 0)
        mock_produce(&mock, "dlq", 0, 100, 20, 0);
}

static void what_comes_meanwhile_is_the_next_readings(void **state)
{
    (void)state;
    mock_topic(&mock, "dlq", 1);
    mock_produce(&mock, "dlq", 0, 0, 5, 0);
    seen.look = publish_one_more;
    assert_int_equal(read_all(5000), KAFKA_LETTERS_DONE);
    assert_int_equal(seen.count, 5);
    assert_int_equal(seen.counts.to_read, 5);
}

static void what_has_expired_is_counted(void **state)
{
    (void)state;
    mock_topic(&mock, "dlq", 1);
    mock_produce(&mock, "dlq", 0, 0, 90, 100000); /* the mock keeps five MiB */
    static const struct kafka_letters_start STARTS[] = {{0, 1}};
    assert_int_equal(read_from(STARTS, 1, 5000), KAFKA_LETTERS_DONE);
    assert_true(seen.count > 0 && seen.count < 89);
    assert_int_equal(seen.counts.gone + seen.counts.given, 89);
    assert_int_equal(read_all(5000), KAFKA_LETTERS_DONE);
    assert_int_equal(seen.counts.gone, 0); /* nobody asked for it */
}

/* So that the library has not read ahead to the end when the first letter is seen. */
static void slow_down_after_the_first_fetch(void)
{
    for (int i = 0; i < 30; i++)
        rd_kafka_mock_broker_push_request_error_rtts(mock.cluster, 1, FETCH_REQUEST, 1,
                                                     RD_KAFKA_RESP_ERR_NO_ERROR, i == 0 ? 0 : 500);
}

static void fill_the_topic(const struct kafka_letter *letter)
{
    static bool filled;
    if (!filled && letter->offset < 90)
        mock_produce(&mock, "dlq", 0, 1000, 60, 100000);
    filled = true;
}

/* The broker deletes while we read: what is left is read, and the sum is right. */
static void what_expires_meanwhile_is_counted(void **state)
{
    (void)state;
    mock_topic(&mock, "dlq", 1);
    for (int i = 0; i < 45; i++) /* a batch each, so that they are not all fetched at once */
        mock_produce(&mock, "dlq", 0, i, 1, 100000);
    seen.look = fill_the_topic;
    slow_down_after_the_first_fetch();
    assert_int_equal(read_all(20000), KAFKA_LETTERS_DONE);
    assert_int_equal(seen.counts.gone + seen.counts.given, 45);
    assert_true(seen.counts.gone > 0);
    assert_int_equal(seen.counts.passed, seen.counts.to_read);
}

static void a_callback_may_stop_it(void **state)
{
    (void)state;
    mock_topic(&mock, "dlq", 1);
    mock_produce(&mock, "dlq", 0, 0, 100, 0);
    seen.stop_at = 7;
    assert_int_equal(read_all(5000), KAFKA_LETTERS_STOPPED);
    assert_int_equal(seen.count, 7);
    assert_int_equal(seen.counts.passed, 7);
    seen.stop_at_show = 1;
    assert_int_equal(read_all(5000), KAFKA_LETTERS_STOPPED);
    assert_int_equal(seen.count, 0);
    /* also while nobody answers */
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    seen.stop_at_show = 2;
    mono_us_t before = clock_mono_now();
    assert_int_equal(read_all(60000), KAFKA_LETTERS_STOPPED);
    assert_in_range((clock_mono_now().us - before.us) / US_PER_MS, 0, 10000);
}

/* ------------------------------------------------------------------ what cannot be read */

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    rd_kafka_mock_topic_set_error(mock.cluster, "dlq", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    assert_int_equal(read_all(2500), KAFKA_LETTERS_AWAY);
    assert_non_null(strstr(seen.error, "topic dlq does not exist at"));
    rd_kafka_mock_topic_set_error(mock.cluster, "dlq", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(read_all(2500), KAFKA_LETTERS_REFUSED);
    assert_non_null(strstr(seen.error, "refuses us"));
    rd_kafka_mock_topic_set_error(mock.cluster, "dlq", RD_KAFKA_RESP_ERR_NO_ERROR);
    mock_produce(&mock, "dlq", 0, 0, 10, 0);
    rd_kafka_mock_partition_set_leader(mock.cluster, "dlq", 0, -1);
    assert_int_equal(read_all(2500), KAFKA_LETTERS_AWAY);
    assert_non_null(strstr(seen.error, "topic dlq [0] cannot be read"));
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    assert_int_equal(read_all(2500), KAFKA_LETTERS_AWAY);
    assert_non_null(strstr(seen.error, "no Kafka broker answers at"));
    struct kafka_config config = make_config();
    struct kafka_property bad = {"isolation.level", "read_uncommitted"};
    config.properties = &bad;
    struct kafka_letters_request request = {.timeout_ms = 500, .letter = on_letter, .ctx = &seen};
    assert_int_equal(kafka_letters_read(&config, &request, NULL, seen.error, sizeof seen.error),
                     KAFKA_LETTERS_CONFIG);
    assert_non_null(strstr(seen.error, "isolation.level may not be set"));
}

static void take_the_broker_away(const struct kafka_letter *letter)
{
    if (letter->offset == 0)
        rd_kafka_mock_broker_set_down(mock.cluster, 1);
}

static void a_broker_that_leaves_meanwhile_is_told(void **state)
{
    (void)state;
    mock_topic(&mock, "dlq", 1);
    for (int i = 0; i < 40; i++)
        mock_produce(&mock, "dlq", 0, i, 1, 50000);
    seen.look = take_the_broker_away;
    slow_down_after_the_first_fetch();
    assert_int_equal(read_all(5000), KAFKA_LETTERS_AWAY);
    assert_true(seen.count >= 1 && seen.count < 40);
    assert_non_null(strstr(seen.error, "nothing more came from topic dlq"));
    assert_non_null(strstr(seen.error, "of 40 read"));
    assert_int_equal(seen.counts.passed, seen.count);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_the_worker_writes_is_read_back),
        TEST(strangers_are_given_with_a_reason),
        TEST(every_partition_is_read_in_order_and_counted),
        TEST(an_empty_topic_is_read_at_once),
        TEST(what_comes_meanwhile_is_the_next_readings),
        TEST(what_has_expired_is_counted),
        TEST(what_expires_meanwhile_is_counted),
        TEST(a_callback_may_stop_it),
        TEST(what_is_wrong_is_said),
        TEST(a_broker_that_leaves_meanwhile_is_told),
    };
    return MOCK_RUN(tests);
}
