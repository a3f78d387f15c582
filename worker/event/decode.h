/* From a record's bytes to a JSON object. */
#ifndef SIGNUP_EVENT_DECODE_H
#define SIGNUP_EVENT_DECODE_H

#include "reader.h"

/* The event's object, in scratch memory (between scratch_begin() and scratch_end()), or NULL after
 * reader_die(). */
json_t *decode_event(struct reader *reader);

#endif
