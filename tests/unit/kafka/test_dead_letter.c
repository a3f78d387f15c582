/* Dead letters against the mock cluster: every header of the contract, what counts as published, pointers for
 * what is too large, and failures that stall nobody. */
#include "mock_kafka.h"

#include "signup/kafka/dead_letter.h"

#include <jansson.h>
#include <unistd.h>

#define PRODUCE 0 /* the API's key */

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

static bool is_set(void *ctx)
{
    return *(const bool *)ctx;
}

static void make_producer(void)
{
    static const char *const TOPICS[] = {"signups"};
    struct kafka_config config = {
        .brokers = mock.brokers, .topics = TOPICS, .topic_count = 1, .group = "group", .dead_letter_topic = "dlq"};
    char error[256];
    producer = kafka_dead_letter_create(&loop, &config, error, sizeof error);
    assert_non_null(producer);
}

static int setup(void **state)
{
    (void)state;
    mock_start(&mock, 1);
    mock_topic(&mock, "dlq", 2);
    uv_loop_init(&loop);
    make_producer();
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
                     .timestamp_ms = INT64_C(1742048999001),
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

/* The topic's records from the start: those of partition 0 or 1, up to `max`. */
static size_t read_partition(rd_kafka_t *consumer, int32_t partition, rd_kafka_message_t **messages,
                             size_t max)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, "dlq", partition)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    size_t count = 0;
    while (count < max) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 5000);
        if (!message)
            break;
        if (message->err)
            rd_kafka_message_destroy(message);
        else
            messages[count++] = message;
    }
    return count;
}

/* Where the key of make_letter() goes: consistent, so all letters of a test lie in order on one partition. */
static int32_t partition_of(struct slice key)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(mock.host, "dlq", NULL);
    int32_t partition = rd_kafka_msg_partitioner_consistent(topic, key.ptr, key.len, 2, NULL, NULL);
    rd_kafka_topic_destroy(topic);
    return partition;
}

struct reader {
    rd_kafka_t *consumer;
    rd_kafka_message_t *messages[8];
    size_t count;
};

/* Reads `count` letters with the usual key; fails when they are not there. */
static void read_letters(struct reader *reader, size_t count)
{
    *reader = (struct reader){mock_client(RD_KAFKA_CONSUMER, mock.brokers, "reader"), {NULL}, count};
    assert_int_equal(
        read_partition(reader->consumer, partition_of((struct slice){"k\0y", 3}), reader->messages, count),
        count);
}

static void end_reading(struct reader *reader)
{
    for (size_t i = 0; i < reader->count; i++)
        rd_kafka_message_destroy(reader->messages[i]);
    rd_kafka_consumer_close(reader->consumer);
    rd_kafka_destroy(reader->consumer);
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

static void expect_contract_headers(const rd_kafka_message_t *message, const char *status)
{
    expect_header(message, "signup.event_id", "evt-1");
    expect_header(message, "signup.error.code", "invalid_phone");
    expect_header(message, "signup.error.status", status);
    expect_header(message, "signup.error.message", "the phone number is too short");
    expect_header(message, "signup.error.class", "rejected");
    expect_header(message, "signup.attempts", "2");
    expect_header(message, "signup.source", "signups:3:42");
    assert_true(rd_kafka_message_timestamp(message, NULL) == INT64_C(1742048999001)); /* the original's */
    expect_header(message, "signup.failed_at", "2025-03-15T14:30:00.123Z");
}

static void a_letter_has_its_bytes_and_its_headers(void **state)
{
    (void)state;
    struct dead_letter letters[3] = {make_letter(400), make_letter(0), make_letter(404)};
    letters[1].original.value = SLICE_ABSENT;
    letters[1].original.timestamp_ms = -1;
    letters[2].original.value = SLICE_LITERAL("");
    assert_int_equal(publish(letters, 3, 10000), 3);
    struct reader reader;
    read_letters(&reader, 3);
    rd_kafka_message_t *const *messages = reader.messages;
    assert_int_equal(messages[0]->key_len, 3);
    assert_memory_equal(messages[0]->key, "k\0y", 3);
    assert_int_equal(messages[0]->len, 11);
    assert_memory_equal(messages[0]->payload, "{\"phone\":1}", 11);
    expect_header(messages[0], "traceparent", "00-4bf9");
    expect_header(messages[0], "empty", "");
    expect_contract_headers(messages[0], "400");
    expect_header(messages[0], "signup.pointer", NULL);
    expect_header(messages[1], "signup.error.status", NULL); /* a local death */
    assert_true(rd_kafka_message_timestamp(messages[1], NULL) > INT64_C(1742049000123)); /* it had none */
    assert_null(messages[1]->payload);
    assert_non_null(messages[2]->payload);
    assert_int_equal(messages[2]->len, 0);
    rd_kafka_headers_t *headers;
    const void *value = "";
    size_t size;
    assert_int_equal(rd_kafka_message_headers(messages[0], &headers), 0);
    assert_int_equal(rd_kafka_header_get(headers, 0, "none", &value, &size), 0);
    assert_null(value); /* a null header value stays null */
    end_reading(&reader);
}

static void a_null_key_stays_null(void **state)
{
    (void)state;
    struct dead_letter letter = make_letter(0);
    letter.original.key = SLICE_ABSENT;
    assert_int_equal(publish(&letter, 1, 10000), 1);
    rd_kafka_t *consumer = mock_client(RD_KAFKA_CONSUMER, mock.brokers, "reader");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(2);
    for (int32_t p = 0; p < 2; p++)
        rd_kafka_topic_partition_list_add(list, "dlq", p)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_assign(consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 5000);
    if (!message) {
        fail();
        return; /* for the analyzer: fail() does */
    }
    assert_int_equal(message->err, 0);
    assert_null(message->key);
    rd_kafka_message_destroy(message);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
}

static void a_refused_letter_is_not_published_and_the_next_one_is(void **state)
{
    (void)state;
    static const rd_kafka_resp_err_t REFUSALS[] = {
        RD_KAFKA_RESP_ERR_INVALID_MSG, RD_KAFKA_RESP_ERR_INVALID_RECORD, RD_KAFKA_RESP_ERR_POLICY_VIOLATION,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED};
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
    assert_true(status.failing_since.us > 0 && status.failing_since.us <= clock_wall_now().us);
    assert_int_equal(status.failed, 4);
    /* The library remembers a refused topic until it has asked for its metadata again. */
    assert_int_equal(publish_again_and_again(15), 1);
    kafka_dead_letter_status(producer, &status);
    assert_false(status.failing);
    assert_true(status.failing_since.us == 0);
    assert_string_equal(status.why, "");
    assert_int_equal(status.in_flight, 0);
}

/* ------------------------------------------------------------------ pointers */

static void expect_pointer(const rd_kafka_message_t *message, json_int_t bytes, const char *sha256)
{
    if (!message) {
        fail();
        return; /* for the analyzer: fail() does */
    }
    json_t *pointer = json_loadb(message->payload, message->len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(pointer);
    assert_true(json_is_true(json_object_get(pointer, "pointer")));
    assert_string_equal(json_string_value(json_object_get(pointer, "topic")), "signups");
    assert_int_equal(json_integer_value(json_object_get(pointer, "partition")), 3);
    assert_int_equal(json_integer_value(json_object_get(pointer, "offset")), 42);
    assert_string_equal(json_string_value(json_object_get(pointer, "event_id")), "evt-1");
    assert_int_equal(json_integer_value(json_object_get(pointer, "bytes")), bytes);
    assert_string_equal(json_string_value(json_object_get(pointer, "sha256")), sha256);
    assert_non_null(strstr(json_string_value(json_object_get(pointer, "note")), "ledger"));
    json_decref(pointer);
    expect_header(message, "signup.pointer", "true");
    expect_contract_headers(message, "400");
}

/* sha256sum of 5 MiB of zeros, and of the letter's usual value */
#define SHA256_ZEROS "c036cbb7553a909f8b8877d4461924307f27ecb66cff928eeeafd569c3887e29"
#define SHA256_VALUE "0593bda2007cec939dc99f807244d06ee620922e0dfe4806d88a178c947ce4dc"

static void what_the_client_finds_too_large_becomes_a_pointer(void **state)
{
    (void)state;
    char *huge = calloc(1, 5u << 20);
    struct dead_letter letters[2] = {make_letter(400), make_letter(400)};
    letters[0].original.value = (struct slice){huge, 5u << 20};
    assert_int_equal(publish(letters, 2, 10000), 2);
    struct kafka_dead_letter_status status;
    kafka_dead_letter_status(producer, &status);
    assert_int_equal(status.pointers, 1);
    assert_int_equal(status.published, 2);
    assert_int_equal(status.failed, 0);
    assert_false(status.failing);
    struct reader reader;
    read_letters(&reader, 2);
    expect_pointer(reader.messages[0], 5 << 20, SHA256_ZEROS);
    expect_header(reader.messages[0], "traceparent", "00-4bf9");
    expect_header(reader.messages[1], "signup.pointer", NULL); /* its neighbour is whole */
    assert_int_equal(reader.messages[1]->len, 11);
    end_reading(&reader);
    free(huge);
}

static void push_size_errors(size_t count)
{
    for (size_t i = 0; i < count; i++)
        rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
}

static void what_the_broker_finds_too_large_becomes_a_smaller_pointer_each_time(void **state)
{
    (void)state;
    struct dead_letter letter = make_letter(400);
    push_size_errors(1);
    assert_int_equal(publish(&letter, 1, 10000), 1);
    push_size_errors(2);
    assert_int_equal(publish(&letter, 1, 10000), 1);
    push_size_errors(3);
    assert_int_equal(publish(&letter, 1, 10000), 0); /* not even the smallest: it stays due */
    struct kafka_dead_letter_status status;
    kafka_dead_letter_status(producer, &status);
    assert_int_equal(status.pointers, 2);
    assert_int_equal(status.failed, 1);
    assert_true(status.failing);
    assert_non_null(strstr(status.why, "max.message.bytes"));
    struct reader reader;
    read_letters(&reader, 2);
    expect_pointer(reader.messages[0], 11, SHA256_VALUE);
    expect_pointer(reader.messages[1], 11, SHA256_VALUE);
    expect_header(reader.messages[0], "traceparent", "00-4bf9");
    expect_header(reader.messages[1], "traceparent", NULL);
    end_reading(&reader);
}

/* Headers alone can be too large; a pointer takes of them what fits. */
static void headers_go_along_where_they_fit(void **state)
{
    (void)state;
    char *huge = calloc(1, 5u << 20);
    const struct record_header headers[] = {
        {{"before", 6}, {"1", 1}}, {{"huge", 4}, {huge, 5u << 20}}, {{"after", 5}, {"2", 1}}};
    struct dead_letter letter = make_letter(400);
    letter.original.headers = headers;
    letter.original.header_count = 3;
    assert_int_equal(publish(&letter, 1, 10000), 1);
    struct reader reader;
    read_letters(&reader, 1);
    expect_pointer(reader.messages[0], 11, SHA256_VALUE);
    expect_header(reader.messages[0], "before", "1");
    expect_header(reader.messages[0], "huge", NULL);
    expect_header(reader.messages[0], "after", "2");
    end_reading(&reader);
    free(huge);
}

static void a_key_too_large_for_the_topic_is_left_out(void **state)
{
    (void)state;
    char *huge = calloc(1, 5u << 20);
    struct dead_letter letter = make_letter(400);
    letter.original.key = (struct slice){huge, 5u << 20};
    assert_int_equal(publish(&letter, 1, 10000), 1);
    struct kafka_dead_letter_status status;
    kafka_dead_letter_status(producer, &status);
    assert_int_equal(status.pointers, 1);
    free(huge);
}

/* ------------------------------------------------------------------ batches */

/* A broker refuses a batch as a whole: those that it did not mean must not suffer. */
static void a_refused_batch_is_sent_again_one_by_one(void **state)
{
    (void)state;
    static const rd_kafka_resp_err_t REFUSALS[] = {RD_KAFKA_RESP_ERR_INVALID_RECORD,
                                                   RD_KAFKA_RESP_ERR_INVALID_MSG,
                                                   RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE};
    struct dead_letter letters[5];
    struct dead_letter first = make_letter(400);
    assert_int_equal(publish(&first, 1, 10000), 1); /* the topic is known: what follows goes in one batch */
    for (size_t i = 0; i < 3; i++) {
        for (size_t l = 0; l < 5; l++)
            letters[l] = make_letter(400);
        rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 1, REFUSALS[i]);
        if (publish(letters, 5, 10000) != 5)
            fail_msg("%s failed the batch", rd_kafka_err2name(REFUSALS[i]));
    }
    struct kafka_dead_letter_status status;
    kafka_dead_letter_status(producer, &status);
    assert_int_equal(status.pointers, 0); /* none of them was too large */
    assert_int_equal(status.failed, 0);
    assert_false(status.failing);
}

static void only_the_bad_record_of_a_batch_fails(void **state)
{
    (void)state;
    struct dead_letter first = make_letter(400);
    assert_int_equal(publish(&first, 1, 10000), 1);
    struct dead_letter letters[5];
    for (size_t l = 0; l < 5; l++)
        letters[l] = make_letter(400);
    rd_kafka_mock_push_request_errors(
        mock.cluster, PRODUCE, 2, RD_KAFKA_RESP_ERR_INVALID_RECORD,
        RD_KAFKA_RESP_ERR_INVALID_RECORD); /* the batch, then the first one alone */
    assert_int_equal(publish(letters, 5, 10000), 4);
    assert_false(letters[0].published);
    push_size_errors(2);
    assert_int_equal(publish(letters, 5, 10000), 5);
    struct kafka_dead_letter_status status;
    kafka_dead_letter_status(producer, &status);
    assert_int_equal(status.pointers, 1);
    assert_int_equal(status.failed, 1);
}

/* Two ops at a time: neither spoils the other's proof of who was meant. */
static void ops_do_not_mix_with_a_letter_that_is_sent_alone(void **state)
{
    (void)state;
    struct dead_letter large = make_letter(400);
    struct dead_letter others[3] = {make_letter(400), make_letter(400), make_letter(400)};
    struct result results[2] = {{0}, {0}};
    struct publish_op ops[2] = {{&large, 1, on_done, &results[0]}, {others, 3, on_done, &results[1]}};
    push_size_errors(1);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(kafka_dead_letter_port()->publish(producer, &ops[i]), PORT_OK);
    for (size_t i = 0; i < 2; i++)
        assert_true(mock_wait(&loop, 10000, is_done, &results[i]));
    struct kafka_dead_letter_status status;
    kafka_dead_letter_status(producer, &status);
    assert_int_equal(status.published, 4);
    assert_int_equal(status.pointers, 1);
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

/* ------------------------------------------------------------------ fatal errors */

static void push_fatal_errors(size_t count)
{
    for (size_t i = 0; i < count; i++)
        rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 1,
                                          RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER);
}

static void a_fatal_error_replaces_the_producer_and_everything_is_sent_again(void **state)
{
    (void)state;
    struct dead_letter letters[3] = {make_letter(400), make_letter(400), make_letter(400)};
    push_fatal_errors(1);
    assert_int_equal(publish(letters, 3, 15000), 3);
    struct kafka_dead_letter_status status;
    kafka_dead_letter_status(producer, &status);
    assert_int_equal(status.recreated, 1);
    assert_int_equal(status.failed, 0);
    assert_int_equal(status.in_flight, 0);
    assert_false(status.failing);
}

static void a_second_fatal_error_leaves_them_to_the_ledger(void **state)
{
    (void)state;
    struct dead_letter letters[3] = {make_letter(400), make_letter(400), make_letter(400)};
    push_fatal_errors(2);
    assert_int_equal(publish(letters, 3, 15000), 0);
    struct kafka_dead_letter_status status;
    kafka_dead_letter_status(producer, &status);
    assert_int_equal(status.recreated, 2);
    assert_int_equal(status.failed, 3);
    assert_int_equal(status.in_flight, 0);
    assert_true(status.failing);
    assert_int_equal(publish(letters, 3, 15000), 3);
}

/* ------------------------------------------------------------------ topics and partitions that are away */

static void a_leaderless_partition_is_waited_for_and_the_other_goes_on(void **state)
{
    (void)state;
    struct dead_letter letter = make_letter(400);
    struct dead_letter other = make_letter(400);
    assert_int_equal(publish(&letter, 1, 10000), 1);
    int32_t headless = partition_of(letter.original.key);
    static const char *const KEYS[] = {"a", "b", "c", "d", "e", "f"};
    size_t key = 0;
    while (partition_of(slice_from_str(KEYS[key])) == headless)
        key++;
    other.original.key = slice_from_str(KEYS[key]);
    rd_kafka_mock_partition_set_leader(mock.cluster, "dlq", headless, -1);
    rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    struct dead_letter both[2] = {letter, other};
    struct result result = {0};
    struct publish_op op = {both, 2, on_done, &result};
    assert_int_equal(kafka_dead_letter_port()->publish(producer, &op), PORT_OK);
    assert_true(mock_wait(&loop, 10000, is_set, &both[1].published));
    assert_false(both[0].published);
    assert_false(result.done);
    rd_kafka_mock_partition_set_leader(mock.cluster, "dlq", headless, 1);
    assert_true(mock_wait(&loop, 10000, is_done, &result));
    assert_true(both[0].published);
}

static void a_missing_topic_stalls_nobody(void **state)
{
    (void)state;
    close_producer(10000, true);
    rd_kafka_mock_topic_set_error(mock.cluster, "dlq", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    make_producer(); /* one that has never seen the topic */
    struct dead_letter letter = make_letter(400);
    assert_int_equal(publish(&letter, 1, 36000), 0);
    rd_kafka_mock_topic_set_error(mock.cluster, "dlq", RD_KAFKA_RESP_ERR_NO_ERROR);
    assert_int_equal(publish_again_and_again(30), 1);
}

/* ------------------------------------------------------------------ what is said of it */

struct said {
    FILE *file;
    const char *text;
};

static int capture_begin(FILE *file)
{
    fflush(stderr);
    int before = dup(STDERR_FILENO);
    assert_true(before >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    return before;
}

static size_t lines_with(FILE *file, const char *text)
{
    char line[2048];
    size_t count = 0;
    rewind(file);
    while (fgets(line, sizeof line, file))
        count += strstr(line, text) != NULL;
    return count;
}

static bool is_said(void *ctx)
{
    const struct said *said = ctx;
    return lines_with(said->file, said->text) > 0;
}

/* Every trouble that was told has its all-clear, and only such a one; neither floods the log. */
static void each_trouble_has_one_line_and_one_all_clear(void **state)
{
    (void)state;
    struct dead_letter letter = make_letter(400);
    FILE *file = tmpfile();
    int before = capture_begin(file);
    size_t published = publish(&letter, 1, 10000);
    size_t clear_without_trouble = lines_with(file, "published again\"");
    for (size_t i = 0; i < 3; i++) {
        rd_kafka_mock_push_request_errors(mock.cluster, PRODUCE, 1, RD_KAFKA_RESP_ERR_INVALID_RECORD);
        published += publish(&letter, 1, 10000);
        published += publish(&letter, 1, 10000);
    }
    dup2(before, STDERR_FILENO);
    close(before);
    assert_int_equal(published, 4);
    assert_int_equal(clear_without_trouble, 0);
    assert_int_equal(lines_with(file, "cannot be published"), 1);
    assert_int_equal(lines_with(file, "published again\""), 1);
    fclose(file);
}

/* Nothing but the start has said that the topic is missing: the first letter that gets through is told all
 * the same. */
static void a_topic_that_was_missing_at_the_start_is_said_to_be_there(void **state)
{
    (void)state;
    close_producer(10000, true);
    rd_kafka_mock_topic_set_error(mock.cluster, "dlq", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    FILE *file = tmpfile();
    int before = capture_begin(file);
    make_producer();
    struct said said = {file, "does not exist"};
    bool told = mock_wait(&loop, 10000, is_said, &said);
    rd_kafka_mock_topic_set_error(mock.cluster, "dlq", RD_KAFKA_RESP_ERR_NO_ERROR);
    size_t published = publish_again_and_again(20);
    dup2(before, STDERR_FILENO);
    close(before);
    assert_true(told);
    assert_int_equal(published, 1);
    assert_int_equal(lines_with(file, "published again\""), 1);
    fclose(file);
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
    assert_true(mock_wait(&loop, 6000, is_closed, &closing));
    assert_in_range((clock_mono_now().us - before.us) / US_PER_MS, 0, 5000);
    assert_true(result.done);
    assert_false(letter.published);
    producer = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_letter_has_its_bytes_and_its_headers),
        TEST(a_null_key_stays_null),
        TEST(a_refused_letter_is_not_published_and_the_next_one_is),
        TEST(what_the_client_finds_too_large_becomes_a_pointer),
        TEST(what_the_broker_finds_too_large_becomes_a_smaller_pointer_each_time),
        TEST(headers_go_along_where_they_fit),
        TEST(a_key_too_large_for_the_topic_is_left_out),
        TEST(a_refused_batch_is_sent_again_one_by_one),
        TEST(only_the_bad_record_of_a_batch_fails),
        TEST(ops_do_not_mix_with_a_letter_that_is_sent_alone),
        TEST(passing_errors_are_retried_inside),
        TEST(a_fatal_error_replaces_the_producer_and_everything_is_sent_again),
        TEST(a_second_fatal_error_leaves_them_to_the_ledger),
        TEST(a_leaderless_partition_is_waited_for_and_the_other_goes_on),
        TEST(a_missing_topic_stalls_nobody),
        TEST(each_trouble_has_one_line_and_one_all_clear),
        TEST(a_topic_that_was_missing_at_the_start_is_said_to_be_there),
        TEST(closes_in_time_with_letters_on_a_silent_broker),
    };
    return MOCK_RUN(tests);
}
