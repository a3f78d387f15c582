/* Evidence of consent: what the configuration requires of an event, and which of it becomes custom fields. */
#ifndef SIGNUP_EVENT_CONSENT_H
#define SIGNUP_EVENT_CONSENT_H

#include "reader.h"

/* One part of an event's evidence, named as in consent.require. */
struct evidence {
    struct slice text;          /* of one of our own fields; absent: `value` */
    json_t *value;              /* a member of `consent`; NULL: none */
    char date[WALL_TEXT_BYTES]; /* where `text` may stand */
};

/* What the event says itself, after cleaning; false: nothing, or nothing that is evidence. `out` is for this
 * reading and must stay where it is. */
bool consent_part(const struct reader *reader, struct slice name, struct evidence *out);

/* Kills the event, or warns, where a required part is missing. After everything that can be evidence has been
 * read. */
void consent_require(struct reader *reader);

#endif
