/* The Kafka part of `check`: brokers, topics, the group's rights; one line each of what is well or what to
 * do. */
#include "settings.h"

#include "range.h"
#include "signup/base/clock.h"
#include "signup/kafka/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct check {
    const struct kafka_config *config;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    int timeout_ms;
    void (*line)(void *ctx, bool well, const char *text);
    void *ctx;
    enum kafka_check_result worst;
    rd_kafka_resp_err_t complaint; /* the brokers' last, from error events */
    char complaint_text[256];
};

#define LINE_BYTES 640
#define SAY(check, result, ...)                                                                              \
    do {                                                                                                     \
        char text_[LINE_BYTES];                                                                              \
        snprintf(text_, sizeof text_, __VA_ARGS__);                                                          \
        say(check, result, text_);                                                                           \
    } while (0)

static void say(struct check *check, enum kafka_check_result result, const char *text)
{
    if (result > check->worst)
        check->worst = result;
    check->line(check->ctx, result == KAFKA_CHECK_OK, text);
}

static enum kafka_check_result result_of(rd_kafka_resp_err_t err)
{
    return kafka_settings_is_refusal(err) ? KAFKA_CHECK_REFUSED : KAFKA_CHECK_AWAY;
}

/* Keeps the most telling complaint: a refusal or a TLS error says more than that all brokers are down. */
static void collect_complaints(struct check *check)
{
    rd_kafka_event_t *event;
    while ((event = rd_kafka_queue_poll(check->queue, 0))) {
        rd_kafka_resp_err_t err = rd_kafka_event_error(event);
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR &&
            err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && !kafka_settings_is_refusal(check->complaint)) {
            check->complaint = err;
            snprintf(check->complaint_text, sizeof check->complaint_text, "%s",
                     rd_kafka_event_error_string(event));
        } else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG) {
            kafka_settings_log(event);
        }
        rd_kafka_event_destroy(event);
    }
}

static bool check_brokers(struct check *check)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t err = rd_kafka_metadata(check->rk, 0, NULL, &metadata, check->timeout_ms);
    collect_complaints(check);
    if (!err) {
        SAY(check, KAFKA_CHECK_OK, "Kafka: %d broker%s at %s", metadata->broker_cnt,
            metadata->broker_cnt == 1 ? "" : "s", check->config->brokers);
        rd_kafka_metadata_destroy(metadata);
        return true;
    }
    const char *why = check->complaint_text[0] ? check->complaint_text : rd_kafka_err2str(err);
    if (kafka_settings_is_refusal(check->complaint))
        SAY(check, KAFKA_CHECK_REFUSED, "Kafka: %s refuses us: %s. Check sasl.* in kafka.properties",
            check->config->brokers, why);
    else
        SAY(check, KAFKA_CHECK_AWAY,
            "Kafka: no broker answers at %s: %s. Check kafka.brokers, and that it runs",
            check->config->brokers, why);
    return false;
}

enum topic_use { TOPIC_SOURCE, TOPIC_DEAD_LETTERS, TOPIC_OUTCOMES };

static const struct {
    const char *what;
    const char *right;
} USES[] = {
    [TOPIC_SOURCE] = {"Topic", "read and describe"},
    [TOPIC_DEAD_LETTERS] = {"Dead-letter topic", "write and describe"},
    [TOPIC_OUTCOMES] = {"Outcomes topic", "write and describe"},
};

static void say_topic_trouble(struct check *check, const char *topic, rd_kafka_resp_err_t err,
                              enum topic_use use)
{
    const char *what = USES[use].what;
    switch (err) {
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        SAY(check, KAFKA_CHECK_AWAY,
            "%s %s does not exist. Create it: kafka-topics --bootstrap-server %s --create --topic %s "
            "--partitions 6",
            what, topic, check->config->brokers, topic);
        break;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        SAY(check, KAFKA_CHECK_REFUSED, "%s %s: not allowed. Give the worker's user the right to %s it", what,
            topic, USES[use].right);
        break;
    default:
        SAY(check, result_of(err), "%s %s: %s. Try again when the cluster is well", what, topic,
            rd_kafka_err2str(err));
        break;
    }
}

static int leaderless(const struct rd_kafka_metadata_topic *topic)
{
    int count = 0;
    for (int i = 0; i < topic->partition_cnt; i++)
        count += topic->partitions[i].leader < 0;
    return count;
}

/* ------------------------------------------------------------------ the right to write */

#define PROBE_HEADER "signup.check" /* for a broker that is no Apache Kafka and stores it after all */

static rd_kafka_resp_err_t wait_for_report(rd_kafka_queue_t *queue, mono_us_t until)
{
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;
    bool reported = false;
    while (!reported && !mono_reached(clock_mono_now(), until)) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 100);
        const rd_kafka_message_t *message =
            rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR ? rd_kafka_event_message_next(event) : NULL;
        if (message) {
            err = message->err;
            reported = true;
        } else if (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_LOG) {
            kafka_settings_log(event);
        }
        rd_kafka_event_destroy(event);
    }
    return err;
}

/* What a broker says to a record for this topic that it must refuse anyhow (settings.h, PROBE). */
static rd_kafka_resp_err_t ask_to_write(struct check *check, const char *topic)
{
    char error[512];
    rd_kafka_t *rk = kafka_settings_client(check->config, KAFKA_ROLE_PROBE,
                                           RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG,
                                           error, sizeof error);
    if (!rk)
        return RD_KAFKA_RESP_ERR__INVALID_ARG;
    rd_kafka_queue_t *queue = rd_kafka_queue_get_main(rk);
    rd_kafka_set_log_queue(rk, queue);
    rd_kafka_resp_err_t err = rd_kafka_producev(
        rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_HEADER(PROBE_HEADER, "true", -1), RD_KAFKA_V_END);
    if (!err)
        err = wait_for_report(queue, mono_add(clock_mono_now(), check->timeout_ms * US_PER_MS));
    rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(rk);
    return err;
}

static void check_write(struct check *check, const char *topic, int partitions, enum topic_use use)
{
    rd_kafka_resp_err_t err = ask_to_write(check, topic);
    switch (err) {
    case RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS:
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        SAY(check, KAFKA_CHECK_OK, "%s %s: %d partition%s, and may be written", USES[use].what, topic,
            partitions, partitions == 1 ? "" : "s");
        break;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        say_topic_trouble(check, topic, err, use);
        break;
    default:
        SAY(check, KAFKA_CHECK_AWAY,
            "%s %s: whether it may be written was not to be found out: %s. Try again", USES[use].what, topic,
            rd_kafka_err2str(err));
        break;
    }
}

/* ------------------------------------------------------------------ topics and the group */

/* Gives the number of partitions, 0 when the topic cannot be used. The consumer's handle never lets a broker
 * create a topic. */
static int check_topic(struct check *check, const char *name, enum topic_use use)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(check->rk, name, NULL);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t err =
        topic ? rd_kafka_metadata(check->rk, 0, topic, &metadata, check->timeout_ms) : rd_kafka_last_error();
    int partitions = 0;
    if (!err && metadata && metadata->topic_cnt == 1)
        err = metadata->topics[0].err;
    if (err || !metadata) {
        say_topic_trouble(check, name, err, use);
    } else {
        partitions = metadata->topics[0].partition_cnt;
        int headless = leaderless(&metadata->topics[0]);
        if (headless)
            SAY(check, KAFKA_CHECK_AWAY, "%s %s: %d of %d partitions have no leader. See to the brokers",
                USES[use].what, name, headless, partitions);
        else if (use == TOPIC_OUTCOMES)
            check_write(check, name, partitions, use);
        else
            SAY(check, KAFKA_CHECK_OK, "%s %s: %d partition%s", USES[use].what, name, partitions,
                partitions == 1 ? "" : "s");
    }
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
    if (topic)
        rd_kafka_topic_destroy(topic);
    return partitions;
}

/* Counts where the group stands; the offsets also show that the coordinator answers and lets us in. */
static void check_group(struct check *check, rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_resp_err_t err = rd_kafka_committed(check->rk, list, check->timeout_ms);
    int committed = 0;
    for (int i = 0; i < list->cnt && !err; i++) {
        err = list->elems[i].err;
        committed += list->elems[i].offset >= 0;
    }
    if (err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
        SAY(check, KAFKA_CHECK_REFUSED,
            "Group %s: not allowed. Give the worker's user the right to read this group",
            check->config->group);
    else if (err)
        SAY(check, result_of(err), "Group %s: %s", check->config->group, rd_kafka_err2str(err));
    else if (committed == 0)
        SAY(check, KAFKA_CHECK_OK, "Group %s: new, begins at the %s record (kafka.start)",
            check->config->group, check->config->start == KAFKA_START_EARLIEST ? "first" : "next");
    else
        SAY(check, KAFKA_CHECK_OK, "Group %s: has offsets for %d of %d partitions", check->config->group,
            committed, list->cnt);
}

/* A group whose offset has expired would stop there: say it before the worker does. */
static void check_ranges(struct check *check, const rd_kafka_topic_partition_list_t *list)
{
    mono_us_t until = mono_add(clock_mono_now(), check->timeout_ms * US_PER_MS);
    for (int i = 0; i < list->cnt && !mono_reached(clock_mono_now(), until); i++) {
        const rd_kafka_topic_partition_t *at = &list->elems[i];
        int64_t low = 0;
        int64_t high = 0;
        if (at->offset < 0 ||
            range_query(check->rk, at->topic, at->partition, &low, &high, check->timeout_ms))
            continue;
        if (at->offset < low || at->offset > high)
            SAY(check, KAFKA_CHECK_AWAY,
                "Topic %s [%" PRId32 "]: the group's offset %" PRId64 " is not on the broker (%" PRId64
                " to %" PRId64 "). Stop the workers, set it with kafka-consumer-groups --reset-offsets",
                at->topic, at->partition, at->offset, low, high);
    }
}

static void check_topics(struct check *check)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < check->config->topic_count; i++) {
        int partitions = check_topic(check, check->config->topics[i], TOPIC_SOURCE);
        for (int p = 0; p < partitions; p++)
            rd_kafka_topic_partition_list_add(list, check->config->topics[i], p);
    }
    if (check->config->dead_letter_topic)
        check_topic(check, check->config->dead_letter_topic, TOPIC_DEAD_LETTERS);
    if (check->config->outcomes_topic && *check->config->outcomes_topic)
        check_topic(check, check->config->outcomes_topic, TOPIC_OUTCOMES);
    if (list->cnt) {
        check_group(check, list);
        check_ranges(check, list);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

enum kafka_check_result kafka_check(const struct kafka_config *config, int64_t timeout_ms,
                                    void (*line)(void *ctx, bool well, const char *text), void *ctx)
{
    struct check check = {.config = config, .timeout_ms = (int)timeout_ms, .line = line, .ctx = ctx};
    char error[512];
    if (!kafka_config_check(config, error, sizeof error) ||
        !(check.rk = kafka_settings_client(config, KAFKA_ROLE_CONSUMER,
                                           RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG, error, sizeof error))) {
        SAY(&check, KAFKA_CHECK_CONFIG, "Kafka: %s", error);
        return check.worst;
    }
    check.queue = rd_kafka_queue_get_main(check.rk);
    rd_kafka_set_log_queue(check.rk, check.queue);
    if (check_brokers(&check))
        check_topics(&check);
    rd_kafka_queue_destroy(check.queue);
    rd_kafka_destroy_flags(check.rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return check.worst;
}
