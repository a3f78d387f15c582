/* What leaves the simulator for one call, byte by byte: the true answer, or what a fault makes of it. */
#include "plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "faults.h"

#define PLAN_FILL_BYTES 65536u

static const char *plan_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {{200, "OK"}, {201, "Created"}, {301, "Moved Permanently"}, {302, "Found"},
                   {307, "Temporary Redirect"}, {308, "Permanent Redirect"}, {400, "Bad Request"},
                   {401, "Unauthorized"}, {402, "Payment Required"}, {403, "Forbidden"}, {404, "Not Found"},
                   {405, "Method Not Allowed"}, {408, "Request Timeout"}, {413, "Content Too Large"},
                   {429, "Too Many Requests"}, {500, "Internal Server Error"}, {502, "Bad Gateway"},
                   {503, "Service Unavailable"}, {504, "Gateway Timeout"}};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Odd";
}

static void plan_append_status(struct buf *out, int status)
{
    char digits[3];
    for (int i = 2, rest = status; i >= 0; i--, rest /= 10)
        digits[i] = (char)('0' + rest % 10);
    buf_append_str(out, "HTTP/1.1 ");
    buf_append(out, digits, 3);
    buf_append_str(out, " ");
    buf_append_str(out, plan_reason(status));
    buf_append_str(out, "\r\n");
}

/* Whether the rule brings a header of that name ("name:") itself. */
static bool plan_brings(const struct fault_action *action, const char *name)
{
    size_t len = strlen(name);
    if (!action)
        return false;
    for (size_t i = 0; i + len <= action->headers.len; i++)
        if ((i == 0 || action->headers.data[i - 1] == '\n') &&
            !strncasecmp(action->headers.data + i, name, len))
            return true;
    return false;
}

/* One answer in parts: status line and common headers, then what the fault adds, then the body. */
struct plan_parts {
    int status;
    const char *type;
    struct buf extra; /* complete header lines */
    bool no_length;   /* no Content-Length of ours */
    uint64_t length;  /* what Content-Length says */
    struct buf body;
};

/* Returns where the body starts. */
static size_t plan_assemble(struct plan *plan, const struct call *call, const struct plan_parts *parts,
                            const char *date)
{
    struct buf *out = &plan->bytes;
    plan_append_status(out, parts->status);
    if (!plan_brings(call->fault, "date:")) {
        buf_append_str(out, "Date: ");
        buf_append_str(out, date);
        buf_append_str(out, "\r\n");
    }
    if (!plan_brings(call->fault, "content-type:")) {
        buf_append_str(out, "Content-Type: ");
        buf_append_str(out, parts->type);
        buf_append_str(out, "\r\n");
    }
    if (!parts->no_length && !plan_brings(call->fault, "content-length:")) {
        buf_append_str(out, "Content-Length: ");
        buf_append_u64(out, parts->length);
        buf_append_str(out, "\r\n");
    }
    if (!call->keep_alive)
        buf_append_str(out, "Connection: close\r\n");
    if (call->fault)
        buf_append(out, call->fault->headers.data, call->fault->headers.len);
    buf_append(out, parts->extra.data, parts->extra.len);
    buf_append_str(out, "\r\n");
    size_t body_at = out->len;
    buf_append(out, parts->body.data, parts->body.len);
    return body_at;
}

static void plan_append_member(struct buf *out, const char *name, const char *value)
{
    if (!value)
        return;
    buf_append_str(out, out->len > 1 ? ",\"" : "\"");
    buf_append_str(out, name);
    buf_append_str(out, "\":");
    buf_append_json(out, value, strlen(value));
}

/* Status and body of a complete answer: the rule's where it says so, else the true one. */
static void plan_fill_answer(struct plan_parts *parts, const struct call *call)
{
    const struct fault_action *action = call->fault;
    parts->status = action->status >= 0 ? action->status : call->status;
    if (action->body) {
        buf_append(&parts->body, action->body, action->body_len);
    } else if (action->error || action->code || action->message) {
        buf_append_str(&parts->body, "{");
        plan_append_member(&parts->body, "error", action->error);
        plan_append_member(&parts->body, "code", action->code);
        plan_append_member(&parts->body, "message", action->message);
        buf_append_str(&parts->body, "}");
    } else {
        buf_append(&parts->body, call->answer.data, call->answer.len);
    }
}

static void plan_set_body(struct plan_parts *parts, const char *text)
{
    buf_clear(&parts->body);
    buf_append_str(&parts->body, text);
}

static void plan_fill_big_headers(struct buf *extra, const struct fault_action *action)
{
    if (action->one_line) {
        buf_append_str(extra, "X-Fill: ");
        buf_append_fill(extra, 'a', (size_t)action->bytes);
        buf_append_str(extra, "\r\n");
        return;
    }
    for (uint64_t line = 0; extra->len < action->bytes; line++) {
        buf_append_format(extra, "X-Fill-%llu: ", (unsigned long long)line);
        buf_append_fill(extra, 'a', 100);
        buf_append_str(extra, "\r\n");
    }
}

static void plan_fill_chunked(struct plan_parts *parts, const struct fault_action *action)
{
    struct buf plain = parts->body;
    parts->body = (struct buf){0};
    parts->no_length = true;
    buf_append_str(&parts->extra, "Transfer-Encoding: chunked\r\n");
    if (action->kind == FAULT_BAD_CHUNK) {
        buf_append_str(&parts->body, "zz\r\n");
        buf_append(&parts->body, plain.data, plain.len);
        buf_append_str(&parts->body, "\r\n0\r\n\r\n");
    } else {
        buf_append_format(&parts->body, "%zx\r\n", plain.len + 2);
        buf_append(&parts->body, plain.data, plain.len / 2);
    }
    buf_fini(&plain);
}

/* Faults of the framing: what the header says and the body does differ. */
static void plan_spoil_framing(struct plan *plan, struct plan_parts *parts, const struct fault_action *action)
{
    parts->length = parts->body.len;
    plan->whole = false;
    switch (action->kind) {
    case FAULT_DUPLICATE_LENGTH: {
        int64_t second = action->second_length >= 0 ? action->second_length : (int64_t)parts->length;
        buf_append_format(&parts->extra, "Content-Length: %lld\r\n", (long long)second);
        break;
    }
    case FAULT_NUL_HEADER:
        buf_append(&parts->extra, "X-Note: a\0b\r\n", 13);
        break;
    case FAULT_TRUNCATED_BODY:
        parts->body.len /= 2;
        plan->end = PLAN_CLOSE;
        break;
    case FAULT_SHORT_LENGTH:
        parts->length /= 2;
        break;
    case FAULT_BAD_CHUNK:
    case FAULT_TRUNCATED_CHUNK:
        plan_fill_chunked(parts, action);
        plan->end = PLAN_CLOSE;
        break;
    default:
        plan->whole = true;
    }
}

/* Faults of size and encoding. Huge bodies are the answer and blanks after it: valid JSON without end. */
static void plan_spoil_size(struct plan *plan, struct plan_parts *parts, const struct fault_action *action)
{
    static char blanks[PLAN_FILL_BYTES];
    switch (action->kind) {
    case FAULT_BIG_HEADERS:
        plan_fill_big_headers(&parts->extra, action);
        break;
    case FAULT_HUGE_BODY:
        memset(blanks, ' ', sizeof blanks);
        plan->filler = blanks;
        plan->filler_len = sizeof blanks;
        plan->filler_left = action->bytes > parts->body.len ? action->bytes - parts->body.len : 0;
        parts->length = parts->body.len + plan->filler_left;
        parts->no_length = !action->content_length;
        if (parts->no_length)
            plan->end = PLAN_CLOSE;
        break;
    case FAULT_GZIP_BOMB:
    case FAULT_BAD_GZIP:
        buf_append_str(&parts->extra, "Content-Encoding: gzip\r\n");
        buf_clear(&parts->body);
        if (action->kind == FAULT_GZIP_BOMB)
            buf_append(&parts->body, plan_body_bomb(action->bytes)->data, plan_body_bomb(action->bytes)->len);
        else
            buf_append(&parts->body, "\x1f\x8b\x08\0\0\0\0\0\0\xff" "not deflate at all", 28);
        parts->length = parts->body.len;
        plan->whole = action->kind == FAULT_GZIP_BOMB;
        break;
    default:
        break;
    }
}

/* Faults of the content: complete answers that a client must not believe. */
static void plan_spoil_content(struct plan_parts *parts, const struct call *call)
{
    const struct fault_action *action = call->fault;
    int fallback = 200;
    switch (action->kind) {
    case FAULT_EMPTY_BODY:
        plan_set_body(parts, "");
        break;
    case FAULT_HTML_BODY:
        parts->type = "text/html";
        plan_set_body(parts, "<!doctype html><html><body><h1>It works!</h1></body></html>");
        break;
    case FAULT_SUCCESS_FALSE:
        plan_set_body(parts, "{\"success\":false,\"error\":\"simulated fault\"}");
        break;
    case FAULT_WRONG_CONTACT:
        buf_clear(&parts->body);
        plan_body_other_contact(call, &parts->body);
        fallback = call->status;
        break;
    case FAULT_REDIRECT:
        buf_append_str(&parts->extra, "Location: ");
        buf_append_str(&parts->extra, action->location);
        buf_append_str(&parts->extra, "\r\n");
        plan_set_body(parts, action->body ? action->body : "");
        break;
    default:
        return;
    }
    parts->status = action->status >= 0 ? action->status : fallback;
}

static void plan_add_late(struct plan *plan, const struct fault_action *action, const char *date)
{
    static const char unasked[] =
        "{\"success\":true,\"contact_id\":\"c999999999\",\"list_contact_id\":\"lc999999999\","
        "\"is_new_contact\":true,\"is_new_list_contact\":true,\"journeys_enrolled\":0}";
    if (action->kind != FAULT_LATE_RESPONSE && action->kind != FAULT_IDLE_408 &&
        action->kind != FAULT_IDLE_CLOSE)
        return;
    plan->has_late = true;
    plan->late_ms = action->late_ms;
    plan->late_needs_idle = action->kind != FAULT_LATE_RESPONSE;
    plan->late_end = action->kind == FAULT_LATE_RESPONSE ? PLAN_KEEP : PLAN_CLOSE;
    if (action->kind == FAULT_LATE_RESPONSE)
        buf_append_format(&plan->late,
                          "HTTP/1.1 201 Created\r\nDate: %s\r\nContent-Type: application/json\r\n"
                          "Content-Length: %zu\r\n\r\n%s", date, sizeof unasked - 1, unasked);
    else if (action->kind == FAULT_IDLE_408)
        buf_append_format(&plan->late,
                          "HTTP/1.1 408 Request Timeout\r\nDate: %s\r\nContent-Length: 0\r\n"
                          "Connection: close\r\n\r\n", date);
}

/* How close, reset and hang leave the connection. */
static enum plan_end plan_cut_end(enum fault_kind kind)
{
    return kind == FAULT_CLOSE ? PLAN_CLOSE : kind == FAULT_RESET ? PLAN_RESET : PLAN_HANG;
}

/* Close, reset, hang and trickle: where the bytes stop or slow down. */
static void plan_cut(struct plan *plan, const struct fault_action *action, size_t body_at)
{
    if (action->kind == FAULT_TRICKLE) {
        plan->paced_from = action->place == FAULT_AT_IN_BODY ? body_at : 0;
        plan->step_bytes = action->step_bytes;
        plan->step_ms = action->step_ms;
        return;
    }
    if (action->kind != FAULT_CLOSE && action->kind != FAULT_RESET && action->kind != FAULT_HANG)
        return;
    plan->end = plan_cut_end(action->kind);
    if (action->place == FAULT_AT_IN_HEADERS)
        plan->bytes.len = body_at * 2 / 3;
    else if (action->place == FAULT_AT_IN_BODY)
        plan->bytes.len = body_at + (plan->bytes.len - body_at) / 2;
    plan->whole = action->place == FAULT_AT_AFTER_RESPONSE && action->kind != FAULT_RESET;
}

/* Faults that send nothing of an HTTP answer. True when it was one of them. */
static bool plan_build_wordless(struct plan *plan, struct call *call)
{
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    static const char noise[] = "\x16\x03\x01\0\xff not http, not even close\r\n\r\n\0\x01\x02";
    const struct fault_action *action = call->fault;
    bool cut = action->kind == FAULT_CLOSE || action->kind == FAULT_RESET || action->kind == FAULT_HANG;
    if (cut && action->place == FAULT_AT_AFTER_REQUEST) {
        plan->end = plan_cut_end(action->kind);
        call->status = 0;
    } else if (action->kind == FAULT_CONTINUE) {
        plan->filler = interim;
        plan->filler_len = sizeof interim - 1;
        plan->filler_left = UINT64_MAX;
        plan->step_bytes = plan->filler_len;
        plan->step_ms = action->step_ms;
        call->status = 100;
    } else if (action->kind == FAULT_GARBAGE) {
        if (action->body)
            buf_append(&plan->bytes, action->body, action->body_len);
        else
            buf_append(&plan->bytes, noise, sizeof noise - 1);
        plan->end = PLAN_CLOSE;
        call->status = 0;
    } else {
        return false;
    }
    return true;
}

void plan_build(struct plan *plan, struct call *call, const char *date)
{
    const struct fault_action *action = call->fault;
    assert(!plan->bytes.len && !plan->filler_left);
    plan->end = call->keep_alive ? PLAN_KEEP : PLAN_CLOSE;
    if (action && plan_build_wordless(plan, call))
        return;
    struct plan_parts parts = {.status = call->status, .type = "application/json"};
    plan->whole = true;
    if (!action) { /* the body moves to and fro without a copy */
        buf_swap(&parts.body, &call->answer);
        parts.length = parts.body.len;
    } else {
        plan_fill_answer(&parts, call);
        plan_spoil_content(&parts, call);
        plan_spoil_framing(plan, &parts, action);
        plan_spoil_size(plan, &parts, action);
        plan_add_late(plan, action, date);
    }
    size_t body_at = plan_assemble(plan, call, &parts, date);
    call->status = parts.status;
    if (action)
        plan_cut(plan, action, body_at);
    else
        buf_swap(&parts.body, &call->answer);
    buf_fini(&parts.body);
    buf_fini(&parts.extra);
}

void plan_build_refusal(struct plan *plan, int status, const char *date)
{
    plan_append_status(&plan->bytes, status);
    buf_append_format(&plan->bytes, "Date: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", date);
    plan->whole = true;
    plan->end = PLAN_CLOSE;
}

bool plan_answers(const struct plan *plan)
{
    return plan->bytes.len || plan->filler_left;
}

static bool plan_next_filler(struct plan *plan, struct buf *out, unsigned *pace_ms)
{
    if (!plan->filler_left)
        return false;
    uint64_t len = plan->filler_left < plan->filler_len ? plan->filler_left : plan->filler_len;
    buf_append(out, plan->filler, (size_t)len);
    if (plan->filler_left != UINT64_MAX)
        plan->filler_left -= len;
    *pace_ms = plan->step_ms;
    return true;
}

bool plan_next(struct plan *plan, struct buf *out, unsigned *pace_ms)
{
    *pace_ms = 0;
    size_t left = plan->bytes.len - plan->at;
    if (!left)
        return plan_next_filler(plan, out, pace_ms);
    if (!plan->step_ms && !plan->at && !out->len) {
        plan->at = plan->bytes.len;
        buf_swap(out, &plan->bytes);
        plan->bytes.len = plan->at = 0;
        return true;
    }
    if (plan->step_ms && plan->at >= plan->paced_from) {
        left = left < plan->step_bytes ? left : plan->step_bytes;
        *pace_ms = plan->step_ms;
    } else if (plan->step_ms) {
        left = plan->paced_from - plan->at;
    }
    buf_append(out, plan->bytes.data + plan->at, left);
    plan->at += left;
    return true;
}

void plan_clear(struct plan *plan)
{
    struct plan next = {.bytes = plan->bytes, .late = plan->late};
    *plan = next;
    if (plan->bytes.cap > 65536)
        buf_fini(&plan->bytes);
    buf_clear(&plan->bytes);
    buf_clear(&plan->late);
}

void plan_fini(struct plan *plan)
{
    buf_fini(&plan->bytes);
    buf_fini(&plan->late);
    *plan = (struct plan){0};
}
