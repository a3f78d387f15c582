/* What waits in the ledger, counted for the metrics: chains of statements, each of which counts a slice and
 * is followed by the next. */
#include "job.h"
#include "result.h"

#include <stdlib.h>

#define COUNTED_MAX 1000000

enum { COUNT_ALL, COUNT_DUE, COUNT_AGE, COUNT_LAST };

void job_counts_begin(struct ledger_counts_op *op)
{
    op->parked = op->parked_due = op->dead_unpublished = op->outcomes_unpublished = 0;
    op->oldest_parked_due_us = op->oldest_unpublished_us = op->oldest_outcome_us = -1;
    op->parked_to = op->unpublished_to = op->outcomes_to = INT64_MIN; /* of times: "-infinity" */
}

/* What one kind is counted in. */
struct kind {
    uint64_t *all;
    int64_t *oldest;
    int64_t *to;
};

static struct kind kind_of(enum sql_id sql, struct ledger_counts_op *op)
{
    switch (sql) {
    case SQL_COUNT_PARKED:
        return (struct kind){&op->parked, &op->oldest_parked_due_us, &op->parked_to};
    case SQL_COUNT_UNPUBLISHED:
        return (struct kind){&op->dead_unpublished, &op->oldest_unpublished_us, &op->unpublished_to};
    case SQL_COUNT_OUTCOMES:
        return (struct kind){&op->outcomes_unpublished, &op->oldest_outcome_us, &op->outcomes_to};
    default:
        abort();
    }
}

static void counts_encode(const struct piece *piece, struct params *params, struct buf *scratch)
{
    (void)scratch;
    params_scalar_int8(params, *kind_of(piece->sql, piece->job->op).to);
}

static void counts_decode(struct piece *piece, const PGresult *result)
{
    struct ledger_counts_op *op = piece->job->op;
    const struct kind kind = kind_of(piece->sql, op);
    assert(PQntuples(result) == 1);
    int64_t due = result_int8(result, 0, COUNT_DUE);
    if (due > 0 && *kind.to == INT64_MIN) /* the first of the first slice is the oldest */
        *kind.oldest = result_int8(result, 0, COUNT_AGE);
    *kind.all += (uint64_t)result_int8(result, 0, COUNT_ALL);
    if (piece->sql == SQL_COUNT_PARKED)
        op->parked_due += (uint64_t)due;
    if (PQgetisnull(result, 0, COUNT_LAST) || *kind.all >= COUNTED_MAX)
        return;
    *kind.to = result_int8(result, 0, COUNT_LAST);
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
