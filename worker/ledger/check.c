/* What is well with the ledger, or what to do, in one line. */
#include "direct.h"
#include "schema.h"

#include <stdio.h>
#include <string.h>

static const char settings_sql[] = "SELECT current_setting('fsync'), current_setting('synchronous_commit'),"
                                   " current_setting('server_version')";

/* What the worker does to the tables and to the sequence. What `forget` does besides is that command's affair. */
static const char privileges_sql[] =
    "SELECT has_schema_privilege($1, 'USAGE') AND bool_and(CASE WHEN c.relkind = 'S' THEN "
    "has_sequence_privilege(c.oid, 'USAGE')"
    " ELSE has_table_privilege(c.oid, 'SELECT')"
    "  AND (c.relname LIKE 'forgotten%' OR has_table_privilege(c.oid, 'INSERT'))"
    "  AND (c.relname NOT IN ('event', 'phone_validation', 'validation_day', 'outcome')"
    "       OR has_table_privilege(c.oid, 'UPDATE'))"
    "  AND (c.relname <> 'outcome' OR has_table_privilege(c.oid, 'DELETE')) END)"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = $1 AND c.relname IN ('event', 'warning', 'attempt', 'phone_validation', 'validation_day',"
    "  'outcome', 'forgotten_id', 'forgotten_salt', 'park_order')";

static enum ledger_verdict check_privileges(struct direct *direct, char *line)
{
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    const char *values[] = {direct->schema};
    PGresult *result = direct_run(direct, privileges_sql, 1, values, &verdict);
    if (result && PQgetvalue(result, 0, 0)[0] != 't') {
        verdict = LEDGER_VERDICT_REFUSED;
        snprintf(line, LEDGER_ERROR_BYTES,
                 "PostgreSQL at %s: user \"%s\" may not read and write schema \"%s\": grant USAGE on it, "
                 "SELECT, INSERT, UPDATE, DELETE on its "
                 "tables, and USAGE on its sequence",
                 direct->server, PQuser(direct->pg), direct->schema);
    }
    PQclear(result);
    return verdict;
}

static enum ledger_verdict describe(struct direct *direct, int version, char *line)
{
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    PGresult *result = direct_run(direct, settings_sql, 0, NULL, &verdict);
    if (!result)
        return verdict;
    bool forgetful =
        strcmp(PQgetvalue(result, 0, 0), "off") == 0 || strcmp(PQgetvalue(result, 0, 1), "off") == 0;
    snprintf(line, LEDGER_ERROR_BYTES, "PostgreSQL %s at %s, schema \"%s\" of version %d%s%s%s%s%s",
             PQgetvalue(result, 0, 2), direct->server, direct->schema, version,
             forgetful ? "; fsync is " : "", forgetful ? PQgetvalue(result, 0, 0) : "",
             forgetful ? ", synchronous_commit is " : "", forgetful ? PQgetvalue(result, 0, 1) : "",
             forgetful ? ": a crash of the server can lose what it has confirmed" : "");
    PQclear(result);
    return LEDGER_VERDICT_WELL;
}

enum ledger_verdict ledger_check(const struct ledger_config *config, char *line)
{
    struct direct direct;
    enum ledger_verdict verdict = direct_open(&direct, config, line);
    if (verdict == LEDGER_VERDICT_WELL) {
        int version = direct_version(&direct, &verdict);
        if (version >= 0 && !schema_version_fits(config->schema, version, line, LEDGER_ERROR_BYTES))
            verdict = LEDGER_VERDICT_SCHEMA;
        if (verdict == LEDGER_VERDICT_WELL)
            verdict = check_privileges(&direct, line);
        if (verdict == LEDGER_VERDICT_WELL)
            verdict = describe(&direct, version, line);
    }
    direct_close(&direct);
    return verdict;
}
