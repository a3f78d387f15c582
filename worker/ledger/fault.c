/* SQLSTATE to fault. Source: PostgreSQL documentation, appendix A. */
#include "fault.h"

#include <string.h>

struct rule {
    const char *prefix; /* two characters for a class, five for one state */
    enum fault fault;
};

/* The first match counts: single states stand before their class. */
static const struct rule rules[] = {
    {"55P03", FAULT_RETRY}, /* lock_not_available: lock_timeout */
    {"40", FAULT_RETRY},    /* serialization_failure, deadlock_detected */
    {"22", FAULT_POISON},   /* data exception: encoding, range, JSON */
    {"23", FAULT_POISON},   /* integrity constraint */
    {"54", FAULT_POISON},   /* program limit: index row too long, JSON too deep */
    {"28", FAULT_DENIED},   /* password, pg_hba */
    {"3D", FAULT_DENIED},   /* no such database */
    {"42501", FAULT_DENIED}, {"3F", FAULT_SCHEMA}, {"42P01", FAULT_SCHEMA}, {"42703", FAULT_SCHEMA},
    /* 08, 25006 (read-only), 25P03, 26000 (a pooler lost the statement), 53 (full, too many), 57 (shutdown,
       timeout), 58, XX: */
};

enum fault fault_of_sqlstate(const char *sqlstate)
{
    if (!sqlstate || !*sqlstate)
        return FAULT_AWAY;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (strncmp(sqlstate, rules[i].prefix, strlen(rules[i].prefix)) == 0)
            return rules[i].fault;
    }
    return FAULT_AWAY;
}
