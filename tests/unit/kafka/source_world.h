/* A pipeline's stand-in for the source's tests: takes what it is given and remembers it, answers revokes when
 * it is told to. */
#ifndef SIGNUP_TESTS_KAFKA_SOURCE_WORLD_H
#define SIGNUP_TESTS_KAFKA_SOURCE_WORLD_H

#include "mock_kafka.h"

#include "signup/kafka/source.h"

#define WORLD_RECORDS 20000
#define WORLD_PARTITIONS 64

struct taken {
    int32_t partition;
    int64_t offset;
    uint64_t epoch;
    int number; /* the value, read as a number */
};

struct world {
    struct mock *mock;
    uv_loop_t *loop;
    struct kafka_source *source;
    struct taken taken[WORLD_RECORDS];
    size_t taken_count;
    struct partition assigned[WORLD_PARTITIONS];
    size_t assigned_count;
    size_t assigns;
    size_t revokes;
    bool revoke_waits; /* answer only when the test says so */
    bool revoke_due;
    bool last_lost;
    bool choked; /* take nothing */
    bool poked;
    bool inside_take; /* no callback may come then */
    enum kafka_source_state state;
    char why[512];
    size_t want; /* for waiting */
    bool closed;
    bool closed_clean;
    struct commit_op commit;
    struct commit_item items[WORLD_PARTITIONS];
    bool committed;
    enum commit_result commit_result;
};

static void world_on_assign(void *ctx, const struct partition *partitions, size_t count)
{
    struct world *world = ctx;
    assert_false(world->inside_take);
    world->assigns++;
    for (size_t i = 0; i < count; i++) {
        assert_true(partitions[i].epoch != 0);
        for (size_t j = 0; j < world->assigned_count; j++)
            assert_true(world->assigned[j].epoch != partitions[i].epoch);
        assert_true(world->assigned_count < WORLD_PARTITIONS);
        world->assigned[world->assigned_count++] = partitions[i];
    }
}

static void world_answer_revoke(struct world *world)
{
    world->revoke_due = false;
    kafka_source_port()->revoke_done(world->source);
}

static void world_on_revoke(void *ctx, const struct partition *partitions, size_t count, bool lost)
{
    struct world *world = ctx;
    assert_false(world->inside_take);
    assert_true(count >= 1);
    world->revokes++;
    world->last_lost = lost;
    world->revoke_due = true;
    for (size_t i = 0; i < count; i++) {
        size_t at = 0;
        while (at < world->assigned_count && world->assigned[at].epoch != partitions[i].epoch)
            at++;
        assert_true(at < world->assigned_count); /* only what was given is taken */
        world->assigned[at] = world->assigned[--world->assigned_count];
    }
    if (!world->revoke_waits)
        world_answer_revoke(world);
}

static void world_on_poke(void *ctx)
{
    struct world *world = ctx;
    assert_false(world->inside_take);
    world->poked = true;
}

static void world_on_state(void *ctx, enum kafka_source_state state, const char *why)
{
    struct world *world = ctx;
    assert_false(world->inside_take);
    world->state = state;
    snprintf(world->why, sizeof world->why, "%s", why);
}

static bool world_take_one(struct world *world, struct record *record)
{
    world->inside_take = true;
    bool got = kafka_source_port()->take(world->source, record);
    world->inside_take = false;
    return got;
}

static void world_take_all(struct world *world)
{
    struct record record;
    world->poked = false;
    while (world->taken_count < WORLD_RECORDS && world_take_one(world, &record)) {
        struct taken *taken = &world->taken[world->taken_count++];
        *taken = (struct taken){record.partition, record.offset, record.epoch, -1};
        char text[16] = {0};
        memcpy(text, record.value.ptr, record.value.len < 15 ? record.value.len : 15);
        taken->number = atoi(text);
    }
}

static bool world_turn(struct world *world)
{
    if (world->poked && !world->choked)
        world_take_all(world);
    return true;
}

/* A test that stops heartbeats for a while sets it longer. */
static const char *world_session_ms = "3500";
/* NULL: the library's own */
MOCK_UNUSED static const char *world_max_poll_ms = NULL;

MOCK_UNUSED static void world_open(struct world *world, struct mock *mock, uv_loop_t *loop, const char *group,
                                   const char *topic, enum kafka_start start)
{
    const struct kafka_property properties[] = {
        {"session.timeout.ms", world_session_ms},
        {"heartbeat.interval.ms", "300"},
        {"fetch.wait.max.ms", "50"},
        {"max.poll.interval.ms", world_max_poll_ms ? world_max_poll_ms : "300000"}};
    const char *topics[] = {topic};
    struct kafka_config config = {.brokers = mock->brokers,
                                  .topics = topics,
                                  .topic_count = 1,
                                  .group = group,
                                  .start = start,
                                  .dead_letter_topic = "dlq",
                                  .properties = properties,
                                  .property_count = 4};
    struct kafka_source_callbacks callbacks = {world, world_on_assign, world_on_revoke, world_on_poke,
                                               world_on_state};
    char error[512] = "";
    memset(world, 0, sizeof *world);
    world->mock = mock;
    world->loop = loop;
    world->source = kafka_source_create(loop, &config, &callbacks, error, sizeof error);
    assert_string_equal(error, "");
    assert_non_null(world->source);
}

static void world_on_closed(void *owner, bool clean)
{
    struct world *world = owner;
    world->closed = true;
    world->closed_clean = clean;
    world->source = NULL;
}

MOCK_UNUSED static bool world_is_closed(void *ctx)
{
    return ((struct world *)ctx)->closed;
}

MOCK_UNUSED static bool world_has_assignment(void *ctx)
{
    struct world *world = ctx;
    return world_turn(world) && world->assigned_count >= world->want;
}

MOCK_UNUSED static bool world_has_taken(void *ctx)
{
    struct world *world = ctx;
    return world_turn(world) && world->taken_count >= world->want;
}

MOCK_UNUSED static bool world_is_revoked(void *ctx)
{
    struct world *world = ctx;
    return world_turn(world) && world->revokes >= world->want;
}

MOCK_UNUSED static bool world_is_state(void *ctx)
{
    struct world *world = ctx;
    return world_turn(world) && (size_t)world->state == world->want;
}

MOCK_UNUSED static bool world_is_committed(void *ctx)
{
    struct world *world = ctx;
    return world_turn(world) && world->committed;
}

#define WORLD_WAIT(world, deadline_ms, condition, number)                                                    \
    do {                                                                                                     \
        (world)->want = (size_t)(number);                                                                    \
        if (!mock_wait((world)->loop, deadline_ms, condition, world))                                        \
            fail_msg("%s %zu not reached: taken %zu, assigned %zu, revokes %zu, state %s (%s)", #condition,  \
                     (world)->want, (world)->taken_count, (world)->assigned_count, (world)->revokes,         \
                     kafka_source_state_str((world)->state), (world)->why);                                  \
    } while (0)

MOCK_UNUSED static void world_close(struct world *world)
{
    kafka_source_close(world->source, 10000, world_on_closed, world);
    assert_false(world->closed);
    WORLD_WAIT(world, 12000, world_is_closed, 1);
    assert_true(world->closed_clean);
}

static void world_commit_done(struct commit_op *op, enum commit_result result)
{
    struct world *world = op->owner;
    assert_false(world->committed); /* once */
    world->committed = true;
    world->commit_result = result;
}

/* Commits `offset` for every assigned partition; gives the result. */
MOCK_UNUSED static enum commit_result world_commit(struct world *world, int64_t offset)
{
    for (size_t i = 0; i < world->assigned_count; i++)
        world->items[i] = (struct commit_item){world->assigned[i], offset};
    world->commit = (struct commit_op){world->items, world->assigned_count, world_commit_done, world};
    world->committed = false;
    assert_int_equal(kafka_source_port()->commit(world->source, &world->commit), PORT_OK);
    assert_false(world->committed); /* never inside submit */
    WORLD_WAIT(world, 15000, world_is_committed, 1);
    return world->commit_result;
}

/* Every partition's records are there from `first` to `last`, in order, once. */
MOCK_UNUSED static void world_expect_range(const struct world *world, int32_t partition, int64_t first,
                                           int64_t last)
{
    int64_t next = first;
    for (size_t i = 0; i < world->taken_count; i++) {
        if (world->taken[i].partition != partition)
            continue;
        if (world->taken[i].offset != next)
            fail_msg("partition %d: offset %lld where %lld was due", (int)partition,
                     (long long)world->taken[i].offset, (long long)next);
        next++;
    }
    assert_int_equal(next, last + 1);
}

#endif
