/* One reading of one record: what the steps of signup_read() share. */
#ifndef SIGNUP_EVENT_READER_H
#define SIGNUP_EVENT_READER_H

#include "signup/event/signup.h"

#include <jansson.h>

struct reader {
    const struct event_rules *rules;
    const struct record *record;
    wall_us_t now;
    struct arena *arena;
    struct signup *out;
    const struct event_trace *trace;  /* NULL: nobody listens */
    const struct event_topic *shape;  /* of the record's topic; NULL: plain `api` */
    const struct event_route *route;  /* the one that matched; NULL: none */
    json_t *field[EVENT_FIELD_COUNT]; /* what the event says, borrowed from the tree; NULL: nothing, null included */
    const char *origin[EVENT_FIELD_COUNT]; /* where it came from, for people; NULL: the field of that name */
    json_t *envelope;         /* attributes around the tree (CloudEvents); NULL: none */
    json_t *answers;          /* a lead's answers, the tree's member `fields`; NULL: no lead */
    const char *phone_answer; /* the name of the answer that a lead profile took for the phone; NULL: none */
    json_t *made;             /* owns what the reading itself builds; NULL: nothing yet */
    json_t *origins;          /* while somebody listens: a member ("custom_fields.city") to where it came from */
    unsigned writable;        /* bits of fields whose object the reading has built: members may be put in */
    struct buf text; /* working text: whoever uses it empties it first */
    bool full;       /* the arena or the working text reached its cap: the event is dead whatever is found */
};

/* The event is dead of `code`; the first fault found is the one that is told. `format` makes a sentence
 * for people, without a phone number and without the payload. */
void reader_die(struct reader *reader, enum death_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A worker warning. */
void reader_warn(struct reader *reader, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Copies a present slice into the arena; absent when that is full, which is then latched. */
struct slice reader_keep(struct reader *reader, struct slice text) __attribute__((warn_unused_result));

/* Copies the working text, as reader_keep(). */
struct slice reader_keep_text(struct reader *reader) __attribute__((warn_unused_result));

/* A member of an object; NULL where it is absent, null included. Borrowed from the tree. */
json_t *reader_member(const json_t *root, const char *name);

/* Tells the trace, if there is one. */
void reader_note(const struct reader *reader, const char *step, const char *field, struct slice value,
                 const char *origin);

/* *takes* a value that the reading has built and keeps it until the end of the reading; gives it back,
 * borrowed. NULL: `value` was NULL or memory is out, which is then latched. */
json_t *reader_own(struct reader *reader, json_t *value);

/* The text of a JSON string, borrowed from the tree. */
struct slice reader_string(const json_t *value);

/* What a JSON value is, for people: "a number", "an object", … */
const char *reader_type_str(const json_t *value);

#endif
