/* One seed from beginning to end: what it is like, its troubles, the healing, and reading everything once
 * more. */
#include "parts.h"

#include <string.h>

#define QUIET_EVERY_US (200 * US_PER_MS)
#define QUIET_LIMIT_US (240 * US_PER_S)

static int one_of(struct sim *sim, const int *values, int count)
{
    return values[sim_below(sim, count)];
}
#define ONE_OF(sim, ...)                                                                                     \
    one_of(sim, (const int[]){__VA_ARGS__}, (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))

#define BIT(fault) (UINT64_C(1) << SIM_##fault)

/* How often a seed knows each trouble; the others half of the time. */
static int chance_of(enum sim_fault fault)
{
    switch (fault) {
    case SIM_POISON:
    case SIM_PARKED:
    case SIM_MEMORY:
    case SIM_RATE:
    case SIM_CLOCK:
    case SIM_RESTART:
    case SIM_STORM: return 1500;
    case SIM_CURSED:
    case SIM_THROTTLE:
    case SIM_BILLING:
    case SIM_PROVIDER:
    case SIM_OPERATOR: return 2500;
    case SIM_GATE: return 7000;
    default: return 5000;
    }
}

static void known_make(struct sim *sim)
{
    for (int fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        if (sim_chance(sim, chance_of((enum sim_fault)fault)))
            sim->known |= UINT64_C(1) << fault;
    }
    if (sim_chance(sim, 500))
        sim->known = 0;         /* a fine day */
    if (!sim_chance(sim, 5000)) /* half of the worlds know nothing of these */
        sim->known &= ~(BIT(GATE) | BIT(LOOKUP) | BIT(BUDGET) | BIT(OUTCOMES));
    if (!(sim->known & BIT(GATE)))
        sim->known &= ~BIT(LOOKUP);
    if (sim->known & (BIT(BILLING) | BIT(PROVIDER)) ||
        (sim->known & BIT(BUDGET) && !(sim->known & BIT(GATE))))
        sim->known |= BIT(VALIDATE);
    sim->known &= ~sim->options->without;
}

static void chances_make(struct sim *sim)
{
    struct sim_profile *p = &sim->profile;
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
    p->api_throttle = ONE_OF(sim, 200, 1000);
    p->read_fail = ONE_OF(sim, 1000, 5000, 10000);
    p->letters_fail = ONE_OF(sim, 500, 3000);
    p->lazy_tick = ONE_OF(sim, 0, 2000, 8000);
    p->session_us = sim_between(sim, 1, 6) * US_PER_S;
    p->rebalance_us = sim_between(sim, 100 * US_PER_MS, 5 * US_PER_S);
    p->traffic_us = sim_between(sim, 100 * US_PER_MS, 6 * US_PER_S);
    p->heal_us = p->traffic_us + sim_between(sim, US_PER_S, 20 * US_PER_S);
    p->records = (int)sim_between(sim, 20, sim_chance(sim, 1500) ? 150 : 50);
    p->history = sim_strikes(sim, SIM_HISTORY) ? (int)sim_between(sim, 1, 12) : 0;
    p->lifelines = 8;
    p->reread = sim_chance(sim, 2500);
    p->watch_lanes = sim_chance(sim, 3000);
    p->outcomes = sim_strikes(sim, SIM_OUTCOMES);
    p->outcomes_fail = ONE_OF(sim, 500, 3000);
    p->lookup_fault = ONE_OF(sim, 200, 1500, 6000);
}

static enum sim_kind kind_choose(struct sim *sim)
{
    int choice = sim_below(sim, 1000);
    if (choice < 5 && sim_strikes(sim, SIM_AMBIGUOUS))
        return SIM_SIEGE;
    if (choice >= 5 && choice < 10 && !(sim->options->without & BIT(API_AWAY)))
        return SIM_OUTAGE;
    if (choice >= 10 && choice < 13 && !(sim->options->without & BIT(HISTORY)))
        return SIM_COMEBACK;
    if (choice >= 20 && choice < 25)
        return SIM_SLOW;
    return SIM_DAY;
}

static void kind_make(struct sim *sim)
{
    struct sim_profile *p = &sim->profile;
    p->kind = kind_choose(sim);
    switch (p->kind) {
    case SIM_DAY: break;
    case SIM_SIEGE:
        sim->known &= ~BIT(CURSED); /* with so many tries it would live for a day */
        p->heal_us = sim_between(sim, 3, 10) * 60 * US_PER_S;
        p->chaos_every_us = 10 * (int)US_PER_S;
        p->records = 6;
        p->history = 0;
        break;
    case SIM_OUTAGE: /* nothing else happens, but that the workers come and go */
        sim->known = (sim->known & (BIT(CRASH) | BIT(REBALANCE) | BIT(HISTORY) | BIT(TWICE) | BIT(COMMIT) |
                                    BIT(GATE) | BIT(OUTCOMES))) |
                     BIT(API_AWAY);
        p->lookup_outage = sim->known & BIT(GATE) && sim_chance(sim, 5000);
        p->heal_us = sim_between(sim, 2, sim_chance(sim, 2000) ? 120 : 15) * 60 * US_PER_S;
        p->traffic_us = p->heal_us;
        p->chaos_every_us = (int)(p->heal_us / 10);
        p->crash_step = 0;
        p->api_slow = 0;
        p->records = (int)sim_between(sim, 50, 250);
        break;
    case SIM_COMEBACK:
        sim->known &= BIT(TWICE) | BIT(VALIDATE) | BIT(COMMIT) | BIT(READ) | BIT(OUTCOMES) | BIT(GATE);
        p->records = (int)sim_between(sim, 500, 800);
        p->history = (int)sim_between(sim, 300, p->records - 150);
        p->traffic_us = US_PER_S;
        p->heal_us = 2 * US_PER_S;
        break;
    case SIM_SLOW:
        p->heal_us = sim_between(sim, 1, 30) * 60 * US_PER_S;
        p->chaos_every_us = (int)(p->heal_us / 50);
        p->crash_step = 0;
        p->records = (int)sim_between(sim, 10, 40);
        break;
    }
}

static void retries_make(struct sim *sim)
{
    struct pipeline_config *c = &sim->base;
    c->backoff_base_us = sim_between(sim, US_PER_MS, 200 * US_PER_MS);
    c->backoff_cap_us = c->backoff_base_us * sim_between(sim, 1, 25);
    if (sim->profile.kind == SIM_SIEGE) {
        c->backoff_cap_us = 200 * US_PER_MS;
        c->inline_attempts = 100000; /* all of its tries in memory */
        c->max_attempts = 1000000;
        return;
    }
    c->inline_attempts = ONE_OF(sim, 1, 2, 4, 4);
    if (sim->profile.kind == SIM_SLOW || sim->profile.kind == SIM_OUTAGE)
        return; /* what production has */
    c->park_base_us = sim_between(sim, 50 * US_PER_MS, 2 * US_PER_S);
    c->park_cap_us = c->park_base_us * sim_between(sim, 1, 5);
    c->max_attempts = ONE_OF(sim, 3, 5, 8, 30);
    c->max_age_us = sim_chance(sim, 2500) ? sim_between(sim, 5 * US_PER_S, 40 * US_PER_S) : c->max_age_us;
    c->billing_step_us = sim_between(sim, 500 * US_PER_MS, 6 * US_PER_S);
    c->retry_after_cap_us = sim_between(sim, US_PER_S, 12 * US_PER_S);
}

/* What the gate lets pass, what is remembered for how long, and what a day may cost. */
static void validation_make(struct sim *sim)
{
    static const struct slice dispositions[] = {{"ok", 2},      {"unknown", 7},      {"risky", 5},
                                                {"invalid", 7}, {"unreachable", 11}, {"spam_trap", 9}};
    static const size_t shares[] = {0, 1, 2, 2, 2, 3, 6};
    struct pipeline_config *c = &sim->base;
    c->allow = dispositions;
    c->allow_count = shares[sim_below(sim, (int)(sizeof shares / sizeof shares[0]))];
    c->tell_phone = sim_chance(sim, 5000);
    if (sim->known & BIT(GATE) && sim_chance(sim, 5000))
        c->remember_us = sim_chance(sim, 2000) ? 0 : sim_between(sim, 200 * US_PER_MS, 30 * US_PER_S);
    sim->day_us = sim_between(sim, 5, 60) * US_PER_S;
    sim->day_from_us = -sim_between(sim, 0, sim->day_us - 1);
    sim->outcomes_end = &sim->outcomes;
    if (!(sim->known & BIT(BUDGET)))
        return;
    int asked = 0; /* lookups that it needs, about */
    for (int i = 0; i < sim->content_count; i++)
        asked += sim->contents[i]->force;
    asked += sim->phone_count;
    int a_day = sim_chance(sim, 500) ? 0 : 1 + asked / (int)sim_between(sim, 1, 4);
    c->daily_budget = a_day * VALIDATION_PRICE + sim_between(sim, 0, VALIDATION_PRICE - 1);
    c->on_budget = sim_chance(sim, 6000) ? ON_BUDGET_PARK_UNTIL_TOMORROW : ON_BUDGET_WITHOUT_VALIDATION;
    c->spend_interval_us = sim_between(sim, 200 * US_PER_MS, 3 * US_PER_S);
}

static void config_make(struct sim *sim)
{
    struct pipeline_config *c = &sim->base;
    struct event_rules rules = c->rules; /* of validation: the contents were made by them */
    pipeline_config_defaults(c);
    c->rules = rules;
    c->rules.country = "US";
    c->rules.use_journeys = c->rules.skip_journey_if_exists = true;
    c->rules.topics = sim->topic_names;
    c->rules.topic_count = (size_t)sim->topic_count;
    c->max_in_flight = (size_t)ONE_OF(sim, 1, 2, 4, 16, 256);
    c->batch_max = (size_t)ONE_OF(sim, 1, 3, 10, 500);
    if (sim->profile.kind == SIM_COMEBACK) {
        c->max_in_flight = (size_t)ONE_OF(sim, 4, 8, 16);
        c->batch_max = 50;
    }
    bool small_windows =
        sim->profile.kind != SIM_COMEBACK; /* a full one keeps its fresh events from their share */
    c->window_slots_max =
        small_windows && sim_chance(sim, 3000) ? (size_t)sim_between(sim, 2, 20) : c->window_slots_max;
    c->call_timeout_us = sim_between(sim, US_PER_S, 4 * US_PER_S);
    c->lease_us = c->call_timeout_us + sim_between(sim, US_PER_S, 6 * US_PER_S);
    retries_make(sim);
    c->on_billing = (enum on_billing)ONE_OF(sim, ON_BILLING_PARK, ON_BILLING_PARK, ON_BILLING_PARK,
                                            ON_BILLING_WITHOUT_VALIDATION, ON_BILLING_DEAD);
    c->fuse = (unsigned)ONE_OF(sim, 0, 2, 3, 5, 20);
    if (sim_strikes(sim, SIM_RATE)) {
        c->rate_upsert = ONE_OF(sim, 0, 5, 20, 100);
        c->rate_validate = ONE_OF(sim, 0, 2, 10);
        c->rate_ledger = ONE_OF(sim, 0, 20, 100);
        c->rate_dead_letter = ONE_OF(sim, 0, 5, 50);
    }
    validation_make(sim);
    c->commit_interval_us = sim_between(sim, 50 * US_PER_MS, US_PER_S);
    c->revoke_drain_us = sim_between(sim, 100 * US_PER_MS, 3 * US_PER_S);
    c->outbox_interval_us = sim_between(sim, US_PER_S, 10 * US_PER_S);
    c->due_interval_us = sim_between(sim, 200 * US_PER_MS, 3 * US_PER_S);
    c->memory_bytes = (size_t)16 << 20;
    if (sim_strikes(sim, SIM_MEMORY))
        c->memory_bytes = (size_t)sim_between(sim, 48, 160) * 1024;
}

/* When everything must be over: the longest waits of the configuration, and what comes after them. */
static int64_t quiet_limit(const struct sim *sim)
{
    const struct pipeline_config *c = &sim->base;
    int64_t days = 0; /* until everybody has had its turn */
    if (c->daily_budget != BUDGET_NONE && c->daily_budget >= VALIDATION_PRICE)
        days = 3 + 2 * (sim->phone_count + sim->content_count) / (c->daily_budget / VALIDATION_PRICE);
    bool cursed = sim->cursed_count > 0; /* those are tried to the end */
    return QUIET_LIMIT_US + days * (sim->day_us + 60 * US_PER_S) +
           (cursed ? 2 * c->max_attempts : 6) * c->park_cap_us + 3 * c->billing_step_us +
           3 * c->retry_after_cap_us;
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
    if (!run_until_quiet(sim, sim->now_us + quiet_limit(sim)))
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
    known_make(&sim);
    chances_make(&sim);
    kind_make(&sim);
    sim_topics_make(&sim);
    config_make(&sim);
    sim_rows_park_strangers(&sim);
    sim_rows_park_history(&sim);
    sim.worker_count = 1 + sim_below(&sim, SIM_WORKERS_MAX);
    if (options->workers_max && sim.worker_count > (int)options->workers_max)
        sim.worker_count = (int)options->workers_max;
    sim_chaos_start(&sim);
    for (int w = 0; w < sim.worker_count; w++)
        sim_life_start(&sim, w);
    bool quiet = run_until_quiet(&sim, sim.profile.heal_us + quiet_limit(&sim));
    if (!quiet && !sim_is_cursed(&sim))
        sim_check_stuck(&sim);
    sim_check_end(&sim);
    if (quiet && sim.profile.reread && !sim_budget_starves(&sim))
        read_again(&sim);
    lives_end(&sim);
    sim.totals.records = (uint64_t)sim.record_count;
    result->failed = false;
    result->totals = sim.totals;
    sim_fini(&sim);
}
