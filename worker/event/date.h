/* Dates as people and programs write them, to wall time. Whole seconds: fractions are cut. */
#ifndef SIGNUP_EVENT_DATE_H
#define SIGNUP_EVENT_DATE_H

#include "signup/base/clock.h"
#include "signup/base/slice.h"

/* All: true with `out` set, or false for what cannot be read or lies outside the years 1 to 9999. */

/* Blanks around it do not count. What it can read (nothing that could mean two things):
 * - text that is a number: an epoch, also with a fraction;
 * - ISO 8601, extended or basic: a date of the calendar (2025-03-15), the week (2025-W11-6) or the year
 * (2025-074), alone (midnight UTC) or with a time after `T`, `t` or one blank; the time down to the hour, the
 * last unit with a fraction after a dot or a comma, 24:00 at the end of the day, :60 where a leap second can
 * be; no zone means UTC, else `Z`, `z`, `UTC`, `GMT`, ±hh, ±hhmm or ±hh:mm, also after a blank, and behind
 * that the name of the zone in brackets (RFC 9557);
 * - RFC 5322 and HTTP: "Sat, 15 Mar 2025 14:30:00 +0100", with the zone as a number or GMT, UTC, UT or Z, and
 * browsers' "Sat Mar 15 2025 14:30:00 GMT+0100 (…)". Not the older ones with two digits for the year or
 * without a zone, and no zone by its letters: EST is of two continents. */
bool date_from_text(struct slice text, wall_us_t *out);

/* Seconds since 1970; from 1e11 on (either side of zero) milliseconds. */
bool date_from_integer(int64_t epoch, wall_us_t *out);
bool date_from_real(double epoch, wall_us_t *out);

/* Always milliseconds: a Kafka timestamp. */
bool date_from_milliseconds(int64_t epoch_ms, wall_us_t *out);

#endif
