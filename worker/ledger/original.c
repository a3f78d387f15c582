/* The original record of a row that was taken; see original.h. */
#include "original.h"

#include "headers.h"
#include "result.h"

size_t original_room(const struct arena *arena)
{
    return (arena->cap_bytes - arena->held_bytes) / 2;
}

bool original_column(const PGresult *result, int row, int column, struct arena *arena, struct slice *out)
{
    struct slice value = result_slice(result, row, column);
    *out = arena_copy(arena, value);
    return slice_present(*out) == slice_present(value);
}

/* jsonb's binary form: a version, of one byte, and the text. */
static struct slice jsonb_text(struct slice wire)
{
    return slice_present(wire) && wire.len ? (struct slice){wire.ptr + 1, wire.len - 1} : SLICE_ABSENT;
}

struct known_validation original_known(const PGresult *result, int row, int column, struct arena *arena)
{
    struct slice text = jsonb_text(result_slice(result, row, column));
    struct known_validation known = {0};
    if (!slice_present(text))
        return known;
    int64_t age_us = result_interval_us(result, row, column + 1);
    known.validation = arena_copy(arena, text);
    known.age_us = age_us > 0 ? age_us : 0; /* written by a statement that began after ours */
    return known;
}

bool original_read(const PGresult *result, int row, struct arena *arena, struct slice *event_id,
                   struct record *record)
{
    struct slice headers = jsonb_text(result_slice(result, row, ORIGINAL_HEADERS));
    record->partition = result_int4(result, row, ORIGINAL_PARTITION);
    record->offset = result_int8(result, row, ORIGINAL_OFFSET);
    record->timestamp_ms = PQgetisnull(result, row, ORIGINAL_TIMESTAMP_MS)
                               ? -1
                               : result_int8(result, row, ORIGINAL_TIMESTAMP_MS);
    return original_column(result, row, ORIGINAL_EVENT_ID, arena, event_id) &&
           original_column(result, row, ORIGINAL_TOPIC, arena, &record->topic) &&
           original_column(result, row, ORIGINAL_KEY, arena, &record->key) &&
           original_column(result, row, ORIGINAL_PAYLOAD, arena, &record->value) &&
           headers_read(headers, arena, record);
}
