/* Timers of the loop: a binary heap of due times on the monotonic clock. */
#include "timer.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

static void timer_place(struct timer_heap *heap, size_t at, struct timer *timer)
{
    heap->items[at] = timer;
    timer->slot = at + 1;
}

static void timer_sift_up(struct timer_heap *heap, size_t at)
{
    struct timer *moving = heap->items[at];
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (heap->items[parent]->due_us <= moving->due_us)
            break;
        timer_place(heap, at, heap->items[parent]);
        at = parent;
    }
    timer_place(heap, at, moving);
}

static void timer_sift_down(struct timer_heap *heap, size_t at)
{
    struct timer *moving = heap->items[at];
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && heap->items[child + 1]->due_us < heap->items[child]->due_us)
            child++;
        if (moving->due_us <= heap->items[child]->due_us)
            break;
        timer_place(heap, at, heap->items[child]);
        at = child;
    }
    timer_place(heap, at, moving);
}

void timer_start(struct timer_heap *heap, struct timer *timer, uint64_t due_us)
{
    assert(timer->fire);
    timer_stop(heap, timer);
    if (heap->count == heap->cap) {
        heap->cap = heap->cap ? heap->cap * 2 : 64;
        heap->items = realloc(heap->items, heap->cap * sizeof(struct timer *));
        if (!heap->items)
            abort();
    }
    timer->due_us = due_us;
    timer_place(heap, heap->count++, timer);
    timer_sift_up(heap, heap->count - 1);
}

void timer_stop(struct timer_heap *heap, struct timer *timer)
{
    if (!timer->slot)
        return;
    size_t at = timer->slot - 1;
    assert(at < heap->count && heap->items[at] == timer);
    timer->slot = 0;
    struct timer *last = heap->items[--heap->count];
    if (last == timer)
        return;
    timer_place(heap, at, last);
    timer_sift_up(heap, at);
    timer_sift_down(heap, last->slot - 1);
}

void timer_fire_due(struct timer_heap *heap, uint64_t now_us)
{
    while (heap->count && heap->items[0]->due_us <= now_us) {
        struct timer *due = heap->items[0];
        timer_stop(heap, due);
        due->fire(due);
    }
}

int timer_wait_ms(const struct timer_heap *heap, uint64_t now_us)
{
    if (!heap->count)
        return -1;
    uint64_t due_us = heap->items[0]->due_us;
    if (due_us <= now_us)
        return 0;
    uint64_t wait_ms = (due_us - now_us + 999) / 1000;
    return wait_ms > INT_MAX ? INT_MAX : (int)wait_ms;
}

void timer_fini(struct timer_heap *heap)
{
    free(heap->items);
    *heap = (struct timer_heap){0};
}
