/* Cursor and calendar under the readers of dates. The calendar is the Gregorian one at all times, as ISO 8601
 * has it. */
#include "date_parts.h"

#include <strings.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool cursor_digit(const struct cursor *c)
{
    return c->at < c->end && is_digit(*c->at);
}

int cursor_digits(const struct cursor *c)
{
    int count = 0;
    while (c->end - c->at > count && is_digit(c->at[count]) && count < 16)
        count++;
    return count;
}

bool cursor_take_char(struct cursor *c, char wanted)
{
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

bool cursor_take_word(struct cursor *c, const char *wanted)
{
    size_t len = strlen(wanted);
    if ((size_t)(c->end - c->at) < len || strncasecmp(c->at, wanted, len) != 0)
        return false;
    c->at += len;
    return true;
}

bool cursor_take_digits(struct cursor *c, int count, int *out)
{
    if (c->end - c->at < count)
        return false;
    int value = 0;
    for (int i = 0; i < count; i++) {
        if (!is_digit(c->at[i]))
            return false;
        value = value * 10 + (c->at[i] - '0');
    }
    c->at += count;
    *out = value;
    return true;
}

/* ISO 8601 writes the minus of the character set, where that has one. */
static bool take_minus(struct cursor *c)
{
    if (cursor_take_char(c, '-'))
        return true;
    if (c->end - c->at < 3 || memcmp(c->at, "\xE2\x88\x92", 3) != 0)
        return false;
    c->at += 3;
    return true;
}

bool date_take_offset(struct cursor *c, int64_t *seconds)
{
    struct cursor rest = *c;
    int hours;
    int minutes = 0;
    bool west = take_minus(&rest);
    if (!west && !cursor_take_char(&rest, '+'))
        return false;
    if (!cursor_take_digits(&rest, 2, &hours))
        return false;
    if ((cursor_take_char(&rest, ':') || cursor_digit(&rest)) && !cursor_take_digits(&rest, 2, &minutes))
        return false;
    if (hours > 23 || minutes > 59)
        return false;
    *seconds = (west ? -1 : 1) * (hours * 3600 + minutes * 60);
    *c = rest;
    return true;
}

bool date_take_utc(struct cursor *c)
{
    return cursor_take_word(c, "UTC") || cursor_take_word(c, "GMT") || cursor_take_word(c, "UT") ||
           cursor_take_word(c, "Z");
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Years are counted from March, so that the leap day is the last of its year. */
static int64_t days_since_epoch(int year, int month, int day)
{
    int64_t march_year = month > 2 ? year : year - 1;
    int64_t march_month = month > 2 ? month - 3 : month + 9;
    int64_t leap_days = march_year / 4 - march_year / 100 + march_year / 400;
    return march_year * 365 + leap_days + (153 * march_month + 2) / 5 + day - 1 - 719468;
}

bool date_of_calendar(int year, int month, int day, int64_t *days)
{
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    *days = days_since_epoch(year, month, day);
    return true;
}

int date_weekday(int64_t days)
{
    return (int)(((days + 3) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
}

/* The Monday of the week that has the year's first Thursday, and so the fourth of January. */
static int64_t first_monday(int year)
{
    int64_t fourth = days_since_epoch(year, 1, 4);
    return fourth - date_weekday(fourth);
}

bool date_of_week(int year, int week, int weekday, int64_t *days)
{
    if (year < 1 || week < 1 || weekday < 1 || weekday > 7)
        return false;
    int64_t monday = first_monday(year) + (int64_t)(week - 1) * 7;
    if (monday >= first_monday(year + 1))
        return false;
    *days = monday + weekday - 1;
    return true;
}

bool date_of_year(int year, int ordinal, int64_t *days)
{
    if (year < 1 || ordinal < 1 || ordinal > (is_leap(year) ? 366 : 365))
        return false;
    *days = days_since_epoch(year, 1, 1) + ordinal - 1;
    return true;
}

bool date_leap_second(int minute, int64_t offset_seconds)
{
    return ((minute + 1) * 60 - offset_seconds) % 3600 == 0;
}
