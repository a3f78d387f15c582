/* A growing byte buffer: how the simulator writes bodies, heads, book lines and output. */
#include "buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void buf_die(void)
{
    fputs("contacts-sim: out of memory\n", stderr);
    abort();
}

static void buf_reserve(struct buf *buf, size_t more)
{
    if (buf->cap - buf->len >= more)
        return;
    size_t cap = buf->cap ? buf->cap : 256;
    while (cap - buf->len < more)
        cap *= 2;
    char *data = realloc(buf->data, cap);
    if (!data)
        buf_die();
    buf->data = data;
    buf->cap = cap;
}

void buf_append(struct buf *buf, const void *bytes, size_t len)
{
    if (!len)
        return;
    buf_reserve(buf, len);
    memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
}

void buf_append_str(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_append_u64(struct buf *buf, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    buf_append(buf, digits + at, sizeof digits - at);
}

void buf_append_i64(struct buf *buf, int64_t value)
{
    uint64_t magnitude = (uint64_t)value;
    if (value < 0) {
        buf_append(buf, "-", 1);
        magnitude = 0 - magnitude;
    }
    buf_append_u64(buf, magnitude);
}

void buf_append_bool(struct buf *buf, bool value)
{
    buf_append_str(buf, value ? "true" : "false");
}

void buf_append_fill(struct buf *buf, char byte, size_t len)
{
    if (!len)
        return;
    buf_reserve(buf, len);
    memset(buf->data + buf->len, byte, len);
    buf->len += len;
}

void buf_append_format(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    assert(len >= 0);
    buf_reserve(buf, (size_t)len + 1);
    vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
    va_end(again);
    buf->len += (size_t)len;
}

/* Length of the well-formed UTF-8 sequence at `s`, 0 if there is none (RFC 3629). */
static size_t buf_utf8_length(const unsigned char *s, size_t left)
{
    if (s[0] < 0x80)
        return 1;
    size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || len > left)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool outside = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return overlong || outside ? 0 : len;
}

void buf_append_json(struct buf *buf, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *s = (const unsigned char *)text;
    buf_append(buf, "\"", 1);
    size_t plain = 0; /* start of the run that needs no escape */
    for (size_t i = 0; i < len;) {
        size_t step = buf_utf8_length(s + i, len - i);
        bool escape = !step || s[i] < 0x20 || s[i] == '"' || s[i] == '\\' || s[i] == 0x7f;
        if (!escape) {
            i += step;
            continue;
        }
        buf_append(buf, text + plain, i - plain);
        if (s[i] == '"' || s[i] == '\\') {
            char pair[2] = {'\\', text[i]};
            buf_append(buf, pair, 2);
        } else {
            char code[6] = {'\\', 'u', '0', '0', hex[s[i] >> 4], hex[s[i] & 15]};
            buf_append(buf, code, 6);
        }
        plain = ++i;
    }
    buf_append(buf, text + plain, len - plain);
    buf_append(buf, "\"", 1);
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
}

void buf_swap(struct buf *a, struct buf *b)
{
    struct buf kept = *a;
    *a = *b;
    *b = kept;
}

void buf_fini(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

const char *buf_text(struct buf *buf)
{
    buf_reserve(buf, 1);
    buf->data[buf->len] = '\0';
    return buf->data;
}

void *buf_alloc_zeroed(size_t bytes)
{
    void *memory = calloc(1, bytes);
    if (!memory)
        buf_die();
    return memory;
}

char *buf_copy_text(const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        buf_die();
    return copy;
}
