/* Inside the dates: reading forward through a text, and the calendar. */
#ifndef SIGNUP_EVENT_DATE_PARTS_H
#define SIGNUP_EVENT_DATE_PARTS_H

#include "signup/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* Reads forward; every take is all or nothing. */
struct cursor {
    const char *at;
    const char *end;
};

static inline bool cursor_done(const struct cursor *c)
{
    return c->at == c->end;
}

bool cursor_digit(const struct cursor *c);
/* The number of digits that follow. */
int cursor_digits(const struct cursor *c);
bool cursor_take_char(struct cursor *c, char wanted);
/* One of the letters that `wanted` has in any case: a word, in ASCII. */
bool cursor_take_word(struct cursor *c, const char *wanted);
bool cursor_take_digits(struct cursor *c, int count, int *out);

/* ±hh, ±hhmm, ±hh:mm: seconds east of UTC. */
bool date_take_offset(struct cursor *c, int64_t *seconds);
/* UTC, GMT, UT or Z, any case. */
bool date_take_utc(struct cursor *c);

/* Days since 1970-01-01. False: the calendar has no such day. */
bool date_of_calendar(int year, int month, int day, int64_t *days);
bool date_of_week(int year, int week, int weekday, int64_t *days);
bool date_of_year(int year, int ordinal, int64_t *days);
/* 0: Monday. */
int date_weekday(int64_t days);

/* A leap second is the last of an hour of UTC. */
bool date_leap_second(int minute, int64_t offset_seconds);

/* The whole of `text` as RFC 5322 and browsers write dates: seconds since 1970. */
bool date_mail(struct cursor c, int64_t *seconds);

#endif
