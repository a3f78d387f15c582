/* One member's view of the topics: what it fetches, what it is told of rebalances, and its offset commits. */
#include "parts.h"

#include <stdlib.h>
#include <string.h>

struct sim_owned *sim_owned_find(struct sim_life *life, uint64_t epoch)
{
    return epoch && epoch <= (uint64_t)life->owned_count ? &life->owned[epoch - 1] : NULL;
}

/* ---- fetching */

static void poke_event(struct sim *sim, void *arg, uint32_t stamp)
{
    struct sim_life *life = arg;
    if (life->dead || sim_life_asleep(sim, life, poke_event, life, stamp))
        return;
    sim_core_enter(life);
    pipeline_poke(life->pipeline);
    if (!sim_core_left(life))
        sim_life_touch(sim, life);
}

static int64_t ready_at(const struct sim_owned *owned)
{
    const struct sim_record *record = owned->part->log[owned->next];
    return record->appended_us > owned->fetch_at_us ? record->appended_us : owned->fetch_at_us;
}

/* The wake-up for what is not there yet. */
static void poke_later(struct sim *sim, struct sim_life *life, const struct sim_owned *owned)
{
    if (owned->active && !owned->paused && owned->next < owned->part->count)
        sim_at(sim, ready_at(owned), poke_event, life, 0);
}

/* What was given before must not be read any more: its bytes are wiped and freed. */
static void taken_free(struct sim_life *life)
{
    if (life->taken)
        memset(life->taken, 0xA5, life->taken_len);
    free(life->taken);
    life->taken = NULL;
}

static void record_give(struct sim_life *life, struct sim_owned *owned, struct record *out)
{
    const struct sim_record *record = owned->part->log[owned->next];
    struct slice value = sim_record_value(record);
    size_t topic_len = strlen(record->part->topic);
    size_t key_len = strlen(record->key);
    taken_free(life);
    life->taken_len = topic_len + key_len + value.len + 1;
    life->taken = malloc(life->taken_len);
    if (!life->taken)
        abort();
    memcpy(life->taken, record->part->topic, topic_len);
    memcpy(life->taken + topic_len, record->key, key_len);
    if (value.len)
        memcpy(life->taken + topic_len + key_len, value.ptr, value.len);
    *out = (struct record){.topic = {life->taken, topic_len},
                           .partition = record->part->number,
                           .offset = record->offset,
                           .timestamp_ms = record->timestamp_ms,
                           .key = {life->taken + topic_len, key_len},
                           .value = value.ptr ? (struct slice){life->taken + topic_len + key_len, value.len}
                                              : SLICE_ABSENT,
                           .epoch = owned->epoch};
    out->headers = sim_record_headers(&out->header_count);
}

static bool port_take(void *ctx, struct record *out)
{
    struct sim_life *life = ctx;
    struct sim *sim = life->sim;
    if (life->crash_due)
        return false;
    for (int i = 0; i < life->owned_count; i++) {
        struct sim_owned *owned = &life->owned[(life->take_from + i) % life->owned_count];
        if (!owned->active || owned->paused || owned->next >= owned->part->count ||
            ready_at(owned) > sim->now_us)
            continue;
        if (!sim_life_step(life, SIM_STEP_TAKE))
            return false;
        const struct sim_record *record = owned->part->log[owned->next];
        record_give(life, owned, out);
        owned->notes[owned->next++] |= SIM_NOTE_DELIVERED;
        owned->first = owned->first < 0 ? record->at : owned->first;
        life->take_from = sim_chance(sim, 3000) ? sim_below(sim, life->owned_count) : life->take_from + i;
        sim->totals.deliveries++;
        SIM_TRACE(sim, sim_whom_record(record, life->worker), "w%d.%d takes %s (%s), epoch %llu",
                  life->worker, life->number, record->position, record->id, (unsigned long long)owned->epoch);
        poke_later(sim, life, owned);
        return true;
    }
    return false;
}

static void port_pause(void *ctx, const struct partition *partition, bool paused)
{
    struct sim_life *life = ctx;
    struct sim_owned *owned = sim_owned_find(life, partition->epoch);
    if (!owned || owned->paused == paused)
        return;
    owned->paused = paused;
    SIM_TRACE(life->sim, sim_whom_part(owned->part, life->worker), "w%d.%d %s %s:%d", life->worker,
              life->number, paused ? "pauses" : "resumes", owned->part->topic, (int)owned->part->number);
    if (!paused) {
        owned->fetch_at_us = life->sim->now_us + sim_between(life->sim, 1, 20 * US_PER_MS);
        poke_later(life->sim, life, owned);
    }
}

/* ---- what the member is told: in order, each some time after it was decided */

static int64_t told_at(struct sim *sim, struct sim_life *life, int64_t within_us)
{
    int64_t at = sim->now_us + sim_between(sim, 1, within_us);
    if (at <= life->callback_last_us)
        at = life->callback_last_us + 1;
    return life->callback_last_us = at;
}

/* Put off because the member stands still: what it is told later comes after this. */
static bool told_later(struct sim *sim, struct sim_life *life, sim_fn fn, void *arg, uint32_t stamp)
{
    if (!sim_life_asleep(sim, life, fn, arg, stamp))
        return false;
    if (life->callback_last_us < life->deferred_last_us)
        life->callback_last_us = life->deferred_last_us;
    return true;
}

struct assignment {
    struct sim_life *life;
    int count;
    struct sim_partition *parts[SIM_PARTITIONS_MAX];
    uint64_t epochs[SIM_PARTITIONS_MAX];
};

static void assign_event(struct sim *sim, void *arg, uint32_t stamp)
{
    struct assignment *assignment = arg;
    struct sim_life *life = assignment->life;
    struct partition parts[SIM_PARTITIONS_MAX];
    if (life->dead || told_later(sim, life, assign_event, assignment, stamp))
        return;
    for (int i = 0; i < assignment->count; i++) {
        struct sim_owned *owned = sim_owned_find(life, assignment->epochs[i]);
        owned->active = true;
        owned->fetch_at_us = sim->now_us + sim_between(sim, 0, 20 * US_PER_MS);
        while (owned->next < owned->part->count &&
               owned->part->log[owned->next]->offset < owned->part->committed)
            owned->next++;
        parts[i] = (struct partition){slice_from_str(owned->part->topic), owned->part->number, owned->epoch};
        SIM_TRACE(sim, sim_whom_part(owned->part, life->worker),
                  "w%d.%d is assigned %s:%d from %lld, epoch %llu", life->worker, life->number,
                  owned->part->topic, (int)owned->part->number, (long long)owned->part->committed,
                  (unsigned long long)owned->epoch);
        poke_later(sim, life, owned);
    }
    sim_core_enter(life);
    pipeline_assign(life->pipeline, parts, (size_t)assignment->count);
    (void)sim_life_step(life, SIM_STEP_ASSIGN);
    if (!sim_core_left(life))
        sim_life_touch(sim, life);
}

void sim_source_assign(struct sim *sim, struct sim_life *life, struct sim_partition *const *parts, int count)
{
    struct assignment *assignment = sim_alloc(sim, sizeof *assignment);
    assignment->life = life;
    assignment->count = count;
    for (int i = 0; i < count; i++) {
        if (life->owned_count == SIM_EPOCHS_MAX)
            sim_fail(sim, "world", sim_whom_worker(life->worker),
                     "more assignments than the world has room for");
        struct sim_owned *owned = &life->owned[life->owned_count++];
        *owned = (struct sim_owned){.part = parts[i], .epoch = (uint64_t)life->owned_count, .first = -1};
        owned->notes = sim_alloc(sim, (size_t)parts[i]->count + 1);
        parts[i]->owner = life;
        parts[i]->owner_epoch = owned->epoch;
        assignment->parts[i] = parts[i];
        assignment->epochs[i] = owned->epoch;
    }
    sim_at(sim, told_at(sim, life, 30 * US_PER_MS), assign_event, assignment, 0);
}

#define REVOKE_GRACE_US (100 * US_PER_MS) /* of timers and of the commit's answer */

/* Whoever was awake all the time has answered by now. */
static void revoke_overdue_event(struct sim *sim, void *arg, uint32_t stamp)
{
    struct sim_life *life = arg;
    if (life->dead || !life->revoking || life->revoke_stamp != stamp ||
        life->stalled_until_us > life->revoke_told_us)
        return;
    sim_fail(sim, "revoke.late", sim_whom_worker(life->worker), "a revoke%s is not answered after %lld ms",
             life->revoke_is_lost ? " of what is lost" : "",
             (long long)((sim->now_us - life->revoke_told_us) / US_PER_MS));
}

static void revoke_event(struct sim *sim, void *arg, uint32_t lost)
{
    struct sim_life *life = arg;
    struct partition parts[SIM_EPOCHS_MAX];
    size_t count = 0;
    if (life->dead || told_later(sim, life, revoke_event, life, lost))
        return;
    if (lost)
        life->lost_due = false;
    if (life->revoking)
        return; /* it is giving everything up already, and will find out by its commit */
    if (!lost && !life->in_group)
        return; /* overtaken by the news that the group has given it up */
    for (int i = 0; i < life->owned_count; i++) {
        struct sim_owned *owned = &life->owned[i];
        if (!owned->active)
            continue;
        owned->active = false;
        owned->lost_told = lost;
        owned->giving_up = true;
        parts[count++] =
            (struct partition){slice_from_str(owned->part->topic), owned->part->number, owned->epoch};
    }
    SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d %s %zu partitions", life->worker, life->number,
              lost ? "has lost" : "is to give up", count);
    life->revoking = true;
    life->revoke_is_lost = lost;
    life->revoke_told_us = sim->now_us;
    sim_at(sim, sim->now_us + (lost ? 0 : life->config.revoke_drain_us) + REVOKE_GRACE_US,
           revoke_overdue_event, life, ++life->revoke_stamp);
    sim_core_enter(life);
    pipeline_revoke(life->pipeline, parts, count, lost);
    (void)sim_life_step(life, SIM_STEP_REVOKE);
    if (!sim_core_left(life))
        sim_life_touch(sim, life);
}

void sim_source_revoke(struct sim *sim, struct sim_life *life, bool lost)
{
    if (lost) {
        if (life->lost_due)
            return;
        life->lost_due = true;
    }
    int64_t within = lost && sim_chance(sim, 5000) ? 3 * US_PER_S : 50 * US_PER_MS;
    sim_at(sim, told_at(sim, life, sim->healed ? 50 * US_PER_MS : within), revoke_event, life, lost);
}

static void revoked_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)stamp;
    struct sim_life *life = arg;
    if (!life->dead)
        sim_group_revoked(sim, life);
}

static void port_revoke_done(void *ctx)
{
    struct sim_life *life = ctx;
    struct sim *sim = life->sim;
    if (!life->revoking)
        sim_fail(sim, "I3.revoke", sim_whom_worker(life->worker), "revoke_done() without a revoke");
    if (!sim_life_step(life, SIM_STEP_REVOKE_DONE))
        return;
    int calls = 0;
    for (int i = 0; i < life->owned_count; i++) {
        if (life->owned[i].giving_up)
            calls += sim_api_calls_of(life, life->owned[i].epoch);
        life->owned[i].giving_up = false;
    }
    int64_t took = sim->now_us - life->revoke_told_us;
    if (!life->revoke_is_lost && calls && took < life->config.revoke_drain_us)
        sim_fail(sim, "revoke.early", sim_whom_worker(life->worker),
                 "a revoke is answered after %lld ms with %d of its calls under way; they have %lld ms",
                 (long long)(took / US_PER_MS), calls, (long long)(life->config.revoke_drain_us / US_PER_MS));
    life->revoking = false;
    SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d has let go", life->worker, life->number);
    sim_at(sim, sim->now_us + 1, revoked_event, life, 0);
}

/* ---- commits */

struct commit {
    struct sim_life *life;
    struct commit_op *op;
    enum commit_result result;
    bool heard;
};

/* What the core may commit, judged by what it has been told: everything delivered below is answered for in
 * this assignment (I4, I5, I10). */
static void commit_verify(struct sim *sim, struct sim_life *life, const struct commit_item *item)
{
    const struct sim_owned *owned = sim_owned_find(life, item->partition.epoch);
    if (!owned)
        sim_fail(sim, "I10.epoch", sim_whom_worker(life->worker),
                 "a commit for an assignment that never was");
    struct sim_whom whom = sim_whom_part(owned->part, life->worker);
    if (owned->lost_told)
        sim_fail(sim, "I10.lost", whom, "%s:%d is committed after the core was told that it is lost",
                 owned->part->topic, (int)owned->part->number);
    bool known = false;
    for (int i = 0; i < owned->next; i++) {
        const struct sim_record *record = owned->part->log[i];
        if (!(owned->notes[i] & SIM_NOTE_DELIVERED))
            continue;
        known = known || record->offset == item->offset ||
                (i == owned->next - 1 && record->offset + 1 == item->offset);
        if (record->offset < item->offset && !(owned->notes[i] & SIM_NOTE_RESOLVED)) {
            whom = sim_whom_record(record, life->worker);
            sim_fail(sim, "I5.watermark", whom,
                     "%s:%d is committed to %lld, but %s of this assignment (epoch %llu) has no answer of "
                     "the ledger",
                     owned->part->topic, (int)owned->part->number, (long long)item->offset, record->position,
                     (unsigned long long)owned->epoch);
        }
    }
    if (!known)
        sim_fail(sim, "I5.offset", whom,
                 "%s:%d is committed to %lld, which is no delivered offset nor the last plus one",
                 owned->part->topic, (int)owned->part->number, (long long)item->offset);
}

/* The group's offset moves: nothing below it may be without a durable row (promise 1). */
static void commit_apply(struct sim *sim, struct sim_life *life, struct sim_partition *part, int64_t offset)
{
    struct sim_whom whom = sim_whom_part(part, life->worker);
    if (offset < part->committed)
        sim_fail(sim, "I5.rewind", whom, "%s:%d is committed back from %lld to %lld", part->topic,
                 (int)part->number, (long long)part->committed, (long long)offset);
    for (int i = 0; i < part->count && part->log[i]->offset < offset; i++) {
        const struct sim_record *record = part->log[i];
        if (record->offset >= part->committed && !sim_record_answered(sim, record))
            sim_fail(sim, "P1.commit", sim_whom_record(record, life->worker),
                     "%s:%d is committed to %lld, but no durable row answers for %s", part->topic,
                     (int)part->number, (long long)offset, record->position);
    }
    part->committed = offset;
    SIM_TRACE(sim, whom, "group: %s:%d is committed to %lld by w%d.%d", part->topic, (int)part->number,
              (long long)offset, life->worker, life->number);
}

static bool group_accepts(const struct sim_life *life, const struct commit_op *op)
{
    for (size_t i = 0; i < op->count; i++) {
        const struct sim_owned *owned = sim_owned_find((struct sim_life *)life, op->items[i].partition.epoch);
        if (!life->in_group || owned->part->owner != life || owned->part->owner_epoch != owned->epoch)
            return false;
    }
    return true;
}

/* Applied by the group or not, at the moment the answer is made. */
static enum commit_result commit_execute(struct sim *sim, struct sim_life *life, const struct commit_op *op)
{
    if (!group_accepts(life, op))
        return COMMIT_LOST;
    bool fails = sim_strikes(sim, SIM_COMMIT) && sim_chance(sim, sim->profile.commit_fail);
    if (fails && sim_chance(sim, 5000))
        return sim_chance(sim, 8000) ? COMMIT_RETRY : COMMIT_REFUSED;
    for (size_t i = 0; i < op->count; i++)
        commit_apply(sim, life, sim_owned_find(life, op->items[i].partition.epoch)->part,
                     op->items[i].offset);
    return fails ? COMMIT_RETRY : COMMIT_DONE;
}

static void commit_done_event(struct sim *sim, void *arg, uint32_t stamp)
{
    static const char *const names[] = {"done", "to be repeated", "lost", "refused"};
    struct commit *commit = arg;
    struct sim_life *life = commit->life;
    if (commit->heard || sim_life_asleep(sim, life, commit_done_event, commit, stamp))
        return;
    commit->heard = true;
    life->committing = false;
    life->commit = NULL;
    if (commit->result == COMMIT_DONE)
        sim->totals.commits++;
    else
        sim->totals.commit_failures++;
    SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d commit: %s", life->worker, life->number,
              names[commit->result]);
    sim_not_under_way(life, commit->op);
    if (commit->result == COMMIT_LOST && !life->revoking && !life->in_group)
        sim_source_revoke(sim, life, true);
    sim_core_enter(life);
    commit->op->done(commit->op, commit->result);
    (void)sim_life_step(life, SIM_STEP_COMMIT_DONE);
    if (!sim_core_left(life))
        sim_life_touch(sim, life);
}

static void commit_execute_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)stamp;
    struct commit *commit = arg;
    if (commit->heard)
        return;
    commit->result = commit_execute(sim, commit->life, commit->op);
    int64_t took =
        commit->result == COMMIT_RETRY ? sim_between(sim, 1, US_PER_S) : sim_between(sim, 1, 5 * US_PER_MS);
    sim_at(sim, sim->now_us + took, commit_done_event, commit, 0);
}

static enum port_status port_commit(void *ctx, struct commit_op *op)
{
    struct sim_life *life = ctx;
    struct sim *sim = life->sim;
    if (life->committing)
        sim_fail(sim, "ports.commit", sim_whom_worker(life->worker),
                 "a second commit while one is under way");
    if (!op->count)
        sim_fail(sim, "ports.commit", sim_whom_worker(life->worker), "an empty commit");
    sim_under_way(life, op, "commit");
    if (!sim_life_step(life, SIM_STEP_COMMIT)) {
        sim_not_under_way(life, op);
        return PORT_AWAY;
    }
    for (size_t i = 0; i < op->count; i++)
        commit_verify(sim, life, &op->items[i]);
    if (sim_strikes(sim, SIM_COMMIT) && sim_chance(sim, sim->profile.commit_fail / 4)) {
        sim_not_under_way(life, op);
        return PORT_AWAY;
    }
    struct commit *commit = sim_alloc(sim, sizeof *commit);
    *commit = (struct commit){.life = life, .op = op};
    life->committing = true;
    life->commit = commit;
    sim_at(sim, sim->now_us + sim_between(sim, 200, 20 * US_PER_MS), commit_execute_event, commit, 0);
    return PORT_OK;
}

/* The member dies: what it was told and told others no longer reaches it. */
void sim_source_drop(struct sim *sim, struct sim_life *life)
{
    if (life->committing) {
        struct commit *commit = life->commit;
        commit->heard = true;
        if (sim_chance(sim, 3000))
            (void)commit_execute(sim, life, commit->op);
        life->committing = false;
        sim_not_under_way(life, commit->op);
        commit->op->done(commit->op, COMMIT_RETRY);
    }
    taken_free(life);
}

const struct source_port sim_source_port = {
    .take = port_take,
    .pause = port_pause,
    .commit = port_commit,
    .revoke_done = port_revoke_done,
};
