/* Borrowed, length-counted bytes: how every text from outside travels. */
#ifndef SIGNUP_BASE_SLICE_H
#define SIGNUP_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* `ptr` is NULL for "absent" and non-NULL for "present", also when `len` is 0.
 * Not NUL-terminated unless the giver says so. Borrowed: never freed through it. */
struct slice {
    const char *ptr;
    size_t len;
};

#define SLICE_ABSENT ((struct slice){NULL, 0})
#define SLICE_LITERAL(text) ((struct slice){"" text, sizeof(text) - 1})

static inline struct slice slice_from_str(const char *text)
{
    return (struct slice){text, text ? strlen(text) : 0};
}

static inline bool slice_present(struct slice s)
{
    return s.ptr != NULL;
}

/* Absent equals absent only. */
static inline bool slice_equal(struct slice a, struct slice b)
{
    if (!a.ptr || !b.ptr)
        return a.ptr == b.ptr;
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

static inline bool slice_is(struct slice s, const char *text)
{
    return s.ptr && strlen(text) == s.len && memcmp(s.ptr, text, s.len) == 0;
}

/* Byte order, shorter first on a tie: the one order in which batches are sorted. */
static inline int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.ptr, b.ptr, common) : 0;
    if (order)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

#endif
