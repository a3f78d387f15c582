/* Texts and amounts of the configuration, both ways: copies, quotes, durations, sizes, whole numbers, money.
 */
#include "config_value.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

bool config_fail(struct config_wrong *wrong, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(wrong->text, sizeof wrong->text, format, args);
    va_end(args);
    return false;
}

bool config_fail_memory(struct config_wrong *wrong)
{
    wrong->out_of_memory = true;
    return config_fail(wrong, "does not fit into memory; give the process more of it");
}

void config_quote(struct slice text, char out[CONFIG_QUOTED_BYTES])
{
    size_t len = 0;
    out[len++] = '"';
    size_t i = 0;
    for (; i < text.len && len < 60; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < ' ' || c == 127)
            len += (size_t)snprintf(out + len, 5, "\\x%02x", c);
        else
            out[len++] = (char)c;
    }
    while (i < text.len && len > 1 && ((unsigned char)text.ptr[i] & 0xc0) == 0x80) {
        i--; /* not within a character */
        len--;
    }
    (void)snprintf(out + len, CONFIG_QUOTED_BYTES - len, "%s\"", i < text.len ? "…" : "");
}

struct slice config_trim(struct slice text)
{
    while (text.len && isspace((unsigned char)text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len && isspace((unsigned char)text.ptr[text.len - 1]))
        text.len--;
    return text;
}

char *config_text_copy(struct slice text)
{
    char *copy = malloc(text.len + 1);
    if (copy) {
        memcpy(copy, text.ptr, text.len);
        copy[text.len] = '\0';
    }
    return copy;
}

void config_text_wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

bool config_text_replace(char **field, struct slice text, struct config_wrong *wrong)
{
    char *copy = config_text_copy(text);
    if (!copy)
        return config_fail_memory(wrong);
    config_text_wipe(*field);
    *field = copy;
    return true;
}

/* ------------------------------------------------------------------ amounts */

struct unit {
    const char *name;
    int64_t worth;
};

static const struct unit duration_units[] = {
    {"d", 24 * CONFIG_H}, {"h", CONFIG_H}, {"m", 60 * CONFIG_S}, {"s", CONFIG_S}, {"ms", CONFIG_MS},
};
static const struct unit bytes_units[] = {
    {"TiB", 1024 * CONFIG_GIB},
    {"GiB", CONFIG_GIB},
    {"MiB", CONFIG_MIB},
    {"KiB", CONFIG_KIB},
    {"TB", INT64_C(1000000000000)},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"kB", 1000},
    {"KB", 1000},
    {"B", 1},
};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* The digits at the front of `text`, which moves past them. False: none, or too many. */
bool config_take_number(struct slice *text, int64_t *out)
{
    int64_t value = 0;
    size_t used = 0;
    for (; used < text->len && text->ptr[used] >= '0' && text->ptr[used] <= '9'; used++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, text->ptr[used] - '0', &value))
            return false;
    text->ptr += used;
    text->len -= used;
    *out = value;
    return used > 0;
}

/* The unit at the front of `text`, which moves past it; NULL: none of them. */
static const struct unit *take_unit(struct slice *text, const struct unit *units, size_t count)
{
    size_t len = 0;
    while (len < text->len && isalpha((unsigned char)text->ptr[len]))
        len++;
    for (size_t i = 0; i < count; i++)
        if (strlen(units[i].name) == len && memcmp(text->ptr, units[i].name, len) == 0) {
            text->ptr += len;
            text->len -= len;
            return &units[i];
        }
    return NULL;
}

/* 200ms, 10s, 1h30m: each unit smaller than the one before. */
static bool duration_read(struct slice text, int64_t *out)
{
    int64_t total = 0;
    const struct unit *before = NULL;
    if (slice_is(text, "0")) {
        *out = 0;
        return true;
    }
    do {
        int64_t number;
        int64_t part;
        if (!config_take_number(&text, &number))
            return false;
        const struct unit *unit = take_unit(&text, duration_units, COUNT(duration_units));
        if (!unit || (before && unit->worth >= before->worth))
            return false;
        if (__builtin_mul_overflow(number, unit->worth, &part) || __builtin_add_overflow(total, part, &total))
            return false;
        before = unit;
    } while (text.len);
    *out = total;
    return true;
}

static bool bytes_read(struct slice text, int64_t *out)
{
    int64_t number;
    if (!config_take_number(&text, &number))
        return false;
    text = config_trim(text);
    if (!text.len) {
        *out = number;
        return true;
    }
    const struct unit *unit = take_unit(&text, bytes_units, COUNT(bytes_units));
    return unit && !text.len && !__builtin_mul_overflow(number, unit->worth, out);
}

/* 25, 12.50, 0.003: a plain decimal number, exact to the millionth. Empty: no sum. */
static bool money_read(struct slice text, int64_t *out)
{
    int64_t whole;
    int64_t fraction = 0;
    if (!text.len) {
        *out = CONFIG_MONEY_NONE;
        return true;
    }
    if (!config_take_number(&text, &whole))
        return false;
    if (text.len) {
        if (text.ptr[0] != '.' || text.len < 2 || text.len > 7)
            return false;
        text.ptr++;
        text.len--;
        size_t digits = text.len;
        if (!config_take_number(&text, &fraction) || text.len)
            return false;
        for (; digits < 6; digits++)
            fraction *= 10;
    }
    return !__builtin_mul_overflow(whole, CONFIG_USD, &whole) &&
           !__builtin_add_overflow(whole, fraction, out);
}

void config_money_text(int64_t millionths, char out[CONFIG_MONEY_BYTES])
{
    out[0] = '\0';
    if (millionths < 0)
        return;
    (void)snprintf(out, CONFIG_MONEY_BYTES, "%" PRId64 ".%06" PRId64, millionths / CONFIG_USD,
                   millionths % CONFIG_USD);
    for (char *end = out + strlen(out) - 1; *end == '0' || *end == '.'; end--) {
        bool point = *end == '.';
        *end = '\0';
        if (point)
            break;
    }
}

static void amount_text(int64_t value, const struct unit *units, size_t count, char out[CONFIG_AMOUNT_BYTES])
{
    for (size_t i = 0; i < count; i++)
        if (value && value % units[i].worth == 0) {
            (void)snprintf(out, CONFIG_AMOUNT_BYTES, "%" PRId64 "%s", value / units[i].worth, units[i].name);
            return;
        }
    (void)snprintf(out, CONFIG_AMOUNT_BYTES, "%" PRId64, value);
}

void config_duration_text(int64_t us, char out[CONFIG_AMOUNT_BYTES])
{
    amount_text(us, duration_units, COUNT(duration_units), out);
}

void config_bytes_text(int64_t bytes, char out[CONFIG_AMOUNT_BYTES])
{
    amount_text(bytes, bytes_units, 4, out); /* the binary ones; else the plain number */
}

void config_amount_text(enum config_kind kind, int64_t value, char out[CONFIG_AMOUNT_BYTES])
{
    if (kind == CONFIG_KIND_DURATION)
        config_duration_text(value, out);
    else if (kind == CONFIG_KIND_BYTES)
        config_bytes_text(value, out);
    else if (kind == CONFIG_KIND_MONEY)
        config_money_text(value, out);
    else
        (void)snprintf(out, CONFIG_AMOUNT_BYTES, "%" PRId64, value);
}

bool config_amount_set(const struct config_key *key, struct slice text, int64_t *field,
                       struct config_wrong *wrong)
{
    char quoted[CONFIG_QUOTED_BYTES];
    char min[CONFIG_AMOUNT_BYTES];
    char max[CONFIG_AMOUNT_BYTES];
    int64_t value = 0;
    config_quote(text, quoted);
    if (key->kind == CONFIG_KIND_DURATION && !duration_read(text, &value))
        return config_fail(wrong,
                           "%s is not a duration; write a whole number and a unit of ms, s, m, h, d, like %s",
                           quoted, key->fallback);
    if (key->kind == CONFIG_KIND_BYTES && !bytes_read(text, &value))
        return config_fail(wrong,
                           "%s is not a size; write a whole number and a unit of KiB, MiB, GiB, like %s",
                           quoted, key->fallback);
    if (key->kind == CONFIG_KIND_INTEGER) {
        struct slice rest = text;
        bool negative = rest.len > 1 && rest.ptr[0] == '-';
        rest.ptr += negative;
        rest.len -= negative;
        if (!config_take_number(&rest, &value) || rest.len)
            return config_fail(wrong, "%s is not a whole number; write one like %s", quoted, key->fallback);
        value = negative ? -value : value;
    }
    if (key->kind == CONFIG_KIND_MONEY && !money_read(text, &value))
        return config_fail(wrong,
                           "%s is no sum of money; write US dollars like 25 or 12.50, with up to six "
                           "decimals, or \"\" for no limit",
                           quoted);
    config_amount_text(key->kind, key->min, min);
    config_amount_text(key->kind, key->max, max);
    bool none = key->kind == CONFIG_KIND_MONEY && value == CONFIG_MONEY_NONE && (key->flags & CONFIG_EMPTY);
    if (!none && (value < key->min || value > key->max))
        return config_fail(wrong, "%s is too %s; write %s to %s", quoted,
                           value < key->min ? "small" : "large", min, max);
    *field = value;
    return true;
}
