/* Timers of the loop: a binary heap of due times on the monotonic clock. */
#ifndef SIGNUP_CONTACTS_SIM_TIMER_H
#define SIGNUP_CONTACTS_SIM_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer;
typedef void timer_fire_fn(struct timer *timer);

/* Lives inside its owner; `{0}` with `fire` set is a stopped timer. */
struct timer {
    timer_fire_fn *fire;
    uint64_t due_us;
    size_t slot; /* 1 + position in the heap, 0 when stopped */
};

struct timer_heap {
    struct timer **items;
    size_t count;
    size_t cap;
};

/* Starting a running timer moves it. The heap borrows the timer until it fires or is stopped. */
void timer_start(struct timer_heap *heap, struct timer *timer, uint64_t due_us);
void timer_stop(struct timer_heap *heap, struct timer *timer);

/* Fires what is due at `now_us`; a timer that restarts itself must do so for later than that. */
void timer_fire_due(struct timer_heap *heap, uint64_t now_us);

/* Milliseconds until the next one, rounded up; -1 without any. */
int timer_wait_ms(const struct timer_heap *heap, uint64_t now_us);
void timer_fini(struct timer_heap *heap);

#endif
