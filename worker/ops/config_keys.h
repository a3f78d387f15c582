/* The table as data, for the files that read, check and print it. Private to the room. */
#ifndef SIGNUP_OPS_CONFIG_KEYS_H
#define SIGNUP_OPS_CONFIG_KEYS_H

#include "signup/ops/config.h"

#include "signup/base/slice.h"

enum config_section_id {
#define CONFIG_ID(section, KEYS, prose) CONFIG_SECTION_##section,
    CONFIG_SECTIONS(CONFIG_ID)
#undef CONFIG_ID
        CONFIG_SECTION_COUNT
};

struct config_section {
    const char *name;
    const char *prose;
};

extern const struct config_section config_sections[CONFIG_SECTION_COUNT];

struct config_key {
    enum config_section_id section;
    enum config_kind kind;
    const char *name; /* "" for a section that is itself the map; "gate.allow" in a map within the section */
    const char *path; /* "kafka.brokers" */
    size_t offset;    /* of the field in struct config */
    const char *fallback;
    int64_t min;
    int64_t max;
    const char *const *words; /* NULL-terminated */
    unsigned flags;
    const char *prose;
};

enum config_key_id {
#define CONFIG_ID(section, field, ...) CONFIG_ID_##section##_##field,
#define CONFIG_IDS(section, KEYS, prose) KEYS(CONFIG_ID)
    CONFIG_SECTIONS(CONFIG_IDS)
#undef CONFIG_IDS
#undef CONFIG_ID
        CONFIG_KEY_COUNT
};

extern const struct config_key config_keys[CONFIG_KEY_COUNT];

extern const char *const config_kind_prose[CONFIG_KIND_COUNT];

/* Their value is one text; the others take several parts. */
bool config_kind_is_scalar(enum config_kind kind);
/* Parts are given one after the other: a list, or text with commas. */
bool config_kind_is_list(enum config_kind kind);
bool config_kind_is_map(enum config_kind kind);
/* Kept as a tree of nodes until everything else is known. */
bool config_kind_is_tree(enum config_kind kind);
/* Of the trees: those that are lists, for people. The others are maps. */
bool config_kind_is_tree_list(enum config_kind kind);

/* The environment variable of a key: "SIGNUP_KAFKA_BROKERS". */
#define CONFIG_VARIABLE_BYTES 64
void config_key_variable(const struct config_key *key, char out[CONFIG_VARIABLE_BYTES]);

/* CONFIG_SECTION_COUNT: no such section. */
enum config_section_id config_section_find(const char *name);
/* The key "" is the map of a section that is one. NULL: no such key in the section. */
const struct config_key *config_key_find(enum config_section_id section, const char *name);

/* What a person may have meant by an unknown word. CONFIG_SECTION_COUNT or NULL: nothing is near. */
enum config_section_id config_nearest_section(const char *name);
const struct config_key *config_nearest_key(enum config_section_id section, const char *name);
const struct config_key *config_nearest_variable(const char *variable);
/* Among `words`, which end with NULL. */
const char *config_nearest_word(const char *word, const char *const *words);
const char *config_nearest_of(const char *word, const char *const *words, size_t count);

/* The map within a section, like "gate" of "gate.allow": true when the section has such keys. */
bool config_group_is(enum config_section_id section, const char *name);

static inline void *config_field(struct config *config, const struct config_key *key)
{
    return (char *)config + key->offset;
}

static inline const void *config_field_const(const struct config *config, const struct config_key *key)
{
    return (const char *)config + key->offset;
}

#endif
