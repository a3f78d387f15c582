/* What waits in the ledger, counted now and then for the metrics: parked events, dead ones whose letter is due, and outcomes. */
#include "service_state.h"

#define ASK_EVERY_MS 15000
#define LOOK_AGAIN_MS 1000            /* while the ledger is away, or has not answered yet */
#define KNOWN_FOR_US (60 * US_PER_S) /* an older answer is none */

static struct backlog {
    uv_timer_t timer;
    struct service *service;
    struct ledger_counts_op op;
    bool asked;    /* the op is under way */
    bool answered; /* `last` holds something */
    mono_us_t answered_at;
    struct ledger_counts_op last;
} backlog; /* one service a process */

static void counted(struct ledger_counts_op *op, enum ledger_result result)
{
    backlog.asked = false;
    if (result != LEDGER_OK)
        return;
    backlog.last = *op;
    backlog.answered = true;
    backlog.answered_at = clock_mono_now();
}

static bool ledger_is_up(const struct service *service)
{
    struct ledger_status status;
    ledger_status(service->ledger, &status);
    return status.condition == LEDGER_CONDITION_UP;
}

static void on_time(uv_timer_t *timer)
{
    uint64_t next_ms = LOOK_AGAIN_MS;
    if (backlog.service->phase != SERVICE_RUNNING)
        return;
    if (!backlog.asked && ledger_is_up(backlog.service)) {
        backlog.op = (struct ledger_counts_op){.done = counted};
        backlog.asked = ledger_count(backlog.service->ledger, &backlog.op) == PORT_OK;
        next_ms = backlog.asked ? ASK_EVERY_MS : LOOK_AGAIN_MS;
    }
    uv_timer_start(timer, on_time, next_ms, 0);
}

void backlog_start(struct service *service)
{
    backlog.service = service;
    uv_timer_init(&service->loop, &backlog.timer);
    uv_timer_start(&backlog.timer, on_time, 0, 0);
}

void backlog_stop(void)
{
    uv_close((uv_handle_t *)&backlog.timer, NULL);
}

void backlog_read(mono_us_t now, struct snapshot_backlog *out)
{
    bool known = backlog.answered && !mono_reached(now, mono_add(backlog.answered_at, KNOWN_FOR_US));
    *out = (struct snapshot_backlog){.known = known};
    if (!known)
        return;
    out->as_of = backlog.answered_at;
    out->parked = backlog.last.parked;
    out->parked_due = backlog.last.parked_due;
    out->dead_unpublished = backlog.last.dead_unpublished;
    out->oldest_parked_due_us = backlog.last.oldest_parked_due_us > 0 ? backlog.last.oldest_parked_due_us : 0;
    out->oldest_unpublished_us = backlog.last.oldest_unpublished_us > 0 ? backlog.last.oldest_unpublished_us : 0;
    out->outcomes_unpublished = backlog.last.outcomes_unpublished;
    out->oldest_outcome_us = backlog.last.oldest_outcome_us > 0 ? backlog.last.oldest_outcome_us : 0;
}
