/* The world of the Kafka room's tests: librdkafka's mock cluster, a producer, a look at a group's offsets,
 * and a loop to wait on. */
#ifndef SIGNUP_TESTS_KAFKA_MOCK_H
#define SIGNUP_TESTS_KAFKA_MOCK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "signup/base/clock.h"
#include "signup/kafka/config.h"

#define MOCK_UNUSED __attribute__((unused))

struct mock {
    rd_kafka_t *host; /* carries the cluster, and produces */
    rd_kafka_mock_cluster_t *cluster;
    const char *brokers;
};

MOCK_UNUSED static rd_kafka_t *mock_client(rd_kafka_type_t type, const char *brokers, const char *group)
{
    char error[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (brokers)
        assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", brokers, error, sizeof error),
                         RD_KAFKA_CONF_OK);
    if (group) {
        assert_int_equal(rd_kafka_conf_set(conf, "group.id", group, error, sizeof error), RD_KAFKA_CONF_OK);
        rd_kafka_conf_set(conf, "session.timeout.ms", "3500", error, sizeof error);
        rd_kafka_conf_set(conf, "heartbeat.interval.ms", "300", error, sizeof error);
        rd_kafka_conf_set(conf, "enable.auto.commit", "false", error, sizeof error);
        rd_kafka_conf_set(conf, "auto.offset.reset", "earliest", error, sizeof error);
    } else {
        rd_kafka_conf_set(conf, "linger.ms", "1", error, sizeof error);
    }
    rd_kafka_conf_set(conf, "log_level", "0", error, sizeof error);
    rd_kafka_t *rk = rd_kafka_new(type, conf, error, sizeof error);
    assert_non_null(rk);
    return rk;
}

MOCK_UNUSED static void mock_start(struct mock *mock, int brokers)
{
    mock->host = mock_client(RD_KAFKA_PRODUCER, NULL, NULL);
    mock->cluster = rd_kafka_mock_cluster_new(mock->host, brokers);
    assert_non_null(mock->cluster);
    mock->brokers = rd_kafka_mock_cluster_bootstraps(mock->cluster);
}

MOCK_UNUSED static void mock_stop(struct mock *mock)
{
    rd_kafka_mock_cluster_destroy(mock->cluster);
    rd_kafka_destroy(mock->host);
}

MOCK_UNUSED static void mock_topic(struct mock *mock, const char *topic, int partitions)
{
    assert_int_equal(rd_kafka_mock_topic_create(mock->cluster, topic, partitions, 1), 0);
}

/* Values are "0", "1", … so that a test sees which record it was given; `bytes` pads them. */
MOCK_UNUSED static void mock_produce(struct mock *mock, const char *topic, int32_t partition, int from,
                                     int count, size_t bytes)
{
    rd_kafka_t *producer = mock_client(RD_KAFKA_PRODUCER, mock->brokers, NULL);
    char *value = calloc(1, bytes + 32);
    for (int i = from; i < from + count; i++) {
        int len = snprintf(value, bytes + 32, "%d", i);
        size_t size = (size_t)len < bytes ? bytes : (size_t)len;
        while (rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                                 RD_KAFKA_V_VALUE(value, size), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                 RD_KAFKA_V_END) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
            rd_kafka_poll(producer, 10);
    }
    assert_int_equal(rd_kafka_flush(producer, 20000), 0);
    rd_kafka_destroy(producer);
    free(value);
}

/* RD_KAFKA_OFFSET_INVALID: none. */
MOCK_UNUSED static int64_t mock_committed(struct mock *mock, const char *group, const char *topic,
                                          int32_t partition)
{
    rd_kafka_t *consumer = mock_client(RD_KAFKA_CONSUMER, mock->brokers, group);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition);
    assert_int_equal(rd_kafka_committed(consumer, list, 10000), 0);
    int64_t offset = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(consumer);
    return offset;
}

MOCK_UNUSED static void mock_commit(struct mock *mock, const char *group, const char *topic,
                                    int32_t partition, int64_t offset)
{
    rd_kafka_t *consumer = mock_client(RD_KAFKA_CONSUMER, mock->brokers, group);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, partition)->offset = offset;
    assert_int_equal(rd_kafka_commit(consumer, list, 0), 0);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(consumer);
}

/* ---- waiting: a condition with a deadline, the loop runs meanwhile */

static void mock_wait_tick(uv_timer_t *timer)
{
    (void)timer;
}

MOCK_UNUSED static bool mock_wait(uv_loop_t *loop, int64_t deadline_ms, bool (*condition)(void *ctx),
                                  void *ctx)
{
    uv_timer_t timer;
    mono_us_t until = mono_add(clock_mono_now(), deadline_ms * US_PER_MS);
    uv_timer_init(loop, &timer);
    uv_timer_start(&timer, mock_wait_tick, 10, 10);
    bool met;
    while (!(met = condition(ctx)) && !mono_reached(clock_mono_now(), until))
        uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    return met;
}

/* ---- running: each test in a process of its own, some at a time, for they do little but wait */

#define MOCK_AT_ONCE 4
#define MOCK_TEST_S 120 /* one that hangs is ended by name */

struct mock_child {
    pid_t pid;
    FILE *said;
};

static void mock_run_one(const struct CMUnitTest *tests, size_t count, size_t one, FILE *said)
{
    dup2(fileno(said), STDOUT_FILENO);
    dup2(fileno(said), STDERR_FILENO);
    alarm(MOCK_TEST_S);
    cmocka_set_test_filter(tests[one].name);
    exit(_cmocka_run_group_tests(tests[one].name, tests, count, NULL, NULL));
}

/* Gives 1 when the test has failed. */
static int mock_reap(const struct mock_child *child, const char *name)
{
    int status = 0;
    char line[1024];
    waitpid(child->pid, &status, 0);
    rewind(child->said);
    while (fgets(line, sizeof line, child->said))
        fputs(line, stdout);
    fclose(child->said);
    if (status == 0)
        return 0;
    printf("%s has failed (wait status %#x)\n", name, (unsigned)status);
    return 1;
}

MOCK_UNUSED static int mock_run(const struct CMUnitTest *tests, size_t count)
{
    struct mock_child children[64];
    size_t begun = 0;
    int failed = 0;
    if (count > 64)
        abort();
    for (size_t reaped = 0; reaped < count; reaped++) {
        for (; begun < count && begun < reaped + MOCK_AT_ONCE; begun++) {
            fflush(NULL);
            children[begun].said = tmpfile();
            children[begun].pid = children[begun].said ? fork() : -1;
            if (children[begun].pid < 0)
                abort();
            if (children[begun].pid == 0)
                mock_run_one(tests, count, begun, children[begun].said);
        }
        failed += mock_reap(&children[reaped], tests[reaped].name);
    }
    printf("%zu tests, %d failed\n", count, failed);
    return failed ? 1 : 0;
}

#define MOCK_RUN(tests) mock_run(tests, sizeof(tests) / sizeof(tests)[0])

#endif
