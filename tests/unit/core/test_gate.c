/* Proves what opens a route's breaker, what does not, and how it closes again; how the credits adapt; that a rate is kept. */
#include "gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static mono_us_t at(int64_t ms)
{
    return (mono_us_t){ms * US_PER_MS};
}

static int leave(struct gate *gate, bool probe, enum gate_result what, uint64_t who, const char *why, int64_t wait_us, mono_us_t now)
{
    const struct gate_report report = {
        .probe = probe, .result = what, .who = who, .why = why, .wait_us = wait_us, .duration_us = 1000};
    return gate_leave(gate, &report, now);
}

static int result(struct gate *gate, enum gate_result what, uint64_t who, mono_us_t now)
{
    assert_true(gate_admits(gate, now));
    bool probe = gate_enter(gate, now);
    return leave(gate, probe, what, who, "server: http_500", 0, now);
}

static void credits_bound_the_calls(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 2, 0);
    gate_enter(&gate, at(0));
    gate_enter(&gate, at(0));
    assert_false(gate_admits(&gate, at(0)));
    assert_int_equal(gate_next(&gate, at(0)).us, MONO_NEVER.us);
    leave(&gate, false, GATE_SOUND, 1, "", 0, at(0));
    assert_true(gate_admits(&gate, at(0)));
}

static void one_events_bad_luck_is_its_own(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(result(&gate, GATE_FAILED, 1 + (uint64_t)(i % 3), at(i)), 0);
    assert_true(gate_is_open(&gate));
}

static void mixed_answers_do_not_open_it(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8, 0);
    for (uint64_t i = 1; i <= 200; i++)
        assert_int_equal(result(&gate, i % 8 == 0 ? GATE_SOUND : GATE_FAILED, i, at(0)), 0);
    assert_true(gate_is_open(&gate));
}

static void break_it(struct gate *gate, mono_us_t now)
{
    int turned = 0;
    for (uint64_t i = 1; i <= 10; i++)
        turned = result(gate, GATE_FAILED, i, now);
    assert_int_equal(turned, 1);
    assert_false(gate_is_open(gate));
}

static void a_broken_gate_lets_one_probe_a_second_through(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8, 0);
    break_it(&gate, at(0));
    assert_false(gate_admits(&gate, at(999)));
    assert_int_equal(gate_next(&gate, at(0)).us, at(1000).us);
    assert_true(gate_admits(&gate, at(1000)));
    assert_true(gate_enter(&gate, at(1000)));
    assert_false(gate_admits(&gate, at(1000))); /* one at a time */
    leave(&gate, true, GATE_FAILED, 11, "still", 0, at(1100));
    assert_false(gate_is_open(&gate));
    assert_false(gate_admits(&gate, at(2000)));
    assert_true(gate_admits(&gate, at(1100 + 2000)));
    assert_int_equal(result(&gate, GATE_SOUND, 12, at(1100 + 2000)), -1);
    assert_true(gate_is_open(&gate));
    assert_true(gate_admits(&gate, at(1100 + 2000)));
}

static void probes_never_come_slower_than_every_three_seconds(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8, 0);
    int64_t now = 0;
    break_it(&gate, at(now));
    for (int i = 0; i < 50; i++) {
        now += 3000;
        assert_int_equal(result(&gate, GATE_FAILED, 9, at(now)), 0);
    }
}

static void a_refused_key_opens_at_once(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8, 0);
    assert_int_equal(result(&gate, GATE_STOPPED, 1, at(0)), 1);
    assert_false(gate_is_open(&gate));
    assert_string_equal(gate.why, "server: http_500");
}

static void stragglers_do_not_disturb_the_probe(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8, 0);
    gate_enter(&gate, at(0)); /* let in before the break, fails after it */
    gate_enter(&gate, at(0)); /* and one that turns out well */
    break_it(&gate, at(0));
    assert_int_equal(leave(&gate, false, GATE_FAILED, 77, "late", 0, at(10)), 0);
    assert_true(gate_admits(&gate, at(1000)));
    assert_int_equal(leave(&gate, false, GATE_SOUND, 78, "", 0, at(20)), -1);
    assert_true(gate_is_open(&gate));
    assert_int_equal(gate.in_flight, 0);
}

static void the_servers_own_wish_counts_when_longer(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8, 0);
    bool probe = gate_enter(&gate, at(0));
    assert_int_equal(leave(&gate, probe, GATE_STOPPED, 1, "x", 90 * US_PER_S, at(0)), 1);
    assert_false(gate_admits(&gate, at(89000)));
    assert_true(gate_admits(&gate, at(90000)));
}

static void throttling_holds_the_whole_route(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8, 0);
    gate_hold_until(&gate, at(3000));
    gate_hold_until(&gate, at(1000)); /* never shortens */
    assert_false(gate_admits(&gate, at(2999)));
    assert_true(gate_admits(&gate, at(3000)));
    assert_true(gate_is_open(&gate));
}

static void what_says_nothing_leaves_the_probe_to_do(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "validate", 8, 0);
    break_it(&gate, at(0));
    bool probe = gate_enter(&gate, at(1000));
    assert_true(probe);
    assert_int_equal(leave(&gate, probe, GATE_SILENT, 1, "", 0, at(1000)), 0);
    assert_false(gate_is_open(&gate));
    assert_false(gate_admits(&gate, at(1999)));
    assert_true(gate_admits(&gate, at(2000)));
}

static void after_a_breaker_the_credits_start_low_and_double(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 256, 0);
    assert_int_equal(gate.limit, 256);
    break_it(&gate, at(0));
    assert_int_equal(result(&gate, GATE_SOUND, 1, at(1000)), -1);
    assert_int_equal(gate.limit, 16);
    for (int round = 0; round < 4; round++) {
        size_t limit = gate.limit;
        for (size_t i = 0; i < limit; i++)
            result(&gate, GATE_SOUND, 1, at(1000));
        assert_int_equal(gate.limit, limit * 2);
    }
    assert_int_equal(gate.limit, 256);
    result(&gate, GATE_SOUND, 1, at(1000));
    assert_int_equal(gate.limit, 256); /* and never beyond */
}

static void throttling_halves_the_credits_once_a_round(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 64, 0);
    for (int i = 0; i < 20; i++)
        result(&gate, GATE_THROTTLED, 1, at(1));
    assert_int_equal(gate.limit, 32);
    for (int i = 1; i <= 10; i++)
        result(&gate, GATE_THROTTLED, 1, at(1000 * i));
    assert_int_equal(gate.limit, 1); /* one is always left */
    for (int i = 0; i < 1 + 2 + 3; i++) /* from there on by one a round */
        result(&gate, GATE_SOUND, 1, at(20000));
    assert_int_equal(gate.limit, 4);
}

static void the_credits_do_not_grow_while_the_latency_rises(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 64, 0);
    for (int i = 0; i < 100; i++)
        result(&gate, GATE_SOUND, 1, at(0));
    result(&gate, GATE_THROTTLED, 1, at(1));
    size_t limit = gate.limit;
    const struct gate_report slow = {.result = GATE_SOUND, .who = 1, .why = "", .duration_us = 900 * US_PER_MS};
    for (int i = 0; i < 200; i++) {
        gate_enter(&gate, at(2));
        gate_leave(&gate, &slow, at(2));
    }
    assert_in_range(gate.limit, limit, limit + 1);
}

static void a_rate_is_kept(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 10000, 50);
    int started = 0;
    for (int64_t ms = 1000; ms < 11000; ms += 7) {
        while (gate_admits(&gate, at(ms))) {
            result(&gate, GATE_SOUND, 1, at(ms));
            started++;
        }
        if (gate_next(&gate, at(ms)).us < at(ms + 7).us)
            assert_true(gate_admits(&gate, gate_next(&gate, at(ms))));
    }
    assert_in_range(started, 500, 506); /* ten seconds of 50, and the burst of a tenth of a second */
}

static void a_slow_rate_has_no_burst(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8, 1);
    result(&gate, GATE_SOUND, 1, at(5000));
    assert_false(gate_admits(&gate, at(5999)));
    assert_true(gate_admits(&gate, at(6000)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(credits_bound_the_calls),
        cmocka_unit_test(one_events_bad_luck_is_its_own),
        cmocka_unit_test(mixed_answers_do_not_open_it),
        cmocka_unit_test(a_broken_gate_lets_one_probe_a_second_through),
        cmocka_unit_test(probes_never_come_slower_than_every_three_seconds),
        cmocka_unit_test(a_refused_key_opens_at_once),
        cmocka_unit_test(stragglers_do_not_disturb_the_probe),
        cmocka_unit_test(the_servers_own_wish_counts_when_longer),
        cmocka_unit_test(throttling_holds_the_whole_route),
        cmocka_unit_test(what_says_nothing_leaves_the_probe_to_do),
        cmocka_unit_test(after_a_breaker_the_credits_start_low_and_double),
        cmocka_unit_test(throttling_halves_the_credits_once_a_round),
        cmocka_unit_test(the_credits_do_not_grow_while_the_latency_rises),
        cmocka_unit_test(a_rate_is_kept),
        cmocka_unit_test(a_slow_rate_has_no_burst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
