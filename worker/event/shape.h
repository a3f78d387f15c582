/* The profiles: how a record's bytes become a tree, and what each reads from it by itself. */
#ifndef SIGNUP_EVENT_SHAPE_H
#define SIGNUP_EVENT_SHAPE_H

#include "reader.h"

/* Looks up the shape of the record's topic, fills reader->shape, and reads the bytes as its profile does;
 * NULL after reader_die(). */
json_t *shape_decode(struct reader *reader, struct slice bytes);

/* The fields that the profile reads by itself, where the mapping has left them free. */
void shape_fill(struct reader *reader, json_t *root);

/* The members of the profile's tree are fields by their names. */
bool shape_reads_names(enum event_profile profile);

/* The custom field that an answer becomes: its name, or that in `space`. */
const char *shape_answer_name(enum event_profile profile, const char *name, char *space, size_t size);

/* Tells the trace what the bytes were. */
void shape_note(const struct reader *reader, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- one file each */

json_t *shape_cloudevents(struct reader *reader, struct slice bytes);
void shape_cloudevents_fill(struct reader *reader, json_t *root);

json_t *shape_confluent(struct reader *reader, struct slice bytes);

json_t *form_decode(struct reader *reader, struct slice bytes);

json_t *profile_meta(struct reader *reader, struct slice bytes);
void profile_meta_fill(struct reader *reader, json_t *root);
json_t *profile_google(struct reader *reader, struct slice bytes);
void profile_google_fill(struct reader *reader, json_t *root);
json_t *profile_tiktok(struct reader *reader, struct slice bytes);
void profile_tiktok_fill(struct reader *reader, json_t *root);

#endif
