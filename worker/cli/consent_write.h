/* The evidence of consent as it is handed out: a table for people, JSON, or CSV. */
#ifndef SIGNUP_CLI_CONSENT_WRITE_H
#define SIGNUP_CLI_CONSENT_WRITE_H

#include "signup/base/buf.h"
#include "signup/base/clock.h"
#include "signup/ledger/people.h"
#include "signup/ops/term.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum consent_format { CONSENT_TABLE, CONSENT_JSON, CONSENT_CSV };

/* What is said of all events together, and mostly of what is not there. */
struct consent_tally {
    uint64_t events;
    uint64_t open;            /* not final yet */
    uint64_t without_consent; /* without a consent object */
    uint64_t without_ip;
    uint64_t without_url;
    uint64_t before_provenance; /* older than the columns attribution and schema_id */
};

struct consent_writer {
    enum consent_format format;
    FILE *out;
    bool cuts;                           /* long texts, so that a row fits a terminal */
    const struct consent_filter *filter; /* borrowed */
    struct consent_tally tally;
    struct term_table table; /* of at most some hundred rows */
    struct buf line;
    bool failed; /* out of memory, or `out` takes nothing more */
};

void consent_begin(struct consent_writer *writer, enum consent_format format,
                   const struct consent_filter *filter, FILE *out);
/* False: no use in going on. */
bool consent_add(struct consent_writer *writer, const struct consent_row *row);
/* The rest, with `notes` (count of them) in JSON. */
void consent_finish(struct consent_writer *writer, const char *const *notes, size_t count);
void consent_fini(struct consent_writer *writer);

/* One cell of RFC 4180, with its quotes where they are needed. A text that a spreadsheet would take for a
 * formula gets an apostrophe before it; a phone in E.164 is none. `text` ends with a NUL that does not count.
 */
void csv_append(struct buf *line, struct slice text);

#endif
