/* What the Kafka room is told at start, and which librdkafka properties a user may pass through. */
#ifndef SIGNUP_KAFKA_CONFIG_H
#define SIGNUP_KAFKA_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

/* One entry of `kafka.properties`, by librdkafka's names. */
struct kafka_property {
    const char *name;
    const char *value;
};

/* Where a group without a committed offset begins (`kafka.start`). */
enum kafka_start { KAFKA_START_EARLIEST, KAFKA_START_LATEST };

/* Everything is borrowed for the time of the call that takes the configuration; whoever needs it longer
 * copies it. */
struct kafka_config {
    const char *brokers; /* "host:port,host:port" */
    const char *const *topics;
    size_t topic_count;
    const char *group;
    enum kafka_start start;
    const char *dead_letter_topic;
    const char *outcomes_topic; /* NULL or "": none */
    const struct kafka_property *properties;
    size_t property_count;
};

/* Why this property may not be set, and what to use instead; NULL: it may (its value is then librdkafka's to
 * judge). The returned text lives for ever. */
const char *kafka_property_refused(const char *name);

/* Checks names, values and their combination as far as that needs no broker: refused and unknown properties,
 * bad values, cooperative assignors on a librdkafka that cannot be trusted with them, topic patterns. May
 * load files that the properties name (certificates). False: `error` says what is wrong, in one line. Blocks
 * for some milliseconds. */
bool kafka_config_check(const struct kafka_config *config, char *error, size_t error_size)
    __attribute__((warn_unused_result));

/* "librdkafka 2.0.2", for people. */
const char *kafka_library_version(void);

#endif
