/* Bytes in and out of a connection, cleartext or TLS. */
#include <errno.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn.h"

static long conn_io_tls_result(struct conn *conn, int result)
{
    int error = SSL_get_error(conn->ssl, result);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return -1;
    return 0;
}

long conn_io_recv(struct conn *conn, char *bytes, size_t len)
{
    if (conn->ssl) {
        ERR_clear_error();
        int got = SSL_read(conn->ssl, bytes, (int)len);
        return got > 0 ? got : conn_io_tls_result(conn, got);
    }
    ssize_t got;
    do
        got = recv(conn->fd, bytes, len, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EAGAIN ? -1 : 0;
    return got;
}

/* One write; 0 broken, -1 not now. */
static long conn_io_write(struct conn *conn, const char *bytes, size_t len)
{
    if (conn->ssl) {
        ERR_clear_error();
        int sent = SSL_write(conn->ssl, bytes, len > 1 << 20 ? 1 << 20 : (int)len);
        return sent > 0 ? sent : conn_io_tls_result(conn, sent);
    }
    ssize_t sent;
    do
        sent = send(conn->fd, bytes, len, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return errno == EAGAIN ? -1 : 0;
    return sent;
}

int conn_io_send(struct conn *conn)
{
    while (conn->out_at < conn->out.len) {
        long sent = conn_io_write(conn, conn->out.data + conn->out_at, conn->out.len - conn->out_at);
        if (sent <= 0)
            return sent < 0 ? 0 : -1;
        conn->out_at += (size_t)sent;
    }
    conn->out_at = 0;
    buf_clear(&conn->out);
    if (conn->out.cap > 4u << 20)
        buf_fini(&conn->out);
    return 1;
}

int conn_io_handshake(struct conn *conn)
{
    ERR_clear_error();
    int result = SSL_accept(conn->ssl);
    if (result == 1)
        return 1;
    return conn_io_tls_result(conn, result) < 0 ? 0 : -1;
}

size_t conn_io_peek(struct conn *conn, char *bytes, size_t len)
{
    if (conn->ssl) {
        ERR_clear_error();
        int got = SSL_peek(conn->ssl, bytes, (int)len);
        return got > 0 ? (size_t)got : 0;
    }
    ssize_t got = recv(conn->fd, bytes, len, MSG_PEEK | MSG_DONTWAIT);
    return got > 0 ? (size_t)got : 0;
}

bool conn_io_client_left(const struct conn *conn)
{
    char byte;
    if (conn->fd < 0)
        return true;
    ssize_t got = recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0)
        return errno != EAGAIN;
    return got == 0 || conn->ssl; /* a TLS client that waits for an answer has only its farewell to send */
}

void conn_io_close(struct conn *conn, bool reset)
{
    if (conn->fd < 0)
        return;
    if (reset) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    } else if (conn->ssl && SSL_is_init_finished(conn->ssl)) {
        ERR_clear_error();
        SSL_shutdown(conn->ssl);
    }
    SSL_free(conn->ssl);
    conn->ssl = NULL;
    close(conn->fd);
    conn->fd = -1;
}
