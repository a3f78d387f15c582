/* ISO 8601 and epochs to wall time. */
#include "date.h"

#include "clean.h"

#include <math.h>

#define SECONDS_MIN INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */
#define SECONDS_MAX INT64_C(253402300799) /* 9999-12-31T23:59:59Z */
#define MILLISECONDS_FROM INT64_C(100000000000)

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

/* Reads forward; every take is all or nothing. */
struct cursor {
    const char *at;
    const char *end;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool next_is_digit(const struct cursor *c)
{
    return c->at < c->end && is_digit(*c->at);
}

static bool take_char(struct cursor *c, char wanted)
{
    if (c->at == c->end || *c->at != wanted)
        return false;
    c->at++;
    return true;
}

static bool take_digits(struct cursor *c, int count, int *out)
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

/* A fraction of the last unit: a dot or a comma and at least one digit, cut. True where there is none. */
static bool skip_fraction(struct cursor *c)
{
    if (!take_char(c, '.') && !take_char(c, ','))
        return true;
    if (!next_is_digit(c))
        return false;
    while (next_is_digit(c))
        c->at++;
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Days since 1970-01-01 in the Gregorian calendar: years are counted from March, so that the leap day is
 * the last of its year. */
static int64_t days_since_epoch(int year, int month, int day)
{
    int64_t march_year = month > 2 ? year : year - 1;
    int64_t march_month = month > 2 ? month - 3 : month + 9;
    int64_t leap_days = march_year / 4 - march_year / 100 + march_year / 400;
    return march_year * 365 + leap_days + (153 * march_month + 2) / 5 + day - 1 - 719468;
}

/* YYYY-MM-DD or YYYYMMDD. */
static bool take_date(struct cursor *c, int64_t *days)
{
    int year;
    int month;
    int day;
    if (!take_digits(c, 4, &year))
        return false;
    bool extended = take_char(c, '-');
    if (!take_digits(c, 2, &month) || (extended && !take_char(c, '-')) || !take_digits(c, 2, &day))
        return false;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return false;
    *days = days_since_epoch(year, month, day);
    return true;
}

/* hh, hh:mm, hh:mm:ss, hhmm or hhmmss, the seconds with a fraction. */
static bool take_time(struct cursor *c, int64_t *seconds)
{
    int hour;
    int minute = 0;
    int second = 0;
    if (!take_digits(c, 2, &hour))
        return false;
    bool extended = take_char(c, ':');
    if (extended || next_is_digit(c)) {
        if (!take_digits(c, 2, &minute))
            return false;
        if (extended ? take_char(c, ':') : next_is_digit(c)) {
            if (!take_digits(c, 2, &second) || !skip_fraction(c))
                return false;
        }
    }
    if (hour > 23 || minute > 59 || second > 60)
        return false;
    *seconds = hour * 3600 + minute * 60 + second;
    /* A leap second ends an hour of UTC, and some zones lie half an hour off. */
    return second < 60 || minute == 59 || minute == 29;
}

/* Z, z, ±hh, ±hhmm, ±hh:mm, each also after a blank; nothing at all is UTC. */
static bool take_zone(struct cursor *c, int64_t *offset_seconds)
{
    *offset_seconds = 0;
    if (c->at == c->end)
        return true;
    take_char(c, ' ');
    if (take_char(c, 'Z') || take_char(c, 'z'))
        return true;
    bool west = take_char(c, '-');
    if (!west && !take_char(c, '+'))
        return false;
    int hours;
    int minutes = 0;
    if (!take_digits(c, 2, &hours))
        return false;
    if ((take_char(c, ':') || next_is_digit(c)) && !take_digits(c, 2, &minutes))
        return false;
    if (hours > 23 || minutes > 59)
        return false;
    int seconds = hours * 3600 + minutes * 60;
    *offset_seconds = west ? -seconds : seconds;
    return true;
}

/* [-]digits[.digits] is an epoch; `numeric` says whether the text has that shape. */
static bool take_epoch(struct cursor c, bool *numeric, wall_us_t *out)
{
    bool negative = take_char(&c, '-');
    const char *first = c.at;
    int64_t value = 0;
    while (next_is_digit(&c)) {
        if (value < INT64_MAX / 100)
            value = value * 10 + (*c.at - '0'); /* longer ones are far beyond the last year anyway */
        c.at++;
    }
    const char *whole_end = c.at;
    *numeric = whole_end > first && (c.at == c.end || (*c.at == '.' && skip_fraction(&c) && c.at == c.end));
    return *numeric && date_from_integer(negative ? -value : value, out);
}

bool date_from_text(struct slice text, wall_us_t *out)
{
    text = clean_blanks(text);
    struct cursor c = {text.ptr, text.ptr + text.len};
    bool numeric;
    bool read = take_epoch(c, &numeric, out);
    if (numeric)
        return read;
    int64_t days;
    int64_t seconds = 0;
    int64_t offset_seconds = 0;
    if (!take_date(&c, &days))
        return false;
    if (take_char(&c, 'T') || take_char(&c, 't') || take_char(&c, ' ')) {
        if (!take_time(&c, &seconds) || !take_zone(&c, &offset_seconds))
            return false;
    }
    return c.at == c.end && from_seconds(days * 86400 + seconds - offset_seconds, out);
}
