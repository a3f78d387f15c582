/* The canonical signup: what an event says once decoded and normalized, and what the API will be told.
 * Rules: design section 6 and its rulings on the small print. Pure: no I/O, no clock. */
#ifndef SIGNUP_EVENT_SIGNUP_H
#define SIGNUP_EVENT_SIGNUP_H

#include "signup/base/arena.h"
#include "signup/base/buf.h"
#include "signup/base/clock.h"
#include "signup/base/slice.h"
#include "signup/event/record.h"
#include "signup/event/rules.h"

#include <stdbool.h>
#include <stdint.h>

#define EVENT_BYTES_MAX 262144     /* of the record's value, inclusive */
#define EVENT_ID_BYTES_MAX 200     /* of an event's own id */
#define CONTACT_BYTES_MAX 4000     /* of the API's contact object as sent (contacts-api.md, "request limit") */
#define SIGNUP_DIGEST_BYTES 32     /* SHA-256 */
#define SIGNUP_FUTURE_US (INT64_C(5) * 60 * US_PER_S) /* a signup_date further ahead is unusable */

/* Local rejections (design section 6). The text is the contract's code. */
#define DEATH_CODES(X)                                                                                                 \
    X(NONE, "")                                                                                                        \
    X(MALFORMED_JSON, "malformed_json")                                                                                \
    X(NOT_AN_OBJECT, "not_an_object")                                                                                  \
    X(EMPTY_EVENT, "empty_event")                                                                                      \
    X(EVENT_TOO_LARGE, "event_too_large")                                                                              \
    X(MISSING_PHONE_NUMBER, "missing_phone_number")                                                                    \
    X(INVALID_PHONE, "invalid_phone")                                                                                  \
    X(MISSING_LIST_NUMBER, "missing_list_number")                                                                      \
    X(INVALID_LIST_NUMBER, "invalid_list_number")                                                                      \
    X(INVALID_EVENT_ID, "invalid_event_id")                                                                            \
    X(EVENT_ID_CONFLICT, "event_id_conflict")                                                                          \
    X(INVALID_FIELD, "invalid_field")                                                                                  \
    X(PAYLOAD_TOO_LARGE, "payload_too_large")                                                                          \
    X(MALFORMED_PAYLOAD, "malformed_payload") /* the bytes are not of the topic's profile */                           \
    X(TEST_LEAD, "test_lead") /* an ad network's trial of the connection, not a person */                              \
    X(MISSING_CONSENT, "missing_consent")                                                                              \
    X(VALIDATION_REFUSED, "validation_refused") /* validation.gate.allow has not the phone's disposition */

enum death_code {
#define X(name, text) DEATH_##name,
    DEATH_CODES(X)
#undef X
        DEATH_CODE_COUNT
};
const char *death_code_str(enum death_code code);

/* The worker warnings that reading gives. */
#define SIGNUP_WARNING_DATE "signup_date_unusable" /* unreadable or in the future: the record's timestamp was taken */
#define SIGNUP_WARNING_FIELD "field_dropped"       /* a field the API would not take; the message names it */
#define SIGNUP_WARNING_CONSENT "missing_consent"   /* consent.require is not met, and the configuration says to go on */

enum warning_source { WARNING_API, WARNING_WORKER };

/* In the delivery's arena; a list in the order of discovery. */
struct warning {
    struct warning *next;
    enum warning_source source;
    struct slice code;
    struct slice message; /* names the field where there is one; never a phone number */
};

struct signup {
    /* Identity. event_id is always present: the event's own, or the record's position. */
    struct slice event_id;
    struct slice position; /* "topic:partition:offset" */
    bool id_from_position;

    /* DEATH_NONE: alive. Otherwise the event is dead without a call, for a reason a marketer understands. */
    enum death_code death;
    struct slice death_message;

    /* E.164; absent where missing or not to be normalized. Both present = the contact key. */
    struct slice phone_number;
    struct slice list_number;

    bool use_journeys;
    bool skip_journey_if_exists;
    bool override_custom_fields;
    enum event_validation validation; /* never UNSET: what is to be done for this event */
    bool use_validation;      /* of the request: validation is INLINE (until the core sends it without) */
    bool force;               /* of the request: only ever true together with use_validation */
    bool asks_force;          /* the event said force: true; the gate passes it on */

    wall_us_t signup_date;
    bool has_signup_date;        /* false only where neither the event nor the record has one */
    bool signup_date_from_event; /* false: the record's timestamp */

    struct slice ip_address;        /* absent or a clean literal */
    struct slice url;               /* absent or absolute http(s) */
    struct slice ad_network_source; /* absent or text */
    struct slice ad_network_id;
    struct slice custom_fields; /* absent or a JSON object text, flat, as it will be sent */
    struct slice consent;       /* absent or a JSON object text, for the ledger only */
    struct slice attribution;   /* absent or a JSON object text of raw click ids and campaign parameters, for the ledger only */
    struct slice route;         /* the matched route's name; absent: none */
    int64_t schema_id;          /* of Confluent's wire format; -1: none */

    struct slice body; /* the API request, raw UTF-8 JSON; absent while dead before it could be built */
    /* Of the canonical content without what only the record gave (its timestamp); of a dead event, of the value's bytes. */
    uint8_t digest[SIGNUP_DIGEST_BYTES];

    struct warning *warnings; /* NULL: none */
};

/* Hears each step of a reading, for people who ask where a value came from (signup-worker explain). `field` is "" where a step is about
 * none; `value` is absent where there is none; `origin` says where it came from. Slices and texts are borrowed for the call. */
struct event_trace {
    void (*note)(void *ctx, const char *step, const char *field, struct slice value, const char *origin);
    void *ctx;
};

/* Reads one record whole. Never fails: what cannot be a signup is a death with a code and a message. Everything in `out` lives in
 * `arena` or borrows from `record`, which lives at least as long. When the arena's cap is reached the event is dead with
 * DEATH_EVENT_TOO_LARGE; when the machine's memory is, the process ends. `now` only judges dates of the future. */
void signup_read(const struct event_rules *rules, const struct record *record, wall_us_t now, struct arena *arena,
                 struct signup *out);
/* The same, and `trace` (may be NULL) hears the steps. */
void signup_read_traced(const struct event_rules *rules, const struct record *record, wall_us_t now, struct arena *arena,
                        const struct event_trace *trace, struct signup *out);

/* Appends the request body of POST /v2/contacts (contacts-api.md section 1). `guarded`: skip_journey_if_exists is sent as true
 * whatever the event said, because an earlier call may have taken effect. */
void signup_write_body(const struct signup *signup, bool guarded, struct buf *out);

/* Adds a warning at the end of the list; copies both texts. False: the arena is full, nothing added. */
bool signup_warn(struct signup *signup, struct arena *arena, enum warning_source source, struct slice code,
                 struct slice message);

/* One-time preparation of the libraries underneath (phone metadata, JSON allocation). Idempotent. */
void event_prepare(void);

#endif
