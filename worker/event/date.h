/* Dates as people and programs write them, to wall time. Whole seconds: fractions are cut. */
#ifndef SIGNUP_EVENT_DATE_H
#define SIGNUP_EVENT_DATE_H

#include "signup/base/clock.h"
#include "signup/base/slice.h"

/* All: true with `out` set, or false for what cannot be read or lies outside the years 1 to 9999. */

/* ISO 8601, extended or basic: a date alone (midnight UTC) or with a time after `T`, `t` or one blank; no
 * zone means UTC, else `Z`, `z`, ±hh, ±hhmm or ±hh:mm. Text that is a number is read as an epoch. Blanks
 * around it do not count. */
bool date_from_text(struct slice text, wall_us_t *out);

/* Seconds since 1970; from 1e11 on (either side of zero) milliseconds. */
bool date_from_integer(int64_t epoch, wall_us_t *out);
bool date_from_real(double epoch, wall_us_t *out);

/* Always milliseconds: a Kafka timestamp. */
bool date_from_milliseconds(int64_t epoch_ms, wall_us_t *out);

#endif
