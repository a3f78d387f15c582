/* Commands to the simulator under /_sim/. */
#ifndef SIGNUP_CONTACTS_SIM_CONTROL_H
#define SIGNUP_CONTACTS_SIM_CONTROL_H

#include "call.h"
#include "sim.h"

/* Fills status and answer. Never delayed, never faulty, no key needed. */
void control_perform(struct sim *sim, struct call *call);

/* Keys, lists and journeys as the command line has them. */
void control_reset_account(struct sim *sim);

/* Replaces the accepted keys by copies; false (and nothing changes) when there are too many. */
bool control_set_keys(struct sim *sim, const char *const *keys, size_t count);

#endif
