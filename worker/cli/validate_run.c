/* Look-ups of phones: slots that are free, wait for their turn, or wait for an answer. */
#include "validate_run.h"

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

#define AT_ONCE 16 /* no more than contacts_api.max_in_flight; the validation API has a rate limit */
#define ARENA_BYTES ((size_t)64 << 10)
#define FAILED_IN_A_ROW_MAX 5 /* phones: then the API is away, and asking for the rest would only take time  \
                               */
#define WAKE_MS 100

enum slot_state { SLOT_FREE, SLOT_WAITING, SLOT_ASKED };

/* One phone being looked up. */
struct slot {
    struct run *run;
    struct validate_item *item;
    enum slot_state state;
    mono_us_t due; /* while waiting */
    int tries;
    struct arena arena;
    struct validate_call call;
};

struct run {
    uv_loop_t loop;
    uv_timer_t timer;
    struct contacts *api;
    const struct validate_order *order;
    struct validate_stop *stop;
    struct validate_item *items;
    size_t count;
    size_t next; /* item */
    struct slot slots[AT_ONCE];
    size_t slot_count;
    size_t busy;           /* slots that are not free */
    mono_us_t quiet_until; /* the API has asked for a pause */
    unsigned failed_in_a_row;
    uint64_t seed;
};

void validate_item_fini(struct validate_item *item)
{
    free(item->validation);
    free(item->why);
    item->validation = item->why = NULL;
}

/* ------------------------------------------------------------------ answers */

static void slot_free(struct slot *slot, enum validate_state state)
{
    slot->item->state = state;
    slot->state = SLOT_FREE;
    slot->run->busy--;
}

static void outcome_write(const struct outcome *outcome, char *out, size_t size)
{
    snprintf(out, size, "%s%s%s", outcome->code, outcome->code[0] ? ": " : "", outcome->message);
}

static void item_fail(struct slot *slot, enum validate_state state, const char *why)
{
    snprintf(slot->item->code, sizeof slot->item->code, "%s", slot->call.outcome.code);
    slot->item->why = strdup(why);
    slot_free(slot, state);
}

/* Nothing that is asked after this would be answered otherwise. */
static void slot_stop(struct slot *slot, int exit_code, const char *what)
{
    struct validate_stop *stop = slot->run->stop;
    char said[512];
    outcome_write(&slot->call.outcome, said, sizeof said);
    if (!stop->exit_code) {
        stop->exit_code = exit_code;
        snprintf(stop->text, sizeof stop->text, "%s (%s)", what, said);
    }
    item_fail(slot, VALIDATE_FAILED, said);
}

/* Full jitter, as the worker's own retries; at least what the API asks for, and then from everybody. */
static mono_us_t try_again_at(struct run *run, const struct slot *slot)
{
    const struct config *config = run->order->config;
    int64_t ceiling = config->retry.inline_base_us;
    for (int i = 1; i < slot->tries && ceiling < config->retry.inline_cap_us; i++)
        ceiling *= 2;
    if (ceiling > config->retry.inline_cap_us)
        ceiling = config->retry.inline_cap_us;
    run->seed = run->seed * 6364136223846793005U + 1442695040888963407U;
    int64_t wait = (int64_t)((run->seed >> 33) % (uint64_t)(ceiling + 1));
    int64_t asked = slot->call.outcome.retry_after_us;
    if (asked > config->retry.retry_after_cap_us)
        asked = config->retry.retry_after_cap_us;
    mono_us_t now = clock_mono_now();
    if (asked > 0 && !mono_reached(run->quiet_until, mono_add(now, asked)))
        run->quiet_until = mono_add(now, asked);
    return mono_add(now, asked > wait ? asked : wait);
}

static void slot_failed(struct slot *slot)
{
    struct run *run = slot->run;
    const struct outcome *outcome = &slot->call.outcome;
    bool twice_paid = run->order->force && outcome->maybe_sent;
    bool temporary = outcome->cls != OUTCOME_REJECTED;
    if (temporary && !twice_paid && ++slot->tries < run->order->config->retry.inline_attempts) {
        slot->state = SLOT_WAITING;
        slot->due = try_again_at(run, slot);
        return;
    }
    char said[512];
    char why[640];
    outcome_write(outcome, said, sizeof said);
    snprintf(why, sizeof why, "%s%s", said,
             twice_paid ? "; it may have been paid for: without --force the answer is free then" : "");
    if (++run->failed_in_a_row >= FAILED_IN_A_ROW_MAX)
        slot_stop(slot, EX_UNAVAILABLE, "one look-up after the other fails");
    else
        item_fail(slot, VALIDATE_FAILED, why);
}

static void slot_answered(struct slot *slot)
{
    const struct validate_call *call = &slot->call;
    slot->run->failed_in_a_row = 0;
    slot->item->validation = strndup(call->validation.ptr, call->validation.len);
    slot->item->cost = call->cost;
    if (slot->item->validation)
        slot_free(slot, VALIDATE_ANSWERED);
    else
        slot_stop(slot, EX_OSERR, "out of memory");
}

/* The API is the judge of what it takes for a number. */
static bool says_no_phone(const struct outcome *outcome)
{
    return outcome->http_status == 400 &&
           (strcmp(outcome->code, "invalid_phone") == 0 || strcmp(outcome->code, "missing_phone") == 0);
}

static void on_validated(struct validate_call *call)
{
    struct slot *slot = call->owner;
    assert(slot->state == SLOT_ASKED);
    switch (call->outcome.cls) {
    case OUTCOME_ACCEPTED: slot_answered(slot); break;
    case OUTCOME_UNAUTHORIZED:
        slot_stop(slot, EX_NOPERM, "the API refuses the key: look at contacts_api.key_file");
        break;
    case OUTCOME_MISROUTED: slot_stop(slot, EX_CONFIG, "contacts_api.validation_url is wrong"); break;
    case OUTCOME_BILLING:
        slot_stop(slot, EX_UNAVAILABLE,
                  "the account cannot pay for look-ups: settle its billing with the vendor, who looks at it "
                  "again within 60 "
                  "minutes");
        break;
    default:
        if (says_no_phone(&call->outcome)) {
            slot->run->failed_in_a_row = 0;
            item_fail(slot, VALIDATE_NO_PHONE, "the API does not take it for a phone number");
        } else {
            slot_failed(slot);
        }
    }
    arena_fini(&slot->arena);
}

/* ------------------------------------------------------------------ asking */

static void slot_ask(struct slot *slot)
{
    slot->state = SLOT_ASKED;
    arena_init(&slot->arena, ARENA_BYTES);
    slot->call = (struct validate_call){
        .phone_number = slice_from_str(slot->item->phone),
        .force = slot->run->order->force,
        .arena = &slot->arena,
        .done = on_validated,
        .owner = slot,
    };
    outcome_set(&slot->call.outcome, OUTCOME_TRANSPORT, 0, "client_failed", "the call could not be made",
                false);
    slot->call.outcome.retry_after_us = -1;
    if (contacts_functions()->validate(slot->run->api, &slot->call) != PORT_OK)
        slot_failed(slot);
}

static struct validate_item *item_next(struct run *run)
{
    while (run->next < run->count && run->items[run->next].state != VALIDATE_WAITING)
        run->next++;
    return run->next < run->count ? &run->items[run->next] : NULL;
}

/* Gives free slots the next phones, starts what is due. Gives when to look again. */
static mono_us_t slots_start(struct run *run, bool enough)
{
    mono_us_t now = clock_mono_now();
    mono_us_t wake = mono_add(now, WAKE_MS * US_PER_MS);
    for (size_t i = 0; i < run->slot_count; i++) {
        struct slot *slot = &run->slots[i];
        if (slot->state == SLOT_FREE && !enough && item_next(run)) {
            *slot = (struct slot){
                .run = run, .item = &run->items[run->next++], .state = SLOT_WAITING, .due = now};
            run->busy++;
        }
        if (slot->state == SLOT_WAITING && enough)
            slot_free(slot, VALIDATE_WAITING);
        else if (slot->state == SLOT_WAITING && mono_reached(now, slot->due) &&
                 mono_reached(now, run->quiet_until))
            slot_ask(slot);
        if (slot->state == SLOT_WAITING)
            wake =
                mono_earlier(wake, mono_reached(slot->due, run->quiet_until) ? slot->due : run->quiet_until);
    }
    return wake;
}

static void on_wake(uv_timer_t *timer)
{
    (void)timer; /* turning the loop once is all; it repeats, because one that is due before the turn does not
                    end it */
}

static void run_turn(struct run *run)
{
    const struct validate_order *order = run->order;
    for (;;) {
        bool enough = run->stop->exit_code || order->stopped(order->ctx);
        mono_us_t wake = slots_start(run, enough);
        if (!run->busy && (enough || !item_next(run)))
            break;
        int64_t wait_us = wake.us - clock_mono_now().us;
        uv_update_time(&run->loop);
        uv_timer_start(&run->timer, on_wake, wait_us > 0 ? (uint64_t)((wait_us + 999) / 1000) : 0, WAKE_MS);
        uv_run(&run->loop, UV_RUN_ONCE);
        order->waiting(order->ctx);
    }
    uv_timer_stop(&run->timer);
}

static void run_on_loop(struct run *run)
{
    struct contacts_config contacts = contacts_config_from(run->order->config);
    struct contacts_error error;
    run->slot_count = contacts.max_in_flight < AT_ONCE ? contacts.max_in_flight : AT_ONCE;
    contacts.max_in_flight = run->slot_count;
    run->api = contacts_create(&run->loop, &contacts, &error);
    if (!run->api) {
        run->stop->exit_code = contacts_exit_code(error.fault);
        snprintf(run->stop->text, sizeof run->stop->text, "contacts_api: %s", error.text);
        return;
    }
    run_turn(run);
    contacts_close(run->api, NULL, NULL);
}

void validate_run(const struct validate_order *order, struct validate_item *items, size_t count,
                  struct validate_stop *stop)
{
    struct run *run = calloc(1, sizeof *run);
    *stop = (struct validate_stop){.exit_code = EX_OSERR, .text = "out of memory"};
    if (!run || getrandom(&run->seed, sizeof run->seed, 0) != sizeof run->seed || uv_loop_init(&run->loop)) {
        free(run);
        return;
    }
    *stop = (struct validate_stop){0};
    run->order = order;
    run->stop = stop;
    run->items = items;
    run->count = count;
    run->quiet_until = clock_mono_now();
    uv_timer_init(&run->loop, &run->timer);
    run_on_loop(run);
    uv_close((uv_handle_t *)&run->timer, NULL);
    uv_run(&run->loop, UV_RUN_DEFAULT);
    uv_loop_close(&run->loop);
    free(run);
}
