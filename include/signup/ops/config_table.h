/* The one table of the configuration: keys, types, defaults, bounds and their prose. The typed `struct config`, the loader, the
 * environment variables and the reference in deploy/configuration.md are all generated from it. */
#ifndef SIGNUP_OPS_CONFIG_TABLE_H
#define SIGNUP_OPS_CONFIG_TABLE_H

/* Kinds of values: name, C type of the field, what people call it. */
#define CONFIG_KINDS(X)                                                                                                \
    X(TEXT, char *, "text")                                                                                            \
    X(SERVERS, char *, "host:port, comma-separated or a list")                                                         \
    X(TOPIC, char *, "topic")                                                                                          \
    X(TOPICS, struct config_list, "list of topics")                                                                    \
    X(DSN, char *, "connection string")                                                                                \
    X(SCHEMA, char *, "schema name")                                                                                   \
    X(PATH, char *, "path")                                                                                            \
    X(URL, char *, "URL")                                                                                              \
    X(API_KEY, char *, "text")                                                                                         \
    X(COUNTRY, char *, "ISO 3166 country")                                                                             \
    X(PHONE, char *, "phone number")                                                                                   \
    X(LISTEN, char *, "address:port or off")                                                                           \
    X(BOOL, bool, "true or false")                                                                                     \
    X(INTEGER, int64_t, "integer")                                                                                     \
    X(DURATION, int64_t, "duration")                                                                                   \
    X(BYTES, int64_t, "size")                                                                                          \
    X(WORD, int, "one of")                                                                                             \
    X(PROPERTIES, struct config_map, "map of text")                                                                    \
    X(POLICY, struct policy, "map of verdicts")                                                                        \
    X(MONEY, int64_t, "US dollars")                                                                                    \
    /* From here on: read as a tree, and only when all else is known (config_kind_is_tree()). */                       \
    X(DISPOSITIONS, struct config_slices, "list of dispositions, or a map of true and false")                          \
    X(EVIDENCE, struct config_slices, "list of names")                                                                 \
    X(PARAMETERS, struct config_slices, "list of names")                                                               \
    X(EVIDENCE_MAP, struct config_names, "map of names")                                                               \
    X(PARAMETER_MAP, struct config_names, "map of names")                                                              \
    X(LIST_MODES, struct config_list_modes, "map of off, inline and gate")                                             \
    X(MAPPING, struct config_shapes, "map of topics, see below")                                                       \
    X(ROUTES, struct config_routes, "list of routes, see below")

enum config_kind {
#define X(name, type, prose) CONFIG_KIND_##name,
    CONFIG_KINDS(X)
#undef X
        CONFIG_KIND_COUNT
};

/* Words of the keys of kind WORD; the field holds the index: enum config_<words>. */
#define CONFIG_WORDS_START(X) X(START, EARLIEST, "earliest") X(START, LATEST, "latest")
#define CONFIG_WORDS_VALIDATION(X)                                                                                     \
    X(VALIDATION, OFF, "off") X(VALIDATION, INLINE, "inline") X(VALIDATION, GATE, "gate")
#define CONFIG_WORDS_ON_BILLING(X)                                                                                     \
    X(ON_BILLING, PARK, "park")                                                                                        \
    X(ON_BILLING, WITHOUT_VALIDATION, "without_validation")                                                            \
    X(ON_BILLING, DEAD, "dead")
#define CONFIG_WORDS_ON_BUDGET(X)                                                                                      \
    X(ON_BUDGET, PARK_UNTIL_TOMORROW, "park_until_tomorrow") X(ON_BUDGET, WITHOUT_VALIDATION, "without_validation")
#define CONFIG_WORDS_ON_MISSING(X) X(ON_MISSING, DEAD, "dead") X(ON_MISSING, WARN, "warn")
#define CONFIG_WORDS_OVERFLOW(X) X(OVERFLOW, DEAD, "dead") X(OVERFLOW, DROP_LARGEST, "drop_largest")
#define CONFIG_WORDS_LOG_LEVEL(X)                                                                                      \
    X(LOG_LEVEL, DEBUG, "debug") X(LOG_LEVEL, INFO, "info") X(LOG_LEVEL, WARN, "warn") X(LOG_LEVEL, ERROR, "error")
#define CONFIG_WORDS_LOG_FORMAT(X) X(LOG_FORMAT, LOGFMT, "logfmt") X(LOG_FORMAT, JSON, "json")
#define CONFIG_WORDS_NONE(X)

#define CONFIG_WORD_CONSTANT(words, name, text) CONFIG_##words##_##name,
enum config_start { CONFIG_WORDS_START(CONFIG_WORD_CONSTANT) };
enum config_validation { CONFIG_WORDS_VALIDATION(CONFIG_WORD_CONSTANT) }; /* as enum event_validation */
enum config_on_billing { CONFIG_WORDS_ON_BILLING(CONFIG_WORD_CONSTANT) };
enum config_on_budget { CONFIG_WORDS_ON_BUDGET(CONFIG_WORD_CONSTANT) };   /* as enum on_budget */
enum config_on_missing { CONFIG_WORDS_ON_MISSING(CONFIG_WORD_CONSTANT) };
enum config_overflow { CONFIG_WORDS_OVERFLOW(CONFIG_WORD_CONSTANT) };     /* as enum event_overflow */
enum config_log_level { CONFIG_WORDS_LOG_LEVEL(CONFIG_WORD_CONSTANT) };   /* as enum log_level */
enum config_log_format { CONFIG_WORDS_LOG_FORMAT(CONFIG_WORD_CONSTANT) }; /* as enum log_format */
#undef CONFIG_WORD_CONSTANT

#define CONFIG_EMPTY 1U  /* the empty text is a value too */
#define CONFIG_SECRET 2U /* never printed; a connection string is printed without its password */
#define CONFIG_WHOLE 4U  /* a map whose order counts: the environment's replaces the file's instead of being added to it */

/* Bounds: durations in microseconds, sizes in bytes, texts in bytes of length, money in millionths of a US dollar, trees in
 * entries. */
#define CONFIG_MS INT64_C(1000)
#define CONFIG_S INT64_C(1000000)
#define CONFIG_H (3600 * CONFIG_S)
#define CONFIG_KIB INT64_C(1024)
#define CONFIG_MIB (1024 * CONFIG_KIB)
#define CONFIG_GIB (1024 * CONFIG_MIB)
#define CONFIG_USD INT64_C(1000000)

/* No sum of money: "" of a key of kind MONEY. As BUDGET_NONE. */
#define CONFIG_MONEY_NONE INT64_C(-1)

/* K(section, field, KIND, "key", "default", min, max, WORDS, flags, "prose"). A key with a dot in it, like "gate.allow", is a map
 * within its section. */
#define CONFIG_KAFKA(K)                                                                                                \
    K(kafka, brokers, SERVERS, "brokers", "localhost:9092", 1, 4096, NONE, 0, "Where to find the cluster.")            \
    K(kafka, topics, TOPICS, "topics", "signups", 1, 249, NONE, 0, "Topics that carry signup events.")                 \
    K(kafka, group, TEXT, "group", "signup-worker", 1, 255, NONE, 0,                                                   \
      "Consumer group. Workers of one group share the partitions among themselves.")                                   \
    K(kafka, start, WORD, "start", "earliest", 0, 0, START, 0, "Where a new group begins to read.")                    \
    K(kafka, dead_letter_topic, TOPIC, "dead_letter_topic", "signups.dlq", 1, 249, NONE, 0,                            \
      "Topic for the events that failed for good.")                                                                    \
    K(kafka, outcomes_topic, TOPIC, "outcomes_topic", "", 0, 249, NONE, CONFIG_EMPTY,                                  \
      "Topic that is told what became of each event, for example `signups.outcomes` "                                  \
      "(`schemas/signup-outcome.schema.json`). Empty: none is.")                                                       \
    K(kafka, outcomes_phone, BOOL, "outcomes_phone", "false", 0, 0, NONE, 0,                                           \
      "The phone number is among what that topic is told.")                                                            \
    K(kafka, properties, PROPERTIES, "properties", "", 0, 65536, NONE, CONFIG_SECRET,                                  \
      "Anything else librdkafka takes, for example `security.protocol: SASL_SSL`. Properties that the worker "         \
      "must set itself are refused.")                                                                                  \
    K(kafka, password_file, PATH, "password_file", "", 0, 4096, NONE, CONFIG_EMPTY,                                    \
      "File that holds `sasl.password`.")                                                                              \
    K(kafka, commit_interval_us, DURATION, "commit_interval", "1s", 10 * CONFIG_MS, 60 * CONFIG_S, NONE, 0,            \
      "How often finished offsets are committed.")                                                                     \
    K(kafka, revoke_drain_us, DURATION, "revoke_drain", "2s", 0, 30 * CONFIG_S, NONE, 0,                               \
      "How long the calls of a partition that moves to another worker may take to finish.")

#define CONFIG_POSTGRES(K)                                                                                             \
    K(postgres, dsn, DSN, "dsn", "postgresql:///signup", 1, 4096, NONE, CONFIG_SECRET,                                 \
      "The ledger's database, as libpq takes it: a URI or `keyword=value` pairs.")                                     \
    K(postgres, dsn_file, PATH, "dsn_file", "", 0, 4096, NONE, CONFIG_EMPTY,                                           \
      "File that holds the connection string, instead of `dsn`.")                                                      \
    K(postgres, schema, SCHEMA, "schema", "signup", 1, 63, NONE, 0, "Schema of the ledger's tables.")                  \
    K(postgres, auto_migrate, BOOL, "auto_migrate", "false", 0, 0, NONE, 0,                                            \
      "`run` brings an older schema up to date by itself.")                                                            \
    K(postgres, prepared, BOOL, "prepared", "true", 0, 0, NONE, 0,                                                     \
      "Prepared statements. Say false behind a PgBouncer older than 1.21 that pools transactions.")                    \
    K(postgres, connect_timeout_us, DURATION, "connect_timeout", "5s", 100 * CONFIG_MS, 300 * CONFIG_S, NONE, 0,       \
      "Longest wait for a connection, the name look-up included.")                                                     \
    K(postgres, timeout_us, DURATION, "timeout", "10s", 100 * CONFIG_MS, 300 * CONFIG_S, NONE, 0,                      \
      "Longest wait for the answer to a statement; then the connection is given up.")

#define CONFIG_CONTACTS_API(K)                                                                                         \
    K(contacts_api, base_url, URL, "base_url", "https://app.tracklysms.com/api/v2", 1, 2048, NONE, 0,                  \
      "Root of the contacts API. `http://` is taken for loopback addresses only.")                                     \
    K(contacts_api, validation_url, URL, "validation_url", "https://api.tracklysms.com/api/v1", 1, 2048, NONE, 0,      \
      "Root of the phone validation API (another host).")                                                              \
    K(contacts_api, key, API_KEY, "key", "", 0, 512, NONE, CONFIG_EMPTY | CONFIG_SECRET,                               \
      "The API key, where it cannot come from a file.")                                                                \
    K(contacts_api, key_file, PATH, "key_file", "/run/secrets/trackly-api-key", 0, 4096, NONE, CONFIG_EMPTY,           \
      "File that holds the API key. It is read again when the API refuses the key.")                                   \
    K(contacts_api, timeout_us, DURATION, "timeout", "10s", 10 * CONFIG_MS, 300 * CONFIG_S, NONE, 0,                   \
      "Longest duration of one call.")                                                                                 \
    K(contacts_api, connect_timeout_us, DURATION, "connect_timeout", "3s", 10 * CONFIG_MS, 300 * CONFIG_S, NONE, 0,    \
      "Longest wait for a connection, name look-up and TLS included.")                                                 \
    K(contacts_api, ca_file, PATH, "ca_file", "", 0, 4096, NONE, CONFIG_EMPTY,                                         \
      "Certificates (PEM) of a private CA. TLS is always verified.")                                                   \
    K(contacts_api, max_in_flight, INTEGER, "max_in_flight", "256", 1, 10000, NONE, 0,                                 \
      "Calls under way at the same time, at most.")

#define CONFIG_DEFAULTS(K)                                                                                             \
    K(defaults, country, COUNTRY, "country", "US", 2, 2, NONE, 0, "Country of phone numbers in national spelling.")    \
    K(defaults, list_number, PHONE, "list_number", "", 0, 64, NONE, CONFIG_EMPTY,                                      \
      "Sending list of events that name none. Empty: such an event is dead.")                                          \
    K(defaults, use_journeys, BOOL, "use_journeys", "true", 0, 0, NONE, 0,                                             \
      "For events that do not say: enrol in the matching welcome journeys.")                                           \
    K(defaults, skip_journey_if_exists, BOOL, "skip_journey_if_exists", "true", 0, 0, NONE, 0,                         \
      "For events that do not say: do not enrol a contact that is on the list already.")

#define CONFIG_VALIDATION(K)                                                                                           \
    K(validation, mode, WORD, "mode", "off", 0, 0, VALIDATION, 0,                                                      \
      "Phone validation of events that do not say: `inline` within the upsert, `gate` before it.")                     \
    K(validation, on_billing_error, WORD, "on_billing_error", "park", 0, 0, ON_BILLING, 0,                             \
      "What becomes of an event whose validation the account cannot pay for (402).")                                   \
    K(validation, gate_allow, DISPOSITIONS, "gate.allow", "ok,unknown", 1, 5, NONE, 0,                                 \
      "Mode `gate`: the dispositions that pass, of `ok`, `unreachable`, `risky`, `invalid`, `unknown`; others "        \
      "are dead (`validation_refused`). A list is all that pass; a map like `{risky: true}` changes only what it "     \
      "names.")                                                                                                        \
    K(validation, lists, LIST_MODES, "lists", "", 0, 1000, NONE, CONFIG_EMPTY,                                         \
      "The mode by sending list, for example `{\"+18005550100\": gate}`. A route's `validation` beats it, an "         \
      "event's own `use_validation` beats both.")                                                                      \
    K(validation, remember_us, DURATION, "remember", "2160h", 0, 87600 * CONFIG_H, NONE, 0,                            \
      "How long a known validation of a phone is good: until then a repeat costs neither money nor a call. 0: never.") \
    K(validation, daily_budget, MONEY, "daily_budget_usd", "", 0, 1000000 * CONFIG_USD, NONE, CONFIG_EMPTY,            \
      "What all workers together may spend on validation in a day (UTC), for example `25` or `12.50`; `0`: nothing. "  \
      "Empty: no limit.")                                                                                              \
    K(validation, on_budget_spent, WORD, "on_budget_spent", "park_until_tomorrow", 0, 0, ON_BUDGET, 0,                 \
      "What becomes of an event that would validate when the day's budget is spent: it waits in the ledger until "     \
      "after midnight UTC, or goes without, with the warning `validation_skipped`.")

#define CONFIG_CONSENT(K)                                                                                              \
    K(consent, require, EVIDENCE, "require", "", 0, 32, NONE, CONFIG_EMPTY,                                            \
      "What an event must bring: `ip_address`, `url`, `signup_date`, `ad_network_source`, `ad_network_id`, or "        \
      "any member of its `consent` object, like `text`, `text_version`, `user_agent`.")                                \
    K(consent, on_missing, WORD, "on_missing", "dead", 0, 0, ON_MISSING, 0,                                            \
      "An event without it is dead (`missing_consent`), or goes with a warning of that name.")                         \
    K(consent, to_custom_fields, EVIDENCE_MAP, "to_custom_fields", "", 0, 32, NONE, CONFIG_EMPTY,                      \
      "Parts, named as in `consent.require`, that are sent as custom fields too, for example `{text_version: "         \
      "consent_version}`.")

#define CONFIG_ATTRIBUTION(K)                                                                                          \
    K(attribution, from_url, BOOL, "from_url", "true", 0, 0, NONE, 0,                                                  \
      "Where an event has no `ad_network_source` or `ad_network_id`, they are taken from the query of its `url`.")     \
    K(attribution, click_ids, PARAMETER_MAP, "click_ids",                                                              \
      "gclid=adwords,wbraid=adwords,gbraid=adwords,fbclid=facebook,ttclid=tiktok,msclkid=microsoft,li_fat_id=linkedin,"\
      "twclid=twitter,ScCid=snapchat",                                                                                 \
      0, 64, NONE, CONFIG_EMPTY | CONFIG_WHOLE,                                                                        \
      "Query parameters and the network that each stands for; the first that the query has decides. Given, it "        \
      "replaces the default; the order counts.")                                                                       \
    K(attribution, source_parameters, PARAMETERS, "source_parameters", "utm_source", 0, 16, NONE, CONFIG_EMPTY,        \
      "Otherwise the value of the first of these is the `ad_network_source`.")                                         \
    K(attribution, id_parameters, PARAMETERS, "id_parameters", "utm_id,utm_campaign", 0, 16, NONE, CONFIG_EMPTY,       \
      "The value of the first of these is the `ad_network_id`.")

#define CONFIG_MAPPING(K)                                                                                              \
    K(mapping, shapes, MAPPING, "", "", 0, 256, NONE, CONFIG_EMPTY,                                                    \
      "By topic: its `profile`, and with `fields` where our fields come from.")

#define CONFIG_ROUTES(K)                                                                                               \
    K(routes, table, ROUTES, "", "", 0, 1000, NONE, CONFIG_EMPTY,                                                      \
      "The first route whose every condition holds chooses what an event does not say itself.")

#define CONFIG_RETRY(K)                                                                                                \
    K(retry, inline_attempts, INTEGER, "inline_attempts", "4", 1, 1000, NONE, 0,                                       \
      "Failures in memory before an event is parked in the ledger; taken up from there it has one try at a time.")     \
    K(retry, inline_base_us, DURATION, "inline_base", "200ms", CONFIG_MS, CONFIG_H, NONE, 0,                           \
      "First wait of a retry in memory; it doubles, with full jitter.")                                                \
    K(retry, inline_cap_us, DURATION, "inline_cap", "5s", CONFIG_MS, CONFIG_H, NONE, 0,                                \
      "Longest wait in memory; what asks for more (`Retry-After`) is parked at once.")                                 \
    K(retry, park_base_us, DURATION, "park_base", "1m", CONFIG_MS, 168 * CONFIG_H, NONE, 0,                            \
      "First time an event is parked for; it doubles, with full jitter.")                                              \
    K(retry, park_cap_us, DURATION, "park_cap", "1h", CONFIG_MS, 168 * CONFIG_H, NONE, 0,                              \
      "Longest time an event is parked for.")                                                                          \
    K(retry, max_age_us, DURATION, "max_age", "24h", CONFIG_MS, 8784 * CONFIG_H, NONE, 0,                              \
      "An event that still fails at this age is dead. Its age counts from the first claim, or from its replay.")       \
    K(retry, max_attempts, INTEGER, "max_attempts", "30", 1, 1000000, NONE, 0,                                         \
      "An event that has failed this often is dead; failures while the whole route is down do not count.")             \
    K(retry, billing_step_us, DURATION, "billing_step", "60m", CONFIG_MS, 168 * CONFIG_H, NONE, 0,                     \
      "Wait after a billing refusal (402); the vendor re-checks an account within 60 minutes.")                        \
    K(retry, retry_after_cap_us, DURATION, "retry_after_cap", "15m", CONFIG_MS, 168 * CONFIG_H, NONE, 0,               \
      "Longest `Retry-After` that is believed.")                                                                       \
    K(retry, fuse, INTEGER, "fuse", "20", 0, 1000000, NONE, 0,                                                         \
      "Hold the route after this many events in a row died of an answer that need not speak of the event. "            \
      "0: never.")

#define CONFIG_POLICY(K)                                                                                               \
    K(policy, table, POLICY, "", "", 0, 1000, NONE, 0,                                                                 \
      "Verdicts that differ from the built-in ones: an HTTP status or a code of the API, and `accepted`, `retry`, "    \
      "`hold` or `dead`. A code beats a status.")

#define CONFIG_RATE(K)                                                                                                 \
    K(rate, upsert, INTEGER, "upsert", "0", 0, 1000000, NONE, 0,                                                       \
      "Calls of the contacts API a second, reads included. 0: no limit, here and below.")                              \
    K(rate, validate, INTEGER, "validate", "0", 0, 1000000, NONE, 0,                                                   \
      "Of these: calls that validate the phone, a second. Events that do not validate go on.")                         \
    K(rate, ledger, INTEGER, "ledger", "0", 0, 1000000, NONE, 0, "Statements a second; each is for up to `limits.batch` events.")\
    K(rate, dead_letter, INTEGER, "dead_letter", "0", 0, 1000000, NONE, 0, "Dead letters published a second.")

#define CONFIG_LIMITS(K)                                                                                               \
    K(limits, memory_bytes, BYTES, "memory", "256MiB", CONFIG_MIB, 1024 * CONFIG_GIB, NONE, 0,                         \
      "Memory of events under way. Above it the worker reads no more until some are finished.")                        \
    K(limits, shutdown_us, DURATION, "shutdown", "10s", 0, CONFIG_H, NONE, 0,                                          \
      "Longest time to finish what is under way after SIGTERM.")                                                       \
    K(limits, lease_us, DURATION, "lease", "15s", CONFIG_S, CONFIG_H, NONE, 0,                                         \
      "How long a claim on an event lasts without renewal: another worker takes over after a crash. Longer than "      \
      "`contacts_api.timeout`; raised by itself with it where it is not given.")                                       \
    K(limits, batch, INTEGER, "batch", "256", 1, 10000, NONE, 0, "Events in one statement of the ledger, at most.")    \
    K(limits, window, INTEGER, "window", "100000", 1, 10000000, NONE, 0,                                               \
      "Events of one partition read beyond the committed offset, at most.")                                            \
    K(limits, custom_fields_overflow, WORD, "custom_fields_overflow", "dead", 0, 0, OVERFLOW, 0,                       \
      "An event beyond the API's 4,000 bytes is dead (`payload_too_large`), or loses its largest custom fields, "      \
      "each with a warning.")

#define CONFIG_ADMIN(K)                                                                                                \
    K(admin, listen, LISTEN, "listen", "127.0.0.1:9464", 0, 255, NONE, CONFIG_EMPTY,                                   \
      "Where `/livez`, `/readyz`, `/metrics` and `/status` are served. Empty or `off`: nowhere.")

#define CONFIG_LOG(K)                                                                                                  \
    K(log, level, WORD, "level", "info", 0, 0, LOG_LEVEL, 0, "Least severity that is logged.")                         \
    K(log, format, WORD, "format", "logfmt", 0, 0, LOG_FORMAT, 0, "Form of a log line.")

/* S(section, KEYS, "prose") */
#define CONFIG_SECTIONS(S)                                                                                             \
    S(kafka, CONFIG_KAFKA, "The topics that are read and written.")                                                    \
    S(postgres, CONFIG_POSTGRES, "The ledger.")                                                                        \
    S(contacts_api, CONFIG_CONTACTS_API, "The API that takes the contacts.")                                           \
    S(defaults, CONFIG_DEFAULTS, "What is assumed where an event does not say.")                                       \
    S(validation, CONFIG_VALIDATION, "Phone validation, which costs money.")                                           \
    S(consent, CONFIG_CONSENT, "What an event must prove, and what of it the API is told.")                            \
    S(attribution, CONFIG_ATTRIBUTION, "Which ad network a signup came from, where the event does not say.")           \
    S(mapping, CONFIG_MAPPING, "Topics whose events are not the API's own body.")                                      \
    S(routes, CONFIG_ROUTES, "Where signups go, by what they are.")                                                    \
    S(retry, CONFIG_RETRY, "Patience.")                                                                                \
    S(policy, CONFIG_POLICY, "Your own verdicts.")                                                                     \
    S(rate, CONFIG_RATE, "What the worker may do in a second, each process by itself.")                                \
    S(limits, CONFIG_LIMITS, "What the worker may use.")                                                               \
    S(admin, CONFIG_ADMIN, "The endpoints for probes, Prometheus and people.")                                         \
    S(log, CONFIG_LOG, "Log lines on standard error; phones masked, never a payload, never a key.")

#endif
