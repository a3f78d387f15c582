/* What the core does, as log lines and as the call histogram: debug for moves, a line for whatever a person should know. A gate that turns
 * is one line: who, since when, and what the worker does meanwhile. */
#include "observer.h"

#include "signup/base/log.h"
#include "signup/core/delivery.h"
#include "signup/ops/metrics.h"

#include <string.h>

static struct metrics_histogram calls; /* one service a process */

const struct metrics_histogram *observer_calls(void)
{
    return &calls;
}

static bool billing_is_skipped;

void observer_configure(enum on_billing on_billing)
{
    billing_is_skipped = on_billing == ON_BILLING_WITHOUT_VALIDATION;
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
    LOG_AT(dead ? LOG_INFO : LOG_DEBUG, "pipeline", dead ? "an event is dead" : "an event is finished",
           LOG_SLICE("event_id", signup->event_id), LOG_STR("fate", seen->text), LOG_SLICE("at", signup->position),
           LOG_PHONE("phone", signup->phone_number), LOG_STR("code", seen->detail),
           LOG_NUM("status", outcome ? outcome->http_status : 0), LOG_NUM("attempts", delivery_attempts(seen->delivery)),
           LOG_STR("reason", dead && outcome ? outcome->message : ""), LOG_NUM("took_ms", seen->number / US_PER_MS));
}

/* ---- gates that close */

#define UPSERT_MEANWHILE "intake pauses, one probe at a time (at most one a second), no event is given up meanwhile"

/* Stands for "billing" where validation.on_billing_error says to go without validation. */
#define SKIPPED "billing skipped"

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
