/* Parts of landing pages' URLs: the parameters of the query, and what the patterns of routes are compared
 * with. All of it is for URLs that clean_url() let pass. */
#ifndef SIGNUP_EVENT_URL_H
#define SIGNUP_EVENT_URL_H

#include "signup/base/buf.h"
#include "signup/base/slice.h"

#include <stdbool.h>

/* What stands between "?" and "#"; absent where there is no query. */
struct slice url_query(struct slice url);

/* Cuts the next parameter off the front of `rest`, both parts still encoded; a value is empty where there is
 * no "=". False: that was all. An "&amp;" that a page's source was copied with is an "&". */
bool url_next_parameter(struct slice *rest, struct slice *name, struct slice *value);

/* Whether url_decode() would change anything. */
bool url_is_encoded(struct slice text);

/* Writes the decoded text ("+" is a blank, a "%" without two hex digits stays) to `out`, which has room for
 * text.len bytes, and gives its length. What comes out need not be UTF-8. */
size_t url_decode(struct slice text, char *out);

/* Appends host, port and path as routes compare them: "example.com/", the host in small letters and without a
 * last dot, no user, no port that is the scheme's own, no query. */
void url_append_address(struct buf *out, struct slice url);

/* Whether the pattern (`*` is any run of characters; without regard to a scheme, a query or a fragment that
 * it is written with) is that of `address`, which url_append_address() made. A pattern without "/" may also
 * be that of the host alone. */
bool url_matches(struct slice pattern, struct slice address);

#endif
