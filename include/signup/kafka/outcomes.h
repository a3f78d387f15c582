/* Outcomes to their topic (kafka.outcomes_topic): one JSON record for each final outcome, by a producer of its
 * own on the loop. Only a delivery report proves a record published. */
#ifndef SIGNUP_KAFKA_OUTCOMES_H
#define SIGNUP_KAFKA_OUTCOMES_H

#include "signup/base/clock.h"
#include "signup/core/ports.h"
#include "signup/kafka/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uv_loop_s;
struct kafka_outcomes;

/* Every record's header. */
#define KAFKA_OUTCOMES_TYPE_HEADER "content-type"
#define KAFKA_OUTCOMES_TYPE "application/json"

struct kafka_outcomes_status {
    uint64_t published;
    uint64_t failed;    /* not acknowledged: they stay due in the ledger */
    uint64_t recreated; /* times the producer had to be replaced after a fatal error */
    size_t in_flight;
    /* The last one failed, and none was published since (nor tried for five minutes: then another worker has
     * published it). */
    bool failing;
    wall_us_t failing_since; /* 0: not failing */
    const char *why; /* of the last failure; "" not failing. Borrows until the next turn of the loop. */
};

/* Needs no broker. `config` names the topic, and what is kept of it is copied. NULL: `error` says why. */
struct kafka_outcomes *kafka_outcomes_create(struct uv_loop_s *loop, const struct kafka_config *config,
                                             char *error, size_t error_size)
    __attribute__((warn_unused_result));

/* The functions; their context is the struct kafka_outcomes. The key is the event id, the value the letter's
 * text. A publish op ends when each of its records has its report or has been refused, at the latest some 37 s
 * after submit. What is not `published` stays due; a second copy is allowed. Records that a broker refuses do
 * not fail the others of their batch; a producer with a fatal error is replaced and what it had is sent again.
 * The dead letters have another producer: nothing that becomes of one topic holds up the other. */
const struct outcome_port *kafka_outcomes_port(void);

/* As kafka_source_close(): bounded, `closed` once and later. Operations under way end first, their unreported
 * records unpublished. */
void kafka_outcomes_close(struct kafka_outcomes *outcomes, int64_t deadline_ms,
                          void (*closed)(void *owner, bool clean), void *owner);

void kafka_outcomes_status(const struct kafka_outcomes *outcomes, struct kafka_outcomes_status *out);

#endif
