/* Publishes lines, records or generated events, and answers for every single one of them. */
#include "client.h"
#include "generate.h"
#include "record.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

struct producer {
    const struct options *options;
    rd_kafka_t *handle; /* NULL with --print */
    rd_kafka_topic_t *topic;
    rd_kafka_headers_t *headers; /* of every record; NULL: none */
    int64_t accepted;
    int64_t failed;
    int64_t bytes;
};

static void on_delivery(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque)
{
    struct producer *producer = opaque;
    (void)handle;
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        producer->accepted++;
        return;
    }
    if (producer->failed++ == 0) {
        fprintf(stderr, "kafka-tool: not delivered: %s\n", rd_kafka_err2str(message->err));
    }
}

static rd_kafka_headers_t *fixed_headers(const struct options *options)
{
    if (options->header_count == 0) {
        return NULL;
    }
    rd_kafka_headers_t *headers = rd_kafka_headers_new((size_t)options->header_count);
    for (int i = 0; i < options->header_count; i++) {
        const char *equals = strchr(options->headers[i], '=');
        if (equals == NULL) {
            client_die(EXIT_USAGE, "not NAME=VALUE: %s", options->headers[i]);
        }
        rd_kafka_header_add(headers, options->headers[i], equals - options->headers[i], equals + 1, -1);
    }
    return headers;
}

/* One attempt to queue a record; the library copies key and value, and takes the headers only on success. */
static rd_kafka_resp_err_t enqueue(const struct producer *producer, const struct record *record,
                                   rd_kafka_headers_t *headers)
{
    int32_t partition = record->partition >= 0 ? record->partition : (int32_t)producer->options->partition;
    if (headers == NULL) {
        return rd_kafka_producev(producer->handle, RD_KAFKA_V_RKT(producer->topic),
                                 RD_KAFKA_V_PARTITION(partition), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                 RD_KAFKA_V_KEY(record->key.data, record->key.size),
                                 RD_KAFKA_V_VALUE(record->value.data, record->value.size),
                                 RD_KAFKA_V_TIMESTAMP(record->timestamp_ms), RD_KAFKA_V_END);
    }
    return rd_kafka_producev(producer->handle, RD_KAFKA_V_RKT(producer->topic), RD_KAFKA_V_PARTITION(partition),
                             RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                             RD_KAFKA_V_KEY(record->key.data, record->key.size),
                             RD_KAFKA_V_VALUE(record->value.data, record->value.size),
                             RD_KAFKA_V_TIMESTAMP(record->timestamp_ms), RD_KAFKA_V_HEADERS(headers),
                             RD_KAFKA_V_END);
}

/* Publishes one record; *takes* its headers, *borrows* the rest during the call. */
static void produce_one(struct producer *producer, struct record *record)
{
    rd_kafka_headers_t *headers = record->headers;
    record->headers = NULL;
    producer->bytes += (int64_t)record->value.size;
    if (headers == NULL && producer->headers != NULL) {
        headers = rd_kafka_headers_copy(producer->headers);
    }
    rd_kafka_resp_err_t error;
    while ((error = enqueue(producer, record, headers)) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
        rd_kafka_poll(producer->handle, 50);
    }
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (headers != NULL) {
            rd_kafka_headers_destroy(headers);
        }
        if (producer->failed++ == 0) {
            fprintf(stderr, "kafka-tool: not accepted: %s\n", rd_kafka_err2str(error));
        }
    }
    rd_kafka_poll(producer->handle, 0);
}

/* --- where records come from --- */

/* The value of the key field of a line as text; NULL where there is none. *Gives* it. */
static char *key_of_line(const char *line, size_t length, const char *field)
{
    json_t *object = json_loadb(line, length, 0, NULL);
    const json_t *value = json_object_get(object, field);
    char *key = NULL;
    if (json_is_string(value)) {
        key = strdup(json_string_value(value));
    } else if (json_is_integer(value)) {
        char digits[32];
        snprintf(digits, sizeof(digits), "%lld", (long long)json_integer_value(value));
        key = strdup(digits);
    }
    json_decref(object);
    return key;
}

static void produce_line(struct producer *producer, char *line, size_t length)
{
    struct record record = {.partition = -1, .value = {line, length}};
    char *key = NULL;
    if (producer->options->key_field != NULL) {
        key = key_of_line(line, length, producer->options->key_field);
        record.key = (struct bytes){key, key == NULL ? 0 : strlen(key)};
    }
    produce_one(producer, &record);
    free(key);
}

static void produce_record(struct producer *producer, const char *line, size_t length, int64_t number)
{
    struct record record;
    const char *problem;
    json_error_t error;
    json_t *object = json_loadb(line, length, 0, &error);
    if (object == NULL) {
        client_die(EXIT_DATA, "line %lld: %s", (long long)number, error.text);
    }
    if (!record_from_json(object, &record, &problem)) {
        client_die(EXIT_DATA, "line %lld: %s", (long long)number, problem);
    }
    produce_one(producer, &record);
    record_fini(&record);
    json_decref(object);
}

static int64_t produce_file(struct producer *producer)
{
    const struct options *options = producer->options;
    FILE *file = options->file == NULL || strcmp(options->file, "-") == 0 ? stdin : fopen(options->file, "re");
    if (file == NULL) {
        client_die(66, "%s: %s", options->file, strerror(errno));
    }
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    int64_t count = 0;
    while ((length = getline(&line, &room, file)) >= 0) {
        count++;
        if (length > 0 && line[length - 1] == '\n') {
            length--;
        }
        if (options->records) {
            produce_record(producer, line, (size_t)length, count);
        } else {
            produce_line(producer, line, (size_t)length);
        }
    }
    free(line);
    if (file != stdin) {
        fclose(file);
    }
    return count;
}

static struct generator make_generator(const struct options *options)
{
    struct generator generator = {.seed = (uint64_t)options->seed, .contacts = (uint64_t)options->contacts};
    const char *rest = options->lists == NULL ? "+18335550100" : options->lists;
    while (*rest != '\0') {
        size_t length = strcspn(rest, ",");
        if (generator.list_count == GENERATE_LISTS_MAX || length == 0 || length >= GENERATE_PHONE_BYTES) {
            client_die(EXIT_USAGE, "--lists: at most %d numbers of at most 15 digits", GENERATE_LISTS_MAX);
        }
        memcpy(generator.lists[generator.list_count++], rest, length);
        rest += length + (rest[length] == ',');
    }
    uint64_t last = (uint64_t)options->first + (uint64_t)options->generate;
    if (generator.contacts == 0 ? last > generate_phone_space() : generator.contacts > generate_phone_space()) {
        client_die(EXIT_USAGE, "there are only %ju phones", (uintmax_t)generate_phone_space());
    }
    return generator;
}

/* Keyed by phone: the events of a contact stay in one partition, in order. */
static int64_t produce_generated(struct producer *producer)
{
    const struct options *options = producer->options;
    struct generator generator = make_generator(options);
    char event[GENERATE_EVENT_BYTES], phone[GENERATE_PHONE_BYTES];
    for (int64_t i = 0; i < options->generate; i++) {
        uint64_t sequence = (uint64_t)(options->first + i);
        size_t length = generate_event(&generator, sequence, event);
        if (producer->handle == NULL) {
            puts(event);
            continue;
        }
        generate_phone(&generator, sequence, phone);
        struct record record = {.partition = -1, .key = {phone, strlen(phone)}, .value = {event, length}};
        produce_one(producer, &record);
    }
    return options->generate;
}

/* --- the subcommand --- */

static void producer_open(struct producer *producer)
{
    const struct options *options = producer->options;
    if (options->topic == NULL) {
        client_die(EXIT_USAGE, "--topic is missing");
    }
    rd_kafka_conf_t *conf = client_conf(options);
    client_set(conf, "linger.ms", "5");
    client_set(conf, "batch.num.messages", "10000");
    client_set(conf, "queue.buffering.max.messages", "200000");
    client_set(conf, "acks", "all");
    client_set(conf, "enable.idempotence", "true");
    client_set(conf, "message.max.bytes", "10485760");
    /* The Java clients' choice of partition, so that keys land where another producer puts them. */
    client_set(conf, "partitioner", "murmur2_random");
    char timeout[32];
    snprintf(timeout, sizeof(timeout), "%lld", (long long)options->timeout_ms);
    client_set(conf, "message.timeout.ms", timeout);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, producer);
    for (int i = 0; i < options->property_count; i++) { /* the user's come last and win */
        char *pair = strdup(options->properties[i]);
        char *equals = pair == NULL ? NULL : strchr(pair, '=');
        if (equals != NULL) {
            *equals = '\0';
            client_set(conf, pair, equals + 1);
        }
        free(pair);
    }
    producer->handle = client_create(RD_KAFKA_PRODUCER, conf);
    rd_kafka_metadata_destroy(client_metadata(producer->handle, options->topic, options, false));
    producer->topic = rd_kafka_topic_new(producer->handle, options->topic, NULL);
    producer->headers = fixed_headers(options);
}

static void producer_close(struct producer *producer)
{
    if (producer->headers != NULL) {
        rd_kafka_headers_destroy(producer->headers);
    }
    rd_kafka_topic_destroy(producer->topic);
    rd_kafka_destroy(producer->handle);
}

int produce_run(const struct options *options)
{
    struct producer producer = {.options = options};
    if (options->print_only) {
        if (options->generate < 0) {
            client_die(EXIT_USAGE, "--print goes with --gen");
        }
        produce_generated(&producer);
        return 0;
    }
    int64_t begun_ms = client_now_ms();
    producer_open(&producer);
    int64_t count = options->generate >= 0 ? produce_generated(&producer) : produce_file(&producer);
    if (rd_kafka_flush(producer.handle, (int)options->timeout_ms + 1000) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        client_die(EXIT_UNAVAILABLE, "%d records have no answer yet", rd_kafka_outq_len(producer.handle));
    }
    int64_t took_ms = client_now_ms() - begun_ms;
    producer_close(&producer);
    if (!options->quiet) {
        fprintf(stderr, "kafka-tool: %lld records, %lld bytes in %lld ms, %lld failed\n",
                (long long)producer.accepted, (long long)producer.bytes, (long long)took_ms,
                (long long)producer.failed);
    }
    return producer.failed == 0 && producer.accepted == count ? 0 : EXIT_UNAVAILABLE;
}
