/* Outcomes: their outbox in the ledger, written with the rows, and the topic that takes them, loses them, or
 * takes them without saying so. */
#include "parts.h"

#include <stdio.h>
#include <string.h>

#define TEXT_BYTES 8192

struct sim_outcome {
    struct sim_outcome *next;
    int64_t number;
    const char *id;
    const char *text; /* as it is told */
    struct claim_token token;
    int64_t until_us;
    bool acked;
};

struct outcome_publication {
    struct sim_life *life;
    struct outcome_publish_op *op;
    bool heard;
};

/* ---- JSON, as far as it has to be sound */

static const char *json_value(const char *at, int depth);

static const char *json_blank(const char *at)
{
    return at + strspn(at, " ");
}

/* Behind the text that begins here; NULL: it is none. */
static const char *json_text(const char *at)
{
    if (*at++ != '"')
        return NULL;
    for (; *at != '"'; at++) {
        if ((unsigned char)*at < 0x20)
            return NULL;
        if (*at == '\\' && !strchr("\"\\/bfnrtu", *++at))
            return NULL;
        if (!*at)
            return NULL;
    }
    return at + 1;
}

static const char *json_list(const char *at, char end, bool named, int depth)
{
    at = json_blank(at + 1);
    if (*at == end)
        return at + 1;
    for (;;) {
        if (named) {
            at = json_text(json_blank(at));
            if (!at || *(at = json_blank(at)) != ':')
                return NULL;
            at++;
        }
        at = json_value(json_blank(at), depth + 1);
        if (!at)
            return NULL;
        at = json_blank(at);
        if (*at == end)
            return at + 1;
        if (*at++ != ',')
            return NULL;
        at = json_blank(at);
    }
}

static const char *json_value(const char *at, int depth)
{
    static const char *const words[] = {"true", "false", "null"};
    if (depth > 8)
        return NULL;
    if (*at == '"')
        return json_text(at);
    if (*at == '{')
        return json_list(at, '}', true, depth);
    if (*at == '[')
        return json_list(at, ']', false, depth);
    for (size_t i = 0; i < 3; i++) {
        if (strncmp(at, words[i], strlen(words[i])) == 0)
            return at + strlen(words[i]);
    }
    size_t len = strspn(at, "-+.0123456789eE");
    return len && at[len - 1] >= '0' && at[len - 1] <= '9' ? at + len : NULL;
}

static bool json_is_sound(const char *text)
{
    const char *end = json_value(text, 0);
    return end && !*end;
}

/* ---- what is announced */

static bool says_text(const char *text, const char *name, const char *value)
{
    char part[512];
    snprintf(part, sizeof part, "\"%s\":\"%s\"", name, value);
    return strstr(text, part) != NULL;
}

/* Whether it agrees with what is written of the row: NULL, or what does not. */
static const char *disagreement(const struct sim *sim, const struct sim_row *row,
                                const struct record_item *item, const char *text)
{
    char name[64];
    bool accepted = item->state == RECORD_ACCEPTED;
    if (!says_text(text, "event_id", row->id))
        return "event_id";
    if (!says_text(text, "source", row->record->position))
        return "source";
    if (!says_text(text, "state", accepted ? "accepted" : "dead"))
        return "state";
    if (!item->outcome)
        return "its answer";
    if (item->outcome->code[0] && !says_text(text, "code", item->outcome->code))
        return "code";
    snprintf(name, sizeof name, "\"attempts\":%d,", item->attempts);
    if (!strstr(text, name))
        return "attempts";
    if (!accepted && !says_text(text, "error_class", outcome_class_str(item->outcome->cls)))
        return "error_class";
    if (item->bare)
        return NULL;
    if (slice_present(item->signup->list_number)) {
        snprintf(name, sizeof name, "%.*s", (int)item->signup->list_number.len,
                 item->signup->list_number.ptr);
        if (!says_text(text, "list_number", name))
            return "list_number";
    }
    bool tells = sim->base.tell_phone && slice_present(item->signup->phone_number);
    if (tells != (strstr(text, "\"phone_number\":") != NULL))
        return "phone_number";
    const struct sim_validation *validation = sim_validation_find(sim, item->validation);
    if (validation ? !says_text(text, "disposition", validation->disposition)
                   : strstr(text, "\"disposition\"") != NULL)
        return "disposition";
    if (accepted && (!strstr(text, "\"contact_id\":\"contact-") || !strstr(text, "\"journeys_enrolled\":")))
        return "contact_id";
    for (const struct warning *w = item->signup->warnings; w; w = w->next) {
        snprintf(name, sizeof name, "\"%.*s\"", (int)w->code.len, w->code.ptr);
        if (!strstr(text, name))
            return "warnings";
    }
    return NULL;
}

/* The text with its end, as the ledger writes it. */
static void text_whole(const struct sim *sim, struct slice announcement, char out[TEXT_BYTES])
{
    char at[WALL_TEXT_BYTES];
    wall_format_utc((wall_us_t){sim->wall_base_us + sim->now_us}, at);
    snprintf(out, TEXT_BYTES, "%.*s,\"finished_at\":\"%s\"}", (int)announcement.len, announcement.ptr, at);
}

void sim_outcome_verify(struct sim *sim, struct sim_life *life, const struct sim_row *row,
                        const struct record_item *item)
{
    char text[TEXT_BYTES];
    struct sim_whom whom = sim_whom_row(row, life->worker);
    bool final = item->state == RECORD_ACCEPTED || item->state == RECORD_DEAD;
    bool told = slice_present(item->announcement);
    if (told != (final && sim->profile.outcomes))
        sim_fail(sim, "outcome.told", whom, "%s is %s, and its outcome is %s", row->id,
                 final ? "final" : "not final", told ? "told" : "not told");
    if (!told)
        return;
    text_whole(sim, item->announcement, text);
    if (item->announcement.len > TEXT_BYTES / 2 || !json_is_sound(text))
        sim_fail(sim, "outcome.json", whom, "the outcome of %s is no JSON: %.400s", row->id, text);
    const char *wrong = disagreement(sim, row, item, text);
    if (wrong)
        sim_fail(sim, "outcome.agrees", whom, "the outcome of %s does not agree with its row in %s: %.300s",
                 row->id, wrong, text);
}

/* ---- the outbox */

void sim_outcome_write(struct sim *sim, const struct sim_row *row, const struct record_item *item)
{
    char text[TEXT_BYTES];
    if (!slice_present(item->announcement))
        return;
    text_whole(sim, item->announcement, text);
    struct sim_outcome *outcome = sim_alloc(sim, sizeof *outcome);
    outcome->number = ++sim->outcome_count;
    outcome->id = row->id;
    outcome->text = sim_copy(sim, text, strlen(text));
    *sim->outcomes_end = outcome;
    sim->outcomes_end = &outcome->next;
}

static bool is_due(const struct sim *sim, const struct sim_outcome *outcome)
{
    return outcome->until_us <= sim->now_us;
}

size_t sim_outcomes_take(struct sim *sim, const struct outcome_take_op *op, struct sim_outcome_taken **taken,
                         bool *more)
{
    size_t due = 0;
    size_t count = 0;
    for (const struct sim_outcome *o = sim->outcomes; o; o = o->next)
        due += is_due(sim, o);
    *taken = sim_alloc(sim, (due < op->limit ? due : op->limit) * sizeof **taken + 1);
    for (struct sim_outcome *o = sim->outcomes; o && count < op->limit; o = o->next) {
        if (!is_due(sim, o))
            continue;
        o->token = op->token;
        o->until_us = sim->now_us + op->lease_us;
        (*taken)[count++] = (struct sim_outcome_taken){o->number, o->id, o->text};
    }
    *more = due > count;
    return count;
}

static struct sim_outcome **outcome_find(struct sim *sim, int64_t number)
{
    struct sim_outcome **link = &sim->outcomes;
    while (*link && (*link)->number != number)
        link = &(*link)->next;
    return link;
}

void sim_outcomes_mark(struct sim *sim, struct sim_life *life, const struct outcome_mark_op *op)
{
    for (size_t i = 0; i < op->count; i++) {
        const struct outcome_letter *letter = &op->letters[i];
        struct sim_outcome **link = outcome_find(sim, letter->number);
        struct sim_outcome *outcome = *link;
        if (!outcome || !sim_token_equal(&outcome->token, &op->token))
            continue;
        if (letter->published && !outcome->acked)
            sim_fail(sim, "outcome.mark", sim_whom_worker(life->worker),
                     "outcome %lld of %s is marked as published, but no broker has acknowledged it",
                     (long long)outcome->number, outcome->id);
        if (!letter->published) {
            outcome->until_us = op->retry_in_us ? sim->now_us + op->retry_in_us : 0;
            continue;
        }
        *link = outcome->next;
        if (sim->outcomes_end == &outcome->next)
            sim->outcomes_end = link;
    }
}

const char *sim_outcome_unpublished(const struct sim *sim)
{
    return sim->outcomes ? sim->outcomes->id : NULL;
}

/* ---- the topic */

static void persist(struct sim *sim, struct sim_life *life, struct outcome_publish_op *op, bool heard)
{
    for (size_t i = 0; i < op->count; i++) {
        struct outcome_letter *letter = &op->letters[i];
        struct sim_outcome *outcome = *outcome_find(sim, letter->number);
        /* One that is gone was published by somebody else after our lease. */
        if (outcome && (!slice_is(letter->text, outcome->text) || !slice_is(letter->event_id, outcome->id)))
            sim_fail(sim, "outcome.letter", sim_whom_worker(life->worker),
                     "outcome %lld is published with another text than the ledger has: %.*s",
                     (long long)letter->number, (int)letter->text.len, letter->text.ptr);
        bool fails = sim_strikes(sim, SIM_OUTCOMES) && sim_chance(sim, sim->profile.outcomes_fail);
        letter->published = !fails && heard;
        sim->totals.outcomes += !fails;
        if (outcome)
            outcome->acked = outcome->acked || letter->published;
    }
}

static void published_event(struct sim *sim, void *arg, uint32_t stamp)
{
    (void)stamp;
    struct outcome_publication *publication = arg;
    struct sim_life *life = publication->life;
    if (publication->heard || sim_life_asleep(sim, life, published_event, publication, stamp))
        return;
    publication->heard = true;
    struct outcome_publish_op *op = publication->op;
    persist(sim, life, op, true);
    life->outcome_publish = NULL;
    sim_not_under_way(life, op);
    sim_core_enter(life);
    op->done(op);
    (void)sim_life_step(life, SIM_STEP_PUBLISH_OUTCOMES_DONE);
    if (!sim_core_left(life))
        sim_life_touch(sim, life);
}

static enum port_status port_publish(void *ctx, struct outcome_publish_op *op)
{
    struct sim_life *life = ctx;
    struct sim *sim = life->sim;
    sim_under_way(life, op, "publish of outcomes");
    bool away = sim_strikes(sim, SIM_OUTCOMES) && sim_chance(sim, sim->profile.outcomes_fail / 2);
    if (!sim_life_step(life, SIM_STEP_PUBLISH_OUTCOMES) || away) {
        sim_not_under_way(life, op);
        return PORT_AWAY;
    }
    struct outcome_publication *publication = sim_alloc(sim, sizeof *publication);
    *publication = (struct outcome_publication){.life = life, .op = op};
    life->outcome_publish = op;
    life->outcome_publication = publication;
    for (size_t i = 0; i < op->count; i++)
        op->letters[i].published = false;
    sim_at(sim, sim->now_us + sim_between(sim, 500, 300 * US_PER_MS), published_event, publication, 0);
    return PORT_OK;
}

void sim_outcomes_drop(struct sim *sim, struct sim_life *life)
{
    if (!life->outcome_publish)
        return;
    struct outcome_publish_op *op = life->outcome_publish;
    life->outcome_publication->heard = true;
    if (sim_chance(sim, 5000))
        persist(sim, life, op, false);
    life->outcome_publish = NULL;
    sim_not_under_way(life, op);
    op->done(op);
}

const struct outcome_port sim_outcomes_port = {.publish = port_publish};
