/* One connection: the states of a request on it, and how it ends. */
#ifndef SIGNUP_CONTACTS_SIM_CONN_H
#define SIGNUP_CONTACTS_SIM_CONN_H

#include <http_parser.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "call.h"
#include "plan.h"
#include "server.h"
#include "timer.h"

enum conn_state {
    CONN_HANDSHAKE, /* TLS */
    CONN_READING,   /* waits for a request or is inside one */
    CONN_DELAYED,   /* the request is there, its answer waits for the timer */
    CONN_SENDING,   /* the plan leaves */
    CONN_HUNG,      /* a fault: nothing is read or written any more */
    CONN_DRAINING,  /* our FIN is out; what comes in is thrown away */
    CONN_DETACHED,  /* the client left, but an effect is still due */
    CONN_DEAD,      /* freed at the end of the turn */
};

struct conn {
    enum source_kind kind;
    struct server *server;
    int fd; /* -1 once closed */
    uint64_t id;
    SSL *ssl; /* NULL in cleartext */
    enum conn_state state;
    bool control_only;  /* came through the control port */
    bool control_seen;  /* has carried a control call: exempt from faults before reading */
    bool in_dirty;
    bool in_ready;
    bool in_request; /* part of a request has been read */
    bool message_complete;
    bool expects_continue;
    bool header_has_value;
    bool wants_write; /* the kernel's buffer is full */
    uint32_t interest; /* what epoll watches */
    uint64_t answered; /* requests answered before */
    http_parser parser;
    struct buf header_name;
    struct buf header_value;
    struct buf in; /* read, but not parsed yet */
    struct buf out;
    size_t out_at;
    struct call call;
    struct plan plan;
    struct timer timer;      /* delay, pace, drain: one at a time */
    struct timer late_timer; /* unsolicited bytes after an answer */
    struct buf late;
    enum plan_end late_end;
    bool late_needs_idle;
    uint64_t late_seq;
};

/* Takes the fd. */
void conn_create(struct server *server, int fd, const struct listener *listener);
void conn_on_events(struct conn *conn, uint32_t events);
/* Goes on with input that was left when the answer before it was under way. */
void conn_resume(struct conn *conn);
/* Sends what the plan says; only after the book is written. */
void conn_flush(struct conn *conn);
/* Frees it; only from the end of the turn. */
void conn_destroy(struct conn *conn);

/* In conn_http.c: feeds bytes up to the end of one request; returns how many it took, -1 when it is not
 * HTTP. */
void conn_http_begin(struct conn *conn);
long conn_http_feed(struct conn *conn, const char *bytes, size_t len);

/* In conn_io.c. recv: bytes, 0 at the end (or error), -1 when there is nothing now. */
long conn_io_recv(struct conn *conn, char *bytes, size_t len);
/* Sends from conn->out: 1 all sent, 0 the kernel is full, -1 broken. */
int conn_io_send(struct conn *conn);
/* 1 done, 0 not yet, -1 failed. */
int conn_io_handshake(struct conn *conn);
/* A look at the first waiting bytes that leaves them unread; the number of bytes. */
size_t conn_io_peek(struct conn *conn, char *bytes, size_t len);
/* Whether the client has left although we have not read that yet. */
bool conn_io_client_left(const struct conn *conn);
void conn_io_close(struct conn *conn, bool reset);

#endif
