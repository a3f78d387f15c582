/* signup-worker consent: the evidence of one contact's consent, as one hands it to counsel. */
#include "command.h"
#include "consent_write.h"
#include "phone_operand.h"
#include "replay_options.h"
#include "service.h"

#include "signup/event/phone.h"
#include "signup/ledger/people.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#define LISTS_MAX 64
#define NOTES_MAX 8
#define NOTE_BYTES 320

static const char help[] =
    "usage: signup-worker consent PHONE [--json | --csv] [options] [--config FILE]\n\n"
    "Prints the evidence of one contact's consent: every event of the phone that the ledger holds, with page, time, IP\n"
    "address, consent text, and what became of it. PHONE in any spelling; national ones are of defaults.country; \"-\" is a\n"
    "line of standard input. Whole numbers and texts are printed: handle what comes out as what it is.\n\n"
    "  --json          one JSON object with everything: the whole consent, attribution, what was sent, warnings\n"
    "  --csv           the same as CSV (RFC 4180), safe to open in a spreadsheet: what it would take for a formula gets an\n"
    "                  apostrophe before it\n"
    "  --list NUMBER   only of this sending list (may be given more than once)\n"
    "  --from TIME     only events received at this time or later: 2025-03-15T14:30:00Z, 2025-03-15, or 90d ago as 90d\n"
    "  --to TIME       only events received before this time\n\n"
    "examples:\n"
    "  signup-worker consent \"(202) 555-0117\"\n"
    "  signup-worker consent +12025550117 --csv > evidence.csv\n"
    "  signup-worker consent +12025550117 --list +18335550100 --from 2025-01-01 --json\n\n"
    "exit codes: 0 printed, 64 usage, 66 the ledger has no such event or a file is missing, 69 PostgreSQL is away (what was printed is not\n"
    "            all), 74 the output cannot be written, 77 it refuses the user, 78 configuration\n";

struct consent {
    struct common_options common;
    enum consent_format format;
    bool two_formats;
    wall_us_t now;
    const char *lists[LISTS_MAX]; /* as typed */
    char e164[LISTS_MAX][PHONE_E164_BYTES];
    const char *list_texts[LISTS_MAX];
    struct consent_filter filter;
    char phone[PHONE_E164_BYTES];
    char notes[NOTES_MAX][NOTE_BYTES];
    size_t note_count;
};

/* ------------------------------------------------------------------ options */

static bool apply_format(void *ctx, enum consent_format format)
{
    struct consent *job = ctx;
    job->two_formats = job->two_formats || (job->format != CONSENT_TABLE && job->format != format);
    job->format = format;
    return true;
}

static bool apply_json(void *ctx, const char *value)
{
    (void)value;
    return apply_format(ctx, CONSENT_JSON);
}

static bool apply_csv(void *ctx, const char *value)
{
    (void)value;
    return apply_format(ctx, CONSENT_CSV);
}

static bool apply_list(void *ctx, const char *value)
{
    struct consent *job = ctx;
    if (job->filter.list_count == LISTS_MAX)
        return false;
    job->lists[job->filter.list_count++] = value;
    return true;
}

static bool apply_from(void *ctx, const char *value)
{
    struct consent *job = ctx;
    return job->filter.has_from = replay_time_read(value, job->now, &job->filter.from);
}

static bool apply_to(void *ctx, const char *value)
{
    struct consent *job = ctx;
    return job->filter.has_to = replay_time_read(value, job->now, &job->filter.to);
}

static const struct command_option own[] = {{"json", false, apply_json},
                                            {"csv", false, apply_csv},
                                            {"list", true, apply_list},
                                            {"from", true, apply_from},
                                            {"to", true, apply_to}};

static int usage(const char *what, const char *value)
{
    fprintf(stderr, "signup-worker consent: %s%s; see signup-worker consent --help\n", what, value);
    return EX_USAGE;
}

static int numbers_read(struct consent *job, const char *phone, const char *country)
{
    if (!phone_to_e164(slice_from_str(phone), country, job->phone)) {
        phone_operand_complain("consent", "not a phone number", phone);
        return EX_USAGE;
    }
    for (size_t i = 0; i < job->filter.list_count; i++) {
        if (!phone_to_e164(slice_from_str(job->lists[i]), country, job->e164[i]))
            return usage("--list is not a phone number: ", job->lists[i]);
        job->list_texts[i] = job->e164[i];
    }
    job->filter.phone_number = job->phone;
    job->filter.lists = job->list_texts;
    return 0;
}

/* ------------------------------------------------------------------ what is not there */

__attribute__((format(printf, 2, 3))) static void note(struct consent *job, const char *format, ...)
{
    if (job->note_count == NOTES_MAX)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(job->notes[job->note_count++], NOTE_BYTES, format, args);
    va_end(args);
}

static void note_erasure(void *ctx, const struct people_erasure *erasure)
{
    char at[WALL_TEXT_BYTES];
    wall_format_utc(erasure->at, at);
    note(ctx,
         "This person was forgotten at %s by %.*s (erasure %" PRId64 ", %" PRIu64
         " events): what was before is gone.",
         at, (int)(erasure->who.len < 100 ? erasure->who.len : 100), erasure->who.ptr, erasure->erasure_id,
         erasure->events);
}

static void note_missing(struct consent *job, uint64_t count, const char *what)
{
    char figure[TERM_COUNT_BYTES];
    term_count_text(count, figure);
    if (count)
        note(job, "%s %s %s", figure, count == 1 ? "event" : "events", what);
}

static void notes_make(struct consent *job, const struct consent_tally *tally)
{
    note_missing(job, tally->open, "not final yet.");
    note_missing(job, tally->without_consent, "brought no consent object.");
    note_missing(job, tally->without_ip, "brought no usable IP address.");
    note_missing(job, tally->without_url, "brought no usable page URL.");
    note_missing(job, tally->before_provenance,
                 "from before the ledger kept attribution and schema ids (schema version 5).");
    note(
        job,
        "Where an event brought no signup_date, the time of its Kafka record stands there. Events whose phone could not be"
        " read are not found by phone.");
}

static void notes_print(const struct consent *job, FILE *out)
{
    for (size_t i = 0; i < job->note_count; i++)
        fprintf(out, "%s%s\n", i ? "" : "\n", job->notes[i]);
}

/* ------------------------------------------------------------------ the run */

static bool on_row(void *ctx, const struct consent_row *row)
{
    return consent_add(ctx, row);
}

static int conclude(struct consent *job, struct consent_writer *writer)
{
    const char *texts[NOTES_MAX];
    if (writer->tally.events)
        notes_make(job, &writer->tally);
    for (size_t i = 0; i < job->note_count; i++)
        texts[i] = job->notes[i];
    consent_finish(writer, texts, job->note_count);
    if (writer->failed) {
        fputs("signup-worker consent: the output cannot be written: what is there is not all\n", stderr);
        return EX_IOERR;
    }
    if (!writer->tally.events)
        phone_operand_complain("consent",
                               job->filter.list_count || job->filter.has_from || job->filter.has_to
                                   ? "the ledger holds no event that is selected of"
                                   : "the ledger holds no event of",
                               job->phone);
    if (job->format == CONSENT_TABLE && writer->tally.events) {
        notes_print(job, stdout);
        if (writer->cuts)
            puts("Long texts are cut here: --json and --csv have them whole, and the rest of the evidence.");
    } else if (job->format != CONSENT_JSON) {
        notes_print(job, stderr);
    }
    return writer->tally.events ? 0 : EX_NOINPUT;
}

static int print_trail(struct consent *job, struct people_ledger *ledger, const char *error)
{
    struct consent_writer writer;
    enum ledger_verdict verdict = ledger_people_erasures(ledger, job->phone, note_erasure, job);
    consent_begin(&writer, job->format, &job->filter, stdout);
    writer.cuts = isatty(STDOUT_FILENO) == 1;
    if (verdict == LEDGER_VERDICT_WELL)
        verdict = ledger_people_trail(ledger, &job->filter, on_row, &writer);
    int code = ledger_exit_code(verdict);
    if (verdict == LEDGER_VERDICT_WELL) {
        code = conclude(job, &writer);
    } else {
        fflush(stdout);
        fprintf(stderr, "signup-worker consent: %s%s\n", error,
                writer.tally.events ? ": what was printed is not all" : "");
    }
    consent_fini(&writer);
    return code;
}

static int run(struct consent *job, const struct config *config)
{
    char error[LEDGER_ERROR_BYTES] = "";
    struct people_ledger *ledger;
    const struct ledger_config ledger_config = ledger_config_from(config);
    enum ledger_verdict verdict = ledger_people_open(&ledger_config, &ledger, error);
    int code = ledger_exit_code(verdict);
    if (verdict == LEDGER_VERDICT_WELL)
        code = print_trail(job, ledger, error);
    else
        fprintf(stderr, "signup-worker consent: %s\n", error);
    ledger_people_close(ledger);
    return code;
}

int command_consent(int argc, char **argv)
{
    struct consent job = {.now = clock_wall_now()};
    int operand;
    int code =
        options_parse(argc, argv, help, 1, own, sizeof own / sizeof own[0], &job, &job.common, &operand);
    if (code >= 0)
        return code;
    if (job.two_formats)
        return usage("--json and --csv exclude each other", "");
    if (job.filter.has_from && job.filter.has_to && job.filter.from.us >= job.filter.to.us)
        return usage("--from is not before --to", "");
    char phone[PHONE_OPERAND_BYTES];
    if (!phone_operand_take("consent", argv[operand], phone))
        return EX_NOINPUT;
    struct config *config;
    code = config_open(&job.common, CONFIG_NEEDS_POSTGRES, &config);
    if (code)
        return code;
    code = numbers_read(&job, phone, config->defaults.country);
    if (code == 0)
        code = run(&job, config);
    config_free(config);
    return code;
}
