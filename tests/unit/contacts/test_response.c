/* Every kind of answer and the outcome it becomes. */
#include "response.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define IDS "\"contact_id\":\"c1\",\"list_contact_id\":\"l1\""
#define OK "{\"success\":true," IDS "}"

/* In the order in which a person reads a row.
 * NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct row {
    int status;
    const char *body;
    enum outcome_class cls;
    const char *code;
    bool maybe_sent;
    const char *message; /* a part of it */
};

static const struct row rows[] = {
    /* believed */
    {200, OK, OUTCOME_ACCEPTED, "", false, ""},
    {201, OK, OUTCOME_ACCEPTED, "", false, ""},
    {202, OK, OUTCOME_ACCEPTED, "", false, ""},
    {299, OK, OUTCOME_ACCEPTED, "", false, ""},
    {200, " \r\n" OK "\n", OUTCOME_ACCEPTED, "", false, ""},
    {200, "{" IDS ",\"success\":true,\"later\":{\"a\":[1]}}", OUTCOME_ACCEPTED, "", false, ""},
    {200,
     "{\"success\":true," IDS
     ",\"is_new_contact\":null,\"journeys_enrolled\":null,\"warnings\":null,\"validation\":null}",
     OUTCOME_ACCEPTED, "", false, ""},
    {200, "{\"success\":true," IDS ",\"error\":\"odd\",\"code\":\"odd\"}", OUTCOME_ACCEPTED, "", false, ""},
    {200, "{\"success\":true," IDS ",\"is_new_contact\":\"yes\"}", OUTCOME_ACCEPTED, "", false, ""},
    {200, "{\"success\":true," IDS ",\"journeys_enrolled\":-1}", OUTCOME_ACCEPTED, "", false, ""},
    /* success said, body not complete or not valid */
    {200, "", OUTCOME_SERVER, "broken_body", true, "HTTP 200 without an explanation"},
    {204, "", OUTCOME_SERVER, "broken_body", true, "HTTP 204"},
    {200, " ", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "{", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "{\"success\":true," IDS, OUTCOME_SERVER, "broken_body", true, ""},
    {200, OK "x", OUTCOME_SERVER, "broken_body", true, ""},
    {200, OK OK, OUTCOME_SERVER, "broken_body", true, ""},
    {200, "\xEF\xBB\xBF" OK, OUTCOME_SERVER, "broken_body", true, ""},
    {200, "null", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "true", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "[]", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "[" OK "]", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "\"ok\"", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "OK", OUTCOME_SERVER, "broken_body", true, "OK"},
    {200, "<html><title>Welcome</title></html>", OUTCOME_SERVER, "broken_body", true, "Welcome"},
    {200, "{\"success\":true,\"success\":true," IDS "}", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "{\"success\":true," IDS ",\"contact_\\u0069d\":\"c2\"}", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "{\"success\":true,\"contact_id\":\"c\\u0000\",\"list_contact_id\":\"l\"}", OUTCOME_SERVER,
     "broken_body", true, ""},
    {200, "{\"success\":true,\"contact_id\":\"\xff\",\"list_contact_id\":\"l\"}", OUTCOME_SERVER,
     "broken_body", true, ""},
    {200, "{\"success\":true,\"contact_id\":\"\\ud800\",\"list_contact_id\":\"l\"}", OUTCOME_SERVER,
     "broken_body", true, ""},
    {200, "{\"success\":true," IDS ",\"n\":99999999999999999999}", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "{\"success\":true," IDS ",}", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "{\"success\":true}", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "{\"success\":true,\"contact_id\":\"c\"}", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "{\"success\":true,\"list_contact_id\":\"l\"}", OUTCOME_SERVER, "broken_body", true, ""},
    {200, "{\"success\":true,\"contact_id\":\"\",\"list_contact_id\":\"l\"}", OUTCOME_SERVER, "broken_body",
     true, ""},
    {200, "{\"success\":true,\"contact_id\":1,\"list_contact_id\":\"l\"}", OUTCOME_SERVER, "broken_body",
     true, ""},
    {200, "{\"success\":true,\"contact_id\":null,\"list_contact_id\":\"l\"}", OUTCOME_SERVER, "broken_body",
     true, ""},
    {200, "{\"success\":true,\"contact_id\":\"c\",\"list_contact_id\":[\"l\"]}", OUTCOME_SERVER,
     "broken_body", true, ""},
    /* success not said */
    {200, "{}", OUTCOME_SERVER, "not_successful", true, ""},
    {200, "{" IDS "}", OUTCOME_SERVER, "not_successful", true, ""},
    {200, "{\"success\":false," IDS "}", OUTCOME_SERVER, "not_successful", true, ""},
    {200, "{\"success\":\"true\"," IDS "}", OUTCOME_SERVER, "not_successful", true, ""},
    {200, "{\"success\":1," IDS "}", OUTCOME_SERVER, "not_successful", true, ""},
    {200, "{\"success\":null," IDS "}", OUTCOME_SERVER, "not_successful", true, ""},
    {200, "{\"Success\":true," IDS "}", OUTCOME_SERVER, "not_successful", true, ""},
    {200, "{\"success\":false,\"error\":\"List is locked\",\"code\":\"list_locked\"}", OUTCOME_SERVER,
     "not_successful", true, "List is locked"},
    /* rejected, with every documented code */
    {400, "{\"error\":\"Phone missing\",\"code\":\"missing_phone_number\"}", OUTCOME_REJECTED,
     "missing_phone_number", false, "Phone missing"},
    {400, "{\"error\":\"x\",\"code\":\"missing_list_number\"}", OUTCOME_REJECTED, "missing_list_number",
     false, "x"},
    {400, "{\"error\":\"x\",\"code\":\"invalid_phone\"}", OUTCOME_REJECTED, "invalid_phone", false, "x"},
    {400, "{\"error\":\"x\",\"code\":\"invalid_list_number\"}", OUTCOME_REJECTED, "invalid_list_number",
     false, "x"},
    {400, "{\"error\":\"x\",\"code\":\"list_not_found\"}", OUTCOME_REJECTED, "list_not_found", false, "x"},
    {400, "{\"error\":\"x\",\"code\":\"not_sendable\"}", OUTCOME_REJECTED, "not_sendable", false, "x"},
    {413, "{\"error\":\"x\",\"code\":\"payload_too_large\"}", OUTCOME_REJECTED, "payload_too_large", false,
     "x"},
    {404, "{\"error\":\"x\",\"code\":\"not_found\"}", OUTCOME_REJECTED, "not_found", false, "x"},
    {400, "{\"error\":\"Bad\",\"code\":\"odd\",\"message\":\"Because of this\"}", OUTCOME_REJECTED, "odd",
     false, "Bad: Because of this"},
    {400, "{\"error\":\"Same\",\"message\":\"Same\"}", OUTCOME_REJECTED, "", false, "Same"},
    {400, "{\"message\":\"Alone\"}", OUTCOME_REJECTED, "", false, "Alone"},
    {400, "{\"error\":\"Bad phone +1 (415) 555-0123 here\",\"code\":\"invalid_phone\"}", OUTCOME_REJECTED,
     "invalid_phone", false, "Bad phone"},
    {400, "", OUTCOME_REJECTED, "", false, "HTTP 400 without an explanation"},
    {400, "<h1>Bad Request</h1>", OUTCOME_REJECTED, "", false, "HTTP 400: Bad Request"},
    {404, "<!doctype html><style>b{}</style><p>Not\n\n found</p><script>x()</script>", OUTCOME_REJECTED, "",
     false, "HTTP 404: Not found"},
    {405, "{\"error\":7}", OUTCOME_REJECTED, "", false, "HTTP 405: {\"error\":7}"},
    {409, "{\"error\":\"x\"}", OUTCOME_REJECTED, "", false, "x"},
    {422, "{\"error\":\"x\",\"code\":\"later_code_9\"}", OUTCOME_REJECTED, "later_code_9", false, "x"},
    {499, "{}", OUTCOME_REJECTED, "", false, ""},
    /* codes that are none */
    {400, "{\"error\":\"x\",\"code\":\"Bad Code\"}", OUTCOME_REJECTED, "", false, "x"},
    {400, "{\"error\":\"x\",\"code\":\"UPPER\"}", OUTCOME_REJECTED, "", false, "x"},
    {400, "{\"error\":\"x\",\"code\":\"\"}", OUTCOME_REJECTED, "", false, "x"},
    {400, "{\"error\":\"x\",\"code\":400}", OUTCOME_REJECTED, "", false, "x"},
    {400, "{\"error\":\"x\",\"code\":null}", OUTCOME_REJECTED, "", false, "x"},
    {400, "{\"error\":\"x\",\"code\":\"a-b\"}", OUTCOME_REJECTED, "", false, "x"},
    {400, "{\"error\":\"x\",\"code\":\"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg\"}",
     OUTCOME_REJECTED, "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg", false, "x"},
    {400, "{\"error\":\"x\",\"code\":\"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg\"}",
     OUTCOME_REJECTED, "", false, "x"},
    /* redirects */
    {301, "", OUTCOME_MISROUTED, "redirected", false, "base_url"},
    {302, "{\"error\":\"x\",\"code\":\"y\"}", OUTCOME_MISROUTED, "redirected", false, "base_url"},
    {304, "", OUTCOME_MISROUTED, "redirected", false, "base_url"},
    {307, "", OUTCOME_MISROUTED, "redirected", false, "base_url"},
    {399, "", OUTCOME_MISROUTED, "redirected", false, "base_url"},
    /* for everybody */
    {401, "{\"error\":\"Bad key\",\"code\":\"unauthorized\"}", OUTCOME_UNAUTHORIZED, "unauthorized", false,
     "Bad key"},
    {401, "{\"error\":\"Bad key\",\"code\":\"missing_api_key\"}", OUTCOME_UNAUTHORIZED, "missing_api_key",
     false, "Bad key"},
    {401, "", OUTCOME_UNAUTHORIZED, "", false, "HTTP 401"},
    {403, "{\"error\":\"Account is suspended\"}", OUTCOME_UNAUTHORIZED, "", false, "Account is suspended"},
    {402, "{\"error\":\"x\",\"code\":\"no_billing_config\"}", OUTCOME_BILLING, "no_billing_config", false,
     "x"},
    {402, "{\"error\":\"x\",\"code\":\"no_payment_method\"}", OUTCOME_BILLING, "no_payment_method", false,
     "x"},
    {402, "{\"error\":\"x\",\"code\":\"payment_failed\"}", OUTCOME_BILLING, "payment_failed", false, "x"},
    {402, "{\"error\":\"x\",\"code\":\"suspended\"}", OUTCOME_BILLING, "suspended", false, "x"},
    {429, "{\"error\":\"x\",\"code\":\"rate_limited\"}", OUTCOME_THROTTLED, "rate_limited", false, "x"},
    {429, "", OUTCOME_THROTTLED, "", false, "HTTP 429"},
    {503, "{\"error\":\"x\",\"code\":\"provider_error\"}", OUTCOME_PROVIDER, "provider_error", false, "x"},
    {503, "{\"error\":\"x\"}", OUTCOME_PROVIDER, "", false, "x"},
    {503, "<h1>503 Service Unavailable</h1>", OUTCOME_PROVIDER, "", true, "503 Service Unavailable"},
    {503, "", OUTCOME_PROVIDER, "", true, "HTTP 503"},
    /* the server's own trouble */
    {500, "{\"error\":\"x\",\"code\":\"internal_error\"}", OUTCOME_SERVER, "internal_error", true, "x"},
    {500, "", OUTCOME_SERVER, "", true, "HTTP 500"},
    {501, "", OUTCOME_SERVER, "", true, ""},
    {502, "<html><body><h1>502 Bad Gateway</h1>nginx</body></html>", OUTCOME_SERVER, "", true,
     "502 Bad Gateway nginx"},
    {504, "", OUTCOME_SERVER, "", true, ""},
    {408, "", OUTCOME_SERVER, "", true, ""},
    {425, "", OUTCOME_SERVER, "", true, ""},
    {599, "", OUTCOME_SERVER, "", true, ""},
    {600, OK, OUTCOME_SERVER, "", true, ""},
    {999, "", OUTCOME_SERVER, "", true, ""},
    {100, "", OUTCOME_SERVER, "", true, ""},
    {199, OK, OUTCOME_SERVER, "", true, ""},
    {500, OK, OUTCOME_SERVER, "", true, ""},
    {400, OK, OUTCOME_REJECTED, "", false, ""},
};

struct reading {
    struct arena arena;
    struct signup signup;
    struct outcome outcome;
    struct upsert_reply reply;
};

static void read_answer(struct reading *reading, const struct answer *answer, size_t arena_bytes)
{
    memset(reading, 0, sizeof *reading);
    memset(&reading->outcome, 0x55, sizeof reading->outcome);
    arena_init(&reading->arena, arena_bytes);
    response_read_upsert(answer, &reading->arena, &reading->signup, &reading->outcome, &reading->reply);
}

static void read_body(struct reading *reading, int status, const char *body)
{
    const struct answer answer = {.status = status, .body = slice_from_str(body)};
    read_answer(reading, &answer, 1 << 20);
}

static void every_answer_has_its_outcome(void **state)
{
    (void)state;
    assert_true(sizeof rows / sizeof rows[0] >= 80);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reading r;
        const struct row *row = &rows[i];
        read_body(&r, row->status, row->body);
        if (r.outcome.cls != row->cls || strcmp(r.outcome.code, row->code) != 0 ||
            r.outcome.maybe_sent != row->maybe_sent || !strstr(r.outcome.message, row->message) ||
            r.outcome.http_status != row->status)
            fail_msg("%d %s: %s \"%s\" maybe_sent %d: %s", row->status, row->body,
                     outcome_class_str(r.outcome.cls), r.outcome.code, r.outcome.maybe_sent,
                     r.outcome.message);
        assert_int_equal(r.outcome.retry_after_us, -1);
        assert_int_equal(r.outcome.duration_us, 0);
        assert_int_equal(slice_present(r.reply.contact_id), row->cls == OUTCOME_ACCEPTED);
        assert_true((r.outcome.message[0] == '\0') == (row->cls == OUTCOME_ACCEPTED));
        assert_null(strstr(r.outcome.message, "555-0123"));
        if (row->cls != OUTCOME_ACCEPTED)
            assert_null(r.signup.warnings);
        arena_fini(&r.arena);
    }
}

static void the_reply_is_read_whole(void **state)
{
    struct reading r;
    (void)state;
    read_body(
        &r, 201,
        "{\"success\":true,\"contact_id\":\"abc\",\"list_contact_id\":\"d\\u00e9f\",\"is_new_contact\":false,"
        "\"is_new_list_contact\":true,\"journeys_enrolled\":2,"
        "\"note\":\"\\\"validation\\\":{\\\\\",\"x\":{\"validation\":{\"no\":1}},\"y\":[\"}\",{\"a\":[]}],"
        "\"validation\" : {\"phone\":\"+14155550123\",\"cost\":0.003,\"deep\":[{\"a\":\"}]\\\"\"}]} }");
    assert_int_equal(r.outcome.cls, OUTCOME_ACCEPTED);
    assert_true(slice_is(r.reply.contact_id, "abc"));
    assert_true(slice_is(r.reply.list_contact_id, "d\xC3\xA9"
                                                  "f"));
    assert_false(r.reply.is_new_contact);
    assert_true(r.reply.is_new_list_contact);
    assert_int_equal(r.reply.journeys_enrolled, 2);
    assert_true(slice_is(r.reply.validation,
                         "{\"phone\":\"+14155550123\",\"cost\":0.003,\"deep\":[{\"a\":\"}]\\\"\"}]}"));
    assert_null(r.signup.warnings);
    arena_fini(&r.arena);
}

static void unreadable_parts_warn_and_do_not_undo_a_success(void **state)
{
    static const char *const bodies[] = {
        "{\"success\":true," IDS ",\"is_new_contact\":1}",
        "{\"success\":true," IDS ",\"is_new_list_contact\":\"true\"}",
        "{\"success\":true," IDS ",\"journeys_enrolled\":1.5}",
        "{\"success\":true," IDS ",\"journeys_enrolled\":2147483648}",
        "{\"success\":true," IDS ",\"journeys_enrolled\":-1}",
        "{\"success\":true," IDS ",\"validation\":[]}",
        "{\"success\":true," IDS ",\"v\\u0061lidation\":{}}",
        "{\"success\":true," IDS ",\"warnings\":\"one\"}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        struct reading r;
        read_body(&r, 200, bodies[i]);
        assert_int_equal(r.outcome.cls, OUTCOME_ACCEPTED);
        assert_non_null(r.signup.warnings);
        assert_null(r.signup.warnings->next);
        assert_int_equal(r.signup.warnings->source, WARNING_WORKER);
        assert_true(slice_is(r.signup.warnings->code, "reply_field_unreadable"));
        assert_false(r.reply.is_new_contact);
        assert_int_equal(r.reply.journeys_enrolled, 0);
        assert_false(slice_present(r.reply.validation));
        arena_fini(&r.arena);
    }
}

static void warnings_are_classified_masked_and_capped(void **state)
{
    struct reading r;
    char body[64 * 1024];
    int len;
    (void)state;
    read_body(&r, 200,
              "{\"success\":true," IDS ",\"warnings\":["
              "\"The list +1 415-555-0123 has active Welcome Journeys\",\"set USE_JOURNEYS\",\"Something "
              "else\",7,null,"
              "[\"no\"],\"\"]}");
    static const char *const codes[] = {"journeys_not_used", "journeys_not_used", "api_warning",
                                        "api_warning"};
    const struct warning *warning = r.signup.warnings;
    for (size_t i = 0; i < 4; i++, warning = warning->next) {
        assert_non_null(warning);
        assert_int_equal(warning->source, WARNING_API);
        assert_true(slice_is(warning->code, codes[i]));
        assert_null(memmem(warning->message.ptr, warning->message.len, "555-01", 6));
    }
    assert_null(warning);
    arena_fini(&r.arena);

    len = snprintf(body, sizeof body, "{\"success\":true," IDS ",\"warnings\":[\"");
    for (int i = 0; i < 3000; i++)
        len += snprintf(body + len, sizeof body - (size_t)len, "\xC3\xA9 long ");
    len += snprintf(body + len, sizeof body - (size_t)len, "\"");
    for (int i = 0; i < 60; i++)
        len += snprintf(body + len, sizeof body - (size_t)len, ",\"w%d\"", i);
    snprintf(body + len, sizeof body - (size_t)len, "]}");
    read_body(&r, 200, body);
    assert_int_equal(r.outcome.cls, OUTCOME_ACCEPTED);
    size_t count = 0;
    for (warning = r.signup.warnings; warning; warning = warning->next) {
        assert_true(warning->message.len <= 500);
        assert_int_equal(warning->source, count < RESPONSE_WARNINGS_MAX ? WARNING_API : WARNING_WORKER);
        count++;
    }
    assert_int_equal(count, RESPONSE_WARNINGS_MAX + 1);
    arena_fini(&r.arena);
}

/* Wordings that mean the same to a reader, and some that do not. */
static void journeys_that_were_missed_are_told_from_other_warnings(void **state)
{
    static const struct {
        const char *text;
        bool asked; /* use_journeys of the call */
        const char *code;
    } warnings[] = {
        {"List has active Welcome Journeys but use_journeys was not set", false, "journeys_not_used"},
        {"This list has 2 active Welcome Journeys. Set `use_journeys: true` to enrol contacts.", false,
         "journeys_not_used"},
        {"use_journeys is false", false, "journeys_not_used"},
        {"Missing useJourneys flag", false, "journeys_not_used"},
        {"USE-JOURNEYS not set", false, "journeys_not_used"},
        {"Use journeys to welcome new contacts", false, "journeys_not_used"},
        {"A welcome journey exists for this list", false, "journeys_not_used"},
        {"WELCOME_JOURNEY configured, contact not enrolled", false, "journeys_not_used"},
        {"welcome-journeys: 1 active", false, "journeys_not_used"},
        {"Welcome\\n  Journeys are active", false, "journeys_not_used"},
        {"Welcome \\t journeys", false, "journeys_not_used"},
        {"Welcome\\u00a0Journeys", false, "journeys_not_used"},
        {"The list has an active journey that was not used", false, "journeys_not_used"},
        {"3 active journeys skipped", false, "journeys_not_used"},
        {"usejourneys", false, "journeys_not_used"},
        {"x", false, "api_warning"},
        {"", false, "api_warning"},
        {"List has no active Welcome Journeys", false, "api_warning"},
        {"There is no Welcome Journey on this list", false, "api_warning"},
        {"No active journeys", false, "api_warning"},
        {"use_journeys was true but the list has no active Welcome Journeys", true, "api_warning"},
        {"Contact is in the Welcome Journey already", true, "api_warning"},
        {"Skipped Welcome Journeys: contact exists (skip_journey_if_exists)", true, "api_warning"},
        {"List has active Welcome Journeys but use_journeys was not set", true, "api_warning"},
        {"Contact has unsubscribed from this list", false, "api_warning"},
        {"signup_date is older than a year", false, "api_warning"},
        {"The welcome message was not sent; the journey of a thousand miles", false, "api_warning"},
        {"because journeys", false, "api_warning"},
        {"use", false, "api_warning"},
        {"welcome journe", false, "api_warning"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof warnings / sizeof warnings[0]; i++) {
        char body[512];
        struct reading r = {.signup = {.use_journeys = warnings[i].asked}};
        int len =
            snprintf(body, sizeof body, "{\"success\":true," IDS ",\"warnings\":[\"%s\"]}", warnings[i].text);
        const struct answer answer = {.status = 200, .body = {body, (size_t)len}};
        arena_init(&r.arena, 1 << 16);
        response_read_upsert(&answer, &r.arena, &r.signup, &r.outcome, &r.reply);
        assert_int_equal(r.outcome.cls, OUTCOME_ACCEPTED);
        assert_non_null(r.signup.warnings);
        if (!slice_is(r.signup.warnings->code, warnings[i].code))
            fail_msg("\"%s\" is %.*s", warnings[i].text, (int)r.signup.warnings->code.len,
                     r.signup.warnings->code.ptr);
        arena_fini(&r.arena);
    }
}

static void the_cost_of_a_validation_is_read(void **state)
{
    static const struct {
        const char *validation;
        int64_t cost;
        bool unreadable;
    } validations[] = {
        {"{\"disposition\":\"ok\",\"cost\":0.003,\"cached\":false}", 3000, false},
        {"{\"disposition\":\"ok\",\"cost\":0,\"cached\":true}", 0, false},
        {"{\"cost\":0.29}", 290000, false},
        {"{\"cost\":10}", 10000000, false},
        {"{\"cost\":10.5}", 0, false},
        {"{\"cost\":-1}", 0, false},
        {"{\"cost\":1e300}", 0, false},
        {"{\"cost\":\"0.003\"}", 0, false},
        {"{}", 0, false},
        {"null", 0, false},
        {"[{\"cost\":0.003}]", 0, true},
        {"0.003", 0, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof validations / sizeof validations[0]; i++) {
        char body[256];
        struct reading r;
        snprintf(body, sizeof body, "{\"success\":true," IDS ",\"cost\":7,\"validation\":%s}",
                 validations[i].validation);
        read_body(&r, 200, body);
        if (r.reply.validation_cost != validations[i].cost ||
            (r.signup.warnings != NULL) != validations[i].unreadable)
            fail_msg("%s: %lld", validations[i].validation, (long long)r.reply.validation_cost);
        arena_fini(&r.arena);
    }
    struct reading full; /* the text is lost with the memory, the money is not */
    const struct answer answer = {
        .status = 200, .body = SLICE_LITERAL("{\"success\":true," IDS ",\"validation\":{\"cost\":0.003}}")};
    read_answer(&full, &answer, 0);
    assert_int_equal(full.reply.validation_cost, 3000);
    assert_false(slice_present(full.reply.validation));
    arena_fini(&full.arena);
}

static void a_full_arena_does_not_undo_a_success(void **state)
{
    struct reading r;
    const struct answer answer = {.status = 200,
                                  .body = SLICE_LITERAL("{\"success\":true," IDS ",\"warnings\":[\"w\"]}")};
    (void)state;
    read_answer(&r, &answer, 0);
    assert_int_equal(r.outcome.cls, OUTCOME_ACCEPTED);
    assert_false(slice_present(r.reply.contact_id));
    assert_null(r.signup.warnings);
    arena_fini(&r.arena);
}

static void encoded_bodies_are_not_read(void **state)
{
    struct reading r;
    const struct answer ok = {.status = 200, .body = SLICE_LITERAL(OK), .encoded = true};
    const struct answer bad = {
        .status = 400, .body = SLICE_LITERAL("{\"error\":\"x\",\"code\":\"y\"}"), .encoded = true};
    (void)state;
    read_answer(&r, &ok, 1 << 16);
    assert_int_equal(r.outcome.cls, OUTCOME_SERVER);
    assert_string_equal(r.outcome.code, "broken_body");
    assert_true(r.outcome.maybe_sent);
    arena_fini(&r.arena);
    read_answer(&r, &bad, 1 << 16);
    assert_int_equal(r.outcome.cls, OUTCOME_REJECTED);
    assert_string_equal(r.outcome.code, "");
    arena_fini(&r.arena);
}

static void retry_after_reaches_the_outcome(void **state)
{
    struct reading r;
    struct answer answer = {.status = 429,
                            .body = SLICE_LITERAL("{\"error\":\"x\"}"),
                            .retry_after = SLICE_LITERAL("Sun, 06 Nov 1994 08:50:07 GMT"),
                            .date = SLICE_LITERAL("Sun, 06 Nov 1994 08:49:37 GMT")};
    (void)state;
    read_answer(&r, &answer, 1 << 16);
    assert_int_equal(r.outcome.retry_after_us, 30 * US_PER_S);
    arena_fini(&r.arena);
    answer.date = SLICE_ABSENT; /* then against our own clock */
    answer.now = (wall_us_t){INT64_C(784111777) * US_PER_S + 10 * US_PER_S};
    read_answer(&r, &answer, 1 << 16);
    assert_int_equal(r.outcome.retry_after_us, 20 * US_PER_S);
    arena_fini(&r.arena);
    answer.status = 503;
    answer.retry_after = SLICE_LITERAL("7");
    read_answer(&r, &answer, 1 << 16);
    assert_int_equal(r.outcome.retry_after_us, 7 * US_PER_S);
    arena_fini(&r.arena);
}

static void redirect_messages_keep_secrets(void **state)
{
    struct reading r;
    struct answer answer = {.status = 302,
                            .location = SLICE_LITERAL("https://other.example/login?token=abc#f"),
                            .body = SLICE_LITERAL("")};
    (void)state;
    read_answer(&r, &answer, 1 << 16);
    assert_non_null(strstr(r.outcome.message, "https://other.example/login;"));
    assert_null(strstr(r.outcome.message, "token"));
    arena_fini(&r.arena);
    answer.location = SLICE_LITERAL("https://user:word@other.example/");
    read_answer(&r, &answer, 1 << 16);
    assert_null(strstr(r.outcome.message, "word"));
    arena_fini(&r.arena);
}

/* Messages become text columns and header values: whatever bytes a server sends, they must be clean, bounded
 * UTF-8. */
static void messages_are_always_clean(void **state)
{
    unsigned seed = 12345;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        static const char *const pieces[] = {"{\"error\":\"",
                                             "\",\"code\":\"",
                                             "<b>",
                                             "</b>",
                                             "<style>",
                                             "\"}",
                                             "+1 415 555 0123",
                                             "\xC3",
                                             "\xA9",
                                             "\xF0\x9F",
                                             "\x98\x80",
                                             "\\u00",
                                             "\xED\xA0\x80",
                                             "\n",
                                             "{",
                                             "}",
                                             "["};
        char body[700];
        size_t len = 0;
        struct reading r;
        for (int i = 0; i < 40 && len + 20 < sizeof body; i++) {
            seed = seed * 1103515245U + 12345U;
            unsigned pick = (seed >> 16) % 24;
            if (pick < sizeof pieces / sizeof pieces[0]) {
                memcpy(body + len, pieces[pick], strlen(pieces[pick]));
                len += strlen(pieces[pick]);
            } else {
                body[len++] = (char)(seed >> 8);
            }
        }
        const struct answer answer = {.status = 200 + (int)(seed % 400), .body = {body, len}};
        read_answer(&r, &answer, 1 << 16);
        json_t *text = json_string(r.outcome.message); /* NULL for invalid UTF-8 */
        assert_non_null(text);
        json_decref(text);
        for (const char *c = r.outcome.message; *c; c++)
            assert_true((unsigned char)*c >= 0x20 && *c != 0x7F);
        assert_null(strstr(r.outcome.message, "415 555"));
        arena_fini(&r.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_has_its_outcome),
        cmocka_unit_test(the_reply_is_read_whole),
        cmocka_unit_test(unreadable_parts_warn_and_do_not_undo_a_success),
        cmocka_unit_test(warnings_are_classified_masked_and_capped),
        cmocka_unit_test(journeys_that_were_missed_are_told_from_other_warnings),
        cmocka_unit_test(the_cost_of_a_validation_is_read),
        cmocka_unit_test(a_full_arena_does_not_undo_a_success),
        cmocka_unit_test(encoded_bodies_are_not_read),
        cmocka_unit_test(retry_after_reaches_the_outcome),
        cmocka_unit_test(redirect_messages_keep_secrets),
        cmocka_unit_test(messages_are_always_clean),
    };
    return cmocka_run_group_tests_name("contacts: response", tests, NULL, NULL);
}
