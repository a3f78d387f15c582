/* Offset ranges, one question an end, each with its own error. */
#include "range.h"

static rd_kafka_resp_err_t range_end(rd_kafka_t *rk, const char *topic, int32_t partition, int64_t which, int64_t *out,
                                     int timeout_ms)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = which;
    rd_kafka_resp_err_t err = rd_kafka_offsets_for_times(rk, list, timeout_ms);
    if (!err)
        err = list->elems[0].err;
    if (!err && list->elems[0].offset < 0)
        err = RD_KAFKA_RESP_ERR__FAIL;
    *out = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return err;
}

rd_kafka_resp_err_t range_query(rd_kafka_t *rk, const char *topic, int32_t partition, int64_t *low, int64_t *high,
                                int timeout_ms)
{
    rd_kafka_resp_err_t err = range_end(rk, topic, partition, RD_KAFKA_OFFSET_BEGINNING, low, timeout_ms);
    return err ? err : range_end(rk, topic, partition, RD_KAFKA_OFFSET_END, high, timeout_ms);
}
