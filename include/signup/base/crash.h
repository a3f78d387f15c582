/* Crash points: named places at which the tests let the worker die as by kill -9, or stand still as by kill -STOP. Compiled in only with
 * SIGNUP_CRASH_POINTS; without it CRASH_POINT is nothing.
 *
 * SIGNUP_CRASH_AT=name[:n] in the environment chooses one; the process ends at the n-th passing (1). SIGNUP_STOP_AT=name[:n] likewise lets
 * it stop there, until somebody sends SIGCONT. All of them are passed on the loop's thread. */
#ifndef SIGNUP_BASE_CRASH_H
#define SIGNUP_BASE_CRASH_H

#include <stdbool.h>

#define CRASH_POINTS(X)                                                                                                \
    X(AFTER_FETCH, "after_fetch", "a record was taken from the topic, nothing is known of it yet")                     \
    X(AFTER_CLAIM_SENT, "after_claim_sent", "a claim is on its way to the ledger")                                     \
    X(AFTER_CLAIM, "after_claim", "claims are durable, no call has been made")                                         \
    X(BEFORE_CALL_SENT, "before_call_sent", "a call is decided on, nothing of it has left")                            \
    X(AFTER_CALL_SENT, "after_call_sent", "a request has left, there is no answer yet")                                \
    X(AFTER_CALL_ANSWER, "after_call_answer", "the API has answered, nothing of it is recorded")                       \
    X(AFTER_LOOKUP_ANSWER, "after_lookup_answer", "a phone was looked up and paid for, nothing of it is recorded")     \
    X(AFTER_RECORD_SENT, "after_record_sent", "a record is on its way to the ledger")                                  \
    X(AFTER_RECORD, "after_record", "rows are durable, their offsets are not committed")                               \
    X(AFTER_PARK, "after_park", "an event is parked, its offset is not committed")                                     \
    X(AFTER_DUE_TAKE, "after_due_take", "parked events were taken up, nothing was done with them")                     \
    X(AFTER_LEASE_EXTEND, "after_lease_extend", "leases were extended")                                                \
    X(BEFORE_PUBLISH, "before_publish", "rows are dead, their letters are about to be published")                      \
    X(AFTER_PUBLISH, "after_publish", "the broker has a letter, the ledger does not know")                             \
    X(AFTER_MARK, "after_mark", "letters are marked as published")                                                     \
    X(AFTER_OUTCOME_PUBLISH, "after_outcome_publish", "the broker has an outcome, the ledger does not know")           \
    X(AFTER_OUTCOME_MARK, "after_outcome_mark", "outcomes are taken out of the ledger, they are published")            \
    X(BEFORE_COMMIT, "before_commit", "offsets are about to be committed")                                             \
    X(AFTER_COMMIT, "after_commit", "offsets are committed")                                                           \
    X(IN_ASSIGN, "in_assign", "the group has given partitions, their positions are known")                             \
    X(IN_REVOKE, "in_revoke", "the group takes partitions back")                                                       \
    X(IN_DRAIN, "in_drain", "told to stop, what is under way is being finished")

enum crash_point {
#define X(name, text, help) CRASH_##name,
    CRASH_POINTS(X)
#undef X
        CRASH_POINT_COUNT
};

#ifdef SIGNUP_CRASH_POINTS
/* Reads SIGNUP_CRASH_AT and SIGNUP_STOP_AT. What it does not understand ends the process with EX_CONFIG and the list of names on standard error: a crash that
 * is never reached would be a test that cannot fail. */
void crash_start(void);
void crash_pass(enum crash_point point);
/* For a stage whose end is seen elsewhere: passed at the next CRASH_POINT_ARMED of the same name. */
void crash_arm(enum crash_point point);
bool crash_disarm(enum crash_point point);
#define CRASH_START() crash_start()
#define CRASH_POINT(name) crash_pass(CRASH_##name)
#define CRASH_POINT_IF(name, condition)                                                                                \
    do {                                                                                                               \
        if (condition)                                                                                                 \
            crash_pass(CRASH_##name);                                                                                  \
    } while (0)
#define CRASH_ARM(name) crash_arm(CRASH_##name)
#define CRASH_POINT_ARMED(name) CRASH_POINT_IF(name, crash_disarm(CRASH_##name))
#else
#define CRASH_START() ((void)0)
#define CRASH_POINT(name) ((void)0)
#define CRASH_POINT_IF(name, condition) ((void)0)
#define CRASH_ARM(name) ((void)0)
#define CRASH_POINT_ARMED(name) ((void)0)
#endif

#endif
