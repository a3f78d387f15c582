/* One HTTP request on its way to an answer: what was asked, what it did, what will be answered. */
#include "call.h"

#include <assert.h>

#include "faults.h"

const char *call_op_str(enum call_op op)
{
    static const char *const names[] = {
#define X(name, text) text,
        CALL_OPS(X)
#undef X
    };
    assert((size_t)op < CALL_OP_COUNT);
    return names[op];
}

void call_clear(struct call *call)
{
    struct call next = {
        .op = CALL_OTHER,
        .host = call->host,
        .use_journeys = CALL_FLAG_ABSENT,
        .skip_journey_if_exists = CALL_FLAG_ABSENT,
        .use_validation = CALL_FLAG_ABSENT,
        .force = CALL_FLAG_ABSENT,
        .target = call->target,
        .body = call->body,
        .key = call->key,
        .content_type = call->content_type,
        .traceparent = call->traceparent,
        .phone_text = call->phone_text,
        .list_text = call->list_text,
        .answer = call->answer,
    };
    assert(!call->counted_in_flight);
    json_decref(call->json);
    fault_action_give(call->fault);
    *call = next;
    if (call->body.cap > 65536)
        buf_fini(&call->body);
    if (call->answer.cap > 65536)
        buf_fini(&call->answer);
    struct buf *buffers[] = {&call->target, &call->body, &call->key, &call->content_type,
                             &call->traceparent, &call->phone_text, &call->list_text, &call->answer};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        buf_clear(buffers[i]);
}

void call_fini(struct call *call)
{
    call_clear(call);
    buf_fini(&call->target);
    buf_fini(&call->body);
    buf_fini(&call->key);
    buf_fini(&call->content_type);
    buf_fini(&call->traceparent);
    buf_fini(&call->phone_text);
    buf_fini(&call->list_text);
    buf_fini(&call->answer);
}
