/* Replays: dead rows selected, parked again, followed; dead letters put back where the ledger is gone.
 * Blocking, for commands; the statements stand in replay_sql.c.
 *
 * Nothing here happens twice: a row is parked only while it is dead, and never twice by the same replay
 * (replay_id), so that a batch whose answer was lost may simply be sent again. Rows are locked in the order
 * of their ids, as the workers do, and numbered in the order of the batch. Events of people who were forgotten
 * are none that could be brought back, also where a letter tells of them still. */
#include "signup/ledger/replay.h"

#include "direct.h"
#include "fault.h"
#include "params.h"
#include "replay_put.h"
#include "replay_sql.h"
#include "result.h"
#include "schema.h"
#include "sql.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PARAMS_BYTES_MAX ((size_t)512 << 20)

struct replay_ledger {
    const struct ledger_config *config;
    struct direct direct;
    struct params params;
    bool ascii; /* the database's encoding is not UTF-8 */
};

/* ------------------------------------------------------------------ asking */

static enum ledger_verdict verdict_of_fault(enum fault fault)
{
    switch (fault) {
    case FAULT_DENIED:
        return LEDGER_VERDICT_REFUSED;
    case FAULT_AWAY:
    case FAULT_RETRY:
        return LEDGER_VERDICT_AWAY;
    default:
        return LEDGER_VERDICT_SCHEMA;
    }
}

/* Says why, and gives the fault. Clears the result. */
static enum fault ask_failed(struct replay_ledger *ledger, PGresult *result)
{
    struct direct *direct = &ledger->direct;
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    bool lost = !sqlstate || PQstatus(direct->pg) != CONNECTION_OK;
    enum fault fault = lost ? FAULT_AWAY : fault_of_sqlstate(sqlstate);
    snprintf(direct->error, LEDGER_ERROR_BYTES, "PostgreSQL at %s: %s%s%s%s", direct->server,
             message ? message : "the connection was lost", sqlstate ? " (" : "", sqlstate ? sqlstate : "",
             sqlstate ? ")" : "");
    PQclear(result);
    return fault;
}

static bool is_well(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_SINGLE_TUPLE;
}

/* Sends `sql` with the parameters that have been built. */
static bool ask_send(struct replay_ledger *ledger, const char *sql)
{
    struct params *params = &ledger->params;
    char *text = params_finish(params) ? sql_render(sql, ledger->direct.schema) : NULL;
    int sent = text ? PQsendQueryParams(ledger->direct.pg, text, params->count, NULL, params->values,
                                        params->lengths, params->formats, 1)
                    : -1;
    free(text);
    if (sent < 0)
        snprintf(ledger->direct.error, LEDGER_ERROR_BYTES, "out of memory");
    else if (sent == 0)
        snprintf(ledger->direct.error, LEDGER_ERROR_BYTES, "PostgreSQL at %s: the connection was lost",
                 ledger->direct.server);
    return sent == 1;
}

/* The whole answer, in binary; NULL: `*fault` says why. */
static PGresult *ask(struct replay_ledger *ledger, const char *sql, enum fault *fault)
{
    if (!ask_send(ledger, sql)) {
        *fault = PQstatus(ledger->direct.pg) == CONNECTION_OK ? FAULT_SCHEMA : FAULT_AWAY;
        return NULL;
    }
    PGresult *result = PQgetResult(ledger->direct.pg);
    for (PGresult *more; (more = PQgetResult(ledger->direct.pg));)
        PQclear(more);
    if (is_well(result))
        return result;
    *fault = ask_failed(ledger, result);
    return NULL;
}

/* A transaction of its own for a large question: no look by contact (the head of the statements), no
 * compiler. */
static bool begin_reading(struct replay_ledger *ledger, enum ledger_verdict *verdict)
{
    PGresult *result =
        direct_run(&ledger->direct,
                   "BEGIN READ ONLY; SET LOCAL enable_nestloop = off; SET LOCAL enable_mergejoin = off;"
                   " SET LOCAL jit = off; SET LOCAL statement_timeout = 0",
                   0, NULL, verdict);
    PQclear(result);
    return result != NULL;
}

static void end_reading(struct replay_ledger *ledger)
{
    PQclear(PQexec(ledger->direct.pg, "ROLLBACK"));
}

/* ------------------------------------------------------------------ opening */

static enum ledger_verdict connect_and_look(struct replay_ledger *ledger, char *error)
{
    enum ledger_verdict verdict = direct_open(&ledger->direct, ledger->config, error);
    if (verdict != LEDGER_VERDICT_WELL)
        return verdict;
    int version = direct_version(&ledger->direct, &verdict);
    if (version < 0)
        return verdict;
    if (!schema_version_fits(ledger->config->schema, version, error, LEDGER_ERROR_BYTES))
        return LEDGER_VERDICT_SCHEMA;
    const char *encoding = PQparameterStatus(ledger->direct.pg, "server_encoding");
    ledger->ascii = !encoding || strcmp(encoding, "UTF8") != 0;
    return LEDGER_VERDICT_WELL;
}

enum ledger_verdict ledger_replay_open(const struct ledger_config *config, struct replay_ledger **out,
                                       char *error)
{
    struct replay_ledger *ledger = calloc(1, sizeof *ledger);
    *out = NULL;
    if (!ledger) {
        snprintf(error, LEDGER_ERROR_BYTES, "out of memory");
        return LEDGER_VERDICT_AWAY;
    }
    ledger->config = config;
    params_init(&ledger->params, PARAMS_BYTES_MAX);
    enum ledger_verdict verdict = connect_and_look(ledger, error);
    if (verdict == LEDGER_VERDICT_WELL)
        *out = ledger;
    else
        ledger_replay_close(ledger);
    return verdict;
}

enum ledger_verdict ledger_replay_reopen(struct replay_ledger *ledger)
{
    char *error = ledger->direct.error;
    direct_close(&ledger->direct);
    return connect_and_look(ledger, error);
}

void ledger_replay_close(struct replay_ledger *ledger)
{
    if (!ledger)
        return;
    direct_close(&ledger->direct);
    params_fini(&ledger->params);
    free(ledger);
}

/* ------------------------------------------------------------------ selecting */

static struct replay_row row_read(const PGresult *result)
{
    return (struct replay_row){
        .event_id = result_slice(result, 0, 0),
        .phone_number = result_slice(result, 0, 1),
        .list_number = result_slice(result, 0, 2),
        .code = result_slice(result, 0, 3),
        .ad_network = result_slice(result, 0, 4),
        .http_status = result_int4(result, 0, 5),
        .finished_at = result_time(result, 0, 6),
        .superseded = result_bool(result, 0, 7),
        .original = result_bool(result, 0, 8),
    };
}

/* Row by row, so that a large selection is held once only, by the caller. */
static enum ledger_verdict read_rows(struct replay_ledger *ledger,
                                     bool (*row)(void *ctx, const struct replay_row *row), void *ctx)
{
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    bool wanted = true;
    PQsetSingleRowMode(ledger->direct.pg);
    for (PGresult *result; (result = PQgetResult(ledger->direct.pg));) {
        if (!is_well(result)) {
            verdict = verdict_of_fault(ask_failed(ledger, result));
            continue;
        }
        if (wanted && PQntuples(result) == 1) {
            const struct replay_row read = row_read(result);
            wanted = row(ctx, &read);
        }
        PQclear(result);
    }
    return verdict;
}

enum ledger_verdict ledger_replay_select(struct replay_ledger *ledger, const struct replay_filter *filter,
                                         bool (*row)(void *ctx, const struct replay_row *row), void *ctx)
{
    enum ledger_verdict verdict = LEDGER_VERDICT_AWAY;
    if (!begin_reading(ledger, &verdict))
        return verdict;
    replay_put_filter(&ledger->params, filter);
    if (ask_send(ledger, replay_select_text))
        verdict = read_rows(ledger, row, ctx);
    else
        verdict = LEDGER_VERDICT_AWAY;
    end_reading(ledger);
    return verdict;
}

/* ------------------------------------------------------------------ what is known of letters */

static void copy_text(struct slice from, char *to, size_t size)
{
    size_t len = from.len < size ? from.len : size - 1;
    if (slice_present(from))
        memcpy(to, from.ptr, len);
    to[slice_present(from) ? len : 0] = '\0';
}

enum ledger_verdict ledger_replay_look(struct replay_ledger *ledger, struct replay_known *known, size_t count,
                                       bool superseded_too)
{
    enum ledger_verdict verdict = LEDGER_VERDICT_AWAY;
    enum fault fault = FAULT_AWAY;
    if (!begin_reading(ledger, &verdict))
        return verdict;
    replay_put_known(&ledger->params, known, count, superseded_too);
    PGresult *result = ask(ledger, replay_look_text, &fault);
    end_reading(ledger);
    if (!result)
        return verdict_of_fault(fault);
    for (int row = 0; row < PQntuples(result); row++) {
        size_t nth = (size_t)result_int8(result, row, 0) - 1;
        assert(nth < count);
        struct replay_known *it = &known[nth];
        it->there = result_bool(result, row, 1);
        it->dead = result_bool(result, row, 2);
        it->original = result_bool(result, row, 3);
        it->superseded = result_bool(result, row, 4);
        copy_text(result_slice(result, row, 5), it->phone, sizeof it->phone);
        copy_text(result_slice(result, row, 6), it->list, sizeof it->list);
    }
    PQclear(result);
    return LEDGER_VERDICT_WELL;
}

/* ------------------------------------------------------------------ the row of the replay */

enum ledger_verdict ledger_replay_begin(struct replay_ledger *ledger, const struct replay_run *run,
                                        int64_t *replay_id)
{
    char selected[24];
    snprintf(selected, sizeof selected, "%" PRIu64, run->selected);
    const char *values[] = {run->who, run->reason, run->selection, selected};
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    PGresult *result = direct_run(&ledger->direct, replay_begin_text, 4, values, &verdict);
    if (!result)
        return verdict;
    *replay_id = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return LEDGER_VERDICT_WELL;
}

enum ledger_verdict ledger_replay_finish(struct replay_ledger *ledger, int64_t replay_id,
                                         const struct replay_tally *tally)
{
    enum fault fault = FAULT_AWAY;
    params_reset(&ledger->params);
    replay_put_tally(&ledger->params, replay_id, tally);
    PGresult *result = ask(ledger, replay_finish_text, &fault);
    PQclear(result);
    return result ? LEDGER_VERDICT_WELL : verdict_of_fault(fault);
}

/* ------------------------------------------------------------------ handing over */

static enum replay_answer answer_of(char letter)
{
    return letter == 'p' ? REPLAY_PARKED : letter == 'o' ? REPLAY_WITHOUT_ORIGINAL : REPLAY_NOT_DEAD;
}

static enum fault hand_over_once(struct replay_ledger *ledger, int64_t replay_id, struct replay_item *items,
                                 size_t count, const struct replay_tally *tally)
{
    bool letters = items[0].letter != NULL;
    enum fault fault = FAULT_NONE;
    if (letters) {
        replay_put_letters(&ledger->params, items, count, ledger->ascii);
    } else {
        replay_put_items(&ledger->params, items, count);
    }
    replay_put_tally(&ledger->params, replay_id, tally);
    PGresult *result = ask(ledger, letters ? replay_put_back_text : replay_hand_over_text, &fault);
    for (int row = 0; result && row < PQntuples(result); row++) {
        size_t nth = (size_t)result_int8(result, row, 0) - 1;
        assert(nth < count);
        items[nth].answer = answer_of(result_char(result, row, 1));
    }
    PQclear(result);
    return fault;
}

enum ledger_verdict ledger_replay_hand_over(struct replay_ledger *ledger, int64_t replay_id,
                                            struct replay_item *items, size_t count,
                                            const struct replay_tally *tally)
{
    assert(count > 0 && count <= REPLAY_BATCH_MAX);
    enum fault fault = hand_over_once(ledger, replay_id, items, count, tally);
    if (fault == FAULT_NONE)
        return LEDGER_VERDICT_WELL;
    if (fault != FAULT_POISON || !items[0].letter)
        return verdict_of_fault(fault);
    if (count == 1) {
        items[0].answer = REPLAY_REFUSED;
        return LEDGER_VERDICT_WELL;
    }
    /* Which letter it is, halving finds; what went already is known by its replay. */
    enum ledger_verdict verdict = ledger_replay_hand_over(ledger, replay_id, items, count / 2, tally);
    if (verdict != LEDGER_VERDICT_WELL)
        return verdict;
    return ledger_replay_hand_over(ledger, replay_id, items + count / 2, count - count / 2, tally);
}

/* ------------------------------------------------------------------ following */

enum ledger_verdict ledger_replay_follow(struct replay_ledger *ledger, const struct slice *event_ids,
                                         size_t count, void (*ended)(void *ctx, const struct replay_end *end),
                                         void *ctx)
{
    enum fault fault = FAULT_AWAY;
    replay_put_follow(&ledger->params, event_ids, count);
    PGresult *result = ask(ledger, replay_follow_text, &fault);
    if (!result)
        return verdict_of_fault(fault);
    for (int row = 0; row < PQntuples(result); row++) {
        const struct replay_end end = {
            .nth = (size_t)result_int8(result, row, 0) - 1,
            .accepted = result_bool(result, row, 1),
            .code = result_slice(result, row, 2),
            .http_status = result_int4(result, row, 3),
        };
        assert(end.nth < count);
        ended(ctx, &end);
    }
    PQclear(result);
    return LEDGER_VERDICT_WELL;
}
