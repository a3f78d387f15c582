/* The descriptors of libcurl on the uv loop: kept registered between transfers, and found again by their
 * ports for the guard that looks for bytes nobody asked for. Private to the HTTP client. */
#ifndef SIGNUP_CONTACTS_SOCKETS_H
#define SIGNUP_CONTACTS_SOCKETS_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct watch;

/* A descriptor is ready: `flags` are CURL_CSELECT_*. */
typedef void sockets_ready_fn(void *ctx, curl_socket_t fd, int flags);

struct sockets {
    uv_loop_t *loop;
    struct watch **by_fd; /* index: descriptor; NULL where there is none */
    size_t by_fd_size;
    struct watch **by_port; /* buckets by local port */
    size_t bucket_count;    /* a power of two */
    struct watch *unplaced; /* opened, local port not asked yet */
    size_t handles;         /* uv handles that are not closed yet */
    size_t open;            /* connections */
    uint64_t opened;        /* connections since the start */
    sockets_ready_fn *ready;
    void *ctx;
    void (*emptied)(void *ctx); /* called when the last uv handle is gone, if set */
};

/* `expected`: connections at a time. False: no memory. */
bool sockets_init(struct sockets *sockets, uv_loop_t *loop, size_t expected, sockets_ready_fn *ready,
                  void *ctx);
/* Only when no handle is left. */
void sockets_fini(struct sockets *sockets);

/* For CURLOPT_OPENSOCKETFUNCTION. `loopback_only`: any other address is refused. CURL_SOCKET_BAD with errno
 * on failure. */
curl_socket_t sockets_open(struct sockets *sockets, const struct curl_sockaddr *address, bool loopback_only);
/* For CURLOPT_CLOSESOCKETFUNCTION. */
int sockets_close(struct sockets *sockets, curl_socket_t fd);
/* For CURLMOPT_SOCKETFUNCTION. `what` is CURL_POLL_*. */
void sockets_want(struct sockets *sockets, curl_socket_t fd, int what);
/* Stops watching whatever is left (descriptors that are not ours); the handles close by and by. */
void sockets_release_all(struct sockets *sockets);

enum sockets_quiet {
    SOCKETS_QUIET, /* nothing waits to be read: a request may go out */
    SOCKETS_STRAY, /* bytes, an end or an error wait on it: whatever is read next is not the answer to what is
                      sent next */
    SOCKETS_UNKNOWN /* no such connection */
};

/* Looks at the connection that libcurl is about to send on, named by its ports as CURLOPT_PREREQFUNCTION
 * gives them: libcurl does not tell the descriptor there. `tls`: what arrives unasked on a new connection is
 * the end of the handshake (session tickets). O(1). */
enum sockets_quiet sockets_look(struct sockets *sockets, int local_port, int remote_port, bool tls);

#endif
