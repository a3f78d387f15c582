/* A topic's mapping, applied: whole fields first, then what the profile reads where the field is still free,
 * then single members of the object fields, which win within them, and last what nothing else has read. */
#include "mapping.h"

#include "expression.h"
#include "fields.h"
#include "scratch.h"
#include "shape.h"
#include "signup/base/log.h"

#include <stdio.h>

#define ORIGIN_BYTES ((size_t)4096)
/* A document of thousands of nested members is one complaint, not thousands. */
#define NESTED_WARNINGS_MAX 16
#define NAME_SHOWN_BYTES 96
#define CUSTOM_NAME_BYTES 256

/* ---- assignments */

static json_t *assigned(struct reader *reader, json_t *root, const struct event_assignment *assignment,
                        const char **origin)
{
    *origin = NULL;
    if (!reader->trace)
        return expression_value(reader, root, &assignment->expression, NULL);
    struct buf text;
    buf_init(&text, ORIGIN_BYTES);
    json_t *value = expression_value(reader, root, &assignment->expression, &text);
    if (value)
        *origin = fields_origin(reader, "%.*s", (int)text.len, text.len ? text.data : "");
    buf_fini(&text);
    return value;
}

/* An event_id is text; the ids of other people's events are often numbers. */
static json_t *number_as_text(struct reader *reader, const json_t *number)
{
    buf_reset(&reader->text);
    if (!expression_append_text(&reader->text, number) || !buf_ok(&reader->text)) {
        reader->full = true;
        return NULL;
    }
    return reader_own(reader, json_stringn_nocheck(reader->text.data, reader->text.len));
}

/* Those of whole fields, or those of members. */
static void assign(struct reader *reader, json_t *root, bool members)
{
    const struct event_topic *shape = reader->shape;
    for (size_t i = 0; i < shape->assignment_count; i++) {
        const struct event_assignment *assignment = &shape->assignments[i];
        const char *origin;
        if (slice_present(assignment->member) != members)
            continue;
        json_t *value = assigned(reader, root, assignment, &origin);
        if (assignment->field == EVENT_EVENT_ID && json_is_integer(value))
            value = number_as_text(reader, value);
        if (members)
            member_put(reader, assignment->field, assignment->member.ptr, value, origin);
        else
            field_put(reader, assignment->field, value, origin);
    }
}

/* ---- what nothing has read */

/* The members of one object that the mapping's pointers lead into, by their places in its table. */
struct read_members {
    json_t *object;
    bool answers; /* `object` is the tree's member `fields` */
    bool all;     /* a pointer at the object itself reads every member */
    void **places;
    size_t count;
};

static size_t count_pointers(const struct event_expression *expression)
{
    size_t count = expression->operation == EVENT_POINTER;
    for (size_t i = 0; i < expression->part_count; i++)
        count += count_pointers(&expression->parts[i]);
    return count;
}

static void mark_pointer(struct read_members *read, const struct event_pointer *pointer)
{
    size_t at = read->answers ? 1 : 0;
    if (read->answers && pointer->count && !slice_is(pointer->tokens[0], "fields"))
        return; /* the lead as sent */
    if (pointer->count <= at) {
        read->all = true;
        return;
    }
    void *place = json_object_iter_at(read->object, pointer->tokens[at].ptr);
    if (place)
        read->places[read->count++] = place;
}

static void mark(struct read_members *read, const struct event_expression *expression)
{
    if (expression->operation == EVENT_POINTER)
        mark_pointer(read, &expression->pointer);
    for (size_t i = 0; i < expression->part_count; i++)
        mark(read, &expression->parts[i]);
}

/* Whether the assignment takes a member away from the rest. A lead's answers become custom fields anyway: one
 * that is also split or renamed into another custom field stays. */
static bool takes(const struct read_members *read, const struct event_assignment *assignment)
{
    return !read->answers || assignment->field != EVENT_CUSTOM_FIELDS || !slice_present(assignment->member);
}

/* False: no memory. */
static bool mark_all(const struct event_topic *shape, struct read_members *read)
{
    size_t most = 0;
    for (size_t i = 0; i < shape->assignment_count; i++)
        most += count_pointers(&shape->assignments[i].expression);
    read->places = scratch_alloc((most + 1) * sizeof *read->places);
    if (!read->places)
        return false;
    for (size_t i = 0; i < shape->assignment_count; i++) {
        if (takes(read, &shape->assignments[i]))
            mark(read, &shape->assignments[i].expression);
    }
    return true;
}

/* By the mapping or by the profile. */
static bool is_read(const struct reader *reader, const struct read_members *read, void *place)
{
    const char *name = json_object_iter_key(place);
    for (size_t i = 0; i < read->count; i++) {
        if (read->places[i] == place)
            return true;
    }
    if (read->answers)
        return name == reader->phone_answer;
    enum event_field field;
    return shape_reads_names(reader->shape->profile) &&
           event_field_parse((struct slice){name, json_object_iter_key_len(place)}, &field);
}

static void warn_nested(struct reader *reader, const char *name, const json_t *value)
{
    char shown[NAME_SHOWN_BYTES];
    text_mask_phones(slice_from_str(name), shown, sizeof shown);
    reader_warn(reader, SIGNUP_WARNING_FIELD,
                "%s was dropped: it is %s, and only text, numbers, true and false become custom fields",
                shown, reader_type_str(value));
}

/* One that nothing has read; false: it is nested. */
static bool keep_member(struct reader *reader, const struct read_members *read, const char *name,
                        json_t *value, size_t dropped)
{
    char custom[CUSTOM_NAME_BYTES];
    if (json_is_object(value) || json_is_array(value)) {
        if (dropped < NESTED_WARNINGS_MAX)
            warn_nested(reader, name, value);
        return false;
    }
    const char *wanted =
        read->answers ? shape_answer_name(reader->shape->profile, name, custom, sizeof custom) : name;
    if (!member_free(reader, EVENT_CUSTOM_FIELDS, wanted))
        return true;
    const char *origin = !read->answers ? fields_origin(reader, "unmapped: /%s", name)
                                        : fields_origin(reader, "profile %s: /fields/%s",
                                                        event_profile_str(reader->shape->profile), name);
    member_put(reader, EVENT_CUSTOM_FIELDS, wanted, value, origin);
    return true;
}

static void keep_rest(struct reader *reader, json_t *root)
{
    struct read_members read = {.object = reader->answers ? reader->answers : root,
                                .answers = reader->answers != NULL};
    if (!mark_all(reader->shape, &read)) {
        reader->full = true;
        return;
    }
    size_t dropped = 0;
    for (void *at = read.all ? NULL : json_object_iter(read.object); at;
         at = json_object_iter_next(read.object, at)) {
        json_t *value = json_object_iter_value(at);
        if (json_is_null(value) || is_read(reader, &read, at))
            continue;
        if (!keep_member(reader, &read, json_object_iter_key(at), value, dropped))
            dropped++;
    }
    scratch_free(read.places);
    if (dropped > NESTED_WARNINGS_MAX)
        reader_warn(reader, SIGNUP_WARNING_FIELD, "%zu more members were dropped for the same reason",
                    dropped - NESTED_WARNINGS_MAX);
}

void mapping_assign(struct reader *reader, json_t *root)
{
    assign(reader, root, false);
    /* A lead's answers are custom fields by themselves, unless the mapping names another object for these. */
    bool wanted = reader->shape->unmapped == EVENT_UNMAPPED_CUSTOM_FIELDS ||
                  (reader->answers && !reader->field[EVENT_CUSTOM_FIELDS]);
    shape_fill(reader, root);
    assign(reader, root, true);
    if (wanted)
        keep_rest(reader, root);
}
