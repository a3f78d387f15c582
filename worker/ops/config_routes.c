/* The section `routes`: conditions, and what the first route that holds chooses. */
#include "config_grammar.h"
#include "config_tree.h"

#include "signup/event/phone.h"

#include <ctype.h>
#include <string.h>

#define NAME_BYTES_MAX 128
#define CONDITIONS_MAX 256   /* values of one condition */
#define CUSTOM_FIELDS_MAX 64 /* of a route */
#define URL_BYTES_MAX 1024
#define SOURCE_BYTES_MAX 128

static const char *const route_words[] = {CONFIG_ROUTE_KEYS(CONFIG_GRAMMAR_WORD) NULL};
static const char *const when_words[] = {CONFIG_WHEN_KEYS(CONFIG_GRAMMAR_WORD) NULL};

/* ------------------------------------------------------------------ conditions */

static bool take_topic(const struct config_spot *at, struct slice *out)
{
    struct slice text;
    return config_take_text(at, 1, 249, "a topic", &text) && config_take_topic(at, at->node->line, text, out);
}

static bool take_url(const struct config_spot *at, struct slice *out)
{
    char quoted[CONFIG_QUOTED_BYTES];
    if (!config_take_text(at, 1, URL_BYTES_MAX, "a pattern, like \"*.example.com/ca/*\"", out))
        return false;
    config_quote(*out, quoted);
    if (memchr(out->ptr, ' ', out->len)) {
        config_spot_complain(at, "%s has a blank, which no address has; write %%20", quoted);
        return false;
    }
    if (strpbrk(out->ptr, "?#")) {
        config_spot_complain(
            at, "%s has a query or a fragment, but host and path alone are compared; leave it out", quoted);
        return false;
    }
    return true;
}

static bool take_source(const struct config_spot *at, struct slice *out)
{
    return config_take_text(at, 1, SOURCE_BYTES_MAX, "an ad network, like facebook", out);
}

static bool take_country(const struct config_spot *at, struct slice *out)
{
    char quoted[CONFIG_QUOTED_BYTES];
    struct slice text;
    if (!config_take_text(at, 1, 64, "a country, like CA", &text))
        return false;
    char country[3] = {(char)toupper((unsigned char)text.ptr[0]), (char)toupper((unsigned char)text.ptr[1]),
                       0};
    config_quote(text, quoted);
    if (text.len == 2 && phone_country_known(country))
        return config_tree_copy(at->loader, (struct slice){country, 2}, out);
    if (at->node->plain && text.len <= 5 && (slice_is(text, "false") || slice_is(text, "no")))
        config_spot_complain(at, "%s is not a country; Norway is written \"NO\"", quoted);
    else
        config_spot_complain(at, "%s is not a country; write two letters of ISO 3166, like US", quoted);
    return false;
}

/* One value, or a list of them. */
static void values_read(const struct config_spot *at,
                        bool (*take)(const struct config_spot *at, struct slice *out),
                        const struct slice **items, size_t *count)
{
    bool is_list = at->node->kind == CONFIG_NODE_LIST;
    size_t wanted = is_list ? at->node->count : 1;
    *items = NULL;
    *count = 0;
    if (!wanted || wanted > CONDITIONS_MAX) {
        config_spot_complain(at, "has %zu values; write 1 to %d, or leave the condition out", wanted,
                             CONDITIONS_MAX);
        return;
    }
    struct slice *values = config_tree_alloc(at->loader, wanted, sizeof *values);
    if (!values)
        return;
    if (!is_list)
        *count = take(at, values);
    for (const struct config_node *node = is_list ? at->node->children : NULL; node; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        *count += take(&child, &values[*count]);
    }
    *items = values;
}

static void when_read(const struct config_spot *at, struct event_route *out)
{
    if (!config_is_map(at, "conditions, like {country: CA}"))
        return;
    for (const struct config_node *node = at->node->children; node; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        int key = config_take_key(&child, when_words);
        if (node->kind == CONFIG_NODE_BAD)
            continue;
        switch (key) {
        case CONFIG_WHEN_TOPIC: values_read(&child, take_topic, &out->topics, &out->topic_count); break;
        case CONFIG_WHEN_URL: values_read(&child, take_url, &out->urls, &out->url_count); break;
        case CONFIG_WHEN_AD_NETWORK_SOURCE:
            values_read(&child, take_source, &out->ad_network_sources, &out->ad_network_source_count);
            break;
        case CONFIG_WHEN_COUNTRY:
            values_read(&child, take_country, &out->countries, &out->country_count);
            break;
        default: break;
        }
    }
}

/* ------------------------------------------------------------------ choices */

static void flag_read(const struct config_spot *at, enum event_flag *out)
{
    bool value;
    if (config_take_bool(at, &value))
        *out = value ? EVENT_FLAG_TRUE : EVENT_FLAG_FALSE;
}

static void custom_fields_read(const struct config_spot *at, struct event_route *out)
{
    if (!config_is_map(at, "custom fields, like {campaign: winter}"))
        return;
    if (at->node->count > CUSTOM_FIELDS_MAX) {
        config_spot_complain(at, "has %zu custom fields; %d are taken", at->node->count, CUSTOM_FIELDS_MAX);
        return;
    }
    struct event_custom_field *items = config_tree_alloc(at->loader, at->node->count, sizeof *items);
    for (const struct config_node *node = at->node->children; node && items; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        struct event_custom_field *item = &items[out->custom_field_count];
        bool named = config_take_field_name(&child, node->name, &item->name);
        if (node->kind != CONFIG_NODE_BAD && config_take_constant(&child, &item->value))
            out->custom_field_count += named;
    }
    out->custom_fields = items;
}

static void key_read(const struct config_spot *at, struct event_route *out)
{
    int key = config_take_key(at, route_words);
    if (at->node->kind == CONFIG_NODE_BAD)
        return;
    switch (key) {
    case CONFIG_ROUTE_NAME:
        (void)config_take_text(at, 1, NAME_BYTES_MAX, "a name, like california", &out->name);
        break;
    case CONFIG_ROUTE_WHEN: when_read(at, out); break;
    case CONFIG_ROUTE_LIST_NUMBER: (void)config_take_list_number(at, &out->list_number); break;
    case CONFIG_ROUTE_USE_JOURNEYS: flag_read(at, &out->use_journeys); break;
    case CONFIG_ROUTE_SKIP_JOURNEY_IF_EXISTS: flag_read(at, &out->skip_journey_if_exists); break;
    case CONFIG_ROUTE_VALIDATION: (void)config_take_mode(at, &out->validation); break;
    case CONFIG_ROUTE_CUSTOM_FIELDS: custom_fields_read(at, out); break;
    case CONFIG_ROUTE_OVERRIDE: (void)config_take_bool(at, &out->override); break;
    default: break;
    }
}

static bool always_holds(const struct event_route *route)
{
    return !route->topic_count && !route->url_count && !route->ad_network_source_count &&
           !route->country_count;
}

static void route_read(const struct config_spot *at, struct event_route *out)
{
    unsigned before = at->loader->complaints;
    char name[32];
    *out = (struct event_route){.use_journeys = EVENT_FLAG_UNSET,
                                .skip_journey_if_exists = EVENT_FLAG_UNSET,
                                .validation = EVENT_VALIDATION_UNSET};
    if (at->node->kind != CONFIG_NODE_MAP) {
        config_spot_refuse(at, "its keys, like list_number: \"+18005550101\"");
        return;
    }
    for (const struct config_node *node = at->node->children; node; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        key_read(&child, out);
    }
    (void)snprintf(name, sizeof name, "route %zu", at->number);
    if (!slice_present(out->name))
        (void)config_tree_copy(at->loader, slice_from_str(name), &out->name);
    if (at->node->next && always_holds(out) && at->loader->complaints == before)
        config_spot_complain(
            at, "holds always, so no route behind it ever does; write its conditions, or put it last");
}

static bool name_is_taken(const struct config_routes *routes, struct slice name)
{
    for (size_t i = 0; i < routes->count; i++)
        if (slice_equal(routes->items[i].name, name))
            return true;
    return false;
}

void config_read_routes(const struct config_spot *at)
{
    struct config_routes *out = config_field(at->loader->config, at->key);
    if (at->node->kind == CONFIG_NODE_NULL)
        return;
    if (at->node->kind != CONFIG_NODE_LIST) {
        config_spot_refuse(at, "a list: each route behind a dash, with its keys indented below, or []");
        return;
    }
    if (at->node->count > (size_t)at->key->max) {
        config_spot_complain(at, "has %zu routes; %lld are taken", at->node->count, (long long)at->key->max);
        return;
    }
    size_t number = 0;
    out->items = config_tree_alloc(at->loader, at->node->count, sizeof *out->items);
    for (const struct config_node *node = at->node->children; node && out->items; node = node->next) {
        struct config_spot child = config_spot_in(at, node, ++number);
        struct event_route route;
        if (node->kind == CONFIG_NODE_BAD)
            continue;
        route_read(&child, &route);
        if (slice_present(route.name) && name_is_taken(out, route.name))
            config_spot_complain(&child, "has the name of another route; give it one of its own");
        out->items[out->count++] = route;
    }
}
