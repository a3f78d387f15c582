/* One text to one field: every kind's reading, bounds and complaint. */
#include "config_value.h"

#include "net_text.h"

#include "signup/event/phone.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool slice_is_word(struct slice text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.ptr, word, text.len) == 0;
}

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* ------------------------------------------------------------------ choices */

bool config_bool_read(struct slice text, bool *out, struct config_wrong *wrong)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < COUNT(yes); i++) {
        if (slice_is_word(text, yes[i]) || slice_is_word(text, no[i])) {
            *out = slice_is_word(text, yes[i]);
            return true;
        }
    }
    char quoted[CONFIG_QUOTED_BYTES];
    config_quote(text, quoted);
    return config_fail(wrong, "%s is neither; write true or false", quoted);
}

void config_words_text(const struct config_key *key, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; key->words[i] && len < size; i++) {
        const char *joint = i == 0 ? "" : key->words[i + 1] ? ", " : " or ";
        len += (size_t)snprintf(out + len, size - len, "%s%s", joint, key->words[i]);
    }
}

int config_word_find(const char *const *words, struct slice text)
{
    for (int i = 0; words[i]; i++) {
        /* YAML 1.1 calls a bare off "false", and tools that rewrite YAML write it so. */
        bool off =
            strcmp(words[i], "off") == 0 && (slice_is_word(text, "false") || slice_is_word(text, "no"));
        if (slice_is_word(text, words[i]) || off)
            return i;
    }
    return -1;
}

static bool set_word(const struct config_key *key, struct slice text, int *field, struct config_wrong *wrong)
{
    int index = config_word_find(key->words, text);
    if (index >= 0) {
        *field = index;
        return true;
    }
    char quoted[CONFIG_QUOTED_BYTES];
    char words[128];
    config_quote(text, quoted);
    config_words_text(key, words, sizeof words);
    return config_fail(wrong, "%s is not known; write %s", quoted, words);
}

/* ------------------------------------------------------------------ texts */

/* What is wrong with a topic's name, by Kafka's rules; NULL: nothing. */
static const char *topic_wrong(struct slice topic)
{
    for (size_t i = 0; i < topic.len; i++)
        if (!isalnum((unsigned char)topic.ptr[i]) && !strchr("._-", topic.ptr[i]))
            return "is not a topic's name; write letters, digits, dots, dashes and underscores (patterns are "
                   "not supported)";
    if (slice_is(topic, ".") || slice_is(topic, ".."))
        return "is a name that Kafka refuses; name the topic otherwise";
    return NULL;
}

static const char *schema_wrong(struct slice schema)
{
    static const char shape[] = "is not a schema's name; write lower-case letters, digits and underscores, a "
                                "letter first";
    if (!islower((unsigned char)schema.ptr[0]) && schema.ptr[0] != '_')
        return shape;
    for (size_t i = 0; i < schema.len; i++)
        if (!islower((unsigned char)schema.ptr[i]) && !isdigit((unsigned char)schema.ptr[i]) &&
            schema.ptr[i] != '_')
            return shape;
    if (schema.len >= 3 && memcmp(schema.ptr, "pg_", 3) == 0)
        return "begins with pg_, which PostgreSQL keeps for itself; name the schema otherwise";
    return NULL;
}

/* Says nothing of the text: it may hold a password. */
static const char *dsn_wrong(struct slice dsn)
{
    static const char *const schemes[] = {"postgresql://", "postgres://"};
    for (size_t i = 0; i < COUNT(schemes); i++)
        if (dsn.len >= strlen(schemes[i]) && memcmp(dsn.ptr, schemes[i], strlen(schemes[i])) == 0)
            return NULL;
    if (memchr(dsn.ptr, '=', dsn.len) && !memmem(dsn.ptr, dsn.len, "://", 3))
        return NULL;
    return "is not a connection string; write postgresql://user@host/database or host=… dbname=…";
}

static const char *api_key_wrong(struct slice api_key)
{
    for (size_t i = 0; i < api_key.len; i++)
        if (api_key.ptr[i] <= ' ' || api_key.ptr[i] == 127) /* char may be signed: beyond ASCII is negative */
            return "holds a blank or a character that no API key has; copy the key again, alone";
    return NULL;
}

static const char *listen_wrong(struct slice text)
{
    char copy[256];
    struct sockaddr_storage address;
    socklen_t len;
    (void)snprintf(copy, sizeof copy, "%.*s", (int)text.len, text.ptr); /* bounded by the key's maximum */
    return net_listen_is_off(copy) ? NULL : net_listen_parse(copy, &address, &len);
}

static const char *country_wrong(struct slice country)
{
    char copy[3] = {(char)toupper((unsigned char)country.ptr[0]),
                    (char)toupper((unsigned char)country.ptr[1]), 0};
    return phone_country_known(copy) ? NULL : "is not a country; write two letters of ISO 3166, like US";
}

static const char *text_wrong(enum config_kind kind, struct slice text)
{
    switch (kind) {
    case CONFIG_KIND_SERVERS: return net_broker_wrong(text);
    case CONFIG_KIND_TOPIC:
    case CONFIG_KIND_TOPICS: return topic_wrong(text);
    case CONFIG_KIND_DSN: return dsn_wrong(text);
    case CONFIG_KIND_SCHEMA: return schema_wrong(text);
    case CONFIG_KIND_URL: return net_url_wrong(text);
    case CONFIG_KIND_API_KEY: return api_key_wrong(text);
    case CONFIG_KIND_COUNTRY: return country_wrong(text);
    case CONFIG_KIND_LISTEN: return listen_wrong(text);
    default: return NULL;
    }
}

/* A text that may hold a secret, or a URL that may, is not repeated. */
static bool may_be_told(const struct config_key *key)
{
    return !(key->flags & CONFIG_SECRET) && key->kind != CONFIG_KIND_URL && key->kind != CONFIG_KIND_PHONE;
}

static bool text_check(const struct config_key *key, struct slice text, struct config_wrong *wrong)
{
    char quoted[CONFIG_QUOTED_BYTES];
    config_quote(text, quoted);
    const char *told = may_be_told(key) ? quoted : "the value";
    if (!text.len)
        return (key->flags & CONFIG_EMPTY) || config_fail(wrong, "is empty; write %s, the default is %s",
                                                          config_kind_prose[key->kind], key->fallback);
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 127)
            return config_fail(
                wrong, "%s has a line break or another control character in it; write it in one line", told);
    if (text.len > (size_t)key->max || text.len < (size_t)key->min)
        return config_fail(wrong, "%s has %zu bytes; write %" PRId64 " to %" PRId64, told, text.len, key->min,
                           key->max);
    const char *what = text_wrong(key->kind, text);
    return !what || config_fail(wrong, "%s %s", told, what);
}

static bool set_text(struct config *config, const struct config_key *key, struct slice text,
                     struct config_wrong *wrong)
{
    char **field = config_field(config, key);
    if (key->kind == CONFIG_KIND_URL)
        while (text.len && text.ptr[text.len - 1] == '/')
            text.len--; /* paths are appended with their slash */
    if (key->kind == CONFIG_KIND_API_KEY)
        text = config_trim(text); /* a newline around the key is the documented cause of a 401 */
    if (!text_check(key, text, wrong))
        return false;
    if (!config_text_replace(field, text, wrong))
        return false;
    if (key->kind == CONFIG_KIND_COUNTRY)
        for (char *c = *field; *c; c++)
            *c = (char)toupper((unsigned char)*c);
    return true;
}

bool config_value_set(struct config *config, const struct config_key *key, struct slice text,
                      struct config_wrong *wrong)
{
    assert(!config_kind_is_map(key->kind) && !config_kind_is_tree(key->kind));
    void *field = config_field(config, key);
    if (memchr(text.ptr, '\0', text.len))
        return config_fail(wrong, "the value has a NUL character in it; write plain text");
    switch (key->kind) {
    case CONFIG_KIND_BOOL: return config_bool_read(text, field, wrong);
    case CONFIG_KIND_WORD: return set_word(key, text, field, wrong);
    case CONFIG_KIND_INTEGER:
    case CONFIG_KIND_DURATION:
    case CONFIG_KIND_MONEY:
    case CONFIG_KIND_BYTES: return config_amount_set(key, text, field, wrong);
    case CONFIG_KIND_TOPICS: return text_check(key, text, wrong) && config_list_append(field, text, wrong);
    case CONFIG_KIND_SERVERS:
        return text_check(key, text, wrong) && config_servers_append(field, key->max, text, wrong);
    default: return set_text(config, key, text, wrong);
    }
}

bool config_value_set_parts(struct config *config, const struct config_key *key, struct slice text,
                            struct config_wrong *wrong)
{
    for (;;) {
        const char *comma = memchr(text.ptr, ',', text.len);
        struct slice part = {text.ptr, comma ? (size_t)(comma - text.ptr) : text.len};
        if (!config_value_set(config, key, config_trim(part), wrong))
            return false;
        if (!comma)
            return true;
        text.len -= part.len + 1;
        text.ptr = comma + 1;
    }
}

/* ------------------------------------------------------------------ the way back */

void config_value_clear(struct config *config, const struct config_key *key)
{
    void *field = config_field(config, key);
    if (config_kind_is_tree(key->kind))
        return; /* the arena's */
    switch (key->kind) {
    case CONFIG_KIND_BOOL: *(bool *)field = false; break;
    case CONFIG_KIND_WORD: *(int *)field = 0; break;
    case CONFIG_KIND_INTEGER:
    case CONFIG_KIND_DURATION:
    case CONFIG_KIND_MONEY:
    case CONFIG_KIND_BYTES: *(int64_t *)field = 0; break;
    case CONFIG_KIND_TOPICS: config_list_clear(field); break;
    case CONFIG_KIND_PROPERTIES: config_map_clear(field); break;
    case CONFIG_KIND_POLICY:
        free((void *)((struct policy *)field)->rules);
        *(struct policy *)field = (struct policy){0};
        break;
    default: config_text_wipe(*(char **)field); *(char **)field = NULL;
    }
}

void config_value_text(const struct config *config, const struct config_key *key, char *out, size_t size)
{
    const void *field = config_field_const(config, key);
    char amount[CONFIG_AMOUNT_BYTES];
    assert(config_kind_is_scalar(key->kind) || key->kind == CONFIG_KIND_SERVERS);
    switch (key->kind) {
    case CONFIG_KIND_BOOL: (void)snprintf(out, size, "%s", *(const bool *)field ? "true" : "false"); break;
    case CONFIG_KIND_WORD: (void)snprintf(out, size, "%s", key->words[*(const int *)field]); break;
    case CONFIG_KIND_INTEGER:
    case CONFIG_KIND_DURATION:
    case CONFIG_KIND_MONEY:
    case CONFIG_KIND_BYTES:
        config_amount_text(key->kind, *(const int64_t *)field, amount);
        (void)snprintf(out, size, "%s", amount);
        break;
    default: (void)snprintf(out, size, "%s", *(char *const *)field);
    }
}
