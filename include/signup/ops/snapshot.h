/* What the run command tells the admin endpoints about itself: one struct, filled anew for every request. */
#ifndef SIGNUP_OPS_SNAPSHOT_H
#define SIGNUP_OPS_SNAPSHOT_H

#include "signup/base/clock.h"
#include "signup/core/pipeline.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct metrics_histogram;

#define SNAPSHOT_REASONS_MAX 16
#define SNAPSHOT_SERVERS_MAX 4

/* One server that the worker depends on. */
struct snapshot_server {
    const char *name;  /* "kafka", "postgres", "contacts_api" */
    bool connected;    /* usable as far as the worker knows */
    const char *state; /* the adapter's word for it: "up", "away", "refused", … */
    const char *why;   /* for people; "" while connected */
    wall_us_t since;   /* of the state; 0: not known */
};

struct snapshot_partition {
    struct pipeline_partition_status status;
    int64_t lag; /* records on the broker that are not finished here; -1: not known */
};

/* What waits in the ledger, of all workers together, as it was counted last. */
struct snapshot_backlog {
    bool known; /* counted, and not too long ago; else the rest is 0 */
    mono_us_t as_of;
    uint64_t parked;
    uint64_t parked_due;           /* of these: due; those that are in work again among them */
    uint64_t dead_unpublished;     /* dead events whose letter is due */
    int64_t oldest_parked_due_us;  /* for how long the first of them has been due; 0: none is */
    int64_t oldest_unpublished_us; /* since the death of the first of them; 0: none */
    uint64_t outcomes_unpublished; /* outcomes that wait for their topic */
    int64_t oldest_outcome_us;     /* for how long the first of them has; 0: none */
};

/* The producer of dead letters. */
struct snapshot_letters {
    bool known;
    uint64_t pointers; /* letters that were too large, so that a pointer stands for them */
    uint64_t replaced; /* producers that were given up after a fatal error */
};

/* What was counted by sending list: of the first so many lists, the rest together. A list's number is the account's own and not a person's
 * phone: it may be told. */
#define SNAPSHOT_LISTS_MAX 64
#define SNAPSHOT_LIST_BYTES 24
struct snapshot_list {
    char number[SNAPSHOT_LIST_BYTES]; /* E.164 */
    uint64_t count;
};

struct snapshot_lists {
    struct snapshot_list lists[SNAPSHOT_LISTS_MAX];
    size_t count;
    uint64_t other;
};

/* Everything pointed at is borrowed from the filler until it is called again. */
struct ops_snapshot {
    mono_us_t now;
    wall_us_t wall;
    wall_us_t started; /* of the process */
    int64_t uptime_us;
    bool ready;
    const char *reasons[SNAPSHOT_REASONS_MAX]; /* why not ready; for people, each without a line break */
    size_t reason_count;
    struct snapshot_server servers[SNAPSHOT_SERVERS_MAX];
    size_t server_count;
    uint64_t ledger_forgotten; /* times that the ledger did not know what it had confirmed */
    const struct pipeline_counters *counters;
    struct pipeline_status status;
    const struct snapshot_partition *partitions;
    size_t partition_count;
    const struct metrics_histogram *calls; /* durations of upsert calls; NULL: none kept */
    struct snapshot_backlog backlog;
    struct snapshot_letters letters;
    const struct snapshot_lists *journeys_missed; /* accepted signups of which the API said that a journey was not used; NULL: not kept */
    const struct snapshot_lists *list_not_found;  /* signups that died because the account has no such list; NULL: not kept */
};

/* NULL: the pipeline has no such gate. */
const struct pipeline_gate_status *snapshot_gate(const struct ops_snapshot *snapshot, const char *route);

/* Dead letters cannot be published now, or one has waited for longer than this: somebody must look. */
#define SNAPSHOT_LETTERS_LATE_US (120 * US_PER_S)
bool snapshot_letters_alarm(const struct ops_snapshot *snapshot);

/* Room for one reason more, or nothing happens; `why` is borrowed likewise. */
static inline void snapshot_not_ready(struct ops_snapshot *snapshot, const char *why)
{
    snapshot->ready = false;
    if (snapshot->reason_count < SNAPSHOT_REASONS_MAX)
        snapshot->reasons[snapshot->reason_count++] = why;
}

#endif
