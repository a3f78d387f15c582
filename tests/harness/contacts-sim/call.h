/* One HTTP request on its way to an answer: what was asked, what it did, what will be answered. */
#ifndef SIGNUP_CONTACTS_SIM_CALL_H
#define SIGNUP_CONTACTS_SIM_CALL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "phone.h"

struct fault_action;

#define CALL_OPS(X)                      \
    X(CALL_UPSERT, "upsert")             \
    X(CALL_VALIDATE, "validate")         \
    X(CALL_VALIDATE_BATCH, "validate_batch") \
    X(CALL_READ, "read")                 \
    X(CALL_LIST, "list")                 \
    X(CALL_BULK, "bulk")                 \
    X(CALL_OTHER, "other")               \
    X(CALL_CONTROL, "control")

enum call_op {
#define X(name, text) name,
    CALL_OPS(X)
#undef X
    CALL_OP_COUNT,
};
const char *call_op_str(enum call_op op);

/* A boolean of the request as it was sent; anything that is no boolean counts as absent here. */
enum call_flag { CALL_FLAG_ABSENT = -1, CALL_FLAG_FALSE = 0, CALL_FLAG_TRUE = 1 };

/* The vendor's two hosts; a port may stand for both. */
enum call_host { CALL_HOST_BOTH, CALL_HOST_CONTACTS, CALL_HOST_VALIDATION };

/* What the call did to the state. */
struct call_effect {
    bool applied; /* took effect; false for a refused call and for one that a fault kept from it */
    bool new_contact;
    bool new_list_contact;
    unsigned enrolled;     /* journeys */
    unsigned lookups;      /* validations */
    unsigned paid_lookups; /* of these, that cost money */
    char disposition[PHONE_WORD_BYTES]; /* of a single validation; "" none */
};

/* Embedded in its connection and used again for the next request: the buffers keep their memory. */
struct call {
    /* the request; filled by conn_http */
    enum call_op op;
    const char *method;
    struct buf target; /* path and query as sent */
    struct buf body;
    struct buf key;
    unsigned key_count;
    struct buf content_type;
    struct buf traceparent;
    bool body_too_large;
    bool keep_alive;
    enum call_host host; /* where it came in */

    /* its place in the book */
    uint64_t seq;
    uint64_t conn_id;
    int64_t received_us; /* wall clock */

    /* what it speaks of; filled by api_inspect. 0 is none. */
    json_t *json; /* owned; NULL when the body is not JSON */
    uint64_t phone;
    uint64_t list;
    struct buf phone_text; /* as sent, for the book */
    struct buf list_text;
    enum call_flag use_journeys;
    enum call_flag skip_journey_if_exists;
    enum call_flag use_validation;
    enum call_flag force;
    bool overlap; /* another call for the same phone and list was in flight */
    bool counted_in_flight;

    /* what became of it */
    struct call_effect effect;
    struct fault_action *fault; /* a reference, or NULL */
    int status;
    char code[64];     /* by which the contract refuses it; "" it does not, or without a code */
    struct buf answer; /* JSON body */
};

/* Makes the call ready for the next request; gives back what it owned. */
void call_clear(struct call *call);
void call_fini(struct call *call);

#endif
