/* What the ledger holds of one person: the evidence of their consent, and its erasure. For commands: every
 * function blocks. */
#ifndef SIGNUP_LEDGER_PEOPLE_H
#define SIGNUP_LEDGER_PEOPLE_H

#include "signup/base/clock.h"
#include "signup/base/slice.h"
#include "signup/ledger/ledger.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct people_ledger;

/* One connection to a ledger whose schema fits. On any other verdict than WELL `*out` is NULL and `error`
 * (LEDGER_ERROR_BYTES, borrowed until close) says what to do. `config` and its texts are borrowed until
 * close.
 *
 * All functions below: on any other verdict than WELL `error` says why, and nothing was changed, or, with
 * AWAY, perhaps everything was: do it again, nothing happens twice. Phone numbers are in E.164. */
enum ledger_verdict ledger_people_open(const struct ledger_config *config, struct people_ledger **out,
                                       char *error) __attribute__((warn_unused_result));
/* NULL is fine. */
void ledger_people_close(struct people_ledger *ledger);

/* ---- the evidence */

struct consent_filter {
    const char *phone_number;
    const char *const *lists; /* E.164 */
    size_t list_count;        /* 0: any */
    bool has_from;            /* of received_at: from, inclusive, … */
    bool has_to;              /* … to, exclusive */
    wall_us_t from;
    wall_us_t to;
};

/* One event. Slices are borrowed during the callback, end with a NUL that does not count, and are absent
 * where the ledger has none. */
struct consent_row {
    struct slice event_id;
    struct slice source;  /* its position: topic:partition:offset */
    struct slice sources; /* a JSON array text of the other positions at which it was published */
    wall_us_t received_at;
    bool has_signup_date;
    bool finished;
    wall_us_t signup_date;
    wall_us_t finished_at;
    struct slice list_number;
    struct slice url;
    struct slice ip_address;
    struct slice consent_text; /* the member "text" of … */
    struct slice consent;      /* … a JSON object text: all that the event said of its consent */
    struct slice state;
    struct slice code;
    struct slice error;
    int http_status; /* 0: none */
    int attempts;
    bool maybe_sent;
    struct slice contact_id;
    struct slice list_contact_id;
    struct slice is_new_contact; /* "true", "false" */
    struct slice ad_network_source;
    struct slice ad_network_id;
    struct slice attribution; /* a JSON object text */
    struct slice schema_id;   /* a number */
    struct slice request;     /* a JSON object text: what was sent */
    struct slice warnings;    /* a JSON array text of {at, source, code, message}, in their order */
    bool before_provenance;   /* it came before the ledger kept attribution and schema_id */
};

/* Gives each event of the phone to `row`, as they came; no more than one is held at a time. `row` gives false
 * to stop: the verdict is WELL all the same. */
enum ledger_verdict ledger_people_trail(struct people_ledger *ledger, const struct consent_filter *filter,
                                        bool (*row)(void *ctx, const struct consent_row *row), void *ctx)
    __attribute__((warn_unused_result));

/* That the person was forgotten before. Borrowed during the callback. */
struct people_erasure {
    int64_t erasure_id;
    wall_us_t at;
    struct slice who;
    struct slice reason; /* absent: none was given */
    uint64_t events;
};

/* The newest first. Every proof is looked at: each has a salt of its own. */
enum ledger_verdict ledger_people_erasures(struct people_ledger *ledger, const char *phone_number,
                                           void (*erasure)(void *ctx, const struct people_erasure *erasure),
                                           void *ctx) __attribute__((warn_unused_result));

/* ---- forgetting */

/* What there is of a phone, and what stands in the way. */
struct forget_counts {
    uint64_t events;
    uint64_t accepted;
    uint64_t dead;
    uint64_t waiting; /* parked, and nobody works on it: it will not be sent */
    uint64_t in_work; /* claimed or taken up under a live lease */
    uint64_t
        abandoned; /* likewise, but the lease has ended or was given back: another worker takes it up again */
    uint64_t letters;         /* dead, and the letter is not on its topic yet */
    uint64_t letters_leased;  /* of them: being published */
    uint64_t outcomes;        /* outcomes that are not on their topic yet */
    uint64_t outcomes_leased; /* of them: being published */
    uint64_t renamed;         /* events whose id holds the phone */
    uint64_t warnings;
    uint64_t attempts;
    uint64_t validations;
    bool dated; /* first_at and last_at are known */
    wall_us_t first_at;
    wall_us_t last_at;
};

struct forget_order {
    const char *phone_number;
    const char *who;    /* who erases, for the proof */
    const char *reason; /* NULL: none given */
    bool abandoned_too; /* what no worker holds is erased, too: it is not sent, and no letter or outcome is
                           published */
};

/* True when something is in the way of that order. */
bool ledger_forget_is_refused(const struct forget_order *order, const struct forget_counts *counts);

/* Counts only. */
enum ledger_verdict ledger_forget_look(struct people_ledger *ledger, const char *phone_number,
                                       struct forget_counts *counts) __attribute__((warn_unused_result));

enum forget_answer {
    FORGET_DONE,    /* in one transaction; `erasure_id` is the proof's number */
    FORGET_NOTHING, /* the ledger holds nothing of the phone */
    FORGET_REFUSED, /* something is in the way, as `counts` says: nothing was changed */
    FORGET_LOCKED /* others hold what must be locked for longer than can be waited for: nothing was changed */
};

/* Empties the rows of the phone's events, under their locks, so that no worker can slip between; deletes what
 * hangs on them; leaves a proof. The rows themselves stay, so that their records, read again, are answered
 * for: an id that holds the phone is replaced by the position, and known by its hash. */
enum ledger_verdict ledger_forget(struct people_ledger *ledger, const struct forget_order *order,
                                  enum forget_answer *answer, struct forget_counts *counts,
                                  int64_t *erasure_id) __attribute__((warn_unused_result));

/* True when the digits of `text`, whatever stands between them, hold the last seven of the phone: the rule by
 * which an event id holds a phone. */
bool ledger_holds_phone(const char *text, const char *phone_number);

#endif
