/* What the tests of this room share: a load of text with its complaints, a scratch file, a snapshot with
 * something in everything. */
#ifndef SIGNUP_TESTS_OPS_SUPPORT_H
#define SIGNUP_TESTS_OPS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Everything that is in the file; free() it. Inlined, gcc 12 takes the text for a pointer to this function's own variable. */
__attribute__((noinline, unused)) static char *file_text(const char *path)
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    char *text = NULL;
    size_t size = 0;
    ssize_t len = getdelim(&text, &size, '\0', file);
    assert_true(len >= 0 || feof(file));
    assert_int_equal(fclose(file), 0);
    return text;
}

/* Makes a file with this text; `path` holds at least 64 bytes. unlink() it. */
static inline void file_make(char *path, const char *text)
{
    (void)snprintf(path, 64, "/tmp/signup-ops-XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

#endif
