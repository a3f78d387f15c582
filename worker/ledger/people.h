/* What the files about one person share. */
#ifndef SIGNUP_LEDGER_PEOPLE_ROOM_H
#define SIGNUP_LEDGER_PEOPLE_ROOM_H

#include "direct.h"

struct people_ledger {
    struct direct direct;
};

/* One person has few rows in tables that may have a hundred million, and the planner may know nothing of
 * either: what has an index is found by it. For SET LOCAL, behind BEGIN. */
#define PEOPLE_SETTINGS                                                                                   \
    "; SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off;" \
    " SET LOCAL enable_mergejoin = off; SET LOCAL jit = off"

#endif
