/* Any answer of a server: what is believed is a success by every condition of the contract, what is not
 * ends in an outcome whose texts fit a ledger row, a log line and a header, phones masked.
 *
 * The input is written like a small HTTP answer: a line with the status, then header lines of one letter and
 * the value (R Retry-After, D Date, L Location, E Content-Encoding), an empty line, the body. */
#include "fuzz.h"

#include "http_date.h"
#include "response.h"
#include "text.h"

#include <time.h>

#define NOW_S INT64_C(1780272000) /* 2026-06-01T00:00:00Z */
#define ARENA_BYTES ((size_t)4 << 20)
#define YEAR_9999_END_S INT64_C(253402300799)
#define DIGITS_SHOWN_MAX 6 /* a run of seven or more reads like a phone number */
#define COST_MAX 10000000  /* 10 USD */
#define PHONE "+13125550123" /* that is asked for */

static int status_read(struct slice line)
{
    int status = 0;
    for (size_t i = 0; i < line.len && i < 3 && line.ptr[i] >= '0' && line.ptr[i] <= '9'; i++)
        status = status * 10 + (line.ptr[i] - '0');
    return status;
}

static struct answer answer_read(struct slice input)
{
    struct answer answer = {.now = {NOW_S * US_PER_S}};
    answer.status = status_read(fuzz_take_part(&input, '\n'));
    while (input.len) {
        struct slice line = fuzz_take_part(&input, '\n');
        if (!line.len)
            break;
        struct slice value = {line.ptr + 1, line.len - 1};
        switch (line.ptr[0]) {
        case 'R': answer.retry_after = value; break;
        case 'D': answer.date = value; break;
        case 'L': answer.location = value; break;
        case 'E': answer.encoded = true; break;
        default: break;
        }
    }
    answer.body = input;
    return answer;
}

static void check_text(struct slice text)
{
    REQUIRE(fuzz_is_utf8(text));
    REQUIRE(!fuzz_has_control(text));
    REQUIRE(fuzz_longest_number(text) <= DIGITS_SHOWN_MAX);
}

static bool is_word(const char *code)
{
    return *code && code[strspn(code, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

/* ------------------------------------------------------------------ what may be believed */

static bool is_id(const json_t *value)
{
    size_t len = json_string_length(value);
    return json_is_string(value) && len >= 1 && len <= 512;
}

static bool is_success(const struct answer *answer, const json_t *root)
{
    return answer->status >= 200 && answer->status <= 299 && json_is_true(json_object_get(root, "success")) &&
           is_id(json_object_get(root, "contact_id")) && is_id(json_object_get(root, "list_contact_id"));
}

static bool has_own_form(const json_t *root)
{
    return json_is_string(json_object_get(root, "error")) || json_is_string(json_object_get(root, "code"));
}

static void check_outcome(const struct answer *answer, const json_t *root, const struct outcome *outcome,
                          bool success)
{
    REQUIRE(outcome->cls == outcome_class_of_status(answer->status, success));
    REQUIRE((outcome->cls == OUTCOME_ACCEPTED) == success);
    REQUIRE(outcome->http_status == answer->status && outcome->duration_us == 0);
    REQUIRE(memchr(outcome->code, '\0', sizeof outcome->code));
    REQUIRE(memchr(outcome->message, '\0', sizeof outcome->message));
    check_text(slice_from_str(outcome->message));
    REQUIRE(!*outcome->code || is_word(outcome->code));
    if (success) {
        REQUIRE(!*outcome->code && !*outcome->message && !outcome->maybe_sent);
        REQUIRE(outcome->retry_after_us == -1);
        return;
    }
    bool open = outcome->cls == OUTCOME_SERVER || (outcome->cls == OUTCOME_PROVIDER && !has_own_form(root));
    REQUIRE(outcome->maybe_sent == open);
    REQUIRE(*outcome->message);
    REQUIRE(*outcome->code || outcome->cls != OUTCOME_MISROUTED);
    REQUIRE(*outcome->code || answer->status < 200 || answer->status > 299);
    REQUIRE(outcome->retry_after_us >= -1);
    REQUIRE(slice_present(answer->retry_after) || outcome->retry_after_us == -1);
}

static void check_warnings(const struct signup *signup)
{
    size_t count = 0;
    for (const struct warning *w = signup->warnings; w; w = w->next, count++) {
        REQUIRE(w->message.len < TEXT_CLEAN_BYTES);
        REQUIRE(w->source == WARNING_API ? slice_is(w->code, "journeys_not_used") || slice_is(w->code, "api_warning")
                                         : slice_is(w->code, "reply_field_unreadable"));
        check_text(w->message);
    }
    REQUIRE(count <= RESPONSE_WARNINGS_MAX + 6); /* the API's, and one for each part that can be wrong */
}

/* The API's warnings in their order, each as the front of its whole text made clean: a cut never shows half a
 * phone number. */
static void check_api_warnings(const json_t *list, const struct warning *w)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *text = json_array_get(list, i);
        char whole[TEXT_CLEAN_BYTES];
        if (!json_is_string(text))
            continue;
        while (w && w->source != WARNING_API)
            w = w->next;
        if (!w)
            return; /* one too many, or no room */
        text_clean((struct slice){json_string_value(text), json_string_length(text)}, whole);
        REQUIRE(w->message.len <= strlen(whole) && memcmp(w->message.ptr, whole, w->message.len) == 0);
        w = w->next;
    }
    for (; w; w = w->next)
        REQUIRE(w->source == WARNING_WORKER);
}

static void check_id(struct slice id, const json_t *value, bool room)
{
    REQUIRE(slice_present(id) || !room);
    REQUIRE(!slice_present(id) ||
            slice_equal(id, (struct slice){json_string_value(value), json_string_length(value)}));
}

static void check_reply(const json_t *root, const struct upsert_reply *reply, bool success, bool room)
{
    if (!success) {
        REQUIRE(!slice_present(reply->contact_id) && !slice_present(reply->list_contact_id));
        REQUIRE(!slice_present(reply->validation) && reply->journeys_enrolled == 0 && reply->validation_cost == 0);
        REQUIRE(!reply->is_new_contact && !reply->is_new_list_contact);
        return;
    }
    check_id(reply->contact_id, json_object_get(root, "contact_id"), room);
    check_id(reply->list_contact_id, json_object_get(root, "list_contact_id"), room);
    REQUIRE(reply->is_new_contact == json_is_true(json_object_get(root, "is_new_contact")));
    REQUIRE(reply->is_new_list_contact == json_is_true(json_object_get(root, "is_new_list_contact")));
    REQUIRE(reply->journeys_enrolled >= 0);
    REQUIRE(!reply->journeys_enrolled ||
            reply->journeys_enrolled == json_integer_value(json_object_get(root, "journeys_enrolled")));
    REQUIRE(reply->validation_cost >= 0 && reply->validation_cost <= COST_MAX);
    REQUIRE(!reply->validation_cost || json_is_object(json_object_get(root, "validation")));
    if (slice_present(reply->validation)) {
        json_t *copy = json_loadb(reply->validation.ptr, reply->validation.len, JSON_REJECT_DUPLICATES, NULL);
        REQUIRE(json_is_object(copy) && json_equal(copy, json_object_get(root, "validation")));
        json_decref(copy);
    }
}

static void check_upsert(const struct answer *answer, const json_t *root, size_t arena_bytes,
                         struct outcome *outcome)
{
    struct arena arena;
    struct signup signup = {0};
    struct upsert_reply reply;
    bool success = is_success(answer, root);
    arena_init(&arena, arena_bytes);
    response_read_upsert(answer, &arena, &signup, outcome, &reply);
    check_outcome(answer, root, outcome, success);
    check_warnings(&signup);
    check_api_warnings(json_object_get(root, "warnings"), signup.warnings);
    check_reply(root, &reply, success, arena_bytes == ARENA_BYTES);
    REQUIRE(success || !signup.warnings);
    arena_fini(&arena);
}

/* Read back: on the list only of a contact that was found, active only of one on the list, and a date that may stand in a warning. */
static void check_read(const struct answer *answer, const json_t *root)
{
    struct arena arena;
    struct read_call call = {.phone_number = SLICE_LITERAL(PHONE), .list_number = SLICE_LITERAL("+18335550100")};
    arena_init(&arena, ARENA_BYTES);
    call.arena = &arena;
    response_read_contact(answer, &call);
    bool success = answer->status >= 200 && answer->status <= 299;
    const char *phone = json_string_value(json_object_get(root, "phone_number"));
    REQUIRE(!call.found || (success && phone && strcmp(phone, PHONE) == 0));
    REQUIRE(!call.on_list || call.found);
    REQUIRE(!call.active || call.on_list);
    REQUIRE(!slice_present(call.signup_date) || (call.on_list && call.signup_date.len <= 40));
    if (slice_present(call.signup_date))
        check_text(call.signup_date);
    REQUIRE(!call.outcome.maybe_sent);
    bool not_found = answer->status == 404 && strcmp(call.outcome.code, "not_found") == 0;
    REQUIRE((call.outcome.cls == OUTCOME_ACCEPTED) == (call.found || not_found));
    check_text(slice_from_str(call.outcome.message));
    arena_fini(&arena);
}

/* ------------------------------------------------------------------ validations */

static bool is_believable(const struct answer *answer, const json_t *root)
{
    const json_t *phone = json_object_get(root, "phone");
    const char *disposition = json_string_value(json_object_get(root, "disposition"));
    if (answer->status < 200 || answer->status > 299 || !disposition)
        return false;
    size_t len = strlen(disposition);
    size_t digits = 0;
    for (size_t i = 0; i < len; i++)
        digits += strchr("0123456789", disposition[i]) != NULL;
    bool word = len >= 1 && len <= 40 && digits <= DIGITS_SHOWN_MAX &&
                strspn(disposition, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_- ") == len;
    return word && (!phone || json_is_null(phone) || (json_is_string(phone) && strcmp(json_string_value(phone), PHONE) == 0));
}

static void validation_read(const struct answer *answer, struct arena *arena, struct validate_call *call)
{
    *call = (struct validate_call){.phone_number = SLICE_LITERAL(PHONE), .arena = arena, .cost = -1};
    response_read_validation(answer, call);
}

/* Nothing is in it that was not said, or is not documented; the cost alone may be rounded, to a millionth. */
static void check_fields(const json_t *root, const struct validate_call *call)
{
    static const char *const documented[] = {"phone", "valid", "line_type", "carrier", "carrier_raw", "ported", "country",
                                             "state", "city", "on_dnc", "disposition", "cost", "cached"};
    json_t *copy = json_loadb(call->validation.ptr, call->validation.len, JSON_REJECT_DUPLICATES, NULL);
    const char *name;
    json_t *value;
    size_t last = 0;
    REQUIRE(json_is_object(copy));
    json_object_foreach(copy, name, value) {
        size_t i = 0;
        while (i < sizeof documented / sizeof documented[0] && strcmp(documented[i], name) != 0)
            i++;
        REQUIRE(i < sizeof documented / sizeof documented[0] && i >= last);
        last = i;
        const json_t *said = json_object_get(root, name);
        double off = json_number_value(value) - json_number_value(said);
        REQUIRE(strcmp(name, "cost") == 0 ? off < 0.6e-6 && off > -0.6e-6 : json_equal(value, said));
    }
    REQUIRE(json_object_get(copy, "cost") || call->cost == 0);
    json_decref(copy);
}

/* What is written reads back as what was read, and is written the same again. */
static void check_written_again(const struct validate_call *call)
{
    const struct answer again = {.status = 200, .body = call->validation};
    struct arena arena;
    struct validate_call second;
    arena_init(&arena, ARENA_BYTES);
    validation_read(&again, &arena, &second);
    REQUIRE(second.outcome.cls == OUTCOME_ACCEPTED && second.cost == call->cost);
    REQUIRE(slice_equal(second.validation, call->validation) && slice_equal(second.disposition, call->disposition));
    arena_fini(&arena);
}

static void check_validation(const struct answer *answer, const json_t *root, size_t arena_bytes)
{
    struct arena arena;
    struct validate_call call;
    bool success = is_believable(answer, root);
    arena_init(&arena, arena_bytes);
    validation_read(answer, &arena, &call);
    bool no_room = success && call.outcome.cls == OUTCOME_TRANSPORT;
    REQUIRE(!no_room || arena_bytes < ARENA_BYTES);
    if (no_room)
        REQUIRE(call.outcome.maybe_sent && strcmp(call.outcome.code, "client_failed") == 0);
    else
        check_outcome(answer, strcmp(call.outcome.code, "wrong_phone") == 0 ? NULL : root, &call.outcome, success);
    bool taken = success && !no_room;
    REQUIRE(slice_present(call.validation) == taken && slice_present(call.disposition) == taken);
    REQUIRE(call.cost >= 0 && call.cost <= (taken ? COST_MAX : 0));
    if (taken) {
        check_text(call.disposition);
        check_fields(root, &call);
        check_written_again(&call);
    }
    arena_fini(&arena);
}

/* ------------------------------------------------------------------ whole contacts */

static bool is_contact(const struct answer *answer, const json_t *root)
{
    const char *phone = json_string_value(json_object_get(root, "phone_number"));
    const json_t *lists = json_object_get(root, "lists");
    for (size_t i = 0; i < json_array_size(lists); i++) {
        const json_t *list = json_array_get(lists, i);
        if (!json_is_string(json_object_get(list, "list_number")) || !json_is_boolean(json_object_get(list, "active")))
            return false;
    }
    return answer->status >= 200 && answer->status <= 299 && phone && strcmp(phone, PHONE) == 0 && json_is_array(lists);
}

static void check_look_up(const struct answer *answer, const json_t *root)
{
    struct arena arena;
    struct contacts_look_up_op op = {.phone_number = SLICE_LITERAL(PHONE), .arena = &arena};
    struct contacts_look_up_op again = op;
    arena_init(&arena, ARENA_BYTES);
    response_look_up(answer, &op);
    bool not_found = answer->status == 404 && strcmp(op.outcome.code, "not_found") == 0;
    REQUIRE(op.found == is_contact(answer, root) && op.found == slice_present(op.contact));
    REQUIRE((op.outcome.cls == OUTCOME_ACCEPTED) == (op.found || not_found));
    REQUIRE(!op.outcome.maybe_sent);
    check_text(slice_from_str(op.outcome.message));
    if (op.found) {
        const struct answer written = {.status = 200, .body = op.contact};
        json_t *copy = json_loadb(op.contact.ptr, op.contact.len, JSON_REJECT_DUPLICATES, NULL);
        REQUIRE(json_array_size(json_object_get(copy, "lists")) == json_array_size(json_object_get(root, "lists")));
        json_decref(copy);
        response_look_up(&written, &again);
        REQUIRE(again.found && slice_equal(again.contact, op.contact));
    }
    arena_fini(&arena);
}

static void check_same(const struct outcome *a, const struct outcome *b)
{
    REQUIRE(a->cls == b->cls && a->maybe_sent == b->maybe_sent && a->retry_after_us == b->retry_after_us);
    REQUIRE(strcmp(a->code, b->code) == 0 && strcmp(a->message, b->message) == 0);
}

/* ------------------------------------------------------------------ dates, Retry-After, texts */

/* A date that is read is one that the C library writes and that reads back the same. */
static void check_date(struct slice text)
{
    wall_us_t at;
    wall_us_t again;
    char written[64];
    struct tm tm;
    if (!http_date_read(text, &at))
        return;
    time_t seconds = (time_t)(at.us / US_PER_S);
    if (seconds > YEAR_9999_END_S)
        return; /* the leap second of the last year that can be written */
    REQUIRE(at.us % US_PER_S == 0 && gmtime_r(&seconds, &tm));
    static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int len = snprintf(written, sizeof written, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday],
                       tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    REQUIRE(http_date_read((struct slice){written, (size_t)len}, &again) && again.us == at.us);
}

/* The same without the date of the answer: only dates may differ by it. */
static void check_retry_after(const struct answer *answer)
{
    wall_us_t until;
    wall_us_t sent = answer->now;
    int64_t wait = http_retry_after_us(answer->retry_after, answer->date, answer->now);
    REQUIRE(wait >= -1);
    if (http_date_read(answer->retry_after, &until)) {
        (void)http_date_read(answer->date, &sent);
        REQUIRE(wait == (until.us > sent.us ? until.us - sent.us : 0));
    } else {
        REQUIRE(wait == http_retry_after_us(answer->retry_after, SLICE_ABSENT, answer->now));
        REQUIRE(wait == INT64_MAX || wait % US_PER_S == 0 || wait == -1);
    }
}

static void check_cleaning(struct slice text)
{
    char out[TEXT_CLEAN_BYTES];
    text_clean(text, out);
    check_text(slice_from_str(out));
    text_clean_page(text, out);
    check_text(slice_from_str(out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct answer answer = answer_read((struct slice){(const char *)data, size});
    struct outcome outcome;
    struct outcome small;
    struct outcome refused;
    json_t *root = answer.encoded || !answer.body.len
                       ? NULL
                       : json_loadb(answer.body.ptr, answer.body.len, JSON_REJECT_DUPLICATES, NULL);
    check_upsert(&answer, root, ARENA_BYTES, &outcome);
    check_upsert(&answer, root, size % 7 * 64, &small); /* memory that runs out changes no outcome */
    check_same(&outcome, &small);
    check_read(&answer, root);
    check_validation(&answer, root, ARENA_BYTES);
    check_validation(&answer, root, size % 7 * 64);
    check_look_up(&answer, root);
    response_read_error(&answer, "disbelieved", &refused);
    check_outcome(&answer, root, &refused, false);
    REQUIRE(!response_has_array(&answer, "contacts") || json_is_array(json_object_get(root, "contacts")));
    json_decref(root);
    check_date(answer.retry_after);
    check_date(answer.date);
    check_retry_after(&answer);
    check_cleaning(answer.body);
    return 0;
}
