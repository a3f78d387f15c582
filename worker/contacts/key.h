/* The API key: from a value or a file, re-read when the file changes, kept out of logs and core dumps. */
#ifndef SIGNUP_CONTACTS_KEY_H
#define SIGNUP_CONTACTS_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define KEY_HEADER_NAME "X-Api-Key: "
#define KEY_BYTES_MAX 512
#define KEY_ERROR_BYTES 256

/* One key as the header line that carries it, in a memory page of its own that core dumps leave out and that
 * is wiped before it is given back. Counted, because a request on its way still reads the line of the key
 * before. */
struct key_secret {
    char *line; /* "X-Api-Key: …", NUL-terminated */
    size_t page_bytes;
    unsigned refs;
};

struct key_secret *key_secret_hold(struct key_secret *secret);
void key_secret_drop(struct key_secret *secret);

enum key_result {
    KEY_OK,
    KEY_UNCHANGED, /* of key_refresh(): the key is the one it was */
    KEY_NO_FILE,   /* missing or not readable */
    KEY_BAD,       /* empty, too long, or not a key at all */
    KEY_NO_MEMORY
};

struct key_store {
    char *path;                /* NULL: the key came as a value and never changes */
    struct key_secret *secret; /* the current one */
    /* What the file looked like when it was read last. */
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
    bool refused; /* the present file was read and is no key: said once */
};

/* Exactly one of `value` and `path` is used: the value, if it is not empty. Whitespace and newlines around
 * the key are dropped (they are a documented cause of 401, contacts-api.md). `error` holds KEY_ERROR_BYTES
 * and never a part of the key. */
enum key_result key_init(struct key_store *store, const char *value, const char *path, char *error);
void key_fini(struct key_store *store);

/* Reads the file again if its device, inode, size or time of modification changed, or in any case when
 * `forced`. KEY_OK: there is a new key. On any failure the old key stays in use. Reads at most a few hundred
 * bytes of a local file. */
enum key_result key_refresh(struct key_store *store, bool forced, char *error);

/* True when it has the documented form, `trk_` and 32 alphanumerics. A key of another form is tried all the
 * same: the API judges. */
bool key_has_usual_form(const struct key_secret *secret);

#endif
