/* --wait: follows the replayed events until all are final, and counts how they ended. */
#include "replay_job.h"
#include "service.h"

#include "signup/ops/term.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#define LOOK_EVERY_US (500 * US_PER_MS)
#define NAP_MS 50
#define IDS_PER_LOOK 2000

struct waiting {
    struct replay_job *job;
    struct slice *ids; /* of those that are not final yet */
    size_t count;
    size_t at;   /* of the look under way */
    size_t look; /* how many it asks for */
    bool *ended; /* of these */
    bool failed; /* out of memory */
};

#define KEY_HEAD 4

const char *replay_outcome_code(const struct replay_outcome *outcome)
{
    return outcome->key + KEY_HEAD;
}

void replay_outcomes_free(struct replay_job *job)
{
    struct replay_outcome *outcome = job->outcomes;
    HASH_CLEAR(hh, job->outcomes);
    for (struct replay_outcome *next; outcome; outcome = next) {
        next = outcome->hh.next;
        free(outcome);
    }
}

static void outcome_count(struct waiting *waiting, const struct replay_end *end)
{
    char key[256];
    struct replay_outcome *outcome = NULL;
    int len = snprintf(key, sizeof key, "%c%03d%.*s", end->accepted ? 'a' : 'd', end->http_status % 1000,
                       (int)(end->code.len < 200 ? end->code.len : 200), end->code.len ? end->code.ptr : "");
    HASH_FIND(hh, waiting->job->outcomes, key, (size_t)len, outcome);
    if (!outcome) {
        outcome = calloc(1, sizeof *outcome + (size_t)len + 1);
        if (!outcome) {
            waiting->failed = true;
            return;
        }
        memcpy(outcome->key, key, (size_t)len + 1);
        outcome->key_len = (size_t)len;
        outcome->accepted = end->accepted;
        outcome->http_status = end->http_status;
        HASH_ADD_KEYPTR(hh, waiting->job->outcomes, outcome->key, outcome->key_len, outcome);
    }
    outcome->events++;
}

static void on_end(void *ctx, const struct replay_end *end)
{
    struct waiting *waiting = ctx;
    if (waiting->ended[end->nth])
        return; /* of an earlier answer that was lost half-way */
    waiting->ended[end->nth] = true;
    outcome_count(waiting, end);
}

static enum ledger_verdict step_follow(struct replay_job *job, void *arg)
{
    struct waiting *waiting = arg;
    return ledger_replay_follow(job->ledger, waiting->ids + waiting->at, waiting->look, on_end, waiting);
}

/* One pass over all that are not final, in pieces; what ended is taken out. */
static enum ledger_verdict look(struct waiting *waiting)
{
    size_t kept = 0;
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    for (waiting->at = 0; waiting->at < waiting->count; waiting->at += waiting->look) {
        size_t left = waiting->count - waiting->at;
        waiting->look = left < IDS_PER_LOOK ? left : IDS_PER_LOOK;
        memset(waiting->ended, 0, waiting->look * sizeof *waiting->ended);
        if (verdict == LEDGER_VERDICT_WELL)
            verdict = replay_insist(waiting->job, step_follow, waiting);
        for (size_t i = 0; i < waiting->look; i++) {
            if (!waiting->ended[i])
                waiting->ids[kept++] = waiting->ids[waiting->at + i];
        }
    }
    waiting->count = kept;
    return verdict;
}

static void collect(struct waiting *waiting)
{
    const struct plan *plan = &waiting->job->plan;
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->events[i].fate == PLAN_REPLAYED)
            waiting->ids[waiting->count++] = plan->events[i].event_id;
    }
}

void replay_wait(struct replay_job *job)
{
    uint64_t total = job->plan.fates[PLAN_REPLAYED];
    struct waiting waiting = {.job = job,
                              .ids = calloc(total, sizeof *waiting.ids),
                              .ended = calloc(IDS_PER_LOOK, sizeof *waiting.ended)};
    struct term_progress bar;
    enum ledger_verdict verdict = LEDGER_VERDICT_WELL;
    waiting.failed = !waiting.ids || !waiting.ended;
    if (!waiting.failed)
        collect(&waiting);
    term_progress_init(&bar, stderr, "waiting for the workers", total, clock_mono_now());
    mono_us_t due = clock_mono_now();
    while (waiting.count && !waiting.failed && verdict == LEDGER_VERDICT_WELL && !replay_is_interrupted()) {
        mono_us_t now = clock_mono_now();
        if (mono_reached(now, due)) {
            verdict = look(&waiting);
            due = mono_add(clock_mono_now(), LOOK_EVERY_US);
        } else {
            nanosleep(&(struct timespec){.tv_nsec = NAP_MS * 1000000L}, NULL);
        }
        term_progress_update(&bar, total - waiting.count, clock_mono_now());
    }
    term_progress_finish(&bar);
    job->waiting = waiting.failed ? total : waiting.count;
    if (verdict != LEDGER_VERDICT_WELL || waiting.failed) {
        fprintf(stderr, "signup-worker replay: %s\n", waiting.failed ? "out of memory" : job->error);
        replay_job_fail(job, waiting.failed ? EX_OSERR : ledger_exit_code(verdict));
    }
    free(waiting.ids);
    free(waiting.ended);
}
