/* How far a consumer group is in a topic, and waiting until it has caught up. */
#include "client.h"

#include <jansson.h>
#include <stdlib.h>

static rd_kafka_t *offsets_open(const struct options *options)
{
    if (options->topic == NULL || options->group == NULL) {
        client_die(EXIT_USAGE, "--topic or --group is missing");
    }
    rd_kafka_conf_t *conf = client_conf(options);
    client_set(conf, "group.id", options->group); /* only asked about, never joined */
    client_set(conf, "enable.auto.commit", "false");
    return client_create(RD_KAFKA_CONSUMER, conf);
}

/* The error of a request for committed offsets, of the whole or of one partition. */
static rd_kafka_resp_err_t read_committed(rd_kafka_t *handle, rd_kafka_topic_partition_list_t *list,
                                          const struct options *options)
{
    rd_kafka_resp_err_t error = rd_kafka_committed(handle, list, (int)options->timeout_ms);
    for (int i = 0; error == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++) {
        error = list->elems[i].err;
    }
    return error;
}

/* The committed offsets of partitions 0 to count-1; *gives* the list. */
static rd_kafka_topic_partition_list_t *fetch_committed(rd_kafka_t *handle, int count, const struct options *options)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
    rd_kafka_topic_partition_list_add_range(list, options->topic, 0, count - 1);
    int64_t deadline_ms = client_now_ms() + options->timeout_ms;
    rd_kafka_resp_err_t error;
    while ((error = read_committed(handle, list, options)) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (!client_is_transient(error) || client_now_ms() >= deadline_ms) {
            client_die(EXIT_UNAVAILABLE, "committed offsets of %s: %s", options->group, rd_kafka_err2str(error));
        }
        client_pause_ms(50);
    }
    return list;
}

/* Reads everything; returns the sum of the lags and, with `partitions` not NULL, appends each partition. */
static int64_t read_all(rd_kafka_t *handle, const struct options *options, json_t *partitions)
{
    const struct rd_kafka_metadata *metadata = client_metadata(handle, options->topic, options, false);
    int count = metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    /* Committed first: an end that is read later is never behind it. */
    rd_kafka_topic_partition_list_t *list = fetch_committed(handle, count, options);
    struct extent *extents = client_extents(handle, count, options);
    int64_t total = 0;
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *element = &list->elems[i];
        const struct extent *extent = &extents[element->partition];
        int64_t from = element->offset >= 0 ? element->offset : extent->low;
        int64_t lag = extent->high > from ? extent->high - from : 0;
        total += lag;
        if (partitions != NULL) {
            json_t *committed = element->offset >= 0 ? json_integer(element->offset) : json_null();
            json_array_append_new(partitions, json_pack("{s:i, s:I, s:I, s:o, s:I}", "partition",
                                                        (int)element->partition, "low", (json_int_t)extent->low,
                                                        "high", (json_int_t)extent->high, "committed", committed,
                                                        "lag", (json_int_t)lag));
        }
    }
    free(extents);
    rd_kafka_topic_partition_list_destroy(list);
    return total;
}

int offsets_run(const struct options *options)
{
    rd_kafka_t *handle = offsets_open(options);
    json_t *partitions = json_array();
    int64_t lag = read_all(handle, options, partitions);
    json_t *all = json_pack("{s:s, s:s, s:I, s:o}", "topic", options->topic, "group", options->group, "lag",
                            (json_int_t)lag, "partitions", partitions);
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
    rd_kafka_destroy(handle);
    return 0;
}

int lag_run(const struct options *options)
{
    rd_kafka_t *handle = offsets_open(options);
    int64_t deadline_ms = client_now_ms() + options->timeout_ms;
    int64_t lag = read_all(handle, options, NULL);
    while (options->wait_zero && lag > 0 && client_now_ms() < deadline_ms) {
        client_pause_ms(50);
        lag = read_all(handle, options, NULL);
    }
    printf("%lld\n", (long long)lag);
    rd_kafka_destroy(handle);
    return options->wait_zero && lag > 0 ? EXIT_NOT_IN_TIME : 0;
}
