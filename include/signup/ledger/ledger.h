/* The ledger room: implements struct ledger_port on PostgreSQL, creates and upgrades the schema, and checks a
 * server for people. */
#ifndef SIGNUP_LEDGER_LEDGER_H
#define SIGNUP_LEDGER_LEDGER_H

#include "signup/base/clock.h"
#include "signup/core/ports.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uv_loop_s;
struct ledger;

enum ledger_condition {
    LEDGER_CONDITION_UP,     /* connected, schema right: operations are taken */
    LEDGER_CONDITION_AWAY,   /* not reachable, or refuses us for now: comes back by itself */
    LEDGER_CONDITION_REFUSED /* reachable, but its schema is missing, older or newer than the program:
                              * somebody must act; it is tried again, so that a migration is noticed */
};
/* "up", "away", "refused". */
const char *ledger_condition_str(enum ledger_condition condition);

struct ledger_config {
    const char *dsn; /* what libpq takes: a URI or key=value pairs; PG* environment variables fill the gaps */
    const char *schema;  /* 1 to 63 bytes; quoted wherever it is used */
    int64_t deadline_ms; /* of one round trip by our own clock; 0: 10 s. The server's statement_timeout is
                          * 4/5, its lock_timeout 2/5 of it. */
    int64_t
        connect_deadline_ms; /* of one attempt at one address, name lookup and log-in included; 0: 2.5 s */
    bool pooled; /* a pooler in transaction mode (PgBouncer) is between: no prepared statements, no session
                  * settings; each statement brings its own parse and its settings along */
    /* Something changed that a tick should look at: connected, or operations completed. May be NULL. On the
     * loop. */
    void (*poke)(void *ctx);
    /* The condition changed. `why` is for people, "" while up, borrowed for the call. `since`: when the
     * condition began. May be NULL. On the loop, never inside a function of this header. */
    void (*on_state)(void *ctx, enum ledger_condition condition, const char *why, wall_us_t since);
    void *ctx;
};

#define LEDGER_ERROR_BYTES 512

/* ---- the adapter of the event loop */

/* Starts connecting at once, asynchronously. `config` and its texts are copied. `loop` is borrowed until the
 * callback of ledger_close(). NULL: `error` (LEDGER_ERROR_BYTES) says why the configuration cannot be used;
 * it never repeats the dsn. */
struct ledger *ledger_create(struct uv_loop_s *loop, const struct ledger_config *config, char *error);

/* The functions; the context is the struct ledger. Operations are refused with PORT_AWAY while the condition
 * is not UP. An operation whose answer was lost may be submitted again unchanged: claims and records are
 * idempotent under their token. */
const struct ledger_port *ledger_port(void);

/* Completes everything pending with LEDGER_AWAY, closes the connection, and frees the ledger after `closed`
 * (may be NULL) has returned. Everything happens later on the loop, never inside this call. Call once. */
void ledger_close(struct ledger *ledger, void (*closed)(void *ctx), void *ctx);

struct ledger_status {
    enum ledger_condition condition;
    const char *why;     /* "" while up; borrowed until the loop turns */
    wall_us_t since;     /* of the condition */
    const char *server;  /* "host:port/dbname" as last tried; borrowed likewise */
    int server_version;  /* 150020 for 15.20; 0 before the first connection */
    uint64_t connects;   /* successful ones */
    uint64_t losses;     /* connections given up */
    uint64_t statements; /* answered */
    uint64_t retries;    /* statements repeated: deadlock, lock timeout, serialization */
    uint64_t forgotten;  /* times that a new connection's server did not know what was confirmed before */
    uint64_t bisections; /* batches split because a row was refused */
    size_t pending;      /* operations not yet completed */
};
void ledger_status(const struct ledger *ledger, struct ledger_status *out);

/* What waits in the ledger, of all workers together. */
struct ledger_counts_op {
    /* out, with LEDGER_OK. Counting ends soon after 1,000,000 of a kind. */
    uint64_t parked; /* those that are in work again among them, here and below */
    uint64_t parked_due;
    uint64_t dead_unpublished;     /* dead events whose letter is not known to be on the topic */
    uint64_t outcomes_unpublished; /* outcomes that are not known to be on their topic */
    int64_t oldest_parked_due_us;  /* how long the longest has been due, by the server's clock; -1: none is */
    int64_t oldest_unpublished_us; /* how long the longest has been dead; -1: none is */
    int64_t oldest_outcome_us;     /* how long the longest has waited; -1: none does */
    void (*done)(struct ledger_counts_op *op, enum ledger_result result);
    void *owner;
    int64_t parked_to; /* the ledger's own: how far it has counted */
    int64_t unpublished_to;
    int64_t outcomes_to;
};
/* For the metrics, every some seconds: a look at three small indexes, in slices between which other statements
 * go, some 50 ms for each 100,000 rows in all. The completion contract is that of the port's operations
 * (ports.h). */
enum port_status ledger_count(struct ledger *ledger, struct ledger_counts_op *op) PORT_MUST_CHECK;

/* ---- for commands: these block; never call them on a running loop */

enum ledger_verdict {
    LEDGER_VERDICT_WELL,
    LEDGER_VERDICT_CONFIG,  /* the dsn or the schema's name cannot be used */
    LEDGER_VERDICT_AWAY,    /* not reachable or not ready */
    LEDGER_VERDICT_REFUSED, /* reachable, but it does not let this user in, or not do this */
    LEDGER_VERDICT_SCHEMA   /* missing, older, newer, or a migration file was changed */
};

/* The version this program needs: the number of its last SQL file. */
int ledger_schema_version(void);

/* Applies the numbered SQL files that are built into the program, each in a transaction of its own under an
 * advisory lock, so that any number of callers may run at once. `report` (may be NULL) hears one line for
 * each file applied. On any other verdict than WELL `error` (LEDGER_ERROR_BYTES) says what to do. */
enum ledger_verdict ledger_migrate(const struct ledger_config *config,
                                   void (*report)(void *ctx, const char *line), void *ctx, char *error);

/* Connects, looks at the schema and at the durability settings. `line` (LEDGER_ERROR_BYTES) says in one line
 * what is well or what to do. */
enum ledger_verdict ledger_check(const struct ledger_config *config, char *line);

#endif
