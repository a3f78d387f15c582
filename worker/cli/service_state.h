/* What the parts of the running worker share. Private to worker/cli. */
#ifndef SIGNUP_CLI_SERVICE_STATE_H
#define SIGNUP_CLI_SERVICE_STATE_H

#include "signup/base/clock.h"
#include "signup/contacts/contacts.h"
#include "signup/core/pipeline.h"
#include "signup/kafka/dead_letter.h"
#include "signup/kafka/outcomes.h"
#include "signup/kafka/source.h"
#include "signup/ledger/ledger.h"
#include "signup/ops/admin.h"
#include "signup/ops/config.h"
#include "signup/ops/snapshot.h"

#include <stdbool.h>
#include <uv.h>

enum service_phase {
    SERVICE_RUNNING,
    SERVICE_DRAINING, /* the pipeline finishes what is under way */
    SERVICE_CLOSING   /* the adapters go; the loop ends with the last of them */
};

struct service {
    struct config *config;
    uv_loop_t loop;
    enum service_phase phase;
    int exit_code;
    wall_us_t started_at;
    mono_us_t deadline; /* of the shutdown */

    struct pipeline *pipeline;
    struct kafka_source *source;
    struct kafka_dead_letter *dead_letter;
    struct kafka_outcomes *outcomes; /* NULL: no topic for them */
    struct contacts *contacts;
    struct ledger *ledger;
    struct admin *admin;

    enum kafka_source_state source_state;
    bool ledger_was_up;
    bool migrated; /* or nothing is to be migrated */

    uv_prepare_t before_poll; /* the tick: after all callbacks of a turn, before the loop waits again */
    uv_idle_t again;          /* keeps the loop from waiting while a tick wants another */
    uv_timer_t due;
    mono_us_t due_at;
    uv_timer_t shutdown_timer; /* the hard end */
    uv_timer_t shutdown_wake;  /* the end of the drain */
    uv_signal_t terminate, interrupt, hangup;
    uv_work_t migration;
    uv_timer_t migration_retry;
    bool migrating;
    enum ledger_verdict migration_verdict;
    char migration_error[LEDGER_ERROR_BYTES];

    unsigned closing;        /* adapters that have not said goodbye yet */
    bool left_behind;        /* one did not let go in time: end with _exit() */
    struct policy_rule *rules;
    struct kafka_property *properties;
};

/* service.c: a timer's callback that does nothing but turn the loop. */
void service_wake(uv_timer_t *timer);

/* snapshot.c: fills what /metrics, /status and /readyz show. */
void service_watch(struct service *service, struct admin_config *config);

/* backlog.c: asks the ledger every 15 s, while it is up, what waits in it. The ledger must outlive the questions: stop when it is closed. */
void backlog_start(struct service *service);
void backlog_stop(void);
void backlog_read(mono_us_t now, struct snapshot_backlog *out);

/* shutdown.c */
void shutdown_begin(struct service *service, const char *why);
/* To be called after every tick: moves the shutdown on. */
void shutdown_step(struct service *service);

#endif
