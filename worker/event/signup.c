/* Reading one record whole: decode, normalize, write the body; and what belongs to every signup. */
#include "signup/event/signup.h"

#include "body.h"
#include "consent.h"
#include "custom_fields.h"
#include "decode.h"
#include "digest.h"
#include "fields.h"
#include "normalize.h"
#include "phone_library.h"
#include "route.h"
#include "scratch.h"

#include "signup/base/log.h"

#include <assert.h>
#include <stdlib.h>

/* Canonical text may be longer than the event's: "1e9" is written out. No more than this. */
#define TEXT_BYTES_MAX ((size_t)8 * EVENT_BYTES_MAX)

const char *death_code_str(enum death_code code)
{
    static const char *const names[] = {
#define X(name, text) text,
        DEATH_CODES(X)
#undef X
    };
    assert((unsigned)code < DEATH_CODE_COUNT);
    return names[code];
}

bool signup_warn(struct signup *signup, struct arena *arena, enum warning_source source, struct slice code,
                 struct slice message)
{
    struct warning *warning = arena_alloc_zero(arena, sizeof *warning);
    if (!warning)
        return false;
    warning->source = source;
    warning->code = arena_copy(arena, code);
    warning->message = arena_copy(arena, message);
    if (!slice_present(warning->code) || !slice_present(warning->message))
        return false;
    struct warning **end = &signup->warnings;
    while (*end)
        end = &(*end)->next;
    *end = warning;
    return true;
}

void event_prepare(void)
{
    scratch_prepare();
    digest_prepare();
    phone_library_prepare();
}

static void start(struct reader *reader)
{
    struct signup *out = reader->out;
    const struct event_rules *rules = reader->rules;
    *out = (struct signup){
        .use_journeys = rules->use_journeys,
        .skip_journey_if_exists = rules->skip_journey_if_exists,
        .validation = rules->validation,
        .id_from_position = true,
        .schema_id = -1,
    };
    out->position = record_position(reader->arena, reader->record);
    /* Without a name the record could not be answered for: better no process than a lost record. */
    assert(slice_present(out->position));
    out->event_id = out->position;
}

/* The event is not to blame: it is read again where there is memory. What calls libphonenumber ends in the same way. */
static _Noreturn void out_of_memory(void)
{
    LOG_AT_PLAIN(LOG_ERROR, "event",
                 "out of memory: the process ends; nothing is lost, unfinished events are read again");
    abort();
}

/* What could not be kept whole must not be half used. */
static void die_full(struct signup *out)
{
    out->death = DEATH_EVENT_TOO_LARGE;
    out->death_message =
        SLICE_LITERAL("The event needs more memory than one event may take. Send less in it.");
    out->body = SLICE_ABSENT;
}

/* Each step needs what the ones before it have found; faults are told in this order. */
static void read_all(struct reader *reader, json_t *root)
{
    struct custom_fields fields;
    fields_assign(reader, root);
    normalize_contact(reader);
    normalize_attributes(reader);
    route_choose(reader);
    normalize_call(reader);
    consent_require(reader);
    custom_fields_compose(reader, &fields);
    if (reader->out->death == DEATH_NONE && !reader->full)
        body_build(reader, &fields);
}

void signup_read_traced(const struct event_rules *rules, const struct record *record, wall_us_t now,
                        struct arena *arena, const struct event_trace *trace, struct signup *out)
{
    struct reader reader = {
        .rules = rules, .record = record, .now = now, .arena = arena, .trace = trace, .out = out};
    event_prepare();
    start(&reader);
    buf_init(&reader.text, TEXT_BYTES_MAX);
    scratch_begin();
    json_t *root = decode_event(&reader);
    if (root)
        read_all(&reader, root);
    scratch_end();
    if (arena->starved || reader.text.starved)
        out_of_memory();
    if (reader.full)
        die_full(out);
    if (out->death != DEATH_NONE)
        digest_parts(&record->value, 1, out->digest); /* no canonical content: the bytes for themselves */
    buf_fini(&reader.text);
}

void signup_read(const struct event_rules *rules, const struct record *record, wall_us_t now,
                 struct arena *arena, struct signup *out)
{
    signup_read_traced(rules, record, now, arena, NULL, out);
}
