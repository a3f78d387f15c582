/* Dates with the names of months: RFC 5322 section 3.3, HTTP's preferred form (RFC 9110 section 5.6.7) and
 * what browsers make of a Date. English names only, as in the standards. */
#include "date_parts.h"

static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char *const weekdays[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};

/* The index of the name that is taken, or -1. */
static int take_name(struct cursor *c, const char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        if (cursor_take_word(c, names[i]))
            return i;
    }
    return -1;
}

static bool take_blanks(struct cursor *c)
{
    const char *start = c->at;
    while (cursor_take_char(c, ' ') || cursor_take_char(c, '\t')) {
    }
    return c->at > start;
}

/* One digit or two. */
static bool take_day(struct cursor *c, int *day)
{
    int digits = cursor_digits(c);
    return (digits == 1 || digits == 2) && cursor_take_digits(c, digits, day);
}

/* hh:mm or hh:mm:ss; the second of a leap second is left at 60. */
static bool take_clock(struct cursor *c, int clock[3])
{
    clock[2] = 0;
    if (!cursor_take_digits(c, 2, &clock[0]) || !cursor_take_char(c, ':') ||
        !cursor_take_digits(c, 2, &clock[1]))
        return false;
    if (cursor_take_char(c, ':') && !cursor_take_digits(c, 2, &clock[2]))
        return false;
    return clock[0] < 24 && clock[1] < 60 && clock[2] <= 60;
}

/* "+0100", "GMT", or both: "GMT+0100". */
static bool take_zone(struct cursor *c, int64_t *offset)
{
    *offset = 0;
    bool named = date_take_utc(c);
    return date_take_offset(c, offset) || named;
}

/* "(CET)" and "(Central European Standard Time)" say again what the number said. */
static bool take_comment(struct cursor *c)
{
    take_blanks(c);
    if (cursor_done(c))
        return true;
    if (!cursor_take_char(c, '('))
        return false;
    while (!cursor_done(c) && *c->at != '(' && *c->at != ')')
        c->at++;
    return cursor_take_char(c, ')') && cursor_done(c);
}

/* "15 Mar 2025", and browsers' "Mar 15 2025". */
static bool take_date(struct cursor *c, int64_t *days)
{
    int day = 0;
    int year;
    bool day_first = cursor_digit(c);
    if (day_first && (!take_day(c, &day) || !take_blanks(c)))
        return false;
    int month = take_name(c, months, 12);
    if (month < 0 || !take_blanks(c))
        return false;
    if (!day_first && (!take_day(c, &day) || !take_blanks(c)))
        return false;
    if (cursor_digits(c) != 4 || !cursor_take_digits(c, 4, &year))
        return false;
    return date_of_calendar(year, month + 1, day, days);
}

bool date_mail(struct cursor c, int64_t *seconds)
{
    int64_t days;
    int64_t offset;
    int clock[3];
    int weekday = take_name(&c, weekdays, 7);
    if (weekday >= 0) {
        bool comma = cursor_take_char(&c, ',');
        if (!take_blanks(&c) && !comma)
            return false;
    }
    if (!take_date(&c, &days) || !take_blanks(&c) || !take_clock(&c, clock) || !take_blanks(&c) ||
        !take_zone(&c, &offset) || !take_comment(&c))
        return false;
    /* A day of the week that is another one: who knows which of the two is wrong. */
    if (weekday >= 0 && weekday != date_weekday(days))
        return false;
    if (clock[2] == 60 && !date_leap_second(clock[1], offset))
        return false;
    *seconds = days * 86400 + clock[0] * 3600 + clock[1] * 60 + clock[2] - offset;
    return true;
}
