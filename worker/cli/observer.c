/* What the core does, as log lines and as the call histogram: debug for moves, a line for whatever a person should know. A gate that turns
 * is one line: who, since when, and what the worker does meanwhile. */
#include "observer.h"

#include "signup/base/log.h"
#include "signup/core/delivery.h"
#include "signup/ops/metrics.h"
#include "signup/ops/snapshot.h"

#include <stdio.h>
#include <string.h>

static struct metrics_histogram calls; /* one service a process */

const struct metrics_histogram *observer_calls(void)
{
    return &calls;
}

static bool billing_is_skipped;
static bool budget_is_skipped;

void observer_configure(enum on_billing on_billing, enum on_budget on_budget)
{
    billing_is_skipped = on_billing == ON_BILLING_WITHOUT_VALIDATION;
    budget_is_skipped = on_budget == ON_BUDGET_WITHOUT_VALIDATION;
}

/* ---- by sending list. The number of a list is the account's own, not a person's phone: it is shown whole. */

static struct snapshot_lists journeys_missed;
static struct snapshot_lists list_not_found;
static bool is_told[SNAPSHOT_LISTS_MAX]; /* of list_not_found: said, and nothing was accepted on the list since */

const struct snapshot_lists *observer_journeys_missed(void)
{
    return &journeys_missed;
}

const struct snapshot_lists *observer_list_not_found(void)
{
    return &list_not_found;
}

/* SNAPSHOT_LISTS_MAX: it is not in the table. */
static size_t list_find(const struct snapshot_lists *table, struct slice number)
{
    for (size_t i = 0; i < table->count; i++)
        if (slice_is(number, table->lists[i].number))
            return i;
    return SNAPSHOT_LISTS_MAX;
}

/* Gives the list's index; SNAPSHOT_LISTS_MAX: the table is full, it is counted among the others. */
static size_t list_count(struct snapshot_lists *table, struct slice number)
{
    size_t index = list_find(table, number);
    bool fits = slice_present(number) && number.len < SNAPSHOT_LIST_BYTES;
    if (index == SNAPSHOT_LISTS_MAX && fits && table->count < SNAPSHOT_LISTS_MAX) {
        index = table->count++;
        memcpy(table->lists[index].number, number.ptr, number.len);
        table->lists[index].number[number.len] = '\0';
    }
    if (index == SNAPSHOT_LISTS_MAX)
        table->other++;
    else
        table->lists[index].count++;
    return index;
}

/* One line for each list, at its first death: the others of its kind say nothing new. */
static void note_list_not_found(const struct signup *signup)
{
    char message[256];
    size_t index = list_count(&list_not_found, signup->list_number);
    bool first_other = index == SNAPSHOT_LISTS_MAX && list_not_found.other == 1;
    if (first_other)
        LOG_AT(LOG_ERROR, "contacts", "the account has not got still more of the lists that signups name; those are counted together and not named",
               LOG_SLICE("event_id", signup->event_id), LOG_NUM("lists", list_not_found.count));
    if (index == SNAPSHOT_LISTS_MAX || is_told[index])
        return;
    is_told[index] = true;
    (void)snprintf(message, sizeof message,
                   "the account has no sending list %s: its signups die with list_not_found until it has, or until events, routes or "
                   "defaults.list_number name another; signup-worker replay --code list_not_found brings them back",
                   list_not_found.lists[index].number);
    LOG_AT(LOG_ERROR, "contacts", message, LOG_SLICE("list", signup->list_number), LOG_SLICE("event_id", signup->event_id));
}

static void note_accepted(const struct signup *signup)
{
    for (const struct warning *warning = signup->warnings; warning; warning = warning->next)
        if (warning->source == WARNING_API && slice_is(warning->code, "journeys_not_used")) {
            (void)list_count(&journeys_missed, signup->list_number);
            break;
        }
    size_t index = list_not_found.count ? list_find(&list_not_found, signup->list_number) : SNAPSHOT_LISTS_MAX;
    if (index == SNAPSHOT_LISTS_MAX || !is_told[index])
        return;
    is_told[index] = false;
    LOG_AT(LOG_INFO, "contacts", "the account has the sending list again", LOG_SLICE("list", signup->list_number),
           LOG_NUM("dead", list_not_found.lists[index].count));
}

static void log_move(const struct observation *seen)
{
    const struct signup *signup = delivery_signup(seen->delivery);
    LOG_AT(LOG_DEBUG, "pipeline", "moved", LOG_SLICE("event_id", signup->event_id), LOG_STR("from", seen->from),
           LOG_STR("to", seen->to), LOG_SLICE("at", signup->position));
}

static void log_settled(const struct observation *seen)
{
    const struct signup *signup = delivery_signup(seen->delivery);
    const struct outcome *outcome = delivery_outcome(seen->delivery);
    bool dead = strcmp(seen->text, "dead") == 0;
    bool said = dead && strcmp(seen->detail, "list_not_found") == 0; /* by list, which is what it speaks of */
    if (said)
        note_list_not_found(signup);
    else if (strcmp(seen->text, "accepted") == 0)
        note_accepted(signup);
    LOG_AT(dead && !said ? LOG_INFO : LOG_DEBUG, "pipeline", dead ? "an event is dead" : "an event is finished",
           LOG_SLICE("event_id", signup->event_id), LOG_STR("fate", seen->text), LOG_SLICE("at", signup->position),
           LOG_PHONE("phone", signup->phone_number), LOG_STR("code", seen->detail),
           LOG_NUM("status", outcome ? outcome->http_status : 0), LOG_NUM("attempts", delivery_attempts(seen->delivery)),
           LOG_STR("reason", dead && outcome ? outcome->message : ""), LOG_NUM("took_ms", seen->number / US_PER_MS));
}

/* ---- gates that close */

#define UPSERT_MEANWHILE "intake pauses, one probe at a time (at most one a second), no event is given up meanwhile"

/* Stands for "billing" where validation.on_billing_error says to go without validation, and for the reason where validation.on_budget_spent
 * does. */
#define SKIPPED "billing skipped"
#define BUDGET_SKIPPED "budget skipped"

/* By route and the first word of the reason; a row without a word is for every other reason. */
static const struct turn {
    const char *route;
    const char *word;
    enum log_level level;
    const char *room;
    const char *message;
} turns[] = {
    {"upsert", "unauthorized", LOG_ERROR, "contacts",
     "the contacts API fails for everybody: it refuses the key or the account; put a good key into contacts_api.key_file: the key "
     "file is read again, no restart needed; " UPSERT_MEANWHILE},
    {"upsert", "misrouted", LOG_ERROR, "contacts",
     "the contacts API fails for everybody: it redirects, so contacts_api.base_url is wrong; " UPSERT_MEANWHILE},
    {"upsert", "fuse", LOG_ERROR, "contacts",
     "the contacts API fails for everybody: the fuse is blown, because retry.fuse events in a row died of answers that need not speak of "
     "them; check contacts_api.base_url and the events' list_number; " UPSERT_MEANWHILE},
    {"upsert", "billing", LOG_ERROR, "contacts",
     "the contacts API fails for everybody: the account's billing is blocked; " UPSERT_MEANWHILE},
    {"upsert", "throttled", LOG_WARN, "contacts",
     "the contacts API fails for everybody: it asks for fewer calls; the whole route waits as long as it says; " UPSERT_MEANWHILE},
    {"upsert", "rejected", LOG_ERROR, "contacts",
     "the contacts API fails for everybody: it gives an answer that the section policy says to hold on; " UPSERT_MEANWHILE},
    {"upsert", NULL, LOG_WARN, "contacts", "the contacts API fails for everybody: it is away; " UPSERT_MEANWHILE},
    {"validate", SKIPPED, LOG_ERROR, "contacts",
     "validation is not paid for: signups go without it meanwhile, each with the warning validation_skipped; settle the account's billing "
     "with the vendor, no restart needed"},
    {"validate", "billing", LOG_ERROR, "contacts",
     "validation is not paid for: validating events wait, retry.billing_step at a time, the others go on; settle the account's billing with "
     "the vendor, no restart needed"},
    {"validate", NULL, LOG_WARN, "contacts",
     "the phone validation's provider is away: validating events wait, the others go on; one probe at a time"},
    {"ledger", NULL, LOG_WARN, "ledger", "the ledger takes no statements: consuming nothing and calling nobody until it does"},
    {"dead_letter", NULL, LOG_WARN, "kafka", "dead letters wait in the ledger and are published later; signups go on"},
    {"outcomes", NULL, LOG_WARN, "kafka", "outcomes wait in the ledger and are published later; signups go on"},
    {"budget", BUDGET_SKIPPED, LOG_WARN, "contacts",
     "the day's budget for phone validation is spent: signups that would validate go without until the day (UTC) is over, each with the warning "
     "validation_skipped; phones that are known are judged all the same"},
    {"budget", NULL, LOG_WARN, "contacts",
     "the day's budget for phone validation is spent: signups that would validate wait in the ledger until the day (UTC) is over, the others go "
     "on; phones that are known are judged all the same"},
};

static bool begins_with_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    return strncmp(text, word, len) == 0 && (text[len] == ':' || text[len] == '\0');
}

static const struct turn *turn_find(const char *route, const char *why)
{
    if (billing_is_skipped && strcmp(route, "validate") == 0 && begins_with_word(why, "billing"))
        why = SKIPPED;
    if (budget_is_skipped && strcmp(route, "budget") == 0)
        why = BUDGET_SKIPPED;
    for (size_t i = 0; i < sizeof turns / sizeof turns[0]; i++)
        if (strcmp(turns[i].route, route) == 0 && (!turns[i].word || begins_with_word(why, turns[i].word)))
            return &turns[i];
    return NULL;
}

/* The answer that closed the gate; NULL: it is not the delivery's own (a probe for something else, a contact read back). */
static const struct outcome *outcome_find(const struct observation *seen)
{
    const struct outcome *outcome = seen->delivery ? delivery_outcome(seen->delivery) : NULL;
    if (outcome && (begins_with_word(seen->detail, outcome_class_str(outcome->cls)) || begins_with_word(seen->detail, "fuse")))
        return outcome;
    return NULL;
}

/* No gate of its own: the number is for how long. */
static void log_budget(const struct observation *seen)
{
    const struct turn *turn = turn_find(seen->text, seen->detail);
    wall_us_t now = clock_wall_now();
    char since[WALL_TEXT_BYTES];
    char until[WALL_TEXT_BYTES];
    wall_format_utc(now, since);
    wall_format_utc((wall_us_t){now.us + seen->number}, until);
    LOG_AT(turn->level, turn->room, turn->message, LOG_STR("since", since), LOG_STR("until", until));
}

static void log_wait(const struct observation *seen)
{
    const struct turn *turn = turn_find(seen->text, seen->detail);
    const struct outcome *outcome = outcome_find(seen);
    char since[WALL_TEXT_BYTES];
    wall_format_utc(clock_wall_now(), since);
    LOG_AT(turn ? turn->level : LOG_WARN, turn ? turn->room : "pipeline", turn ? turn->message : "a route is closed",
           LOG_STR("gate", seen->text), LOG_STR("why", seen->detail), LOG_STR("since", since),
           LOG_NUM("status", outcome ? outcome->http_status : 0), LOG_STR("answer", outcome ? outcome->message : ""));
}

/* ---- and open again */

static const struct {
    const char *route;
    const char *room;
    const char *message;
} all_clears[] = {
    {"upsert", "contacts", "the contacts API answers again"},
    {"validate", "contacts", "phone validation works again: the events that waited for it are taken up when they are due"},
    {"ledger", "ledger", "the ledger takes statements again"},
    {"dead_letter", "kafka", "the route of the dead letters is open again"},
    {"outcomes", "kafka", "the outcomes topic takes records again"},
    {"budget", "contacts", "there is budget for phone validation again: the signups that waited for it are taken up when they are due"},
};

static void log_resume(const struct observation *seen)
{
    size_t i = 0;
    while (i < sizeof all_clears / sizeof all_clears[0] && strcmp(all_clears[i].route, seen->text) != 0)
        i++;
    bool known = i < sizeof all_clears / sizeof all_clears[0];
    char since[WALL_TEXT_BYTES];
    wall_format_utc((wall_us_t){clock_wall_now().us - seen->number}, since);
    LOG_AT(LOG_INFO, known ? all_clears[i].room : "pipeline", known ? all_clears[i].message : "a route is open again",
           LOG_STR("gate", seen->text), LOG_STR("since", since), LOG_NUM("away_ms", seen->number / US_PER_MS));
}

static void observe(void *ctx, const struct observation *seen)
{
    (void)ctx;
    switch (seen->what) {
    case OBSERVED_MOVE:
        if (seen->from[0] == 'C' && strcmp(seen->from, "CALLING") == 0 && delivery_outcome(seen->delivery))
            metrics_observe_call(&calls, delivery_outcome(seen->delivery)->duration_us);
        if (log_enabled(LOG_DEBUG))
            log_move(seen);
        break;
    case OBSERVED_SETTLED:
        log_settled(seen);
        break;
    case OBSERVED_WAIT:
        if (strcmp(seen->text, "budget") == 0)
            log_budget(seen);
        else
            log_wait(seen);
        break;
    case OBSERVED_RESUME:
        log_resume(seen);
        break;
    }
}

const struct observer_port *observer_port(void)
{
    static const struct observer_port port = {.observe = observe};
    return &port;
}
