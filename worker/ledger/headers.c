/* Record headers as JSON and back. */
#include "headers.h"

#include <jansson.h>
#include <stdint.h>

static size_t utf8_sequence(const unsigned char *s, size_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : s[0] >> 3 == 30 ? 4 : 0;
    if (!len || len > left)
        return 0;
    if (len == 1)
        return s[0] ? 1 : 0;
    uint32_t point = s[0] & (0xFFU >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if (s[i] >> 6 != 2)
            return 0;
        point = point << 6 | (s[i] & 0x3FU);
    }
    bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    return point < least[len] || point > 0x10FFFF || surrogate ? 0 : len;
}

bool text_is_storable(struct slice text)
{
    const unsigned char *s = (const unsigned char *)text.ptr;
    for (size_t at = 0; at < text.len;) {
        size_t len = utf8_sequence(s + at, text.len - at);
        if (!len)
            return false;
        at += len;
    }
    return true;
}

bool text_is_plain(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < 0x20 || text.ptr[i] > 0x7E)
            return false;
    }
    return true;
}

/* The code point of a sequence that is valid. */
static uint32_t utf8_point(const unsigned char *s, size_t len)
{
    uint32_t point = len == 1 ? s[0] : s[0] & (0xFFU >> (len + 1));
    for (size_t i = 1; i < len; i++)
        point = point << 6 | (s[i] & 0x3FU);
    return point;
}

bool json_write_plain(struct slice json, struct buf *out)
{
    const unsigned char *s = (const unsigned char *)json.ptr;
    for (size_t at = 0; at < json.len;) {
        size_t len = utf8_sequence(s + at, json.len - at);
        if (!len)
            return false;
        uint32_t point = utf8_point(s + at, len);
        if (point >= 0x10000)
            buf_printf(out, "\\u%04x\\u%04x", 0xD800 + ((point - 0x10000) >> 10), 0xDC00 + ((point - 0x10000) & 0x3FF));
        else if (point > 0x7E)
            buf_printf(out, "\\u%04x", point);
        else
            buf_append_char(out, (char)point);
        at += len;
    }
    return true;
}

/* The last one pads. */
static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";

static void append_base64(struct buf *out, struct slice bytes)
{
    const unsigned char *s = (const unsigned char *)bytes.ptr;
    for (size_t at = 0; at < bytes.len; at += 3) {
        size_t left = bytes.len - at;
        uint32_t group =
            (uint32_t)s[at] << 16 | (left > 1 ? (uint32_t)s[at + 1] << 8 : 0) | (left > 2 ? s[at + 2] : 0);
        char digits[4];
        for (unsigned i = 0; i < 4; i++)
            digits[i] = base64_digits[i > left ? 64 : group >> (18 - 6 * i) & 63];
        buf_append(out, digits, sizeof digits);
    }
}

static void append_member(struct buf *out, const char *text_key, const char *base64_key, struct slice value,
                          bool ascii)
{
    bool storable = ascii ? text_is_plain(value) : text_is_storable(value);
    buf_append_char(out, '"');
    buf_append_str(out, storable ? text_key : base64_key);
    buf_append_str(out, "\":");
    if (storable) {
        buf_append_json_string(out, value);
        return;
    }
    buf_append_char(out, '"');
    append_base64(out, value);
    buf_append_char(out, '"');
}

void headers_write(const struct record *record, bool ascii, struct buf *out)
{
    buf_append_char(out, '[');
    for (size_t i = 0; i < record->header_count; i++) {
        buf_append_str(out, i ? ",{" : "{");
        append_member(out, "name", "name_base64", record->headers[i].name, ascii);
        buf_append_char(out, ',');
        if (slice_present(record->headers[i].value))
            append_member(out, "value", "base64", record->headers[i].value, ascii);
        else
            buf_append_str(out, "\"value\":null");
        buf_append_char(out, '}');
    }
    buf_append_char(out, ']');
}

static int base64_digit(char c)
{
    const char *at = c && c != '=' ? strchr(base64_digits, c) : NULL;
    return at ? (int)(at - base64_digits) : -1;
}

/* Absent: no room, or not base64. */
static struct slice read_base64(const char *text, size_t len, struct arena *arena)
{
    char *bytes = len % 4 ? NULL : arena_alloc(arena, len / 4 * 3 + 1);
    size_t out = 0;
    if (!bytes)
        return SLICE_ABSENT;
    for (size_t at = 0; at < len; at += 4) {
        size_t pads = at + 4 < len ? 0 : (size_t)(text[at + 3] == '=') + (text[at + 2] == '=');
        uint32_t group = 0;
        for (size_t i = 0; i < 4; i++) {
            int digit = i >= 4 - pads ? 0 : base64_digit(text[at + i]);
            if (digit < 0)
                return SLICE_ABSENT;
            group = group << 6 | (uint32_t)digit;
        }
        for (size_t i = 0; i < 3 - pads; i++)
            bytes[out++] = (char)(group >> (16 - 8 * i) & 0xFF);
    }
    return (struct slice){bytes, out};
}

static struct slice read_member(const json_t *header, const char *text_key, const char *base64_key,
                                struct arena *arena)
{
    const json_t *text = json_object_get(header, text_key);
    if (json_is_string(text))
        return arena_copy(arena, (struct slice){json_string_value(text), json_string_length(text)});
    const json_t *base64 = json_object_get(header, base64_key);
    if (!json_is_string(base64))
        return SLICE_ABSENT;
    return read_base64(json_string_value(base64), json_string_length(base64), arena);
}

static bool read_all(const json_t *list, struct arena *arena, struct record *record)
{
    size_t count = json_array_size(list);
    struct record_header *headers = count ? arena_alloc_zero(arena, count * sizeof *headers) : NULL;
    if (!json_is_array(list) || (count && !headers))
        return false;
    for (size_t i = 0; i < count; i++) {
        const json_t *header = json_array_get(list, i);
        headers[i].name = read_member(header, "name", "name_base64", arena);
        headers[i].value = read_member(header, "value", "base64", arena);
        if (!slice_present(headers[i].name) ||
            (!slice_present(headers[i].value) && !json_is_null(json_object_get(header, "value"))))
            return false;
    }
    record->headers = headers;
    record->header_count = count;
    return true;
}

bool headers_read(struct slice json, struct arena *arena, struct record *record)
{
    record->headers = NULL;
    record->header_count = 0;
    if (!slice_present(json))
        return true;
    json_t *list = json_loadb(json.ptr, json.len, 0, NULL);
    bool ok = list && read_all(list, arena, record);
    json_decref(list);
    return ok;
}
