/* Everything one pipeline owns. Private to worker/core. */
#ifndef SIGNUP_CORE_STATE_H
#define SIGNUP_CORE_STATE_H

#include "backoff.h"
#include "delivery.h"
#include "due.h"
#include "gate.h"
#include "heap.h"
#include "lane.h"
#include "phones.h"
#include "relay.h"
#include "spend.h"
#include "signup/core/pipeline.h"
#include "signup/core/planted.h"
#include "window.h"

#define PROBES_EACH 3 /* of one event in one trouble of its route */
#define CLAIM_OPS 2  /* claim statements under way at a time: one executes while the next is on its way */
#define RECORD_OPS 2
#define STATEMENTS_MAX (CLAIM_OPS + RECORD_OPS + 5) /* and the leases, what is due, dead letters, outcomes, the day's spend: one each */

struct claim_slot {
    struct claim_op op; /* first: done() finds the slot by it */
    bool busy;          /* from submit until the tick has acted on the answer */
    bool answered;
    enum ledger_result result;
    mono_us_t sent_at;
    struct claim_item **items;
};

struct record_slot {
    struct record_op op;
    bool busy;
    bool answered;
    enum ledger_result result;
    struct record_item **items;
};

struct pipeline {
    struct pipeline_config config;
    struct ports ports;
    struct pipeline_counters counters;
    mono_us_t now;
    wall_us_t wall;
    bool wants_tick;
    bool in_tick;

    struct delivery_list lists[DELIVERY_STATE_COUNT];
    struct heap due; /* WAITING and BACKOFF */
    struct lane *lanes;
    struct window *windows;
    size_t memory_bytes;
    struct random random;
    uint64_t token_head; /* of this process, random */
    uint64_t token_next;

    struct gate upsert;
    struct gate validate;     /* upserts that validate have a credit of it too */
    bool billing_off;         /* the validate route is closed because the account cannot pay */
    struct outcome validate_trouble; /* the answer that closed it */
    unsigned fuse_run;        /* vague deaths since the last accepted event */
    bool fuse_blown;
    mono_us_t admitted_next;  /* when call_start_all() has something to do although no gate turns */
    struct delivery *answered, **answered_end; /* calls whose answer the next tick acts on, in order of arrival */

    struct claim_slot claims[CLAIM_OPS];
    struct record_slot records[RECORD_OPS];
    struct delivery **batch; /* scratch of batch_max */
    mono_us_t ledger_retry_at;  /* no statement before */
    bool ledger_away;
    mono_us_t ledger_away_since;
    unsigned ledger_failures;
    struct gate ledger_pace;  /* only its rate is used, here and below */
    struct gate letter_pace;

    bool leasing;
    bool lease_answered;
    enum ledger_result lease_result;
    struct lease_op lease;
    struct delivery **lease_owners;
    size_t lease_size;
    mono_us_t lease_sent_at;
    mono_us_t next_lease;

    bool committing;
    bool commit_answered;
    enum commit_result commit_result;
    bool commit_failed; /* the last one */
    struct commit_op commit;
    struct commit_item *commit_items;
    size_t commit_size;
    mono_us_t next_commit;

    bool intake_open;
    const char *intake_why;
    mono_us_t intake_closed_at;
    bool source_paused;
    bool source_dry; /* take() had nothing: wait for a poke */

    bool revoking; /* a revoke is to be answered by revoke_done() */
    bool revoke_timed; /* revoke_deadline is set: the first tick after the revoke does it */
    int64_t revoke_patience_us;
    mono_us_t revoke_deadline;
    bool draining;

    struct relay outbox;   /* of dead letters */
    struct relay outcomes;
    struct due due_box;

    bool gates_phones;     /* the configuration can ask for a lookup before the upsert */
    struct phones phones;
    struct spend spend;
};

/* Declares `dl`; it may be moved to another list within the body. NOLINTBEGIN(bugprone-macro-parentheses): names, not expressions */
#define foreach_list(p, state_, dl, tmp)                                                                               \
    for (struct delivery *dl = (p)->lists[state_].head, *tmp = dl ? dl->next : NULL; dl;                               \
         dl = tmp, tmp = dl ? dl->next : NULL)
/* NOLINTEND(bugprone-macro-parentheses) */

static inline size_t list_count(const struct pipeline *p, enum delivery_state state)
{
    return p->lists[state].count;
}

/* Each stage's completions: done() only notes the answer, the tick acts on it. So nothing changes its state inside a callback, and all that
 * is reckoned in time is reckoned from the tick's clock. */
void claims_take_answers(struct pipeline *pipeline);
void calls_take_answers(struct pipeline *pipeline);
void records_take_answers(struct pipeline *pipeline);
void lease_take_answer(struct pipeline *pipeline);
void offsets_take_answer(struct pipeline *pipeline);

/* claim.c */
void claim_flush(struct pipeline *pipeline);
bool claim_waits(const struct pipeline *pipeline);
struct claim_token token_new(struct pipeline *pipeline);

/* due.c */
/* The head of its lane begins: to be claimed, or, where it has come with its claim, to be called. */
void delivery_go(struct pipeline *pipeline, struct delivery *dl);

/* validate.c: the lookup before the upsert */
/* Waits for its phone to be judged. */
bool validation_is_wanted(const struct delivery *dl);
/* One step towards the judgement. True: it is judged, or goes without: the upsert may follow. False: it has moved, or waits. */
bool validation_step(struct pipeline *pipeline, struct delivery *dl, size_t *waiting);
void answer_act_on_lookup(struct pipeline *pipeline, struct delivery *dl);
/* Within a validation's JSON text. */
struct slice validation_disposition(struct slice validation);
/* A number that was validated once for the account is free for ever, unless a fresh lookup is forced (contacts-api.md section 2). */
bool validation_is_free(const struct delivery *dl);
/* May what validates go, as far as the validate route and the budget are concerned? One that may not waits: in memory for a moment, as the next
 * probe, or in the ledger; or it goes without. */
bool validation_admits(struct pipeline *pipeline, struct delivery *dl, size_t *waiting);

/* call.c */
/* The lease must outlast a call: whoever takes the event over may then be sure that nothing of ours is still to come (I6). */
bool lease_suffices(const struct pipeline *pipeline, const struct delivery *dl);
/* For the call's answer_by: what the adapter has to keep in its turn, because the process may stand still meanwhile. */
mono_us_t answer_by(const struct delivery *dl);
/* The body as it is to be sent, in the delivery's arena; absent: the arena is full. */
struct slice body_write(struct delivery *dl, bool guarded);
/* done() of any call was called. */
void call_answered(struct pipeline *pipeline, struct delivery *dl);
/* When call_start_all() has something to do although no gate turns. */
void call_expect(struct pipeline *pipeline, mono_us_t when);
void call_start_all(struct pipeline *pipeline);
/* When it wants to run although nothing completes. */
mono_us_t calls_next(const struct pipeline *pipeline);

/* answer.c: what an answer leads to */
void answer_act_on(struct pipeline *pipeline, struct delivery *dl);
void answer_act_on_read(struct pipeline *pipeline, struct delivery *dl);
/* What answers of different calls have in common. */
void attempt_note(struct delivery *dl, const struct outcome *outcome, const char *route, enum verdict verdict);
/* A lookup that went well is told only when more follows than an upsert that goes well: now it does. */
void attempt_tell(struct delivery *dl);
void tell_validate(struct pipeline *pipeline, struct delivery *dl, struct ruling ruling, int64_t wait_us);
bool is_exhausted(const struct pipeline *pipeline, const struct delivery *dl);
struct answer_follow {
    bool billing;    /* the account cannot pay, and that is to be waited for */
    bool spent;      /* an attempt */
    int64_t wait_us; /* the server's own wish; 0: none */
};
/* Of dl->outcome; `ruling` may turn to dead by the configuration's word on billing. */
struct answer_follow answer_follow_from(struct pipeline *pipeline, const struct delivery *dl, struct ruling *ruling);
/* Where an event goes whose call was not accepted. `exhausted`: it has failed too long or too often. */
void answer_follow(struct pipeline *pipeline, struct delivery *dl, struct ruling ruling, const struct answer_follow *follow, bool exhausted);
/* The wait of the server's own wish, clamped; 0: none. */
int64_t answer_retry_after_us(const struct pipeline *pipeline, const struct outcome *outcome);

/* announce.c: the record for the outcomes topic, without its end (ports.h); absent: the arena is full. */
struct slice announcement_write(const struct pipeline *pipeline, struct delivery *dl);

/* record.c */
void record_flush(struct pipeline *pipeline);
/* Decides the delivery's fate: it goes to RECORDABLE. */
void record_decide(struct pipeline *pipeline, struct delivery *dl, enum record_state fate);
/* The same for RECORD_PARKED: due after so long. */
void record_park(struct pipeline *pipeline, struct delivery *dl, int64_t due_in_us);
/* Its claim goes to whoever has the partition next. What was paid for is to be remembered, and the day's: then it waits in the ledger instead,
 * due at once. */
void record_give_back(struct pipeline *pipeline, struct delivery *dl);

/* lease.c */
void lease_extend_all(struct pipeline *pipeline);
mono_us_t lease_next(const struct pipeline *pipeline);

/* offsets.c: windows, commits, revokes */
void offsets_commit(struct pipeline *pipeline);
mono_us_t offsets_next(const struct pipeline *pipeline);
void offsets_answer_revoke(struct pipeline *pipeline);
void offsets_time_revoke(struct pipeline *pipeline);
void offsets_bury(struct pipeline *pipeline);
struct window *offsets_find(struct pipeline *pipeline, const struct partition *partition);
void offsets_pause(struct pipeline *pipeline);

/* pipeline.c */
/* The delivery is over: it leaves its lane, its slot completes when `answered` (its row is durable) and its window is still its own. */
void pipeline_finish(struct pipeline *pipeline, struct delivery *dl, bool answered, const char *fate);
void pipeline_observe(struct pipeline *pipeline, enum observed what, const struct delivery *dl, const char *text,
                      const char *detail, int64_t number);
/* What a statement's end says of the ledger; and a submit that was not taken. */
void ledger_learn(struct pipeline *pipeline, enum ledger_result result);
void ledger_failed(struct pipeline *pipeline);
bool ledger_admits(const struct pipeline *pipeline);
/* A statement was sent. */
void ledger_spend(struct pipeline *pipeline);
/* When it admits, as far as time alone decides. */
mono_us_t ledger_next(const struct pipeline *pipeline);
/* When a statement that is wanted at `wanted` can be sent; MONO_NEVER: only after an answer. */
mono_us_t ledger_when(const struct pipeline *pipeline, mono_us_t wanted);
size_t pipeline_deliveries(const struct pipeline *pipeline);
size_t pipeline_statements(const struct pipeline *pipeline);
/* Names what is wrong with the API at this time. */
static inline uint64_t pipeline_trouble(const struct pipeline *pipeline)
{
    return pipeline->upsert.troubles + pipeline->validate.troubles;
}
/* Something in memory can be a probe of the upsert route, now or soon. */
bool pipeline_can_probe(const struct pipeline *pipeline);
_Noreturn void out_of_memory(void);
/* No new work is to begin for this delivery: its partition goes, or the pipeline drains. */
bool delivery_is_leaving(const struct pipeline *pipeline, const struct delivery *dl);

#endif
