/* From the bytes of an answer to an outcome. Pure: no I/O, no clock, any bytes are safe. */
#ifndef SIGNUP_CONTACTS_RESPONSE_H
#define SIGNUP_CONTACTS_RESPONSE_H

#include "signup/base/arena.h"
#include "signup/base/clock.h"
#include "signup/base/outcome.h"
#include "signup/base/slice.h"
#include "signup/contacts/contacts.h"
#include "signup/core/ports.h"
#include "signup/event/signup.h"

#include <stdbool.h>

#define RESPONSE_WARNINGS_MAX 32

/* One complete HTTP answer. All slices are borrowed for the call. */
struct answer {
    int status;
    struct slice body;
    struct slice retry_after; /* header values; absent: no such header */
    struct slice date;
    struct slice location;
    bool encoded;        /* the body has a Content-Encoding: it cannot be read */
    wall_us_t now;       /* only for a Retry-After date in an answer without a Date */
    const char *setting; /* the configuration's name for the server's address; NULL: contacts_api.base_url */
};

/* Reads the answer to POST /v2/contacts (contacts-api.md section 1).
 *
 * `outcome` is filled whole (duration_us is 0). OUTCOME_ACCEPTED only for a 2xx whose body is valid JSON
 * without duplicate keys, an object, with `success` true and both ids non-empty strings; then `reply` is
 * filled and the API's warnings are appended to `signup`, both in `arena`. Documented fields of a wrong type
 * beside these are taken as absent, with a warning of the worker: the effect has happened, and a retry would
 * not make the answer better. When the arena is full the ids are absent, for the same reason.
 *
 * `maybe_sent` is false for accepted and for answers that say what happened; true for OUTCOME_SERVER, and for
 * a 503 that is not in the API's own form (a proxy's page says nothing about what stands behind it). */
void response_read_upsert(const struct answer *answer, struct arena *arena, struct signup *signup,
                          struct outcome *outcome, struct upsert_reply *reply);

/* Reads the answer to POST /v1/phone/validate (contacts-api.md section 2): fills the call's outcome whole
 * (duration_us is 0), `validation`, `disposition` and `cost`.
 *
 * OUTCOME_ACCEPTED only for a 2xx whose body is valid JSON without duplicate keys, an object, with a
 * `disposition` of 1 to 40 letters, digits (six at most), blanks, hyphens and underscores, and with `phone`,
 * if it is there, equal to the number that was asked for. `validation` is then written anew: the documented
 * fields in the documented order, those of another type than documented left out, the cost as an exact
 * decimal. A cost that is absent, negative or above 10 USD is no cost: 0, and left out. Any other 2xx is
 * OUTCOME_SERVER, with the code broken_body or wrong_phone. When the arena is full it is OUTCOME_TRANSPORT,
 * client_failed: whoever decides by the disposition must not decide without it.
 *
 * `maybe_sent` as for an upsert: the look-up may have been paid for. */
void response_read_validation(const struct answer *answer, struct validate_call *call);

/* Reads the answer to GET /v2/contacts/{phone_number} (contacts-api.md section 3): fills the call's outcome
 * whole (duration_us is 0), `found`, `on_list`, `active` and `signup_date` (in the call's arena; absent too
 * when that is full or the text cannot be a date).
 *
 * OUTCOME_ACCEPTED for a 2xx whose body is valid JSON without duplicate keys, speaks of the number that was
 * asked for, and has `lists`, each with its `list_number`, the one asked for at most once and with a boolean
 * `active`; and for a 404 with the code `not_found`, then `found` is false and the outcome keeps status and
 * code. A 2xx that is anything else is OUTCOME_SERVER, with the code broken_body or wrong_contact.
 * `maybe_sent` is always false: reading has no effect. */
void response_read_contact(const struct answer *answer, struct read_call *call);

/* Reads the same answer for people, by the same conditions, of every list: fills the op's outcome whole
 * (duration_us is 0), `found` and `contact` (in the op's arena). OUTCOME_TRANSPORT, client_failed when the
 * arena is full. */
void response_look_up(const struct answer *answer, struct contacts_look_up_op *op);

/* Fills `outcome` for any answer whose body is not to be believed as a success (a 2xx becomes OUTCOME_SERVER
 * with `code`). */
void response_read_error(const struct answer *answer, const char *code, struct outcome *outcome);

/* True when the answer is a 2xx, readable, and its body a JSON object with an array called `name`. */
bool response_has_array(const struct answer *answer, const char *name);

#endif
