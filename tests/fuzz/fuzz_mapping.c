/* Any bytes under any profile and mapping, with any headers: the reading ends in a death with its reasons or
 * in a body that the API takes; who listens to the trace changes nothing; memory that runs out half way
 * changes nothing of that; and a secret of Google's webhook comes out nowhere.
 *
 * An input is one line of JSON with the mapping (tests/unit/event/shape_mapping.h), then the record's value;
 * without a line break it is a value for every profile, mapped by the one below. */
#include "fuzz.h"

#include "body_check.h"
#include "expression_text.h"
#include "shape_mapping.h"
#include "signup/event/signup.h"

#define NOW_S INT64_C(1780272000) /* 2026-06-01T00:00:00Z */
#define ARENA_BYTES ((size_t)16 << 20)
#define SECRET "hunter2-google-key"

static const char *const topics[] = {"signups"};

static const char ordinary[] = "{\"fields\":{\"list_number\":{\"constant\":\"8335550100\"},\"custom_fields."
                               "x\":{\"first_of\":[\"/a/0\",\"/b\",\"/fields/a\"]},"
                               "\"custom_fields.l\":{\"lowercase\":\"/"
                               "b\"},\"custom_fields.f\":{\"split_name\":\"/b\",\"part\":\"first\"},"
                               "\"consent.all\":\"\",\"event_id\":{\"join\":[\"/id\",\"/"
                               "b\"],\"with\":\"-\"}},\"unmapped\":\"custom_fields\"}";

struct subject {
    struct event_topic topic;
    struct record record;
    bool knows_secret; /* the mapping may say it by itself */
};

struct hearing {
    size_t notes;
    bool secret;
};

static bool has_secret(struct slice text)
{
    return slice_present(text) && memmem(text.ptr, text.len, SECRET, sizeof SECRET - 1);
}

static void hear(void *ctx, const char *step, const char *field, struct slice value, const char *origin)
{
    struct hearing *hearing = ctx;
    REQUIRE(step[0] && field && origin && strlen(origin) < 4096);
    REQUIRE(!slice_present(value) || fuzz_is_utf8(value));
    hearing->secret = hearing->secret || has_secret(value);
    hearing->notes++;
}

static void read_subject(const struct subject *subject, const struct event_trace *trace, struct arena *arena,
                         struct signup *out)
{
    const struct event_rules rules = {
        .country = "US",
        .list_number = SLICE_LITERAL("+18335550100"),
        .use_journeys = true,
        .topics = topics,
        .topic_count = 1,
        .shapes = &subject->topic,
        .shape_count = 1,
    };
    signup_read_traced(&rules, &subject->record, (wall_us_t){NOW_S * US_PER_S}, arena, trace, out);
}

static void check_object(struct slice text)
{
    json_error_t error;
    if (!slice_present(text))
        return;
    json_t *object = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
    /* A tree that was as deep as the parser goes may have become a member of another one. */
    REQUIRE(json_is_object(object) || json_error_code(&error) == json_error_stack_overflow);
    json_decref(object);
}

static void check_signup(const struct signup *signup)
{
    REQUIRE(signup->event_id.len > 0 && signup->event_id.len <= EVENT_ID_BYTES_MAX);
    REQUIRE(signup->schema_id >= -1 && signup->schema_id <= INT32_MAX);
    check_object(signup->consent);
    check_object(signup->attribution);
    for (const struct warning *w = signup->warnings; w; w = w->next)
        REQUIRE(w->source == WARNING_WORKER && w->code.len && w->message.len && w->message.len < 320 &&
                fuzz_is_utf8(w->message));
    if (signup->death != DEATH_NONE) {
        REQUIRE(slice_present(signup->death_message) && signup->death_message.len < 320 &&
                !slice_present(signup->body));
        REQUIRE(fuzz_is_utf8(signup->death_message) && fuzz_longest_number(signup->death_message) < 7);
        return;
    }
    char room[64];
    const char *complaint = body_check(signup->body, room);
    if (complaint)
        fprintf(stderr, "the API would not take: %s\n", complaint);
    REQUIRE(!complaint);
}

static void check_same(const struct signup *a, const struct signup *b)
{
    REQUIRE(a->death == b->death && slice_equal(a->body, b->body) && slice_equal(a->event_id, b->event_id));
    REQUIRE(slice_equal(a->consent, b->consent) && a->schema_id == b->schema_id);
    REQUIRE(memcmp(a->digest, b->digest, sizeof a->digest) == 0);
}

/* Whether the only place of the secret is the root's google_key. */
static bool secret_in_key_alone(struct slice value)
{
    json_t *root = json_loadb(value.ptr, value.len, 0, NULL);
    const char *key = json_string_value(json_object_get(root, "google_key"));
    bool alone = key && strcmp(key, SECRET) == 0 && json_object_del(root, "google_key") == 0;
    char *rest = alone ? json_dumps(root, 0) : NULL;
    alone = rest && !strstr(rest, SECRET);
    free(rest);
    json_decref(root);
    return alone;
}

static void check_secret(const struct subject *subject, const struct signup *signup,
                         const struct hearing *hearing)
{
    if (subject->topic.profile != EVENT_PROFILE_GOOGLE_LEAD_FORM || subject->knows_secret ||
        !secret_in_key_alone(subject->record.value))
        return;
    REQUIRE(!has_secret(signup->body) && !has_secret(signup->consent) && !has_secret(signup->attribution) &&
            !hearing->secret);
    REQUIRE(!has_secret(signup->event_id) && !has_secret(signup->death_message));
}

static void check_subject(const struct subject *subject)
{
    struct arena arena;
    struct arena other;
    struct signup signup;
    struct signup traced;
    struct hearing hearing = {0};
    const struct event_trace trace = {hear, &hearing};
    arena_init(&arena, ARENA_BYTES);
    read_subject(subject, NULL, &arena, &signup);
    check_signup(&signup);
    arena_init(&other, ARENA_BYTES);
    read_subject(subject, &trace, &other, &traced);
    if (traced.death != DEATH_EVENT_TOO_LARGE) /* what the listener is told takes memory, too */
        check_same(&signup, &traced);
    REQUIRE(hearing.notes > 0);
    check_secret(subject, &signup, &hearing);
    arena_fini(&other);

    unsigned sixth = (unsigned)(subject->record.value.len % 7);
    arena_init(&other, 512 + arena.held_bytes * sixth / 6);
    read_subject(subject, NULL, &other, &traced);
    check_signup(&traced);
    if (traced.death != DEATH_EVENT_TOO_LARGE)
        check_same(&signup, &traced);
    arena_fini(&other);
    arena_fini(&arena);
}

/* False: `text` is no mapping. */
static bool read_mapping(struct slice text, struct arena *arena, struct subject *subject)
{
    json_error_t error;
    json_t *parsed = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, &error);
    bool well = parsed && shape_topic(arena, parsed, &subject->topic) &&
                shape_headers(arena, parsed, &subject->record);
    json_decref(parsed);
    subject->topic.topic = SLICE_LITERAL("signups");
    subject->knows_secret = has_secret(text) || memchr(text.ptr, '\\', text.len);
    return well;
}

static void check_texts(struct slice text)
{
    struct buf out;
    REQUIRE(text_is_utf8(text) == (fuzz_is_utf8(text) && !(text.len && memchr(text.ptr, '\0', text.len))));
    struct slice trimmed = text_trim(text);
    REQUIRE(trimmed.len <= text.len);
    if (!fuzz_is_utf8(text))
        return;
    buf_init(&out, ARENA_BYTES);
    text_append_lower(&out, text);
    REQUIRE(buf_ok(&out) && fuzz_is_utf8(buf_slice(&out)));
    for (int last = 0; last < 2; last++) {
        buf_reset(&out);
        text_append_name(&out, text, last);
        REQUIRE(buf_ok(&out) && out.len <= text.len && fuzz_is_utf8(buf_slice(&out)));
        REQUIRE(text_trim(buf_slice(&out)).len == out.len);
    }
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice value = {(const char *)data, size};
    struct slice line = fuzz_take_part(&value, '\n');
    struct arena arena;
    struct subject subject = {.record = {.topic = SLICE_LITERAL("signups"),
                                         .partition = 1,
                                         .offset = 2,
                                         .timestamp_ms = (NOW_S - 60) * 1000}};
    event_prepare();
    arena_init(&arena, ARENA_BYTES);
    check_texts(line);
    if (line.len < size && read_mapping(line, &arena, &subject)) {
        subject.record.value = value;
        check_subject(&subject);
    } else if (line.len == size) {
        REQUIRE(read_mapping(slice_from_str(ordinary), &arena, &subject));
        subject.record.value = line;
        for (int profile = 0; profile < EVENT_PROFILE_COUNT; profile++) {
            subject.topic.profile = (enum event_profile)profile;
            check_subject(&subject);
        }
    }
    arena_fini(&arena);
    return 0;
}
