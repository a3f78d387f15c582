/* Gate of a route. The breaker opens when the latest results are all systemic and speak of several events; then one probe at a time. The
 * number of credits grows while the latency holds, is halved when the server asks for less, and starts low after a breaker. */
#include "gate.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define OPEN_AFTER 10 /* systemic failures in a row */
#define LOW_SHARE 16  /* of the credits: with how many a route begins again after a breaker */
#define LATENCY_SLACK_US (20 * US_PER_MS) /* noise that does not stop the growth */
#define SHRINK_PAUSE_MIN_US (200 * US_PER_MS)

void gate_init(struct gate *gate, const char *route, size_t limit_max, int64_t rate)
{
    assert(limit_max > 0 && rate >= 0);
    *gate = (struct gate){.route = route,
                          .limit_max = limit_max,
                          .limit = limit_max,
                          .threshold = limit_max,
                          .pace_us = rate ? (US_PER_S + rate - 1) / rate : 0};
}

/* ---- rate: the generic cell rate algorithm, one number of state */

bool gate_pace_admits(const struct gate *gate, mono_us_t now)
{
    return !gate->pace_us || mono_reached(now, gate_pace_next(gate));
}

void gate_pace_spend(struct gate *gate, size_t count, mono_us_t now)
{
    if (!gate->pace_us)
        return;
    if (gate->pace_next.us < now.us)
        gate->pace_next = now;
    gate->pace_next = mono_add(gate->pace_next, gate->pace_us * (int64_t)count);
}

mono_us_t gate_pace_next(const struct gate *gate)
{
    return (mono_us_t){gate->pace_next.us - (gate->pace_us < GATE_BURST_US ? GATE_BURST_US : 0)};
}

/* ---- adaptive concurrency */

static void learn_latency(struct gate *gate, int64_t duration_us)
{
    if (duration_us <= 0)
        return;
    if (!gate->latency_us)
        gate->latency_us = gate->latency_floor_us = duration_us;
    gate->latency_us += (duration_us - gate->latency_us) / 16;
    if (duration_us < gate->latency_floor_us)
        gate->latency_floor_us = duration_us;
    else
        gate->latency_floor_us += (duration_us - gate->latency_floor_us) / 1024;
}

static void grow(struct gate *gate)
{
    if (gate->limit >= gate->limit_max || gate->latency_us > gate->latency_floor_us * 2 + LATENCY_SLACK_US)
        return;
    gate->grown++;
    if (gate->limit >= gate->threshold && gate->grown < gate->limit)
        return;
    gate->limit++;
    gate->grown = 0;
}

/* Once a round trip: the answers of one burst all say the same. */
static void shrink(struct gate *gate, mono_us_t now)
{
    int64_t pause = gate->latency_us > SHRINK_PAUSE_MIN_US ? gate->latency_us : SHRINK_PAUSE_MIN_US;
    if (gate->shrunk_at.us && !mono_reached(now, mono_add(gate->shrunk_at, pause)))
        return;
    gate->shrunk_at = now;
    gate->limit = gate->limit > 1 ? gate->limit / 2 : 1;
    gate->threshold = gate->limit;
    gate->grown = 0;
}

static void begin_low(struct gate *gate)
{
    gate->limit = gate->limit_max > LOW_SHARE ? gate->limit_max / LOW_SHARE : 1;
    gate->threshold = gate->limit_max;
    gate->grown = 0;
}

/* ---- the breaker */

bool gate_is_open(const struct gate *gate)
{
    return gate->state == GATE_CLOSED_OK;
}

bool gate_admits(const struct gate *gate, mono_us_t now)
{
    if (!mono_reached(now, gate->held_until) || !gate_pace_admits(gate, now))
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
    gate_pace_spend(gate, 1, now);
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
    begin_low(gate);
}

static bool is_sound(enum gate_result result)
{
    return result == GATE_SOUND || result == GATE_THROTTLED;
}

/* A straggler that was let in before the break says nothing new, unless it says that the route works. */
static int leave_broken(struct gate *gate, const struct gate_report *report, mono_us_t now)
{
    if (is_sound(report->result)) {
        gate_mend(gate);
        return -1;
    }
    if (!report->probe)
        return 0;
    if (report->result == GATE_SILENT) {
        gate->state = GATE_BROKEN;
        gate->next_probe = mono_add(now, GATE_PROBE_MIN_US);
        return 0;
    }
    gate->probes_failed++;
    gate_break(gate, report->why, report->wait_us, now);
    return 0;
}

int gate_leave(struct gate *gate, const struct gate_report *report, mono_us_t now)
{
    assert(gate->in_flight > 0);
    gate->in_flight--;
    if (gate->state != GATE_CLOSED_OK)
        return leave_broken(gate, report, now);
    if (report->result == GATE_SILENT)
        return 0;
    ring_put(gate, is_sound(report->result) ? 0 : report->who);
    if (report->result == GATE_SOUND) {
        learn_latency(gate, report->duration_us);
        grow(gate);
    } else if (report->result == GATE_THROTTLED) {
        shrink(gate, now);
    }
    if (report->result == GATE_STOPPED || (report->result == GATE_FAILED && ring_says_broken(gate))) {
        gate->since = now;
        gate->troubles++;
        gate->probes_failed = 0;
        gate_break(gate, report->why, report->wait_us, now);
        return 1;
    }
    return 0;
}

void gate_hold_until(struct gate *gate, mono_us_t until)
{
    if (until.us > gate->held_until.us)
        gate->held_until = until;
}

void gate_probe_now(struct gate *gate)
{
    gate->next_probe = (mono_us_t){0};
    gate->probes_failed = 0;
}

mono_us_t gate_next(const struct gate *gate, mono_us_t now)
{
    if (gate->state == GATE_PROBING || (gate->state == GATE_CLOSED_OK && gate->in_flight >= gate->limit))
        return MONO_NEVER;
    mono_us_t next = gate->held_until;
    if (gate->pace_us && gate_pace_next(gate).us > next.us)
        next = gate_pace_next(gate);
    if (gate->state == GATE_BROKEN && gate->next_probe.us > next.us)
        next = gate->next_probe;
    return mono_reached(now, next) ? now : next;
}
