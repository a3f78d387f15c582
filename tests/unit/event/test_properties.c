/* What holds of any event: 100,000 seeded ones, of the parts that events really have and of parts that are
 * wrong, under every rule set of the tables.
 *   - what is sent breaks none of the API's rules (body_check.h);
 *   - normalized twice is normalized once: a request read as an event gives the same request;
 *   - who is dead has a code and a message and no request, and no message or warning tells a phone number;
 *   - the ledger's attribution is a flat object within its bound. */
#include "reading.h"

#include "attribution.h"
#include "body_check.h"
#include "signup/event/phone.h"
#include "table_settings.h"

#include <stdio.h>

#if defined(__SANITIZE_ADDRESS__)
#define SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLOW 1
#endif
#endif
#ifdef SLOW
#define EVENTS 20000 /* the plain build reads them all */
#else
#define EVENTS 100000
#endif

static uint64_t seed = UINT64_C(0x2127599BF4325C37);

/* xorshift64*: the same events in every run. */
static unsigned pick(unsigned below)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (unsigned)((seed * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % below;
}

#define ONE_OF(list) (list)[pick(COUNT_OF(list))]

static const char *const settings[] = {"",     "ads",    "src",  "routes", "override",       "last", "lists",
                                       "gate", "inline", "warn", "copy",   "copy and route", "drop"};

static const char *const phones[] = {"'4155551234'",
                                     "'(415) 555-1234'",
                                     "4155551234",
                                     "'+1 416 555 0123'",
                                     "'+44 20 7946 0958'",
                                     "'0044 20 7946 0958'",
                                     "'415-555-1234 x9'",
                                     "'tel:+1-415-555-1234'",
                                     "'1-800-FLOWERS'",
                                     "'\\u200e+14155551234'",
                                     "'\\uff14\\uff11\\uff15 555 1234'",
                                     "'415-555-1234 (cell)'",
                                     "'+7 912 345-67-89'",
                                     "'5551234'",
                                     "'nobody'",
                                     "'2025-03-15'",
                                     "null",
                                     "''",
                                     "'+39 06 698 12345'",
                                     "'+80012345678'"};
static const char *const dates[] = {"'2025-03-15T14:30:00Z'",
                                    "'2025-W11-6'",
                                    "'2025-074T14:30+01:00'",
                                    "1742049000",
                                    "1742049000999",
                                    "'1742049000.5'",
                                    "'Sat, 15 Mar 2025 14:30:00 GMT'",
                                    "'yesterday'",
                                    "'2099-01-01'",
                                    "''",
                                    "true",
                                    "'2025-03-15T24:00'",
                                    "1e300",
                                    "-1"};
static const char *const addresses[] = {"'203.0.113.7'",       "'[2001:db8::1]:443'", "'unknown'", "''", "7",
                                        "'::ffff:203.0.113.7'"};
static const char *const urls[] = {"'https://www.example.com/ca/la?gclid=x&utm_id=7'",
                                   "'https://example.ca'",
                                   "'http://shop.example.com/?utm_source=B&utm_campaign=c+d'",
                                   "'https://a.test/checkout?fbclid=F%C3%A9'",
                                   "'https://a.test/?gclid=%00&ttclid=%E9'",
                                   "'example.com'",
                                   "''",
                                   "1",
                                   "' https://a.test/?utm_source=%20Spring%20Sale%20&utm_term=%22 '",
                                   "'https://a.test/?&&=&gclid&amp;utm_id=%7'"};
static const char *const texts[] = {"'facebook'", "' TikTok '", "7",    "-0.5", "''",
                                    "'  '",       "true",       "null", "[]",   "'\\u00e9\\ud83d\\ude00'"};
static const char *const flags[] = {"true", "false", "'yes'", "0", "'No'", "null", "'maybe'"};
static const char *const names[] = {"a",           "b",      "wave", "campaign",   " city", "city",
                                    "\\ufeffname", "",       "  ",   "4155551234", "a\\tb", "consent_version",
                                    "ip",          "\\u00e9"};
static const char *const values[] = {
    "1",    "0.1",  "-0.0", "1e20",    "'text'",           "''",
    "true", "null", "[]",   "{'x':1}", "'\\n\\u0001\\\"'", "9223372036854775807",
    "1E-7"};
static const char *const parts[] = {"text", "text_version", "ticked", "user_agent"};

static void append_object(struct buf *event, const char *const *members, size_t member_count)
{
    bool used[32] = {false};
    unsigned count = pick(6);
    buf_append_char(event, '{');
    for (unsigned i = 0, written = 0; i < count; i++) {
        unsigned at = pick((unsigned)member_count);
        if (used[at])
            continue;
        used[at] = true;
        buf_printf(event, "%s'%s':", written++ ? "," : "", members[at]);
        if (pick(40) == 0) {
            buf_append_char(event, '\'');
            for (unsigned k = pick(1500); k; k--)
                buf_append_str(event, "xy\\u00e9");
            buf_append_char(event, '\'');
        } else {
            buf_append_str(event, ONE_OF(values));
        }
    }
    buf_append_char(event, '}');
}

static void append_member(struct buf *event, const char *name, const char *value)
{
    buf_printf(event, ",'%s':%s", name, value);
}

static void append_flags(struct buf *event)
{
    static const char *const flag_names[] = {"use_journeys", "skip_journey_if_exists",
                                             "override_custom_fields", "use_validation", "force"};
    for (size_t i = 0; i < COUNT_OF(flag_names); i++) {
        if (pick(6) == 0)
            append_member(event, flag_names[i], pick(8) ? flags[pick(COUNT_OF(flags) - 1)] : ONE_OF(flags));
    }
}

static void append_event(struct buf *event)
{
    buf_printf(event, "{'phone_number':%s", pick(3) ? "'+14155551234'" : ONE_OF(phones));
    append_member(event, "list_number", pick(8) ? "'+18335550100'" : ONE_OF(phones));
    append_flags(event);
    if (pick(2))
        append_member(event, "signup_date", ONE_OF(dates));
    if (pick(2))
        append_member(event, "ip_address", ONE_OF(addresses));
    if (pick(4))
        append_member(event, "url", ONE_OF(urls));
    if (pick(3) == 0)
        append_member(event, "ad_network_source", ONE_OF(texts));
    if (pick(3) == 0)
        append_member(event, "ad_network_id", ONE_OF(texts));
    static const char *const objects[] = {"custom_fields", "consent", "attribution"};
    for (size_t i = 0; i < COUNT_OF(objects); i++) {
        if (pick(3) == 0)
            continue;
        append_member(event, objects[i], "");
        if (pick(12) == 0)
            buf_append_str(event, ONE_OF(values));
        else
            append_object(event, i == 1 ? parts : names, i == 1 ? COUNT_OF(parts) : COUNT_OF(names));
    }
    buf_append_char(event, '}');
    buf_append_char(event, '\0');
    assert_true(buf_ok(event));
}

/* Seven digits in a row are somebody's number. */
static bool tells_a_number(struct slice text)
{
    size_t run = 0;
    for (size_t i = 0; i < text.len; i++) {
        run = text.ptr[i] >= '0' && text.ptr[i] <= '9' ? run + 1 : 0;
        if (run >= 7)
            return true;
    }
    return false;
}

static void check_attribution(const struct signup *signup, const char *event)
{
    json_error_t error;
    const char *name;
    json_t *value;
    if (!slice_present(signup->attribution))
        return;
    ROW_CHECK(signup->attribution.len <= ATTRIBUTION_BYTES_MAX, event);
    json_t *object =
        json_loadb(signup->attribution.ptr, signup->attribution.len, JSON_REJECT_DUPLICATES, &error);
    ROW_CHECK(json_is_object(object) && json_object_size(object) > 0, event);
    json_object_foreach(object, name, value)
        ROW_CHECK(json_is_string(value) || json_is_number(value) || json_is_boolean(value), event);
    json_decref(object);
}

static void check_again(const struct signup *signup, const char *setting, const char *event)
{
    struct reading again;
    size_t len = signup->body.len;
    if (!signup->signup_date_from_event) /* which only the record said: the request is read without it, in the
                                            same record */
        len -= strlen(",\"signup_date\":\"" READING_RECORD_DATE "\"");
    reading_init(&again, signup->body.ptr, len);
    again.text[len - 1] = '}';
    again.rules = *setting_named(setting);
    reading_run(&again);
    if (again.signup.death != DEATH_NONE || !slice_equal(again.signup.body, signup->body))
        fail_msg("under «%s»: «%s» gives «%.*s», and that «%.*s»", setting, event, (int)signup->body.len,
                 signup->body.ptr, (int)again.signup.body.len,
                 again.signup.body.ptr ? again.signup.body.ptr : "");
    /* Rules that add or ask for something may still say so. */
    bool plain = strcmp(setting, "") == 0 || strcmp(setting, "ads") == 0 || strcmp(setting, "drop") == 0;
    ROW_CHECK(!plain || !again.signup.warnings, event);
    reading_fini(&again);
}

static bool check_one(const char *setting, const char *text)
{
    struct reading r;
    char room[64];
    reading_init_event(&r, text);
    r.rules = *setting_named(setting);
    reading_run(&r);
    const struct signup *signup = &r.signup;
    bool alive = signup->death == DEATH_NONE;
    ROW_CHECK(slice_present(signup->body) == alive && slice_present(signup->death_message) == !alive, text);
    ROW_CHECK(!tells_a_number(signup->death_message), text);
    for (const struct warning *w = signup->warnings; w; w = w->next)
        ROW_CHECK(w->message.len > 0 && w->message.len < 320 && !tells_a_number(w->message), text);
    check_attribution(signup, text);
    if (alive) {
        const char *complaint = body_check(signup->body, room);
        if (complaint)
            fail_msg("under «%s» the API would not take %s of «%s»", setting, complaint, text);
        check_again(signup, setting, text);
    }
    reading_fini(&r);
    return alive;
}

static void test_any_event(void **state)
{
    (void)state;
    size_t alive = 0;
    struct buf event;
    buf_init(&event, EVENT_BYTES_MAX);
    for (size_t i = 0; i < EVENTS; i++) {
        buf_reset(&event);
        append_event(&event);
        alive += check_one(settings[i % COUNT_OF(settings)], event.data);
    }
    buf_fini(&event);
    assert_true(alive > EVENTS / 2 && alive < EVENTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
