/* Wiring: creates the adapters and the pipeline from the configuration, turns the loop, and hands each completion to the tick. */
#include "service.h"

#include "command.h"
#include "observer.h"
#include "service_state.h"

#include "signup/base/log.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

#define LEASE_BEYOND_CALL_US (5 * US_PER_S) /* a claim outlasts a call by so much */
#define MIGRATION_RETRY_MS 2000

/* ---- the tick */

void service_wake(uv_timer_t *timer)
{
    (void)timer; /* waking the loop is all: the tick runs before it waits again */
}

static void on_again(uv_idle_t *idle)
{
    (void)idle;
}

static void due_set(struct service *service, mono_us_t now)
{
    mono_us_t due = pipeline_next_due(service->pipeline);
    if (due.us == service->due_at.us && uv_is_active((uv_handle_t *)&service->due))
        return;
    service->due_at = due;
    if (due.us == MONO_NEVER.us) {
        uv_timer_stop(&service->due);
        return;
    }
    int64_t wait_us = due.us > now.us ? due.us - now.us : 0;
    uv_timer_start(&service->due, service_wake, (uint64_t)((wait_us + 999) / 1000), 0);
}

static void before_poll(uv_prepare_t *prepare)
{
    struct service *service = prepare->data;
    if (service->phase == SERVICE_CLOSING)
        return; /* the adapters are going: the pipeline may not reach for them any more */
    mono_us_t now = clock_mono_now();
    bool due = mono_reached(now, pipeline_next_due(service->pipeline));
    if (pipeline_wants_tick(service->pipeline) || due)
        pipeline_tick(service->pipeline, now, clock_wall_now());
    shutdown_step(service);
    if (service->phase == SERVICE_CLOSING)
        return;
    if (pipeline_wants_tick(service->pipeline))
        uv_idle_start(&service->again, on_again);
    else
        uv_idle_stop(&service->again);
    due_set(service, now);
}

/* ---- what the adapters say */

static void on_poke(void *ctx)
{
    struct service *service = ctx;
    if (service->pipeline)
        pipeline_poke(service->pipeline);
}

static void on_assign(void *ctx, const struct partition *partitions, size_t count)
{
    struct service *service = ctx;
    pipeline_assign(service->pipeline, partitions, count);
}

static void on_revoke(void *ctx, const struct partition *partitions, size_t count, bool lost)
{
    struct service *service = ctx;
    pipeline_revoke(service->pipeline, partitions, count, lost);
}

static void on_source_state(void *ctx, enum kafka_source_state state, const char *why)
{
    struct service *service = ctx;
    service->source_state = state;
    if (state != KAFKA_SOURCE_FATAL)
        return;
    LOG_AT(LOG_ERROR, "kafka", "the Kafka client gave up for good: stopping, to be started again", LOG_STR("why", why));
    service->exit_code = EX_TEMPFAIL;
    shutdown_begin(service, "the Kafka client gave up");
}

static void on_ledger_state(void *ctx, enum ledger_condition condition, const char *why, wall_us_t since)
{
    struct service *service = ctx;
    (void)since;
    service->ledger_was_up = service->ledger_was_up || condition == LEDGER_CONDITION_UP;
    /* An old schema at the start is somebody's omission: say so and stop. One that changes later is an upgrade under way: wait. */
    if (condition != LEDGER_CONDITION_REFUSED || service->ledger_was_up || !service->migrated)
        return;
    fprintf(stderr, "signup-worker run: %s\n", why);
    service->exit_code = EX_CONFIG;
    shutdown_begin(service, "the ledger's schema does not fit");
}

/* ---- migration at the start (postgres.auto_migrate), off the loop */

static void migrate_work(uv_work_t *work)
{
    struct service *service = work->data;
    const struct ledger_config config = ledger_config_from(service->config);
    service->migration_verdict = ledger_migrate(&config, NULL, NULL, service->migration_error);
}

static void migrate_after(uv_work_t *work, int status);

static void migrate_start(struct service *service)
{
    service->migration.data = service;
    service->migrating = uv_queue_work(&service->loop, &service->migration, migrate_work, migrate_after) == 0;
}

static void on_migration_retry(uv_timer_t *timer)
{
    migrate_start(timer->data);
}

static void migrate_after(uv_work_t *work, int status)
{
    struct service *service = work->data;
    service->migrating = false;
    if (status || service->phase != SERVICE_RUNNING)
        return;
    switch (service->migration_verdict) {
    case LEDGER_VERDICT_WELL:
        service->migrated = true;
        return;
    case LEDGER_VERDICT_AWAY: /* the adapter has said that it is away */
        uv_timer_start(&service->migration_retry, on_migration_retry, MIGRATION_RETRY_MS, 0);
        return;
    default:
        fprintf(stderr, "signup-worker run: %s\n", service->migration_error);
        service->exit_code = ledger_exit_code(service->migration_verdict);
        shutdown_begin(service, "the ledger's schema cannot be brought up to date");
    }
}

/* Before anything looks at the schema: on an empty database nobody is to be told to migrate what is about to be migrated. A server that is
 * away is waited for on the loop. False: it cannot be brought up to date. */
static bool migrate_first(struct service *service)
{
    const struct ledger_config config = ledger_config_from(service->config);
    service->migration_verdict = ledger_migrate(&config, NULL, NULL, service->migration_error);
    service->migrated = service->migration_verdict == LEDGER_VERDICT_WELL;
    if (service->migrated || service->migration_verdict == LEDGER_VERDICT_AWAY)
        return true;
    fprintf(stderr, "signup-worker run: %s\n", service->migration_error);
    service->exit_code = ledger_exit_code(service->migration_verdict);
    return false;
}

/* ---- creation */

struct ledger_config ledger_config_from(const struct config *config)
{
    return (struct ledger_config){
        .dsn = config->postgres.dsn,
        .schema = config->postgres.schema,
        .deadline_ms = config->postgres.timeout_us / US_PER_MS,
        .connect_deadline_ms = config->postgres.connect_timeout_us / US_PER_MS,
        .pooled = !config->postgres.prepared,
    };
}

static bool ledger_open(struct service *service)
{
    struct ledger_config config = ledger_config_from(service->config);
    config.poke = on_poke;
    config.on_state = on_ledger_state;
    config.ctx = service;
    char error[LEDGER_ERROR_BYTES] = "";
    service->ledger = ledger_create(&service->loop, &config, error);
    if (!service->ledger) {
        fprintf(stderr, "signup-worker run: postgres: %s\n", error);
        service->exit_code = EX_CONFIG;
    }
    return service->ledger != NULL;
}

struct contacts_config contacts_config_from(const struct config *config)
{
    return (struct contacts_config){
        .base_url = config->contacts_api.base_url,
        .validation_url = config->contacts_api.validation_url,
        /* The configuration leaves one of the two empty; a key from a file is the adapter's to read again when it changes. */
        .key = config->contacts_api.key_file[0] ? "" : config->contacts_api.key,
        .key_file = config->contacts_api.key_file,
        .timeout_ms = config->contacts_api.timeout_us / US_PER_MS,
        .connect_timeout_ms = config->contacts_api.connect_timeout_us / US_PER_MS,
        .ca_file = config->contacts_api.ca_file,
        .max_in_flight = (size_t)config->contacts_api.max_in_flight,
    };
}

int contacts_exit_code(enum contacts_fault fault)
{
    switch (fault) {
    case CONTACTS_FAULT_NONE:
        return 0;
    case CONTACTS_FAULT_FILE:
        return EX_NOINPUT;
    case CONTACTS_FAULT_SYSTEM:
        return EX_OSERR;
    case CONTACTS_FAULT_CONFIG:
        break;
    }
    return EX_CONFIG;
}

static bool contacts_open(struct service *service)
{
    struct config *config = service->config;
    struct contacts_config contacts = contacts_config_from(config);
    contacts.poke = on_poke;
    contacts.poke_ctx = service;
    struct contacts_error error;
    service->contacts = contacts_create(&service->loop, &contacts, &error);
    if (!service->contacts) {
        fprintf(stderr, "signup-worker run: contacts_api: %s\n", error.text);
        service->exit_code = contacts_exit_code(error.fault);
        return false;
    }
    explicit_bzero(config->contacts_api.key, strlen(config->contacts_api.key)); /* the adapter's guarded copy is the only one now */
    return true;
}

static bool kafka_open(struct service *service)
{
    struct kafka_config config;
    if (!kafka_config_from(service->config, &config, &service->properties)) {
        service->exit_code = EX_OSERR;
        return false;
    }
    const struct kafka_source_callbacks callbacks = {
        .ctx = service, .on_assign = on_assign, .on_revoke = on_revoke, .poke = on_poke, .on_state = on_source_state};
    char error[512] = "";
    service->dead_letter = kafka_dead_letter_create(&service->loop, &config, error, sizeof error);
    bool tells = config.outcomes_topic && config.outcomes_topic[0];
    if (service->dead_letter && tells)
        service->outcomes = kafka_outcomes_create(&service->loop, &config, error, sizeof error);
    if (service->dead_letter && (service->outcomes || !tells))
        service->source = kafka_source_create(&service->loop, &config, &callbacks, error, sizeof error);
    if (service->source)
        return true;
    fprintf(stderr, "signup-worker run: kafka: %s\n", error);
    service->exit_code = EX_CONFIG;
    return false;
}

static enum on_billing on_billing_from(const struct config *config)
{
    switch ((enum config_on_billing)config->validation.on_billing_error) {
    case CONFIG_ON_BILLING_WITHOUT_VALIDATION:
        return ON_BILLING_WITHOUT_VALIDATION;
    case CONFIG_ON_BILLING_DEAD:
        return ON_BILLING_DEAD;
    case CONFIG_ON_BILLING_PARK:
        break;
    }
    return ON_BILLING_PARK;
}

/* What validation may cost, and who passes the gate. */
static void validation_fill(const struct config *config, struct pipeline_config *out)
{
    out->on_billing = on_billing_from(config);
    out->allow = config->validation.gate_allow.items;
    out->allow_count = config->validation.gate_allow.count;
    out->remember_us = config->validation.remember_us;
    out->daily_budget = config->validation.daily_budget == CONFIG_MONEY_NONE ? BUDGET_NONE : config->validation.daily_budget;
    out->on_budget = config->validation.on_budget_spent == CONFIG_ON_BUDGET_WITHOUT_VALIDATION ? ON_BUDGET_WITHOUT_VALIDATION
                                                                                               : ON_BUDGET_PARK_UNTIL_TOMORROW;
}

static void patience_fill(const struct config *config, struct pipeline_config *out)
{
    out->backoff_base_us = config->retry.inline_base_us;
    out->backoff_cap_us = config->retry.inline_cap_us;
    out->inline_attempts = (int)config->retry.inline_attempts;
    out->park_base_us = config->retry.park_base_us;
    out->park_cap_us = config->retry.park_cap_us;
    out->max_age_us = config->retry.max_age_us;
    out->max_attempts = (int)config->retry.max_attempts;
    out->billing_step_us = config->retry.billing_step_us;
    out->fuse = (unsigned)config->retry.fuse;
    out->retry_after_cap_us = config->retry.retry_after_cap_us;
}

static void bounds_fill(const struct config *config, struct pipeline_config *out)
{
    out->rate_upsert = config->rate.upsert;
    out->rate_validate = config->rate.validate;
    out->rate_ledger = config->rate.ledger;
    out->rate_dead_letter = config->rate.dead_letter;
    out->max_in_flight = (size_t)config->contacts_api.max_in_flight;
    out->memory_bytes = (size_t)config->limits.memory_bytes;
    out->batch_max = (size_t)config->limits.batch;
    out->window_slots_max = (size_t)config->limits.window;
    out->call_timeout_us = config->contacts_api.timeout_us;
    out->lease_us = config->limits.lease_us > out->call_timeout_us ? config->limits.lease_us
                                                                   : out->call_timeout_us + LEASE_BEYOND_CALL_US;
    out->commit_interval_us = config->kafka.commit_interval_us;
    out->revoke_drain_us = config->kafka.revoke_drain_us;
}

static bool pipeline_open(struct service *service)
{
    const struct config *config = service->config;
    struct pipeline_config out;
    pipeline_config_defaults(&out);
    out.rules = event_rules_from(config);
    out.policy = config->policy.table;
    patience_fill(config, &out);
    validation_fill(config, &out);
    bounds_fill(config, &out);
    out.tell_phone = config->kafka.outcomes_phone;
    observer_configure(out.on_billing, out.on_budget);
    if (getrandom(&out.seed, sizeof out.seed, 0) != sizeof out.seed) {
        service->exit_code = EX_OSERR;
        return false;
    }
    const struct ports ports = {
        .source = kafka_source_port(),
        .source_ctx = service->source,
        .ledger = ledger_port(),
        .ledger_ctx = service->ledger,
        .contacts = contacts_functions(),
        .contacts_ctx = service->contacts,
        .dead_letter = kafka_dead_letter_port(),
        .dead_letter_ctx = service->dead_letter,
        .outcomes = service->outcomes ? kafka_outcomes_port() : NULL,
        .outcomes_ctx = service->outcomes,
        .observer = observer_port(),
    };
    service->pipeline = pipeline_create(&out, &ports);
    if (!service->pipeline)
        service->exit_code = EX_OSERR;
    return service->pipeline != NULL;
}

static bool admin_open(struct service *service)
{
    struct admin_config admin = {.listen = service->config->admin.listen};
    service_watch(service, &admin);
    char error[ADMIN_ERROR_BYTES] = "";
    int code = admin_create(&service->loop, &admin, &service->admin, error);
    if (code == 0)
        return true;
    fprintf(stderr, "signup-worker run: admin.listen: %s\n", error);
    service->exit_code = code;
    return false;
}

static void on_signal(uv_signal_t *handle, int signum)
{
    struct service *service = handle->data;
    if (service->phase != SERVICE_RUNNING) {
        LOG_AT(LOG_WARN, "run", "told twice to stop: leaving at once", LOG_STR("signal", strsignal(signum)));
        _exit(128 + signum);
    }
    shutdown_begin(service, signum == SIGTERM ? "SIGTERM" : "SIGINT");
}

/* Somebody has mended something. The configuration itself is read at the start only: what is in force stays in force. */
static void on_hangup(uv_signal_t *handle, int signum)
{
    struct service *service = handle->data;
    (void)signum;
    if (service->phase != SERVICE_RUNNING)
        return;
    LOG_AT_PLAIN(LOG_INFO, "run",
                 "SIGHUP: the key file is read again and every held route is probed now; other changes of the configuration need a restart");
    contacts_look_at_key(service->contacts);
    pipeline_look_again(service->pipeline);
}

static void loop_handles_open(struct service *service)
{
    uv_prepare_init(&service->loop, &service->before_poll);
    uv_idle_init(&service->loop, &service->again);
    uv_timer_init(&service->loop, &service->due);
    uv_timer_init(&service->loop, &service->shutdown_timer);
    uv_timer_init(&service->loop, &service->shutdown_wake);
    uv_timer_init(&service->loop, &service->migration_retry);
    uv_signal_init(&service->loop, &service->terminate);
    uv_signal_init(&service->loop, &service->interrupt);
    uv_signal_init(&service->loop, &service->hangup);
    service->hangup.data = service;
    service->before_poll.data = service->terminate.data = service->interrupt.data = service;
    service->shutdown_timer.data = service->migration_retry.data = service;
    service->due_at = MONO_NEVER;
}

static void loop_handles_start(struct service *service)
{
    uv_prepare_start(&service->before_poll, before_poll);
    uv_signal_start(&service->terminate, on_signal, SIGTERM);
    uv_signal_start(&service->interrupt, on_signal, SIGINT);
    uv_signal_start(&service->hangup, on_hangup, SIGHUP);
    backlog_start(service);
}

static bool everything_open(struct service *service)
{
    if (service->config->postgres.auto_migrate && !migrate_first(service))
        return false;
    return ledger_open(service) && contacts_open(service) && kafka_open(service) && pipeline_open(service) &&
           admin_open(service);
}

/* What is freed goes back: without this glibc raises its threshold with every large batch that is freed, and keeps the holes; and every thread
 * of librdkafka would have a heap of its own. */
static void memory_tune(void)
{
#ifdef M_ARENA_MAX
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    mallopt(M_TRIM_THRESHOLD, 256 * 1024);
#endif
}

int service_run(struct config *config)
{
    memory_tune();
    struct service *service = calloc(1, sizeof *service);
    if (!service || uv_loop_init(&service->loop)) {
        free(service);
        return EX_OSERR;
    }
    log_configure((enum log_level)config->log.level, (enum log_format)config->log.format);
    service->config = config;
    service->started_at = clock_wall_now();
    service->migrated = !config->postgres.auto_migrate;
    loop_handles_open(service);
    if (!everything_open(service)) {
        int code = service->exit_code;
        fflush(NULL);
        _exit(code); /* nothing has been taken or claimed yet; threads of the libraries may be starting: do not wait for them */
    }
    loop_handles_start(service);
    LOG_AT(LOG_INFO, "run", "signup-worker starts", LOG_STR("version", SIGNUP_VERSION),
           LOG_STR("group", config->kafka.group), LOG_NUM("topics", config->kafka.topics.count),
           LOG_STR("kafka", kafka_library_version()), LOG_NUM("admin_port", admin_port(service->admin)));
    if (!service->migrated)
        migrate_start(service);
    uv_run(&service->loop, UV_RUN_DEFAULT);

    int code = service->exit_code;
    bool left_behind = service->left_behind;
    LOG_AT(LOG_INFO, "run", "signup-worker has stopped", LOG_NUM("exit", code));
    if (left_behind) {
        fflush(NULL);
        _exit(code);
    }
    pipeline_destroy(service->pipeline);
    uv_loop_close(&service->loop);
    free(service->properties);
    free(service);
    return code;
}
