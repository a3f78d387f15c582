/* What the steps of one load share: file, environment, cross-checks. Private to the room. */
#ifndef SIGNUP_OPS_CONFIG_LOAD_H
#define SIGNUP_OPS_CONFIG_LOAD_H

#include "config_value.h"

#include <stdarg.h>

struct config_node;

/* A later layer beats an earlier one. */
enum config_layer { CONFIG_LAYER_DEFAULT, CONFIG_LAYER_FILE, CONFIG_LAYER_ENVIRONMENT };

struct config_origin {
    enum config_layer layer;
    unsigned line; /* of the file */
    bool bad;      /* the value was refused: the field holds an earlier layer's, or nothing */
};

struct config_loader {
    const struct config_request *request;
    struct config *config;
    const char *name; /* the file's, for complaints; NULL: there is none */
    struct config_origin origins[CONFIG_KEY_COUNT];
    unsigned key_lines[CONFIG_KEY_COUNT];         /* where the file gives the key; 0: it does not */
    unsigned section_lines[CONFIG_SECTION_COUNT]; /* likewise */
    struct config_node *trees[CONFIG_KEY_COUNT];  /* of the kinds that are trees */
    struct arena scratch;                         /* theirs, until the load is over */
    size_t expressions;                           /* of the mapping, so far */
    unsigned complaints;                          /* not counting files that are missing */
    unsigned missing;                             /* files that cannot be read */
    bool out_of_memory;
};

static inline size_t config_key_id(const struct config_key *key)
{
    return (size_t)(key - config_keys);
}

/* One complaint, "NAME:LINE: subject: …" when `line` is not 0, else "subject: …". */
void config_complain(struct config_loader *loader, unsigned line, const char *subject, const char *format,
                     ...) __attribute__((format(printf, 4, 5)));

void config_complain_args(struct config_loader *loader, unsigned line, const char *subject,
                          const char *format, va_list args) __attribute__((format(printf, 4, 0)));

/* Notes that memory is out, and says so once. */
void config_complain_memory(struct config_loader *loader);

/* About a key's present value: the subject is the file's line and the key, or the environment variable. */
void config_complain_key(struct config_loader *loader, const struct config_key *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As config_complain_key(), about a file that cannot be read. */
void config_complain_missing(struct config_loader *loader, const struct config_key *key, const char *why);

/* What config_value_set() and its like said. */
void config_complain_wrong(struct config_loader *loader, unsigned line, const char *subject,
                           const struct config_wrong *wrong);

void config_read_yaml(struct config_loader *loader, const char *bytes, size_t len);
void config_read_environment(struct config_loader *loader);

/* Chooses between a secret and its file, reads the files, and looks at keys together. */
void config_settle(struct config_loader *loader);

#endif
