/* The configuration as a plain typed struct, read from YAML, environment and secret files, with every
 * complaint at once. */
#ifndef SIGNUP_OPS_CONFIG_H
#define SIGNUP_OPS_CONFIG_H

#include "signup/base/arena.h"
#include "signup/core/policy.h"
#include "signup/event/rules.h"
#include "signup/ops/config_table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct config_list {
    char **items;
    size_t count;
};

struct config_pair {
    char *name;
    char *value;
};

struct config_map {
    struct config_pair *items;
    size_t count;
};

/* What event_rules lends, as arrays: items and texts are in config->arena, texts NUL-terminated. */
struct config_slices {
    struct slice *items;
    size_t count;
};

struct config_names {
    struct event_click_id *items;
    size_t count;
};

struct config_list_modes {
    struct event_list_mode *items;
    size_t count;
};

struct config_shapes {
    struct event_topic *items;
    size_t count;
};

struct config_routes {
    struct event_route *items;
    size_t count;
};

#define X(name, type, prose) typedef type config_c_##name;
CONFIG_KINDS(X)
#undef X

/* One member a section, one field a key of the table: config->contacts_api.timeout_us. Texts are never NULL.
 * URLs have no trailing slash, phones are E.164 or "". All of it is owned by the config. */
struct config {
#define CONFIG_FIELD(section, field, kind, ...) config_c_##kind field;
#define CONFIG_MEMBER(section, KEYS, prose) \
    struct {                                \
        KEYS(CONFIG_FIELD)                  \
    } section; /* NOLINT(bugprone-macro-parentheses): a member's name */
    CONFIG_SECTIONS(CONFIG_MEMBER)
#undef CONFIG_MEMBER
#undef CONFIG_FIELD
    struct arena arena; /* of the trees: lists of names, mapping, routes */
};

/* Which secrets the caller is going to use: only these are read from their files and missed when absent. */
#define CONFIG_NEEDS_KAFKA 1U
#define CONFIG_NEEDS_POSTGRES 2U
#define CONFIG_NEEDS_API 4U

struct config_request {
    const char *path;               /* NULL: no file, defaults and environment alone */
    const char *const *environment; /* "NAME=value" …, NULL; as `environ`. NULL: none */
    unsigned needs;                 /* CONFIG_NEEDS_… */
    /* Says why a property of kafka.properties may not be set, or NULL when it may. NULL: every property may.
     */
    const char *(*property_refused)(const char *name);
    FILE *complaints; /* one line each: "FILE:LINE: key: what is wrong; what would be right". No line holds a
                         secret. */
};

/* Reads the file, then the environment (which wins), then the secret files, and checks it all. Gives 0 and a
 * config for config_free(), or a code of sysexits.h and NULL after every complaint has been written:
 * EX_NOINPUT (66) a file is missing or cannot be read, EX_CONFIG (78) something in the file or in the
 * environment is wrong, EX_OSERR (71) out of memory. */
int config_load(const struct config_request *request, struct config **out)
    __attribute__((warn_unused_result));

/* As config_load() with the file's bytes at hand; `name` stands for the path in complaints and request->path
 * is not read. */
int config_load_buffer(const char *name, const char *bytes, size_t len, const struct config_request *request,
                       struct config **out) __attribute__((warn_unused_result));

/* Wipes the secrets. NULL is fine. */
void config_free(struct config *config);

/* Overwrites and removes the variables of this process's environment that hold secrets
 * (SIGNUP_CONTACTS_API_KEY, SIGNUP_POSTGRES_DSN, SIGNUP_KAFKA_PROPERTIES): neither a child nor
 * /proc/PID/environ shows them afterwards. Call before there are threads. */
void config_forget_environment(void);

/* Reads one secret from a file: blanks and newlines around it are cut, anything but visible text within it is
 * refused, blanks excepted where `blanks` says so. Gives 0 and text for free(), or EX_NOINPUT, EX_CONFIG,
 * EX_OSERR and a sentence in `why`. Small blocking read: the callers are start-up and the answer to a refused
 * key. */
#define CONFIG_WHY_BYTES 256
int config_read_secret(const char *path, bool blanks, char **out, char why[CONFIG_WHY_BYTES])
    __attribute__((warn_unused_result));

/* The words of the keys of kind WORD, in the order of their enum. */
const char *config_start_str(enum config_start start);
const char *config_validation_str(enum config_validation mode);
const char *config_on_billing_str(enum config_on_billing choice);
const char *config_on_budget_str(enum config_on_budget choice);

/* "12.5" for 12,500,000 millionths of a US dollar, exact; "" for CONFIG_MONEY_NONE. */
#define CONFIG_MONEY_BYTES 32
void config_money_text(int64_t millionths, char out[CONFIG_MONEY_BYTES]);

/* Copies `dsn` with every password in it replaced by "***". Gives text for free(), NULL when out of memory.
 */
char *config_mask_dsn(const char *dsn);

/* What is in force, as YAML, secrets masked. */
void config_print(const struct config *config, FILE *out);

/* The key reference as Markdown: deploy/configuration.md. */
void config_write_reference(FILE *out);

#endif
