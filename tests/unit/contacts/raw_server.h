/* A TCP server on the test's own loop that does exactly what a test says, byte for byte, and counts what it
 * was asked. */
#ifndef SIGNUP_TEST_RAW_SERVER_H
#define SIGNUP_TEST_RAW_SERVER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define RAW_TEXT_BYTES 16384
#define RAW_UNUSED __attribute__((unused))

struct raw_server;

struct raw_conn {
    uv_tcp_t tcp;
    struct raw_server *server;
    struct raw_conn *next;
    char text[RAW_TEXT_BYTES]; /* received, not yet a whole request */
    size_t len;
    int number;   /* of the connection, from 1 */
    int requests; /* whole ones on this connection */
    bool closing;
};

struct raw_server {
    uv_loop_t *loop;
    uv_tcp_t listener;
    int port;
    bool listening;
    int connections;
    int open;
    int most_open;
    int requests;
    char last[RAW_TEXT_BYTES]; /* the last whole request, head and body */
    struct raw_conn *conns;    /* every one that is open */
    /* Called for every whole request. */
    void (*answer)(struct raw_server *server, struct raw_conn *conn);
    /* Called when a connection is accepted; may be NULL. */
    void (*greet)(struct raw_server *server, struct raw_conn *conn);
    void *data;
};

static void raw_conn_closed(uv_handle_t *handle)
{
    struct raw_conn *conn = handle->data;
    struct raw_conn **at = &conn->server->conns;
    while (*at != conn)
        at = &(*at)->next;
    *at = conn->next;
    conn->server->open--;
    free(conn);
}

static void raw_close(struct raw_conn *conn)
{
    if (!conn->closing)
        uv_close((uv_handle_t *)&conn->tcp, raw_conn_closed);
    conn->closing = true;
}

/* Closes so that the peer gets an RST. */
RAW_UNUSED static void raw_reset(struct raw_conn *conn)
{
    if (!conn->closing)
        uv_tcp_close_reset(&conn->tcp, raw_conn_closed);
    conn->closing = true;
}

/* As much as the socket takes at once; tests that send more do so in turns. */
RAW_UNUSED static size_t raw_send(struct raw_conn *conn, const char *bytes, size_t len)
{
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);
    int n = conn->closing ? -1 : uv_try_write((uv_stream_t *)&conn->tcp, &buf, 1);
    return n > 0 ? (size_t)n : 0;
}

RAW_UNUSED static void raw_say(struct raw_conn *conn, const char *text)
{
    raw_send(conn, text, strlen(text));
}

#define RAW_OK_BODY(id)                                                                                      \
    "{\"success\":true,\"contact_id\":\"" id "\",\"list_contact_id\":\"l-" id                                \
    "\",\"is_new_contact\":true,\"is_new_list_contact\":true,\"journeys_enrolled\":1}"

/* A whole answer with a Content-Length. */
RAW_UNUSED static void raw_answer(struct raw_conn *conn, int status, const char *headers, const char *body)
{
    char text[RAW_TEXT_BYTES];
    int len = snprintf(text, sizeof text,
                       "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s",
                       status, headers, strlen(body), body);
    raw_send(conn, text, (size_t)len);
}

static void raw_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct raw_conn *conn = handle->data;
    (void)suggested;
    *buf = uv_buf_init(conn->text + conn->len, (unsigned)(sizeof conn->text - 1 - conn->len));
}

/* Length of the whole request at the start of the text, or 0. */
static size_t raw_request_length(const struct raw_conn *conn)
{
    const char *end = strstr(conn->text, "\r\n\r\n");
    if (!end)
        return 0;
    const char *length = strcasestr(conn->text, "\r\nContent-Length:");
    size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    size_t whole = (size_t)(end + 4 - conn->text) + body;
    return conn->len >= whole ? whole : 0;
}

static void raw_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct raw_conn *conn = stream->data;
    struct raw_server *server = conn->server;
    (void)buf;
    if (n < 0) {
        raw_close(conn);
        return;
    }
    conn->len += (size_t)n;
    conn->text[conn->len] = '\0';
    size_t whole;
    while (!conn->closing && (whole = raw_request_length(conn)) != 0) {
        memcpy(server->last, conn->text, whole);
        server->last[whole] = '\0';
        memmove(conn->text, conn->text + whole, conn->len - whole + 1);
        conn->len -= whole;
        conn->requests++;
        server->requests++;
        server->answer(server, conn);
    }
}

static void raw_accept(uv_stream_t *listener, int status)
{
    struct raw_server *server = listener->data;
    struct raw_conn *conn = calloc(1, sizeof *conn);
    if (status < 0 || !conn)
        abort();
    conn->server = server;
    conn->number = ++server->connections;
    conn->next = server->conns;
    server->conns = conn;
    uv_tcp_init(server->loop, &conn->tcp);
    conn->tcp.data = conn;
    if (uv_accept(listener, (uv_stream_t *)&conn->tcp) != 0)
        abort();
    uv_tcp_nodelay(&conn->tcp, 1);
    if (++server->open > server->most_open)
        server->most_open = server->open;
    uv_read_start((uv_stream_t *)&conn->tcp, raw_alloc, raw_read);
    if (server->greet)
        server->greet(server, conn);
}

static void raw_server_start(struct raw_server *server, uv_loop_t *loop)
{
    struct sockaddr_in address;
    int len = sizeof address;
    memset(server, 0, sizeof *server);
    server->loop = loop;
    uv_ip4_addr("127.0.0.1", 0, &address);
    if (uv_tcp_init(loop, &server->listener) ||
        uv_tcp_bind(&server->listener, (struct sockaddr *)&address, 0) ||
        uv_listen((uv_stream_t *)&server->listener, 512, raw_accept) ||
        uv_tcp_getsockname(&server->listener, (struct sockaddr *)&address, &len))
        abort();
    server->listener.data = server;
    server->port = ntohs(address.sin_port);
    server->listening = true;
}

/* No new connections; the open ones stay. */
static void raw_server_deafen(struct raw_server *server)
{
    if (server->listening)
        uv_close((uv_handle_t *)&server->listener, NULL);
    server->listening = false;
}

static void raw_server_stop(struct raw_server *server)
{
    raw_server_deafen(server);
    for (struct raw_conn *conn = server->conns; conn; conn = conn->next)
        raw_close(conn);
}

#endif
