/* CloudEvents 1.0 from Kafka
 * (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md):
 * structured mode, where the value is the envelope, and binary mode, where the headers are. The tree is the
 * event's data either way. */
#include "shape.h"

#include "decode.h"
#include "digest.h"
#include "expression.h"
#include "expression_text.h"
#include "fields.h"
#include "scratch.h"
#include "shape_base64.h"

#include <stdio.h>
#include <strings.h>

/* ---- content types: case-insensitive, parameters ignored (RFC 9110 section 8.3.1) */

static struct slice media_type(struct slice text)
{
    const char *end = text.len ? memchr(text.ptr, ';', text.len) : NULL;
    if (end)
        text.len = (size_t)(end - text.ptr);
    return text_trim(text);
}

static bool begins_with(struct slice text, const char *start)
{
    size_t len = strlen(start);
    return text.len >= len && strncasecmp(text.ptr, start, len) == 0;
}

static bool type_is(struct slice type, const char *wanted)
{
    return type.len == strlen(wanted) && begins_with(type, wanted);
}

static bool is_json_type(struct slice type)
{
    static const char suffix[] = "+json";
    size_t len = sizeof suffix - 1;
    return type_is(type, "application/json") || type_is(type, "text/json") ||
           (type.len > len && strncasecmp(type.ptr + type.len - len, suffix, len) == 0);
}

/* ---- attributes */

static json_t *attribute(struct reader *reader, const char *name)
{
    char header[32];
    snprintf(header, sizeof header, "ce_%s", name);
    return expression_header(reader, slice_from_str(header));
}

static bool is_version_1(const json_t *version)
{
    return json_is_string(version) && begins_with(reader_string(version), "1.");
}

/* What every event of version 1 has (section "required attributes" of the specification). */
static bool check_attributes(struct reader *reader)
{
    static const char *const required[] = {"id", "source", "type"};
    if (!is_version_1(attribute(reader, "specversion"))) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The record is a CloudEvent of a version that is not 1.x. Send it as one of version 1.0.");
        return false;
    }
    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++) {
        const json_t *value = attribute(reader, required[i]);
        if (json_is_string(value) && !expression_blank(value))
            continue;
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The CloudEvent has no %s, or one that is not text. Every CloudEvent has specversion, id, "
                   "source and type.",
                   required[i]);
        return false;
    }
    return true;
}

static json_t *die_of_type(struct reader *reader)
{
    reader_die(reader, DEATH_MALFORMED_PAYLOAD,
               "The CloudEvent's content type says that its data is not JSON. Send the signup as a JSON "
               "object, with the content type application/json.");
    return NULL;
}

/* ---- structured mode */

static json_t *data_of_base64(struct reader *reader, const json_t *text)
{
    bool full = false;
    struct slice bytes = json_is_string(text) ? shape_base64(reader_string(text), &full) : SLICE_ABSENT;
    if (full) {
        reader->full = true;
        return NULL;
    }
    if (!slice_present(bytes)) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The CloudEvent's data_base64 is not base64 (RFC 4648, with its padding). Send the data "
                   "as JSON in data, or in proper base64.");
        return NULL;
    }
    json_t *root = decode_json(reader, bytes);
    scratch_free((char *)bytes.ptr);
    return root;
}

static json_t *structured_data(struct reader *reader)
{
    const json_t *type = attribute(reader, "datacontenttype");
    json_t *data = reader_member(reader->envelope, "data");
    const json_t *base64 = reader_member(reader->envelope, "data_base64");
    if (type && (!json_is_string(type) || !is_json_type(media_type(reader_string(type)))))
        return die_of_type(reader);
    if (!data == !base64) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The CloudEvent has %s data and data_base64. The signup is a JSON object in one of them.",
                   data ? "both" : "neither");
        return NULL;
    }
    if (base64)
        return data_of_base64(reader, base64);
    if (!json_is_object(data)) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The CloudEvent's data is %s. Send the signup as a JSON object in data.",
                   reader_type_str(data));
        return NULL;
    }
    return json_incref(data); /* the envelope has one of its own */
}

static json_t *structured(struct reader *reader, struct slice bytes)
{
    json_t *envelope = decode_json(reader, bytes);
    if (!envelope)
        return NULL;
    reader->envelope = reader_own(reader, envelope);
    if (!reader->envelope)
        return NULL;
    if (!attribute(reader, "specversion")) {
        reader_die(
            reader, DEATH_MALFORMED_PAYLOAD,
            "The record is no CloudEvent: it has neither a member specversion (structured mode) nor a header "
            "ce_specversion (binary mode). If the topic has plain JSON, set its profile to api or json.");
        return NULL;
    }
    json_t *data = check_attributes(reader) ? structured_data(reader) : NULL;
    if (data)
        shape_note(reader, "structured mode");
    return data;
}

/* ---- either */

static json_t *binary(struct reader *reader, struct slice type, struct slice bytes)
{
    if (slice_present(type) && !is_json_type(type))
        return die_of_type(reader);
    json_t *data = check_attributes(reader) ? decode_json(reader, bytes) : NULL;
    if (data)
        shape_note(reader, "binary mode");
    return data;
}

json_t *shape_cloudevents(struct reader *reader, struct slice bytes)
{
    struct slice header = record_header_value(reader->record, "content-type");
    struct slice type = slice_present(header) ? media_type(header) : SLICE_ABSENT;
    if (slice_present(type) && begins_with(type, "application/cloudevents")) {
        if (type_is(type, "application/cloudevents+json"))
            return structured(reader, bytes);
        reader_die(
            reader, DEATH_MALFORMED_PAYLOAD,
            "The record is a %s of CloudEvents. Send each event in a record of its own, in the JSON format "
            "(application/cloudevents+json) or in binary mode.",
            begins_with(type, "application/cloudevents-batch") ? "batch" : "format other than JSON");
        return NULL;
    }
    if (slice_present(record_header_value(reader->record, "ce_specversion")))
        return binary(reader, type, bytes);
    return structured(reader, bytes); /* or nothing, which its check tells */
}

/* ---- what the envelope says where the data does not */

/* Source and id together name an event (specification, "id"). A source is a URI reference and has no "|":
 * what stands before and behind the first one is certain. What is longer than an event_id may be, or
 * ambiguous, is named by its digest. */
static json_t *identity(struct reader *reader)
{
    const json_t *source = attribute(reader, "source");
    const json_t *id = attribute(reader, "id");
    if (!source || !id)
        return NULL; /* memory ran out: they were there when the frame was checked */
    const struct slice parts[] = {reader_string(source), SLICE_LITERAL("|"), reader_string(id)};
    buf_reset(&reader->text);
    if (parts[0].len + 1 + parts[2].len <= EVENT_ID_BYTES_MAX && !memchr(parts[0].ptr, '|', parts[0].len)) {
        for (size_t i = 0; i < 3; i++)
            buf_append_slice(&reader->text, parts[i]);
    } else {
        uint8_t digest[SIGNUP_DIGEST_BYTES];
        const struct slice hashed[] = {parts[0], {"", 1}, parts[2]}; /* a NUL, which neither has */
        digest_parts(hashed, 3, digest);
        buf_append_str(&reader->text, "cloudevents:");
        for (size_t i = 0; i < sizeof digest; i++)
            buf_printf(&reader->text, "%02x", digest[i]);
    }
    if (!buf_ok(&reader->text)) {
        reader->full = true;
        return NULL;
    }
    return reader_own(reader, json_stringn(reader->text.data, reader->text.len));
}

void shape_cloudevents_fill(struct reader *reader, json_t *root)
{
    fields_by_name(reader, root);
    if (field_free(reader, EVENT_EVENT_ID))
        field_put(reader, EVENT_EVENT_ID, identity(reader),
                  fields_origin(reader, "profile cloudevents: source and id"));
    if (field_free(reader, EVENT_SIGNUP_DATE))
        field_put(reader, EVENT_SIGNUP_DATE, attribute(reader, "time"),
                  fields_origin(reader, "profile cloudevents: time"));
}
