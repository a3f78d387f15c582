/* The phone that somebody asks about on the command line: not for the process list, and not whole in a complaint. */
#ifndef SIGNUP_CLI_PHONE_OPERAND_H
#define SIGNUP_CLI_PHONE_OPERAND_H

#include <stdbool.h>

#define PHONE_OPERAND_BYTES 256 /* of a spelling */

/* Copies `argument` to `text` and hides it; "-" stands for the first line of standard input. What is too long for any
 * phone becomes a text that is none. False: nothing could be read, and standard error says so in the name of `command`. */
bool phone_operand_take(const char *command, char *argument, char text[PHONE_OPERAND_BYTES]);

/* Overwrites an argument of the command line, which the process list shows as long as the process lives. */
void phone_operand_hide(char *argument);

/* "signup-worker COMMAND: WHAT: TEXT", whose digits are masked, to standard error. */
void phone_operand_complain(const char *command, const char *what, const char *text);

#endif
