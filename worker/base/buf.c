/* Buffer: doubling growth up to its cap, first failure latched. */
#include "signup/base/buf.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *buf, size_t cap_bytes)
{
    *buf = (struct buf){.cap_bytes = cap_bytes};
}

void buf_fini(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.cap_bytes = buf->cap_bytes};
}

void buf_reset(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

bool buf_ok(const struct buf *buf)
{
    return !buf->failed;
}

/* Makes room for `more` bytes; false latches. */
static bool buf_reserve(struct buf *buf, size_t more)
{
    if (buf->failed)
        return false;
    if (more <= buf->size - buf->len)
        return true;
    if (more > buf->cap_bytes || buf->len > buf->cap_bytes - more) {
        buf->failed = true;
        return false;
    }
    size_t size = buf->size ? buf->size : 256;
    while (size < buf->len + more)
        size *= 2;
    if (size > buf->cap_bytes)
        size = buf->cap_bytes;
    char *data = realloc(buf->data, size);
    if (!data) {
        buf->failed = buf->starved = true;
        return false;
    }
    buf->data = data;
    buf->size = size;
    return true;
}

void buf_append(struct buf *buf, const void *bytes, size_t len)
{
    if (!len || !buf_reserve(buf, len))
        return;
    memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
}

void buf_append_str(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_append_slice(struct buf *buf, struct slice text)
{
    if (text.ptr)
        buf_append(buf, text.ptr, text.len);
}

void buf_append_char(struct buf *buf, char c)
{
    buf_append(buf, &c, 1);
}

void buf_append_int(struct buf *buf, int64_t value)
{
    char digits[24];
    char *p = digits + sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        *--p = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        *--p = '-';
    buf_append(buf, p, (size_t)(digits + sizeof digits - p));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int needed = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (needed < 0) {
        buf->failed = true;
        return;
    }
    if (!buf_reserve(buf, (size_t)needed + 1))
        return;
    va_start(args, format);
    vsnprintf(buf->data + buf->len, (size_t)needed + 1, format, args);
    va_end(args);
    buf->len += (size_t)needed;
}

void buf_append_json_string(struct buf *buf, struct slice text)
{
    static const char hex[] = "0123456789abcdef";
    buf_append_char(buf, '"');
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_append(buf, text.ptr + from, i - from);
        from = i + 1;
        switch (c) {
        case '"':
            buf_append(buf, "\\\"", 2);
            break;
        case '\\':
            buf_append(buf, "\\\\", 2);
            break;
        case '\n':
            buf_append(buf, "\\n", 2);
            break;
        case '\r':
            buf_append(buf, "\\r", 2);
            break;
        case '\t':
            buf_append(buf, "\\t", 2);
            break;
        default: {
            char escape[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            buf_append(buf, escape, sizeof escape);
        }
        }
    }
    buf_append(buf, text.ptr + from, text.len - from);
    buf_append_char(buf, '"');
}

void buf_append_json_real(struct buf *buf, double value)
{
    assert(isfinite(value));
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_append_str(buf, text);
    /* "3" would read back as an integer: the value was a real and stays one. */
    if (!strpbrk(text, ".eE"))
        buf_append_str(buf, ".0");
}
