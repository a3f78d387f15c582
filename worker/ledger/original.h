/* Reads the original record out of a row that was taken, and what is known of its phone: their columns stand in
 * one order in every statement that gives them. */
#ifndef SIGNUP_LEDGER_ORIGINAL_H
#define SIGNUP_LEDGER_ORIGINAL_H

#include "signup/base/arena.h"
#include "signup/core/ports.h"
#include "signup/event/record.h"

#include <libpq-fe.h>
#include <stdbool.h>

enum {
    ORIGINAL_EVENT_ID,
    ORIGINAL_TOPIC,
    ORIGINAL_PARTITION,
    ORIGINAL_OFFSET,
    ORIGINAL_KEY,
    ORIGINAL_PAYLOAD,
    ORIGINAL_HEADERS,
    ORIGINAL_TIMESTAMP_MS,
    ORIGINAL_COLUMNS
};

/* Copies one column into the arena; an absent one stays absent. False: the arena is full. */
bool original_column(const PGresult *result, int row, int column, struct arena *arena, struct slice *out)
    __attribute__((warn_unused_result));

/* False: the arena is full, or the headers are not of our writing. */
bool original_read(const PGresult *result, int row, struct arena *arena, struct slice *event_id,
                   struct record *record) __attribute__((warn_unused_result));

/* What is known of a phone: a jsonb and its age, in `column` and the next. Copied into the arena; where that is
 * full, nothing is known. */
struct known_validation original_known(const PGresult *result, int row, int column, struct arena *arena);

/* The bytes of originals that may be asked for: half of the arena's room, because blocks are rounded and
 * headers grow when they are read. */
size_t original_room(const struct arena *arena);

#endif
