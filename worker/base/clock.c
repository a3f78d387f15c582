/* The two clocks of the machine, and wall time as people and the API write it. */
#include "signup/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

mono_us_t clock_mono_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (mono_us_t){(int64_t)t.tv_sec * US_PER_S + t.tv_nsec / 1000};
}

wall_us_t clock_wall_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (wall_us_t){(int64_t)t.tv_sec * US_PER_S + t.tv_nsec / 1000};
}

/* Years 0000-01-01 to 9999-12-31, in seconds. */
#define WALL_S_MIN INT64_C(-62167219200)
#define WALL_S_MAX INT64_C(253402300799)

struct civil {
    int year, month, day, hour, minute, second;
};

/* Proleptic Gregorian calendar from days since 1970 (the usual era arithmetic; no time zone, no locale, no lock). */
static struct civil civil_from_seconds(int64_t s)
{
    int64_t days = s / 86400;
    int64_t rest = s % 86400;
    if (rest < 0) {
        rest += 86400;
        days--;
    }
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    int64_t day_of_era = z - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month_index = (5 * day_of_year + 2) / 153;
    int64_t month = month_index < 10 ? month_index + 3 : month_index - 9;
    return (struct civil){
        .year = (int)(year_of_era + era * 400 + (month <= 2)),
        .month = (int)month,
        .day = (int)(day_of_year - (153 * month_index + 2) / 5 + 1),
        .hour = (int)(rest / 3600),
        .minute = (int)(rest / 60 % 60),
        .second = (int)(rest % 60),
    };
}

static void digits_put(char *at, int value, int count)
{
    for (int i = count - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

static int64_t wall_seconds(wall_us_t t, int64_t *fraction_us)
{
    int64_t s = t.us / US_PER_S;
    int64_t us = t.us % US_PER_S;
    if (us < 0) {
        us += US_PER_S;
        s--;
    }
    if (s < WALL_S_MIN)
        s = WALL_S_MIN;
    if (s > WALL_S_MAX)
        s = WALL_S_MAX;
    *fraction_us = us;
    return s;
}

void wall_format_utc(wall_us_t t, char *text)
{
    int64_t fraction_us;
    struct civil c = civil_from_seconds(wall_seconds(t, &fraction_us));
    memcpy(text, "0000-00-00T00:00:00Z", WALL_TEXT_BYTES);
    digits_put(text, c.year, 4);
    digits_put(text + 5, c.month, 2);
    digits_put(text + 8, c.day, 2);
    digits_put(text + 11, c.hour, 2);
    digits_put(text + 14, c.minute, 2);
    digits_put(text + 17, c.second, 2);
}

void wall_format_utc_ms(wall_us_t t, char *text)
{
    int64_t fraction_us;
    wall_seconds(t, &fraction_us);
    wall_format_utc(t, text);
    memcpy(text + 19, ".000Z", 6);
    digits_put(text + 20, (int)(fraction_us / 1000), 3);
}
