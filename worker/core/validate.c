/* Phone validation as the pipeline sees it: who may validate at this time, the lookup before the upsert (validation.mode gate), what is known
 * already, and what the gate makes of a disposition. */
#include "state.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define LOOKUP_AWAY_US (100 * US_PER_MS) /* the client takes no call just now: look again */
#define WAIT_MIN_US (5 * US_PER_S)
#define TOMORROW_SPREAD_US (60 * US_PER_S) /* what was parked until tomorrow does not come back all in one second */

static struct delivery *owner_of(struct validate_call *call)
{
    return (struct delivery *)((char *)call - offsetof(struct delivery, lookup));
}

bool validation_is_wanted(const struct delivery *dl)
{
    return dl->signup.validation == EVENT_VALIDATION_GATE && !dl->judged;
}

/* ---- going without */

static bool go_without(struct pipeline *pipeline, struct delivery *dl, struct slice why)
{
    if (dl->signup.use_validation) {
        dl->signup.use_validation = dl->signup.force = false;
        struct slice body = body_write(dl, false);
        if (!slice_present(body)) {
            dl->signup.use_validation = true;
            return false;
        }
        dl->signup.body = body;
        dl->guarded_body = SLICE_ABSENT;
    }
    dl->judged = true;
    pipeline->counters.validation_skipped++;
    return signup_warn(&dl->signup, &dl->arena, WARNING_WORKER, SLICE_LITERAL("validation_skipped"), why);
}

/* ---- the day's budget */

static void park_until_tomorrow(struct pipeline *pipeline, struct delivery *dl)
{
    outcome_set(&dl->outcome, OUTCOME_BILLING, 0, "validation_budget_spent",
                "the day's budget for phone validation (validation.daily_budget_usd) is spent: the event waits for the next day, UTC", false);
    dl->has_outcome = true;
    pipeline->counters.budget_parked++;
    record_park(pipeline, dl,
                spend_day_left_us(pipeline) + (int64_t)random_below(&pipeline->random, TOMORROW_SPREAD_US));
}

bool validation_is_free(const struct delivery *dl)
{
    return slice_present(dl->known.validation) && !dl->signup.asks_force;
}

static bool budget_admits(struct pipeline *pipeline, struct delivery *dl)
{
    if (validation_is_free(dl))
        return true;
    switch (spend_admits(pipeline)) {
    case SPEND_ADMITS:
        return true;
    case SPEND_WAITS:
        spend_want(pipeline);
        return false;
    case SPEND_EXHAUSTED:
        break;
    }
    if (pipeline->config.on_budget == ON_BUDGET_WITHOUT_VALIDATION)
        return go_without(pipeline, dl,
                          SLICE_LITERAL("the day's budget for phone validation was spent: the contact was sent without it"));
    park_until_tomorrow(pipeline, dl);
    return false;
}

/* ---- the validate route */

/* Parks without a call, for as long as the route's trouble asks: billing says when it looks again; of any other trouble the best guess is
 * that it lasts as long again as it has lasted. */
static void route_park(struct pipeline *pipeline, struct delivery *dl, mono_us_t probe)
{
    dl->outcome = pipeline->validate_trouble;
    dl->has_outcome = true;
    if (pipeline->billing_off && delivery_age_us(pipeline, dl) >= pipeline->config.max_age_us) {
        pipeline->counters.given_up++;
        record_decide(pipeline, dl, RECORD_DEAD);
        return;
    }
    int64_t wait_us = probe.us - pipeline->now.us;
    if (!pipeline->billing_off) {
        wait_us = pipeline->now.us - pipeline->validate.since.us;
        if (wait_us > pipeline->config.park_cap_us)
            wait_us = pipeline->config.park_cap_us;
        if (wait_us < WAIT_MIN_US)
            wait_us = WAIT_MIN_US;
        wait_us = wait_us / 2 + (int64_t)random_below(&pipeline->random, (uint64_t)(wait_us / 2) + 1);
    }
    record_park(pipeline, dl, wait_us);
}

bool validation_admits(struct pipeline *pipeline, struct delivery *dl, size_t *waiting)
{
    struct gate *gate = &pipeline->validate;
    if (PLANTED(BILLING_HAMMER))
        return true;
    if (gate_admits(gate, pipeline->now))
        return budget_admits(pipeline, dl);
    if (gate_is_open(gate)) {
        call_expect(pipeline, gate_next(gate, pipeline->now));
        return false;
    }
    if (pipeline->billing_off && pipeline->config.on_billing == ON_BILLING_WITHOUT_VALIDATION)
        return go_without(pipeline, dl,
                          SLICE_LITERAL("the account could not pay for phone validation (402): the contact was sent without it"));
    mono_us_t patience = mono_add(dl->state_since, pipeline->config.backoff_cap_us);
    mono_us_t probe = gate_next(gate, pipeline->now);
    bool soon = probe.us <= mono_add(pipeline->now, pipeline->config.backoff_cap_us).us;
    bool stays = gate->state == GATE_PROBING ? !mono_reached(pipeline->now, patience) : soon && (*waiting)++ == 0;
    if (stays) {
        call_expect(pipeline, gate->state == GATE_PROBING ? patience : probe);
        return false;
    }
    route_park(pipeline, dl, gate->state == GATE_PROBING ? pipeline->now : probe);
    return false;
}

/* ---- the judgement */

/* Where the value of a member begins within a validation's JSON text; NULL: there is no such member. An unescaped name before a colon can only
 * be a member's, and it stands at the object's own level, because the room that reads the API's answers keeps scalars only. `name` is quoted. */
static const char *member_value(struct slice json, const char *name)
{
    const char *end = json.ptr + json.len;
    size_t len = strlen(name);
    for (const char *at = json.ptr; (at = memmem(at, (size_t)(end - at), name, len)); at++) {
        const char *value = at + len;
        while (value < end && *value == ' ')
            value++;
        if (value == end || *value != ':')
            continue;
        for (value++; value < end && *value == ' '; value++)
            ;
        return value;
    }
    return NULL;
}

struct slice validation_disposition(struct slice validation)
{
    const char *end = validation.ptr + validation.len;
    const char *value = member_value(validation, "\"disposition\"");
    const char *close = value && value < end && *value == '"' ? memchr(value + 1, '"', (size_t)(end - value - 1)) : NULL;
    return close ? (struct slice){value + 1, (size_t)(close - value - 1)} : SLICE_LITERAL("unknown");
}

static bool is_allowed(const struct pipeline *pipeline, struct slice disposition)
{
    for (size_t i = 0; i < pipeline->config.allow_count; i++) {
        if (slice_equal(pipeline->config.allow[i], disposition))
            return true;
    }
    return false;
}

static const char *disposition_text(struct slice disposition)
{
    static const char *const texts[][2] = {
        {"ok", "a mobile phone"},
        {"unreachable", "a landline or a VoIP line, which takes no text messages"},
        {"risky", "a mobile phone on a do-not-call list"},
        {"invalid", "not a number in use"},
        {"unknown", "its kind could not be determined"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (slice_is(disposition, texts[i][0]))
            return texts[i][1];
    }
    return "a disposition that is not documented";
}

static void refuse(struct pipeline *pipeline, struct delivery *dl, struct slice disposition)
{
    char text[OUTCOME_MESSAGE_BYTES];
    int shown = disposition.len < 40 ? (int)disposition.len : 40;
    int len = snprintf(text, sizeof text,
                       "Phone validation says \"%.*s\" (%s), which validation.gate.allow does not let through: the contact was not "
                       "put on the list. Allow it there, or leave it.", shown, disposition.ptr, disposition_text(disposition));
    dl->signup.death = DEATH_VALIDATION_REFUSED;
    dl->signup.death_message = arena_copy(&dl->arena, (struct slice){text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1});
    if (!slice_present(dl->signup.death_message))
        dl->signup.death_message = SLICE_LITERAL("phone validation refuses the number");
    pipeline->counters.validations_refused++;
    record_decide(pipeline, dl, RECORD_DEAD);
}

/* True: the phone may go on the list. Otherwise the delivery is on its way to be recorded as dead. */
static bool judge(struct pipeline *pipeline, struct delivery *dl)
{
    dl->judged = true;
    struct slice disposition = validation_disposition(dl->validation);
    if (is_allowed(pipeline, disposition) || PLANTED(REFUSED_PASSES))
        return true;
    refuse(pipeline, dl, disposition);
    return false;
}

/* Young enough, and, where a fresh lookup was asked for, made for this event or later. */
static bool is_usable(const struct pipeline *pipeline, const struct delivery *dl, int64_t age_us)
{
    if (PLANTED(FORGOTTEN_LOOKUP))
        return false;
    if (pipeline->config.remember_us == 0 || (age_us > pipeline->config.remember_us && !PLANTED(STALE_MEMORY)))
        return false;
    return !dl->signup.asks_force || age_us < delivery_age_us(pipeline, dl);
}

/* A remembered validation costs nothing, whatever it cost then. The text that a lookup gave is rewritten: what the row says is added up. */
static struct slice without_cost(struct delivery *dl, struct slice validation)
{
    const char *end = validation.ptr + validation.len;
    const char *value = member_value(validation, "\"cost\"");
    if (!value)
        return arena_copy(&dl->arena, validation);
    const char *after = value;
    while (after < end && *after != ',' && *after != '}')
        after++;
    char *text = arena_alloc(&dl->arena, validation.len + 2);
    if (!text)
        return SLICE_ABSENT;
    size_t head = (size_t)(value - validation.ptr);
    size_t tail = (size_t)(end - after);
    memcpy(text, validation.ptr, head);
    text[head] = '0';
    memcpy(text + head + 1, after, tail);
    text[head + 1 + tail] = '\0';
    return (struct slice){text, head + 1 + tail};
}

/* Gives whether anything was known; then `*passes` says what the gate makes of it. */
static bool judge_by_memory(struct pipeline *pipeline, struct delivery *dl, const struct phone *phone, bool *passes)
{
    int64_t age_us = dl->known.age_us + (pipeline->now.us - dl->known_at.us);
    if (slice_present(dl->known.validation) && is_usable(pipeline, dl, age_us)) {
        dl->validation = dl->known.validation;
        pipeline->counters.validations_known++;
    } else if (phone && phone->validation && (phone->fresh || !dl->signup.asks_force) &&
               is_usable(pipeline, dl, pipeline->now.us - phone->learnt_at.us)) {
        dl->validation = without_cost(dl, (struct slice){phone->validation, phone->validation_len});
        if (!slice_present(dl->validation))
            return false;
        pipeline->counters.validations_shared++;
    } else
        return false;
    dl->validation_fresh = false;
    *passes = judge(pipeline, dl);
    return true;
}

/* ---- the lookup */

static void lookup_done(struct validate_call *call)
{
    struct delivery *dl = owner_of(call);
    assert(dl->state == DELIVERY_VALIDATING);
    call_answered(call->owner, dl);
}

static bool lookup_start(struct pipeline *pipeline, struct delivery *dl)
{
    dl->lookup = (struct validate_call){.phone_number = dl->signup.phone_number,
                                        .force = dl->signup.asks_force,
                                        .traceparent = record_header_value(&dl->record, "traceparent"),
                                        .answer_by = answer_by(dl),
                                        .arena = &dl->arena,
                                        .done = lookup_done,
                                        .owner = pipeline};
    if (pipeline->ports.contacts->validate(pipeline->ports.contacts_ctx, &dl->lookup) != PORT_OK)
        return false;
    if (!PLANTED(UNSHARED_LOOKUP) && !phones_ask(&pipeline->phones, dl->signup.phone_number, dl))
        out_of_memory();
    if (!validation_is_free(dl))
        spend_reserve(pipeline, dl);
    pipeline->counters.validations++;
    dl->tries++;
    dl->called_at = pipeline->wall;
    dl->validates = true;
    dl->probe = false;
    dl->validate_probe = gate_enter(&pipeline->validate, pipeline->now);
    if (dl->validate_probe) {
        uint64_t trouble = pipeline_trouble(pipeline);
        dl->probes = dl->probed_in == trouble ? dl->probes + 1 : 1;
        dl->probed_in = trouble;
    }
    delivery_move(pipeline, dl, DELIVERY_VALIDATING);
    return true;
}

bool validation_step(struct pipeline *pipeline, struct delivery *dl, size_t *waiting)
{
    bool passes;
    struct phone *phone = phones_find(&pipeline->phones, dl->signup.phone_number);
    if (judge_by_memory(pipeline, dl, phone, &passes))
        return passes;
    if (phone && phone->asked_by)
        return false; /* its answer comes with a tick */
    /* While the contacts API is away nothing is looked up in advance, except for the next probe. */
    if (!gate_is_open(&pipeline->upsert) &&
        (!gate_admits(&pipeline->upsert, pipeline->now) || list_count(pipeline, DELIVERY_VALIDATING)))
        return false;
    if (!lease_suffices(pipeline, dl) || !validation_admits(pipeline, dl, waiting))
        return false;
    if (dl->judged)
        return true; /* it goes without */
    if (!lookup_start(pipeline, dl)) {
        gate_hold_until(&pipeline->validate, mono_add(pipeline->now, LOOKUP_AWAY_US));
        call_expect(pipeline, mono_add(pipeline->now, LOOKUP_AWAY_US));
    }
    return false;
}

/* ---- the answer */

static void looked_up(struct pipeline *pipeline, struct delivery *dl)
{
    dl->failures = 0;
    if (slice_present(dl->lookup.validation)) {
        dl->validation = dl->lookup.validation;
        dl->validation_fresh = true;
        if (!judge(pipeline, dl)) {
            attempt_tell(dl);
            dl->attempts++;
            return;
        }
    }
    dl->judged = true; /* without a validation: the configuration maps this answer to `accepted` */
    if (delivery_is_leaving(pipeline, dl))
        record_give_back(pipeline, dl);
    else
        delivery_move(pipeline, dl, DELIVERY_ADMITTED);
}

void answer_act_on_lookup(struct pipeline *pipeline, struct delivery *dl)
{
    const struct validate_call *lookup = &dl->lookup;
    bool accepted = lookup->outcome.cls == OUTCOME_ACCEPTED;
    dl->outcome = lookup->outcome;
    dl->has_outcome = true;
    phones_answer(&pipeline->phones, dl->signup.phone_number, dl, accepted ? lookup->validation : SLICE_ABSENT,
                  lookup->force || lookup->cost > 0, pipeline->now);
    spend_settle(pipeline, dl, accepted ? lookup->cost : 0);
    struct ruling ruling = policy_rule_on(&pipeline->config.policy, &dl->outcome);
    if (ruling.vague) /* it need not speak of this phone: a wrong validation_url must not kill signups */
        ruling = (struct ruling){.verdict = VERDICT_HOLD, .systemic = true};
    struct answer_follow follow = answer_follow_from(pipeline, dl, &ruling);
    follow.spent = follow.spent && ruling.verdict != VERDICT_ACCEPTED;
    bool closed = !gate_is_open(&pipeline->validate);
    dl->attempts += follow.spent;
    dl->counted += follow.spent;
    tell_validate(pipeline, dl, ruling, follow.wait_us);
    bool exhausted = follow.spent && ruling.verdict == VERDICT_RETRY && !closed && is_exhausted(pipeline, dl);
    attempt_note(dl, &dl->outcome, "validate", exhausted ? VERDICT_DEAD : ruling.verdict);
    delivery_count_memory(pipeline, dl);
    if (ruling.verdict == VERDICT_ACCEPTED)
        looked_up(pipeline, dl);
    else
        answer_follow(pipeline, dl, ruling, &follow, exhausted);
}
