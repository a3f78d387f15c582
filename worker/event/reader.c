/* Deaths, warnings and copies of the record being read. */
#include "reader.h"

#include "signup/base/outcome.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

void reader_die(struct reader *reader, enum death_code code, const char *format, ...)
{
    assert(code != DEATH_NONE);
    if (reader->out->death != DEATH_NONE)
        return;
    char message[OUTCOME_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    reader->out->death = code;
    reader->out->death_message = reader_keep(reader, slice_from_str(message));
}

void reader_warn(struct reader *reader, const char *code, const char *format, ...)
{
    char message[OUTCOME_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (!signup_warn(reader->out, reader->arena, WARNING_WORKER, slice_from_str(code),
                     slice_from_str(message)))
        reader->full = true;
}

struct slice reader_keep(struct reader *reader, struct slice text)
{
    assert(slice_present(text));
    struct slice copy = arena_copy(reader->arena, text);
    if (!slice_present(copy))
        reader->full = true;
    return copy;
}

struct slice reader_keep_text(struct reader *reader)
{
    if (!buf_ok(&reader->text)) {
        reader->full = true;
        return SLICE_ABSENT;
    }
    return reader_keep(reader, buf_slice(&reader->text));
}

json_t *reader_member(const json_t *root, const char *name)
{
    json_t *value = json_object_get(root, name);
    return json_is_null(value) ? NULL : value;
}

void reader_note(const struct reader *reader, const char *step, const char *field, struct slice value,
                 const char *origin)
{
    if (reader->trace)
        reader->trace->note(reader->trace->ctx, step, field, value, origin);
}

json_t *reader_own(struct reader *reader, json_t *value)
{
    if (!reader->made)
        reader->made = json_array();
    /* Takes the value, also when it fails. */
    if (json_array_append_new(reader->made, value) == 0)
        return value;
    reader->full = true;
    return NULL;
}

struct slice reader_string(const json_t *value)
{
    assert(json_is_string(value));
    return (struct slice){json_string_value(value), json_string_length(value)};
}

const char *reader_type_str(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "text";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
        break;
    }
    return "null";
}
