/* The shorter trees: dispositions of the gate, evidence of consent, query parameters, the validation mode by
 * list. */
#include "config_tree.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#define NAME_BYTES_MAX 64

/* What a gate knows (contacts-api.md, section 2). */
static const char *const dispositions[] = {"ok", "unreachable", "risky", "invalid", "unknown", NULL};
#define DISPOSITIONS (sizeof dispositions / sizeof dispositions[0] - 1)

/* What evidence there is beside the members of `consent`. */
static const enum event_field evidence[] = {EVENT_IP_ADDRESS, EVENT_URL, EVENT_SIGNUP_DATE,
                                            EVENT_AD_NETWORK_SOURCE, EVENT_AD_NETWORK_ID};
#define EVIDENCE (sizeof evidence / sizeof evidence[0])

/* The node is a list, or a map where `map` says so, of no more entries than the key takes. */
static bool is_shaped(const struct config_spot *at, bool map)
{
    if (at->node->kind == (map ? CONFIG_NODE_MAP : CONFIG_NODE_LIST)) {
        if (at->node->count <= (size_t)at->key->max)
            return true;
        config_spot_complain(at, "has %zu entries; %lld are taken", at->node->count, (long long)at->key->max);
        return false;
    }
    if (map && at->node->kind == CONFIG_NODE_NULL)
        return true;
    if (at->node->kind == CONFIG_NODE_NULL)
        config_spot_complain(at, "has no value; write a list, or leave the key out%s",
                             at->key->flags & CONFIG_EMPTY ? " ([] means none)" : "");
    else
        config_spot_refuse(at, map ? "a map of name: value, or {}" : "a list");
    return false;
}

/* ------------------------------------------------------------------ dispositions */

static int disposition_of(const struct config_spot *at, struct slice text)
{
    char known[128];
    char quoted[CONFIG_QUOTED_BYTES];
    int index = config_word_find(dispositions, text);
    if (index >= 0)
        return index;
    config_words_join(dispositions, " and ", known, sizeof known);
    config_quote(text, quoted);
    const char *meant = config_nearest_word(text.ptr, dispositions);
    if (meant)
        config_spot_complain(at, "%s is no disposition; did you mean %s?", quoted, meant);
    else
        config_spot_complain(at, "%s is no disposition; there are %s", quoted, known);
    return -1;
}

static void dispositions_from_list(const struct config_spot *at, bool passes[DISPOSITIONS])
{
    for (const struct config_node *node = at->node->children; node; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        int index = -1;
        if (node->kind == CONFIG_NODE_TEXT)
            index = disposition_of(&child, node->text);
        else
            config_spot_refuse(&child, "a disposition, like ok");
        if (index < 0)
            continue;
        if (passes[index])
            config_spot_complain(&child, "names %s twice; once is enough", dispositions[index]);
        passes[index] = true;
    }
}

/* What the map does not name stays as the default has it. */
static void dispositions_from_map(const struct config_spot *at, bool passes[DISPOSITIONS])
{
    struct config_spot fallback = *at;
    fallback.node = config_node_from_text(at->loader, at->key, slice_from_str(at->key->fallback), 0);
    if (!fallback.node)
        return;
    dispositions_from_list(&fallback, passes);
    for (const struct config_node *node = at->node->children; node; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        int index = disposition_of(&child, node->name);
        bool pass;
        if (config_take_bool(&child, &pass) && index >= 0)
            passes[index] = pass;
    }
}

void config_read_dispositions(const struct config_spot *at)
{
    struct config_slices *out = config_field(at->loader->config, at->key);
    bool passes[DISPOSITIONS] = {false};
    unsigned before = at->loader->complaints;
    if (at->node->kind == CONFIG_NODE_MAP)
        dispositions_from_map(at, passes);
    else if (is_shaped(at, false))
        dispositions_from_list(at, passes);
    out->items = config_tree_alloc(at->loader, DISPOSITIONS, sizeof *out->items);
    for (size_t i = 0; i < DISPOSITIONS && out->items; i++)
        if (passes[i])
            out->items[out->count++] = slice_from_str(dispositions[i]);
    if (!out->count && at->loader->complaints == before && at->node->kind != CONFIG_NODE_BAD)
        config_spot_complain(at, "lets no phone pass; write at least one, like [ok]");
}

/* ------------------------------------------------------------------ evidence of consent */

/* Members of `consent` are free: only what is surely no name of one, and what is surely misspelt, is
 * complained of. */
static bool take_evidence(const struct config_spot *at, struct slice text, struct slice *out)
{
    const char *known[EVIDENCE + 1] = {NULL};
    char quoted[CONFIG_QUOTED_BYTES];
    enum event_field field;
    config_quote(text, quoted);
    for (size_t i = 0; i < EVIDENCE; i++)
        known[i] = event_field_str(evidence[i]);
    int index = config_word_find(known, text);
    bool is_known = index >= 0 && slice_is(text, known[index]);
    const char *meant = index >= 0     ? known[index]
                        : text.len > 3 ? config_nearest_word(text.ptr, known)
                                       : NULL;
    bool clean = text.len > 0 && text.len <= NAME_BYTES_MAX;
    for (size_t i = 0; i < text.len; i++)
        clean = clean && (unsigned char)text.ptr[i] > ' ' && text.ptr[i] != 127;
    if (!clean)
        config_spot_complain(at, "%s is no name; write a word of 1 to %d bytes, like ip_address or text",
                             quoted, NAME_BYTES_MAX);
    else if (text.len > 8 && memcmp(text.ptr, "consent.", 8) == 0)
        config_spot_complain(at, "%s: members of consent are named alone; write %.*s", quoted,
                             (int)(text.len - 8), text.ptr + 8);
    else if (!is_known && event_field_parse(text, &field))
        config_spot_complain(at,
                             "%s is no evidence of consent; write ip_address, url, signup_date, "
                             "ad_network_source, ad_network_id, or a "
                             "member of consent like text",
                             quoted);
    else if (!is_known && meant)
        config_spot_complain(at, "%s is not known; did you mean %s?", quoted, meant);
    else
        return config_tree_copy(at->loader, text, out);
    return false;
}

/* Letters, digits and a few others: what a query's parameter is called without escapes. */
static bool take_parameter(const struct config_spot *at, struct slice text, struct slice *out)
{
    char quoted[CONFIG_QUOTED_BYTES];
    config_quote(text, quoted);
    bool clean = text.len > 0 && text.len <= NAME_BYTES_MAX;
    for (size_t i = 0; i < text.len; i++)
        clean = clean && (unsigned char)text.ptr[i] > ' ' && text.ptr[i] != 127 &&
                !strchr("=&#?%+;", text.ptr[i]);
    if (clean)
        return config_tree_copy(at->loader, text, out);
    config_spot_complain(at, "%s is no query parameter; write its name alone, like utm_source", quoted);
    return false;
}

static bool slices_have(const struct config_slices *list, struct slice text)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].len == text.len && strncasecmp(list->items[i].ptr, text.ptr, text.len) == 0)
            return true;
    return false;
}

static void read_slices(const struct config_spot *at,
                        bool (*take)(const struct config_spot *at, struct slice text, struct slice *out))
{
    struct config_slices *out = config_field(at->loader->config, at->key);
    if (!is_shaped(at, false))
        return;
    out->items = config_tree_alloc(at->loader, at->node->count, sizeof *out->items);
    for (const struct config_node *node = at->node->children; node && out->items; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        struct slice text;
        if (node->kind != CONFIG_NODE_TEXT)
            config_spot_refuse(&child, "plain text");
        else if (slices_have(out, node->text))
            config_spot_complain(&child, "names %s twice; once is enough", node->text.ptr);
        else if (take(&child, node->text, &text))
            out->items[out->count++] = text;
    }
}

void config_read_evidence(const struct config_spot *at)
{
    read_slices(at, take_evidence);
}

void config_read_parameters(const struct config_spot *at)
{
    read_slices(at, take_parameter);
}

/* ------------------------------------------------------------------ maps of names */

static const struct event_click_id *names_find(const struct config_names *names, struct slice name,
                                               struct slice value)
{
    for (size_t i = 0; i < names->count; i++) {
        const struct event_click_id *pair = &names->items[i];
        if ((slice_present(name) && pair->parameter.len == name.len &&
             strncasecmp(pair->parameter.ptr, name.ptr, name.len) == 0) ||
            (slice_present(value) && slice_equal(pair->source, value)))
            return pair;
    }
    return NULL;
}

void config_read_evidence_map(const struct config_spot *at)
{
    struct config_names *out = config_field(at->loader->config, at->key);
    if (!is_shaped(at, true))
        return;
    out->items = config_tree_alloc(at->loader, at->node->count, sizeof *out->items);
    for (const struct config_node *node = at->node->children; node && out->items; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        struct event_click_id pair = {0};
        if (node->kind != CONFIG_NODE_TEXT) {
            config_spot_refuse(&child, "the name of a custom field");
            continue;
        }
        if (!take_evidence(&child, node->name, &pair.parameter) ||
            !config_take_field_name(&child, node->text, &pair.source))
            continue;
        const struct event_click_id *taken = names_find(out, SLICE_ABSENT, pair.source);
        if (taken)
            config_spot_complain(&child, "fills the custom field %s, which %s fills already; name another",
                                 pair.source.ptr, taken->parameter.ptr);
        else
            out->items[out->count++] = pair;
    }
}

void config_read_parameter_map(const struct config_spot *at)
{
    struct config_names *out = config_field(at->loader->config, at->key);
    if (!is_shaped(at, true))
        return;
    out->items = config_tree_alloc(at->loader, at->node->count, sizeof *out->items);
    for (const struct config_node *node = at->node->children; node && out->items; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        struct event_click_id pair = {0};
        if (!config_take_text(&child, 1, NAME_BYTES_MAX, "the name of an ad network, like adwords",
                              &pair.source) ||
            !take_parameter(&child, node->name, &pair.parameter))
            continue;
        const struct event_click_id *taken = names_find(out, pair.parameter, SLICE_ABSENT);
        if (taken)
            config_spot_complain(&child, "is the same parameter as %s; keep one of them",
                                 taken->parameter.ptr);
        else
            out->items[out->count++] = pair;
    }
}

/* ------------------------------------------------------------------ modes by list */

void config_read_list_modes(const struct config_spot *at)
{
    struct config_list_modes *out = config_field(at->loader->config, at->key);
    if (!is_shaped(at, true))
        return;
    out->items = config_tree_alloc(at->loader, at->node->count, sizeof *out->items);
    for (const struct config_node *node = at->node->children; node && out->items; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        struct event_list_mode mode = {0};
        bool twice = false;
        if (!config_take_mode(&child, &mode.validation) ||
            !config_take_phone(&child, node->name, &mode.list_number))
            continue;
        for (size_t i = 0; i < out->count; i++)
            twice = twice || slice_equal(out->items[i].list_number, mode.list_number);
        if (twice)
            config_spot_complain(&child, "is the list %s, which has its mode already; keep one of them",
                                 mode.list_number.ptr);
        else
            out->items[out->count++] = mode;
    }
}

void config_read_trees(struct config_loader *loader)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT && !loader->out_of_memory; i++) {
        struct config_spot at = config_spot_of(loader, &config_keys[i]);
        if (!config_kind_is_tree(at.key->kind) || at.node->kind == CONFIG_NODE_BAD)
            continue;
        switch (at.key->kind) {
        case CONFIG_KIND_DISPOSITIONS: config_read_dispositions(&at); break;
        case CONFIG_KIND_EVIDENCE: config_read_evidence(&at); break;
        case CONFIG_KIND_PARAMETERS: config_read_parameters(&at); break;
        case CONFIG_KIND_EVIDENCE_MAP: config_read_evidence_map(&at); break;
        case CONFIG_KIND_PARAMETER_MAP: config_read_parameter_map(&at); break;
        case CONFIG_KIND_LIST_MODES: config_read_list_modes(&at); break;
        case CONFIG_KIND_MAPPING: config_read_mapping(&at); break;
        default: assert(at.key->kind == CONFIG_KIND_ROUTES); config_read_routes(&at);
        }
    }
}
