/* Which operation a request asks for, who may ask, and the common refusals. */
#include "api.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "phone.h"

void api_refuse(struct api_refusal *refusal, int status, const char *code, const char *format, ...)
{
    va_list args;
    refusal->status = status;
    refusal->code = code;
    va_start(args, format);
    vsnprintf(refusal->text, sizeof refusal->text, format, args);
    va_end(args);
}

void api_answer_refusal(struct call *call, const struct api_refusal *refusal)
{
    call->status = refusal->status;
    snprintf(call->code, sizeof call->code, "%s", refusal->code ? refusal->code : "");
    buf_clear(&call->answer);
    buf_append_str(&call->answer, "{\"error\":");
    buf_append_json(&call->answer, refusal->text, strlen(refusal->text));
    if (refusal->code) {
        buf_append_str(&call->answer, ",\"code\":");
        buf_append_json(&call->answer, refusal->code, strlen(refusal->code));
    }
    buf_append_str(&call->answer, "}");
}

static bool api_path_is(const struct call *call, const char *path)
{
    size_t len = strlen(path);
    return call->target.len >= len && !memcmp(call->target.data, path, len) &&
           (call->target.len == len || call->target.data[len] == '?');
}

/* With --strict-hosts each host answers for its own version alone; the validation host never knows of v2. */
static bool api_is_served_here(const struct call *call)
{
    bool v1 = call->target.len >= 8 && !memcmp(call->target.data, "/api/v1/", 8);
    return call->host == CALL_HOST_BOTH || v1 == (call->host == CALL_HOST_VALIDATION);
}

static enum call_op api_route(const struct call *call)
{
    size_t len;
    bool post = !strcmp(call->method, "POST");
    bool get = !strcmp(call->method, "GET");
    if (call->target.len >= 6 && !memcmp(call->target.data, "/_sim/", 6))
        return CALL_CONTROL;
    if (!api_is_served_here(call))
        return CALL_OTHER;
    if (post && api_path_is(call, "/api/v2/contacts"))
        return CALL_UPSERT;
    if (post && api_path_is(call, "/api/v2/contacts/bulk"))
        return CALL_BULK;
    if (get && api_path_is(call, "/api/v2/contacts"))
        return CALL_LIST;
    if (get && reads_path_phone(call, &len))
        return CALL_READ;
    if (post && api_path_is(call, "/api/v1/phone/validate"))
        return CALL_VALIDATE;
    if (post && api_path_is(call, "/api/v1/phone/validate/batch"))
        return CALL_VALIDATE_BATCH;
    return CALL_OTHER;
}

static uint64_t api_note_number(struct buf *text, const json_t *value, bool loose)
{
    uint64_t number = 0;
    if (!json_is_string(value))
        return 0;
    size_t len = json_string_length(value);
    buf_append(text, json_string_value(value), len < 64 ? len : 64);
    bool good = loose ? phone_parse_loose(json_string_value(value), len, &number)
                      : phone_parse_e164(json_string_value(value), len, &number);
    return good ? number : 0;
}

static enum call_flag api_note_flag(const json_t *value)
{
    if (!json_is_boolean(value))
        return CALL_FLAG_ABSENT;
    return json_is_true(value) ? CALL_FLAG_TRUE : CALL_FLAG_FALSE;
}

void api_inspect(struct call *call)
{
    call->op = api_route(call);
    if (call->op == CALL_READ) {
        size_t len;
        const char *phone = reads_path_phone(call, &len);
        if (!reads_decode_phone(phone, len, &call->phone))
            call->phone = 0;
        buf_append(&call->phone_text, phone, len < 64 ? len : 64);
        if (call->phone) {
            char text[PHONE_TEXT_BYTES];
            phone_format(call->phone, text);
            buf_clear(&call->phone_text);
            buf_append_str(&call->phone_text, text);
        }
        return;
    }
    if (!call->body.len || call->body_too_large)
        return;
    /* a fault's raw body may hold NUL; a contact may not */
    size_t flags = call->op == CALL_CONTROL ? JSON_ALLOW_NUL : JSON_REJECT_DUPLICATES;
    call->json = json_loadb(call->body.data, call->body.len, flags, NULL);
    if (call->op == CALL_UPSERT) {
        call->phone = api_note_number(&call->phone_text, json_object_get(call->json, "phone_number"), true);
        call->list = api_note_number(&call->list_text, json_object_get(call->json, "list_number"), true);
        call->use_journeys = api_note_flag(json_object_get(call->json, "use_journeys"));
        call->skip_journey_if_exists = api_note_flag(json_object_get(call->json, "skip_journey_if_exists"));
        call->use_validation = api_note_flag(json_object_get(call->json, "use_validation"));
        call->force = api_note_flag(json_object_get(call->json, "force"));
    } else if (call->op == CALL_VALIDATE) {
        call->phone = api_note_number(&call->phone_text, json_object_get(call->json, "phone"), true);
        call->force = api_note_flag(json_object_get(call->json, "force"));
    }
}

static bool api_is_v1(const struct call *call)
{
    return call->target.len >= 8 && !memcmp(call->target.data, "/api/v1/", 8);
}

/* The key is compared as it came: blanks around it are a documented cause of 401. */
static bool api_authenticate(struct sim *sim, const struct call *call, struct api_refusal *refusal)
{
    for (size_t i = 0; call->key_count == 1 && i < sim->key_count; i++)
        if (strlen(sim->keys[i]) == call->key.len && !memcmp(sim->keys[i], call->key.data, call->key.len))
            return true;
    sim->stats.unauthorized++;
    if (!call->key_count)
        api_refuse(refusal, 401, api_is_v1(call) ? "missing_api_key" : "unauthorized", "API key required");
    else
        api_refuse(refusal, 401, api_is_v1(call) ? "invalid_api_key" : "unauthorized", "Invalid API key");
    return false;
}

static bool api_content_type_is_json(const struct call *call)
{
    static const char wanted[] = "application/json";
    size_t len = sizeof wanted - 1;
    if (call->content_type.len < len || strncasecmp(call->content_type.data, wanted, len) != 0)
        return false;
    return call->content_type.len == len || call->content_type.data[len] == ';' ||
           call->content_type.data[len] == ' ';
}

/* What every operation with a body demands before its own rules. */
static bool api_check_body(const struct sim *sim, const struct call *call, struct api_refusal *refusal)
{
    if (call->op == CALL_READ || call->op == CALL_LIST || call->op == CALL_OTHER)
        return true;
    if (call->body_too_large)
        api_refuse(refusal, 413, "payload_too_large", "Request body exceeds 5 MB");
    else if (!sim->options->lenient && !api_content_type_is_json(call))
        api_refuse(refusal, 400, "invalid_content_type", "Content-Type must be application/json");
    else if (!json_is_object(call->json))
        api_refuse(refusal, 400, "invalid_json", "Request body must be a JSON object");
    else
        return true;
    return false;
}

static void api_perform_other(struct call *call)
{
    struct api_refusal refusal;
    size_t len;
    bool known = api_is_served_here(call) && (api_path_is(call, "/api/v2/contacts") || api_path_is(call, "/api/v2/contacts/bulk") ||
                 reads_path_phone(call, &len) || api_path_is(call, "/api/v1/phone/validate") ||
                 api_path_is(call, "/api/v1/phone/validate/batch"));
    if (known)
        api_refuse(&refusal, 405, "method_not_allowed", "Method not allowed");
    else
        api_refuse(&refusal, 404, "not_found", "No such resource");
    api_answer_refusal(call, &refusal);
}

void api_perform(struct sim *sim, struct call *call, bool dry)
{
    struct api_refusal refusal;
    buf_clear(&call->answer);
    call->effect = (struct call_effect){0};
    call->code[0] = '\0';
    if (!api_authenticate(sim, call, &refusal) || !api_check_body(sim, call, &refusal)) {
        api_answer_refusal(call, &refusal);
        return;
    }
    switch (call->op) {
    case CALL_UPSERT:
        upsert_perform(sim, call, dry);
        break;
    case CALL_BULK:
        upsert_perform_bulk(sim, call, dry);
        break;
    case CALL_VALIDATE:
        validate_perform(sim, call, dry);
        break;
    case CALL_VALIDATE_BATCH:
        validate_perform_batch(sim, call, dry);
        break;
    case CALL_READ:
        reads_perform_get(sim, call);
        break;
    case CALL_LIST:
        reads_perform_list(sim, call);
        break;
    default:
        api_perform_other(call);
    }
    assert(call->status);
}
