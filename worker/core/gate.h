/* Admission control of one route: credits whose number adapts, an optional rate, a time before which nothing goes, and a breaker with
 * half-open probes. Pure. */
#ifndef SIGNUP_CORE_GATE_H
#define SIGNUP_CORE_GATE_H

#include "signup/base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GATE_RING 16          /* results looked at */
#define GATE_DISTINCT_MIN 4   /* a breaker opens on failures of at least so many different events: one event's bad luck is its own */
#define GATE_PROBE_MIN_US (INT64_C(1) * US_PER_S) /* a probe at most once a second */
#define GATE_PROBE_MAX_US (INT64_C(3) * US_PER_S) /* and at least so often: recovery within 5 s of the return */
#define GATE_BURST_US (100 * US_PER_MS)           /* a rate is kept over this time: within it calls may bunch */

enum gate_state { GATE_CLOSED_OK, GATE_BROKEN, GATE_PROBING };

struct gate {
    const char *route;
    size_t in_flight;
    enum gate_state state;     /* GATE_CLOSED_OK: calls flow (the breaker's circuit is closed) */
    mono_us_t held_until;      /* throttled: the server's wish, kept whatever the breaker does */
    mono_us_t next_probe;      /* while broken */
    mono_us_t since;           /* of the present trouble */
    uint64_t troubles;         /* how often it has opened: names the present trouble */
    char why[96];
    unsigned probes_failed;
    /* the last results: who failed in a systemic way; 0 = a sound answer */
    uint64_t ring[GATE_RING];
    size_t ring_used, ring_next;

    /* Adaptive concurrency: as congestion control of TCP does it. */
    size_t limit_max;
    size_t limit;              /* 1 to limit_max */
    size_t threshold;          /* below it the limit doubles with each round of answers, above it grows by one */
    size_t grown;              /* sound answers since it last grew */
    int64_t latency_us;        /* moving average; 0: none known */
    int64_t latency_floor_us;  /* what the route can do: a minimum that forgets slowly */
    mono_us_t shrunk_at;

    int64_t pace_us;           /* between two admissions; 0: no rate */
    mono_us_t pace_next;       /* theoretical arrival of the next one (GCRA) */
};

enum gate_result {
    GATE_SOUND,     /* the route works: an answer that speaks of the event */
    GATE_THROTTLED, /* it works, and asks for less (429) */
    GATE_FAILED,    /* systemic: speaks of the route */
    GATE_STOPPED,   /* systemic for certain (key, billing of all, redirect, fuse): opens at once */
    GATE_SILENT     /* says nothing of this route: the credit comes back, a probe is to be repeated */
};

struct gate_report {
    bool probe;            /* as gate_enter() said */
    enum gate_result result;
    uint64_t who;          /* names the event; non-zero */
    const char *why;
    int64_t wait_us;       /* the server's own wish (Retry-After, billing's step); 0: none */
    int64_t duration_us;   /* of the call; 0: not measured */
};

/* `rate` a second; 0: no limit. */
void gate_init(struct gate *gate, const char *route, size_t limit_max, int64_t rate);

/* May one more go now? In a broken gate: only the probe. */
bool gate_admits(const struct gate *gate, mono_us_t now);
/* Takes a credit. Gives true when this one is the probe. */
bool gate_enter(struct gate *gate, mono_us_t now);
/* Gives the credit back with what was learnt. Gives +1 when the gate opened by it, -1 when it closed, 0 else. */
int gate_leave(struct gate *gate, const struct gate_report *report, mono_us_t now);
/* Slows the whole route: nothing goes before `until` (429). */
void gate_hold_until(struct gate *gate, mono_us_t until);
/* The next probe need not wait for its time. */
void gate_probe_now(struct gate *gate);
bool gate_is_open(const struct gate *gate);
/* When gate_admits() may turn true by time alone; MONO_NEVER when only a returning credit can. */
mono_us_t gate_next(const struct gate *gate, mono_us_t now);

/* The rate alone, for routes whose other rules are their own (statements, letters). */
bool gate_pace_admits(const struct gate *gate, mono_us_t now);
void gate_pace_spend(struct gate *gate, size_t count, mono_us_t now);
/* When gate_pace_admits() turns true; never later than needed. */
mono_us_t gate_pace_next(const struct gate *gate);

#endif
