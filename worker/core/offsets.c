/* Windows, commits and revokes: what the group is told, and when a partition may go. */
#include "state.h"

#include <assert.h>
#include <stdlib.h>
#include <utlist.h>

#define COMMIT_REFUSED_PAUSE_US (30 * US_PER_S)
#define COMMIT_RETRY_PAUSE_US (200 * US_PER_MS)

struct window *offsets_find(struct pipeline *pipeline, const struct partition *partition)
{
    struct window *window;
    DL_FOREACH(pipeline->windows, window)
    {
        if (window->state != WINDOW_GONE && window_is(window, partition))
            return window;
    }
    return NULL;
}

/* ---- commits */

static bool may_commit(const struct window *window)
{
    return (window->state != WINDOW_GONE || PLANTED(LOST_REVOKE)) && window_wants_commit(window);
}

static bool any_wants_commit(const struct pipeline *pipeline)
{
    const struct window *window;
    DL_FOREACH(pipeline->windows, window)
    {
        if (may_commit(window))
            return true;
    }
    return false;
}

static void commit_done(struct commit_op *op, enum commit_result result)
{
    struct pipeline *pipeline = op->owner;
    assert(pipeline->committing && !pipeline->commit_answered);
    pipeline->commit_answered = true;
    pipeline->commit_result = result;
    pipeline->wants_tick = true;
}

void offsets_take_answer(struct pipeline *pipeline)
{
    if (!pipeline->commit_answered)
        return;
    enum commit_result result = pipeline->commit_result;
    pipeline->committing = pipeline->commit_answered = false;
    pipeline->commit_failed = result != COMMIT_DONE;
    if (result == COMMIT_DONE)
        pipeline->counters.commits++;
    else
        pipeline->counters.commit_failures++;
    if (result == COMMIT_RETRY && (pipeline->draining || pipeline->revoking))
        pipeline->next_commit = mono_add(pipeline->now, COMMIT_RETRY_PAUSE_US);
    if (result == COMMIT_REFUSED)
        pipeline->next_commit = mono_add(pipeline->now, COMMIT_REFUSED_PAUSE_US);
    struct window *window;
    DL_FOREACH(pipeline->windows, window)
    {
        if (result == COMMIT_DONE && window->committing > window->committed)
            window->committed = window->committing;
        window->committing = -1;
    }
}

static bool commit_room(struct pipeline *pipeline)
{
    size_t count = 0;
    const struct window *window;
    DL_COUNT(pipeline->windows, window, count);
    if (count <= pipeline->commit_size)
        return true;
    struct commit_item *items = realloc(pipeline->commit_items, count * sizeof *items);
    if (!items)
        return false;
    pipeline->commit_items = items;
    pipeline->commit_size = count;
    return true;
}

/* Nothing that is leaving has work left: what remains is to tell the group. */
static bool all_settled(const struct pipeline *pipeline)
{
    const struct window *window;
    DL_FOREACH(pipeline->windows, window)
    {
        bool leaving = pipeline->draining || window->state == WINDOW_DRAINING;
        if (window->state != WINDOW_GONE && leaving && window->references)
            return false;
    }
    return true;
}

/* The revoke came between two ticks: its time runs from the first one after it. */
void offsets_time_revoke(struct pipeline *pipeline)
{
    if (!pipeline->revoking || pipeline->revoke_timed)
        return;
    pipeline->revoke_timed = true;
    pipeline->revoke_deadline = mono_add(pipeline->now, pipeline->revoke_patience_us);
}

static bool revoke_is_over(const struct pipeline *pipeline)
{
    return all_settled(pipeline) || mono_reached(pipeline->now, pipeline->revoke_deadline);
}

void offsets_commit(struct pipeline *pipeline)
{
    if (pipeline->committing || !any_wants_commit(pipeline))
        return;
    bool last = (pipeline->revoking && revoke_is_over(pipeline)) || (pipeline->draining && all_settled(pipeline));
    if (!last && !mono_reached(pipeline->now, pipeline->next_commit))
        return;
    if (last && pipeline->commit_failed && !mono_reached(pipeline->now, pipeline->next_commit))
        return; /* a failed last commit is repeated, but not without a pause */
    if (!commit_room(pipeline))
        return;
    size_t count = 0;
    struct window *window;
    DL_FOREACH(pipeline->windows, window)
    {
        if (!may_commit(window))
            continue;
        int64_t watermark = window_watermark(window);
        pipeline->commit_items[count++] = (struct commit_item){.partition = window->partition, .offset = watermark};
        window->committing = watermark;
    }
    pipeline->commit = (struct commit_op){
        .items = pipeline->commit_items, .count = count, .done = commit_done, .owner = pipeline};
    pipeline->next_commit = mono_add(pipeline->now, pipeline->config.commit_interval_us);
    if (pipeline->ports.source->commit(pipeline->ports.source_ctx, &pipeline->commit) == PORT_OK) {
        pipeline->committing = true;
        return;
    }
    DL_FOREACH(pipeline->windows, window) { window->committing = -1; }
}

mono_us_t offsets_next(const struct pipeline *pipeline)
{
    mono_us_t next = MONO_NEVER;
    if (!pipeline->committing && any_wants_commit(pipeline))
        next = pipeline->next_commit;
    if (pipeline->revoking && pipeline->revoke_timed)
        next = mono_earlier(next, pipeline->revoke_deadline);
    return next;
}

/* ---- revokes and the drain */

/* What has no claim to lose is given up at once; what has one and no call under way gives it back. */
static void let_go(struct pipeline *pipeline)
{
    static const enum delivery_state unclaimed[] = {DELIVERY_QUEUED, DELIVERY_READY, DELIVERY_WAITING};
    static const enum delivery_state claimed[] = {DELIVERY_HELD, DELIVERY_ADMITTED, DELIVERY_BACKOFF};
    for (size_t i = 0; i < sizeof unclaimed / sizeof unclaimed[0]; i++) {
        foreach_list(pipeline, unclaimed[i], dl, next)
        {
            if (delivery_is_leaving(pipeline, dl))
                pipeline_finish(pipeline, dl, PLANTED(SLOT_FOR_DROPPED), "abandoned");
        }
    }
    for (size_t i = 0; i < sizeof claimed / sizeof claimed[0]; i++) {
        foreach_list(pipeline, claimed[i], dl, next)
        {
            if (delivery_is_leaving(pipeline, dl))
                record_give_back(pipeline, dl);
        }
    }
}

void pipeline_revoke(struct pipeline *pipeline, const struct partition *partitions, size_t count, bool lost)
{
    assert(!pipeline->in_tick);
    for (size_t i = 0; i < count; i++) {
        struct window *window = offsets_find(pipeline, &partitions[i]);
        if (!window)
            continue;
        window->state = lost ? WINDOW_GONE : WINDOW_DRAINING;
    }
    let_go(pipeline);
    pipeline->revoke_patience_us = lost ? 0 : pipeline->config.revoke_drain_us;
    pipeline->revoke_timed = false;
    pipeline->revoking = true;
    pipeline->wants_tick = true;
}

void pipeline_drain(struct pipeline *pipeline)
{
    pipeline->draining = true;
    pipeline->wants_tick = true;
    let_go(pipeline);
}

/* The answer to a revoke: after the calls of its partitions and one commit, or at the deadline, whichever comes first. */
void offsets_answer_revoke(struct pipeline *pipeline)
{
    if (!pipeline->revoking || !revoke_is_over(pipeline))
        return;
    bool late = mono_reached(pipeline->now, pipeline->revoke_deadline);
    if (!late && (pipeline->committing || any_wants_commit(pipeline)))
        return;
    struct window *window;
    DL_FOREACH(pipeline->windows, window)
    {
        if (window->state == WINDOW_DRAINING)
            window->state = WINDOW_GONE;
    }
    pipeline->revoking = false;
    pipeline->ports.source->revoke_done(pipeline->ports.source_ctx);
}

/* Windows that are gone, with their last delivery gone too. */
void offsets_bury(struct pipeline *pipeline)
{
    struct window *window;
    struct window *next;
    DL_FOREACH_SAFE(pipeline->windows, window, next)
    {
        if (window->state != WINDOW_GONE || window->references || pipeline->committing || PLANTED(LOST_REVOKE))
            continue;
        pipeline->memory_bytes -= window_memory(window);
        DL_DELETE(pipeline->windows, window);
        window_destroy(window);
    }
}

/* ---- pausing */

/* A window that is full pauses alone and goes on when half of it is done; a closed intake pauses them all. */
void offsets_pause(struct pipeline *pipeline)
{
    struct window *window;
    DL_FOREACH(pipeline->windows, window)
    {
        if (window->state != WINDOW_ACTIVE)
            continue;
        size_t limit = pipeline->config.window_slots_max;
        bool full = window_span(window) >= (window->paused ? limit / 2 : limit);
        bool paused = pipeline->source_paused || full;
        if (paused == window->paused)
            continue;
        window->paused = paused;
        pipeline->ports.source->pause(pipeline->ports.source_ctx, &window->partition, paused);
        if (!paused)
            pipeline_poke(pipeline);
    }
}
