/* Every way in which a server and a connection can fail a call: what the outcome says, and how often the
 * server saw the request. */
#include "answer_faults.h"

#include <sys/resource.h>

static void answer_ok(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    raw_answer(conn, 201, "", RAW_OK_BODY("c-1"));
}

static void assert_accepted(const struct test_call *test)
{
    if (test->call.outcome.cls != OUTCOME_ACCEPTED)
        fail_msg("%s %s: %s", outcome_class_str(test->call.outcome.cls), test->call.outcome.code,
                 test->call.outcome.message);
    assert_false(test->call.outcome.maybe_sent);
    assert_true(slice_is(test->call.reply.contact_id, "c-1"));
}

static void assert_transport(const struct test_call *test, const char *code, bool maybe_sent)
{
    assert_string_equal(test->call.outcome.code, code);
    assert_int_equal(test->call.outcome.cls, OUTCOME_TRANSPORT);
    assert_int_equal(test->call.outcome.http_status, 0);
    assert_int_equal(test->call.outcome.maybe_sent, maybe_sent);
    assert_true(test->call.outcome.message[0] != '\0');
    assert_null(strstr(test->call.outcome.message, WORLD_KEY));
    assert_int_equal(strstr(test->call.outcome.message, "nothing was sent") != NULL, !maybe_sent);
}

/* ------------------------------------------------------------------ one answer, one fault */

static void every_fault_of_an_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        struct world world;
        struct test_call call;
        current = &faults[i];
        world_begin(&world, answer_fault);
        call_run(&world, &call);
        if (call.call.outcome.cls != current->cls ||
            (*current->code && strcmp(call.call.outcome.code, current->code) != 0))
            fail_msg("%s: %s %s: %s", current->name, outcome_class_str(call.call.outcome.cls),
                     call.call.outcome.code, call.call.outcome.message);
        if (!call.call.outcome.maybe_sent)
            fail_msg("%s: must be maybe_sent", current->name);
        if (current->cls == OUTCOME_TRANSPORT)
            assert_transport(&call, current->code, true);
        if (world.server.requests != 1)
            fail_msg("%s: the server saw %d requests", current->name, world.server.requests);
        call_end(&call);
        world_end(&world);
    }
}

static void answer_with_a_nul(struct raw_server *server, struct raw_conn *conn)
{
    static const char bytes[] = "HTTP/1.1 200 OK\r\nX-Odd: a\0b\r\nContent-Length: 2\r\n\r\n{}";
    (void)server;
    raw_send(conn, bytes, sizeof bytes - 1);
}

static void a_nul_in_the_head_breaks_the_answer(void **state)
{
    struct world world;
    struct test_call call;
    (void)state;
    world_begin(&world, answer_with_a_nul);
    call_run(&world, &call);
    assert_transport(&call, "broken_answer", true);
    call_end(&call);
    world_end(&world);
}

/* ------------------------------------------------------------------ G1: no hidden resend */

static void answer_first_then_close(struct raw_server *server, struct raw_conn *conn)
{
    if (conn->requests == 1)
        answer_ok(server, conn);
    else
        raw_close(conn);
}

static void answer_first_then_reset(struct raw_server *server, struct raw_conn *conn)
{
    if (conn->requests == 1)
        answer_ok(server, conn);
    else
        raw_reset(conn);
}

static void reuse_dies(void (*answer)(struct raw_server *, struct raw_conn *))
{
    struct world world;
    struct test_call first, second, third;
    world_begin(&world, answer);
    call_run(&world, &first);
    assert_accepted(&first);
    call_run(&world, &second);
    assert_transport(&second, "connection_lost", true);
    assert_int_equal(world.server.requests, 2);
    call_run(&world, &third);
    assert_accepted(&third);
    assert_int_equal(world.server.requests, 3);
    call_end(&first);
    call_end(&second);
    call_end(&third);
    world_end(&world);
}

static void a_reused_connection_that_closes_sees_one_request(void **state)
{
    (void)state;
    reuse_dies(answer_first_then_close);
    reuse_dies(answer_first_then_reset);
}

static void answer_then_close_and_deafen(struct raw_server *server, struct raw_conn *conn)
{
    if (conn->requests == 1) {
        answer_ok(server, conn);
        return;
    }
    raw_server_deafen(server);
    raw_close(conn);
}

/* libcurl then reports "could not connect", of the hidden second connection: that says nothing about the
 * first. */
static void a_closed_port_after_the_request_is_no_proof(void **state)
{
    struct world world;
    struct test_call first, second;
    (void)state;
    world_begin(&world, answer_then_close_and_deafen);
    call_run(&world, &first);
    call_run(&world, &second);
    assert_transport(&second, "connection_lost", true);
    assert_int_equal(world.server.requests, 2);
    call_end(&first);
    call_end(&second);
    world_end(&world);
}

/* ------------------------------------------------------------------ G2: no answer of another */

#define SMUGGLED                                                                                             \
    "HTTP/1.1 201 Smuggled\r\nContent-Type: application/json\r\nContent-Length: 143\r\n\r\n"                 \
    "{\"success\":true,\"contact_id\":\"wrong\",\"list_contact_id\":\"wrong\",\"is_new_contact\":true,"      \
    "\"is_new_list_contact\":true,\"journeys_enrolled\":1,   \"x\": 1}"

/* `turns`: how often the loop runs between the stray bytes and the next call. With none, only the look before
 * sending can know. */
static void stray(const char *bytes, bool close_too, int turns, unsigned strays_min)
{
    struct world world;
    struct test_call first, second;
    world_begin(&world, answer_ok);
    call_run(&world, &first);
    assert_accepted(&first);
    raw_say(world.server.conns, bytes);
    if (close_too)
        raw_close(world.server.conns);
    for (int i = 0; i < turns; i++)
        uv_run(&world.loop, UV_RUN_ONCE);
    call_run(&world, &second);
    assert_accepted(&second);
    assert_int_equal(world.server.requests, 2);
    assert_int_equal(world.server.connections, 2);
    assert_true(world_stats(&world).strays_refused >= strays_min);
    call_end(&first);
    call_end(&second);
    world_end(&world);
}

static void a_late_answer_is_nobodys(void **state)
{
    (void)state;
    for (int turns = 0; turns < 4; turns++) {
        stray(SMUGGLED, false, turns, 1);
        stray("x", false, turns, 1);
        stray("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", true, turns, 0);
        stray("", true, turns, 0);
    }
}

/* Every idle connection is spoilt: the one repetition must go to a new one, not to the next spoilt one. */
static void the_repetition_takes_a_new_connection(void **state)
{
    struct world world;
    struct test_call calls[4], last;
    (void)state;
    world_begin(&world, answer_ok);
    for (int i = 0; i < 4; i++)
        call_start(&world, &calls[i]);
    for (int i = 0; i < 4; i++) {
        world_until(&world, &calls[i].done, 1);
        call_end(&calls[i]);
    }
    assert_int_equal(world.server.open, 4);
    for (struct raw_conn *conn = world.server.conns; conn; conn = conn->next)
        raw_say(conn, SMUGGLED);
    call_run(&world, &last);
    assert_accepted(&last);
    assert_int_equal(world.server.requests, 5);
    assert_int_equal(world.server.connections, 5);
    call_end(&last);
    world_end(&world);
}

/* The answer to a call that was given up comes while the next call waits for its own. */
static void answer_the_first_late(struct raw_server *server, struct raw_conn *conn)
{
    if (server->requests == 1)
        return;
    for (struct raw_conn *other = server->conns; other; other = other->next)
        if (other != conn)
            raw_say(other, SMUGGLED);
    if (conn->requests > 1)
        raw_say(conn, SMUGGLED); /* were the connection used again, this would be believed */
    else
        answer_ok(server, conn);
}

static void the_answer_to_a_call_given_up_is_nobodys(void **state)
{
    struct world world;
    struct test_call first, second;
    char url[64];
    (void)state;
    world_open(&world);
    world.server.answer = answer_the_first_late;
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.timeout_ms = 100;
    world_connect(&world, &config);
    call_run(&world, &first);
    assert_transport(&first, "timed_out", true);
    call_run(&world, &second);
    assert_accepted(&second);
    assert_int_equal(world.server.connections, 2);
    call_end(&first);
    call_end(&second);
    world_end(&world);
}

static void greet_with_an_answer(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    raw_say(conn, SMUGGLED);
}

/* A server that talks first on every connection is given up after the second one; nothing is ever sent to it.
 */
static void an_answer_before_the_request_is_no_answer(void **state)
{
    struct world world;
    struct test_call call;
    (void)state;
    world_begin(&world, answer_ok);
    world.server.greet = greet_with_an_answer;
    call_run(&world, &call);
    /* The bytes may come after the look: then they are taken for the answer, as HTTP itself allows. Both
     * connections are looked at. */
    if (call.call.outcome.cls == OUTCOME_TRANSPORT)
        assert_transport(&call, "stray_answer", false);
    call_end(&call);
    world_end(&world);
}

static void answer_twice(struct raw_server *server, struct raw_conn *conn)
{
    char both[4096];
    (void)server;
    snprintf(both, sizeof both, OK_HEAD "Content-Length: %zu\r\n\r\n%s%s", strlen(RAW_OK_BODY("c-1")),
             RAW_OK_BODY("c-1"), SMUGGLED);
    raw_say(conn, both);
}

/* The surplus arrives with the answer, in one read. */
static void a_second_answer_in_one_piece_is_dropped(void **state)
{
    struct world world;
    struct test_call calls[4];
    (void)state;
    world_begin(&world, answer_twice);
    for (size_t i = 0; i < 4; i++) {
        call_run(&world, &calls[i]);
        assert_accepted(&calls[i]);
        call_end(&calls[i]);
    }
    assert_int_equal(world.server.requests, 4);
    world_end(&world);
}

/* ------------------------------------------------------------------ not sent */

static void refused_is_not_sent(void **state)
{
    struct world world;
    struct test_call call;
    (void)state;
    world_begin(&world, answer_ok);
    raw_server_deafen(&world.server);
    call_run(&world, &call);
    assert_transport(&call, "connect_failed", false);
    call_end(&call);
    world_end(&world);
}

static void without_descriptors_nothing_is_sent_and_it_recovers(void **state)
{
    struct world world;
    struct test_call call, after;
    struct rlimit old, none;
    (void)state;
    world_begin(&world, answer_ok);
    uv_run(&world.loop, UV_RUN_NOWAIT);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    call_run(&world, &call);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_transport(&call, "connect_failed", false);
    assert_non_null(strstr(call.call.outcome.message, "Too many open files"));
    call_run(&world, &after);
    assert_accepted(&after);
    call_end(&call);
    call_end(&after);
    world_end(&world);
}

/* ------------------------------------------------------------------ deadlines and caps */

struct trickle {
    uv_timer_t timer;
    struct raw_conn *conn;
    const char *head; /* once, before */
    const char *bytes;
    size_t len;
    size_t at;
};

static struct trickle drip;

/* Gives the next piece whenever the socket has room; over and over. */
static void trickle_on_timer(uv_timer_t *timer)
{
    (void)timer;
    if (drip.conn->closing)
        return;
    drip.at += raw_send(drip.conn, drip.bytes + drip.at, drip.len - drip.at);
    if (drip.at == drip.len)
        drip.at = 0;
}

static size_t drip_bytes_a_time;

static void slow_on_timer(uv_timer_t *timer)
{
    (void)timer;
    size_t left = drip.len - drip.at;
    if (!drip.conn->closing && left)
        drip.at +=
            raw_send(drip.conn, drip.bytes + drip.at, left < drip_bytes_a_time ? left : drip_bytes_a_time);
}

static void answer_endlessly(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    drip.conn = conn;
    drip.at = 0;
    uv_timer_start(&drip.timer, trickle_on_timer, 0, 1);
}

static void answer_slowly(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    drip.conn = conn;
    drip.at = 0;
    uv_timer_start(&drip.timer, slow_on_timer, 0, 10);
}

static void answer_head_then_endlessly(struct raw_server *server, struct raw_conn *conn)
{
    raw_say(conn, drip.head);
    answer_endlessly(server, conn);
}

static void run_dripping(void (*answer)(struct raw_server *, struct raw_conn *), const char *head,
                         const char *bytes, size_t len, int64_t timeout_ms, const char *code,
                         int64_t *took_us)
{
    struct world world;
    struct test_call call;
    char url[64];
    world_open(&world);
    uv_timer_init(&world.loop, &drip.timer);
    drip.bytes = bytes;
    drip.len = len;
    world.server.answer = answer;
    drip.head = head;
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.timeout_ms = timeout_ms;
    world_connect(&world, &config);
    call_run(&world, &call);
    assert_transport(&call, code, true);
    assert_int_equal(world.server.requests, 1);
    *took_us = call.call.outcome.duration_us;
    call_end(&call);
    uv_close((uv_handle_t *)&drip.timer, NULL);
    world_end(&world);
}

static void what_never_ends_is_ended(void **state)
{
    static char big[70000];
    int64_t took_us;
    (void)state;
    memset(big, 'a', sizeof big);
    run_dripping(answer_endlessly, "", "HTTP/1.1 100 Continue\r\n\r\n", 25, 5000, "answer_too_large",
                 &took_us);
    run_dripping(answer_endlessly, "", "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n", 31, 5000, "answer_too_large",
                 &took_us);
    run_dripping(answer_head_then_endlessly, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", big,
                 sizeof big, 5000, "answer_too_large", &took_us);
    run_dripping(answer_head_then_endlessly, "HTTP/1.1 200 OK\r\n\r\n", big, sizeof big, 5000,
                 "answer_too_large", &took_us);
    run_dripping(answer_head_then_endlessly, "HTTP/1.1 200 OK\r\n",
                 "X-Filler: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 52, 5000, "answer_too_large",
                 &took_us);
    run_dripping(answer_head_then_endlessly, "HTTP/1.1 200 OK\r\nX-Filler: ", big, sizeof big, 5000,
                 "broken_answer", &took_us);
}

static void answer_nothing(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    (void)conn;
}

static void slow_answers_meet_the_deadline(void **state)
{
    static const char slow[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-Some: header\r\n\r\n{\"success\":true,             ";
    int64_t took_us;
    (void)state;
    drip_bytes_a_time = 1;
    run_dripping(answer_slowly, "", slow, sizeof slow - 1, 250, "timed_out", &took_us);
    assert_true(took_us >= 200 * US_PER_MS && took_us < 5 * US_PER_S);
    drip_bytes_a_time = 60;
    run_dripping(answer_slowly, "", slow, sizeof slow - 1, 250, "timed_out", &took_us);
    assert_true(took_us >= 200 * US_PER_MS && took_us < 5 * US_PER_S);
    run_dripping(answer_nothing, "", "", 0, 250, "timed_out", &took_us);
    assert_true(took_us >= 200 * US_PER_MS && took_us < 5 * US_PER_S);
}

/* The clock of a call starts at its dispatch: waiting for a free connection here does not count against it.
 */
static void waiting_in_line_is_not_timed(void **state)
{
    struct world world;
    struct test_call calls[3];
    char url[64];
    (void)state;
    world_open(&world);
    world.server.answer = answer_nothing;
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.timeout_ms = 150;
    config.max_in_flight = 1;
    world_connect(&world, &config);
    for (int i = 0; i < 3; i++)
        call_start(&world, &calls[i]);
    for (int i = 0; i < 3; i++) {
        world_until(&world, &calls[i].done, 1);
        assert_transport(&calls[i], "timed_out", true);
        assert_int_equal(world.server.requests, i + 1);
        call_end(&calls[i]);
    }
    world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault_of_an_answer),
        cmocka_unit_test(a_nul_in_the_head_breaks_the_answer),
        cmocka_unit_test(a_reused_connection_that_closes_sees_one_request),
        cmocka_unit_test(a_closed_port_after_the_request_is_no_proof),
        cmocka_unit_test(a_late_answer_is_nobodys),
        cmocka_unit_test(the_repetition_takes_a_new_connection),
        cmocka_unit_test(the_answer_to_a_call_given_up_is_nobodys),
        cmocka_unit_test(an_answer_before_the_request_is_no_answer),
        cmocka_unit_test(a_second_answer_in_one_piece_is_dropped),
        cmocka_unit_test(refused_is_not_sent),
        cmocka_unit_test(without_descriptors_nothing_is_sent_and_it_recovers),
        cmocka_unit_test(what_never_ends_is_ended),
        cmocka_unit_test(slow_answers_meet_the_deadline),
        cmocka_unit_test(waiting_in_line_is_not_timed),
    };
    return cmocka_run_group_tests_name("contacts: faults", tests, NULL, NULL);
}
