/* event-judge: reads one event per line on standard input and prints what the decoder makes of it, one
 * JSON object per line. It lets a test in another language ask the program itself. The time is fixed:
 * 2026-06-01T00:00:00Z, and the records' timestamp a minute before. */
#include "signup/event/signup.h"

#include <stdio.h>
#include <stdlib.h>

#define NOW_S INT64_C(1780272000)
#define ARENA_BYTES ((size_t)16 << 20)
#define LINE_BYTES ((size_t)8 << 20)

static void put_name(struct buf *line, const char *name)
{
    buf_append_str(line, line->len > 1 ? ",\"" : "\"");
    buf_append_str(line, name);
    buf_append_str(line, "\":");
}

static void put_text(struct buf *line, const char *name, struct slice text)
{
    put_name(line, name);
    if (slice_present(text))
        buf_append_json_string(line, text);
    else
        buf_append_str(line, "null");
}

static void put_json(struct buf *line, const char *name, struct slice json)
{
    put_name(line, name);
    buf_append_slice(line, slice_present(json) ? json : SLICE_LITERAL("null"));
}

static void put_warnings(struct buf *line, const struct warning *first)
{
    put_name(line, "warnings");
    buf_append_char(line, '[');
    for (const struct warning *w = first; w; w = w->next) {
        struct buf one;
        buf_init(&one, LINE_BYTES);
        buf_append_char(&one, '{');
        put_text(&one, "code", w->code);
        put_text(&one, "message", w->message);
        buf_append_char(&one, '}');
        if (w != first)
            buf_append_char(line, ',');
        if (buf_ok(&one))
            buf_append_slice(line, buf_slice(&one));
        else
            line->failed = true;
        buf_fini(&one);
    }
    buf_append_char(line, ']');
}

static int judge(const struct event_rules *rules, struct slice value, int64_t offset, struct buf *line)
{
    struct arena arena;
    struct signup signup;
    struct record record = {
        .topic = SLICE_LITERAL("signups"),
        .offset = offset,
        .timestamp_ms = (NOW_S - 60) * 1000,
        .value = value,
    };
    arena_init(&arena, ARENA_BYTES);
    signup_read(rules, &record, (wall_us_t){NOW_S * US_PER_S}, &arena, &signup);
    buf_reset(line);
    buf_append_char(line, '{');
    put_text(line, "event_id", signup.event_id);
    put_text(line, "death", slice_from_str(death_code_str(signup.death)));
    put_text(line, "message", signup.death_message);
    put_text(line, "phone_number", signup.phone_number);
    put_text(line, "list_number", signup.list_number);
    put_warnings(line, signup.warnings);
    put_json(line, "consent", signup.consent);
    put_json(line, "body", signup.body);
    buf_append_str(line, "}\n");
    arena_fini(&arena);
    return buf_ok(line) && fwrite(line->data, 1, line->len, stdout) == line->len ? 0 : -1;
}

int main(void)
{
    static const char *const topics[] = {"signups"};
    const struct event_rules rules = {
        .country = "US",
        .use_journeys = true,
        .skip_journey_if_exists = true,
        .topics = topics,
        .topic_count = 1,
    };
    struct buf line;
    char *text = NULL;
    size_t size = 0;
    ssize_t len;
    int failed = 0;
    buf_init(&line, LINE_BYTES);
    for (int64_t offset = 0; !failed && (len = getline(&text, &size, stdin)) >= 0; offset++) {
        if (len > 0 && text[len - 1] == '\n')
            len--;
        failed = judge(&rules, (struct slice){text, (size_t)len}, offset, &line);
    }
    free(text);
    buf_fini(&line);
    return failed || fflush(stdout) != 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
