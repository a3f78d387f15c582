/* What validation has cost today, as all workers have recorded it. */
#include "job.h"
#include "result.h"

enum { SPEND_SPENT, SPEND_DAY, SPEND_DAY_ENDS_IN };

static void spend_encode(const struct piece *piece, struct params *params, struct buf *scratch)
{
    (void)piece;
    (void)params;
    (void)scratch;
}

static void spend_decode(struct piece *piece, const PGresult *result)
{
    struct spend_op *op = piece->job->op;
    assert(PQntuples(result) == 1);
    op->spent = result_int8(result, 0, SPEND_SPENT);
    op->day = result_int4(result, 0, SPEND_DAY);
    op->day_ends_in_us = result_int8(result, 0, SPEND_DAY_ENDS_IN);
}

static void spend_complete(struct job *job, enum ledger_result result)
{
    struct spend_op *op = job->op;
    op->done(op, result);
}

const struct job_methods job_spend_methods = {
    .name = "spend",
    .encode = spend_encode,
    .decode = spend_decode,
    .complete = spend_complete,
};
