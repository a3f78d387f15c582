/* What the simulated vendor remembers: contacts, their list memberships, validations. */
#include "state.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"

void state_init(struct state *state)
{
    *state = (struct state){.next_id = 1000001};
}

void state_fini(struct state *state)
{
    struct state_contact *contact = state->contacts;
    HASH_CLEAR(hh, state->contacts); /* the table alone; the entries stay chained by hh.next */
    while (contact) {
        struct state_contact *next_contact = contact->hh.next;
        for (struct state_list_contact *entry = contact->lists, *next; entry; entry = next) {
            next = entry->next;
            free(entry->custom_fields);
            free(entry->seqs);
            free(entry);
        }
        free(contact->steered);
        free(contact->found);
        free(contact);
        contact = next_contact;
    }
    free(state->newest_first);
    *state = (struct state){0};
}

struct state_contact *state_find(struct state *state, uint64_t phone)
{
    struct state_contact *contact = NULL;
    HASH_FIND(hh, state->contacts, &phone, sizeof phone, contact);
    return contact;
}

static struct state_list_contact *state_entry(struct state_contact *contact, uint64_t list)
{
    struct state_list_contact *entry = contact ? contact->lists : NULL;
    while (entry && entry->list != list)
        entry = entry->next;
    return entry;
}

struct state_list_contact *state_find_on_list(struct state *state, uint64_t phone, uint64_t list)
{
    return state_entry(state_find(state, phone), list);
}

struct state_contact *state_touch(struct state *state, uint64_t phone)
{
    struct state_contact *contact = state_find(state, phone);
    if (!contact) {
        contact = buf_alloc_zeroed(sizeof *contact);
        contact->phone = phone;
        HASH_ADD(hh, state->contacts, phone, sizeof contact->phone, contact);
    }
    return contact;
}

struct state_list_contact *state_touch_on_list(struct state *state, uint64_t phone, uint64_t list)
{
    struct state_contact *contact = state_touch(state, phone);
    struct state_list_contact *entry = state_entry(contact, list);
    if (!entry) {
        entry = buf_alloc_zeroed(sizeof *entry);
        entry->contact = contact;
        entry->list = list;
        entry->next = contact->lists;
        contact->lists = entry;
    }
    return entry;
}

static void state_note_seq(struct state *state, struct state_list_contact *entry, const json_t *custom_fields)
{
    const json_t *value = json_object_get(custom_fields, "seq");
    int64_t seq;
    if (json_is_integer(value)) {
        seq = json_integer_value(value);
    } else if (json_is_string(value)) {
        char *end;
        seq = strtoll(json_string_value(value), &end, 10);
        if (end == json_string_value(value) || *end)
            return;
    } else {
        return;
    }
    struct state_seq_log *log = entry->seqs;
    if (!log || (log->count == log->cap && log->cap < STATE_SEQS_KEPT)) {
        uint32_t cap = log ? log->cap * 4 : 4;
        struct state_seq_log *grown = buf_alloc_zeroed(sizeof *grown + cap * sizeof grown->values[0]);
        if (log)
            memcpy(grown, log, sizeof *log + log->count * sizeof log->values[0]);
        grown->cap = cap;
        free(log);
        entry->seqs = log = grown;
    }
    state->count.seq_values++;
    if (log->total && seq < log->last)
        state->count.seq_out_of_order++;
    if (log->total && seq == log->last)
        state->count.seq_repeated++;
    log->total++;
    log->last = seq;
    if (log->count < log->cap)
        log->values[log->count++] = seq;
}

/* Custom fields are merged into what is there, or replace it (section 1 of the contract). */
static void state_store_custom_fields(struct state_list_contact *entry, json_t *fields, bool replace)
{
    if (!fields)
        return;
    char *text = json_dumps(fields, JSON_COMPACT);
    if (!text)
        abort();
    bool merge = !replace && entry->custom_fields && strcmp(text, entry->custom_fields) != 0;
    if (merge) {
        json_t *merged = json_loads(entry->custom_fields, 0, NULL);
        assert(merged);
        free(text);
        if (json_object_update(merged, fields))
            abort();
        text = json_dumps(merged, JSON_COMPACT);
        json_decref(merged);
        if (!text)
            abort();
    }
    free(entry->custom_fields);
    entry->custom_fields = text;
}

static void state_create_membership(struct state *state, struct state_list_contact *entry, bool new_contact)
{
    if (new_contact) {
        entry->contact->exists = true;
        entry->contact->id = state->next_id++;
        state->count.contacts++;
    }
    if (!entry->exists) {
        entry->exists = true;
        entry->active = true;
        entry->id = state->next_id++;
        state->count.list_contacts++;
        state->newest_first_stale = true;
    }
}

struct state_upsert_result state_apply_upsert(struct state *state, const struct state_upsert *upsert,
                                              bool dry)
{
    struct state_contact *contact = state_find(state, upsert->phone);
    struct state_list_contact *entry = state_entry(contact, upsert->list);
    struct state_upsert_result result = {
        .new_contact = !contact || !contact->exists,
        .new_list_contact = !entry || !entry->exists,
        .unsubscribed = entry && entry->exists && !entry->active,
    };
    bool enrol = upsert->use_journeys && !result.unsubscribed &&
                 (result.new_list_contact || !upsert->skip_journey_if_exists);
    result.enrolled = enrol ? upsert->journeys : 0;
    if (dry) {
        result.contact_id = result.new_contact ? state->next_id : contact->id;
        result.list_contact_id = result.new_list_contact ? state->next_id + result.new_contact : entry->id;
        return result;
    }
    entry = state_touch_on_list(state, upsert->phone, upsert->list);
    state_create_membership(state, entry, result.new_contact);
    if (result.new_list_contact || upsert->signup_given) {
        entry->signup_s = upsert->signup_s;
        state->newest_first_stale = true;
    }
    state_store_custom_fields(entry, upsert->custom_fields, upsert->override_custom_fields);
    state_note_seq(state, entry, upsert->custom_fields);
    state->count.upserts_of_unsubscribed += result.unsubscribed;
    if (result.enrolled) {
        entry->enrolments++;
        entry->journeys += result.enrolled;
        state->count.enrolments++;
        state->count.journeys_enrolled += result.enrolled;
        state->count.enrolled_more_than_once += entry->enrolments == 2;
    }
    result.contact_id = entry->contact->id;
    result.list_contact_id = entry->id;
    return result;
}

struct phone_facts state_facts_now(struct state *state, uint64_t phone)
{
    const struct state_contact *contact = state_find(state, phone);
    return contact && contact->steered ? *contact->steered : phone_look_up(phone);
}

struct phone_facts state_facts_known(struct state *state, uint64_t phone)
{
    const struct state_contact *contact = state_find(state, phone);
    return contact && contact->found ? *contact->found : phone_look_up(phone);
}

bool state_lookup_costs(struct state *state, uint64_t phone, bool force)
{
    const struct state_contact *contact = state_find(state, phone);
    return force || !contact || !contact->validated;
}

static struct phone_facts *state_copy_facts(const struct phone_facts *facts)
{
    struct phone_facts *copy = facts ? buf_alloc_zeroed(sizeof *copy) : NULL;
    if (copy)
        *copy = *facts;
    return copy;
}

/* Only what was steered is kept: a million ordinary numbers need no copy of what the rule says. */
static void state_remember(struct state_contact *contact)
{
    free(contact->found);
    contact->found = state_copy_facts(contact->steered);
    contact->validated = true;
}

struct phone_facts state_look_up(struct state *state, uint64_t phone, bool force, bool dry)
{
    bool costs = state_lookup_costs(state, phone, force);
    if (costs && !dry) {
        state->count.lookups_paid++;
        state_remember(state_touch(state, phone));
    } else if (!dry) {
        state->count.lookups_cached++;
    }
    return costs ? state_facts_now(state, phone) : state_facts_known(state, phone);
}

void state_steer(struct state *state, uint64_t phone, const struct phone_facts *facts)
{
    struct state_contact *contact = state_touch(state, phone);
    free(contact->steered);
    contact->steered = state_copy_facts(facts);
}

void state_set_validated(struct state *state, uint64_t phone, bool validated)
{
    struct state_contact *contact = state_touch(state, phone);
    if (validated) {
        state_remember(contact);
        return;
    }
    free(contact->found);
    contact->found = NULL;
    contact->validated = false;
}

static int state_compare_newest(const void *left, const void *right)
{
    const struct state_list_contact *a = *(struct state_list_contact *const *)left;
    const struct state_list_contact *b = *(struct state_list_contact *const *)right;
    if (a->signup_s != b->signup_s)
        return a->signup_s < b->signup_s ? 1 : -1;
    return (a->id < b->id) - (a->id > b->id);
}

struct state_list_contact *const *state_newest_first(struct state *state, size_t *count)
{
    if (state->newest_first_stale) {
        free(state->newest_first);
        size_t total = (size_t)state->count.list_contacts;
        state->newest_first = buf_alloc_zeroed((total + 1) * sizeof(struct state_list_contact *));
        size_t at = 0;
        for (struct state_contact *contact = state->contacts; contact; contact = contact->hh.next)
            for (struct state_list_contact *entry = contact->lists; entry; entry = entry->next)
                if (entry->exists)
                    state->newest_first[at++] = entry;
        assert(at == total);
        qsort(state->newest_first, total, sizeof(struct state_list_contact *), state_compare_newest);
        state->newest_first_count = total;
        state->newest_first_stale = false;
    }
    *count = state->newest_first_count;
    return state->newest_first;
}
