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

/* The whole body in reader->text; gives the bytes before the date. */
static size_t write_body(struct reader *reader)
{
    struct buf *text = &reader->text;
    buf_reset(text);
    append_content(reader->out, false, text);
    size_t content_bytes = text->len;
    append_date(reader->out, text);
    buf_append_char(text, '}');
    return content_bytes;
}

void body_build(struct reader *reader, struct custom_fields *fields)
{
    struct signup *out = reader->out;
    const struct buf *text = &reader->text;
    assert(out->death == DEATH_NONE);
    size_t content_bytes = write_body(reader);
    size_t bytes = text->len;
    if (buf_ok(text) && bytes > CONTACT_BYTES_MAX && reader->rules->overflow == EVENT_OVERFLOW_DROP_LARGEST &&
        custom_fields_drop_largest(reader, fields, bytes - CONTACT_BYTES_MAX)) {
        content_bytes = write_body(reader);
        assert(!buf_ok(text) || reader->full || text->len <= CONTACT_BYTES_MAX);
    } else if (buf_ok(text) && bytes > CONTACT_BYTES_MAX) {
        reader_die(reader, DEATH_PAYLOAD_TOO_LARGE,
                   "The contact has %zu bytes as sent to the API, which takes 4,000. Send fewer or shorter "
                   "custom_fields, or a shorter url.",
                   bytes);
        return;
    }
    out->body = reader_keep_text(reader);
    if (!slice_present(out->body))
        return;
    reader_note(reader, "request", "", out->body, "POST /v2/contacts");
    /* What the API is told, and the evidence. Not `attribution`: the ledger keeps it of whatever event came
     * first, and a repetition whose page was reached by another click has told the API the same (the two
     * ad_network fields, which are in the body). */
    const struct slice parts[] = {
        {out->body.ptr, out->signup_date_from_event ? out->body.len : content_bytes},
        SLICE_LITERAL("\n"), /* which no JSON text of ours holds */
        out->consent,
    };
    digest_parts(parts, sizeof parts / sizeof parts[0], out->digest);
}
