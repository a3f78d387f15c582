/* One subcommand a file; this is what they share: their table, their options, how they read the configuration. */
#ifndef SIGNUP_CLI_COMMAND_H
#define SIGNUP_CLI_COMMAND_H

#include "signup/event/signup.h"
#include "signup/kafka/config.h"
#include "signup/ops/config.h"

#include <stdbool.h>
#include <stdint.h>

/* Exit codes follow sysexits.h: 64 usage, 66 no input, 69 unavailable, 70 a bug, 71 the system, 75 try again, 77 refused, 78 configuration. */

/* X(name, one line for the overview) */
#define COMMANDS(X)                                                                                                    \
    X(run, "consume signups, call the contacts API, write the ledger, until told to stop")                             \
    X(check, "read the configuration, reach every server, say what is well or what to do")                             \
    X(migrate, "create the ledger's schema or bring it up to date")                                                    \
    X(load, "publish the lines of a file to a topic")                                                       \
    X(replay, "bring dead events back: the running workers take them up again")                                        \
    X(consent, "print the evidence of a contact's consent")                                                            \
    X(forget, "erase a person from the ledger, but for the proof that it was done")                                    \
    X(validate, "ask the API what kind of phones these are")                                                           \
    X(contact, "show what the API knows about one contact")                                                            \
    X(explain, "show how one payload becomes a request, step by step, without calling anybody")                        \
    X(config, "print the configuration in force, or the reference of all keys")

#define X(name, line) int command_##name(int argc, char **argv);
COMMANDS(X)
#undef X

/* What every command takes. */
struct common_options {
    const char *config_path; /* NULL: environment and defaults alone */
};

/* A command's own options, for getopt_long; `apply` gives false for a value that it cannot take. */
struct command_option {
    const char *name;
    bool has_value;
    bool (*apply)(void *ctx, const char *value);
};

/* Parses `argv` of a command that takes `operands` operands. Gives -1 to go on (the first operand's index is in `*operand`), or the exit
 * code: 0 after --help has been printed, EX_USAGE after a complaint. `help` is the whole help text. */
int options_parse(int argc, char **argv, const char *help, int operands, const struct command_option *own, size_t own_count, void *ctx,
                  struct common_options *common, int *operand);

/* config_load() with the rules of this program: property names are checked against the Kafka room, whose own check follows. Complaints
 * go to standard error. Secrets are taken out of the environment. Gives 0 or the exit code. */
int config_open(const struct common_options *common, unsigned needs, struct config **out);

/* What the configuration says about reading events; its texts are borrowed from `config`. */
struct event_rules event_rules_from(const struct config *config);

/* The Kafka room's view of the configuration; `properties` is calloc'ed, free() it. All else is borrowed from `config`. False: out of
 * memory. */
bool kafka_config_from(const struct config *config, struct kafka_config *out, struct kafka_property **properties);

#endif
