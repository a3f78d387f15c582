/* Page, address, attribution and consent evidence of an event. */
#include "normalize.h"

#include "attribution.h"
#include "canonical.h"
#include "clean.h"

static void warn_type(struct reader *reader, const json_t *value, const char *name, const char *wanted)
{
    reader_note(reader, "dropped", name, SLICE_ABSENT, "of a wrong type");
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
    if (slice_present(cleaned)) {
        *out = reader_keep(reader, cleaned);
        return;
    }
    reader_note(reader, "dropped", name, reader_string(value), wanted);
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

void normalize_attributes(struct reader *reader)
{
    struct signup *out = reader->out;
    read_cleaned(reader, EVENT_IP_ADDRESS, "an IPv4 or IPv6 address", clean_ip, &out->ip_address);
    read_cleaned(reader, EVENT_URL, "an absolute http or https URL", clean_url, &out->url);
    read_text(reader, EVENT_AD_NETWORK_SOURCE, &out->ad_network_source);
    read_text(reader, EVENT_AD_NETWORK_ID, &out->ad_network_id);
    read_consent(reader);
    attribution_read(reader);
}
