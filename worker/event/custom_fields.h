/* The custom fields of a signup: what the event says, what its route adds, and copies of its consent
 * evidence. */
#ifndef SIGNUP_EVENT_CUSTOM_FIELDS_H
#define SIGNUP_EVENT_CUSTOM_FIELDS_H

#include "reader.h"

#define CUSTOM_NAME_BYTES_MAX ((size_t)255)
/* Of a part of the consent evidence that is copied. An event's own values have no limit but the contact's:
 * with limits.custom_fields_overflow `dead` it is to be told that it is too large, and with `drop_largest`
 * the largest go first anyway. A copy that nobody sent must not be what makes a contact too large; the ledger
 * has the evidence whole. */
#define CUSTOM_COPY_BYTES_MAX ((size_t)1000)

struct custom_field;

/* In scratch memory, by name. */
struct custom_fields {
    struct custom_field *items;
    size_t count; /* those that are sent */
};

/* Sets signup->custom_fields. After flags, route and consent. */
void custom_fields_compose(struct reader *reader, struct custom_fields *fields);

/* Drops the largest fields until signup->custom_fields is smaller by `excess_bytes` (all of them: the member
 * of the body goes too), with one warning. False, and nothing changed: even without any the body is too
 * large. */
bool custom_fields_drop_largest(struct reader *reader, struct custom_fields *fields, size_t excess_bytes);

#endif
