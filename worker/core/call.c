/* The calls: claimed deliveries to the API as the gates admit, in the order in which they came. */
#include "state.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define CONTACTS_AWAY_US (100 * US_PER_MS) /* the client takes no call just now: look again */

static struct delivery *owner_of(struct upsert_call *call)
{
    return (struct delivery *)((char *)call - offsetof(struct delivery, call));
}

static struct delivery *owner_of_read(struct read_call *call)
{
    return (struct delivery *)((char *)call - offsetof(struct delivery, read));
}

/* ---- completions */

void call_answered(struct pipeline *pipeline, struct delivery *dl)
{
    assert(!dl->answered);
    dl->answered = true;
    dl->answered_next = NULL;
    *pipeline->answered_end = dl;
    pipeline->answered_end = &dl->answered_next;
    pipeline->wants_tick = true;
}

static void call_done(struct upsert_call *call)
{
    struct delivery *dl = owner_of(call);
    assert(dl->state == DELIVERY_CALLING);
    call_answered(call->owner, dl);
}

static void read_done(struct read_call *call)
{
    struct delivery *dl = owner_of_read(call);
    assert(dl->state == DELIVERY_READING);
    call_answered(call->owner, dl);
}

static bool has_lapsed(const struct delivery *dl)
{
    return dl->state == DELIVERY_READING ? dl->read.lapsed : dl->state == DELIVERY_VALIDATING ? dl->lookup.lapsed : dl->call.lapsed;
}

/* The call never was. What becomes of the event is a question of its lease: lease.c extends it, or learns that somebody else has it. */
static void call_take_back(struct pipeline *pipeline, struct delivery *dl)
{
    static const struct gate_report nothing = {.result = GATE_SILENT, .why = ""};
    static const struct gate_report probe = {.probe = true, .result = GATE_SILENT, .why = ""};
    pipeline->counters.lapsed++;
    dl->tries--;
    if (dl->probe || dl->validate_probe)
        dl->probes--;
    if (dl->state == DELIVERY_CALLING)
        dl->calls--;
    if (dl->state == DELIVERY_VALIDATING)
        phones_answer(&pipeline->phones, dl->signup.phone_number, dl, SLICE_ABSENT, false, pipeline->now);
    else
        gate_leave(&pipeline->upsert, dl->probe ? &probe : &nothing, pipeline->now);
    if (dl->validates) {
        gate_leave(&pipeline->validate, dl->validate_probe ? &probe : &nothing, pipeline->now);
        spend_settle(pipeline, dl, 0);
    }
    delivery_count_memory(pipeline, dl);
    if (delivery_is_leaving(pipeline, dl))
        record_give_back(pipeline, dl);
    else
        delivery_move(pipeline, dl, DELIVERY_ADMITTED);
}

void calls_take_answers(struct pipeline *pipeline)
{
    struct delivery *dl = pipeline->answered;
    pipeline->answered = NULL;
    pipeline->answered_end = &pipeline->answered;
    while (dl) {
        struct delivery *next = dl->answered_next;
        dl->answered = false;
        if (has_lapsed(dl))
            call_take_back(pipeline, dl);
        else if (dl->state == DELIVERY_READING)
            answer_act_on_read(pipeline, dl);
        else if (dl->state == DELIVERY_VALIDATING)
            answer_act_on_lookup(pipeline, dl);
        else
            answer_act_on(pipeline, dl);
        dl = next;
    }
}

/* ---- bodies */

struct slice body_write(struct delivery *dl, bool guarded)
{
    struct buf buf;
    buf_init(&buf, (size_t)CONTACT_BYTES_MAX * 4);
    signup_write_body(&dl->signup, guarded, &buf);
    struct slice body = buf_ok(&buf) ? arena_copy(&dl->arena, buf_slice(&buf)) : SLICE_ABSENT;
    buf_fini(&buf);
    return body;
}

static bool asks_whatever_was(const struct delivery *dl)
{
    return dl->signup.use_journeys && !dl->signup.skip_journey_if_exists;
}

static void guard_warn(struct delivery *dl)
{
    const struct read_call *read = &dl->read;
    char found[160] = "it could not be read back what became of it";
    if (read->outcome.cls == OUTCOME_ACCEPTED && read->found && read->on_list)
        snprintf(found, sizeof found, "read back, the contact was %s the list already%s%.*s", read->active ? "on" : "unsubscribed from",
                 slice_present(read->signup_date) ? ", with signup date " : "",
                 (int)(read->signup_date.len < 40 ? read->signup_date.len : 40),
                 slice_present(read->signup_date) ? read->signup_date.ptr : "");
    else if (read->outcome.cls == OUTCOME_ACCEPTED)
        snprintf(found, sizeof found, "read back, the contact was not on the list: the earlier call had not taken effect");
    char text[320];
    int len = snprintf(text, sizeof text,
                       "an earlier call may have taken effect: this one was sent with skip_journey_if_exists true, so that nobody "
                       "is enrolled twice; %s", found);
    dl->guard_warned = signup_warn(&dl->signup, &dl->arena, WARNING_WORKER, SLICE_LITERAL("journey_resend_guarded"),
                                   (struct slice){text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1});
}

/* A resend after a call of unknown fate must not enrol anybody twice (design section 5). */
static bool call_guard(struct pipeline *pipeline, struct delivery *dl)
{
    if (!slice_present(dl->guarded_body))
        dl->guarded_body = body_write(dl, true);
    if (!slice_present(dl->guarded_body))
        return false;
    dl->request = dl->guarded_body;
    pipeline->counters.guarded++;
    if (asks_whatever_was(dl) && !dl->guard_warned)
        guard_warn(dl);
    return true;
}

/* ---- starting */

bool lease_suffices(const struct pipeline *pipeline, const struct delivery *dl)
{
    return PLANTED(CALL_WITHOUT_LEASE) ||
           mono_reached(dl->lease_until, mono_add(pipeline->now, pipeline->config.call_timeout_us));
}

mono_us_t answer_by(const struct delivery *dl)
{
    return PLANTED(SENT_WHENEVER) ? (mono_us_t){0} : dl->lease_until;
}

static bool read_start(struct pipeline *pipeline, struct delivery *dl)
{
    dl->read = (struct read_call){.phone_number = dl->signup.phone_number,
                                  .list_number = dl->signup.list_number,
                                  .traceparent = record_header_value(&dl->record, "traceparent"),
                                  .answer_by = answer_by(dl),
                                  .arena = &dl->arena,
                                  .done = read_done,
                                  .owner = pipeline};
    if (pipeline->ports.contacts->read(pipeline->ports.contacts_ctx, &dl->read) != PORT_OK)
        return false;
    pipeline->counters.reads++;
    delivery_move(pipeline, dl, DELIVERY_READING);
    return true;
}

static bool upsert_start(struct pipeline *pipeline, struct delivery *dl, bool guard)
{
    dl->request = dl->signup.body;
    if (guard && !call_guard(pipeline, dl))
        return false;
    dl->call = (struct upsert_call){.body = dl->request,
                                    .traceparent = record_header_value(&dl->record, "traceparent"),
                                    .answer_by = answer_by(dl),
                                    .arena = &dl->arena,
                                    .signup = &dl->signup,
                                    .done = call_done,
                                    .owner = pipeline};
    if (pipeline->ports.contacts->upsert(pipeline->ports.contacts_ctx, &dl->call) != PORT_OK)
        return false;
    dl->calls++;
    pipeline->counters.calls++;
    delivery_move(pipeline, dl, DELIVERY_CALLING);
    return true;
}

static bool call_start(struct pipeline *pipeline, struct delivery *dl)
{
    assert(dl->claimed);
    bool guard = dl->maybe_sent && !PLANTED(UNGUARDED_RESEND);
    bool reads = guard && asks_whatever_was(dl) && !dl->read_over;
    if (reads ? !read_start(pipeline, dl) : !upsert_start(pipeline, dl, guard))
        return false;
    dl->tries++;
    dl->called_at = pipeline->wall;
    dl->validates = !reads && dl->signup.use_validation && gate_admits(&pipeline->validate, pipeline->now);
    if (dl->validates && !validation_is_free(dl))
        spend_reserve(pipeline, dl);
    dl->probe = gate_enter(&pipeline->upsert, pipeline->now);
    dl->validate_probe = dl->validates && gate_enter(&pipeline->validate, pipeline->now);
    if (dl->probe || dl->validate_probe) {
        uint64_t trouble = pipeline_trouble(pipeline);
        dl->probes = dl->probed_in == trouble ? dl->probes + 1 : 1;
        dl->probed_in = trouble;
    }
    return true;
}

void call_expect(struct pipeline *pipeline, mono_us_t when)
{
    pipeline->admitted_next = mono_earlier(pipeline->admitted_next, when);
}

void call_start_all(struct pipeline *pipeline)
{
    size_t waiting = 0; /* for the validate route's next probe */
    pipeline->admitted_next = MONO_NEVER;
    foreach_list(pipeline, DELIVERY_ADMITTED, dl, next)
    {
        assert(!delivery_is_leaving(pipeline, dl)); /* those that are leaving were let go by the revoke or the drain itself */
        if (validation_is_wanted(dl) && !validation_step(pipeline, dl, &waiting))
            continue;
        if (!gate_admits(&pipeline->upsert, pipeline->now)) {
            if (!pipeline->gates_phones)
                return;
            continue; /* those behind it may have their phones looked up meanwhile */
        }
        if (!lease_suffices(pipeline, dl))
            continue; /* lease.c extends it, or learns that it is lost */
        if (dl->signup.use_validation && !validation_admits(pipeline, dl, &waiting))
            continue;
        if (!call_start(pipeline, dl)) {
            gate_hold_until(&pipeline->upsert, mono_add(pipeline->now, CONTACTS_AWAY_US));
            return;
        }
    }
}

mono_us_t calls_next(const struct pipeline *pipeline)
{
    if (!list_count(pipeline, DELIVERY_ADMITTED))
        return MONO_NEVER;
    /* Admitted while the gate is open: they wait for their lease, which lease_next() knows. */
    mono_us_t gate = gate_next(&pipeline->upsert, pipeline->now);
    mono_us_t next = pipeline->admitted_next;
    if (gate.us > pipeline->now.us) {
        next = mono_earlier(next, gate);
        if (next.us < gate.us && !pipeline->gates_phones) /* nothing starts before the gate admits */
            next = gate;
    }
    return next;
}
