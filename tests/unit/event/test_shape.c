/* shape*.c, profile_*.c, form.c: what each profile takes, what it refuses, and what it makes of the samples
 * that are handed out. */
#include "shape_reading.h"

#include "digest.h"
#include "shape_base64.h"
#include "scratch.h"

#define KEY "'phone_number':'4155551234','list_number':'8335550100'"
#define LIST_CONSTANT "'fields':{'list_number':{'constant':'8335550100'}}"

static void test_profile_names(void **state)
{
    (void)state;
    enum event_profile profile;
    for (int i = 0; i < EVENT_PROFILE_COUNT; i++) {
        assert_true(event_profile_parse(slice_from_str(event_profile_str((enum event_profile)i)), &profile));
        assert_int_equal(profile, i);
    }
    assert_false(event_profile_parse(SLICE_LITERAL("Api"), &profile));
    assert_false(event_profile_parse(SLICE_LITERAL(""), &profile));
    assert_false(event_profile_parse(SLICE_ABSENT, &profile));
}

/* ---- the samples */

struct sample {
    const char *file;
    const char *mapping;
    enum death_code death;
    const char *event_id;
    const char *wanted[8]; /* in the body, the consent, the attribution or, of the dead, the message */
    const char *told[4];   /* lines of the trace */
    const char *warning;   /* a part of the only one; NULL: none */
};

static const struct sample samples[] = {
    {"api.json",
     "{'profile':'api'}",
     DEATH_NONE,
     "lp-2026-05-30-000184",
     {"'phone_number':'+14155550132'", "'signup_date':'2026-05-31T00:42:08Z'", "'city':'Oakland'",
      "'text_version':'2026-04'"},
     {"shape =api (", "(field phone_number)"},
     NULL},
    {"json.json",
     "{'profile':'json','unmapped':'custom_fields','fields':{'phone_number':'/contact/phone',"
     "'list_number':{'constant':'+18005550100'},'event_id':{'join':['/form','/submission/id'],'with':'-'},"
     "'signup_date':'/submission/at','ad_network_source':{'lowercase':{'first_of':['/utm/source','/src']}},"
     "'ad_network_id':'/utm/campaign','url':'/page/href','ip_address':'/page/ip',"
     "'custom_fields.first_name':{'split_name':'/contact/name','part':'first'},"
     "'custom_fields.last_name':{'split_name':'/contact/name','part':'last'},"
     "'consent.text':'/consent/wording','consent.text_version':'/consent/version'}}",
     DEATH_NONE,
     "summer-popup-90417",
     {"'phone_number':'+15035550148'", "'first_name':'Teodora Anne','last_name':'Lindqvist'",
      "'ad_network_source':'facebook'", "'favorite_board':'longboard'", "'visits':3", "'newsletter':false",
      "'text':'Text me offers.", "'signup_date':'2026-05-30T21:07:55Z'"},
     {"field event_id=summer-popup-90417 (join of /form, /submission/id)\n", "(lowercase of /utm/source)\n",
      "field custom_fields.visits=3 (unmapped: /visits)\n", "(constant)\n"},
     "cart was dropped: it is a list"},
    {"cloudevents.json",
     "{'profile':'cloudevents'}",
     DEATH_NONE,
     "https://forms.example.com/landing/spring|5f1c2a9e-77d0-4a53-9a52-0e4c1f3b2a10",
     {"'phone_number':'+12125550119'", "'signup_date':'2026-05-30T18:20:11Z'",
      "'ip_address':'2001:db8:44::1f'", "'first_name':'Ines'", "'text_version':'3'"},
     {"shape =cloudevents (structured mode)\n", "(profile cloudevents: source and id)\n",
      "(profile cloudevents: time)\n", "(field phone_number)\n"},
     NULL},
    {"cloudevents_binary.json",
     "{'profile':'cloudevents','fields':{'custom_fields.kind':{'header':'ce_type'}},"
     "'headers':{'ce_specversion':'1.0','ce_id':'A234-1234-1234','ce_source':'/forms/autumn',"
     "'ce_type':'com.example.form.submitted','ce_time':'2026-05-29T09:15:00+02:00',"
     "'content-type':'application/json; charset=utf-8'}}",
     DEATH_NONE,
     "/forms/autumn|A234-1234-1234",
     {"'phone_number':'+16465550177'", "'signup_date':'2026-05-29T07:15:00Z'",
      "'kind':'com.example.form.submitted'"},
     {"shape =cloudevents (binary mode)\n", "(header ce_type)\n"},
     NULL},
    {"confluent_json.bin",
     "{'profile':'confluent_json'}",
     DEATH_NONE,
     "lp-2026-05-30-000184",
     {"'phone_number':'+14155550132'", "'city':'Oakland'"},
     {"shape =confluent_json (schema id 391)\n"},
     NULL},
    {"meta_lead_ads.json",
     "{'profile':'meta_lead_ads'," LIST_CONSTANT "}",
     DEATH_NONE,
     "meta:1203948576012345",
     {"'phone_number':'+16195550164'", "'signup_date':'2026-05-30T16:03:27Z'",
      "'ad_network_source':'facebook'", "'ad_network_id':'23861234567890001'", "'full_name':'Dana Whitfield'",
      "'which_days_suit_you?':'saturday, sunday'",
      "'custom_disclaimer_responses':[{'checkbox_key':'marketing_texts'"},
     {"field phone_number=+16195550164 (profile meta_lead_ads: /fields/phone_number)\n",
      "field custom_fields.city=San Diego (profile meta_lead_ads: /fields/city)\n",
      "field attribution.platform=ig (profile meta_lead_ads: /platform)\n",
      "field list_number=8335550100 (constant)\n"},
     NULL},
    {"meta_lead_ads_webhook.json",
     "{'profile':'meta_lead_ads'," LIST_CONSTANT "}",
     DEATH_MALFORMED_PAYLOAD,
     NULL,
     {"s notification, which has", "Fetch the lead"},
     {NULL},
     NULL},
    {"google_lead_form.json",
     "{'profile':'google_lead_form'," LIST_CONSTANT "}",
     DEATH_NONE,
     "google:TmV3TGVhZC1zYW1wbGUtMDAwMQ",
     {"'phone_number':'+13035550190'", "'signup_date':'2026-05-30T19:30:45Z'",
      "'ad_network_source':'adwords'", "'ad_network_id':'20000000001'", "'full_name':'Priya Raman'",
      "'postal_code':'80202'", "'What is your preferred shop?':'Downtown'", "'city':'Denver','email'"},
     {"field attribution.gclid=EAIaIQobChMIsample-gclid_BwE (profile google_lead_form: /gcl_id)\n",
      "field custom_fields.full_name=Priya Raman (profile google_lead_form: /fields/FULL_NAME)\n"},
     NULL},
    {"google_lead_form_test.json",
     "{'profile':'google_lead_form'," LIST_CONSTANT "}",
     DEATH_TEST_LEAD,
     "google:TeSter-123-ABCDEFGHIJKLMNOPQRSTUVWXYZ-abcdefghijklmnopqrstuvwxyz-0123456789-AaBbCcDdEeFfGgHhIiJj"
     "KkLl",
     {"test lead of Google Ads"},
     {NULL},
     NULL},
    {"tiktok_lead.json",
     "{'profile':'tiktok_lead'," LIST_CONSTANT "}",
     DEATH_NONE,
     "tiktok:7306789012345678901",
     {"'phone_number':'+13105550155'", "'signup_date':'2026-05-30T19:00:00Z'", "'ad_network_source':'tiktok'",
      "'ad_network_id':'1789012345678901'", "'name':'Noor Haddad'", "'How often do you surf?':'Every week'"},
     {"shape =tiktok_lead (webhook of one lead, 5 answers)\n",
      "field event_id=tiktok:7306789012345678901 (profile tiktok_lead: /entry/0/id)\n",
      "field attribution.form_id=7301122334455667788 (profile tiktok_lead: /entry/0/page_id)\n"},
     NULL},
    {"form.txt",
     "{'profile':'form'}",
     DEATH_NONE,
     "wf-77120",
     {"'phone_number':'+12065550183'", "'first_name':'Zo\xC3\xAB','last_name':'Park'",
      "'ip_address':'192.0.2.66'", "'url':'https://www.example.com/club?fbclid=IwAR0sample'",
      "'use_journeys':true", "{'text':'I agree to receive texts.','text_version':'12'}"},
     {"shape =form (9 fields)\n"},
     NULL},
};

static bool anywhere(const struct signup *signup, const char *part)
{
    return slice_has(signup->body, part) || slice_has(signup->consent, part) ||
           slice_has(signup->death_message, part);
}

static void test_samples(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(samples); i++) {
        const struct sample *sample = &samples[i];
        struct shaped s;
        shaped_of_sample(&s, sample->mapping, sample->file);
        const struct signup *signup = &s.r.signup;
        char label[1024];
        snprintf(label, sizeof label, "%s: %.*s %.*s", sample->file, (int)signup->body.len,
                 signup->body.ptr ? signup->body.ptr : "", (int)signup->death_message.len,
                 signup->death_message.ptr ? signup->death_message.ptr : "");
        ROW_CHECK(signup->death == sample->death, label);
        ROW_CHECK(warnings_count(signup) == (sample->warning != NULL), label);
        ROW_CHECK(!sample->warning || slice_has(signup->warnings->message, sample->warning), label);
        ROW_CHECK(!sample->event_id || slice_is(signup->event_id, sample->event_id), label);
        for (size_t w = 0; w < COUNT_OF(sample->wanted) && sample->wanted[w]; w++)
            ROW_CHECK(anywhere(signup, sample->wanted[w]), sample->wanted[w]);
        for (size_t w = 0; w < COUNT_OF(sample->told) && sample->told[w]; w++)
            ROW_CHECK(shaped_told(&s, sample->told[w]), sample->told[w]);
        ROW_CHECK(!slice_has(buf_slice(&s.trace), "a-secret") && !anywhere(signup, "a-secret"), label);
        ROW_CHECK((signup->schema_id == 391) == (sample->mapping[13] == 'o' && sample->mapping[12] == 'c'),
                  label);
        shaped_fini(&s);
    }
}

/* ---- frames */

struct frame_row {
    const char *mapping;
    const char *event; /* ' for " */
    enum death_code death;
    const char *wanted; /* in the body of the living, in the message of the dead */
};

#define CE "{'profile':'cloudevents'}"
#define CE_WITH(headers) "{'profile':'cloudevents','headers':{" headers "}}"
#define CE_HEAD "'specversion':'1.0','id':'1','source':'/s','type':'t'"
#define CE_HEADERS "'ce_specversion':'1.0','ce_id':'1','ce_source':'/s','ce_type':'t'"
#define META "{'profile':'meta_lead_ads'," LIST_CONSTANT "}"
#define GOOGLE "{'profile':'google_lead_form'," LIST_CONSTANT "}"
#define TIKTOK "{'profile':'tiktok_lead'," LIST_CONSTANT "}"

static const struct frame_row frames[] = {
    /* CloudEvents, structured */
    {CE, "{" CE_HEAD ",'data':{" KEY "}}", DEATH_NONE, "+14155551234"},
    {CE, "{" CE_HEAD ",'data':{" KEY "},'traceparent':'x','n':1}", DEATH_NONE, "+14155551234"},
    {CE, "{" CE_HEAD ",'datacontenttype':'application/vnd.acme+JSON; charset=utf-8','data':{" KEY "}}",
     DEATH_NONE, "+14155551234"},
    {CE, "{" CE_HEAD ",'datacontenttype':null,'data':{" KEY "},'data_base64':null}", DEATH_NONE,
     "+14155551234"},
    {CE_WITH("'content-type':'Application/CloudEvents+JSON; charset=UTF-8'"),
     "{" CE_HEAD ",'data':{" KEY "}}", DEATH_NONE, "+14155551234"},
    /* the content type decides; headers repeat the envelope's attributes, or lag behind them */
    {CE_WITH("'content-type':'application/cloudevents+json'," CE_HEADERS), "{" CE_HEAD ",'data':{" KEY "}}",
     DEATH_NONE, "+14155551234"},
    {CE_WITH("'ce_specversion':'0.3','content-type':'application/cloudevents+json'"),
     "{" CE_HEAD ",'data':{" KEY "}}", DEATH_NONE, "+14155551234"},
    {CE, "{'specversion':'1.0.2','id':'1','source':'/s','type':'t','data':{" KEY "}}", DEATH_NONE,
     "+14155551234"},
    {CE, "{'specversion':'0.3','id':'1','source':'/s','type':'t','data':{" KEY "}}", DEATH_MALFORMED_PAYLOAD,
     "not 1.x"},
    {CE, "{'specversion':1.0,'id':'1','source':'/s','type':'t','data':{" KEY "}}", DEATH_MALFORMED_PAYLOAD,
     "not 1.x"},
    {CE, "{'specversion':'1','id':'1','source':'/s','type':'t','data':{" KEY "}}", DEATH_MALFORMED_PAYLOAD,
     "not 1.x"},
    {CE, "{'specversion':'1.0','source':'/s','type':'t','data':{" KEY "}}", DEATH_MALFORMED_PAYLOAD,
     "has no id"},
    {CE, "{'specversion':'1.0','id':'1','type':'t','data':{" KEY "}}", DEATH_MALFORMED_PAYLOAD,
     "has no source"},
    {CE, "{'specversion':'1.0','id':'1','source':'/s','data':{" KEY "}}", DEATH_MALFORMED_PAYLOAD,
     "has no type"},
    {CE, "{'specversion':'1.0','id':7,'source':'/s','type':'t','data':{" KEY "}}", DEATH_MALFORMED_PAYLOAD,
     "has no id"},
    {CE, "{'specversion':'1.0','id':' ','source':'/s','type':'t','data':{" KEY "}}", DEATH_MALFORMED_PAYLOAD,
     "has no id"},
    {CE, "{" KEY "}", DEATH_MALFORMED_PAYLOAD, "no CloudEvent"},
    {CE, "{" CE_HEAD "}", DEATH_MALFORMED_PAYLOAD, "neither data and data_base64"},
    {CE, "{" CE_HEAD ",'data':{" KEY "},'data_base64':'e30='}", DEATH_MALFORMED_PAYLOAD,
     "both data and data_base64"},
    {CE, "{" CE_HEAD ",'data':'text'}", DEATH_MALFORMED_PAYLOAD, "data is text"},
    {CE, "{" CE_HEAD ",'data':[1]}", DEATH_MALFORMED_PAYLOAD, "data is a list"},
    {CE, "{" CE_HEAD ",'datacontenttype':'text/xml','data':'<a/>'}", DEATH_MALFORMED_PAYLOAD, "not JSON"},
    {CE, "{" CE_HEAD ",'datacontenttype':5,'data':{" KEY "}}", DEATH_MALFORMED_PAYLOAD, "not JSON"},
    {CE, "{" CE_HEAD ",'data_base64':'eyJwaG9uZSI6IjQxNTU1NTEyMzQiLCJsaXN0X251bWJlciI6IjgzMzU1NTAxMDAifQ=='}",
     DEATH_NONE, "+14155551234"},
    {CE, "{" CE_HEAD ",'data_base64':'eyJw!G9u'}", DEATH_MALFORMED_PAYLOAD, "not base64"},
    {CE, "{" CE_HEAD ",'data_base64':'e30'}", DEATH_MALFORMED_PAYLOAD, "not base64"},
    {CE, "{" CE_HEAD ",'data_base64':{}}", DEATH_MALFORMED_PAYLOAD, "not base64"},
    {CE, "{" CE_HEAD ",'data_base64':'e3s='}", DEATH_MALFORMED_JSON, "not valid JSON"},
    {CE, "{" CE_HEAD ",'data_base64':'W10='}", DEATH_NOT_AN_OBJECT, "a list"},
    {CE, "{" CE_HEAD ",'data_base64':''}", DEATH_EMPTY_EVENT, "no value"},
    {CE, "[{" CE_HEAD "}]", DEATH_NOT_AN_OBJECT, "a list"},
    {CE, "{", DEATH_MALFORMED_JSON, "too early"},
    {CE_WITH("'content-type':'application/cloudevents-batch+json'"), "[{" CE_HEAD "}]",
     DEATH_MALFORMED_PAYLOAD, "a batch"},
    {CE_WITH("'content-type':'application/cloudevents+avro'"), "x", DEATH_MALFORMED_PAYLOAD,
     "format other than JSON"},
    /* binary */
    {CE_WITH(CE_HEADERS), "{" KEY "}", DEATH_NONE, "+14155551234"},
    {CE_WITH(CE_HEADERS ",'content-type':'text/json'"), "{" KEY ",'specversion':'9'}", DEATH_NONE,
     "+14155551234"},
    {CE_WITH(CE_HEADERS ",'content-type':'application/avro'"), "{" KEY "}", DEATH_MALFORMED_PAYLOAD,
     "not JSON"},
    {CE_WITH("'ce_specversion':'0.3','ce_id':'1','ce_source':'/s','ce_type':'t'"), "{" KEY "}",
     DEATH_MALFORMED_PAYLOAD, "not 1.x"},
    {CE_WITH("'ce_specversion':'1.0','ce_source':'/s','ce_type':'t'"), "{" KEY "}", DEATH_MALFORMED_PAYLOAD,
     "has no id"},
    {CE_WITH("'ce_specversion':'1.0','ce_id':'1','ce_source':null,'ce_type':'t'"), "{" KEY "}",
     DEATH_MALFORMED_PAYLOAD, "has no source"},
    {CE_WITH("'CE_SpecVersion':'1.0','ce_id':'1','ce_source':'/s','ce_type':'t'"), "{" KEY "}",
     DEATH_MALFORMED_PAYLOAD, "no CloudEvent"},
    {CE_WITH(CE_HEADERS), "[]", DEATH_NOT_AN_OBJECT, "a list"},
    /* Meta */
    {META, "{'id':'1','field_data':[{'name':'phone_number','values':['4155551234']}]}", DEATH_NONE,
     "+14155551234"},
    {META, "{'leadgen_id':1,'field_data':[{'name':'Phone Number','value':'4155551234'}]}", DEATH_NONE,
     "+14155551234"},
    {META,
     "{'id':'1','field_data':[{'name':'work_phone_number','values':['4155551234']},null,7,{'name':7},"
     "{'values':['x']}]}",
     DEATH_NONE, "+14155551234"},
    {META, "{'id':'1','field_data':[{'name':'phone_number','values':[]}]}", DEATH_MISSING_PHONE_NUMBER,
     "no phone number"},
    {META, "{'id':'1','field_data':[]}", DEATH_MISSING_PHONE_NUMBER, "no phone number"},
    {META, "{'field_data':[]}", DEATH_MALFORMED_PAYLOAD, "has no id"},
    {META, "{'id':'1','field_data':{}}", DEATH_MALFORMED_PAYLOAD, "no list field_data"},
    {META, "{" KEY "}", DEATH_MALFORMED_PAYLOAD, "no list field_data"},
    {META, "{'data':[{'id':'1','field_data':[]}],'paging':{}}", DEATH_MALFORMED_PAYLOAD, "a page of leads"},
    {META, "{'error':{'message':'x','code':190}}", DEATH_MALFORMED_PAYLOAD, "an error"},
    {META, "{'object':'page','entry':[{'changes':[{'field':'leadgen','value':{'leadgen_id':'1'}}]}]}",
     DEATH_MALFORMED_PAYLOAD, "GET /{leadgen_id}"},
    {META,
     "{'id':'1','field_data':[{'name':'phone_number','values':['<test lead: dummy data for "
     "phone_number>']}]}",
     DEATH_TEST_LEAD, "testing tool"},
    {META, "[]", DEATH_NOT_AN_OBJECT, "a list"},
    /* Google */
    {GOOGLE, "{'lead_id':'1','user_column_data':[{'column_id':'PHONE_NUMBER','string_value':'4155551234'}]}",
     DEATH_NONE, "'phone_number':'+14155551234'"},
    {GOOGLE,
     "{'lead_id':'1','user_column_data':[{'column_name':'Phone "
     "number','string_value':'4155551234'}],'is_test':false}",
     DEATH_NONE, "+14155551234"},
    {GOOGLE, "{'lead_id':'1','is_test':true,'user_column_data':[]}", DEATH_TEST_LEAD, "is_test"},
    {GOOGLE, "{'lead_id':'1','is_test':'true','user_column_data':[]}", DEATH_TEST_LEAD, "is_test"},
    {GOOGLE, "{'user_column_data':[]}", DEATH_MALFORMED_PAYLOAD, "no lead_id"},
    {GOOGLE, "{'lead_id':'1'}", DEATH_MALFORMED_PAYLOAD, "no list user_column_data"},
    /* TikTok */
    {TIKTOK, "{'object':1,'entry':[{'id':'1','changes':[{'field':'phone_number','value':'4155551234'}]}]}",
     DEATH_NONE, "+14155551234"},
    {TIKTOK, "{'entry':[{'id':1,'changes':[{'field':'Phone number','value':4155551234}]}]}", DEATH_NONE,
     "+14155551234"},
    {TIKTOK,
     "{'code':0,'data':{'lead_data':{'Phone number':'4155551234'},'meta_data':{'lead_id':'1',"
     "'campaign_id':'77','create_time':'2026-05-04 12:00:00'}}}",
     DEATH_NONE, "'ad_network_id':'77'"},
    {TIKTOK, "{'lead_data':{'phone_number':'4155551234'},'meta_data':{'lead_id':'1'}}", DEATH_NONE,
     "+14155551234"},
    {TIKTOK, "{'object':2,'entry':[{'id':'1','changes':[]}]}", DEATH_MALFORMED_PAYLOAD, "not about a lead"},
    {TIKTOK, "{'object':1,'entry':[{'id':'1','changes':[]},{'id':'2','changes':[]}]}",
     DEATH_MALFORMED_PAYLOAD, "has 2 leads"},
    {TIKTOK, "{'object':1,'entry':[{'id':'1'}]}", DEATH_MALFORMED_PAYLOAD, "no list changes"},
    {TIKTOK, "{'object':1,'entry':[]}", DEATH_MALFORMED_PAYLOAD, "no list changes"},
    {TIKTOK, "{'object':1,'entry':[{'changes':[]}]}", DEATH_MALFORMED_PAYLOAD, "has no id"},
    {TIKTOK, "{'data':{'lead_data':{}}}", DEATH_MALFORMED_PAYLOAD, "neither a list entry"},
    {TIKTOK, "{'data':{'meta_data':{'lead_id':'1'}}}", DEATH_MALFORMED_PAYLOAD, "neither a list entry"},
    {TIKTOK, "{" KEY "}", DEATH_MALFORMED_PAYLOAD, "neither a list entry"},
    /* whatever the profile */
    {"{'profile':'form'}", " \n", DEATH_EMPTY_EVENT, "no value"},
    {"{'profile':'confluent_json'}", "", DEATH_EMPTY_EVENT, "no value"},
    {"{'profile':'tiktok_lead'}", "\xEF\xBB\xBF ", DEATH_EMPTY_EVENT, "no value"},
};

static void test_frames(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(frames); i++) {
        const struct frame_row *row = &frames[i];
        struct shaped s;
        char label[1024];
        shaped_of(&s, row->mapping, row->event);
        snprintf(label, sizeof label, "%s of %s: %.*s", row->mapping, row->event,
                 (int)s.r.signup.death_message.len,
                 s.r.signup.death_message.ptr ? s.r.signup.death_message.ptr : "");
        bool alive = row->death == DEATH_NONE;
        ROW_CHECK(s.r.signup.death == row->death, label);
        ROW_CHECK(slice_has(alive ? s.r.signup.body : s.r.signup.death_message, row->wanted), label);
        /* Not cut, and not a byte of the payload in it. */
        ROW_CHECK(alive || s.r.signup.death_message.ptr[s.r.signup.death_message.len - 1] == '.', label);
        ROW_CHECK(alive || !slice_has(s.r.signup.death_message, "415"), label);
        shaped_fini(&s);
    }
}

/* ---- CloudEvents: identities */

static void check_identity(const char *source, const char *id, const char *wanted)
{
    struct shaped s;
    char event[1024];
    snprintf(event, sizeof event, "{'specversion':'1.0','id':'%s','source':'%s','type':'t','data':{" KEY "}}",
             id, source);
    shaped_of(&s, "{'profile':'cloudevents'}", event);
    ROW_CHECK(s.r.signup.death == DEATH_NONE, event);
    if (wanted)
        ROW_CHECK(slice_is(s.r.signup.event_id, wanted), event);
    else
        ROW_CHECK(s.r.signup.event_id.len == 76 && slice_has(s.r.signup.event_id, "cloudevents:"), event);
    shaped_fini(&s);
}

static void test_cloudevents_identity(void **state)
{
    (void)state;
    char text[200];
    memset(text, 'a', sizeof text);
    text[197] = '\0';
    check_identity("/s", "1", "/s|1");
    check_identity("/s", "a|b", "/s|a|b");
    check_identity("/s|a", "b", NULL); /* would be the same as the one before */
    char wanted[sizeof text + 8];
    snprintf(wanted, sizeof wanted, "/s|%s", text);
    check_identity("/s", text, wanted); /* 200 bytes */
    text[197] = 'a';
    text[198] = '\0';
    check_identity("/s", text, NULL);
    struct shaped s;
    shaped_of(&s, CE,
              "{" CE_HEAD ",'time':'2026-05-01T00:00:00Z','data':{" KEY
              ",'event_id':'own','signup_date':'2026-04-01'}}");
    assert_true(slice_is(s.r.signup.event_id, "own") && slice_has(s.r.signup.body, "2026-04-01T00:00:00Z"));
    shaped_fini(&s);
    shaped_of(&s,
              "{'profile':'cloudevents','fields':{'event_id':{'header':'ce_id'},"
              "'custom_fields.n':{'header':'ce_n'},'custom_fields.d':{'header':'ce_data'},'url':'/page'}}",
              "{" CE_HEAD ",'n':4,'data':{" KEY ",'page':'https://a.example'}}");
    assert_true(slice_is(s.r.signup.event_id, "1"));
    assert_true(slice_has(s.r.signup.body, "'custom_fields':{'n':4}") &&
                slice_has(s.r.signup.body, "a.example"));
    shaped_fini(&s);
    shaped_of(&s, CE, "{" CE_HEAD ",'time':'yesterday','data':{" KEY "}}");
    assert_true(slice_is(s.r.signup.warnings->code, "signup_date_unusable"));
    shaped_fini(&s);
}

static void test_base64(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *bytes; /* NULL: none */
    } rows[] = {{"", ""},
                {"Zg==", "f"},
                {"Zm8=", "fo"},
                {"Zm9v", "foo"},
                {"Zm9vYg==", "foob"},
                {"Zm9vYmFy", "foobar"},
                {"+/+/", "\xFB\xFF\xBF"},
                {"Zg=", NULL},
                {"Zg", NULL},
                {"Z===", NULL},
                {"====", NULL},
                {"Zh==", NULL},
                {"Zm9=", NULL},
                {"Zg==Zm8=", NULL},
                {"Zm 9", NULL},
                {"Zm-_", NULL},
                {"=m9v", NULL},
                {"Z=9v", NULL}};
    scratch_prepare();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        bool full;
        scratch_begin();
        struct slice bytes = shape_base64(slice_from_str(rows[i].text), &full);
        ROW_CHECK(!full && slice_present(bytes) == (rows[i].bytes != NULL), rows[i].text);
        ROW_CHECK(!rows[i].bytes || slice_is(bytes, rows[i].bytes), rows[i].text);
        scratch_end();
    }
}

/* ---- Confluent's wire format */

struct wire_row {
    const char *bytes;
    size_t len;
    enum death_code death;
    const char *message;
    int64_t schema_id;
};

#define WIRE(text) text, sizeof(text) - 1
#define WIRE_EVENT "{\"phone\":\"4155551234\",\"list_number\":\"8335550100\"}"

static const struct wire_row wires[] = {
    {WIRE("\0\0\0\0\1" WIRE_EVENT), DEATH_NONE, NULL, 1},
    {WIRE("\0\0\0\0\0" WIRE_EVENT), DEATH_NONE, NULL, 0},
    {WIRE("\0\x7F\xFF\xFF\xFF" WIRE_EVENT), DEATH_NONE, NULL, 2147483647},
    {WIRE("\0\1\2\3\4" WIRE_EVENT), DEATH_NONE, NULL, 16909060},
    {WIRE("\0\x80\0\0\0" WIRE_EVENT), DEATH_MALFORMED_PAYLOAD, "negative", -1},
    {WIRE("\1\0\0\0\1" WIRE_EVENT), DEATH_MALFORMED_PAYLOAD, "magic byte 0", -1},
    {WIRE(WIRE_EVENT), DEATH_MALFORMED_PAYLOAD, "set its profile to api or json", -1},
    {WIRE("\0"), DEATH_MALFORMED_PAYLOAD, "ends at byte 1", -1},
    {WIRE("\0\0\0\0\1"), DEATH_MALFORMED_PAYLOAD, "ends at byte 5", -1},
    {WIRE("\0\0\0\0\1 "), DEATH_EMPTY_EVENT, "no value", 1},
    {WIRE("\0\0\0\0\1\0" WIRE_EVENT), DEATH_MALFORMED_JSON, "not valid JSON", 1},
    {WIRE("\0\0\0\0\1[]"), DEATH_NOT_AN_OBJECT, "a list", 1},
};

static void test_wires(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(wires); i++) {
        struct shaped s;
        shaped_of_bytes(&s, "{'profile':'confluent_json'}", wires[i].bytes, wires[i].len);
        ROW_CHECK(s.r.signup.death == wires[i].death, wires[i].message ? wires[i].message : "alive");
        ROW_CHECK(!wires[i].message || slice_has(s.r.signup.death_message, wires[i].message),
                  wires[i].message);
        assert_int_equal(s.r.signup.schema_id, wires[i].schema_id);
        shaped_fini(&s);
    }
}

/* ---- leads: defaults and the user's mapping */

#define LEAD_BEGIN \
    "{'id':'1','campaign_id':'9','field_data':[{'name':'phone_number','values':['4155551234']},"
#define LEAD_NAME "{'name':'full_name','values':['Ada Lovelace']}"

static const struct frame_row leads[] = {
    {"{'profile':'meta_lead_ads','fields':{'list_number':{'constant':'8335550100'},'phone_number':'/fields/"
     "whatsapp','event_id':{'join':[{'constant':'x'},'/id'],'with':'-'},'ad_network_source':'/platform',"
     "'ad_network_id':'/form_id'}}",
     LEAD_BEGIN "{'name':'whatsapp','values':['2125550199']}],'platform':'ig','form_id':5}", DEATH_NONE,
     "'phone_number':'+12125550199'"},
    {"{'profile':'meta_lead_ads','fields':{'list_number':{'constant':'8335550100'},'phone_number':'/fields/"
     "whatsapp'}}",
     LEAD_BEGIN "{'name':'whatsapp','values':['2125550199']}]}", DEATH_NONE,
     "'custom_fields':{'phone_number':'4155551234'}"},
    {"{'profile':'meta_lead_ads','fields':{'list_number':{'constant':'8335550100'},'phone_number':'/fields/"
     "whatsapp'}}",
     LEAD_BEGIN LEAD_NAME "]}", DEATH_NONE, "'phone_number':'+14155551234'"},
    {"{'profile':'meta_lead_ads','fields':{'list_number':{'constant':'8335550100'},"
     "'custom_fields.first_name':{'split_name':'/fields/full_name','part':'first'}}}",
     LEAD_BEGIN LEAD_NAME "]}", DEATH_NONE,
     "'custom_fields':{'first_name':'Ada','full_name':'Ada Lovelace'}"},
    {"{'profile':'meta_lead_ads','fields':{'list_number':{'constant':'8335550100'},'custom_fields':'/"
     "nothing'}}",
     LEAD_BEGIN LEAD_NAME "]}", DEATH_NONE, "'custom_fields':{'full_name':'Ada Lovelace'}"},
    {"{'profile':'meta_lead_ads','fields':{'list_number':{'constant':'8335550100'},'custom_fields':'/own'}}",
     LEAD_BEGIN LEAD_NAME "],'own':{'a':1}}", DEATH_NONE, "'custom_fields':{'a':1}"},
    {"{'profile':'meta_lead_ads','unmapped':'custom_fields','fields':{'list_number':{'constant':'8335550100'}"
     ",'custom_fields':'/own'}}",
     LEAD_BEGIN LEAD_NAME "],'own':{'a':1}}", DEATH_NONE,
     "'custom_fields':{'a':1,'full_name':'Ada Lovelace'}"},
    {"{'profile':'meta_lead_ads','fields':{'list_number':{'constant':'8335550100'},'custom_fields':'/"
     "fields'}}",
     LEAD_BEGIN LEAD_NAME "]}", DEATH_NONE,
     "'custom_fields':{'full_name':'Ada Lovelace','phone_number':'4155551234'}"},
    {"{'profile':'meta_lead_ads','fields':{'list_number':{'constant':'8335550100'},'custom_fields.full_name':"
     "'/form_id'}}",
     LEAD_BEGIN LEAD_NAME "],'form_id':5}", DEATH_NONE, "'custom_fields':{'full_name':5}"},
    {META, "{'id':'1','adset_id':'8','ad_id':'7','field_data':[{'name':'phone','values':['4155551234']}]}",
     DEATH_NONE, "'ad_network_id':'8'"},
    {META, "{'id':'1','ad_id':'7','field_data':[{'name':'phone','values':['4155551234']}]}", DEATH_NONE,
     "'ad_network_id':'7'"},
    {META, "{'id':'1','campaign_id':' ','ad_id':7,'field_data':[{'name':'phone','values':['4155551234']}]}",
     DEATH_NONE, "'ad_network_id':'7'"},
    {META, LEAD_BEGIN "{'name':'a','values':['x',2,true,null,{},' ']}]}", DEATH_NONE, "'a':'x, 2, true'"},
    {META, LEAD_BEGIN "{'name':'a','values':['x']},{'name':'a','values':['y']},{'name':'a','values':[]}]}",
     DEATH_NONE, "'a':'y'"},
    {GOOGLE,
     "{'lead_id':'1','campaign_id':0,'adgroup_id':6,'user_column_data':[{'column_id':'PHONE_NUMBER',"
     "'string_value':'4155551234'},{'column_id':'A_1','string_value':'x'},{'column_id':'Mixed',"
     "'string_value':'y'}]}",
     DEATH_NONE, "'ad_network_id':'6','custom_fields':{'Mixed':'y','a_1':'x'}"},
    {"{'profile':'google_lead_form','fields':{'list_number':{'constant':'8335550100'},'custom_fields.key':'/"
     "google_key','custom_fields.city':'/fields/CITY'}}",
     "{'lead_id':'1','google_key':'secret','user_column_data':[{'column_id':'PHONE_NUMBER',"
     "'string_value':'4155551234'},{'column_id':'CITY','string_value':'Reno'}]}",
     DEATH_NONE, "'custom_fields':{'city':'Reno'}"},
    {"{'profile':'tiktok_lead','fields':{'list_number':{'constant':'8335550100'},'custom_fields.page':'/"
     "entry/0/page_id'}}",
     "{'entry':[{'id':1,'page_id':44,'changes':[{'field':'phone_number','value':'4155551234'}]}]}",
     DEATH_NONE, "'custom_fields':{'page':44}"},
};

static void test_leads(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(leads); i++) {
        struct shaped s;
        char label[1024];
        shaped_of(&s, leads[i].mapping, leads[i].event);
        snprintf(label, sizeof label, "%s of %s: %.*s", leads[i].mapping, leads[i].event,
                 (int)s.r.signup.body.len, s.r.signup.body.ptr ? s.r.signup.body.ptr : "");
        ROW_CHECK(s.r.signup.death == leads[i].death && !s.r.signup.warnings, label);
        ROW_CHECK(slice_has(s.r.signup.body, leads[i].wanted), label);
        ROW_CHECK(!slice_has(s.r.signup.body, "secret"), label);
        shaped_fini(&s);
    }
}

static void test_lead_ids_of_networks_never_meet(void **state)
{
    (void)state;
    static const char *const events[][2] = {
        {META, "{'id':'77','field_data':[]}"},
        {GOOGLE, "{'lead_id':'77','user_column_data':[]}"},
        {TIKTOK, "{'entry':[{'id':77,'changes':[]}]}"},
    };
    static const char *const ids[] = {"meta:77", "google:77", "tiktok:77"};
    for (size_t i = 0; i < COUNT_OF(events); i++) {
        struct shaped s;
        shaped_of(&s, events[i][0], events[i][1]);
        assert_true(slice_is(s.r.signup.event_id, ids[i]));
        shaped_fini(&s);
    }
    struct shaped s;
    char event[512];
    snprintf(event, sizeof event, "{'id':'%0194d','field_data':[]}", 0);
    shaped_of(&s, META, event);
    assert_true(s.r.signup.event_id.len == 199);
    shaped_fini(&s);
    snprintf(event, sizeof event, "{'id':'%0196d','field_data':[]}", 0);
    shaped_of(&s, META, event);
    assert_true(slice_has(s.r.signup.event_id, "meta:sha256-") && s.r.signup.event_id.len == 76);
    shaped_fini(&s);
}

/* ---- forms */

struct form_row {
    const char *body;
    enum death_code death;
    const char *wanted;
    const char *warning; /* a part of the only one; NULL: none */
};

#define FORM_KEY "phone=4155551234&list_number=8335550100"

static const struct form_row forms[] = {
    {FORM_KEY, DEATH_NONE, "'phone_number':'+14155551234'", NULL},
    {FORM_KEY "\r\n", DEATH_NONE, "+14155551234", NULL},
    {"\xEF\xBB\xBF" FORM_KEY, DEATH_NONE, "+14155551234", NULL},
    {"&&" FORM_KEY "&&x&=y&z=", DEATH_NONE, "+14155551234", NULL},
    {"phone=%28415%29+555-1234&list_number=%2b18335550100", DEATH_NONE, "'list_number':'+18335550100'", NULL},
    {FORM_KEY "&custom_fields[city]=S%C3%A3o+Paulo", DEATH_NONE, "'city':'S\xC3\xA3o Paulo'", NULL},
    {FORM_KEY "&custom_fields%5Bcity%5D=Reno&custom_fields.zip=89501", DEATH_NONE,
     "{'city':'Reno','zip':'89501'}", NULL},
    {FORM_KEY "&custom_fields[a.b]=1&custom_fields.c.d=2&custom_fields.e[f]=3", DEATH_NONE,
     "'custom_fields':{'a.b':'1','c.d':'2','e[f]':'3'}", NULL},
    {FORM_KEY "&custom_fields[city]=+", DEATH_NONE, "'signup_date'", NULL},
    {FORM_KEY "&custom_fields[a][b]=1&custom_fields[c]=2", DEATH_NONE, "'custom_fields':{'c':'2'}",
     "custom_fields[a][b] was dropped"},
    {FORM_KEY "&custom_fields[]=1", DEATH_NONE, "'signup_date'", "custom_fields[] was dropped"},
    {FORM_KEY "&custom_fields.=1", DEATH_NONE, "'signup_date'", "custom_fields. was dropped"},
    {FORM_KEY "&custom_fields[a=1", DEATH_NONE, "'signup_date'", "custom_fields[a was dropped"},
    {FORM_KEY "&custom_fields=a", DEATH_NONE, "'signup_date'", "custom_fields was dropped: it is text"},
    {FORM_KEY "&custom_fields=a&custom_fields[b]=c&custom_fields=d", DEATH_NONE, "'custom_fields':{'b':'c'}",
     "custom_fields is there more than once"},
    {FORM_KEY "&consent[text]=I+agree&consent.v=2", DEATH_NONE, "{'text':'I agree','v':'2'}", NULL},
    {FORM_KEY "&utm[source]=x&other.thing=y", DEATH_NONE, "'signup_date'", NULL},
    {FORM_KEY "&url=https://a.example/?a%3D1%26b=2", DEATH_NONE, "'url':'https://a.example/?a=1&b=2'", NULL},
    {FORM_KEY "&use_journeys=on&override_custom_fields=off&use_validation=&force=", DEATH_NONE,
     "'use_journeys':true,'skip_journey_if_exists':true,'override_custom_fields':false,"
     "'use_validation':false",
     NULL},
    {FORM_KEY "&use_journeys=perhaps", DEATH_INVALID_FIELD, "use_journeys", NULL},
    {FORM_KEY "&signup_date=&ip_address=&url=&event_id=+", DEATH_NONE,
     "'signup_date':'" READING_RECORD_DATE "'", NULL},
    {FORM_KEY "&signup_date=1742049000", DEATH_NONE, "2025-03-15T14:30:00Z", NULL},
    {FORM_KEY "&ip_address=192.0.2.1&ip_address=192.0.2.2", DEATH_NONE, "192.0.2.2",
     "ip_address is there more than once: the last one that is not blank"},
    {FORM_KEY "&ip_address=192.0.2.1&ip_address=", DEATH_NONE, "192.0.2.1",
     "ip_address is there more than once"},
    {FORM_KEY "&ip_address=&ip_address=192.0.2.1&ip_address=", DEATH_NONE, "192.0.2.1",
     "ip_address is there more than once"},
    {FORM_KEY "&custom_fields[a]=1&custom_fields.a=2", DEATH_NONE, "'custom_fields':{'a':'2'}",
     "custom_fields.a is there more than once"},
    {FORM_KEY "&4155551234=a&4155551234=b", DEATH_NONE, "'signup_date'",
     "********34 is there more than once"},
    {"phone=415%", DEATH_MALFORMED_PAYLOAD, "two hexadecimal digits", NULL},
    {"phone=415%4", DEATH_MALFORMED_PAYLOAD, "two hexadecimal digits", NULL},
    {"phone=415%4G", DEATH_MALFORMED_PAYLOAD, "two hexadecimal digits", NULL},
    {"pho%ne=415", DEATH_MALFORMED_PAYLOAD, "two hexadecimal digits", NULL},
    {"phone=%u0034", DEATH_MALFORMED_PAYLOAD, "two hexadecimal digits", NULL},
    {"phone=%FF", DEATH_MALFORMED_PAYLOAD, "not UTF-8", NULL},
    {"phone=\xE9", DEATH_MALFORMED_PAYLOAD, "not UTF-8", NULL},
    {"%E9=1", DEATH_MALFORMED_PAYLOAD, "not UTF-8", NULL},
    {"phone=a%00b", DEATH_MALFORMED_PAYLOAD, "NUL", NULL},
    {"phone=a\nlist=b", DEATH_MALFORMED_PAYLOAD, "line break", NULL},
    {"phone", DEATH_MALFORMED_PAYLOAD, "no name=value pair", NULL},
    {"\v", DEATH_MALFORMED_PAYLOAD, "nothing but blanks", NULL},
    {"\xC2\xA0", DEATH_MALFORMED_PAYLOAD, "nothing but blanks", NULL},
    {"{\"phone\":\"=\"}", DEATH_MALFORMED_PAYLOAD, "profile to api or json", NULL},
    {" [1]", DEATH_MALFORMED_PAYLOAD, "JSON", NULL},
    {"--boundary\r\nContent-Disposition: form-data; name=\"phone\"\r\n", DEATH_MALFORMED_PAYLOAD, "multipart",
     NULL},
    {"list_number=8335550100", DEATH_MISSING_PHONE_NUMBER, "no phone number", NULL},
};

static void test_forms(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        const struct form_row *row = &forms[i];
        struct shaped s;
        char label[1024];
        shaped_of_bytes(&s, "{'profile':'form'}", row->body, strlen(row->body));
        const struct signup *signup = &s.r.signup;
        snprintf(label, sizeof label, "%s: %.*s %.*s %.*s", row->body, (int)signup->body.len,
                 signup->body.ptr ? signup->body.ptr : "", (int)signup->death_message.len,
                 signup->death_message.ptr ? signup->death_message.ptr : "",
                 (int)(signup->warnings ? signup->warnings->message.len : 0),
                 signup->warnings ? signup->warnings->message.ptr : "");
        ROW_CHECK(signup->death == row->death, label);
        ROW_CHECK(anywhere(signup, row->wanted), label);
        ROW_CHECK(warnings_count(signup) == (row->warning != NULL), label);
        ROW_CHECK(!row->warning || slice_has(signup->warnings->message, row->warning), label);
        ROW_CHECK(row->death != DEATH_MALFORMED_PAYLOAD || !slice_has(signup->death_message, "415"), label);
        shaped_fini(&s);
    }
}

static void test_forms_under_a_mapping(void **state)
{
    (void)state;
    static const char body[] =
        "mobile=4155551234&list_number=8335550100&utm[source]=X&agree=yes&name=Ada+Lovelace&empty=";
    struct shaped s;
    shaped_of_bytes(&s,
                    "{'profile':'form','unmapped':'custom_fields','fields':{'phone_number':'/mobile',"
                    "'consent.agreed':'/agree','ad_network_source':{'lowercase':'/utm[source]'}}}",
                    body, sizeof body - 1);
    assert_true(
        slice_has(s.r.signup.body, "'ad_network_source':'x','custom_fields':{'name':'Ada Lovelace'}"));
    assert_true(slice_is(s.r.signup.consent, "{\"agreed\":\"yes\"}"));
    shaped_fini(&s);
}

static void test_many_pairs(void **state)
{
    (void)state;
    struct shaped s;
    struct buf body;
    buf_init(&body, EVENT_BYTES_MAX + 1);
    buf_append_str(&body, FORM_KEY);
    while (body.len < EVENT_BYTES_MAX - 16)
        buf_printf(&body, "&%zx=%zx", body.len % 5000, body.len);
    assert_true(buf_ok(&body));
    shaped_of_bytes(&s, "{'profile':'form'}", body.data, body.len);
    assert_int_equal(s.r.signup.death, DEATH_NONE);
    assert_int_equal(warnings_count(&s.r.signup), 17);
    shaped_fini(&s);
    buf_reset(&body);
    while (body.len < EVENT_BYTES_MAX - 4)
        buf_append_str(&body, "a=b&");
    shaped_of_bytes(&s, "{'profile':'form','unmapped':'custom_fields'}", body.data, body.len);
    assert_int_equal(s.r.signup.death, DEATH_MISSING_PHONE_NUMBER);
    shaped_fini(&s);
    buf_fini(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profile_names), cmocka_unit_test(test_samples),
        cmocka_unit_test(test_frames),        cmocka_unit_test(test_cloudevents_identity),
        cmocka_unit_test(test_base64),        cmocka_unit_test(test_wires),
        cmocka_unit_test(test_leads),         cmocka_unit_test(test_lead_ids_of_networks_never_meet),
        cmocka_unit_test(test_forms),         cmocka_unit_test(test_forms_under_a_mapping),
        cmocka_unit_test(test_many_pairs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
