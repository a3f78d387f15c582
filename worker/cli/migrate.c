/* signup-worker migrate: the ledger's schema, created or brought up to date. */
#include "command.h"
#include "service.h"

#include "signup/ledger/ledger.h"

#include <stdio.h>
#include <sysexits.h>

static const char help[] =
    "usage: signup-worker migrate [--config FILE]\n\n"
    "Creates the ledger's schema in PostgreSQL, or applies the numbered files that it lacks. Safe to repeat, and safe to\n"
    "run in several places at once: a lock in the database lets one go first.\n\n"
    "examples:\n"
    "  signup-worker migrate --config /etc/signup-worker.yaml\n"
    "  SIGNUP_POSTGRES_DSN=postgresql://localhost/signup signup-worker migrate\n\n"
    "exit codes: 0 up to date, 69 PostgreSQL is away, 77 it refuses the user, 78 configuration or a schema newer than this program\n";

static void report(void *ctx, const char *line)
{
    (void)ctx;
    puts(line);
}

int ledger_exit_code(enum ledger_verdict verdict)
{
    switch (verdict) {
    case LEDGER_VERDICT_WELL:
        return 0;
    case LEDGER_VERDICT_AWAY:
        return EX_UNAVAILABLE;
    case LEDGER_VERDICT_REFUSED:
        return EX_NOPERM;
    case LEDGER_VERDICT_CONFIG:
    case LEDGER_VERDICT_SCHEMA:
        break;
    }
    return EX_CONFIG;
}

int command_migrate(int argc, char **argv)
{
    struct common_options common;
    int operand;
    int code = options_parse(argc, argv, help, 0, NULL, 0, NULL, &common, &operand);
    if (code >= 0)
        return code;
    struct config *config;
    code = config_open(&common, CONFIG_NEEDS_POSTGRES, &config);
    if (code)
        return code;
    const struct ledger_config ledger = ledger_config_from(config);
    char error[LEDGER_ERROR_BYTES] = "";
    enum ledger_verdict verdict = ledger_migrate(&ledger, report, NULL, error);
    if (verdict == LEDGER_VERDICT_WELL)
        printf("the ledger's schema \"%s\" is up to date (version %d)\n", config->postgres.schema, ledger_schema_version());
    else
        fprintf(stderr, "signup-worker migrate: %s\n", error);
    config_free(config);
    return ledger_exit_code(verdict);
}
