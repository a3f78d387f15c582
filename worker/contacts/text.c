/* Cleaning of foreign texts: one pass that repairs, one that masks. */
#include "text.h"

#include "signup/base/log.h"

#include <stdint.h>
#include <strings.h>

/* What is looked at of a long text: a page's heading comes early, and a hostile one costs no more than this.
 */
#define TEXT_READ_BYTES 8192

/* Length of the valid UTF-8 character at `text` (RFC 3629: no overlong forms, no surrogates, up to U+10FFFF),
 * or 0. */
static size_t utf8_length(const unsigned char *text, size_t len)
{
    unsigned char first = text[0];
    if (first < 0x80)
        return 1;
    if (first < 0xC2 || first > 0xF4)
        return 0;
    size_t need = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (len < need)
        return 0;
    uint32_t point = first & (0xFFU >> (need + 1));
    for (size_t i = 1; i < need; i++) {
        if ((text[i] & 0xC0) != 0x80)
            return 0;
        point = point << 6 | (text[i] & 0x3FU);
    }
    bool overlong = (need == 3 && point < 0x800) || (need == 4 && point < 0x10000);
    bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    return overlong || surrogate || point > 0x10FFFF ? 0 : need;
}

/* Cuts trailing digits and what may stand between them: half a phone number would escape the mask. */
static size_t number_cut(const char *text, size_t len)
{
    while (len && strchr("0123456789+-.() /", text[len - 1]))
        len--;
    return len;
}

void text_clean(struct slice text, char out[TEXT_CLEAN_BYTES])
{
    char plain[TEXT_CLEAN_BYTES];
    size_t n = 0;
    size_t i = 0;
    while (i < text.len) {
        const unsigned char *at = (const unsigned char *)text.ptr + i;
        size_t width = utf8_length(at, text.len - i);
        if (n + (width ? width : 1) >= sizeof plain)
            break;
        if (*at <= 0x20 || *at == 0x7F) {
            if (n && plain[n - 1] != ' ')
                plain[n++] = ' ';
        } else if (width) {
            memcpy(plain + n, at, width);
            n += width;
        } else {
            plain[n++] = '?';
        }
        i += width ? width : 1;
    }
    if (i < text.len)
        n = number_cut(plain, n);
    while (n && plain[n - 1] == ' ')
        n--;
    text_mask_phones((struct slice){plain, n}, out, TEXT_CLEAN_BYTES);
}

static bool page_is_at(struct slice page, size_t i, const char *word)
{
    size_t len = strlen(word);
    return page.len - i >= len && strncasecmp(page.ptr + i, word, len) == 0;
}

/* Where reading goes on after the tag at `i`; a style or script is skipped whole. */
static size_t tag_skip(struct slice page, size_t i)
{
    const char *until = page_is_at(page, i, "<style")    ? "</style"
                        : page_is_at(page, i, "<script") ? "</script"
                                                         : NULL;
    if (until)
        for (i++; i < page.len && !page_is_at(page, i, until);)
            i++;
    while (i < page.len && page.ptr[i] != '>')
        i++;
    return i < page.len ? i + 1 : i;
}

static bool looks_like_a_page(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == '<')
            return true;
        else if (!strchr(" \t\r\n\xEF\xBB\xBF", text.ptr[i]) || !text.ptr[i])
            return false;
    return false;
}

void text_clean_page(struct slice page, char out[TEXT_CLEAN_BYTES])
{
    char seen[TEXT_READ_BYTES];
    size_t n = 0;
    if (page.len > TEXT_READ_BYTES)
        page.len = TEXT_READ_BYTES;
    if (!looks_like_a_page(page)) {
        text_clean(page, out);
        return;
    }
    for (size_t i = 0; i < page.len;) {
        if (page.ptr[i] == '<') {
            i = tag_skip(page, i);
            seen[n++] = ' '; /* never more than what the tag took: n <= i */
        } else {
            seen[n++] = page.ptr[i++];
        }
    }
    text_clean((struct slice){seen, n}, out);
}
