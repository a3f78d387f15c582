/* Who owns what: the group's assignments and revocations, start positions, pauses. All calls of the library
 * that may wait go to an aide.
 *
 *   ASSIGN event ──> slots RESOLVING ──(inquiry: committed? else low or high)──> slots ACTIVE
 *                    ──(control: assign)──> on_assign
 *   REVOKE event ──> slots LEAVING ──> on_revoke ──(revoke_done)──> slots FREE ──(control: unassign)
 *
 * The library waits as long as it takes for the answer to a rebalance event (it stays in WAIT_ASSIGN_CALL or
 * WAIT_UNASSIGN_CALL, its heartbeats go on; rdkafka_cgrp.c), so both may be answered later. With an eager
 * assignor only a whole assign() is allowed, and it may be repeated: that is how partitions whose position is
 * found late, or lost, join or leave the fetch. */
#include "consumer.h"

#include "range.h"
#include "signup/base/crash.h"
#include "signup/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INQUIRY_TIMEOUT_MS 3000 /* one question */
#define INQUIRY_TOTAL_US (6 * US_PER_S)

/* ------------------------------------------------------------------ the control thread */

enum control_kind { CONTROL_ASSIGN, CONTROL_UNASSIGN, CONTROL_PAUSES, CONTROL_CLOSE };

struct control_job {
    struct aide_job job;
    struct kafka_source *source; /* for `done` only */
    rd_kafka_t *rk;
    enum control_kind kind;
    bool cooperative;
    rd_kafka_topic_partition_list_t *list; /* to assign, to unassign, to pause */
    rd_kafka_topic_partition_list_t *resume;
    rd_kafka_queue_t *queues[2]; /* CONTROL_CLOSE */
    bool answer_assign;          /* CONTROL_CLOSE: the library still waits for this answer */
    bool leave;                  /* CONTROL_CLOSE: say goodbye to the group */
    void (*closed)(struct kafka_source *source);
    rd_kafka_resp_err_t err;
};

static void control_drop(struct aide_job *job)
{
    struct control_job *control = (struct control_job *)job;
    if (control->list)
        rd_kafka_topic_partition_list_destroy(control->list);
    if (control->resume)
        rd_kafka_topic_partition_list_destroy(control->resume);
    free(control);
}

static rd_kafka_resp_err_t code_of(rd_kafka_error_t *error)
{
    rd_kafka_resp_err_t code = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
    if (error)
        rd_kafka_error_destroy(error);
    return code;
}

/* The library must wait for nothing of ours when it closes, or it would wait for ever. */
static void run_close(struct control_job *control)
{
    if (control->answer_assign) {
        rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0);
        if (control->cooperative)
            code_of(rd_kafka_incremental_assign(control->rk, none));
        else
            rd_kafka_assign(control->rk, none);
        rd_kafka_topic_partition_list_destroy(none);
    }
    rd_kafka_topic_partition_list_t *held = NULL;
    if (!control->cooperative)
        rd_kafka_assign(control->rk, NULL);
    else if (rd_kafka_assignment(control->rk, &held) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        code_of(rd_kafka_incremental_unassign(control->rk, held));
        rd_kafka_topic_partition_list_destroy(held);
    }
    if (control->leave)
        rd_kafka_consumer_close(control->rk);
    for (size_t i = 0; i < 2; i++)
        rd_kafka_queue_destroy(control->queues[i]);
    rd_kafka_destroy_flags(control->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

static void control_run(struct aide_job *job)
{
    struct control_job *control = (struct control_job *)job;
    switch (control->kind) {
    case CONTROL_ASSIGN:
        control->err = control->cooperative ? code_of(rd_kafka_incremental_assign(control->rk, control->list))
                                            : rd_kafka_assign(control->rk, control->list);
        break;
    case CONTROL_UNASSIGN:
        control->err = control->cooperative
                           ? code_of(rd_kafka_incremental_unassign(control->rk, control->list))
                           : rd_kafka_assign(control->rk, NULL);
        break;
    case CONTROL_PAUSES:
        /* Waits for the broker's thread, which may be looking up a name. */
        if (control->list->cnt)
            rd_kafka_pause_partitions(control->rk, control->list);
        if (control->resume->cnt)
            rd_kafka_resume_partitions(control->rk, control->resume);
        break;
    case CONTROL_CLOSE:
        run_close(control);
        break;
    }
}

/* A partition that the library does not know (any more) counts as done: resuming it later at worst delivers
 * twice, and S2 drops that. */
static void mark_paused(struct kafka_source *source, const rd_kafka_topic_partition_list_t *list, bool paused)
{
    for (int i = 0; i < list->cnt; i++)
        table_slot(&source->table, list->elems[i].topic, list->elems[i].partition)->is_paused = paused;
}

static void control_done(struct aide_job *job)
{
    struct control_job *control = (struct control_job *)job;
    struct kafka_source *source = control->source;
    void (*closed)(struct kafka_source * source) = NULL;
    switch (control->kind) {
    case CONTROL_ASSIGN:
    case CONTROL_UNASSIGN:
        if (control->err && !source->closing) {
            source->counters.errors++;
            LOG_AT(LOG_WARN, "kafka", "the library refused an assignment",
                   LOG_STR("error", rd_kafka_err2str(control->err)));
        }
        break;
    case CONTROL_PAUSES:
        mark_paused(source, control->list, true);
        mark_paused(source, control->resume, false);
        source->pausing = false;
        if (!source->closing)
            source_sync_pauses(source);
        break;
    case CONTROL_CLOSE:
        closed = control->closed;
        break;
    }
    control_drop(job);
    if (closed)
        closed(source);
}

static struct control_job *control_new(struct kafka_source *source, enum control_kind kind,
                                       rd_kafka_topic_partition_list_t *list)
{
    struct control_job *control = table_alloc(sizeof *control);
    control->job = (struct aide_job){control_run, control_done, control_drop, NULL};
    control->source = source;
    control->rk = source->rk;
    control->kind = kind;
    control->cooperative = source->cooperative;
    control->list = list;
    return control;
}

void source_submit_close(struct kafka_source *source, void (*done)(struct kafka_source *source))
{
    struct control_job *control = control_new(source, CONTROL_CLOSE, NULL);
    control->queues[0] = source->queue;
    control->queues[1] = source->commits.queue;
    control->answer_assign = source->assign_owed;
    /* 2.0.2 may crash when it closes before its first assignment; the group then notices by the session's
     * timeout. */
    control->leave = source->ever_assigned && !source->fatal;
    control->closed = done;
    aide_submit(source->control, &control->job);
}

/* ------------------------------------------------------------------ pauses */

void source_sync_pauses(struct kafka_source *source)
{
    if (source->pausing)
        return; /* looked at again when that is done */
    source->pauses_dirty = false;
    rd_kafka_topic_partition_list_t *pause = rd_kafka_topic_partition_list_new(8);
    rd_kafka_topic_partition_list_t *resume = rd_kafka_topic_partition_list_new(8);
    for (size_t i = 0; i < source->table.slot_count; i++) {
        const struct slot *slot = source->table.slots[i];
        /* Resume only what is paused: 2.0.2 would go back to an old position else. */
        if (slot->state == SLOT_ACTIVE && slot->want_paused != slot->is_paused)
            rd_kafka_topic_partition_list_add(slot->want_paused ? pause : resume, slot->topic->name,
                                              slot->partition);
    }
    struct control_job *control = control_new(source, CONTROL_PAUSES, pause);
    control->resume = resume;
    if (pause->cnt + resume->cnt == 0) {
        control_drop(&control->job);
        return;
    }
    source->pausing = true;
    aide_submit(source->control, &control->job);
}

/* ------------------------------------------------------------------ assign */

static void submit_assign(struct kafka_source *source, rd_kafka_topic_partition_list_t *list)
{
    source->assign_owed = false;
    aide_submit(source->control, &control_new(source, CONTROL_ASSIGN, list)->job);
    source_sync_pauses(source); /* a pause of an earlier assignment may still be in the library */
}

static void list_slot(rd_kafka_topic_partition_list_t *list, const struct slot *slot)
{
    rd_kafka_topic_partition_list_add(list, slot->topic->name, slot->partition)->offset = slot->position;
}

void source_reassign(struct kafka_source *source)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < source->table.slot_count; i++)
        if (source->table.slots[i]->state == SLOT_ACTIVE)
            list_slot(list, source->table.slots[i]);
    submit_assign(source, list);
}

static void activate(struct slot *slot, int64_t start, bool chosen)
{
    static uint64_t last_epoch; /* never reused within the process: one loop, one thread */
    slot->state = SLOT_ACTIVE;
    slot->epoch = ++last_epoch;
    slot->start = slot->position = start;
    slot->first_commit = chosen;
    slot->gone = slot->crossed = false;
    slot->want_paused = false;
    slot->told = false;
    slot->reset_tries = 0;
    slot->trouble_since = (mono_us_t){0};
    slot->why[0] = '\0';
}

static void release(struct kafka_source *source, struct slot *slot)
{
    table_drop_stash(&source->table, slot);
    slot->state = SLOT_FREE;
    slot->epoch = 0;
    slot->first_commit = false;
    slot->want_paused = false;
    slot->why[0] = '\0';
}

/* ------------------------------------------------------------------ start positions */

struct resolve_answer {
    int64_t offset; /* -1: not found out */
    bool chosen;    /* by kafka.start, not committed */
    bool crossed;   /* what is committed may be of the topic's last life: begin at the first record */
    rd_kafka_resp_err_t err;
};

struct resolve_job {
    struct aide_job job;
    struct kafka_source *source;
    rd_kafka_t *rk;
    uint64_t generation;
    enum kafka_start start;
    rd_kafka_topic_partition_list_t *list;
    struct resolve_answer *answers;
};

static void resolve_drop(struct aide_job *job)
{
    struct resolve_job *resolve = (struct resolve_job *)job;
    rd_kafka_topic_partition_list_destroy(resolve->list);
    free(resolve->answers);
    free(resolve);
}

static void resolve_one(const struct resolve_job *resolve, const rd_kafka_topic_partition_t *partition,
                        struct resolve_answer *answer, mono_us_t until)
{
    answer->err = partition->err;
    if (partition->err)
        return;
    if (partition->offset >= 0 && !answer->crossed) {
        answer->offset = partition->offset;
        return;
    }
    if (mono_reached(clock_mono_now(), until)) {
        answer->err = RD_KAFKA_RESP_ERR__TIMED_OUT;
        return;
    }
    int64_t low = -1;
    int64_t high = -1;
    answer->err = range_query(resolve->rk, partition->topic, partition->partition, &low,
                                                   &high, INQUIRY_TIMEOUT_MS);
    if (answer->err)
        return;
    answer->chosen = true;
    answer->offset = resolve->start == KAFKA_START_EARLIEST || answer->crossed ? low : high;
}

static void resolve_run(struct aide_job *job)
{
    struct resolve_job *resolve = (struct resolve_job *)job;
    mono_us_t until = mono_add(clock_mono_now(), INQUIRY_TOTAL_US);
    rd_kafka_resp_err_t err = rd_kafka_committed(resolve->rk, resolve->list, INQUIRY_TIMEOUT_MS);
    for (int i = 0; i < resolve->list->cnt; i++) {
        struct resolve_answer *answer = &resolve->answers[i];
        answer->offset = -1;
        answer->err = err;
        if (!err)
            resolve_one(resolve, &resolve->list->elems[i], answer, until);
    }
}

static void tell_unresolved(struct slot *slot, rd_kafka_resp_err_t err)
{
    snprintf(slot->why, sizeof slot->why,
             "its start position cannot be found out: %s; asked again every second", rd_kafka_err2str(err));
    if (slot->told)
        return;
    slot->told = true;
    LOG_AT(LOG_WARN, "kafka", "a partition waits for its start position; the others go on",
           LOG_STR("topic", slot->topic->name), LOG_NUM("partition", slot->partition),
           LOG_STR("error", rd_kafka_err2str(err)));
}

static void tell_start(const struct slot *slot, const struct resolve_answer *answer, enum kafka_start start)
{
    LOG_AT(answer->crossed  ? LOG_WARN
           : answer->chosen ? LOG_INFO
                            : LOG_DEBUG,
           "kafka",
           answer->crossed
               ? "the topic went missing while offsets were committed, and is there again: the partition is read from "
                 "its first record; what was processed before is settled without a call"
           : !answer->chosen ? "partition assigned, goes on where the group stopped"
           : start == KAFKA_START_LATEST
               ? "partition assigned, the group is new: begins at the end (kafka.start: latest)"
               : "partition assigned, the group is new: begins at the first record",
           LOG_STR("topic", slot->topic->name), LOG_NUM("partition", slot->partition),
           LOG_NUM("offset", slot->start));
}

/* Activates what is known now; the slots that are new go into `fresh`. */
static size_t take_answers(struct kafka_source *source, const struct resolve_job *resolve,
                           struct slot **fresh)
{
    size_t count = 0;
    for (int i = 0; i < resolve->list->cnt; i++) {
        const struct resolve_answer *answer = &resolve->answers[i];
        struct slot *slot =
            table_slot(&source->table, resolve->list->elems[i].topic, resolve->list->elems[i].partition);
        if (slot->state != SLOT_RESOLVING)
            continue;
        if (answer->offset < 0) {
            tell_unresolved(slot, answer->err);
            continue;
        }
        activate(slot, answer->offset, answer->chosen);
        tell_start(slot, answer, resolve->start);
        fresh[count++] = slot;
    }
    return count;
}

static void tell_assigned(struct kafka_source *source, struct slot *const *fresh, size_t count)
{
    struct partition *partitions = table_alloc(count * sizeof *partitions);
    for (size_t i = 0; i < count; i++)
        partitions[i] = table_partition(fresh[i]);
    CRASH_POINT(IN_ASSIGN);
    source->callbacks.on_assign(source->callbacks.ctx, partitions, count);
    free(partitions);
}

static void use_answers(struct kafka_source *source, const struct resolve_job *resolve)
{
    struct slot **fresh = table_alloc((size_t)resolve->list->cnt * sizeof(struct slot *));
    size_t count = take_answers(source, resolve, fresh);
    if (source->cooperative) {
        rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count + 1);
        for (size_t i = 0; i < count; i++)
            list_slot(list, fresh[i]);
        submit_assign(source, list);
    } else if (count || source->assign_owed) {
        source_reassign(source);
    }
    if (count)
        tell_assigned(source, fresh, count);
    free((void *)fresh);
    if (source->closing)
        return;
    source_commits_poll(source); /* first positions are committed at once */
    source_refresh_state(source);
    source->callbacks.poke(source->callbacks.ctx);
}

static void resolve_done(struct aide_job *job)
{
    struct resolve_job *resolve = (struct resolve_job *)job;
    struct kafka_source *source = resolve->source;
    source->resolving = false;
    if (!source->closing) {
        if (resolve->generation == source->generation)
            use_answers(source, resolve);
        else
            source_resolve(source); /* the assignment changed meanwhile: ask for the one of now */
    }
    resolve_drop(job);
    source_close_continue(source);
}

void source_resolve(struct kafka_source *source)
{
    size_t waiting = table_count(&source->table, SLOT_RESOLVING);
    if (source->resolving || waiting == 0 || source->closing)
        return;
    struct resolve_job *resolve = table_alloc(sizeof *resolve);
    resolve->job = (struct aide_job){resolve_run, resolve_done, resolve_drop, NULL};
    resolve->source = source;
    resolve->rk = source->rk;
    resolve->generation = source->generation;
    resolve->start = source->config->start;
    resolve->list = rd_kafka_topic_partition_list_new((int)waiting);
    resolve->answers = table_alloc(waiting * sizeof *resolve->answers);
    for (size_t i = 0; i < source->table.slot_count; i++) {
        const struct slot *slot = source->table.slots[i];
        if (slot->state != SLOT_RESOLVING)
            continue;
        resolve->answers[resolve->list->cnt].crossed = slot->crossed;
        rd_kafka_topic_partition_list_add(resolve->list, slot->topic->name, slot->partition);
    }
    source->resolving = true;
    aide_submit(source->inquiry, &resolve->job);
}

static void handle_assign(struct kafka_source *source, const rd_kafka_topic_partition_list_t *list)
{
    source->generation++;
    source->counters.rebalances++;
    source->joined = true;
    source->ever_assigned = true;
    source->assign_owed = true;
    source->waiting_for[0] = '\0';
    LOG_AT(LOG_INFO, "kafka", "the group has given partitions", LOG_NUM("partitions", list->cnt));
    for (int i = 0; i < list->cnt; i++) {
        struct slot *slot = table_slot(&source->table, list->elems[i].topic, list->elems[i].partition);
        if (slot->state != SLOT_FREE)
            continue; /* cannot be: the library gives what it has taken back before */
        slot->state = SLOT_RESOLVING;
        slot->told = false;
    }
    if (list->cnt == 0)
        submit_assign(source, rd_kafka_topic_partition_list_new(0));
    else
        source_resolve(source);
}

/* ------------------------------------------------------------------ revoke */

static void submit_unassign(struct kafka_source *source, rd_kafka_topic_partition_list_t *list)
{
    aide_submit(source->control, &control_new(source, CONTROL_UNASSIGN, list)->job);
}

/* What leaves is free now, and the library may have its answer. */
static void finish_revoke(struct kafka_source *source)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < source->table.slot_count; i++) {
        struct slot *slot = source->table.slots[i];
        if (slot->state != SLOT_LEAVING)
            continue;
        rd_kafka_topic_partition_list_add(list, slot->topic->name, slot->partition);
        release(source, slot);
    }
    submit_unassign(source, list);
}

void source_revoke_done(struct kafka_source *source)
{
    if (!source->revoke_asked)
        return;
    source->revoke_asked = false;
    if (!source->closing)
        finish_revoke(source);
}

/* Marks a slot as leaving; true when the pipeline knows it and must let go first. */
static bool start_leaving(struct kafka_source *source, struct slot *slot)
{
    bool known = slot->state == SLOT_ACTIVE || slot->state == SLOT_BLOCKED;
    if (slot->state == SLOT_FREE || slot->state == SLOT_LEAVING)
        return false;
    table_drop_stash(&source->table, slot);
    slot->state = SLOT_LEAVING;
    slot->first_commit = false;
    return known;
}

static void leave(struct kafka_source *source, struct slot *const *slots, size_t count, bool lost)
{
    struct partition *partitions = table_alloc((count + 1) * sizeof *partitions);
    size_t known = 0;
    source->generation++;
    for (size_t i = 0; i < count; i++) {
        struct partition partition = table_partition(slots[i]);
        if (start_leaving(source, slots[i]))
            partitions[known++] = partition;
        if (lost)
            slots[i]->epoch = 0; /* somebody else's already: nothing of it is committed any more */
    }
    if (known) {
        source->revoke_asked = true;
        CRASH_POINT(IN_REVOKE);
        source->callbacks.on_revoke(source->callbacks.ctx, partitions, known, lost);
    } else {
        finish_revoke(source);
    }
    free(partitions);
}

static void handle_revoke(struct kafka_source *source, const rd_kafka_topic_partition_list_t *list, bool lost)
{
    struct slot **slots = table_alloc(((size_t)list->cnt + 1) * sizeof(struct slot *));
    for (int i = 0; i < list->cnt; i++)
        slots[i] = table_slot(&source->table, list->elems[i].topic, list->elems[i].partition);
    source->assign_owed = false;
    if (lost) {
        source->counters.lost++;
        source->joined = false;
        source->unjoined_since = clock_mono_now();
        source_suspect(source);
    }
    LOG_AT(lost ? LOG_WARN : LOG_INFO, "kafka",
           lost ? "the group has given our partitions to others; what is under way is not committed, they "
                  "repeat it"
                : "the group takes partitions back",
           LOG_NUM("partitions", list->cnt));
    leave(source, slots, (size_t)list->cnt, lost);
    free((void *)slots);
}

void source_lose_everything(struct kafka_source *source)
{
    struct slot **slots = table_alloc((source->table.slot_count + 1) * sizeof(struct slot *));
    size_t count = 0;
    for (size_t i = 0; i < source->table.slot_count; i++) {
        struct slot *slot = source->table.slots[i];
        if (slot->state == SLOT_LEAVING)
            slot->epoch = 0;
        else if (slot->state != SLOT_FREE)
            slots[count++] = slot;
    }
    source->joined = false;
    if (count && !source->revoke_asked) {
        source->counters.lost++;
        leave(source, slots, count, true);
    }
    free((void *)slots);
}

void source_handle_rebalance(struct kafka_source *source, const struct deferred *deferred)
{
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(deferred->event);
    switch (rd_kafka_event_error(deferred->event)) {
    case RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS:
        for (int i = 0; i < list->cnt; i++)
            source_topic_seen(source, list->elems[i].topic);
        handle_assign(source, list);
        break;
    case RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS:
        handle_revoke(source, list, deferred->lost || rd_kafka_assignment_lost(source->rk));
        break;
    default:
        source_set_fatal(source, rd_kafka_err2str(rd_kafka_event_error(deferred->event)));
        break;
    }
}
