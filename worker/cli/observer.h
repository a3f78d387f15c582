/* The observer port of the running worker. */
#ifndef SIGNUP_CLI_OBSERVER_H
#define SIGNUP_CLI_OBSERVER_H

#include "signup/core/pipeline.h"
#include "signup/core/ports.h"

/* Needs no context. */
const struct observer_port *observer_port(void);

/* What the lines about an unpaid validation and a spent budget are to say. Until called: that the events wait. */
void observer_configure(enum on_billing on_billing, enum on_budget on_budget);

struct metrics_histogram;
struct snapshot_lists;

/* Durations of the upsert calls so far. */
const struct metrics_histogram *observer_calls(void);

/* Signups so far by sending list: accepted ones that missed a journey, and dead ones whose list the account does not have. */
const struct snapshot_lists *observer_journeys_missed(void);
const struct snapshot_lists *observer_list_not_found(void);

#endif
