/* Leads of ad networks: flattened answers, and the fields that follow from them. */
#include "shape_lead.h"

#include "digest.h"
#include "expression.h"
#include "expression_text.h"
#include "fields.h"
#include "shape.h"

bool lead_begin(struct reader *reader, json_t *root)
{
    reader->answers = json_object();
    if (!reader->answers || json_object_set_new(root, "fields", reader->answers) != 0)
        reader->full = true;
    return !reader->full;
}

/* The scalars of a list, or one scalar, as text in the working text. */
static void gather(struct reader *reader, const json_t *value)
{
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    buf_reset(&reader->text);
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        size_t before = reader->text.len;
        if (before)
            buf_append_str(&reader->text, ", ");
        if (!one || expression_blank(one) || !expression_append_text(&reader->text, one))
            reader->text.len = before;
    }
}

void lead_answer(struct reader *reader, const json_t *name, json_t *value)
{
    if (!json_is_string(name) || !reader_string(name).len)
        return;
    gather(reader, value);
    if (!buf_ok(&reader->text)) {
        reader->full = true;
        return;
    }
    if (!text_trim(buf_slice(&reader->text)).len)
        return;
    json_t *answer = json_stringn_nocheck(reader->text.data, reader->text.len);
    if (json_object_set_new(reader->answers, json_string_value(name), answer) != 0)
        reader->full = true;
}

/* Text or a number; a blank and the id 0 say nothing. NULL: there is none. */
static json_t *scalar_member(const json_t *object, const char *name)
{
    json_t *value = reader_member(object, name);
    bool nothing = !value || expression_blank(value) || json_is_object(value) || json_is_array(value) ||
                   (json_is_integer(value) && json_integer_value(value) == 0);
    return nothing ? NULL : value;
}

/* The first of the members that says something; its name in `*name`. */
static json_t *first_member(const json_t *object, const char *const *names, const char **name)
{
    for (; *names; names++) {
        json_t *value = scalar_member(object, *names);
        if (!value)
            continue;
        *name = *names;
        return value;
    }
    return NULL;
}

/* "Phone number" is phone_number. */
static bool answer_is(const char *name, const char *wanted)
{
    for (; *name; name++, wanted++) {
        char c = *name;
        if (c == ' ' || c == '-')
            c = '_';
        else if (c >= 'A' && c <= 'Z')
            c = (char)(c + ('a' - 'A'));
        if (c != *wanted)
            return false;
    }
    return *wanted == '\0';
}

static void fill_phone(struct reader *reader, const struct lead_network *network)
{
    if (!field_free(reader, EVENT_PHONE_NUMBER))
        return;
    for (const char *const *wanted = network->phones; *wanted; wanted++) {
        for (void *at = json_object_iter(reader->answers); at;
             at = json_object_iter_next(reader->answers, at)) {
            if (!answer_is(json_object_iter_key(at), *wanted))
                continue;
            reader->phone_answer = json_object_iter_key(at);
            field_put(reader, EVENT_PHONE_NUMBER, json_object_iter_value(at),
                      fields_origin(reader, "profile %s: /fields/%s",
                                    event_profile_str(reader->shape->profile), reader->phone_answer));
            return;
        }
    }
}

/* "meta:4711"; by its digest where that is longer than an event_id may be. */
static json_t *identity(struct reader *reader, const char *prefix, const json_t *id)
{
    struct buf *text = &reader->text;
    buf_reset(text);
    buf_append_str(text, prefix);
    buf_append_char(text, ':');
    size_t start = text->len;
    if (!expression_append_text(text, id))
        return NULL;
    if (text->len > EVENT_ID_BYTES_MAX && buf_ok(text)) {
        uint8_t digest[SIGNUP_DIGEST_BYTES];
        const struct slice whole = {text->data + start, text->len - start};
        digest_parts(&whole, 1, digest);
        text->len = start;
        buf_append_str(text, "sha256-");
        for (size_t i = 0; i < sizeof digest; i++)
            buf_printf(text, "%02x", digest[i]);
    }
    if (!buf_ok(text)) {
        reader->full = true;
        return NULL;
    }
    return reader_own(reader, json_stringn_nocheck(text->data, text->len));
}

static void fill_attribution(struct reader *reader, const struct lead_network *network, json_t *lead,
                             const char *path)
{
    for (const struct lead_member *member = network->attribution; member->from; member++) {
        json_t *value = scalar_member(lead, member->from);
        if (!value || !member_free(reader, EVENT_ATTRIBUTION, member->to))
            continue;
        member_put(reader, EVENT_ATTRIBUTION, member->to, value,
                   fields_origin(reader, "profile %s: %s/%s", event_profile_str(reader->shape->profile), path,
                                 member->from));
    }
}

static void fill_member(struct reader *reader, enum event_field field, json_t *value, const char *path,
                        const char *name)
{
    if (value && field_free(reader, field))
        field_put(reader, field, value,
                  fields_origin(reader, "profile %s: %s/%s", event_profile_str(reader->shape->profile), path,
                                name));
}

void lead_fill(struct reader *reader, const struct lead_network *network, json_t *lead, const char *path)
{
    const char *name = "";
    bool attribution_free = !reader->field[EVENT_ATTRIBUTION];
    fill_phone(reader, network);
    json_t *id = first_member(lead, network->ids, &name);
    if (id && field_free(reader, EVENT_EVENT_ID))
        fill_member(reader, EVENT_EVENT_ID, identity(reader, network->prefix, id), path, name);
    fill_member(reader, EVENT_SIGNUP_DATE, scalar_member(lead, network->date), path, network->date);
    json_t *ad = first_member(lead, network->ad_ids, &name);
    fill_member(reader, EVENT_AD_NETWORK_ID, ad, path, name);
    if (field_free(reader, EVENT_AD_NETWORK_SOURCE))
        field_put(reader, EVENT_AD_NETWORK_SOURCE, reader_own(reader, json_string(network->source)),
                  fields_origin(reader, "profile %s", event_profile_str(reader->shape->profile)));
    if (attribution_free)
        fill_attribution(reader, network, lead, path);
}
