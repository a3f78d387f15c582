/* The contacts port: takes upserts, gives outcomes; keeps the key fresh. Reads stand in read.c, validations
 * in validate.c. */
#include "room.h"

#include "signup/base/crash.h"
#include "signup/base/log.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SYSTEM_CA_FILE "/etc/ssl/certs/ca-certificates.crt"
#define KEY_LOOK_MS 1000 /* how often the key file is looked at while calls are made */
#define IN_FLIGHT_MAX 10000

/* ------------------------------------------------------------------ the key */

static bool headers_renew(struct contacts *contacts)
{
    struct request_headers *headers = request_headers_create(contacts->key.secret);
    if (!headers)
        return false;
    if (contacts->headers)
        request_headers_drop(contacts->headers);
    contacts->headers = headers;
    return true;
}

static void key_hint(const struct contacts *contacts)
{
    if (!key_has_usual_form(contacts->key.secret))
        LOG_AT_PLAIN(
            LOG_WARN, "contacts",
            "the API key does not look like one (trk_ and 32 letters or digits); it is used as it is");
}

/* Before a call: a changed key file is read once a second at most, and at once when the API has refused the
 * key. */
static void key_keep_fresh(struct contacts *contacts)
{
    uint64_t now_ms = uv_now(contacts->loop);
    if (!contacts->key_suspect && now_ms - contacts->key_looked_at_ms < KEY_LOOK_MS)
        return;
    char error[KEY_ERROR_BYTES];
    enum key_result result = key_refresh(&contacts->key, contacts->key_suspect, error);
    contacts->key_looked_at_ms = now_ms;
    contacts->key_suspect = false;
    if (result == KEY_OK) {
        contacts->keys_reloaded++;
        LOG_AT_PLAIN(LOG_INFO, "contacts", "the API key was read again from its file");
        key_hint(contacts);
    } else if (result != KEY_UNCHANGED) {
        LOG_AT(LOG_WARN, "contacts", "the API key could not be read again; the old one stays in use",
               LOG_STR("error", error));
    }
    if (contacts->headers->secret != contacts->key.secret && !headers_renew(contacts))
        contacts->key_suspect = true; /* no memory now: with the next call */
}

void contacts_note_status(struct contacts *contacts, const struct task *task, int status)
{
    if ((status == 401 || status == 403) && task->headers == contacts->headers)
        contacts->key_suspect = true;
}

void contacts_look_at_key(struct contacts *contacts)
{
    contacts->key_suspect = true;
}

/* ------------------------------------------------------------------ tasks */

struct task *task_take(struct contacts *contacts, void *op)
{
    struct task *task = contacts->tasks;
    if (task)
        contacts->tasks = task->next;
    else
        task = malloc(sizeof *task);
    if (!task)
        return NULL;
    key_keep_fresh(contacts);
    task->request = (struct http_request){.owner = task};
    task->headers = request_headers_hold(contacts->headers);
    task->contacts = contacts;
    task->url = NULL;
    task->op = op;
    task->next = NULL;
    return task;
}

void task_give(struct task *task)
{
    struct contacts *contacts = task->contacts;
    request_headers_drop(task->headers);
    task->headers = NULL;
    free(task->url);
    task->url = NULL;
    task->next = contacts->tasks;
    contacts->tasks = task;
}

const struct curl_slist *task_trace(struct task *task, struct slice traceparent, struct curl_slist *headers)
{
    if (!request_trace_line(traceparent, task->trace_line))
        return headers;
    task->trace_node = (struct curl_slist){task->trace_line, headers};
    return &task->trace_node;
}

void answer_of_result(const struct http_result *result, struct answer *answer)
{
    *answer = (struct answer){
        .status = result->status,
        .body = result->body,
        .retry_after = result->retry_after,
        .date = result->date,
        .location = result->location,
        .encoded = result->encoded,
        .now = clock_wall_now(),
    };
}

void outcome_of_failure(const struct http_result *result, bool maybe_sent, struct outcome *outcome)
{
    char message[OUTCOME_MESSAGE_BYTES];
    http_failure_describe(result->failure, result->detail, result->maybe_sent, message, sizeof message);
    outcome_set(outcome, OUTCOME_TRANSPORT, 0, http_failure_str(result->failure), message, maybe_sent);
}

/* ------------------------------------------------------------------ upsert */

static void upsert_done(struct http_request *request, const struct http_result *result)
{
    struct task *task = request->owner;
    struct upsert_call *call = task->op;
    if (result->failure == HTTP_FAILURE_NONE) {
        struct answer answer;
        answer_of_result(result, &answer);
        response_read_upsert(&answer, call->arena, call->signup, &call->outcome, &call->reply);
        contacts_note_status(task->contacts, task, result->status);
    } else {
        outcome_of_failure(result, result->maybe_sent, &call->outcome);
    }
    call->lapsed = result->failure == HTTP_FAILURE_LAPSED;
    call->outcome.duration_us = result->duration_us;
    CRASH_POINT_IF(AFTER_CALL_ANSWER, result->failure == HTTP_FAILURE_NONE);
    task_give(task);
    call->done(call);
}

static enum port_status upsert(void *ctx, struct upsert_call *call)
{
    struct contacts *contacts = ctx;
    struct task *task = contacts->closing ? NULL : task_take(contacts, call);
    if (!task)
        return PORT_AWAY;
    call->reply = (struct upsert_reply){0};
    task->request.url = contacts->upsert_url;
    task->request.body = call->body;
    task->request.headers = task_trace(task, call->traceparent, task->headers->post);
    task->request.answer_by = call->answer_by;
    task->request.done = upsert_done;
    if (http_submit(contacts->http, &task->request)) {
        CRASH_POINT(BEFORE_CALL_SENT);
        return PORT_OK;
    }
    task_give(task);
    return PORT_AWAY;
}

const struct contacts_port *contacts_functions(void)
{
    static const struct contacts_port functions = {
        .upsert = upsert, .read = contacts_read, .validate = contacts_validate};
    return &functions;
}

/* ------------------------------------------------------------------ life */

static void contacts_free(struct contacts *contacts)
{
    while (contacts->tasks) {
        struct task *task = contacts->tasks;
        contacts->tasks = task->next;
        free(task);
    }
    if (contacts->headers)
        request_headers_drop(contacts->headers);
    key_fini(&contacts->key);
    free(contacts);
}

static bool fail(struct contacts_error *error, enum contacts_fault fault, const char *text)
{
    error->fault = fault;
    snprintf(error->text, sizeof error->text, "%s", text);
    return false;
}

static bool take_urls(struct contacts *contacts, const struct contacts_config *config,
                      struct contacts_error *error)
{
    char base[REQUEST_URL_BYTES];
    char validation[REQUEST_URL_BYTES] = "";
    char why[REQUEST_ERROR_BYTES];
    bool validates = config->validation_url && *config->validation_url;
    if (!request_url_check("contacts_api.base_url", config->base_url, base, why))
        return fail(error, CONTACTS_FAULT_CONFIG, why);
    if (validates &&
        !request_url_check("contacts_api.validation_url", config->validation_url, validation, why))
        return fail(error, CONTACTS_FAULT_CONFIG, why);
    /* request_url_check() has left room for these. */
    int upsert_len = snprintf(contacts->upsert_url, sizeof contacts->upsert_url, "%s/contacts", base);
    int check_len =
        snprintf(contacts->check_url, sizeof contacts->check_url, "%s/contacts?page=1&per_page=1", base);
    int validate_len = 0;
    if (validates)
        validate_len =
            snprintf(contacts->validate_url, sizeof contacts->validate_url, "%s/phone/validate", validation);
    assert(upsert_len < REQUEST_URL_BYTES && check_len < REQUEST_URL_BYTES &&
           validate_len < REQUEST_URL_BYTES);
    (void)upsert_len;
    (void)check_len;
    (void)validate_len;
    return true;
}

static bool take_limits(const struct contacts_config *config, struct contacts_error *error)
{
    if (config->timeout_ms < 1 || config->timeout_ms > INT_MAX)
        return fail(error, CONTACTS_FAULT_CONFIG, "contacts_api.timeout must be between 1ms and 24 days");
    if (config->connect_timeout_ms < 1 || config->connect_timeout_ms > INT_MAX)
        return fail(error, CONTACTS_FAULT_CONFIG, "the connect timeout must be between 1ms and 24 days");
    if (config->max_in_flight < 1 || config->max_in_flight > IN_FLIGHT_MAX)
        return fail(error, CONTACTS_FAULT_CONFIG, "contacts_api.max_in_flight must be between 1 and 10000");
    return true;
}

static bool take_key(struct contacts *contacts, const struct contacts_config *config,
                     struct contacts_error *error)
{
    char why[KEY_ERROR_BYTES];
    enum key_result result = key_init(&contacts->key, config->key, config->key_file, why);
    if (result != KEY_OK)
        return fail(error,
                    result == KEY_NO_FILE ? CONTACTS_FAULT_FILE
                    : result == KEY_BAD   ? CONTACTS_FAULT_CONFIG
                                          : CONTACTS_FAULT_SYSTEM,
                    why);
    key_hint(contacts);
    return headers_renew(contacts) || fail(error, CONTACTS_FAULT_SYSTEM, "no memory");
}

static bool take_http(struct contacts *contacts, const struct contacts_config *config,
                      struct contacts_error *error)
{
    char why[256];
    bool own = config->ca_file && *config->ca_file;
    const char *ca_file = own ? config->ca_file : SYSTEM_CA_FILE;
    bool needed = own || strncmp(contacts->upsert_url, "https:", 6) == 0 ||
                  strncmp(contacts->validate_url, "https:", 6) == 0;
    if (needed && access(ca_file, R_OK) != 0) {
        snprintf(why, sizeof why, "the CA bundle %.150s cannot be read: %s%s", ca_file, strerror(errno),
                 own ? "" : " (install ca-certificates)");
        return fail(error, CONTACTS_FAULT_FILE, why);
    }
    const struct http_config http = {
        .loop = contacts->loop,
        .ca_file = ca_file,
        .timeout_ms = config->timeout_ms,
        .connect_timeout_ms = config->connect_timeout_ms,
        .max_in_flight = config->max_in_flight,
        .settled = config->poke,
        .ctx = config->poke_ctx,
    };
    contacts->http = http_create(&http);
    contacts->clients = 1;
    if (contacts->http && *contacts->validate_url) {
        contacts->validation_http = http_create(&http);
        contacts->clients = 2;
        if (!contacts->validation_http) {
            http_close(contacts->http, NULL, NULL); /* done when the loop turns */
            contacts->http = NULL;
        }
    }
    return contacts->http || fail(error, CONTACTS_FAULT_SYSTEM, "the HTTP client could not be set up");
}

struct contacts *contacts_create(struct uv_loop_s *loop, const struct contacts_config *config,
                                 struct contacts_error *error)
{
    *error = (struct contacts_error){.fault = CONTACTS_FAULT_NONE};
    struct contacts *contacts = calloc(1, sizeof *contacts);
    if (!contacts) {
        fail(error, CONTACTS_FAULT_SYSTEM, "no memory");
        return NULL;
    }
    contacts->loop = loop;
    contacts->uses_validation = config->uses_validation;
    contacts->key_looked_at_ms = uv_now(loop);
    if (take_limits(config, error) && take_urls(contacts, config, error) &&
        take_key(contacts, config, error) && take_http(contacts, config, error))
        return contacts;
    contacts_free(contacts);
    return NULL;
}

static void on_http_closed(void *ctx)
{
    struct contacts *contacts = ctx;
    if (--contacts->clients)
        return;
    void (*closed)(void *) = contacts->closed;
    void *closed_ctx = contacts->closed_ctx;
    contacts_free(contacts);
    if (closed)
        closed(closed_ctx);
}

void contacts_close(struct contacts *contacts, void (*closed)(void *ctx), void *ctx)
{
    assert(!contacts->closing);
    contacts->closing = true;
    contacts->closed = closed;
    contacts->closed_ctx = ctx;
    http_close(contacts->http, on_http_closed, contacts);
    if (contacts->validation_http)
        http_close(contacts->validation_http, on_http_closed, contacts);
}

void contacts_read_stats(const struct contacts *contacts, struct contacts_stats *out)
{
    struct http_stats http;
    struct http_stats validation = {0};
    http_read_stats(contacts->http, &http);
    if (contacts->validation_http)
        http_read_stats(contacts->validation_http, &validation);
    *out = (struct contacts_stats){
        .calls = http.requests + validation.requests,
        .connections_opened = http.connections_opened + validation.connections_opened,
        .connections_open = http.connections_open + validation.connections_open,
        .bytes_sent = http.bytes_sent + validation.bytes_sent,
        .bytes_received = http.bytes_received + validation.bytes_received,
        .resends_refused = http.resends_refused + validation.resends_refused,
        .strays_refused = http.strays_refused + validation.strays_refused,
        .lapsed = http.lapsed + validation.lapsed,
        .keys_reloaded = contacts->keys_reloaded,
    };
}
