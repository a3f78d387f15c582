/* An end that never hangs: with brokers that are down, frozen, or that take connections and say nothing; and
 * that they are used again when they wake. */
#include "source_world.h"

#include "signup/kafka/dead_letter.h"
#include "signup/kafka/letters.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>

static struct mock mock;
static uv_loop_t loop;
static struct world world;

static int setup(void **state)
{
    (void)state;
    mock_start(&mock, 1);
    uv_loop_init(&loop);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&loop), 0);
    mock_stop(&mock);
    return 0;
}

static void open_with_records(const char *group, int partitions, int records)
{
    mock_topic(&mock, "signups", partitions);
    for (int32_t p = 0; p < partitions; p++)
        mock_produce(&mock, "signups", p, 0, records, 0);
    world_open(&world, &mock, &loop, group, "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, world_has_taken, partitions * records);
}

static void close_within(int64_t deadline_ms)
{
    mono_us_t before = clock_mono_now();
    kafka_source_close(world.source, deadline_ms, world_on_closed, &world);
    WORLD_WAIT(&world, deadline_ms + 3000, world_is_closed, 1);
    assert_in_range((clock_mono_now().us - before.us) / US_PER_MS, 0, deadline_ms + 2000);
}

static void closes_in_time_with_the_broker_down(void **state)
{
    (void)state;
    open_with_records("down", 1, 10);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    WORLD_WAIT(&world, 15000, world_is_state, KAFKA_SOURCE_AWAY);
    close_within(4000);
}

static void closes_before_anything_has_answered(void **state)
{
    (void)state;
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    world_open(&world, &mock, &loop, "never", "signups", KAFKA_START_EARLIEST);
    close_within(4000);
}

/* Something is due in the next turn of the loop: the end comes all the same, and cleanly. */
static void closes_with_a_pause_on_its_way(void **state)
{
    (void)state;
    open_with_records("pausing", 2, 10);
    kafka_source_port()->pause(world.source, &world.assigned[0], true);
    world.items[0] = (struct commit_item){world.assigned[0], 10};
    world.commit = (struct commit_op){world.items, 1, world_commit_done, &world};
    assert_int_equal(kafka_source_port()->commit(world.source, &world.commit), PORT_OK);
    close_within(5000);
    assert_true(world.closed_clean);
    assert_true(world.committed);
}

static void closes_in_time_with_a_commit_on_a_silent_broker(void **state)
{
    (void)state;
    open_with_records("hung", 1, 10);
    assert_int_equal(world_commit(&world, 3), COMMIT_DONE);
    rd_kafka_mock_broker_set_rtt(mock.cluster, 1, 8000);
    world.items[0].offset = 8;
    world.committed = false;
    assert_int_equal(kafka_source_port()->commit(world.source, &world.commit), PORT_OK);
    close_within(2000);
    assert_true(world.committed); /* the operation has ended, once, before the source */
    assert_int_equal(world.commit_result, COMMIT_RETRY);
    assert_false(world.closed_clean);
    rd_kafka_mock_broker_set_rtt(mock.cluster, 1, 0);
}

/* ------------------------------------------------------------------ brokers that freeze */

/* A mock cluster in a process of its own, so that it can be stopped. */
static struct {
    pid_t pid;
    int lifeline;
    char brokers[128];
} host;

static void host_main(int report, int lifeline)
{
    char byte;
    mock_start(&mock, 1);
    mock_topic(&mock, "signups", 2);
    mock_topic(&mock, "dlq", 1);
    if (write(report, mock.brokers, strlen(mock.brokers)) > 0)
        while (read(lifeline, &byte, 1) > 0)
            ;
    _exit(0);
}

static int host_setup(void **state)
{
    (void)state;
    int report[2];
    int lifeline[2];
    if (pipe(report) || pipe(lifeline))
        return -1;
    host.pid = fork();
    assert_true(host.pid >= 0);
    if (host.pid == 0) {
        close(lifeline[1]);
        host_main(report[1], lifeline[0]);
    }
    memset(host.brokers, 0, sizeof host.brokers);
    assert_true(read(report[0], host.brokers, sizeof host.brokers - 1) > 0);
    close(report[0]);
    close(report[1]);
    close(lifeline[0]);
    host.lifeline = lifeline[1];
    mock = (struct mock){.brokers = host.brokers};
    uv_loop_init(&loop);
    return 0;
}

static int host_teardown(void **state)
{
    (void)state;
    kill(host.pid, SIGKILL);
    waitpid(host.pid, NULL, 0);
    close(host.lifeline);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static void freeze(void)
{
    int status;
    kill(host.pid, SIGSTOP);
    assert_int_equal(waitpid(host.pid, &status, WUNTRACED), host.pid);
    assert_true(WIFSTOPPED(status));
}

static void open_on_host(int records)
{
    for (int32_t p = 0; p < 2; p++)
        mock_produce(&mock, "signups", p, 0, records, 0);
    world_open(&world, &mock, &loop, "frozen", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, world_has_taken, 2 * records);
}

static void closes_in_time_with_the_broker_frozen(void **state)
{
    (void)state;
    open_on_host(10);
    freeze();
    close_within(2000);
}

/* The worst of it: a commit, a pause and a revoke's answer are all owed. */
static void closes_in_time_with_everything_under_way_and_the_broker_frozen(void **state)
{
    (void)state;
    open_on_host(10);
    freeze();
    for (size_t i = 0; i < 2; i++) {
        kafka_source_port()->pause(world.source, &world.assigned[i], true);
        world.items[i] = (struct commit_item){world.assigned[i], 10};
    }
    world.commit = (struct commit_op){world.items, 2, world_commit_done, &world};
    assert_int_equal(kafka_source_port()->commit(world.source, &world.commit), PORT_OK);
    world.revoke_waits = true;
    WORLD_WAIT(&world, 10000, world_is_revoked, 1); /* the session is over */
    close_within(2000);
    assert_true(world.committed);
    assert_int_not_equal(world.commit_result, COMMIT_DONE);
}

static void a_frozen_broker_that_wakes_is_used_again(void **state)
{
    (void)state;
    open_on_host(10);
    assert_int_equal(world_commit(&world, 10), COMMIT_DONE);
    freeze();
    WORLD_WAIT(&world, 15000, world_is_state, KAFKA_SOURCE_AWAY);
    assert_true(world.last_lost);
    kill(host.pid, SIGCONT);
    mono_us_t awake = clock_mono_now();
    mock_produce(&mock, "signups", 0, 10, 5, 0);
    WORLD_WAIT(&world, 15000, world_has_taken, 25);
    assert_in_range((clock_mono_now().us - awake.us) / US_PER_MS, 0, 10000);
    world_expect_range(&world, 0, 0, 14);
    WORLD_WAIT(&world, 5000, world_is_state, KAFKA_SOURCE_JOINED);
    world_close(&world);
}

/* ------------------------------------------------------------------ dead letters */

struct outcome_of {
    bool done;
    bool closed;
};

static void on_done(struct publish_op *op)
{
    struct outcome_of *seen = op->owner;
    assert_false(seen->done);
    seen->done = true;
}

static void on_closed(void *owner, bool clean)
{
    (void)clean;
    ((struct outcome_of *)owner)->closed = true;
}

static bool is_set(void *ctx)
{
    return *(const bool *)ctx;
}

static const char *const TOPICS[] = {"signups"};

static struct kafka_config make_config(void)
{
    return (struct kafka_config){
        .brokers = mock.brokers, .topics = TOPICS, .topic_count = 1, .group = "group", .dead_letter_topic = "dlq"};
}

static struct dead_letter make_letter(void)
{
    return (struct dead_letter){.event_id = SLICE_LITERAL("evt-1"),
                                .original = {.topic = SLICE_LITERAL("signups"), .value = SLICE_LITERAL("{}")},
                                .code = SLICE_LITERAL("c"),
                                .message = SLICE_LITERAL("m"),
                                .cls = SLICE_LITERAL("rejected")};
}

/* Publishes one and closes at once; the op has ended by then, in time. */
static void publish_and_close(struct kafka_dead_letter *producer)
{
    struct outcome_of seen = {false, false};
    struct dead_letter letter = make_letter();
    struct publish_op op = {&letter, 1, on_done, &seen};
    assert_int_equal(kafka_dead_letter_port()->publish(producer, &op), PORT_OK);
    mono_us_t before = clock_mono_now();
    kafka_dead_letter_close(producer, 2000, on_closed, &seen);
    assert_true(mock_wait(&loop, 5000, is_set, &seen.closed));
    assert_in_range((clock_mono_now().us - before.us) / US_PER_MS, 0, 4000);
    assert_true(seen.done);
    assert_false(letter.published);
}

static struct kafka_dead_letter *make_producer(void)
{
    struct kafka_config config = make_config();
    char error[256];
    struct kafka_dead_letter *producer = kafka_dead_letter_create(&loop, &config, error, sizeof error);
    assert_non_null(producer);
    return producer;
}

static void dead_letters_close_in_time_with_the_broker_frozen(void **state)
{
    (void)state;
    struct kafka_dead_letter *producer = make_producer();
    struct outcome_of seen = {false, false};
    struct dead_letter letter = make_letter();
    struct publish_op op = {&letter, 1, on_done, &seen};
    assert_int_equal(kafka_dead_letter_port()->publish(producer, &op), PORT_OK);
    assert_true(mock_wait(&loop, 10000, is_set, &seen.done));
    assert_true(letter.published);
    freeze();
    publish_and_close(producer);
}

/* ------------------------------------------------------------------ brokers that say nothing */

static int mute_fd;

/* The kernel takes the connections and what is sent; nobody answers. */
static int mute_setup(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    mute_fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(mute_fd >= 0 && bind(mute_fd, (struct sockaddr *)&address, size) == 0 &&
                listen(mute_fd, 64) == 0);
    assert_int_equal(getsockname(mute_fd, (struct sockaddr *)&address, &size), 0);
    snprintf(host.brokers, sizeof host.brokers, "127.0.0.1:%d", ntohs(address.sin_port));
    mock = (struct mock){.brokers = host.brokers};
    uv_loop_init(&loop);
    return 0;
}

static int mute_teardown(void **state)
{
    (void)state;
    close(mute_fd);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static void closes_in_time_with_a_mute_broker(void **state)
{
    (void)state;
    world_open(&world, &mock, &loop, "mute", "signups", KAFKA_START_EARLIEST);
    struct kafka_dead_letter *producer = make_producer();
    WORLD_WAIT(&world, 15000, world_is_state, KAFKA_SOURCE_AWAY);
    publish_and_close(producer);
    close_within(2000);
}

static bool no_letter(void *ctx, const struct kafka_letter *letter)
{
    (void)ctx;
    (void)letter;
    fail();
    return false;
}

static void reading_letters_gives_up_on_a_mute_broker(void **state)
{
    (void)state;
    struct kafka_config config = make_config();
    struct kafka_letters_request request = {.timeout_ms = 2000, .letter = no_letter};
    char error[256];
    mono_us_t before = clock_mono_now();
    assert_int_equal(kafka_letters_read(&config, &request, NULL, error, sizeof error), KAFKA_LETTERS_AWAY);
    assert_in_range((clock_mono_now().us - before.us) / US_PER_MS, 0, 8000);
    assert_non_null(strstr(error, "no Kafka broker answers at"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define HOST_TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
#define MUTE_TEST(name) cmocka_unit_test_setup_teardown(name, mute_setup, mute_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(closes_in_time_with_the_broker_down),
        TEST(closes_before_anything_has_answered),
        TEST(closes_with_a_pause_on_its_way),
        TEST(closes_in_time_with_a_commit_on_a_silent_broker),
        HOST_TEST(closes_in_time_with_the_broker_frozen),
        HOST_TEST(closes_in_time_with_everything_under_way_and_the_broker_frozen),
        HOST_TEST(a_frozen_broker_that_wakes_is_used_again),
        HOST_TEST(dead_letters_close_in_time_with_the_broker_frozen),
        MUTE_TEST(closes_in_time_with_a_mute_broker),
        MUTE_TEST(reading_letters_gives_up_on_a_mute_broker),
    };
    return MOCK_RUN(tests);
}
