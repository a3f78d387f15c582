/* The admin endpoints over real sockets: server and clients on one loop, every wait bounded by a deadline. */
#include "support.h"

#include "sample.h"

#include "signup/ops/admin.h"
#include "signup/ops/status.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <uv.h>

#define DEADLINE_US (10 * US_PER_S)

static uv_loop_t loop;
static struct admin *admin;
static char error[ADMIN_ERROR_BYTES];
static unsigned fills;
static bool not_ready;
static bool gone;

static void fill(void *ctx, struct ops_snapshot *snapshot)
{
    fills++;
    sample_fill(ctx, snapshot);
    if (not_ready) {
        snapshot_not_ready(snapshot, "PostgreSQL does not answer");
        snapshot_not_ready(snapshot, "the group is not joined");
    }
}

static void on_gone(void *ctx)
{
    *(bool *)ctx = true;
}

static int start_on(const char *listen_text, struct admin **out)
{
    const struct admin_config config = {.listen = listen_text, .fill = fill};
    return admin_create(&loop, &config, out, error);
}

static int setup(void **state)
{
    (void)state;
    fills = 0;
    not_ready = false;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(start_on("127.0.0.1:0", &admin), 0);
    assert_true(admin_port(admin) > 0);
    return 0;
}

/* Ends with a loop that has nothing left: no handle leaks. */
static void stop(struct admin *which)
{
    gone = false;
    admin_close(which, on_gone, &gone);
    assert_false(gone); /* never inside the call */
    while (!gone)
        (void)uv_run(&loop, UV_RUN_ONCE);
}

static int teardown(void **state)
{
    (void)state;
    stop(admin);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

/* ------------------------------------------------------------------ a client */

static int client_connect(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void client_send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Turns the server's loop, then waits a moment for bytes to the client. */
static void turn(int fd)
{
    struct pollfd client = {.fd = fd, .events = POLLIN};
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    (void)poll(&client, 1, 1);
}

static size_t wanted_len(const char *answer, bool head)
{
    const char *end = strstr(answer, "\r\n\r\n");
    const char *length = strstr(answer, "Content-Length: ");
    if (!end || !length)
        return SIZE_MAX;
    return (size_t)(end + 4 - answer) + (head ? 0 : (size_t)strtoul(length + 16, NULL, 10));
}

/* Reads one whole answer into `answer`. False: the connection was closed before. */
static bool client_read(int fd, bool head, char *answer, size_t size)
{
    int64_t deadline = clock_mono_now().us + DEADLINE_US;
    size_t len = 0;
    answer[0] = '\0';
    while (len < wanted_len(answer, head)) {
        ssize_t got = recv(fd, answer + len, size - 1 - len, 0);
        if (got == 0)
            return false;
        if (got < 0)
            assert_int_equal(errno, EAGAIN);
        len += got > 0 ? (size_t)got : 0;
        answer[len] = '\0';
        assert_true(clock_mono_now().us < deadline);
        turn(fd);
    }
    assert_int_equal(len, wanted_len(answer, head));
    return true;
}

static char answer[1 << 16];

/* Asks on a connection of its own; gives the body. */
static const char *ask(const char *method, const char *path, const char *more)
{
    char request[512];
    int fd = client_connect(admin_port(admin));
    (void)snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n", method, path, more);
    client_send(fd, request);
    assert_true(client_read(fd, strcmp(method, "HEAD") == 0, answer, sizeof answer));
    (void)close(fd);
    return strstr(answer, "\r\n\r\n") + 4;
}

static int answer_code(void)
{
    return (int)strtol(answer + strlen("HTTP/1.1 "), NULL, 10);
}

/* ------------------------------------------------------------------ tests */

static void test_livez(void **state)
{
    (void)state;
    assert_string_equal(ask("GET", "/livez", ""), "alive\n");
    assert_int_equal(answer_code(), 200);
    assert_int_equal(fills, 0); /* says nothing but that the loop turns */
}

static void test_readyz(void **state)
{
    (void)state;
#define CLOSED                                                                                               \
    "gate upsert: closed since 2025-03-15T14:29:57Z: no signup is sent, one call at a time probes: 401 "     \
    "unauthorized\n"                                                                                         \
    "gate validate: closed since 2025-03-15T14:29:00Z: no phone is validated, signups without validation go " \
    "on: billing: no payment\n"                                                                              \
    "validation budget: spent until 2025-03-16T00:00:00Z: validation.on_budget_spent says what becomes of "  \
    "events that validate, the others go on\n"
    assert_string_equal(ask("GET", "/readyz", ""), "ready\n" CLOSED);
    assert_int_equal(answer_code(), 200);
    not_ready = true;
    assert_string_equal(ask("GET", "/readyz", ""), "not ready\nPostgreSQL does not answer\nthe group is not "
                                                   "joined\n" CLOSED);
#undef CLOSED
    assert_int_equal(answer_code(), 503);
    assert_string_equal(ask("HEAD", "/readyz", ""), "");
    assert_int_equal(answer_code(), 503);
}

static void test_metrics(void **state)
{
    (void)state;
    const char *body = ask("GET", "/metrics?x=y", "");
    assert_int_equal(answer_code(), 200);
    assert_non_null(strstr(answer, "Content-Type: text/plain; version=0.0.4"));
    assert_non_null(strstr(body, "\nsignup_records_total 12345\n"));
}

static void test_status(void **state)
{
    (void)state;
    json_t *root = json_loads(ask("GET", "/status", ""), JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(answer_code(), 200);
    assert_non_null(strstr(answer, "Content-Type: application/json"));
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "version")), SIGNUP_VERSION);
    assert_string_equal(json_string_value(json_object_get(root, "started_at")), "2025-03-15T14:25:00.250Z");
    assert_true(json_is_true(json_object_get(root, "ready")));
    assert_int_equal(json_integer_value(json_object_get(root, "in_flight")), 16);
    const json_t *part = json_array_get(json_object_get(root, "partitions"), 0);
    assert_string_equal(json_string_value(json_object_get(part, "topic")), "signups");
    assert_int_equal(json_integer_value(json_object_get(part, "lag")), 1000);
    assert_int_equal(json_integer_value(json_object_get(part, "committed")), 480);
    assert_true(json_is_null(json_object_get(json_array_get(json_object_get(root, "partitions"), 1), "lag")));
    const json_t *gate = json_array_get(json_object_get(root, "gates"), 0);
    assert_string_equal(json_string_value(json_object_get(gate, "closed_since")), "2025-03-15T14:29:57.750Z");
    assert_true(json_number_value(json_object_get(gate, "closed_seconds")) == 2.5);
    assert_int_equal(json_integer_value(json_object_get(gate, "limit")), 16);
    assert_int_equal(json_integer_value(json_object_get(gate, "limit_max")), 256);
    assert_int_equal(json_array_size(json_object_get(root, "gates")), 5);
    assert_int_equal(json_integer_value(json_object_get(root, "validating")), 6);
    const json_t *spend = json_object_get(root, "spend");
    assert_true(json_number_value(json_object_get(spend, "spent_usd")) == 24.999);
    assert_true(json_number_value(json_object_get(spend, "budget_usd")) == 25);
    assert_true(json_is_true(json_object_get(spend, "exhausted")));
    assert_string_equal(json_string_value(json_object_get(spend, "day_ends_at")), "2025-03-16T00:00:00.000Z");
    const json_t *missed = json_object_get(root, "journeys_missed");
    assert_int_equal(json_integer_value(json_object_get(missed, "total")), 9);
    const json_t *list = json_array_get(json_object_get(missed, "lists"), 0);
    assert_string_equal(json_string_value(json_object_get(list, "list_number")), "+18005550100");
    assert_int_equal(json_integer_value(json_object_get(list, "count")), 7);
    const json_t *not_found = json_object_get(root, "list_not_found");
    assert_int_equal(json_integer_value(json_object_get(not_found, "total")), 43);
    assert_int_equal(json_integer_value(json_object_get(not_found, "other")), 3);
    assert_int_equal(json_array_size(json_object_get(not_found, "lists")), 1);
    gate = json_array_get(json_object_get(root, "gates"), 2);
    assert_string_equal(json_string_value(json_object_get(gate, "route")), "ledger");
    assert_true(json_is_null(json_object_get(gate, "closed_since")));
    assert_true(json_number_value(json_object_get(gate, "closed_seconds")) == 0);
    assert_true(json_is_true(json_object_get(root, "fuse_blown")));
    assert_true(json_is_true(json_object_get(root, "dead_letter_alarm")));
    assert_int_equal(json_integer_value(json_object_get(root, "taken_up")), 3);
    const json_t *backlog = json_object_get(root, "backlog");
    assert_int_equal(json_integer_value(json_object_get(backlog, "parked")), 70);
    assert_int_equal(json_integer_value(json_object_get(backlog, "parked_due")), 8);
    assert_int_equal(json_integer_value(json_object_get(backlog, "dead_unpublished")), 2);
    assert_true(json_number_value(json_object_get(backlog, "oldest_parked_due_seconds")) == 1.5);
    assert_true(json_number_value(json_object_get(backlog, "oldest_unpublished_seconds")) == 121);
    assert_int_equal(json_integer_value(json_object_get(backlog, "outcomes_unpublished")), 6);
    assert_true(json_number_value(json_object_get(backlog, "oldest_outcome_seconds")) == 3.25);
    assert_string_equal(json_string_value(json_object_get(backlog, "as_of")), "2025-03-15T14:29:52.750Z");
    const json_t *oldest = json_object_get(root, "oldest_unfinished");
    assert_int_equal(json_integer_value(json_object_get(oldest, "offset")), 501);
    assert_true(json_number_value(json_object_get(oldest, "age_seconds")) == 12.0);
    assert_string_equal(json_string_value(json_object_get(oldest, "why")), "waits for its next try; the last "
                                                                           "try ended with unauthorized; "
                                                                           "upsert is closed: 401 "
                                                                           "unauthorized; validate is "
                                                                           "closed: billing: "
                                                                           "no\npayment");
    const json_t *server = json_array_get(json_object_get(root, "servers"), 1);
    assert_string_equal(json_string_value(json_object_get(server, "why")), "caf?: \"no\"\nroute");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "counters"), "accepted")),
                     12000);
    const json_t *cost = json_object_get(json_object_get(root, "counters"), "validation_cost_usd");
    assert_true(json_number_value(cost) == 12.003);
    json_decref(root);
}

/* An empty world is a world, too. */
static void test_status_of_nothing(void **state)
{
    (void)state;
    struct ops_snapshot empty = {0};
    struct buf out;
    buf_init(&out, 1 << 16);
    status_render(&out, &empty);
    buf_append_char(&out, '\0');
    assert_true(buf_ok(&out));
    json_t *root = json_loads(out.data, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    assert_true(json_is_null(json_object_get(root, "oldest_unfinished")));
    assert_true(json_is_null(json_object_get(root, "backlog")));
    assert_true(json_is_null(json_object_get(root, "spend")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "journeys_missed"), "total")), 0);
    json_decref(root);
    buf_fini(&out);
}

static void test_other_requests(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *path;
        const char *more;
        int code;
    } cases[] = {
        {"GET", "/", "", 404},
        {"GET", "/livez/", "", 404},
        {"HEAD", "/nothing", "", 404},
        {"POST", "/nothing", "Content-Length: 0\r\n", 404},
        {"POST", "/metrics", "Content-Length: 0\r\n", 405},
        {"POST", "/metrics", "Content-Length: 1000000000\r\n", 405},
        {"DELETE", "/status", "", 405},
        {"OPTIONS", "/readyz", "", 405},
        {"GET", "/livez", "Content-Length: 5\r\n", 400},
        {"GET", "/livez", "Transfer-Encoding: chunked\r\n", 400},
        {"HEAD", "/livez", "", 200},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)ask(cases[i].method, cases[i].path, cases[i].more);
        if (answer_code() != cases[i].code)
            fail_msg("%s %s: %d", cases[i].method, cases[i].path, answer_code());
        assert_true(cases[i].code != 405 || strstr(answer, "Allow: GET, HEAD"));
    }
    assert_int_equal(fills, 0);
}

static void test_kept_connection(void **state)
{
    (void)state;
    int fd = client_connect(admin_port(admin));
    for (int i = 0; i < 3; i++) {
        client_send(fd, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_true(client_read(fd, false, answer, sizeof answer));
        assert_int_equal(answer_code(), 200);
    }
    client_send(fd, "GET /livez HTTP/1.1\r\nHost: a\r\n\r\nGET /readyz HTTP/1.1\r\nHost: a\r\nConnection: "
                    "close\r\n\r\n");
    int64_t deadline = clock_mono_now().us + DEADLINE_US;
    size_t len = 0;
    ssize_t got;
    while ((got = recv(fd, answer + len, sizeof answer - 1 - len, 0)) != 0) {
        len += got > 0 ? (size_t)got : 0;
        assert_true(clock_mono_now().us < deadline);
        turn(fd);
    }
    answer[len] = '\0';
    const char *first = strstr(answer, "alive\n");
    assert_non_null(first);
    assert_non_null(strstr(first, "ready\n"));
    (void)close(fd);
}

/* A client that says half a sentence is dropped after the time limit, and nobody waits for it. */
static void test_slow_client(void **state)
{
    (void)state;
    int fd = client_connect(admin_port(admin));
    client_send(fd, "GET /livez HT");
    assert_string_equal(ask("GET", "/livez", ""), "alive\n");
    int64_t deadline = clock_mono_now().us + 2 * DEADLINE_US;
    char byte;
    while (recv(fd, &byte, 1, 0) < 0) { /* an answer (408) or the end */
        assert_true(clock_mono_now().us < deadline);
        turn(fd);
    }
    (void)close(fd);
}

/* More connections than are admitted: those beyond wait, and are served once others have gone. */
static void test_connection_limit(void **state)
{
    (void)state;
    int fds[48];
    for (size_t i = 0; i < 48; i++) {
        fds[i] = client_connect(admin_port(admin));
        turn(fds[i]);
    }
    client_send(fds[0], "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(client_read(fds[0], false, answer, sizeof answer));
    client_send(fds[47], "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n");
    for (int i = 0; i < 20; i++)
        turn(fds[47]);
    char byte;
    assert_int_equal(recv(fds[47], &byte, 1, 0), -1);
    for (size_t i = 0; i < 47; i++)
        (void)close(fds[i]);
    assert_true(client_read(fds[47], false, answer, sizeof answer));
    (void)close(fds[47]);
    assert_string_equal(ask("GET", "/livez", ""), "alive\n");
}

static void test_garbage(void **state)
{
    (void)state;
    static const char *const requests[] = {"\r\n\r\n\r\n", "\x16\x03\x01\x02", "GET\r\n\r\n",
                                           "GET /livez HTTP/9.9\r\n\r\n"};
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        int fd = client_connect(admin_port(admin));
        client_send(fd, requests[i]);
        for (int n = 0; n < 5; n++)
            turn(fd);
        (void)close(fd);
    }
    char *long_request = malloc(40000);
    assert_non_null(long_request);
    memset(long_request, 'a', 39999);
    memcpy(long_request, "GET /", 5);
    long_request[39999] = '\0';
    int fd = client_connect(admin_port(admin));
    client_send(fd, long_request);
    free(long_request);
    for (int n = 0; n < 5; n++)
        turn(fd);
    (void)close(fd);
    assert_string_equal(ask("GET", "/livez", ""), "alive\n");
}

static void test_addresses(void **state)
{
    (void)state;
    struct admin *other;
    char text[32];
    (void)snprintf(text, sizeof text, "127.0.0.1:%d", admin_port(admin));
    assert_int_equal(start_on(text, &other), EX_UNAVAILABLE);
    assert_non_null(strstr(error, "the address is in use"));
    assert_non_null(strstr(error, text));
    assert_null(other);
    assert_int_equal(start_on("192.0.2.1:9", &other), EX_UNAVAILABLE); /* TEST-NET-1: nobody's */
    assert_non_null(strstr(error, "not one of this machine"));
    assert_int_equal(start_on("nonsense", &other), EX_CONFIG);
    assert_int_equal(start_on("", &other), 0);
    assert_null(other);
    assert_int_equal(start_on("off", &other), 0);
    assert_null(other);
    assert_int_equal(admin_port(other), 0);
    assert_int_equal(start_on(":0", &other), 0);
    assert_true(admin_port(other) > 0);
    int fd = client_connect(admin_port(other)); /* over IPv4 although the socket may be IPv6 */
    client_send(fd, "GET /livez HTTP/1.0\r\n\r\n");
    assert_true(client_read(fd, false, answer, sizeof answer));
    (void)close(fd);
    stop(other);
    int code = start_on("[::1]:0", &other);
    if (code == 0)
        stop(other);
    else
        assert_non_null(strstr(error, "not one of this machine")); /* a machine without IPv6 */
}

/* Closed amid a request: the connection ends, nothing is touched afterwards. */
static void test_close_under_way(void **state)
{
    (void)state;
    struct admin *other;
    assert_int_equal(start_on("127.0.0.1:0", &other), 0);
    int fd = client_connect(admin_port(other));
    client_send(fd, "GET /status HTTP/1.1\r\nHost:");
    turn(fd);
    stop(other);
    char byte;
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    (void)close(fd);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_livez),       TEST(test_readyz),           TEST(test_metrics),
        TEST(test_status),      TEST(test_other_requests),   TEST(test_kept_connection),
        TEST(test_slow_client), TEST(test_connection_limit), TEST(test_garbage),
        TEST(test_addresses),   TEST(test_close_under_way),  cmocka_unit_test(test_status_of_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
