/* Keys looked at together, after file and environment: which secret counts, what contradicts what. */
#include "config_tree.h"

#include "signup/event/phone.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define KEY(name) (&config_keys[CONFIG_ID_##name])

static const struct config_origin *origin_of(const struct config_loader *loader, const struct config_key *key)
{
    return &loader->origins[config_key_id(key)];
}

static bool is_given(const struct config_loader *loader, const struct config_key *key)
{
    return origin_of(loader, key)->layer != CONFIG_LAYER_DEFAULT;
}

/* ------------------------------------------------------------------ secrets */

/* Of a secret and its file the one counts that the later layer gives; the other becomes empty. */
static void choose(struct config_loader *loader, const struct config_key *secret,
                   const struct config_key *file)
{
    char **text = config_field(loader->config, secret);
    char **path = config_field(loader->config, file);
    enum config_layer text_layer = origin_of(loader, secret)->layer;
    enum config_layer path_layer = origin_of(loader, file)->layer;
    if (!(*text)[0] || !(*path)[0])
        return;
    if (text_layer == path_layer) {
        assert(text_layer != CONFIG_LAYER_DEFAULT); /* no default gives both */
        config_complain_key(loader, file, "is given beside %s; keep one of them", secret->path);
        (*path)[0] = '\0';
        return;
    }
    (*(text_layer > path_layer ? path : text))[0] = '\0';
}

/* Reads the file that `file` names into the field of `secret`; a path that is empty leaves it. */
static void read_secret(struct config_loader *loader, const struct config_key *secret,
                        const struct config_key *file)
{
    const char *path = *(char *const *)config_field(loader->config, file);
    struct config_wrong wrong = {0};
    char why[CONFIG_WHY_BYTES];
    char *text;
    if (!path[0])
        return;
    switch (config_read_secret(path, secret->kind != CONFIG_KIND_API_KEY, &text, why)) {
    case 0:
        if (!config_value_set(loader->config, secret, slice_from_str(text), &wrong))
            config_complain_key(loader, file, "in the file, %s", wrong.text);
        config_text_wipe(text);
        break;
    case EX_NOINPUT: config_complain_missing(loader, file, why); break;
    default: config_complain_key(loader, file, "%s", why);
    }
}

static void settle_api_key(struct config_loader *loader)
{
    const struct config_key *key = KEY(contacts_api_key);
    const struct config_key *file = KEY(contacts_api_key_file);
    const char *path = loader->config->contacts_api.key_file;
    bool bad = origin_of(loader, key)->bad || origin_of(loader, file)->bad;
    if (bad || !(loader->request->needs & CONFIG_NEEDS_API))
        return;
    bool nowhere = !loader->config->contacts_api.key[0] &&
                   (!path[0] || (!is_given(loader, file) && access(path, F_OK) != 0));
    if (nowhere)
        config_complain(loader, 0, key->path,
                        "there is no API key; put it into a file and name that in contacts_api.key_file, "
                        "or set SIGNUP_CONTACTS_API_KEY (default file: %s)",
                        file->fallback);
    else
        read_secret(loader, key, file);
}

/* kafka.password_file becomes the property sasl.password. */
static void settle_kafka_password(struct config_loader *loader)
{
    static const char property[] = "sasl.password";
    const struct config_key *file = KEY(kafka_password_file);
    const char *path = loader->config->kafka.password_file;
    struct config_wrong wrong = {0};
    char why[CONFIG_WHY_BYTES];
    char *text = NULL;
    if (!path[0] || origin_of(loader, file)->bad)
        return;
    if (config_map_get(&loader->config->kafka.properties, property)) {
        config_complain_key(loader, file, "is given beside kafka.properties' %s; keep one of them", property);
        return;
    }
    if (!(loader->request->needs & CONFIG_NEEDS_KAFKA))
        return;
    int code = config_read_secret(path, true, &text, why);
    if (code == EX_NOINPUT)
        config_complain_missing(loader, file, why);
    else if (code)
        config_complain_key(loader, file, "%s", why);
    else if (!config_value_put(loader->config, KEY(kafka_properties), slice_from_str(property),
                               slice_from_str(text), true, &wrong))
        config_complain_key(loader, file, "%s", wrong.text);
    config_text_wipe(text);
}

static void settle_ca_file(struct config_loader *loader)
{
    const char *path = loader->config->contacts_api.ca_file;
    if (path[0] && (loader->request->needs & CONFIG_NEEDS_API) && access(path, R_OK) != 0)
        config_complain_missing(loader, KEY(contacts_api_ca_file),
                                "the file cannot be read; name the certificates (PEM) of your CA");
}

/* ------------------------------------------------------------------ phones */

static void settle_list_number(struct config_loader *loader)
{
    char e164[PHONE_E164_BYTES];
    char **number = &loader->config->defaults.list_number;
    struct config_wrong wrong = {0};
    if (!(*number)[0] || origin_of(loader, KEY(defaults_list_number))->bad ||
        origin_of(loader, KEY(defaults_country))->bad)
        return;
    size_t len = phone_to_e164(slice_from_str(*number), loader->config->defaults.country, e164);
    if (!len)
        config_complain_key(loader, KEY(defaults_list_number),
                            "the value is no full phone number; write it like +14155550100");
    else if (!config_text_replace(number, (struct slice){e164, len}, &wrong))
        loader->out_of_memory = true;
}

/* ------------------------------------------------------------------ contradictions */

/* `smaller` may not be above `larger`. Where a person has said only one of them, the other follows. */
static void settle_order(struct config_loader *loader, const struct config_key *smaller,
                         const struct config_key *larger)
{
    int64_t *low = config_field(loader->config, smaller);
    int64_t *high = config_field(loader->config, larger);
    char low_text[CONFIG_AMOUNT_BYTES];
    char high_text[CONFIG_AMOUNT_BYTES];
    if (*low <= *high || origin_of(loader, smaller)->bad || origin_of(loader, larger)->bad)
        return;
    if (!is_given(loader, smaller)) {
        *low = *high;
    } else if (!is_given(loader, larger)) {
        *high = *low;
    } else {
        bool is_time = smaller->kind == CONFIG_KIND_DURATION;
        config_amount_text(smaller->kind, *low, low_text);
        config_amount_text(larger->kind, *high, high_text);
        config_complain_key(loader, smaller, "%s is %s than %s, %s; write %s", low_text,
                            is_time ? "longer" : "more", larger->path, high_text,
                            is_time ? "a shorter one" : "a smaller one");
    }
}

/* What a claim must outlive beside the call: the statement that records what became of it. */
#define LEASE_MARGIN_US (5 * CONFIG_S)

static void settle_lease(struct config_loader *loader)
{
    const struct config_key *lease = KEY(limits_lease_us);
    struct config *config = loader->config;
    char timeout_text[CONFIG_AMOUNT_BYTES];
    if (origin_of(loader, lease)->bad || origin_of(loader, KEY(contacts_api_timeout_us))->bad)
        return;
    if (!is_given(loader, lease)) {
        if (config->limits.lease_us < config->contacts_api.timeout_us + LEASE_MARGIN_US)
            config->limits.lease_us = config->contacts_api.timeout_us + LEASE_MARGIN_US;
        return;
    }
    config_duration_text(config->contacts_api.timeout_us, timeout_text);
    if (config->limits.lease_us <= config->contacts_api.timeout_us)
        config_complain_key(loader, lease,
                            "a claim would end before its call can (contacts_api.timeout is %s); write a "
                            "longer one, "
                            "or leave the key out",
                            timeout_text);
}

static void settle_outcomes_topic(struct config_loader *loader)
{
    const struct config_key *key = KEY(kafka_outcomes_topic);
    const char *topic = loader->config->kafka.outcomes_topic;
    const struct config_list *topics = &loader->config->kafka.topics;
    if (!topic[0] || origin_of(loader, key)->bad)
        return;
    for (size_t i = 0; i < topics->count; i++)
        if (strcmp(topics->items[i], topic) == 0)
            config_complain_key(
                loader, key, "is one of kafka.topics: outcomes would be read as signups; name another topic");
    if (strcmp(topic, loader->config->kafka.dead_letter_topic) == 0)
        config_complain_key(loader, key, "is kafka.dead_letter_topic too; name another topic");
}

static void settle_topics(struct config_loader *loader)
{
    const struct config_key *key = KEY(kafka_dead_letter_topic);
    const struct config_list *topics = &loader->config->kafka.topics;
    if (origin_of(loader, key)->bad)
        return;
    for (size_t i = 0; i < topics->count; i++)
        if (strcmp(topics->items[i], loader->config->kafka.dead_letter_topic) == 0)
            config_complain_key(loader, key,
                                "is one of kafka.topics: dead events would come back for ever; name another "
                                "topic");
}

void config_settle(struct config_loader *loader)
{
    choose(loader, KEY(contacts_api_key), KEY(contacts_api_key_file));
    choose(loader, KEY(postgres_dsn), KEY(postgres_dsn_file));
    settle_api_key(loader);
    if (loader->request->needs & CONFIG_NEEDS_POSTGRES)
        read_secret(loader, KEY(postgres_dsn), KEY(postgres_dsn_file));
    settle_kafka_password(loader);
    settle_ca_file(loader);
    settle_list_number(loader);
    settle_order(loader, KEY(retry_inline_base_us), KEY(retry_inline_cap_us));
    settle_order(loader, KEY(retry_park_base_us),
                 KEY(retry_max_age_us)); /* else nobody would be parked twice */
    settle_order(loader, KEY(retry_park_base_us), KEY(retry_park_cap_us));
    settle_order(loader, KEY(retry_inline_attempts),
                 KEY(retry_max_attempts)); /* else nobody would be parked */
    settle_order(loader, KEY(contacts_api_connect_timeout_us), KEY(contacts_api_timeout_us));
    settle_lease(loader);
    settle_topics(loader);
    settle_outcomes_topic(loader);
    config_read_trees(loader);
}
