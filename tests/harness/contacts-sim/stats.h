/* Counters of calls by operation and status; the state keeps its own. */
#ifndef SIGNUP_CONTACTS_SIM_STATS_H
#define SIGNUP_CONTACTS_SIM_STATS_H

#include <jansson.h>
#include <stdint.h>

#include "call.h"
#include "state.h"

struct stats_op {
    uint64_t received;
    uint64_t answered; /* an answer, possibly a faulty one, was started */
    uint64_t dropped;  /* a fault left it without one */
    uint64_t gone;     /* the client left first */
    uint64_t by_status[1000];
};

struct stats {
    struct stats_op ops[CALL_OP_COUNT];
    uint64_t faults;          /* calls and connections that met one */
    uint64_t connections;     /* accepted */
    uint64_t open;            /* now */
    uint64_t incomplete;      /* connections that ended inside a request */
    uint64_t malformed;       /* requests that were not HTTP */
    uint64_t unauthorized;
    uint64_t undelivered;     /* answers cut short by the client */
};

/* Gives a new object. */
json_t *stats_to_json(const struct stats *stats, const struct state_counters *state);

#endif
