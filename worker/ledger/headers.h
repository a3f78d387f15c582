/* Record headers as JSON and back, without loss: [{"name": "a", "value": "text"}, {"name": "b", "value":
 * null}, {"name": "c", "base64": "/w=="}]. A name that is no text is written as "name_base64". What is
 * written is always JSON that PostgreSQL takes. */
#ifndef SIGNUP_LEDGER_HEADERS_H
#define SIGNUP_LEDGER_HEADERS_H

#include "signup/base/arena.h"
#include "signup/base/buf.h"
#include "signup/event/record.h"

#include <stdbool.h>

/* `ascii`: everything beyond printable ASCII is written as base64, for a database whose encoding is not
 * UTF-8. */
void headers_write(const struct record *record, bool ascii, struct buf *out);

/* Fills headers and header_count of `record` from the arena. False: no room in the arena, or the text is not
 * of our writing. */
bool headers_read(struct slice json, struct arena *arena, struct record *record)
    __attribute__((warn_unused_result));

/* Valid UTF-8 without NUL: what a text column takes. */
bool text_is_storable(struct slice text);

/* Writes a JSON text with everything beyond printable ASCII as \uXXXX. False: it is not UTF-8. */
bool json_write_plain(struct slice json, struct buf *out) __attribute__((warn_unused_result));

/* Printable ASCII: what no database refuses. */
bool text_is_plain(struct slice text);

#endif
