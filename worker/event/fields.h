/* Which part of the tree is which field of ours. */
#ifndef SIGNUP_EVENT_FIELDS_H
#define SIGNUP_EVENT_FIELDS_H

#include "reader.h"

/* Fills reader->field and reader->origin from the tree, by name or by the topic's mapping. */
void fields_assign(struct reader *reader, json_t *root);

#endif
