/* The life of the connection: wait, resolve, connect, prepare, ready, and back. Nothing here blocks: names
 * are looked up by libuv, libpq connects step by step, and every wait has a deadline of our own, because
 * neither connect_timeout nor keepalives work for us here. */
#include "conn.h"

#include "signup/base/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKOFF_BASE_US (50 * US_PER_MS)
#define BACKOFF_CAP_US (2 * US_PER_S)
#define DEADLINE_MS 10000
#define CONNECT_DEADLINE_MS 2500

/* A handle of its own for each socket: libuv frees it later than libpq closes the socket. */
struct conn_watch {
    uv_poll_t poll;
    struct conn *conn; /* NULL once closing */
    int fd;
};

const char *conn_state_str(enum conn_state state)
{
    static const char *const names[] = {
#define X(name, text) text,
        CONN_STATES(X)
#undef X
    };
    return names[state];
}

void conn_move(struct conn *conn, enum conn_state state)
{
    static const unsigned legal[] = {
        [CONN_WAITING] = 1U << CONN_RESOLVING | 1U << CONN_CLOSED,
        [CONN_RESOLVING] = 1U << CONN_CONNECTING | 1U << CONN_WAITING | 1U << CONN_CLOSED,
        [CONN_CONNECTING] =
            1U << CONN_CONNECTING | 1U << CONN_PREPARING | 1U << CONN_WAITING | 1U << CONN_CLOSED,
        [CONN_PREPARING] = 1U << CONN_READY | 1U << CONN_WAITING | 1U << CONN_CLOSED,
        [CONN_READY] = 1U << CONN_WAITING | 1U << CONN_CLOSED,
        [CONN_CLOSED] = 0,
    };
    assert(legal[conn->state] & 1U << state);
    LOG_AT(LOG_DEBUG, "ledger", "the connection moves", LOG_STR("from", conn_state_str(conn->state)),
           LOG_STR("to", conn_state_str(state)), LOG_STR("server", conn->server));
    conn->state = state;
}

int64_t conn_jitter(struct conn *conn, int64_t us)
{
    conn->random ^= conn->random << 13;
    conn->random ^= conn->random >> 7;
    conn->random ^= conn->random << 17;
    return us / 2 + (int64_t)(conn->random % (uint64_t)(us / 2 + 1));
}

/* ------------------------------------------------------------------ handles */

static void on_handle_closed(struct conn *conn)
{
    if (--conn->handles > 0 || conn->state != CONN_CLOSED)
        return;
    sql_free_all(&conn->texts);
    address_book_fini(&conn->book);
    conn->closed(conn->ctx);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    free(handle);
    on_handle_closed(conn);
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_handle_closed(handle->data);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct conn_watch *watch = (struct conn_watch *)poll;
    if (watch->conn)
        conn_on_socket(watch->conn, status);
}

void conn_watch_stop(struct conn *conn)
{
    if (!conn->watch)
        return;
    conn->watch->conn = NULL;
    uv_poll_stop(&conn->watch->poll);
    uv_close((uv_handle_t *)&conn->watch->poll, on_watch_closed);
    conn->watch = NULL;
}

void conn_watch_start(struct conn *conn, int events)
{
    int fd = PQsocket(conn->pg);
    if (conn->watch && conn->watch->fd != fd)
        conn_watch_stop(conn);
    if (!conn->watch) {
        struct conn_watch *watch = calloc(1, sizeof *watch);
        if (!watch || uv_poll_init(conn->loop, &watch->poll, fd) != 0) {
            free(watch);
            conn_break(conn, false, "the connection's socket cannot be watched");
            return;
        }
        watch->conn = conn;
        watch->fd = fd;
        watch->poll.data = conn;
        conn->watch = watch;
        conn->handles++;
    }
    uv_poll_start(&conn->watch->poll, events, on_poll);
}

/* ------------------------------------------------------------------ giving up, and trying again */

static void start_resolving(struct conn *conn);
static void connect_next(struct conn *conn);
static void on_timer(uv_timer_t *timer);

void conn_arm(struct conn *conn, int64_t ms)
{
    uv_timer_start(&conn->timer, on_timer, (uint64_t)(ms > 0 ? ms : 0), 0);
}

static void drop_socket(struct conn *conn)
{
    conn_watch_stop(conn);
    if (conn->pg)
        PQfinish(conn->pg);
    conn->pg = NULL;
    conn->want_write = false;
    conn->broken = false;
}

static int64_t next_pause_us(struct conn *conn)
{
    if (conn->ready_at_ms && uv_now(conn->loop) - conn->ready_at_ms > 10000)
        conn->backoff_us = 0;
    conn->backoff_us = conn->backoff_us ? conn->backoff_us * 2 : BACKOFF_BASE_US;
    if (conn->backoff_us > BACKOFF_CAP_US)
        conn->backoff_us = BACKOFF_CAP_US;
    return conn_jitter(conn, conn->backoff_us);
}

void conn_fail(struct conn *conn, bool refused, const char *why)
{
    if (conn->state == CONN_CLOSED || conn->state == CONN_WAITING)
        return;
    if (why != conn->why)
        snprintf(conn->why, sizeof conn->why, "%s", why);
    if (conn->state == CONN_READY)
        conn->losses++;
    if (conn->lookup)
        address_lookup_abandon(conn->lookup);
    conn->lookup = NULL;
    drop_socket(conn);
    int64_t pause_us = next_pause_us(conn);
    conn->ready_at_ms = 0;
    conn_move(conn, CONN_WAITING);
    conn_arm(conn, pause_us / US_PER_MS);
    conn->events->lost(conn->ctx, refused, conn->why);
    wire_fail_all(conn);
}

static void on_kick(uv_timer_t *kick)
{
    struct conn *conn = kick->data;
    if (conn->broken)
        conn_fail(conn, conn->broken_refused, conn->why);
}

void conn_break(struct conn *conn, bool refused, const char *why)
{
    if (conn->broken)
        return;
    conn->broken = true;
    conn->broken_refused = refused;
    snprintf(conn->why, sizeof conn->why, "%s", why);
    uv_timer_start(&conn->kick, on_kick, 0, 0);
}

void conn_give_up(struct conn *conn, const char *why)
{
    if (conn->state == CONN_READY)
        conn_break(conn, false, why);
}

void conn_praise(struct conn *conn)
{
    conn->backoff_us = 0;
}

/* One address did not work: the next one, or, after the last, a pause. */
static void candidate_failed(struct conn *conn, const char *why)
{
    snprintf(conn->why, sizeof conn->why, "%s", why);
    if (conn->candidate + 1 >= conn->candidate_count) {
        conn_fail(conn, false, conn->why);
        return;
    }
    conn->candidate++;
    drop_socket(conn);
    connect_next(conn);
}

static void on_timer(uv_timer_t *timer)
{
    struct conn *conn = timer->data;
    char why[160];
    switch (conn->state) {
    case CONN_WAITING:
        start_resolving(conn);
        return;
    case CONN_RESOLVING:
        conn_fail(conn, false, "the host name is not answered for by the name server");
        return;
    case CONN_CONNECTING:
        snprintf(why, sizeof why, "no connection within %lld ms", (long long)conn->connect_deadline_ms);
        candidate_failed(conn, why);
        return;
    case CONN_PREPARING:
    case CONN_READY: {
        /* The answer may be here already: this process may be what stood still. */
        uint64_t answered = conn->answered;
        if (!wire_read(conn) || conn->state == CONN_WAITING || conn->state == CONN_CLOSED || !conn->head)
            return;
        if (conn->state == CONN_READY && conn->answered != answered)
            return; /* armed anew by the answer */
        snprintf(why, sizeof why, "no answer within %lld ms",
                 (long long)(conn->state == CONN_READY ? conn->deadline_ms : conn->connect_deadline_ms));
        conn_fail(conn, false, why);
        return;
    }
    case CONN_CLOSED:
        return;
    }
}

/* ------------------------------------------------------------------ connecting */

static void on_found(void *ctx, const struct address_candidate *candidates, size_t count, const char *why)
{
    struct conn *conn = ctx;
    conn->lookup = NULL;
    if (!count) {
        conn_fail(conn, false, why);
        return;
    }
    memcpy(conn->candidates, candidates, count * sizeof *candidates);
    conn->candidate_count = count;
    conn->candidate = 0;
    connect_next(conn);
}

static void start_resolving(struct conn *conn)
{
    conn_move(conn, CONN_RESOLVING);
    conn_arm(conn, conn->connect_deadline_ms);
    conn->lookup = address_lookup_start(conn->loop, &conn->book, on_found, conn);
    if (!conn->lookup)
        conn_fail(conn, false, "out of memory");
}

static void first_line(const char *message, char *out, size_t size)
{
    size_t len = strcspn(message, "\n");
    snprintf(out, size, "%.*s", (int)len, message);
}

static void connect_step(struct conn *conn)
{
    char why[LEDGER_ERROR_BYTES];
    /* libpq may close the socket and open another one in here: libuv must not be watching then. */
    if (conn->watch)
        uv_poll_stop(&conn->watch->poll);
    switch (PQconnectPoll(conn->pg)) {
    case PGRES_POLLING_READING:
        conn_watch_stop(conn);
        conn_watch_start(conn, UV_READABLE);
        return;
    case PGRES_POLLING_WRITING:
        conn_watch_stop(conn);
        conn_watch_start(conn, UV_WRITABLE);
        return;
    case PGRES_POLLING_OK:
        conn_watch_stop(conn);
        conn_watch_start(conn, UV_READABLE);
        conn_move(conn, CONN_PREPARING);
        conn->server_version = PQserverVersion(conn->pg);
        session_begin(conn);
        return;
    default:
        first_line(PQerrorMessage(conn->pg), why, sizeof why);
        candidate_failed(conn, why);
    }
}

static void connect_next(struct conn *conn)
{
    struct address_params params;
    const struct address_candidate *candidate = &conn->candidates[conn->candidate];
    conn_move(conn, CONN_CONNECTING);
    conn_arm(conn, conn->connect_deadline_ms);
    address_text(&conn->book, candidate, conn->server, sizeof conn->server);
    address_params_fill(&conn->book, conn->book.hosts[0].host || candidate->hostaddr[0] ? candidate : NULL,
                        &params);
    conn->pg = PQconnectStartParams(params.keys, params.values, 0);
    if (!conn->pg) {
        candidate_failed(conn, "out of memory");
        return;
    }
    if (PQstatus(conn->pg) == CONNECTION_BAD) {
        char why[LEDGER_ERROR_BYTES];
        first_line(PQerrorMessage(conn->pg), why, sizeof why);
        candidate_failed(conn, why);
        return;
    }
    conn_watch_start(conn, UV_WRITABLE);
}

void conn_on_socket(struct conn *conn, int status)
{
    if (conn->state == CONN_CONNECTING) {
        connect_step(conn);
        return;
    }
    if (!wire_read(conn) || (conn->state != CONN_READY && conn->state != CONN_PREPARING))
        return;
    if (status >= 0) {
        wire_flush(conn);
        return;
    }
    /* An error that libpq has not acted on, and libuv has stopped watching. The server's own words, where it has sent some, say more. */
    char why[LEDGER_ERROR_BYTES];
    wire_error_text(conn, NULL, why, sizeof why);
    conn_fail(conn, false, PQerrorMessage(conn->pg)[0] ? why : uv_strerror(status));
}

/* ------------------------------------------------------------------ beginning and end */

static void timer_init(struct conn *conn, uv_timer_t *timer)
{
    uv_timer_init(conn->loop, timer);
    timer->data = conn;
    conn->handles++;
}

bool conn_init(struct conn *conn, uv_loop_t *loop, const struct ledger_config *config, const char *schema,
               const struct conn_events *events, void *ctx, char *error)
{
    memset(conn, 0, sizeof *conn);
    if (!sql_schema_name_ok(schema)) {
        snprintf(error, LEDGER_ERROR_BYTES, "postgres.schema is a name of 1 to 63 bytes");
        return false;
    }
    if (!address_book_init(&conn->book, config->dsn ? config->dsn : "", error, LEDGER_ERROR_BYTES))
        return false;
    if (!sql_render_all(&conn->texts, schema)) {
        address_book_fini(&conn->book);
        snprintf(error, LEDGER_ERROR_BYTES, "out of memory");
        return false;
    }
    conn->loop = loop;
    conn->events = events;
    conn->ctx = ctx;
    conn->schema = schema;
    conn->pooled = config->pooled;
    conn->deadline_ms = config->deadline_ms > 0 ? config->deadline_ms : DEADLINE_MS;
    conn->connect_deadline_ms =
        config->connect_deadline_ms > 0 ? config->connect_deadline_ms : CONNECT_DEADLINE_MS;
    snprintf(conn->statement_timeout, sizeof conn->statement_timeout, "%d", (int)(conn->deadline_ms * 4 / 5));
    snprintf(conn->lock_timeout, sizeof conn->lock_timeout, "%d", (int)(conn->deadline_ms * 2 / 5));
    conn->random = uv_hrtime() ^ (uint64_t)getpid() << 32 ^ 1;
    address_text(&conn->book, NULL, conn->server, sizeof conn->server);
    conn->state = CONN_WAITING;
    timer_init(conn, &conn->timer);
    timer_init(conn, &conn->kick);
    conn_arm(conn, 0);
    return true;
}

static void on_close_kick(uv_timer_t *kick)
{
    struct conn *conn = kick->data;
    drop_socket(conn);
    wire_fail_all(conn);
    uv_close((uv_handle_t *)&conn->timer, on_timer_closed);
    uv_close((uv_handle_t *)&conn->kick, on_timer_closed);
}

void conn_close(struct conn *conn, void (*closed)(void *ctx))
{
    conn->closed = closed;
    if (conn->lookup)
        address_lookup_abandon(conn->lookup);
    conn->lookup = NULL;
    conn_watch_stop(conn);
    uv_timer_stop(&conn->timer);
    conn_move(conn, CONN_CLOSED);
    uv_timer_start(&conn->kick, on_close_kick, 0, 0);
}
