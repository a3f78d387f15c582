/* All SQL of the running worker, in one place. */
#ifndef SIGNUP_LEDGER_SQL_H
#define SIGNUP_LEDGER_SQL_H

#include <stdbool.h>

enum sql_id {
    SQL_CLAIM,
    SQL_CLAIM_KNOWN,
    SQL_RECORD,
    SQL_RECORD_WHY,
    SQL_RELEASE,
    SQL_EXTEND,
    SQL_WAKE,
    SQL_DUE_TAKE,
    SQL_DUE_AGAIN,
    SQL_OUTBOX_TAKE,
    SQL_OUTBOX_MARK,
    SQL_OUTCOME_TAKE,
    SQL_OUTCOME_MARK,
    SQL_SPEND,
    SQL_COUNT_PARKED,
    SQL_COUNT_UNPUBLISHED,
    SQL_COUNT_OUTCOMES,
    SQL_STATEMENTS, /* those before are prepared; those below are sent as they are */
    SQL_SESSION = SQL_STATEMENTS,
    SQL_SESSION_LOCAL,
    SQL_LOOK,
    SQL_LOOK_BACK,
    SQL_COUNT
};

/* The name of the prepared statement, also for logs. */
const char *sql_name(enum sql_id id);

/* True for an event id that was renamed because it held the phone of somebody who was forgotten. One look at an empty table until there is such
 * an id. The hash is that of the column's comment (schemas/ledger/0005_signups.sql). */
#define ID_HASH(id) "sha256((SELECT z.salt FROM {schema}.forgotten_salt z) || convert_to(" id ", 'UTF8'))"
#define IS_FORGOTTEN_ID(id)                                                                                            \
    "(coalesce((SELECT true FROM {schema}.forgotten_id LIMIT 1), false)"                                               \
    " AND coalesce((SELECT true FROM {schema}.forgotten_id f WHERE f.id_hash = " ID_HASH(id) "), false))"

/* The texts with {schema} replaced by the quoted name. */
struct sql_texts {
    char *text[SQL_COUNT];
};

/* False: out of memory. */
bool sql_render_all(struct sql_texts *texts, const char *schema);
void sql_free_all(struct sql_texts *texts);

/* Replaces every {schema} in `template`. Gives a malloc'ed text, NULL when out of memory. */
char *sql_render(const char *template, const char *schema);

/* 1 to 63 bytes (PostgreSQL cuts longer ones silently), valid as a quoted identifier. */
bool sql_schema_name_ok(const char *schema);

#endif
