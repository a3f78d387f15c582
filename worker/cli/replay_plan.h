/* What a replay is going to do: the selected events in their order, their contacts, and groups of them for
 * people. */
#ifndef SIGNUP_CLI_REPLAY_PLAN_H
#define SIGNUP_CLI_REPLAY_PLAN_H

#include "signup/base/arena.h"
#include "signup/base/clock.h"
#include "signup/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

/* What is to become of an event, or has: X(name, the word of reports) */
#define PLAN_FATES(X)                                                                                        \
    X(READY, "ready")                       /* it may go */                                                  \
    X(REPLAYED, "replayed")                 /* it has gone */                                                \
    X(UNSUBSCRIBED, "unsubscribed")         /* its contact has left the list since */                        \
    X(SUPERSEDED, "superseded")             /* a newer accepted event has overtaken it */                    \
    X(WITHOUT_ORIGINAL, "without original") /* there are no bytes to send */                                 \
    X(NOT_DEAD, "not dead")                 /* brought back by somebody else, or there already */            \
    X(UNKNOWN, "not looked up")             /* its contact could not be looked up: it stays dead */          \
    X(REFUSED, "refused")                   /* the database does not take a letter's data */

enum plan_fate {
#define X(name, text) PLAN_##name,
    PLAN_FATES(X)
#undef X
        PLAN_FATE_COUNT
};
const char *plan_fate_str(enum plan_fate fate);

enum contact_standing { CONTACT_UNASKED, CONTACT_ASKED, CONTACT_GOES, CONTACT_UNSUBSCRIBED, CONTACT_UNKNOWN };

struct plan_contact {
    struct slice phone_number;
    struct slice list_number;
    enum contact_standing standing;
    char *why; /* of CONTACT_UNKNOWN, our own; NULL: out of memory */
    UT_hash_handle hh;
    size_t key_len;
    char key[]; /* phone and list, each with its NUL */
};

struct plan_group {
    struct slice code;        /* absent: none */
    struct slice list_number; /* absent: unknown */
    struct slice ad_network;  /* absent: none */
    int http_status;          /* 0: none */
    uint64_t fates[PLAN_FATE_COUNT];
    uint64_t events;
    wall_us_t oldest; /* deaths */
    wall_us_t newest;
    UT_hash_handle hh;
    size_t key_len;
    char key[];
};

#define PLAN_NO_LETTER SIZE_MAX

struct plan_event {
    struct slice event_id;
    struct plan_contact *contact; /* NULL: not both of phone and list are known */
    struct plan_group *group;
    size_t letter; /* which one, where it comes from the dead-letter topic; PLAN_NO_LETTER: from its row */
    enum plan_fate fate; /* moved by plan_set_fate() only */
};

struct plan {
    struct plan_event *events;
    size_t count;
    size_t size;
    struct plan_contact *contacts; /* by key */
    struct plan_group *groups;     /* by key */
    uint64_t fates[PLAN_FATE_COUNT];
    struct arena arena; /* texts */
};

void plan_init(struct plan *plan);
void plan_fini(struct plan *plan);

struct plan_facts {
    struct slice event_id;
    struct slice phone_number; /* absent, or empty: unknown */
    struct slice list_number;
    struct slice code;
    struct slice ad_network;
    int http_status;
    wall_us_t died_at;
    bool superseded;
    bool original;
    bool dead; /* or not there at all */
    size_t letter;
};

/* Adds an event at the end, its texts copied. False: out of memory. */
bool plan_add(struct plan *plan, const struct plan_facts *facts);

/* The one place where a fate changes and is counted. */
void plan_set_fate(struct plan *plan, struct plan_event *event, enum plan_fate fate);

#endif
