/* What validation costs today, against the day's budget. The ledger adds up what all workers have recorded; what this one has spent and not
 * recorded yet, and what its calls under way may still cost, is added here. */
#ifndef SIGNUP_CORE_SPEND_H
#define SIGNUP_CORE_SPEND_H

#include "signup/core/ports.h"

struct pipeline;
struct delivery;

struct spend {
    bool asking;
    bool answered;
    enum ledger_result result;
    struct spend_op op;
    int64_t marked;       /* `recorded` when the answer came */
    mono_us_t asked_at;
    mono_us_t next_look;

    bool known;           /* the ledger has told of this day */
    int64_t told;         /* by the ledger; in millionths of a US dollar, as all of this */
    mono_us_t day_ends;
    int64_t recorded;     /* by this process, ever */
    int64_t seen;         /* of `recorded`: surely in `told`, for answers come in the order of their statements */
    int64_t share;        /* the others spend, too: not beyond this total before the ledger is asked again */
    int64_t open;         /* spent, and to be recorded with a delivery in memory */
    int64_t lost;         /* spent today for events that went elsewhere before it was recorded */
    int64_t reserved;     /* by calls under way */
    bool exhausted;
    mono_us_t exhausted_since;
};

enum spend_answer {
    SPEND_ADMITS,
    SPEND_WAITS,    /* for calls under way, or for the ledger, which is then to be asked (spend_want) */
    SPEND_EXHAUSTED /* until the day ends: by what is surely spent. What may be counted twice just now only makes wait. */
};
enum spend_answer spend_admits(const struct pipeline *pipeline);
/* Somebody waits for the ledger's next word. */
void spend_want(struct pipeline *pipeline);

/* A call that may cost something begins; it ends, having cost `cost`; its delivery's row is durable; its delivery is over. */
void spend_reserve(struct pipeline *pipeline, struct delivery *dl);
void spend_settle(struct pipeline *pipeline, struct delivery *dl, int64_t cost);
void spend_record(struct pipeline *pipeline, struct delivery *dl);
void spend_leave(struct pipeline *pipeline, struct delivery *dl);

/* Today's, as far as it is known here. */
int64_t spend_total(const struct pipeline *pipeline);
int64_t spend_day_left_us(const struct pipeline *pipeline);

void spend_take_answer(struct pipeline *pipeline);
void spend_tick(struct pipeline *pipeline);
mono_us_t spend_next(const struct pipeline *pipeline);

#endif
