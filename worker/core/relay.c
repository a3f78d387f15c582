/* Rows of the ledger to a topic: taken under a lease, published, and only then marked (I7). */
#include "relay.h"

#include "state.h"

#include <assert.h>

#define REFUSED_US (30 * US_PER_S) /* a row that is refused while others are taken stands back for so long */
#define PAUSE_BASE_US (500 * US_PER_MS)
#define PAUSE_CAP_US (30 * US_PER_S)

void relay_init(struct relay *relay, const struct relay_kind *kind)
{
    *relay = (struct relay){.kind = kind};
    arena_init(&relay->arena, kind ? kind->arena_bytes : 0);
}

void relay_fini(struct relay *relay)
{
    arena_fini(&relay->arena);
}

void relay_kick(struct relay *relay)
{
    relay->kicked = true;
}

static void relay_pause(struct pipeline *pipeline, struct relay *relay)
{
    if (!relay->trouble) {
        relay->trouble = true;
        relay->trouble_since = pipeline->now;
        pipeline_observe(pipeline, OBSERVED_WAIT, NULL, relay->kind->route, relay->kind->refused, 0);
    }
    relay->next_sweep = mono_add(pipeline->now, relay->pause_us);
    relay->kicked = false;
}

static void relay_reset(struct relay *relay)
{
    relay->state = RELAY_IDLE;
    arena_fini(&relay->arena);
}

void relay_ledger_done(struct pipeline *pipeline, struct relay *relay, enum ledger_result result)
{
    assert(!relay->answered);
    relay->answered = true;
    relay->result = result;
    pipeline->wants_tick = true;
}

void relay_publish_done(struct pipeline *pipeline, struct relay *relay)
{
    assert(relay->state == RELAY_PUBLISHING);
    relay->state = RELAY_PUBLISHED;
    pipeline->wants_tick = true;
}

/* ---- the answers */

static void take_take_answer(struct relay *relay)
{
    bool more = false;
    if (relay->result != LEDGER_OK) {
        relay_reset(relay);
        relay->kicked = true;
        return;
    }
    if (relay->kind->taken(relay, &more) == 0) {
        relay_reset(relay);
        return;
    }
    relay->kicked = relay->kicked || more;
    relay->state = RELAY_TAKEN;
}

static void mark_take_answer(struct pipeline *pipeline, struct relay *relay)
{
    if (relay->result != LEDGER_OK) {
        /* Unknown: the rows may be published and not marked. Asking again is harmless, a second copy is allowed. */
        relay->state = RELAY_PUBLISHED;
        if (mono_reached(pipeline->now, relay->lease_until))
            relay_reset(relay);
        return;
    }
    bool none = relay->kind->published(relay) == 0;
    relay_reset(relay);
    if (none) {
        relay_pause(pipeline, relay);
        return;
    }
    if (relay->trouble)
        pipeline_observe(pipeline, OBSERVED_RESUME, NULL, relay->kind->route, "", pipeline->now.us - relay->trouble_since.us);
    relay->trouble = false;
    relay->failures = 0;
}

void relay_take_answer(struct pipeline *pipeline, struct relay *relay)
{
    if (!relay->answered)
        return;
    relay->answered = false;
    ledger_learn(pipeline, relay->result);
    if (relay->state == RELAY_TAKING)
        take_take_answer(relay);
    else if (relay->state == RELAY_MARKING)
        mark_take_answer(pipeline, relay);
}

/* ---- the steps */

static void relay_take(struct pipeline *pipeline, struct relay *relay)
{
    const struct relay_kind *kind = relay->kind;
    bool due = mono_reached(pipeline->now, relay->next_sweep);
    bool wanted = due || (relay->kicked && !relay->trouble);
    if (!wanted || !ledger_admits(pipeline) || pipeline->draining || (kind->admits && !kind->admits(pipeline)))
        return;
    if (PLANTED(UNSWEPT_OUTBOX) && !relay->kicked) {
        relay->next_sweep = mono_add(pipeline->now, pipeline->config.outbox_interval_us);
        return;
    }
    relay->kicked = false;
    relay->next_sweep = mono_add(pipeline->now, pipeline->config.outbox_interval_us);
    arena_init(&relay->arena, kind->arena_bytes);
    relay->token = token_new(pipeline);
    relay->lease_until = mono_add(pipeline->now, kind->lease_us);
    if (kind->take(pipeline, relay, relay->trouble ? kind->probe : kind->batch) == PORT_OK) {
        ledger_spend(pipeline);
        relay->state = RELAY_TAKING;
        return;
    }
    relay->kicked = true;
    ledger_failed(pipeline);
}

static void relay_publish(struct pipeline *pipeline, struct relay *relay)
{
    bool more;
    relay->state = RELAY_PUBLISHING;
    if (relay->kind->publish(pipeline, relay) == PORT_OK) {
        if (relay->kind->spend)
            relay->kind->spend(pipeline, relay->kind->taken(relay, &more));
    } else
        relay->state = RELAY_PUBLISHED; /* none is published: their leases are given back, a later sweep finds them */
}

static void relay_mark(struct pipeline *pipeline, struct relay *relay)
{
    if (!ledger_admits(pipeline))
        return;
    int64_t retry_in_us = REFUSED_US;
    if (relay->kind->published(relay) == 0) {
        relay->pause_us = backoff_us(&pipeline->random, PAUSE_BASE_US, PAUSE_CAP_US, relay->failures++) + PAUSE_BASE_US;
        retry_in_us = relay->pause_us;
    }
    if (relay->kind->mark(pipeline, relay, pipeline->draining ? 0 : retry_in_us) != PORT_OK) {
        ledger_failed(pipeline);
        return;
    }
    ledger_spend(pipeline);
    relay->state = RELAY_MARKING;
}

void relay_tick(struct pipeline *pipeline, struct relay *relay)
{
    if (!relay->kind)
        return;
    if (relay->state == RELAY_IDLE)
        relay_take(pipeline, relay);
    if (relay->state == RELAY_TAKEN)
        relay_publish(pipeline, relay);
    if (relay->state == RELAY_PUBLISHED)
        relay_mark(pipeline, relay);
}

/* ---- what others ask */

bool relay_asks(const struct relay *relay)
{
    return relay->state == RELAY_TAKING || relay->state == RELAY_MARKING;
}

/* What a topic in trouble has not taken yet is not worth a shutdown's patience: it is due again after its lease. */
bool relay_is_idle(const struct relay *relay)
{
    return relay->state == RELAY_IDLE || (relay->state == RELAY_PUBLISHING && relay->trouble);
}

mono_us_t relay_next(const struct pipeline *pipeline, const struct relay *relay)
{
    if (!relay->kind)
        return MONO_NEVER;
    if (relay->state == RELAY_TAKEN)
        return pipeline->now;
    if (relay->state == RELAY_PUBLISHED)
        return ledger_when(pipeline, pipeline->now);
    if (relay->state != RELAY_IDLE || pipeline->draining)
        return MONO_NEVER;
    mono_us_t wanted = relay->kicked && !relay->trouble ? pipeline->now : relay->next_sweep;
    if (pipeline->ledger_away && relay == &pipeline->outbox) /* ledger_probe() makes it due */
        wanted = pipeline->now;
    mono_us_t pace = relay->kind->next ? relay->kind->next(pipeline) : pipeline->now;
    return ledger_when(pipeline, pace.us > wanted.us ? pace : wanted);
}
