/* Due heap: each delivery knows its place, so that it can be taken out early. */
#include "heap.h"

#include <assert.h>
#include <stdlib.h>

void heap_fini(struct heap *heap)
{
    free(heap->items);
    *heap = (struct heap){0};
}

bool heap_reserve(struct heap *heap, size_t count)
{
    if (count <= heap->size)
        return true;
    size_t size = heap->size ? heap->size : 64;
    while (size < count)
        size *= 2;
    struct delivery **items = realloc(heap->items, size * sizeof *items);
    if (!items)
        return false;
    heap->items = items;
    heap->size = size;
    return true;
}

static void heap_put(struct heap *heap, size_t index, struct delivery *dl)
{
    heap->items[index] = dl;
    dl->heap_index = index;
}

static void heap_up(struct heap *heap, size_t index, struct delivery *dl)
{
    while (index && dl->due.us < heap->items[(index - 1) / 2]->due.us) {
        heap_put(heap, index, heap->items[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    heap_put(heap, index, dl);
}

static void heap_down(struct heap *heap, size_t index, struct delivery *dl)
{
    for (;;) {
        size_t child = index * 2 + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && heap->items[child + 1]->due.us < heap->items[child]->due.us)
            child++;
        if (dl->due.us <= heap->items[child]->due.us)
            break;
        heap_put(heap, index, heap->items[child]);
        index = child;
    }
    heap_put(heap, index, dl);
}

void heap_push(struct heap *heap, struct delivery *dl, mono_us_t due)
{
    assert(dl->heap_index == HEAP_NONE);
    assert(heap->count < heap->size);
    dl->due = due;
    heap->count++;
    heap_up(heap, heap->count - 1, dl);
}

void heap_remove(struct heap *heap, struct delivery *dl)
{
    size_t index = dl->heap_index;
    assert(index < heap->count && heap->items[index] == dl);
    dl->heap_index = HEAP_NONE;
    struct delivery *last = heap->items[--heap->count];
    if (last == dl)
        return;
    last->heap_index = index;
    if (index && last->due.us < heap->items[(index - 1) / 2]->due.us)
        heap_up(heap, index, last);
    else
        heap_down(heap, index, last);
}

struct delivery *heap_top(const struct heap *heap)
{
    return heap->count ? heap->items[0] : NULL;
}
