/* What every fuzz target has: libFuzzer's entry point and the checks of its findings. */
#ifndef SIGNUP_TESTS_FUZZ_FUZZ_H
#define SIGNUP_TESTS_FUZZ_FUZZ_H

#include "signup/base/slice.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
            abort(); \
        } \
    } while (0)

/* By another reader of UTF-8 than the rooms' own ones. */
static inline bool fuzz_is_utf8(struct slice text)
{
    json_t *value = json_stringn(text.ptr, text.len);
    json_decref(value);
    return value != NULL;
}

static inline bool fuzz_has_control(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 127)
            return true;
    return false;
}

/* Digits in a row, at most. */
static inline size_t fuzz_longest_number(struct slice text)
{
    size_t longest = 0;
    size_t now = 0;
    for (size_t i = 0; i < text.len; i++) {
        now = text.ptr[i] >= '0' && text.ptr[i] <= '9' ? now + 1 : 0;
        longest = now > longest ? now : longest;
    }
    return longest;
}

/* Cuts what stands before the next `mark` off the front of `rest`, the mark too; all where there is none. */
static inline struct slice fuzz_take_part(struct slice *rest, char mark)
{
    const char *at = rest->len ? memchr(rest->ptr, mark, rest->len) : NULL;
    struct slice part = {rest->ptr, at ? (size_t)(at - rest->ptr) : rest->len};
    size_t used = part.len + (at ? 1 : 0);
    rest->ptr += used;
    rest->len -= used;
    return part;
}

#endif
