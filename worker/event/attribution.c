/* Click ids and campaign parameters of the landing page.
 *
 * The query is read once; of a parameter that is there several times the first that is not blank counts, as
 * in the networks' own scripts. What is too long, no UTF-8 or holds control characters is not kept: a click
 * id that was cut is a wrong one. The ledger's object holds what was found in its raw form, what the event
 * brings itself first; of all that the API is told the two ad_network fields only. */
#include "attribution.h"

#include "canonical.h"
#include "clean.h"
#include "expression_text.h"
#include "scratch.h"
#include "signup/base/log.h"
#include "unicode.h"
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define PARAMETERS_MAX 200 /* looked at */
#define FOUND_MAX 32       /* kept */
#define NOWHERE SIZE_MAX

/* One member of the ledger's object. */
struct entry {
    struct slice name;
    struct slice value; /* from the URL, decoded; absent: `own` */
    json_t *own;
    size_t offset; /* of its JSON text in reader->text */
    size_t bytes;
};

struct findings {
    struct entry entries[FOUND_MAX];
    size_t count;
    size_t own_count; /* the first ones are the event's */
    /* The best of each list so far, by its place in the list. */
    size_t click_id;
    size_t source;
    size_t id;
    struct slice source_value;
    struct slice id_value;
};

static bool same_word(struct slice a, struct slice b)
{
    return a.len == b.len && strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

static size_t place_of(struct slice name, const struct slice *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (same_word(name, names[i]))
            return i;
    }
    return NOWHERE;
}

static size_t click_id_of(const struct event_attribution *rules, struct slice name)
{
    for (size_t i = 0; i < rules->click_id_count; i++) {
        if (same_word(name, rules->click_ids[i].parameter))
            return i;
    }
    return NOWHERE;
}

/* Of valid UTF-8. */
static bool has_control(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool c1 = c == 0xC2 && i + 1 < text.len && (unsigned char)text.ptr[i + 1] < 0xA0;
        if (c < 0x20 || c == 0x7F || c1)
            return true;
    }
    return false;
}

/* The text of an encoded part without the blanks around it, in scratch memory where it had to be decoded;
 * absent: not to be used. */
static struct slice decoded(struct reader *reader, struct slice raw, size_t bytes_max)
{
    if (raw.len > bytes_max * 3)
        return SLICE_ABSENT;
    struct slice text = raw;
    if (url_is_encoded(raw)) {
        char *room = scratch_alloc(raw.len);
        if (!room) {
            reader->full = true;
            return SLICE_ABSENT;
        }
        text = (struct slice){room, url_decode(raw, room)};
        if (!text_is_utf8(text))
            return SLICE_ABSENT;
    }
    text = unicode_trim(text);
    return text.len > bytes_max || has_control(text) ? SLICE_ABSENT : text;
}

/* What a parameter's name is to us: its places in the lists, and the name under which it is kept. */
struct meaning {
    size_t click_id;
    size_t source;
    size_t id;
    struct slice kept; /* absent: none of ours */
};

static struct meaning meaning_of(const struct event_attribution *rules, struct slice name)
{
    struct meaning m = {
        .click_id = click_id_of(rules, name),
        .source = place_of(name, rules->source_parameters, rules->source_parameter_count),
        .id = place_of(name, rules->id_parameters, rules->id_parameter_count),
    };
    if (m.click_id != NOWHERE)
        m.kept = rules->click_ids[m.click_id].parameter;
    else if (m.source != NOWHERE)
        m.kept = rules->source_parameters[m.source];
    else if (m.id != NOWHERE)
        m.kept = rules->id_parameters[m.id];
    else if (name.len > 4 && strncasecmp(name.ptr, "utm_", 4) == 0)
        m.kept = name;
    return m;
}

/* The earlier place wins, and of one place the parameter that came first. */
static void take_places(const struct meaning *m, struct slice value, struct findings *found)
{
    if (m->click_id < found->click_id)
        found->click_id = m->click_id;
    if (m->source < found->source) {
        found->source = m->source;
        found->source_value = value;
    }
    if (m->id < found->id) {
        found->id = m->id;
        found->id_value = value;
    }
}

static bool is_there(const struct findings *found, struct slice name)
{
    for (size_t i = 0; i < found->count; i++) {
        if (same_word(found->entries[i].name, name))
            return true;
    }
    return false;
}

static void take_parameter(struct reader *reader, struct slice raw_name, struct slice raw_value,
                           struct findings *found)
{
    struct slice name = decoded(reader, raw_name, ATTRIBUTION_NAME_BYTES_MAX);
    if (!name.len)
        return;
    struct meaning m = meaning_of(&reader->rules->attribution, name);
    if (!slice_present(m.kept))
        return;
    struct slice value = decoded(reader, raw_value, ATTRIBUTION_VALUE_BYTES_MAX);
    if (!slice_present(value))
        reader_note(reader, "dropped", "attribution", name,
                    "a parameter of the url that is too long or no text");
    if (!value.len)
        return;
    take_places(&m, value, found);
    if (found->count < FOUND_MAX && !is_there(found, m.kept))
        found->entries[found->count++] = (struct entry){.name = m.kept, .value = value};
}

static void read_query(struct reader *reader, struct findings *found)
{
    struct slice rest = url_query(reader->out->url);
    struct slice name;
    struct slice value;
    for (size_t i = 0; i < PARAMETERS_MAX && slice_present(rest) && url_next_parameter(&rest, &name, &value);
         i++)
        take_parameter(reader, name, value, found);
}

/* The event's own member, or a warning that names it. */
static void take_own(struct reader *reader, const char *name, json_t *value, struct findings *found)
{
    char shown[ATTRIBUTION_NAME_BYTES_MAX + 8];
    const char *why = NULL;
    struct slice key = slice_from_str(name);
    if (json_is_object(value) || json_is_array(value))
        why = "not text, a number, true or false";
    else if (!unicode_trim(key).len || key.len > ATTRIBUTION_NAME_BYTES_MAX || has_control(key))
        why = "its name is blank, longer than 64 bytes or holds control characters";
    else if (json_is_string(value) && json_string_length(value) > ATTRIBUTION_VALUE_BYTES_MAX)
        why = "longer than 512 bytes";
    else if (found->count == FOUND_MAX)
        why = "more than 32 members are not kept";
    if (!why) {
        found->entries[found->count++] = (struct entry){.name = key, .own = value};
        return;
    }
    text_mask_phones(key, shown, sizeof shown);
    reader_warn(reader, SIGNUP_WARNING_FIELD, "attribution.%s was dropped: %s", shown, why);
}

static void read_own(struct reader *reader, struct findings *found)
{
    json_t *own = reader->field[EVENT_ATTRIBUTION];
    size_t looked_at = 0;
    if (!own)
        return;
    if (!json_is_object(own)) {
        reader_warn(reader, SIGNUP_WARNING_FIELD, "attribution was dropped: it is %s, not an object",
                    reader_type_str(own));
        return;
    }
    for (void *at = json_object_iter(own); at; at = json_object_iter_next(own, at)) {
        json_t *value = json_object_iter_value(at);
        bool blank =
            json_is_null(value) || (json_is_string(value) && !unicode_trim(reader_string(value)).len);
        if (blank)
            continue;
        if (++looked_at > FOUND_MAX) {
            reader_warn(reader, SIGNUP_WARNING_FIELD, "attribution: members beyond the first %d were dropped",
                        FOUND_MAX);
            break;
        }
        take_own(reader, json_object_iter_key(at), value, found);
    }
    found->own_count = found->count;
}

/* ---- the two fields */

static void note_field(const struct reader *reader, const char *field, struct slice value,
                       struct slice parameter)
{
    char origin[ATTRIBUTION_NAME_BYTES_MAX + 32];
    if (!reader->trace)
        return;
    snprintf(origin, sizeof origin, "parameter %.*s of the url", (int)parameter.len, parameter.ptr);
    reader_note(reader, "attribution", field, value, origin);
}

static void derive_source(struct reader *reader, const struct findings *found)
{
    const struct event_attribution *rules = &reader->rules->attribution;
    struct signup *out = reader->out;
    if (slice_present(out->ad_network_source))
        return;
    if (found->click_id != NOWHERE) {
        const struct event_click_id *rule = &rules->click_ids[found->click_id];
        out->ad_network_source = reader_keep(reader, rule->source);
        note_field(reader, "ad_network_source", out->ad_network_source, rule->parameter);
    } else if (found->source != NOWHERE) {
        buf_reset(&reader->text);
        text_append_lower(&reader->text, found->source_value);
        out->ad_network_source = reader_keep_text(reader);
        note_field(reader, "ad_network_source", out->ad_network_source,
                   rules->source_parameters[found->source]);
    }
}

static void derive_id(struct reader *reader, const struct findings *found)
{
    struct signup *out = reader->out;
    if (slice_present(out->ad_network_id) || found->id == NOWHERE)
        return;
    out->ad_network_id = reader_keep(reader, found->id_value);
    note_field(reader, "ad_network_id", out->ad_network_id,
               reader->rules->attribution.id_parameters[found->id]);
}

/* ---- the ledger's object */

static void append_entry(struct buf *out, const struct entry *entry)
{
    buf_append_json_string(out, entry->name);
    buf_append_char(out, ':');
    if (entry->own)
        canonical_append(out, entry->own);
    else
        buf_append_json_string(out, entry->value);
}

/* Writes every member one behind the other and leaves out those for which the object has no room; gives the
 * size of the rest. */
static size_t write_entries(struct reader *reader, struct findings *found)
{
    struct buf *text = &reader->text;
    size_t total = 1; /* "{", and each member with what follows it */
    size_t kept = 0;
    char shown[ATTRIBUTION_NAME_BYTES_MAX + 8];
    buf_reset(text);
    for (size_t i = 0; i < found->count; i++) {
        struct entry *entry = &found->entries[i];
        entry->offset = text->len;
        append_entry(text, entry);
        entry->bytes = text->len - entry->offset;
        if (total + entry->bytes + 1 <= ATTRIBUTION_BYTES_MAX) {
            total += entry->bytes + 1;
            found->entries[kept++] = *entry;
            continue;
        }
        text_mask_phones(entry->name, shown, sizeof shown);
        if (i < found->own_count)
            reader_warn(reader, SIGNUP_WARNING_FIELD,
                        "attribution.%s was dropped: all of it has at most 2,048 bytes", shown);
        else
            reader_note(reader, "dropped", "attribution", entry->name, "all of it has at most 2,048 bytes");
    }
    found->count = kept;
    return total;
}

static int compare_names(const void *a, const void *b)
{
    return slice_compare(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static void small_letters(struct reader *reader, struct findings *found)
{
    for (size_t i = found->own_count; i < found->count; i++) {
        struct slice name = found->entries[i].name;
        char *copy = NULL;
        if (strncasecmp(name.ptr, "utm_", name.len < 4 ? name.len : 4) != 0)
            continue;
        for (size_t k = 0; k < name.len; k++) {
            if (name.ptr[k] < 'A' || name.ptr[k] > 'Z')
                continue;
            if (!copy) {
                copy = scratch_alloc(name.len);
                if (!copy) {
                    reader->full = true;
                    return;
                }
                memcpy(copy, name.ptr, name.len);
                found->entries[i].name.ptr = copy;
            }
            copy[k] = (char)(copy[k] + ('a' - 'A'));
        }
    }
}

static void keep_object(struct reader *reader, struct findings *found)
{
    small_letters(reader, found);
    size_t total = write_entries(reader, found);
    if (!found->count)
        return;
    char *room = arena_alloc(reader->arena, total + 1);
    if (!room || !buf_ok(&reader->text)) {
        reader->full = true;
        return;
    }
    qsort(found->entries, found->count, sizeof found->entries[0], compare_names);
    size_t len = 0;
    for (size_t i = 0; i < found->count; i++) {
        room[len++] = i ? ',' : '{';
        memcpy(room + len, reader->text.data + found->entries[i].offset, found->entries[i].bytes);
        len += found->entries[i].bytes;
    }
    room[len++] = '}';
    room[len] = '\0';
    reader->out->attribution = (struct slice){room, len};
    reader_note(reader, "attribution", "attribution", reader->out->attribution, "kept in the ledger");
}

void attribution_read(struct reader *reader)
{
    struct slice url = reader->out->url;
    /* A URL beyond what a contact may have is of an event that will die of it. */
    bool reads_url =
        reader->rules->attribution.from_url && slice_present(url) && url.len <= CONTACT_BYTES_MAX;
    if (!reads_url && !reader->field[EVENT_ATTRIBUTION])
        return;
    struct findings found;
    found.count = 0;
    found.own_count = 0;
    found.click_id = NOWHERE;
    found.source = NOWHERE;
    found.id = NOWHERE;
    read_own(reader, &found);
    if (reads_url)
        read_query(reader, &found);
    derive_source(reader, &found);
    derive_id(reader, &found);
    keep_object(reader, &found);
}
