/* What `load` and `check` use, against the mock cluster. */
#include "mock_kafka.h"

#include "signup/kafka/check.h"
#include "signup/kafka/load.h"

#define PRODUCE 0 /* the API's key */

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

static struct kafka_config make_config(void)
{
    return (struct kafka_config){
        .brokers = mock.brokers, .topics = TOPICS, .topic_count = 1, .group = "group", .dead_letter_topic = "dlq"};
}

/* ------------------------------------------------------------------ load */

static void on_progress(void *ctx, const struct kafka_load_counts *counts)
{
    struct kafka_load_counts *last = ctx;
    assert_true(counts->delivered >= last->delivered);
    *last = *counts;
}

static void everything_loaded_is_counted_once(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 2);
    struct kafka_config config = make_config();
    char error[256] = "";
    struct kafka_load *load = kafka_load_create(&config, NULL, 5000, error, sizeof error);
    assert_non_null(load);
    struct record_header header = {SLICE_LITERAL("traceparent"), SLICE_LITERAL("00-1")};
    for (int i = 0; i < 5000; i++) {
        struct kafka_load_record record = {SLICE_LITERAL("key"), SLICE_LITERAL("value"), -1, &header,
                                           i % 2 ? 1 : 0};
        assert_true(kafka_load_push(load, &record, 5000));
    }
    struct kafka_load_counts last = {0};
    assert_true(kafka_load_flush(load, 20000, on_progress, &last));
    assert_int_equal(last.enqueued, 5000);
    assert_int_equal(last.delivered, 5000);
    assert_int_equal(last.failed, 0);
    kafka_load_destroy(load);
}

static void what_is_not_delivered_is_counted_too(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 1);
    struct kafka_config config = make_config();
    char error[256] = "";
    struct kafka_load *load = kafka_load_create(&config, "signups", 5000, error, sizeof error);
    assert_non_null(load);
    rd_kafka_mock_push_request_errors(mock.cluster, 0, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    struct kafka_load_record record = {SLICE_ABSENT, SLICE_LITERAL("value"), 1742049000123, NULL, 0};
    assert_true(kafka_load_push(load, &record, 5000));
    assert_false(kafka_load_flush(load, 10000, NULL, NULL));
    struct kafka_load_counts counts;
    kafka_load_counts(load, &counts);
    assert_int_equal(counts.failed, 1);
    assert_non_null(strstr(kafka_load_error(load), "uthoriz"));
    kafka_load_destroy(load);
}

static void a_load_without_topic_or_broker_says_so(void **state)
{
    (void)state;
    struct kafka_config config = make_config();
    char error[256] = "";
    rd_kafka_mock_topic_set_error(mock.cluster, "signups", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    assert_null(kafka_load_create(&config, NULL, 700, error, sizeof error));
    assert_non_null(strstr(error, "topic signups does not exist"));
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    assert_null(kafka_load_create(&config, NULL, 700, error, sizeof error));
    assert_non_null(strstr(error, "no Kafka broker answers"));
}

/* ------------------------------------------------------------------ check */

struct lines {
    char text[4096];
    int well;
    int bad;
};

static void on_line(void *ctx, bool well, const char *text)
{
    struct lines *lines = ctx;
    size_t len = strlen(lines->text);
    snprintf(lines->text + len, sizeof lines->text - len, "%s\n", text);
    lines->well += well;
    lines->bad += !well;
    assert_null(strchr(text, '\n'));
}

static enum kafka_check_result check(const struct kafka_config *config, struct lines *lines)
{
    *lines = (struct lines){.well = 0};
    return kafka_check(config, 2000, on_line, lines);
}

static void a_sound_kafka_is_said_to_be_well(void **state)
{
    (void)state;
    struct lines lines;
    mock_topic(&mock, "signups", 3);
    mock_topic(&mock, "dlq", 1);
    struct kafka_config config = make_config();
    assert_int_equal(check(&config, &lines), KAFKA_CHECK_OK);
    assert_int_equal(lines.bad, 0);
    assert_non_null(strstr(lines.text, "Kafka: 1 broker at"));
    assert_non_null(strstr(lines.text, "Topic signups: 3 partitions"));
    assert_non_null(strstr(lines.text, "Dead-letter topic dlq: 1 partition"));
    assert_non_null(strstr(lines.text, "Group group: new"));
}

static void each_thing_that_is_missing_has_its_line(void **state)
{
    (void)state;
    struct lines lines;
    mock_topic(&mock, "signups", 1);
    mock_produce(&mock, "signups", 0, 0, 10, 0);
    mock_commit(&mock, "group", "signups", 0, 500);
    rd_kafka_mock_topic_set_error(mock.cluster, "dlq", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    struct kafka_config config = make_config();
    assert_int_equal(check(&config, &lines), KAFKA_CHECK_AWAY);
    assert_non_null(strstr(lines.text, "Dead-letter topic dlq does not exist. Create it"));
    assert_non_null(strstr(lines.text, "offset 500 is not on the broker (0 to 10)"));
    rd_kafka_mock_topic_set_error(mock.cluster, "signups", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(check(&config, &lines), KAFKA_CHECK_REFUSED);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    assert_int_equal(check(&config, &lines), KAFKA_CHECK_AWAY);
    assert_int_equal(lines.well, 0);
    assert_non_null(strstr(lines.text, "no broker answers"));
    struct kafka_property bad = {"acks", "0"};
    config.properties = &bad;
    config.property_count = 1;
    assert_int_equal(check(&config, &lines), KAFKA_CHECK_CONFIG);
}

static void the_outcomes_topic_has_its_line_where_there_is_one(void **state)
{
    (void)state;
    struct lines lines;
    mock_topic(&mock, "signups", 1);
    mock_topic(&mock, "dlq", 1);
    mock_topic(&mock, "signups.outcomes", 3);
    struct kafka_config config = make_config();
    static const char *const NONE[] = {NULL, ""};
    for (size_t i = 0; i < 2; i++) {
        config.outcomes_topic = NONE[i];
        assert_int_equal(check(&config, &lines), KAFKA_CHECK_OK);
        assert_null(strstr(lines.text, "utcomes"));
    }
    config.outcomes_topic = "signups.outcomes";
    /* What Kafka says to the question, and what it says to those who may not ask. */
    rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS);
    assert_int_equal(check(&config, &lines), KAFKA_CHECK_OK);
    assert_non_null(strstr(lines.text, "Outcomes topic signups.outcomes: 3 partitions, and may be written"));
    rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(check(&config, &lines), KAFKA_CHECK_REFUSED);
    assert_non_null(strstr(lines.text, "Outcomes topic signups.outcomes: not allowed"));
    rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR);
    assert_int_equal(check(&config, &lines), KAFKA_CHECK_AWAY);
    assert_non_null(strstr(lines.text, "not to be found out"));
    rd_kafka_mock_partition_set_leader(mock.cluster, "signups.outcomes", 1, -1);
    assert_int_equal(check(&config, &lines), KAFKA_CHECK_AWAY);
    assert_non_null(strstr(lines.text, "Outcomes topic signups.outcomes: 1 of 3 partitions have no leader"));
    rd_kafka_mock_topic_set_error(mock.cluster, "signups.outcomes", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    assert_int_equal(check(&config, &lines), KAFKA_CHECK_AWAY);
    assert_non_null(strstr(lines.text, "Outcomes topic signups.outcomes does not exist. Create it"));
    rd_kafka_mock_topic_set_error(mock.cluster, "signups.outcomes", RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    assert_int_equal(check(&config, &lines), KAFKA_CHECK_REFUSED);
    assert_non_null(strstr(lines.text, "Outcomes topic signups.outcomes: not allowed. Give the worker's user the "
                                       "right to write and describe it"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_loaded_is_counted_once, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_delivered_is_counted_too, setup, teardown),
        cmocka_unit_test_setup_teardown(a_load_without_topic_or_broker_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sound_kafka_is_said_to_be_well, setup, teardown),
        cmocka_unit_test_setup_teardown(each_thing_that_is_missing_has_its_line, setup, teardown),
        cmocka_unit_test_setup_teardown(the_outcomes_topic_has_its_line_where_there_is_one, setup, teardown),
    };
    return MOCK_RUN(tests);
}
