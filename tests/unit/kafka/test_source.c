/* The source against librdkafka's mock cluster: first start, order, pauses, revokes, losses, what is on the
 * wire as records. */
#include "source_world.h"

static struct mock mock;
static uv_loop_t loop;

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
    assert_int_equal(uv_loop_close(&loop), 0); /* no handle is left open */
    mock_stop(&mock);
    return 0;
}

static struct world world;

struct committed_query {
    const char *group;
    int64_t offset;
};

static bool group_has_committed(void *ctx)
{
    struct committed_query *query = ctx;
    return mock_committed(&mock, query->group, "signups", 0) == query->offset;
}

static void first_start_at_the_first_record(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 3);
    for (int32_t p = 0; p < 3; p++)
        mock_produce(&mock, "signups", p, 0, 100, 0);
    world_open(&world, &mock, &loop, "earliest", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, world_has_taken, 300);
    assert_int_equal(world.assigned_count, 3);
    for (int32_t p = 0; p < 3; p++)
        world_expect_range(&world, p, 0, 99);
    assert_int_equal(world.state, KAFKA_SOURCE_JOINED);
    /* The position was ours to choose: it is committed although nobody committed a record. */
    struct committed_query query = {"earliest", 0};
    assert_true(mock_wait(&loop, 5000, group_has_committed, &query));
    world_close(&world);
}

static void first_start_at_the_end_does_not_jump_at_a_restart(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 1);
    mock_produce(&mock, "signups", 0, 0, 10, 0);
    world_open(&world, &mock, &loop, "latest", "signups", KAFKA_START_LATEST);
    WORLD_WAIT(&world, 15000, world_has_assignment, 1);
    struct committed_query query = {"latest", 10};
    assert_true(mock_wait(&loop, 5000, group_has_committed, &query));
    world_close(&world);
    /* Produced while nobody was there, before the first commit of a record. */
    mock_produce(&mock, "signups", 0, 10, 5, 0);
    world_open(&world, &mock, &loop, "latest", "signups", KAFKA_START_LATEST);
    WORLD_WAIT(&world, 15000, world_has_taken, 5);
    world_expect_range(&world, 0, 10, 14);
    world_close(&world);
}

static void goes_on_where_the_group_stopped(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 1);
    mock_produce(&mock, "signups", 0, 0, 50, 0);
    world_open(&world, &mock, &loop, "resumes", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, world_has_taken, 50);
    assert_int_equal(world_commit(&world, 20), COMMIT_DONE);
    world_close(&world);
    assert_int_equal(mock_committed(&mock, "resumes", "signups", 0), 20);
    world_open(&world, &mock, &loop, "resumes", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, world_has_taken, 30);
    world_expect_range(&world, 0, 20, 49);
    world_close(&world);
}

/* ------------------------------------------------------------------ the bytes of a record */

static void produce_odd_records(void)
{
    rd_kafka_t *producer = mock_client(RD_KAFKA_PRODUCER, mock.brokers, NULL);
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1200);
    rd_kafka_header_add(headers, "traceparent", -1, "00-ab", 5);
    rd_kafka_header_add(headers, "none", -1, NULL, 0);
    rd_kafka_header_add(headers, "empty", -1, "", 0);
    for (int i = 0; i < 1100; i++)
        rd_kafka_header_add(headers, "many", -1, "x", 1);
    rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("signups"), RD_KAFKA_V_PARTITION(0),
                      RD_KAFKA_V_KEY("k\0y", 3), RD_KAFKA_V_VALUE((void *)"v", 1),
                      RD_KAFKA_V_TIMESTAMP(1742049000123), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("signups"), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_KEY(NULL, 0),
                      RD_KAFKA_V_VALUE(NULL, 0), RD_KAFKA_V_END);
    rd_kafka_producev(producer, RD_KAFKA_V_TOPIC("signups"), RD_KAFKA_V_PARTITION(0), RD_KAFKA_V_KEY("", 0),
                      RD_KAFKA_V_VALUE((void *)"", 0), RD_KAFKA_V_END);
    assert_int_equal(rd_kafka_flush(producer, 10000), 0);
    rd_kafka_destroy(producer);
}

static bool next_record(void *ctx)
{
    return world_take_one(&world, ctx);
}

static void records_keep_every_byte(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 1);
    produce_odd_records();
    world_open(&world, &mock, &loop, "bytes", "signups", KAFKA_START_EARLIEST);
    world.choked = true;
    struct record record;
    assert_true(mock_wait(&loop, 15000, next_record, &record));
    assert_true(slice_is(record.topic, "signups"));
    assert_int_equal(record.offset, 0);
    assert_true(record.timestamp_ms == 1742049000123);
    assert_int_equal(record.key.len, 3);
    assert_memory_equal(record.key.ptr, "k\0y", 3);
    assert_true(slice_is(record.value, "v"));
    assert_int_equal(record.header_count, 1000); /* the cap */
    assert_true(slice_is(record.headers[0].value, "00-ab"));
    assert_false(slice_present(record.headers[1].value));
    assert_true(slice_present(record.headers[2].value));
    assert_int_equal(record.headers[2].value.len, 0);
    assert_true(mock_wait(&loop, 5000, next_record, &record));
    assert_false(slice_present(record.key));
    assert_false(slice_present(record.value)); /* a tombstone */
    assert_int_equal(record.header_count, 0);
    assert_true(record.timestamp_ms > 1742049000123);
    assert_true(mock_wait(&loop, 5000, next_record, &record));
    assert_true(slice_present(record.key));
    assert_int_equal(record.key.len, 0);
    assert_true(slice_present(record.value));
    assert_int_equal(record.value.len, 0);
    world_close(&world);
}

/* ------------------------------------------------------------------ pauses */

static unsigned seed = 20261121;

static unsigned draw(unsigned below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

/* Takes a little, pauses or resumes a partition at random, goes on until everything is there. */
static bool taken_with_random_pauses(void *ctx)
{
    struct world *w = ctx;
    struct record record;
    for (unsigned left = draw(40); left && w->taken_count < WORLD_RECORDS && world_take_one(w, &record);
         left--) {
        struct taken *taken = &w->taken[w->taken_count++];
        *taken = (struct taken){record.partition, record.offset, record.epoch, 0};
    }
    if (w->assigned_count && draw(3) == 0)
        kafka_source_port()->pause(w->source, &w->assigned[draw((unsigned)w->assigned_count)], draw(2) == 0);
    if (draw(20) == 0)
        for (size_t i = 0; i < w->assigned_count; i++)
            kafka_source_port()->pause(w->source, &w->assigned[i], false);
    return w->taken_count >= w->want;
}

static void pauses_lose_and_repeat_nothing(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 4);
    for (int32_t p = 0; p < 4; p++)
        mock_produce(&mock, "signups", p, 0, 2000, 200);
    world_open(&world, &mock, &loop, "pauses", "signups", KAFKA_START_EARLIEST);
    world.choked = true;
    WORLD_WAIT(&world, 60000, taken_with_random_pauses, 8000);
    for (int32_t p = 0; p < 4; p++)
        world_expect_range(&world, p, 0, 1999);
    world_close(&world);
}

static bool paused_partition_is_quiet(void *ctx)
{
    struct world *w = ctx;
    world_turn(w);
    return w->taken_count >= w->want;
}

static void a_paused_partition_gives_nothing_and_the_others_go_on(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 2);
    world_open(&world, &mock, &loop, "quiet", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, world_has_assignment, 2);
    struct partition paused = world.assigned[world.assigned[0].partition == 0 ? 0 : 1];
    assert_int_equal(paused.partition, 0);
    kafka_source_port()->pause(world.source, &paused, true);
    struct partition stale = paused;
    stale.epoch += 1000;
    kafka_source_port()->pause(world.source, &stale, false); /* outdated: ignored */
    mock_produce(&mock, "signups", 0, 0, 100, 0);
    mock_produce(&mock, "signups", 1, 0, 100, 0);
    WORLD_WAIT(&world, 10000, paused_partition_is_quiet, 100);
    for (size_t i = 0; i < world.taken_count; i++)
        assert_int_equal(world.taken[i].partition, 1);
    kafka_source_port()->pause(world.source, &paused, false);
    WORLD_WAIT(&world, 10000, world_has_taken, 200);
    world_expect_range(&world, 0, 0, 99);
    world_expect_range(&world, 1, 0, 99);
    world_close(&world);
}

/* ------------------------------------------------------------------ rebalances */

struct pair {
    struct world *first;
    struct world *second;
    size_t each;
};

static bool both_have(void *ctx)
{
    struct pair *pair = ctx;
    world_turn(pair->first);
    world_turn(pair->second);
    return pair->first->assigned_count == pair->each && pair->second->assigned_count == pair->each;
}

static bool first_is_asked(void *ctx)
{
    struct pair *pair = ctx;
    world_turn(pair->first);
    world_turn(pair->second);
    return pair->first->revoke_due;
}

static bool a_second_passes(void *ctx)
{
    struct pair *pair = ctx;
    world_turn(pair->first);
    world_turn(pair->second);
    return pair->second->assigned_count > 0;
}

static struct world other;

static void a_revoke_waits_for_the_pipeline(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 4);
    for (int32_t p = 0; p < 4; p++)
        mock_produce(&mock, "signups", p, 0, 100, 0);
    world_open(&world, &mock, &loop, "pairs", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, world_has_taken, 400);
    world.revoke_waits = true;
    struct partition before = world.assigned[0];
    world_open(&other, &mock, &loop, "pairs", "signups", KAFKA_START_EARLIEST);
    struct pair pair = {&world, &other, 2};
    assert_true(mock_wait(&loop, 15000, first_is_asked, &pair));
    assert_false(world.last_lost);
    /* While we drain, the others get nothing and our offsets can still be committed. */
    assert_false(mock_wait(&loop, 1500, a_second_passes, &pair));
    world.items[0] = (struct commit_item){before, 77};
    world.commit = (struct commit_op){world.items, 1, world_commit_done, &world};
    assert_int_equal(kafka_source_port()->commit(world.source, &world.commit), PORT_OK);
    WORLD_WAIT(&world, 5000, world_is_committed, 1);
    world.revoke_waits = false;
    world_answer_revoke(&world);
    assert_true(mock_wait(&loop, 25000, both_have, &pair));
    assert_true(world.commit_result == COMMIT_DONE || world.commit_result == COMMIT_RETRY);
    if (world.commit_result == COMMIT_DONE)
        assert_int_equal(mock_committed(&mock, "pairs", "signups", before.partition), 77);
    /* The partition's old epoch commits nothing any more. */
    world.committed = false;
    world.items[0].offset = 99;
    assert_int_equal(kafka_source_port()->commit(world.source, &world.commit), PORT_OK);
    WORLD_WAIT(&world, 5000, world_is_committed, 1);
    assert_int_equal(world.commit_result, COMMIT_LOST);
    world_close(&other);
    world_close(&world);
}

/* The broker forgets us: what we hold is somebody else's, and no offset of ours may reach the group. */
static void nothing_is_committed_after_a_loss(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 2);
    mock_produce(&mock, "signups", 0, 0, 10, 0);
    mock_produce(&mock, "signups", 1, 0, 10, 0);
    world_open(&world, &mock, &loop, "losers", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, world_has_taken, 20);
    assert_int_equal(world_commit(&world, 5), COMMIT_DONE);
    struct partition held[2] = {world.assigned[0], world.assigned[1]};
    world.revoke_waits = true;
    rd_kafka_mock_push_request_errors(mock.cluster, 12, 1, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
    WORLD_WAIT(&world, 15000, world_is_revoked, 1);
    assert_true(world.last_lost);
    for (int i = 0; i < 2; i++)
        world.items[i] = (struct commit_item){held[i], 9};
    world.commit = (struct commit_op){world.items, 2, world_commit_done, &world};
    world.committed = false;
    assert_int_equal(kafka_source_port()->commit(world.source, &world.commit), PORT_OK);
    WORLD_WAIT(&world, 5000, world_is_committed, 1);
    assert_int_equal(world.commit_result, COMMIT_LOST);
    assert_int_equal(mock_committed(&mock, "losers", "signups", 0), 5);
    /* It asks for a new assignment by itself, with new epochs, from what is committed. */
    world.taken_count = 0;
    world_answer_revoke(&world);
    WORLD_WAIT(&world, 15000, world_has_taken, 10);
    assert_true(world.assigned[0].epoch > held[0].epoch && world.assigned[0].epoch > held[1].epoch);
    world_expect_range(&world, 0, 5, 9);
    world_expect_range(&world, 1, 5, 9);
    world.revoke_waits = false;
    world_close(&world);
}

/* A pause outlives its assignment inside the library; ours must not. */
static void a_pause_does_not_outlive_its_assignment(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 1);
    mock_produce(&mock, "signups", 0, 0, 10, 0);
    world_open(&world, &mock, &loop, "unpaused", "signups", KAFKA_START_EARLIEST);
    WORLD_WAIT(&world, 15000, world_has_taken, 10);
    kafka_source_port()->pause(world.source, &world.assigned[0], true);
    rd_kafka_mock_push_request_errors(mock.cluster, 12, 1, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID);
    WORLD_WAIT(&world, 15000, world_is_revoked, 1);
    world.taken_count = 0;
    WORLD_WAIT(&world, 15000, world_has_taken, 10); /* nothing was committed but the first position */
    mock_produce(&mock, "signups", 0, 10, 10, 0);
    WORLD_WAIT(&world, 15000, world_has_taken, 20);
    world_expect_range(&world, 0, 0, 19);
    world_close(&world);
}

/* A pipeline that takes nothing and has not paused: the group still gets its answers. */
static void a_choked_pipeline_stays_in_the_group(void **state)
{
    (void)state;
    mock_topic(&mock, "signups", 2);
    mock_produce(&mock, "signups", 0, 0, 1000, 500);
    mock_produce(&mock, "signups", 1, 0, 1000, 500);
    world_open(&world, &mock, &loop, "choked", "signups", KAFKA_START_EARLIEST);
    world.choked = true;
    WORLD_WAIT(&world, 15000, world_has_assignment, 2);
    world_open(&other, &mock, &loop, "choked", "signups", KAFKA_START_EARLIEST);
    struct pair pair = {&world, &other, 1};
    assert_true(mock_wait(&loop, 20000, both_have, &pair));
    world.choked = false;
    world_take_all(&world);
    WORLD_WAIT(&world, 10000, world_has_taken, 1000);
    world_expect_range(&world, world.assigned[0].partition, 0, 999);
    world_close(&other);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(first_start_at_the_first_record, setup, teardown),
        cmocka_unit_test_setup_teardown(first_start_at_the_end_does_not_jump_at_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(goes_on_where_the_group_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(records_keep_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(pauses_lose_and_repeat_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_paused_partition_gives_nothing_and_the_others_go_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_revoke_waits_for_the_pipeline, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_committed_after_a_loss, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pause_does_not_outlive_its_assignment, setup, teardown),
        cmocka_unit_test_setup_teardown(a_choked_pipeline_stays_in_the_group, setup, teardown),
    };
    return MOCK_RUN(tests);
}
