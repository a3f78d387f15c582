/* Reading of the answer to GET /v2/contacts/{phone_number}. What it says decides what people are told of a
 * call of unknown fate, and whether somebody who has unsubscribed is left alone: so every part that is used
 * must be exactly what the contract says. */
#include "response.h"

#include "signup/base/buf.h"

#include <jansson.h>
#include <string.h>

#define DATE_BYTES_MAX 40
#define DIGITS_MAX 6 /* microseconds; a longer run reads like a phone number */
#define CONTACT_TEXT_BYTES_MAX ((size_t)256 << 10) /* what an answer of the HTTP client's cap can become */

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

/* A text that may be a date, and nothing that could break a warning, or be a phone number: it is written into
 * one. */
static bool looks_like_a_date(struct slice text)
{
    size_t digits = 0; /* in a row */
    if (text.len < sizeof "2025-03-15" - 1 || text.len > DATE_BYTES_MAX || text.ptr[4] != '-' ||
        text.ptr[7] != '-')
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

/* Finds the list among the contact's. A list twice, or one without a number, leaves open which of them
 * counts. */
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
    return strcmp(doubt, CODE_OTHER) == 0
               ? "the answer speaks of another contact than the one asked for"
               : "the answer about the contact is not in the form that the API documents";
}

static void doubt_fill(const struct answer *answer, bool said, const char *doubt, struct outcome *outcome)
{
    bool success = answer->status >= 200 && answer->status <= 299;
    if (success && said)
        outcome_set(outcome, OUTCOME_SERVER, answer->status, doubt, doubt_text(doubt), false);
    else
        response_read_error(answer, doubt, outcome);
    outcome->maybe_sent = false;
    if (answer->status == 404 && strcmp(outcome->code, "not_found") == 0)
        outcome->cls = OUTCOME_ACCEPTED;
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
    doubt_fill(answer, said, doubt, &call->outcome);
}

/* ------------------------------------------------------------------ the whole contact, for people */

static void member_put(struct buf *out, const char *name)
{
    bool first = !out->len || out->data[out->len - 1] == '{';
    buf_printf(out, "%s\"%s\":", first ? "" : ",", name);
}

/* Texts, booleans and numbers; nothing else is documented as a value anywhere here. */
static bool is_plain(const json_t *value)
{
    return json_is_string(value) || json_is_boolean(value) || json_is_number(value);
}

static void plain_put(struct buf *out, const json_t *value)
{
    if (json_is_string(value))
        buf_append_json_string(out, (struct slice){json_string_value(value), json_string_length(value)});
    else if (json_is_boolean(value))
        buf_append_str(out, json_is_true(value) ? "true" : "false");
    else if (json_is_integer(value))
        buf_append_int(out, json_integer_value(value));
    else
        buf_append_json_real(out, json_real_value(value));
}

struct field {
    const char *name;
    json_type type; /* JSON_TRUE: a boolean; JSON_OBJECT: custom fields */
};

static bool is_of(const json_t *value, json_type type)
{
    return type == JSON_TRUE ? json_is_boolean(value) : value && json_typeof(value) == type;
}

/* The fields of `fields` that `object` has in the documented type, in that order. */
static void fields_put(struct buf *out, const json_t *object, const struct field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        json_t *value = json_object_get(object, fields[i].name);
        if (!is_of(value, fields[i].type))
            continue;
        member_put(out, fields[i].name);
        if (fields[i].type != JSON_OBJECT) {
            plain_put(out, value);
            continue;
        }
        const char *name;
        json_t *member;
        buf_append_char(out, '{');
        bool first = true;
        json_object_foreach(value, name, member) {
            if (!is_plain(member))
                continue;
            if (!first)
                buf_append_char(out, ',');
            first = false;
            buf_append_json_string(out, slice_from_str(name));
            buf_append_char(out, ':');
            plain_put(out, member);
        }
        buf_append_char(out, '}');
    }
}

static void contact_put(struct buf *out, const json_t *root)
{
    static const struct field facts[] = {{"phone_number", JSON_STRING},
                                         {"carrier", JSON_STRING},
                                         {"line_type", JSON_STRING},
                                         {"timezone", JSON_STRING},
                                         {"is_valid", JSON_TRUE}};
    static const struct field membership[] = {{"list_id", JSON_INTEGER},      {"list_number", JSON_STRING},
                                              {"active", JSON_TRUE},          {"signup_date", JSON_STRING},
                                              {"custom_fields", JSON_OBJECT}, {"send_count", JSON_INTEGER},
                                              {"click_count", JSON_INTEGER}};
    const json_t *lists = json_object_get(root, "lists");
    buf_append_char(out, '{');
    fields_put(out, root, facts, sizeof facts / sizeof facts[0]);
    buf_append_str(out, ",\"lists\":[");
    for (size_t i = 0; i < json_array_size(lists); i++) {
        buf_append_str(out, i ? ",{" : "{");
        fields_put(out, json_array_get(lists, i), membership, sizeof membership / sizeof membership[0]);
        buf_append_char(out, '}');
    }
    buf_append_str(out, "]}");
}

/* As contact_doubt(), of every list. */
static const char *look_up_doubt(const json_t *root, struct slice phone)
{
    const json_t *said = json_object_get(root, "phone_number");
    const json_t *lists = json_object_get(root, "lists");
    if (!json_is_string(said))
        return CODE_BROKEN;
    if (!text_is(said, phone))
        return CODE_OTHER;
    for (size_t i = 0; i < json_array_size(lists); i++) {
        const json_t *entry = json_array_get(lists, i);
        if (!json_is_string(json_object_get(entry, "list_number")) ||
            !json_is_boolean(json_object_get(entry, "active")))
            return CODE_BROKEN;
    }
    return json_is_array(lists) ? NULL : CODE_BROKEN;
}

void response_look_up(const struct answer *answer, struct contacts_look_up_op *op)
{
    op->found = false;
    op->contact = SLICE_ABSENT;
    json_t *root = body_load(answer);
    bool success = answer->status >= 200 && answer->status <= 299;
    const char *doubt = success ? look_up_doubt(root, op->phone_number) : "";
    if (doubt) {
        doubt_fill(answer, root != NULL, doubt, &op->outcome);
        json_decref(root);
        return;
    }
    struct buf text;
    buf_init(&text, CONTACT_TEXT_BYTES_MAX);
    contact_put(&text, root);
    if (buf_ok(&text))
        op->contact = arena_copy(op->arena, buf_slice(&text));
    buf_fini(&text);
    json_decref(root);
    op->found = slice_present(op->contact);
    if (op->found)
        outcome_set(&op->outcome, OUTCOME_ACCEPTED, answer->status, "", "", false);
    else
        outcome_set(&op->outcome, OUTCOME_TRANSPORT, 0, "client_failed", "no memory for the answer", false);
}
