/* Any bytes as a record's value: the reading ends in a death with its reasons or in a body that the API
 * takes and that, read as an event again, says the same; and memory that runs out half way changes nothing
 * of that. */
#include "fuzz.h"

#include "body_check.h"
#include "signup/event/phone.h"
#include "signup/event/signup.h"

#include <string.h>

#define NOW_S INT64_C(1780272000) /* 2026-06-01T00:00:00Z */
#define ARENA_BYTES ((size_t)16 << 20)

static const char *const topics[] = {"signups"};

static void read_with(struct slice value, unsigned variant, struct arena *arena, struct signup *out)
{
    const struct event_rules rules = {
        .country = variant & 1 ? "GB" : "US",
        .list_number = variant & 2 ? SLICE_LITERAL("+18335550100") : SLICE_ABSENT,
        .use_journeys = variant & 4,
        .skip_journey_if_exists = variant & 8,
        .validation = variant & 16 ? EVENT_VALIDATION_INLINE : EVENT_VALIDATION_OFF,
        .topics = topics,
        .topic_count = 1,
    };
    const struct record record = {
        .topic = SLICE_LITERAL("signups"),
        .partition = 1,
        .offset = 2,
        .timestamp_ms = variant & 32 ? -1 : (NOW_S - 60) * 1000,
        .value = value,
    };
    signup_read(&rules, &record, (wall_us_t){NOW_S * US_PER_S}, arena, out);
}

static void check_warnings(const struct signup *signup)
{
    for (const struct warning *w = signup->warnings; w; w = w->next) {
        REQUIRE(w->source == WARNING_WORKER && w->code.len > 0 && w->message.len > 0 && w->message.len < 320);
        json_t *text = json_stringn(w->message.ptr, w->message.len);
        REQUIRE(text); /* valid UTF-8 */
        json_decref(text);
    }
}

static void check_signup(const struct signup *signup)
{
    REQUIRE(slice_is(signup->position, "signups:1:2"));
    REQUIRE(signup->event_id.len > 0 && signup->event_id.len <= EVENT_ID_BYTES_MAX);
    REQUIRE(!signup->id_from_position == !slice_equal(signup->event_id, signup->position));
    REQUIRE(!signup->force || signup->use_validation);
    if (slice_present(signup->consent)) {
        json_error_t error;
        json_t *consent = json_loadb(signup->consent.ptr, signup->consent.len, JSON_REJECT_DUPLICATES,
                                    &error);
        REQUIRE(json_is_object(consent));
        json_decref(consent);
    }
    check_warnings(signup);
    if (signup->death != DEATH_NONE) {
        REQUIRE(slice_present(signup->death_message) && signup->death_message.len < 320);
        REQUIRE(!slice_present(signup->body));
        return;
    }
    char room[64];
    const char *complaint = body_check(signup->body, room);
    if (complaint)
        fprintf(stderr, "the API would not take: %s\n", complaint);
    REQUIRE(!complaint);
}

/* A number once normalized may still change when it is normalized again (the library cuts some national
 * prefixes each time): only bodies whose numbers are stable are compared. */
static bool numbers_stable(const struct signup *signup, const char *country)
{
    char out[PHONE_E164_BYTES];
    return phone_to_e164(signup->phone_number, country, out) && slice_is(signup->phone_number, out) &&
           phone_to_e164(signup->list_number, country, out) && slice_is(signup->list_number, out);
}

static void check_again(const struct signup *signup, unsigned variant)
{
    struct arena arena;
    struct signup again;
    arena_init(&arena, ARENA_BYTES);
    read_with(signup->body, variant, &arena, &again);
    if (numbers_stable(signup, variant & 1 ? "GB" : "US")) {
        REQUIRE(again.death == DEATH_NONE && !again.warnings);
        REQUIRE(slice_equal(again.body, signup->body));
    }
    arena_fini(&arena);
}

/* The same event in an arena that is too small for it, or just not. */
static void check_small_arena(struct slice value, unsigned variant, const struct signup *wanted,
                              size_t held_bytes)
{
    struct arena arena;
    struct signup small;
    size_t least = 512; /* its position has room */
    arena_init(&arena, least + held_bytes * (variant % 7) / 6);
    read_with(value, variant, &arena, &small);
    check_signup(&small);
    REQUIRE(small.death == DEATH_EVENT_TOO_LARGE || small.death == wanted->death);
    if (small.death == DEATH_NONE)
        REQUIRE(slice_equal(small.body, wanted->body));
    arena_fini(&arena);
}

/* Nothing but digits, a plus before them: nothing to clean, and not dialled from abroad. */
static bool is_bare_number(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if ((text.ptr[i] < '0' || text.ptr[i] > '9') && (i || text.ptr[i] != '+'))
            return false;
    }
    size_t start = text.len && text.ptr[0] == '+' ? 1 : 0;
    return text.len > start + 3 && memcmp(text.ptr + start, "00", 2) != 0 && memcmp(text.ptr + start, "011", 3) != 0;
}

static void check_phone(struct slice text)
{
    static const char *const countries[] = {"US", "CA", "GB", "MX", "DE", "XX"};
    for (size_t i = 0; i < sizeof countries / sizeof countries[0]; i++) {
        char ours[PHONE_E164_BYTES];
        char library[PHONE_E164_BYTES];
        char again[PHONE_E164_BYTES];
        char country[3];
        bool extension;
        size_t len = phone_read(text, countries[i], ours, &extension);
        REQUIRE(len == phone_to_e164(text, countries[i], again));
        REQUIRE(!len || (ours[0] == '+' && len >= 4 && len <= 16 && strlen(ours) == len &&
                         strspn(ours + 1, "0123456789") == len - 1));
        REQUIRE(len || !extension);
        if (is_bare_number(text)) {
            REQUIRE(len == phone_to_e164_by_library(text, countries[i], library));
            REQUIRE(!len || strcmp(ours, library) == 0);
        }
        if (len && phone_country((struct slice){ours, len}, country))
            REQUIRE(strlen(country) == 2);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice value = {(const char *)data, size};
    struct arena arena;
    struct signup signup;
    unsigned variant = 0;
    for (size_t i = 0; i < size; i++)
        variant = variant * 31 + data[i];
    variant = (variant ^ (variant >> 16)) & 0xFF;
    arena_init(&arena, ARENA_BYTES);
    read_with(value, variant, &arena, &signup);
    check_signup(&signup);
    if (signup.death == DEATH_NONE)
        check_again(&signup, variant);
    check_small_arena(value, variant, &signup, arena.held_bytes);
    arena_fini(&arena);
    if (size <= 40)
        check_phone(value);
    return 0;
}
