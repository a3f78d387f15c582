/* `check`: what is well with Kafka, or what to do. Blocks; not for the loop. */
#ifndef SIGNUP_KAFKA_CHECK_H
#define SIGNUP_KAFKA_CHECK_H

#include "signup/kafka/config.h"

#include <stdbool.h>
#include <stdint.h>

enum kafka_check_result {
    KAFKA_CHECK_OK,
    KAFKA_CHECK_AWAY,    /* no broker, or something that must exist does not: exit 69 */
    KAFKA_CHECK_REFUSED, /* a broker refused our name, key or rights: exit 77 */
    KAFKA_CHECK_CONFIG   /* the configuration itself: exit 78 */
};

/* `line` gets one line for each thing checked, without a newline; `well` false: the line says what to do.
 * Gives the worst finding. Takes at most about five times `timeout_ms`. Joins no group, commits nothing,
 * creates nothing, writes nothing: whether the outcomes topic may be written is asked in a way that Kafka always
 * refuses, for one reason or the other. */
enum kafka_check_result kafka_check(const struct kafka_config *config, int64_t timeout_ms,
                                    void (*line)(void *ctx, bool well, const char *text), void *ctx);

#endif
