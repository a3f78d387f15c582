/* Base64 to bytes. */
#include "shape_base64.h"

#include "scratch.h"

#include <stdint.h>

/* -1: no letter of the alphabet. */
static int letter_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four letters to `count` bytes; the rest of them must be nothing. */
static bool decode_group(const char *at, size_t count, char *out)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; i++) {
        int value = i <= count ? letter_value(at[i]) : at[i] == '=' ? 0 : -1;
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
    }
    for (size_t i = 0; i < count; i++)
        out[i] = (char)(bits >> (16 - 8 * i));
    return (bits & (0xFFFFFFU >> (8 * count))) == 0;
}

struct slice shape_base64(struct slice text, bool *full)
{
    *full = false;
    if (text.len % 4 != 0)
        return SLICE_ABSENT;
    char *bytes = scratch_alloc(text.len / 4 * 3 + 1);
    if (!bytes) {
        *full = true;
        return SLICE_ABSENT;
    }
    size_t len = 0;
    for (size_t i = 0; i < text.len; i += 4) {
        bool last = i + 4 == text.len;
        size_t count = !last || text.ptr[i + 3] != '=' ? 3 : text.ptr[i + 2] != '=' ? 2 : 1;
        if (!decode_group(text.ptr + i, count, bytes + len)) {
            scratch_free(bytes);
            return SLICE_ABSENT;
        }
        len += count;
    }
    return (struct slice){bytes, len};
}
