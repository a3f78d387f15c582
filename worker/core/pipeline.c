/* The pipeline: the order of the stages, the one tick, admission and the end of a delivery.
 *
 *            parked and due, from the ledger: NEW ─> HELD ──┐
 *                                                    (lane) v
 *   take ─> NEW ─> QUEUED ─> READY ─> CLAIMING ─> ADMITTED ─> CALLING ─> RECORDABLE ─> RECORDING ─> DONE
 *                     (lane)   ^          │          ^  │         │          ^    ^         │
 *                              │          v          │  │         v          │    └─────────┤ ledger away: as it is (I8)
 *                              ├──────  WAITING      └──┼───── BACKOFF ──────┤
 *                              │   (claimed elsewhere)  └────────────────────┘ (given back, parked or dead without a call)
 *                              └──────────────── the claim was lost ────────────────────────┘
 *   READING (the contact is read back before a guarded resend) and VALIDATING (the phone is looked up first; back to ADMITTED, or dead when the
 *   gate refuses it) stand beside CALLING.
 *
 * Invariants:
 *  I1  one state, one list: delivery_move() is the only writer and knows the legal moves.
 *  I2  at most one delivery of a lane is beyond QUEUED (lane_leave() names the next).
 *  I3  an operation completes exactly once, never inside submit (ports.h); stages change state after submit has returned.
 *  I4  an offset slot completes only in pipeline_finish(answered), after its row is durable and final or parked.
 *  I5  the committed offset is the lowest incomplete delivered offset (window_watermark()).
 *  I6  no call without a live claim that outlasts it (call.c); a record is conditional on the claim's token.
 *  I7  a row is dead, durably, before its letter is published; an unpublished one is found by the sweep (relay.c).
 *  I8  after a failed record the delivery stays RECORDABLE: it never goes back to a call for that reason.
 *  I9  deliveries and windows together stay within memory_bytes, plus the record in hand; intake closes above it.
 *  I10 a delivery whose window is gone completes no slot.
 */
#include "state.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define TAKE_PER_TICK 512                   /* bounded work per tick; the rest comes with the next */
#define PAUSE_AFTER_US (500 * US_PER_MS)    /* a short choke costs nothing; a pause costs a refetch */
#define LEDGER_PAUSE_BASE_US (50 * US_PER_MS)
#define LEDGER_PAUSE_CAP_US (1 * US_PER_S)

void pipeline_config_defaults(struct pipeline_config *config)
{
    static const struct slice allow[] = {{"ok", 2}, {"unknown", 7}};
    *config = (struct pipeline_config){
        .backoff_base_us = 200 * US_PER_MS,
        .backoff_cap_us = 5 * US_PER_S,
        .inline_attempts = 4,
        .park_base_us = 60 * US_PER_S,
        .park_cap_us = 3600 * US_PER_S,
        .max_age_us = 24 * 3600 * US_PER_S,
        .max_attempts = 30,
        .billing_step_us = 3600 * US_PER_S,
        .on_billing = ON_BILLING_PARK,
        .allow = allow,
        .allow_count = sizeof allow / sizeof allow[0],
        .remember_us = INT64_C(90) * 24 * 3600 * US_PER_S,
        .daily_budget = BUDGET_NONE,
        .on_budget = ON_BUDGET_PARK_UNTIL_TOMORROW,
        .spend_interval_us = 2 * US_PER_S,
        .fuse = 20,
        .retry_after_cap_us = 15 * 60 * US_PER_S,
        .max_in_flight = 256,
        .memory_bytes = (size_t)256 << 20,
        .batch_max = 256,
        .window_slots_max = 100000,
        .lease_us = 15 * US_PER_S,
        .call_timeout_us = 10 * US_PER_S,
        .commit_interval_us = 1 * US_PER_S,
        .revoke_drain_us = 2 * US_PER_S,
        .outbox_interval_us = 5 * US_PER_S,
        .due_interval_us = 2 * US_PER_S,
    };
}

static bool batches_create(struct pipeline *pipeline)
{
    size_t size = pipeline->config.batch_max;
    bool ok = true;
    for (size_t i = 0; i < CLAIM_OPS; i++)
        ok = (pipeline->claims[i].items = calloc(size, sizeof(struct claim_item *))) && ok;
    for (size_t i = 0; i < RECORD_OPS; i++)
        ok = (pipeline->records[i].items = calloc(size, sizeof(struct record_item *))) && ok;
    return (pipeline->batch = calloc(size, sizeof(struct delivery *))) && ok;
}

static bool rules_gate_phones(const struct event_rules *rules)
{
    bool gate = rules->validation == EVENT_VALIDATION_GATE;
    for (size_t i = 0; i < rules->list_count; i++)
        gate = gate || rules->lists[i].validation == EVENT_VALIDATION_GATE;
    for (size_t i = 0; i < rules->route_count; i++)
        gate = gate || rules->routes[i].validation == EVENT_VALIDATION_GATE;
    return gate;
}

struct pipeline *pipeline_create(const struct pipeline_config *config, const struct ports *ports)
{
    assert(config->max_in_flight && config->batch_max && config->memory_bytes);
    assert(config->lease_us > config->call_timeout_us);
    struct pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (!pipeline)
        return NULL;
    pipeline->config = *config;
    pipeline->ports = *ports;
    pipeline->random.state = config->seed;
    pipeline->token_head = random_next(&pipeline->random);
    gate_init(&pipeline->upsert, "upsert", config->max_in_flight, config->rate_upsert);
    gate_init(&pipeline->validate, "validate", config->max_in_flight, config->rate_validate);
    gate_init(&pipeline->ledger_pace, "ledger", CLAIM_OPS + RECORD_OPS, config->rate_ledger);
    gate_init(&pipeline->letter_pace, "dead_letter", 1, config->rate_dead_letter);
    pipeline->admitted_next = MONO_NEVER;
    pipeline->answered_end = &pipeline->answered;
    relay_init(&pipeline->outbox, &relay_letters);
    relay_init(&pipeline->outcomes, ports->outcomes ? &relay_outcomes : NULL);
    pipeline->gates_phones = rules_gate_phones(&config->rules);
    due_init(pipeline);
    pipeline->intake_open = true;
    pipeline->intake_why = "";
    if (!batches_create(pipeline)) {
        pipeline_destroy(pipeline);
        return NULL;
    }
    event_prepare();
    return pipeline;
}

void pipeline_destroy(struct pipeline *pipeline)
{
    for (size_t state = 0; state < DELIVERY_STATE_COUNT; state++) {
        foreach_list(pipeline, state, dl, next)
        {
            if (dl->lane)
                lane_leave(pipeline, dl);
            if (dl->window)
                dl->window->references--;
            delivery_destroy(pipeline, dl);
        }
    }
    struct window *window;
    struct window *next;
    DL_FOREACH_SAFE(pipeline->windows, window, next) { window_destroy(window); }
    heap_fini(&pipeline->due);
    relay_fini(&pipeline->outbox);
    relay_fini(&pipeline->outcomes);
    phones_fini(&pipeline->phones);
    due_fini(pipeline);
    for (size_t i = 0; i < CLAIM_OPS; i++)
        free(pipeline->claims[i].items);
    for (size_t i = 0; i < RECORD_OPS; i++)
        free(pipeline->records[i].items);
    free(pipeline->batch);
    free(pipeline->lease.items);
    free(pipeline->lease_owners);
    free(pipeline->commit_items);
    free(pipeline);
}

void pipeline_observe(struct pipeline *pipeline, enum observed what, const struct delivery *dl, const char *text,
                      const char *detail, int64_t number)
{
    if (!pipeline->ports.observer)
        return;
    const struct observation seen = {
        .what = what, .delivery = dl, .from = "", .to = "", .text = text, .detail = detail, .number = number};
    pipeline->ports.observer->observe(pipeline->ports.observer_ctx, &seen);
}

/* Crash-only: what is in memory is in the topic and the ledger as well, and comes back with the next start. */
_Noreturn void out_of_memory(void)
{
    fputs("signup-worker: out of memory: stopping; nothing is lost, unfinished events are read again after the restart\n",
          stderr);
    abort();
}

/* ---- the ledger as a route */

size_t pipeline_statements(const struct pipeline *pipeline)
{
    size_t count = (size_t)pipeline->leasing + pipeline->due_box.taking + pipeline->spend.asking + relay_asks(&pipeline->outbox) +
                   relay_asks(&pipeline->outcomes);
    for (size_t i = 0; i < CLAIM_OPS; i++)
        count += pipeline->claims[i].busy;
    for (size_t i = 0; i < RECORD_OPS; i++)
        count += pipeline->records[i].busy;
    return count;
}

mono_us_t ledger_next(const struct pipeline *pipeline)
{
    mono_us_t next = pipeline->ledger_retry_at;
    if (pipeline->ledger_pace.pace_us && gate_pace_next(&pipeline->ledger_pace).us > next.us)
        next = gate_pace_next(&pipeline->ledger_pace);
    return next;
}

/* Away: one statement at a time finds out whether it is back. */
bool ledger_admits(const struct pipeline *pipeline)
{
    return mono_reached(pipeline->now, ledger_next(pipeline)) && !(pipeline->ledger_away && pipeline_statements(pipeline));
}

mono_us_t ledger_when(const struct pipeline *pipeline, mono_us_t wanted)
{
    if (pipeline->ledger_away && pipeline_statements(pipeline))
        return MONO_NEVER;
    mono_us_t next = ledger_next(pipeline);
    return next.us > wanted.us ? next : wanted;
}

void ledger_spend(struct pipeline *pipeline)
{
    gate_pace_spend(&pipeline->ledger_pace, 1, pipeline->now);
}

void ledger_failed(struct pipeline *pipeline)
{
    if (!pipeline->ledger_away) {
        pipeline->ledger_away = true;
        pipeline->ledger_away_since = pipeline->now;
        pipeline->ledger_failures = 0;
    }
    int64_t pause =
        backoff_us(&pipeline->random, LEDGER_PAUSE_BASE_US, LEDGER_PAUSE_CAP_US, pipeline->ledger_failures++);
    pipeline->ledger_retry_at = mono_add(pipeline->now, pause);
}

void ledger_learn(struct pipeline *pipeline, enum ledger_result result)
{
    if (result != LEDGER_OK) {
        ledger_failed(pipeline);
        return;
    }
    pipeline->ledger_away = false;
    pipeline->ledger_failures = 0;
    pipeline->ledger_retry_at = pipeline->now;
}

/* With nothing in memory that needs the ledger, the outbox's sweep is what finds out that it is back. */
static void ledger_probe(struct pipeline *pipeline)
{
    if (pipeline->ledger_away && ledger_admits(pipeline))
        pipeline->outbox.next_sweep = pipeline->now;
}

/* ---- a delivery's two ends */

static void admit(struct pipeline *pipeline, const struct record *record, struct window *window)
{
    struct delivery *dl = delivery_create(pipeline, record);
    if (!dl)
        out_of_memory();
    signup_read(&pipeline->config.rules, &dl->record, pipeline->wall, &dl->arena, &dl->signup);
    dl->token = token_new(pipeline);
    dl->window = window;
    window->references++;
    size_t window_bytes = window_memory(window);
    if (!window_open(window, record->offset, &dl->slot) || !lane_join(pipeline, dl))
        out_of_memory();
    pipeline->memory_bytes += window_memory(window) - window_bytes;
    delivery_count_memory(pipeline, dl);
    pipeline->counters.records++;
    delivery_move(pipeline, dl, lane_is_head(dl) ? DELIVERY_READY : DELIVERY_QUEUED);
}

#ifdef SIGNUP_PLANTED_BUGS
enum planted_bug planted_bug = PLANTED_NONE;

static void complete_in_present_window(struct pipeline *pipeline, const struct delivery *dl)
{
    struct window *window;
    DL_FOREACH(pipeline->windows, window)
    {
        if (window->state != WINDOW_ACTIVE || window->partition.partition != dl->record.partition ||
            !slice_equal(window->partition.topic, dl->record.topic))
            continue;
        for (uint64_t id = window->first; id != window->end; id++) {
            struct window_slot *slot = &window->slots[id & (window->capacity - 1)];
            slot->done = slot->done || slot->offset >= dl->record.offset;
        }
    }
}
#endif

void pipeline_finish(struct pipeline *pipeline, struct delivery *dl, bool answered, const char *fate)
{
    struct window *window = dl->window;
    if (answered && window && window->state != WINDOW_GONE && !PLANTED(COMMIT_BEFORE_RECORD))
        window_complete(window, dl->slot);
#ifdef SIGNUP_PLANTED_BUGS
    if (PLANTED(COMMIT_BEFORE_RECORD) && strcmp(fate, "settled") == 0 && window && window->state != WINDOW_GONE)
        window_complete(window, dl->slot);
    if (PLANTED(STALE_EPOCH_COMPLETES) && window && window->state == WINDOW_GONE)
        complete_in_present_window(pipeline, dl);
#endif
    if (!answered)
        pipeline->counters.abandoned++;
    pipeline_observe(pipeline, OBSERVED_SETTLED, dl, fate, dl->has_outcome ? dl->outcome.code : "",
                     pipeline->now.us - dl->admitted_at.us);
    if (window)
        window->references--;
    dl->window = NULL;
    if (dl->taken_up)
        pipeline->due_box.held--;
    spend_leave(pipeline, dl);
    struct delivery *next = lane_leave(pipeline, dl);
    delivery_move(pipeline, dl, DELIVERY_DONE);
    if (next && (next->state == DELIVERY_QUEUED || next->state == DELIVERY_HELD))
        delivery_go(pipeline, next);
}

/* ---- intake */

static size_t runnable(const struct pipeline *pipeline)
{
    return list_count(pipeline, DELIVERY_READY) + list_count(pipeline, DELIVERY_CLAIMING) +
           list_count(pipeline, DELIVERY_ADMITTED) + list_count(pipeline, DELIVERY_CALLING) +
           list_count(pipeline, DELIVERY_READING) + list_count(pipeline, DELIVERY_VALIDATING) +
           list_count(pipeline, DELIVERY_RECORDABLE) + list_count(pipeline, DELIVERY_RECORDING);
}

size_t pipeline_deliveries(const struct pipeline *pipeline)
{
    size_t count = 0;
    for (size_t state = 0; state < DELIVERY_DONE; state++)
        count += pipeline->lists[state].count;
    return count;
}

/* Enough to keep every stage busy: calls in flight, and a batch on its way in and out of the ledger. */
static size_t runnable_target(const struct pipeline *pipeline)
{
    return pipeline->config.max_in_flight * 2 + pipeline->config.batch_max * 2;
}

/* A broken gate needs an event to probe with, and not always the same: one that the API can never take well would hold the route for ever.
 * So each has its turns, after which it steps aside into the ledger (answer.c), and when nobody is left one more is let in. */
bool pipeline_can_probe(const struct pipeline *pipeline)
{
    static const enum delivery_state callers[] = {DELIVERY_ADMITTED, DELIVERY_READY,   DELIVERY_CLAIMING, DELIVERY_CALLING,
                                                  DELIVERY_READING,  DELIVERY_BACKOFF, DELIVERY_WAITING, DELIVERY_VALIDATING};
    for (size_t i = 0; i < sizeof callers / sizeof callers[0]; i++) {
        const struct delivery *dl;
        DL_FOREACH(pipeline->lists[callers[i]].head, dl)
        {
            if (dl->probed_in != pipeline_trouble(pipeline) || dl->probes < PROBES_EACH)
                return true;
        }
    }
    return false;
}

/* Why nothing may be taken now, or NULL. */
static const char *intake_obstacle(const struct pipeline *pipeline)
{
    /* Hysteresis; but with nothing left to finish no memory will come back: go on as soon as it is below the line. */
    bool was_full =
        !pipeline->intake_open && pipeline_deliveries(pipeline) && strcmp(pipeline->intake_why, "memory budget reached") == 0;
    size_t high = pipeline->config.memory_bytes;
    if (pipeline->draining)
        return "shutting down";
    if (pipeline->memory_bytes + pipeline->due_box.reserved_bytes >= (was_full ? high / 4 * 3 : high) && !PLANTED(UNBOUNDED_INTAKE))
        return "memory budget reached";
    if (pipeline->ledger_away)
        return "the ledger is away";
    if (!gate_is_open(&pipeline->upsert) && pipeline_can_probe(pipeline))
        return "the contacts API is away";
    if (runnable(pipeline) >= runnable_target(pipeline) && !PLANTED(UNBOUNDED_INTAKE))
        return "busy";
    return NULL;
}

static void intake_set(struct pipeline *pipeline, const char *obstacle)
{
    bool open = obstacle == NULL;
    if (!open && pipeline->intake_open)
        pipeline->intake_closed_at = pipeline->now;
    pipeline->intake_open = open;
    pipeline->intake_why = open ? "" : obstacle;
    bool long_closed = !open && mono_reached(pipeline->now, mono_add(pipeline->intake_closed_at, PAUSE_AFTER_US));
    if (open || long_closed)
        pipeline->source_paused = long_closed;
}

static void intake_take(struct pipeline *pipeline)
{
    struct record record;
    for (int taken = 0; taken < TAKE_PER_TICK; taken++) {
        intake_set(pipeline, intake_obstacle(pipeline));
        if (!pipeline->intake_open || pipeline->source_dry)
            return;
        if (!pipeline->ports.source->take(pipeline->ports.source_ctx, &record)) {
            pipeline->source_dry = true;
            return;
        }
        const struct partition partition = {record.topic, record.partition, record.epoch};
        struct window *window = offsets_find(pipeline, &partition);
        if (!window || window->state != WINDOW_ACTIVE || record.offset <= window->last_delivered)
            continue; /* of an assignment that is over, or given twice: whoever owns it now has it */
        admit(pipeline, &record, window);
    }
    pipeline->wants_tick = true;
}

/* ---- the tick */

static void wake_due(struct pipeline *pipeline)
{
    struct delivery *dl;
    while ((dl = heap_top(&pipeline->due)) && mono_reached(pipeline->now, dl->due))
        delivery_move(pipeline, dl, dl->state == DELIVERY_BACKOFF ? DELIVERY_ADMITTED : DELIVERY_READY);
}

static void bury(struct pipeline *pipeline)
{
    foreach_list(pipeline, DELIVERY_DONE, dl, next)
    {
        if (dl->pins)
            continue;
        DL_DELETE(pipeline->lists[DELIVERY_DONE].head, dl);
        pipeline->lists[DELIVERY_DONE].count--;
        delivery_destroy(pipeline, dl);
    }
}

void pipeline_tick(struct pipeline *pipeline, mono_us_t now, wall_us_t wall)
{
    assert(!pipeline->in_tick);
    pipeline->in_tick = true;
    pipeline->wants_tick = false;
    pipeline->now = now;
    pipeline->wall = wall;
    /* Every delivery may have to wait at once: with room made here a push never fails in a completion. */
    if (!heap_reserve(&pipeline->due, pipeline_deliveries(pipeline) + TAKE_PER_TICK))
        out_of_memory();

    calls_take_answers(pipeline);    /* the answers before everything that they make possible */
    records_take_answers(pipeline);
    claims_take_answers(pipeline);
    lease_take_answer(pipeline);
    relay_take_answer(pipeline, &pipeline->outbox);
    relay_take_answer(pipeline, &pipeline->outcomes);
    spend_take_answer(pipeline);     /* before the calls that it admits */
    due_take_answer(pipeline);
    offsets_take_answer(pipeline);
    offsets_time_revoke(pipeline);
    wake_due(pipeline);              /* before the stages that they go to */
    intake_take(pipeline);           /* before the claims, so that they share a batch */
    due_tick(pipeline);              /* beside the intake: what was parked is traffic too */
    spend_tick(pipeline);            /* before the calls: a new day opens the budget */
    call_start_all(pipeline);        /* before the flushes: the network first, it has the longest way */
    record_flush(pipeline);          /* before the claims: what is finished frees its lane's next */
    claim_flush(pipeline);           /* after the records of the same contacts were queued on the connection */
    lease_extend_all(pipeline);      /* after the calls, that need the lease of last time */
    ledger_probe(pipeline);
    relay_tick(pipeline, &pipeline->outbox);   /* after the records that made rows dead */
    relay_tick(pipeline, &pipeline->outcomes); /* and after those that are told */
    offsets_commit(pipeline);        /* after completions moved the watermarks */
    offsets_answer_revoke(pipeline); /* after the commit that it waits for */
    intake_set(pipeline, intake_obstacle(pipeline));
    offsets_pause(pipeline);         /* after all that changed the budget */
    bury(pipeline);                  /* last: nothing above points at it any more */
    offsets_bury(pipeline);
    pipeline->in_tick = false;
}

mono_us_t pipeline_next_due(const struct pipeline *pipeline)
{
    mono_us_t next = mono_earlier(offsets_next(pipeline), relay_next(pipeline, &pipeline->outbox));
    next = mono_earlier(next, relay_next(pipeline, &pipeline->outcomes));
    next = mono_earlier(next, spend_next(pipeline));
    const struct delivery *first = heap_top(&pipeline->due);
    if (first)
        next = mono_earlier(next, first->due);
    next = mono_earlier(next, lease_next(pipeline));
    next = mono_earlier(next, calls_next(pipeline));
    next = mono_earlier(next, due_next(pipeline));
    if (!mono_reached(pipeline->now, ledger_next(pipeline)))
        next = mono_earlier(next, ledger_next(pipeline));
    if (!pipeline->intake_open && !pipeline->source_paused)
        next = mono_earlier(next, mono_add(pipeline->intake_closed_at, PAUSE_AFTER_US));
    return next;
}

bool pipeline_wants_tick(const struct pipeline *pipeline)
{
    return pipeline->wants_tick;
}

void pipeline_poke(struct pipeline *pipeline)
{
    pipeline->source_dry = false;
    pipeline->wants_tick = true;
}

void pipeline_look_again(struct pipeline *pipeline)
{
    gate_probe_now(&pipeline->upsert);
    gate_probe_now(&pipeline->validate);
    pipeline->ledger_retry_at = pipeline->now;
    pipeline->outbox.next_sweep = pipeline->outcomes.next_sweep = pipeline->spend.next_look = pipeline->now;
    pipeline->due_box.next_look = pipeline->now;
    pipeline->wants_tick = true;
}

void pipeline_assign(struct pipeline *pipeline, const struct partition *partitions, size_t count)
{
    assert(!pipeline->in_tick);
    for (size_t i = 0; i < count; i++) {
        assert(!offsets_find(pipeline, &partitions[i]));
        struct window *window = window_create(&partitions[i]);
        if (!window)
            out_of_memory();
        pipeline->memory_bytes += window_memory(window);
        DL_APPEND(pipeline->windows, window);
    }
    pipeline_poke(pipeline);
}

bool pipeline_drained(const struct pipeline *pipeline)
{
    if (!pipeline->draining || pipeline_deliveries(pipeline) || pipeline->committing || pipeline->leasing ||
        pipeline->due_box.taking || pipeline->spend.asking)
        return false;
    const struct window *window;
    DL_FOREACH(pipeline->windows, window)
    {
        if (window->state != WINDOW_GONE && window_wants_commit(window))
            return false;
    }
    return relay_is_idle(&pipeline->outbox) && relay_is_idle(&pipeline->outcomes);
}
