/* date.c: what is a date, what is none, and which. */
#include "reading.h"

#include "date.h"

struct row {
    const char *text;
    const char *date; /* NULL: unreadable */
};

static const struct row rows[] = {
    /* zones */
    {"2025-03-15T14:30:00Z", "2025-03-15T14:30:00Z"},
    {"2025-03-15T14:30:00z", "2025-03-15T14:30:00Z"},
    {"2025-03-15t14:30:00z", "2025-03-15T14:30:00Z"},
    {"2025-03-15 14:30:00", "2025-03-15T14:30:00Z"},
    {"2025-03-15T14:30:00", "2025-03-15T14:30:00Z"},
    {"2025-03-15T14:30:00+02:00", "2025-03-15T12:30:00Z"},
    {"2025-03-15T14:30:00+0200", "2025-03-15T12:30:00Z"},
    {"2025-03-15T14:30:00+02", "2025-03-15T12:30:00Z"},
    {"2025-03-15T14:30:00-05:30", "2025-03-15T20:00:00Z"},
    {"2025-03-15T14:30:00+05:45", "2025-03-15T08:45:00Z"},
    {"2025-03-15 14:30:00+00", "2025-03-15T14:30:00Z"},
    {"2025-03-15 14:30:00 +0100", "2025-03-15T13:30:00Z"},
    {"2025-03-15 14:30:00 Z", "2025-03-15T14:30:00Z"},
    {"2025-03-15T14:30:00-00:00", "2025-03-15T14:30:00Z"},
    {"2025-12-31T23:59:59-12:00", "2026-01-01T11:59:59Z"},
    {"2025-01-01T00:00:00+14:00", "2024-12-31T10:00:00Z"},
    {"2025-03-15T14:30:00+24:00", NULL},
    {"2025-03-15T14:30:00+02:60", NULL},
    {"2025-03-15T14:30:00+2", NULL},
    {"2025-03-15T14:30:00+02:", NULL},
    {"2025-03-15T14:30:00+020", NULL},
    {"2025-03-15T14:30:00ZZ", NULL},
    {"2025-03-15T14:30:00 ", "2025-03-15T14:30:00Z"},
    {"2025-03-15T14:30:00 UTC", NULL},
    {"2025-03-15T14:30:00[Europe/Rome]", NULL},
    /* fractions are cut */
    {"2025-03-15T14:30:00.999Z", "2025-03-15T14:30:00Z"},
    {"2025-03-15T14:30:00.123456789+02:00", "2025-03-15T12:30:00Z"},
    {"2025-03-15T14:30:00,5Z", "2025-03-15T14:30:00Z"},
    {"2025-03-15T14:30:00.Z", NULL},
    /* shorter and basic forms */
    {"2025-03-15", "2025-03-15T00:00:00Z"},
    {"  2025-03-15\t\n", "2025-03-15T00:00:00Z"},
    {"2025-03-15T14:30", "2025-03-15T14:30:00Z"},
    {"2025-03-15T14:30Z", "2025-03-15T14:30:00Z"},
    {"2025-03-15T14:30+01:00", "2025-03-15T13:30:00Z"},
    {"2025-03-15T14", "2025-03-15T14:00:00Z"},
    {"2025-03-15T14+02", "2025-03-15T12:00:00Z"},
    {"20250315T143000Z", "2025-03-15T14:30:00Z"},
    {"20250315T1430-0500", "2025-03-15T19:30:00Z"},
    {"2025-03", NULL},
    {"2025-3-15", NULL},
    {"2025-03-1", NULL},
    {"2025-0315", NULL},
    {"2025-074", NULL},
    {"2025-W11-6", NULL},
    {"25-03-15", NULL},
    {"2025-03-15T", NULL},
    {"2025-03-15T1", NULL},
    {"2025-03-15T14:3", NULL},
    {"2025-03-15T14:30:0", NULL},
    {"2025-03-15T14:30:", NULL},
    {"2025-03-15  14:30:00", NULL},
    {"2025-03-15Z", NULL},
    {"2025-03-15_14:30:00", NULL},
    {"+2025-03-15", NULL},
    /* the calendar */
    {"2024-02-29", "2024-02-29T00:00:00Z"},
    {"2000-02-29", "2000-02-29T00:00:00Z"},
    {"2025-02-29", NULL},
    {"1900-02-29", NULL},
    {"2025-02-30", NULL},
    {"2025-04-31", NULL},
    {"2025-12-31", "2025-12-31T00:00:00Z"},
    {"2025-13-01", NULL},
    {"2025-00-10", NULL},
    {"2025-01-00", NULL},
    {"2025-01-32", NULL},
    {"0000-01-01", NULL},
    {"0001-01-01", "0001-01-01T00:00:00Z"},
    {"0001-01-01T00:00:00+01:00", NULL},
    {"9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"},
    {"9999-12-31T23:59:59-01:00", NULL},
    {"1970-01-01", "1970-01-01T00:00:00Z"},
    {"1969-12-31T23:59:59Z", "1969-12-31T23:59:59Z"},
    /* the clock */
    {"2025-03-15T23:59:59Z", "2025-03-15T23:59:59Z"},
    {"2025-03-15T24:00:00Z", NULL},
    {"2025-03-15T25:00:00Z", NULL},
    {"2025-03-15T14:60:00Z", NULL},
    {"2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"},
    {"2025-03-15T14:30:60Z", NULL},
    {"2025-03-15T14:59:61Z", NULL},
    /* numbers in text are epochs */
    {"1742049000", "2025-03-15T14:30:00Z"},
    {"1742049000000", "2025-03-15T14:30:00Z"},
    {"1742049000999", "2025-03-15T14:30:00Z"},
    {"1742049000.75", "2025-03-15T14:30:00Z"},
    {" 1742049000 ", "2025-03-15T14:30:00Z"},
    {"99999999999", "5138-11-16T09:46:39Z"},
    {"100000000000", "1973-03-03T09:46:40Z"},
    {"0", "1970-01-01T00:00:00Z"},
    {"-1", "1969-12-31T23:59:59Z"},
    {"20250315", "1970-08-23T09:05:15Z"},
    {"2025", "1970-01-01T00:33:45Z"},
    {"000000000000000000001742049000", "2025-03-15T14:30:00Z"},
    {"99999999999999999999999999", NULL},
    {"-99999999999999999999999999", NULL},
    {"1742049000.", NULL},
    {"1742049000,5", NULL},
    {".5", NULL},
    {"-", NULL},
    {"+1742049000", NULL},
    {"1.7e9", NULL},
    {"0x10", NULL},
    {"1 742 049 000", NULL},
    /* none at all */
    {"", NULL},
    {"   ", NULL},
    {"yesterday", NULL},
    {"03/15/2025", NULL},
    {"15.03.2025", NULL},
    {"Sat, 15 Mar 2025 14:30:00 GMT", NULL},
    {"2025-03-15T14:30:00Z and more", NULL},
    {"２０２５-03-15", NULL},
};

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        wall_us_t date;
        char text[WALL_TEXT_BYTES];
        bool read = date_from_text(slice_from_str(rows[i].text), &date);
        ROW_CHECK(read == (rows[i].date != NULL), rows[i].text);
        if (!read)
            continue;
        wall_format_utc(date, text);
        ROW_CHECK(strcmp(text, rows[i].date) == 0, rows[i].text);
    }
}

/* Every day of four centuries and their neighbours, against the formatter's own arithmetic. */
static void test_every_day_round_trips(void **state)
{
    (void)state;
    for (int64_t day = -292000; day < 146400; day++) {
        char text[WALL_TEXT_BYTES];
        wall_us_t date;
        wall_format_utc((wall_us_t){day * 86400 * US_PER_S}, text);
        assert_true(date_from_text(slice_from_str(text), &date));
        assert_true(date.us == day * 86400 * US_PER_S);
    }
}

static void test_integers(void **state)
{
    (void)state;
    wall_us_t date;
    assert_true(date_from_integer(99999999999, &date) && date.us == INT64_C(99999999999) * US_PER_S);
    assert_true(date_from_integer(100000000000, &date) && date.us == INT64_C(100000000) * US_PER_S);
    assert_true(date_from_integer(-99999999999, &date) == false); /* before the year 1 */
    assert_true(date_from_integer(-100000000000, &date) && date.us == INT64_C(-100000000) * US_PER_S);
    assert_true(date_from_integer(253402300799999, &date) && date.us == INT64_C(253402300799) * US_PER_S);
    assert_false(date_from_integer(253402300800000, &date));
    assert_false(date_from_integer(INT64_MAX, &date));
    assert_false(date_from_integer(INT64_MIN, &date));
    assert_true(date_from_milliseconds(1999, &date) && date.us == US_PER_S);
    assert_false(date_from_milliseconds(INT64_MAX, &date));
}

static void test_reals(void **state)
{
    (void)state;
    wall_us_t date;
    assert_true(date_from_real(1742049000.999, &date) && date.us == INT64_C(1742049000) * US_PER_S);
    assert_true(date_from_real(1742049000999.5, &date) && date.us == INT64_C(1742049000) * US_PER_S);
    assert_true(date_from_real(1e11, &date) && date.us == INT64_C(100000000) * US_PER_S);
    assert_false(date_from_real(1e300, &date));
    assert_false(date_from_real(-1e300, &date));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_every_day_round_trips),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_reals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
