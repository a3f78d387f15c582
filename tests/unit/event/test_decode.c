/* decode.c and scratch.c: what is JSON, what is an event, and what the tree may cost. */
#include "reading.h"

#include "scratch.h"

#define KEY "'phone_number':'4155551234','list_number':'8335550100'"

struct row {
    const char *event; /* ' for " */
    enum death_code death;
    const char *message; /* a part of it, or NULL */
};

static const struct row rows[] = {
    {"{" KEY "}", DEATH_NONE, NULL},
    {" \r\n\t{" KEY "} \r\n\t", DEATH_NONE, NULL},
    {"\xEF\xBB\xBF{" KEY "}", DEATH_NONE, NULL},
    {"\xEF\xBB\xBF  {" KEY "}", DEATH_NONE, NULL},
    {"{" KEY ",'x':9223372036854775807}", DEATH_NONE, NULL},
    {"{" KEY ",'x':-9223372036854775808}", DEATH_NONE, NULL},
    {"{" KEY ",'x':'\\ud83d\\ude00'}", DEATH_NONE, NULL},
    {"{" KEY ",'x':{'a':{'b':[1,[2]]}}}", DEATH_NONE, NULL},
    {"", DEATH_EMPTY_EVENT, "no value"},
    {" ", DEATH_EMPTY_EVENT, NULL},
    {" \t\r\n ", DEATH_EMPTY_EVENT, NULL},
    {"\xEF\xBB\xBF", DEATH_EMPTY_EVENT, NULL},
    {"\xEF\xBB\xBF \n", DEATH_EMPTY_EVENT, NULL},
    {"null", DEATH_NOT_AN_OBJECT, "null"},
    {"[]", DEATH_NOT_AN_OBJECT, "a list"},
    {"[{" KEY "}]", DEATH_NOT_AN_OBJECT, "a list"},
    {"'text'", DEATH_NOT_AN_OBJECT, "text"},
    {"42", DEATH_NOT_AN_OBJECT, "a number"},
    {"4.2", DEATH_NOT_AN_OBJECT, "a number"},
    {"true", DEATH_NOT_AN_OBJECT, "true or false"},
    {"{", DEATH_MALFORMED_JSON, "too early"},
    {"{" KEY, DEATH_MALFORMED_JSON, "too early"},
    {"{'phone_number':'415", DEATH_MALFORMED_JSON, "too early"},
    {"{" KEY ",}", DEATH_MALFORMED_JSON, NULL},
    {"{" KEY "}}", DEATH_MALFORMED_JSON, "follows"},
    {"{" KEY "}{" KEY "}", DEATH_MALFORMED_JSON, "follows"},
    {"{" KEY "} x", DEATH_MALFORMED_JSON, "follows"},
    {"{phone_number:'4155551234'}", DEATH_MALFORMED_JSON, "does not belong"},
    {"{" KEY "} // comment", DEATH_MALFORMED_JSON, NULL},
    {"{" KEY ",'x':NaN}", DEATH_MALFORMED_JSON, NULL},
    {"{" KEY ",'x':01}", DEATH_MALFORMED_JSON, NULL},
    {"{" KEY ",'x':+1}", DEATH_MALFORMED_JSON, NULL},
    {"{" KEY ",'x':True}", DEATH_MALFORMED_JSON, NULL},
    {"{" KEY ",'x':'a\nb'}", DEATH_MALFORMED_JSON, NULL},
    {"{" KEY ",'phone_number':'4155551234'}", DEATH_MALFORMED_JSON, "twice"},
    {"{" KEY ",'x':1,'\\u0078':1}", DEATH_MALFORMED_JSON, "twice"},
    {"{" KEY ",'custom_fields':{'a':1,'a':1}}", DEATH_MALFORMED_JSON, "twice"},
    {"{" KEY ",'x':'a\\u0000b'}", DEATH_MALFORMED_JSON, "NUL"},
    {"{" KEY ",'x\\u0000':1}", DEATH_MALFORMED_JSON, "NUL"},
    {"{" KEY ",'x':9223372036854775808}", DEATH_MALFORMED_JSON, "64 bits"},
    {"{" KEY ",'x':-9223372036854775809}", DEATH_MALFORMED_JSON, "64 bits"},
    {"{" KEY ",'x':1e400}", DEATH_MALFORMED_JSON, "64 bits"},
    {"{" KEY ",'x':'\xff'}", DEATH_MALFORMED_JSON, "UTF-8"},
    {"{" KEY ",'x':'\xc0\xaf'}", DEATH_MALFORMED_JSON, "UTF-8"},
    {"{" KEY ",'x':'\xed\xa0\x80'}", DEATH_MALFORMED_JSON, "UTF-8"},
    {"{" KEY ",'x':'\\ud800'}", DEATH_MALFORMED_JSON, NULL},
    {"{" KEY ",'x':'\\udc00'}", DEATH_MALFORMED_JSON, NULL},
    {"\xff\xfe{", DEATH_MALFORMED_JSON, NULL},
    {"\xEF\xBB", DEATH_MALFORMED_JSON, NULL},
    {"\xEF\xBB\xBF\xEF\xBB\xBF{" KEY "}", DEATH_MALFORMED_JSON, NULL},
    {"phone_number=4155551234", DEATH_MALFORMED_JSON, NULL},
    {"<signup/>", DEATH_MALFORMED_JSON, NULL},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct reading r;
        reading_of(&r, rows[i].event);
        ROW_CHECK(r.signup.death == rows[i].death, rows[i].event);
        ROW_CHECK(slice_present(r.signup.death_message) == (rows[i].death != DEATH_NONE), rows[i].event);
        ROW_CHECK(!rows[i].message || slice_has(r.signup.death_message, rows[i].message), rows[i].event);
        ROW_CHECK(slice_present(r.signup.body) == (rows[i].death == DEATH_NONE), rows[i].event);
        ROW_CHECK(slice_is(r.signup.event_id, READING_POSITION), rows[i].event);
        /* The payload is nobody's business: not a byte of it is quoted. */
        ROW_CHECK(!slice_has(r.signup.death_message, "415"), rows[i].event);
        reading_fini(&r);
    }
}

static void test_tombstone(void **state)
{
    (void)state;
    struct reading r;
    reading_init_event(&r, "");
    r.record.value = SLICE_ABSENT;
    reading_run(&r);
    assert_int_equal(r.signup.death, DEATH_EMPTY_EVENT);
    reading_fini(&r);
}

/* An event of exactly `bytes`, filled up in a field that nobody reads. */
static void reading_of_size(struct reading *r, size_t bytes)
{
    static const char head[] = "{'phone_number':'4155551234','list_number':'8335550100','unknown':'";
    char *event = malloc(bytes + 1);
    assert_non_null(event);
    memset(event, 'x', bytes);
    memcpy(event, head, sizeof head - 1);
    event[bytes - 2] = '\'';
    event[bytes - 1] = '}';
    event[bytes] = '\0';
    reading_of(r, event);
    free(event);
}

static void test_size_limit_is_inclusive(void **state)
{
    (void)state;
    struct reading r;
    reading_of_size(&r, 262144);
    assert_int_equal(r.signup.death, DEATH_NONE);
    reading_fini(&r);
    reading_of_size(&r, 262145);
    assert_int_equal(r.signup.death, DEATH_EVENT_TOO_LARGE);
    assert_true(slice_has(r.signup.death_message, "262,144"));
    reading_fini(&r);
}

/* Fills an event of the largest size with `unit` after `unit`: the shapes that grow most when parsed. */
static void check_dense(const char *head, const char *unit, const char *tail, enum death_code death)
{
    struct reading r;
    struct buf event;
    size_t tail_len = strlen(tail);
    buf_init(&event, EVENT_BYTES_MAX + 1);
    buf_append_str(&event, head);
    while (event.len + strlen(unit) + tail_len <= EVENT_BYTES_MAX)
        buf_append_str(&event, unit);
    event.len--; /* the last comma */
    buf_append_str(&event, tail);
    buf_append_char(&event, '\0');
    assert_true(buf_ok(&event));
    reading_of(&r, event.data);
    ROW_CHECK(r.signup.death == death, unit);
    reading_fini(&r);
    buf_fini(&event);
}

static void test_dense_events_fit_the_scratch(void **state)
{
    (void)state;
    static const char head[] = "{" KEY ",'x':[";
    check_dense(head, "{},", "]}", DEATH_NONE);
    check_dense(head, "[],", "]}", DEATH_NONE);
    check_dense(head, "'',", "]}", DEATH_NONE);
    check_dense(head, "1,", "]}", DEATH_NONE);
    check_dense(head, "{'':1},", "]}", DEATH_NONE);
    check_dense(head, "[[[[[[[[]]]]]]]],", "]}", DEATH_NONE);
    check_dense("{" KEY ",'consent':{'x':[", "1e9,", "]}}", DEATH_NONE);
    check_dense("{" KEY ",'consent':{'x':[", "{},", "]}}", DEATH_NONE);
}

/* Many members, all different, in sorted and unsorted order; consent has no limit of its own,
 * custom_fields the API's 4,000 bytes. */
static void test_many_members(void **state)
{
    (void)state;
    static const char *const fields[] = {"consent", "custom_fields", "unknown"};
    static const enum death_code deaths[] = {DEATH_NONE, DEATH_PAYLOAD_TOO_LARGE, DEATH_NONE};
    for (size_t f = 0; f < COUNT_OF(fields); f++) {
        struct buf event;
        struct reading r;
        buf_init(&event, EVENT_BYTES_MAX + 1);
        buf_printf(&event, "{" KEY ",'%s':{", fields[f]);
        for (int i = 0; i < 20000; i++)
            buf_printf(&event, "%s'%x':1", i ? "," : "", (unsigned)i * 7919U % 32768U);
        buf_append_str(&event, "}}");
        buf_append_char(&event, '\0');
        assert_true(buf_ok(&event));
        reading_of(&r, event.data);
        ROW_CHECK(r.signup.death == deaths[f], fields[f]);
        reading_fini(&r);
        buf_fini(&event);
    }
}

static void check_depth(unsigned depth, const char *field, enum death_code death)
{
    struct buf event;
    struct reading r;
    buf_init(&event, EVENT_BYTES_MAX);
    buf_printf(&event, "{" KEY ",'%s':", field);
    for (unsigned i = 0; i < depth; i++)
        buf_append_str(&event, "{'a':");
    buf_append_str(&event, "1");
    for (unsigned i = 0; i < depth; i++)
        buf_append_str(&event, "}");
    buf_append_str(&event, "}");
    buf_append_char(&event, '\0');
    assert_true(buf_ok(&event));
    reading_of(&r, event.data);
    assert_int_equal(r.signup.death, death);
    if (death == DEATH_MALFORMED_JSON)
        assert_true(slice_has(r.signup.death_message, "nesting"));
    reading_fini(&r);
    buf_fini(&event);
}

static void test_depth(void **state)
{
    (void)state;
    check_depth(2000, "consent", DEATH_NONE);
    check_depth(2000, "custom_fields", DEATH_NONE);
    check_depth(3000, "consent", DEATH_MALFORMED_JSON);
}

/* Other rooms use jansson too: what they hold lives through a reading, and is malloc's. */
static void test_other_trees_live_on(void **state)
{
    (void)state;
    json_error_t error;
    struct reading r;
    json_t *before = json_loads("{\"a\":[1,2,{\"b\":\"text\"}]}", 0, &error);
    assert_non_null(before);
    reading_of(&r, "{" KEY ",'custom_fields':{'a':'b'}}");
    assert_int_equal(r.signup.death, DEATH_NONE);
    json_t *after = json_loads("{\"a\":[1,2,{\"b\":\"text\"}]}", 0, &error);
    assert_non_null(after);
    assert_true(json_equal(before, after));
    json_decref(before);
    reading_fini(&r);
    reading_of(&r, "{" KEY "}");
    json_t *text = json_object_get(json_array_get(json_object_get(after, "a"), 2), "b");
    assert_string_equal(json_string_value(text), "text");
    json_decref(after);
    reading_fini(&r);
}

static void test_scratch_has_an_end(void **state)
{
    (void)state;
    scratch_prepare();
    scratch_begin();
    char *first = scratch_alloc(1);
    assert_non_null(first);
    assert_null(scratch_alloc(SCRATCH_BYTES));
    assert_null(scratch_alloc(SIZE_MAX - 8));
    size_t taken = 0;
    while (scratch_alloc((size_t)1 << 20))
        taken++;
    assert_int_equal(taken, 47);
    *first = 'x';
    scratch_free(first); /* nothing happens */
    assert_int_equal(*first, 'x');
    scratch_end();
    char *outside = scratch_alloc(16);
    assert_non_null(outside);
    memset(outside, 0, 16);
    scratch_free(outside);
    scratch_begin();
    assert_ptr_equal(scratch_alloc(1), first);
    scratch_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_tombstone),
        cmocka_unit_test(test_size_limit_is_inclusive),
        cmocka_unit_test(test_dense_events_fit_the_scratch),
        cmocka_unit_test(test_many_members),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_other_trees_live_on),
        cmocka_unit_test(test_scratch_has_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
