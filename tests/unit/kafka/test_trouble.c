/* The source in trouble: commit errors, offsets that are gone, topics that are missing, brokers that are
 * away. */
#include "source_world.h"

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

/* ------------------------------------------------------------------ commits */

static bool no_commit_of_ours_is_owed(void *ctx)
{
    (void)ctx;
    return mock_committed(&mock, "errors", "signups", 0) == 0; /* the first position has been committed */
}

static void each_commit_error_has_its_result(void **state)
{
    (void)state;
    static const struct {
        rd_kafka_resp_err_t injected;
        enum commit_result expected;
    } CASES[] = {
        {RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS, COMMIT_RETRY},
        {RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE, COMMIT_REFUSED},
        {RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, COMMIT_REFUSED},
        {RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED, COMMIT_REFUSED},
        {RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, COMMIT_DONE}, /* the library repeats these by itself */
        {RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS, COMMIT_DONE},
        {RD_KAFKA_RESP_ERR_NOT_COORDINATOR, COMMIT_DONE},
        {RD_KAFKA_RESP_ERR__TRANSPORT, COMMIT_DONE},
        {RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, COMMIT_DONE},
        {RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, COMMIT_LOST},
        {RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, COMMIT_LOST},
    };
    size_t losses = 0;
    open_with_records("errors", 1, 10);
    assert_true(mock_wait(&loop, 5000, no_commit_of_ours_is_owed, NULL));
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int64_t offset = (int64_t)i + 1;
        rd_kafka_mock_push_request_errors(mock.cluster, 8, 1, CASES[i].injected);
        enum commit_result result = world_commit(&world, offset);
        if (result != CASES[i].expected)
            fail_msg("%s gave %d", rd_kafka_err2name(CASES[i].injected), (int)result);
        rd_kafka_mock_clear_request_errors(mock.cluster, 8);
        if (result == COMMIT_DONE)
            assert_int_equal(mock_committed(&mock, "errors", "signups", 0), offset);
        if (result != COMMIT_LOST)
            continue;
        /* It cost us the assignment: told as lost, then a new one. */
        WORLD_WAIT(&world, 10000, world_is_revoked, ++losses);
        assert_true(world.last_lost);
        WORLD_WAIT(&world, 15000, world_has_assignment, 1);
    }
    assert_int_equal(losses, 2);
    world_close(&world);
}

static void a_silent_broker_ends_a_commit_at_its_deadline(void **state)
{
    (void)state;
    world_session_ms = "30000"; /* the mock answers one after the other: heartbeats wait behind the commit */
    open_with_records("silent", 1, 10);
    world_session_ms = "3500";
    assert_int_equal(world_commit(&world, 3), COMMIT_DONE);
    rd_kafka_mock_broker_push_request_error_rtts(mock.cluster, 1, 8, 1, RD_KAFKA_RESP_ERR_NO_ERROR, 14000);
    mono_us_t before = clock_mono_now();
    assert_int_equal(world_commit(&world, 7), COMMIT_RETRY);
    int64_t took_ms = (clock_mono_now().us - before.us) / US_PER_MS;
    assert_in_range(took_ms, 9900, 13900); /* before the late answer */
    /* Its answer is still owed: a newer commit must not be overtaken by it. */
    struct commit_op op = {world.items, 1, world_commit_done, &world};
    assert_int_equal(kafka_source_port()->commit(world.source, &op), PORT_AWAY);
    world_close(&world);
}

static void a_fenced_member_is_told_to_end(void **state)
{
    (void)state;
    open_with_records("fenced", 1, 10);
    rd_kafka_mock_push_request_errors(mock.cluster, 8, 1, RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID);
    assert_int_equal(world_commit(&world, 5), COMMIT_LOST);
    WORLD_WAIT(&world, 10000, world_is_state, KAFKA_SOURCE_FATAL);
    assert_true(world.last_lost);
    assert_int_equal(world.assigned_count, 0);
    world_close(&world);
}

/* ------------------------------------------------------------------ offsets that are gone */

static bool the_gap_is_known(void *ctx)
{
    world_turn(ctx);
    return strstr(world.why, "has expired") || strstr(world.why, "past the end");
}

static void an_expired_offset_stops_its_partition_only(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 2);
    /* The mock keeps five MiB a partition: the first records of partition 0 go. */
    mock_produce(&mock, "signups", 0, 0, 90, 100000);
    mock_produce(&mock, "signups", 1, 0, 10, 0);
    mock_commit(&mock, "expired", "signups", 0, 1);
    mock_commit(&mock, "expired", "signups", 1, 4);
    world_open(&world, &mock, &loop, "expired", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, world_is_state, KAFKA_SOURCE_BLOCKED);
    WORLD_WAIT(&world, 15000, world_has_taken, 6);
    world_expect_range(&world, 1, 4, 9);
    struct kafka_partition_status partitions[2];
    assert_int_equal(kafka_source_partitions(world.source, partitions, 2), 2);
    const struct kafka_partition_status *blocked =
        &partitions[partitions[0].partition.partition == 0 ? 0 : 1];
    assert_true(blocked->blocked);
    assert_int_equal(blocked->position, 1);
    WORLD_WAIT(&world, 10000, the_gap_is_known, 1);
    assert_non_null(strstr(blocked->why, "signups [0]"));
    assert_non_null(strstr(world.why, "not consumed"));
    assert_non_null(strstr(world.why, "offset 1"));
    assert_int_equal(world.taken_count, 6);
    assert_int_equal(mock_committed(&mock, "expired", "signups", 0), 1); /* nobody jumped */
    world_close(&world);
}

static void an_offset_past_the_end_stops_its_partition(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 1);
    mock_produce(&mock, "signups", 0, 0, 10, 0);
    mock_commit(&mock, "past", "signups", 0, 5000);
    world_open(&world, &mock, &loop, "past", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, world_is_state, KAFKA_SOURCE_BLOCKED);
    WORLD_WAIT(&world, 10000, the_gap_is_known, 1);
    assert_non_null(strstr(world.why, "offset 5000 lies past the end"));
    assert_int_equal(world.taken_count, 0);
    world_close(&world);
}

/* ------------------------------------------------------------------ brokers and topics */

static bool a_topic_is_missed(void *ctx)
{
    world_turn(ctx);
    return strcmp(world.why, "topic signups does not exist yet") == 0;
}

static void a_missing_topic_is_waited_for(void **state)
{
    (void)state;
    rd_kafka_mock_topic_set_error(mock.cluster, "signups", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    world_open(&world, &mock, &loop, "waits", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, a_topic_is_missed, 1);
    assert_int_equal(world.assigned_count, 0);
    rd_kafka_mock_topic_set_error(mock.cluster, "signups", RD_KAFKA_RESP_ERR_NO_ERROR);
    mock_produce(&mock, "signups", 0, 0, 5, 0);
    WORLD_WAIT(&world, 30000, world_has_taken, 5);
    assert_string_equal(world.why, "");
    world_close(&world);
}

static void a_broker_that_returns_is_found_within_five_seconds(void **state)
{
    (void)state;
    open_with_records("returns", 1, 10);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    WORLD_WAIT(&world, 15000, world_is_state, KAFKA_SOURCE_AWAY);
    assert_non_null(strstr(world.why, mock.brokers));
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    mono_us_t up = clock_mono_now();
    WORLD_WAIT(&world, 15000, world_is_state, KAFKA_SOURCE_JOINED);
    assert_in_range((clock_mono_now().us - up.us) / US_PER_MS, 0, 5000);
    mock_produce(&mock, "signups", 0, 10, 5, 0);
    WORLD_WAIT(&world, 15000, world_has_taken, 15);
    world_expect_range(&world, 0, 0, 14);
    world_close(&world);
}

static void no_broker_at_the_start_is_waited_for(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 1);
    mock_produce(&mock, "signups", 0, 0, 5, 0);
    rd_kafka_mock_broker_set_down(mock.cluster, 1);
    world_open(&world, &mock, &loop, "late", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, world_is_state, KAFKA_SOURCE_AWAY);
    rd_kafka_mock_broker_set_up(mock.cluster, 1);
    WORLD_WAIT(&world, 20000, world_has_taken, 5);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_commit_error_has_its_result, setup, teardown),
        cmocka_unit_test_setup_teardown(a_silent_broker_ends_a_commit_at_its_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fenced_member_is_told_to_end, setup, teardown),
        cmocka_unit_test_setup_teardown(an_expired_offset_stops_its_partition_only, setup, teardown),
        cmocka_unit_test_setup_teardown(an_offset_past_the_end_stops_its_partition, setup, teardown),
        cmocka_unit_test_setup_teardown(a_missing_topic_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broker_that_returns_is_found_within_five_seconds, setup, teardown),
        cmocka_unit_test_setup_teardown(no_broker_at_the_start_is_waited_for, setup, teardown),
    };
    return MOCK_RUN(tests);
}
