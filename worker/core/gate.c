/* Gate of a route. The breaker opens when the latest results are all systemic and speak of several events; then one probe at a time. */
#include "gate.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define OPEN_AFTER 10 /* systemic failures in a row */

void gate_init(struct gate *gate, const char *route, size_t limit)
{
    assert(limit > 0);
    *gate = (struct gate){.route = route, .limit = limit};
}

bool gate_is_open(const struct gate *gate)
{
    return gate->state == GATE_CLOSED_OK;
}

bool gate_admits(const struct gate *gate, mono_us_t now)
{
    if (!mono_reached(now, gate->held_until))
        return false;
    switch (gate->state) {
    case GATE_CLOSED_OK:
        return gate->in_flight < gate->limit;
    case GATE_BROKEN: /* the probe; calls from before the break may still be under way */
        return mono_reached(now, gate->next_probe);
    case GATE_PROBING:
        return false;
    }
    return false;
}

bool gate_enter(struct gate *gate, mono_us_t now)
{
    assert(gate_admits(gate, now));
    gate->in_flight++;
    if (gate->state != GATE_BROKEN)
        return false;
    gate->state = GATE_PROBING;
    return true;
}

static void ring_put(struct gate *gate, uint64_t who)
{
    gate->ring[gate->ring_next] = who;
    gate->ring_next = (gate->ring_next + 1) % GATE_RING;
    if (gate->ring_used < GATE_RING)
        gate->ring_used++;
}

/* The last OPEN_AFTER results are failures, of enough different events. */
static bool ring_says_broken(const struct gate *gate)
{
    uint64_t seen[GATE_DISTINCT_MIN];
    size_t distinct = 0;
    if (gate->ring_used < OPEN_AFTER)
        return false;
    for (size_t i = 1; i <= OPEN_AFTER; i++) {
        uint64_t who = gate->ring[(gate->ring_next + GATE_RING - i) % GATE_RING];
        if (!who)
            return false;
        bool known = false;
        for (size_t k = 0; k < distinct; k++)
            known = known || seen[k] == who;
        if (!known && distinct < GATE_DISTINCT_MIN)
            seen[distinct++] = who;
    }
    return distinct == GATE_DISTINCT_MIN;
}

static int64_t probe_pause_us(const struct gate *gate)
{
    int64_t pause = GATE_PROBE_MIN_US;
    for (unsigned i = 0; i < gate->probes_failed && pause < GATE_PROBE_MAX_US; i++)
        pause *= 2;
    return pause > GATE_PROBE_MAX_US ? GATE_PROBE_MAX_US : pause;
}

static void gate_break(struct gate *gate, const char *why, int64_t wait_us, mono_us_t now)
{
    int64_t pause = probe_pause_us(gate);
    gate->state = GATE_BROKEN;
    gate->next_probe = mono_add(now, wait_us > pause ? wait_us : pause);
    snprintf(gate->why, sizeof gate->why, "%s", why);
}

static void gate_mend(struct gate *gate)
{
    gate->state = GATE_CLOSED_OK;
    gate->probes_failed = 0;
    gate->ring_used = gate->ring_next = 0;
    gate->why[0] = '\0';
}

int gate_leave(struct gate *gate, bool probe, enum gate_result result, uint64_t who, const char *why, int64_t wait_us,
               mono_us_t now)
{
    assert(gate->in_flight > 0);
    gate->in_flight--;
    if (gate->state != GATE_CLOSED_OK) {
        /* A straggler that was let in before the break says nothing new, unless it says that the route works. */
        if (result == GATE_SOUND) {
            gate_mend(gate);
            return -1;
        }
        if (probe) {
            gate->probes_failed++;
            gate_break(gate, why, wait_us, now);
        }
        return 0;
    }
    ring_put(gate, result == GATE_SOUND ? 0 : who);
    if (result == GATE_STOPPED || (result == GATE_FAILED && ring_says_broken(gate))) {
        gate->since = now;
        gate->probes_failed = 0;
        gate_break(gate, why, wait_us, now);
        return 1;
    }
    return 0;
}

void gate_hold_until(struct gate *gate, mono_us_t until)
{
    if (until.us > gate->held_until.us)
        gate->held_until = until;
}

mono_us_t gate_next(const struct gate *gate, mono_us_t now)
{
    if (gate->state == GATE_PROBING || (gate->state == GATE_CLOSED_OK && gate->in_flight >= gate->limit))
        return MONO_NEVER;
    mono_us_t next = gate->held_until;
    if (gate->state == GATE_BROKEN && gate->next_probe.us > next.us)
        next = gate->next_probe;
    return mono_reached(now, next) ? now : next;
}
