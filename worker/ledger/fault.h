/* The one classifier: what a foreign error means for a statement. */
#ifndef SIGNUP_LEDGER_FAULT_H
#define SIGNUP_LEDGER_FAULT_H

#include <stdbool.h>
#include <stddef.h>

enum fault {
    FAULT_NONE,
    FAULT_AWAY,   /* the server, the connection or the schema: no statement can succeed now */
    FAULT_RETRY,  /* an accident among neighbours (deadlock, lock timeout, serialization): the same statement
                     again */
    FAULT_POISON, /* the data: this statement never succeeds, parts of it may */
    FAULT_DENIED, /* at connect: user, password, database, privileges */
    FAULT_SCHEMA  /* at connect: there is no ledger */
};

/* `sqlstate` NULL or "": the connection broke (libpq gives none then). */
enum fault fault_of_sqlstate(const char *sqlstate);

#endif
