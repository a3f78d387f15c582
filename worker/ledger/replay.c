/* Replays: dead rows selected, parked again, followed; dead letters put back where the ledger is gone.
 * Blocking, for commands; the statements of the running worker stand in sql.c, these are not among them.
 *
 * Nothing here happens twice: a row is parked only while it is dead, and never twice by the same replay
 * (replay_id), so that a batch whose answer was lost may simply be sent again. Rows are locked in the order
 * of their ids, as the workers do, and numbered in the order of the batch. Events of people who were forgotten
 * are none that could be brought back, also where a letter tells of them still. */
#include "signup/ledger/replay.h"

#include "direct.h"
#include "fault.h"
#include "headers.h"
#include "params.h"
#include "result.h"
#include "schema.h"
#include "sql.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PARAMS_BYTES_MAX ((size_t)512 << 20)
#define HEADERS_BYTES_MAX ((size_t)32 << 20)

struct replay_ledger {
    const struct ledger_config *config;
    struct direct direct;
    struct params params;
    bool ascii; /* the database's encoding is not UTF-8 */
};

/* ------------------------------------------------------------------ statements */

/* `chosen` is what is asked about. A pass over the table and hash joins, whatever the planner would make of
 * sets whose size it cannot know (see begin_reading): a look at each contact would need an index that nobody
 * else does. An event is overtaken by an accepted one further on in its own partition, or of a later date in
 * any other. */
#define OVERTAKEN(unasked)                                                                                   \
    "newest AS MATERIALIZED ("                                                                               \
    " SELECT a.phone_number, a.list_number, a.topic, a.partition, max(a.\"offset\") AS top,"                 \
    "  max(coalesce(a.signup_date, a.received_at)) AS dated"                                                 \
    " FROM {schema}.event a"                                                                                 \
    " WHERE a.state = 'accepted' AND " unasked "::int8 = 0"                                                  \
    "  AND (a.phone_number, a.list_number) IN (SELECT c.phone_number, c.list_number FROM chosen c)"          \
    " GROUP BY a.phone_number, a.list_number, a.topic, a.partition"                                          \
    "), overtaken AS MATERIALIZED ("                                                                         \
    " SELECT DISTINCT c.event_id FROM chosen c"                                                              \
    " JOIN newest n ON n.phone_number = c.phone_number AND n.list_number = c.list_number"                    \
    " WHERE CASE WHEN n.topic = c.topic AND n.partition = c.partition THEN n.top > c.\"offset\""             \
    "            ELSE n.dated > c.dated END)"

#define ANY_OF(list, column) "(cardinality(" list ") = 0 OR " column " = ANY (" list "))"

/* `place`: the earliest death among an event and those behind it of its contact and partition, so that sorting
 * by it never goes against their offsets. */
static const char select_text[] =
    "WITH chosen AS MATERIALIZED ("
    " SELECT e.event_id, e.topic, e.partition, e.\"offset\", e.phone_number, e.list_number, e.code,"
    "  e.http_status, e.ad_network_source, e.finished_at, e.payload IS NOT NULL AS original,"
    "  coalesce(e.signup_date, e.received_at) AS dated"
    " FROM {schema}.event e"
    " WHERE e.state = 'dead' AND e.forgotten_at IS NULL"
    "  AND e.finished_at >= $8::timestamptz AND e.finished_at < $9::timestamptz"
    "  AND " ANY_OF("$1::text[]", "e.code")
    "  AND " ANY_OF("$2::text[]", "e.error_class")
    "  AND " ANY_OF("$3::text[]", "e.list_number")
    "  AND " ANY_OF("$4::text[]", "e.ad_network_source")
    "  AND " ANY_OF("$5::text[]", "e.ad_network_id")
    "  AND " ANY_OF("$6::text[]", "e.event_id")
    "  AND " ANY_OF("$7::int4[]", "coalesce(e.http_status, 0)")
    "), " OVERTAKEN("$10")
    " SELECT c.event_id, c.phone_number, c.list_number, c.code, c.ad_network_source,"
    "  coalesce(c.http_status, 0), c.finished_at, o.event_id IS NOT NULL, c.original"
    " FROM (SELECT x.*, min(x.finished_at) OVER"
    "   (PARTITION BY x.phone_number, x.list_number, x.topic, x.partition"
    "    ORDER BY x.\"offset\" DESC ROWS UNBOUNDED PRECEDING) AS place FROM chosen x) c"
    " LEFT JOIN overtaken o ON o.event_id = c.event_id"
    " ORDER BY c.place, c.topic, c.partition, c.\"offset\", c.event_id";

static const char look_text[] =
    "WITH chosen AS MATERIALIZED ("
    " SELECT i.ord, i.event_id, i.topic, i.partition, i.\"offset\", i.dated,"
    "  CASE WHEN e.forgotten_at IS NULL AND NOT (" IS_FORGOTTEN_ID("i.event_id") ") THEN e.state"
    "       ELSE 'forgotten' END AS state,"
    "  e.payload IS NOT NULL AS original, coalesce(i.phone, e.phone_number) AS phone_number,"
    "  coalesce(i.list, e.list_number) AS list_number"
    " FROM unnest($1::text[], $2::text[], $3::int4[], $4::int8[], $5::text[], $6::text[], $7::timestamptz[])"
    "  WITH ORDINALITY AS i(event_id, topic, partition, \"offset\", phone, list, dated, ord)"
    " LEFT JOIN {schema}.event e ON e.event_id = i.event_id"
    "), " OVERTAKEN("$8")
    " SELECT c.ord, c.state IS NOT NULL, c.state IS NOT DISTINCT FROM 'dead', c.original,"
    "  o.event_id IS NOT NULL, c.phone_number, c.list_number"
    " FROM chosen c LEFT JOIN overtaken o ON o.event_id = c.event_id";

/* What a row is given when it comes back to life. */
#define REVIVED                                                                                              \
    "state = 'parked', due_at = now(), attempts = 0, replays = e.replays + 1, age_from = now(),"              \
    " token = NULL, lease_until = NULL, outbox_token = NULL, dead_letter_published_at = NULL,"               \
    " finished_at = NULL"

/* The tail of both: `going` holds what is to go, `parked` what went. */
#define COUNTED(replay, unsubscribed, superseded, without_original, not_dead, failed)                        \
    "warned AS ("                                                                                            \
    " INSERT INTO {schema}.warning (event_id, source, code, message)"                                        \
    " SELECT g.event_id, 'worker', 'replayed',"                                                              \
    "   'replayed by ' || r.who || ' (replay ' || r.replay_id || '): it had died of '"                       \
    "   || coalesce(g.code, g.error_class, 'a cause that is not known')"                                     \
    "   || CASE WHEN g.http_status > 0 THEN ' (HTTP ' || g.http_status || ')' ELSE '' END"                   \
    " FROM going g CROSS JOIN {schema}.replay r"                                                             \
    " WHERE r.replay_id = " replay "::int8 AND (g.event_id IN (SELECT p.event_id FROM parked p)) IS TRUE"    \
    " ORDER BY g.park_order"                                                                                 \
    "), counted AS ("                                                                                        \
    " UPDATE {schema}.replay r SET replayed = r.replayed + (SELECT count(*) FROM parked),"                   \
    "  skipped_unsubscribed = " unsubscribed "::int8, skipped_superseded = " superseded "::int8,"            \
    "  skipped_without_original = " without_original "::int8, skipped_not_dead = " not_dead "::int8,"        \
    "  failed = " failed "::int8"                                                                            \
    " WHERE r.replay_id = " replay "::int8)"

static const char hand_over_text[] =
    "WITH locked AS MATERIALIZED ("
    " SELECT e.event_id, CASE WHEN e.forgotten_at IS NULL THEN e.state ELSE 'forgotten' END AS state,"
    "  e.payload IS NOT NULL AS original, e.replay_id, e.code, e.error_class, e.http_status"
    " FROM {schema}.event e WHERE e.event_id = ANY ($1::text[]) ORDER BY e.event_id FOR UPDATE"
    "), going AS MATERIALIZED ("
    " SELECT o.*, nextval($name${schema}.park_order$name$) AS park_order"
    " FROM (SELECT l.event_id, l.code, l.error_class, l.http_status FROM locked l"
    "   WHERE l.state = 'dead' AND l.original AND l.replay_id IS DISTINCT FROM $2::int8"
    "   ORDER BY array_position($1::text[], l.event_id)) o"
    "), parked AS ("
    " UPDATE {schema}.event e SET " REVIVED ", replay_id = $2::int8, park_order = g.park_order"
    " FROM going g"
    " WHERE e.event_id = g.event_id AND e.event_id = ANY ($1::text[]) AND e.state || '' = 'dead'"
    " RETURNING e.event_id"
    "), " COUNTED("$2", "$3", "$4", "$5", "$6", "$7")
    " SELECT i.ord, (CASE"
    "   WHEN l.replay_id = $2::int8 OR (i.event_id IN (SELECT p.event_id FROM parked p)) IS TRUE THEN 'p'"
    "   WHEN l.state = 'dead' AND NOT l.original THEN 'o' ELSE 'n' END)::\"char\""
    " FROM unnest($1::text[]) WITH ORDINALITY AS i(event_id, ord) LEFT JOIN locked l ON l.event_id = i.event_id";

static const char put_back_text[] =
    "WITH going AS MATERIALIZED ("
    " SELECT o.*, nextval($name${schema}.park_order$name$) AS park_order"
    " FROM (SELECT i.* FROM unnest($1::text[], $2::text[], $3::int4[], $4::int8[], $5::timestamptz[],"
    "    $6::text[], $7::text[], $8::bytea[], $9::int4[], $10::text[], $11::text[], $12::text[],"
    "    $13::timestamptz[], $14::text[], $15::text[], $16::bytea[], $17::jsonb[], $18::bytea[], $19::int8[],"
    "    $20::bool[])"
    "   WITH ORDINALITY AS i(event_id, topic, partition, \"offset\", failed_at, phone, list, digest,"
    "    http_status, code, error, error_class, signup_date, ad_source, ad_id, payload, headers, key,"
    "    timestamp_ms, maybe_sent, ord)"
    "   WHERE NOT (" IS_FORGOTTEN_ID("i.event_id") ") ORDER BY i.ord) o"
    "), parked AS ("
    " INSERT INTO {schema}.event AS e (event_id, topic, partition, \"offset\", received_at, state, phone_number,"
    "   list_number, payload_digest, http_status, code, error, error_class, signup_date, ad_network_source,"
    "   ad_network_id, payload, headers, record_key, record_timestamp_ms, maybe_sent, due_at, age_from,"
    "   replays, replay_id, park_order)"
    " SELECT g.event_id, g.topic, g.partition, g.\"offset\", g.failed_at, 'parked', g.phone, g.list, g.digest,"
    "   g.http_status, g.code, g.error, g.error_class, g.signup_date, g.ad_source, g.ad_id, g.payload,"
    "   g.headers, g.key, g.timestamp_ms, g.maybe_sent, now(), now(), 1, $21::int8, g.park_order"
    " FROM going g ORDER BY g.event_id"
    " ON CONFLICT (event_id) DO UPDATE SET " REVIVED ","
    "  replay_id = excluded.replay_id, park_order = excluded.park_order,"
    "  payload = coalesce(e.payload, excluded.payload),"
    "  headers = CASE WHEN e.payload IS NULL THEN excluded.headers ELSE e.headers END,"
    "  record_key = CASE WHEN e.payload IS NULL THEN excluded.record_key ELSE e.record_key END,"
    "  record_timestamp_ms = CASE WHEN e.payload IS NULL THEN excluded.record_timestamp_ms"
    "                             ELSE e.record_timestamp_ms END"
    " WHERE e.state = 'dead' AND e.forgotten_at IS NULL AND e.replay_id IS DISTINCT FROM excluded.replay_id"
    " RETURNING e.event_id"
    "), " COUNTED("$21", "$22", "$23", "$24", "$25", "$26")
    " SELECT i.ord, (CASE"
    "   WHEN e.replay_id = $21::int8 OR (i.event_id IN (SELECT p.event_id FROM parked p)) IS TRUE THEN 'p'"
    "   ELSE 'n' END)::\"char\""
    " FROM unnest($1::text[]) WITH ORDINALITY AS i(event_id, ord)"
    " LEFT JOIN LATERAL (SELECT x.replay_id FROM {schema}.event x WHERE x.event_id = i.event_id OFFSET 0) e"
    "  ON true";

static const char begin_text[] = "INSERT INTO {schema}.replay (who, reason, selection, selected)"
                                 " VALUES ($1, $2, $3::jsonb, $4::int8) RETURNING replay_id";

static const char finish_text[] =
    "UPDATE {schema}.replay SET finished_at = now(), skipped_unsubscribed = $2::int8,"
    " skipped_superseded = $3::int8, skipped_without_original = $4::int8, skipped_not_dead = $5::int8,"
    " failed = $6::int8 WHERE replay_id = $1::int8";

static const char follow_text[] =
    "SELECT i.ord, coalesce(e.state = 'accepted', false), CASE WHEN e.state IS NULL THEN 'forgotten' ELSE e.code END,"
    "  coalesce(e.http_status, 0)"
    " FROM unnest($1::text[]) WITH ORDINALITY AS i(event_id, ord)"
    " LEFT JOIN LATERAL (SELECT x.state, x.code, x.http_status FROM {schema}.event x"
    "   WHERE x.event_id = i.event_id OFFSET 0) e ON true"
    " WHERE e.state IN ('accepted', 'dead') OR (e.state IS NULL AND " IS_FORGOTTEN_ID("i.event_id") ")";

/* ------------------------------------------------------------------ asking */

static enum ledger_verdict verdict_of_fault(enum fault fault)
{
    switch (fault) {
    case FAULT_DENIED:
        return LEDGER_VERDICT_REFUSED;
    case FAULT_AWAY:
    case FAULT_RETRY:
        return LEDGER_VERDICT_AWAY;
    default:
        return LEDGER_VERDICT_SCHEMA;
    }
}

/* Says why, and gives the fault. Clears the result. */
static enum fault ask_failed(struct replay_ledger *ledger, PGresult *result)
{
    struct direct *direct = &ledger->direct;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    bool lost = !sqlstate || PQstatus(direct->pg) != CONNECTION_OK;
    enum fault fault = lost ? FAULT_AWAY : fault_of_sqlstate(sqlstate);
    snprintf(direct->error, LEDGER_ERROR_BYTES, "PostgreSQL at %s: %s%s%s%s", direct->server,
             message ? message : "the connection was lost", sqlstate ? " (" : "", sqlstate ? sqlstate : "",
             sqlstate ? ")" : "");
    PQclear(result);
    return fault;
}

static bool is_well(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_SINGLE_TUPLE;
}

/* Sends `sql` with the parameters that have been built. */
static bool ask_send(struct replay_ledger *ledger, const char *sql)
{
    struct params *params = &ledger->params;
    char *text = params_finish(params) ? sql_render(sql, ledger->direct.schema) : NULL;
    int sent = text ? PQsendQueryParams(ledger->direct.pg, text, params->count, NULL, params->values,
                                        params->lengths, params->formats, 1)
                    : -1;
    free(text);
    if (sent < 0)
        snprintf(ledger->direct.error, LEDGER_ERROR_BYTES, "out of memory");
    else if (sent == 0)
        snprintf(ledger->direct.error, LEDGER_ERROR_BYTES, "PostgreSQL at %s: the connection was lost",
                 ledger->direct.server);
    return sent == 1;
}

/* The whole answer, in binary; NULL: `*fault` says why. */
static PGresult *ask(struct replay_ledger *ledger, const char *sql, enum fault *fault)
{
    if (!ask_send(ledger, sql)) {
        *fault = PQstatus(ledger->direct.pg) == CONNECTION_OK ? FAULT_SCHEMA : FAULT_AWAY;
        return NULL;
    }
    PGresult *result = PQgetResult(ledger->direct.pg);
    for (PGresult *more; (more = PQgetResult(ledger->direct.pg));)
        PQclear(more);
    if (is_well(result))
        return result;
    *fault = ask_failed(ledger, result);
    return NULL;
}

/* A transaction of its own for a large question: no look by contact (the head of the statements), no
 * compiler. */
static bool begin_reading(struct replay_ledger *ledger, enum ledger_verdict *verdict)
{
    PGresult *result =
        direct_run(&ledger->direct,
                   "BEGIN READ ONLY; SET LOCAL enable_nestloop = off; SET LOCAL enable_mergejoin = off;"
                   " SET LOCAL jit = off; SET LOCAL statement_timeout = 0",
                   0, NULL, verdict);
    PQclear(result);
    return result != NULL;
}

static void end_reading(struct replay_ledger *ledger)
{
    PQclear(PQexec(ledger->direct.pg, "ROLLBACK"));
}

/* ------------------------------------------------------------------ opening */

static enum ledger_verdict connect_and_look(struct replay_ledger *ledger, char *error)
{
    enum ledger_verdict verdict = direct_open(&ledger->direct, ledger->config, error);
    if (verdict != LEDGER_VERDICT_WELL)
        return verdict;
    int version = direct_version(&ledger->direct, &verdict);
    if (version < 0)
        return verdict;
    if (!schema_version_fits(ledger->config->schema, version, error, LEDGER_ERROR_BYTES))
        return LEDGER_VERDICT_SCHEMA;
    const char *encoding = PQparameterStatus(ledger->direct.pg, "server_encoding");
    ledger->ascii = !encoding || strcmp(encoding, "UTF8") != 0;
    return LEDGER_VERDICT_WELL;
}

enum ledger_verdict ledger_replay_open(const struct ledger_config *config, struct replay_ledger **out,
                                       char *error)
{
    struct replay_ledger *ledger = calloc(1, sizeof *ledger);
    *out = NULL;
    if (!ledger) {
        snprintf(error, LEDGER_ERROR_BYTES, "out of memory");
        return LEDGER_VERDICT_AWAY;
    }
    ledger->config = config;
    params_init(&ledger->params, PARAMS_BYTES_MAX);
    enum ledger_verdict verdict = connect_and_look(ledger, error);
    if (verdict == LEDGER_VERDICT_WELL)
        *out = ledger;
    else
        ledger_replay_close(ledger);
    return verdict;
}

enum ledger_verdict ledger_replay_reopen(struct replay_ledger *ledger)
{
    char *error = ledger->direct.error;
    direct_close(&ledger->direct);
    return connect_and_look(ledger, error);
}

void ledger_replay_close(struct replay_ledger *ledger)
{
    if (!ledger)
        return;
    direct_close(&ledger->direct);
    params_fini(&ledger->params);
    free(ledger);
}

/* ------------------------------------------------------------------ selecting */

static void put_texts(struct params *params, const struct replay_texts *texts)
{
    params_begin(params, PG_TEXT);
    for (size_t i = 0; i < texts->count; i++)
        params_put_text(params, slice_from_str(texts->items[i]));
    params_end(params);
}

/* As timestamptz; the ends of int64 are the infinities. */
static void scalar_time(struct params *params, bool present, wall_us_t time, int64_t otherwise)
{
    params_scalar_int8(params, present ? time.us - PG_EPOCH_US : otherwise);
}

static void put_filter(struct params *params, const struct replay_filter *filter)
{
    params_reset(params);
    put_texts(params, &filter->codes);
    put_texts(params, &filter->classes);
    put_texts(params, &filter->lists);
    put_texts(params, &filter->ad_networks);
    put_texts(params, &filter->ad_ids);
    put_texts(params, &filter->event_ids);
    params_begin(params, PG_INT4);
    for (size_t i = 0; i < filter->status_count; i++)
        params_put_int4(params, filter->statuses[i]);
    params_end(params);
    scalar_time(params, filter->has_since, filter->since, INT64_MIN);
    scalar_time(params, filter->has_until, filter->until, INT64_MAX);
    params_scalar_int8(params, filter->superseded_too);
}

static struct replay_row row_read(const PGresult *result)
{
    return (struct replay_row){
        .event_id = result_slice(result, 0, 0),
        .phone_number = result_slice(result, 0, 1),
        .list_number = result_slice(result, 0, 2),
        .code = result_slice(result, 0, 3),
        .ad_network = result_slice(result, 0, 4),
        .http_status = result_int4(result, 0, 5),
        .finished_at = result_time(result, 0, 6),
        .superseded = result_bool(result, 0, 7),
        .original = result_bool(result, 0, 8),
    };
}

/* Row by row, so that a large selection is held once only, by the caller. */
static enum ledger_verdict read_rows(struct replay_ledger *ledger,
                                     bool (*row)(void *ctx, const struct replay_row *row), void *ctx)
{
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    bool wanted = true;
    PQsetSingleRowMode(ledger->direct.pg);
    for (PGresult *result; (result = PQgetResult(ledger->direct.pg));) {
        if (!is_well(result)) {
            verdict = verdict_of_fault(ask_failed(ledger, result));
            continue;
        }
        if (wanted && PQntuples(result) == 1) {
            const struct replay_row read = row_read(result);
            wanted = row(ctx, &read);
        }
        PQclear(result);
    }
    return verdict;
}

enum ledger_verdict ledger_replay_select(struct replay_ledger *ledger, const struct replay_filter *filter,
                                         bool (*row)(void *ctx, const struct replay_row *row), void *ctx)
{
    enum ledger_verdict verdict = LEDGER_VERDICT_AWAY;
    if (!begin_reading(ledger, &verdict))
        return verdict;
    put_filter(&ledger->params, filter);
    if (ask_send(ledger, select_text))
        verdict = read_rows(ledger, row, ctx);
    else
        verdict = LEDGER_VERDICT_AWAY;
    end_reading(ledger);
    return verdict;
}

/* ------------------------------------------------------------------ what is known of letters */

#define COLUMN(params, type, each, count, put)                                                               \
    do {                                                                                                     \
        params_begin(params, type);                                                                          \
        for (size_t at_ = 0; at_ < (count); at_++) {                                                         \
            const __typeof__(*(each)) *it = &(each)[at_];                                                    \
            put;                                                                                             \
        }                                                                                                    \
        params_end(params);                                                                                  \
    } while (0)

static void put_known(struct params *params, const struct replay_known *known, size_t count,
                      bool superseded_too)
{
    params_reset(params);
    COLUMN(params, PG_TEXT, known, count, params_put_text(params, it->event_id));
    COLUMN(params, PG_TEXT, known, count, params_put_text(params, it->topic));
    COLUMN(params, PG_INT4, known, count, params_put_int4(params, it->partition));
    COLUMN(params, PG_INT8, known, count, params_put_int8(params, it->offset));
    COLUMN(params, PG_TEXT, known, count, params_put_text(params, it->phone_number));
    COLUMN(params, PG_TEXT, known, count, params_put_text(params, it->list_number));
    COLUMN(params, PG_TIMESTAMPTZ, known, count, params_put_time(params, it->dated));
    params_scalar_int8(params, superseded_too);
}

static void copy_text(struct slice from, char *to, size_t size)
{
    size_t len = from.len < size ? from.len : size - 1;
    if (slice_present(from))
        memcpy(to, from.ptr, len);
    to[slice_present(from) ? len : 0] = '\0';
}

enum ledger_verdict ledger_replay_look(struct replay_ledger *ledger, struct replay_known *known, size_t count,
                                       bool superseded_too)
{
    enum ledger_verdict verdict = LEDGER_VERDICT_AWAY;
    enum fault fault = FAULT_AWAY;
    if (!begin_reading(ledger, &verdict))
        return verdict;
    put_known(&ledger->params, known, count, superseded_too);
    PGresult *result = ask(ledger, look_text, &fault);
    end_reading(ledger);
    if (!result)
        return verdict_of_fault(fault);
    for (int row = 0; row < PQntuples(result); row++) {
        size_t nth = (size_t)result_int8(result, row, 0) - 1;
        assert(nth < count);
        struct replay_known *it = &known[nth];
        it->there = result_bool(result, row, 1);
        it->dead = result_bool(result, row, 2);
        it->original = result_bool(result, row, 3);
        it->superseded = result_bool(result, row, 4);
        copy_text(result_slice(result, row, 5), it->phone, sizeof it->phone);
        copy_text(result_slice(result, row, 6), it->list, sizeof it->list);
    }
    PQclear(result);
    return LEDGER_VERDICT_WELL;
}

/* ------------------------------------------------------------------ the row of the replay */

enum ledger_verdict ledger_replay_begin(struct replay_ledger *ledger, const struct replay_run *run,
                                        int64_t *replay_id)
{
    char selected[24];
    snprintf(selected, sizeof selected, "%" PRIu64, run->selected);
    const char *values[] = {run->who, run->reason, run->selection, selected};
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    PGresult *result = direct_run(&ledger->direct, begin_text, 4, values, &verdict);
    if (!result)
        return verdict;
    *replay_id = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return LEDGER_VERDICT_WELL;
}

static void put_tally(struct params *params, int64_t replay_id, const struct replay_tally *tally)
{
    params_scalar_int8(params, replay_id);
    params_scalar_int8(params, (int64_t)tally->unsubscribed);
    params_scalar_int8(params, (int64_t)tally->superseded);
    params_scalar_int8(params, (int64_t)tally->without_original);
    params_scalar_int8(params, (int64_t)tally->not_dead);
    params_scalar_int8(params, (int64_t)tally->failed);
}

enum ledger_verdict ledger_replay_finish(struct replay_ledger *ledger, int64_t replay_id,
                                         const struct replay_tally *tally)
{
    enum fault fault = FAULT_AWAY;
    params_reset(&ledger->params);
    put_tally(&ledger->params, replay_id, tally);
    PGresult *result = ask(ledger, finish_text, &fault);
    PQclear(result);
    return result ? LEDGER_VERDICT_WELL : verdict_of_fault(fault);
}

/* ------------------------------------------------------------------ handing over */

static void put_ids(struct params *params, const struct replay_item *items, size_t count)
{
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->event_id));
}

static void put_int4_unless_zero(struct params *params, int32_t value)
{
    if (value)
        params_put_int4(params, value);
    else
        params_put_null(params);
}

static void put_signup_date(struct params *params, const struct signup *signup)
{
    if (signup->has_signup_date)
        params_put_time(params, signup->signup_date);
    else
        params_put_null(params);
}

static void put_headers(struct params *params, const struct record *original, bool ascii, struct buf *scratch)
{
    buf_reset(scratch);
    if (original->header_count) {
        headers_write(original, ascii, scratch);
        params_put_jsonb(params, buf_slice(scratch));
        params->buf.failed = params->buf.failed || !buf_ok(scratch);
    } else {
        params_put_null(params);
    }
}

static void put_timestamp(struct params *params, int64_t timestamp_ms)
{
    if (timestamp_ms != -1)
        params_put_int8(params, timestamp_ms);
    else
        params_put_null(params);
}

static void put_letter_identity(struct params *params, const struct replay_item *items, size_t count)
{
    put_ids(params, items, count);
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->original.topic));
    COLUMN(params, PG_INT4, items, count, params_put_int4(params, it->letter->original.partition));
    COLUMN(params, PG_INT8, items, count, params_put_int8(params, it->letter->original.offset));
    COLUMN(params, PG_TIMESTAMPTZ, items, count, params_put_time(params, it->letter->failed_at));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->signup->phone_number));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->signup->list_number));
    COLUMN(params, PG_BYTEA, items, count,
           params_put_bytes(params, it->letter->signup->digest, SIGNUP_DIGEST_BYTES));
}

/* The order is that of unnest() in put_back_text. */
static void put_letters(struct params *params, const struct replay_item *items, size_t count, bool ascii)
{
    struct buf scratch;
    buf_init(&scratch, HEADERS_BYTES_MAX);
    params_reset(params);
    put_letter_identity(params, items, count);
    COLUMN(params, PG_INT4, items, count, put_int4_unless_zero(params, it->letter->http_status));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->code));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->message));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->cls));
    COLUMN(params, PG_TIMESTAMPTZ, items, count, put_signup_date(params, it->letter->signup));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->signup->ad_network_source));
    COLUMN(params, PG_TEXT, items, count, params_put_text(params, it->letter->signup->ad_network_id));
    COLUMN(params, PG_BYTEA, items, count, params_put_text(params, it->letter->original.value));
    COLUMN(params, PG_JSONB, items, count, put_headers(params, &it->letter->original, ascii, &scratch));
    COLUMN(params, PG_BYTEA, items, count, params_put_text(params, it->letter->original.key));
    COLUMN(params, PG_INT8, items, count, put_timestamp(params, it->letter->original.timestamp_ms));
    COLUMN(params, PG_BOOL, items, count, params_put_bool(params, it->letter->maybe_sent));
    buf_fini(&scratch);
}

static enum replay_answer answer_of(char letter)
{
    return letter == 'p' ? REPLAY_PARKED : letter == 'o' ? REPLAY_WITHOUT_ORIGINAL : REPLAY_NOT_DEAD;
}

static enum fault hand_over_once(struct replay_ledger *ledger, int64_t replay_id, struct replay_item *items,
                                 size_t count, const struct replay_tally *tally)
{
    bool letters = items[0].letter != NULL;
    enum fault fault = FAULT_NONE;
    if (letters) {
        put_letters(&ledger->params, items, count, ledger->ascii);
    } else {
        params_reset(&ledger->params);
        put_ids(&ledger->params, items, count);
    }
    put_tally(&ledger->params, replay_id, tally);
    PGresult *result = ask(ledger, letters ? put_back_text : hand_over_text, &fault);
    for (int row = 0; result && row < PQntuples(result); row++) {
        size_t nth = (size_t)result_int8(result, row, 0) - 1;
        assert(nth < count);
        items[nth].answer = answer_of(result_char(result, row, 1));
    }
    PQclear(result);
    return fault;
}

enum ledger_verdict ledger_replay_hand_over(struct replay_ledger *ledger, int64_t replay_id,
                                            struct replay_item *items, size_t count,
                                            const struct replay_tally *tally)
{
    assert(count > 0 && count <= REPLAY_BATCH_MAX);
    enum fault fault = hand_over_once(ledger, replay_id, items, count, tally);
    if (fault == FAULT_NONE)
        return LEDGER_VERDICT_WELL;
    if (fault != FAULT_POISON || !items[0].letter)
        return verdict_of_fault(fault);
    if (count == 1) {
        items[0].answer = REPLAY_REFUSED;
        return LEDGER_VERDICT_WELL;
    }
    /* Which letter it is, halving finds; what went already is known by its replay. */
    enum ledger_verdict verdict = ledger_replay_hand_over(ledger, replay_id, items, count / 2, tally);
    if (verdict != LEDGER_VERDICT_WELL)
        return verdict;
    return ledger_replay_hand_over(ledger, replay_id, items + count / 2, count - count / 2, tally);
}

/* ------------------------------------------------------------------ following */

enum ledger_verdict ledger_replay_follow(struct replay_ledger *ledger, const struct slice *event_ids,
                                         size_t count, void (*ended)(void *ctx, const struct replay_end *end),
                                         void *ctx)
{
    enum fault fault = FAULT_AWAY;
    params_reset(&ledger->params);
    COLUMN(&ledger->params, PG_TEXT, event_ids, count, params_put_text(&ledger->params, *it));
    PGresult *result = ask(ledger, follow_text, &fault);
    if (!result)
        return verdict_of_fault(fault);
    for (int row = 0; row < PQntuples(result); row++) {
        const struct replay_end end = {
            .nth = (size_t)result_int8(result, row, 0) - 1,
            .accepted = result_bool(result, row, 1),
            .code = result_slice(result, row, 2),
            .http_status = result_int4(result, row, 3),
        };
        assert(end.nth < count);
        ended(ctx, &end);
    }
    PQclear(result);
    return LEDGER_VERDICT_WELL;
}
