/* The outbox: dead rows whose letters are due are read under a lease, and marked once they are on the topic.
 */
#include "headers.h"
#include "job.h"
#include "result.h"

#include "signup/base/log.h"

/* Columns of the take statement. */
enum {
    TAKE_EVENT_ID,
    TAKE_TOPIC,
    TAKE_PARTITION,
    TAKE_OFFSET,
    TAKE_KEY,
    TAKE_PAYLOAD,
    TAKE_HEADERS,
    TAKE_TIMESTAMP_MS,
    TAKE_CODE,
    TAKE_ERROR,
    TAKE_CLASS,
    TAKE_HTTP_STATUS,
    TAKE_ATTEMPTS,
    TAKE_FINISHED_AT,
    TAKE_MORE
};

/* ------------------------------------------------------------------ take */

static void take_encode(const struct piece *piece, struct params *params, struct buf *scratch)
{
    (void)scratch;
    const struct outbox_take_op *op = piece->job->op;
    /* Half of the room: blocks are rounded, headers grow when they are read. */
    size_t room = (op->arena->cap_bytes - op->arena->held_bytes) / 2;
    params_scalar_int8(params, (int64_t)op->limit);
    params_scalar_uuid(params, op->token.bytes);
    params_scalar_int8(params, op->lease_us);
    params_scalar_int8(params, (int64_t)room);
}

/* An absent column stays absent; false: the arena is full. */
static bool copy_column(const PGresult *result, int row, int column, struct arena *arena, struct slice *out)
{
    struct slice value = result_slice(result, row, column);
    *out = arena_copy(arena, value);
    return slice_present(*out) == slice_present(value);
}

static bool take_original(const PGresult *result, int row, struct arena *arena, struct record *record)
{
    struct slice headers = result_slice(result, row, TAKE_HEADERS);
    if (slice_present(headers) && headers.len) { /* the first byte is the version of jsonb's binary form */
        headers.ptr++;
        headers.len--;
    }
    record->partition = result_int4(result, row, TAKE_PARTITION);
    record->offset = result_int8(result, row, TAKE_OFFSET);
    record->timestamp_ms =
        PQgetisnull(result, row, TAKE_TIMESTAMP_MS) ? -1 : result_int8(result, row, TAKE_TIMESTAMP_MS);
    return copy_column(result, row, TAKE_TOPIC, arena, &record->topic) &&
           copy_column(result, row, TAKE_KEY, arena, &record->key) &&
           copy_column(result, row, TAKE_PAYLOAD, arena, &record->value) &&
           headers_read(headers, arena, record);
}

static bool take_letter(const PGresult *result, int row, struct arena *arena, struct dead_letter *letter)
{
    letter->http_status =
        PQgetisnull(result, row, TAKE_HTTP_STATUS) ? 0 : result_int4(result, row, TAKE_HTTP_STATUS);
    letter->attempts = result_int4(result, row, TAKE_ATTEMPTS);
    letter->failed_at = result_time(result, row, TAKE_FINISHED_AT);
    return copy_column(result, row, TAKE_EVENT_ID, arena, &letter->event_id) &&
           copy_column(result, row, TAKE_CODE, arena, &letter->code) &&
           copy_column(result, row, TAKE_ERROR, arena, &letter->message) &&
           copy_column(result, row, TAKE_CLASS, arena, &letter->cls) &&
           take_original(result, row, arena, &letter->original);
}

static void take_decode(struct piece *piece, const PGresult *result)
{
    struct outbox_take_op *op = piece->job->op;
    int rows = PQntuples(result);
    op->count = 0;
    op->more = rows > 0 && result_bool(result, 0, TAKE_MORE);
    op->letters = arena_alloc_zero(op->arena, (size_t)(rows ? rows : 1) * sizeof *op->letters);
    for (int row = 0; op->letters && row < rows; row++) {
        if (!take_letter(result, row, op->arena, &op->letters[op->count])) {
            /* Its lease ends by itself; then it is due again. */
            LOG_AT(LOG_WARN, "ledger", "a dead letter cannot be read now: it stays due",
                   LOG_SLICE("event_id", result_slice(result, row, TAKE_EVENT_ID)));
            op->more = true;
            return;
        }
        op->count++;
    }
}

static void take_complete(struct job *job, enum ledger_result result)
{
    struct outbox_take_op *op = job->op;
    op->done(op, result);
}

const struct job_methods job_outbox_take_methods = {
    .name = "outbox_take",
    .encode = take_encode,
    .decode = take_decode,
    .complete = take_complete,
};

/* ------------------------------------------------------------------ mark */

static void mark_encode(const struct piece *piece, struct params *params, struct buf *scratch)
{
    (void)scratch;
    const struct outbox_mark_op *op = piece->job->op;
    params_begin(params, PG_TEXT);
    for (size_t i = 0; i < op->count; i++)
        params_put_text(params, op->letters[i].event_id);
    params_end(params);
    params_begin(params, PG_BOOL);
    for (size_t i = 0; i < op->count; i++)
        params_put_bool(params, op->letters[i].published);
    params_end(params);
    params_scalar_uuid(params, op->token.bytes);
}

/* A letter whose lease ended meanwhile is not marked, and will be published once more: allowed, unlike a
 * missing one. */
static void mark_decode(struct piece *piece, const PGresult *result)
{
    const struct outbox_mark_op *op = piece->job->op;
    if ((size_t)PQntuples(result) < op->count)
        LOG_AT(LOG_DEBUG, "ledger", "some dead letters were taken by another worker meanwhile",
               LOG_NUM("marked", PQntuples(result)), LOG_NUM("letters", op->count));
}

static void mark_complete(struct job *job, enum ledger_result result)
{
    struct outbox_mark_op *op = job->op;
    op->done(op, result);
}

const struct job_methods job_outbox_mark_methods = {
    .name = "outbox_mark",
    .encode = mark_encode,
    .decode = mark_decode,
    .complete = mark_complete,
};
