/* The environment over the file: one variable a key, and no misspelt one goes unnoticed. */
#include "config_tree.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The value of `name` in the list; absent: it is not there. */
static struct slice lookup(const char *const *environment, const char *name)
{
    size_t len = strlen(name);
    for (; environment && *environment; environment++)
        if (strncmp(*environment, name, len) == 0 && (*environment)[len] == '=')
            return slice_from_str(*environment + len + 1);
    return SLICE_ABSENT;
}

/* One "name=value" of a map. */
static void put_entry(struct config_loader *loader, const struct config_key *key, const char *variable,
                      struct slice entry)
{
    struct config_wrong wrong = {0};
    char name[OUTCOME_CODE_BYTES] = "";
    char subject[CONFIG_VARIABLE_BYTES + OUTCOME_CODE_BYTES + 1];
    const char *equals = memchr(entry.ptr, '=', entry.len);
    size_t len = equals ? (size_t)(equals - entry.ptr) : entry.len;
    struct slice word = config_trim((struct slice){entry.ptr, len});
    if (!equals || word.len >= sizeof name) {
        config_complain(loader, 0, variable, "an entry is not name=value; write name=value,name=value");
        return;
    }
    memcpy(name, word.ptr, word.len);
    for (char *c = name; *c; c++)
        if (!isgraph((unsigned char)*c))
            *c = '?';
    (void)snprintf(subject, sizeof subject, "%s: %s", variable, name);
    struct slice value = config_trim((struct slice){equals + 1, entry.len - len - 1});
    const char *refused = NULL;
    if (key->kind == CONFIG_KIND_PROPERTIES && loader->request->property_refused)
        refused = loader->request->property_refused(name);
    if (refused)
        config_complain(loader, 0, subject, "%s", refused);
    else if (!config_value_put(loader->config, key, word, value, true, &wrong))
        config_complain_wrong(loader, 0, subject, &wrong);
}

/* A part that begins like name=. What stands before another = is no name and may be half a password: it is
 * never shown. */
static bool starts_entry(const char *part, const char *end)
{
    while (part < end && isblank((unsigned char)*part))
        part++;
    const char *name = part;
    while (part < end && (isalnum((unsigned char)*part) || strchr("._-", *part)))
        part++;
    while (part < end && isblank((unsigned char)*part))
        part++;
    return part > name && part < end && *part == '=';
}

/* name=value,name=value; a part that does not begin like name= goes on with the value before it, which has a
 * comma in it then. */
static void put_entries(struct config_loader *loader, const struct config_key *key, const char *variable,
                        struct slice text)
{
    const char *end = text.ptr + text.len;
    const char *entry = text.ptr;
    const char *part = text.ptr;
    while (entry < end) {
        const char *comma = memchr(part, ',', (size_t)(end - part));
        const char *stop = comma ? comma : end;
        part = comma ? comma + 1 : end;
        if (comma && !starts_entry(part, end))
            continue;
        put_entry(loader, key, variable, (struct slice){entry, (size_t)(stop - entry)});
        entry = part;
    }
}

/* A map is added to the file's, but where the order counts. */
static void read_tree(struct config_loader *loader, const struct config_key *key, const char *variable,
                      struct slice text)
{
    if (key->kind == CONFIG_KIND_MAPPING || key->kind == CONFIG_KIND_ROUTES) {
        config_complain(loader, 0, variable, "%s cannot come from the environment; write it into the file",
                        key->path);
        return;
    }
    bool add = !config_kind_is_tree_list(key->kind) && !(key->flags & CONFIG_WHOLE);
    config_tree_set(loader, key, config_node_from_text(loader, key, text, 0), add);
}

static void read_variable(struct config_loader *loader, const struct config_key *key, const char *variable,
                          struct slice text)
{
    struct config_origin *origin = &loader->origins[config_key_id(key)];
    unsigned before = loader->complaints;
    struct config_wrong wrong = {0};
    bool good = true;
    if (config_kind_is_tree(key->kind)) {
        read_tree(loader, key, variable, text);
    } else if (config_kind_is_map(key->kind)) {
        put_entries(loader, key, variable, text);
    } else if (config_kind_is_list(key->kind)) {
        config_value_clear(loader->config, key);
        good = config_value_set_parts(loader->config, key, text, &wrong);
    } else {
        good = config_value_set(loader->config, key, text, &wrong);
    }
    if (!good)
        config_complain_wrong(loader, 0, variable, &wrong);
    *origin = (struct config_origin){.layer = CONFIG_LAYER_ENVIRONMENT, .bad = loader->complaints > before};
}

/* ------------------------------------------------------------------ variables that nobody reads */

/* Kubernetes gives every pod variables for the services of its namespace: one called signup-kafka makes
 * SIGNUP_KAFKA_PORT, SIGNUP_KAFKA_SERVICE_HOST, SIGNUP_KAFKA_PORT_9092_TCP_ADDR and so on (kubernetes.io,
 * "Service environment variables"). */
static bool is_service_link(const char *rest)
{
    const char *service = strstr(rest, "SERVICE_HOST");
    const char *port = strstr(rest, "SERVICE_PORT");
    if ((service && !service[12]) || (port && (!port[12] || port[12] == '_')))
        return true;
    port = strstr(rest, "PORT");
    if (!port || (port != rest && port[-1] != '_'))
        return false;
    port += 4;
    if (!*port)
        return true;
    if (*port++ != '_' || !isdigit((unsigned char)*port))
        return false;
    while (isdigit((unsigned char)*port))
        port++;
    return strncmp(port, "_TCP", 4) == 0 || strncmp(port, "_UDP", 4) == 0;
}

/* What stands behind SIGNUP_<SECTION>_; NULL: the variable belongs to no section, and is somebody else's. */
static const char *after_section(const char *name)
{
    static const char prefix[] = "SIGNUP_";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return NULL;
    name += sizeof prefix - 1;
    for (enum config_section_id id = 0; id < CONFIG_SECTION_COUNT; id++) {
        size_t len = strlen(config_sections[id].name);
        if (strncasecmp(name, config_sections[id].name, len) == 0 && name[len] == '_')
            return name + len + 1;
    }
    return NULL;
}

static const struct config_key *key_of_variable(const char *name)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        char variable[CONFIG_VARIABLE_BYTES];
        config_key_variable(&config_keys[i], variable);
        if (strcmp(variable, name) == 0)
            return &config_keys[i];
    }
    return NULL;
}

static void look_at_variable(struct config_loader *loader, const char *entry)
{
    char name[2 * CONFIG_VARIABLE_BYTES];
    char meant[CONFIG_VARIABLE_BYTES];
    size_t len = strcspn(entry, "=");
    if (!entry[len] || len >= sizeof name)
        return;
    memcpy(name, entry, len);
    name[len] = '\0';
    for (char *c = name; *c; c++)
        if (!isgraph((unsigned char)*c))
            *c = '?'; /* a complaint is one line */
    const char *rest = after_section(name);
    if (!rest || key_of_variable(name) || is_service_link(rest))
        return;
    const struct config_key *key = config_nearest_variable(name);
    if (!key) {
        config_complain(loader, 0, name, "unknown variable; the reference lists all of them, unset this one");
        return;
    }
    config_key_variable(key, meant);
    config_complain(loader, 0, name, "unknown variable; did you mean %s?", meant);
}

void config_read_environment(struct config_loader *loader)
{
    const char *const *environment = loader->request->environment;
    if (!environment)
        return;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        char variable[CONFIG_VARIABLE_BYTES];
        config_key_variable(&config_keys[i], variable);
        struct slice text = lookup(environment, variable);
        if (slice_present(text))
            read_variable(loader, &config_keys[i], variable, text);
    }
    for (; *environment; environment++)
        look_at_variable(loader, *environment);
}

void config_forget_environment(void)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        char variable[CONFIG_VARIABLE_BYTES];
        config_key_variable(&config_keys[i], variable);
        char *value = config_keys[i].flags & CONFIG_SECRET ? getenv(variable) : NULL;
        if (!value)
            continue;
        explicit_bzero(value, strlen(value)); /* the memory that /proc/PID/environ shows */
        (void)unsetenv(variable);
    }
}
