/* The observer port of the running worker. */
#ifndef SIGNUP_CLI_OBSERVER_H
#define SIGNUP_CLI_OBSERVER_H

#include "signup/core/pipeline.h"
#include "signup/core/ports.h"

/* Needs no context. */
const struct observer_port *observer_port(void);

/* What the lines about an unpaid validation are to say. Until called: that the events wait. */
void observer_configure(enum on_billing on_billing);

struct metrics_histogram;

/* Durations of the upsert calls so far. */
const struct metrics_histogram *observer_calls(void);

#endif
