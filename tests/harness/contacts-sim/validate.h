/* Phone validation: one number, a batch, or inside an upsert. */
#ifndef SIGNUP_CONTACTS_SIM_VALIDATE_H
#define SIGNUP_CONTACTS_SIM_VALIDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "api.h"
#include "phone.h"

/* What lookups have told and cost; of the last one where there are several. */
struct validate_result {
    struct buf *out; /* the validation objects go here */
    unsigned lookups;
    unsigned paid;
    bool not_sendable;
    char disposition[PHONE_WORD_BYTES];
};

/* Looks a number up: false with `refusal` filled (billing, provider); else adds to `result`. */
bool validate_number(struct sim *sim, uint64_t phone, bool force, bool dry, struct validate_result *result,
                     struct api_refusal *refusal);

/* False with a 402 in `refusal` while billing is not active. */
bool validate_check_billing(const struct sim *sim, struct api_refusal *refusal);

#endif
