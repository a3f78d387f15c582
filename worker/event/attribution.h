/* Which ad network a signup came from, where the event does not say: from the query of its landing page. */
#ifndef SIGNUP_EVENT_ATTRIBUTION_H
#define SIGNUP_EVENT_ATTRIBUTION_H

#include "reader.h"

#define ATTRIBUTION_BYTES_MAX ((size_t)2048) /* of the object that the ledger keeps */
#define ATTRIBUTION_VALUE_BYTES_MAX                                                                          \
    ((size_t)512) /* of one parameter, decoded: the longest click ids have about 300 */
#define ATTRIBUTION_NAME_BYTES_MAX ((size_t)64)

/* Fills ad_network_source and ad_network_id where they are missing, each for itself, and `attribution`. After
 * the URL and what the event says of the two. */
void attribution_read(struct reader *reader);

#endif
