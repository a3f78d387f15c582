/* FIFO of the deliveries of one contact key: only its head is in flight (I2). */
#ifndef SIGNUP_CORE_LANE_H
#define SIGNUP_CORE_LANE_H

#include "delivery.h"

#include <uthash.h>

struct lane {
    UT_hash_handle hh;
    struct delivery *head, *tail;
    size_t key_len;
    char key[]; /* phone, NUL, list; or for an event without a contact: NUL, event id */
};

/* Appends the delivery to the lane of its contact. False: out of memory, nothing done. */
bool lane_join(struct pipeline *pipeline, struct delivery *dl) __attribute__((warn_unused_result));
/* Takes it out wherever it stands; gives the delivery that became the head by it, or NULL. An empty lane is freed. */
struct delivery *lane_leave(struct pipeline *pipeline, struct delivery *dl);
bool lane_is_head(const struct delivery *dl);

#endif
