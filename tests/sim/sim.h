/* The simulated world under one seed: what its parts share. One thread, a virtual clock in microseconds, one
 * queue of events. Nothing in here asks the core what is true: the world keeps its own books and judges by
 * them. */
#ifndef SIGNUP_SIM_SIM_H
#define SIGNUP_SIM_SIM_H

#include "signup/core/pipeline.h"
#include "signup/core/planted.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ what a run may be told */

/* Kinds of trouble; a seed draws which of them it knows, `--without` takes some away. */
#define SIM_FAULTS(X)                                                                                        \
    X(CRASH, "crash")         /* a worker dies, between any two steps */                                     \
    X(STALL, "stall")         /* a worker is not scheduled for a while, its session and leases run out */    \
    X(REBALANCE, "rebalance") /* workers join and leave, the group is asked to rebalance */                  \
    X(LOST, "lost")           /* the group gives a worker up, who learns of it late */                       \
    X(COMMIT, "commit")       /* offset commits fail, or are applied without an answer */                    \
    X(LEDGER, "ledger")       /* statements fail, before or after they were executed */                      \
    X(LEDGER_AWAY, "ledger-away") /* the database is away for a while */                                     \
    X(POISON, "poison")           /* rows that the database refuses */                                       \
    X(API, "api")                 /* answers that were not hoped for */                                      \
    X(API_AWAY, "api-away")       /* the API refuses everybody for a while */                                \
    X(AMBIGUOUS, "ambiguous")     /* calls of unknown fate: timeouts, resets, 5xx, broken bodies */          \
    X(LETTERS, "letters")         /* dead letters are not taken, or not acknowledged */                      \
    X(PARKED, "parked")           /* events of somebody else are parked in the ledger for a while */         \
    X(MEMORY, "memory")           /* a small memory budget */                                                \
    X(BAD, "bad")                 /* events that die locally or are rejected by the API */                   \
    X(TWICE, "twice")             /* an event id appears more than once */

enum sim_fault {
#define X(name, text) SIM_##name,
    SIM_FAULTS(X)
#undef X
        SIM_FAULT_COUNT
};

struct sim_options {
    uint64_t seed;
    uint32_t without;   /* bits of enum sim_fault */
    size_t records_max; /* 0: as the seed says */
    size_t workers_max; /* 0: as the seed says */
    bool trace;
    bool trace_all; /* print every line, not only what explains the failure */
};

#define SIM_CHECK_BYTES 48
#define SIM_TEXT_BYTES 512

/* What a run did; summed over seeds. */
#define SIM_TOTALS(X)                                                                                        \
    X(records)                                                                                               \
    X(deliveries) X(calls) X(ambiguous) X(guarded) X(enrolled) X(accepted) X(dead) X(settled) X(conflicts)   \
        X(letters) X(crashes) X(stalls) X(rebalances) X(lost) X(commits) X(commit_failures)                  \
            X(ledger_failures) X(busy) X(takeovers) X(reopened) X(refused) X(poisoned) X(rereads) X(ticks)

struct sim_totals {
#define X(name) uint64_t name;
    SIM_TOTALS(X)
#undef X
};

struct sim_result {
    bool failed;
    char check[SIM_CHECK_BYTES];
    char text[SIM_TEXT_BYTES];
    int64_t at_us;
    struct sim_totals totals;
};

/* Runs one seed whole. Does not return when a check fails: the result is filled, the trace printed where
 * asked, and the process ends with SIM_EXIT_FAILED (a failed world cannot be unwound through the core). */
#define SIM_EXIT_FAILED 3
void sim_run_seed(const struct sim_options *options, struct sim_result *result);
bool sim_fault_parse(const char *text, enum sim_fault *out);
const char *sim_fault_str(enum sim_fault fault);

/* ------------------------------------------------------------------ the world */

#define SIM_TOPICS_MAX 3
#define SIM_PARTITIONS_MAX 18
#define SIM_WORKERS_MAX 3
#define SIM_CONTACTS_MAX 24
#define SIM_ID_BYTES 64
#define SIM_MEMBERS_MAX 64 /* worker lives of one run that may be in the group at a time */

struct sim;
struct sim_life;
struct sim_row;
struct sim_record;

enum sim_poison { SIM_HARMLESS, SIM_POISON_CLAIM, SIM_POISON_RECORD };

/* What an event says; two records with the same content are the same event said twice. */
struct sim_content {
    int index;
    int contact; /* -1: none, or dead before it could be known */
    bool dead_local;
    const char *death;   /* the code of the local death */
    int rejected_status; /* 0: the API takes it */
    const char *rejected_code;
    bool use_journeys;
    bool skip;
    enum sim_poison poison; /* the database refuses its data */
    const char *value;      /* JSON, or what somebody took for it */
    size_t value_len;
    bool null_value;
    bool has_digest;
    uint8_t digest[SIGNUP_DIGEST_BYTES];
};

struct sim_record {
    int index; /* of all records */
    struct sim_partition *part;
    int at; /* index in the partition's log */
    int64_t offset;
    int64_t appended_us;
    int64_t timestamp_ms;
    const struct sim_content *content;
    struct sim_content *content_book; /* the same, for the digest seen */
    char id[SIM_ID_BYTES];            /* the event's own, or the position */
    char position[SIM_ID_BYTES];
    char key[16];
    struct sim_record *earlier; /* same contact, same partition */
    int said_contact;           /* as the core read it at its last claim; -1: none; -2: never claimed */
    bool conflict_told;         /* a claim was answered so */
    bool poison_told;
    bool letter_acked; /* the broker has acknowledged a letter of this record */
    bool letter_persisted;
};

struct sim_partition {
    int index;
    char topic[16];
    int32_t number;
    struct sim_record **log;
    int count;
    int64_t committed;      /* the group's; 0: nothing yet */
    struct sim_life *owner; /* by the group's word */
    uint64_t owner_epoch;
};

/* Where the API stands with one contact and list. */
struct sim_contact {
    int index;
    char phone[24];
    char list[24];
    bool on_list;
    int enrolments;
    int outstanding[SIM_PARTITIONS_MAX]; /* calls under way for its events of each partition, of whomever */
    struct sim_row *rows;                /* of the ledger that speak of it */
    int effect_max[SIM_PARTITIONS_MAX];  /* log index of the latest first effect, -1 */
};

enum sim_row_state { SIM_CLAIMED, SIM_PARKED_ROW, SIM_ACCEPTED, SIM_DEAD };
const char *sim_row_state_str(enum sim_row_state state);

struct sim_source {
    struct sim_source *next;
    const struct sim_record *record;
};

/* One row of signup.event, with the world's own notes behind it. */
struct sim_row {
    struct sim_row *next_hash;
    struct sim_row *next_all;
    struct sim_row *next_contact;
    char id[SIM_ID_BYTES];
    struct sim_record *record; /* NULL: an event of somebody else */
    enum sim_row_state state;
    int contact; /* -1: unknown */
    uint8_t digest[SIGNUP_DIGEST_BYTES];
    struct claim_token token;
    int64_t lease_until_us;
    bool released;
    bool maybe_sent;
    int attempts;
    int replays;
    struct sim_source *sources;
    struct claim_token outbox_token;
    int64_t outbox_until_us;
    bool published;
    char code[OUTCOME_CODE_BYTES];
    int http_status;
    struct sim_source *differs; /* positions that were warned of */
    int warnings;
    /* notes */
    const struct sim_life *holder;
    uint64_t holder_epoch; /* of the record it claimed with */
    int claim_number;      /* counts claims that went */
    bool was_dead;
    int enrolments; /* that took effect because of this event */
    bool first_effect;
    int unsure_calls; /* calls whose fate the callers cannot know */
    bool taken_over;
    bool guarded_call; /* the latest call carried the guard */
    /* of the present claim */
    int claim_attempts;  /* the counter when it was given */
    int answers_counted; /* answers that may count */
    bool systemic_seen;
    enum outcome_class last_class;
    bool answered_final;
    const struct sim_life *final_life; /* whom the final answer was given to */
    uint64_t final_epoch;
    int64_t not_before_us; /* the API's own wish (Retry-After) */
};

/* A partition of one assignment. */
struct sim_owned {
    struct sim_partition *part;
    uint64_t epoch;
    int next; /* log index of the next record to give */
    bool paused;
    bool active; /* delivers */
    bool lost_told;
    bool giving_up; /* of the revoke that is to be answered */
    int64_t fetch_at_us;
    int first;      /* log index of the first record of this assignment */
    uint8_t *notes; /* per log index */
};
#define SIM_NOTE_DELIVERED 1
#define SIM_NOTE_RESOLVED 2

#define SIM_EPOCHS_MAX 512

struct sim_op;
struct sim_call;
struct publication;
struct commit;

/* One life of a worker: from pipeline_create() to its end. */
struct sim_life {
    struct sim *sim;
    int worker;
    int number;
    struct pipeline *pipeline;
    struct pipeline_config config;
    struct ports ports;
    bool dead;
    bool crash_due; /* dies as soon as the core has returned; its ports are closed already */
    bool in_core;
    bool closing; /* the end: its last completions are no steps */
    int64_t stalled_until_us;
    int64_t deferred_last_us;
    bool tick_scheduled;
    uint32_t timer_stamp;
    int64_t idle_from_us;
    int idle_ticks;
    uint64_t core_steps; /* everything it has asked of the world */
    bool draining;
    bool intake_was_open;
    /* the source */
    struct sim_owned owned[SIM_EPOCHS_MAX];
    int owned_count;
    int take_from;
    char *taken; /* the bytes of the last record given: wiped at the next */
    size_t taken_len;
    bool in_group;
    bool joined; /* has been through a rebalance */
    bool assigned_any;
    bool revoking; /* told, not yet answered */
    bool revoke_is_lost;
    int64_t revoke_told_us;
    uint32_t revoke_stamp;
    int64_t callback_last_us;
    bool lost_due; /* the news is on its way */
    bool committing;
    struct commit *commit;
    int64_t hold_until_us; /* a 429's wish for the whole route */
    bool closed_gate_seen;
    int64_t stopped_us; /* the API has refused everybody (key, address) since; -1: no */
    int64_t probed_us;  /* when its last call started */
    /* the ledger's connection */
    struct sim_op *ops; /* in order, oldest first */
    struct sim_op *ops_last;
    int64_t exec_last_us;
    int64_t done_last_us;
    /* everything under way, for the completion contract */
    const void *under_way[640];
    int under_way_count;
    struct sim_call *calls;
    int calls_out;
    struct publish_op *publish;
    struct publication *publication;
};

typedef void (*sim_fn)(struct sim *sim, void *arg, uint32_t stamp);

struct sim_event {
    int64_t at_us;
    uint32_t tie;
    uint32_t stamp;
    uint64_t order;
    sim_fn fn;
    void *arg;
};

/* How bad this seed is; chances are per 10,000. */
struct sim_profile {
    int crash_step;
    int crash_kind; /* the one planned crash: its kind of step and which */
    int crash_nth;
    int chaos_every_us;
    uint32_t chaos; /* bits of enum sim_fault that strike by themselves */
    int commit_fail;
    int ledger_fail;
    int ledger_slow;
    int api_fault;
    int api_ambiguous;
    int api_slow;
    int api_away_submit;
    int letters_fail;
    int lazy_tick;
    int64_t session_us;
    int64_t rebalance_us;
    int64_t traffic_us;
    int64_t heal_us;
    bool reread;
    bool siege; /* few events, and the API unsure of them for minutes: a thousand tries each */
};

enum sim_step {
    SIM_STEP_TAKE,
    SIM_STEP_CLAIM,
    SIM_STEP_CLAIM_DONE,
    SIM_STEP_CALL,
    SIM_STEP_CALL_DONE,
    SIM_STEP_RECORD,
    SIM_STEP_RECORD_DONE,
    SIM_STEP_EXTEND,
    SIM_STEP_EXTEND_DONE,
    SIM_STEP_TAKE_LETTERS,
    SIM_STEP_TAKE_LETTERS_DONE,
    SIM_STEP_PUBLISH,
    SIM_STEP_PUBLISH_DONE,
    SIM_STEP_MARK,
    SIM_STEP_MARK_DONE,
    SIM_STEP_COMMIT,
    SIM_STEP_COMMIT_DONE,
    SIM_STEP_ASSIGN,
    SIM_STEP_REVOKE,
    SIM_STEP_REVOKE_DONE,
    SIM_STEP_COUNT
};

enum sim_group_state { SIM_GROUP_STABLE, SIM_GROUP_REVOKING };

struct sim_group {
    enum sim_group_state state;
    uint64_t generation;
    uint32_t stamp;
    struct sim_life *members[SIM_MEMBERS_MAX];
    int count;
    bool waits[SIM_MEMBERS_MAX]; /* has not given its partitions up yet */
    bool again;                  /* somebody came or went meanwhile */
};

#define SIM_ROW_BUCKETS 256
#define SIM_AWAY_UNSURE 7

struct sim_block;

struct sim {
    const struct sim_options *options;
    struct sim_result *result;
    struct sim_totals totals;
    uint64_t random;
    int64_t now_us;
    int64_t wall_base_us;
    struct sim_event *heap;
    size_t heap_count;
    size_t heap_size;
    uint64_t order;
    struct sim_block *blocks;
    struct sim_profile profile;
    uint32_t known; /* bits: the troubles this seed knows */
    bool healed;
    bool finished;
    bool rereading;
    int steps[SIM_STEP_COUNT];

    int topic_count;
    const char *topic_names[SIM_TOPICS_MAX];
    char topic_text[SIM_TOPICS_MAX][16];
    struct sim_partition parts[SIM_PARTITIONS_MAX];
    int part_count;
    struct sim_record **records;
    int record_count;
    int record_room;
    size_t record_bytes_max;
    struct sim_contact contacts[SIM_CONTACTS_MAX];
    int contact_count;
    struct sim_content **contents;
    int content_count;
    int content_room;

    struct sim_row *rows[SIM_ROW_BUCKETS];
    struct sim_row *rows_all;
    int64_t ledger_away_until_us;

    int64_t api_away_until_us;
    int api_away_how; /* which refusal; SIM_AWAY_UNSURE: calls of unknown fate only */

    struct sim_group group;
    struct sim_life *lives[SIM_WORKERS_MAX]; /* NULL: down */
    int worker_count;
    int life_count;
    struct pipeline_config base;

    struct sim_trace_line *trace;
    size_t trace_count;
    size_t trace_size;
};

/* ---- world.c: chance, time, memory, failure */
uint64_t sim_random(struct sim *sim);
/* 0 … n - 1; 0 for n < 1. */
int sim_below(struct sim *sim, int n);
int64_t sim_between(struct sim *sim, int64_t low, int64_t high);
/* True `chance` times in 10,000. */
bool sim_chance(struct sim *sim, int chance);
/* The seed knows this trouble and it has not been healed. */
bool sim_strikes(const struct sim *sim, enum sim_fault fault);
void sim_at(struct sim *sim, int64_t at_us, sim_fn fn, void *arg, uint32_t stamp);
bool sim_step_once(struct sim *sim);
/* Zeroed; lives as long as the run. */
void *sim_alloc(struct sim *sim, size_t bytes);
char *sim_copy(struct sim *sim, const void *bytes, size_t len);
void sim_fini(struct sim *sim);

/* Whom a line or a failure concerns; -1 and NULL: nobody in particular. */
struct sim_whom {
    const struct sim_record *record;
    int contact;
    int part;
    int worker;
};
#define SIM_WHOM_ALL ((struct sim_whom){NULL, -1, -1, -1})
struct sim_whom sim_whom_record(const struct sim_record *record, int worker);
struct sim_whom sim_whom_row(const struct sim_row *row, int worker);
struct sim_whom sim_whom_part(const struct sim_partition *part, int worker);
struct sim_whom sim_whom_worker(int worker);

void sim_trace_write(struct sim *sim, struct sim_whom whom, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define SIM_TRACE(sim, whom, ...)                                                                            \
    do {                                                                                                     \
        if ((sim)->options->trace)                                                                           \
            sim_trace_write((sim), (whom), __VA_ARGS__);                                                     \
    } while (0)
void sim_fail(struct sim *sim, const char *check, struct sim_whom whom, const char *format, ...)
    __attribute__((format(printf, 4, 5), noreturn));

/* ---- topics.c: the logs, and what each record should come to */
void sim_topics_make(struct sim *sim);
/* The record at this place, or NULL. */
struct sim_record *sim_record_find(struct sim *sim, const struct record *record);
struct sim_record *sim_record_by_position(struct sim *sim, struct slice topic, int32_t partition,
                                          int64_t offset);
/* The headers every record has: borrowed for ever. */
const struct record_header *sim_record_headers(size_t *count);
struct slice sim_record_value(const struct sim_record *record);
/* A durable row answers for the record, by the rules of the claim. */
bool sim_record_answered(struct sim *sim, const struct sim_record *record);

/* ---- rows.c: the ledger's rows and rules */
struct sim_row *sim_row_find(struct sim *sim, struct slice id);
struct sim_row *sim_row_find_str(struct sim *sim, const char *id);
bool sim_row_has_source(const struct sim_row *row, const struct sim_record *record);
bool sim_row_is_live(const struct sim *sim, const struct sim_row *row);
void sim_rows_park_strangers(struct sim *sim);
enum claim_answer sim_row_claim(struct sim *sim, struct sim_life *life, const struct claim_item *item,
                                int64_t lease_us, bool *maybe_sent, int *attempts);
enum record_answer sim_row_record(struct sim *sim, struct sim_life *life, const struct record_item *item);
bool sim_row_extend(struct sim *sim, const struct lease_item *item, int64_t lease_us);
/* A fingerprint of all rows and their warnings. */
uint64_t sim_rows_fingerprint(const struct sim *sim);

/* ---- ledger.c: statements, latency, lost answers */
extern const struct ledger_port sim_ledger_port;
void sim_ledger_drop(struct sim *sim, struct sim_life *life, bool complete);

/* ---- api.c */
extern const struct contacts_port sim_contacts_port;
void sim_api_drop(struct sim *sim, struct sim_life *life);
/* Calls under way for the events of one assignment. */
int sim_api_calls_of(const struct sim_life *life, uint64_t epoch);

/* ---- letters.c */
extern const struct dead_letter_port sim_letters_port;
void sim_letters_drop(struct sim *sim, struct sim_life *life);

/* ---- group.c: the consumer group; source.c: a member's view of it */
extern const struct source_port sim_source_port;
void sim_source_drop(struct sim *sim, struct sim_life *life);
void sim_source_assign(struct sim *sim, struct sim_life *life, struct sim_partition *const *parts, int count);
void sim_source_revoke(struct sim *sim, struct sim_life *life, bool lost);
void sim_group_join(struct sim *sim, struct sim_life *life);
/* The group is told (or finds out) that the member is gone; a living one learns of it some time later. */
void sim_group_remove(struct sim *sim, struct sim_life *life, bool tell);
void sim_group_rebalance(struct sim *sim);
/* The member has given everything up. */
void sim_group_revoked(struct sim *sim, struct sim_life *life);
void sim_group_reset(struct sim *sim);
struct sim_owned *sim_owned_find(struct sim_life *life, uint64_t epoch);

/* ---- worker.c */
struct sim_life *sim_life_start(struct sim *sim, int worker);
void sim_life_crash(struct sim *sim, struct sim_life *life);
void sim_life_stall(struct sim *sim, struct sim_life *life, int64_t for_us);
void sim_life_drain(struct sim *sim, struct sim_life *life);
/* Ends without a trace: at the end of the run. */
void sim_life_end(struct sim *sim, struct sim_life *life);
/* Something happened that the core should look at. */
void sim_life_touch(struct sim *sim, struct sim_life *life);
/* True when the life does not see it now: the event has been put off until it wakes. */
bool sim_life_asleep(struct sim *sim, struct sim_life *life, sim_fn fn, void *arg, uint32_t stamp);
/* A port's step: gives false when the process has died meanwhile, so that nothing may leave it. */
bool sim_life_step(struct sim_life *life, enum sim_step step);
/* Around every call into the core; core_left() may end the life: true when it is dead now. */
void sim_core_enter(struct sim_life *life);
bool sim_core_left(struct sim_life *life);
/* The completion contract: one operation, one completion. */
void sim_under_way(struct sim_life *life, const void *op, const char *what);
void sim_not_under_way(struct sim_life *life, const void *op);

/* ---- checks.c: the books at the end */
void sim_check_tick(struct sim *sim, struct sim_life *life);
/* A worker says that it is drained. */
void sim_check_drained(struct sim *sim, struct sim_life *life);
bool sim_is_quiet(struct sim *sim);
void sim_check_end(struct sim *sim);
/* Why it is not quiet: fails. */
void sim_check_stuck(struct sim *sim) __attribute__((noreturn));

#endif
