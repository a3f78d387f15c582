/* Expressions of a mapping: sources and transforms, evaluated into JSON values of the scratch region. */
#include "expression.h"

#include "canonical.h"
#include "expression_text.h"
#include "pointer.h"
#include "scratch.h"
#include "signup/base/log.h"

#include <assert.h>

#define NAME_SHOWN_BYTES 96

static void tell(struct buf *origin, const char *before, struct slice text)
{
    if (!origin)
        return;
    buf_append_str(origin, before);
    buf_append_slice(origin, text);
}

bool expression_blank(const json_t *value)
{
    return json_is_string(value) && !text_trim(reader_string(value)).len;
}

bool expression_append_text(struct buf *out, const json_t *value)
{
    if (json_is_string(value))
        buf_append_slice(out, reader_string(value));
    else if (json_is_number(value) || json_is_boolean(value))
        canonical_append(out, (json_t *)value); /* which only reads */
    else
        return false;
    return true;
}

/* The working text as a value. */
static json_t *take_text(struct reader *reader)
{
    if (!buf_ok(&reader->text)) {
        reader->full = true;
        return NULL;
    }
    struct slice text = buf_slice(&reader->text);
    return reader_own(reader, json_stringn_nocheck(text.ptr, text.len));
}

static json_t *constant_value(struct reader *reader, const struct event_constant *constant,
                              struct buf *origin)
{
    json_t *value = NULL;
    switch (constant->kind) {
    case EVENT_CONSTANT_TEXT:
        value = reader_own(reader, json_stringn(constant->text.ptr, constant->text.len));
        break;
    case EVENT_CONSTANT_BOOLEAN:
        value = json_boolean(constant->boolean); /* not counted, never freed */
        break;
    case EVENT_CONSTANT_INTEGER:
        value = reader_own(reader, json_integer(constant->integer));
        break;
    case EVENT_CONSTANT_REAL:
        value = reader_own(reader, json_real(constant->real));
        break;
    }
    tell(origin, "constant", SLICE_LITERAL(""));
    return value;
}

/* In structured mode "ce_type" is the envelope's member `type`: a mapping need not know the mode. */
static json_t *envelope_attribute(const struct reader *reader, struct slice name)
{
    if (!reader->envelope || name.len <= 3 || memcmp(name.ptr, "ce_", 3) != 0)
        return NULL;
    struct slice attribute = {name.ptr + 3, name.len - 3};
    if (slice_is(attribute, "data") || slice_is(attribute, "data_base64"))
        return NULL;
    json_t *value = json_object_getn(reader->envelope, attribute.ptr, attribute.len);
    return json_is_null(value) ? NULL : value;
}

/* The last header of that name. */
static struct slice header_value(const struct record *record, struct slice name)
{
    for (size_t i = record->header_count; i > 0; i--) {
        if (slice_equal(record->headers[i - 1].name, name))
            return record->headers[i - 1].value;
    }
    return SLICE_ABSENT;
}

json_t *expression_header(struct reader *reader, struct slice name)
{
    json_t *attribute = envelope_attribute(reader, name);
    if (attribute)
        return attribute;
    struct slice value = header_value(reader->record, name);
    if (!slice_present(value))
        return NULL;
    if (!text_is_utf8(value)) {
        char shown[NAME_SHOWN_BYTES];
        text_mask_phones(name, shown, sizeof shown);
        reader_warn(reader, SIGNUP_WARNING_FIELD, "the header %s was dropped: it is not text in UTF-8",
                    shown);
        return NULL;
    }
    return reader_own(reader, json_stringn_nocheck(value.ptr, value.len));
}

static json_t *first_of(struct reader *reader, json_t *root, const struct event_expression *expression,
                        struct buf *origin)
{
    size_t before = origin ? origin->len : 0;
    for (size_t i = 0; i < expression->part_count; i++) {
        json_t *value = expression_value(reader, root, &expression->parts[i], origin);
        if (value && !expression_blank(value))
            return value;
        if (origin)
            origin->len = before;
    }
    return NULL;
}

static json_t *joined(struct reader *reader, json_t *const *values, size_t count, struct slice with)
{
    bool any = false;
    buf_reset(&reader->text);
    for (size_t i = 0; i < count; i++) {
        if (!values[i])
            continue;
        if (any)
            buf_append_slice(&reader->text, with);
        any = true;
        expression_append_text(&reader->text, values[i]);
    }
    return any ? take_text(reader) : NULL;
}

/* All parts are evaluated before any text is put together: they use the working text, too. */
static json_t *join(struct reader *reader, json_t *root, const struct event_expression *expression,
                    struct buf *origin)
{
    json_t **values = scratch_alloc(expression->part_count * sizeof *values);
    if (!values) {
        reader->full = true;
        return NULL;
    }
    size_t before = origin ? origin->len : 0;
    bool first = true;
    tell(origin, "join of ", SLICE_LITERAL(""));
    for (size_t i = 0; i < expression->part_count; i++) {
        size_t part = origin ? origin->len : 0;
        tell(origin, first ? "" : ", ", SLICE_LITERAL(""));
        values[i] = expression_value(reader, root, &expression->parts[i], origin);
        /* A field that was left empty says nothing, an object or a list is no part of a text. */
        if (expression_blank(values[i]) || json_is_object(values[i]) || json_is_array(values[i]))
            values[i] = NULL;
        if (values[i])
            first = false;
        else if (origin)
            origin->len = part;
    }
    json_t *value = joined(reader, values, expression->part_count, expression->text);
    if (!value && origin)
        origin->len = before;
    scratch_free(values);
    return value;
}

/* The transforms of one text. */
static json_t *transformed(struct reader *reader, json_t *root, const struct event_expression *expression,
                           struct buf *origin)
{
    static const char *const names[] = {
        [EVENT_LOWERCASE] = "lowercase of ",
        [EVENT_FIRST_NAME] = "first name of ",
        [EVENT_LAST_NAME] = "last name of ",
    };
    size_t before = origin ? origin->len : 0;
    assert(expression->part_count == 1);
    tell(origin, names[expression->operation], SLICE_LITERAL(""));
    json_t *part = expression_value(reader, root, expression->parts, origin);
    json_t *value = NULL;
    buf_reset(&reader->text);
    if (expression->operation == EVENT_LOWERCASE && json_is_string(part)) {
        text_append_lower(&reader->text, reader_string(part));
        value = take_text(reader);
    } else if (expression->operation == EVENT_LOWERCASE) {
        value = part && expression_append_text(&reader->text, part) ? take_text(reader) : NULL;
    } else if (json_is_string(part)) {
        text_append_name(&reader->text, reader_string(part), expression->operation == EVENT_LAST_NAME);
        value = reader->text.len || !buf_ok(&reader->text) ? take_text(reader) : NULL;
    }
    if (!value && origin)
        origin->len = before;
    return value;
}

json_t *expression_value(struct reader *reader, json_t *root, const struct event_expression *expression,
                         struct buf *origin)
{
    json_t *value = NULL;
    switch (expression->operation) {
    case EVENT_POINTER:
        value = pointer_find(root, &expression->pointer);
        if (value)
            tell(origin, expression->pointer.count ? "" : "the whole document", expression->pointer.text);
        return value;
    case EVENT_CONSTANT:
        return constant_value(reader, &expression->constant, origin);
    case EVENT_HEADER:
        value = expression_header(reader, expression->text);
        if (value)
            tell(origin, "header ", expression->text);
        return value;
    case EVENT_FIRST_OF:
        return first_of(reader, root, expression, origin);
    case EVENT_JOIN:
        return join(reader, root, expression, origin);
    case EVENT_LOWERCASE:
    case EVENT_FIRST_NAME:
    case EVENT_LAST_NAME:
        return transformed(reader, root, expression, origin);
    }
    return value;
}
