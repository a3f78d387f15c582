/* What a dead letter says beside its original bytes: the headers of design section 7; and the pointer record
 * that stands for an original that the topic does not take. */
#include "letter.h"

#include "signup/base/clock.h"
#include "table.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define POINTER_HEADER_BYTES 16384 /* of the original's headers in a pointer: a traceparent and its like */
#define POINTER_BODY_BYTES 8192
#define BARE_KEY_BYTES 1024
#define DIGEST_BYTES 32

bool letter_is_ours(struct slice header_name)
{
    size_t len = sizeof LETTER_PREFIX - 1;
    return header_name.len >= len && memcmp(header_name.ptr, LETTER_PREFIX, len) == 0;
}

/* ------------------------------------------------------------------ headers */

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

static void add_time(rd_kafka_headers_t *headers, const char *name, wall_us_t at)
{
    char text[WALL_TEXT_MS_BYTES];
    wall_format_utc_ms(at, text);
    add(headers, name, text, strlen(text));
}

static void add_source(rd_kafka_headers_t *headers, const struct record *original)
{
    char text[320]; /* a topic's name has at most 249 bytes */
    int len = snprintf(text, sizeof text, "%.*s:%" PRId32 ":%" PRId64, (int)original->topic.len,
                       original->topic.ptr, original->partition, original->offset);
    add(headers, LETTER_PREFIX "source", text, len < (int)sizeof text ? (size_t)len : sizeof text - 1);
}

/* In their order, as many as fit. */
static void add_originals(rd_kafka_headers_t *headers, const struct record *original, size_t room)
{
    for (size_t i = 0; i < original->header_count; i++) {
        const struct record_header *header = &original->headers[i];
        size_t bytes = header->name.len + header->value.len;
        if (letter_is_ours(header->name) || bytes > room)
            continue; /* of an earlier death, or forged; or it does not fit */
        room -= bytes;
        /* NULL stays null, an empty value stays empty. */
        rd_kafka_header_add(headers, header->name.ptr, (ssize_t)header->name.len, header->value.ptr,
                            (ssize_t)header->value.len);
    }
}

static rd_kafka_headers_t *make_headers(const struct dead_letter *letter, enum letter_form form)
{
    static const size_t ROOM[] = {
        [LETTER_WHOLE] = SIZE_MAX, [LETTER_POINTER] = POINTER_HEADER_BYTES, [LETTER_POINTER_BARE] = 0};
    rd_kafka_headers_t *headers = rd_kafka_headers_new(letter->original.header_count + 10);
    if (ROOM[form])
        add_originals(headers, &letter->original, ROOM[form]);
    add_slice(headers, LETTER_PREFIX "event_id", letter->event_id);
    add_slice(headers, LETTER_PREFIX "error.code", letter->code);
    if (letter->http_status)
        add_int(headers, LETTER_PREFIX "error.status", letter->http_status);
    add_slice(headers, LETTER_PREFIX "error.message", letter->message);
    add_slice(headers, LETTER_PREFIX "error.class", letter->cls);
    add_int(headers, LETTER_PREFIX "attempts", letter->attempts);
    add_source(headers, &letter->original);
    add_time(headers, LETTER_PREFIX "failed_at", letter->failed_at);
    if (form != LETTER_WHOLE)
        add(headers, LETTER_PREFIX "pointer", "true", 4);
    return headers;
}

/* ------------------------------------------------------------------ the pointer */

static void append_member(struct buf *body, const char *name, struct slice value)
{
    buf_printf(body, ",\"%s\":", name);
    buf_append_json_string(body, value);
}

static void append_digest(struct buf *body, struct slice value)
{
    unsigned char digest[DIGEST_BYTES];
    unsigned size = 0;
    buf_append_str(body, ",\"sha256\":");
    if (!slice_present(value)) {
        buf_append_str(body, "null");
        return;
    }
    if (!EVP_Digest(value.ptr, value.len, digest, &size, EVP_sha256(), NULL))
        table_no_memory(); /* it fails for nothing else, and a wrong digest would be worse than none */
    buf_append_char(body, '"');
    for (size_t i = 0; i < sizeof digest; i++)
        buf_printf(body, "%02x", digest[i]);
    buf_append_char(body, '"');
}

static void write_pointer(struct buf *body, const struct dead_letter *letter, enum letter_form form)
{
    const struct record *original = &letter->original;
    buf_append_str(body, "{\"pointer\":true");
    append_member(body, "topic", original->topic);
    buf_printf(body, ",\"partition\":%" PRId32 ",\"offset\":%" PRId64, original->partition, original->offset);
    append_member(body, "event_id", letter->event_id);
    if (slice_present(original->value))
        buf_printf(body, ",\"bytes\":%zu", original->value.len);
    else
        buf_append_str(body, ",\"bytes\":null");
    append_digest(body, original->value);
    buf_append_str(body, ",\"note\":\"the original is too large for this topic: its bytes are in the ledger "
                         "(signup.event, column payload), and at the source as long as that keeps them");
    if (form == LETTER_POINTER_BARE)
        buf_append_str(body, "; its own headers, and a key of more than 1 KiB, are left out here");
    buf_append_str(body, "\"}");
}

void letter_init(struct letter_record *record, const struct dead_letter *letter, enum letter_form form)
{
    *record = (struct letter_record){.key = letter->original.key, .value = letter->original.value};
    record->headers = make_headers(letter, form);
    buf_init(&record->body, POINTER_BODY_BYTES);
    if (form == LETTER_WHOLE)
        return;
    write_pointer(&record->body, letter, form);
    if (!buf_ok(&record->body))
        table_no_memory(); /* names are bounded: the cap cannot be what was reached */
    record->value = buf_slice(&record->body);
    if (form == LETTER_POINTER_BARE && record->key.len > BARE_KEY_BYTES)
        record->key = SLICE_ABSENT;
}

void letter_fini(struct letter_record *record, bool headers_taken)
{
    if (!headers_taken)
        rd_kafka_headers_destroy(record->headers);
    buf_fini(&record->body);
}
