/* What must hold of lookups, of the gate that they are for, and of the day's budget. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

#define SPREAD_US (60 * US_PER_S) /* what waits for tomorrow does not come back all at once */
#define STALE_US (10 * US_PER_S)  /* a look at the day's spend may be so late, where nothing holds it up */
#define TICK_US (5 * US_PER_MS) /* so much later than the answer the tick that takes it may be */
#define SHARE 16 /* between two looks a worker spends this part of what was left, or one lookup */
#define DECIDED_US                                                                                           \
    (5 * US_PER_S) /* so long before it is written a decision was made at the most, likewise                 \
                    */

static bool is_allowed(const struct sim_life *life, const struct sim_validation *validation)
{
    for (size_t i = 0; i < life->config.allow_count; i++) {
        if (slice_is(life->config.allow[i], validation->disposition))
            return true;
    }
    return false;
}

/* The vendor was asked anew: what it had before does not do where a fresh one is asked for. What the ledger
 * remembers does not tell any more whether it was. */
static bool is_new(const struct sim_validation *validation)
{
    return validation->forced || validation->cost > 0;
}

static int64_t told_since(const struct sim *sim, const struct sim_life *life, const struct sim_row *row)
{
    const struct sim_telling *telling = sim_phone_telling(row, life);
    return telling ? telling->first_us : sim->now_us;
}

/* What a worker may judge the row by: its own lookup, or one that was young enough when the row was given. Its own ones are `late` younger
 * to the worker, at most: to it they are as old as the tick that took their answer. */
static bool is_candidate(const struct sim *sim, const struct sim_life *life, const struct sim_row *row,
                         const struct sim_heard *heard, int64_t late_us)
{
    const struct sim_validation *validation = heard->validation;
    int64_t since = told_since(sim, life, row);
    bool looked_up = validation->life == life && heard->at_us == heard->heard_us;
    if (looked_up && validation->row == row && heard->heard_us >= since)
        return true;
    if (row->record->content->force &&
        ((looked_up && !is_new(validation)) || heard->at_us <= row->age_from_us))
        return false;
    int64_t judged_us = heard->heard_us >= since ? heard->told_us : since; /* at the earliest */
    int64_t until_us = heard->at_us + life->config.remember_us + (looked_up ? late_us : 0);
    return life->config.remember_us && until_us >= judged_us;
}

static const struct sim_heard *heard_of(const struct sim *sim, const struct sim_life *life, int contact)
{
    return contact >= 0 && life->heard ? life->heard[sim->contacts[contact].phone_index] : NULL;
}

/* ---- the budget */

static bool has_budget(const struct sim_life *life)
{
    return life->config.daily_budget != BUDGET_NONE;
}

/* What the worker has paid for since then and what the ledger had not written when it was asked. */
static int64_t spend_unwritten(const struct sim *sim, const struct sim_life *life, int64_t from_us,
                               int64_t written_by_us)
{
    int64_t sum = 0;
    for (int v = 0; v < sim->validation_count; v++) {
        const struct sim_validation *validation = sim->validations[v];
        bool heard = validation->heard_us >= from_us;
        bool written = validation->written_us >= 0 && validation->written_us <= written_by_us;
        if (validation->life == life && heard && !written)
            sum += validation->cost;
    }
    return sum;
}

void sim_budget_tick(struct sim *sim, struct sim_life *life)
{
    if (!life->spend_is_due)
        return;
    struct sim_spend_heard next = life->spend_due;
    const struct sim_spend_heard *last = &life->spend;
    bool same = last->any && last->day == next.day && sim->now_us < last->taken_us + last->ends_in_us;
    next.any = true;
    next.taken_us = sim->now_us;
    next.day_from_us = same ? last->day_from_us : sim->now_us;
    life->spend = next;
    life->spend_is_due = false;
}

/* The caller has been told that it costs nothing. */
static bool is_free(const struct sim_call *call)
{
    const struct sim_telling *telling = sim_phone_telling(call->row, call->life);
    return telling && telling->known && !call->force;
}

static int64_t under_way(const struct sim_call *call)
{
    int64_t count = 0;
    for (const struct sim_call *other = call->life->lookups; other; other = other->next)
        count += other != call && !other->free;
    for (const struct sim_call *other = call->life->calls; other; other = other->next)
        count += other != call && other->validate && !other->free;
    return count;
}

/* The others spend, too: since its last look the worker has taken no more than its share of what was left
 * then. */
static void share_check(struct sim *sim, const struct sim_call *call, int64_t own)
{
    const struct sim_life *life = call->life;
    const struct sim_spend_heard *spend = &life->spend;
    int64_t since = 0;
    for (int v = 0; v < sim->validation_count; v++) {
        const struct sim_validation *validation = sim->validations[v];
        if (validation->life == life && validation->heard_us > spend->taken_us)
            since += validation->cost;
    }
    int64_t left = life->config.daily_budget - spend->sum - (own > since ? own - since : 0);
    int64_t share = left / SHARE > VALIDATION_PRICE ? left / SHARE : VALIDATION_PRICE;
    int64_t taken = since + (under_way(call) + 1) * VALIDATION_PRICE;
    if (taken > share)
        sim_fail(
            sim, "budget.share", sim_whom_record(call->record, life->worker),
            "%s is validated, and since the ledger was asked this worker has taken %lld; its share is %lld",
            call->row->id, (long long)taken, (long long)share);
}

/* What begins may cost something: what the worker knows of the day must leave room for it. */
static void budget_check(struct sim *sim, struct sim_call *call)
{
    const struct sim_life *life = call->life;
    const struct sim_spend_heard *spend = &life->spend;
    struct sim_whom whom = sim_whom_record(call->record, life->worker);
    call->free = is_free(call);
    if (!has_budget(life) || call->free)
        return;
    if (!spend->any || sim->now_us >= spend->taken_us + spend->ends_in_us)
        sim_fail(sim, "budget.blind", whom,
                 "%s is validated although the ledger has not said what this day has cost", call->row->id);
    int64_t own = spend_unwritten(sim, life, spend->day_from_us, spend->executed_us);
    int64_t reserved = (under_way(call) + 1) * VALIDATION_PRICE;
    if (spend->sum + own + reserved > life->config.daily_budget)
        sim_fail(sim, "budget.passed", whom,
                 "%s is validated for up to %lld with %lld told, %lld of its own, %lld reserved of a budget "
                 "of %lld",
                 call->row->id, (long long)VALIDATION_PRICE, (long long)spend->sum, (long long)own,
                 (long long)(reserved - VALIDATION_PRICE), (long long)life->config.daily_budget);
    share_check(sim, call, own);
    const uint64_t late = UINT64_C(1) << SIM_LEDGER | UINT64_C(1) << SIM_LEDGER_AWAY |
                          UINT64_C(1) << SIM_STALL | UINT64_C(1) << SIM_RATE;
    if (!(sim->known & late) && sim->now_us - spend->executed_us > life->config.spend_interval_us + STALE_US)
        sim_fail(sim, "budget.stale", whom, "%s is validated by a word of the ledger that is %lld ms old",
                 call->row->id, (long long)((sim->now_us - spend->executed_us) / US_PER_MS));
}

/* What the worker had heard of by then without having heard that it is written. */
static int64_t spend_open(const struct sim *sim, const struct sim_life *life, int64_t at_us)
{
    int64_t sum = 0;
    for (int v = 0; v < sim->validation_count; v++) {
        const struct sim_validation *validation = sim->validations[v];
        bool heard = validation->heard_us >= 0 && validation->heard_us <= at_us;
        bool settled = validation->settled_us >= 0 && validation->settled_us <= at_us;
        if (validation->life == life && heard && !settled)
            sum += validation->cost;
    }
    return sum;
}

/* By all that this worker may know the budget of a day was spent at some time since then. */
static bool was_exhausted(const struct sim *sim, const struct sim_life *life, int64_t since_us)
{
    for (int64_t day = sim_day_of(sim, since_us) - 1; day <= sim_day_of(sim, sim->now_us); day++) {
        int64_t end = sim_day_end(sim, day);
        int64_t until = end < sim->now_us ? end : sim->now_us;
        int64_t spent = sim_spend_recorded(sim, day, until) + spend_open(sim, life, until);
        if (spent + VALIDATION_PRICE > life->config.daily_budget)
            return true;
    }
    return false;
}

void sim_budget_verify_parked(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                              const struct record_item *item)
{
    struct sim_whom whom = sim_whom_row(row, life->worker);
    const struct sim_content *content = row->record->content;
    const struct sim_telling *telling = sim_phone_telling(row, life);
    if (!has_budget(life) || content->mode == EVENT_VALIDATION_OFF ||
        life->config.on_budget != ON_BUDGET_PARK_UNTIL_TOMORROW)
        sim_fail(sim, "budget.parked", whom, "%s is parked for a budget that nothing says", row->id);
    if (telling && telling->known && !content->force)
        sim_fail(sim, "budget.free", whom, "%s is parked for the budget although its phone costs nothing",
                 row->id);
    if (!was_exhausted(sim, life, told_since(sim, life, row)))
        sim_fail(sim, "budget.early", whom, "%s is parked for a budget that has room for it", row->id);
    if (item->due_in_us > sim->day_us + SPREAD_US + STALE_US)
        sim_fail(sim, "budget.due", whom, "%s is parked for %lld ms, and the day has %lld", row->id,
                 (long long)(item->due_in_us / US_PER_MS), (long long)(sim->day_us / US_PER_MS));
    const uint64_t late =
        UINT64_C(1) << SIM_LEDGER | UINT64_C(1) << SIM_LEDGER_AWAY | UINT64_C(1) << SIM_STALL;
    int64_t midnight = sim_day_end(sim, sim_day_of(sim, sim->now_us - DECIDED_US));
    if (!(sim->known & late) && sim->now_us + item->due_in_us < midnight)
        sim_fail(sim, "budget.due", whom, "%s comes back %lld ms before the day is over", row->id,
                 (long long)((midnight - sim->now_us - item->due_in_us) / US_PER_MS));
    sim->totals.over_budget++;
}

bool sim_budget_starves(const struct sim *sim)
{
    return sim->base.daily_budget != BUDGET_NONE && sim->base.daily_budget < VALIDATION_PRICE;
}

bool sim_budget_never(const struct sim *sim, const struct sim_row *row)
{
    if (!sim_budget_starves(sim))
        return false;
    const struct sim_row *other = row->contact >= 0 ? sim->contacts[row->contact].rows : row;
    for (; other; other = other->next_contact) {
        if (other->state == SIM_PARKED_ROW && strcmp(other->park_code, "validation_budget_spent") == 0)
            return true;
    }
    return false;
}

/* Money that nobody has written down, and no day of a worker above the budget. */
void sim_budget_end(struct sim *sim)
{
    for (int v = 0; v < sim->validation_count; v++) {
        const struct sim_validation *one = sim->validations[v];
        if (!one->cost || one->heard_us < 0 || one->excused || !one->life)
            continue;
        if (one->written_us < 0)
            sim_fail(sim, "budget.lost", sim_whom_row(one->row, one->life->worker),
                     "validation %d of phone %d was paid for, and the ledger never hears of it", one->serial,
                     one->phone);
        if (sim->base.daily_budget == BUDGET_NONE)
            continue;
        int64_t sum = 0;
        for (int w = 0; w < sim->validation_count; w++) {
            const struct sim_validation *other = sim->validations[w];
            if (other->life == one->life && other->heard_us >= 0 && !other->excused &&
                sim_day_of(sim, other->made_us) == sim_day_of(sim, one->made_us))
                sum += other->cost;
        }
        if (sum > sim->base.daily_budget)
            sim_fail(sim, "budget.day", sim_whom_worker(one->life->worker),
                     "worker %d.%d alone has spent %lld on one day of a budget of %lld", one->life->worker,
                     one->life->number, (long long)sum, (long long)sim->base.daily_budget);
    }
}

/* ---- lookups */

/* What the worker knows already and may use. */
static void check_known(struct sim *sim, const struct sim_call *call)
{
    const struct sim_life *life = call->life;
    const struct sim_row *row = call->row;
    struct sim_whom whom = sim_whom_record(call->record, life->worker);
    const struct sim_telling *telling = sim_phone_telling(row, life);
    int64_t remember = life->config.remember_us;
    if (!telling || !remember)
        return;
    const struct sim_validation *known = telling->known;
    bool young = known && telling->known_at_us + remember >= sim->now_us;
    if (young && (!call->force || telling->known_at_us > row->age_from_us))
        sim_fail(sim, "gate.known", whom,
                 "%s has phone %d looked up, which its claim told: validation %d, %lld ms old", row->id,
                 call->phone, known->serial, (long long)((sim->now_us - telling->known_at_us) / US_PER_MS));
    for (const struct sim_heard *h = life->heard ? life->heard[call->phone] : NULL; h; h = h->next) {
        if (h->validation->life != life || h->at_us != h->heard_us || h->at_us + remember < sim->now_us)
            continue;
        if (!call->force || (is_new(h->validation) && h->tick > telling->tick))
            sim_fail(sim, "gate.known", whom, "%s has phone %d looked up, which this worker did %lld ms ago",
                     row->id, call->phone, (long long)((sim->now_us - h->at_us) / US_PER_MS));
    }
}

void sim_gate_lookup(struct sim *sim, struct sim_call *call)
{
    const struct sim_life *life = call->life;
    struct sim_whom whom = sim_whom_record(call->record, life->worker);
    sim_rules_lookup(sim, call);
    const struct sim_content *content = call->record->content;
    if (content->mode != EVENT_VALIDATION_GATE || call->force != content->force)
        sim_fail(sim, "gate.asked", whom, "%s has its phone looked up%s, and does not ask for that",
                 call->row->id, call->force ? " anew" : "");
    if (sim->contacts[content->contact].phone_index != call->phone)
        sim_fail(sim, "P1.body", whom, "%s has phone %d looked up, which is another's", call->row->id,
                 call->phone);
    for (const struct sim_call *other = life->lookups; other; other = other->next) {
        if (other != call && other->phone == call->phone)
            sim_fail(sim, "gate.shared", whom,
                     "phone %d is looked up for %s while it is being looked up for %s", call->phone,
                     call->row->id, other->row->id);
    }
    check_known(sim, call);
    budget_check(sim, call);
}

/* What the validation host says of everybody. */
static void note_route(struct sim *sim, const struct sim_call *call)
{
    struct sim_life *life = call->life;
    int64_t wait = call->cls == OUTCOME_THROTTLED ? sim_rules_clamped(life, call->retry_after_us) : 0;
    if (life->lookup_hold_until_us < sim->now_us + wait)
        life->lookup_hold_until_us = sim->now_us + wait;
    switch (call->cls) {
    case OUTCOME_UNAUTHORIZED:
    case OUTCOME_MISROUTED:
        if (life->lookup_stopped_us < 0)
            life->lookup_stopped_us = sim->now_us;
        break;
    case OUTCOME_REJECTED:
        if (!sim_answer_is_vague(call->cls, call->status, call->code))
            life->lookup_stopped_us = -1;
        else if (life->lookup_stopped_us < 0)
            life->lookup_stopped_us = sim->now_us;
        break;
    case OUTCOME_ACCEPTED:
    case OUTCOME_THROTTLED: life->lookup_stopped_us = -1; break;
    default:
        if (call->cls == OUTCOME_BILLING && life->config.on_billing == ON_BILLING_DEAD)
            life->lookup_stopped_us = -1;
        break;
    }
}

void sim_gate_answer(struct sim *sim, struct sim_call *call)
{
    call->refused = call->cls == OUTCOME_ACCEPTED && !is_allowed(call->life, call->validation);
    sim_rules_answer(sim, call);
    note_route(sim, call);
}

/* ---- the gate */

bool sim_gate_may_skip(const struct sim *sim, const struct sim_life *life, const struct sim_row *row)
{
    const struct pipeline_config *c = &life->config;
    int64_t since = told_since(sim, life, row);
    if (c->on_billing == ON_BILLING_WITHOUT_VALIDATION &&
        (life->unpaid_known || life->unpaid_last_us >= since))
        return true;
    return has_budget(life) && c->on_budget == ON_BUDGET_WITHOUT_VALIDATION &&
           was_exhausted(sim, life, since);
}

static void check_gate(struct sim *sim, struct sim_call *call)
{
    const struct sim_life *life = call->life;
    struct sim_row *row = call->row;
    struct sim_whom whom = sim_whom_record(call->record, life->worker);
    const struct sim_telling *telling = sim_phone_telling(row, life);
    const struct sim_validation *refused = NULL;
    bool passes = false;
    for (const struct sim_heard *h = heard_of(sim, life, row->contact); h && !passes; h = h->next) {
        if (!is_candidate(sim, life, row, h, TICK_US))
            continue;
        passes = is_allowed(life, h->validation);
        if (!passes && is_candidate(sim, life, row, h, 0) && (!refused || (telling && h->validation == telling->known)))
            refused = h->validation;
    }
    row->skipped = !passes;
    if (passes)
        return;
    bool told = refused && telling && refused == telling->known;
    if (!told && sim_gate_may_skip(sim, life, row))
        return;
    if (refused)
        sim_fail(sim, "gate.refused", whom, "%s is sent although its phone is \"%s\" (validation %d%s)",
                 row->id, refused->disposition, refused->serial,
                 told ? ", which it was told with the row" : "");
    sim_fail(sim, "gate.unjudged", whom,
             "%s is sent, and no%s lookup of its phone that it may go by was answered", row->id,
             row->record->content->force ? " fresh" : "");
}

void sim_gate_call(struct sim *sim, struct sim_call *call)
{
    if (call->record->content->mode == EVENT_VALIDATION_GATE)
        check_gate(sim, call);
    else if (call->validate)
        budget_check(sim, call);
}

/* ---- what is written */

static const struct sim_validation *verify_text(struct sim *sim, struct sim_life *life,
                                                const struct sim_row *row, const struct record_item *item)
{
    char texts[3][SIM_VALIDATION_BYTES];
    struct sim_whom whom = sim_whom_row(row, life->worker);
    if (!slice_present(item->validation))
        return NULL;
    const struct sim_validation *validation = sim_validation_find(sim, item->validation);
    if (!validation || row->contact < 0 || validation->phone != sim->contacts[row->contact].phone_index)
        sim_fail(sim, "validation.text", whom, "%s is recorded with a validation that nobody gave: %.*s",
                 row->id, (int)item->validation.len, item->validation.ptr);
    bool free = validation->cost == 0;
    sim_validation_write(sim, validation, validation->cost, free, texts[0]);
    sim_validation_write(sim, validation, 0, free, texts[1]); /* another event's lookup */
    sim_validation_write(sim, validation, 0, true, texts[2]); /* remembered */
    bool own = validation->life == life && validation->row == row;
    bool good = item->validation_fresh
                    ? own && slice_is(item->validation, texts[0])
                    : slice_is(item->validation, texts[1]) || slice_is(item->validation, texts[2]);
    if (!good)
        sim_fail(sim, "validation.text", whom,
                 "%s is recorded with a %s validation that reads otherwise: %.*s", row->id,
                 item->validation_fresh ? "fresh" : "remembered", (int)item->validation.len,
                 item->validation.ptr);
    return validation;
}

/* What was paid for under this claim is written with whatever becomes of it. */
static void verify_paid(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                        const struct record_item *item, const struct sim_validation *written)
{
    for (int v = 0; v < sim->validation_count; v++) {
        const struct sim_validation *one = sim->validations[v];
        bool open = one->cost && one->life == life && one->row == row && one->heard_us >= 0 &&
                    one->written_us < 0 && !one->excused && one->claim_number == row->claim_number;
        if (open && (one != written || !item->validation_fresh || item->state == RECORD_RELEASED))
            sim_fail(sim, "budget.lost", sim_whom_row(row, life->worker),
                     "%s is recorded%s without validation %d, which it has paid for", row->id,
                     item->state == RECORD_RELEASED ? " as given back" : "", one->serial);
    }
}

void sim_gate_verify(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                     const struct record_item *item)
{
    struct sim_whom whom = sim_whom_row(row, life->worker);
    const struct sim_validation *validation = verify_text(sim, life, row, item);
    verify_paid(sim, life, row, item, validation);
    sim->totals.shared += validation && validation->life == life && validation->row != row;
    if (item->state != RECORD_ACCEPTED)
        return;
    bool warned = sim_warned_of(item->signup, "validation_skipped", NULL);
    if (warned && !sim_gate_may_skip(sim, life, row))
        sim_fail(sim, "gate.skip", whom, "%s went without validation, which could be paid for", row->id);
    sim->totals.skipped += warned;
    if (warned || row->record->content->mode != EVENT_VALIDATION_GATE)
        return;
    if (row->skipped)
        sim_fail(sim, "gate.warning", whom, "%s went without a lookup, and nothing says so", row->id);
    if (!validation || !is_allowed(life, validation))
        sim_fail(sim, "gate.recorded", whom, "%s is accepted without the validation that let it through",
                 row->id);
}

void sim_gate_verify_refused(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                             const struct record_item *item)
{
    struct sim_whom whom = sim_whom_row(row, life->worker);
    const struct sim_validation *validation = sim_validation_find(sim, item->validation);
    const struct sim_heard *h = heard_of(sim, life, row->contact);
    while (h && (h->validation != validation || !is_candidate(sim, life, row, h, TICK_US)))
        h = h->next;
    if (row->record->content->mode != EVENT_VALIDATION_GATE || item->outcome->http_status || !h ||
        is_allowed(life, validation))
        sim_fail(sim, "gate.dead", whom, "%s%s is dead with \"validation_refused\" by validation %d (%s)",
                 row->id, row->record->content->force ? ", which asks for a fresh lookup," : "",
                 validation ? validation->serial : -1, validation ? validation->disposition : "none");
    if (!strstr(item->outcome->message, validation->disposition))
        sim_fail(sim, "gate.dead", whom, "%s is dead, and its message does not name \"%s\": %s", row->id,
                 validation->disposition, item->outcome->message);
    sim->totals.gate_refused++;
}
