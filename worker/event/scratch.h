/* The memory that jansson parses into: one region for the event being read, forgotten whole when it has
 * been read. */
#ifndef SIGNUP_EVENT_SCRATCH_H
#define SIGNUP_EVENT_SCRATCH_H

#include <jansson.h>
#include <stddef.h>

/* What the tree of one event may take. The worst text of EVENT_BYTES_MAX grows about eighty times over, to
 * 21 MiB. */
#define SCRATCH_BYTES ((size_t)48 << 20)

/* Reserves the region (address space only) and puts scratch_alloc() under jansson, for the whole process, which ends
 * where there is no room for it. Idempotent. */
void scratch_prepare(void);

/* Between begin and end, what this thread allocates through jansson comes from the region; outside, and in
 * other threads, from malloc. Never nested. */
void scratch_begin(void);

/* Forgets everything since scratch_begin(). */
void scratch_end(void);

/* What jansson uses; for other short-lived arrays while an event is read. NULL: the region is used up (outside a
 * reading, the machine's memory). */
void *scratch_alloc(size_t bytes) __attribute__((warn_unused_result));
/* Memory of the region is not freed singly, anything else is malloc's. */
void scratch_free(void *memory);

#endif
