/* Phone validation: one number, a batch, or inside an upsert. */
#ifndef SIGNUP_CONTACTS_SIM_VALIDATE_H
#define SIGNUP_CONTACTS_SIM_VALIDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "api.h"
#include "phone.h"

/* Looks a number up: false with `refusal` filled (billing, provider); else appends the validation object to
 * `out` and counts a paid lookup in `paid`. */
bool validate_number(struct sim *sim, uint64_t phone, bool force, bool dry, struct buf *out, unsigned *paid,
                     struct api_refusal *refusal);

/* False with a 402 in `refusal` while billing is not active. */
bool validate_check_billing(const struct sim *sim, struct api_refusal *refusal);

#endif
