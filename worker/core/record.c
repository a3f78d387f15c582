/* The record stage: decided deliveries in batches to the ledger. A failed record is tried again as it is (I8), never the call. */
#include "state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define POISON_PAUSE_US (5 * US_PER_S)

static struct delivery *owner_of(struct record_item *item)
{
    return (struct delivery *)((char *)item - offsetof(struct delivery, recording));
}

void record_decide(struct pipeline *pipeline, struct delivery *dl, enum record_state fate)
{
    dl->fate = fate;
    if (fate == RECORD_DEAD && dl->signup.death != DEATH_NONE) {
        char message[OUTCOME_MESSAGE_BYTES];
        snprintf(message, sizeof message, "%.*s", (int)dl->signup.death_message.len, dl->signup.death_message.ptr);
        outcome_set(&dl->outcome, OUTCOME_REJECTED, 0, death_code_str(dl->signup.death), message, false);
        dl->has_outcome = true;
    }
    if (PLANTED(COMMIT_BEFORE_RECORD) && dl->window && dl->window->state != WINDOW_GONE && fate != RECORD_RELEASED)
        window_complete(dl->window, dl->slot);
    delivery_move(pipeline, dl, DELIVERY_RECORDABLE);
}

void record_park(struct pipeline *pipeline, struct delivery *dl, int64_t due_in_us)
{
    dl->due_in_us = due_in_us > 0 ? due_in_us : 0;
    record_decide(pipeline, dl, RECORD_PARKED);
}

void record_give_back(struct pipeline *pipeline, struct delivery *dl)
{
    if (dl->cost)
        record_park(pipeline, dl, dl->state == DELIVERY_BACKOFF ? dl->due.us - pipeline->now.us : 0);
    else
        record_decide(pipeline, dl, RECORD_RELEASED);
}

static void count_accepted(struct pipeline *pipeline, const struct delivery *dl)
{
    pipeline->counters.accepted++;
    pipeline->counters.new_contacts += dl->call.reply.is_new_contact;
    for (const struct warning *w = dl->signup.warnings; w; w = w->next) {
        if (w->source == WARNING_API && slice_is(w->code, "journeys_not_used")) {
            pipeline->counters.journeys_missed++;
            break;
        }
    }
    pipeline->counters.journeys += dl->call.reply.journeys_enrolled > 0 ? (uint64_t)dl->call.reply.journeys_enrolled : 0;
}

static void record_durable(struct pipeline *pipeline, struct delivery *dl)
{
    if (dl->fate == RECORD_RELEASED) {
        pipeline_finish(pipeline, dl, false, "released");
        return;
    }
    spend_record(pipeline, dl);
    if (dl->fate == RECORD_PARKED) {
        pipeline->counters.parked++;
        due_expect(pipeline, dl->due_in_us);
        pipeline_finish(pipeline, dl, true, "parked");
        return;
    }
    if (dl->taken_up)
        due_expect(pipeline, 0); /* the contact's next one is due now */
    for (const struct warning *w = dl->signup.warnings; w; w = w->next)
        pipeline->counters.warnings++;
    if (slice_present(dl->recording.announcement))
        relay_kick(&pipeline->outcomes);
    switch (dl->fate) {
    case RECORD_ACCEPTED:
        count_accepted(pipeline, dl);
        pipeline_finish(pipeline, dl, true, "accepted");
        break;
    default:
        pipeline->counters.dead++;
        relay_kick(&pipeline->outbox);
        pipeline_finish(pipeline, dl, true, "dead");
    }
}

/* Somebody else holds the claim: what we did is for them to find out; we ask the ledger anew. */
static void record_refused(struct pipeline *pipeline, struct delivery *dl)
{
    pipeline->counters.claims_refused++;
    dl->claimed = false;
    if (dl->fate == RECORD_RELEASED || dl->taken_up || delivery_is_leaving(pipeline, dl)) {
        pipeline_finish(pipeline, dl, false, "abandoned");
        return;
    }
    dl->maybe_sent = dl->maybe_sent || dl->calls > 0;
    dl->token = token_new(pipeline);
    delivery_move(pipeline, dl, DELIVERY_READY);
}

static void record_answered(struct pipeline *pipeline, struct delivery *dl)
{
    switch (dl->recording.answer) {
    case RECORD_DONE:
        record_durable(pipeline, dl);
        return;
    case RECORD_REFUSED:
        record_refused(pipeline, dl);
        return;
    case RECORD_POISON:
        if (dl->bare) /* nothing simpler is left to write: keep trying, slowly and visibly, rather than lose it */
            pipeline->ledger_retry_at = mono_add(pipeline->now, POISON_PAUSE_US);
        else
            pipeline->counters.poisoned++;
        dl->bare = true;
        delivery_move(pipeline, dl, DELIVERY_RECORDABLE);
        return;
    }
}

static void record_done(struct record_op *op, enum ledger_result result)
{
    struct pipeline *pipeline = op->owner;
    struct record_slot *slot = (struct record_slot *)op;
    assert(slot->busy && !slot->answered);
    slot->answered = true;
    slot->result = result;
    pipeline->wants_tick = true;
}

static void record_take_answer(struct pipeline *pipeline, struct record_slot *slot)
{
    const struct record_op *op = &slot->op;
    enum ledger_result result = slot->result;
    slot->busy = slot->answered = false;
    ledger_learn(pipeline, result);
    for (size_t i = 0; i < op->count; i++) {
        struct delivery *dl = owner_of(op->items[i]);
        if (result == LEDGER_OK)
            record_answered(pipeline, dl);
        else if (PLANTED(RESEND_AFTER_FAILED_RECORD) && dl->signup.death == DEATH_NONE)
            delivery_move(pipeline, dl, DELIVERY_ADMITTED);
        else
            delivery_move(pipeline, dl, DELIVERY_RECORDABLE);
    }
}

void records_take_answers(struct pipeline *pipeline)
{
    for (size_t i = 0; i < RECORD_OPS; i++) {
        if (pipeline->records[i].answered)
            record_take_answer(pipeline, &pipeline->records[i]);
    }
}

static size_t record_gather(struct pipeline *pipeline)
{
    size_t count = 0;
    foreach_list(pipeline, DELIVERY_RECORDABLE, dl, next)
    {
        if (count == pipeline->config.batch_max)
            break;
        pipeline->batch[count++] = dl;
    }
    return delivery_sort_unique(pipeline->batch, count);
}

static struct slice announcement_of(const struct pipeline *pipeline, struct delivery *dl)
{
    bool final = dl->fate == RECORD_ACCEPTED || dl->fate == RECORD_DEAD;
    if (!pipeline->ports.outcomes || !final || (PLANTED(OUTCOME_UNTOLD) && dl->fate == RECORD_DEAD))
        return SLICE_ABSENT;
    struct slice text = announcement_write(pipeline, dl);
    if (!slice_present(text))
        out_of_memory();
    return text;
}

static void record_fill(const struct pipeline *pipeline, struct delivery *dl)
{
    dl->recording = (struct record_item){
        .event_id = dl->signup.event_id,
        .token = dl->token,
        .state = dl->fate,
        .record = &dl->record,
        .signup = &dl->signup,
        .outcome = dl->has_outcome ? &dl->outcome : NULL,
        .reply = dl->fate == RECORD_ACCEPTED ? &dl->call.reply : NULL,
        .validation = dl->validation,
        .validation_fresh = dl->validation_fresh,
        .announcement = announcement_of(pipeline, dl),
        .request = dl->request,
        .attempts_made = dl->attempts_first,
        .attempts = dl->attempts,
        .maybe_sent = dl->maybe_sent && !(PLANTED(PARK_FORGETS_FATE) && dl->fate == RECORD_PARKED),
        .due_in_us = dl->due_in_us,
        .taken_up = dl->taken_up,
        .bare = dl->bare,
        .answer = RECORD_REFUSED,
    };
    if (PLANTED(RECORD_WITHOUT_TOKEN))
        dl->recording.token = (struct claim_token){{0}}; /* the simulated ledger takes it for "any" */
}

static bool record_waits(const struct pipeline *pipeline)
{
    size_t busy = 0;
    for (size_t i = 0; i < RECORD_OPS; i++)
        busy += pipeline->records[i].busy;
    return busy == RECORD_OPS || (busy && list_count(pipeline, DELIVERY_RECORDABLE) < pipeline->config.batch_max);
}

void record_flush(struct pipeline *pipeline)
{
    while (list_count(pipeline, DELIVERY_RECORDABLE) && !record_waits(pipeline) && ledger_admits(pipeline)) {
        struct record_slot *slot = NULL;
        for (size_t i = 0; i < RECORD_OPS && !slot; i++)
            slot = pipeline->records[i].busy ? NULL : &pipeline->records[i];
        size_t count = record_gather(pipeline);
        for (size_t i = 0; i < count; i++) {
            record_fill(pipeline, pipeline->batch[i]);
            slot->items[i] = &pipeline->batch[i]->recording;
        }
        slot->op =
            (struct record_op){.items = slot->items, .count = count, .done = record_done, .owner = pipeline};
        if (pipeline->ports.ledger->record(pipeline->ports.ledger_ctx, &slot->op) != PORT_OK) {
            ledger_failed(pipeline);
            return;
        }
        ledger_spend(pipeline);
        slot->busy = true;
        pipeline->counters.records_flushed++;
        for (size_t i = 0; i < count; i++)
            delivery_move(pipeline, owner_of(slot->items[i]), DELIVERY_RECORDING);
    }
}
