/* The configuration: every complaint with its line, what is taken, who wins, and that no secret is ever told.
 */
#include "loading.h"

#include "config_keys.h"

/* ------------------------------------------------------------------ what is refused, and where */

static const struct {
    const char *yaml;
    const char *complaint; /* the beginning of a line */
} refused[] = {
    /* kinds of values */
    {"retry:\n  fuse: many\n", "c.yaml:2: retry.fuse: \"many\" is not a whole number; write one like 20"},
    {"retry:\n  fuse: -1\n", "c.yaml:2: retry.fuse: \"-1\" is too small; write 0 to 1000000"},
    {"retry:\n  fuse: 1000001\n", "c.yaml:2: retry.fuse: \"1000001\" is too large"},
    {"retry:\n  fuse: 99999999999999999999\n",
     "c.yaml:2: retry.fuse: \"99999999999999999999\" is not a whole number"},
    {"retry:\n  fuse: 1.5\n", "c.yaml:2: retry.fuse: \"1.5\" is not a whole number"},
    {"retry:\n  fuse: -\n", "c.yaml:2: "},
    {"retry:\n  max_attempts: 0\n", "c.yaml:2: retry.max_attempts: \"0\" is too small; write 1 to"},
    {"contacts_api:\n  timeout: 10\n",
     "c.yaml:2: contacts_api.timeout: \"10\" is not a duration; write a whole number and a unit"},
    {"contacts_api:\n  timeout: 10 s\n", "c.yaml:2: contacts_api.timeout: \"10 s\" is not a duration"},
    {"contacts_api:\n  timeout: 10S\n", "c.yaml:2: contacts_api.timeout: \"10S\" is not a duration"},
    {"contacts_api:\n  timeout: s\n", "c.yaml:2: contacts_api.timeout: \"s\" is not a duration"},
    {"contacts_api:\n  timeout: 1.5s\n", "c.yaml:2: contacts_api.timeout: \"1.5s\" is not a duration"},
    {"contacts_api:\n  timeout: -5s\n", "c.yaml:2: contacts_api.timeout: \"-5s\" is not a duration"},
    {"contacts_api:\n  timeout: 30m1h\n", "c.yaml:2: contacts_api.timeout: \"30m1h\" is not a duration"},
    {"contacts_api:\n  timeout: 1m1m\n", "c.yaml:2: contacts_api.timeout: \"1m1m\" is not a duration"},
    {"contacts_api:\n  timeout: 9999999999999d\n",
     "c.yaml:2: contacts_api.timeout: \"9999999999999d\" is not a duration"},
    {"contacts_api:\n  timeout: 1ms\n",
     "c.yaml:2: contacts_api.timeout: \"1ms\" is too small; write 10ms to 5m"},
    {"contacts_api:\n  timeout: 0\n", "c.yaml:2: contacts_api.timeout: \"0\" is too small"},
    {"limits:\n  memory: 256M\n",
     "c.yaml:2: limits.memory: \"256M\" is not a size; write a whole number and a unit"},
    {"limits:\n  memory: lots\n", "c.yaml:2: limits.memory: \"lots\" is not a size"},
    {"limits:\n  memory: 256\n", "c.yaml:2: limits.memory: \"256\" is too small; write 1MiB to 1TiB"},
    {"limits:\n  memory: 9999999999TiB\n", "c.yaml:2: limits.memory: \"9999999999TiB\" is not a size"},
    {"postgres:\n  auto_migrate: maybe\n",
     "c.yaml:2: postgres.auto_migrate: \"maybe\" is neither; write true or false"},
    {"kafka:\n  start: newest\n", "c.yaml:2: kafka.start: \"newest\" is not known; write earliest or latest"},
    {"validation:\n  mode: before\n",
     "c.yaml:2: validation.mode: \"before\" is not known; write off, inline or gate"},
    {"validation:\n  mode: true\n", "c.yaml:2: validation.mode: \"true\" is not known"},
    {"validation:\n  on_billing_error: hold\n",
     "c.yaml:2: validation.on_billing_error: \"hold\" is not known; write park, "},
    {"log:\n  level: trace\n",
     "c.yaml:2: log.level: \"trace\" is not known; write debug, info, warn or error"},
    {"log:\n  format: text\n", "c.yaml:2: log.format: \"text\" is not known; write logfmt or json"},
    /* texts */
    {"kafka:\n  group: \"\"\n", "c.yaml:2: kafka.group: is empty; write text, the default is signup-worker"},
    {"kafka:\n  group: \"a\\nb\"\n", "c.yaml:2: kafka.group: \"a\\x0ab\" has a line break"},
    {"kafka:\n  group: \"a\\0b\"\n", "c.yaml:2: kafka.group: the value has a NUL character"},
    {"kafka:\n  brokers: \"a b:9092\"\n", "c.yaml:2: kafka.brokers: \"a b:9092\" is not host:port"},
    {"kafka:\n  brokers: a:port\n", "c.yaml:2: kafka.brokers: \"a:port\" has no valid port"},
    {"kafka:\n  brokers: a:0\n", "c.yaml:2: kafka.brokers: \"a:0\" has no valid port"},
    {"kafka:\n  brokers: a:70000\n", "c.yaml:2: kafka.brokers: \"a:70000\" has no valid port"},
    {"kafka:\n  brokers: a:9092,,b:9092\n", "c.yaml:2: kafka.brokers: is empty"},
    {"kafka:\n  topics: [a b]\n", "c.yaml:2: kafka.topics: \"a b\" is not a topic's name"},
    {"kafka:\n  topics: [^signups.*]\n", "c.yaml:2: kafka.topics: \"^signups.*\" is not a topic's name"},
    {"kafka:\n  topics:\n    - a\n    - b\n    - a\n", "c.yaml:5: kafka.topics: names the topic a twice"},
    {"kafka:\n  topics: []\n", "c.yaml:2: kafka.topics: is an empty list; write at least one"},
    {"kafka:\n  topics:\n    - a\n    - [b]\n", "c.yaml:4: kafka.topics: found a list; write plain text"},
    {"kafka:\n  topics:\n    - a\n    -\n", "c.yaml:4: kafka.topics: found nothing; write plain text"},
    {"kafka:\n  dead_letter_topic: ..\n",
     "c.yaml:2: kafka.dead_letter_topic: \"..\" is a name that Kafka refuses"},
    {"kafka:\n  topics: [x]\n  dead_letter_topic: x\n",
     "c.yaml:3: kafka.dead_letter_topic: is one of kafka.topics"},
    {"kafka:\n  topics: signups.dlq\n", "kafka.dead_letter_topic: is one of kafka.topics"},
    {"postgres:\n  schema: Signup\n", "c.yaml:2: postgres.schema: \"Signup\" is not a schema's name"},
    {"postgres:\n  schema: pg_x\n", "c.yaml:2: postgres.schema: \"pg_x\" begins with pg_"},
    {"postgres:\n  schema: a;b\n", "c.yaml:2: postgres.schema: \"a;b\" is not a schema's name"},
    {"postgres:\n  dsn: signup\n", "c.yaml:2: postgres.dsn: the value is not a connection string"},
    {"postgres:\n  dsn: mysql://a/b\n", "c.yaml:2: postgres.dsn: the value is not a connection string"},
    {"defaults:\n  country: XX\n", "c.yaml:2: defaults.country: \"XX\" is not a country"},
    {"defaults:\n  country: USA\n", "c.yaml:2: defaults.country: \"USA\" has 3 bytes; write 2 to 2"},
    {"defaults:\n  list_number: 12345\n",
     "c.yaml:2: defaults.list_number: the value is no full phone number"},
    {"defaults:\n  list_number: 5550100\n",
     "c.yaml:2: defaults.list_number: the value is no full phone number"},
    /* addresses */
    {"contacts_api:\n  base_url: http://api.example.com\n",
     "c.yaml:2: contacts_api.base_url: the value is http to another machine"},
    {"contacts_api:\n  base_url: ftp://example.com\n",
     "c.yaml:2: contacts_api.base_url: the value is not an https URL"},
    {"contacts_api:\n  base_url: app.tracklysms.com\n",
     "c.yaml:2: contacts_api.base_url: the value is not an https URL"},
    {"contacts_api:\n  base_url: https://u:p@example.com\n",
     "c.yaml:2: contacts_api.base_url: the value has a user or password"},
    {"contacts_api:\n  base_url: https://a.com/x?y=1\n",
     "c.yaml:2: contacts_api.base_url: the value has a query"},
    {"contacts_api:\n  base_url: \"https://\"\n", "c.yaml:2: contacts_api.base_url: the value "},
    {"contacts_api:\n  base_url: https://a.com:0/\n",
     "c.yaml:2: contacts_api.base_url: the value has no valid port"},
    {"contacts_api:\n  base_url: \"https://a .com/\"\n",
     "c.yaml:2: contacts_api.base_url: the value has a blank"},
    {"contacts_api:\n  validation_url: http://127.evil.com/\n",
     "c.yaml:2: contacts_api.validation_url: the value is http to another"},
    {"admin:\n  listen: 9464\n",
     "c.yaml:2: admin.listen: \"9464\" is not address:port; write 127.0.0.1:9464"},
    {"admin:\n  listen: \"127.0.0.1:99999\"\n",
     "c.yaml:2: admin.listen: \"127.0.0.1:99999\" has no valid port"},
    {"admin:\n  listen: example.com:80\n", "c.yaml:2: admin.listen: \"example.com:80\" names no IP address"},
    {"admin:\n  listen: \"[::1:80\"\n", "c.yaml:2: admin.listen: \"[::1:80\" is not address:port"},
    /* maps */
    {"policy:\n  402: die\n",
     "c.yaml:2: policy.402: \"die\" is not a verdict; write accepted, retry, hold or dead"},
    {"policy:\n  99: dead\n", "c.yaml:2: policy.99: is not an HTTP status; write 100 to 599"},
    {"policy:\n  600: dead\n", "c.yaml:2: policy.600: is not an HTTP status"},
    {"policy:\n  Not Sendable: dead\n",
     "c.yaml:2: policy.Not Sendable: is neither an HTTP status nor a code"},
    {"policy:\n  402: dead\n  \"402\": hold\n", "c.yaml:3: policy.402: is given twice"},
    {"policy:\n  402:\n    - dead\n", "c.yaml:3: policy.402: found a list; write one value"},
    {"policy:\n  402:\n", "c.yaml:2: policy.402: found nothing; write one value"},
    {"policy: dead\n", "c.yaml:1: policy: found one value; write a map"},
    {"policy: [dead]\n", "c.yaml:1: policy: found a list; write a map"},
    {"kafka:\n  properties:\n    a.b: c\n    auto.offset.reset: earliest\n",
     "c.yaml:4: kafka.properties.auto.offset.reset: belongs to the worker; use kafka.start"},
    {"kafka:\n  properties:\n    a b: c\n",
     "c.yaml:3: kafka.properties.a b: is not the name of a librdkafka property"},
    {"kafka:\n  properties:\n    a: c\n    a: d\n", "c.yaml:4: kafka.properties.a: is given twice"},
    {"kafka:\n  properties: {a: {b: c}}\n", "c.yaml:2: kafka.properties.a: found a map; write one value"},
    /* unknown, misplaced, twice */
    {"kafka:\n  broker: a:1\n", "c.yaml:2: kafka.broker: unknown key; did you mean kafka.brokers?"},
    {"kafka:\n  deadLetterTopic: a\n",
     "c.yaml:2: kafka.deadLetterTopic: unknown key; did you mean kafka.dead_letter_topic?"},
    {"kafka:\n  dsn: a\n", "c.yaml:2: kafka.dsn: unknown key; did you mean postgres.dsn?"},
    {"admin:\n  colour: red\n", "c.yaml:2: admin.colour: unknown key; admin has listen"},
    {"contactsapi:\n  timeout: 1s\n", "c.yaml:1: contactsapi: unknown section; did you mean contacts_api?"},
    {"\n\nfoo: bar\n", "c.yaml:3: foo: unknown section; there are kafka, postgres"},
    {"group: x\n", "c.yaml:1: group: is not a section; write group below kafka:, indented"},
    {"kafka.group: x\n", "c.yaml:1: kafka.group: is not a section; write group below kafka:, indented"},
    {"kafka:\n  group: a\n  start: latest\n  group: b\n",
     "c.yaml:4: kafka.group: is given twice, first in line 2"},
    {"kafka:\n  group: a\nlog:\n  level: info\nkafka:\n  start: latest\n",
     "c.yaml:5: kafka: the section is given twice, first in line 1"},
    /* wrong kinds of nodes */
    {"kafka: x\n", "c.yaml:1: kafka: found one value; write its keys below it"},
    {"kafka:\n  - group: x\n", "c.yaml:2: kafka: found a list; write its keys below it"},
    {"- kafka\n", "c.yaml:1: the file: found a list; write sections"},
    {"hello\n", "c.yaml:1: the file: found one value; write sections"},
    {"kafka:\n  group: [a]\n", "c.yaml:2: kafka.group: found a list; write one value"},
    {"kafka:\n  group: {a: b}\n", "c.yaml:2: kafka.group: found a map; write one value"},
    {"kafka:\n  topics: {a: b}\n", "c.yaml:2: kafka.topics: found a map; write a list"},
    {"kafka:\n  group:\n", "c.yaml:2: kafka.group: has no value; write text, or leave the key out"},
    {"kafka:\n  group: ~\n", "c.yaml:2: kafka.group: has no value"},
    {"defaults:\n  list_number: null\n",
     "c.yaml:2: defaults.list_number: has no value; write phone number, or leave the key out (\"\" "},
    {"kafka:\n  ? [a]\n  : b\n", "c.yaml:2: kafka: has a key that is no short plain text"},
    {"? {a: b}\n: c\n", "c.yaml:1: the file: has a key that is no short plain text"},
    /* what YAML can and a configuration need not */
    {"kafka:\n  group: &g x\n", "c.yaml:2: anchor (&): is not supported"},
    {"kafka:\n  group: *g\n", "c.yaml:2: "},
    {"kafka: &k\n  group: x\nlog: *k\n", "c.yaml:3: log: found an alias (*)"},
    {"kafka:\n  <<: {group: x}\n", "c.yaml:2: <<: merging maps is not supported"},
    {"kafka:\n  group: !secret x\n", "c.yaml:2: tag (!): is not supported"},
    {"kafka:\n  group: x\n---\nlog:\n  level: info\n", "c.yaml:3: ---: a second document begins"},
    {"kafka:\n\tgroup: x\n", "c.yaml:2: not readable as YAML: the line is indented with a tab; use spaces"},
    {"kafka:\n  group: x\n start: latest\n", "c.yaml:3: not readable as YAML: "},
    {"kafka:\n  group: \"x\n", "c.yaml:3: not readable as YAML: "},
    {"kafka:\n  topics: [a, b\n", "c.yaml:3: not readable as YAML: "},
    {"kafka:\n  group: a: b\n", "c.yaml:2: not readable as YAML: "},
    {"kafka:\n  # a comment\n  group: \xff\xfe\n", "c.yaml:3: not readable as YAML: "},
    {"kafka:\n  group: \x01\n", "c.yaml:2: not readable as YAML: "},
    {"kafka: {group: x\nlog: y\n", "c.yaml:2: not readable as YAML: "},
    /* rates */
    {"rate:\n  upsert: -1\n", "c.yaml:2: rate.upsert: \"-1\" is too small; write 0 to 1000000"},
    {"rate:\n  ledger: 1000001\n", "c.yaml:2: rate.ledger: \"1000001\" is too large; write 0 to 1000000"},
    {"rate:\n  validate: 10/s\n", "c.yaml:2: rate.validate: \"10/s\" is not a whole number"},
    {"rate:\n  letters: 1\n", "c.yaml:2: rate.letters: unknown key; rate has upsert, validate, ledger, dead_letter"},
    {"rate: 5\n", "c.yaml:1: rate: found one value; write its keys below it"},
    /* keys that contradict each other */
    {"retry:\n  inline_cap: 1s\n  inline_base: 2s\n",
     "c.yaml:3: retry.inline_base: 2s is longer than retry.inline_cap, 1s"},
    {"retry: {park_base: 2h, park_cap: 90m}\n",
     "c.yaml:1: retry.park_base: 2h is longer than retry.park_cap, 90m"},
    {"retry:\n  max_age: 10m\n  park_base: 11m\n",
     "c.yaml:3: retry.park_base: 11m is longer than retry.max_age, 10m; write a shorter one"},
    {"retry:\n  inline_attempts: 31\n  max_attempts: 30\n",
     "c.yaml:2: retry.inline_attempts: 31 is more than retry.max_attempts, 30; write a smaller one"},
    {"contacts_api: {timeout: 1s, connect_timeout: 2s}\n",
     "c.yaml:1: contacts_api.connect_timeout: 2s is longer than contacts_api.t"},
    {"limits:\n  lease: 5s\n",
     "c.yaml:2: limits.lease: a claim would end before its call can (contacts_api.timeout is 10s)"},
    {"contacts_api:\n  key: a\n  key_file: /a\n",
     "c.yaml:3: contacts_api.key_file: is given beside contacts_api.key"},
    {"postgres:\n  dsn: a=b\n  dsn_file: /a\n", "c.yaml:3: postgres.dsn_file: is given beside postgres.dsn"},
    {"kafka:\n  properties:\n    sasl.password: a\n  password_file: /b\n",
     "c.yaml:4: kafka.password_file: is given beside kafka."},
    {"contacts_api:\n  key: a b\n", "c.yaml:2: contacts_api.key: the value holds a blank"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct config *config;
        int code = load_full(refused[i].yaml, strlen(refused[i].yaml), NULL, 0, &config);
        if (code != EX_CONFIG || !complained(refused[i].complaint))
            fail_msg("of\n%swanted %s\ngot %d\n%s", refused[i].yaml, refused[i].complaint, code, complaints);
        for (const char *line = complaints; *line; line = strchr(line, '\n') + 1)
            assert_non_null(strchr(line, '\n'));
    }
}

static void test_all_complaints_in_one_go(void **state)
{
    (void)state;
    static const char yaml[] =
        "kafka:\n  start: x\n  typo: y\npostgres:\n  schema: A-B\nretry:\n  fuse: z\nnowhere: 1\n";
    static const char *const environment[] = {"SIGNUP_LOG_LEVEL=loud", NULL};
    struct config *config;
    assert_int_equal(load_full(yaml, sizeof yaml - 1, environment, 0, &config), EX_CONFIG);
    static const char *const wanted[] = {
        "c.yaml:2: kafka.start: ", "c.yaml:3: kafka.typo: ", "c.yaml:5: postgres.schema: ",
        "c.yaml:7: retry.fuse: ",  "c.yaml:8: nowhere: ",    "SIGNUP_LOG_LEVEL: "};
    size_t lines = 0;
    for (const char *c = complaints; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 6);
    for (size_t i = 0; i < 6; i++)
        assert_true(complained(wanted[i]));
}

static void test_floods_are_cut(void **state)
{
    (void)state;
    char yaml[4096] = "kafka:\n";
    for (int i = 0; i < 120; i++)
        (void)snprintf(yaml + strlen(yaml), sizeof yaml - strlen(yaml), "  unknown%d: 1\n", i);
    struct config *config;
    assert_int_equal(load_full(yaml, strlen(yaml), NULL, 0, &config), EX_CONFIG);
    assert_non_null(strstr(complaints, "c.yaml:51: kafka.unknown49: "));
    assert_null(strstr(complaints, "unknown50"));
    assert_non_null(strstr(complaints, "70 more complaints"));
}

/* ------------------------------------------------------------------ what is taken */

static void test_defaults(void **state)
{
    (void)state;
    static const char *const nothing[] = {
        NULL, "", "\n# a comment\n", "---\n...\n", "kafka:\npolicy:\nretry: {}\n", "~\n"};
    for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++) {
        struct config *config = load_good(nothing[i], NULL);
        assert_string_equal(config->kafka.brokers, "localhost:9092");
        assert_int_equal(config->kafka.topics.count, 1);
        assert_string_equal(config->kafka.topics.items[0], "signups");
        assert_int_equal(config->kafka.start, CONFIG_START_EARLIEST);
        assert_int_equal(config->contacts_api.timeout_us, 10 * CONFIG_S);
        assert_int_equal(config->retry.max_age_us, 24 * CONFIG_H);
        assert_int_equal(config->limits.memory_bytes, 256 * CONFIG_MIB);
        assert_int_equal(config->validation.mode, CONFIG_VALIDATION_OFF);
        assert_true(config->defaults.use_journeys);
        assert_int_equal(config->policy.table.rule_count, 0);
        config_free(config);
    }
}

static void test_values(void **state)
{
    (void)state;
    struct config *config =
        load_good("\xef\xbb\xbfkafka:\n"
                  "  brokers: [a:9092, 'b:9093', SASL_SSL://c, \"[::1]:9\"]\n"
                  "  topics:\n    - one\n    - two.x\n"
                  "  start: LATEST\n"
                  "  properties:\n    security.protocol: SASL_SSL\n    ssl.ca.pem: \"a\\nb\"\n"
                  "contacts_api:\n  base_url: http://[::1]:8080/api/v2/\n  timeout: 1m30s\n"
                  "defaults:\n  list_number: (415) 555-0100\n  use_journeys: No\n"
                  "validation:\n  mode: off\n"
                  "policy: {402: dead, '503': hold, not_sendable: accepted}\n"
                  "limits: {memory: 1 GiB, shutdown: 0}\n"
                  "admin: {listen: off}\nlog: {format: json, level: warn}\n",
                  NULL);
    assert_string_equal(config->kafka.brokers, "a:9092,b:9093,SASL_SSL://c,[::1]:9");
    assert_int_equal(config->kafka.topics.count, 2);
    assert_string_equal(config->kafka.topics.items[1], "two.x");
    assert_int_equal(config->kafka.start, CONFIG_START_LATEST);
    assert_int_equal(config->kafka.properties.count, 2);
    assert_string_equal(config->kafka.properties.items[1].value, "a\nb");
    assert_string_equal(config->contacts_api.base_url, "http://[::1]:8080/api/v2");
    assert_int_equal(config->contacts_api.timeout_us, 90 * CONFIG_S);
    assert_int_equal(config->limits.lease_us, 95 * CONFIG_S); /* follows the timeout */
    assert_string_equal(config->defaults.list_number, "+14155550100");
    assert_false(config->defaults.use_journeys);
    assert_int_equal(config->policy.table.rule_count, 3);
    assert_int_equal(config->policy.table.rules[0].http_status, 402);
    assert_int_equal(config->policy.table.rules[1].verdict, VERDICT_HOLD);
    assert_string_equal(config->policy.table.rules[2].code, "not_sendable");
    assert_int_equal(config->limits.memory_bytes, CONFIG_GIB);
    assert_int_equal(config->limits.shutdown_us, 0);
    assert_string_equal(config->admin.listen, "off");
    assert_int_equal(config->log.format, CONFIG_LOG_FORMAT_JSON);
    assert_int_equal(config->log.level, CONFIG_LOG_LEVEL_WARN);
    config_free(config);
}

static void test_accepted_spellings(void **state)
{
    (void)state;
    static const char *const good[] = {
        "validation: {mode: \"off\"}\n",
        "validation: {mode: false}\n",
        "validation: {mode: no}\n",
        "validation: {mode: Inline}\n",
        "defaults: {list_number: +14155550100}\n",
        "defaults: {country: us}\n",
        "defaults: {list_number: \"\"}\n",
        "defaults: {country: DE, list_number: 030 901820}\n",
        "contacts_api: {base_url: http://localhost:8080}\n",
        "contacts_api: {base_url: \"http://127.9.9.9:80/a\"}\n",
        "contacts_api: {base_url: HTTPS://Example.com/}\n",
        "admin: {listen: \":9464\"}\n",
        "admin: {listen: \"*:0\"}\n",
        "admin: {listen: \"[::1]:9464\"}\n",
        "admin: {listen: \"\"}\n",
        "admin: {listen: 0.0.0.0:9464}\n",
        "admin: {listen: localhost:9464}\n",
        "kafka: {topics: \"a,b\"}\n",
        "kafka: {properties: }\n",
        "postgres: {dsn: host=/tmp dbname=signup}\n",
        "postgres: {dsn: 'postgres://u:p@h/d?sslmode=require'}\n",
        "postgres: {prepared: off, auto_migrate: ON}\n",
        "retry: {fuse: \"5\"}\n",
        "retry: {inline_base: 10s}\n",
        "retry: {park_cap: 1s}\n",
        "contacts_api: {timeout: 100ms}\n",
        "contacts_api: {key: ' trk_x '}\n",
        "%YAML 1.2\n---\nlog: {level: info}\n",
        "limits: {memory: 268435456}\n",
        "contacts_api: {timeout: 60s}\n",
        "kafka:\r\n  group: x\r\n",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        config_free(load_good(good[i], NULL));
}

static void test_the_given_key_leads_its_partner(void **state)
{
    (void)state;
    struct config *config =
        load_good("retry: {inline_base: 10s, park_cap: 1s}\ncontacts_api: {timeout: 100ms}\n", NULL);
    assert_int_equal(config->retry.inline_cap_us, 10 * CONFIG_S);
    assert_int_equal(config->retry.park_base_us, CONFIG_S);
    assert_int_equal(config->contacts_api.connect_timeout_us, 100 * CONFIG_MS);
    assert_int_equal(config->limits.lease_us, 15 * CONFIG_S);
    config_free(config);
    config = load_good("retry: {max_age: 30s, max_attempts: 2}\n", NULL);
    assert_int_equal(config->retry.park_base_us, 30 * CONFIG_S);
    assert_int_equal(config->retry.inline_attempts, 2);
    config_free(config);
    config = load_good("retry: {park_base: 48h}\n", NULL);
    assert_int_equal(config->retry.park_cap_us, 48 * CONFIG_H);
    assert_int_equal(config->retry.max_age_us, 48 * CONFIG_H);
    config_free(config);
}

static void test_rates(void **state)
{
    (void)state;
    static const char *const environment[] = {"SIGNUP_RATE_DEAD_LETTER=7", NULL};
    struct config *config = load_good("rate: {upsert: 50, validate: 5}\n", environment);
    assert_int_equal(config->rate.upsert, 50);
    assert_int_equal(config->rate.validate, 5);
    assert_int_equal(config->rate.ledger, 0);
    assert_int_equal(config->rate.dead_letter, 7);
    config_free(config);
}

/* ------------------------------------------------------------------ environment */

static void test_environment_wins(void **state)
{
    (void)state;
    static const char *const environment[] = {
        "PATH=/bin",
        "SIGNUP_KAFKA_BROKERS=x:1, y:2",
        "SIGNUP_KAFKA_TOPICS=a,b",
        "SIGNUP_CONTACTS_API_TIMEOUT=2s",
        "SIGNUP_KAFKA_PROPERTIES=debug=all,ssl.cipher.suites=A,B,security.protocol=ssl",
        "SIGNUP_POLICY=402=dead,not_sendable=hold",
        "SIGNUP_VALIDATION_MODE=gate",
        "SIGNUP_CONTACTS_API_CA_FILE=",
        "SIGNUP_BUILD=/x",
        "SIGNUP_REQUIRE_KAFKA=1",
        "SIGNUP=1",
        "SIGNUP_KAFKA_PORT=tcp://10.0.0.1:9092",
        "SIGNUP_KAFKA_PORT_9092_TCP_ADDR=10.0.0.1",
        "SIGNUP_KAFKA_SERVICE_HOST=10.0.0.1",
        "SIGNUP_POSTGRES_SERVICE_PORT_MAIN=5432",
        "SIGNUP_KAFKA_BROKERS=second:1",
        NULL};
    struct config *config = load_good(
        "kafka: {brokers: f:1, topics: [f], properties: {debug: none, other: o}}\npolicy: {402: hold, 500: dead}\n",
        environment);
    assert_string_equal(config->kafka.brokers, "x:1,y:2");
    assert_int_equal(config->kafka.topics.count, 2);
    assert_int_equal(config->contacts_api.timeout_us, 2 * CONFIG_S);
    assert_int_equal(config->kafka.properties.count, 4);
    assert_string_equal(config->kafka.properties.items[0].value, "all");
    assert_string_equal(config->kafka.properties.items[1].value, "o");
    assert_string_equal(config->kafka.properties.items[2].value, "A,B");
    assert_string_equal(config->kafka.properties.items[3].value, "ssl");
    assert_int_equal(config->policy.table.rule_count, 3);
    assert_int_equal(config->policy.table.rules[0].verdict, VERDICT_DEAD);
    assert_int_equal(config->validation.mode, CONFIG_VALIDATION_GATE);
    config_free(config);
}

static void test_environment_refused(void **state)
{
    (void)state;
    static const struct {
        const char *entry;
        const char *complaint;
    } cases[] = {
        {"SIGNUP_KAFKA_START=x", "SIGNUP_KAFKA_START: \"x\" is not known; write earliest or latest"},
        {"SIGNUP_RETRY_FUSE=", "SIGNUP_RETRY_FUSE: \"\" is not a whole number"},
        {"SIGNUP_KAFKA_GROUP=", "SIGNUP_KAFKA_GROUP: is empty"},
        {"SIGNUP_KAFKA_TOPICS=a,,b", "SIGNUP_KAFKA_TOPICS: is empty"},
        {"SIGNUP_KAFKA_TOPICS=a,a", "SIGNUP_KAFKA_TOPICS: names the topic a twice"},
        {"SIGNUP_DEFAULTS_LIST_NUMBER=123", "SIGNUP_DEFAULTS_LIST_NUMBER: the value is no full phone number"},
        {"SIGNUP_LIMITS_LEASE=2s", "SIGNUP_LIMITS_LEASE: a claim would end"},
        {"SIGNUP_POLICY=402", "SIGNUP_POLICY: an entry is not name=value"},
        {"SIGNUP_POLICY=402=x", "SIGNUP_POLICY: 402: \"x\" is not a verdict"},
        {"SIGNUP_KAFKA_PROPERTIES=auto.offset.reset=x",
         "SIGNUP_KAFKA_PROPERTIES: auto.offset.reset: belongs to the worker"},
        {"SIGNUP_KAFKA_BROKER=a",
         "SIGNUP_KAFKA_BROKER: unknown variable; did you mean SIGNUP_KAFKA_BROKERS?"},
        {"SIGNUP_RETRY_FUZZ_FACTOR=a", "SIGNUP_RETRY_FUZZ_FACTOR: unknown variable; "},
        {"SIGNUP_CONTACTS_API_KEY=a b", "SIGNUP_CONTACTS_API_KEY: the value holds a blank"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const environment[] = {cases[i].entry, NULL};
        struct config *config;
        int code = load_full(NULL, 0, environment, 0, &config);
        if (code != EX_CONFIG || !complained(cases[i].complaint))
            fail_msg("of %s wanted %s\ngot %d\n%s", cases[i].entry, cases[i].complaint, code, complaints);
    }
}

/* One variable for each key, and each is heard. */
static void test_every_key_has_its_variable(void **state)
{
    (void)state;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        char variable[CONFIG_VARIABLE_BYTES];
        char entry[CONFIG_VARIABLE_BYTES + 16];
        config_key_variable(&config_keys[i], variable);
        (void)snprintf(entry, sizeof entry, "%s=\x01", variable);
        const char *const environment[] = {entry, NULL};
        struct config *config;
        assert_int_equal(load_full(NULL, 0, environment, 0, &config), EX_CONFIG);
        assert_memory_equal(complaints, variable, strlen(variable));
    }
}

static void test_environment_forgets(void **state)
{
    (void)state;
    assert_int_equal(setenv("SIGNUP_CONTACTS_API_KEY", "trk_secret", 1), 0);
    assert_int_equal(setenv("SIGNUP_KAFKA_GROUP", "g", 1), 0);
    const char *bytes = getenv("SIGNUP_CONTACTS_API_KEY");
    config_forget_environment();
    assert_null(getenv("SIGNUP_CONTACTS_API_KEY"));
    assert_string_equal(getenv("SIGNUP_KAFKA_GROUP"), "g");
    assert_string_equal(bytes, ""); /* the old memory lives on in glibc's environment, emptied */
    assert_int_equal(unsetenv("SIGNUP_KAFKA_GROUP"), 0);
}

/* ------------------------------------------------------------------ secrets */

#define ALL_NEEDS (CONFIG_NEEDS_KAFKA | CONFIG_NEEDS_POSTGRES | CONFIG_NEEDS_API)

static void test_secret_files(void **state)
{
    (void)state;
    char key[64];
    char dsn[64];
    char password[64];
    char entry[3][128];
    file_make(key, "\n trk_0123456789 \r\n");
    file_make(dsn, "host=/tmp password=hidden\n");
    file_make(password, "pass word\n");
    (void)snprintf(entry[0], sizeof entry[0], "SIGNUP_CONTACTS_API_KEY_FILE=%s", key);
    (void)snprintf(entry[1], sizeof entry[1], "SIGNUP_POSTGRES_DSN_FILE=%s", dsn);
    (void)snprintf(entry[2], sizeof entry[2], "SIGNUP_KAFKA_PASSWORD_FILE=%s", password);
    const char *const environment[] = {entry[0], entry[1], entry[2], NULL};
    struct config *config;
    /* The environment's files beat the file's secrets. */
    static const char yaml[] = "contacts_api: {key: other}\npostgres: {dsn: a=b}\n";
    assert_int_equal(load_full(yaml, sizeof yaml - 1, environment, ALL_NEEDS, &config), 0);
    assert_string_equal(config->contacts_api.key, "trk_0123456789");
    assert_string_equal(config->contacts_api.key_file, key);
    assert_string_equal(config->postgres.dsn, "host=/tmp password=hidden");
    assert_int_equal(config->kafka.properties.count, 1);
    assert_string_equal(config->kafka.properties.items[0].value, "pass word");
    config_free(config);
    assert_int_equal(unlink(key), 0);
    assert_int_equal(unlink(dsn), 0);
    assert_int_equal(unlink(password), 0);
    assert_int_equal(load_full(NULL, 0, environment, ALL_NEEDS, &config), EX_NOINPUT);
    assert_true(complained("SIGNUP_CONTACTS_API_KEY_FILE: /tmp/signup-ops-"));
    assert_true(complained("SIGNUP_POSTGRES_DSN_FILE: /tmp/signup-ops-"));
    assert_true(complained("SIGNUP_KAFKA_PASSWORD_FILE: /tmp/signup-ops-"));
    /* Who does not use them need not have them. */
    assert_int_equal(load_full(NULL, 0, environment, 0, &config), 0);
    config_free(config);
}

static void test_secret_file_contents(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int code;
    } cases[] = {{"", EX_CONFIG},           {" \n", EX_CONFIG},         {"two words", EX_CONFIG},
                 {"two\nlines", EX_CONFIG}, {"caf\xc3\xa9", EX_CONFIG}, {"trk_x", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[64];
        char yaml[128];
        struct config *config;
        file_make(path, cases[i].text);
        (void)snprintf(yaml, sizeof yaml, "contacts_api:\n  key_file: %s\n", path);
        assert_int_equal(load_full(yaml, strlen(yaml), NULL, CONFIG_NEEDS_API, &config), cases[i].code);
        assert_true(cases[i].code == 0 || complained("c.yaml:2: contacts_api.key_file: "));
        config_free(config);
        assert_int_equal(unlink(path), 0);
    }
}

static void test_key_is_missed_only_where_needed(void **state)
{
    (void)state;
    struct config *config;
    static const char no_key[] = "contacts_api: {key_file: \"\"}\n";
    static const char with_key[] = "contacts_api: {key: trk_a}\n";
    assert_int_equal(load_full(no_key, sizeof no_key - 1, NULL, CONFIG_NEEDS_API, &config), EX_CONFIG);
    assert_true(complained("contacts_api.key: there is no API key"));
    assert_int_equal(load_full(no_key, sizeof no_key - 1, NULL, CONFIG_NEEDS_POSTGRES, &config), 0);
    config_free(config);
    assert_int_equal(load_full(with_key, sizeof with_key - 1, NULL, CONFIG_NEEDS_API, &config), 0);
    assert_string_equal(config->contacts_api.key_file, ""); /* nobody re-reads a file that does not count */
    config_free(config);
}

static void test_missing_files(void **state)
{
    (void)state;
    char sink[256] = "";
    FILE *file = fmemopen(sink, sizeof sink - 1, "w");
    struct config_request request = {.path = "/nonexistent/c.yaml", .complaints = file};
    struct config *config;
    assert_int_equal(config_load(&request, &config), EX_NOINPUT);
    assert_null(config);
    request.path = "/tmp";
    assert_int_equal(config_load(&request, &config), EX_NOINPUT);
    assert_int_equal(fclose(file), 0);
    assert_non_null(strstr(sink, "/nonexistent/c.yaml: No such file or directory"));
    assert_non_null(strstr(sink, "/tmp: Is a directory"));
    static const char ca[] = "contacts_api:\n  key: a\n  ca_file: /nonexistent\n";
    assert_int_equal(load_full(ca, sizeof ca - 1, NULL, CONFIG_NEEDS_API, &config), EX_NOINPUT);
    assert_true(complained("c.yaml:3: contacts_api.ca_file: "));
}

static void test_too_large(void **state)
{
    (void)state;
    size_t len = (1U << 20) + 1;
    char *bytes = malloc(len);
    assert_non_null(bytes);
    memset(bytes, '#', len);
    struct config *config;
    assert_int_equal(load_full(bytes, len, NULL, 0, &config), EX_CONFIG);
    free(bytes);
}

/* One word stands for every secret, in every place a secret can be; it is in no output, also when it is
 * refused. */
static void test_no_secret_is_told(void **state)
{
    (void)state;
    static const char *const files[] = {
        "contacts_api: {key: hunter2}\n",
        "contacts_api: {key: hunter2 x}\n",
        "contacts_api: {base_url: 'https://u:hunter2@h/'}\n",
        "contacts_api: {base_url: 'https://h/?key=hunter2'}\n",
        "contacts_api: {key: [hunter2]}\n",
        "contacts_api: hunter2\n",
        "postgres: {dsn: 'postgresql://u:hunter2@h/d?sslpassword=hunter2'}\n",
        "postgres: {dsn: \"host=h password='hunter2 \\\\' hunter2' sslpassword = hunter2 user=u\"}\n",
        "postgres: {dsn: hunter2}\n",
        "postgres: {dsn: 'postgresql://u:hun@ter:hunter2@h/d'}\n",
        "postgres: {dsn: \"hunter2\\n=\"}\n",
        "kafka: {properties: {sasl.password: hunter2, ssl.key.pem: hunter2, oauthbearer.client.secret: hunter2}}\n",
        "kafka: {properties: {auto.offset.reset: hunter2}}\n",
        "kafka: {properties: {sasl.password: hunter2, sasl.password: hunter2}}\n",
        "kafka: {properties: hunter2}\n",
        "contacts_api:\n  key: 'hunter2\n",
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct config *config;
        if (load_full(files[i], strlen(files[i]), NULL, 0, &config) == 0) {
            char *text = printed(config);
            if (strstr(text, "hunter2"))
                fail_msg("told: %s", text);
            assert_non_null(strstr(text, "***"));
            free(text);
        }
        if (strstr(complaints, "hunter2"))
            fail_msg("told: %s", complaints);
        config_free(config);
    }
    static const char *const entries[] = {
        "SIGNUP_CONTACTS_API_KEY=hunter2 x", "SIGNUP_POSTGRES_DSN=hunter2",
        "SIGNUP_KAFKA_PROPERTIES=hunter2",   "SIGNUP_KAFKA_PROPERTIES=sasl.password=hunter2",
        "SIGNUP_CONTACTS_API_KEI=hunter2",   "SIGNUP_KAFKA_PROPERTIES=A=hunter2"};
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        const char *const environment[] = {entries[i], NULL};
        struct config *config;
        if (load_full(NULL, 0, environment, 0, &config) == 0) {
            char *text = printed(config);
            assert_null(strstr(text, "hunter2"));
            free(text);
        }
        assert_null(strstr(complaints, "hunter2"));
        config_free(config);
    }
}

static void test_mask_keeps_the_rest(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"postgresql://u:p@h:5432/d?a=b&password=x&c=d", "postgresql://u:***@h:5432/d?a=b&password=***&c=d"},
        {"postgresql://u@h/d", "postgresql://u@h/d"},
        {"postgresql:///signup", "postgresql:///signup"},
        {"host=h  password=ab user=u", "host=h  password=*** user=u"},
        {"host=h  password = 'a b' user=u", "***"}, /* what is quoted or spaced is masked whole */
        {"postgresql://u:p?w@h/db", "***"},
        {"postgresql://u:p@w@h/db", "***"},
        {"postgresql://h/db?pass%77ord=x", "***"},
        {"PASSWORD=a", "PASSWORD=***"},
        {"dbname=d", "dbname=d"},
        {"", ""},
        {"= =", "***"},
        {"password=", "password=***"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *masked = config_mask_dsn(cases[i][0]);
        assert_string_equal(masked, cases[i][1]);
        free(masked);
    }
}

/* ------------------------------------------------------------------ what is written */

/* What is printed reads back as the same configuration. */
static void test_print_reads_back(void **state)
{
    (void)state;
    struct config *config =
        load_good("kafka: {topics: [a, b], properties: {debug: 'a\"b'}}\npolicy: {402: dead, x_y: hold}\n"
                  "contacts_api: {key_file: '', timeout: 1500ms}\n",
                  NULL);
    char *first = printed(config);
    config_free(config);
    config = load_good(first, NULL);
    char *second = printed(config);
    assert_string_equal(first, second);
    config_free(config);
    free(first);
    free(second);
}

static void test_reference_is_up_to_date(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    config_write_reference(out);
    assert_int_equal(fclose(out), 0);
    char *kept = file_text(SIGNUP_SOURCE_DIR "/deploy/configuration.md");
    assert_string_equal(kept,
                        text); /* otherwise: signup-worker config --reference > deploy/configuration.md */
    free(kept);
    free(text);
}

/* Does `text` begin with a key's whole path? Gives its length, 0 for none. */
static size_t key_at(const char *text)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        size_t len = strlen(config_keys[i].path);
        if (strncmp(text, config_keys[i].path, len) == 0 && !strchr("abcdefghijklmnopqrstuvwxyz_", text[len]))
            return len;
    }
    return 0;
}

/* Whatever the runbook writes like `section.key` is a key, but for the page and file names that look like one. */
static void test_runbook_names_keys_that_exist(void **state)
{
    (void)state;
    char *text = file_text(SIGNUP_SOURCE_DIR "/deploy/operations.md");
    size_t found = 0;
    for (enum config_section_id id = 0; id < CONFIG_SECTION_COUNT; id++) {
        char start[64];
        (void)snprintf(start, sizeof start, "%s.", config_sections[id].name);
        for (const char *at = text; (at = strstr(at, start)) != NULL; at += strlen(start)) {
            bool inside = at > text && strchr("abcdefghijklmnopqrstuvwxyz_-/", at[-1]);
            if (inside || !strchr("abcdefghijklmnopqrstuvwxyz", at[strlen(start)]))
                continue;
            if (!key_at(at))
                fail_msg("operations.md speaks of %.40s", at);
            found++;
        }
    }
    assert_in_range(found, 20, 200);
    free(text);
}

/* The example has every key, each with its default. */
static void test_example_is_the_defaults(void **state)
{
    (void)state;
    char *example = file_text(SIGNUP_SOURCE_DIR "/deploy/signup-worker.yaml");
    struct config *from_example = load_good(example, NULL);
    struct config *from_nothing = load_good(NULL, NULL);
    char *one = printed(from_example);
    char *other = printed(from_nothing);
    assert_string_equal(one, other);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        char line[64];
        const char *name = config_keys[i].name[0] ? config_keys[i].name : config_keys[i].path;
        const char *dot = strchr(name, '.');
        (void)snprintf(line, sizeof line, "%s:", dot ? dot + 1 : name);
        if (!strstr(example, line))
            fail_msg("the example lacks %s", config_keys[i].path);
    }
    config_free(from_example);
    config_free(from_nothing);
    free(one);
    free(other);
    free(example);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_all_complaints_in_one_go),
        cmocka_unit_test(test_floods_are_cut),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_accepted_spellings),
        cmocka_unit_test(test_the_given_key_leads_its_partner),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_environment_wins),
        cmocka_unit_test(test_environment_refused),
        cmocka_unit_test(test_every_key_has_its_variable),
        cmocka_unit_test(test_environment_forgets),
        cmocka_unit_test(test_secret_files),
        cmocka_unit_test(test_secret_file_contents),
        cmocka_unit_test(test_key_is_missed_only_where_needed),
        cmocka_unit_test(test_missing_files),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_no_secret_is_told),
        cmocka_unit_test(test_mask_keeps_the_rest),
        cmocka_unit_test(test_print_reads_back),
        cmocka_unit_test(test_reference_is_up_to_date),
        cmocka_unit_test(test_runbook_names_keys_that_exist),
        cmocka_unit_test(test_example_is_the_defaults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
