/* The commands that tell the mock cluster to misbehave. */
#ifndef SIGNUP_HARNESS_KAFKA_MOCK_COMMAND_H
#define SIGNUP_HARNESS_KAFKA_MOCK_COMMAND_H

#include "control.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdbool.h>

struct mock_server {
    rd_kafka_mock_cluster_t *cluster;
    int brokers;  /* numbered from 1 */
    bool quit;    /* set by the command `quit` */
};

/* The control_handler of the mock; `context` is the struct mock_server. */
void mock_command_obey(void *context, int count, char **words, struct control_answer *answer);

/* One line per command, for --help. */
extern const char mock_command_help[];

#endif
