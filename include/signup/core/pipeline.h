/* The order of the stages, and nothing else knows it: source → read → lane → claim → upsert → record → settle → commit.
 * The head comment of worker/core/pipeline.c numbers the invariants. */
#ifndef SIGNUP_CORE_PIPELINE_H
#define SIGNUP_CORE_PIPELINE_H

#include "signup/base/clock.h"
#include "signup/core/policy.h"
#include "signup/core/ports.h"
#include "signup/event/signup.h"

#include <stdbool.h>
#include <stdint.h>

struct pipeline;

/* What becomes of an event whose validation the account cannot pay for (402). */
enum on_billing {
    ON_BILLING_PARK,               /* it waits, billing_step at a time */
    ON_BILLING_WITHOUT_VALIDATION, /* it goes without validation, with a warning */
    ON_BILLING_DEAD
};

/* What becomes of an event that would validate when the day's budget is spent. */
enum on_budget {
    ON_BUDGET_PARK_UNTIL_TOMORROW,
    ON_BUDGET_WITHOUT_VALIDATION /* it goes without, with a warning */
};

#define BUDGET_NONE INT64_C(-1)
#define VALIDATION_PRICE INT64_C(3000) /* of a lookup that is not cached, in millionths of a US dollar (contacts-api.md section 2) */

struct pipeline_config {
    struct event_rules rules;
    struct policy policy;
    int64_t backoff_base_us;  /* retry.inline_base */
    int64_t backoff_cap_us;   /* retry.inline_cap: also the longest wait in memory, whatever asks for it */
    int inline_attempts;      /* counted failures in memory before an event is parked; taken up again, it has one try */
    int64_t park_base_us;     /* first time in the ledger; doubles, with full jitter */
    int64_t park_cap_us;
    int64_t max_age_us;       /* an event that still fails at this age is dead */
    int max_attempts;         /* an event that has failed this often is dead */
    int64_t billing_step_us;  /* wait after a 402 */
    enum on_billing on_billing;
    const struct slice *allow; /* dispositions that the gate lets through (validation.gate.allow) */
    size_t allow_count;
    int64_t remember_us;      /* how long a known validation is good; 0: none is */
    int64_t daily_budget;     /* of validation, in millionths of a US dollar; BUDGET_NONE: no limit */
    enum on_budget on_budget;
    bool tell_phone;          /* in the records of the outcomes topic, if there is one (ports.outcomes) */
    int64_t spend_interval_us; /* between looks at what all workers have spent today */
    unsigned fuse;            /* deaths in a row of answers that need not speak of the event; 0: never */
    int64_t retry_after_cap_us;
    int64_t rate_upsert;      /* calls a second; 0: no limit, here and below */
    int64_t rate_validate;    /* calls that validate */
    int64_t rate_ledger;      /* statements */
    int64_t rate_dead_letter; /* letters */
    size_t max_in_flight;     /* calls at a time */
    size_t memory_bytes;      /* of deliveries and windows together: the high water of the intake */
    size_t batch_max;         /* rows a claim or record statement */
    size_t window_slots_max;  /* delivered, uncommitted records a partition before it is paused */
    int64_t lease_us;         /* of a claim */
    int64_t call_timeout_us;  /* a call ends within this: none starts with less lease left */
    int64_t commit_interval_us;
    int64_t revoke_drain_us;  /* how long a revoked partition may finish its calls */
    int64_t outbox_interval_us; /* between sweeps for dead letters that a crash left behind */
    int64_t due_interval_us;  /* between looks for parked events that are due, unless sooner is known */
    uint64_t seed;            /* of jitter and tokens; the tests' whole randomness */
};

/* Sane values for everything but `rules`, `policy` and `seed`. */
void pipeline_config_defaults(struct pipeline_config *config);

/* Copies `config`; what it points at, and the ports, are borrowed until destroy. NULL: out of memory. */
struct pipeline *pipeline_create(const struct pipeline_config *config, const struct ports *ports);

/* Frees everything. No operation may be under way any more: adapters are closed (and have completed everything) before. */
void pipeline_destroy(struct pipeline *pipeline);

/* ---- from the source, on the loop, never inside a port's function */

/* New partitions of this consumer, each with a new epoch. Their windows begin empty. */
void pipeline_assign(struct pipeline *pipeline, const struct partition *partitions, size_t count);

/* All listed partitions go. `lost`: they are somebody else's already: nothing is committed for them. Otherwise their calls may finish
 * within revoke_drain_us, then the watermark is committed once. source.revoke_done() follows exactly once, also when `count` is 0. */
void pipeline_revoke(struct pipeline *pipeline, const struct partition *partitions, size_t count, bool lost);

/* ---- the tick: everything happens here */

/* Runs all that is due: takes records, starts calls, flushes batches, advances windows, commits, buries. Cheap when nothing is due.
 * Call after every batch of completions, at pipeline_next_due(), and after pipeline_assign/revoke/poke. */
void pipeline_tick(struct pipeline *pipeline, mono_us_t now, wall_us_t wall);

/* When the tick wants to run again although nothing completes. MONO_NEVER: not before. */
mono_us_t pipeline_next_due(const struct pipeline *pipeline);

/* True when something happened since the last tick that a tick should look at (a completion, a poke). */
bool pipeline_wants_tick(const struct pipeline *pipeline);
void pipeline_poke(struct pipeline *pipeline);

/* Somebody has mended something: what is held looks now whether it works again, instead of at its own time. */
void pipeline_look_again(struct pipeline *pipeline);

/* ---- the end */

/* Takes nothing new; lets calls and records finish, gives waiting claims back, commits. */
void pipeline_drain(struct pipeline *pipeline);
/* Everything of the drain is finished. */
bool pipeline_drained(const struct pipeline *pipeline);

/* ---- what people and probes see */

/* Counters since create, one name each: metrics, /status and the tests read the same. */
#define PIPELINE_COUNTERS(X)                                                                                           \
    X(records, "records taken from the topics")                                                                        \
    X(accepted, "events accepted by the API")                                                                          \
    X(dead, "events that are dead")                                                                                    \
    X(parked, "times an event was parked in the ledger")                                                               \
    X(behind, "of these: without a call, behind an earlier event of the same contact")                                 \
    X(taken_up, "parked events that were due and taken up again")                                                      \
    X(given_up, "events that are dead because they failed too often or too long")                                      \
    X(settled, "records settled without a call: their event has its row already")                                      \
    X(conflicts, "records that reuse the id of another contact's event")                                               \
    X(abandoned, "deliveries given up because their partition or their claim went elsewhere")                          \
    X(calls, "upsert calls started")                                                                                   \
    X(lapsed, "calls given up before they left: the worker had stood still, and their claim would not last")          \
    X(retries, "upsert calls that are to be repeated")                                                                 \
    X(guarded, "calls repeated with the journey guard after a call of unknown fate")                                   \
    X(reads, "contacts read back after a call of unknown fate")                                                        \
    X(validation_skipped, "events sent without validation because the account cannot pay or the day's budget is spent") \
    X(validations, "phone lookups started before an upsert")                                                           \
    X(validations_known, "events whose phone was known from an earlier validation, without a call")                    \
    X(validations_shared, "events that took the lookup of another event of the same phone")                            \
    X(validations_refused, "events that are dead because of their phone's disposition")                                \
    X(validations_paid, "validations that cost something, within the upsert or before it")                             \
    X(validation_cost, "what they cost, in millionths of a US dollar")                                                 \
    X(budget_parked, "times an event was parked because the day's validation budget was spent")                        \
    X(journeys_missed, "accepted events of which the API said that a journey was not used")                            \
    X(outcomes, "outcomes published")                                                                                  \
    X(outcome_failures, "outcomes that could not be published and stay due")                                           \
    X(fuses, "times that the fuse held the route")                                                                     \
    X(warnings, "warnings recorded")                                                                                   \
    X(new_contacts, "accepted events whose contact was new to the account")                                            \
    X(journeys, "journey enrolments reported by the API")                                                              \
    X(claims, "claim statements sent")                                                                                 \
    X(records_flushed, "record statements sent")                                                                       \
    X(claims_refused, "records refused because another worker holds the claim")                                        \
    X(poisoned, "rows the database refused and that were recorded bare")                                               \
    X(commits, "offset commits acknowledged")                                                                          \
    X(commit_failures, "offset commits that failed")                                                                   \
    X(dead_letters, "dead letters published")                                                                          \
    X(dead_letter_failures, "dead letters that could not be published and stay due")

struct pipeline_counters {
#define X(name, help) uint64_t name;
    PIPELINE_COUNTERS(X)
#undef X
    uint64_t by_class[OUTCOME_CLASS_COUNT]; /* answers of the upsert route */
};

struct pipeline_gate_status {
    const char *route;    /* "upsert", "validate", "ledger", "dead_letter", "outcomes" */
    bool open;
    const char *why;      /* "" while open */
    mono_us_t closed_since;
    size_t in_flight;
    size_t limit;         /* adaptive: what is admitted at this time */
    size_t limit_max;
};
#define PIPELINE_GATES 5

struct pipeline_spend {
    bool known;        /* the ledger has said what was spent */
    int64_t spent;     /* today, of all workers, in millionths of a US dollar; what this one has not recorded yet among it */
    int64_t budget;    /* BUDGET_NONE */
    bool exhausted;    /* the next lookup would pass it */
    int64_t day_ends_in_us;
};

struct pipeline_status {
    size_t deliveries;      /* in memory */
    size_t calls_in_flight;
    size_t waiting_retry;
    size_t waiting_claim;   /* for a live claim elsewhere */
    size_t taken_up;        /* of the deliveries: parked events that were taken up */
    bool fuse_blown;
    size_t validating;      /* lookups under way */
    struct pipeline_spend spend;
    size_t lanes;
    size_t memory_bytes;
    bool intake_open;
    const char *intake_why; /* "" while open */
    bool draining;
    struct pipeline_gate_status gates[PIPELINE_GATES];
    /* The oldest unfinished delivery. */
    bool has_oldest;
    struct partition oldest_partition;
    int64_t oldest_offset;
    mono_us_t oldest_since;
    const char *oldest_state;  /* state's name: why it waits */
    int oldest_attempts;
    const char *oldest_code;   /* of its last outcome, "" none */
};

struct pipeline_partition_status {
    struct partition partition;
    int64_t watermark;       /* what would be committed; -1: nothing delivered yet */
    int64_t committed;       /* last acknowledged; -1: none in this assignment */
    int64_t last_delivered;  /* -1: none */
    size_t unfinished;
    bool paused;
};

const struct pipeline_counters *pipeline_counters(const struct pipeline *pipeline);
/* Slices and strings borrow until the next tick. */
void pipeline_status(const struct pipeline *pipeline, struct pipeline_status *out);
/* Fills up to `max`, gives how many partitions there are. */
size_t pipeline_partitions(const struct pipeline *pipeline, struct pipeline_partition_status *out, size_t max);

#endif
