/* The upsert stage: claimed deliveries to the API as the gate admits, and what each answer leads to. */
#include "state.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define CONTACTS_AWAY_US (100 * US_PER_MS) /* the client takes no call just now: look again */

static struct delivery *owner_of(struct upsert_call *call)
{
    return (struct delivery *)((char *)call - offsetof(struct delivery, call));
}

/* A resend after a call of unknown fate must not enrol anybody twice (design section 5). */
static bool call_guard(struct pipeline *pipeline, struct delivery *dl)
{
    if (!slice_present(dl->guarded_body)) {
        struct buf buf;
        buf_init(&buf, (size_t)CONTACT_BYTES_MAX * 4);
        signup_write_body(&dl->signup, true, &buf);
        dl->guarded_body = buf_ok(&buf) ? arena_copy(&dl->arena, buf_slice(&buf)) : SLICE_ABSENT;
        buf_fini(&buf);
    }
    if (!slice_present(dl->guarded_body))
        return false;
    dl->request = dl->guarded_body;
    pipeline->counters.guarded++;
    if (dl->signup.use_journeys && !dl->signup.skip_journey_if_exists && !dl->guard_warned)
        dl->guard_warned =
            signup_warn(&dl->signup, &dl->arena, WARNING_WORKER, SLICE_LITERAL("journey_resend_guarded"),
                        SLICE_LITERAL("an earlier call may have taken effect: this one was sent with "
                                      "skip_journey_if_exists true, so that nobody is enrolled twice"));
    return true;
}

static void attempt_note(struct delivery *dl, enum verdict verdict)
{
    if (verdict == VERDICT_ACCEPTED && dl->calls == 1 && dl->calls_before == 0)
        return; /* accepted at the first call: the row itself says it all */
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
    attempt->number = dl->calls_before + dl->calls;
    attempt->route = "upsert";
    attempt->at = dl->called_at;
    attempt->duration_us = dl->outcome.duration_us;
    attempt->http_status = dl->outcome.http_status;
    memcpy(attempt->code, dl->outcome.code, sizeof attempt->code);
    attempt->verdict = verdict_str(verdict);
}

static int64_t retry_after_us(const struct pipeline *pipeline, const struct outcome *outcome)
{
    if (outcome->retry_after_us <= 0)
        return 0;
    return outcome->retry_after_us < pipeline->config.retry_after_cap_us ? outcome->retry_after_us
                                                                          : pipeline->config.retry_after_cap_us;
}

static void call_retry_later(struct pipeline *pipeline, struct delivery *dl, int64_t wait_us)
{
    if (delivery_is_leaving(pipeline, dl)) {
        record_decide(pipeline, dl, RECORD_RELEASED);
        return;
    }
    pipeline->counters.retries++;
    int64_t pause =
        backoff_us(&pipeline->random, pipeline->config.backoff_base_us, pipeline->config.backoff_cap_us, dl->failures++);
    if (pause < wait_us)
        pause = wait_us;
    if (PLANTED(FORGOTTEN_RETRY)) {
        delivery_move(pipeline, dl, DELIVERY_RECORDABLE);
        delivery_move(pipeline, dl, DELIVERY_RECORDING);
        pipeline_finish(pipeline, dl, true, "forgotten");
        return;
    }
    delivery_move(pipeline, dl, DELIVERY_BACKOFF);
    heap_push(&pipeline->due, dl, mono_add(pipeline->now, pause));
}

/* What the gate learns from an answer. */
static void call_tell_gate(struct pipeline *pipeline, struct delivery *dl, struct ruling ruling, int64_t wait_us)
{
    enum gate_result result = GATE_SOUND;
    if (ruling.verdict == VERDICT_HOLD)
        result = GATE_STOPPED;
    else if (ruling.verdict == VERDICT_RETRY && ruling.systemic)
        result = GATE_FAILED;
    char why[sizeof pipeline->upsert.why];
    snprintf(why, sizeof why, "%s%s%s", outcome_class_str(dl->outcome.cls), dl->outcome.code[0] ? ": " : "",
             dl->outcome.code);
    mono_us_t since = pipeline->upsert.since;
    int turned = gate_leave(&pipeline->upsert, dl->probe, result, (uint64_t)(uintptr_t)dl, why, wait_us, pipeline->now);
    if (turned > 0)
        pipeline_observe(pipeline, OBSERVED_WAIT, dl, "upsert", why, 0);
    else if (turned < 0)
        pipeline_observe(pipeline, OBSERVED_RESUME, dl, "upsert", "", pipeline->now.us - since.us);
    if (dl->outcome.cls == OUTCOME_THROTTLED && ruling.verdict == VERDICT_RETRY)
        gate_hold_until(&pipeline->upsert, mono_add(pipeline->now, wait_us));
}

static void call_done(struct upsert_call *call)
{
    struct delivery *dl = owner_of(call);
    struct pipeline *pipeline = call->owner;
    assert(dl->state == DELIVERY_CALLING && !dl->answered);
    dl->answered = true;
    dl->answered_next = NULL;
    *pipeline->answered_end = dl;
    pipeline->answered_end = &dl->answered_next;
    pipeline->wants_tick = true;
}

static void call_take_answer(struct pipeline *pipeline, struct delivery *dl)
{
    dl->answered = false;
    dl->outcome = dl->call.outcome;
    dl->has_outcome = true;
    pipeline->counters.by_class[dl->outcome.cls]++;
    struct ruling ruling = policy_rule_on(&pipeline->config.policy, &dl->outcome);
    int64_t wait_us = retry_after_us(pipeline, &dl->outcome);
    if (dl->outcome.cls == OUTCOME_THROTTLED && !wait_us)
        wait_us = backoff_us(&pipeline->random, pipeline->config.backoff_base_us, pipeline->config.backoff_cap_us,
                             dl->failures);
    bool settled = ruling.verdict == VERDICT_ACCEPTED || ruling.verdict == VERDICT_DEAD;
    if (ruling.counts && (settled || !dl->probe))
        dl->attempts++;
    dl->maybe_sent = dl->maybe_sent || (dl->outcome.maybe_sent && ruling.verdict != VERDICT_ACCEPTED);
    call_tell_gate(pipeline, dl, ruling, wait_us);
    attempt_note(dl, ruling.verdict);
    delivery_count_memory(pipeline, dl);
    switch (ruling.verdict) {
    case VERDICT_ACCEPTED:
        record_decide(pipeline, dl, RECORD_ACCEPTED);
        break;
    case VERDICT_DEAD:
        record_decide(pipeline, dl, RECORD_DEAD);
        break;
    case VERDICT_RETRY:
    case VERDICT_HOLD:
        call_retry_later(pipeline, dl, wait_us);
        break;
    }
}

void calls_take_answers(struct pipeline *pipeline)
{
    struct delivery *dl = pipeline->answered;
    pipeline->answered = NULL;
    pipeline->answered_end = &pipeline->answered;
    while (dl) {
        struct delivery *next = dl->answered_next;
        call_take_answer(pipeline, dl);
        dl = next;
    }
}

/* The lease must outlast the call: whoever takes the event over may then be sure that nothing of ours is still to come (I6). */
static bool lease_suffices(const struct pipeline *pipeline, const struct delivery *dl)
{
    return PLANTED(CALL_WITHOUT_LEASE) ||
           mono_reached(dl->lease_until, mono_add(pipeline->now, pipeline->config.call_timeout_us));
}

static bool call_start(struct pipeline *pipeline, struct delivery *dl)
{
    assert(dl->claimed);
    dl->request = dl->signup.body;
    bool guard = dl->maybe_sent && !PLANTED(UNGUARDED_RESEND);
    if (guard && !call_guard(pipeline, dl))
        return false;
    dl->call = (struct upsert_call){.body = dl->request,
                                    .traceparent = record_header_value(&dl->record, "traceparent"),
                                    .arena = &dl->arena,
                                    .signup = &dl->signup,
                                    .done = call_done,
                                    .owner = pipeline};
    if (pipeline->ports.contacts->upsert(pipeline->ports.contacts_ctx, &dl->call) != PORT_OK)
        return false;
    dl->probe = gate_enter(&pipeline->upsert, pipeline->now);
    dl->calls++;
    dl->called_at = pipeline->wall;
    pipeline->counters.calls++;
    delivery_move(pipeline, dl, DELIVERY_CALLING);
    return true;
}

void call_start_all(struct pipeline *pipeline)
{
    foreach_list(pipeline, DELIVERY_ADMITTED, dl, next)
    {
        assert(!delivery_is_leaving(pipeline, dl));
        if (!gate_admits(&pipeline->upsert, pipeline->now))
            return; /* those that are leaving were let go by the revoke or the drain itself */
        if (!lease_suffices(pipeline, dl))
            continue; /* lease.c extends it, or learns that it is lost */
        if (!call_start(pipeline, dl)) {
            gate_hold_until(&pipeline->upsert, mono_add(pipeline->now, CONTACTS_AWAY_US));
            return;
        }
    }
}
