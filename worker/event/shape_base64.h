/* Base64 of payloads. */
#ifndef SIGNUP_EVENT_SHAPE_BASE64_H
#define SIGNUP_EVENT_SHAPE_BASE64_H

#include "signup/base/slice.h"

/* Decodes base64 of RFC 4648 section 4, padded, without blanks, in scratch memory: scratch_free() the slice's
 * bytes. Absent: it is none, or (`*full`) memory is out. */
struct slice shape_base64(struct slice text, bool *full) __attribute__((warn_unused_result));

#endif
