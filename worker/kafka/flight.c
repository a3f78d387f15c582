/* Letters under way to the dead-letter topic: sending, delivery reports, second tries.
 *
 *   publish ──> SENT ──(report)──> SETTLED: published, or refused
 *               │  ▲
 *      refused  │  │ alone
 *   as a batch  ▼  │
 *              QUEUED
 *
 * A broker judges a batch as a whole, and the library passes that on to each of its records (2.0.2: one
 * INVALID_RECORD fails them all). So the records of a refused batch are sent again one at a time, and only
 * what is refused alone is refused. A letter that is too large, alone, is followed by a pointer.
 *
 * Nothing is sent again later than AGAIN_US after the op began: it could not be reported by FLIGHT_US. What
 * is not published then is due again in the ledger. */
#include "producer.h"

#include "signup/base/crash.h"
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

static void queue_add(struct kafka_dead_letter *dead_letter, struct reference *reference)
{
    reference->state = REFERENCE_QUEUED;
    reference->next = NULL;
    if (dead_letter->queue_last)
        dead_letter->queue_last->next = reference;
    else
        dead_letter->queue_first = reference;
    dead_letter->queue_last = reference;
}

static struct reference *queue_take(struct kafka_dead_letter *dead_letter)
{
    struct reference *reference = dead_letter->queue_first;
    if (reference && !(dead_letter->queue_first = reference->next))
        dead_letter->queue_last = NULL;
    return reference;
}

static void queue_forget(struct kafka_dead_letter *dead_letter, const struct flight *flight)
{
    struct reference *rest = dead_letter->queue_first;
    dead_letter->queue_first = dead_letter->queue_last = NULL;
    while (rest) {
        struct reference *reference = rest;
        rest = rest->next;
        if (reference->flight != flight)
            queue_add(dead_letter, reference);
    }
}

/* ------------------------------------------------------------------ the end of a letter, of a flight */

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
        return "raise max.message.bytes of the dead-letter topic: it does not even take a pointer of some "
               "KiB";
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
        return "the dead-letter topic must take any record: no compaction, no schema validation";
    default:
        return "none needed if the broker comes back";
    }
}

static void note_published(struct kafka_dead_letter *dead_letter, enum letter_form form)
{
    dead_letter->status.published++;
    dead_letter->status.pointers += form != LETTER_WHOLE;
    dead_letter->status.failing = false;
    dead_letter->status.failing_since = (wall_us_t){0};
    dead_letter->why[0] = '\0';
    if (dead_letter->told)
        LOG_AT(LOG_INFO, "kafka", "dead letters are published again",
               LOG_STR("topic", dead_letter->config->dead_letter_topic));
    dead_letter->told = false;
}

/* The flight itself ends in a turn of the loop. */
static void settle(struct kafka_dead_letter *dead_letter, struct reference *reference)
{
    assert(reference->state != REFERENCE_SETTLED && reference->flight->owed > 0);
    reference->state = REFERENCE_SETTLED;
    if (--reference->flight->owed == 0)
        producer_want_turn(dead_letter);
}

static void settle_failed(struct kafka_dead_letter *dead_letter, struct reference *reference,
                          rd_kafka_resp_err_t err)
{
    settle(dead_letter, reference);
    dead_letter->status.failed++;
    producer_note_failure(dead_letter, rd_kafka_err2str(err), remedy(err));
}

static void unlink_flight(struct kafka_dead_letter *dead_letter, const struct flight *flight)
{
    struct flight **at = &dead_letter->flights;
    while (*at && *at != flight)
        at = &(*at)->next;
    assert(*at);
    *at = flight->next;
}

/* What is not settled counts as not published. Nothing of it may be in the library's hands. */
static void end_flight(struct kafka_dead_letter *dead_letter, struct flight *flight)
{
    struct publish_op *op = flight->op;
    dead_letter->status.failed += flight->owed;
    if (flight->owed && !dead_letter->closing)
        producer_note_failure(dead_letter, "no broker has confirmed them in time",
                              "none needed if the broker comes back");
    queue_forget(dead_letter, flight);
    unlink_flight(dead_letter, flight);
    free(flight);
    op->done(op);
}

static struct flight *find_settled(const struct kafka_dead_letter *dead_letter)
{
    struct flight *flight = dead_letter->flights;
    while (flight && flight->owed)
        flight = flight->next;
    return flight;
}

/* A done() may begin or end others, so each look starts anew. */
void flight_end_settled(struct kafka_dead_letter *dead_letter)
{
    struct flight *flight;
    while ((flight = find_settled(dead_letter)))
        end_flight(dead_letter, flight);
}

void flight_end_all(struct kafka_dead_letter *dead_letter)
{
    dead_letter->status.in_flight = 0;
    while (dead_letter->flights)
        end_flight(dead_letter, dead_letter->flights);
}

bool flight_overdue(const struct kafka_dead_letter *dead_letter, mono_us_t now)
{
    for (const struct flight *flight = dead_letter->flights; flight; flight = flight->next)
        if (mono_reached(now, flight->deadline))
            return true;
    return false;
}

/* ------------------------------------------------------------------ sending */

static bool may_again(const struct reference *reference)
{
    return !mono_reached(clock_mono_now(), reference->flight->again_until);
}

static rd_kafka_resp_err_t produce(struct kafka_dead_letter *dead_letter, struct reference *reference)
{
    struct letter_record record;
    letter_init(&record, reference->letter, reference->form);
    int64_t timestamp_ms = reference->letter->original.timestamp_ms;
    /* The letter has the original's timestamp: a date of consent may hang on it, as a signup without a date of its own is given that one. 0: now.
     * producev, not produceva: that one frees the headers twice on an error in 2.0.2. */
    rd_kafka_resp_err_t err = rd_kafka_producev(
        dead_letter->rk, RD_KAFKA_V_TOPIC(dead_letter->config->dead_letter_topic),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(record.key.ptr, record.key.len),
        RD_KAFKA_V_VALUE((void *)record.value.ptr, record.value.len), RD_KAFKA_V_HEADERS(record.headers),
        RD_KAFKA_V_TIMESTAMP(timestamp_ms > 0 ? timestamp_ms : 0),
        RD_KAFKA_V_OPAQUE(reference), RD_KAFKA_V_END);
    letter_fini(&record, !err);
    return err;
}

/* Gives the letter to the library, in the largest form that it takes; what it refuses is settled at once. */
static void send_letter(struct kafka_dead_letter *dead_letter, struct reference *reference)
{
    rd_kafka_resp_err_t err;
    while ((err = produce(dead_letter, reference)) == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE &&
           reference->form < LETTER_POINTER_BARE)
        reference->form++;
    if (!err) {
        reference->state = REFERENCE_SENT;
        dead_letter->status.in_flight++;
    } else if (err == RD_KAFKA_RESP_ERR__FATAL) {
        reference->state = REFERENCE_UNSURE;
        dead_letter->fatal = true;
        producer_want_turn(dead_letter);
    } else {
        settle_failed(dead_letter, reference, err);
    }
}

void flight_send_queued(struct kafka_dead_letter *dead_letter)
{
    struct reference *reference;
    while (!dead_letter->status.in_flight && !dead_letter->fatal && (reference = queue_take(dead_letter))) {
        reference->alone = true;
        if (dead_letter->rk && may_again(reference))
            send_letter(dead_letter, reference);
        else
            settle_failed(dead_letter, reference, RD_KAFKA_RESP_ERR__TIMED_OUT);
        dead_letter->alone = dead_letter->status.in_flight > 0;
    }
}

enum port_status flight_begin(struct kafka_dead_letter *dead_letter, struct publish_op *op)
{
    if (dead_letter->closing || !dead_letter->rk || dead_letter->fatal)
        return PORT_AWAY;
    mono_us_t now = clock_mono_now();
    struct flight *flight = table_alloc(sizeof *flight + op->count * sizeof flight->references[0]);
    CRASH_POINT(BEFORE_PUBLISH);
    flight->op = op;
    flight->owed = op->count;
    flight->again_until = mono_add(now, AGAIN_US);
    flight->deadline = mono_add(now, FLIGHT_US);
    flight->next = dead_letter->flights;
    dead_letter->flights = flight;
    /* Whoever is sent alone must stay alone: the others queue up behind. */
    bool alone = dead_letter->queue_first || dead_letter->alone ||
                 !mono_reached(now, dead_letter->alone_until) ||
                 (op->count == 1 && dead_letter->status.in_flight == 0);
    for (size_t i = 0; i < op->count; i++) {
        struct reference *reference = &flight->references[i];
        op->letters[i].published = false;
        *reference = (struct reference){.flight = flight, .letter = &op->letters[i]};
        if (alone)
            queue_add(dead_letter, reference);
        else if (dead_letter->fatal)
            reference->state = REFERENCE_UNSURE;
        else
            send_letter(dead_letter, reference);
    }
    flight_send_queued(dead_letter);
    if (flight->owed == 0)
        producer_want_turn(dead_letter);
    return PORT_OK;
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

static void report_failure(struct kafka_dead_letter *dead_letter, struct reference *reference,
                           rd_kafka_resp_err_t err)
{
    bool large = err == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE && reference->form < LETTER_POINTER_BARE;
    if (!is_of_the_record(err) || (reference->alone && !large) || !may_again(reference)) {
        if (is_of_the_record(err) && !reference->alone)
            dead_letter->alone_until = mono_add(clock_mono_now(), ALONE_US);
        settle_failed(dead_letter, reference, err);
        return;
    }
    if (reference->alone)
        reference->form++; /* only alone it is sure that this letter was meant */
    queue_add(dead_letter, reference);
}

void flight_report(struct kafka_dead_letter *dead_letter, const rd_kafka_message_t *message)
{
    struct reference *reference = message->_private;
    char text[8];
    assert(reference->state == REFERENCE_SENT && dead_letter->status.in_flight > 0);
    if (--dead_letter->status.in_flight == 0)
        dead_letter->alone = false;
    if (!message->err && rd_kafka_message_status(message) == RD_KAFKA_MSG_STATUS_PERSISTED) {
        CRASH_POINT(AFTER_PUBLISH);
        settle(dead_letter, reference);
        reference->letter->published = true;
        note_published(dead_letter, reference->form);
    } else if (rd_kafka_fatal_error(dead_letter->rk, text, sizeof text)) {
        reference->state = REFERENCE_UNSURE; /* perhaps it is there: a second copy is allowed, none is not */
        dead_letter->fatal = true;
    } else {
        report_failure(dead_letter, reference, message->err);
    }
}

/* ------------------------------------------------------------------ a new producer */

static bool is_unsure(const struct flight *flight)
{
    for (size_t i = 0; i < flight->op->count; i++)
        if (flight->references[i].state == REFERENCE_UNSURE)
            return true;
    return false;
}

static struct flight *find_unsure(const struct kafka_dead_letter *dead_letter)
{
    struct flight *flight = dead_letter->flights;
    while (flight && !is_unsure(flight))
        flight = flight->next;
    return flight;
}

static void send_again(struct kafka_dead_letter *dead_letter, struct flight *flight)
{
    flight->resent = true;
    for (size_t i = 0; i < flight->op->count; i++)
        if (flight->references[i].state == REFERENCE_UNSURE)
            queue_add(dead_letter, &flight->references[i]);
}

void flight_producer_lost(struct kafka_dead_letter *dead_letter)
{
    dead_letter->status.in_flight = 0;
    dead_letter->alone = false;
    for (struct flight *flight = dead_letter->flights; flight; flight = flight->next)
        for (size_t i = 0; i < flight->op->count; i++)
            if (flight->references[i].state == REFERENCE_SENT)
                flight->references[i].state = REFERENCE_UNSURE;
    struct flight *flight;
    while ((flight = find_unsure(dead_letter))) { /* a done() may have begun others: each look starts anew */
        if (dead_letter->rk && !flight->resent && !mono_reached(clock_mono_now(), flight->again_until))
            send_again(dead_letter, flight);
        else
            end_flight(dead_letter, flight);
    }
    flight_send_queued(dead_letter);
}
