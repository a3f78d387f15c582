/* Backoff with full jitter. */
#include "backoff.h"

#include <assert.h>

uint64_t random_next(struct random *random)
{
    uint64_t z = random->state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    assert(bound > 0);
    /* The bias of the modulus is below 2^-32 for every bound that is used here. */
    return random_next(random) % bound;
}

int64_t backoff_us(struct random *random, int64_t base_us, int64_t cap_us, unsigned failures)
{
    assert(base_us > 0 && cap_us > 0);
    int64_t ceiling = base_us;
    for (unsigned i = 0; i < failures && ceiling < cap_us; i++)
        ceiling = ceiling > cap_us / 2 ? cap_us : ceiling * 2;
    if (ceiling > cap_us)
        ceiling = cap_us;
    return 1 + (int64_t)random_below(random, (uint64_t)ceiling);
}
