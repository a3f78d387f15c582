/* Asking what kind of phone it is: POST /v1/phone/validate on its own host (contacts-api.md section 2). The
 * transfer rules are those of an upsert: a hidden repetition could be paid for twice. */
#include "room.h"

#include "signup/base/crash.h"

static void validate_done(struct http_request *request, const struct http_result *result)
{
    struct task *task = request->owner;
    struct validate_call *call = task->op;
    if (result->failure == HTTP_FAILURE_NONE) {
        struct answer answer;
        answer_of_result(result, &answer);
        answer.setting = "contacts_api.validation_url";
        response_read_validation(&answer, call);
        contacts_note_status(task->contacts, task, result->status);
    } else {
        outcome_of_failure(result, result->maybe_sent, &call->outcome);
    }
    call->lapsed = result->failure == HTTP_FAILURE_LAPSED;
    call->outcome.duration_us = result->duration_us;
    CRASH_POINT_IF(AFTER_LOOKUP_ANSWER, result->failure == HTTP_FAILURE_NONE);
    task_give(task);
    call->done(call);
}

enum port_status contacts_validate(void *ctx, struct validate_call *call)
{
    struct contacts *contacts = ctx;
    call->validation = call->disposition = SLICE_ABSENT;
    call->cost = 0;
    bool possible = !contacts->closing && contacts->validation_http && request_is_e164(call->phone_number);
    struct task *task = possible ? task_take(contacts, call) : NULL;
    if (!task)
        return PORT_AWAY;
    task->request.url = contacts->validate_url;
    task->request.body = request_validation_body(call->phone_number, call->force, task->body);
    task->request.headers = task_trace(task, call->traceparent, task->headers->post);
    task->request.answer_by = call->answer_by;
    task->request.done = validate_done;
    if (http_submit(contacts->validation_http, &task->request))
        return PORT_OK;
    task_give(task);
    return PORT_AWAY;
}
