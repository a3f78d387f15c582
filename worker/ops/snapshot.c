/* What is read off a snapshot by more than one of the pages made from it. */
#include "signup/ops/snapshot.h"

#include <string.h>

const struct pipeline_gate_status *snapshot_gate(const struct ops_snapshot *snapshot, const char *route)
{
    for (size_t i = 0; i < PIPELINE_GATES; i++) {
        const struct pipeline_gate_status *gate = &snapshot->status.gates[i];
        if (gate->route && strcmp(gate->route, route) == 0)
            return gate;
    }
    return NULL;
}

bool snapshot_letters_alarm(const struct ops_snapshot *snapshot)
{
    const struct pipeline_gate_status *gate = snapshot_gate(snapshot, "dead_letter");
    const struct snapshot_backlog *backlog = &snapshot->backlog;
    return (gate && !gate->open) ||
           (backlog->known && backlog->dead_unpublished && backlog->oldest_unpublished_us > SNAPSHOT_LETTERS_LATE_US);
}
