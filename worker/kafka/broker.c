/* The brokers' health as people see it: who is away, which topic is missing, which partition cannot be
 * consumed, and the state of it all. */
#include "consumer.h"

#include "range.h"
#include "signup/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBE_TIMEOUT_MS 1000
#define RANGE_TIMEOUT_MS 3000
#define RESET_TRIES 5
/* An error that the network made heals at the next fetch, in less than this; while it does not, the library
 * reports it at each one. */
#define STUCK_US (5 * US_PER_S)
#define TROUBLE_US (30 * US_PER_S)

/* ------------------------------------------------------------------ state */

bool source_is_stuck(const struct slot *slot, mono_us_t now)
{
    return slot->state == SLOT_ACTIVE && slot->trouble_since.us &&
           mono_reached(now, mono_add(slot->trouble_since, STUCK_US));
}

static const struct slot *first_blocked(const struct kafka_source *source)
{
    mono_us_t now = clock_mono_now();
    for (size_t i = 0; i < source->table.slot_count; i++) {
        const struct slot *slot = source->table.slots[i];
        if (slot->state == SLOT_BLOCKED || source_is_stuck(slot, now))
            return slot;
    }
    return NULL;
}

static enum kafka_source_state state_now(const struct kafka_source *source)
{
    if (source->fatal)
        return KAFKA_SOURCE_FATAL;
    if (source->away)
        return KAFKA_SOURCE_AWAY;
    if (!source->joined) {
        mono_us_t stuck = mono_add(source->unjoined_since, KAFKA_SOURCE_STUCK_S * US_PER_S);
        return mono_reached(clock_mono_now(), stuck) && !source->waiting_for[0] ? KAFKA_SOURCE_STUCK
                                                                                : KAFKA_SOURCE_CONNECTING;
    }
    return first_blocked(source) ? KAFKA_SOURCE_BLOCKED : KAFKA_SOURCE_JOINED;
}

static void explain(const struct kafka_source *source, enum kafka_source_state state, char *why, size_t size)
{
    const struct slot *blocked;
    switch (state) {
    case KAFKA_SOURCE_CONNECTING:
        snprintf(why, size, "%s",
                 source->waiting_for[0] ? source->waiting_for : "waits for the group's assignment");
        break;
    case KAFKA_SOURCE_JOINED:
        snprintf(why, size, "%s", source->waiting_for);
        break;
    case KAFKA_SOURCE_BLOCKED:
        blocked = first_blocked(source);
        snprintf(why, size, "%s", blocked ? blocked->why : "");
        break;
    case KAFKA_SOURCE_AWAY:
        snprintf(why, size, "no Kafka broker answers at %.120s: %.200s", source->config->brokers,
                 source->trouble);
        break;
    case KAFKA_SOURCE_STUCK:
        snprintf(why, size,
                 "brokers answer, but the group has given no assignment for %d s; a restart may help",
                 KAFKA_SOURCE_STUCK_S);
        break;
    case KAFKA_SOURCE_FATAL:
        snprintf(why, size, "%s", source->fatal_why);
        break;
    }
}

void source_refresh_state(struct kafka_source *source)
{
    if (source->closing)
        return;
    char why[CONSUMER_WHY_BYTES];
    enum kafka_source_state state = state_now(source);
    explain(source, state, why, sizeof why);
    if (state == source->state && strcmp(why, source->why) == 0)
        return;
    if (state == KAFKA_SOURCE_STUCK && source->state != state)
        LOG_AT(LOG_ERROR, "kafka", why, LOG_STR("group", source->config->group));
    source->state = state;
    memcpy(source->why, why, sizeof why);
    source->callbacks.on_state(source->callbacks.ctx, state, source->why);
}

void source_set_fatal(struct kafka_source *source, const char *reason)
{
    if (source->fatal)
        return;
    source->fatal = true;
    snprintf(source->fatal_why, sizeof source->fatal_why, "the consumer has failed for good: %.300s", reason);
    LOG_AT(LOG_ERROR, "kafka", "the consumer has failed for good: the process must be started anew",
           LOG_STR("reason", reason));
    source_lose_everything(source);
}

/* ------------------------------------------------------------------ is anybody there */

struct probe_job {
    struct aide_job job;
    struct kafka_source *source;
    rd_kafka_t *rk;
    rd_kafka_resp_err_t err;
};

static void probe_drop(struct aide_job *job)
{
    free(job);
}

static void probe_run(struct aide_job *job)
{
    struct probe_job *probe = (struct probe_job *)job;
    const struct rd_kafka_metadata *metadata = NULL;
    probe->err = rd_kafka_metadata(probe->rk, 0, NULL, &metadata, PROBE_TIMEOUT_MS);
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
}

static void tell_away(struct kafka_source *source)
{
    source->away = true;
    source->away_since = clock_mono_now();
    if (!source->trouble[0])
        snprintf(source->trouble, sizeof source->trouble, "no answer");
    LOG_AT(LOG_WARN, "kafka",
           "Kafka is away: nothing is consumed or committed meanwhile, nothing is lost; asked again every "
           "second",
           LOG_STR("brokers", source->config->brokers), LOG_STR("error", source->trouble));
}

static void tell_back(struct kafka_source *source)
{
    source->away = false;
    source->trouble[0] = '\0';
    if (!source->joined)
        source->unjoined_since = clock_mono_now();
    LOG_AT(LOG_INFO, "kafka", "Kafka is back", LOG_STR("brokers", source->config->brokers),
           LOG_NUM("away_ms", (clock_mono_now().us - source->away_since.us) / US_PER_MS));
}

static void probe_done(struct aide_job *job)
{
    struct probe_job *probe = (struct probe_job *)job;
    struct kafka_source *source = probe->source;
    source->probing = false;
    if (!source->closing) {
        if (probe->err && !source->away)
            tell_away(source);
        else if (!probe->err && source->away)
            tell_back(source);
        source_refresh_state(source);
    }
    free(probe);
    source_close_continue(source);
}

void source_suspect(struct kafka_source *source)
{
    if (source->probing || source->closing)
        return;
    struct probe_job *probe = table_alloc(sizeof *probe);
    probe->job = (struct aide_job){probe_run, probe_done, probe_drop, NULL};
    probe->source = source;
    probe->rk = source->rk;
    source->probing = true;
    aide_submit(source->inquiry, &probe->job);
}

/* ------------------------------------------------------------------ an offset that is not on the broker */

struct range_job {
    struct aide_job job;
    struct kafka_source *source;
    rd_kafka_t *rk;
    int32_t partition;
    uint64_t epoch;
    char *name; /* a copy: the source may be gone when an abandoned thread comes back */
    int64_t low;
    int64_t high;
    rd_kafka_resp_err_t err;
};

static void range_drop(struct aide_job *job)
{
    free(((struct range_job *)job)->name);
    free(job);
}

static void range_run(struct aide_job *job)
{
    struct range_job *range = (struct range_job *)job;
    range->err =
        range_query(range->rk, range->name, range->partition, &range->low, &range->high, RANGE_TIMEOUT_MS);
}

static void tell_blocked(struct slot *slot, const struct range_job *range)
{
    const char *what = range->err ? "cannot be compared with the broker's"
                       : slot->position < range->low
                           ? "has expired on the broker: the records up to its first one are gone"
                           : "lies past the end of the partition: the topic was truncated or made anew";
    snprintf(slot->why, sizeof slot->why,
             "%.80s [%d] is not consumed: the group's offset %lld %s (%lld to %lld)", slot->topic->name,
             (int)slot->partition, (long long)slot->position, what, (long long)range->low,
             (long long)range->high);
    LOG_AT(LOG_ERROR, "kafka",
           "a partition is not consumed, the others go on. Decide what is right, stop all workers of the "
           "group, set the group's "
           "offset (kafka-consumer-groups --reset-offsets), start them again",
           LOG_STR("topic", slot->topic->name), LOG_NUM("partition", slot->partition),
           LOG_NUM("offset", slot->position), LOG_STR("why", what), LOG_NUM("low", range->low),
           LOG_NUM("high", range->high),
           LOG_NUM("records_gone", slot->position < range->low ? range->low - slot->position : 0));
}

static void range_done(struct aide_job *job)
{
    struct range_job *range = (struct range_job *)job;
    struct kafka_source *source = range->source;
    struct slot *slot = table_find(&source->table, range->name, range->partition);
    if (!source->closing && slot && slot->state == SLOT_BLOCKED && slot->epoch == range->epoch) {
        bool there = !range->err && slot->position >= range->low && slot->position <= range->high;
        /* A leader that was not up to date yet: go on where we were. */
        if (there && !source->cooperative && ++slot->reset_tries <= RESET_TRIES) {
            slot->state = SLOT_ACTIVE;
            source_reassign(source);
        } else {
            tell_blocked(slot, range);
        }
        source_refresh_state(source);
    }
    range_drop(job);
    source_close_continue(source);
}

/* The library has stopped fetching it. It stays ours, so that nobody else jumps over the gap either. */
static void block(struct kafka_source *source, struct slot *slot)
{
    if (slot->state != SLOT_ACTIVE)
        return;
    slot->state = SLOT_BLOCKED;
    snprintf(slot->why, sizeof slot->why, "%.80s [%d] is not consumed: offset %lld is not on the broker",
             slot->topic->name, (int)slot->partition, (long long)slot->position);
    struct range_job *range = table_alloc(sizeof *range);
    range->job = (struct aide_job){range_run, range_done, range_drop, NULL};
    range->source = source;
    range->rk = source->rk;
    range->partition = slot->partition;
    range->epoch = slot->epoch;
    range->name = table_alloc(slot->topic->name_len + 1);
    memcpy(range->name, slot->topic->name, slot->topic->name_len);
    range->low = range->high = -1;
    aide_submit(source->inquiry, &range->job);
}

/* ------------------------------------------------------------------ errors */

/* The topic is gone, or a broker that has just started does not know it yet: said once for the topic, or over
 * in a moment. */
static bool is_unknown(rd_kafka_resp_err_t err)
{
    return err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
           err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

static void tell_partition(struct slot *slot, rd_kafka_resp_err_t err, const char *text)
{
    bool refused = err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    mono_us_t now = clock_mono_now();
    bool known = slot->trouble_since.us != 0;
    if (!known)
        slot->trouble_since = now;
    /* A refusal is reported once only: a record of the partition ends it. */
    slot->trouble_until = refused ? MONO_NEVER : mono_add(now, TROUBLE_US);
    snprintf(slot->why, sizeof slot->why, "%.80s [%d] cannot be read at offset %lld: %.120s",
             slot->topic->name, (int)slot->partition, (long long)slot->position, text);
    if (known)
        return; /* said already */
    LOG_AT(is_unknown(err) ? LOG_DEBUG : LOG_ERROR, "kafka",
           is_unknown(err) ? "a partition is not known to the brokers"
           : refused
               ? "the broker does not let us read a partition; the others go on: give the worker the right to"
               : "a partition cannot be read and is tried again and again; the others go on. If it does not "
                 "heal "
                 "by itself, stop all workers of the group and set its offset past the broken batch "
                 "(kafka-consumer-groups --reset-offsets)",
           LOG_STR("topic", slot->topic->name), LOG_NUM("partition", slot->partition),
           LOG_NUM("offset", slot->position), LOG_STR("error", rd_kafka_err2name(err)),
           LOG_STR("text", text));
}

static void handle_partition_error(struct kafka_source *source, const rd_kafka_topic_partition_t *partition,
                                   rd_kafka_resp_err_t err, const char *text)
{
    struct slot *slot = table_find(&source->table, partition->topic, partition->partition);
    if (!slot || (slot->state != SLOT_ACTIVE && slot->state != SLOT_BLOCKED))
        return;
    if (err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
        block(source, slot);
    else
        tell_partition(slot, err, text);
}

/* The library names the topic in its text only. */
static void handle_topic_error(struct kafka_source *source, rd_kafka_resp_err_t err, const char *text)
{
    char why[CONSUMER_WHY_BYTES];
    bool refused = err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    for (size_t i = 0; i < source->config->topic_count; i++) {
        const char *topic = source->config->topics[i];
        char named[300];
        snprintf(named, sizeof named, ": %.249s:", topic);
        if (!strstr(text, named))
            continue;
        if (!refused)
            table_topic_gone(&source->table, topic);
        snprintf(why, sizeof why, refused ? "may not read topic %.200s" : "topic %.200s does not exist yet",
                 topic);
        if (strcmp(why, source->waiting_for) == 0)
            return;
        memcpy(source->waiting_for, why, sizeof why);
        LOG_AT(LOG_WARN, "kafka",
               refused ? "the broker does not let us read a topic: give the worker the right to; tried again "
                         "every few seconds"
                       : "a topic does not exist: create it; the worker waits and picks it up within seconds",
               LOG_STR("topic", topic));
        return;
    }
}

/* Trouble that is not reported any more is over, also where no record has come since. */
void source_forget_trouble(struct kafka_source *source)
{
    mono_us_t now = clock_mono_now();
    for (size_t i = 0; i < source->table.slot_count; i++) {
        struct slot *slot = source->table.slots[i];
        if (slot->state != SLOT_ACTIVE || !slot->trouble_since.us || !mono_reached(now, slot->trouble_until))
            continue;
        slot->trouble_since = (mono_us_t){0};
        slot->why[0] = '\0';
    }
}

void source_topic_seen(struct kafka_source *source, const char *topic)
{
    if (!source->waiting_for[0] || !strstr(source->waiting_for, topic))
        return;
    source->waiting_for[0] = '\0';
    LOG_AT(LOG_INFO, "kafka", "the topic is there now", LOG_STR("topic", topic));
}

static void handle_group_error(struct kafka_source *source)
{
    static const char TEXT[] =
        "the broker does not let us join the group: give the worker the right to read the group";
    if (strcmp(source->waiting_for, TEXT) == 0)
        return;
    memcpy(source->waiting_for, TEXT, sizeof TEXT);
    LOG_AT(LOG_ERROR, "kafka", TEXT, LOG_STR("group", source->config->group));
}

/* One broker's trouble; whether it matters is asked of the others. */
static void handle_broker_error(struct kafka_source *source, rd_kafka_resp_err_t err, const char *text)
{
    if (err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
        snprintf(source->trouble, sizeof source->trouble, "%.300s", text);
    LOG_AT(LOG_DEBUG, "kafka", "a broker has trouble", LOG_STR("text", text));
    source_suspect(source);
}

static void handle_general_error(struct kafka_source *source, rd_kafka_resp_err_t err, const char *text)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        handle_topic_error(source, err, text);
        break;
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        handle_group_error(source);
        break;
    case RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED:
        LOG_AT(
            LOG_WARN, "kafka",
            "the loop was held up longer than max.poll.interval.ms: the group has given our partitions away");
        break;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
        handle_broker_error(source, err, text);
        break;
    default:
        LOG_AT(LOG_WARN, "kafka", "the library reports an error", LOG_STR("error", rd_kafka_err2name(err)),
               LOG_STR("text", text));
        break;
    }
}

void source_handle_error(struct kafka_source *source, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t err = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);
    source->counters.errors++;
    if (rd_kafka_event_error_is_fatal(event) || err == RD_KAFKA_RESP_ERR__FATAL ||
        err == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID) {
        source_set_fatal(source, text);
        return;
    }
    rd_kafka_topic_partition_t *partition = rd_kafka_event_topic_partition(event);
    if (!partition) {
        handle_general_error(source, err, text);
        return;
    }
    if (partition->partition < 0)
        handle_general_error(source, err, text);
    else
        handle_partition_error(source, partition, err, text);
    rd_kafka_topic_partition_destroy(partition);
}
