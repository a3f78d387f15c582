/* The body of POST /v2/contacts, appended in a fixed order: the same signup always gives the same bytes.
 *
 * signup_date is the last field, so that the digest can leave it out where it came from the record: a
 * producer that repeats an event gets another timestamp and has still said the same. */
#include "body.h"

#include "digest.h"

#include <assert.h>

static void append_name(struct buf *out, const char *name)
{
    buf_append_str(out, ",\"");
    buf_append_str(out, name);
    buf_append_str(out, "\":");
}

static void append_text(struct buf *out, const char *name, struct slice text)
{
    if (!slice_present(text))
        return;
    append_name(out, name);
    buf_append_json_string(out, text);
}

static void append_flag(struct buf *out, const char *name, bool value)
{
    append_name(out, name);
    buf_append_str(out, value ? "true" : "false");
}

/* Everything but the date and the closing brace. The flags are always said: the API's defaults may change,
 * the signup may not. */
static void append_content(const struct signup *signup, bool guarded, struct buf *out)
{
    buf_append_str(out, "{\"phone_number\":");
    buf_append_json_string(out, signup->phone_number);
    append_text(out, "list_number", signup->list_number);
    append_flag(out, "use_journeys", signup->use_journeys);
    append_flag(out, "skip_journey_if_exists", guarded || signup->skip_journey_if_exists);
    append_flag(out, "override_custom_fields", signup->override_custom_fields);
    append_flag(out, "use_validation", signup->use_validation);
    if (signup->use_validation)
        append_flag(out, "force", signup->force);
    append_text(out, "ip_address", signup->ip_address);
    append_text(out, "url", signup->url);
    append_text(out, "ad_network_source", signup->ad_network_source);
    append_text(out, "ad_network_id", signup->ad_network_id);
    if (slice_present(signup->custom_fields)) {
        append_name(out, "custom_fields");
        buf_append_slice(out, signup->custom_fields);
    }
}

static void append_date(const struct signup *signup, struct buf *out)
{
    if (!signup->has_signup_date)
        return;
    char date[WALL_TEXT_BYTES];
    wall_format_utc(signup->signup_date, date);
    append_text(out, "signup_date", (struct slice){date, WALL_TEXT_BYTES - 1});
}

void signup_write_body(const struct signup *signup, bool guarded, struct buf *out)
{
    assert(slice_present(signup->phone_number) && slice_present(signup->list_number));
    append_content(signup, guarded, out);
    append_date(signup, out);
    buf_append_char(out, '}');
}

void body_build(struct reader *reader)
{
    struct signup *out = reader->out;
    struct buf *text = &reader->text;
    assert(out->death == DEATH_NONE);
    buf_reset(text);
    append_content(out, false, text);
    size_t content_bytes = text->len;
    append_date(out, text);
    buf_append_char(text, '}');
    if (buf_ok(text) && text->len > CONTACT_BYTES_MAX) {
        reader_die(reader, DEATH_PAYLOAD_TOO_LARGE,
                   "The contact has %zu bytes as sent to the API, which takes 4,000. Send fewer or shorter "
                   "custom_fields, or a shorter url.",
                   text->len);
        return;
    }
    out->body = reader_keep_text(reader);
    if (!slice_present(out->body))
        return;
    const struct slice parts[] = {
        {out->body.ptr, out->signup_date_from_event ? out->body.len : content_bytes},
        SLICE_LITERAL("\n"), /* which no JSON text of ours holds */
        out->consent,
    };
    digest_parts(parts, sizeof parts / sizeof parts[0], out->digest);
}
