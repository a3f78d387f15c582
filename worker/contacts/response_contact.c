/* Reading of the answer to GET /v2/contacts/{phone_number}. What it says decides what people are told of a call of
 * unknown fate, and whether somebody who has unsubscribed is left alone: so every part that is used must be
 * exactly what the contract says. */
#include "response.h"

#include <jansson.h>
#include <string.h>

#define DATE_BYTES_MAX 40
#define DIGITS_MAX 6 /* microseconds; a longer run reads like a phone number */

/* Our codes for a 2xx that is not believed. */
#define CODE_BROKEN "broken_body"
#define CODE_OTHER "wrong_contact" /* an answer that speaks of another number than the one asked for */

static json_t *body_load(const struct answer *answer)
{
    if (answer->encoded || !answer->body.len)
        return NULL;
    return json_loadb(answer->body.ptr, answer->body.len, JSON_REJECT_DUPLICATES, NULL);
}

static bool text_is(const json_t *value, struct slice text)
{
    const struct slice own = {json_string_value(value), json_string_length(value)};
    return json_is_string(value) && slice_equal(own, text);
}

/* A text that may be a date, and nothing that could break a warning, or be a phone number: it is written into one. */
static bool looks_like_a_date(struct slice text)
{
    size_t digits = 0; /* in a row */
    if (text.len < sizeof "2025-03-15" - 1 || text.len > DATE_BYTES_MAX || text.ptr[4] != '-' || text.ptr[7] != '-')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        bool digit = text.ptr[i] >= '0' && text.ptr[i] <= '9';
        digits = digit ? digits + 1 : 0;
        if (digits > DIGITS_MAX || (!digit && (!text.ptr[i] || !strchr("-:.+TtZz ", text.ptr[i]))))
            return false;
    }
    return true;
}

/* Takes what is said of the list that was asked for. False: `entry` is not what the contract describes. */
static bool membership_take(const json_t *entry, struct read_call *call)
{
    const json_t *active = json_object_get(entry, "active");
    const json_t *date = json_object_get(entry, "signup_date");
    if (!json_is_boolean(active) || (date && !json_is_string(date) && !json_is_null(date)))
        return false;
    const struct slice text = {json_string_value(date), json_string_length(date)};
    if (looks_like_a_date(text))
        call->signup_date = arena_copy(call->arena, text);
    call->on_list = true;
    call->active = json_is_true(active);
    return true;
}

/* Finds the list among the contact's. A list twice, or one without a number, leaves open which of them counts. */
static bool lists_read(const json_t *lists, struct read_call *call)
{
    if (!json_is_array(lists))
        return false;
    for (size_t i = 0; i < json_array_size(lists); i++) {
        const json_t *entry = json_array_get(lists, i);
        const json_t *number = json_object_get(entry, "list_number");
        if (!json_is_string(number))
            return false;
        if (text_is(number, call->list_number) && (call->on_list || !membership_take(entry, call)))
            return false;
    }
    return true;
}

/* NULL when the body is believed, else our code for what is wrong. */
static const char *contact_doubt(const json_t *root, struct read_call *call)
{
    const json_t *phone = json_object_get(root, "phone_number");
    if (!json_is_string(phone))
        return CODE_BROKEN;
    if (!text_is(phone, call->phone_number))
        return CODE_OTHER;
    return lists_read(json_object_get(root, "lists"), call) ? NULL : CODE_BROKEN;
}

/* Not the body itself: it holds the custom fields of somebody, perhaps of somebody else. */
static const char *doubt_text(const char *doubt)
{
    return strcmp(doubt, CODE_OTHER) == 0 ? "the answer speaks of another contact than the one asked for"
                                          : "the answer about the contact is not in the form that the API documents";
}

void response_read_contact(const struct answer *answer, struct read_call *call)
{
    call->found = call->on_list = call->active = false;
    call->signup_date = SLICE_ABSENT;
    json_t *root = body_load(answer);
    bool success = answer->status >= 200 && answer->status <= 299;
    const char *doubt = success ? contact_doubt(root, call) : "";
    bool said = root != NULL;
    json_decref(root);
    if (!doubt) {
        outcome_set(&call->outcome, OUTCOME_ACCEPTED, answer->status, "", "", false);
        call->found = true;
        return;
    }
    call->on_list = call->active = false;
    call->signup_date = SLICE_ABSENT;
    if (success && said)
        outcome_set(&call->outcome, OUTCOME_SERVER, answer->status, doubt, doubt_text(doubt), false);
    else
        response_read_error(answer, doubt, &call->outcome);
    call->outcome.maybe_sent = false;
    if (answer->status == 404 && strcmp(call->outcome.code, "not_found") == 0)
        call->outcome.cls = OUTCOME_ACCEPTED;
}
