/* Dead letters to their topic: an idempotent producer on the loop. Only a delivery report proves a letter
 * published. */
#ifndef SIGNUP_KAFKA_DEAD_LETTER_H
#define SIGNUP_KAFKA_DEAD_LETTER_H

#include "signup/base/clock.h"
#include "signup/core/ports.h"
#include "signup/kafka/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uv_loop_s;
struct kafka_dead_letter;

struct kafka_dead_letter_status {
    uint64_t published; /* pointers too */
    uint64_t pointers;  /* of these: they stand for originals that are too large for the topic */
    uint64_t failed;    /* not acknowledged: they stay due in the ledger */
    uint64_t recreated; /* times the producer had to be replaced after a fatal error */
    size_t in_flight;
    /* The last one failed, and no letter was published since (nor tried for five minutes: then another worker
     * has published it). */
    bool failing;
    wall_us_t failing_since; /* 0: not failing */
    const char *why; /* of the last failure; "" not failing. Borrows until the next turn of the loop. */
};

/* Needs no broker. Copies what it keeps of `config`. NULL: `error` says why. */
struct kafka_dead_letter *kafka_dead_letter_create(struct uv_loop_s *loop, const struct kafka_config *config,
                                                   char *error, size_t error_size)
    __attribute__((warn_unused_result));

/* The functions; their context is the struct kafka_dead_letter. A publish op ends when each of its letters
 * has its report or has been refused, at the latest some 37 s after submit. Letters that are not `published`
 * stay due; a second copy of one is allowed. One that is too large for the topic is published as a pointer
 * (headers as ever and `signup.pointer: true`; value: a JSON object with "pointer": true, "topic",
 * "partition", "offset", "event_id", "bytes", "sha256" in hex, "note"). Letters that a broker refuses do not
 * fail the others of their batch; a producer with a fatal error is replaced and what it had is sent again. */
const struct dead_letter_port *kafka_dead_letter_port(void);

/* As kafka_source_close(): bounded, `closed` once and later. Operations under way end first, their unreported
 * letters unpublished. */
void kafka_dead_letter_close(struct kafka_dead_letter *dead_letter, int64_t deadline_ms,
                             void (*closed)(void *owner, bool clean), void *owner);

void kafka_dead_letter_status(const struct kafka_dead_letter *dead_letter,
                              struct kafka_dead_letter_status *out);

#endif
