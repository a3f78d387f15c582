/* One connection machine: reaches the server, keeps a pipeline of statements under way, and comes back by
 * itself. It knows nothing of what the statements mean. */
#ifndef SIGNUP_LEDGER_CONN_H
#define SIGNUP_LEDGER_CONN_H

#include "address.h"
#include "fault.h"
#include "params.h"
#include "signup/base/clock.h"
#include "signup/ledger/ledger.h"
#include "sql.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/*   CONN_WAITING ──> CONN_RESOLVING ──> CONN_CONNECTING ──> CONN_PREPARING ──> CONN_READY
 *        ^   backoff        │ addresses      │ logged in         │ schema right     │
 *        └──────────────────┴────────────────┴── conn_fail() ────┴──────────────────┘
 *
 * CONNECTING goes round once for each address; conn_close() leads from any state to CONN_CLOSED. Only
 * conn_move() writes the state. */
#define CONN_STATES(X)                                                                                       \
    X(WAITING, "waiting")                                                                                    \
    X(RESOLVING, "resolving")                                                                                \
    X(CONNECTING, "connecting")                                                                              \
    X(PREPARING, "preparing")                                                                                \
    X(READY, "ready")                                                                                        \
    X(CLOSED, "closed")

enum conn_state {
#define X(name, text) CONN_##name,
    CONN_STATES(X)
#undef X
};
const char *conn_state_str(enum conn_state state);

#define CONN_IN_FLIGHT_MAX 8

/* One segment of the pipeline, up to its Sync. `done` is called once, never inside conn_send(): `result` NULL
 * says that the connection was lost and the statement may or may not have been executed; otherwise it is
 * durable, or failed, as the result's status says. */
struct conn_request {
    struct conn_request *next;
    PGresult *result;  /* the first error, else that of the statement that was asked for */
    unsigned results;  /* seen so far */
    unsigned settings; /* results before the one that is kept */
    void (*done)(struct conn_request *request, const PGresult *result);
};

struct conn_events {
    void (*ready)(void *ctx);
    /* The connection is gone; every request under way is completed right after. `refused`: the schema is
     * wrong. */
    void (*lost)(void *ctx, bool refused, const char *why);
    void (*room)(void *ctx); /* more may be sent */
};

struct conn_watch;

struct conn {
    uv_loop_t *loop;
    const struct conn_events *events;
    void *ctx;
    int64_t deadline_ms;
    int64_t connect_deadline_ms;
    char statement_timeout[16];
    char lock_timeout[16];
    const char *schema; /* borrowed, for messages */
    struct sql_texts texts;
    struct address_book book;

    uv_timer_t timer; /* by state: backoff, deadline of the connect, of the round trip */
    uv_timer_t kick;  /* what must not happen inside a caller's function happens one turn later */
    void (*closed)(void *ctx);

    struct address_lookup *lookup;
    struct address_candidate candidates[ADDRESS_CANDIDATES_MAX];
    size_t candidate_count;
    size_t candidate;
    PGconn *pg;
    struct conn_watch *watch;

    struct conn_request *head; /* under way, in the order of their Syncs */
    struct conn_request *tail;
    size_t in_flight;

    struct conn_request setup; /* session settings */
    struct conn_request look;  /* schema and durability */
    struct conn_request look_back; /* is what was confirmed still there? */
    struct conn_request prepare;

    int64_t backoff_us;
    uint64_t ready_at_ms;
    uint64_t random;
    char why[LEDGER_ERROR_BYTES];
    char server[ADDRESS_TEXT_BYTES];
    uint64_t connects;
    uint64_t losses;
    uint64_t answered;

    enum conn_state state;
    int handles; /* open ones; the last to close finishes */
    int server_version;
    bool pooled;
    bool want_write;
    bool broken; /* conn_fail() at the next kick */
    bool broken_refused;
    bool durability_warned;
    bool looks_back; /* of this connection: asked */

    /* The last record that the server has confirmed: after a failover it shows whether the ledger has
     * forgotten. */
    char last_event_id[256]; /* "": none yet */
    struct claim_token last_token;
    wall_us_t last_at;
    uint64_t forgotten; /* times that it had */
};

/* False: the dsn or the schema cannot be used. Starts at once. */
bool conn_init(struct conn *conn, uv_loop_t *loop, const struct ledger_config *config, const char *schema,
               const struct conn_events *events, void *ctx, char *error);
/* Requests under way complete with NULL, then `closed`; later on the loop. */
void conn_close(struct conn *conn, void (*closed)(void *ctx));

/* True when a statement may be sent now. */
bool conn_has_room(const struct conn *conn);
struct conn_statement {
    enum sql_id id;
    const struct params *params;
};
/* Sends statements in a segment of their own, which is one transaction; the answer is that of the first. Only
 * in CONN_READY. */
void conn_send(struct conn *conn, struct conn_request *request, const struct conn_statement *statements,
               size_t count);
/* Gives the connection up: `why` becomes the reason. One turn later. */
void conn_give_up(struct conn *conn, const char *why);
/* The server has confirmed this record. */
void conn_remember(struct conn *conn, struct slice event_id, struct claim_token token);
/* A statement has been answered well: the backoff starts anew. */
void conn_praise(struct conn *conn);

/* ---- between the files of the machine */
void conn_move(struct conn *conn, enum conn_state state);
void conn_fail(struct conn *conn, bool refused, const char *why);
void conn_break(struct conn *conn, bool refused,
                const char *why); /* conn_fail() one turn later; for callbacks */
void conn_watch_start(struct conn *conn, int events);
void conn_watch_stop(struct conn *conn);
void conn_on_socket(struct conn *conn, int status);
void conn_arm(struct conn *conn, int64_t ms);
int64_t conn_jitter(struct conn *conn, int64_t us);

void session_begin(struct conn *conn); /* session.c: settings, look, prepare */

void wire_queue(struct conn *conn, struct conn_request *request);
void wire_sync(struct conn *conn, struct conn_request *request);
bool wire_read(struct conn *conn); /* false: the connection is not usable any more */
void wire_flush(struct conn *conn);
void wire_fail_all(struct conn *conn);
void wire_error_text(const struct conn *conn, const PGresult *result, char *text, size_t size);

#endif
