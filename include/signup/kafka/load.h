/* Publishing many records from a command line: enqueue, count the delivery reports, flush. Not for the loop:
 * it may block. */
#ifndef SIGNUP_KAFKA_LOAD_H
#define SIGNUP_KAFKA_LOAD_H

#include "signup/base/slice.h"
#include "signup/event/record.h"
#include "signup/kafka/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kafka_load;

struct kafka_load_counts {
    uint64_t enqueued;
    uint64_t delivered; /* acknowledged by the broker */
    uint64_t failed;    /* refused, or not acknowledged in time */
};

/* `topic` NULL: the first of config->topics. Waits up to `timeout_ms` for a broker that knows the topic.
 * NULL: `error` says why. */
struct kafka_load *kafka_load_create(const struct kafka_config *config, const char *topic, int64_t timeout_ms,
                                     char *error, size_t error_size) __attribute__((warn_unused_result));

struct kafka_load_record {
    struct slice key;     /* absent: null, any partition */
    struct slice value;   /* absent: null */
    int64_t timestamp_ms; /* -1: now */
    const struct record_header *headers;
    size_t header_count;
};

/* Copies the record. While the queue is full it waits for reports, up to `timeout_ms`. False: not enqueued,
 * counted as failed; kafka_load_error() says why. */
bool kafka_load_push(struct kafka_load *load, const struct kafka_load_record *record, int64_t timeout_ms)
    __attribute__((warn_unused_result));

/* Counts the reports that have come; never waits. */
void kafka_load_poll(struct kafka_load *load);

/* Waits until every record is reported or `timeout_ms` has passed; `progress` (may be NULL) is called about
 * ten times a second and at the end. True: everything enqueued was delivered. */
bool kafka_load_flush(struct kafka_load *load, int64_t timeout_ms,
                      void (*progress)(void *ctx, const struct kafka_load_counts *counts), void *ctx)
    __attribute__((warn_unused_result));

void kafka_load_counts(const struct kafka_load *load, struct kafka_load_counts *out);

/* The last failure, "" none. Borrows until the next call. */
const char *kafka_load_error(const struct kafka_load *load);

/* Gives up what is not delivered yet. */
void kafka_load_destroy(struct kafka_load *load);

#endif
