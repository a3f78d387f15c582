/* One seed from beginning to end: what it is like, its troubles, the healing, and reading everything once
 * more. */
#include "sim.h"

#include <string.h>

#define QUIET_EVERY_US (200 * US_PER_MS)
#define QUIET_LIMIT_US (240 * US_PER_S)

static int one_of(struct sim *sim, const int *values, int count)
{
    return values[sim_below(sim, count)];
}
#define ONE_OF(sim, ...)                                                                                     \
    one_of(sim, (const int[]){__VA_ARGS__}, (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))

static void profile_make(struct sim *sim)
{
    struct sim_profile *p = &sim->profile;
    for (int fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        bool rare = fault == SIM_POISON || fault == SIM_PARKED || fault == SIM_MEMORY;
        if (sim_chance(sim, rare ? 1500 : 5000))
            sim->known |= UINT32_C(1) << fault;
    }
    if (sim_chance(sim, 500))
        sim->known = 0; /* a fine day */
    sim->known &= ~sim->options->without;
    p->crash_step = ONE_OF(sim, 0, 5, 20, 100);
    p->crash_kind = sim_below(sim, SIM_STEP_COUNT);
    p->crash_nth = 1 + sim_below(sim, sim_chance(sim, 5000) ? 4 : 30);
    p->chaos_every_us = ONE_OF(sim, 50, 200, 800) * (int)US_PER_MS;
    p->commit_fail = ONE_OF(sim, 300, 2000, 6000);
    p->ledger_fail = ONE_OF(sim, 100, 500, 3000);
    p->ledger_slow = ONE_OF(sim, 0, 0, 100, 1000);
    p->api_fault = ONE_OF(sim, 300, 1500, 6000);
    p->api_ambiguous = ONE_OF(sim, 300, 1500, 6000);
    p->api_slow = ONE_OF(sim, 0, 0, 200, 3000);
    p->api_away_submit = ONE_OF(sim, 0, 0, 100);
    p->letters_fail = ONE_OF(sim, 500, 3000);
    p->lazy_tick = ONE_OF(sim, 0, 2000, 8000);
    p->session_us = sim_between(sim, 1, 6) * US_PER_S;
    p->rebalance_us = sim_between(sim, 100 * US_PER_MS, 5 * US_PER_S);
    p->traffic_us = sim_between(sim, 100 * US_PER_MS, 6 * US_PER_S);
    p->heal_us = p->traffic_us + sim_between(sim, US_PER_S, 20 * US_PER_S);
    p->reread = sim_chance(sim, 2500);
    p->siege = sim_strikes(sim, SIM_AMBIGUOUS) && sim_chance(sim, 100);
    if (p->siege) {
        p->heal_us = sim_between(sim, 3, 10) * 60 * US_PER_S;
        p->chaos_every_us = 10 * (int)US_PER_S;
    }
}

static void config_make(struct sim *sim)
{
    struct pipeline_config *c = &sim->base;
    pipeline_config_defaults(c);
    c->rules = (struct event_rules){.country = "US",
                                    .use_journeys = true,
                                    .skip_journey_if_exists = true,
                                    .topics = sim->topic_names,
                                    .topic_count = (size_t)sim->topic_count};
    c->max_in_flight = (size_t)ONE_OF(sim, 1, 2, 4, 16, 256);
    c->batch_max = (size_t)ONE_OF(sim, 1, 3, 10, 500);
    c->window_slots_max = sim_chance(sim, 3000) ? (size_t)sim_between(sim, 2, 20) : c->window_slots_max;
    c->call_timeout_us = sim_between(sim, US_PER_S, 4 * US_PER_S);
    c->lease_us = c->call_timeout_us + sim_between(sim, US_PER_S, 6 * US_PER_S);
    c->backoff_base_us = sim_between(sim, US_PER_MS, 200 * US_PER_MS);
    c->backoff_cap_us = c->backoff_base_us * sim_between(sim, 1, 25);
    if (sim->profile.siege)
        c->backoff_cap_us = 200 * US_PER_MS;
    c->commit_interval_us = sim_between(sim, 50 * US_PER_MS, US_PER_S);
    c->revoke_drain_us = sim_between(sim, 100 * US_PER_MS, 3 * US_PER_S);
    c->outbox_interval_us = sim_between(sim, US_PER_S, 10 * US_PER_S);
    c->retry_after_cap_us = sim_between(sim, US_PER_S, 5 * US_PER_S);
    c->memory_bytes = (size_t)16 << 20;
    if (sim_strikes(sim, SIM_MEMORY))
        c->memory_bytes = (size_t)sim_between(sim, 16, 96) * 1024;
}

/* ---- troubles that strike by themselves */

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

static void api_outage(struct sim *sim)
{
    if (sim->profile.siege)
        return;
    sim->api_away_until_us = sim->now_us + sim_between(sim, 100 * US_PER_MS, 10 * US_PER_S);
    sim->api_away_how =
        sim_below(sim, sim_strikes(sim, SIM_AMBIGUOUS) ? SIM_AWAY_UNSURE + 1 : SIM_AWAY_UNSURE);
    SIM_TRACE(sim, SIM_WHOM_ALL, "api: refuses all until %lld ms",
              (long long)(sim->api_away_until_us / US_PER_MS));
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

static void heal_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)arg;
    (void)stamp;
    SIM_TRACE(sim, SIM_WHOM_ALL, "from here on all is well");
    sim->healed = true;
    sim->ledger_away_until_us = sim->api_away_until_us = 0;
}

/* ---- the run */

static bool run_until_quiet(struct sim *sim, int64_t limit_us)
{
    int64_t look_at = sim->healed ? sim->now_us : sim->profile.heal_us;
    while (sim_step_once(sim)) {
        if (sim->now_us < look_at || !sim->healed)
            continue;
        look_at = sim->now_us + QUIET_EVERY_US;
        if (sim_is_quiet(sim))
            return true;
        if (sim->now_us > limit_us)
            return false;
    }
    return false;
}

static void lives_end(struct sim *sim)
{
    sim->finished = true;
    for (int w = 0; w < sim->worker_count; w++) {
        if (sim->lives[w])
            sim_life_end(sim, sim->lives[w]);
    }
}

static uint64_t letters_seen(const struct sim *sim)
{
    return sim->totals.letters;
}

/* A new group reads every topic from its beginning: no call, no row, no letter (design section 4). */
static void read_again(struct sim *sim)
{
    lives_end(sim);
    sim_group_reset(sim);
    sim->heap_count = 0; /* nobody hears any more of what was under way */
    sim->finished = false;
    sim->rereading = true;
    sim->worker_count = 1;
    sim->totals.rereads++;
    uint64_t rows = sim_rows_fingerprint(sim);
    uint64_t letters = letters_seen(sim);
    SIM_TRACE(sim, SIM_WHOM_ALL, "a new group reads everything again");
    sim_life_start(sim, 0);
    if (!run_until_quiet(sim, sim->now_us + QUIET_LIMIT_US))
        sim_check_stuck(sim);
    if (sim_rows_fingerprint(sim) != rows)
        sim_fail(sim, "P2.reread_rows", SIM_WHOM_ALL, "reading everything again has changed the ledger");
    if (letters_seen(sim) != letters)
        sim_fail(sim, "P2.reread_letters", SIM_WHOM_ALL,
                 "reading everything again has published dead letters again");
}

void sim_run_seed(const struct sim_options *options, struct sim_result *result)
{
    struct sim sim = {
        .options = options, .result = result, .random = options->seed * UINT64_C(0x9E3779B97F4A7C15) + 1};
    sim.wall_base_us = INT64_C(1760000000) * US_PER_S;
    profile_make(&sim);
    sim_topics_make(&sim);
    config_make(&sim);
    sim_rows_park_strangers(&sim);
    sim.worker_count = 1 + sim_below(&sim, SIM_WORKERS_MAX);
    if (options->workers_max && sim.worker_count > (int)options->workers_max)
        sim.worker_count = (int)options->workers_max;
    sim_at(&sim, sim.profile.heal_us, heal_event, NULL, 0);
    sim_at(&sim, sim_between(&sim, 1, sim.profile.chaos_every_us), chaos_event, NULL, 0);
    if (sim.profile.siege) {
        sim.api_away_until_us = sim.profile.heal_us;
        sim.api_away_how = SIM_AWAY_UNSURE;
    }
    for (int w = 0; w < sim.worker_count; w++)
        sim_life_start(&sim, w);
    if (!run_until_quiet(&sim, sim.profile.heal_us + QUIET_LIMIT_US))
        sim_check_stuck(&sim);
    sim_check_end(&sim);
    if (sim.profile.reread)
        read_again(&sim);
    lives_end(&sim);
    sim.totals.records = (uint64_t)sim.record_count;
    result->failed = false;
    result->totals = sim.totals;
    sim_fini(&sim);
}
