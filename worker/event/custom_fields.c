/* Composition, hygiene and overflow of custom fields.
 *
 * Precedence of two fields of one name: the route with `override`, the event, the route, the consent
 * evidence. What the API would not take is dropped with a warning that names the field, and the signup goes.
 *
 * Names are sent without the blanks and invisible characters around them: the API merges fields by their
 * names, and "city" and " city" (a spreadsheet's heading, a byte order mark before the first column) would be
 * two fields of the contact ever after. Of two that become one the exactly named one wins. A name that is
 * blank, longer than 255 bytes or holds control characters is dropped. */
#include "custom_fields.h"

#include "canonical.h"
#include "consent.h"
#include "route.h"
#include "scratch.h"
#include "signup/base/log.h"
#include "unicode.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* An object of thousands of unusable members is one complaint, not thousands. */
#define MEMBER_WARNINGS_MAX 16
#define NAME_SHOWN_BYTES 96
#define LISTED_BYTES 120 /* of the names in one message; the last may pass it */

/* The lower one wins. */
enum rank { RANK_OVERRIDE, RANK_EVENT, RANK_EVENT_TRIMMED, RANK_ROUTE, RANK_CONSENT };

struct custom_field {
    struct slice name;
    enum rank rank;
    json_t *value;                         /* or */
    const struct event_constant *constant; /* or */
    struct slice text;
    struct slice origin; /* of a copy: the part of the evidence */
    size_t bytes;        /* as sent, with its name; set by write_fields() */
};

/* A composition in progress. */
struct composition {
    struct reader *reader;
    struct custom_field *items;
    size_t count;
    size_t dropped;
    bool sorted;
    bool closed; /* nothing may be added any more */
};

static void note_dropped(const struct reader *reader, struct slice name, const char *why)
{
    char field[CUSTOM_NAME_BYTES_MAX + 32];
    if (!reader->trace)
        return;
    snprintf(field, sizeof field, "custom_fields.%.*s", (int)name.len, name.ptr);
    reader_note(reader, "dropped", field, SLICE_ABSENT, why);
}

static void warn_dropped(struct composition *c, struct slice name, const char *why)
{
    char shown[NAME_SHOWN_BYTES];
    struct reader *reader = c->reader;
    note_dropped(reader, name, why);
    if (++c->dropped > MEMBER_WARNINGS_MAX)
        return;
    text_mask_phones(name, shown, sizeof shown);
    for (char *at = shown; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7F)
            *at = '?';
    }
    reader_warn(reader, SIGNUP_WARNING_FIELD, "custom_fields.%s was dropped: %s", shown, why);
}

static const char *fault_of_name(struct slice name)
{
    uint32_t point;
    if (!name.len)
        return "its name is blank";
    if (name.len > CUSTOM_NAME_BYTES_MAX)
        return "its name is longer than 255 bytes";
    for (size_t at = 0, len; at < name.len; at += len) {
        len = unicode_take(name, at, &point);
        if (!len || unicode_control(point))
            return "its name holds a control character";
    }
    return NULL;
}

static const char *fault_of_value(const json_t *value)
{
    if (json_is_object(value))
        return "it is an object, and the API takes text, numbers, true and false";
    if (json_is_array(value))
        return "it is a list, and the API takes text, numbers, true and false";
    if (json_is_real(value) && !isfinite(json_real_value(value)))
        return "it is no finite number";
    return NULL;
}

static void add(struct composition *c, struct custom_field field)
{
    const char *fault;
    struct slice name = unicode_trim(field.name);
    if (field.rank == RANK_EVENT && name.len != field.name.len)
        field.rank = RANK_EVENT_TRIMMED;
    fault = fault_of_name(name);
    if (!fault && field.value)
        fault = fault_of_value(field.value);
    if (!fault && field.constant && field.constant->kind == EVENT_CONSTANT_REAL &&
        !isfinite(field.constant->real))
        fault = "it is no finite number";
    if (!fault && c->closed)
        fault = "with override_custom_fields it would be the only one that the contact keeps";
    if (fault) {
        warn_dropped(c, name.len ? name : field.name, fault);
        return;
    }
    assert(c->items);
    field.name = name;
    c->sorted = c->sorted && (!c->count || slice_compare(c->items[c->count - 1].name, name) < 0);
    c->items[c->count++] = field;
}

static void add_own(struct composition *c, json_t *own)
{
    for (void *at = json_object_iter(own); at; at = json_object_iter_next(own, at)) {
        json_t *value = json_object_iter_value(at);
        if (json_is_null(value))
            continue;
        struct slice name = {json_object_iter_key(at), json_object_iter_key_len(at)};
        add(c, (struct custom_field){.name = name, .rank = RANK_EVENT, .value = value});
    }
}

static void add_of_route(struct composition *c)
{
    const struct event_route *route = c->reader->route;
    enum rank rank = route_overrides(c->reader) ? RANK_OVERRIDE : RANK_ROUTE;
    for (size_t i = 0; route && i < route->custom_field_count; i++) {
        const struct event_custom_field *field = &route->custom_fields[i];
        add(c, (struct custom_field){.name = field->name, .rank = rank, .constant = &field->value});
    }
}

static void add_evidence(struct composition *c)
{
    const struct event_consent *rules = &c->reader->rules->consent;
    for (size_t i = 0; i < rules->to_custom_field_count; i++) {
        const struct event_click_id *rule = &rules->to_custom_fields[i];
        struct evidence part;
        struct custom_field field = {.name = rule->source, .rank = RANK_CONSENT, .origin = rule->parameter};
        bool there = consent_part(c->reader, rule->parameter, &part);
        if (!there && !json_is_false(part.value) && !json_is_object(part.value) && !json_is_array(part.value))
            continue;
        field.value = part.value;
        field.text = part.value && json_is_string(part.value) ? reader_string(part.value) : part.text;
        if (field.text.len > CUSTOM_COPY_BYTES_MAX) {
            warn_dropped(c, rule->source,
                         "the part of the evidence is longer than 1,000 bytes; the ledger has it");
            continue;
        }
        if (field.text.ptr == part.date) { /* which ends with this turn */
            char *copy = scratch_alloc(WALL_TEXT_BYTES);
            if (!copy) {
                c->reader->full = true;
                return;
            }
            memcpy(copy, part.date, WALL_TEXT_BYTES);
            field.text.ptr = copy;
        }
        add(c, field);
    }
}

static int compare(const void *a, const void *b)
{
    const struct custom_field *one = a;
    const struct custom_field *other = b;
    int order = slice_compare(one->name, other->name);
    return order ? order : (int)one->rank - (int)other->rank;
}

/* By name, each once. */
static void settle(struct composition *c)
{
    if (c->sorted)
        return;
    qsort(c->items, c->count, sizeof *c->items, compare);
    size_t kept = 0;
    for (size_t i = 0; i < c->count; i++) {
        const struct custom_field *field = &c->items[i];
        if (!kept || !slice_equal(c->items[kept - 1].name, field->name)) {
            c->items[kept++] = *field;
            continue;
        }
        if (field->rank == RANK_EVENT_TRIMMED && c->items[kept - 1].rank != RANK_OVERRIDE)
            warn_dropped(c, field->name, "without the blanks around its name it is there twice");
        else
            note_dropped(c->reader, field->name, "another one of that name goes first");
    }
    c->count = kept;
}

static void append_constant(struct buf *out, const struct event_constant *constant)
{
    switch (constant->kind) {
    case EVENT_CONSTANT_TEXT:
        buf_append_json_string(out, constant->text);
        break;
    case EVENT_CONSTANT_BOOLEAN:
        buf_append_str(out, constant->boolean ? "true" : "false");
        break;
    case EVENT_CONSTANT_INTEGER:
        buf_append_int(out, constant->integer);
        break;
    case EVENT_CONSTANT_REAL:
        buf_append_json_real(out, constant->real);
        break;
    }
}

static void append_value(struct buf *out, const struct custom_field *field)
{
    if (field->value)
        canonical_append(out, field->value);
    else if (field->constant)
        append_constant(out, field->constant);
    else
        buf_append_json_string(out, field->text);
}

static void note_field(const struct reader *reader, const struct custom_field *field, struct slice value)
{
    char name[NAME_SHOWN_BYTES];
    char origin[NAME_SHOWN_BYTES * 2];
    bool evidence = field->rank == RANK_CONSENT;
    struct slice from = evidence ? field->origin : reader->out->route;
    snprintf(name, sizeof name, "%.*s", (int)field->name.len, field->name.ptr);
    if (field->rank == RANK_EVENT || field->rank == RANK_EVENT_TRIMMED)
        snprintf(origin, sizeof origin, "the event");
    else
        snprintf(origin, sizeof origin, "%s %.*s", evidence ? "evidence of consent:" : "route", (int)from.len,
                 from.ptr);
    reader_note(reader, "custom_field", name, value, origin);
}

/* The object of all fields, in reader->text. */
static void write_fields(struct reader *reader, const struct custom_fields *fields, bool first_time)
{
    struct buf *text = &reader->text;
    buf_reset(text);
    buf_append_char(text, '{');
    for (size_t i = 0; i < fields->count; i++) {
        struct custom_field *field = &fields->items[i];
        if (i)
            buf_append_char(text, ',');
        size_t start = text->len;
        buf_append_json_string(text, field->name);
        buf_append_char(text, ':');
        size_t value = text->len;
        append_value(text, field);
        field->bytes = text->len - start;
        if (first_time && reader->trace && buf_ok(text))
            note_field(reader, field, (struct slice){text->data + value, text->len - value});
    }
    buf_append_char(text, '}');
}

/* The event's object, or NULL with a warning where it is none. */
static json_t *own_object(struct reader *reader)
{
    json_t *own = reader->field[EVENT_CUSTOM_FIELDS];
    if (!own || json_is_object(own))
        return own;
    reader_warn(reader, SIGNUP_WARNING_FIELD, "custom_fields was dropped: it is %s, not an object",
                reader_type_str(own));
    return NULL;
}

static void compose(struct composition *c, json_t *own)
{
    struct reader *reader = c->reader;
    add_own(c, own);
    /* An object of which nothing is left is not sent: with override_custom_fields it would wipe what the
     * contact has. An empty one that the event sends is meant so. And what only the configuration adds must
     * not replace all that the contact has either. */
    bool sent = c->count || (own && !c->dropped);
    c->closed = reader->out->override_custom_fields && !c->count;
    add_of_route(c);
    add_evidence(c);
    settle(c);
    if (c->dropped > MEMBER_WARNINGS_MAX)
        reader_warn(reader, SIGNUP_WARNING_FIELD,
                    "custom_fields: %zu more members were dropped for such reasons",
                    c->dropped - MEMBER_WARNINGS_MAX);
    if (!sent && !c->count)
        return;
    struct custom_fields fields = {c->items, c->count};
    write_fields(reader, &fields, true);
    reader->out->custom_fields = reader_keep_text(reader);
}

void custom_fields_compose(struct reader *reader, struct custom_fields *fields)
{
    json_t *own = own_object(reader);
    size_t most = json_object_size(own) + reader->rules->consent.to_custom_field_count +
                  (reader->route ? reader->route->custom_field_count : 0);
    *fields = (struct custom_fields){.items = NULL};
    if (!own && !most)
        return;
    struct composition c = {.reader = reader, .sorted = true};
    c.items = most ? scratch_alloc(most * sizeof *c.items) : NULL;
    if (most && !c.items) {
        reader->full = true;
        return;
    }
    compose(&c, own);
    fields->items = c.items;
    fields->count = c.count;
}

/* ---- overflow */

static int compare_sizes(const void *a, const void *b)
{
    const struct custom_field *one = a;
    const struct custom_field *other = b;
    if (one->bytes != other->bytes)
        return one->bytes > other->bytes ? -1 : 1;
    return slice_compare(one->name, other->name);
}

static void warn_largest(struct reader *reader, const struct custom_fields *fields, size_t count)
{
    char listed[LISTED_BYTES + NAME_SHOWN_BYTES + 32];
    char more[40] = "";
    size_t len = 0;
    size_t named = 0;
    for (; named < count && len < LISTED_BYTES; named++) {
        char shown[NAME_SHOWN_BYTES];
        text_mask_phones(fields->items[named].name, shown, sizeof shown);
        len += (size_t)snprintf(listed + len, sizeof listed - len, "%scustom_fields.%s", named ? ", " : "",
                                shown);
    }
    if (named < count)
        snprintf(more, sizeof more, " and %zu more", count - named);
    reader_warn(reader, SIGNUP_WARNING_FIELD, "%s%s %s dropped: the contact would have more than 4,000 bytes",
                listed, more, count == 1 ? "was" : "were");
    for (size_t i = 0; i < count; i++)
        note_dropped(reader, fields->items[i].name,
                     "one of the largest, and the contact would have more than 4,000 bytes");
}

bool custom_fields_drop_largest(struct reader *reader, struct custom_fields *fields, size_t excess_bytes)
{
    size_t freed = 0;
    size_t dropped = 0;
    if (!fields->count)
        return false;
    qsort(fields->items, fields->count, sizeof *fields->items, compare_sizes);
    while (dropped < fields->count && freed < excess_bytes) {
        freed += fields->items[dropped].bytes + 1; /* and its comma */
        dropped++;
    }
    if (dropped == fields->count) {
        size_t whole = reader->out->custom_fields.len + strlen(",\"custom_fields\":");
        if (whole < excess_bytes)
            return false;
    }
    warn_largest(reader, fields, dropped);
    fields->items += dropped;
    fields->count -= dropped;
    qsort(fields->items, fields->count, sizeof *fields->items, compare);
    reader->out->custom_fields = SLICE_ABSENT;
    if (fields->count) {
        write_fields(reader, fields, false);
        reader->out->custom_fields = reader_keep_text(reader);
    }
    return true;
}
