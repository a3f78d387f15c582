/* Looks phones up, some at a time, on a loop of its own which turns only while somebody waits for them. */
#ifndef SIGNUP_CLI_VALIDATE_RUN_H
#define SIGNUP_CLI_VALIDATE_RUN_H

#include "signup/event/phone.h"
#include "signup/ops/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum validate_state {
    VALIDATE_WAITING,  /* nobody has asked yet, or not to the end */
    VALIDATE_ANSWERED, /* `validation` and `cost` */
    VALIDATE_NO_PHONE, /* not a number, for us or for the API: `why` */
    VALIDATE_FAILED    /* `why` */
};

struct validate_item {
    const char *input; /* as it was given; borrowed */
    char phone[PHONE_E164_BYTES];
    enum validate_state state;
    char *validation; /* a JSON object text; ours, as is `why` */
    char *why;        /* for people; NULL: no memory for it */
    char code[64];    /* of a failure */
    int64_t cost;     /* millionths of a US dollar */
};

/* What ends the whole run before its time. */
struct validate_stop {
    int exit_code;  /* 0: nothing did */
    char text[768]; /* for people */
};

struct validate_order {
    const struct config *config;
    bool force;
    bool (*stopped)(void *ctx); /* asked while it waits: true begins no further look-up, and ends those that
                                   wait to be repeated */
    void (*waiting)(void *ctx); /* about ten times a second, and whenever something was answered */
    void *ctx;
};

/* Asks about every item that is VALIDATE_WAITING, each once, in their order as far as that goes. A look-up
 * that fails is tried again a few times, but a forced one whose fate is not known is not: it might be paid
 * for twice. Returns when all are answered, when `stopped` says so, or when there is no use in asking on:
 * then `stop` has an exit code. */
void validate_run(const struct validate_order *order, struct validate_item *items, size_t count,
                  struct validate_stop *stop);

void validate_item_fini(struct validate_item *item);

#endif
