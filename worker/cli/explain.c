/* signup-worker explain: one payload, read as the worker would read it, each step shown; nobody is called. */
#include "command.h"

#include "signup/base/buf.h"
#include "signup/ops/term.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#define ARENA_BYTES ((size_t)64 << 20)
#define TEXT_BYTES ((size_t)64 << 20)
/* Far more than an event may have: that it is too large is for the reading to say. */
#define FILE_BYTES_MAX ((size_t)8 << 20)
#define HEADERS_MAX 64
#define VALUE_COLUMNS 60 /* of a table's cell; --json cuts nothing */

static const char help[] =
    "usage: signup-worker explain FILE [--topic TOPIC] [--header NAME=VALUE]... [--timestamp TIME] [--json]\n"
    "                             [--config FILE]\n\n"
    "Reads one payload (\"-\" reads standard input) as the worker would read it from that topic, and shows\n"
    "each step from bytes to request: what shape it is, where each field comes from, which route matches,\n"
    "every warning, the request, or why there would be none. Calls nobody and needs no secret. What it\n"
    "prints is personal data: phone numbers are shown whole.\n"
    "  --topic TOPIC        one of kafka.topics; needed where there are several\n"
    "  --header NAME=VALUE  a header of the record; may be given again\n"
    "  --timestamp TIME     the record's time, like 2026-05-30T16:00:00Z, or in milliseconds since 1970 as\n"
    "                       Kafka has it; else now\n"
    "  --json               all of it as one JSON object, nothing cut\n\n"
    "examples:\n"
    "  signup-worker explain lead.json --topic leads --config /etc/signup-worker.yaml\n"
    "  kcat -b localhost -t leads -o -1 -c 1 -e | signup-worker explain - --topic leads --json\n"
    "  signup-worker explain event.json --header ce_specversion=1.0 --header ce_id=1 \\\n"
    "      --header ce_source=/forms --header ce_type=com.example.signup\n\n"
    "exit codes: 0 it would be sent, 64 usage, 65 it would be dead, 66 a file is missing,\n"
    "            78 configuration\n";

struct step {
    struct step *next;
    const char *name;
    const char *field;
    struct slice value;
    const char *origin;
};

struct explain_job {
    const char *topic; /* NULL: the only one */
    struct record_header headers[HEADERS_MAX];
    size_t header_count;
    int64_t timestamp_ms;
    bool json;
    struct arena arena;
    struct step *steps;
    struct step **last;
    bool incomplete; /* memory ran out: steps are missing */
    struct record record;
    struct signup signup;
};

/* ------------------------------------------------------------------ options */

static bool apply_topic(void *ctx, const char *value)
{
    ((struct explain_job *)ctx)->topic = value;
    return value[0] != '\0';
}

static bool apply_header(void *ctx, const char *value)
{
    struct explain_job *job = ctx;
    const char *equals = strchr(value, '=');
    if (!equals || equals == value || job->header_count == HEADERS_MAX)
        return false;
    job->headers[job->header_count++] = (struct record_header){.name = {value, (size_t)(equals - value)},
                                                               .value = slice_from_str(equals + 1)};
    return true;
}

static bool apply_timestamp(void *ctx, const char *value)
{
    struct explain_job *job = ctx;
    struct tm parts = {0};
    char *end;
    const char *rest = strptime(value, "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest) {
        job->timestamp_ms = (int64_t)timegm(&parts) * 1000;
        return strcmp(rest, "Z") == 0 && job->timestamp_ms >= 0;
    }
    job->timestamp_ms = strtoll(value, &end, 10);
    return end != value && *end == '\0' && job->timestamp_ms >= 0;
}

static bool apply_json(void *ctx, const char *value)
{
    (void)value;
    return ((struct explain_job *)ctx)->json = true;
}

/* 0, or EX_USAGE after a complaint: a topic that nobody reads would be explained as if it had no mapping. */
static int choose_topic(struct explain_job *job, const struct event_rules *rules)
{
    if (!job->topic && rules->topic_count == 1)
        job->topic = rules->topics[0];
    for (size_t i = 0; job->topic && i < rules->topic_count; i++) {
        if (strcmp(rules->topics[i], job->topic) == 0)
            return 0;
    }
    if (job->topic)
        fprintf(stderr, "signup-worker explain: the topic %s is not one of kafka.topics:", job->topic);
    else
        fputs("signup-worker explain: which topic? Name one of kafka.topics with --topic:", stderr);
    for (size_t i = 0; i < rules->topic_count; i++)
        fprintf(stderr, "%s %s", i ? "," : "", rules->topics[i]);
    fputc('\n', stderr);
    return EX_USAGE;
}

/* ------------------------------------------------------------------ reading */

/* 0 with the bytes in the arena, or an exit code after a complaint. */
static int read_payload(struct explain_job *job, const char *path)
{
    bool from_stdin = strcmp(path, "-") == 0;
    FILE *file = from_stdin ? stdin : fopen(path, "rb");
    char *bytes = arena_alloc(&job->arena, FILE_BYTES_MAX);
    size_t len = file && bytes ? fread(bytes, 1, FILE_BYTES_MAX, file) : 0;
    bool failed = !file || !bytes || ferror(file);
    if (failed)
        fprintf(stderr, "signup-worker explain: %s cannot be read: %m\n",
                from_stdin ? "standard input" : path);
    if (file && !from_stdin)
        (void)fclose(file);
    job->record.value = (struct slice){bytes, len};
    return failed ? EX_NOINPUT : 0;
}

static const char *keep(struct explain_job *job, const char *text)
{
    return arena_copy(&job->arena, slice_from_str(text)).ptr;
}

static void hear(void *ctx, const char *name, const char *field, struct slice value, const char *origin)
{
    struct explain_job *job = ctx;
    struct step *step = arena_alloc_zero(&job->arena, sizeof *step);
    if (!step) {
        job->incomplete = true;
        return;
    }
    *step = (struct step){.name = keep(job, name),
                          .field = keep(job, field),
                          .value = arena_copy(&job->arena, value),
                          .origin = keep(job, origin)};
    if (!step->name || !step->field || !step->origin || slice_present(step->value) != slice_present(value)) {
        job->incomplete = true;
        return;
    }
    *job->last = step;
    job->last = &step->next;
}

static void read_event(struct explain_job *job, const struct event_rules *rules)
{
    const struct event_trace trace = {hear, job};
    const wall_us_t now = clock_wall_now();
    job->record.topic = slice_from_str(job->topic);
    job->record.headers = job->headers;
    job->record.header_count = job->header_count;
    job->record.timestamp_ms = job->timestamp_ms >= 0 ? job->timestamp_ms : now.us / US_PER_MS;
    job->last = &job->steps;
    signup_read_traced(rules, &job->record, now, &job->arena, &trace, &job->signup);
}

static const char *validation_words(const struct signup *signup)
{
    switch (signup->validation) {
    case EVENT_VALIDATION_INLINE:
        return "inline: the phone is validated by the upsert";
    case EVENT_VALIDATION_GATE:
        return "gate: the phone is validated first, and one that is refused never reaches the list";
    case EVENT_VALIDATION_OFF:
    case EVENT_VALIDATION_UNSET:
        break;
    }
    return "off";
}

/* ------------------------------------------------------------------ for people */

/* `text` cut to what a cell shows, at a character. */
static void cell_text(struct slice text, char *out, size_t size)
{
    static const char more[] = "\xE2\x80\xA6";
    size_t len = 0;
    size_t columns = 0;
    while (len < text.len && len + sizeof more < size && columns < VALUE_COLUMNS) {
        out[len] = text.ptr[len];
        len++;
        columns += len == text.len || (text.ptr[len] & 0xC0) != 0x80;
    }
    while (len < text.len && len && (text.ptr[len] & 0xC0) == 0x80)
        len--; /* within a character */
    memcpy(out + len, more, len < text.len ? sizeof more : 1);
    if (len == text.len)
        out[len] = '\0';
}

static enum term_style step_style(const char *name)
{
    if (strcmp(name, "dropped") == 0)
        return TERM_WARN;
    return strcmp(name, "bytes") == 0 || strcmp(name, "shape") == 0 ? TERM_DIM : TERM_PLAIN;
}

static bool steps_write(const struct explain_job *job)
{
    static const struct term_column columns[] = {
        {"step", false}, {"field", false}, {"value", false}, {"from", false}};
    struct term_table table;
    const char *before = "";
    term_table_init(&table, columns, 4);
    for (const struct step *step = job->steps; step; step = step->next) {
        char value[4 * VALUE_COLUMNS + 8];
        bool body = strcmp(step->name, "request") == 0; /* is shown whole below */
        cell_text(body ? SLICE_ABSENT : step->value, value, sizeof value);
        const char *const cells[] = {strcmp(before, step->name) == 0 ? "" : step->name, step->field, value,
                                     step->origin};
        term_table_add(&table, step_style(step->name), cells);
        before = step->name;
    }
    bool well = term_table_write(&table, stdout);
    term_table_fini(&table);
    return well;
}

/* Without what a terminal would obey: the payload is somebody else's. */
static void text_write(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        bool control = (unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 127;
        putchar(control ? ' ' : text.ptr[i]);
    }
}

static void line_write(const char *name, struct slice text, const char *more)
{
    printf("%-13s ", name);
    text_write(text);
    puts(more);
}

/* Compact JSON, which the reading has written, two blanks a level. */
static void json_write(struct slice json)
{
    int level = 0;
    bool text = false;
    for (size_t i = 0; i < json.len; i++) {
        char c = json.ptr[i];
        if (c == '"' || text) {
            putchar(c);
            if (text && c == '\\')
                putchar(json.ptr[++i]);
            text = c == '"' ? !text : text;
            continue;
        }
        bool opens = c == '{' || c == '[';
        bool closes = c == '}' || c == ']';
        bool empty = (opens && i + 1 < json.len && strchr("]}", json.ptr[i + 1])) ||
                     (closes && i && strchr("[{", json.ptr[i - 1]));
        level += opens - closes;
        if (closes && !empty)
            printf("\n%*s", 2 * level, "");
        putchar(c);
        if ((opens && !empty) || c == ',')
            printf("\n%*s", 2 * level, "");
        if (c == ':')
            putchar(' ');
    }
    putchar('\n');
}

static void warnings_write(const struct signup *signup)
{
    for (const struct warning *warning = signup->warnings; warning; warning = warning->next) {
        term_write(stdout, TERM_WARN, "warning");
        printf("       %s: ", warning->code.ptr);
        text_write(warning->message);
        putchar('\n');
    }
}

static void facts_write(const struct signup *signup)
{
    putchar('\n');
    line_write("event id", signup->event_id,
               signup->id_from_position ? " (its position, for want of an id of its own)" : "");
    if (slice_present(signup->phone_number))
        line_write("phone", signup->phone_number, "");
    if (slice_present(signup->list_number))
        line_write("list", signup->list_number, "");
    if (slice_present(signup->route))
        line_write("route", signup->route, "");
    if (signup->schema_id >= 0)
        printf("%-13s %" PRId64 "\n", "schema id", signup->schema_id);
    if (signup->death == DEATH_NONE)
        line_write("validation", slice_from_str(validation_words(signup)), "");
    if (slice_present(signup->consent))
        line_write("consent", signup->consent, " (kept in the ledger)");
}

static bool table_write(const struct explain_job *job)
{
    const struct signup *signup = &job->signup;
    bool well = steps_write(job);
    facts_write(signup);
    putchar('\n');
    warnings_write(signup);
    if (signup->death == DEATH_NONE) {
        term_write(stdout, TERM_GOOD, "would be sent");
        puts(" to POST /v2/contacts:");
        json_write(signup->body);
    } else {
        term_write(stdout, TERM_BAD, "would be dead");
        printf(" of %s: ", death_code_str(signup->death));
        text_write(signup->death_message);
        putchar('\n');
    }
    return well;
}

/* ------------------------------------------------------------------ for programs */

/* What is no UTF-8 (a header may be anything) loses what makes it so. */
static void put_text(struct buf *out, struct slice text)
{
    if (!slice_present(text)) {
        buf_append_str(out, "null");
        return;
    }
    json_t *judged = json_stringn(text.ptr, text.len);
    if (judged) {
        buf_append_json_string(out, text);
    } else {
        char *plain = malloc(text.len + 1);
        if (plain)
            memset(plain, '?', text.len);
        for (size_t i = 0; plain && i < text.len; i++) {
            if (!(text.ptr[i] & 0x80))
                plain[i] = text.ptr[i];
        }
        if (plain)
            buf_append_json_string(out, (struct slice){plain, text.len});
        else
            out->failed = true;
        free(plain);
    }
    json_decref(judged);
}

static void put_name(struct buf *out, const char *name)
{
    if (buf_ok(out) && out->data[out->len - 1] != '{')
        buf_append_char(out, ',');
    buf_append_json_string(out, slice_from_str(name));
    buf_append_char(out, ':');
}

static void put_member(struct buf *out, const char *name, struct slice text)
{
    put_name(out, name);
    put_text(out, text);
}

static void put_json(struct buf *out, const char *name, struct slice json)
{
    put_name(out, name);
    buf_append_slice(out, slice_present(json) ? json : SLICE_LITERAL("null"));
}

static void put_steps(struct buf *out, const struct step *steps)
{
    put_name(out, "steps");
    buf_append_char(out, '[');
    for (const struct step *step = steps; step; step = step->next) {
        if (step != steps)
            buf_append_char(out, ',');
        buf_append_char(out, '{');
        put_member(out, "step", slice_from_str(step->name));
        put_member(out, "field", slice_from_str(step->field));
        put_member(out, "value", step->value);
        put_member(out, "from", slice_from_str(step->origin));
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}

static void put_warnings(struct buf *out, const struct warning *warnings)
{
    put_name(out, "warnings");
    buf_append_char(out, '[');
    for (const struct warning *warning = warnings; warning; warning = warning->next) {
        if (warning != warnings)
            buf_append_char(out, ',');
        buf_append_char(out, '{');
        put_member(out, "code", warning->code);
        put_member(out, "message", warning->message);
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}

static void put_outcome(struct buf *out, const struct signup *signup)
{
    bool alive = signup->death == DEATH_NONE;
    put_name(out, "would_be_sent");
    buf_append_str(out, alive ? "true" : "false");
    put_name(out, "death");
    if (alive) {
        buf_append_str(out, "null");
    } else {
        buf_append_char(out, '{');
        put_member(out, "code", slice_from_str(death_code_str(signup->death)));
        put_member(out, "message", signup->death_message);
        buf_append_char(out, '}');
    }
    put_json(out, "request", alive ? signup->body : SLICE_ABSENT);
}

static bool object_write(const struct explain_job *job)
{
    static const char *const modes[] = {"off", "inline", "gate", "off"};
    const struct signup *signup = &job->signup;
    struct buf out;
    buf_init(&out, TEXT_BYTES);
    buf_append_char(&out, '{');
    put_member(&out, "topic", slice_from_str(job->topic));
    put_member(&out, "event_id", signup->event_id);
    put_name(&out, "event_id_from_position");
    buf_append_str(&out, signup->id_from_position ? "true" : "false");
    put_member(&out, "phone_number", signup->phone_number);
    put_member(&out, "list_number", signup->list_number);
    put_member(&out, "route", signup->route);
    put_member(&out, "validation", slice_from_str(modes[signup->validation]));
    put_name(&out, "schema_id");
    if (signup->schema_id >= 0)
        buf_append_int(&out, signup->schema_id);
    else
        buf_append_str(&out, "null");
    put_json(&out, "consent", signup->consent);
    put_json(&out, "attribution", signup->attribution);
    put_steps(&out, job->steps);
    put_warnings(&out, signup->warnings);
    put_outcome(&out, signup);
    buf_append_char(&out, '}');
    bool well = buf_ok(&out);
    if (well)
        json_write(buf_slice(&out));
    buf_fini(&out);
    return well;
}

/* ------------------------------------------------------------------ the command */

static int explain(struct explain_job *job, const struct config *config, const char *path)
{
    const struct event_rules rules = event_rules_from(config);
    int code = choose_topic(job, &rules);
    if (code == 0)
        code = read_payload(job, path);
    if (code)
        return code;
    read_event(job, &rules);
    bool well = job->json ? object_write(job) : table_write(job);
    if (!well || job->incomplete) {
        fputs("signup-worker explain: there is not enough memory to show all of it\n", stderr);
        return EX_OSERR;
    }
    if (fflush(stdout) != 0) {
        fprintf(stderr, "signup-worker explain: standard output: %m\n");
        return EX_IOERR;
    }
    return job->signup.death == DEATH_NONE ? 0 : EX_DATAERR;
}

int command_explain(int argc, char **argv)
{
    static const struct command_option own[] = {
        {"topic", true, apply_topic},
        {"header", true, apply_header},
        {"timestamp", true, apply_timestamp},
        {"json", false, apply_json},
    };
    struct explain_job job = {.timestamp_ms = -1};
    struct common_options common;
    int operand;
    int code = options_parse(argc, argv, help, 1, own, sizeof own / sizeof own[0], &job, &common, &operand);
    if (code >= 0)
        return code;
    struct config *config;
    code = config_open(&common, 0, &config);
    if (code)
        return code;
    arena_init(&job.arena, ARENA_BYTES);
    code = explain(&job, config, argv[operand]);
    arena_fini(&job.arena);
    config_free(config);
    return code;
}
