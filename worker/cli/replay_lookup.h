/* Looks contacts up before they are replayed: has somebody left the list since? */
#ifndef SIGNUP_CLI_REPLAY_LOOKUP_H
#define SIGNUP_CLI_REPLAY_LOOKUP_H

#include "replay_plan.h"

#include "signup/base/clock.h"
#include "signup/ops/config.h"

#include <stdbool.h>
#include <stddef.h>

struct lookups;

/* Hands out turns at a steady rate. */
struct pacer {
    double per_second; /* 0: no limit */
    mono_us_t next;
};
/* When the next `count` may go; they have then gone. */
mono_us_t pacer_take(struct pacer *pacer, size_t count, mono_us_t now);

/* What a look-up that cannot be had means for the whole run. */
struct lookup_stop {
    int exit_code;  /* 0: go on */
    char text[768]; /* for people */
};

/* `stopped` is asked while it waits: true ends it early. `waiting` is called about ten times a second.
 * Borrows the config until destroy. NULL: `stop` says why. */
struct lookups *lookups_create(const struct config *config, double per_second, bool (*stopped)(void *ctx),
                               void (*waiting)(void *ctx), void *ctx, struct lookup_stop *stop);
void lookups_destroy(struct lookups *lookups);

/* Sets the standing of each contact that nobody has asked for yet, some at a time. A look-up that fails is
 * tried again a few times, then the contact is CONTACT_UNKNOWN. Returns when all are answered, when `stopped`
 * says so (the rest stay unasked), or when there is no use in asking on: then `stop` has an exit code. Not
 * reentrant. */
void lookups_run(struct lookups *lookups, struct plan_contact **contacts, size_t count,
                 struct lookup_stop *stop);

#endif
