/* From YAML events to fields. Every node is looked at where it stands, so that every complaint has its line;
 * a node that is wrong is skipped and the reading goes on, so that all complaints of a file come in one go.
 */
#include "config_tree.h"

#include <inttypes.h>
#include <string.h>
#include <yaml.h>

struct yaml_reader {
    struct config_loader *loader;
    const char *bytes;
    size_t len;
    yaml_parser_t parser;
    yaml_event_t event; /* the present one; deleted by the next step */
    bool broken;        /* the file is no YAML from here on */
};

static unsigned line_of(const yaml_event_t *event)
{
    return (unsigned)event->start_mark.line + 1;
}

/* ------------------------------------------------------------------ steps */

static unsigned line_of_offset(const struct yaml_reader *reader, size_t offset)
{
    unsigned line = 1;
    for (size_t i = 0; i < offset && i < reader->len; i++)
        line += reader->bytes[i] == '\n';
    return line;
}

/* True when the line (from 1) is indented with a tab: the mistake behind half of YAML's errors. */
static bool line_has_tab(const struct yaml_reader *reader, unsigned line)
{
    unsigned now = 1;
    bool indent = true;
    for (size_t i = 0; i < reader->len && now <= line; i++) {
        char c = reader->bytes[i];
        if (c == '\n') {
            now++;
            indent = true;
        } else if (now == line && indent && c == '\t') {
            return true;
        } else if (c != ' ') {
            indent = false;
        }
    }
    return false;
}

static void complain_broken(struct yaml_reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    struct config_loader *loader = reader->loader;
    reader->broken = true;
    if (parser->error == YAML_MEMORY_ERROR) {
        loader->out_of_memory = true;
        return;
    }
    if (parser->error == YAML_READER_ERROR) {
        config_complain(loader, line_of_offset(reader, parser->problem_offset), "not readable as YAML",
                        "%s; save the file as UTF-8 text", parser->problem);
        return;
    }
    unsigned line = (unsigned)parser->problem_mark.line + 1;
    if (line_has_tab(reader, line)) {
        config_complain(loader, line, "not readable as YAML", "the line is indented with a tab; use spaces");
        return;
    }
    /* The scanner notices some mistakes only at a later token: it says then where the thing began. */
    unsigned began = parser->context ? (unsigned)parser->context_mark.line + 1 : line;
    if (began != line)
        config_complain(loader, line, "not readable as YAML",
                        "%s (%s that begins in line %u); look for a colon, a quote or an "
                        "indentation that is missing",
                        parser->problem, parser->context, began);
    else
        config_complain(loader, line, "not readable as YAML",
                        "%s; look for a colon, a quote or an indentation that is missing", parser->problem);
}

/* Anchors and tags are complained of here, once for every kind of node; the node itself is read on. */
static void look_at_properties(struct yaml_reader *reader)
{
    const yaml_event_t *event = &reader->event;
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor)
        config_complain(reader->loader, line_of(event), "anchor (&)",
                        "is not supported; write the value out where it is needed");
    if (tag)
        config_complain(reader->loader, line_of(event), "tag (!)",
                        "is not supported; leave it out, the key knows its type");
}

/* False: the end, or no YAML any more (which has been said). */
static bool step(struct yaml_reader *reader)
{
    if (reader->broken)
        return false;
    yaml_event_delete(&reader->event);
    if (!yaml_parser_parse(&reader->parser, &reader->event)) {
        memset(&reader->event, 0, sizeof reader->event);
        complain_broken(reader);
        return false;
    }
    look_at_properties(reader);
    return reader->event.type != YAML_NO_EVENT;
}

/* Passes the rest of the present node. */
static void skip(struct yaml_reader *reader)
{
    unsigned depth = 0;
    do {
        yaml_event_type_t type = reader->event.type;
        if (type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT)
            depth++;
        else if (type == YAML_MAPPING_END_EVENT || type == YAML_SEQUENCE_END_EVENT)
            depth--;
    } while (depth && step(reader));
}

static struct slice scalar_text(const yaml_event_t *event)
{
    return (struct slice){(const char *)event->data.scalar.value, event->data.scalar.length};
}

/* `key:` with nothing behind it, or ~ or null. */
static bool scalar_is_null(const yaml_event_t *event)
{
    if (event->type != YAML_SCALAR_EVENT || event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    struct slice text = scalar_text(event);
    return text.len == 0 || slice_is(text, "~") || slice_is(text, "null") || slice_is(text, "Null") ||
           slice_is(text, "NULL");
}

static const char *node_str(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT: return "an alias (*)";
    case YAML_MAPPING_START_EVENT: return "a map";
    case YAML_SEQUENCE_START_EVENT: return "a list";
    default: return scalar_is_null(event) ? "nothing" : "one value";
    }
}

/* Says what kind of node was wanted instead of the present one, and skips it. */
static void refuse(struct yaml_reader *reader, const char *subject, const char *wanted)
{
    config_complain(reader->loader, line_of(&reader->event), subject, "found %s; write %s",
                    node_str(&reader->event), wanted);
    skip(reader);
}

#define NAME_BYTES CONFIG_PATH_BYTES

/* "kafka.brokers" of a section and a word of the file, which is cut and cleaned. */
static void name_join(char out[NAME_BYTES], const char *section, struct slice word)
{
    char quoted[CONFIG_QUOTED_BYTES];
    config_quote(word, quoted);
    size_t len = strlen(quoted);
    (void)snprintf(out, NAME_BYTES, "%s%s%.*s", section, section[0] ? "." : "", (int)(len - 2), quoted + 1);
}

/* Steps onto the next key of a map and copies it. False: the map is over. Keys that are no text are refused
 * with their value. */
static bool next_key(struct yaml_reader *reader, const char *section, char word[NAME_BYTES], unsigned *line)
{
    while (step(reader) && reader->event.type != YAML_MAPPING_END_EVENT) {
        struct slice text =
            reader->event.type == YAML_SCALAR_EVENT ? scalar_text(&reader->event) : SLICE_ABSENT;
        *line = line_of(&reader->event);
        if (slice_present(text) && !slice_is(text, "<<") && text.len < NAME_BYTES &&
            !memchr(text.ptr, '\0', text.len)) {
            memcpy(word, text.ptr, text.len);
            word[text.len] = '\0';
            return step(reader);
        }
        if (slice_is(text, "<<"))
            config_complain(reader->loader, *line, "<<", "merging maps is not supported; write the keys out");
        else
            config_complain(reader->loader, *line, section[0] ? section : "the file",
                            "has a key that is no short plain text; "
                            "write key: value");
        skip(reader);
        if (!step(reader))
            return false;
        skip(reader);
    }
    return false;
}

/* ------------------------------------------------------------------ values */

static void read_part(struct yaml_reader *reader, const struct config_key *key, bool with_commas)
{
    struct config_loader *loader = reader->loader;
    struct config_wrong wrong = {0};
    struct slice text = scalar_text(&reader->event);
    bool good = with_commas ? config_value_set_parts(loader->config, key, text, &wrong)
                            : config_value_set(loader->config, key, text, &wrong);
    if (!good)
        config_complain_wrong(loader, line_of(&reader->event), key->path, &wrong);
}

static void read_list(struct yaml_reader *reader, const struct config_key *key)
{
    unsigned line = line_of(&reader->event);
    size_t count = 0;
    config_value_clear(reader->loader->config, key);
    if (reader->event.type == YAML_SCALAR_EVENT) {
        read_part(reader, key, true);
        return;
    }
    while (step(reader) && reader->event.type != YAML_SEQUENCE_END_EVENT) {
        count++;
        if (reader->event.type != YAML_SCALAR_EVENT || scalar_is_null(&reader->event))
            refuse(reader, key->path, "plain text");
        else
            read_part(reader, key, false);
    }
    if (!count && !reader->broken)
        config_complain(reader->loader, line, key->path, "is an empty list; write at least one, like [%s]",
                        key->fallback);
}

static void read_map(struct yaml_reader *reader, const struct config_key *key)
{
    struct config_loader *loader = reader->loader;
    char word[NAME_BYTES];
    char subject[NAME_BYTES];
    unsigned line;
    while (next_key(reader, key->path, word, &line)) {
        struct slice name = slice_from_str(word);
        struct config_wrong wrong = {0};
        name_join(subject, key->path, name);
        if (reader->event.type != YAML_SCALAR_EVENT || scalar_is_null(&reader->event)) {
            refuse(reader, subject, "one value");
            continue;
        }
        const char *refused = NULL;
        if (key->kind == CONFIG_KIND_PROPERTIES && loader->request->property_refused)
            refused = loader->request->property_refused(word);
        if (refused)
            config_complain(loader, line, subject, "%s", refused);
        else if (!config_value_put(loader->config, key, name, scalar_text(&reader->event), false, &wrong))
            config_complain_wrong(loader, line, subject, &wrong);
    }
}

/* ------------------------------------------------------------------ trees */

static struct config_node *read_node(struct yaml_reader *reader, const struct config_spot *at,
                                     unsigned depth);

static struct config_node *read_text(struct yaml_reader *reader, const struct config_spot *at)
{
    struct config_loader *loader = reader->loader;
    const yaml_event_t *event = &reader->event;
    struct slice text = scalar_text(event);
    bool null = scalar_is_null(event);
    struct config_node *node =
        config_node_new(loader, null ? CONFIG_NODE_NULL : CONFIG_NODE_TEXT, line_of(event));
    if (!node)
        return NULL;
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (memchr(text.ptr, '\0', text.len)) {
        struct config_spot spot = *at;
        spot.node = node;
        config_spot_complain(&spot, "the value has a NUL character in it; write plain text");
        node->kind = CONFIG_NODE_BAD;
    }
    node->text = arena_copy(&loader->scratch, text);
    if (!slice_present(node->text))
        config_complain_memory(loader);
    return node;
}

/* Says once when the node is full. */
static bool has_room(const struct config_spot *at, bool *told)
{
    if (at->node->count < CONFIG_NODE_CHILDREN_MAX)
        return true;
    if (!*told)
        config_spot_complain(at, "has more than %d entries; write fewer", CONFIG_NODE_CHILDREN_MAX);
    *told = true;
    return false;
}

static void read_items(struct yaml_reader *reader, struct config_spot *at, struct config_node *list,
                       unsigned depth)
{
    bool told = false;
    while (step(reader) && reader->event.type != YAML_SEQUENCE_END_EVENT) {
        struct config_spot spot = config_spot_in(at, NULL, list->count + 1);
        struct config_node *child = NULL;
        if (has_room(at, &told))
            child = read_node(reader, &spot, depth);
        else
            skip(reader);
        if (child)
            config_node_add(list, child);
    }
}

static const struct config_node *twin_of(const struct config_node *map, struct slice name)
{
    for (const struct config_node *child = map->children; child; child = child->next)
        if (slice_equal(child->name, name))
            return child;
    return NULL;
}

static void read_entries(struct yaml_reader *reader, struct config_spot *at, struct config_node *map,
                         unsigned depth)
{
    struct config_loader *loader = reader->loader;
    char path[CONFIG_PATH_BYTES];
    char word[NAME_BYTES];
    unsigned line;
    bool told = false;
    config_spot_path(at, path);
    while (next_key(reader, path, word, &line)) {
        struct config_node entry = {.name_line = line, .name = slice_from_str(word)};
        struct config_spot spot = config_spot_in(at, &entry, 0);
        const struct config_node *twin = twin_of(map, entry.name);
        struct config_node *child = NULL;
        if (twin)
            config_spot_complain_name(&spot, "is given twice, first in line %u; keep one of them",
                                      twin->name_line);
        if (!twin && has_room(at, &told))
            child = read_node(reader, &spot, depth);
        else
            skip(reader);
        if (!child)
            continue;
        child->name = arena_copy(&loader->scratch, slice_from_str(word));
        child->name_line = line;
        if (!slice_present(child->name))
            config_complain_memory(loader);
        else
            config_node_add(map, child);
    }
}

/* The present node with all that is in it; the event is its last one then. NULL: out of memory. */
static struct config_node *read_node(struct yaml_reader *reader, const struct config_spot *at, unsigned depth)
{
    struct config_loader *loader = reader->loader;
    yaml_event_type_t type = reader->event.type;
    struct config_spot spot = *at;
    if (type == YAML_SCALAR_EVENT)
        return read_text(reader, at);
    bool is_list = type == YAML_SEQUENCE_START_EVENT;
    struct config_node *node =
        config_node_new(loader, is_list ? CONFIG_NODE_LIST : CONFIG_NODE_MAP, line_of(&reader->event));
    if (!node)
        return NULL;
    spot.node = node;
    if (type == YAML_ALIAS_EVENT || depth == CONFIG_NODE_DEPTH_MAX) {
        if (type == YAML_ALIAS_EVENT)
            config_spot_complain(&spot, "found an alias (*); write the value out");
        else
            config_spot_complain(&spot, "is nested deeper than %d levels; write a flatter one",
                                 CONFIG_NODE_DEPTH_MAX);
        node->kind = CONFIG_NODE_BAD;
        skip(reader);
    } else if (is_list) {
        read_items(reader, &spot, node, depth + 1);
    } else {
        read_entries(reader, &spot, node, depth + 1);
    }
    return node;
}

/* The present node is the value of `key`, a tree: kept, to be read when all else is known. One text is a list
 * of one, or with commas. */
static void read_tree(struct yaml_reader *reader, const struct config_key *key)
{
    struct config_loader *loader = reader->loader;
    struct config_spot at = config_spot_of(loader, key);
    struct config_node *node = read_node(reader, &at, 0);
    if (node && node->kind == CONFIG_NODE_TEXT && config_kind_is_tree_list(key->kind) &&
        key->kind != CONFIG_KIND_ROUTES)
        node = config_node_from_text(loader, key, node->text, node->line);
    config_tree_set(loader, key, node, false);
}

/* The present node is the value of `key`. */
static void read_value(struct yaml_reader *reader, const struct config_key *key)
{
    struct config_loader *loader = reader->loader;
    yaml_event_type_t type = reader->event.type;
    bool null = scalar_is_null(&reader->event);
    struct config_origin *origin = &loader->origins[config_key_id(key)];
    unsigned before = loader->complaints;
    *origin = (struct config_origin){.layer = CONFIG_LAYER_FILE, .line = line_of(&reader->event)};
    if (config_kind_is_tree(key->kind)) {
        read_tree(reader, key);
    } else if (config_kind_is_map(key->kind)) {
        if (type == YAML_MAPPING_START_EVENT)
            read_map(reader, key);
        else if (!null)
            refuse(reader, key->path, "a map of name: value, or {}");
    } else if (config_kind_is_list(key->kind) &&
               (type == YAML_SEQUENCE_START_EVENT || (type == YAML_SCALAR_EVENT && !null))) {
        read_list(reader, key);
    } else if (type == YAML_SCALAR_EVENT && !null && config_kind_is_scalar(key->kind)) {
        read_part(reader, key, false);
    } else if (null) {
        config_complain(loader, line_of(&reader->event), key->path,
                        "has no value; write %s, or leave the key out%s", config_kind_prose[key->kind],
                        key->flags & CONFIG_EMPTY ? " (\"\" means none)" : "");
    } else {
        refuse(reader, key->path, config_kind_is_list(key->kind) ? "a list" : "one value");
    }
    origin->bad = loader->complaints > before;
}

/* ------------------------------------------------------------------ sections */

static void list_keys(enum config_section_id section, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < CONFIG_KEY_COUNT && len < size; i++)
        if (config_keys[i].section == section)
            len += (size_t)snprintf(out + len, size - len, "%s%s", len ? ", " : "", config_keys[i].name);
}

static void complain_unknown_key(struct config_loader *loader, unsigned line, enum config_section_id section,
                                 const char *word)
{
    char subject[NAME_BYTES];
    char known[512];
    const struct config_key *meant = config_nearest_key(section, word);
    name_join(subject, config_sections[section].name, slice_from_str(word));
    list_keys(section, known, sizeof known);
    if (meant)
        config_complain(loader, line, subject, "unknown key; did you mean %s?", meant->path);
    else
        config_complain(loader, line, subject, "unknown key; %s has %s", config_sections[section].name,
                        known);
}

/* A section, or with `group` a map within it: "gate" of "gate.allow". */
static void read_section(struct yaml_reader *reader, enum config_section_id section, const char *group)
{
    struct config_loader *loader = reader->loader;
    char path[NAME_BYTES];
    char word[NAME_BYTES];
    char name[2 * NAME_BYTES];
    unsigned line;
    (void)snprintf(path, sizeof path, "%s%s%s", config_sections[section].name, group[0] ? "." : "", group);
    if (scalar_is_null(&reader->event))
        return; /* all of its keys are commented out */
    if (reader->event.type != YAML_MAPPING_START_EVENT) {
        refuse(reader, path, "its keys below it, indented, each with its value");
        return;
    }
    while (next_key(reader, path, word, &line)) {
        (void)snprintf(name, sizeof name, "%s%s%s", group, group[0] ? "." : "", word);
        if (!group[0] && config_group_is(section, word)) {
            read_section(reader, section, word);
            continue;
        }
        const struct config_key *key = config_key_find(section, name);
        if (!key) {
            complain_unknown_key(loader, line, section, name);
            skip(reader);
            continue;
        }
        unsigned *before = &loader->key_lines[config_key_id(key)];
        if (*before) {
            config_complain(loader, line, key->path, "is given twice, first in line %u; keep one of them",
                            *before);
            skip(reader);
            continue;
        }
        *before = line;
        read_value(reader, key);
    }
}

static void complain_unknown_section(struct config_loader *loader, unsigned line, const char *word)
{
    char subject[NAME_BYTES];
    name_join(subject, "", slice_from_str(word));
    enum config_section_id section = config_nearest_section(word);
    if (section != CONFIG_SECTION_COUNT) {
        config_complain(loader, line, subject, "unknown section; did you mean %s?",
                        config_sections[section].name);
        return;
    }
    const struct config_key *key = config_nearest_key(CONFIG_SECTION_COUNT, word);
    if (key) {
        config_complain(loader, line, subject, "is not a section; write %s below %s:, indented", key->name,
                        config_sections[key->section].name);
        return;
    }
    const char *names[CONFIG_SECTION_COUNT + 1] = {NULL};
    char known[256];
    for (section = 0; section < CONFIG_SECTION_COUNT; section++)
        names[section] = config_sections[section].name;
    config_words_join(names, ", ", known, sizeof known);
    config_complain(loader, line, subject, "unknown section; there are %s", known);
}

static void read_root(struct yaml_reader *reader)
{
    struct config_loader *loader = reader->loader;
    char word[NAME_BYTES];
    unsigned line;
    if (scalar_is_null(&reader->event))
        return;
    if (reader->event.type != YAML_MAPPING_START_EVENT) {
        refuse(reader, "the file", "sections like kafka:, with their keys below them, indented");
        return;
    }
    while (next_key(reader, "", word, &line)) {
        enum config_section_id section = config_section_find(word);
        if (section == CONFIG_SECTION_COUNT) {
            complain_unknown_section(loader, line, word);
            skip(reader);
            continue;
        }
        unsigned *before = &loader->section_lines[section];
        if (*before) {
            config_complain(loader, line, word,
                            "the section is given twice, first in line %u; put its keys together", *before);
            skip(reader);
            continue;
        }
        *before = line;
        const struct config_key *map = config_key_find(section, "");
        if (map)
            read_value(reader, map);
        else
            read_section(reader, section, "");
    }
}

void config_read_yaml(struct config_loader *loader, const char *bytes, size_t len)
{
    struct yaml_reader reader = {.loader = loader, .bytes = bytes, .len = len};
    unsigned documents = 0;
    if (!yaml_parser_initialize(&reader.parser)) {
        loader->out_of_memory = true;
        return;
    }
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)bytes, len);
    while (step(&reader)) {
        if (reader.event.type == YAML_DOCUMENT_START_EVENT && ++documents > 1) {
            config_complain(loader, line_of(&reader.event), "---",
                            "a second document begins; put everything into one");
            break;
        }
        if (reader.event.type == YAML_DOCUMENT_START_EVENT && step(&reader))
            read_root(&reader);
    }
    yaml_event_delete(&reader.event);
    yaml_parser_delete(&reader.parser);
}
