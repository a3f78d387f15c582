/* One run of `replay`: what its files share. */
#ifndef SIGNUP_CLI_REPLAY_JOB_H
#define SIGNUP_CLI_REPLAY_JOB_H

#include "replay_letters.h"
#include "replay_lookup.h"
#include "replay_options.h"
#include "replay_plan.h"

#include "signup/ledger/replay.h"
#include "signup/ops/config.h"

#include <stdbool.h>
#include <stdint.h>

/* What became of replayed events (--wait): how many ended the same way. */
struct replay_outcome {
    bool accepted;
    int http_status; /* 0: none */
    uint64_t events;
    UT_hash_handle hh;
    size_t key_len;
    char key[]; /* the code behind some bytes of the rest */
};
const char *replay_outcome_code(const struct replay_outcome *outcome);

struct replay_job {
    struct replay_options options;
    struct config *config;
    struct ledger_config ledger_config;
    char error[LEDGER_ERROR_BYTES];
    struct replay_ledger *ledger;
    struct letters *letters; /* NULL: from the ledger's own rows */
    struct plan plan;
    struct lookups *lookups; /* NULL: nobody is looked up */
    struct lookup_stop stop;
    struct pacer pacer;
    char who[256];
    int64_t replay_id; /* 0: nothing was handed over */
    bool interrupted;
    bool lost;                       /* the ledger went away on the way */
    bool beyond_limit;               /* --limit was reached with more to go */
    uint64_t waiting;                /* --wait: not final yet at the end */
    struct replay_outcome *outcomes; /* by key */
    int exit_code;
};

/* The graver of the two stays. */
void replay_job_fail(struct replay_job *job, int exit_code);

/* What was done, or with --dry-run would be, for people or as JSON (--json). */
void replay_report(const struct replay_job *job);

/* True once somebody has pressed Ctrl-C. */
bool replay_is_interrupted(void);

/* Runs `step` until the ledger answers, reconnecting for some seconds. */
enum ledger_verdict replay_insist(struct replay_job *job,
                                  enum ledger_verdict (*step)(struct replay_job *job, void *arg), void *arg);

void replay_outcomes_free(struct replay_job *job);

/* --wait: until every replayed event is final, or somebody has enough. */
void replay_wait(struct replay_job *job);

#endif
