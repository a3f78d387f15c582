/* The evidence of consent as it is handed out. Written event by event: none is kept, but for the rows of a
 * table that is being aligned. */
#include "consent_write.h"

#include <ctype.h>
#include <string.h>

#define TABLE_ROWS 400                    /* aligned together */
#define LINE_BYTES_MAX ((size_t)64 << 20) /* one event's */
#define PAGE_WIDTH 40
#define TEXT_WIDTH 48

/* ------------------------------------------------------------------ cells */

/* "2025-03-15T14:30:00.123Z"; absent where there is no time. */
static struct slice time_slice(bool present, wall_us_t time, char text[WALL_TEXT_MS_BYTES])
{
    wall_format_utc_ms(time, text);
    return present ? slice_from_str(text) : SLICE_ABSENT;
}

/* "accepted", "dead: not_sendable". */
static void outcome_text(const struct consent_row *row, char *text, size_t size)
{
    bool said = slice_present(row->code) && row->code.len;
    snprintf(text, size, "%.*s%s%.*s", (int)row->state.len, row->state.ptr, said ? ": " : "",
             said ? (int)row->code.len : 0, said ? row->code.ptr : "");
}

/* At most `width` bytes, cut between characters. */
static const char *cut(const struct consent_writer *writer, struct slice text, size_t width, char *out,
                       size_t size)
{
    if (!slice_present(text))
        return "";
    if (!writer->cuts || text.len <= width)
        return text.ptr;
    size_t len = width - 1;
    while (len && ((unsigned char)text.ptr[len] & 0xC0) == 0x80)
        len--;
    snprintf(out, size, "%.*s…", (int)len, text.ptr);
    return out;
}

static const char *text_or_empty(struct slice text)
{
    return slice_present(text) ? text.ptr : "";
}

/* ------------------------------------------------------------------ table */

static const struct term_column columns[] = {
    {"received", false},     {"signed up", false},  {"list", false},
    {"outcome", false},      {"ip address", false}, {"page", false},
    {"consent text", false}, {"contact", false},    {"event", false}};

static void table_flush(struct consent_writer *writer)
{
    if (!writer->table.row_count)
        return;
    if (!term_table_write(&writer->table, writer->out))
        writer->failed = true;
    term_table_fini(&writer->table);
    term_table_init(&writer->table, columns, sizeof columns / sizeof columns[0]);
}

static void table_add(struct consent_writer *writer, const struct consent_row *row)
{
    char received[WALL_TEXT_BYTES];
    char signed_up[WALL_TEXT_BYTES] = "";
    char outcome[128];
    char page[PAGE_WIDTH + 8];
    char text[TEXT_WIDTH + 8];
    wall_format_utc(row->received_at, received);
    if (row->has_signup_date)
        wall_format_utc(row->signup_date, signed_up);
    outcome_text(row, outcome, sizeof outcome);
    const char *cells[] = {received,
                           signed_up,
                           text_or_empty(row->list_number),
                           outcome,
                           text_or_empty(row->ip_address),
                           cut(writer, row->url, PAGE_WIDTH, page, sizeof page),
                           cut(writer, row->consent_text, TEXT_WIDTH, text, sizeof text),
                           text_or_empty(row->contact_id),
                           row->event_id.ptr};
    enum term_style style = slice_is(row->state, "accepted") ? TERM_GOOD
                            : slice_is(row->state, "dead")   ? TERM_BAD
                                                             : TERM_WARN;
    term_table_add(&writer->table, style, cells);
    if (writer->table.row_count == TABLE_ROWS)
        table_flush(writer);
}

/* ------------------------------------------------------------------ JSON */

/* Behind a comma, unless it is the object's first. */
static void json_name(struct buf *line, const char *name)
{
    buf_append_str(line, line->len && line->data[line->len - 1] != '{' ? ",\"" : "\"");
    buf_append_str(line, name);
    buf_append_str(line, "\":");
}

static void json_text(struct buf *line, const char *name, struct slice text)
{
    json_name(line, name);
    if (slice_present(text))
        buf_append_json_string(line, text);
    else
        buf_append_str(line, "null");
}

/* What is JSON already. */
static void json_raw(struct buf *line, const char *name, struct slice json)
{
    json_name(line, name);
    buf_append_slice(line, slice_present(json) ? json : SLICE_LITERAL("null"));
}

static void json_time(struct buf *line, const char *name, bool present, wall_us_t time)
{
    char text[WALL_TEXT_MS_BYTES];
    json_text(line, name, time_slice(present, time, text));
}

static void json_number(struct buf *line, const char *name, bool present, int64_t number)
{
    json_name(line, name);
    if (present)
        buf_append_int(line, number);
    else
        buf_append_str(line, "null");
}

static void json_append_row(struct buf *line, const struct consent_row *row)
{
    buf_append_char(line, '{');
    json_text(line, "event_id", row->event_id);
    json_time(line, "received_at", true, row->received_at);
    json_time(line, "signup_date", row->has_signup_date, row->signup_date);
    json_time(line, "finished_at", row->finished, row->finished_at);
    json_text(line, "list_number", row->list_number);
    json_text(line, "url", row->url);
    json_text(line, "ip_address", row->ip_address);
    json_text(line, "consent_text", row->consent_text);
    json_raw(line, "consent", row->consent);
    json_text(line, "state", row->state);
    json_text(line, "code", row->code);
    json_text(line, "error", row->error);
    json_number(line, "http_status", row->http_status != 0, row->http_status);
    json_text(line, "contact_id", row->contact_id);
    json_text(line, "list_contact_id", row->list_contact_id);
    json_raw(line, "is_new_contact", row->is_new_contact);
    json_text(line, "ad_network_source", row->ad_network_source);
    json_text(line, "ad_network_id", row->ad_network_id);
    json_raw(line, "attribution", row->attribution);
    json_raw(line, "request", row->request);
    json_raw(line, "warnings", slice_present(row->warnings) ? row->warnings : SLICE_LITERAL("[]"));
    json_text(line, "source", row->source);
    json_raw(line, "sources", row->sources);
    json_raw(line, "schema_id", row->schema_id);
    json_number(line, "attempts", true, row->attempts);
    json_raw(line, "maybe_sent", row->maybe_sent ? SLICE_LITERAL("true") : SLICE_LITERAL("false"));
    buf_append_char(line, '}');
}

static void json_begin(struct consent_writer *writer)
{
    const struct consent_filter *filter = writer->filter;
    struct buf *line = &writer->line;
    buf_append_char(line, '{');
    json_text(line, "phone_number", slice_from_str(filter->phone_number));
    json_name(line, "lists");
    buf_append_char(line, '[');
    for (size_t i = 0; i < filter->list_count; i++) {
        buf_append_str(line, i ? "," : "");
        buf_append_json_string(line, slice_from_str(filter->lists[i]));
    }
    buf_append_char(line, ']');
    json_time(line, "from", filter->has_from, filter->from);
    json_time(line, "to", filter->has_to, filter->to);
    json_time(line, "made_at", true, clock_wall_now());
    json_name(line, "events");
    buf_append_str(line, "[\n");
}

static void json_finish(struct consent_writer *writer, const char *const *notes, size_t count)
{
    struct buf *line = &writer->line;
    buf_append_str(line, "\n]");
    json_number(line, "count", true, (int64_t)writer->tally.events);
    json_name(line, "notes");
    buf_append_char(line, '[');
    for (size_t i = 0; i < count; i++) {
        buf_append_str(line, i ? "," : "");
        buf_append_json_string(line, slice_from_str(notes[i]));
    }
    buf_append_str(line, "]}\n");
}

/* ------------------------------------------------------------------ CSV */

static bool is_e164(struct slice text)
{
    if (text.len < 2 || text.len > 16 || text.ptr[0] != '+')
        return false;
    for (size_t i = 1; i < text.len; i++) {
        if (!isdigit((unsigned char)text.ptr[i]))
            return false;
    }
    return true;
}

/* What spreadsheets evaluate, also behind blanks, and in its full-width forms (U+FF1D, U+FF0B, U+FF0D,
 * U+FF20). */
static bool is_formula(struct slice text)
{
    size_t at = 0;
    if (!text.len || is_e164(text))
        return false;
    if (text.ptr[0] == '\t' || text.ptr[0] == '\r' || text.ptr[0] == '\n')
        return true;
    while (at < text.len && text.ptr[at] == ' ')
        at++;
    static const char *const wide[] = {"\xef\xbc\x9d", "\xef\xbc\x8b", "\xef\xbc\x8d", "\xef\xbc\xa0"};
    for (size_t i = 0; i < sizeof wide / sizeof wide[0]; i++) {
        if (text.len - at >= 3 && memcmp(text.ptr + at, wide[i], 3) == 0)
            return true;
    }
    return at < text.len && strchr("=+-@", text.ptr[at]) != NULL;
}

void csv_append(struct buf *line, struct slice text)
{
    if (!slice_present(text))
        return;
    bool formula = is_formula(text);
    bool quoted = formula || strpbrk(text.ptr, ",\"\r\n;\t") != NULL;
    if (quoted)
        buf_append_char(line, '"');
    if (formula)
        buf_append_char(line, '\'');
    /* Up to each quote, which is then said twice. */
    for (const char *quote; text.len && (quote = memchr(text.ptr, '"', text.len));) {
        size_t len = (size_t)(quote - text.ptr) + 1;
        buf_append(line, text.ptr, len);
        buf_append_char(line, '"');
        text = (struct slice){text.ptr + len, text.len - len};
    }
    buf_append_slice(line, text);
    if (quoted)
        buf_append_char(line, '"');
}

static const char csv_header[] =
    "phone_number,event_id,received_at,signup_date,finished_at,list_number,url,ip_address,consent_text,consent,state,code,error,"
    "http_status,contact_id,list_contact_id,is_new_contact,ad_network_source,ad_network_id,attribution,request,warnings,"
    "source,sources,schema_id,attempts,maybe_sent\r\n";

static struct slice number_slice(bool present, int number, char text[16])
{
    snprintf(text, 16, "%d", number);
    return present ? slice_from_str(text) : SLICE_ABSENT;
}

static void csv_append_row(struct buf *line, const char *phone, const struct consent_row *row)
{
    char times[3][WALL_TEXT_MS_BYTES];
    char numbers[2][16];
    const struct slice cells[] = {
        slice_from_str(phone),
        row->event_id,
        time_slice(true, row->received_at, times[0]),
        time_slice(row->has_signup_date, row->signup_date, times[1]),
        time_slice(row->finished, row->finished_at, times[2]),
        row->list_number,
        row->url,
        row->ip_address,
        row->consent_text,
        row->consent,
        row->state,
        row->code,
        row->error,
        number_slice(row->http_status != 0, row->http_status, numbers[0]),
        row->contact_id,
        row->list_contact_id,
        row->is_new_contact,
        row->ad_network_source,
        row->ad_network_id,
        row->attribution,
        row->request,
        row->warnings,
        row->source,
        row->sources,
        row->schema_id,
        number_slice(true, row->attempts, numbers[1]),
        row->maybe_sent ? SLICE_LITERAL("true") : SLICE_LITERAL("false"),
    };
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        if (i)
            buf_append_char(line, ',');
        csv_append(line, cells[i]);
    }
    buf_append_str(line, "\r\n");
}

/* ------------------------------------------------------------------ all of them */

static void line_write(struct consent_writer *writer)
{
    struct slice line = buf_slice(&writer->line);
    if (!buf_ok(&writer->line) || fwrite(line.ptr, 1, line.len, writer->out) != line.len)
        writer->failed = true;
    buf_reset(&writer->line);
}

void consent_begin(struct consent_writer *writer, enum consent_format format,
                   const struct consent_filter *filter, FILE *out)
{
    *writer = (struct consent_writer){.format = format, .out = out, .filter = filter};
    buf_init(&writer->line, LINE_BYTES_MAX);
    term_table_init(&writer->table, columns, sizeof columns / sizeof columns[0]);
    if (format == CONSENT_JSON)
        json_begin(writer);
    else if (format == CONSENT_CSV)
        buf_append_str(&writer->line, csv_header);
    line_write(writer);
}

bool consent_add(struct consent_writer *writer, const struct consent_row *row)
{
    struct consent_tally *tally = &writer->tally;
    bool first = tally->events++ == 0;
    tally->open += !slice_is(row->state, "accepted") && !slice_is(row->state, "dead");
    tally->without_consent += !slice_present(row->consent);
    tally->without_ip += !slice_present(row->ip_address);
    tally->without_url += !slice_present(row->url);
    tally->before_provenance += row->before_provenance;
    switch (writer->format) {
    case CONSENT_TABLE:
        table_add(writer, row);
        return !writer->failed;
    case CONSENT_JSON:
        buf_append_str(&writer->line, first ? "" : ",\n");
        json_append_row(&writer->line, row);
        break;
    case CONSENT_CSV:
        csv_append_row(&writer->line, writer->filter->phone_number, row);
        break;
    }
    line_write(writer);
    return !writer->failed;
}

void consent_finish(struct consent_writer *writer, const char *const *notes, size_t count)
{
    if (writer->format == CONSENT_TABLE)
        table_flush(writer);
    if (writer->format == CONSENT_JSON)
        json_finish(writer, notes, count);
    line_write(writer);
    if (fflush(writer->out) != 0 || ferror(writer->out))
        writer->failed = true;
}

void consent_fini(struct consent_writer *writer)
{
    term_table_fini(&writer->table);
    buf_fini(&writer->line);
}
