/* The first route whose every condition holds. */
#ifndef SIGNUP_EVENT_ROUTE_H
#define SIGNUP_EVENT_ROUTE_H

#include "reader.h"

/* Sets reader->route and signup->route. After phone, URL and attribution, which the conditions speak of. */
void route_choose(struct reader *reader);

/* True where the matched route decides even though the event says something itself. */
static inline bool route_overrides(const struct reader *reader)
{
    return reader->route && reader->route->override;
}

#endif
