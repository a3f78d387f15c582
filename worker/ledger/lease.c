/* Extensions of leases: what is not answered for is not held any more. */
#include "job.h"
#include "result.h"

#include "signup/base/crash.h"

static struct lease_item *item_of(const struct job *job, uint32_t item)
{
    const struct lease_op *op = job->op;
    return &op->items[item];
}

static struct slice extend_id(const struct job *job, uint32_t item)
{
    return item_of(job, item)->event_id;
}

/* Runs what follows for each item of the piece, as `it`. */
#define EACH(piece)                                                                                          \
    for (uint32_t at_ = (piece)->low; at_ < (piece)->high; at_++)                                            \
        for (const struct lease_item *it = item_of((piece)->job, (piece)->job->items[at_]); it; it = NULL)

static void extend_encode(const struct piece *piece, struct params *params, struct buf *scratch)
{
    (void)scratch;
    const struct lease_op *op = piece->job->op;
    params_begin(params, PG_TEXT);
    EACH (piece)
        params_put_text(params, it->event_id);
    params_end(params);
    params_begin(params, PG_UUID);
    EACH (piece)
        params_put_bytes(params, it->token.bytes, sizeof it->token.bytes);
    params_end(params);
    params_begin(params, PG_BOOL);
    EACH (piece)
        params_put_bool(params, it->maybe_sent);
    params_end(params);
    params_scalar_int8(params, op->lease_us);
}

static void extend_decode(struct piece *piece, const PGresult *result)
{
    struct job *job = piece->job;
    for (uint32_t at = piece->low; at < piece->high; at++)
        item_of(job, job->items[at])->held = false;
    uint32_t cursor = piece->low;
    for (int row = 0; row < PQntuples(result); row++) {
        uint32_t at = job_find(piece, &cursor, result_slice(result, row, 0));
        assert(at != JOB_NOT_FOUND);
        item_of(job, job->items[at])->held = true;
    }
}

/* An id that the database cannot read is nobody's row. */
static void extend_refuse(struct job *job, uint32_t item)
{
    item_of(job, item)->held = false;
}

static void extend_complete(struct job *job, enum ledger_result result)
{
    struct lease_op *op = job->op;
    CRASH_POINT_IF(AFTER_LEASE_EXTEND, result == LEDGER_OK);
    op->done(op, result);
}

const struct job_methods job_extend_methods = {
    .name = "extend",
    .encode = extend_encode,
    .decode = extend_decode,
    .refuse = extend_refuse,
    .id_of = extend_id,
    .complete = extend_complete,
};
