/* Dead letters as what a producer publishes: the original's bytes with our headers, or a pointer in their
 * place. */
#include "signup/kafka/dead_letter.h"

#include "letter.h"
#include "producer.h"
#include "signup/base/crash.h"

/* A struct kafka_dead_letter is a struct producer under the name that other rooms know. */
static struct producer *producer_of(void *dead_letter)
{
    return dead_letter;
}

static rd_kafka_resp_err_t produce(struct producer *producer, const void *item, int form, void *reference)
{
    const struct dead_letter *letter = item;
    struct letter_record record;
    letter_init(&record, letter, (enum letter_form)form);
    /* The letter has the original's timestamp: a date of consent may hang on it, as a signup without a date of
     * its own is given that one. 0: now. producev, not produceva: that one frees the headers twice on an error
     * in 2.0.2. */
    int64_t timestamp_ms = letter->original.timestamp_ms;
    rd_kafka_resp_err_t err = rd_kafka_producev(
        producer->rk, RD_KAFKA_V_TOPIC(producer->topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
        RD_KAFKA_V_KEY(record.key.ptr, record.key.len),
        RD_KAFKA_V_VALUE((void *)record.value.ptr, record.value.len), RD_KAFKA_V_HEADERS(record.headers),
        RD_KAFKA_V_TIMESTAMP(timestamp_ms > 0 ? timestamp_ms : 0), RD_KAFKA_V_OPAQUE(reference),
        RD_KAFKA_V_END);
    letter_fini(&record, !err);
    return err;
}

static bool *published(void *item)
{
    return &((struct dead_letter *)item)->published;
}

static void on_begin(void)
{
    CRASH_POINT(BEFORE_PUBLISH);
}

static void on_acknowledged(void)
{
    CRASH_POINT(AFTER_PUBLISH);
}

static void done(void *op)
{
    ((struct publish_op *)op)->done(op);
}

static const struct producer_kind KIND = {
    .forms = LETTER_POINTER_BARE + 1,
    .produce = produce,
    .published = published,
    .on_begin = on_begin,
    .on_acknowledged = on_acknowledged,
    .done = done,
    .words =
        {
            .missing = "the dead-letter topic does not exist: create it; dead letters wait in the ledger "
                       "meanwhile",
            .failing = "dead letters cannot be published; they stay in the ledger and are tried again, "
                       "signups go on",
            .again = "dead letters are published again",
            .replaced = "the dead-letter producer is replaced; what it had not confirmed is published again",
            .trouble = "the dead-letter producer has trouble",
            .left_behind = "the dead-letter producer could not be closed in time and is left behind",
            .create = "create the dead-letter topic",
            .allow = "give the worker the right to write to the dead-letter topic",
            .raise_size = "raise max.message.bytes of the dead-letter topic: it does not even take a pointer of "
                          "some KiB",
            .take_any = "the dead-letter topic must take any record: no compaction, no schema validation",
        },
};

static enum port_status publish(void *ctx, struct publish_op *op)
{
    const struct producer_batch batch = {op, op->letters, sizeof *op->letters, op->count};
    return flight_begin(producer_of(ctx), &batch) ? PORT_OK : PORT_AWAY;
}

const struct dead_letter_port *kafka_dead_letter_port(void)
{
    static const struct dead_letter_port PORT = {publish};
    return &PORT;
}

struct kafka_dead_letter *kafka_dead_letter_create(struct uv_loop_s *loop, const struct kafka_config *config,
                                                   char *error, size_t error_size)
{
    return (struct kafka_dead_letter *)producer_create(&KIND, loop, config, PRODUCER_DEAD_LETTERS, error,
                                                       error_size);
}

void kafka_dead_letter_close(struct kafka_dead_letter *dead_letter, int64_t deadline_ms,
                             void (*closed)(void *owner, bool clean), void *owner)
{
    producer_close(producer_of(dead_letter), deadline_ms, closed, owner);
}

void kafka_dead_letter_status(const struct kafka_dead_letter *dead_letter,
                              struct kafka_dead_letter_status *out)
{
    const struct producer *producer = (const struct producer *)dead_letter;
    *out = (struct kafka_dead_letter_status){
        .published = producer->status.published,
        .pointers = producer->status.smaller,
        .failed = producer->status.failed,
        .recreated = producer->status.recreated,
        .in_flight = producer->status.in_flight,
        .failing = producer->status.failing,
        .failing_since = producer->status.failing_since,
        .why = producer->why,
    };
}
