/* Conditions of routes, the cheap ones first: a country costs a look into the numbering plans and is only
 * asked for where all else holds. */
#include "route.h"

#include "clean.h"
#include "signup/event/phone.h"
#include "url.h"

#include <strings.h>

/* What conditions ask of the event, found out at most once. */
struct facts {
    struct slice source;
    bool address_known; /* reader->text holds the URL's host and path */
    bool country_known;
    char country[3];
};

static bool same_word(struct slice a, struct slice b)
{
    return a.len == b.len && strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

static bool is_one_of(struct slice text, const struct slice *words, size_t count, bool any_case)
{
    if (!slice_present(text))
        return false;
    for (size_t i = 0; i < count; i++) {
        if (any_case ? same_word(text, words[i]) : slice_equal(text, words[i]))
            return true;
    }
    return false;
}

static bool url_holds(struct reader *reader, const struct event_route *route, struct facts *facts)
{
    struct slice url = reader->out->url;
    /* A longer one fits into no contact: the event will die of it, and should not cost a search first. */
    if (!slice_present(url) || url.len > CONTACT_BYTES_MAX)
        return false;
    if (!facts->address_known) {
        buf_reset(&reader->text);
        url_append_address(&reader->text, url);
        facts->address_known = true;
    }
    if (!buf_ok(&reader->text)) {
        reader->full = true;
        return false;
    }
    for (size_t i = 0; i < route->url_count; i++) {
        if (url_matches(route->urls[i], buf_slice(&reader->text)))
            return true;
    }
    return false;
}

static bool country_holds(const struct reader *reader, const struct event_route *route, struct facts *facts)
{
    if (!facts->country_known) {
        phone_country(reader->out->phone_number, facts->country);
        facts->country_known = true;
    }
    struct slice country = {facts->country, strlen(facts->country)};
    return country.len && is_one_of(country, route->countries, route->country_count, true);
}

/* NULL: every condition holds. Otherwise what does not. */
static const char *objection(struct reader *reader, const struct event_route *route, struct facts *facts)
{
    if (route->topic_count && !is_one_of(reader->record->topic, route->topics, route->topic_count, false))
        return "not chosen: another topic";
    if (route->ad_network_source_count &&
        !is_one_of(facts->source, route->ad_network_sources, route->ad_network_source_count, true))
        return "not chosen: another ad_network_source";
    if (route->url_count && !url_holds(reader, route, facts))
        return "not chosen: another url";
    if (route->country_count && !country_holds(reader, route, facts))
        return "not chosen: another country";
    return NULL;
}

void route_choose(struct reader *reader)
{
    struct facts facts = {.source = clean_blanks(reader->out->ad_network_source)};
    for (size_t i = 0; i < reader->rules->route_count; i++) {
        const struct event_route *route = &reader->rules->routes[i];
        const char *why_not = objection(reader, route, &facts);
        reader_note(reader, "route", "", route->name, why_not ? why_not : "every condition holds");
        if (why_not)
            continue;
        reader->route = route;
        reader->out->route = reader_keep(reader, route->name);
        return;
    }
}
