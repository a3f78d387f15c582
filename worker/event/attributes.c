/* Attribution, consent evidence and custom fields of an event. */
#include "normalize.h"

#include "canonical.h"
#include "clean.h"
#include "scratch.h"
#include "signup/base/log.h"

/* An object of thousands of unusable members is one complaint, not thousands. */
#define MEMBER_WARNINGS_MAX 16
#define NAME_SHOWN_BYTES 96

static void warn_type(struct reader *reader, const json_t *value, const char *name, const char *wanted)
{
    reader_warn(reader, SIGNUP_WARNING_FIELD, "%s was dropped: it is %s, not %s", name,
                reader_type_str(value), wanted);
}

/* A text member that `clean` narrows to what the API takes. */
static void read_cleaned(struct reader *reader, enum event_field field, const char *wanted,
                         struct slice (*clean)(struct slice text), struct slice *out)
{
    const json_t *value = reader->field[field];
    const char *name = event_field_str(field);
    if (!value)
        return;
    if (!json_is_string(value)) {
        warn_type(reader, value, name, wanted);
        return;
    }
    struct slice cleaned = clean(reader_string(value));
    if (slice_present(cleaned))
        *out = reader_keep(reader, cleaned);
    else
        reader_warn(reader, SIGNUP_WARNING_FIELD, "%s was dropped: it is not %s", name, wanted);
}

/* A text member; a number is written as text, and blanks alone say nothing. */
static void read_text(struct reader *reader, enum event_field field, struct slice *out)
{
    json_t *value = reader->field[field];
    if (!value)
        return;
    if (json_is_string(value)) {
        if (clean_blanks(reader_string(value)).len)
            *out = reader_keep(reader, reader_string(value));
    } else if (json_is_number(value)) {
        buf_reset(&reader->text);
        canonical_append(&reader->text, value);
        *out = reader_keep_text(reader);
    } else {
        warn_type(reader, value, event_field_str(field), "text");
    }
}

static void read_consent(struct reader *reader)
{
    json_t *value = reader->field[EVENT_CONSENT];
    if (!value)
        return;
    if (!json_is_object(value)) {
        warn_type(reader, value, "consent", "an object");
        return;
    }
    buf_reset(&reader->text);
    canonical_append(&reader->text, value);
    reader->out->consent = reader_keep_text(reader);
}

static void warn_member(struct reader *reader, const struct canonical_member *member)
{
    char name[NAME_SHOWN_BYTES];
    text_mask_phones(slice_from_str(member->name), name, sizeof name);
    reader_warn(reader, SIGNUP_WARNING_FIELD,
                "custom_fields.%s was dropped: it is %s, and the API takes text, numbers, true and false",
                name, reader_type_str(member->value));
}

/* Appends the members that the API takes and gives the number of those that it does not (null is absent,
 * and neither). */
static size_t append_members(struct reader *reader, const struct canonical_member *members, size_t count)
{
    struct buf *text = &reader->text;
    size_t dropped = 0;
    bool first = true;
    buf_append_char(text, '{');
    for (size_t i = 0; i < count; i++) {
        json_t *value = members[i].value;
        if (json_is_null(value))
            continue;
        if (json_is_object(value) || json_is_array(value)) {
            if (++dropped <= MEMBER_WARNINGS_MAX)
                warn_member(reader, &members[i]);
            continue;
        }
        if (!first)
            buf_append_char(text, ',');
        first = false;
        buf_append_json_string(text, slice_from_str(members[i].name));
        buf_append_char(text, ':');
        canonical_append(text, value);
    }
    buf_append_char(text, '}');
    return dropped;
}

static void read_custom_fields(struct reader *reader)
{
    json_t *value = reader->field[EVENT_CUSTOM_FIELDS];
    if (!value)
        return;
    if (!json_is_object(value)) {
        warn_type(reader, value, "custom_fields", "an object");
        return;
    }
    size_t count;
    struct canonical_member *members = canonical_members(value, &count);
    if (count && !members) {
        reader->full = true;
        return;
    }
    buf_reset(&reader->text);
    size_t dropped = append_members(reader, members, count);
    scratch_free(members);
    if (dropped > MEMBER_WARNINGS_MAX)
        reader_warn(reader, SIGNUP_WARNING_FIELD,
                    "custom_fields: %zu more members were dropped for the same reason",
                    dropped - MEMBER_WARNINGS_MAX);
    /* An object of which nothing is left is not sent: with override_custom_fields it would wipe what the
     * contact has. */
    if (!dropped || reader->text.len > 2)
        reader->out->custom_fields = reader_keep_text(reader);
}

void normalize_attributes(struct reader *reader)
{
    struct signup *out = reader->out;
    read_cleaned(reader, EVENT_IP_ADDRESS, "an IPv4 or IPv6 address", clean_ip, &out->ip_address);
    read_cleaned(reader, EVENT_URL, "an absolute http or https URL", clean_url, &out->url);
    read_text(reader, EVENT_AD_NETWORK_SOURCE, &out->ad_network_source);
    read_text(reader, EVENT_AD_NETWORK_ID, &out->ad_network_id);
    read_custom_fields(reader);
    read_consent(reader);
}
