/* The reference model of what waits in the ledger: events that are parked, taken up when they are due, woken
 * when the one before is final, brought back by an operator; and the events that somebody else has parked. */
#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKED_US (2 * US_PER_S) /* who is blocked is looked at again after so long */
#define YOUNG_US (3 * US_PER_S)   /* too short a life to be told from the next one by its age */
#define LOCKED 1000               /* of 10,000 rows to be woken whose lock somebody else has just then */
#define SPARE_BYTES 4096          /* of an arena, for what is not the event's own bytes */
#define EVENT_OVERHEAD_BYTES 1024

/* ---- strangers: parked by a worker that this world does not have */

/* Finished by whoever parked them, before the healing. */
static void stranger_done(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)stamp;
    struct sim_row *row = arg;
    row->state = SIM_ACCEPTED;
    row->lease_until_us = row->due_at_us = 0;
    row->park_order = 0;
    SIM_TRACE(sim, sim_whom_row(row, -1), "ledger: %s of contact %d is no longer parked", row->id,
              row->contact);
}

void sim_rows_park_strangers(struct sim *sim)
{
    int count = sim_strikes(sim, SIM_PARKED) ? 1 + sim_below(sim, 3) : 0;
    for (int i = 0; i < count; i++) {
        char id[SIM_ID_BYTES];
        snprintf(id, sizeof id, "stranger-%d", i);
        struct sim_row *row =
            sim_row_insert(sim, slice_from_str(id), NULL, sim_below(sim, sim->contact_count));
        row->state = SIM_PARKED_ROW;
        row->park_order = ++sim->park_next;
        row->due_at_us = sim_between(sim, 0, sim->profile.heal_us);
        row->lease_until_us = row->due_at_us + 1; /* taken up, and nobody takes it from its worker */
        SIM_TRACE(sim, sim_whom_row(row, -1), "ledger: %s of contact %d is parked", row->id, row->contact);
        sim_at(sim, row->due_at_us, stranger_done, row, 0);
    }
}

/* ---- history: parked before anybody started, their offsets committed */

static void history_park(struct sim *sim, struct sim_record *record)
{
    struct sim_contact *contact = &sim->contacts[record->content->contact];
    struct sim_row *row = sim_row_insert(sim, slice_from_str(record->id), record, contact->index);
    int64_t within = sim->profile.kind == SIM_COMEBACK ? US_PER_S : 5 * US_PER_S;
    row->state = SIM_PARKED_ROW;
    row->park_order = ++sim->park_next;
    row->due_at_us = sim_between(sim, -US_PER_S, within);
    row->age_from_us = -sim_between(sim, 0, 2 * US_PER_S);
    row->attempts = sim_below(sim, 3);
    for (size_t i = 0; i < sizeof row->token.bytes; i++)
        row->token.bytes[i] = (uint8_t)sim_random(sim);
    row->has_token = sim_chance(sim, 8000);
    row->claim_number = 1;
    record->said_contact = contact->index;
    record->history = true;
    if (record->at >= 0 && record->part->committed <= record->offset)
        record->part->committed = record->offset + 1;
    bool first = !row->next_contact; /* of its contact: only that one can have been called */
    if (!first || !sim_chance(sim, 2500))
        return;
    row->maybe_sent = true;
    row->unsure_calls = 1;
    if (sim_chance(sim, 5000)) { /* and so it did */
        if (record->content->use_journeys && (!contact->on_list || !record->content->skip)) {
            row->enrolments = 1;
            contact->enrolments++;
        }
        contact->on_list = true;
        row->first_effect = true;
        if (contact->effect_max[record->part->index] < record->at)
            contact->effect_max[record->part->index] = record->at;
    }
}

void sim_rows_park_history(struct sim *sim)
{
    for (int i = 0; i < sim->profile.history && i < sim->record_count; i++)
        history_park(sim, sim->records[i]);
}

/* ---- taking up */

static bool is_mine(const struct sim_row *row, const struct due_take_op *op)
{
    return row->has_token && sim_token_equal(&row->token, &op->token);
}

static bool is_due(const struct sim *sim, const struct sim_row *row, const struct due_take_op *op)
{
    return row->state == SIM_PARKED_ROW && row->due_at_us <= sim->now_us &&
           (row->lease_until_us <= sim->now_us || is_mine(row, op));
}

static int by_due(const void *a, const void *b)
{
    const struct sim_row *x = *(const struct sim_row *const *)a;
    const struct sim_row *y = *(const struct sim_row *const *)b;
    if (x->due_at_us != y->due_at_us)
        return x->due_at_us < y->due_at_us ? -1 : 1;
    return x->park_order < y->park_order ? -1 : x->park_order > y->park_order;
}

/* An event of the same contact that comes first, or NULL. */
static const struct sim_row *blocker(const struct sim *sim, const struct sim_row *row)
{
    const struct sim_row *other = row->contact >= 0 ? sim->contacts[row->contact].rows : NULL;
    for (; other; other = other->next_contact) {
        if (other == row)
            continue;
        if (other->state == SIM_PARKED_ROW ? other->park_order < row->park_order
                                           : sim_row_is_live(sim, other))
            return other;
    }
    return NULL;
}

void sim_row_note_lost(struct sim *sim, struct sim_row *row)
{
    struct sim_row *seen = sim_alloc(sim, sizeof *seen);
    *seen = *row;
    row->lost = seen; /* the earlier ones are behind it */
}

static void remember(struct sim_row *row, const struct sim_life *life)
{
    const struct sim_row *seen = row->lost;
    while (seen && seen->holder != life)
        seen = seen->lost;
    if (!seen)
        return;
    row->perhaps_counted = seen->counted + seen->perhaps_counted;
    row->guarded_call = seen->guarded_call;
    row->unvalidated_call = seen->unvalidated_call;
    row->skipped = seen->skipped;
    row->last_class = seen->last_class;
    row->last_status = seen->last_status;
    row->last_code = seen->last_code;
    row->last_probe = seen->last_probe;
    row->last_in_hold = seen->last_in_hold;
    row->last_in_storm = seen->last_in_storm;
    row->last_answer_us = seen->last_answer_us;
    row->answered_final = seen->answered_final;
    row->final_life = seen->final_life;
    row->final_claim = seen->final_claim;
    if (seen->read_claim == seen->claim_number)
        row->read_claim = row->claim_number;
}

static void take(struct sim *sim, struct sim_life *life, struct sim_row *row, const struct due_take_op *op)
{
    bool again = is_mine(row, op);
    if (row->lease_until_us && row->holder && !(again && row->holder == life))
        sim_row_note_lost(sim, row);
    bool lost = row->has_token && row->lease_until_us && !again;
    row->lease_until_us = sim->now_us + op->lease_us;
    if (again && row->holder == life)
        return;
    row->maybe_sent = row->maybe_sent || lost;
    row->taken_over = row->taken_over || lost;
    if (lost)
        row->not_before_us = 0; /* its wish died with whoever heard it */
    row->token = op->token;
    row->has_token = true;
    sim_row_hold(sim, row, life, 0);
    remember(row, life);
    sim->totals.taken_up++;
}

static size_t bytes_of(const struct sim_row *row)
{
    return row->record->content->value_len + strlen(row->record->key) + EVENT_OVERHEAD_BYTES;
}

static int64_t next_due(const struct sim *sim)
{
    int64_t next = -1;
    for (const struct sim_row *row = sim->rows_all; row; row = row->next_all) {
        if (row->state != SIM_PARKED_ROW || row->lease_until_us > sim->now_us)
            continue;
        int64_t in = row->due_at_us > sim->now_us ? row->due_at_us - sim->now_us : 0;
        if (next < 0 || in < next)
            next = in;
    }
    return next;
}

size_t sim_rows_take_due(struct sim *sim, struct sim_life *life, const struct due_take_op *op,
                         const struct sim_row ***taken, int64_t *next_due_in_us)
{
    size_t due = 0;
    for (const struct sim_row *row = sim->rows_all; row; row = row->next_all)
        due += is_due(sim, row, op);
    struct sim_row **rows = sim_alloc(sim, (due + 1) * sizeof *rows);
    due = 0;
    for (struct sim_row *row = sim->rows_all; row; row = row->next_all) {
        if (is_due(sim, row, op))
            rows[due++] = row;
    }
    qsort(rows, due, sizeof *rows, by_due);
    const struct sim_row **out = sim_alloc(sim, (op->limit < due ? op->limit : due) * sizeof *out + 1);
    size_t room = op->arena->cap_bytes - op->arena->held_bytes;
    size_t bytes = SPARE_BYTES;
    size_t count = 0;
    for (size_t i = 0; i < due && count < op->limit; i++) {
        struct sim_row *row = rows[i];
        const struct sim_row *before = blocker(sim, row);
        if (before) {
            int64_t later = sim->now_us + BLOCKED_US;
            row->due_at_us = before->due_at_us > later ? before->due_at_us : later;
            sim->totals.blocked++;
            continue;
        }
        bytes += bytes_of(row);
        if (bytes > room)
            break;
        take(sim, life, row, op);
        struct sim_row *seen = sim_alloc(sim, sizeof *seen);
        *seen = *row;
        out[count++] = seen;
        SIM_TRACE(sim, sim_whom_row(row, life->worker), "w%d.%d ledger: %s is taken up%s", life->worker,
                  life->number, row->id, row->maybe_sent ? " (maybe sent)" : "");
    }
    *taken = out;
    *next_due_in_us = next_due(sim);
    return count;
}

void sim_rows_wake(struct sim *sim, const struct sim_row *row)
{
    struct sim_row *next = NULL;
    struct sim_row *other = row->contact >= 0 ? sim->contacts[row->contact].rows : NULL;
    for (; other; other = other->next_contact) {
        if (other->state == SIM_PARKED_ROW && (!next || other->park_order < next->park_order))
            next = other;
    }
    if (!next || next->lease_until_us > sim->now_us || sim_chance(sim, LOCKED))
        return;
    sim->totals.woken++;
    next->due_at_us = sim->now_us;
    next->not_before_us = 0;
    SIM_TRACE(sim, sim_whom_row(next, -1), "ledger: %s is due, %s is final", next->id, row->id);
}

/* ---- the operator */

/* Data that the database has refused are not sent to it again. */
static bool may_replay(const struct sim_row *row)
{
    return row->state == SIM_DEAD && row->record && !row->record->poison_told;
}

static void replay(struct sim *sim, struct sim_row *row)
{
    row->state = SIM_PARKED_ROW;
    row->attempts = 0;
    row->replays++;
    row->replayed = true;
    if (row->contact >= 0)
        sim->contacts[row->contact].replayed = true;
    row->replayed_young = sim->now_us - row->age_from_us < YOUNG_US;
    row->age_from_us = sim->now_us;
    row->park_order = ++sim->park_next;
    row->due_at_us = sim->now_us;
    row->has_token = false;
    row->lease_until_us = 0;
    row->answered_final = false;
    row->overdue = 0;
    row->lost = NULL;
    row->not_before_us = 0;
    row->validation = NULL;
    sim_row_forget_letter(row);
    sim->totals.replayed++;
    SIM_TRACE(sim, sim_whom_row(row, -1), "operator: %s (%s) is replayed", row->id, row->code);
}

void sim_rows_replay(struct sim *sim, bool all)
{
    char code[OUTCOME_CODE_BYTES] = "";
    for (struct sim_row *row = sim->rows_all; row; row = row->next_all) {
        if (may_replay(row) && sim_chance(sim, 3000))
            snprintf(code, sizeof code, "%s", row->code);
    }
    for (struct sim_row *row = sim->rows_all; row; row = row->next_all) {
        if (may_replay(row) && (all || strcmp(row->code, code) == 0))
            replay(sim, row);
    }
}
