/* Metrics in Prometheus' text format, from one table. */
#ifndef SIGNUP_OPS_METRICS_H
#define SIGNUP_OPS_METRICS_H

#include "signup/base/buf.h"
#include "signup/ops/snapshot.h"

#include <stdint.h>

/* Upper bounds of the buckets in microseconds; what is slower is counted in the last one, +Inf. */
#define METRICS_BUCKETS(X)                                                                                   \
    X(2500, "0.0025")                                                                                        \
    X(5000, "0.005") X(10000, "0.01") X(25000, "0.025") X(50000, "0.05") X(100000, "0.1") X(250000, "0.25")  \
        X(500000, "0.5") X(1000000, "1") X(2500000, "2.5") X(5000000, "5") X(10000000, "10")                 \
            X(30000000, "30")

enum metrics_bucket {
#define X(us, text) METRICS_BUCKET_##us,
    METRICS_BUCKETS(X)
#undef X
        METRICS_BUCKET_INF,
    METRICS_BUCKET_COUNT
};

/* All zero is empty. */
struct metrics_histogram {
    uint64_t counts[METRICS_BUCKET_COUNT]; /* each bucket alone, not cumulated */
    uint64_t sum_us;
};

/* One call that took `us` microseconds; negative counts as 0. */
void metrics_observe_call(struct metrics_histogram *histogram, int64_t us);

/* What the operating system says of this process; zero where it does not. */
struct metrics_process {
    double cpu_seconds;
    uint64_t resident_bytes;
    uint64_t open_fds;
    uint64_t max_fds;
};
void metrics_process_read(struct metrics_process *process);

/* Appends the whole page; the caller asks buf_ok(). */
void metrics_render(struct buf *out, const struct ops_snapshot *snapshot,
                    const struct metrics_process *process);

#endif
