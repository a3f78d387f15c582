/* Proves that the due heap gives the earliest first, also after removals from its middle. */
#include "heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "backoff.h"

static void earliest_first_under_random_removal(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    struct random random = {5};
    struct heap heap = {0};
    struct delivery *all = calloc(COUNT, sizeof *all);
    assert_non_null(all);
    assert_true(heap_reserve(&heap, COUNT));
    for (int i = 0; i < COUNT; i++) {
        all[i].heap_index = HEAP_NONE;
        heap_push(&heap, &all[i], (mono_us_t){(int64_t)random_below(&random, 1000)});
    }
    for (int i = 0; i < COUNT; i += 3)
        heap_remove(&heap, &all[i]);
    int64_t last = -1;
    size_t left = 0;
    struct delivery *dl;
    while ((dl = heap_top(&heap))) {
        assert_true(dl->due.us >= last);
        last = dl->due.us;
        heap_remove(&heap, dl);
        assert_int_equal(dl->heap_index, HEAP_NONE);
        left++;
    }
    assert_int_equal(left, COUNT - (COUNT + 2) / 3);
    heap_fini(&heap);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(earliest_first_under_random_removal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
