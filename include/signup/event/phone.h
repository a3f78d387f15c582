/* Phone numbers to E.164: an exact-shape fast path in front of libphonenumber (the one C++ file, phone.cc). */
#ifndef SIGNUP_EVENT_PHONE_H
#define SIGNUP_EVENT_PHONE_H

#include "signup/base/slice.h"

#include <stdbool.h>

#define PHONE_E164_BYTES 20 /* "+" and 15 digits, NUL, and room */

/* Writes the E.164 form of `text` (any usual spelling; `country` for national ones) and gives its length, or 0 when it is not *possible*
 * as a full national number. Possible length is the gate, not validity (design section 6). `out` is NUL-terminated. */
size_t phone_to_e164(struct slice text, const char *country, char out[PHONE_E164_BYTES]);

/* The same, and whether an extension was cut, which E.164 has no room for. */
size_t phone_read(struct slice text, const char *country, char out[PHONE_E164_BYTES], bool *extension);

/* The country (ISO 3166-1 alpha-2) of a number in E.164; of a number that its numbering plan does not know (a new area code), the
 * first country of its calling code. False: no number, or one of no country (satellites). `out` is NUL-terminated. */
bool phone_country(struct slice e164, char out[3]);

/* True when `country` is one libphonenumber knows. */
bool phone_country_known(const char *country);

/* The library's own answer to the text as it is, without the exact shapes and without cleaning: for tests that compare. */
size_t phone_to_e164_by_library(struct slice text, const char *country, char out[PHONE_E164_BYTES]);

#endif
