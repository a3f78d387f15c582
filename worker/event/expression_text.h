/* What the transforms of a mapping do with texts: UTF-8, blanks between words, small letters. */
#ifndef SIGNUP_EVENT_EXPRESSION_TEXT_H
#define SIGNUP_EVENT_EXPRESSION_TEXT_H

#include "signup/base/buf.h"
#include "signup/base/slice.h"

/* Valid UTF-8 (RFC 3629) without NUL: what may stand in a JSON text of ours. */
bool text_is_utf8(struct slice text);

/* Without the blanks around it, Unicode's among them (a no-break space comes from forms). */
struct slice text_trim(struct slice text);

/* Appends valid UTF-8 in small letters, of all scripts that have them. */
void text_append_lower(struct buf *out, struct slice text);

/* Of the words of valid UTF-8: the last one where there are at least two (`last`), or all but that, one blank
 * between them. */
void text_append_name(struct buf *out, struct slice text, bool last);

#endif
