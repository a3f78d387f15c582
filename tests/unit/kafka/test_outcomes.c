/* Outcomes against the mock cluster: what lies on the topic, what counts as published, and that neither topic's
 * trouble is the other's. */
#include "mock_kafka.h"

#include "signup/kafka/dead_letter.h"
#include "signup/kafka/outcomes.h"

#define PRODUCE 0 /* the API's key */
#define TOPIC "signups.outcomes"
#define MANY 100

static struct mock mock;
static uv_loop_t loop;
static struct kafka_outcomes *outcomes;
static struct kafka_dead_letter *dead_letters;

struct result {
    bool done;
    bool closed;
    bool clean;
};

static void on_done(struct outcome_publish_op *op)
{
    struct result *result = op->owner;
    assert_false(result->done); /* once */
    result->done = true;
}

static void on_letter_done(struct publish_op *op)
{
    struct result *result = op->owner;
    assert_false(result->done);
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

static struct kafka_config make_config(void)
{
    static const char *const TOPICS[] = {"signups"};
    return (struct kafka_config){.brokers = mock.brokers,
                                 .topics = TOPICS,
                                 .topic_count = 1,
                                 .group = "group",
                                 .dead_letter_topic = "dlq",
                                 .outcomes_topic = TOPIC};
}

static void open_outcomes(void)
{
    char error[256];
    struct kafka_config config = make_config();
    outcomes = kafka_outcomes_create(&loop, &config, error, sizeof error);
    assert_non_null(outcomes);
}

static void close_outcomes(void)
{
    struct result result = {0};
    kafka_outcomes_close(outcomes, 10000, on_closed, &result);
    assert_false(result.closed);
    assert_true(mock_wait(&loop, 11000, is_closed, &result));
    assert_true(result.clean);
    outcomes = NULL;
}

static int setup(void **state)
{
    (void)state;
    mock_start(&mock, 1);
    mock_topic(&mock, TOPIC, 1);
    mock_topic(&mock, "dlq", 1);
    uv_loop_init(&loop);
    open_outcomes();
    return 0;
}

static void also_dead_letters(void)
{
    char error[256];
    struct kafka_config config = make_config();
    dead_letters = kafka_dead_letter_create(&loop, &config, error, sizeof error);
    assert_non_null(dead_letters);
}

static int teardown(void **state)
{
    (void)state;
    if (outcomes)
        close_outcomes();
    if (dead_letters) {
        struct result result = {0};
        kafka_dead_letter_close(dead_letters, 10000, on_closed, &result);
        assert_true(mock_wait(&loop, 11000, is_closed, &result));
        assert_true(result.clean);
    }
    dead_letters = NULL;
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&loop), 0);
    mock_stop(&mock);
    return 0;
}

static struct outcome_letter make_letter(int64_t number)
{
    return (struct outcome_letter){.number = number,
                                   .event_id = SLICE_LITERAL("evt-1"),
                                   .text = SLICE_LITERAL("{\"version\":1,\"event_id\":\"evt-1\"}"),
                                   .published = true}; /* must be cleared */
}

static void begin(struct outcome_letter *letters, size_t count, struct outcome_publish_op *op,
                  struct result *result)
{
    *result = (struct result){0};
    *op = (struct outcome_publish_op){letters, count, on_done, result};
    assert_int_equal(kafka_outcomes_port()->publish(outcomes, op), PORT_OK);
    assert_false(result->done); /* never inside submit */
}

/* Publishes and waits; gives how many are published. */
static size_t publish(struct outcome_letter *letters, size_t count, int64_t deadline_ms)
{
    struct result result;
    struct outcome_publish_op op;
    begin(letters, count, &op, &result);
    assert_true(mock_wait(&loop, deadline_ms, is_done, &result));
    size_t published = 0;
    for (size_t i = 0; i < count; i++)
        published += letters[i].published;
    return published;
}

static size_t publish_dead_letters(size_t count, int64_t deadline_ms)
{
    struct dead_letter letters[MANY];
    struct result result = {0};
    for (size_t i = 0; i < count; i++)
        letters[i] = (struct dead_letter){.event_id = SLICE_LITERAL("evt-1"),
                                          .original = {.topic = SLICE_LITERAL("signups"),
                                                       .key = SLICE_LITERAL("k"),
                                                       .value = SLICE_LITERAL("{}"),
                                                       .timestamp_ms = -1},
                                          .code = SLICE_LITERAL("invalid_phone"),
                                          .message = SLICE_LITERAL("too short"),
                                          .cls = SLICE_LITERAL("rejected")};
    struct publish_op op = {letters, count, on_letter_done, &result};
    assert_int_equal(kafka_dead_letter_port()->publish(dead_letters, &op), PORT_OK);
    assert_true(mock_wait(&loop, deadline_ms, is_done, &result));
    size_t published = 0;
    for (size_t i = 0; i < count; i++)
        published += letters[i].published;
    return published;
}

static struct kafka_outcomes_status get_status(void)
{
    struct kafka_outcomes_status status;
    kafka_outcomes_status(outcomes, &status);
    return status;
}

/* ------------------------------------------------------------------ what lies on the topic */

/* The topic from its start: exactly `count` records, in order. */
static void look_at_records(size_t count, void (*look)(size_t number, const rd_kafka_message_t *message))
{
    rd_kafka_t *consumer = mock_client(RD_KAFKA_CONSUMER, mock.brokers, "reader");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, TOPIC, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    size_t found = 0;
    rd_kafka_message_t *message;
    while (found < count && (message = rd_kafka_consumer_poll(consumer, 5000))) {
        if (!message->err)
            look(found++, message);
        rd_kafka_message_destroy(message);
    }
    int64_t low = -1;
    int64_t high = -1;
    assert_int_equal(found, count);
    assert_int_equal(rd_kafka_query_watermark_offsets(consumer, TOPIC, 0, &low, &high, 5000), 0);
    assert_int_equal(high, count); /* and nothing behind them */
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
}

static void expect_usual(size_t number, const rd_kafka_message_t *message)
{
    (void)number;
    struct outcome_letter letter = make_letter(0);
    rd_kafka_headers_t *headers;
    const void *value = NULL;
    size_t size = 0;
    const char *name = NULL;
    assert_int_equal(message->key_len, letter.event_id.len);
    assert_memory_equal(message->key, letter.event_id.ptr, letter.event_id.len);
    assert_int_equal(message->len, letter.text.len);
    assert_memory_equal(message->payload, letter.text.ptr, letter.text.len);
    assert_int_equal(rd_kafka_message_headers(message, &headers), 0);
    assert_int_equal(rd_kafka_header_cnt(headers), 1);
    assert_int_equal(rd_kafka_header_get_all(headers, 0, &name, &value, &size), 0);
    assert_string_equal(name, "content-type");
    assert_int_equal(size, 16);
    assert_memory_equal(value, "application/json", 16);
}

static void a_record_is_its_text_under_its_event(void **state)
{
    (void)state;
    struct outcome_letter letters[2] = {make_letter(1), make_letter(2)};
    assert_int_equal(publish(letters, 2, 10000), 2);
    look_at_records(2, expect_usual);
    struct kafka_outcomes_status status = get_status();
    assert_int_equal(status.published, 2);
    assert_int_equal(status.failed, 0);
    assert_int_equal(status.in_flight, 0);
    assert_false(status.failing);
    assert_string_equal(status.why, "");
}

static void expect_number(size_t number, const rd_kafka_message_t *message)
{
    char text[16];
    int len = snprintf(text, sizeof text, "%zu", number);
    assert_int_equal(message->len, len);
    assert_memory_equal(message->payload, text, len);
}

/* One event's outcomes, dead and then replayed, must not change places. */
static void records_of_an_event_keep_their_order(void **state)
{
    (void)state;
    static char texts[MANY][16];
    struct outcome_letter letters[MANY];
    for (size_t i = 0; i < MANY; i++) {
        snprintf(texts[i], sizeof texts[i], "%zu", i);
        letters[i] = make_letter((int64_t)i);
        letters[i].text = slice_from_str(texts[i]);
    }
    rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 2, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                      RD_KAFKA_RESP_ERR__TRANSPORT);
    assert_int_equal(publish(letters, MANY, 20000), MANY);
    look_at_records(MANY, expect_number);
}

static void an_op_without_records_ends_too(void **state)
{
    (void)state;
    assert_int_equal(publish(NULL, 0, 5000), 0);
}

/* ------------------------------------------------------------------ refusals */

static void only_the_bad_record_of_a_batch_fails(void **state)
{
    (void)state;
    struct outcome_letter letters[5];
    for (size_t i = 0; i < 5; i++)
        letters[i] = make_letter((int64_t)i);
    assert_int_equal(publish(letters, 1, 10000), 1); /* the topic is known: what follows goes in one batch */
    rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 2, RD_KAFKA_RESP_ERR_INVALID_RECORD,
                                      RD_KAFKA_RESP_ERR_INVALID_RECORD); /* the batch, then the first one alone */
    assert_int_equal(publish(letters, 5, 10000), 4);
    assert_false(letters[0].published);
    struct kafka_outcomes_status status = get_status();
    assert_int_equal(status.failed, 1);
    assert_int_equal(status.published, 5);
}

/* There is no smaller form: it waits in the ledger until the topic takes it, and nobody waits for it. */
static void a_record_too_large_for_the_topic_stays_due(void **state)
{
    (void)state;
    char *huge = calloc(1, 5u << 20);
    struct outcome_letter letters[3] = {make_letter(1), make_letter(2), make_letter(3)};
    letters[1].text = (struct slice){huge, 5u << 20}; /* the client refuses it */
    assert_int_equal(publish(letters, 3, 10000), 2);
    assert_true(letters[0].published && !letters[1].published && letters[2].published);
    rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    assert_int_equal(publish(letters, 1, 10000), 0); /* the broker does */
    struct kafka_outcomes_status status = get_status();
    assert_int_equal(status.failed, 2);
    assert_true(status.failing);
    assert_true(status.failing_since.us > 0 && status.failing_since.us <= clock_wall_now().us);
    assert_non_null(strstr(status.why, "max.message.bytes of the outcomes topic"));
    assert_int_equal(publish(letters, 1, 10000), 1);
    assert_false(get_status().failing);
    look_at_records(3, expect_usual);
    free(huge);
}

static void a_fatal_error_replaces_the_producer_and_everything_is_sent_again(void **state)
{
    (void)state;
    struct outcome_letter letters[3] = {make_letter(1), make_letter(2), make_letter(3)};
    rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_int_equal(publish(letters, 3, 15000), 3);
    struct kafka_outcomes_status status = get_status();
    assert_int_equal(status.recreated, 1);
    assert_int_equal(status.failed, 0);
    assert_int_equal(status.in_flight, 0);
}

/* ------------------------------------------------------------------ each topic by itself */

static void a_missing_outcomes_topic_does_not_hold_up_dead_letters(void **state)
{
    (void)state;
    close_outcomes(); /* it may know the topic already */
    rd_kafka_mock_topic_set_error(mock.cluster, TOPIC, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    open_outcomes();
    also_dead_letters();
    assert_int_equal(publish_dead_letters(1, 10000), 1);
    struct outcome_letter waiting[MANY];
    for (size_t i = 0; i < MANY; i++)
        waiting[i] = make_letter((int64_t)i);
    struct result result;
    struct outcome_publish_op op;
    begin(waiting, MANY, &op, &result);
    mono_us_t before = clock_mono_now();
    assert_int_equal(publish_dead_letters(MANY, 10000), MANY);
    assert_in_range((clock_mono_now().us - before.us) / US_PER_MS, 0, 8000);
    assert_false(result.done); /* they were waiting all the while */
    assert_true(mock_wait(&loop, 38000, is_done, &result));
    assert_true(get_status().failing);
    assert_non_null(strstr(get_status().why, "create the outcomes topic"));
    struct kafka_dead_letter_status letters;
    kafka_dead_letter_status(dead_letters, &letters);
    assert_int_equal(letters.published, MANY + 1);
    assert_false(letters.failing);
    rd_kafka_mock_topic_set_error(mock.cluster, TOPIC, RD_KAFKA_RESP_ERR_NO_ERROR);
    mono_us_t until = mono_add(clock_mono_now(), 30 * US_PER_S);
    size_t published = 0;
    while (!published && !mono_reached(clock_mono_now(), until))
        published = publish(waiting, 1, 36000);
    assert_int_equal(published, 1);
    assert_false(get_status().failing);
}

/* A refusal that makes one topic's records go one at a time leaves the other's batches alone. */
static void neither_topics_refusals_are_the_others(void **state)
{
    (void)state;
    also_dead_letters();
    struct outcome_letter letters[3] = {make_letter(1), make_letter(2), make_letter(3)};
    assert_int_equal(publish(letters, 1, 10000), 1);
    assert_int_equal(publish_dead_letters(1, 10000), 1);
    rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert_int_equal(publish(letters, 3, 15000), 3);
    rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(publish(letters, 1, 15000), 0);
    struct kafka_dead_letter_status status;
    kafka_dead_letter_status(dead_letters, &status);
    assert_int_equal(status.recreated, 0);
    assert_int_equal(status.failed, 0);
    assert_true(get_status().failing);
    assert_non_null(strstr(get_status().why, "right to write to the outcomes topic"));
    assert_int_equal(publish_dead_letters(MANY, 10000), MANY);
    kafka_dead_letter_status(dead_letters, &status);
    assert_false(status.failing);
    assert_true(get_status().failing); /* the other's success says nothing of it */
}

/* ------------------------------------------------------------------ the end */

static void closes_in_time_with_records_on_a_silent_broker(void **state)
{
    (void)state;
    struct outcome_letter letter = make_letter(1);
    assert_int_equal(publish(&letter, 1, 10000), 1);
    rd_kafka_mock_broker_set_rtt(mock.cluster, 1, 60000);
    struct result result;
    struct outcome_publish_op op;
    begin(&letter, 1, &op, &result);
    mono_us_t before = clock_mono_now();
    struct result closing = {0};
    kafka_outcomes_close(outcomes, 3000, on_closed, &closing);
    assert_false(result.done);
    struct outcome_letter late = make_letter(2);
    struct outcome_publish_op refused = {&late, 1, on_done, &result};
    assert_int_equal(kafka_outcomes_port()->publish(outcomes, &refused), PORT_AWAY);
    assert_true(mock_wait(&loop, 6000, is_closed, &closing));
    assert_in_range((clock_mono_now().us - before.us) / US_PER_MS, 0, 5000);
    assert_true(result.done);
    assert_false(letter.published);
    outcomes = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_record_is_its_text_under_its_event),
        TEST(records_of_an_event_keep_their_order),
        TEST(an_op_without_records_ends_too),
        TEST(only_the_bad_record_of_a_batch_fails),
        TEST(a_record_too_large_for_the_topic_stays_due),
        TEST(a_fatal_error_replaces_the_producer_and_everything_is_sent_again),
        TEST(a_missing_outcomes_topic_does_not_hold_up_dead_letters),
        TEST(neither_topics_refusals_are_the_others),
        TEST(closes_in_time_with_records_on_a_silent_broker),
    };
    return MOCK_RUN(tests);
}
