/* Proves the bounds of the full jitter, that it uses its whole range, and that a seed repeats exactly. */
#include "backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void stays_within_base_and_cap(void **state)
{
    (void)state;
    struct random random = {1};
    for (unsigned failures = 0; failures < 80; failures++) {
        int64_t ceiling = failures < 5 ? INT64_C(200000) << failures : 5000000;
        if (ceiling > 5000000)
            ceiling = 5000000;
        for (int i = 0; i < 200; i++) {
            int64_t us = backoff_us(&random, 200000, 5000000, failures);
            assert_in_range(us, 1, ceiling);
        }
    }
}

static void full_jitter_reaches_both_ends(void **state)
{
    (void)state;
    struct random random = {2};
    int low = 0;
    int high = 0;
    for (int i = 0; i < 1000; i++) {
        int64_t us = backoff_us(&random, 1000, 1000, 0);
        low += us <= 100;
        high += us > 900;
    }
    assert_in_range(low, 50, 200);
    assert_in_range(high, 50, 200);
}

static void does_not_overflow(void **state)
{
    (void)state;
    struct random random = {3};
    for (unsigned failures = 0; failures < 200; failures++)
        assert_true(backoff_us(&random, INT64_MAX / 2, INT64_MAX - 1, failures) > 0);
}

static void a_seed_repeats(void **state)
{
    (void)state;
    struct random a = {99};
    struct random b = {99};
    for (int i = 0; i < 100; i++)
        assert_int_equal(random_next(&a), random_next(&b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stays_within_base_and_cap),
        cmocka_unit_test(full_jitter_reaches_both_ends),
        cmocka_unit_test(does_not_overflow),
        cmocka_unit_test(a_seed_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
