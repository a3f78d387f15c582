/* Structured log lines on standard error: logfmt or JSON, one line an event, phones masked by type. */
#ifndef SIGNUP_BASE_LOG_H
#define SIGNUP_BASE_LOG_H

#include "signup/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };

enum log_kind { LOG_KIND_STR, LOG_KIND_SLICE, LOG_KIND_INT, LOG_KIND_PHONE, LOG_KIND_BOOL };

struct log_field {
    const char *key;
    enum log_kind kind;
    union {
        const char *str;
        struct slice slice;
        int64_t integer;
    } value;
};

#define LOG_STR(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_STR, .value.str = (v)})
#define LOG_SLICE(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_SLICE, .value.slice = (v)})
#define LOG_NUM(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_INT, .value.integer = (int64_t)(v)})
#define LOG_FLAG(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_BOOL, .value.integer = (v) ? 1 : 0})
/* Prints "+1*******67": country digit and the last two. */
#define LOG_PHONE(k, v) ((struct log_field){.key = (k), .kind = LOG_KIND_PHONE, .value.slice = (v)})

/* Until called: info, logfmt. */
void log_configure(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);

/* `room` says who speaks ("kafka", "ledger", …), `message` is a whole sentence without a full stop. Values are cut at 512 bytes;
 * control characters are escaped. A line that cannot be written is counted, never waited for (see log_dropped()). */
void log_write(enum log_level level, const char *room, const char *message, const struct log_field *fields,
               size_t count);
#define LOG_AT(level, room, message, ...)                                                                              \
    do {                                                                                                               \
        if (log_enabled(level)) {                                                                                      \
            const struct log_field log_fields_[] = {__VA_ARGS__};                                                      \
            log_write(level, room, message, log_fields_, sizeof log_fields_ / sizeof log_fields_[0]);                  \
        }                                                                                                              \
    } while (0)
#define LOG_AT_PLAIN(level, room, message) log_write(level, room, message, NULL, 0)

/* Lines lost because standard error was full or closed. */
uint64_t log_dropped(void);

/* Writes the masked form of `phone` into `text` (at least PHONE_MASK_BYTES, NUL-terminated). */
#define PHONE_MASK_BYTES 24
void phone_mask(struct slice phone, char *text);

/* Anything that may hold a phone number somebody typed (a server's message, an error of a library): every run of seven or more
 * digits, also with the usual separators between them, is masked in the copy. Gives at most `size` - 1 bytes and a NUL. */
void text_mask_phones(struct slice text, char *out, size_t size);

#endif
