/* Proves the small things everything stands on: arenas keep their cap, buffers latch, times and JSON text are exact, phones are masked. */
#include "signup/base/arena.h"
#include "signup/base/buf.h"
#include "signup/base/clock.h"
#include "signup/base/log.h"
#include "signup/base/outcome.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void arena_keeps_its_cap(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 100000);
    size_t got = 0;
    while (arena_alloc(&arena, 1000))
        got++;
    assert_in_range(got, 60, 100);
    assert_true(arena.held_bytes <= 100000);
    arena_fini(&arena);
    assert_int_equal(arena.held_bytes, 0);
    struct slice copy = arena_copy(&arena, SLICE_LITERAL("again"));
    assert_true(slice_is(copy, "again"));
    assert_int_equal(copy.ptr[copy.len], 0);
    arena_fini(&arena);
}

static void arena_refuses_the_absurd(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, SIZE_MAX);
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 8));
    arena_fini(&arena);
}

static void buf_latches_at_its_cap(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 300);
    for (int i = 0; i < 100; i++)
        buf_append_str(&buf, "0123456789");
    assert_false(buf_ok(&buf));
    buf_append_str(&buf, "x");
    assert_false(buf_ok(&buf));
    buf_reset(&buf);
    buf_append_str(&buf, "x");
    assert_true(buf_ok(&buf));
    assert_true(slice_is(buf_slice(&buf), "x"));
    buf_fini(&buf);
}

static void json_strings_are_escaped(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1000);
    buf_append_json_string(&buf, SLICE_LITERAL("a\"b\\c\n\x01 \xC3\xA9 /"));
    assert_true(buf_ok(&buf));
    assert_true(slice_is(buf_slice(&buf), "\"a\\\"b\\\\c\\n\\u0001 \xC3\xA9 /\""));
    buf_fini(&buf);
}

static void numbers_read_back(void **state)
{
    (void)state;
    static const double values[] = {0.1, 1234567890.123456789, 1e300, 5e-324, 3, -2.5, 1e21, 0.30000000000000004};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct buf buf;
        buf_init(&buf, 100);
        buf_append_json_real(&buf, values[i]);
        buf_append_char(&buf, '\0');
        assert_true(buf_ok(&buf));
        assert_true(strtod(buf.data, NULL) == values[i]);
        buf_fini(&buf);
    }
    struct buf buf;
    buf_init(&buf, 100);
    buf_append_int(&buf, INT64_MIN);
    buf_append_char(&buf, ' ');
    buf_append_int(&buf, 0);
    assert_true(slice_is(buf_slice(&buf), "-9223372036854775808 0"));
    buf_fini(&buf);
}

static void wall_times_are_exact(void **state)
{
    (void)state;
    static const struct {
        int64_t s;
        const char *text;
    } rows[] = {{0, "1970-01-01T00:00:00Z"},
                {951782400, "2000-02-29T00:00:00Z"},
                {1741962600, "2025-03-14T14:30:00Z"},
                {-1, "1969-12-31T23:59:59Z"},
                {INT64_C(4102444799), "2099-12-31T23:59:59Z"},
                {INT64_C(99999999999999), "9999-12-31T23:59:59Z"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[WALL_TEXT_BYTES];
        int64_t s = rows[i].s > INT64_MAX / US_PER_S ? INT64_MAX / US_PER_S : rows[i].s;
        wall_format_utc((wall_us_t){s * US_PER_S}, text);
        assert_string_equal(text, rows[i].text);
    }
    char text[WALL_TEXT_MS_BYTES];
    wall_format_utc_ms((wall_us_t){1741962600 * US_PER_S + 7000}, text);
    assert_string_equal(text, "2025-03-14T14:30:00.007Z");
    wall_format_utc_ms((wall_us_t){-1000}, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
}

static void phones_are_masked(void **state)
{
    (void)state;
    char text[PHONE_MASK_BYTES];
    phone_mask(SLICE_LITERAL("+14155551234"), text);
    assert_string_equal(text, "+1********34");
    phone_mask(SLICE_LITERAL("12345"), text);
    assert_string_equal(text, "*****");
    char out[128];
    text_mask_phones(SLICE_LITERAL("bad phone (415) 555-1234, list 12 of 99"), out, sizeof out);
    assert_null(strstr(out, "555"));
    assert_non_null(strstr(out, "list 12 of 99"));
    text_mask_phones(SLICE_LITERAL("+14155551234"), out, sizeof out);
    assert_null(strstr(out, "5551"));
    char small[6];
    text_mask_phones(SLICE_LITERAL("abc\xC3\xA9\xC3\xA9"), small, sizeof small);
    assert_string_equal(small, "abc");
}

static void codes_are_cut_at_characters(void **state)
{
    (void)state;
    char longest[400];
    memset(longest, 'x', sizeof longest);
    longest[318] = '\xC3';
    longest[319] = '\xA9';
    longest[399] = '\0';
    struct outcome outcome;
    outcome_set(&outcome, OUTCOME_SERVER, 500, "c", longest, true);
    assert_int_equal(strlen(outcome.message), 318);
    outcome_set(&outcome, OUTCOME_SERVER, 500, NULL, NULL, true);
    assert_string_equal(outcome.code, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_keeps_its_cap),      cmocka_unit_test(arena_refuses_the_absurd),
        cmocka_unit_test(buf_latches_at_its_cap),   cmocka_unit_test(json_strings_are_escaped),
        cmocka_unit_test(numbers_read_back),        cmocka_unit_test(wall_times_are_exact),
        cmocka_unit_test(phones_are_masked),        cmocka_unit_test(codes_are_cut_at_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
