/* Texts from landing pages to what the API takes. All give a part of `text` or an absent slice; nothing is
 * copied. */
#ifndef SIGNUP_EVENT_CLEAN_H
#define SIGNUP_EVENT_CLEAN_H

#include "signup/base/slice.h"

/* Without the ASCII blanks around it; present where `text` is. */
struct slice clean_blanks(struct slice text);

/* An IPv4 or IPv6 literal without blanks, brackets, port and zone; absent: it is none. */
struct slice clean_ip(struct slice text);

/* An absolute http or https URL with a host, without the blanks around it; absent: it is none. */
struct slice clean_url(struct slice text);

#endif
