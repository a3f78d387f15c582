/* The in-flight object: one event on its way to an outcome. State is a list, and delivery_move() alone moves it. */
#ifndef SIGNUP_CORE_DELIVERY_PRIVATE_H
#define SIGNUP_CORE_DELIVERY_PRIVATE_H

#include "signup/base/arena.h"
#include "signup/base/clock.h"
#include "signup/core/delivery.h"
#include "signup/core/ports.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pipeline;
struct lane;
struct window;

/* Each state is one list of the pipeline; the text says what the delivery waits for. */
#define DELIVERY_STATES(X)                                                                                             \
    X(NEW, "being admitted")                                                                                           \
    X(QUEUED, "waits behind an earlier event of the same contact")                                                     \
    X(HELD, "was taken up and waits behind another event of the same contact")                                         \
    X(READY, "waits to be claimed in the ledger")                                                                      \
    X(CLAIMING, "is being claimed in the ledger")                                                                      \
    X(WAITING, "waits for a claim that another worker holds")                                                          \
    X(ADMITTED, "waits for a free call")                                                                               \
    X(VALIDATING, "has its phone looked up")                                                                           \
    X(CALLING, "is being answered by the API")                                                                         \
    X(READING, "has its contact read back from the API")                                                               \
    X(BACKOFF, "waits for its next try")                                                                               \
    X(RECORDABLE, "waits to be recorded in the ledger")                                                                \
    X(RECORDING, "is being recorded in the ledger")                                                                    \
    X(DONE, "is finished")

enum delivery_state {
#define X(name, text) DELIVERY_##name,
    DELIVERY_STATES(X)
#undef X
        DELIVERY_STATE_COUNT
};

/* Kept per delivery: enough to explain a long fight, bounded for an endless one. */
#define ATTEMPTS_KEPT 32

struct delivery {
    enum delivery_state state; /* written by delivery_move() only */
    struct delivery *prev, *next;           /* in the list of `state` */
    struct lane *lane;
    struct delivery *lane_prev, *lane_next; /* in its lane, oldest first */
    size_t heap_index;                      /* in the due heap; HEAP_NONE */
    mono_us_t due;

    bool taken_up;         /* it was parked and came from the ledger: it has no window */
    struct window *window; /* of the assignment it came with; NULL once finished */
    uint64_t slot;         /* in the window */
    unsigned pins;         /* operations that still point here: a finished delivery is freed without any */

    struct arena arena;
    struct record record;
    struct signup signup;
    size_t counted_bytes; /* what the memory budget has counted for it */
    mono_us_t admitted_at;
    mono_us_t state_since;

    /* the claim */
    bool claimed;
    struct claim_token token;
    mono_us_t lease_until; /* no later than the server's: counted from before the statement was sent */
    struct claim_item claim;
    mono_us_t claimed_at;
    int64_t age_us;        /* of the event, at claimed_at */

    /* the calls */
    int attempts;      /* the row's counter: calls answered for the event's own sake */
    int calls_before;  /* the counter when the claim was given */
    int calls;         /* upserts started under this claim */
    int tries;         /* calls of any kind started under this claim */
    int counted;       /* failures under this claim that spent an attempt */
    unsigned failures; /* in a row, for the backoff */
    bool maybe_sent;
    bool guard_warned;
    bool validates;      /* this call has a credit of the validate route too */
    bool probe;          /* this call is the breaker's, on the upsert route */
    bool validate_probe; /* and on the validate route */
    uint64_t probed_in;  /* pipeline_trouble() in which it has probed */
    unsigned probes;     /* how often */
    wall_us_t called_at;
    struct upsert_call call;
    struct read_call read;
    struct validate_call lookup;
    struct known_validation known; /* what the ledger remembers of the phone */
    mono_us_t known_at;
    bool judged;             /* the gate has let the phone through, or the event goes without */
    struct slice validation; /* of the phone; absent: none */
    bool validation_fresh;   /* it was looked up for this event */
    int64_t reserved;        /* of the day's budget, while a call that may cost something is under way */
    int64_t cost;            /* of this event's validations, not recorded yet */
    bool read_over;     /* read back, or given up */
    int reads_failed;
    bool answered; /* done() was called; the next tick acts on it */
    struct delivery *answered_next; /* in the pipeline's list of answered calls */
    bool has_outcome;
    struct outcome outcome; /* of the last call, or of the local rejection */
    struct slice request;   /* the body last sent */
    struct slice guarded_body; /* written at the first resend, and anew when what it says changes; absent before */
    struct attempt *attempts_first, *attempts_last;
    int attempts_kept;
    struct attempt untold;  /* a lookup that went well; number 0: none */

    /* the record */
    enum record_state fate; /* valid from RECORDABLE on */
    bool bare;
    int64_t due_in_us; /* parked: for so long */
    struct record_item recording;
};

/* What an ordinary delivery grows to: three blocks of its arena (2 + 4 + 8 KiB) with the reply, a guarded body and ATTEMPTS_KEPT attempts. It is
 * charged from the beginning, because what has been admitted cannot be sent away when it grows. */
#define DELIVERY_GROWN_BYTES ((size_t)14 << 10)
#define DELIVERY_BYTES (sizeof(struct delivery) + DELIVERY_GROWN_BYTES)

struct delivery_list {
    struct delivery *head;
    size_t count;
};

const char *delivery_state_str(enum delivery_state state);

/* The only writer of `state`: checks legality, moves between the lists, tells the observer. */
void delivery_move(struct pipeline *pipeline, struct delivery *dl, enum delivery_state to);

/* Takes a copy of the record into a new delivery in NEW, in no list. NULL: out of memory. */
struct delivery *delivery_create(struct pipeline *pipeline, const struct record *record);
/* Frees; the delivery is in no lane and no list but DONE's, from which it is taken. */
void delivery_destroy(struct pipeline *pipeline, struct delivery *dl);

/* The order and the uniqueness that every batch for the ledger has (ports.h): sorts by event id and keeps the first of each id in front. Gives
 * how many are kept. */
size_t delivery_sort_unique(struct delivery **items, size_t count);

/* How long the event has been alive, as the ledger counts it. */
int64_t delivery_age_us(const struct pipeline *pipeline, const struct delivery *dl);

/* Counts arena growth since the last time in the memory budget. */
void delivery_count_memory(struct pipeline *pipeline, struct delivery *dl);

#endif
