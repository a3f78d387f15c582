/* A topic that is a projection of the ledger: take due rows, publish, mark. One batch at a time; one path for those of this moment and for those
 * that a crash left behind (I7). What is published is the kind's affair (outbox.c: dead letters, outcomes.c: outcomes). */
#ifndef SIGNUP_CORE_RELAY_H
#define SIGNUP_CORE_RELAY_H

#include "signup/core/ports.h"

struct pipeline;
struct relay;

enum relay_state { RELAY_IDLE, RELAY_TAKING, RELAY_TAKEN, RELAY_PUBLISHING, RELAY_PUBLISHED, RELAY_MARKING };

struct relay_kind {
    const char *route;   /* its gate, for people */
    const char *refused; /* why it is closed, for people */
    size_t batch;        /* rows at a time */
    size_t probe;        /* while none gets through: enough that one unfit row does not speak for all */
    size_t arena_bytes;
    int64_t lease_us;    /* longer than a publish may last */
    /* Fill the operation of `relay` from its token, arena and lease, and submit it. */
    enum port_status (*take)(struct pipeline *pipeline, struct relay *relay, size_t limit);
    enum port_status (*publish)(struct pipeline *pipeline, struct relay *relay);
    enum port_status (*mark)(struct pipeline *pipeline, struct relay *relay, int64_t retry_in_us);
    size_t (*taken)(const struct relay *relay, bool *more);
    size_t (*published)(const struct relay *relay); /* of those that were taken */
    bool (*admits)(const struct pipeline *pipeline); /* a rate of its own; NULL: none */
    mono_us_t (*next)(const struct pipeline *pipeline);
    void (*spend)(struct pipeline *pipeline, size_t count);
};

struct relay {
    const struct relay_kind *kind; /* NULL: there is no such topic */
    enum relay_state state;
    bool answered;       /* the statement of `state` has ended with `result` */
    enum ledger_result result;
    bool kicked;         /* a row has become due since the last take */
    mono_us_t next_sweep;
    unsigned failures;   /* in a row */
    int64_t pause_us;    /* the present one, while in trouble */
    mono_us_t lease_until;
    mono_us_t trouble_since;
    bool trouble;
    struct claim_token token;
    struct arena arena;
    union {
        struct {
            struct outbox_take_op take;
            struct publish_op publish;
            struct outbox_mark_op mark;
        } letters;
        struct {
            struct outcome_take_op take;
            struct outcome_publish_op publish;
            struct outcome_mark_op mark;
        } outcomes;
    } op;
};

/* `kind` NULL: it does nothing ever. */
void relay_init(struct relay *relay, const struct relay_kind *kind);
void relay_fini(struct relay *relay);
void relay_kick(struct relay *relay);
void relay_take_answer(struct pipeline *pipeline, struct relay *relay);
void relay_tick(struct pipeline *pipeline, struct relay *relay);
mono_us_t relay_next(const struct pipeline *pipeline, const struct relay *relay);
/* A statement of it is under way. */
bool relay_asks(const struct relay *relay);
/* Nothing is under way that is worth waiting for. */
bool relay_is_idle(const struct relay *relay);

/* For the kinds' callbacks. */
void relay_ledger_done(struct pipeline *pipeline, struct relay *relay, enum ledger_result result);
void relay_publish_done(struct pipeline *pipeline, struct relay *relay);

extern const struct relay_kind relay_letters;  /* outbox.c */
extern const struct relay_kind relay_outcomes; /* outcomes.c */

#endif
