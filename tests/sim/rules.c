/* What must hold when a call starts, and what its answer makes true: claims, order, guards, waits, rates,
 * money. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

#define PROBE_EVERY_US (1 * US_PER_S)
#define AGE_SLACK_US (5 * US_PER_S)

bool sim_gate_is_open(const struct sim_life *life, const char *route)
{
    struct pipeline_status status;
    pipeline_status(life->pipeline, &status);
    for (size_t i = 0; i < PIPELINE_GATES; i++) {
        if (strcmp(status.gates[i].route, route) == 0)
            return status.gates[i].open;
    }
    sim_fail(life->sim, "ports.gates", sim_whom_worker(life->worker), "there is no gate \"%s\"", route);
}

/* ---- the claim, and what it allows */

static bool holds(const struct sim_row *row, const struct sim_life *life)
{
    bool held = (row->state == SIM_CLAIMED && !row->released) ||
                (row->state == SIM_PARKED_ROW && row->lease_until_us);
    return held && row->holder == life;
}

static void check_claim(struct sim *sim, const struct sim_call *call)
{
    const struct sim_life *life = call->life;
    const struct sim_row *row = call->row;
    struct sim_whom whom = sim_whom_record(call->record, life->worker);
    if (!row || !holds(row, life) || row->record != call->record)
        sim_fail(sim, "I6.claim", whom, "a call starts for %s at %s without its claim: the row is %s",
                 call->record->id, call->record->position, row ? sim_row_state_str(row->state) : "not there");
    int64_t left = row->lease_until_us - sim->now_us;
    if (left < life->config.call_timeout_us)
        sim_fail(sim, "I6.lease", whom,
                 "a call starts for %s with %lld ms of lease left; a call may take %lld ms", row->id,
                 (long long)(left / US_PER_MS), (long long)(life->config.call_timeout_us / US_PER_MS));
    bool same =
        row->holder_epoch ? row->final_epoch == row->holder_epoch : row->final_claim == row->claim_number;
    if (row->answered_final && row->final_life == life && same)
        sim_fail(sim, "I8.resend", whom, "%s is called again although its last call was answered for good",
                 row->id);
    if (row->behind)
        sim_fail(sim, "P3.parked", whom,
                 "%s is called although an event of its contact is parked: its claim said \"behind\"",
                 row->id);
}

/* In memory an event waits for no longer than inline_cap, and fails no more often than inline_attempts. */
static void check_parks(struct sim *sim, const struct sim_call *call)
{
    const struct sim_life *life = call->life;
    const struct sim_row *row = call->row;
    struct sim_whom whom = sim_whom_record(call->record, life->worker);
    bool taken_up = row->state == SIM_PARKED_ROW;
    int tries = taken_up ? 1 : life->config.inline_attempts;
    if (row->must_park)
        sim_fail(sim, "park.wait", whom,
                 "%s was to wait longer than anybody waits in memory, and is called again", row->id);
    if (row->failures_counted >= tries)
        sim_fail(sim, "park.tries", whom, "%s is called again in memory after %d failures of %d%s", row->id,
                 row->failures_counted, tries, taken_up ? ": it was taken up" : "");
}

/* ---- order */

static void check_overlap(struct sim *sim, const struct sim_call *call)
{
    struct sim_whom whom = sim_whom_record(call->record, call->life->worker);
    bool overlaps = call->contact->outstanding[call->record->part->index] > 0 && !call->contact->replayed;
    for (const struct sim_call *other = call->life->calls; other; other = other->next)
        overlaps = overlaps || other->contact == call->contact;
    if (overlaps)
        sim_fail(sim, "P3.overlap", whom, "a call starts for contact %d while another one is under way",
                 call->contact->index);
}

static void check_order(struct sim *sim, const struct sim_call *call)
{
    struct sim_whom whom = sim_whom_record(call->record, call->life->worker);
    for (const struct sim_record *r = call->record->earlier; r; r = r->earlier) {
        if (r->content->dead_local)
            continue;
        if (!sim_record_answered(sim, r))
            sim_fail(sim, "P3.order", whom, "%s at %s is called before the row of %s at %s is durable",
                     call->record->id, call->record->position, r->id, r->position);
        if (!r->was_final)
            sim_fail(sim, "P3.parked", whom, "%s at %s is called while %s at %s has not ended yet",
                     call->record->id, call->record->position, r->id, r->position);
    }
}

static void check_guard(struct sim *sim, const struct sim_call *call)
{
    struct sim_row *row = call->row;
    const struct sim_content *content = call->record->content;
    struct sim_whom whom = sim_whom_record(call->record, call->life->worker);
    if (row->unsure_calls && !call->skip)
        sim_fail(sim, "P2.guard", whom, "%s is resent without the journey guard after a call of unknown fate",
                 row->id);
    bool guarded = call->skip && !content->skip;
    if (guarded && !row->unsure_calls && !row->maybe_sent && !row->taken_over)
        sim_fail(sim, "P2.overguard", whom,
                 "%s is sent with the journey guard although no earlier call can have had an effect",
                 row->id);
    if (guarded && content->use_journeys && row->read_claim != row->claim_number)
        sim_fail(sim, "P2.read", whom,
                 "%s is resent with the guard, but its contact was not read back before", row->id);
    row->guarded_call = guarded;
    sim->totals.guarded += guarded;
}

/* ---- waits */

static void check_hold(struct sim *sim, struct sim_life *life, struct sim_whom whom)
{
    if (sim->now_us < life->hold_until_us)
        sim_fail(sim, "wait.retry_after", whom, "a call starts %lld ms before the API's Retry-After is over",
                 (long long)((life->hold_until_us - sim->now_us) / US_PER_MS));
    bool stopped = life->stopped_us >= 0 && life->probed_us >= life->stopped_us;
    bool fused = life->fused_us >= 0 && life->probed_us >= life->fused_us;
    if ((stopped || fused) && sim->now_us < life->probed_us + PROBE_EVERY_US)
        sim_fail(sim, "wait.probe", whom,
                 "a call starts %lld ms after the one before, although %s: a probe goes once a second",
                 (long long)((sim->now_us - life->probed_us) / US_PER_MS),
                 stopped ? "the API refuses everybody" : "the fuse is blown");
    life->probed_us = sim->now_us;
}

static void check_wait(struct sim *sim, const struct sim_call *call)
{
    struct sim_whom whom = sim_whom_record(call->record, call->life->worker);
    if (sim->now_us < call->row->not_before_us)
        sim_fail(sim, "wait.due", whom, "%s is called %lld ms before its own Retry-After is over",
                 call->row->id, (long long)((call->row->not_before_us - sim->now_us) / US_PER_MS));
}

/* Who asks for validation in its upsert may go without where money is short. */
static void check_unvalidated(struct sim *sim, const struct sim_call *call)
{
    struct sim_row *row = call->row;
    row->unvalidated_call = call->record->content->mode == EVENT_VALIDATION_INLINE && !call->validate;
    if (row->unvalidated_call && !sim_gate_may_skip(sim, call->life, row))
        sim_fail(sim, "P1.body", sim_whom_record(call->record, call->life->worker),
                 "%s is sent without the validation that it asks for", row->id);
    sim->totals.unvalidated += row->unvalidated_call;
}

static void check_other(struct sim *sim, const struct sim_call *call, const struct sim_call *other)
{
    for (; other; other = other->next) {
        if (other != call && other->validate && other->started_us > call->life->unpaid_us)
            sim_fail(sim, "billing.probe", sim_whom_record(call->record, call->life->worker),
                     "%s asks for validation while another call asks already", call->row->id);
    }
}

/* What the validation host wishes of everybody: lookups keep it, and upserts that validate. */
static void check_validate_hold(struct sim *sim, const struct sim_call *call)
{
    struct sim_life *life = call->life;
    struct sim_whom whom = sim_whom_record(call->record, life->worker);
    if (sim->now_us < life->lookup_hold_until_us)
        sim_fail(sim, "wait.retry_after", whom,
                 "%s is validated %lld ms before the host's Retry-After is over", call->row->id,
                 (long long)((life->lookup_hold_until_us - sim->now_us) / US_PER_MS));
    bool stopped = life->lookup_stopped_us >= 0 && life->lookup_probed_us >= life->lookup_stopped_us;
    if (stopped && sim->now_us < life->lookup_probed_us + PROBE_EVERY_US)
        sim_fail(
            sim, "wait.probe", whom,
            "%s is validated %lld ms after the one before, although the host refuses everybody: a probe goes "
            "once a second",
            call->row->id, (long long)((sim->now_us - life->lookup_probed_us) / US_PER_MS));
    life->lookup_probed_us = sim->now_us;
}

/* While the account cannot pay one validating call asks again, a billing step after the last one heard so. */
static void check_billing(struct sim *sim, const struct sim_call *call)
{
    struct sim_life *life = call->life;
    struct sim_row *row = call->row;
    struct sim_whom whom = sim_whom_record(call->record, life->worker);
    bool without = life->config.on_billing == ON_BILLING_WITHOUT_VALIDATION;
    if (!call->validate)
        return;
    check_validate_hold(sim, call);
    if (life->config.on_billing == ON_BILLING_DEAD)
        return; /* each dies of its own answer */
    if (row->unpaid && !without)
        sim_fail(sim, "billing.park", whom, "%s could not be paid for, and is called again at once", row->id);
    if (life->unpaid_us < 0)
        return;
    if (sim->now_us < life->unpaid_us + life->config.billing_step_us)
        sim_fail(sim, "billing.step", whom,
                 "%s asks for validation %lld ms after the account could not pay; a step has %lld ms",
                 row->id, (long long)((sim->now_us - life->unpaid_us) / US_PER_MS),
                 (long long)(life->config.billing_step_us / US_PER_MS));
    check_other(sim, call, life->calls);
    check_other(sim, call, life->lookups);
}

/* A bucket that holds one second's worth: no rate allows more at once. */
void sim_rules_rate(struct sim_life *life, enum sim_rate which, size_t count)
{
    static const char *const names[] = {"calls", "validating calls", "statements", "letters"};
    const struct pipeline_config *c = &life->config;
    const int64_t rates[] = {c->rate_upsert, c->rate_validate, c->rate_ledger, c->rate_dead_letter};
    struct sim_bucket *bucket = &life->buckets[which];
    struct sim *sim = life->sim;
    double rate = (double)rates[which];
    if (rates[which] == 0)
        return;
    if (!bucket->used)
        bucket->tokens = rate;
    bucket->used = true;
    bucket->tokens += (double)(sim->now_us - bucket->at_us) * rate / (double)US_PER_S;
    bucket->at_us = sim->now_us;
    if (bucket->tokens > rate)
        bucket->tokens = rate;
    if (bucket->tokens < 0.99)
        sim_fail(sim, "P5.rate", sim_whom_worker(life->worker), "%s go faster than %lld a second",
                 names[which], (long long)rates[which]);
    bucket->tokens -= (double)count;
}

static void check_rates(const struct sim_call *call)
{
    if (!call->is_lookup)
        sim_rules_rate(call->life, SIM_RATE_UPSERT, 1);
    if (call->validate)
        sim_rules_rate(call->life, SIM_RATE_VALIDATE, 1);
}

static void check_room(struct sim *sim, const struct sim_life *life)
{
    if ((size_t)life->calls_out + (size_t)life->reads_out > life->config.max_in_flight)
        sim_fail(sim, "P5.in_flight", sim_whom_worker(life->worker),
                 "%d calls are in flight, %zu are allowed", life->calls_out + life->reads_out,
                 life->config.max_in_flight);
}

void sim_rules_start(struct sim *sim, struct sim_call *call)
{
    struct sim_life *life = call->life;
    check_parks(sim, call);
    check_overlap(sim, call);
    check_order(sim, call);
    check_guard(sim, call);
    check_hold(sim, life, sim_whom_record(call->record, life->worker));
    check_wait(sim, call);
    check_unvalidated(sim, call);
    check_billing(sim, call);
    check_rates(call);
    sim_gate_call(sim, call);
    call->probe =
        !sim_gate_is_open(life, "upsert") || (call->validate && !sim_gate_is_open(life, "validate"));
    sim->totals.probes += call->probe;
    call->row->tries_made++;
    life->calls_out++;
    check_room(sim, life);
}

/* Before everything else: what the call's notes are taken from. */
void sim_rules_claim(struct sim *sim, const struct sim_call *call)
{
    check_claim(sim, call);
}

void sim_rules_lookup(struct sim *sim, struct sim_call *call)
{
    struct sim_life *life = call->life;
    check_claim(sim, call);
    check_parks(sim, call);
    check_order(sim, call);
    check_wait(sim, call);
    check_billing(sim, call);
    check_rates(call);
    call->probe = !sim_gate_is_open(life, "validate");
    sim->totals.probes += call->probe;
    call->row->tries_made++;
    if ((size_t)life->lookups_out > life->config.max_in_flight)
        sim_fail(sim, "P5.in_flight", sim_whom_worker(life->worker),
                 "%d lookups are in flight, %zu are allowed", life->lookups_out, life->config.max_in_flight);
}

/* A read is for an event in work whose call may have had an effect, and that wants its journey whatever was.
 */
void sim_rules_read(struct sim *sim, struct sim_life *life, int contact)
{
    struct sim_whom whom = sim_whom_worker(life->worker);
    struct sim_row *reason = NULL;
    struct sim_row *row = contact >= 0 ? sim->contacts[contact].rows : NULL;
    for (; row; row = row->next_contact) {
        bool asks = row->record && holds(row, life) && row->record->content->use_journeys &&
                    !row->record->content->skip && (row->maybe_sent || row->unsure_calls || row->taken_over);
        if (asks && (!reason || row->lease_until_us > reason->lease_until_us))
            reason = row;
    }
    if (!reason)
        sim_fail(sim, "P2.overread", whom, "contact %d is read back, and no event in work asks for it",
                 contact);
    if (reason->lease_until_us - sim->now_us < life->config.call_timeout_us)
        sim_fail(sim, "I6.lease", sim_whom_row(reason, life->worker),
                 "the contact of %s is read back with %lld ms of lease left", reason->id,
                 (long long)((reason->lease_until_us - sim->now_us) / US_PER_MS));
    reason->tries_made++;
    check_hold(sim, life, sim_whom_row(reason, life->worker));
    sim_rules_rate(life, SIM_RATE_UPSERT, 1);
    life->reads_out++;
    check_room(sim, life);
}

/* ---- what an answer makes true */

int64_t sim_rules_clamped(const struct sim_life *life, int64_t retry_after_us)
{
    if (retry_after_us <= 0)
        return 0;
    return retry_after_us < life->config.retry_after_cap_us ? retry_after_us
                                                            : life->config.retry_after_cap_us;
}

/* Since when the API refuses everybody; an answer that speaks of one event says that the route works. */
void sim_rules_route(struct sim *sim, struct sim_life *life, const struct outcome *outcome, bool validates)
{
    int64_t wait = sim_rules_clamped(life, outcome->retry_after_us);
    if (outcome->cls == OUTCOME_THROTTLED && life->hold_until_us < sim->now_us + wait) {
        life->hold_until_us = sim->now_us + wait;
        SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d api: nothing is to be sent for %lld ms",
                  life->worker, life->number, (long long)(wait / US_PER_MS));
    }
    switch (outcome->cls) {
    case OUTCOME_UNAUTHORIZED:
    case OUTCOME_MISROUTED:
        if (life->stopped_us < 0)
            life->stopped_us = sim->now_us;
        break;
    case OUTCOME_PROVIDER:
        if (validates) /* the provider's fault: the route itself works */
            life->stopped_us = -1;
        break;
    case OUTCOME_SERVER:
    case OUTCOME_TRANSPORT: break;
    default: life->stopped_us = -1;
    }
}

/* Nobody may die any more of an answer that need not speak of the event, until one is accepted. */
static bool note_fuse(struct sim *sim, const struct sim_call *call)
{
    struct sim_life *life = call->life;
    if (call->cls == OUTCOME_ACCEPTED) {
        life->vague_run = 0;
        life->fused_us = -1;
        return false;
    }
    if (!life->config.fuse || !sim_answer_is_vague(call->cls, call->status, call->code))
        return false;
    sim->totals.vague++;
    if (++life->vague_run == life->config.fuse)
        life->fused_us = sim->now_us;
    return life->vague_run > life->config.fuse;
}

static void note_billing(struct sim *sim, const struct sim_call *call, bool final)
{
    struct sim_life *life = call->life;
    if (!call->validate)
        return;
    bool probes = life->unpaid_us >= 0 && call->started_us > life->unpaid_us;
    bool works = call->is_lookup && (call->cls == OUTCOME_ACCEPTED || call->cls == OUTCOME_THROTTLED);
    bool billing = call->cls == OUTCOME_BILLING;
    /* One that started before another trouble closed the route says nothing of when to ask again. */
    bool straggler = !probes && !sim_gate_is_open(life, "validate");
    if (life->unpaid_known || billing)
        life->unpaid_last_us = sim->now_us;
    life->unpaid_known = billing || (life->unpaid_known && !final && !works);
    if (final || works)
        life->unpaid_us = -1;
    else if (billing && (life->unpaid_us < 0 || probes) && !straggler)
        life->unpaid_us = sim->now_us;
    else if (probes) /* it says nothing of money: soon another may ask */
        life->unpaid_us = sim->now_us + PROBE_EVERY_US - life->config.billing_step_us;
}

/* Whether the answer spends an attempt (design section 5): 1, 0. */
static int counts(const struct sim_call *call, bool final)
{
    if (final)
        return 1;
    switch (call->cls) {
    case OUTCOME_BILLING:
        return !call->probe || (call->validate && call->life->config.on_billing == ON_BILLING_DEAD);
    case OUTCOME_PROVIDER:
    case OUTCOME_SERVER: return !call->probe;
    case OUTCOME_TRANSPORT: return !call->probe && call->maybe_sent;
    default: return 0;
    }
}

/* A failure of its own, in an open gate, when its time or its tries are over: it is to be given up. */
static void note_overdue(struct sim *sim, const struct sim_call *call, bool spent)
{
    const struct pipeline_config *c = &call->life->config;
    struct sim_row *row = call->row;
    if (!spent || row->last_in_hold || call->cls == OUTCOME_BILLING)
        return;
    bool first = row->claim_attempts + row->counted <=
                 1; /* what waited long for its turn fails once without dying of it */
    bool old = !first && sim->now_us - row->age_from_us > c->max_age_us + AGE_SLACK_US;
    row->overdue += old || row->claim_attempts + row->counted >= c->max_attempts;
}

/* The row as the caller had it when its lease ran out, or NULL. */
static struct sim_row *lost_of(struct sim_row *row, const struct sim_call *call)
{
    struct sim_row *lost = row->lost;
    while (lost && (lost->holder != call->life || lost->claim_number != call->claim_number))
        lost = lost->lost;
    return lost;
}

/* Nothing is to be called any more for this event. */
static bool answers_for_good(const struct sim_call *call, bool after_fuse)
{
    if (call->is_lookup && call->cls == OUTCOME_REJECTED)
        return !sim_answer_is_vague(call->cls, call->status, call->code);
    if (call->is_lookup)
        return call->refused;
    return call->cls == OUTCOME_ACCEPTED || (call->cls == OUTCOME_REJECTED && !after_fuse);
}

void sim_rules_lapse(const struct sim_call *call)
{
    struct sim_life *life = call->life;
    if (call->validate && life->unpaid_us >= 0 && call->started_us > life->unpaid_us) /* a probe that says nothing: soon another may ask */
        life->unpaid_us = life->sim->now_us + PROBE_EVERY_US - life->config.billing_step_us;
}

void sim_rules_answer(struct sim *sim, struct sim_call *call)
{
    struct sim_row *row = call->row;
    struct sim_life *life = call->life;
    bool after_fuse = !call->is_lookup && note_fuse(sim, call);
    bool final = answers_for_good(call, after_fuse);
    note_billing(sim, call, final);
    bool dies = call->cls == OUTCOME_BILLING && life->config.on_billing == ON_BILLING_DEAD;
    if (call->validate && !call->is_lookup && (final || dies))
        life->lookup_stopped_us = -1;
    if (call->maybe_sent && !call->is_lookup) {
        sim->totals.ambiguous++;
        row->unsure_calls++;
    }
    bool again = row->claim_number != call->claim_number;
    if (again && (row->holder != life || row->holder_epoch)) { /* somebody else has it now */
        row = lost_of(row, call);
        if (!row)
            return;
        again = false; /* but may know it again */
    }
    int spent = counts(call, final);
    row->unsure_here = row->unsure_here || (call->maybe_sent && !call->is_lookup);
    row->last_class = call->cls;
    row->last_status = call->status;
    row->last_code = call->code;
    row->last_probe = call->probe;
    row->last_in_storm = after_fuse;
    bool of_validation = call->is_lookup ||
                         (call->validate && (call->cls == OUTCOME_BILLING || call->cls == OUTCOME_PROVIDER));
    row->last_in_hold = !sim_gate_is_open(life, of_validation ? "validate" : "upsert");
    row->last_answer_us = sim->now_us;
    if (again) /* its lease ran out, and it has been taken up by the same worker, who may know it again */
        row->perhaps_counted += spent;
    else
        row->counted += spent;
    row->failures_counted += spent && !final && call->cls != OUTCOME_BILLING;
    row->unpaid = row->unpaid || (call->cls == OUTCOME_BILLING && call->validate);
    note_overdue(sim, call, spent && !final);
    bool asks_time = call->cls == OUTCOME_THROTTLED || call->status == 503;
    int64_t wait = asks_time ? sim_rules_clamped(life, call->retry_after_us) : 0;
    row->must_park = wait > life->config.backoff_cap_us;
    row->not_before_us = sim->now_us + wait;
    if (final) {
        row->answered_final = true;
        row->final_life = life;
        row->final_epoch = row->holder_epoch;
        row->final_claim = call->claim_number;
    }
}
