/* The request body and the digest of a signup that is otherwise whole. */
#ifndef SIGNUP_EVENT_BODY_H
#define SIGNUP_EVENT_BODY_H

#include "custom_fields.h"
#include "reader.h"

/* Fills `body` and `digest`, or the event dies of payload_too_large; where the configuration says so the
 * largest of `fields` are dropped before that. For the living with both numbers. */
void body_build(struct reader *reader, struct custom_fields *fields);

#endif
