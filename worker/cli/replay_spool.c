/* Texts one after the other in a file, each behind its length. */
#include "replay_spool.h"

#include "signup/base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ORIGINAL_BYTES_MAX ((size_t)256 << 20)

bool spool_init(struct spool *spool)
{
    const char *folder = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/signup-replay-XXXXXX", folder && folder[0] ? folder : "/tmp");
    *spool = (struct spool){.fd = mkostemp(path, O_CLOEXEC)}; /* for its owner only */
    if (spool->fd >= 0)
        unlink(path);
    else
        fprintf(stderr, "signup-worker replay: %s: %s (TMPDIR names another folder)\n", path,
                strerror(errno));
    return spool->fd >= 0;
}

void spool_fini(struct spool *spool)
{
    if (spool->fd >= 0)
        close(spool->fd);
    spool->fd = -1;
}

static bool write_at(int fd, const char *bytes, size_t len, off_t at)
{
    while (len) {
        ssize_t wrote = pwrite(fd, bytes, len, at);
        if (wrote < 0 && errno != EINTR)
            return false;
        size_t done = wrote > 0 ? (size_t)wrote : 0;
        bytes += done;
        at += (off_t)done;
        len -= done;
    }
    return true;
}

static bool read_at(int fd, char *bytes, size_t len, off_t at)
{
    while (len) {
        ssize_t got = pread(fd, bytes, len, at);
        if (got == 0)
            errno = EIO;
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        size_t done = got > 0 ? (size_t)got : 0;
        bytes += done;
        at += (off_t)done;
        len -= done;
    }
    return true;
}

/* -1 stands for the length of an absent text. */
static void pack(struct buf *out, struct slice text)
{
    int64_t len = slice_present(text) ? (int64_t)text.len : -1;
    buf_append(out, &len, sizeof len);
    if (len > 0)
        buf_append_slice(out, text);
}

static bool unpack(const char **at, const char *end, struct slice *out)
{
    int64_t len;
    if ((size_t)(end - *at) < sizeof len)
        return false;
    memcpy(&len, *at, sizeof len);
    *at += sizeof len;
    if (len > end - *at)
        return false;
    *out = len < 0 ? SLICE_ABSENT : (struct slice){*at, (size_t)len};
    *at += len < 0 ? 0 : len;
    return true;
}

bool spool_put(struct spool *spool, const struct record *original, struct slice message, struct spooled *out)
{
    struct buf bytes;
    buf_init(&bytes, ORIGINAL_BYTES_MAX);
    pack(&bytes, message);
    pack(&bytes, original->key);
    pack(&bytes, original->value);
    for (size_t i = 0; i < original->header_count; i++) {
        pack(&bytes, original->headers[i].name);
        pack(&bytes, original->headers[i].value);
    }
    *out = (struct spooled){.at = spool->end, .bytes = bytes.len, .header_count = original->header_count};
    errno = ENOMEM;
    bool well = buf_ok(&bytes) && write_at(spool->fd, bytes.data, bytes.len, spool->end);
    spool->end += (off_t)bytes.len;
    buf_fini(&bytes);
    return well;
}

bool spool_get(const struct spool *spool, const struct spooled *from, struct arena *arena,
               struct record *original, struct slice *message)
{
    struct record_header *headers = arena_alloc(arena, (from->header_count + 1) * sizeof *headers);
    char *bytes = arena_alloc(arena, from->bytes + 1);
    errno = ENOMEM;
    if (!headers || !bytes || !read_at(spool->fd, bytes, from->bytes, from->at))
        return false;
    const char *at = bytes;
    const char *end = bytes + from->bytes;
    bool well =
        unpack(&at, end, message) && unpack(&at, end, &original->key) && unpack(&at, end, &original->value);
    for (size_t i = 0; well && i < from->header_count; i++)
        well = unpack(&at, end, &headers[i].name) && unpack(&at, end, &headers[i].value);
    original->headers = headers;
    original->header_count = from->header_count;
    errno = EIO;
    return well;
}
