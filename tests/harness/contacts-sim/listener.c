/* Where clients come in: sockets, TLS context, accepting. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "conn.h"
#include "server.h"

/* "127.0.0.1:8080", "[::1]:0"; names are not looked up. The result is freed with freeaddrinfo. */
static struct addrinfo *listener_parse(const char *address)
{
    char host[64];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    const char *colon = strrchr(address, ':');
    size_t len = colon ? (size_t)(colon - address) : 0;
    bool bracketed = len > 2 && address[0] == '[' && address[len - 1] == ']';
    if (!len || len >= sizeof host)
        return NULL;
    snprintf(host, sizeof host, "%.*s", (int)(bracketed ? len - 2 : len), address + bracketed);
    return getaddrinfo(host, colon + 1, &hints, &found) ? NULL : found;
}

static uint16_t listener_port(int fd)
{
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    char port[NI_MAXSERV];
    if (getsockname(fd, (struct sockaddr *)&bound, &len) ||
        getnameinfo((struct sockaddr *)&bound, len, NULL, 0, port, sizeof port, NI_NUMERICSERV))
        abort(); /* a socket that was just bound has a port */
    return (uint16_t)strtoul(port, NULL, 10);
}

bool listener_open(struct listener *listener, struct server *server, const char *address, bool tls)
{
    int on = 1;
    struct addrinfo *found = listener_parse(address);
    if (!found) {
        fprintf(stderr, "contacts-sim: not an address and port: %s\n", address);
        return false;
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool good = fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) &&
                !bind(fd, found->ai_addr, found->ai_addrlen) && !listen(fd, SOMAXCONN);
    freeaddrinfo(found);
    *listener = (struct listener){.kind = SOURCE_LISTENER, .server = server, .fd = fd, .tls = tls};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
    if (!good || epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
        fprintf(stderr, "contacts-sim: cannot listen on %s: %s\n", address, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    listener->port = listener_port(fd);
    return true;
}

void listener_accept(struct listener *listener)
{
    for (;;) {
        int on = 1;
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0) { /* a server that silently takes no more would be taken for a fault */
            fprintf(stderr, "contacts-sim: accept: %s\n", strerror(errno));
            exit(EX_OSERR);
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        conn_create(listener->server, fd, listener);
    }
}

static int listener_select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                                const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char offered[] = "\x08http/1.1";
    unsigned char *chosen;
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, offered, sizeof offered - 1, in,
                              in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

SSL_CTX *listener_create_tls(const char *cert_file, const char *key_file)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (!tls)
        abort();
    SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(tls, listener_select_alpn, NULL);
    if (SSL_CTX_use_certificate_chain_file(tls, cert_file) == 1 &&
        SSL_CTX_use_PrivateKey_file(tls, key_file, SSL_FILETYPE_PEM) == 1)
        return tls;
    fprintf(stderr, "contacts-sim: cannot use %s and %s:\n", cert_file, key_file);
    ERR_print_errors_fp(stderr);
    SSL_CTX_free(tls);
    return NULL;
}
