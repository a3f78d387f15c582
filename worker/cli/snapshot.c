/* What /metrics, /status and /readyz show: one snapshot of the pipeline and its adapters, made anew for each request. */
#include "observer.h"
#include "service_state.h"

#include "signup/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITIONS_MAX 4096

/* Kept between requests, so that a scrape allocates only when there are more partitions than ever before. */
struct snapshot_memory {
    struct pipeline_partition_status *core;
    struct kafka_partition_status *kafka;
    struct snapshot_partition *out;
    size_t size;
    char reasons[SNAPSHOT_REASONS_MAX][256];
    char letters_why[256];
    char outcomes_why[256];
};

static struct snapshot_memory memory; /* one service a process */

static bool memory_reserve(size_t count)
{
    if (count <= memory.size)
        return true;
    struct pipeline_partition_status *core = realloc(memory.core, count * sizeof *core);
    if (core)
        memory.core = core;
    struct kafka_partition_status *kafka = realloc(memory.kafka, count * sizeof *kafka);
    if (kafka)
        memory.kafka = kafka;
    struct snapshot_partition *out = realloc(memory.out, count * sizeof *out);
    if (out)
        memory.out = out;
    if (!core || !kafka || !out)
        return false;
    memory.size = count;
    return true;
}

static const struct kafka_partition_status *kafka_find(size_t count, const struct partition *partition)
{
    for (size_t i = 0; i < count; i++) {
        if (memory.kafka[i].partition.epoch == partition->epoch &&
            memory.kafka[i].partition.partition == partition->partition &&
            slice_equal(memory.kafka[i].partition.topic, partition->topic))
            return &memory.kafka[i];
    }
    return NULL;
}

static void partitions_fill(const struct service *service, struct ops_snapshot *snapshot)
{
    size_t count = pipeline_partitions(service->pipeline, NULL, 0);
    if (!memory_reserve(count < PARTITIONS_MAX ? count : PARTITIONS_MAX))
        return;
    count = pipeline_partitions(service->pipeline, memory.core, memory.size);
    size_t known = service->source ? kafka_source_partitions(service->source, memory.kafka, memory.size) : 0;
    if (count > memory.size)
        count = memory.size;
    if (known > memory.size)
        known = memory.size;
    for (size_t i = 0; i < count; i++) {
        const struct kafka_partition_status *kafka = kafka_find(known, &memory.core[i].partition);
        int64_t lag = -1;
        if (kafka && kafka->high >= 0) {
            /* What is not finished here: from the watermark, or from where reading stands while nothing was delivered. */
            int64_t from = memory.core[i].watermark >= 0 ? memory.core[i].watermark : kafka->position;
            lag = from >= 0 && kafka->high >= from ? kafka->high - from : -1;
        }
        memory.out[i] = (struct snapshot_partition){.status = memory.core[i], .lag = lag};
    }
    snapshot->partitions = memory.out;
    snapshot->partition_count = count;
}

static void not_ready(struct ops_snapshot *snapshot, const char *who, const char *why)
{
    if (snapshot->reason_count == SNAPSHOT_REASONS_MAX)
        return;
    char *text = memory.reasons[snapshot->reason_count];
    snprintf(text, sizeof memory.reasons[0], "%s: %s", who, why);
    snapshot_not_ready(snapshot, text);
}

static void server_add(struct ops_snapshot *snapshot, struct snapshot_server server)
{
    if (snapshot->server_count < SNAPSHOT_SERVERS_MAX)
        snapshot->servers[snapshot->server_count++] = server;
}

static void kafka_fill(const struct service *service, struct ops_snapshot *snapshot)
{
    struct kafka_source_status kafka;
    kafka_source_status(service->source, &kafka);
    const char *why = kafka.why[0] ? kafka.why : "joining the consumer group";
    bool usable = kafka.state == KAFKA_SOURCE_JOINED;
    server_add(snapshot, (struct snapshot_server){.name = "kafka",
                                                  .connected = usable,
                                                  .state = kafka_source_state_str(kafka.state),
                                                  .why = usable ? "" : why});
    if (!usable)
        not_ready(snapshot, "kafka", why);
}

static void ledger_fill(const struct service *service, struct ops_snapshot *snapshot)
{
    struct ledger_status ledger;
    ledger_status(service->ledger, &ledger);
    bool up = ledger.condition == LEDGER_CONDITION_UP;
    snapshot->ledger_forgotten = ledger.forgotten;
    const char *why = ledger.why[0] ? ledger.why : "connecting";
    server_add(snapshot, (struct snapshot_server){.name = "postgres",
                                                  .connected = up,
                                                  .state = ledger_condition_str(ledger.condition),
                                                  .why = up ? "" : why,
                                                  .since = ledger.since});
    const struct pipeline_gate_status *gate = snapshot_gate(snapshot, "ledger");
    if (!up)
        not_ready(snapshot, "postgres", why);
    else if (!gate->open) /* connected, but the last statement was not answered */
        not_ready(snapshot, "postgres", gate->why);
}

static void contacts_fill(struct ops_snapshot *snapshot)
{
    const struct pipeline_gate_status *gate = snapshot_gate(snapshot, "upsert");
    wall_us_t since = {gate->open ? 0 : snapshot->wall.us - (snapshot->now.us - gate->closed_since.us)};
    server_add(snapshot, (struct snapshot_server){.name = "contacts_api",
                                                  .connected = gate->open,
                                                  .state = gate->open ? "up" : "away",
                                                  .why = gate->why,
                                                  .since = since});
    if (!gate->open)
        not_ready(snapshot, "contacts_api", gate->why);
}

/* A producer knows better than the pipeline why its topic takes nothing. */
static void why_replace(struct ops_snapshot *snapshot, const char *route, const char *why, char kept[256])
{
    for (size_t i = 0; i < PIPELINE_GATES && why[0]; i++) {
        struct pipeline_gate_status *gate = &snapshot->status.gates[i];
        if (!gate->route || gate->open || strcmp(gate->route, route) != 0)
            continue;
        snprintf(kept, 256, "%s", why);
        gate->why = kept;
    }
}

static void letters_fill(const struct service *service, struct ops_snapshot *snapshot)
{
    struct kafka_dead_letter_status letters;
    kafka_dead_letter_status(service->dead_letter, &letters);
    snapshot->letters = (struct snapshot_letters){.known = true, .pointers = letters.pointers, .replaced = letters.recreated};
    why_replace(snapshot, "dead_letter", letters.why, memory.letters_why);
}

static void outcomes_fill(const struct service *service, struct ops_snapshot *snapshot)
{
    struct kafka_outcomes_status outcomes;
    if (!service->outcomes)
        return;
    kafka_outcomes_status(service->outcomes, &outcomes);
    why_replace(snapshot, "outcomes", outcomes.why, memory.outcomes_why);
}

static void fill(void *ctx, struct ops_snapshot *snapshot)
{
    const struct service *service = ctx;
    snapshot->now = clock_mono_now();
    snapshot->wall = clock_wall_now();
    snapshot->started = service->started_at;
    snapshot->uptime_us = snapshot->wall.us - service->started_at.us;
    snapshot->ready = true;
    snapshot->counters = pipeline_counters(service->pipeline);
    snapshot->calls = observer_calls();
    snapshot->journeys_missed = observer_journeys_missed();
    snapshot->list_not_found = observer_list_not_found();
    pipeline_status(service->pipeline, &snapshot->status);
    if (service->phase == SERVICE_CLOSING) {
        not_ready(snapshot, "worker", "shutting down"); /* the adapters may be gone */
        return;
    }
    partitions_fill(service, snapshot);
    kafka_fill(service, snapshot);
    ledger_fill(service, snapshot);
    contacts_fill(snapshot);
    letters_fill(service, snapshot);
    outcomes_fill(service, snapshot);
    backlog_read(snapshot->now, &snapshot->backlog);
    if (service->phase != SERVICE_RUNNING)
        not_ready(snapshot, "worker", "shutting down");
}

void service_watch(struct service *service, struct admin_config *config)
{
    config->fill = fill;
    config->ctx = service;
}
