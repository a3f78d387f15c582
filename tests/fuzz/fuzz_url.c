/* Landing pages' URLs: a first line is a pattern of a route, the rest a URL. Queries, decoding and patterns
 * alone; and an event of that URL under rules that attribute and route by it: its request is one that the API
 * takes and reads as the same event again, and the ledger's attribution is a flat object within its bound. */
#include "fuzz.h"

#include "attribution.h"
#include "body_check.h"
#include "clean.h"
#include "signup/event/signup.h"
#include "url.h"

#include <string.h>

#define NOW_S INT64_C(1780272000) /* 2026-06-01T00:00:00Z */
#define ARENA_BYTES ((size_t)16 << 20)
#define TEXT_BYTES ((size_t)1 << 20)
#define PATTERN_MAX 64
#define ADDRESS_MAX 512

static const struct event_click_id click_ids[] = {{SLICE_LITERAL("gclid"), SLICE_LITERAL("adwords")},
                                                  {SLICE_LITERAL("fbclid"), SLICE_LITERAL("facebook")},
                                                  {SLICE_LITERAL("ScCid"), SLICE_LITERAL("snapchat")}};
static const struct slice sources[] = {SLICE_LITERAL("utm_source"), SLICE_LITERAL("s")};
static const struct slice ids[] = {SLICE_LITERAL("utm_id"), SLICE_LITERAL("i")};
static const struct slice social[] = {SLICE_LITERAL("facebook")};

/* ---- queries */

static void check_query(struct slice url)
{
    struct slice rest = url_query(url);
    struct slice name;
    struct slice value;
    size_t bytes = rest.len;
    if (!slice_present(rest))
        return;
    REQUIRE(!memchr(rest.ptr, '#', rest.len));
    while (url_next_parameter(&rest, &name, &value)) {
        REQUIRE(rest.len < bytes); /* it comes to an end */
        bytes = rest.len;
        REQUIRE(name.len + value.len <= url.len && !memchr(name.ptr, '=', name.len) &&
                !memchr(value.ptr, '&', value.len));
        char *decoded = malloc(value.len ? value.len : 1);
        REQUIRE(decoded);
        size_t len = url_decode(value, decoded);
        REQUIRE(len <= value.len);
        REQUIRE(url_is_encoded(value) || (len == value.len && memcmp(decoded, value.ptr, len) == 0));
        free(decoded);
    }
}

/* ---- patterns */

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

/* matched[i]: the pattern so far stands for the first i bytes of the text. */
static bool plain_glob(struct slice pattern, struct slice text, size_t folded)
{
    bool matched[ADDRESS_MAX + 1] = {true};
    for (size_t p = 0; p < pattern.len; p++) {
        bool star = pattern.ptr[p] == '*';
        bool before = matched[0];
        matched[0] = before && star;
        for (size_t t = 0; t < text.len; t++) {
            bool same =
                pattern.ptr[p] == text.ptr[t] || (t < folded && lower(pattern.ptr[p]) == lower(text.ptr[t]));
            bool now = star ? matched[t] || matched[t + 1] : before && same;
            before = matched[t + 1];
            matched[t + 1] = now;
        }
    }
    return matched[text.len];
}

static void check_pattern(struct slice pattern, struct slice url)
{
    struct buf address;
    buf_init(&address, TEXT_BYTES);
    url_append_address(&address, url);
    REQUIRE(buf_ok(&address) && address.len > 1);
    struct slice text = buf_slice(&address);
    const char *slash = memchr(text.ptr, '/', text.len);
    REQUIRE(slash && slash > text.ptr && !memchr(text.ptr, '?', text.len) &&
            !memchr(text.ptr, '#', text.len));
    bool matches = url_matches(pattern, text);
    bool plain =
        pattern.len <= PATTERN_MAX && text.len <= ADDRESS_MAX && memchr(pattern.ptr, '/', pattern.len);
    for (size_t i = 0; plain && i < pattern.len;
         i++) /* what is left out of a pattern is not for the plain one */
        plain =
            !strchr("?#:", pattern.ptr[i]) && (i == 0 || pattern.ptr[i] != '/' || pattern.ptr[i - 1] != '/');
    if (plain)
        REQUIRE(matches == plain_glob(pattern, text, (size_t)(slash - text.ptr)));
    REQUIRE(url_matches(SLICE_LITERAL("*"), text));
    buf_fini(&address);
}

/* ---- events */

static void read_with(struct slice event, struct slice pattern, struct arena *arena, struct signup *out)
{
    const struct event_route routes[] = {
        {.name = SLICE_LITERAL("page"),
         .urls = &pattern,
         .url_count = 1,
         .use_journeys = EVENT_FLAG_FALSE,
         .skip_journey_if_exists = EVENT_FLAG_UNSET,
         .validation = EVENT_VALIDATION_INLINE},
        {.name = SLICE_LITERAL("social"),
         .ad_network_sources = social,
         .ad_network_source_count = 1,
         .use_journeys = EVENT_FLAG_UNSET,
         .skip_journey_if_exists = EVENT_FLAG_FALSE,
         .validation = EVENT_VALIDATION_UNSET},
    };
    const struct event_rules rules = {
        .country = "US",
        .list_number = SLICE_LITERAL("+18335550100"),
        .attribution = {true, click_ids, 3, sources, 2, ids, 2},
        .routes = routes,
        .route_count = 2,
    };
    const struct record record = {.topic = SLICE_LITERAL("signups"), .timestamp_ms = -1, .value = event};
    signup_read(&rules, &record, (wall_us_t){NOW_S * US_PER_S}, arena, out);
}

static void check_attribution(struct slice attribution)
{
    json_error_t error;
    const char *name;
    json_t *value;
    if (!slice_present(attribution))
        return;
    REQUIRE(attribution.len <= ATTRIBUTION_BYTES_MAX);
    json_t *object = json_loadb(attribution.ptr, attribution.len, JSON_REJECT_DUPLICATES, &error);
    REQUIRE(json_is_object(object) && json_object_size(object) > 0);
    json_object_foreach(object, name, value)
    {
        REQUIRE(json_is_string(value) && json_string_length(value) > 0);
        REQUIRE(json_string_length(value) <= ATTRIBUTION_VALUE_BYTES_MAX &&
                strlen(name) <= ATTRIBUTION_NAME_BYTES_MAX);
    }
    json_decref(object);
}

static void check_event(struct slice url, struct slice pattern)
{
    struct buf event;
    struct arena arena;
    struct signup signup;
    struct signup again;
    char room[64];
    buf_init(&event, TEXT_BYTES);
    buf_append_str(&event, "{\"phone_number\":\"+14155551234\",\"url\":");
    buf_append_json_string(&event, url);
    buf_append_char(&event, '}');
    REQUIRE(buf_ok(&event));
    arena_init(&arena, ARENA_BYTES);
    read_with(buf_slice(&event), pattern, &arena, &signup);
    check_attribution(signup.attribution);
    if (signup.death == DEATH_NONE) {
        const char *complaint = body_check(signup.body, room);
        if (complaint)
            fprintf(stderr, "the API would not take: %s\n", complaint);
        REQUIRE(!complaint);
        read_with(signup.body, pattern, &arena, &again);
        REQUIRE(again.death == DEATH_NONE && slice_equal(again.body, signup.body));
        REQUIRE(slice_equal(again.route, signup.route) && slice_equal(again.attribution, signup.attribution));
    } else {
        REQUIRE(signup.death == DEATH_PAYLOAD_TOO_LARGE || signup.death == DEATH_MALFORMED_JSON ||
                signup.death == DEATH_EVENT_TOO_LARGE);
    }
    arena_fini(&arena);
    buf_fini(&event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice rest = {(const char *)data, size};
    struct slice pattern = fuzz_take_part(&rest, '\n');
    if (pattern.len > 1000 || memchr(pattern.ptr, '\0', pattern.len))
        return 0;
    struct slice url = clean_url(rest);
    if (slice_present(url)) {
        check_query(url);
        check_pattern(pattern, url);
    }
    if (fuzz_is_utf8(rest) && !memchr(rest.ptr, '\0', rest.len))
        check_event(rest, pattern);
    return 0;
}
