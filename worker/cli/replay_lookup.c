/* Contacts looked up on a loop of their own, which turns only while somebody waits for them. */
#include "replay_lookup.h"

#include "service.h"

#include "signup/base/arena.h"
#include "signup/contacts/contacts.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <uv.h>

#define AT_ONCE 32 /* no more than contacts_api.max_in_flight */
#define ARENA_BYTES ((size_t)4 << 20)
#define FAILED_IN_A_ROW_MAX                                                                                  \
    20 /* contacts: then the API is away, and asking for thousands more would only take time */
#define WAKE_MS 100

enum slot_state { SLOT_FREE, SLOT_WAITING, SLOT_ASKED };

/* One contact being looked up. */
struct slot {
    struct lookups *lookups;
    struct plan_contact *contact;
    enum slot_state state;
    mono_us_t due; /* while waiting */
    int tries;
    struct arena arena;
    struct read_call call;
};

struct lookups {
    uv_loop_t loop;
    uv_timer_t timer;
    struct contacts *api;
    const struct config *config;
    struct pacer pacer;
    bool (*stopped)(void *ctx);
    void (*waiting)(void *ctx);
    void *ctx;
    struct slot slots[AT_ONCE];
    size_t slot_count;
    size_t busy; /* slots that are not free */
    unsigned failed_in_a_row;
    uint64_t seed;
    struct lookup_stop *stop; /* during run */
};

mono_us_t pacer_take(struct pacer *pacer, size_t count, mono_us_t now)
{
    mono_us_t at = mono_reached(now, pacer->next) ? now : pacer->next;
    if (pacer->per_second > 0)
        pacer->next = mono_add(at, (int64_t)((double)count / pacer->per_second * (double)US_PER_S));
    return at;
}

/* ------------------------------------------------------------------ answers */

static void slot_free(struct slot *slot, enum contact_standing standing)
{
    struct lookups *lookups = slot->lookups;
    slot->contact->standing = standing;
    slot->state = SLOT_FREE;
    lookups->busy--;
}

static void slot_stop(struct slot *slot, int exit_code, const char *what)
{
    struct lookup_stop *stop = slot->lookups->stop;
    const struct outcome *outcome = &slot->call.outcome;
    if (!stop->exit_code) {
        stop->exit_code = exit_code;
        snprintf(stop->text, sizeof stop->text, "%s: %s%s%s", what, outcome->code,
                 outcome->code[0] ? ": " : "", outcome->message);
    }
    slot_free(slot, CONTACT_UNASKED);
}

/* Full jitter, as the worker's own retries; at least what the API asks for. */
static int64_t backoff_us(struct lookups *lookups, const struct slot *slot)
{
    const struct config *config = lookups->config;
    int64_t ceiling = config->retry.inline_base_us;
    for (int i = 1; i < slot->tries && ceiling < config->retry.inline_cap_us; i++)
        ceiling *= 2;
    if (ceiling > config->retry.inline_cap_us)
        ceiling = config->retry.inline_cap_us;
    lookups->seed = lookups->seed * 6364136223846793005U + 1442695040888963407U;
    int64_t wait = (int64_t)((lookups->seed >> 33) % (uint64_t)(ceiling + 1));
    int64_t asked = slot->call.outcome.retry_after_us;
    if (asked > config->retry.retry_after_cap_us)
        asked = config->retry.retry_after_cap_us;
    return asked > wait ? asked : wait;
}

static void slot_failed(struct slot *slot)
{
    struct lookups *lookups = slot->lookups;
    const struct outcome *outcome = &slot->call.outcome;
    if (++slot->tries < lookups->config->retry.inline_attempts) {
        slot->state = SLOT_WAITING;
        slot->due = mono_add(clock_mono_now(), backoff_us(lookups, slot));
        return;
    }
    char why[96];
    if (outcome->http_status)
        snprintf(why, sizeof why, "HTTP %d %.70s", outcome->http_status, outcome->code);
    else
        snprintf(why, sizeof why, "%.90s", outcome->code);
    free(slot->contact->why);
    slot->contact->why = strdup(why);
    if (++lookups->failed_in_a_row >= FAILED_IN_A_ROW_MAX)
        slot_stop(slot, EX_TEMPFAIL, "one look-up after the other fails");
    else
        slot_free(slot, CONTACT_UNKNOWN);
}

/* A number that the API itself does not take is nobody's who could have unsubscribed. */
static bool says_nobody(const struct outcome *outcome)
{
    return outcome->http_status == 400 && strcmp(outcome->code, "invalid_phone") == 0;
}

static void on_read(struct read_call *call)
{
    struct slot *slot = call->owner;
    assert(slot->state == SLOT_ASKED);
    switch (call->outcome.cls) {
    case OUTCOME_ACCEPTED:
        slot->lookups->failed_in_a_row = 0;
        slot_free(slot, call->on_list && !call->active ? CONTACT_UNSUBSCRIBED : CONTACT_GOES);
        break;
    case OUTCOME_UNAUTHORIZED:
        slot_stop(slot, EX_NOPERM, "the contacts API refuses the key");
        break;
    case OUTCOME_MISROUTED:
        slot_stop(slot, EX_CONFIG, "contacts_api.base_url is wrong");
        break;
    default:
        if (says_nobody(&call->outcome))
            slot_free(slot, CONTACT_GOES);
        else
            slot_failed(slot);
    }
    arena_fini(&slot->arena);
}

/* ------------------------------------------------------------------ asking */

static void slot_ask(struct slot *slot)
{
    slot->state = SLOT_ASKED;
    arena_init(&slot->arena, ARENA_BYTES);
    slot->call = (struct read_call){
        .phone_number = slot->contact->phone_number,
        .list_number = slot->contact->list_number,
        .arena = &slot->arena,
        .done = on_read,
        .owner = slot,
    };
    outcome_set(&slot->call.outcome, OUTCOME_TRANSPORT, 0, "client_failed", "the call could not be made",
                false);
    slot->call.outcome.retry_after_us = -1;
    if (contacts_functions()->read(slot->lookups->api, &slot->call) != PORT_OK)
        slot_failed(slot);
}

/* Gives free slots the next contacts, starts what is due. Gives when to look again. */
static mono_us_t slots_start(struct lookups *lookups, struct plan_contact **contacts, size_t count,
                             size_t *next, bool enough)
{
    mono_us_t now = clock_mono_now();
    mono_us_t wake = mono_add(now, WAKE_MS * US_PER_MS);
    for (size_t i = 0; i < lookups->slot_count; i++) {
        struct slot *slot = &lookups->slots[i];
        while (*next < count && contacts[*next]->standing != CONTACT_UNASKED)
            (*next)++;
        if (slot->state == SLOT_FREE && *next < count && !enough) {
            *slot = (struct slot){.lookups = lookups, .contact = contacts[(*next)++], .state = SLOT_WAITING};
            slot->contact->standing = CONTACT_ASKED; /* of several events of a contact the first one asks */
            slot->due = pacer_take(&lookups->pacer, 1, now);
            lookups->busy++;
        }
        if (slot->state == SLOT_WAITING && enough)
            slot_free(slot, CONTACT_UNASKED);
        else if (slot->state == SLOT_WAITING && mono_reached(now, slot->due))
            slot_ask(slot);
        if (slot->state == SLOT_WAITING)
            wake = mono_earlier(wake, slot->due);
    }
    return wake;
}

static void on_wake(uv_timer_t *timer)
{
    (void)timer; /* turning the loop once is all; it repeats, because one that is due before the turn does not
                    end it */
}

void lookups_run(struct lookups *lookups, struct plan_contact **contacts, size_t count,
                 struct lookup_stop *stop)
{
    size_t next = 0;
    lookups->stop = stop;
    for (;;) {
        bool enough = stop->exit_code || lookups->stopped(lookups->ctx);
        mono_us_t wake = slots_start(lookups, contacts, count, &next, enough);
        if (!lookups->busy && (enough || next == count))
            break;
        int64_t wait_us = wake.us - clock_mono_now().us;
        uv_update_time(&lookups->loop); /* nobody turned it while events were handed over */
        uv_timer_start(&lookups->timer, on_wake, wait_us > 0 ? (uint64_t)((wait_us + 999) / 1000) : 0,
                       WAKE_MS);
        uv_run(&lookups->loop, UV_RUN_ONCE);
        lookups->waiting(lookups->ctx);
    }
    uv_timer_stop(&lookups->timer);
    lookups->stop = NULL;
}

/* ------------------------------------------------------------------ life */

struct lookups *lookups_create(const struct config *config, double per_second, bool (*stopped)(void *ctx),
                               void (*waiting)(void *ctx), void *ctx, struct lookup_stop *stop)
{
    struct lookups *lookups = calloc(1, sizeof *lookups);
    *stop = (struct lookup_stop){.exit_code = EX_OSERR, .text = "out of memory"};
    if (!lookups || uv_loop_init(&lookups->loop)) {
        free(lookups);
        return NULL;
    }
    uv_timer_init(&lookups->loop, &lookups->timer);
    struct contacts_config contacts = contacts_config_from(config);
    struct contacts_error error = {.fault = CONTACTS_FAULT_SYSTEM,
                                   .text = "the system gives no random numbers"};
    lookups->slot_count = contacts.max_in_flight < AT_ONCE ? contacts.max_in_flight : AT_ONCE;
    contacts.max_in_flight = lookups->slot_count;
    lookups->config = config;
    lookups->pacer.per_second = per_second;
    lookups->stopped = stopped;
    lookups->waiting = waiting;
    lookups->ctx = ctx;
    if (getrandom(&lookups->seed, sizeof lookups->seed, 0) == sizeof lookups->seed)
        lookups->api = contacts_create(&lookups->loop, &contacts, &error);
    if (lookups->api) {
        *stop = (struct lookup_stop){0};
        return lookups;
    }
    stop->exit_code = contacts_exit_code(error.fault);
    snprintf(stop->text, sizeof stop->text, "contacts_api: %s", error.text);
    lookups_destroy(lookups);
    return NULL;
}

void lookups_destroy(struct lookups *lookups)
{
    if (!lookups)
        return;
    assert(!lookups->busy);
    if (lookups->api)
        contacts_close(lookups->api, NULL, NULL);
    uv_close((uv_handle_t *)&lookups->timer, NULL);
    uv_run(&lookups->loop, UV_RUN_DEFAULT);
    uv_loop_close(&lookups->loop);
    free(lookups);
}
