/* The table for people: the reference as Markdown, and what is in force as YAML without its secrets. */
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
    if (config_kind_is_map(key->kind))
        (void)fprintf(out, " | `{}` | ");
    else
        (void)fprintf(out, key->fallback[0] ? " | `%s` | " : " | %s| ", key->fallback);
    (void)fprintf(out, "`%s` | %s |\n", variable, key->prose);
}

static const char preface[] = "# Configuration\n"
                              "\n"
                              "Written by the program from the table that it reads by; `signup-worker.yaml` "
                              "beside this page is an example with every key.\n"
                              "\n"
                              "- The file is YAML: sections with their keys indented below them. An unknown "
                              "key, a key given twice and a bad value are\n"
                              "  errors: `FILE:LINE: key: what is wrong; what would be right`, all of a file "
                              "at once, exit code 78. A file that is missing\n"
                              "  is 66. Anchors, merges, tags and a second document are refused.\n"
                              "- Every key has an environment variable, which wins over the file. Lists are "
                              "comma-separated there, maps are\n"
                              "  `name=value,name=value` and are added to the file's entries. A misspelt "
                              "variable of a section is an error.\n"
                              "- Secrets can stand in files: `contacts_api.key_file`, `postgres.dsn_file`, "
                              "`kafka.password_file`. A secret and its file\n"
                              "  exclude each other in one place; between file and environment, the "
                              "environment wins. Secrets are never printed.\n"
                              "- Durations are whole numbers with a unit: `200ms`, `10s`, `5m`, `24h`, `7d`, "
                              "also `1h30m`. Sizes: `256MiB` (`KiB`, `MiB`,\n"
                              "  `GiB`, `TiB` are powers of 1024, `kB`, `MB`, `GB`, `TB` of 1000). Switches: "
                              "`true` or `false`; `yes`, `no`, `on`, `off`, too.\n";

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
    }
}

/* ------------------------------------------------------------------ in force */

static void print_quoted(FILE *out, const char *text)
{
    (void)fputc('"', out);
    for (; *text; text++) {
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
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &config_keys[i];
        if (key->section != section)
            (void)fprintf(out, "%s:%s", config_sections[key->section].name, key->name[0] ? "\n" : "");
        section = key->section;
        if (key->name[0])
            (void)fprintf(out, "  %s:", key->name);
        if (config_kind_is_map(key->kind))
            print_map(out, config, key, key->name[0] ? "  " : "");
        else if (key->kind == CONFIG_KIND_TOPICS)
            print_topics(out, config_field_const(config, key));
        else
            print_scalar(out, config, key);
    }
}

#define WORD_OF(function, type, id)                                                                          \
    const char *function(enum type value)                                                                    \
    {                                                                                                        \
        return config_keys[id].words[value];                                                                 \
    }
WORD_OF(config_start_str, config_start, CONFIG_ID_kafka_start)
WORD_OF(config_validation_str, config_validation, CONFIG_ID_validation_mode)
WORD_OF(config_on_billing_str, config_on_billing, CONFIG_ID_validation_on_billing_error)
