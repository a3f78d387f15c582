/* What the command line of `replay` asks for. */
#ifndef SIGNUP_CLI_REPLAY_OPTIONS_H
#define SIGNUP_CLI_REPLAY_OPTIONS_H

#include "command.h"

#include "signup/base/clock.h"
#include "signup/ledger/replay.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct replay_strings {
    char **items; /* of our own */
    size_t count;
};

struct replay_options {
    struct common_options common;
    struct replay_strings codes;
    struct replay_strings classes;
    struct replay_strings lists; /* as typed until replay_options_lists() */
    struct replay_strings ad_networks;
    struct replay_strings ad_ids;
    struct replay_strings event_ids;
    int *statuses;
    size_t status_count;
    wall_us_t now; /* what "24h" ago counts from */
    wall_us_t since;
    wall_us_t until;
    bool has_since;
    bool has_until;
    bool all;
    bool dry_run;
    bool include_unsubscribed;
    bool include_superseded;
    bool wait;
    bool json;
    uint64_t limit; /* 0: none */
    double rate;    /* events, and look-ups, a second; 0: no limit */
    const char *reason;
    const char *by;
    const char *from_topic;
    const char *events_from;
};

/* Gives -1 to go on, or the exit code. replay_options_fini() in any case. */
int replay_options_read(int argc, char **argv, struct replay_options *out);
void replay_options_fini(struct replay_options *options);

/* Brings --list to E.164. False: complained. */
bool replay_options_lists(struct replay_options *options, const char *country);

/* Borrows from the options. */
struct replay_filter replay_options_filter(const struct replay_options *options);

/* What was asked for, as a JSON object for free(); NULL: out of memory. */
char *replay_options_json(const struct replay_options *options);

/* ISO 8601 (no zone means UTC, a date alone midnight), or how long before `now`: "90s", "15m", "24h", "7d",
 * "2w". */
bool replay_time_read(const char *text, wall_us_t now, wall_us_t *out);

#endif
