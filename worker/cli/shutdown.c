/* The end: drain the pipeline, then let the adapters go, all within limits.shutdown, whoever hangs. */
#include "service_state.h"

#include "signup/base/crash.h"
#include "signup/base/log.h"

#include <stdio.h>
#include <unistd.h>

#define CLOSE_SHARE 4 /* a fourth of the time, at most CLOSE_MAX_US, is kept for leaving the group */
#define CLOSE_MAX_US (2 * US_PER_S)
#define GRACE_MS 250 /* beyond the deadline before the process is ended the hard way */

static int64_t close_budget_us(const struct service *service)
{
    int64_t share = service->config->limits.shutdown_us / CLOSE_SHARE;
    return share < CLOSE_MAX_US ? share : CLOSE_MAX_US;
}

/* Everything that counts is in the ledger and the topic: leaving now loses nothing. */
static void on_overdue(uv_timer_t *timer)
{
    struct service *service = timer->data;
    LOG_AT(LOG_WARN, "run", "the time for shutting down is over: leaving; what is unfinished is read again by the next worker",
           LOG_NUM("exit", service->exit_code));
    fflush(NULL);
    _exit(service->exit_code);
}

void shutdown_begin(struct service *service, const char *why)
{
    if (service->phase != SERVICE_RUNNING)
        return;
    service->phase = SERVICE_DRAINING;
    service->deadline = mono_add(clock_mono_now(), service->config->limits.shutdown_us);
    LOG_AT(LOG_INFO, "run", "shutting down: nothing new is taken, calls under way are finished and recorded",
           LOG_STR("why", why), LOG_NUM("limit_ms", service->config->limits.shutdown_us / US_PER_MS));
    pipeline_drain(service->pipeline);
    uint64_t limit_ms = (uint64_t)(service->config->limits.shutdown_us / US_PER_MS);
    int64_t drain_us = service->config->limits.shutdown_us - close_budget_us(service);
    uv_timer_start(&service->shutdown_wake, service_wake, (uint64_t)(drain_us / US_PER_MS) + 1, 0);
    uv_timer_start(&service->shutdown_timer, on_overdue, limit_ms > GRACE_MS ? limit_ms - GRACE_MS : limit_ms, 0);
}

static void everything_closed(struct service *service)
{
    backlog_stop();
    uv_close((uv_handle_t *)&service->before_poll, NULL);
    uv_close((uv_handle_t *)&service->again, NULL);
    uv_close((uv_handle_t *)&service->due, NULL);
    uv_close((uv_handle_t *)&service->shutdown_timer, NULL);
    uv_close((uv_handle_t *)&service->shutdown_wake, NULL);
    uv_close((uv_handle_t *)&service->migration_retry, NULL);
    uv_close((uv_handle_t *)&service->terminate, NULL);
    uv_close((uv_handle_t *)&service->interrupt, NULL);
    uv_close((uv_handle_t *)&service->hangup, NULL);
}

static void closed(void *ctx)
{
    struct service *service = ctx;
    if (--service->closing == 0)
        everything_closed(service);
}

static void kafka_closed(void *ctx, bool clean)
{
    struct service *service = ctx;
    service->left_behind = service->left_behind || !clean;
    closed(ctx);
}

static void adapters_close(struct service *service)
{
    service->phase = SERVICE_CLOSING; /* no tick from now on */
    uv_idle_stop(&service->again);
    uv_timer_stop(&service->due);
    int64_t left_us = service->deadline.us - clock_mono_now().us;
    int64_t budget_us = close_budget_us(service);
    int64_t close_ms = (left_us > budget_us ? budget_us : left_us > 0 ? left_us / 2 : 0) / US_PER_MS;
    service->closing = 4 + (service->admin ? 1 : 0) + (service->outcomes ? 1 : 0);
    kafka_source_close(service->source, close_ms, kafka_closed, service);
    kafka_dead_letter_close(service->dead_letter, close_ms, kafka_closed, service);
    if (service->outcomes)
        kafka_outcomes_close(service->outcomes, close_ms, kafka_closed, service);
    contacts_close(service->contacts, closed, service);
    ledger_close(service->ledger, closed, service);
    if (service->admin)
        admin_close(service->admin, closed, service);
}

void shutdown_step(struct service *service)
{
    if (service->phase != SERVICE_DRAINING)
        return;
    CRASH_POINT(IN_DRAIN);
    mono_us_t last = {service->deadline.us - close_budget_us(service)};
    bool drained = pipeline_drained(service->pipeline);
    if (!drained && !mono_reached(clock_mono_now(), last))
        return;
    if (!drained) {
        struct pipeline_status status;
        pipeline_status(service->pipeline, &status);
        LOG_AT(LOG_WARN, "run", "not everything could be finished in time: the rest is read again by the next worker",
               LOG_NUM("unfinished", status.deliveries));
    }
    adapters_close(service);
}
