/* The loop: listeners, connections, and the order of a turn. */
#include "server.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "conn.h"

static volatile sig_atomic_t server_stopping;

static void server_on_signal(int number)
{
    (void)number;
    server_stopping = 1;
}

void conn_list_add(struct conn_list *list, struct conn *conn)
{
    if (list->count == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 64;
        list->items = realloc(list->items, list->cap * sizeof(struct conn *));
        if (!list->items)
            abort();
    }
    list->items[list->count++] = conn;
}

void conn_list_remove(struct conn_list *list, const struct conn *conn)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i] == conn) {
            list->items[i] = list->items[--list->count];
            return;
        }
    }
}

void server_mark_dirty(struct conn *conn)
{
    if (!conn->in_dirty)
        conn_list_add(&conn->server->dirty, conn);
    conn->in_dirty = true;
}

void server_mark_ready(struct conn *conn)
{
    if (!conn->in_ready)
        conn_list_add(&conn->server->ready, conn);
    conn->in_ready = true;
}

static void server_read_clocks(struct server *server)
{
    struct timespec wall, mono;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_MONOTONIC, &mono);
    server->sim->wall_us = (int64_t)wall.tv_sec * 1000000 + wall.tv_nsec / 1000;
    server->sim->mono_us = (uint64_t)mono.tv_sec * 1000000 + (uint64_t)mono.tv_nsec / 1000;
    if (wall.tv_sec != server->date_s) {
        struct tm tm;
        server->date_s = wall.tv_sec;
        gmtime_r(&wall.tv_sec, &tm);
        strftime(server->date, sizeof server->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    }
}

static bool server_open_listeners(struct server *server)
{
    const struct options *options = server->sim->options;
    bool tls_everywhere = options->tls_cert && !options->tls_listen && !options->validation_tls_listen;
    enum call_host usual = options->strict_hosts ? CALL_HOST_CONTACTS : CALL_HOST_BOTH;
    struct {
        const char *address;
        bool tls;
        bool control;
        enum call_host host;
        const char *words;
    } wanted[SERVER_LISTENERS_MAX] = {
        {options->listen, tls_everywhere, false, usual, "listening on"},
        {options->tls_listen, true, false, usual, "listening on"},
        {options->validation_listen, tls_everywhere, false, CALL_HOST_VALIDATION, "validation on"},
        {options->validation_tls_listen, true, false, CALL_HOST_VALIDATION, "validation on"},
        {options->control_listen, false, true, CALL_HOST_BOTH, "control on"},
    };
    for (size_t i = 0; i < SERVER_LISTENERS_MAX; i++) {
        struct listener *listener = &server->listeners[server->listener_count];
        if (!wanted[i].address)
            continue;
        if (!listener_open(listener, server, wanted[i].address, wanted[i].tls))
            return false;
        listener->control = wanted[i].control;
        listener->host = wanted[i].host;
        server->listener_count++;
        int host = (int)(strrchr(wanted[i].address, ':') - wanted[i].address);
        printf("%s %s://%.*s:%u\n", wanted[i].words, wanted[i].tls ? "https" : "http", host,
               wanted[i].address,
               listener->port);
    }
    fflush(stdout);
    return true;
}

/* One port a line, in the order of the listeners; the file appears complete or not at all. */
static bool server_write_ports(const struct server *server, const char *path)
{
    struct buf part = {0};
    buf_append_format(&part, "%s.part", path);
    FILE *file = fopen(buf_text(&part), "w");
    bool good = file != NULL;
    for (size_t i = 0; good && i < server->listener_count; i++)
        good = fprintf(file, "%u\n", server->listeners[i].port) > 0;
    good = file && !fclose(file) && good && !rename(buf_text(&part), path);
    if (!good)
        fprintf(stderr, "contacts-sim: cannot write %s: %s\n", path, strerror(errno));
    buf_fini(&part);
    return good;
}

bool server_init(struct server *server, struct sim *sim)
{
    struct sigaction action = {.sa_handler = server_on_signal};
    const struct options *options = sim->options;
    server->sim = sim;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (server->epoll_fd < 0)
        abort();
    server_read_clocks(server);
    if (options->port_file)
        unlink(options->port_file); /* whoever waits for it must not read an older one */
    if (options->tls_cert) {
        server->tls = listener_create_tls(options->tls_cert, options->tls_key);
        if (!server->tls)
            return false;
    }
    return server_open_listeners(server) && (!options->port_file ||
                                             server_write_ports(server, options->port_file));
}

/* Runs `step` on all that are in the list now; what it adds waits for the next time. */
static void server_run_list(struct conn_list *list, struct conn_list *spare, void (*step)(struct conn *conn))
{
    struct conn_list now = *list;
    *list = *spare;
    list->count = 0;
    for (size_t i = 0; i < now.count; i++) {
        struct conn *conn = now.items[i];
        step(conn);
    }
    *spare = now;
}

static void server_step_ready(struct conn *conn)
{
    conn_resume(conn);
    conn->in_ready = false;
}

static void server_step_dirty(struct conn *conn)
{
    conn->in_dirty = false;
    conn_flush(conn);
}

static void server_bury_dead(struct server *server)
{
    for (size_t i = 0; i < server->dead.count; i++) {
        struct conn *conn = server->dead.items[i];
        conn_list_remove(&server->open, conn);
        if (conn->in_dirty)
            conn_list_remove(&server->dirty, conn);
        if (conn->in_ready)
            conn_list_remove(&server->ready, conn);
        conn_destroy(conn);
    }
    server->dead.count = 0;
}

static void server_dispatch(const struct epoll_event *event)
{
    enum source_kind kind = *(enum source_kind *)event->data.ptr;
    if (kind == SOURCE_LISTENER)
        listener_accept(event->data.ptr);
    else
        conn_on_events(event->data.ptr, event->events);
}

void server_run(struct server *server)
{
    struct epoll_event events[256];
    struct conn_list spare_ready = {0}, spare_dirty = {0};
    while (!server_stopping) {
        bool busy = server->dirty.count || server->ready.count;
        int wait_ms = busy ? 0 : timer_wait_ms(&server->timers, server->sim->mono_us);
        int count = epoll_wait(server->epoll_fd, events, 256, wait_ms);
        assert(count >= 0 || errno == EINTR);
        server_read_clocks(server);
        server_run_list(&server->ready, &spare_ready, server_step_ready); /* input older than any event's */
        for (int i = 0; i < count; i++)
            server_dispatch(&events[i]);
        timer_fire_due(&server->timers, server->sim->mono_us);
        book_flush(&server->sim->book); /* before an answer of this turn leaves */
        server_run_list(&server->dirty, &spare_dirty, server_step_dirty);
        server_bury_dead(server); /* last: the lists above still named them */
    }
    free(spare_ready.items);
    free(spare_dirty.items);
}

void server_fini(struct server *server)
{
    for (size_t i = 0; i < server->open.count; i++)
        conn_destroy(server->open.items[i]);
    for (size_t i = 0; i < server->listener_count; i++)
        close(server->listeners[i].fd);
    free(server->open.items);
    free(server->dirty.items);
    free(server->ready.items);
    free(server->dead.items);
    timer_fini(&server->timers);
    SSL_CTX_free(server->tls);
    close(server->epoll_fd);
}
