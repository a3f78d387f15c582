/* What the configuration says about reading events: plain data that the configuration's owner builds once and lends. */
#ifndef SIGNUP_EVENT_RULES_H
#define SIGNUP_EVENT_RULES_H

#include "signup/base/arena.h"
#include "signup/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- what an event can say: the API's upsert body, an identity, and what only the ledger keeps */

#define EVENT_FIELDS(X)                                                                                                \
    X(EVENT_ID, "event_id")                                                                                            \
    X(PHONE_NUMBER, "phone_number")                                                                                    \
    X(PHONE, "phone")                                                                                                  \
    X(LIST_NUMBER, "list_number")                                                                                      \
    X(USE_JOURNEYS, "use_journeys")                                                                                    \
    X(SKIP_JOURNEY_IF_EXISTS, "skip_journey_if_exists")                                                                \
    X(OVERRIDE_CUSTOM_FIELDS, "override_custom_fields")                                                                \
    X(USE_VALIDATION, "use_validation")                                                                                \
    X(FORCE, "force")                                                                                                  \
    X(SIGNUP_DATE, "signup_date")                                                                                      \
    X(IP_ADDRESS, "ip_address")                                                                                        \
    X(URL, "url")                                                                                                      \
    X(AD_NETWORK_SOURCE, "ad_network_source")                                                                          \
    X(AD_NETWORK_ID, "ad_network_id")                                                                                  \
    X(CUSTOM_FIELDS, "custom_fields") /* objects from here on: a mapping may fill one of their members */              \
    X(CONSENT, "consent")                                                                                              \
    X(ATTRIBUTION, "attribution")

enum event_field {
#define X(name, text) EVENT_##name,
    EVENT_FIELDS(X)
#undef X
        EVENT_FIELD_COUNT
};
#define EVENT_FIRST_OBJECT EVENT_CUSTOM_FIELDS

const char *event_field_str(enum event_field field);
/* False: no field has that name. */
bool event_field_parse(struct slice name, enum event_field *out);

/* ---- phone validation */

enum event_validation {
    EVENT_VALIDATION_OFF,
    EVENT_VALIDATION_INLINE, /* use_validation of the upsert */
    EVENT_VALIDATION_GATE,   /* asked first; a refused phone never reaches the list */
    EVENT_VALIDATION_UNSET   /* in a route or a list: says nothing */
};

struct event_list_mode {
    struct slice list_number; /* E.164 */
    enum event_validation validation;
};

/* ---- payload shapes: from a record's bytes to a JSON tree, and which of its parts are which of our fields */

/* deploy/shapes.md describes each. */
#define EVENT_PROFILES(X)                                                                                              \
    X(API, "api")                           /* the upsert body: fields by their names */                               \
    X(JSON, "json")                         /* any JSON object: only what is mapped is read */                         \
    X(CLOUDEVENTS, "cloudevents")           /* CloudEvents 1.0, structured or binary; its data is as `api` */          \
    X(CONFLUENT_JSON, "confluent_json")     /* magic byte 0, schema id, JSON; as `api` */                              \
    X(META_LEAD_ADS, "meta_lead_ads")                                                                                  \
    X(GOOGLE_LEAD_FORM, "google_lead_form")                                                                            \
    X(TIKTOK_LEAD, "tiktok_lead")                                                                                      \
    X(FORM, "form")                         /* application/x-www-form-urlencoded; as `api` */

enum event_profile {
#define X(name, text) EVENT_PROFILE_##name,
    EVENT_PROFILES(X)
#undef X
        EVENT_PROFILE_COUNT
};
const char *event_profile_str(enum event_profile profile);
bool event_profile_parse(struct slice name, enum event_profile *out);

/* RFC 6901, taken apart. */
struct event_pointer {
    struct slice text;           /* as it was written, for people */
    const struct slice *tokens;  /* unescaped; NUL-terminated behind their length */
    size_t count;                /* 0: the whole document */
};
/* Everything in `arena`. False: `*why` says for people what is wrong with the pointer (or that memory is out). */
bool event_pointer_parse(struct arena *arena, struct slice text, struct event_pointer *out, const char **why)
    __attribute__((warn_unused_result));

struct event_constant {
    enum { EVENT_CONSTANT_TEXT, EVENT_CONSTANT_BOOLEAN, EVENT_CONSTANT_INTEGER, EVENT_CONSTANT_REAL } kind;
    struct slice text; /* NUL-terminated */
    bool boolean;
    int64_t integer;
    double real;
};

/* One value of a mapping: a tree of sources and transforms. */
struct event_expression {
    enum event_operation {
        EVENT_POINTER,
        EVENT_CONSTANT,
        EVENT_HEADER,     /* the text of the Kafka header `text` */
        EVENT_FIRST_OF,   /* the first part that is there and not blank */
        EVENT_JOIN,       /* the parts that are there, as text, `text` between them */
        EVENT_LOWERCASE,  /* of its one part */
        EVENT_FIRST_NAME, /* split_name, part: first: all words of its one part but the last; of one word, that */
        EVENT_LAST_NAME   /* split_name, part: last: the last word where there are at least two */
    } operation;
    struct event_pointer pointer;
    struct event_constant constant;
    struct slice text;
    const struct event_expression *parts;
    size_t part_count;
};
#define EVENT_EXPRESSION_DEPTH_MAX 8

struct event_assignment {
    enum event_field field;
    struct slice member; /* of an object field ("custom_fields.city"); absent: the field itself. NUL-terminated */
    struct event_expression expression;
};

enum event_unmapped { EVENT_UNMAPPED_IGNORE, EVENT_UNMAPPED_CUSTOM_FIELDS };

struct event_topic {
    struct slice topic;
    enum event_profile profile;
    const struct event_assignment *assignments; /* win over what the profile itself reads */
    size_t assignment_count;
    enum event_unmapped unmapped; /* scalar members that nothing reads */
};

/* ---- attribution from the landing page's query */

struct event_click_id {
    struct slice parameter; /* of the query; compared without regard to case */
    struct slice source;    /* the ad network that it stands for */
};

struct event_attribution {
    bool from_url;
    const struct event_click_id *click_ids; /* the first that the query has decides */
    size_t click_id_count;
    const struct slice *source_parameters; /* otherwise the value of the first of these that it has (utm_source) */
    size_t source_parameter_count;
    const struct slice *id_parameters;     /* of ad_network_id (utm_id, utm_campaign) */
    size_t id_parameter_count;
};

/* ---- routes: the first whose every condition holds decides */

struct event_custom_field {
    struct slice name; /* NUL-terminated */
    struct event_constant value;
};

enum event_flag { EVENT_FLAG_UNSET = -1, EVENT_FLAG_FALSE, EVENT_FLAG_TRUE };

struct event_route {
    struct slice name; /* as configured, or "route 1", …: for people */
    /* conditions; empty ones hold always */
    const struct slice *topics;
    size_t topic_count;
    const struct slice *urls; /* patterns: `*` stands for any run of characters. Of host and path: scheme, query and fragment are not looked at,
                               * neither the URL's nor the pattern's */
    size_t url_count;
    const struct slice *ad_network_sources; /* without regard to case */
    size_t ad_network_source_count;
    const struct slice *countries; /* ISO 3166-1 alpha-2 of the phone number */
    size_t country_count;
    /* what it chooses, for events that do not say so themselves; with `override` for all */
    bool override;
    struct slice list_number; /* E.164; absent: not chosen */
    enum event_flag use_journeys;
    enum event_flag skip_journey_if_exists;
    enum event_validation validation;
    const struct event_custom_field *custom_fields; /* added where the event has none of that name */
    size_t custom_field_count;
};

/* ---- consent */

struct event_consent {
    const struct slice *require; /* names: ip_address, url, signup_date, ad_network_…, or a member of `consent` */
    size_t require_count;
    bool warn_only;
    const struct event_click_id *to_custom_fields; /* parameter: the part, named as in `require`; source: the custom field */
    size_t to_custom_field_count;
};

enum event_overflow { EVENT_OVERFLOW_DEAD, EVENT_OVERFLOW_DROP_LARGEST };

/* Borrowed for as long as it is used. */
struct event_rules {
    const char *country;      /* ISO 3166-1 alpha-2 for national spellings, upper case */
    struct slice list_number; /* default list, E.164; absent: none */
    bool use_journeys;        /* for events that do not say */
    bool skip_journey_if_exists;
    enum event_validation validation;      /* for events, routes and lists that do not say */
    const struct event_list_mode *lists;   /* by list */
    size_t list_count;
    const char *const *topics; /* configured topics: an event_id that looks like a position of one is refused */
    size_t topic_count;
    const struct event_topic *shapes; /* of topics that are not plain `api` */
    size_t shape_count;
    const struct event_route *routes;
    size_t route_count;
    struct event_attribution attribution;
    struct event_consent consent;
    enum event_overflow overflow; /* of a contact object over CONTACT_BYTES_MAX */
};

#endif
