/* Dead letters against the mock cluster: every header of the contract, what counts as published, and failures
 * that stall nobody. */
#include "mock_kafka.h"

#include "signup/kafka/dead_letter.h"

static struct mock mock;
static uv_loop_t loop;
static struct kafka_dead_letter *producer;

struct result {
    bool done;
    bool closed;
    bool clean;
};

static void on_done(struct publish_op *op)
{
    struct result *result = op->owner;
    assert_false(result->done); /* once */
    result->done = true;
}

static void on_closed(void *owner, bool clean)
{
    struct result *result = owner;
    result->closed = true;
    result->clean = clean;
}

static bool is_done(void *ctx)
{
    return ((struct result *)ctx)->done;
}

static bool is_closed(void *ctx)
{
    return ((struct result *)ctx)->closed;
}

static int setup(void **state)
{
    (void)state;
    static const char *const TOPICS[] = {"signups"};
    mock_start(&mock, 1);
    mock_topic(&mock, "dlq", 1);
    uv_loop_init(&loop);
    struct kafka_config config = {mock.brokers, TOPICS, 1, "group", KAFKA_START_EARLIEST, "dlq", NULL, 0};
    char error[256];
    producer = kafka_dead_letter_create(&loop, &config, error, sizeof error);
    assert_non_null(producer);
    return 0;
}

static void close_producer(int64_t deadline_ms, bool clean)
{
    struct result result = {0};
    kafka_dead_letter_close(producer, deadline_ms, on_closed, &result);
    assert_false(result.closed);
    assert_true(mock_wait(&loop, deadline_ms + 1000, is_closed, &result));
    assert_int_equal(result.clean, clean);
    producer = NULL;
}

static int teardown(void **state)
{
    (void)state;
    if (producer)
        close_producer(10000, true);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&loop), 0);
    mock_stop(&mock);
    return 0;
}

static const struct record_header HEADERS[] = {
    {{"traceparent", 11}, {"00-4bf9", 7}},
    {{"signup.error.code", 17}, {"forged", 6}},
    {{"none", 4}, {NULL, 0}},
    {{"empty", 5}, {"", 0}},
};

static struct dead_letter make_letter(int http_status)
{
    return (struct dead_letter){
        .event_id = SLICE_LITERAL("evt-1"),
        .original = {.topic = SLICE_LITERAL("signups"),
                     .partition = 3,
                     .offset = 42,
                     .timestamp_ms = 5,
                     .key = {"k\0y", 3},
                     .value = SLICE_LITERAL("{\"phone\":1}"),
                     .headers = HEADERS,
                     .header_count = 4},
        .code = SLICE_LITERAL("invalid_phone"),
        .message = SLICE_LITERAL("the phone number is too short"),
        .cls = SLICE_LITERAL("rejected"),
        .http_status = http_status,
        .attempts = 2,
        .failed_at = {INT64_C(1742049000123000)},
    };
}

/* Publishes and waits; gives how many are published. */
static size_t publish(struct dead_letter *letters, size_t count, int64_t deadline_ms)
{
    struct result result = {0};
    struct publish_op op = {letters, count, on_done, &result};
    assert_int_equal(kafka_dead_letter_port()->publish(producer, &op), PORT_OK);
    assert_false(result.done);
    assert_true(mock_wait(&loop, deadline_ms, is_done, &result));
    size_t published = 0;
    for (size_t i = 0; i < count; i++)
        published += letters[i].published;
    return published;
}

/* As the outbox does it: one letter, until it is published. */
static size_t publish_again_and_again(int64_t seconds)
{
    struct dead_letter letter = make_letter(400);
    mono_us_t until = mono_add(clock_mono_now(), seconds * US_PER_S);
    size_t published = 0;
    while (!published && !mono_reached(clock_mono_now(), until))
        published = publish(&letter, 1, 36000);
    return published;
}

/* The topic's records from the start, up to `max`. */
static size_t read_topic(rd_kafka_t *consumer, rd_kafka_message_t **messages, size_t max)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, "dlq", 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    size_t count = 0;
    while (count < max) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, count ? 1500 : 5000);
        if (!message)
            break;
        if (message->err)
            rd_kafka_message_destroy(message);
        else
            messages[count++] = message;
    }
    return count;
}

static void expect_header(const rd_kafka_message_t *message, const char *name, const char *expected)
{
    rd_kafka_headers_t *headers;
    const void *value = NULL;
    size_t size = 0;
    assert_int_equal(rd_kafka_message_headers(message, &headers), 0);
    rd_kafka_resp_err_t err = rd_kafka_header_get(headers, 0, name, &value, &size);
    if (!expected) {
        assert_int_equal(err, RD_KAFKA_RESP_ERR__NOENT);
        return;
    }
    if (err)
        fail_msg("header %s is missing", name);
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(value, expected, size);
    /* once */
    assert_int_equal(rd_kafka_header_get(headers, 1, name, &value, &size), RD_KAFKA_RESP_ERR__NOENT);
}

static void a_letter_has_its_bytes_and_its_headers(void **state)
{
    (void)state;
    struct dead_letter letters[3] = {make_letter(400), make_letter(0), make_letter(404)};
    letters[1].original.key = SLICE_ABSENT;
    letters[1].original.value = SLICE_ABSENT;
    letters[2].original.value = SLICE_LITERAL("");
    assert_int_equal(publish(letters, 3, 10000), 3);
    rd_kafka_t *consumer = mock_client(RD_KAFKA_CONSUMER, mock.brokers, "reader");
    rd_kafka_message_t *messages[4] = {NULL};
    assert_int_equal(read_topic(consumer, messages, 4), 3);
    if (!messages[0] || !messages[1] || !messages[2]) {
        fail();
        return; /* for the analyzer: fail() does */
    }
    assert_int_equal(messages[0]->key_len, 3);
    assert_memory_equal(messages[0]->key, "k\0y", 3);
    assert_int_equal(messages[0]->len, 11);
    assert_memory_equal(messages[0]->payload, "{\"phone\":1}", 11);
    expect_header(messages[0], "traceparent", "00-4bf9");
    expect_header(messages[0], "empty", "");
    expect_header(messages[0], "signup.event_id", "evt-1");
    expect_header(messages[0], "signup.error.code", "invalid_phone");
    expect_header(messages[0], "signup.error.status", "400");
    expect_header(messages[0], "signup.error.message", "the phone number is too short");
    expect_header(messages[0], "signup.error.class", "rejected");
    expect_header(messages[0], "signup.attempts", "2");
    expect_header(messages[0], "signup.source", "signups:3:42");
    expect_header(messages[0], "signup.failed_at", "2025-03-15T14:30:00.123Z");
    expect_header(messages[1], "signup.error.status", NULL); /* a local death */
    assert_null(messages[1]->key);
    assert_null(messages[1]->payload);
    assert_non_null(messages[2]->payload);
    assert_int_equal(messages[2]->len, 0);
    rd_kafka_headers_t *headers;
    const void *value = "";
    size_t size;
    assert_int_equal(rd_kafka_message_headers(messages[0], &headers), 0);
    assert_int_equal(rd_kafka_header_get(headers, 0, "none", &value, &size), 0);
    assert_null(value); /* a null header value stays null */
    for (size_t i = 0; i < 3; i++)
        rd_kafka_message_destroy(messages[i]);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
}

static void a_refused_letter_is_not_published_and_the_next_one_is(void **state)
{
    (void)state;
    static const rd_kafka_resp_err_t REFUSALS[] = {
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_INVALID_RECORD,
        RD_KAFKA_RESP_ERR_POLICY_VIOLATION, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED};
    struct kafka_dead_letter_status status;
    for (size_t i = 0; i < 4; i++) {
        struct dead_letter letter = make_letter(400);
        letter.published = true; /* must be cleared */
        rd_kafka_mock_push_request_errors(mock.cluster, 0, 1, REFUSALS[i]);
        if (publish(&letter, 1, 10000) != 0)
            fail_msg("published in spite of %s", rd_kafka_err2name(REFUSALS[i]));
        kafka_dead_letter_status(producer, &status);
        if (!strstr(status.why, rd_kafka_err2str(REFUSALS[i])))
            fail_msg("%s was said to be: %s", rd_kafka_err2name(REFUSALS[i]), status.why);
    }
    assert_true(status.failing);
    assert_int_equal(status.failed, 4);
    /* The library remembers a refused topic until it has asked for its metadata again. */
    assert_int_equal(publish_again_and_again(15), 1);
    kafka_dead_letter_status(producer, &status);
    assert_false(status.failing);
    assert_int_equal(status.in_flight, 0);
}

static void a_letter_too_large_for_the_client_ends_at_once(void **state)
{
    (void)state;
    char *huge = calloc(1, 5u << 20);
    struct dead_letter letters[2] = {make_letter(0), make_letter(0)};
    letters[0].original.value = (struct slice){huge, 5u << 20};
    assert_int_equal(publish(letters, 1, 2000), 0);
    assert_int_equal(publish(letters, 2, 10000), 1); /* its neighbour is not affected */
    assert_true(letters[1].published);
    free(huge);
}

static void passing_errors_are_retried_inside(void **state)
{
    (void)state;
    static const rd_kafka_resp_err_t PASSING[] = {RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                                                  RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                                  RD_KAFKA_RESP_ERR__TRANSPORT};
    for (size_t i = 0; i < 3; i++) {
        struct dead_letter letter = make_letter(400);
        rd_kafka_mock_push_request_errors(mock.cluster, 0, 2, PASSING[i], PASSING[i]);
        if (publish(&letter, 1, 20000) != 1)
            fail_msg("not published after %s", rd_kafka_err2name(PASSING[i]));
    }
}

static void a_fatal_error_replaces_the_producer(void **state)
{
    (void)state;
    struct dead_letter letters[3] = {make_letter(400), make_letter(400), make_letter(400)};
    rd_kafka_mock_push_request_errors(mock.cluster, 0, 1, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_int_equal(publish(letters, 3, 15000), 0);
    struct kafka_dead_letter_status status;
    kafka_dead_letter_status(producer, &status);
    assert_int_equal(status.recreated, 1);
    assert_int_equal(status.in_flight, 0);
    assert_int_equal(publish(letters, 3, 15000), 3);
}

static void a_missing_topic_stalls_nobody(void **state)
{
    (void)state;
    rd_kafka_mock_topic_set_error(mock.cluster, "dlq", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    struct dead_letter letter = make_letter(400);
    assert_int_equal(publish(&letter, 1, 36000), 0);
    rd_kafka_mock_topic_set_error(mock.cluster, "dlq", RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(publish_again_and_again(30), 1);
}

static void closes_in_time_with_letters_on_a_silent_broker(void **state)
{
    (void)state;
    struct dead_letter letter = make_letter(400);
    assert_int_equal(publish(&letter, 1, 10000), 1);
    rd_kafka_mock_broker_set_rtt(mock.cluster, 1, 60000);
    struct result result = {0};
    struct publish_op op = {&letter, 1, on_done, &result};
    assert_int_equal(kafka_dead_letter_port()->publish(producer, &op), PORT_OK);
    mono_us_t before = clock_mono_now();
    struct result closing = {0};
    kafka_dead_letter_close(producer, 3000, on_closed, &closing);
    assert_false(result.done);
    assert_true(mock_wait(&loop, 4000, is_closed, &closing));
    assert_in_range((clock_mono_now().us - before.us) / US_PER_MS, 0, 3500);
    assert_true(result.done);
    assert_false(letter.published);
    producer = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_letter_has_its_bytes_and_its_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_letter_is_not_published_and_the_next_one_is, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_letter_too_large_for_the_client_ends_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(passing_errors_are_retried_inside, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fatal_error_replaces_the_producer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_topic_stalls_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(closes_in_time_with_letters_on_a_silent_broker, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
