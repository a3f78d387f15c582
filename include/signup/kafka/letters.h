/* The dead-letter topic read back, from its beginning to its end of now: for a command that has nothing else.
 * Not for the loop: it blocks. */
#ifndef SIGNUP_KAFKA_LETTERS_H
#define SIGNUP_KAFKA_LETTERS_H

#include "signup/base/clock.h"
#include "signup/base/slice.h"
#include "signup/event/record.h"
#include "signup/kafka/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One letter (design section 7). Everything is borrowed during the callback.
 *
 * With `malformed` NULL, `event_id`, `code`, `cls`, `attempts`, `failed_at` and the source are there. Else it
 * says in a sentence why the record is no letter of ours, and what could be read is there all the same:
 * slices are absent, numbers -1 (http_status 0), failed_at 0 where nothing could be read. */
struct kafka_letter {
    /* the record on the dead-letter topic */
    struct slice topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* when it was published; -1: none */

    /* the original: key, value, and its own headers (those not named signup.*) */
    struct slice key;   /* absent: null */
    struct slice value; /* absent: null. With `pointer` not the original's bytes, see below. */
    const struct record_header *headers;
    size_t header_count;

    /* signup.* */
    struct slice event_id;
    struct slice code;
    struct slice message; /* absent: no such header */
    struct slice cls;     /* outcome_class_str() of its class */
    int http_status;      /* 0: a local death */
    int attempts;
    wall_us_t failed_at;
    struct slice source_topic; /* where the original lay */
    int32_t source_partition;
    int64_t source_offset;
    int64_t source_timestamp_ms; /* the original's own, which its letter carries as its own; -1: the topic writes its own times */

    /* The original was too large for the topic: `value` is a JSON object with "topic", "partition", "offset",
     * "event_id", "bytes" and "sha256" (hex, of the original value) instead, and headers may be missing. The
     * bytes are in the ledger, or at the source. */
    bool pointer;

    const char *malformed;
};

struct kafka_letters_counts {
    uint64_t to_read;   /* offsets between the start and the end as it was at the beginning */
    uint64_t passed;    /* of these, passed by: what remains is to_read - passed */
    uint64_t given;     /* to the callback; fewer than passed where the topic has gaps (compaction) */
    uint64_t malformed; /* of these */
    uint64_t pointers;  /* likewise */
    uint64_t gone;      /* offsets that were asked for and have expired; not part of to_read */
};

/* Where one partition is begun, instead of at its first record. */
struct kafka_letters_start {
    int32_t partition;
    int64_t offset;
};

struct kafka_letters_request {
    const char *topic; /* NULL: config->dead_letter_topic */
    const struct kafka_letters_start *starts;
    size_t start_count;
    /* The longest wait for an answer, without one record in between: at least some seconds. */
    int64_t timeout_ms;
    /* Each partition's letters in offset order, partitions mixed. One event may come more than once: a letter
     * is published at least once. May take its time. False: stop. */
    bool (*letter)(void *ctx, const struct kafka_letter *letter);
    /* About ten times a second, with the totals at the first and the last call; may be NULL. False: stop.
     * Also called while nothing comes, so that a person can give up. */
    bool (*progress)(void *ctx, const struct kafka_letters_counts *counts);
    void *ctx;
};

enum kafka_letters_result {
    KAFKA_LETTERS_DONE,    /* everything up to the end as it was at the beginning has been given */
    KAFKA_LETTERS_STOPPED, /* a callback said so */
    KAFKA_LETTERS_AWAY,    /* no broker or leader answers, no such topic, an unreadable record: exit 69 */
    KAFKA_LETTERS_REFUSED, /* a broker refuses our name, key or rights: exit 77 */
    KAFKA_LETTERS_CONFIG   /* the configuration itself: exit 78 */
};

/* Joins no group, commits nothing, creates nothing. Everything is borrowed during the call. Except with DONE
 * and STOPPED `error` says in one line what is wrong and what to do; letters may have been given by then.
 * `counts` (may be NULL) gets the totals in any case. */
enum kafka_letters_result kafka_letters_read(const struct kafka_config *config,
                                             const struct kafka_letters_request *request,
                                             struct kafka_letters_counts *counts, char *error,
                                             size_t error_size) __attribute__((warn_unused_result));

#endif
