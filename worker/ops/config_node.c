/* Nodes of the trees: made from YAML's nodes by config_yaml.c, from one line of text here; kept by key until
 * they are read. */
#include "config_tree.h"

#include <assert.h>
#include <string.h>

struct config_node *config_node_new(struct config_loader *loader, enum config_node_kind kind, unsigned line)
{
    struct config_node *node = arena_alloc_zero(&loader->scratch, sizeof *node);
    if (!node) {
        config_complain_memory(loader);
        return NULL;
    }
    node->kind = kind;
    node->line = line;
    node->name_line = line;
    return node;
}

void config_node_add(struct config_node *parent, struct config_node *child)
{
    assert(!child->next);
    if (parent->last)
        parent->last->next = child;
    else
        parent->children = child;
    parent->last = child;
    parent->count++;
}

static bool kind_is_map(enum config_kind kind, struct slice text)
{
    return !config_kind_is_tree_list(kind) ||
           (kind == CONFIG_KIND_DISPOSITIONS && memchr(text.ptr, '=', text.len));
}

/* One "text" or "name=text" to a child of `parent`. */
static bool add_part(struct config_loader *loader, const struct config_key *key, struct config_node *parent,
                     struct slice part)
{
    struct config_node *child = config_node_new(loader, CONFIG_NODE_TEXT, parent->line);
    if (!child)
        return false;
    child->plain = true;
    if (parent->kind == CONFIG_NODE_MAP) {
        const char *equals = memchr(part.ptr, '=', part.len);
        size_t len = equals ? (size_t)(equals - part.ptr) : 0;
        struct config_spot spot = config_spot_of(loader, key);
        if (!equals) {
            spot.node = parent;
            config_spot_complain(&spot, "an entry is not name=value; write name=value,name=value");
            return true;
        }
        child->name = arena_copy(&loader->scratch, config_trim((struct slice){part.ptr, len}));
        part = (struct slice){equals + 1, part.len - len - 1};
    }
    child->text = arena_copy(&loader->scratch, config_trim(part));
    if (!child->text.ptr || (parent->kind == CONFIG_NODE_MAP && !child->name.ptr)) {
        config_complain_memory(loader);
        return false;
    }
    config_node_add(parent, child);
    return true;
}

struct config_node *config_node_from_text(struct config_loader *loader, const struct config_key *key,
                                          struct slice text, unsigned line)
{
    bool is_map = kind_is_map(key->kind, text);
    struct config_node *node = config_node_new(loader, is_map ? CONFIG_NODE_MAP : CONFIG_NODE_LIST, line);
    text = config_trim(text);
    while (node && text.len) {
        const char *comma = memchr(text.ptr, ',', text.len);
        struct slice part = {text.ptr, comma ? (size_t)(comma - text.ptr) : text.len};
        size_t used = part.len + (comma ? 1 : 0);
        text.ptr += used;
        text.len -= used;
        if (node->count == CONFIG_NODE_CHILDREN_MAX) {
            struct config_spot spot = config_spot_of(loader, key);
            spot.node = node;
            config_spot_complain(&spot, "has more than %d entries, which are not read; write fewer",
                                 CONFIG_NODE_CHILDREN_MAX);
            break;
        }
        if (!add_part(loader, key, node, part))
            return NULL;
    }
    return node;
}

/* The child of that name gives way to `entry`, or `entry` is added. */
static void put_child(struct config_node *map, struct config_node *entry)
{
    for (struct config_node *child = map->children; child; child = child->next)
        if (slice_equal(child->name, entry->name)) {
            struct config_node *next = child->next;
            *child = *entry;
            child->next = next;
            return;
        }
    config_node_add(map, entry);
}

void config_tree_set(struct config_loader *loader, const struct config_key *key, struct config_node *node,
                     bool add)
{
    struct config_node **kept = &loader->trees[config_key_id(key)];
    if (!node)
        return;
    if (!add || !*kept || (*kept)->kind != CONFIG_NODE_MAP || node->kind != CONFIG_NODE_MAP) {
        *kept = node;
        return;
    }
    for (struct config_node *entry = node->children, *next; entry; entry = next) {
        next = entry->next;
        entry->next = NULL;
        put_child(*kept, entry);
    }
}

struct config_spot config_spot_of(struct config_loader *loader, const struct config_key *key)
{
    return (struct config_spot){.loader = loader, .key = key, .node = loader->trees[config_key_id(key)]};
}

struct config_spot config_spot_in(const struct config_spot *up, const struct config_node *node, size_t number)
{
    return (struct config_spot){.loader = up->loader,
                                .key = up->key,
                                .up = up,
                                .node = node,
                                .name = number ? SLICE_ABSENT : node->name,
                                .number = number};
}

/* ------------------------------------------------------------------ what complaints call it */

static size_t path_append(const struct config_spot *at, bool from_file, char *out, size_t size)
{
    char quoted[CONFIG_QUOTED_BYTES];
    size_t len;
    if (!at->up) {
        char variable[CONFIG_VARIABLE_BYTES];
        config_key_variable(at->key, variable);
        len = (size_t)snprintf(out, size, "%s", from_file ? at->key->path : variable);
        return len < size ? len : size - 1;
    }
    len = path_append(at->up, from_file, out, size);
    if (at->number) {
        len += (size_t)snprintf(out + len, size - len, "[%zu]", at->number);
    } else if (slice_present(at->name)) {
        config_quote(at->name, quoted);
        quoted[strlen(quoted) - 1] = '\0'; /* the words alone */
        len += (size_t)snprintf(out + len, size - len, "%s%s", from_file ? "." : ": ", quoted + 1);
    }
    return len < size ? len : size - 1;
}

static void path_write(const struct config_spot *at, bool from_file, char out[CONFIG_PATH_BYTES])
{
    (void)path_append(at, from_file, out, CONFIG_PATH_BYTES);
}

void config_spot_path(const struct config_spot *at, char out[CONFIG_PATH_BYTES])
{
    path_write(at, true, out);
}

static void complain_at(const struct config_spot *at, unsigned line, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
static void complain_at(const struct config_spot *at, unsigned line, const char *format, va_list args)
{
    char path[CONFIG_PATH_BYTES];
    path_write(at, line > 0, path);
    config_complain_args(at->loader, line, path, format, args);
}

void config_spot_complain(const struct config_spot *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain_at(at, at->node->line, format, args);
    va_end(args);
}

void config_spot_complain_name(const struct config_spot *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain_at(at, at->node->name_line, format, args);
    va_end(args);
}

void config_spot_refuse(const struct config_spot *at, const char *wanted)
{
    static const char *const found[] = {[CONFIG_NODE_BAD] = "nothing usable",
                                        [CONFIG_NODE_NULL] = "nothing",
                                        [CONFIG_NODE_TEXT] = "one value",
                                        [CONFIG_NODE_LIST] = "a list",
                                        [CONFIG_NODE_MAP] = "a map"};
    if (at->node->kind != CONFIG_NODE_BAD)
        config_spot_complain(at, "found %s; write %s", found[at->node->kind], wanted);
}
