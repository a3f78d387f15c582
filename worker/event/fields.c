/* The fields of an event: their names, who may fill them, and what the trace hears of them. */
#include "fields.h"

#include "canonical.h"
#include "expression.h"
#include "mapping.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ORIGIN_BYTES 512
#define MEMBER_NAME_BYTES 512

const char *event_field_str(enum event_field field)
{
    static const char *const names[] = {
#define X(name, text) text,
        EVENT_FIELDS(X)
#undef X
    };
    return names[field];
}

/* The one field whose name has this length and begins so, if any has: events have more members than we have
 * fields, and each is looked up. */
static enum event_field candidate(const char *name, size_t len)
{
    switch (len) {
    case 3:
        return EVENT_URL;
    case 5:
        return name[0] == 'p' ? EVENT_PHONE : EVENT_FORCE;
    case 7:
        return EVENT_CONSENT;
    case 8:
        return EVENT_EVENT_ID;
    case 10:
        return EVENT_IP_ADDRESS;
    case 11:
        return name[0] == 'l' ? EVENT_LIST_NUMBER : name[0] == 's' ? EVENT_SIGNUP_DATE : EVENT_ATTRIBUTION;
    case 12:
        return name[0] == 'p' ? EVENT_PHONE_NUMBER : EVENT_USE_JOURNEYS;
    case 13:
        return name[0] == 'c' ? EVENT_CUSTOM_FIELDS : EVENT_AD_NETWORK_ID;
    case 14:
        return EVENT_USE_VALIDATION;
    case 17:
        return EVENT_AD_NETWORK_SOURCE;
    case 22:
        return name[0] == 's' ? EVENT_SKIP_JOURNEY_IF_EXISTS : EVENT_OVERRIDE_CUSTOM_FIELDS;
    default:
        return EVENT_FIELD_COUNT;
    }
}

bool event_field_parse(struct slice name, enum event_field *out)
{
    enum event_field field = candidate(name.ptr, name.len);
    if (field == EVENT_FIELD_COUNT || memcmp(name.ptr, event_field_str(field), name.len) != 0)
        return false;
    *out = field;
    return true;
}

const char *fields_origin(struct reader *reader, const char *format, ...)
{
    if (!reader->trace)
        return NULL;
    char text[ORIGIN_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return reader_keep(reader, slice_from_str(text)).ptr;
}

static bool says_something(const json_t *value)
{
    return value && !expression_blank(value);
}

bool field_free(const struct reader *reader, enum event_field field)
{
    if (field == EVENT_PHONE || field == EVENT_PHONE_NUMBER)
        return !says_something(reader->field[EVENT_PHONE]) &&
               !says_something(reader->field[EVENT_PHONE_NUMBER]);
    return !says_something(reader->field[field]);
}

void field_put(struct reader *reader, enum event_field field, json_t *value, const char *origin)
{
    if (!value)
        return;
    reader->field[field] = value;
    reader->origin[field] = origin;
}

void fields_by_name(struct reader *reader, json_t *root)
{
    /* Both spellings of the phone may be there: which of them counts is not decided here. */
    bool phone_free = field_free(reader, EVENT_PHONE);
    for (void *at = json_object_iter(root); at; at = json_object_iter_next(root, at)) {
        json_t *value = json_object_iter_value(at);
        const struct slice name = {json_object_iter_key(at), json_object_iter_key_len(at)};
        enum event_field field;
        if (json_is_null(value) || !event_field_parse(name, &field))
            continue;
        bool is_phone = field == EVENT_PHONE || field == EVENT_PHONE_NUMBER;
        if (is_phone ? phone_free : field_free(reader, field))
            field_put(reader, field, value, NULL);
    }
}

bool member_free(const struct reader *reader, enum event_field field, const char *name)
{
    const json_t *value = json_object_get(reader->field[field], name);
    return !value || json_is_null(value);
}

/* The field's object, built by the reading itself, or NULL when memory is out. */
static json_t *writable_object(struct reader *reader, enum event_field field)
{
    json_t *value = reader->field[field];
    if (reader->writable & 1U << field)
        return value;
    if (value && !json_is_object(value))
        reader_warn(reader, SIGNUP_WARNING_FIELD, "%s was dropped: it is %s, not an object",
                    event_field_str(field), reader_type_str(value));
    json_t *made = reader_own(reader, json_is_object(value) ? json_copy(value) : json_object());
    if (!made)
        return NULL;
    reader->field[field] = made;
    reader->writable |= 1U << field;
    return made;
}

/* Members come from several places: each has an origin of its own. */
static void keep_origin(struct reader *reader, enum event_field field, const char *name, const char *origin)
{
    char full[MEMBER_NAME_BYTES];
    if (!reader->origins)
        reader->origins = reader_own(reader, json_object());
    snprintf(full, sizeof full, "%s.%s", event_field_str(field), name);
    json_object_set_new(reader->origins, full, json_string(origin)); /* without it the trace says less */
}

void member_put(struct reader *reader, enum event_field field, const char *name, json_t *value,
                const char *origin)
{
    if (!value)
        return;
    json_t *object = writable_object(reader, field);
    if (!object || json_object_set(object, name, value) != 0) {
        reader->full = true;
        return;
    }
    if (origin)
        keep_origin(reader, field, name, origin);
}

static void note_value(struct reader *reader, const char *field, json_t *value, const char *origin)
{
    buf_reset(&reader->text);
    if (!expression_append_text(&reader->text, value))
        canonical_append(&reader->text, value);
    if (buf_ok(&reader->text))
        reader_note(reader, "field", field, buf_slice(&reader->text), origin);
    else
        reader->full = true;
}

static void note_members(struct reader *reader, enum event_field field, const char *origin)
{
    json_t *object = reader->field[field];
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        char name[MEMBER_NAME_BYTES];
        snprintf(name, sizeof name, "%s.%s", event_field_str(field), json_object_iter_key(at));
        const char *own = json_string_value(json_object_get(reader->origins, name));
        note_value(reader, name, json_object_iter_value(at), own ? own : origin);
    }
}

static void note_fields(struct reader *reader)
{
    for (int i = 0; i < EVENT_FIELD_COUNT; i++) {
        enum event_field field = (enum event_field)i;
        char by_name[64];
        const char *origin = reader->origin[field];
        if (!reader->field[field])
            continue;
        snprintf(by_name, sizeof by_name, "field %s", event_field_str(field));
        if (field >= EVENT_FIRST_OBJECT && json_is_object(reader->field[field]))
            note_members(reader, field, origin ? origin : by_name);
        else
            note_value(reader, event_field_str(field), reader->field[field], origin ? origin : by_name);
    }
}

void fields_assign(struct reader *reader, json_t *root)
{
    if (reader->shape)
        mapping_assign(reader, root);
    else
        fields_by_name(reader, root);
    if (reader->trace)
        note_fields(reader);
}
