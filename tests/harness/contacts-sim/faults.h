/* Faults on command: rules that pick calls or connections, and the actions that they ask for. */
#ifndef SIGNUP_CONTACTS_SIM_FAULTS_H
#define SIGNUP_CONTACTS_SIM_FAULTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "call.h"

/* name in JSON · what leaves the simulator */
#define FAULT_KINDS(X) \
    X(FAULT_ANSWER, "answer", "a complete answer: the true one, or status/code/error/message/headers/body") \
    X(FAULT_CLOSE, "close", "FIN; at: accept before_read after_request in_headers in_body after_response") \
    X(FAULT_RESET, "reset", "RST; same places") \
    X(FAULT_HANG, "hang", "nothing more for ever, connection open; same places") \
    X(FAULT_TRICKLE, "trickle", "step_bytes every step_ms; at: in_headers (all of it) or in_body") \
    X(FAULT_CONTINUE, "continue", "100 Continue every step_ms for ever") \
    X(FAULT_GARBAGE, "garbage", "bytes that are not HTTP (body), then FIN") \
    X(FAULT_DUPLICATE_LENGTH, "duplicate_length", "Content-Length twice; second_length may differ") \
    X(FAULT_NUL_HEADER, "nul_header", "a header value with a NUL byte") \
    X(FAULT_BIG_HEADERS, "big_headers", "bytes (2000000) of headers; one_line: in a single line") \
    X(FAULT_HUGE_BODY, "huge_body", "bytes (100000000) of body; content_length true or false") \
    X(FAULT_GZIP_BOMB, "gzip_bomb", "Content-Encoding: gzip that expands to bytes (100000000)") \
    X(FAULT_BAD_GZIP, "bad_gzip", "Content-Encoding: gzip over bytes that are not") \
    X(FAULT_TRUNCATED_BODY, "truncated_body", "half of the announced body, then FIN") \
    X(FAULT_SHORT_LENGTH, "short_length", "Content-Length smaller than the body") \
    X(FAULT_BAD_CHUNK, "bad_chunk", "chunked, with a size that is no number") \
    X(FAULT_TRUNCATED_CHUNK, "truncated_chunk", "chunked, FIN inside a chunk") \
    X(FAULT_EMPTY_BODY, "empty_body", "200 with Content-Length 0") \
    X(FAULT_HTML_BODY, "html_body", "200 with a web page") \
    X(FAULT_SUCCESS_FALSE, "success_false", "200 with success false") \
    X(FAULT_WRONG_CONTACT, "wrong_contact", "a complete success that speaks of another contact") \
    X(FAULT_LATE_RESPONSE, "late_response", "the true answer, and after late_ms (50) one unasked for") \
    X(FAULT_IDLE_408, "idle_408", "the true answer, and after late_ms (50) of idleness 408 and FIN") \
    X(FAULT_IDLE_CLOSE, "idle_close", "the true answer, and after late_ms (50) of idleness FIN") \
    X(FAULT_REDIRECT, "redirect", "status (302) with a Location")

enum fault_kind {
#define X(name, text, help) name,
    FAULT_KINDS(X)
#undef X
    FAULT_KIND_COUNT,
};
const char *fault_kind_str(enum fault_kind kind);

enum fault_place {
    FAULT_AT_ACCEPT,
    FAULT_AT_BEFORE_READ,
    FAULT_AT_AFTER_REQUEST,
    FAULT_AT_IN_HEADERS,
    FAULT_AT_IN_BODY,
    FAULT_AT_AFTER_RESPONSE,
    FAULT_PLACE_COUNT,
};
const char *fault_place_str(enum fault_place place);

enum fault_apply { FAULT_APPLY_NO, FAULT_APPLY_YES, FAULT_APPLY_LATE };

/* What happens to a call. Counted by reference: a delayed call outlives the rule that it met. */
struct fault_action {
    unsigned refs;
    enum fault_kind kind;
    enum fault_place place;
    enum fault_apply apply;
    int status;        /* -1: that of the true answer */
    char *code;        /* with error and message: the error body; NULL leaves the field out */
    char *error;
    char *message;
    char *body;        /* raw, instead of any other; may hold NUL */
    size_t body_len;
    struct buf headers; /* complete lines, put in verbatim */
    char *location;
    uint64_t bytes;
    unsigned delay_ms;
    unsigned step_bytes;
    unsigned step_ms;
    unsigned late_ms;
    int64_t second_length; /* -1: the same as the first */
    bool content_length;
    bool one_line;
    char label[64]; /* for the book: kind, and the place where it has one */
};

/* give accepts NULL. */
struct fault_action *fault_action_take(struct fault_action *action);
void fault_action_give(struct fault_action *action);

struct fault_rule {
    struct fault_rule *next;
    uint64_t id;
    int op; /* enum call_op, -1 any */
    uint64_t phone; /* 0 any */
    uint64_t list;  /* 0 any */
    int reused;     /* -1 any; 1 only connections that have answered before, 0 only fresh ones */
    double probability;
    uint64_t after;
    uint64_t count; /* UINT64_MAX: no end */
    uint64_t matched;
    uint64_t fired;
    struct fault_action *action;
};

struct faults {
    struct fault_rule *first;
    uint64_t next_id;
    uint64_t random; /* state of the generator */
};

void faults_init(struct faults *faults, uint64_t seed);
void faults_clear(struct faults *faults);
/* Uniform in [0, 1); drives probabilities and latencies. */
double faults_random(struct faults *faults);

/* Adds all rules of the JSON array, or none of them: then false, and `why` says what is wrong. */
bool faults_add(struct faults *faults, const json_t *rules, struct buf *why);
/* Gives a new array of the rules with `matched` and `fired`. */
json_t *faults_to_json(const struct faults *faults);

/* The first rule in order that fires for a complete request; a reference, or NULL. */
struct fault_action *faults_pick_call(struct faults *faults, const struct call *call, bool reused);
/* The same for a connection: `place` is accept or before_read. */
struct fault_action *faults_pick_connection(struct faults *faults, enum fault_place place, bool reused);
/* Whether there are rules for that place at all. */
bool faults_has_place(const struct faults *faults, enum fault_place place);

/* One rule from JSON; NULL with `why` filled. For faults_add alone. */
struct fault_rule *fault_rule_parse(json_t *object, struct buf *why);
void fault_rule_destroy(struct fault_rule *rule);

#endif
