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

#define MASK "***"
#define WORD "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
/* What stands in a connection string without quotes, escapes or doubt. */
#define PLAIN_VALUE WORD "._~,:/@+%-"
#define PLAIN_AUTHORITY WORD "._~,:%[]-"

/* sslpassword, passfile's neighbour password, …: every keyword of libpq that ends so. */
static bool names_password(const char *start, size_t len)
{
    static const char word[] = "password";
    size_t ending = sizeof word - 1;
    return len >= ending && strncasecmp(start + len - ending, word, ending) == 0;
}

/* name=value from `text`, its value masked where the name asks for it. `stop` ends a value, besides the text's end. Gives what follows;
 * NULL: not that plain. */
static const char *mask_pair(const char *text, const char *stop, struct buf *out)
{
    size_t name = strspn(text, WORD "_");
    if (!name || text[name] != '=')
        return NULL;
    const char *value = text + name + 1;
    bool secret = names_password(text, name);
    size_t len = secret ? strcspn(value, stop) : strspn(value, PLAIN_VALUE);
    if (secret && memchr(value, '\'', len))
        return NULL;
    if (secret && memchr(value, '\\', len))
        return NULL;
    if (value[len] && !strchr(stop, value[len]))
        return NULL;
    buf_append(out, text, name + 1);
    if (secret)
        buf_append_str(out, MASK);
    else
        buf_append(out, value, len);
    return value + len;
}

static bool mask_keywords(const char *dsn, struct buf *out)
{
    while (*dsn) {
        size_t blanks = strspn(dsn, " ");
        buf_append(out, dsn, blanks);
        dsn += blanks;
        if (*dsn && !(dsn = mask_pair(dsn, " ", out)))
            return false;
    }
    return true;
}

/* scheme://user:password@hosts/database?name=value&name=value */
static bool mask_uri(const char *dsn, struct buf *out)
{
    const char *rest = strstr(dsn, "://") + 3;
    buf_append(out, dsn, (size_t)(rest - dsn));
    size_t user = strspn(rest, WORD "._~%-");
    if (rest[user] == ':' || rest[user] == '@') {
        const char *at = rest + user + strcspn(rest + user, "@/?#");
        if (*at == '@') { /* everything up to it is the user's; a second one would leave the mask in doubt */
            buf_append(out, rest, user);
            if (rest[user] == ':')
                buf_append_str(out, ":" MASK);
            rest = at;
            buf_append_char(out, *rest++);
        }
    }
    size_t place = strspn(rest, PLAIN_AUTHORITY "/");
    buf_append(out, rest, place);
    rest += place;
    while (*rest) {
        if (*rest != '?' && *rest != '&')
            return false;
        buf_append_char(out, *rest++);
        if (!(rest = mask_pair(rest, "&", out)))
            return false;
    }
    return true;
}

/* What is not written as plainly as libpq's documentation does is masked whole: a reader who guesses otherwise than libpq would show a
 * password. */
char *config_mask_dsn(const char *dsn)
{
    struct buf out;
    buf_init(&out, 4 * strlen(dsn) + 64);
    bool uri = strncmp(dsn, "postgresql://", 13) == 0 || strncmp(dsn, "postgres://", 11) == 0;
    if (!(uri ? mask_uri(dsn, &out) : mask_keywords(dsn, &out))) {
        buf_reset(&out);
        buf_append_str(&out, MASK);
    }
    char *text = buf_ok(&out) ? config_text_copy(buf_slice(&out)) : NULL;
    buf_fini(&out);
    return text;
}
