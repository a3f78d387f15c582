/* What commands print for people: aligned tables, colour where a terminal shows it, a progress line. */
#ifndef SIGNUP_OPS_TERM_H
#define SIGNUP_OPS_TERM_H

#include "signup/base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Columns that `text` takes on a terminal: combining marks none, East Asian wide characters and emoji two, a
 * byte that is not UTF-8 one. */
size_t term_width(const char *text);

/* True when `out` is a terminal that is to show colours: NO_COLOR unset or empty (no-color.org), TERM not
 * "dumb". */
bool term_colour(FILE *out);

enum term_style { TERM_PLAIN, TERM_BOLD, TERM_DIM, TERM_GOOD, TERM_WARN, TERM_BAD };

/* Writes `text`, in colour where term_colour() says so. */
void term_write(FILE *out, enum term_style style, const char *text);

/* ---- tables */

#define TERM_COLUMNS_MAX 12

struct term_column {
    const char *heading; /* borrowed until fini */
    bool right;          /* figures stand at the right */
};

struct term_row;

struct term_table {
    const struct term_column *columns; /* borrowed until fini */
    size_t column_count;
    struct term_row *rows;
    size_t row_count;
    size_t row_size;
    bool failed; /* out of memory: rows are missing */
};

/* At most TERM_COLUMNS_MAX columns. Takes no memory. */
void term_table_init(struct term_table *table, const struct term_column *columns, size_t count);
void term_table_fini(struct term_table *table);

/* Copies `cells`, one a column; NULL is an empty cell. Line breaks and control characters are written as
 * blanks. `style` is that of the whole row. */
void term_table_add(struct term_table *table, enum term_style style, const char *const *cells);

/* False: rows are missing for lack of memory, the rest is written. */
bool term_table_write(const struct term_table *table, FILE *out);

/* ---- progress */

/* One line on a terminal that is drawn over itself; nothing anywhere else. */
struct term_progress {
    FILE *out;
    const char *label; /* borrowed */
    uint64_t total;    /* 0: not known */
    mono_us_t started;
    mono_us_t drawn;
    mono_us_t rate_at; /* the rate is that of the last seconds */
    uint64_t rate_done;
    double rate; /* a second */
    bool shown;  /* `out` is a terminal */
};

void term_progress_init(struct term_progress *progress, FILE *out, const char *label, uint64_t total,
                        mono_us_t now);
/* Call as often as you like: it draws ten times a second at most. */
void term_progress_update(struct term_progress *progress, uint64_t done, mono_us_t now);
/* Takes the line away. */
void term_progress_finish(struct term_progress *progress);

/* "12,345" of a number, for people. */
#define TERM_COUNT_BYTES 28
void term_count_text(uint64_t value, char out[TERM_COUNT_BYTES]);

/* "3.2 s", "4 min 05 s", "2 h 10 min". */
#define TERM_DURATION_BYTES 32
void term_duration_text(int64_t us, char out[TERM_DURATION_BYTES]);

#endif
