/* What must hold after every tick, when a run may end, and the books at its end. */
#include "sim.h"

#include <stdio.h>

/* What one delivery may hold beside a few copies of its record, however often it is tried. */
#define DELIVERY_BYTES_MAX ((size_t)32768)

/* Beyond the budget: the record in hand, and what deliveries that were admitted before may still grow by. */
static size_t memory_allowed(const struct sim *sim, const struct sim_life *life)
{
    size_t record = sim->record_bytes_max * 6 + 16384;
    return life->config.memory_bytes + record;
}

void sim_check_tick(struct sim *sim, struct sim_life *life)
{
    struct pipeline_status status;
    struct sim_whom whom = sim_whom_worker(life->worker);
    pipeline_status(life->pipeline, &status);
    if (status.memory_bytes > memory_allowed(sim, life))
        sim_fail(sim, "I9.memory", whom,
                 "%zu bytes are in use of a budget of %zu (and %zu for the record in hand)",
                 status.memory_bytes, life->config.memory_bytes,
                 memory_allowed(sim, life) - life->config.memory_bytes);
    if (status.memory_bytes > (status.deliveries + 2) * (DELIVERY_BYTES_MAX + 8 * sim->record_bytes_max))
        sim_fail(sim, "I9.growth", whom,
                 "%zu bytes are held for %zu deliveries: each try must not cost memory for good",
                 status.memory_bytes, status.deliveries);
    if (status.calls_in_flight != (size_t)life->calls_out)
        sim_fail(sim, "I1.calls", whom, "the core counts %zu calls in flight, the world %d",
                 status.calls_in_flight, life->calls_out);
    for (int i = 0; i < life->owned_count; i++) {
        const struct sim_owned *owned = &life->owned[i];
        if (!owned->active || owned->first < 0)
            continue;
        int low = owned->first;
        while (low < owned->next && owned->notes[low] & SIM_NOTE_RESOLVED)
            low++;
        if ((size_t)(owned->next - low) >= life->config.window_slots_max && !owned->paused)
            sim_fail(sim, "P5.window", sim_whom_part(owned->part, life->worker),
                     "%s:%d is not paused with %d records above the lowest unanswered; its window is %zu",
                     owned->part->topic, (int)owned->part->number, owned->next - low,
                     life->config.window_slots_max);
    }
}

/* Shut down well: no claim is left for others to wait for, and the group knows all that is answered. Only
 * where nothing failed on the way. */
void sim_check_drained(struct sim *sim, struct sim_life *life)
{
    const uint32_t ledger = UINT32_C(1) << SIM_LEDGER | UINT32_C(1) << SIM_LEDGER_AWAY;
    for (const struct sim_row *row = sim->rows_all; row && !(sim->known & ledger); row = row->next_all) {
        if (row->holder == life && sim_row_is_live(sim, row))
            sim_fail(sim, "drain.claims", sim_whom_row(row, life->worker),
                     "a drained worker still holds the claim of %s", row->id);
    }
    for (int i = 0; i < life->owned_count && !(sim->known >> SIM_COMMIT & 1); i++) {
        const struct sim_owned *owned = &life->owned[i];
        const struct sim_partition *part = owned->part;
        if (!owned->active || owned->first < 0 || part->owner != life || part->owner_epoch != owned->epoch)
            continue;
        int low = owned->first;
        while (low < owned->next && owned->notes[low] & SIM_NOTE_RESOLVED)
            low++;
        if (low == owned->first)
            continue;
        int64_t watermark = low < owned->next ? part->log[low]->offset : part->log[low - 1]->offset + 1;
        if (part->committed < watermark)
            sim_fail(sim, "drain.commit", sim_whom_part(part, life->worker),
                     "a drained worker leaves %s:%d at %lld although all below %lld is answered", part->topic,
                     (int)part->number, (long long)part->committed, (long long)watermark);
    }
}

static const struct sim_record *first_unanswered(struct sim *sim)
{
    for (int i = 0; i < sim->record_count; i++) {
        if (!sim_record_answered(sim, sim->records[i]))
            return sim->records[i];
    }
    return NULL;
}

static struct sim_row *first_unpublished(struct sim *sim)
{
    for (struct sim_row *row = sim->rows_all; row; row = row->next_all) {
        if (row->state == SIM_DEAD && !row->published)
            return row;
    }
    return NULL;
}

static struct sim_row *first_claimed(struct sim *sim)
{
    for (struct sim_row *row = sim->rows_all; row; row = row->next_all) {
        if (row->state == SIM_CLAIMED)
            return row;
    }
    return NULL;
}

static int64_t log_end(const struct sim_partition *part)
{
    return part->count ? part->log[part->count - 1]->offset + 1 : 0;
}

static const struct sim_partition *first_uncommitted(const struct sim *sim)
{
    for (int p = 0; p < sim->part_count; p++) {
        if (sim->parts[p].committed < log_end(&sim->parts[p]))
            return &sim->parts[p];
    }
    return NULL;
}

bool sim_is_quiet(struct sim *sim)
{
    return !first_uncommitted(sim) && !first_unpublished(sim) && !first_claimed(sim) &&
           !first_unanswered(sim);
}

/* Who holds what back, as the core itself says it. */
static void stuck_explain(struct sim *sim)
{
    for (int w = 0; w < sim->worker_count; w++) {
        const struct sim_life *life = sim->lives[w];
        if (!life) {
            SIM_TRACE(sim, SIM_WHOM_ALL, "w%d is down", w);
            continue;
        }
        struct pipeline_status status;
        pipeline_status(life->pipeline, &status);
        SIM_TRACE(sim, SIM_WHOM_ALL,
                  "w%d.%d: %zu deliveries, %zu of %zu bytes, intake %s, gates upsert %s ledger %s, oldest "
                  "%lld %s, in group %d, revoking %d",
                  w, life->number, status.deliveries, status.memory_bytes, life->config.memory_bytes,
                  status.intake_open ? "open" : status.intake_why,
                  status.gates[0].open ? "open" : status.gates[0].why,
                  status.gates[1].open ? "open" : status.gates[1].why,
                  status.has_oldest ? (long long)status.oldest_offset : -1LL,
                  status.has_oldest ? status.oldest_state : "", life->in_group, life->revoking);
    }
}

void sim_check_stuck(struct sim *sim)
{
    stuck_explain(sim);
    const struct sim_record *record = first_unanswered(sim);
    if (record)
        sim_fail(sim, "P1.stuck", sim_whom_record(record, -1),
                 "%s (%s) is not answered for, long after everything is well", record->position, record->id);
    const struct sim_row *row = first_claimed(sim);
    if (row)
        sim_fail(sim, "P1.claimed", sim_whom_row(row, -1), "%s stays claimed", row->id);
    row = first_unpublished(sim);
    if (row)
        sim_fail(sim, "I7.unpublished", sim_whom_row(row, -1), "the dead letter of %s is never published",
                 row->id);
    const struct sim_partition *part = first_uncommitted(sim);
    if (part)
        sim_fail(sim, "P1.uncommitted", sim_whom_part(part, -1),
                 "%s:%d stays committed at %lld, its end is %lld", part->topic, (int)part->number,
                 (long long)part->committed, (long long)log_end(part));
    sim_fail(sim, "world", SIM_WHOM_ALL, "stuck, but not to be explained");
}

/* Promise 1: exactly one row answers for each record by its position, or one of the same event settles it. */
static void check_rows_of(struct sim *sim, const struct sim_record *record)
{
    const struct sim_row *own = NULL;
    for (const struct sim_row *row = sim->rows_all; row; row = row->next_all) {
        if (row->record != record && !sim_row_has_source(row, record))
            continue;
        if (own)
            sim_fail(sim, "P1.twice", sim_whom_record(record, -1),
                     "two rows answer for %s: %s (%s) and %s (%s)", record->position, own->id,
                     sim_row_state_str(own->state), row->id, sim_row_state_str(row->state));
        own = row;
    }
}

void sim_check_end(struct sim *sim)
{
    for (int i = 0; i < sim->record_count; i++)
        check_rows_of(sim, sim->records[i]);
    for (const struct sim_row *row = sim->rows_all; row; row = row->next_all) {
        if (row->state == SIM_DEAD && !row->record->letter_persisted)
            sim_fail(sim, "I7.letter", sim_whom_row(row, -1),
                     "%s is dead and marked as published, but there is no letter", row->id);
        if (row->state == SIM_ACCEPTED && row->record && !row->first_effect)
            sim_fail(sim, "P1.effect", sim_whom_row(row, -1), "%s is accepted, but never took effect",
                     row->id);
    }
}
