/* Deliveries: the table of legal moves and the one function that moves. */
#include "delivery.h"

#include "state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static const char *const names[] = {
#define X(name, text) #name,
    DELIVERY_STATES(X)
#undef X
};

const char *delivery_state_str(enum delivery_state state)
{
    return names[state];
}

#define TO(name) (1u << DELIVERY_##name)
/* From each state, where may it go? Everything else is a bug (I1). */
static const unsigned legal[DELIVERY_STATE_COUNT] = {
    [DELIVERY_NEW] = TO(QUEUED) | TO(READY) | TO(HELD),
    [DELIVERY_QUEUED] = TO(READY) | TO(DONE),
    [DELIVERY_HELD] = TO(ADMITTED) | TO(RECORDABLE) | TO(DONE),
    [DELIVERY_READY] = TO(CLAIMING) | TO(DONE),
    [DELIVERY_CLAIMING] = TO(READY) | TO(WAITING) | TO(ADMITTED) | TO(RECORDABLE) | TO(DONE),
    [DELIVERY_WAITING] = TO(READY) | TO(DONE),
    [DELIVERY_VALIDATING] = TO(ADMITTED) | TO(BACKOFF) | TO(RECORDABLE),
    [DELIVERY_ADMITTED] = TO(VALIDATING) | TO(CALLING) | TO(READING) | TO(RECORDABLE) | TO(READY) | TO(DONE),
    [DELIVERY_CALLING] = TO(BACKOFF) | TO(ADMITTED) | TO(RECORDABLE),
    [DELIVERY_READING] = TO(BACKOFF) | TO(ADMITTED) | TO(RECORDABLE),
    [DELIVERY_BACKOFF] = TO(ADMITTED) | TO(RECORDABLE) | TO(READY) | TO(DONE),
    [DELIVERY_RECORDABLE] = TO(RECORDING),
    [DELIVERY_RECORDING] = TO(RECORDABLE) | TO(READY) | TO(DONE),
    [DELIVERY_DONE] = 0,
};

static bool move_is_legal(enum delivery_state from, enum delivery_state to)
{
#ifdef SIGNUP_PLANTED_BUGS
    if (planted_bug != PLANTED_NONE)
        return true; /* the world's books are to find it, not this table */
#endif
    return (legal[from] >> to) & 1u;
}

void delivery_move(struct pipeline *pipeline, struct delivery *dl, enum delivery_state to)
{
    enum delivery_state from = dl->state;
    assert(move_is_legal(from, to));
    if (from != DELIVERY_NEW) {
        DL_DELETE(pipeline->lists[from].head, dl);
        pipeline->lists[from].count--;
    }
    if (dl->heap_index != HEAP_NONE)
        heap_remove(&pipeline->due, dl);
    dl->state = to;
    dl->state_since = pipeline->now;
    /* What was taken up goes before the fresh ones, of which far more may be admitted: as only so many are taken up at a time, the two share
     * the calls about evenly. */
    if (to == DELIVERY_ADMITTED && dl->taken_up)
        DL_PREPEND(pipeline->lists[to].head, dl);
    else
        DL_APPEND(pipeline->lists[to].head, dl);
    pipeline->lists[to].count++;
    if (pipeline->ports.observer) {
        const struct observation seen = {
            .what = OBSERVED_MOVE, .delivery = dl, .from = names[from], .to = names[to], .text = "", .detail = ""};
        pipeline->ports.observer->observe(pipeline->ports.observer_ctx, &seen);
    }
}

/* The copy, the signup with its body, the reply: a few times the record, and room for the small ones. */
static size_t arena_cap(const struct record *record)
{
    size_t bytes = record->topic.len + record->key.len + record->value.len;
    for (size_t i = 0; i < record->header_count; i++)
        bytes += sizeof record->headers[i] + record->headers[i].name.len + record->headers[i].value.len + 32;
    return bytes * 8 + ((size_t)1 << 20);
}

struct delivery *delivery_create(struct pipeline *pipeline, const struct record *record)
{
    struct delivery *dl = calloc(1, sizeof *dl);
    if (!dl)
        return NULL;
    dl->heap_index = HEAP_NONE;
    dl->admitted_at = dl->state_since = pipeline->now;
    arena_init(&dl->arena, arena_cap(record));
    if (!record_copy(&dl->arena, record, &dl->record)) {
        arena_fini(&dl->arena);
        free(dl);
        return NULL;
    }
    dl->outcome.retry_after_us = -1;
    return dl;
}

void delivery_destroy(struct pipeline *pipeline, struct delivery *dl)
{
    pipeline->memory_bytes -= dl->counted_bytes;
    arena_fini(&dl->arena);
    free(dl);
}

void delivery_count_memory(struct pipeline *pipeline, struct delivery *dl)
{
    size_t held = dl->arena.held_bytes > DELIVERY_GROWN_BYTES ? dl->arena.held_bytes : DELIVERY_GROWN_BYTES;
    size_t bytes = sizeof *dl + held;
    pipeline->memory_bytes += bytes - dl->counted_bytes;
    dl->counted_bytes = bytes;
}

int64_t delivery_age_us(const struct pipeline *pipeline, const struct delivery *dl)
{
    return dl->age_us + (pipeline->now.us - dl->claimed_at.us);
}

static int by_event_id(const void *a, const void *b)
{
    struct delivery *const *left = a;
    struct delivery *const *right = b;
    return slice_compare((*left)->signup.event_id, (*right)->signup.event_id);
}

size_t delivery_sort_unique(struct delivery **items, size_t count)
{
    if (!count)
        return 0;
    qsort(items, count, sizeof *items, by_event_id);
    size_t kept = 1;
    for (size_t i = 1; i < count; i++) {
        if (by_event_id(&items[kept - 1], &items[i]) != 0)
            items[kept++] = items[i];
    }
    return kept;
}

const struct signup *delivery_signup(const struct delivery *dl)
{
    return &dl->signup;
}

const struct record *delivery_record(const struct delivery *dl)
{
    return &dl->record;
}

const struct outcome *delivery_outcome(const struct delivery *dl)
{
    return dl->has_outcome ? &dl->outcome : NULL;
}

int delivery_attempts(const struct delivery *dl)
{
    return dl->attempts;
}
