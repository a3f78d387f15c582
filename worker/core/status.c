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
    out->oldest_partition = oldest->window->partition;
    out->oldest_offset = oldest->record.offset;
    out->oldest_since = oldest->admitted_at;
    out->oldest_state = state_texts[oldest->state];
    out->oldest_attempts = oldest->attempts;
    out->oldest_code = oldest->has_outcome ? oldest->outcome.code : "";
}

void pipeline_status(const struct pipeline *pipeline, struct pipeline_status *out)
{
    *out = (struct pipeline_status){
        .calls_in_flight = list_count(pipeline, DELIVERY_CALLING),
        .waiting_retry = list_count(pipeline, DELIVERY_BACKOFF),
        .waiting_claim = list_count(pipeline, DELIVERY_WAITING),
        .lanes = HASH_COUNT(pipeline->lanes),
        .memory_bytes = pipeline->memory_bytes,
        .intake_open = pipeline->intake_open,
        .intake_why = pipeline->intake_why,
        .draining = pipeline->draining,
    };
    for (size_t state = 0; state < DELIVERY_DONE; state++)
        out->deliveries += pipeline->lists[state].count;
    size_t statements = 0;
    for (size_t i = 0; i < CLAIM_OPS; i++)
        statements += pipeline->claims[i].busy;
    for (size_t i = 0; i < RECORD_OPS; i++)
        statements += pipeline->records[i].busy;
    const struct gate *upsert = &pipeline->upsert;
    out->gates[0] = (struct pipeline_gate_status){.route = "upsert",
                                                  .open = gate_is_open(upsert),
                                                  .why = upsert->why,
                                                  .closed_since = upsert->since,
                                                  .in_flight = upsert->in_flight,
                                                  .limit = upsert->limit};
    out->gates[1] = (struct pipeline_gate_status){.route = "ledger",
                                                  .open = !pipeline->ledger_away,
                                                  .why = pipeline->ledger_away ? "PostgreSQL does not answer" : "",
                                                  .closed_since = pipeline->ledger_away_since,
                                                  .in_flight = statements,
                                                  .limit = CLAIM_OPS + RECORD_OPS};
    const struct outbox *box = &pipeline->outbox;
    out->gates[2] = (struct pipeline_gate_status){.route = "dead_letter",
                                                  .open = !box->trouble,
                                                  .why = box->trouble ? "the dead-letter topic does not take all letters" : "",
                                                  .closed_since = box->trouble_since,
                                                  .in_flight = box->state == OUTBOX_PUBLISHING ? box->take.count : 0,
                                                  .limit = 1};
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
