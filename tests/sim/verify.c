/* What may be recorded: by whom, with which outcome, how many attempts, and what is kept. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

#define AGE_SLACK_US (5 * US_PER_S) /* a worker counts its statement's way into an event's age */
#define DUE_SLACK_US (6 * US_PER_S) /* beyond the longest wait of the configuration */
#define OVERDUE_MAX 3 /* failures after which an event should have been given up; one may close its gate */

bool sim_warned_of(const struct signup *signup, const char *code, struct slice *message)
{
    for (const struct warning *w = signup->warnings; w; w = w->next) {
        if (w->source != WARNING_WORKER || !slice_is(w->code, code))
            continue;
        if (message)
            *message = w->message;
        return true;
    }
    return false;
}

static void verify_attempts(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                            const struct record_item *item)
{
    int low = row->claim_attempts + row->counted;
    int high = low + row->perhaps_counted;
    if (item->attempts < low || item->attempts > high)
        sim_fail(
            sim, "attempts", sim_whom_row(row, life->worker),
            "%s is recorded with %d attempts: its claim began with %d, and %d answers count (%d more may)",
            row->id, item->attempts, row->claim_attempts, row->counted, row->perhaps_counted);
    int number = 0;
    for (const struct attempt *a = item->attempts_made; a; a = a->next) {
        if (a->number <= number || a->number > row->tries_made || !a->route || !a->verdict)
            sim_fail(sim, "attempts.rows", sim_whom_row(row, life->worker),
                     "%s: call %d of %d is written after call %d", row->id, a->number, row->tries_made,
                     number);
        number = a->number;
    }
}

/* ---- accepted */

/* The warning says what was found when the contact was read back: other findings, other words. */
static void verify_guard(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                         const struct record_item *item)
{
    const struct sim_content *content = row->record->content;
    struct slice message = SLICE_ABSENT;
    if (!row->guarded_call || !content->use_journeys || content->skip)
        return;
    if (!sim_warned_of(item->signup, "journey_resend_guarded", &message) || !message.len)
        sim_fail(sim, "P2.warning", sim_whom_row(row, life->worker),
                 "%s was resent with the guard against its wish, without a warning", row->id);
    char *text = sim_copy(sim, message.ptr, message.len);
    static const char *const findings[] = {"could not be read", "not on the list", "was on the list",
                                           "unsubscribed"};
    bool found = false;
    for (size_t i = 0; i < sizeof findings / sizeof findings[0]; i++)
        found = found || strstr(text, findings[i]);
    if (!found)
        sim_fail(sim, "P2.warning", sim_whom_row(row, life->worker),
                 "the warning of the guarded resend of %s does not say what was found: %s", row->id, text);
}

static void verify_accepted(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                            const struct record_item *item)
{
    struct sim_whom whom = sim_whom_row(row, life->worker);
    if (!row->answered_final || row->last_class != OUTCOME_ACCEPTED || row->final_life != life)
        sim_fail(sim, "P1.accepted", whom,
                 "%s is recorded as accepted, which the API never said to this worker", row->id);
    if (!item->reply || !slice_present(item->reply->contact_id) || !slice_present(item->request))
        sim_fail(sim, "P1.accepted", whom, "%s is recorded as accepted without the reply or the request",
                 row->id);
    verify_guard(sim, life, row, item);
    if (row->unvalidated_call && !sim_warned_of(item->signup, "validation_skipped", NULL))
        sim_fail(sim, "billing.warning", whom, "%s went without validation, and nothing says so", row->id);
}

/* ---- dead */

static bool fails_for_now(enum outcome_class cls)
{
    return cls == OUTCOME_BILLING || cls == OUTCOME_PROVIDER || cls == OUTCOME_SERVER ||
           cls == OUTCOME_TRANSPORT;
}

static void fail_dead(struct sim *sim, const char *check, struct sim_whom whom, const struct sim_row *row,
                      const struct record_item *item, const char *why)
{
    sim_fail(sim, check, whom, "%s is recorded as dead with \"%s\" (%d), %d attempts, %lld ms old: %s",
             row->id, item->outcome->code, item->outcome->http_status, item->attempts,
             (long long)((sim->now_us - row->age_from_us) / US_PER_MS), why);
}

/* It failed too often or for too long: only by a failure of its own, while the route was open. */
static void verify_given_up(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                            const struct record_item *item)
{
    struct sim_whom whom = sim_whom_row(row, life->worker);
    bool old = sim->now_us - row->age_from_us + AGE_SLACK_US >= life->config.max_age_us;
    const struct sim_content *content = row->record->content;
    bool unpaid = item->outcome->http_status == 402 && content->mode != EVENT_VALIDATION_OFF;
    if (unpaid &&
        (old || (row->last_class == OUTCOME_BILLING && life->config.on_billing == ON_BILLING_DEAD))) {
        sim->totals.given_up++;
        return; /* it need not have asked itself: the account cannot pay */
    }
    if (row->last_answer_us < 0 || !fails_for_now(row->last_class))
        fail_dead(sim, "P4.outage", whom, row, item,
                  "no answer of this claim says so, or one that speaks of everybody");
    if (row->last_probe || row->last_in_hold)
        fail_dead(sim, "P4.outage", whom, row, item, "its route was held when it was answered");
    if (item->outcome->http_status != row->last_status || strcmp(item->outcome->code, row->last_code) != 0)
        fail_dead(sim, "P4.dead", whom, row, item, "the last answer was another one");
    if (!old && item->attempts < life->config.max_attempts)
        fail_dead(sim, "P4.give_up", whom, row, item, "it has time and tries left");
    if (sim->profile.kind == SIM_OUTAGE)
        fail_dead(sim, "P4.outage", whom, row, item, "nothing but an outage happens");
    sim->totals.given_up++;
}

static void verify_dead(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                        const struct record_item *item)
{
    struct sim_whom whom = sim_whom_row(row, life->worker);
    const struct sim_record *record = row->record;
    if (!item->outcome)
        sim_fail(sim, "P1.dead", whom, "%s is recorded as dead without a reason", row->id);
    const char *code = item->outcome->code;
    bool own = strcmp(row->id, record->id) == 0;
    if (record->content->dead_local) {
        if (strcmp(code, record->content->death) != 0)
            fail_dead(sim, "P4.dead", whom, row, item, "the event is wrong in another way");
        return;
    }
    if (record->poison_told && strcmp(code, "invalid_field") == 0)
        return;
    if (!own && record->conflict_told && strcmp(code, "event_id_conflict") == 0)
        return;
    if (strcmp(code, "validation_refused") == 0) {
        sim_gate_verify_refused(sim, life, row, item);
        return;
    }
    if (item->outcome->cls != OUTCOME_REJECTED || row->last_class != OUTCOME_REJECTED) {
        verify_given_up(sim, life, row, item);
        return;
    }
    if (row->last_in_storm)
        fail_dead(
            sim, "P4.fuse", whom, row, item,
            "so many died before it of answers that need not speak of the event, and none was accepted");
    if (!row->answered_final || row->final_life != life || item->outcome->http_status != row->last_status ||
        strcmp(code, row->last_code) != 0)
        fail_dead(sim, "P4.dead", whom, row, item, "the API did not say so");
}

/* ---- parked */

static void verify_parked(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                          const struct record_item *item)
{
    struct sim_whom whom = sim_whom_row(row, life->worker);
    const struct pipeline_config *c = &life->config;
    int64_t longest = c->park_cap_us;
    if (longest < c->billing_step_us)
        longest = c->billing_step_us;
    if (longest < c->retry_after_cap_us + c->backoff_cap_us)
        longest = c->retry_after_cap_us + c->backoff_cap_us;
    bool for_budget = item->outcome && strcmp(item->outcome->code, "validation_budget_spent") == 0;
    if (for_budget)
        sim_budget_verify_parked(sim, life, row, item);
    else if (item->due_in_us < 0 || item->due_in_us > longest + DUE_SLACK_US)
        sim_fail(sim, "P1.parked", whom, "%s is parked for %lld ms; %lld are the most", row->id,
                 (long long)(item->due_in_us / US_PER_MS), (long long)(longest / US_PER_MS));
    if (!row->behind && sim->now_us + item->due_in_us + US_PER_MS < row->not_before_us)
        sim_fail(sim, "wait.due", whom, "%s is due %lld ms before the API's Retry-After is over", row->id,
                 (long long)((row->not_before_us - sim->now_us - item->due_in_us) / US_PER_MS));
    if (row->overdue >= OVERDUE_MAX)
        sim_fail(
            sim, "P4.immortal", whom,
            "%s is parked once more, with %d attempts and %lld ms old: %d failures ago it should have been "
            "given up",
            row->id, item->attempts, (long long)((sim->now_us - row->age_from_us) / US_PER_MS), row->overdue);
}

/* ---- all of them */

static bool header_same(const struct record_header *a, const struct record_header *b)
{
    return slice_equal(a->name, b->name) && slice_equal(a->value, b->value);
}

/* What is parked or dead keeps the original: there is no other copy once the offset is committed. */
static void verify_kept(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                        const struct record_item *item)
{
    const struct sim_record *record = row->record;
    const struct record *kept = item->record;
    size_t count;
    const struct record_header *headers = sim_record_headers(&count);
    bool same = slice_equal(kept->value, sim_record_value(record)) && slice_is(kept->key, record->key) &&
                kept->timestamp_ms == record->timestamp_ms && kept->header_count == count;
    for (size_t i = 0; same && i < count; i++)
        same = header_same(&kept->headers[i], &headers[i]);
    if (!same)
        sim_fail(sim, "P1.kept", sim_whom_row(row, life->worker),
                 "the record of %s does not keep what its topic said", row->id);
}

/* Its worker, which has not heard that the death was recorded, knows the event again after its replay, and
 * cannot tell by the event's age that this is another life. */
static bool is_same_death(const struct sim_row *row, const struct record_item *item)
{
    return item->state == RECORD_DEAD && item->outcome && strcmp(row->code, item->outcome->code) == 0 &&
           row->http_status && row->http_status == item->outcome->http_status;
}

void sim_verify_record(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                       const struct record_item *item)
{
    struct sim_whom whom = sim_whom_row(row, life->worker);
    const struct sim_record *record = sim_record_find(sim, item->record);
    if (row->holder != life)
        sim_fail(sim, "I6.token", whom, "%s is recorded by worker %d.%d, but worker %d.%d holds the claim",
                 row->id, life->worker, life->number, row->holder ? row->holder->worker : -1,
                 row->holder ? row->holder->number : 0);
    if (row->record != record)
        sim_fail(sim, "P1.position", whom, "%s was claimed for %s and is recorded for %s", row->id,
                 row->record->position, record->position);
    if (item->taken_up != (row->state == SIM_PARKED_ROW))
        sim_fail(sim, "ports.taken_up", whom, "%s is recorded as %s, but its row is %s", row->id,
                 item->taken_up ? "taken up" : "claimed", sim_row_state_str(row->state));
    if (row->replayed_young && row->last_answer_us < 0 && is_same_death(row, item)) {
        sim->totals.raced++;
        return;
    }
    if (item->state == RECORD_ACCEPTED)
        verify_accepted(sim, life, row, item);
    if (item->state == RECORD_DEAD)
        verify_dead(sim, life, row, item);
    if (item->state == RECORD_PARKED)
        verify_parked(sim, life, row, item);
    if (item->state == RECORD_PARKED || item->state == RECORD_DEAD)
        verify_kept(sim, life, row, item);
    sim_gate_verify(sim, life, row, item);
    sim_outcome_verify(sim, life, row, item);
    bool goes_on = item->state == RECORD_PARKED || item->state == RECORD_RELEASED;
    if (goes_on && row->unsure_here && !item->maybe_sent)
        sim_fail(sim, "P2.fate", whom, "%s is %s, and a call of unknown fate is forgotten", row->id,
                 item->state == RECORD_PARKED ? "parked" : "released");
    verify_attempts(sim, life, row, item);
}
