/* What an answer leads to: what the gates learn, whether an attempt is spent, and where the event goes: recorded, tried again in memory,
 * parked in the ledger, or dead. The verdicts themselves are the policy's. */
#include "state.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define ASIDE_US (4 * US_PER_S)

/* ---- signup.attempt */

static void attempt_append(struct delivery *dl, const struct attempt *told)
{
    struct attempt *attempt = dl->attempts_last;
    if (dl->attempts_kept < ATTEMPTS_KEPT) {
        attempt = arena_alloc_zero(&dl->arena, sizeof *attempt);
        if (!attempt)
            return; /* the row still carries the last outcome */
        if (dl->attempts_last)
            dl->attempts_last->next = attempt;
        else
            dl->attempts_first = attempt;
        dl->attempts_last = attempt;
        dl->attempts_kept++;
    }
    *attempt = *told;
    attempt->next = NULL;
}

void attempt_tell(struct delivery *dl)
{
    if (!dl->untold.number)
        return;
    attempt_append(dl, &dl->untold);
    dl->untold.number = 0;
}

void attempt_note(struct delivery *dl, const struct outcome *outcome, const char *route, enum verdict verdict)
{
    struct attempt attempt = {.number = dl->tries,
                              .route = route,
                              .at = dl->called_at,
                              .duration_us = outcome->duration_us,
                              .http_status = outcome->http_status,
                              .verdict = verdict_str(verdict)};
    memcpy(attempt.code, outcome->code, sizeof attempt.code);
    bool clean = verdict == VERDICT_ACCEPTED && !dl->attempts_kept && dl->calls_before == 0 && !dl->taken_up;
    if (clean && dl->state == DELIVERY_VALIDATING) {
        dl->untold = attempt; /* if the upsert is taken at once, there is nothing to tell */
        return;
    }
    if (clean)
        return; /* accepted at the first call: the row itself says it all */
    attempt_tell(dl);
    attempt_append(dl, &attempt);
}

/* ---- what the gates learn */

int64_t answer_retry_after_us(const struct pipeline *pipeline, const struct outcome *outcome)
{
    if (outcome->retry_after_us <= 0 || PLANTED(IMPATIENT))
        return 0;
    return outcome->retry_after_us < pipeline->config.retry_after_cap_us ? outcome->retry_after_us
                                                                          : pipeline->config.retry_after_cap_us;
}

/* Names the event for the breaker: the same one, taken up again and again, must not look like many. FNV-1a. */
static uint64_t event_name(const struct delivery *dl)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < dl->signup.event_id.len; i++)
        hash = (hash ^ (unsigned char)dl->signup.event_id.ptr[i]) * UINT64_C(1099511628211);
    return hash | 1;
}

static bool speaks_of_validation(const struct delivery *dl)
{
    return dl->validates && (dl->outcome.cls == OUTCOME_BILLING || dl->outcome.cls == OUTCOME_PROVIDER);
}

static enum gate_result upsert_result(const struct pipeline *pipeline, const struct outcome *outcome, struct ruling ruling,
                                      bool of_validation)
{
    if (pipeline->fuse_blown && ruling.verdict != VERDICT_ACCEPTED)
        return GATE_STOPPED; /* only a success shows that base_url and list are right */
    if (of_validation)
        return GATE_SOUND; /* the upsert route itself works */
    if (ruling.verdict == VERDICT_HOLD)
        return GATE_STOPPED;
    if (ruling.verdict != VERDICT_RETRY)
        return GATE_SOUND;
    if (outcome->cls == OUTCOME_THROTTLED)
        return GATE_THROTTLED;
    /* A 402 that has nothing to do with validation: the account as a whole. */
    return ruling.systemic || outcome->cls == OUTCOME_BILLING ? GATE_FAILED : GATE_SOUND;
}

static void tell_upsert(struct pipeline *pipeline, struct delivery *dl, const struct outcome *outcome,
                        enum gate_result result, int64_t wait_us)
{
    struct gate *gate = &pipeline->upsert;
    char why[sizeof gate->why];
    snprintf(why, sizeof why, "%s%s%s", pipeline->fuse_blown && outcome->cls == OUTCOME_REJECTED ? "fuse" : outcome_class_str(outcome->cls),
             outcome->code[0] ? ": " : "", outcome->code);
    const struct gate_report report = {.probe = dl->probe,
                                       .result = result,
                                       .who = event_name(dl),
                                       .why = why,
                                       .wait_us = outcome->cls == OUTCOME_BILLING ? pipeline->config.billing_step_us : wait_us,
                                       .duration_us = outcome->duration_us};
    mono_us_t since = gate->since;
    int turned = gate_leave(gate, &report, pipeline->now);
    if (turned > 0)
        pipeline_observe(pipeline, OBSERVED_WAIT, dl, "upsert", why, 0);
    else if (turned < 0)
        pipeline_observe(pipeline, OBSERVED_RESUME, dl, "upsert", "", pipeline->now.us - since.us);
    if (outcome->cls == OUTCOME_THROTTLED)
        gate_hold_until(gate, mono_add(pipeline->now, wait_us));
}

/* A lookup is the validate route's own call; of an upsert that validates only 402 and 503 speak of it. */
static enum gate_result validate_result(const struct delivery *dl, struct ruling ruling)
{
    if (ruling.verdict == VERDICT_ACCEPTED || ruling.verdict == VERDICT_DEAD)
        return GATE_SOUND;
    bool certain = dl->outcome.cls == OUTCOME_BILLING || ruling.verdict == VERDICT_HOLD;
    if (dl->state == DELIVERY_VALIDATING) {
        if (dl->outcome.cls == OUTCOME_THROTTLED)
            return GATE_THROTTLED;
        return certain ? GATE_STOPPED : ruling.systemic ? GATE_FAILED : GATE_SOUND;
    }
    if (!speaks_of_validation(dl))
        return GATE_SILENT;
    return certain ? GATE_STOPPED : GATE_FAILED;
}

void tell_validate(struct pipeline *pipeline, struct delivery *dl, struct ruling ruling, int64_t wait_us)
{
    struct gate *gate = &pipeline->validate;
    bool billing = dl->outcome.cls == OUTCOME_BILLING;
    char why[sizeof gate->why];
    snprintf(why, sizeof why, "%s%s%s", outcome_class_str(dl->outcome.cls), dl->outcome.code[0] ? ": " : "",
             dl->outcome.code);
    const struct gate_report report = {.probe = dl->validate_probe,
                                       .result = validate_result(dl, ruling),
                                       .who = event_name(dl),
                                       .why = why,
                                       .wait_us = billing ? pipeline->config.billing_step_us : wait_us,
                                       .duration_us = dl->outcome.duration_us};
    mono_us_t since = gate->since;
    int turned = gate_leave(gate, &report, pipeline->now);
    if (!gate_is_open(gate) && (report.result == GATE_STOPPED || report.result == GATE_FAILED)) {
        pipeline->billing_off = billing;
        pipeline->validate_trouble = dl->outcome;
    }
    if (turned > 0)
        pipeline_observe(pipeline, OBSERVED_WAIT, dl, "validate", why, 0);
    else if (turned < 0)
        pipeline_observe(pipeline, OBSERVED_RESUME, dl, "validate", "", pipeline->now.us - since.us);
    if (gate_is_open(gate))
        pipeline->billing_off = false;
    if (report.result == GATE_THROTTLED)
        gate_hold_until(gate, mono_add(pipeline->now, wait_us));
}

/* ---- the fuse */

/* Deaths in a row of answers that need not speak of the event: at the last one the route is held, and from then on nobody dies of one. */
static struct ruling fuse_rule(struct pipeline *pipeline, struct ruling ruling)
{
    if (ruling.verdict == VERDICT_ACCEPTED) {
        pipeline->fuse_run = 0;
        pipeline->fuse_blown = false;
        return ruling;
    }
    if (!ruling.vague || !pipeline->config.fuse || PLANTED(NO_FUSE))
        return ruling;
    if (pipeline->fuse_blown)
        return (struct ruling){.verdict = VERDICT_HOLD, .systemic = true};
    if (++pipeline->fuse_run >= pipeline->config.fuse) {
        pipeline->fuse_blown = true;
        pipeline->counters.fuses++;
    }
    return ruling;
}

/* ---- where the event goes */

static bool spends_attempt(const struct delivery *dl, struct ruling ruling)
{
    bool settled = ruling.verdict == VERDICT_ACCEPTED || ruling.verdict == VERDICT_DEAD;
    bool probes = (dl->probe || dl->validate_probe) && !PLANTED(PROBE_SPENDS_ATTEMPT);
    return ruling.counts && (settled || !probes);
}

static void give_up(struct pipeline *pipeline, struct delivery *dl)
{
    char last[sizeof dl->outcome.message];
    memcpy(last, dl->outcome.message, sizeof last);
    int64_t minutes = delivery_age_us(pipeline, dl) / (60 * US_PER_S);
    char message[sizeof dl->outcome.message];
    snprintf(message, sizeof message, "given up after %d tries in %lld h %02lld min; the last answer: %s", dl->attempts,
             (long long)(minutes / 60), (long long)(minutes % 60), last[0] ? last : "none");
    char code[OUTCOME_CODE_BYTES];
    memcpy(code, dl->outcome.code, sizeof code);
    struct outcome kept = dl->outcome;
    outcome_set(&dl->outcome, kept.cls, kept.http_status, code, message, kept.maybe_sent);
    dl->outcome.duration_us = kept.duration_us;
    pipeline->counters.given_up++;
    record_decide(pipeline, dl, RECORD_DEAD);
}

static void back_off(struct pipeline *pipeline, struct delivery *dl, int64_t wait_us)
{
    if (delivery_is_leaving(pipeline, dl)) {
        if (dl->cost)
            record_park(pipeline, dl, wait_us);
        else
            record_give_back(pipeline, dl);
        return;
    }
    if (PLANTED(FORGOTTEN_RETRY)) {
        delivery_move(pipeline, dl, DELIVERY_RECORDABLE);
        delivery_move(pipeline, dl, DELIVERY_RECORDING);
        pipeline_finish(pipeline, dl, true, "forgotten");
        return;
    }
    delivery_move(pipeline, dl, DELIVERY_BACKOFF);
    heap_push(&pipeline->due, dl, mono_add(pipeline->now, wait_us));
}

static void retry(struct pipeline *pipeline, struct delivery *dl, bool spent, int64_t wait_us)
{
    const struct pipeline_config *config = &pipeline->config;
    pipeline->counters.retries++;
    int64_t pause = backoff_us(&pipeline->random, config->backoff_base_us, config->backoff_cap_us, dl->failures++);
    int in_memory = dl->taken_up ? 1 : config->inline_attempts;
    if (spent && dl->counted >= in_memory) {
        int parks = dl->attempts - config->inline_attempts;
        pause = backoff_us(&pipeline->random, config->park_base_us, config->park_cap_us, parks > 0 ? (unsigned)parks : 0);
        record_park(pipeline, dl, pause > wait_us ? pause : wait_us);
        return;
    }
    if (wait_us > config->backoff_cap_us) {
        record_park(pipeline, dl, wait_us + pause);
        return;
    }
    back_off(pipeline, dl, pause > wait_us ? pause : wait_us);
}

/* It has had its turns as a probe: it steps aside into the ledger, so that its contact's later events do not fill the memory and the next probe is
 * somebody else. A single cursed event must not hold the route. */
static bool steps_aside(const struct pipeline *pipeline, const struct delivery *dl)
{
    bool in_vain = (dl->probe && !gate_is_open(&pipeline->upsert)) || (dl->validate_probe && !gate_is_open(&pipeline->validate));
    return in_vain && dl->probes >= PROBES_EACH && !delivery_is_leaving(pipeline, dl);
}

static bool is_too_old(const struct pipeline *pipeline, const struct delivery *dl)
{
    return delivery_age_us(pipeline, dl) >= pipeline->config.max_age_us && !PLANTED(IMMORTAL);
}

static void bill(struct pipeline *pipeline, struct delivery *dl)
{
    if (is_too_old(pipeline, dl))
        give_up(pipeline, dl);
    else if (dl->validates && pipeline->config.on_billing == ON_BILLING_WITHOUT_VALIDATION)
        back_off(pipeline, dl, 0); /* validate.c sends it without */
    else
        record_park(pipeline, dl, pipeline->config.billing_step_us);
}

/* What waited a day for its turn (a budget, an outage) and fails for the first time does not die of its age at once. */
bool is_exhausted(const struct pipeline *pipeline, const struct delivery *dl)
{
    if (PLANTED(IMMORTAL))
        return false;
    return (dl->attempts > 1 && is_too_old(pipeline, dl)) || dl->attempts >= pipeline->config.max_attempts;
}

struct answer_follow answer_follow_from(struct pipeline *pipeline, const struct delivery *dl, struct ruling *ruling)
{
    struct answer_follow follow = {.billing = dl->outcome.cls == OUTCOME_BILLING && ruling->verdict == VERDICT_RETRY};
    if (follow.billing && dl->validates && pipeline->config.on_billing == ON_BILLING_DEAD)
        ruling->verdict = VERDICT_DEAD;
    if (PLANTED(DEAD_IN_OUTAGE) && ruling->verdict == VERDICT_HOLD)
        ruling->verdict = VERDICT_DEAD;
    bool asks_time = dl->outcome.cls == OUTCOME_THROTTLED || dl->outcome.http_status == 503;
    follow.wait_us = asks_time ? answer_retry_after_us(pipeline, &dl->outcome) : 0;
    if (dl->outcome.cls == OUTCOME_THROTTLED && !follow.wait_us)
        follow.wait_us = backoff_us(&pipeline->random, pipeline->config.backoff_base_us, pipeline->config.backoff_cap_us, dl->failures);
    follow.spent = spends_attempt(dl, *ruling);
    return follow;
}

void answer_follow(struct pipeline *pipeline, struct delivery *dl, struct ruling ruling, const struct answer_follow *follow, bool exhausted)
{
    if (ruling.verdict == VERDICT_DEAD)
        record_decide(pipeline, dl, RECORD_DEAD);
    else if (exhausted)
        give_up(pipeline, dl);
    else if (follow->billing)
        bill(pipeline, dl);
    else if (steps_aside(pipeline, dl))
        record_park(pipeline, dl, follow->wait_us + ASIDE_US / 2 + (int64_t)random_below(&pipeline->random, ASIDE_US));
    else
        retry(pipeline, dl, follow->spent && ruling.verdict == VERDICT_RETRY, follow->wait_us);
}

/* What the upsert itself has validated. */
static void take_validation(struct pipeline *pipeline, struct delivery *dl, bool accepted)
{
    const struct upsert_reply *reply = &dl->call.reply;
    spend_settle(pipeline, dl, accepted ? reply->validation_cost : 0);
    if (!accepted || !slice_present(reply->validation))
        return;
    dl->validation = reply->validation;
    dl->validation_fresh = true;
}

void answer_act_on(struct pipeline *pipeline, struct delivery *dl)
{
    dl->outcome = dl->call.outcome;
    dl->has_outcome = true;
    pipeline->counters.by_class[dl->outcome.cls]++;
    struct ruling ruling = fuse_rule(pipeline, policy_rule_on(&pipeline->config.policy, &dl->outcome));
    struct answer_follow follow = answer_follow_from(pipeline, dl, &ruling);
    take_validation(pipeline, dl, dl->outcome.cls == OUTCOME_ACCEPTED);
    /* A straggler of a route that is closed by now: nobody dies of an outage. */
    bool closed = !gate_is_open(&pipeline->upsert) || (dl->validates && !gate_is_open(&pipeline->validate));
    dl->attempts += follow.spent;
    dl->counted += follow.spent;
    dl->maybe_sent = dl->maybe_sent || (dl->outcome.maybe_sent && ruling.verdict != VERDICT_ACCEPTED);
    tell_upsert(pipeline, dl, &dl->outcome,
                upsert_result(pipeline, &dl->outcome, ruling, speaks_of_validation(dl)), follow.wait_us);
    if (dl->validates)
        tell_validate(pipeline, dl, ruling, follow.wait_us);
    bool exhausted = follow.spent && ruling.verdict == VERDICT_RETRY && !closed && is_exhausted(pipeline, dl);
    attempt_note(dl, &dl->outcome, "upsert", exhausted ? VERDICT_DEAD : ruling.verdict);
    delivery_count_memory(pipeline, dl);
    if (ruling.verdict == VERDICT_ACCEPTED)
        record_decide(pipeline, dl, RECORD_ACCEPTED);
    else
        answer_follow(pipeline, dl, ruling, &follow, exhausted);
}

/* A read is there to say what a call of unknown fate has done. It spends no attempt, and the resend does not depend on it for long. */
void answer_act_on_read(struct pipeline *pipeline, struct delivery *dl)
{
    const struct outcome *outcome = &dl->read.outcome;
    struct ruling ruling = policy_rule_on(&pipeline->config.policy, outcome);
    if (ruling.verdict == VERDICT_DEAD)
        ruling.vague = false;
    int64_t wait_us = answer_retry_after_us(pipeline, outcome);
    bool was_probe = dl->probe;
    enum gate_result result = upsert_result(pipeline, outcome, ruling, false);
    if (pipeline->fuse_blown)
        result = GATE_SILENT; /* the fuse waits for an upsert that is taken */
    tell_upsert(pipeline, dl, outcome, result, wait_us);
    attempt_note(dl, outcome, "read", ruling.verdict);
    delivery_count_memory(pipeline, dl);
    bool failed = ruling.verdict == VERDICT_RETRY || ruling.verdict == VERDICT_HOLD;
    if (failed && ruling.counts && !was_probe)
        dl->reads_failed++;
    if (!failed || dl->reads_failed >= pipeline->config.inline_attempts)
        dl->read_over = true;
    if (delivery_is_leaving(pipeline, dl))
        record_give_back(pipeline, dl);
    else if (dl->read_over)
        delivery_move(pipeline, dl, DELIVERY_ADMITTED);
    else
        back_off(pipeline, dl,
                 backoff_us(&pipeline->random, pipeline->config.backoff_base_us, pipeline->config.backoff_cap_us,
                            dl->failures++));
}
