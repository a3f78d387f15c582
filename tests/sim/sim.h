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
    X(TWICE, "twice")             /* an event id appears more than once */                                   \
    X(HISTORY, "history")         /* events that were parked before anybody started */                       \
    X(VALIDATE, "validate")       /* events that are to be validated */                                      \
    X(BILLING, "billing")         /* the account cannot pay for validation for a while */                    \
    X(PROVIDER, "provider")       /* validation cannot reach its provider for a while */                     \
    X(THROTTLE, "throttle")       /* Retry-After: short, longer than anybody waits in memory, absurd */      \
    X(STORM, "storm")             /* for a while good events are refused: a wrong list, a wrong address */   \
    X(CURSED, "cursed")           /* events that the API never answers well */                               \
    X(READ, "read")               /* contacts that cannot be read back */                                    \
    X(OPERATOR, "operator")       /* somebody replays dead events, also twice */                             \
    X(RESTART, "restart")         /* all workers die in one moment */                                        \
    X(CLOCK, "clock")             /* the wall clocks jump */                                                 \
    X(RATE, "rate")               /* calls, statements and letters have rates */                             \
    X(GATE, "gate")               /* phones are looked up before the upsert */                               \
    X(LOOKUP, "lookup")           /* the validation host's own bad days */                                   \
    X(BUDGET, "budget")           /* a day's budget for validation, and days that turn */                    \
    X(OUTCOMES, "outcomes")       /* a topic of outcomes, and its troubles */

enum sim_fault {
#define X(name, text) SIM_##name,
    SIM_FAULTS(X)
#undef X
        SIM_FAULT_COUNT
};

struct sim_options {
    uint64_t seed;
    uint64_t without;   /* bits of enum sim_fault */
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
    X(deliveries)                                                                                            \
    X(calls)                                                                                                 \
    X(ambiguous)                                                                                             \
    X(guarded)                                                                                               \
    X(enrolled)                                                                                              \
    X(accepted)                                                                                              \
    X(dead)                                                                                                  \
    X(settled)                                                                                               \
    X(conflicts)                                                                                             \
    X(letters)                                                                                               \
    X(crashes)                                                                                               \
    X(stalls)                                                                                                \
    X(lapsed)                                                                                                \
    X(rebalances)                                                                                            \
    X(lost)                                                                                                  \
    X(commits)                                                                                               \
    X(commit_failures)                                                                                       \
    X(ledger_failures)                                                                                       \
    X(busy)                                                                                                  \
    X(takeovers)                                                                                             \
    X(reopened)                                                                                              \
    X(refused)                                                                                               \
    X(poisoned)                                                                                              \
    X(rereads)                                                                                               \
    X(ticks)                                                                                                 \
    X(parked)                                                                                                \
    X(behind)                                                                                                \
    X(taken_up)                                                                                              \
    X(blocked)                                                                                               \
    X(woken)                                                                                                 \
    X(replayed)                                                                                              \
    X(given_up)                                                                                              \
    X(reads)                                                                                                 \
    X(unpaid)                                                                                                \
    X(unvalidated)                                                                                           \
    X(throttled)                                                                                             \
    X(storms)                                                                                                \
    X(vague)                                                                                                 \
    X(probes)                                                                                                \
    X(raced)                                                                                                 \
    X(lookups)                                                                                               \
    X(paid)                                                                                                  \
    X(known)                                                                                                 \
    X(shared)                                                                                                \
    X(gate_refused)                                                                                          \
    X(over_budget)                                                                                           \
    X(skipped)                                                                                               \
    X(unheard)                                                                                               \
    X(outcomes)

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
#define SIM_WORKERS_MAX 4
#define SIM_CONTACTS_MAX 24   /* of a common seed */
#define SIM_CONTACTS_MANY 480 /* where many are parked */
#define SIM_ID_BYTES 64
#define SIM_LIST_MODES 3
#define SIM_ROUTES 2
#define SIM_MEMBERS_MAX 64 /* worker lives of one run that may be in the group at a time */

struct sim;
struct sim_life;
struct sim_row;
struct sim_record;
struct sim_validation;

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
    enum event_validation mode; /* what the configuration makes of it */
    bool force;                 /* a fresh lookup is asked for */
    int cursed;                 /* the status that the API has for it, always; 0: none */
    enum sim_poison poison;     /* the database refuses its data */
    const char *value;          /* JSON, or what somebody took for it */
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
    bool settled;      /* a claim was answered so: another event's row answers for it */
    bool was_final;    /* its row has been accepted or dead at some time: later events may have passed */
    bool history;      /* parked before anybody started */
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
    int phone_index;
    char phone[24];
    char list[24];
    bool on_list;
    int enrolments;
    bool unsubscribed;
    bool replayed;                       /* an event of it was: that one has given up its place */
    int outstanding[SIM_PARTITIONS_MAX]; /* calls under way for its events of each partition, of whomever */
    struct sim_row *rows;                /* of the ledger that speak of it */
    int effect_max[SIM_PARTITIONS_MAX];  /* log index of the latest first effect, -1 */
};

enum sim_row_state { SIM_CLAIMED, SIM_PARKED_ROW, SIM_ACCEPTED, SIM_DEAD };
const char *sim_row_state_str(enum sim_row_state state);

/* One answer of phone validation: what was found, what it cost, and whether the ledger knows. */
struct sim_validation {
    int serial;
    int phone;
    const char *disposition;
    bool forced;
    int64_t cost;    /* 0: the vendor had it */
    int64_t made_us; /* and charged */
    const struct sim_life *life;
    struct sim_row *row;
    int claim_number;
    int64_t heard_us;   /* by its caller; -1: never */
    int64_t written_us; /* by the ledger, as a fresh one; -1: never */
    int64_t settled_us; /* its caller has heard that; -1: not yet */
    bool excused;       /* its caller has lost the claim, or died, before it could write it down */
};

/* What the vendor and the ledger know of one phone. */
struct sim_phone {
    const char *disposition; /* what the next lookup that is paid for finds */
    const struct sim_validation *vendor;
    const struct sim_validation *memory; /* signup.phone_validation; NULL: nothing */
    int64_t memory_at_us;
    bool refused; /* the validation host does not take the number: 400 invalid_phone */
};

/* What one worker's life was told of a phone: by its own lookups, or with a claim. */
struct sim_heard {
    struct sim_heard *next;
    const struct sim_validation *validation;
    int64_t at_us;   /* looked up, or remembered, at this time */
    uint64_t tick;   /* the worker's last one before it heard of it */
    int64_t told_us; /* the ledger's statement was executed; or as heard_us */
    int64_t heard_us;
};

/* A worker was given this row: since when, and what it was told of its phone. */
struct sim_telling {
    struct sim_telling *next;
    const struct sim_life *life;
    int64_t first_us;
    uint64_t tick;                      /* the worker's last one before it was told last */
    const struct sim_validation *known; /* NULL: nothing */
    int64_t known_at_us;
};

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
    bool has_token;
    int64_t lease_until_us; /* 0: none. A parked row with one has been taken up */
    bool released;
    bool maybe_sent;
    int attempts;
    int replays;
    bool replayed_young; /* and was dead within a moment of its life: see verify.c */
    bool replayed;       /* by an operator, who lets it come after its later ones */
    uint64_t park_order; /* 0: none */
    int64_t due_at_us;
    int64_t age_from_us;
    struct sim_source *sources;
    struct sim_source *settled; /* records that it answered for while it was parked */
    struct claim_token outbox_token;
    int64_t outbox_until_us;
    bool published;
    char code[OUTCOME_CODE_BYTES];
    int http_status;
    struct sim_source *differs; /* positions that were warned of */
    int warnings;
    /* notes */
    struct sim_life *holder;
    uint64_t holder_epoch; /* of the record it claimed with; 0: taken up */
    int claim_number;      /* counts claims that went, and being taken up */
    bool was_dead;
    int enrolments; /* that took effect because of this event */
    bool first_effect;
    int unsure_calls; /* calls whose fate the callers cannot know */
    bool taken_over;
    int tries_made;        /* calls and reads: whose claim was lost tells of its own ones with the next */
    bool guarded_call;     /* the latest call carried the guard */
    bool unvalidated_call; /* the latest call left the validation out */
    /* of the present claim */
    bool behind;          /* it is to be parked without a call */
    int claim_attempts;   /* the counter when it was given */
    int counted;          /* answers that count for certain */
    int perhaps_counted;  /* and those that may */
    int failures_counted; /* of the certain ones, those that ask for another try */
    int overdue;          /* failures after which it should have been given up */
    bool must_park;       /* the API wants it to wait longer than anybody waits in memory */
    bool unsure_here;
    enum outcome_class last_class;
    int last_status;
    const char *last_code;
    bool last_probe;    /* the last call was a probe of a closed gate */
    bool last_in_hold;  /* the gate was closed when its answer came */
    bool last_in_storm; /* a vague answer after which nobody may die */
    int64_t last_answer_us;
    bool unpaid;                        /* 402 was heard of it */
    bool skipped;                       /* the latest call went without the lookup that the gate asks for */
    char park_code[OUTCOME_CODE_BYTES]; /* of the outcome that it was parked with */
    struct sim_telling *tellings;
    const struct sim_validation *validation; /* that the row has; NULL: none */
    int read_claim; /* the claim under which its contact was last read back, well or not; 0: none */
    bool answered_final;
    const struct sim_life *final_life; /* whom the final answer was given to */
    uint64_t final_epoch;
    int final_claim;
    int64_t not_before_us; /* the API's own wish (Retry-After) */
    struct sim_row *lost;  /* the row as workers had it whose lease ran out: they may still have the event */
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
struct sim_read;
struct sim_lane_note;
struct publication;
struct commit;

/* Whose turn it is when parked events and fresh ones both wait. */
struct sim_share {
    int calls[2]; /* of this round: fresh, taken up */
    bool waited;  /* both did when it began */
    int owned;    /* assignments it had then; while it gives some up nothing is counted */
};

enum sim_rate { SIM_RATE_UPSERT, SIM_RATE_VALIDATE, SIM_RATE_LEDGER, SIM_RATE_LETTERS, SIM_RATE_COUNT };

/* What a rate still allows: never more than a second's worth. */
struct sim_bucket {
    bool used;
    double tokens;
    int64_t at_us;
};

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
    uint64_t ticks;
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
    struct sim_share share;
    int64_t wall_jump_us;
    int64_t hold_until_us; /* a 429's wish for the whole route */
    int64_t stopped_us;    /* the API has refused everybody (key, address) since; -1: no */
    int64_t probed_us;     /* when its last call started */
    int64_t unpaid_us;  /* when it last heard that validation cannot be paid for; -1: it knows nothing of the
                           kind */
    unsigned vague_run; /* vague refusals heard since the last accepted event */
    int64_t fused_us;   /* when that reached the fuse; -1: it has not */
    struct sim_bucket buckets[SIM_RATE_COUNT];
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
    struct sim_read *reads;
    int reads_out;
    struct sim_call *lookups;
    int lookups_out;
    struct sim_call *lookup_new;  /* submitted; the observer names its event */
    int64_t lookup_hold_until_us; /* as hold_until_us, of the validation host */
    int64_t lookup_stopped_us;    /* as stopped_us */
    int64_t lookup_probed_us;
    bool unpaid_known;        /* the last word on it was that validation cannot be paid for */
    int64_t unpaid_last_us;   /* it last knew that validation cannot be paid for; -1: never */
    struct sim_heard **heard; /* by phone */
    struct sim_spend_heard {
        bool any;
        int64_t sum;
        int64_t executed_us;
        int64_t day;
        int64_t taken_us; /* the tick that took the answer; -1: none has yet */
        int64_t ends_in_us;
        int64_t day_from_us; /* when the first answer of this day was taken */
    } spend, spend_due;
    bool spend_is_due; /* it has come, and no tick has taken it yet */
    struct outcome_publish_op *outcome_publish;
    struct outcome_publication *outcome_publication;
    struct claim_token take_token; /* of the last look for parked events */
    bool take_heard;               /* whose answer has come */
    struct sim_lane_note *lanes;   /* who is beyond waiting for others of its contact */
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

enum sim_kind {
    SIM_DAY,      /* everything may happen */
    SIM_SIEGE,    /* few events, and the API unsure of them for minutes: a thousand tries each */
    SIM_OUTAGE,   /* the API refuses everybody for minutes to hours, at full traffic */
    SIM_COMEBACK, /* hundreds of parked events fall due at once, beside fresh traffic */
    SIM_SLOW      /* the waits of production, hours long */
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
    int api_throttle;
    int read_fail;
    int records;
    int history;
    int lifelines;
    bool reread;
    bool watch_lanes; /* asks the observer who is in work (I2) */
    bool outcomes;    /* there is a topic of outcomes */
    int lookup_fault;
    int outcomes_fail;
    bool lookup_outage; /* it is the validation host that is away */
    enum sim_kind kind;
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
    SIM_STEP_DUE,
    SIM_STEP_DUE_DONE,
    SIM_STEP_READ,
    SIM_STEP_READ_DONE,
    SIM_STEP_LOOKUP,
    SIM_STEP_LOOKUP_DONE,
    SIM_STEP_SPEND,
    SIM_STEP_SPEND_DONE,
    SIM_STEP_TAKE_OUTCOMES,
    SIM_STEP_TAKE_OUTCOMES_DONE,
    SIM_STEP_PUBLISH_OUTCOMES,
    SIM_STEP_PUBLISH_OUTCOMES_DONE,
    SIM_STEP_MARK_OUTCOMES,
    SIM_STEP_MARK_OUTCOMES_DONE,
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
/* How the API refuses everybody. */
enum sim_away {
    SIM_AWAY_KEY,
    SIM_AWAY_SUSPENDED,
    SIM_AWAY_THROTTLED,
    SIM_AWAY_REDIRECT,
    SIM_AWAY_PROVIDER,
    SIM_AWAY_CONNECT,
    SIM_AWAY_UNSURE,
    SIM_AWAY_COUNT,
    SIM_AWAY_LOST = SIM_AWAY_COUNT /* of the validation host only: its address is wrong, 404 */
};

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
    uint64_t known; /* bits: the troubles this seed knows */
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
    struct sim_contact *contacts;
    int contact_count;
    struct sim_content **contents;
    int content_count;
    int content_room;
    int cursed_count;

    struct sim_row *rows[SIM_ROW_BUCKETS];
    struct sim_row *rows_all;
    int64_t ledger_away_until_us;
    uint64_t park_next;

    int64_t api_away_until_us;
    enum sim_away api_away_how;
    int64_t unpaid_until_us;
    int64_t provider_until_us;
    int64_t storm_until_us;
    int storm_how;
    int storm_list; /* the contact whose list nobody knows; -1: all of them */

    struct sim_phone *phones;
    int phone_count;
    struct sim_validation **validations; /* by serial */
    int validation_count;
    int validation_room;
    int64_t day_us;      /* how long a day has */
    int64_t day_from_us; /* when the first one began; not later than 0 */
    int64_t lookup_away_until_us;
    enum sim_away lookup_away_how;
    struct event_list_mode list_modes[SIM_LIST_MODES];
    struct slice route_urls[SIM_ROUTES];
    struct event_route routes[SIM_ROUTES];
    struct sim_outcome *outcomes; /* in the order of their numbers */
    struct sim_outcome **outcomes_end;
    int64_t outcome_count;

    struct sim_group group;
    struct sim_life *lives[SIM_WORKERS_MAX]; /* NULL: down */
    int worker_count;
    int life_count;
    struct pipeline_config base;

    struct sim_trace_line *trace;
    size_t trace_count;
    size_t trace_size;
};

#endif
