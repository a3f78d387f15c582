/* signup-worker check: one line for each thing the worker needs, and an exit code that says who is to blame. */
#include "command.h"
#include "service.h"

#include "signup/contacts/contacts.h"
#include "signup/kafka/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>
#include <uv.h>

#define KAFKA_TIMEOUT_MS 5000

static const char help[] =
    "usage: signup-worker check [--config FILE]\n\n"
    "Reads the configuration, then reaches Kafka, PostgreSQL and the contacts API, and says in one line each what is well or\n"
    "what to do. With validation by `gate`, of whatever list or route, it asks the validation host too. Changes nothing, joins\n"
    "no consumer group, costs nothing.\n\n"
    "examples:\n"
    "  signup-worker check --config /etc/signup-worker.yaml\n"
    "  signup-worker check --config new.yaml && systemctl restart signup-worker\n\n"
    "exit codes: 0 all is well, 66 a file is missing, 69 a server is away, 77 the key or a login is refused, 78 configuration\n";

/* The most telling finding wins: what a person must mend before what may come back by itself. */
static int worse(int a, int b)
{
    static const int order[] = {0, EX_UNAVAILABLE, EX_OSERR, EX_NOINPUT, EX_NOPERM, EX_CONFIG};
    for (size_t i = sizeof order / sizeof order[0]; i-- > 0;) {
        if (a == order[i] || b == order[i])
            return order[i];
    }
    return a ? a : b;
}

static void say(const char *who, bool well, const char *text)
{
    bool colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    const char *mark = well ? "ok" : "NO";
    printf("%s%s%s  %-13s %s\n", colour ? (well ? "\033[32m" : "\033[31m") : "", mark, colour ? "\033[0m" : "", who, text);
    fflush(stdout);
}

static void kafka_line(void *ctx, bool well, const char *text)
{
    (void)ctx;
    say("kafka", well, text);
}

static int check_kafka(const struct config *config)
{
    struct kafka_config kafka;
    struct kafka_property *properties;
    if (!kafka_config_from(config, &kafka, &properties))
        return EX_OSERR;
    enum kafka_check_result result = kafka_check(&kafka, KAFKA_TIMEOUT_MS, kafka_line, NULL);
    free(properties);
    static const int codes[] = {0, EX_UNAVAILABLE, EX_NOPERM, EX_CONFIG};
    return codes[result];
}

static int check_postgres(const struct config *config)
{
    const struct ledger_config ledger = ledger_config_from(config);
    char line[LEDGER_ERROR_BYTES] = "";
    enum ledger_verdict verdict = ledger_check(&ledger, line);
    say("postgres", verdict == LEDGER_VERDICT_WELL, line);
    return ledger_exit_code(verdict);
}

static void contacts_checked(struct contacts_check_op *op)
{
    say("contacts_api", op->health == CONTACTS_WELL, op->text);
    if (op->validation_asked)
        say("validation", op->validation_health == CONTACTS_WELL, op->validation_text);
    contacts_close(op->owner, NULL, NULL);
}

/* Only the gate asks it; `inline` is a part of the upsert. */
static bool asks_validation_host(const struct config *config)
{
    const struct event_rules rules = event_rules_from(config);
    bool gate = rules.validation == EVENT_VALIDATION_GATE;
    for (size_t i = 0; i < rules.list_count; i++)
        gate = gate || rules.lists[i].validation == EVENT_VALIDATION_GATE;
    for (size_t i = 0; i < rules.route_count; i++)
        gate = gate || rules.routes[i].validation == EVENT_VALIDATION_GATE;
    return gate;
}

static int check_contacts(const struct config *config)
{
    uv_loop_t loop;
    if (uv_loop_init(&loop))
        return EX_OSERR;
    struct contacts_config contacts = contacts_config_from(config);
    contacts.uses_validation = asks_validation_host(config);
    struct contacts_error error;
    struct contacts *api = contacts_create(&loop, &contacts, &error);
    if (!api) {
        say("contacts_api", false, error.text);
        uv_loop_close(&loop);
        return contacts_exit_code(error.fault);
    }
    struct contacts_check_op op = {.done = contacts_checked, .owner = api};
    if (contacts_check(api, &op) != PORT_OK) {
        op.exit_code = EX_OSERR;
        contacts_close(api, NULL, NULL);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return worse(op.exit_code, op.validation_exit_code);
}

int command_check(int argc, char **argv)
{
    struct common_options common;
    int operand;
    int code = options_parse(argc, argv, help, 0, NULL, 0, NULL, &common, &operand);
    if (code >= 0)
        return code;
    struct config *config;
    code = config_open(&common, CONFIG_NEEDS_KAFKA | CONFIG_NEEDS_POSTGRES | CONFIG_NEEDS_API, &config);
    if (code)
        return code;
    say("configuration", true, common.config_path ? common.config_path : "environment and defaults");
    code = worse(code, check_kafka(config));
    code = worse(code, check_postgres(config));
    code = worse(code, check_contacts(config));
    config_free(config);
    return code;
}
