/* Faults on command: the list of rules, and which one a call or a connection meets. */
#include "faults.h"

#include <assert.h>
#include <stdlib.h>

#include "phone.h"

const char *fault_kind_str(enum fault_kind kind)
{
    static const char *const names[] = {
#define X(name, text, help) text,
        FAULT_KINDS(X)
#undef X
    };
    assert((size_t)kind < FAULT_KIND_COUNT);
    return names[kind];
}

const char *fault_place_str(enum fault_place place)
{
    static const char *const names[] = {"accept", "before_read", "after_request",
                                        "in_headers", "in_body", "after_response"};
    assert((size_t)place < FAULT_PLACE_COUNT);
    return names[place];
}

struct fault_action *fault_action_take(struct fault_action *action)
{
    assert(action->refs > 0);
    action->refs++;
    return action;
}

void fault_action_give(struct fault_action *action)
{
    if (!action || --action->refs)
        return;
    free(action->code);
    free(action->error);
    free(action->message);
    free(action->body);
    free(action->location);
    buf_fini(&action->headers);
    free(action);
}

void fault_rule_destroy(struct fault_rule *rule)
{
    fault_action_give(rule->action);
    free(rule);
}

void faults_init(struct faults *faults, uint64_t seed)
{
    *faults = (struct faults){.next_id = 1, .random = seed};
}

void faults_clear(struct faults *faults)
{
    for (struct fault_rule *rule = faults->first, *next; rule; rule = next) {
        next = rule->next;
        fault_rule_destroy(rule);
    }
    faults->first = NULL;
}

/* SplitMix64 (Steele, Lea, Flood 2014): one word of state, reproducible from the seed. */
double faults_random(struct faults *faults)
{
    uint64_t z = faults->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

bool faults_add(struct faults *faults, const json_t *rules, struct buf *why)
{
    if (!json_is_array(rules)) {
        buf_append_str(why, "the body must be an array of rules");
        return false;
    }
    struct faults added = {0};
    struct fault_rule **tail = &added.first;
    size_t index;
    json_t *object;
    json_array_foreach(rules, index, object) {
        struct fault_rule *rule = fault_rule_parse(object, why);
        if (!rule) {
            faults_clear(&added);
            return false;
        }
        rule->id = faults->next_id + index;
        *tail = rule;
        tail = &rule->next;
    }
    faults->next_id += json_array_size(rules);
    struct fault_rule **last = &faults->first;
    while (*last)
        last = &(*last)->next;
    *last = added.first;
    return true;
}

json_t *faults_to_json(const struct faults *faults)
{
    json_t *array = json_array();
    for (const struct fault_rule *rule = faults->first; rule; rule = rule->next) {
        json_t *object = json_pack("{s:I,s:s,s:s,s:I,s:I}", "id", (json_int_t)rule->id,
                                   "op", rule->op < 0 ? "any" : call_op_str((enum call_op)rule->op),
                                   "action", rule->action->label, "matched", (json_int_t)rule->matched,
                                   "fired", (json_int_t)rule->fired);
        if (!object || json_array_append_new(array, object))
            abort();
    }
    return array;
}

static bool fault_place_is_early(enum fault_place place)
{
    return place == FAULT_AT_ACCEPT || place == FAULT_AT_BEFORE_READ;
}

/* A rule that matches also has to be past `after`, within `count`, and lucky. */
static struct fault_action *fault_rule_fire(struct faults *faults, struct fault_rule *rule)
{
    rule->matched++;
    if (rule->matched <= rule->after || rule->fired >= rule->count)
        return NULL;
    if (rule->probability < 1.0 && faults_random(faults) >= rule->probability)
        return NULL;
    rule->fired++;
    return fault_action_take(rule->action);
}

struct fault_action *faults_pick_call(struct faults *faults, const struct call *call, bool reused)
{
    for (struct fault_rule *rule = faults->first; rule; rule = rule->next) {
        bool matches = !fault_place_is_early(rule->action->place) &&
                       (rule->op < 0 || rule->op == (int)call->op) &&
                       (!rule->phone || rule->phone == call->phone) &&
                       (!rule->list || rule->list == call->list) &&
                       (rule->reused < 0 || rule->reused == (int)reused);
        struct fault_action *action = matches ? fault_rule_fire(faults, rule) : NULL;
        if (action)
            return action;
    }
    return NULL;
}

struct fault_action *faults_pick_connection(struct faults *faults, enum fault_place place, bool reused)
{
    assert(fault_place_is_early(place));
    for (struct fault_rule *rule = faults->first; rule; rule = rule->next) {
        bool matches = rule->action->place == place && (rule->reused < 0 || rule->reused == (int)reused);
        struct fault_action *action = matches ? fault_rule_fire(faults, rule) : NULL;
        if (action)
            return action;
    }
    return NULL;
}

bool faults_has_place(const struct faults *faults, enum fault_place place)
{
    for (const struct fault_rule *rule = faults->first; rule; rule = rule->next)
        if (rule->action->place == place)
            return true;
    return false;
}
