/* The outbox: dead rows whose letters are due are read under a lease, and marked once they are on the topic.
 */
#include "job.h"
#include "original.h"
#include "result.h"

#include "signup/base/log.h"
#include "signup/base/crash.h"

/* Columns behind those of the original. */
enum {
    TAKE_CODE = ORIGINAL_COLUMNS,
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
    params_scalar_int8(params, (int64_t)op->limit);
    params_scalar_uuid(params, op->token.bytes);
    params_scalar_int8(params, op->lease_us);
    params_scalar_int8(params, (int64_t)original_room(op->arena));
}

static bool take_letter(const PGresult *result, int row, struct arena *arena, struct dead_letter *letter)
{
    letter->http_status =
        PQgetisnull(result, row, TAKE_HTTP_STATUS) ? 0 : result_int4(result, row, TAKE_HTTP_STATUS);
    letter->attempts = result_int4(result, row, TAKE_ATTEMPTS);
    letter->failed_at = result_time(result, row, TAKE_FINISHED_AT);
    return original_read(result, row, arena, &letter->event_id, &letter->original) &&
           original_column(result, row, TAKE_CODE, arena, &letter->code) &&
           original_column(result, row, TAKE_ERROR, arena, &letter->message) &&
           original_column(result, row, TAKE_CLASS, arena, &letter->cls);
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
                   LOG_SLICE("event_id", result_slice(result, row, ORIGINAL_EVENT_ID)));
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
    params_scalar_int8(params, op->retry_in_us);
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
    CRASH_POINT_IF(AFTER_MARK, result == LEDGER_OK);
    op->done(op, result);
}

const struct job_methods job_outbox_mark_methods = {
    .name = "outbox_mark",
    .encode = mark_encode,
    .decode = mark_decode,
    .complete = mark_complete,
};
