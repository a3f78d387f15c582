/* Counters of calls by operation and status; the state keeps its own. */
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>

static void stats_set(json_t *object, const char *name, uint64_t value)
{
    if (json_object_set_new(object, name, json_integer((json_int_t)value)))
        abort();
}

static json_t *stats_op_to_json(const struct stats_op *op)
{
    json_t *object = json_object();
    json_t *statuses = json_object();
    stats_set(object, "received", op->received);
    stats_set(object, "answered", op->answered);
    stats_set(object, "dropped", op->dropped);
    stats_set(object, "gone", op->gone);
    for (unsigned status = 0; status < 1000; status++) {
        char name[8];
        snprintf(name, sizeof name, "%03u", status);
        if (op->by_status[status])
            stats_set(statuses, name, op->by_status[status]);
    }
    if (json_object_set_new(object, "by_status", statuses))
        abort();
    return object;
}

static json_t *stats_state_to_json(json_t *object, const struct state_counters *state)
{
    stats_set(object, "contacts", state->contacts);
    stats_set(object, "list_contacts", state->list_contacts);
    stats_set(object, "enrolments", state->enrolments);
    stats_set(object, "journeys_enrolled", state->journeys_enrolled);
    stats_set(object, "enrolled_more_than_once", state->enrolled_more_than_once);
    stats_set(object, "upserts_of_unsubscribed", state->upserts_of_unsubscribed);
    stats_set(object, "lookups_paid", state->lookups_paid);
    stats_set(object, "lookups_cached", state->lookups_cached);
    stats_set(object, "overlapping_calls", state->overlapping_calls);
    json_t *order = json_object();
    stats_set(order, "seq_values", state->seq_values);
    stats_set(order, "out_of_order", state->seq_out_of_order);
    stats_set(order, "repeated", state->seq_repeated);
    if (json_object_set_new(object, "order", order))
        abort();
    return object;
}

json_t *stats_to_json(const struct stats *stats, const struct state_counters *state)
{
    json_t *object = json_object();
    json_t *calls = json_object();
    for (int op = 0; op < CALL_CONTROL; op++) /* commands are not counted */
        if (json_object_set_new(calls, call_op_str((enum call_op)op), stats_op_to_json(&stats->ops[op])))
            abort();
    if (json_object_set_new(object, "calls", calls))
        abort();
    stats_set(object, "faults", stats->faults);
    stats_set(object, "connections", stats->connections);
    stats_set(object, "open_connections", stats->open);
    stats_set(object, "incomplete_requests", stats->incomplete);
    stats_set(object, "malformed_requests", stats->malformed);
    stats_set(object, "unauthorized", stats->unauthorized);
    stats_set(object, "undelivered", stats->undelivered);
    return stats_state_to_json(object, state);
}
