/* The metrics page: promtool accepts it, and its figures are those of the snapshot. */
#include "support.h"

#include "sample.h"

#include <fcntl.h>
#include <sys/wait.h>

static const struct metrics_process process = {
    .cpu_seconds = 1.25, .resident_bytes = 1 << 20, .open_fds = 9, .max_fds = 1024};

static void render(struct buf *out, const struct ops_snapshot *snapshot)
{
    buf_init(out, 1 << 20);
    metrics_render(out, snapshot, &process);
    buf_append_char(out, '\0');
    assert_true(buf_ok(out));
}

/* The exit code of `promtool check <what> [<file>]`, fed with the page; its output goes to standard error. */
static int promtool_check(const char *what, const char *file, const char *page)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[0], STDIN_FILENO);
        (void)dup2(STDERR_FILENO, STDOUT_FILENO);
        execlp("promtool", "promtool", "check", what, file, (char *)NULL);
        _exit(127);
    }
    (void)close(ends[0]);
    size_t len = strlen(page);
    assert_int_equal(write(ends[1], page, len), (ssize_t)len); /* smaller than a pipe's buffer */
    (void)close(ends[1]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int promtool(const char *page)
{
    return promtool_check("metrics", NULL, page);
}

static void test_promtool_accepts(void **state)
{
    (void)state;
    struct ops_snapshot snapshot;
    struct buf out;
    sample_fill(NULL, &snapshot);
    render(&out, &snapshot);
    assert_in_range(out.len, 1000, 60000);
    int code = promtool(out.data);
    if (code == 127)
        skip(); /* promtool comes with Debian's prometheus */
    assert_int_equal(code, 0);
    assert_int_equal(promtool("# HELP a_count x\n# TYPE a_count counter\na_count 1\n"),
                     3); /* it does judge */
    buf_fini(&out);
    struct ops_snapshot empty = {0};
    render(&out, &empty);
    assert_int_equal(promtool(out.data), 0);
    buf_fini(&out);
}

static void has_line(const char *page, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = page; *at; at = strchr(at, '\n') + 1)
        if (strncmp(at, line, len) == 0 && at[len] == '\n')
            return;
    fail_msg("no line %s", line);
}

static void test_figures(void **state)
{
    (void)state;
    struct ops_snapshot snapshot;
    struct buf out;
    sample_calls = (struct metrics_histogram){0};
    metrics_observe_call(&sample_calls, -5);
    metrics_observe_call(&sample_calls, 2500);
    metrics_observe_call(&sample_calls, 2501);
    metrics_observe_call(&sample_calls, 31 * US_PER_S);
    sample_fill(NULL, &snapshot);
    render(&out, &snapshot);
    static const char *const lines[] = {
        "# TYPE signup_records_total counter",
        "signup_records_total 12345",
        "signup_call_answers_total{class=\"accepted\"} 12000",
        "signup_call_answers_total{class=\"throttled\"} 3",
        "signup_call_answers_total{class=\"transport\"} 0",
        "signup_ready 1",
        "signup_intake_open 0",
        "signup_deliveries 40",
        "signup_calls_in_flight 16",
        "signup_memory_bytes 65536",
        "signup_oldest_unfinished_seconds 12",
        "signup_gate_open{route=\"upsert\"} 0",
        "signup_gate_open{route=\"ledger\"} 1",
        "signup_gate_closed_seconds{route=\"upsert\"} 2.5",
        "signup_gate_closed_seconds{route=\"ledger\"} 0",
        "signup_gate_open{route=\"validate\"} 0",
        "signup_gate_open{route=\"dead_letter\"} 1",
        "signup_gate_closed_seconds{route=\"validate\"} 60",
        "signup_gate_open{route=\"outcomes\"} 1",
        "signup_validating 6",
        "signup_validation_cost_usd_total 12.003",
        "signup_validation_spent_today_usd 24.999",
        "signup_validation_budget_usd 25",
        "signup_validation_budget_exhausted 1",
        "signup_validation_day_ends_seconds 34199.75",
        "# TYPE signup_journeys_missed_total counter",
        "signup_journeys_missed_total{list=\"+18005550100\"} 7",
        "signup_journeys_missed_total{list=\"+18005550101\"} 2",
        "signup_journeys_missed_total{list=\"other\"} 0",
        "signup_list_not_found_total{list=\"+18005550199\"} 40",
        "signup_list_not_found_total{list=\"other\"} 3",
        "signup_gate_limit{route=\"upsert\"} 16",
        "signup_gate_limit_max{route=\"upsert\"} 256",
        "signup_deliveries_taken_up 3",
        "signup_fuse_blown 1",
        "signup_dead_letter_alarm 1",
        "signup_backlog_parked 70",
        "signup_backlog_parked_due 8",
        "signup_backlog_parked_due_oldest_seconds 1.5",
        "signup_backlog_dead_unpublished 2",
        "signup_backlog_dead_unpublished_oldest_seconds 121",
        "signup_backlog_outcomes_unpublished 6",
        "signup_backlog_outcomes_unpublished_oldest_seconds 3.25",
        "signup_backlog_age_seconds 7.5",
        "signup_dead_letter_pointers_total 5",
        "signup_dead_letter_producers_replaced_total 1",
        "signup_server_connected{server=\"kafka\"} 1",
        "signup_server_connected{server=\"postgres\"} 0",
        "signup_partition_watermark_offset{topic=\"signups\",partition=\"0\"} 500",
        "signup_partition_lag_records{topic=\"signups\",partition=\"0\"} 1000",
        "signup_partition_paused{topic=\"we\\\"ird\\\\to\\npic\",partition=\"11\"} 1",
        "process_cpu_seconds_total 1.25",
        "process_resident_memory_bytes 1048576",
        "signup_call_duration_seconds_bucket{le=\"0.0025\"} 2",
        "signup_call_duration_seconds_bucket{le=\"0.005\"} 3",
        "signup_call_duration_seconds_bucket{le=\"30\"} 3",
        "signup_call_duration_seconds_bucket{le=\"+Inf\"} 4",
        "signup_call_duration_seconds_sum 31.005001",
        "signup_call_duration_seconds_count 4",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        has_line(out.data, lines[i]);
    has_line(out.data, "signup_build_info{version=\"" SIGNUP_VERSION "\"} 1");
    /* What is not known is not told. */
    assert_null(strstr(out.data, "signup_partition_watermark_offset{topic=\"we"));
    assert_null(strstr(out.data, "signup_partition_lag_records{topic=\"we"));
    buf_fini(&out);
}

static double value_of(const struct ops_snapshot *snapshot, const char *name)
{
    struct buf out;
    char start[96];
    render(&out, snapshot);
    (void)snprintf(start, sizeof start, "\n%s ", name);
    const char *at = strstr(out.data, start);
    double value = at ? strtod(at + strlen(start), NULL) : -1;
    buf_fini(&out);
    return value;
}

/* Late letters ring, and a topic that takes none; letters that have just died do not. */
static void test_alarm_for_letters(void **state)
{
    (void)state;
    static const char alarm[] = "signup_dead_letter_alarm";
    struct ops_snapshot snapshot;
    sample_fill(NULL, &snapshot);
    assert_true(value_of(&snapshot, alarm) == 1);
    snapshot.backlog.oldest_unpublished_us = SNAPSHOT_LETTERS_LATE_US;
    assert_true(value_of(&snapshot, alarm) == 0);
    assert_true(value_of(&snapshot, "signup_backlog_dead_unpublished") == 2);
    snapshot.status.gates[3].open = false;
    assert_true(value_of(&snapshot, alarm) == 1);
    snapshot.status.gates[3].open = true;
    snapshot.backlog = (struct snapshot_backlog){0};
    assert_true(value_of(&snapshot, alarm) == 0);
}

/* Figures that nobody has are not on the page: a zero would say that nothing waits. */
static void test_unknown_backlog(void **state)
{
    (void)state;
    struct ops_snapshot snapshot;
    struct buf out;
    sample_fill(NULL, &snapshot);
    snapshot.backlog = (struct snapshot_backlog){0};
    snapshot.letters = (struct snapshot_letters){0};
    render(&out, &snapshot);
    assert_null(strstr(out.data, "signup_backlog"));
    assert_null(strstr(out.data, "signup_dead_letter_pointers"));
    buf_fini(&out);
}

/* What the ledger has not said is not on the page, and no budget is no figure. */
static void test_spend(void **state)
{
    (void)state;
    struct ops_snapshot snapshot;
    struct buf out;
    sample_fill(NULL, &snapshot);
    snapshot.status.spend.budget = BUDGET_NONE;
    render(&out, &snapshot);
    assert_non_null(strstr(out.data, "\nsignup_validation_spent_today_usd 24.999\n"));
    assert_null(strstr(out.data, "signup_validation_budget"));
    buf_fini(&out);
    snapshot.status.spend.known = false;
    render(&out, &snapshot);
    assert_null(strstr(out.data, "signup_validation_spent"));
    assert_null(strstr(out.data, "signup_validation_budget"));
    buf_fini(&out);
}

/* Every counter of the pipeline is on the page; money as dollars, missed journeys by list. */
static void test_every_counter(void **state)
{
    (void)state;
    struct ops_snapshot snapshot;
    struct buf out;
    sample_fill(NULL, &snapshot);
    render(&out, &snapshot);
    size_t others = 0;
#define X(name, help) others += strstr(out.data, "\nsignup_" #name "_total ") == NULL;
    PIPELINE_COUNTERS(X)
#undef X
    assert_int_equal(others, 2);
    assert_non_null(strstr(out.data, "\nsignup_validation_cost_usd_total 12.003\n"));
    assert_non_null(strstr(out.data, "\nsignup_journeys_missed_total{"));
    assert_null(strstr(out.data, "signup_validation_cost_total"));
    buf_fini(&out);
}

/* ------------------------------------------------------------------ the runbook */

#define RUNBOOK SIGNUP_SOURCE_DIR "/deploy/operations.md"

/* "\nname " or "\nname{" stands on the page, for a histogram one of its parts. */
static bool page_has(const char *page, const char *name)
{
    static const char *const ends[] = {" ", "{"};
    char start[128];
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        (void)snprintf(start, sizeof start, "\n%s%s", name, ends[i]);
        if (strstr(page, start))
            return true;
    }
    return false;
}

/* Whatever the runbook and its alerts call a metric is one. */
static void test_runbook_names_metrics_that_exist(void **state)
{
    (void)state;
    struct ops_snapshot snapshot;
    struct buf out;
    sample_fill(NULL, &snapshot);
    render(&out, &snapshot);
    char *text = file_text(RUNBOOK);
    size_t found = 0;
    for (const char *at = text; (at = strstr(at, "signup_")) != NULL; found++) {
        char name[96];
        size_t len = strspn(at, "abcdefghijklmnopqrstuvwxyz0123456789_");
        assert_true(len < sizeof name);
        memcpy(name, at, len);
        name[len] = '\0';
        if (!page_has(out.data, name))
            fail_msg("operations.md speaks of %s, which is no metric", name);
        at += len;
    }
    assert_in_range(found, 20, 200);
    free(text);
    buf_fini(&out);
}

static void test_runbook_alerts_are_rules(void **state)
{
    (void)state;
    static const char fence[] = "```yaml\n";
    char rules[8192];
    char *text = file_text(RUNBOOK);
    const char *from = strstr(text, fence);
    assert_non_null(from);
    (void)snprintf(rules, sizeof rules, "%s", from + strlen(fence));
    free(text);
    char *end = strstr(rules, "```");
    assert_non_null(end);
    *end = '\0';
    char path[64];
    file_make(path, rules);
    int code = promtool_check("rules", path, "");
    assert_int_equal(unlink(path), 0);
    if (code == 127)
        skip();
    assert_int_equal(code, 0);
}

static void test_process(void **state)
{
    (void)state;
    struct metrics_process before;
    struct metrics_process after;
    metrics_process_read(&before);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    metrics_process_read(&after);
    (void)close(fd);
    assert_int_equal(after.open_fds, before.open_fds + 1);
    assert_true(after.cpu_seconds >= before.cpu_seconds && after.cpu_seconds > 0);
    assert_in_range(after.resident_bytes, 100000, UINT64_C(1) << 40);
    assert_true(after.max_fds >= after.open_fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_promtool_accepts),
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_spend),
        cmocka_unit_test(test_every_counter),
        cmocka_unit_test(test_alarm_for_letters),
        cmocka_unit_test(test_unknown_backlog),
        cmocka_unit_test(test_runbook_names_metrics_that_exist),
        cmocka_unit_test(test_runbook_alerts_are_rules),
        cmocka_unit_test(test_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
