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

/* The exit code of `promtool check metrics` fed with the page; its output goes to standard error. */
static int promtool(const char *page)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[0], STDIN_FILENO);
        (void)dup2(STDERR_FILENO, STDOUT_FILENO);
        execlp("promtool", "promtool", "check", "metrics", (char *)NULL);
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

/* Every counter of the pipeline is on the page. */
static void test_every_counter(void **state)
{
    (void)state;
    struct ops_snapshot snapshot;
    struct buf out;
    sample_fill(NULL, &snapshot);
    render(&out, &snapshot);
#define X(name, help) assert_non_null(strstr(out.data, "\nsignup_" #name "_total "));
    PIPELINE_COUNTERS(X)
#undef X
    buf_fini(&out);
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
        cmocka_unit_test(test_every_counter),
        cmocka_unit_test(test_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
