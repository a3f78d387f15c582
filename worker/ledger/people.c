/* The evidence of one person's consent, read row by row. Blocking, for commands. */
#include "signup/ledger/people.h"

#include "direct.h"
#include "people.h"
#include "schema.h"
#include "sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ statements */

#define US_OF(time) "(extract(epoch FROM " time ") * 1000000)::int8"

/* The order is that of the columns below. Version 5 is the one that brought attribution and schema_id. */
static const char trail_text[] =
    "SELECT e.event_id, e.topic || ':' || e.partition || ':' || e.\"offset\", to_jsonb(e.sources),"
    "  " US_OF("e.received_at") ", " US_OF("e.signup_date") ", " US_OF("e.finished_at") ", e.list_number, e.url,"
    "  e.ip_address, e.consent ->> 'text', e.consent, e.state, e.code, e.error, e.http_status, e.attempts,"
    "  e.maybe_sent, e.contact_id, e.list_contact_id, e.is_new_contact::text, e.ad_network_source, e.ad_network_id,"
    "  e.attribution, e.schema_id, e.request,"
    "  (SELECT jsonb_agg(jsonb_build_object('at', to_char(w.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),"
    "     'source', w.source, 'code', w.code, 'message', w.message) ORDER BY w.at, w.source, w.code, w.message)"
    "   FROM {schema}.warning w WHERE w.event_id = e.event_id),"
    "  coalesce(e.received_at < (SELECT v.applied_at FROM {schema}.schema_version v WHERE v.version = 5), false)"
    " FROM {schema}.event e"
    " WHERE e.phone_number = $1 AND ($2::text[] = '{}' OR e.list_number = ANY ($2::text[]))"
    "  AND e.received_at >= $3::timestamptz AND e.received_at < $4::timestamptz"
    " ORDER BY e.received_at, e.topic, e.partition, e.\"offset\", e.event_id";

enum {
    TRAIL_EVENT_ID,
    TRAIL_SOURCE,
    TRAIL_SOURCES,
    TRAIL_RECEIVED_AT,
    TRAIL_SIGNUP_DATE,
    TRAIL_FINISHED_AT,
    TRAIL_LIST_NUMBER,
    TRAIL_URL,
    TRAIL_IP_ADDRESS,
    TRAIL_CONSENT_TEXT,
    TRAIL_CONSENT,
    TRAIL_STATE,
    TRAIL_CODE,
    TRAIL_ERROR,
    TRAIL_HTTP_STATUS,
    TRAIL_ATTEMPTS,
    TRAIL_MAYBE_SENT,
    TRAIL_CONTACT_ID,
    TRAIL_LIST_CONTACT_ID,
    TRAIL_IS_NEW_CONTACT,
    TRAIL_AD_NETWORK_SOURCE,
    TRAIL_AD_NETWORK_ID,
    TRAIL_ATTRIBUTION,
    TRAIL_SCHEMA_ID,
    TRAIL_REQUEST,
    TRAIL_WARNINGS,
    TRAIL_BEFORE_PROVENANCE
};

static const char erasures_text[] =
    "SELECT x.erasure_id, " US_OF("x.erased_at") ", x.who, x.reason, x.events FROM {schema}.erasure x"
    " WHERE x.phone_hash = sha256(x.salt || convert_to($1, 'UTF8')) ORDER BY x.erasure_id DESC";

/* ------------------------------------------------------------------ opening */

enum ledger_verdict ledger_people_open(const struct ledger_config *config, struct people_ledger **out,
                                       char *error)
{
    struct people_ledger *ledger = calloc(1, sizeof *ledger);
    *out = NULL;
    if (!ledger) {
        snprintf(error, LEDGER_ERROR_BYTES, "out of memory");
        return LEDGER_VERDICT_AWAY;
    }
    enum ledger_verdict verdict = direct_open(&ledger->direct, config, error);
    int version = verdict == LEDGER_VERDICT_WELL ? direct_version(&ledger->direct, &verdict) : -1;
    if (version >= 0 && !schema_version_fits(config->schema, version, error, LEDGER_ERROR_BYTES))
        verdict = LEDGER_VERDICT_SCHEMA;
    if (verdict == LEDGER_VERDICT_WELL)
        *out = ledger;
    else
        ledger_people_close(ledger);
    return verdict;
}

void ledger_people_close(struct people_ledger *ledger)
{
    if (!ledger)
        return;
    direct_close(&ledger->direct);
    free(ledger);
}

/* ------------------------------------------------------------------ reading */

static struct slice text_at(const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return SLICE_ABSENT;
    return (struct slice){PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column)};
}

static int64_t number_at(const PGresult *result, int row, int column)
{
    return strtoll(PQgetvalue(result, row, column), NULL, 10); /* "" where null */
}

static bool flag_at(const PGresult *result, int row, int column)
{
    return PQgetvalue(result, row, column)[0] == 't';
}

static struct consent_row row_read(const PGresult *result)
{
    return (struct consent_row){
        .event_id = text_at(result, 0, TRAIL_EVENT_ID),
        .source = text_at(result, 0, TRAIL_SOURCE),
        .sources = text_at(result, 0, TRAIL_SOURCES),
        .received_at = {number_at(result, 0, TRAIL_RECEIVED_AT)},
        .has_signup_date = !PQgetisnull(result, 0, TRAIL_SIGNUP_DATE),
        .finished = !PQgetisnull(result, 0, TRAIL_FINISHED_AT),
        .signup_date = {number_at(result, 0, TRAIL_SIGNUP_DATE)},
        .finished_at = {number_at(result, 0, TRAIL_FINISHED_AT)},
        .list_number = text_at(result, 0, TRAIL_LIST_NUMBER),
        .url = text_at(result, 0, TRAIL_URL),
        .ip_address = text_at(result, 0, TRAIL_IP_ADDRESS),
        .consent_text = text_at(result, 0, TRAIL_CONSENT_TEXT),
        .consent = text_at(result, 0, TRAIL_CONSENT),
        .state = text_at(result, 0, TRAIL_STATE),
        .code = text_at(result, 0, TRAIL_CODE),
        .error = text_at(result, 0, TRAIL_ERROR),
        .http_status = (int)number_at(result, 0, TRAIL_HTTP_STATUS),
        .attempts = (int)number_at(result, 0, TRAIL_ATTEMPTS),
        .maybe_sent = flag_at(result, 0, TRAIL_MAYBE_SENT),
        .contact_id = text_at(result, 0, TRAIL_CONTACT_ID),
        .list_contact_id = text_at(result, 0, TRAIL_LIST_CONTACT_ID),
        .is_new_contact = text_at(result, 0, TRAIL_IS_NEW_CONTACT),
        .ad_network_source = text_at(result, 0, TRAIL_AD_NETWORK_SOURCE),
        .ad_network_id = text_at(result, 0, TRAIL_AD_NETWORK_ID),
        .attribution = text_at(result, 0, TRAIL_ATTRIBUTION),
        .schema_id = text_at(result, 0, TRAIL_SCHEMA_ID),
        .request = text_at(result, 0, TRAIL_REQUEST),
        .warnings = text_at(result, 0, TRAIL_WARNINGS),
        .before_provenance = flag_at(result, 0, TRAIL_BEFORE_PROVENANCE),
    };
}

static enum ledger_verdict read_rows(struct direct *direct,
                                     bool (*row)(void *ctx, const struct consent_row *row), void *ctx)
{
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    bool wanted = true;
    PQsetSingleRowMode(direct->pg);
    for (PGresult *result; (result = PQgetResult(direct->pg));) {
        ExecStatusType status = PQresultStatus(result);
        if (status != PGRES_SINGLE_TUPLE && status != PGRES_TUPLES_OK) {
            verdict = direct_failed(direct, result);
        } else if (wanted && PQntuples(result) == 1) {
            const struct consent_row read = row_read(result);
            wanted = row(ctx, &read);
        }
        PQclear(result);
    }
    return verdict;
}

/* {"+1…","+1…"}: E.164 needs no escape. For free(); NULL: out of memory. */
static char *lists_text(const struct consent_filter *filter)
{
    struct buf text;
    buf_init(&text, (size_t)1 << 20);
    buf_append_char(&text, '{');
    for (size_t i = 0; i < filter->list_count; i++)
        buf_printf(&text, "%s\"%s\"", i ? "," : "", filter->lists[i]);
    buf_append(&text, "}", 2);
    char *copy = buf_ok(&text) ? strdup(text.data) : NULL;
    buf_fini(&text);
    return copy;
}

static const char *time_text(bool present, wall_us_t time, const char *otherwise,
                             char text[WALL_TEXT_MS_BYTES])
{
    wall_format_utc_ms(time, text);
    return present ? text : otherwise;
}

enum ledger_verdict ledger_people_trail(struct people_ledger *ledger, const struct consent_filter *filter,
                                        bool (*row)(void *ctx, const struct consent_row *row), void *ctx)
{
    struct direct *direct = &ledger->direct;
    char times[2][WALL_TEXT_MS_BYTES];
    char *lists = lists_text(filter);
    char *sql = sql_render(trail_text, direct->schema);
    const char *values[] = {filter->phone_number, lists,
                            time_text(filter->has_from, filter->from, "-infinity", times[0]),
                            time_text(filter->has_to, filter->to, "infinity", times[1])};
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    PGresult *began =
        lists && sql ? direct_run(direct, "BEGIN READ ONLY" PEOPLE_SETTINGS, 0, NULL, &verdict) : NULL;
    if (!lists || !sql)
        verdict = direct_out_of_memory(direct);
    else if (began && !PQsendQueryParams(direct->pg, sql, 4, NULL, values, NULL, NULL, 0))
        verdict = direct_failed(direct, NULL);
    else if (began)
        verdict = read_rows(direct, row, ctx);
    if (began)
        PQclear(PQexec(direct->pg, "ROLLBACK"));
    PQclear(began);
    free(lists);
    free(sql);
    return verdict;
}

enum ledger_verdict ledger_people_erasures(struct people_ledger *ledger, const char *phone_number,
                                           void (*erasure)(void *ctx, const struct people_erasure *erasure),
                                           void *ctx)
{
    const char *values[] = {phone_number};
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    PGresult *result = direct_run(&ledger->direct, erasures_text, 1, values, &verdict);
    for (int row = 0; result && row < PQntuples(result); row++) {
        const struct people_erasure found = {
            .erasure_id = number_at(result, row, 0),
            .at = {number_at(result, row, 1)},
            .who = text_at(result, row, 2),
            .reason = text_at(result, row, 3),
            .events = (uint64_t)number_at(result, row, 4),
        };
        erasure(ctx, &found);
    }
    PQclear(result);
    return verdict;
}
