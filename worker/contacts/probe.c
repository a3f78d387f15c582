/* The `check` command's questions to the API: a harmless GET, and a validation without a phone where phones
 * are validated. Each is answered in a sentence. */
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

/* What is found out about one of the two addresses, on its way into the op. */
struct finding {
    const char *setting; /* the configuration's name for the address */
    const char *url;
    const char *operation; /* what stands in the URL behind that address */
    enum contacts_health *health;
    int *exit_code;
    char *text;
    size_t size;
};

static struct finding contacts_finding(const struct contacts *contacts, struct contacts_check_op *op)
{
    return (struct finding){
        "contacts_api.base_url", contacts->check_url, "/contacts?", &op->health, &op->exit_code, op->text,
        sizeof op->text};
}

static struct finding validation_finding(const struct contacts *contacts, struct contacts_check_op *op)
{
    return (struct finding){"contacts_api.validation_url", contacts->validate_url,    "/phone/validate",
                            &op->validation_health,        &op->validation_exit_code, op->validation_text,
                            sizeof op->validation_text};
}

static void conclude(const struct finding *finding, enum contacts_health health, const char *what,
                     const char *advice)
{
    static const int codes[] = {[CONTACTS_WELL] = EX_OK,
                                [CONTACTS_KEY_REFUSED] = EX_NOPERM,
                                [CONTACTS_AWAY] = EX_UNAVAILABLE,
                                [CONTACTS_WRONG] = EX_CONFIG};
    *finding->health = health;
    *finding->exit_code = codes[health];
    snprintf(finding->text, finding->size, "%.340s%s%s", what, *advice ? "; " : "", advice);
}

static void conclude_wrong(const struct finding *finding, const char *what)
{
    char advice[96];
    snprintf(advice, sizeof advice, "look at %s", finding->setting);
    conclude(finding, CONTACTS_WRONG, what, advice);
}

static void finding_of_answer(const struct finding *finding, const struct answer *answer)
{
    struct outcome outcome;
    response_read_error(answer, "", &outcome);
    switch (outcome.cls) {
    case OUTCOME_UNAUTHORIZED:
        conclude(finding, CONTACTS_KEY_REFUSED, outcome.message,
                 answer->status == 401 ? "look at contacts_api.key_file: the API does not know this key"
                                       : "the API knows the key but refuses the account: ask the vendor");
        break;
    case OUTCOME_THROTTLED:
    case OUTCOME_PROVIDER:
        conclude(finding, CONTACTS_AWAY, outcome.message,
                 "the API is there but does not serve now: try again later");
        break;
    case OUTCOME_BILLING:
        conclude(finding, CONTACTS_AWAY, outcome.message,
                 "the account's billing is blocked: settle it with the vendor");
        break;
    case OUTCOME_SERVER:
        if (answer->status >= 500)
            conclude(finding, CONTACTS_AWAY, outcome.message, "the API is there but fails: try again later");
        else
            conclude_wrong(finding, "a server answers, but not as the contacts API does");
        break;
    default:
        conclude_wrong(finding, outcome.message);
        break;
    }
}

static void finding_of_failure(const struct finding *finding, const struct http_result *result)
{
    char what[320];
    char advice[256];
    /* The root that the configuration names: what stands before the operation. */
    int root = (int)(strstr(finding->url, finding->operation) - finding->url);
    http_failure_describe(result->failure, result->detail, true, what, sizeof what);
    if (result->failure == HTTP_FAILURE_TLS)
        snprintf(advice, sizeof advice,
                 "for a private CA set contacts_api.ca_file; verification cannot be switched off");
    else if (result->failure == HTTP_FAILURE_BROKEN || result->failure == HTTP_FAILURE_STRAY)
        snprintf(advice, sizeof advice, "is there another service at %s (%.*s)?", finding->setting, root,
                 finding->url);
    else
        snprintf(advice, sizeof advice, "is %s right (%.*s), and may this machine reach it?",
                 finding->setting, root, finding->url);
    conclude(finding, CONTACTS_AWAY, what, advice);
}

static void conclude_well(const struct finding *finding, const char *who, const struct http_result *result)
{
    char what[128];
    snprintf(what, sizeof what, "%s answers and knows the key (%lld ms)", who,
             (long long)(result->duration_us / US_PER_MS));
    conclude(finding, CONTACTS_WELL, what, "");
}

/* ------------------------------------------------------------------ phone validation */

/* A request without a phone is refused before anything is looked up, and only to whoever has a key. */
static bool misses_the_phone(const struct answer *answer)
{
    struct outcome outcome;
    response_read_error(answer, "", &outcome);
    return answer->status == 400 && strcmp(outcome.code, "missing_phone") == 0;
}

static void validation_checked(struct http_request *request, const struct http_result *result)
{
    struct task *task = request->owner;
    struct contacts_check_op *op = task->op;
    const struct finding finding = validation_finding(task->contacts, op);
    struct answer answer;
    answer_of_result(result, &answer);
    answer.setting = finding.setting;
    if (result->failure != HTTP_FAILURE_NONE)
        finding_of_failure(&finding, result);
    else if (misses_the_phone(&answer))
        conclude_well(&finding, "phone validation", result);
    else
        finding_of_answer(&finding, &answer);
    if (result->failure == HTTP_FAILURE_NONE)
        contacts_note_status(task->contacts, task, result->status);
    task_give(task);
    op->done(op);
}

/* The second question, asked when the first is answered. False: it cannot be, which the op then says. */
static bool validation_check(struct contacts *contacts, struct contacts_check_op *op)
{
    const struct finding finding = validation_finding(contacts, op);
    if (!contacts->validation_http) {
        conclude(&finding, CONTACTS_WRONG, "phones are to be validated, but there is no address for it",
                 "set contacts_api.validation_url");
        return false;
    }
    struct task *task = contacts->closing ? NULL : task_take(contacts, op);
    if (task) {
        task->request.url = contacts->validate_url;
        task->request.body = SLICE_LITERAL("{}");
        task->request.headers = task->headers->post;
        task->request.done = validation_checked;
        if (http_submit(contacts->validation_http, &task->request))
            return true;
        task_give(task);
    }
    conclude(&finding, CONTACTS_AWAY, "the request could not be made on this machine", "");
    return false;
}

/* ------------------------------------------------------------------ contacts */

static void check_done(struct http_request *request, const struct http_result *result)
{
    struct task *task = request->owner;
    struct contacts *contacts = task->contacts;
    struct contacts_check_op *op = task->op;
    const struct finding finding = contacts_finding(contacts, op);
    struct answer answer;
    answer_of_result(result, &answer);
    if (result->failure != HTTP_FAILURE_NONE) {
        finding_of_failure(&finding, result);
    } else if (response_has_array(&answer, "contacts")) {
        conclude_well(&finding, "the contacts API", result);
    } else {
        finding_of_answer(&finding, &answer);
        contacts_note_status(contacts, task, result->status);
    }
    task_give(task);
    if (!op->validation_asked || !validation_check(contacts, op))
        op->done(op);
}

enum port_status contacts_check(struct contacts *contacts, struct contacts_check_op *op)
{
    struct task *task = contacts->closing ? NULL : task_take(contacts, op);
    if (!task)
        return PORT_AWAY;
    op->validation_asked = contacts->uses_validation;
    task->request.url = contacts->check_url;
    task->request.get = true;
    task->request.headers = task->headers->get;
    task->request.done = check_done;
    if (http_submit(contacts->http, &task->request))
        return PORT_OK;
    task_give(task);
    return PORT_AWAY;
}
