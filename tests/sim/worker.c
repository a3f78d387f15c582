/* The lives of the workers: when the core is ticked, and how it dies, sleeps and is shut down. */
#include "parts.h"

#include "signup/core/delivery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_TICKS_MAX 100 /* idle ones within one virtual second: more is a busy loop */
#define DRAIN_LIMIT_US (10 * US_PER_S)

/* ---- the observer: for traces, and for who is in work */

static void observe(void *ctx, const struct observation *seen)
{
    struct sim_life *life = ctx;
    struct sim *sim = life->sim;
    if (sim->profile.watch_lanes)
        sim_lanes_observe(life, seen);
    if (seen->what == OBSERVED_MOVE && seen->delivery && strcmp(seen->to, "VALIDATING") == 0)
        sim_lookup_named(life, seen->delivery);
    if (!sim->options->trace)
        return;
    const struct sim_record *record =
        seen->delivery ? sim_record_find(sim, delivery_record(seen->delivery)) : NULL;
    struct sim_whom whom = sim_whom_record(record, life->worker);
    const char *id = record ? record->position : "";
    switch (seen->what) {
    case OBSERVED_MOVE:
        SIM_TRACE(sim, whom, "w%d.%d   %s: %s -> %s", life->worker, life->number, id, seen->from, seen->to);
        break;
    case OBSERVED_SETTLED:
        SIM_TRACE(sim, whom, "w%d.%d   %s is finished: %s %s", life->worker, life->number, id, seen->text,
                  seen->detail);
        break;
    case OBSERVED_WAIT:
        SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d   waits: %s %s", life->worker, life->number,
                  seen->text, seen->detail);
        break;
    case OBSERVED_RESUME:
        SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d   goes on: %s", life->worker, life->number,
                  seen->text);
        break;
    }
}

static const struct observer_port observer_port = {.observe = observe};

/* ---- the completion contract */

void sim_under_way(struct sim_life *life, const void *op, const char *what)
{
    for (int i = 0; i < life->under_way_count; i++) {
        if (life->under_way[i] == op)
            sim_fail(life->sim, "I3.reuse", sim_whom_worker(life->worker),
                     "a %s is submitted again before its completion", what);
    }
    if (life->under_way_count == (int)(sizeof life->under_way / sizeof life->under_way[0]))
        sim_fail(life->sim, "P5.operations", sim_whom_worker(life->worker), "too many operations under way");
    life->under_way[life->under_way_count++] = op;
}

void sim_not_under_way(struct sim_life *life, const void *op)
{
    for (int i = 0; i < life->under_way_count; i++) {
        if (life->under_way[i] == op) {
            life->under_way[i] = life->under_way[--life->under_way_count];
            return;
        }
    }
    sim_fail(life->sim, "world", sim_whom_worker(life->worker), "an operation is completed twice");
}

/* ---- dying and sleeping */

void sim_core_enter(struct sim_life *life)
{
    life->in_core = true;
}

bool sim_core_left(struct sim_life *life)
{
    life->in_core = false;
    if (life->crash_due && !life->dead)
        sim_life_crash(life->sim, life);
    return life->dead;
}

bool sim_life_step(struct sim_life *life, enum sim_step step)
{
    struct sim *sim = life->sim;
    if (life->crash_due)
        return false;
    life->core_steps++;
    if (sim->healed || life->closing)
        return true;
    int nth = ++sim->steps[step];
    if (sim_strikes(sim, SIM_CRASH)) {
        bool planned = sim->profile.crash_kind == (int)step && nth == sim->profile.crash_nth;
        if (planned || sim_chance(sim, sim->profile.crash_step))
            life->crash_due = true;
    }
    /* Dying just before the step keeps it in, dying just after lets it out. */
    return !life->crash_due || sim_chance(sim, 5000);
}

bool sim_life_asleep(struct sim *sim, struct sim_life *life, sim_fn fn, void *arg, uint32_t stamp)
{
    if (life->stalled_until_us <= sim->now_us)
        return false;
    int64_t at = life->stalled_until_us;
    if (at <= life->deferred_last_us)
        at = life->deferred_last_us + 1;
    life->deferred_last_us = at;
    if (life->done_last_us < at)
        life->done_last_us = at;
    sim_at(sim, at, fn, arg, stamp);
    return true;
}

static void restart_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)arg;
    if (!sim->lives[stamp] && !sim->finished)
        sim_life_start(sim, (int)stamp);
}

static void session_over_event(struct sim *sim, void *arg, uint32_t stamp)
{
    struct sim_life *life = arg;
    (void)stamp;
    if (life->dead || (life->stalled_until_us > sim->now_us && life->in_group))
        sim_group_remove(sim, life, !life->dead);
}

/* Everything under way ends for the core, as when its adapters close; then it is gone. */
static void life_close(struct sim *sim, struct sim_life *life)
{
    life->closing = true;
    life->crash_due = true; /* the ports are closed */
    sim_ledger_drop(sim, life, true);
    sim_api_drop(sim, life);
    sim_letters_drop(sim, life);
    sim_outcomes_drop(sim, life);
    sim_source_drop(sim, life);
    life->dead = true;
    pipeline_destroy(life->pipeline);
    life->pipeline = NULL;
    sim->lives[life->worker] = NULL;
}

void sim_life_crash(struct sim *sim, struct sim_life *life)
{
    SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d DIES", life->worker, life->number);
    sim->totals.crashes++;
    life_close(sim, life);
    bool noticed = sim_chance(sim, 4000); /* the connection's end is the end of the membership, sometimes */
    sim_at(sim, sim->now_us + (noticed ? 1 : sim->profile.session_us), session_over_event, life, 0);
    sim_at(sim, sim->now_us + sim_between(sim, 1, 3 * US_PER_S), restart_event, NULL, (uint32_t)life->worker);
}

void sim_life_end(struct sim *sim, struct sim_life *life)
{
    life_close(sim, life);
}

void sim_life_stall(struct sim *sim, struct sim_life *life, int64_t for_us)
{
    SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d stands still for %lld ms", life->worker,
              life->number, (long long)(for_us / US_PER_MS));
    sim->totals.stalls++;
    life->stalled_until_us = sim->now_us + for_us;
    if (for_us > sim->profile.session_us)
        sim_at(sim, sim->now_us + sim->profile.session_us, session_over_event, life, 0);
}

/* ---- ticking */

static void tick_event(struct sim *sim, void *arg, uint32_t stamp);

static void timer_event(struct sim *sim, void *arg, uint32_t stamp)
{
    struct sim_life *life = arg;
    if (life->dead || stamp != life->timer_stamp)
        return;
    if (!life->tick_scheduled) {
        life->tick_scheduled = true;
        tick_event(sim, life, 0);
    }
}

/* Timers are late by up to a millisecond, as real ones. */
static void timer_set(struct sim *sim, struct sim_life *life)
{
    mono_us_t due = pipeline_next_due(life->pipeline);
    if (due.us == MONO_NEVER.us)
        return;
    int64_t at = due.us < sim->now_us ? sim->now_us : due.us;
    sim_at(sim, at + sim_between(sim, 1, US_PER_MS), timer_event, life, ++life->timer_stamp);
}

static void leave_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)stamp;
    struct sim_life *life = arg;
    if (life->dead)
        return;
    SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d leaves", life->worker, life->number);
    sim_group_remove(sim, life, false);
    life_close(sim, life);
    sim_at(sim, sim->now_us + sim_between(sim, 1, 2 * US_PER_S), restart_event, NULL, (uint32_t)life->worker);
}

/* A tick that only the clock asked for and that did nothing is an idle one. */
static void idle_count(struct sim *sim, struct sim_life *life, bool asked, uint64_t steps_before)
{
    if (sim->now_us - life->idle_from_us > US_PER_S) {
        life->idle_from_us = sim->now_us;
        life->idle_ticks = 0;
    }
    if (!asked && life->core_steps == steps_before && ++life->idle_ticks > IDLE_TICKS_MAX)
        sim_fail(sim, "P5.busy", sim_whom_worker(life->worker),
                 "the core has wanted %d ticks within a second and done nothing in them: a busy loop",
                 life->idle_ticks);
}

static void tick_event(struct sim *sim, void *arg, uint32_t stamp)
{
    struct sim_life *life = arg;
    if (life->dead || sim_life_asleep(sim, life, tick_event, life, stamp))
        return;
    life->tick_scheduled = false;
    bool asked = pipeline_wants_tick(life->pipeline);
    uint64_t steps_before = life->core_steps;
    sim->totals.ticks++;
    life->ticks++;
    sim_budget_tick(sim, life);
    sim_core_enter(life);
    pipeline_tick(life->pipeline, (mono_us_t){sim->now_us},
                  (wall_us_t){sim->wall_base_us + sim->now_us + life->wall_jump_us});
    if (sim_core_left(life))
        return;
    idle_count(sim, life, asked, steps_before);
    sim_check_tick(sim, life);
    if (life->draining && pipeline_drained(life->pipeline)) {
        sim_check_drained(sim, life);
        leave_event(sim, life, 0);
        return;
    }
    if (pipeline_wants_tick(life->pipeline))
        sim_life_touch(sim, life);
    timer_set(sim, life);
}

void sim_life_touch(struct sim *sim, struct sim_life *life)
{
    if (life->dead || life->tick_scheduled || !pipeline_wants_tick(life->pipeline))
        return;
    life->tick_scheduled = true;
    int64_t late = sim_chance(sim, sim->profile.lazy_tick) ? sim_between(sim, 1, 3 * US_PER_MS) : 0;
    sim_at(sim, sim->now_us + late, tick_event, life, 0);
}

void sim_life_drain(struct sim *sim, struct sim_life *life)
{
    SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d is to shut down", life->worker, life->number);
    life->draining = true;
    sim_core_enter(life);
    pipeline_drain(life->pipeline);
    if (sim_core_left(life))
        return;
    sim_life_touch(sim, life);
    sim_at(sim, sim->now_us + DRAIN_LIMIT_US, leave_event, life, 0);
}

struct sim_life *sim_life_start(struct sim *sim, int worker)
{
    struct sim_life *life = sim_alloc(sim, sizeof *life);
    life->sim = sim;
    life->worker = worker;
    life->number = ++sim->life_count;
    life->stopped_us = life->unpaid_us = life->fused_us = -1;
    life->lookup_stopped_us = life->unpaid_last_us = -1;
    life->config = sim->base;
    life->config.seed = sim_random(sim);
    life->ports = (struct ports){.source = &sim_source_port,
                                 .source_ctx = life,
                                 .ledger = &sim_ledger_port,
                                 .ledger_ctx = life,
                                 .contacts = &sim_contacts_port,
                                 .contacts_ctx = life,
                                 .dead_letter = &sim_letters_port,
                                 .dead_letter_ctx = life,
                                 .outcomes = sim->profile.outcomes ? &sim_outcomes_port : NULL,
                                 .outcomes_ctx = life,
                                 .observer = &observer_port,
                                 .observer_ctx = life};
    if (!sim->options->trace && !sim->profile.watch_lanes && !(sim->known >> SIM_GATE & 1))
        life->ports.observer = NULL;
    life->pipeline = pipeline_create(&life->config, &life->ports);
    if (!life->pipeline)
        abort();
    sim->lives[worker] = life;
    SIM_TRACE(sim, sim_whom_worker(worker), "w%d.%d starts", worker, life->number);
    sim_group_join(sim, life);
    pipeline_poke(life->pipeline);
    sim_life_touch(sim, life);
    return life;
}
