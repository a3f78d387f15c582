/* The dead-letter topic is a projection of the ledger: take due letters, publish, mark. One batch at a time. */
#ifndef SIGNUP_CORE_OUTBOX_H
#define SIGNUP_CORE_OUTBOX_H

#include "gate.h"
#include "signup/core/ports.h"

struct pipeline;

enum outbox_state { OUTBOX_IDLE, OUTBOX_TAKING, OUTBOX_TAKEN, OUTBOX_PUBLISHING, OUTBOX_PUBLISHED, OUTBOX_MARKING };

struct outbox {
    enum outbox_state state;
    bool answered;       /* the operation of `state` has ended with `result` */
    enum ledger_result result;
    bool kicked;         /* a row has become dead since the last take */
    mono_us_t next_sweep;
    unsigned failures;   /* in a row */
    int64_t pause_us;    /* the present one, while in trouble */
    mono_us_t lease_until;
    mono_us_t trouble_since;
    bool trouble;
    struct arena arena;
    struct outbox_take_op take;
    struct publish_op publish;
    struct outbox_mark_op mark;
};

void outbox_init(struct pipeline *pipeline);
void outbox_fini(struct pipeline *pipeline);
void outbox_kick(struct pipeline *pipeline);
void outbox_take_answers(struct pipeline *pipeline);
void outbox_tick(struct pipeline *pipeline);
mono_us_t outbox_next(const struct pipeline *pipeline);
/* A statement of it is under way. */
bool outbox_asks(const struct pipeline *pipeline);
/* Nothing is under way that is worth waiting for. */
bool outbox_idle(const struct pipeline *pipeline);

#endif
