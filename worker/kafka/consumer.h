/* The inside of the source, shared by its files: source.c (records), rebalance.c, commit.c, broker.c (errors
 * and states). Private. */
#ifndef SIGNUP_KAFKA_CONSUMER_H
#define SIGNUP_KAFKA_CONSUMER_H

#include "aide.h"
#include "settings.h"
#include "signup/base/clock.h"
#include "signup/kafka/source.h"
#include "table.h"
#include "wake.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <uv.h>

#define CONSUMER_TICK_MS 1000
/* queued.max.messages.kbytes again: what a paused consumer may hold at most */
#define CONSUMER_STASH_BYTES (8u << 20)
#define CONSUMER_COMMIT_DEADLINE_US (10 * US_PER_S)
#define CONSUMER_WHY_BYTES 384

/* Events of the library that are handled in a turn of the loop of their own, never inside the pipeline's
 * take(). */
struct deferred {
    struct deferred *next;
    rd_kafka_event_t *event;
    bool lost; /* a revoke: as rd_kafka_assignment_lost() said when it came */
};

/* What is under way towards the group's offsets; commit.c. */
struct commits {
    rd_kafka_queue_t *queue;
    struct commit_op *op; /* the pipeline's, `done` not called yet */
    bool op_sent;         /* to the library; else it waits for the answer to ours */
    mono_us_t deadline;   /* of `op` */
    /* the library owes an answer: nothing else is sent, or an old commit could overtake a new one */
    bool owed;
    bool owed_op; /* that answer belongs to `op` */
    bool decided; /* `op` ends with `decision` in the next turn of the loop */
    enum commit_result decision;
    mono_us_t told_at;
    enum commit_result told; /* by the line of told_at */
};

struct kafka_source {
    struct uv_loop_s *loop;
    struct kafka_config *config;
    struct kafka_source_callbacks callbacks;
    bool cooperative;

    rd_kafka_t *rk;
    rd_kafka_queue_t *queue; /* records, rebalances, errors, log lines */
    struct wake wake;
    uv_timer_t tick;
    uv_idle_t turn;       /* runs while there is something deferred */
    struct aide *control; /* assign, pause, resume, close: in order */
    struct aide *inquiry; /* committed offsets, watermarks, is anybody there */

    struct table table;
    uint64_t generation; /* of the group's assignment: answers to older questions are dropped */
    bool assign_owed;    /* the library waits for an assign call */
    bool revoke_asked;   /* on_revoke() was called, revoke_done() was not */
    bool ever_assigned;
    bool resolving;    /* a question for start positions is under way */
    bool pausing;      /* a pause/resume job is under way */
    bool pauses_dirty; /* some slot's want_paused changed */

    rd_kafka_event_t *current; /* lent by take() */
    struct record_header *headers;
    size_t header_room;
    struct deferred *deferred_first;
    struct deferred *deferred_last;
    struct commits commits;

    enum kafka_source_state state;
    char why[CONSUMER_WHY_BYTES];
    bool joined;
    bool away;
    bool probing;
    bool fatal;
    mono_us_t unjoined_since;
    mono_us_t away_since;
    char trouble[CONSUMER_WHY_BYTES]; /* the brokers' last complaint */
    char fatal_why[CONSUMER_WHY_BYTES];
    char waiting_for[CONSUMER_WHY_BYTES]; /* a topic or a right that is missing */
    struct kafka_source_counters counters;

    bool closing;
    bool abandoned;
    bool close_ready; /* no event of the library is held any more */
    bool close_sent;
    int handles; /* to be closed before the end */
    uv_timer_t deadline;
    void (*closed)(void *owner, bool clean);
    void *closed_owner;
};

/* ---- source.c */
void source_defer(struct kafka_source *source, rd_kafka_event_t *event);
void source_want_turn(struct kafka_source *source);
void source_close_continue(struct kafka_source *source); /* after every answer of the inquiry thread */

/* ---- rebalance.c */
void source_handle_rebalance(struct kafka_source *source, const struct deferred *deferred);
void source_revoke_done(struct kafka_source *source);
/* Asks for the start positions of SLOT_RESOLVING partitions, when none asks already. */
void source_resolve(struct kafka_source *source);
/* Brings the library's pauses in line with the pipeline's wishes. */
void source_sync_pauses(struct kafka_source *source);
/* Everything is lost: the pipeline is told, nothing is committed any more. */
void source_lose_everything(struct kafka_source *source);
/* Makes the library fetch all active slots from their positions anew; with an eager assignor only. */
void source_reassign(struct kafka_source *source);
/* Leaves the group and destroys the handle on the control thread; `done` gets the job. */
void source_submit_close(struct kafka_source *source, void (*done)(struct kafka_source *source));

/* ---- commit.c */
bool source_commits_init(struct kafka_source *source);
enum port_status source_commit(struct kafka_source *source, struct commit_op *op);
void source_commits_poll(struct kafka_source *source); /* answers, deadline, first positions */
void source_commits_turn(struct kafka_source *source); /* ends what was decided inside a port's function */
void source_commits_close(struct kafka_source *source);

/* ---- broker.c */
void source_handle_error(struct kafka_source *source, rd_kafka_event_t *event);
void source_suspect(struct kafka_source *source); /* asks whether anybody answers */
void source_set_fatal(struct kafka_source *source, const char *reason);
void source_refresh_state(struct kafka_source *source);
/* What it fetches has been unreadable for so long that somebody must see to it. */
bool source_is_stuck(const struct slot *slot, mono_us_t now);
void source_forget_trouble(struct kafka_source *source);
void source_topic_seen(struct kafka_source *source, const char *topic);

#endif
