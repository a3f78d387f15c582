/* signup_read(): every row of the event's contract (design section 6 and its rulings). */
#include "reading.h"

#include <stdio.h>

#define PHONE "'phone_number':'4155551234'"
#define LIST "'list_number':'8335550100'"
#define KEY PHONE "," LIST
#define PHONE_SENT "'phone_number':'+14155551234'"

struct row {
    const char *event; /* ' for " */
    enum death_code death;
    const char *wanted; /* in the body of the living, in the message of the dead; NULL: not looked at */
};

/* Runs a table; the living must have no warning, the dead a message. */
static void check_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct reading r;
        reading_of(&r, rows[i].event);
        bool alive = rows[i].death == DEATH_NONE;
        ROW_CHECK(r.signup.death == rows[i].death, rows[i].event);
        ROW_CHECK(slice_present(r.signup.body) == alive, rows[i].event);
        ROW_CHECK(slice_present(r.signup.death_message) == !alive, rows[i].event);
        ROW_CHECK(!alive || !r.signup.warnings, rows[i].event);
        struct slice text = alive ? r.signup.body : r.signup.death_message;
        ROW_CHECK(!rows[i].wanted || slice_has(text, rows[i].wanted), rows[i].event);
        ROW_CHECK(alive || text.len < 300, rows[i].event); /* fits an outcome's message */
        ROW_CHECK(alive || !slice_has(text, "5551234"), rows[i].event);
        reading_fini(&r);
    }
}

static const struct row phones[] = {
    {"{" KEY "}", DEATH_NONE, PHONE_SENT},
    {"{'phone':'(415) 555-1234'," LIST "}", DEATH_NONE, PHONE_SENT},
    {"{'phone_number':4155551234," LIST "}", DEATH_NONE, PHONE_SENT},
    {"{'phone_number':14155551234," LIST "}", DEATH_NONE, PHONE_SENT},
    {"{'phone':4155551234," LIST "}", DEATH_NONE, PHONE_SENT},
    {"{'phone_number':'+442079460958'," LIST "}", DEATH_NONE, "'phone_number':'+442079460958'"},
    {"{'phone_number':'4155551234','phone':'2125550000'," LIST "}", DEATH_NONE, PHONE_SENT},
    {"{'phone':'2125550000','phone_number':'4155551234'," LIST "}", DEATH_NONE, PHONE_SENT},
    {"{'phone_number':'4155551234','phone':'nonsense'," LIST "}", DEATH_NONE, PHONE_SENT},
    {"{'phone_number':null,'phone':'4155551234'," LIST "}", DEATH_NONE, PHONE_SENT},
    {"{'phone_number':'','phone':'4155551234'," LIST "}", DEATH_NONE, PHONE_SENT},
    {"{'phone_number':'12','phone':'4155551234'," LIST "}", DEATH_INVALID_PHONE, "phone_number is not"},
    {"{" LIST "}", DEATH_MISSING_PHONE_NUMBER, "phone_number"},
    {"{'phone_number':null," LIST "}", DEATH_MISSING_PHONE_NUMBER, NULL},
    {"{'phone_number':null,'phone':null," LIST "}", DEATH_MISSING_PHONE_NUMBER, NULL},
    {"{'phone_number':''," LIST "}", DEATH_MISSING_PHONE_NUMBER, NULL},
    {"{'phone_number':'  \\t '," LIST "}", DEATH_MISSING_PHONE_NUMBER, NULL},
    {"{'phone':''," LIST "}", DEATH_MISSING_PHONE_NUMBER, NULL},
    {"{'Phone_Number':'4155551234'," LIST "}", DEATH_MISSING_PHONE_NUMBER, NULL},
    {"{'phoneNumber':'4155551234'," LIST "}", DEATH_MISSING_PHONE_NUMBER, NULL},
    {"{}", DEATH_MISSING_PHONE_NUMBER, NULL},
    {"{'phone_number':'5551234'," LIST "}", DEATH_INVALID_PHONE, "area code"},
    {"{'phone_number':5551234," LIST "}", DEATH_INVALID_PHONE, NULL},
    {"{'phone_number':'415555123456'," LIST "}", DEATH_INVALID_PHONE, NULL},
    {"{'phone_number':'call me'," LIST "}", DEATH_INVALID_PHONE, "of US"},
    {"{'phone':'call me'," LIST "}", DEATH_INVALID_PHONE, "phone is not"},
    {"{'phone_number':0," LIST "}", DEATH_INVALID_PHONE, NULL},
    {"{'phone_number':-4155551234," LIST "}", DEATH_INVALID_PHONE, "a negative number"},
    {"{'phone_number':4155551234.0," LIST "}", DEATH_INVALID_PHONE, "a number"},
    {"{'phone_number':4.155551234e9," LIST "}", DEATH_INVALID_PHONE, "a number"},
    {"{'phone_number':true," LIST "}", DEATH_INVALID_PHONE, "true or false"},
    {"{'phone_number':{'n':'4155551234'}," LIST "}", DEATH_INVALID_PHONE, "an object"},
    {"{'phone_number':['4155551234']," LIST "}", DEATH_INVALID_PHONE, "a list"},
};

static const struct row lists[] = {
    {"{" PHONE ",'list_number':'+18335550100'}", DEATH_NONE, "'list_number':'+18335550100'"},
    {"{" PHONE ",'list_number':'(833) 555-0100'}", DEATH_NONE, "'list_number':'+18335550100'"},
    {"{" PHONE ",'list_number':'1-833-555-0100'}", DEATH_NONE, "'list_number':'+18335550100'"},
    {"{" PHONE ",'list_number':8335550100}", DEATH_NONE, "'list_number':'+18335550100'"},
    {"{" PHONE "}", DEATH_MISSING_LIST_NUMBER, "defaults.list_number"},
    {"{" PHONE ",'list_number':null}", DEATH_MISSING_LIST_NUMBER, NULL},
    {"{" PHONE ",'list_number':''}", DEATH_MISSING_LIST_NUMBER, NULL},
    {"{" PHONE ",'list_number':'   '}", DEATH_MISSING_LIST_NUMBER, NULL},
    {"{" PHONE ",'list':'8335550100'}", DEATH_MISSING_LIST_NUMBER, NULL},
    {"{" PHONE ",'list_number':'5550100'}", DEATH_INVALID_LIST_NUMBER, "list_number is not"},
    {"{" PHONE ",'list_number':'newsletter'}", DEATH_INVALID_LIST_NUMBER, NULL},
    {"{" PHONE ",'list_number':false}", DEATH_INVALID_LIST_NUMBER, "true or false"},
    {"{" PHONE ",'list_number':[]}", DEATH_INVALID_LIST_NUMBER, "a list"},
    {"{" PHONE ",'list_number':8335550100.5}", DEATH_INVALID_LIST_NUMBER, NULL},
};

static const struct row ids[] = {
    {"{" KEY ",'event_id':1}", DEATH_INVALID_EVENT_ID, "a number"},
    {"{" KEY ",'event_id':true}", DEATH_INVALID_EVENT_ID, "true or false"},
    {"{" KEY ",'event_id':{}}", DEATH_INVALID_EVENT_ID, "an object"},
    {"{" KEY ",'event_id':''}", DEATH_INVALID_EVENT_ID, "empty"},
    {"{" KEY ",'event_id':'signups:0:0'}", DEATH_INVALID_EVENT_ID, "position"},
    {"{" KEY ",'event_id':'signups:3:42'}", DEATH_INVALID_EVENT_ID, "position"},
    {"{" KEY ",'event_id':'signups.eu:12:9000000000'}", DEATH_INVALID_EVENT_ID, "position"},
    {"{" KEY ",'event_id':'signups:000:99999999999999999999999'}", DEATH_INVALID_EVENT_ID, "position"},
    {"{" KEY ",'event_id':'orders:0:0'}", DEATH_NONE, NULL},
    {"{" KEY ",'event_id':'signups:0'}", DEATH_NONE, NULL},
    {"{" KEY ",'event_id':'signups:0:0:0'}", DEATH_NONE, NULL},
    {"{" KEY ",'event_id':'signups:0:'}", DEATH_NONE, NULL},
    {"{" KEY ",'event_id':'signups::0'}", DEATH_NONE, NULL},
    {"{" KEY ",'event_id':'signups:0:x'}", DEATH_NONE, NULL},
    {"{" KEY ",'event_id':'signups:-1:0'}", DEATH_NONE, NULL},
    {"{" KEY ",'event_id':'signups.us:0:0'}", DEATH_NONE, NULL},
    {"{" KEY ",'event_id':':0:0'}", DEATH_NONE, NULL},
    {"{" KEY ",'event_id':'0:0'}", DEATH_NONE, NULL},
    {"{" KEY ",'event_id':' '}", DEATH_NONE, NULL},
    {"{" KEY ",'event_id':'évènement-1'}", DEATH_NONE, NULL},
    {"{" KEY ",'event_id':null}", DEATH_NONE, NULL},
};

static void test_phones(void **state)
{
    (void)state;
    check_rows(phones, COUNT_OF(phones));
}

static void test_lists(void **state)
{
    (void)state;
    check_rows(lists, COUNT_OF(lists));
}

static void test_default_list(void **state)
{
    (void)state;
    static const char *const silent[] = {"{" PHONE "}", "{" PHONE ",'list_number':null}",
                                         "{" PHONE ",'list_number':' '}"};
    for (size_t i = 0; i < COUNT_OF(silent); i++) {
        struct reading r;
        reading_init_event(&r, silent[i]);
        r.rules.list_number = SLICE_LITERAL("+18775550000");
        reading_run(&r);
        ROW_CHECK(r.signup.death == DEATH_NONE && slice_is(r.signup.list_number, "+18775550000"), silent[i]);
        reading_fini(&r);
    }
    struct reading r;
    reading_init_event(&r, "{" KEY "}");
    r.rules.list_number = SLICE_LITERAL("+18775550000");
    reading_run(&r);
    assert_true(slice_is(r.signup.list_number, "+18335550100"));
    reading_fini(&r);
    reading_init_event(&r, "{" PHONE ",'list_number':'nonsense'}");
    r.rules.list_number = SLICE_LITERAL("+18775550000");
    reading_run(&r);
    assert_int_equal(r.signup.death, DEATH_INVALID_LIST_NUMBER); /* a wrong list is no missing one */
    reading_fini(&r);
}

static void test_default_country(void **state)
{
    (void)state;
    struct reading r;
    reading_init_event(&r, "{'phone':'020 7946 0958','list_number':'+1 833 555 0100'}");
    r.rules.country = "GB";
    reading_run(&r);
    assert_true(slice_is(r.signup.phone_number, "+442079460958"));
    assert_true(slice_is(r.signup.list_number, "+18335550100"));
    reading_fini(&r);
}

static void test_ids(void **state)
{
    (void)state;
    check_rows(ids, COUNT_OF(ids));
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        struct reading r;
        reading_of(&r, ids[i].event);
        bool own = ids[i].death == DEATH_NONE && !slice_has(r.record.value, "null");
        ROW_CHECK(r.signup.id_from_position == !own, ids[i].event);
        ROW_CHECK(slice_is(r.signup.event_id, READING_POSITION) == !own, ids[i].event);
        ROW_CHECK(slice_is(r.signup.position, READING_POSITION), ids[i].event);
        /* What else could be read is kept for the ledger. */
        ROW_CHECK(slice_is(r.signup.phone_number, "+14155551234"), ids[i].event);
        reading_fini(&r);
    }
}

static void check_id_length(size_t bytes, bool accepted)
{
    char id[EVENT_ID_BYTES_MAX + 8];
    char event[512];
    struct reading r;
    memset(id, 'i', bytes);
    id[bytes] = '\0';
    if (bytes > 1)
        memcpy(id, "\xC3\xA9", 2); /* bytes count, not characters */
    snprintf(event, sizeof event, "{" KEY ",'event_id':'%s'}", id);
    reading_of(&r, event);
    assert_int_equal(r.signup.death, accepted ? DEATH_NONE : DEATH_INVALID_EVENT_ID);
    assert_true(slice_is(r.signup.event_id, accepted ? id : READING_POSITION));
    reading_fini(&r);
}

static void test_id_length(void **state)
{
    (void)state;
    check_id_length(1, true);
    check_id_length(199, true);
    check_id_length(200, true);
    check_id_length(201, false);
}

/* A topic outside the configuration is still the record's own. */
static void test_id_like_own_position(void **state)
{
    (void)state;
    struct reading r;
    reading_init_event(&r, "{" KEY ",'event_id':'elsewhere:1:2'}");
    r.rules.topic_count = 0;
    r.record.topic = SLICE_LITERAL("elsewhere");
    reading_run(&r);
    assert_int_equal(r.signup.death, DEATH_INVALID_EVENT_ID);
    reading_fini(&r);
}

static void test_id_survives_other_deaths(void **state)
{
    (void)state;
    static const char *const dead[] = {
        "{'event_id':'mine'}",
        "{'event_id':'mine','phone_number':'x'," LIST "}",
        "{'event_id':'mine'," PHONE "}",
        "{'event_id':'mine'," KEY ",'use_journeys':'perhaps'}",
    };
    for (size_t i = 0; i < COUNT_OF(dead); i++) {
        struct reading r;
        reading_of(&r, dead[i]);
        ROW_CHECK(r.signup.death != DEATH_NONE, dead[i]);
        ROW_CHECK(slice_is(r.signup.event_id, "mine") && !r.signup.id_from_position, dead[i]);
        reading_fini(&r);
    }
}

/* Several faults: the first in the order event_id, phone, list, flags, size is told. */
static const struct row orders[] = {
    {"{'event_id':1,'phone_number':'x','list_number':'x','force':'x'}", DEATH_INVALID_EVENT_ID, NULL},
    {"{'force':'x','list_number':'x','phone_number':'x'}", DEATH_INVALID_PHONE, NULL},
    {"{'force':'x','list_number':'x'," PHONE "}", DEATH_INVALID_LIST_NUMBER, NULL},
    {"{'force':'x'," KEY "}", DEATH_INVALID_FIELD, "force"},
    {"{'force':'x','use_journeys':'x'," KEY "}", DEATH_INVALID_FIELD, "use_journeys"},
    {"{'phone_number':'x'}", DEATH_INVALID_PHONE, NULL},
    {"{'list_number':'x'}", DEATH_MISSING_PHONE_NUMBER, NULL},
};

static void test_fault_order(void **state)
{
    (void)state;
    check_rows(orders, COUNT_OF(orders));
}

static void test_key_is_kept_where_it_can_be_read(void **state)
{
    (void)state;
    struct reading r;
    reading_of(&r, "{'phone_number':'x'," LIST "}");
    assert_false(slice_present(r.signup.phone_number));
    assert_true(slice_is(r.signup.list_number, "+18335550100"));
    reading_fini(&r);
    reading_of(&r, "{" PHONE ",'list_number':'x','url':'https://example.com/','consent':{'text':'yes'}}");
    assert_true(slice_is(r.signup.phone_number, "+14155551234"));
    assert_false(slice_present(r.signup.list_number));
    assert_true(slice_is(r.signup.url, "https://example.com/"));
    assert_true(slice_has(r.signup.consent, "'text':'yes'"));
    reading_fini(&r);
}

static const char *const flag_names[] = {"use_journeys", "skip_journey_if_exists", "override_custom_fields",
                                         "use_validation", "force"};

static bool flag_of(const struct signup *signup, size_t flag)
{
    const bool values[] = {signup->use_journeys, signup->skip_journey_if_exists,
                           signup->override_custom_fields, signup->use_validation, signup->asks_force};
    return values[flag];
}

static void test_flag_spellings(void **state)
{
    (void)state;
    static const char *const yes[] = {"true", "1", "'true'", "'TRUE'", "'True'", "'1'",
                                      "'yes'", "'YES'", "'Yes'"};
    static const char *const no[] = {"false", "0", "-0", "'false'", "'FALSE'", "'False'", "'0'",
                                     "'no'", "'NO'", "'No'"};
    static const char *const neither[] = {"2", "-1", "1.0", "0.0", "''", "' '", "'on'", "'off'", "'y'",
                                          "'n'", "'t'",
                                          "'maybe'", "' true'", "'true '", "'truee'", "'tru'", "'2'", "'01'",
                                          "[]", "{}",
                                          "[true]", "'null'", "'wahr'"};
    for (size_t f = 0; f < COUNT_OF(flag_names); f++) {
        for (size_t i = 0; i < COUNT_OF(yes) + COUNT_OF(no) + COUNT_OF(neither); i++) {
            bool means = i < COUNT_OF(yes);
            bool dead = i >= COUNT_OF(yes) + COUNT_OF(no);
            const char *value = means  ? yes[i]
                                : dead ? neither[i - COUNT_OF(yes) - COUNT_OF(no)]
                                       : no[i - COUNT_OF(yes)];
            char event[256];
            struct reading r;
            snprintf(event, sizeof event, "{" KEY ",'%s':%s}", flag_names[f], value);
            reading_of(&r, event);
            ROW_CHECK(r.signup.death == (dead ? DEATH_INVALID_FIELD : DEATH_NONE), event);
            ROW_CHECK(dead || flag_of(&r.signup, f) == means, event);
            ROW_CHECK(!dead || slice_has(r.signup.death_message, flag_names[f]), event);
            reading_fini(&r);
        }
    }
}

/* For every combination of rules: an event that does not say, or says null, follows them; one that says
 * wins. */
static void test_flag_defaults(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 8; bits++) {
        for (unsigned says = 0; says < 3; says++) {
            static const char *const events[] = {
                "{" KEY "}",
                "{" KEY ",'use_journeys':null,'skip_journey_if_exists':null,'use_validation':null,"
                "'force':null}",
                "{" KEY ",'use_journeys':0,'skip_journey_if_exists':0,'use_validation':0}",
            };
            struct reading r;
            reading_init_event(&r, events[says]);
            r.rules.use_journeys = bits & 1;
            r.rules.skip_journey_if_exists = bits & 2;
            r.rules.validation = bits & 4 ? EVENT_VALIDATION_INLINE : EVENT_VALIDATION_OFF;
            reading_run(&r);
            assert_int_equal(r.signup.use_journeys, says < 2 && (bits & 1));
            assert_int_equal(r.signup.skip_journey_if_exists, says < 2 && (bits & 2));
            assert_int_equal(r.signup.use_validation, says < 2 && (bits & 4));
            assert_int_equal(r.signup.validation == EVENT_VALIDATION_INLINE, r.signup.use_validation);
            assert_false(r.signup.override_custom_fields || r.signup.force);
            reading_fini(&r);
        }
    }
}

static void test_force_needs_validation(void **state)
{
    (void)state;
    struct reading r;
    reading_of(&r, "{" KEY ",'force':true}");
    assert_true(!r.signup.force && r.signup.asks_force);
    assert_false(slice_has(r.signup.body, "force"));
    reading_fini(&r);
    reading_of(&r, "{" KEY ",'force':'yes','use_validation':'no'}");
    assert_false(r.signup.force || slice_has(r.signup.body, "force"));
    reading_fini(&r);
    reading_of(&r, "{" KEY ",'force':'yes','use_validation':'yes'}");
    assert_true(r.signup.force && slice_has(r.signup.body, "'use_validation':true,'force':true"));
    reading_fini(&r);
    reading_init_event(&r, "{" KEY ",'force':1}");
    r.rules.validation = EVENT_VALIDATION_INLINE;
    reading_run(&r);
    assert_true(r.signup.force && slice_has(r.signup.body, "'use_validation':true,'force':true"));
    reading_fini(&r);
}

struct date_row {
    const char *value; /* JSON */
    const char *date;  /* as sent */
    bool warned;
};

static const struct date_row dates[] = {
    {"'2025-03-15T14:30:00Z'", "2025-03-15T14:30:00Z", false},
    {"'2025-03-15T14:30:00+02:00'", "2025-03-15T12:30:00Z", false},
    {"'2025-03-15 14:30:00'", "2025-03-15T14:30:00Z", false},
    {"'2025-03-15'", "2025-03-15T00:00:00Z", false},
    {"1742049000", "2025-03-15T14:30:00Z", false},
    {"1742049000999", "2025-03-15T14:30:00Z", false},
    {"1742049000.5", "2025-03-15T14:30:00Z", false},
    {"'1742049000'", "2025-03-15T14:30:00Z", false},
    {"'1742049000000'", "2025-03-15T14:30:00Z", false},
    {"100000000000", "1973-03-03T09:46:40Z", false},
    {"null", READING_RECORD_DATE, false},
    /* the future: five minutes are forgiven */
    {"'2026-06-01T00:05:00Z'", "2026-06-01T00:05:00Z", false},
    {"'2026-06-01T00:05:01Z'", READING_RECORD_DATE, true},
    {"'2026-06-01T02:00:00+02:00'", "2026-06-01T00:00:00Z", false},
    {"'2026-06-01T00:00:00-01:00'", READING_RECORD_DATE, true},
    {"'2099-01-01'", READING_RECORD_DATE, true},
    {"99999999999", READING_RECORD_DATE, true},
    /* unreadable */
    {"'2025-02-30'", READING_RECORD_DATE, true},
    {"'last week'", READING_RECORD_DATE, true},
    {"''", READING_RECORD_DATE, true},
    {"true", READING_RECORD_DATE, true},
    {"{}", READING_RECORD_DATE, true},
    {"[1742049000]", READING_RECORD_DATE, true},
    {"9223372036854775807", READING_RECORD_DATE, true},
    {"1e300", READING_RECORD_DATE, true},
};

static void test_dates(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(dates); i++) {
        char event[256];
        char wanted[64];
        struct reading r;
        snprintf(event, sizeof event, "{" KEY ",'signup_date':%s}", dates[i].value);
        snprintf(wanted, sizeof wanted, "'signup_date':'%s'}", dates[i].date);
        reading_of(&r, event);
        bool own = !dates[i].warned && strcmp(dates[i].value, "null") != 0;
        ROW_CHECK(r.signup.death == DEATH_NONE && slice_has(r.signup.body, wanted), event);
        ROW_CHECK(r.signup.has_signup_date && r.signup.signup_date_from_event == own, event);
        ROW_CHECK(warnings_count(&r.signup) == dates[i].warned, event);
        if (dates[i].warned) {
            ROW_CHECK(slice_is(r.signup.warnings->code, "signup_date_unusable"), event);
            ROW_CHECK(r.signup.warnings->source == WARNING_WORKER, event);
            ROW_CHECK(slice_has(r.signup.warnings->message, "signup_date"), event);
        }
        reading_fini(&r);
    }
}

static void test_record_without_timestamp(void **state)
{
    (void)state;
    static const int64_t none[] = {-1, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < COUNT_OF(none); i++) {
        struct reading r;
        reading_init_event(&r, "{" KEY "}");
        r.record.timestamp_ms = none[i];
        reading_run(&r);
        assert_int_equal(r.signup.death, DEATH_NONE);
        assert_false(r.signup.has_signup_date || slice_has(r.signup.body, "signup_date"));
        reading_fini(&r);
    }
    struct reading r;
    reading_init_event(&r, "{" KEY ",'signup_date':'2025-03-15'}");
    r.record.timestamp_ms = -1;
    reading_run(&r);
    assert_true(r.signup.has_signup_date && r.signup.signup_date_from_event);
    reading_fini(&r);
}

struct field_row {
    const char *member;  /* JSON member of the event */
    const char *body;    /* wanted in the body; NULL: the field's name must not be there */
    const char *warning; /* wanted in the only warning; NULL: none */
};

static const struct field_row fields[] = {
    {"'ip_address':'203.0.113.7'", "'ip_address':'203.0.113.7'", NULL},
    {"'ip_address':' [2001:db8::1]:443 '", "'ip_address':'2001:db8::1'", NULL},
    {"'ip_address':null", NULL, NULL},
    {"'ip_address':'unknown'", NULL, "ip_address"},
    {"'ip_address':''", NULL, "ip_address"},
    {"'ip_address':3405803783", NULL, "ip_address was dropped: it is a number"},
    {"'ip_address':['203.0.113.7']", NULL, "ip_address"},
    {"'url':'https://example.com/a?b=c'", "'url':'https://example.com/a?b=c'", NULL},
    {"'url':'https:\\/\\/example.com\\/\\u00e9'", "'url':'https://example.com/\xC3\xA9'", NULL},
    {"'url':'  http://example.com '", "'url':'http://example.com'", NULL},
    {"'url':null", NULL, NULL},
    {"'url':'example.com'", NULL, "url was dropped"},
    {"'url':''", NULL, "url"},
    {"'url':false", NULL, "url"},
    {"'url':{'href':'https://example.com'}", NULL, "url"},
    {"'ad_network_source':'facebook'", "'ad_network_source':'facebook'", NULL},
    {"'ad_network_source':12", "'ad_network_source':'12'", NULL},
    {"'ad_network_source':null", NULL, NULL},
    {"'ad_network_source':'  '", NULL, NULL},
    {"'ad_network_source':true", NULL, "ad_network_source"},
    {"'ad_network_source':[]", NULL, "ad_network_source"},
    {"'ad_network_id':'c-1'", "'ad_network_id':'c-1'", NULL},
    {"'ad_network_id':9223372036854775807", "'ad_network_id':'9223372036854775807'", NULL},
    {"'ad_network_id':-5", "'ad_network_id':'-5'", NULL},
    {"'ad_network_id':0.1", "'ad_network_id':'0.1'", NULL},
    {"'ad_network_id':{}", NULL, "ad_network_id"},
    {"'custom_fields':{'a':'b'}", "'custom_fields':{'a':'b'}", NULL},
    {"'custom_fields':{'b':1,'a':true}", "'custom_fields':{'a':true,'b':1}", NULL},
    {"'custom_fields':{'a':false,'b':-7,'c':0.1,'d':1e3}", "{'a':false,'b':-7,'c':0.1,'d':1000.0}", NULL},
    {"'custom_fields':{'a':1234567890.123456789}", "{'a':1234567890.1234567}", NULL},
    {"'custom_fields':{'a':'\\u00e9\\n\\t\\\"\\\\\\u0001\\/'}",
     "{'a':'\xC3\xA9\\n\\t\\'\\\\\\u0001/'}", NULL},
    {"'custom_fields':{'':'empty name'}", NULL, "custom_fields. was dropped: its name is blank"},
    {"'custom_fields':{}", "'custom_fields':{}", NULL},
    {"'custom_fields':{'a':null}", "'custom_fields':{}", NULL},
    {"'custom_fields':{'a':null,'b':'c'}", "'custom_fields':{'b':'c'}", NULL},
    {"'custom_fields':null", NULL, NULL},
    {"'custom_fields':{'a':{'b':1},'c':'d'}", "'custom_fields':{'c':'d'}", "custom_fields.a was dropped"},
    {"'custom_fields':{'a':[1],'c':'d'}", "'custom_fields':{'c':'d'}", "custom_fields.a was dropped: it is"},
    {"'custom_fields':{'a':[1]}", NULL, "custom_fields.a"},
    {"'custom_fields':{'4155551234':{}}", NULL, "custom_fields.********34"},
    {"'custom_fields':'a=b'", NULL, "custom_fields was dropped: it is text"},
    {"'custom_fields':[1]", NULL, "custom_fields"},
    {"'custom_fields':7", NULL, "custom_fields"},
    {"'consent':'yes'", NULL, "consent was dropped"},
    {"'consent':true", NULL, "consent"},
    {"'consent':[]", NULL, "consent"},
    {"'consent':null", NULL, NULL},
    {"'consent':{'text':'I agree'}", NULL, NULL},
    {"'unknown':{'deep':[1,2,3]}", NULL, NULL},
    {"'Url':'https://example.com'", NULL, NULL},
    {"'first_name':'Ada'", NULL, NULL},
    {"'success':true", NULL, NULL},
};

static void test_fields(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        char event[512];
        char name[64];
        struct reading r;
        snprintf(event, sizeof event, "{" KEY ",%s}", fields[i].member);
        snprintf(name, sizeof name, "%.*s", (int)strcspn(fields[i].member, ":"), fields[i].member);
        reading_of(&r, event);
        ROW_CHECK(r.signup.death == DEATH_NONE, event);
        if (fields[i].body)
            ROW_CHECK(slice_has(r.signup.body, fields[i].body), event);
        else
            ROW_CHECK(!slice_has(r.signup.body, name), event);
        ROW_CHECK(warnings_count(&r.signup) == (fields[i].warning != NULL), event);
        if (fields[i].warning) {
            ROW_CHECK(slice_is(r.signup.warnings->code, "field_dropped"), event);
            ROW_CHECK(slice_has(r.signup.warnings->message, fields[i].warning), event);
        }
        reading_fini(&r);
    }
}

static void test_consent_text(void **state)
{
    (void)state;
    struct reading r;
    reading_of(&r, "{" KEY ",'consent':{'text':'I \\u0061gree','n':[1,2.50,null,{'z':0,'a':{}}],'b':true}}");
    assert_true(slice_is(r.signup.consent,
                         "{\"b\":true,\"n\":[1,2.5,null,{\"a\":{},\"z\":0}],\"text\":\"I agree\"}"));
    assert_false(slice_has(r.signup.body, "agree")); /* for the ledger only */
    reading_fini(&r);
}

static void test_warnings_come_in_order_and_are_bounded(void **state)
{
    (void)state;
    struct reading r;
    reading_of(&r, "{" KEY ",'consent':1,'url':1,'signup_date':'x',"
                   "'custom_fields':{'b':[],'a':[]},'ip_address':1}");
    static const char *const order[] = {"ip_address", "url", "consent", "signup_date", "custom_fields.b",
                                        "custom_fields.a"};
    const struct warning *w = r.signup.warnings;
    for (size_t i = 0; i < COUNT_OF(order); i++, w = w->next) {
        assert_non_null(w);
        assert_true(slice_has(w->message, order[i]));
    }
    assert_null(w);
    reading_fini(&r);

    struct buf event;
    buf_init(&event, EVENT_BYTES_MAX);
    buf_append_str(&event, "{" KEY ",'custom_fields':{");
    for (int i = 0; i < 500; i++)
        buf_printf(&event, "%s'f%d':[]", i ? "," : "", i);
    buf_append_str(&event, "}}");
    buf_append_char(&event, '\0');
    assert_true(buf_ok(&event));
    reading_of(&r, event.data);
    assert_int_equal(warnings_count(&r.signup), 17);
    const struct warning *last = r.signup.warnings;
    while (last->next)
        last = last->next;
    assert_true(slice_has(last->message, "484 more"));
    reading_fini(&r);
    buf_fini(&event);
}

static void test_long_names_are_cut_at_a_character(void **state)
{
    (void)state;
    struct buf event;
    struct reading r;
    buf_init(&event, EVENT_BYTES_MAX);
    buf_append_str(&event, "{" KEY ",'custom_fields':{'x");
    for (int i = 0; i < 2000; i++)
        buf_append_str(&event, "\xC3\xA9");
    buf_append_str(&event, "':[]}}");
    buf_append_char(&event, '\0');
    reading_of(&r, event.data);
    assert_int_equal(warnings_count(&r.signup), 1);
    assert_true(r.signup.warnings->message.len < 300);
    assert_true(slice_has(r.signup.warnings->message, "\xC3\xA9 was dropped"));
    reading_fini(&r);
    buf_fini(&event);
}

static void test_warn_adds_at_the_end(void **state)
{
    (void)state;
    struct arena arena;
    struct signup signup = {0};
    arena_init(&arena, 4096);
    assert_true(signup_warn(&signup, &arena, WARNING_API, SLICE_LITERAL("a"), SLICE_LITERAL("first")));
    assert_true(signup_warn(&signup, &arena, WARNING_WORKER, SLICE_LITERAL("b"), SLICE_LITERAL("second")));
    assert_true(slice_is(signup.warnings->message, "first") && signup.warnings->source == WARNING_API);
    assert_true(slice_is(signup.warnings->next->code, "b"));
    assert_true(signup.warnings->next->source == WARNING_WORKER);
    assert_null(signup.warnings->next->next);
    struct arena full;
    arena_init(&full, 0);
    assert_false(signup_warn(&signup, &full, WARNING_API, SLICE_LITERAL("c"), SLICE_LITERAL("third")));
    assert_null(signup.warnings->next->next);
    arena_fini(&full);
    arena_fini(&arena);
}

static void test_codes(void **state)
{
    (void)state;
    assert_string_equal(death_code_str(DEATH_NONE), "");
    assert_string_equal(death_code_str(DEATH_MALFORMED_JSON), "malformed_json");
    assert_string_equal(death_code_str(DEATH_PAYLOAD_TOO_LARGE), "payload_too_large");
    for (int i = 1; i < DEATH_CODE_COUNT; i++)
        assert_true(strlen(death_code_str((enum death_code)i)) > 0);
}

/* Whatever fits and whatever does not: an event never comes out half read. */
static void test_a_full_arena_is_a_death(void **state)
{
    (void)state;
    size_t dead = 0;
    size_t alive = 0;
    for (size_t cap = 256; cap < 8192; cap += 16) {
        struct reading r;
        reading_init_event(&r, "{'event_id':'mine'," KEY ",'url':'https://example.com/','consent':{'a':'b'},"
                               "'custom_fields':{'a':'b','c':[]},'ad_network_id':7,'signup_date':'x'}");
        arena_init(&r.arena, cap);
        reading_run(&r);
        assert_true(slice_present(r.signup.event_id));
        if (r.signup.death == DEATH_NONE) {
            assert_true(slice_has(r.signup.body, "'custom_fields':{'a':'b'}"));
            assert_true(slice_present(r.signup.consent));
            assert_int_equal(warnings_count(&r.signup), 2);
            alive++;
        } else {
            assert_int_equal(r.signup.death, DEATH_EVENT_TOO_LARGE);
            assert_false(slice_present(r.signup.body));
            assert_true(slice_present(r.signup.death_message));
            dead++;
        }
        reading_fini(&r);
    }
    assert_true(dead > 10 && alive > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phones),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_default_list),
        cmocka_unit_test(test_default_country),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_id_length),
        cmocka_unit_test(test_id_like_own_position),
        cmocka_unit_test(test_id_survives_other_deaths),
        cmocka_unit_test(test_fault_order),
        cmocka_unit_test(test_key_is_kept_where_it_can_be_read),
        cmocka_unit_test(test_flag_spellings),
        cmocka_unit_test(test_flag_defaults),
        cmocka_unit_test(test_force_needs_validation),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_record_without_timestamp),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_consent_text),
        cmocka_unit_test(test_warnings_come_in_order_and_are_bounded),
        cmocka_unit_test(test_long_names_are_cut_at_a_character),
        cmocka_unit_test(test_warn_adds_at_the_end),
        cmocka_unit_test(test_codes),
        cmocka_unit_test(test_a_full_arena_is_a_death),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
