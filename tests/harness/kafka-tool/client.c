/* Handles to the cluster and the ways in which kafka-tool ends. */
#include "client.h"

#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void client_die(int status, const char *format, ...)
{
    va_list arguments;
    fputs("kafka-tool: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    fflush(stdout);
    /* Threads of librdkafka may still be busy with a broker that is away: nobody waits for them. */
    _Exit(status);
}

void client_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[512];
    if (rd_kafka_conf_set(conf, name, value, text, sizeof(text)) != RD_KAFKA_CONF_OK) {
        client_die(EXIT_USAGE, "%s", text);
    }
}

rd_kafka_conf_t *client_conf(const struct options *options)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (options->brokers == NULL) {
        client_die(EXIT_USAGE, "--brokers is missing");
    }
    client_set(conf, "bootstrap.servers", options->brokers);
    client_set(conf, "client.id", "kafka-tool");
    client_set(conf, "reconnect.backoff.ms", "20");
    client_set(conf, "reconnect.backoff.max.ms", "500");
    for (int i = 0; i < options->property_count; i++) {
        char name[256];
        const char *equals = strchr(options->properties[i], '=');
        if (equals == NULL || (size_t)(equals - options->properties[i]) >= sizeof(name)) {
            client_die(EXIT_USAGE, "not NAME=VALUE: %s", options->properties[i]);
        }
        memcpy(name, options->properties[i], (size_t)(equals - options->properties[i]));
        name[equals - options->properties[i]] = '\0';
        client_set(conf, name, equals + 1);
    }
    return conf;
}

rd_kafka_t *client_create(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char text[512];
    rd_kafka_t *handle = rd_kafka_new(type, conf, text, sizeof(text));
    if (handle == NULL) {
        client_die(EXIT_SOFTWARE, "%s", text);
    }
    return handle;
}

const struct rd_kafka_metadata *client_metadata(rd_kafka_t *handle, const char *topic,
                                                const struct options *options, bool missing_ok)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *one = NULL;
    if (topic != NULL) {
        one = rd_kafka_topic_new(handle, topic, NULL);
        if (one == NULL) {
            client_die(EXIT_USAGE, "not a topic name: %s", topic);
        }
    }
    int64_t deadline_ms = client_now_ms() + options->timeout_ms;
    rd_kafka_resp_err_t error;
    while ((error = rd_kafka_metadata(handle, one == NULL, one, &metadata, (int)options->timeout_ms)) ==
               RD_KAFKA_RESP_ERR_NO_ERROR &&
           metadata->topic_cnt == 1 && client_is_transient(metadata->topics[0].err) &&
           client_now_ms() < deadline_ms) {
        rd_kafka_metadata_destroy(metadata);
        client_pause_ms(20);
    }
    if (one != NULL) {
        rd_kafka_topic_destroy(one);
    }
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        client_die(EXIT_UNAVAILABLE, "no metadata from %s: %s", options->brokers, rd_kafka_err2str(error));
    }
    if (topic != NULL && !missing_ok && (metadata->topic_cnt != 1 || metadata->topics[0].err != 0)) {
        client_die(EXIT_DATA, "topic %s: %s", topic,
                   metadata->topic_cnt != 1 ? "not in the answer" : rd_kafka_err2str(metadata->topics[0].err));
    }
    return metadata;
}

bool client_is_transient(rd_kafka_resp_err_t error)
{
    switch (error) {
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
    case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
        return true;
    default:
        return false;
    }
}

/*
 * Reads one end of every partition: `which` is RD_KAFKA_OFFSET_BEGINNING or _END, which a ListOffsets request
 * takes in place of a time. rd_kafka_query_watermark_offsets() would be shorter, but sends a request for each
 * end and, in 2.0.2, forgets the error of one when the other succeeds: a topic then looks empty.
 */
static rd_kafka_resp_err_t read_ends(rd_kafka_t *handle, int64_t which, rd_kafka_topic_partition_list_t *list,
                                     const struct options *options)
{
    for (int i = 0; i < list->cnt; i++) {
        list->elems[i].offset = which;
        list->elems[i].err = RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(handle, list, (int)options->timeout_ms);
    for (int i = 0; error == RD_KAFKA_RESP_ERR_NO_ERROR && i < list->cnt; i++) {
        error = list->elems[i].err;
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[i].offset < 0) {
            error = RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE; /* left as it was: nobody answered for it */
        }
    }
    return error;
}

struct extent *client_extents(rd_kafka_t *handle, int count, const struct options *options)
{
    struct extent *extents = calloc((size_t)count, sizeof(*extents));
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
    if (extents == NULL) {
        client_die(EXIT_SOFTWARE, "out of memory");
    }
    rd_kafka_topic_partition_list_add_range(list, options->topic, 0, count - 1);
    int64_t deadline_ms = client_now_ms() + options->timeout_ms;
    for (int end = 0; end < 2; end++) {
        rd_kafka_resp_err_t error;
        while ((error = read_ends(handle, end == 0 ? RD_KAFKA_OFFSET_BEGINNING : RD_KAFKA_OFFSET_END, list,
                                  options)) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (!client_is_transient(error) || client_now_ms() >= deadline_ms) {
                client_die(EXIT_UNAVAILABLE, "offsets of %s: %s", options->topic, rd_kafka_err2str(error));
            }
            client_pause_ms(50);
        }
        for (int i = 0; i < count; i++) {
            *(end == 0 ? &extents[list->elems[i].partition].low : &extents[list->elems[i].partition].high) =
                list->elems[i].offset;
        }
    }
    rd_kafka_topic_partition_list_destroy(list);
    return extents;
}

int64_t client_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void client_pause_ms(int ms)
{
    poll(NULL, 0, ms);
}
