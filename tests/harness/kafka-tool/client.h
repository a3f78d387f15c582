/* What all subcommands of kafka-tool share: their options, handles to the cluster, ways to end. */
#ifndef SIGNUP_HARNESS_KAFKA_TOOL_CLIENT_H
#define SIGNUP_HARNESS_KAFKA_TOOL_CLIENT_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit statuses of sysexits.h, and one of our own. */
enum {
    EXIT_USAGE = 64,
    EXIT_DATA = 65,
    EXIT_UNAVAILABLE = 69,
    EXIT_SOFTWARE = 70,
    EXIT_NOT_IN_TIME = 75,
};

#define PROPERTIES_MAX 32
#define HEADERS_MAX 32

/* The command line; every pointer *borrows* argv. Subcommands read what is theirs. */
struct options {
    const char *brokers;
    const char *topic;
    const char *group;
    const char *file;      /* NULL: standard input */
    const char *key_field;
    const char *lists;     /* comma-separated list numbers of generated events */
    const char *properties[PROPERTIES_MAX]; /* NAME=VALUE for librdkafka */
    const char *topic_configs[PROPERTIES_MAX];
    const char *headers[HEADERS_MAX];
    int property_count, topic_config_count, header_count;
    int64_t partitions;
    int64_t partition;     /* -1: chosen by the key */
    int64_t replication;
    int64_t timeout_ms;
    int64_t generate;      /* events; -1: read them */
    int64_t contacts;      /* phones that generated events share; 0: one each */
    int64_t seed;
    int64_t first;         /* sequence number of the first generated event */
    int64_t max;           /* records to print; -1: all */
    bool records;          /* lines are records as consume prints them */
    bool print_only;
    bool if_not_exists;
    bool wait_zero;
    bool quiet;
};

/* Says why on standard error and exits with `status`. */
_Noreturn void client_die(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sets one property, or dies with EXIT_USAGE and the library's explanation. */
void client_set(rd_kafka_conf_t *conf, const char *name, const char *value);

/* A configuration with the brokers and the user's properties; *gives* it. */
rd_kafka_conf_t *client_conf(const struct options *options);

/* A handle of that configuration; *takes* `conf`, *gives* the handle. Dies when there can be none. */
rd_kafka_t *client_create(rd_kafka_type_t type, rd_kafka_conf_t *conf);

/*
 * Metadata of the topic, or of all with `topic` NULL, within the time of the options; *gives* it. Dies with
 * EXIT_UNAVAILABLE when nobody answers, and with `missing_ok` false when the topic does not exist.
 */
const struct rd_kafka_metadata *client_metadata(rd_kafka_t *handle, const char *topic,
                                                const struct options *options, bool missing_ok);

/* The offsets that a partition holds: from `low` to below `high`. */
struct extent {
    int64_t low, high;
};

/*
 * Reads the extents of partitions 0 to count-1 of the topic; *gives* an array. Retries what passes by itself
 * until the time of the options is over, then dies; there is no answer that is not the brokers' own.
 */
struct extent *client_extents(rd_kafka_t *handle, int count, const struct options *options);

/* True for errors of a cluster that is on the move (a leader or coordinator changes, a broker restarts). */
bool client_is_transient(rd_kafka_resp_err_t error);

/* Milliseconds of the monotonic clock. */
int64_t client_now_ms(void);

/* Lets `ms` pass inside a wait for a condition that the cluster does not announce. */
void client_pause_ms(int ms);

int admin_create_topic(const struct options *options);
int admin_add_partitions(const struct options *options);
int admin_delete_topic(const struct options *options);
int admin_deny_write(const struct options *options);
int admin_metadata(const struct options *options);
int produce_run(const struct options *options);
int consume_run(const struct options *options);
int offsets_run(const struct options *options);
int lag_run(const struct options *options);

#endif
