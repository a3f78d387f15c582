/* Secrets: read from their files, and left out of everything that is printed. */
#include "signup/ops/config.h"

#include "config_value.h"

#include "signup/base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <unistd.h>

#define SECRET_BYTES 8192

static int why_set(char why[CONFIG_WHY_BYTES], int code, const char *what, const char *path,
                   const char *remedy)
{
    (void)snprintf(why, CONFIG_WHY_BYTES, "%.120s: %s; %s", path, what, remedy);
    return code;
}

/* Gives the file's size, -1 with errno. */
static ssize_t read_all(const char *path, char *out, size_t size)
{
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -1;
    while (len < size) {
        ssize_t got = read(fd, out + len, size - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            int error = errno;
            (void)close(fd);
            errno = error;
            return -1;
        }
        if (got == 0)
            break;
        len += (size_t)got;
    }
    (void)close(fd);
    return (ssize_t)len;
}

static int secret_check(const char *path, bool blanks, struct slice text, char why[CONFIG_WHY_BYTES])
{
    if (!text.len)
        return why_set(why, EX_CONFIG, "the file is empty", path, "write the secret into it");
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 127 ||
            (!blanks && (unsigned char)text.ptr[i] == ' '))
            return why_set(why, EX_CONFIG, "the file holds more than one word", path,
                           "write the secret into it, alone");
    return 0;
}

int config_read_secret(const char *path, bool blanks, char **out, char why[CONFIG_WHY_BYTES])
{
    char bytes[SECRET_BYTES];
    int code;
    *out = NULL;
    why[0] = '\0';
    ssize_t len = read_all(path, bytes, sizeof bytes);
    if (len < 0)
        return why_set(why, EX_NOINPUT, strerror(errno), path,
                       "put the file there, or make it readable for this user");
    struct slice text = config_trim((struct slice){bytes, (size_t)len});
    if ((size_t)len == sizeof bytes)
        code = why_set(why, EX_CONFIG, "the file is too long for a secret", path,
                       "write the secret into it, alone");
    else
        code = secret_check(path, blanks, text, why);
    if (code == 0) {
        *out = config_text_copy(text);
        if (!*out)
            code = why_set(why, EX_OSERR, "out of memory", path, "give the process more of it");
    }
    explicit_bzero(bytes, sizeof bytes);
    return code;
}

/* ------------------------------------------------------------------ masks */

/* Skips a value of the keyword form: bare, or in single quotes with backslashes. */
static const char *after_value(const char *value)
{
    if (*value != '\'') {
        while (*value && !strchr(" \t\r\n", *value))
            value += value[0] == '\\' && value[1] ? 2 : 1;
        return value;
    }
    for (value++; *value && *value != '\''; value++)
        if (value[0] == '\\' && value[1])
            value++;
    return *value ? value + 1 : value;
}

/* sslpassword, passfile's neighbour password, …: every keyword of libpq that ends so. */
static bool names_password(const char *start, const char *end)
{
    static const char word[] = "password";
    size_t len = sizeof word - 1;
    return (size_t)(end - start) >= len && strncasecmp(end - len, word, len) == 0;
}

static void mask_keywords(const char *dsn, struct buf *out)
{
    while (*dsn) {
        const char *name_end = dsn + strcspn(dsn, "= \t\r\n");
        const char *value = name_end + strspn(name_end, " \t\r\n");
        if (*value != '=') {
            buf_append(out, dsn, (size_t)(value - dsn) + (value == dsn));
            dsn = value + (value == dsn);
            continue;
        }
        value++;
        value += strspn(value, " \t\r\n");
        const char *end = after_value(value);
        if (names_password(dsn, name_end)) {
            buf_append(out, dsn, (size_t)(value - dsn));
            buf_append_str(out, "***");
        } else {
            buf_append(out, dsn, (size_t)(end - dsn));
        }
        dsn = end;
    }
}

/* The ? that a query's name= follows; any other one belongs to a password. NULL: there is none. */
static const char *query_find(const char *text)
{
    while ((text = strchr(text, '?'))) {
        size_t name = strspn(text + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                       "0123456789_%");
        if (!text[1] || (name && text[1 + name] == '='))
            return text;
        text++;
    }
    return NULL;
}

static void mask_uri(const char *dsn, struct buf *out)
{
    const char *authority = strstr(dsn, "://") + 3;
    /* libpq takes all between the first colon and the first @ before any slash as the password, a ? in it too
     * (conninfo_uri_parse_options). A password with a bare / or @ in it is a mistake that must not be printed
     * either: the last @ before the query counts. */
    const char *first = authority + strcspn(authority, "@/");
    bool credentials = *first == '@' && memchr(authority, ':', (size_t)(first - authority));
    const char *query = query_find(credentials ? first : authority);
    const char *stop = query ? query : dsn + strlen(dsn);
    const char *at = memrchr(authority, '@', (size_t)(stop - authority));
    const char *colon = at ? memchr(authority, ':', (size_t)(at - authority)) : NULL;
    if (colon) {
        buf_append(out, dsn, (size_t)(colon + 1 - dsn));
        buf_append_str(out, "***");
        buf_append(out, at, (size_t)(stop - at));
    } else {
        buf_append(out, dsn, (size_t)(stop - dsn));
    }
    while (*stop) { /* ?name=value&name=value */
        const char *end = stop + 1 + strcspn(stop + 1, "&");
        const char *equals = memchr(stop, '=', (size_t)(end - stop));
        /* libpq decodes the name, too: one that is not written plainly may be any. */
        bool secret =
            equals && (names_password(stop + 1, equals) || memchr(stop, '%', (size_t)(equals - stop)));
        buf_append(out, stop, (size_t)((secret ? equals + 1 : end) - stop));
        if (secret)
            buf_append_str(out, "***");
        stop = end;
    }
}

char *config_mask_dsn(const char *dsn)
{
    struct buf out;
    buf_init(&out, 4 * strlen(dsn) + 64);
    if (strncmp(dsn, "postgresql://", 13) == 0 || strncmp(dsn, "postgres://", 11) == 0)
        mask_uri(dsn, &out);
    else
        mask_keywords(dsn, &out);
    char *text = buf_ok(&out) ? config_text_copy(buf_slice(&out)) : NULL;
    buf_fini(&out);
    return text;
}
