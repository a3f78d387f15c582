/* SHA-256 of what a signup says. */
#ifndef SIGNUP_EVENT_DIGEST_H
#define SIGNUP_EVENT_DIGEST_H

#include "signup/base/slice.h"
#include "signup/event/signup.h"

/* Looks the algorithm up once: a look-up per event costs more than the hashing. Idempotent. */
void digest_prepare(void);

/* Hashes the parts one behind the other; absent ones add nothing. */
void digest_parts(const struct slice *parts, size_t count, uint8_t out[SIGNUP_DIGEST_BYTES]);

#endif
