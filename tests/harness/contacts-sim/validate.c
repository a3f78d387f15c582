/* Phone validation: one number, a batch, or inside an upsert (sections 2 and 6 of the contract). */
#include "validate.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define VALIDATE_COST "0.003" /* USD for a lookup that is not cached */
#define VALIDATE_BATCH_MAX 500u

bool validate_check_billing(const struct sim *sim, struct api_refusal *refusal)
{
    if (!sim->billing_code)
        return true;
    api_refuse(refusal, 402, sim->billing_code, "Billing is not active");
    return false;
}

static void validate_append(struct buf *out, uint64_t phone, const struct phone_facts *facts, bool paid)
{
    char text[PHONE_TEXT_BYTES];
    phone_format(phone, text);
    buf_append_format(out,
        "{\"phone\":\"%s\",\"valid\":%s,\"line_type\":\"%s\",\"carrier\":\"%s\",\"carrier_raw\":\"%s\","
        "\"ported\":%s,\"country\":\"%s\",\"state\":\"%s\",\"city\":\"%s\",\"on_dnc\":%s,"
        "\"disposition\":\"%s\",\"cost\":%s,\"cached\":%s}",
        text, facts->valid ? "true" : "false", facts->line_type, facts->carrier, facts->carrier_raw,
        facts->ported ? "true" : "false", facts->country, facts->state, facts->city,
        facts->on_dnc ? "true" : "false", facts->disposition,
        paid ? VALIDATE_COST : "0", paid ? "false" : "true");
}

bool validate_number(struct sim *sim, uint64_t phone, bool force, bool dry, struct validate_result *result,
                     struct api_refusal *refusal)
{
    bool costs = state_lookup_costs(&sim->state, phone, force);
    if (!validate_check_billing(sim, refusal))
        return false;
    if (costs && state_facts_now(&sim->state, phone).provider_error) { /* what is known needs no provider */
        api_refuse(refusal, 503, "provider_error", "Validation provider is not reachable");
        return false;
    }
    struct phone_facts facts = state_look_up(&sim->state, phone, force, dry);
    result->lookups++;
    result->paid += costs;
    result->not_sendable = facts.not_sendable;
    snprintf(result->disposition, sizeof result->disposition, "%s", facts.disposition);
    validate_append(result->out, phone, &facts, costs);
    return true;
}

/* The members `phone` or `phones`, and `force`: nothing else unless lenient. */
static bool validate_check_members(const struct sim *sim, json_t *json, const char *subject,
                                   struct api_refusal *refusal)
{
    const char *name;
    json_t *value;
    json_object_foreach(json, name, value) {
        if (!sim->options->lenient && strcmp(name, subject) != 0 && strcmp(name, "force") != 0) {
            api_refuse(refusal, 400, "invalid_field", "Unknown field: %.80s", name);
            return false;
        }
    }
    value = json_object_get(json, "force");
    if (value && !json_is_boolean(value)) {
        api_refuse(refusal, 400, "invalid_force", "force must be a boolean");
        return false;
    }
    return true;
}

static bool validate_read_phone(const json_t *value, uint64_t *phone, struct api_refusal *refusal)
{
    if (!value || json_is_null(value) || (json_is_string(value) && !json_string_length(value))) {
        api_refuse(refusal, 400, "missing_phone", "phone is required");
        return false;
    }
    if (!json_is_string(value) || !phone_parse_loose(json_string_value(value), json_string_length(value),
                                                     phone)) {
        api_refuse(refusal, 400, "invalid_phone", "phone is not a phone number");
        return false;
    }
    return true;
}

void validate_perform(struct sim *sim, struct call *call, bool dry)
{
    struct api_refusal refusal;
    uint64_t phone;
    struct validate_result result = {.out = &call->answer};
    bool force = json_is_true(json_object_get(call->json, "force"));
    if (!validate_read_phone(json_object_get(call->json, "phone"), &phone, &refusal) ||
        !validate_check_members(sim, call->json, "phone", &refusal) ||
        !validate_number(sim, phone, force, dry, &result, &refusal)) {
        api_answer_refusal(call, &refusal);
        return;
    }
    call->status = 200;
    if (dry)
        return;
    call->effect = (struct call_effect){.applied = true, .lookups = result.lookups, .paid_lookups = result.paid};
    memcpy(call->effect.disposition, result.disposition, sizeof result.disposition);
}

struct validate_summary {
    size_t ok; /* results that are no error */
    size_t errors;
    struct validate_result result; /* of them all */
};

static void validate_append_one(struct sim *sim, struct call *call, const json_t *value, bool dry,
                                struct validate_summary *summary)
{
    struct api_refusal refusal;
    uint64_t phone;
    bool force = json_is_true(json_object_get(call->json, "force"));
    if (validate_read_phone(value, &phone, &refusal) &&
        validate_number(sim, phone, force, dry, &summary->result, &refusal)) {
        summary->ok++;
        return;
    }
    summary->errors++;
    buf_append_str(&call->answer, "{\"phone\":");
    if (json_is_string(value))
        buf_append_json(&call->answer, json_string_value(value), json_string_length(value));
    else
        buf_append_str(&call->answer, "null");
    buf_append_str(&call->answer, ",\"error\":true,\"code\":");
    buf_append_json(&call->answer, refusal.code, strlen(refusal.code));
    buf_append_str(&call->answer, ",\"message\":");
    buf_append_json(&call->answer, refusal.text, strlen(refusal.text));
    buf_append_str(&call->answer, "}");
}

void validate_perform_batch(struct sim *sim, struct call *call, bool dry)
{
    struct api_refusal refusal = {0};
    const json_t *phones = json_object_get(call->json, "phones");
    size_t count = json_array_size(phones);
    if (!json_is_array(phones) || !count)
        api_refuse(&refusal, 400, "missing_phones", "phones must be an array that is not empty");
    else if (count > VALIDATE_BATCH_MAX)
        api_refuse(&refusal, 413, "too_many_phones", "At most %u phones", VALIDATE_BATCH_MAX);
    else if (validate_check_members(sim, call->json, "phones", &refusal))
        validate_check_billing(sim, &refusal);
    if (refusal.status) {
        api_answer_refusal(call, &refusal);
        return;
    }
    struct validate_summary summary = {.result = {.out = &call->answer}};
    buf_append_str(&call->answer, "{\"results\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_append_str(&call->answer, ",");
        validate_append_one(sim, call, json_array_get(phones, i), dry, &summary);
    }
    buf_append_format(&call->answer,
                      "],\"summary\":{\"total\":%zu,\"succeeded\":%zu,\"failed\":%zu,\"cached\":%zu,"
                      "\"total_cost\":%u.%03u}}",
                      count, summary.ok, summary.errors, summary.ok - summary.result.paid,
                      summary.result.paid * 3 / 1000, summary.result.paid * 3 % 1000);
    call->status = 200;
    if (!dry)
        call->effect = (struct call_effect){.applied = summary.ok > 0, .lookups = summary.result.lookups,
                                            .paid_lookups = summary.result.paid};
}
