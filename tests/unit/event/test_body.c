/* body.c and digest.c: what is sent, its size, and when two events say the same. */
#include "reading.h"

#include "body_check.h"
#include "digest.h"

#define KEY "'phone_number':'4155551234','list_number':'8335550100'"

static void test_whole_body(void **state)
{
    (void)state;
    struct reading r;
    reading_of(&r, "{'event_id':'e1','phone':'(415) 555-1234','list_number':'833-555-0100',"
                   "'use_journeys':'yes',"
                   "'skip_journey_if_exists':0,'override_custom_fields':'1','use_validation':true,"
                   "'force':'FALSE',"
                   "'signup_date':'2025-03-15T14:30:00+02:00','ip_address':'[203.0.113.7]',"
                   "'url':'https://example.com/a',"
                   "'custom_fields':{'name':'Ada','age':36},'ad_network_source':'facebook',"
                   "'ad_network_id':42,"
                   "'consent':{'text':'I agree'},'extra':1}");
    assert_int_equal(r.signup.death, DEATH_NONE);
    assert_string_equal(r.signup.body.ptr,
                        "{\"phone_number\":\"+14155551234\",\"list_number\":\"+18335550100\","
                        "\"use_journeys\":true,\"skip_journey_if_exists\":false,"
                        "\"override_custom_fields\":true,\"use_validation\":true,"
                        "\"force\":false,\"ip_address\":\"203.0.113.7\",\"url\":\"https://example.com/a\","
                        "\"ad_network_source\":\"facebook\",\"ad_network_id\":\"42\","
                        "\"custom_fields\":{\"age\":36,\"name\":\"Ada\"},"
                        "\"signup_date\":\"2025-03-15T12:30:00Z\"}");
    assert_int_equal(r.signup.body.len, strlen(r.signup.body.ptr));
    reading_fini(&r);
}

static void test_guarded_body_differs_in_one_flag(void **state)
{
    (void)state;
    struct reading r;
    struct buf plain;
    struct buf guarded;
    reading_of(&r, "{" KEY ",'skip_journey_if_exists':false,'custom_fields':{'a':1}}");
    buf_init(&plain, CONTACT_BYTES_MAX);
    buf_init(&guarded, CONTACT_BYTES_MAX);
    signup_write_body(&r.signup, false, &plain);
    signup_write_body(&r.signup, true, &guarded);
    assert_true(buf_ok(&plain) && buf_ok(&guarded));
    assert_true(slice_equal(buf_slice(&plain), r.signup.body));
    assert_true(slice_has(buf_slice(&plain), "'skip_journey_if_exists':false"));
    assert_true(slice_has(buf_slice(&guarded), "'skip_journey_if_exists':true"));
    assert_true(guarded.len + 1 == plain.len); /* never larger: the limit still holds */
    buf_fini(&plain);
    buf_fini(&guarded);
    reading_fini(&r);
}

/* An event whose body has exactly `bytes`, two of each character's being one é. */
static void reading_of_body(struct reading *r, size_t bytes)
{
    struct reading empty;
    reading_of(&empty, "{" KEY ",'custom_fields':{'a':''}}");
    size_t missing = bytes - empty.signup.body.len;
    reading_fini(&empty);
    struct buf event;
    buf_init(&event, EVENT_BYTES_MAX);
    buf_append_str(&event, "{" KEY ",'custom_fields':{'a':'");
    for (size_t i = 0; i < missing / 2; i++)
        buf_append_str(&event, "\\u00e9"); /* six bytes here, two as sent */
    if (missing % 2)
        buf_append_char(&event, 'x');
    buf_append_str(&event, "'}}");
    buf_append_char(&event, '\0');
    assert_true(buf_ok(&event));
    reading_of(r, event.data);
    buf_fini(&event);
}

static void test_contact_limit_is_inclusive_in_bytes_as_sent(void **state)
{
    (void)state;
    struct reading r;
    for (size_t bytes = 3998; bytes <= 4000; bytes++) {
        reading_of_body(&r, bytes);
        assert_int_equal(r.signup.death, DEATH_NONE);
        assert_int_equal(r.signup.body.len, bytes);
        reading_fini(&r);
    }
    for (size_t bytes = 4001; bytes <= 4003; bytes++) {
        reading_of_body(&r, bytes);
        assert_int_equal(r.signup.death, DEATH_PAYLOAD_TOO_LARGE);
        assert_false(slice_present(r.signup.body));
        assert_true(slice_is(r.signup.phone_number, "+14155551234"));
        assert_true(slice_is(r.signup.list_number, "+18335550100"));
        assert_true(slice_has(r.signup.death_message, "4,000"));
        reading_fini(&r);
    }
    reading_of_body(&r, 40000);
    assert_true(slice_has(r.signup.death_message, "40000 bytes"));
    reading_fini(&r);
}

static void digest_of(const char *event, int64_t timestamp_ms, uint8_t out[SIGNUP_DIGEST_BYTES])
{
    struct reading r;
    reading_init_event(&r, event);
    r.record.timestamp_ms = timestamp_ms;
    r.record.offset = timestamp_ms;
    reading_run(&r);
    memcpy(out, r.signup.digest, SIGNUP_DIGEST_BYTES);
    reading_fini(&r);
}

static bool says_the_same(const char *a, const char *b)
{
    uint8_t first[SIGNUP_DIGEST_BYTES];
    uint8_t second[SIGNUP_DIGEST_BYTES];
    digest_of(a, READING_RECORD_MS, first);
    digest_of(b, READING_RECORD_MS - 86400000, second);
    return memcmp(first, second, SIGNUP_DIGEST_BYTES) == 0;
}

static void test_digest_is_of_the_content(void **state)
{
    (void)state;
    static const char *const same[][2] = {
        {"{" KEY "}", "{" KEY "}"},
        {"{" KEY "}", "{'list_number':8335550100,'phone':'+1 415 555 1234','unknown':1}"},
        {"{" KEY ",'event_id':'a'}", "{" KEY ",'event_id':'b'}"},
        {"{" KEY ",'use_journeys':true}", "{" KEY ",'use_journeys':'YES'}"},
        {"{" KEY ",'custom_fields':{'a':1,'b':2}}", "{" KEY ",'custom_fields':{'b':2,'a':1,'c':null}}"},
        {"{" KEY ",'consent':{'a':1,'b':[1,2]}}", "{" KEY ",'consent':{'b':[1, 2],'a':1}}"},
        {"{" KEY ",'signup_date':'2025-03-15T14:30:00Z'}", "{" KEY ",'signup_date':1742049000}"},
        {"{" KEY ",'signup_date':'nonsense'}", "{" KEY "}"},
        {"{" KEY ",'attribution':{'gclid':'a'}}", "{" KEY ",'attribution':{'gclid':'b','n':1}}"},
        {"{" KEY ",'attribution':{'gclid':'a'}}", "{" KEY "}"}, /* the API is told nothing of it */
        {"nonsense", "nonsense"},
    };
    static const char *const different[][2] = {
        {"{" KEY "}", "{'phone_number':'4155551235','list_number':'8335550100'}"},
        {"{" KEY "}", "{" KEY ",'use_journeys':false}"},
        {"{" KEY "}", "{" KEY ",'consent':{}}"},
        {"{" KEY ",'consent':{'a':1}}", "{" KEY ",'consent':{'a':2}}"},
        {"{" KEY ",'consent':{'a':[1,2]}}", "{" KEY ",'consent':{'a':[2,1]}}"},
        {"{" KEY ",'custom_fields':{'a':1}}", "{" KEY ",'custom_fields':{'a':'1'}}"},
        {"{" KEY ",'signup_date':'2025-03-15T14:30:00Z'}", "{" KEY "}"},
        {"{" KEY ",'signup_date':'2025-03-15T14:30:00Z'}", "{" KEY ",'signup_date':'2025-03-15T14:30:01Z'}"},
        {"nonsense", "nonsenses"},
    };
    for (size_t i = 0; i < COUNT_OF(same); i++)
        ROW_CHECK(says_the_same(same[i][0], same[i][1]), same[i][1]);
    for (size_t i = 0; i < COUNT_OF(different); i++)
        ROW_CHECK(!says_the_same(different[i][0], different[i][1]), different[i][1]);
}

static void test_digest_is_sha256(void **state)
{
    (void)state;
    static const uint8_t abc[SIGNUP_DIGEST_BYTES] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
        0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    const struct slice parts[] = {SLICE_LITERAL("a"), SLICE_ABSENT, SLICE_LITERAL(""), SLICE_LITERAL("bc")};
    uint8_t digest[SIGNUP_DIGEST_BYTES];
    for (int i = 0; i < 2; i++) { /* twice: nothing of the first stays behind */
        digest_parts(parts, COUNT_OF(parts), digest);
        assert_memory_equal(digest, abc, SIGNUP_DIGEST_BYTES);
    }
}

static uint64_t seed = UINT64_C(0xD1B54A32D192ED03);

/* xorshift64*: the same events in every run. */
static unsigned pick(unsigned below)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (unsigned)((seed * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % below;
}

static const char *const names[] = {
    "event_id",          "phone_number",  "phone",          "list_number", "use_journeys",
    "skip_journey_if_exists", "force",    "signup_date",    "url",         "ip_address",
    "use_validation",    "override_custom_fields",          "ad_network_id", "consent",
    "a",                 "custom_fields", "ad_network_source", "unknown",
};
static const char *const values[] = {
    "null", "true", "false", "0", "1", "-1", "0.1", "-0.0", "1e20", "1E-7", "123456789012345678", "''",
    "' '", "'yes'", "'No'", "'4155551234'", "4155551234", "'+1 833 555 0100'", "'(415) 555-1234'", 
    "'5551234'", "'+442079460958'",
    "'2025-03-15T14:30:00+02:00'", "1742049000", "'2099-01-01'",
    "'https://example.com/\\u00e9?a=b'", "'example.com'",
    "'[2001:db8::1]:443'", "'203.0.113.7'", "'\\ud83d\\ude00 \\\" \\\\ \\n \\u0007'", "'signups:0:1'"};

static void append_value(struct buf *event, unsigned depth)
{
    unsigned kind = pick(depth < 3 ? 10 : 8);
    if (kind < 8) {
        buf_append_str(event, values[pick(COUNT_OF(values))]);
        return;
    }
    unsigned count = pick(4);
    buf_append_char(event, kind == 8 ? '{' : '[');
    for (unsigned i = 0; i < count; i++) {
        if (i)
            buf_append_char(event, ',');
        if (kind == 8)
            buf_printf(event, "'%c%u':", (char)('z' - (int)pick(26)), i);
        append_value(event, depth + 1);
    }
    buf_append_char(event, kind == 8 ? '}' : ']');
}

static void append_event(struct buf *event)
{
    bool likely = pick(8) > 0;
    buf_append_char(event, '{');
    if (likely)
        buf_append_str(event, KEY);
    bool first = !likely;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        bool steers = i < 7 || i == 10 || i == 11; /* wrong is dead there: more rarely */
        if (pick(steers ? 24 : 3) || (likely && (i == 1 || i == 3)))
            continue;
        buf_printf(event, "%s'%s':", first ? "" : ",", names[i]);
        append_value(event, 0);
        first = false;
    }
    buf_append_char(event, '}');
    buf_append_char(event, '\0');
}

/* What is sent is what the API takes; and read as an event again it says the same. */
static void test_bodies_are_strict_and_normal(void **state)
{
    (void)state;
    size_t alive = 0;
    const size_t tries = 20000;
    for (size_t i = 0; i < tries; i++) {
        struct buf event;
        struct reading r;
        char room[64];
        buf_init(&event, EVENT_BYTES_MAX);
        append_event(&event);
        assert_true(buf_ok(&event));
        reading_of(&r, event.data);
        if (r.signup.death == DEATH_NONE) {
            alive++;
            const char *complaint = body_check(r.signup.body, room);
            if (complaint)
                fail_msg("the API would not take %s of «%s»", complaint, event.data);
            struct reading again;
            reading_init(&again, r.signup.body.ptr, r.signup.body.len);
            reading_run(&again);
            ROW_CHECK(again.signup.death == DEATH_NONE && !again.signup.warnings, event.data);
            ROW_CHECK(slice_equal(again.signup.body, r.signup.body), event.data);
            reading_fini(&again);
        }
        reading_fini(&r);
        buf_fini(&event);
    }
    assert_true(alive > tries / 4 && alive < tries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_body),
        cmocka_unit_test(test_guarded_body_differs_in_one_flag),
        cmocka_unit_test(test_contact_limit_is_inclusive_in_bytes_as_sent),
        cmocka_unit_test(test_digest_is_of_the_content),
        cmocka_unit_test(test_digest_is_sha256),
        cmocka_unit_test(test_bodies_are_strict_and_normal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
