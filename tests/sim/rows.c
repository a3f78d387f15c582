/* The reference model of the ledger's rows: claim, record, extend by the rules of the design, and the books
 * behind them.
 *
 * The claim's answer for one event, in this order:
 *   same    the row is claimed under this very token: the answer was lost, it is given again
 *   again   the record has a row of its own under its position, because its id was in conflict when it was
 * first read: settled when that row is final, else conflict once more settled this position is among the
 * row's sources, or its own and the row is final or parked; or the row is accepted or parked and speaks of
 * the same contact (other content: one warning per position) busy    claimed under a live lease, and of the
 * same contact or position; or a row of the same contact is so behind  another row of the same contact is
 * parked go      no row; a dead one that is published again elsewhere; or one whose claimant is gone conflict
 * the id belongs to another contact's event Busy and behind write nothing. */
#include "sim.h"

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

static void source_add(struct sim *sim, struct sim_source **list, const struct sim_record *record)
{
    struct sim_source *source = sim_alloc(sim, sizeof *source);
    source->record = record;
    source->next = *list;
    *list = source;
}

bool sim_row_is_live(const struct sim *sim, const struct sim_row *row)
{
    return row->state == SIM_CLAIMED && !row->released && row->lease_until_us > sim->now_us;
}

static bool token_equal(const struct claim_token *a, const struct claim_token *b)
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

static struct sim_row *row_insert(struct sim *sim, struct slice id, struct sim_record *record)
{
    struct sim_row *row = sim_alloc(sim, sizeof *row);
    snprintf(row->id, sizeof row->id, "%.*s", (int)id.len, id.ptr);
    row->record = record;
    row->contact = -1;
    uint32_t bucket = hash(id.ptr, id.len) % SIM_ROW_BUCKETS;
    row->next_hash = sim->rows[bucket];
    sim->rows[bucket] = row;
    row->next_all = sim->rows_all;
    sim->rows_all = row;
    return row;
}

/* Events that somebody else has parked are finished by somebody else, before the healing. */
static void stranger_done(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)stamp;
    struct sim_row *row = arg;
    row->state = SIM_ACCEPTED;
    SIM_TRACE(sim, sim_whom_row(row, -1), "ledger: %s of contact %d is no longer parked", row->id,
              row->contact);
}

void sim_rows_park_strangers(struct sim *sim)
{
    int count = sim_strikes(sim, SIM_PARKED) ? 1 + sim_below(sim, 3) : 0;
    for (int i = 0; i < count; i++) {
        char id[SIM_ID_BYTES];
        snprintf(id, sizeof id, "stranger-%d", i);
        struct sim_row *row = row_insert(sim, slice_from_str(id), NULL);
        row->state = SIM_PARKED_ROW;
        row_set_contact(sim, row, sim_below(sim, sim->contact_count));
        SIM_TRACE(sim, sim_whom_row(row, -1), "ledger: %s of contact %d is parked", row->id, row->contact);
        sim_at(sim, sim_between(sim, 0, sim->profile.heal_us), stranger_done, row, 0);
    }
}

/* ---- claim */

static int contact_find(struct sim *sim, const struct signup *signup)
{
    if (!slice_present(signup->phone_number) || !slice_present(signup->list_number))
        return -1;
    for (int i = 0; i < sim->contact_count; i++) {
        if (slice_is(signup->phone_number, sim->contacts[i].phone) &&
            slice_is(signup->list_number, sim->contacts[i].list))
            return i;
    }
    return -3;
}

/* What the core says of the record against what was written. */
static int claim_verify(struct sim *sim, struct sim_life *life, struct sim_record *record,
                        const struct claim_item *item)
{
    struct sim_whom whom = sim_whom_record(record, life->worker);
    const struct sim_content *content = record->content;
    int contact = contact_find(sim, item->signup);
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

static enum claim_answer settled(struct sim *sim, struct sim_row *row, struct sim_record *record,
                                 const struct claim_item *item, bool own_position)
{
    if (!own_position && memcmp(row->digest, item->signup->digest, sizeof row->digest) != 0) {
        bool warned = false;
        for (const struct sim_source *s = row->differs; s; s = s->next)
            warned = warned || s->record == record;
        if (!warned) {
            source_add(sim, &row->differs, record);
            row->warnings++;
        }
    }
    sim->totals.settled++;
    return CLAIM_SETTLED;
}

/* What the rules say before anything is written. */
static enum claim_answer claim_judge(struct sim *sim, struct sim_row *row, struct sim_record *record,
                                     int contact, const struct claim_item *item)
{
    if (!row)
        return contact_free(sim, NULL, contact);
    if (row->state == SIM_CLAIMED && token_equal(&row->token, &item->token))
        return CLAIM_GO;
    bool same_contact = contact >= 0 && contact == row->contact;
    const struct sim_row *by_position = sim_row_find_str(sim, record->position);
    if (by_position && by_position != row)
        return by_position->state == SIM_CLAIMED ? CLAIM_CONFLICT : settled(sim, row, record, item, true);
    if (sim_row_has_source(row, record) || (row->state != SIM_CLAIMED && row->record == record))
        return settled(sim, row, record, item, true);
    if (row->state == SIM_ACCEPTED || row->state == SIM_PARKED_ROW)
        return same_contact ? settled(sim, row, record, item, false) : CLAIM_CONFLICT;
    if (row->state == SIM_DEAD)
        return contact_free(sim, row, contact);
    if (!same_contact && row->record != record)
        return CLAIM_CONFLICT;
    if (sim_row_is_live(sim, row))
        return CLAIM_BUSY;
    return contact_free(sim, row, contact);
}

/* Whoever has taken the letter of an earlier death must not mark this one's. */
static void letter_forget(struct sim_row *row)
{
    row->outbox_until_us = 0;
    memset(&row->outbox_token, 0, sizeof row->outbox_token);
}

static void claim_give(struct sim *sim, struct sim_life *life, struct sim_row *row, struct sim_record *record,
                       int contact, const struct claim_item *item, int64_t lease_us)
{
    bool again = row->state == SIM_CLAIMED && token_equal(&row->token, &item->token);
    row->lease_until_us = sim->now_us + lease_us;
    if (again)
        return;
    if (row->state == SIM_DEAD) { /* published again at another position */
        sim->totals.reopened++;
        row->replays++;
        source_add(sim, &row->sources, row->record);
        row->attempts = 0;
        row->published = false;
        letter_forget(row);
        row->answered_final = false;
    } else if (row->claim_number) {
        sim->totals.takeovers++;
        row->maybe_sent = row->maybe_sent || !row->released;
        row->taken_over = true;
    }
    if (row->holder != life)
        row->answered_final = false;
    row->state = SIM_CLAIMED;
    row->record = record;
    row_set_contact(sim, row, contact);
    memcpy(row->digest, item->signup->digest, sizeof row->digest);
    row->token = item->token;
    row->released = false;
    row->holder = life;
    row->holder_epoch = item->record->epoch;
    row->claim_number++;
    row->claim_attempts = row->attempts;
    row->answers_counted = 0;
    row->systemic_seen = false;
    row->not_before_us = 0;
}

enum claim_answer sim_row_claim(struct sim *sim, struct sim_life *life, const struct claim_item *item,
                                int64_t lease_us, bool *maybe_sent, int *attempts)
{
    struct sim_record *record = sim_record_find(sim, item->record);
    if (!record)
        sim_fail(sim, "P1.invented", sim_whom_worker(life->worker), "a record that no topic has is claimed");
    int contact = claim_verify(sim, life, record, item);
    bool poison = record->content->poison == SIM_POISON_CLAIM && slice_is(item->event_id, record->id) &&
                  slice_present(item->signup->phone_number);
    enum claim_answer answer = CLAIM_POISON;
    struct sim_row *row = sim_row_find(sim, item->event_id);
    if (poison) {
        record->poison_told = true;
        sim->totals.poisoned++;
    } else {
        answer = claim_judge(sim, row, record, contact, item);
    }
    if (answer == CLAIM_GO) {
        if (!row)
            row = row_insert(sim, item->event_id, record);
        claim_give(sim, life, row, record, contact, item, lease_us);
        *maybe_sent = row->maybe_sent;
        *attempts = row->attempts;
    } else if (answer == CLAIM_CONFLICT) {
        record->conflict_told = true;
        sim->totals.conflicts++;
    } else if (answer == CLAIM_BUSY || answer == CLAIM_BEHIND) {
        sim->totals.busy++;
    }
    static const char *const names[] = {"go", "settled", "behind", "busy", "conflict", "poison"};
    SIM_TRACE(sim, sim_whom_record(record, life->worker), "w%d.%d ledger: claim of %.*s at %s: %s%s",
              life->worker, life->number, (int)item->event_id.len, item->event_id.ptr, record->position,
              names[answer], answer == CLAIM_GO && row->maybe_sent ? " (maybe sent)" : "");
    return answer;
}

/* ---- record */

static bool warned_of(const struct signup *signup, const char *code)
{
    for (const struct warning *w = signup->warnings; w; w = w->next) {
        if (w->source == WARNING_WORKER && slice_is(w->code, code))
            return true;
    }
    return false;
}

static void verify_attempts(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                            const struct record_item *item)
{
    int high = row->claim_attempts + row->answers_counted;
    int low = row->claim_attempts;
    bool certain = row->answers_counted && row->answered_final && !life->closed_gate_seen;
    if (certain)
        low++;
    if (item->attempts < low || item->attempts > high)
        sim_fail(sim, "attempts", sim_whom_row(row, life->worker),
                 "%s is recorded with %d attempts: its claim began with %d, and %d answers may count",
                 row->id, item->attempts, row->claim_attempts, row->answers_counted);
}

static void verify_accepted(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                            const struct record_item *item)
{
    struct sim_whom whom = sim_whom_row(row, life->worker);
    if (!row->answered_final || row->last_class != OUTCOME_ACCEPTED || row->final_life != life)
        sim_fail(sim, "P1.accepted", whom,
                 "%s is recorded as accepted, which the API never said to this worker", row->id);
    if (!item->reply || !slice_present(item->reply->contact_id) || !slice_present(item->request))
        sim_fail(sim, "P1.accepted", whom, "%s is recorded as accepted without the reply or the request",
                 row->id);
    const struct sim_content *content = row->record->content;
    if (row->guarded_call && content->use_journeys && !content->skip &&
        !warned_of(item->signup, "journey_resend_guarded"))
        sim_fail(sim, "P2.warning", whom, "%s was resent with the guard against its wish, without a warning",
                 row->id);
}

static void verify_dead(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                        const struct record_item *item)
{
    struct sim_whom whom = sim_whom_row(row, life->worker);
    const struct sim_record *record = row->record;
    if (!item->outcome)
        sim_fail(sim, "P1.dead", whom, "%s is recorded as dead without a reason", row->id);
    const char *code = item->outcome->code;
    const struct sim_content *content = record->content;
    bool own = strcmp(row->id, record->id) == 0;
    bool right;
    if (content->dead_local)
        right = strcmp(code, content->death) == 0;
    else if (record->poison_told)
        right = strcmp(code, "invalid_field") == 0;
    else if (!own)
        right = record->conflict_told && strcmp(code, "event_id_conflict") == 0;
    else
        right = row->answered_final && row->final_life == life && content->rejected_status &&
                item->outcome->http_status == content->rejected_status &&
                strcmp(code, content->rejected_code) == 0;
    if (!right)
        sim_fail(sim, "P4.dead", whom, "%s is recorded as dead with \"%s\" (%d), which nothing said", row->id,
                 code, item->outcome->http_status);
}

static void verify_record(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                          const struct sim_record *record, const struct record_item *item)
{
    struct sim_whom whom = sim_whom_row(row, life->worker);
    if (row->holder != life)
        sim_fail(sim, "I6.token", whom, "%s is recorded by worker %d.%d, but worker %d.%d holds the claim",
                 row->id, life->worker, life->number, row->holder->worker, row->holder->number);
    if (row->record != record)
        sim_fail(sim, "P1.position", whom, "%s was claimed for %s and is recorded for %s", row->id,
                 row->record->position, record->position);
    if (item->state == RECORD_ACCEPTED)
        verify_accepted(sim, life, row, item);
    if (item->state == RECORD_DEAD)
        verify_dead(sim, life, row, item);
    if (item->state != RECORD_RELEASED)
        verify_attempts(sim, life, row, item);
}

static bool token_is_zero(const struct claim_token *token)
{
    static const struct claim_token zero;
    return memcmp(token, &zero, sizeof zero) == 0;
}

static void record_apply(struct sim *sim, struct sim_row *row, const struct record_item *item)
{
    row->attempts = item->attempts;
    row->maybe_sent = item->maybe_sent;
    for (const struct warning *w = item->signup->warnings; w; w = w->next)
        row->warnings++;
    switch (item->state) {
    case RECORD_ACCEPTED:
        row->state = SIM_ACCEPTED;
        sim->totals.accepted++;
        break;
    case RECORD_DEAD:
        row->state = SIM_DEAD;
        row->was_dead = true;
        row->published = false;
        letter_forget(row);
        row->http_status = item->outcome->http_status;
        snprintf(row->code, sizeof row->code, "%s", item->outcome->code);
        sim->totals.dead++;
        break;
    case RECORD_PARKED: row->state = SIM_PARKED_ROW; break;
    case RECORD_RELEASED: row->released = true; break;
    }
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
    if (!any && !token_equal(&row->token, &item->token)) {
        sim->totals.refused++;
        answer = RECORD_REFUSED;
    } else if (record->content->poison == SIM_POISON_RECORD && !item->bare &&
               item->state != RECORD_RELEASED) {
        sim->totals.poisoned++;
        answer = RECORD_POISON;
    } else if (any || (row->state == SIM_CLAIMED && !row->released)) {
        verify_record(sim, life, row, record, item);
        record_apply(sim, row, item);
    }
    SIM_TRACE(sim, whom, "w%d.%d ledger: record of %s at %s as %s: %s", life->worker, life->number, row->id,
              record->position, names[item->state],
              answer == RECORD_DONE      ? "done"
              : answer == RECORD_REFUSED ? "refused"
                                         : "poison");
    return answer;
}

bool sim_row_extend(struct sim *sim, const struct lease_item *item, int64_t lease_us)
{
    struct sim_row *row = sim_row_find(sim, item->event_id);
    if (!row || row->state != SIM_CLAIMED || row->released || !token_equal(&row->token, &item->token))
        return false;
    row->lease_until_us = sim->now_us + lease_us;
    row->maybe_sent = row->maybe_sent || item->maybe_sent;
    return true;
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
        sum += h;
    }
    return sum;
}
