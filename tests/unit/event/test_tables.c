/* Tables of input and what becomes of it: the request, the warnings, the death. The tables are in table_*.h,
 * for reading. */
#include "reading.h"

#include "signup/event/phone.h"
#include "table_dates.h"
#include "table_events.h"
#include "table_phones.h"
#include "table_settings.h"

#include <assert.h>
#include <stdio.h>

static_assert(COUNT_OF(table_phones) + COUNT_OF(table_dates) + COUNT_OF(table_events) >= 400, "rows");

/* ---- phones */

static void event_of_phone(struct buf *event, const char *text)
{
    buf_append_str(event, "{\"list_number\":\"+18335550100\",\"phone_number\":");
    buf_append_json_string(event, slice_from_str(text));
    buf_append_char(event, '}');
}

static void check_phone_in_event(const struct phone_row *row)
{
    struct buf event;
    struct reading r;
    char wanted[64];
    buf_init(&event, 4096);
    event_of_phone(&event, row->text);
    assert_true(buf_ok(&event));
    reading_init(&r, event.data, event.len);
    r.rules.country = row->country;
    reading_run(&r);
    if (row->e164) {
        snprintf(wanted, sizeof wanted, "{'phone_number':'%s'", row->e164);
        ROW_CHECK(r.signup.death == DEATH_NONE && slice_has(r.signup.body, wanted), row->text);
    } else {
        ROW_CHECK(r.signup.death == DEATH_INVALID_PHONE && !slice_present(r.signup.phone_number), row->text);
        ROW_CHECK(slice_has(r.signup.death_message, "phone_number is not"), row->text);
    }
    bool extension = row->verdict & X;
    ROW_CHECK(warnings_count(&r.signup) == extension, row->text);
    if (extension) {
        ROW_CHECK(slice_is(r.signup.warnings->code, SIGNUP_WARNING_FIELD), row->text);
        ROW_CHECK(slice_has(r.signup.warnings->message, "phone_number: its extension was dropped"),
                  row->text);
    }
    reading_fini(&r);
    buf_fini(&event);
}

static void check_phone(const struct phone_row *row)
{
    char out[PHONE_E164_BYTES];
    char library[PHONE_E164_BYTES];
    bool extension;
    struct slice text = slice_from_str(row->text);
    size_t len = phone_read(text, row->country, out, &extension);
    size_t alone = phone_to_e164_by_library(text, row->country, library);
    ROW_CHECK(row->e164 ? len && strcmp(out, row->e164) == 0 : !len, row->text);
    ROW_CHECK(extension == ((row->verdict & X) != 0), row->text);
    bool same = len == alone && (!len || strcmp(out, library) == 0);
    ROW_CHECK(same == !(row->verdict & (CLEANED | REFUSED)), row->text);
    ROW_CHECK(!(row->verdict & REFUSED) || (!len && alone), row->text);
    /* An E.164 number is itself everywhere. */
    if (len) {
        char again[PHONE_E164_BYTES];
        ROW_CHECK(phone_to_e164((struct slice){out, len}, "DE", again) == len && strcmp(out, again) == 0,
                  row->text);
    }
    check_phone_in_event(row);
}

static void test_phones(void **state)
{
    (void)state;
    const char *countries[COUNT_OF(table_phones)];
    size_t count = 0;
    for (size_t i = 0; i < COUNT_OF(table_phones); i++) {
        bool known = false;
        check_phone(&table_phones[i]);
        for (size_t k = 0; k < count && !known; k++)
            known = strcmp(countries[k], table_phones[i].country) == 0;
        if (!known && table_phones[i].e164)
            countries[count++] = table_phones[i].country;
    }
    assert_true(COUNT_OF(table_phones) >= 150 && count >= 40);
}

/* ---- dates */

static void test_dates(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table_dates); i++) {
        struct buf event;
        struct reading r;
        char wanted[64];
        const char *date = table_dates[i].date;
        /* Five minutes of the future are forgiven; the texts of the same form compare like their times. */
        bool usable = date && strcmp(date, "2026-06-01T00:05:00Z") <= 0;
        buf_init(&event, 4096);
        buf_append_str(&event, "{\"phone\":\"4155551234\",\"list_number\":\"8335550100\",\"signup_date\":");
        buf_append_json_string(&event, slice_from_str(table_dates[i].text));
        buf_append_char(&event, '}');
        assert_true(buf_ok(&event));
        reading_init(&r, event.data, event.len);
        reading_run(&r);
        snprintf(wanted, sizeof wanted, "'signup_date':'%s'}", usable ? date : READING_RECORD_DATE);
        ROW_CHECK(r.signup.death == DEATH_NONE && slice_has(r.signup.body, wanted), table_dates[i].text);
        ROW_CHECK(r.signup.signup_date_from_event == usable, table_dates[i].text);
        ROW_CHECK(warnings_count(&r.signup) == !usable, table_dates[i].text);
        ROW_CHECK(usable || slice_is(r.signup.warnings->code, SIGNUP_WARNING_DATE), table_dates[i].text);
        reading_fini(&r);
        buf_fini(&event);
    }
}

/* ---- events */

#define FRAGMENT_BYTES 256

/* Cuts the next fragment off the front; false: that was all. */
static bool next_fragment(const char **rest, char fragment[FRAGMENT_BYTES])
{
    if (!**rest)
        return false;
    const char *end = strstr(*rest, " ; ");
    size_t len = end ? (size_t)(end - *rest) : strlen(*rest);
    if (!len || len >= FRAGMENT_BYTES) {
        fail_msg("a fragment that is empty or too long: %s", *rest);
        return false;
    }
    memcpy(fragment, *rest, len);
    fragment[len] = '\0';
    *rest += len + (end ? 3 : 0);
    return true;
}

static bool fragment_holds(const struct signup *signup, const char *fragment)
{
    static const char *const modes[] = {"off", "inline", "gate"};
    struct slice text = signup->death == DEATH_NONE ? signup->body : signup->death_message;
    switch (fragment[0]) {
    case '!':
        return !slice_has(text, fragment + 1);
    case '@':
        return fragment[1] ? slice_has(signup->attribution, fragment + 1)
                           : !slice_present(signup->attribution);
    case '#':
        return fragment[1] ? slice_is(signup->route, fragment + 1) : !slice_present(signup->route);
    case '$':
        return signup->validation <= EVENT_VALIDATION_GATE &&
               strcmp(modes[signup->validation], fragment + 1) == 0;
    case '%':
        return slice_has(signup->consent, fragment + 1);
    default:
        return slice_has(text, fragment);
    }
}

static void check_warnings(const struct signup *signup, const struct event_row *row)
{
    const char *rest = row->warnings;
    char fragment[FRAGMENT_BYTES];
    const struct warning *w = signup->warnings;
    for (; next_fragment(&rest, fragment); w = w->next) {
        char line[512];
        if (!w) {
            fail_msg("row «%s» under «%s»: no warning %s", row->event, row->setting, fragment);
            return;
        }
        snprintf(line, sizeof line, "%.*s: %.*s", (int)w->code.len, w->code.ptr, (int)w->message.len,
                 w->message.ptr);
        if (!strstr(line, fragment))
            fail_msg("row «%s» under «%s»: %s is not in «%s»", row->event, row->setting, fragment, line);
        assert_int_equal(w->source, WARNING_WORKER);
    }
    if (w)
        fail_msg("row «%s» under «%s»: and a warning «%.*s»", row->event, row->setting, (int)w->message.len,
                 w->message.ptr);
}

static void check_event(const struct event_row *row)
{
    struct reading r;
    char event[1024];
    char fragment[FRAGMENT_BYTES];
    const char *rest = row->wanted;
    const struct event_rules *rules = setting_named(row->setting);
    ROW_CHECK(rules, row->setting);
    snprintf(event, sizeof event,
             row->event[0] == '{' ? "%s" : "{'phone':'4155551234','list_number':'8335550100',%s}",
             row->event);
    reading_init_event(&r, event);
    r.rules = *rules;
    reading_run(&r);
    if (strcmp(death_code_str(r.signup.death), row->death) != 0)
        fail_msg("row «%s» under «%s»: death «%s» %.*s", row->event, row->setting,
                 death_code_str(r.signup.death), (int)r.signup.death_message.len,
                 r.signup.death_message.ptr ? r.signup.death_message.ptr : "");
    while (next_fragment(&rest, fragment)) {
        if (!fragment_holds(&r.signup, fragment))
            fail_msg("row «%s» under «%s»: %s of «%.*s», attribution «%.*s»", row->event, row->setting,
                     fragment, (int)r.signup.body.len, r.signup.body.ptr, (int)r.signup.attribution.len,
                     r.signup.attribution.ptr);
    }
    check_warnings(&r.signup, row);
    reading_fini(&r);
}

static void test_events(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table_events); i++)
        check_event(&table_events[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phones),
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
