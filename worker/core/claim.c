/* The claim stage: lane heads in batches to the ledger, and what each of its answers means. No claim, no call (I6). */
#include "state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ASK_AGAIN_BASE_US (200 * US_PER_MS)
#define ASK_AGAIN_CAP_US (1 * US_PER_S)
#define BEHIND_US (1 * US_PER_S) /* looked at again after so long; the end of the one before makes it due at once */

static struct delivery *owner_of(struct claim_item *item)
{
    return (struct delivery *)((char *)item - offsetof(struct delivery, claim));
}

struct claim_token token_new(struct pipeline *pipeline)
{
    struct claim_token token;
    uint64_t tail = pipeline->token_next++;
    memcpy(token.bytes, &pipeline->token_head, 8);
    memcpy(token.bytes + 8, &tail, 8);
    return token;
}

bool delivery_is_leaving(const struct pipeline *pipeline, const struct delivery *dl)
{
    return pipeline->draining || (dl->window && dl->window->state != WINDOW_ACTIVE);
}

static void ask_again(struct pipeline *pipeline, struct delivery *dl)
{
    int64_t pause = backoff_us(&pipeline->random, ASK_AGAIN_BASE_US, ASK_AGAIN_CAP_US, dl->failures++);
    delivery_move(pipeline, dl, DELIVERY_WAITING);
    heap_push(&pipeline->due, dl, mono_add(pipeline->now, pause));
}

static void take_position_as_id(struct delivery *dl)
{
    dl->signup.event_id = dl->signup.position;
    dl->signup.id_from_position = true;
}

/* The id belongs to somebody else's signup: this record answers for itself under its position. */
static void claim_conflict(struct pipeline *pipeline, struct delivery *dl)
{
    if (dl->signup.id_from_position) {
        ask_again(pipeline, dl);
        return;
    }
    pipeline->counters.conflicts++;
    take_position_as_id(dl);
    if (dl->signup.death == DEATH_NONE) {
        dl->signup.death = DEATH_EVENT_ID_CONFLICT;
        dl->signup.death_message = SLICE_LITERAL(
            "this event_id is already used by the signup of another contact: give every signup an event_id of its own");
    }
    dl->token = token_new(pipeline);
    delivery_move(pipeline, dl, DELIVERY_READY);
}

/* The database refuses the row's data: a row that holds nothing but the position and the bytes is all that can be kept. */
static void claim_poisoned(struct pipeline *pipeline, struct delivery *dl)
{
    if (dl->bare) {
        ask_again(pipeline, dl);
        return;
    }
    pipeline->counters.poisoned++;
    dl->bare = true;
    take_position_as_id(dl);
    dl->signup.phone_number = dl->signup.list_number = SLICE_ABSENT;
    dl->signup.death = DEATH_INVALID_FIELD;
    dl->signup.death_message =
        SLICE_LITERAL("the ledger's database refuses this event's data; the original is kept with its dead letter");
    dl->token = token_new(pipeline);
    delivery_move(pipeline, dl, DELIVERY_READY);
}

/* An earlier event of the contact is parked: this one joins it in the ledger, where any worker finds them in their order. */
static void claim_behind(struct pipeline *pipeline, struct delivery *dl)
{
    if (delivery_is_leaving(pipeline, dl)) {
        record_give_back(pipeline, dl);
        return;
    }
    pipeline->counters.behind++;
    record_park(pipeline, dl, BEHIND_US);
}

static void claim_given(struct pipeline *pipeline, struct delivery *dl, mono_us_t sent_at)
{
    dl->claimed = true;
    dl->lease_until = mono_add(sent_at, pipeline->config.lease_us);
    dl->maybe_sent = dl->maybe_sent || dl->claim.maybe_sent;
    dl->attempts = dl->calls_before = dl->claim.attempts;
    dl->claimed_at = pipeline->now; /* late rather than early: nobody dies of age before the ledger's clock says so */
    dl->age_us = dl->claim.age_us;
    if (slice_present(dl->claim.known.validation)) {
        dl->known = dl->claim.known;
        dl->known_at = pipeline->now;
    }
    dl->calls = dl->counted = dl->reads_failed = 0; /* tries goes on: those under a claim that was lost are not written yet */
    dl->failures = 0;
    if (dl->claim.answer == CLAIM_BEHIND && !PLANTED(OVERTAKES_PARKED)) {
        claim_behind(pipeline, dl);
        return;
    }
    if (dl->signup.death != DEATH_NONE)
        record_decide(pipeline, dl, RECORD_DEAD);
    else if (delivery_is_leaving(pipeline, dl))
        record_give_back(pipeline, dl);
    else
        delivery_move(pipeline, dl, DELIVERY_ADMITTED);
}

static void claim_answered(struct pipeline *pipeline, struct delivery *dl, mono_us_t sent_at)
{
    switch (dl->claim.answer) {
    case CLAIM_GO:
    case CLAIM_BEHIND:
        claim_given(pipeline, dl, sent_at);
        return;
    case CLAIM_SETTLED:
        pipeline->counters.settled++;
        pipeline_finish(pipeline, dl, true, "settled");
        return;
    default:
        break;
    }
    if (delivery_is_leaving(pipeline, dl)) {
        pipeline_finish(pipeline, dl, false, "abandoned");
        return;
    }
    switch (dl->claim.answer) {
    case CLAIM_CONFLICT:
        claim_conflict(pipeline, dl);
        return;
    case CLAIM_POISON:
        claim_poisoned(pipeline, dl);
        return;
    default: /* CLAIM_BUSY: nothing of ours was written */
        ask_again(pipeline, dl);
    }
}

static void claim_done(struct claim_op *op, enum ledger_result result)
{
    struct pipeline *pipeline = op->owner;
    struct claim_slot *slot = (struct claim_slot *)op;
    assert(slot->busy && !slot->answered);
    slot->answered = true;
    slot->result = result;
    pipeline->wants_tick = true;
}

static void claim_take_answer(struct pipeline *pipeline, struct claim_slot *slot)
{
    const struct claim_op *op = &slot->op;
    enum ledger_result result = slot->result;
    slot->busy = slot->answered = false;
    ledger_learn(pipeline, result);
    for (size_t i = 0; i < op->count; i++) {
        struct delivery *dl = owner_of(op->items[i]);
        if (PLANTED(SKIPPED_CLAIM) && dl->state != DELIVERY_CLAIMING)
            continue;
        if (result == LEDGER_OK)
            claim_answered(pipeline, dl, slot->sent_at);
        else if (delivery_is_leaving(pipeline, dl))
            pipeline_finish(pipeline, dl, false, "abandoned");
        else /* asked again under the same token: if the answer was lost, the row knows us */
            delivery_move(pipeline, dl, DELIVERY_READY);
    }
}

void claims_take_answers(struct pipeline *pipeline)
{
    for (size_t i = 0; i < CLAIM_OPS; i++) {
        if (pipeline->claims[i].answered)
            claim_take_answer(pipeline, &pipeline->claims[i]);
    }
}

static bool id_is_being_claimed(const struct pipeline *pipeline, const struct delivery *dl)
{
    for (size_t i = 0; i < CLAIM_OPS; i++) {
        const struct claim_slot *slot = &pipeline->claims[i];
        if (!slot->busy)
            continue;
        size_t low = 0;
        size_t high = slot->op.count;
        while (low < high) {
            size_t mid = (low + high) / 2;
            int order = slice_compare(slot->items[mid]->event_id, dl->signup.event_id);
            if (order == 0)
                return true;
            if (order < 0)
                low = mid + 1;
            else
                high = mid;
        }
    }
    return false;
}

/* Up to batch_max of READY, oldest first, sorted by event id, no id twice (also not of a statement under way). */
static size_t claim_gather(struct pipeline *pipeline)
{
    size_t count = 0;
    foreach_list(pipeline, DELIVERY_READY, dl, next)
    {
        if (count == pipeline->config.batch_max)
            break;
        if (delivery_is_leaving(pipeline, dl))
            pipeline_finish(pipeline, dl, false, "abandoned");
        else
            pipeline->batch[count++] = dl;
    }
    count = delivery_sort_unique(pipeline->batch, count);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!id_is_being_claimed(pipeline, pipeline->batch[i]))
            pipeline->batch[kept++] = pipeline->batch[i];
    }
    return kept;
}

static struct claim_slot *claim_slot_free(struct pipeline *pipeline)
{
    for (size_t i = 0; i < CLAIM_OPS; i++) {
        if (!pipeline->claims[i].busy)
            return &pipeline->claims[i];
    }
    return NULL;
}

#define AHEAD_MIN 32

/* What is claimed and not called yet: enough that the calls never wait for a claim, and no more, because after a crash every claim counts as
 * perhaps called. */
static bool enough_ahead(const struct pipeline *pipeline)
{
    size_t ahead = pipeline->config.max_in_flight > AHEAD_MIN ? pipeline->config.max_in_flight : AHEAD_MIN;
    if (ahead > pipeline->config.batch_max)
        ahead = pipeline->config.batch_max;
    return list_count(pipeline, DELIVERY_ADMITTED) + list_count(pipeline, DELIVERY_CLAIMING) + list_count(pipeline, DELIVERY_VALIDATING) >=
           pipeline->config.max_in_flight + ahead;
}

/* The second slot is for full batches only: while a statement is under way the next one grows. */
bool claim_waits(const struct pipeline *pipeline)
{
    size_t busy = 0;
    if (enough_ahead(pipeline))
        return true;
    for (size_t i = 0; i < CLAIM_OPS; i++)
        busy += pipeline->claims[i].busy;
    return busy == CLAIM_OPS || (busy && list_count(pipeline, DELIVERY_READY) < pipeline->config.batch_max);
}

/* What the ledger remembers of the phone saves a lookup, or its price. */
static bool wants_known(const struct pipeline *pipeline, const struct delivery *dl)
{
    if (dl->signup.death != DEATH_NONE || slice_present(dl->validation))
        return false;
    return dl->signup.validation == EVENT_VALIDATION_GATE ||
           (dl->signup.use_validation && pipeline->config.daily_budget != BUDGET_NONE);
}

void claim_flush(struct pipeline *pipeline)
{
    while (list_count(pipeline, DELIVERY_READY) && !claim_waits(pipeline) && ledger_admits(pipeline)) {
        size_t count = claim_gather(pipeline);
        if (!count)
            return;
        struct claim_slot *slot = claim_slot_free(pipeline);
        for (size_t i = 0; i < count; i++) {
            struct delivery *dl = pipeline->batch[i];
            dl->claim = (struct claim_item){.event_id = dl->signup.event_id,
                                            .record = &dl->record,
                                            .signup = &dl->signup,
                                            .token = dl->token,
                                            .wants_known = wants_known(pipeline, dl),
                                            .arena = &dl->arena,
                                            .answer = CLAIM_BUSY};
            slot->items[i] = &dl->claim;
        }
        slot->op = (struct claim_op){.items = slot->items,
                                     .count = count,
                                     .lease_us = pipeline->config.lease_us,
                                     .done = claim_done,
                                     .owner = pipeline};
        slot->sent_at = pipeline->now;
        if (pipeline->ports.ledger->claim(pipeline->ports.ledger_ctx, &slot->op) != PORT_OK) {
            ledger_failed(pipeline);
            return;
        }
        ledger_spend(pipeline);
        slot->busy = true;
        pipeline->counters.claims++;
        for (size_t i = 0; i < count; i++) {
            struct delivery *dl = owner_of(slot->items[i]);
            delivery_move(pipeline, dl, DELIVERY_CLAIMING);
            if (PLANTED(SKIPPED_CLAIM) && dl->signup.death == DEATH_NONE) {
                dl->claimed = true;
                dl->lease_until = mono_add(pipeline->now, pipeline->config.lease_us);
                delivery_move(pipeline, dl, DELIVERY_ADMITTED);
            }
        }
    }
}
