/* The outbox: dead rows that have no letter yet are taken from the ledger, published, and only then marked (I7). One path for the letters of
 * this moment and for those that a crash left behind. */
#include "outbox.h"

#include "state.h"

#include <assert.h>

#define OUTBOX_BATCH 100
#define OUTBOX_ARENA_BYTES ((size_t)16 << 20)
#define OUTBOX_LEASE_US (40 * US_PER_S) /* a publish ends within 35 s (kafka/dead_letter.h) */
#define OUTBOX_PAUSE_BASE_US (500 * US_PER_MS)
#define OUTBOX_PAUSE_CAP_US (30 * US_PER_S)

static void outbox_pause(struct pipeline *pipeline, struct outbox *box, const char *why)
{
    if (!box->trouble) {
        box->trouble = true;
        box->trouble_since = pipeline->now;
        pipeline_observe(pipeline, OBSERVED_WAIT, NULL, "dead_letter", why, 0);
    }
    int64_t pause =
        backoff_us(&pipeline->random, OUTBOX_PAUSE_BASE_US, OUTBOX_PAUSE_CAP_US, box->failures++) + OUTBOX_PAUSE_BASE_US;
    box->next_sweep = mono_add(pipeline->now, pause);
    box->kicked = false;
}

static void outbox_reset(struct outbox *box)
{
    box->state = OUTBOX_IDLE;
    arena_fini(&box->arena);
}

static void ledger_done(struct pipeline *pipeline, enum ledger_result result)
{
    assert(!pipeline->outbox.answered);
    pipeline->outbox.answered = true;
    pipeline->outbox.result = result;
    pipeline->wants_tick = true;
}

static void mark_done(struct outbox_mark_op *op, enum ledger_result result)
{
    ledger_done(op->owner, result);
}

static void mark_take_answer(struct pipeline *pipeline, struct outbox *box)
{
    const struct outbox_mark_op *op = &box->mark;
    if (box->result != LEDGER_OK) {
        /* Unknown: the rows may be published and not marked. Asking again is harmless, a second copy of a letter is allowed. */
        box->state = OUTBOX_PUBLISHED;
        if (mono_reached(pipeline->now, box->lease_until))
            outbox_reset(box);
        return;
    }
    bool all = true;
    for (size_t i = 0; i < op->count; i++)
        all = all && op->letters[i].published;
    outbox_reset(box);
    if (!all) {
        outbox_pause(pipeline, box, "the dead-letter topic does not take all letters; they stay due in the ledger");
        return;
    }
    if (box->trouble)
        pipeline_observe(pipeline, OBSERVED_RESUME, NULL, "dead_letter", "", pipeline->now.us - box->trouble_since.us);
    box->trouble = false;
    box->failures = 0;
}

static void outbox_mark(struct pipeline *pipeline, struct outbox *box)
{
    if (!ledger_admits(pipeline))
        return;
    box->mark = (struct outbox_mark_op){.letters = box->take.letters,
                                        .count = box->take.count,
                                        .token = box->take.token,
                                        .done = mark_done,
                                        .owner = pipeline};
    if (pipeline->ports.ledger->outbox_mark(pipeline->ports.ledger_ctx, &box->mark) == PORT_OK)
        box->state = OUTBOX_MARKING;
    else
        ledger_failed(pipeline);
}

static void publish_done(struct publish_op *op)
{
    struct pipeline *pipeline = op->owner;
    struct outbox *box = &pipeline->outbox;
    pipeline->wants_tick = true;
    for (size_t i = 0; i < op->count; i++) {
        if (op->letters[i].published)
            pipeline->counters.dead_letters++;
        else
            pipeline->counters.dead_letter_failures++;
    }
    box->state = OUTBOX_PUBLISHED;
}

static void outbox_publish(struct pipeline *pipeline, struct outbox *box)
{
    if (PLANTED(MARK_BEFORE_PUBLISH)) {
        for (size_t i = 0; i < box->take.count; i++)
            box->take.letters[i].published = true;
        box->state = OUTBOX_PUBLISHED;
        return;
    }
    box->publish = (struct publish_op){
        .letters = box->take.letters, .count = box->take.count, .done = publish_done, .owner = pipeline};
    if (pipeline->ports.dead_letter->publish(pipeline->ports.dead_letter_ctx, &box->publish) == PORT_OK)
        box->state = OUTBOX_PUBLISHING;
    else
        box->state = OUTBOX_PUBLISHED; /* none is published: their leases are given back, a later sweep finds them */
}

static void take_done(struct outbox_take_op *op, enum ledger_result result)
{
    ledger_done(op->owner, result);
}

static void take_take_answer(struct outbox *box)
{
    const struct outbox_take_op *op = &box->take;
    if (box->result != LEDGER_OK) {
        outbox_reset(box);
        box->kicked = true;
        return;
    }
    if (op->count == 0) {
        outbox_reset(box);
        return;
    }
    box->kicked = box->kicked || op->more;
    box->state = OUTBOX_TAKEN;
}

static void outbox_take(struct pipeline *pipeline, struct outbox *box)
{
    bool due = mono_reached(pipeline->now, box->next_sweep);
    bool wanted = due || (box->kicked && !box->trouble);
    if (!wanted || !ledger_admits(pipeline) || pipeline->draining)
        return;
    if (PLANTED(UNSWEPT_OUTBOX) && !box->kicked) {
        box->next_sweep = mono_add(pipeline->now, pipeline->config.outbox_interval_us);
        return;
    }
    box->kicked = false;
    box->next_sweep = mono_add(pipeline->now, pipeline->config.outbox_interval_us);
    arena_init(&box->arena, OUTBOX_ARENA_BYTES);
    box->take = (struct outbox_take_op){.limit = OUTBOX_BATCH,
                                        .lease_us = OUTBOX_LEASE_US,
                                        .token = token_new(pipeline),
                                        .arena = &box->arena,
                                        .done = take_done,
                                        .owner = pipeline};
    box->lease_until = mono_add(pipeline->now, OUTBOX_LEASE_US);
    if (pipeline->ports.ledger->outbox_take(pipeline->ports.ledger_ctx, &box->take) == PORT_OK) {
        box->state = OUTBOX_TAKING;
        return;
    }
    box->kicked = true;
    ledger_failed(pipeline);
}

void outbox_init(struct pipeline *pipeline)
{
    pipeline->outbox = (struct outbox){0};
    arena_init(&pipeline->outbox.arena, OUTBOX_ARENA_BYTES);
}

void outbox_fini(struct pipeline *pipeline)
{
    arena_fini(&pipeline->outbox.arena);
}

void outbox_kick(struct pipeline *pipeline)
{
    pipeline->outbox.kicked = true;
}

bool outbox_idle(const struct pipeline *pipeline)
{
    return pipeline->outbox.state == OUTBOX_IDLE;
}

mono_us_t outbox_next(const struct pipeline *pipeline)
{
    const struct outbox *box = &pipeline->outbox;
    if (box->state == OUTBOX_PUBLISHED && !ledger_admits(pipeline))
        return pipeline->ledger_retry_at;
    if (box->state == OUTBOX_TAKEN || box->state == OUTBOX_PUBLISHED)
        return pipeline->now;
    if (box->state != OUTBOX_IDLE || pipeline->draining)
        return MONO_NEVER;
    if (pipeline->ledger_away)
        return pipeline->ledger_retry_at;
    return box->kicked && !box->trouble ? pipeline->now : box->next_sweep;
}

void outbox_take_answers(struct pipeline *pipeline)
{
    struct outbox *box = &pipeline->outbox;
    if (!box->answered)
        return;
    box->answered = false;
    ledger_learn(pipeline, box->result);
    if (box->state == OUTBOX_TAKING)
        take_take_answer(box);
    else if (box->state == OUTBOX_MARKING)
        mark_take_answer(pipeline, box);
}

void outbox_tick(struct pipeline *pipeline)
{
    struct outbox *box = &pipeline->outbox;
    if (box->state == OUTBOX_IDLE)
        outbox_take(pipeline, box);
    if (box->state == OUTBOX_TAKEN)
        outbox_publish(pipeline, box);
    if (box->state == OUTBOX_PUBLISHED)
        outbox_mark(pipeline, box);
}
