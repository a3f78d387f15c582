/* Metrics in Prometheus' text format, from one table: a line here is a metric there, and nowhere else. */
#include "signup/ops/metrics.h"

#include "signup/base/log.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef SIGNUP_VERSION
#error "SIGNUP_VERSION comes from the build"
#endif

/* G(type, name, help, value): one sample each; `s` is the snapshot, `p` the process. Counters of the pipeline
 * come from their own table (PIPELINE_COUNTERS). */
#define METRICS_SINGLE(G)                                                                                    \
    G("gauge", "signup_ready", "1 while /readyz says ready", s->ready)                                       \
    G("gauge", "signup_draining", "1 while the worker finishes in order to stop", s->status.draining)        \
    G("gauge", "signup_intake_open", "1 while records are taken from the topics", s->status.intake_open)     \
    G("gauge", "signup_deliveries", "events in memory", s->status.deliveries)                                \
    G("gauge", "signup_calls_in_flight", "upsert calls under way", s->status.calls_in_flight)                \
    G("gauge", "signup_validating", "phone lookups under way before an upsert", s->status.validating)        \
    G("gauge", "signup_waiting_retry", "events in memory that wait for their next try",                      \
      s->status.waiting_retry)                                                                               \
    G("gauge", "signup_waiting_claim", "events in memory that another worker holds a claim on",              \
      s->status.waiting_claim)                                                                               \
    G("gauge", "signup_deliveries_taken_up", "of the events in memory: parked ones that were taken up",                  \
      s->status.taken_up)                                                                                    \
    G("gauge", "signup_fuse_blown", "1 while the fuse holds the upsert route", s->status.fuse_blown)         \
    G("gauge", "signup_dead_letter_alarm",                                                                   \
      "1 while dead letters cannot be published, or one has waited in the ledger for minutes",               \
      snapshot_letters_alarm(s))                                                                             \
    G("counter", "signup_ledger_forgotten_total",                                                            \
      "times that the ledger did not know records that it had confirmed: a failover lost them",              \
      s->ledger_forgotten)                                                                                   \
    G("gauge", "signup_lanes", "contacts with events in memory", s->status.lanes)                            \
    G("gauge", "signup_memory_bytes", "memory of events under way", s->status.memory_bytes)                  \
    G("gauge", "signup_oldest_unfinished_seconds", "age of the oldest event in memory, 0 for none",          \
      oldest_seconds(s))                                                                                     \
    G("gauge", "signup_assigned_partitions", "partitions that this worker consumes", s->partition_count)     \
    G("counter", "signup_log_lines_dropped_total",                                                           \
      "log lines lost because standard error was full or closed", log_dropped())                             \
    G("counter", "process_cpu_seconds_total", "user and system CPU time of the process", p->cpu_seconds)     \
    G("gauge", "process_resident_memory_bytes", "resident memory of the process", p->resident_bytes)         \
    G("gauge", "process_open_fds", "open file descriptors", p->open_fds)                                     \
    G("gauge", "process_max_fds", "limit of open file descriptors", p->max_fds)                              \
    G("gauge", "process_start_time_seconds", "start of the process since the epoch",                         \
      (double)s->started.us / (double)US_PER_S)

/* G(type, name, help, value) of what lies in the ledger: the same figures from every worker. */
#define METRICS_BACKLOG(G)                                                                                   \
    G("gauge", "signup_backlog_parked", "events parked in the ledger", b->parked)                            \
    G("gauge", "signup_backlog_parked_due", "of these: due, those in work again among them", b->parked_due)             \
    G("gauge", "signup_backlog_parked_due_oldest_seconds",                                                   \
      "for how long the first of these has been due, 0 for none", seconds(b->oldest_parked_due_us))          \
    G("gauge", "signup_backlog_dead_unpublished", "dead events whose letter is not published yet",           \
      b->dead_unpublished)                                                                                   \
    G("gauge", "signup_backlog_dead_unpublished_oldest_seconds",                                             \
      "since the death of the first of these, 0 for none", seconds(b->oldest_unpublished_us))                \
    G("gauge", "signup_backlog_outcomes_unpublished", "outcomes that wait for their topic",                  \
      b->outcomes_unpublished)                                                                               \
    G("gauge", "signup_backlog_outcomes_unpublished_oldest_seconds", "for how long the first of them has",   \
      seconds(b->oldest_outcome_us))                                                                         \
    G("gauge", "signup_backlog_age_seconds", "since these figures were counted",                             \
      seconds(s->now.us - b->as_of.us))

/* G(type, name, help, value) of the day's money: of all workers together, so the same figures from every worker. */
#define METRICS_SPEND(G)                                                                                     \
    G("gauge", "signup_validation_spent_today_usd",                                                          \
      "what phone validation has cost today (UTC), of all workers together", usd((uint64_t)spend->spent))    \
    G("gauge", "signup_validation_day_ends_seconds", "until the day of that figure ends",                    \
      seconds(spend->day_ends_in_us))

#define METRICS_BUDGET(G)                                                                                    \
    G("gauge", "signup_validation_budget_usd", "validation.daily_budget_usd", usd((uint64_t)spend->budget))  \
    G("gauge", "signup_validation_budget_exhausted", "1 while the day's validation budget is spent",         \
      spend->exhausted)

#define METRICS_LETTERS(G)                                                                                   \
    G("counter", "signup_dead_letter_pointers_total",                                                        \
      "dead letters too large for the topic, published as a pointer to the ledger", l->pointers)             \
    G("counter", "signup_dead_letter_producers_replaced_total",                                              \
      "producers of dead letters given up after a fatal error", l->replaced)

static double seconds(int64_t us)
{
    return us > 0 ? (double)us / (double)US_PER_S : 0;
}

/* Money is counted in millionths. */
static double usd(uint64_t millionths)
{
    return (double)millionths / 1e6;
}

static double oldest_seconds(const struct ops_snapshot *s)
{
    return s->status.has_oldest ? seconds(s->now.us - s->status.oldest_since.us) : 0;
}

/* ------------------------------------------------------------------ writing */

static void write_head(struct buf *out, const char *type, const char *name, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

#define EXACT_BELOW 9007199254740992.0 /* 2^53: whole numbers below are written as such */

static void write_value(struct buf *out, double value)
{
    buf_append_char(out, ' ');
    if (value >= 0 && value < EXACT_BELOW && value == (double)(int64_t)value)
        buf_append_int(out, (int64_t)value);
    else
        buf_append_json_real(out, value);
    buf_append_char(out, '\n');
}

/* Label values of our own making need no escapes; topics get them. */
static void write_label_text(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\n') {
            buf_append_str(out, "\\n");
            continue;
        }
        if (text.ptr[i] == '"' || text.ptr[i] == '\\')
            buf_append_char(out, '\\');
        buf_append_char(out, text.ptr[i]);
    }
}

static void write_labelled(struct buf *out, const char *name, const char *label, const char *text,
                           double value)
{
    buf_printf(out, "%s{%s=\"%s\"}", name, label, text);
    write_value(out, value);
}

static void write_single(struct buf *out, const struct ops_snapshot *s, const struct metrics_process *p)
{
#define G(type, name, help, value)                                                                           \
    write_head(out, type, name, help);                                                                       \
    buf_append_str(out, name);                                                                               \
    write_value(out, (double)(value));
    METRICS_SINGLE(G)
    const struct snapshot_backlog *b = &s->backlog;
    if (b->known) {
        METRICS_BACKLOG(G)
    }
    const struct snapshot_letters *l = &s->letters;
    if (l->known) {
        METRICS_LETTERS(G)
    }
    const struct pipeline_spend *spend = &s->status.spend;
    if (spend->known) {
        METRICS_SPEND(G)
    }
    if (spend->known && spend->budget != BUDGET_NONE) {
        METRICS_BUDGET(G)
    }
#undef G
}

/* Shown in another form: money as dollars, missed journeys by list. */
static bool has_own_form(const char *name)
{
    return strcmp(name, "validation_cost") == 0 || strcmp(name, "journeys_missed") == 0;
}

static void write_counter(struct buf *out, const char *name, const char *help, double value)
{
    buf_printf(out, "# HELP signup_%s_total %s\n# TYPE signup_%s_total counter\n", name, help, name);
    buf_printf(out, "signup_%s_total", name);
    write_value(out, value);
}

static void write_counters(struct buf *out, const struct pipeline_counters *counters)
{
#define X(name, help)                                                                                        \
    if (!has_own_form(#name))                                                                                \
        write_counter(out, #name, help, (double)counters->name);
    PIPELINE_COUNTERS(X)
#undef X
    write_counter(out, "validation_cost_usd", "what the validations of this worker have cost, in US dollars",
                  usd(counters->validation_cost));
    static const char answers[] = "signup_call_answers_total";
    write_head(out, "counter", answers, "answers of the upsert route by class");
    for (enum outcome_class cls = 0; cls < OUTCOME_CLASS_COUNT; cls++)
        write_labelled(out, answers, "class", outcome_class_str(cls), (double)counters->by_class[cls]);
}

/* ------------------------------------------------------------------ families with labels */

static double gate_open(const struct ops_snapshot *s, const struct pipeline_gate_status *gate)
{
    (void)s;
    return gate->open;
}

static double gate_in_flight(const struct ops_snapshot *s, const struct pipeline_gate_status *gate)
{
    (void)s;
    return (double)gate->in_flight;
}

static double gate_limit(const struct ops_snapshot *s, const struct pipeline_gate_status *gate)
{
    (void)s;
    return (double)gate->limit;
}

static double gate_limit_max(const struct ops_snapshot *s, const struct pipeline_gate_status *gate)
{
    (void)s;
    return (double)gate->limit_max;
}

static double gate_closed_seconds(const struct ops_snapshot *s, const struct pipeline_gate_status *gate)
{
    return gate->open ? 0 : seconds(s->now.us - gate->closed_since.us);
}

static const struct {
    const char *name;
    const char *help;
    double (*value)(const struct ops_snapshot *s, const struct pipeline_gate_status *gate);
} gate_metrics[] = {
    {"signup_gate_open", "1 while the route admits work", gate_open},
    {"signup_gate_in_flight", "operations of the route under way", gate_in_flight},
    {"signup_gate_limit", "operations that the route admits at a time, as it is now", gate_limit},
    {"signup_gate_limit_max", "operations that the route admits at a time, at most", gate_limit_max},
    {"signup_gate_closed_seconds", "for how long the route has been closed, 0 while open",
     gate_closed_seconds},
};

static void write_gates(struct buf *out, const struct ops_snapshot *s)
{
    for (size_t i = 0; i < sizeof gate_metrics / sizeof gate_metrics[0]; i++) {
        write_head(out, "gauge", gate_metrics[i].name, gate_metrics[i].help);
        for (size_t gate = 0; gate < PIPELINE_GATES; gate++)
            if (s->status.gates[gate].route)
                write_labelled(out, gate_metrics[i].name, "route", s->status.gates[gate].route,
                               gate_metrics[i].value(s, &s->status.gates[gate]));
    }
}

/* -1: not known, and then there is no sample: a made-up one would draw a cliff. */
static int64_t partition_watermark(const struct snapshot_partition *p)
{
    return p->status.watermark;
}
static int64_t partition_committed(const struct snapshot_partition *p)
{
    return p->status.committed;
}
static int64_t partition_lag(const struct snapshot_partition *p)
{
    return p->lag;
}
static int64_t partition_unfinished(const struct snapshot_partition *p)
{
    return (int64_t)p->status.unfinished;
}
static int64_t partition_paused(const struct snapshot_partition *p)
{
    return p->status.paused;
}

static const struct {
    const char *name;
    const char *help;
    int64_t (*value)(const struct snapshot_partition *partition);
} partition_metrics[] = {
    {"signup_partition_watermark_offset", "next offset that may be committed", partition_watermark},
    {"signup_partition_committed_offset", "offset that the broker has acknowledged", partition_committed},
    {"signup_partition_lag_records", "records on the broker that are not finished here", partition_lag},
    {"signup_partition_unfinished_records", "records read and not finished", partition_unfinished},
    {"signup_partition_paused", "1 while the partition is not read from", partition_paused},
};

static void write_partitions(struct buf *out, const struct ops_snapshot *s)
{
    for (size_t i = 0; i < sizeof partition_metrics / sizeof partition_metrics[0] && s->partition_count;
         i++) {
        const char *name = partition_metrics[i].name;
        write_head(out, "gauge", name, partition_metrics[i].help);
        for (size_t part = 0; part < s->partition_count; part++) {
            const struct snapshot_partition *partition = &s->partitions[part];
            int64_t value = partition_metrics[i].value(partition);
            if (value < 0)
                continue;
            buf_printf(out, "%s{topic=\"", name);
            write_label_text(out, partition->status.partition.topic);
            buf_printf(out, "\",partition=\"%" PRId32 "\"} %" PRId64 "\n",
                       partition->status.partition.partition, value);
        }
    }
}

/* The label is the number of a sending list, which is no person's phone. "other" is always there, so that the family is too. */
static void write_lists(struct buf *out, const char *name, const char *help, const struct snapshot_lists *lists)
{
    if (!lists)
        return;
    write_head(out, "counter", name, help);
    for (size_t i = 0; i < lists->count; i++)
        write_labelled(out, name, "list", lists->lists[i].number, (double)lists->lists[i].count);
    write_labelled(out, name, "list", "other", (double)lists->other);
}

static void write_servers(struct buf *out, const struct ops_snapshot *s)
{
    static const char name[] = "signup_server_connected";
    write_head(out, "gauge", name, "1 while the server can be used");
    for (size_t i = 0; i < s->server_count; i++)
        write_labelled(out, name, "server", s->servers[i].name, s->servers[i].connected);
}

static void write_histogram(struct buf *out, const struct metrics_histogram *histogram)
{
    static const char *const bounds[METRICS_BUCKET_COUNT] = {
#define X(us, text) text,
        METRICS_BUCKETS(X)
#undef X
            "+Inf"};
    static const char name[] = "signup_call_duration_seconds";
    uint64_t count = 0;
    write_head(out, "histogram", name, "durations of upsert calls");
    for (size_t i = 0; i < METRICS_BUCKET_COUNT; i++) {
        count += histogram->counts[i];
        buf_printf(out, "%s_bucket{le=\"%s\"} %" PRIu64 "\n", name, bounds[i], count);
    }
    buf_printf(out, "%s_sum", name);
    write_value(out, (double)histogram->sum_us / (double)US_PER_S);
    buf_printf(out, "%s_count %" PRIu64 "\n", name, count);
}

void metrics_render(struct buf *out, const struct ops_snapshot *snapshot,
                    const struct metrics_process *process)
{
    write_head(out, "gauge", "signup_build_info", "always 1; the version is its label");
    write_labelled(out, "signup_build_info", "version", SIGNUP_VERSION, 1);
    if (snapshot->counters)
        write_counters(out, snapshot->counters);
    write_lists(out, "signup_journeys_missed_total",
                "accepted signups of which the API said that a journey was not used, by sending list",
                snapshot->journeys_missed);
    write_lists(out, "signup_list_not_found_total",
                "signups that died because the account has no such sending list", snapshot->list_not_found);
    write_single(out, snapshot, process);
    write_gates(out, snapshot);
    write_servers(out, snapshot);
    write_partitions(out, snapshot);
    if (snapshot->calls)
        write_histogram(out, snapshot->calls);
}

/* ------------------------------------------------------------------ sources of figures */

void metrics_observe_call(struct metrics_histogram *histogram, int64_t us)
{
    static const int64_t bounds_us[] = {
#define X(us, text) us,
        METRICS_BUCKETS(X)
#undef X
    };
    size_t bucket = 0;
    while (bucket < METRICS_BUCKET_INF && us > bounds_us[bucket])
        bucket++;
    histogram->counts[bucket]++;
    histogram->sum_us += us > 0 ? (uint64_t)us : 0;
}

static uint64_t resident_bytes(void)
{
    unsigned long long total = 0;
    unsigned long long resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file)
        return 0;
    char line[128] = "";
    if (fgets(line, sizeof line, file) && sscanf(line, "%llu %llu", &total, &resident) != 2)
        resident = 0;
    (void)fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t count_fds(void)
{
    uint64_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return 0;
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    (void)closedir(dir);
    return count - 1; /* the directory's own */
}

void metrics_process_read(struct metrics_process *process)
{
    struct rusage usage;
    struct rlimit limit;
    *process = (struct metrics_process){.resident_bytes = resident_bytes(), .open_fds = count_fds()};
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        process->cpu_seconds = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        process->max_fds = limit.rlim_cur;
}
