/* One text to one field: every kind's reading, bounds and complaint. Private to the room. */
#ifndef SIGNUP_OPS_CONFIG_VALUE_H
#define SIGNUP_OPS_CONFIG_VALUE_H

#include "config_keys.h"

struct config_wrong {
    char text[320]; /* "what is wrong; what would be right"; never a secret */
    bool out_of_memory;
};

/* Reads `text` into the key's field; of a list, it is one part that is appended. False: the field is as it
 * was, `wrong` says why. Not for maps. */
bool config_value_set(struct config *config, const struct config_key *key, struct slice text,
                      struct config_wrong *wrong) __attribute__((warn_unused_result));

/* As config_value_set() for each part of a text with commas. */
bool config_value_set_parts(struct config *config, const struct config_key *key, struct slice text,
                            struct config_wrong *wrong) __attribute__((warn_unused_result));

/* Puts one entry into a map; `replace` says whether an entry of the same name gives way or is an error. */
bool config_value_put(struct config *config, const struct config_key *key, struct slice name,
                      struct slice value, bool replace, struct config_wrong *wrong)
    __attribute__((warn_unused_result));

/* NULL: the map has no such entry. */
const char *config_map_get(const struct config_map *map, const char *name);

/* Frees what the field holds and empties it. Secrets are overwritten before. */
void config_value_clear(struct config *config, const struct config_key *key);

/* The field as text that reads back the same; secrets are not masked. `out` may be cut. Not for maps and
 * lists. */
void config_value_text(const struct config *config, const struct config_key *key, char *out, size_t size);

/* Switches: true, false and their kin. */
bool config_bool_read(struct slice text, bool *out, struct config_wrong *wrong)
    __attribute__((warn_unused_result));
/* Index of `text` among `words`, which end with NULL, without regard to case; -1: it is none of them. */
int config_word_find(const char *const *words, struct slice text);

/* "90s", "1h", "200ms" for microseconds, "256MiB" for bytes. */
#define CONFIG_AMOUNT_BYTES 32
void config_duration_text(int64_t us, char out[CONFIG_AMOUNT_BYTES]);
void config_bytes_text(int64_t bytes, char out[CONFIG_AMOUNT_BYTES]);

/* What belongs behind the key's type in the reference and in complaints: " off, inline or gate". */
void config_words_text(const struct config_key *key, char *out, size_t size);

/* `text` in quotes, control characters escaped, cut after 60 bytes. */
#define CONFIG_QUOTED_BYTES 80
void config_quote(struct slice text, char out[CONFIG_QUOTED_BYTES]);

/* ------------------------------------------------------------------ shared by the files of this header */

/* Fills `wrong`, gives false. */
bool config_fail(struct config_wrong *wrong, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool config_fail_memory(struct config_wrong *wrong);

/* The text without the blanks and newlines around it. */
struct slice config_trim(struct slice text);

/* For free(); NULL when out of memory. */
char *config_text_copy(struct slice text) __attribute__((warn_unused_result));
/* Overwrites and frees; NULL is fine. */
void config_text_wipe(char *text);
bool config_text_replace(char **field, struct slice text, struct config_wrong *wrong)
    __attribute__((warn_unused_result));

/* The digits at the front of `text`, which moves past them. False: none, or too many. */
bool config_take_number(struct slice *text, int64_t *out);
/* Integers, durations, sizes. */
bool config_amount_set(const struct config_key *key, struct slice text, int64_t *field,
                       struct config_wrong *wrong);
void config_amount_text(enum config_kind kind, int64_t value, char out[CONFIG_AMOUNT_BYTES]);

bool config_list_append(struct config_list *list, struct slice text, struct config_wrong *wrong);
bool config_servers_append(char **field, int64_t max, struct slice text, struct config_wrong *wrong);
void config_list_clear(struct config_list *list);
void config_map_clear(struct config_map *map);

#endif
