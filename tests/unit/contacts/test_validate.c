/* Phones validated: what is sent and where to, what of an answer is believed, what it cost, and that every
 * fault of an answer is as honest as an upsert's: a look-up may have been paid for. */
#include "answer_faults.h"

#include "response.h"

#include <jansson.h>
#include <unistd.h>

#define PHONE "+14155550100"
#define MORE                                                                                                 \
    "\"valid\":true,\"line_type\":\"fixed line\",\"carrier\":\"AT&T\",\"carrier_raw\":\"AT&T Mobility\","    \
    "\"ported\":false,\"country\":\"US\",\"state\":\"CA\",\"city\":\"San Jos\xC3\xA9\",\"on_dnc\":false"
#define WHOLE                                                                                                \
    "{\"phone\":\"" PHONE "\"," MORE ",\"disposition\":\"unreachable\",\"cost\":0.003,\"cached\":false}"
#define LEAST "{\"disposition\":\"ok\"}"
#define SAID(more) "{\"disposition\":\"ok\"," more "}"

/* ------------------------------------------------------------------ what is believed */

/* In the order in which a person reads a row.
 * NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct row {
    int status;
    const char *body;
    enum outcome_class cls;
    const char *code;
    bool maybe_sent;
    const char *disposition;
    int64_t cost;
    const char *validation; /* written anew; NULL: the same as the body */
};

static const struct row rows[] = {
    {200, WHOLE, OUTCOME_ACCEPTED, "", false, "unreachable", 3000, NULL},
    {201, LEAST, OUTCOME_ACCEPTED, "", false, "ok", 0, NULL},
    {200, " {\n \"cached\" : true , \"cost\" : 0 ,\t\"disposition\" : \"risky\" } \r\n", OUTCOME_ACCEPTED, "",
     false, "risky", 0, "{\"disposition\":\"risky\",\"cost\":0,\"cached\":true}"},
    {200, "{\"disposition\":\"invalid\"}", OUTCOME_ACCEPTED, "", false, "invalid", 0, NULL},
    {200, "{\"disposition\":\"unknown\"}", OUTCOME_ACCEPTED, "", false, "unknown", 0, NULL},
    {200, "{\"disposition\":\"do-not-call list 2\"}", OUTCOME_ACCEPTED, "", false, "do-not-call list 2", 0,
     NULL},
    {200, "{\"disposition\":\"aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd\"}", OUTCOME_ACCEPTED, "", false,
     "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd", 0, NULL},
    {200, "{\"disp\\u006fsition\":\"ok\",\"c\\u006fst\":0.003}", OUTCOME_ACCEPTED, "", false, "ok", 3000,
     "{\"disposition\":\"ok\",\"cost\":0.003}"},
    /* wrong types and what is not documented: left out */
    {200, SAID("\"phone\":null"), OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    {200, SAID("\"valid\":1,\"ported\":\"no\",\"on_dnc\":null,\"cached\":0"), OUTCOME_ACCEPTED, "", false,
     "ok", 0, LEAST},
    {200, SAID("\"carrier\":7,\"city\":{},\"state\":[\"CA\"],\"country\":true,\"line_type\":null"),
     OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    {200, SAID("\"score\":7,\"Disposition\":\"risky\",\"nested\":{\"cost\":9}"), OUTCOME_ACCEPTED, "", false,
     "ok", 0, LEAST},
    {200, SAID("\"carrier\":\"a\\u0001\\\"\\\\\\/\\n\""), OUTCOME_ACCEPTED, "", false, "ok", 0,
     "{\"carrier\":\"a\\u0001\\\"\\\\/\\n\",\"disposition\":\"ok\"}"},
    {200, SAID("\"error\":\"x\",\"code\":\"y\""), OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    /* costs: never a reason to disbelieve */
    {200, SAID("\"cost\":\"0.003\""), OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    {200, SAID("\"cost\":null"), OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    {200, SAID("\"cost\":true"), OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    {200, SAID("\"cost\":-0.003"), OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    {200, SAID("\"cost\":-1"), OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    {200, SAID("\"cost\":10.000001"), OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    {200, SAID("\"cost\":11"), OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    {200, SAID("\"cost\":1e300"), OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    {200, SAID("\"cost\":9223372036854775807"), OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    {200, SAID("\"cost\":-9223372036854775808"), OUTCOME_ACCEPTED, "", false, "ok", 0, LEAST},
    {200, SAID("\"cost\":10"), OUTCOME_ACCEPTED, "", false, "ok", 10000000, SAID("\"cost\":10")},
    {200, SAID("\"cost\":1.0"), OUTCOME_ACCEPTED, "", false, "ok", 1000000, SAID("\"cost\":1")},
    {200, SAID("\"cost\":3e-3"), OUTCOME_ACCEPTED, "", false, "ok", 3000, SAID("\"cost\":0.003")},
    {200, SAID("\"cost\":0.0030000000000000001"), OUTCOME_ACCEPTED, "", false, "ok", 3000,
     SAID("\"cost\":0.003")},
    {200, SAID("\"cost\":0.29"), OUTCOME_ACCEPTED, "", false, "ok", 290000, SAID("\"cost\":0.29")},
    {200, SAID("\"cost\":1.005"), OUTCOME_ACCEPTED, "", false, "ok", 1005000, SAID("\"cost\":1.005")},
    {200, SAID("\"cost\":0.000001"), OUTCOME_ACCEPTED, "", false, "ok", 1, SAID("\"cost\":0.000001")},
    {200, SAID("\"cost\":1e-400"), OUTCOME_ACCEPTED, "", false, "ok", 0, SAID("\"cost\":0")},
    {200, SAID("\"cost\":-0.0"), OUTCOME_ACCEPTED, "", false, "ok", 0, SAID("\"cost\":0")},
    {200, SAID("\"cost\":0.0000004"), OUTCOME_ACCEPTED, "", false, "ok", 0, SAID("\"cost\":0")},
    /* somebody else's */
    {200, "{\"phone\":\"+14155550101\",\"disposition\":\"ok\"}", OUTCOME_SERVER, "wrong_phone", true, NULL, 0,
     NULL},
    {200, "{\"phone\":\"4155550100\",\"disposition\":\"ok\"}", OUTCOME_SERVER, "wrong_phone", true, NULL, 0,
     NULL},
    {200, "{\"phone\":\"\",\"disposition\":\"ok\"}", OUTCOME_SERVER, "wrong_phone", true, NULL, 0, NULL},
    {200, "{\"phone\":14155550100,\"disposition\":\"ok\"}", OUTCOME_SERVER, "broken_body", true, NULL, 0,
     NULL},
    {200, "{\"phone\":[\"" PHONE "\"],\"disposition\":\"ok\"}", OUTCOME_SERVER, "broken_body", true, NULL, 0,
     NULL},
    /* no disposition */
    {200, "{}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"phone\":\"" PHONE "\"," MORE "}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":\"\"}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":null}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":true}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":[\"ok\"]}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":\"<b>ok</b>\"}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":\"ok\\n\"}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":\"ok\\u0000\"}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":\"call 4155550\"}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":\"aaaaaaaaaabbbbbbbbbbccccccccccdddddddddde\"}", OUTCOME_SERVER, "broken_body",
     true, NULL, 0, NULL},
    {200, "{\"validation\":" WHOLE "}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    /* no JSON object, or not a whole one */
    {200, "", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {204, "", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "[" WHOLE "]", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "null", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "\"ok\"", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, WHOLE "x", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, WHOLE WHOLE, OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":\"ok\"", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":\"ok\",\"disposition\":\"ok\"}", OUTCOME_SERVER, "broken_body", true, NULL, 0,
     NULL},
    {200, "{\"disposition\":\"ok\",\"cost\":1e999}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":\"ok\",\"cost\":NaN}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "{\"disposition\":\"ok\",\"city\":\"\xff\"}", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    {200, "<html>It works!</html>", OUTCOME_SERVER, "broken_body", true, NULL, 0, NULL},
    /* what the API refuses (contacts-api.md section 2) */
    {400, "{\"error\":\"x\",\"code\":\"missing_phone\"}", OUTCOME_REJECTED, "missing_phone", false, NULL, 0,
     NULL},
    {400, "{\"error\":\"x\",\"code\":\"invalid_phone\"}", OUTCOME_REJECTED, "invalid_phone", false, NULL, 0,
     NULL},
    {400, "{\"error\":\"x\",\"code\":\"invalid_force\"}", OUTCOME_REJECTED, "invalid_force", false, NULL, 0,
     NULL},
    {401, "{\"error\":\"x\",\"code\":\"missing_api_key\"}", OUTCOME_UNAUTHORIZED, "missing_api_key", false,
     NULL, 0, NULL},
    {401, "{\"error\":\"x\",\"code\":\"invalid_api_key\"}", OUTCOME_UNAUTHORIZED, "invalid_api_key", false,
     NULL, 0, NULL},
    {403, "{\"error\":\"Account is suspended\"}", OUTCOME_UNAUTHORIZED, "", false, NULL, 0, NULL},
    {402, "{\"error\":\"x\",\"code\":\"no_billing_config\"}", OUTCOME_BILLING, "no_billing_config", false,
     NULL, 0, NULL},
    {402, "{\"error\":\"x\",\"code\":\"no_payment_method\"}", OUTCOME_BILLING, "no_payment_method", false,
     NULL, 0, NULL},
    {402, "{\"error\":\"x\",\"code\":\"payment_failed\"}", OUTCOME_BILLING, "payment_failed", false, NULL, 0,
     NULL},
    {402, "{\"error\":\"x\",\"code\":\"suspended\"}", OUTCOME_BILLING, "suspended", false, NULL, 0, NULL},
    {429, "{\"error\":\"x\",\"code\":\"rate_limited\"}", OUTCOME_THROTTLED, "rate_limited", false, NULL, 0,
     NULL},
    {503, "{\"error\":\"x\",\"code\":\"provider_error\"}", OUTCOME_PROVIDER, "provider_error", false, NULL, 0,
     NULL},
    {503, "<h1>503</h1>", OUTCOME_PROVIDER, "", true, NULL, 0, NULL},
    {500, "{\"error\":\"x\",\"code\":\"internal_error\"}", OUTCOME_SERVER, "internal_error", true, NULL, 0,
     NULL},
    {502, "", OUTCOME_SERVER, "", true, NULL, 0, NULL},
    {404, "{\"error\":\"x\",\"code\":\"not_found\"}", OUTCOME_REJECTED, "not_found", false, NULL, 0, NULL},
    {413, "", OUTCOME_REJECTED, "", false, NULL, 0, NULL},
    {307, WHOLE, OUTCOME_MISROUTED, "redirected", false, NULL, 0, NULL},
    {500, WHOLE, OUTCOME_SERVER, "", true, NULL, 0, NULL},
    {199, WHOLE, OUTCOME_SERVER, "", true, NULL, 0, NULL},
    {999, "", OUTCOME_SERVER, "", true, NULL, 0, NULL},
};

/* Everything is preset to what no answer gives: what is not filled shows. */
static void read_answer(struct validate_call *call, struct arena *arena, const struct answer *answer)
{
    memset(call, 0x55, sizeof *call);
    call->phone_number = SLICE_LITERAL(PHONE);
    call->arena = arena;
    response_read_validation(answer, call);
}

static bool says(const struct validate_call *call, const struct row *row)
{
    if (!row->disposition)
        return !slice_present(call->disposition) && !slice_present(call->validation) && call->cost == 0;
    return slice_is(call->disposition, row->disposition) && call->cost == row->cost &&
           slice_is(call->validation, row->validation ? row->validation : row->body);
}

static void every_answer_has_its_outcome(void **state)
{
    (void)state;
    assert_true(sizeof rows / sizeof rows[0] >= 80);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        const struct answer answer = {.status = row->status, .body = slice_from_str(row->body)};
        struct validate_call call;
        struct arena arena;
        arena_init(&arena, 1 << 16);
        read_answer(&call, &arena, &answer);
        if (call.outcome.cls != row->cls || strcmp(call.outcome.code, row->code) != 0 || !says(&call, row) ||
            call.outcome.maybe_sent != row->maybe_sent || call.outcome.http_status != row->status ||
            call.outcome.duration_us != 0 || call.outcome.retry_after_us != -1)
            fail_msg("row %zu (%d %s): %s %s, maybe_sent %d, cost %lld, %.*s: %s", i, row->status, row->body,
                     outcome_class_str(call.outcome.cls), call.outcome.code, call.outcome.maybe_sent,
                     (long long)call.cost, (int)call.validation.len,
                     slice_present(call.validation) ? call.validation.ptr : "", call.outcome.message);
        assert_int_equal(call.outcome.message[0] == '\0', row->cls == OUTCOME_ACCEPTED);
        assert_null(strstr(call.outcome.message, "5550100"));
        arena_fini(&arena);
    }
}

/* Every price that can be written with six places, by steps that meet all last digits. */
static void no_price_is_off_by_a_millionth(void **state)
{
    (void)state;
    for (int64_t cost = 0; cost <= 10000000; cost += 97) {
        char body[96];
        struct validate_call call;
        struct arena arena;
        int len = snprintf(body, sizeof body, "{\"disposition\":\"ok\",\"cost\":%lld.%06lld}",
                           (long long)(cost / 1000000), (long long)(cost % 1000000));
        const struct answer answer = {.status = 200, .body = {body, (size_t)len}};
        arena_init(&arena, 1 << 16);
        read_answer(&call, &arena, &answer);
        if (call.cost != cost)
            fail_msg("%s: %lld", body, (long long)call.cost);
        json_t *again = json_loadb(call.validation.ptr, call.validation.len, 0, NULL);
        assert_true(json_number_value(json_object_get(again, "cost")) ==
                    strtod(strstr(body, "cost") + 6, NULL));
        json_decref(again);
        arena_fini(&arena);
    }
}

static void long_texts_are_left_out(void **state)
{
    static char body[40000];
    struct validate_call call;
    struct arena arena;
    (void)state;
    int len = snprintf(
        body, sizeof body,
        "{\"disposition\":\"ok\",\"carrier\":\"%0512d\",\"city\":\"%0513d\",\"x\":\"%030000d\"}", 1, 2, 3);
    const struct answer answer = {.status = 200, .body = {body, (size_t)len}};
    arena_init(&arena, 1 << 16);
    read_answer(&call, &arena, &answer);
    assert_int_equal(call.outcome.cls, OUTCOME_ACCEPTED);
    assert_non_null(memmem(call.validation.ptr, call.validation.len, "carrier", 7));
    assert_null(memmem(call.validation.ptr, call.validation.len, "city", 4));
    assert_true(call.validation.len < 600);
    arena_fini(&arena);
}

/* Without memory there is no disposition to decide by: the call is made again, and is then free. */
static void a_full_arena_is_no_answer(void **state)
{
    const struct answer answer = {.status = 200, .body = SLICE_LITERAL(WHOLE)};
    struct validate_call call;
    struct arena arena;
    (void)state;
    arena_init(&arena, 0);
    read_answer(&call, &arena, &answer);
    assert_int_equal(call.outcome.cls, OUTCOME_TRANSPORT);
    assert_string_equal(call.outcome.code, "client_failed");
    assert_true(call.outcome.maybe_sent);
    assert_false(slice_present(call.validation) || slice_present(call.disposition) || call.cost);
}

static void headers_count_too(void **state)
{
    struct validate_call call;
    struct arena arena;
    struct answer answer = {.status = 429,
                            .body = SLICE_LITERAL("{\"error\":\"x\",\"code\":\"rate_limited\"}"),
                            .retry_after = SLICE_LITERAL("7")};
    (void)state;
    arena_init(&arena, 1 << 16);
    read_answer(&call, &arena, &answer);
    assert_int_equal(call.outcome.retry_after_us, 7 * US_PER_S);
    answer = (struct answer){.status = 200, .body = SLICE_LITERAL(WHOLE), .encoded = true};
    read_answer(&call, &arena, &answer);
    assert_string_equal(call.outcome.code, "broken_body");
    arena_fini(&arena);
}

/* ------------------------------------------------------------------ on the wire */

struct test_validate {
    struct validate_call call;
    struct arena arena;
    int done;
    bool inside_submit;
};

static void validate_done(struct validate_call *call)
{
    struct test_validate *test = call->owner;
    assert_false(test->inside_submit);
    test->done++;
}

static enum port_status validate_submit(struct world *world, struct test_validate *test, struct slice phone,
                                        bool force, struct slice trace)
{
    memset(test, 0, sizeof *test);
    arena_init(&test->arena, 1 << 16);
    test->call = (struct validate_call){.phone_number = phone,
                                        .force = force,
                                        .traceparent = trace,
                                        .arena = &test->arena,
                                        .cost = 7,
                                        .done = validate_done,
                                        .owner = test};
    test->inside_submit = true;
    enum port_status status = contacts_functions()->validate(world->contacts, &test->call);
    test->inside_submit = false;
    return status;
}

static void validate_start(struct world *world, struct test_validate *test)
{
    assert_int_equal(validate_submit(world, test, SLICE_LITERAL(PHONE), false, SLICE_ABSENT), PORT_OK);
}

static void validate_run(struct world *world, struct test_validate *test)
{
    validate_start(world, test);
    world_until(world, &test->done, 1);
}

static void validate_end(struct test_validate *test)
{
    assert_int_equal(test->done, 1);
    arena_fini(&test->arena);
}

/* The raw server is the validation's host alone; the other one is only there for upserts. */
struct two_hosts {
    struct world world;
    struct raw_server other;
};

static void answer_upsert(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    raw_answer(conn, 201, "", RAW_OK_BODY("c-1"));
}

static void hosts_begin(struct two_hosts *hosts, void (*answer)(struct raw_server *, struct raw_conn *),
                        void (*change)(struct contacts_config *))
{
    char url[64];
    char validation_url[64];
    world_open(&hosts->world);
    hosts->world.server.answer = answer;
    raw_server_start(&hosts->other, &hosts->world.loop);
    hosts->other.answer = answer_upsert;
    struct contacts_config config = world_config(&hosts->world, url, sizeof url);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/api/v2", hosts->other.port);
    snprintf(validation_url, sizeof validation_url, "http://127.0.0.1:%d/api/v1", hosts->world.server.port);
    config.validation_url = validation_url;
    if (change)
        change(&config);
    world_connect(&hosts->world, &config);
}

static void hosts_end(struct two_hosts *hosts)
{
    raw_server_stop(&hosts->other);
    world_end(&hosts->world);
}

static void answer_whole(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    raw_answer(conn, 200, "", WHOLE);
}

static void assert_believed(const struct test_validate *test)
{
    if (test->call.outcome.cls != OUTCOME_ACCEPTED)
        fail_msg("%s %s: %s", outcome_class_str(test->call.outcome.cls), test->call.outcome.code,
                 test->call.outcome.message);
    assert_false(test->call.outcome.maybe_sent);
    assert_true(slice_is(test->call.disposition, "unreachable"));
    assert_true(slice_is(test->call.validation, WHOLE));
    assert_int_equal(test->call.cost, 3000);
}

static void assert_lost(const struct test_validate *test, const char *code, bool maybe_sent)
{
    assert_string_equal(test->call.outcome.code, code);
    assert_int_equal(test->call.outcome.cls, OUTCOME_TRANSPORT);
    assert_int_equal(test->call.outcome.http_status, 0);
    assert_int_equal(test->call.outcome.maybe_sent, maybe_sent);
    assert_int_equal(strstr(test->call.outcome.message, "nothing was sent") != NULL, !maybe_sent);
    assert_false(slice_present(test->call.validation) || slice_present(test->call.disposition) ||
                 test->call.cost);
}

#define TRACE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static void the_request_is_what_the_api_wants(void **state)
{
    (void)state;
    for (int force = 0; force < 2; force++) {
        struct two_hosts hosts;
        struct test_validate test;
        hosts_begin(&hosts, answer_whole, NULL);
        assert_int_equal(validate_submit(&hosts.world, &test, SLICE_LITERAL(PHONE), force,
                                         force ? SLICE_LITERAL(TRACE) : SLICE_ABSENT),
                         PORT_OK);
        assert_int_equal(test.call.cost, 0);
        world_until(&hosts.world, &test.done, 1);
        assert_believed(&test);
        assert_int_equal(test.call.outcome.http_status, 200);
        assert_true(test.call.outcome.duration_us > 0);
        const char *sent = hosts.world.server.last;
        assert_memory_equal(sent, "POST /api/v1/phone/validate HTTP/1.1\r\n", 38);
        assert_non_null(strstr(sent, "\r\nX-Api-Key: " WORLD_KEY "\r\n"));
        assert_non_null(strstr(sent, "\r\nContent-Type: application/json\r\n"));
        assert_null(strstr(sent, "Expect:"));
        assert_int_equal(strstr(sent, "\r\ntraceparent: " TRACE "\r\n") != NULL, force);
        assert_string_equal(strstr(sent, "\r\n\r\n") + 4, force ? "{\"phone\":\"" PHONE "\",\"force\":true}"
                                                                : "{\"phone\":\"" PHONE
                                                                  "\",\"force\":false}");
        assert_int_equal(hosts.other.connections, 0);
        assert_true(hosts.world.pokes >= 1);
        assert_int_equal(world_stats(&hosts.world).calls, 1);
        validate_end(&test);
        hosts_end(&hosts);
    }
}

static void at_most_two(struct contacts_config *config)
{
    config->max_in_flight = 2;
}

static void answer_nothing(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    (void)conn;
}

/* Each host has connections of its own, kept alive, and a limit of its own: a validation host that is silent
 * does not keep an upsert waiting. */
static void the_hosts_do_not_wait_for_each_other(void **state)
{
    struct two_hosts hosts;
    struct test_validate tests[6];
    (void)state;
    hosts_begin(&hosts, answer_whole, at_most_two);
    for (int i = 0; i < 5; i++) {
        struct test_call call;
        validate_run(&hosts.world, &tests[0]);
        assert_believed(&tests[0]);
        validate_end(&tests[0]);
        call_run(&hosts.world, &call);
        assert_int_equal(call.call.outcome.cls, OUTCOME_ACCEPTED);
        call_end(&call);
    }
    assert_int_equal(hosts.world.server.connections, 1);
    assert_int_equal(hosts.other.connections, 1);
    assert_int_equal(world_stats(&hosts.world).connections_open, 2);
    hosts.world.server.answer = answer_nothing;
    for (int i = 0; i < 6; i++)
        validate_start(&hosts.world, &tests[i]);
    world_until(&hosts.world, &hosts.world.server.requests, 7);
    for (int i = 0; i < 3; i++) {
        struct test_call call;
        call_run(&hosts.world, &call);
        assert_int_equal(call.call.outcome.cls, OUTCOME_ACCEPTED);
        call_end(&call);
    }
    assert_int_equal(hosts.world.server.most_open, 2);
    contacts_close(hosts.world.contacts, world_on_closed, &hosts.world);
    hosts.world.contacts = NULL;
    for (int i = 0; i < 6; i++) {
        world_until(&hosts.world, &tests[i].done, 1);
        assert_lost(&tests[i], "cancelled", i < 2);
        validate_end(&tests[i]);
    }
    hosts_end(&hosts);
    assert_true(hosts.world.closed);
}

static void what_cannot_be_asked_is_away(void **state)
{
    static const char *const phones[] = {
        "", "+", "14155550100", "+1415555010x", "+1\",\"force\":true,\"a\":\"", "+1415555010012345"};
    struct two_hosts hosts;
    struct test_validate test;
    (void)state;
    hosts_begin(&hosts, answer_whole, NULL);
    for (size_t i = 0; i < sizeof phones / sizeof phones[0]; i++)
        assert_int_equal(validate_submit(&hosts.world, &test, slice_from_str(phones[i]), false, SLICE_ABSENT),
                         PORT_AWAY);
    assert_int_equal(validate_submit(&hosts.world, &test, SLICE_ABSENT, false, SLICE_ABSENT), PORT_AWAY);
    assert_int_equal(test.done, 0);
    contacts_close(hosts.world.contacts, world_on_closed, &hosts.world);
    assert_int_equal(validate_submit(&hosts.world, &test, SLICE_LITERAL(PHONE), false, SLICE_ABSENT),
                     PORT_AWAY);
    hosts.world.contacts = NULL;
    assert_int_equal(hosts.world.server.requests, 0);
    hosts_end(&hosts);
    for (int empty = 0; empty < 2; empty++) {
        struct world world;
        char url[64];
        world_open(&world);
        struct contacts_config config = world_config(&world, url, sizeof url);
        config.validation_url = empty ? "" : NULL;
        world_connect(&world, &config);
        assert_int_equal(validate_submit(&world, &test, SLICE_LITERAL(PHONE), false, SLICE_ABSENT),
                         PORT_AWAY);
        world_end(&world);
    }
}

/* ------------------------------------------------------------------ faults */

static void every_fault_of_an_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct two_hosts hosts;
        struct test_validate test;
        current = &faults[i];
        hosts_begin(&hosts, answer_fault, NULL);
        validate_run(&hosts.world, &test);
        if (test.call.outcome.cls != current->cls ||
            (*current->code && strcmp(test.call.outcome.code, current->code) != 0))
            fail_msg("%s: %s %s: %s", current->name, outcome_class_str(test.call.outcome.cls),
                     test.call.outcome.code, test.call.outcome.message);
        if (!test.call.outcome.maybe_sent)
            fail_msg("%s: it may have been paid for", current->name);
        if (current->cls == OUTCOME_TRANSPORT)
            assert_lost(&test, current->code, true);
        if (hosts.world.server.requests != 1)
            fail_msg("%s: the server saw %d requests", current->name, hosts.world.server.requests);
        validate_end(&test);
        hosts_end(&hosts);
    }
}

static void answer_first_then_close(struct raw_server *server, struct raw_conn *conn)
{
    if (conn->requests == 1)
        answer_whole(server, conn);
    else
        raw_close(conn);
}

/* A hidden repetition with `force` would be paid for twice. */
static void nothing_is_resent_behind_our_back(void **state)
{
    struct two_hosts hosts;
    struct test_validate first, second;
    (void)state;
    hosts_begin(&hosts, answer_first_then_close, NULL);
    validate_run(&hosts.world, &first);
    assert_believed(&first);
    validate_run(&hosts.world, &second);
    assert_lost(&second, "connection_lost", true);
    assert_int_equal(hosts.world.server.requests, 2);
    assert_true(world_stats(&hosts.world).resends_refused >= 1);
    validate_end(&first);
    validate_end(&second);
    hosts_end(&hosts);
}

static void a_late_answer_is_nobodys(void **state)
{
    struct two_hosts hosts;
    struct test_validate first, second;
    char late[256];
    (void)state;
    snprintf(late, sizeof late, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(LEAST), LEAST);
    hosts_begin(&hosts, answer_whole, NULL);
    validate_run(&hosts.world, &first);
    raw_say(hosts.world.server.conns, late);
    validate_run(&hosts.world, &second);
    assert_believed(&second);
    assert_int_equal(hosts.world.server.connections, 2);
    assert_true(world_stats(&hosts.world).strays_refused >= 1);
    validate_end(&first);
    validate_end(&second);
    hosts_end(&hosts);
}

static void answer_redirect(struct raw_server *server, struct raw_conn *conn)
{
    char headers[128];
    struct raw_server *other = server->data;
    snprintf(headers, sizeof headers, "Location: http://127.0.0.1:%d/elsewhere?secret=1\r\n", other->port);
    raw_answer(conn, 302, headers, WHOLE);
}

static void a_redirect_is_not_followed_and_names_the_setting(void **state)
{
    struct two_hosts hosts;
    struct test_validate test;
    (void)state;
    hosts_begin(&hosts, answer_redirect, NULL);
    hosts.world.server.data = &hosts.other;
    validate_run(&hosts.world, &test);
    assert_int_equal(test.call.outcome.cls, OUTCOME_MISROUTED);
    assert_non_null(strstr(test.call.outcome.message, "contacts_api.validation_url"));
    assert_null(strstr(test.call.outcome.message, "secret"));
    assert_int_equal(hosts.other.connections, 0);
    validate_end(&test);
    hosts_end(&hosts);
}

static void answer_too_much(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    raw_say(conn, "HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n");
    for (int i = 0; i < 8; i++) {
        static char blanks[RAW_TEXT_BYTES];
        memset(blanks, ' ', sizeof blanks - 1);
        raw_say(conn, blanks);
    }
}

static void soon_over(struct contacts_config *config)
{
    config->timeout_ms = 100;
}

static void size_and_time_are_bounded(void **state)
{
    struct two_hosts hosts;
    struct test_validate test;
    (void)state;
    hosts_begin(&hosts, answer_too_much, NULL);
    validate_run(&hosts.world, &test);
    assert_lost(&test, "answer_too_large", true);
    validate_end(&test);
    hosts_end(&hosts);
    hosts_begin(&hosts, answer_nothing, soon_over);
    validate_run(&hosts.world, &test);
    assert_lost(&test, "timed_out", true);
    validate_end(&test);
    raw_server_deafen(&hosts.world.server);
    for (struct raw_conn *conn = hosts.world.server.conns; conn; conn = conn->next)
        raw_close(conn);
    validate_run(&hosts.world, &test);
    assert_lost(&test, "connect_failed", false);
    validate_end(&test);
    hosts_end(&hosts);
}

static void not_a_tls_server(struct contacts_config *config)
{
    static char url[64];
    snprintf(url, sizeof url, "https://localhost%s",
             strstr(config->validation_url, ":") + sizeof "://127.0.0.1" - 1);
    config->validation_url = url;
}

static void greet_in_plain_text(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    raw_say(conn, "HTTP/1.1 400 Bad Request\r\n\r\n");
}

/* TLS is judged per host: v2 may be plain on a loopback address while v1 is not. */
static void tls_that_fails_is_not_sent(void **state)
{
    struct two_hosts hosts;
    struct test_validate test;
    (void)state;
    hosts_begin(&hosts, answer_whole, not_a_tls_server);
    hosts.world.server.greet = greet_in_plain_text;
    validate_run(&hosts.world, &test);
    assert_lost(&test, "tls_failed", false);
    assert_int_equal(hosts.world.server.requests, 0);
    validate_end(&test);
    hosts_end(&hosts);
}

/* ------------------------------------------------------------------ the key */

#define OTHER_KEY "trk_ZYXWVUTSRQzyxwvutsrq0123456789ab"

static void answer_by_key(struct raw_server *server, struct raw_conn *conn)
{
    if (strstr(server->last, "X-Api-Key: " OTHER_KEY "\r\n"))
        answer_whole(server, conn);
    else
        raw_answer(conn, 401, "", "{\"error\":\"Unknown API key\",\"code\":\"invalid_api_key\"}");
}

static char key_path[] = "/tmp/contacts-validate-key-XXXXXX";

static void key_write(const char *text)
{
    FILE *file = fopen(key_path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void key_from_file(struct contacts_config *config)
{
    config->key = NULL;
    config->key_file = key_path;
}

static void after_a_401_the_key_file_is_read_again(void **state)
{
    struct two_hosts hosts;
    struct test_validate test;
    (void)state;
    close(mkstemp(key_path));
    key_write(WORLD_KEY "\n");
    hosts_begin(&hosts, answer_by_key, key_from_file);
    validate_run(&hosts.world, &test);
    assert_int_equal(test.call.outcome.cls, OUTCOME_UNAUTHORIZED);
    assert_false(test.call.outcome.maybe_sent);
    validate_end(&test);
    key_write(OTHER_KEY "\n");
    validate_run(&hosts.world, &test);
    assert_believed(&test);
    validate_end(&test);
    assert_int_equal(world_stats(&hosts.world).keys_reloaded, 1);
    unlink(key_path);
    hosts_end(&hosts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_has_its_outcome),
        cmocka_unit_test(no_price_is_off_by_a_millionth),
        cmocka_unit_test(long_texts_are_left_out),
        cmocka_unit_test(a_full_arena_is_no_answer),
        cmocka_unit_test(headers_count_too),
        cmocka_unit_test(the_request_is_what_the_api_wants),
        cmocka_unit_test(the_hosts_do_not_wait_for_each_other),
        cmocka_unit_test(what_cannot_be_asked_is_away),
        cmocka_unit_test(every_fault_of_an_answer),
        cmocka_unit_test(nothing_is_resent_behind_our_back),
        cmocka_unit_test(a_late_answer_is_nobodys),
        cmocka_unit_test(a_redirect_is_not_followed_and_names_the_setting),
        cmocka_unit_test(size_and_time_are_bounded),
        cmocka_unit_test(tls_that_fails_is_not_sent),
        cmocka_unit_test(after_a_401_the_key_file_is_read_again),
    };
    return cmocka_run_group_tests_name("contacts: validate", tests, NULL, NULL);
}
