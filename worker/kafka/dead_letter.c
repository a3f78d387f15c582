/* The dead-letter producer. What holds here:
 * D1 a letter is `published` only by a delivery report without error that says "persisted"; "possibly
 *    persisted" is not enough.
 * D2 a publish op ends exactly once, never inside publish(), and at the latest FLIGHT_US after it began.
 * D3 the library gets copies and a reference that lives as long as the producer it was given to: when a
 *    producer is replaced (idempotence has
 *    fatal errors), its reports are never read again, and all that it owed counts as not published. */
#include "aide.h"
#include "letter.h"
#include "settings.h"
#include "signup/base/clock.h"
#include "signup/base/log.h"
#include "signup/kafka/dead_letter.h"
#include "table.h"
#include "wake.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define TICK_MS 1000
#define FLIGHT_US (36 * US_PER_S) /* message.timeout.ms is 30 s, and the library looks once a second */
#define TELL_EVERY_US (60 * US_PER_S)
#define WARM_UP_MS 5000
#define REPORTS_PER_WAKE 64 /* batches of them */
#define WHY_BYTES 256

struct flight;

struct reference {
    struct flight *flight;
    struct dead_letter *letter;
};

/* One publish op. */
struct flight {
    struct flight *next;
    struct publish_op *op;
    size_t owed; /* reports */
    mono_us_t deadline;
    struct reference references[];
};

struct kafka_dead_letter {
    struct uv_loop_s *loop;
    struct kafka_config *config;
    rd_kafka_t *rk; /* NULL: could not be made anew yet */
    rd_kafka_queue_t *queue;
    struct wake wake;
    uv_timer_t tick;
    uv_idle_t turn;
    uv_timer_t deadline;
    struct aide *aide; /* warm-up and destruction: both may wait */
    struct flight *flights;
    struct kafka_dead_letter_status status;
    char why[WHY_BYTES];
    mono_us_t told_at;
    bool fatal; /* replace the producer in the next turn */
    bool closing;
    bool abandoned;
    int handles;
    void (*closed)(void *owner, bool clean);
    void *closed_owner;
};

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
         task->err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC))
        LOG_AT(LOG_WARN, "kafka",
               "the dead-letter topic does not exist: create it; dead letters wait in the ledger meanwhile",
               LOG_STR("topic", task->topic));
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

/* ------------------------------------------------------------------ flights */

static void unlink_flight(struct kafka_dead_letter *dead_letter, const struct flight *flight)
{
    struct flight **at = &dead_letter->flights;
    while (*at && *at != flight)
        at = &(*at)->next;
    assert(*at);
    *at = flight->next;
}

static void end_flight(struct kafka_dead_letter *dead_letter, struct flight *flight)
{
    struct publish_op *op = flight->op;
    dead_letter->status.in_flight -= flight->owed;
    dead_letter->status.failed += flight->owed;
    unlink_flight(dead_letter, flight);
    free(flight);
    op->done(op);
}

static void end_all_flights(struct kafka_dead_letter *dead_letter)
{
    while (dead_letter->flights)
        end_flight(dead_letter, dead_letter->flights);
}

static const char *remedy(rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        return "create the dead-letter topic";
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return "give the worker the right to write to the dead-letter topic";
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
        return "raise max.message.bytes of the dead-letter topic above the source topic's by 4 KiB";
    default:
        return "none needed if the broker comes back";
    }
}

static void note_failure(struct kafka_dead_letter *dead_letter, rd_kafka_resp_err_t err)
{
    dead_letter->status.failed++;
    dead_letter->status.failing = true;
    snprintf(dead_letter->why, sizeof dead_letter->why, "%s (%s)", rd_kafka_err2str(err), remedy(err));
    mono_us_t now = clock_mono_now();
    if (dead_letter->told_at.us && !mono_reached(now, mono_add(dead_letter->told_at, TELL_EVERY_US)))
        return;
    dead_letter->told_at = now;
    LOG_AT(LOG_ERROR, "kafka",
           "dead letters cannot be published; they stay in the ledger and are tried again, signups go on",
           LOG_STR("topic", dead_letter->config->dead_letter_topic), LOG_STR("error", rd_kafka_err2str(err)),
           LOG_STR("remedy", remedy(err)));
}

static void note_success(struct kafka_dead_letter *dead_letter)
{
    dead_letter->status.published++;
    if (dead_letter->status.failing && dead_letter->told_at.us)
        LOG_AT(LOG_INFO, "kafka", "dead letters are published again",
               LOG_STR("topic", dead_letter->config->dead_letter_topic));
    dead_letter->status.failing = false;
    dead_letter->told_at = (mono_us_t){0};
    dead_letter->why[0] = '\0';
}

static void report(struct kafka_dead_letter *dead_letter, const rd_kafka_message_t *message)
{
    struct reference *reference = message->_private;
    struct flight *flight = reference->flight;
    bool persisted = !message->err && rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_PERSISTED;
    if (persisted) {
        reference->letter->published = true;
        note_success(dead_letter);
    } else {
        note_failure(dead_letter, message->err);
    }
    assert(flight->owed > 0);
    flight->owed--;
    dead_letter->status.in_flight--;
    if (flight->owed == 0)
        end_flight(dead_letter, flight);
}

/* ------------------------------------------------------------------ submit */

static rd_kafka_resp_err_t produce(struct kafka_dead_letter *dead_letter, struct reference *reference)
{
    const struct record *original = &reference->letter->original;
    rd_kafka_headers_t *headers = letter_headers(reference->letter);
    /* producev, not produceva: that one frees the headers twice on an error in 2.0.2. */
    rd_kafka_resp_err_t err = rd_kafka_producev(
        dead_letter->rk, RD_KAFKA_V_TOPIC(dead_letter->config->dead_letter_topic),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(original->key.ptr, original->key.len),
        RD_KAFKA_V_VALUE((void *)original->value.ptr, original->value.len), RD_KAFKA_V_HEADERS(headers),
        RD_KAFKA_V_OPAQUE(reference), RD_KAFKA_V_END);
    if (err)
        rd_kafka_headers_destroy(headers);
    return err;
}

static enum port_status publish(void *ctx, struct publish_op *op)
{
    struct kafka_dead_letter *dead_letter = ctx;
    if (dead_letter->closing || !dead_letter->rk || dead_letter->fatal)
        return PORT_AWAY;
    struct flight *flight = table_alloc(sizeof *flight + op->count * sizeof flight->references[0]);
    flight->op = op;
    flight->deadline = mono_add(clock_mono_now(), FLIGHT_US);
    flight->next = dead_letter->flights;
    dead_letter->flights = flight;
    for (size_t i = 0; i < op->count; i++) {
        op->letters[i].published = false;
        flight->references[i] = (struct reference){flight, &op->letters[i]};
        rd_kafka_resp_err_t err = produce(dead_letter, &flight->references[i]);
        if (err) {
            note_failure(dead_letter, err);
            dead_letter->fatal |= err == RD_KAFKA_RESP_ERR__FATAL;
            continue;
        }
        flight->owed++;
        dead_letter->status.in_flight++;
    }
    if (flight->owed == 0 || dead_letter->fatal)
        uv_idle_start(&dead_letter->turn, turn);
    return PORT_OK;
}

const struct dead_letter_port *kafka_dead_letter_port(void)
{
    static const struct dead_letter_port PORT = {publish};
    return &PORT;
}

/* ------------------------------------------------------------------ turns */

static void replace_producer(struct kafka_dead_letter *dead_letter)
{
    char error[WHY_BYTES];
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
    end_all_flights(dead_letter);
    if (dead_letter->closing)
        return;
    if (make_producer(dead_letter, error, sizeof error))
        start_producer(dead_letter);
    else
        LOG_AT(LOG_ERROR, "kafka", "the dead-letter producer cannot be made; tried again every second",
               LOG_STR("error", error));
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
        report(dead_letter, message);
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
        uv_idle_start(&dead_letter->turn, turn);
    if (dead_letter->fatal)
        replace_producer(dead_letter);
}

static struct flight *find_empty_flight(const struct kafka_dead_letter *dead_letter)
{
    struct flight *flight = dead_letter->flights;
    while (flight && flight->owed)
        flight = flight->next;
    return flight;
}

/* Flights that owe nothing: all their letters were refused at once. A done() may begin or end others, so each
 * look starts anew. */
static void end_empty_flights(struct kafka_dead_letter *dead_letter)
{
    struct flight *flight;
    while ((flight = find_empty_flight(dead_letter)))
        end_flight(dead_letter, flight);
}

static void turn(uv_idle_t *idle)
{
    struct kafka_dead_letter *dead_letter = idle->data;
    uv_idle_stop(idle);
    end_empty_flights(dead_letter);
    serve(dead_letter);
}

static void ready(void *owner)
{
    serve(owner);
}

static void tick(uv_timer_t *timer)
{
    struct kafka_dead_letter *dead_letter = timer->data;
    mono_us_t now = clock_mono_now();
    for (const struct flight *flight = dead_letter->flights; flight; flight = flight->next)
        dead_letter->fatal |= mono_reached(now, flight->deadline);
    dead_letter->fatal |= dead_letter->rk == NULL;
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
    end_all_flights(dead_letter);
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
