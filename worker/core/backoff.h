/* Exponential backoff with full jitter, and the one source of randomness of the core. */
#ifndef SIGNUP_CORE_BACKOFF_H
#define SIGNUP_CORE_BACKOFF_H

#include <stdint.h>

/* splitmix64: one 64-bit state, good enough for jitter and tokens, exact under a seed. */
struct random {
    uint64_t state;
};
uint64_t random_next(struct random *random);
/* Uniform in [0, bound); bound > 0. */
uint64_t random_below(struct random *random, uint64_t bound);

/* Full jitter: uniform in [1, min(cap, base * 2^failures)], in microseconds. `failures` counts from 0. */
int64_t backoff_us(struct random *random, int64_t base_us, int64_t cap_us, unsigned failures);

#endif
