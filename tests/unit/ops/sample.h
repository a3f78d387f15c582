/* A snapshot with something in everything, for the tests of metrics, status and endpoints. */
#ifndef SIGNUP_TESTS_OPS_SAMPLE_H
#define SIGNUP_TESTS_OPS_SAMPLE_H

#include "signup/ops/metrics.h"
#include "signup/ops/snapshot.h"

static const struct pipeline_counters sample_counters = {
    .records = 12345,
    .accepted = 12000,
    .dead = 7,
    .calls = 12010,
    .validation_cost = 12003000,
    .journeys_missed = 9,
    .by_class = {[OUTCOME_ACCEPTED] = 12000, [OUTCOME_THROTTLED] = 3}};

static const struct snapshot_partition sample_partitions[] = {
    {.status = {.partition = {{"signups", 7}, 0, 1},
                .watermark = 500,
                .committed = 480,
                .last_delivered = 520,
                .unfinished = 20},
     .lag = 1000},
    {.status = {.partition = {{"we\"ird\\to\npic", 13}, 11, 2},
                .watermark = -1,
                .committed = -1,
                .last_delivered = -1,
                .paused = true},
     .lag = -1},
};

static struct metrics_histogram sample_calls;

static const struct snapshot_lists sample_missed = {.lists = {{"+18005550100", 7}, {"+18005550101", 2}}, .count = 2};
static const struct snapshot_lists sample_not_found = {.lists = {{"+18005550199", 40}}, .count = 1, .other = 3};

/* As of 2025-03-15T14:30:00.250Z, five minutes after the start; the upsert route has been closed for 2.5 s.
 */
static inline void sample_fill(void *ctx, struct ops_snapshot *s)
{
    const wall_us_t wall = {INT64_C(1742049000250000)};
    (void)ctx;
    *s = (struct ops_snapshot){
        .now = {INT64_C(900000000)},
        .wall = wall,
        .started = {wall.us - 300 * US_PER_S},
        .uptime_us = 300 * US_PER_S,
        .ready = true,
        .servers = {{"kafka", true, "joined", "", {wall.us - 200 * US_PER_S}},
                    {"postgres", false, "away", "caf\xe9: \"no\"\nroute", {0}}},
        .server_count = 2,
        .counters = &sample_counters,
        .status = {.deliveries = 40,
                   .calls_in_flight = 16,
                   .waiting_retry = 4,
                   .waiting_claim = 1,
                   .lanes = 39,
                   .memory_bytes = 65536,
                   .intake_open = false,
                   .intake_why = "memory",
                   .taken_up = 3,
                   .fuse_blown = true,
                   .gates = {{"upsert", false, "401 unauthorized", {INT64_C(897500000)}, 0, 16, 256},
                             {"validate", false, "billing: no\npayment", {INT64_C(840000000)}, 0, 256, 256},
                             {"ledger", true, "", {0}, 2, 8, 8},
                             {"dead_letter", true, "", {0}, 0, 1, 1},
                             {"outcomes", true, "", {0}, 1, 1, 1}},
                   .validating = 6,
                   .spend = {.known = true, .spent = 24999000, .budget = 25000000, .exhausted = true, .day_ends_in_us = 34199750000},
                   .has_oldest = true,
                   .oldest_partition = {{"signups", 7}, 3, 1},
                   .oldest_offset = 501,
                   .oldest_since = {INT64_C(888000000)},
                   .oldest_state = "waits for its next try",
                   .oldest_attempts = 2,
                   .oldest_code = "unauthorized"},
        .partitions = sample_partitions,
        .partition_count = 2,
        .calls = &sample_calls,
        .backlog = {.known = true,
                    .as_of = {INT64_C(892500000)},
                    .parked = 70,
                    .parked_due = 8,
                    .dead_unpublished = 2,
                    .oldest_parked_due_us = 1500000,
                    .oldest_unpublished_us = 121 * US_PER_S,
                    .outcomes_unpublished = 6,
                    .oldest_outcome_us = 3250000},
        .letters = {.known = true, .pointers = 5, .replaced = 1},
        .journeys_missed = &sample_missed,
        .list_not_found = &sample_not_found,
    };
}

#endif
