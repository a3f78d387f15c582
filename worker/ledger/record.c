/* Records: what is written of an event's end. Final and parked rows go with one statement, released ones with
 * another; rows that neither touched are asked for, because the answer of an earlier try may have been lost.
 * Behind the final ones of parked events follows, in the same transaction, what makes the contact's next one
 * due.
 */
#include "headers.h"
#include "job.h"
#include "result.h"

#include "signup/base/crash.h"

#include <stdlib.h>

#define REFUSED_CODE "ledger_refused"

static struct record_item *item_of(const struct job *job, uint32_t item)
{
    const struct record_op *op = job->op;
    return op->items[item];
}

static struct slice record_id(const struct job *job, uint32_t item)
{
    return item_of(job, item)->event_id;
}

/* Runs what follows for each item of the piece, as `it`. */
#define EACH(piece)                                                                                          \
    for (uint32_t at_ = (piece)->low; at_ < (piece)->high; at_++)                                            \
        for (const struct record_item *it = item_of((piece)->job, (piece)->job->items[at_]); it; it = NULL)

static const char *state_str(enum record_state state)
{
    static const char *const names[] = {[RECORD_ACCEPTED] = "accepted",
                                        [RECORD_DEAD] = "dead",
                                        [RECORD_PARKED] = "parked",
                                        [RECORD_RELEASED] = "released"};
    return names[state];
}

static bool is_final(const struct record_item *it)
{
    return it->state == RECORD_ACCEPTED || it->state == RECORD_DEAD;
}

/* The original is kept while somebody may still need it. */
static bool keeps_original(const struct record_item *it)
{
    return it->state == RECORD_DEAD || it->state == RECORD_PARKED;
}

/* ------------------------------------------------------------------ columns */

static void put_int4_or_null(struct params *params, bool present, int32_t value)
{
    if (present)
        params_put_int4(params, value);
    else
        params_put_null(params);
}

static struct slice text_or_absent(const char *text)
{
    return *text ? slice_from_str(text) : SLICE_ABSENT;
}

/* A bare row holds nothing that a database could refuse. */
static struct slice unless_bare(const struct record_item *it, struct slice text)
{
    return it->bare && slice_present(text) && !text_is_plain(text) ? SLICE_ABSENT : text;
}

static struct slice code_of(const struct record_item *it)
{
    struct slice code = it->outcome ? unless_bare(it, text_or_absent(it->outcome->code)) : SLICE_ABSENT;
    return it->bare && it->state == RECORD_DEAD && !slice_present(code) ? SLICE_LITERAL(REFUSED_CODE) : code;
}

static struct slice error_of(const struct record_item *it)
{
    struct slice error = it->outcome ? unless_bare(it, text_or_absent(it->outcome->message)) : SLICE_ABSENT;
    return it->bare && it->state == RECORD_DEAD && !slice_present(error)
               ? SLICE_LITERAL("the ledger's database refuses the data of this event")
               : error;
}

static struct slice class_of(const struct record_item *it)
{
    bool failed = it->outcome && it->outcome->cls != OUTCOME_ACCEPTED;
    return failed ? slice_from_str(outcome_class_str(it->outcome->cls)) : SLICE_ABSENT;
}

#define TEXT_COLUMN(piece, params, value)                                                                    \
    do {                                                                                                     \
        params_begin(params, PG_TEXT);                                                                       \
        EACH (piece)                                                                                         \
            params_put_text(params, value);                                                                  \
        params_end(params);                                                                                  \
    } while (0)

#define JSONB_COLUMN(piece, params, value)                                                                   \
    do {                                                                                                     \
        params_begin(params, PG_JSONB);                                                                      \
        EACH (piece)                                                                                         \
            params_put_jsonb(params, it->bare ? SLICE_ABSENT : (value));                                     \
        params_end(params);                                                                                  \
    } while (0)

static void encode_identity(const struct piece *piece, struct params *params)
{
    TEXT_COLUMN(piece, params, it->event_id);
    params_begin(params, PG_UUID);
    EACH (piece)
        params_put_bytes(params, it->token.bytes, sizeof it->token.bytes);
    params_end(params);
    TEXT_COLUMN(piece, params, slice_from_str(state_str(it->state)));
}

static void encode_position(const struct piece *piece, struct params *params)
{
    TEXT_COLUMN(piece, params, it->record->topic);
    params_begin(params, PG_INT4);
    EACH (piece)
        params_put_int4(params, it->record->partition);
    params_end(params);
    params_begin(params, PG_INT8);
    EACH (piece)
        params_put_int8(params, it->record->offset);
    params_end(params);
    TEXT_COLUMN(piece, params, unless_bare(it, it->signup->phone_number));
    TEXT_COLUMN(piece, params, unless_bare(it, it->signup->list_number));
    params_begin(params, PG_BYTEA);
    EACH (piece)
        params_put_bytes(params, it->signup->digest, SIGNUP_DIGEST_BYTES);
    params_end(params);
}

static void encode_outcome(const struct piece *piece, struct params *params)
{
    params_begin(params, PG_INT4);
    EACH (piece)
        params_put_int4(params, it->attempts);
    params_end(params);
    params_begin(params, PG_INT4);
    EACH (piece)
        put_int4_or_null(params, it->outcome && it->outcome->http_status,
                         it->outcome ? it->outcome->http_status : 0);
    params_end(params);
    TEXT_COLUMN(piece, params, code_of(it));
    TEXT_COLUMN(piece, params, error_of(it));
    TEXT_COLUMN(piece, params, class_of(it));
}

/* Who recorded a reply alone, had asked for its validation. */
static struct slice validation_of(const struct record_item *it)
{
    if (slice_present(it->validation))
        return it->validation;
    return it->reply ? it->reply->validation : SLICE_ABSENT;
}

static bool is_fresh(const struct record_item *it)
{
    return slice_present(it->validation) ? it->validation_fresh : slice_present(validation_of(it));
}

static void put_reply_flag(struct params *params, const struct upsert_reply *reply, bool value)
{
    if (reply)
        params_put_bool(params, value);
    else
        params_put_null(params);
}

static void encode_reply(const struct piece *piece, struct params *params)
{
    TEXT_COLUMN(piece, params, it->reply ? unless_bare(it, it->reply->contact_id) : SLICE_ABSENT);
    TEXT_COLUMN(piece, params, it->reply ? unless_bare(it, it->reply->list_contact_id) : SLICE_ABSENT);
    params_begin(params, PG_BOOL);
    EACH (piece)
        put_reply_flag(params, it->reply, it->reply && it->reply->is_new_contact);
    params_end(params);
    params_begin(params, PG_BOOL);
    EACH (piece)
        put_reply_flag(params, it->reply, it->reply && it->reply->is_new_list_contact);
    params_end(params);
    params_begin(params, PG_INT4);
    EACH (piece)
        put_int4_or_null(params, it->reply != NULL, it->reply ? it->reply->journeys_enrolled : 0);
    params_end(params);
    JSONB_COLUMN(piece, params, validation_of(it));
}

static void encode_signup(const struct piece *piece, struct params *params)
{
    TEXT_COLUMN(piece, params, unless_bare(it, it->signup->ip_address));
    TEXT_COLUMN(piece, params, unless_bare(it, it->signup->url));
    params_begin(params, PG_TIMESTAMPTZ);
    EACH (piece) {
        if (it->signup->has_signup_date && !it->bare)
            params_put_time(params, it->signup->signup_date);
        else
            params_put_null(params);
    }
    params_end(params);
    JSONB_COLUMN(piece, params, it->signup->consent);
    TEXT_COLUMN(piece, params, unless_bare(it, it->signup->ad_network_source));
    TEXT_COLUMN(piece, params, unless_bare(it, it->signup->ad_network_id));
    JSONB_COLUMN(piece, params, it->request);
}

static void encode_original(const struct piece *piece, struct params *params, struct buf *scratch)
{
    params_begin(params, PG_BYTEA);
    EACH (piece)
        params_put_text(params, keeps_original(it) ? it->record->value : SLICE_ABSENT);
    params_end(params);
    params_begin(params, PG_JSONB);
    EACH (piece) {
        buf_reset(scratch);
        if (keeps_original(it) && it->record->header_count) {
            headers_write(it->record, it->bare, scratch);
            params_put_jsonb(params, buf_slice(scratch));
            params->buf.failed = params->buf.failed || !buf_ok(scratch);
        } else {
            params_put_null(params);
        }
    }
    params_end(params);
    params_begin(params, PG_BYTEA);
    EACH (piece)
        params_put_text(params, keeps_original(it) ? it->record->key : SLICE_ABSENT);
    params_end(params);
    params_begin(params, PG_INT8);
    EACH (piece) {
        if (keeps_original(it) && it->record->timestamp_ms != -1)
            params_put_int8(params, it->record->timestamp_ms);
        else
            params_put_null(params);
    }
    params_end(params);
}

static void encode_waiting(const struct piece *piece, struct params *params)
{
    params_begin(params, PG_BOOL);
    EACH (piece)
        params_put_bool(params, it->maybe_sent);
    params_end(params);
    params_begin(params, PG_INT8);
    EACH (piece) {
        if (it->state == RECORD_PARKED)
            params_put_int8(params, it->due_in_us);
        else
            params_put_null(params);
    }
    params_end(params);
}

static void encode_provenance(const struct piece *piece, struct params *params)
{
    JSONB_COLUMN(piece, params, it->signup->attribution);
    params_begin(params, PG_INT4);
    EACH (piece) {
        int64_t id = it->signup->schema_id;
        put_int4_or_null(params, id >= 0 && id <= INT32_MAX, (int32_t)id);
    }
    params_end(params);
}

/* ------------------------------------------------------------------ warnings and attempts: rows of their own
 */

static struct slice warning_text(const struct record_item *it, struct slice text)
{
    static const struct slice unreadable = {"(the database refuses the text)",
                                            sizeof "(the database refuses the text)" - 1};
    struct slice kept = unless_bare(it, text);
    return slice_present(kept) ? kept : unreadable;
}

#define WARNING_COLUMN(piece, params, of_warning, of_bare)                                                   \
    do {                                                                                                     \
        params_begin(params, PG_TEXT);                                                                       \
        EACH (piece) {                                                                                       \
            for (const struct warning *w = is_final(it) ? it->signup->warnings : NULL; w; w = w->next)       \
                params_put_text(params, of_warning);                                                         \
            if (it->bare && is_final(it))                                                                    \
                params_put_text(params, of_bare);                                                            \
        }                                                                                                    \
        params_end(params);                                                                                  \
    } while (0)

static void encode_warnings(const struct piece *piece, struct params *params)
{
    WARNING_COLUMN(piece, params, it->event_id, it->event_id);
    WARNING_COLUMN(piece, params, w->source == WARNING_API ? SLICE_LITERAL("api") : SLICE_LITERAL("worker"),
                   SLICE_LITERAL("worker"));
    WARNING_COLUMN(piece, params, warning_text(it, w->code), SLICE_LITERAL(REFUSED_CODE));
    WARNING_COLUMN(
        piece, params, warning_text(it, w->message),
        SLICE_LITERAL(
            "the ledger's database refused some of this event's data; only the essentials are kept"));
}

#define ATTEMPT_COLUMN(piece, params, type, put)                                                             \
    do {                                                                                                     \
        params_begin(params, type);                                                                          \
        EACH (piece) {                                                                                       \
            for (const struct attempt *a = it->attempts_made; a; a = a->next)                                \
                (put);                                                                                       \
        }                                                                                                    \
        params_end(params);                                                                                  \
    } while (0)

static void encode_attempts(const struct piece *piece, struct params *params)
{
    ATTEMPT_COLUMN(piece, params, PG_TEXT, params_put_text(params, it->event_id));
    ATTEMPT_COLUMN(piece, params, PG_INT4, params_put_int4(params, a->number));
    ATTEMPT_COLUMN(piece, params, PG_TEXT, params_put_text(params, slice_from_str(a->route)));
    ATTEMPT_COLUMN(piece, params, PG_TIMESTAMPTZ, params_put_time(params, a->at));
    ATTEMPT_COLUMN(piece, params, PG_INT8, params_put_int8(params, a->duration_us / US_PER_MS));
    ATTEMPT_COLUMN(piece, params, PG_INT4, put_int4_or_null(params, a->http_status != 0, a->http_status));
    ATTEMPT_COLUMN(piece, params, PG_TEXT, params_put_text(params, unless_bare(it, text_or_absent(a->code))));
    ATTEMPT_COLUMN(piece, params, PG_TEXT, params_put_text(params, slice_from_str(a->verdict)));
}

/* ------------------------------------------------------------------ what was looked up, and what is told */

static void encode_fresh(const struct piece *piece, struct params *params)
{
    params_begin(params, PG_TEXT);
    EACH (piece) {
        if (is_fresh(it))
            params_put_text(params, it->event_id);
    }
    params_end(params);
    params_scalar_uuid(params, piece->job->queue->worker);
}

/* What is told of a bare row is told in plain letters; what is no text at all cannot be. */
static struct slice announcement_of(const struct record_item *it, struct buf *scratch)
{
    if (!it->bare || !slice_present(it->announcement))
        return it->announcement;
    buf_reset(scratch);
    return json_write_plain(it->announcement, scratch) && buf_ok(scratch) ? buf_slice(scratch) : SLICE_ABSENT;
}

static void encode_announcements(const struct piece *piece, struct params *params, struct buf *scratch)
{
    params_begin(params, PG_TEXT);
    EACH (piece) {
        if (slice_present(announcement_of(it, scratch)))
            params_put_text(params, it->event_id);
    }
    params_end(params);
    params_begin(params, PG_TEXT);
    EACH (piece) {
        struct slice announcement = announcement_of(it, scratch);
        if (slice_present(announcement))
            params_put_text(params, announcement);
    }
    params_end(params);
}

/* ------------------------------------------------------------------ the statements */

static void encode_release(const struct piece *piece, struct params *params)
{
    TEXT_COLUMN(piece, params, it->event_id);
    params_begin(params, PG_UUID);
    EACH (piece)
        params_put_bytes(params, it->token.bytes, sizeof it->token.bytes);
    params_end(params);
    params_begin(params, PG_BOOL);
    EACH (piece)
        params_put_bool(params, it->maybe_sent);
    params_end(params);
    params_begin(params, PG_INT4);
    EACH (piece)
        params_put_int4(params, it->attempts);
    params_end(params);
}

static void record_encode(const struct piece *piece, struct params *params, struct buf *scratch)
{
    switch (piece->sql) {
    case SQL_RELEASE:
        encode_release(piece, params);
        return;
    case SQL_RECORD_WHY:
        encode_identity(piece, params);
        return;
    default:
        encode_identity(piece, params);
        encode_position(piece, params);
        encode_outcome(piece, params);
        encode_reply(piece, params);
        encode_signup(piece, params);
        encode_original(piece, params, scratch);
        encode_waiting(piece, params);
        encode_provenance(piece, params);
        encode_warnings(piece, params);
        encode_attempts(piece, params);
        encode_fresh(piece, params);
        encode_announcements(piece, params, scratch);
    }
}

/* The contacts whose parked event is final now. */
static bool wakes_next(const struct record_item *it)
{
    return it->taken_up && is_final(it) && slice_present(unless_bare(it, it->signup->phone_number)) &&
           slice_present(unless_bare(it, it->signup->list_number));
}

#define WAKE_COLUMN(piece, params, value)                                                                    \
    do {                                                                                                     \
        params_begin(params, PG_TEXT);                                                                       \
        EACH (piece) {                                                                                       \
            if (wakes_next(it))                                                                              \
                params_put_text(params, value);                                                              \
        }                                                                                                    \
        params_end(params);                                                                                  \
    } while (0)

static bool record_follow(const struct piece *piece, enum sql_id *sql, struct params *params)
{
    bool wakes = false;
    EACH (piece)
        wakes = wakes || (piece->sql == SQL_RECORD && wakes_next(it));
    if (!wakes)
        return false;
    *sql = SQL_WAKE;
    WAKE_COLUMN(piece, params, it->signup->phone_number);
    WAKE_COLUMN(piece, params, it->signup->list_number);
    return true;
}

/* ------------------------------------------------------------------ answers */

/* Moves the items of the piece for which `open` is set to its front, in their order; gives where they end. */
static uint32_t gather_open(const struct piece *piece, const bool *open)
{
    uint32_t *items = piece->job->items;
    uint32_t end = piece->low;
    for (uint32_t at = piece->low; at < piece->high; at++) {
        if (!open[at - piece->low])
            continue;
        uint32_t moved = items[at];
        items[at] = items[end];
        items[end++] = moved;
    }
    return end;
}

static void decode_write(struct piece *piece, const PGresult *result, bool *open)
{
    struct job *job = piece->job;
    uint32_t cursor = piece->low;
    for (int row = 0; row < PQntuples(result); row++) {
        uint32_t at = job_find(piece, &cursor, result_slice(result, row, 0));
        assert(at != JOB_NOT_FOUND);
        item_of(job, job->items[at])->answer = RECORD_DONE;
        CRASH_POINT_IF(AFTER_PARK, item_of(job, job->items[at])->state == RECORD_PARKED);
        open[at - piece->low] = false;
    }
    uint32_t end = gather_open(piece, open);
    if (end > piece->low)
        job_add_piece(job, SQL_RECORD_WHY, piece->low, end, piece->tries);
}

static void decode_why(struct piece *piece, const PGresult *result, bool *open)
{
    struct job *job = piece->job;
    uint32_t cursor = piece->low;
    for (int row = 0; row < PQntuples(result); row++) {
        uint32_t at = job_find(piece, &cursor, result_slice(result, row, 0));
        assert(at != JOB_NOT_FOUND);
        char letter = result_char(result, row, 1);
        open[at - piece->low] = letter == 'a';
        item_of(job, job->items[at])->answer = letter == 'd' ? RECORD_DONE : RECORD_REFUSED;
    }
    bool released = item_of(job, job->items[piece->low])->state == RECORD_RELEASED;
    uint32_t end = gather_open(piece, open);
    if (end > piece->low && job_may_repeat(piece))
        job_add_piece(job, released ? SQL_RELEASE : SQL_RECORD, piece->low, end, piece->tries + 1);
}

static void record_decode(struct piece *piece, const PGresult *result)
{
    bool *open = malloc(piece->high - piece->low + 1);
    if (!open) {
        piece->job->failed = true;
        return;
    }
    memset(open, true, piece->high - piece->low + 1);
    if (piece->sql == SQL_RECORD_WHY)
        decode_why(piece, result, open);
    else
        decode_write(piece, result, open);
    free(open);
}

static void record_refuse(struct job *job, uint32_t item)
{
    item_of(job, item)->answer = RECORD_POISON;
}

static size_t record_weigh(const struct job *job, uint32_t item)
{
    const struct record_item *it = item_of(job, item);
    size_t bytes = it->request.len + it->signup->consent.len + it->signup->attribution.len + it->announcement.len +
                   validation_of(it).len;
    if (!keeps_original(it))
        return bytes;
    bytes += it->record->value.len + it->record->key.len;
    for (size_t i = 0; i < it->record->header_count; i++)
        bytes += it->record->headers[i].name.len + it->record->headers[i].value.len;
    return bytes;
}

static void record_complete(struct job *job, enum ledger_result result)
{
    struct record_op *op = job->op;
    CRASH_POINT_IF(AFTER_RECORD, result == LEDGER_OK);
    for (size_t i = op->count; result == LEDGER_OK && i-- > 0;) {
        const struct record_item *it = op->items[i];
        if (it->answer == RECORD_DONE && it->state != RECORD_RELEASED) {
            conn_remember(job->queue->conn, it->event_id, it->token);
            break;
        }
    }
    op->done(op, result);
}

const struct job_methods job_record_methods = {
    .name = "record",
    .encode = record_encode,
    .follow = record_follow,
    .decode = record_decode,
    .refuse = record_refuse,
    .weigh = record_weigh,
    .id_of = record_id,
    .complete = record_complete,
};
