/* From a record of the dead-letter topic back to the letter: the original's own headers apart from ours, and
 * ours read strictly. Anybody may have written to the topic. */
#include "letter_read.h"

#include "letter.h"
#include "table.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOPIC_BYTES_MAX 249
#define LETTER_ID_BYTES 300 /* 200 of a producer's, or a position */

/* ------------------------------------------------------------------ values */

/* Digits only, without a sign, up to `max`. */
static bool read_number(struct slice text, int64_t max, int64_t *out)
{
    int64_t value = 0;
    if (text.len == 0 || text.len > 19)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int digit = text.ptr[i] - '0';
        if (digit < 0 || digit > 9 || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

static bool read_int(struct slice text, int *out)
{
    int64_t value;
    if (!read_number(text, INT_MAX, &value))
        return false;
    *out = (int)value;
    return true;
}

/* The `len` bytes at `at`, as a number. */
static bool read_part(struct slice text, size_t at, size_t len, int *out)
{
    return read_int((struct slice){text.ptr + at, len}, out);
}

/* "2025-03-15T14:30:00.123Z" and nothing else: what wall_format_utc_ms() writes. */
static bool read_time(struct slice text, wall_us_t *out)
{
    static const char SHAPE[] = "0000-00-00T00:00:00.000Z";
    struct tm tm = {0};
    int ms;
    if (text.len != sizeof SHAPE - 1)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (SHAPE[i] != '0' && text.ptr[i] != SHAPE[i])
            return false;
    if (!read_part(text, 0, 4, &tm.tm_year) || !read_part(text, 5, 2, &tm.tm_mon) ||
        !read_part(text, 8, 2, &tm.tm_mday) || !read_part(text, 11, 2, &tm.tm_hour) ||
        !read_part(text, 14, 2, &tm.tm_min) || !read_part(text, 17, 2, &tm.tm_sec) ||
        !read_part(text, 20, 3, &ms))
        return false;
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 59)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    out->us = (int64_t)timegm(&tm) * US_PER_S + ms * US_PER_MS;
    return true;
}

/* "topic:partition:offset", split from its end. */
static bool read_source(struct slice text, struct kafka_letter *out)
{
    const char *offset = text.len ? memrchr(text.ptr, ':', text.len) : NULL;
    const char *partition = offset ? memrchr(text.ptr, ':', (size_t)(offset - text.ptr)) : NULL;
    size_t topic_len = partition ? (size_t)(partition - text.ptr) : 0;
    int64_t number;
    if (topic_len == 0 || topic_len > TOPIC_BYTES_MAX ||
        !read_number((struct slice){partition + 1, (size_t)(offset - partition - 1)}, INT32_MAX, &number))
        return false;
    int64_t at;
    if (!read_number((struct slice){offset + 1, (size_t)(text.ptr + text.len - offset - 1)}, INT64_MAX - 1,
                     &at))
        return false;
    out->source_topic = (struct slice){text.ptr, topic_len};
    out->source_partition = (int32_t)number;
    out->source_offset = at;
    return true;
}

static bool read_event_id(struct slice text, struct kafka_letter *out)
{
    out->event_id = text;
    return text.len >= 1 && text.len <= LETTER_ID_BYTES && !memchr(text.ptr, '\0', text.len);
}

static bool read_code(struct slice text, struct kafka_letter *out)
{
    out->code = text;
    return true; /* "" where the API gave none */
}

static bool read_message(struct slice text, struct kafka_letter *out)
{
    out->message = text;
    return true;
}

static bool read_class(struct slice text, struct kafka_letter *out)
{
    out->cls = text;
    return text.len > 0;
}

static bool read_status(struct slice text, struct kafka_letter *out)
{
    int status;
    if (!read_int(text, &status))
        return false;
    out->http_status = status;
    return true;
}

static bool read_attempts(struct slice text, struct kafka_letter *out)
{
    return read_int(text, &out->attempts);
}

static bool read_failed_at(struct slice text, struct kafka_letter *out)
{
    return read_time(text, &out->failed_at);
}

static bool read_pointer(struct slice text, struct kafka_letter *out)
{
    out->pointer = slice_is(text, "true");
    return out->pointer;
}

/* ------------------------------------------------------------------ headers */

/* The first failing line is the reason: what makes a record no letter at all stands first. */
static const struct {
    const char *name;
    bool (*read)(struct slice text, struct kafka_letter *out);
    const char *missing; /* NULL: it may be missing */
    const char *unreadable;
} OURS[] = {
    {LETTER_PREFIX "event_id", read_event_id,
     "it has no header signup.event_id: it is no dead letter of this program",
     "its header signup.event_id is empty or too long"},
    {LETTER_PREFIX "source", read_source, "it has no header signup.source",
     "its header signup.source is not topic:partition:offset"},
    {LETTER_PREFIX "error.class", read_class, "it has no header signup.error.class",
     "its header signup.error.class is empty"},
    {LETTER_PREFIX "error.code", read_code, "it has no header signup.error.code", ""},
    {LETTER_PREFIX "attempts", read_attempts, "it has no header signup.attempts",
     "its header signup.attempts is not a number"},
    {LETTER_PREFIX "failed_at", read_failed_at, "it has no header signup.failed_at",
     "its header signup.failed_at is not a time"},
    {LETTER_PREFIX "error.status", read_status, NULL, "its header signup.error.status is not a number"},
    {LETTER_PREFIX "pointer", read_pointer, NULL, "its header signup.pointer is not \"true\""},
    {LETTER_PREFIX "error.message", read_message, NULL, ""},
};

static void read_ours(const rd_kafka_headers_t *headers, struct kafka_letter *out)
{
    for (size_t i = 0; i < sizeof OURS / sizeof OURS[0]; i++) {
        const void *value = NULL;
        size_t size = 0;
        bool there = headers && !rd_kafka_header_get_last(headers, OURS[i].name, &value, &size) && value;
        const char *wrong = NULL;
        if (!there)
            wrong = OURS[i].missing;
        else if (!OURS[i].read((struct slice){value, size}, out))
            wrong = OURS[i].unreadable;
        if (wrong && !out->malformed)
            out->malformed = wrong;
    }
}

static void read_originals(const rd_kafka_headers_t *from, struct letter_headers *to,
                           struct kafka_letter *out)
{
    size_t count = rd_kafka_header_cnt(from);
    if (count > to->room) {
        free(to->items);
        to->items = table_alloc(count * sizeof *to->items);
        to->room = count;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = NULL;
        const void *value = NULL;
        size_t size = 0;
        if (rd_kafka_header_get_all(from, i, &name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR)
            break;
        if (!letter_is_ours(slice_from_str(name)))
            to->items[out->header_count++] =
                (struct record_header){slice_from_str(name), {value, value ? size : 0}};
    }
    out->headers = to->items;
}

void letter_read(const rd_kafka_message_t *message, struct slice topic, struct letter_headers *headers,
                 struct kafka_letter *out)
{
    rd_kafka_timestamp_type_t type;
    int64_t timestamp_ms = rd_kafka_message_timestamp(message, &type);
    *out = (struct kafka_letter){
        .topic = topic,
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || timestamp_ms < 0 ? -1 : timestamp_ms,
        .key = {message->key, message->key ? message->key_len : 0},
        .value = {message->payload, message->payload ? message->len : 0},
        .attempts = -1,
        .source_partition = -1,
        .source_offset = -1,
        .source_timestamp_ms = type == RD_KAFKA_TIMESTAMP_CREATE_TIME && timestamp_ms >= 0 ? timestamp_ms : -1,
    };
    rd_kafka_headers_t *all = NULL;
    if (rd_kafka_message_headers(message, &all) != RD_KAFKA_RESP_ERR_NO_ERROR)
        all = NULL; /* it has none */
    if (all)
        read_originals(all, headers, out);
    read_ours(all, out);
}

void letter_headers_fini(struct letter_headers *headers)
{
    free(headers->items);
    *headers = (struct letter_headers){NULL, 0};
}
