/* A growing byte buffer: how the simulator writes bodies, heads, book lines and output. */
#ifndef SIGNUP_CONTACTS_SIM_BUF_H
#define SIGNUP_CONTACTS_SIM_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `{0}` is an empty buffer. Out of memory ends the process: a test instrument that goes on with
 * half a line would be believed. */
struct buf {
    char *data;
    size_t len;
    size_t cap;
};

void buf_append(struct buf *buf, const void *bytes, size_t len);
void buf_append_str(struct buf *buf, const char *text);
void buf_append_u64(struct buf *buf, uint64_t value);
void buf_append_i64(struct buf *buf, int64_t value);
void buf_append_bool(struct buf *buf, bool value);
void buf_append_fill(struct buf *buf, char byte, size_t len);
void buf_append_format(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends `text` as a JSON string with its quotes. Bytes that are not UTF-8 become \u00XX. */
void buf_append_json(struct buf *buf, const char *text, size_t len);

/* Keeps the memory. */
void buf_clear(struct buf *buf);
void buf_swap(struct buf *a, struct buf *b);
void buf_fini(struct buf *buf);

/* The bytes as a C string; valid until the buffer changes. */
const char *buf_text(struct buf *buf);

/* malloc/strdup that end the process when memory runs out; the caller frees with free(). */
void *buf_alloc_zeroed(size_t bytes);
char *buf_copy_text(const char *text);

#endif
