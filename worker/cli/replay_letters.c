/* Letters read from the dead-letter topic: filtered as they come, put into the order in which they are to go
 * once all are known.
 *
 * Order: letters lie in the order of their publishing, which need not be that of the source; and what comes
 * last may be what has to go first. So nothing goes before everything is read. Facts stay in memory; keys,
 * values, headers and messages, which may be many times as much, are spooled. */
#include "replay_letters.h"

#include "replay_spool.h"

#include "signup/base/clock.h"
#include "signup/ops/term.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define KAFKA_TIMEOUT_MS 15000
#define READING_BYTES ((size_t)64 << 20) /* of one letter while it is read */

struct letter {
    struct slice event_id;
    struct slice topic; /* of the source */
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
    struct slice phone_number; /* absent: unknown */
    struct slice list_number;
    struct slice ad_network;
    struct slice code;
    const char *cls;
    int http_status;
    wall_us_t failed_at;
    wall_us_t dated; /* signup_date, or else the death */
    wall_us_t place; /* the earliest death among it and those behind it of its contact and partition */
    bool maybe_sent;
    bool pointer;
    bool kept; /* has a value */
    struct spooled original;
};

/* The last letter of each event id. */
struct latest {
    UT_hash_handle hh;
    size_t nth;
    size_t len;
    char id[];
};

struct letters {
    const struct config *config;
    const struct replay_options *options;
    struct event_rules rules;
    const char **ids; /* of --event, sorted */
    struct letter *items;
    size_t count;
    size_t size;
    struct latest *latest;
    struct arena arena; /* texts of the facts */
    struct spool spool;
    bool failed; /* out of memory or of disk: errno */
    struct term_progress progress;
    struct kafka_letters_counts counts;
    uint64_t unreadable; /* well-formed, but with a name that no database takes */
};

/* ------------------------------------------------------------------ what is selected */

/* What a text column takes: UTF-8 without NUL. */
static bool is_text(struct slice text)
{
    json_t *json = slice_present(text) ? json_stringn(text.ptr, text.len) : NULL;
    bool well = json && !memchr(text.ptr, '\0', text.len);
    json_decref(json);
    return well;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_among(struct slice text, const struct replay_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++) {
        if (slice_is(text, strings->items[i]))
            return true;
    }
    return !strings->count;
}

static bool id_is_among(const struct letters *letters, struct slice id)
{
    char text[1024];
    size_t count = letters->options->event_ids.count;
    if (!count)
        return true;
    if (id.len >= sizeof text)
        return false;
    memcpy(text, id.ptr, id.len);
    text[id.len] = '\0';
    const char *key = text;
    return strlen(text) == id.len &&
           bsearch(&key, letters->ids, count, sizeof *letters->ids, by_text) != NULL;
}

static bool status_is_among(const struct replay_options *options, int status)
{
    for (size_t i = 0; i < options->status_count; i++) {
        if (options->statuses[i] == status)
            return true;
    }
    return !options->status_count;
}

static bool is_selected(const struct letters *letters, const struct kafka_letter *from,
                        const struct signup *signup)
{
    const struct replay_options *options = letters->options;
    return is_among(from->code, &options->codes) && is_among(from->cls, &options->classes) &&
           status_is_among(options, from->http_status) && id_is_among(letters, from->event_id) &&
           (!options->has_since || from->failed_at.us >= options->since.us) &&
           (!options->has_until || from->failed_at.us < options->until.us) &&
           is_among(signup->list_number, &options->lists) &&
           is_among(signup->ad_network_source, &options->ad_networks) &&
           is_among(signup->ad_network_id, &options->ad_ids);
}

/* ------------------------------------------------------------------ reading */

/* A signup without a date of its own was given its record's; where the letter does not say that, its death is
 * near and surely not before it. "Now" would forge the date of a consent. */
static int64_t timestamp_of(const struct kafka_letter *from)
{
    return from->source_timestamp_ms >= 0 ? from->source_timestamp_ms : from->failed_at.us / US_PER_MS;
}

/* What died of a rule of ours was never sent; of all else nobody knows any more what its last calls did. */
static bool maybe_sent(const struct kafka_letter *from)
{
    return from->http_status || from->attempts || !slice_is(from->cls, outcome_class_str(OUTCOME_REJECTED));
}

static const char *class_of(struct slice text)
{
    for (int cls = 0; cls < OUTCOME_CLASS_COUNT; cls++) {
        if (slice_is(text, outcome_class_str((enum outcome_class)cls)))
            return outcome_class_str((enum outcome_class)cls);
    }
    return NULL;
}

static struct record record_of(const struct kafka_letter *from)
{
    return (struct record){
        .topic = from->source_topic,
        .partition = from->source_partition,
        .offset = from->source_offset,
        .timestamp_ms = timestamp_of(from),
        .key = from->key,
        .value = from->value,
        .headers = from->headers,
        .header_count = from->header_count,
    };
}

static struct slice keep(struct letters *letters, struct slice text)
{
    struct slice kept = arena_copy(&letters->arena, text);
    letters->failed = letters->failed || slice_present(kept) != slice_present(text);
    return kept;
}

static bool fill(struct letters *letters, const struct kafka_letter *from, const struct signup *signup,
                 struct letter *it)
{
    *it = (struct letter){
        .event_id = keep(letters, from->event_id),
        .topic = keep(letters, from->source_topic),
        .partition = from->source_partition,
        .offset = from->source_offset,
        .timestamp_ms = timestamp_of(from),
        .phone_number = keep(letters, signup->phone_number),
        .list_number = keep(letters, signup->list_number),
        .ad_network = keep(letters, signup->ad_network_source),
        .code = from->code.len && is_text(from->code) ? keep(letters, from->code) : SLICE_ABSENT,
        .cls = class_of(from->cls),
        .http_status = from->http_status,
        .failed_at = from->failed_at,
        .dated = signup->has_signup_date ? signup->signup_date : from->failed_at,
        .maybe_sent = maybe_sent(from),
        .pointer = from->pointer,
        .kept = !from->pointer && slice_present(from->value),
    };
    struct record original = record_of(from);
    if (from->pointer)
        original.value = SLICE_ABSENT;
    return !letters->failed &&
           spool_put(&letters->spool, &original, is_text(from->message) ? from->message : SLICE_ABSENT,
                     &it->original);
}

static bool room_for_one(struct letters *letters)
{
    if (letters->count < letters->size)
        return true;
    size_t size = letters->size ? letters->size * 2 : 256;
    struct letter *items = reallocarray(letters->items, size, sizeof *items);
    if (!items)
        return false;
    letters->items = items;
    letters->size = size;
    return true;
}

/* Where the letter of this event belongs: the place of an earlier death, or a new one. NULL: a later death is
 * known. */
static struct letter *place_for(struct letters *letters, const struct kafka_letter *from)
{
    struct latest *latest = NULL;
    HASH_FIND(hh, letters->latest, from->event_id.ptr, from->event_id.len, latest);
    if (latest)
        return letters->items[latest->nth].failed_at.us > from->failed_at.us ? NULL
                                                                             : &letters->items[latest->nth];
    latest = calloc(1, sizeof *latest + from->event_id.len + 1);
    if (!latest || !room_for_one(letters)) {
        free(latest);
        letters->failed = true;
        return NULL;
    }
    memcpy(latest->id, from->event_id.ptr, from->event_id.len);
    latest->len = from->event_id.len;
    latest->nth = letters->count++;
    HASH_ADD_KEYPTR(hh, letters->latest, latest->id, latest->len, latest);
    return &letters->items[latest->nth];
}

/* An older death that was selected must not go where the last one is not: so every letter takes its place,
 * and those that are not selected are taken out at the end. */
static bool on_letter(void *ctx, const struct kafka_letter *from)
{
    struct letters *letters = ctx;
    if (from->malformed)
        return true;
    if (!from->event_id.len || !is_text(from->event_id) || !is_text(from->source_topic)) {
        letters->unreadable++;
        return true;
    }
    struct letter *it = place_for(letters, from);
    if (!it)
        return !letters->failed;
    struct arena arena;
    struct signup signup = {0};
    arena_init(&arena, READING_BYTES);
    if (!from->pointer) {
        const struct record record = record_of(from);
        signup_read(&letters->rules, &record, letters->options->now, &arena, &signup);
    }
    if (is_selected(letters, from, &signup))
        letters->failed = !fill(letters, from, &signup, it);
    else
        *it = (struct letter){.failed_at = from->failed_at};
    arena_fini(&arena);
    return !letters->failed;
}

static bool on_progress(void *ctx, const struct kafka_letters_counts *counts)
{
    struct letters *letters = ctx;
    letters->progress.total = counts->to_read;
    term_progress_update(&letters->progress, counts->passed, clock_mono_now());
    return true;
}

static int by_offset_backwards(const void *a, const void *b)
{
    const struct letter *x = a;
    const struct letter *y = b;
    int order = slice_compare(x->phone_number, y->phone_number);
    if (!order)
        order = slice_compare(x->list_number, y->list_number);
    if (!order)
        order = slice_compare(x->topic, y->topic);
    if (!order)
        order = (x->partition > y->partition) - (x->partition < y->partition);
    return order ? order : (x->offset < y->offset) - (x->offset > y->offset);
}

static bool same_line(const struct letter *a, const struct letter *b)
{
    return slice_equal(a->phone_number, b->phone_number) && slice_equal(a->list_number, b->list_number) &&
           slice_equal(a->topic, b->topic) && a->partition == b->partition;
}

static int by_place(const void *a, const void *b)
{
    const struct letter *x = a;
    const struct letter *y = b;
    int order = (x->place.us > y->place.us) - (x->place.us < y->place.us);
    if (!order)
        order = slice_compare(x->topic, y->topic);
    if (!order)
        order = (x->partition > y->partition) - (x->partition < y->partition);
    if (!order)
        order = (x->offset > y->offset) - (x->offset < y->offset);
    return order ? order : slice_compare(x->event_id, y->event_id);
}

/* The order of ledger_replay_select(): by death, but never against the offsets of one contact in one
 * partition. */
static void put_in_order(struct letters *letters)
{
    struct letter *items = letters->items;
    size_t kept = 0;
    for (size_t i = 0; i < letters->count; i++) {
        if (slice_present(items[i].event_id))
            items[kept++] = items[i];
    }
    letters->count = kept;
    if (!kept)
        return;
    qsort(items, kept, sizeof *items, by_offset_backwards);
    for (size_t i = 0; i < kept; i++) {
        items[i].place = items[i].failed_at;
        if (i && same_line(&items[i], &items[i - 1]) && items[i - 1].place.us < items[i].place.us)
            items[i].place = items[i - 1].place;
    }
    qsort(items, kept, sizeof *items, by_place);
}

static int exit_code_of(enum kafka_letters_result result)
{
    switch (result) {
    case KAFKA_LETTERS_DONE:
        return 0;
    case KAFKA_LETTERS_REFUSED:
        return EX_NOPERM;
    case KAFKA_LETTERS_CONFIG:
        return EX_CONFIG;
    case KAFKA_LETTERS_STOPPED:
        return EX_OSERR;
    case KAFKA_LETTERS_AWAY:
        break;
    }
    return EX_UNAVAILABLE;
}

int letters_read(struct letters *letters)
{
    struct kafka_config kafka;
    struct kafka_property *properties;
    char error[512] = "";
    if (!kafka_config_from(letters->config, &kafka, &properties))
        return EX_OSERR;
    const struct kafka_letters_request request = {
        .topic = letters->options->from_topic,
        .timeout_ms = KAFKA_TIMEOUT_MS,
        .letter = on_letter,
        .progress = on_progress,
        .ctx = letters,
    };
    term_progress_init(&letters->progress, stderr, "reading dead letters", 0, clock_mono_now());
    enum kafka_letters_result result =
        kafka_letters_read(&kafka, &request, &letters->counts, error, sizeof error);
    term_progress_finish(&letters->progress);
    free(properties);
    if (result == KAFKA_LETTERS_STOPPED)
        snprintf(error, sizeof error, "a letter cannot be kept: %s", strerror(errno));
    if (result != KAFKA_LETTERS_DONE)
        fprintf(stderr, "signup-worker replay: %s\n", error);
    else
        put_in_order(letters);
    return exit_code_of(result);
}

const struct kafka_letters_counts *letters_counts(const struct letters *letters)
{
    return &letters->counts;
}

uint64_t letters_unreadable(const struct letters *letters)
{
    return letters->counts.malformed + letters->unreadable;
}

/* ------------------------------------------------------------------ into the plan */

static bool plan_letter(struct plan *plan, const struct letter *it, const struct replay_known *known,
                        size_t nth)
{
    const struct plan_facts facts = {
        .event_id = it->event_id,
        .phone_number = known->phone[0] ? slice_from_str(known->phone) : it->phone_number,
        .list_number = known->list[0] ? slice_from_str(known->list) : it->list_number,
        .code = it->code,
        .ad_network = it->ad_network,
        .http_status = it->http_status,
        .died_at = it->failed_at,
        .superseded = known->superseded,
        .original = it->kept || (known->there && known->original),
        .dead = !known->there || known->dead,
        .letter = nth,
    };
    return plan_add(plan, &facts);
}

enum ledger_verdict letters_plan(struct letters *letters, struct replay_ledger *ledger, struct plan *plan)
{
    struct replay_known *known = calloc(letters->count + 1, sizeof *known);
    if (!known)
        return LEDGER_VERDICT_AWAY;
    for (size_t i = 0; i < letters->count; i++) {
        const struct letter *it = &letters->items[i];
        known[i] = (struct replay_known){
            .event_id = it->event_id,
            .topic = it->topic,
            .partition = it->partition,
            .offset = it->offset,
            .phone_number = it->phone_number,
            .list_number = it->list_number,
            .dated = it->dated,
        };
    }
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    if (letters->count)
        verdict = ledger_replay_look(ledger, known, letters->count, letters->options->include_superseded);
    for (size_t i = 0; verdict == LEDGER_VERDICT_WELL && i < letters->count; i++) {
        if (!plan_letter(plan, &letters->items[i], &known[i], i))
            verdict = LEDGER_VERDICT_AWAY;
    }
    free(known);
    return verdict;
}

bool letters_has_original(const struct letters *letters, size_t nth)
{
    return letters->items[nth].kept;
}

size_t letters_bytes(const struct letters *letters, size_t nth)
{
    return letters->items[nth].original.bytes;
}

bool letters_load(const struct letters *letters, size_t nth, struct arena *arena, struct replay_letter *out,
                  struct signup *signup)
{
    const struct letter *it = &letters->items[nth];
    *out = (struct replay_letter){
        .original = {.topic = it->topic,
                     .partition = it->partition,
                     .offset = it->offset,
                     .timestamp_ms = it->timestamp_ms},
        .signup = signup,
        .code = it->code,
        .cls = slice_from_str(it->cls),
        .http_status = it->http_status,
        .failed_at = it->failed_at,
        .maybe_sent = it->maybe_sent,
    };
    if (!spool_get(&letters->spool, &it->original, arena, &out->original, &out->message))
        return false;
    signup_read(&letters->rules, &out->original, letters->options->now, arena, signup);
    return true;
}

/* ------------------------------------------------------------------ life */

static bool ids_fill(struct letters *letters)
{
    const struct replay_strings *ids = &letters->options->event_ids;
    letters->ids = calloc(ids->count + 1, sizeof *letters->ids);
    for (size_t i = 0; letters->ids && i < ids->count; i++)
        letters->ids[i] = ids->items[i];
    if (letters->ids && ids->count)
        qsort(letters->ids, ids->count, sizeof *letters->ids, by_text);
    return letters->ids != NULL;
}

struct letters *letters_create(const struct config *config, const struct replay_options *options)
{
    struct letters *letters = calloc(1, sizeof *letters);
    if (!letters)
        return NULL;
    letters->config = config;
    letters->options = options;
    bool spooled = spool_init(&letters->spool);
    arena_init(&letters->arena, SIZE_MAX);
    letters->rules = event_rules_from(config);
    event_prepare();
    if (spooled && ids_fill(letters))
        return letters;
    letters_destroy(letters);
    return NULL;
}

void letters_destroy(struct letters *letters)
{
    if (!letters)
        return;
    struct latest *latest = letters->latest;
    HASH_CLEAR(hh, letters->latest);
    for (struct latest *next; latest; latest = next) {
        next = latest->hh.next;
        free(latest);
    }
    spool_fini(&letters->spool);
    free(letters->ids);
    free(letters->items);
    arena_fini(&letters->arena);
    free(letters);
}
