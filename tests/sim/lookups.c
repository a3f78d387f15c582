/* The validation host: phone lookups, from their start to what they cost and what the caller hears of it.
 * What the answer is: answers.c; what the vendor finds: phones.c. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

static void lookup_unlink(struct sim_life *life, struct sim_call *call)
{
    struct sim_call **link = &life->lookups;
    while (*link != call)
        link = &(*link)->next;
    *link = call->next;
    life->lookups_out--;
}

/* Charged at some time before the answer, also where nobody hears of it. */
static void charge_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)stamp;
    struct sim_call *call = arg;
    call->validation = sim_phone_look_up(sim, call);
    if (call->cls != OUTCOME_ACCEPTED)
        sim->totals.unheard++;
}

static void reply_fill(struct sim *sim, struct sim_call *call)
{
    struct validate_call *op = call->lookup_op;
    struct sim_validation *validation = call->validation;
    char text[SIM_VALIDATION_BYTES];
    sim_validation_write(sim, validation, validation->cost, validation->cost == 0, text);
    op->validation = arena_copy(op->arena, slice_from_str(text));
    op->disposition = arena_copy(op->arena, slice_from_str(validation->disposition));
    op->cost = validation->cost;
    if (!slice_present(op->validation) || !slice_present(op->disposition))
        sim_fail(sim, "world", sim_whom_worker(call->life->worker), "a lookup's answer found no room");
    sim_phone_heard(sim, call->life, validation);
}

static void lookup_done_event(struct sim *sim, void *arg, uint32_t stamp)
{
    struct sim_call *call = arg;
    struct sim_life *life = call->life;
    if (call->ended || sim_life_asleep(sim, life, lookup_done_event, call, stamp))
        return;
    if (!call->row)
        sim_fail(sim, "ports.observer", sim_whom_worker(life->worker),
                 "phone %d is looked up, and no event of the worker has gone to VALIDATING for it",
                 call->phone);
    call->ended = true;
    lookup_unlink(life, call);
    struct validate_call *op = call->lookup_op;
    outcome_set(&op->outcome, call->cls, call->status, call->code, "said the simulated validation host",
                call->maybe_sent);
    op->outcome.retry_after_us = call->retry_after_us;
    op->outcome.duration_us = sim->now_us - call->started_us;
    op->lapsed = call->lapsed;
    if (call->cls == OUTCOME_ACCEPTED)
        reply_fill(sim, call);
    if (call->lapsed)
        sim_rules_lapse(call);
    else
        sim_gate_answer(sim, call);
    SIM_TRACE(sim, sim_whom_record(call->record, life->worker),
              "w%d.%d validation: answer for %s: %s %d %s %s", life->worker, life->number, call->row->id,
              outcome_class_str(call->cls), call->status, call->code,
              call->cls == OUTCOME_ACCEPTED ? call->validation->disposition : "");
    sim_not_under_way(life, op);
    sim_core_enter(life);
    op->done(op);
    (void)sim_life_step(life, SIM_STEP_LOOKUP_DONE);
    if (!sim_core_left(life))
        sim_life_touch(sim, life);
}

enum port_status sim_lookup_port(void *ctx, struct validate_call *op)
{
    struct sim_life *life = ctx;
    struct sim *sim = life->sim;
    sim_under_way(life, op, "lookup");
    if (!sim_life_step(life, SIM_STEP_LOOKUP) ||
        sim_chance(sim, sim->healed ? 0 : sim->profile.api_away_submit)) {
        sim_not_under_way(life, op);
        return PORT_AWAY;
    }
    struct sim_call *call = sim_alloc(sim, sizeof *call);
    *call = (struct sim_call){.life = life,
                              .lookup_op = op,
                              .is_lookup = true,
                              .validate = true,
                              .force = op->force,
                              .phone = sim_phone_find(sim, op->phone_number),
                              .started_us = sim->now_us,
                              .code = ""};
    if (call->phone < 0)
        sim_fail(sim, "P1.invented", sim_whom_worker(life->worker), "a phone that no event has is looked up");
    if (sim->rereading)
        sim_fail(sim, "P2.reread", sim_whom_worker(life->worker),
                 "phone %d is looked up when the topic is read again by a new group", call->phone);
    call->next = life->lookups;
    life->lookups = call;
    life->lookups_out++;
    life->lookup_new = call;
    sim->totals.lookups++;
    int64_t takes_us;
    sim_answer_lookup(sim, call, &takes_us);
    if (takes_us > life->config.call_timeout_us)
        takes_us = life->config.call_timeout_us;
    int64_t leaves_us = sim->now_us + sim_api_departure(life, op->answer_by, &call->lapsed);
    if (call->lapsed) {
        call->cls = OUTCOME_TRANSPORT;
        call->maybe_sent = call->takes_effect = false;
        takes_us = 0;
    }
    sim_at(sim, leaves_us + takes_us, lookup_done_event, call, 0);
    if (call->takes_effect)
        sim_at(sim, leaves_us + sim_between(sim, 0, takes_us - 1), charge_event, call, 0);
    return PORT_OK;
}

void sim_lookup_named(struct sim_life *life, const struct delivery *delivery)
{
    struct sim *sim = life->sim;
    struct sim_call *call = life->lookup_new;
    const struct signup *signup = delivery_signup(delivery);
    life->lookup_new = NULL;
    if (!call || !slice_equal(call->lookup_op->phone_number, signup->phone_number))
        sim_fail(sim, "ports.observer", sim_whom_worker(life->worker),
                 "%.*s goes to VALIDATING without a lookup of its phone", (int)signup->event_id.len,
                 signup->event_id.ptr);
    call->record = sim_record_find(sim, delivery_record(delivery));
    call->row = sim_row_find(sim, signup->event_id);
    sim_gate_lookup(sim, call);
    call->claim_number = call->row->claim_number;
    call->epoch = call->row->holder_epoch;
    SIM_TRACE(sim, sim_whom_record(call->record, life->worker),
              "w%d.%d validation: lookup for %s, phone %d%s%s", life->worker, life->number, call->row->id,
              call->phone, call->force ? ", forced" : "", call->probe ? ", a probe" : "");
}

void sim_lookups_drop(struct sim *sim, struct sim_life *life)
{
    while (life->lookups) {
        struct sim_call *call = life->lookups;
        lookup_unlink(life, call);
        call->ended = true;
        call->cls = OUTCOME_TRANSPORT;
        outcome_set(&call->lookup_op->outcome, OUTCOME_TRANSPORT, 0, "closed", "the client is closing", true);
        sim_not_under_way(life, call->lookup_op);
        call->lookup_op->done(call->lookup_op);
    }
    sim_phone_excuse(sim, life, NULL);
}

int sim_lookups_of(const struct sim_life *life, uint64_t epoch)
{
    int count = 0;
    for (const struct sim_call *call = life->lookups; call; call = call->next)
        count += call->row && call->epoch == epoch;
    return count;
}
