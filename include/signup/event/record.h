/* One Kafka record, as bytes. */
#ifndef SIGNUP_EVENT_RECORD_H
#define SIGNUP_EVENT_RECORD_H

#include "signup/base/arena.h"
#include "signup/base/slice.h"

#include <stdint.h>

struct record_header {
    struct slice name;
    struct slice value; /* absent: a null value */
};

struct record {
    struct slice topic;
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms; /* -1: the record has none */
    struct slice key;     /* absent: null */
    struct slice value;   /* absent: null (a tombstone) */
    const struct record_header *headers;
    size_t header_count;
    uint64_t epoch; /* of the partition's assignment; see ports.h */
};

/* Copies everything that `from` borrows into the arena. False: the arena's cap was reached. */
bool record_copy(struct arena *arena, const struct record *from, struct record *to) __attribute__((warn_unused_result));

/* The position as text, "topic:partition:offset", in the arena; absent when the arena is full. */
struct slice record_position(struct arena *arena, const struct record *record) __attribute__((warn_unused_result));

/* The last header of that name, or absent. */
struct slice record_header_value(const struct record *record, const char *name);

#endif
