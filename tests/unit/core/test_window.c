/* Proves I4 and I5 of the window alone: the watermark is the lowest incomplete delivered offset, whatever the order of completion. */
#include "window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backoff.h"

static struct window *fresh(void)
{
    const struct partition partition = {SLICE_LITERAL("signups"), 3, 7};
    struct window *window = window_create(&partition);
    assert_non_null(window);
    return window;
}

static uint64_t deliver(struct window *window, int64_t offset)
{
    uint64_t slot = 0;
    assert_true(window_open(window, offset, &slot));
    return slot;
}

static void nothing_delivered_says_nothing(void **state)
{
    (void)state;
    struct window *window = fresh();
    assert_int_equal(window_watermark(window), -1);
    assert_false(window_wants_commit(window));
    window_destroy(window);
}

static void first_incomplete_is_the_watermark(void **state)
{
    (void)state;
    struct window *window = fresh();
    uint64_t a = deliver(window, 10);
    uint64_t b = deliver(window, 11);
    uint64_t c = deliver(window, 12);
    assert_int_equal(window_watermark(window), 10);
    window_complete(window, b);
    assert_int_equal(window_watermark(window), 10);
    assert_false(window_wants_commit(window));
    window_complete(window, a);
    assert_int_equal(window_watermark(window), 12);
    assert_true(window_wants_commit(window));
    window_complete(window, c);
    assert_int_equal(window_watermark(window), 13);
    assert_int_equal(window_span(window), 0);
    window_destroy(window);
}

static void gaps_of_compaction_are_no_work(void **state)
{
    (void)state;
    struct window *window = fresh();
    uint64_t a = deliver(window, 5);
    uint64_t b = deliver(window, 900);
    window_complete(window, a);
    assert_int_equal(window_watermark(window), 900);
    window_complete(window, b);
    assert_int_equal(window_watermark(window), 901);
    window_destroy(window);
}

static void committed_watermark_is_not_committed_again(void **state)
{
    (void)state;
    struct window *window = fresh();
    window_complete(window, deliver(window, 0));
    assert_true(window_wants_commit(window));
    window->committed = window_watermark(window);
    assert_false(window_wants_commit(window));
    window_destroy(window);
}

/* Against a plain model, over random orders, through many growths of the ring. */
static void agrees_with_a_plain_model(void **state)
{
    (void)state;
    enum { RECORDS = 3000 };
    struct random random = {42};
    static int64_t offsets[RECORDS];
    static uint64_t slots[RECORDS];
    static int done[RECORDS];
    struct window *window = fresh();
    int delivered = 0;
    int completed = 0;
    int64_t offset = 100;
    while (completed < RECORDS) {
        if (delivered < RECORDS && random_below(&random, 2)) {
            offset += 1 + (int64_t)random_below(&random, 3);
            offsets[delivered] = offset;
            slots[delivered] = deliver(window, offset);
            delivered++;
        } else if (delivered > completed) {
            int pick = (int)random_below(&random, (uint64_t)delivered);
            while (done[pick])
                pick = (pick + 1) % delivered;
            done[pick] = 1;
            completed++;
            window_complete(window, slots[pick]);
        }
        int64_t expected = delivered ? offset + 1 : -1;
        for (int i = delivered - 1; i >= 0; i--) {
            if (!done[i])
                expected = offsets[i];
        }
        assert_int_equal(window_watermark(window), expected);
        assert_int_equal(window_unfinished(window), delivered - completed);
    }
    window_destroy(window);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_delivered_says_nothing),
        cmocka_unit_test(first_incomplete_is_the_watermark),
        cmocka_unit_test(gaps_of_compaction_are_no_work),
        cmocka_unit_test(committed_watermark_is_not_committed_again),
        cmocka_unit_test(agrees_with_a_plain_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
