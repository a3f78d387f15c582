/* Classes of characters: only those that change what a field means. */
#include "unicode.h"

size_t unicode_take(struct slice text, size_t at, uint32_t *point)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *c = (const unsigned char *)text.ptr + at;
    if (c[0] < 0x80) {
        *point = c[0];
        return 1;
    }
    size_t len = c[0] >= 0xF0 ? 4 : c[0] >= 0xE0 ? 3 : 2;
    if (c[0] < 0xC2 || c[0] > 0xF4 || text.len - at < len)
        return 0;
    uint32_t value = c[0] & (0xFFU >> (len + 1));
    for (size_t i = 1; i < len; i++) {
        if ((c[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (c[i] & 0x3F);
    }
    if (value < least[len] || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF))
        return 0;
    *point = value;
    return len;
}

bool unicode_invisible(uint32_t point)
{
    if (point < 0xAD)
        return false;
    return point == 0xAD || point == 0x34F || point == 0x61C || point == 0x180E ||
           (point >= 0x200B && point <= 0x200F) || (point >= 0x202A && point <= 0x202E) ||
           (point >= 0x2060 && point <= 0x206F) ||
           point == 0x20E3 /* the key around a digit of a keyboard */ ||
           (point >= 0xFE00 && point <= 0xFE0F) || point == 0xFEFF;
}

bool unicode_blank(uint32_t point)
{
    if (point < 0x80)
        return point == ' ' || (point >= '\t' && point <= '\r');
    return point == 0x85 || point == 0xA0 || point == 0x1680 || (point >= 0x2000 && point <= 0x200A) ||
           point == 0x2028 || point == 0x2029 || point == 0x202F || point == 0x205F || point == 0x3000;
}

bool unicode_dash(uint32_t point)
{
    return point == '-' || (point >= 0x2010 && point <= 0x2015) || point == 0x2043 || point == 0x2212 ||
           point == 0x30FC /* Japan's long vowel, typed for it */ || point == 0xFE58 || point == 0xFE63 ||
           point == 0xFF0D;
}

bool unicode_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7F && point < 0xA0);
}

int unicode_digit(uint32_t point)
{
    /* The zeros of Unicode's decimal digits (category Nd): the nine others follow. */
    static const uint32_t zeros[] = {
        0x30,   0x660,  0x6F0,  0x7C0,  0x966,   0x9E6,   0xA66,   0xAE6,   0xB66,   0xBE6,   0xC66,
        0xCE6,  0xD66,  0xDE6,  0xE50,  0xED0,   0xF20,   0x1040,  0x1090,  0x17E0,  0x1810,  0x1946,
        0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0,  0x1C40,  0x1C50,  0xA620,  0xA8D0,  0xA900,  0xA9D0,
        0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x11066, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6,
    };
    for (size_t i = 0; i < sizeof zeros / sizeof zeros[0] && zeros[i] <= point; i++) {
        if (point - zeros[i] < 10)
            return (int)(point - zeros[i]);
    }
    return -1;
}

/* The bytes of a character that trimming takes away at `at`, or 0. */
static size_t trimmed_at(struct slice text, size_t at)
{
    uint32_t point;
    size_t len = unicode_take(text, at, &point);
    return len && (unicode_blank(point) || unicode_invisible(point)) ? len : 0;
}

struct slice unicode_trim(struct slice text)
{
    if (!slice_present(text))
        return text;
    size_t start = 0;
    size_t len;
    while (start < text.len && (len = trimmed_at(text, start)))
        start += len;
    size_t end = text.len;
    while (end > start) {
        size_t at = end - 1;
        while (at > start && ((unsigned char)text.ptr[at] & 0xC0) == 0x80)
            at--;
        if (trimmed_at(text, at) != end - at)
            break;
        end = at;
    }
    return (struct slice){text.ptr + start, end - start};
}
