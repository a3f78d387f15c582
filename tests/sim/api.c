/* The contacts API: a reference model of memberships and enrolments, and everything that may happen between a
 * call and its answer.
 *
 * What a call of unknown fate may do: it takes effect or not, at any time up to its answer, and, when the
 * caller gave up waiting or died, later still, but never later than LATE_US after its start, and never later
 * than the call's own timeout where a late effect could enrol somebody again (skip_journey_if_exists false):
 * against that no client can do anything. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATE_US (20 * US_PER_S)
#define PROBE_EVERY_US (1 * US_PER_S)

struct sim_call {
    struct sim_call *next;
    struct sim_life *life;
    struct upsert_call *op;
    struct sim_record *record;
    struct sim_row *row;
    struct sim_contact *contact;
    int claim_number;
    uint64_t epoch;
    bool use_journeys;
    bool skip;
    bool takes_effect;
    bool ended;       /* for the caller */
    bool counted_out; /* no longer under way for the contact */
    int64_t started_us;
    /* the answer */
    enum outcome_class cls;
    int status;
    const char *code;
    bool maybe_sent;
    int64_t retry_after_us;
    bool is_new;
    int enrolled;
};

/* ---- reading the body, as the API would */

static bool text_of(const char *body, const char *name, char *out, size_t size)
{
    char pattern[48];
    snprintf(pattern, sizeof pattern, "\"%s\":\"", name);
    const char *at = strstr(body, pattern);
    if (!at)
        return false;
    at += strlen(pattern);
    size_t len = strcspn(at, "\"");
    if (len >= size)
        return false;
    memcpy(out, at, len);
    out[len] = '\0';
    return true;
}

static int flag_of(const char *body, const char *name, int fallback)
{
    char pattern[48];
    snprintf(pattern, sizeof pattern, "\"%s\":", name);
    const char *at = strstr(body, pattern);
    if (!at)
        return fallback;
    at += strlen(pattern);
    return strncmp(at, "true", 4) == 0 ? 1 : strncmp(at, "false", 5) == 0 ? 0 : -1;
}

static void call_read(struct sim *sim, struct sim_call *call, struct slice body)
{
    struct sim_whom whom = sim_whom_record(call->record, call->life->worker);
    char text[CONTACT_BYTES_MAX + 1];
    char phone[24];
    char list[24];
    char tag[16];
    if (body.len > CONTACT_BYTES_MAX)
        sim_fail(sim, "P1.body", whom, "a body of %zu bytes is sent for %s", body.len, call->record->id);
    memcpy(text, body.ptr, body.len);
    text[body.len] = '\0';
    const struct sim_content *content = call->record->content;
    bool good = text_of(text, "phone_number", phone, sizeof phone) &&
                text_of(text, "list_number", list, sizeof list) && text_of(text, "tag", tag, sizeof tag) &&
                content->contact >= 0;
    call->contact = good ? &sim->contacts[content->contact] : NULL;
    call->use_journeys = flag_of(text, "use_journeys", 0) == 1;
    int skip = flag_of(text, "skip_journey_if_exists", 1);
    call->skip = skip == 1;
    if (!good || skip < 0 || strcmp(phone, call->contact->phone) != 0 ||
        strcmp(list, call->contact->list) != 0 || atoi(tag + 1) != content->index ||
        call->use_journeys != content->use_journeys || (!call->skip && content->skip))
        sim_fail(sim, "P1.body", whom, "the body sent for %s does not say what its event says: %s",
                 call->record->id, text);
}

/* ---- what must hold when a call starts */

static void check_claim(struct sim *sim, const struct sim_call *call)
{
    const struct sim_life *life = call->life;
    const struct sim_row *row = call->row;
    struct sim_whom whom = sim_whom_record(call->record, life->worker);
    if (!row || row->state != SIM_CLAIMED || row->released || row->holder != life ||
        row->record != call->record)
        sim_fail(sim, "I6.claim", whom, "a call starts for %s at %s without its claim: the row is %s",
                 call->record->id, call->record->position, row ? sim_row_state_str(row->state) : "not there");
    int64_t left = row->lease_until_us - sim->now_us;
    if (left < life->config.call_timeout_us)
        sim_fail(sim, "I6.lease", whom,
                 "a call starts for %s with %lld ms of lease left; a call may take %lld ms", row->id,
                 (long long)(left / US_PER_MS), (long long)(life->config.call_timeout_us / US_PER_MS));
    if (row->answered_final && row->final_life == life && row->final_epoch == row->holder_epoch)
        sim_fail(sim, "I8.resend", whom, "%s is called again although its last call was answered for good",
                 row->id);
}

static void check_order(struct sim *sim, const struct sim_call *call)
{
    struct sim_whom whom = sim_whom_record(call->record, call->life->worker);
    bool overlaps = call->contact->outstanding[call->record->part->index] > 0;
    for (const struct sim_call *other = call->life->calls; other; other = other->next)
        overlaps = overlaps || other->contact == call->contact;
    if (overlaps)
        sim_fail(sim, "P3.overlap", whom, "a call starts for contact %d while another one is under way",
                 call->contact->index);
    for (const struct sim_record *r = call->record->earlier; r; r = r->earlier) {
        if (!r->content->dead_local && !sim_record_answered(sim, r))
            sim_fail(sim, "P3.order", whom, "%s at %s is called before the row of %s at %s is durable",
                     call->record->id, call->record->position, r->id, r->position);
    }
}

static void check_guard(struct sim *sim, const struct sim_call *call)
{
    struct sim_row *row = call->row;
    struct sim_whom whom = sim_whom_record(call->record, call->life->worker);
    if (row->unsure_calls && !call->skip)
        sim_fail(sim, "P2.guard", whom, "%s is resent without the journey guard after a call of unknown fate",
                 row->id);
    bool guarded = call->skip && !call->record->content->skip;
    if (guarded && !row->unsure_calls && !row->maybe_sent && !row->taken_over)
        sim_fail(sim, "P2.overguard", whom,
                 "%s is sent with the journey guard although no earlier call can have had an effect",
                 row->id);
    row->guarded_call = guarded;
    sim->totals.guarded += guarded;
}

/* Retry-After speaks to the whole route, and so does a refused key or a wrong address. */
static void check_wait(struct sim *sim, const struct sim_call *call)
{
    if (sim->now_us < call->life->hold_until_us)
        sim_fail(sim, "wait.retry_after", sim_whom_record(call->record, call->life->worker),
                 "%s is called %lld ms before the API's Retry-After is over", call->record->id,
                 (long long)((call->life->hold_until_us - sim->now_us) / US_PER_MS));
    struct sim_life *life = call->life;
    if (life->stopped_us >= 0 && life->probed_us >= life->stopped_us &&
        sim->now_us < life->probed_us + PROBE_EVERY_US)
        sim_fail(sim, "wait.probe", sim_whom_record(call->record, life->worker),
                 "%s is called %lld ms after the call before, although the API refuses everybody: a probe "
                 "goes once a second",
                 call->record->id, (long long)((sim->now_us - life->probed_us) / US_PER_MS));
    life->probed_us = sim->now_us;
}

/* Since when the API refuses everybody; an answer that speaks of one event says that the route works. */
static void note_stopped(struct sim *sim, const struct sim_call *call)
{
    struct sim_life *life = call->life;
    switch (call->cls) {
    case OUTCOME_UNAUTHORIZED:
    case OUTCOME_MISROUTED:
        if (life->stopped_us < 0)
            life->stopped_us = sim->now_us;
        break;
    case OUTCOME_PROVIDER:
    case OUTCOME_SERVER:
    case OUTCOME_TRANSPORT: break;
    default: life->stopped_us = -1;
    }
}

/* ---- what happens to a call */

static void answer(struct sim_call *call, enum outcome_class cls, int status, const char *code,
                   bool maybe_sent)
{
    call->cls = cls;
    call->status = status;
    call->code = code;
    call->maybe_sent = maybe_sent;
}

static void answer_known(struct sim *sim, struct sim_call *call)
{
    const struct sim_content *content = call->record->content;
    if (content->rejected_status) {
        answer(call, OUTCOME_REJECTED, content->rejected_status, content->rejected_code, false);
        call->takes_effect = false;
    } else {
        answer(call, OUTCOME_ACCEPTED, sim_chance(sim, 5000) ? 200 : 201, "", false);
        call->takes_effect = true;
    }
}

static void answer_refused(struct sim *sim, struct sim_call *call, int how)
{
    call->takes_effect = false;
    switch (how) {
    case 0: answer(call, OUTCOME_UNAUTHORIZED, 401, "invalid_api_key", false); break;
    case 1: answer(call, OUTCOME_UNAUTHORIZED, 403, "", false); break;
    case 2: answer(call, OUTCOME_BILLING, 402, "payment_failed", false); break;
    case 3:
        answer(call, OUTCOME_THROTTLED, 429, "rate_limited", false);
        if (sim_chance(sim, 6000))
            call->retry_after_us = sim_between(sim, 0, 3) * US_PER_S;
        break;
    case 4: answer(call, OUTCOME_MISROUTED, 302, "", false); break;
    case 5: answer(call, OUTCOME_PROVIDER, 503, "provider_error", false); break;
    default: answer(call, OUTCOME_TRANSPORT, 0, "connect_failed", false);
    }
}

static void answer_unsure(struct sim *sim, struct sim_call *call, int64_t *takes_us)
{
    static const int statuses[] = {500, 502, 504, 408, 425, 599};
    call->takes_effect = sim_chance(sim, 5000) && !call->record->content->rejected_status;
    switch (sim_below(sim, 4)) {
    case 0: answer(call, OUTCOME_SERVER, statuses[sim_below(sim, 6)], "internal_error", true); break;
    case 1: answer(call, OUTCOME_SERVER, 200, "broken_body", true); break;
    case 2: answer(call, OUTCOME_TRANSPORT, 0, "reset", true); break;
    default:
        answer(call, OUTCOME_TRANSPORT, 0, "timeout", true);
        *takes_us = call->life->config.call_timeout_us;
    }
}

static int64_t api_latency(struct sim *sim, const struct sim_life *life)
{
    if (sim_chance(sim, sim->healed ? 0 : sim->profile.api_slow))
        return sim_between(sim, 1, life->config.call_timeout_us);
    return sim_between(sim, 500, 80 * US_PER_MS);
}

/* ---- effects */

static void contact_free(struct sim_call *call)
{
    if (!call->counted_out)
        call->contact->outstanding[call->record->part->index]--;
    call->counted_out = true;
}

static void enrol(struct sim *sim, struct sim_call *call)
{
    struct sim_row *row = call->row;
    bool is_new = !call->contact->on_list;
    if (!call->use_journeys || (!is_new && call->skip))
        return;
    call->enrolled = 1 + call->contact->index % 2;
    call->contact->enrolments++;
    sim->totals.enrolled++;
    if (++row->enrolments > 1)
        sim_fail(sim, "P2.enrolled", sim_whom_record(call->record, call->life->worker),
                 "contact %d is enrolled a second time because of %s", call->contact->index, row->id);
}

static void effect_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)stamp;
    struct sim_call *call = arg;
    struct sim_contact *contact = call->contact;
    int part = call->record->part->index;
    call->is_new = !contact->on_list;
    SIM_TRACE(sim, sim_whom_record(call->record, call->life->worker),
              "api: %s takes effect on contact %d%s%s", call->row->id, contact->index,
              call->is_new ? ", new on the list" : "", call->ended ? ", late" : "");
    enrol(sim, call);
    contact->on_list = true;
    if (call->row->first_effect)
        return;
    call->row->first_effect = true;
    if (contact->effect_max[part] > call->record->at)
        sim_fail(sim, "P3.effects", sim_whom_record(call->record, call->life->worker),
                 "%s at %s takes effect after a later event of the same contact and partition", call->row->id,
                 call->record->position);
    contact->effect_max[part] = call->record->at;
}

static void reply_fill(struct sim *sim, struct sim_call *call)
{
    struct upsert_call *op = call->op;
    char id[24];
    snprintf(id, sizeof id, "contact-%d", call->contact->index);
    op->reply = (struct upsert_reply){.contact_id = arena_copy(op->arena, slice_from_str(id)),
                                      .list_contact_id = arena_copy(op->arena, SLICE_LITERAL("list-contact")),
                                      .is_new_contact = call->is_new,
                                      .is_new_list_contact = call->is_new,
                                      .journeys_enrolled = call->enrolled};
    if (sim_chance(sim, 500) &&
        !signup_warn(op->signup, op->arena, WARNING_API, SLICE_LITERAL("api"),
                     SLICE_LITERAL("the list has active Welcome Journeys and use_journeys was not set")))
        SIM_TRACE(sim, sim_whom_record(call->record, call->life->worker), "api: a warning found no room");
}

/* ---- the end of a call, as the caller sees it */

static void call_unlink(struct sim_life *life, struct sim_call *call)
{
    struct sim_call **link = &life->calls;
    while (*link != call)
        link = &(*link)->next;
    *link = call->next;
    life->calls_out--;
}

static bool spends_attempt(enum outcome_class cls)
{
    return cls != OUTCOME_THROTTLED && cls != OUTCOME_UNAUTHORIZED;
}

/* What the caller now knows, in the books. */
static void note_answer(struct sim *sim, struct sim_call *call)
{
    struct sim_row *row = call->row;
    struct sim_life *life = call->life;
    if (call->maybe_sent) {
        sim->totals.ambiguous++;
        row->unsure_calls++;
    }
    if (call->cls != OUTCOME_ACCEPTED && call->cls != OUTCOME_REJECTED)
        life->closed_gate_seen = true;
    if (row->claim_number != call->claim_number)
        return; /* somebody else has it now */
    row->last_class = call->cls;
    row->answers_counted += spends_attempt(call->cls);
    if (call->cls == OUTCOME_ACCEPTED || call->cls == OUTCOME_REJECTED) {
        row->answered_final = true;
        row->final_life = life;
        row->final_epoch = row->holder_epoch;
    }
}

static void call_done_event(struct sim *sim, void *arg, uint32_t stamp)
{
    struct sim_call *call = arg;
    struct sim_life *life = call->life;
    if (call->ended || sim_life_asleep(sim, life, call_done_event, call, stamp))
        return;
    call->ended = true;
    contact_free(call);
    call_unlink(life, call);
    note_answer(sim, call);
    note_stopped(sim, call);
    struct upsert_call *op = call->op;
    outcome_set(&op->outcome, call->cls, call->status, call->code, "said the simulated API",
                call->maybe_sent);
    op->outcome.retry_after_us = call->retry_after_us;
    op->outcome.duration_us = sim->now_us - call->started_us;
    if (call->cls == OUTCOME_ACCEPTED)
        reply_fill(sim, call);
    if (call->retry_after_us > 0) {
        int64_t wait = call->retry_after_us < life->config.retry_after_cap_us
                           ? call->retry_after_us
                           : life->config.retry_after_cap_us;
        if (life->hold_until_us < sim->now_us + wait)
            life->hold_until_us = sim->now_us + wait;
        SIM_TRACE(sim, sim_whom_worker(life->worker), "w%d.%d api: nothing is to be sent for %lld ms",
                  life->worker, life->number, (long long)(wait / US_PER_MS));
    }
    SIM_TRACE(sim, sim_whom_record(call->record, life->worker), "w%d.%d api: answer for %s: %s %d %s%s",
              life->worker, life->number, call->row->id, outcome_class_str(call->cls), call->status,
              call->code, call->maybe_sent ? " (unsure)" : "");
    sim_not_under_way(life, op);
    sim_core_enter(life);
    op->done(op);
    (void)sim_life_step(life, SIM_STEP_CALL_DONE);
    if (!sim_core_left(life))
        sim_life_touch(sim, life);
}

/* When no answer can come any more, the contact counts as free: whoever waits for the lease has waited
 * longer. */
static void call_over_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)sim;
    (void)stamp;
    contact_free(arg);
}

static void call_schedule(struct sim *sim, struct sim_call *call, int64_t takes_us)
{
    struct sim_life *life = call->life;
    int64_t timeout = life->config.call_timeout_us;
    if (takes_us > timeout)
        takes_us = timeout;
    sim_at(sim, sim->now_us + takes_us, call_done_event, call, 0);
    sim_at(sim, sim->now_us + timeout, call_over_event, call, 0);
    if (!call->takes_effect)
        return;
    bool late = call->maybe_sent && call->status == 0 && call->skip && sim_chance(sim, 3000);
    int64_t effect = late ? sim_between(sim, takes_us, LATE_US) : sim_between(sim, 0, takes_us - 1);
    sim_at(sim, sim->now_us + effect, effect_event, call, 0);
}

static void call_decide(struct sim *sim, struct sim_call *call)
{
    int64_t takes = api_latency(sim, call->life);
    call->retry_after_us = -1;
    answer_known(sim, call);
    bool away = sim->api_away_until_us > sim->now_us;
    bool unsure = away ? sim->api_away_how == SIM_AWAY_UNSURE
                       : sim_strikes(sim, SIM_AMBIGUOUS) && sim_chance(sim, sim->profile.api_ambiguous);
    if (unsure)
        answer_unsure(sim, call, &takes);
    else if (away)
        answer_refused(sim, call, sim->api_away_how);
    else if (sim_strikes(sim, SIM_API) && sim_chance(sim, sim->profile.api_fault))
        answer_refused(sim, call, sim_below(sim, SIM_AWAY_UNSURE));
    call_schedule(sim, call, takes);
}

static enum port_status port_upsert(void *ctx, struct upsert_call *op)
{
    struct sim_life *life = ctx;
    struct sim *sim = life->sim;
    sim_under_way(life, op, "upsert");
    if (!sim_life_step(life, SIM_STEP_CALL) ||
        sim_chance(sim, sim->healed ? 0 : sim->profile.api_away_submit)) {
        sim_not_under_way(life, op);
        return PORT_AWAY;
    }
    struct sim_call *call = sim_alloc(sim, sizeof *call);
    *call = (struct sim_call){.life = life, .op = op, .started_us = sim->now_us, .code = ""};
    const struct slice position = op->signup->position;
    for (int i = 0; i < sim->record_count && !call->record; i++) {
        if (slice_is(position, sim->records[i]->position))
            call->record = sim->records[i];
    }
    if (!call->record)
        sim_fail(sim, "P1.invented", sim_whom_worker(life->worker), "a call for a record that no topic has");
    call->row = sim_row_find(sim, op->signup->event_id);
    if (sim->rereading)
        sim_fail(sim, "P2.reread", sim_whom_record(call->record, life->worker),
                 "%s is called when the topic is read again by a new group", call->record->id);
    check_claim(sim, call);
    call->claim_number = call->row->claim_number;
    call->epoch = call->row->holder_epoch;
    call_read(sim, call, op->body);
    check_order(sim, call);
    check_guard(sim, call);
    check_wait(sim, call);
    if ((size_t)++life->calls_out > life->config.max_in_flight)
        sim_fail(sim, "P5.in_flight", sim_whom_worker(life->worker),
                 "%d calls are in flight, %zu are allowed", life->calls_out, life->config.max_in_flight);
    call->next = life->calls;
    life->calls = call;
    call->contact->outstanding[call->record->part->index]++;
    sim->totals.calls++;
    SIM_TRACE(sim, sim_whom_record(call->record, life->worker), "w%d.%d api: call for %s, contact %d%s",
              life->worker, life->number, call->row->id, call->contact->index,
              call->row->guarded_call ? ", guarded" : "");
    call_decide(sim, call);
    return PORT_OK;
}

/* The caller is gone: its calls go on at the server, their answers are heard by nobody. */
void sim_api_drop(struct sim *sim, struct sim_life *life)
{
    while (life->calls) {
        struct sim_call *call = life->calls;
        call_unlink(life, call);
        call->ended = true;
        call->row->unsure_calls++;
        sim->totals.ambiguous++;
        outcome_set(&call->op->outcome, OUTCOME_TRANSPORT, 0, "closed", "the client is closing", true);
        sim_not_under_way(life, call->op);
        call->op->done(call->op);
    }
}

int sim_api_calls_of(const struct sim_life *life, uint64_t epoch)
{
    int count = 0;
    for (const struct sim_call *call = life->calls; call; call = call->next)
        count += call->epoch == epoch;
    return count;
}

const struct contacts_port sim_contacts_port = {.upsert = port_upsert};
