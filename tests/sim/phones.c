/* What is known of phones: what the vendor finds and charges, what the ledger remembers, what each worker was
 * told, and what the ledger has added up. */
#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_FIRST 20370 /* as the ledger counts days */
#define REMEMBERED 2500 /* of 10,000 phones: the ledger knows them from before */
#define PORTED 2500     /* of 10,000 lookups that are paid for again: they find something else */

static const char *disposition_draw(struct sim *sim)
{
    static const char *const names[] = {"ok",      "ok",      "ok",    "ok",      "ok",          "ok",
                                        "unknown", "unknown", "risky", "invalid", "unreachable", "spam_trap"};
    return names[sim_below(sim, (int)(sizeof names / sizeof names[0]))];
}

static struct sim_validation *validation_new(struct sim *sim, int phone, const char *disposition,
                                             int64_t cost)
{
    if (sim->validation_count == sim->validation_room) {
        int room = sim->validation_room ? sim->validation_room * 2 : 64;
        struct sim_validation **more = sim_alloc(sim, (size_t)room * sizeof *more);
        if (sim->validation_count)
            memcpy(more, sim->validations, (size_t)sim->validation_count * sizeof *more);
        sim->validations = more;
        sim->validation_room = room;
    }
    struct sim_validation *validation = sim_alloc(sim, sizeof *validation);
    *validation = (struct sim_validation){.serial = sim->validation_count,
                                          .phone = phone,
                                          .disposition = disposition,
                                          .cost = cost,
                                          .made_us = sim->now_us,
                                          .heard_us = -1,
                                          .written_us = -1,
                                          .settled_us = -1};
    sim->validations[sim->validation_count++] = validation;
    return validation;
}

void sim_phones_make(struct sim *sim)
{
    bool known = sim->known >> SIM_GATE & 1;
    sim->phone_count = sim->contact_count;
    sim->phones = sim_alloc(sim, (size_t)sim->phone_count * sizeof *sim->phones);
    for (int p = 0; p < sim->phone_count; p++) {
        struct sim_phone *phone = &sim->phones[p];
        phone->disposition = disposition_draw(sim);
        phone->refused = known && sim_chance(sim, 300);
        if (!known || phone->refused || !sim_chance(sim, REMEMBERED))
            continue;
        struct sim_validation *validation = validation_new(sim, p, phone->disposition, 0);
        validation->written_us = 0;
        phone->vendor = phone->memory = validation;
        phone->memory_at_us = -sim_between(sim, 0, 30 * US_PER_S);
    }
}

/* ---- the texts */

void sim_validation_write(const struct sim *sim, const struct sim_validation *validation, int64_t cost,
                          bool cached, char out[SIM_VALIDATION_BYTES])
{
    static const char *const carriers[] = {"Example \\\"disposition\\\" Wireless", "Caf\xc3\xa9 Mobile",
                                           "cached", "disposition", "cost"};
    char disposition[48];
    char price[32] = "\"cost\":0";
    (void)sim;
    snprintf(disposition, sizeof disposition, "\"disposition\":\"%s\"", validation->disposition);
    if (cost)
        snprintf(price, sizeof price, "\"cost\":%.3f", (double)cost / 1e6);
    bool first = validation->serial % 3 == 0;
    snprintf(out, SIM_VALIDATION_BYTES, "{%s%s\"serial\":%d,\"carrier\":\"%s\",%s,\"cached\":%s%s%s}",
             first ? disposition : "", first ? "," : "", validation->serial, carriers[validation->serial % 5],
             price, cached ? "true" : "false", first ? "" : ",", first ? "" : disposition);
}

struct sim_validation *sim_validation_find(const struct sim *sim, struct slice text)
{
    static const char name[] = "\"serial\":";
    const char *at = slice_present(text) ? memmem(text.ptr, text.len, name, sizeof name - 1) : NULL;
    int serial = -1;
    if (!at)
        return NULL;
    for (at += sizeof name - 1; at < text.ptr + text.len && *at >= '0' && *at <= '9' && serial < 1000000;
         at++)
        serial = (serial < 0 ? 0 : serial * 10) + (*at - '0');
    return serial >= 0 && serial < sim->validation_count ? sim->validations[serial] : NULL;
}

/* ---- the vendor */

struct sim_validation *sim_phone_look_up(struct sim *sim, struct sim_call *call)
{
    struct sim_phone *phone = &sim->phones[call->phone];
    bool paid = !phone->vendor || call->force;
    if (phone->vendor && paid && sim_chance(sim, PORTED))
        phone->disposition = disposition_draw(sim);
    struct sim_validation *validation =
        validation_new(sim, call->phone, paid ? phone->disposition : phone->vendor->disposition,
                       paid ? VALIDATION_PRICE : 0);
    validation->forced = call->force;
    validation->life = call->life;
    validation->row = call->row;
    validation->claim_number = call->claim_number;
    validation->excused = call->ended; /* nobody hears of it */
    if (paid)
        phone->vendor = validation;
    sim->totals.paid += paid;
    SIM_TRACE(sim, sim_whom_contact(call->row ? call->row->contact : -1, call->life->worker),
              "vendor: phone %d is \"%s\" (%d), %s", call->phone, validation->disposition, validation->serial,
              paid ? "paid for" : "had already");
    return validation;
}

/* ---- what workers are told */

static void heard_add(struct sim *sim, struct sim_life *life, const struct sim_validation *validation,
                      int64_t at_us, int64_t told_us)
{
    if (!life->heard)
        life->heard = sim_alloc(sim, (size_t)sim->phone_count * sizeof(struct sim_heard *));
    struct sim_heard *heard = sim_alloc(sim, sizeof *heard);
    *heard = (struct sim_heard){.next = life->heard[validation->phone],
                                .validation = validation,
                                .at_us = at_us,
                                .tick = life->ticks,
                                .told_us = told_us,
                                .heard_us = sim->now_us};
    life->heard[validation->phone] = heard;
}

void sim_phone_heard(struct sim *sim, struct sim_life *life, struct sim_validation *validation)
{
    validation->heard_us = sim->now_us;
    heard_add(sim, life, validation, sim->now_us, sim->now_us);
}

struct sim_telling *sim_phone_telling(const struct sim_row *row, const struct sim_life *life)
{
    struct sim_telling *telling = row->tellings;
    while (telling && telling->life != life)
        telling = telling->next;
    return telling;
}

void sim_phone_told(struct sim_life *life, struct sim_row *row, const struct sim_remembered *known)
{
    struct sim *sim = life->sim;
    struct sim_telling *telling = sim_phone_telling(row, life);
    if (!telling) {
        telling = sim_alloc(sim, sizeof *telling);
        *telling = (struct sim_telling){.next = row->tellings, .life = life, .first_us = sim->now_us};
        row->tellings = telling;
    }
    telling->tick = life->ticks;
    if (!known->validation)
        return;
    telling->known = known->validation;
    telling->known_at_us = known->at_us;
    heard_add(sim, life, known->validation, known->at_us, known->told_us);
    sim->totals.known++;
}

void sim_phone_told_no_more(struct sim_row *row, const struct sim_life *life)
{
    for (struct sim_telling **link = &row->tellings; *link; link = &(*link)->next) {
        if ((*link)->life != life)
            continue;
        *link = (*link)->next;
        return;
    }
}

/* ---- the ledger */

struct sim_remembered sim_phone_remembered(const struct sim *sim, int contact)
{
    const struct sim_phone *phone = contact >= 0 ? &sim->phones[sim->contacts[contact].phone_index] : NULL;
    if (!phone || !phone->memory)
        return (struct sim_remembered){.told_us = sim->now_us};
    return (struct sim_remembered){phone->memory, phone->memory_at_us, sim->now_us};
}

bool sim_phone_fill(const struct sim *sim, struct arena *arena, const struct sim_remembered *known,
                    struct known_validation *out)
{
    char text[SIM_VALIDATION_BYTES];
    *out = (struct known_validation){.validation = SLICE_ABSENT};
    if (!known->validation)
        return true;
    sim_validation_write(sim, known->validation, 0, true, text);
    out->validation = arena_copy(arena, slice_from_str(text));
    out->age_us = known->told_us - known->at_us;
    return slice_present(out->validation);
}

void sim_phone_written(struct sim *sim, struct sim_life *life, struct sim_row *row,
                       const struct record_item *item)
{
    struct sim_validation *validation = sim_validation_find(sim, item->validation);
    if (!validation || item->state == RECORD_RELEASED)
        return;
    if (!item->validation_fresh) {
        if (!row->validation)
            row->validation = validation;
        return;
    }
    row->validation = validation;
    if (validation->written_us >= 0 && !row->replayed)
        sim_fail(sim, "budget.twice", sim_whom_row(row, life->worker),
                 "validation %d of phone %d is written as a fresh one a second time, with %s",
                 validation->serial, validation->phone, row->id);
    struct sim_phone *phone = &sim->phones[validation->phone];
    if (validation->written_us < 0)
        validation->written_us = sim->now_us;
    phone->memory = validation;
    phone->memory_at_us = sim->now_us;
}

void sim_phone_excuse(struct sim *sim, const struct sim_life *life, const struct sim_row *row)
{
    for (int v = 0; v < sim->validation_count; v++) {
        struct sim_validation *validation = sim->validations[v];
        if (validation->life == life && validation->written_us < 0 && (!row || validation->row == row))
            validation->excused = true;
    }
}

/* ---- days: shorter ones than ours */

int64_t sim_day_of(const struct sim *sim, int64_t at_us)
{
    return DAY_FIRST + (at_us - sim->day_from_us) / sim->day_us;
}

int64_t sim_day_end(const struct sim *sim, int64_t day)
{
    return sim->day_from_us + (day + 1 - DAY_FIRST) * sim->day_us;
}

int64_t sim_spend_recorded(const struct sim *sim, int64_t day, int64_t until_us)
{
    int64_t sum = 0;
    for (int v = 0; v < sim->validation_count; v++) {
        const struct sim_validation *validation = sim->validations[v];
        if (validation->cost && validation->written_us >= 0 && validation->written_us <= until_us &&
            sim_day_of(sim, validation->written_us) == day)
            sum += validation->cost;
    }
    return sum;
}
