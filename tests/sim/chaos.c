/* What strikes by itself, at any moment, until the healing. */
#include "parts.h"

static struct sim_life *life_choose(struct sim *sim)
{
    return sim->lives[sim_below(sim, sim->worker_count)];
}

static void ledger_outage(struct sim *sim)
{
    sim->ledger_away_until_us = sim->now_us + sim_between(sim, 100 * US_PER_MS, 8 * US_PER_S);
    SIM_TRACE(sim, SIM_WHOM_ALL, "ledger: away until %lld ms",
              (long long)(sim->ledger_away_until_us / US_PER_MS));
    for (int w = 0; w < sim->worker_count; w++) {
        if (sim->lives[w])
            sim_ledger_drop(sim, sim->lives[w], false);
    }
}

static int64_t for_a_while(struct sim *sim)
{
    return sim->now_us + sim_between(sim, 100 * US_PER_MS, 10 * US_PER_S);
}

static void api_outage(struct sim *sim)
{
    static const char *const names[] = {"key refused", "account suspended", "throttled", "redirected",
                                        "503",         "not reachable",     "unsure"};
    if (sim->profile.kind == SIM_SIEGE || sim->profile.kind == SIM_OUTAGE)
        return;
    sim->api_away_until_us = for_a_while(sim);
    sim->api_away_how =
        (enum sim_away)sim_below(sim, sim_strikes(sim, SIM_AMBIGUOUS) ? SIM_AWAY_COUNT : SIM_AWAY_UNSURE);
    SIM_TRACE(sim, SIM_WHOM_ALL, "api: refuses all until %lld ms: %s",
              (long long)(sim->api_away_until_us / US_PER_MS), names[sim->api_away_how]);
}

static void lookup_outage(struct sim *sim)
{
    if (sim->profile.kind == SIM_OUTAGE)
        return;
    sim->lookup_away_until_us = for_a_while(sim);
    sim->lookup_away_how = (enum sim_away)sim_below(sim, SIM_AWAY_LOST + 1);
    SIM_TRACE(sim, SIM_WHOM_ALL, "validation: refuses all until %lld ms, in way %d",
              (long long)(sim->lookup_away_until_us / US_PER_MS), (int)sim->lookup_away_how);
}

static void storm(struct sim *sim)
{
    sim->storm_until_us = for_a_while(sim);
    sim->storm_how = sim_below(sim, 4);
    sim->storm_list = sim->storm_how == 0 && sim_chance(sim, 5000) ? sim_below(sim, sim->contact_count) : -1;
    sim->totals.storms++;
    SIM_TRACE(sim, SIM_WHOM_ALL, "api: knows nothing of %s until %lld ms",
              sim->storm_list < 0 ? "anybody" : sim->contacts[sim->storm_list].list,
              (long long)(sim->storm_until_us / US_PER_MS));
}

static void validation_trouble(struct sim *sim, int64_t *until_us, const char *what)
{
    *until_us = for_a_while(sim);
    SIM_TRACE(sim, SIM_WHOM_ALL, "api: validation: %s until %lld ms", what,
              (long long)(*until_us / US_PER_MS));
}

static void restart_all(struct sim *sim)
{
    for (int w = 0; w < sim->worker_count; w++) {
        if (sim->lives[w])
            sim_life_crash(sim, sim->lives[w]);
    }
}

static void clock_jump(struct sim *sim, struct sim_life *life)
{
    life->wall_jump_us += sim_between(sim, -7200, 7200) * US_PER_S;
    SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d: the wall clock jumps, now off by %lld s",
              life->worker, life->number, (long long)(life->wall_jump_us / US_PER_S));
}

static void strike(struct sim *sim, enum sim_fault fault)
{
    struct sim_life *life = life_choose(sim);
    switch (fault) {
    case SIM_CRASH:
        if (life && sim_chance(sim, 3000))
            sim_life_crash(sim, life);
        break;
    case SIM_STALL:
        if (life && life->stalled_until_us <= sim->now_us)
            sim_life_stall(
                sim, life,
                sim_between(sim, 10 * US_PER_MS, sim_chance(sim, 5000) ? 15 * US_PER_S : US_PER_S));
        break;
    case SIM_REBALANCE:
        if (life && !life->draining && sim_chance(sim, 3000))
            sim_life_drain(sim, life);
        else
            sim_group_rebalance(sim);
        break;
    case SIM_LOST:
        if (life && life->in_group && !life->draining)
            sim_group_remove(sim, life, true);
        break;
    case SIM_LEDGER:
        if (life)
            sim_ledger_drop(sim, life, false);
        break;
    case SIM_LEDGER_AWAY: ledger_outage(sim); break;
    case SIM_API_AWAY: api_outage(sim); break;
    case SIM_BILLING: validation_trouble(sim, &sim->unpaid_until_us, "the account cannot pay"); break;
    case SIM_PROVIDER: validation_trouble(sim, &sim->provider_until_us, "the provider is away"); break;
    case SIM_LOOKUP: lookup_outage(sim); break;
    case SIM_STORM: storm(sim); break;
    case SIM_OPERATOR: sim_rows_replay(sim, sim_chance(sim, 3000)); break;
    case SIM_RESTART:
        if (sim_chance(sim, 1500))
            restart_all(sim);
        break;
    case SIM_CLOCK:
        if (life)
            clock_jump(sim, life);
        break;
    default: break;
    }
}

static void chaos_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)arg;
    (void)stamp;
    if (sim->healed)
        return;
    enum sim_fault fault = (enum sim_fault)sim_below(sim, SIM_FAULT_COUNT);
    if (sim_strikes(sim, fault))
        strike(sim, fault);
    sim_at(sim, sim->now_us + sim_between(sim, 1, sim->profile.chaos_every_us * 2), chaos_event, NULL, 0);
}

#define RECOVERY_US (5 * US_PER_S) /* after an outage the calls are back (a probe every 3 s) */
#define RECOVERY_LATE_US                                                                                     \
    (15 * US_PER_S) /* where the last answer asked for time, or none came until its timeout */

/* Whoever has something to call with has found out that the API is back. */
static void recovery_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)arg;
    (void)stamp;
    for (int w = 0; w < sim->worker_count; w++) {
        struct pipeline_status status;
        if (!sim->lives[w])
            continue;
        pipeline_status(sim->lives[w]->pipeline, &status);
        bool waits = status.has_oldest && sim->now_us - status.oldest_since.us > RECOVERY_US &&
                     !status.waiting_claim; /* those have nothing to call with yet */
        if (waits && !sim_gate_is_open(sim->lives[w], "upsert"))
            sim_fail(sim, "P4.recovery", sim_whom_worker(w),
                     "the API has been back for %lld ms, and worker %d with %zu events has not found out",
                     (long long)((sim->now_us - sim->profile.heal_us) / US_PER_MS), w, status.deliveries);
    }
}

static void heal_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)arg;
    (void)stamp;
    SIM_TRACE(sim, SIM_WHOM_ALL, "from here on all is well");
    sim->healed = true;
    bool asks_time = sim->api_away_how == SIM_AWAY_THROTTLED || sim->api_away_how == SIM_AWAY_UNSURE;
    if (sim->profile.kind == SIM_OUTAGE && !sim->profile.lookup_outage)
        sim_at(sim, sim->now_us + (asks_time ? RECOVERY_LATE_US : RECOVERY_US), recovery_event, NULL, 0);
    sim->ledger_away_until_us = sim->api_away_until_us = sim->lookup_away_until_us = 0;
    sim->unpaid_until_us = sim->provider_until_us = sim->storm_until_us = 0;
    if (sim->known >> SIM_OPERATOR &
        1) { /* in the morning; whoever is not sure that it worked does it again */
        sim_rows_replay(sim, true);
        if (sim_chance(sim, 5000))
            sim_rows_replay(sim, true);
    }
}

void sim_chaos_start(struct sim *sim)
{
    sim_at(sim, sim->profile.heal_us, heal_event, NULL, 0);
    sim_at(sim, sim_between(sim, 1, sim->profile.chaos_every_us), chaos_event, NULL, 0);
    if (sim->profile.lookup_outage) {
        sim->lookup_away_until_us = sim->profile.heal_us;
        sim->lookup_away_how = (enum sim_away)sim_below(sim, SIM_AWAY_LOST + 1);
    } else if (sim->profile.kind == SIM_SIEGE || sim->profile.kind == SIM_OUTAGE) {
        sim->api_away_until_us = sim->profile.heal_us;
        sim->api_away_how =
            sim->profile.kind == SIM_SIEGE ? SIM_AWAY_UNSURE : (enum sim_away)sim_below(sim, SIM_AWAY_COUNT);
    }
}
