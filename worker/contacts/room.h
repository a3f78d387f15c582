/* What the files of this room share: the adapter's own struct. */
#ifndef SIGNUP_CONTACTS_ROOM_H
#define SIGNUP_CONTACTS_ROOM_H

#include "http.h"
#include "key.h"
#include "request.h"
#include "response.h"
#include "signup/contacts/contacts.h"

#include <uv.h>

/* One request on its way; kept for reuse. */
struct task {
    struct http_request request;
    struct request_headers *headers; /* held from submit until done */
    struct curl_slist trace_node;
    char trace_line[REQUEST_TRACE_BYTES];
    struct contacts *contacts;
    char *url;                           /* of a read, which has one of its own; ours */
    char body[REQUEST_VALIDATION_BYTES]; /* of a validation */
    void *op; /* the call, or the struct contacts_check_op or contacts_look_up_op */
    struct task *next;
};

struct contacts {
    uv_loop_t *loop;
    struct http_client *http;
    /* Another, so that neither host waits for the other. NULL: no validation_url. */
    struct http_client *validation_http;
    unsigned clients; /* of these, not closed yet */
    bool uses_validation;
    struct key_store key;
    struct request_headers *headers; /* of the current key */
    uint64_t key_looked_at_ms;
    bool key_suspect; /* the API refused the current key: the file is read before the next call */
    uint64_t keys_reloaded;
    struct task *tasks; /* free ones */
    bool closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
    char upsert_url[REQUEST_URL_BYTES];
    char check_url[REQUEST_URL_BYTES];
    char validate_url[REQUEST_URL_BYTES];
};

/* A task with the headers of the newest key. NULL: no memory. */
struct task *task_take(struct contacts *contacts, void *op);
void task_give(struct task *task);

/* `headers` with the line for `traceparent` before them, where that is one. */
const struct curl_slist *task_trace(struct task *task, struct slice traceparent, struct curl_slist *headers);

/* Remembers a refused key, if it was the current one that was refused. */
void contacts_note_status(struct contacts *contacts, const struct task *task, int status);

/* The port's `read` and `validate`. */
enum port_status contacts_read(void *ctx, struct read_call *call) PORT_MUST_CHECK;
enum port_status contacts_validate(void *ctx, struct validate_call *call) PORT_MUST_CHECK;

void answer_of_result(const struct http_result *result, struct answer *answer);

/* The outcome of a call that got no complete answer. */
void outcome_of_failure(const struct http_result *result, bool maybe_sent, struct outcome *outcome);

#endif
