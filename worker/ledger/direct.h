/* A blocking connection for commands: connect, ask, look at the schema's version. */
#ifndef SIGNUP_LEDGER_DIRECT_H
#define SIGNUP_LEDGER_DIRECT_H

#include "address.h"
#include "signup/ledger/ledger.h"

#include <libpq-fe.h>
#include <stdbool.h>

struct direct {
    struct address_book book;
    PGconn *pg;
    char server[ADDRESS_TEXT_BYTES];
    const char *schema;
    char *error; /* LEDGER_ERROR_BYTES of the caller */
    bool collided; /* the last failure was an accident among neighbours: a deadlock, a lock not given in time */
};

enum ledger_verdict direct_open(struct direct *direct, const struct ledger_config *config, char *error);
void direct_close(struct direct *direct);

/* Runs `sql` ({schema} is replaced) with text parameters, or, with `values` NULL, as a script. NULL: `error`
 * is set and `verdict`, too. */
PGresult *direct_run(struct direct *direct, const char *sql, int count, const char *const *values,
                     enum ledger_verdict *verdict);

/* What a statement that was sent otherwise has failed of: sets `error` and gives the verdict. `result` may be NULL; it
 * is not cleared. */
enum ledger_verdict direct_failed(struct direct *direct, const PGresult *result);
enum ledger_verdict direct_out_of_memory(struct direct *direct);

/* 0 where there is no ledger; negative: `error` and `verdict` are set. */
int direct_version(struct direct *direct, enum ledger_verdict *verdict);

#endif
