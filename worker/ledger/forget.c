/* Forgetting one person: their rows are emptied, what hangs on them is deleted, a proof is left. Blocking,
 * for commands.
 *
 * One transaction, in this order:
 *   1. the rows of the phone are locked in the order of their ids, as workers lock them, and then judged:
 * whoever claims, takes up, replays or publishes one of them has done so before, which is seen, or waits for
 * the end of this and then finds a row that settles (claim), is final (record, take-up) or is none of theirs
 * (replay);
 *   2. what hangs on them goes: warnings, attempts, outcomes, the phone's validation, what replays say of
 * them;
 *   3. the proof;
 *   4. the rows are emptied.
 * Rows that come after the lock are new events.
 *
 * Where an id is to be renamed, the table is locked against all writing before that: a claim that has read
 * the old id and then finds no row of it would insert one. It is for milliseconds, and only where an id holds
 * the phone. */
#include "signup/ledger/people.h"

#include "people.h"
#include "sql.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRIES_MAX 5
#define PAUSE_MS 200
#define HOLD_DIGITS "7"
enum { HOLD_DIGIT_COUNT = 7 };

/* ------------------------------------------------------------------ statements */

/* In C: ledger_holds_phone(). */
#define HOLDS_PHONE(text, phone) \
    "(strpos(regexp_replace(" text ", '[^0-9]', '', 'g'), right(" phone ", " HOLD_DIGITS ")) > 0)"
#define POSITION(row) row ".topic || ':' || " row ".partition || ':' || " row ".\"offset\""
#define IS_LIVE(row) "(" row ".lease_until IS NOT NULL AND " row ".lease_until > clock_timestamp())"
#define IS_OPEN(row) \
    "(" row ".state = 'claimed' OR (" row ".state = 'parked' AND " row ".lease_until IS NOT NULL))"
#define IS_DUE_LETTER(row) "(" row ".state = 'dead' AND " row ".dead_letter_published_at IS NULL)"
#define US_OF(time) "(extract(epoch FROM " time ") * 1000000)::int8"

/* $1 the phone, here and below where nothing else is said. */
static const char lock_text[] =
    "SELECT count(*) FROM (SELECT FROM {schema}.event e WHERE e.phone_number = $1 ORDER BY e.event_id FOR UPDATE) l";

/* ids: of the rows, for the statements that follow. */
static const char judge_text[] =
    "WITH found AS MATERIALIZED ("
    " SELECT e.event_id, e.state, e.received_at, e.lease_until, e.outbox_token, e.dead_letter_published_at,"
    "  " HOLDS_PHONE("e.event_id", "$1") " AND e.event_id <> " POSITION("e") " AS renamed"
    " FROM {schema}.event e WHERE e.phone_number = $1"
    "), told AS MATERIALIZED ("
    " SELECT o.token, o.lease_until FROM {schema}.outcome o"
    " WHERE (o.event_id IN (SELECT f.event_id FROM found f)) IS TRUE"
    ") SELECT coalesce(array_agg(f.event_id), '{}') AS ids, count(*) AS events,"
    "  count(*) FILTER (WHERE f.state = 'accepted') AS accepted,"
    "  count(*) FILTER (WHERE f.state = 'dead') AS dead,"
    "  count(*) FILTER (WHERE f.state = 'parked' AND f.lease_until IS NULL) AS waiting,"
    "  count(*) FILTER (WHERE " IS_OPEN("f") " AND " IS_LIVE("f") ") AS in_work,"
    "  count(*) FILTER (WHERE " IS_OPEN("f") " AND NOT " IS_LIVE("f") ") AS abandoned,"
    "  count(*) FILTER (WHERE " IS_DUE_LETTER("f") ") AS letters,"
    "  count(*) FILTER (WHERE " IS_DUE_LETTER("f") " AND f.outbox_token IS NOT NULL AND " IS_LIVE("f") ") AS letters_leased,"
    "  (SELECT count(*) FROM told) AS outcomes,"
    "  (SELECT count(*) FROM told t WHERE t.token IS NOT NULL AND " IS_LIVE("t") ") AS outcomes_leased,"
    "  count(*) FILTER (WHERE f.renamed) AS renamed,"
    "  (SELECT count(*) FROM {schema}.warning w WHERE w.event_id = ANY (ARRAY(SELECT f.event_id FROM found f)))"
    "   AS warnings,"
    "  (SELECT count(*) FROM {schema}.attempt a WHERE a.event_id = ANY (ARRAY(SELECT f.event_id FROM found f)))"
    "   AS attempts,"
    "  (SELECT count(*) FROM {schema}.phone_validation p WHERE p.phone_number = $1) AS validations,"
    "  " US_OF("min(f.received_at)") " AS first_us, " US_OF("max(f.received_at)") " AS last_us"
    " FROM found f";

/* $1 the ids, or the phone. */
static const char *const delete_texts[] = {
    "DELETE FROM {schema}.warning w WHERE w.event_id = ANY (ARRAY(SELECT unnest($1::text[])))",
    "DELETE FROM {schema}.attempt a WHERE a.event_id = ANY (ARRAY(SELECT unnest($1::text[])))",
    "DELETE FROM {schema}.outcome o WHERE (o.event_id IN (SELECT unnest($1::text[]))) IS TRUE",
};
static const char delete_validation_text[] = "DELETE FROM {schema}.phone_validation p WHERE p.phone_number = $1";

/* What a person who replayed has typed. */
static const char replays_text[] =
    "UPDATE {schema}.replay r SET selection = '{\"forgotten\": true}', reason = NULL"
    " WHERE " HOLDS_PHONE("r.selection::text", "$1") " OR coalesce(" HOLDS_PHONE("r.reason", "$1") ", false)";

/* $1 phone, $2 who, $3 reason, $4 … the figures. */
static const char proof_text[] =
    "INSERT INTO {schema}.erasure (who, reason, salt, phone_hash, events, not_sent, renamed, warnings, attempts,"
    "  validations)"
    " SELECT $2, $3, s.salt, sha256(s.salt || convert_to($1, 'UTF8')), $4::int8, $5::int8, $6::int8, $7::int8,"
    "  $8::int8, $9::int8"
    " FROM (SELECT decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex') AS salt"
    "   OFFSET 0) s"
    " RETURNING erasure_id";

/* $1 ids, $2 phone, $3 the proof. A position that is taken by another row's name gets something behind it. A row that
 * was not final is dead now, without a letter. */
static const char scrub_text[] =
    "WITH named AS MATERIALIZED ("
    " SELECT x.event_id, CASE WHEN NOT x.holds THEN x.event_id"
    "   WHEN x.nth = 1 AND NOT EXISTS (SELECT FROM {schema}.event y"
    "     WHERE y.event_id = x.position AND y.event_id <> x.event_id) THEN x.position"
    "   ELSE x.position || ':' || replace(gen_random_uuid()::text, '-', '') END AS new_id"
    " FROM (SELECT i.*, row_number() OVER (PARTITION BY i.position, i.holds ORDER BY i.event_id) AS nth"
    "   FROM (SELECT e.event_id, " POSITION("e") " AS position,"
    "      " HOLDS_PHONE("e.event_id", "$2") " AND e.event_id <> " POSITION("e") " AS holds"
    "     FROM {schema}.event e WHERE e.event_id = ANY (ARRAY(SELECT unnest($1::text[])))) i) x"
    "), hashed AS ("
    " INSERT INTO {schema}.forgotten_id (id_hash, erasure_id)"
    " SELECT " ID_HASH("n.event_id") ", $3::int8 FROM named n WHERE n.new_id <> n.event_id"
    " ON CONFLICT (id_hash) DO NOTHING"
    ") UPDATE {schema}.event e SET"
    "  event_id = n.new_id, forgotten_at = now(), code = 'forgotten', error = NULL, error_class = NULL,"
    "  state = CASE WHEN e.state = 'accepted' THEN 'accepted' ELSE 'dead' END,"
    "  finished_at = coalesce(e.finished_at, now()),"
    "  dead_letter_published_at = CASE WHEN e.state <> 'accepted' THEN coalesce(e.dead_letter_published_at, now()) END,"
    "  phone_number = NULL, list_number = NULL, ip_address = NULL, url = NULL, signup_date = NULL, consent = NULL,"
    "  request = NULL, payload = NULL, headers = NULL, record_key = NULL, record_timestamp_ms = NULL,"
    "  payload_digest = NULL, validation = NULL, contact_id = NULL, list_contact_id = NULL, ad_network_source = NULL,"
    "  ad_network_id = NULL, attribution = NULL, token = NULL, lease_until = NULL, outbox_token = NULL, due_at = NULL,"
    "  park_order = NULL"
    " FROM named n WHERE e.event_id = n.event_id";

/* ------------------------------------------------------------------ asking */

static uint64_t count_named(const PGresult *result, const char *name)
{
    int column = PQfnumber(result, name);
    assert(column >= 0);
    return strtoull(PQgetvalue(result, 0, column), NULL, 10);
}

static void counts_read(const PGresult *result, struct forget_counts *counts)
{
#define READ(name) .name = count_named(result, #name)
    *counts = (struct forget_counts){
        READ(events),
        READ(accepted),
        READ(dead),
        READ(waiting),
        READ(in_work),
        READ(abandoned),
        READ(letters),
        READ(letters_leased),
        READ(outcomes),
        READ(outcomes_leased),
        READ(renamed),
        READ(warnings),
        READ(attempts),
        READ(validations),
        .dated = !PQgetisnull(result, 0, PQfnumber(result, "first_us")),
        .first_at = {(int64_t)count_named(result, "first_us")},
        .last_at = {(int64_t)count_named(result, "last_us")},
    };
#undef READ
}

bool ledger_forget_is_refused(const struct forget_order *order, const struct forget_counts *counts)
{
    if (counts->in_work || counts->letters_leased || counts->outcomes_leased)
        return true;
    return !order->abandoned_too && (counts->abandoned || counts->letters || counts->outcomes);
}

bool ledger_holds_phone(const char *text, const char *phone_number)
{
    size_t len = strlen(phone_number);
    const char *wanted = phone_number + (len > HOLD_DIGIT_COUNT ? len - HOLD_DIGIT_COUNT : 0);
    char last[HOLD_DIGIT_COUNT + 1] = ""; /* the digits seen last */
    for (; *text; text++) {
        size_t held = strlen(last);
        if (*text < '0' || *text > '9')
            continue;
        if (held == HOLD_DIGIT_COUNT)
            memmove(last, last + 1, held--);
        last[held] = *text;
        last[held + 1] = '\0';
        if (strcmp(last, wanted) == 0)
            return true;
    }
    return false;
}

/* Nothing to read. False: `verdict` is set. */
static bool run(struct direct *direct, const char *sql, int count, const char *const *values,
                enum ledger_verdict *verdict)
{
    PGresult *result = direct_run(direct, sql, count, values, verdict);
    PQclear(result);
    return result != NULL;
}

static void rollback(struct direct *direct)
{
    PQclear(PQexec(direct->pg, "ROLLBACK"));
}

enum ledger_verdict ledger_forget_look(struct people_ledger *ledger, const char *phone_number,
                                       struct forget_counts *counts)
{
    struct direct *direct = &ledger->direct;
    const char *values[] = {phone_number};
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    PGresult *result = run(direct, "BEGIN READ ONLY" PEOPLE_SETTINGS, 0, NULL, &verdict)
                           ? direct_run(direct, judge_text, 1, values, &verdict)
                           : NULL;
    if (result)
        counts_read(result, counts);
    PQclear(result);
    rollback(direct);
    return verdict;
}

/* ------------------------------------------------------------------ the transaction */

static bool begin(struct direct *direct, bool whole_table, enum ledger_verdict *verdict)
{
    /* Shorter than a worker waits for a lock: whoever must give way is this one. */
    return run(direct, "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '3s'" PEOPLE_SETTINGS,
               0, NULL, verdict) &&
           (!whole_table || run(direct, "LOCK TABLE {schema}.event IN EXCLUSIVE MODE", 0, NULL, verdict));
}

/* Locks the phone's rows, and then looks at them: what a lock was waited for is seen only by a statement that
 * began after it. Rows that came between the two are locked likewise. NULL: `verdict` is set, or, with WELL,
 * they never stopped coming. */
static PGresult *lock_and_judge(struct direct *direct, const char *phone, struct forget_counts *counts,
                                enum ledger_verdict *verdict)
{
    const char *values[] = {phone};
    for (int i = 0; i < TRIES_MAX; i++) {
        PGresult *locked = direct_run(direct, lock_text, 1, values, verdict);
        uint64_t count = locked ? strtoull(PQgetvalue(locked, 0, 0), NULL, 10) : 0;
        PGresult *judged = locked ? direct_run(direct, judge_text, 1, values, verdict) : NULL;
        PQclear(locked);
        if (!judged)
            return NULL;
        counts_read(judged, counts);
        if (counts->events == count)
            return judged;
        PQclear(judged);
    }
    direct->collided = true;
    return NULL;
}

/* COMMIT of a failed transaction is a success that says ROLLBACK. */
static bool commit(struct direct *direct, enum ledger_verdict *verdict)
{
    PGresult *result = direct_run(direct, "COMMIT", 0, NULL, verdict);
    bool committed = result && strcmp(PQcmdStatus(result), "COMMIT") == 0;
    if (result && !committed) {
        *verdict = LEDGER_VERDICT_AWAY;
        snprintf(direct->error, LEDGER_ERROR_BYTES, "PostgreSQL at %s rolled it back", direct->server);
    }
    PQclear(result);
    return committed;
}

static bool sweep(struct direct *direct, const char *phone, const char *ids, enum ledger_verdict *verdict)
{
    const char *by_ids[] = {ids};
    const char *by_phone[] = {phone};
    for (size_t i = 0; i < sizeof delete_texts / sizeof delete_texts[0]; i++) {
        if (!run(direct, delete_texts[i], 1, by_ids, verdict))
            return false;
    }
    return run(direct, delete_validation_text, 1, by_phone, verdict) &&
           run(direct, replays_text, 1, by_phone, verdict);
}

static bool prove(struct direct *direct, const struct forget_order *order, const struct forget_counts *counts,
                  int64_t *erasure_id, enum ledger_verdict *verdict)
{
    const uint64_t figures[] = {counts->events,   counts->waiting + counts->abandoned,
                                counts->renamed,  counts->warnings,
                                counts->attempts, counts->validations};
    enum { FIGURES = sizeof figures / sizeof figures[0] };
    char texts[FIGURES][24];
    const char *values[3 + FIGURES] = {order->phone_number, order->who, order->reason};
    for (int i = 0; i < FIGURES; i++) {
        snprintf(texts[i], sizeof texts[i], "%" PRIu64, figures[i]);
        values[3 + i] = texts[i];
    }
    PGresult *result = direct_run(direct, proof_text, 3 + FIGURES, values, verdict);
    if (!result)
        return false;
    *erasure_id = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return true;
}

static bool scrub(struct direct *direct, const char *phone, const char *ids, int64_t erasure_id,
                  enum ledger_verdict *verdict)
{
    char number[24];
    snprintf(number, sizeof number, "%" PRId64, erasure_id);
    const char *values[] = {ids, phone, number};
    return run(direct, scrub_text, 3, values, verdict);
}

/* `*whole_table` is set where this must be tried again under the lock of the table. */
static enum ledger_verdict forget_once(struct direct *direct, const struct forget_order *order,
                                       enum forget_answer *answer, struct forget_counts *counts,
                                       int64_t *erasure_id, bool *whole_table)
{
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    bool locked_whole = *whole_table;
    *whole_table = false;
    PGresult *found = begin(direct, locked_whole, &verdict)
                          ? lock_and_judge(direct, order->phone_number, counts, &verdict)
                          : NULL;
    if (!found) {
        rollback(direct);
        return verdict;
    }
    const char *ids = PQgetvalue(found, 0, 0);
    bool open = true;
    if (!counts->events && !counts->validations) {
        *answer = FORGET_NOTHING;
    } else if (ledger_forget_is_refused(order, counts)) {
        *answer = FORGET_REFUSED;
    } else if (counts->renamed && !locked_whole) {
        *whole_table = true;
    } else {
        *answer = FORGET_DONE;
        open = !(sweep(direct, order->phone_number, ids, &verdict) &&
                 prove(direct, order, counts, erasure_id, &verdict) &&
                 scrub(direct, order->phone_number, ids, *erasure_id, &verdict) && commit(direct, &verdict));
    }
    if (open)
        rollback(direct);
    PQclear(found);
    return verdict;
}

enum ledger_verdict ledger_forget(struct people_ledger *ledger, const struct forget_order *order,
                                  enum forget_answer *answer, struct forget_counts *counts,
                                  int64_t *erasure_id)
{
    struct direct *direct = &ledger->direct;
    bool whole_table = false;
    for (int i = 0; i < TRIES_MAX; i++) {
        bool again = whole_table;
        direct->collided = false;
        enum ledger_verdict verdict = forget_once(direct, order, answer, counts, erasure_id, &whole_table);
        if (verdict == LEDGER_VERDICT_WELL && whole_table)
            continue;
        if (!direct->collided)
            return verdict;
        whole_table = again; /* as this one was tried */
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
    }
    *answer = FORGET_LOCKED;
    return LEDGER_VERDICT_WELL;
}
