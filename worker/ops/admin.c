/* The admin endpoints on the loop: libmicrohttpd without threads of its own. Its epoll descriptor and its
 * timeout are the loop's to watch; a request is answered within the turn that read it. A slow client costs a
 * connection slot for some seconds, nothing else. */
#include "signup/ops/admin.h"

#include "net_text.h"

#include "signup/ops/metrics.h"
#include "signup/ops/status.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>
#include <uv.h>

#define CONNECTIONS_MAX 32
#define BACKLOG 128
#define CONNECTION_TIMEOUT_S 5
#define CONNECTION_MEMORY_BYTES (16 * 1024) /* headers of a request; more is 431 */
#define BODY_BYTES_MAX (8U << 20)           /* thousands of partitions fit */

struct admin {
    uv_loop_t *loop;
    uv_poll_t poll;
    uv_timer_t timer;
    struct MHD_Daemon *daemon;
    void (*fill)(void *ctx, struct ops_snapshot *snapshot);
    void *ctx;
    int port;
    int handles; /* not yet closed */
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* ------------------------------------------------------------------ answers */

enum endpoint { ENDPOINT_LIVEZ, ENDPOINT_READYZ, ENDPOINT_METRICS, ENDPOINT_STATUS, ENDPOINT_COUNT };

static const struct {
    const char *path;
    const char *type;
} endpoints[ENDPOINT_COUNT] = {
    [ENDPOINT_LIVEZ] = {"/livez", "text/plain; charset=utf-8"},
    [ENDPOINT_READYZ] = {"/readyz", "text/plain; charset=utf-8"},
    [ENDPOINT_METRICS] = {"/metrics", "text/plain; version=0.0.4; charset=utf-8"},
    [ENDPOINT_STATUS] = {"/status", "application/json"},
};

static enum endpoint endpoint_find(const char *path)
{
    enum endpoint endpoint = 0;
    while (endpoint < ENDPOINT_COUNT && strcmp(endpoints[endpoint].path, path) != 0)
        endpoint++;
    return endpoint;
}

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code, const char *type,
                              struct slice body, bool last)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body.len, (void *)body.ptr, MHD_RESPMEM_MUST_COPY);
    if (!response)
        return MHD_NO;
    enum MHD_Result result = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (result == MHD_YES)
        result = MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (result == MHD_YES && code == MHD_HTTP_METHOD_NOT_ALLOWED)
        result = MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    if (result == MHD_YES && last)
        result = MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (result == MHD_YES)
        result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned code, const char *text,
                                   bool last)
{
    return answer(connection, code, "text/plain; charset=utf-8", slice_from_str(text), last);
}

static enum MHD_Result answer_endpoint(struct admin *admin, struct MHD_Connection *connection,
                                       enum endpoint endpoint)
{
    struct ops_snapshot snapshot = {0};
    struct metrics_process process;
    struct buf body;
    unsigned code = MHD_HTTP_OK;
    if (endpoint == ENDPOINT_LIVEZ)
        return answer_text(connection, MHD_HTTP_OK, "alive\n", false);
    buf_init(&body, BODY_BYTES_MAX);
    admin->fill(admin->ctx, &snapshot);
    if (endpoint == ENDPOINT_READYZ) {
        status_render_ready(&body, &snapshot);
        code = snapshot.ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
    } else if (endpoint == ENDPOINT_METRICS) {
        metrics_process_read(&process);
        metrics_render(&body, &snapshot, &process);
    } else {
        status_render(&body, &snapshot);
    }
    enum MHD_Result result;
    if (buf_ok(&body))
        result = answer(connection, code, endpoints[endpoint].type, buf_slice(&body), false);
    else
        result = answer_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n", true);
    buf_fini(&body);
    return result;
}

static bool has_body(struct MHD_Connection *connection)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return (length && strcmp(length, "0") != 0) ||
           MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING);
}

/* Called once with the headers (*seen is NULL) and once more where there is no body; an answer to the first
 * call ends the connection (MHD reads no further request), so it is given there only to what we do not want
 * to read on from. */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_len, void **seen)
{
    (void)version;
    (void)upload;
    (void)upload_len;
    bool get = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    enum endpoint endpoint = endpoint_find(path);
    if (!*seen) {
        *seen = connection;
        if (get && has_body(connection))
            return answer_text(connection, MHD_HTTP_BAD_REQUEST, "no body is taken here\n", true);
        if (get)
            return MHD_YES;
        if (endpoint != ENDPOINT_COUNT)
            return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n", true);
    }
    if (endpoint == ENDPOINT_COUNT)
        return answer_text(connection, MHD_HTTP_NOT_FOUND,
                           "there are /livez, /readyz, /metrics and /status\n", !get);
    return answer_endpoint(ctx, connection, endpoint);
}

/* ------------------------------------------------------------------ the loop */

static void run(struct admin *admin);

static void on_timer(uv_timer_t *timer)
{
    run(timer->data);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status; /* an error of the descriptor shows in MHD_run() */
    (void)events;
    run(poll->data);
}

static bool is_full(const struct admin *admin)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info && info->num_connections >= CONNECTIONS_MAX;
}

/* One round of MHD, then its next deadline; 0 means that it has more to do at once: the loop gets its turn in
 * between. While MHD has all the connections it may have, it does not watch its socket, and takes that up
 * again only at the beginning of a round: the round in which a place became free is followed by another. */
static void run(struct admin *admin)
{
    MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
    bool was_full = is_full(admin);
    (void)MHD_run(admin->daemon);
    if (was_full && !is_full(admin))
        (void)uv_timer_start(&admin->timer, on_timer, 0, 0);
    else if (MHD_get_timeout(admin->daemon, &timeout_ms) == MHD_YES)
        (void)uv_timer_start(&admin->timer, on_timer, timeout_ms, 0);
    else
        (void)uv_timer_stop(&admin->timer);
}

/* ------------------------------------------------------------------ listening */

static int error_set(char error[ADMIN_ERROR_BYTES], int code, const char *listen_text, const char *what,
                     const char *remedy)
{
    (void)snprintf(error, ADMIN_ERROR_BYTES, "admin.listen %.100s: %s; %s", listen_text, what, remedy);
    return code;
}

static int bind_error(char error[ADMIN_ERROR_BYTES], const char *listen_text, int number)
{
    switch (number) {
    case EADDRINUSE:
        return error_set(error, EX_UNAVAILABLE, listen_text, "the address is in use",
                         "stop the other program, or choose another port");
    case EADDRNOTAVAIL:
        return error_set(error, EX_UNAVAILABLE, listen_text, "the address is not one of this machine",
                         "write 127.0.0.1:PORT, or :PORT for every address");
    case EACCES:
    case EPERM:
        return error_set(error, EX_NOPERM, listen_text, "this user may not listen there",
                         "choose a port above 1023");
    default: return error_set(error, EX_OSERR, listen_text, strerror(number), "nothing listens");
    }
}

/* Gives the listening descriptor, or -1 with errno. */
static int socket_listen(const struct sockaddr_storage *address, socklen_t len)
{
    int on = 1;
    int off = 0;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on,
                     sizeof on); /* a restart need not wait for TIME_WAIT */
    if (address->ss_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off); /* [::] serves IPv4, too */
    if (bind(fd, (const struct sockaddr *)address, len) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int number = errno;
    (void)close(fd);
    errno = number;
    return -1;
}

/* A machine without IPv6 still has "every address". */
static int listen_anywhere(struct sockaddr_storage *address, socklen_t len)
{
    int fd = socket_listen(address, len);
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    bool no_v6 = fd < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL) &&
                 address->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);
    if (!no_v6)
        return fd;
    struct sockaddr_storage any = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&any;
    v4->sin_family = AF_INET;
    v4->sin_port = v6->sin6_port;
    return socket_listen(&any, sizeof *v4);
}

static int socket_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    socklen_t len = sizeof address;
    if (getsockname(fd, &address.any, &len) != 0)
        return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

/* Takes `fd` on success. */
static bool daemon_start(struct admin *admin, int fd)
{
    admin->daemon =
        MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, admin, MHD_OPTION_LISTEN_SOCKET, fd,
                         MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                         MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_TIMEOUT_S,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_END);
    return admin->daemon != NULL;
}

/* False: nothing was started. */
static bool loop_watch(struct admin *admin)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info || uv_poll_init(admin->loop, &admin->poll, info->epoll_fd) != 0)
        return false;
    (void)uv_timer_init(admin->loop, &admin->timer);
    admin->poll.data = admin;
    admin->timer.data = admin;
    admin->handles = 2;
    int status = uv_poll_start(&admin->poll, UV_READABLE, on_readable);
    assert(status == 0); /* the descriptor was good a moment ago */
    (void)status;
    return true;
}

int admin_create(struct uv_loop_s *loop, const struct admin_config *config, struct admin **out,
                 char error[ADMIN_ERROR_BYTES])
{
    struct sockaddr_storage address;
    socklen_t len;
    *out = NULL;
    error[0] = '\0';
    if (net_listen_is_off(config->listen))
        return 0;
    const char *wrong = net_listen_parse(config->listen, &address, &len);
    if (wrong) {
        (void)snprintf(error, ADMIN_ERROR_BYTES, "admin.listen %.100s: %s", config->listen, wrong);
        return EX_CONFIG;
    }
    int fd = listen_anywhere(&address, len);
    if (fd < 0)
        return bind_error(error, config->listen, errno);
    struct admin *admin = calloc(1, sizeof *admin);
    if (admin) {
        admin->loop = loop;
        admin->fill = config->fill;
        admin->ctx = config->ctx;
        admin->port = socket_port(fd);
    }
    if (!admin || !daemon_start(admin, fd)) {
        (void)close(fd);
        free(admin);
        return error_set(error, EX_OSERR, config->listen, "the HTTP server does not start",
                         "look at memory and descriptors");
    }
    if (!loop_watch(admin)) {
        MHD_stop_daemon(admin->daemon);
        free(admin);
        return error_set(error, EX_OSERR, config->listen, "the loop cannot watch the server",
                         "look at memory and descriptors");
    }
    *out = admin;
    return 0;
}

int admin_port(const struct admin *admin)
{
    return admin ? admin->port : 0;
}

/* ------------------------------------------------------------------ the end */

static void on_closed(uv_handle_t *handle)
{
    struct admin *admin = handle->data;
    if (--admin->handles)
        return;
    void (*closed)(void *ctx) = admin->closed;
    void *ctx = admin->closed_ctx;
    free(admin);
    if (closed)
        closed(ctx);
}

void admin_close(struct admin *admin, void (*closed)(void *ctx), void *ctx)
{
    assert(!uv_is_closing((const uv_handle_t *)&admin->timer));
    admin->closed = closed;
    admin->closed_ctx = ctx;
    uv_close((uv_handle_t *)&admin->poll, on_closed); /* before MHD closes the descriptor that it watches */
    uv_close((uv_handle_t *)&admin->timer, on_closed);
    MHD_stop_daemon(admin->daemon);
    admin->daemon = NULL;
}
