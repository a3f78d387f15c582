/* One pool of memory per delivery (or batch), filled by appending, thrown away whole. */
#ifndef SIGNUP_BASE_ARENA_H
#define SIGNUP_BASE_ARENA_H

#include "signup/base/slice.h"

#include <stdbool.h>
#include <stddef.h>

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    size_t held_bytes;          /* what the arena has taken from malloc: what a budget counts */
    size_t cap_bytes;           /* held_bytes never passes it */
    bool starved;               /* the machine's memory was reached, not the cap; arena_init() clears it */
};

/* Takes no memory until the first allocation. */
void arena_init(struct arena *arena, size_t cap_bytes);

/* Frees everything; the arena may be used again. */
void arena_fini(struct arena *arena);

/* Aligned for any object, not zeroed. NULL when the cap or the machine's memory is reached:
 * every caller checks. Valid until arena_fini(). */
void *arena_alloc(struct arena *arena, size_t bytes) __attribute__((warn_unused_result));

/* As arena_alloc(), zeroed. */
void *arena_alloc_zero(struct arena *arena, size_t bytes) __attribute__((warn_unused_result));

/* Copies `text`, with a NUL behind it that does not count. An absent slice gives an absent one; out of memory
 * gives an absent one too, so callers that copied a present slice check slice_present(). */
struct slice arena_copy(struct arena *arena, struct slice text) __attribute__((warn_unused_result));

#endif
