/* How the pure core reaches the world: small const structs of functions, context first. The adapters (kafka, ledger, contacts) and the
 * simulated world of the tests implement the same ones.
 *
 * One completion contract for every operation that has a `done`:
 *   - submit gives PORT_AWAY: nothing was started, `done` is never called;
 *   - submit gives PORT_OK: `done` is called exactly once, later, never before submit has returned, also when cancelled;
 *   - everything the operation points at is borrowed from submit until `done` has been called. */
#ifndef SIGNUP_CORE_PORTS_H
#define SIGNUP_CORE_PORTS_H

#include "signup/base/clock.h"
#include "signup/base/outcome.h"
#include "signup/base/slice.h"
#include "signup/event/record.h"
#include "signup/event/signup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum port_status { PORT_OK, PORT_AWAY };
#define PORT_MUST_CHECK __attribute__((warn_unused_result))

/* ------------------------------------------------------------------ source: the topics */

/* One partition for the time of one assignment. `epoch` is new at every assignment, never reused within a process. */
struct partition {
    struct slice topic;
    int32_t partition;
    uint64_t epoch;
};

enum commit_result {
    COMMIT_DONE,  /* the broker holds it */
    COMMIT_RETRY, /* not committed, or unknown: commit again (rebalance under way, broker away, deadline) */
    COMMIT_LOST,  /* the assignment is gone: a revoke "lost" follows or has been delivered */
    COMMIT_REFUSED /* the operator must act (authorization): keep working, try again slowly */
};

struct commit_item {
    struct partition partition;
    int64_t offset; /* the next one to read: lowest incomplete delivered offset, or last delivered + 1 */
};

struct commit_op {
    const struct commit_item *items;
    size_t count;
    void (*done)(struct commit_op *op, enum commit_result result);
    void *owner;
};

struct source_port {
    /* The next record of any assigned, unpaused partition, each partition in offset order. False: none now; the source calls
     * pipeline_poke() when there may be one. `out` borrows until the next call of take. */
    bool (*take)(void *ctx, struct record *out);
    /* Pauses or resumes one partition's delivery. Idempotent. Unknown or outdated partitions are ignored. */
    void (*pause)(void *ctx, const struct partition *partition, bool paused);
    /* Asynchronous, bounded by a deadline of the adapter. One at a time. */
    enum port_status (*commit)(void *ctx, struct commit_op *op) PORT_MUST_CHECK;
    /* Answers pipeline_revoke(): the core has let go of all revoked partitions; the source may give them up. Once a revoke. */
    void (*revoke_done)(void *ctx);
};

/* ------------------------------------------------------------------ ledger: PostgreSQL */

/* Names one claim of one event: a record or an extension counts only while the row still carries it. */
struct claim_token {
    uint8_t bytes[16];
};

enum ledger_result {
    LEDGER_OK,  /* every item has its answer, durable where the answer says so */
    LEDGER_AWAY /* no answer; the statement may or may not have been executed */
};

enum claim_answer {
    CLAIM_GO,       /* the row is ours under the token: new, taken over, or reopened */
    CLAIM_SETTLED,  /* nothing to do for this record: final or parked already */
    CLAIM_BEHIND,   /* as CLAIM_GO, but an earlier event of the contact is parked: park this one behind it, without a call */
    CLAIM_BUSY,     /* held by a live claim elsewhere (this event, or an earlier one of the contact): ask again */
    CLAIM_CONFLICT, /* the id belongs to an event of another contact */
    CLAIM_POISON    /* the database refuses the row's data for good */
};

/* The last validation of a phone that the ledger remembers (signup.phone_validation). */
struct known_validation {
    struct slice validation; /* a JSON object text, told as one that cost nothing: "cost": 0, "cached": true; absent: none is known */
    int64_t age_us;          /* by the server's clock */
};

struct claim_item {
    /* in */
    struct slice event_id;
    const struct record *record; /* position and bytes */
    const struct signup *signup; /* phone, list (may be absent), digest */
    struct claim_token token;
    bool wants_known;            /* what is known of the phone is asked for */
    struct arena *arena;         /* it goes here */
    /* out, with LEDGER_OK */
    enum claim_answer answer;
    struct known_validation known; /* with CLAIM_GO and wants_known */
    bool maybe_sent; /* CLAIM_GO, CLAIM_BEHIND: an earlier claimant may have called */
    int attempts;    /* likewise: spent so far */
    int64_t age_us;  /* likewise: since the event was first claimed, or last brought back to life, by the server's clock */
};

/* No two items share an event_id, nor a contact key. Items are sorted by event_id (slice_compare). */
struct claim_op {
    struct claim_item **items;
    size_t count;
    int64_t lease_us; /* by the server's clock, from the statement's now() */
    void (*done)(struct claim_op *op, enum ledger_result result);
    void *owner;
};

/* What the API said on success (contacts-api.md section 1). Slices live in the delivery's arena. */
struct upsert_reply {
    struct slice contact_id;
    struct slice list_contact_id;
    bool is_new_contact;
    bool is_new_list_contact;
    int journeys_enrolled;
    struct slice validation;     /* absent or a JSON object text */
    int64_t validation_cost;     /* of that, in millionths of a US dollar; 0: cached, or not said */
};

struct attempt {
    struct attempt *next;
    int number;        /* 1 for the first one of this record: the ledger counts on from what it has */
    const char *route; /* "upsert", "read", "validate" */
    wall_us_t at;
    int64_t duration_us;
    int http_status;
    char code[OUTCOME_CODE_BYTES];
    const char *verdict; /* verdict_str() */
};

enum record_state {
    RECORD_ACCEPTED, /* final */
    RECORD_DEAD,     /* final; the dead letter is then due */
    RECORD_PARKED,   /* waits in the ledger until due; its warnings are not written: whoever takes it up finds them again */
    RECORD_RELEASED  /* the claim is given back at once: another may take the event without waiting for the lease. An event that was taken
                      * up stays parked and is due as before. */
};

enum record_answer {
    RECORD_DONE,    /* durable under our token, now or by an earlier try of the same record */
    RECORD_REFUSED, /* the row no longer carries the token: somebody else answers for the event */
    RECORD_POISON   /* the database refuses the row's data for good */
};

struct record_item {
    /* in */
    struct slice event_id;
    struct claim_token token;
    enum record_state state;
    const struct record *record; /* bytes are kept when dead or parked */
    const struct signup *signup; /* with its warnings, which are written with the row */
    const struct outcome *outcome; /* of the last try; NULL: none (released before any call) */
    const struct upsert_reply *reply; /* NULL unless accepted */
    struct slice validation; /* of the phone, whoever asked for it; absent: none. Also of a dead or parked event */
    bool validation_fresh;   /* it was looked up for this record: it is remembered for the phone, and its cost is the day's. Otherwise it came
                              * from memory, and what the row has already is kept. */
    struct slice request;          /* the body that was sent; absent: none was */
    const struct attempt *attempts_made; /* rows for signup.attempt, newest run only; NULL: none worth keeping */
    int attempts;                  /* the row's counter */
    bool maybe_sent;
    int64_t due_in_us;             /* RECORD_PARKED: from the server's now() */
    bool taken_up;                 /* the row is parked, not claimed: it came by due_take. Final: the contact's next parked event is due */
    bool bare;                     /* write only what no database can refuse: a poison row's second try */
    struct slice announcement; /* the record for the outcomes topic without its end: a JSON object text that lacks "finished_at" and the closing
                                * brace, which the ledger adds with its own time. Absent: nothing is told. Written with the row, once. */
    /* out, with LEDGER_OK */
    enum record_answer answer;
};

/* No two items share an event_id. Sorted by event_id. */
struct record_op {
    struct record_item **items;
    size_t count;
    void (*done)(struct record_op *op, enum ledger_result result);
    void *owner;
};

struct lease_item {
    struct slice event_id;
    struct claim_token token;
    bool maybe_sent; /* stored with the extension: "recorded before it matters" */
    bool held;       /* out: false: the row no longer carries the token */
};

/* Sorted by event_id. */
struct lease_op {
    struct lease_item *items;
    size_t count;
    int64_t lease_us;
    void (*done)(struct lease_op *op, enum ledger_result result);
    void *owner;
};

/* One parked event that was taken up: it is ours under the op's token, like a claimed one, but its row stays in state parked until it is
 * recorded, so that the contact's later events go on waiting behind it whatever becomes of us. In the op's arena. */
struct parked_event {
    struct slice event_id;
    struct record original; /* topic, partition, offset, key, value, headers, timestamp as they came; epoch 0 */
    bool maybe_sent;        /* a call may have taken effect, or whoever took it up before did not finish */
    int attempts;
    int64_t age_us;         /* as claim_item.age_us */
    struct known_validation known; /* of its phone, in the op's arena */
};

/* Takes up to `limit` parked events that are due, each the earliest parked one of its contact, and none of a contact with a live claim.
 * Submitted again under the same token after a lost answer it gives the same events again. */
struct due_take_op {
    size_t limit;
    int64_t lease_us;
    struct claim_token token; /* of every event taken */
    struct arena *arena;      /* given by the owner; what does not fit is not taken */
    struct parked_event *events; /* out */
    size_t count;                /* out */
    int64_t next_due_in_us;      /* out: until more is due, 0: at once; -1: nothing is parked */
    void (*done)(struct due_take_op *op, enum ledger_result result);
    void *owner;
};

/* One dead row whose letter is due. In the op's memory (freed by its done()'s owner through outbox_op.arena). */
struct dead_letter {
    struct slice event_id;
    struct record original; /* topic, partition, offset, key, value, headers as they came */
    struct slice code;
    struct slice message;
    struct slice cls;  /* outcome_class_str() */
    int http_status;   /* 0: a local death, no header */
    int attempts;
    wall_us_t failed_at;
    bool published; /* out, of dead_letter_port.publish */
};

/* Takes up to `limit` dead, unpublished rows under a lease, so that two workers do not publish the same ones. */
struct outbox_take_op {
    size_t limit;
    int64_t lease_us;
    struct claim_token token;
    struct arena *arena; /* given by the owner: the letters are put here; an arena that fills up ends the batch early */
    struct dead_letter *letters; /* out */
    size_t count;                /* out */
    bool more;                   /* out: at least one more is due */
    void (*done)(struct outbox_take_op *op, enum ledger_result result);
    void *owner;
};

/* Marks the letters with `published` set as published (dead_letter_published_at = now()); the others are due again after retry_in_us, so that
 * they do not stand before those that can be published. */
struct outbox_mark_op {
    const struct dead_letter *letters;
    size_t count;
    int64_t retry_in_us; /* 0: their leases are given back at once */
    struct claim_token token;
    void (*done)(struct outbox_mark_op *op, enum ledger_result result);
    void *owner;
};

/* One outcome that is due for the outcomes topic. In the op's arena. */
struct outcome_letter {
    int64_t number;       /* of its row in the outbox, growing */
    struct slice event_id;
    struct slice text;    /* the JSON record (schemas/signup-outcome.schema.json) */
    bool published;       /* out, of outcome_port.publish */
};

/* Takes up to `limit` unpublished outcomes under a lease, in their order. */
struct outcome_take_op {
    size_t limit;
    int64_t lease_us;
    struct claim_token token;
    struct arena *arena; /* an arena that fills up ends the batch early */
    struct outcome_letter *letters; /* out */
    size_t count;                   /* out */
    bool more;                      /* out: at least one more is due */
    void (*done)(struct outcome_take_op *op, enum ledger_result result);
    void *owner;
};

/* Forgets those that are published; the others are due again after retry_in_us. */
struct outcome_mark_op {
    const struct outcome_letter *letters;
    size_t count;
    int64_t retry_in_us; /* 0: at once */
    struct claim_token token;
    void (*done)(struct outcome_mark_op *op, enum ledger_result result);
    void *owner;
};

/* What validation has cost today, of all workers together; a day is UTC's, by the server's clock. */
struct spend_op {
    /* out, with LEDGER_OK */
    int64_t spent;        /* millionths of a US dollar, as far as it is recorded */
    int64_t day;          /* days since 1970-01-01 */
    int64_t day_ends_in_us;
    void (*done)(struct spend_op *op, enum ledger_result result);
    void *owner;
};

struct ledger_port {
    enum port_status (*claim)(void *ctx, struct claim_op *op) PORT_MUST_CHECK;
    enum port_status (*record)(void *ctx, struct record_op *op) PORT_MUST_CHECK;
    enum port_status (*extend)(void *ctx, struct lease_op *op) PORT_MUST_CHECK;
    enum port_status (*due_take)(void *ctx, struct due_take_op *op) PORT_MUST_CHECK;
    enum port_status (*outbox_take)(void *ctx, struct outbox_take_op *op) PORT_MUST_CHECK;
    enum port_status (*outbox_mark)(void *ctx, struct outbox_mark_op *op) PORT_MUST_CHECK;
    enum port_status (*outcome_take)(void *ctx, struct outcome_take_op *op) PORT_MUST_CHECK;
    enum port_status (*outcome_mark)(void *ctx, struct outcome_mark_op *op) PORT_MUST_CHECK;
    enum port_status (*spend)(void *ctx, struct spend_op *op) PORT_MUST_CHECK;
};

/* ------------------------------------------------------------------ contacts: the API */

/* `answer_by` of a call is the end of the lease it is made under: a request that could be under way beyond it (its timeout counted) must not
 * leave. The process may have been suspended since the core looked at its clock, so the adapter looks again at the last moment. Such a call
 * completes with `lapsed`: nothing was sent, the outcome means nothing. {0}: whenever. */

/* One upsert. */
struct upsert_call {
    struct slice body;
    struct slice traceparent; /* absent: none */
    mono_us_t answer_by;
    struct arena *arena;      /* reply texts and warnings go here */
    struct signup *signup;    /* warnings of the API are appended to it */
    /* out */
    bool lapsed;
    struct outcome outcome;
    struct upsert_reply reply; /* filled when outcome.cls is OUTCOME_ACCEPTED */
    void (*done)(struct upsert_call *call);
    void *owner;
};

/* Reads one contact back (contacts-api.md section 3). */
struct read_call {
    struct slice phone_number; /* E.164 */
    struct slice list_number;  /* E.164: which of the contact's lists is looked at */
    struct slice traceparent;  /* absent: none */
    mono_us_t answer_by;
    struct arena *arena;       /* texts go here */
    /* out */
    bool lapsed;
    struct outcome outcome; /* OUTCOME_ACCEPTED also for a 404 `not_found`: that is an answer, `found` is then false */
    bool found;             /* the account knows the contact */
    bool on_list;           /* and it is on that list */
    bool active;            /* and not unsubscribed from it */
    struct slice signup_date; /* of that list, as the API says it; absent: it says none */
    void (*done)(struct read_call *call);
    void *owner;
};

/* Asks what kind of phone it is (contacts-api.md section 2; its own host). */
struct validate_call {
    struct slice phone_number; /* E.164 */
    bool force;                /* pay for a fresh lookup */
    struct slice traceparent;  /* absent: none */
    mono_us_t answer_by;
    struct arena *arena;       /* texts go here */
    /* out */
    bool lapsed;
    struct outcome outcome;
    struct slice validation;   /* with OUTCOME_ACCEPTED: the reply, a JSON object text */
    struct slice disposition;  /* likewise: "ok", "risky", …; as the API says it, also one that is not documented */
    int64_t cost;              /* likewise: millionths of a US dollar */
    void (*done)(struct validate_call *call);
    void *owner;
};

struct contacts_port {
    enum port_status (*upsert)(void *ctx, struct upsert_call *call) PORT_MUST_CHECK;
    enum port_status (*read)(void *ctx, struct read_call *call) PORT_MUST_CHECK;
    enum port_status (*validate)(void *ctx, struct validate_call *call) PORT_MUST_CHECK;
};

/* ------------------------------------------------------------------ dead letters: the producer */

struct publish_op {
    struct dead_letter *letters; /* `published` is set on each that the broker has acknowledged */
    size_t count;
    void (*done)(struct publish_op *op);
    void *owner;
};

struct dead_letter_port {
    enum port_status (*publish)(void *ctx, struct publish_op *op) PORT_MUST_CHECK;
};

/* ------------------------------------------------------------------ outcomes: the producer of the optional topic */

struct outcome_publish_op {
    struct outcome_letter *letters; /* `published` is set on each that the broker has acknowledged */
    size_t count;
    void (*done)(struct outcome_publish_op *op);
    void *owner;
};

struct outcome_port {
    enum port_status (*publish)(void *ctx, struct outcome_publish_op *op) PORT_MUST_CHECK;
};

/* ------------------------------------------------------------------ observer: logs and traces */

struct delivery;

enum observed {
    OBSERVED_MOVE,      /* a delivery changed its state: `from`, `to` */
    OBSERVED_SETTLED,   /* a delivery is finished: its fate is `text` ("accepted", "dead", "settled", "abandoned", …) */
    OBSERVED_WAIT,      /* a route closed: `text` says which and why */
    OBSERVED_RESUME     /* and opened again; `number` is how long it was closed, in microseconds */
};

struct observation {
    enum observed what;
    const struct delivery *delivery; /* NULL where none is concerned */
    const char *from;
    const char *to;
    const char *text;
    const char *detail; /* code or message; "" none */
    int64_t number;
};

struct observer_port {
    void (*observe)(void *ctx, const struct observation *observation);
};

/* All ports of one pipeline. */
struct ports {
    const struct source_port *source;
    void *source_ctx;
    const struct ledger_port *ledger;
    void *ledger_ctx;
    const struct contacts_port *contacts;
    void *contacts_ctx;
    const struct dead_letter_port *dead_letter;
    void *dead_letter_ctx;
    const struct outcome_port *outcomes; /* NULL: no outcomes topic */
    void *outcomes_ctx;
    const struct observer_port *observer;
    void *observer_ctx;
};

#endif
