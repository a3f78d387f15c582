/* Calls as they should go, and the rules around them: what is sent, the key, the queue, closing, the check.
 */
#include "world.h"

#include <dlfcn.h>
#include <netdb.h>
#include <semaphore.h>
#include <sysexits.h>
#include <unistd.h>

static void answer_ok(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    raw_answer(conn, 201, "", RAW_OK_BODY("c-1"));
}

static void answer_nothing(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    (void)conn;
}

/* ------------------------------------------------------------------ what is sent */

static int count_of(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strcasestr(at, part)) != NULL; at++)
        n++;
    return n;
}

static void the_request_is_what_the_api_wants(void **state)
{
    struct world world;
    struct test_call call;
    (void)state;
    world_begin(&world, answer_ok);
    call_run(&world, &call);
    assert_int_equal(call.call.outcome.cls, OUTCOME_ACCEPTED);
    assert_int_equal(call.call.outcome.http_status, 201);
    assert_true(call.call.outcome.duration_us > 0);
    assert_true(slice_is(call.call.reply.list_contact_id, "l-c-1"));
    assert_true(call.call.reply.is_new_contact);
    assert_int_equal(call.call.reply.journeys_enrolled, 1);
    const char *sent = world.server.last;
    assert_memory_equal(sent, "POST /api/v2/contacts HTTP/1.1\r\n", 32);
    assert_int_equal(count_of(sent, "\r\nX-Api-Key: " WORLD_KEY "\r\n"), 1);
    assert_int_equal(count_of(sent, "\r\nContent-Type: application/json\r\n"), 1);
    assert_int_equal(count_of(sent, "\r\nAccept: application/json\r\n"), 1);
    assert_int_equal(count_of(sent, "\r\nUser-Agent: signup-worker/"), 1);
    assert_int_equal(count_of(sent, "\r\nContent-Length: "), 1);
    assert_int_equal(count_of(sent, "Content-Type:"), 1);
    for (size_t i = 0; i < 5; i++) {
        static const char *const never[] = {
            "Expect:", "Accept-Encoding:", "Cookie:", "Authorization:", "traceparent"};
        assert_int_equal(count_of(sent, never[i]), 0);
    }
    assert_string_equal(strstr(sent, "\r\n\r\n") + 4, WORLD_BODY);
    struct contacts_stats stats = world_stats(&world);
    assert_int_equal(stats.bytes_sent, strlen(sent));
    assert_true(stats.bytes_received > 100);
    assert_int_equal(stats.calls, 1);
    assert_true(world.pokes >= 1);
    call_end(&call);
    world_end(&world);
}

static void call_with_trace(struct world *world, struct slice trace, const char *expected)
{
    struct test_call call;
    memset(&call, 0, sizeof call);
    arena_init(&call.arena, 1 << 20);
    call.call = (struct upsert_call){.body = SLICE_LITERAL(WORLD_BODY),
                                     .traceparent = trace,
                                     .arena = &call.arena,
                                     .signup = &call.signup,
                                     .done = call_done,
                                     .owner = &call};
    assert_int_equal(contacts_functions()->upsert(world->contacts, &call.call), PORT_OK);
    world_until(world, &call.done, 1);
    assert_int_equal(call.call.outcome.cls, OUTCOME_ACCEPTED);
    assert_int_equal(count_of(world->server.last, "traceparent"), expected ? 1 : 0);
    assert_int_equal(count_of(world->server.last, "Evil"), 0);
    if (expected)
        assert_non_null(strstr(world->server.last, expected));
    assert_int_equal(count_of(world->server.last, "X-Api-Key: "), 1);
    call_end(&call);
}

#define TRACE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static void traceparent_passes_and_nothing_else_does(void **state)
{
    struct world world;
    (void)state;
    world_begin(&world, answer_ok);
    call_with_trace(&world, SLICE_LITERAL(TRACE), "\r\ntraceparent: " TRACE "\r\n");
    call_with_trace(&world, SLICE_ABSENT, NULL);
    call_with_trace(
        &world, SLICE_LITERAL("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nEvil: 1"), NULL);
    call_with_trace(&world,
                    SLICE_LITERAL("cc"
                                  "-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later"),
                    "\r\ntraceparent: cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later\r\n");
    call_with_trace(
        &world, SLICE_LITERAL("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-\r\nEvil: 1"), NULL);
    call_with_trace(&world, SLICE_LITERAL(""), NULL);
    assert_int_equal(world.server.connections, 1);
    world_end(&world);
}

/* ------------------------------------------------------------------ many calls */

#define MANY 300

static void many_calls_share_few_connections(void **state)
{
    static struct test_call calls[MANY];
    struct world world;
    (void)state;
    world_begin(&world, answer_ok);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MANY; i++)
            call_start(&world, &calls[i]);
        for (int i = 0; i < MANY; i++) {
            world_until(&world, &calls[i].done, 1);
            assert_int_equal(calls[i].call.outcome.cls, OUTCOME_ACCEPTED);
        }
        for (int i = 0; i < MANY; i++)
            call_end(&calls[i]);
    }
    assert_int_equal(world.server.requests, 3 * MANY);
    assert_true(world.server.connections <= 8);
    assert_int_equal(world_stats(&world).connections_opened, world.server.connections);
    world_end(&world);
}

/* Echoes the address that the request was for: every call must get its own answer back. */
static void answer_with_name(struct raw_server *server, struct raw_conn *conn)
{
    char body[256];
    const char *name = strstr(server->last, "\"phone_number\":\"+") + 17;
    snprintf(body, sizeof body, "{\"success\":true,\"contact_id\":\"%.11s\",\"list_contact_id\":\"l\"}",
             name);
    raw_answer(conn, 200, "", body);
    if (conn->requests % 7 == 0)
        raw_close(conn); /* keep-alive ends now and then: some calls are lost, none is mixed up */
}

static void every_call_gets_its_own_answer(void **state)
{
    static struct test_call calls[MANY];
    static char bodies[MANY][64];
    struct world world;
    int lost = 0;
    (void)state;
    world_begin(&world, answer_with_name);
    for (int i = 0; i < MANY; i++) {
        snprintf(bodies[i], sizeof bodies[i], "{\"phone_number\":\"+1415555%04d\"}", i);
        memset(&calls[i], 0, sizeof calls[i]);
        arena_init(&calls[i].arena, 1 << 16);
        calls[i].call = (struct upsert_call){.body = slice_from_str(bodies[i]),
                                             .arena = &calls[i].arena,
                                             .signup = &calls[i].signup,
                                             .done = call_done,
                                             .owner = &calls[i]};
        assert_int_equal(contacts_functions()->upsert(world.contacts, &calls[i].call), PORT_OK);
    }
    for (int i = 0; i < MANY; i++) {
        world_until(&world, &calls[i].done, 1);
        struct slice name = {bodies[i] + 18, 11};
        if (calls[i].call.outcome.cls == OUTCOME_ACCEPTED)
            assert_true(slice_equal(calls[i].call.reply.contact_id, name));
        else
            lost++;
        call_end(&calls[i]);
    }
    assert_true(lost < MANY / 2);
    assert_true(world.server.requests <= MANY);
    world_end(&world);
}

/* ------------------------------------------------------------------ closing */

static void closing_completes_everything_honestly(void **state)
{
    struct world world;
    struct test_call calls[3];
    struct test_call refused = {0};
    char url[64];
    (void)state;
    world_open(&world);
    world.server.answer = answer_nothing;
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.max_in_flight = 1;
    world_connect(&world, &config);
    for (int i = 0; i < 3; i++)
        call_start(&world, &calls[i]);
    world_until(&world, &world.server.requests, 1);
    contacts_close(world.contacts, world_on_closed, &world);
    assert_int_equal(calls[0].done, 0);
    assert_int_equal(contacts_functions()->upsert(world.contacts, &refused.call), PORT_AWAY);
    world.contacts = NULL;
    for (int i = 0; i < 3; i++) {
        world_until(&world, &calls[i].done, 1);
        assert_string_equal(calls[i].call.outcome.code, "cancelled");
        assert_int_equal(calls[i].call.outcome.maybe_sent, i == 0);
        call_end(&calls[i]);
    }
    world_end(&world);
    assert_true(world.closed);
}

static struct world *closing_world;

static void done_that_closes(struct upsert_call *call)
{
    call_done(call);
    if (closing_world->contacts)
        contacts_close(closing_world->contacts, world_on_closed, closing_world);
    closing_world->contacts = NULL;
}

static void closing_inside_a_completion_is_fine(void **state)
{
    struct world world;
    struct test_call calls[4];
    (void)state;
    world_begin(&world, answer_ok);
    closing_world = &world;
    for (int i = 0; i < 4; i++) {
        call_start(&world, &calls[i]);
        calls[i].call.done = done_that_closes;
    }
    for (int i = 0; i < 4; i++) {
        world_until(&world, &calls[i].done, 1);
        call_end(&calls[i]);
    }
    world_end(&world);
    assert_true(world.closed);
}

/* ------------------------------------------------------------------ the key stays home */

static void answer_redirect(struct raw_server *server, struct raw_conn *conn)
{
    char headers[128];
    struct raw_server *other = server->data;
    snprintf(headers, sizeof headers, "Location: http://127.0.0.1:%d/elsewhere?secret=1\r\n", other->port);
    raw_answer(conn, 307, headers, "");
}

static void a_redirect_is_not_followed(void **state)
{
    struct world world;
    struct test_call call;
    struct raw_server other;
    (void)state;
    world_begin(&world, answer_redirect);
    raw_server_start(&other, &world.loop);
    other.answer = answer_ok;
    world.server.data = &other;
    call_run(&world, &call);
    assert_int_equal(call.call.outcome.cls, OUTCOME_MISROUTED);
    assert_string_equal(call.call.outcome.code, "redirected");
    assert_non_null(strstr(call.call.outcome.message, "/elsewhere"));
    assert_null(strstr(call.call.outcome.message, "secret"));
    assert_int_equal(other.connections, 0);
    call_end(&call);
    raw_server_stop(&other);
    world_end(&world);
}

static void proxies_of_the_environment_are_ignored(void **state)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "all_proxy",
                                        "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"};
    struct world world;
    struct test_call call;
    struct raw_server proxy;
    char url[64];
    (void)state;
    world_begin(&world, answer_ok);
    raw_server_start(&proxy, &world.loop);
    proxy.answer = answer_nothing;
    snprintf(url, sizeof url, "http://127.0.0.1:%d", proxy.port);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        setenv(names[i], url, 1);
    call_run(&world, &call);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    assert_int_equal(call.call.outcome.cls, OUTCOME_ACCEPTED);
    assert_int_equal(proxy.connections, 0);
    call_end(&call);
    raw_server_stop(&proxy);
    world_end(&world);
}

#define OTHER_KEY "trk_ZYXWVUTSRQzyxwvutsrq0123456789ab"

static void answer_by_key(struct raw_server *server, struct raw_conn *conn)
{
    if (strstr(server->last, "X-Api-Key: " OTHER_KEY "\r\n"))
        answer_ok(server, conn);
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
    struct test_call call;
    char url[64];
    char path[] = "/tmp/contacts-key-XXXXXX";
    (void)state;
    close(mkstemp(path));
    file_write(path, "  " WORLD_KEY "\r\n");
    world_open(&world);
    world.server.answer = answer_by_key;
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.key = NULL;
    config.key_file = path;
    world_connect(&world, &config);
    for (int i = 0; i < 2; i++) {
        call_run(&world, &call);
        assert_int_equal(call.call.outcome.cls, OUTCOME_UNAUTHORIZED);
        assert_string_equal(call.call.outcome.code, "unauthorized");
        assert_false(call.call.outcome.maybe_sent);
        assert_non_null(strstr(world.server.last, "X-Api-Key: " WORLD_KEY "\r\n"));
        call_end(&call);
    }
    file_write(path, OTHER_KEY "\n");
    call_run(&world, &call);
    assert_int_equal(call.call.outcome.cls, OUTCOME_ACCEPTED);
    call_end(&call);
    assert_int_equal(world_stats(&world).keys_reloaded, 1);
    assert_int_equal(world.server.connections, 1);
    unlink(path);
    call_run(&world, &call); /* gone: the old one stays in use */
    assert_int_equal(call.call.outcome.cls, OUTCOME_ACCEPTED);
    call_end(&call);
    world_end(&world);
}

static void create_fails(const struct contacts_config *config, enum contacts_fault fault, const char *word)
{
    struct contacts_error error;
    uv_loop_t loop;
    uv_loop_init(&loop);
    assert_null(contacts_create(&loop, config, &error));
    assert_int_equal(error.fault, fault);
    if (!strstr(error.text, word))
        fail_msg("\"%s\" lacks \"%s\"", error.text, word);
    assert_null(strstr(error.text, WORLD_KEY));
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void bad_settings_are_refused_with_a_reason(void **state)
{
    static const struct {
        const char *url;
        const char *word;
    } urls[] = {
        {"http://app.tracklysms.com/api/v2", "https://"},
        {"http://10.0.0.1/api", "https://"},
        {"http://0.0.0.0/api", "https://"},
        {"http://128.0.0.1/api", "https://"},
        {"http://localhost.example.com/api", "https://"},
        {"http://127.0.0.1.example.com/api", "https://"},
        {"http://[::2]/api", "https://"},
        {"ftp://127.0.0.1/", "https://"},
        {"https://user:word@host/api", "user"},
        {"https://host/api?key=1", "query"},
        {"https://host/api#x", "fragment"},
        {"app.tracklysms.com", "URL"},
        {"", "URL"},
        {"https://", "URL"},
    };
    const struct contacts_config good = {.base_url = "https://localhost/api",
                                         .key = WORLD_KEY,
                                         .timeout_ms = 1000,
                                         .connect_timeout_ms = 1000,
                                         .max_in_flight = 1};
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct contacts_config config = good;
        config.base_url = urls[i].url;
        create_fails(&config, CONTACTS_FAULT_CONFIG, urls[i].word);
        config.base_url = good.base_url;
        config.validation_url = urls[i].url;
        if (*urls[i].url)
            create_fails(&config, CONTACTS_FAULT_CONFIG, "validation_url");
    }
    struct contacts_config config = good;
    config.ca_file = "/nowhere/ca.pem";
    create_fails(&config, CONTACTS_FAULT_FILE, "/nowhere/ca.pem");
    config = good;
    config.key = "trk_with blank inside";
    create_fails(&config, CONTACTS_FAULT_CONFIG, "characters");
    config.key = "";
    create_fails(&config, CONTACTS_FAULT_CONFIG, "key_file");
    config.key_file = "/nowhere/key";
    create_fails(&config, CONTACTS_FAULT_FILE, "/nowhere/key");
    config = good;
    config.max_in_flight = 0;
    create_fails(&config, CONTACTS_FAULT_CONFIG, "max_in_flight");
    config = good;
    config.timeout_ms = 0;
    create_fails(&config, CONTACTS_FAULT_CONFIG, "timeout");
}

static void loopback_may_be_plain(void **state)
{
    static const char *const urls[] = {"http://127.0.0.1:1/",     "http://127.9.9.9/x",   "http://[::1]:8/x",
                                       "http://localhost/api///", "HTTP://LOCALHOST/api", "http://0x7f.1/"};
    (void)state;
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct world world;
        char url[64];
        world_open(&world);
        struct contacts_config config = world_config(&world, url, sizeof url);
        config.base_url = urls[i];
        world_connect(&world, &config);
        world_end(&world);
    }
}

/* ------------------------------------------------------------------ names that do not resolve */

static sem_t resolver_gate;

/* Stands in front of the system's for the whole program, libcurl's resolver threads included. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
    if (node && strcmp(node, "stalled.test") == 0) {
        sem_wait(&resolver_gate);
        return EAI_AGAIN;
    }
    if (node && strcmp(node, "missing.test") == 0)
        return EAI_NONAME;
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(node, service, hints, result);
}

/* The name server answers only after the test's end: a client that waited for its resolver thread would wait
 * for ever. */
static void a_stalled_resolver_does_not_stop_the_loop(void **state)
{
    struct world world;
    struct test_call call;
    char url[64];
    (void)state;
    world_open(&world);
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.base_url = "https://stalled.test/api";
    config.timeout_ms = 200;
    world_connect(&world, &config);
    call_run(&world, &call);
    assert_string_equal(call.call.outcome.code, "timed_out");
    assert_false(call.call.outcome.maybe_sent);
    assert_true(call.call.outcome.duration_us < 1200 * US_PER_MS);
    call_end(&call);
    call_start(&world, &call); /* closing while the name is looked up */
    uv_run(&world.loop, UV_RUN_ONCE);
    contacts_close(world.contacts, world_on_closed, &world);
    world.contacts = NULL;
    world_until(&world, &call.done, 1);
    assert_string_equal(call.call.outcome.code, "cancelled");
    assert_false(call.call.outcome.maybe_sent);
    call_end(&call);
    world_end(&world);
    sem_post(&resolver_gate);
    sem_post(&resolver_gate);
}

static void an_unknown_name_is_not_sent(void **state)
{
    struct world world;
    struct test_call call;
    char url[64];
    (void)state;
    world_open(&world);
    struct contacts_config config = world_config(&world, url, sizeof url);
    config.base_url = "https://missing.test/api";
    world_connect(&world, &config);
    call_run(&world, &call);
    assert_string_equal(call.call.outcome.code, "dns_failed");
    assert_false(call.call.outcome.maybe_sent);
    assert_non_null(strstr(call.call.outcome.message, "missing.test"));
    call_end(&call);
    world_end(&world);
}

/* ------------------------------------------------------------------ check */

struct check_row {
    int status; /* 0: nobody listens */
    const char *body;
    enum contacts_health health;
    int exit_code;
    const char *word;
};

static const struct check_row *check_current;

static void answer_check(struct raw_server *server, struct raw_conn *conn)
{
    assert_memory_equal(server->last, "GET /api/v2/contacts?page=1&per_page=1 HTTP/1.1\r\n", 49);
    assert_non_null(strstr(server->last, "\r\nX-Api-Key: " WORLD_KEY "\r\n"));
    assert_null(strstr(server->last, "Content-Type"));
    raw_answer(conn, check_current->status, "", check_current->body);
}

static void check_finished(struct contacts_check_op *op)
{
    (*(int *)op->owner)++;
}

static void the_check_says_what_to_do(void **state)
{
    static const struct check_row rows[] = {
        {200, "{\"contacts\":[],\"pagination\":{\"page\":1}}", CONTACTS_WELL, 0, "answers and knows the key"},
        {401, "{\"error\":\"Unknown key\",\"code\":\"unauthorized\"}", CONTACTS_KEY_REFUSED, EX_NOPERM,
         "key_file"},
        {403, "{\"error\":\"Account is suspended\"}", CONTACTS_KEY_REFUSED, EX_NOPERM, "suspended"},
        {402, "{\"error\":\"Pay\",\"code\":\"suspended\"}", CONTACTS_AWAY, EX_UNAVAILABLE, "billing"},
        {429, "{\"error\":\"Slow\",\"code\":\"rate_limited\"}", CONTACTS_AWAY, EX_UNAVAILABLE, "later"},
        {503, "{\"error\":\"Not now\"}", CONTACTS_AWAY, EX_UNAVAILABLE, "later"},
        {500, "", CONTACTS_AWAY, EX_UNAVAILABLE, "500"},
        {404, "<html>Not here</html>", CONTACTS_WRONG, EX_CONFIG, "base_url"},
        {301, "", CONTACTS_WRONG, EX_CONFIG, "base_url"},
        {200, "<html>Welcome</html>", CONTACTS_WRONG, EX_CONFIG, "base_url"},
        {200, "{\"contacts\":{}}", CONTACTS_WRONG, EX_CONFIG, "base_url"},
        {0, "", CONTACTS_AWAY, EX_UNAVAILABLE, "no connection"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world world;
        int done = 0;
        struct contacts_check_op op = {.done = check_finished, .owner = &done};
        check_current = &rows[i];
        world_begin(&world, answer_check);
        if (!rows[i].status)
            raw_server_deafen(&world.server);
        assert_int_equal(contacts_check(world.contacts, &op), PORT_OK);
        assert_int_equal(done, 0);
        world_until(&world, &done, 1);
        if (op.health != rows[i].health || op.exit_code != rows[i].exit_code ||
            !strstr(op.text, rows[i].word))
            fail_msg("row %zu: %s, exit %d: %s", i, contacts_health_str(op.health), op.exit_code, op.text);
        world_end(&world);
    }
}

/* The second host: a validation without a phone, which whoever has a key is refused for free. */
static void answer_both_checks(struct raw_server *server, struct raw_conn *conn)
{
    if (strncmp(server->last, "GET /api/v2/contacts?", 21) == 0) {
        raw_answer(conn, 200, "", "{\"contacts\":[]}");
        return;
    }
    assert_memory_equal(server->last, "POST /api/v1/phone/validate HTTP/1.1\r\n", 38);
    assert_non_null(strstr(server->last, "\r\nX-Api-Key: " WORLD_KEY "\r\n"));
    assert_string_equal(strstr(server->last, "\r\n\r\n") + 4, "{}");
    raw_answer(conn, check_current->status, "Location: http://127.0.0.1:1/x\r\n", check_current->body);
}

/* One raw server for v2 and one address for v1: the same server, or one where nobody listens. */
static void check_validation(const struct check_row *row, bool uses, const char *validation_url)
{
    struct world world;
    char url[64];
    char other[64];
    int done = 0;
    struct contacts_check_op op = {.done = check_finished, .owner = &done};
    check_current = row;
    world_open(&world);
    world.server.answer = answer_both_checks;
    struct contacts_config config = world_config(&world, url, sizeof url);
    snprintf(other, sizeof other, "http://127.0.0.1:%d/api/v1", world.server.port);
    config.validation_url = validation_url ? validation_url : other;
    config.uses_validation = uses;
    world_connect(&world, &config);
    assert_int_equal(contacts_check(world.contacts, &op), PORT_OK);
    assert_int_equal(done, 0);
    world_until(&world, &done, 1);
    assert_int_equal(op.health, CONTACTS_WELL);
    assert_int_equal(op.exit_code, 0);
    assert_int_equal(op.validation_asked, uses);
    if (!uses) {
        assert_int_equal(world.server.requests, 1);
        assert_string_equal(op.validation_text, "");
    } else if (op.validation_health != row->health || op.validation_exit_code != row->exit_code ||
               !strstr(op.validation_text, row->word)) {
        fail_msg("%d %s: %s, exit %d: %s", row->status, row->body, contacts_health_str(op.validation_health),
                 op.validation_exit_code, op.validation_text);
    }
    world_end(&world);
}

static void the_check_asks_the_validation_host_where_it_is_used(void **state)
{
    static const struct check_row rows[] = {
        {400, "{\"error\":\"phone is required\",\"code\":\"missing_phone\"}", CONTACTS_WELL, 0,
         "phone validation answers and knows the key"},
        {401, "{\"error\":\"Unknown key\",\"code\":\"invalid_api_key\"}", CONTACTS_KEY_REFUSED, EX_NOPERM,
         "key_file"},
        {403, "{\"error\":\"Account is suspended\"}", CONTACTS_KEY_REFUSED, EX_NOPERM, "suspended"},
        {402, "{\"error\":\"Pay\",\"code\":\"no_payment_method\"}", CONTACTS_AWAY, EX_UNAVAILABLE, "billing"},
        {429, "{\"error\":\"Slow\",\"code\":\"rate_limited\"}", CONTACTS_AWAY, EX_UNAVAILABLE, "later"},
        {503, "{\"error\":\"No provider\",\"code\":\"provider_error\"}", CONTACTS_AWAY, EX_UNAVAILABLE,
         "later"},
        {500, "", CONTACTS_AWAY, EX_UNAVAILABLE, "500"},
        {400, "{\"error\":\"x\",\"code\":\"invalid_json\"}", CONTACTS_WRONG, EX_CONFIG,
         "contacts_api.validation_url"},
        {400, "<html>Bad Request</html>", CONTACTS_WRONG, EX_CONFIG, "contacts_api.validation_url"},
        {404, "{\"error\":\"x\",\"code\":\"missing_phone\"}", CONTACTS_WRONG, EX_CONFIG,
         "contacts_api.validation_url"},
        {302, "", CONTACTS_WRONG, EX_CONFIG, "contacts_api.validation_url"},
        {200, "{\"contacts\":[]}", CONTACTS_WRONG, EX_CONFIG, "contacts_api.validation_url"},
        {200, "<html>Welcome</html>", CONTACTS_WRONG, EX_CONFIG, "contacts_api.validation_url"},
    };
    static const struct check_row nowhere = {0, "", CONTACTS_WRONG, EX_CONFIG,
                                             "set contacts_api.validation_url"};
    static const struct check_row away = {0, "", CONTACTS_AWAY, EX_UNAVAILABLE,
                                          "contacts_api.validation_url"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        check_validation(&rows[i], true, NULL);
    check_validation(&rows[0], false, NULL);
    check_validation(&nowhere, true, "");
    check_validation(&away, true, "https://missing.test/api/v1");
}

int main(void)
{
    sem_init(&resolver_gate, 0, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_request_is_what_the_api_wants),
        cmocka_unit_test(traceparent_passes_and_nothing_else_does),
        cmocka_unit_test(many_calls_share_few_connections),
        cmocka_unit_test(every_call_gets_its_own_answer),
        cmocka_unit_test(closing_completes_everything_honestly),
        cmocka_unit_test(closing_inside_a_completion_is_fine),
        cmocka_unit_test(a_redirect_is_not_followed),
        cmocka_unit_test(proxies_of_the_environment_are_ignored),
        cmocka_unit_test(after_a_401_the_key_file_is_read_again),
        cmocka_unit_test(bad_settings_are_refused_with_a_reason),
        cmocka_unit_test(loopback_may_be_plain),
        cmocka_unit_test(a_stalled_resolver_does_not_stop_the_loop),
        cmocka_unit_test(an_unknown_name_is_not_sent),
        cmocka_unit_test(the_check_says_what_to_do),
        cmocka_unit_test(the_check_asks_the_validation_host_where_it_is_used),
    };
    return cmocka_run_group_tests_name("contacts: calls", tests, NULL, NULL);
}
