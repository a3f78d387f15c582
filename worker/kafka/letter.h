/* The Kafka record of a dead letter. Private to the room. */
#ifndef SIGNUP_KAFKA_LETTER_H
#define SIGNUP_KAFKA_LETTER_H

#include "signup/core/ports.h"

#include <librdkafka/rdkafka.h>

/* The original's headers without those named signup.*, then ours (design section 7). The caller frees, unless
 * a producer took them. */
rd_kafka_headers_t *letter_headers(const struct dead_letter *letter);

#endif
