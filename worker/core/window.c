/* Window: a ring of delivered offsets. The watermark is counted over delivered offsets, not over integers: compaction and transaction
 * markers leave gaps in a topic. */
#include "window.h"

#include "signup/core/planted.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct window *window_create(const struct partition *partition)
{
    struct window *window = calloc(1, sizeof *window);
    char *topic = malloc(partition->topic.len + 1);
    if (!window || !topic) {
        free(window);
        free(topic);
        return NULL;
    }
    memcpy(topic, partition->topic.ptr, partition->topic.len);
    topic[partition->topic.len] = '\0';
    window->partition = *partition;
    window->partition.topic.ptr = topic;
    window->last_delivered = window->committed = window->committing = -1;
    return window;
}

void window_destroy(struct window *window)
{
    assert(window->references == 0);
    free((char *)window->partition.topic.ptr);
    free(window->slots);
    free(window);
}

static struct window_slot *slot_at(const struct window *window, uint64_t id)
{
    return &window->slots[id & (window->capacity - 1)];
}

static bool window_grow(struct window *window)
{
    size_t capacity = window->capacity ? window->capacity * 2 : 64;
    struct window_slot *slots = malloc(capacity * sizeof *slots);
    if (!slots)
        return false;
    for (uint64_t id = window->first; id != window->end; id++)
        slots[id & (capacity - 1)] = *slot_at(window, id);
    free(window->slots);
    window->slots = slots;
    window->capacity = capacity;
    return true;
}

bool window_open(struct window *window, int64_t offset, uint64_t *slot)
{
    assert(offset > window->last_delivered);
    if (window->end - window->first == window->capacity && !window_grow(window))
        return false;
    *slot = window->end++;
    *slot_at(window, *slot) = (struct window_slot){.offset = offset};
    window->last_delivered = offset;
    return true;
}

/* Complete slots at the old end need not be remembered. */
static void window_trim(struct window *window)
{
    while (window->first != window->end && slot_at(window, window->first)->done)
        window->first++;
}

void window_complete(struct window *window, uint64_t slot)
{
    assert(slot - window->first < window->end - window->first);
    assert(!slot_at(window, slot)->done);
    slot_at(window, slot)->done = true;
    if (PLANTED(DOUBLE_COMPLETION) && slot + 1 != window->end)
        slot_at(window, slot + 1)->done = true;
    window_trim(window);
}

int64_t window_watermark(const struct window *window)
{
    int64_t next = window->last_delivered < 0 ? -1 : window->last_delivered + 1;
    if (window->first != window->end)
        next = slot_at(window, window->first)->offset + (PLANTED(WATERMARK_OFF_BY_ONE) ? 1 : 0);
    return next;
}

size_t window_span(const struct window *window)
{
    return (size_t)(window->end - window->first);
}

size_t window_unfinished(const struct window *window)
{
    size_t count = 0;
    for (uint64_t id = window->first; id != window->end; id++)
        count += !slot_at(window, id)->done;
    return count;
}

bool window_wants_commit(const struct window *window)
{
    /* Until the first slot is complete the watermark is where the group stood already. */
    return window->first > 0 && window_watermark(window) > window->committed;
}

size_t window_memory(const struct window *window)
{
    return sizeof *window + window->capacity * sizeof *window->slots;
}

bool window_is(const struct window *window, const struct partition *partition)
{
    return window->partition.epoch == partition->epoch && window->partition.partition == partition->partition &&
           slice_equal(window->partition.topic, partition->topic);
}
