/* Watching descriptors lazily. libcurl says "remove" after every transfer and "in" before the next; following
 * it to the letter costs two epoll_ctl() calls and 6 µs a request. A connection of ours stays registered for
 * reading while it is idle, and is only taken out when something happens on it that nobody waits for. */
#include "sockets.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct watch {
    uv_poll_t poll;
    struct sockets *sockets;
    curl_socket_t fd;
    int wanted;     /* UV_READABLE and UV_WRITABLE as libcurl asked */
    int registered; /* what the loop watches */
    bool ours;      /* opened by sockets_open(): a connection. Else libcurl's own (the resolver's wake-up) */
    /* Place for sockets_look(): in `unplaced`, then in a bucket. */
    struct watch **home;
    struct watch *next;
    uint16_t local_port;
    uint16_t remote_port;
    uint64_t uses; /* requests that were about to be sent on it */
};

static void place_enter(struct watch *watch, struct watch **home)
{
    watch->home = home;
    watch->next = *home;
    *home = watch;
}

static void place_leave(struct watch *watch)
{
    if (!watch->home)
        return;
    struct watch **at = watch->home;
    while (*at != watch)
        at = &(*at)->next;
    *at = watch->next;
    watch->home = NULL;
    watch->next = NULL;
}

bool sockets_init(struct sockets *sockets, uv_loop_t *loop, size_t expected, sockets_ready_fn *ready,
                  void *ctx)
{
    *sockets = (struct sockets){.loop = loop, .ready = ready, .ctx = ctx, .bucket_count = 16};
    while (sockets->bucket_count < expected * 2)
        sockets->bucket_count *= 2;
    sockets->by_port = calloc(sockets->bucket_count, sizeof(struct watch *));
    return sockets->by_port != NULL;
}

void sockets_fini(struct sockets *sockets)
{
    assert(sockets->handles == 0);
    free(sockets->by_fd);
    free(sockets->by_port);
    *sockets = (struct sockets){0};
}

static struct watch *watch_find(const struct sockets *sockets, curl_socket_t fd)
{
    return fd >= 0 && (size_t)fd < sockets->by_fd_size ? sockets->by_fd[fd] : NULL;
}

static bool by_fd_reserve(struct sockets *sockets, curl_socket_t fd)
{
    if ((size_t)fd < sockets->by_fd_size)
        return true;
    size_t size = sockets->by_fd_size ? sockets->by_fd_size : 64;
    while (size <= (size_t)fd)
        size *= 2;
    struct watch **grown = realloc(sockets->by_fd, size * sizeof(struct watch *));
    if (!grown)
        return false;
    memset(grown + sockets->by_fd_size, 0, (size - sockets->by_fd_size) * sizeof(struct watch *));
    sockets->by_fd = grown;
    sockets->by_fd_size = size;
    return true;
}

/* NULL with errno. */
static struct watch *watch_create(struct sockets *sockets, curl_socket_t fd, bool ours)
{
    assert(!watch_find(sockets, fd));
    struct watch *watch = by_fd_reserve(sockets, fd) ? calloc(1, sizeof *watch) : NULL;
    if (!watch) {
        errno = ENOMEM;
        return NULL;
    }
    int rc = uv_poll_init_socket(sockets->loop, &watch->poll, fd);
    if (rc != 0) {
        free(watch);
        errno = -rc;
        return NULL;
    }
    watch->poll.data = watch;
    watch->sockets = sockets;
    watch->fd = fd;
    watch->ours = ours;
    sockets->by_fd[fd] = watch;
    sockets->handles++;
    return watch;
}

static void watch_on_closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    struct sockets *sockets = watch->sockets;
    free(watch);
    assert(sockets->handles > 0);
    if (--sockets->handles == 0 && sockets->emptied)
        sockets->emptied(sockets->ctx);
}

/* The descriptor's place is free at once; the handle's memory goes when the loop has let go of it. */
static void watch_release(struct watch *watch)
{
    place_leave(watch);
    watch->sockets->by_fd[watch->fd] = NULL;
    uv_close((uv_handle_t *)&watch->poll, watch_on_closed);
}

static void watch_on_event(uv_poll_t *poll, int status, int events);

static void watch_register(struct watch *watch, int events)
{
    if (events == watch->registered)
        return;
    /* Cannot fail for a descriptor that uv_poll_init() has taken; a failure would show as a timeout of the
     * transfer. */
    int rc = events ? uv_poll_start(&watch->poll, events, watch_on_event) : uv_poll_stop(&watch->poll);
    watch->registered = rc == 0 ? events : 0;
}

/* Lazy: an idle connection that is watched for reading stays so. */
static void watch_follow(struct watch *watch)
{
    bool idle = watch->wanted == 0;
    if (idle && watch->ours && watch->registered == UV_READABLE)
        return;
    watch_register(watch, watch->wanted);
}

static void watch_on_event(uv_poll_t *poll, int status, int events)
{
    struct watch *watch = poll->data;
    struct sockets *sockets = watch->sockets;
    curl_socket_t fd = watch->fd;
    if (status < 0)
        watch->registered = 0; /* libuv stops a watcher that reports an error */
    if (watch->wanted == 0) {
        watch_register(watch,
                       0); /* an idle connection has ended or talks unasked: sockets_look() will refuse it */
        return;
    }
    int flags = 0;
    if (status < 0) /* libcurl finds the error itself, and names it better, when it reads */
        flags = CURL_CSELECT_IN | CURL_CSELECT_OUT;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    sockets->ready(sockets->ctx, fd, flags);
    /* libcurl may have closed it meanwhile, and opened another under the same number. */
    watch = watch_find(sockets, fd);
    if (watch && watch->wanted && watch->registered != watch->wanted)
        watch_register(watch, watch->wanted);
}

static bool address_is_loopback(const struct curl_sockaddr *address)
{
    if (address->family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, &address->addr, sizeof v4);
        return (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
    }
    struct sockaddr_in6 v6;
    if (address->family != AF_INET6 || address->addrlen < sizeof v6)
        return false;
    memcpy(&v6, (const char *)address + offsetof(struct curl_sockaddr, addr), sizeof v6);
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

static uint16_t port_of(const void *address)
{
    struct sockaddr_in v4; /* the port lies at the same place for both families */
    memcpy(&v4, address, sizeof v4);
    return ntohs(v4.sin_port);
}

curl_socket_t sockets_open(struct sockets *sockets, const struct curl_sockaddr *address, bool loopback_only)
{
    if (loopback_only && !address_is_loopback(address)) {
        errno = EACCES;
        return CURL_SOCKET_BAD;
    }
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);
    if (fd < 0)
        return CURL_SOCKET_BAD;
    struct watch *watch = watch_create(sockets, fd, true);
    if (!watch) {
        int why = errno;
        close(fd);
        errno = why;
        return CURL_SOCKET_BAD;
    }
    watch->remote_port = port_of(&address->addr);
    place_enter(watch, &sockets->unplaced);
    sockets->opened++;
    sockets->open++;
    return fd;
}

int sockets_close(struct sockets *sockets, curl_socket_t fd)
{
    struct watch *watch = watch_find(sockets, fd);
    if (watch) { /* before close(): the loop must forget a descriptor while it is still that one */
        assert(watch->ours && sockets->open > 0);
        sockets->open--;
        watch_release(watch);
    }
    return close(fd);
}

void sockets_want(struct sockets *sockets, curl_socket_t fd, int what)
{
    struct watch *watch = watch_find(sockets, fd);
    if (what == CURL_POLL_REMOVE) {
        if (watch && !watch->ours) { /* libcurl closes it on its own after this */
            watch_release(watch);
        } else if (watch) {
            watch->wanted = 0;
            watch_follow(watch);
        }
        return;
    }
    if (!watch)
        watch = watch_create(sockets, fd, false);
    if (!watch)
        return; /* no memory: the transfer times out */
    watch->wanted = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    watch_follow(watch);
}

void sockets_release_all(struct sockets *sockets)
{
    for (size_t fd = 0; fd < sockets->by_fd_size; fd++)
        if (sockets->by_fd[fd])
            watch_release(sockets->by_fd[fd]);
}

/* Gives every connection whose connect() has begun its bucket. */
static void place_all(struct sockets *sockets)
{
    for (struct watch *watch = sockets->unplaced, *next; watch; watch = next) {
        struct sockaddr_storage local = {0};
        socklen_t len = sizeof local;
        next = watch->next;
        if (getsockname(watch->fd, (struct sockaddr *)&local, &len) != 0 || port_of(&local) == 0)
            continue;
        watch->local_port = port_of(&local);
        place_leave(watch);
        place_enter(watch, &sockets->by_port[watch->local_port & (sockets->bucket_count - 1)]);
    }
}

static bool watch_is_quiet(struct watch *watch, bool tls)
{
    bool first = watch->uses++ == 0;
    char byte;
    if (first && tls)
        return true;
    return recv(watch->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

enum sockets_quiet sockets_look(struct sockets *sockets, int local_port, int remote_port, bool tls)
{
    enum sockets_quiet result = SOCKETS_UNKNOWN;
    if (sockets->unplaced)
        place_all(sockets);
    struct watch *watch = sockets->by_port[(size_t)local_port & (sockets->bucket_count - 1)];
    for (; watch; watch = watch->next) {
        /* Two connections may share both ports when the API has several addresses: then both must be quiet.
         */
        if (watch->local_port != local_port || watch->remote_port != remote_port)
            continue;
        bool quiet = watch_is_quiet(watch, tls);
        if (result != SOCKETS_STRAY)
            result = quiet ? SOCKETS_QUIET : SOCKETS_STRAY;
    }
    return result;
}
