/* The value of one expression of a mapping. */
#ifndef SIGNUP_EVENT_EXPRESSION_H
#define SIGNUP_EVENT_EXPRESSION_H

#include "reader.h"

/* What `expression` makes of the tree and of the record's headers, borrowed from the tree or kept by the
 * reader; NULL: nothing. `origin` (NULL: nobody asks) gets where it came from, for people, and may be cut; it
 * is left alone where there is nothing. Recurses as deep as the expression, which the configuration keeps to
 * EVENT_EXPRESSION_DEPTH_MAX. Uses reader->text. */
json_t *expression_value(struct reader *reader, json_t *root, const struct event_expression *expression,
                         struct buf *origin);

/* Text of nothing but blanks, ASCII's and those that forms paste between words. */
bool expression_blank(const json_t *value);

/* Appends a scalar as text; false, and nothing appended: it is none. */
bool expression_append_text(struct buf *out, const json_t *value);

/* The value of a record header or, in CloudEvents' structured mode, of the attribute that would be that
 * header; NULL: absent, null, or (with a warning that names the header) not text. */
json_t *expression_header(struct reader *reader, struct slice name);

#endif
