/* What the API says: for good events, for bad ones, and for everybody on its bad days. */
#include "parts.h"

#include <string.h>

static void answer(struct sim_call *call, enum outcome_class cls, int status, const char *code,
                   bool maybe_sent)
{
    call->cls = cls;
    call->status = status;
    call->code = code;
    call->maybe_sent = maybe_sent;
    call->takes_effect = cls == OUTCOME_ACCEPTED;
}

bool sim_answer_is_vague(enum outcome_class cls, int status, const char *code)
{
    static const char *const known[] = {"missing_phone_number", "missing_list_number", "invalid_phone",
                                        "invalid_list_number",  "not_sendable",        "payload_too_large",
                                        "missing_phone",        "invalid_force",       "validation_failed"};
    if (cls != OUTCOME_REJECTED || status == 404 || status == 405)
        return cls == OUTCOME_REJECTED;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(code, known[i]) == 0)
            return false;
    }
    return true;
}

/* Short, longer than anybody waits in memory, or absurd. */
static int64_t retry_after(struct sim *sim, const struct sim_life *life)
{
    switch (sim_below(sim, sim_strikes(sim, SIM_THROTTLE) ? 8 : 4)) {
    case 0: return -1;
    case 1:
    case 2:
    case 3: return sim_between(sim, 0, 3) * US_PER_S;
    case 4: return INT64_C(1000000000) * US_PER_S;
    default: return life->config.backoff_cap_us + sim_between(sim, 1, 20) * US_PER_S;
    }
}

static void answer_known(struct sim *sim, struct sim_call *call)
{
    const struct sim_content *content = call->record->content;
    if (content->rejected_status)
        answer(call, OUTCOME_REJECTED, content->rejected_status, content->rejected_code, false);
    else if (content->cursed == 503)
        answer(call, OUTCOME_PROVIDER, 503, "provider_error", false);
    else if (content->cursed)
        answer(call, OUTCOME_SERVER, content->cursed, "internal_error", true);
    else
        answer(call, OUTCOME_ACCEPTED, sim_chance(sim, 5000) ? 200 : 201, "", false);
}

static void answer_unsure(struct sim *sim, struct sim_call *call, int64_t *takes_us)
{
    static const int statuses[] = {500, 502, 504, 408, 425, 599};
    bool refused = call->is_lookup && sim->phones[call->phone].refused;
    refused = refused || (call->record && call->record->content->rejected_status);
    bool takes_effect = sim_chance(sim, 5000) && !refused;
    switch (sim_below(sim, 4)) {
    case 0: answer(call, OUTCOME_SERVER, statuses[sim_below(sim, 6)], "internal_error", true); break;
    case 1: answer(call, OUTCOME_SERVER, 200, "broken_body", true); break;
    case 2: answer(call, OUTCOME_TRANSPORT, 0, "reset", true); break;
    default:
        answer(call, OUTCOME_TRANSPORT, 0, "timeout", true);
        *takes_us = call->life->config.call_timeout_us;
    }
    call->takes_effect = takes_effect;
}

static void answer_away(struct sim *sim, struct sim_call *call, enum sim_away how, int64_t *takes_us)
{
    switch (how) {
    case SIM_AWAY_KEY: answer(call, OUTCOME_UNAUTHORIZED, 401, "invalid_api_key", false); break;
    case SIM_AWAY_SUSPENDED: answer(call, OUTCOME_UNAUTHORIZED, 403, "", false); break;
    case SIM_AWAY_THROTTLED:
        answer(call, OUTCOME_THROTTLED, 429, "rate_limited", false);
        call->retry_after_us = retry_after(sim, call->life);
        sim->totals.throttled++;
        break;
    case SIM_AWAY_REDIRECT: answer(call, OUTCOME_MISROUTED, 302, "", false); break;
    case SIM_AWAY_PROVIDER:
        answer(call, OUTCOME_PROVIDER, 503, "", false);
        if (sim_chance(sim, 3000))
            call->retry_after_us = retry_after(sim, call->life);
        break;
    case SIM_AWAY_CONNECT: answer(call, OUTCOME_TRANSPORT, 0, "connect_failed", false); break;
    default: answer_unsure(sim, call, takes_us);
    }
}

static void answer_unpaid(struct sim *sim, struct sim_call *call)
{
    static const char *const codes[] = {"no_billing_config", "no_payment_method", "payment_failed",
                                        "suspended"};
    answer(call, OUTCOME_BILLING, 402, codes[sim_below(sim, 4)], false);
    sim->totals.unpaid++;
}

static void answer_no_provider(struct sim *sim, struct sim_call *call)
{
    answer(call, OUTCOME_PROVIDER, 503, "provider_error", false);
    if (sim_chance(sim, 3000))
        call->retry_after_us = retry_after(sim, call->life);
}

static bool in_storm(const struct sim *sim, const struct sim_call *call)
{
    return sim->storm_until_us > sim->now_us &&
           (sim->storm_list < 0 || strcmp(sim->contacts[sim->storm_list].list, call->contact->list) == 0);
}

static void answer_storm(struct sim *sim, struct sim_call *call)
{
    switch (sim->storm_how) {
    case 0: answer(call, OUTCOME_REJECTED, 400, "list_not_found", false); break;
    case 1: answer(call, OUTCOME_REJECTED, 404, "", false); break;
    case 2: answer(call, OUTCOME_REJECTED, 405, "", false); break;
    default: answer(call, OUTCOME_REJECTED, 422, "unheard_of", false);
    }
}

int64_t sim_api_latency(struct sim *sim, const struct sim_life *life)
{
    if (sim_chance(sim, sim->healed ? 0 : sim->profile.api_slow))
        return sim_between(sim, 1, life->config.call_timeout_us);
    return sim_between(sim, 500, 80 * US_PER_MS);
}

static void answer_no_address(struct sim *sim, struct sim_call *call)
{
    int which = sim_below(sim, 3);
    answer(call, OUTCOME_REJECTED, which ? 404 : 405, which == 1 ? "not_found" : "", false);
}

static void answer_lookup_away(struct sim *sim, struct sim_call *call, enum sim_away how, int64_t *takes_us)
{
    if (how == SIM_AWAY_LOST)
        answer_no_address(sim, call);
    else
        answer_away(sim, call, how, takes_us);
}

/* Single refusals of the validation host. */
static void answer_lookup_mixed(struct sim *sim, struct sim_call *call, int64_t *takes_us)
{
    switch (sim_below(sim, 8)) {
    case 0: answer_unpaid(sim, call); break;
    case 1: answer_lookup_away(sim, call, (enum sim_away)sim_below(sim, SIM_AWAY_LOST + 1), takes_us); break;
    case 2: answer(call, OUTCOME_REJECTED, 422, "unheard_of", false); break;
    case 3: answer_away(sim, call, SIM_AWAY_THROTTLED, takes_us); break;
    case 4: answer_no_provider(sim, call); break;
    default: answer_unsure(sim, call, takes_us);
    }
}

void sim_answer_lookup(struct sim *sim, struct sim_call *call, int64_t *takes_us)
{
    *takes_us = sim_api_latency(sim, call->life);
    call->retry_after_us = -1;
    if (sim->lookup_away_until_us > sim->now_us)
        answer_lookup_away(sim, call, sim->lookup_away_how, takes_us);
    else if (sim_strikes(sim, SIM_LOOKUP) && sim_chance(sim, sim->profile.lookup_fault))
        answer_lookup_mixed(sim, call, takes_us);
    else if (sim->unpaid_until_us > sim->now_us)
        answer_unpaid(sim, call);
    else if (sim->provider_until_us > sim->now_us)
        answer_no_provider(sim, call);
    else if (sim->phones[call->phone].refused)
        answer(call, OUTCOME_REJECTED, 400, "invalid_phone", false);
    else
        answer(call, OUTCOME_ACCEPTED, 200, "", false);
}

/* Single refusals, in between good answers. */
static void answer_mixed(struct sim *sim, struct sim_call *call, int64_t *takes_us)
{
    int which = sim_below(sim, SIM_AWAY_UNSURE + 2);
    if (which == SIM_AWAY_UNSURE && call->validate)
        answer_unpaid(sim, call);
    else if (which > SIM_AWAY_UNSURE && call->validate)
        answer_no_provider(sim, call);
    else
        answer_away(sim, call, (enum sim_away)(which % SIM_AWAY_UNSURE), takes_us);
}

void sim_answer_decide(struct sim *sim, struct sim_call *call, int64_t *takes_us)
{
    *takes_us = sim_api_latency(sim, call->life);
    call->retry_after_us = -1;
    bool away = sim->api_away_until_us > sim->now_us;
    if (away)
        answer_away(sim, call, sim->api_away_how, takes_us);
    else if (sim_strikes(sim, SIM_AMBIGUOUS) && sim_chance(sim, sim->profile.api_ambiguous))
        answer_unsure(sim, call, takes_us);
    else if (in_storm(sim, call))
        answer_storm(sim, call);
    else if (call->validate && sim->unpaid_until_us > sim->now_us)
        answer_unpaid(sim, call);
    else if (call->validate && sim->provider_until_us > sim->now_us)
        answer_no_provider(sim, call);
    else if (sim_strikes(sim, SIM_THROTTLE) && sim_chance(sim, sim->profile.api_throttle))
        answer_away(sim, call, sim_chance(sim, 5000) ? SIM_AWAY_THROTTLED : SIM_AWAY_PROVIDER, takes_us);
    else if (sim_strikes(sim, SIM_API) && sim_chance(sim, sim->profile.api_fault))
        answer_mixed(sim, call, takes_us);
    else
        answer_known(sim, call);
}

bool sim_answer_read(struct sim *sim, struct sim_life *life, struct outcome *out, int64_t *takes_us)
{
    struct sim_call as_call = {.life = life, .retry_after_us = -1};
    *takes_us = sim_api_latency(sim, life);
    bool away = sim->api_away_until_us > sim->now_us;
    bool fails = sim_strikes(sim, SIM_READ) && sim_chance(sim, sim->profile.read_fail);
    bool misled = sim->storm_until_us > sim->now_us && sim->storm_how == 1 && sim->storm_list < 0;
    if (!away && !fails && !misled)
        return false;
    if (misled) {
        answer(&as_call, OUTCOME_REJECTED, 404, "", false);
    } else if (away && sim->api_away_how != SIM_AWAY_UNSURE) {
        answer_away(sim, &as_call, sim->api_away_how, takes_us);
    } else if (sim_chance(sim, 5000)) {
        answer(&as_call, OUTCOME_SERVER, 500, "internal_error", true);
    } else {
        answer(&as_call, OUTCOME_TRANSPORT, 0, "timeout", true);
        *takes_us = life->config.call_timeout_us;
    }
    outcome_set(out, as_call.cls, as_call.status, as_call.code, "said the simulated API", as_call.maybe_sent);
    out->retry_after_us = as_call.retry_after_us;
    return true;
}
