/* kafka-tool: what tests, benchmarks and the quickstart need of a Kafka cluster, without a Java start each time. */
#include "client.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: kafka-tool COMMAND --brokers HOST:PORT[,...] [OPTIONS]\n"
    "\n"
    "  create-topic    --topic T --partitions N [--replication R] [--config NAME=VALUE]... [--if-not-exists]\n"
    "  add-partitions  --topic T --partitions N      N is the new total\n"
    "  delete-topic    --topic T\n"
    "  deny-write      --topic T                     from now on nobody may write to it; needs a broker with an authorizer\n"
    "  produce         --topic T [--file FILE] [--key-field F] [--partition P] [--header NAME=VALUE]...\n"
    "                  each line of FILE (or standard input) is the value of one record\n"
    "  produce         --topic T --records [--file FILE]     lines as `consume` prints them, byte for byte\n"
    "  produce         --topic T --gen N [--seed S] [--first I] [--contacts C] [--lists L,...] [--print]\n"
    "                  N signup events number I to I+N-1 (custom_fields.seq), keyed by phone; C phones that take\n"
    "                  turns instead of one each; --print writes them to standard output and needs no broker\n"
    "  consume         --topic T [--all] [--json] [--partition P] [--max N]\n"
    "                  everything up to the present end, one JSON object per line, then exits\n"
    "  offsets         --topic T --group G           low, high, committed and lag of each partition, as JSON\n"
    "  lag             --topic T --group G [--wait-zero]     the sum; exit 75 when it is not 0 in time\n"
    "  metadata        [--topic T]                   brokers, topics and leaders, as JSON\n"
    "\n"
    "  --timeout S     how long to wait for the cluster or the condition (30)\n"
    "  --set NAME=VALUE    any property of librdkafka\n"
    "  --quiet         no summary\n"
    "Exit: 0, 64 usage, 65 refused or missing, 66 no such file, 69 cluster away, 75 not in time.\n"
    "\n"
    "  kafka-tool create-topic --brokers localhost:9092 --topic signups --partitions 6\n"
    "  kafka-tool produce --brokers localhost:9092 --topic signups --gen 200000 --seed 7\n"
    "  kafka-tool produce --brokers localhost:9092 --topic signups --file events.ndjson --key-field phone_number\n"
    "  kafka-tool lag --brokers localhost:9092 --topic signups --group signup-worker --wait-zero --timeout 60\n"
    "  kafka-tool consume --brokers localhost:9092 --topic signups.dlq --all --json\n";

struct command {
    const char *name;
    int (*run)(const struct options *options);
};

static const struct command commands[] = {
    {"create-topic", admin_create_topic}, {"add-partitions", admin_add_partitions},
    {"delete-topic", admin_delete_topic}, {"deny-write", admin_deny_write},
    {"metadata", admin_metadata},         {"produce", produce_run},
    {"consume", consume_run},             {"offsets", offsets_run},
    {"lag", lag_run},
};

/* Options with a number or a text, by the place in struct options that they fill. */
enum {
    OPTION_BROKERS = 256, OPTION_TOPIC, OPTION_GROUP, OPTION_FILE, OPTION_KEY_FIELD, OPTION_LISTS, OPTION_SET,
    OPTION_CONFIG, OPTION_HEADER, OPTION_PARTITIONS, OPTION_PARTITION, OPTION_REPLICATION, OPTION_TIMEOUT,
    OPTION_GEN, OPTION_CONTACTS, OPTION_SEED, OPTION_FIRST, OPTION_MAX, OPTION_RECORDS, OPTION_PRINT,
    OPTION_IF_NOT_EXISTS, OPTION_WAIT_ZERO, OPTION_QUIET, OPTION_ALL, OPTION_JSON, OPTION_HELP,
};

static const struct option option_table[] = {
    {"brokers", required_argument, NULL, OPTION_BROKERS},
    {"topic", required_argument, NULL, OPTION_TOPIC},
    {"group", required_argument, NULL, OPTION_GROUP},
    {"file", required_argument, NULL, OPTION_FILE},
    {"key-field", required_argument, NULL, OPTION_KEY_FIELD},
    {"lists", required_argument, NULL, OPTION_LISTS},
    {"set", required_argument, NULL, OPTION_SET},
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"header", required_argument, NULL, OPTION_HEADER},
    {"partitions", required_argument, NULL, OPTION_PARTITIONS},
    {"partition", required_argument, NULL, OPTION_PARTITION},
    {"replication", required_argument, NULL, OPTION_REPLICATION},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"gen", required_argument, NULL, OPTION_GEN},
    {"contacts", required_argument, NULL, OPTION_CONTACTS},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"first", required_argument, NULL, OPTION_FIRST},
    {"max", required_argument, NULL, OPTION_MAX},
    {"records", no_argument, NULL, OPTION_RECORDS},
    {"print", no_argument, NULL, OPTION_PRINT},
    {"if-not-exists", no_argument, NULL, OPTION_IF_NOT_EXISTS},
    {"wait-zero", no_argument, NULL, OPTION_WAIT_ZERO},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"all", no_argument, NULL, OPTION_ALL},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static int64_t number(const char *text, int64_t low, int64_t high)
{
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < low || value > high) {
        client_die(EXIT_USAGE, "not a number from %lld to %lld: %s", (long long)low, (long long)high, text);
    }
    return value;
}

static void append(const char **list, int *count, int max, const char *text)
{
    if (*count == max) {
        client_die(EXIT_USAGE, "too many: %s", text);
    }
    list[(*count)++] = text;
}

static bool take_text(struct options *options, int option, const char *text)
{
    switch (option) {
    case OPTION_BROKERS: options->brokers = text; return true;
    case OPTION_TOPIC: options->topic = text; return true;
    case OPTION_GROUP: options->group = text; return true;
    case OPTION_FILE: options->file = text; return true;
    case OPTION_KEY_FIELD: options->key_field = text; return true;
    case OPTION_LISTS: options->lists = text; return true;
    case OPTION_SET: append(options->properties, &options->property_count, PROPERTIES_MAX, text); return true;
    case OPTION_CONFIG: append(options->topic_configs, &options->topic_config_count, PROPERTIES_MAX, text); return true;
    case OPTION_HEADER: append(options->headers, &options->header_count, HEADERS_MAX, text); return true;
    default: return false;
    }
}

static bool take_number(struct options *options, int option, const char *text)
{
    switch (option) {
    case OPTION_PARTITIONS: options->partitions = number(text, 1, 10000); return true;
    case OPTION_PARTITION: options->partition = number(text, 0, INT32_MAX); return true;
    case OPTION_REPLICATION: options->replication = number(text, 1, 32); return true;
    case OPTION_TIMEOUT: options->timeout_ms = 1000 * number(text, 1, 86400); return true;
    case OPTION_GEN: options->generate = number(text, 0, INT32_MAX); return true;
    case OPTION_CONTACTS: options->contacts = number(text, 1, INT32_MAX); return true;
    case OPTION_SEED: options->seed = number(text, 0, INT64_MAX); return true;
    case OPTION_FIRST: options->first = number(text, 0, INT32_MAX); return true;
    case OPTION_MAX: options->max = number(text, 0, INT64_MAX); return true;
    default: return false;
    }
}

static bool take_flag(struct options *options, int option)
{
    switch (option) {
    case OPTION_RECORDS: options->records = true; return true;
    case OPTION_PRINT: options->print_only = true; return true;
    case OPTION_IF_NOT_EXISTS: options->if_not_exists = true; return true;
    case OPTION_WAIT_ZERO: options->wait_zero = true; return true;
    case OPTION_QUIET: options->quiet = true; return true;
    case OPTION_ALL: /* what `consume` does anyway; said by those who want to be plain */
    case OPTION_JSON: return true;
    default: return false;
    }
}

int main(int argc, char **argv)
{
    struct options options = {
        .partition = -1, .replication = 1, .timeout_ms = 30000, .generate = -1, .max = -1, .seed = 1};
    int option;
    while ((option = getopt_long(argc, argv, "", option_table, NULL)) != -1) {
        if (option == OPTION_HELP) {
            fputs(help, stdout);
            return 0;
        }
        if (!take_text(&options, option, optarg) && !take_number(&options, option, optarg) &&
            !take_flag(&options, option)) {
            return EXIT_USAGE;
        }
    }
    for (size_t i = 0; optind == argc - 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[optind], commands[i].name) == 0) {
            return commands[i].run(&options);
        }
    }
    fputs(help, stderr);
    return EXIT_USAGE;
}
