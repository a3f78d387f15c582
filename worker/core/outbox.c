/* The outbox: dead rows that have no letter yet, to the dead-letter topic. */
#include "relay.h"

#include "state.h"

static void take_done(struct outbox_take_op *op, enum ledger_result result)
{
    struct pipeline *pipeline = op->owner;
    relay_ledger_done(pipeline, &pipeline->outbox, result);
}

static enum port_status letters_take(struct pipeline *pipeline, struct relay *relay, size_t limit)
{
    relay->op.letters.take = (struct outbox_take_op){.limit = limit,
                                                     .lease_us = relay->kind->lease_us,
                                                     .token = relay->token,
                                                     .arena = &relay->arena,
                                                     .done = take_done,
                                                     .owner = pipeline};
    return pipeline->ports.ledger->outbox_take(pipeline->ports.ledger_ctx, &relay->op.letters.take);
}

static void publish_done(struct publish_op *op)
{
    struct pipeline *pipeline = op->owner;
    for (size_t i = 0; i < op->count; i++) {
        if (op->letters[i].published)
            pipeline->counters.dead_letters++;
        else
            pipeline->counters.dead_letter_failures++;
    }
    relay_publish_done(pipeline, &pipeline->outbox);
}

static enum port_status letters_publish(struct pipeline *pipeline, struct relay *relay)
{
    const struct outbox_take_op *take = &relay->op.letters.take;
    if (PLANTED(MARK_BEFORE_PUBLISH)) {
        for (size_t i = 0; i < take->count; i++)
            take->letters[i].published = true;
        return PORT_AWAY;
    }
    relay->op.letters.publish =
        (struct publish_op){.letters = take->letters, .count = take->count, .done = publish_done, .owner = pipeline};
    return pipeline->ports.dead_letter->publish(pipeline->ports.dead_letter_ctx, &relay->op.letters.publish);
}

static void mark_done(struct outbox_mark_op *op, enum ledger_result result)
{
    struct pipeline *pipeline = op->owner;
    relay_ledger_done(pipeline, &pipeline->outbox, result);
}

static enum port_status letters_mark(struct pipeline *pipeline, struct relay *relay, int64_t retry_in_us)
{
    relay->op.letters.mark = (struct outbox_mark_op){.letters = relay->op.letters.take.letters,
                                                     .count = relay->op.letters.take.count,
                                                     .retry_in_us = retry_in_us,
                                                     .token = relay->token,
                                                     .done = mark_done,
                                                     .owner = pipeline};
    return pipeline->ports.ledger->outbox_mark(pipeline->ports.ledger_ctx, &relay->op.letters.mark);
}

static size_t letters_taken(const struct relay *relay, bool *more)
{
    *more = relay->op.letters.take.more;
    return relay->op.letters.take.count;
}

static size_t letters_published(const struct relay *relay)
{
    const struct outbox_take_op *take = &relay->op.letters.take;
    size_t count = 0;
    for (size_t i = 0; i < take->count; i++)
        count += take->letters[i].published;
    return count;
}

static bool letters_admit(const struct pipeline *pipeline)
{
    return gate_pace_admits(&pipeline->letter_pace, pipeline->now);
}

static mono_us_t letters_next(const struct pipeline *pipeline)
{
    return pipeline->letter_pace.pace_us ? gate_pace_next(&pipeline->letter_pace) : pipeline->now;
}

static void letters_spend(struct pipeline *pipeline, size_t count)
{
    gate_pace_spend(&pipeline->letter_pace, count, pipeline->now);
}

const struct relay_kind relay_letters = {
    .route = "dead_letter",
    .refused = "the dead-letter topic takes no letters",
    .batch = 100,
    .probe = 10,
    .arena_bytes = (size_t)16 << 20,
    .lease_us = 40 * US_PER_S, /* a publish ends within 37 s (kafka/dead_letter.h) */
    .take = letters_take,
    .publish = letters_publish,
    .mark = letters_mark,
    .taken = letters_taken,
    .published = letters_published,
    .admits = letters_admit,
    .next = letters_next,
    .spend = letters_spend,
};
