/* Reads the dead-letter topic from its beginning to its end of now, on behalf of a command: partitions are
 * assigned by hand, no group is joined and nothing is committed. Blocks. */
#include "signup/kafka/letters.h"

#include "letter_read.h"
#include "range.h"
#include "settings.h"
#include "signup/base/clock.h"
#include "table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEP_MS 100      /* between two looks at the clock, and at the person who waits */
#define QUESTION_MS 1000 /* one question; asked again until the wait is over */

struct part {
    int64_t next; /* the next offset to be read */
    int64_t end;  /* the first one that was not there at the beginning */
    bool done;
};

struct letters {
    const struct kafka_config *config;
    const struct kafka_letters_request *request;
    struct slice topic;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    struct part *parts; /* by partition */
    int32_t part_count;
    int32_t left; /* parts that are not done */
    struct kafka_letters_counts counts;
    struct letter_headers headers;
    bool stopped;
    mono_us_t until; /* something must have come by then */
    mono_us_t shown_at;
    rd_kafka_resp_err_t complaint; /* the brokers' last that says something */
    char complaint_text[256];
    char *error;
    size_t error_size;
};

__attribute__((format(printf, 3, 4))) static enum kafka_letters_result
fail(struct letters *letters, enum kafka_letters_result result, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(letters->error, letters->error_size, format, args);
    va_end(args);
    return result;
}

/* ------------------------------------------------------------------ waiting, and giving up */

static void breathe(struct letters *letters)
{
    letters->until = mono_add(clock_mono_now(), letters->request->timeout_ms * US_PER_MS);
}

static bool too_late(const struct letters *letters)
{
    return mono_reached(clock_mono_now(), letters->until);
}

static int wait_ms(const struct letters *letters)
{
    int64_t left_ms = (letters->until.us - clock_mono_now().us) / US_PER_MS;
    return left_ms < 1 ? 1 : left_ms > QUESTION_MS ? QUESTION_MS : (int)left_ms;
}

static void show(struct letters *letters, bool now)
{
    if (letters->stopped || !letters->request->progress ||
        (!now && !mono_reached(clock_mono_now(), mono_add(letters->shown_at, STEP_MS * US_PER_MS))))
        return;
    letters->shown_at = clock_mono_now();
    letters->stopped = !letters->request->progress(letters->request->ctx, &letters->counts);
}

/* A refusal or a TLS error says more than that all brokers are down. The group's rights are of no matter. */
static void note_complaint(struct letters *letters, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t err = rd_kafka_event_error(event);
    if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
        kafka_settings_is_refusal(letters->complaint))
        return;
    letters->complaint = err;
    snprintf(letters->complaint_text, sizeof letters->complaint_text, "%s",
             rd_kafka_event_error_string(event));
}

static void serve(struct letters *letters, int timeout_ms);

static enum kafka_letters_result give_up(struct letters *letters, rd_kafka_resp_err_t err)
{
    const char *why = letters->complaint_text[0] ? letters->complaint_text : rd_kafka_err2str(err);
    if (kafka_settings_is_refusal(letters->complaint) || kafka_settings_is_refusal(err))
        return fail(letters, KAFKA_LETTERS_REFUSED,
                    "%s refuses us: %s. Check the rights to read topic %s, and sasl.* in kafka.properties",
                    letters->config->brokers, why, letters->topic.ptr);
    if (letters->counts.to_read)
        return fail(letters, KAFKA_LETTERS_AWAY,
                    "nothing more came from topic %s for %" PRId64 " s, %" PRIu64 " of %" PRIu64
                    " read: %s. Try again",
                    letters->topic.ptr, letters->request->timeout_ms / 1000, letters->counts.passed,
                    letters->counts.to_read, why);
    return fail(letters, KAFKA_LETTERS_AWAY,
                "no Kafka broker answers at %s: %s. Check kafka.brokers, and that it runs",
                letters->config->brokers, why);
}

/* ------------------------------------------------------------------ what there is to read */

static rd_kafka_resp_err_t ask_for_topic(struct letters *letters)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(letters->rk, letters->topic.ptr, NULL);
    if (!topic)
        return rd_kafka_last_error();
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t err = rd_kafka_metadata(letters->rk, 0, topic, &metadata, wait_ms(letters));
    if (!err && metadata->topic_cnt == 1)
        err = metadata->topics[0].err;
    if (!err && metadata->topic_cnt == 1)
        letters->part_count = metadata->topics[0].partition_cnt;
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
    return err;
}

static bool is_unknown_topic(rd_kafka_resp_err_t err)
{
    return err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
}

/* A topic that is not known may have been created a moment ago. The last question has little time left: that it
 * got no answer says less than the answers before it. */
static enum kafka_letters_result find_topic(struct letters *letters)
{
    rd_kafka_resp_err_t err;
    bool unknown = false;
    while ((err = ask_for_topic(letters)) != RD_KAFKA_RESP_ERR_NO_ERROR || letters->part_count == 0) {
        unknown = is_unknown_topic(err) || (unknown && err == RD_KAFKA_RESP_ERR__TIMED_OUT);
        if (!letters->stopped && !too_late(letters) && err != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED &&
            !kafka_settings_is_refusal(letters->complaint)) {
            serve(letters, STEP_MS);
            continue;
        }
        if (letters->stopped)
            return KAFKA_LETTERS_STOPPED;
        if (unknown)
            return fail(letters, KAFKA_LETTERS_AWAY, "topic %s does not exist at %s", letters->topic.ptr,
                        letters->config->brokers);
        return give_up(letters, err);
    }
    return KAFKA_LETTERS_DONE;
}

static int64_t start_of(const struct letters *letters, int32_t partition)
{
    for (size_t i = 0; i < letters->request->start_count; i++)
        if (letters->request->starts[i].partition == partition)
            return letters->request->starts[i].offset;
    return 0;
}

static void begin_part(struct letters *letters, int32_t partition, int64_t low, int64_t high)
{
    struct part *part = &letters->parts[partition];
    int64_t start = start_of(letters, partition);
    if (start > 0 && start < low)
        letters->counts.gone += (uint64_t)(low - start);
    part->next = start < low ? low : start < high ? start : high;
    part->end = high;
    part->done = part->next >= part->end;
    letters->left += !part->done;
    letters->counts.to_read += (uint64_t)(part->end - part->next);
}

static enum kafka_letters_result find_ranges(struct letters *letters)
{
    for (size_t i = 0; i < letters->request->start_count; i++)
        if (letters->request->starts[i].partition < 0 ||
            letters->request->starts[i].partition >= letters->part_count)
            return fail(letters, KAFKA_LETTERS_CONFIG,
                        "topic %s has no partition %" PRId32 " (%" PRId32 " in all)", letters->topic.ptr,
                        letters->request->starts[i].partition, letters->part_count);
    letters->parts = table_alloc((size_t)letters->part_count * sizeof *letters->parts);
    for (int32_t p = 0; p < letters->part_count; p++) {
        int64_t low = 0;
        int64_t high = 0;
        rd_kafka_resp_err_t err;
        while ((err = range_query(letters->rk, letters->topic.ptr, p, &low, &high, wait_ms(letters)))) {
            if (too_late(letters) || kafka_settings_is_refusal(err))
                return kafka_settings_is_refusal(err)
                           ? give_up(letters, err)
                           : fail(letters, KAFKA_LETTERS_AWAY,
                                  "topic %s [%" PRId32 "] cannot be read: %s. See to the brokers",
                                  letters->topic.ptr, p, rd_kafka_err2str(err));
            serve(letters, STEP_MS);
            if (letters->stopped)
                return KAFKA_LETTERS_STOPPED;
        }
        breathe(letters);
        begin_part(letters, p, low, high);
    }
    return KAFKA_LETTERS_DONE;
}

/* ------------------------------------------------------------------ reading */

static enum kafka_letters_result assign(struct letters *letters)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(letters->part_count);
    for (int32_t p = 0; p < letters->part_count; p++)
        if (!letters->parts[p].done)
            rd_kafka_topic_partition_list_add(list, letters->topic.ptr, p)->offset = letters->parts[p].next;
    rd_kafka_resp_err_t err = rd_kafka_assign(letters->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (err)
        return fail(letters, KAFKA_LETTERS_AWAY, "topic %s cannot be read: %s", letters->topic.ptr,
                    rd_kafka_err2str(err));
    return KAFKA_LETTERS_DONE;
}

/* The part that still waits for this partition's records; NULL: none. */
static struct part *open_part(const struct letters *letters, int32_t partition)
{
    struct part *part = partition >= 0 && partition < letters->part_count ? &letters->parts[partition] : NULL;
    return part && !part->done ? part : NULL;
}

static void pass(struct letters *letters, struct part *part, int64_t next)
{
    if (next > part->end)
        next = part->end;
    letters->counts.passed += (uint64_t)(next - part->next);
    part->next = next;
    if (next < part->end)
        return;
    part->done = true;
    letters->left--;
}

static void handle_record(struct letters *letters, const rd_kafka_message_t *message)
{
    struct part *part = open_part(letters, message->partition);
    if (message->err || !part || message->offset < part->next)
        return;
    breathe(letters);
    if (message->offset >= part->end) {
        pass(letters, part, part->end); /* published since: the next reading's */
        return;
    }
    struct kafka_letter letter;
    letter_read(message, letters->topic, &letters->headers, &letter);
    letters->counts.given++;
    letters->counts.malformed += letter.malformed != NULL;
    letters->counts.pointers += letter.pointer;
    pass(letters, part, message->offset + 1);
    letters->stopped = !letters->request->letter(letters->request->ctx, &letter);
    breathe(letters); /* the callback may have taken its time */
}

/* The topic has let go of what was to be read next: the rest is read. */
static void skip_expired(struct letters *letters, int32_t partition, struct part *part)
{
    int64_t low = 0;
    int64_t high = 0;
    if (!range_query(letters->rk, letters->topic.ptr, partition, &low, &high, QUESTION_MS) &&
        low > part->next) {
        uint64_t gone = (uint64_t)((low < part->end ? low : part->end) - part->next);
        letters->counts.gone += gone;
        letters->counts.to_read -= gone;
        letters->counts.passed -= gone; /* pass() adds them */
        pass(letters, part, low);
    }
    (void)assign(letters); /* fails only for good, and then the wait ends it */
}

static void handle_partition(struct letters *letters, const rd_kafka_topic_partition_t *at,
                             rd_kafka_event_t *event)
{
    struct part *part = open_part(letters, at->partition);
    if (!part)
        return;
    switch (rd_kafka_event_error(event)) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF: /* also past records that nobody is given: aborted, compacted */
        breathe(letters);
        pass(letters, part, part->end);
        break;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        skip_expired(letters, at->partition, part);
        break;
    default:
        note_complaint(letters, event);
        break;
    }
}

static void handle_error(struct letters *letters, rd_kafka_event_t *event)
{
    rd_kafka_topic_partition_t *at = rd_kafka_event_topic_partition(event);
    if (at && at->partition >= 0 && letters->parts)
        handle_partition(letters, at, event);
    else
        note_complaint(letters, event);
    if (at)
        rd_kafka_topic_partition_destroy(at);
}

/* Waits up to `timeout_ms` for the first event, then takes what is there, for a while. */
static void serve(struct letters *letters, int timeout_ms)
{
    rd_kafka_event_t *event;
    const rd_kafka_message_t *message;
    for (int left = 1000;
         left && !letters->stopped && (event = rd_kafka_queue_poll(letters->queue, timeout_ms)); left--) {
        switch (rd_kafka_event_type(event)) {
        case RD_KAFKA_EVENT_FETCH:
            message = rd_kafka_event_message_next(event);
            if (message)
                handle_record(letters, message);
            break;
        case RD_KAFKA_EVENT_ERROR:
            handle_error(letters, event);
            break;
        default:
            kafka_settings_log(event);
            break;
        }
        rd_kafka_event_destroy(event);
        timeout_ms = 0;
        show(letters, false);
    }
    show(letters, false);
}

static enum kafka_letters_result read_all(struct letters *letters)
{
    enum kafka_letters_result result = find_topic(letters);
    if (result == KAFKA_LETTERS_DONE)
        result = find_ranges(letters);
    if (result != KAFKA_LETTERS_DONE)
        return result;
    show(letters, true);
    if (letters->left && (result = assign(letters)) != KAFKA_LETTERS_DONE)
        return result;
    breathe(letters);
    while (letters->left && !letters->stopped) {
        serve(letters, STEP_MS);
        if (letters->left && !letters->stopped && too_late(letters))
            return give_up(letters, RD_KAFKA_RESP_ERR__TIMED_OUT);
    }
    show(letters, true);
    return letters->left ? KAFKA_LETTERS_STOPPED : KAFKA_LETTERS_DONE;
}

enum kafka_letters_result kafka_letters_read(const struct kafka_config *config,
                                             const struct kafka_letters_request *request,
                                             struct kafka_letters_counts *counts, char *error,
                                             size_t error_size)
{
    struct letters letters = {
        .config = config,
        .request = request,
        .topic = slice_from_str(request->topic ? request->topic : config->dead_letter_topic),
        .error = error,
        .error_size = error_size,
    };
    enum kafka_letters_result result = KAFKA_LETTERS_CONFIG;
    breathe(&letters);
    letters.rk = kafka_settings_client(config, KAFKA_ROLE_READER, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG,
                                       error, error_size);
    if (letters.rk) {
        rd_kafka_poll_set_consumer(letters.rk);
        letters.queue = rd_kafka_queue_get_consumer(letters.rk);
        rd_kafka_set_log_queue(letters.rk, letters.queue);
        result = read_all(&letters);
        rd_kafka_queue_destroy(letters.queue);
        rd_kafka_destroy_flags(letters.rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    }
    if (counts)
        *counts = letters.counts;
    letter_headers_fini(&letters.headers);
    free(letters.parts);
    return result;
}
