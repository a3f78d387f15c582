/* Reading one contact: GET /v2/contacts/{phone_number} (contacts-api.md section 3), for the pipeline and for
 * people. */
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
        outcome_of_failure(result, false, &call->outcome);
    }
    call->lapsed = result->failure == HTTP_FAILURE_LAPSED;
    call->outcome.duration_us = result->duration_us;
    task_give(task);
    call->done(call);
}

/* A GET of the contact's own address. False: not E.164, closing, or no memory. */
static bool get_submit(struct contacts *contacts, struct slice phone, struct slice traceparent,
                       mono_us_t answer_by, void *op,
                       void (*done)(struct http_request *request, const struct http_result *result))
{
    char *url = contacts->closing ? NULL : request_contact_url(contacts->upsert_url, phone);
    struct task *task = url ? task_take(contacts, op) : NULL;
    if (!task) {
        free(url);
        return false;
    }
    task->url = url;
    task->request.url = url;
    task->request.get = true;
    task->request.answer_by = answer_by;
    task->request.headers = task_trace(task, traceparent, task->headers->get);
    task->request.done = done;
    if (http_submit(contacts->http, &task->request))
        return true;
    task_give(task);
    return false;
}

enum port_status contacts_read(void *ctx, struct read_call *call)
{
    call->found = call->on_list = call->active = false;
    call->signup_date = SLICE_ABSENT;
    return get_submit(ctx, call->phone_number, call->traceparent, call->answer_by, call, read_done) ? PORT_OK
                                                                                                 : PORT_AWAY;
}

static void look_up_done(struct http_request *request, const struct http_result *result)
{
    struct task *task = request->owner;
    struct contacts_look_up_op *op = task->op;
    if (result->failure == HTTP_FAILURE_NONE) {
        struct answer answer;
        answer_of_result(result, &answer);
        response_look_up(&answer, op);
        contacts_note_status(task->contacts, task, result->status);
    } else {
        outcome_of_failure(result, false, &op->outcome);
    }
    op->outcome.duration_us = result->duration_us;
    task_give(task);
    op->done(op);
}

enum port_status contacts_look_up(struct contacts *contacts, struct contacts_look_up_op *op)
{
    op->found = false;
    op->contact = SLICE_ABSENT;
    const mono_us_t whenever = {0};
    return get_submit(contacts, op->phone_number, SLICE_ABSENT, whenever, op, look_up_done) ? PORT_OK : PORT_AWAY;
}
