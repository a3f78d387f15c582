/* HTTP dates (RFC 9110 section 5.6.7) and Retry-After (section 10.2.3). Pure. */
#ifndef SIGNUP_CONTACTS_HTTP_DATE_H
#define SIGNUP_CONTACTS_HTTP_DATE_H

#include "signup/base/clock.h"
#include "signup/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* Reads any of the three forms (IMF-fixdate, RFC 850, asctime), always GMT. False: it is none of them. */
bool http_date_read(struct slice text, wall_us_t *out);

/* Microseconds to wait by a Retry-After header: seconds, or a date that is taken relative to the answer's own
 * Date header (the server's clock; `now` only where that is absent or unreadable). -1: absent or unreadable.
 * Negative or past gives 0; what passes the range gives INT64_MAX. libcurl's own CURLINFO_RETRY_AFTER cannot
 * tell these cases apart. */
int64_t http_retry_after_us(struct slice value, struct slice date, wall_us_t now);

#endif
