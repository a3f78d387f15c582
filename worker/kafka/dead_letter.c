/* The dead-letter producer: its making, replacement and end. What holds here, and in flight.c:
 * D1 a letter is `published` only by a delivery report without error that says "persisted"; "possibly
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
    struct kafka_dead_letter *dead_letter; /* for `done` only */
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

static void close_handles(struct kafka_dead_letter *dead_letter);

static void task_done(struct aide_job *job)
{
    struct task *task = (struct task *)job;
    struct kafka_dead_letter *dead_letter = task->dead_letter;
    bool last = task->last;
    if (task->kind == TASK_WARM_UP && !dead_letter->closing &&
        (task->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
         task->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)) {
        dead_letter->told = true; /* that they are published again, then, too */
        LOG_AT(LOG_WARN, "kafka",
               "the dead-letter topic does not exist: create it; dead letters wait in the ledger meanwhile",
               LOG_STR("topic", task->topic));
    }
    task_drop(job);
    if (last)
        close_handles(dead_letter);
}

static void submit(struct kafka_dead_letter *dead_letter, enum task_kind kind, bool last)
{
    struct task *task = table_alloc(sizeof *task);
    task->job = (struct aide_job){task_run, task_done, task_drop, NULL};
    task->dead_letter = dead_letter;
    task->kind = kind;
    task->rk = dead_letter->rk;
    task->queue = dead_letter->queue;
    task->last = last;
    size_t len = strlen(dead_letter->config->dead_letter_topic);
    task->topic = table_alloc(len + 1);
    memcpy(task->topic, dead_letter->config->dead_letter_topic, len);
    aide_submit(dead_letter->aide, &task->job);
}

/* ------------------------------------------------------------------ the producer */

static bool make_producer(struct kafka_dead_letter *dead_letter, char *error, size_t size)
{
    dead_letter->rk =
        kafka_settings_client(dead_letter->config, KAFKA_ROLE_PRODUCER,
                              RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG, error, size);
    if (!dead_letter->rk)
        return false;
    dead_letter->queue = rd_kafka_queue_get_main(dead_letter->rk);
    rd_kafka_set_log_queue(dead_letter->rk, dead_letter->queue);
    return true;
}

static void start_producer(struct kafka_dead_letter *dead_letter)
{
    wake_watch(&dead_letter->wake, dead_letter->queue);
    submit(dead_letter, TASK_WARM_UP, false);
}

static void retire_producer(struct kafka_dead_letter *dead_letter, bool last)
{
    rd_kafka_queue_io_event_enable(dead_letter->queue, -1, NULL, 0);
    submit(dead_letter, TASK_DESTROY, last);
    dead_letter->rk = NULL;
    dead_letter->queue = NULL;
}

/* ------------------------------------------------------------------ what people are told */

void producer_note_failure(struct kafka_dead_letter *dead_letter, const char *what, const char *remedy)
{
    mono_us_t now = clock_mono_now();
    dead_letter->failed_at = now;
    if (!dead_letter->status.failing)
        dead_letter->status.failing_since = clock_wall_now();
    dead_letter->status.failing = true;
    snprintf(dead_letter->why, sizeof dead_letter->why, "%s (%s)", what, remedy);
    if (dead_letter->told_at.us && !mono_reached(now, mono_add(dead_letter->told_at, TELL_EVERY_US)))
        return;
    dead_letter->told_at = now;
    dead_letter->told = true;
    LOG_AT(LOG_ERROR, "kafka",
           "dead letters cannot be published; they stay in the ledger and are tried again, signups go on",
           LOG_STR("topic", dead_letter->config->dead_letter_topic), LOG_STR("error", what),
           LOG_STR("remedy", remedy));
}

static void forget_failure(struct kafka_dead_letter *dead_letter, mono_us_t now)
{
    if (!dead_letter->status.failing || !mono_reached(now, mono_add(dead_letter->failed_at, FORGET_US)))
        return;
    dead_letter->status.failing = false;
    dead_letter->status.failing_since = (wall_us_t){0};
    dead_letter->why[0] = '\0';
}

static enum port_status publish(void *ctx, struct publish_op *op)
{
    return flight_begin(ctx, op);
}

const struct dead_letter_port *kafka_dead_letter_port(void)
{
    static const struct dead_letter_port PORT = {publish};
    return &PORT;
}

/* ------------------------------------------------------------------ turns */

static void replace_producer(struct kafka_dead_letter *dead_letter)
{
    char error[PRODUCER_WHY_BYTES];
    dead_letter->fatal = false;
    if (dead_letter->rk) {
        if (rd_kafka_fatal_error(dead_letter->rk, error, sizeof error) == RD_KAFKA_RESP_ERR_NO_ERROR)
            snprintf(error, sizeof error, "no delivery report in time");
        LOG_AT(LOG_WARN, "kafka",
               "the dead-letter producer is replaced; what it had not confirmed is published again",
               LOG_STR("error", error));
        retire_producer(dead_letter, false);
        dead_letter->status.recreated++;
    }
    if (make_producer(dead_letter, error, sizeof error))
        start_producer(dead_letter);
    else
        producer_note_failure(dead_letter, error,
                              "none: the producer cannot be made, tried again every second");
    flight_producer_lost(dead_letter);
}

static void handle_error(struct kafka_dead_letter *dead_letter, rd_kafka_event_t *event)
{
    if (rd_kafka_event_error_is_fatal(event) || rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__FATAL)
        dead_letter->fatal = true;
    else
        LOG_AT(LOG_DEBUG, "kafka", "the dead-letter producer has trouble",
               LOG_STR("text", rd_kafka_event_error_string(event)));
}

static void handle_reports(struct kafka_dead_letter *dead_letter, rd_kafka_event_t *event)
{
    const rd_kafka_message_t *message;
    while ((message = rd_kafka_event_message_next(event)))
        flight_report(dead_letter, message);
}

static void serve(struct kafka_dead_letter *dead_letter)
{
    rd_kafka_event_t *event;
    int left = REPORTS_PER_WAKE;
    while (!dead_letter->closing && dead_letter->queue && left-- > 0 &&
           (event = rd_kafka_queue_poll(dead_letter->queue, 0))) {
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_DR:
            handle_reports(dead_letter, event);
            break;
        case RD_KAFKA_EVENT_ERROR:
            handle_error(dead_letter, event);
            break;
        case RD_KAFKA_EVENT_LOG:
            kafka_settings_log(event);
            break;
        default:
            break;
        }
        rd_kafka_event_destroy(event);
    }
    if (dead_letter->closing)
        return;
    if (left < 0)
        producer_want_turn(dead_letter);
    if (dead_letter->fatal)
        replace_producer(dead_letter);
    else
        flight_send_queued(dead_letter);
}

static void turn(uv_idle_t *idle)
{
    struct kafka_dead_letter *dead_letter = idle->data;
    uv_idle_stop(idle);
    flight_end_settled(dead_letter);
    if (!dead_letter->closing)
        serve(dead_letter);
}

void producer_want_turn(struct kafka_dead_letter *dead_letter)
{
    if (!dead_letter->closing)
        uv_idle_start(&dead_letter->turn, turn);
}

static void ready(void *owner)
{
    serve(owner);
}

static void tick(uv_timer_t *timer)
{
    struct kafka_dead_letter *dead_letter = timer->data;
    mono_us_t now = clock_mono_now();
    forget_failure(dead_letter, now);
    dead_letter->fatal |= flight_overdue(dead_letter, now) || dead_letter->rk == NULL;
    serve(dead_letter);
}

/* ------------------------------------------------------------------ beginning and end */

static void ignore_closed(void *owner)
{
    (void)owner;
}

static void free_memory(struct kafka_dead_letter *dead_letter)
{
    kafka_settings_free(dead_letter->config);
    free(dead_letter);
}

struct kafka_dead_letter *kafka_dead_letter_create(struct uv_loop_s *loop, const struct kafka_config *config,
                                                   char *error, size_t error_size)
{
    struct kafka_dead_letter *dead_letter = calloc(1, sizeof *dead_letter);
    if (!dead_letter || !(dead_letter->config = kafka_settings_copy(config))) {
        free(dead_letter);
        snprintf(error, error_size, "kafka: out of memory");
        return NULL;
    }
    dead_letter->loop = loop;
    dead_letter->aide = aide_create(loop);
    if (!dead_letter->aide)
        snprintf(error, error_size, "kafka: no thread to be had");
    if (!dead_letter->aide || !make_producer(dead_letter, error, error_size) ||
        !wake_init(&dead_letter->wake, loop, ready, dead_letter)) {
        if (dead_letter->queue)
            rd_kafka_queue_destroy(dead_letter->queue);
        if (dead_letter->rk)
            rd_kafka_destroy(dead_letter->rk);
        if (dead_letter->aide)
            aide_close(dead_letter->aide, ignore_closed, NULL);
        free_memory(dead_letter);
        return NULL;
    }
    uv_timer_init(loop, &dead_letter->tick);
    uv_timer_init(loop, &dead_letter->deadline);
    uv_idle_init(loop, &dead_letter->turn);
    dead_letter->tick.data = dead_letter->deadline.data = dead_letter->turn.data = dead_letter;
    uv_timer_start(&dead_letter->tick, tick, TICK_MS, TICK_MS);
    start_producer(dead_letter);
    return dead_letter;
}

static void last_handle(void *owner)
{
    struct kafka_dead_letter *dead_letter = owner;
    if (--dead_letter->handles)
        return;
    void (*closed)(void *owner, bool clean) = dead_letter->closed;
    void *closed_owner = dead_letter->closed_owner;
    bool clean = !dead_letter->abandoned;
    free_memory(dead_letter);
    closed(closed_owner, clean);
}

static void handle_closed(uv_handle_t *handle)
{
    last_handle(handle->data);
}

static void close_handles(struct kafka_dead_letter *dead_letter)
{
    dead_letter->handles = 5;
    uv_close((uv_handle_t *)&dead_letter->tick, handle_closed);
    uv_close((uv_handle_t *)&dead_letter->deadline, handle_closed);
    uv_close((uv_handle_t *)&dead_letter->turn, handle_closed);
    wake_close(&dead_letter->wake, dead_letter->abandoned, last_handle);
    if (dead_letter->abandoned)
        aide_abandon(dead_letter->aide, last_handle, dead_letter);
    else
        aide_close(dead_letter->aide, last_handle, dead_letter);
}

static void deadline_passed(uv_timer_t *timer)
{
    struct kafka_dead_letter *dead_letter = timer->data;
    LOG_AT_PLAIN(LOG_WARN, "kafka",
                 "the dead-letter producer could not be closed in time and is left behind");
    dead_letter->abandoned = true;
    close_handles(dead_letter);
}

static void close_begin(uv_idle_t *idle)
{
    struct kafka_dead_letter *dead_letter = idle->data;
    uv_idle_stop(idle);
    flight_end_all(dead_letter);
    if (dead_letter->rk) {
        retire_producer(dead_letter, true);
        return;
    }
    if (aide_idle(dead_letter->aide))
        close_handles(dead_letter); /* else the deadline does it */
}

void kafka_dead_letter_close(struct kafka_dead_letter *dead_letter, int64_t deadline_ms,
                             void (*closed)(void *owner, bool clean), void *owner)
{
    assert(!dead_letter->closing);
    dead_letter->closing = true;
    dead_letter->closed = closed;
    dead_letter->closed_owner = owner;
    uv_timer_stop(&dead_letter->tick);
    uv_idle_stop(&dead_letter->turn);
    uv_idle_start(&dead_letter->turn, close_begin);
    uv_timer_start(&dead_letter->deadline, deadline_passed, deadline_ms > 0 ? (uint64_t)deadline_ms : 0, 0);
}

void kafka_dead_letter_status(const struct kafka_dead_letter *dead_letter,
                              struct kafka_dead_letter_status *out)
{
    *out = dead_letter->status;
    out->why = dead_letter->why;
}
