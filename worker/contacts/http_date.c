/* Dates of HTTP headers, read strictly: what is not exactly a date is no date. */
#include "http_date.h"

#include <string.h>
#include <strings.h>

/* A reader over one header value. */
struct reader {
    const char *at;
    const char *end;
};

static bool reader_literal(struct reader *r, const char *text)
{
    size_t len = strlen(text);
    if ((size_t)(r->end - r->at) < len || memcmp(r->at, text, len) != 0)
        return false;
    r->at += len;
    return true;
}

/* Exactly `digits` digits. */
static bool reader_number(struct reader *r, int digits, int *out)
{
    if (r->end - r->at < digits)
        return false;
    int value = 0;
    for (int i = 0; i < digits; i++, r->at++) {
        if (*r->at < '0' || *r->at > '9')
            return false;
        value = value * 10 + (*r->at - '0');
    }
    *out = value;
    return true;
}

/* One of `count` names, as its place. */
static bool reader_name(struct reader *r, const char *const *names, int count, int *out)
{
    for (int i = 0; i < count; i++) {
        size_t len = strlen(names[i]);
        if ((size_t)(r->end - r->at) >= len && strncasecmp(r->at, names[i], len) == 0) {
            r->at += len;
            *out = i;
            return true;
        }
    }
    return false;
}

static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char *const days[] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
static const char *const long_days[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                        "Friday", "Saturday", "Sunday"};

struct moment {
    int year, month, day, hour, minute, second; /* month from 0 */
};

static bool moment_time(struct reader *r, struct moment *m)
{
    return reader_number(r, 2, &m->hour) && reader_literal(r, ":") && reader_number(r, 2, &m->minute) &&
           reader_literal(r, ":") && reader_number(r, 2, &m->second);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static bool moment_imf(struct reader r, struct moment *m)
{
    int weekday;
    return reader_name(&r, days, 7, &weekday) && reader_literal(&r, ", ") && reader_number(&r, 2, &m->day) &&
           reader_literal(&r, " ") && reader_name(&r, months, 12, &m->month) && reader_literal(&r, " ") &&
           reader_number(&r, 4, &m->year) && reader_literal(&r, " ") && moment_time(&r, m) &&
           reader_literal(&r, " GMT") && r.at == r.end;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT" */
static bool moment_rfc850(struct reader r, struct moment *m)
{
    int weekday;
    if (!(reader_name(&r, long_days, 7, &weekday) && reader_literal(&r, ", ") &&
          reader_number(&r, 2, &m->day) && reader_literal(&r, "-") &&
          reader_name(&r, months, 12, &m->month) && reader_literal(&r, "-") &&
          reader_number(&r, 2, &m->year) && reader_literal(&r, " ") && moment_time(&r, m) &&
          reader_literal(&r, " GMT") && r.at == r.end))
        return false;
    m->year += m->year < 70
                   ? 2000
                   : 1900; /* a form of the last century; servers that still send it mean the present */
    return true;
}

/* "Sun Nov  6 08:49:37 1994" */
static bool moment_asctime(struct reader r, struct moment *m)
{
    int weekday;
    return reader_name(&r, days, 7, &weekday) && reader_literal(&r, " ") &&
           reader_name(&r, months, 12, &m->month) && reader_literal(&r, " ") &&
           (reader_literal(&r, " ") ? reader_number(&r, 1, &m->day) : reader_number(&r, 2, &m->day)) &&
           reader_literal(&r, " ") && moment_time(&r, m) && reader_literal(&r, " ") &&
           reader_number(&r, 4, &m->year) && r.at == r.end;
}

static bool is_leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static bool moment_exists(const struct moment *m)
{
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int last = lengths[m->month] + (m->month == 1 && is_leap(m->year) ? 1 : 0);
    return m->year >= 1 && m->day >= 1 && m->day <= last && m->hour <= 23 && m->minute <= 59 &&
           m->second <= 60; /* 60: a leap second */
}

/* Days of the Gregorian calendar since 1970-01-01. */
static int64_t days_since_epoch(int year, int month, int day)
{
    static const int before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t y = year - 1;
    int64_t passed =
        y * 365 + y / 4 - y / 100 + y / 400 + before[month] + (month > 1 && is_leap(year) ? 1 : 0) + day - 1;
    return passed - 719162; /* the same sum for 1970-01-01 */
}

static struct slice trim(struct slice text)
{
    while (text.len && (text.ptr[0] == ' ' || text.ptr[0] == '\t')) {
        text.ptr++;
        text.len--;
    }
    while (text.len && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
        text.len--;
    return text;
}

bool http_date_read(struct slice text, wall_us_t *out)
{
    if (!slice_present(text))
        return false;
    text = trim(text);
    struct reader r = {text.ptr, text.ptr + text.len};
    struct moment m = {0};
    if (!(moment_imf(r, &m) || moment_rfc850(r, &m) || moment_asctime(r, &m)) || !moment_exists(&m))
        return false;
    int64_t seconds = days_since_epoch(m.year, m.month, m.day) * 86400 + (int64_t)m.hour * 3600 +
                      (int64_t)m.minute * 60 + m.second;
    out->us = seconds * US_PER_S;
    return true;
}

/* "120", "-5"; nothing else. Clamped. */
static bool seconds_read(struct slice text, int64_t *us)
{
    bool negative = text.len && text.ptr[0] == '-';
    size_t i = negative ? 1 : 0;
    if (i == text.len)
        return false;
    int64_t value = 0;
    for (; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        int digit = text.ptr[i] - '0';
        value = value > (INT64_MAX / US_PER_S - digit) / 10 ? INT64_MAX / US_PER_S : value * 10 + digit;
    }
    bool clamped = value >= INT64_MAX / US_PER_S;
    *us = negative ? 0 : clamped ? INT64_MAX : value * US_PER_S;
    return true;
}

int64_t http_retry_after_us(struct slice value, struct slice date, wall_us_t now)
{
    if (!slice_present(value))
        return -1;
    value = trim(value);
    int64_t us;
    if (seconds_read(value, &us))
        return us;
    wall_us_t until;
    if (!http_date_read(value, &until))
        return -1;
    wall_us_t sent;
    if (!http_date_read(date, &sent))
        sent = now;
    /* Dates lie in the years 1 to 9999 and `now` near the present: the difference cannot overflow. */
    return until.us > sent.us ? until.us - sent.us : 0;
}
