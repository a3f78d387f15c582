/* Claims: the statement's parameters, and what each letter of its answer means. */
#include "job.h"
#include "original.h"
#include "result.h"

#include "signup/base/crash.h"

static struct claim_item *item_of(const struct job *job, uint32_t item)
{
    const struct claim_op *op = job->op;
    return op->items[item];
}

static struct slice claim_id(const struct job *job, uint32_t item)
{
    return item_of(job, item)->event_id;
}

/* Runs what follows for each item of the piece, as `it`. */
#define EACH(piece)                                                                                          \
    for (uint32_t at_ = (piece)->low; at_ < (piece)->high; at_++)                                            \
        for (const struct claim_item *it = item_of((piece)->job, (piece)->job->items[at_]); it; it = NULL)

static void claim_encode(const struct piece *piece, struct params *params, struct buf *scratch)
{
    (void)scratch;
    const struct claim_op *op = piece->job->op;
    params_begin(params, PG_TEXT);
    EACH (piece)
        params_put_text(params, it->event_id);
    params_end(params);
    params_begin(params, PG_TEXT);
    EACH (piece)
        params_put_text(params, it->record->topic);
    params_end(params);
    params_begin(params, PG_INT4);
    EACH (piece)
        params_put_int4(params, it->record->partition);
    params_end(params);
    params_begin(params, PG_INT8);
    EACH (piece)
        params_put_int8(params, it->record->offset);
    params_end(params);
    params_begin(params, PG_TEXT);
    EACH (piece)
        params_put_text(params, it->signup->phone_number);
    params_end(params);
    params_begin(params, PG_TEXT);
    EACH (piece)
        params_put_text(params, it->signup->list_number);
    params_end(params);
    params_begin(params, PG_BYTEA);
    EACH (piece)
        params_put_bytes(params, it->signup->digest, SIGNUP_DIGEST_BYTES);
    params_end(params);
    params_begin(params, PG_UUID);
    EACH (piece)
        params_put_bytes(params, it->token.bytes, sizeof it->token.bytes);
    params_end(params);
    params_scalar_int8(params, op->lease_us);
    if (piece->sql != SQL_CLAIM_KNOWN)
        return;
    params_begin(params, PG_TEXT);
    EACH (piece) {
        if (it->wants_known)
            params_put_text(params, it->event_id);
    }
    params_end(params);
}

static enum claim_answer answer_of(char letter)
{
    switch (letter) {
    case 'g':
        return CLAIM_GO;
    case 's': /* this very record, or the same content again */
    case 'd': /* other content: the statement has written the warning */
        return CLAIM_SETTLED;
    case 'p':
        return CLAIM_BEHIND;
    case 'c':
        return CLAIM_CONFLICT;
    default:
        return CLAIM_BUSY;
    }
}

enum sql_id job_claim_statement(const struct claim_op *op)
{
    for (size_t i = 0; i < op->count; i++) {
        if (op->items[i]->wants_known)
            return SQL_CLAIM_KNOWN;
    }
    return SQL_CLAIM;
}

static void claim_decode(struct piece *piece, const PGresult *result)
{
    struct job *job = piece->job;
    /* A row that another claim took between the statement's snapshot and its lock is not among the answers.
     */
    for (uint32_t at = piece->low; at < piece->high; at++) {
        item_of(job, job->items[at])->answer = CLAIM_BUSY;
        item_of(job, job->items[at])->known = (struct known_validation){0};
    }
    uint32_t cursor = piece->low;
    for (int row = 0; row < PQntuples(result); row++) {
        uint32_t at = job_find(piece, &cursor, result_slice(result, row, 0));
        assert(at != JOB_NOT_FOUND);
        struct claim_item *it = item_of(job, job->items[at]);
        it->answer = answer_of(result_char(result, row, 1));
        it->maybe_sent = result_bool(result, row, 2);
        it->attempts = result_int4(result, row, 3);
        it->age_us = PQgetisnull(result, row, 4) ? 0 : result_interval_us(result, row, 4);
        if (piece->sql == SQL_CLAIM_KNOWN && it->wants_known)
            it->known = original_known(result, row, 5, it->arena);
    }
}

static void claim_refuse(struct job *job, uint32_t item)
{
    item_of(job, item)->answer = CLAIM_POISON;
}

static void claim_complete(struct job *job, enum ledger_result result)
{
    struct claim_op *op = job->op;
    CRASH_POINT_IF(AFTER_CLAIM, result == LEDGER_OK);
    op->done(op, result);
}

const struct job_methods job_claim_methods = {
    .name = "claim",
    .encode = claim_encode,
    .decode = claim_decode,
    .refuse = claim_refuse,
    .id_of = claim_id,
    .complete = claim_complete,
};
