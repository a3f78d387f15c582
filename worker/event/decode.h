/* From a record's bytes to a JSON object. */
#ifndef SIGNUP_EVENT_DECODE_H
#define SIGNUP_EVENT_DECODE_H

#include "reader.h"

/* The event's object as the profile of its topic reads it, in scratch memory (between scratch_begin() and
 * scratch_end()), or NULL after reader_die(). */
json_t *decode_event(struct reader *reader);

/* Bytes that are to be one JSON object, likewise. */
json_t *decode_json(struct reader *reader, struct slice bytes);

#endif
