/* Fixture of the shapes' tests: one payload under a mapping written as JSON (shape_mapping.h), a sample file,
 * or a trace. */
#ifndef SIGNUP_TESTS_EVENT_SHAPE_READING_H
#define SIGNUP_TESTS_EVENT_SHAPE_READING_H

#include "reading.h"
#include "shape_mapping.h"

#include <stdio.h>

#define SAMPLES SIGNUP_SOURCE_DIR "/deploy/samples/shapes/"

struct shaped {
    struct reading r;
    struct event_topic topic;
    struct arena rules;
    struct buf trace; /* "step field=value (origin)" a line */
};

static inline void shaped_note(void *ctx, const char *step, const char *field, struct slice value,
                               const char *origin)
{
    struct buf *out = ctx;
    buf_printf(out, "%s %s=%.*s (%s)\n", step, field, (int)value.len, slice_present(value) ? value.ptr : "",
               origin);
}

/* `mapping` with ' for ". The bytes are read as they are. */
static inline void shaped_of_bytes(struct shaped *s, const char *mapping, const void *bytes, size_t len)
{
    struct reading text;
    json_error_t error;
    reading_init(&s->r, bytes, len);
    arena_init(&s->rules, READING_ARENA_BYTES);
    buf_init(&s->trace, READING_ARENA_BYTES);
    reading_init_event(&text, mapping);
    json_t *parsed = json_loadb(text.text, text.record.value.len, JSON_REJECT_DUPLICATES, &error);
    if (!parsed || !shape_topic(&s->rules, parsed, &s->topic) ||
        !shape_headers(&s->rules, parsed, &s->r.record))
        fail_msg("mapping «%s» cannot be read", mapping);
    json_decref(parsed);
    reading_fini(&text);
    s->topic.topic = s->r.record.topic;
    s->r.rules.shapes = &s->topic;
    s->r.rules.shape_count = 1;
    const struct event_trace trace = {shaped_note, &s->trace};
    signup_read_traced(&s->r.rules, &s->r.record, (wall_us_t){READING_NOW_S * US_PER_S}, &s->r.arena, &trace,
                       &s->r.signup);
    buf_append_char(&s->trace, '\0');
    assert_true(buf_ok(&s->trace));

    /* Nobody listening changes nothing. */
    struct reading again;
    reading_init(&again, bytes, len);
    const char *copied = again.text;
    again.rules = s->r.rules;
    again.record = s->r.record;
    again.record.value = (struct slice){copied, len};
    reading_run(&again);
    assert_int_equal(again.signup.death, s->r.signup.death);
    assert_true(slice_equal(again.signup.body, s->r.signup.body));
    assert_true(slice_equal(again.signup.event_id, s->r.signup.event_id));
    assert_memory_equal(again.signup.digest, s->r.signup.digest, SIGNUP_DIGEST_BYTES);
    reading_fini(&again);
}

/* Both with ' for ". */
static inline void shaped_of(struct shaped *s, const char *mapping, const char *event)
{
    struct reading text;
    reading_init_event(&text, event);
    shaped_of_bytes(s, mapping, text.text, text.record.value.len);
    reading_fini(&text);
}

static inline void shaped_of_sample(struct shaped *s, const char *mapping, const char *name)
{
    char path[512];
    char bytes[8192];
    snprintf(path, sizeof path, SAMPLES "%s", name);
    FILE *file = fopen(path, "rb");
    if (!file)
        fail_msg("%s: cannot be opened", path);
    size_t len = fread(bytes, 1, sizeof bytes, file);
    assert_int_equal(fclose(file), 0);
    shaped_of_bytes(s, mapping, bytes, len);
}

static inline void shaped_fini(struct shaped *s)
{
    reading_fini(&s->r);
    arena_fini(&s->rules);
    buf_fini(&s->trace);
}

static inline bool shaped_told(const struct shaped *s, const char *line)
{
    return slice_has(buf_slice(&s->trace), line);
}

#endif
