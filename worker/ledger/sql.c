/* All SQL of the running worker. {schema} is replaced once, when the ledger is created.
 *
 * Shapes, and why:
 *   - a batch comes as one array a column; unnest() keeps their order, which is that of event_id, so rows are locked in one order;
 *   - rows are found by LATERAL … OFFSET 0 or by ON CONFLICT, never by a join the planner may turn round: a plan made while the table
 *     was empty must still be right when it is full;
 *   - CTEs are matched by (x IN (SELECT …)) IS TRUE, which is a hashed subplan: a join of two CTEs whose sizes the planner cannot know
 *     would be a nested loop over 500 × 500;
 *   - now() is the start of the statement's transaction, each statement being one. */
#include "sql.h"

#include "signup/base/buf.h"

#include <stdlib.h>
#include <string.h>

/* judged: what the snapshot says. taken: an insert that judges again under the row's lock, so that of two claims of one event exactly one
 * gets the row; what the snapshot would have given but the lock did not is simply missing from the answer and means "ask again".
 *
 * rule: n new, reopened or taken over, subject to the contact's other events; t ours already (the answer to this claim was lost);
 * s settled; d settled, but the contents differ; b busy; c conflict. answer: g go, and p behind (an event of the contact is parked).
 *
 * A position among the sources is answered for by whoever published the event again, in any state of the row. And a record that once met a
 * foreign event under its id has a row of its own, named by its position: that one answers for it for ever, also when the foreign event
 * has died since and its id would be free (RULE_BY_POSITION).
 *
 * Two events of one contact claimed by two workers in the same instant may both be given: neither is in the other's snapshot. That breaks
 * no partition's order, because a worker claims an event only after the one before it in the partition is settled, parked or answered. */
#define RULE_BY_POSITION                                                                                               \
    "coalesce((SELECT CASE WHEN y.state = 'claimed' THEN 'c' ELSE 's' END FROM {schema}.event y"                       \
    " WHERE y.event_id = i.topic || ':' || i.partition || ':' || i.\"offset\" AND y.topic = i.topic"                   \
    " AND y.partition = i.partition AND y.\"offset\" = i.\"offset\"), 'n')"

static const char claim_text[] =
    "WITH judged AS MATERIALIZED ("
    " SELECT s.ord, s.event_id, s.topic, s.partition, s.\"offset\", s.phone, s.list, s.digest, s.token,"
    "  CASE WHEN s.rule <> 'n' THEN s.rule"
    "       WHEN s.phone IS NULL OR s.list IS NULL THEN 'g'"
    "       ELSE coalesce((SELECT CASE WHEN bool_or(o.state = 'parked') THEN 'p' WHEN count(*) > 0 THEN 'b' END"
    "                      FROM {schema}.event o"
    "                      WHERE o.phone_number = s.phone AND o.list_number = s.list AND o.state IN ('claimed', 'parked')"
    "                        AND o.event_id <> s.event_id AND (o.state = 'parked' OR o.lease_until > now())), 'g') END AS answer"
    " FROM (SELECT i.*,"
    "   CASE WHEN e.state IS NULL THEN 'n'"
    "        WHEN e.in_sources THEN 's'"
    "        WHEN e.state <> 'claimed' AND e.own_position THEN 's'"
    "        WHEN e.state = 'dead' THEN " RULE_BY_POSITION
    "        WHEN e.state <> 'claimed' THEN CASE WHEN NOT coalesce(e.same_contact, false) THEN 'c'"
    "                                            WHEN e.same_digest THEN 's' ELSE 'd' END"
    "        WHEN e.token = i.token THEN 't'"
    "        WHEN NOT e.own_position AND e.has_contact AND NOT coalesce(e.same_contact, false) THEN 'c'"
    "        WHEN e.lease_until > now() THEN 'b'"
    "        WHEN e.own_position THEN 'n'"
    "        ELSE " RULE_BY_POSITION " END AS rule"
    "  FROM unnest($1::text[], $2::text[], $3::int4[], $4::int8[], $5::text[], $6::text[], $7::bytea[], $8::uuid[])"
    "    WITH ORDINALITY AS i(event_id, topic, partition, \"offset\", phone, list, digest, token, ord)"
    "  LEFT JOIN LATERAL (SELECT x.state, x.token, x.lease_until,"
    "     x.topic = i.topic AND x.partition = i.partition AND x.\"offset\" = i.\"offset\" AS own_position,"
    "     x.sources <> '{}' AND (i.topic || ':' || i.partition || ':' || i.\"offset\") = ANY (x.sources) AS in_sources,"
    "     x.phone_number = i.phone AND x.list_number = i.list AS same_contact,"
    "     x.phone_number IS NOT NULL AND x.list_number IS NOT NULL AS has_contact,"
    "     x.payload_digest IS NOT DISTINCT FROM i.digest AS same_digest"
    "    FROM {schema}.event x WHERE x.event_id = i.event_id OFFSET 0) e ON true) s"
    "), taken AS ("
    " INSERT INTO {schema}.event AS e (event_id, topic, partition, \"offset\", state, phone_number, list_number, payload_digest,"
    "   token, lease_until)"
    " SELECT j.event_id, j.topic, j.partition, j.\"offset\", 'claimed', j.phone, j.list, j.digest, j.token,"
    "   now() + $9::int8 * interval '1 microsecond'"
    " FROM judged j WHERE j.answer IN ('g', 't') ORDER BY j.ord"
    " ON CONFLICT (event_id) DO UPDATE SET"
    "  state = 'claimed', topic = excluded.topic, partition = excluded.partition, \"offset\" = excluded.\"offset\","
    "  phone_number = excluded.phone_number, list_number = excluded.list_number, payload_digest = excluded.payload_digest,"
    "  token = excluded.token, lease_until = excluded.lease_until,"
    "  maybe_sent = e.maybe_sent OR (e.state = 'claimed' AND e.token IS NOT NULL AND e.token <> excluded.token),"
    "  sources = CASE WHEN e.topic = excluded.topic AND e.partition = excluded.partition AND e.\"offset\" = excluded.\"offset\""
    "                 THEN e.sources"
    "                 ELSE array_append(array_remove(e.sources,"
    "                        excluded.topic || ':' || excluded.partition || ':' || excluded.\"offset\"),"
    "                        e.topic || ':' || e.partition || ':' || e.\"offset\") END,"
    "  replays = e.replays + CASE WHEN e.state = 'dead' THEN 1 ELSE 0 END,"
    "  attempts = CASE WHEN e.state = 'dead' THEN 0 ELSE e.attempts END,"
    "  http_status = NULL, code = NULL, error = NULL, error_class = NULL, request = NULL, payload = NULL, headers = NULL,"
    "  record_key = NULL, record_timestamp_ms = NULL, due_at = NULL, outbox_token = NULL, dead_letter_published_at = NULL,"
    "  finished_at = NULL"
    " WHERE (e.state = 'claimed' AND (e.token = excluded.token"
    "    OR (e.lease_until <= now()"
    "        AND (e.phone_number IS NULL OR e.list_number IS NULL"
    "             OR (e.phone_number = excluded.phone_number AND e.list_number = excluded.list_number)"
    "             OR (e.topic = excluded.topic AND e.partition = excluded.partition AND e.\"offset\" = excluded.\"offset\")"
    "             OR (excluded.topic || ':' || excluded.partition || ':' || excluded.\"offset\") = ANY (e.sources)))))"
    "  OR (e.state = 'dead'"
    "      AND NOT (e.topic = excluded.topic AND e.partition = excluded.partition AND e.\"offset\" = excluded.\"offset\")"
    "      AND (excluded.topic || ':' || excluded.partition || ':' || excluded.\"offset\") <> ALL (e.sources))"
    " RETURNING e.event_id, e.maybe_sent, e.attempts"
    "), warned AS ("
    " INSERT INTO {schema}.warning (event_id, source, code, message)"
    " SELECT j.event_id, 'worker', 'duplicate_differs', 'the record at ' || j.topic || ':' || j.partition || ':' || j.\"offset\""
    "   || ' has the same event_id but says something else; it was not sent'"
    " FROM judged j WHERE j.answer = 'd' ORDER BY j.ord"
    " ON CONFLICT (event_id, message) WHERE code = 'duplicate_differs' DO NOTHING"
    ") SELECT j.event_id, j.answer::\"char\", false, 0 FROM judged j WHERE j.answer NOT IN ('g', 't')"
    " UNION ALL SELECT t.event_id, 'g'::\"char\", t.maybe_sent, t.attempts FROM taken t";

/* As INSERT … ON CONFLICT the row is found without a plan of its own. A row that is missing altogether (a failover lost the claim) is
 * written whole: nobody else answers for the event. */
static const char record_text[] =
    "WITH done AS ("
    " INSERT INTO {schema}.event AS e (event_id, token, state, topic, partition, \"offset\", phone_number, list_number,"
    "   payload_digest, attempts, http_status, code, error, error_class, contact_id, list_contact_id, is_new_contact,"
    "   is_new_list_contact, journeys_enrolled, validation, ip_address, url, signup_date, consent, ad_network_source,"
    "   ad_network_id, request, payload, headers, record_key, record_timestamp_ms, maybe_sent, due_at, finished_at)"
    " SELECT i.event_id, i.token, i.state, i.topic, i.partition, i.\"offset\", i.phone, i.list, i.digest, i.attempts,"
    "   i.http_status, i.code, i.error, i.error_class, i.contact_id, i.list_contact_id, i.is_new_contact,"
    "   i.is_new_list_contact, i.journeys, i.validation, i.ip_address, i.url, i.signup_date, i.consent, i.ad_source,"
    "   i.ad_id, i.request, i.payload, i.headers, i.key, i.timestamp_ms, i.maybe_sent,"
    "   now() + i.due_in_us * interval '1 microsecond', CASE WHEN i.state <> 'parked' THEN now() END"
    " FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::int4[], $6::int8[], $7::text[], $8::text[], $9::bytea[],"
    "   $10::int4[], $11::int4[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::bool[], $18::bool[],"
    "   $19::int4[], $20::jsonb[], $21::text[], $22::text[], $23::timestamptz[], $24::jsonb[], $25::text[], $26::text[],"
    "   $27::jsonb[], $28::bytea[], $29::jsonb[], $30::bytea[], $31::int8[], $32::bool[], $33::int8[])"
    "   AS i(event_id, token, state, topic, partition, \"offset\", phone, list, digest, attempts, http_status, code, error,"
    "   error_class, contact_id, list_contact_id, is_new_contact, is_new_list_contact, journeys, validation, ip_address, url,"
    "   signup_date, consent, ad_source, ad_id, request, payload, headers, key, timestamp_ms, maybe_sent, due_in_us)"
    " ON CONFLICT (event_id) DO UPDATE SET"
    "  state = excluded.state, attempts = excluded.attempts, http_status = excluded.http_status, code = excluded.code,"
    "  error = excluded.error, error_class = excluded.error_class, contact_id = excluded.contact_id,"
    "  list_contact_id = excluded.list_contact_id, is_new_contact = excluded.is_new_contact,"
    "  is_new_list_contact = excluded.is_new_list_contact, journeys_enrolled = excluded.journeys_enrolled,"
    "  validation = excluded.validation, ip_address = excluded.ip_address, url = excluded.url,"
    "  signup_date = excluded.signup_date, consent = excluded.consent, ad_network_source = excluded.ad_network_source,"
    "  ad_network_id = excluded.ad_network_id, request = excluded.request, payload = excluded.payload,"
    "  headers = excluded.headers, record_key = excluded.record_key, record_timestamp_ms = excluded.record_timestamp_ms,"
    "  maybe_sent = excluded.maybe_sent, due_at = excluded.due_at, finished_at = excluded.finished_at, lease_until = NULL"
    " WHERE e.state = 'claimed' AND e.token = excluded.token"
    " RETURNING e.event_id, e.phone_number, e.validation"
    "), warned AS ("
    " INSERT INTO {schema}.warning (event_id, source, code, message)"
    " SELECT w.event_id, w.source, w.code, w.message"
    " FROM unnest($34::text[], $35::text[], $36::text[], $37::text[]) AS w(event_id, source, code, message)"
    " WHERE (w.event_id IN (SELECT d.event_id FROM done d)) IS TRUE"
    "), tried AS ("
    " INSERT INTO {schema}.attempt (event_id, attempt, route, at, duration_ms, http_status, code, verdict)"
    " SELECT a.event_id, a.attempt, a.route, a.at, a.duration_ms, a.http_status, a.code, a.verdict"
    " FROM unnest($38::text[], $39::int4[], $40::text[], $41::timestamptz[], $42::int8[], $43::int4[], $44::text[], $45::text[])"
    "   AS a(event_id, attempt, route, at, duration_ms, http_status, code, verdict)"
    " WHERE (a.event_id IN (SELECT d.event_id FROM done d)) IS TRUE"
    "), known AS ("
    " INSERT INTO {schema}.phone_validation AS p (phone_number, validation, validated_at)"
    " SELECT DISTINCT ON (d.phone_number) d.phone_number, d.validation, now()"
    " FROM done d WHERE d.validation IS NOT NULL AND d.phone_number IS NOT NULL ORDER BY d.phone_number, d.event_id DESC"
    " ON CONFLICT (phone_number) DO UPDATE SET validation = excluded.validation, validated_at = excluded.validated_at"
    ") SELECT d.event_id FROM done d";

/* Of the rows that a record or a release did not touch: d done by an earlier try of the same record, a again (it is ours and still claimed),
 * r refused. */
static const char record_why_text[] =
    "SELECT i.event_id, (CASE"
    "  WHEN i.state = 'released' THEN CASE WHEN e.state = 'claimed' AND e.token IS NULL THEN 'd'"
    "                                      WHEN e.state = 'claimed' AND e.token = i.token THEN 'a' ELSE 'r' END"
    "  WHEN e.state IS NULL THEN 'a'"
    "  WHEN e.token = i.token AND e.state = i.state THEN 'd'"
    "  WHEN e.token = i.token AND e.state = 'claimed' THEN 'a'"
    "  ELSE 'r' END)::\"char\""
    " FROM unnest($1::text[], $2::uuid[], $3::text[]) AS i(event_id, token, state)"
    " LEFT JOIN LATERAL (SELECT x.state, x.token FROM {schema}.event x WHERE x.event_id = i.event_id OFFSET 0) e ON true";

/* The updates below find their rows by = ANY of the ids, a scan of one index in the order of the ids, and their values by the id's place in
 * the array: a join with unnest() would be planned, on an empty table, the other way round. The state is compared as an expression, so that no
 * partial index looks cheaper than the key. */

/* A row without a token is nobody's, and nobody called for it without saying so in maybe_sent. */
static const char release_text[] =
    "UPDATE {schema}.event e SET token = NULL, lease_until = now(),"
    "  maybe_sent = ($3::bool[])[array_position($1::text[], e.event_id)],"
    "  attempts = ($4::int4[])[array_position($1::text[], e.event_id)]"
    " WHERE e.event_id = ANY ($1::text[]) AND e.state || '' = 'claimed'"
    "  AND e.token = ($2::uuid[])[array_position($1::text[], e.event_id)]"
    " RETURNING e.event_id";

static const char extend_text[] =
    "UPDATE {schema}.event e SET lease_until = now() + $4::int8 * interval '1 microsecond',"
    "  maybe_sent = e.maybe_sent OR ($3::bool[])[array_position($1::text[], e.event_id)]"
    " WHERE e.event_id = ANY ($1::text[]) AND e.state || '' = 'claimed'"
    "  AND e.token = ($2::uuid[])[array_position($1::text[], e.event_id)]"
    " RETURNING e.event_id";

/* $4: bytes of payloads that the taker has room for; one letter is always given. The token of the record stays, so that a record whose answer
 * was lost still knows its row: the outbox has a token of its own. */
static const char outbox_take_text[] =
    "WITH due AS MATERIALIZED ("
    " SELECT e.event_id, e.finished_at,"
    "  coalesce(octet_length(e.payload), 0) + coalesce(octet_length(e.record_key), 0) + coalesce(pg_column_size(e.headers), 0) AS bytes"
    " FROM {schema}.event e"
    " WHERE e.state = 'dead' AND e.dead_letter_published_at IS NULL AND (e.lease_until IS NULL OR e.lease_until <= now())"
    " ORDER BY e.finished_at LIMIT $1::int8 + 1 FOR UPDATE SKIP LOCKED"
    "), chosen AS MATERIALIZED ("
    " SELECT r.event_id FROM (SELECT d.event_id, row_number() OVER w AS nth, sum(d.bytes) OVER w AS sum_bytes"
    "   FROM due d WINDOW w AS (ORDER BY d.finished_at, d.event_id ROWS UNBOUNDED PRECEDING)) r"
    " WHERE r.nth = 1 OR (r.nth <= $1::int8 AND r.sum_bytes <= $4::int8)"
    "), taken AS ("
    " UPDATE {schema}.event e SET outbox_token = $2::uuid, lease_until = now() + $3::int8 * interval '1 microsecond'"
    " WHERE e.event_id = ANY (ARRAY(SELECT c.event_id FROM chosen c))"
    " RETURNING e.*"
    ") SELECT t.event_id, t.topic, t.partition, t.\"offset\", t.record_key, t.payload, t.headers, t.record_timestamp_ms, t.code,"
    "  t.error, t.error_class, t.http_status, t.attempts, t.finished_at,"
    "  (SELECT count(*) FROM due) > (SELECT count(*) FROM chosen)"
    " FROM taken t ORDER BY t.finished_at, t.event_id";

static const char outbox_mark_text[] =
    "UPDATE {schema}.event e SET outbox_token = NULL, lease_until = NULL, dead_letter_published_at ="
    "  CASE WHEN ($2::bool[])[array_position($1::text[], e.event_id)] THEN now() END"
    " WHERE e.event_id = ANY ($1::text[]) AND e.state || '' = 'dead' AND e.outbox_token = $3::uuid"
    " RETURNING e.event_id";

/* One session of our own. A generic plan that never scans the table: see the head comment. jit: the planner's prices for what it must not do
 * would start the compiler. */
#define COMMON_SETTINGS(local)                                                                                         \
    "set_config('statement_timeout', $1, " local "), set_config('lock_timeout', $2, " local "),"                       \
    " set_config('enable_seqscan', 'off', " local "), set_config('enable_hashjoin', 'off', " local "),"                \
    " set_config('enable_mergejoin', 'off', " local "), set_config('jit', 'off', " local ")"

static const char session_text[] =
    "SELECT " COMMON_SETTINGS("false") ", set_config('plan_cache_mode', 'force_generic_plan', false),"
    " set_config('idle_in_transaction_session_timeout', $3, false),"
    " CASE WHEN current_setting('server_version_num')::int >= 140000 THEN set_config('idle_session_timeout', '0', false) END";

/* Through a pooler: settings of this transaction only, in the same segment before the statement. */
static const char session_local_text[] = "SELECT " COMMON_SETTINGS("true");

static const char look_text[] =
    "SELECT coalesce(max(v.version), 0), current_setting('fsync')::bool, current_setting('synchronous_commit') <> 'off',"
    "  current_setting('transaction_read_only')::bool"
    " FROM {schema}.schema_version v";

static const struct {
    const char *name;
    const char *text;
} statements[SQL_COUNT] = {
    [SQL_CLAIM] = {"claim", claim_text},
    [SQL_RECORD] = {"record", record_text},
    [SQL_RECORD_WHY] = {"record_why", record_why_text},
    [SQL_RELEASE] = {"release", release_text},
    [SQL_EXTEND] = {"extend", extend_text},
    [SQL_OUTBOX_TAKE] = {"outbox_take", outbox_take_text},
    [SQL_OUTBOX_MARK] = {"outbox_mark", outbox_mark_text},
    [SQL_SESSION] = {"session", session_text},
    [SQL_SESSION_LOCAL] = {"session_local", session_local_text},
    [SQL_LOOK] = {"look", look_text},
};

const char *sql_name(enum sql_id id)
{
    return statements[id].name;
}

bool sql_schema_name_ok(const char *schema)
{
    return schema && *schema && strlen(schema) <= 63;
}

static void append_quoted(struct buf *out, const char *schema)
{
    buf_append_char(out, '"');
    for (const char *c = schema; *c; c++) {
        if (*c == '"')
            buf_append_char(out, '"');
        buf_append_char(out, *c);
    }
    buf_append_char(out, '"');
}

char *sql_render(const char *template, const char *schema)
{
    static const char placeholder[] = "{schema}";
    struct buf out;
    buf_init(&out, strlen(template) * 17 + 1024);
    const char *rest = template;
    for (const char *at; (at = strstr(rest, placeholder)); rest = at + sizeof placeholder - 1) {
        buf_append(&out, rest, (size_t)(at - rest));
        append_quoted(&out, schema);
    }
    buf_append_str(&out, rest);
    char *text = buf_ok(&out) ? strndup(out.data, out.len) : NULL;
    buf_fini(&out);
    return text;
}

bool sql_render_all(struct sql_texts *texts, const char *schema)
{
    memset(texts, 0, sizeof *texts);
    for (int i = 0; i < SQL_COUNT; i++) {
        texts->text[i] = sql_render(statements[i].text, schema);
        if (!texts->text[i]) {
            sql_free_all(texts);
            return false;
        }
    }
    return true;
}

void sql_free_all(struct sql_texts *texts)
{
    for (int i = 0; i < SQL_COUNT; i++)
        free(texts->text[i]);
    memset(texts, 0, sizeof *texts);
}
