/* What this process knows of phones: lookups under way, which events of the same phone share, and the latest answers. */
#ifndef SIGNUP_CORE_PHONES_H
#define SIGNUP_CORE_PHONES_H

#include "signup/core/ports.h"
#include "signup/event/phone.h"

#include <uthash.h>

#define PHONES_KEPT 1024 /* latest answers; the ledger remembers them all */

struct delivery;

struct phone {
    UT_hash_handle hh;
    char number[PHONE_E164_BYTES];
    const struct delivery *asked_by; /* the lookup under way is its; NULL: none is */
    char *validation;                /* the latest answer; NULL: none */
    size_t validation_len;
    bool fresh;                      /* it was looked up anew, not taken from what the API had kept */
    mono_us_t learnt_at;
    struct phone *prev, *next;       /* of those with an answer and without a lookup, oldest first */
    bool listed;
};

struct phones {
    struct phone *table;
    struct phone *answers;
    size_t answer_count;
};

/* NULL: nothing is known of it. */
struct phone *phones_find(const struct phones *phones, struct slice number);
/* `asker` looks it up. NULL: out of memory. */
struct phone *phones_ask(struct phones *phones, struct slice number, const struct delivery *asker);
/* The lookup of `asker` is over; `validation` absent: it failed. */
void phones_answer(struct phones *phones, struct slice number, const struct delivery *asker, struct slice validation, bool fresh,
                   mono_us_t now);
void phones_fini(struct phones *phones);

#endif
