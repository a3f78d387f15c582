/* The inside of the dead-letter producer, shared by its files: dead_letter.c (the producer's life) and
 * flight.c (letters under way). Private. */
#ifndef SIGNUP_KAFKA_PRODUCER_H
#define SIGNUP_KAFKA_PRODUCER_H

#include "aide.h"
#include "letter.h"
#include "settings.h"
#include "signup/base/clock.h"
#include "signup/kafka/dead_letter.h"
#include "wake.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <uv.h>

#define PRODUCER_WHY_BYTES 256

enum reference_state {
    REFERENCE_QUEUED, /* waits to be sent alone */
    REFERENCE_SENT,   /* the library has it */
    REFERENCE_UNSURE, /* lost to a fatal error, perhaps published: sent again with the next producer */
    REFERENCE_SETTLED
};

/* One letter of a flight: what the library gives back with its report. */
struct reference {
    struct reference *next; /* of those that are queued */
    struct flight *flight;
    struct dead_letter *letter;
    enum reference_state state;
    enum letter_form form;
    bool alone; /* was sent with no other one in the library: a refusal is its own */
};

/* One publish op. */
struct flight {
    struct flight *next;
    struct publish_op *op;
    size_t owed;           /* references that are not settled */
    mono_us_t again_until; /* what is sent later could not be reported in time */
    mono_us_t deadline;
    bool resent; /* to a new producer: once is enough */
    struct reference references[];
};

struct kafka_dead_letter {
    struct uv_loop_s *loop;
    struct kafka_config *config;
    rd_kafka_t *rk; /* NULL: could not be made anew yet */
    rd_kafka_queue_t *queue;
    struct wake wake;
    uv_timer_t tick;
    uv_idle_t turn;
    uv_timer_t deadline;
    struct aide *aide; /* warm-up and destruction: both may wait */

    struct flight *flights;
    struct reference *queue_first; /* of letters that are sent one at a time */
    struct reference *queue_last;
    mono_us_t alone_until; /* a batch was refused: until then every letter is sent alone */
    bool alone;            /* what the library has was sent alone */
    bool fatal;            /* replace the producer in the next turn */

    struct kafka_dead_letter_status status;
    char why[PRODUCER_WHY_BYTES];
    mono_us_t failed_at; /* the last failure */
    mono_us_t told_at;   /* of the last line about a failure */
    bool told;           /* and since then none about success */

    bool closing;
    bool abandoned;
    int handles;
    void (*closed)(void *owner, bool clean);
    void *closed_owner;
};

/* ---- flight.c */
enum port_status flight_begin(struct kafka_dead_letter *dead_letter, struct publish_op *op);
void flight_report(struct kafka_dead_letter *dead_letter, const rd_kafka_message_t *message);
/* Sends the next queued letter, if none is in the library. */
void flight_send_queued(struct kafka_dead_letter *dead_letter);
/* Ends the flights that owe nothing. Only in turns of the loop. */
void flight_end_settled(struct kafka_dead_letter *dead_letter);
/* Some flight has come to its deadline. */
bool flight_overdue(const struct kafka_dead_letter *dead_letter, mono_us_t now);
/* The producer is gone, and perhaps replaced: whatever it had is unsure. What still may be is sent again with
 * the new one, the other flights end. Only in turns of the loop. */
void flight_producer_lost(struct kafka_dead_letter *dead_letter);
void flight_end_all(struct kafka_dead_letter *dead_letter);

/* ---- dead_letter.c */
void producer_want_turn(struct kafka_dead_letter *dead_letter);
/* Letters cannot be published: `what` for people, with its remedy. */
void producer_note_failure(struct kafka_dead_letter *dead_letter, const char *what, const char *remedy);

#endif
