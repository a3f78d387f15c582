/* Mappings for tests, written as JSON that looks like the configuration's YAML:
 *
 *   {"profile": "json", "fields": {"phone_number": "/contact/phone",
 *    "custom_fields.city": {"constant": "Reno"}}, "unmapped": "custom_fields", "headers": {"x-gclid": "abc"}}
 *
 * with pointers, {"constant": …}, {"header": …}, {"first_of": […]}, {"join": […], "with": …},
 * {"lowercase": …} and {"split_name": …, "part": "first" or "last"}. Needs no cmocka: the fuzz target reads
 * its inputs with it, too. */
#ifndef SIGNUP_TESTS_EVENT_SHAPE_MAPPING_H
#define SIGNUP_TESTS_EVENT_SHAPE_MAPPING_H

#include "signup/event/record.h"
#include "signup/event/rules.h"

#include <jansson.h>

static inline struct slice shape_text(struct arena *arena, const json_t *value)
{
    struct slice text = {json_string_value(value), json_string_length(value)};
    return json_is_string(value) ? arena_copy(arena, text) : SLICE_ABSENT;
}

static inline bool shape_expression(struct arena *arena, const json_t *from, int depth,
                                    struct event_expression *out);

static inline bool shape_parts(struct arena *arena, const json_t *list, int depth,
                               struct event_expression *out)
{
    size_t count = json_is_array(list) ? json_array_size(list) : 1;
    struct event_expression *parts = arena_alloc_zero(arena, (count + 1) * sizeof *parts);
    if (!parts)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (!shape_expression(arena, json_is_array(list) ? json_array_get(list, i) : list, depth + 1,
                              &parts[i]))
            return false;
    }
    out->parts = parts;
    out->part_count = count;
    return true;
}

static inline bool shape_constant(struct arena *arena, const json_t *value, struct event_constant *out)
{
    if (json_is_boolean(value)) {
        *out = (struct event_constant){.kind = EVENT_CONSTANT_BOOLEAN, .boolean = json_is_true(value)};
    } else if (json_is_integer(value)) {
        *out = (struct event_constant){.kind = EVENT_CONSTANT_INTEGER, .integer = json_integer_value(value)};
    } else if (json_is_real(value)) {
        *out = (struct event_constant){.kind = EVENT_CONSTANT_REAL, .real = json_real_value(value)};
    } else {
        *out = (struct event_constant){.kind = EVENT_CONSTANT_TEXT, .text = shape_text(arena, value)};
        return slice_present(out->text);
    }
    return true;
}

/* The transforms; false: it is none, or a bad one. */
static inline bool shape_transform(struct arena *arena, const json_t *from, int depth,
                                   struct event_expression *out)
{
    static const struct {
        const char *key;
        enum event_operation operation;
        bool list;
    } kinds[] = {{"first_of", EVENT_FIRST_OF, true},
                 {"join", EVENT_JOIN, true},
                 {"lowercase", EVENT_LOWERCASE, false},
                 {"split_name", EVENT_FIRST_NAME, false}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        const json_t *parts = json_object_get(from, kinds[i].key);
        if (!parts || json_is_array(parts) != kinds[i].list)
            continue;
        const json_t *part = json_object_get(from, "part");
        const json_t *with = json_object_get(from, "with");
        out->operation = kinds[i].operation;
        if (out->operation == EVENT_FIRST_NAME && json_is_string(part) && json_string_value(part)[0] == 'l')
            out->operation = EVENT_LAST_NAME;
        out->text = json_is_string(with) ? shape_text(arena, with) : SLICE_LITERAL(" ");
        return slice_present(out->text) && shape_parts(arena, parts, depth, out);
    }
    return false;
}

static inline bool shape_expression(struct arena *arena, const json_t *from, int depth,
                                    struct event_expression *out)
{
    const char *why;
    *out = (struct event_expression){0};
    if (depth > EVENT_EXPRESSION_DEPTH_MAX)
        return false;
    if (json_is_string(from)) {
        out->operation = EVENT_POINTER;
        return event_pointer_parse(arena, (struct slice){json_string_value(from), json_string_length(from)},
                                   &out->pointer, &why);
    }
    if (json_object_get(from, "constant")) {
        out->operation = EVENT_CONSTANT;
        return shape_constant(arena, json_object_get(from, "constant"), &out->constant);
    }
    if (json_object_get(from, "header")) {
        out->operation = EVENT_HEADER;
        out->text = shape_text(arena, json_object_get(from, "header"));
        return slice_present(out->text);
    }
    return shape_transform(arena, from, depth, out);
}

static inline bool shape_assignment(struct arena *arena, const char *name, const json_t *from,
                                    struct event_assignment *out)
{
    const char *dot = strchr(name, '.');
    struct slice field = {name, dot ? (size_t)(dot - name) : strlen(name)};
    if (!event_field_parse(field, &out->field) || (dot && out->field < EVENT_FIRST_OBJECT))
        return false;
    out->member = dot ? arena_copy(arena, slice_from_str(dot + 1)) : SLICE_ABSENT;
    return slice_present(out->member) == (dot != NULL) && shape_expression(arena, from, 1, &out->expression);
}

/* All in `arena`. False: `from` is no mapping. */
static inline bool shape_topic(struct arena *arena, const json_t *from, struct event_topic *out)
{
    json_t *fields = json_object_get(from, "fields");
    struct event_assignment *assignments =
        arena_alloc_zero(arena, (json_object_size(fields) + 1) * sizeof *assignments);
    struct slice profile = shape_text(arena, json_object_get(from, "profile"));
    struct slice unmapped = shape_text(arena, json_object_get(from, "unmapped"));
    *out = (struct event_topic){.profile = fields ? EVENT_PROFILE_JSON : EVENT_PROFILE_API,
                                .assignments = assignments};
    if (!assignments || (slice_present(profile) && !event_profile_parse(profile, &out->profile)))
        return false;
    out->unmapped =
        slice_is(unmapped, "custom_fields") ? EVENT_UNMAPPED_CUSTOM_FIELDS : EVENT_UNMAPPED_IGNORE;
    for (void *at = json_object_iter(fields); at; at = json_object_iter_next(fields, at)) {
        if (!shape_assignment(arena, json_object_iter_key(at), json_object_iter_value(at),
                              &assignments[out->assignment_count++]))
            return false;
    }
    return true;
}

/* The member `headers`: texts, or null. */
static inline bool shape_headers(struct arena *arena, const json_t *from, struct record *record)
{
    json_t *texts = json_object_get(from, "headers");
    struct record_header *headers = arena_alloc_zero(arena, (json_object_size(texts) + 1) * sizeof *headers);
    if (!headers)
        return false;
    record->headers = headers;
    for (void *at = json_object_iter(texts); at; at = json_object_iter_next(texts, at)) {
        struct record_header *header = &headers[record->header_count++];
        header->name = arena_copy(arena, slice_from_str(json_object_iter_key(at)));
        header->value = shape_text(arena, json_object_iter_value(at));
        if (!slice_present(header->name))
            return false;
    }
    return true;
}

#endif
