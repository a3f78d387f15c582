/* Prints what a topic holds from its beginning to the end that it has when the reading starts. */
#include "client.h"
#include "record.h"

#include <jansson.h>
#include <stdlib.h>

struct reader {
    rd_kafka_t *handle;
    const struct options *options;
    int partition_count;
    int64_t *ends;  /* offset at which a partition is done; -1: it is */
    int unfinished;
    int64_t printed;
};

static void reader_assign(struct reader *reader)
{
    const struct options *options = reader->options;
    const struct rd_kafka_metadata *metadata = client_metadata(reader->handle, options->topic, options, false);
    reader->partition_count = metadata->topics[0].partition_cnt;
    rd_kafka_metadata_destroy(metadata);
    reader->ends = calloc((size_t)reader->partition_count, sizeof(*reader->ends));
    if (reader->ends == NULL) {
        client_die(EXIT_SOFTWARE, "out of memory");
    }
    struct extent *extents = client_extents(reader->handle, reader->partition_count, options);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(reader->partition_count);
    for (int i = 0; i < reader->partition_count; i++) {
        bool wanted = options->partition < 0 || options->partition == i;
        reader->ends[i] = -1;
        if (wanted && extents[i].high > extents[i].low) {
            reader->ends[i] = extents[i].high;
            reader->unfinished++;
            rd_kafka_topic_partition_list_add(list, options->topic, i)->offset = extents[i].low;
        }
    }
    free(extents);
    rd_kafka_resp_err_t error = rd_kafka_assign(reader->handle, list);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
        client_die(EXIT_SOFTWARE, "assign: %s", rd_kafka_err2str(error));
    }
    rd_kafka_topic_partition_list_destroy(list);
}

static void partition_done(struct reader *reader, int32_t partition)
{
    if (reader->ends[partition] >= 0) {
        reader->ends[partition] = -1;
        reader->unfinished--;
    }
}

static void reader_print(struct reader *reader, const rd_kafka_message_t *message)
{
    if (reader->ends[message->partition] < 0 || message->offset >= reader->ends[message->partition]) {
        partition_done(reader, message->partition); /* came after the reading started */
        return;
    }
    json_t *object = record_to_json(message);
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
    reader->printed++;
    if (message->offset + 1 >= reader->ends[message->partition]) {
        partition_done(reader, message->partition);
    }
}

/* Obeys one message; true when it brought the reading forward. */
static bool reader_take(struct reader *reader, const rd_kafka_message_t *message)
{
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        reader_print(reader, message);
        return true;
    }
    /* The last offsets may be no records (transaction markers, compacted ones): the end is known this way. */
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        partition_done(reader, message->partition);
        return true;
    }
    if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || rd_kafka_fatal_error(reader->handle, NULL, 0) != 0) {
        client_die(EXIT_DATA, "%s", rd_kafka_message_errstr(message));
    }
    return false;
}

int consume_run(const struct options *options)
{
    if (options->topic == NULL) {
        client_die(EXIT_USAGE, "--topic is missing");
    }
    rd_kafka_conf_t *conf = client_conf(options);
    client_set(conf, "group.id", "kafka-tool"); /* demanded by the library; nothing is ever committed */
    client_set(conf, "enable.auto.commit", "false");
    client_set(conf, "enable.partition.eof", "true");
    client_set(conf, "auto.offset.reset", "error");
    client_set(conf, "fetch.wait.max.ms", "20");
    struct reader reader = {.options = options, .handle = client_create(RD_KAFKA_CONSUMER, conf)};
    rd_kafka_poll_set_consumer(reader.handle);
    reader_assign(&reader);

    int64_t progress_ms = client_now_ms();
    while (reader.unfinished > 0 && (options->max < 0 || reader.printed < options->max)) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(reader.handle, 200);
        if (message != NULL && reader_take(&reader, message)) {
            progress_ms = client_now_ms();
        }
        if (message != NULL) {
            rd_kafka_message_destroy(message);
        }
        if (client_now_ms() - progress_ms > options->timeout_ms) {
            client_die(EXIT_NOT_IN_TIME, "nothing came for %lld ms, %d partitions are unfinished",
                       (long long)options->timeout_ms, reader.unfinished);
        }
    }
    fflush(stdout);
    rd_kafka_consumer_close(reader.handle);
    rd_kafka_destroy(reader.handle);
    free(reader.ends);
    return ferror(stdout) ? EXIT_SOFTWARE : 0;
}
