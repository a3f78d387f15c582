/* Reading one contact back: GET /v2/contacts/{phone_number} (contacts-api.md section 3). */
#include "room.h"

#include <stdlib.h>

static void read_done(struct http_request *request, const struct http_result *result)
{
    struct task *task = request->owner;
    struct read_call *call = task->op;
    if (result->failure == HTTP_FAILURE_NONE) {
        struct answer answer;
        answer_of_result(result, &answer);
        response_read_contact(&answer, call);
        contacts_note_status(task->contacts, task, result->status);
    } else {
        char message[OUTCOME_MESSAGE_BYTES];
        http_failure_describe(result->failure, result->detail, result->maybe_sent, message, sizeof message);
        outcome_set(&call->outcome, OUTCOME_TRANSPORT, 0, http_failure_str(result->failure), message, false);
    }
    call->outcome.duration_us = result->duration_us;
    task_give(task);
    call->done(call);
}

enum port_status contacts_read(void *ctx, struct read_call *call)
{
    struct contacts *contacts = ctx;
    call->found = call->on_list = call->active = false;
    call->signup_date = SLICE_ABSENT;
    char *url = contacts->closing ? NULL : request_contact_url(contacts->upsert_url, call->phone_number);
    struct task *task = url ? task_take(contacts, call) : NULL;
    if (!task) {
        free(url);
        return PORT_AWAY;
    }
    task->url = url;
    task->request.url = url;
    task->request.get = true;
    task->request.headers = task_trace(task, call->traceparent, task->headers->get);
    task->request.done = read_done;
    if (http_submit(contacts->http, &task->request))
        return PORT_OK;
    task_give(task);
    return PORT_AWAY;
}
