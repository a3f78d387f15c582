/* TLS against a real OpenSSL server (s_server) with certificates made on the spot: who is trusted, and that
 * nothing leaves for others. */
#include "world.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[] = "/tmp/contacts-tls-XXXXXX";

/* Runs one openssl command in the directory; it must succeed. */
static void openssl(const char *arguments)
{
    char command[1024];
    snprintf(command, sizeof command, "cd %s && openssl %s >/dev/null 2>&1", dir, arguments);
    int status = system(command); /* NOLINT(bugprone-command-processor): fixed words of this test */
    if (status != 0)
        fail_msg("openssl %s: status %d", arguments, status);
}

#define NEW_KEY "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"

static int make_certificates(void **state)
{
    (void)state;
    if (!mkdtemp(dir))
        return -1;
    openssl("req -x509 " NEW_KEY " -keyout ca.key -out ca.pem -days 2 -subj '/CN=Test CA'");
    openssl("req -x509 " NEW_KEY " -keyout other-ca.key -out other-ca.pem -days 2 -subj '/CN=Other CA'");
    static const char *const names[][2] = {{"good", "IP:127.0.0.1"}, {"name", "DNS:elsewhere.example"}};
    for (size_t i = 0; i < 2; i++) {
        char command[512];
        snprintf(command, sizeof command,
                 "req " NEW_KEY " -keyout %s.key -out %s.csr -subj /CN=x -addext subjectAltName=%s",
                 names[i][0], names[i][0], names[i][1]);
        openssl(command);
        snprintf(command, sizeof command,
                 "x509 -req -in %s.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -copy_extensions "
                 "copy -out %s.pem",
                 names[i][0], names[i][0]);
        openssl(command);
    }
    /* An end before the beginning of today: expired. */
    openssl("req " NEW_KEY " -keyout old.key -out old.csr -subj /CN=x -addext subjectAltName=IP:127.0.0.1");
    openssl("x509 -req -in old.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days -1 -copy_extensions copy "
            "-out old.pem");
    return 0;
}

static int remove_certificates(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command); /* NOLINT(bugprone-command-processor) */
}

/* An s_server behind pipes: what a client says comes out of `out`, what is written to `in` goes to the
 * client. */
struct tls_server {
    uv_process_t process;
    uv_pipe_t in;
    uv_pipe_t out;
    int port;
    bool exited;
    char text[RAW_TEXT_BYTES];
    size_t len;
    int requests;
};

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    close(fd);
    return ntohs(address.sin_port);
}

static bool port_answers(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool answers = connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    close(fd);
    return answers;
}

static void on_exit_of_server(uv_process_t *process, int64_t status, int signal_number)
{
    struct tls_server *server = process->data;
    (void)status;
    (void)signal_number;
    server->exited = true;
}

static void out_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct tls_server *server = handle->data;
    (void)suggested;
    *buf = uv_buf_init(server->text + server->len, (unsigned)(sizeof server->text - 1 - server->len));
}

static void out_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct tls_server *server = stream->data;
    (void)buf;
    if (n <= 0)
        return;
    server->len += (size_t)n;
    server->text[server->len] = '\0';
    char *end = strstr(server->text, "\r\n\r\n");
    if (!end || !strstr(end, WORLD_BODY))
        return;
    server->requests++;
    server->len = 0;
    char answer[1024];
    int len =
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 strlen(RAW_OK_BODY("c-1")), RAW_OK_BODY("c-1"));
    uv_buf_t out = uv_buf_init(answer, (unsigned)len);
    assert_int_equal(uv_try_write((uv_stream_t *)&server->in, &out, 1), len);
}

static void tls_server_start(struct tls_server *server, uv_loop_t *loop, const char *name)
{
    char accept[32], certificate[64], key[64];
    memset(server, 0, sizeof *server);
    server->port = free_port();
    snprintf(accept, sizeof accept, "127.0.0.1:%d", server->port);
    snprintf(certificate, sizeof certificate, "%s/%s.pem", dir, name);
    snprintf(key, sizeof key, "%s/%s.key", dir, name);
    /* Under a limit of its own, so that a test that fails on its way leaves no server behind for long. */
    char *arguments[] = {"timeout", "60",    "openssl",   "s_server", "-quiet", "-accept",
                         accept,    "-cert", certificate, "-key",     key,      NULL};
    uv_pipe_init(loop, &server->in, 0);
    uv_pipe_init(loop, &server->out, 0);
    server->in.data = server->out.data = server->process.data = server;
    uv_stdio_container_t stdio[] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&server->in},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&server->out},
        {.flags = UV_IGNORE},
    };
    const uv_process_options_t options = {
        .file = "timeout", .args = arguments, .stdio = stdio, .stdio_count = 3, .exit_cb = on_exit_of_server};
    assert_int_equal(uv_spawn(loop, &server->process, &options), 0);
    uv_read_start((uv_stream_t *)&server->out, out_alloc, out_read);
    mono_us_t end = mono_add(clock_mono_now(), WORLD_DEADLINE_US);
    while (!port_answers(server->port)) {
        if (server->exited || mono_reached(clock_mono_now(), end))
            fail_msg("s_server does not listen");
        uv_run(loop, UV_RUN_ONCE);
    }
}

static void tls_server_stop(struct tls_server *server, uv_loop_t *loop)
{
    uv_process_kill(&server->process, SIGTERM);
    while (!server->exited)
        uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&server->process, NULL);
    uv_close((uv_handle_t *)&server->in, NULL);
    uv_close((uv_handle_t *)&server->out, NULL);
}

/* A world whose adapter speaks to `server`, trusting `ca`. */
static void world_over_tls(struct world *world, struct tls_server *server, const char *name, const char *ca)
{
    static char url[64], ca_file[64];
    world_open(world);
    tls_server_start(server, &world->loop, name);
    struct contacts_config config = world_config(world, url, sizeof url);
    snprintf(url, sizeof url, "https://127.0.0.1:%d/api/v2", server->port);
    snprintf(ca_file, sizeof ca_file, "%s/%s", dir, ca ? ca : "");
    config.ca_file = ca ? ca_file : NULL;
    config.max_in_flight = 2;
    world_connect(world, &config);
}

static void a_trusted_server_is_talked_to_over_one_connection(void **state)
{
    struct world world;
    struct tls_server server;
    struct test_call call;
    (void)state;
    world_over_tls(&world, &server, "good", "ca.pem");
    for (int i = 0; i < 20; i++) {
        call_run(&world, &call);
        if (call.call.outcome.cls != OUTCOME_ACCEPTED)
            fail_msg("%s: %s", call.call.outcome.code, call.call.outcome.message);
        call_end(&call);
    }
    assert_int_equal(server.requests, 20);
    assert_int_equal(world_stats(&world).connections_opened, 1);
    assert_int_equal(world_stats(&world).strays_refused, 0);
    tls_server_stop(&server, &world.loop);
    world_end(&world);
}

static void refused(const char *name, const char *ca, const char *word)
{
    struct world world;
    struct tls_server server;
    struct test_call call;
    world_over_tls(&world, &server, name, ca);
    call_run(&world, &call);
    assert_int_equal(call.call.outcome.cls, OUTCOME_TRANSPORT);
    assert_string_equal(call.call.outcome.code, "tls_failed");
    assert_false(call.call.outcome.maybe_sent);
    if (!strstr(call.call.outcome.message, word))
        fail_msg("%s", call.call.outcome.message);
    assert_int_equal(server.requests, 0);
    call_end(&call);
    tls_server_stop(&server, &world.loop);
    world_end(&world);
}

static void nobody_else_is(void **state)
{
    (void)state;
    refused("good", "other-ca.pem", "certificate");
    refused("good", NULL, "certificate"); /* the system's bundle does not know the test's CA */
    refused("name", "ca.pem", "127.0.0.1");
    refused("old", "ca.pem", "expired");
}

/* Plain HTTP where TLS is expected, and a handshake that stalls. */
static void answer_never(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    (void)conn;
}

static void greet_in_plain(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    raw_say(conn, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
}

static void no_tls(void (*greet)(struct raw_server *, struct raw_conn *), const char *code)
{
    struct world world;
    struct test_call call;
    char url[64];
    world_open(&world);
    world.server.answer = answer_never;
    world.server.greet = greet;
    struct contacts_config config = world_config(&world, url, sizeof url);
    snprintf(url, sizeof url, "https://127.0.0.1:%d/api/v2", world.server.port);
    config.connect_timeout_ms = 200;
    world_connect(&world, &config);
    call_run(&world, &call);
    assert_string_equal(call.call.outcome.code, code);
    assert_false(call.call.outcome.maybe_sent);
    assert_true(call.call.outcome.duration_us < 1200 * US_PER_MS);
    call_end(&call);
    world_end(&world);
}

static void what_is_no_tls_is_not_sent_to(void **state)
{
    (void)state;
    no_tls(greet_in_plain, "tls_failed");
    no_tls(NULL, "timed_out");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_trusted_server_is_talked_to_over_one_connection),
        cmocka_unit_test(nobody_else_is),
        cmocka_unit_test(what_is_no_tls_is_not_sent_to),
    };
    return cmocka_run_group_tests_name("contacts: tls", tests, make_certificates, remove_certificates);
}
