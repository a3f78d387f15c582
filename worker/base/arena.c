/* Arena: blocks of doubling size, freed together. */
#include "signup/base/arena.h"

#include <stdint.h>
#include <stdlib.h>

#define BLOCK_BYTES_MIN ((size_t)2048)
#define BLOCK_BYTES_MAX ((size_t)65536)
#define ALIGNMENT _Alignof(max_align_t)

struct arena_block {
    struct arena_block *older;
    size_t used;
    size_t size; /* of `data` */
    _Alignas(max_align_t) char data[];
};

void arena_init(struct arena *arena, size_t cap_bytes)
{
    *arena = (struct arena){.cap_bytes = cap_bytes};
}

void arena_fini(struct arena *arena)
{
    struct arena_block *block = arena->blocks;
    while (block) {
        struct arena_block *older = block->older;
        free(block);
        block = older;
    }
    arena->blocks = NULL;
    arena->held_bytes = 0;
}

static struct arena_block *block_add(struct arena *arena, size_t bytes)
{
    size_t size = arena->blocks ? arena->blocks->size * 2 : BLOCK_BYTES_MIN - sizeof(struct arena_block);
    if (size > BLOCK_BYTES_MAX)
        size = BLOCK_BYTES_MAX;
    if (size < bytes)
        size = bytes;
    if (size > SIZE_MAX - sizeof(struct arena_block) - arena->held_bytes)
        return NULL;
    size_t total = size + sizeof(struct arena_block);
    if (arena->held_bytes + total > arena->cap_bytes) {
        /* The doubling may overshoot the cap where the bytes themselves would still fit. */
        size = bytes;
        total = size + sizeof(struct arena_block);
        if (arena->held_bytes + total > arena->cap_bytes)
            return NULL;
    }
    struct arena_block *block = malloc(total);
    if (!block) {
        arena->starved = true;
        return NULL;
    }
    block->older = arena->blocks;
    block->used = 0;
    block->size = size;
    arena->blocks = block;
    arena->held_bytes += total;
    return block;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    size_t padded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (!padded)
        padded = ALIGNMENT;
    struct arena_block *block = arena->blocks;
    if (!block || block->size - block->used < padded) {
        block = block_add(arena, padded);
        if (!block)
            return NULL;
    }
    void *out = block->data + block->used;
    block->used += padded;
    return out;
}

void *arena_alloc_zero(struct arena *arena, size_t bytes)
{
    void *out = arena_alloc(arena, bytes);
    if (out)
        memset(out, 0, bytes);
    return out;
}

struct slice arena_copy(struct arena *arena, struct slice text)
{
    if (!slice_present(text) || text.len == SIZE_MAX)
        return SLICE_ABSENT;
    char *copy = arena_alloc(arena, text.len + 1);
    if (!copy)
        return SLICE_ABSENT;
    if (text.len)
        memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return (struct slice){copy, text.len};
}
