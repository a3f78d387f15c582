/* What the parts of the simulated world give each other: one section a file. */
#ifndef SIGNUP_SIM_PARTS_H
#define SIGNUP_SIM_PARTS_H

#include "sim.h"

#include "signup/core/delivery.h"

#define SIM_VALIDATION_BYTES 256

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
struct sim_whom sim_whom_contact(int contact, int worker);
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
/* -1: nobody's. */
int sim_phone_find(const struct sim *sim, struct slice phone);
/* The contact of that phone and list; -1: none is said; -3: nobody knows it. */
int sim_contact_find(const struct sim *sim, struct slice phone, struct slice list);

/* ---- rows.c: the ledger's rows, and the claim */
struct sim_row *sim_row_find(struct sim *sim, struct slice id);
struct sim_row *sim_row_find_str(struct sim *sim, const char *id);
struct sim_row *sim_row_insert(struct sim *sim, struct slice id, struct sim_record *record, int contact);
bool sim_row_has_source(const struct sim_row *row, const struct sim_record *record);
/* Claimed or taken up, and the lease is not over. */
bool sim_row_is_live(const struct sim *sim, const struct sim_row *row);
/* The caller's notes of an earlier claim are no longer true. */
void sim_row_hold(struct sim *sim, struct sim_row *row, struct sim_life *life, uint64_t epoch);
/* Whoever has taken the letter of an earlier death must not mark a new one's. */
void sim_row_forget_letter(struct sim_row *row);
void sim_row_source_add(struct sim *sim, struct sim_source **list, const struct sim_record *record);
bool sim_token_equal(const struct claim_token *a, const struct claim_token *b);
/* What the ledger knows of a phone. */
struct sim_remembered {
    const struct sim_validation *validation; /* NULL: nothing */
    int64_t at_us;
    int64_t told_us; /* by the statement */
};
/* The answer to a claim, and what goes with it. */
struct sim_claimed {
    enum claim_answer answer;
    bool maybe_sent;
    int attempts;
    int64_t age_us;
    struct sim_row *row; /* with a claim that goes */
    int claim_number;
    struct sim_remembered known;
};
struct sim_claimed sim_row_claim(struct sim *sim, struct sim_life *life, const struct claim_item *item,
                                 int64_t lease_us);
/* A fingerprint of all rows and their warnings. */
uint64_t sim_rows_fingerprint(const struct sim *sim);

/* ---- recorded.c: record and extend */
enum record_answer sim_row_record(struct sim *sim, struct sim_life *life, const struct record_item *item);
bool sim_row_extend(struct sim *sim, const struct lease_item *item, int64_t lease_us);

/* ---- verify.c: what may be recorded */
void sim_verify_record(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                       const struct record_item *item);
bool sim_warned_of(const struct signup *signup, const char *code, struct slice *message);

/* ---- parked.c: what waits in the ledger */
void sim_rows_park_strangers(struct sim *sim);
/* Parks what the seed has parked before anybody started. */
void sim_rows_park_history(struct sim *sim);
/* Takes up what is due; gives how many, the rows as they were then in a new array. */
size_t sim_rows_take_due(struct sim *sim, struct sim_life *life, const struct due_take_op *op,
                         const struct sim_row ***taken, int64_t *next_due_in_us);
/* The row's worker may have the event still, also when the answer to its record is lost: it knows it again
 * when it takes it up once more. */
void sim_row_note_lost(struct sim *sim, struct sim_row *row);
/* The contact's next parked event is due at once, unless somebody else has its row locked. */
void sim_rows_wake(struct sim *sim, const struct sim_row *row);
/* Somebody brings dead events back; `all`: every one. */
void sim_rows_replay(struct sim *sim, bool all);

/* ---- ledger.c: statements, latency, lost answers */
extern const struct ledger_port sim_ledger_port;
void sim_ledger_drop(struct sim *sim, struct sim_life *life, bool complete);

/* ---- api.c: calls, and the contacts behind them */
extern const struct contacts_port sim_contacts_port;
void sim_api_drop(struct sim *sim, struct sim_life *life);
/* Calls under way for the events of one assignment. */
int sim_api_calls_of(const struct sim_life *life, uint64_t epoch);

/* One call, from its start to its effect and its answer, which need not meet. */
struct sim_call {
    struct sim_call *next;
    struct sim_life *life;
    struct upsert_call *op;
    struct sim_record *record;
    struct sim_row *row;
    struct sim_contact *contact;
    int claim_number;
    uint64_t epoch;
    bool use_journeys;
    bool skip;
    bool validate;
    bool force;
    bool is_lookup;
    int phone;    /* whose validation is asked for */
    bool refused; /* the gate does not let what was found pass */
    bool free;    /* the caller knows that it costs nothing */
    struct validate_call *lookup_op;
    struct sim_validation *validation; /* of this call, once it is made */
    bool probe;                        /* its gate was closed when it started */
    bool takes_effect;
    bool ended;       /* for the caller */
    bool lapsed;      /* it never left */
    bool counted_out; /* no longer under way for the contact */
    int64_t started_us;
    /* the answer */
    enum outcome_class cls;
    int status;
    const char *code;
    bool maybe_sent;
    int64_t retry_after_us; /* -1: none */
    bool is_new;
    int enrolled;
};

/* ---- answers.c: what the API says, in good days and bad ones */
/* Decides the answer, whether the call takes effect, and how long it takes. */
void sim_answer_decide(struct sim *sim, struct sim_call *call, int64_t *takes_us);
/* A refusal that speaks neither of an event nor well of the API, for reads; false: none. */
bool sim_answer_read(struct sim *sim, struct sim_life *life, struct outcome *out, int64_t *takes_us);
int64_t sim_api_latency(struct sim *sim, const struct sim_life *life);
/* The same for lookups: the validation host has its own days. */
void sim_answer_lookup(struct sim *sim, struct sim_call *call, int64_t *takes_us);
/* The answer need not speak of the event (design section 5, fuse). */
bool sim_answer_is_vague(enum outcome_class cls, int status, const char *code);

/* ---- rules.c: what must hold when a call starts, and what its answer makes true */
/* The claim first: what the call's notes are taken from. */
void sim_rules_claim(struct sim *sim, const struct sim_call *call);
void sim_rules_start(struct sim *sim, struct sim_call *call);
void sim_rules_read(struct sim *sim, struct sim_life *life, int contact);
void sim_rules_answer(struct sim *sim, struct sim_call *call);
/* It never left: nothing is known by it. */
void sim_rules_lapse(const struct sim_call *call);
/* Those that a lookup shares with a call. */
void sim_rules_lookup(struct sim *sim, struct sim_call *call);
/* The API's wish for a pause, as the core has to keep it. */
int64_t sim_rules_clamped(const struct sim_life *life, int64_t retry_after_us);
/* The same for what everybody is told: also by a read. */
void sim_rules_route(struct sim *sim, struct sim_life *life, const struct outcome *outcome, bool validates);
/* Spends `count` of a rate. */
void sim_rules_rate(struct sim_life *life, enum sim_rate which, size_t count);
/* The gate of that route, as pipeline_status() tells everybody. */
bool sim_gate_is_open(const struct sim_life *life, const char *route);

/* ---- lanes.c: who is in work, by the observer's word */
void sim_lanes_observe(struct sim_life *life, const struct observation *seen);

/* ---- phones.c: what is known of phones: by the vendor, the ledger, and each worker */
void sim_phones_make(struct sim *sim);
/* The vendor looks it up, or has it: what a caller is told, and charged. */
struct sim_validation *sim_phone_look_up(struct sim *sim, struct sim_call *call);
/* The JSON text that tells of it; `cost` and `cached` as they are to be told. */
void sim_validation_write(const struct sim *sim, const struct sim_validation *validation, int64_t cost,
                          bool cached, char out[SIM_VALIDATION_BYTES]);
/* NULL: no such text was ever given. */
struct sim_validation *sim_validation_find(const struct sim *sim, struct slice text);
/* The caller has it. */
void sim_phone_heard(struct sim *sim, struct sim_life *life, struct sim_validation *validation);
/* The row is its worker's now, which is told what the ledger knows of its phone. */
struct sim_remembered sim_phone_remembered(const struct sim *sim, int contact);
void sim_phone_told(struct sim_life *life, struct sim_row *row, const struct sim_remembered *known);
/* The telling that counts for this worker, or NULL. */
struct sim_telling *sim_phone_telling(const struct sim_row *row, const struct sim_life *life);
void sim_phone_told_no_more(struct sim_row *row, const struct sim_life *life);
/* The known text of it, in the arena; false: it is full. */
bool sim_phone_fill(const struct sim *sim, struct arena *arena, const struct sim_remembered *known,
                    struct known_validation *out);
/* The row is written with the validation of the item. */
void sim_phone_written(struct sim *sim, struct sim_life *life, struct sim_row *row,
                       const struct record_item *item);
/* The worker has lost the row's claim: what it has paid for need not be written. `row` NULL: it is dead. */
void sim_phone_excuse(struct sim *sim, const struct sim_life *life, const struct sim_row *row);
int64_t sim_day_of(const struct sim *sim, int64_t at_us);
int64_t sim_day_end(const struct sim *sim, int64_t day);
/* What was recorded of that day, until then. */
int64_t sim_spend_recorded(const struct sim *sim, int64_t day, int64_t until_us);

/* The worker stands still between deciding on a call and sending it: for how long, 0: it does not. `*lapsed`: it is too late then for
 * whoever minds `answer_by`, and the call must not leave. */
int64_t sim_api_departure(struct sim_life *life, mono_us_t answer_by, bool *lapsed);

/* ---- lookups.c: the validation host */
enum port_status sim_lookup_port(void *ctx, struct validate_call *op);
/* The observer says for which event the last lookup is. */
void sim_lookup_named(struct sim_life *life, const struct delivery *delivery);
void sim_lookups_drop(struct sim *sim, struct sim_life *life);
int sim_lookups_of(const struct sim_life *life, uint64_t epoch);

/* ---- gated.c: what must hold of lookups, of the gate, and of the day's budget */
void sim_gate_lookup(struct sim *sim, struct sim_call *call);
void sim_gate_answer(struct sim *sim, struct sim_call *call);
/* An upsert starts. */
void sim_gate_call(struct sim *sim, struct sim_call *call);
void sim_gate_verify(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                     const struct record_item *item);
/* It may be dead with `validation_refused`; fails otherwise. */
void sim_gate_verify_refused(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                             const struct record_item *item);
/* It may go without validation. */
bool sim_gate_may_skip(const struct sim *sim, const struct sim_life *life, const struct sim_row *row);
void sim_budget_verify_parked(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                              const struct record_item *item);
void sim_budget_end(struct sim *sim);
/* No day has money for it. */
/* A tick begins: it takes what the ledger has said of the day. */
void sim_budget_tick(struct sim *sim, struct sim_life *life);
/* The budget has no room for a single lookup: events may wait for good. */
bool sim_budget_starves(const struct sim *sim);
bool sim_budget_never(const struct sim *sim, const struct sim_row *row);

/* ---- outcomes.c: the outbox of outcomes, and their topic */
extern const struct outcome_port sim_outcomes_port;
void sim_outcomes_drop(struct sim *sim, struct sim_life *life);
void sim_outcome_verify(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                        const struct record_item *item);
void sim_outcome_write(struct sim *sim, const struct sim_row *row, const struct record_item *item);
struct sim_outcome_taken {
    int64_t number;
    const char *id;
    const char *text;
};
size_t sim_outcomes_take(struct sim *sim, const struct outcome_take_op *op, struct sim_outcome_taken **taken,
                         bool *more);
void sim_outcomes_mark(struct sim *sim, struct sim_life *life, const struct outcome_mark_op *op);
/* One that is not published, or NULL: the id of its event. */
const char *sim_outcome_unpublished(const struct sim *sim);

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

/* ---- chaos.c: what strikes by itself, and the end of it */
void sim_chaos_start(struct sim *sim);

/* ---- checks.c: the books at the end */
void sim_check_tick(struct sim *sim, struct sim_life *life);
/* A worker says that it is drained. */
void sim_check_drained(struct sim *sim, struct sim_life *life);
bool sim_is_quiet(struct sim *sim);
/* It never will be: all that is left waits for a cursed event, and that for a gate which only another event
 * could open. */
bool sim_is_cursed(struct sim *sim);
/* A call starts: whose turn was it? */
void sim_check_share(struct sim_life *life, const struct sim_row *row);
void sim_check_end(struct sim *sim);
/* Why it is not quiet: fails. */
void sim_check_stuck(struct sim *sim) __attribute__((noreturn));

#endif
