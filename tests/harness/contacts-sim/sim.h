/* The simulated vendor as a whole: what its rooms share. */
#ifndef SIGNUP_CONTACTS_SIM_SIM_H
#define SIGNUP_CONTACTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "book.h"
#include "faults.h"
#include "options.h"
#include "state.h"
#include "stats.h"

struct sim_journeys {
    uint64_t list;
    unsigned active;
};

struct sim {
    const struct options *options;
    struct state state;
    struct stats stats;
    struct book book;
    struct faults faults;
    char *keys[OPTIONS_MAX_KEYS]; /* owned */
    size_t key_count;
    uint64_t lists[OPTIONS_MAX_LISTS]; /* the account's; none: every +1 number */
    size_t list_count;
    struct sim_journeys journeys[OPTIONS_MAX_LISTS]; /* of lists that differ */
    size_t journeys_count;
    unsigned journeys_usual; /* active Welcome Journeys of every other list */
    char *billing_code; /* owned; NULL while billing is active, else the code of every 402 */
    unsigned latency_min_ms;
    unsigned latency_max_ms;
    uint64_t last_seq;
    int64_t wall_us;  /* read once a turn */
    uint64_t mono_us;
};

#endif
