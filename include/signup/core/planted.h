/* Planted bugs: mistakes that a tired hand could make, compiled in only with SIGNUP_PLANTED_BUGS, chosen at run time, so that the
 * simulation can prove that it would have caught them. */
#ifndef SIGNUP_CORE_PLANTED_H
#define SIGNUP_CORE_PLANTED_H

#define PLANTED_BUGS(X)                                                                                                \
    X(NONE, "none")                                                                                                    \
    X(COMMIT_BEFORE_RECORD, "an offset slot completes when the call is answered, before the row is durable")           \
    X(FORGOTTEN_LANE, "deliveries of one contact do not wait for each other")                                          \
    X(RECORD_WITHOUT_TOKEN, "a record is written whoever holds the claim")                                             \
    X(DOUBLE_COMPLETION, "a finished slot completes its neighbour as well")                                            \
    X(WATERMARK_OFF_BY_ONE, "the commit is one past the lowest incomplete offset")                                     \
    X(STALE_EPOCH_COMPLETES, "a delivery of an earlier assignment completes the present window's slot")                \
    X(LOST_REVOKE, "a lost partition is committed all the same")                                                       \
    X(RESEND_AFTER_FAILED_RECORD, "a failed record leads to a second call")                                            \
    X(UNGUARDED_RESEND, "a call of unknown fate is repeated without the journey guard")                                \
    X(CALL_WITHOUT_LEASE, "a call starts although the claim may have expired")                                         \
    X(SENT_WHENEVER, "a call may leave however long ago its claim was looked at")                                      \
    X(SKIPPED_CLAIM, "a call starts before the claim is answered")                                                     \
    X(FORGOTTEN_RETRY, "an event whose call failed is dropped as if it were finished")                                 \
    X(UNSWEPT_OUTBOX, "dead letters that a crash left behind are never published")                                     \
    X(MARK_BEFORE_PUBLISH, "a dead letter is marked as published without the broker's acknowledgement")                \
    X(SLOT_FOR_DROPPED, "a delivery given up at a revoke completes its slot")                                          \
    X(UNBOUNDED_INTAKE, "intake does not mind the memory budget")                                                      \
    X(OVERTAKES_PARKED, "an event behind a parked one of its contact is called at once")                               \
    X(PARK_FORGETS_FATE, "a parked event forgets that a call of it may have taken effect")                             \
    X(FORGOTTEN_PARKED, "parked events are never taken up")                                                            \
    X(TAKEN_UP_TWICE, "a parked event whose lease was lost is called all the same")                                    \
    X(PROBE_SPENDS_ATTEMPT, "a probe of the breaker spends an attempt of its event")                                   \
    X(DEAD_IN_OUTAGE, "an event dies while its route is held")                                                         \
    X(IMPATIENT, "a retry does not wait for Retry-After")                                                              \
    X(NO_FUSE, "the fuse never blows")                                                                                 \
    X(BILLING_HAMMER, "validating events go on calling while the account cannot pay")                                  \
    X(IMMORTAL, "an event never dies of its age or its failures")                                                      \
    X(PARK_LOSES_ORDER, "events of a contact that are taken up together do not wait for each other")                   \
    X(REFUSED_PASSES, "a phone that the gate refuses reaches the list all the same")                                   \
    X(UNSHARED_LOOKUP, "concurrent events of one phone are each looked up")                                            \
    X(FORGOTTEN_LOOKUP, "a phone that is known is looked up again")                                                    \
    X(STALE_MEMORY, "a known validation never grows too old")                                                          \
    X(BUDGET_IGNORED, "lookups go on when the day's budget is spent")                                                  \
    X(BUDGET_FORGETS, "a lookup's cost is counted only once it is recorded")                                           \
    X(OUTCOME_UNPUBLISHED, "an outcome is marked as published without the broker's acknowledgement")                   \
    X(OUTCOME_UNTOLD, "a dead event's outcome is not told")

enum planted_bug {
#define X(name, text) PLANTED_##name,
    PLANTED_BUGS(X)
#undef X
        PLANTED_COUNT
};

#ifdef SIGNUP_PLANTED_BUGS
extern enum planted_bug planted_bug; /* the one that is active; PLANTED_NONE */
#define PLANTED(name) (planted_bug == PLANTED_##name)
#else
#define PLANTED(name) 0
#endif

#endif
