/* The running worker: every adapter on one loop, the pipeline between them. */
#ifndef SIGNUP_CLI_SERVICE_H
#define SIGNUP_CLI_SERVICE_H

#include "signup/contacts/contacts.h"
#include "signup/ledger/ledger.h"
#include "signup/ops/config.h"

/* Runs until SIGTERM or SIGINT (or an adapter that asks for a restart). Gives the exit code. The API key in `config` is wiped. */
int service_run(struct config *config);

/* Shared with the commands that talk to one server only. The texts are borrowed from `config`. */
struct ledger_config ledger_config_from(const struct config *config);
struct contacts_config contacts_config_from(const struct config *config);
int ledger_exit_code(enum ledger_verdict verdict);
int contacts_exit_code(enum contacts_fault fault);

#endif
