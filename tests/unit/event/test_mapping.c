/* pointer.c, expression*.c, mapping.c, fields.c: from somebody else's JSON to our fields. */
#include "shape_reading.h"

#include "expression_text.h"

#define KEY "'phone_number':'4155551234','list_number':'8335550100'"
#define PHONE_CONSTANT "'phone_number':{'constant':'4155551234'},'list_number':{'constant':'8335550100'}"

/* ---- field names */

static void test_names(void **state)
{
    (void)state;
    enum event_field field;
    for (int i = 0; i < EVENT_FIELD_COUNT; i++) {
        const char *name = event_field_str((enum event_field)i);
        char other[64];
        assert_true(event_field_parse(slice_from_str(name), &field));
        assert_int_equal(field, i);
        for (size_t at = 0; name[at]; at++) { /* any other letter anywhere, one more, one less */
            snprintf(other, sizeof other, "%s", name);
            other[at] ^= 0x20;
            assert_false(event_field_parse(slice_from_str(other), &field));
            assert_false(event_field_parse((struct slice){name, at}, &field) &&
                         strncmp(event_field_str(field), name, at) != 0);
        }
        snprintf(other, sizeof other, "%sx", name);
        assert_false(event_field_parse(slice_from_str(other), &field));
    }
    assert_false(event_field_parse(SLICE_LITERAL(""), &field));
    assert_false(event_field_parse(SLICE_ABSENT, &field));
    assert_false(event_field_parse(SLICE_LITERAL("utm"), &field));
    assert_false(event_field_parse(SLICE_LITERAL("override_custom_field"), &field));
}

/* ---- pointers */

struct pointer_row {
    const char *text;
    const char *found; /* as JSON text, or NULL: nothing */
};

static const char pointer_document[] =
    "{'foo':['bar','baz'],'':0,'a/b':1,'c%d':2,'e^f':3,'g|h':4,'i\\\\j':5,' "
    "':7,'m~n':8,'null':null,'01':'one','deep':{'list':[[1,2],{'x':{'y':'z'}}]}}";

/* The first dozen are RFC 6901's own, section 5. */
static const struct pointer_row pointer_rows[] = {
    {"/foo", "[\"bar\", \"baz\"]"},
    {"/foo/0", "\"bar\""},
    {"/foo/1", "\"baz\""},
    {"/", "0"},
    {"/a~1b", "1"},
    {"/c%d", "2"},
    {"/e^f", "3"},
    {"/g|h", "4"},
    {"/i\\j", "5"},
    {"/ ", "7"},
    {"/m~0n", "8"},
    {"/deep/list/0/1", "2"},
    {"/deep/list/1/x/y", "\"z\""},
    {"/01", "\"one\""},
    {"/null", NULL},
    {"/foo/2", NULL},
    {"/foo/00", NULL},
    {"/foo/01", NULL},
    {"/foo/-", NULL},
    {"/foo/-1", NULL},
    {"/foo/+1", NULL},
    {"/foo/1 ", NULL},
    {"/foo/", NULL},
    {"/foo/18446744073709551617", NULL},
    {"/foo/0/0", NULL},
    {"/Foo", NULL},
    {"/foo/bar", NULL},
    {"//x", NULL},
    {"/m~1n", NULL},
};

static void test_pointers(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(pointer_rows); i++) {
        const struct pointer_row *row = &pointer_rows[i];
        struct shaped s;
        char mapping[256];
        char wanted[128];
        json_t *pointer = json_string(row->text);
        char *quoted = json_dumps(pointer, JSON_ENCODE_ANY);
        snprintf(mapping, sizeof mapping, "{'fields':{" PHONE_CONSTANT ",'consent.found':%s}}", quoted);
        shaped_of(&s, mapping, pointer_document);
        ROW_CHECK(s.r.signup.death == DEATH_NONE, row->text);
        if (row->found) {
            json_t *value = json_loads(row->found, JSON_DECODE_ANY, NULL);
            char *compact = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
            snprintf(wanted, sizeof wanted, "{\"found\":%s}", compact);
            ROW_CHECK(slice_is(s.r.signup.consent, wanted), row->text);
            free(compact);
            json_decref(value);
        } else {
            ROW_CHECK(!slice_present(s.r.signup.consent), row->text);
        }
        free(quoted);
        json_decref(pointer);
        shaped_fini(&s);
    }
}

struct parse_row {
    const char *text;
    size_t count;    /* of the good */
    const char *why; /* of the bad */
};

static const struct parse_row parse_rows[] = {
    {"", 0, NULL},
    {"/", 1, NULL},
    {"/a/b/c", 3, NULL},
    {"/a//c/", 4, NULL},
    {"/~0~1~01", 1, NULL},
    {"a", 0, "begins"},
    {"#/a", 0, "begins"},
    {" /a", 0, "begins"},
    {"$.a", 0, "begins"},
    {"/a~", 0, "~0 (for ~)"},
    {"/a~2", 0, "~0 (for ~)"},
    {"/~/a", 0, "~0 (for ~)"},
    {"/a/~x", 0, "~0 (for ~)"},
};

static void test_pointer_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(parse_rows); i++) {
        struct arena arena;
        struct event_pointer pointer;
        const char *why = NULL;
        arena_init(&arena, READING_ARENA_BYTES);
        bool well = event_pointer_parse(&arena, slice_from_str(parse_rows[i].text), &pointer, &why);
        ROW_CHECK(well == !parse_rows[i].why, parse_rows[i].text);
        ROW_CHECK(well || strstr(why, parse_rows[i].why), parse_rows[i].text);
        ROW_CHECK(!well ||
                      (pointer.count == parse_rows[i].count && slice_is(pointer.text, parse_rows[i].text)),
                  parse_rows[i].text);
        for (size_t t = 0; well && t < pointer.count; t++)
            assert_int_equal(strlen(pointer.tokens[t].ptr), pointer.tokens[t].len);
        arena_fini(&arena);
    }
    struct arena arena;
    struct event_pointer pointer;
    const char *why = NULL;
    arena_init(&arena, READING_ARENA_BYTES);
    assert_true(event_pointer_parse(&arena, SLICE_LITERAL("/~01/~10"), &pointer, &why));
    assert_true(slice_is(pointer.tokens[0], "~1") && slice_is(pointer.tokens[1], "/0"));
    assert_false(event_pointer_parse(&arena, (struct slice){"/a\0b", 4}, &pointer, &why));
    assert_non_null(strstr(why, "NUL"));
    arena_fini(&arena);
    arena_init(&arena, 0);
    assert_false(event_pointer_parse(&arena, SLICE_LITERAL("/a"), &pointer, &why));
    assert_non_null(strstr(why, "memory"));
    arena_fini(&arena);
}

/* ---- expressions */

struct expression_row {
    const char *expression; /* of custom_fields.x, with ' for " */
    const char *event;
    const char *value;  /* JSON, ' for "; NULL: nothing */
    const char *origin; /* as the trace tells it */
};

static const struct expression_row expressions[] = {
    {"'/a'", "{'a':'b'}", "'b'", "/a"},
    {"'/a'", "{'a':7}", "7", "/a"},
    {"'/a'", "{'a':true}", "true", "/a"},
    {"'/a'", "{'a':0.1}", "0.1", "/a"},
    {"'/a'", "{'a':''}", "''", "/a"},
    {"'/a'", "{'a':null}", NULL, NULL},
    {"'/a'", "{}", NULL, NULL},
    {"{'constant':'x'}", "{}", "'x'", "constant"},
    {"{'constant':true}", "{}", "true", "constant"},
    {"{'constant':-12}", "{}", "-12", "constant"},
    {"{'constant':2.5}", "{}", "2.5", "constant"},
    {"{'constant':''}", "{}", "''", "constant"},
    {"{'header':'x-gclid'}", "{}", "'abc'", "header x-gclid"},
    {"{'header':'X-Gclid'}", "{}", NULL, NULL},
    {"{'header':'none'}", "{}", NULL, NULL},
    {"{'header':'null'}", "{}", NULL, NULL},
    {"{'header':'ce_type'}", "{}", NULL, NULL},
    {"{'first_of':['/a','/b']}", "{'a':'1','b':'2'}", "'1'", "/a"},
    {"{'first_of':['/a','/b']}", "{'b':'2'}", "'2'", "/b"},
    {"{'first_of':['/a','/b']}", "{'a':null,'b':'2'}", "'2'", "/b"},
    {"{'first_of':['/a','/b']}", "{'a':' \\t','b':'2'}", "'2'", "/b"},
    {"{'first_of':['/a','/b']}", "{'a':'\\u00a0\\u3000','b':'2'}", "'2'", "/b"},
    {"{'first_of':['/a','/b']}", "{'a':0,'b':'2'}", "0", "/a"},
    {"{'first_of':['/a','/b']}", "{'a':false,'b':'2'}", "false", "/a"},
    {"{'first_of':['/a','/b',{'constant':'none'}]}", "{}", "'none'", "constant"},
    {"{'first_of':['/a','/b']}", "{'a':'','b':' '}", NULL, NULL},
    {"{'first_of':[]}", "{'a':'1'}", NULL, NULL},
    {"{'join':['/a','/b']}", "{'a':'x','b':'y'}", "'x y'", "join of /a, /b"},
    {"{'join':['/a','/b'],'with':'-'}", "{'a':1,'b':true}", "'1-true'", "join of /a, /b"},
    {"{'join':['/a','/b'],'with':''}", "{'a':1.5,'b':-3}", "'1.5-3'", "join of /a, /b"},
    {"{'join':['/a','/b','/c']}", "{'a':'x','c':'z'}", "'x z'", "join of /a, /c"},
    {"{'join':['/a','/b','/c']}", "{'a':'x','b':' ','c':'z'}", "'x z'", "join of /a, /c"},
    {"{'join':['/a','/b']}", "{'a':{'x':1},'b':'y'}", "'y'", "join of /b"},
    {"{'join':['/a','/b']}", "{'a':[1],'b':null}", NULL, NULL},
    {"{'join':[]}", "{}", NULL, NULL},
    {"{'join':['/a',{'join':['/b','/c'],'with':'+'}],'with':'='}", "{'a':'x','b':'y','c':'z'}", "'x=y+z'",
     "join of /a, join of /b, /c"},
    {"{'join':[{'lowercase':'/a'},{'lowercase':'/b'}],'with':'/'}", "{'a':'X','b':'Y'}", "'x/y'",
     "join of lowercase of /a, lowercase of /b"},
    {"{'lowercase':'/a'}", "{'a':'FaceBook'}", "'facebook'", "lowercase of /a"},
    {"{'lowercase':'/a'}", "{'a':'\\u00c9T\\u00c9 \\u0416 \\u03a9 \\u023a\\ud801\\udc00'}",
     "'\xC3\xA9t\xC3\xA9 \xD0\xB6 \xCF\x89 \xE2\xB1\xA5\xF0\x90\x90\xA8'", "lowercase of /a"},
    {"{'lowercase':'/a'}", "{'a':12}", "'12'", "lowercase of /a"},
    {"{'lowercase':'/a'}", "{'a':{}}", NULL, NULL},
    {"{'lowercase':'/a'}", "{}", NULL, NULL},
    {"{'lowercase':{'first_of':['/utm/source','/src']}}", "{'src':'TikTok'}", "'tiktok'",
     "lowercase of /src"},
    {"{'split_name':'/a','part':'first'}", "{'a':'Ada Lovelace'}", "'Ada'", "first name of /a"},
    {"{'split_name':'/a','part':'last'}", "{'a':'Ada Lovelace'}", "'Lovelace'", "last name of /a"},
    {"{'split_name':'/a','part':'first'}", "{'a':'  Mary \\u00a0 Ann\\tvan  Dyke '}", "'Mary Ann van'",
     "first name of /a"},
    {"{'split_name':'/a','part':'last'}", "{'a':'  Mary \\u00a0 Ann\\tvan  Dyke '}", "'Dyke'",
     "last name of /a"},
    {"{'split_name':'/a','part':'first'}", "{'a':' Ada '}", "'Ada'", "first name of /a"},
    {"{'split_name':'/a','part':'last'}", "{'a':' Ada '}", NULL, NULL},
    {"{'split_name':'/a','part':'first'}", "{'a':'\\u674e\\u3000\\u660e'}", "'\xE6\x9D\x8E'",
     "first name of /a"},
    {"{'split_name':'/a','part':'first'}", "{'a':'  '}", NULL, NULL},
    {"{'split_name':'/a','part':'last'}", "{'a':''}", NULL, NULL},
    {"{'split_name':'/a','part':'first'}", "{'a':7}", NULL, NULL},
    /* as deep as the configuration lets it be */
    {"{'first_of':[{'first_of':[{'first_of':[{'lowercase':{'join':[{'first_of':[{'first_of':['/"
     "a']}]}]}}]}]}]}",
     "{'a':'DEEP'}", "'deep'", "lowercase of join of /a"},
};

static void test_expressions(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(expressions); i++) {
        const struct expression_row *row = &expressions[i];
        struct shaped s;
        char mapping[512];
        char wanted[256];
        snprintf(mapping, sizeof mapping,
                 "{'fields':{" PHONE_CONSTANT
                 ",'custom_fields.x':%s},'headers':{'x-gclid':'abc','null':null}}",
                 row->expression);
        shaped_of(&s, mapping, row->event);
        ROW_CHECK(s.r.signup.death == DEATH_NONE && !s.r.signup.warnings, row->expression);
        if (row->value) {
            snprintf(wanted, sizeof wanted, "'custom_fields':{'x':%s}", row->value);
            ROW_CHECK(slice_has(s.r.signup.body, wanted), row->expression);
            snprintf(wanted, sizeof wanted, "(%s)\n", row->origin);
            ROW_CHECK(shaped_told(&s, "field custom_fields.x=") && shaped_told(&s, wanted), row->expression);
        } else {
            ROW_CHECK(!slice_has(s.r.signup.body, "custom_fields\":{"), row->expression);
            ROW_CHECK(!shaped_told(&s, "field custom_fields.x="), row->expression);
        }
        shaped_fini(&s);
    }
}

static void test_headers(void **state)
{
    (void)state;
    static const struct record_header headers[] = {
        {SLICE_LITERAL("id"), SLICE_LITERAL("first")},     {SLICE_LITERAL("id"), SLICE_LITERAL("last")},
        {SLICE_LITERAL("bad"), SLICE_LITERAL("\xFF")},     {SLICE_LITERAL("nul"), {"a\0b", 3}},
        {SLICE_LITERAL("cut"), SLICE_LITERAL("\xE2\x82")},
    };
    struct shaped s;
    shaped_of(&s,
              "{'profile':'api','fields':{'event_id':{'header':'id'},'custom_fields.a':{'header':'bad'},"
              "'custom_fields.b':{'header':'nul'},'custom_fields.c':{'header':'cut'}}}",
              "{" KEY "}");
    s.r.record.headers = headers;
    s.r.record.header_count = COUNT_OF(headers);
    reading_run(&s.r);
    assert_int_equal(s.r.signup.death, DEATH_NONE);
    assert_true(slice_is(s.r.signup.event_id, "last"));
    assert_int_equal(warnings_count(&s.r.signup), 3);
    assert_true(
        slice_is(s.r.signup.warnings->message, "the header bad was dropped: it is not text in UTF-8"));
    assert_false(slice_has(s.r.signup.body, "'custom_fields'"));
    shaped_fini(&s);
}

/* ---- what wins over what */

struct win_row {
    const char *mapping;
    const char *event;
    const char *in;      /* the body or the consent has it */
    const char *not_in;  /* NULL: not looked at */
    const char *warning; /* a part of the only one; NULL: none */
};

static const struct win_row wins[] = {
    /* an assignment wins over the member of that name; one that finds nothing leaves it */
    {"{'profile':'api','fields':{'url':'/page'}}",
     "{" KEY ",'url':'https://a.example','page':'https://b.example'}", "https://b.example",
     "https://a.example", NULL},
    {"{'profile':'api','fields':{'url':'/page'}}", "{" KEY ",'url':'https://a.example'}", "https://a.example",
     NULL, NULL},
    {"{'profile':'api','fields':{'url':'/page'}}", "{" KEY ",'url':'https://a.example','page':' '}",
     "https://a.example", NULL, NULL},
    /* of the profile json nothing is read by name */
    {"{'profile':'json','fields':{" PHONE_CONSTANT "}}",
     "{" KEY ",'url':'https://a.example','custom_fields':{'a':1}}", "+14155551234", "a.example", NULL},
    {"{'fields':{" PHONE_CONSTANT ",'url':'/url'}}", "{'url':'https://a.example'}", "a.example", NULL, NULL},
    /* the two spellings of the phone are one field */
    {"{'profile':'api','fields':{'phone':'/whatsapp'}}", "{" KEY ",'whatsapp':'212 555 0199'}",
     "+12125550199", "4155551234", NULL},
    {"{'profile':'api','fields':{'phone':'/whatsapp'}}", "{" KEY ",'whatsapp':''}", "+14155551234", NULL,
     NULL},
    {"{'profile':'api','fields':{'url':'/page'}}",
     "{'phone':'4155551234','phone_number':' ','list_number':'8335550100'}", "+14155551234", NULL, NULL},
    /* members of objects */
    {"{'profile':'api','fields':{'custom_fields.a':'/x'}}", "{" KEY ",'x':1,'custom_fields':{'a':2,'b':3}}",
     "'custom_fields':{'a':1,'b':3}", NULL, NULL},
    {"{'profile':'api','fields':{'custom_fields.a':'/x'}}", "{" KEY ",'custom_fields':{'a':2,'b':3}}",
     "'custom_fields':{'a':2,'b':3}", NULL, NULL},
    {"{'profile':'api','fields':{'custom_fields':'/more','custom_fields.a':'/x'}}",
     "{" KEY ",'x':1,'more':{'a':2,'c':4},'custom_fields':{'b':3}}", "'custom_fields':{'a':1,'c':4}", NULL,
     NULL},
    {"{'profile':'api','fields':{'custom_fields.a':'/x'}}", "{" KEY ",'x':1,'custom_fields':'text'}",
     "'custom_fields':{'a':1}", NULL, "custom_fields was dropped: it is text, not an object"},
    {"{'profile':'api','fields':{'custom_fields.a':'/x','custom_fields.b':'/x'}}", "{" KEY ",'x':1}",
     "'custom_fields':{'a':1,'b':1}", NULL, NULL},
    {"{'profile':'api','fields':{'custom_fields.a':'/x'}}", "{" KEY ",'x':{'y':1}}", "+14155551234",
     "'custom_fields'", "custom_fields.a was dropped: it is an object"},
    {"{'profile':'api','fields':{'consent.text':'/t'}}", "{" KEY ",'t':'yes','consent':{'text':'no','v':2}}",
     "{'text':'yes','v':2}", NULL, NULL},
    {"{'profile':'api','fields':{'consent':'/x','custom_fields':'/x','consent.own':{'constant':'c'},"
     "'custom_fields.own':{'constant':'f'}}}",
     "{" KEY ",'x':{'shared':1}}", "'custom_fields':{'own':'f','shared':1}", NULL, NULL},
    {"{'profile':'api','fields':{'consent.all':''}}", "{" KEY ",'x':1}", "'all':{", NULL, NULL},
    /* unmapped */
    {"{'profile':'json','fields':{" PHONE_CONSTANT "},'unmapped':'custom_fields'}",
     "{'a':'x','b':2,'c':true,'d':null,'url':'u'}", "'custom_fields':{'a':'x','b':2,'c':true,'url':'u'}",
     NULL, NULL},
    {"{'profile':'json','fields':{" PHONE_CONSTANT
     ",'url':'/a','event_id':{'join':['/b',{'lowercase':'/c'}]}},'unmapped':'custom_fields'}",
     "{'a':'https://a.example','b':'2','c':'3','d':'4'}", "'custom_fields':{'d':'4'}", NULL, NULL},
    {"{'profile':'json','fields':{'phone_number':'/who/phone','list_number':{'constant':'8335550100'}},"
     "'unmapped':'custom_fields'}",
     "{'who':{'phone':'4155551234','name':'x'},'d':'4'}", "'custom_fields':{'d':'4'}", NULL, NULL},
    {"{'profile':'json','fields':{" PHONE_CONSTANT "},'unmapped':'custom_fields'}", "{'a':{'b':1},'d':'4'}",
     "'custom_fields':{'d':'4'}", NULL, "a was dropped: it is an object"},
    {"{'profile':'json','fields':{" PHONE_CONSTANT "},'unmapped':'custom_fields'}",
     "{'4155551234':[],'d':'4'}", "'custom_fields':{'d':'4'}", NULL, "********34 was dropped: it is a list"},
    {"{'profile':'json','fields':{" PHONE_CONSTANT ",'consent.all':''},'unmapped':'custom_fields'}",
     "{'d':'4'}", "'all':{'d':'4'}", "'custom_fields'", NULL},
    {"{'profile':'api','fields':{'url':'/page'},'unmapped':'custom_fields'}",
     "{" KEY ",'phone':'1','force':false,'page':'https://a.example','extra':'e'}",
     "'custom_fields':{'extra':'e'}", NULL, NULL},
    {"{'profile':'api','unmapped':'custom_fields'}", "{" KEY ",'a':1,'b':2,'custom_fields':{'a':0,'c':null}}",
     "'custom_fields':{'a':0,'b':2}", NULL, NULL},
    {"{'profile':'api','fields':{'custom_fields.a':'/x'},'unmapped':'custom_fields'}",
     "{" KEY ",'a':1,'x':'m'}", "'custom_fields':{'a':'m'}", NULL, NULL},
    {"{'profile':'api','unmapped':'custom_fields'}", "{" KEY ",'custom_fields':7,'a':1}",
     "'custom_fields':{'a':1}", NULL, "custom_fields was dropped"},
    {"{'profile':'api','unmapped':'ignore'}", "{" KEY ",'a':{'b':1},'c':1}", "+14155551234",
     "'custom_fields'", NULL},
};

static void test_what_wins(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(wins); i++) {
        const struct win_row *row = &wins[i];
        char label[768];
        struct shaped s;
        shaped_of(&s, row->mapping, row->event);
        snprintf(label, sizeof label, "%s of %s: %.*s", row->mapping, row->event, (int)s.r.signup.body.len,
                 s.r.signup.body.ptr);
        ROW_CHECK(s.r.signup.death == DEATH_NONE, label);
        ROW_CHECK(slice_has(s.r.signup.body, row->in) || slice_has(s.r.signup.consent, row->in), label);
        ROW_CHECK(!row->not_in || !slice_has(s.r.signup.body, row->not_in), label);
        ROW_CHECK(warnings_count(&s.r.signup) == (row->warning != NULL), label);
        if (row->warning) {
            ROW_CHECK(slice_is(s.r.signup.warnings->code, "field_dropped"), label);
            ROW_CHECK(slice_has(s.r.signup.warnings->message, row->warning), label);
        }
        shaped_fini(&s);
    }
}

/* Two fields that are given the same object of the tree: members put into one are not in the other. */
static void test_objects_are_not_shared(void **state)
{
    (void)state;
    struct shaped s;
    shaped_of(&s,
              "{'profile':'api','fields':{'consent':'/x','custom_fields':'/x','consent.own':{'constant':'c'},"
              "'custom_fields.own':{'constant':'f'}}}",
              "{" KEY ",'x':{'shared':1}}");
    assert_true(slice_is(s.r.signup.consent, "{\"own\":\"c\",\"shared\":1}"));
    assert_true(slice_has(s.r.signup.body, "{'own':'f','shared':1}"));
    shaped_fini(&s);
}

static void test_many_nested_members_are_one_complaint(void **state)
{
    (void)state;
    struct shaped s;
    struct buf event;
    buf_init(&event, EVENT_BYTES_MAX);
    buf_append_str(&event, "{");
    for (int i = 0; i < 500; i++)
        buf_printf(&event, "%s'f%d':[]", i ? "," : "", i);
    buf_append_str(&event, "}");
    buf_append_char(&event, '\0');
    assert_true(buf_ok(&event));
    shaped_of(&s, "{'fields':{" PHONE_CONSTANT "},'unmapped':'custom_fields'}", event.data);
    assert_int_equal(warnings_count(&s.r.signup), 17);
    buf_fini(&event);
    shaped_fini(&s);
}

/* Ids of other people are often numbers; of the API's own body they are not (its contract). */
static void test_event_id_of_a_number(void **state)
{
    (void)state;
    struct shaped s;
    shaped_of(&s, "{'profile':'api','fields':{'event_id':'/n'}}", "{" KEY ",'n':9007199254740993}");
    assert_true(slice_is(s.r.signup.event_id, "9007199254740993"));
    shaped_fini(&s);
    shaped_of(&s, "{'profile':'api','fields':{'event_id':'/n'}}", "{" KEY ",'n':0.5}");
    assert_int_equal(s.r.signup.death, DEATH_INVALID_EVENT_ID);
    shaped_fini(&s);
    shaped_of(&s, "{'profile':'api'}", "{" KEY ",'event_id':7}");
    assert_int_equal(s.r.signup.death, DEATH_INVALID_EVENT_ID);
    shaped_fini(&s);
}

/* Other topics are not touched by a shape, whatever it says. */
static void test_other_topics_stay_plain(void **state)
{
    (void)state;
    struct reading r;
    struct arena arena;
    struct event_topic topic = {.topic = SLICE_LITERAL("signups.eu"), .profile = EVENT_PROFILE_META_LEAD_ADS};
    arena_init(&arena, READING_ARENA_BYTES);
    reading_init_event(&r, "{" KEY ",'fields':{'a':1}}");
    r.rules.shapes = &topic;
    r.rules.shape_count = 1;
    reading_run(&r);
    assert_int_equal(r.signup.death, DEATH_NONE);
    assert_int_equal(r.signup.schema_id, -1);
    reading_fini(&r);
    reading_init_event(&r, "{" KEY "}");
    r.rules.shapes = &topic;
    r.rules.shape_count = 1;
    r.record.topic = SLICE_LITERAL("signups.eu");
    reading_run(&r);
    assert_int_equal(r.signup.death, DEATH_MALFORMED_PAYLOAD);
    reading_fini(&r);
    arena_fini(&arena);
}

static void test_trace_of_names(void **state)
{
    (void)state;
    struct shaped s;
    shaped_of(&s, "{'profile':'api'}",
              "{" KEY ",'url':'https://a.example','custom_fields':{'a':1,'b':{'c':2}},'x':1}");
    assert_true(shaped_told(&s, " bytes, 0 headers (the record)\n"));
    assert_true(shaped_told(&s, "shape =api (JSON object of 5 members)\n"));
    assert_true(shaped_told(&s, "field phone_number=4155551234 (field phone_number)\n"));
    assert_true(shaped_told(&s, "field url=https://a.example (field url)\n"));
    assert_true(shaped_told(&s, "field custom_fields.a=1 (field custom_fields)\n"));
    assert_true(shaped_told(&s, "field custom_fields.b={'c':2} (field custom_fields)\n"));
    assert_false(shaped_told(&s, "field x="));
    shaped_fini(&s);
}

/* ---- texts */

static void test_utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "a",
                                       "\xC2\x80",
                                       "\xDF\xBF",
                                       "\xE0\xA0\x80",
                                       "\xED\x9F\xBF",
                                       "\xEE\x80\x80",
                                       "\xEF\xBF\xBF",
                                       "\xF0\x90\x80\x80",
                                       "\xF4\x8F\xBF\xBF"};
    static const char *const bad[] = {
        "\x80",         "\xC0\x80",         "\xC1\xBF",         "\xC2",         "\xC2\x41",
        "\xE0\x9F\xBF", "\xE2\x82",         "\xED\xA0\x80",     "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF",
        "\xF0\x90\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFE",         "\xFF"};
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_true(text_is_utf8(slice_from_str(good[i])));
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(text_is_utf8(slice_from_str(bad[i])));
    assert_false(text_is_utf8((struct slice){"a\0", 2}));
    assert_true(text_is_utf8(SLICE_ABSENT));
    for (uint32_t point = 1; point < 0x110000; point += 7) { /* jansson's judgement, of every seventh point */
        char utf8[8];
        struct buf out;
        buf_init(&out, 16);
        snprintf(utf8, sizeof utf8, "%c%c%c%c", (int)(0xF0 | point >> 18), (int)(0x80 | (point >> 12 & 0x3F)),
                 (int)(0x80 | (point >> 6 & 0x3F)), (int)(0x80 | (point & 0x3F)));
        json_t *judged = json_string(utf8);
        assert_int_equal(judged != NULL, text_is_utf8(slice_from_str(utf8)));
        json_decref(judged);
        text_append_lower(&out, slice_from_str(utf8));
        assert_true(buf_ok(&out) && (!judged || text_is_utf8(buf_slice(&out))));
        buf_fini(&out);
    }
}

static void test_trim(void **state)
{
    (void)state;
    assert_true(slice_is(text_trim(SLICE_LITERAL(" \t a b \r\n")), "a b"));
    assert_true(slice_is(text_trim(SLICE_LITERAL("\xC2\xA0\xE3\x80\x80x\xE2\x80\x83")), "x"));
    assert_int_equal(text_trim(SLICE_LITERAL(" \xC2\xA0 ")).len, 0);
    assert_int_equal(text_trim(SLICE_LITERAL("")).len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_pointers),
        cmocka_unit_test(test_pointer_parse),
        cmocka_unit_test(test_expressions),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_what_wins),
        cmocka_unit_test(test_objects_are_not_shared),
        cmocka_unit_test(test_many_nested_members_are_one_complaint),
        cmocka_unit_test(test_event_id_of_a_number),
        cmocka_unit_test(test_other_topics_stay_plain),
        cmocka_unit_test(test_trace_of_names),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_trim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
