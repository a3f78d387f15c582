/* The connections of the proxy: reading, holding, spoiling and writing. */
#include "proxy.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK_BYTES 16384
/* A pipe stops reading when so much waits in it: bounds memory, and pushes back like a full link. */
#define PIPE_BYTES_MAX ((size_t)4 * 1024 * 1024)
/* Chunks that a pipe moves before the others have their turn. */
#define PUMP_CHUNKS 16
#define EVENTS_MAX 128

struct chunk {
    struct chunk *next;
    int64_t due_us;
    size_t start, end;
    unsigned char data[CHUNK_BYTES];
};

struct pipe {
    struct chunk *head, *tail;
    size_t held_bytes;
    int64_t read_count;    /* since the rules changed */
    int64_t sent_count;    /* likewise */
    int64_t rate_free_us;  /* when the rate allows the next write */
    int64_t wake_us;       /* when to look again without an event; 0: never */
    bool corrupted;        /* has had its byte since the rules changed */
    bool source_ended;     /* nothing more will be read */
    bool blocked;          /* the destination's buffer is full */
    bool ended;            /* the destination has been told */
};

/* One socket of a connection; what an epoll event points to. */
struct end {
    struct connection *connection;
    int fd;
    uint32_t watched; /* events; 0: not in the epoll set, or EPOLLHUP would spin */
};

struct connection {
    struct connection *prev, *next;
    struct end ends[PROXY_DIRECTIONS]; /* ends[d] is the source of pipe d: client, target */
    struct pipe pipes[PROXY_DIRECTIONS];
    bool connecting;
    bool dead;
};

static char listener_tag, control_tag;

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

struct proxy_rule proxy_rule_none(void)
{
    return (struct proxy_rule){.rst_after_bytes = -1, .rst_times = -1, .corrupt_at_byte = -1, .corrupt_times = -1};
}

bool proxy_address_parse(const char *text, struct sockaddr_in *address)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof(host)) {
        return false;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    char *end = NULL;
    long port = strtol(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || port < 0 || port > 65535) {
        return false;
    }
    memset(address, 0, sizeof(*address));
    address->sin_family = AF_INET;
    address->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &address->sin_addr) == 1;
}

/* --- the life of a connection --- */

static void end_watch(const struct proxy *proxy, struct end *end, uint32_t events)
{
    if (end->watched == events) {
        return;
    }
    struct epoll_event event = {.events = events, .data.ptr = end};
    int operation = events == 0 ? EPOLL_CTL_DEL : end->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    int failed = epoll_ctl(proxy->epoll_fd, operation, end->fd, &event);
    assert(failed == 0);
    (void)failed;
    end->watched = events;
}

static void pipe_clear(struct pipe *pipe)
{
    while (pipe->head != NULL) {
        struct chunk *chunk = pipe->head;
        pipe->head = chunk->next;
        free(chunk);
    }
    pipe->tail = NULL;
    pipe->held_bytes = 0;
}

static void connection_close(struct proxy *proxy, struct connection *connection, bool reset)
{
    if (connection->dead) {
        return;
    }
    connection->dead = true;
    for (int d = 0; d < PROXY_DIRECTIONS; d++) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        if (reset) {
            setsockopt(connection->ends[d].fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        }
        end_watch(proxy, &connection->ends[d], 0);
        close(connection->ends[d].fd);
        pipe_clear(&connection->pipes[d]);
    }
    if (connection->prev != NULL) {
        connection->prev->next = connection->next;
    } else {
        proxy->connections = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->prev = connection->prev;
    }
    connection->next = proxy->dead;
    proxy->dead = connection;
    proxy->stats.open--;
    proxy->stats.resets += reset;
}

static void connections_bury(struct proxy *proxy)
{
    while (proxy->dead != NULL) {
        struct connection *connection = proxy->dead;
        proxy->dead = connection->next;
        free(connection);
    }
}

/* --- the pipes --- */

/* Inverts the byte that the rule names, when it lies within the chunk that was just read. */
static void pipe_corrupt(struct proxy *proxy, struct pipe *pipe, int direction, struct chunk *chunk)
{
    struct proxy_rule *rule = &proxy->rules[direction];
    int64_t at = rule->corrupt_at_byte - pipe->read_count;
    if (rule->corrupt_at_byte < 0 || rule->corrupt_times == 0 || pipe->corrupted || at < 0 ||
        at >= (int64_t)chunk->end) {
        return;
    }
    chunk->data[at] = (unsigned char)~chunk->data[at];
    pipe->corrupted = true;
    proxy->stats.corrupted++;
    if (rule->corrupt_times > 0) {
        rule->corrupt_times--;
    }
}

static void pipe_take(struct proxy *proxy, struct pipe *pipe, int direction, struct chunk *chunk)
{
    const struct proxy_rule *rule = &proxy->rules[direction];
    pipe_corrupt(proxy, pipe, direction, chunk);
    pipe->read_count += (int64_t)chunk->end;
    if (rule->drop) {
        free(chunk);
        return;
    }
    chunk->due_us = rule->delay_us > 0 ? now_us() + rule->delay_us : 0;
    chunk->next = NULL;
    if (pipe->tail == NULL) {
        pipe->head = chunk;
    } else {
        pipe->tail->next = chunk;
    }
    pipe->tail = chunk;
    pipe->held_bytes += chunk->end;
}

/* Reads what is there; false when the source was reset. */
static bool pipe_read(struct proxy *proxy, struct connection *connection, int direction)
{
    struct pipe *pipe = &connection->pipes[direction];
    for (int i = 0; i < PUMP_CHUNKS; i++) {
        if (pipe->source_ended || proxy->rules[direction].blackhole || pipe->held_bytes >= PIPE_BYTES_MAX) {
            return true;
        }
        struct chunk *chunk = malloc(sizeof(*chunk));
        if (chunk == NULL) {
            return false;
        }
        ssize_t got = recv(connection->ends[direction].fd, chunk->data, sizeof(chunk->data), 0);
        if (got > 0) {
            chunk->start = 0;
            chunk->end = (size_t)got;
            pipe_take(proxy, pipe, direction, chunk);
            continue;
        }
        free(chunk);
        pipe->source_ended = got == 0;
        return got == 0 || errno == EAGAIN || errno == EINTR;
    }
    return true;
}

/* How many bytes of the head chunk may leave now; 0 with wake_us set when it is too early. */
static size_t pipe_allowance(const struct proxy_rule *rule, struct pipe *pipe, int64_t now)
{
    const struct chunk *chunk = pipe->head;
    size_t allowed = chunk->end - chunk->start;
    int64_t ready_us = chunk->due_us;
    if (rule->rate_bytes_per_s > 0) {
        size_t slice = (size_t)rule->rate_bytes_per_s / 50; /* of 20 ms */
        allowed = slice < 1 ? 1 : slice < allowed ? slice : allowed;
        ready_us = pipe->rate_free_us > ready_us ? pipe->rate_free_us : ready_us;
    }
    if (ready_us > now) {
        pipe->wake_us = ready_us;
        return 0;
    }
    if (rule->rst_after_bytes >= 0 && rule->rst_times != 0) {
        int64_t left = rule->rst_after_bytes - pipe->sent_count;
        allowed = left < (int64_t)allowed ? (left > 0 ? (size_t)left : 0) : allowed;
    }
    return allowed;
}

static bool pipe_must_reset(struct proxy_rule *rule, const struct pipe *pipe, bool about_to_send)
{
    if (rule->rst_after_bytes < 0 || rule->rst_times == 0 || pipe->sent_count < rule->rst_after_bytes ||
        (rule->rst_after_bytes == 0 && !about_to_send)) {
        return false;
    }
    if (rule->rst_times > 0) {
        rule->rst_times--;
    }
    return true;
}

static void pipe_sent(struct proxy *proxy, struct pipe *pipe, int direction, size_t bytes, int64_t now)
{
    const struct proxy_rule *rule = &proxy->rules[direction];
    struct chunk *chunk = pipe->head;
    chunk->start += bytes;
    pipe->held_bytes -= bytes;
    pipe->sent_count += (int64_t)bytes;
    proxy->stats.bytes[direction] += bytes;
    if (rule->rate_bytes_per_s > 0) {
        pipe->rate_free_us = now + (int64_t)bytes * 1000000 / rule->rate_bytes_per_s;
    }
    if (chunk->start == chunk->end) {
        pipe->head = chunk->next;
        if (pipe->head == NULL) {
            pipe->tail = NULL;
        }
        free(chunk);
    }
}

/* Writes what is due; false when the connection is to be reset. */
static bool pipe_write(struct proxy *proxy, struct connection *connection, int direction)
{
    struct pipe *pipe = &connection->pipes[direction];
    struct proxy_rule *rule = &proxy->rules[direction];
    int64_t now = now_us();
    pipe->wake_us = 0;
    pipe->blocked = false;
    if (rule->blackhole) {
        return true;
    }
    while (pipe->head != NULL) {
        size_t allowed = pipe_allowance(rule, pipe, now);
        if (allowed == 0 && pipe->wake_us != 0) {
            return true;
        }
        if (pipe_must_reset(rule, pipe, true)) {
            return false;
        }
        const struct chunk *chunk = pipe->head;
        ssize_t sent = send(connection->ends[!direction].fd, chunk->data + chunk->start, allowed, MSG_NOSIGNAL);
        if (sent < 0) {
            pipe->blocked = errno == EAGAIN || errno == EINTR;
            return pipe->blocked;
        }
        pipe_sent(proxy, pipe, direction, (size_t)sent, now);
        if (pipe_must_reset(rule, pipe, false)) {
            return false;
        }
    }
    if (pipe->source_ended && !pipe->ended) {
        shutdown(connection->ends[!direction].fd, SHUT_WR);
        pipe->ended = true;
    }
    return true;
}

static void connection_watch(const struct proxy *proxy, struct connection *connection)
{
    for (int d = 0; d < PROXY_DIRECTIONS; d++) {
        const struct pipe *from = &connection->pipes[d];
        const struct pipe *into = &connection->pipes[!d];
        bool reads = !from->source_ended && !proxy->rules[d].blackhole && from->held_bytes < PIPE_BYTES_MAX;
        uint32_t events = (reads ? EPOLLIN : 0u) | (into->blocked ? EPOLLOUT : 0u);
        end_watch(proxy, &connection->ends[d], events);
    }
}

/* Moves whatever can move, then says what it waits for. */
static void connection_pump(struct proxy *proxy, struct connection *connection)
{
    if (connection->dead || connection->connecting) {
        return;
    }
    for (int d = 0; d < PROXY_DIRECTIONS; d++) {
        if (!pipe_read(proxy, connection, d) || !pipe_write(proxy, connection, d)) {
            connection_close(proxy, connection, true);
            return;
        }
    }
    if (connection->pipes[PROXY_UP].ended && connection->pipes[PROXY_DOWN].ended) {
        connection_close(proxy, connection, false);
        return;
    }
    connection_watch(proxy, connection);
}

/* --- accepting and connecting --- */

static void connection_connected(struct proxy *proxy, struct connection *connection)
{
    int error = 0;
    socklen_t length = sizeof(error);
    getsockopt(connection->ends[PROXY_DOWN].fd, SOL_SOCKET, SO_ERROR, &error, &length);
    connection->connecting = false;
    if (error != 0) {
        proxy->stats.connect_failures++;
        connection_close(proxy, connection, true);
        return;
    }
    connection_pump(proxy, connection);
}

static void connection_open(struct proxy *proxy, int client_fd, int target_fd)
{
    struct connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        close(client_fd);
        close(target_fd);
        return;
    }
    int one = 1;
    setsockopt(client_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(target_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    connection->ends[PROXY_UP] = (struct end){.connection = connection, .fd = client_fd};
    connection->ends[PROXY_DOWN] = (struct end){.connection = connection, .fd = target_fd};
    connection->next = proxy->connections;
    if (connection->next != NULL) {
        connection->next->prev = connection;
    }
    proxy->connections = connection;
    proxy->stats.open++;
    connection->connecting = true;
    /* Writable means connected or failed; an immediate result is found the same way. */
    (void)connect(target_fd, (const struct sockaddr *)&proxy->target, sizeof(proxy->target));
    end_watch(proxy, &connection->ends[PROXY_DOWN], EPOLLOUT);
}

static void proxy_accept(struct proxy *proxy)
{
    for (;;) {
        int client_fd = accept4(proxy->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client_fd < 0) {
            return;
        }
        proxy->stats.accepted++;
        int target_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (target_fd < 0) {
            proxy->stats.connect_failures++;
            close(client_fd);
            return;
        }
        connection_open(proxy, client_fd, target_fd);
    }
}

bool proxy_listen(struct proxy *proxy)
{
    if (proxy->listen_fd >= 0) {
        return true;
    }
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener_tag};
    socklen_t length = sizeof(proxy->listen_address);
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0 &&
        bind(fd, (struct sockaddr *)&proxy->listen_address, length) == 0 && listen(fd, 1024) == 0 &&
        getsockname(fd, (struct sockaddr *)&proxy->listen_address, &length) == 0 &&
        epoll_ctl(proxy->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0) {
        proxy->listen_fd = fd;
        return true;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return false;
}

void proxy_refuse(struct proxy *proxy)
{
    if (proxy->listen_fd >= 0) {
        close(proxy->listen_fd);
        proxy->listen_fd = -1;
    }
}

/* --- commands and the loop --- */

int proxy_close_all(struct proxy *proxy, bool reset)
{
    int count = 0;
    while (proxy->connections != NULL) {
        connection_close(proxy, proxy->connections, reset);
        count++;
    }
    return count;
}

int proxy_half_close(struct proxy *proxy, int direction)
{
    int count = 0;
    struct connection *next;
    for (struct connection *connection = proxy->connections; connection != NULL; connection = next) {
        next = connection->next;
        connection->pipes[direction].source_ended = true;
        connection_pump(proxy, connection);
        count++;
    }
    return count;
}

void proxy_rules_changed(struct proxy *proxy)
{
    struct connection *next;
    for (struct connection *connection = proxy->connections; connection != NULL; connection = next) {
        next = connection->next;
        for (int d = 0; d < PROXY_DIRECTIONS; d++) {
            struct pipe *pipe = &connection->pipes[d];
            pipe->read_count = pipe->sent_count = pipe->rate_free_us = 0;
            pipe->corrupted = false;
        }
        connection_pump(proxy, connection);
    }
}

/* Pumps the connections whose time has come; returns the epoll timeout until the next, in ms. */
static int proxy_tick(struct proxy *proxy)
{
    int64_t now = now_us(), first = INT64_MAX;
    struct connection *next;
    for (struct connection *connection = proxy->connections; connection != NULL; connection = next) {
        next = connection->next;
        bool due = false;
        for (int d = 0; d < PROXY_DIRECTIONS; d++) {
            due |= connection->pipes[d].wake_us != 0 && connection->pipes[d].wake_us <= now;
        }
        if (due) {
            connection_pump(proxy, connection);
        }
        for (int d = 0; d < PROXY_DIRECTIONS && !connection->dead; d++) {
            int64_t wake_us = connection->pipes[d].wake_us;
            first = wake_us != 0 && wake_us < first ? wake_us : first;
        }
    }
    if (first == INT64_MAX) {
        return -1;
    }
    return first <= now ? 0 : (int)((first - now + 999) / 1000);
}

static void proxy_event(struct proxy *proxy, struct end *end)
{
    struct connection *connection = end->connection;
    if (connection->dead) {
        return;
    }
    if (connection->connecting) {
        connection_connected(proxy, connection);
    } else {
        connection_pump(proxy, connection);
    }
}

void proxy_run(struct proxy *proxy, int control_fd, void (*on_control)(void *context), void *context)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &control_tag};
    if (control_fd >= 0 && epoll_ctl(proxy->epoll_fd, EPOLL_CTL_ADD, control_fd, &event) != 0) {
        return;
    }
    while (!proxy->quit) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(proxy->epoll_fd, events, EVENTS_MAX, proxy_tick(proxy));
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &listener_tag) {
                proxy_accept(proxy);
            } else if (events[i].data.ptr == &control_tag) {
                on_control(context);
            } else {
                proxy_event(proxy, events[i].data.ptr);
            }
        }
        connections_bury(proxy);
    }
}

bool proxy_init(struct proxy *proxy, const struct sockaddr_in *listen_address, const struct sockaddr_in *target)
{
    memset(proxy, 0, sizeof(*proxy));
    proxy->listen_fd = -1;
    proxy->listen_address = *listen_address;
    proxy->target = *target;
    for (int d = 0; d < PROXY_DIRECTIONS; d++) {
        proxy->rules[d] = proxy_rule_none();
    }
    proxy->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return proxy->epoll_fd >= 0 && proxy_listen(proxy);
}

void proxy_fini(struct proxy *proxy)
{
    proxy_close_all(proxy, false);
    connections_bury(proxy);
    proxy_refuse(proxy);
    close(proxy->epoll_fd);
}
