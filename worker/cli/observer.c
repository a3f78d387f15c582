/* What the core does, as log lines and as the call histogram: debug for moves, a line for whatever a person should know. */
#include "observer.h"

#include "signup/base/log.h"
#include "signup/core/delivery.h"
#include "signup/ops/metrics.h"

#include <string.h>

static struct metrics_histogram calls; /* one service a process */

const struct metrics_histogram *observer_calls(void)
{
    return &calls;
}

static void log_move(const struct observation *seen)
{
    const struct signup *signup = delivery_signup(seen->delivery);
    LOG_AT(LOG_DEBUG, "pipeline", "moved", LOG_SLICE("event_id", signup->event_id), LOG_STR("from", seen->from),
           LOG_STR("to", seen->to), LOG_SLICE("at", signup->position));
}

static void log_settled(const struct observation *seen)
{
    const struct signup *signup = delivery_signup(seen->delivery);
    const struct outcome *outcome = delivery_outcome(seen->delivery);
    bool dead = strcmp(seen->text, "dead") == 0;
    LOG_AT(dead ? LOG_INFO : LOG_DEBUG, "pipeline", dead ? "an event is dead" : "an event is finished",
           LOG_SLICE("event_id", signup->event_id), LOG_STR("fate", seen->text), LOG_SLICE("at", signup->position),
           LOG_PHONE("phone", signup->phone_number), LOG_STR("code", seen->detail),
           LOG_NUM("status", outcome ? outcome->http_status : 0), LOG_NUM("attempts", delivery_attempts(seen->delivery)),
           LOG_STR("reason", dead && outcome ? outcome->message : ""), LOG_NUM("took_ms", seen->number / US_PER_MS));
}

static void log_wait(const struct observation *seen)
{
    if (strcmp(seen->text, "upsert") == 0)
        LOG_AT(LOG_WARN, "contacts",
               "the contacts API fails for everybody: intake pauses, one probe at a time (at most one a second), no event "
               "is given up meanwhile",
               LOG_STR("why", seen->detail));
    else
        LOG_AT(LOG_WARN, "kafka", "dead letters wait in the ledger and are published later", LOG_STR("why", seen->detail));
}

static void log_resume(const struct observation *seen)
{
    LOG_AT(LOG_INFO, strcmp(seen->text, "upsert") == 0 ? "contacts" : "kafka",
           strcmp(seen->text, "upsert") == 0 ? "the contacts API answers again" : "dead letters are published again",
           LOG_NUM("away_ms", seen->number / US_PER_MS));
}

static void observe(void *ctx, const struct observation *seen)
{
    (void)ctx;
    switch (seen->what) {
    case OBSERVED_MOVE:
        if (seen->from[0] == 'C' && strcmp(seen->from, "CALLING") == 0 && delivery_outcome(seen->delivery))
            metrics_observe_call(&calls, delivery_outcome(seen->delivery)->duration_us);
        if (log_enabled(LOG_DEBUG))
            log_move(seen);
        break;
    case OBSERVED_SETTLED:
        log_settled(seen);
        break;
    case OBSERVED_WAIT:
        log_wait(seen);
        break;
    case OBSERVED_RESUME:
        log_resume(seen);
        break;
    }
}

const struct observer_port *observer_port(void)
{
    static const struct observer_port port = {.observe = observe};
    return &port;
}
