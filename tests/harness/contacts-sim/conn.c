/* One connection: the states of a request on it, and how it ends.
 *
 *   HANDSHAKE -> READING -> DELAYED -> SENDING -> READING ... ; SENDING -> HUNG | DRAINING
 *   a client that leaves: any -> DEAD, or DELAYED -> DETACHED -> DEAD when an effect is still due
 *
 * Events only decide and write into the book; bytes leave, and connections end, in conn_flush, which the loop
 * calls after the book is written. */
#include "conn.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "api.h"
#include "control.h"

#define CONN_IN_MAX_BYTES 262144u     /* read ahead of the parser */
#define CONN_FLUSH_MAX_BYTES 1048576u /* sent in one turn: others wait */
#define CONN_DRAIN_US 5000000u

static void conn_on_timer(struct timer *timer);
static void conn_on_late(struct timer *timer);

static void conn_set_state(struct conn *conn, enum conn_state state)
{
    assert(conn->state != CONN_DEAD);
    conn->state = state;
}

static void conn_watch(struct conn *conn)
{
    uint32_t wanted = EPOLLRDHUP;
    bool reads = conn->state != CONN_HUNG && conn->in.len < CONN_IN_MAX_BYTES;
    if (conn->state == CONN_DETACHED || conn->state == CONN_DEAD)
        return;
    if (conn->state == CONN_DRAINING)
        wanted = 0; /* the end is found by reading */
    if (reads)
        wanted |= EPOLLIN;
    if (conn->wants_write)
        wanted |= EPOLLOUT;
    if (wanted == conn->interest)
        return;
    struct epoll_event event = {.events = wanted, .data.ptr = conn};
    int operation = conn->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(conn->server->epoll_fd, operation, conn->fd, &event))
        abort();
    conn->interest = wanted;
}

static void conn_note(struct conn *conn, const char *phase, uint64_t seq, const char *fault)
{
    struct sim *sim = conn->server->sim;
    book_note_connection(&sim->book, conn->id, sim->wall_us, phase, seq, fault);
}

/* Another call for the same contact and list whose client still waits: two at once are the caller's
 * mistake. */
static bool conn_overlaps(const struct conn *conn)
{
    const struct conn_list *open = &conn->server->open;
    for (size_t i = 0; i < open->count; i++) {
        const struct conn *other = open->items[i];
        if (other != conn && other->call.counted_in_flight && other->call.phone == conn->call.phone &&
            other->call.list == conn->call.list && !conn_io_client_left(other))
            return true;
    }
    return false;
}

static void conn_enter_flight(struct conn *conn)
{
    struct call *call = &conn->call;
    struct state *state = &conn->server->sim->state;
    if (call->op != CALL_UPSERT || !call->phone || !call->list)
        return;
    struct state_list_contact *entry = state_touch_on_list(state, call->phone, call->list);
    entry->calls++;
    call->overlap = entry->in_flight && conn_overlaps(conn);
    state->count.overlapping_calls += call->overlap;
    entry->in_flight++;
    call->counted_in_flight = true;
}

static void conn_leave_flight(struct conn *conn)
{
    struct call *call = &conn->call;
    if (!call->counted_in_flight)
        return;
    call->counted_in_flight = false;
    /* a reset of the state may have come between */
    struct state_list_contact *entry =
        state_find_on_list(&conn->server->sim->state, call->phone, call->list);
    if (entry && entry->in_flight)
        entry->in_flight--;
}

static void conn_bury(struct conn *conn, bool reset)
{
    struct server *server = conn->server;
    conn_leave_flight(conn);
    timer_stop(&server->timers, &conn->timer);
    timer_stop(&server->timers, &conn->late_timer);
    if (conn->state != CONN_DETACHED)
        server->sim->stats.open--;
    conn_io_close(conn, reset);
    conn_set_state(conn, CONN_DEAD);
    conn_list_add(&server->dead, conn);
}

/* The client closed its side or broke the connection. */
static void conn_on_client_gone(struct conn *conn)
{
    struct sim *sim = conn->server->sim;
    struct call *call = &conn->call;
    bool calling = call->seq != 0;
    if (conn->state == CONN_READING && conn->in_request) {
        sim->stats.incomplete++;
        conn_note(conn, "incomplete", 0, NULL);
    } else if (conn->state == CONN_DELAYED && calling) {
        sim->stats.ops[call->op].gone++;
        book_note_end(&sim->book, call, sim->wall_us, "client_gone");
    } else if (conn->state == CONN_SENDING && calling) {
        sim->stats.undelivered++;
        book_note_end(&sim->book, call, sim->wall_us, "undelivered");
    }
    if (conn->state == CONN_DELAYED && call->fault && call->fault->apply == FAULT_APPLY_LATE) {
        timer_stop(&conn->server->timers, &conn->late_timer);
        sim->stats.open--;
        conn_io_close(conn, false);
        conn_set_state(conn, CONN_DETACHED);
        return;
    }
    conn_bury(conn, false);
}

static void conn_apply_late(struct conn *conn)
{
    struct sim *sim = conn->server->sim;
    struct call *call = &conn->call;
    api_perform(sim, call, false);
    if (call->op != CALL_BULK)
        book_note_effect(&sim->book, call, sim->wall_us, &call->effect, -1, call->phone, call->list, NULL);
}

/* The moment of the answer: everything is decided and in the book; conn_flush sends it. */
static void conn_answer(struct conn *conn)
{
    struct sim *sim = conn->server->sim;
    struct call *call = &conn->call;
    if (call->fault && call->fault->apply == FAULT_APPLY_LATE)
        conn_apply_late(conn);
    if (conn->state == CONN_DETACHED) {
        conn_bury(conn, false);
        return;
    }
    plan_build(&conn->plan, call, conn->server->date);
    if (call->op != CALL_CONTROL && plan_answers(&conn->plan)) {
        sim->stats.ops[call->op].answered++;
        sim->stats.ops[call->op].by_status[call->status]++;
        book_note_answered(&sim->book, call, sim->wall_us, conn->plan.whole);
    } else if (call->op != CALL_CONTROL) {
        sim->stats.ops[call->op].dropped++;
        book_note_end(&sim->book, call, sim->wall_us, "dropped");
    }
    conn_set_state(conn, CONN_SENDING);
    server_mark_dirty(conn);
}

static uint64_t conn_draw_delay_us(struct sim *sim, const struct call *call)
{
    double range = (double)(sim->latency_max_ms - sim->latency_min_ms) * 1000;
    uint64_t delay_us = (uint64_t)sim->latency_min_ms * 1000;
    if (range > 0)
        delay_us += (uint64_t)(faults_random(&sim->faults) * range);
    if (call->fault)
        delay_us += (uint64_t)call->fault->delay_ms * 1000;
    return delay_us;
}

static void conn_on_api_call(struct conn *conn)
{
    struct sim *sim = conn->server->sim;
    struct call *call = &conn->call;
    call->seq = ++sim->last_seq;
    sim->stats.ops[call->op].received++;
    call->fault = faults_pick_call(&sim->faults, call, conn->answered > 0);
    sim->stats.faults += call->fault != NULL;
    conn_enter_flight(conn);
    enum fault_apply apply = call->fault ? call->fault->apply : FAULT_APPLY_YES;
    if (call->op == CALL_BULK) /* its effects are lines of their own, after this one */
        book_note_received(&sim->book, call);
    if (apply != FAULT_APPLY_LATE)
        api_perform(sim, call, apply == FAULT_APPLY_NO);
    if (call->op != CALL_BULK)
        book_note_received(&sim->book, call);
    uint64_t delay_us = conn_draw_delay_us(sim, call);
    if (!delay_us) {
        conn_answer(conn);
        return;
    }
    conn_set_state(conn, CONN_DELAYED);
    timer_start(&conn->server->timers, &conn->timer, sim->mono_us + delay_us);
}

static void conn_on_request(struct conn *conn)
{
    struct sim *sim = conn->server->sim;
    struct call *call = &conn->call;
    call->conn_id = conn->id;
    call->received_us = sim->wall_us;
    api_inspect(call);
    if (conn->control_only)
        call->op = CALL_CONTROL;
    if (call->op != CALL_CONTROL) {
        conn_on_api_call(conn);
        return;
    }
    conn->control_seen = true;
    book_note_control(&sim->book, call);
    control_perform(sim, call);
    conn_answer(conn);
}

static void conn_on_malformed(struct conn *conn)
{
    conn->server->sim->stats.malformed++;
    conn_note(conn, "malformed", 0, NULL);
    plan_build_refusal(&conn->plan, 400, conn->server->date);
    conn_set_state(conn, CONN_SENDING);
    server_mark_dirty(conn);
}

/* A fault before anything was read. */
static void conn_meet_early_fault(struct conn *conn, struct fault_action *action)
{
    conn->server->sim->stats.faults++;
    conn_note(conn, "fault", 0, action->label);
    conn->plan.end = action->kind == FAULT_RESET ? PLAN_RESET
                     : action->kind == FAULT_HANG ? PLAN_HANG
                     : action->place == FAULT_AT_BEFORE_READ ? PLAN_DRAIN : PLAN_CLOSE;
    fault_action_give(action);
    conn_set_state(conn, CONN_SENDING);
    server_mark_dirty(conn);
}

/* Looks for a rule at the first bytes of a request without reading them; control calls are let through. */
static bool conn_check_before_read(struct conn *conn)
{
    char bytes[32];
    struct faults *faults = &conn->server->sim->faults;
    if (conn->state != CONN_READING || conn->in_request || conn->in.len || conn->control_seen ||
        conn->control_only || !faults_has_place(faults, FAULT_AT_BEFORE_READ))
        return false;
    size_t len = conn_io_peek(conn, bytes, sizeof bytes);
    if (!len || memmem(bytes, len, " /_sim/", 7))
        return false;
    struct fault_action *action = faults_pick_connection(faults, FAULT_AT_BEFORE_READ, conn->answered > 0);
    if (action)
        conn_meet_early_fault(conn, action);
    return action != NULL;
}

/* Parses one request at most; what is left waits in conn->in. */
static void conn_feed(struct conn *conn, const char *bytes, size_t len)
{
    long taken = conn_http_feed(conn, bytes, len);
    if (taken < 0) {
        buf_clear(&conn->in);
        conn_on_malformed(conn);
        return;
    }
    struct buf rest = {0};
    buf_append(&rest, bytes + taken, len - (size_t)taken);
    buf_swap(&rest, &conn->in);
    buf_fini(&rest);
    if (conn->message_complete)
        conn_on_request(conn);
}

static void conn_take_bytes(struct conn *conn, const char *bytes, size_t len)
{
    switch (conn->state) {
    case CONN_READING:
        assert(!conn->in.len || conn->in_ready);
        if (conn->in.len)
            buf_append(&conn->in, bytes, len); /* conn_resume comes to it in this turn */
        else
            conn_feed(conn, bytes, len);
        break;
    case CONN_DELAYED:
    case CONN_SENDING:
        buf_append(&conn->in, bytes, len);
        break;
    default:
        break; /* draining: thrown away */
    }
}

static void conn_on_readable(struct conn *conn)
{
    struct server *server = conn->server;
    if (conn->state == CONN_HANDSHAKE) {
        int done = conn_io_handshake(conn);
        if (done < 0)
            conn_bury(conn, false);
        if (done <= 0)
            return;
        conn_set_state(conn, CONN_READING);
    }
    if (conn_check_before_read(conn))
        return;
    while (conn->state != CONN_HUNG && conn->state != CONN_DEAD && conn->in.len < CONN_IN_MAX_BYTES) {
        long got = conn_io_recv(conn, server->scratch, sizeof server->scratch);
        if (got < 0)
            break;
        if (!got) {
            conn_on_client_gone(conn);
            return;
        }
        conn_take_bytes(conn, server->scratch, (size_t)got);
        if (!conn->ssl && (size_t)got < sizeof server->scratch)
            break; /* the kernel has no more; a later byte makes a new event */
    }
}

void conn_on_events(struct conn *conn, uint32_t events)
{
    if (conn->state == CONN_DEAD || conn->state == CONN_DETACHED)
        return; /* ended earlier in this turn */
    if (events & EPOLLOUT)
        server_mark_dirty(conn);
    if (events & EPOLLIN && conn->interest & EPOLLIN)
        conn_on_readable(conn);
    else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        conn_on_client_gone(conn);
    if (conn->fd >= 0)
        conn_watch(conn);
}

void conn_resume(struct conn *conn)
{
    if (conn->state != CONN_READING || !conn->in.len)
        return;
    struct buf input = {0};
    buf_swap(&input, &conn->in);
    conn_feed(conn, input.data, input.len);
    buf_fini(&input);
    if (conn->fd >= 0)
        conn_watch(conn);
}

static void conn_schedule_late(struct conn *conn)
{
    struct plan *plan = &conn->plan;
    if (!plan->has_late)
        return;
    buf_swap(&conn->late, &plan->late);
    conn->late_end = plan->late_end;
    conn->late_needs_idle = plan->late_needs_idle;
    conn->late_seq = conn->call.seq;
    timer_start(&conn->server->timers, &conn->late_timer,
                conn->server->sim->mono_us + 1 + (uint64_t)plan->late_ms * 1000);
}

/* The plan has left: the call is over, and perhaps the connection. */
static void conn_finish(struct conn *conn)
{
    enum plan_end end = conn->plan.end;
    conn_leave_flight(conn);
    if (end == PLAN_KEEP)
        conn_schedule_late(conn);
    plan_clear(&conn->plan);
    conn->answered++;
    switch (end) {
    case PLAN_KEEP:
        conn_http_begin(conn);
        conn_set_state(conn, CONN_READING);
        if (conn->in.len)
            server_mark_ready(conn);
        break;
    case PLAN_CLOSE:
    case PLAN_RESET:
        conn_bury(conn, end == PLAN_RESET);
        break;
    case PLAN_HANG:
        conn_set_state(conn, CONN_HUNG);
        break;
    case PLAN_DRAIN:
        shutdown(conn->fd, SHUT_WR);
        conn_set_state(conn, CONN_DRAINING);
        timer_start(&conn->server->timers, &conn->timer, conn->server->sim->mono_us + CONN_DRAIN_US);
        break;
    }
}

/* Sends the waiting bytes; false when nothing more can be done now. */
static bool conn_send(struct conn *conn)
{
    int sent = conn_io_send(conn);
    conn->wants_write = sent == 0;
    if (sent < 0)
        conn_on_client_gone(conn);
    return sent > 0;
}

void conn_flush(struct conn *conn)
{
    if (conn->state == CONN_DEAD || conn->state == CONN_DETACHED)
        return;
    size_t budget = CONN_FLUSH_MAX_BYTES;
    while (conn_send(conn) && conn->state == CONN_SENDING && !conn->timer.slot) {
        unsigned pace_ms;
        if (!budget) {
            server_mark_dirty(conn);
            break;
        }
        if (!plan_next(&conn->plan, &conn->out, &pace_ms)) {
            conn_finish(conn);
            break;
        }
        budget -= conn->out.len < budget ? conn->out.len : budget;
        if (pace_ms)
            timer_start(&conn->server->timers, &conn->timer,
                        conn->server->sim->mono_us + (uint64_t)pace_ms * 1000);
    }
    if (conn->fd >= 0)
        conn_watch(conn);
}

static void conn_on_timer(struct timer *timer)
{
    struct conn *conn = (struct conn *)((char *)timer - offsetof(struct conn, timer));
    switch (conn->state) {
    case CONN_DELAYED:
    case CONN_DETACHED:
        conn_answer(conn);
        break;
    case CONN_SENDING:
        server_mark_dirty(conn);
        break;
    case CONN_DRAINING:
        conn_bury(conn, false);
        break;
    default:
        abort(); /* the timer runs in no other state */
    }
}

/* Unsolicited bytes: between answers when the rule wants idleness, else wherever the connection is. */
static void conn_on_late(struct timer *timer)
{
    struct conn *conn = (struct conn *)((char *)timer - offsetof(struct conn, late_timer));
    bool idle = conn->state == CONN_READING && !conn->in_request;
    if (conn->late_needs_idle && !idle)
        return;
    conn_note(conn, "unsolicited", conn->late_seq,
              conn->late_end == PLAN_KEEP ? "late_response" : conn->late.len ? "idle_408" : "idle_close");
    buf_append(&conn->out, conn->late.data, conn->late.len);
    buf_clear(&conn->late);
    if (conn->late_end != PLAN_KEEP) {
        conn->plan.end = conn->late_end;
        conn_set_state(conn, CONN_SENDING);
    }
    server_mark_dirty(conn);
}

void conn_create(struct server *server, int fd, const struct listener *listener)
{
    struct sim *sim = server->sim;
    struct conn *conn = buf_alloc_zeroed(sizeof *conn);
    conn->kind = SOURCE_CONN;
    conn->server = server;
    conn->fd = fd;
    conn->id = ++server->last_conn_id;
    conn->control_only = listener->control;
    conn->call.host = listener->host;
    conn->timer.fire = conn_on_timer;
    conn->late_timer.fire = conn_on_late;
    conn->state = listener->tls ? CONN_HANDSHAKE : CONN_READING;
    sim->stats.connections++;
    sim->stats.open++;
    conn_list_add(&server->open, conn);
    conn_http_begin(conn);
    if (listener->tls) {
        conn->ssl = SSL_new(server->tls);
        if (!conn->ssl || !SSL_set_fd(conn->ssl, fd))
            abort();
        SSL_set_accept_state(conn->ssl);
    }
    struct fault_action *action = NULL;
    if (!conn->control_only && faults_has_place(&sim->faults, FAULT_AT_ACCEPT))
        action = faults_pick_connection(&sim->faults, FAULT_AT_ACCEPT, false);
    if (action)
        conn_meet_early_fault(conn, action);
    else
        conn_watch(conn);
}

void conn_destroy(struct conn *conn)
{
    conn_io_close(conn, false);
    timer_stop(&conn->server->timers, &conn->timer);
    timer_stop(&conn->server->timers, &conn->late_timer);
    conn->call.counted_in_flight = false;
    call_fini(&conn->call);
    plan_fini(&conn->plan);
    buf_fini(&conn->header_name);
    buf_fini(&conn->header_value);
    buf_fini(&conn->in);
    buf_fini(&conn->out);
    buf_fini(&conn->late);
    free(conn);
}
