/* RFC 6901 JSON Pointers in a tree. */
#ifndef SIGNUP_EVENT_POINTER_H
#define SIGNUP_EVENT_POINTER_H

#include "signup/event/rules.h"

#include <jansson.h>

/* The value that `pointer` points at, borrowed from the tree; NULL where there is none, null included. */
json_t *pointer_find(json_t *root, const struct event_pointer *pointer);

#endif
