/* Proves what opens a route's breaker, what does not, and how it closes again. */
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

static int result(struct gate *gate, enum gate_result what, uint64_t who, mono_us_t now)
{
    assert_true(gate_admits(gate, now));
    bool probe = gate_enter(gate, now);
    return gate_leave(gate, probe, what, who, "server: http_500", 0, now);
}

static void credits_bound_the_calls(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 2);
    gate_enter(&gate, at(0));
    gate_enter(&gate, at(0));
    assert_false(gate_admits(&gate, at(0)));
    assert_int_equal(gate_next(&gate, at(0)).us, MONO_NEVER.us);
    gate_leave(&gate, false, GATE_SOUND, 1, "", 0, at(0));
    assert_true(gate_admits(&gate, at(0)));
}

static void one_events_bad_luck_is_its_own(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8);
    for (int i = 0; i < 100; i++)
        assert_int_equal(result(&gate, GATE_FAILED, 1 + (uint64_t)(i % 3), at(i)), 0);
    assert_true(gate_is_open(&gate));
}

static void mixed_answers_do_not_open_it(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8);
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
    gate_init(&gate, "upsert", 8);
    break_it(&gate, at(0));
    assert_false(gate_admits(&gate, at(999)));
    assert_int_equal(gate_next(&gate, at(0)).us, at(1000).us);
    assert_true(gate_admits(&gate, at(1000)));
    assert_true(gate_enter(&gate, at(1000)));
    assert_false(gate_admits(&gate, at(1000))); /* one at a time */
    gate_leave(&gate, true, GATE_FAILED, 11, "still", 0, at(1100));
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
    gate_init(&gate, "upsert", 8);
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
    gate_init(&gate, "upsert", 8);
    assert_int_equal(result(&gate, GATE_STOPPED, 1, at(0)), 1);
    assert_false(gate_is_open(&gate));
    assert_string_equal(gate.why, "server: http_500");
}

static void stragglers_do_not_disturb_the_probe(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8);
    gate_enter(&gate, at(0)); /* let in before the break, fails after it */
    gate_enter(&gate, at(0)); /* and one that turns out well */
    break_it(&gate, at(0));
    assert_int_equal(gate_leave(&gate, false, GATE_FAILED, 77, "late", 0, at(10)), 0);
    assert_true(gate_admits(&gate, at(1000)));
    assert_int_equal(gate_leave(&gate, false, GATE_SOUND, 78, "", 0, at(20)), -1);
    assert_true(gate_is_open(&gate));
    assert_int_equal(gate.in_flight, 0);
}

static void the_servers_own_wish_counts_when_longer(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8);
    bool probe = gate_enter(&gate, at(0));
    assert_int_equal(gate_leave(&gate, probe, GATE_STOPPED, 1, "x", 90 * US_PER_S, at(0)), 1);
    assert_false(gate_admits(&gate, at(89000)));
    assert_true(gate_admits(&gate, at(90000)));
}

static void throttling_holds_the_whole_route(void **state)
{
    (void)state;
    struct gate gate;
    gate_init(&gate, "upsert", 8);
    gate_hold_until(&gate, at(3000));
    gate_hold_until(&gate, at(1000)); /* never shortens */
    assert_false(gate_admits(&gate, at(2999)));
    assert_true(gate_admits(&gate, at(3000)));
    assert_true(gate_is_open(&gate));
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
