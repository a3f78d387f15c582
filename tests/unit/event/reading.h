/* Fixture of the event room's tests: reads one event under known rules, and lets tables be written with '
 * for ". */
#ifndef SIGNUP_TESTS_EVENT_READING_H
#define SIGNUP_TESTS_EVENT_READING_H

/* cmocka wants these four before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "signup/event/signup.h"

#include <stdlib.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define READING_NOW_S INT64_C(1780272000) /* 2026-06-01T00:00:00Z */
#define READING_RECORD_MS INT64_C(1780271940123)
#define READING_RECORD_DATE "2026-05-31T23:59:00Z"
#define READING_POSITION "signups:3:42"
#define READING_ARENA_BYTES ((size_t)16 << 20)

static const char *const reading_topics[] = {"signups", "signups.eu"};

/* A reading in progress: the rules and the record may be changed before reading_run(). */
struct reading {
    struct event_rules rules;
    struct record record;
    struct arena arena;
    struct signup signup;
    char *text;
};

static inline void reading_init(struct reading *r, const void *value, size_t len)
{
    *r = (struct reading){
        .rules = {.country = "US",
                  .use_journeys = true,
                  .skip_journey_if_exists = true,
                  .topics = reading_topics,
                  .topic_count = COUNT_OF(reading_topics)},
        .record = {.topic = SLICE_LITERAL("signups"),
                   .partition = 3,
                   .offset = 42,
                   .timestamp_ms = READING_RECORD_MS},
    };
    /* Exactly the bytes, on the heap: a byte read beyond them is seen by the sanitizers. */
    r->text = malloc(len ? len : 1);
    assert_non_null(r->text);
    if (len)
        memcpy(r->text, value, len);
    r->record.value = (struct slice){r->text, len};
    arena_init(&r->arena, READING_ARENA_BYTES);
}

/* `event` with ' for ". */
static inline void reading_init_event(struct reading *r, const char *event)
{
    reading_init(r, event, strlen(event));
    for (size_t i = 0; i < r->record.value.len; i++) {
        if (r->text[i] == '\'')
            r->text[i] = '"';
    }
}

static inline void reading_run(struct reading *r)
{
    signup_read(&r->rules, &r->record, (wall_us_t){READING_NOW_S * US_PER_S}, &r->arena, &r->signup);
}

static inline void reading_fini(struct reading *r)
{
    arena_fini(&r->arena);
    free(r->text);
}

static inline void reading_of(struct reading *r, const char *event)
{
    reading_init_event(r, event);
    reading_run(r);
}

/* Whether `text` holds `part`, which is written with ' for ". */
static inline bool slice_has(struct slice text, const char *part)
{
    size_t len = strlen(part);
    for (size_t at = 0; slice_present(text) && at + len <= text.len; at++) {
        size_t i = 0;
        while (i < len && text.ptr[at + i] == (part[i] == '\'' ? '"' : part[i]))
            i++;
        if (i == len)
            return true;
    }
    return false;
}

static inline size_t warnings_count(const struct signup *signup)
{
    size_t n = 0;
    for (const struct warning *w = signup->warnings; w; w = w->next)
        n++;
    return n;
}

/* Says which row of a table failed before cmocka says why. */
#define ROW_CHECK(condition, row_text) \
    do { \
        if (!(condition)) \
            fail_msg("row «%s»: %s", (row_text), #condition); \
    } while (0)

#endif
