/* The plan of a replay: events in order, contacts and groups found by hash. */
#include "replay_plan.h"

#include "signup/event/signup.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define KEY_BYTES_MAX 4096

const char *plan_fate_str(enum plan_fate fate)
{
    static const char *const words[] = {
#define X(name, text) text,
        PLAN_FATES(X)
#undef X
    };
    assert(fate < PLAN_FATE_COUNT);
    return words[fate];
}

void plan_init(struct plan *plan)
{
    *plan = (struct plan){0};
    arena_init(&plan->arena, SIZE_MAX);
}

void plan_fini(struct plan *plan)
{
    struct plan_contact *contact = plan->contacts;
    HASH_CLEAR(hh, plan->contacts);
    for (struct plan_contact *next; contact; contact = next) {
        next = contact->hh.next;
        free(contact->why);
        free(contact);
    }
    struct plan_group *group = plan->groups;
    HASH_CLEAR(hh, plan->groups);
    for (struct plan_group *next; group; group = next) {
        next = group->hh.next;
        free(group);
    }
    free(plan->events);
    arena_fini(&plan->arena);
}

/* Texts one after the other, each with a mark of its presence before and a NUL behind it; what does not fit
 * is cut, for keys longer than any that is real. Gives where each text begins. */
static size_t key_add(char *key, size_t used, struct slice text)
{
    size_t room = KEY_BYTES_MAX / 4 - 2;
    size_t len = text.len < room ? text.len : room;
    key[used++] = slice_present(text) ? '+' : '-';
    if (len)
        memcpy(key + used, text.ptr, len);
    key[used + len] = '\0';
    return used + len + 1;
}

static struct slice key_text(const char *key, size_t at)
{
    return key[at] == '+' ? slice_from_str(key + at + 1) : SLICE_ABSENT;
}

static struct plan_contact *contact_of(struct plan *plan, struct slice phone, struct slice list)
{
    char key[KEY_BYTES_MAX];
    struct plan_contact *contact = NULL;
    size_t list_at = key_add(key, 0, phone);
    size_t len = key_add(key, list_at, list);
    HASH_FIND(hh, plan->contacts, key, len, contact);
    if (contact || !(contact = calloc(1, sizeof *contact + len)))
        return contact;
    memcpy(contact->key, key, len);
    contact->key_len = len;
    contact->phone_number = key_text(contact->key, 0);
    contact->list_number = key_text(contact->key, list_at);
    HASH_ADD_KEYPTR(hh, plan->contacts, contact->key, contact->key_len, contact);
    return contact;
}

static struct plan_group *group_of(struct plan *plan, const struct plan_facts *facts)
{
    char key[KEY_BYTES_MAX];
    struct plan_group *group = NULL;
    memcpy(key, &facts->http_status, sizeof facts->http_status);
    size_t code_at = sizeof facts->http_status;
    size_t list_at = key_add(key, code_at, facts->code);
    size_t ad_at = key_add(key, list_at, facts->list_number);
    size_t len = key_add(key, ad_at, facts->ad_network);
    HASH_FIND(hh, plan->groups, key, len, group);
    if (group || !(group = calloc(1, sizeof *group + len)))
        return group;
    memcpy(group->key, key, len);
    group->key_len = len;
    group->http_status = facts->http_status;
    group->code = key_text(group->key, code_at);
    group->list_number = key_text(group->key, list_at);
    group->ad_network = key_text(group->key, ad_at);
    group->oldest = group->newest = facts->died_at;
    HASH_ADD_KEYPTR(hh, plan->groups, group->key, group->key_len, group);
    return group;
}

static bool room_for_one(struct plan *plan)
{
    if (plan->count < plan->size)
        return true;
    size_t size = plan->size ? plan->size * 2 : 1024;
    struct plan_event *events = reallocarray(plan->events, size, sizeof *events);
    if (!events)
        return false;
    plan->events = events;
    plan->size = size;
    return true;
}

static enum plan_fate first_fate(const struct plan_facts *facts)
{
    if (!facts->dead)
        return PLAN_NOT_DEAD;
    if (!facts->original)
        return PLAN_WITHOUT_ORIGINAL;
    return facts->superseded ? PLAN_SUPERSEDED : PLAN_READY;
}

static void group_count(struct plan_group *group, wall_us_t died_at, enum plan_fate fate)
{
    group->events++;
    group->fates[fate]++;
    if (died_at.us < group->oldest.us)
        group->oldest = died_at;
    if (died_at.us > group->newest.us)
        group->newest = died_at;
}

bool plan_add(struct plan *plan, const struct plan_facts *facts)
{
    struct plan_event event = {
        .event_id = arena_copy(&plan->arena, facts->event_id),
        .group = group_of(plan, facts),
        .letter = facts->letter,
        .fate = first_fate(facts),
    };
    bool known = facts->phone_number.len && facts->list_number.len;
    if (known)
        event.contact = contact_of(plan, facts->phone_number, facts->list_number);
    if (!slice_present(event.event_id) || !event.group || (known && !event.contact) || !room_for_one(plan))
        return false;
    plan->events[plan->count++] = event;
    plan->fates[event.fate]++;
    group_count(event.group, facts->died_at, event.fate);
    return true;
}

void plan_set_fate(struct plan *plan, struct plan_event *event, enum plan_fate fate)
{
    assert(plan->fates[event->fate] && event->group->fates[event->fate]);
    plan->fates[event->fate]--;
    event->group->fates[event->fate]--;
    event->fate = fate;
    plan->fates[fate]++;
    event->group->fates[fate]++;
}
