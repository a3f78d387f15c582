/* What the simulated vendor remembers: contacts, their list memberships, validations. */
#ifndef SIGNUP_CONTACTS_SIM_STATE_H
#define SIGNUP_CONTACTS_SIM_STATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#include "phone.h"

#define STATE_SEQS_KEPT 256u

/* The values of the custom field `seq` in the order in which they took effect. */
struct state_seq_log {
    uint64_t total; /* may be more than are kept */
    uint32_t count;
    uint32_t cap;
    int64_t last;
    int64_t values[];
};

/* One membership of a sending list. An entry with `exists` false only counts calls: somebody asked,
 * nothing took effect. */
struct state_list_contact {
    struct state_list_contact *next;
    struct state_contact *contact;
    char *custom_fields; /* compact JSON text, NULL when empty */
    struct state_seq_log *seqs;
    uint64_t list;
    int64_t signup_s;
    uint32_t id;
    uint32_t enrolments; /* calls that enrolled */
    uint32_t journeys;   /* journeys enrolled by them */
    uint32_t calls;
    uint16_t in_flight;
    bool exists;
    bool active;
};

struct state_contact {
    uint64_t phone;
    struct state_list_contact *lists;
    uint32_t id;
    struct phone_facts *steered; /* owned; what a lookup finds out instead of the rule's facts; NULL: the rule's */
    struct phone_facts *found;   /* owned; what the last lookup found out; NULL: the rule's */
    bool exists;
    bool validated; /* looked up once for the account: free from then on */
    UT_hash_handle hh;
};

struct state_counters {
    uint64_t contacts;
    uint64_t list_contacts;
    uint64_t enrolments;
    uint64_t journeys_enrolled;
    uint64_t enrolled_more_than_once; /* list contacts */
    uint64_t upserts_of_unsubscribed;
    uint64_t lookups_paid;
    uint64_t lookups_cached;
    uint64_t seq_values;
    uint64_t seq_out_of_order; /* smaller than the one before */
    uint64_t seq_repeated;     /* equal to the one before */
    uint64_t overlapping_calls;
};

struct state {
    struct state_contact *contacts; /* uthash by phone */
    struct state_list_contact **newest_first;
    size_t newest_first_count;
    bool newest_first_stale;
    uint32_t next_id;
    struct state_counters count;
};

void state_init(struct state *state);
void state_fini(struct state *state);

struct state_contact *state_find(struct state *state, uint64_t phone);
struct state_list_contact *state_find_on_list(struct state *state, uint64_t phone, uint64_t list);

/* Find or create, with `exists` false. The pointers stay valid until state_fini. */
struct state_contact *state_touch(struct state *state, uint64_t phone);
struct state_list_contact *state_touch_on_list(struct state *state, uint64_t phone, uint64_t list);

/* A checked upsert. Borrows `custom_fields` (may be NULL). */
struct state_upsert {
    uint64_t phone;
    uint64_t list;
    int64_t signup_s;
    bool signup_given;
    bool use_journeys;
    bool skip_journey_if_exists;
    bool override_custom_fields;
    json_t *custom_fields;
    unsigned journeys; /* active Welcome Journeys of the list */
};

struct state_upsert_result {
    uint32_t contact_id;
    uint32_t list_contact_id;
    unsigned enrolled;
    bool new_contact;
    bool new_list_contact;
    bool unsubscribed; /* opted out earlier: kept so, and never enrolled */
};

/* With `dry` the result says what would happen and nothing changes. */
struct state_upsert_result state_apply_upsert(struct state *state, const struct state_upsert *upsert,
                                              bool dry);

/* What a fresh lookup of the number finds out. */
struct phone_facts state_facts_now(struct state *state, uint64_t phone);
/* What the account has been told of it last; the rule's facts where nobody has asked. */
struct phone_facts state_facts_known(struct state *state, uint64_t phone);
/* Whether a lookup has to ask the provider, and costs money. */
bool state_lookup_costs(struct state *state, uint64_t phone, bool force);
/* Counts a lookup and remembers what it finds out, if it asks the provider. Gives what it tells. With `dry` only that. */
struct phone_facts state_look_up(struct state *state, uint64_t phone, bool force, bool dry);

/* Decides what lookups of a number find out from now on; NULL: what the rule says. */
void state_steer(struct state *state, uint64_t phone, const struct phone_facts *facts);
/* As if the account had validated it, with what a lookup finds out now; or never. */
void state_set_validated(struct state *state, uint64_t phone, bool validated);

/* All existing memberships, newest signup first; valid until the next change. */
struct state_list_contact *const *state_newest_first(struct state *state, size_t *count);

#endif
