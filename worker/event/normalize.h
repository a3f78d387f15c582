/* The steps from a JSON object to the canonical signup, in the order in which faults are told: event_id,
 * phone, list, flags. */
#ifndef SIGNUP_EVENT_NORMALIZE_H
#define SIGNUP_EVENT_NORMALIZE_H

#include "reader.h"

/* What identifies the signup and steers the call (normalize.c). A fault does not stop it: what else can be
 * read is kept for the ledger. */
void normalize_event(struct reader *reader, json_t *root);

/* What only describes the signup (attributes.c): nothing here kills an event, what cannot be used is
 * dropped with a warning. */
void normalize_attributes(struct reader *reader, json_t *root);

#endif
