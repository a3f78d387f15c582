/* Final outcomes to the optional outcomes topic, for attribution pipelines that have no access to the ledger. */
#include "relay.h"

#include "state.h"

static void take_done(struct outcome_take_op *op, enum ledger_result result)
{
    struct pipeline *pipeline = op->owner;
    relay_ledger_done(pipeline, &pipeline->outcomes, result);
}

static enum port_status outcomes_take(struct pipeline *pipeline, struct relay *relay, size_t limit)
{
    relay->op.outcomes.take = (struct outcome_take_op){.limit = limit,
                                                       .lease_us = relay->kind->lease_us,
                                                       .token = relay->token,
                                                       .arena = &relay->arena,
                                                       .done = take_done,
                                                       .owner = pipeline};
    return pipeline->ports.ledger->outcome_take(pipeline->ports.ledger_ctx, &relay->op.outcomes.take);
}

static void publish_done(struct outcome_publish_op *op)
{
    struct pipeline *pipeline = op->owner;
    for (size_t i = 0; i < op->count; i++) {
        if (op->letters[i].published)
            pipeline->counters.outcomes++;
        else
            pipeline->counters.outcome_failures++;
    }
    relay_publish_done(pipeline, &pipeline->outcomes);
}

static enum port_status outcomes_publish(struct pipeline *pipeline, struct relay *relay)
{
    const struct outcome_take_op *take = &relay->op.outcomes.take;
    if (PLANTED(OUTCOME_UNPUBLISHED)) {
        for (size_t i = 0; i < take->count; i++)
            take->letters[i].published = true;
        return PORT_AWAY;
    }
    relay->op.outcomes.publish =
        (struct outcome_publish_op){.letters = take->letters, .count = take->count, .done = publish_done, .owner = pipeline};
    return pipeline->ports.outcomes->publish(pipeline->ports.outcomes_ctx, &relay->op.outcomes.publish);
}

static void mark_done(struct outcome_mark_op *op, enum ledger_result result)
{
    struct pipeline *pipeline = op->owner;
    relay_ledger_done(pipeline, &pipeline->outcomes, result);
}

static enum port_status outcomes_mark(struct pipeline *pipeline, struct relay *relay, int64_t retry_in_us)
{
    relay->op.outcomes.mark = (struct outcome_mark_op){.letters = relay->op.outcomes.take.letters,
                                                       .count = relay->op.outcomes.take.count,
                                                       .retry_in_us = retry_in_us,
                                                       .token = relay->token,
                                                       .done = mark_done,
                                                       .owner = pipeline};
    return pipeline->ports.ledger->outcome_mark(pipeline->ports.ledger_ctx, &relay->op.outcomes.mark);
}

static size_t outcomes_taken(const struct relay *relay, bool *more)
{
    *more = relay->op.outcomes.take.more;
    return relay->op.outcomes.take.count;
}

static size_t outcomes_published(const struct relay *relay)
{
    const struct outcome_take_op *take = &relay->op.outcomes.take;
    size_t count = 0;
    for (size_t i = 0; i < take->count; i++)
        count += take->letters[i].published;
    return count;
}

const struct relay_kind relay_outcomes = {
    .route = "outcomes",
    .refused = "the outcomes topic takes no records",
    .batch = 500,
    .probe = 10,
    .arena_bytes = (size_t)4 << 20,
    .lease_us = 40 * US_PER_S, /* as of the dead letters: the same producer's deadlines */
    .take = outcomes_take,
    .publish = outcomes_publish,
    .mark = outcomes_mark,
    .taken = outcomes_taken,
    .published = outcomes_published,
};
