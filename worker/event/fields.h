/* Which part of the tree is which field of ours, and where each came from. */
#ifndef SIGNUP_EVENT_FIELDS_H
#define SIGNUP_EVENT_FIELDS_H

#include "reader.h"

/* Fills reader->field and reader->origin from the tree, by name or by the topic's shape. */
void fields_assign(struct reader *reader, json_t *root);

/* ---- for the shapes: who fills first wins, but for a blank text, which says nothing */

/* The members of `root` that have the name of a free field. */
void fields_by_name(struct reader *reader, json_t *root);

/* No value yet, or a blank text. phone_number and phone are one: a number in either takes both. */
bool field_free(const struct reader *reader, enum event_field field);

/* `value` (NULL: nothing happens) is borrowed from the tree or kept by the reader. `origin`: see
 * fields_origin(). */
void field_put(struct reader *reader, enum event_field field, json_t *value, const char *origin);

/* No value yet in an object field, null being none. `name` ends with a NUL. */
bool member_free(const struct reader *reader, enum event_field field, const char *name);

/* Puts a member into an object field in place of what is there. The object is made where it is missing; one
 * of the tree is copied before; what is no object is dropped with a warning. */
void member_put(struct reader *reader, enum event_field field, const char *name, json_t *value,
                const char *origin);

/* Where a value came from, for people, in the arena; NULL while nobody listens. */
const char *fields_origin(struct reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
