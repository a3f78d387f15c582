/* The broker of the dead letters: takes them, loses them, or takes them without saying so. */
#include "parts.h"

#include <string.h>

struct publication {
    struct sim_life *life;
    struct publish_op *op;
    bool heard;
};

static bool header_same(const struct record_header *a, const struct record_header *b)
{
    return slice_equal(a->name, b->name) && slice_equal(a->value, b->value);
}

/* A letter carries the original untouched, and there is a durable dead row behind it (I7). */
static struct sim_record *letter_verify(struct sim_life *life, const struct dead_letter *letter)
{
    struct sim *sim = life->sim;
    struct sim_record *record = sim_record_find(sim, &letter->original);
    struct sim_whom whom = sim_whom_record(record, life->worker);
    const struct sim_row *row = sim_row_find(sim, letter->event_id);
    if (!record || !row || !row->was_dead)
        sim_fail(sim, "I7.row", whom, "a letter of %.*s is published without a dead row",
                 (int)letter->event_id.len, letter->event_id.ptr);
    size_t count;
    const struct record_header *headers = sim_record_headers(&count);
    bool same = slice_equal(letter->original.value, sim_record_value(record)) &&
                slice_is(letter->original.key, record->key) && letter->original.header_count == count;
    for (size_t i = 0; same && i < count; i++)
        same = header_same(&letter->original.headers[i], &headers[i]);
    if (!same)
        sim_fail(sim, "I7.bytes", whom, "the letter of %s does not carry the original bytes", row->id);
    return record;
}

static void persist(struct sim *sim, struct sim_life *life, struct publish_op *op, bool heard)
{
    for (size_t i = 0; i < op->count; i++) {
        struct sim_record *record = letter_verify(life, &op->letters[i]);
        bool fails = sim_strikes(sim, SIM_LETTERS) && sim_chance(sim, sim->profile.letters_fail);
        bool persisted = !fails || sim_chance(sim, 5000);
        if (persisted) {
            record->letter_persisted = true;
            sim->totals.letters++;
        }
        op->letters[i].published = !fails && heard;
        record->letter_acked = record->letter_acked || (!fails && heard);
        SIM_TRACE(sim, sim_whom_record(record, life->worker), "w%d.%d letters: %s %s", life->worker,
                  life->number, record->id,
                  op->letters[i].published ? "acknowledged"
                  : persisted              ? "taken in silence"
                                           : "not taken");
    }
}

static void published_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)stamp;
    struct publication *publication = arg;
    struct sim_life *life = publication->life;
    if (publication->heard || sim_life_asleep(sim, life, published_event, publication, stamp))
        return;
    publication->heard = true;
    struct publish_op *op = publication->op;
    persist(sim, life, op, true);
    life->publish = NULL;
    life->publication = NULL;
    sim_not_under_way(life, op);
    sim_core_enter(life);
    op->done(op);
    (void)sim_life_step(life, SIM_STEP_PUBLISH_DONE);
    if (!sim_core_left(life))
        sim_life_touch(sim, life);
}

static enum port_status port_publish(void *ctx, struct publish_op *op)
{
    struct sim_life *life = ctx;
    struct sim *sim = life->sim;
    sim_under_way(life, op, "publish");
    bool away = sim_strikes(sim, SIM_LETTERS) && sim_chance(sim, sim->profile.letters_fail / 2);
    if (!sim_life_step(life, SIM_STEP_PUBLISH) || away) {
        sim_not_under_way(life, op);
        return PORT_AWAY;
    }
    sim_rules_rate(life, SIM_RATE_LETTERS, op->count);
    struct publication *publication = sim_alloc(sim, sizeof *publication);
    *publication = (struct publication){.life = life, .op = op};
    life->publish = op;
    life->publication = publication;
    for (size_t i = 0; i < op->count; i++)
        op->letters[i].published = false;
    sim_at(sim, sim->now_us + sim_between(sim, 500, 300 * US_PER_MS), published_event, publication, 0);
    return PORT_OK;
}

void sim_letters_drop(struct sim *sim, struct sim_life *life)
{
    if (!life->publish)
        return;
    struct publish_op *op = life->publish;
    life->publication->heard = true;
    if (sim_chance(sim, 5000))
        persist(sim, life, op, false);
    life->publish = NULL;
    sim_not_under_way(life, op);
    op->done(op);
}

const struct dead_letter_port sim_letters_port = {.publish = port_publish};
