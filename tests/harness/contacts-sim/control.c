/* Commands to the simulator under /_sim/. */
#include "control.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "phone.h"
#include "plan.h"

static void control_answer(struct call *call, int status, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        abort();
    call->status = status;
    buf_clear(&call->answer);
    buf_append_str(&call->answer, text);
    free(text);
    json_decref(object);
}

static void control_refuse(struct call *call, int status, const char *why)
{
    control_answer(call, status, json_pack("{s:s}", "error", why));
}

static void control_answer_ok(struct call *call)
{
    control_answer(call, 200, json_pack("{s:b}", "ok", 1));
}

static void control_get_stats(struct sim *sim, struct call *call)
{
    control_answer(call, 200, stats_to_json(&sim->stats, &sim->state.count));
}

static void control_get_faults(struct sim *sim, struct call *call)
{
    control_answer(call, 200, faults_to_json(&sim->faults));
}

static void control_post_faults(struct sim *sim, struct call *call)
{
    struct buf why = {0};
    if (faults_add(&sim->faults, call->json, &why)) {
        for (const struct fault_rule *rule = sim->faults.first; rule; rule = rule->next)
            if (rule->action->kind == FAULT_GZIP_BOMB)
                plan_prepare_bomb(rule->action->bytes);
        control_get_faults(sim, call);
    } else {
        control_refuse(call, 400, buf_text(&why));
    }
    buf_fini(&why);
}

static void control_delete_faults(struct sim *sim, struct call *call)
{
    faults_clear(&sim->faults);
    control_answer_ok(call);
}

void control_reset_account(struct sim *sim)
{
    const struct options *options = sim->options;
    memcpy(sim->lists, options->lists, sizeof sim->lists);
    sim->list_count = options->list_count;
    sim->journeys_count = 0;
    sim->journeys_usual = options->journeys;
    control_set_keys(sim, options->keys, options->key_count);
}

static void control_post_reset(struct sim *sim, struct call *call)
{
    uint64_t open = sim->stats.open;
    state_fini(&sim->state);
    state_init(&sim->state);
    faults_clear(&sim->faults);
    sim->stats = (struct stats){.open = open};
    free(sim->billing_code);
    sim->billing_code = NULL;
    sim->latency_min_ms = sim->options->latency_min_ms;
    sim->latency_max_ms = sim->options->latency_max_ms;
    control_reset_account(sim);
    control_answer_ok(call);
}

bool control_set_keys(struct sim *sim, const char *const *keys, size_t count)
{
    if (count > OPTIONS_MAX_KEYS)
        return false;
    for (size_t i = 0; i < sim->key_count; i++)
        free(sim->keys[i]);
    for (size_t i = 0; i < count; i++)
        sim->keys[i] = buf_copy_text(keys[i]);
    sim->key_count = count;
    return true;
}

static void control_post_keys(struct sim *sim, struct call *call)
{
    const char *keys[OPTIONS_MAX_KEYS];
    size_t count = json_array_size(call->json);
    bool good = json_is_array(call->json) && count <= OPTIONS_MAX_KEYS;
    for (size_t i = 0; good && i < count; i++) {
        keys[i] = json_string_value(json_array_get(call->json, i));
        good = keys[i] != NULL;
    }
    if (good && control_set_keys(sim, keys, count))
        control_answer_ok(call);
    else
        control_refuse(call, 400, "the body must be an array of at most 32 strings");
}

static void control_post_latency(struct sim *sim, struct call *call)
{
    json_int_t min_ms = -1, max_ms = -1;
    if (json_unpack(call->json, "{s:I,s?I}", "min_ms", &min_ms, "max_ms", &max_ms) || min_ms < 0 ||
        min_ms > 86400000 || max_ms > 86400000) {
        control_refuse(call, 400, "the body must be {\"min_ms\": N, \"max_ms\": N}");
        return;
    }
    sim->latency_min_ms = (unsigned)min_ms;
    sim->latency_max_ms = (unsigned)(max_ms < min_ms ? min_ms : max_ms);
    control_answer_ok(call);
}

static void control_post_billing(struct sim *sim, struct call *call)
{
    const json_t *code = json_object_get(call->json, "code");
    if (!json_is_string(code) && !json_is_null(code)) {
        control_refuse(call, 400, "the body must be {\"code\": text or null}");
        return;
    }
    free(sim->billing_code);
    sim->billing_code = json_string_length(code) ? buf_copy_text(json_string_value(code)) : NULL;
    control_answer_ok(call);
}

static void control_post_lists(struct sim *sim, struct call *call)
{
    uint64_t lists[OPTIONS_MAX_LISTS];
    size_t count = json_array_size(call->json);
    bool good = json_is_array(call->json) && count <= OPTIONS_MAX_LISTS;
    for (size_t i = 0; good && i < count; i++) {
        const json_t *value = json_array_get(call->json, i);
        good = json_is_string(value) &&
               phone_parse_e164(json_string_value(value), json_string_length(value), &lists[i]);
    }
    if (!good) {
        control_refuse(call, 400, "the body must be an array of at most 256 E.164 numbers");
        return;
    }
    memcpy(sim->lists, lists, count * sizeof lists[0]);
    sim->list_count = count;
    control_answer_ok(call);
}

static void control_post_journeys(struct sim *sim, struct call *call)
{
    const char *text = NULL;
    json_int_t journeys;
    uint64_t list = 0;
    if (json_unpack(call->json, "{s?s,s:I!}", "list", &text, "journeys", &journeys) || journeys < 0 || journeys > 1000 ||
        (text && !phone_parse_e164(text, strlen(text), &list))) {
        control_refuse(call, 400, "the body must be {\"list\": E.164, \"journeys\": 0 to 1000}; the list may be left out");
        return;
    }
    if (!list) {
        sim->journeys_usual = (unsigned)journeys;
        sim->journeys_count = 0;
        control_answer_ok(call);
        return;
    }
    size_t i = 0;
    while (i < sim->journeys_count && sim->journeys[i].list != list)
        i++;
    if (i == OPTIONS_MAX_LISTS) {
        control_refuse(call, 400, "too many lists of their own");
        return;
    }
    sim->journeys[i] = (struct sim_journeys){list, (unsigned)journeys};
    sim->journeys_count += i == sim->journeys_count;
    control_answer_ok(call);
}

/* A word that goes into JSON as it is. */
static bool control_take_word(char to[PHONE_WORD_BYTES], const json_t *value)
{
    const char *text = json_string_value(value);
    if (!text || strlen(text) >= PHONE_WORD_BYTES || strpbrk(text, "\"\\"))
        return false;
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < ' ')
            return false;
    strcpy(to, text);
    return true;
}

static bool control_take_fact(struct phone_facts *facts, const char *name, const json_t *value)
{
    struct {
        const char *name;
        char *to;
    } words[] = {{"carrier", facts->carrier}, {"carrier_raw", facts->carrier_raw}, {"country", facts->country},
                 {"state", facts->state},     {"city", facts->city}};
    struct {
        const char *name;
        bool *to;
    } flags[] = {{"valid", &facts->valid}, {"ported", &facts->ported}, {"on_dnc", &facts->on_dnc},
                 {"provider_error", &facts->provider_error}, {"not_sendable", &facts->not_sendable}};
    char word[PHONE_WORD_BYTES];
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strcmp(name, words[i].name))
            return control_take_word(words[i].to, value);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (!strcmp(name, flags[i].name)) {
            *flags[i].to = json_is_true(value);
            return json_is_boolean(value);
        }
    }
    if (!strcmp(name, "line_type") && control_take_word(word, value)) {
        phone_facts_set_line_type(facts, word);
        return true;
    }
    return false;
}

/* What lookups of one number find out. The disposition first: the others are said on top of what goes with it. */
static bool control_read_facts(json_t *object, struct phone_facts *facts, bool *steered)
{
    const json_t *disposition = json_object_get(object, "disposition");
    char word[PHONE_WORD_BYTES];
    const char *name;
    json_t *value;
    *steered = disposition != NULL;
    if (disposition && (!control_take_word(word, disposition) || !*word))
        return false;
    if (disposition)
        phone_facts_set_disposition(facts, word);
    json_object_foreach(object, name, value) {
        if (!strcmp(name, "phone") || !strcmp(name, "disposition") || !strcmp(name, "validated"))
            continue;
        *steered = true;
        if (!control_take_fact(facts, name, value))
            return false;
    }
    return true;
}

static void control_post_phone(struct sim *sim, struct call *call)
{
    const json_t *number = json_object_get(call->json, "phone");
    const json_t *validated = json_object_get(call->json, "validated");
    uint64_t phone = 0;
    bool steered;
    bool good = json_is_string(number) &&
                phone_parse_e164(json_string_value(number), json_string_length(number), &phone) &&
                (!validated || json_is_boolean(validated));
    struct phone_facts facts = good ? phone_look_up(phone) : (struct phone_facts){0};
    if (!good || !control_read_facts(call->json, &facts, &steered)) {
        control_refuse(call, 400, "the body must be {\"phone\": E.164, ...} with the fields that --help names");
        return;
    }
    if (steered || json_object_size(call->json) == 1)
        state_steer(&sim->state, phone, steered ? &facts : NULL);
    if (validated)
        state_set_validated(&sim->state, phone, json_is_true(validated));
    control_answer_ok(call);
}

static json_t *control_describe_entry(const struct state_list_contact *entry)
{
    char list[PHONE_TEXT_BYTES];
    phone_format(entry->list, list);
    json_t *seqs = json_array();
    for (uint32_t i = 0; entry->seqs && i < entry->seqs->count; i++)
        json_array_append_new(seqs, json_integer(entry->seqs->values[i]));
    json_t *fields = entry->custom_fields ? json_loads(entry->custom_fields, 0, NULL) : json_object();
    json_t *object = json_pack(
        "{s:s,s:b,s:b,s:i,s:i,s:i,s:I,s:o,s:o,s:I,s:i}", "list", list, "exists", (int)entry->exists, "active",
        (int)entry->active, "enrolments", (int)entry->enrolments, "journeys", (int)entry->journeys, "calls",
        (int)entry->calls, "signup_s", (json_int_t)entry->signup_s, "custom_fields", fields, "seqs", seqs,
        "seqs_total", (json_int_t)(entry->seqs ? entry->seqs->total : 0), "in_flight", (int)entry->in_flight);
    if (!object)
        abort();
    return object;
}

/* phone and list from the query; a plus may come encoded or bare. */
static uint64_t control_query_number(const struct call *call, const char *name)
{
    const char *at = memchr(call->target.data, '?', call->target.len);
    const char *end = call->target.data + call->target.len;
    size_t name_len = strlen(name);
    while (at && ++at < end) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        size_t len = (size_t)((stop ? stop : end) - at);
        char value[40];
        uint64_t number = 0;
        if (len > name_len && !memcmp(at, name, name_len) && at[name_len] == '=' &&
            reads_decode(at + name_len + 1, len - name_len - 1, value, sizeof value)) {
            if (value[0] == ' ')
                value[0] = '+';
            return phone_parse_e164(value, strlen(value), &number) ? number : 0;
        }
        at = stop;
    }
    return 0;
}

static void control_get_contact(struct sim *sim, struct call *call)
{
    uint64_t phone = control_query_number(call, "phone");
    uint64_t list = control_query_number(call, "list");
    struct state_contact *contact = phone ? state_find(&sim->state, phone) : NULL;
    if (!contact) {
        control_refuse(call, phone ? 404 : 400, phone ? "never heard of" : "phone must be an E.164 number");
        return;
    }
    if (list) {
        struct state_list_contact *entry = state_find_on_list(&sim->state, phone, list);
        if (entry)
            control_answer(call, 200, control_describe_entry(entry));
        else
            control_refuse(call, 404, "never heard of on that list");
        return;
    }
    json_t *lists = json_array();
    for (const struct state_list_contact *entry = contact->lists; entry; entry = entry->next)
        json_array_append_new(lists, control_describe_entry(entry));
    control_answer(call, 200, json_pack("{s:b,s:b,s:o}", "exists", (int)contact->exists, "validated",
                                        (int)contact->validated, "lists", lists));
}

/* On the list by other ways than this API: nobody is enrolled, no call is counted. */
static struct state_list_contact *control_import(struct sim *sim, uint64_t phone, uint64_t list)
{
    const struct state_upsert import = {.phone = phone, .list = list, .signup_s = sim->wall_us / 1000000};
    (void)state_apply_upsert(&sim->state, &import, false);
    return state_find_on_list(&sim->state, phone, list);
}

/* A contact opts out, or in again, as if by a text message. */
static void control_post_contact(struct sim *sim, struct call *call)
{
    const char *phone_text, *list_text;
    int active, create = 0;
    uint64_t phone, list;
    if (json_unpack(call->json, "{s:s,s:s,s:b,s?b!}", "phone", &phone_text, "list", &list_text, "active",
                    &active, "create", &create) ||
        !phone_parse_e164(phone_text, strlen(phone_text), &phone) ||
        !phone_parse_e164(list_text, strlen(list_text), &list)) {
        control_refuse(call, 400, "the body must be {\"phone\": E.164, \"list\": E.164, \"active\": bool}, and may "
                                  "hold \"create\": bool");
        return;
    }
    struct state_list_contact *entry = state_find_on_list(&sim->state, phone, list);
    if (create && (!entry || !entry->exists))
        entry = control_import(sim, phone, list);
    if (!entry || !entry->exists) {
        control_refuse(call, 404, "not on that list");
        return;
    }
    entry->active = active;
    control_answer(call, 200, control_describe_entry(entry));
}

void control_perform(struct sim *sim, struct call *call)
{
    static const struct {
        const char *method;
        const char *path;
        void (*perform)(struct sim *sim, struct call *call);
    } commands[] = {
        {"GET", "/_sim/stats", control_get_stats},       {"GET", "/_sim/faults", control_get_faults},
        {"POST", "/_sim/faults", control_post_faults},   {"DELETE", "/_sim/faults", control_delete_faults},
        {"POST", "/_sim/reset", control_post_reset},     {"POST", "/_sim/keys", control_post_keys},
        {"POST", "/_sim/latency", control_post_latency}, {"POST", "/_sim/billing", control_post_billing},
        {"GET", "/_sim/contact", control_get_contact},   {"POST", "/_sim/contact", control_post_contact},
        {"POST", "/_sim/lists", control_post_lists},     {"POST", "/_sim/journeys", control_post_journeys},
        {"POST", "/_sim/phone", control_post_phone},
    };
    const char *query = memchr(call->target.data, '?', call->target.len);
    size_t len = query ? (size_t)(query - call->target.data) : call->target.len;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (!strcmp(call->method, commands[i].method) && strlen(commands[i].path) == len &&
            !memcmp(call->target.data, commands[i].path, len)) {
            commands[i].perform(sim, call);
            return;
        }
    }
    control_refuse(call, 404, "no such command");
}
