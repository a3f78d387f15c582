/* The ledger's port: statements of one worker are executed and answered in order on one connection; they may
 * fail before or after they were executed, and the database may be away. The rules are in rows.c. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

enum op_kind {
    OP_CLAIM,
    OP_RECORD,
    OP_EXTEND,
    OP_DUE_TAKE,
    OP_OUTBOX_TAKE,
    OP_OUTBOX_MARK,
    OP_OUTCOME_TAKE,
    OP_OUTCOME_MARK,
    OP_SPEND
};

static const struct {
    const char *name;
    enum sim_step submit;
    enum sim_step done;
} kinds[] = {
    [OP_CLAIM] = {"claim", SIM_STEP_CLAIM, SIM_STEP_CLAIM_DONE},
    [OP_RECORD] = {"record", SIM_STEP_RECORD, SIM_STEP_RECORD_DONE},
    [OP_EXTEND] = {"extend", SIM_STEP_EXTEND, SIM_STEP_EXTEND_DONE},
    [OP_DUE_TAKE] = {"due take", SIM_STEP_DUE, SIM_STEP_DUE_DONE},
    [OP_OUTBOX_TAKE] = {"outbox take", SIM_STEP_TAKE_LETTERS, SIM_STEP_TAKE_LETTERS_DONE},
    [OP_OUTBOX_MARK] = {"outbox mark", SIM_STEP_MARK, SIM_STEP_MARK_DONE},
    [OP_OUTCOME_TAKE] = {"outcome take", SIM_STEP_TAKE_OUTCOMES, SIM_STEP_TAKE_OUTCOMES_DONE},
    [OP_OUTCOME_MARK] = {"outcome mark", SIM_STEP_MARK_OUTCOMES, SIM_STEP_MARK_OUTCOMES_DONE},
    [OP_SPEND] = {"spend", SIM_STEP_SPEND, SIM_STEP_SPEND_DONE},
};

/* The answer to one item, kept until it is given. */
struct item_answer {
    int answer;
    bool flag;
    struct sim_claimed claimed;
    const struct sim_row *row; /* as the statement saw it */
};

struct sim_op {
    struct sim_op *next;
    struct sim_life *life;
    enum op_kind kind;
    void *op;
    bool executed;
    bool failed;      /* the answer is "away" */
    bool fails_after; /* executed, but nobody hears of it */
    uint32_t stamp;   /* of the answer's event that counts */
    struct item_answer *answers;
    const struct sim_row **taken; /* as they were then */
    struct sim_remembered *known; /* of their phones */
    struct sim_outcome_taken *outcomes;
    int64_t spent;
    size_t count;
    bool more;
    int64_t next_due_in_us;
    int64_t executed_us;
};

/* ---- execution: at the server, whether the client lives or not */

static void claim_execute(struct sim *sim, struct sim_op *o)
{
    const struct claim_op *op = o->op;
    o->answers = sim_alloc(sim, op->count * sizeof *o->answers);
    for (size_t i = 0; i < op->count; i++)
        o->answers[i].claimed = sim_row_claim(sim, o->life, op->items[i], op->lease_us);
}

static void record_execute(struct sim *sim, struct sim_op *o)
{
    const struct record_op *op = o->op;
    o->answers = sim_alloc(sim, op->count * sizeof *o->answers);
    for (size_t i = 0; i < op->count; i++)
        o->answers[i].answer = (int)sim_row_record(sim, o->life, op->items[i]);
}

static void extend_execute(struct sim *sim, struct sim_op *o)
{
    const struct lease_op *op = o->op;
    o->answers = sim_alloc(sim, op->count * sizeof *o->answers);
    for (size_t i = 0; i < op->count; i++)
        o->answers[i].flag = sim_row_extend(sim, &op->items[i], op->lease_us);
}

static void due_take_execute(struct sim *sim, struct sim_op *o)
{
    o->count = sim_rows_take_due(sim, o->life, o->op, &o->taken, &o->next_due_in_us);
    o->known = sim_alloc(sim, o->count * sizeof *o->known + 1);
    for (size_t i = 0; i < o->count; i++)
        o->known[i] = sim_phone_remembered(sim, o->taken[i]->contact);
}

static bool letter_due(const struct sim *sim, const struct sim_row *row)
{
    return row->state == SIM_DEAD && !row->published && row->outbox_until_us <= sim->now_us;
}

static void outbox_take_execute(struct sim *sim, struct sim_op *o)
{
    const struct outbox_take_op *op = o->op;
    size_t due = 0;
    for (struct sim_row *row = sim->rows_all; row; row = row->next_all)
        due += letter_due(sim, row);
    o->answers = sim_alloc(sim, (due + 1) * sizeof *o->answers);
    for (struct sim_row *row = sim->rows_all; row && o->count < op->limit; row = row->next_all) {
        if (!letter_due(sim, row))
            continue;
        row->outbox_token = op->token;
        row->outbox_until_us = sim->now_us + op->lease_us;
        struct sim_row *seen = sim_alloc(sim, sizeof *seen);
        *seen = *row;
        o->answers[o->count++].row = seen;
    }
    o->more = due > o->count;
}

static void outbox_mark_execute(struct sim *sim, struct sim_op *o)
{
    const struct outbox_mark_op *op = o->op;
    for (size_t i = 0; i < op->count; i++) {
        const struct dead_letter *letter = &op->letters[i];
        struct sim_row *row = sim_row_find(sim, letter->event_id);
        if (!row || row->state != SIM_DEAD || memcmp(&row->outbox_token, &op->token, sizeof op->token) != 0)
            continue;
        struct sim_record *record = sim_record_find(sim, &letter->original);
        if (letter->published && (!record || !record->letter_acked))
            sim_fail(sim, "I7.mark", sim_whom_row(row, o->life->worker),
                     "%s is marked as published, but no broker has acknowledged its letter", row->id);
        if (letter->published)
            row->published = true;
        else
            row->outbox_until_us = op->retry_in_us ? sim->now_us + op->retry_in_us : 0;
        SIM_TRACE(sim, sim_whom_row(row, o->life->worker), "w%d.%d ledger: letter of %s marked %s",
                  o->life->worker, o->life->number, row->id, letter->published ? "published" : "due");
    }
}

static void op_execute(struct sim *sim, struct sim_op *o)
{
    o->executed = true;
    o->executed_us = sim->now_us;
    switch (o->kind) {
    case OP_CLAIM: claim_execute(sim, o); break;
    case OP_RECORD: record_execute(sim, o); break;
    case OP_EXTEND: extend_execute(sim, o); break;
    case OP_DUE_TAKE: due_take_execute(sim, o); break;
    case OP_OUTBOX_TAKE: outbox_take_execute(sim, o); break;
    case OP_OUTBOX_MARK: outbox_mark_execute(sim, o); break;
    case OP_OUTCOME_TAKE: o->count = sim_outcomes_take(sim, o->op, &o->outcomes, &o->more); break;
    case OP_OUTCOME_MARK: sim_outcomes_mark(sim, o->life, o->op); break;
    case OP_SPEND: o->spent = sim_spend_recorded(sim, sim_day_of(sim, sim->now_us), sim->now_us); break;
    }
}

/* ---- answers: written into the operation just before its completion */

static void note_resolved(struct sim_life *life, const struct record *from)
{
    struct sim_owned *owned = sim_owned_find(life, from->epoch);
    const struct sim_record *record = sim_record_find(life->sim, from);
    if (owned && record)
        owned->notes[record->at] |= SIM_NOTE_RESOLVED;
}

/* The row is the worker's, with what is remembered of its phone. */
static void claim_tell(struct sim_life *life, struct claim_item *item, const struct sim_claimed *claimed)
{
    struct sim_remembered known = claimed->known;
    if (!item->wants_known || claimed->answer != CLAIM_GO)
        known.validation = NULL;
    if (!sim_phone_fill(life->sim, item->arena, &known, &item->known))
        sim_fail(life->sim, "world", sim_whom_worker(life->worker), "what is known of a phone found no room");
    sim_phone_told(life, claimed->row, &known);
}

static void claim_deliver(struct sim_op *o)
{
    struct claim_op *op = o->op;
    for (size_t i = 0; i < op->count && !o->failed; i++) {
        const struct sim_claimed *claimed = &o->answers[i].claimed;
        op->items[i]->answer = claimed->answer;
        op->items[i]->maybe_sent = claimed->maybe_sent;
        op->items[i]->attempts = claimed->attempts;
        op->items[i]->age_us = claimed->age_us;
        if (claimed->row)
            claim_tell(o->life, op->items[i], claimed);
        if (op->items[i]->answer == CLAIM_SETTLED)
            note_resolved(o->life, op->items[i]->record);
    }
    op->done(op, o->failed ? LEDGER_AWAY : LEDGER_OK);
}

static void record_deliver(struct sim_op *o)
{
    struct record_op *op = o->op;
    for (size_t i = 0; i < op->count && !o->failed; i++) {
        op->items[i]->answer = (enum record_answer)o->answers[i].answer;
        struct sim_validation *fresh = op->items[i]->validation_fresh
                                           ? sim_validation_find(o->life->sim, op->items[i]->validation)
                                           : NULL;
        if (fresh && op->items[i]->answer == RECORD_DONE && fresh->settled_us < 0)
            fresh->settled_us = o->life->sim->now_us;
        if (op->items[i]->answer == RECORD_DONE && op->items[i]->state != RECORD_RELEASED)
            note_resolved(o->life, op->items[i]->record);
    }
    op->done(op, o->failed ? LEDGER_AWAY : LEDGER_OK);
}

static void extend_deliver(struct sim_op *o)
{
    struct lease_op *op = o->op;
    for (size_t i = 0; i < op->count && !o->failed; i++)
        op->items[i].held = o->answers[i].flag;
    op->done(op, o->failed ? LEDGER_AWAY : LEDGER_OK);
}

/* What was kept of the record, in the arena. False: it is full. */
static bool original_fill(struct arena *arena, const struct sim_record *record, struct record *original)
{
    size_t header_count;
    const struct record_header *headers = sim_record_headers(&header_count);
    struct record from = {.topic = slice_from_str(record->part->topic),
                          .partition = record->part->number,
                          .offset = record->offset,
                          .timestamp_ms = record->timestamp_ms,
                          .key = slice_from_str(record->key),
                          .value = sim_record_value(record),
                          .headers = headers,
                          .header_count = header_count};
    return record_copy(arena, &from, original);
}

static void due_take_deliver(struct sim_op *o)
{
    struct due_take_op *op = o->op;
    op->count = 0;
    op->next_due_in_us = o->next_due_in_us;
    if (o->failed) {
        op->done(op, LEDGER_AWAY);
        return;
    }
    o->life->take_heard = true;
    op->events = arena_alloc_zero(op->arena, (o->count + 1) * sizeof *op->events);
    for (size_t i = 0; i < o->count && op->events; i++) {
        const struct sim_row *row = o->taken[i];
        struct parked_event *event = &op->events[op->count];
        *event = (struct parked_event){.event_id = arena_copy(op->arena, slice_from_str(row->id)),
                                       .maybe_sent = row->maybe_sent,
                                       .attempts = row->attempts,
                                       .age_us = o->executed_us - row->age_from_us};
        if (!slice_present(event->event_id) || !original_fill(op->arena, row->record, &event->original) ||
            !sim_phone_fill(o->life->sim, op->arena, &o->known[i], &event->known))
            sim_fail(o->life->sim, "world", sim_whom_row(row, o->life->worker),
                     "more was taken up than the arena has room for");
        sim_phone_told(o->life, sim_row_find_str(o->life->sim, row->id), &o->known[i]);
        op->count++;
    }
    op->done(op, LEDGER_OK);
}

/* False: the arena is full. */
static bool letter_fill(struct arena *arena, const struct sim_row *row, struct dead_letter *letter)
{
    *letter = (struct dead_letter){.event_id = arena_copy(arena, slice_from_str(row->id)),
                                   .code = arena_copy(arena, slice_from_str(row->code)),
                                   .message = SLICE_LITERAL("as the row says"),
                                   .cls = SLICE_LITERAL("rejected"),
                                   .http_status = row->http_status,
                                   .attempts = row->attempts};
    return slice_present(letter->event_id) && slice_present(letter->code) &&
           original_fill(arena, row->record, &letter->original);
}

static void outbox_take_deliver(struct sim_op *o)
{
    struct outbox_take_op *op = o->op;
    op->count = 0;
    op->more = o->more;
    if (!o->failed) {
        op->letters = arena_alloc_zero(op->arena, (o->count + 1) * sizeof *op->letters);
        for (size_t i = 0; i < o->count && op->letters; i++) {
            if (!letter_fill(op->arena, o->answers[i].row, &op->letters[op->count])) {
                op->more = true;
                break;
            }
            op->count++;
        }
    }
    op->done(op, o->failed ? LEDGER_AWAY : LEDGER_OK);
}

static void outcome_take_deliver(struct sim_op *o)
{
    struct outcome_take_op *op = o->op;
    op->count = 0;
    op->more = o->more;
    if (!o->failed)
        op->letters = arena_alloc_zero(op->arena, (o->count + 1) * sizeof *op->letters);
    for (size_t i = 0; i < o->count && !o->failed && op->letters; i++) {
        struct outcome_letter *letter = &op->letters[op->count];
        *letter =
            (struct outcome_letter){.number = o->outcomes[i].number,
                                    .event_id = arena_copy(op->arena, slice_from_str(o->outcomes[i].id)),
                                    .text = arena_copy(op->arena, slice_from_str(o->outcomes[i].text))};
        if (!slice_present(letter->event_id) || !slice_present(letter->text)) {
            op->more = true;
            break;
        }
        op->count++;
    }
    op->done(op, o->failed ? LEDGER_AWAY : LEDGER_OK);
}

static void spend_deliver(struct sim_op *o)
{
    struct spend_op *op = o->op;
    struct sim_life *life = o->life;
    struct sim *sim = life->sim;
    if (!o->failed) {
        op->spent = o->spent;
        op->day = sim_day_of(sim, o->executed_us);
        op->day_ends_in_us = sim_day_end(sim, op->day) - o->executed_us;
        life->spend_due = (struct sim_spend_heard){
            .sum = o->spent, .executed_us = o->executed_us, .day = op->day, .ends_in_us = op->day_ends_in_us};
        life->spend_is_due = true;
        SIM_TRACE(sim, sim_whom_worker(life->worker),
                  "w%d.%d ledger: day %lld has cost %lld, %lld ms are left", life->worker, life->number,
                  (long long)op->day, (long long)op->spent, (long long)(op->day_ends_in_us / US_PER_MS));
    }
    op->done(op, o->failed ? LEDGER_AWAY : LEDGER_OK);
}

static void op_deliver(struct sim_op *o)
{
    switch (o->kind) {
    case OP_CLAIM: claim_deliver(o); break;
    case OP_RECORD: record_deliver(o); break;
    case OP_EXTEND: extend_deliver(o); break;
    case OP_DUE_TAKE: due_take_deliver(o); break;
    case OP_OUTBOX_TAKE: outbox_take_deliver(o); break;
    case OP_OUTCOME_TAKE: outcome_take_deliver(o); break;
    case OP_SPEND: spend_deliver(o); break;
    case OP_OUTCOME_MARK: {
        struct outcome_mark_op *op = o->op;
        op->done(op, o->failed ? LEDGER_AWAY : LEDGER_OK);
        break;
    }
    case OP_OUTBOX_MARK: {
        struct outbox_mark_op *op = o->op;
        op->done(op, o->failed ? LEDGER_AWAY : LEDGER_OK);
        break;
    }
    }
}

/* ---- the connection */

static void op_remove(struct sim_life *life, struct sim_op *o)
{
    struct sim_op **link = &life->ops;
    while (*link != o)
        link = &(*link)->next;
    *link = o->next;
    life->ops_last = NULL;
    for (struct sim_op *last = life->ops; last; last = last->next)
        life->ops_last = last;
}

static void op_done_event(struct sim *sim, void *arg, uint32_t stamp)
{
    struct sim_op *o = arg;
    struct sim_life *life = o->life;
    if (life->dead || stamp != o->stamp || sim_life_asleep(sim, life, op_done_event, o, stamp))
        return;
    op_remove(life, o);
    if (o->failed || o->fails_after) {
        o->failed = true;
        sim->totals.ledger_failures++;
        SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d ledger: %s: no answer (%s)", life->worker,
                  life->number, kinds[o->kind].name, o->executed ? "executed" : "not executed");
    }
    sim_not_under_way(life, o->op);
    sim_core_enter(life);
    op_deliver(o);
    (void)sim_life_step(life, kinds[o->kind].done);
    if (!sim_core_left(life))
        sim_life_touch(sim, life);
}

static void op_execute_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)stamp;
    struct sim_op *o = arg;
    if (o->life->dead || o->failed || o->executed)
        return;
    op_execute(sim, o);
}

static void op_schedule_done(struct sim *sim, struct sim_op *o, int64_t at_us)
{
    struct sim_life *life = o->life;
    if (at_us <= life->done_last_us)
        at_us = life->done_last_us + 1;
    life->done_last_us = at_us;
    sim_at(sim, at_us, op_done_event, o, ++o->stamp);
}

static int64_t latency(struct sim *sim)
{
    if (sim_chance(sim, sim->healed ? 0 : sim->profile.ledger_slow))
        return sim_between(sim, 50 * US_PER_MS, 3 * US_PER_S);
    return sim_between(sim, 50, 4 * US_PER_MS);
}

static enum port_status op_submit(struct sim_life *life, enum op_kind kind, void *op)
{
    struct sim *sim = life->sim;
    sim_under_way(life, op, kinds[kind].name);
    bool away = sim->ledger_away_until_us > sim->now_us;
    if (!sim_life_step(life, kinds[kind].submit) || (away && sim_chance(sim, 7000))) {
        sim_not_under_way(life, op);
        return PORT_AWAY;
    }
    sim_rules_rate(life, SIM_RATE_LEDGER, 1);
    struct sim_op *o = sim_alloc(sim, sizeof *o);
    *o = (struct sim_op){.life = life, .kind = kind, .op = op};
    if (life->ops_last)
        life->ops_last->next = o;
    else
        life->ops = o;
    life->ops_last = o;
    int64_t exec = sim->now_us + latency(sim) / 2;
    if (exec <= life->exec_last_us)
        exec = life->exec_last_us + 1;
    life->exec_last_us = exec;
    if (away) { /* the silence of a server that is gone */
        o->failed = true;
        op_schedule_done(sim, o, exec + sim_between(sim, 1, 2 * US_PER_S));
        return PORT_OK;
    }
    if (sim_strikes(sim, SIM_LEDGER) && sim_chance(sim, sim->profile.ledger_fail)) {
        o->fails_after = sim_chance(sim, 5000);
        o->failed = !o->fails_after;
    }
    sim_at(sim, exec, op_execute_event, o, 0);
    op_schedule_done(sim, o, exec + 1 + latency(sim) / 2);
    return PORT_OK;
}

void sim_ledger_drop(struct sim *sim, struct sim_life *life, bool complete)
{
    int executes = 0; /* how many more of what was sent the server still executes: always the first ones */
    for (struct sim_op *o = life->ops; o; o = o->next)
        executes += !o->executed && !o->failed;
    executes = sim_below(sim, executes + 1);
    for (struct sim_op *o = life->ops; o; o = o->next) {
        if (!o->executed && !o->failed && executes-- > 0)
            op_execute(sim, o);
        o->failed = true;
    }
    if (!complete) { /* the connection broke: what is under way fails in order, soon */
        for (struct sim_op *o = life->ops; o; o = o->next)
            op_schedule_done(sim, o, sim->now_us + 1);
        return;
    }
    while (life->ops) {
        struct sim_op *o = life->ops;
        op_remove(life, o);
        sim_not_under_way(life, o->op);
        op_deliver(o);
    }
}

/* ---- the port, with the contract of its arguments */

static void check(struct sim_life *life, bool good, const char *what)
{
    if (!good)
        sim_fail(life->sim, "ports.ledger", sim_whom_worker(life->worker),
                 "a statement breaks the contract: %s", what);
}

static enum port_status port_claim(void *ctx, struct claim_op *op)
{
    struct sim_life *life = ctx;
    check(life, op->count && op->count <= life->config.batch_max, "the size of a claim batch");
    check(life, op->lease_us == life->config.lease_us, "the lease of a claim");
    for (size_t i = 0; i < op->count; i++) {
        const struct signup *a = op->items[i]->signup;
        check(life, !i || slice_compare(op->items[i - 1]->event_id, op->items[i]->event_id) < 0,
              "claims are sorted and unique");
        for (size_t j = 0; j < i; j++) {
            const struct signup *b = op->items[j]->signup;
            check(life,
                  !slice_present(a->phone_number) || !slice_present(a->list_number) ||
                      !slice_equal(a->phone_number, b->phone_number) ||
                      !slice_equal(a->list_number, b->list_number),
                  "one contact once in a claim batch");
        }
    }
    return op_submit(life, OP_CLAIM, op);
}

static enum port_status port_record(void *ctx, struct record_op *op)
{
    struct sim_life *life = ctx;
    check(life, op->count && op->count <= life->config.batch_max, "the size of a record batch");
    for (size_t i = 1; i < op->count; i++)
        check(life, slice_compare(op->items[i - 1]->event_id, op->items[i]->event_id) < 0,
              "records are sorted and unique");
    return op_submit(life, OP_RECORD, op);
}

static enum port_status port_extend(void *ctx, struct lease_op *op)
{
    struct sim_life *life = ctx;
    check(life, op->count > 0, "an empty extension");
    for (size_t i = 1; i < op->count; i++)
        check(life, slice_compare(op->items[i - 1].event_id, op->items[i].event_id) < 0,
              "extensions are sorted and unique");
    return op_submit(life, OP_EXTEND, op);
}

static enum port_status port_due_take(void *ctx, struct due_take_op *op)
{
    struct sim_life *life = ctx;
    check(life, op->limit && op->limit <= life->config.batch_max && op->arena,
          "a look for due events without room");
    check(life, op->lease_us == life->config.lease_us, "the lease of what is taken up");
    check(life, !life->take_heard || !sim_token_equal(&life->take_token, &op->token),
          "events are taken up under a token whose answer has come");
    life->take_token = op->token;
    life->take_heard = false;
    return op_submit(life, OP_DUE_TAKE, op);
}

static enum port_status port_outbox_take(void *ctx, struct outbox_take_op *op)
{
    check(ctx, op->limit && op->arena, "an outbox take without room");
    return op_submit(ctx, OP_OUTBOX_TAKE, op);
}

static enum port_status port_outbox_mark(void *ctx, struct outbox_mark_op *op)
{
    check(ctx, op->count > 0, "an empty outbox mark");
    return op_submit(ctx, OP_OUTBOX_MARK, op);
}

static enum port_status port_outcome_take(void *ctx, struct outcome_take_op *op)
{
    check(ctx, op->limit && op->arena, "an outcome take without room");
    return op_submit(ctx, OP_OUTCOME_TAKE, op);
}

static enum port_status port_outcome_mark(void *ctx, struct outcome_mark_op *op)
{
    check(ctx, op->count > 0, "an empty outcome mark");
    return op_submit(ctx, OP_OUTCOME_MARK, op);
}

static enum port_status port_spend(void *ctx, struct spend_op *op)
{
    return op_submit(ctx, OP_SPEND, op);
}

const struct ledger_port sim_ledger_port = {
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
