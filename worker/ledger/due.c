/* Parked events that are due: taken up under a lease, in the order of their contacts, as the records they
 * were. */
#include "job.h"
#include "original.h"
#include "result.h"

#include "signup/base/crash.h"
#include "signup/base/log.h"

/* Columns behind those of the original. */
enum { DUE_MAYBE_SENT = ORIGINAL_COLUMNS, DUE_ATTEMPTS, DUE_AGE, DUE_NEXT_US, DUE_OVERSIZED, DUE_KNOWN };

enum sql_id job_due_statement(const struct job_queue *queue, const struct due_take_op *op)
{
    bool lost =
        queue->due_lost && memcmp(queue->due_lost_token.bytes, op->token.bytes, sizeof op->token.bytes) == 0;
    return lost ? SQL_DUE_AGAIN : SQL_DUE_TAKE;
}

static void due_encode(const struct piece *piece, struct params *params, struct buf *scratch)
{
    (void)scratch;
    const struct due_take_op *op = piece->job->op;
    if (piece->sql == SQL_DUE_TAKE)
        params_scalar_int8(params, (int64_t)op->limit);
    params_scalar_uuid(params, op->token.bytes);
    params_scalar_int8(params, op->lease_us);
    if (piece->sql == SQL_DUE_TAKE)
        params_scalar_int8(params, (int64_t)original_room(op->arena));
}

static bool due_read(const PGresult *result, int row, struct arena *arena, struct parked_event *event)
{
    event->maybe_sent = result_bool(result, row, DUE_MAYBE_SENT);
    event->attempts = result_int4(result, row, DUE_ATTEMPTS);
    event->age_us = result_interval_us(result, row, DUE_AGE);
    event->known = original_known(result, row, DUE_KNOWN, arena);
    return original_read(result, row, arena, &event->event_id, &event->original);
}

static void due_read_all(struct due_take_op *op, const PGresult *result)
{
    int rows = PQntuples(result);
    op->events = arena_alloc_zero(op->arena, (size_t)(rows ? rows : 1) * sizeof *op->events);
    for (int row = 0; op->events && row < rows; row++) {
        if (PQgetisnull(result, row, ORIGINAL_EVENT_ID))
            return;
        if (due_read(result, row, op->arena, &op->events[op->count]))
            op->count++;
        else /* its lease ends by itself; then it is due again */
            LOG_AT(LOG_WARN, "ledger", "a parked event cannot be read now: it stays parked",
                   LOG_SLICE("event_id", result_slice(result, row, ORIGINAL_EVENT_ID)));
    }
}

static void due_decode(struct piece *piece, const PGresult *result)
{
    struct due_take_op *op = piece->job->op;
    op->count = 0;
    op->next_due_in_us = 0;
    if (PQntuples(result) == 0) { /* the lost take had taken nothing */
        assert(piece->sql == SQL_DUE_AGAIN);
        job_add_piece(piece->job, SQL_DUE_TAKE, 0, 0, piece->tries);
        return;
    }
    op->next_due_in_us = PQgetisnull(result, 0, DUE_NEXT_US) ? -1 : result_int8(result, 0, DUE_NEXT_US);
    if (result_int8(result, 0, DUE_OVERSIZED) > 0)
        LOG_AT(LOG_WARN, "ledger", "parked events are too large to be taken up now: they wait",
               LOG_NUM("events", result_int8(result, 0, DUE_OVERSIZED)),
               LOG_NUM("room_bytes", (int64_t)original_room(op->arena)));
    due_read_all(op, result);
}

/* Which rows a lost take has taken, only its token tells. */
static void due_complete(struct job *job, enum ledger_result result)
{
    struct due_take_op *op = job->op;
    job->queue->due_lost = result == LEDGER_AWAY;
    job->queue->due_lost_token = op->token;
    CRASH_POINT_IF(AFTER_DUE_TAKE, result == LEDGER_OK && op->count > 0);
    op->done(op, result);
}

const struct job_methods job_due_take_methods = {
    .name = "due_take",
    .encode = due_encode,
    .decode = due_decode,
    .complete = due_complete,
};
