/* One contact object of an upsert, checked field by field against section 1 of the contract. */
#ifndef SIGNUP_CONTACTS_SIM_CONTACT_REQUEST_H
#define SIGNUP_CONTACTS_SIM_CONTACT_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "api.h"
#include "state.h"

struct contact_request {
    struct state_upsert upsert; /* borrows custom_fields from the object */
    bool use_validation;
    bool force;
};

/* `bytes` is the size of the object as sent. False with `refusal` filled. A lenient simulator ignores unknown
 * fields and takes US spellings; it never takes a wrong type. */
bool contact_request_read(const struct sim *sim, json_t *object, size_t bytes,
                          struct contact_request *request, struct api_refusal *refusal);

#endif
