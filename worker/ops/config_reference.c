/* The table for people: the reference as Markdown, and what is in force as YAML without its secrets. */
#include "config_grammar.h"
#include "config_value.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ reference */

static void write_type(FILE *out, const struct config_key *key)
{
    char words[128];
    char min[CONFIG_AMOUNT_BYTES];
    char max[CONFIG_AMOUNT_BYTES];
    config_amount_text(key->kind, key->min, min);
    config_amount_text(key->kind, key->max, max);
    switch (key->kind) {
    case CONFIG_KIND_WORD:
        config_words_text(key, words, sizeof words);
        (void)fprintf(out, "%s", words);
        break;
    case CONFIG_KIND_INTEGER:
    case CONFIG_KIND_DURATION:
    case CONFIG_KIND_MONEY:
    case CONFIG_KIND_BYTES: (void)fprintf(out, "%s, %s to %s", config_kind_prose[key->kind], min, max); break;
    default:
        (void)fprintf(out, "%s%s", config_kind_prose[key->kind],
                      key->flags & CONFIG_SECRET ? " (secret)" : "");
    }
}

static void write_key(FILE *out, const struct config_key *key)
{
    char variable[CONFIG_VARIABLE_BYTES];
    config_key_variable(key, variable);
    (void)fprintf(out, "| `%s` | ", key->path);
    write_type(out, key);
    bool map = config_kind_is_map(key->kind) ||
               (config_kind_is_tree(key->kind) && !config_kind_is_tree_list(key->kind));
    if (!key->fallback[0] && (map || key->kind == CONFIG_KIND_ROUTES))
        (void)fputs(map ? " | `{}` | " : " | `[]` | ", out);
    else
        (void)fprintf(out, key->fallback[0] ? " | `%s` | " : " | %s| ", key->fallback);
    if (key->kind == CONFIG_KIND_MAPPING || key->kind == CONFIG_KIND_ROUTES)
        (void)fprintf(out, "none | %s |\n", key->prose);
    else
        (void)fprintf(out, "`%s` | %s |\n", variable, key->prose);
}

static const char preface[] =
    "# Configuration\n"
    "\n"
    "Written by the program from the table that it reads by; `signup-worker.yaml` "
    "beside this page is an example with every key.\n"
    "\n"
    "- The file is YAML: sections with their keys indented below them. An unknown "
    "key, a key given twice and a bad value are\n"
    "  errors: `FILE:LINE: key: what is wrong; what would be right`, all of a file "
    "at once, exit code 78. A file that is missing\n"
    "  is 66. Anchors, merges, tags and a second document are refused.\n"
    "- Every key but `mapping` and `routes` has an environment variable, which wins over "
    "the file. Lists are comma-separated\n"
    "  there, maps are `name=value,name=value` and are added to the file's entries (those of "
    "`attribution.click_ids` replace\n"
    "  them). A misspelt variable of a section is an error.\n"
    "- Secrets can stand in files: `contacts_api.key_file`, `postgres.dsn_file`, "
    "`kafka.password_file`. A secret and its file\n"
    "  exclude each other in one place; between file and environment, the "
    "environment wins. Secrets are never printed.\n"
    "- Durations are whole numbers with a unit: `200ms`, `10s`, `5m`, `24h`, `7d`, "
    "also `1h30m`. Sizes: `256MiB` (`KiB`, `MiB`,\n"
    "  `GiB`, `TiB` are powers of 1024, `kB`, `MB`, `GB`, `TB` of 1000). Switches: "
    "`true` or `false`; `yes`, `no`, `on`, `off`, too.\n"
    "- A key with a dot in its own name, like `gate.allow` of `validation`, is a map within "
    "the section: `gate: {allow: [ok]}`.\n";

/* ------------------------------------------------------------------ grammar of the trees */

struct word {
    const char *word;
    const char *example;
    const char *prose;
};

#define WORD(name, word, example, prose) {word, example, prose},
#define PROFILE(name, prose) {EVENT_PROFILE_##name, prose},
static const struct word shape_words[] = {CONFIG_SHAPE_KEYS(WORD)};
static const struct word transform_words[] = {CONFIG_TRANSFORMS(WORD)};
static const struct word route_words[] = {CONFIG_ROUTE_KEYS(WORD)};
static const struct word when_words[] = {CONFIG_WHEN_KEYS(WORD)};
static const struct {
    enum event_profile profile;
    const char *prose;
} profiles[] = {CONFIG_PROFILES(PROFILE)};
_Static_assert(sizeof profiles / sizeof profiles[0] == EVENT_PROFILE_COUNT, "each profile has its line");
#undef PROFILE
#undef WORD
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* Words without an example belong to another word's. */
static void write_words(FILE *out, const char *heading, const struct word *words, size_t count)
{
    (void)fprintf(out, "\n| %s | for example | |\n| --- | --- | --- |\n", heading);
    for (size_t i = 0; i < count; i++)
        if (words[i].example[0])
            (void)fprintf(out, "| `%s` | `%s` | %s |\n", words[i].word, words[i].example, words[i].prose);
}

static void write_mapping(FILE *out)
{
    write_words(out, "of a topic", shape_words, COUNT(shape_words));
    (void)fputs("\n| profile | |\n| --- | --- |\n", out);
    for (size_t i = 0; i < COUNT(profiles); i++)
        (void)fprintf(out, "| `%s` | %s |\n", event_profile_str(profiles[i].profile), profiles[i].prose);
    (void)fprintf(out,
                  "\nA field is filled from a JSON Pointer (RFC 6901) into the event, like `/contact/phone`, "
                  "or by a transform, whose "
                  "parts are pointers or\ntransforms again, %d deep at most. `shapes.md` beside this page "
                  "shows each profile with a "
                  "sample.\n",
                  EVENT_EXPRESSION_DEPTH_MAX);
    write_words(out, "transform", transform_words, COUNT(transform_words));
}

static void write_routes(FILE *out)
{
    (void)fputs("\nRoutes are looked at in their order, and counted from 1 in messages.\n", out);
    write_words(out, "of a route", route_words, COUNT(route_words));
    (void)fputs("\nEach condition is one value or a list of which one must fit; all conditions must hold.\n",
                out);
    write_words(out, "condition", when_words, COUNT(when_words));
}

void config_write_reference(FILE *out)
{
    (void)fputs(preface, out);
    for (enum config_section_id id = 0; id < CONFIG_SECTION_COUNT; id++) {
        (void)fprintf(out,
                      "\n## %s\n%s\n\n| key | type | default | variable | |\n| --- | --- | --- | --- | --- "
                      "|\n",
                      config_sections[id].name, config_sections[id].prose);
        for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
            if (config_keys[i].section == id)
                write_key(out, &config_keys[i]);
        if (id == CONFIG_SECTION_mapping)
            write_mapping(out);
        if (id == CONFIG_SECTION_routes)
            write_routes(out);
    }
}
