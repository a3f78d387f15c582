/*
 * A Kafka record as one line of JSON, in both directions, with every byte kept:
 * {"topic", "partition", "offset", "timestamp_ms", "key", "value", "headers": [{"name", "value"}]}
 * A key or value that is null was null; one that is not UTF-8, or has a NUL in it, stands in base64 under
 * key_base64 or value_base64 instead.
 */
#ifndef SIGNUP_HARNESS_KAFKA_TOOL_RECORD_H
#define SIGNUP_HARNESS_KAFKA_TOOL_RECORD_H

#include <jansson.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a record; NULL with size 0 is null, which Kafka tells from empty. */
struct bytes {
    char *data;
    size_t size;
};

struct record {
    struct bytes key, value;
    rd_kafka_headers_t *headers; /* NULL: none */
    int32_t partition;           /* -1: not said */
    int64_t timestamp_ms;        /* 0: not said */
};

/* The message as an object; *gives* it. */
json_t *record_to_json(const rd_kafka_message_t *message);

/*
 * Reads a record from `object`. On success *gives* what the record points to, see record_fini(). On failure
 * returns false with *problem set to a constant text.
 */
bool record_from_json(const json_t *object, struct record *record, const char **problem);
void record_fini(struct record *record);

#endif
