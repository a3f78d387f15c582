/* Outcome records as what a producer publishes: their JSON text, keyed by event. */
#include "signup/kafka/outcomes.h"

#include "producer.h"

#include "signup/base/crash.h"

/* A struct kafka_outcomes is a struct producer under the name that other rooms know. */
static struct producer *producer_of(void *outcomes)
{
    return outcomes;
}

static rd_kafka_resp_err_t produce(struct producer *producer, const void *item, int form, void *reference)
{
    const struct outcome_letter *letter = item;
    (void)form; /* it has only one: a record that lacks something would not say so */
    return rd_kafka_producev(producer->rk, RD_KAFKA_V_TOPIC(producer->topic),
                             RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                             RD_KAFKA_V_KEY(letter->event_id.ptr, letter->event_id.len),
                             RD_KAFKA_V_VALUE((void *)letter->text.ptr, letter->text.len),
                             RD_KAFKA_V_HEADER(KAFKA_OUTCOMES_TYPE_HEADER, KAFKA_OUTCOMES_TYPE, -1),
                             RD_KAFKA_V_OPAQUE(reference), RD_KAFKA_V_END);
}

static bool *published(void *item)
{
    return &((struct outcome_letter *)item)->published;
}

static void on_acknowledged(void)
{
    CRASH_POINT(AFTER_OUTCOME_PUBLISH);
}

static void done(void *op)
{
    ((struct outcome_publish_op *)op)->done(op);
}

static const struct producer_kind KIND = {
    .forms = 1,
    .produce = produce,
    .published = published,
    .on_acknowledged = on_acknowledged,
    .done = done,
    .words =
        {
            .missing = "the outcomes topic does not exist: create it; outcomes wait in the ledger meanwhile",
            .failing = "outcomes cannot be published; they stay in the ledger and are tried again, "
                       "signups go on",
            .again = "outcomes are published again",
            .replaced = "the outcomes producer is replaced; what it had not confirmed is published again",
            .trouble = "the outcomes producer has trouble",
            .left_behind = "the outcomes producer could not be closed in time and is left behind",
            .create = "create the outcomes topic (kafka.outcomes_topic)",
            .allow = "give the worker the right to write to the outcomes topic",
            .raise_size = "raise max.message.bytes of the outcomes topic",
            .take_any = "the outcomes topic must take any record with a key: see to its schema validation",
        },
};

static enum port_status publish(void *ctx, struct outcome_publish_op *op)
{
    const struct producer_batch batch = {op, op->letters, sizeof *op->letters, op->count};
    return flight_begin(producer_of(ctx), &batch) ? PORT_OK : PORT_AWAY;
}

const struct outcome_port *kafka_outcomes_port(void)
{
    static const struct outcome_port PORT = {publish};
    return &PORT;
}

struct kafka_outcomes *kafka_outcomes_create(struct uv_loop_s *loop, const struct kafka_config *config,
                                             char *error, size_t error_size)
{
    return (struct kafka_outcomes *)producer_create(&KIND, loop, config, PRODUCER_OUTCOMES, error, error_size);
}

void kafka_outcomes_close(struct kafka_outcomes *outcomes, int64_t deadline_ms,
                          void (*closed)(void *owner, bool clean), void *owner)
{
    producer_close(producer_of(outcomes), deadline_ms, closed, owner);
}

void kafka_outcomes_status(const struct kafka_outcomes *outcomes, struct kafka_outcomes_status *out)
{
    const struct producer *producer = (const struct producer *)outcomes;
    *out = (struct kafka_outcomes_status){
        .published = producer->status.published,
        .failed = producer->status.failed,
        .recreated = producer->status.recreated,
        .in_flight = producer->status.in_flight,
        .failing = producer->status.failing,
        .failing_since = producer->status.failing_since,
        .why = producer->why,
    };
}
