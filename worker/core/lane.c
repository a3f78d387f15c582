/* Lanes: one FIFO a contact key, found by hash. */
#include "lane.h"

#include "signup/core/planted.h"
#include "state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* An event whose contact is unknown is ordered with the others of its own id only. */
#define KEY_BYTES_MAX 1024

static size_t lane_key(const struct delivery *dl, char *key)
{
    const struct signup *signup = &dl->signup;
    struct slice head = SLICE_LITERAL("");
    struct slice tail = signup->event_id;
    if (slice_present(signup->phone_number) && slice_present(signup->list_number)) {
        head = signup->phone_number;
        tail = signup->list_number;
    }
    assert(head.len + 1 + tail.len <= KEY_BYTES_MAX);
    if (head.len)
        memcpy(key, head.ptr, head.len);
    key[head.len] = '\0';
    memcpy(key + head.len + 1, tail.ptr, tail.len);
    return head.len + 1 + tail.len;
}

bool lane_join(struct pipeline *pipeline, struct delivery *dl)
{
    char key[KEY_BYTES_MAX];
    size_t len = lane_key(dl, key);
    struct lane *lane = NULL;
    HASH_FIND(hh, pipeline->lanes, key, len, lane);
    if (!lane) {
        lane = calloc(1, sizeof *lane + len);
        if (!lane)
            return false;
        memcpy(lane->key, key, len);
        lane->key_len = len;
        HASH_ADD_KEYPTR(hh, pipeline->lanes, lane->key, lane->key_len, lane);
    }
    dl->lane = lane;
    dl->lane_prev = lane->tail;
    dl->lane_next = NULL;
    if (lane->tail)
        lane->tail->lane_next = dl;
    else
        lane->head = dl;
    lane->tail = dl;
    return true;
}

struct delivery *lane_leave(struct pipeline *pipeline, struct delivery *dl)
{
    struct lane *lane = dl->lane;
    assert(lane);
    bool was_head = lane->head == dl;
    if (dl->lane_prev)
        dl->lane_prev->lane_next = dl->lane_next;
    else
        lane->head = dl->lane_next;
    if (dl->lane_next)
        dl->lane_next->lane_prev = dl->lane_prev;
    else
        lane->tail = dl->lane_prev;
    dl->lane = NULL;
    dl->lane_prev = dl->lane_next = NULL;
    if (!lane->head) {
        HASH_DEL(pipeline->lanes, lane);
        free(lane);
        return NULL;
    }
    return was_head ? lane->head : NULL;
}

bool lane_is_head(const struct delivery *dl)
{
    return dl->lane->head == dl || PLANTED(FORGOTTEN_LANE);
}
