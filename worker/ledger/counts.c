/* What waits in the ledger, counted for the metrics: two chains of statements, each of which counts a slice
 * and is followed by the next. */
#include "job.h"
#include "result.h"

#define COUNTED_MAX 1000000

enum { COUNT_ALL, COUNT_DUE, COUNT_AGE, COUNT_LAST };

void job_counts_begin(struct ledger_counts_op *op)
{
    op->parked = op->parked_due = op->dead_unpublished = 0;
    op->oldest_parked_due_us = op->oldest_unpublished_us = -1;
    op->parked_to = op->unpublished_to = INT64_MIN; /* "-infinity" */
}

static void counts_encode(const struct piece *piece, struct params *params, struct buf *scratch)
{
    (void)scratch;
    const struct ledger_counts_op *op = piece->job->op;
    params_scalar_int8(params, piece->sql == SQL_COUNT_PARKED ? op->parked_to : op->unpublished_to);
}

static void counts_decode(struct piece *piece, const PGresult *result)
{
    struct ledger_counts_op *op = piece->job->op;
    bool parked = piece->sql == SQL_COUNT_PARKED;
    uint64_t *all = parked ? &op->parked : &op->dead_unpublished;
    int64_t *oldest = parked ? &op->oldest_parked_due_us : &op->oldest_unpublished_us;
    int64_t *to = parked ? &op->parked_to : &op->unpublished_to;
    assert(PQntuples(result) == 1);
    int64_t due = result_int8(result, 0, COUNT_DUE);
    if (due > 0 && *to == INT64_MIN) /* the first of the first slice is the oldest */
        *oldest = result_int8(result, 0, COUNT_AGE);
    *all += (uint64_t)result_int8(result, 0, COUNT_ALL);
    if (parked)
        op->parked_due += (uint64_t)due;
    if (PQgetisnull(result, 0, COUNT_LAST) || *all >= COUNTED_MAX)
        return;
    *to = result_int8(result, 0, COUNT_LAST);
    job_add_piece(piece->job, piece->sql, 0, 0, 0);
}

static void counts_complete(struct job *job, enum ledger_result result)
{
    struct ledger_counts_op *op = job->op;
    op->done(op, result);
}

const struct job_methods job_counts_methods = {
    .name = "counts",
    .encode = counts_encode,
    .decode = counts_decode,
    .complete = counts_complete,
};
