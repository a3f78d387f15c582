/* The Kafka record of a dead letter, whole or as a pointer. Private to the room. */
#ifndef SIGNUP_KAFKA_LETTER_H
#define SIGNUP_KAFKA_LETTER_H

#include "signup/base/buf.h"
#include "signup/core/ports.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

/* What all our header names begin with, and how an original's own such headers are told apart. */
#define LETTER_PREFIX "signup."

/* From the best to the smallest: one that is too large for the topic is followed by the next. */
enum letter_form {
    LETTER_WHOLE,   /* the original's key, value and headers */
    LETTER_POINTER, /* says where the bytes are instead of the value; the original's headers where they fit */
    LETTER_POINTER_BARE /* without the original's headers, and without a key that is itself large */
};

/* `key` and `value` borrow from the letter and from `body`. */
struct letter_record {
    struct slice key;
    struct slice value;
    rd_kafka_headers_t
        *headers; /* the original's without those named signup.*, then ours (design section 7) */
    struct buf body;
};

/* Owns memory until letter_fini(). */
void letter_init(struct letter_record *record, const struct dead_letter *letter, enum letter_form form);

/* `headers_taken`: a producer has taken them. */
void letter_fini(struct letter_record *record, bool headers_taken);

bool letter_is_ours(struct slice header_name);

#endif
