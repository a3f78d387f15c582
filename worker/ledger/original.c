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

bool original_read(const PGresult *result, int row, struct arena *arena, struct slice *event_id,
                   struct record *record)
{
    struct slice headers = result_slice(result, row, ORIGINAL_HEADERS);
    if (slice_present(headers) && headers.len) { /* the first byte is the version of jsonb's binary form */
        headers.ptr++;
        headers.len--;
    }
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
