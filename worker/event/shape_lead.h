/* What the lead forms of the ad networks have in common: answers, an identity, a campaign. */
#ifndef SIGNUP_EVENT_SHAPE_LEAD_H
#define SIGNUP_EVENT_SHAPE_LEAD_H

#include "reader.h"

struct lead_member {
    const char *from; /* the network's name */
    const char *to;   /* member of our attribution */
};

/* One network. Lists end with NULL. */
struct lead_network {
    const char *prefix;        /* of the event_id: ids of two networks never meet */
    const char *source;        /* ad_network_source */
    const char *const *ids;    /* members that hold the lead's id, the first that is there */
    const char *date;          /* member with the time of the signup */
    const char *const *ad_ids; /* members for ad_network_id, the first that is there */
    const char *const *phones; /* answers that are the phone, the first that is there; compared in small
                                  letters, _ for blanks */
    const struct lead_member *attribution;
};

/* Gives the tree its member `fields`, to be filled by lead_answer(). False: memory is out, which is latched.
 */
bool lead_begin(struct reader *reader, json_t *root);

/* Adds an answer: text, a number, true or false, or a list of them (joined with ", "). Blank ones say
 * nothing; of several under one name the last counts. */
void lead_answer(struct reader *reader, const json_t *name, json_t *value);

/* Fills what is free from the answers and from `lead`, the object with the network's ids; `path` is where
 * that stands in the tree. */
void lead_fill(struct reader *reader, const struct lead_network *network, json_t *lead, const char *path);

#endif
