/* Phone numbers to E.164: an exact-shape fast path in front of libphonenumber (the one C++ file, phone.cc). */
#ifndef SIGNUP_EVENT_PHONE_H
#define SIGNUP_EVENT_PHONE_H

#include "signup/base/slice.h"

#include <stdbool.h>

#define PHONE_E164_BYTES 20 /* "+" and 15 digits, NUL, and room */

/* Writes the E.164 form of `text` (any usual spelling; `country` for national ones) and gives its length, or 0 when it is not *possible*
 * as a full national number. Possible length is the gate, not validity (design section 6). `out` is NUL-terminated. */
size_t phone_to_e164(struct slice text, const char *country, char out[PHONE_E164_BYTES]);

/* True when `country` is one libphonenumber knows. */
bool phone_country_known(const char *country);

/* The library's own answer, without the fast path: for tests that compare the two. */
size_t phone_to_e164_by_library(struct slice text, const char *country, char out[PHONE_E164_BYTES]);

#endif
