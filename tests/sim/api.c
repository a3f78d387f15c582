/* The contacts API: a reference model of memberships and enrolments, and everything that may happen between a
 * call and its answer. What the answer is: answers.c.
 *
 * What a call of unknown fate may do: it takes effect or not, at any time up to its answer, and, when the
 * caller gave up waiting or died, later still, but never later than LATE_US after its start, and never later
 * than the call's own timeout where a late effect could enrol somebody again (skip_journey_if_exists false):
 * against that no client can do anything. */
#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LATE_US (20 * US_PER_S)
#define UNSUBSCRIBES 300 /* of 10,000 contacts, when somebody looks at them */

/* One look at a contact. */
struct sim_read {
    struct sim_read *next;
    struct sim_life *life;
    struct read_call *op;
    int contact; /* -3: nobody has such a phone and list */
    bool fails;
    bool ended;
    bool lapsed;
    struct outcome outcome;
};

#define DEPARTS_LATE 100 /* of 10,000 calls */

int64_t sim_api_departure(struct sim_life *life, mono_us_t answer_by, bool *lapsed)
{
    struct sim *sim = life->sim;
    *lapsed = false;
    if (!sim_strikes(sim, SIM_STALL) || life->stalled_until_us > sim->now_us || !sim_chance(sim, DEPARTS_LATE))
        return 0;
    int64_t late = sim_between(sim, 10 * US_PER_MS, sim_chance(sim, 5000) ? 30 * US_PER_S : US_PER_S);
    sim_life_stall(sim, life, late);
    *lapsed = answer_by.us && sim->now_us + late + life->config.call_timeout_us > answer_by.us;
    sim->totals.lapsed += *lapsed;
    return late;
}

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
    int validate = flag_of(text, "use_validation", 0);
    call->validate = validate == 1;
    call->force = flag_of(text, "force", 0) == 1;
    call->phone = good ? call->contact->phone_index : -1;
    if (!good || skip < 0 || validate < 0 || (call->validate && content->mode != EVENT_VALIDATION_INLINE) ||
        call->force != (call->validate && content->force) || strcmp(phone, call->contact->phone) != 0 ||
        strcmp(list, call->contact->list) != 0 || atoi(tag + 1) != content->index ||
        call->use_journeys != content->use_journeys || (!call->skip && content->skip))
        sim_fail(sim, "P1.body", whom, "the body sent for %s does not say what its event says: %s",
                 call->record->id, text);
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
    if (row->contact != call->contact->index)
        return; /* late, and the event has been said anew of somebody else */
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
    if (call->validate)
        call->validation = sim_phone_look_up(sim, call);
    if (call->row->first_effect)
        return;
    call->row->first_effect = true;
    if (call->row->replayed || (call->row->was_dead && (call->ended || call->counted_out)))
        return; /* given up, and late: nobody can wait for that */
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
    if (call->validation) {
        char text[SIM_VALIDATION_BYTES];
        sim_validation_write(sim, call->validation, call->validation->cost, call->validation->cost == 0,
                             text);
        op->reply.validation = arena_copy(op->arena, slice_from_str(text));
        op->reply.validation_cost = call->validation->cost;
        call->validation->heard_us = sim->now_us;
    }
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

static void call_done_event(struct sim *sim, void *arg, uint32_t stamp)
{
    struct sim_call *call = arg;
    struct sim_life *life = call->life;
    if (call->ended || sim_life_asleep(sim, life, call_done_event, call, stamp))
        return;
    call->ended = true;
    contact_free(call);
    call_unlink(life, call);
    struct upsert_call *op = call->op;
    outcome_set(&op->outcome, call->cls, call->status, call->code, "said the simulated API",
                call->maybe_sent);
    op->outcome.retry_after_us = call->retry_after_us;
    op->outcome.duration_us = sim->now_us - call->started_us;
    op->lapsed = call->lapsed;
    if (call->cls == OUTCOME_ACCEPTED)
        reply_fill(sim, call);
    if (call->lapsed) {
        sim_rules_lapse(call);
    } else {
        sim_rules_answer(sim, call);
        sim_rules_route(sim, life, &op->outcome, call->validate);
    }
    SIM_TRACE(sim, sim_whom_record(call->record, life->worker), "w%d.%d api: answer for %s: %s %d %s%s%s",
              life->worker, life->number, call->row->id, outcome_class_str(call->cls), call->status,
              call->code, call->maybe_sent ? " (unsure)" : "", call->lapsed ? " (it never left)" : "");
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
    int64_t leaves_us = sim->now_us + sim_api_departure(life, call->op->answer_by, &call->lapsed);
    if (call->lapsed) {
        call->cls = OUTCOME_TRANSPORT;
        call->maybe_sent = call->takes_effect = false;
        contact_free(call);
        sim_at(sim, leaves_us, call_done_event, call, 0);
        return;
    }
    if (takes_us > timeout)
        takes_us = timeout;
    sim_at(sim, leaves_us + takes_us, call_done_event, call, 0);
    sim_at(sim, leaves_us + timeout, call_over_event, call, 0);
    if (!call->takes_effect)
        return;
    bool late = call->maybe_sent && call->status == 0 && call->skip && sim_chance(sim, 3000);
    int64_t effect = late ? sim_between(sim, takes_us, LATE_US) : sim_between(sim, 0, takes_us - 1);
    sim_at(sim, leaves_us + effect, effect_event, call, 0);
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
    sim_rules_claim(sim, call);
    call->claim_number = call->row->claim_number;
    call->epoch = call->row->holder_epoch;
    call_read(sim, call, op->body);
    sim_rules_start(sim, call);
    sim_check_share(life, call->row);
    call->next = life->calls;
    life->calls = call;
    call->contact->outstanding[call->record->part->index]++;
    sim->totals.calls++;
    SIM_TRACE(sim, sim_whom_record(call->record, life->worker), "w%d.%d api: call for %s, contact %d%s%s%s",
              life->worker, life->number, call->row->id, call->contact->index,
              call->row->guarded_call ? ", guarded" : "", call->validate ? ", validating" : "",
              call->probe ? ", a probe" : "");
    int64_t takes_us;
    sim_answer_decide(sim, call, &takes_us);
    call_schedule(sim, call, takes_us);
    return PORT_OK;
}

/* ---- reading a contact back */

static void read_unlink(struct sim_life *life, struct sim_read *read)
{
    struct sim_read **link = &life->reads;
    while (*link != read)
        link = &(*link)->next;
    *link = read->next;
    life->reads_out--;
}

/* What is found is written down for the rows in work: their guarded resend may go. */
static void read_note(struct sim *sim, const struct sim_read *read)
{
    struct sim_row *row = read->contact >= 0 ? sim->contacts[read->contact].rows : NULL;
    for (; row; row = row->next_contact) {
        if (row->holder == read->life)
            row->read_claim = row->claim_number;
        for (struct sim_row *lost = row->lost; lost; lost = lost->lost) {
            if (lost->holder == read->life)
                lost->read_claim = lost->claim_number;
        }
    }
}

static void read_fill(struct sim *sim, struct sim_read *read)
{
    struct read_call *op = read->op;
    struct sim_contact *contact = read->contact >= 0 ? &sim->contacts[read->contact] : NULL;
    op->found = op->on_list = op->active = false;
    op->signup_date = SLICE_ABSENT;
    op->lapsed = read->lapsed;
    if (read->fails || read->lapsed) {
        op->outcome = read->outcome;
        return;
    }
    if (!contact || (!contact->on_list && sim_chance(sim, 7000))) {
        outcome_set(&op->outcome, OUTCOME_ACCEPTED, 404, "not_found", "said the simulated API", false);
        return;
    }
    contact->unsubscribed = contact->unsubscribed || sim_chance(sim, UNSUBSCRIBES);
    outcome_set(&op->outcome, OUTCOME_ACCEPTED, 200, "", "said the simulated API", false);
    op->found = true;
    op->on_list = contact->on_list;
    op->active = contact->on_list && !contact->unsubscribed;
    if (contact->on_list && sim_chance(sim, 8000))
        op->signup_date = arena_copy(op->arena, SLICE_LITERAL("2025-03-15T14:30:00"));
}

static void read_done_event(struct sim *sim, void *arg, uint32_t stamp)
{
    struct sim_read *read = arg;
    struct sim_life *life = read->life;
    if (read->ended || sim_life_asleep(sim, life, read_done_event, read, stamp))
        return;
    read->ended = true;
    read_unlink(life, read);
    read_fill(sim, read);
    struct read_call *op = read->op;
    if (!read->lapsed) {
        read_note(sim, read);
        sim_rules_route(sim, life, &op->outcome, false);
    }
    SIM_TRACE(sim, sim_whom_contact(read->contact, life->worker),
              "w%d.%d api: contact %d is read back: %s %d%s%s", life->worker, life->number, read->contact,
              outcome_class_str(op->outcome.cls), op->outcome.http_status, op->on_list ? ", on the list" : "",
              op->active ? ", active" : "");
    sim_not_under_way(life, op);
    sim_core_enter(life);
    op->done(op);
    (void)sim_life_step(life, SIM_STEP_READ_DONE);
    if (!sim_core_left(life))
        sim_life_touch(sim, life);
}

static enum port_status port_read(void *ctx, struct read_call *op)
{
    struct sim_life *life = ctx;
    struct sim *sim = life->sim;
    sim_under_way(life, op, "read");
    if (!sim_life_step(life, SIM_STEP_READ) ||
        sim_chance(sim, sim->healed ? 0 : sim->profile.api_away_submit)) {
        sim_not_under_way(life, op);
        return PORT_AWAY;
    }
    struct sim_read *read = sim_alloc(sim, sizeof *read);
    *read = (struct sim_read){.life = life, .op = op};
    read->contact = sim_contact_find(sim, op->phone_number, op->list_number);
    sim_rules_read(sim, life, read->contact);
    read->next = life->reads;
    life->reads = read;
    sim->totals.reads++;
    SIM_TRACE(sim, sim_whom_contact(read->contact, life->worker), "w%d.%d api: read of contact %d",
              life->worker, life->number, read->contact);
    int64_t takes_us;
    read->fails = sim_answer_read(sim, life, &read->outcome, &takes_us);
    int64_t leaves_us = sim->now_us + sim_api_departure(life, op->answer_by, &read->lapsed);
    if (read->lapsed)
        takes_us = 0;
    else if (takes_us > life->config.call_timeout_us)
        takes_us = life->config.call_timeout_us;
    sim_at(sim, leaves_us + takes_us, read_done_event, read, 0);
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
        if (call->validation)
            call->validation->excused = true;
        outcome_set(&call->op->outcome, OUTCOME_TRANSPORT, 0, "closed", "the client is closing", true);
        sim_not_under_way(life, call->op);
        call->op->done(call->op);
    }
    while (life->reads) {
        struct sim_read *read = life->reads;
        read_unlink(life, read);
        read->ended = true;
        outcome_set(&read->op->outcome, OUTCOME_TRANSPORT, 0, "closed", "the client is closing", true);
        sim_not_under_way(life, read->op);
        read->op->done(read->op);
    }
    sim_lookups_drop(sim, life);
}

int sim_api_calls_of(const struct sim_life *life, uint64_t epoch)
{
    int count = 0;
    for (const struct sim_call *call = life->calls; call; call = call->next)
        count += call->epoch == epoch;
    return count + sim_lookups_of(life, epoch);
}

const struct contacts_port sim_contacts_port = {
    .upsert = port_upsert, .read = port_read, .validate = sim_lookup_port};
