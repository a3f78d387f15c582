/* Two kinds of time that the compiler keeps apart: monotonic for waiting, wall for people and the API. */
#ifndef SIGNUP_BASE_CLOCK_H
#define SIGNUP_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Microseconds since an arbitrary start; never goes back. */
typedef struct {
    int64_t us;
} mono_us_t;

/* Microseconds since 1970-01-01T00:00:00Z. */
typedef struct {
    int64_t us;
} wall_us_t;

#define US_PER_MS INT64_C(1000)
#define US_PER_S INT64_C(1000000)
#define MONO_NEVER ((mono_us_t){INT64_MAX})

mono_us_t clock_mono_now(void);
wall_us_t clock_wall_now(void);

static inline mono_us_t mono_add(mono_us_t t, int64_t us)
{
    return (mono_us_t){us > INT64_MAX - t.us ? INT64_MAX : t.us + us};
}

static inline bool mono_reached(mono_us_t now, mono_us_t due)
{
    return now.us >= due.us;
}

static inline mono_us_t mono_earlier(mono_us_t a, mono_us_t b)
{
    return a.us < b.us ? a : b;
}

/* "2025-03-15T14:30:00Z" (fraction cut). `text` holds at least WALL_TEXT_BYTES. Years 0000 to 9999; others are clamped. */
#define WALL_TEXT_BYTES 21
void wall_format_utc(wall_us_t t, char *text);

/* "2025-03-15T14:30:00.123Z". At least WALL_TEXT_MS_BYTES. */
#define WALL_TEXT_MS_BYTES 25
void wall_format_utc_ms(wall_us_t t, char *text);

#endif
