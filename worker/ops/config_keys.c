/* The configuration table as arrays, look-up in them, and the guess what a misspelt word was meant to be. */
#include "config_keys.h"

#include <assert.h>
#include <ctype.h>
#include <string.h>
#include <strings.h>

#define CONFIG_WORD_TEXT(words, name, text) text,
static const char *const words_START[] = {CONFIG_WORDS_START(CONFIG_WORD_TEXT) NULL};
static const char *const words_VALIDATION[] = {CONFIG_WORDS_VALIDATION(CONFIG_WORD_TEXT) NULL};
static const char *const words_ON_BILLING[] = {CONFIG_WORDS_ON_BILLING(CONFIG_WORD_TEXT) NULL};
static const char *const words_ON_BUDGET[] = {CONFIG_WORDS_ON_BUDGET(CONFIG_WORD_TEXT) NULL};
static const char *const words_ON_MISSING[] = {CONFIG_WORDS_ON_MISSING(CONFIG_WORD_TEXT) NULL};
static const char *const words_OVERFLOW[] = {CONFIG_WORDS_OVERFLOW(CONFIG_WORD_TEXT) NULL};
static const char *const words_LOG_LEVEL[] = {CONFIG_WORDS_LOG_LEVEL(CONFIG_WORD_TEXT) NULL};
static const char *const words_LOG_FORMAT[] = {CONFIG_WORDS_LOG_FORMAT(CONFIG_WORD_TEXT) NULL};
static const char *const words_NONE[] = {NULL};

#define PATH_OF(section, key) (sizeof(key) > 1 ? #section "." key : #section)

const struct config_key config_keys[CONFIG_KEY_COUNT] = {
#define KEY(section, field, kind, key, fallback, min, max, words, flags, prose)                        \
    {CONFIG_SECTION_##section,                                                                         \
     CONFIG_KIND_##kind,                                                                               \
     key,                                                                                              \
     PATH_OF(section, key),                                                                            \
     offsetof(struct config, section.field), /* NOLINT(bugprone-macro-parentheses): a member's path */ \
     fallback,                                                                                         \
     min,                                                                                              \
     max,                                                                                              \
     words_##words,                                                                                    \
     flags,                                                                                            \
     prose},
#define SECTION(section, KEYS, prose) KEYS(KEY)
    CONFIG_SECTIONS(SECTION)
#undef SECTION
#undef KEY
};

const struct config_section config_sections[CONFIG_SECTION_COUNT] = {
#define SECTION(section, KEYS, prose) {#section, prose},
    CONFIG_SECTIONS(SECTION)
#undef SECTION
};

const char *const config_kind_prose[CONFIG_KIND_COUNT] = {
#define X(name, type, prose) prose,
    CONFIG_KINDS(X)
#undef X
};

bool config_kind_is_list(enum config_kind kind)
{
    return kind == CONFIG_KIND_TOPICS || kind == CONFIG_KIND_SERVERS;
}

bool config_kind_is_map(enum config_kind kind)
{
    return kind == CONFIG_KIND_PROPERTIES || kind == CONFIG_KIND_POLICY;
}

bool config_kind_is_scalar(enum config_kind kind)
{
    return !config_kind_is_list(kind) && !config_kind_is_map(kind) && !config_kind_is_tree(kind);
}

bool config_kind_is_tree(enum config_kind kind)
{
    return kind >= CONFIG_KIND_DISPOSITIONS;
}

bool config_kind_is_tree_list(enum config_kind kind)
{
    return kind == CONFIG_KIND_DISPOSITIONS || kind == CONFIG_KIND_EVIDENCE ||
           kind == CONFIG_KIND_PARAMETERS || kind == CONFIG_KIND_ROUTES;
}

void config_key_variable(const struct config_key *key, char out[CONFIG_VARIABLE_BYTES])
{
    static const char prefix[] = "SIGNUP_";
    size_t len = sizeof prefix - 1;
    memcpy(out, prefix, len);
    for (const char *c = key->path; *c; c++) {
        assert(len + 1 < CONFIG_VARIABLE_BYTES);
        out[len++] = (char)(*c == '.' ? '_' : toupper((unsigned char)*c));
    }
    out[len] = '\0';
}

enum config_section_id config_section_find(const char *name)
{
    enum config_section_id id = 0;
    while (id < CONFIG_SECTION_COUNT && strcmp(config_sections[id].name, name) != 0)
        id++;
    return id;
}

const struct config_key *config_key_find(enum config_section_id section, const char *name)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        if (config_keys[i].section == section && strcmp(config_keys[i].name, name) == 0)
            return &config_keys[i];
    return NULL;
}

bool config_group_is(enum config_section_id section, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        if (config_keys[i].section == section && strncmp(config_keys[i].name, name, len) == 0 &&
            config_keys[i].name[len] == '.')
            return true;
    return false;
}

/* ------------------------------------------------------------------ nearest words */

#define WORD_BYTES 64

/* How many letters must be put in, left out, changed or swapped with their neighbour; case does not count.
 * Long words are far from everything. */
static size_t distance(const char *a, const char *b)
{
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    if (a_len >= WORD_BYTES || b_len >= WORD_BYTES)
        return WORD_BYTES;
    size_t rows[3][WORD_BYTES + 1] = {{0}};
    size_t *before = rows[0];
    size_t *above = rows[1];
    size_t *row = rows[2];
    for (size_t j = 0; j <= b_len; j++)
        above[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            int x = tolower((unsigned char)a[i - 1]);
            int y = tolower((unsigned char)b[j - 1]);
            size_t best = above[j - 1] + (x != y);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]))
                best = before[j - 2] + 1 < best ? before[j - 2] + 1 : best;
            row[j] = best;
        }
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_len];
}

/* Farther than this, a suggestion would be a guess. */
static size_t reach(const char *word)
{
    size_t third = strlen(word) / 3;
    return third < 1 ? 1 : third > 4 ? 4 : third;
}

enum config_section_id config_nearest_section(const char *name)
{
    enum config_section_id nearest = CONFIG_SECTION_COUNT;
    size_t best = reach(name) + 1;
    for (enum config_section_id id = 0; id < CONFIG_SECTION_COUNT; id++) {
        size_t far = distance(name, config_sections[id].name);
        if (far < best) {
            best = far;
            nearest = id;
        }
    }
    return nearest;
}

const char *config_nearest_word(const char *word, const char *const *words)
{
    size_t count = 0;
    while (words[count])
        count++;
    return config_nearest_of(word, words, count);
}

const char *config_nearest_of(const char *word, const char *const *words, size_t count)
{
    const char *nearest = NULL;
    size_t best = reach(word) + 1;
    for (size_t i = 0; i < count; i++) {
        size_t far = distance(word, words[i]);
        if (far < best) {
            best = far;
            nearest = words[i];
        }
    }
    return nearest;
}

/* The same key in another section, or the whole path written as one key. */
static const struct config_key *misplaced_key(const char *name)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        if ((config_keys[i].name[0] && strcasecmp(config_keys[i].name, name) == 0) ||
            strcasecmp(config_keys[i].path, name) == 0)
            return &config_keys[i];
    return NULL;
}

const struct config_key *config_nearest_key(enum config_section_id section, const char *name)
{
    const struct config_key *nearest = NULL;
    size_t best = reach(name) + 1;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (config_keys[i].section != section || !config_keys[i].name[0])
            continue;
        size_t far = distance(name, config_keys[i].name);
        if (far < best) {
            best = far;
            nearest = &config_keys[i];
        }
    }
    if (nearest && best <= 1)
        return nearest;
    const struct config_key *misplaced = misplaced_key(name);
    return misplaced ? misplaced : nearest;
}

const struct config_key *config_nearest_variable(const char *variable)
{
    const struct config_key *nearest = NULL;
    size_t best = reach(variable) + 1;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        char candidate[CONFIG_VARIABLE_BYTES];
        config_key_variable(&config_keys[i], candidate);
        size_t far = distance(variable, candidate);
        if (far < best) {
            best = far;
            nearest = &config_keys[i];
        }
    }
    return nearest;
}

#define WORD_OF(function, type, id)          \
    const char *function(enum type value)    \
    {                                        \
        return config_keys[id].words[value]; \
    }
WORD_OF(config_start_str, config_start, CONFIG_ID_kafka_start)
WORD_OF(config_validation_str, config_validation, CONFIG_ID_validation_mode)
WORD_OF(config_on_billing_str, config_on_billing, CONFIG_ID_validation_on_billing_error)
WORD_OF(config_on_budget_str, config_on_budget, CONFIG_ID_validation_on_budget_spent)
