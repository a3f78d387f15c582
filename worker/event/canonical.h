/* JSON written the one way that equal content always gets: compact, raw UTF-8, the members of every object
 * by the bytes of their names. */
#ifndef SIGNUP_EVENT_CANONICAL_H
#define SIGNUP_EVENT_CANONICAL_H

#include "signup/base/buf.h"

#include <jansson.h>

struct canonical_member {
    const char *name; /* borrowed from the tree; no NUL inside: jansson refuses those */
    json_t *value;
};

/* The members of `object` in order. *gives* an array for scratch_free(), `count` long; NULL with `count` 0
 * when there are none, and NULL with `count` > 0 when there is no memory. */
struct canonical_member *canonical_members(json_t *object, size_t *count) __attribute__((warn_unused_result));

/* Appends `value`. Without memory it latches the buffer's failure. Recurses as deep as the tree, which
 * jansson's parser keeps under 2,048. */
void canonical_append(struct buf *out, json_t *value);

#endif
