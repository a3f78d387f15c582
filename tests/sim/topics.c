/* The simulated topics: what producers wrote, good and bad, and what each record should come to. */
#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CURSED_MAX 2 /* fewer than make a breaker open: they are to be given up each for itself */
#define PHONE_HEAD "+1415"
#define LIST_HEAD "+1212555"
#define LIST_FIRST 2000
#define FORCE_WORLDS (UINT64_C(1) << SIM_GATE | UINT64_C(1) << SIM_BUDGET)
#define PHONE_FIRST 2001000
#define PHONE_STEP 37
#define LISTS_EACH 3 /* of one phone at most */
#define LIFELINE_EVERY_US (4 * US_PER_S)
#define KEY_STAYS 9000 /* of 10,000 records of a contact that go to the contact's partition */

static const struct record_header headers[] = {
    {{"traceparent", 11}, {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", 55}},
    {{"source", 6}, {NULL, 0}},
};

const struct record_header *sim_record_headers(size_t *count)
{
    *count = sizeof headers / sizeof headers[0];
    return headers;
}

struct slice sim_record_value(const struct sim_record *record)
{
    const struct sim_content *content = record->content;
    return content->null_value ? SLICE_ABSENT : (struct slice){content->value, content->value_len};
}

/* ---- contents */

static const struct {
    int status;
    const char *code;
} rejections[] = {
    {400, "not_sendable"},
    {400, "list_not_found"},
    {400, "invalid_phone"},
    {404, ""},
    {413, "payload_too_large"},
    {422, "unheard_of"},
    {409, ""},
};

static struct sim_content *content_new(struct sim *sim, const char *text, size_t len)
{
    struct sim_content *content = sim_alloc(sim, sizeof *content);
    content->index = sim->content_count;
    content->contact = -1;
    content->rejected_code = "";
    content->value = sim_copy(sim, text, len);
    content->value_len = len;
    if (len > sim->record_bytes_max)
        sim->record_bytes_max = len;
    sim->contents[sim->content_count++] = content;
    return content;
}

static struct sim_content *content_text(struct sim *sim, const char *text)
{
    return content_new(sim, text, strlen(text));
}

/* One of the ways in which people write the same number. */
static void phone_spell(struct sim *sim, const char *e164, char *out, size_t size)
{
    if (sim_chance(sim, 8500))
        snprintf(out, size, "%s", e164);
    else
        snprintf(out, size, "(%.3s) %.3s-%.4s", e164 + 2, e164 + 5, e164 + 8);
}

static const char *flag_spell(struct sim *sim, bool value)
{
    static const char *const yes[] = {"true", "\"true\"", "1", "\"yes\""};
    static const char *const no[] = {"false", "\"false\"", "0", "\"NO\""};
    int way = sim_chance(sim, 8000) ? 0 : sim_below(sim, 4);
    return value ? yes[way] : no[way];
}

/* The landing pages, and the route that each of them takes. */
static const char *const pages[] = {"landing", "checked", "plain"};
#define PAGES 3

static void routes_make(struct sim *sim)
{
    static const char *const patterns[SIM_ROUTES] = {"example.com/checked*", "*/plain*"};
    static const enum event_validation modes[SIM_ROUTES] = {EVENT_VALIDATION_GATE, EVENT_VALIDATION_OFF};
    for (int r = 0; r < SIM_ROUTES; r++) {
        sim->route_urls[r] = slice_from_str(patterns[r]);
        sim->routes[r] = (struct event_route){.name = r ? SLICE_LITERAL("plain") : SLICE_LITERAL("checked"),
                                              .urls = &sim->route_urls[r],
                                              .url_count = 1,
                                              .override = sim_chance(sim, 3000),
                                              .use_journeys = EVENT_FLAG_UNSET,
                                              .skip_journey_if_exists = EVENT_FLAG_UNSET,
                                              .validation = modes[r]};
    }
}

/* What the configuration says of validation: routes by page, lists, and the rest. */
static void modes_make(struct sim *sim)
{
    struct event_rules *rules = &sim->base.rules;
    rules->validation = EVENT_VALIDATION_OFF;
    if (!(sim->known >> SIM_GATE & 1))
        return;
    if (sim_chance(sim, 6000))
        rules->validation = sim_chance(sim, 8000) ? EVENT_VALIDATION_GATE : EVENT_VALIDATION_INLINE;
    if (sim_chance(sim, 5000) || rules->validation == EVENT_VALIDATION_OFF) {
        routes_make(sim);
        rules->routes = sim->routes;
        rules->route_count = SIM_ROUTES;
    }
    for (int l = 0; l < SIM_LIST_MODES && sim_chance(sim, 5000); l++) {
        char list[24];
        snprintf(list, sizeof list, LIST_HEAD "%04d",
                 LIST_FIRST + (l ? sim_below(sim, sim->contact_count) : 0));
        sim->list_modes[l] = (struct event_list_mode){{sim_copy(sim, list, strlen(list)), strlen(list)},
                                                      (enum event_validation)sim_below(sim, 3)};
        rules->lists = sim->list_modes;
        rules->list_count = (size_t)l + 1;
    }
}

/* What is to be done for an event: its own word (-1: none), the route's, the list's, the rest's. */
static enum event_validation mode_of(const struct sim *sim, int says, int page, const char *list)
{
    const struct event_rules *rules = &sim->base.rules;
    const struct event_route *route = page && rules->route_count ? &rules->routes[page - 1] : NULL;
    if (says >= 0 && !(route && route->override))
        return says ? EVENT_VALIDATION_INLINE : EVENT_VALIDATION_OFF;
    if (route)
        return route->validation;
    for (size_t l = 0; l < rules->list_count; l++) {
        if (slice_is(rules->lists[l].list_number, list))
            return rules->lists[l].validation;
    }
    return rules->validation;
}

/* `says`: its use_validation; -1: it says nothing. */
static struct sim_content *content_said(struct sim *sim, const char *id, int contact, int says)
{
    const struct sim_contact *who = &sim->contacts[contact];
    char phone[32];
    char identity[SIM_ID_BYTES + 24] = "";
    char text[640];
    phone_spell(sim, who->phone, phone, sizeof phone);
    if (id)
        snprintf(identity, sizeof identity, "\"event_id\":\"%s\",", id);
    bool journeys = sim_chance(sim, 8500);
    bool skip = sim_chance(sim, 6000);
    int page = sim->base.rules.route_count && sim_chance(sim, 6000) ? 1 + sim_below(sim, PAGES - 1) : 0;
    enum event_validation mode = mode_of(sim, says, page, who->list);
    bool force = mode != EVENT_VALIDATION_OFF && sim->known & FORCE_WORLDS && sim_chance(sim, 1500);
    int len = snprintf(
        text, sizeof text,
        "{%s\"%s\":\"%s\",\"list_number\":\"%s\",\"use_journeys\":%s,\"skip_journey_if_exists\":%s,%s%s"
        "\"url\":\"https://example.com/%s?c=%d\",\"ad_network_id\":\"%d\",\"consent\":{\"text\":\"yes\"},"
        "\"custom_fields\":{\"tag\":\"c%d\"}}",
        identity, sim_chance(sim, 5000) ? "phone" : "phone_number", phone, who->list,
        flag_spell(sim, journeys), flag_spell(sim, skip),
        says < 0 ? ""
        : says   ? "\"use_validation\":true,"
                 : "\"use_validation\":false,",
        force ? "\"force\":true," : "", pages[page], sim->content_count, sim_below(sim, 4),
        sim->content_count);
    struct sim_content *content = content_new(sim, text, (size_t)len);
    content->contact = contact;
    content->use_journeys = journeys;
    content->skip = skip;
    content->mode = mode;
    content->force = force;
    return content;
}

static struct sim_content *content_good(struct sim *sim, const char *id, int contact)
{
    int says = sim_strikes(sim, SIM_VALIDATE) && sim_chance(sim, 4000) ? 1 : -1;
    if (says < 0 && sim_strikes(sim, SIM_GATE) && sim_chance(sim, 1000))
        says = sim_below(sim, 2);
    struct sim_content *content = content_said(sim, id, contact, says);
    bool validate = content->mode == EVENT_VALIDATION_INLINE;
    if (sim_strikes(sim, SIM_CURSED) && sim_chance(sim, 500) && sim->cursed_count < CURSED_MAX) {
        sim->cursed_count++;
        content->cursed = validate && sim_chance(sim, 5000) ? 503 : 500;
    } else if (sim_strikes(sim, SIM_BAD) && sim_chance(sim, 1000)) {
        int which = sim_below(sim, (int)(sizeof rejections / sizeof rejections[0]));
        content->rejected_status = rejections[which].status;
        content->rejected_code = rejections[which].code;
    }
    if (sim_strikes(sim, SIM_POISON) && sim_chance(sim, 400))
        content->poison = sim_chance(sim, 5000) ? SIM_POISON_CLAIM : SIM_POISON_RECORD;
    return content;
}

static struct sim_content *content_huge(struct sim *sim)
{
    size_t len = EVENT_BYTES_MAX + 1;
    char *text = malloc(len);
    if (!text)
        abort();
    memset(text, ' ', len);
    text[0] = '{';
    text[1] = '}';
    struct sim_content *content = content_new(sim, text, len);
    free(text);
    content->death = "event_too_large";
    return content;
}

/* More than the API takes; `id` may be NULL. */
static struct sim_content *content_fat(struct sim *sim, const char *id, int contact)
{
    char text[5200];
    char fill[4200];
    memset(fill, 'x', sizeof fill - 1);
    fill[sizeof fill - 1] = '\0';
    int len = snprintf(
        text, sizeof text,
        "{\"event_id\":\"%s\",\"phone\":\"%s\",\"list_number\":\"%s\",\"custom_fields\":{\"fat\":\"%s\"}}",
        id, sim->contacts[contact].phone, sim->contacts[contact].list, fill);
    struct sim_content *content = content_new(sim, text, (size_t)len);
    content->death = "payload_too_large";
    return content;
}

/* Dead without a call. `has_id` says whether `id` is in it and can be read. */
static struct sim_content *content_bad(struct sim *sim, const char *id, int contact, bool *has_id)
{
    const struct sim_contact *who = &sim->contacts[contact];
    char text[400];
    struct sim_content *content;
    *has_id = true;
    switch (sim_below(sim, 12)) {
    case 0:
        snprintf(text, sizeof text, "{\"event_id\":\"%s\",", id);
        content = content_text(sim, text);
        content->death = "malformed_json";
        *has_id = false;
        break;
    case 1:
        content = content_text(sim, "[1,2]");
        content->death = "not_an_object";
        *has_id = false;
        break;
    case 2:
        content = content_text(sim, "  \n");
        content->null_value = sim_chance(sim, 5000);
        content->death = "empty_event";
        *has_id = false;
        break;
    case 3:
    case 4:
        snprintf(text, sizeof text, "{\"event_id\":\"%s\",\"phone\":null,\"list_number\":\"%s\"}", id,
                 who->list);
        content = content_text(sim, text);
        content->death = "missing_phone_number";
        break;
    case 5:
        snprintf(text, sizeof text, "{\"event_id\":\"%s\",\"phone\":\"12345\",\"list_number\":\"%s\"}", id,
                 who->list);
        content = content_text(sim, text);
        content->death = "invalid_phone";
        break;
    case 6:
        snprintf(text, sizeof text, "{\"event_id\":\"%s\",\"phone\":\"%s\"}", id, who->phone);
        content = content_text(sim, text);
        content->death = "missing_list_number";
        break;
    case 7:
        snprintf(text, sizeof text, "{\"event_id\":\"%s\",\"phone\":\"%s\",\"list_number\":\"none\"}", id,
                 who->phone);
        content = content_text(sim, text);
        content->death = "invalid_list_number";
        break;
    case 8:
        snprintf(text, sizeof text, "{\"event_id\":17,\"phone\":\"%s\",\"list_number\":\"%s\"}", who->phone,
                 who->list);
        content = content_text(sim, text);
        content->death = "invalid_event_id";
        *has_id = false;
        break;
    case 9:
        content = sim_chance(sim, 9700) ? content_fat(sim, id, contact) : content_huge(sim);
        *has_id = content->value_len <= EVENT_BYTES_MAX;
        break;
    default:
        snprintf(text, sizeof text,
                 "{\"event_id\":\"%s\",\"phone\":\"%s\",\"list_number\":\"%s\",\"use_journeys\":\"maybe\"}",
                 id, who->phone, who->list);
        content = content_text(sim, text);
        content->death = "invalid_field";
    }
    content->dead_local = true;
    return content;
}

/* ---- records */

static struct sim_record *record_append(struct sim *sim, struct sim_partition *part,
                                        struct sim_content *content, const char *id)
{
    struct sim_record *record = sim_alloc(sim, sizeof *record);
    record->index = sim->record_count;
    record->part = part;
    record->at = part->count;
    int64_t gap = sim_chance(sim, 1000) ? sim_between(sim, 1, 5) : 0; /* compacted away */
    record->offset = part->count ? part->log[part->count - 1]->offset + 1 + gap : gap * 20;
    record->timestamp_ms = sim_chance(sim, 200) ? -1 : sim->wall_base_us / 1000 - sim_between(sim, 0, 100000);
    record->content = content;
    record->content_book = content;
    record->said_contact = -2;
    snprintf(record->position, sizeof record->position, "%s:%d:%lld", part->topic, (int)part->number,
             (long long)record->offset);
    snprintf(record->id, sizeof record->id, "%s", id ? id : record->position);
    snprintf(record->key, sizeof record->key, "k%d", content->contact);
    for (int i = part->count - 1; i >= 0 && !record->earlier && content->contact >= 0; i--) {
        if (part->log[i]->content->contact == content->contact)
            record->earlier = part->log[i];
    }
    part->log[part->count++] = record;
    sim->records[sim->record_count++] = record;
    return record;
}

static struct sim_partition *part_choose(struct sim *sim, int contact)
{
    if (contact >= 0 && sim_chance(sim, KEY_STAYS))
        return &sim->parts[(contact * 7) % sim->part_count];
    return &sim->parts[sim_below(sim, sim->part_count)];
}

/* An earlier record that has an id of its own, or NULL. */
static struct sim_record *twin_choose(struct sim *sim)
{
    for (int tries = 0; tries < 4 && sim->record_count; tries++) {
        struct sim_record *record = sim->records[sim_below(sim, sim->record_count)];
        if (strcmp(record->id, record->position) != 0)
            return record;
    }
    return NULL;
}

/* The same id once more: said again, said differently, said of somebody else, or corrected. */
static void append_twin(struct sim *sim, struct sim_record *first)
{
    int contact = first->content->contact >= 0 ? first->content->contact : sim_below(sim, sim->contact_count);
    struct sim_partition *part = sim_chance(sim, 7000) ? first->part : part_choose(sim, contact);
    switch (sim_below(sim, 6)) {
    case 0:
    case 1:
    case 2: record_append(sim, part, first->content_book, first->id); break;
    case 3:
    case 4: record_append(sim, part, content_good(sim, first->id, contact), first->id); break;
    default:
        contact = sim_below(sim, sim->contact_count);
        record_append(sim, part_choose(sim, contact), content_good(sim, first->id, contact), first->id);
    }
}

static void append_one(struct sim *sim)
{
    int contact = sim_below(sim, sim->contact_count);
    if (sim_chance(sim, 2500))
        contact = sim_below(sim, (sim->contact_count + 3) / 4); /* a few come often */
    char id[SIM_ID_BYTES];
    snprintf(id, sizeof id, "ev-%d", sim->record_count);
    struct sim_record *twin = sim_strikes(sim, SIM_TWICE) && sim_chance(sim, 2000) ? twin_choose(sim) : NULL;
    if (twin) {
        append_twin(sim, twin);
    } else if (sim_strikes(sim, SIM_BAD) && sim_chance(sim, 1200)) {
        bool has_id;
        struct sim_content *content = content_bad(sim, id, contact, &has_id);
        record_append(sim, part_choose(sim, contact), content, has_id ? id : NULL);
    } else {
        bool has_id = sim_chance(sim, 9000);
        record_append(sim, part_choose(sim, contact), content_good(sim, has_id ? id : NULL, contact),
                      has_id ? id : NULL);
    }
}

static void contacts_make(struct sim *sim)
{
    bool many = sim->profile.kind == SIM_COMEBACK;
    bool shared = sim->known >> SIM_GATE & 1;
    int room = many ? SIM_CONTACTS_MANY : SIM_CONTACTS_MAX;
    sim->contact_count = many ? room : 1 + sim_below(sim, room);
    sim->contacts = sim_alloc(sim, (size_t)sim->contact_count * sizeof *sim->contacts);
    for (int i = 0; i < sim->contact_count; i++) {
        struct sim_contact *contact = &sim->contacts[i];
        contact->index = i;
        int person = i && sim_chance(sim, shared ? 5000 : 2000) ? i - 1 : i; /* somebody on several lists */
        if (shared && person < i && i - sim->contacts[person].phone_index < LISTS_EACH)
            person = sim->contacts[person].phone_index;
        contact->phone_index = person;
        snprintf(contact->phone, sizeof contact->phone, PHONE_HEAD "%07d", PHONE_FIRST + person * PHONE_STEP);
        snprintf(contact->list, sizeof contact->list, LIST_HEAD "%04d", LIST_FIRST + (person == i ? 0 : i));
        contact->on_list = sim_chance(sim, 2000);
        for (int p = 0; p < SIM_PARTITIONS_MAX; p++)
            contact->effect_max[p] = -1;
    }
}

int sim_phone_find(const struct sim *sim, struct slice phone)
{
    size_t head = strlen(PHONE_HEAD);
    char text[24];
    if (phone.len <= head || phone.len >= sizeof text)
        return -1;
    memcpy(text, phone.ptr, phone.len);
    text[phone.len] = '\0';
    int person = (atoi(text + head) - PHONE_FIRST) / PHONE_STEP;
    return person >= 0 && person < sim->phone_count ? person : -1;
}

int sim_contact_find(const struct sim *sim, struct slice phone, struct slice list)
{
    if (!slice_present(phone) || !slice_present(list))
        return -1;
    char text[24];
    size_t head = strlen(PHONE_HEAD);
    if (phone.len <= head || phone.len >= sizeof text)
        return -3;
    memcpy(text, phone.ptr, phone.len);
    text[phone.len] = '\0';
    int person = (atoi(text + head) - PHONE_FIRST) / PHONE_STEP;
    for (int i = person < 0 ? 0 : person; i < person + LISTS_EACH && i < sim->contact_count; i++) {
        if (slice_is(phone, sim->contacts[i].phone) && slice_is(list, sim->contacts[i].list))
            return i;
    }
    return -3;
}

/* Everything of a contact that is on hand at the beginning: good events, each said once. */
static void append_history(struct sim *sim)
{
    int contact = sim_below(sim, sim->contact_count);
    char id[SIM_ID_BYTES];
    snprintf(id, sizeof id, "ev-%d", sim->record_count);
    struct sim_content *content = content_good(sim, id, contact);
    content->poison = SIM_HARMLESS;
    record_append(sim, part_choose(sim, contact), content, id);
}

/* Somebody signs up after all is well: a held route needs a good event to learn it by. */
static void append_lifeline(struct sim *sim)
{
    int contact = sim_below(sim, sim->contact_count);
    char id[SIM_ID_BYTES];
    snprintf(id, sizeof id, "ev-%d", sim->record_count);
    int says = sim->known >> SIM_VALIDATE & 1 && sim_chance(sim, 6000) ? 1 : -1;
    if (says < 0 && sim->known >> SIM_GATE & 1 && sim_chance(sim, 8000))
        says = 0; /* the gate could refuse it */
    struct sim_content *content = content_said(sim, id, contact, says);
    record_append(sim, &sim->parts[sim_below(sim, sim->part_count)], content, id);
}

static void parts_make(struct sim *sim, int room)
{
    sim->topic_count = 1 + (sim_chance(sim, 3000) ? sim_below(sim, SIM_TOPICS_MAX) : 0);
    for (int t = 0; t < sim->topic_count; t++) {
        snprintf(sim->topic_text[t], sizeof sim->topic_text[t], t ? "signups-%d" : "signups", t + 1);
        sim->topic_names[t] = sim->topic_text[t];
        int parts = 1 + sim_below(sim, 6);
        for (int p = 0; p < parts; p++) {
            struct sim_partition *part = &sim->parts[sim->part_count];
            part->index = sim->part_count++;
            snprintf(part->topic, sizeof part->topic, "%s", sim->topic_text[t]);
            part->number = p;
            part->log = sim_alloc(sim, (size_t)room * sizeof(struct sim_record *));
        }
    }
}

/* When they appear: a backlog, or a stream; each partition in its order. */
static void records_time(struct sim *sim, int ordinary)
{
    bool backlog = sim_chance(sim, 5000);
    for (int p = 0; p < sim->part_count; p++) {
        int64_t at = 0;
        int lifelines = 0;
        for (int i = 0; i < sim->parts[p].count; i++) {
            struct sim_record *record = sim->parts[p].log[i];
            if (record->index >= ordinary)
                at = sim->profile.heal_us + LIFELINE_EVERY_US * ++lifelines;
            else if (!backlog && record->index >= sim->profile.history)
                at += sim_between(sim, 0, sim->profile.traffic_us * 2 / (sim->parts[p].count + 1));
            record->appended_us = at;
        }
    }
}

void sim_topics_make(struct sim *sim)
{
    int count = sim->profile.records;
    int lifelines =
        sim->known & (UINT64_C(1) << SIM_BAD | UINT64_C(1) << SIM_CURSED | UINT64_C(1) << SIM_STORM)
            ? sim->profile.lifelines
            : 0;
    if (sim->options->records_max && (size_t)count > sim->options->records_max)
        count = (int)sim->options->records_max;
    if (sim->profile.history > count / 2)
        sim->profile.history = count / 2;
    int room = count + lifelines;
    sim->records = sim_alloc(sim, (size_t)room * sizeof(struct sim_record *));
    sim->contents = sim_alloc(sim, (size_t)room * sizeof(struct sim_content *));
    parts_make(sim, room);
    contacts_make(sim);
    modes_make(sim);
    sim_phones_make(sim);
    for (int i = 0; i < sim->profile.history; i++)
        append_history(sim);
    for (int i = sim->profile.history; i < count; i++)
        append_one(sim);
    for (int i = 0; i < lifelines; i++)
        append_lifeline(sim);
    records_time(sim, count);
}

struct sim_record *sim_record_by_position(struct sim *sim, struct slice topic, int32_t partition,
                                          int64_t offset)
{
    for (int p = 0; p < sim->part_count; p++) {
        struct sim_partition *part = &sim->parts[p];
        if (part->number != partition || !slice_is(topic, part->topic))
            continue;
        int low = 0;
        int high = part->count;
        while (low < high) {
            int mid = (low + high) / 2;
            if (part->log[mid]->offset < offset)
                low = mid + 1;
            else
                high = mid;
        }
        return low < part->count && part->log[low]->offset == offset ? part->log[low] : NULL;
    }
    return NULL;
}

struct sim_record *sim_record_find(struct sim *sim, const struct record *record)
{
    return sim_record_by_position(sim, record->topic, record->partition, record->offset);
}

bool sim_record_answered(struct sim *sim, const struct sim_record *record)
{
    const struct sim_row *row = sim_row_find_str(sim, record->id);
    if (record->settled)
        return true;
    if (row) {
        if (row->record == record && row->state != SIM_CLAIMED)
            return true;
        if (sim_row_has_source(row, record))
            return true;
        bool settles = row->state == SIM_ACCEPTED || row->state == SIM_PARKED_ROW;
        if (settles && row->contact >= 0 && row->contact == record->said_contact)
            return true;
    }
    const struct sim_row *own = sim_row_find_str(sim, record->position);
    return own && own != row && own->record == record && own->state != SIM_CLAIMED;
}
