/* Items under way to a topic: sending, delivery reports, second tries.
 *
 *   publish ──> SENT ──(report)──> SETTLED: published, or refused
 *               │  ▲
 *      refused  │  │ alone
 *   as a batch  ▼  │
 *              QUEUED
 *
 * A broker judges a batch as a whole, and the library passes that on to each of its records (2.0.2: one
 * INVALID_RECORD fails them all). So the records of a refused batch are sent again one at a time, and only
 * what is refused alone is refused. An item that is too large, alone, is followed by its next form, if it has
 * one.
 *
 * Nothing is sent again later than AGAIN_US after the op began: it could not be reported by FLIGHT_US. What
 * is not published then is due again in the ledger. */
#include "producer.h"

#include "signup/base/log.h"
#include "table.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* AGAIN_US, message.timeout.ms (30 s), and the library looks once a second. */
#define FLIGHT_US (36 * US_PER_S)
#define AGAIN_US (4 * US_PER_S)
#define ALONE_US (60 * US_PER_S)

/* ------------------------------------------------------------------ those that are sent alone */

static void queue_add(struct producer *producer, struct reference *reference)
{
    reference->state = REFERENCE_QUEUED;
    reference->next = NULL;
    if (producer->queue_last)
        producer->queue_last->next = reference;
    else
        producer->queue_first = reference;
    producer->queue_last = reference;
}

static struct reference *queue_take(struct producer *producer)
{
    struct reference *reference = producer->queue_first;
    if (reference && !(producer->queue_first = reference->next))
        producer->queue_last = NULL;
    return reference;
}

static void queue_forget(struct producer *producer, const struct flight *flight)
{
    struct reference *rest = producer->queue_first;
    producer->queue_first = producer->queue_last = NULL;
    while (rest) {
        struct reference *reference = rest;
        rest = rest->next;
        if (reference->flight != flight)
            queue_add(producer, reference);
    }
}

/* ------------------------------------------------------------------ the end of a letter, of a flight */

static const char *remedy(const struct producer_words *words, rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
        return words->create;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return words->allow;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
        return words->raise_size;
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
        return words->take_any;
    default:
        return "none needed if the broker comes back";
    }
}

static void note_published(struct producer *producer, int form)
{
    producer->status.published++;
    producer->status.smaller += form > 0;
    producer->status.failing = false;
    producer->status.failing_since = (wall_us_t){0};
    producer->why[0] = '\0';
    if (producer->told)
        LOG_AT(LOG_INFO, "kafka", producer->kind->words.again, LOG_STR("topic", producer->topic));
    producer->told = false;
}

/* The flight itself ends in a turn of the loop. */
static void settle(struct producer *producer, struct reference *reference)
{
    assert(reference->state != REFERENCE_SETTLED && reference->flight->owed > 0);
    reference->state = REFERENCE_SETTLED;
    if (--reference->flight->owed == 0)
        producer_want_turn(producer);
}

static void settle_failed(struct producer *producer, struct reference *reference,
                          rd_kafka_resp_err_t err)
{
    settle(producer, reference);
    producer->status.failed++;
    producer_note_failure(producer, rd_kafka_err2str(err), remedy(&producer->kind->words, err));
}

static void unlink_flight(struct producer *producer, const struct flight *flight)
{
    struct flight **at = &producer->flights;
    while (*at && *at != flight)
        at = &(*at)->next;
    assert(*at);
    *at = flight->next;
}

/* What is not settled counts as not published. Nothing of it may be in the library's hands. */
static void end_flight(struct producer *producer, struct flight *flight)
{
    void *op = flight->op;
    producer->status.failed += flight->owed;
    if (flight->owed && !producer->closing)
        producer_note_failure(producer, "no broker has confirmed them in time",
                              "none needed if the broker comes back");
    queue_forget(producer, flight);
    unlink_flight(producer, flight);
    free(flight);
    producer->kind->done(op);
}

static struct flight *find_settled(const struct producer *producer)
{
    struct flight *flight = producer->flights;
    while (flight && flight->owed)
        flight = flight->next;
    return flight;
}

/* A done() may begin or end others, so each look starts anew. */
void flight_end_settled(struct producer *producer)
{
    struct flight *flight;
    while ((flight = find_settled(producer)))
        end_flight(producer, flight);
}

void flight_end_all(struct producer *producer)
{
    producer->status.in_flight = 0;
    while (producer->flights)
        end_flight(producer, producer->flights);
}

bool flight_overdue(const struct producer *producer, mono_us_t now)
{
    for (const struct flight *flight = producer->flights; flight; flight = flight->next)
        if (mono_reached(now, flight->deadline))
            return true;
    return false;
}

/* ------------------------------------------------------------------ sending */

static bool may_again(const struct reference *reference)
{
    return !mono_reached(clock_mono_now(), reference->flight->again_until);
}

static bool has_smaller(const struct producer *producer, const struct reference *reference)
{
    return reference->form + 1 < producer->kind->forms;
}

/* Gives the item to the library, in the first form that it takes; what it refuses is settled at once. */
static void send_item(struct producer *producer, struct reference *reference)
{
    rd_kafka_resp_err_t err;
    while ((err = producer->kind->produce(producer, reference->item, reference->form, reference)) ==
               RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE &&
           has_smaller(producer, reference))
        reference->form++;
    if (!err) {
        reference->state = REFERENCE_SENT;
        producer->status.in_flight++;
    } else if (err == RD_KAFKA_RESP_ERR__FATAL) {
        reference->state = REFERENCE_UNSURE;
        producer->fatal = true;
        producer_want_turn(producer);
    } else {
        settle_failed(producer, reference, err);
    }
}

void flight_send_queued(struct producer *producer)
{
    struct reference *reference;
    while (!producer->status.in_flight && !producer->fatal && (reference = queue_take(producer))) {
        reference->alone = true;
        if (producer->rk && may_again(reference))
            send_item(producer, reference);
        else
            settle_failed(producer, reference, RD_KAFKA_RESP_ERR__TIMED_OUT);
        producer->alone = producer->status.in_flight > 0;
    }
}

static struct flight *make_flight(struct producer *producer, const struct producer_batch *batch,
                                  mono_us_t now)
{
    struct flight *flight = table_alloc(sizeof *flight + batch->count * sizeof flight->references[0]);
    flight->op = batch->op;
    flight->count = flight->owed = batch->count;
    flight->again_until = mono_add(now, AGAIN_US);
    flight->deadline = mono_add(now, FLIGHT_US);
    flight->next = producer->flights;
    producer->flights = flight;
    for (size_t i = 0; i < batch->count; i++) {
        void *item = (char *)batch->items + i * batch->item_bytes;
        flight->references[i] = (struct reference){.flight = flight, .item = item};
        *producer->kind->published(item) = false;
    }
    return flight;
}

bool flight_begin(struct producer *producer, const struct producer_batch *batch)
{
    if (producer->closing || !producer->rk || producer->fatal)
        return false;
    mono_us_t now = clock_mono_now();
    if (producer->kind->on_begin)
        producer->kind->on_begin();
    struct flight *flight = make_flight(producer, batch, now);
    /* Whoever is sent alone must stay alone: the others queue up behind. */
    bool alone = producer->queue_first || producer->alone || !mono_reached(now, producer->alone_until) ||
                 (flight->count == 1 && producer->status.in_flight == 0);
    for (size_t i = 0; i < flight->count; i++) {
        struct reference *reference = &flight->references[i];
        if (alone)
            queue_add(producer, reference);
        else if (producer->fatal)
            reference->state = REFERENCE_UNSURE;
        else
            send_item(producer, reference);
    }
    flight_send_queued(producer);
    if (flight->owed == 0)
        producer_want_turn(producer);
    return true;
}

/* ------------------------------------------------------------------ reports */

/* The broker speaks of the record, or of the batch that it came in. */
static bool is_of_the_record(rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
        return true;
    default:
        return false;
    }
}

static void report_failure(struct producer *producer, struct reference *reference,
                           rd_kafka_resp_err_t err)
{
    bool large = err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE && has_smaller(producer, reference);
    if (!is_of_the_record(err) || (reference->alone && !large) || !may_again(reference)) {
        if (is_of_the_record(err) && !reference->alone)
            producer->alone_until = mono_add(clock_mono_now(), ALONE_US);
        settle_failed(producer, reference, err);
        return;
    }
    if (reference->alone)
        reference->form++; /* only alone it is sure that this item was meant */
    queue_add(producer, reference);
}

void flight_report(struct producer *producer, const rd_kafka_message_t *message)
{
    struct reference *reference = message->_private;
    char text[8];
    assert(reference->state == REFERENCE_SENT && producer->status.in_flight > 0);
    if (--producer->status.in_flight == 0)
        producer->alone = false;
    if (!message->err && rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_PERSISTED) {
        if (producer->kind->on_acknowledged)
            producer->kind->on_acknowledged();
        settle(producer, reference);
        *producer->kind->published(reference->item) = true;
        note_published(producer, reference->form);
    } else if (rd_kafka_fatal_error(producer->rk, text, sizeof text)) {
        reference->state = REFERENCE_UNSURE; /* perhaps it is there: a second copy is allowed, none is not */
        producer->fatal = true;
    } else {
        report_failure(producer, reference, message->err);
    }
}

/* ------------------------------------------------------------------ a new producer */

static bool is_unsure(const struct flight *flight)
{
    for (size_t i = 0; i < flight->count; i++)
        if (flight->references[i].state == REFERENCE_UNSURE)
            return true;
    return false;
}

static struct flight *find_unsure(const struct producer *producer)
{
    struct flight *flight = producer->flights;
    while (flight && !is_unsure(flight))
        flight = flight->next;
    return flight;
}

static void send_again(struct producer *producer, struct flight *flight)
{
    flight->resent = true;
    for (size_t i = 0; i < flight->count; i++)
        if (flight->references[i].state == REFERENCE_UNSURE)
            queue_add(producer, &flight->references[i]);
}

void flight_producer_lost(struct producer *producer)
{
    producer->status.in_flight = 0;
    producer->alone = false;
    for (struct flight *flight = producer->flights; flight; flight = flight->next)
        for (size_t i = 0; i < flight->count; i++)
            if (flight->references[i].state == REFERENCE_SENT)
                flight->references[i].state = REFERENCE_UNSURE;
    struct flight *flight;
    while ((flight = find_unsure(producer))) { /* a done() may have begun others: each look starts anew */
        if (producer->rk && !flight->resent && !mono_reached(clock_mono_now(), flight->again_until))
            send_again(producer, flight);
        else
            end_flight(producer, flight);
    }
    flight_send_queued(producer);
}
