/* A Kafka record's copy, position and headers. */
#include "signup/event/record.h"

#include <inttypes.h>
#include <stdio.h>

/* Copies a slice that may be absent. False: the arena is full. */
static bool slice_keep(struct arena *arena, struct slice from, struct slice *to)
{
    *to = arena_copy(arena, from);
    return slice_present(*to) == slice_present(from);
}

static bool headers_copy(struct arena *arena, const struct record *from, struct record *to)
{
    to->headers = NULL;
    to->header_count = 0;
    if (!from->header_count)
        return true;
    struct record_header *headers = arena_alloc(arena, from->header_count * sizeof *headers);
    if (!headers)
        return false;
    for (size_t i = 0; i < from->header_count; i++) {
        if (!slice_keep(arena, from->headers[i].name, &headers[i].name) ||
            !slice_keep(arena, from->headers[i].value, &headers[i].value))
            return false;
    }
    to->headers = headers;
    to->header_count = from->header_count;
    return true;
}

bool record_copy(struct arena *arena, const struct record *from, struct record *to)
{
    struct record copy = *from;
    if (!slice_keep(arena, from->topic, &copy.topic) || !slice_keep(arena, from->key, &copy.key) ||
        !slice_keep(arena, from->value, &copy.value) || !headers_copy(arena, from, &copy))
        return false;
    *to = copy;
    return true;
}

struct slice record_position(struct arena *arena, const struct record *record)
{
    char numbers[40]; /* ":2147483647:9223372036854775807" and signs */
    int written = snprintf(numbers, sizeof numbers, ":%" PRId32 ":%" PRId64, record->partition,
                           record->offset);
    size_t len = (size_t)written;
    char *text = arena_alloc(arena, record->topic.len + len + 1);
    if (!text)
        return SLICE_ABSENT;
    if (record->topic.len)
        memcpy(text, record->topic.ptr, record->topic.len);
    memcpy(text + record->topic.len, numbers, len + 1);
    return (struct slice){text, record->topic.len + len};
}

struct slice record_header_value(const struct record *record, const char *name)
{
    for (size_t i = record->header_count; i > 0; i--) {
        if (slice_is(record->headers[i - 1].name, name))
            return record->headers[i - 1].value;
    }
    return SLICE_ABSENT;
}
