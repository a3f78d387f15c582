/* The inside of the room's producers, shared by their files: producer.c (a producer's life) and flight.c
 * (items under way). What an item is, and what people are told of it, is the kind's: dead_letter.c,
 * outcomes.c. Private.
 *
 * Each topic has a producer of its own. In one that two topics shared, a fatal error of the one would take the
 * other's items with it, the queue that a missing topic fills up would be full for both, and an item of one
 * could not be sent alone while the other has some under way: outcomes that nobody takes must never hold up
 * dead letters. A second one costs four threads and, while nothing is under way, a tenth of a MiB (2.0.2), and
 * only where a second topic is configured. */
#ifndef SIGNUP_KAFKA_PRODUCER_H
#define SIGNUP_KAFKA_PRODUCER_H

#include "aide.h"
#include "settings.h"
#include "signup/base/clock.h"
#include "signup/core/ports.h"
#include "wake.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define PRODUCER_WHY_BYTES 256

struct producer;

/* What people are told: whole sentences, and remedies that begin with a verb. */
struct producer_words {
    const char *missing;     /* the topic does not exist, at the start */
    const char *failing;     /* the first failure, and one a minute */
    const char *again;       /* the all-clear */
    const char *replaced;    /* a new producer after a fatal error */
    const char *trouble;     /* librdkafka's own errors, at debug */
    const char *left_behind; /* the close took too long */
    const char *create;      /* remedies */
    const char *allow;
    const char *raise_size;
    const char *take_any;
};

struct producer_kind {
    int forms; /* an item that is too large, alone, is followed by its next form: 0 … forms - 1 */
    /* Gives the library a copy of the item in this form, with `reference` as its opaque. */
    rd_kafka_resp_err_t (*produce)(struct producer *producer, const void *item, int form, void *reference);
    bool *(*published)(void *item); /* the item's flag */
    void (*on_begin)(void);        /* a batch is about to be sent; NULL: nothing to do */
    void (*on_acknowledged)(void); /* the broker has an item, and nobody knows yet; NULL: nothing to do */
    void (*done)(void *op);
    struct producer_words words;
};

/* One publish op and its items. Everything is borrowed until the kind's `done`. */
struct producer_batch {
    void *op;
    void *items;
    size_t item_bytes;
    size_t count;
};

enum reference_state {
    REFERENCE_QUEUED, /* waits to be sent alone */
    REFERENCE_SENT,   /* the library has it */
    REFERENCE_UNSURE, /* lost to a fatal error, perhaps published: sent again with the next producer */
    REFERENCE_SETTLED
};

/* One item of a flight: what the library gives back with its report. */
struct reference {
    struct reference *next; /* of those that are queued */
    struct flight *flight;
    void *item;
    enum reference_state state;
    int form;
    bool alone; /* was sent with no other one in the library: a refusal is its own */
};

/* One batch under way. */
struct flight {
    struct flight *next;
    void *op;
    size_t count;
    size_t owed;           /* references that are not settled */
    mono_us_t again_until; /* what is sent later could not be reported in time */
    mono_us_t deadline;
    bool resent; /* to a new producer: once is enough */
    struct reference references[];
};

struct producer_status {
    uint64_t published; /* in whatever form */
    uint64_t smaller;   /* of these: not in their first form */
    uint64_t failed;
    uint64_t recreated;
    size_t in_flight;
    bool failing;
    wall_us_t failing_since;
};

struct producer {
    const struct producer_kind *kind;
    struct uv_loop_s *loop;
    struct kafka_config *config;
    const char *topic; /* in `config` */
    rd_kafka_t *rk;    /* NULL: could not be made anew yet */
    rd_kafka_queue_t *queue;
    struct wake wake;
    uv_timer_t tick;
    uv_idle_t turn;
    uv_timer_t deadline;
    struct aide *aide; /* warm-up and destruction: both may wait */

    struct flight *flights;
    struct reference *queue_first; /* of items that are sent one at a time */
    struct reference *queue_last;
    mono_us_t alone_until; /* a batch was refused: until then every item is sent alone */
    bool alone;            /* what the library has was sent alone */
    bool fatal;            /* replace the producer in the next turn */

    struct producer_status status;
    char why[PRODUCER_WHY_BYTES]; /* of the last failure; "" not failing */
    mono_us_t failed_at;          /* the last failure */
    mono_us_t told_at;            /* of the last line about a failure */
    bool told;                    /* and since then none about success */

    bool closing;
    bool abandoned;
    int handles;
    void (*closed)(void *owner, bool clean);
    void *closed_owner;
};

/* ---- producer.c */
enum producer_topic { PRODUCER_DEAD_LETTERS, PRODUCER_OUTCOMES }; /* which one of the configuration */

/* Needs no broker. Copies what it keeps of `config`, which must name the topic. NULL: `error` says why. */
struct producer *producer_create(const struct producer_kind *kind, struct uv_loop_s *loop,
                                 const struct kafka_config *config, enum producer_topic topic, char *error,
                                 size_t error_size) __attribute__((warn_unused_result));
/* Bounded, `closed` once and later. Batches under way end first. */
void producer_close(struct producer *producer, int64_t deadline_ms, void (*closed)(void *owner, bool clean),
                    void *owner);
void producer_want_turn(struct producer *producer);
/* Items cannot be published: `what` for people, with its remedy. */
void producer_note_failure(struct producer *producer, const char *what, const char *remedy);

/* ---- flight.c */
/* False: there is no producer just now, and nothing was begun. */
bool flight_begin(struct producer *producer, const struct producer_batch *batch);
void flight_report(struct producer *producer, const rd_kafka_message_t *message);
/* Sends the next queued item, if none is in the library. */
void flight_send_queued(struct producer *producer);
/* Ends the flights that owe nothing. Only in turns of the loop. */
void flight_end_settled(struct producer *producer);
/* Some flight has come to its deadline. */
bool flight_overdue(const struct producer *producer, mono_us_t now);
/* The library's producer is gone, and perhaps replaced: whatever it had is unsure. What still may be is sent
 * again with the new one, the other flights end. Only in turns of the loop. */
void flight_producer_lost(struct producer *producer);
void flight_end_all(struct producer *producer);

#endif
