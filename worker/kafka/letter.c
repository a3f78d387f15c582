/* What a dead letter says beside its original bytes: the headers of design section 7. */
#include "letter.h"

#include "signup/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "signup."

static void add(rd_kafka_headers_t *headers, const char *name, const char *value, size_t len)
{
    rd_kafka_header_add(headers, name, -1, value, (ssize_t)len);
}

static void add_slice(rd_kafka_headers_t *headers, const char *name, struct slice value)
{
    add(headers, name, slice_present(value) ? value.ptr : "", value.len);
}

static void add_int(rd_kafka_headers_t *headers, const char *name, int value)
{
    char text[16];
    int len = snprintf(text, sizeof text, "%d", value);
    add(headers, name, text, (size_t)len);
}

static void add_source(rd_kafka_headers_t *headers, const struct record *original)
{
    char text[320]; /* a topic's name has at most 249 bytes */
    int len = snprintf(text, sizeof text, "%.*s:%" PRId32 ":%" PRId64, (int)original->topic.len,
                       original->topic.ptr, original->partition, original->offset);
    add(headers, "signup.source", text, len < (int)sizeof text ? (size_t)len : sizeof text - 1);
}

static void add_originals(rd_kafka_headers_t *headers, const struct record *original)
{
    for (size_t i = 0; i < original->header_count; i++) {
        const struct record_header *header = &original->headers[i];
        if (header->name.len >= sizeof PREFIX - 1 && memcmp(header->name.ptr, PREFIX, sizeof PREFIX - 1) == 0)
            continue; /* of an earlier death, or forged */
        /* NULL stays null, an empty value stays empty. */
        rd_kafka_header_add(headers, header->name.ptr, (ssize_t)header->name.len, header->value.ptr,
                            (ssize_t)header->value.len);
    }
}

rd_kafka_headers_t *letter_headers(const struct dead_letter *letter)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(letter->original.header_count + 8);
    char failed_at[WALL_TEXT_MS_BYTES];
    wall_format_utc_ms(letter->failed_at, failed_at);
    add_originals(headers, &letter->original);
    add_slice(headers, "signup.event_id", letter->event_id);
    add_slice(headers, "signup.error.code", letter->code);
    if (letter->http_status)
        add_int(headers, "signup.error.status", letter->http_status);
    add_slice(headers, "signup.error.message", letter->message);
    add_slice(headers, "signup.error.class", letter->cls);
    add_int(headers, "signup.attempts", letter->attempts);
    add_source(headers, &letter->original);
    add(headers, "signup.failed_at", failed_at, strlen(failed_at));
    return headers;
}
