/* What is in force, as YAML that reads back the same, without its secrets. */
#include "config_grammar.h"
#include "config_value.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Characters beyond ASCII that YAML reads raw as nothing, or as a line break (C1 controls, U+2028, U+2029, a
 * byte order mark, U+FFFE, U+FFFF): printed as an escape. Gives how many bytes of `text` they are. */
static size_t print_unreadable(FILE *out, const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    unsigned code;
    if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f) {
        (void)fprintf(out, "\\x%02x", c[1]);
        return 2;
    }
    if ((c[0] & 0xf0) != 0xe0 || (c[1] & 0xc0) != 0x80 || (c[2] & 0xc0) != 0x80)
        return 0;
    code = (c[0] & 0x0fU) << 12 | (c[1] & 0x3fU) << 6 | (c[2] & 0x3fU);
    if (code != 0x2028 && code != 0x2029 && code != 0xfeff && code != 0xfffe && code != 0xffff)
        return 0;
    (void)fprintf(out, "\\u%04x", code);
    return 3;
}

static void print_quoted(FILE *out, const char *text)
{
    (void)fputc('"', out);
    for (; *text; text++) {
        size_t used = print_unreadable(out, text);
        if (used) {
            text += used - 1;
            continue;
        }
        if ((unsigned char)*text < ' ' || *text == 127) {
            (void)fprintf(out, "\\x%02x", (unsigned)*text); /* YAML takes them in no other form */
            continue;
        }
        if (*text == '"' || *text == '\\')
            (void)fputc('\\', out);
        (void)fputc(*text, out);
    }
    (void)fputc('"', out);
}

/* A property of librdkafka that is not a secret is printed; what may be one is not. */
static bool property_is_secret(const char *name)
{
    static const char *const marks[] = {"password", "secret",      "pem",     "username",
                                        "token",    "oauthbearer", "ssl.key", "config"};
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if (strstr(name, marks[i]))
            return true;
    return false;
}

static void print_map(FILE *out, const struct config *config, const struct config_key *key,
                      const char *indent)
{
    if (key->kind == CONFIG_KIND_POLICY) {
        const struct policy *policy = config_field_const(config, key);
        for (size_t i = 0; i < policy->rule_count; i++) {
            const struct policy_rule *rule = &policy->rules[i];
            char status[16];
            (void)snprintf(status, sizeof status, "%d", rule->http_status);
            (void)fprintf(out, "\n%s  %s: %s", indent, rule->http_status ? status : rule->code,
                          verdict_str(rule->verdict));
        }
        (void)fputs(policy->rule_count ? "\n" : " {}\n", out);
        return;
    }
    const struct config_map *map = config_field_const(config, key);
    for (size_t i = 0; i < map->count; i++) {
        (void)fprintf(out, "\n%s  %s: ", indent, map->items[i].name);
        print_quoted(out, property_is_secret(map->items[i].name) ? "***" : map->items[i].value);
    }
    (void)fputs(map->count ? "\n" : " {}\n", out);
}

static void print_topics(FILE *out, const struct config_list *list)
{
    (void)fputs(" [", out);
    for (size_t i = 0; i < list->count; i++)
        (void)fprintf(out, "%s%s", i ? ", " : "", list->items[i]);
    (void)fputs("]\n", out);
}

/* ------------------------------------------------------------------ trees */

static const char *const shape_words[] = {CONFIG_SHAPE_KEYS(CONFIG_GRAMMAR_WORD)};
static const char *const transform_words[] = {CONFIG_TRANSFORMS(CONFIG_GRAMMAR_WORD)};
static const char *const route_words[] = {CONFIG_ROUTE_KEYS(CONFIG_GRAMMAR_WORD)};
static const char *const when_words[] = {CONFIG_WHEN_KEYS(CONFIG_GRAMMAR_WORD)};

static const char *mode_str(enum event_validation mode)
{
    return config_keys[CONFIG_ID_validation_mode].words[mode];
}

static void print_slices(FILE *out, const struct slice *items, size_t count)
{
    (void)fputc('[', out);
    for (size_t i = 0; i < count; i++) {
        (void)fputs(i ? ", " : "", out);
        print_quoted(out, items[i].ptr);
    }
    (void)fputc(']', out);
}

static void print_names(FILE *out, const struct config_names *names)
{
    (void)fputs(" {", out);
    for (size_t i = 0; i < names->count; i++) {
        (void)fputs(i ? ", " : "", out);
        print_quoted(out, names->items[i].parameter.ptr);
        (void)fputs(": ", out);
        print_quoted(out, names->items[i].source.ptr);
    }
    (void)fputs("}\n", out);
}

static void print_list_modes(FILE *out, const struct config_list_modes *modes)
{
    (void)fputs(" {", out);
    for (size_t i = 0; i < modes->count; i++) {
        (void)fputs(i ? ", " : "", out);
        print_quoted(out, modes->items[i].list_number.ptr);
        (void)fprintf(out, ": \"%s\"", mode_str(modes->items[i].validation));
    }
    (void)fputs("}\n", out);
}

/* As it was written: a number's text is that of the number. */
static void print_constant(FILE *out, const struct event_constant *constant)
{
    if (constant->kind == EVENT_CONSTANT_TEXT)
        print_quoted(out, constant->text.ptr);
    else
        (void)fputs(constant->text.ptr, out);
}

static enum config_transform transform_of(enum event_operation operation)
{
    switch (operation) {
    case EVENT_CONSTANT: return CONFIG_TRANSFORM_CONSTANT;
    case EVENT_HEADER: return CONFIG_TRANSFORM_HEADER;
    case EVENT_FIRST_OF: return CONFIG_TRANSFORM_FIRST_OF;
    case EVENT_JOIN: return CONFIG_TRANSFORM_JOIN;
    case EVENT_LOWERCASE: return CONFIG_TRANSFORM_LOWERCASE;
    default: return CONFIG_TRANSFORM_SPLIT_NAME;
    }
}

static void print_expression(FILE *out, const struct event_expression *expression)
{
    enum event_operation operation = expression->operation;
    bool list = operation == EVENT_FIRST_OF || operation == EVENT_JOIN;
    if (operation == EVENT_POINTER) {
        print_quoted(out, expression->pointer.text.ptr);
        return;
    }
    (void)fprintf(out, "{%s: %s", transform_words[transform_of(operation)], list ? "[" : "");
    if (operation == EVENT_CONSTANT)
        print_constant(out, &expression->constant);
    if (operation == EVENT_HEADER)
        print_quoted(out, expression->text.ptr);
    for (size_t i = 0; i < expression->part_count; i++) {
        (void)fputs(i ? ", " : "", out);
        print_expression(out, &expression->parts[i]);
    }
    (void)fputs(list ? "]" : "", out);
    if (operation == EVENT_JOIN) {
        (void)fprintf(out, ", %s: ", transform_words[CONFIG_TRANSFORM_WITH]);
        print_quoted(out, expression->text.ptr);
    }
    if (operation == EVENT_FIRST_NAME || operation == EVENT_LAST_NAME)
        (void)fprintf(out, ", %s: %s", transform_words[CONFIG_TRANSFORM_PART],
                      operation == EVENT_FIRST_NAME ? "first" : "last");
    (void)fputc('}', out);
}

static void print_assignment(FILE *out, const struct event_assignment *assignment)
{
    char name[512];
    bool member = slice_present(assignment->member);
    (void)snprintf(name, sizeof name, "%s%s%s", event_field_str(assignment->field), member ? "." : "",
                   member ? assignment->member.ptr : "");
    (void)fputs("\n      ", out);
    print_quoted(out, name);
    (void)fputs(": ", out);
    print_expression(out, &assignment->expression);
}

static void print_shapes(FILE *out, const struct config_shapes *shapes)
{
    for (size_t i = 0; i < shapes->count; i++) {
        const struct event_topic *topic = &shapes->items[i];
        (void)fputs("\n  ", out);
        print_quoted(out, topic->topic.ptr);
        (void)fprintf(out, ":\n    %s: %s", shape_words[CONFIG_SHAPE_PROFILE],
                      event_profile_str(topic->profile));
        if (topic->assignment_count)
            (void)fprintf(out, "\n    %s:", shape_words[CONFIG_SHAPE_FIELDS]);
        for (size_t k = 0; k < topic->assignment_count; k++)
            print_assignment(out, &topic->assignments[k]);
        (void)fprintf(out, "\n    %s: %s", shape_words[CONFIG_SHAPE_UNMAPPED],
                      topic->unmapped == EVENT_UNMAPPED_IGNORE ? "ignore" : "custom_fields");
    }
    (void)fputs(shapes->count ? "\n" : " {}\n", out);
}

static void print_when(FILE *out, const struct event_route *route)
{
    const struct {
        const struct slice *items;
        size_t count;
    } conditions[] = {
        [CONFIG_WHEN_TOPIC] = {route->topics, route->topic_count},
        [CONFIG_WHEN_URL] = {route->urls, route->url_count},
        [CONFIG_WHEN_AD_NETWORK_SOURCE] = {route->ad_network_sources, route->ad_network_source_count},
        [CONFIG_WHEN_COUNTRY] = {route->countries, route->country_count}};
    bool first = true;
    (void)fprintf(out, "\n    %s: {", route_words[CONFIG_ROUTE_WHEN]);
    for (size_t i = 0; i < sizeof conditions / sizeof conditions[0]; i++) {
        if (!conditions[i].count)
            continue;
        (void)fprintf(out, "%s%s: ", first ? "" : ", ", when_words[i]);
        print_slices(out, conditions[i].items, conditions[i].count);
        first = false;
    }
    (void)fputc('}', out);
}

static void print_flag(FILE *out, enum config_route_key key, enum event_flag flag)
{
    if (flag != EVENT_FLAG_UNSET)
        (void)fprintf(out, "\n    %s: %s", route_words[key], flag == EVENT_FLAG_TRUE ? "true" : "false");
}

static void print_route(FILE *out, const struct event_route *route)
{
    (void)fprintf(out, "\n  - %s: ", route_words[CONFIG_ROUTE_NAME]);
    print_quoted(out, route->name.ptr);
    print_when(out, route);
    if (slice_present(route->list_number))
        (void)fprintf(out, "\n    %s: \"%s\"", route_words[CONFIG_ROUTE_LIST_NUMBER], route->list_number.ptr);
    print_flag(out, CONFIG_ROUTE_USE_JOURNEYS, route->use_journeys);
    print_flag(out, CONFIG_ROUTE_SKIP_JOURNEY_IF_EXISTS, route->skip_journey_if_exists);
    if (route->validation != EVENT_VALIDATION_UNSET)
        (void)fprintf(out, "\n    %s: \"%s\"", route_words[CONFIG_ROUTE_VALIDATION],
                      mode_str(route->validation));
    if (route->custom_field_count)
        (void)fprintf(out, "\n    %s:", route_words[CONFIG_ROUTE_CUSTOM_FIELDS]);
    for (size_t i = 0; i < route->custom_field_count; i++) {
        (void)fputs("\n      ", out);
        print_quoted(out, route->custom_fields[i].name.ptr);
        (void)fputs(": ", out);
        print_constant(out, &route->custom_fields[i].value);
    }
    (void)fprintf(out, "\n    %s: %s", route_words[CONFIG_ROUTE_OVERRIDE],
                  route->override ? "true" : "false");
}

static void print_routes(FILE *out, const struct config_routes *routes)
{
    for (size_t i = 0; i < routes->count; i++)
        print_route(out, &routes->items[i]);
    (void)fputs(routes->count ? "\n" : " []\n", out);
}

static void print_tree(FILE *out, const struct config *config, const struct config_key *key)
{
    const void *field = config_field_const(config, key);
    const struct config_slices *slices = field;
    switch (key->kind) {
    case CONFIG_KIND_EVIDENCE_MAP:
    case CONFIG_KIND_PARAMETER_MAP: print_names(out, field); break;
    case CONFIG_KIND_LIST_MODES: print_list_modes(out, field); break;
    case CONFIG_KIND_MAPPING: print_shapes(out, field); break;
    case CONFIG_KIND_ROUTES: print_routes(out, field); break;
    default:
        assert(config_kind_is_tree_list(key->kind));
        (void)fputc(' ', out);
        print_slices(out, slices->items, slices->count);
        (void)fputc('\n', out);
    }
}

/* ------------------------------------------------------------------ keys */

static void print_scalar(FILE *out, const struct config *config, const struct config_key *key)
{
    char text[CONFIG_AMOUNT_BYTES];
    (void)fputc(' ', out);
    switch (key->kind) {
    case CONFIG_KIND_INTEGER:
    case CONFIG_KIND_DURATION:
    case CONFIG_KIND_BYTES:
    case CONFIG_KIND_BOOL:
        config_value_text(config, key, text, sizeof text);
        (void)fputs(text, out);
        break;
    case CONFIG_KIND_MONEY:
        config_value_text(config, key, text, sizeof text);
        print_quoted(out, text);
        break;
    case CONFIG_KIND_WORD:
        print_quoted(out, key->words[*(const int *)config_field_const(config, key)]);
        break;
    default: {
        const char *value = *(char *const *)config_field_const(config, key);
        char *masked = key->kind == CONFIG_KIND_DSN ? config_mask_dsn(value) : NULL;
        bool hide = (key->flags & CONFIG_SECRET) && value[0];
        print_quoted(out, masked ? masked : hide ? "***" : value);
        free(masked);
    }
    }
    (void)fputc('\n', out);
}

void config_print(const struct config *config, FILE *out)
{
    enum config_section_id section = CONFIG_SECTION_COUNT;
    const char *group = "";
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &config_keys[i];
        const char *dot = strchr(key->name, '.');
        if (key->section != section)
            (void)fprintf(out, "%s:%s", config_sections[key->section].name, key->name[0] ? "\n" : "");
        section = key->section;
        if (dot && strncmp(group, key->name, (size_t)(dot + 1 - key->name)) != 0)
            (void)fprintf(out, "  %.*s:\n", (int)(dot - key->name), key->name);
        group = dot ? key->name : "";
        if (key->name[0])
            (void)fprintf(out, "  %s%s:", dot ? "  " : "", dot ? dot + 1 : key->name);
        if (config_kind_is_tree(key->kind))
            print_tree(out, config, key);
        else if (config_kind_is_map(key->kind))
            print_map(out, config, key, key->name[0] ? "  " : "");
        else if (key->kind == CONFIG_KIND_TOPICS)
            print_topics(out, config_field_const(config, key));
        else
            print_scalar(out, config, key);
    }
}
