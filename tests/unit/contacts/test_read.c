/* Contacts read back: what is sent, what of an answer is believed, and the guards that a GET has like a POST. */
#include "world.h"

#include "response.h"

#include <unistd.h>

#define PHONE "+14155550100"
#define LIST "+14155550199"
#define OTHER_LIST "+14155550198"
#define ENTRY(list, more) "{\"list_id\":1,\"list_number\":\"" list "\"," more "}"
#define BODY(lists) "{\"phone_number\":\"" PHONE "\",\"lists\":[" lists "]}"
#define ACTIVE "\"active\":true,\"signup_date\":\"2025-03-15T14:30:00\",\"custom_fields\":{}"
#define GONE "\"active\":false,\"signup_date\":\"2024-01-02T03:04:05\",\"custom_fields\":{\"a\":1}"
#define WHOLE                                                                                                \
    "{\"phone_number\":\"" PHONE "\",\"carrier\":null,\"line_type\":\"UNKNOWN\",\"timezone\":\"UTC\","       \
    "\"is_valid\":true,\"lists\":[" ENTRY(OTHER_LIST, GONE) "," ENTRY(LIST, ACTIVE) "]}"
#define NOT_FOUND "{\"error\":\"Contact not found\",\"code\":\"not_found\"}"

/* ------------------------------------------------------------------ what is believed */

/* In the order in which a person reads a row.
 * NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct row {
    int status;
    const char *body;
    enum outcome_class cls;
    const char *code;
    enum { ABSENT, FOUND, LISTED, UNSUBSCRIBED } what;
    const char *date; /* NULL: none */
};

static const struct row rows[] = {
    {200, WHOLE, OUTCOME_ACCEPTED, "", LISTED, "2025-03-15T14:30:00"},
    {200, BODY(ENTRY(LIST, GONE)), OUTCOME_ACCEPTED, "", UNSUBSCRIBED, "2024-01-02T03:04:05"},
    {200, BODY(ENTRY(LIST, GONE) "," ENTRY(OTHER_LIST, ACTIVE)), OUTCOME_ACCEPTED, "", UNSUBSCRIBED,
     "2024-01-02T03:04:05"},
    {200, BODY(ENTRY(OTHER_LIST, ACTIVE)), OUTCOME_ACCEPTED, "", FOUND, NULL},
    {200, BODY(""), OUTCOME_ACCEPTED, "", FOUND, NULL},
    {200, BODY(ENTRY(LIST, "\"active\":true")), OUTCOME_ACCEPTED, "", LISTED, NULL},
    {200, BODY(ENTRY(LIST, "\"active\":true,\"signup_date\":null")), OUTCOME_ACCEPTED, "", LISTED, NULL},
    {200, BODY(ENTRY(LIST, "\"active\":true,\"signup_date\":\"\"")), OUTCOME_ACCEPTED, "", LISTED, NULL},
    {200, BODY(ENTRY(LIST, "\"active\":true,\"signup_date\":\"<b>\\u0007\"")), OUTCOME_ACCEPTED, "", LISTED, NULL},
    {200, BODY(ENTRY(LIST, "\"active\":true,\"signup_date\":\"2025-03-15T14:30:00.00000000000000000000001\"")),
     OUTCOME_ACCEPTED, "", LISTED, NULL},
    /* other lists may be odd, as long as it is clear that they are others */
    {200, BODY(ENTRY(OTHER_LIST, "\"active\":7") "," ENTRY(LIST, ACTIVE)), OUTCOME_ACCEPTED, "", LISTED,
     "2025-03-15T14:30:00"},
    /* nobody by that number */
    {404, NOT_FOUND, OUTCOME_ACCEPTED, "not_found", ABSENT, NULL},
    {404, "{\"error\":\"x\"}", OUTCOME_REJECTED, "", ABSENT, NULL},
    {404, "{\"error\":\"x\",\"code\":\"list_not_found\"}", OUTCOME_REJECTED, "list_not_found", ABSENT, NULL},
    {404, "<html>Not Found</html>", OUTCOME_REJECTED, "", ABSENT, NULL},
    {404, "", OUTCOME_REJECTED, "", ABSENT, NULL},
    {404, NOT_FOUND "x", OUTCOME_REJECTED, "", ABSENT, NULL},
    {400, NOT_FOUND, OUTCOME_REJECTED, "not_found", ABSENT, NULL},
    {500, NOT_FOUND, OUTCOME_SERVER, "not_found", ABSENT, NULL},
    {200, NOT_FOUND, OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    /* `active` must be a boolean */
    {200, BODY(ENTRY(LIST, "\"a\":1")), OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, BODY(ENTRY(LIST, "\"active\":null")), OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, BODY(ENTRY(LIST, "\"active\":1")), OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, BODY(ENTRY(LIST, "\"active\":\"true\"")), OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, BODY(ENTRY(LIST, "\"Active\":true")), OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, BODY(ENTRY(LIST, "\"active\":true,\"active\":false")), OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    /* the list twice, or perhaps */
    {200, BODY(ENTRY(LIST, ACTIVE) "," ENTRY(LIST, GONE)), OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, BODY(ENTRY(LIST, ACTIVE) ",{\"active\":true}"), OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, BODY(ENTRY(LIST, ACTIVE) ",{\"list_number\":14155550199}"), OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, BODY(ENTRY(LIST, ACTIVE) ",null"), OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, BODY("7"), OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, BODY(ENTRY(LIST, "\"active\":true,\"signup_date\":1742049000")), OUTCOME_SERVER, "broken_body", ABSENT,
     NULL},
    /* no lists */
    {200, "{\"phone_number\":\"" PHONE "\"}", OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, "{\"phone_number\":\"" PHONE "\",\"lists\":{}}", OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, "{\"phone_number\":\"" PHONE "\",\"lists\":null}", OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    /* somebody else, or nobody */
    {200, "{\"phone_number\":\"+14155550101\",\"lists\":[" ENTRY(LIST, ACTIVE) "]}", OUTCOME_SERVER,
     "wrong_contact", ABSENT, NULL},
    {200, "{\"phone_number\":\"14155550100\",\"lists\":[]}", OUTCOME_SERVER, "wrong_contact", ABSENT, NULL},
    {200, "{\"phone_number\":14155550100,\"lists\":[]}", OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, "{\"lists\":[" ENTRY(LIST, ACTIVE) "]}", OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    /* no JSON */
    {200, "", OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {204, "", OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, "[]", OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, "null", OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, "[" WHOLE "]", OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, WHOLE "x", OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, "\xEF\xBB\xBF" WHOLE, OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    {200, "<html>Welcome</html>", OUTCOME_SERVER, "broken_body", ABSENT, NULL},
    /* statuses, as everywhere */
    {400, "{\"error\":\"x\",\"code\":\"invalid_phone\"}", OUTCOME_REJECTED, "invalid_phone", ABSENT, NULL},
    {401, "{\"error\":\"x\",\"code\":\"unauthorized\"}", OUTCOME_UNAUTHORIZED, "unauthorized", ABSENT, NULL},
    {403, "{\"error\":\"x\"}", OUTCOME_UNAUTHORIZED, "", ABSENT, NULL},
    {301, WHOLE, OUTCOME_MISROUTED, "redirected", ABSENT, NULL},
    {429, "{\"error\":\"x\",\"code\":\"rate_limited\"}", OUTCOME_THROTTLED, "rate_limited", ABSENT, NULL},
    {500, "{\"error\":\"x\",\"code\":\"internal_error\"}", OUTCOME_SERVER, "internal_error", ABSENT, NULL},
    {503, "", OUTCOME_PROVIDER, "", ABSENT, NULL},
    {500, WHOLE, OUTCOME_SERVER, "", ABSENT, NULL},
    {199, WHOLE, OUTCOME_SERVER, "", ABSENT, NULL},
};

/* Everything is preset to what no answer gives: what is not filled shows. */
static void read_body(struct read_call *call, struct arena *arena, const struct answer *answer)
{
    memset(call, 0x55, sizeof *call);
    call->phone_number = SLICE_LITERAL(PHONE);
    call->list_number = SLICE_LITERAL(LIST);
    call->arena = arena;
    call->found = call->on_list = call->active = true;
    response_read_contact(answer, call);
}

static bool says(const struct read_call *call, const struct row *row)
{
    return call->found == (row->what >= FOUND) && call->on_list == (row->what >= LISTED) &&
           call->active == (row->what == LISTED) &&
           (row->date ? slice_is(call->signup_date, row->date) : !slice_present(call->signup_date));
}

static void every_answer_says_what_it_says(void **state)
{
    (void)state;
    assert_true(sizeof rows / sizeof rows[0] >= 50);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        const struct answer answer = {.status = row->status, .body = slice_from_str(row->body)};
        struct read_call call;
        struct arena arena;
        arena_init(&arena, 1 << 16);
        read_body(&call, &arena, &answer);
        if (call.outcome.cls != row->cls || strcmp(call.outcome.code, row->code) != 0 || !says(&call, row) ||
            call.outcome.http_status != row->status || call.outcome.duration_us != 0 || call.outcome.maybe_sent ||
            call.outcome.retry_after_us != -1)
            fail_msg("row %zu (%d %s): %s %s, found %d, on list %d, active %d, date %.*s", i, row->status, row->body,
                     outcome_class_str(call.outcome.cls), call.outcome.code, call.found, call.on_list, call.active,
                     (int)call.signup_date.len, slice_present(call.signup_date) ? call.signup_date.ptr : "");
        assert_int_equal(call.outcome.message[0] == '\0', call.found);
        arena_fini(&arena);
    }
}

static void what_is_not_believed_is_not_repeated_to_people(void **state)
{
    const struct answer answer = {
        .status = 200,
        .body = SLICE_LITERAL(BODY(ENTRY(LIST, "\"active\":1,\"custom_fields\":{\"mail\":\"ann@example.com\"}")))};
    struct read_call call;
    struct arena arena;
    (void)state;
    arena_init(&arena, 1 << 16);
    read_body(&call, &arena, &answer);
    assert_int_equal(call.outcome.cls, OUTCOME_SERVER);
    assert_null(strstr(call.outcome.message, "ann@"));
    assert_null(strstr(call.outcome.message, "415555"));
    arena_fini(&arena);
}

static void a_full_arena_loses_the_date_alone(void **state)
{
    const struct answer answer = {.status = 200, .body = SLICE_LITERAL(WHOLE)};
    struct read_call call;
    struct arena arena;
    (void)state;
    arena_init(&arena, 0);
    read_body(&call, &arena, &answer);
    assert_int_equal(call.outcome.cls, OUTCOME_ACCEPTED);
    assert_true(call.found && call.on_list && call.active);
    assert_false(slice_present(call.signup_date));
}

static void an_encoded_body_is_not_read(void **state)
{
    struct answer answer = {.status = 200, .body = SLICE_LITERAL(WHOLE), .encoded = true};
    struct read_call call;
    struct arena arena;
    (void)state;
    arena_init(&arena, 1 << 16);
    read_body(&call, &arena, &answer);
    assert_string_equal(call.outcome.code, "broken_body");
    answer = (struct answer){.status = 404, .body = SLICE_LITERAL(NOT_FOUND), .encoded = true};
    read_body(&call, &arena, &answer);
    assert_int_equal(call.outcome.cls, OUTCOME_REJECTED);
    answer = (struct answer){.status = 429, .body = SLICE_LITERAL(""), .retry_after = SLICE_LITERAL("7")};
    read_body(&call, &arena, &answer);
    assert_int_equal(call.outcome.retry_after_us, 7 * US_PER_S);
    arena_fini(&arena);
}

/* ------------------------------------------------------------------ on the wire */

struct test_read {
    struct read_call call;
    struct arena arena;
    int done;
    bool inside_submit;
};

static void read_done(struct read_call *call)
{
    struct test_read *test = call->owner;
    assert_false(test->inside_submit);
    test->done++;
}

static enum port_status read_submit(struct world *world, struct test_read *test, struct slice phone)
{
    memset(test, 0, sizeof *test);
    arena_init(&test->arena, 1 << 16);
    test->call = (struct read_call){.phone_number = phone,
                                    .list_number = SLICE_LITERAL(LIST),
                                    .arena = &test->arena,
                                    .found = true,
                                    .done = read_done,
                                    .owner = test};
    test->inside_submit = true;
    enum port_status status = contacts_functions()->read(world->contacts, &test->call);
    test->inside_submit = false;
    return status;
}

static void read_start(struct world *world, struct test_read *test)
{
    assert_int_equal(read_submit(world, test, SLICE_LITERAL(PHONE)), PORT_OK);
}

static void read_end(struct test_read *test)
{
    assert_int_equal(test->done, 1);
    arena_fini(&test->arena);
}

static void read_run(struct world *world, struct test_read *test)
{
    read_start(world, test);
    world_until(world, &test->done, 1);
}

/* Both kinds of request, as the API would. */
static void answer_both(struct raw_server *server, struct raw_conn *conn)
{
    if (strncmp(server->last, "GET ", 4) == 0)
        raw_answer(conn, 200, "", WHOLE);
    else
        raw_answer(conn, 201, "", RAW_OK_BODY("c-1"));
}

static void the_request_is_what_the_api_wants(void **state)
{
    struct world world;
    struct test_read read;
    (void)state;
    world_begin(&world, answer_both);
    read_run(&world, &read);
    const char *sent = world.server.last;
    assert_memory_equal(sent, "GET /api/v2/contacts/%2B14155550100 HTTP/1.1\r\n", 46);
    assert_non_null(strstr(sent, "\r\nX-Api-Key: " WORLD_KEY "\r\n"));
    assert_non_null(strstr(sent, "\r\nAccept: application/json\r\n"));
    for (size_t i = 0; i < 5; i++) {
        static const char *const never[] = {"Content-Type", "Content-Length", "Expect:", "Cookie:", "traceparent"};
        assert_null(strcasestr(sent, never[i]));
    }
    assert_string_equal(strstr(sent, "\r\n\r\n") + 4, "");
    assert_int_equal(read.call.outcome.cls, OUTCOME_ACCEPTED);
    assert_int_equal(read.call.outcome.http_status, 200);
    assert_true(read.call.outcome.duration_us > 0);
    assert_true(read.call.found && read.call.on_list && read.call.active);
    assert_true(slice_is(read.call.signup_date, "2025-03-15T14:30:00"));
    assert_true(world.pokes >= 1);
    assert_int_equal(world_stats(&world).calls, 1);
    read_end(&read);
    world_end(&world);
}

#define TRACE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static void the_trace_goes_with_it(void **state)
{
    struct world world;
    struct test_read read;
    (void)state;
    world_begin(&world, answer_both);
    memset(&read, 0, sizeof read);
    arena_init(&read.arena, 1 << 16);
    read.call = (struct read_call){.phone_number = SLICE_LITERAL(PHONE),
                                   .list_number = SLICE_LITERAL(LIST),
                                   .traceparent = SLICE_LITERAL(TRACE),
                                   .arena = &read.arena,
                                   .done = read_done,
                                   .owner = &read};
    assert_int_equal(contacts_functions()->read(world.contacts, &read.call), PORT_OK);
    world_until(&world, &read.done, 1);
    assert_non_null(strstr(world.server.last, "\r\ntraceparent: " TRACE "\r\n"));
    assert_non_null(strstr(world.server.last, "\r\nX-Api-Key: " WORLD_KEY "\r\n"));
    read_end(&read);
    world_end(&world);
}

/* One handle makes both kinds of request in turn, on one connection. */
static void reads_and_upserts_take_turns(void **state)
{
    struct world world;
    char url[64];
    (void)state;
    world_open(&world);
    world.server.answer = answer_both;
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.max_in_flight = 1;
    world_connect(&world, &config);
    for (int i = 0; i < 3; i++) {
        struct test_read read;
        struct test_call call;
        call_run(&world, &call);
        assert_int_equal(call.call.outcome.cls, OUTCOME_ACCEPTED);
        assert_memory_equal(world.server.last, "POST /api/v2/contacts HTTP/1.1\r\n", 32);
        assert_string_equal(strstr(world.server.last, "\r\n\r\n") + 4, WORLD_BODY);
        call_end(&call);
        read_run(&world, &read);
        assert_true(read.call.found);
        assert_memory_equal(world.server.last, "GET /api/v2/contacts/%2B14155550100 HTTP/1.1\r\n", 46);
        read_end(&read);
    }
    assert_int_equal(world.server.connections, 1);
    assert_int_equal(world.server.requests, 6);
    world_end(&world);
}

static void what_is_not_e164_is_not_asked(void **state)
{
    static const char *const phones[] = {"",         "+",       "14155550100",  "+1415555010x",       "+1 4155550100",
                                         "+1/../..", "+1?a=b#", "%2B141555500", "+1415555010012345678"};
    struct world world;
    struct test_read read;
    (void)state;
    world_begin(&world, answer_both);
    for (size_t i = 0; i < sizeof phones / sizeof phones[0]; i++) {
        assert_int_equal(read_submit(&world, &read, slice_from_str(phones[i])), PORT_AWAY);
        arena_fini(&read.arena);
    }
    assert_int_equal(read_submit(&world, &read, SLICE_ABSENT), PORT_AWAY);
    assert_int_equal(read.done, 0);
    assert_int_equal(world.server.requests, 0);
    world_end(&world);
}

/* ------------------------------------------------------------------ the guards */

static void answer_first_then_close(struct raw_server *server, struct raw_conn *conn)
{
    if (conn->requests == 1)
        answer_both(server, conn);
    else
        raw_close(conn);
}

/* libcurl would repeat a GET even more readily than a POST: the same rule stops both. */
static void a_get_is_not_resent_behind_our_back(void **state)
{
    struct world world;
    struct test_read first, second;
    (void)state;
    world_begin(&world, answer_first_then_close);
    read_run(&world, &first);
    read_run(&world, &second);
    assert_int_equal(second.call.outcome.cls, OUTCOME_TRANSPORT);
    assert_string_equal(second.call.outcome.code, "connection_lost");
    assert_false(second.call.outcome.maybe_sent); /* a read has no effect */
    assert_null(strstr(second.call.outcome.message, "nothing was sent"));
    assert_false(second.call.found);
    assert_int_equal(world.server.requests, 2);
    assert_true(world_stats(&world).resends_refused >= 1);
    read_end(&first);
    read_end(&second);
    world_end(&world);
}

#define STRAY_BODY "{\"phone_number\":\"" PHONE "\",\"lists\":[]}"

static void a_late_answer_is_nobodys(void **state)
{
    struct world world;
    struct test_read first, second;
    char late[256];
    (void)state;
    snprintf(late, sizeof late, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(STRAY_BODY), STRAY_BODY);
    world_begin(&world, answer_both);
    read_run(&world, &first);
    raw_say(world.server.conns, late);
    read_run(&world, &second);
    assert_true(second.call.on_list);
    assert_int_equal(world.server.connections, 2);
    assert_true(world_stats(&world).strays_refused >= 1);
    read_end(&first);
    read_end(&second);
    world_end(&world);
}

static void answer_redirect(struct raw_server *server, struct raw_conn *conn)
{
    char headers[128];
    struct raw_server *other = server->data;
    snprintf(headers, sizeof headers, "Location: http://127.0.0.1:%d/elsewhere\r\n", other->port);
    raw_answer(conn, 302, headers, WHOLE);
}

static void a_redirect_is_not_followed(void **state)
{
    struct world world;
    struct test_read read;
    struct raw_server other;
    (void)state;
    world_begin(&world, answer_redirect);
    raw_server_start(&other, &world.loop);
    other.answer = answer_both;
    world.server.data = &other;
    read_run(&world, &read);
    assert_int_equal(read.call.outcome.cls, OUTCOME_MISROUTED);
    assert_false(read.call.found);
    assert_int_equal(other.connections, 0);
    read_end(&read);
    raw_server_stop(&other);
    world_end(&world);
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

static void answer_nothing(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    (void)conn;
}

static void size_and_time_are_bounded(void **state)
{
    struct world world;
    struct test_read read;
    char url[64];
    (void)state;
    world_begin(&world, answer_too_much);
    read_run(&world, &read);
    assert_string_equal(read.call.outcome.code, "answer_too_large");
    read_end(&read);
    world_end(&world);
    world_open(&world);
    world.server.answer = answer_nothing;
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.timeout_ms = 100;
    world_connect(&world, &config);
    read_run(&world, &read);
    assert_string_equal(read.call.outcome.code, "timed_out");
    assert_false(read.call.outcome.maybe_sent);
    read_end(&read);
    raw_server_deafen(&world.server);
    for (struct raw_conn *conn = world.server.conns; conn; conn = conn->next)
        raw_close(conn);
    read_run(&world, &read);
    assert_string_equal(read.call.outcome.code, "connect_failed");
    assert_non_null(strstr(read.call.outcome.message, "nothing was sent"));
    read_end(&read);
    world_end(&world);
}

#define OTHER_KEY "trk_ZYXWVUTSRQzyxwvutsrq0123456789ab"

static void answer_by_key(struct raw_server *server, struct raw_conn *conn)
{
    if (strstr(server->last, "X-Api-Key: " OTHER_KEY "\r\n"))
        answer_both(server, conn);
    else
        raw_answer(conn, 401, "", "{\"error\":\"Unknown API key\",\"code\":\"unauthorized\"}");
}

static void file_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void after_a_401_the_key_file_is_read_again(void **state)
{
    struct world world;
    struct test_read read;
    char url[64];
    char path[] = "/tmp/contacts-read-key-XXXXXX";
    (void)state;
    close(mkstemp(path));
    file_write(path, WORLD_KEY "\n");
    world_open(&world);
    world.server.answer = answer_by_key;
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.key = NULL;
    config.key_file = path;
    world_connect(&world, &config);
    read_run(&world, &read);
    assert_int_equal(read.call.outcome.cls, OUTCOME_UNAUTHORIZED);
    read_end(&read);
    file_write(path, OTHER_KEY "\n");
    read_run(&world, &read);
    assert_true(read.call.found);
    read_end(&read);
    assert_int_equal(world_stats(&world).keys_reloaded, 1);
    unlink(path);
    world_end(&world);
}

/* One is on its way, one waits for a connection. */
static void closing_completes_everything(void **state)
{
    struct world world;
    struct test_read reads[2], refused;
    char url[64];
    (void)state;
    world_open(&world);
    world.server.answer = answer_nothing;
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.max_in_flight = 1;
    world_connect(&world, &config);
    for (int i = 0; i < 2; i++)
        read_start(&world, &reads[i]);
    world_until(&world, &world.server.requests, 1);
    contacts_close(world.contacts, world_on_closed, &world);
    assert_int_equal(read_submit(&world, &refused, SLICE_LITERAL(PHONE)), PORT_AWAY);
    world.contacts = NULL;
    for (int i = 0; i < 2; i++) {
        world_until(&world, &reads[i].done, 1);
        assert_string_equal(reads[i].call.outcome.code, "cancelled");
        assert_false(reads[i].call.found || reads[i].call.outcome.maybe_sent);
        read_end(&reads[i]);
    }
    world_end(&world);
    assert_true(world.closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_says_what_it_says),
        cmocka_unit_test(what_is_not_believed_is_not_repeated_to_people),
        cmocka_unit_test(a_full_arena_loses_the_date_alone),
        cmocka_unit_test(an_encoded_body_is_not_read),
        cmocka_unit_test(the_request_is_what_the_api_wants),
        cmocka_unit_test(the_trace_goes_with_it),
        cmocka_unit_test(reads_and_upserts_take_turns),
        cmocka_unit_test(what_is_not_e164_is_not_asked),
        cmocka_unit_test(a_get_is_not_resent_behind_our_back),
        cmocka_unit_test(a_late_answer_is_nobodys),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(size_and_time_are_bounded),
        cmocka_unit_test(after_a_401_the_key_file_is_read_again),
        cmocka_unit_test(closing_completes_everything),
    };
    return cmocka_run_group_tests_name("contacts: read", tests, NULL, NULL);
}
