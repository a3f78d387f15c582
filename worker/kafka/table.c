/* Partitions, their slots, and the records kept for those that are paused. */
#include "table.h"

#include "signup/base/log.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void table_no_memory(void)
{
    LOG_AT_PLAIN(LOG_ERROR, "kafka",
                 "out of memory: the process ends; nothing is lost, another takes its partitions");
    abort();
}

void *table_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (!memory)
        table_no_memory();
    return memory;
}

static struct table_topic *find_topic(const struct table *table, const char *name)
{
    for (struct table_topic *topic = table->topics; topic; topic = topic->next)
        if (strcmp(topic->name, name) == 0)
            return topic;
    return NULL;
}

struct slot *table_find(const struct table *table, const char *topic, int32_t partition)
{
    const struct table_topic *found = find_topic(table, topic);
    if (!found || partition < 0 || partition >= found->slot_count)
        return NULL;
    return found->slots[partition];
}

static struct table_topic *make_topic(struct table *table, const char *name)
{
    struct table_topic *topic = table_alloc(sizeof *topic);
    topic->name_len = strlen(name);
    topic->name = table_alloc(topic->name_len + 1);
    memcpy(topic->name, name, topic->name_len);
    topic->next = table->topics;
    table->topics = topic;
    return topic;
}

static struct slot **grown(struct slot **slots, size_t from, size_t to)
{
    struct slot **bigger = table_alloc(to * sizeof(struct slot *));
    if (from)
        memcpy(bigger, slots, from * sizeof(struct slot *));
    free((void *)slots);
    return bigger;
}

struct slot *table_slot(struct table *table, const char *name, int32_t partition)
{
    assert(partition >= 0);
    struct table_topic *topic = find_topic(table, name);
    if (!topic)
        topic = make_topic(table, name);
    if (partition >= topic->slot_count) {
        int32_t count = partition + 16;
        topic->slots = grown(topic->slots, (size_t)topic->slot_count, (size_t)count);
        topic->slot_count = count;
    }
    if (topic->slots[partition])
        return topic->slots[partition];
    struct slot *slot = table_alloc(sizeof *slot);
    slot->topic = topic;
    slot->partition = partition;
    topic->slots[partition] = slot;
    table->slots = grown(table->slots, table->slot_count, table->slot_count + 1);
    table->slots[table->slot_count++] = slot;
    return slot;
}

void table_topic_gone(struct table *table, const char *topic)
{
    for (size_t i = 0; i < table->slot_count; i++) {
        struct slot *slot = table->slots[i];
        if (strcmp(slot->topic->name, topic) != 0)
            continue;
        slot->gone = slot->gone || slot->state != SLOT_FREE;
        slot->crossed = slot->crossed || slot->asked;
    }
}

struct slot *table_current(const struct table *table, const struct partition *partition)
{
    for (const struct table_topic *topic = table->topics; topic; topic = topic->next) {
        if (topic->name_len != partition->topic.len ||
            memcmp(topic->name, partition->topic.ptr, topic->name_len) != 0)
            continue;
        if (partition->partition < 0 || partition->partition >= topic->slot_count)
            return NULL;
        struct slot *slot = topic->slots[partition->partition];
        return slot && slot->epoch && slot->epoch == partition->epoch ? slot : NULL;
    }
    return NULL;
}

size_t table_count(const struct table *table, enum slot_state state)
{
    size_t count = 0;
    for (size_t i = 0; i < table->slot_count; i++)
        count += table->slots[i]->state == state;
    return count;
}

struct partition table_partition(const struct slot *slot)
{
    return (struct partition){{slot->topic->name, slot->topic->name_len}, slot->partition, slot->epoch};
}

static size_t message_bytes(const rd_kafka_message_t *message)
{
    return message->len + message->key_len;
}

void table_stash(struct table *table, struct slot *slot, rd_kafka_event_t *event,
                 const rd_kafka_message_t *message)
{
    struct stashed *stashed = table_alloc(sizeof *stashed);
    stashed->event = event;
    stashed->message = message;
    if (slot->stash_last)
        slot->stash_last->next = stashed;
    else
        slot->stash_first = stashed;
    slot->stash_last = stashed;
    table->stash_count++;
    table->stash_bytes += message_bytes(message);
}

static struct stashed *stash_pop(struct table *table, struct slot *slot)
{
    struct stashed *stashed = slot->stash_first;
    if (!(slot->stash_first = stashed->next))
        slot->stash_last = NULL;
    table->stash_count--;
    table->stash_bytes -= message_bytes(stashed->message);
    return stashed;
}

bool table_unstash(struct table *table, struct slot **slot, rd_kafka_event_t **event,
                   const rd_kafka_message_t **message)
{
    if (!table->stash_count)
        return false;
    for (size_t i = 0; i < table->slot_count; i++) {
        struct slot *candidate = table->slots[i];
        if (!candidate->stash_first || candidate->want_paused)
            continue;
        struct stashed *stashed = stash_pop(table, candidate);
        *slot = candidate;
        *event = stashed->event;
        *message = stashed->message;
        free(stashed);
        return true;
    }
    return false;
}

void table_drop_stash(struct table *table, struct slot *slot)
{
    while (slot->stash_first) {
        struct stashed *stashed = stash_pop(table, slot);
        rd_kafka_event_destroy(stashed->event);
        free(stashed);
    }
}

void table_fini(struct table *table)
{
    for (size_t i = 0; i < table->slot_count; i++) {
        table_drop_stash(table, table->slots[i]);
        free(table->slots[i]);
    }
    free((void *)table->slots);
    while (table->topics) {
        struct table_topic *topic = table->topics;
        table->topics = topic->next;
        free((void *)topic->slots);
        free(topic->name);
        free(topic);
    }
    *table = (struct table){0};
}
