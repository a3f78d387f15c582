/* Bringing dead events back to life: select them, hand them over to the running workers as parked ones,
 * follow what becomes of them. For commands: every function blocks. */
#ifndef SIGNUP_LEDGER_REPLAY_H
#define SIGNUP_LEDGER_REPLAY_H

#include "signup/base/clock.h"
#include "signup/base/slice.h"
#include "signup/event/phone.h"
#include "signup/event/record.h"
#include "signup/event/signup.h"
#include "signup/ledger/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct replay_ledger;

/* One connection to a ledger whose schema fits. On any other verdict than WELL `*out` is NULL and `error`
 * (LEDGER_ERROR_BYTES, borrowed until close) says what to do. `config` and its texts are borrowed until
 * close.
 *
 * All functions below: on any other verdict than WELL nothing was changed, or, with AWAY, perhaps everything
 * was: reopen and do it again unchanged, nothing happens twice. */
enum ledger_verdict ledger_replay_open(const struct ledger_config *config, struct replay_ledger **out,
                                       char *error) __attribute__((warn_unused_result));
enum ledger_verdict ledger_replay_reopen(struct replay_ledger *ledger) __attribute__((warn_unused_result));
/* NULL is fine. */
void ledger_replay_close(struct replay_ledger *ledger);

/* ---- which */

struct replay_texts {
    const char *const *items;
    size_t count; /* 0: any */
};

/* Dead events to which all of this applies; within a list one is enough. */
struct replay_filter {
    struct replay_texts codes;
    struct replay_texts classes; /* outcome_class_str() */
    struct replay_texts lists;   /* E.164 */
    struct replay_texts ad_networks;
    struct replay_texts ad_ids;
    struct replay_texts event_ids;
    const int *statuses; /* 0: those without an HTTP status */
    size_t status_count;
    bool has_since;
    bool has_until;
    wall_us_t since;     /* of their death, inclusive */
    wall_us_t until;     /* exclusive */
    bool superseded_too; /* nobody asks whether they are superseded */
};

/* One dead event. Borrowed during the callback. */
struct replay_row {
    struct slice event_id;
    struct slice phone_number; /* absent: unknown */
    struct slice list_number;  /* absent: unknown */
    struct slice code;         /* absent: none */
    struct slice ad_network;   /* absent: none */
    int http_status;           /* 0: none */
    wall_us_t finished_at;
    bool superseded; /* an accepted event of the contact is newer: further on in the same partition, else of a
                      * later date (signup_date, or else received_at) */
    bool original;   /* the bytes are kept */
};

/* Gives each selected event to `row`, in the order in which they are to be handed over: by the time of their
 * death, but never against the offsets of one contact in one partition. `row` gives false to stop: the
 * verdict is WELL all the same. Reads the whole table, whatever is selected. */
enum ledger_verdict ledger_replay_select(struct replay_ledger *ledger, const struct replay_filter *filter,
                                         bool (*row)(void *ctx, const struct replay_row *row), void *ctx)
    __attribute__((warn_unused_result));

/* ---- from dead letters, where the ledger may be gone */

/* What a dead letter says of one event. Borrowed during the calls. */
struct replay_letter {
    struct record original; /* topic, partition and offset of the source; key, value, headers, timestamp */
    const struct signup *signup; /* as signup_read() found it; its event_id does not count */
    struct slice code;           /* absent: none */
    struct slice message;
    struct slice cls;
    int http_status;
    wall_us_t failed_at;
    bool maybe_sent; /* a call may have taken effect */
};

struct replay_known {
    /* in */
    struct slice event_id;
    struct slice topic; /* of the source */
    int32_t partition;
    int64_t offset;
    struct slice phone_number; /* absent: unknown, or only the ledger knows */
    struct slice list_number;
    wall_us_t dated; /* the signup_date, or else the time of death */
    /* out */
    bool there;                   /* the ledger has a row of that id */
    bool dead;                    /* and it is dead */
    bool original;                /* and the bytes are kept there */
    bool superseded;              /* as in struct replay_row */
    char phone[PHONE_E164_BYTES]; /* of the row; "" none */
    char list[PHONE_E164_BYTES];
};

/* What the ledger knows of these events. No two have the same id. Reads the whole table. */
enum ledger_verdict ledger_replay_look(struct replay_ledger *ledger, struct replay_known *known, size_t count,
                                       bool superseded_too) __attribute__((warn_unused_result));

/* ---- handing over */

struct replay_run {
    const char *who;       /* who replays, for people */
    const char *reason;    /* NULL: none given */
    const char *selection; /* what was asked for, a JSON object */
    uint64_t selected;
};

/* What did not go, so far. */
struct replay_tally {
    uint64_t unsubscribed;
    uint64_t superseded;
    uint64_t without_original;
    uint64_t not_dead;
    uint64_t failed;
};

/* A new row of signup.replay; `*replay_id` is its number. After AWAY a second row may come to be: harmless.
 */
enum ledger_verdict ledger_replay_begin(struct replay_ledger *ledger, const struct replay_run *run,
                                        int64_t *replay_id) __attribute__((warn_unused_result));

enum replay_answer {
    REPLAY_PARKED,           /* it is parked and due: durable, now or by an earlier try of the same replay */
    REPLAY_NOT_DEAD,         /* left alone: in another state, or gone since it was selected */
    REPLAY_WITHOUT_ORIGINAL, /* left alone: there are no bytes to send */
    REPLAY_REFUSED           /* a letter whose data the database refuses for good */
};

struct replay_item {
    struct slice event_id;
    const struct replay_letter
        *letter;               /* inserted where no row of the id is there; NULL: only a dead row goes */
    enum replay_answer answer; /* out */
};

#define REPLAY_BATCH_MAX 500

/* Parks the dead events among `items` and makes them due, in their order and in one transaction: whatever
 * ends in the middle, each of them went whole or is dead as before. Their counters begin again; the last
 * error is kept until the next outcome, and so is maybe_sent. Each gets a worker warning `replayed`. At most
 * REPLAY_BATCH_MAX, no two of the same id, either all with a letter or none. */
enum ledger_verdict ledger_replay_hand_over(struct replay_ledger *ledger, int64_t replay_id,
                                            struct replay_item *items, size_t count,
                                            const struct replay_tally *tally)
    __attribute__((warn_unused_result));

/* Sets finished_at and the figures. */
enum ledger_verdict ledger_replay_finish(struct replay_ledger *ledger, int64_t replay_id,
                                         const struct replay_tally *tally)
    __attribute__((warn_unused_result));

/* ---- following */

struct replay_end {
    size_t nth;        /* place in `event_ids` */
    bool accepted;     /* else dead */
    struct slice code; /* absent: none */
    int http_status;   /* 0: none */
};

/* Gives those of the events that are final to `ended`. */
enum ledger_verdict ledger_replay_follow(struct replay_ledger *ledger, const struct slice *event_ids,
                                         size_t count, void (*ended)(void *ctx, const struct replay_end *end),
                                         void *ctx) __attribute__((warn_unused_result));

#endif
