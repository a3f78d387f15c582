/* Names, copies and overflow of custom fields, and the bounds of attribution: what does not fit into a
 * table's row. */
#include "reading.h"

#include "attribution.h"
#include "body_check.h"
#include "custom_fields.h"
#include "table_settings.h"

#include <stdio.h>

#define KEY "'phone_number':'4155551234','list_number':'8335550100'"

/* An event in the making; members are appended, with ' for ". */
struct event {
    struct buf text;
    struct reading reading;
};

static void event_init(struct event *e)
{
    buf_init(&e->text, EVENT_BYTES_MAX);
    buf_append_str(&e->text, "{" KEY);
}

static void append_times(struct buf *out, const char *text, size_t times)
{
    for (size_t i = 0; i < times; i++)
        buf_append_str(out, text);
}

/* Reads it under the named rules; the text is used up. */
static struct signup *event_read(struct event *e, const char *setting)
{
    buf_append_str(&e->text, "}");
    buf_append_char(&e->text, '\0');
    assert_true(buf_ok(&e->text));
    reading_init_event(&e->reading, e->text.data);
    e->reading.rules = *setting_named(setting);
    reading_run(&e->reading);
    buf_fini(&e->text);
    return &e->reading.signup;
}

static void event_fini(struct event *e)
{
    reading_fini(&e->reading);
}

static void check_name_of(size_t bytes, bool sent)
{
    struct event e;
    event_init(&e);
    buf_append_str(&e.text, ",'custom_fields':{'z':1,'\xC3\xA9");
    append_times(&e.text, "n", bytes - 2);
    buf_append_str(&e.text, "':2}");
    const struct signup *signup = event_read(&e, "");
    assert_int_equal(signup->death, DEATH_NONE);
    assert_int_equal(slice_has(signup->body, "nnn"), sent);
    assert_true(slice_has(signup->body, "'z':1"));
    assert_int_equal(warnings_count(signup), !sent);
    assert_true(sent || slice_has(signup->warnings->message, "its name is longer than 255 bytes"));
    event_fini(&e);
}

static void test_length_of_a_name(void **state)
{
    (void)state;
    check_name_of(254, true);
    check_name_of(255, true);
    check_name_of(256, false);
    check_name_of(3000, false);
}

static void check_copy_of(size_t bytes, bool sent)
{
    struct event e;
    event_init(&e);
    buf_append_str(&e.text, ",'consent':{'text':'");
    append_times(&e.text, "x", bytes);
    buf_append_str(&e.text, "'}");
    const struct signup *signup = event_read(&e, "copy");
    assert_int_equal(signup->death, DEATH_NONE);
    assert_int_equal(slice_has(signup->body, "'custom_fields':{'consent_text':'xxx"), sent);
    assert_int_equal(warnings_count(signup), !sent);
    assert_true(sent ||
                slice_has(signup->warnings->message, "custom_fields.consent_text was dropped: the part"));
    assert_int_equal(signup->consent.len, bytes + strlen("{\"text\":\"\"}")); /* the ledger has it whole */
    event_fini(&e);
}

static void test_length_of_a_copy(void **state)
{
    (void)state;
    check_copy_of(CUSTOM_COPY_BYTES_MAX, true);
    check_copy_of(CUSTOM_COPY_BYTES_MAX + 1, false);
    check_copy_of(20000, false);
}

/* Custom fields "a0", "b1", …, each with a text of the given length. */
static void append_fields(struct event *e, const size_t *lengths, size_t count)
{
    buf_append_str(&e->text, ",'custom_fields':{");
    for (size_t i = 0; i < count; i++) {
        buf_printf(&e->text, "%s'%c%zu':'", i ? "," : "", (char)('a' + i % 26), i);
        append_times(&e->text, "x", lengths[i]);
        buf_append_str(&e->text, "'");
    }
    buf_append_str(&e->text, "}");
}

struct overflow_row {
    size_t lengths[4];
    size_t count;
    const char *kept;    /* in the body; NULL: no custom fields at all */
    const char *warning; /* of the only one; NULL: none */
};

static void test_drop_largest(void **state)
{
    (void)state;
    static const struct overflow_row rows[] = {
        {{1000, 1000, 1000, 100}, 4, "'d3':'x", NULL},
        {{3000, 1000, 10, 10},
         4,
         "'custom_fields':{'b1':'xx",
         "custom_fields.a0 was dropped: the contact would have more"},
        {{10, 1000, 3000, 10},
         4,
         "'custom_fields':{'a0':'xxxxxxxxxx','b1':'xx",
         "custom_fields.c2 was dropped"},
        {{5000, 5000, 5000, 7},
         4,
         "'custom_fields':{'d3':'xxxxxxx'}",
         "custom_fields.a0, custom_fields.b1, custom_fields.c2 were"},
        {{2000, 2000, 2000, 2000},
         4,
         "'custom_fields':{'d3':'xx",
         "custom_fields.a0, custom_fields.b1, custom_fields.c2 were"},
        {{5000, 0, 0, 0}, 1, NULL, "custom_fields.a0 was dropped"},
        {{9000, 9000, 9000, 9000},
         4,
         NULL,
         "custom_fields.a0, custom_fields.b1, custom_fields.c2, custom_fields.d3 were"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct event e;
        char room[64];
        char row[32];
        snprintf(row, sizeof row, "%zu", i);
        event_init(&e);
        append_fields(&e, rows[i].lengths, rows[i].count);
        const struct signup *signup = event_read(&e, "drop");
        ROW_CHECK(signup->death == DEATH_NONE && signup->body.len <= CONTACT_BYTES_MAX, row);
        ROW_CHECK(!body_check(signup->body, room), row);
        ROW_CHECK(slice_present(signup->custom_fields) == (rows[i].kept != NULL), row);
        ROW_CHECK(slice_has(signup->body, rows[i].kept ? rows[i].kept : "'override_custom_fields'"), row);
        ROW_CHECK(rows[i].kept || !slice_has(signup->body, "'custom_fields':"), row);
        ROW_CHECK(warnings_count(signup) == (rows[i].warning != NULL), row);
        ROW_CHECK(!rows[i].warning || slice_has(signup->warnings->message, rows[i].warning), row);
        event_fini(&e);
    }
}

/* Only when it must: of a body of exactly 4,000 bytes nothing is dropped, of one byte more the largest. */
static void test_drop_no_more_than_needed(void **state)
{
    (void)state;
    size_t missing = 0;
    for (size_t turn = 0; turn < 3; turn++) {
        const size_t lengths[] = {1700, 1600, 300 + missing};
        struct event e;
        event_init(&e);
        append_fields(&e, lengths, 3);
        const struct signup *signup = event_read(&e, "drop");
        assert_int_equal(signup->death, DEATH_NONE);
        assert_int_equal(warnings_count(signup), turn == 2);
        assert_int_equal(slice_has(signup->body, "'a0'"), turn < 2);
        assert_true(slice_has(signup->body, "'b1'") && slice_has(signup->body, "'c2'"));
        assert_true(turn != 1 || signup->body.len == CONTACT_BYTES_MAX);
        missing = turn == 0 ? CONTACT_BYTES_MAX - signup->body.len : missing + 1;
        event_fini(&e);
    }
}

static void test_drop_many(void **state)
{
    (void)state;
    struct event e;
    char room[64];
    size_t lengths[600];
    for (size_t i = 0; i < COUNT_OF(lengths); i++)
        lengths[i] = i % 90;
    event_init(&e);
    append_fields(&e, lengths, COUNT_OF(lengths));
    const struct signup *signup = event_read(&e, "drop");
    assert_int_equal(signup->death, DEATH_NONE);
    assert_null(body_check(signup->body, room));
    assert_true(signup->body.len > CONTACT_BYTES_MAX - 100);
    assert_int_equal(warnings_count(signup), 1);
    assert_true(slice_has(signup->warnings->message,
                          " more were dropped: the contact would have more than 4,000 bytes"));
    assert_true(signup->warnings->message.len < 300);
    event_fini(&e);
}

/* A URL that leaves no room: custom fields cannot help, and none is said to be dropped. */
static void test_drop_cannot_help(void **state)
{
    (void)state;
    struct event e;
    event_init(&e);
    buf_append_str(&e.text, ",'custom_fields':{'a':'b'},'url':'https://example.com/");
    append_times(&e.text, "x", 4000);
    buf_append_str(&e.text, "'");
    const struct signup *signup = event_read(&e, "drop");
    assert_int_equal(signup->death, DEATH_PAYLOAD_TOO_LARGE);
    assert_false(slice_present(signup->body));
    assert_int_equal(warnings_count(signup), 0);
    event_fini(&e);
}

static void test_dead_is_as_ever(void **state)
{
    (void)state;
    const size_t lengths[] = {3000, 1000};
    struct event e;
    event_init(&e);
    append_fields(&e, lengths, 2);
    const struct signup *signup = event_read(&e, "");
    assert_int_equal(signup->death, DEATH_PAYLOAD_TOO_LARGE);
    assert_int_equal(warnings_count(signup), 0);
    assert_true(slice_has(signup->custom_fields, "'a0'")); /* what was read is told */
    event_fini(&e);
}

/* What the route adds is dropped like anything else, and the largest first. */
static void test_drop_what_the_route_adds(void **state)
{
    (void)state;
    static char long_text[3001];
    memset(long_text, 'r', sizeof long_text - 1);
    const struct event_custom_field added[] = {
        {NAME("large"), {.kind = EVENT_CONSTANT_TEXT, .text = {long_text, sizeof long_text - 1}}},
        {NAME("small"), {.kind = EVENT_CONSTANT_INTEGER, .integer = 1}},
    };
    const struct event_route route = {
        .name = NAME("all"), NOTHING_CHOSEN, .custom_fields = added, .custom_field_count = 2};
    const size_t lengths[] = {1000};
    struct event e;
    event_init(&e);
    append_fields(&e, lengths, 1);
    buf_append_str(&e.text, "}");
    buf_append_char(&e.text, '\0');
    reading_init_event(&e.reading, e.text.data);
    buf_fini(&e.text);
    e.reading.rules.overflow = EVENT_OVERFLOW_DROP_LARGEST;
    e.reading.rules.routes = &route;
    e.reading.rules.route_count = 1;
    reading_run(&e.reading);
    assert_int_equal(e.reading.signup.death, DEATH_NONE);
    assert_true(slice_has(e.reading.signup.body, "'a0':'xx"));
    assert_true(slice_has(e.reading.signup.body, ",'small':1}"));
    assert_true(slice_has(e.reading.signup.warnings->message, "custom_fields.large was dropped"));
    event_fini(&e);
}

/* ---- attribution */

static void check_value_of(size_t bytes, bool kept)
{
    struct event e;
    event_init(&e);
    buf_append_str(&e.text, ",'url':'https://example.com/?fbclid=F&gclid=");
    append_times(&e.text, "%78", bytes);
    buf_append_str(&e.text, "'");
    const struct signup *signup = event_read(&e, "ads");
    assert_int_equal(signup->death, DEATH_NONE);
    assert_true(slice_is(signup->ad_network_source, kept ? "adwords" : "facebook"));
    assert_int_equal(slice_has(signup->attribution, "'gclid':'xxx"), kept);
    assert_true(slice_has(signup->attribution, "'fbclid':'F'"));
    event_fini(&e);
}

static void test_length_of_a_click_id(void **state)
{
    (void)state;
    check_value_of(300, true);
    check_value_of(ATTRIBUTION_VALUE_BYTES_MAX, true);
    check_value_of(ATTRIBUTION_VALUE_BYTES_MAX + 1, false);
    check_value_of(1200, false);
}

/* Many parameters and long ones: the object never passes its bound, and what decides is found all the same.
 */
static void test_attribution_is_bounded(void **state)
{
    (void)state;
    for (size_t count = 1; count < 260; count += 7) {
        struct event e;
        event_init(&e);
        buf_append_str(&e.text, ",'url':'https://example.com/?");
        for (size_t i = 0; i < count; i++)
            buf_printf(&e.text, "utm_p%zu=%s&", i, i % 5 ? "v" : "a%22longer%5Cvalue");
        buf_append_str(&e.text, "gclid=x','attribution':{'own':'");
        append_times(&e.text, "o", 500);
        buf_append_str(&e.text, "'}");
        const struct signup *signup = event_read(&e, "ads");
        json_error_t error;
        json_t *object =
            json_loadb(signup->attribution.ptr, signup->attribution.len, JSON_REJECT_DUPLICATES, &error);
        assert_true(json_is_object(object));
        assert_true(signup->attribution.len <= ATTRIBUTION_BYTES_MAX);
        assert_non_null(json_object_get(object, "own"));
        assert_true(count > 190 || slice_is(signup->ad_network_source, "adwords"));
        json_decref(object);
        event_fini(&e);
    }
}

static void check_last_member_of(size_t bytes, bool kept)
{
    struct event e;
    event_init(&e);
    buf_append_str(&e.text, ",'attribution':{");
    for (size_t i = 0; i < 4; i++) {
        buf_printf(&e.text, "%s'%c':'", i ? "," : "", (char)('a' + i));
        append_times(&e.text, "o", i < 3 ? ATTRIBUTION_VALUE_BYTES_MAX : bytes);
        buf_append_str(&e.text, "'");
    }
    buf_append_str(&e.text, "}");
    const struct signup *signup = event_read(&e, "");
    assert_int_equal(slice_has(signup->attribution, ",'d':'oo"), kept);
    assert_int_equal(signup->attribution.len == ATTRIBUTION_BYTES_MAX, kept);
    assert_int_equal(warnings_count(signup), !kept);
    assert_true(kept || slice_has(signup->warnings->message, "attribution.d was dropped: all of it has at most"));
    event_fini(&e);
}

/* Three members of `"a":"…512…"` with their commas leave room for `"d":"…483…"`. */
static void test_attribution_bound_is_inclusive(void **state)
{
    (void)state;
    check_last_member_of(483, true);
    check_last_member_of(484, false);
}

static void test_attribution_of_large_members(void **state)
{
    (void)state;
    struct event e;
    event_init(&e);
    buf_append_str(&e.text, ",'url':'https://example.com/?gclid=x','attribution':{");
    for (size_t i = 0; i < 40; i++) {
        buf_printf(&e.text, "%s'm%zu':'", i ? "," : "", i);
        append_times(&e.text, "o", 400);
        buf_append_str(&e.text, "'");
    }
    buf_append_str(&e.text, "}");
    const struct signup *signup = event_read(&e, "ads");
    assert_int_equal(signup->death, DEATH_NONE);
    assert_true(signup->attribution.len <= ATTRIBUTION_BYTES_MAX && signup->attribution.len > 1600);
    assert_true(slice_has(signup->attribution, "'m0':'ooo"));
    /* One that was never looked at further, and one each for those without room. */
    assert_true(slice_has(signup->warnings->message, "members beyond the first 32 were dropped"));
    assert_true(warnings_count(signup) > 20 && warnings_count(signup) < 40);
    event_fini(&e);
}

/* ---- what explain hears */

struct heard {
    char text[4096];
    size_t len;
};

static void hear(void *ctx, const char *step, const char *field, struct slice value, const char *origin)
{
    struct heard *heard = ctx;
    int len =
        snprintf(heard->text + heard->len, sizeof heard->text - heard->len, "%s|%s|%.*s|%s\n", step, field,
                 slice_present(value) ? (int)value.len : 0, slice_present(value) ? value.ptr : "", origin);
    heard->len += (size_t)len;
    assert_true(heard->len < sizeof heard->text);
}

static void test_steps_are_told(void **state)
{
    (void)state;
    static const char *const wanted[] = {
        "attribution|ad_network_source|adwords|parameter gclid of the url\n",
        "attribution|ad_network_id|7|parameter utm_id of the url\n",
        "attribution|attribution|{\"gclid\":\"x\",\"utm_id\":\"7\"}|kept in the ledger\n",
        "dropped|ip_address|unknown|an IPv4 or IPv6 address\n",
        "route||leads from social|not chosen: another topic\n",
        "route||california|every condition holds\n",
        "route|use_journeys|false|chosen by the route\n",
        "consent||ad_network_source|required, and there\n",
        "consent||ad_network_id|required, and there\n",
        "dropped|custom_fields.bad||it is a list",
        "route|validation|gate|chosen by the route\n",
        "custom_field|campaign|\"winter\"|route california\n",
        "custom_field|own|1|the event\n",
        "request||{\"phone_number\":\"+14155551234\"",
    };
    struct heard heard = {.len = 0};
    struct reading r;
    const struct event_trace trace = {hear, &heard};
    reading_init_event(&r, "{" KEY ",'url':'https://example.ca/?gclid=x&utm_id=7','ip_address':'unknown',"
                           "'custom_fields':{'bad':[],'own':1}}");
    r.rules = *setting_named("routes");
    r.rules.consent = setting_named("require ads")->consent;
    signup_read_traced(&r.rules, &r.record, (wall_us_t){READING_NOW_S * US_PER_S}, &r.arena, &trace,
                       &r.signup);
    assert_int_equal(r.signup.death, DEATH_NONE);
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        if (!strstr(heard.text, wanted[i]))
            fail_msg("«%s» was not told:\n%s", wanted[i], heard.text);
    }
    /* And nothing is read otherwise while somebody listens. */
    struct signup silent;
    signup_read(&r.rules, &r.record, (wall_us_t){READING_NOW_S * US_PER_S}, &r.arena, &silent);
    assert_true(slice_equal(silent.body, r.signup.body) &&
                slice_equal(silent.attribution, r.signup.attribution));
    reading_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_length_of_a_name),
        cmocka_unit_test(test_length_of_a_copy),
        cmocka_unit_test(test_drop_largest),
        cmocka_unit_test(test_drop_no_more_than_needed),
        cmocka_unit_test(test_drop_many),
        cmocka_unit_test(test_drop_cannot_help),
        cmocka_unit_test(test_dead_is_as_ever),
        cmocka_unit_test(test_drop_what_the_route_adds),
        cmocka_unit_test(test_length_of_a_click_id),
        cmocka_unit_test(test_attribution_is_bounded),
        cmocka_unit_test(test_attribution_bound_is_inclusive),
        cmocka_unit_test(test_attribution_of_large_members),
        cmocka_unit_test(test_steps_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
