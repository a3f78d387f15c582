/* What must hold after every tick, when a run may end, and the books at its end. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

/* What one delivery may hold beside a few copies of its record, however often it is tried. */
#define DELIVERY_BYTES_MAX ((size_t)32768)
#define BLOCK_BYTES ((size_t)16384)
#define WINDOW_BYTES ((size_t)1024) /* an empty one */

/* Beyond the budget: the record in hand, a block for each delivery that was admitted before and has its answer now, and the windows that an
 * assignment brings. */
static size_t memory_allowed(const struct sim *sim, const struct sim_life *life, size_t deliveries)
{
    size_t answers = deliveries < life->config.max_in_flight ? deliveries : life->config.max_in_flight;
    size_t record = sim->record_bytes_max * 6 + (answers ? answers : 1) * BLOCK_BYTES;
    size_t windows = 0;
    for (int i = 0; i < life->owned_count; i++)
        windows += life->owned[i].active || life->owned[i].giving_up ? WINDOW_BYTES : 0;
    return life->config.memory_bytes + record + windows;
}

void sim_check_tick(struct sim *sim, struct sim_life *life)
{
    struct pipeline_status status;
    struct sim_whom whom = sim_whom_worker(life->worker);
    pipeline_status(life->pipeline, &status);
    if (status.memory_bytes > memory_allowed(sim, life, status.deliveries))
        sim_fail(sim, "I9.memory", whom,
                 "%zu bytes are in use of a budget of %zu (and %zu for the record in hand)",
                 status.memory_bytes, life->config.memory_bytes,
                 memory_allowed(sim, life, status.deliveries) - life->config.memory_bytes);
    if (status.memory_bytes > (status.deliveries + 2) * (DELIVERY_BYTES_MAX + 8 * sim->record_bytes_max))
        sim_fail(sim, "I9.growth", whom,
                 "%zu bytes are held for %zu deliveries: each try must not cost memory for good",
                 status.memory_bytes, status.deliveries);
    size_t out = (size_t)life->calls_out + (size_t)life->reads_out;
    if (status.calls_in_flight != (size_t)life->calls_out || status.gates[0].in_flight != out)
        sim_fail(sim, "I1.calls", whom,
                 "the core counts %zu calls and %zu credits in flight, the world %d and %zu",
                 status.calls_in_flight, status.gates[0].in_flight, life->calls_out, out);
    size_t validating = (size_t)life->lookups_out;
    for (const struct sim_call *call = life->calls; call; call = call->next)
        validating += call->validate;
    if (status.validating != (size_t)life->lookups_out || status.gates[1].in_flight != validating)
        sim_fail(sim, "I1.calls", whom,
                 "the core counts %zu lookups and %zu credits of the validate route, the world %d and %zu",
                 status.validating, status.gates[1].in_flight, life->lookups_out, validating);
    if (status.taken_up > life->config.max_in_flight)
        sim_fail(sim, "P5.taken_up", whom, "%zu parked events are taken up at a time; %zu calls are",
                 status.taken_up, life->config.max_in_flight);
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
    const uint32_t ledger = UINT64_C(1) << SIM_LEDGER | UINT64_C(1) << SIM_LEDGER_AWAY;
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

/* One was told that the record's id is in conflict, another, after the conflict had died, took the id for the
 * same record: then two rows speak of it. Only a worker that has lost the partition and does not know it can
 * do so. */
static bool is_raced(struct sim *sim, const struct sim_record *record)
{
    const struct sim_row *own = sim_row_find_str(sim, record->position);
    const struct sim_row *other = sim_row_find_str(sim, record->id);
    if (!record->conflict_told || !own || !other || own == other || own->record != record)
        return false;
    bool answers = other->record == record || sim_row_has_source(other, record);
    return own->state != SIM_CLAIMED || (answers && other->state != SIM_CLAIMED);
}

static struct sim_row *first_claimed(struct sim *sim)
{
    for (struct sim_row *row = sim->rows_all; row; row = row->next_all) {
        if (row->state == SIM_CLAIMED && !is_raced(sim, row->record))
            return row;
    }
    return NULL;
}

static struct sim_row *first_parked(struct sim *sim)
{
    for (struct sim_row *row = sim->rows_all; row; row = row->next_all) {
        if (row->state == SIM_PARKED_ROW && !sim_budget_never(sim, row))
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

/* No good answer ever comes for it, and what the API says of it need not speak of it. */
static bool is_cursed(const struct sim_row *row)
{
    const struct sim_content *content = row->record ? row->record->content : NULL;
    if (!content)
        return false;
    return content->cursed ||
           (content->rejected_status &&
            sim_answer_is_vague(OUTCOME_REJECTED, content->rejected_status, content->rejected_code));
}

/* The event is cursed, or behind one of its contact that is. */
static bool waits_for_cursed(const struct sim *sim, const struct sim_row *row)
{
    const struct sim_row *other = row->contact >= 0 ? sim->contacts[row->contact].rows : NULL;
    bool cursed = is_cursed(row);
    for (; other; other = other->next_contact)
        cursed = cursed || (other->state == SIM_PARKED_ROW && is_cursed(other));
    return cursed;
}

/* A broken gate needs a good event to learn by that the route works; where none is left the bad one probes
 * for good, and nothing counts against it. */
bool sim_is_cursed(struct sim *sim)
{
    bool closed = false;
    for (int w = 0; w < sim->worker_count && !closed; w++)
        closed = sim->lives[w] &&
                 !(sim_gate_is_open(sim->lives[w], "upsert") && sim_gate_is_open(sim->lives[w], "validate"));
    for (const struct sim_row *row = sim->rows_all; row && closed; row = row->next_all) {
        if (row->state == SIM_PARKED_ROW && !waits_for_cursed(sim, row))
            return false;
    }
    return closed && !first_uncommitted(sim) && !first_unpublished(sim) && !first_claimed(sim) &&
           !first_unanswered(sim);
}

bool sim_is_quiet(struct sim *sim)
{
    return !first_uncommitted(sim) && !first_unpublished(sim) && !first_claimed(sim) && !first_parked(sim) &&
           !first_unanswered(sim) && !sim_outcome_unpublished(sim);
}

/* Who holds what back, as the core itself says it. */
static void explain(struct sim *sim)
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
                  "w%d.%d: %zu deliveries (%zu taken up), %zu of %zu bytes, intake %s, gates upsert %s "
                  "validate %s ledger "
                  "%s, oldest %lld %s, in group %d, revoking %d",
                  w, life->number, status.deliveries, status.taken_up, status.memory_bytes,
                  life->config.memory_bytes, status.intake_open ? "open" : status.intake_why,
                  status.gates[0].open ? "open" : status.gates[0].why,
                  status.gates[1].open ? "open" : status.gates[1].why,
                  status.gates[2].open ? "open" : status.gates[2].why,
                  status.has_oldest ? (long long)status.oldest_offset : -1LL,
                  status.has_oldest ? status.oldest_state : "", life->in_group, life->revoking);
    }
}

void sim_check_stuck(struct sim *sim)
{
    explain(sim);
    const struct sim_record *record = first_unanswered(sim);
    if (record)
        sim_fail(sim, "P1.stuck", sim_whom_record(record, -1),
                 "%s (%s) is not answered for, long after everything is well", record->position, record->id);
    const struct sim_row *row = first_claimed(sim);
    if (row)
        sim_fail(sim, "P1.claimed", sim_whom_row(row, -1), "%s stays claimed", row->id);
    row = first_parked(sim);
    if (row)
        sim_fail(sim, "P1.parked", sim_whom_row(row, -1),
                 "%s stays parked with %d attempts, due %lld ms ago, although all is well", row->id,
                 row->attempts, (long long)((sim->now_us - row->due_at_us) / US_PER_MS));
    row = first_unpublished(sim);
    if (row)
        sim_fail(sim, "I7.unpublished", sim_whom_row(row, -1), "the dead letter of %s is never published",
                 row->id);
    if (sim_outcome_unpublished(sim))
        sim_fail(sim, "outcome.unpublished", SIM_WHOM_ALL, "the outcome of %s is never published",
                 sim_outcome_unpublished(sim));
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
        if (own && is_raced(sim, record)) {
            sim->totals.raced++;
            return;
        }
        if (own)
            sim_fail(sim, "P1.twice", sim_whom_record(record, -1),
                     "two rows answer for %s: %s (%s) and %s (%s)", record->position, own->id,
                     sim_row_state_str(own->state), row->id, sim_row_state_str(row->state));
        own = row;
    }
}

void sim_check_end(struct sim *sim)
{
    sim_budget_end(sim);
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

/* ---- fairness */

#define SHARE_CALLS 100 /* of a round */
#define SHARE_LEAST 3   /* of them, for whoever has waited all the time */
#define SHARE_WAITING 40

static bool has_parked(const struct sim *sim, int contact)
{
    const struct sim_row *row = contact >= 0 ? sim->contacts[contact].rows : NULL;
    while (row && row->state != SIM_PARKED_ROW)
        row = row->next_contact;
    return row != NULL;
}

/* How many of each kind have nothing but their turn to wait for: fresh ones that this worker can read, and
 * parked ones that are due. */
static void count_waiting(struct sim_life *life, int *waiting)
{
    struct sim *sim = life->sim;
    waiting[0] = waiting[1] = 0;
    for (int i = 0; i < life->owned_count; i++) {
        const struct sim_owned *owned = &life->owned[i];
        for (int r = owned->active ? 0 : owned->part->count; r < owned->part->count; r++) {
            const struct sim_record *record = owned->part->log[r];
            bool waits = !record->history && !record->was_final && record->appended_us <= sim->now_us;
            waiting[0] += waits && !record->content->dead_local && !has_parked(sim, record->content->contact);
        }
    }
    for (const struct sim_row *row = sim->rows_all; row; row = row->next_all)
        waiting[1] += row->state == SIM_PARKED_ROW && row->due_at_us <= sim->now_us;
}

void sim_check_share(struct sim_life *life, const struct sim_row *row)
{
    struct sim *sim = life->sim;
    struct sim_share *share = &life->share;
    int waiting[2];
    if (sim->profile.kind != SIM_COMEBACK)
        return;
    share->calls[row->state == SIM_PARKED_ROW]++;
    if (share->calls[0] + share->calls[1] < SHARE_CALLS)
        return;
    count_waiting(life, waiting);
    bool wait = !life->revoking && waiting[0] >= SHARE_WAITING && waiting[1] >= SHARE_WAITING;
    for (int kind = 0; kind < 2; kind++) {
        if (!wait || !share->waited || share->owned != life->owned_count || share->calls[kind] >= SHARE_LEAST)
            continue;
        explain(sim);
        sim_fail(sim, "fair.share", sim_whom_worker(life->worker),
                 "of %d calls %d were for %s events, of which %d wait; of the others %d wait", SHARE_CALLS,
                 share->calls[kind], kind ? "parked" : "fresh", waiting[kind], waiting[!kind]);
    }
    *share = (struct sim_share){.waited = wait, .owned = life->owned_count};
}
