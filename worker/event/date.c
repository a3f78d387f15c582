/* ISO 8601 and epochs to wall time. */
#include "date.h"

#include "clean.h"
#include "date_parts.h"

#include <math.h>

#define SECONDS_MIN INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */
#define SECONDS_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */
#define MILLISECONDS_FROM INT64_C(100000000000)
#define DAY_S INT64_C(86400)

static bool from_seconds(int64_t seconds, wall_us_t *out)
{
    if (seconds < SECONDS_MIN || seconds > SECONDS_MAX)
        return false;
    out->us = seconds * US_PER_S;
    return true;
}

bool date_from_milliseconds(int64_t epoch_ms, wall_us_t *out)
{
    return from_seconds(epoch_ms / 1000, out);
}

bool date_from_integer(int64_t epoch, wall_us_t *out)
{
    if (epoch < MILLISECONDS_FROM && epoch > -MILLISECONDS_FROM)
        return from_seconds(epoch, out);
    return date_from_milliseconds(epoch, out);
}

bool date_from_real(double epoch, wall_us_t *out)
{
    if (!(fabs(epoch) < 1e15))
        return false;
    return date_from_integer((int64_t)epoch, out);
}

/* A fraction of a unit of `unit_seconds`, after a dot or a comma, in whole seconds; 0 where there is none.
 * False: a dot or comma without digits. */
static bool take_fraction(struct cursor *c, int64_t unit_seconds, int64_t *seconds)
{
    int64_t value = 0;
    int64_t scale = 1;
    *seconds = 0;
    if (!cursor_take_char(c, '.') && !cursor_take_char(c, ','))
        return true;
    if (!cursor_digit(c))
        return false;
    for (; cursor_digit(c); c->at++) {
        if (scale < INT64_C(1000000000)) { /* what is beyond is no second of any unit */
            value = value * 10 + (*c->at - '0');
            scale *= 10;
        }
    }
    *seconds = value * unit_seconds / scale;
    return true;
}

/* [-]digits[.digits] is an epoch; `numeric` says whether the text has that shape. */
static bool take_epoch(struct cursor c, bool *numeric, wall_us_t *out)
{
    int64_t fraction;
    bool negative = cursor_take_char(&c, '-');
    const char *first = c.at;
    int64_t value = 0;
    while (cursor_digit(&c)) {
        if (value < INT64_MAX / 100)
            value = value * 10 + (*c.at - '0'); /* longer ones are far beyond the last year anyway */
        c.at++;
    }
    const char *whole_end = c.at;
    *numeric = whole_end > first &&
               (cursor_done(&c) || (*c.at == '.' && take_fraction(&c, 1, &fraction) && cursor_done(&c)));
    return *numeric && date_from_integer(negative ? -value : value, out);
}

/* Www-D, WwwD */
static bool take_week(struct cursor *c, int year, bool extended, int64_t *days)
{
    int week;
    int weekday;
    if (!cursor_take_digits(c, 2, &week) || (extended && !cursor_take_char(c, '-')) ||
        !cursor_take_digits(c, 1, &weekday))
        return false;
    return date_of_week(year, week, weekday, days);
}

/* YYYY-MM-DD, YYYY-Www-D, YYYY-DDD, and the same without hyphens. A month or a week alone is no day. */
static bool take_date(struct cursor *c, int64_t *days)
{
    int year;
    int first;
    int day;
    if (!cursor_take_digits(c, 4, &year))
        return false;
    bool extended = cursor_take_char(c, '-');
    if (cursor_take_word(c, "W"))
        return take_week(c, year, extended, days);
    int digits = cursor_digits(c);
    if (digits == 3 && cursor_take_digits(c, 3, &day))
        return date_of_year(year, day, days);
    if (digits != (extended ? 2 : 4) || !cursor_take_digits(c, 2, &first) ||
        (extended && !cursor_take_char(c, '-')) || !cursor_take_digits(c, 2, &day))
        return false;
    return date_of_calendar(year, first, day, days);
}

/* A time of the day. */
struct day_time {
    int64_t seconds;
    int minute;
    bool leap_second;
};

/* hh, hh:mm, hh:mm:ss, hhmm or hhmmss, the last unit with a fraction. */
static bool take_time(struct cursor *c, struct day_time *out)
{
    int hour;
    int minute = 0;
    int second = 0;
    int64_t unit_seconds = 3600;
    int64_t fraction;
    if (!cursor_take_digits(c, 2, &hour))
        return false;
    bool extended = cursor_take_char(c, ':');
    if (extended || cursor_digit(c)) {
        unit_seconds = 60;
        if (!cursor_take_digits(c, 2, &minute))
            return false;
        if (extended ? cursor_take_char(c, ':') : cursor_digit(c)) {
            unit_seconds = 1;
            if (!cursor_take_digits(c, 2, &second))
                return false;
        }
    }
    if (!take_fraction(c, unit_seconds, &fraction) || hour > 24 || minute > 59 || second > 60)
        return false;
    *out = (struct day_time){hour * 3600 + minute * 60 + second + fraction, minute, second == 60};
    return hour < 24 || out->seconds == DAY_S; /* 24:00 is the end of the day and nothing more */
}

/* "[Europe/Rome]" (RFC 9557). The offset has said it already; one that insists ("!") is beyond us. */
static bool take_zone_name(struct cursor *c)
{
    if (!cursor_take_char(c, '['))
        return true;
    while (!cursor_done(c) && *c->at != ']' && *c->at != '[' && *c->at != '!')
        c->at++;
    return cursor_take_char(c, ']');
}

/* Nothing at all is UTC. An offset of zero may be followed by its name, as Go prints it: "+0000 UTC". */
static bool take_zone(struct cursor *c, int64_t *offset_seconds)
{
    *offset_seconds = 0;
    if (cursor_done(c))
        return true;
    cursor_take_char(c, ' ');
    bool named = date_take_utc(c);
    if (!named && !date_take_offset(c, offset_seconds))
        return false;
    struct cursor after = *c;
    if (!named && *offset_seconds == 0 && cursor_take_char(&after, ' ') && date_take_utc(&after))
        *c = after;
    return take_zone_name(c);
}

static bool take_iso(struct cursor c, int64_t *seconds)
{
    int64_t days;
    int64_t offset_seconds = 0;
    struct day_time time = {0};
    if (!take_date(&c, &days))
        return false;
    if (cursor_take_char(&c, 'T') || cursor_take_char(&c, 't') || cursor_take_char(&c, ' ')) {
        if (!take_time(&c, &time) || !take_zone(&c, &offset_seconds))
            return false;
    }
    if (time.leap_second && !date_leap_second(time.minute, offset_seconds))
        return false;
    *seconds = days * DAY_S + time.seconds - offset_seconds;
    return cursor_done(&c);
}

bool date_from_text(struct slice text, wall_us_t *out)
{
    text = clean_blanks(text);
    struct cursor c = {text.ptr, text.ptr + text.len};
    bool numeric;
    int64_t seconds;
    bool read = take_epoch(c, &numeric, out);
    if (numeric)
        return read;
    return (take_iso(c, &seconds) || date_mail(c, &seconds)) && from_seconds(seconds, out);
}
