/* Upserts: one contact, or up to 1,000 in a bulk (sections 1 and 5 of the contract). */
#include <assert.h>
#include <string.h>

#include "api.h"
#include "contact_request.h"
#include "validate.h"

#define UPSERT_BULK_MAX 1000u

struct upsert_outcome {
    struct state_upsert_result result;
    struct validate_result lookup;
    bool journeys_missed;
    struct buf validation; /* JSON object, empty without use_validation; freed by the caller */
};

/* The whole of one upsert after its fields were checked. A lookup that was paid stays paid when the
 * contact is refused after it. */
static bool upsert_one(struct sim *sim, const struct contact_request *request, bool dry,
                       struct upsert_outcome *outcome, struct api_refusal *refusal)
{
    if (request->use_validation) {
        outcome->lookup.out = &outcome->validation;
        if (!validate_number(sim, request->upsert.phone, request->force, dry, &outcome->lookup, refusal))
            return false;
        if (outcome->lookup.not_sendable) {
            api_refuse(refusal, 400, "not_sendable", "The carrier validation failed");
            return false;
        }
    }
    outcome->result = state_apply_upsert(&sim->state, &request->upsert, dry);
    outcome->journeys_missed = request->upsert.journeys && !request->upsert.use_journeys;
    return true;
}

static void upsert_append_warnings(bool journeys_missed, bool unsubscribed, struct buf *out)
{
    if (!journeys_missed && !unsubscribed)
        return;
    buf_append_str(out, ",\"warnings\":[");
    if (journeys_missed)
        buf_append_str(out, "\"List has active Welcome Journeys but use_journeys was not set\"");
    if (unsubscribed)
        buf_append_str(out, journeys_missed ? ",\"Contact has unsubscribed from this list\""
                                            : "\"Contact has unsubscribed from this list\"");
    buf_append_str(out, "]");
}

static struct call_effect upsert_effect(const struct upsert_outcome *outcome, bool done)
{
    const struct state_upsert_result *result = &outcome->result;
    struct call_effect effect = {
        .applied = done, .enrolled = result->enrolled, .new_contact = result->new_contact,
        .new_list_contact = result->new_list_contact, .lookups = outcome->lookup.lookups,
        .paid_lookups = outcome->lookup.paid};
    memcpy(effect.disposition, outcome->lookup.disposition, sizeof effect.disposition);
    return effect;
}

void upsert_perform(struct sim *sim, struct call *call, bool dry)
{
    struct contact_request request;
    struct upsert_outcome outcome = {0};
    struct api_refusal refusal;
    bool done = contact_request_read(sim, call->json, call->body.len, &request, &refusal) &&
                upsert_one(sim, &request, dry, &outcome, &refusal);
    const struct state_upsert_result *result = &outcome.result;
    if (!dry)
        call->effect = upsert_effect(&outcome, done);
    if (!done) {
        api_answer_refusal(call, &refusal);
        buf_fini(&outcome.validation);
        return;
    }
    struct buf *out = &call->answer;
    call->status = result->new_contact ? 201 : 200;
    buf_append_str(out, "{\"success\":true,\"contact_id\":\"c");
    buf_append_u64(out, result->contact_id);
    buf_append_str(out, "\",\"list_contact_id\":\"lc");
    buf_append_u64(out, result->list_contact_id);
    buf_append_str(out, "\",\"is_new_contact\":");
    buf_append_bool(out, result->new_contact);
    buf_append_str(out, ",\"is_new_list_contact\":");
    buf_append_bool(out, result->new_list_contact);
    buf_append_str(out, ",\"journeys_enrolled\":");
    buf_append_u64(out, result->enrolled);
    upsert_append_warnings(outcome.journeys_missed, result->unsubscribed, out);
    if (outcome.validation.len) {
        buf_append_str(out, ",\"validation\":");
        buf_append(out, outcome.validation.data, outcome.validation.len);
    }
    buf_append_str(out, "}");
    buf_fini(&outcome.validation);
}

/* Sizes of the objects of the request's only array as they were sent: 4,000 bytes is a limit on the wire,
 * not on a re-serialised copy. Walks text that jansson has accepted; returns how many it found. */
static size_t upsert_measure_items(const struct buf *body, size_t *sizes, size_t most)
{
    size_t count = 0;
    size_t start = 0;
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < body->len; i++) {
        char c = body->data[i];
        if (in_string) {
            i += c == '\\';
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth == 3)
                start = i;
        } else if (c == '}' || c == ']') {
            if (depth-- == 3) {
                if (count == most)
                    return count + 1;
                sizes[count++] = i + 1 - start;
            }
        }
    }
    return count;
}

struct upsert_bulk {
    const json_t *contacts;
    struct buf errors; /* JSON objects with commas between */
    size_t succeeded;
    size_t failed;
    size_t created;
    size_t list_created;
    size_t enrolled;
    bool journeys_missed;
    bool unsubscribed;
};

static void upsert_append_bulk_error(struct upsert_bulk *bulk, size_t index, const json_t *object,
                                     const struct api_refusal *refusal, const struct buf *validation)
{
    struct buf *out = &bulk->errors;
    const json_t *phone = json_object_get(object, "phone_number");
    buf_append_str(out, bulk->failed++ ? ",{\"index\":" : "{\"index\":");
    buf_append_u64(out, index);
    buf_append_str(out, ",\"phone_number\":");
    if (json_is_string(phone))
        buf_append_json(out, json_string_value(phone), json_string_length(phone));
    else
        buf_append_str(out, "null");
    buf_append_format(out, ",\"code\":\"%s\",\"error\":", refusal->code);
    buf_append_json(out, refusal->text, strlen(refusal->text));
    if (validation->len) {
        buf_append_str(out, ",\"validation\":");
        buf_append(out, validation->data, validation->len);
    }
    buf_append_str(out, "}");
}

static void upsert_bulk_item(struct sim *sim, struct call *call, struct upsert_bulk *bulk, size_t index,
                             size_t bytes, bool dry)
{
    struct contact_request request;
    struct upsert_outcome outcome = {0};
    struct api_refusal refusal = {0};
    json_t *object = json_array_get(bulk->contacts, index);
    bool done = contact_request_read(sim, object, bytes, &request, &refusal) &&
                upsert_one(sim, &request, dry, &outcome, &refusal);
    const struct state_upsert_result *result = &outcome.result;
    if (done) {
        bulk->succeeded++;
        bulk->created += result->new_contact;
        bulk->list_created += result->new_list_contact;
        bulk->enrolled += result->enrolled;
        bulk->journeys_missed |= outcome.journeys_missed;
        bulk->unsubscribed |= result->unsubscribed;
    } else {
        if (!strcmp(refusal.code, "not_sendable"))
            refusal.code = "validation_failed"; /* the bulk has its own word for it */
        upsert_append_bulk_error(bulk, index, object, &refusal, &outcome.validation);
    }
    if (!dry) {
        struct call_effect effect = upsert_effect(&outcome, done);
        book_note_effect(&sim->book, call, sim->wall_us, &effect, (long)index, request.upsert.phone,
                         request.upsert.list, done ? NULL : refusal.code);
    }
    buf_fini(&outcome.validation);
}

/* What refuses the batch as a whole; false with `refusal` filled. */
static bool upsert_check_bulk(const struct sim *sim, const json_t *json, struct api_refusal *refusal)
{
    const json_t *contacts = json_object_get(json, "contacts");
    size_t index;
    json_t *object;
    if (!json_is_array(contacts) || !json_array_size(contacts)) {
        api_refuse(refusal, 400, "missing_contacts", "contacts must be an array that is not empty");
        return false;
    }
    if (json_object_size(json) > 1 && !sim->options->lenient) {
        api_refuse(refusal, 400, "invalid_field", "Only contacts is known beside itself");
        return false;
    }
    if (json_array_size(contacts) > UPSERT_BULK_MAX) {
        api_refuse(refusal, 413, "too_many_contacts", "At most %u contacts", UPSERT_BULK_MAX);
        return false;
    }
    json_array_foreach(contacts, index, object) {
        if (json_is_true(json_object_get(object, "use_validation")))
            return validate_check_billing(sim, refusal);
    }
    return true;
}

void upsert_perform_bulk(struct sim *sim, struct call *call, bool dry)
{
    struct api_refusal refusal;
    if (!upsert_check_bulk(sim, call->json, &refusal)) {
        api_answer_refusal(call, &refusal);
        return;
    }
    struct upsert_bulk bulk = {.contacts = json_object_get(call->json, "contacts")};
    size_t count = json_array_size(bulk.contacts);
    size_t sizes[UPSERT_BULK_MAX] = {0};
    bool measured = upsert_measure_items(&call->body, sizes, UPSERT_BULK_MAX) == count;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = measured ? sizes[i] : json_dumpb(json_array_get(bulk.contacts, i), NULL, 0,
                                                        JSON_COMPACT);
        upsert_bulk_item(sim, call, &bulk, i, bytes, dry);
    }
    call->status = 200;
    buf_append_format(&call->answer, "{\"success_count\":%zu,\"error_count\":%zu,\"errors\":[",
                      bulk.succeeded,
                      bulk.failed);
    buf_append(&call->answer, bulk.errors.data, bulk.errors.len);
    buf_append_format(&call->answer,
                      "],\"contacts_created\":%zu,\"list_contacts_created\":%zu,\"journeys_enrolled\":%zu",
                      bulk.created, bulk.list_created, bulk.enrolled);
    upsert_append_warnings(bulk.journeys_missed, bulk.unsubscribed, &call->answer);
    buf_append_str(&call->answer, "}");
    buf_fini(&bulk.errors);
}
