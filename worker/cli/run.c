/* signup-worker run. */
#include "command.h"
#include "service.h"

#include <sysexits.h>

static const char help[] =
    "usage: signup-worker run [--config FILE]\n\n"
    "Consumes the signup topics until SIGTERM or SIGINT. A server that is away is waited for: the log, /readyz and /status\n"
    "say who and why. SIGTERM finishes what is under way within limits.shutdown and exits 0; a second one leaves at once.\n"
    "SIGHUP reads the key file again and probes held routes at once.\n\n"
    "examples:\n"
    "  signup-worker run --config /etc/signup-worker.yaml\n"
    "  SIGNUP_KAFKA_BROKERS=kafka:9092 SIGNUP_CONTACTS_API_KEY_FILE=/run/secrets/key signup-worker run\n"
    "  curl -s http://127.0.0.1:9464/status\n\n"
    "exit codes: 0 told to stop, 66 a file is missing, 75 restart me (the Kafka client gave up),\n"
    "            77 refused, 78 configuration or the ledger's schema (run signup-worker migrate)\n";

int command_run(int argc, char **argv)
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
    code = service_run(config);
    config_free(config);
    return code;
}
