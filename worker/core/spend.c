/* The day's spend: asked of the ledger, kept up between two answers, and judged against the budget. */
#include "spend.h"

#include "state.h"

#include <assert.h>

#define LOOK_MIN_US (20 * US_PER_MS)          /* between two looks, however much one is wanted */
#define SHARE 16                              /* of what is left, a worker spends a sixteenth between two looks */
#define UNLIMITED_INTERVAL_US (15 * US_PER_S) /* without a budget it is for people only */

static bool has_budget(const struct pipeline *pipeline)
{
    return pipeline->config.daily_budget != BUDGET_NONE;
}

int64_t spend_total(const struct pipeline *pipeline)
{
    const struct spend *spend = &pipeline->spend;
    int64_t open = PLANTED(BUDGET_FORGETS) ? 0 : spend->open + spend->lost;
    return spend->told + (spend->recorded - spend->seen) + open;
}

int64_t spend_day_left_us(const struct pipeline *pipeline)
{
    int64_t left = pipeline->spend.day_ends.us - pipeline->now.us;
    return left > 0 ? left : 0;
}

static bool passes_budget(const struct pipeline *pipeline, int64_t spent)
{
    return spent + VALIDATION_PRICE > pipeline->config.daily_budget;
}

static bool is_exhausted_for_sure(const struct pipeline *pipeline)
{
    return passes_budget(pipeline, pipeline->spend.told + pipeline->spend.lost);
}

enum spend_answer spend_admits(const struct pipeline *pipeline)
{
    const struct spend *spend = &pipeline->spend;
    if (!has_budget(pipeline) || PLANTED(BUDGET_IGNORED))
        return SPEND_ADMITS;
    if (!spend->known)
        return SPEND_WAITS;
    if (is_exhausted_for_sure(pipeline))
        return SPEND_EXHAUSTED;
    int64_t reserved = PLANTED(BUDGET_FORGETS) ? 0 : spend->reserved;
    int64_t next = spend_total(pipeline) + reserved + VALIDATION_PRICE;
    return next > pipeline->config.daily_budget || next > spend->share ? SPEND_WAITS : SPEND_ADMITS;
}

void spend_want(struct pipeline *pipeline)
{
    struct spend *spend = &pipeline->spend;
    spend->next_look = mono_earlier(spend->next_look, mono_add(spend->asked_at, LOOK_MIN_US));
}

void spend_reserve(struct pipeline *pipeline, struct delivery *dl)
{
    assert(dl->reserved == 0);
    dl->reserved = VALIDATION_PRICE;
    pipeline->spend.reserved += VALIDATION_PRICE;
}

void spend_settle(struct pipeline *pipeline, struct delivery *dl, int64_t cost)
{
    pipeline->spend.reserved -= dl->reserved;
    dl->reserved = 0;
    if (cost <= 0)
        return;
    dl->cost += cost;
    pipeline->spend.open += cost;
    pipeline->counters.validations_paid++;
    pipeline->counters.validation_cost += (uint64_t)cost;
}

void spend_record(struct pipeline *pipeline, struct delivery *dl)
{
    pipeline->spend.open -= dl->cost;
    pipeline->spend.recorded += dl->cost;
    dl->cost = 0;
}

void spend_leave(struct pipeline *pipeline, struct delivery *dl)
{
    pipeline->spend.open -= dl->cost;
    pipeline->spend.lost += dl->cost;
    pipeline->spend.reserved -= dl->reserved;
    dl->cost = dl->reserved = 0;
}

/* ---- asking */

static void spend_done(struct spend_op *op, enum ledger_result result)
{
    struct pipeline *pipeline = op->owner;
    struct spend *spend = &pipeline->spend;
    assert(spend->asking && !spend->answered);
    spend->answered = true;
    spend->result = result;
    spend->marked = spend->recorded; /* now, and not in the tick: what a record adds until then may have been executed later */
    pipeline->wants_tick = true;
}

void spend_take_answer(struct pipeline *pipeline)
{
    struct spend *spend = &pipeline->spend;
    if (!spend->answered)
        return;
    spend->asking = spend->answered = false;
    ledger_learn(pipeline, spend->result);
    if (spend->result != LEDGER_OK)
        return;
    spend->known = true;
    spend->told = spend->op.spent;
    spend->seen = spend->marked;
    int64_t left = pipeline->config.daily_budget - spend_total(pipeline);
    spend->share = spend_total(pipeline) + (left / SHARE > VALIDATION_PRICE ? left / SHARE : VALIDATION_PRICE);
    spend->day_ends = mono_add(pipeline->now, spend->op.day_ends_in_us);
}

static void spend_ask(struct pipeline *pipeline)
{
    struct spend *spend = &pipeline->spend;
    if (spend->asking || pipeline->draining || !mono_reached(pipeline->now, spend->next_look) || !ledger_admits(pipeline))
        return;
    spend->asked_at = pipeline->now;
    spend->op = (struct spend_op){.done = spend_done, .owner = pipeline};
    spend->next_look = mono_add(pipeline->now, has_budget(pipeline) ? pipeline->config.spend_interval_us : UNLIMITED_INTERVAL_US);
    if (pipeline->ports.ledger->spend(pipeline->ports.ledger_ctx, &spend->op) != PORT_OK) {
        ledger_failed(pipeline);
        return;
    }
    ledger_spend(pipeline);
    spend->asking = true;
}

static void day_turn(struct pipeline *pipeline)
{
    struct spend *spend = &pipeline->spend;
    if (!spend->known || !mono_reached(pipeline->now, spend->day_ends))
        return;
    spend->known = false; /* the others have begun to spend too: nothing goes before the ledger has told */
    spend->told = 0;
    spend->seen = spend->recorded;
    spend->lost = 0;
    spend->next_look = pipeline->now;
}

void spend_tick(struct pipeline *pipeline)
{
    struct spend *spend = &pipeline->spend;
    day_turn(pipeline);
    spend_ask(pipeline);
    bool exhausted = has_budget(pipeline) && spend->known && is_exhausted_for_sure(pipeline);
    if (exhausted == spend->exhausted || (!exhausted && !spend->known))
        return;
    spend->exhausted = exhausted;
    if (exhausted) {
        spend->exhausted_since = pipeline->now;
        pipeline_observe(pipeline, OBSERVED_WAIT, NULL, "budget", "the day's validation budget is spent",
                         spend_day_left_us(pipeline));
    } else
        pipeline_observe(pipeline, OBSERVED_RESUME, NULL, "budget", "", pipeline->now.us - spend->exhausted_since.us);
}

mono_us_t spend_next(const struct pipeline *pipeline)
{
    const struct spend *spend = &pipeline->spend;
    mono_us_t next = spend->known ? spend->day_ends : MONO_NEVER;
    if (spend->asking || pipeline->draining)
        return next;
    return mono_earlier(next, ledger_when(pipeline, spend->next_look));
}
