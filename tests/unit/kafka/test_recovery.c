/* The source while the cluster changes under it: leaders, coordinators, topics, and batches that cannot be
 * read. What was taken stays taken, once and in order, and it goes on by itself. */
#include "source_world.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    FETCH = 1,
    OFFSET_FETCH = 9,
    FIND_COORDINATOR = 10,
    JOIN = 11,
    HEARTBEAT = 12,
    SYNC = 14
}; /* the APIs' keys */

static struct mock mock;
static uv_loop_t loop;
static struct world world;

static int setup(void **state)
{
    (void)state;
    mock_start(&mock, 3);
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
    WORLD_WAIT(&world, 40000, world_has_taken, partitions * records);
}

static int64_t ms_since(mono_us_t before)
{
    return (clock_mono_now().us - before.us) / US_PER_MS;
}

/* ------------------------------------------------------------------ leaders */

#define CHANGES 100
#define EACH 10

/* One leader change and some records, then the loop runs until they are there or a little later: the library
 * is met at every stage of its recovery. */
static bool taken_or_not(void *ctx)
{
    struct world *w = ctx;
    world_turn(w);
    return w->taken_count >= w->want;
}

static void a_hundred_leader_changes_lose_and_repeat_nothing(void **state)
{
    (void)state;
    open_with_records("leaders", 2, EACH);
    unsigned seed = 20261121;
    for (int i = 1; i <= CHANGES; i++) {
        seed = seed * 1664525u + 1013904223u;
        rd_kafka_mock_partition_set_leader(mock.cluster, "signups", i % 2, (int32_t)(seed >> 8) % 3 + 1);
        if (i % 10 == 0)
            for (int32_t p = 0; p < 2; p++)
                mock_produce(&mock, "signups", p, i / 10 * EACH, EACH, 0);
        world.want = (size_t)(i / 10 + 1) * 2 * EACH;
        mock_wait(&loop, (seed >> 16) % 40, taken_or_not, &world);
    }
    mono_us_t last = clock_mono_now();
    WORLD_WAIT(&world, 15000, world_has_taken, 2 * EACH * (CHANGES / 10 + 1));
    assert_in_range(ms_since(last), 0, 3000);
    for (int32_t p = 0; p < 2; p++)
        world_expect_range(&world, p, 0, EACH * (CHANGES / 10 + 1) - 1);
    assert_int_equal(world.assigns, 1); /* the group has not noticed */
    world_close(&world);
}

static void a_leaderless_partition_does_not_hold_up_the_others(void **state)
{
    (void)state;
    open_with_records("headless", 2, 10);
    rd_kafka_mock_partition_set_leader(mock.cluster, "signups", 0, -1);
    mock_produce(&mock, "signups", 1, 10, 50, 0);
    WORLD_WAIT(&world, 3000, world_has_taken, 70);
    world_expect_range(&world, 0, 0, 9);
    world_expect_range(&world, 1, 0, 59);
    assert_int_equal(world_commit(&world, 10), COMMIT_DONE); /* nor the commits */
    rd_kafka_mock_partition_set_leader(mock.cluster, "signups", 0, 2);
    mono_us_t back = clock_mono_now();
    mock_produce(&mock, "signups", 0, 10, 5, 0);
    WORLD_WAIT(&world, 10000, world_has_taken, 75);
    assert_in_range(ms_since(back), 0, 5000);
    world_expect_range(&world, 0, 0, 14);
    world_close(&world);
}

/* A new group must ask such a partition's leader where to begin. */
static void a_leaderless_partition_begins_when_it_has_one(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 2);
    for (int32_t p = 0; p < 2; p++)
        mock_produce(&mock, "signups", p, 0, 10, 0);
    rd_kafka_mock_partition_set_leader(mock.cluster, "signups", 0, -1);
    world_open(&world, &mock, &loop, "later", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 20000, world_has_taken, 10);
    world_expect_range(&world, 1, 0, 9);
    assert_int_equal(world.assigned_count, 1); /* the pipeline does not know of it yet */
    rd_kafka_mock_partition_set_leader(mock.cluster, "signups", 0, 2);
    WORLD_WAIT(&world, 10000, world_has_taken, 20);
    world_expect_range(&world, 0, 0, 9);
    assert_int_equal(world.assigned_count, 2);
    world_close(&world);
}

/* ------------------------------------------------------------------ the coordinator */

static void expect_goes_on(int from, int64_t within_ms)
{
    mono_us_t before = clock_mono_now();
    mock_produce(&mock, "signups", 0, from, 5, 0);
    WORLD_WAIT(&world, 15000, world_has_taken, from + 5);
    while (world.assigned_count == 0 || world_commit(&world, from + 5) != COMMIT_DONE)
        if (ms_since(before) > 15000)
            fail_msg("no commit since");
    assert_in_range(ms_since(before), 0, within_ms);
    world_expect_range(&world, 0, 0, from + 4);
}

static void a_coordinator_that_loads_or_moves_is_found_again(void **state)
{
    (void)state;
    static const rd_kafka_resp_err_t ERRORS[] = {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
                                                 RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
                                                 RD_KAFKA_RESP_ERR_NOT_COORDINATOR};
    /* All of it is met on the way to the first assignment. */
    rd_kafka_mock_push_request_errors(mock.cluster, FIND_COORDINATOR, 1, ERRORS[1]);
    rd_kafka_mock_push_request_errors(mock.cluster, JOIN, 1, ERRORS[0]);
    rd_kafka_mock_push_request_errors(mock.cluster, SYNC, 1, ERRORS[2]);
    rd_kafka_mock_push_request_errors(mock.cluster, OFFSET_FETCH, 2, ERRORS[0], ERRORS[1]);
    /* Every look for the coordinator costs the library up to a second, in which there is no heartbeat: with a short session a busy machine
     * would lose the membership, which is not what this is about. */
    world_session_ms = "10000";
    open_with_records("moves", 1, 10);
    world_session_ms = "3500";
    for (size_t i = 0; i < 3; i++) {
        rd_kafka_mock_push_request_errors(mock.cluster, HEARTBEAT, 1, ERRORS[i]);
        rd_kafka_mock_push_request_errors(mock.cluster, FIND_COORDINATOR, 1, ERRORS[i]);
        expect_goes_on(10 + (int)i * 5, 5000);
    }
    for (int32_t broker = 1; broker <= 3; broker++) {
        rd_kafka_mock_coordinator_set(mock.cluster, "group", "moves", broker);
        expect_goes_on(20 + broker * 5, 5000);
    }
    assert_int_equal(world.assigns, 1); /* and nobody lost anything */
    world_close(&world);
}

static bool heartbeat_fenced(void *ctx)
{
    return world_is_state(ctx) && world.assigned_count == 0;
}

static void a_heartbeat_that_is_fenced_ends_it_for_good(void **state)
{
    (void)state;
    open_with_records("fenced", 1, 10);
    rd_kafka_mock_push_request_errors(mock.cluster, HEARTBEAT, 1, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID);
    WORLD_WAIT(&world, 10000, heartbeat_fenced, KAFKA_SOURCE_FATAL);
    assert_true(world.last_lost);
    assert_non_null(strstr(world.why, "failed for good"));
    world_close(&world);
}

/* ------------------------------------------------------------------ a loop that is held up */

static void a_loop_held_up_too_long_loses_its_partitions_and_gets_them_back(void **state)
{
    (void)state;
    world_max_poll_ms = "4000";
    open_with_records("held", 1, 10);
    world_max_poll_ms = NULL;
    assert_int_equal(world_commit(&world, 4), COMMIT_DONE);
    uint64_t before = world.assigned[0].epoch;
    mono_us_t held = clock_mono_now();
    while (ms_since(held) < 5500)
        usleep(50000); /* this is the fault, not a wait: nothing of ours runs */
    WORLD_WAIT(&world, 10000, world_is_revoked, 1);
    assert_true(world.last_lost);
    world.taken_count = 0;
    WORLD_WAIT(&world, 15000, world_has_taken, 6);
    assert_true(world.assigned[0].epoch > before);
    world_expect_range(&world, 0, 4, 9);
    world_close(&world);
}

/* ------------------------------------------------------------------ topics */

static bool the_topic_is_missed(void *ctx)
{
    world_turn(ctx);
    return world.assigned_count == 0 && strcmp(world.why, "topic signups does not exist yet") == 0;
}

/* 2.0.2 cannot always let go of a consumer whose topic was gone for a while: the deadline ends it. */
static void close_by_deadline(void)
{
    kafka_source_close(world.source, 2000, world_on_closed, &world);
    WORLD_WAIT(&world, 4000, world_is_closed, 1);
}

static void a_topic_that_vanishes_and_returns_is_picked_up(void **state)
{
    (void)state;
    open_with_records("vanishes", 2, 10);
    assert_int_equal(world_commit(&world, 10), COMMIT_DONE);
    rd_kafka_mock_topic_set_error(mock.cluster, "signups", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    WORLD_WAIT(&world, 20000, the_topic_is_missed, 1);
    rd_kafka_mock_topic_set_error(mock.cluster, "signups", RD_KAFKA_RESP_ERR_NO_ERROR);
    WORLD_WAIT(&world, 20000, world_has_assignment, 2);
    for (int32_t p = 0; p < 2; p++)
        mock_produce(&mock, "signups", p, 10, 5, 0);
    WORLD_WAIT(&world, 10000, world_has_taken, 30);
    for (int32_t p = 0; p < 2; p++)
        world_expect_range(&world, p, 0, 14);
    assert_string_equal(world.why, "");
    close_by_deadline();
}

/* Made anew, the topic would be read from there, and what is before would be lost. */
static void nothing_is_committed_of_a_topic_that_is_gone(void **state)
{
    (void)state;
    open_with_records("gone", 1, 10);
    assert_int_equal(world_commit(&world, 3), COMMIT_DONE);
    struct commit_item item = {world.assigned[0], 7};
    world.revoke_waits = true;
    rd_kafka_mock_topic_set_error(mock.cluster, "signups", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    WORLD_WAIT(&world, 20000, world_is_revoked, 1);
    world.commit = (struct commit_op){&item, 1, world_commit_done, &world};
    world.committed = false;
    assert_int_equal(kafka_source_port()->commit(world.source, &world.commit), PORT_OK);
    WORLD_WAIT(&world, 15000, world_is_committed, 1);
    assert_int_equal(world.commit_result, COMMIT_DONE); /* there is nothing to be repeated */
    assert_int_equal(mock_committed(&mock, "gone", "signups", 0), 3);
    world_answer_revoke(&world);
    close_by_deadline();
}

#define OFFSET_COMMIT_REQUEST 8 /* its key in the protocol */

/* The library repeats a commit by itself; it may land in the topic's next life, which nobody has read yet. */
static void a_commit_that_crossed_the_topics_end_is_not_believed(void **state)
{
    (void)state;
    rd_kafka_mock_coordinator_set(mock.cluster, "group", "crossed", 1);
    world_session_ms = "12000"; /* the mock answers one after the other: heartbeats wait behind the commit */
    open_with_records("crossed", 1, 10);
    world_session_ms = "3500";
    assert_int_equal(world_commit(&world, 3), COMMIT_DONE);
    rd_kafka_mock_broker_push_request_error_rtts(mock.cluster, 1, OFFSET_COMMIT_REQUEST, 1,
                                                 RD_KAFKA_RESP_ERR_NO_ERROR, 9000);
    struct commit_item item = {world.assigned[0], 7};
    world.commit = (struct commit_op){&item, 1, world_commit_done, &world};
    world.committed = false;
    assert_int_equal(kafka_source_port()->commit(world.source, &world.commit), PORT_OK);
    rd_kafka_mock_topic_set_error(mock.cluster, "signups", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    WORLD_WAIT(&world, 20000, the_topic_is_missed, 1);
    assert_int_equal(mock_committed(&mock, "crossed", "signups", 0), 7);
    world.taken_count = 0;
    rd_kafka_mock_topic_set_error(mock.cluster, "signups", RD_KAFKA_RESP_ERR_NO_ERROR);
    WORLD_WAIT(&world, 60000, world_has_taken, 10);
    world_expect_range(&world, 0, 0, 9);
    close_by_deadline();
}

/* ------------------------------------------------------------------ batches that cannot be read */

static void put(unsigned char **at, uint64_t value, int bytes)
{
    while (bytes--)
        *(*at)++ = (unsigned char)(value >> (8 * bytes));
}

/* One record with the value "x" (https://kafka.apache.org/documentation/#recordbatch), its checksum wrong. */
static size_t write_broken_batch(unsigned char *out)
{
    static const unsigned char RECORD[] = {7 << 1, 0, 0, 0, 1 /* null key */, 1 << 1, 'x', 0};
    unsigned char *at = out;
    put(&at, 0, 8);                  /* base offset */
    put(&at, 49 + sizeof RECORD, 4); /* length of what follows */
    put(&at, 0, 4);                  /* leader epoch */
    put(&at, 2, 1);                  /* magic */
    put(&at, 0x0badc0de, 4);         /* crc */
    put(&at, 0, 2);                  /* attributes */
    put(&at, 0, 4);                  /* last offset delta */
    put(&at, 1742049000123, 8);      /* first timestamp */
    put(&at, 1742049000123, 8);      /* last */
    put(&at, UINT64_MAX, 8);         /* producer id, epoch, sequence: none */
    put(&at, UINT64_MAX, 2);
    put(&at, UINT64_MAX, 4);
    put(&at, 1, 4); /* records */
    memcpy(at, RECORD, sizeof RECORD);
    return (size_t)(at - out) + sizeof RECORD;
}

/* Produce v3 by hand: no client would send such a batch. */
static void produce_broken_batch(int32_t partition)
{
    unsigned char batch[128];
    unsigned char request[256];
    unsigned char *at = request + 4;
    size_t size = write_broken_batch(batch);
    put(&at, 0, 2); /* Produce */
    put(&at, 3, 2);
    put(&at, 1, 4);          /* correlation */
    put(&at, UINT64_MAX, 2); /* no client id */
    put(&at, UINT64_MAX, 2); /* no transaction */
    put(&at, UINT64_MAX, 2); /* acks: all */
    put(&at, 5000, 4);
    put(&at, 1, 4); /* topics */
    put(&at, 7, 2);
    memcpy(at, "signups", 7);
    at += 7;
    put(&at, 1, 4); /* partitions */
    put(&at, (uint64_t)partition, 4);
    put(&at, size, 4);
    memcpy(at, batch, size);
    at += size;
    size_t length = (size_t)(at - request);
    at = request;
    put(&at, length - 4, 4);

    const char *colon = strchr(mock.brokers, ':');
    assert_non_null(colon);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)strtol(colon + 1, NULL, 10))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    assert_int_equal(send(fd, request, length, 0), length);
    unsigned char answer[64];
    size_t got = 0;
    while (got < 4 + 4 + 4 + 9 + 4 + 4 + 2) {
        ssize_t more = recv(fd, answer + got, sizeof answer - got, 0);
        assert_true(more > 0);
        got += (size_t)more;
    }
    close(fd);
    assert_int_equal(answer[4 + 4 + 4 + 9 + 4 + 4] | answer[4 + 4 + 4 + 9 + 4 + 4 + 1], 0); /* no error */
}

/* The batch is never jumped over: what follows would be committed past it. */
static void a_corrupt_batch_stops_its_partition_and_the_others_go_on(void **state)
{
    (void)state;
    open_with_records("corrupt", 2, 10);
    rd_kafka_mock_partition_set_leader(mock.cluster, "signups", 0, 1);
    produce_broken_batch(0);
    mock_produce(&mock, "signups", 0, 11, 10, 0);
    mock_produce(&mock, "signups", 1, 10, 10, 0);
    WORLD_WAIT(&world, 10000, world_has_taken, 30);
    world_expect_range(&world, 1, 0, 19);
    world_expect_range(&world, 0, 0, 9);
    WORLD_WAIT(&world, 15000, world_is_state, KAFKA_SOURCE_BLOCKED);
    assert_non_null(strstr(world.why, "signups [0] cannot be read at offset 10"));
    assert_int_equal(world.taken_count, 30);
    struct kafka_source_status status;
    kafka_source_status(world.source, &status);
    assert_int_equal(status.blocked, 1);
    mono_us_t before = clock_mono_now();
    uint64_t errors = status.counters.errors;
    mock_produce(&mock, "signups", 1, 20, 10, 0);
    WORLD_WAIT(&world, 10000, world_has_taken, 40);
    world_expect_range(&world, 1, 0, 29);
    world.want = 41; /* nothing of the broken partition comes, and it is not asked for without a pause */
    assert_false(mock_wait(&loop, 1000, world_has_taken, &world));
    kafka_source_status(world.source, &status);
    assert_in_range(status.counters.errors - errors, 1, 10 + 10 * (uint64_t)ms_since(before) / 1000);
    world_close(&world);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_hundred_leader_changes_lose_and_repeat_nothing),
        TEST(a_leaderless_partition_does_not_hold_up_the_others),
        TEST(a_leaderless_partition_begins_when_it_has_one),
        TEST(a_coordinator_that_loads_or_moves_is_found_again),
        TEST(a_heartbeat_that_is_fenced_ends_it_for_good),
        TEST(a_loop_held_up_too_long_loses_its_partitions_and_gets_them_back),
        TEST(a_topic_that_vanishes_and_returns_is_picked_up),
        TEST(nothing_is_committed_of_a_topic_that_is_gone),
        TEST(a_commit_that_crossed_the_topics_end_is_not_believed),
        TEST(a_corrupt_batch_stops_its_partition_and_the_others_go_on),
    };
    return MOCK_RUN(tests);
}
