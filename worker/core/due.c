/* Taking up parked events: as many at a time as the calls can use, so that a hundred thousand that fall due together come back at the gate's
 * pace, and fresh traffic has about the other half of the calls. */
#include "due.h"

#include "state.h"

#include <assert.h>

#define DUE_ARENA_BYTES ((size_t)8 << 20)
#define DUE_ARENA_MIN_BYTES ((size_t)1 << 20)
#define SAME_LIFE_US (1 * US_PER_S) /* two clocks may count an age so differently */
#define DUE_PAUSE_US (10 * US_PER_MS) /* between two looks, however many are due */

void due_init(struct pipeline *pipeline)
{
    pipeline->due_box = (struct due){0};
    arena_init(&pipeline->due_box.arena, DUE_ARENA_BYTES);
}

void due_fini(struct pipeline *pipeline)
{
    arena_fini(&pipeline->due_box.arena);
}

void due_expect(struct pipeline *pipeline, int64_t due_in_us)
{
    struct due *due = &pipeline->due_box;
    due->next_look = mono_earlier(due->next_look, mono_add(pipeline->now, due_in_us + DUE_PAUSE_US));
}

/* ---- what came */

/* We may have it still: our lease ran out while the ledger was away. What we know of it is worth more than a new beginning, above all when it has
 * been accepted meanwhile. */
static bool due_known(const struct pipeline *pipeline, const struct delivery *newcomer)
{
    struct delivery *dl = newcomer->lane->head;
    while (dl != newcomer && !(dl->taken_up && slice_equal(dl->signup.event_id, newcomer->signup.event_id)))
        dl = dl->lane_next;
    if (dl == newcomer || dl->state == DELIVERY_RECORDING)
        return false; /* its record, under way under the old token, will be refused */
    if (dl->state == DELIVERY_RECORDABLE && (dl->fate == RECORD_PARKED || dl->fate == RECORD_RELEASED))
        return false; /* it knows nothing that the row does not */
    if (newcomer->age_us + SAME_LIFE_US < delivery_age_us(pipeline, dl) || newcomer->attempts < dl->calls_before)
        return false; /* it has died and was replayed since: this is another life */
    dl->token = newcomer->token;
    dl->lease_until = newcomer->lease_until;
    dl->claimed = true;
    dl->claimed_at = newcomer->claimed_at;
    dl->age_us = newcomer->age_us;
    /* Somebody else may have had it in between. */
    dl->maybe_sent = dl->maybe_sent || newcomer->maybe_sent;
    if (dl->attempts < newcomer->attempts)
        dl->attempts = newcomer->attempts;
    if (slice_present(newcomer->known.validation) && !dl->judged) {
        dl->known = newcomer->known;
        dl->known.validation = arena_copy(&dl->arena, newcomer->known.validation);
        dl->known_at = newcomer->known_at;
    }
    return true;
}

static void due_admit(struct pipeline *pipeline, const struct parked_event *event)
{
    struct due *due = &pipeline->due_box;
    struct delivery *dl = delivery_create(pipeline, &event->original);
    if (!dl)
        out_of_memory();
    signup_read(&pipeline->config.rules, &dl->record, pipeline->wall, &dl->arena, &dl->signup);
    if (!slice_equal(dl->signup.event_id, event->event_id)) {
        /* The row is named by its position: its own id was somebody else's, or unfit. */
        dl->signup.event_id = arena_copy(&dl->arena, event->event_id);
        dl->signup.id_from_position = true;
        if (!slice_present(dl->signup.event_id))
            out_of_memory();
    }
    dl->taken_up = dl->claimed = true;
    dl->token = due->take.token;
    dl->claimed_at = pipeline->now;
    dl->lease_until = mono_add(due->sent_at, pipeline->config.lease_us);
    dl->maybe_sent = event->maybe_sent;
    dl->attempts = dl->calls_before = event->attempts;
    dl->age_us = event->age_us;
    if (slice_present(event->known.validation)) {
        dl->known = event->known;
        dl->known.validation = arena_copy(&dl->arena, event->known.validation);
        dl->known_at = pipeline->now;
    }
    if (!lane_join(pipeline, dl))
        out_of_memory();
    due->held++;
    pipeline->counters.taken_up++;
    delivery_count_memory(pipeline, dl);
    delivery_move(pipeline, dl, DELIVERY_HELD);
    if (due_known(pipeline, dl)) {
        pipeline_finish(pipeline, dl, false, "known");
        return;
    }
    if (lane_is_head(dl) || PLANTED(PARK_LOSES_ORDER))
        delivery_go(pipeline, dl);
}

void delivery_go(struct pipeline *pipeline, struct delivery *dl)
{
    if (!dl->claimed)
        delivery_move(pipeline, dl, DELIVERY_READY);
    else if (delivery_is_leaving(pipeline, dl))
        record_give_back(pipeline, dl);
    else if (dl->signup.death != DEATH_NONE)
        record_decide(pipeline, dl, RECORD_DEAD);
    else
        delivery_move(pipeline, dl, DELIVERY_ADMITTED);
}

static void due_done(struct due_take_op *op, enum ledger_result result)
{
    struct pipeline *pipeline = op->owner;
    struct due *due = &pipeline->due_box;
    assert(due->taking && !due->answered);
    due->answered = true;
    due->result = result;
    pipeline->wants_tick = true;
}

void due_take_answer(struct pipeline *pipeline)
{
    struct due *due = &pipeline->due_box;
    if (!due->answered)
        return;
    due->taking = due->answered = false;
    due->reserved_bytes = 0;
    ledger_learn(pipeline, due->result);
    due->again = due->result != LEDGER_OK;
    if (due->again) {
        arena_fini(&due->arena);
        return;
    }
    const struct due_take_op *op = &due->take;
    for (size_t i = op->count; i-- > 0;) /* the first ends up in front (delivery_move()) */
        due_admit(pipeline, &op->events[i]);
    int64_t wait_us = pipeline->config.due_interval_us;
    if (op->next_due_in_us >= 0 && op->next_due_in_us < wait_us)
        wait_us = op->next_due_in_us;
    due->next_look = mono_add(pipeline->now, wait_us > DUE_PAUSE_US ? wait_us : DUE_PAUSE_US);
    arena_fini(&due->arena);
}

/* ---- asking for more */

/* What is left of the memory budget. */
static size_t memory_left(const struct pipeline *pipeline)
{
    size_t budget = pipeline->config.memory_bytes;
    return pipeline->memory_bytes < budget ? budget - pipeline->memory_bytes : 0;
}

/* How many may be taken up now. With the route closed only what is needed for its probes, and only if nothing else can probe. */
static size_t due_room(const struct pipeline *pipeline)
{
    const struct due *due = &pipeline->due_box;
    size_t share = pipeline->config.max_in_flight;
    size_t left = memory_left(pipeline);
    if (!left || due->held >= share)
        return 0;
    if (!gate_is_open(&pipeline->upsert))
        return pipeline_can_probe(pipeline) ? 0 : 1;
    if (due->held > share / 2)
        return 0;
    size_t room = share - due->held;
    if (room > pipeline->config.batch_max)
        room = pipeline->config.batch_max;
    return room > left / DELIVERY_BYTES ? left / DELIVERY_BYTES + 1 : room;
}

/* With the route closed there is no hurry: another worker's may be open, and it is to win. */
static mono_us_t due_look_at(const struct pipeline *pipeline)
{
    const struct due *due = &pipeline->due_box;
    mono_us_t slowly = mono_add(due->sent_at, pipeline->config.due_interval_us);
    return gate_is_open(&pipeline->upsert) || slowly.us < due->next_look.us ? due->next_look : slowly;
}

void due_tick(struct pipeline *pipeline)
{
    struct due *due = &pipeline->due_box;
    if (due->taking || pipeline->draining || !mono_reached(pipeline->now, due_look_at(pipeline)) || !ledger_admits(pipeline) ||
        PLANTED(FORGOTTEN_PARKED))
        return;
    size_t room = due_room(pipeline);
    if (!room)
        return;
    struct claim_token token = due->again ? due->take.token : token_new(pipeline);
    size_t left = memory_left(pipeline);
    if (left < DUE_ARENA_MIN_BYTES) /* one event always fits */
        left = DUE_ARENA_MIN_BYTES;
    arena_init(&due->arena, left < DUE_ARENA_BYTES ? left : DUE_ARENA_BYTES);
    due->take = (struct due_take_op){.limit = room,
                                     .lease_us = pipeline->config.lease_us,
                                     .token = token,
                                     .arena = &due->arena,
                                     .next_due_in_us = -1,
                                     .done = due_done,
                                     .owner = pipeline};
    due->sent_at = pipeline->now;
    if (pipeline->ports.ledger->due_take(pipeline->ports.ledger_ctx, &due->take) != PORT_OK) {
        ledger_failed(pipeline);
        return;
    }
    ledger_spend(pipeline);
    due->reserved_bytes = room * DELIVERY_BYTES;
    due->taking = true;
}

mono_us_t due_next(const struct pipeline *pipeline)
{
    const struct due *due = &pipeline->due_box;
    if (due->taking || pipeline->draining || !due_room(pipeline) || PLANTED(FORGOTTEN_PARKED))
        return MONO_NEVER;
    return ledger_when(pipeline, due_look_at(pipeline));
}
