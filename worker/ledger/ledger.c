/* The ledger as the pipeline sees it: the port's functions, the condition of the server, and its beginning
 * and end. */
#include "signup/ledger/ledger.h"

#include "conn.h"
#include "job.h"

#include "signup/base/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ledger {
    struct conn conn;
    struct job_queue queue;
    char *schema;
    void (*poke)(void *ctx);
    void (*on_state)(void *ctx, enum ledger_condition condition, const char *why, wall_us_t since);
    void *ctx;

    enum ledger_condition condition;
    wall_us_t since;
    char why[LEDGER_ERROR_BYTES];

    bool away_said; /* one line when it goes, one when it is back, however often we try between */
    char said_why[LEDGER_ERROR_BYTES];
    wall_us_t away_since;
    bool trouble; /* it went because statements failed: connected again is not yet well again */
    uint64_t successes_before;

    bool closing;
    int parts; /* connection, queue timer */
    void (*closed)(void *ctx);
    void *closed_ctx;
};

const char *ledger_condition_str(enum ledger_condition condition)
{
    static const char *const names[] = {[LEDGER_CONDITION_UP] = "up",
                                        [LEDGER_CONDITION_AWAY] = "away",
                                        [LEDGER_CONDITION_REFUSED] = "refused"};
    return names[condition];
}

/* ------------------------------------------------------------------ the condition */

static void poke(const struct ledger *ledger)
{
    if (ledger->poke && !ledger->closing)
        ledger->poke(ledger->ctx);
}

static void condition_set(struct ledger *ledger, enum ledger_condition condition, const char *why)
{
    if (condition != ledger->condition)
        ledger->since = clock_wall_now();
    bool news = condition != ledger->condition || strcmp(why, ledger->why) != 0;
    ledger->condition = condition;
    if (why != ledger->why)
        snprintf(ledger->why, sizeof ledger->why, "%s", why);
    if (news && ledger->on_state && !ledger->closing)
        ledger->on_state(ledger->ctx, condition, ledger->why, ledger->since);
}

static void say_away(struct ledger *ledger, bool refused, const char *why)
{
    char since[WALL_TEXT_BYTES];
    if (ledger->away_said && (!refused || strcmp(ledger->said_why, why) == 0))
        return;
    if (!ledger->away_said)
        ledger->away_since = clock_wall_now();
    ledger->away_said = true;
    snprintf(ledger->said_why, sizeof ledger->said_why, "%s", why);
    wall_format_utc(ledger->away_since, since);
    if (refused)
        LOG_AT(LOG_ERROR, "ledger",
               "the ledger cannot be used: consuming nothing and calling nobody until it can",
               LOG_STR("server", ledger->conn.server), LOG_STR("since", since), LOG_STR("why", why));
    else
        LOG_AT(LOG_WARN, "ledger",
               "PostgreSQL is away: consuming nothing and calling nobody until it is back",
               LOG_STR("server", ledger->conn.server), LOG_STR("since", since), LOG_STR("why", why));
}

static void say_back(struct ledger *ledger)
{
    if (!ledger->away_said)
        return;
    ledger->away_said = false;
    ledger->trouble = false;
    LOG_AT(LOG_INFO, "ledger", "PostgreSQL is back", LOG_STR("server", ledger->conn.server),
           LOG_NUM("away_ms", (clock_wall_now().us - ledger->away_since.us) / US_PER_MS));
}

static void on_ready(void *ctx)
{
    struct ledger *ledger = ctx;
    if (ledger->conn.connects == 1 && !ledger->away_said)
        LOG_AT(LOG_INFO, "ledger", "connected to PostgreSQL", LOG_STR("server", ledger->conn.server),
               LOG_NUM("server_version", ledger->conn.server_version));
    ledger->successes_before = ledger->queue.successes;
    if (!ledger->trouble)
        say_back(ledger);
    condition_set(ledger, LEDGER_CONDITION_UP, "");
    poke(ledger);
}

static void on_lost(void *ctx, bool refused, const char *why)
{
    struct ledger *ledger = ctx;
    if (!ledger->closing)
        say_away(ledger, refused, why);
    condition_set(ledger, refused ? LEDGER_CONDITION_REFUSED : LEDGER_CONDITION_AWAY, why);
    job_fail_waiting(&ledger->queue);
}

static void on_room(void *ctx)
{
    struct ledger *ledger = ctx;
    job_pump(&ledger->queue);
}

static const struct conn_events conn_events = {.ready = on_ready, .lost = on_lost, .room = on_room};

static void on_completed(void *ctx)
{
    struct ledger *ledger = ctx;
    if (ledger->trouble && ledger->queue.successes > ledger->successes_before)
        say_back(ledger);
    poke(ledger);
}

/* Connected, but it cannot work (disk full, read-only, tables gone): a new connection, which may find another
 * server, after a pause. */
static void on_trouble(void *ctx, const char *why)
{
    struct ledger *ledger = ctx;
    ledger->trouble = true;
    conn_give_up(&ledger->conn, why);
}

/* ------------------------------------------------------------------ the port */

static struct job *submit(struct ledger *ledger, const struct job_methods *methods, void *op, size_t count)
{
    if (ledger->closing || ledger->conn.state != CONN_READY || ledger->conn.broken)
        return NULL;
    return job_new(&ledger->queue, methods, op, count);
}

/* The first statements are queued; what memory is short for ends with LEDGER_AWAY like any other. */
static enum port_status started(struct ledger *ledger, struct job *job)
{
    if (!job->pieces) {
        ledger->queue.jobs--;
        free(job);
        return PORT_AWAY;
    }
    job_pump(&ledger->queue);
    return PORT_OK;
}

static enum port_status submit_whole(struct ledger *ledger, const struct job_methods *methods, void *op,
                                     size_t count, enum sql_id sql)
{
    struct job *job = submit(ledger, methods, op, count);
    if (!job)
        return PORT_AWAY;
    job_add_piece(job, sql, 0, job->count, 0);
    return started(ledger, job);
}

static enum port_status port_claim(void *ctx, struct claim_op *op)
{
    return submit_whole(ctx, &job_claim_methods, op, op->count, job_claim_statement(op));
}

static enum port_status port_record(void *ctx, struct record_op *op)
{
    struct ledger *ledger = ctx;
    struct job *job = submit(ledger, &job_record_methods, op, op->count);
    if (!job)
        return PORT_AWAY;
    /* Released claims behind the others: each kind is a statement. */
    uint32_t finals = 0;
    for (uint32_t i = 0; i < job->count; i++) {
        if (op->items[i]->state != RECORD_RELEASED)
            job->items[finals++] = i;
    }
    uint32_t end = finals;
    for (uint32_t i = 0; i < job->count; i++) {
        if (op->items[i]->state == RECORD_RELEASED)
            job->items[end++] = i;
    }
    if (finals || !job->count)
        job_add_piece(job, SQL_RECORD, 0, finals, 0);
    if (finals < job->count)
        job_add_piece(job, SQL_RELEASE, finals, job->count, 0);
    return started(ledger, job);
}

static enum port_status port_extend(void *ctx, struct lease_op *op)
{
    return submit_whole(ctx, &job_extend_methods, op, op->count, SQL_EXTEND);
}

static enum port_status port_due_take(void *ctx, struct due_take_op *op)
{
    const struct ledger *ledger = ctx;
    return submit_whole(ctx, &job_due_take_methods, op, 0, job_due_statement(&ledger->queue, op));
}

static enum port_status port_outbox_take(void *ctx, struct outbox_take_op *op)
{
    return submit_whole(ctx, &job_outbox_take_methods, op, 0, SQL_OUTBOX_TAKE);
}

static enum port_status port_outbox_mark(void *ctx, struct outbox_mark_op *op)
{
    return submit_whole(ctx, &job_outbox_mark_methods, op, 0, SQL_OUTBOX_MARK);
}

static enum port_status port_outcome_take(void *ctx, struct outcome_take_op *op)
{
    return submit_whole(ctx, &job_outcome_take_methods, op, 0, SQL_OUTCOME_TAKE);
}

static enum port_status port_outcome_mark(void *ctx, struct outcome_mark_op *op)
{
    return submit_whole(ctx, &job_outcome_mark_methods, op, 0, SQL_OUTCOME_MARK);
}

static enum port_status port_spend(void *ctx, struct spend_op *op)
{
    return submit_whole(ctx, &job_spend_methods, op, 0, SQL_SPEND);
}

enum port_status ledger_count(struct ledger *ledger, struct ledger_counts_op *op)
{
    struct job *job = submit(ledger, &job_counts_methods, op, 0);
    if (!job)
        return PORT_AWAY;
    job_counts_begin(op);
    job_add_piece(job, SQL_COUNT_PARKED, 0, 0, 0);
    job_add_piece(job, SQL_COUNT_UNPUBLISHED, 0, 0, 0);
    job_add_piece(job, SQL_COUNT_OUTCOMES, 0, 0, 0);
    return started(ledger, job);
}

const struct ledger_port *ledger_port(void)
{
    static const struct ledger_port port = {
        .claim = port_claim,
        .record = port_record,
        .extend = port_extend,
        .due_take = port_due_take,
        .outbox_take = port_outbox_take,
        .outbox_mark = port_outbox_mark,
        .outcome_take = port_outcome_take,
        .outcome_mark = port_outcome_mark,
        .spend = port_spend,
    };
    return &port;
}

/* ------------------------------------------------------------------ beginning and end */

struct ledger *ledger_create(struct uv_loop_s *loop, const struct ledger_config *config, char *error)
{
    struct ledger *ledger = calloc(1, sizeof *ledger);
    char *schema = strdup(config->schema ? config->schema : "");
    if (!ledger || !schema) {
        free(ledger);
        free(schema);
        snprintf(error, LEDGER_ERROR_BYTES, "out of memory");
        return NULL;
    }
    ledger->schema = schema;
    if (!conn_init(&ledger->conn, loop, config, schema, &conn_events, ledger, error)) {
        free(schema);
        free(ledger);
        return NULL;
    }
    job_queue_init(&ledger->queue, &ledger->conn, on_completed, on_trouble, ledger);
    ledger->poke = config->poke;
    ledger->on_state = config->on_state;
    ledger->ctx = config->ctx;
    ledger->condition = LEDGER_CONDITION_AWAY;
    ledger->since = clock_wall_now();
    snprintf(ledger->why, sizeof ledger->why, "not connected yet");
    return ledger;
}

static void part_closed(struct ledger *ledger)
{
    if (--ledger->parts > 0)
        return;
    job_fail_waiting(&ledger->queue);
    job_queue_fini(&ledger->queue);
    void (*closed)(void *ctx) = ledger->closed;
    void *ctx = ledger->closed_ctx;
    if (closed)
        closed(ctx);
    free(ledger->schema);
    free(ledger);
}

static void on_conn_closed(void *ctx)
{
    part_closed(ctx);
}

static void on_queue_timer_closed(uv_handle_t *handle)
{
    const struct job_queue *queue = handle->data;
    part_closed(queue->ctx);
}

void ledger_close(struct ledger *ledger, void (*closed)(void *ctx), void *ctx)
{
    assert(!ledger->closing);
    ledger->closing = true;
    ledger->closed = closed;
    ledger->closed_ctx = ctx;
    ledger->parts = 2;
    uv_timer_stop(&ledger->queue.timer);
    uv_close((uv_handle_t *)&ledger->queue.timer, on_queue_timer_closed);
    conn_close(&ledger->conn, on_conn_closed);
}

void ledger_status(const struct ledger *ledger, struct ledger_status *out)
{
    *out = (struct ledger_status){
        .condition = ledger->condition,
        .why = ledger->why,
        .since = ledger->since,
        .server = ledger->conn.server,
        .server_version = ledger->conn.server_version,
        .connects = ledger->conn.connects,
        .losses = ledger->conn.losses,
        .statements = ledger->conn.answered,
        .retries = ledger->queue.retries,
        .forgotten = ledger->conn.forgotten,
        .bisections = ledger->queue.bisections,
        .pending = ledger->queue.jobs,
    };
}
