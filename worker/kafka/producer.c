/* A producer's life: its making, replacement and end. What holds here, and in flight.c:
 * D1 an item is `published` only by a delivery report without error that says "persisted"; "possibly
 *    persisted" is not enough.
 * D2 a publish op ends exactly once, never inside publish(), and at the latest FLIGHT_US after it began.
 * D3 the library gets copies and a reference that lives as long as the producer it was given to: when a
 *    producer is replaced (idempotence has fatal errors), its reports are never read again, and all that it
 *    owed is sent again, or counts as not published. */
#include "producer.h"

#include "signup/base/log.h"
#include "table.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 1000
#define TELL_EVERY_US (60 * US_PER_S)
/* Whoever still fails, tries again sooner than this; else the letters were published by another worker. */
#define FORGET_US (300 * US_PER_S)
#define WARM_UP_MS 5000
#define REPORTS_PER_WAKE 64 /* batches of them */

static void turn(uv_idle_t *idle);

/* ------------------------------------------------------------------ jobs that may wait */

enum task_kind { TASK_WARM_UP, TASK_DESTROY };

struct task {
    struct aide_job job;
    struct producer *producer; /* for `done` only */
    enum task_kind kind;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    char *topic;
    bool last; /* of a closing producer */
    rd_kafka_resp_err_t err;
};

static void task_drop(struct aide_job *job)
{
    free(((struct task *)job)->topic);
    free(job);
}

/* The first record to a topic would wait for its metadata up to a second in 2.0.2. */
static void warm_up(struct task *task)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(task->rk, task->topic, NULL);
    const struct rd_kafka_metadata *metadata = NULL;
    if (!topic) {
        task->err = rd_kafka_last_error();
        return;
    }
    task->err = rd_kafka_metadata(task->rk, 0, topic, &metadata, WARM_UP_MS);
    if (!task->err && metadata->topic_cnt == 1)
        task->err = metadata->topics[0].err;
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
}

static void task_run(struct aide_job *job)
{
    struct task *task = (struct task *)job;
    if (task->kind == TASK_WARM_UP) {
        warm_up(task);
        return;
    }
    rd_kafka_purge(task->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_queue_destroy(task->queue);
    rd_kafka_destroy(task->rk);
}

static void close_handles(struct producer *producer);

static void task_done(struct aide_job *job)
{
    struct task *task = (struct task *)job;
    struct producer *producer = task->producer;
    bool last = task->last;
    if (task->kind == TASK_WARM_UP && !producer->closing &&
        (task->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
         task->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)) {
        producer->told = true; /* that they are published again, then, too */
        LOG_AT(LOG_WARN, "kafka", producer->kind->words.missing, LOG_STR("topic", task->topic));
    }
    task_drop(job);
    if (last)
        close_handles(producer);
}

static void submit(struct producer *producer, enum task_kind kind, bool last)
{
    struct task *task = table_alloc(sizeof *task);
    task->job = (struct aide_job){task_run, task_done, task_drop, NULL};
    task->producer = producer;
    task->kind = kind;
    task->rk = producer->rk;
    task->queue = producer->queue;
    task->last = last;
    size_t len = strlen(producer->topic);
    task->topic = table_alloc(len + 1);
    memcpy(task->topic, producer->topic, len);
    aide_submit(producer->aide, &task->job);
}

/* ------------------------------------------------------------------ the producer */

static bool make_producer(struct producer *producer, char *error, size_t size)
{
    producer->rk =
        kafka_settings_client(producer->config, KAFKA_ROLE_PRODUCER,
                              RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG, error, size);
    if (!producer->rk)
        return false;
    producer->queue = rd_kafka_queue_get_main(producer->rk);
    rd_kafka_set_log_queue(producer->rk, producer->queue);
    return true;
}

static void start_producer(struct producer *producer)
{
    wake_watch(&producer->wake, producer->queue);
    submit(producer, TASK_WARM_UP, false);
}

static void retire_producer(struct producer *producer, bool last)
{
    rd_kafka_queue_io_event_enable(producer->queue, -1, NULL, 0);
    submit(producer, TASK_DESTROY, last);
    producer->rk = NULL;
    producer->queue = NULL;
}

/* ------------------------------------------------------------------ what people are told */

void producer_note_failure(struct producer *producer, const char *what, const char *remedy)
{
    mono_us_t now = clock_mono_now();
    producer->failed_at = now;
    if (!producer->status.failing)
        producer->status.failing_since = clock_wall_now();
    producer->status.failing = true;
    snprintf(producer->why, sizeof producer->why, "%s (%s)", what, remedy);
    if (producer->told_at.us && !mono_reached(now, mono_add(producer->told_at, TELL_EVERY_US)))
        return;
    producer->told_at = now;
    producer->told = true;
    LOG_AT(LOG_ERROR, "kafka", producer->kind->words.failing, LOG_STR("topic", producer->topic),
           LOG_STR("error", what), LOG_STR("remedy", remedy));
}

static void forget_failure(struct producer *producer, mono_us_t now)
{
    if (!producer->status.failing || !mono_reached(now, mono_add(producer->failed_at, FORGET_US)))
        return;
    producer->status.failing = false;
    producer->status.failing_since = (wall_us_t){0};
    producer->why[0] = '\0';
}

/* ------------------------------------------------------------------ turns */

static void replace_producer(struct producer *producer)
{
    char error[PRODUCER_WHY_BYTES];
    producer->fatal = false;
    if (producer->rk) {
        if (rd_kafka_fatal_error(producer->rk, error, sizeof error) == RD_KAFKA_RESP_ERR_NO_ERROR)
            snprintf(error, sizeof error, "no delivery report in time");
        LOG_AT(LOG_WARN, "kafka", producer->kind->words.replaced, LOG_STR("error", error));
        retire_producer(producer, false);
        producer->status.recreated++;
    }
    if (make_producer(producer, error, sizeof error))
        start_producer(producer);
    else
        producer_note_failure(producer, error,
                              "none: the producer cannot be made, tried again every second");
    flight_producer_lost(producer);
}

static void handle_error(struct producer *producer, rd_kafka_event_t *event)
{
    if (rd_kafka_event_error_is_fatal(event) || rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__FATAL)
        producer->fatal = true;
    else
        LOG_AT(LOG_DEBUG, "kafka", producer->kind->words.trouble,
               LOG_STR("text", rd_kafka_event_error_string(event)));
}

static void handle_reports(struct producer *producer, rd_kafka_event_t *event)
{
    const rd_kafka_message_t *message;
    while ((message = rd_kafka_event_message_next(event)))
        flight_report(producer, message);
}

static void serve(struct producer *producer)
{
    rd_kafka_event_t *event;
    int left = REPORTS_PER_WAKE;
    while (!producer->closing && producer->queue && left-- > 0 &&
           (event = rd_kafka_queue_poll(producer->queue, 0))) {
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_DR:
            handle_reports(producer, event);
            break;
        case RD_KAFKA_EVENT_ERROR:
            handle_error(producer, event);
            break;
        case RD_KAFKA_EVENT_LOG:
            kafka_settings_log(event);
            break;
        default:
            break;
        }
        rd_kafka_event_destroy(event);
    }
    if (producer->closing)
        return;
    if (left < 0)
        producer_want_turn(producer);
    if (producer->fatal)
        replace_producer(producer);
    else
        flight_send_queued(producer);
}

static void turn(uv_idle_t *idle)
{
    struct producer *producer = idle->data;
    uv_idle_stop(idle);
    flight_end_settled(producer);
    if (!producer->closing)
        serve(producer);
}

void producer_want_turn(struct producer *producer)
{
    if (!producer->closing)
        uv_idle_start(&producer->turn, turn);
}

static void ready(void *owner)
{
    serve(owner);
}

static void tick(uv_timer_t *timer)
{
    struct producer *producer = timer->data;
    mono_us_t now = clock_mono_now();
    forget_failure(producer, now);
    producer->fatal |= flight_overdue(producer, now) || producer->rk == NULL;
    serve(producer);
}

/* ------------------------------------------------------------------ beginning and end */

static void ignore_closed(void *owner)
{
    (void)owner;
}

static void free_memory(struct producer *producer)
{
    kafka_settings_free(producer->config);
    free(producer);
}

static const char *topic_of(const struct kafka_config *config, enum producer_topic topic)
{
    return topic == PRODUCER_OUTCOMES ? config->outcomes_topic : config->dead_letter_topic;
}

struct producer *producer_create(const struct producer_kind *kind, struct uv_loop_s *loop,
                                 const struct kafka_config *config, enum producer_topic topic, char *error,
                                 size_t error_size)
{
    struct producer *producer = calloc(1, sizeof *producer);
    if (!producer || !(producer->config = kafka_settings_copy(config))) {
        free(producer);
        snprintf(error, error_size, "kafka: out of memory");
        return NULL;
    }
    producer->kind = kind;
    producer->topic = topic_of(producer->config, topic);
    producer->loop = loop;
    assert(producer->topic && *producer->topic);
    producer->aide = aide_create(loop);
    if (!producer->aide)
        snprintf(error, error_size, "kafka: no thread to be had");
    if (!producer->aide || !make_producer(producer, error, error_size) ||
        !wake_init(&producer->wake, loop, ready, producer)) {
        if (producer->queue)
            rd_kafka_queue_destroy(producer->queue);
        if (producer->rk)
            rd_kafka_destroy(producer->rk);
        if (producer->aide)
            aide_close(producer->aide, ignore_closed, NULL);
        free_memory(producer);
        return NULL;
    }
    uv_timer_init(loop, &producer->tick);
    uv_timer_init(loop, &producer->deadline);
    uv_idle_init(loop, &producer->turn);
    producer->tick.data = producer->deadline.data = producer->turn.data = producer;
    uv_timer_start(&producer->tick, tick, TICK_MS, TICK_MS);
    start_producer(producer);
    return producer;
}

static void last_handle(void *owner)
{
    struct producer *producer = owner;
    if (--producer->handles)
        return;
    void (*closed)(void *owner, bool clean) = producer->closed;
    void *closed_owner = producer->closed_owner;
    bool clean = !producer->abandoned;
    free_memory(producer);
    closed(closed_owner, clean);
}

static void handle_closed(uv_handle_t *handle)
{
    last_handle(handle->data);
}

static void close_handles(struct producer *producer)
{
    producer->handles = 5;
    uv_close((uv_handle_t *)&producer->tick, handle_closed);
    uv_close((uv_handle_t *)&producer->deadline, handle_closed);
    uv_close((uv_handle_t *)&producer->turn, handle_closed);
    wake_close(&producer->wake, producer->abandoned, last_handle);
    if (producer->abandoned)
        aide_abandon(producer->aide, last_handle, producer);
    else
        aide_close(producer->aide, last_handle, producer);
}

static void deadline_passed(uv_timer_t *timer)
{
    struct producer *producer = timer->data;
    LOG_AT_PLAIN(LOG_WARN, "kafka", producer->kind->words.left_behind);
    producer->abandoned = true;
    close_handles(producer);
}

static void close_begin(uv_idle_t *idle)
{
    struct producer *producer = idle->data;
    uv_idle_stop(idle);
    flight_end_all(producer);
    if (producer->rk) {
        retire_producer(producer, true);
        return;
    }
    if (aide_idle(producer->aide))
        close_handles(producer); /* else the deadline does it */
}

void producer_close(struct producer *producer, int64_t deadline_ms, void (*closed)(void *owner, bool clean),
                    void *owner)
{
    assert(!producer->closing);
    producer->closing = true;
    producer->closed = closed;
    producer->closed_owner = owner;
    uv_timer_stop(&producer->tick);
    uv_idle_stop(&producer->turn);
    uv_idle_start(&producer->turn, close_begin);
    uv_timer_start(&producer->deadline, deadline_passed, deadline_ms > 0 ? (uint64_t)deadline_ms : 0, 0);
}
