/* What commands print for people: aligned tables, colour where a terminal shows it, a progress line. */
#include "signup/ops/term.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ------------------------------------------------------------------ width */

struct range {
    uint32_t first;
    uint32_t last;
};

/* Marks that take no column, and characters that take two: the blocks that names and messages really hold
 * (Unicode 15, EastAsianWidth.txt and general category Mn). */
static const struct range zero_ranges[] = {
    {0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd},   {0x0610, 0x061a},  {0x064b, 0x065f},
    {0x200b, 0x200f}, {0x202a, 0x202e}, {0x2060, 0x2064},   {0x20d0, 0x20f0},  {0xfe00, 0xfe0f},
    {0xfe20, 0xfe2f}, {0xfeff, 0xfeff}, {0x1f3fb, 0x1f3ff}, {0xe0100, 0xe01ef}};
static const struct range wide_ranges[] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},   {0x23e9, 0x23ec},  {0x2614, 0x2615}, {0x2648, 0x2653},
    {0x26a1, 0x26a1},   {0x2705, 0x2705},   {0x274c, 0x274c},  {0x2753, 0x2757}, {0x2e80, 0x303e},
    {0x3041, 0x33ff},   {0x3400, 0x4dbf},   {0x4e00, 0x9fff},  {0xa000, 0xa4cf}, {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},  {0xffe0, 0xffe6}, {0x1f300, 0x1f64f},
    {0x1f680, 0x1f6ff}, {0x1f900, 0x1faff}, {0x20000, 0x3fffd}};
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool in_ranges(uint32_t code, const struct range *ranges, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (code >= ranges[i].first && code <= ranges[i].last)
            return true;
    return false;
}

/* One character at `text`, which moves past it; a stray byte stands for itself. */
static uint32_t take_character(const char **text)
{
    const unsigned char *c = (const unsigned char *)*text;
    size_t more = c[0] >= 0xf0 && c[0] < 0xf8 ? 3 : c[0] >= 0xe0 ? 2 : c[0] >= 0xc0 ? 1 : 0;
    uint32_t code = more == 3 ? c[0] & 0x07U : more == 2 ? c[0] & 0x0fU : more == 1 ? c[0] & 0x1fU : c[0];
    if (c[0] >= 0xf8)
        more = 0;
    for (size_t i = 1; i <= more; i++) {
        if ((c[i] & 0xc0) != 0x80) {
            *text += 1;
            return c[0];
        }
        code = code << 6 | (c[i] & 0x3fU);
    }
    *text += more + 1;
    return code;
}

size_t term_width(const char *text)
{
    size_t width = 0;
    while (*text) {
        uint32_t code = take_character(&text);
        if (!in_ranges(code, zero_ranges, COUNT(zero_ranges)))
            width += in_ranges(code, wide_ranges, COUNT(wide_ranges)) ? 2 : 1;
    }
    return width;
}

/* ------------------------------------------------------------------ colour */

bool term_colour(FILE *out)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    int fd = fileno(out);
    return !(no_color && no_color[0]) && term && strcmp(term, "dumb") != 0 && fd >= 0 && isatty(fd);
}

static const char *style_code(enum term_style style)
{
    switch (style) {
    case TERM_BOLD: return "\033[1m";
    case TERM_DIM: return "\033[2m";
    case TERM_GOOD: return "\033[32m";
    case TERM_WARN: return "\033[33m";
    case TERM_BAD: return "\033[31m";
    case TERM_PLAIN: break;
    }
    return "";
}

static void write_styled(FILE *out, bool colour, enum term_style style, const char *text)
{
    const char *code = colour ? style_code(style) : "";
    (void)fprintf(out, "%s%s%s", code, text, code[0] ? "\033[0m" : "");
}

void term_write(FILE *out, enum term_style style, const char *text)
{
    write_styled(out, term_colour(out), style, text);
}

/* ------------------------------------------------------------------ tables */

struct term_row {
    enum term_style style;
    char *cells[TERM_COLUMNS_MAX];
};

void term_table_init(struct term_table *table, const struct term_column *columns, size_t count)
{
    assert(count > 0 && count <= TERM_COLUMNS_MAX);
    *table = (struct term_table){.columns = columns, .column_count = count};
}

void term_table_fini(struct term_table *table)
{
    for (size_t row = 0; row < table->row_count; row++)
        for (size_t i = 0; i < table->column_count; i++)
            free(table->rows[row].cells[i]);
    free(table->rows);
    *table = (struct term_table){0};
}

static bool row_room(struct term_table *table)
{
    if (table->row_count < table->row_size)
        return true;
    size_t size = table->row_size ? 2 * table->row_size : 16;
    struct term_row *rows = reallocarray(table->rows, size, sizeof *rows);
    if (!rows)
        return false;
    table->rows = rows;
    table->row_size = size;
    return true;
}

static char *cell_copy(const char *text)
{
    char *copy = strdup(text ? text : "");
    for (char *c = copy; c && *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = ' ';
    return copy;
}

void term_table_add(struct term_table *table, enum term_style style, const char *const *cells)
{
    if (!row_room(table)) {
        table->failed = true;
        return;
    }
    struct term_row *row = &table->rows[table->row_count++];
    *row = (struct term_row){.style = style};
    for (size_t i = 0; i < table->column_count; i++) {
        row->cells[i] = cell_copy(cells[i]);
        table->failed = table->failed || !row->cells[i];
    }
}

static void write_blanks(FILE *out, size_t count)
{
    (void)fprintf(out, "%*s", (int)count, "");
}

static void write_cell(FILE *out, bool colour, enum term_style style, const char *text, size_t width,
                       bool right, bool last)
{
    size_t own = term_width(text);
    size_t blanks = width > own ? width - own : 0;
    if (right)
        write_blanks(out, blanks);
    write_styled(out, colour, style, text);
    if (!right && !last)
        write_blanks(out, blanks);
    (void)fputs(last ? "\n" : "  ", out);
}

bool term_table_write(const struct term_table *table, FILE *out)
{
    size_t widths[TERM_COLUMNS_MAX];
    bool colour = term_colour(out);
    size_t count = table->column_count;
    for (size_t i = 0; i < count; i++) {
        widths[i] = term_width(table->columns[i].heading);
        for (size_t row = 0; row < table->row_count; row++) {
            size_t width = table->rows[row].cells[i] ? term_width(table->rows[row].cells[i]) : 0;
            widths[i] = width > widths[i] ? width : widths[i];
        }
    }
    for (size_t i = 0; i < count; i++)
        write_cell(out, colour, TERM_BOLD, table->columns[i].heading, widths[i], table->columns[i].right,
                   i + 1 == count);
    for (size_t row = 0; row < table->row_count; row++)
        for (size_t i = 0; i < count; i++) {
            const char *text = table->rows[row].cells[i];
            write_cell(out, colour, table->rows[row].style, text ? text : "", widths[i],
                       table->columns[i].right, i + 1 == count);
        }
    return !table->failed;
}

/* ------------------------------------------------------------------ figures */

void term_count_text(uint64_t value, char out[TERM_COUNT_BYTES])
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, value);
    char *to = out;
    for (int i = 0; i < len; i++) {
        if (i && (len - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
}

void term_duration_text(int64_t us, char out[TERM_DURATION_BYTES])
{
    int64_t seconds = us > 0 ? us / US_PER_S : 0;
    if (seconds < 60)
        (void)snprintf(out, TERM_DURATION_BYTES, "%" PRId64 ".%d s", seconds,
                       us > 0 ? (int)(us % US_PER_S / 100000) : 0);
    else if (seconds < 3600)
        (void)snprintf(out, TERM_DURATION_BYTES, "%d min %02d s", (int)(seconds / 60), (int)(seconds % 60));
    else
        (void)snprintf(out, TERM_DURATION_BYTES, "%" PRId64 " h %02d min", seconds / 3600,
                       (int)(seconds % 3600 / 60));
}

/* ------------------------------------------------------------------ progress */

#define DRAW_EVERY_US (100 * US_PER_MS)
#define RATE_EVERY_US US_PER_S
#define BAR_CELLS 24

void term_progress_init(struct term_progress *progress, FILE *out, const char *label, uint64_t total,
                        mono_us_t now)
{
    int fd = fileno(out);
    *progress = (struct term_progress){
        .out = out,
        .label = label,
        .total = total,
        .started = now,
        .drawn = {INT64_MIN},
        .rate_at = now,
        .shown = fd >= 0 && isatty(fd),
    };
}

/* The rate of the last second, smoothed; until then that since the start. */
static void rate_update(struct term_progress *progress, uint64_t done, mono_us_t now)
{
    int64_t passed = now.us - progress->rate_at.us;
    bool first = progress->rate_at.us == progress->started.us;
    if (passed <= 0 || (!first && passed < RATE_EVERY_US) || done < progress->rate_done)
        return;
    double rate = (double)(done - progress->rate_done) * (double)US_PER_S / (double)passed;
    progress->rate = first ? rate : 0.7 * progress->rate + 0.3 * rate;
    if (passed >= RATE_EVERY_US) {
        progress->rate_at = now;
        progress->rate_done = done;
    }
}

static size_t terminal_columns(FILE *out)
{
    struct winsize size = {0};
    if (ioctl(fileno(out), TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

/* "label  [########--------]  50%" without the total: "label". */
static int bar_text(const struct term_progress *progress, uint64_t done, char *out, size_t size)
{
    char bar[BAR_CELLS + 1];
    if (!progress->total)
        return snprintf(out, size, "%s", progress->label);
    uint64_t shown = done < progress->total ? done : progress->total;
    double part = (double)shown / (double)progress->total;
    size_t full = (size_t)(part * BAR_CELLS);
    memset(bar, '#', full);
    memset(bar + full, '-', BAR_CELLS - full);
    bar[BAR_CELLS] = '\0';
    return snprintf(out, size, "%s [%s] %3d%%", progress->label, bar, (int)(part * 100));
}

void term_progress_update(struct term_progress *progress, uint64_t done, mono_us_t now)
{
    char line[256];
    char count[TERM_COUNT_BYTES];
    char rate[TERM_COUNT_BYTES];
    char left[TERM_DURATION_BYTES] = "";
    rate_update(progress, done, now);
    if (!progress->shown || (progress->drawn.us != INT64_MIN && now.us - progress->drawn.us < DRAW_EVERY_US))
        return;
    progress->drawn = now;
    term_count_text(done, count);
    term_count_text((uint64_t)progress->rate, rate);
    int used = bar_text(progress, done, line, sizeof line);
    size_t len = used < 0 ? 0 : (size_t)used < sizeof line ? (size_t)used : sizeof line - 1;
    bool eta = progress->total > done && progress->rate > 0;
    if (eta)
        term_duration_text((int64_t)((double)(progress->total - done) / progress->rate * (double)US_PER_S),
                           left);
    (void)snprintf(line + len, sizeof line - len, "  %s  %s/s%s%s%s", count, rate, eta ? "  " : "", left,
                   eta ? " left" : "");
    size_t columns = terminal_columns(progress->out);
    if (columns - 1 < strlen(line))
        line[columns - 1] = '\0'; /* a wrapped line could not be drawn over */
    (void)fprintf(progress->out, "\r\033[K%s", line);
    (void)fflush(progress->out);
}

void term_progress_finish(struct term_progress *progress)
{
    if (progress->shown && progress->drawn.us != INT64_MIN) {
        (void)fputs("\r\033[K", progress->out);
        (void)fflush(progress->out);
    }
    progress->shown = false;
}
