/* Key store. The key lives in one page per generation; nothing here ever prints it. */
#include "key.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX 4096

/* A page that core dumps leave out. NULL: no memory. */
static char *page_create(size_t bytes)
{
    char *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, bytes, MADV_DONTDUMP) != 0) {
        munmap(page, bytes);
        return NULL;
    }
    return page;
}

static void page_destroy(char *page, size_t bytes)
{
    explicit_bzero(page, bytes);
    munmap(page, bytes);
}

static struct key_secret *secret_create(const char *key, size_t len)
{
    size_t prefix = strlen(KEY_HEADER_NAME);
    struct key_secret *secret = malloc(sizeof *secret);
    if (!secret)
        return NULL;
    secret->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    secret->refs = 1;
    assert(prefix + len + 1 <= secret->page_bytes);
    secret->line = page_create(secret->page_bytes);
    if (!secret->line) {
        free(secret);
        return NULL;
    }
    memcpy(secret->line, KEY_HEADER_NAME, prefix);
    memcpy(secret->line + prefix, key, len);
    secret->line[prefix + len] = '\0';
    return secret;
}

struct key_secret *key_secret_hold(struct key_secret *secret)
{
    assert(secret->refs > 0);
    secret->refs++;
    return secret;
}

void key_secret_drop(struct key_secret *secret)
{
    assert(secret->refs > 0);
    if (--secret->refs)
        return;
    page_destroy(secret->line, secret->page_bytes);
    free(secret);
}

bool key_has_usual_form(const struct key_secret *secret)
{
    const char *key = secret->line + strlen(KEY_HEADER_NAME);
    if (strncmp(key, "trk_", 4) != 0 || strlen(key) != 36)
        return false;
    for (const char *c = key + 4; *c; c++)
        if (!isalnum((unsigned char)*c))
            return false;
    return true;
}

/* Drops what surrounds the key; then nothing but visible ASCII may be left: anything else would break or
 * forge a header. */
static enum key_result key_judge(const char **key, size_t *len, const char *from, char *error)
{
    while (*len && isspace((unsigned char)**key)) {
        (*key)++;
        (*len)--;
    }
    while (*len && isspace((unsigned char)(*key)[*len - 1]))
        (*len)--;
    const char *fault = NULL;
    if (!*len)
        fault = "is empty";
    else if (*len > KEY_BYTES_MAX)
        fault = "is too long to be an API key";
    for (size_t i = 0; i < *len && !fault; i++)
        if ((*key)[i] <= 0x20 || (*key)[i] >= 0x7F)
            fault = "holds characters that no API key has (blanks, line breaks or non-ASCII inside it)";
    if (!fault)
        return KEY_OK;
    snprintf(error, KEY_ERROR_BYTES, "%s %s", from, fault);
    return KEY_BAD;
}

/* Makes `text` the current key unless it is the same. */
static enum key_result key_adopt(struct key_store *store, const char *text, size_t len, const char *from,
                                 char *error)
{
    enum key_result judged = key_judge(&text, &len, from, error);
    if (judged != KEY_OK)
        return judged;
    if (store->secret) {
        const char *old = store->secret->line + strlen(KEY_HEADER_NAME);
        if (strlen(old) == len && memcmp(old, text, len) == 0)
            return KEY_UNCHANGED;
    }
    struct key_secret *secret = secret_create(text, len);
    if (!secret) {
        snprintf(error, KEY_ERROR_BYTES, "no memory for the API key");
        return KEY_NO_MEMORY;
    }
    if (store->secret)
        key_secret_drop(store->secret);
    store->secret = secret;
    return KEY_OK;
}

static bool file_is_unchanged(const struct key_store *store, const struct stat *now)
{
    return store->device == now->st_dev && store->inode == now->st_ino && store->size == now->st_size &&
           store->modified.tv_sec == now->st_mtim.tv_sec && store->modified.tv_nsec == now->st_mtim.tv_nsec;
}

static void file_remember(struct key_store *store, const struct stat *now)
{
    store->device = now->st_dev;
    store->inode = now->st_ino;
    store->size = now->st_size;
    store->modified = now->st_mtim;
}

/* Up to `size` bytes of the file; -1 with errno. */
static ssize_t file_read(int fd, char *text, size_t size)
{
    size_t len = 0;
    while (len < size) {
        ssize_t n = read(fd, text + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

static enum key_result key_read_open(struct key_store *store, int fd, char *error)
{
    struct stat seen;
    char *text = page_create(FILE_BYTES_MAX);
    if (!text) {
        snprintf(error, KEY_ERROR_BYTES, "no memory for the API key");
        return KEY_NO_MEMORY;
    }
    enum key_result result = KEY_NO_FILE;
    ssize_t len = -1;
    if (fstat(fd, &seen) == 0) {
        if (S_ISREG(seen.st_mode))
            len = file_read(fd, text, FILE_BYTES_MAX);
        else
            errno = S_ISDIR(seen.st_mode) ? EISDIR : EINVAL;
    }
    if (len >= 0) {
        char from[KEY_ERROR_BYTES];
        snprintf(from, sizeof from, "the API key in %.150s", store->path);
        file_remember(store, &seen);
        result = key_adopt(store, text, (size_t)len, from, error);
    } else {
        snprintf(error, KEY_ERROR_BYTES, "the API key file %.150s cannot be read: %s", store->path,
                 strerror(errno));
    }
    page_destroy(text, FILE_BYTES_MAX);
    return result;
}

static enum key_result key_read_file(struct key_store *store, char *error)
{
    /* O_NONBLOCK: a FIFO in the file's place must not stop the loop. */
    int fd = open(store->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        snprintf(error, KEY_ERROR_BYTES, "the API key file %.150s cannot be read: %s", store->path,
                 strerror(errno));
        return KEY_NO_FILE;
    }
    enum key_result result = key_read_open(store, fd, error);
    close(fd);
    return result;
}

enum key_result key_init(struct key_store *store, const char *value, const char *path, char *error)
{
    *store = (struct key_store){0};
    if (value && *value)
        return key_adopt(store, value, strlen(value), "the API key", error);
    if (!path || !*path) {
        snprintf(error, KEY_ERROR_BYTES,
                 "no API key: set contacts_api.key_file, or SIGNUP_CONTACTS_API_KEY in the environment");
        return KEY_BAD;
    }
    store->path = strdup(path);
    if (!store->path) {
        snprintf(error, KEY_ERROR_BYTES, "no memory for the API key");
        return KEY_NO_MEMORY;
    }
    enum key_result result = key_read_file(store, error);
    if (result != KEY_OK)
        key_fini(store);
    return result;
}

void key_fini(struct key_store *store)
{
    if (store->secret)
        key_secret_drop(store->secret);
    free(store->path);
    *store = (struct key_store){0};
}

enum key_result key_refresh(struct key_store *store, bool forced, char *error)
{
    if (!store->path)
        return KEY_UNCHANGED;
    struct stat now;
    bool there = stat(store->path, &now) == 0;
    if (there && !forced && file_is_unchanged(store, &now))
        return KEY_UNCHANGED;
    if (!there && !forced && store->refused)
        return KEY_UNCHANGED;
    enum key_result result = key_read_file(store, error);
    bool failed = result != KEY_OK && result != KEY_UNCHANGED;
    bool known = failed && store->refused;
    store->refused = failed;
    return known ? KEY_UNCHANGED : result;
}
