/* Leases: claims that live long (retries, an API that is away) are extended before they run out, in one statement for all. */
#include "state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A call needs call_timeout_us of lease; an extension is due while three fifths of what goes beyond are left. */
static int64_t lease_low_us(const struct pipeline *pipeline)
{
    int64_t spare = pipeline->config.lease_us - pipeline->config.call_timeout_us;
    return pipeline->config.call_timeout_us + spare * 3 / 5;
}

static void lease_lost(struct pipeline *pipeline, struct delivery *dl)
{
    if (PLANTED(TAKEN_UP_TWICE) && dl->taken_up) {
        dl->lease_until = mono_add(pipeline->now, pipeline->config.lease_us);
        return;
    }
    switch (dl->state) {
    case DELIVERY_HELD:
    case DELIVERY_ADMITTED:
    case DELIVERY_BACKOFF:
        pipeline->counters.claims_refused++;
        dl->claimed = false;
        dl->token = token_new(pipeline);
        dl->maybe_sent = dl->maybe_sent || dl->calls > 0;
        if (dl->taken_up || delivery_is_leaving(pipeline, dl)) /* taken up: it is in the ledger for whoever has it now */
            pipeline_finish(pipeline, dl, false, "abandoned");
        else
            delivery_move(pipeline, dl, DELIVERY_READY);
        break;
    default: /* under way: its record will be refused and says the same */
        break;
    }
}

static bool token_equal(struct claim_token a, struct claim_token b)
{
    return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

static void lease_done(struct lease_op *op, enum ledger_result result)
{
    struct pipeline *pipeline = op->owner;
    assert(pipeline->leasing && !pipeline->lease_answered);
    pipeline->lease_answered = true;
    pipeline->lease_result = result;
    pipeline->wants_tick = true;
}

void lease_take_answer(struct pipeline *pipeline)
{
    if (!pipeline->lease_answered)
        return;
    const struct lease_op *op = &pipeline->lease;
    enum ledger_result result = pipeline->lease_result;
    pipeline->leasing = pipeline->lease_answered = false;
    ledger_learn(pipeline, result);
    for (size_t i = 0; i < op->count; i++) {
        struct delivery *dl = pipeline->lease_owners[i];
        dl->pins--;
        bool same = dl->claimed && token_equal(dl->token, op->items[i].token);
        if (result != LEDGER_OK || dl->state == DELIVERY_DONE || !same)
            continue;
        if (op->items[i].held)
            dl->lease_until = mono_add(pipeline->lease_sent_at, op->lease_us);
        else
            lease_lost(pipeline, dl);
    }
}

static bool lease_room(struct pipeline *pipeline, size_t count)
{
    if (count <= pipeline->lease_size)
        return true;
    size_t size = count * 2;
    struct lease_item *items = realloc(pipeline->lease.items, size * sizeof *items);
    if (items)
        pipeline->lease.items = items;
    struct delivery **owners = realloc(pipeline->lease_owners, size * sizeof *owners);
    if (owners)
        pipeline->lease_owners = owners;
    if (!items || !owners)
        return false;
    pipeline->lease_size = size;
    return true;
}

/* The states in which a claim lives on without a statement of its own. */
static const enum delivery_state holders[] = {DELIVERY_HELD,    DELIVERY_ADMITTED, DELIVERY_VALIDATING, DELIVERY_CALLING,
                                              DELIVERY_READING, DELIVERY_BACKOFF,  DELIVERY_RECORDABLE};
#define HOLDERS (sizeof holders / sizeof holders[0])

static size_t lease_gather(struct pipeline *pipeline)
{
    mono_us_t low = mono_add(pipeline->now, lease_low_us(pipeline));
    size_t count = 0;
    for (size_t i = 0; i < HOLDERS; i++) {
        if (!lease_room(pipeline, count + list_count(pipeline, holders[i])))
            return 0; /* out of memory for now: the leases have room for a later try */
        foreach_list(pipeline, holders[i], dl, next)
        {
            if (dl->claimed && dl->lease_until.us < low.us)
                pipeline->lease_owners[count++] = dl;
        }
    }
    count = delivery_sort_unique(pipeline->lease_owners, count);
    for (size_t i = 0; i < count; i++) {
        const struct delivery *dl = pipeline->lease_owners[i];
        pipeline->lease.items[i] = (struct lease_item){
            .event_id = dl->signup.event_id, .token = dl->token, .maybe_sent = dl->maybe_sent || dl->calls > 0};
    }
    return count;
}

mono_us_t lease_next(const struct pipeline *pipeline)
{
    bool any = false;
    for (size_t i = 0; i < HOLDERS && !any; i++)
        any = list_count(pipeline, holders[i]) > 0;
    if (!any || pipeline->leasing)
        return MONO_NEVER;
    return ledger_when(pipeline, pipeline->next_lease);
}

void lease_extend_all(struct pipeline *pipeline)
{
    if (pipeline->leasing || !mono_reached(pipeline->now, pipeline->next_lease) || !ledger_admits(pipeline))
        return;
    int64_t spare = pipeline->config.lease_us - pipeline->config.call_timeout_us;
    pipeline->next_lease = mono_add(pipeline->now, spare / 5);
    size_t count = lease_gather(pipeline);
    if (!count)
        return;
    pipeline->lease.count = count;
    pipeline->lease.lease_us = pipeline->config.lease_us;
    pipeline->lease.done = lease_done;
    pipeline->lease.owner = pipeline;
    pipeline->lease_sent_at = pipeline->now;
    if (pipeline->ports.ledger->extend(pipeline->ports.ledger_ctx, &pipeline->lease) != PORT_OK) {
        ledger_failed(pipeline);
        return;
    }
    ledger_spend(pipeline);
    pipeline->leasing = true;
    for (size_t i = 0; i < count; i++)
        pipeline->lease_owners[i]->pins++;
}
