/* The operations of the contacts API: which one a request asks for, and what is answered. */
#ifndef SIGNUP_CONTACTS_SIM_API_H
#define SIGNUP_CONTACTS_SIM_API_H

#include <stdbool.h>

#include "call.h"
#include "sim.h"

#define API_BODY_BYTES_MAX 5000000u    /* of a request */
#define API_CONTACT_BYTES_MAX 4000u    /* of one contact object */

/* Why something is refused. `code` is a constant of the contract. */
struct api_refusal {
    int status;
    const char *code;
    char text[160];
};
void api_refuse(struct api_refusal *refusal, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Writes status and error body of the call from the refusal. */
void api_answer_refusal(struct call *call, const struct api_refusal *refusal);

/* After the whole request is there: operation, parsed body, phone, list and flags. */
void api_inspect(struct call *call);

/* Fills status, answer and effect. With `dry` nothing takes effect, but the answer is the one that would be
 * given. Effects of a bulk go to the book one by one. */
void api_perform(struct sim *sim, struct call *call, bool dry);

/* The single operations, for api_perform alone; authentication is done. */
void upsert_perform(struct sim *sim, struct call *call, bool dry);
void upsert_perform_bulk(struct sim *sim, struct call *call, bool dry);
void validate_perform(struct sim *sim, struct call *call, bool dry);
void validate_perform_batch(struct sim *sim, struct call *call, bool dry);
void reads_perform_get(struct sim *sim, struct call *call);
void reads_perform_list(struct sim *sim, struct call *call);

/* Where the path's phone of GET /v2/contacts/{phone} starts; NULL if the target is not that operation.
 * `len` excludes the query. */
const char *reads_path_phone(const struct call *call, size_t *len);
/* Decodes it strictly (%2B for the plus): false when it is no E.164 number. */
bool reads_decode_phone(const char *text, size_t len, uint64_t *phone);

/* Percent-decodes into `out`, `+` becomes a blank; false when it does not fit or is malformed. */
bool reads_decode(const char *text, size_t len, char *out, size_t out_bytes);

#endif
