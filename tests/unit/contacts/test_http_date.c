/* HTTP dates and Retry-After, junk included. */
#include "http_date.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define NOV_1994 INT64_C(784111777) /* Sun, 06 Nov 1994 08:49:37 GMT */

static void dates_are_read_in_three_forms(void **state)
{
    static const struct {
        const char *text;
        int64_t seconds;
    } good[] = {
        {"Sun, 06 Nov 1994 08:49:37 GMT", NOV_1994},
        {"  Sun, 06 Nov 1994 08:49:37 GMT\t", NOV_1994},
        {"Sunday, 06-Nov-94 08:49:37 GMT", NOV_1994},
        {"Sun Nov  6 08:49:37 1994", NOV_1994},
        {"Wed Nov 16 08:49:37 1994", NOV_1994 + 864000},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Wed, 31 Dec 1969 23:59:59 GMT", -1},
        {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800},
        {"Tue, 29 Feb 2000 12:00:00 GMT", 951825600},
        {"Fri, 31 Dec 9999 23:59:59 GMT", INT64_C(253402300799)},
        {"Mon, 01 Jan 0001 00:00:00 GMT", INT64_C(-62135596800)},
        {"Tuesday, 19-Jan-38 03:14:08 GMT", INT64_C(2147483648)},
        {"sun, 06 nov 1994 08:49:37 GMT", NOV_1994},
        {"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800},
    };
    static const char *const bad[] = {
        "",
        "now",
        "0",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 32 Nov 1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 2023 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 06 Nov 1994 08:49:61 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Foo, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT x",
        "Sun, 06 Nov 19940 08:49:37 GMT",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 1994 -8:49:37 GMT",
    };
    wall_us_t out;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (!http_date_read(slice_from_str(good[i].text), &out) || out.us != good[i].seconds * US_PER_S)
            fail_msg("%s", good[i].text);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (http_date_read(slice_from_str(bad[i]), &out))
            fail_msg("%s", bad[i]);
    assert_false(http_date_read(SLICE_ABSENT, &out));
}

static void every_retry_after_has_its_wait(void **state)
{
    static const char date[] = "Sun, 06 Nov 1994 08:49:37 GMT";
    static const struct {
        const char *value; /* NULL: absent */
        const char *date;
        int64_t us;
    } rows[] = {
        {NULL, date, -1},
        {"0", date, 0},
        {"1", date, US_PER_S},
        {"120", date, 120 * US_PER_S},
        {" 120 ", date, 120 * US_PER_S},
        {"0000000000000000000000000000000000000000000007", date, 7 * US_PER_S},
        {"9223372036854", date, INT64_MAX},
        {"9223372036853", date, INT64_C(9223372036853) * US_PER_S},
        {"1000000000000000000", date, INT64_MAX},
        {"9223372036854775807", date, INT64_MAX},
        {"99999999999999999999999999999999999999", date, INT64_MAX},
        {"-5", date, 0},
        {"-99999999999999999999999999", date, 0},
        {"-", date, -1},
        {"", date, -1},
        {"   ", date, -1},
        {"1.5", date, -1},
        {"120junk", date, -1},
        {"soon", date, -1},
        {"1e18", date, -1},
        {"0x10", date, -1},
        {"+5", date, -1},
        {"1 2", date, -1},
        {"Sun, 06 Nov 1994 08:50:37 GMT", date, 60 * US_PER_S},
        {"Sunday, 06-Nov-94 08:50:37 GMT", date, 60 * US_PER_S},
        {"Sun Nov  6 08:50:37 1994", date, 60 * US_PER_S},
        {"Sun, 06 Nov 1994 08:49:37 GMT", date, 0},
        {"Sun, 06 Nov 1994 08:49:36 GMT", date, 0},
        {"Thu, 01 Jan 1970 00:00:00 GMT", date, 0},
        {"Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT", INT64_C(315537897599) * US_PER_S},
        {"Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", 0},
        {"Sun, 06 Nov 1994 08:50:37 GMT", NULL,
         50 * US_PER_S}, /* our clock stands ten seconds after the date */
        {"Sun, 06 Nov 1994 08:50:37 GMT", "junk", 50 * US_PER_S},
        {"Sun, 06 Nov 1994 08:50:37", date, -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t us = http_retry_after_us(slice_from_str(rows[i].value), slice_from_str(rows[i].date),
                                         (wall_us_t){(NOV_1994 + 10) * US_PER_S});
        if (us != rows[i].us)
            fail_msg("row %zu (%s): %lld", i, rows[i].value ? rows[i].value : "absent", (long long)us);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_read_in_three_forms),
        cmocka_unit_test(every_retry_after_has_its_wait),
    };
    return cmocka_run_group_tests_name("contacts: http_date", tests, NULL, NULL);
}
