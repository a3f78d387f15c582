/* The batch engine; see job.h. */
#include "job.h"

#include "signup/base/crash.h"
#include "signup/base/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define TRIES_MAX 5
#define RETRY_BASE_US (20 * US_PER_MS)
#define RETRY_CAP_US (500 * US_PER_MS)
#define PARAMS_CAP_BYTES (64U << 20)
#define PIECE_BYTES (1U << 20) /* of payloads; one item may pass it */

static void on_piece_done(struct conn_request *request, const PGresult *result);

void job_queue_init(struct job_queue *queue, struct conn *conn, void (*completed)(void *ctx),
                    void (*trouble)(void *ctx, const char *why), void *ctx)
{
    memset(queue, 0, sizeof *queue);
    queue->conn = conn;
    queue->completed = completed;
    queue->trouble = trouble;
    queue->ctx = ctx;
    params_init(&queue->params, PARAMS_CAP_BYTES);
    params_init(&queue->follow_params, PARAMS_CAP_BYTES);
    buf_init(&queue->scratch, PARAMS_CAP_BYTES);
    if (uv_random(NULL, NULL, queue->worker, sizeof queue->worker, 0, NULL) != 0)
        for (size_t i = 0; i < sizeof queue->worker; i++)
            queue->worker[i] = (uint8_t)conn_jitter(conn, 512);
    uv_timer_init(conn->loop, &queue->timer);
    queue->timer.data = queue;
}

void job_queue_fini(struct job_queue *queue)
{
    assert(!queue->jobs && !queue->ready && !queue->later);
    params_fini(&queue->params);
    params_fini(&queue->follow_params);
    buf_fini(&queue->scratch);
}

struct job *job_new(struct job_queue *queue, const struct job_methods *methods, void *op, size_t count)
{
    struct job *job = calloc(1, sizeof *job + count * sizeof job->items[0]);
    if (!job)
        return NULL;
    job->methods = methods;
    job->queue = queue;
    job->op = op;
    job->count = (uint32_t)count;
    for (uint32_t i = 0; i < job->count; i++)
        job->items[i] = i;
    queue->jobs++;
    return job;
}

static void job_complete(struct job *job)
{
    struct job_queue *queue = job->queue;
    assert(!job->pieces && queue->jobs > 0);
    queue->jobs--;
    job->methods->complete(job, job->failed ? LEDGER_AWAY : LEDGER_OK);
    free(job);
    queue->completed(queue->ctx);
}

/* ------------------------------------------------------------------ pieces */

static struct piece *piece_new(struct job *job, enum sql_id sql, uint32_t low, uint32_t high, unsigned tries)
{
    struct piece *piece = calloc(1, sizeof *piece);
    if (!piece) {
        job->failed = true;
        return NULL;
    }
    *piece = (struct piece){
        .request = {.done = on_piece_done}, .job = job, .sql = sql, .low = low, .high = high, .tries = tries};
    job->pieces++;
    return piece;
}

static void piece_push_back(struct job_queue *queue, struct piece *piece)
{
    piece->next = NULL;
    if (queue->ready_tail)
        queue->ready_tail->next = piece;
    else
        queue->ready = piece;
    queue->ready_tail = piece;
}

static void piece_push_front(struct job_queue *queue, struct piece *piece)
{
    piece->next = queue->ready;
    queue->ready = piece;
    if (!queue->ready_tail)
        queue->ready_tail = piece;
}

static struct piece *piece_pop(struct job_queue *queue)
{
    struct piece *piece = queue->ready;
    queue->ready = piece->next;
    if (!queue->ready)
        queue->ready_tail = NULL;
    return piece;
}

void job_add_piece(struct job *job, enum sql_id sql, uint32_t low, uint32_t high, unsigned tries)
{
    struct piece *piece = piece_new(job, sql, low, high, tries);
    if (piece)
        piece_push_back(job->queue, piece);
}

/* The piece is answered for; with the last one the job ends. */
static void piece_finish(struct piece *piece)
{
    struct job *job = piece->job;
    free(piece);
    if (--job->pieces == 0)
        job_complete(job);
}

static void piece_fail(struct piece *piece)
{
    piece->job->failed = true;
    piece_finish(piece);
}

uint32_t job_find(const struct piece *piece, uint32_t *cursor, struct slice event_id)
{
    const struct job *job = piece->job;
    if (*cursor < piece->high && slice_equal(job->methods->id_of(job, job->items[*cursor]), event_id))
        return (*cursor)++;
    uint32_t low = piece->low;
    uint32_t high = piece->high;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = slice_compare(job->methods->id_of(job, job->items[middle]), event_id);
        if (order == 0) {
            *cursor = middle + 1;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return JOB_NOT_FOUND;
}

bool job_may_repeat(struct piece *piece)
{
    if (piece->tries + 1 >= TRIES_MAX) {
        piece->job->failed = true;
        return false;
    }
    piece->job->queue->retries++;
    return true;
}

/* ------------------------------------------------------------------ sending */

/* Statements carry a bounded weight: what is too much goes into a piece of its own, sent next. */
static void piece_trim(struct piece *piece)
{
    struct job *job = piece->job;
    size_t bytes = 0;
    if (!job->methods->weigh)
        return;
    for (uint32_t i = piece->low; i < piece->high; i++) {
        bytes += job->methods->weigh(job, job->items[i]);
        if (bytes <= PIECE_BYTES || i == piece->low)
            continue;
        struct piece *rest = piece_new(job, piece->sql, i, piece->high, piece->tries);
        if (rest)
            piece_push_front(job->queue, rest);
        piece->high = i;
        return;
    }
}

static void piece_send(struct job_queue *queue, struct piece *piece)
{
    piece_trim(piece);
    params_reset(&queue->params);
    buf_reset(&queue->scratch);
    params_reset(&queue->follow_params);
    const struct job_methods *methods = piece->job->methods;
    struct conn_statement statements[2] = {{piece->sql, &queue->params}, {.params = &queue->follow_params}};
    methods->encode(piece, &queue->params, &queue->scratch);
    bool follows = methods->follow && methods->follow(piece, &statements[1].id, &queue->follow_params);
    if (!params_finish(&queue->params) || !params_finish(&queue->follow_params) || queue->scratch.failed) {
        conn_give_up(queue->conn, "out of memory for a statement");
        piece_push_front(queue, piece); /* fails with the connection */
        return;
    }
    conn_send(queue->conn, &piece->request, statements, follows ? 2 : 1);
    CRASH_POINT_IF(AFTER_CLAIM_SENT, statements[0].id == SQL_CLAIM || statements[0].id == SQL_CLAIM_KNOWN);
    CRASH_POINT_IF(AFTER_RECORD_SENT, statements[0].id == SQL_RECORD);
}

void job_pump(struct job_queue *queue)
{
    while (queue->ready && conn_has_room(queue->conn))
        piece_send(queue, piece_pop(queue));
}

/* ------------------------------------------------------------------ repeating */

static void arm_later(struct job_queue *queue);

static void on_later(uv_timer_t *timer)
{
    struct job_queue *queue = timer->data;
    uint64_t now_ms = uv_now(queue->conn->loop);
    struct piece **link = &queue->later;
    while (*link) {
        struct piece *piece = *link;
        if (piece->due_ms > now_ms) {
            link = &piece->next;
            continue;
        }
        *link = piece->next;
        piece_push_back(queue, piece);
    }
    arm_later(queue);
    job_pump(queue);
}

static void arm_later(struct job_queue *queue)
{
    uint64_t soonest = UINT64_MAX;
    for (const struct piece *piece = queue->later; piece; piece = piece->next)
        soonest = piece->due_ms < soonest ? piece->due_ms : soonest;
    uint64_t now_ms = uv_now(queue->conn->loop);
    if (soonest != UINT64_MAX)
        uv_timer_start(&queue->timer, on_later, soonest > now_ms ? soonest - now_ms : 0, 0);
}

static void piece_repeat_later(struct piece *piece)
{
    struct job_queue *queue = piece->job->queue;
    int64_t pause_us = RETRY_BASE_US << piece->tries;
    piece->tries++;
    piece->due_ms =
        uv_now(queue->conn->loop) +
        (uint64_t)(conn_jitter(queue->conn, pause_us < RETRY_CAP_US ? pause_us : RETRY_CAP_US) / US_PER_MS) +
        1;
    piece->next = queue->later;
    queue->later = piece;
    arm_later(queue);
}

/* ------------------------------------------------------------------ answers */

static void piece_poisoned(struct piece *piece, const PGresult *result)
{
    struct job *job = piece->job;
    struct job_queue *queue = job->queue;
    uint32_t count = piece->high - piece->low;
    if (count > 1) {
        uint32_t middle = piece->low + count / 2;
        queue->bisections++;
        job_add_piece(job, piece->sql, piece->low, middle, piece->tries);
        job_add_piece(job, piece->sql, middle, piece->high, piece->tries);
    } else {
        char why[256];
        wire_error_text(queue->conn, result, why, sizeof why);
        char masked[256];
        text_mask_phones(slice_from_str(why), masked, sizeof masked);
        LOG_AT(LOG_WARN, "ledger", "the database refuses the data of one event",
               LOG_STR("statement", sql_name(piece->sql)),
               LOG_STR("sqlstate", PQresultErrorField(result, PG_DIAG_SQLSTATE)), LOG_STR("why", masked));
        job->methods->refuse(job, job->items[piece->low]);
    }
    piece_finish(piece);
}

static void piece_trouble(struct piece *piece, const PGresult *result)
{
    struct job_queue *queue = piece->job->queue;
    char why[LEDGER_ERROR_BYTES];
    wire_error_text(queue->conn, result, why, sizeof why);
    queue->trouble(queue->ctx, why);
    piece_fail(piece);
}

static void on_piece_done(struct conn_request *request, const PGresult *result)
{
    struct piece *piece = (struct piece *)request;
    struct job_queue *queue = piece->job->queue;
    if (!result) {
        piece_fail(piece);
        return;
    }
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
        conn_praise(queue->conn);
        queue->successes++;
        piece->job->methods->decode(piece, result);
        piece_finish(piece);
        return;
    }
    switch (fault_of_sqlstate(PQresultErrorField(result, PG_DIAG_SQLSTATE))) {
    case FAULT_RETRY:
        if (job_may_repeat(piece))
            piece_repeat_later(piece);
        else
            piece_finish(piece);
        return;
    case FAULT_POISON:
        if (piece->job->methods->refuse) {
            piece_poisoned(piece, result);
            return;
        }
        piece_trouble(piece, result);
        return;
    default:
        piece_trouble(piece, result);
    }
}

void job_fail_waiting(struct job_queue *queue)
{
    uv_timer_stop(&queue->timer);
    /* Completions may try to submit: the connection is not ready, so the lists only shrink. */
    while (queue->ready)
        piece_fail(piece_pop(queue));
    while (queue->later) {
        struct piece *piece = queue->later;
        queue->later = piece->next;
        piece_fail(piece);
    }
}
