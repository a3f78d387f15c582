/* Dead letters as what is to be replayed, for when the ledger is gone. */
#ifndef SIGNUP_CLI_REPLAY_LETTERS_H
#define SIGNUP_CLI_REPLAY_LETTERS_H

#include "replay_options.h"
#include "replay_plan.h"

#include "signup/base/arena.h"
#include "signup/event/signup.h"
#include "signup/kafka/letters.h"
#include "signup/ledger/replay.h"
#include "signup/ops/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct letters;

/* NULL: out of memory, or no place for a temporary file; complained. Borrows both until destroy. */
struct letters *letters_create(const struct config *config, const struct replay_options *options);
void letters_destroy(struct letters *letters);

/* Reads the topic whole and keeps what is selected: facts in memory, originals in a temporary file that has
 * no name. Of letters of one event the last death counts. Gives 0 or the exit code, complained. */
int letters_read(struct letters *letters);

/* What was read. */
const struct kafka_letters_counts *letters_counts(const struct letters *letters);
/* Of these no letters of ours: left alone. */
uint64_t letters_unreadable(const struct letters *letters);

/* Asks the ledger what it knows of them and adds them to the plan in the order in which they are to go. */
enum ledger_verdict letters_plan(struct letters *letters, struct replay_ledger *ledger, struct plan *plan);

/* Whether the letter has the original: a pointer has not, only the ledger's row may have. */
bool letters_has_original(const struct letters *letters, size_t nth);
/* About what letters_load() takes. */
size_t letters_bytes(const struct letters *letters, size_t nth);

/* One letter whole, in the arena. False: out of memory, or the temporary file cannot be read (errno). */
bool letters_load(const struct letters *letters, size_t nth, struct arena *arena, struct replay_letter *out,
                  struct signup *signup);

#endif
