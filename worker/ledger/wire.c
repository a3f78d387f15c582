/* The pipeline: one segment a request, results collected up to each Sync. Facts: pitfalls of libpq's pipeline
 * mode: a statement is durable only once the result of its Sync is here; what is written must be flushed
 * while answers are read, or both sides fill their buffers and wait. */
#include "conn.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

void wire_error_text(const struct conn *conn, const PGresult *result, char *text, size_t size)
{
    /* The primary message only: details quote rows. */
    const char *message = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    if (!message)
        message = result ? PQresultErrorMessage(result) : conn->pg ? PQerrorMessage(conn->pg) : "";
    if (!*message)
        message = "the server closed the connection";
    snprintf(text, size, "%.*s", (int)strcspn(message, "\n"), message);
}

/* The server's last words are a better reason than the broken socket. */
static void fail_with_last_words(struct conn *conn)
{
    char why[LEDGER_ERROR_BYTES];
    const PGresult *last = conn->head ? conn->head->result : NULL;
    bool spoke = last && PQresultStatus(last) == PGRES_FATAL_ERROR;
    wire_error_text(conn, spoke ? last : NULL, why, sizeof why);
    conn_fail(conn, false, why);
}

void wire_queue(struct conn *conn, struct conn_request *request)
{
    request->next = NULL;
    request->result = NULL;
    request->results = 0;
    if (conn->tail)
        conn->tail->next = request;
    else
        conn->head = request;
    conn->tail = request;
    conn->in_flight++;
}

static struct conn_request *wire_pop(struct conn *conn)
{
    struct conn_request *request = conn->head;
    conn->head = request->next;
    if (!conn->head)
        conn->tail = NULL;
    assert(conn->in_flight > 0);
    conn->in_flight--;
    return request;
}

static void wire_finish(struct conn_request *request, bool answered)
{
    PGresult *result = request->result;
    request->result = NULL;
    request->done(request, answered ? result : NULL);
    PQclear(result);
}

void wire_fail_all(struct conn *conn)
{
    /* Callbacks may hand in nothing new meanwhile: the state is not READY. */
    while (conn->head)
        wire_finish(wire_pop(conn), false);
}

static void arm_round_trip(struct conn *conn)
{
    if (conn->state != CONN_READY)
        return;
    if (conn->head)
        conn_arm(conn, conn->deadline_ms);
    else
        uv_timer_stop(&conn->timer);
}

/* Of the results of one segment: the first error, which there is one of only, because what follows it is
 * skipped; else the one that was asked for. */
static void keep_result(struct conn_request *request, PGresult *result)
{
    bool error = PQresultStatus(result) == PGRES_FATAL_ERROR;
    if (!error && request->results++ != request->settings) {
        PQclear(result);
        return;
    }
    PQclear(request->result);
    request->result = result;
}

static void collect(struct conn *conn, PGresult *result)
{
    struct conn_request *head = conn->head;
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        PQclear(result);
        wire_pop(conn);
        conn->answered++;
        arm_round_trip(conn);
        wire_finish(head, true);
        return;
    case PGRES_PIPELINE_ABORTED:
        PQclear(result);
        return;
    default:
        keep_result(head, result);
    }
}

bool wire_read(struct conn *conn)
{
    if (!PQconsumeInput(conn->pg)) {
        fail_with_last_words(conn);
        return false;
    }
    /* NULL ends the results of one statement; two in a row: nothing is under way. A callback may close the
     * machine, never the PGconn. */
    for (int nulls = 0; conn->head && nulls < 2 && conn->state != CONN_CLOSED && !PQisBusy(conn->pg);) {
        PGresult *result = PQgetResult(conn->pg);
        if (result)
            collect(conn, result);
        nulls = result ? 0 : nulls + 1;
    }
    if (conn->state == CONN_CLOSED)
        return false;
    if (PQstatus(conn->pg) == CONNECTION_BAD) {
        fail_with_last_words(conn);
        return false;
    }
    if (conn_has_room(conn))
        conn->events->room(conn->ctx);
    return conn->state != CONN_CLOSED;
}

void wire_flush(struct conn *conn)
{
    int left = PQflush(conn->pg);
    if (left < 0) {
        char why[LEDGER_ERROR_BYTES];
        wire_error_text(conn, NULL, why, sizeof why);
        conn_break(conn, false, why);
        return;
    }
    bool want_write = left > 0;
    if (want_write == conn->want_write)
        return;
    conn->want_write = want_write;
    conn_watch_start(conn, UV_READABLE | (want_write ? UV_WRITABLE : 0));
    if (conn_has_room(conn) && !want_write)
        conn->events->room(conn->ctx);
}

void wire_sync(struct conn *conn, struct conn_request *request)
{
    wire_queue(conn, request);
    if (conn->in_flight == 1)
        arm_round_trip(conn);
    if (!PQpipelineSync(conn->pg)) {
        char why[LEDGER_ERROR_BYTES];
        wire_error_text(conn, NULL, why, sizeof why);
        conn_break(conn, false, why);
        return;
    }
    wire_flush(conn);
}

bool conn_has_room(const struct conn *conn)
{
    return conn->state == CONN_READY && !conn->broken && !conn->want_write &&
           conn->in_flight < CONN_IN_FLIGHT_MAX;
}

static int send_statement(struct conn *conn, const struct conn_statement *statement)
{
    const struct params *params = statement->params;
    if (conn->pooled)
        return PQsendQueryParams(conn->pg, conn->texts.text[statement->id], params->count, NULL,
                                 params->values, params->lengths, params->formats, 1);
    return PQsendQueryPrepared(conn->pg, sql_name(statement->id), params->count, params->values,
                               params->lengths, params->formats, 1);
}

static int send_settings(struct conn *conn)
{
    const char *settings[] = {conn->statement_timeout, conn->lock_timeout};
    return !conn->pooled ||
           PQsendQueryParams(conn->pg, conn->texts.text[SQL_SESSION_LOCAL], 2, NULL, settings, NULL, NULL, 0);
}

void conn_send(struct conn *conn, struct conn_request *request, const struct conn_statement *statements,
               size_t count)
{
    assert(conn->state == CONN_READY);
    int sent = send_settings(conn);
    for (size_t i = 0; sent && i < count; i++)
        sent = send_statement(conn, &statements[i]);
    request->settings = conn->pooled ? 1 : 0;
    if (!sent) {
        char why[LEDGER_ERROR_BYTES];
        wire_error_text(conn, NULL, why, sizeof why);
        wire_queue(conn, request);
        conn_break(conn, false, why);
        return;
    }
    wire_sync(conn, request);
}
