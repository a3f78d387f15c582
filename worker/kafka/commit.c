/* Offsets to the group: one request at a time, a deadline of our own, and nothing for partitions that are no
 * longer ours.
 *
 * The broker does not check who owns a partition, only that the member and its generation are of the group: a
 * commit for a partition that was lost may move another member's offset back. So every element is checked
 * against its epoch, and nothing is sent while the library says that the assignment is lost. Nor is anything
 * sent while the library still owes the answer to an earlier request: it repeats requests by itself, and an
 * old one could land after a new one.
 *
 * Nor is anything committed of a topic that has gone missing: when it is made anew such an offset would stand in its
 * next life, and the records before it would never be read. One that the library was repeating at that moment may
 * have landed there all the same; its partition then begins at the first record (resolve_one()). */
#include "consumer.h"

#include "signup/base/crash.h"
#include "signup/base/log.h"

#include <assert.h>
#include <stdlib.h>

#define TELL_EVERY_US (60 * US_PER_S)

bool source_commits_init(struct kafka_source *source)
{
    source->commits.queue = rd_kafka_queue_new(source->rk);
    return source->commits.queue != NULL;
}

/* From the error of a request or of one of its partitions. */
static enum commit_result result_of(rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return COMMIT_DONE;
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR__FATAL:
        return COMMIT_LOST;
    case RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
        return COMMIT_REFUSED;
    default:
        /* rebalance under way, coordinator away or moving, timeouts, and what we do not know */
        return COMMIT_RETRY;
    }
}

static int severity(enum commit_result result)
{
    return result == COMMIT_LOST ? 3 : result == COMMIT_REFUSED ? 2 : result == COMMIT_RETRY ? 1 : 0;
}

/* The worst of the request and its elements: a failed request leaves the elements without an error. */
static enum commit_result result_of_event(rd_kafka_event_t *event, rd_kafka_resp_err_t *err)
{
    *err = rd_kafka_event_error(event);
    enum commit_result worst = result_of(*err);
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    for (int i = 0; list && i < list->cnt; i++) {
        enum commit_result result = result_of(list->elems[i].err);
        if (severity(result) > severity(worst)) {
            worst = result;
            *err = list->elems[i].err;
        }
    }
    return worst;
}

static void tell_failure(struct kafka_source *source, enum commit_result result, rd_kafka_resp_err_t err)
{
    struct commits *commits = &source->commits;
    source->counters.commit_failures++;
    mono_us_t now = clock_mono_now();
    bool quiet = commits->told_at.us && !mono_reached(now, mono_add(commits->told_at, TELL_EVERY_US));
    if (quiet && result != COMMIT_LOST && result == commits->told)
        return;
    commits->told_at = now;
    commits->told = result;
    LOG_AT(result == COMMIT_REFUSED ? LOG_ERROR : LOG_WARN, "kafka",
           result == COMMIT_REFUSED
               ? "the broker refuses our offset commits: give the group the right to commit; "
                 "events are processed meanwhile, a restart repeats them without effect"
           : result == COMMIT_LOST ? "offsets were not committed: the partitions are no longer ours"
                                   : "offsets were not committed, tried again",
           LOG_STR("error", rd_kafka_err2str(err)));
}

/* `done` is called from turns of the loop only. */
static void end_op(struct kafka_source *source, enum commit_result result)
{
    struct commits *commits = &source->commits;
    struct commit_op *op = commits->op;
    commits->op = NULL;
    commits->decided = false;
    if (result == COMMIT_DONE)
        source->counters.commits++;
    op->done(op, result);
}

static void decide(struct kafka_source *source, enum commit_result result)
{
    source->commits.decided = true;
    source->commits.decision = result;
    source_want_turn(source);
}

static bool send_list(struct kafka_source *source, rd_kafka_topic_partition_list_t *list, bool for_op)
{
    struct commits *commits = &source->commits;
    rd_kafka_resp_err_t err = rd_kafka_commit_queue(source->rk, list, commits->queue, NULL, NULL);
    commits->owed = !err;
    commits->owed_op = !err && for_op;
    for (int i = 0; !err && i < list->cnt; i++)
        table_slot(&source->table, list->elems[i].topic, list->elems[i].partition)->asked = true;
    return !err;
}

/* Sends what of the op is still ours. */
static void send_op(struct kafka_source *source)
{
    struct commits *commits = &source->commits;
    commits->op_sent = true;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)commits->op->count + 1);
    bool lost = rd_kafka_assignment_lost(source->rk) || source->fatal;
    bool gone = false;
    for (size_t i = 0; !lost && i < commits->op->count; i++) {
        const struct commit_item *item = &commits->op->items[i];
        struct slot *slot = table_current(&source->table, &item->partition);
        if (!slot)
            continue;
        slot->first_commit = false; /* the pipeline is further: ours must not come after it */
        gone = gone || slot->gone;
        if (slot->gone)
            continue;
        rd_kafka_topic_partition_list_add(list, slot->topic->name, slot->partition)->offset = item->offset;
    }
    CRASH_POINT_IF(BEFORE_COMMIT, list->cnt > 0);
    if (list->cnt == 0)
        decide(source, gone ? COMMIT_DONE : COMMIT_LOST); /* there is nothing left to tell the group */
    else if (!send_list(source, list, true))
        decide(source, COMMIT_RETRY);
    rd_kafka_topic_partition_list_destroy(list);
}

enum port_status source_commit(struct kafka_source *source, struct commit_op *op)
{
    struct commits *commits = &source->commits;
    if (source->closing || commits->op)
        return PORT_AWAY;
    if (commits->owed && commits->owed_op)
        return PORT_AWAY; /* the answer to one that missed its deadline */
    commits->op = op;
    commits->op_sent = false;
    commits->decided = false;
    commits->deadline = mono_add(clock_mono_now(), CONSUMER_COMMIT_DEADLINE_US);
    if (!commits->owed)
        send_op(source);
    return PORT_OK;
}

/* The positions where a new group begins, so that a restart does not jump. */
static void send_first_positions(struct kafka_source *source)
{
    struct commits *commits = &source->commits;
    if (commits->op || commits->owed || source->fatal || rd_kafka_assignment_lost(source->rk))
        return;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < source->table.slot_count; i++) {
        const struct slot *slot = source->table.slots[i];
        if (slot->state == SLOT_ACTIVE && slot->first_commit && !slot->gone)
            rd_kafka_topic_partition_list_add(list, slot->topic->name, slot->partition)->offset = slot->start;
    }
    if (list->cnt)
        send_list(source, list, false);
    rd_kafka_topic_partition_list_destroy(list);
}

static void first_positions_answered(struct kafka_source *source, rd_kafka_event_t *event,
                                     enum commit_result result)
{
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    bool settled = result == COMMIT_DONE || result == COMMIT_REFUSED;
    for (int i = 0; settled && list && i < list->cnt; i++) {
        struct slot *slot = table_find(&source->table, list->elems[i].topic, list->elems[i].partition);
        if (slot && slot->state == SLOT_ACTIVE && slot->start == list->elems[i].offset)
            slot->first_commit = false;
    }
}

/* What was refused has not landed anywhere. */
static void forget_asked(struct kafka_source *source, rd_kafka_event_t *event)
{
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(event);
    for (int i = 0; list && i < list->cnt; i++) {
        struct slot *slot = table_find(&source->table, list->elems[i].topic, list->elems[i].partition);
        if (slot && (rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                     list->elems[i].err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART))
            slot->crossed = false;
    }
    for (size_t i = 0; i < source->table.slot_count; i++)
        source->table.slots[i]->asked = false;
}

static void answered(struct kafka_source *source, rd_kafka_event_t *event)
{
    struct commits *commits = &source->commits;
    assert(commits->owed); /* one at a time: this is the answer to the one that was sent */
    bool for_op = commits->owed_op;
    commits->owed = commits->owed_op = false;
    forget_asked(source, event);
    rd_kafka_resp_err_t err;
    enum commit_result result = result_of_event(event, &err);
    if (result != COMMIT_DONE)
        tell_failure(source, result, err);
    CRASH_POINT_IF(AFTER_COMMIT, for_op && result == COMMIT_DONE);
    if (err == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
        source_set_fatal(source, "another member of the group has taken our group.instance.id");
    if (!for_op)
        first_positions_answered(source, event, result);
    else if (commits->op && commits->op_sent)
        end_op(source, result); /* else it is too late: the op has ended at its deadline */
}

void source_commits_poll(struct kafka_source *source)
{
    struct commits *commits = &source->commits;
    rd_kafka_event_t *event;
    while (!source->closing && (event = rd_kafka_queue_poll(commits->queue, 0))) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_OFFSET_COMMIT)
            answered(source, event);
        rd_kafka_event_destroy(event);
    }
    if (source->closing)
        return;
    if (commits->op && !commits->op_sent && !commits->owed)
        send_op(source);
    if (commits->op && !commits->decided && mono_reached(clock_mono_now(), commits->deadline)) {
        tell_failure(source, COMMIT_RETRY, RD_KAFKA_RESP_ERR__TIMED_OUT);
        end_op(source, COMMIT_RETRY);
    }
    if (!source->closing)
        send_first_positions(source);
}

void source_commits_turn(struct kafka_source *source)
{
    struct commits *commits = &source->commits;
    if (commits->op && commits->decided)
        end_op(source, commits->decision);
}

void source_commits_close(struct kafka_source *source)
{
    if (source->commits.op)
        end_op(source, COMMIT_RETRY);
}
