/* The producer of `load`: copies records into the library's queue and counts what the broker acknowledges.
 * Blocks where it must wait. */
#include "settings.h"

#include "signup/base/clock.h"
#include "signup/kafka/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_MS 100 /* between two looks at the clock, and at the person who waits */

struct kafka_load {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    char *topic;
    struct kafka_load_counts counts;
    char error[256];
};

static void note(struct kafka_load *load, rd_kafka_resp_err_t err)
{
    load->counts.failed++;
    snprintf(load->error, sizeof load->error, "%s", rd_kafka_err2str(err));
}

static void handle(struct kafka_load *load, rd_kafka_event_t *event)
{
    const rd_kafka_message_t *message;
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_DR:
        while ((message = rd_kafka_event_message_next(event))) {
            if (message->err)
                note(load, message->err);
            else
                load->counts.delivered++;
        }
        break;
    case RD_KAFKA_EVENT_ERROR:
        snprintf(load->error, sizeof load->error, "%s", rd_kafka_event_error_string(event));
        break;
    default:
        kafka_settings_log(event);
        break;
    }
    rd_kafka_event_destroy(event);
}

/* Waits up to `timeout_ms` for the first event, then takes what is there. */
static void serve(struct kafka_load *load, int timeout_ms)
{
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(load->queue, timeout_ms))) {
        handle(load, event);
        timeout_ms = 0;
    }
}

static mono_us_t after_ms(int64_t timeout_ms)
{
    return mono_add(clock_mono_now(), timeout_ms * US_PER_MS);
}

static rd_kafka_resp_err_t ask_for_topic(struct kafka_load *load, int64_t timeout_ms)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(load->rk, load->topic, NULL);
    if (!topic)
        return rd_kafka_last_error();
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t err = rd_kafka_metadata(load->rk, 0, topic, &metadata, (int)timeout_ms);
    if (!err && metadata->topic_cnt == 1)
        err = metadata->topics[0].err;
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
    return err;
}

/* A topic that was created a moment ago may not be known yet. */
static bool find_topic(struct kafka_load *load, const struct kafka_config *config, int64_t timeout_ms,
                       char *error, size_t size)
{
    mono_us_t until = after_ms(timeout_ms);
    for (;;) {
        int64_t left_ms = (until.us - clock_mono_now().us) / US_PER_MS;
        rd_kafka_resp_err_t err = ask_for_topic(load, left_ms > 1 ? left_ms : 1);
        if (!err)
            return true;
        bool passing =
            err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || err == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
        serve(load, passing ? STEP_MS : 0);
        if (passing && !mono_reached(clock_mono_now(), until))
            continue;
        if (passing)
            snprintf(error, size, "topic %s does not exist at %s: create it", load->topic, config->brokers);
        else
            snprintf(error, size, "no Kafka broker answers at %s: %s", config->brokers,
                     load->error[0] ? load->error : rd_kafka_err2str(err));
        load->error[0] = '\0';
        return false;
    }
}

struct kafka_load *kafka_load_create(const struct kafka_config *config, const char *topic, int64_t timeout_ms,
                                     char *error, size_t error_size)
{
    struct kafka_load *load = calloc(1, sizeof *load);
    if (!load || !(load->topic = strdup(topic ? topic : config->topics[0]))) {
        free(load);
        snprintf(error, error_size, "kafka: out of memory");
        return NULL;
    }
    load->rk = kafka_settings_client(config, KAFKA_ROLE_PRODUCER,
                                     RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG, error,
                                     error_size);
    if (load->rk) {
        load->queue = rd_kafka_queue_get_main(load->rk);
        rd_kafka_set_log_queue(load->rk, load->queue);
        if (find_topic(load, config, timeout_ms, error, error_size))
            return load;
    }
    kafka_load_destroy(load);
    return NULL;
}

static rd_kafka_headers_t *copy_headers(const struct kafka_load_record *record)
{
    if (!record->header_count)
        return NULL;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(record->header_count);
    for (size_t i = 0; i < record->header_count; i++)
        rd_kafka_header_add(headers, record->headers[i].name.ptr, (ssize_t)record->headers[i].name.len,
                            record->headers[i].value.ptr, (ssize_t)record->headers[i].value.len);
    return headers;
}

static rd_kafka_resp_err_t produce(struct kafka_load *load, const struct kafka_load_record *record)
{
    rd_kafka_headers_t *headers = copy_headers(record);
    int64_t timestamp_ms = record->timestamp_ms < 0 ? 0 : record->timestamp_ms; /* 0: now */
    rd_kafka_resp_err_t err =
        headers ? rd_kafka_producev(
                      load->rk, RD_KAFKA_V_TOPIC(load->topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                      RD_KAFKA_V_KEY(record->key.ptr, record->key.len),
                      RD_KAFKA_V_VALUE((void *)record->value.ptr, record->value.len),
                      RD_KAFKA_V_TIMESTAMP(timestamp_ms), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END)
                : rd_kafka_producev(load->rk, RD_KAFKA_V_TOPIC(load->topic),
                                    RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                    RD_KAFKA_V_KEY(record->key.ptr, record->key.len),
                                    RD_KAFKA_V_VALUE((void *)record->value.ptr, record->value.len),
                                    RD_KAFKA_V_TIMESTAMP(timestamp_ms), RD_KAFKA_V_END);
    if (err && headers)
        rd_kafka_headers_destroy(headers);
    return err;
}

bool kafka_load_push(struct kafka_load *load, const struct kafka_load_record *record, int64_t timeout_ms)
{
    mono_us_t until = after_ms(timeout_ms);
    rd_kafka_resp_err_t err;
    while ((err = produce(load, record)) == RD_KAFKA_RESP_ERR__QUEUE_FULL &&
           !mono_reached(clock_mono_now(), until))
        serve(load, STEP_MS);
    if (err) {
        note(load, err);
        return false;
    }
    load->counts.enqueued++;
    return true;
}

void kafka_load_poll(struct kafka_load *load)
{
    serve(load, 0);
}

bool kafka_load_flush(struct kafka_load *load, int64_t timeout_ms,
                      void (*progress)(void *ctx, const struct kafka_load_counts *counts), void *ctx)
{
    mono_us_t until = after_ms(timeout_ms);
    mono_us_t shown = {0};
    while (rd_kafka_outq_len(load->rk) > 0 && !mono_reached(clock_mono_now(), until)) {
        serve(load, STEP_MS);
        if (progress && mono_reached(clock_mono_now(), mono_add(shown, STEP_MS * US_PER_MS))) {
            shown = clock_mono_now();
            progress(ctx, &load->counts);
        }
    }
    serve(load, 0);
    if (progress)
        progress(ctx, &load->counts);
    return load->counts.delivered == load->counts.enqueued;
}

void kafka_load_counts(const struct kafka_load *load, struct kafka_load_counts *out)
{
    *out = load->counts;
}

const char *kafka_load_error(const struct kafka_load *load)
{
    return load->error;
}

void kafka_load_destroy(struct kafka_load *load)
{
    if (load->queue)
        rd_kafka_queue_destroy(load->queue);
    if (load->rk) {
        rd_kafka_purge(load->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        rd_kafka_destroy(load->rk);
    }
    free(load->topic);
    free(load);
}
