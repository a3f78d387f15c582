/* date.c: what is a date, what is none, and which. */
#include "reading.h"

#include "date.h"
#include "date_parts.h"
#include "table_dates.h"

static void test_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(table_dates); i++) {
        wall_us_t date;
        char text[WALL_TEXT_BYTES];
        bool read = date_from_text(slice_from_str(table_dates[i].text), &date);
        ROW_CHECK(read == (table_dates[i].date != NULL), table_dates[i].text);
        if (!read)
            continue;
        wall_format_utc(date, text);
        ROW_CHECK(strcmp(text, table_dates[i].date) == 0, table_dates[i].text);
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

/* The calendar of weeks and that of the year name the same days as that of months. */
static void test_calendars_agree(void **state)
{
    (void)state;
    int64_t monday = 0;
    assert_true(date_of_calendar(1583, 1, 3, &monday)); /* a Monday, and so the first week's */
    int year = 1583;
    int week = 1;
    for (; year < 2400; monday += 7) {
        int64_t day;
        if (!date_of_week(year, week, 1, &day)) {
            year++;
            week = 1;
            assert_true(date_of_week(year, week, 1, &day));
        }
        assert_int_equal(day, monday);
        assert_int_equal(date_weekday(day), 0);
        week++;
    }
    for (year = 1900; year <= 2100; year++) {
        int64_t first;
        int64_t last;
        assert_true(date_of_calendar(year, 1, 1, &first) && date_of_calendar(year, 12, 31, &last));
        for (int ordinal = 1; ordinal <= 366; ordinal++) {
            int64_t day;
            bool there = date_of_year(year, ordinal, &day);
            assert_true(there == (first + ordinal - 1 <= last) && (!there || day == first + ordinal - 1));
        }
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
        cmocka_unit_test(test_calendars_agree),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_reals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
