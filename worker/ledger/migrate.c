/* Creates and upgrades the schema: each numbered file in a transaction, one worker at a time, never a file
 * that was changed after it had been applied. */
#include "direct.h"
#include "schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The lock is of the transaction: it works through a pooler, and a caller that dies gives it back. Its number
 * is the schema's name hashed beside one of our own, so that other programs' locks are not met. */
static const char lock_sql[] = "SELECT pg_advisory_xact_lock(1397183308, hashtext($1))";

static const char ensure_sql[] =
    "CREATE TABLE IF NOT EXISTS {schema}.schema_version ("
    " version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())";

static bool run_quietly(struct direct *direct, const char *sql, int count, const char *const *values,
                        enum ledger_verdict *verdict)
{
    PGresult *result = direct_run(direct, sql, count, values, verdict);
    PQclear(result);
    return result != NULL;
}

/* Sets `*has` to the answer of a query that gives one boolean. */
static bool ask_bool(struct direct *direct, const char *sql, bool *has, enum ledger_verdict *verdict)
{
    const char *values[] = {direct->schema};
    PGresult *result = direct_run(direct, sql, 1, values, verdict);
    if (!result)
        return false;
    *has = PQgetvalue(result, 0, 0)[0] == 't';
    PQclear(result);
    return true;
}

/* The schema and its version table. CREATE SCHEMA IF NOT EXISTS asks for the privilege even where the schema
 * is there. */
static bool ensure_versions(struct direct *direct, enum ledger_verdict *verdict)
{
    bool there = false;
    if (!ask_bool(direct, "SELECT count(*) > 0 FROM pg_catalog.pg_namespace WHERE nspname = $1", &there,
                  verdict))
        return false;
    return (there || run_quietly(direct, "CREATE SCHEMA {schema}", 0, NULL, verdict)) &&
           run_quietly(direct, ensure_sql, 0, NULL, verdict);
}

/* COMMIT of a failed transaction is a success that says ROLLBACK. */
static bool commit(struct direct *direct, enum ledger_verdict *verdict)
{
    PGresult *result = direct_run(direct, "COMMIT", 0, NULL, verdict);
    bool committed = result && strcmp(PQcmdStatus(result), "COMMIT") == 0;
    if (result && !committed) {
        *verdict = LEDGER_VERDICT_SCHEMA;
        snprintf(direct->error, LEDGER_ERROR_BYTES, "PostgreSQL at %s rolled the migration back",
                 direct->server);
    }
    PQclear(result);
    return committed;
}

static const struct schema_file *file_of(int version)
{
    return version >= 1 && (size_t)version <= schema_file_count ? &schema_files[version - 1] : NULL;
}

/* Every applied file must be the one that is built in. */
static bool files_unchanged(struct direct *direct, enum ledger_verdict *verdict)
{
    PGresult *result =
        direct_run(direct, "SELECT version, name, sha256 FROM {schema}.schema_version ORDER BY version", 0,
                   NULL, verdict);
    if (!result)
        return false;
    bool ok = true;
    for (int row = 0; ok && row < PQntuples(result); row++) {
        const struct schema_file *file = file_of((int)strtol(PQgetvalue(result, row, 0), NULL, 10));
        if (!file || strcmp(file->sha256, PQgetvalue(result, row, 2)) == 0)
            continue;
        ok = false;
        *verdict = LEDGER_VERDICT_SCHEMA;
        snprintf(
            direct->error, LEDGER_ERROR_BYTES,
            "schema \"%s\": %s was changed after it had been applied: restore the file, and put the change into one with a new number",
            direct->schema, file->name);
    }
    PQclear(result);
    return ok;
}

static bool apply(struct direct *direct, const struct schema_file *file, enum ledger_verdict *verdict)
{
    char version[16];
    snprintf(version, sizeof version, "%d", file->version);
    const char *values[] = {version, file->name, file->sha256};
    return run_quietly(direct, file->sql, 0, NULL, verdict) &&
           run_quietly(direct,
                       "INSERT INTO {schema}.schema_version (version, name, sha256) VALUES ($1::int, $2, $3)",
                       3, values, verdict);
}

/* One transaction: under the lock, the next file that is missing. `*applied` stays NULL where none is. */
static bool step(struct direct *direct, const struct schema_file **applied, enum ledger_verdict *verdict)
{
    const char *lock_values[] = {direct->schema};
    *applied = NULL;
    if (!run_quietly(direct, "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'", 0,
                     NULL, verdict) ||
        !run_quietly(direct, lock_sql, 1, lock_values, verdict) || !ensure_versions(direct, verdict) ||
        !files_unchanged(direct, verdict))
        return false;
    int version = direct_version(direct, verdict);
    if (version < 0)
        return false;
    if (version > ledger_schema_version()) {
        *verdict = LEDGER_VERDICT_SCHEMA;
        schema_version_fits(direct->schema, version, direct->error, LEDGER_ERROR_BYTES);
        return false;
    }
    const struct schema_file *next = file_of(version + 1);
    if (next && !apply(direct, next, verdict)) {
        char why[LEDGER_ERROR_BYTES / 2];
        snprintf(why, sizeof why, "%.*s", (int)sizeof why - 1, direct->error);
        snprintf(direct->error, LEDGER_ERROR_BYTES, "%s cannot be applied: %s", next->name, why);
        return false;
    }
    if (!commit(direct, verdict))
        return false;
    *applied = next;
    return true;
}

enum ledger_verdict ledger_migrate(const struct ledger_config *config,
                                   void (*report)(void *ctx, const char *line), void *ctx, char *error)
{
    struct direct direct;
    enum ledger_verdict verdict = direct_open(&direct, config, error);
    const struct schema_file *applied = NULL;
    while (verdict == LEDGER_VERDICT_WELL && step(&direct, &applied, &verdict) && applied) {
        char line[LEDGER_ERROR_BYTES];
        snprintf(line, sizeof line, "applied %s to schema \"%s\"", applied->name, config->schema);
        if (report)
            report(ctx, line);
    }
    direct_close(&direct);
    return verdict;
}
