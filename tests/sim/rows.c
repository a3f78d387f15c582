/* The reference model of the ledger's rows: the table, and the claim by the rules of the design.
 *
 * The claim's answer for one event, in this order:
 *  - same: the row is claimed under this very token. The answer was lost, it is given again, unless an event
 *    of the contact has been parked meanwhile: then behind.
 *  - again: the record has a row of its own under its position, because its id was in conflict when it was
 *    first read. Settled when that row is final or parked, else conflict once more.
 *  - settled: this position is among the row's sources, or its own and the row is final or parked; or the row
 *    is accepted or parked and speaks of the same contact (other content: one warning per position).
 *  - behind: another row of the same contact is parked. Written as go.
 *  - busy: claimed under a live lease, and of the same contact or position, or of an unknown contact; or a
 *    row of the same contact is so. Nothing is written.
 *  - go: no row; a dead one that is published again elsewhere; or one whose claimant is gone.
 *  - conflict: the id belongs to another contact's event. Nothing is written. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

const char *sim_row_state_str(enum sim_row_state state)
{
    static const char *const names[] = {"claimed", "parked", "accepted", "dead"};
    return names[state];
}

static uint32_t hash(const char *bytes, size_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)bytes[i]) * 16777619u;
    return h;
}

struct sim_row *sim_row_find(struct sim *sim, struct slice id)
{
    struct sim_row *row = sim->rows[hash(id.ptr, id.len) % SIM_ROW_BUCKETS];
    while (row && !slice_is(id, row->id))
        row = row->next_hash;
    return row;
}

struct sim_row *sim_row_find_str(struct sim *sim, const char *id)
{
    return sim_row_find(sim, slice_from_str(id));
}

bool sim_row_has_source(const struct sim_row *row, const struct sim_record *record)
{
    for (const struct sim_source *source = row->sources; source; source = source->next) {
        if (source->record == record)
            return true;
    }
    return false;
}

void sim_row_source_add(struct sim *sim, struct sim_source **list, const struct sim_record *record)
{
    struct sim_source *source = sim_alloc(sim, sizeof *source);
    source->record = record;
    source->next = *list;
    *list = source;
}

bool sim_row_is_live(const struct sim *sim, const struct sim_row *row)
{
    return (row->state == SIM_PARKED_ROW || (row->state == SIM_CLAIMED && !row->released)) &&
           row->lease_until_us > sim->now_us;
}

bool sim_token_equal(const struct claim_token *a, const struct claim_token *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static void row_set_contact(struct sim *sim, struct sim_row *row, int contact)
{
    if (row->contact == contact)
        return;
    if (row->contact >= 0) {
        struct sim_row **link = &sim->contacts[row->contact].rows;
        while (*link != row)
            link = &(*link)->next_contact;
        *link = row->next_contact;
    }
    row->contact = contact;
    if (contact >= 0) {
        row->next_contact = sim->contacts[contact].rows;
        sim->contacts[contact].rows = row;
    }
}

struct sim_row *sim_row_insert(struct sim *sim, struct slice id, struct sim_record *record, int contact)
{
    struct sim_row *row = sim_alloc(sim, sizeof *row);
    snprintf(row->id, sizeof row->id, "%.*s", (int)id.len, id.ptr);
    row->record = record;
    row->contact = -1;
    row->last_code = "";
    row->age_from_us = sim->now_us;
    row_set_contact(sim, row, contact);
    uint32_t bucket = hash(id.ptr, id.len) % SIM_ROW_BUCKETS;
    row->next_hash = sim->rows[bucket];
    sim->rows[bucket] = row;
    row->next_all = sim->rows_all;
    sim->rows_all = row;
    return row;
}

/* ---- claim */

/* What the core says of the record against what was written. */
static int claim_verify(struct sim *sim, struct sim_life *life, struct sim_record *record,
                        const struct claim_item *item)
{
    struct sim_whom whom = sim_whom_record(record, life->worker);
    const struct sim_content *content = record->content;
    int contact = sim_contact_find(sim, item->signup->phone_number, item->signup->list_number);
    bool own = slice_is(item->event_id, record->id);
    bool position = slice_is(item->event_id, record->position);
    if (!slice_equal(item->record->value, sim_record_value(record)))
        sim_fail(sim, "P1.bytes", whom, "%s is claimed with other bytes than the topic has",
                 record->position);
    if (!own && !(position && (record->conflict_told || record->poison_told)))
        sim_fail(sim, "P1.identity", whom, "%s is claimed as \"%.*s\" instead of \"%s\"", record->position,
                 (int)item->event_id.len, item->event_id.ptr, record->id);
    if (contact == -3 || (!content->dead_local && own && !record->poison_told && contact != content->contact))
        sim_fail(sim, "P1.contact", whom, "%s is claimed for contact %d instead of %d", record->id, contact,
                 content->contact);
    if (own && !content->dead_local && !record->poison_told) {
        struct sim_content *book = record->content_book;
        if (book->has_digest && memcmp(book->digest, item->signup->digest, sizeof book->digest) != 0)
            sim_fail(sim, "P1.digest", whom, "%s has another digest than the same content had before",
                     record->id);
        memcpy(book->digest, item->signup->digest, sizeof book->digest);
        book->has_digest = true;
    }
    if (own)
        record->said_contact = contact;
    return contact;
}

/* Others of the same contact: CLAIM_GO when none is in the way. */
static enum claim_answer contact_free(struct sim *sim, const struct sim_row *self, int contact)
{
    enum claim_answer answer = CLAIM_GO;
    const struct sim_row *row = contact >= 0 ? sim->contacts[contact].rows : NULL;
    for (; row; row = row->next_contact) {
        if (row == self)
            continue;
        if (row->state == SIM_PARKED_ROW)
            return CLAIM_BEHIND;
        if (sim_row_is_live(sim, row))
            answer = CLAIM_BUSY;
    }
    return answer;
}

/* A parked row takes the position among its sources: whoever reads the topic again after it has died must not
 * bring it back. */
static enum claim_answer settled(struct sim *sim, struct sim_row *row, struct sim_record *record,
                                 const struct claim_item *item, bool own_position)
{
    record->settled = true;
    if (row->state == SIM_PARKED_ROW && row->record != record) {
        sim_row_source_add(sim, &row->settled, record);
        if (!sim_row_has_source(row, record))
            sim_row_source_add(sim, &row->sources, record);
    }
    if (row->state == SIM_ACCEPTED || row->state == SIM_DEAD)
        record->was_final = true;
    if (!own_position && memcmp(row->digest, item->signup->digest, sizeof row->digest) != 0) {
        bool warned = false;
        for (const struct sim_source *s = row->differs; s; s = s->next)
            warned = warned || s->record == record;
        if (!warned) {
            sim_row_source_add(sim, &row->differs, record);
            row->warnings++;
        }
    }
    sim->totals.settled++;
    return CLAIM_SETTLED;
}

static bool is_ours(const struct sim_row *row, const struct claim_item *item)
{
    return row->state == SIM_CLAIMED && !row->released && sim_token_equal(&row->token, &item->token);
}

/* What the rules say before anything is written. */
static enum claim_answer claim_judge(struct sim *sim, struct sim_row *row, struct sim_record *record,
                                     int contact, const struct claim_item *item)
{
    if (!row)
        return contact_free(sim, NULL, contact);
    if (is_ours(row, item))
        return contact_free(sim, row, contact) == CLAIM_BEHIND ? CLAIM_BEHIND : CLAIM_GO;
    bool same_contact = contact >= 0 && contact == row->contact;
    struct sim_row *by_position = sim_row_find_str(sim, record->position);
    if (by_position && by_position != row)
        return by_position->state == SIM_CLAIMED ? CLAIM_CONFLICT
                                                 : settled(sim, by_position, record, item, true);
    if (sim_row_has_source(row, record) || (row->state != SIM_CLAIMED && row->record == record))
        return settled(sim, row, record, item, true);
    if (row->state == SIM_ACCEPTED || row->state == SIM_PARKED_ROW)
        return same_contact ? settled(sim, row, record, item, false) : CLAIM_CONFLICT;
    if (row->state == SIM_DEAD)
        return contact_free(sim, row, contact);
    if (row->contact >= 0 && !same_contact && row->record != record)
        return CLAIM_CONFLICT;
    if (sim_row_is_live(sim, row))
        return CLAIM_BUSY;
    return contact_free(sim, row, contact);
}

void sim_row_forget_letter(struct sim_row *row)
{
    row->outbox_until_us = 0;
    memset(&row->outbox_token, 0, sizeof row->outbox_token);
}

void sim_row_hold(struct sim *sim, struct sim_row *row, struct sim_life *life, uint64_t epoch)
{
    if (row->holder)
        sim_phone_excuse(sim, row->holder, row);
    if (row->holder != life)
        row->answered_final = false;
    row->holder = life;
    row->holder_epoch = epoch;
    row->claim_number++;
    row->behind = false;
    row->claim_attempts = row->attempts;
    row->counted = row->perhaps_counted = row->failures_counted = 0;
    row->must_park = row->unsure_here = row->unpaid = false;
    row->guarded_call = row->unvalidated_call = row->skipped = false;
    row->last_status = 0;
    row->last_code = "";
    row->last_answer_us = -1;
    row->last_probe = row->last_in_hold = row->last_in_storm = false;
}

static void claim_reopen(struct sim *sim, struct sim_row *row)
{
    sim->totals.reopened++;
    row->replays++;
    row->replayed = false;
    sim_row_source_add(sim, &row->sources, row->record);
    row->attempts = 0;
    row->age_from_us = sim->now_us;
    row->published = false;
    row->overdue = 0;
    sim_row_forget_letter(row);
    row->answered_final = false;
}

static void claim_give(struct sim *sim, struct sim_life *life, struct sim_row *row, struct sim_record *record,
                       int contact, const struct claim_item *item, int64_t lease_us)
{
    bool again = is_ours(row, item);
    row->lease_until_us = sim->now_us + lease_us;
    if (again)
        return;
    if (row->state == SIM_DEAD) { /* published again at another position */
        claim_reopen(sim, row);
        if (row->contact != contact) { /* and of somebody else */
            row->enrolments = 0;
            row->first_effect = false;
        }
    } else if (row->claim_number) {
        sim->totals.takeovers++;
        row->maybe_sent = row->maybe_sent || !row->released;
        row->taken_over = true;
    }
    row->state = SIM_CLAIMED;
    row->record = record;
    row_set_contact(sim, row, contact);
    memcpy(row->digest, item->signup->digest, sizeof row->digest);
    row->token = item->token;
    row->has_token = true;
    row->released = false;
    sim_row_hold(sim, row, life, item->record->epoch);
    row->not_before_us = 0;
}

struct sim_claimed sim_row_claim(struct sim *sim, struct sim_life *life, const struct claim_item *item,
                                 int64_t lease_us)
{
    struct sim_record *record = sim_record_find(sim, item->record);
    if (!record)
        sim_fail(sim, "P1.invented", sim_whom_worker(life->worker), "a record that no topic has is claimed");
    int contact = claim_verify(sim, life, record, item);
    bool poison = record->content->poison == SIM_POISON_CLAIM && slice_is(item->event_id, record->id) &&
                  slice_present(item->signup->phone_number);
    struct sim_claimed claimed = {.answer = CLAIM_POISON};
    struct sim_row *row = sim_row_find(sim, item->event_id);
    if (poison) {
        record->poison_told = true;
        sim->totals.poisoned++;
    } else {
        claimed.answer = claim_judge(sim, row, record, contact, item);
    }
    if (claimed.answer == CLAIM_GO || claimed.answer == CLAIM_BEHIND) {
        if (!row)
            row = sim_row_insert(sim, item->event_id, record, contact);
        claim_give(sim, life, row, record, contact, item, lease_us);
        row->behind = claimed.answer == CLAIM_BEHIND;
        sim->totals.behind += row->behind;
        claimed.maybe_sent = row->maybe_sent;
        claimed.attempts = row->attempts;
        claimed.age_us = sim->now_us - row->age_from_us;
        claimed.row = row;
        claimed.known = sim_phone_remembered(sim, row->contact);
    } else if (claimed.answer == CLAIM_CONFLICT) {
        record->conflict_told = true;
        sim->totals.conflicts++;
    } else if (claimed.answer == CLAIM_BUSY) {
        sim->totals.busy++;
    }
    static const char *const names[] = {"go", "settled", "behind", "busy", "conflict", "poison"};
    SIM_TRACE(sim, sim_whom_record(record, life->worker), "w%d.%d ledger: claim of %.*s at %s: %s%s",
              life->worker, life->number, (int)item->event_id.len, item->event_id.ptr, record->position,
              names[claimed.answer], claimed.maybe_sent ? " (maybe sent)" : "");
    return claimed;
}

static uint64_t mix(uint64_t h, uint64_t value)
{
    return (h ^ value) * UINT64_C(0x100000001B3);
}

uint64_t sim_rows_fingerprint(const struct sim *sim)
{
    uint64_t sum = 0;
    for (const struct sim_row *row = sim->rows_all; row; row = row->next_all) {
        uint64_t h = UINT64_C(0xCBF29CE484222325);
        h = mix(h, hash(row->id, strlen(row->id)));
        h = mix(h, (uint64_t)row->state);
        h = mix(h, row->record ? (uint64_t)row->record->index : UINT64_MAX);
        h = mix(h, (uint64_t)row->attempts);
        h = mix(h, (uint64_t)row->replays);
        h = mix(h, (uint64_t)row->warnings);
        h = mix(h, row->published);
        h = mix(h, (uint64_t)row->claim_number);
        h = mix(h, row->validation ? (uint64_t)row->validation->serial : UINT64_MAX);
        sum += h;
    }
    return sum;
}
