/* A record of the dead-letter topic, read as what letter.c has written. Private to the room. */
#ifndef SIGNUP_KAFKA_LETTER_READ_H
#define SIGNUP_KAFKA_LETTER_READ_H

#include "signup/kafka/letters.h"

#include <librdkafka/rdkafka.h>
#include <stddef.h>

/* Room for the original's headers, used again for each letter. */
struct letter_headers {
    struct record_header *items;
    size_t room;
};

/* `out` borrows from the message and from `headers` until their next use; `topic` is borrowed as well. */
void letter_read(const rd_kafka_message_t *message, struct slice topic, struct letter_headers *headers,
                 struct kafka_letter *out);

void letter_headers_fini(struct letter_headers *headers);

#endif
