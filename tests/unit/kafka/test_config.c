/* Which properties pass, and what is said of those that do not. */
#include "mock_kafka.h"

#include "settings.h"

static const char *const TOPICS[] = {"signups"};

static struct kafka_config with(const struct kafka_property *properties, size_t count)
{
    return (struct kafka_config){.brokers = "localhost:9092",
                                 .topics = TOPICS,
                                 .topic_count = 1,
                                 .group = "group",
                                 .dead_letter_topic = "signups.dlq",
                                 .properties = properties,
                                 .property_count = count};
}

static void expect_error(const char *name, const char *value, const char *part)
{
    struct kafka_property property = {name, value};
    struct kafka_config config = with(&property, 1);
    char error[512] = "";
    if (kafka_config_check(&config, error, sizeof error))
        fail_msg("%s=%s was taken", name, value);
    if (!strstr(error, part) || !strstr(error, name))
        fail_msg("%s=%s: \"%s\" does not say \"%s\"", name, value, error, part);
}

static void what_would_break_the_rules_is_refused_with_a_remedy(void **state)
{
    (void)state;
    expect_error("auto.offset.reset", "earliest", "kafka.start");
    expect_error("enable.auto.commit", "true", "ledger");
    expect_error("auto.commit.enable", "true", "ledger");
    expect_error("enable.auto.offset.store", "true", "offsets");
    expect_error("group.id", "g", "kafka.group");
    expect_error("bootstrap.servers", "h:1", "kafka.brokers");
    expect_error("metadata.broker.list", "h:1", "kafka.brokers");
    expect_error("enable.partition.eof", "true", "no use");
    expect_error("isolation.level", "read_uncommitted", "committed");
    expect_error("enable.idempotence", "false", "idempotence");
    expect_error("acks", "1", "all replicas");
    expect_error("transactional.id", "t", "without transactions");
    assert_null(kafka_property_refused("security.protocol"));
    assert_non_null(kafka_property_refused("auto.offset.reset"));
}

static void what_librdkafka_does_not_take_is_said_in_its_words(void **state)
{
    (void)state;
    expect_error("no.such.property", "1", "No such configuration property");
    expect_error("session.timeout.ms", "soon", "session.timeout.ms");
    expect_error("security.protocol", "TELEPATHY", "security.protocol");
    /* only known when a client is made */
    expect_error("session.timeout.ms", "3600000", "max.poll.interval.ms");
}

static void a_cooperative_assignor_is_refused_by_this_library(void **state)
{
    (void)state;
    if (rd_kafka_version() >= 0x020a01ff)
        skip();
    expect_error("partition.assignment.strategy", "cooperative-sticky", "range");
}

static void other_properties_pass_and_win_over_our_defaults(void **state)
{
    (void)state;
    static const struct kafka_property PROPERTIES[] = {
        {"session.timeout.ms", "20000"},   {"client.id", "mine"},  {"security.protocol", "SASL_SSL"},
        {"sasl.mechanisms", "PLAIN"},      {"sasl.username", "u"}, {"sasl.password", "p"},
        {"group.instance.id", "worker-1"}, {"linger.ms", "50"}};
    struct kafka_config config = with(PROPERTIES, 8);
    char error[512] = "";
    if (!kafka_config_check(&config, error, sizeof error))
        fail_msg("%s", error);
    rd_kafka_conf_t *conf = kafka_settings_build(&config, KAFKA_ROLE_CONSUMER, error, sizeof error);
    assert_non_null(conf);
    char value[64];
    static const char *const EXPECTED[][2] = {
        {"session.timeout.ms", "20000"},       {"client.id", "mine"},
        {"auto.offset.reset", "error"},        {"enable.auto.commit", "false"},
        {"isolation.level", "read_committed"}, {"partition.assignment.strategy", "range,roundrobin"},
        {"allow.auto.create.topics", "false"}, {"check.crcs", "true"},
        {"enable.partition.eof", "false"},     {"socket.nagle.disable", "true"},
        {"group.instance.id", "worker-1"}}; /* static membership passes */
    for (size_t i = 0; i < sizeof EXPECTED / sizeof EXPECTED[0]; i++) {
        size_t size = sizeof value;
        assert_int_equal(rd_kafka_conf_get(conf, EXPECTED[i][0], value, &size), RD_KAFKA_CONF_OK);
        assert_string_equal(value, EXPECTED[i][1]);
    }
    rd_kafka_conf_destroy(conf);
    /* The one who reads letters is told of ends, and is as careful else. */
    conf = kafka_settings_build(&config, KAFKA_ROLE_READER, error, sizeof error);
    assert_non_null(conf);
    size_t size = sizeof value;
    assert_int_equal(rd_kafka_conf_get(conf, "enable.partition.eof", value, &size), RD_KAFKA_CONF_OK);
    assert_string_equal(value, "true");
    size = sizeof value;
    assert_int_equal(rd_kafka_conf_get(conf, "enable.auto.commit", value, &size), RD_KAFKA_CONF_OK);
    assert_string_equal(value, "false");
    rd_kafka_conf_destroy(conf);
}

static void names_are_checked(void **state)
{
    (void)state;
    char error[512];
    struct kafka_config config = with(NULL, 0);
    assert_true(kafka_config_check(&config, error, sizeof error));
    static const char *const PATTERN[] = {"^signups.*"};
    config.topics = PATTERN;
    assert_false(kafka_config_check(&config, error, sizeof error));
    assert_non_null(strstr(error, "patterns"));
    config = with(NULL, 0);
    config.dead_letter_topic = "signups";
    assert_false(kafka_config_check(&config, error, sizeof error));
    assert_non_null(strstr(error, "kafka.dead_letter_topic"));
    config = with(NULL, 0);
    config.brokers = "";
    assert_false(kafka_config_check(&config, error, sizeof error));
    assert_non_null(strstr(error, "kafka.brokers"));
}

/* An outcome that came back as an event would be a signup of nobody's. */
static void the_outcomes_topic_is_a_topic_of_its_own(void **state)
{
    (void)state;
    static const char *const SOURCES[] = {"signups", "leads"};
    static const struct {
        const char *topic;
        const char *part; /* of the error; NULL: it is taken */
    } CASES[] = {
        {NULL, NULL},
        {"", NULL},
        {"signups.outcomes", NULL},
        {"signups", "one of kafka.topics (\"signups\")"},
        {"leads", "one of kafka.topics (\"leads\")"},
        {"signups.dlq", "kafka.dead_letter_topic (\"signups.dlq\")"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char error[512] = "";
        struct kafka_config config = with(NULL, 0);
        config.topics = SOURCES;
        config.topic_count = 2;
        config.outcomes_topic = CASES[i].topic;
        bool taken = kafka_config_check(&config, error, sizeof error);
        if (taken != (CASES[i].part == NULL))
            fail_msg("%s: %s", CASES[i].topic ? CASES[i].topic : "none", taken ? "taken" : error);
        if (CASES[i].part && (!strstr(error, "kafka.outcomes_topic must not be") || !strstr(error, CASES[i].part)))
            fail_msg("%s: %s", CASES[i].topic, error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_would_break_the_rules_is_refused_with_a_remedy),
        cmocka_unit_test(what_librdkafka_does_not_take_is_said_in_its_words),
        cmocka_unit_test(a_cooperative_assignor_is_refused_by_this_library),
        cmocka_unit_test(other_properties_pass_and_win_over_our_defaults),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(the_outcomes_topic_is_a_topic_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
