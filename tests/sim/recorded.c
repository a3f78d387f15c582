/* The reference model of what is recorded: final, parked or given back, and leases that are extended. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

static bool token_is_zero(const struct claim_token *token)
{
    static const struct claim_token zero;
    return memcmp(token, &zero, sizeof zero) == 0;
}

/* A parked row without a lease has been recorded under its token; with one it has been taken up under it. */
static bool is_open(const struct sim_row *row)
{
    return (row->state == SIM_CLAIMED && !row->released) ||
           (row->state == SIM_PARKED_ROW && row->lease_until_us);
}

static void note_final(struct sim *sim, struct sim_row *row)
{
    (void)sim;
    row->record->was_final = true;
    for (struct sim_source *s = row->settled; s; s = s->next)
        ((struct sim_record *)s->record)->was_final = true;
    row->settled = NULL;
    row->park_order = 0;
    row->due_at_us = 0;
    row->lease_until_us = 0;
}

static void apply_dead(struct sim *sim, struct sim_row *row, const struct record_item *item)
{
    row->state = SIM_DEAD;
    row->was_dead = true;
    row->published = false;
    sim_row_forget_letter(row);
    row->http_status = item->outcome->http_status;
    snprintf(row->code, sizeof row->code, "%s", item->outcome->code);
    note_final(sim, row);
    sim->totals.dead++;
}

static void apply_parked(struct sim *sim, struct sim_row *row, const struct record_item *item)
{
    row->state = SIM_PARKED_ROW;
    row->lease_until_us = 0;
    row->due_at_us = sim->now_us + item->due_in_us;
    snprintf(row->park_code, sizeof row->park_code, "%s", item->outcome ? item->outcome->code : "");
    if (!row->park_order)
        row->park_order = ++sim->park_next;
    sim->totals.parked++;
}

static void apply_released(struct sim_row *row)
{
    row->not_before_us = 0; /* nobody is told what the API wished */
    if (row->state == SIM_PARKED_ROW) {
        row->has_token = false;
        row->lease_until_us = 0;
    } else {
        row->released = true;
    }
}

static void record_apply(struct sim *sim, struct sim_life *life, struct sim_row *row,
                         const struct record_item *item)
{
    bool taken_up = row->state == SIM_PARKED_ROW;
    sim_row_note_lost(sim, row);
    row->lost->counted = row->lost->perhaps_counted = 0; /* the counter has them */
    row->lost->answered_final = false;
    row->attempts = item->attempts;
    row->maybe_sent = item->maybe_sent;
    sim_phone_written(sim, life, row, item);
    sim_phone_told_no_more(row, life);
    sim_outcome_write(sim, row, item);
    if (item->state == RECORD_ACCEPTED || item->state == RECORD_DEAD) {
        for (const struct warning *w = item->signup->warnings; w; w = w->next)
            row->warnings++;
    }
    switch (item->state) {
    case RECORD_ACCEPTED:
        row->state = SIM_ACCEPTED;
        note_final(sim, row);
        sim->totals.accepted++;
        break;
    case RECORD_DEAD: apply_dead(sim, row, item); break;
    case RECORD_PARKED: apply_parked(sim, row, item); break;
    case RECORD_RELEASED: apply_released(row); break;
    }
    if (taken_up && (item->state == RECORD_ACCEPTED || item->state == RECORD_DEAD))
        sim_rows_wake(sim, row);
}

/* A record that is repeated, because its answer was lost, says what it said before. */
static void verify_repeated(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                            const struct record_item *item)
{
    static const enum sim_row_state states[] = {
        [RECORD_ACCEPTED] = SIM_ACCEPTED,
        [RECORD_DEAD] = SIM_DEAD,
        [RECORD_PARKED] = SIM_PARKED_ROW,
        [RECORD_RELEASED] = SIM_CLAIMED,
    };
    if (states[item->state] != row->state)
        sim_fail(sim, "I8.changed", sim_whom_row(row, life->worker),
                 "%s was recorded as %s and is recorded again, under the same token, as something else",
                 row->id, sim_row_state_str(row->state));
}

enum record_answer sim_row_record(struct sim *sim, struct sim_life *life, const struct record_item *item)
{
    static const char *const names[] = {"accepted", "dead", "parked", "released"};
    struct sim_record *record = sim_record_find(sim, item->record);
    struct sim_row *row = sim_row_find(sim, item->event_id);
    if (!record || !row)
        sim_fail(sim, "I6.claim", sim_whom_record(record, life->worker), "a record without a row is written");
    struct sim_whom whom = sim_whom_row(row, life->worker);
    enum record_answer answer = RECORD_DONE;
    bool any =
        token_is_zero(&item->token); /* only a planted bug sends that: as if the condition were missing */
    if (!any && (!row->has_token || !sim_token_equal(&row->token, &item->token))) {
        sim->totals.refused++;
        answer = RECORD_REFUSED;
    } else if (record->content->poison == SIM_POISON_RECORD && !item->bare &&
               item->state != RECORD_RELEASED) {
        sim->totals.poisoned++;
        answer = RECORD_POISON;
    } else if (any || is_open(row)) {
        sim_verify_record(sim, life, row, item);
        record_apply(sim, life, row, item);
    } else {
        verify_repeated(sim, life, row, item);
    }
    SIM_TRACE(sim, whom, "w%d.%d ledger: record of %s at %s as %s, %d attempts, due in %lld ms: %s",
              life->worker, life->number, row->id, record->position, names[item->state], item->attempts,
              (long long)(item->state == RECORD_PARKED ? item->due_in_us / US_PER_MS : 0),
              answer == RECORD_DONE      ? "done"
              : answer == RECORD_REFUSED ? "refused"
                                         : "poison");
    return answer;
}

bool sim_row_extend(struct sim *sim, const struct lease_item *item, int64_t lease_us)
{
    struct sim_row *row = sim_row_find(sim, item->event_id);
    if (!row || !is_open(row) || !row->has_token || !sim_token_equal(&row->token, &item->token))
        return false;
    row->lease_until_us = sim->now_us + lease_us;
    row->maybe_sent = row->maybe_sent || item->maybe_sent;
    return true;
}
