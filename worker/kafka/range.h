/* The first and the next offset of a partition, asked from the broker. Waits: never on the loop. */
#ifndef SIGNUP_KAFKA_RANGE_H
#define SIGNUP_KAFKA_RANGE_H

#include <librdkafka/rdkafka.h>
#include <stdint.h>

/* Not rd_kafka_query_watermark_offsets(): in 2.0.2 that can forget the error of one of its two requests and give the other's answer for both
 * ends, so that a full partition looks empty. Sets both or gives an error. */
rd_kafka_resp_err_t range_query(rd_kafka_t *rk, const char *topic, int32_t partition, int64_t *low, int64_t *high,
                                int timeout_ms);

#endif
