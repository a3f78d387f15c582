/* Turns one line of the control socket into one call of librdkafka's mock cluster. */
#include "command.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ERRORS_MAX CONTROL_WORDS_MAX

const char mock_command_help[] =
    "  create-topic TOPIC PARTITIONS     a topic that nobody created has 4 partitions\n"
    "  errors KEY ERROR...               answer the next requests of KEY with these, one each, on any broker\n"
    "  broker-errors BROKER KEY ERROR RTT_MS [ERROR RTT_MS]...\n"
    "                                    the same on one broker, each answered only after RTT_MS\n"
    "  errors-left BROKER KEY            how many of the broker's are not used up\n"
    "  clear KEY                         forget the errors of KEY that were not pushed to one broker\n"
    "  rtt BROKER MS                     answer time of a broker; -1 is all of them\n"
    "  down BROKER | up BROKER           refuse connections, keep the data | back; -1 is all of them\n"
    "  leader TOPIC PARTITION BROKER     -1: no leader\n"
    "  topic-error TOPIC ERROR           answer every request about the topic with it; 0 heals\n"
    "  coordinator group|transaction NAME BROKER\n"
    "  api-version KEY MIN MAX           what the brokers say they support; -1 -1 takes the key away\n"
    "  bootstrap | quit\n"
    "KEY is a request's name (Produce, Fetch, OffsetCommit, ...) or number. ERROR is a name of librdkafka\n"
    "(NOT_COORDINATOR, _TRANSPORT: disconnect before the request takes effect, ...) or number; 0 and NONE mean\n"
    "no error.\n";

struct api_key {
    const char *name;
    int16_t key;
};

/* Request numbers of the Kafka protocol, https://kafka.apache.org/protocol#protocol_api_keys */
static const struct api_key api_keys[] = {
    {"Produce", 0},       {"Fetch", 1},
    {"ListOffsets", 2},   {"Metadata", 3},
    {"OffsetCommit", 8},  {"OffsetFetch", 9},
    {"FindCoordinator", 10}, {"JoinGroup", 11},
    {"Heartbeat", 12},    {"LeaveGroup", 13},
    {"SyncGroup", 14},    {"ApiVersions", 18},
    {"InitProducerId", 22}, {"AddPartitionsToTxn", 24},
    {"AddOffsetsToTxn", 25}, {"EndTxn", 26},
    {"TxnOffsetCommit", 28},
};

static bool read_key(const char *word, int16_t *key, struct control_answer *answer)
{
    for (size_t i = 0; i < sizeof(api_keys) / sizeof(api_keys[0]); i++) {
        if (strcasecmp(word, api_keys[i].name) == 0) {
            *key = api_keys[i].key;
            return true;
        }
    }
    long long number;
    if (!control_number(word, 0, 60, &number, answer)) {
        control_error(answer, "unknown request: %.64s", word);
        return false;
    }
    *key = (int16_t)number;
    return true;
}

static bool read_error(const char *word, rd_kafka_resp_err_t *error, struct control_answer *answer)
{
    const struct rd_kafka_err_desc *table;
    size_t count;
    char *end = NULL;
    long number = strtol(word, &end, 10);
    bool is_number = end != word && *end == '\0';
    if (strcasecmp(word, "NONE") == 0 || (is_number && number == 0)) {
        *error = RD_KAFKA_RESP_ERR_NO_ERROR;
        return true;
    }
    rd_kafka_get_err_descs(&table, &count);
    for (size_t i = 0; i < count; i++) {
        /* Numbers that the library does not know have an entry without a name. */
        if (table[i].name != NULL && (is_number ? table[i].code == number : strcasecmp(word, table[i].name) == 0)) {
            *error = table[i].code;
            return true;
        }
    }
    control_error(answer, "unknown error: %.64s", word);
    return false;
}

static bool read_broker(const struct mock_server *server, const char *word, int low, int32_t *broker,
                        struct control_answer *answer)
{
    long long number;
    if (!control_number(word, low, server->brokers, &number, answer)) {
        return false;
    }
    if (number == 0) {
        control_error(answer, "brokers are numbered from 1");
        return false;
    }
    *broker = (int32_t)number;
    return true;
}

static void conclude(rd_kafka_resp_err_t error, struct control_answer *answer)
{
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        control_ok(answer, "%s", "");
    } else {
        control_error(answer, "%s: %s", rd_kafka_err2name(error), rd_kafka_err2str(error));
    }
}

static void do_create_topic(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    long long partitions;
    (void)count;
    if (control_number(words[1], 1, 10000, &partitions, answer)) {
        conclude(rd_kafka_mock_topic_create(server->cluster, words[0], (int)partitions, server->brokers), answer);
    }
}

static void do_errors(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    rd_kafka_resp_err_t errors[ERRORS_MAX];
    int16_t key;
    if (!read_key(words[0], &key, answer)) {
        return;
    }
    for (int i = 1; i < count; i++) {
        if (!read_error(words[i], &errors[i - 1], answer)) {
            return;
        }
    }
    rd_kafka_mock_push_request_errors_array(server->cluster, key, (size_t)count - 1, errors);
    control_ok(answer, "%d", count - 1);
}

static void do_broker_errors(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    int32_t broker;
    int16_t key;
    if (count % 2 != 0) {
        control_error(answer, "ERROR and RTT_MS come in pairs");
        return;
    }
    if (!read_broker(server, words[0], 1, &broker, answer) || !read_key(words[1], &key, answer)) {
        return;
    }
    for (int pass = 0; pass < 2; pass++) { /* all are checked before the first is pushed */
        for (int i = 2; i < count; i += 2) {
            rd_kafka_resp_err_t error;
            long long rtt_ms;
            if (!read_error(words[i], &error, answer) ||
                !control_number(words[i + 1], 0, 3600000, &rtt_ms, answer)) {
                return;
            }
            if (pass == 1) {
                rd_kafka_mock_broker_push_request_error_rtts(server->cluster, broker, key, 1, error, (int)rtt_ms);
            }
        }
    }
    control_ok(answer, "%d", (count - 2) / 2);
}

static void do_errors_left(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    int32_t broker;
    int16_t key;
    size_t left = 0;
    (void)count;
    if (!read_broker(server, words[0], 1, &broker, answer) || !read_key(words[1], &key, answer)) {
        return;
    }
    rd_kafka_resp_err_t error = rd_kafka_mock_broker_error_stack_cnt(server->cluster, broker, key, &left);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        control_ok(answer, "%zu", left);
    } else {
        conclude(error, answer);
    }
}

static void do_clear(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    int16_t key;
    (void)count;
    if (read_key(words[0], &key, answer)) {
        rd_kafka_mock_clear_request_errors(server->cluster, key);
        control_ok(answer, "%s", "");
    }
}

static void do_rtt(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    int32_t broker;
    long long rtt_ms;
    (void)count;
    if (read_broker(server, words[0], -1, &broker, answer) &&
        control_number(words[1], 0, 3600000, &rtt_ms, answer)) {
        conclude(rd_kafka_mock_broker_set_rtt(server->cluster, broker, (int)rtt_ms), answer);
    }
}

static void do_down(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    int32_t broker;
    (void)count;
    if (read_broker(server, words[0], -1, &broker, answer)) {
        conclude(rd_kafka_mock_broker_set_down(server->cluster, broker), answer);
    }
}

static void do_up(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    int32_t broker;
    (void)count;
    if (read_broker(server, words[0], -1, &broker, answer)) {
        conclude(rd_kafka_mock_broker_set_up(server->cluster, broker), answer);
    }
}

static void do_leader(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    long long partition;
    int32_t broker;
    (void)count;
    if (control_number(words[1], 0, INT32_MAX, &partition, answer) &&
        read_broker(server, words[2], -1, &broker, answer)) {
        conclude(rd_kafka_mock_partition_set_leader(server->cluster, words[0], (int32_t)partition, broker), answer);
    }
}

static void do_topic_error(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    rd_kafka_resp_err_t error;
    (void)count;
    if (read_error(words[1], &error, answer)) {
        rd_kafka_mock_topic_set_error(server->cluster, words[0], error);
        control_ok(answer, "%s", "");
    }
}

static void do_coordinator(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    int32_t broker;
    (void)count;
    if (strcmp(words[0], "group") != 0 && strcmp(words[0], "transaction") != 0) {
        control_error(answer, "group or transaction, not %.64s", words[0]);
    } else if (read_broker(server, words[2], 1, &broker, answer)) {
        conclude(rd_kafka_mock_coordinator_set(server->cluster, words[0], words[1], broker), answer);
    }
}

static void do_api_version(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    int16_t key;
    long long low, high;
    (void)count;
    if (read_key(words[0], &key, answer) && control_number(words[1], -1, 100, &low, answer) &&
        control_number(words[2], -1, 100, &high, answer)) {
        conclude(rd_kafka_mock_set_apiversion(server->cluster, key, (int16_t)low, (int16_t)high), answer);
    }
}

static void do_bootstrap(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    (void)words;
    (void)count;
    control_ok(answer, "%s", rd_kafka_mock_cluster_bootstraps(server->cluster));
}

static void do_quit(struct mock_server *server, char **words, int count, struct control_answer *answer)
{
    (void)words;
    (void)count;
    server->quit = true;
    control_ok(answer, "%s", "");
}

struct command {
    const char *name;
    int words_min; /* without the name */
    int words_max;
    void (*run)(struct mock_server *server, char **words, int count, struct control_answer *answer);
};

static const struct command commands[] = {
    {"create-topic", 2, 2, do_create_topic},
    {"errors", 2, ERRORS_MAX, do_errors},
    {"broker-errors", 4, ERRORS_MAX, do_broker_errors},
    {"errors-left", 2, 2, do_errors_left},
    {"clear", 1, 1, do_clear},
    {"rtt", 2, 2, do_rtt},
    {"down", 1, 1, do_down},
    {"up", 1, 1, do_up},
    {"leader", 3, 3, do_leader},
    {"topic-error", 2, 2, do_topic_error},
    {"coordinator", 3, 3, do_coordinator},
    {"api-version", 3, 3, do_api_version},
    {"bootstrap", 0, 0, do_bootstrap},
    {"quit", 0, 0, do_quit},
};

void mock_command_obey(void *context, int count, char **words, struct control_answer *answer)
{
    struct mock_server *server = context;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const struct command *command = &commands[i];
        if (strcmp(words[0], command->name) != 0) {
            continue;
        }
        if (count - 1 < command->words_min || count - 1 > command->words_max) {
            control_error(answer, "%s takes %d to %d words", command->name, command->words_min, command->words_max);
        } else {
            command->run(server, words + 1, count - 1, answer);
        }
        return;
    }
    control_error(answer, "unknown command: %.64s", words[0]);
}
