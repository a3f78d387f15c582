/* The outbox of outcomes: rows are read under a lease in their order, and deleted once they are on their
 * topic. */
#include "job.h"
#include "original.h"
#include "result.h"

#include "signup/base/crash.h"
#include "signup/base/log.h"

enum { OUTCOME_NUMBER, OUTCOME_EVENT_ID, OUTCOME_BODY, OUTCOME_MORE };

/* ------------------------------------------------------------------ take */

static void take_encode(const struct piece *piece, struct params *params, struct buf *scratch)
{
    (void)scratch;
    const struct outcome_take_op *op = piece->job->op;
    params_scalar_int8(params, (int64_t)op->limit);
    params_scalar_uuid(params, op->token.bytes);
    params_scalar_int8(params, op->lease_us);
    params_scalar_int8(params, (int64_t)original_room(op->arena));
}

static void take_decode(struct piece *piece, const PGresult *result)
{
    struct outcome_take_op *op = piece->job->op;
    int rows = PQntuples(result);
    op->count = 0;
    op->more = rows > 0 && result_bool(result, 0, OUTCOME_MORE);
    op->letters = arena_alloc_zero(op->arena, (size_t)(rows ? rows : 1) * sizeof *op->letters);
    for (int row = 0; op->letters && row < rows; row++) {
        struct outcome_letter *letter = &op->letters[op->count];
        letter->number = result_int8(result, row, OUTCOME_NUMBER);
        if (!original_column(result, row, OUTCOME_EVENT_ID, op->arena, &letter->event_id) ||
            !original_column(result, row, OUTCOME_BODY, op->arena, &letter->text)) {
            /* Its lease ends by itself; then it is due again. */
            LOG_AT(LOG_WARN, "ledger", "an outcome cannot be read now: it stays due",
                   LOG_SLICE("event_id", result_slice(result, row, OUTCOME_EVENT_ID)));
            op->more = true;
            return;
        }
        op->count++;
    }
}

static void take_complete(struct job *job, enum ledger_result result)
{
    struct outcome_take_op *op = job->op;
    op->done(op, result);
}

const struct job_methods job_outcome_take_methods = {
    .name = "outcome_take",
    .encode = take_encode,
    .decode = take_decode,
    .complete = take_complete,
};

/* ------------------------------------------------------------------ mark */

static void put_numbers(struct params *params, const struct outcome_mark_op *op, bool published)
{
    params_begin(params, PG_INT8);
    for (size_t i = 0; i < op->count; i++) {
        if (op->letters[i].published == published)
            params_put_int8(params, op->letters[i].number);
    }
    params_end(params);
}

static void mark_encode(const struct piece *piece, struct params *params, struct buf *scratch)
{
    (void)scratch;
    const struct outcome_mark_op *op = piece->job->op;
    put_numbers(params, op, true);
    put_numbers(params, op, false);
    params_scalar_uuid(params, op->token.bytes);
    params_scalar_int8(params, op->retry_in_us);
}

/* One whose lease ended meanwhile is another worker's, and will be published once more: allowed, unlike a
 * missing one. */
static void mark_decode(struct piece *piece, const PGresult *result)
{
    const struct outcome_mark_op *op = piece->job->op;
    int64_t marked = result_int8(result, 0, 0);
    if ((size_t)marked < op->count)
        LOG_AT(LOG_DEBUG, "ledger", "some outcomes were taken by another worker meanwhile",
               LOG_NUM("marked", marked), LOG_NUM("outcomes", op->count));
}

static void mark_complete(struct job *job, enum ledger_result result)
{
    struct outcome_mark_op *op = job->op;
    CRASH_POINT_IF(AFTER_OUTCOME_MARK, result == LEDGER_OK);
    op->done(op, result);
}

const struct job_methods job_outcome_mark_methods = {
    .name = "outcome_mark",
    .encode = mark_encode,
    .decode = mark_decode,
    .complete = mark_complete,
};
