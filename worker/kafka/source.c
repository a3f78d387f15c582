/* The source: one consumer on the loop. Records come out of take(); everything else the library says is
 * handled in turns of the loop.
 *
 * What holds here:
 * S1 the loop's thread makes no call of librdkafka that waits for a broker, for a broker's thread or for a
 *    name server: assign, pause, resume,
 *    committed, watermarks, close and destroy run on the aides; queue_poll is called with a timeout of 0.
 * S2 a record is given at most once an assignment: `slot.position` moves when it leaves the library, and what
 *    lies below it is dropped.
 *    2.0.2 delivers again after pause (it restarts at the last record it handed out) and after resuming what
 *    was not paused.
 * S3 a record that left the library while its partition was paused is kept in the slot's stash and given
 *    after resume, before newer ones.
 * S4 events that change the assignment never reach the pipeline inside take(): they are deferred, and take()
 *    gives nothing until they are done.
 * S5 the queue is polled at least once a second, whatever the pipeline does, so the group never thinks us
 *    dead. */
#include "consumer.h"

#include "signup/base/crash.h"
#include "signup/base/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADERS_MAX 1000
#define PUMP_RECORDS 64 /* kept at a wake-up so that a rebalance behind them is seen */
#define PUMP_BUSY_RECORDS 4096

/* ------------------------------------------------------------------ deferred events */

static void turn(uv_idle_t *idle);

void source_want_turn(struct kafka_source *source)
{
    if (!source->closing)
        uv_idle_start(&source->turn, turn);
}

void source_defer(struct kafka_source *source, rd_kafka_event_t *event)
{
    struct deferred *deferred = table_alloc(sizeof *deferred);
    deferred->event = event;
    deferred->lost =
        rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE && rd_kafka_assignment_lost(source->rk);
    if (source->deferred_last)
        source->deferred_last->next = deferred;
    else
        source->deferred_first = deferred;
    source->deferred_last = deferred;
    source_want_turn(source);
}

static struct deferred *defer_take(struct kafka_source *source)
{
    struct deferred *deferred = source->deferred_first;
    if (deferred && !(source->deferred_first = deferred->next))
        source->deferred_last = NULL;
    return deferred;
}

static void handle_event(struct kafka_source *source, const struct deferred *deferred)
{
    switch (rd_kafka_event_type(deferred->event)) {
    case RD_KAFKA_EVENT_REBALANCE:
        source_handle_rebalance(source, deferred);
        break;
    case RD_KAFKA_EVENT_ERROR:
        source_handle_error(source, deferred->event);
        break;
    default:
        break; /* nothing else was asked for */
    }
}

static void turn(uv_idle_t *idle)
{
    struct kafka_source *source = idle->data;
    uv_idle_stop(idle);
    source_commits_turn(source);
    struct deferred *deferred;
    while (!source->closing && (deferred = defer_take(source))) {
        handle_event(source, deferred);
        rd_kafka_event_destroy(deferred->event);
        free(deferred);
    }
    if (source->closing)
        return;
    if (source->pauses_dirty)
        source_sync_pauses(source);
    source_refresh_state(source);
    source->callbacks.poke(source->callbacks.ctx);
}

/* ------------------------------------------------------------------ records */

/* The slot that the record belongs to, its position moved; NULL: the record is of no use. */
static struct slot *admit(struct kafka_source *source, const rd_kafka_message_t *message)
{
    if (message->err) {
        /* partition.eof is off, errors come as events: nothing says what this would be */
        source->counters.errors++;
        return NULL;
    }
    struct slot *slot = table_find(&source->table, rd_kafka_topic_name(message->rkt), message->partition);
    if (!slot || slot->state != SLOT_ACTIVE) {
        source->counters.stale++;
        return NULL;
    }
    if (message->offset < slot->position) {
        source->counters.repeated++;
        return NULL;
    }
    slot->position = message->offset + 1;
    slot->reset_tries = 0;
    slot->why[0] = '\0';
    slot->trouble_since = (mono_us_t){0};
    return slot;
}

/* The next record from the library, or NULL: none, or something else must be handled first. */
static struct slot *poll_record(struct kafka_source *source, rd_kafka_event_t **event,
                                const rd_kafka_message_t **message)
{
    while (!source->deferred_first && (*event = rd_kafka_queue_poll(source->queue, 0))) {
        switch (rd_kafka_event_type(*event)) {
        case RD_KAFKA_EVENT_FETCH: {
            *message = rd_kafka_event_message_next(*event);
            struct slot *slot = *message ? admit(source, *message) : NULL;
            if (slot)
                return slot;
            rd_kafka_event_destroy(*event);
            break;
        }
        case RD_KAFKA_EVENT_LOG:
            kafka_settings_log(*event);
            rd_kafka_event_destroy(*event);
            break;
        default:
            source_defer(source, *event);
            return NULL;
        }
    }
    return NULL;
}

/* Moves up to `max` records from the library to the stash: whatever else lies between or behind them is seen.
 * */
static void pump(struct kafka_source *source, size_t max)
{
    rd_kafka_event_t *event;
    const rd_kafka_message_t *message;
    while (max-- && source->table.stash_bytes < CONSUMER_STASH_BYTES) {
        struct slot *slot = poll_record(source, &event, &message);
        if (!slot)
            return;
        table_stash(&source->table, slot, event, message);
    }
}

static void fill_headers(struct kafka_source *source, const rd_kafka_message_t *message, struct record *out)
{
    rd_kafka_headers_t *headers;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return; /* it has none */
    size_t count = rd_kafka_header_cnt(headers);
    if (count > HEADERS_MAX)
        count = HEADERS_MAX;
    if (count > source->header_room) {
        free(source->headers);
        source->headers = table_alloc(count * sizeof *source->headers);
        source->header_room = count;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = NULL;
        const void *value = NULL;
        size_t size = 0;
        if (rd_kafka_header_get_all(headers, i, &name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR)
            break;
        source->headers[out->header_count++] =
            (struct record_header){slice_from_str(name), {value, value ? size : 0}};
    }
    out->headers = source->headers;
}

static void fill_record(struct kafka_source *source, const struct slot *slot,
                        const rd_kafka_message_t *message, struct record *out)
{
    rd_kafka_timestamp_type_t type;
    int64_t timestamp_ms = rd_kafka_message_timestamp(message, &type);
    *out = (struct record){
        .topic = {slot->topic->name, slot->topic->name_len},
        .partition = slot->partition,
        .offset = message->offset,
        .timestamp_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || timestamp_ms < 0 ? -1 : timestamp_ms,
        .key = {message->key, message->key ? message->key_len : 0},
        .value = {message->payload, message->payload ? message->len : 0},
        .epoch = slot->epoch,
    };
    fill_headers(source, message, out);
    source->counters.records++;
}

static bool source_take(void *ctx, struct record *out)
{
    struct kafka_source *source = ctx;
    if (source->current) {
        rd_kafka_event_destroy(source->current);
        source->current = NULL;
    }
    if (source->closing || source->deferred_first)
        return false;
    struct slot *slot;
    rd_kafka_event_t *event;
    const rd_kafka_message_t *message;
    if (!table_unstash(&source->table, &slot, &event, &message)) {
        while ((slot = poll_record(source, &event, &message)) && slot->want_paused) {
            table_stash(&source->table, slot, event, message);
            if (source->table.stash_bytes >= CONSUMER_STASH_BYTES)
                /* the pause is on its way to the library; what lies in its queue can wait there */
                return false;
        }
        if (!slot)
            return false;
    }
    source->current = event;
    fill_record(source, slot, message, out);
    CRASH_POINT(AFTER_FETCH);
    return true;
}

static void source_pause(void *ctx, const struct partition *partition, bool paused)
{
    struct kafka_source *source = ctx;
    struct slot *slot = table_current(&source->table, partition);
    if (source->closing || !slot || slot->want_paused == paused)
        return;
    slot->want_paused = paused;
    source->pauses_dirty = true;
    source_want_turn(source);
}

static enum port_status port_commit(void *ctx, struct commit_op *op)
{
    return source_commit(ctx, op);
}

static void port_revoke_done(void *ctx)
{
    source_revoke_done(ctx);
}

const struct source_port *kafka_source_port(void)
{
    static const struct source_port PORT = {source_take, source_pause, port_commit, port_revoke_done};
    return &PORT;
}

/* ------------------------------------------------------------------ wake-ups */

static void ready(void *owner)
{
    struct kafka_source *source = owner;
    if (source->closing)
        return;
    source_commits_poll(source);
    if (source->closing)
        return;
    pump(source, PUMP_RECORDS);
    source->callbacks.poke(source->callbacks.ctx);
}

static void tick(uv_timer_t *timer)
{
    struct kafka_source *source = timer->data;
    source_commits_poll(source);
    if (source->closing)
        return;
    pump(source, PUMP_BUSY_RECORDS);
    source_resolve(source);
    source_forget_trouble(source);
    if (source->away)
        source_suspect(source);
    source_refresh_state(source);
    if (source->closing)
        return;
    source->callbacks.poke(source->callbacks.ctx);
}

/* ------------------------------------------------------------------ beginning */

static bool subscribe(struct kafka_source *source, char *error, size_t size)
{
    rd_kafka_topic_partition_list_t *topics =
        rd_kafka_topic_partition_list_new((int)source->config->topic_count);
    for (size_t i = 0; i < source->config->topic_count; i++)
        rd_kafka_topic_partition_list_add(topics, source->config->topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t err = rd_kafka_subscribe(source->rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (err)
        snprintf(error, size, "kafka: cannot subscribe: %s", rd_kafka_err2str(err));
    return !err;
}

static void init_handles(struct kafka_source *source)
{
    uv_timer_init(source->loop, &source->tick);
    uv_idle_init(source->loop, &source->turn);
    uv_timer_init(source->loop, &source->deadline);
    source->tick.data = source;
    source->turn.data = source;
    source->deadline.data = source;
}

/* Everything that takes no handle of the loop, so that a failure is undone by freeing. */
static bool init_client(struct kafka_source *source, char *error, size_t size)
{
    source->rk = kafka_settings_client(source->config, KAFKA_ROLE_CONSUMER,
                                       RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG,
                                       error, size);
    if (!source->rk)
        return false;
    rd_kafka_poll_set_consumer(source->rk);
    source->queue = rd_kafka_queue_get_consumer(source->rk);
    rd_kafka_set_log_queue(source->rk, source->queue);
    return source_commits_init(source) && subscribe(source, error, size);
}

static void free_client(struct kafka_source *source)
{
    if (source->commits.queue)
        rd_kafka_queue_destroy(source->commits.queue);
    if (source->queue)
        rd_kafka_queue_destroy(source->queue);
    if (source->rk)
        rd_kafka_destroy_flags(source->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

static void free_memory(struct kafka_source *source)
{
    table_fini(&source->table);
    kafka_settings_free(source->config);
    free(source->headers);
    free(source);
}

static void ignore_closed(void *owner)
{
    (void)owner;
}

struct kafka_source *kafka_source_create(struct uv_loop_s *loop, const struct kafka_config *config,
                                         const struct kafka_source_callbacks *callbacks, char *error,
                                         size_t error_size)
{
    struct kafka_source *source = calloc(1, sizeof *source);
    if (!source || !(source->config = kafka_settings_copy(config))) {
        free(source);
        snprintf(error, error_size, "kafka: out of memory");
        return NULL;
    }
    source->loop = loop;
    source->callbacks = *callbacks;
    source->cooperative = kafka_settings_cooperative(config);
    source->unjoined_since = clock_mono_now();
    source->control = aide_create(loop);
    source->inquiry = source->control ? aide_create(loop) : NULL;
    if (!source->inquiry)
        snprintf(error, error_size, "kafka: no thread to be had");
    if (!source->inquiry || !init_client(source, error, error_size) ||
        !wake_init(&source->wake, loop, ready, source)) {
        free_client(source);
        if (source->control)
            aide_close(source->control, ignore_closed, NULL);
        if (source->inquiry)
            aide_close(source->inquiry, ignore_closed, NULL);
        free_memory(source);
        return NULL;
    }
    init_handles(source);
    wake_watch(&source->wake, source->queue);
    wake_watch(&source->wake, source->commits.queue);
    uv_timer_start(&source->tick, tick, CONSUMER_TICK_MS, CONSUMER_TICK_MS);
    return source;
}

/* ------------------------------------------------------------------ end */

static void last_handle(struct kafka_source *source)
{
    if (--source->handles)
        return;
    void (*closed)(void *owner, bool clean) = source->closed;
    void *owner = source->closed_owner;
    bool clean = !source->abandoned;
    free_memory(source);
    closed(owner, clean);
}

static void handle_closed(uv_handle_t *handle)
{
    last_handle(handle->data);
}

static void part_closed(void *owner)
{
    last_handle(owner);
}

static void close_handles(struct kafka_source *source)
{
    source->handles = 6;
    uv_close((uv_handle_t *)&source->tick, handle_closed);
    uv_close((uv_handle_t *)&source->turn, handle_closed);
    uv_close((uv_handle_t *)&source->deadline, handle_closed);
    wake_close(&source->wake, source->abandoned, part_closed);
    if (source->abandoned) {
        aide_abandon(source->control, part_closed, source);
        aide_abandon(source->inquiry, part_closed, source);
    } else {
        aide_close(source->control, part_closed, source);
        aide_close(source->inquiry, part_closed, source);
    }
}

static void client_closed(struct kafka_source *source)
{
    uv_timer_stop(&source->deadline);
    close_handles(source);
}

static void deadline_passed(uv_timer_t *timer)
{
    struct kafka_source *source = timer->data;
    LOG_AT_PLAIN(LOG_WARN, "kafka",
                 "the consumer could not be closed in time and is left behind; the group notices by itself");
    source->abandoned = true;
    close_handles(source);
}

/* The handle is destroyed on the control thread, and only once nobody on the other one uses it. */
void source_close_continue(struct kafka_source *source)
{
    if (!source->closing || !source->close_ready || source->close_sent || !aide_idle(source->inquiry))
        return;
    source->close_sent = true;
    source_submit_close(source, client_closed);
}

/* A turn after kafka_source_close(): nothing of the library's is in anybody's hands any more. */
static void close_begin(uv_idle_t *idle)
{
    struct kafka_source *source = idle->data;
    uv_idle_stop(idle);
    rd_kafka_queue_io_event_enable(source->queue, -1, NULL, 0);
    rd_kafka_queue_io_event_enable(source->commits.queue, -1, NULL, 0);
    source_commits_close(source);
    if (source->current)
        rd_kafka_event_destroy(source->current);
    source->current = NULL;
    struct deferred *deferred;
    while ((deferred = defer_take(source))) {
        rd_kafka_event_destroy(deferred->event);
        free(deferred);
    }
    for (size_t i = 0; i < source->table.slot_count; i++)
        table_drop_stash(&source->table, source->table.slots[i]);
    source->close_ready = true;
    source_close_continue(source);
}

void kafka_source_close(struct kafka_source *source, int64_t deadline_ms,
                        void (*closed)(void *owner, bool clean), void *owner)
{
    assert(!source->closing);
    source->closing = true;
    source->closed = closed;
    source->closed_owner = owner;
    uv_timer_stop(&source->tick);
    uv_idle_stop(&source->turn); /* a running one would keep its old callback */
    uv_idle_start(&source->turn, close_begin);
    uv_timer_start(&source->deadline, deadline_passed, deadline_ms > 0 ? (uint64_t)deadline_ms : 0, 0);
}

/* ------------------------------------------------------------------ status */

void kafka_source_status(const struct kafka_source *source, struct kafka_source_status *out)
{
    const struct table *table = &source->table;
    size_t blocked = 0;
    mono_us_t now = clock_mono_now();
    for (size_t i = 0; i < table->slot_count; i++)
        blocked += table->slots[i]->state == SLOT_BLOCKED || source_is_stuck(table->slots[i], now);
    *out = (struct kafka_source_status){
        .state = source->state,
        .why = source->why,
        .joined = source->joined,
        .assigned = table->slot_count - table_count(table, SLOT_FREE),
        .blocked = blocked,
        .stash_bytes = table->stash_bytes,
        .counters = source->counters,
    };
}

static void partition_status(const struct kafka_source *source, const struct slot *slot,
                             struct kafka_partition_status *out)
{
    int64_t low = -1;
    int64_t high = -1;
    bool known = slot->state == SLOT_ACTIVE || slot->state == SLOT_BLOCKED;
    /* From the library's memory of the last fetch: no network. */
    if (!source->closing && rd_kafka_get_watermark_offsets(source->rk, slot->topic->name, slot->partition,
                                                           &low, &high) != RD_KAFKA_RESP_ERR_NO_ERROR)
        low = high = -1;
    int64_t position = !known ? -1 : slot->stash_first ? slot->stash_first->message->offset : slot->position;
    *out = (struct kafka_partition_status){
        .partition = table_partition(slot),
        .position = position,
        .low = low < 0 ? -1 : low,
        .high = high < 0 ? -1 : high,
        .lag = high < 0 || position < 0 ? -1
               : high > position        ? high - position
                                        : 0,
        .paused = slot->want_paused,
        .blocked = slot->state == SLOT_BLOCKED || source_is_stuck(slot, clock_mono_now()),
        .why = slot->why,
    };
}

size_t kafka_source_partitions(const struct kafka_source *source, struct kafka_partition_status *out,
                               size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < source->table.slot_count; i++) {
        const struct slot *slot = source->table.slots[i];
        if (slot->state == SLOT_FREE)
            continue;
        if (count < max)
            partition_status(source, slot, &out[count]);
        count++;
    }
    return count;
}

const char *kafka_source_state_str(enum kafka_source_state state)
{
    static const char *const TEXTS[] = {
#define X(name, text) text,
        KAFKA_SOURCE_STATES(X)
#undef X
    };
    return TEXTS[state];
}
