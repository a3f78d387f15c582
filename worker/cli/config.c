/* signup-worker config: what is in force, or the reference of all keys. */
#include "command.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: signup-worker config [--config FILE] [--reference]\n\n"
    "Prints the configuration in force as YAML: file, environment and defaults together, secrets masked.\n"
    "  --reference   the reference of all keys instead, as Markdown (no configuration is read)\n\n"
    "examples:\n"
    "  signup-worker config --config /etc/signup-worker.yaml\n"
    "  signup-worker config --reference\n";

static bool apply_reference(void *ctx, const char *value)
{
    (void)value;
    *(bool *)ctx = true;
    return true;
}

int command_config(int argc, char **argv)
{
    static const struct command_option own[] = {{"reference", false, apply_reference}};
    struct common_options common;
    bool reference = false;
    int operand;
    int code = options_parse(argc, argv, help, 0, own, 1, &reference, &common, &operand);
    if (code >= 0)
        return code;
    if (reference) {
        config_write_reference(stdout);
        return 0;
    }
    struct config *config;
    code = config_open(&common, 0, &config);
    if (code)
        return code;
    config_print(config, stdout);
    config_free(config);
    return 0;
}
