/* Texts from phone fields. What is cut here is what libphonenumber would stumble over, or would make digits
 * of by accident: it turns three letters and more into the digits of their keys ("555-1234 cel" would be a
 * number of ten digits), and in countries whose numbers vary in length a date is as good a number as any. */
#include "phone_text.h"

#include "unicode.h"

#include <string.h>
#include <strings.h>

/* Before anything is cut; what is invisible may be long. */
#define RAW_BYTES_MAX 1024
#define EXTENSION_DIGITS_MAX 9
#define NUMBER_DIGITS_MIN 7 /* that many are a number of their own */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool put(struct phone_text *out, const char *bytes, size_t len)
{
    if (len > PHONE_TEXT_BYTES - out->len)
        return false;
    memcpy(out->text + out->len, bytes, len);
    out->len += len;
    out->text[out->len] = '\0';
    return true;
}

static bool put_char(struct phone_text *out, char c)
{
    return put(out, &c, 1);
}

static void cut(struct phone_text *out, size_t len)
{
    out->len = len;
    out->text[len] = '\0';
}

/* The ASCII character that a character stands for; 0: none, '\n': a line's end. */
static char folded(uint32_t point)
{
    int digit = unicode_digit(point);
    if (digit >= 0)
        return (char)('0' + digit);
    if (point == '\n' || point == '\r' || point == 0x85 || point == 0x2028 || point == 0x2029)
        return '\n';
    if (unicode_blank(point))
        return ' ';
    if (unicode_dash(point))
        return '-';
    if (point > ' ' && point < 0x7F)
        return (char)point;
    if (point == 0xFE62)
        return '+';
    return (char)(point >= 0xFF01 && point <= 0xFF5E ? point - 0xFF01 + '!' : 0);
}

static bool fold(struct slice text, struct phone_text *out)
{
    size_t len;
    for (size_t at = 0; at < text.len; at += len) {
        uint32_t point;
        len = unicode_take(text, at, &point);
        if (!len || !point)
            return false;
        if (unicode_invisible(point))
            continue;
        char c = folded(point);
        if (c ? !put_char(out, c) : !put(out, text.ptr + at, len))
            return false;
    }
    return true;
}

/* A number that was escaped for a URL and never unescaped: "%2B1%20415…". Any other escape stays and is no
 * number. */
static void unescape(struct phone_text *out)
{
    static const struct {
        char escape[4];
        char c;
    } escapes[] = {{"%2B", '+'}, {"%20", ' '}, {"%28", '('}, {"%29", ')'}, {"%2D", '-'}};
    size_t to = 0;
    for (size_t from = 0; from < out->len; from++) {
        char c = out->text[from];
        for (size_t i = 0; c == '%' && i < sizeof escapes / sizeof escapes[0]; i++) {
            if (strncasecmp(out->text + from, escapes[i].escape, 3) == 0) {
                c = escapes[i].c;
                from += 2;
            }
        }
        out->text[to++] = c;
    }
    cut(out, to);
}

/* ";ext=77;isub=1;phone-context=+44" (RFC 3966 section 3): the context says whose number it is and is left to
 * the library, the others are cut. */
static void cut_parameters(struct phone_text *out)
{
    static const char context[] = ";phone-context=";
    char *first = strchr(out->text, ';');
    struct phone_text kept = {.len = 0};
    bool known = false;
    if (strncasecmp(out->text, "tel:", 4) == 0)
        memcpy(out->text, "tel:", 4); /* the library knows it in small letters */
    for (char *at = first; at;) {
        char *end = strchr(at + 1, ';');
        size_t len = end ? (size_t)(end - at) : strlen(at);
        if (strncasecmp(at, context, sizeof context - 1) == 0) {
            known = put(&kept, context, sizeof context - 1) &&
                    put(&kept, at + sizeof context - 1, len - (sizeof context - 1));
        } else if (strncasecmp(at, ";ext=", 5) == 0) {
            known = true;
            out->extension = out->extension || len > 5;
        } else if (strncasecmp(at, ";isub=", 6) == 0) {
            known = true;
        } else {
            return; /* no parameters, but something between two parts of a text */
        }
        at = end;
    }
    if (!known)
        return;
    cut(out, (size_t)(first - out->text));
    if (kept.len && !put(out, kept.text, kept.len))
        cut(out, 0);
}

static void cut_blanks(struct phone_text *out)
{
    size_t end = out->len;
    while (end && (out->text[end - 1] == ' ' || out->text[end - 1] == '\n'))
        end--;
    cut(out, end);
}

/* A digit, and no letter behind the first one. */
static bool only_a_number(const char *text, size_t len)
{
    bool digits = false;
    for (size_t i = 0; i < len; i++) {
        if (digits && (is_letter(text[i]) || (unsigned char)text[i] >= 0x80))
            return false;
        digits = digits || is_digit(text[i]);
    }
    return digits;
}

static bool in_words(const char *word, size_t len, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(words[i]) == len && strncasecmp(word, words[i], len) == 0)
            return true;
    }
    return false;
}

/* "(cell)" or " mobile" behind the number: what kind it is. A bare word is only cut where nothing else is
 * there but a number: the words of "1 800 NEW HOME" are digits. */
static bool cut_label(struct phone_text *out)
{
    static const char *const words[] = {"cell",   "cel",      "cellular", "celular",  "cellulare", "mobile",
                                        "mobil",  "mob",      "movil",    "mobiel",   "handy",     "home",
                                        "work",   "office",   "main",     "tel",      "phone",     "fax",
                                        "privat", "business", "primary",  "whatsapp", "text",      "sms"};
    static const char *const letters[] = {"m", "c", "h", "w", "o"};
    bool bracket = out->len && out->text[out->len - 1] == ')';
    size_t end = out->len - (bracket ? 1 : 0);
    if (!bracket && end && out->text[end - 1] == '.')
        end--;
    size_t start = end;
    while (start && is_letter(out->text[start - 1]))
        start--;
    size_t len = end - start;
    if (!start || !len)
        return false;
    bool known = in_words(out->text + start, len, words, sizeof words / sizeof words[0]) ||
                 (bracket && in_words(out->text + start, len, letters, sizeof letters / sizeof letters[0]));
    char before = out->text[start - 1];
    if (!known || (bracket ? before != '(' : before != ' ' || !only_a_number(out->text, start - 1)))
        return false;
    cut(out, start - 1);
    return true;
}

/* The length of the word for "extension" that ends at `end`, or 0. Those that the library knows are among
 * them: who cuts it can tell that there was one. */
static size_t extension_word(const char *text, size_t end)
{
    static const char *const words[] = {"extension", "extensión",   "ext",     "extn",  "xtn",   "x",
                                        "int",       "interno",     "anexo",   "ramal", "poste", "durchwahl",
                                        "dw",        "nebenstelle", "toestel", "wewn",  "доб",   "Доб",
                                        "ДОБ",       "доп",         "Доп",     "вн",    "Вн",    "内線",
                                        "内线",      "分机",        "分機",    "转",    "轉"};
    size_t longest = 0;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t len = strlen(words[i]);
        if (len > longest && len < end && strncasecmp(text + end - len, words[i], len) == 0 &&
            !is_letter(text[end - len - 1]))
            longest = len;
    }
    return longest;
}

/* "x123", "ext. 123", "доб. 123", also without the digits ("ext." of a form whose second field is empty). */
static bool cut_extension(struct phone_text *out)
{
    size_t end = out->len;
    if (end && out->text[end - 1] == '#')
        end--;
    size_t digits = end;
    while (digits && is_digit(out->text[digits - 1]))
        digits--;
    size_t word_end = digits;
    while (word_end && strchr(" .:", out->text[word_end - 1]))
        word_end--;
    size_t word = extension_word(out->text, word_end);
    if (!word || end - digits > EXTENSION_DIGITS_MAX)
        return false;
    size_t start = word_end - word;
    while (start && strchr(" ,;-(", out->text[start - 1]))
        start--;
    bool number = false;
    for (size_t i = 0; i < start; i++)
        number = number || is_digit(out->text[i]);
    if (!number)
        return false;
    out->extension = out->extension || end > digits;
    cut(out, start);
    return true;
}

/* "4155551234.0": a spreadsheet's or a data frame's number. Read as a digit, the zero would be somebody
 * else's number. */
static void cut_decimals(struct phone_text *out)
{
    size_t end = out->len;
    while (end && out->text[end - 1] == '0')
        end--;
    if (!end || end == out->len || out->text[end - 1] != '.')
        return;
    size_t digits = 0;
    for (size_t i = out->text[0] == '+' ? 1 : 0; i < end - 1; i++) {
        if (!is_digit(out->text[i]))
            return;
        digits++;
    }
    if (digits >= NUMBER_DIGITS_MIN)
        cut(out, end - 1);
}

static void cut_tail(struct phone_text *out)
{
    do {
        cut_blanks(out);
    } while (cut_label(out) || cut_extension(out));
    while (out->len && strchr("#* ", out->text[out->len - 1]))
        cut(out, out->len - 1);
    cut_decimals(out);
}

/* Three numbers between two separators of one kind, at the start of `text`; the number of their bytes, or 0.
 */
static size_t three_parts(const char *text, int value[3], size_t digits[3], char *separator)
{
    size_t at = 0;
    for (int part = 0; part < 3; part++) {
        if (part == 1)
            *separator = text[at];
        if (part && (!text[at] || text[at] != *separator || !strchr("-./", text[at])))
            return 0;
        at += part ? 1 : 0;
        digits[part] = 0;
        value[part] = 0;
        for (; is_digit(text[at]); at++) {
            if (++digits[part] > 4)
                return 0;
            value[part] = value[part] * 10 + (text[at] - '0');
        }
        if (!digits[part])
            return 0;
    }
    return at;
}

static bool is_day_and_month(int day, int month)
{
    return day >= 1 && day <= 31 && month >= 1 && month <= 12;
}

static bool is_year(int year, size_t digits)
{
    return digits == 4 && year >= 1900 && year <= 2099;
}

/* 2025-03-15, 03/15/2025, 15.3.25; behind it nothing or a time. */
static bool is_date(const char *text)
{
    int value[3];
    size_t digits[3];
    char separator = 0;
    size_t len = three_parts(text, value, digits, &separator);
    if (!len || (text[len] && !strchr(" T,", text[len])))
        return false;
    if (is_year(value[0], digits[0]))
        return digits[1] <= 2 && digits[2] <= 2 && is_day_and_month(value[2], value[1]);
    if (digits[0] > 2 || digits[1] > 2)
        return false;
    /* Two digits with hyphens between them are somebody's number of six digits. */
    bool year = is_year(value[2], digits[2]) || (digits[2] == 2 && separator != '-');
    return year && (is_day_and_month(value[0], value[1]) || is_day_and_month(value[1], value[0]));
}

/* 123-45-6789; a zero in front is that of a national number. */
static bool is_social_security_number(const char *text)
{
    int value[3];
    size_t digits[3];
    char separator = 0;
    size_t len = three_parts(text, value, digits, &separator);
    return len && !text[len] && text[0] != '0' && separator == '-' && digits[0] == 3 && digits[1] == 2 &&
           digits[2] == 4;
}

/* Two parts that are numbers of their own: on both sides of a separator, or each in one run of digits. */
static bool is_two_numbers(const char *text)
{
    size_t numbers = 0;
    size_t runs = 0;
    size_t digits = 0;
    size_t run = 0;
    for (const char *at = text;; at++) {
        if (is_digit(*at)) {
            digits++;
            run++;
            continue;
        }
        runs += run >= NUMBER_DIGITS_MIN;
        run = 0;
        if (!*at || strchr("/,;|&\n", *at)) {
            numbers += digits >= NUMBER_DIGITS_MIN;
            digits = 0;
        }
        if (!*at)
            return numbers > 1 || runs > 1;
    }
}

/* Judges from the first digit on. */
static bool is_garbage(const char *text)
{
    const char *first = text;
    while (*first && !is_digit(*first))
        first++;
    bool plus = first > text && first[-1] == '+';
    return (!plus && (is_date(first) || is_social_security_number(first))) || is_two_numbers(first);
}

bool phone_text_clean(struct slice text, struct phone_text *out)
{
    *out = (struct phone_text){.len = 0};
    text = unicode_trim(text);
    if (!text.len || text.len > RAW_BYTES_MAX || !fold(text, out))
        return false;
    if (memchr(out->text, '%', out->len))
        unescape(out);
    cut_parameters(out);
    char *context = strchr(out->text, ';');
    if (!context)
        cut_tail(out);
    else if (strncmp(context, ";phone-context=", 15) != 0)
        context = NULL;
    /* The context is no number beside the number. */
    if (context)
        *context = '\0';
    bool garbage = is_garbage(out->text);
    out->letters = !only_a_number(out->text, strlen(out->text));
    if (context)
        *context = ';';
    return out->len && !garbage;
}

/* Where the number begins: a digit or the plus before it. */
static const char *number_start(const char *text)
{
    return text + strcspn(text, "+0123456789");
}

bool phone_text_from_abroad(const struct phone_text *text, struct phone_text *out)
{
    const char *at = number_start(text->text);
    bool plus = *at == '+';
    const char *digits = at + (plus ? 1 : 0);
    size_t prefix = strncmp(digits, "00", 2) == 0 ? 2 : strncmp(digits, "011", 3) == 0 ? 3 : 0;
    const char *zero = strstr(digits + prefix, "(0)");
    *out = (struct phone_text){.letters = text->letters, .extension = text->extension};
    if ((!plus && !prefix) || (!prefix && !zero))
        return false;
    const char *rest = digits + prefix;
    put_char(out, '+'); /* shorter than what it replaces: there is room */
    if (zero) {
        put(out, rest, (size_t)(zero - rest));
        rest = zero + 3;
    }
    return put(out, rest, strlen(rest));
}
