/* The statements of replays. */
#include "replay_sql.h"

#include "sql.h"

/* `chosen` is what is asked about. A pass over the table and hash joins, whatever the planner would make of
 * sets whose size it cannot know (begin_reading() in replay.c): a selection may be the whole table, and a look at
 * each of its contacts would cost more than the pass. An event is overtaken by an accepted one further on in its own partition, or of a later date in
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
const char replay_select_text[] =
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

const char replay_look_text[] =
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

const char replay_hand_over_text[] =
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

const char replay_put_back_text[] =
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

const char replay_begin_text[] = "INSERT INTO {schema}.replay (who, reason, selection, selected)"
                                 " VALUES ($1, $2, $3::jsonb, $4::int8) RETURNING replay_id";

const char replay_finish_text[] =
    "UPDATE {schema}.replay SET finished_at = now(), skipped_unsubscribed = $2::int8,"
    " skipped_superseded = $3::int8, skipped_without_original = $4::int8, skipped_not_dead = $5::int8,"
    " failed = $6::int8 WHERE replay_id = $1::int8";

const char replay_follow_text[] =
    "SELECT i.ord, coalesce(e.state = 'accepted', false), CASE WHEN e.state IS NULL THEN 'forgotten' ELSE e.code END,"
    "  coalesce(e.http_status, 0)"
    " FROM unnest($1::text[]) WITH ORDINALITY AS i(event_id, ord)"
    " LEFT JOIN LATERAL (SELECT x.state, x.code, x.http_status FROM {schema}.event x"
    "   WHERE x.event_id = i.event_id OFFSET 0) e ON true"
    " WHERE e.state IN ('accepted', 'dead') OR (e.state IS NULL AND " IS_FORGOTTEN_ID("i.event_id") ")";
