/* What people and probes see of a pipeline: copies of its state, nothing that changes it. */
#include "state.h"

#include <utlist.h>

static const char *const state_texts[] = {
#define X(name, text) text,
    DELIVERY_STATES(X)
#undef X
};

const struct pipeline_counters *pipeline_counters(const struct pipeline *pipeline)
{
    return &pipeline->counters;
}

static void oldest_find(const struct pipeline *pipeline, struct pipeline_status *out)
{
    const struct delivery *oldest = NULL;
    for (size_t state = 0; state < DELIVERY_DONE; state++) {
        const struct delivery *dl;
        DL_FOREACH(pipeline->lists[state].head, dl)
        {
            if (!oldest || dl->admitted_at.us < oldest->admitted_at.us)
                oldest = dl;
        }
    }
    if (!oldest)
        return;
    out->has_oldest = true;
    out->oldest_partition = (struct partition){.topic = oldest->record.topic, .partition = oldest->record.partition};
    if (oldest->window)
        out->oldest_partition.epoch = oldest->window->partition.epoch;
    out->oldest_offset = oldest->record.offset;
    out->oldest_since = oldest->admitted_at;
    out->oldest_state = state_texts[oldest->state];
    out->oldest_attempts = oldest->attempts;
    out->oldest_code = oldest->has_outcome ? oldest->outcome.code : "";
}

static struct pipeline_gate_status gate_status(const struct gate *gate)
{
    return (struct pipeline_gate_status){.route = gate->route,
                                         .open = gate_is_open(gate),
                                         .why = gate->why,
                                         .closed_since = gate->since,
                                         .in_flight = gate->in_flight,
                                         .limit = gate->limit,
                                         .limit_max = gate->limit_max};
}

static struct pipeline_gate_status relay_status(const struct relay *relay, const struct relay_kind *kind)
{
    return (struct pipeline_gate_status){.route = kind->route,
                                         .open = !relay->trouble,
                                         .why = relay->trouble ? kind->refused : "",
                                         .closed_since = relay->trouble_since,
                                         .in_flight = relay->state == RELAY_PUBLISHING,
                                         .limit = 1,
                                         .limit_max = 1};
}

static struct pipeline_spend spend_status(const struct pipeline *pipeline)
{
    return (struct pipeline_spend){.known = pipeline->spend.known,
                                   .spent = spend_total(pipeline),
                                   .budget = pipeline->config.daily_budget,
                                   .exhausted = pipeline->spend.exhausted,
                                   .day_ends_in_us = spend_day_left_us(pipeline)};
}

void pipeline_status(const struct pipeline *pipeline, struct pipeline_status *out)
{
    *out = (struct pipeline_status){
        .calls_in_flight = list_count(pipeline, DELIVERY_CALLING),
        .waiting_retry = list_count(pipeline, DELIVERY_BACKOFF),
        .waiting_claim = list_count(pipeline, DELIVERY_WAITING),
        .taken_up = pipeline->due_box.held,
        .fuse_blown = pipeline->fuse_blown,
        .validating = list_count(pipeline, DELIVERY_VALIDATING),
        .spend = spend_status(pipeline),
        .lanes = HASH_COUNT(pipeline->lanes),
        .memory_bytes = pipeline->memory_bytes,
        .intake_open = pipeline->intake_open,
        .intake_why = pipeline->intake_why,
        .draining = pipeline->draining,
    };
    for (size_t state = 0; state < DELIVERY_DONE; state++)
        out->deliveries += pipeline->lists[state].count;
    out->gates[0] = gate_status(&pipeline->upsert);
    out->gates[1] = gate_status(&pipeline->validate);
    out->gates[2] = (struct pipeline_gate_status){.route = "ledger",
                                                  .open = !pipeline->ledger_away,
                                                  .why = pipeline->ledger_away ? "PostgreSQL does not answer" : "",
                                                  .closed_since = pipeline->ledger_away_since,
                                                  .in_flight = pipeline_statements(pipeline),
                                                  .limit = STATEMENTS_MAX,
                                                  .limit_max = STATEMENTS_MAX};
    out->gates[3] = relay_status(&pipeline->outbox, &relay_letters);
    out->gates[4] = relay_status(&pipeline->outcomes, &relay_outcomes);
    oldest_find(pipeline, out);
}

size_t pipeline_partitions(const struct pipeline *pipeline, struct pipeline_partition_status *out, size_t max)
{
    size_t count = 0;
    const struct window *window;
    DL_FOREACH(pipeline->windows, window)
    {
        if (window->state == WINDOW_GONE)
            continue;
        if (count < max)
            out[count] = (struct pipeline_partition_status){
                .partition = window->partition,
                .watermark = window_watermark(window),
                .committed = window->committed,
                .last_delivered = window->last_delivered,
                .unfinished = window_unfinished(window),
                .paused = window->paused,
            };
        count++;
    }
    return count;
}
