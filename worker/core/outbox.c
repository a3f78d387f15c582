/* The outbox: dead rows that have no letter yet are taken from the ledger, published, and only then marked (I7). One path for the letters of
 * this moment and for those that a crash left behind. */
#include "outbox.h"

#include "state.h"

#include <assert.h>

#define OUTBOX_BATCH 100
#define OUTBOX_PROBE 10 /* letters at a time while none gets through: enough that one unfit letter does not speak for all */
#define OUTBOX_REFUSED_US (30 * US_PER_S) /* a letter that is refused while others are taken stands back for so long */
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
    box->next_sweep = mono_add(pipeline->now, box->pause_us);
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

static bool any_published(const struct outbox_mark_op *op)
{
    bool any = false;
    for (size_t i = 0; i < op->count; i++)
        any = any || op->letters[i].published;
    return any;
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
    bool none = !any_published(op);
    outbox_reset(box);
    if (none) {
        outbox_pause(pipeline, box, "the dead-letter topic takes no letters");
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
    int64_t retry_in_us = OUTBOX_REFUSED_US;
    if (!any_published(&(struct outbox_mark_op){.letters = box->take.letters, .count = box->take.count})) {
        box->pause_us =
            backoff_us(&pipeline->random, OUTBOX_PAUSE_BASE_US, OUTBOX_PAUSE_CAP_US, box->failures++) + OUTBOX_PAUSE_BASE_US;
        retry_in_us = box->pause_us;
    }
    box->mark = (struct outbox_mark_op){.letters = box->take.letters,
                                        .count = box->take.count,
                                        .retry_in_us = pipeline->draining ? 0 : retry_in_us,
                                        .token = box->take.token,
                                        .done = mark_done,
                                        .owner = pipeline};
    if (pipeline->ports.ledger->outbox_mark(pipeline->ports.ledger_ctx, &box->mark) != PORT_OK) {
        ledger_failed(pipeline);
        return;
    }
    ledger_spend(pipeline);
    box->state = OUTBOX_MARKING;
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
    if (pipeline->ports.dead_letter->publish(pipeline->ports.dead_letter_ctx, &box->publish) == PORT_OK) {
        gate_pace_spend(&pipeline->letter_pace, box->take.count, pipeline->now);
        box->state = OUTBOX_PUBLISHING;
    } else
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
    if (!wanted || !ledger_admits(pipeline) || pipeline->draining || !gate_pace_admits(&pipeline->letter_pace, pipeline->now))
        return;
    if (PLANTED(UNSWEPT_OUTBOX) && !box->kicked) {
        box->next_sweep = mono_add(pipeline->now, pipeline->config.outbox_interval_us);
        return;
    }
    box->kicked = false;
    box->next_sweep = mono_add(pipeline->now, pipeline->config.outbox_interval_us);
    arena_init(&box->arena, OUTBOX_ARENA_BYTES);
    box->take = (struct outbox_take_op){.limit = box->trouble ? OUTBOX_PROBE : OUTBOX_BATCH,
                                        .lease_us = OUTBOX_LEASE_US,
                                        .token = token_new(pipeline),
                                        .arena = &box->arena,
                                        .done = take_done,
                                        .owner = pipeline};
    box->lease_until = mono_add(pipeline->now, OUTBOX_LEASE_US);
    if (pipeline->ports.ledger->outbox_take(pipeline->ports.ledger_ctx, &box->take) == PORT_OK) {
        ledger_spend(pipeline);
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

bool outbox_asks(const struct pipeline *pipeline)
{
    return pipeline->outbox.state == OUTBOX_TAKING || pipeline->outbox.state == OUTBOX_MARKING;
}

/* Letters that a topic in trouble has not taken yet are not worth a shutdown's patience: they are due again after their lease. */
bool outbox_idle(const struct pipeline *pipeline)
{
    const struct outbox *box = &pipeline->outbox;
    return box->state == OUTBOX_IDLE || (box->state == OUTBOX_PUBLISHING && box->trouble);
}

mono_us_t outbox_next(const struct pipeline *pipeline)
{
    const struct outbox *box = &pipeline->outbox;
    if (box->state == OUTBOX_TAKEN)
        return pipeline->now;
    if (box->state == OUTBOX_PUBLISHED)
        return ledger_when(pipeline, pipeline->now);
    if (box->state != OUTBOX_IDLE || pipeline->draining)
        return MONO_NEVER;
    mono_us_t wanted = box->kicked && !box->trouble ? pipeline->now : box->next_sweep;
    if (pipeline->ledger_away) /* ledger_probe() makes it due */
        wanted = pipeline->now;
    mono_us_t pace = pipeline->letter_pace.pace_us ? gate_pace_next(&pipeline->letter_pace) : pipeline->now;
    return ledger_when(pipeline, pace.us > wanted.us ? pace : wanted);
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
