/* Phone validation: one number, a batch, or inside an upsert (sections 2 and 6 of the contract). */
#include "validate.h"

#include <assert.h>
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
        "\"ported\":false,\"country\":\"%s\",\"state\":\"NY\",\"city\":\"New York\",\"on_dnc\":%s,"
        "\"disposition\":\"%s\",\"cost\":%s,\"cached\":%s}",
        text, facts->valid ? "true" : "false", facts->line_type, facts->carrier, facts->carrier,
        facts->country, facts->on_dnc ? "true" : "false", phone_disposition_str(facts->disposition),
        paid ? VALIDATE_COST : "0", paid ? "false" : "true");
}

bool validate_number(struct sim *sim, uint64_t phone, bool force, bool dry, struct buf *out, unsigned *paid,
                     struct api_refusal *refusal)
{
    struct phone_facts facts = phone_look_up(phone);
    if (!validate_check_billing(sim, refusal))
        return false;
    if (facts.provider_error) {
        api_refuse(refusal, 503, "provider_error", "Validation provider is not reachable");
        return false;
    }
    bool costs = state_note_lookup(&sim->state, phone, force, dry);
    *paid += costs;
    validate_append(out, phone, &facts, costs);
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
    unsigned paid = 0;
    bool force = json_is_true(json_object_get(call->json, "force"));
    if (!validate_read_phone(json_object_get(call->json, "phone"), &phone, &refusal) ||
        !validate_check_members(sim, call->json, "phone", &refusal) ||
        !validate_number(sim, phone, force, dry, &call->answer, &paid, &refusal)) {
        api_answer_refusal(call, &refusal);
        return;
    }
    call->status = 200;
    if (!dry)
        call->effect = (struct call_effect){.applied = true, .paid_lookups = paid};
}

struct validate_summary {
    size_t ok; /* results that are no error */
    size_t errors;
    unsigned paid;
};

static void validate_append_one(struct sim *sim, struct call *call, const json_t *value, bool dry,
                                struct validate_summary *summary)
{
    struct api_refusal refusal;
    uint64_t phone;
    bool force = json_is_true(json_object_get(call->json, "force"));
    if (validate_read_phone(value, &phone, &refusal) &&
        validate_number(sim, phone, force, dry, &call->answer, &summary->paid, &refusal)) {
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
    struct validate_summary summary = {0};
    buf_append_str(&call->answer, "{\"results\":[");
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_append_str(&call->answer, ",");
        validate_append_one(sim, call, json_array_get(phones, i), dry, &summary);
    }
    buf_append_format(&call->answer,
                      "],\"summary\":{\"total\":%zu,\"succeeded\":%zu,\"failed\":%zu,\"cached\":%zu,"
                      "\"total_cost\":%u.%03u}}",
                      count, summary.ok, summary.errors, summary.ok - summary.paid, summary.paid * 3 / 1000,
                      summary.paid * 3 % 1000);
    call->status = 200;
    if (!dry)
        call->effect = (struct call_effect){.applied = summary.ok > 0, .paid_lookups = summary.paid};
}
