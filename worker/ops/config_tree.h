/* Values that are read as trees: lists and maps of names, `mapping`, `routes`. File and environment give
 * nodes; what they mean is judged when everything else is known (topics, country). Private to the room. */
#ifndef SIGNUP_OPS_CONFIG_TREE_H
#define SIGNUP_OPS_CONFIG_TREE_H

#include "config_load.h"

enum config_node_kind {
    CONFIG_NODE_BAD, /* complained of already: passed over in silence */
    CONFIG_NODE_NULL,
    CONFIG_NODE_TEXT,
    CONFIG_NODE_LIST,
    CONFIG_NODE_MAP
};

/* In the loader's scratch arena, with its texts, which are NUL-terminated and hold no NUL. */
struct config_node {
    enum config_node_kind kind;
    bool plain;         /* a text without quotes: 5 is a number, true a switch */
    unsigned line;      /* of the file; 0: from the environment or the table */
    unsigned name_line; /* likewise */
    struct slice name;  /* in a map */
    struct slice text;
    struct config_node *children, *last, *next;
    size_t count; /* of children */
};

#define CONFIG_NODE_CHILDREN_MAX 1024
#define CONFIG_NODE_DEPTH_MAX                                                                           \
    24 /* an expression of EVENT_EXPRESSION_DEPTH_MAX takes two for each of its levels, and three stand \
          above it */

/* One node in its place: who reads it, what complaints call it. On the reader's stack. */
struct config_spot {
    struct config_loader *loader;
    const struct config_key *key;
    const struct config_spot *up; /* NULL: the key's own value */
    const struct config_node *node;
    struct slice name; /* in a map */
    size_t number;     /* in a list, from 1; 0: not told */
};

/* NULL: out of memory, which is noted in the loader. */
struct config_node *config_node_new(struct config_loader *loader, enum config_node_kind kind, unsigned line);
void config_node_add(struct config_node *parent, struct config_node *child);

/* What the environment, the table or one line of the file gives as text: "a,b" or "a=b,c=d", as the key's
 * kind asks for. NULL: out of memory. */
struct config_node *config_node_from_text(struct config_loader *loader, const struct config_key *key,
                                          struct slice text, unsigned line);

/* Makes `node` (NULL: nothing happens) the key's value. `add`: entries of a map are put into those that are
 * there. */
void config_tree_set(struct config_loader *loader, const struct config_key *key, struct config_node *node,
                     bool add);

/* From the kept nodes to the fields of the config, with every complaint. */
void config_read_trees(struct config_loader *loader);

/* ------------------------------------------------------------------ for the readers of each kind */

struct config_spot config_spot_of(struct config_loader *loader, const struct config_key *key);
/* `number` 0: a map's child, which has its name. */
struct config_spot config_spot_in(const struct config_spot *up, const struct config_node *node,
                                  size_t number);

/* The subject is the path, like routes[2].when.url, with the node's line. */
void config_spot_complain(const struct config_spot *at, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same, about the name of the node. */
void config_spot_complain_name(const struct config_spot *at, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* "found a list; write …" */
void config_spot_refuse(const struct config_spot *at, const char *wanted);
/* "mapping.leads.fields" */
#define CONFIG_PATH_BYTES 320
void config_spot_path(const struct config_spot *at, char out[CONFIG_PATH_BYTES]);

/* Zeroed, in the config's arena. NULL: out of memory, which is noted, or nothing was asked for. */
void *config_tree_alloc(struct config_loader *loader, size_t count, size_t size);
bool config_tree_copy(struct config_loader *loader, struct slice text, struct slice *out);

/* Each gives false after its complaint; out of memory likewise. */
bool config_take_text(const struct config_spot *at, size_t min, size_t max, const char *wanted,
                      struct slice *out);
bool config_take_bool(const struct config_spot *at, bool *out);
bool config_take_word(const struct config_spot *at, const char *const *words, int *out);
bool config_take_mode(const struct config_spot *at, enum event_validation *out);
bool config_take_list_number(const struct config_spot *at, struct slice *out);
/* E.164 of `text`, about which `at` complains. */
bool config_take_phone(const struct config_spot *at, struct slice text, struct slice *out);
/* One of kafka.topics. `text` is the node's or its name. */
bool config_take_topic(const struct config_spot *at, unsigned line, struct slice text, struct slice *out);
/* A scalar as it is meant: 5, 1.5, true, text. */
bool config_take_constant(const struct config_spot *at, struct event_constant *out);
/* The name of a custom field. */
bool config_take_field_name(const struct config_spot *at, struct slice text, struct slice *out);
/* Index of the node's name among `words`; -1 after a complaint that says which was meant, or which there are.
 */
int config_take_key(const struct config_spot *at, const char *const *words);
/* "a, b or c" */
void config_words_join(const char *const *words, const char *last, char *out, size_t size);
/* True when the node is a map, or none at all; complains otherwise. */
bool config_is_map(const struct config_spot *at, const char *wanted);

/* ------------------------------------------------------------------ the kinds */

void config_read_dispositions(const struct config_spot *at);
void config_read_evidence(const struct config_spot *at);
void config_read_parameters(const struct config_spot *at);
void config_read_evidence_map(const struct config_spot *at);
void config_read_parameter_map(const struct config_spot *at);
void config_read_list_modes(const struct config_spot *at);
void config_read_mapping(const struct config_spot *at);
void config_read_routes(const struct config_spot *at);

#endif
