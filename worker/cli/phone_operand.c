/* Linux shows the very bytes of argv in /proc/PID/cmdline: what is overwritten there is gone from the process list. */
#include "phone_operand.h"

#include "signup/base/log.h"

#include <stdio.h>
#include <string.h>

void phone_operand_hide(char *argument)
{
    memset(argument, '*', strlen(argument));
}

void phone_operand_complain(const char *command, const char *what, const char *text)
{
    char masked[PHONE_OPERAND_BYTES];
    text_mask_phones(slice_from_str(text), masked, sizeof masked);
    fprintf(stderr, "signup-worker %s: %s: %s\n", command, what, masked);
}

/* Not its beginning, which may be another phone. */
static const char too_long[] = "what is given is too long";

static bool line_read(const char *command, char text[PHONE_OPERAND_BYTES])
{
    if (!fgets(text, PHONE_OPERAND_BYTES, stdin)) {
        fprintf(stderr, "signup-worker %s: there is no phone on standard input\n", command);
        return false;
    }
    size_t len = strcspn(text, "\r\n");
    if (text[len] == '\0' && len + 1 == PHONE_OPERAND_BYTES)
        memcpy(text, too_long, sizeof too_long);
    else
        text[len] = '\0';
    return true;
}

bool phone_operand_take(const char *command, char *argument, char text[PHONE_OPERAND_BYTES])
{
    if (strcmp(argument, "-") == 0)
        return line_read(command, text);
    size_t len = strlen(argument);
    if (len < PHONE_OPERAND_BYTES)
        memcpy(text, argument, len + 1);
    else
        memcpy(text, too_long, sizeof too_long);
    phone_operand_hide(argument);
    return true;
}
