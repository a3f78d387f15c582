/* The words of the trees `mapping` and `routes`: what reads them, guesses at misspelt ones and writes the reference goes by these lists.
 * Private to the room. */
#ifndef SIGNUP_OPS_CONFIG_GRAMMAR_H
#define SIGNUP_OPS_CONFIG_GRAMMAR_H

/* X(NAME, "word", "example", "prose") */
#define CONFIG_SHAPE_KEYS(X)                                                                                           \
    X(PROFILE, "profile", "json",                                                                                      \
      "How bytes become JSON, see below. Default: `json` where `fields` is given, else `api`.")                        \
    X(FIELDS, "fields", "{phone_number: /contact/phone}",                                                              \
      "Our fields and where each comes from; beats what the profile reads itself. A member of an object is written with a dot: "\
      "`custom_fields.city`, `consent.text`, `attribution.gclid`.")                                                    \
    X(UNMAPPED, "unmapped", "ignore", "What becomes of the rest: `ignore`, or `custom_fields`.")

#define CONFIG_TRANSFORMS(X)                                                                                           \
    X(CONSTANT, "constant", "{constant: \"+18005550100\"}", "Always this: text, a number, true or false.")             \
    X(HEADER, "header", "{header: x-gclid}", "The text of the record's header of that name.")                          \
    X(FIRST_OF, "first_of", "{first_of: [/utm/source, /src]}", "The first part that is there and not blank.")          \
    X(JOIN, "join", "{join: [/form, /id], with: \"-\"}", "The parts that are there, `with` between them (default: one blank).")\
    X(LOWERCASE, "lowercase", "{lowercase: /src}", "Its part in lower case.")                                          \
    X(SPLIT_NAME, "split_name", "{split_name: /name, part: first}",                                                    \
      "`part: first`: all words but the last, of one word that; `part: last`: the last of two or more.")               \
    X(WITH, "with", "", "")                                                                                            \
    X(PART, "part", "", "")

#define CONFIG_ROUTE_KEYS(X)                                                                                           \
    X(NAME, "name", "california", "For people. Default: `route 1`, `route 2`, …")                                      \
    X(WHEN, "when", "{country: [US, CA]}", "The conditions, see below. Without any the route always holds, and is the last.")\
    X(LIST_NUMBER, "list_number", "\"+18005550101\"", "The sending list.")                                             \
    X(USE_JOURNEYS, "use_journeys", "false", "As `defaults.use_journeys`.")                                            \
    X(SKIP_JOURNEY_IF_EXISTS, "skip_journey_if_exists", "true", "As `defaults.skip_journey_if_exists`.")               \
    X(VALIDATION, "validation", "gate", "As `validation.mode`.")                                                       \
    X(CUSTOM_FIELDS, "custom_fields", "{campaign: winter, wave: 3}", "Added where the event has none of that name.")   \
    X(OVERRIDE, "override", "false", "`true`: what the route chooses beats what the event says itself.")

#define CONFIG_WHEN_KEYS(X)                                                                                            \
    X(TOPIC, "topic", "leads", "The topic, one of `kafka.topics`.")                                                    \
    X(URL, "url", "\"*.example.com/ca/*\"",                                                                            \
      "A pattern of the page's host and path, `*` for any run of characters; without a slash, of the host alone.")     \
    X(AD_NETWORK_SOURCE, "ad_network_source", "[facebook, tiktok]", "The ad network, without regard to case.")         \
    X(COUNTRY, "country", "CA", "The country of the phone number, ISO 3166.")

/* X(NAME, "prose") of each of EVENT_PROFILES, in its order. */
#define CONFIG_PROFILES(X)                                                                                             \
    X(API, "The API's own body: fields by their names.")                                                               \
    X(JSON, "Any JSON object: only what `fields` names is read.")                                                      \
    X(CLOUDEVENTS, "CloudEvents 1.0, structured or binary; its data is as `api`.")                                     \
    X(CONFLUENT_JSON, "Confluent's wire format with JSON Schema; as `api`.")                                           \
    X(META_LEAD_ADS, "Meta lead ads.")                                                                                 \
    X(GOOGLE_LEAD_FORM, "Google Ads lead form.")                                                                       \
    X(TIKTOK_LEAD, "TikTok lead.")                                                                                     \
    X(FORM, "`application/x-www-form-urlencoded`; as `api`.")

#define CONFIG_GRAMMAR_ENUM(list, prefix) enum prefix { list(CONFIG_GRAMMAR_##prefix) prefix##_count };
#define CONFIG_GRAMMAR_config_shape_key(name, ...) CONFIG_SHAPE_##name,
#define CONFIG_GRAMMAR_config_transform(name, ...) CONFIG_TRANSFORM_##name,
#define CONFIG_GRAMMAR_config_route_key(name, ...) CONFIG_ROUTE_##name,
#define CONFIG_GRAMMAR_config_when_key(name, ...) CONFIG_WHEN_##name,
CONFIG_GRAMMAR_ENUM(CONFIG_SHAPE_KEYS, config_shape_key)
CONFIG_GRAMMAR_ENUM(CONFIG_TRANSFORMS, config_transform)
CONFIG_GRAMMAR_ENUM(CONFIG_ROUTE_KEYS, config_route_key)
CONFIG_GRAMMAR_ENUM(CONFIG_WHEN_KEYS, config_when_key)

/* The words of a list as an array that ends with NULL. */
#define CONFIG_GRAMMAR_WORD(name, word, ...) word,

#endif
