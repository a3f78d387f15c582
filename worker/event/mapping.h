/* The fields of an event whose topic has a shape: its mapping, what its profile reads, and what is left over.
 */
#ifndef SIGNUP_EVENT_MAPPING_H
#define SIGNUP_EVENT_MAPPING_H

#include "reader.h"

/* Fills reader->field. An assignment that finds something wins over what the profile reads by itself; one
 * that finds nothing, or only blanks, leaves the field to the profile. */
void mapping_assign(struct reader *reader, json_t *root);

#endif
