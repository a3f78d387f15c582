/* Form bodies (application/x-www-form-urlencoded, https://url.spec.whatwg.org/#urlencoded-parsing), read
 * strictly, to a tree of texts: names as they stand, but for custom_fields[city] and consent.text, which are
 * members of our objects. */
#include "shape.h"

#include "expression.h"
#include "expression_text.h"
#include "fields.h"
#include "scratch.h"
#include "signup/base/log.h"

#define REPEAT_WARNINGS_MAX 16
#define NAME_SHOWN_BYTES 96

struct form {
    struct reader *reader;
    json_t *root;
    json_t *seen;    /* names, true until their repetition has been told */
    size_t repeated; /* names that are there twice */
};

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static unsigned hex_value(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
}

/* Unescapes `raw` to scratch memory, with a NUL behind; absent: `*why` tells why, or is NULL when memory is
 * out. */
static struct slice unescape(struct slice raw, const char **why)
{
    char *out = scratch_alloc(raw.len + 1);
    size_t len = 0;
    *why = NULL;
    if (!out)
        return SLICE_ABSENT;
    for (size_t i = 0; i < raw.len && !*why; i++) {
        char c = raw.ptr[i];
        if (c == '%' && (raw.len - i < 3 || !is_hex(raw.ptr[i + 1]) || !is_hex(raw.ptr[i + 2]))) {
            *why = "a % that is not followed by two hexadecimal digits";
        } else if (c == '%') {
            c = (char)(hex_value(raw.ptr[i + 1]) << 4 | hex_value(raw.ptr[i + 2]));
            i += 2;
        } else if (c == '+') {
            c = ' ';
        } else if ((unsigned char)c < ' ' || c == 127) {
            *why = "a control character or a line break within it";
        }
        out[len++] = c;
    }
    out[len] = '\0';
    struct slice text = {out, len};
    if (!*why && !text_is_utf8(text))
        *why = memchr(out, '\0', len) ? "a NUL character (%00)" : "a text that is not UTF-8";
    if (!*why)
        return text;
    scratch_free(out);
    return SLICE_ABSENT;
}

/* ---- names */

struct form_name {
    enum event_field object; /* EVENT_FIELD_COUNT: a member of the root */
    const char *member;      /* ends with a NUL */
};

/* "[city]" or ".city" behind the name of an object field, which is cut out of `rest` in place; NULL: it is no
 * such thing. An empty name
 * ("tags[]") and brackets within ("a[b][c]") are lists and objects, which those fields do not take. */
static const char *member_name(char *rest, size_t len)
{
    if (len >= 2 && rest[0] == '.')
        return rest + 1;
    if (len < 3 || rest[0] != '[' || rest[len - 1] != ']' || strcspn(rest + 1, "[]") != len - 2)
        return NULL;
    rest[len - 1] = '\0';
    return rest + 1;
}

/* False: it belongs to an object field, but as nothing that this may hold. */
static bool read_name(struct slice text, struct form_name *name)
{
    *name = (struct form_name){EVENT_FIELD_COUNT, text.ptr};
    size_t head = strcspn(text.ptr, "[.");
    enum event_field field;
    if (head == text.len || !event_field_parse((struct slice){text.ptr, head}, &field) ||
        field < EVENT_FIRST_OBJECT)
        return true;
    *name = (struct form_name){field, member_name((char *)text.ptr + head, text.len - head)};
    return name->member != NULL;
}

/* ---- values */

/* The value of a ticked box that has no value of its own, and its counterpart (HTML, "checkbox"). */
static json_t *flag_of_box(const char *name, struct slice value)
{
    enum event_field field;
    if (!event_field_parse(slice_from_str(name), &field) || field < EVENT_USE_JOURNEYS || field > EVENT_FORCE)
        return NULL;
    return slice_is(value, "on") ? json_true() : slice_is(value, "off") ? json_false() : NULL;
}

static void warn_dropped(struct form *form, struct slice name)
{
    char shown[NAME_SHOWN_BYTES];
    text_mask_phones(name, shown, sizeof shown);
    reader_warn(form->reader, SIGNUP_WARNING_FIELD,
                "%s was dropped: a form fills custom_fields, consent and attribution by names like "
                "custom_fields[city] or custom_fields.city, with text",
                shown);
}

/* Tells once of each name that is there again. `key` is the same for both spellings of a member. */
static bool note_seen(struct form *form, const char *key)
{
    json_t *before = json_object_get(form->seen, key);
    if (before && json_is_true(before) && ++form->repeated <= REPEAT_WARNINGS_MAX) {
        char shown[NAME_SHOWN_BYTES];
        text_mask_phones(slice_from_str(key), shown, sizeof shown);
        reader_warn(
            form->reader, SIGNUP_WARNING_FIELD,
            "%s is there more than once: the last one that is not blank was taken, the others were dropped",
            shown);
    }
    return json_object_set_new(form->seen, key, json_boolean(!before)) == 0;
}

static bool put(struct form *form, const struct form_name *name, json_t *value)
{
    json_t *object = form->root;
    if (name->object != EVENT_FIELD_COUNT) {
        const char *field = event_field_str(name->object);
        object = json_object_get(form->root, field);
        if (!json_is_object(object)) { /* "consent=yes" beside "consent.text=…" says less */
            object = json_object();
            if (json_object_set_new(form->root, field, object) != 0)
                return false;
        }
    } else if (json_is_object(json_object_get(form->root, name->member))) {
        json_decref(value);
        return true;
    }
    return json_object_set_new(object, name->member, value) == 0;
}

/* False: memory is out. */
static bool add(struct form *form, struct slice raw_name, struct slice value)
{
    struct form_name name;
    if (!read_name(raw_name, &name)) {
        warn_dropped(form, raw_name);
        return true;
    }
    struct buf *text = &form->reader->text;
    buf_reset(text);
    if (name.object != EVENT_FIELD_COUNT) {
        buf_append_str(text, event_field_str(name.object));
        buf_append_char(text, '.');
    }
    buf_append_str(text, name.member);
    buf_append_char(text, '\0');
    if (!buf_ok(text) || !note_seen(form, text->data))
        return false;
    if (!text_trim(value).len)
        return true; /* a field that was left empty says nothing */
    json_t *box = name.object == EVENT_FIELD_COUNT ? flag_of_box(name.member, value) : NULL;
    return put(form, &name, box ? box : json_stringn_nocheck(value.ptr, value.len));
}

/* ---- the body */

static bool die_of(struct form *form, const char *why)
{
    if (why)
        reader_die(form->reader, DEATH_MALFORMED_PAYLOAD,
                   "The record is not a proper form body: it has %s. Expected are name=value pairs between "
                   "&, in UTF-8, escaped as application/x-www-form-urlencoded.",
                   why);
    else
        form->reader->full = true;
    return false;
}

static bool read_pair(struct form *form, struct slice pair)
{
    const char *equals = memchr(pair.ptr, '=', pair.len);
    size_t split = equals ? (size_t)(equals - pair.ptr) : pair.len;
    const char *why;
    struct slice name = unescape((struct slice){pair.ptr, split}, &why);
    if (!slice_present(name))
        return die_of(form, why);
    size_t from = equals ? split + 1 : split;
    struct slice value = unescape((struct slice){pair.ptr + from, pair.len - from}, &why);
    bool well =
        slice_present(value) ? !name.len || add(form, name, value) || die_of(form, NULL) : die_of(form, why);
    scratch_free((char *)value.ptr);
    scratch_free((char *)name.ptr);
    return well;
}

/* Other things that land on such a topic, named before a "bad character" is blamed on them. */
static const char *other_thing(struct slice body)
{
    if (!body.len)
        return "nothing but blanks in it";
    if (body.ptr[0] == '{' || body.ptr[0] == '[')
        return "JSON in it; for that set the topic's profile to api or json";
    if (body.len > 2 && memcmp(body.ptr, "--", 2) == 0)
        return "parts between boundaries, as multipart/form-data has";
    return memchr(body.ptr, '=', body.len) ? NULL : "no name=value pair";
}

static bool read_body(struct form *form, struct slice body)
{
    const char *other = other_thing(body);
    if (other)
        return die_of(form, other);
    for (size_t start = 0; start <= body.len;) {
        const char *end = start < body.len ? memchr(body.ptr + start, '&', body.len - start) : NULL;
        size_t stop = end ? (size_t)(end - body.ptr) : body.len;
        if (stop > start && !read_pair(form, (struct slice){body.ptr + start, stop - start}))
            return false;
        start = stop + 1;
    }
    return true;
}

json_t *form_decode(struct reader *reader, struct slice bytes)
{
    static const char bom[] = "\xEF\xBB\xBF";
    struct form form = {.reader = reader, .root = json_object(), .seen = reader_own(reader, json_object())};
    if (bytes.len >= 3 && memcmp(bytes.ptr, bom, 3) == 0)
        bytes = (struct slice){bytes.ptr + 3, bytes.len - 3};
    bool well = form.root && form.seen ? read_body(&form, text_trim(bytes)) : die_of(&form, NULL);
    if (!well) {
        json_decref(form.root);
        return NULL;
    }
    if (form.repeated > REPEAT_WARNINGS_MAX)
        reader_warn(reader, SIGNUP_WARNING_FIELD, "%zu more names are there more than once",
                    form.repeated - REPEAT_WARNINGS_MAX);
    shape_note(reader, "%zu fields", json_object_size(form.root));
    return form.root;
}
