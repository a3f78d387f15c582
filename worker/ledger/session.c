/* The first words on a new connection, all sent at once: settings, a look at the schema and at durability, one at
 * what was confirmed before, the prepared statements. */
#include "conn.h"
#include "result.h"
#include "schema.h"

#include "signup/base/log.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static struct conn *conn_of(struct conn_request *request, size_t offset)
{
    return (struct conn *)((char *)request - offset);
}

static void on_notice(void *ctx, const char *message)
{
    (void)ctx;
    LOG_AT(LOG_DEBUG, "ledger", "the server remarks", LOG_STR("notice", message));
}

/* True when `result` is a success; otherwise the connection is given up. */
static bool setup_went_well(struct conn *conn, const PGresult *result, const char *what)
{
    if (!result || conn->state != CONN_PREPARING)
        return false;
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        return true;
    char text[256];
    char why[LEDGER_ERROR_BYTES];
    wire_error_text(conn, result, text, sizeof text);
    if (fault_of_sqlstate(PQresultErrorField(result, PG_DIAG_SQLSTATE)) == FAULT_SCHEMA) {
        schema_version_fits(conn->schema, 0, why, sizeof why);
        conn_break(conn, true, why);
        return false;
    }
    snprintf(why, sizeof why, "%s: %s", what, text);
    conn_break(conn, false, why);
    return false;
}

static void on_setup(struct conn_request *request, const PGresult *result)
{
    setup_went_well(conn_of(request, offsetof(struct conn, setup)), result, "the session cannot be set up");
}

static void warn_once_of_durability(struct conn *conn, bool fsync_on, bool synchronous)
{
    if (conn->durability_warned || (fsync_on && synchronous))
        return;
    conn->durability_warned = true;
    LOG_AT(LOG_WARN, "ledger",
           "the server may forget what it has confirmed: a crash of it can lose or repeat signups",
           LOG_STR("server", conn->server), LOG_FLAG("fsync", fsync_on),
           LOG_FLAG("synchronous_commit", synchronous));
}

static void session_ready(struct conn *conn)
{
    uv_timer_stop(&conn->timer);
    conn_move(conn, CONN_READY);
    conn->ready_at_ms = uv_now(conn->loop);
    conn->connects++;
    conn->events->ready(conn->ctx);
}

void conn_remember(struct conn *conn, struct slice event_id, struct claim_token token)
{
    if (event_id.len >= sizeof conn->last_event_id)
        return;
    memcpy(conn->last_event_id, event_id.ptr, event_id.len);
    conn->last_event_id[event_id.len] = '\0';
    conn->last_token = token;
    conn->last_at = clock_wall_now();
}

/* The events are in the topic still, but their offsets are committed: only a person can decide to read them again. */
static void tell_forgotten(struct conn *conn)
{
    char at[WALL_TEXT_MS_BYTES];
    wall_format_utc_ms(conn->last_at, at);
    LOG_AT(LOG_ERROR, "ledger",
           "the ledger has forgotten records that it had confirmed (a failover to a copy that was behind, or a restored backup): "
           "set the offsets of the consumer group back to before the loss and read again; what is in the ledger is not repeated",
           LOG_STR("server", conn->server), LOG_STR("confirmed_until", at));
    conn->forgotten++;
    conn->last_event_id[0] = '\0';
}

static void on_look(struct conn_request *request, const PGresult *result)
{
    struct conn *conn = conn_of(request, offsetof(struct conn, look));
    if (!setup_went_well(conn, result, "the schema cannot be read") || conn->broken)
        return;
    char why[LEDGER_ERROR_BYTES];
    assert(PQntuples(result) == 1);
    if (!schema_version_fits(conn->schema, result_int4(result, 0, 0), why, sizeof why)) {
        conn_break(conn, true, why);
        return;
    }
    if (result_bool(result, 0, 3)) {
        conn_break(conn, false, "the server is read-only");
        return;
    }
    warn_once_of_durability(conn, result_bool(result, 0, 1), result_bool(result, 0, 2));
    if (conn->pooled && !conn->looks_back)
        session_ready(conn);
}

/* Behind the look, which has found a server that may be believed. */
static void on_look_back(struct conn_request *request, const PGresult *result)
{
    struct conn *conn = conn_of(request, offsetof(struct conn, look_back));
    if (!setup_went_well(conn, result, "the last record cannot be looked for") || conn->broken)
        return;
    if (!result_bool(result, 0, 0))
        tell_forgotten(conn);
    if (conn->pooled)
        session_ready(conn);
}

static void on_prepared(struct conn_request *request, const PGresult *result)
{
    struct conn *conn = conn_of(request, offsetof(struct conn, prepare));
    if (setup_went_well(conn, result, "the statements cannot be prepared") && !conn->broken)
        session_ready(conn);
}

static bool send_settings(struct conn *conn)
{
    const char *settings[] = {conn->statement_timeout, conn->lock_timeout, conn->statement_timeout};
    conn->setup.done = on_setup;
    if (!PQsendQueryParams(conn->pg, conn->texts.text[SQL_SESSION], 3, NULL, settings, NULL, NULL, 0))
        return false;
    wire_sync(conn, &conn->setup);
    return true;
}

static bool send_look(struct conn *conn)
{
    conn->look.done = on_look;
    if (!PQsendQueryParams(conn->pg, conn->texts.text[SQL_LOOK], 0, NULL, NULL, NULL, NULL, 1))
        return false;
    wire_sync(conn, &conn->look);
    return true;
}

static bool send_look_back(struct conn *conn)
{
    conn->looks_back = conn->last_event_id[0] != '\0';
    if (!conn->looks_back)
        return true;
    conn->look_back.done = on_look_back;
    const char *values[] = {conn->last_event_id, (const char *)conn->last_token.bytes};
    const int lengths[] = {0, sizeof conn->last_token.bytes};
    const int formats[] = {0, 1};
    if (!PQsendQueryParams(conn->pg, conn->texts.text[SQL_LOOK_BACK], 2, NULL, values, lengths, formats, 1))
        return false;
    wire_sync(conn, &conn->look_back);
    return true;
}

static bool send_prepares(struct conn *conn)
{
    conn->prepare.done = on_prepared;
    for (int id = 0; id < SQL_STATEMENTS; id++) {
        if (!PQsendPrepare(conn->pg, sql_name((enum sql_id)id), conn->texts.text[id], 0, NULL))
            return false;
    }
    wire_sync(conn, &conn->prepare);
    return true;
}

void session_begin(struct conn *conn)
{
    assert(conn->state == CONN_PREPARING && !conn->head);
    conn_arm(conn, conn->connect_deadline_ms);
    PQsetNoticeProcessor(conn->pg, on_notice, NULL);
    bool ok = PQsetnonblocking(conn->pg, 1) == 0 && PQenterPipelineMode(conn->pg) == 1;
    ok = ok && (conn->pooled || send_settings(conn)) && send_look(conn) && send_look_back(conn) &&
         (conn->pooled || send_prepares(conn));
    if (!ok) {
        char why[LEDGER_ERROR_BYTES];
        wire_error_text(conn, NULL, why, sizeof why);
        conn_break(conn, false, why);
    }
}
