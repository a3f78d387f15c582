/* The section `mapping`: by topic, which profile its bytes have, and which expression fills which of our
 * fields. */
#include "config_grammar.h"
#include "config_tree.h"

#include <assert.h>
#include <string.h>

#define FIELDS_MAX 256        /* of a topic */
#define PARTS_MAX 32          /* of first_of and join */
#define EXPRESSIONS_MAX 16384 /* of the whole mapping, transforms within transforms counted */
#define POINTER_BYTES 1024
#define POINTER_TOKENS_MAX 64
#define HEADER_BYTES 249
#define JOINT_BYTES 64

static const char *const shape_words[] = {CONFIG_SHAPE_KEYS(CONFIG_GRAMMAR_WORD) NULL};
static const char *const transform_words[] = {CONFIG_TRANSFORMS(CONFIG_GRAMMAR_WORD) NULL};
static const char *const unmapped_words[] = {"ignore", "custom_fields", NULL}; /* as enum event_unmapped */
static const char *const part_words[] = {"first", "last", NULL};

#define PROFILE_WORD(name, text) text,
static const char *const profile_words[] = {EVENT_PROFILES(PROFILE_WORD) NULL};

/* What the field that is filled asks of its expression. */
struct aim {
    enum event_field field;
    bool member; /* of an object */
    bool whole;  /* the value is the field's as it stands, not a part of a joined text */
};

static bool expression_read(const struct config_spot *at, const struct aim *aim, unsigned depth,
                            struct event_expression *out);

/* ------------------------------------------------------------------ sources */

static bool pointer_read(const struct config_spot *at, struct event_pointer *out)
{
    struct config_loader *loader = at->loader;
    struct slice text = at->node->text;
    char quoted[CONFIG_QUOTED_BYTES];
    const char *why = NULL;
    size_t tokens = 0;
    config_quote(text, quoted);
    for (size_t i = 0; i < text.len; i++)
        tokens += text.ptr[i] == '/';
    if (text.len > POINTER_BYTES || tokens > POINTER_TOKENS_MAX) {
        config_spot_complain(at, "%s is too long for a pointer; %d bytes and %d steps are taken", quoted,
                             POINTER_BYTES, POINTER_TOKENS_MAX);
        return false;
    }
    if (text.len && text.ptr[0] != '/') {
        config_spot_complain(at, "%s is no JSON pointer; write one like /contact/phone, or {constant: %s}",
                             quoted, quoted);
        return false;
    }
    if (event_pointer_parse(&loader->config->arena, text, out, &why))
        return true;
    config_spot_complain(at, "%s is no JSON pointer: %s; write one like /contact/phone", quoted,
                         why ? why : "it cannot be read");
    return false;
}

static bool is_flag(enum event_field field)
{
    return field == EVENT_USE_JOURNEYS || field == EVENT_SKIP_JOURNEY_IF_EXISTS ||
           field == EVENT_OVERRIDE_CUSTOM_FIELDS || field == EVENT_USE_VALIDATION || field == EVENT_FORCE;
}

/* A constant that the field could never take would kill every event of the topic. */
static bool constant_fits(const struct config_spot *at, const struct aim *aim,
                          struct event_constant *constant)
{
    static const char *const switches[] = {"true", "false", "yes", "no", "1", "0", NULL};
    if (aim->member || !aim->whole)
        return true;
    if (aim->field == EVENT_LIST_NUMBER) {
        struct slice e164;
        if (!config_take_phone(at, constant->text, &e164))
            return false;
        *constant = (struct event_constant){.kind = EVENT_CONSTANT_TEXT, .text = e164};
        return true;
    }
    if (is_flag(aim->field)) {
        if (config_word_find(switches, constant->text) >= 0)
            return true;
        config_spot_complain(at, "the field is a switch; write true or false");
        return false;
    }
    return true;
}

static bool constant_read(const struct config_spot *at, const struct aim *aim, struct event_expression *out)
{
    out->operation = EVENT_CONSTANT;
    return config_take_constant(at, &out->constant) && constant_fits(at, aim, &out->constant);
}

/* ------------------------------------------------------------------ transforms */

static bool parts_read(const struct config_spot *at, const struct aim *aim, unsigned depth,
                       struct event_expression *out)
{
    if (at->node->kind != CONFIG_NODE_LIST) {
        config_spot_refuse(at, "a list, like [/form, /id]");
        return false;
    }
    if (!at->node->count || at->node->count > PARTS_MAX) {
        config_spot_complain(at, "has %zu parts; write 1 to %d", at->node->count, PARTS_MAX);
        return false;
    }
    struct event_expression *parts = config_tree_alloc(at->loader, at->node->count, sizeof *parts);
    size_t number = 0;
    bool good = parts != NULL;
    for (const struct config_node *node = at->node->children; node && parts; node = node->next) {
        struct config_spot child = config_spot_in(at, node, number + 1);
        good = expression_read(&child, aim, depth, &parts[number++]) && good;
    }
    out->parts = parts;
    out->part_count = number;
    return good;
}

static bool part_read(const struct config_spot *at, const struct aim *aim, unsigned depth,
                      struct event_expression *out)
{
    struct event_expression *part = config_tree_alloc(at->loader, 1, sizeof *part);
    out->parts = part;
    out->part_count = 1;
    return part && expression_read(at, aim, depth, part);
}

static const struct config_node *child_find(const struct config_node *map, const char *name)
{
    for (const struct config_node *node = map->children; node; node = node->next)
        if (slice_is(node->name, name))
            return node;
    return NULL;
}

static bool join_read(const struct config_spot *map, const struct config_spot *at, const struct aim *aim,
                      unsigned depth, struct event_expression *out)
{
    const struct aim part_aim = {aim->field, aim->member, false};
    const struct config_node *with = child_find(map->node, "with");
    bool good = true;
    out->operation = EVENT_JOIN;
    if (with) {
        struct config_spot spot = config_spot_in(map, with, 0);
        good = config_take_text(&spot, 0, JOINT_BYTES, "the text that stands between the parts, like \"-\"",
                                &out->text);
    } else {
        good = config_tree_copy(map->loader, SLICE_LITERAL(" "), &out->text);
    }
    return parts_read(at, &part_aim, depth, out) && good;
}

static bool split_name_read(const struct config_spot *map, const struct config_spot *at,
                            const struct aim *aim, unsigned depth, struct event_expression *out)
{
    const struct aim part_aim = {aim->field, aim->member, false};
    const struct config_node *part = child_find(map->node, "part");
    int which = -1;
    if (part) {
        struct config_spot spot = config_spot_in(map, part, 0);
        if (!config_take_word(&spot, part_words, &which))
            which = -1;
    } else {
        config_spot_complain(at,
                             "does not say which part; write {split_name: …, part: first}, or part: last");
    }
    out->operation = which == 1 ? EVENT_LAST_NAME : EVENT_FIRST_NAME;
    return part_read(at, &part_aim, depth, out) && which >= 0;
}

static bool transform_read(enum config_transform which, const struct config_spot *map,
                           const struct config_spot *at, const struct aim *aim, unsigned depth,
                           struct event_expression *out)
{
    const struct aim text_aim = {aim->field, aim->member, false};
    switch (which) {
    case CONFIG_TRANSFORM_CONSTANT: return constant_read(at, aim, out);
    case CONFIG_TRANSFORM_HEADER:
        out->operation = EVENT_HEADER;
        return config_take_text(at, 1, HEADER_BYTES, "the name of a header, like x-gclid", &out->text);
    case CONFIG_TRANSFORM_FIRST_OF: out->operation = EVENT_FIRST_OF; return parts_read(at, aim, depth, out);
    case CONFIG_TRANSFORM_JOIN: return join_read(map, at, aim, depth, out);
    case CONFIG_TRANSFORM_LOWERCASE:
        out->operation = EVENT_LOWERCASE;
        return part_read(at, &text_aim, depth, out);
    default: assert(which == CONFIG_TRANSFORM_SPLIT_NAME); return split_name_read(map, at, aim, depth, out);
    }
}

/* `with` belongs to join, `part` to split_name. */
static bool option_fits(const struct config_spot *at, enum config_transform option, int transform)
{
    enum config_transform owner =
        option == CONFIG_TRANSFORM_WITH ? CONFIG_TRANSFORM_JOIN : CONFIG_TRANSFORM_SPLIT_NAME;
    if (transform == (int)owner)
        return true;
    config_spot_complain_name(at, "belongs to %s; leave it out", transform_words[owner]);
    return false;
}

/* One transform with its options. Every word of the map is looked at before the transform itself. */
static bool map_read(const struct config_spot *at, const struct aim *aim, unsigned depth,
                     struct event_expression *out)
{
    const struct config_node *chosen = NULL;
    int transform = -1;
    bool good = true;
    for (const struct config_node *node = at->node->children; node; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        int word = config_take_key(&child, transform_words);
        good = good && word >= 0;
        if (word < 0 || word >= CONFIG_TRANSFORM_WITH)
            continue;
        if (chosen) {
            config_spot_complain_name(&child,
                                      "stands beside %s; write one transform, and put the other into it",
                                      transform_words[transform]);
            good = false;
            continue;
        }
        chosen = node;
        transform = word;
    }
    for (const struct config_node *node = at->node->children; node && chosen; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        if (slice_is(node->name, "with") || slice_is(node->name, "part"))
            good = option_fits(&child,
                               slice_is(node->name, "with") ? CONFIG_TRANSFORM_WITH : CONFIG_TRANSFORM_PART,
                               transform) &&
                   good;
    }
    if (!chosen) {
        if (good)
            config_spot_complain(at, "says nothing; write a pointer like /contact/phone, or a transform like "
                                     "{first_of: [/a, /b]}");
        return false;
    }
    struct config_spot child = config_spot_in(at, chosen, 0);
    return transform_read((enum config_transform)transform, at, &child, aim, depth, out) && good;
}

static bool expression_read(const struct config_spot *at, const struct aim *aim, unsigned depth,
                            struct event_expression *out)
{
    struct config_loader *loader = at->loader;
    if (depth == EVENT_EXPRESSION_DEPTH_MAX) {
        config_spot_complain(at, "nests deeper than %d transforms; write a flatter one",
                             EVENT_EXPRESSION_DEPTH_MAX);
        return false;
    }
    if (++loader->expressions == EXPRESSIONS_MAX + 1)
        config_spot_complain(at, "the mapping has more than %d parts in all; write fewer", EXPRESSIONS_MAX);
    if (loader->expressions > EXPRESSIONS_MAX)
        return false;
    switch (at->node->kind) {
    case CONFIG_NODE_TEXT: out->operation = EVENT_POINTER; return pointer_read(at, &out->pointer);
    case CONFIG_NODE_MAP: return map_read(at, aim, depth + 1, out);
    case CONFIG_NODE_LIST:
        config_spot_complain(at, "found a list; write {first_of: […]} or {join: […]}");
        return false;
    default:
        config_spot_refuse(at, "a pointer like /contact/phone, or a transform like {constant: x}");
        return false;
    }
}

/* ------------------------------------------------------------------ fields */

/* What a whole object can come from. */
static bool gives_object(const struct event_expression *expression)
{
    if (expression->operation == EVENT_FIRST_OF) {
        for (size_t i = 0; i < expression->part_count; i++)
            if (!gives_object(&expression->parts[i]))
                return false;
        return true;
    }
    return expression->operation == EVENT_POINTER;
}

static bool tells_events_apart(const struct event_expression *expression)
{
    if (expression->operation == EVENT_POINTER || expression->operation == EVENT_HEADER)
        return true;
    for (size_t i = 0; i < expression->part_count; i++)
        if (tells_events_apart(&expression->parts[i]))
            return true;
    return false;
}

static void complain_unknown_field(const struct config_spot *at, struct slice name, bool has_member)
{
    const char *known[EVENT_FIELD_COUNT + 1] = {NULL};
    char list[320];
    for (int field = 0; field < EVENT_FIELD_COUNT; field++)
        known[field] = event_field_str((enum event_field)field);
    struct slice word;
    const char *meant =
        config_tree_copy(at->loader, name, &word) ? config_nearest_word(word.ptr, known) : NULL;
    config_words_join(known, " and ", list, sizeof list);
    if (meant)
        config_spot_complain_name(at, "unknown field; did you mean %s?", meant);
    else if (has_member)
        config_spot_complain_name(
            at, "unknown field; members are those of custom_fields, consent and attribution");
    else
        config_spot_complain_name(
            at, "unknown field; there are %s; a custom field is written custom_fields.NAME: …", list);
}

/* "url" or "custom_fields.city" */
static bool target_read(const struct config_spot *at, struct event_assignment *out)
{
    struct slice name = at->node->name;
    const char *dot = memchr(name.ptr, '.', name.len);
    struct slice field = {name.ptr, dot ? (size_t)(dot - name.ptr) : name.len};
    if (!event_field_parse(field, &out->field)) {
        complain_unknown_field(at, field, dot != NULL);
        return false;
    }
    if (!dot)
        return true;
    if (out->field < EVENT_FIRST_OBJECT) {
        config_spot_complain_name(at, "%s has no members; write %s alone", event_field_str(out->field),
                                  event_field_str(out->field));
        return false;
    }
    return config_take_field_name(at, (struct slice){dot + 1, name.len - field.len - 1}, &out->member);
}

static bool assignment_read(const struct config_spot *at, struct event_assignment *out)
{
    if (!target_read(at, out))
        return false;
    bool member = slice_present(out->member);
    const struct aim aim = {out->field, member, true};
    if (!expression_read(at, &aim, 0, &out->expression))
        return false;
    if (out->field >= EVENT_FIRST_OBJECT && !member && !gives_object(&out->expression)) {
        config_spot_complain(at, "is an object; point to one, or fill its members, like %s.NAME",
                             event_field_str(out->field));
        return false;
    }
    if (out->field == EVENT_EVENT_ID && !tells_events_apart(&out->expression)) {
        config_spot_complain(at,
                             "is the same for every event; point to what tells them apart, or leave it out");
        return false;
    }
    return true;
}

static void fields_read(const struct config_spot *at, struct event_topic *out)
{
    if (!config_is_map(at, "our fields below it, indented, like phone_number: /contact/phone"))
        return;
    if (at->node->count > FIELDS_MAX) {
        config_spot_complain(at, "has %zu fields; %d are taken", at->node->count, FIELDS_MAX);
        return;
    }
    struct event_assignment *items = config_tree_alloc(at->loader, at->node->count, sizeof *items);
    for (const struct config_node *node = at->node->children; node && items; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        struct event_assignment *item = &items[out->assignment_count];
        if (node->kind != CONFIG_NODE_BAD && assignment_read(&child, item))
            out->assignment_count++;
        else
            *item = (struct event_assignment){0};
    }
    out->assignments = items;
}

/* ------------------------------------------------------------------ topics */

static bool assigns(const struct event_topic *topic, enum event_field field)
{
    for (size_t i = 0; i < topic->assignment_count; i++)
        if (topic->assignments[i].field == field)
            return true;
    return false;
}

/* Of plain JSON nothing is read but what is mapped: without a phone number every event would be dead. */
static void complain_phoneless(const struct config_spot *at, const struct event_topic *topic)
{
    if (topic->profile == EVENT_PROFILE_JSON && !assigns(topic, EVENT_PHONE_NUMBER) &&
        !assigns(topic, EVENT_PHONE))
        config_spot_complain_name(at, "nothing says where the phone number is; write fields: {phone_number: "
                                      "…}, or another profile than json");
}

static void topic_read(const struct config_spot *at, struct event_topic *out)
{
    unsigned before = at->loader->complaints;
    bool has_profile = false;
    bool has_fields = false;
    if (!config_is_map(at, "profile, fields and unmapped below it, indented"))
        return;
    for (const struct config_node *node = at->node->children; node; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        int word = -1;
        switch (config_take_key(&child, shape_words)) {
        case CONFIG_SHAPE_PROFILE:
            has_profile = config_take_word(&child, profile_words, &word);
            out->profile = has_profile ? (enum event_profile)word : EVENT_PROFILE_API;
            break;
        case CONFIG_SHAPE_FIELDS:
            has_fields = true;
            fields_read(&child, out);
            break;
        case CONFIG_SHAPE_UNMAPPED:
            if (config_take_word(&child, unmapped_words, &word))
                out->unmapped = (enum event_unmapped)word;
            break;
        default: break;
        }
    }
    if (!has_profile)
        out->profile = has_fields ? EVENT_PROFILE_JSON : EVENT_PROFILE_API;
    if (at->loader->complaints == before)
        complain_phoneless(at, out);
}

void config_read_mapping(const struct config_spot *at)
{
    struct config_shapes *out = config_field(at->loader->config, at->key);
    if (!config_is_map(at, "the topics below it, indented, each with profile or fields"))
        return;
    if (at->node->count > (size_t)at->key->max) {
        config_spot_complain(at, "has %zu topics; %lld are taken", at->node->count, (long long)at->key->max);
        return;
    }
    out->items = config_tree_alloc(at->loader, at->node->count, sizeof *out->items);
    for (const struct config_node *node = at->node->children; node && out->items; node = node->next) {
        struct config_spot child = config_spot_in(at, node, 0);
        struct event_topic *topic = &out->items[out->count];
        bool known = config_take_topic(&child, node->name_line, node->name, &topic->topic);
        if (node->kind == CONFIG_NODE_BAD)
            continue;
        topic_read(&child, topic);
        out->count += known;
    }
}
