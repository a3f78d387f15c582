/* Originals kept aside in a temporary file that has no name, so that nobody else can open it and nothing is
 * left of it. */
#ifndef SIGNUP_CLI_REPLAY_SPOOL_H
#define SIGNUP_CLI_REPLAY_SPOOL_H

#include "signup/base/arena.h"
#include "signup/event/record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct spool {
    int fd; /* negative: none */
    off_t end;
};

/* Where one original is. */
struct spooled {
    off_t at;
    size_t bytes;
    size_t header_count;
};

/* In TMPDIR, or /tmp. False: complained. spool_fini() in any case. */
bool spool_init(struct spool *spool);
void spool_fini(struct spool *spool);

/* Puts key, value, headers and the message at the end. False: errno says why. */
bool spool_put(struct spool *spool, const struct record *original, struct slice message, struct spooled *out)
    __attribute__((warn_unused_result));

/* Fills key, value and headers of `original`, and the message, from the arena. False: errno says why. */
bool spool_get(const struct spool *spool, const struct spooled *from, struct arena *arena,
               struct record *original, struct slice *message);

#endif
