/* Binary min-heap of the deliveries that wait for a time. */
#ifndef SIGNUP_CORE_HEAP_H
#define SIGNUP_CORE_HEAP_H

#include "delivery.h"

#define HEAP_NONE ((size_t)-1)

struct heap {
    struct delivery **items;
    size_t count;
    size_t size;
};

void heap_fini(struct heap *heap);
/* Makes room, so that the pushes of `count` deliveries in all cannot fail. */
bool heap_reserve(struct heap *heap, size_t count) __attribute__((warn_unused_result));
void heap_push(struct heap *heap, struct delivery *dl, mono_us_t due);
void heap_remove(struct heap *heap, struct delivery *dl);
/* The earliest, or NULL. */
struct delivery *heap_top(const struct heap *heap);

#endif
