/* sim-run: many seeds in several processes, what failed and why, and the planted bugs that must be caught. */
#include "sim.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX 64
#define BUG_FAILURES 40
#define SHRINK_SEEDS 150
#define CHILD_SECONDS 60 /* of the processor: a seed that takes longer hangs */

/* One child's part of the shared memory. */
struct desk {
    _Atomic uint64_t seed; /* the one that it runs */
    _Atomic uint64_t done;
    struct sim_result result;
    struct sim_totals totals;
};

struct shared {
    _Atomic uint64_t next; /* seed to be run */
    struct desk desks[JOBS_MAX];
};

struct arguments {
    uint64_t first;
    uint64_t count;
    int jobs;
    const char *bug;
    bool expect_failure;
    bool keep_going;
    unsigned failures_max; /* with keep_going; 0: no end */
    bool shrink;
    struct sim_options options;
};

/* Failures by check: what a person looks at first after --keep-going. */
#define TALLY_MAX 64
static struct tally {
    char check[SIM_CHECK_BYTES];
    unsigned count;
    uint64_t seed; /* the first one */
} tally[TALLY_MAX];
static size_t tally_count;

static struct shared *shared;

static void set_bug(enum planted_bug bug)
{
#ifdef SIGNUP_PLANTED_BUGS
    planted_bug = bug;
#else
    (void)bug;
#endif
}

static const struct {
    const char *name;
    const char *text;
} bugs[] = {
#define X(name, text) {#name, text},
    PLANTED_BUGS(X)
#undef X
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void totals_add(struct sim_totals *to, const struct sim_totals *from)
{
#define X(name) to->name += from->name;
    SIM_TOTALS(X)
#undef X
}

/* ---- children */

static void hang_limit(void)
{
    const struct itimerval limit = {.it_value = {.tv_sec = CHILD_SECONDS}};
    setitimer(ITIMER_PROF, &limit, NULL);
}

static void child_run(const struct sim_options *options, struct desk *desk, uint64_t end)
{
    struct sim_options mine = *options;
    uint64_t seed;
    while ((seed = atomic_fetch_add(&shared->next, 1)) < end) {
        mine.seed = seed;
        atomic_store(&desk->seed, seed);
        hang_limit();
        sim_run_seed(&mine, &desk->result);
        totals_add(&desk->totals, &desk->result.totals);
        atomic_fetch_add(&desk->done, 1);
    }
}

static pid_t child_start(const struct sim_options *options, int at, uint64_t end)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        perror("sim-run: fork");
        exit(1);
    }
    if (pid == 0) {
        child_run(options, &shared->desks[at], end);
        exit(0);
    }
    return pid;
}

/* What a child's end means; true: a seed failed, `result` says how. */
static bool child_failed(int status, struct desk *desk, struct sim_result *result)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return false;
    *result = desk->result;
    if (WIFEXITED(status) && WEXITSTATUS(status) == SIM_EXIT_FAILED)
        return true;
    result->failed = true;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF)
        snprintf(result->check, sizeof result->check, "hangs");
    else if (WIFSIGNALED(status))
        snprintf(result->check, sizeof result->check, "core.%s",
                 WTERMSIG(status) == SIGABRT ? "assert" : "crash");
    else
        snprintf(result->check, sizeof result->check, "core.exit");
    snprintf(result->text, sizeof result->text, "the process ended with %s %d (see standard error)",
             WIFSIGNALED(status) ? "signal" : "status",
             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return true;
}

/* Runs one seed in a child of its own. With `quiet` nothing of it is seen. */
static bool seed_fails(const struct sim_options *options, bool quiet, struct sim_result *result)
{
    struct desk *desk = &shared->desks[JOBS_MAX - 1];
    memset(&desk->result, 0, sizeof desk->result);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (quiet && !freopen("/dev/null", "w", stderr))
            _exit(1);
        hang_limit();
        sim_run_seed(options, &desk->result);
        fflush(stdout);
        _exit(0);
    }
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return child_failed(status, desk, result);
}

/* ---- the shortest explanation */

static bool fails_alike(const struct sim_options *options, const char *check)
{
    struct sim_result result;
    return seed_fails(options, true, &result) && strcmp(result.check, check) == 0;
}

static bool shrink_size(struct sim_options *best, const char *check)
{
    static const size_t sizes[] = {2, 4, 8, 16};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (size_t workers = 1; workers <= 2; workers++) {
            struct sim_options tried = *best;
            tried.records_max = sizes[s];
            tried.workers_max = workers;
            if (fails_alike(&tried, check)) {
                *best = tried;
                return true;
            }
            for (uint64_t seed = 1; seed <= SHRINK_SEEDS; seed++) {
                tried.seed = seed;
                if (fails_alike(&tried, check)) {
                    *best = tried;
                    return true;
                }
            }
        }
    }
    return false;
}

static void shrink(struct sim_options *best, const char *check)
{
    shrink_size(best, check);
    for (int fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        struct sim_options tried = *best;
        tried.without |= UINT64_C(1) << fault;
        if (fails_alike(&tried, check))
            *best = tried;
    }
}

static void print_command(const struct sim_options *options, const char *bug)
{
    printf("again: tests/sim/run --seed %llu --seeds 1 --trace", (unsigned long long)options->seed);
    if (options->records_max)
        printf(" --records %zu", options->records_max);
    if (options->workers_max)
        printf(" --workers %zu", options->workers_max);
    for (int fault = 0, any = 0; fault < SIM_FAULT_COUNT; fault++) {
        if (options->without >> fault & 1)
            printf("%s%s", any++ ? "," : " --without ", sim_fault_str((enum sim_fault)fault));
    }
    if (bug)
        printf(" --bug %s", bug);
    printf("\n");
}

static void explain(const struct arguments *arguments, uint64_t seed, const struct sim_result *result)
{
    struct sim_options options = arguments->options;
    struct sim_result again;
    options.seed = seed;
    printf("\nseed %llu FAILED %s at %.6f s: %s\n", (unsigned long long)seed, result->check,
           (double)result->at_us / 1e6, result->text);
    print_command(&options, arguments->bug);
    if (arguments->shrink && strcmp(result->check, "hangs") != 0)
        shrink(&options, result->check);
    printf("shortest trace found (seed %llu):\n", (unsigned long long)options.seed);
    options.trace = true;
    if (!seed_fails(&options, false, &again))
        printf("it does not fail when it is traced: the simulation is not deterministic\n");
    print_command(&options, arguments->bug);
}

/* ---- many seeds */

static uint64_t done_count(int jobs)
{
    uint64_t done = 0;
    for (int j = 0; j < jobs; j++)
        done += atomic_load(&shared->desks[j].done);
    return done;
}

static void progress(const struct arguments *arguments, double since, bool last)
{
    static double shown;
    double now = seconds();
    if (!isatty(STDERR_FILENO) || (!last && now - shown < 0.2))
        return;
    shown = now;
    uint64_t done = done_count(arguments->jobs);
    int width = 40;
    int full = arguments->count ? (int)((double)done * width / (double)arguments->count) : width;
    fprintf(stderr, "\r[%.*s%*s] %llu/%llu seeds, %.0f/s%s", full, "########################################",
            width - full, "", (unsigned long long)done, (unsigned long long)arguments->count,
            (double)done / (now - since + 1e-9), last ? "\n" : "");
}

static void tally_add(const char *check, uint64_t seed)
{
    size_t at = 0;
    while (at < tally_count && strcmp(tally[at].check, check) != 0)
        at++;
    if (at == TALLY_MAX)
        return;
    if (at == tally_count) {
        snprintf(tally[tally_count++].check, sizeof tally[at].check, "%s", check);
        tally[at].count = 0;
        tally[at].seed = seed;
    }
    tally[at].count++;
}

/* Gives how many seeds failed; the first failure is left in *first. */
static unsigned seeds_run(const struct arguments *arguments, bool explained, struct sim_result *first,
                          uint64_t *first_seed)
{
    pid_t pids[JOBS_MAX];
    unsigned failures = 0;
    int alive = 0;
    uint64_t end = arguments->first + arguments->count;
    double since = seconds();
    memset(shared, 0, sizeof *shared);
    atomic_store(&shared->next, arguments->first);
    for (int j = 0; j < arguments->jobs; j++, alive++)
        pids[j] = child_start(&arguments->options, j, end);
    while (alive) {
        int status;
        progress(arguments, since, false);
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0) {
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
            continue;
        }
        int j = 0;
        while (j < arguments->jobs && pids[j] != pid)
            j++;
        if (j == arguments->jobs)
            continue;
        struct sim_result result;
        alive--;
        if (!child_failed(status, &shared->desks[j], &result))
            continue;
        uint64_t seed = atomic_load(&shared->desks[j].seed);
        atomic_fetch_add(&shared->desks[j].done, 1);
        tally_add(result.check, seed);
        if (!failures++) {
            *first = result;
            *first_seed = seed;
        }
        if (explained && !arguments->keep_going)
            explain(arguments, seed, &result);
        if (!arguments->keep_going || (arguments->failures_max && failures >= arguments->failures_max))
            atomic_store(&shared->next, end);
        if (atomic_load(&shared->next) < end) {
            pids[j] = child_start(&arguments->options, j, end);
            alive++;
        }
    }
    progress(arguments, since, true);
    return failures;
}

static void print_totals(const struct arguments *arguments, double took)
{
    struct sim_totals totals = {0};
    for (int j = 0; j < arguments->jobs; j++)
        totals_add(&totals, &shared->desks[j].totals);
    uint64_t done = done_count(arguments->jobs);
    printf("%llu seeds in %.1f s, %.0f seeds/s with %d jobs\n", (unsigned long long)done, took,
           (double)done / (took + 1e-9), arguments->jobs);
    int column = 0;
#define X(name) printf("%s%s %llu", column ? ", " : "", #name, (unsigned long long)totals.name), column++;
    SIM_TOTALS(X)
#undef X
    printf("\n");
}

/* ---- planted bugs */

/* How each planted bug shows: the seed that catches it first, and every check that did among the first
 * failures. */
static int bugs_run(struct arguments arguments)
{
    int missed = 0;
    arguments.keep_going = true;
    arguments.failures_max = BUG_FAILURES;
    printf("%-28s %-8s %-16s %s\n", "planted bug", "seed", "caught by",
           "what it said, and which checks caught it how often");
    for (int b = 1; b < PLANTED_COUNT; b++) {
        struct sim_result result;
        uint64_t seed;
        set_bug((enum planted_bug)b);
        tally_count = 0;
        if (!seeds_run(&arguments, false, &result, &seed)) {
            printf("%-28s %-8s %-16s %s\n", bugs[b].name, "-", "NOT CAUGHT", bugs[b].text);
            missed++;
            continue;
        }
        printf("%-28s %-8llu %-16s %.160s\n%55s", bugs[b].name, (unsigned long long)seed, result.check,
               result.text, "");
        for (size_t t = 0; t < tally_count; t++)
            printf("%s%s %u", t ? ", " : "", tally[t].check, tally[t].count);
        printf("\n");
    }
    printf("%d planted bugs, %d not caught within %llu seeds each\n", PLANTED_COUNT - 1, missed,
           (unsigned long long)arguments.count);
    return missed ? 1 : 0;
}

static bool bug_choose(const char *name)
{
    for (int b = 0; b < PLANTED_COUNT; b++) {
        if (strcasecmp(bugs[b].name, name) == 0) {
            set_bug((enum planted_bug)b);
            return true;
        }
    }
    return false;
}

/* ---- the command line */

static void usage(FILE *to)
{
    fprintf(
        to,
        "usage: sim-run [options]\n"
        "  --seeds N          how many seeds (1000)\n"
        "  --seed S           the first of them (1)\n"
        "  --jobs J           processes (as many as processors)\n"
        "  --bug NAME|all     with a planted bug (build with SIGNUP_PLANTED_BUGS); all: each must be caught\n"
        "  --expect-failure   succeed only if a seed fails\n"
        "  --keep-going       do not stop at the first failure; count failures by check instead of "
        "explaining them\n"
        "  --no-shrink        explain with the failing seed itself, not with a smaller one\n"
        "  --trace            one seed, and print all that happens in it\n"
        "  --records N        at most N records, --workers N: at most N workers\n"
        "  --without A,B      without these troubles:");
    for (int fault = 0; fault < SIM_FAULT_COUNT; fault++)
        fprintf(to, " %s", sim_fault_str((enum sim_fault)fault));
    fprintf(to, "\n");
}

static uint64_t number(const char *text)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || *end || end == text) {
        fprintf(stderr, "sim-run: \"%s\" is not a number\n", text);
        exit(64);
    }
    return value;
}

static void without(struct sim_options *options, char *list)
{
    char *rest;
    for (char *name = strtok_r(list, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        enum sim_fault fault;
        if (!sim_fault_parse(name, &fault)) {
            fprintf(stderr, "sim-run: no such trouble: %s\n", name);
            exit(64);
        }
        options->without |= UINT64_C(1) << fault;
    }
}

enum argument {
    O_SEEDS = 256,
    O_SEED,
    O_JOBS,
    O_BUG,
    O_EXPECT,
    O_KEEP,
    O_NO_SHRINK,
    O_TRACE,
    O_RECORDS,
    O_WORKERS,
    O_WITHOUT,
    O_HELP
};

static void read_arguments(int argc, char **argv, struct arguments *out)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, O_SEEDS},
        {"seed", required_argument, NULL, O_SEED},
        {"jobs", required_argument, NULL, O_JOBS},
        {"bug", required_argument, NULL, O_BUG},
        {"expect-failure", no_argument, NULL, O_EXPECT},
        {"keep-going", no_argument, NULL, O_KEEP},
        {"no-shrink", no_argument, NULL, O_NO_SHRINK},
        {"trace", no_argument, NULL, O_TRACE},
        {"records", required_argument, NULL, O_RECORDS},
        {"workers", required_argument, NULL, O_WORKERS},
        {"without", required_argument, NULL, O_WITHOUT},
        {"help", no_argument, NULL, O_HELP},
        {NULL, 0, NULL, 0},
    };
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    *out = (struct arguments){
        .first = 1, .count = 1000, .jobs = processors > 0 ? (int)processors : 1, .shrink = true};
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case O_SEEDS: out->count = number(optarg); break;
        case O_SEED: out->first = number(optarg); break;
        case O_JOBS: out->jobs = (int)number(optarg); break;
        case O_BUG: out->bug = optarg; break;
        case O_EXPECT: out->expect_failure = true; break;
        case O_KEEP: out->keep_going = true; break;
        case O_NO_SHRINK: out->shrink = false; break;
        case O_TRACE: out->options.trace = out->options.trace_all = true; break;
        case O_RECORDS: out->options.records_max = number(optarg); break;
        case O_WORKERS: out->options.workers_max = number(optarg); break;
        case O_WITHOUT: without(&out->options, optarg); break;
        case O_HELP: usage(stdout); exit(0);
        default: usage(stderr); exit(64);
        }
    }
    if (optind != argc || !out->count || out->jobs < 1) {
        usage(stderr);
        exit(64);
    }
    if (out->jobs >= JOBS_MAX)
        out->jobs = JOBS_MAX - 1;
}

int main(int argc, char **argv)
{
    struct arguments arguments;
    read_arguments(argc, argv, &arguments);
#ifndef SIGNUP_PLANTED_BUGS
    if (arguments.bug) {
        fprintf(stderr, "sim-run: built without SIGNUP_PLANTED_BUGS: there is no bug to choose\n");
        return 64;
    }
#endif
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        perror("sim-run: mmap");
        return 1;
    }
    event_prepare();
    if (arguments.bug && strcmp(arguments.bug, "all") == 0)
        return bugs_run(arguments);
    if (arguments.bug && !bug_choose(arguments.bug)) {
        fprintf(stderr, "sim-run: no such planted bug: %s\n", arguments.bug);
        return 64;
    }
    struct sim_result result;
    if (arguments.options.trace) {
        arguments.options.seed = arguments.first;
        bool failed = seed_fails(&arguments.options, false, &result);
        return failed == arguments.expect_failure ? 0 : 1;
    }
    uint64_t seed = 0;
    double since = seconds();
    unsigned failures = seeds_run(&arguments, !arguments.expect_failure, &result, &seed);
    print_totals(&arguments, seconds() - since);
    for (size_t t = 0; t < tally_count; t++)
        printf("  %-20s %u seeds, the first %llu\n", tally[t].check, tally[t].count,
               (unsigned long long)tally[t].seed);
    if (failures)
        printf("%u seeds FAILED\n", failures);
    else
        printf("all seeds passed\n");
    return (failures > 0) == arguments.expect_failure ? 0 : 1;
}
