/* Reading back: one contact, and the paged list (sections 3 and 4 of the contract). */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api.h"
#include "phone.h"

#define READS_PER_PAGE_DEFAULT 50u
#define READS_PER_PAGE_MAX 1000u

const char *reads_path_phone(const struct call *call, size_t *len)
{
    static const char prefix[] = "/api/v2/contacts/";
    size_t at = sizeof prefix - 1;
    if (call->target.len <= at || memcmp(call->target.data, prefix, at) != 0)
        return NULL;
    const char *start = call->target.data + at;
    size_t rest = call->target.len - at;
    const char *query = memchr(start, '?', rest);
    *len = query ? (size_t)(query - start) : rest;
    bool other = !*len || memchr(start, '/', *len) || (*len == 4 && !memcmp(start, "bulk", 4));
    return other ? NULL : start;
}

bool reads_decode_phone(const char *text, size_t len, uint64_t *phone)
{
    char plain[20] = "+";
    if (len < 3 || len - 3 > sizeof plain - 2 || strncasecmp(text, "%2B", 3) != 0)
        return false;
    memcpy(plain + 1, text + 3, len - 3);
    return phone_parse_e164(plain, len - 2, phone);
}

static void reads_append_date(struct buf *out, int64_t seconds)
{
    struct tm tm;
    char text[40];
    time_t at = (time_t)seconds;
    size_t len = gmtime_r(&at, &tm) ? strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm) : 0;
    buf_append_json(out, text, len);
}

/* What both answers tell about the number; the words are those of v2. */
static void reads_append_phone_facts(struct state *state, struct buf *out, const struct state_contact *contact)
{
    struct phone_facts facts = state_facts_known(state, contact->phone);
    if (contact->validated)
        buf_append_format(out, "\"carrier\":\"%s\",\"line_type\":\"%s\"", facts.carrier, facts.line_type_v2);
    else
        buf_append_str(out, "\"carrier\":null,\"line_type\":\"UNKNOWN\"");
    buf_append_format(out, ",\"timezone\":\"America/New_York\",\"is_valid\":%s",
                      contact->validated && !facts.valid ? "false" : "true");
}

static void reads_append_membership(struct buf *out, const struct state_list_contact *entry)
{
    char list[PHONE_TEXT_BYTES];
    phone_format(entry->list, list);
    buf_append_format(out, "\"list_id\":%u,\"list_number\":\"%s\",\"active\":%s,\"signup_date\":",
                      (unsigned)(entry->list % 1000000), list, entry->active ? "true" : "false");
    reads_append_date(out, entry->signup_s);
    buf_append_str(out, ",\"custom_fields\":");
    buf_append_str(out, entry->custom_fields ? entry->custom_fields : "{}");
    buf_append_str(out, ",\"send_count\":0,\"click_count\":0");
}

void reads_perform_get(struct sim *sim, struct call *call)
{
    struct api_refusal refusal;
    struct state_contact *contact = call->phone ? state_find(&sim->state, call->phone) : NULL;
    if (!contact || !contact->exists) {
        if (call->phone)
            api_refuse(&refusal, 404, "not_found", "Contact not found");
        else
            api_refuse(&refusal, 400, "invalid_phone", "The path needs an E.164 number with %%2B");
        api_answer_refusal(call, &refusal);
        return;
    }
    char phone[PHONE_TEXT_BYTES];
    phone_format(contact->phone, phone);
    buf_append_format(&call->answer, "{\"phone_number\":\"%s\",", phone);
    reads_append_phone_facts(&sim->state, &call->answer, contact);
    buf_append_str(&call->answer, ",\"lists\":[");
    bool first = true;
    for (const struct state_list_contact *entry = contact->lists; entry; entry = entry->next) {
        if (!entry->exists)
            continue;
        buf_append_str(&call->answer, first ? "{" : ",{");
        reads_append_membership(&call->answer, entry);
        buf_append_str(&call->answer, "}");
        first = false;
    }
    buf_append_str(&call->answer, "]}");
    call->status = 200;
}

struct reads_query {
    uint64_t list; /* 0 any */
    int active;    /* -1 any */
    unsigned page;
    unsigned per_page;
};

bool reads_decode(const char *text, size_t len, char *out, size_t out_bytes)
{
    size_t at = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned byte = (unsigned char)text[i];
        if (at + 1 >= out_bytes)
            return false;
        if (byte == '%') {
            char hex[3] = {0};
            if (i + 2 >= len)
                return false;
            memcpy(hex, text + i + 1, 2);
            if (strspn(hex, "0123456789abcdefABCDEF") != 2)
                return false;
            byte = (unsigned)strtoul(hex, NULL, 16);
            i += 2;
        } else if (byte == '+') {
            byte = ' '; /* so a plus that was not encoded is no E.164 number any more */
        }
        out[at++] = (char)byte;
    }
    out[at] = '\0';
    return strlen(out) == at;
}

static bool reads_parse_count(const char *text, unsigned most, unsigned *value)
{
    if (!*text || strlen(text) > 9 || strspn(text, "0123456789") != strlen(text))
        return false;
    *value = (unsigned)strtoul(text, NULL, 10);
    return *value >= 1 && *value <= most;
}

static bool reads_set(const struct sim *sim, struct reads_query *query, const char *name, const char *value)
{
    if (!strcmp(name, "list_number"))
        return phone_parse_e164(value, strlen(value), &query->list);
    if (!strcmp(name, "active")) {
        query->active = !strcmp(value, "true");
        return query->active || !strcmp(value, "false");
    }
    if (!strcmp(name, "page"))
        return reads_parse_count(value, 100000000, &query->page);
    if (!strcmp(name, "per_page"))
        return reads_parse_count(value, READS_PER_PAGE_MAX, &query->per_page);
    return sim->options->lenient;
}

static bool reads_parse_query(const struct sim *sim, const struct call *call, struct reads_query *query)
{
    *query = (struct reads_query){.active = -1, .page = 1, .per_page = READS_PER_PAGE_DEFAULT};
    const char *at = memchr(call->target.data, '?', call->target.len);
    const char *end = call->target.data + call->target.len;
    while (at && ++at < end) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        size_t len = (size_t)((stop ? stop : end) - at);
        const char *equals = memchr(at, '=', len);
        char name[32], value[64];
        if (!equals || !reads_decode(at, (size_t)(equals - at), name, sizeof name) ||
            !reads_decode(equals + 1, len - (size_t)(equals + 1 - at), value, sizeof value) ||
            !reads_set(sim, query, name, value))
            return false;
        at = stop;
    }
    return true;
}

static void reads_append_listed(struct state *state, struct buf *out, const struct state_list_contact *entry)
{
    char phone[PHONE_TEXT_BYTES];
    phone_format(entry->contact->phone, phone);
    buf_append_format(out, "{\"phone_number\":\"%s\",", phone);
    reads_append_membership(out, entry);
    buf_append_str(out, ",\"signup_method\":\"api\",");
    reads_append_phone_facts(state, out, entry->contact);
    buf_append_str(out, ",\"revenue_total\":0,\"conversion_count\":0,\"last_sent_at\":null,"
                        "\"last_clicked_at\":null,\"in_workflow\":");
    buf_append_bool(out, entry->journeys > 0);
    buf_append_str(out, "}");
}

void reads_perform_list(struct sim *sim, struct call *call)
{
    struct reads_query query;
    if (!reads_parse_query(sim, call, &query)) {
        struct api_refusal refusal;
        api_refuse(&refusal, 400, "invalid_field", "The query is not valid");
        api_answer_refusal(call, &refusal);
        return;
    }
    size_t count;
    assert(query.page && query.per_page);
    struct state_list_contact *const *entries = state_newest_first(&sim->state, &count);
    uint64_t total = 0;
    uint64_t first = (uint64_t)(query.page - 1) * query.per_page;
    buf_append_str(&call->answer, "{\"contacts\":[");
    for (size_t i = 0; i < count; i++) {
        if ((query.list && entries[i]->list != query.list) ||
            (query.active >= 0 && entries[i]->active != (bool)query.active))
            continue;
        if (total >= first && total < first + query.per_page) {
            if (total > first)
                buf_append_str(&call->answer, ",");
            reads_append_listed(&sim->state, &call->answer, entries[i]);
        }
        total++;
    }
    buf_append_format(&call->answer,
                      "],\"pagination\":{\"page\":%u,\"per_page\":%u,\"total\":%llu,\"total_pages\":%llu}}",
                      query.page, query.per_page, (unsigned long long)total,
                      (unsigned long long)((total + query.per_page - 1) / query.per_page));
    call->status = 200;
}
