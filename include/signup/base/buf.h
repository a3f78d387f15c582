/* A growing buffer with a mandatory cap. It latches its first failure: append freely, ask once at the end. */
#ifndef SIGNUP_BASE_BUF_H
#define SIGNUP_BASE_BUF_H

#include "signup/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data;
    size_t len;
    size_t size;
    size_t cap_bytes;
    bool failed;  /* the cap or the machine's memory was reached: contents are not to be used */
    bool starved; /* it was the machine's memory, once since buf_init() */
};

void buf_init(struct buf *buf, size_t cap_bytes);
void buf_fini(struct buf *buf);

/* Empties it and clears the latch; keeps the memory. */
void buf_reset(struct buf *buf);

void buf_append(struct buf *buf, const void *bytes, size_t len);
void buf_append_str(struct buf *buf, const char *text);
void buf_append_slice(struct buf *buf, struct slice text);
void buf_append_char(struct buf *buf, char c);
void buf_append_int(struct buf *buf, int64_t value);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends `text` as a JSON string with its quotes: only `"`, `\` and control characters are escaped, the rest stays raw
 * UTF-8 (which the caller has checked). */
void buf_append_json_string(struct buf *buf, struct slice text);

/* Appends the shortest decimal that reads back as the same double; `value` is finite. */
void buf_append_json_real(struct buf *buf, double value);

/* Must be asked before the contents are used. */
bool buf_ok(const struct buf *buf) __attribute__((warn_unused_result));

static inline struct slice buf_slice(const struct buf *buf)
{
    return (struct slice){buf->data ? buf->data : "", buf->len};
}

#endif
