/* The topics as a source of records: one consumer of the group on the loop, own offset control, one epoch an
 * assignment. */
#ifndef SIGNUP_KAFKA_SOURCE_H
#define SIGNUP_KAFKA_SOURCE_H

#include "signup/core/ports.h"
#include "signup/kafka/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uv_loop_s;
struct kafka_source;

/* connecting: no assignment yet, or it was lost and a new one is asked for · joined: a member of the group,
 * perhaps without partitions · blocked: joined, but at least one partition cannot be consumed (its offset is
 * not on the broker, or what lies there cannot be read), and somebody must act · away: no broker answers ·
 * stuck: brokers answer, yet no assignment came for KAFKA_SOURCE_STUCK_S, and a restart may help · fatal:
 * librdkafka gave up for good; end the process (exit 75) and let it be restarted */
#define KAFKA_SOURCE_STATES(X)                                                                               \
    X(CONNECTING, "connecting")                                                                              \
    X(JOINED, "joined")                                                                                      \
    X(BLOCKED, "blocked")                                                                                    \
    X(AWAY, "away")                                                                                          \
    X(STUCK, "stuck")                                                                                        \
    X(FATAL, "fatal")

enum kafka_source_state {
#define X(name, text) KAFKA_SOURCE_##name,
    KAFKA_SOURCE_STATES(X)
#undef X
};
/* Longer than a slow member may hold up a rebalance (max.poll.interval.ms, 300 s). */
#define KAFKA_SOURCE_STUCK_S 360

/* "joined", … never NULL. */
const char *kafka_source_state_str(enum kafka_source_state state);

/* Called on the loop, never inside a function of the port, never inside kafka_source_create() or
 * kafka_source_close(). Partitions are borrowed during the call; their topic texts live as long as the
 * source. */
struct kafka_source_callbacks {
    void *ctx;
    /* New partitions, each with a new epoch. Records may follow at once. */
    void (*on_assign)(void *ctx, const struct partition *partitions, size_t count);
    /* These go; the receiver answers once through source_port.revoke_done(), at once or later. `count` is at
     * least 1. */
    void (*on_revoke)(void *ctx, const struct partition *partitions, size_t count, bool lost);
    /* There may be records to take. */
    void (*poke)(void *ctx);
    /* The state, or its reason, changed. `why` is a sentence for people, "" when there is nothing to say. */
    void (*on_state)(void *ctx, enum kafka_source_state state, const char *why);
};

/* Joins the group in the background: neither needs nor waits for a broker. Copies what it keeps of both
 * structs. NULL: `error` says why (a bad property, out of memory or threads). */
struct kafka_source *kafka_source_create(struct uv_loop_s *loop, const struct kafka_config *config,
                                         const struct kafka_source_callbacks *callbacks, char *error,
                                         size_t error_size) __attribute__((warn_unused_result));

/* The functions; their context is the source itself. */
const struct source_port *kafka_source_port(void);

/* Leaves the group and frees the source. `closed` is called once, on the loop, within `deadline_ms` plus a
 * turn of the loop, and never before this function has returned; the source is gone then. No other callback
 * comes after this call; a commit under way ends with COMMIT_RETRY before `closed`. `clean` false: librdkafka
 * did not let go in time and was left behind with its threads, so the process should end with _exit(). Commit
 * what is to be committed before. */
void kafka_source_close(struct kafka_source *source, int64_t deadline_ms,
                        void (*closed)(void *owner, bool clean), void *owner);

/* ---- what people and probes see; all of it from memory, no call goes to a broker */

#define KAFKA_SOURCE_COUNTERS(X)                                                                             \
    X(records, "records given to the pipeline")                                                              \
    X(stale, "records dropped because their partition is no longer assigned")                                \
    X(repeated, "records dropped because the library delivered them twice in one assignment")                \
    X(rebalances, "assignments received")                                                                    \
    X(lost, "assignments lost instead of given back")                                                        \
    X(commits, "offset commits acknowledged")                                                                \
    X(commit_failures, "offset commits that failed or came too late")                                        \
    X(errors, "errors reported by the library")

struct kafka_source_counters {
#define X(name, help) uint64_t name;
    KAFKA_SOURCE_COUNTERS(X)
#undef X
};

struct kafka_source_status {
    enum kafka_source_state state;
    const char *why; /* "" none; borrows until the next callback */
    bool joined;
    size_t assigned;    /* partitions */
    size_t blocked;     /* of these, not consumed */
    size_t stash_bytes; /* fetched for paused partitions and kept */
    struct kafka_source_counters counters;
};

struct kafka_partition_status {
    struct partition partition;
    int64_t position; /* next offset the pipeline will be given; -1: not known yet */
    int64_t low;      /* first offset on the broker as of the last fetch; -1: not known */
    int64_t high;     /* one past the last, likewise */
    int64_t lag;      /* high - position; -1: not known. A paused partition's `high` does not move. */
    bool paused;
    bool blocked;
    const char *why; /* why it is not consumed; "" it is */
};

void kafka_source_status(const struct kafka_source *source, struct kafka_source_status *out);

/* Fills up to `max`, gives how many partitions are assigned. */
size_t kafka_source_partitions(const struct kafka_source *source, struct kafka_partition_status *out,
                               size_t max);

#endif
