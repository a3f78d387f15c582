/* The partitions that this consumer has ever seen, their epochs, positions and kept records. Private to the
 * room.
 *
 * A slot lives as long as the source, across assignments: librdkafka 2.0.2 keeps a partition's pause flag
 * over unassign and assign (rdkafka_partition.c clears it only in resume), so ours must outlive the
 * assignment too. */
#ifndef SIGNUP_KAFKA_TABLE_H
#define SIGNUP_KAFKA_TABLE_H

#include "signup/base/clock.h"
#include "signup/core/ports.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One fetched record that could not be given yet. */
struct stashed {
    struct stashed *next;
    rd_kafka_event_t *event;
    const rd_kafka_message_t *message; /* inside `event` */
};

enum slot_state {
    SLOT_FREE, /* not ours */
    /* assigned by the group, its start position not known yet; the pipeline does not know of it */
    SLOT_RESOLVING,
    SLOT_ACTIVE,  /* assigned, fetched */
    SLOT_BLOCKED, /* assigned, known to the pipeline, not fetched: its offset is not on the broker */
    SLOT_LEAVING  /* revoked; the pipeline has not answered yet and may still commit */
};

struct table_topic {
    struct table_topic *next;
    char *name;
    size_t name_len;
    struct slot **slots; /* by partition; NULL: never seen */
    int32_t slot_count;
};

struct slot {
    const struct table_topic *topic;
    int32_t partition;
    enum slot_state state;
    uint64_t epoch;          /* of the assignment; 0 while FREE or RESOLVING */
    int64_t start;           /* where this assignment began */
    int64_t position;        /* one past the last record taken from the library in this assignment */
    bool first_commit;       /* `start` was our choice and is not committed yet */
    bool asked;              /* in the commit whose answer the library owes */
    bool gone;               /* its topic went missing in this assignment: nothing of it is committed any more */
    bool crossed;            /* a commit was under way then: the group's offset may be that of the topic's last life */
    bool want_paused;        /* by the pipeline */
    bool is_paused;          /* in the library; see above */
    bool told;               /* its trouble has been logged */
    unsigned reset_tries;    /* times the library wrongly reported its offset gone */
    char why[256];           /* its trouble, "" none */
    mono_us_t trouble_since; /* ACTIVE, but what it fetches cannot be read; 0: it can */
    mono_us_t trouble_until; /* unless it is reported again */
    struct stashed *stash_first;
    struct stashed *stash_last;
};

struct table {
    struct table_topic *topics;
    struct slot **slots; /* all */
    size_t slot_count;
    size_t stash_count;
    size_t stash_bytes;
};

void table_fini(struct table *table);

/* NULL: never seen. */
struct slot *table_find(const struct table *table, const char *topic, int32_t partition);
/* Makes it if need be. Ends the process when memory has run out, as librdkafka itself does. */
struct slot *table_slot(struct table *table, const char *topic, int32_t partition);
/* The topic is not there (deleted, perhaps to be made anew): see `gone` and `crossed`. */
void table_topic_gone(struct table *table, const char *topic);
/* The slot of a partition as the pipeline knows it; NULL: unknown or of an earlier epoch. */
struct slot *table_current(const struct table *table, const struct partition *partition);

size_t table_count(const struct table *table, enum slot_state state);
struct partition table_partition(const struct slot *slot);

/* Takes the event. */
void table_stash(struct table *table, struct slot *slot, rd_kafka_event_t *event,
                 const rd_kafka_message_t *message);
/* The next record of any slot that is not paused; gives the event. False: none. */
bool table_unstash(struct table *table, struct slot **slot, rd_kafka_event_t **event,
                   const rd_kafka_message_t **message);
void table_drop_stash(struct table *table, struct slot *slot);

/* Memory that must be had. */
void *table_alloc(size_t bytes);
/* Ends the process: there is none. */
_Noreturn void table_no_memory(void);

#endif
