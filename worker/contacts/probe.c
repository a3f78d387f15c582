/* The `check` command's question to the API: one harmless GET, answered in a sentence. */
#include "room.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

const char *contacts_health_str(enum contacts_health health)
{
    switch (health) {
    case CONTACTS_WELL:
        return "well";
    case CONTACTS_KEY_REFUSED:
        return "key_refused";
    case CONTACTS_AWAY:
        return "away";
    case CONTACTS_WRONG:
        return "wrong";
    }
    return "unknown";
}

static void conclude(struct contacts_check_op *op, enum contacts_health health, const char *what,
                     const char *advice)
{
    static const int codes[] = {[CONTACTS_WELL] = EX_OK,
                                [CONTACTS_KEY_REFUSED] = EX_NOPERM,
                                [CONTACTS_AWAY] = EX_UNAVAILABLE,
                                [CONTACTS_WRONG] = EX_CONFIG};
    op->health = health;
    op->exit_code = codes[health];
    snprintf(op->text, sizeof op->text, "%.340s%s%s", what, *advice ? "; " : "", advice);
}

static void check_answer(struct contacts_check_op *op, const struct answer *answer)
{
    struct outcome outcome;
    response_read_error(answer, "", &outcome);
    switch (outcome.cls) {
    case OUTCOME_UNAUTHORIZED:
        conclude(op, CONTACTS_KEY_REFUSED, outcome.message,
                 answer->status == 401 ? "look at contacts_api.key_file: the API does not know this key"
                                       : "the API knows the key but refuses the account: ask the vendor");
        break;
    case OUTCOME_THROTTLED:
    case OUTCOME_PROVIDER:
        conclude(op, CONTACTS_AWAY, outcome.message,
                 "the API is there but does not serve now: try again later");
        break;
    case OUTCOME_BILLING:
        conclude(op, CONTACTS_AWAY, outcome.message,
                 "the account's billing is blocked: settle it with the vendor");
        break;
    case OUTCOME_SERVER:
        if (answer->status >= 500)
            conclude(op, CONTACTS_AWAY, outcome.message, "the API is there but fails: try again later");
        else
            conclude(op, CONTACTS_WRONG, "a server answers, but not as the contacts API does",
                     "look at contacts_api.base_url");
        break;
    default:
        conclude(op, CONTACTS_WRONG, outcome.message, "look at contacts_api.base_url");
        break;
    }
}

static void check_failure(struct contacts_check_op *op, const struct http_result *result, const char *url)
{
    char what[320];
    char advice[256];
    /* The root that the configuration names: what stands before the operation. */
    int root = (int)(strstr(url, "/contacts?") - url);
    http_failure_describe(result->failure, result->detail, true, what, sizeof what);
    if (result->failure == HTTP_FAILURE_TLS)
        snprintf(advice, sizeof advice,
                 "for a private CA set contacts_api.ca_file; verification cannot be switched off");
    else if (result->failure == HTTP_FAILURE_BROKEN || result->failure == HTTP_FAILURE_STRAY)
        snprintf(advice, sizeof advice, "is there another service at contacts_api.base_url (%.*s)?", root, url);
    else
        snprintf(advice, sizeof advice, "is contacts_api.base_url right (%.*s), and may this machine reach it?", root,
                 url);
    conclude(op, CONTACTS_AWAY, what, advice);
}

static void check_done(struct http_request *request, const struct http_result *result)
{
    struct task *task = request->owner;
    struct contacts_check_op *op = task->op;
    struct answer answer;
    answer_of_result(result, &answer);
    if (result->failure != HTTP_FAILURE_NONE) {
        check_failure(op, result, task->contacts->check_url);
    } else if (response_has_array(&answer, "contacts")) {
        char what[128];
        snprintf(what, sizeof what, "the contacts API answers and knows the key (%lld ms)",
                 (long long)(result->duration_us / US_PER_MS));
        conclude(op, CONTACTS_WELL, what, "");
    } else {
        check_answer(op, &answer);
        contacts_note_status(task->contacts, task, result->status);
    }
    task_give(task);
    op->done(op);
}

enum port_status contacts_check(struct contacts *contacts, struct contacts_check_op *op)
{
    struct task *task = contacts->closing ? NULL : task_take(contacts, op);
    if (!task)
        return PORT_AWAY;
    task->request.url = contacts->check_url;
    task->request.get = true;
    task->request.headers = task->headers->get;
    task->request.done = check_done;
    if (http_submit(contacts->http, &task->request))
        return PORT_OK;
    task_give(task);
    return PORT_AWAY;
}
