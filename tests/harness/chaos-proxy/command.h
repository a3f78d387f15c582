/* The commands that tell the link to misbehave. */
#ifndef SIGNUP_HARNESS_CHAOS_PROXY_COMMAND_H
#define SIGNUP_HARNESS_CHAOS_PROXY_COMMAND_H

#include "control.h"

/* The control_handler of the proxy; `context` is the struct proxy. */
void chaos_command_obey(void *context, int count, char **words, struct control_answer *answer);

/* One line per command, for --help. */
extern const char chaos_command_help[];

#endif
