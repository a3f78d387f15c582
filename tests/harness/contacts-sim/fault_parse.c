/* Fault rules from JSON. Every key and type is checked: a misspelt fault would be a test that cannot fail. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "faults.h"
#include "phone.h"

/* Reads typed members of one object and latches the first error. */
struct fault_reader {
    json_t *object;
    struct buf *why;
    bool failed;
};

static void fault_reader_fail(struct fault_reader *reader, const char *name, const char *expected)
{
    if (!reader->failed)
        buf_append_format(reader->why, "`%s` must be %s", name, expected);
    reader->failed = true;
}

static void fault_reader_check_names(struct fault_reader *reader, const char *const *known)
{
    const char *name;
    json_t *value;
    json_object_foreach(reader->object, name, value) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], name) != 0)
            i++;
        if (!known[i])
            fault_reader_fail(reader, name, "left out: no such key");
    }
}

static uint64_t fault_reader_u64(struct fault_reader *reader, const char *name, uint64_t fallback,
                                 uint64_t most)
{
    const json_t *value = json_object_get(reader->object, name);
    if (!value)
        return fallback;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > most) {
        fault_reader_fail(reader, name, "a number that is not negative and not too large");
        return fallback;
    }
    return (uint64_t)json_integer_value(value);
}

static bool fault_reader_bool(struct fault_reader *reader, const char *name, bool fallback)
{
    const json_t *value = json_object_get(reader->object, name);
    if (value && !json_is_boolean(value))
        fault_reader_fail(reader, name, "true or false");
    return value ? json_is_true(value) : fallback;
}

/* Borrowed from the object; NULL when absent. */
static const char *fault_reader_text(struct fault_reader *reader, const char *name)
{
    const json_t *value = json_object_get(reader->object, name);
    if (value && !json_is_string(value))
        fault_reader_fail(reader, name, "a string");
    return json_string_value(value);
}

static uint64_t fault_reader_phone(struct fault_reader *reader, const char *name)
{
    const char *text = fault_reader_text(reader, name);
    uint64_t phone = 0;
    if (text && !phone_parse_e164(text, strlen(text), &phone))
        fault_reader_fail(reader, name, "an E.164 number");
    return phone;
}

/* A name to its number through `names`; -1 when absent. */
static int fault_reader_choice(struct fault_reader *reader, const char *name, size_t count,
                               const char *(*name_of)(size_t))
{
    const char *text = fault_reader_text(reader, name);
    if (!text)
        return -1;
    for (size_t i = 0; i < count; i++)
        if (!strcmp(text, name_of(i)))
            return (int)i;
    fault_reader_fail(reader, name, "one of the documented names");
    return -1;
}

static const char *fault_kind_name(size_t i)
{
    return fault_kind_str((enum fault_kind)i);
}

static const char *fault_place_name(size_t i)
{
    return fault_place_str((enum fault_place)i);
}

static const char *fault_op_name(size_t i)
{
    return call_op_str((enum call_op)i);
}

static void fault_read_headers(struct fault_reader *reader, struct buf *headers)
{
    json_t *object = json_object_get(reader->object, "headers");
    if (!object)
        return;
    if (!json_is_object(object)) {
        fault_reader_fail(reader, "headers", "an object of strings");
        return;
    }
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) {
        if (!json_is_string(value)) {
            fault_reader_fail(reader, "headers", "an object of strings");
            return;
        }
        buf_append_str(headers, name);
        buf_append_str(headers, ": ");
        buf_append(headers, json_string_value(value), json_string_length(value));
        buf_append_str(headers, "\r\n");
    }
}

static bool fault_kind_has_place(enum fault_kind kind)
{
    return kind == FAULT_CLOSE || kind == FAULT_RESET || kind == FAULT_HANG || kind == FAULT_TRICKLE;
}

/* Does the call take effect when the rule does not say? Where the client sees (part of) a good answer. */
static enum fault_apply fault_default_apply(const struct fault_action *action)
{
    bool effect;
    switch (action->kind) {
    case FAULT_ANSWER:
        effect = action->status < 0 || (action->status >= 200 && action->status < 300);
        break;
    case FAULT_CLOSE:
    case FAULT_RESET:
    case FAULT_HANG:
        effect = action->place > FAULT_AT_AFTER_REQUEST;
        break;
    case FAULT_CONTINUE:
    case FAULT_GARBAGE:
    case FAULT_SUCCESS_FALSE:
    case FAULT_REDIRECT:
        effect = false;
        break;
    default:
        effect = true;
    }
    return effect ? FAULT_APPLY_YES : FAULT_APPLY_NO;
}

static void fault_read_apply(struct fault_reader *reader, struct fault_action *action)
{
    const json_t *value = json_object_get(reader->object, "apply");
    bool early = action->place == FAULT_AT_ACCEPT || action->place == FAULT_AT_BEFORE_READ;
    if (!value)
        action->apply = fault_default_apply(action);
    else if (json_is_boolean(value))
        action->apply = json_is_true(value) ? FAULT_APPLY_YES : FAULT_APPLY_NO;
    else if (json_is_string(value) && !strcmp(json_string_value(value), "late"))
        action->apply = FAULT_APPLY_LATE;
    else
        fault_reader_fail(reader, "apply", "true, false or \"late\"");
    if (early && action->apply != FAULT_APPLY_NO)
        fault_reader_fail(reader, "apply", "false where the request is not read");
}

static void fault_read_texts(struct fault_reader *reader, struct fault_action *action)
{
    struct {
        const char *name;
        char **to;
    } texts[] = {{"code", &action->code}, {"error", &action->error}, {"message", &action->message},
                 {"location", &action->location}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *text = fault_reader_text(reader, texts[i].name);
        if (text)
            *texts[i].to = buf_copy_text(text);
    }
    const char *body = fault_reader_text(reader, "body");
    if (body) {
        action->body_len = json_string_length(json_object_get(reader->object, "body"));
        action->body = buf_alloc_zeroed(action->body_len + 1);
        memcpy(action->body, body, action->body_len);
    }
    fault_read_headers(reader, &action->headers);
}

static void fault_read_numbers(struct fault_reader *reader, struct fault_action *action)
{
    bool large = action->kind == FAULT_HUGE_BODY || action->kind == FAULT_GZIP_BOMB;
    uint64_t status = fault_reader_u64(reader, "status", UINT64_MAX, 999);
    action->status = status == UINT64_MAX ? (action->kind == FAULT_REDIRECT ? 302 : -1) : (int)status;
    uint64_t most = action->kind == FAULT_BIG_HEADERS ? 64000000 : (uint64_t)1 << 40;
    if (action->kind == FAULT_GZIP_BOMB)
        most = 2000000000;
    action->bytes = fault_reader_u64(reader, "bytes", large ? 100000000 : 2000000, most);
    action->delay_ms = (unsigned)fault_reader_u64(reader, "delay_ms", 0, 86400000);
    action->step_bytes = (unsigned)fault_reader_u64(reader, "step_bytes", 1, 1000000);
    action->step_ms = (unsigned)fault_reader_u64(reader, "step_ms", 100, 3600000);
    action->late_ms = (unsigned)fault_reader_u64(reader, "late_ms", 50, 3600000);
    uint64_t second = fault_reader_u64(reader, "second_length", UINT64_MAX, (uint64_t)1 << 40);
    action->second_length = second == UINT64_MAX ? -1 : (int64_t)second;
    action->content_length = fault_reader_bool(reader, "content_length", true);
    action->one_line = fault_reader_bool(reader, "one_line", false);
    if (!action->step_bytes || !action->step_ms)
        fault_reader_fail(reader, "step_bytes and step_ms", "at least 1");
}

static void fault_read_place(struct fault_reader *reader, struct fault_action *action)
{
    int place = fault_reader_choice(reader, "at", FAULT_PLACE_COUNT, fault_place_name);
    if (place >= 0 && !fault_kind_has_place(action->kind))
        fault_reader_fail(reader, "at", "left out for this kind");
    if (action->kind == FAULT_TRICKLE && place >= 0 && place != FAULT_AT_IN_HEADERS &&
        place != FAULT_AT_IN_BODY)
        fault_reader_fail(reader, "at", "in_headers or in_body");
    int fallback = action->kind == FAULT_TRICKLE ? FAULT_AT_IN_HEADERS : FAULT_AT_AFTER_REQUEST;
    action->place = (enum fault_place)(place >= 0 ? place : fallback);
    if (fault_kind_has_place(action->kind))
        snprintf(action->label, sizeof action->label, "%s %s", fault_kind_str(action->kind),
                 fault_place_str(action->place));
    else
        snprintf(action->label, sizeof action->label, "%s", fault_kind_str(action->kind));
}

static struct fault_action *fault_action_parse(struct fault_reader *rule)
{
    static const char *const known[] = {
        "kind", "at", "apply", "status", "code", "error", "message", "headers", "body", "location", "bytes",
        "delay_ms", "step_bytes", "step_ms", "late_ms", "second_length", "content_length", "one_line", NULL};
    struct fault_reader reader = {.object = json_object_get(rule->object, "action"), .why = rule->why};
    if (!json_is_object(reader.object)) {
        fault_reader_fail(rule, "action", "an object");
        return NULL;
    }
    fault_reader_check_names(&reader, known);
    struct fault_action *action = buf_alloc_zeroed(sizeof *action);
    action->refs = 1;
    int kind = fault_reader_choice(&reader, "kind", FAULT_KIND_COUNT, fault_kind_name);
    action->kind = kind < 0 ? FAULT_ANSWER : (enum fault_kind)kind;
    fault_read_place(&reader, action);
    fault_read_numbers(&reader, action);
    fault_read_texts(&reader, action);
    fault_read_apply(&reader, action);
    if (action->kind == FAULT_REDIRECT && !action->location)
        fault_reader_fail(&reader, "location", "given for a redirect");
    if (!action->code && action->kind == FAULT_ANSWER && action->status >= 300 && !action->error &&
        !action->body)
        action->error = buf_copy_text("simulated fault");
    rule->failed |= reader.failed;
    return action;
}

struct fault_rule *fault_rule_parse(json_t *object, struct buf *why)
{
    static const char *const known[] = {"op", "phone", "list", "probability", "count", "after", "reused",
                                        "action", NULL};
    struct fault_reader reader = {.object = object, .why = why};
    if (!json_is_object(object)) {
        fault_reader_fail(&reader, "rule", "an object");
        return NULL;
    }
    fault_reader_check_names(&reader, known);
    struct fault_rule *rule = buf_alloc_zeroed(sizeof *rule);
    const char *op = fault_reader_text(&reader, "op");
    rule->op = !op || !strcmp(op, "any") ? -1 : fault_reader_choice(&reader, "op", CALL_CONTROL,
                                                                    fault_op_name);
    rule->phone = fault_reader_phone(&reader, "phone");
    rule->list = fault_reader_phone(&reader, "list");
    rule->after = fault_reader_u64(&reader, "after", 0, INT64_MAX);
    rule->count = fault_reader_u64(&reader, "count", UINT64_MAX, INT64_MAX);
    rule->reused = json_object_get(object, "reused") ? fault_reader_bool(&reader, "reused", false) : -1;
    const json_t *probability = json_object_get(object, "probability");
    rule->probability = probability ? json_number_value(probability) : 1.0;
    if (probability && (!json_is_number(probability) || rule->probability < 0 || rule->probability > 1))
        fault_reader_fail(&reader, "probability", "between 0 and 1");
    rule->action = fault_action_parse(&reader);
    bool early = rule->action && rule->action->place < FAULT_AT_AFTER_REQUEST;
    if (early && (rule->op >= 0 || rule->phone || rule->list))
        fault_reader_fail(&reader, "at", "after the request when a rule names an op, phone or list");
    if (early && rule->action->kind == FAULT_TRICKLE)
        fault_reader_fail(&reader, "at", "in_headers or in_body");
    if (reader.failed) {
        fault_rule_destroy(rule);
        return NULL;
    }
    return rule;
}
