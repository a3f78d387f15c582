/* Reading of answers. Believing is a list of conditions, each with a name of its own when it fails. */
#include "response.h"

#include "http_date.h"
#include "text.h"

#include "signup/base/buf.h"

#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_BYTES_MAX 512
#define VALIDATION_BYTES_MAX 8192
#define WARNING_BYTES_MAX 500
#define FIELD_BYTES_MAX 512 /* of a text in a validation */
#define DISPOSITION_BYTES_MAX 40
#define DISPOSITION_DIGITS_MAX 6 /* more could be a phone number, and dispositions stand in messages */
#define COST_USD_MAX 10.0        /* a look-up is $0.003: what costs more is a mistake, not a price */
#define COST_UNITS 1000000       /* millionths of a US dollar */

/* What a warning of the worker is called when the API's answer has a part that cannot be read. */
#define CODE_UNREADABLE "reply_field_unreadable"

static json_t *body_load(const struct answer *answer)
{
    if (answer->encoded || !answer->body.len)
        return NULL;
    return json_loadb(answer->body.ptr, answer->body.len, JSON_REJECT_DUPLICATES, NULL);
}

static struct slice json_text(const json_t *value)
{
    if (!json_is_string(value))
        return SLICE_ABSENT;
    return (struct slice){json_string_value(value), json_string_length(value)};
}

/* ------------------------------------------------------------------ errors */

/* A machine code is a short word; anything else in its place is no code and would break tables and metrics.
 */
static bool code_take(struct slice text, char code[OUTCOME_CODE_BYTES])
{
    if (!slice_present(text) || !text.len || text.len >= OUTCOME_CODE_BYTES)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    memcpy(code, text.ptr, text.len);
    code[text.len] = '\0';
    return true;
}

/* Shortens at a character's boundary. Only for masked text: half a phone number would escape the mask. */
static void text_shorten(char *text, size_t len)
{
    if (strlen(text) <= len)
        return;
    while (len && ((unsigned char)text[len] & 0xC0) == 0x80)
        len--;
    text[len] = '\0';
}

/* "<error>: <message>", as far as they are there and differ. */
static void explanation_put(const json_t *root, char out[TEXT_CLEAN_BYTES])
{
    struct slice error = json_text(json_object_get(root, "error"));
    struct slice message = json_text(json_object_get(root, "message"));
    char first[TEXT_CLEAN_BYTES] = "";
    char second[TEXT_CLEAN_BYTES] = "";
    if (slice_present(error))
        text_clean(error, first);
    if (slice_present(message))
        text_clean(message, second);
    bool both = *first && *second && strcmp(first, second) != 0;
    /* Each is cut to what the outcome holds; the sum is cut there once more. */
    snprintf(out, TEXT_CLEAN_BYTES, "%.*s%s%.*s", OUTCOME_MESSAGE_BYTES, first, both ? ": " : "",
             OUTCOME_MESSAGE_BYTES, both || !*first ? second : "");
}

/* Where a redirect points, without what may be secret in it: up to the query. */
static void location_put(struct slice location, const char *setting, char out[TEXT_CLEAN_BYTES])
{
    size_t len = 0;
    while (len < location.len && location.ptr[len] != '?' && location.ptr[len] != '#')
        len++;
    for (size_t i = 0; i < len; i++)
        if (location.ptr[i] == '@')
            len = 0;
    char shown[TEXT_CLEAN_BYTES];
    text_clean((struct slice){location.ptr, len}, shown);
    text_shorten(shown, 200);
    snprintf(out, TEXT_CLEAN_BYTES, "the server redirects%s%s; %s is not the API's address",
             *shown ? " to " : "", shown, setting ? setting : "contacts_api.base_url");
}

/* For an answer that is not in the API's form: what a person would see of it. */
static void page_put(const struct answer *answer, char out[TEXT_CLEAN_BYTES])
{
    char seen[TEXT_CLEAN_BYTES] = "";
    if (!answer->encoded && answer->body.len)
        text_clean_page(answer->body, seen);
    text_shorten(seen, 250);
    const char *what = answer->encoded ? " in an encoding that was not asked for"
                       : *seen         ? ": "
                                       : " without an explanation";
    snprintf(out, TEXT_CLEAN_BYTES, "the server answered HTTP %d%s%s", answer->status, what, seen);
}

static bool outcome_is_open(enum outcome_class cls, bool own_form)
{
    return cls == OUTCOME_SERVER || (cls == OUTCOME_PROVIDER && !own_form);
}

static void error_fill(const struct answer *answer, const json_t *root, const char *fallback,
                       struct outcome *outcome)
{
    char code[OUTCOME_CODE_BYTES] = "";
    char message[TEXT_CLEAN_BYTES] = "";
    enum outcome_class cls = outcome_class_of_status(answer->status, false);
    bool success_status = answer->status >= 200 && answer->status <= 299;
    bool own_form =
        json_is_string(json_object_get(root, "error")) || json_is_string(json_object_get(root, "code"));
    if (cls == OUTCOME_MISROUTED)
        fallback = "redirected";
    if (success_status || cls == OUTCOME_MISROUTED ||
        !code_take(json_text(json_object_get(root, "code")), code))
        snprintf(code, sizeof code, "%s", fallback);
    if (cls == OUTCOME_MISROUTED)
        location_put(answer->location, answer->setting, message);
    else
        explanation_put(root, message);
    if (!*message)
        page_put(answer, message);
    outcome_set(outcome, cls, answer->status, code, message, outcome_is_open(cls, own_form));
    outcome->retry_after_us = http_retry_after_us(answer->retry_after, answer->date, answer->now);
}

void response_read_error(const struct answer *answer, const char *code, struct outcome *outcome)
{
    json_t *root = body_load(answer);
    error_fill(answer, root, code, outcome);
    json_decref(root);
}

/* ------------------------------------------------------------------ success */

static void worker_warn(struct arena *arena, struct signup *signup, const char *field)
{
    char message[128];
    int len = snprintf(message, sizeof message,
                       "the API accepted the signup, but %s in its answer could not be read", field);
    (void)signup_warn(
        signup, arena, WARNING_WORKER, SLICE_LITERAL(CODE_UNREADABLE),
        (struct slice){message, (size_t)len}); /* a full arena loses the warning, not the signup */
}

static bool flag_read(const json_t *root, const char *name, struct arena *arena, struct signup *signup)
{
    const json_t *value = json_object_get(root, name);
    if (value && !json_is_boolean(value) && !json_is_null(value))
        worker_warn(arena, signup, name);
    return json_is_true(value);
}

static int count_read(const json_t *root, const char *name, struct arena *arena, struct signup *signup)
{
    const json_t *value = json_object_get(root, name);
    if (json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= INT_MAX)
        return (int)json_integer_value(value);
    if (value && !json_is_null(value))
        worker_warn(arena, signup, name);
    return 0;
}

/* Whether `text` has the letters of `mark`, whatever their case and whatever separates the words:
 * "use_journeys", "useJourneys" and "Use journeys" are one to a reader. */
static bool mentions(struct slice text, const char *mark)
{
    for (size_t i = 0; i < text.len; i++) {
        size_t m = 0;
        if (i && isalnum((unsigned char)text.ptr[i - 1]))
            continue; /* within a word: "because journeys" */
        for (size_t k = i; k < text.len && mark[m]; k++) {
            unsigned char c = (unsigned char)text.ptr[k];
            if (m && (c <= ' ' || c == '_' || c == '-' || c >= 0x80)) /* non-breaking blanks, long dashes */
                continue;
            if (tolower(c) != mark[m])
                break;
            m++;
        }
        if (!mark[m])
            return true;
    }
    return false;
}

/* Welcome Journeys that the list has and the call did not ask for are the one warning that costs money every
 * day: it has a name. A call that did ask may be told of journeys for other reasons (known already,
 * unsubscribed). */
static struct slice warning_code(struct slice text, const struct signup *signup)
{
    static const char *const marks[] = {"welcomejourney", "usejourney", "activejourney"};
    static const char *const others[] = {"nowelcomejourney", "noactivewelcomejourney", "noactivejourney"};
    bool missed = false;
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        missed = missed || mentions(text, marks[i]);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        missed = missed && !mentions(text, others[i]);
    return missed && !signup->use_journeys ? SLICE_LITERAL("journeys_not_used")
                                           : SLICE_LITERAL("api_warning");
}

static void warnings_read(const json_t *root, struct arena *arena, struct signup *signup)
{
    const json_t *list = json_object_get(root, "warnings");
    if (list && !json_is_array(list) && !json_is_null(list))
        worker_warn(arena, signup, "warnings");
    size_t taken = 0;
    size_t over = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        struct slice text = json_text(json_array_get(list, i));
        if (!slice_present(text))
            continue;
        if (taken == RESPONSE_WARNINGS_MAX) {
            over++;
            continue;
        }
        char message[TEXT_CLEAN_BYTES];
        struct slice code = warning_code(text, signup);
        text_clean(text, message);
        text_shorten(message, WARNING_BYTES_MAX);
        if (!signup_warn(signup, arena, WARNING_API, code, slice_from_str(message)))
            return;
        taken++;
    }
    if (over)
        worker_warn(arena, signup, "the rest of the warnings");
}

/* ------------------------------------------------------------------ the text of one member */

static size_t blanks_skip(struct slice json, size_t i)
{
    while (i < json.len && strchr(" \t\r\n", json.ptr[i]) && json.ptr[i])
        i++;
    return i;
}

/* Behind the string whose opening quote is at `i`. */
static size_t string_skip(struct slice json, size_t i)
{
    for (i++; i < json.len && json.ptr[i] != '"'; i++)
        if (json.ptr[i] == '\\')
            i++;
    return i < json.len ? i + 1 : json.len;
}

/* Behind the value at `i`. */
static size_t value_skip(struct slice json, size_t i)
{
    size_t depth = 0;
    while (i < json.len) {
        char c = json.ptr[i];
        if (c == '"') {
            i = string_skip(json, i);
        } else if (c == '{' || c == '[') {
            depth++;
            i++;
        } else if (c == '}' || c == ']') {
            if (!depth)
                return i; /* the end of what the value stands in */
            depth--;
            i++;
        } else if (!depth && c == ',') {
            return i;
        } else {
            i++;
            continue;
        }
        if (!depth)
            return i;
    }
    return json.len;
}

/* The text of the member `name` of an object that jansson has read: its numbers stay as they were written,
 * where a second writing would make 0.003 into 0.0030000000000000001. Absent when the name is spelled with
 * escapes. */
static struct slice member_text(struct slice json, const char *name)
{
    size_t i = blanks_skip(json, 0);
    for (i++; i < json.len;) {
        i = blanks_skip(json, i);
        if (i >= json.len || json.ptr[i] != '"')
            return SLICE_ABSENT;
        size_t key = i + 1;
        i = string_skip(json, i);
        bool found = i - key == strlen(name) + 1 && memcmp(json.ptr + key, name, strlen(name)) == 0;
        i = blanks_skip(json, i) + 1; /* the colon */
        i = blanks_skip(json, i);
        size_t from = i;
        i = value_skip(json, i);
        if (found)
            return (struct slice){json.ptr + from, i - from};
        i = blanks_skip(json, i) + 1; /* the comma */
    }
    return SLICE_ABSENT;
}

static struct slice validation_read(const json_t *root, struct slice body, struct arena *arena,
                                    struct signup *signup)
{
    const json_t *value = json_object_get(root, "validation");
    if (!value || json_is_null(value))
        return SLICE_ABSENT;
    struct slice text = json_is_object(value) ? member_text(body, "validation") : SLICE_ABSENT;
    struct slice copy = SLICE_ABSENT;
    if (slice_present(text) && text.len <= VALIDATION_BYTES_MAX)
        copy = arena_copy(arena, text);
    if (!slice_present(copy))
        worker_warn(arena, signup, "validation");
    return copy;
}

/* What a validation cost, in millionths of a US dollar; -1: it says none that can be believed. A double near
 * a decimal of six places times a million is off by less than 1e-8 below COST_USD_MAX: rounding gives that
 * decimal back. */
static int64_t cost_read(const json_t *validation)
{
    const json_t *value = json_object_get(validation, "cost");
    double usd = json_is_number(value) ? json_number_value(value) : -1;
    return usd >= 0 && usd <= COST_USD_MAX ? llround(usd * COST_UNITS) : -1;
}

/* ------------------------------------------------------------------ upsert */

/* NULL when the body is that of a success, else our code for what is missing. */
static const char *body_doubt(const json_t *root)
{
    if (!json_is_object(root))
        return "broken_body";
    if (!json_is_true(json_object_get(root, "success")))
        return "not_successful";
    struct slice ids[] = {json_text(json_object_get(root, "contact_id")),
                          json_text(json_object_get(root, "list_contact_id"))};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (!slice_present(ids[i]) || !ids[i].len || ids[i].len > ID_BYTES_MAX)
            return "broken_body";
    return NULL;
}

static void reply_fill(const json_t *root, struct slice body, struct arena *arena, struct signup *signup,
                       struct upsert_reply *reply)
{
    /* The ids first: if the arena fills up, they are what must not be missing. */
    reply->contact_id = arena_copy(arena, json_text(json_object_get(root, "contact_id")));
    reply->list_contact_id = arena_copy(arena, json_text(json_object_get(root, "list_contact_id")));
    reply->is_new_contact = flag_read(root, "is_new_contact", arena, signup);
    reply->is_new_list_contact = flag_read(root, "is_new_list_contact", arena, signup);
    reply->journeys_enrolled = count_read(root, "journeys_enrolled", arena, signup);
    reply->validation = validation_read(root, body, arena, signup);
    int64_t cost = cost_read(json_object_get(root, "validation"));
    reply->validation_cost = cost > 0 ? cost : 0;
    warnings_read(root, arena, signup);
}

static bool is_2xx(const struct answer *answer)
{
    return answer->status >= 200 && answer->status <= 299;
}

void response_read_upsert(const struct answer *answer, struct arena *arena, struct signup *signup,
                          struct outcome *outcome, struct upsert_reply *reply)
{
    *reply = (struct upsert_reply){0};
    json_t *root = body_load(answer);
    const char *doubt = is_2xx(answer) ? body_doubt(root) : "";
    if (doubt) {
        error_fill(answer, root, doubt, outcome);
    } else {
        outcome_set(outcome, OUTCOME_ACCEPTED, answer->status, "", "", false);
        reply_fill(root, answer->body, arena, signup, reply);
    }
    json_decref(root);
}

/* ------------------------------------------------------------------ validation */

/* A word that may stand in messages and header values. */
static bool is_disposition(struct slice text)
{
    size_t digits = 0;
    if (!slice_present(text) || !text.len || text.len > DISPOSITION_BYTES_MAX)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool digit = c >= '0' && c <= '9';
        digits += digit;
        if (!digit && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && c != '_' && c != '-' && c != ' ')
            return false;
    }
    return digits <= DISPOSITION_DIGITS_MAX;
}

/* NULL when the body is believed, else our code for what is wrong. */
static const char *validation_doubt(const json_t *root, struct slice phone)
{
    const json_t *said = json_object_get(root, "phone");
    if (!json_is_object(root) || !is_disposition(json_text(json_object_get(root, "disposition"))))
        return "broken_body";
    if (said && !json_is_null(said) && !json_is_string(said))
        return "broken_body";
    return !json_is_string(said) || slice_equal(json_text(said), phone) ? NULL : "wrong_phone";
}

/* The documented fields but the cost, in the documented order (contacts-api.md section 2). */
static const struct {
    const char *name;
    json_type type; /* JSON_TRUE: a boolean */
} validation_fields[] = {
    {"phone", JSON_STRING},   {"valid", JSON_TRUE},         {"line_type", JSON_STRING},
    {"carrier", JSON_STRING}, {"carrier_raw", JSON_STRING}, {"ported", JSON_TRUE},
    {"country", JSON_STRING}, {"state", JSON_STRING},       {"city", JSON_STRING},
    {"on_dnc", JSON_TRUE},    {"disposition", JSON_STRING}, {"cost", JSON_REAL},
    {"cached", JSON_TRUE},
};

static void member_put(struct buf *out, const char *name)
{
    buf_printf(out, "%s\"%s\":", out->len > 1 ? "," : "", name);
}

/* 3000 is 0.003: no digit that was not meant. */
static void cost_put(struct buf *out, int64_t cost)
{
    char digits[32];
    int len = snprintf(digits, sizeof digits, "%" PRId64 ".%06" PRId64, cost / COST_UNITS, cost % COST_UNITS);
    while (digits[len - 1] == '0')
        len--;
    if (digits[len - 1] == '.')
        len--;
    buf_append(out, digits, (size_t)len);
}

static void validation_put(const json_t *root, struct buf *out)
{
    buf_append_char(out, '{');
    for (size_t i = 0; i < sizeof validation_fields / sizeof validation_fields[0]; i++) {
        const char *name = validation_fields[i].name;
        const json_t *value = json_object_get(root, name);
        json_type type = validation_fields[i].type;
        if (type == JSON_STRING && json_is_string(value) && json_string_length(value) <= FIELD_BYTES_MAX) {
            member_put(out, name);
            buf_append_json_string(out, json_text(value));
        } else if (type == JSON_TRUE && json_is_boolean(value)) {
            member_put(out, name);
            buf_append_str(out, json_is_true(value) ? "true" : "false");
        } else if (type == JSON_REAL && cost_read(root) >= 0) {
            member_put(out, name);
            cost_put(out, cost_read(root));
        }
    }
    buf_append_char(out, '}');
}

/* False: the arena is full, or there is no memory. */
static bool validation_fill(const json_t *root, struct validate_call *call)
{
    struct buf text;
    int64_t cost = cost_read(root);
    buf_init(&text, VALIDATION_BYTES_MAX);
    validation_put(root, &text);
    if (buf_ok(&text))
        call->validation = arena_copy(call->arena, buf_slice(&text));
    buf_fini(&text);
    call->disposition = arena_copy(call->arena, json_text(json_object_get(root, "disposition")));
    call->cost = cost > 0 ? cost : 0;
    return slice_present(call->validation) && slice_present(call->disposition);
}

void response_read_validation(const struct answer *answer, struct validate_call *call)
{
    json_t *root = body_load(answer);
    const char *doubt = is_2xx(answer) ? validation_doubt(root, call->phone_number) : "";
    call->validation = call->disposition = SLICE_ABSENT;
    call->cost = 0;
    if (doubt && strcmp(doubt, "wrong_phone") == 0) {
        outcome_set(&call->outcome, OUTCOME_SERVER, answer->status, doubt,
                    "the answer speaks of another phone than the one asked for", true);
    } else if (doubt) {
        error_fill(answer, root, doubt, &call->outcome);
    } else if (validation_fill(root, call)) {
        outcome_set(&call->outcome, OUTCOME_ACCEPTED, answer->status, "", "", false);
    } else {
        call->validation = call->disposition = SLICE_ABSENT;
        call->cost = 0;
        outcome_set(&call->outcome, OUTCOME_TRANSPORT, 0, "client_failed", "no memory for the answer", true);
    }
    json_decref(root);
}

bool response_has_array(const struct answer *answer, const char *name)
{
    json_t *root = body_load(answer);
    bool has = is_2xx(answer) && json_is_array(json_object_get(root, name));
    json_decref(root);
    return has;
}
