/* The one table from an answer to a verdict (design section 5). */
#ifndef SIGNUP_CORE_POLICY_H
#define SIGNUP_CORE_POLICY_H

#include "signup/base/outcome.h"

#include <stdbool.h>
#include <stddef.h>

enum verdict { VERDICT_ACCEPTED, VERDICT_RETRY, VERDICT_HOLD, VERDICT_DEAD };
const char *verdict_str(enum verdict verdict);
/* False: `text` is none of accepted, retry, hold, dead. */
bool verdict_parse(const char *text, enum verdict *out);

/* What an answer means beyond its verdict. */
struct ruling {
    enum verdict verdict;
    bool counts;   /* it was answered for the event's own sake: an attempt is spent */
    bool systemic; /* it speaks of the route, not of the event: the breaker counts it */
    bool vague;    /* dead, but the answer need not speak of the event itself: the fuse counts it */
};

/* A re-mapping of the configuration: `policy: {402: dead, not_sendable: dead}`. */
struct policy_rule {
    int http_status;              /* 0: the rule is for `code` */
    char code[OUTCOME_CODE_BYTES];
    enum verdict verdict;
};

struct policy {
    const struct policy_rule *rules; /* borrowed */
    size_t rule_count;
};

/* A code's rule beats a status's, both beat the table. */
struct ruling policy_rule_on(const struct policy *policy, const struct outcome *outcome);

#endif
