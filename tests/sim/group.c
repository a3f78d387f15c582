/* The consumer group: members, the eager protocol (everybody gives up everything, then all is dealt anew),
 * and who is given up. */
#include "parts.h"

static int member_index(const struct sim_group *group, const struct sim_life *life)
{
    for (int i = 0; i < group->count; i++) {
        if (group->members[i] == life)
            return i;
    }
    return -1;
}

static bool owns_anything(const struct sim *sim, const struct sim_life *life)
{
    for (int p = 0; p < sim->part_count; p++) {
        if (sim->parts[p].owner == life)
            return true;
    }
    return false;
}

static void deal(struct sim *sim)
{
    struct sim_group *group = &sim->group;
    int from = sim_below(sim, group->count);
    bool odd = sim_chance(sim, 2000);
    group->generation++;
    group->state = SIM_GROUP_STABLE;
    SIM_TRACE(sim, SIM_WHOM_ALL, "group: generation %llu with %d members",
              (unsigned long long)group->generation, group->count);
    for (int m = 0; m < group->count; m++) {
        struct sim_partition *mine[SIM_PARTITIONS_MAX];
        int count = 0;
        for (int p = 0; p < sim->part_count; p++) {
            int to = odd ? from : (from + p) % group->count;
            if (to == m)
                mine[count++] = &sim->parts[p];
        }
        group->members[m]->assigned_any = count > 0;
        if (count || sim_chance(sim, 5000))
            sim_source_assign(sim, group->members[m], mine, count);
    }
    if (group->again) {
        group->again = false;
        sim_group_rebalance(sim);
    }
}

static void finish_when_all_gave_up(struct sim *sim)
{
    struct sim_group *group = &sim->group;
    if (group->state != SIM_GROUP_REVOKING)
        return;
    for (int m = 0; m < group->count; m++) {
        if (group->waits[m])
            return;
    }
    for (int p = 0; p < sim->part_count; p++)
        sim->parts[p].owner = NULL;
    group->stamp++;
    group->again = false;
    if (group->count)
        deal(sim);
    else
        group->state = SIM_GROUP_STABLE;
}

/* Whoever has not given up by now is given up. */
static void deadline_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)arg;
    struct sim_group *group = &sim->group;
    if (stamp != group->stamp || group->state != SIM_GROUP_REVOKING)
        return;
    for (int m = group->count - 1; m >= 0; m--) {
        if (m < group->count && group->waits[m])
            sim_group_remove(sim, group->members[m], true);
    }
}

void sim_group_rebalance(struct sim *sim)
{
    struct sim_group *group = &sim->group;
    if (group->state == SIM_GROUP_REVOKING) {
        group->again = true;
        return;
    }
    if (!group->count)
        return;
    sim->totals.rebalances++;
    group->state = SIM_GROUP_REVOKING;
    group->stamp++;
    SIM_TRACE(sim, SIM_WHOM_ALL, "group: rebalances");
    for (int m = 0; m < group->count; m++) {
        struct sim_life *life = group->members[m];
        group->waits[m] = owns_anything(sim, life) || (life->joined && sim_chance(sim, 3000));
        life->joined = true;
        if (group->waits[m])
            sim_source_revoke(sim, life, false);
    }
    int64_t limit = sim->healed ? 20 * US_PER_S : sim->profile.rebalance_us;
    sim_at(sim, sim->now_us + limit, deadline_event, NULL, group->stamp);
    finish_when_all_gave_up(sim);
}

static void join_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)stamp;
    struct sim_life *life = arg;
    struct sim_group *group = &sim->group;
    if (life->dead || life->in_group || life->draining)
        return;
    if (life->lost_due || life->revoking || group->count == SIM_MEMBERS_MAX) {
        sim_at(sim, sim->now_us + 100 * US_PER_MS, join_event, life, 0);
        return;
    }
    life->in_group = true;
    life->joined = false;
    group->members[group->count] = life;
    group->waits[group->count] = false;
    group->count++;
    SIM_TRACE(sim, sim_whom_worker(life->worker), "group: w%d.%d joins", life->worker, life->number);
    if (group->state == SIM_GROUP_REVOKING)
        return; /* it is dealt to when the others have given up */
    sim_group_rebalance(sim);
}

void sim_group_join(struct sim *sim, struct sim_life *life)
{
    sim_at(sim, sim->now_us + sim_between(sim, 1, 100 * US_PER_MS), join_event, life, 0);
}

void sim_group_remove(struct sim *sim, struct sim_life *life, bool tell)
{
    struct sim_group *group = &sim->group;
    int at = member_index(group, life);
    if (at < 0)
        return;
    group->count--;
    for (int m = at; m < group->count; m++) {
        group->members[m] = group->members[m + 1];
        group->waits[m] = group->waits[m + 1];
    }
    life->in_group = false;
    for (int p = 0; p < sim->part_count; p++) {
        if (sim->parts[p].owner == life)
            sim->parts[p].owner = NULL;
    }
    SIM_TRACE(sim, sim_whom_worker(life->worker), "group: w%d.%d is out%s", life->worker, life->number,
              tell ? ", and does not know yet" : "");
    if (tell) {
        sim->totals.lost++;
        if (!life->revoking)
            sim_source_revoke(sim, life, true);
    }
    if (group->state == SIM_GROUP_REVOKING)
        finish_when_all_gave_up(sim);
    else
        sim_group_rebalance(sim);
}

void sim_group_revoked(struct sim *sim, struct sim_life *life)
{
    struct sim_group *group = &sim->group;
    int at = member_index(group, life);
    if (at < 0) {
        sim_group_join(sim, life); /* it was given up meanwhile */
        return;
    }
    group->waits[at] = false;
    finish_when_all_gave_up(sim);
}

void sim_group_reset(struct sim *sim)
{
    for (int p = 0; p < sim->part_count; p++) {
        sim->parts[p].owner = NULL;
        sim->parts[p].committed = 0;
    }
    sim->group = (struct sim_group){.stamp = sim->group.stamp + 1, .generation = sim->group.generation};
}
