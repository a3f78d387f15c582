/* record.c: copies that borrow nothing, positions, headers. */
#include "reading.h"

static const struct record_header some_headers[] = {
    {SLICE_LITERAL("traceparent"), SLICE_LITERAL("first")},
    {SLICE_LITERAL("null"), {NULL, 0}},
    {SLICE_LITERAL("traceparent"), SLICE_LITERAL("second")},
    {SLICE_LITERAL("empty"), SLICE_LITERAL("")},
};

static struct record some_record(void)
{
    return (struct record){
        .topic = SLICE_LITERAL("signups"),
        .partition = 7,
        .offset = INT64_C(9000000000),
        .timestamp_ms = 5,
        .key = SLICE_LITERAL(""),
        .value = SLICE_LITERAL("{}"),
        .headers = some_headers,
        .header_count = COUNT_OF(some_headers),
        .epoch = 11,
    };
}

static void test_copy_is_equal_and_its_own(void **state)
{
    (void)state;
    struct arena arena;
    struct record from = some_record();
    struct record to;
    arena_init(&arena, 65536);
    assert_true(record_copy(&arena, &from, &to));
    assert_true(slice_equal(to.topic, from.topic) && to.topic.ptr != from.topic.ptr);
    assert_true(slice_equal(to.value, from.value) && to.value.ptr != from.value.ptr);
    assert_true(slice_present(to.key) && to.key.len == 0);
    assert_int_equal(to.partition, 7);
    assert_true(to.offset == from.offset && to.timestamp_ms == 5 && to.epoch == 11);
    assert_int_equal(to.header_count, 4);
    assert_true(to.headers != from.headers);
    for (size_t i = 0; i < to.header_count; i++) {
        assert_true(slice_equal(to.headers[i].name, from.headers[i].name));
        assert_true(slice_equal(to.headers[i].value, from.headers[i].value));
    }
    arena_fini(&arena);
}

static void test_copy_keeps_absence(void **state)
{
    (void)state;
    struct arena arena;
    struct record from = {.topic = SLICE_LITERAL("t"), .timestamp_ms = -1};
    struct record to;
    arena_init(&arena, 65536);
    assert_true(record_copy(&arena, &from, &to));
    assert_false(slice_present(to.key));
    assert_false(slice_present(to.value));
    assert_int_equal(to.header_count, 0);
    arena_fini(&arena);
}

static void test_copy_fails_whole_in_a_full_arena(void **state)
{
    (void)state;
    struct record from = some_record();
    size_t failed = 0;
    for (size_t cap = 0; cap < 1024; cap += 16) {
        struct arena arena;
        struct record to = {.partition = -5};
        arena_init(&arena, cap);
        if (!record_copy(&arena, &from, &to)) {
            assert_int_equal(to.partition, -5);
            failed++;
        }
        arena_fini(&arena);
    }
    assert_true(failed > 0 && failed < 64);
}

static void test_position(void **state)
{
    (void)state;
    struct arena arena;
    struct record record = some_record();
    arena_init(&arena, 4096);
    assert_string_equal(record_position(&arena, &record).ptr, "signups:7:9000000000");
    record.partition = INT32_MIN;
    record.offset = INT64_MIN;
    assert_string_equal(record_position(&arena, &record).ptr, "signups:-2147483648:-9223372036854775808");
    arena_fini(&arena);
    arena_init(&arena, 0);
    assert_false(slice_present(record_position(&arena, &record)));
    arena_fini(&arena);
}

static void test_header_value(void **state)
{
    (void)state;
    struct record record = some_record();
    assert_true(slice_is(record_header_value(&record, "traceparent"), "second"));
    assert_false(slice_present(record_header_value(&record, "null")));
    assert_true(slice_is(record_header_value(&record, "empty"), ""));
    assert_false(slice_present(record_header_value(&record, "Traceparent")));
    assert_false(slice_present(record_header_value(&record, "")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy_is_equal_and_its_own), cmocka_unit_test(test_copy_keeps_absence),
        cmocka_unit_test(test_copy_fails_whole_in_a_full_arena), cmocka_unit_test(test_position),
        cmocka_unit_test(test_header_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
