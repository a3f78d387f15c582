/* Log lines: one write(2) each to standard error, logfmt or JSON. Never blocks the loop for longer than that write, never fails the caller. */
#include "signup/base/log.h"

#include "signup/base/buf.h"
#include "signup/base/clock.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define LINE_BYTES_MAX 8192
#define VALUE_BYTES_MAX 512

static enum log_level minimum = LOG_INFO;
static enum log_format style = LOG_LOGFMT;
static uint64_t dropped;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_configure(enum log_level level, enum log_format format)
{
    minimum = level;
    style = format;
}

bool log_enabled(enum log_level level)
{
    return level >= minimum;
}

uint64_t log_dropped(void)
{
    return dropped;
}

static struct slice value_cut(struct slice value)
{
    if (value.len <= VALUE_BYTES_MAX)
        return value;
    value.len = VALUE_BYTES_MAX;
    while (value.len && ((unsigned char)value.ptr[value.len] & 0xC0) == 0x80)
        value.len--;
    return value;
}

static bool needs_quotes(struct slice value)
{
    if (!value.len)
        return true;
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c <= 0x20 || c == '"' || c == '=' || c == '\\' || c == 0x7F)
            return true;
    }
    return false;
}

static void text_put(struct buf *line, struct slice value)
{
    value = value_cut(value.ptr ? value : SLICE_LITERAL(""));
    if (style == LOG_JSON || needs_quotes(value))
        buf_append_json_string(line, value);
    else
        buf_append_slice(line, value);
}

static void key_put(struct buf *line, const char *key)
{
    if (style == LOG_JSON) {
        buf_append_char(line, line->len > 1 ? ',' : ' ');
        buf_append_json_string(line, slice_from_str(key));
        buf_append_char(line, ':');
        return;
    }
    if (line->len)
        buf_append_char(line, ' ');
    buf_append_str(line, key);
    buf_append_char(line, '=');
}

static void field_put(struct buf *line, const struct log_field *field)
{
    char masked[PHONE_MASK_BYTES];
    key_put(line, field->key);
    switch (field->kind) {
    case LOG_KIND_STR:
        text_put(line, slice_from_str(field->value.str));
        break;
    case LOG_KIND_SLICE:
        text_put(line, field->value.slice);
        break;
    case LOG_KIND_PHONE:
        phone_mask(field->value.slice, masked);
        text_put(line, slice_from_str(masked));
        break;
    case LOG_KIND_INT:
        buf_append_int(line, field->value.integer);
        break;
    case LOG_KIND_BOOL:
        buf_append_str(line, field->value.integer ? "true" : "false");
        break;
    }
}

/* A line that the descriptor does not take at once is dropped and counted: a full disk or a stopped reader must not stop signups. */
static void line_write(const char *data, size_t len)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&fd, 1, 0) == 1 && (fd.revents & POLLOUT)) {
        ssize_t n = write(STDERR_FILENO, data, len);
        if (n == (ssize_t)len)
            return;
    }
    dropped++;
}

void log_write(enum log_level level, const char *room, const char *message, const struct log_field *fields,
               size_t count)
{
    if (!log_enabled(level))
        return;
    char at[WALL_TEXT_MS_BYTES];
    wall_format_utc_ms(clock_wall_now(), at);
    static struct buf line; /* one thread writes; kept so that a line costs no allocation */
    line.cap_bytes = LINE_BYTES_MAX;
    buf_reset(&line);
    if (style == LOG_JSON)
        buf_append_char(&line, '{');
    const struct log_field head[] = {LOG_STR("time", at), LOG_STR("level", level_names[level]), LOG_STR("room", room),
                                     LOG_STR("msg", message)};
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
        field_put(&line, &head[i]);
    for (size_t i = 0; i < count; i++)
        field_put(&line, &fields[i]);
    buf_append_str(&line, style == LOG_JSON ? "}\n" : "\n");
    if (buf_ok(&line))
        line_write(line.data, line.len);
    else
        dropped++;
}

void phone_mask(struct slice phone, char *text)
{
    size_t n = 0;
    size_t len = phone.ptr ? phone.len : 0;
    if (len > PHONE_MASK_BYTES - 1)
        len = PHONE_MASK_BYTES - 1;
    for (size_t i = 0; i < len; i++) {
        bool head = i < 2 && len > 5;
        bool tail = i + 2 >= len && len > 5;
        text[n++] = (char)(head || tail ? phone.ptr[i] : '*');
    }
    text[n] = '\0';
}

/* Length of the run at `from` that reads like a phone number (seven or more digits, single separators between), or 0. */
static size_t phone_run(const char *text, size_t len)
{
    size_t digits = 0;
    size_t end = 0;
    size_t gap = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] >= '0' && text[i] <= '9') {
            digits++;
            gap = 0;
            end = i + 1;
        } else if (strchr("+-.() /", text[i]) && text[i] && gap < 2) {
            gap++;
        } else {
            break;
        }
    }
    return digits >= 7 ? end : 0;
}

void text_mask_phones(struct slice text, char *out, size_t size)
{
    size_t n = 0;
    size_t i = 0;
    while (i < text.len && n + 1 < size) {
        bool starts = (text.ptr[i] >= '0' && text.ptr[i] <= '9') || text.ptr[i] == '+' || text.ptr[i] == '(';
        size_t run = starts ? phone_run(text.ptr + i, text.len - i) : 0;
        if (!run) {
            out[n++] = text.ptr[i++];
            continue;
        }
        for (size_t k = 0; k < run && n + 1 < size; k++)
            out[n++] = (char)(text.ptr[i + k] >= '0' && text.ptr[i + k] <= '9' && k + 2 < run ? '*' : text.ptr[i + k]);
        i += run;
    }
    if (i < text.len) { /* cut: the last character may be half a one */
        while (n && ((unsigned char)out[n - 1] & 0xC0) == 0x80)
            n--;
        if (n && (unsigned char)out[n - 1] >= 0xC0)
            n--;
    }
    out[n] = '\0';
}
