/* The delivered offsets of one partition in one assignment; gives the watermark to commit (I4, I5). Pure counting. */
#ifndef SIGNUP_CORE_WINDOW_H
#define SIGNUP_CORE_WINDOW_H

#include "signup/core/ports.h"

#include <stdbool.h>
#include <stdint.h>

enum window_state {
    WINDOW_ACTIVE,
    WINDOW_DRAINING, /* revoked: its calls may finish, nothing new is taken */
    WINDOW_GONE      /* nothing of it counts any more; freed with its last delivery */
};

struct window_slot {
    int64_t offset;
    bool done;
};

struct window {
    struct window *prev, *next;
    struct partition partition; /* topic is owned */
    enum window_state state;
    bool paused;         /* as the source was last told */
    size_t references;   /* deliveries that point here */
    struct window_slot *slots; /* ring */
    size_t capacity;     /* power of two */
    uint64_t first;      /* id of the oldest slot still held */
    uint64_t end;        /* id of the next slot */
    int64_t last_delivered; /* -1: none */
    int64_t committed;   /* acknowledged; -1: none in this assignment */
    int64_t committing;  /* under way; -1 */
};

/* Copies the topic. NULL: out of memory. */
struct window *window_create(const struct partition *partition);
void window_destroy(struct window *window);

/* Opens the slot of a delivered offset (above all delivered before). False: out of memory. */
bool window_open(struct window *window, int64_t offset, uint64_t *slot) __attribute__((warn_unused_result));

/* The record of this slot has its durable row. Exactly once a slot. */
void window_complete(struct window *window, uint64_t slot);

/* Lowest incomplete delivered offset; last delivered + 1 when all are complete; -1 when nothing was delivered. */
int64_t window_watermark(const struct window *window);

/* Slots held: delivered and not below the watermark. */
size_t window_span(const struct window *window);
size_t window_unfinished(const struct window *window);

/* True when the watermark says something that has not been committed in this assignment. */
bool window_wants_commit(const struct window *window);

/* What it holds of the machine's memory, in bytes. */
size_t window_memory(const struct window *window);

bool window_is(const struct window *window, const struct partition *partition);

#endif
