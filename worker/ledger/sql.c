/* All SQL of the running worker. {schema} is replaced once, when the ledger is created.
 *
 * Shapes, and why:
 *   - a batch comes as one array a column; unnest() keeps their order, which is that of event_id, so rows are locked in one order;
 *   - rows are found by LATERAL … OFFSET 0 or by ON CONFLICT, never by a join the planner may turn round: a plan made while the table
 *     was empty must still be right when it is full;
 *   - the first of many comes by ORDER BY … LIMIT in the order of an index, a look for any by a scalar subquery with LIMIT 1: EXISTS may be
 *     planned as a hash of everything. A look for a contact's open events is ordered, too: that keeps it off the index of all events by
 *     phone (event_phone), which looks as good while the table is empty;
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
 * rule: n new, reopened or taken over, subject to the contact's other events; t ours already (the answer to this claim was lost), judged
 * again only for what is parked; s settled; d settled, but the contents differ; b busy; c conflict. answer: g go, and p behind (an event
 * of the contact is parked): the row is written for both.
 *
 * A row that is claimed behind a parked one draws its place in the order here, and is thereby known from one that goes: later events of
 * the contact go behind it, and the parked ones before it need not wait for it. In the index of the open events those with a place come
 * first, so that the first row found decides.
 *
 * joined: a record that is settled by a parked row is answered for by it from now on, also when that event dies: read again, it is not a new
 * beginning.
 *
 * A position among the sources is answered for by whoever published the event again, in any state of the row. And a record that once met a
 * foreign event under its id has a row of its own, named by its position: that one answers for it for ever, also when the foreign event
 * has died since and its id would be free (RULE_BY_POSITION).
 *
 * The row of a person who was forgotten settles whatever comes under its id, and so does the hash of an id that was renamed then (RULE_OF_NEW:
 * one look at an empty table until the first such id).
 *
 * Two events of one contact claimed by two workers in the same instant may both be given: neither is in the other's snapshot. That breaks
 * no partition's order, because a worker claims an event only after the one before it in the partition is settled, parked or answered. */
/* The quotes of the dollar kind: the schema's name may hold the others. */
#define NEXT_PARK_ORDER "nextval($name${schema}.park_order$name$)"

#define RULE_BY_POSITION                                                                                               \
    "coalesce((SELECT CASE WHEN y.state = 'claimed' THEN 'c' ELSE 's' END FROM {schema}.event y"                       \
    " WHERE y.event_id = i.topic || ':' || i.partition || ':' || i.\"offset\" AND y.topic = i.topic"                   \
    " AND y.partition = i.partition AND y.\"offset\" = i.\"offset\"), 'n')"

#define RULE_OF_NEW "CASE WHEN " IS_FORGOTTEN_ID("i.event_id") " THEN 's' ELSE 'n' END"

/* What is remembered of a phone, as one that cost nothing: columns of a row `k`, beside a row that has the phone. */
#define KNOWN_COLUMNS "k.validation, k.age"
#define KNOWN_JOIN(phone)                                                                                              \
    " LEFT JOIN LATERAL (SELECT v.validation || '{\"cost\": 0, \"cached\": true}'::jsonb AS validation,"                \
    "   now() - v.validated_at AS age FROM {schema}.phone_validation v"                                                \
    "  WHERE v.phone_number = " phone " AND jsonb_typeof(v.validation) = 'object' OFFSET 0) k ON true"

/* Two statements: where nobody asks what is known of the phones, nobody pays for it. $10: the events that ask. */
#define CLAIM_TEXT(known_columns, known_nulls, known_join)                                                             \
    "WITH judged AS MATERIALIZED ("                                                                                    \
    " SELECT s.ord, s.event_id, s.topic, s.partition, s.\"offset\", s.phone, s.list, s.digest, s.token, s.joins,"      \
    "  CASE WHEN s.rule NOT IN ('n', 't') THEN s.rule"                                                                 \
    "       WHEN s.phone IS NULL OR s.list IS NULL THEN 'g'"                                                           \
    "       ELSE coalesce((SELECT CASE WHEN o.park_order IS NOT NULL THEN 'p' WHEN s.rule = 'n' THEN 'b' END"          \
    "                      FROM {schema}.event o"                                                                      \
    "                      WHERE o.phone_number = s.phone AND o.list_number = s.list AND o.state IN ('claimed', 'parked')" \
    "                        AND o.event_id <> s.event_id AND (o.state = 'parked' OR o.lease_until > now())"           \
    "                      ORDER BY o.park_order LIMIT 1), 'g') END AS answer"                                         \
    " FROM (SELECT i.*, coalesce(e.state = 'parked' AND NOT e.own_position AND NOT e.in_sources, false) AS joins,"     \
    "   CASE WHEN e.state IS NULL THEN " RULE_OF_NEW                                                                   \
    "        WHEN e.is_forgotten THEN 's'"                                                                             \
    "        WHEN e.in_sources THEN 's'"                                                                               \
    "        WHEN e.state <> 'claimed' AND e.own_position THEN 's'"                                                    \
    "        WHEN e.state = 'dead' THEN " RULE_BY_POSITION                                                             \
    "        WHEN e.state <> 'claimed' THEN CASE WHEN NOT coalesce(e.same_contact, false) THEN 'c'"                    \
    "                                            WHEN e.same_digest THEN 's' ELSE 'd' END"                             \
    "        WHEN e.token = i.token THEN 't'"                                                                          \
    "        WHEN NOT e.own_position AND e.has_contact AND NOT coalesce(e.same_contact, false) THEN 'c'"               \
    "        WHEN e.lease_until > now() THEN 'b'"                                                                      \
    "        WHEN e.own_position THEN 'n'"                                                                             \
    "        ELSE " RULE_BY_POSITION " END AS rule"                                                                    \
    "  FROM unnest($1::text[], $2::text[], $3::int4[], $4::int8[], $5::text[], $6::text[], $7::bytea[], $8::uuid[])"   \
    "    WITH ORDINALITY AS i(event_id, topic, partition, \"offset\", phone, list, digest, token, ord)"                \
    "  LEFT JOIN LATERAL (SELECT x.state, x.token, x.lease_until,"                                                     \
    "     x.topic = i.topic AND x.partition = i.partition AND x.\"offset\" = i.\"offset\" AS own_position,"            \
    "     x.sources <> '{}' AND (i.topic || ':' || i.partition || ':' || i.\"offset\") = ANY (x.sources) AS in_sources," \
    "     x.phone_number = i.phone AND x.list_number = i.list AS same_contact,"                                        \
    "     x.phone_number IS NOT NULL AND x.list_number IS NOT NULL AS has_contact,"                                    \
    "     x.payload_digest IS NOT DISTINCT FROM i.digest AS same_digest, x.forgotten_at IS NOT NULL AS is_forgotten"   \
    "    FROM {schema}.event x WHERE x.event_id = i.event_id OFFSET 0) e ON true"                                      \
    "  OFFSET 0) s"                                                                                                    \
    "), taken AS ("                                                                                                    \
    " INSERT INTO {schema}.event AS e (event_id, topic, partition, \"offset\", state, phone_number, list_number, payload_digest," \
    "   token, lease_until, park_order)"                                                                               \
    " SELECT j.event_id, j.topic, j.partition, j.\"offset\", 'claimed', j.phone, j.list, j.digest, j.token,"           \
    "   now() + $9::int8 * interval '1 microsecond', CASE WHEN j.answer = 'p' THEN " NEXT_PARK_ORDER " END"            \
    " FROM judged j WHERE j.answer IN ('g', 'p') ORDER BY j.ord"                                                       \
    " ON CONFLICT (event_id) DO UPDATE SET"                                                                            \
    "  state = 'claimed', topic = excluded.topic, partition = excluded.partition, \"offset\" = excluded.\"offset\","   \
    "  phone_number = excluded.phone_number, list_number = excluded.list_number, payload_digest = excluded.payload_digest," \
    "  token = excluded.token, lease_until = excluded.lease_until,"                                                    \
    "  park_order = CASE WHEN excluded.park_order IS NOT NULL THEN coalesce(e.park_order, excluded.park_order) END,"   \
    "  age_from = CASE WHEN e.state = 'dead' THEN now() ELSE e.age_from END,"                                          \
    "  maybe_sent = e.maybe_sent OR (e.state = 'claimed' AND e.token IS NOT NULL AND e.token <> excluded.token),"      \
    "  sources = CASE WHEN e.topic = excluded.topic AND e.partition = excluded.partition AND e.\"offset\" = excluded.\"offset\"" \
    "                 THEN e.sources"                                                                                  \
    "                 ELSE array_append(array_remove(e.sources,"                                                       \
    "                        excluded.topic || ':' || excluded.partition || ':' || excluded.\"offset\"),"              \
    "                        e.topic || ':' || e.partition || ':' || e.\"offset\") END,"                               \
    "  replays = e.replays + CASE WHEN e.state = 'dead' THEN 1 ELSE 0 END,"                                            \
    "  attempts = CASE WHEN e.state = 'dead' THEN 0 ELSE e.attempts END,"                                              \
    "  http_status = NULL, code = NULL, error = NULL, error_class = NULL, request = NULL, payload = NULL, headers = NULL," \
    "  record_key = NULL, record_timestamp_ms = NULL, due_at = NULL, outbox_token = NULL, dead_letter_published_at = NULL," \
    "  finished_at = NULL, validation = CASE WHEN e.phone_number = excluded.phone_number THEN e.validation END"        \
    " WHERE (e.state = 'claimed' AND (e.token = excluded.token"                                                        \
    "    OR (e.lease_until <= now()"                                                                                   \
    "        AND (e.phone_number IS NULL OR e.list_number IS NULL"                                                     \
    "             OR (e.phone_number = excluded.phone_number AND e.list_number = excluded.list_number)"                \
    "             OR (e.topic = excluded.topic AND e.partition = excluded.partition AND e.\"offset\" = excluded.\"offset\")" \
    "             OR (excluded.topic || ':' || excluded.partition || ':' || excluded.\"offset\") = ANY (e.sources)))))" \
    "  OR (e.state = 'dead' AND e.forgotten_at IS NULL"                                                                \
    "      AND NOT (e.topic = excluded.topic AND e.partition = excluded.partition AND e.\"offset\" = excluded.\"offset\")" \
    "      AND (excluded.topic || ':' || excluded.partition || ':' || excluded.\"offset\") <> ALL (e.sources))"        \
    " RETURNING e.event_id, e.phone_number, e.maybe_sent, e.attempts, e.park_order, now() - coalesce(e.age_from, e.received_at) AS age" \
    "), warned AS ("                                                                                                   \
    " INSERT INTO {schema}.warning (event_id, source, code, message)"                                                  \
    " SELECT j.event_id, 'worker', 'duplicate_differs', 'the record at ' || j.topic || ':' || j.partition || ':' || j.\"offset\"" \
    "   || ' has the same event_id but says something else; it was not sent'"                                          \
    " FROM judged j WHERE j.answer = 'd' ORDER BY j.ord"                                                               \
    " ON CONFLICT (event_id, message) WHERE code = 'duplicate_differs' DO NOTHING"                                     \
    "), joined AS ("                                                                                                   \
    " UPDATE {schema}.event e SET sources = array_append(e.sources,"                                                   \
    "   (SELECT j.topic || ':' || j.partition || ':' || j.\"offset\" FROM judged j WHERE j.event_id = e.event_id))"    \
    " WHERE e.event_id = ANY (ARRAY(SELECT j.event_id FROM judged j WHERE j.joins AND j.answer IN ('s', 'd')))"        \
    "  AND e.state || '' = 'parked'"                                                                                   \
    ") SELECT j.event_id, j.answer::\"char\", false, 0, NULL::interval" known_nulls " FROM judged j WHERE j.answer NOT IN ('g', 'p')" \
    " UNION ALL SELECT t.event_id, (CASE WHEN t.park_order IS NULL THEN 'g' ELSE 'p' END)::\"char\", t.maybe_sent, t.attempts, t.age" \
    known_columns " FROM taken t" known_join

static const char claim_text[] = CLAIM_TEXT("", "", "");

static const char claim_known_text[] =
    CLAIM_TEXT(", " KNOWN_COLUMNS, ", NULL::jsonb, NULL::interval",
               KNOWN_JOIN("CASE WHEN (t.event_id IN (SELECT w.id FROM unnest($10::text[]) AS w(id))) IS TRUE THEN t.phone_number END"));

/* A row of ours is claimed under our token, or parked and taken up under it: then it has a lease. A row that was recorded as parked keeps the
 * token, so that a record whose answer was lost knows it, but has no lease. */
#define IS_HELD(row) "(" row ".state = 'claimed' OR (" row ".state = 'parked' AND " row ".lease_until IS NOT NULL))"

/* As INSERT … ON CONFLICT the row is found without a plan of its own. A row that is missing altogether (a failover lost the claim) is
 * written whole: nobody else answers for the event. The numbers of the tries go on from those that are known, in the statement's snapshot,
 * and only where the row was written now.
 *
 * A validation that was looked up for the record (the events of $48) replaces what the row has, is remembered for the phone, and is spent by
 * the worker of $49; one that came from memory is only put where there is none. Spent and told is for the rows that were written now: a record
 * that is repeated writes none. */
#define IS_FRESH(id) "(" id " IN (SELECT u.id FROM unnest($48::text[]) AS u(id))) IS TRUE"
#define TODAY "(now() AT TIME ZONE 'UTC')::date"

static const char record_text[] =
    "WITH done AS ("
    " INSERT INTO {schema}.event AS e (event_id, token, state, topic, partition, \"offset\", phone_number, list_number,"
    "   payload_digest, attempts, http_status, code, error, error_class, contact_id, list_contact_id, is_new_contact,"
    "   is_new_list_contact, journeys_enrolled, validation, ip_address, url, signup_date, consent, ad_network_source,"
    "   ad_network_id, request, payload, headers, record_key, record_timestamp_ms, maybe_sent, due_at, finished_at, park_order,"
    "   attribution, schema_id)"
    " SELECT i.event_id, i.token, i.state, i.topic, i.partition, i.\"offset\", i.phone, i.list, i.digest, i.attempts,"
    "   i.http_status, i.code, i.error, i.error_class, i.contact_id, i.list_contact_id, i.is_new_contact,"
    "   i.is_new_list_contact, i.journeys, i.validation, i.ip_address, i.url, i.signup_date, i.consent, i.ad_source,"
    "   i.ad_id, i.request, i.payload, i.headers, i.key, i.timestamp_ms, i.maybe_sent,"
    "   now() + i.due_in_us * interval '1 microsecond', CASE WHEN i.state <> 'parked' THEN now() END,"
    "   CASE WHEN i.state = 'parked' THEN " NEXT_PARK_ORDER " END, i.attribution, i.schema_id"
    " FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::int4[], $6::int8[], $7::text[], $8::text[], $9::bytea[],"
    "   $10::int4[], $11::int4[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::bool[], $18::bool[],"
    "   $19::int4[], $20::jsonb[], $21::text[], $22::text[], $23::timestamptz[], $24::jsonb[], $25::text[], $26::text[],"
    "   $27::jsonb[], $28::bytea[], $29::jsonb[], $30::bytea[], $31::int8[], $32::bool[], $33::int8[], $34::jsonb[],"
    "   $35::int4[])"
    "   AS i(event_id, token, state, topic, partition, \"offset\", phone, list, digest, attempts, http_status, code, error,"
    "   error_class, contact_id, list_contact_id, is_new_contact, is_new_list_contact, journeys, validation, ip_address, url,"
    "   signup_date, consent, ad_source, ad_id, request, payload, headers, key, timestamp_ms, maybe_sent, due_in_us,"
    "   attribution, schema_id)"
    " ON CONFLICT (event_id) DO UPDATE SET"
    "  state = excluded.state, attempts = excluded.attempts, http_status = excluded.http_status, code = excluded.code,"
    "  error = excluded.error, error_class = excluded.error_class, contact_id = excluded.contact_id,"
    "  list_contact_id = excluded.list_contact_id, is_new_contact = excluded.is_new_contact,"
    "  is_new_list_contact = excluded.is_new_list_contact, journeys_enrolled = excluded.journeys_enrolled,"
    "  validation = CASE WHEN excluded.validation IS NULL THEN e.validation"
    "                    WHEN " IS_FRESH("excluded.event_id") " THEN excluded.validation"
    "                    ELSE coalesce(e.validation, excluded.validation) END,"
    "  ip_address = excluded.ip_address, url = excluded.url,"
    "  signup_date = excluded.signup_date, consent = excluded.consent, ad_network_source = excluded.ad_network_source,"
    "  ad_network_id = excluded.ad_network_id, request = excluded.request, payload = excluded.payload,"
    "  headers = excluded.headers, record_key = excluded.record_key, record_timestamp_ms = excluded.record_timestamp_ms,"
    "  maybe_sent = excluded.maybe_sent, due_at = excluded.due_at, finished_at = excluded.finished_at, lease_until = NULL,"
    "  park_order = CASE WHEN excluded.park_order IS NOT NULL THEN coalesce(e.park_order, excluded.park_order) END,"
    "  attribution = excluded.attribution, schema_id = excluded.schema_id"
    " WHERE " IS_HELD("e") " AND e.token = excluded.token"
    " RETURNING e.event_id, e.phone_number, e.validation"
    "), warned AS ("
    " INSERT INTO {schema}.warning (event_id, source, code, message)"
    " SELECT w.event_id, w.source, w.code, w.message"
    " FROM unnest($36::text[], $37::text[], $38::text[], $39::text[]) AS w(event_id, source, code, message)"
    " WHERE (w.event_id IN (SELECT d.event_id FROM done d)) IS TRUE"
    "), tried AS ("
    " INSERT INTO {schema}.attempt (event_id, attempt, route, at, duration_ms, http_status, code, verdict)"
    " SELECT a.event_id, a.attempt + coalesce((SELECT max(x.attempt) FROM {schema}.attempt x WHERE x.event_id = a.event_id), 0), a.route, a.at, a.duration_ms, a.http_status, a.code, a.verdict"
    " FROM unnest($40::text[], $41::int4[], $42::text[], $43::timestamptz[], $44::int8[], $45::int4[], $46::text[], $47::text[])"
    "   AS a(event_id, attempt, route, at, duration_ms, http_status, code, verdict)"
    " WHERE (a.event_id IN (SELECT d.event_id FROM done d)) IS TRUE"
    "), known AS ("
    " INSERT INTO {schema}.phone_validation AS p (phone_number, validation, validated_at)"
    " SELECT DISTINCT ON (d.phone_number) d.phone_number, d.validation, now()"
    " FROM done d WHERE " IS_FRESH("d.event_id") " AND d.validation IS NOT NULL AND d.phone_number IS NOT NULL"
    " ORDER BY d.phone_number, d.event_id DESC"
    " ON CONFLICT (phone_number) DO UPDATE SET validation = excluded.validation, validated_at = excluded.validated_at"
    "), spent AS ("
    " INSERT INTO {schema}.validation_day AS v (day, worker, lookups, paid, cost_usd)"
    " SELECT " TODAY ", $49::uuid, count(*), count(*) FILTER (WHERE f.cost > 0), coalesce(sum(f.cost), 0)"
    " FROM (SELECT CASE WHEN jsonb_typeof(d.validation -> 'cost') = 'number'"
    "                   THEN greatest((d.validation ->> 'cost')::numeric, 0) END AS cost"
    "       FROM done d WHERE " IS_FRESH("d.event_id") " AND d.validation IS NOT NULL) f HAVING count(*) > 0"
    " ON CONFLICT (day, worker) DO UPDATE SET lookups = v.lookups + excluded.lookups, paid = v.paid + excluded.paid,"
    "  cost_usd = v.cost_usd + excluded.cost_usd"
    "), told AS ("
    " INSERT INTO {schema}.outcome (event_id, body)"
    " SELECT o.event_id, o.body || ',\"finished_at\":\"'"
    "   || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') || '\"}'"
    " FROM unnest($50::text[], $51::text[]) AS o(event_id, body)"
    " WHERE (o.event_id IN (SELECT d.event_id FROM done d)) IS TRUE"
    ") SELECT d.event_id FROM done d";

/* Of the rows that a record or a release did not touch: d done by an earlier try of the same record, a again (it is ours and still in work),
 * r refused. */
static const char record_why_text[] =
    "SELECT i.event_id, (CASE"
    "  WHEN i.state = 'released' AND e.state IN ('claimed', 'parked') AND e.token IS NULL THEN 'd'"
    "  WHEN e.state IS NULL AND i.state <> 'released' THEN 'a'"
    "  WHEN e.token = i.token AND " IS_HELD("e") " THEN 'a'"
    "  WHEN e.token = i.token AND e.state = i.state THEN 'd'"
    "  ELSE 'r' END)::\"char\""
    " FROM unnest($1::text[], $2::uuid[], $3::text[]) AS i(event_id, token, state)"
    " LEFT JOIN LATERAL (SELECT x.state, x.token, x.lease_until FROM {schema}.event x WHERE x.event_id = i.event_id OFFSET 0) e ON true";

/* After a final record of a parked event, in the same transaction: the contact's next one is due at once. Best effort, it never waits for a
 * lock: who looks for what is due looks at what is blocked again and again. */
static const char wake_text[] =
    "UPDATE {schema}.event e SET due_at = now()"
    " WHERE e.event_id = ANY (ARRAY("
    "  SELECT x.event_id FROM {schema}.event x"
    "  WHERE x.event_id = ANY (ARRAY("
    "    SELECT (SELECT o.event_id FROM {schema}.event o"
    "            WHERE o.phone_number = i.phone AND o.list_number = i.list AND o.state IN ('claimed', 'parked')"
    "              AND o.park_order IS NOT NULL ORDER BY o.park_order LIMIT 1)"
    "    FROM unnest($1::text[], $2::text[]) AS i(phone, list)))"
    "   AND x.state || '' = 'parked' AND x.due_at > now()"
    "  FOR UPDATE SKIP LOCKED))";

/* The updates below find their rows by = ANY of the ids, a scan of one index in the order of the ids, and their values by the id's place in
 * the array: a join with unnest() would be planned, on an empty table, the other way round. The state is compared as an expression, so that no
 * partial index looks cheaper than the key. */

/* A row without a token is nobody's, and nobody called for it without saying so in maybe_sent. A parked one is as it was before it was taken
 * up. */
static const char release_text[] =
    "UPDATE {schema}.event e SET token = NULL, lease_until = CASE WHEN e.state = 'claimed' THEN now() END,"
    "  maybe_sent = ($3::bool[])[array_position($1::text[], e.event_id)],"
    "  attempts = ($4::int4[])[array_position($1::text[], e.event_id)]"
    " WHERE e.event_id = ANY ($1::text[]) AND e.state || '' IN ('claimed', 'parked') AND e.lease_until IS NOT NULL"
    "  AND e.token = ($2::uuid[])[array_position($1::text[], e.event_id)]"
    " RETURNING e.event_id";

/* A lease that is over is taken up again by its own token, unless another event of the contact is in work by now. */
static const char extend_text[] =
    "UPDATE {schema}.event e SET lease_until = now() + $4::int8 * interval '1 microsecond',"
    "  maybe_sent = e.maybe_sent OR ($3::bool[])[array_position($1::text[], e.event_id)]"
    " WHERE e.event_id = ANY ($1::text[]) AND e.state || '' IN ('claimed', 'parked') AND e.lease_until IS NOT NULL"
    "  AND e.token = ($2::uuid[])[array_position($1::text[], e.event_id)]"
    "  AND (e.lease_until > now() OR (SELECT true FROM {schema}.event o"
    "   WHERE o.phone_number = e.phone_number AND o.list_number = e.list_number AND o.state IN ('claimed', 'parked')"
    "    AND o.event_id <> e.event_id AND o.lease_until > now() AND (o.park_order IS NULL OR o.state = 'parked')"
    "   ORDER BY o.park_order LIMIT 1) IS NULL)"
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
    "UPDATE {schema}.event e SET outbox_token = NULL,"
    "  dead_letter_published_at = CASE WHEN ($2::bool[])[array_position($1::text[], e.event_id)] THEN now() END,"
    "  lease_until = CASE WHEN NOT ($2::bool[])[array_position($1::text[], e.event_id)] AND $4::int8 > 0"
    "                     THEN now() + $4::int8 * interval '1 microsecond' END"
    " WHERE e.event_id = ANY ($1::text[]) AND e.state || '' = 'dead' AND e.outbox_token = $3::uuid"
    " RETURNING e.event_id";

/* due: the earliest that are due and nobody's, locked, some more of them than are wanted; more_due says that these are not all. judged: a
 * contact's events go one after the other, so one with an earlier event parked, or one claimed and on its way, is blocked. chosen: as many as
 * are wanted and fit. taken: they stay parked, which keeps the contact's later events behind them whatever becomes of us.
 *
 * pushed: what is blocked is looked at again after 2 s for each event before it, up to 30 s, and not before the first of them is due: thousands
 * behind one event would otherwise be looked at each time, before everything else. That is only the safety net: the end of the one before
 * makes an event due at once (wake). What does not fit into the taker's memory waits likewise.
 *
 * There is always one row at least, whose event_id is null when nothing was taken. Its next_us: 0, if more is due; else the time until the
 * next event is due, a blocked one is looked at again, or a lease ends; null, if nothing is parked.
 *
 * $1 limit, $2 token, $3 lease, $4 bytes that the taker has room for. */
#define DUE_BYTES "1024" /* an event and what is known of its phone, beside the original */
#define DUE_LOOK "least(greatest($1::int8, 64), 1000)"
#define DUE_EVENT(row)                                                                                                 \
    row ".event_id, " row ".topic, " row ".partition, " row ".\"offset\", " row ".record_key, " row ".payload, " row     \
        ".headers, " row ".record_timestamp_ms, " row ".maybe_sent, " row ".attempts, "
#define DUE_AGE(row) "now() - coalesce(" row ".age_from, " row ".received_at) AS age"
#define EPOCH_US(interval) "(extract(epoch FROM " interval ") * 1000000)::int8"

static const char due_take_text[] =
    "WITH due AS MATERIALIZED ("
    " SELECT e.event_id, e.due_at, e.park_order, e.phone_number, e.list_number,"
    "  " DUE_BYTES " + coalesce(octet_length(e.payload), 0) + coalesce(octet_length(e.record_key), 0)"
    "      + coalesce(pg_column_size(e.headers), 0) AS bytes"
    " FROM {schema}.event e"
    " WHERE e.state = 'parked' AND e.due_at <= now() AND (e.lease_until IS NULL OR e.lease_until <= now())"
    " ORDER BY e.due_at LIMIT " DUE_LOOK " + 1 FOR UPDATE SKIP LOCKED"
    "), judged AS MATERIALIZED ("
    " SELECT b.event_id, b.due_at, b.park_order, b.bytes,"
    "  CASE WHEN b.bytes > $4::int8 THEN now() + interval '30 s'"
    "       WHEN b.before > 0 THEN greatest(now() + b.before * interval '2 s', (SELECT o.due_at FROM {schema}.event o"
    "        WHERE o.phone_number = b.phone_number AND o.list_number = b.list_number AND o.state IN ('claimed', 'parked')"
    "         AND o.park_order IS NOT NULL ORDER BY o.park_order LIMIT 1))"
    "       ELSE (SELECT now() + interval '2 s' FROM {schema}.event o"
    "        WHERE o.phone_number = b.phone_number AND o.list_number = b.list_number AND o.state IN ('claimed', 'parked')"
    "         AND o.park_order IS NULL AND o.lease_until > now() ORDER BY o.park_order LIMIT 1) END AS blocked_until"
    " FROM (SELECT d.*, (SELECT count(*) FROM (SELECT FROM {schema}.event o"
    "         WHERE o.phone_number = d.phone_number AND o.list_number = d.list_number AND o.state IN ('claimed', 'parked')"
    "          AND o.park_order < d.park_order AND (o.state = 'parked' OR o.lease_until > now())"
    "         ORDER BY o.park_order LIMIT 15) f) AS before"
    "       FROM due d OFFSET 0) b"
    "), chosen AS MATERIALIZED ("
    " SELECT r.event_id FROM (SELECT j.event_id, row_number() OVER w AS nth, sum(j.bytes) OVER w AS sum_bytes"
    "   FROM judged j WHERE j.blocked_until IS NULL"
    "   WINDOW w AS (ORDER BY j.due_at, j.park_order ROWS UNBOUNDED PRECEDING)) r"
    " WHERE r.nth <= $1::int8 AND r.sum_bytes <= $4::int8"
    "), blocked AS MATERIALIZED ("
    " SELECT array_agg(j.event_id ORDER BY j.event_id) AS ids, array_agg(j.blocked_until ORDER BY j.event_id) AS untils,"
    "  min(j.blocked_until) AS first FROM judged j WHERE j.blocked_until IS NOT NULL"
    "), taken AS ("
    " UPDATE {schema}.event e SET token = $2::uuid, lease_until = now() + $3::int8 * interval '1 microsecond',"
    "  maybe_sent = e.maybe_sent OR (e.lease_until IS NOT NULL AND e.token IS NOT NULL AND e.token <> $2::uuid)"
    " WHERE e.event_id = ANY (ARRAY(SELECT c.event_id FROM chosen c))"
    " RETURNING " DUE_EVENT("e") DUE_AGE("e") ", e.due_at, e.park_order, e.phone_number"
    "), pushed AS ("
    " UPDATE {schema}.event e SET due_at ="
    "  (SELECT b.untils FROM blocked b)[array_position((SELECT b.ids FROM blocked b), e.event_id)]"
    " WHERE e.event_id = ANY ((SELECT b.ids FROM blocked b)::text[])"
    ") SELECT " DUE_EVENT("t") "t.age, s.next_us, s.oversized, " KNOWN_COLUMNS
    " FROM (SELECT CASE WHEN (SELECT count(*) FROM due) > " DUE_LOOK " OR (SELECT count(*) FROM judged j WHERE j.blocked_until IS NULL)"
    "   > (SELECT count(*) FROM chosen) THEN 0"
    "  ELSE " EPOCH_US("least("
    "   (SELECT e.due_at FROM {schema}.event e WHERE e.state = 'parked' AND e.due_at > now() ORDER BY e.due_at LIMIT 1),"
    "   (SELECT min(l.lease_until) FROM (SELECT e.lease_until FROM {schema}.event e WHERE e.state = 'parked' AND e.due_at <= now()"
    "     ORDER BY e.due_at OFFSET 0) l WHERE l.lease_until > now()),"
    "   (SELECT b.first FROM blocked b),"
    "   CASE WHEN EXISTS (SELECT FROM chosen) THEN now() + $3::int8 * interval '1 microsecond' END) - now()") " END AS next_us,"
    "  (SELECT count(*) FROM due d WHERE d.bytes > $4::int8) AS oversized) s"
    " LEFT JOIN taken t ON true" KNOWN_JOIN("t.phone_number") " ORDER BY t.due_at, t.park_order";

/* After a lost answer: what that take has taken, if it was executed. All that is due is looked through, which is why this is not a part of
 * the statement above. $1 token, $2 lease. */
static const char due_again_text[] =
    "WITH taken AS ("
    " UPDATE {schema}.event e SET lease_until = now() + $2::int8 * interval '1 microsecond'"
    " WHERE e.event_id = ANY (ARRAY(SELECT x.event_id FROM {schema}.event x"
    "   WHERE x.state = 'parked' AND x.due_at <= now() AND x.token = $1::uuid AND x.lease_until IS NOT NULL"
    "   ORDER BY x.due_at FOR UPDATE SKIP LOCKED))"
    " RETURNING " DUE_EVENT("e") DUE_AGE("e") ", e.due_at, e.park_order, e.phone_number"
    ") SELECT " DUE_EVENT("t") "t.age, 0::int8, 0::int8, " KNOWN_COLUMNS " FROM taken t" KNOWN_JOIN("t.phone_number")
    " ORDER BY t.due_at, t.park_order";

/* The outbox of outcomes, in the order of their numbers. $1 limit, $2 token, $3 lease, $4 bytes that the taker has room for; one outcome is
 * always given. */
static const char outcome_take_text[] =
    "WITH due AS MATERIALIZED ("
    " SELECT o.number, octet_length(o.body) + octet_length(o.event_id) + 64 AS bytes FROM {schema}.outcome o"
    " WHERE o.lease_until IS NULL OR o.lease_until <= now()"
    " ORDER BY o.number LIMIT $1::int8 + 1 FOR UPDATE SKIP LOCKED"
    "), chosen AS MATERIALIZED ("
    " SELECT r.number FROM (SELECT d.number, row_number() OVER w AS nth, sum(d.bytes) OVER w AS sum_bytes"
    "   FROM due d WINDOW w AS (ORDER BY d.number ROWS UNBOUNDED PRECEDING)) r"
    " WHERE r.nth = 1 OR (r.nth <= $1::int8 AND r.sum_bytes <= $4::int8)"
    "), taken AS ("
    " UPDATE {schema}.outcome o SET token = $2::uuid, lease_until = now() + $3::int8 * interval '1 microsecond'"
    " WHERE o.number = ANY (ARRAY(SELECT c.number FROM chosen c))"
    " RETURNING o.number, o.event_id, o.body"
    ") SELECT t.number, t.event_id, t.body, (SELECT count(*) FROM due) > (SELECT count(*) FROM chosen) FROM taken t ORDER BY t.number";

/* $1 those that are published, $2 the others, $3 token, $4 their pause. */
static const char outcome_mark_text[] =
    "WITH gone AS ("
    " DELETE FROM {schema}.outcome o WHERE o.number = ANY ($1::int8[]) AND o.token = $3::uuid RETURNING o.number"
    "), kept AS ("
    " UPDATE {schema}.outcome o SET token = NULL,"
    "  lease_until = CASE WHEN $4::int8 > 0 THEN now() + $4::int8 * interval '1 microsecond' END"
    " WHERE o.number = ANY ($2::int8[]) AND o.token = $3::uuid RETURNING o.number"
    ") SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM kept)";

static const char spend_text[] =
    "SELECT least(coalesce(sum(v.cost_usd), 0) * 1000000, 9000000000000000000)::int8, (" TODAY " - DATE '1970-01-01')::int4, "
    EPOCH_US("((" TODAY " + 1)::timestamp AT TIME ZONE 'UTC') - now()")
    " FROM {schema}.validation_day v WHERE v.day = " TODAY;

/* What waits is counted a slice at a time, each from where the one before has ended, so that a million of them hold up no claim: how many, how
 * many of them are due, how long the first has been due, and where the slice ends (null: there are no more). $1 the end of the one before. */
#define COUNT_SLICE "20000"
#define COUNT_TEXT(time, what)                                                                                         \
    "SELECT count(*), count(*) FILTER (WHERE x." time " <= now()), " EPOCH_US("now() - min(x." time ")") ", max(l.last)" \
    " FROM (SELECT (SELECT e." time " FROM {schema}.event e WHERE " what " AND e." time " > $1::timestamptz"            \
    "               ORDER BY e." time " OFFSET " COUNT_SLICE " LIMIT 1) AS last) l,"                                    \
    " LATERAL (SELECT e." time " FROM {schema}.event e WHERE " what " AND e." time " > $1::timestamptz"                 \
    "          AND e." time " <= coalesce(l.last, 'infinity') ORDER BY e." time ") x"

static const char count_parked_text[] = COUNT_TEXT("due_at", "e.state = 'parked'");
static const char count_unpublished_text[] = COUNT_TEXT("finished_at", "e.state = 'dead' AND e.dead_letter_published_at IS NULL");

/* Outcomes likewise, by their numbers. */
static const char count_outcomes_text[] =
    "SELECT count(*), count(*), " EPOCH_US("now() - min(x.finished_at)") ", max(l.last)"
    " FROM (SELECT (SELECT o.number FROM {schema}.outcome o WHERE o.number > $1::int8"
    "               ORDER BY o.number OFFSET " COUNT_SLICE " LIMIT 1) AS last) l,"
    " LATERAL (SELECT o.finished_at FROM {schema}.outcome o WHERE o.number > $1::int8"
    "          AND o.number <= coalesce(l.last, 9223372036854775807) ORDER BY o.number) x";

/* One session of our own. A generic plan that never scans the table, and reads what it needs in order from the index that has the order,
 * whatever the planner believes of the table: see the head comment. jit: the planner's prices for what it must not do would start the
 * compiler. */
#define COMMON_SETTINGS(local)                                                                                         \
    "set_config('statement_timeout', $1, " local "), set_config('lock_timeout', $2, " local "),"                       \
    " set_config('enable_seqscan', 'off', " local "), set_config('enable_bitmapscan', 'off', " local "),"              \
    " set_config('enable_sort', 'off', " local "), set_config('enable_hashjoin', 'off', " local "),"                   \
    " set_config('enable_mergejoin', 'off', " local "), set_config('jit', 'off', " local ")"

static const char session_text[] =
    "SELECT " COMMON_SETTINGS("false") ", set_config('plan_cache_mode', 'force_generic_plan', false),"
    " set_config('idle_in_transaction_session_timeout', $3, false),"
    " set_config('default_transaction_isolation', 'read committed', false),"
    " CASE WHEN current_setting('server_version_num')::int >= 140000 THEN set_config('idle_session_timeout', '0', false) END";

/* Through a pooler: settings of this transaction only, in the same segment before the statement. */
static const char session_local_text[] = "SELECT " COMMON_SETTINGS("true");

/* Of any version of the schema. */
static const char look_text[] =
    "SELECT coalesce(max(v.version), 0), current_setting('fsync')::bool, current_setting('synchronous_commit') <> 'off',"
    "  current_setting('transaction_read_only')::bool"
    " FROM {schema}.schema_version v";

/* $1, $2: the last record that was confirmed to us. Commits survive in their order: if this one is there, all are. One that was renamed since,
 * because its id held the phone of somebody who was forgotten, is there. */
static const char look_back_text[] =
    "SELECT EXISTS (SELECT FROM {schema}.event x WHERE x.event_id = $1::text AND NOT (x.state = 'claimed' AND x.token = $2::uuid))"
    "  OR " IS_FORGOTTEN_ID("$1::text");

static const struct {
    const char *name;
    const char *text;
} statements[SQL_COUNT] = {
    [SQL_CLAIM] = {"claim", claim_text},
    [SQL_CLAIM_KNOWN] = {"claim_known", claim_known_text},
    [SQL_RECORD] = {"record", record_text},
    [SQL_RECORD_WHY] = {"record_why", record_why_text},
    [SQL_RELEASE] = {"release", release_text},
    [SQL_EXTEND] = {"extend", extend_text},
    [SQL_WAKE] = {"wake", wake_text},
    [SQL_DUE_TAKE] = {"due_take", due_take_text},
    [SQL_DUE_AGAIN] = {"due_again", due_again_text},
    [SQL_OUTBOX_TAKE] = {"outbox_take", outbox_take_text},
    [SQL_OUTBOX_MARK] = {"outbox_mark", outbox_mark_text},
    [SQL_OUTCOME_TAKE] = {"outcome_take", outcome_take_text},
    [SQL_OUTCOME_MARK] = {"outcome_mark", outcome_mark_text},
    [SQL_SPEND] = {"spend", spend_text},
    [SQL_COUNT_PARKED] = {"count_parked", count_parked_text},
    [SQL_COUNT_UNPUBLISHED] = {"count_unpublished", count_unpublished_text},
    [SQL_COUNT_OUTCOMES] = {"count_outcomes", count_outcomes_text},
    [SQL_SESSION] = {"session", session_text},
    [SQL_SESSION_LOCAL] = {"session_local", session_local_text},
    [SQL_LOOK] = {"look", look_text},
    [SQL_LOOK_BACK] = {"look_back", look_back_text},
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
