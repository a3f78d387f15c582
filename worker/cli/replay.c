/* signup-worker replay: dead events back to life. Plan (what is selected, and what of it may go), then batch
 * by batch: look the contacts up, hand the events over. A batch is one transaction; what has gone is not dead
 * any more, and that is all that a second run needs to know. */
#include "replay_job.h"
#include "service.h"

#include "signup/ops/term.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#define BATCH_MAX 200
#define BATCH_BYTES ((size_t)8 << 20) /* of letters */
#define BATCHES_PER_S 4               /* with --rate, so that it is steady */
#define RECONNECTS 8
#define RECONNECT_CAP_MS 2000
#define NAP_MS 50

/* ------------------------------------------------------------------ interrupts */

static volatile sig_atomic_t interrupts;

static void on_interrupt(int signum)
{
    if (++interrupts > 1)
        _exit(128 + signum); /* the batch under way is a transaction: it goes whole or not at all */
}

bool replay_is_interrupted(void)
{
    return interrupts > 0;
}

static void interrupts_catch(void)
{
    const struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ------------------------------------------------------------------ what the run needs */

void replay_job_fail(struct replay_job *job, int exit_code)
{
    static const int order[] = {0,          EX_DATAERR, EX_TEMPFAIL, EX_UNAVAILABLE,
                                EX_NOINPUT, EX_OSERR,   EX_CONFIG,   EX_NOPERM};
    int rank[2] = {0, 0};
    for (int i = 0; i < (int)(sizeof order / sizeof order[0]); i++) {
        rank[0] = order[i] == job->exit_code ? i : rank[0];
        rank[1] = order[i] == exit_code ? i : rank[1];
    }
    if (rank[1] > rank[0])
        job->exit_code = exit_code;
}

static void nap(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

enum ledger_verdict replay_insist(struct replay_job *job,
                                  enum ledger_verdict (*step)(struct replay_job *job, void *arg), void *arg)
{
    enum ledger_verdict verdict = step(job, arg);
    int wait_ms = 100;
    for (int i = 0; verdict == LEDGER_VERDICT_AWAY && i < RECONNECTS && !replay_is_interrupted(); i++) {
        nap(wait_ms);
        wait_ms = wait_ms * 2 < RECONNECT_CAP_MS ? wait_ms * 2 : RECONNECT_CAP_MS;
        verdict = ledger_replay_reopen(job->ledger);
        if (verdict == LEDGER_VERDICT_WELL)
            verdict = step(job, arg);
    }
    return verdict;
}

static void ledger_complain(struct replay_job *job, enum ledger_verdict verdict)
{
    fprintf(stderr, "signup-worker replay: %s\n", job->error[0] ? job->error : "out of memory");
    replay_job_fail(job, ledger_exit_code(verdict));
}

static void who_fill(struct replay_job *job)
{
    char host[HOST_NAME_MAX + 1] = "";
    const struct passwd *user = getpwuid(getuid());
    gethostname(host, sizeof host - 1);
    if (job->options.by)
        snprintf(job->who, sizeof job->who, "%s", job->options.by);
    else if (user)
        snprintf(job->who, sizeof job->who, "%s@%s", user->pw_name, host);
    else
        snprintf(job->who, sizeof job->who, "%u@%s", (unsigned)getuid(), host);
}

/* ------------------------------------------------------------------ the plan */

static bool on_row(void *ctx, const struct replay_row *row)
{
    struct replay_job *job = ctx;
    const struct plan_facts facts = {
        .event_id = row->event_id,
        .phone_number = row->phone_number,
        .list_number = row->list_number,
        .code = row->code,
        .ad_network = row->ad_network,
        .http_status = row->http_status,
        .died_at = row->finished_at,
        .superseded = row->superseded,
        .original = row->original,
        .dead = true,
        .letter = PLAN_NO_LETTER,
    };
    if (plan_add(&job->plan, &facts))
        return true;
    replay_job_fail(job, EX_OSERR);
    return false;
}

static bool plan_make(struct replay_job *job)
{
    enum ledger_verdict verdict;
    if (job->options.from_topic) {
        job->letters = letters_create(job->config, &job->options);
        int code = job->letters ? letters_read(job->letters) : EX_OSERR;
        replay_job_fail(job, code);
        if (code)
            return false;
        verdict = letters_plan(job->letters, job->ledger, &job->plan);
    } else {
        const struct replay_filter filter = replay_options_filter(&job->options);
        verdict = ledger_replay_select(job->ledger, &filter, on_row, job);
    }
    if (verdict != LEDGER_VERDICT_WELL)
        ledger_complain(job, verdict);
    else if (job->exit_code == EX_OSERR)
        fputs("signup-worker replay: out of memory\n", stderr);
    return job->exit_code == 0;
}

/* ------------------------------------------------------------------ looking up */

struct progress {
    struct term_progress bar;
    struct replay_job *job;
    uint64_t done;
};

static bool is_enough(void *ctx)
{
    (void)ctx;
    return replay_is_interrupted();
}

static void draw(void *ctx)
{
    struct progress *progress = ctx;
    term_progress_update(&progress->bar, progress->done, clock_mono_now());
}

static void lookup_complain(struct replay_job *job)
{
    fprintf(stderr, "signup-worker replay: %s\n", job->stop.text);
    replay_job_fail(job, job->stop.exit_code);
}

static bool lookups_open(struct replay_job *job, struct progress *progress)
{
    if (job->options.include_unsubscribed || !job->plan.fates[PLAN_READY])
        return true;
    job->lookups = lookups_create(job->config, job->options.rate, is_enough, draw, progress, &job->stop);
    if (!job->lookups)
        lookup_complain(job);
    return job->lookups != NULL;
}

/* Events whose contacts have answered get their fate; those whose have not are left as they are. False: no
 * use in going on. */
static bool look_up(struct replay_job *job, struct plan_event **events, size_t count)
{
    struct plan_contact *contacts[BATCH_MAX];
    size_t contact_count = 0;
    assert(count <= BATCH_MAX);
    for (size_t i = 0; i < count && job->lookups; i++) {
        if (events[i]->contact && events[i]->contact->standing == CONTACT_UNASKED)
            contacts[contact_count++] = events[i]->contact;
    }
    if (contact_count)
        lookups_run(job->lookups, contacts, contact_count, &job->stop);
    for (size_t i = 0; i < count && job->lookups; i++) {
        if (events[i]->contact && events[i]->contact->standing == CONTACT_UNSUBSCRIBED)
            plan_set_fate(&job->plan, events[i], PLAN_UNSUBSCRIBED);
        else if (events[i]->contact && events[i]->contact->standing == CONTACT_UNKNOWN)
            plan_set_fate(&job->plan, events[i], PLAN_UNKNOWN);
    }
    return !job->stop.exit_code && !replay_is_interrupted();
}

/* ------------------------------------------------------------------ handing over */

struct batch {
    struct plan_event *events[BATCH_MAX];
    struct replay_item items[BATCH_MAX];
    struct replay_letter letters[BATCH_MAX];
    struct signup signups[BATCH_MAX];
    size_t count;
    struct arena arena;
};

static struct replay_tally tally_of(const struct plan *plan)
{
    return (struct replay_tally){
        .unsubscribed = plan->fates[PLAN_UNSUBSCRIBED],
        .superseded = plan->fates[PLAN_SUPERSEDED],
        .without_original = plan->fates[PLAN_WITHOUT_ORIGINAL],
        .not_dead = plan->fates[PLAN_NOT_DEAD],
        .failed = plan->fates[PLAN_UNKNOWN] + plan->fates[PLAN_REFUSED],
    };
}

static enum ledger_verdict step_begin(struct replay_job *job, void *arg)
{
    return ledger_replay_begin(job->ledger, arg, &job->replay_id);
}

static enum ledger_verdict step_hand_over(struct replay_job *job, void *arg)
{
    struct batch *batch = arg;
    const struct replay_tally tally = tally_of(&job->plan);
    return ledger_replay_hand_over(job->ledger, job->replay_id, batch->items, batch->count, &tally);
}

static enum ledger_verdict step_finish(struct replay_job *job, void *arg)
{
    const struct replay_tally tally = tally_of(&job->plan);
    (void)arg;
    return ledger_replay_finish(job->ledger, job->replay_id, &tally);
}

/* The record of the replay comes with the first batch: a run that brings nothing back leaves nothing behind.
 */
static enum ledger_verdict begin_once(struct replay_job *job)
{
    if (job->replay_id)
        return LEDGER_VERDICT_WELL;
    char *selection = replay_options_json(&job->options);
    struct replay_run run = {
        .who = job->who, .reason = job->options.reason, .selection = selection, .selected = job->plan.count};
    enum ledger_verdict verdict = selection ? replay_insist(job, step_begin, &run) : LEDGER_VERDICT_AWAY;
    free(selection);
    return verdict;
}

static enum plan_fate fate_of(enum replay_answer answer)
{
    switch (answer) {
    case REPLAY_PARKED:
        return PLAN_REPLAYED;
    case REPLAY_WITHOUT_ORIGINAL:
        return PLAN_WITHOUT_ORIGINAL;
    case REPLAY_REFUSED:
        return PLAN_REFUSED;
    case REPLAY_NOT_DEAD:
        break;
    }
    return PLAN_NOT_DEAD;
}

static bool letter_load(struct replay_job *job, struct batch *batch, size_t i)
{
    size_t letter = batch->events[i]->letter;
    if (letter == PLAN_NO_LETTER || !letters_has_original(job->letters, letter))
        return true;
    batch->items[i].letter = &batch->letters[i];
    return letters_load(job->letters, letter, &batch->arena, &batch->letters[i], &batch->signups[i]);
}

/* What has not got another fate by now goes, in the plan's order; `batch` holds what goes together. */
static bool batch_go(struct replay_job *job, struct batch *batch)
{
    if (!batch->count)
        return true;
    enum ledger_verdict verdict = begin_once(job);
    if (verdict == LEDGER_VERDICT_WELL)
        verdict = replay_insist(job, step_hand_over, batch);
    for (size_t i = 0; verdict == LEDGER_VERDICT_WELL && i < batch->count; i++)
        plan_set_fate(&job->plan, batch->events[i], fate_of(batch->items[i].answer));
    if (verdict != LEDGER_VERDICT_WELL) {
        ledger_complain(job, verdict);
        job->lost = true;
    }
    batch->count = 0;
    arena_fini(&batch->arena);
    return verdict == LEDGER_VERDICT_WELL;
}

/* A batch holds either letters or rows, and not too many bytes: what comes differently begins the next one.
 */
static bool hand_over(struct replay_job *job, struct plan_event **events, size_t count, struct batch *batch)
{
    bool well = true;
    batch->count = 0;
    arena_init(&batch->arena, SIZE_MAX);
    for (size_t i = 0; well && i < count; i++) {
        if (events[i]->fate != PLAN_READY)
            continue;
        size_t n = batch->count++;
        batch->events[n] = events[i];
        batch->items[n] = (struct replay_item){.event_id = events[i]->event_id};
        if (!letter_load(job, batch, n)) {
            fprintf(stderr, "signup-worker replay: a letter cannot be read again: %s\n", strerror(errno));
            replay_job_fail(job, EX_OSERR);
            well = false;
        } else if (n && (batch->items[n].letter == NULL) != (batch->items[n - 1].letter == NULL)) {
            batch->count--;
            well = batch_go(job, batch);
            i--; /* the same again, as the first of the next */
        } else if (batch->arena.held_bytes > BATCH_BYTES) {
            well = batch_go(job, batch);
        }
    }
    well = well && batch_go(job, batch);
    arena_fini(&batch->arena);
    return well;
}

/* ------------------------------------------------------------------ the run */

static size_t batch_size(const struct replay_job *job)
{
    double steady = job->options.rate > 0 ? job->options.rate / BATCHES_PER_S : BATCH_MAX;
    return steady >= BATCH_MAX ? BATCH_MAX : steady < 1 ? 1 : (size_t)steady;
}

static void pause_until(mono_us_t due, struct progress *progress)
{
    for (mono_us_t now = clock_mono_now(); !mono_reached(now, due) && !replay_is_interrupted();
         now = clock_mono_now()) {
        int64_t left_ms = (due.us - now.us + 999) / US_PER_MS;
        nap(left_ms < NAP_MS ? (int)left_ms : NAP_MS);
        draw(progress);
    }
}

/* The next events that may go, no more than --limit allows. */
static size_t next_events(struct replay_job *job, size_t *at, struct plan_event **events)
{
    struct plan *plan = &job->plan;
    uint64_t gone = job->options.dry_run ? 0 : plan->fates[PLAN_REPLAYED];
    size_t room = batch_size(job);
    size_t count = 0;
    if (job->options.limit && job->options.limit - gone < room)
        room = (size_t)(job->options.limit - gone);
    for (; *at < plan->count && count < room; (*at)++) {
        if (plan->events[*at].fate == PLAN_READY)
            events[count++] = &plan->events[*at];
    }
    return count;
}

static void run(struct replay_job *job, struct progress *progress)
{
    struct plan_event *events[BATCH_MAX];
    struct batch *batch = calloc(1, sizeof *batch);
    size_t at = 0;
    size_t count;
    if (!batch)
        replay_job_fail(job, EX_OSERR);
    while (batch && !replay_is_interrupted() && (count = next_events(job, &at, events)) > 0) {
        bool on = look_up(job, events, count);
        size_t ready = 0;
        for (size_t i = 0; i < count; i++)
            ready += events[i]->fate == PLAN_READY;
        if (on && ready) {
            pause_until(pacer_take(&job->pacer, ready, clock_mono_now()), progress);
            on = !replay_is_interrupted() && hand_over(job, events, count, batch);
        }
        progress->done += count;
        draw(progress);
        if (!on)
            break;
    }
    free(batch);
    if (job->stop.exit_code)
        lookup_complain(job);
    job->beyond_limit = job->options.limit && job->plan.fates[PLAN_REPLAYED] >= job->options.limit;
    if (job->replay_id && !job->lost)
        job->lost = replay_insist(job, step_finish, NULL) != LEDGER_VERDICT_WELL;
}

/* Only what must be known to say what would go. */
static void dry_run(struct replay_job *job, struct progress *progress)
{
    struct plan_event *events[BATCH_MAX];
    struct plan *plan = &job->plan;
    for (size_t at = 0; job->lookups && at < plan->count;) {
        size_t count = 0;
        for (; at < plan->count && count < BATCH_MAX; at++) {
            if (plan->events[at].fate == PLAN_READY)
                events[count++] = &plan->events[at];
        }
        bool on = look_up(job, events, count);
        progress->done += count;
        draw(progress);
        if (!on)
            break;
    }
    if (job->stop.exit_code)
        lookup_complain(job);
}

static void judge(struct replay_job *job)
{
    const struct plan *plan = &job->plan;
    job->interrupted = replay_is_interrupted();
    if (plan->fates[PLAN_WITHOUT_ORIGINAL] || plan->fates[PLAN_REFUSED] ||
        (job->letters && letters_unreadable(job->letters)))
        replay_job_fail(job, EX_DATAERR);
    if (plan->fates[PLAN_UNKNOWN] || (job->interrupted && (plan->fates[PLAN_READY] || job->waiting)))
        replay_job_fail(job, EX_TEMPFAIL);
    if (job->lost)
        replay_job_fail(job, EX_UNAVAILABLE);
    for (const struct replay_outcome *o = job->outcomes; o; o = o->hh.next) {
        if (!o->accepted)
            replay_job_fail(job, EX_DATAERR);
    }
}

static void go(struct replay_job *job)
{
    struct progress progress = {.job = job};
    interrupts_catch();
    term_progress_init(&progress.bar, stderr, job->options.dry_run ? "looking up" : "replaying",
                       job->plan.fates[PLAN_READY], clock_mono_now());
    if (lookups_open(job, &progress)) {
        if (job->options.dry_run)
            dry_run(job, &progress);
        else
            run(job, &progress);
    }
    term_progress_finish(&progress.bar);
    if (job->options.wait && job->plan.fates[PLAN_REPLAYED] && !job->lost && !replay_is_interrupted())
        replay_wait(job);
    judge(job);
    replay_report(job);
}

static unsigned needs_of(const struct replay_options *options)
{
    return CONFIG_NEEDS_POSTGRES | (options->include_unsubscribed ? 0 : CONFIG_NEEDS_API) |
           (options->from_topic ? CONFIG_NEEDS_KAFKA : 0);
}

static void job_run(struct replay_job *job)
{
    job->ledger_config = ledger_config_from(job->config);
    job->pacer.per_second = job->options.rate;
    plan_init(&job->plan);
    who_fill(job);
    enum ledger_verdict verdict = ledger_replay_open(&job->ledger_config, &job->ledger, job->error);
    if (verdict != LEDGER_VERDICT_WELL)
        ledger_complain(job, verdict);
    else if (plan_make(job))
        go(job);
    replay_outcomes_free(job);
    lookups_destroy(job->lookups);
    letters_destroy(job->letters);
    ledger_replay_close(job->ledger);
    plan_fini(&job->plan);
}

int command_replay(int argc, char **argv)
{
    struct replay_job job = {0};
    int code = replay_options_read(argc, argv, &job.options);
    if (code < 0)
        code = config_open(&job.options.common, needs_of(&job.options), &job.config);
    if (code == 0 && job.config) {
        if (replay_options_lists(&job.options, job.config->defaults.country))
            job_run(&job);
        else
            job.exit_code = EX_USAGE;
        code = job.exit_code;
        config_free(job.config);
    }
    replay_options_fini(&job.options);
    return code;
}
