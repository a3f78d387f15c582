/* Texts under the transforms of a mapping. Letters beyond ASCII are those of the C library's C.UTF-8 locale,
 * which is the same on every machine. */
#include "expression_text.h"

#include "unicode.h"

#include <assert.h>
#include <locale.h>
#include <stdint.h>
#include <wctype.h>

static_assert(sizeof(wchar_t) >= sizeof(uint32_t), "a wide character holds any code point");

bool text_is_utf8(struct slice text)
{
    uint32_t point;
    size_t len;
    for (size_t at = 0; at < text.len; at += len) {
        len = unicode_take(text, at, &point);
        if (!len || !point)
            return false;
    }
    return true;
}

/* The length of the blank at `at`; 0: it is none. */
static size_t blank_at(struct slice text, size_t at)
{
    uint32_t point;
    size_t len = unicode_take(text, at, &point);
    return len && unicode_blank(point) ? len : 0;
}

/* The next word from `*at` on, which then is behind it; empty at the end. */
static struct slice next_word(struct slice text, size_t *at)
{
    size_t skip;
    while (*at < text.len && (skip = blank_at(text, *at)))
        *at += skip;
    size_t start = *at;
    while (*at < text.len && !blank_at(text, *at))
        (*at)++; /* a blank begins with no byte that stands within a sequence */
    return (struct slice){text.ptr + start, *at - start};
}

struct slice text_trim(struct slice text)
{
    size_t at = 0;
    struct slice word = next_word(text, &at);
    const char *start = word.ptr;
    size_t len = 0;
    while (word.len) {
        len = (size_t)(word.ptr + word.len - start);
        word = next_word(text, &at);
    }
    return (struct slice){start, len};
}

void text_append_name(struct buf *out, struct slice text, bool last)
{
    size_t at = 0;
    struct slice word = next_word(text, &at);
    struct slice following = next_word(text, &at);
    if (!following.len) { /* one word is a first name, or there is none */
        if (!last)
            buf_append_slice(out, word);
        return;
    }
    for (bool first = true; following.len; first = false) {
        if (!last && !first)
            buf_append_char(out, ' ');
        if (!last)
            buf_append_slice(out, word);
        word = following;
        following = next_word(text, &at);
    }
    if (last)
        buf_append_slice(out, word);
}

static void append_point(struct buf *out, uint32_t point)
{
    if (point < 0x80) {
        buf_append_char(out, (char)point);
        return;
    }
    static const unsigned char heads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t len = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    buf_append_char(out, (char)(heads[len] | point >> (6 * (len - 1))));
    for (size_t i = len - 1; i > 0; i--)
        buf_append_char(out, (char)(0x80 | (point >> (6 * (i - 1)) & 0x3F)));
}

static uint32_t small_letter(uint32_t point)
{
    static locale_t letters; /* one for the process */
    if (!letters)
        letters = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    return letters ? (uint32_t)towlower_l((wint_t)point, letters) : point;
}

void text_append_lower(struct buf *out, struct slice text)
{
    uint32_t point;
    size_t len;
    for (size_t at = 0; at < text.len; at += len) {
        len = unicode_take(text, at, &point);
        if (!len) { /* not UTF-8 after all: nothing that could be a letter */
            buf_append_char(out, text.ptr[at]);
            len = 1;
        } else if (point < 0x80) {
            buf_append_char(out, (char)(point >= 'A' && point <= 'Z' ? point + 32 : point));
        } else {
            append_point(out, small_letter(point));
        }
    }
}
