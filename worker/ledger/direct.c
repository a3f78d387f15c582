/* A blocking connection for commands. */
#include "direct.h"

#include "fault.h"
#include "sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void on_notice(void *ctx, const char *message)
{
    (void)ctx;
    (void)message;
}

/* libpq has no SQLSTATE for a connection that failed: its words must do. A refused log-in is the operator's,
 * everything else may pass. */
static bool login_refused(const char *message)
{
    static const char *const words[] = {
        "authentication failed", "no pg_hba.conf entry",           "no password supplied", "role \"",
        "database \"",           "permission denied for database", "certificate"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strstr(message, words[i]))
            return true;
    }
    return false;
}

static enum ledger_verdict connect_failed(struct direct *direct)
{
    const char *message = direct->pg ? PQerrorMessage(direct->pg) : "out of memory";
    bool refused = login_refused(message);
    snprintf(direct->error, LEDGER_ERROR_BYTES, "PostgreSQL at %s %s: %.*s", direct->server,
             refused ? "does not let us in" : "cannot be reached", (int)strcspn(message, "\n"), message);
    return refused ? LEDGER_VERDICT_REFUSED : LEDGER_VERDICT_AWAY;
}

enum ledger_verdict direct_open(struct direct *direct, const struct ledger_config *config, char *error)
{
    *direct = (struct direct){.schema = config->schema, .error = error};
    error[0] = '\0';
    if (!sql_schema_name_ok(config->schema)) {
        snprintf(direct->error, LEDGER_ERROR_BYTES, "postgres.schema is a name of 1 to 63 bytes");
        return LEDGER_VERDICT_CONFIG;
    }
    if (!address_book_init(&direct->book, config->dsn ? config->dsn : "", error, LEDGER_ERROR_BYTES))
        return LEDGER_VERDICT_CONFIG;
    struct address_params params;
    address_text(&direct->book, NULL, direct->server, sizeof direct->server);
    address_params_fill(&direct->book, NULL, &params);
    bool has_timeout = false;
    size_t count = 0;
    for (; params.keys[count]; count++)
        has_timeout = has_timeout || strcmp(params.keys[count], "connect_timeout") == 0;
    if (!has_timeout && count < ADDRESS_OPTIONS_MAX) {
        params.keys[count] = "connect_timeout";
        params.values[count] = "5";
    }
    direct->pg = PQconnectdbParams(params.keys, params.values, 0);
    if (!direct->pg || PQstatus(direct->pg) != CONNECTION_OK)
        return connect_failed(direct);
    PQsetNoticeProcessor(direct->pg, on_notice, NULL);
    return LEDGER_VERDICT_WELL;
}

void direct_close(struct direct *direct)
{
    if (direct->pg)
        PQfinish(direct->pg);
    address_book_fini(&direct->book);
}

static enum ledger_verdict verdict_of(const struct direct *direct, const char *sqlstate)
{
    if (!sqlstate || PQstatus(direct->pg) != CONNECTION_OK)
        return LEDGER_VERDICT_AWAY;
    switch (fault_of_sqlstate(sqlstate)) {
    case FAULT_DENIED:
        return LEDGER_VERDICT_REFUSED;
    case FAULT_AWAY:
    case FAULT_RETRY:
        return strncmp(sqlstate, "42", 2) == 0 ? LEDGER_VERDICT_SCHEMA : LEDGER_VERDICT_AWAY;
    default:
        return LEDGER_VERDICT_SCHEMA;
    }
}

enum ledger_verdict direct_failed(struct direct *direct, const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    snprintf(direct->error, LEDGER_ERROR_BYTES, "PostgreSQL at %s: %s%s%s%s", direct->server,
             message ? message : "the connection was lost", sqlstate ? " (" : "", sqlstate ? sqlstate : "",
             sqlstate ? ")" : "");
    direct->collided = sqlstate && fault_of_sqlstate(sqlstate) == FAULT_RETRY;
    return verdict_of(direct, sqlstate);
}

enum ledger_verdict direct_out_of_memory(struct direct *direct)
{
    snprintf(direct->error, LEDGER_ERROR_BYTES, "out of memory");
    direct->collided = false;
    return LEDGER_VERDICT_AWAY;
}

PGresult *direct_run(struct direct *direct, const char *sql, int count, const char *const *values,
                     enum ledger_verdict *verdict)
{
    char *text = sql_render(sql, direct->schema);
    PGresult *result = !text    ? NULL
                       : values ? PQexecParams(direct->pg, text, count, NULL, values, NULL, NULL, 0)
                                : PQexec(direct->pg, text);
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
        free(text);
        return result;
    }
    *verdict = text ? direct_failed(direct, result) : direct_out_of_memory(direct);
    free(text);
    PQclear(result);
    return NULL;
}

int direct_version(struct direct *direct, enum ledger_verdict *verdict)
{
    const char *quoted[] = {direct->schema};
    PGresult *result = direct_run(
        direct,
        "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1 AND c.relname = 'schema_version'",
        1, quoted, verdict);
    if (!result)
        return -1;
    bool there = strcmp(PQgetvalue(result, 0, 0), "0") != 0;
    PQclear(result);
    if (!there)
        return 0;
    result =
        direct_run(direct, "SELECT coalesce(max(version), 0) FROM {schema}.schema_version", 0, NULL, verdict);
    if (!result)
        return -1;
    int version = (int)strtol(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return version;
}
