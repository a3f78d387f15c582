/* The steps from an event's fields to the canonical signup, in the order in which faults are told: event_id,
 * phone, list, flags. */
#ifndef SIGNUP_EVENT_NORMALIZE_H
#define SIGNUP_EVENT_NORMALIZE_H

#include "reader.h"

/* A fault does not stop any of these: what else can be read is kept for the ledger. */

/* Who has signed up: event_id and phone (normalize.c). */
void normalize_contact(struct reader *reader);

/* What steers the call: list, flags, validation and date (normalize.c). After the attributes, by which a
 * route may be chosen. */
void normalize_call(struct reader *reader);

/* What only describes the signup, attribution from its URL included (attributes.c): nothing here kills an
 * event, what cannot be used is dropped with a warning. */
void normalize_attributes(struct reader *reader);

#endif
