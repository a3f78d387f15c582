/* The values of several parts: lists, the map of properties, the map of verdicts. */
#include "config_value.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool config_list_append(struct config_list *list, struct slice text, struct config_wrong *wrong)
{
    for (size_t i = 0; i < list->count; i++)
        if (slice_is(text, list->items[i]))
            return config_fail(wrong, "names the topic %s twice; once is enough", list->items[i]);
    char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (!items)
        return config_fail_memory(wrong);
    list->items = items;
    items[list->count] = config_text_copy(text);
    if (!items[list->count])
        return config_fail_memory(wrong);
    list->count++;
    return true;
}

bool config_servers_append(char **field, int64_t max, struct slice text, struct config_wrong *wrong)
{
    size_t before = *field ? strlen(*field) : 0;
    if (before + 1 + text.len > (size_t)max)
        return config_fail(wrong, "has too many brokers; three to five are enough to find the others");
    char *joined = malloc(before + 1 + text.len + 1);
    if (!joined)
        return config_fail_memory(wrong);
    (void)snprintf(joined, before + text.len + 2, "%s%s%.*s", before ? *field : "", before ? "," : "",
                   (int)text.len, text.ptr);
    free(*field);
    *field = joined;
    return true;
}

const char *config_map_get(const struct config_map *map, const char *name)
{
    for (size_t i = 0; i < map->count; i++)
        if (strcmp(map->items[i].name, name) == 0)
            return map->items[i].value;
    return NULL;
}

static bool name_is_made_of(struct slice name, const char *others)
{
    for (size_t i = 0; i < name.len; i++)
        if (!islower((unsigned char)name.ptr[i]) && !isdigit((unsigned char)name.ptr[i]) &&
            (!name.ptr[i] || !strchr(others, name.ptr[i])))
            return false;
    return name.len > 0 && name.len < OUTCOME_CODE_BYTES;
}

static bool put_property(struct config_map *map, int64_t max, struct slice name, struct slice value,
                         bool replace, struct config_wrong *wrong)
{
    if (!name_is_made_of(name, "._-"))
        return config_fail(wrong, "is not the name of a librdkafka property; write it like "
                                  "security.protocol");
    if (memchr(value.ptr, '\0', value.len) || value.len > (size_t)max)
        return config_fail(wrong, "has a value that is too long or has a NUL character in it; write plain "
                                  "text");
    for (size_t i = 0; i < map->count; i++)
        if (slice_is(name, map->items[i].name))
            return replace ? config_text_replace(&map->items[i].value, value, wrong)
                           : config_fail(wrong, "is given twice; keep one of them");
    struct config_pair *items = realloc(map->items, (map->count + 1) * sizeof *items);
    if (!items)
        return config_fail_memory(wrong);
    map->items = items;
    struct config_pair pair = {config_text_copy(name), config_text_copy(value)};
    if (!pair.name || !pair.value) {
        free(pair.name);
        config_text_wipe(pair.value);
        return config_fail_memory(wrong);
    }
    items[map->count++] = pair;
    return true;
}

/* A status, or a code of letters; `rule` is empty before. */
static bool rule_read(struct slice name, struct policy_rule *rule, struct config_wrong *wrong)
{
    struct slice digits = name;
    int64_t status;
    if (config_take_number(&digits, &status) && !digits.len) {
        if (name.len != 3 || status < 100 || status > 599)
            return config_fail(wrong, "is not an HTTP status; write 100 to 599, or a code like not_sendable");
        rule->http_status = (int)status;
        return true;
    }
    if (!name_is_made_of(name, "_"))
        return config_fail(wrong, "is neither an HTTP status nor a code; write one like 402, or one like "
                                  "not_sendable");
    memcpy(rule->code, name.ptr, name.len);
    return true;
}

static bool put_rule(struct policy *policy, int64_t max, struct slice name, struct slice value, bool replace,
                     struct config_wrong *wrong)
{
    struct policy_rule rule = {0};
    char text[16] = "";
    char quoted[CONFIG_QUOTED_BYTES];
    config_quote(value, quoted);
    if (!rule_read(name, &rule, wrong))
        return false;
    if (value.len < sizeof text)
        memcpy(text, value.ptr, value.len);
    if (value.len >= sizeof text || !verdict_parse(text, &rule.verdict))
        return config_fail(wrong, "%s is not a verdict; write accepted, retry, hold or dead", quoted);
    struct policy_rule *rules =
        (struct policy_rule *)policy->rules; /* ours: it borrows from the config itself */
    for (size_t i = 0; i < policy->rule_count; i++)
        if (rules[i].http_status == rule.http_status && strcmp(rules[i].code, rule.code) == 0) {
            if (!replace)
                return config_fail(wrong, "is given twice; keep one of them");
            rules[i] = rule;
            return true;
        }
    if (policy->rule_count >= (size_t)max)
        return config_fail(wrong, "is one rule too many; %" PRId64 " are taken", max);
    rules = realloc(rules, (policy->rule_count + 1) * sizeof *rules);
    if (!rules)
        return config_fail_memory(wrong);
    rules[policy->rule_count++] = rule;
    policy->rules = rules;
    return true;
}

bool config_value_put(struct config *config, const struct config_key *key, struct slice name,
                      struct slice value, bool replace, struct config_wrong *wrong)
{
    void *field = config_field(config, key);
    if (key->kind == CONFIG_KIND_PROPERTIES)
        return put_property(field, key->max, name, value, replace, wrong);
    assert(key->kind == CONFIG_KIND_POLICY);
    return put_rule(field, key->max, name, value, replace, wrong);
}

void config_list_clear(struct config_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct config_list){0};
}

void config_map_clear(struct config_map *map)
{
    for (size_t i = 0; i < map->count; i++) {
        free(map->items[i].name);
        config_text_wipe(map->items[i].value);
    }
    free(map->items);
    *map = (struct config_map){0};
}
