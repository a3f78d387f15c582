/* The loop: listeners, connections, and the order of a turn. */
#ifndef SIGNUP_CONTACTS_SIM_SERVER_H
#define SIGNUP_CONTACTS_SIM_SERVER_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sim.h"
#include "timer.h"

struct conn;
struct server;

/* What epoll hands back: its first member tells connections and listeners apart. */
enum source_kind { SOURCE_LISTENER, SOURCE_CONN };

struct listener {
    enum source_kind kind;
    struct server *server;
    int fd;
    bool tls;
    bool control; /* serves control calls alone and never misbehaves */
    enum call_host host;
    uint16_t port;
};

/* Connections waiting for a step of the turn. */
struct conn_list {
    struct conn **items;
    size_t count;
    size_t cap;
};

#define SERVER_LISTENERS_MAX 5
#define SERVER_SCRATCH_BYTES 65536

struct server {
    struct sim *sim;
    int epoll_fd;
    SSL_CTX *tls;
    struct listener listeners[SERVER_LISTENERS_MAX];
    size_t listener_count;
    struct timer_heap timers;
    struct conn_list open;  /* every connection, until it is freed */
    struct conn_list dirty; /* has something to send or to end, once the book is written */
    struct conn_list ready; /* has input left from before */
    struct conn_list dead;  /* freed at the end of the turn */
    uint64_t last_conn_id;
    char date[40];
    int64_t date_s;
    char scratch[SERVER_SCRATCH_BYTES]; /* what a recv fills */
};

/* Opens the listeners and prints where they are; false after a message on stderr. */
bool server_init(struct server *server, struct sim *sim);
/* Until SIGTERM or SIGINT. */
void server_run(struct server *server);
void server_fini(struct server *server);

/* Each puts the connection into its list once. */
void server_mark_dirty(struct conn *conn);
void server_mark_ready(struct conn *conn);

void conn_list_add(struct conn_list *list, struct conn *conn);
void conn_list_remove(struct conn_list *list, const struct conn *conn);

/* In listener.c. False after a message. */
bool listener_open(struct listener *listener, struct server *server, const char *address, bool tls);
void listener_accept(struct listener *listener);
/* The TLS context of the certificate; NULL after a message. */
SSL_CTX *listener_create_tls(const char *cert_file, const char *key_file);

#endif
