/* The table of profiles, and the shapes that need no file of their own: plain JSON and Confluent's wire
 * format. */
#include "shape.h"

#include "decode.h"
#include "fields.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct shape_profile {
    json_t *(*decode)(struct reader *reader, struct slice bytes);
    void (*fill)(struct reader *reader, json_t *root); /* NULL: only what is mapped is read */
};

static json_t *plain(struct reader *reader, struct slice bytes)
{
    json_t *root = decode_json(reader, bytes);
    if (root)
        shape_note(reader, "JSON object of %zu members", json_object_size(root));
    return root;
}

static const struct shape_profile profiles[EVENT_PROFILE_COUNT] = {
    [EVENT_PROFILE_API] = {plain, fields_by_name},
    [EVENT_PROFILE_JSON] = {plain, NULL},
    [EVENT_PROFILE_CLOUDEVENTS] = {shape_cloudevents, shape_cloudevents_fill},
    [EVENT_PROFILE_CONFLUENT_JSON] = {shape_confluent, fields_by_name},
    [EVENT_PROFILE_META_LEAD_ADS] = {profile_meta, profile_meta_fill},
    [EVENT_PROFILE_GOOGLE_LEAD_FORM] = {profile_google, profile_google_fill},
    [EVENT_PROFILE_TIKTOK_LEAD] = {profile_tiktok, profile_tiktok_fill},
    [EVENT_PROFILE_FORM] = {form_decode, fields_by_name},
};

static const char *const profile_names[] = {
#define X(name, text) text,
    EVENT_PROFILES(X)
#undef X
};

const char *event_profile_str(enum event_profile profile)
{
    assert((unsigned)profile < EVENT_PROFILE_COUNT);
    return profile_names[profile];
}

bool event_profile_parse(struct slice name, enum event_profile *out)
{
    for (int i = 0; i < EVENT_PROFILE_COUNT; i++) {
        if (slice_is(name, profile_names[i])) {
            *out = (enum event_profile)i;
            return true;
        }
    }
    return false;
}

static const struct event_topic *find_shape(const struct reader *reader)
{
    const struct event_rules *rules = reader->rules;
    for (size_t i = 0; i < rules->shape_count; i++) {
        if (slice_equal(rules->shapes[i].topic, reader->record->topic))
            return &rules->shapes[i];
    }
    return NULL;
}

static enum event_profile profile_of(const struct reader *reader)
{
    return reader->shape ? reader->shape->profile : EVENT_PROFILE_API;
}

json_t *shape_decode(struct reader *reader, struct slice bytes)
{
    reader->shape = find_shape(reader);
    return profiles[profile_of(reader)].decode(reader, bytes);
}

void shape_fill(struct reader *reader, json_t *root)
{
    if (profiles[profile_of(reader)].fill)
        profiles[profile_of(reader)].fill(reader, root);
}

bool shape_reads_names(enum event_profile profile)
{
    return profile == EVENT_PROFILE_API || profile == EVENT_PROFILE_CLOUDEVENTS ||
           profile == EVENT_PROFILE_CONFLUENT_JSON || profile == EVENT_PROFILE_FORM;
}

/* Google shouts the names of its own questions (FULL_NAME): as custom fields they are spelled as the other
 * networks' ones. */
const char *shape_answer_name(enum event_profile profile, const char *name, char *space, size_t size)
{
    size_t len = strlen(name);
    if (profile != EVENT_PROFILE_GOOGLE_LEAD_FORM || len >= size)
        return name;
    for (size_t i = 0; i <= len; i++) {
        char c = name[i];
        bool shouted = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '\0';
        if (!shouted)
            return name;
        space[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    return space;
}

void shape_note(const struct reader *reader, const char *format, ...)
{
    char text[160];
    if (!reader->trace)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    reader_note(reader, "shape", "", slice_from_str(event_profile_str(profile_of(reader))), text);
}

/* A magic byte 0, the id of the schema in four bytes (big-endian), the JSON text. The serializers for JSON
 * Schema write nothing between: message indexes are Protobuf's.
 * https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/ */
#define FRAME_BYTES 5

json_t *shape_confluent(struct reader *reader, struct slice bytes)
{
    const unsigned char *at = (const unsigned char *)bytes.ptr;
    if (at[0] != 0) {
        bool json = at[0] == '{' || at[0] == '[' || at[0] == '"';
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The record does not begin with the magic byte 0 of Confluent's wire format: %s.",
                   json ? "it looks like JSON without a schema id. If the topic has plain JSON, set its "
                          "profile to api or json"
                        : "magic byte 0, four bytes of schema id and the JSON text are expected. Check what "
                          "the producer writes and the topic's profile");
        return NULL;
    }
    if (bytes.len <= FRAME_BYTES) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The record ends at byte %zu: a magic byte, four bytes of schema id and then a JSON text "
                   "are expected.",
                   bytes.len);
        return NULL;
    }
    int64_t id = (int64_t)at[1] << 24 | (int64_t)at[2] << 16 | (int64_t)at[3] << 8 | (int64_t)at[4];
    if (id > INT32_MAX) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The schema id behind the magic byte is negative, and the schema registry gives no such "
                   "id. Check what the producer writes and the topic's profile.");
        return NULL;
    }
    reader->out->schema_id = id;
    json_t *root = decode_json(reader, (struct slice){bytes.ptr + FRAME_BYTES, bytes.len - FRAME_BYTES});
    if (root)
        shape_note(reader, "schema id %" PRId64, id);
    return root;
}
