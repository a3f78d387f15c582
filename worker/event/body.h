/* The request body and the digest of a signup that is otherwise whole. */
#ifndef SIGNUP_EVENT_BODY_H
#define SIGNUP_EVENT_BODY_H

#include "reader.h"

/* Fills `body` and `digest`, or the event dies of payload_too_large. For the living with both numbers. */
void body_build(struct reader *reader);

#endif
