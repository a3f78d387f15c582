/* Inside this room: waking up libphonenumber, and the parts of phone.cc that tests hold against it. C and
 * C++. */
#ifndef SIGNUP_EVENT_PHONE_LIBRARY_H
#define SIGNUP_EVENT_PHONE_LIBRARY_H

#ifdef __cplusplus
extern "C" {
#endif

#include "signup/base/slice.h"
#include "signup/event/phone.h"

/* Loads the metadata and silences the library's log. Idempotent. */
void phone_library_prepare(void);

/* The exact shapes alone: the length of the E.164 form, or 0 where the text has none of them. */
size_t phone_by_shape(struct slice text, const char *country, char out[PHONE_E164_BYTES]);

/* phone_country() without what it remembers. */
bool phone_country_by_library(struct slice e164, char out[3]);

#ifdef __cplusplus
}
#endif

#endif
