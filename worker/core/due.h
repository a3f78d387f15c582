/* Parked events that are due are taken up from the ledger, by any worker, and share the calls with what is read from the topics. */
#ifndef SIGNUP_CORE_DUE_H
#define SIGNUP_CORE_DUE_H

#include "signup/core/ports.h"

struct pipeline;
struct delivery;

struct due {
    bool taking;
    bool answered; /* the statement has ended with `result` */
    enum ledger_result result;
    bool again;    /* its answer was lost: ask under the same token, the rows may be ours already */
    struct due_take_op take;
    struct arena arena;
    mono_us_t sent_at;
    mono_us_t next_look;
    size_t reserved_bytes; /* of the memory budget, for what the statement may bring */
    size_t held;   /* taken-up deliveries in memory */
};

void due_init(struct pipeline *pipeline);
void due_fini(struct pipeline *pipeline);
void due_take_answer(struct pipeline *pipeline);
void due_tick(struct pipeline *pipeline);
mono_us_t due_next(const struct pipeline *pipeline);
/* Something that is parked will be due in so long. */
void due_expect(struct pipeline *pipeline, int64_t due_in_us);

#endif
