/* From our configuration to librdkafka's: defaults, pass-through of kafka.properties, and what nobody may
 * change. */
#include "settings.h"

#include "signup/base/clock.h"
#include "signup/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct setting {
    const char *name;
    const char *value;
};

/* Defaults of ours; a property of the same name wins. */
static const struct setting SHARED_DEFAULTS[] = {
    {"client.id", "signup-worker"},
    {"socket.keepalive.enable", "true"},
    {"socket.nagle.disable", "true"}, /* 2.0.2 leaves Nagle on */
    {"socket.connection.setup.timeout.ms", "5000"},
    {"socket.timeout.ms", "30000"},
    /* A broker that returns is found within a second or so (0.2 to 1.1 s; 2 s with a cap of 2000). */
    {"reconnect.backoff.ms", "50"},
    {"reconnect.backoff.max.ms", "500"},
    {"log.connection.close", "false"},
};

static const struct setting CONSUMER_DEFAULTS[] = {
    {"session.timeout.ms", "10000"}, /* how long a killed worker's partitions stay idle */
    {"heartbeat.interval.ms", "3000"},
    {"partition.assignment.strategy", "range,roundrobin"},
    {"topic.metadata.refresh.interval.ms", "5000"}, /* new topics and partitions are seen within this */
    /* The library looks at a full queue again only once a second: the queue must last that long. */
    {"queued.min.messages", "16000"},
    {"queued.max.messages.kbytes", "8192"},
    /* Small fetches cost no speed and a third of the memory; a larger record is still sent whole (KIP-74). */
    {"fetch.message.max.bytes", "262144"},
    {"fetch.max.bytes", "2097152"},
    {"fetch.error.backoff.ms", "200"},
};

static const struct setting CONSUMER_FIXED[] = {
    {"enable.auto.commit", "false"},       {"enable.auto.offset.store", "false"},
    {"enable.partition.eof", "false"},     {"auto.offset.reset", "error"},
    {"isolation.level", "read_committed"}, {"check.crcs", "true"},
    {"allow.auto.create.topics", "false"},
};

/* After CONSUMER_FIXED. */
static const struct setting READER_FIXED[] = {
    {"enable.partition.eof", "true"},
};

static const struct setting PRODUCER_DEFAULTS[] = {
    {"linger.ms", "5"},
    /* A record that the source topic took grows by our headers: the broker is the judge of size, not the
     * client. */
    {"message.max.bytes", "4194304"},
    {"queue.buffering.max.kbytes", "65536"},
    {"topic.metadata.propagation.max.ms", "10000"}, /* how long a missing topic is waited for */
};

static const struct setting PRODUCER_FIXED[] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"message.timeout.ms", "30000"},
};

static const struct setting PROBE_FIXED[] = {
    {"enable.idempotence", "false"},
    {"acks", "2"},
    {"retries", "0"},
};

static const struct {
    const char *name;
    const char *instead;
} REFUSED[] = {
    {"bootstrap.servers", "set kafka.brokers instead"},
    {"metadata.broker.list", "set kafka.brokers instead"},
    {"test.mock.num.brokers", "set kafka.brokers instead"},
    {"group.id", "set kafka.group instead"},
    {"auto.offset.reset", "set kafka.start instead (where a new group begins); a worker never jumps over "
                          "records whose offset has expired"},
    {"enable.auto.commit",
     "the worker commits an offset once the ledger holds its event: there is nothing to set instead"},
    {"auto.commit.enable",
     "the worker commits an offset once the ledger holds its event: there is nothing to set instead"},
    {"auto.commit.interval.ms",
     "the worker commits an offset once the ledger holds its event: there is nothing to set instead"},
    {"enable.auto.offset.store", "the worker keeps its own offsets: there is nothing to set instead"},
    {"offset.store.method", "offsets are kept in the group on the broker: there is nothing to set instead"},
    {"offset.store.path", "offsets are kept in the group on the broker: there is nothing to set instead"},
    {"offset.store.sync.interval.ms",
     "offsets are kept in the group on the broker: there is nothing to set instead"},
    {"enable.partition.eof", "the worker has no use for it: there is nothing to set instead"},
    {"isolation.level", "the worker always reads committed records only: there is nothing to set instead"},
    {"check.crcs", "the worker always checks them: there is nothing to set instead"},
    {"allow.auto.create.topics", "create the topics yourself; a mistyped name must not become a topic"},
    {"enable.idempotence",
     "dead letters are always published with idempotence: there is nothing to set instead"},
    {"enable.gapless.guarantee",
     "dead letters are independent of each other: there is nothing to set instead"},
    {"acks", "dead letters always wait for all replicas: there is nothing to set instead"},
    {"request.required.acks", "dead letters always wait for all replicas: there is nothing to set instead"},
    {"message.timeout.ms",
     "dead letters have 30 s a try and are tried again from the ledger: there is nothing to set instead"},
    {"delivery.timeout.ms",
     "dead letters have 30 s a try and are tried again from the ledger: there is nothing to set instead"},
    {"delivery.report.only.error", "the worker needs every delivery report: there is nothing to set instead"},
    {"transactional.id", "dead letters are published without transactions: there is nothing to set instead"},
    {"transaction.timeout.ms",
     "dead letters are published without transactions: there is nothing to set instead"},
    {"consume.callback.max.messages", "the worker takes records one by one: there is nothing to set instead"},
    {"enabled_events", "the worker needs its own set: there is nothing to set instead"},
    {"log.queue", "the worker writes the library's lines into its own log: set log.level: debug to see them"},
    {"log_level", "set log.level instead"},
    {"log.thread.name",
     "the worker writes the library's lines into its own log: there is nothing to set instead"},
    {"opaque", "it is no property for people: there is nothing to set instead"},
};

/* The first version without the assignor's endless loop, its double owners and its lost assignments
 * (CHANGELOG 2.2.0 to 2.10.1). */
#define COOPERATIVE_SINCE 0x020a01ff

const char *kafka_library_version(void)
{
    static char text[64];
    if (!*text)
        snprintf(text, sizeof text, "librdkafka %s", rd_kafka_version_str());
    return text;
}

const char *kafka_property_refused(const char *name)
{
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++)
        if (strcmp(REFUSED[i].name, name) == 0)
            return REFUSED[i].instead;
    return NULL;
}

static const char *property_value(const struct kafka_config *config, const char *name)
{
    const char *value = NULL;
    for (size_t i = 0; i < config->property_count; i++)
        if (strcmp(config->properties[i].name, name) == 0)
            value = config->properties[i].value;
    return value;
}

bool kafka_settings_cooperative(const struct kafka_config *config)
{
    const char *strategy = property_value(config, "partition.assignment.strategy");
    return strategy && strstr(strategy, "cooperative") != NULL;
}

/* rd_kafka_conf_set() leaves a message behind also when it succeeds (for properties of topics): it is passed
 * on for failures only. */
static bool set_one(rd_kafka_conf_t *conf, const char *name, const char *value, const char *prefix,
                    char *error, size_t size)
{
    char reason[384];
    if (rd_kafka_conf_set(conf, name, value, reason, sizeof reason) == RD_KAFKA_CONF_OK)
        return true;
    snprintf(error, size, "%s%s: %s", prefix, name, reason);
    return false;
}

static bool set_all(rd_kafka_conf_t *conf, const struct setting *settings, size_t count, char *error,
                    size_t size)
{
    for (size_t i = 0; i < count; i++)
        if (!set_one(conf, settings[i].name, settings[i].value, "kafka: ", error, size))
            return false;
    return true;
}

/* librdkafka's own message names the property or the value; ours says where it stands. */
static bool set_property(rd_kafka_conf_t *conf, const struct kafka_property *property, char *error,
                         size_t size)
{
    const char *instead = kafka_property_refused(property->name);
    if (instead) {
        snprintf(error, size, "kafka.properties: %s may not be set: %s", property->name, instead);
        return false;
    }
    return set_one(conf, property->name, property->value, "kafka.properties: ", error, size);
}

static bool set_properties(rd_kafka_conf_t *conf, const struct kafka_config *config, char *error, size_t size)
{
    for (size_t i = 0; i < config->property_count; i++)
        if (!set_property(conf, &config->properties[i], error, size))
            return false;
    if (kafka_settings_cooperative(config) && rd_kafka_version() < COOPERATIVE_SINCE) {
        snprintf(error, size,
                 "kafka.properties: partition.assignment.strategy: cooperative assignors lose partitions "
                 "with librdkafka "
                 "%s; use range, roundrobin or both",
                 rd_kafka_version_str());
        return false;
    }
    return true;
}

static bool writes(enum kafka_role role)
{
    return role == KAFKA_ROLE_PRODUCER || role == KAFKA_ROLE_PROBE;
}

static bool set_names(rd_kafka_conf_t *conf, const struct kafka_config *config, enum kafka_role role,
                      char *error, size_t size)
{
    return set_one(conf, "bootstrap.servers", config->brokers, "kafka.brokers: ", error, size) &&
           (writes(role) ||
            set_one(conf, "group.id", config->group, "kafka.group: ", error, size));
}

static bool set_everything(rd_kafka_conf_t *conf, const struct kafka_config *config, enum kafka_role role,
                           char *error, size_t size)
{
    static const struct setting LOGS[] = {{"log.queue", "true"}};
#define COUNT(table) (sizeof(table) / sizeof(table)[0])
    bool consumer = !writes(role);
    if (!set_all(conf, SHARED_DEFAULTS, COUNT(SHARED_DEFAULTS), error, size) ||
        !set_all(conf, consumer ? CONSUMER_DEFAULTS : PRODUCER_DEFAULTS,
                 consumer ? COUNT(CONSUMER_DEFAULTS) : COUNT(PRODUCER_DEFAULTS), error, size))
        return false;
    if (!set_properties(conf, config, error, size))
        return false;
    return set_all(conf, consumer ? CONSUMER_FIXED : PRODUCER_FIXED,
                   consumer ? COUNT(CONSUMER_FIXED) : COUNT(PRODUCER_FIXED), error, size) &&
           (role != KAFKA_ROLE_READER || set_all(conf, READER_FIXED, COUNT(READER_FIXED), error, size)) &&
           (role != KAFKA_ROLE_PROBE || set_all(conf, PROBE_FIXED, COUNT(PROBE_FIXED), error, size)) &&
           set_all(conf, LOGS, COUNT(LOGS), error, size) && set_names(conf, config, role, error, size);
#undef COUNT
}

rd_kafka_conf_t *kafka_settings_build(const struct kafka_config *config, enum kafka_role role, char *error,
                                      size_t error_size)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (set_everything(conf, config, role, error, error_size))
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

static bool uses_oauthbearer(const struct kafka_config *config)
{
    const char *mechanism = property_value(config, "sasl.mechanisms");
    if (!mechanism)
        mechanism = property_value(config, "sasl.mechanism");
    return mechanism && strcmp(mechanism, "OAUTHBEARER") == 0;
}

/* Lines that nobody takes from the queue any more, while a client closes: nothing of the library's goes to
 * standard error. */
static void discard_line(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

rd_kafka_t *kafka_settings_client(const struct kafka_config *config, enum kafka_role role, int events,
                                  char *error, size_t error_size)
{
    rd_kafka_conf_t *conf = kafka_settings_build(config, role, error, error_size);
    if (!conf)
        return NULL;
    bool oauth = uses_oauthbearer(config);
    if (oauth)
        rd_kafka_conf_enable_sasl_queue(conf, 1);
    rd_kafka_conf_set_events(conf, events);
    rd_kafka_conf_set_log_cb(conf, discard_line);
    char reason[384];
    rd_kafka_t *rk = rd_kafka_new(writes(role) ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, conf,
                                  reason, sizeof reason);
    if (!rk) {
        rd_kafka_conf_destroy(conf);
        snprintf(error, error_size, "kafka: %s", reason);
        return NULL;
    }
    if (oauth) {
        rd_kafka_error_t *refused = rd_kafka_sasl_background_callbacks_enable(rk);
        if (refused)
            rd_kafka_error_destroy(refused);
    }
    return rk;
}

static bool is_one_of(const struct kafka_config *config, const char *topic)
{
    for (size_t i = 0; i < config->topic_count; i++)
        if (strcmp(config->topics[i], topic) == 0)
            return true;
    return false;
}

/* What we write to a topic must never come back as an event, and each reader of one topic must be able to rely
 * on what lies there. */
static bool check_own_topics(const struct kafka_config *config, char *error, size_t size)
{
    const char *letters = config->dead_letter_topic;
    const char *outcomes = config->outcomes_topic && *config->outcomes_topic ? config->outcomes_topic : NULL;
    if (letters && is_one_of(config, letters))
        snprintf(error, size, "kafka.dead_letter_topic must not be one of kafka.topics (\"%s\")", letters);
    else if (outcomes && is_one_of(config, outcomes))
        snprintf(error, size, "kafka.outcomes_topic must not be one of kafka.topics (\"%s\")", outcomes);
    else if (outcomes && letters && strcmp(outcomes, letters) == 0)
        snprintf(error, size, "kafka.outcomes_topic must not be kafka.dead_letter_topic (\"%s\")", outcomes);
    else
        return true;
    return false;
}

static bool check_texts(const struct kafka_config *config, char *error, size_t size)
{
    const char *missing = !config->brokers || !*config->brokers ? "kafka.brokers"
                          : !config->group || !*config->group   ? "kafka.group"
                          : config->topic_count == 0            ? "kafka.topics"
                                                                : NULL;
    if (missing) {
        snprintf(error, size, "%s must not be empty", missing);
        return false;
    }
    for (size_t i = 0; i < config->topic_count; i++) {
        if (!*config->topics[i] || *config->topics[i] == '^') {
            snprintf(error, size, "kafka.topics: \"%s\" is not a topic's name (patterns are not supported)",
                     config->topics[i]);
            return false;
        }
    }
    return check_own_topics(config, error, size);
}

bool kafka_config_check(const struct kafka_config *config, char *error, size_t error_size)
{
    if (!check_texts(config, error, error_size))
        return false;
    /* Some rules are only applied when a client is made: make one that has no broker to talk to. */
    static const enum kafka_role ROLES[] = {KAFKA_ROLE_CONSUMER, KAFKA_ROLE_PRODUCER};
    for (size_t i = 0; i < 2; i++) {
        struct kafka_config alone = *config;
        alone.brokers = "";
        rd_kafka_t *rk = kafka_settings_client(&alone, ROLES[i], 0, error, error_size);
        if (!rk)
            return false;
        rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    return true;
}

bool kafka_settings_is_refusal(rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return true;
    default:
        return false;
    }
}

void kafka_settings_free(struct kafka_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < config->topic_count; i++)
        free((void *)config->topics[i]);
    for (size_t i = 0; i < config->property_count; i++) {
        free((void *)config->properties[i].name);
        free((void *)config->properties[i].value);
    }
    free((void *)config->topics);
    free((void *)config->properties);
    free((void *)config->brokers);
    free((void *)config->group);
    free((void *)config->dead_letter_topic);
    free((void *)config->outcomes_topic);
    free(config);
}

static bool copy_text(const char *from, const char **to)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

static bool copy_lists(const struct kafka_config *from, struct kafka_config *to)
{
    const char **topics = calloc(from->topic_count + 1, sizeof *topics);
    struct kafka_property *properties = calloc(from->property_count + 1, sizeof *properties);
    to->topics = topics;
    to->properties = properties;
    if (!topics || !properties)
        return false;
    for (; to->topic_count < from->topic_count; to->topic_count++)
        if (!copy_text(from->topics[to->topic_count], &topics[to->topic_count]))
            return false;
    while (to->property_count < from->property_count) {
        size_t i = to->property_count++; /* counted first: a half copied one is freed too */
        if (!copy_text(from->properties[i].name, &properties[i].name) ||
            !copy_text(from->properties[i].value, &properties[i].value))
            return false;
    }
    return true;
}

struct kafka_config *kafka_settings_copy(const struct kafka_config *config)
{
    struct kafka_config *copy = calloc(1, sizeof *copy);
    if (!copy)
        return NULL;
    copy->start = config->start;
    if (copy_text(config->brokers, &copy->brokers) && copy_text(config->group, &copy->group) &&
        copy_text(config->dead_letter_topic, &copy->dead_letter_topic) &&
        copy_text(config->outcomes_topic, &copy->outcomes_topic) && copy_lists(config, copy))
        return copy;
    kafka_settings_free(copy);
    return NULL;
}

#define LOG_LINES_PER_S 20

void kafka_settings_log(rd_kafka_event_t *event)
{
    static int64_t second;
    static int lines;
    if (!log_enabled(LOG_DEBUG))
        return;
    int64_t now = clock_mono_now().us / US_PER_S;
    if (now != second) {
        second = now;
        lines = 0;
    }
    if (++lines > LOG_LINES_PER_S)
        return;
    const char *facility = "";
    const char *text = "";
    int level = 0;
    if (rd_kafka_event_log(event, &facility, &text, &level) == 0)
        LOG_AT(LOG_DEBUG, "kafka", "librdkafka says", LOG_STR("facility", facility), LOG_STR("text", text),
               LOG_NUM("syslog_level", level));
}
