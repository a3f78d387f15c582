/* librdkafka's configuration objects, made from ours. Private to the room. */
#ifndef SIGNUP_KAFKA_SETTINGS_H
#define SIGNUP_KAFKA_SETTINGS_H

#include "signup/kafka/config.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>

/* READER: a consumer outside of any group, that is told where each partition ends. PROBE: a producer whose
 * records no broker stores: it asks for acknowledgements (acks=2) that Kafka has no more, and what Kafka says to
 * that tells whether it would have been allowed to write (KafkaApis judges the rights first, then
 * ReplicaManager.appendRecords refuses the whole request with INVALID_REQUIRED_ACKS; seen with 3.9). */
enum kafka_role { KAFKA_ROLE_CONSUMER, KAFKA_ROLE_PRODUCER, KAFKA_ROLE_READER, KAFKA_ROLE_PROBE };

/* Our defaults, then the user's properties, then what must hold. Gives a configuration that rd_kafka_new()
 * takes, or NULL and `error`. */
rd_kafka_conf_t *kafka_settings_build(const struct kafka_config *config, enum kafka_role role, char *error,
                                      size_t error_size);

/* Builds, creates, and lets the library's background thread serve OAUTHBEARER tokens where they are used.
 * NULL and `error` on failure. `events` are RD_KAFKA_EVENT_* bits; log lines become events of the main queue
 * once rd_kafka_set_log_queue() was called. */
rd_kafka_t *kafka_settings_client(const struct kafka_config *config, enum kafka_role role, int events,
                                  char *error, size_t error_size);

/* The assignor is a cooperative one: assignments change by increments. */
bool kafka_settings_cooperative(const struct kafka_config *config);

/* The error is a refusal of our name, key or rights: the operator must act. */
bool kafka_settings_is_refusal(rd_kafka_resp_err_t err);

/* A deep copy, to keep. NULL: out of memory. */
struct kafka_config *kafka_settings_copy(const struct kafka_config *config);
void kafka_settings_free(struct kafka_config *config);

/* Hands one of librdkafka's own log lines on: always at debug, at most some a second. Takes nothing; the
 * event stays the caller's. */
void kafka_settings_log(rd_kafka_event_t *event);

#endif
