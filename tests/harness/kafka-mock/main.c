/*
 * kafka-mock: librdkafka's mock cluster in a process of its own, with a control socket.
 *
 * It stands in for Apache Kafka where that cannot be had, and returns the errors that a real broker cannot
 * be made to return. Its limits are known (tests must not read them as faults of the client): 5 MiB or
 * 100,000 batches per partition, no ownership check on commits, no read_committed.
 */
#include "command.h"
#include "control.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define TOPICS_MAX 64

struct options {
    int brokers;
    const char *control_path;
    const char *bootstrap_path;
    int topic_count;
    char *topics[TOPICS_MAX]; /* NAME:PARTITIONS */
    bool die_with_parent;
};

static void usage(FILE *out)
{
    fprintf(out,
            "usage: kafka-mock [--brokers N] [--topic NAME:PARTITIONS]... [--control SOCKET]\n"
            "                  [--bootstrap-file FILE] [--die-with-parent]\n"
            "       kafka-mock --send SOCKET COMMAND...\n"
            "\n"
            "Hosts librdkafka's mock cluster of N brokers (1) on loopback, prints its bootstrap address, and serves\n"
            "until SIGTERM. FILE gets the address once everything is ready. --send obeys one command per argument.\n"
            "\n"
            "Commands, one per line of the control socket, each answered by `ok ...` or `error ...`:\n%s"
            "\n"
            "  kafka-mock --brokers 3 --topic signups:6 --control /tmp/mock.sock &\n"
            "  kafka-mock --send /tmp/mock.sock 'errors OffsetCommit NOT_COORDINATOR _TRANSPORT' 'down 2'\n",
            mock_command_help);
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option table[] = {
        {"brokers", required_argument, NULL, 'b'},        {"topic", required_argument, NULL, 't'},
        {"control", required_argument, NULL, 'c'},        {"bootstrap-file", required_argument, NULL, 'f'},
        {"die-with-parent", no_argument, NULL, 'd'},      {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (option) {
        case 'b':
            options->brokers = (int)strtol(optarg, NULL, 10);
            break;
        case 't':
            if (options->topic_count == TOPICS_MAX) {
                return false;
            }
            options->topics[options->topic_count++] = optarg;
            break;
        case 'c':
            options->control_path = optarg;
            break;
        case 'f':
            options->bootstrap_path = optarg;
            break;
        case 'd':
            options->die_with_parent = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc && options->brokers >= 1 && options->brokers <= 32;
}

static bool create_topics(rd_kafka_mock_cluster_t *cluster, const struct options *options)
{
    for (int i = 0; i < options->topic_count; i++) {
        char *colon = strrchr(options->topics[i], ':');
        int partitions = colon == NULL ? 0 : (int)strtol(colon + 1, NULL, 10);
        if (colon == NULL || partitions < 1) {
            fprintf(stderr, "kafka-mock: not NAME:PARTITIONS: %s\n", options->topics[i]);
            return false;
        }
        *colon = '\0';
        rd_kafka_resp_err_t error =
            rd_kafka_mock_topic_create(cluster, options->topics[i], partitions, options->brokers);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
            fprintf(stderr, "kafka-mock: topic %s: %s\n", options->topics[i], rd_kafka_err2str(error));
            return false;
        }
    }
    return true;
}

/* The file appears whole, by rename: whoever waits for it may read it at once. */
static bool write_bootstrap(const char *path, const char *bootstrap)
{
    char part[4096];
    if (snprintf(part, sizeof(part), "%s.part", path) >= (int)sizeof(part)) {
        return false;
    }
    FILE *file = fopen(part, "we");
    if (file == NULL) {
        return false;
    }
    bool written = fprintf(file, "%s\n", bootstrap) > 0;
    return fclose(file) == 0 && written && rename(part, path) == 0;
}

static void serve(struct mock_server *server, struct control *control, int signal_fd)
{
    struct pollfd watched[2] = {{.fd = signal_fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
    if (control != NULL) {
        watched[1].fd = control_fd(control);
    }
    while (!server->quit) {
        if (poll(watched, 2, -1) < 0 && errno != EINTR) {
            return;
        }
        if (watched[0].revents != 0) {
            return;
        }
        if (watched[1].revents != 0) {
            control_process(control);
        }
    }
}

static int run(const struct options *options, rd_kafka_t *handle, int signal_fd)
{
    struct mock_server server = {.brokers = options->brokers};
    server.cluster = rd_kafka_mock_cluster_new(handle, options->brokers);
    if (server.cluster == NULL) {
        fprintf(stderr, "kafka-mock: the cluster cannot be made\n");
        return 70;
    }
    int status = 0;
    struct control *control = NULL;
    const char *bootstrap = rd_kafka_mock_cluster_bootstraps(server.cluster);
    if (!create_topics(server.cluster, options)) {
        status = 64;
    } else if (options->control_path != NULL &&
               (control = control_create(options->control_path, mock_command_obey, &server)) == NULL) {
        fprintf(stderr, "kafka-mock: %s: %s\n", options->control_path, strerror(errno));
        status = 73;
    } else if (options->bootstrap_path != NULL && !write_bootstrap(options->bootstrap_path, bootstrap)) {
        fprintf(stderr, "kafka-mock: %s: %s\n", options->bootstrap_path, strerror(errno));
        status = 73;
    } else {
        printf("%s\n", bootstrap);
        fflush(stdout);
        serve(&server, control, signal_fd);
    }
    control_destroy(control);
    rd_kafka_mock_cluster_destroy(server.cluster);
    return status;
}

int main(int argc, char **argv)
{
    struct options options = {.brokers = 1};
    if (argc >= 4 && strcmp(argv[1], "--send") == 0) {
        return control_send(argv[2], argc - 3, argv + 3);
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    if (!parse_options(argc, argv, &options)) {
        usage(stderr);
        return 64;
    }
    if (options.die_with_parent) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    /* Blocked before librdkafka starts its threads, so that all of them inherit it. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);

    char text[256];
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_PRODUCER, rd_kafka_conf_new(), text, sizeof(text));
    if (handle == NULL || signal_fd < 0) {
        fprintf(stderr, "kafka-mock: %s\n", handle == NULL ? text : strerror(errno));
        return 70;
    }
    int status = run(&options, handle, signal_fd);
    rd_kafka_destroy(handle);
    close(signal_fd);
    return status;
}
