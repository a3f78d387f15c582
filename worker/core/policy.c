/* Policy: design section 5 as one table, then the configuration's re-mappings. */
#include "signup/core/policy.h"

#include <string.h>

static const char *const verdict_names[] = {"accepted", "retry", "hold", "dead"};

const char *verdict_str(enum verdict verdict)
{
    return verdict_names[verdict];
}

bool verdict_parse(const char *text, enum verdict *out)
{
    for (size_t i = 0; i < sizeof verdict_names / sizeof verdict_names[0]; i++) {
        if (strcmp(text, verdict_names[i]) == 0) {
            *out = (enum verdict)i;
            return true;
        }
    }
    return false;
}

static const struct ruling rulings[OUTCOME_CLASS_COUNT] = {
    [OUTCOME_ACCEPTED] = {.verdict = VERDICT_ACCEPTED, .counts = true, .systemic = false},
    [OUTCOME_REJECTED] = {.verdict = VERDICT_DEAD, .counts = true, .systemic = false},
    /* base_url is wrong: no event's fault, none is spent */
    [OUTCOME_MISROUTED] = {.verdict = VERDICT_HOLD, .counts = false, .systemic = true},
    [OUTCOME_UNAUTHORIZED] = {.verdict = VERDICT_HOLD, .counts = false, .systemic = true},
    /* of a validating event it speaks of validation only: the others flow (call.c) */
    [OUTCOME_BILLING] = {.verdict = VERDICT_RETRY, .counts = true, .systemic = false},
    /* slows the route by its own means */
    [OUTCOME_THROTTLED] = {.verdict = VERDICT_RETRY, .counts = false, .systemic = false},
    [OUTCOME_PROVIDER] = {.verdict = VERDICT_RETRY, .counts = true, .systemic = true},
    [OUTCOME_SERVER] = {.verdict = VERDICT_RETRY, .counts = true, .systemic = true},
    [OUTCOME_TRANSPORT] = {.verdict = VERDICT_RETRY, .counts = true, .systemic = true},
};

/* The codes by which the API speaks of the event itself (contacts-api.md sections 1, 2, 3). `list_not_found` is not among them: a wrong
 * list in the configuration gives it for everybody. */
static const char *const event_codes[] = {
    "missing_phone_number", "missing_list_number", "invalid_phone",  "invalid_list_number", "not_sendable", "payload_too_large",
    "validation_failed",    "missing_phone",       "invalid_force",
};

static bool is_vague(const struct outcome *outcome)
{
    if (outcome->http_status == 0)
        return false; /* our own ruling */
    if (outcome->http_status == 404 || outcome->http_status == 405)
        return true;
    for (size_t i = 0; i < sizeof event_codes / sizeof event_codes[0]; i++) {
        if (strcmp(outcome->code, event_codes[i]) == 0)
            return false;
    }
    return true;
}

struct ruling policy_rule_on(const struct policy *policy, const struct outcome *outcome)
{
    struct ruling ruling = rulings[outcome->cls];
    /* What surely never left was not answered for the event's sake. */
    if (outcome->cls == OUTCOME_TRANSPORT && !outcome->maybe_sent)
        ruling.counts = false;
    ruling.vague = ruling.verdict == VERDICT_DEAD && is_vague(outcome);
    const struct policy_rule *found = NULL;
    for (size_t i = 0; i < policy->rule_count; i++) {
        const struct policy_rule *rule = &policy->rules[i];
        if (rule->http_status == 0 && outcome->code[0] && strcmp(rule->code, outcome->code) == 0) {
            found = rule;
            break;
        }
        if (rule->http_status && rule->http_status == outcome->http_status)
            found = rule;
    }
    if (found) {
        ruling.verdict = found->verdict;
        ruling.vague = false; /* somebody has decided what it means */
        ruling.systemic = found->verdict == VERDICT_HOLD || (found->verdict == VERDICT_RETRY && ruling.systemic);
        ruling.counts = ruling.counts || found->verdict == VERDICT_DEAD || found->verdict == VERDICT_ACCEPTED;
    }
    return ruling;
}
