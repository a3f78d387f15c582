/* signup-worker validate: what kind of phones these are, for people. */
#include "command.h"
#include "phone_operand.h"
#include "validate_run.h"

#include "signup/base/buf.h"
#include "signup/base/clock.h"
#include "signup/base/log.h"
#include "signup/ops/term.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>
#include <uthash.h>

#define PHONES_MAX 100000
#define PROGRESS_FROM 21  /* phones: fewer are answered at once */
#define LOOK_UP_COST 3000 /* millionths of a US dollar (contacts-api.md section 2) */
#define COST_TEXT_BYTES 32
#define OUTPUT_BYTES_MAX ((size_t)1 << 20) /* of a line; an input from the command line may be long */
#define LINE_BYTES 1024                    /* of an input that is read; a longer one is no phone */

static const char help[] =
    "usage: signup-worker validate PHONE… [--force] [--json] [--yes] [--config FILE]\n\n"
    "Asks the API what kind of phones these are: carrier, line type, on a do-not-call list or not, and\n"
    "the disposition that validation.gate goes by (ok, unreachable, risky, invalid, unknown). A phone may\n"
    "be spelled in any usual way; one without a country code is one of defaults.country. \"-\" stands for\n"
    "the lines of standard input, one phone each. A phone that is given more than once is asked about\n"
    "once. At most 100,000 phones at a time.\n\n"
    "A look-up costs $0.003, unless this account has validated the phone before: then it is free.\n"
    "--force pays for a fresh one in any case. Nothing is written to the ledger, and nobody becomes a\n"
    "contact.\n"
    "  --force   pay for a fresh look-up of every phone\n"
    "  --json    one JSON object a line: the API's fields, or \"error\" and \"code\"; \"input\" is added\n"
    "            where the phone was spelled otherwise. The sum goes to standard error.\n"
    "  --yes     on a terminal, do not ask before more than 20 phones are looked up\n\n"
    "examples:\n"
    "  signup-worker validate '(415) 555-1234' +442079460000 --config /etc/signup-worker.yaml\n"
    "  cut -d, -f3 leads.csv | signup-worker validate - --json --config /etc/signup-worker.yaml\n\n"
    "exit codes: 0 every phone was looked up, 64 usage, 65 something is not a phone number, 66 a file is\n"
    "            missing, 69 the API is away, the account cannot pay (402), or a look-up failed,\n"
    "            75 interrupted or declined, 77 the key is refused, 78 configuration\n";

/* A phone that was given already. */
struct known_phone {
    const char *phone;
    UT_hash_handle hh;
};

struct validate_job {
    bool force;
    bool json;
    bool yes;
    const struct config *config;
    char **inputs; /* ours */
    struct validate_item *items;
    size_t count;
    size_t input_count;
    size_t repeated;
    struct known_phone *known; /* `count` of them at most, in `known_pool` */
    struct known_phone *known_pool;
    size_t written; /* items that have their JSON line */
    struct term_progress progress;
    struct validate_stop stop;
};

static bool apply_force(void *ctx, const char *value)
{
    (void)value;
    return ((struct validate_job *)ctx)->force = true;
}

static bool apply_json(void *ctx, const char *value)
{
    (void)value;
    return ((struct validate_job *)ctx)->json = true;
}

static bool apply_yes(void *ctx, const char *value)
{
    (void)value;
    return ((struct validate_job *)ctx)->yes = true;
}

static const struct command_option own[] = {
    {"force", false, apply_force}, {"json", false, apply_json}, {"yes", false, apply_yes}};
#define OWN_COUNT (sizeof own / sizeof own[0])

/* ------------------------------------------------------------------ interrupts */

static volatile sig_atomic_t interrupts;

static void on_interrupt(int signum)
{
    if (++interrupts > 1)
        _exit(128 + signum);
}

static bool is_interrupted(void *ctx)
{
    (void)ctx;
    return interrupts > 0;
}

/* ------------------------------------------------------------------ the phones */

/* How many operands the command line has. getopt moves them behind the options, and finds them there later. */
static int operand_count(int argc, char **argv)
{
    struct option options[OWN_COUNT + 3] = {{"config", required_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'}};
    for (size_t i = 0; i < OWN_COUNT; i++)
        options[2 + i] =
            (struct option){own[i].name, own[i].has_value ? required_argument : no_argument, NULL, 'o'};
    optind = 1;
    opterr = 0;
    while (getopt_long(argc, argv, "c:h", options, NULL) != -1)
        continue;
    opterr = 1;
    return argc - optind;
}

/* Gives 0 or the exit code; the complaint is written. */
static int input_add(struct validate_job *job, const char *text)
{
    if (job->input_count == PHONES_MAX) {
        fprintf(stderr, "signup-worker validate: more than %d phones at a time\n", PHONES_MAX);
        return EX_USAGE;
    }
    if ((job->input_count & (job->input_count - 1)) == 0) {
        size_t size = job->input_count ? 2 * job->input_count : 1;
        char **inputs = reallocarray(job->inputs, size, sizeof *inputs);
        if (!inputs)
            return EX_OSERR;
        job->inputs = inputs;
    }
    job->inputs[job->input_count] = strdup(text);
    return job->inputs[job->input_count++] ? 0 : EX_OSERR;
}

/* The rest of a line that is longer than any phone. */
static void line_skip(void)
{
    int c;
    do
        c = getc(stdin);
    while (c != EOF && c != '\n');
}

/* Gives 0 or the exit code. */
static int inputs_read(struct validate_job *job)
{
    char line[LINE_BYTES];
    int code = 0;
    while (!code && fgets(line, sizeof line, stdin)) {
        size_t len = strlen(line); /* what is behind a NUL is no phone anyway */
        if (len + 1 == sizeof line && line[len - 1] != '\n')
            line_skip();
        while (len && strchr(" \t\r\n", line[len - 1]))
            line[--len] = '\0';
        if (len)
            code = input_add(job, line + strspn(line, " \t"));
    }
    if (!code && ferror(stdin)) {
        fprintf(stderr, "signup-worker validate: standard input: %s\n", strerror(errno));
        return EX_NOINPUT;
    }
    return code;
}

static int inputs_take(struct validate_job *job, char **operands, int count)
{
    int code = 0;
    for (int i = 0; i < count && !code; i++)
        code = strcmp(operands[i], "-") == 0 ? inputs_read(job) : input_add(job, operands[i]);
    for (int i = 0; i < count; i++)
        phone_operand_hide(operands[i]);
    return code;
}

/* Gives each phone its item, in the order of the inputs; a phone that has one already gets no second. False:
 * no memory. */
static bool items_make(struct validate_job *job)
{
    job->items = calloc(job->input_count + 1, sizeof *job->items);
    job->known_pool = calloc(job->input_count + 1, sizeof *job->known_pool);
    if (!job->items || !job->known_pool)
        return false;
    for (size_t i = 0; i < job->input_count; i++) {
        struct validate_item *item = &job->items[job->count];
        struct known_phone *known = NULL;
        *item = (struct validate_item){.input = job->inputs[i]};
        size_t len = phone_to_e164(slice_from_str(item->input), job->config->defaults.country, item->phone);
        if (!len) {
            item->phone[0] = '\0';
            item->state = VALIDATE_NO_PHONE;
            snprintf(item->code, sizeof item->code, "invalid_phone");
            item->why = strdup("not a phone number");
            job->count++;
            continue;
        }
        HASH_FIND(hh, job->known, item->phone, len, known);
        if (known) {
            job->repeated++;
            continue;
        }
        known = &job->known_pool[job->count++];
        known->phone = item->phone;
        HASH_ADD_KEYPTR(hh, job->known, known->phone, len, known);
    }
    return true;
}

static void job_fini(struct validate_job *job)
{
    HASH_CLEAR(hh, job->known);
    for (size_t i = 0; i < job->count; i++)
        validate_item_fini(&job->items[i]);
    for (size_t i = 0; i < job->input_count; i++)
        free(job->inputs[i]);
    free(job->items);
    free(job->inputs);
    free(job->known_pool);
}

/* ------------------------------------------------------------------ JSON lines */

/* UTF-8 or not, as a JSON string. */
static void text_put(struct buf *out, const char *text)
{
    json_t *valid = json_string(text);
    if (valid) {
        buf_append_json_string(out, slice_from_str(text));
        json_decref(valid);
        return;
    }
    buf_append_char(out, '"');
    for (const char *c = text; *c; c++) {
        bool plain = *c >= ' ' && *c < 127 && *c != '"' && *c != '\\';
        buf_append(out, plain ? c : "?", 1);
    }
    buf_append_char(out, '"');
}

static void line_write(const struct validate_item *item)
{
    struct buf line;
    buf_init(&line, OUTPUT_BYTES_MAX);
    bool own_phone = item->validation && strncmp(item->validation, "{\"phone\":", 9) == 0;
    buf_append_char(&line, '{');
    if (item->phone[0] && !own_phone)
        buf_printf(&line, "\"phone\":\"%s\"", item->phone);
    if (item->validation) {
        const char *fields = item->validation + 1; /* the disposition at least stands behind the brace */
        buf_append_str(&line, own_phone ? "" : ",");
        buf_append(&line, fields, strlen(fields) - 1);
    } else {
        buf_append_str(&line, item->phone[0] ? ",\"error\":" : "\"error\":");
        text_put(&line, item->why ? item->why : "not asked");
        buf_append_str(&line, ",\"code\":");
        text_put(&line, item->code[0] || item->why ? item->code : "not_asked");
    }
    if (strcmp(item->input, item->phone) != 0) {
        buf_append_str(&line, ",\"input\":");
        text_put(&line, item->input);
    }
    buf_append_str(&line, "}\n");
    if (buf_ok(&line))
        (void)fwrite(line.data, 1, line.len, stdout);
    buf_fini(&line);
}

/* The lines of those that are answered, as far as nobody before them is still waited for; all of them at the
 * end. */
static void lines_write(struct validate_job *job, bool all)
{
    size_t before = job->written;
    while (job->json && job->written < job->count &&
           (all || job->items[job->written].state != VALIDATE_WAITING))
        line_write(&job->items[job->written++]);
    if (job->written != before)
        (void)fflush(stdout);
}

/* ------------------------------------------------------------------ the table */

static void cost_text(int64_t cost, char out[COST_TEXT_BYTES])
{
    int len = snprintf(out, COST_TEXT_BYTES, "$%lld.%06lld", (long long)(cost / 1000000),
                       (long long)(cost % 1000000));
    while (out[len - 1] == '0' && out[len - 4] != '.') /* three places at least: $0.003, $1.200 */
        out[--len] = '\0';
}

static const char *flag_text(const json_t *value, const char *yes, const char *no)
{
    return json_is_true(value) ? yes : json_is_false(value) ? no : "";
}

static enum term_style disposition_style(const char *disposition)
{
    if (strcmp(disposition, "ok") == 0)
        return TERM_PLAIN;
    return strcmp(disposition, "risky") == 0 || strcmp(disposition, "unknown") == 0 ? TERM_WARN : TERM_BAD;
}

static void row_add(struct term_table *table, const struct validate_item *item)
{
    char cost[COST_TEXT_BYTES] = "";
    const char *disposition = item->state == VALIDATE_NO_PHONE ? "not a number"
                              : item->state == VALIDATE_FAILED ? "failed"
                                                               : "not asked";
    json_t *root = item->validation ? json_loads(item->validation, 0, NULL) : NULL;
    const char *said = json_string_value(json_object_get(root, "disposition"));
    if (said) {
        disposition = said;
        cost_text(item->cost, cost);
    }
    const char *cells[] = {
        item->phone[0] ? item->phone : item->input,
        disposition,
        json_string_value(json_object_get(root, "line_type")),
        json_string_value(json_object_get(root, "carrier")),
        flag_text(json_object_get(root, "on_dnc"), "yes", "no"),
        json_string_value(json_object_get(root, "country")),
        cost,
        flag_text(json_object_get(root, "cached"), "yes", "no"),
    };
    term_table_add(table, said ? disposition_style(said) : TERM_BAD, cells);
    json_decref(root);
}

static bool table_write(const struct validate_job *job)
{
    static const struct term_column columns[] = {
        {"phone", false}, {"disposition", false}, {"line type", false}, {"carrier", false},
        {"DNC", false},   {"country", false},     {"cost", true},       {"cached", false}};
    struct term_table table;
    term_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < job->count; i++)
        row_add(&table, &job->items[i]);
    bool whole = term_table_write(&table, stdout);
    term_table_fini(&table);
    return whole;
}

/* ------------------------------------------------------------------ the end */

struct validate_sums {
    size_t of[VALIDATE_FAILED + 1]; /* by state */
    size_t paid;
    int64_t cost;
};

static struct validate_sums sums_of(const struct validate_job *job)
{
    struct validate_sums sums = {0};
    for (size_t i = 0; i < job->count; i++) {
        const struct validate_item *item = &job->items[i];
        sums.of[item->state]++;
        sums.paid += item->cost > 0;
        sums.cost += item->cost;
    }
    return sums;
}

static void part_write(FILE *out, size_t count, const char *what)
{
    char text[TERM_COUNT_BYTES];
    term_count_text(count, text);
    if (count)
        fprintf(out, ", %s %s", text, what);
}

static void sum_write(const struct validate_job *job, const struct validate_sums *sums)
{
    FILE *out = job->json ? stderr : stdout;
    char answered[TERM_COUNT_BYTES];
    char paid[TERM_COUNT_BYTES];
    char cost[COST_TEXT_BYTES];
    term_count_text(sums->of[VALIDATE_ANSWERED], answered);
    term_count_text(sums->paid, paid);
    cost_text(sums->cost, cost);
    fprintf(out, "%s%s phone%s looked up, %s paid for: %s", job->json ? "" : "\n", answered,
            sums->of[VALIDATE_ANSWERED] == 1 ? "" : "s", paid, cost);
    part_write(out, sums->of[VALIDATE_NO_PHONE], "not a number");
    part_write(out, sums->of[VALIDATE_FAILED], "failed");
    part_write(out, sums->of[VALIDATE_WAITING], "not asked");
    part_write(out, job->repeated, "given more than once");
    fputc('\n', out);
}

/* What went wrong, in words: once for the whole run, or of each phone that failed for itself. */
static void complain(const struct validate_job *job)
{
    (void)fflush(stdout);
    if (job->stop.exit_code)
        fprintf(stderr, "signup-worker validate: %s\n", job->stop.text);
    for (size_t i = 0; i < job->count && !job->stop.exit_code; i++) {
        char masked[PHONE_MASK_BYTES];
        phone_mask(slice_from_str(job->items[i].phone), masked);
        if (job->items[i].state == VALIDATE_FAILED)
            fprintf(stderr, "signup-worker validate: %s: %s\n", masked,
                    job->items[i].why ? job->items[i].why : "out of memory");
    }
}

static int exit_code_of(const struct validate_job *job, const struct validate_sums *sums)
{
    if (job->stop.exit_code)
        return job->stop.exit_code;
    if (sums->of[VALIDATE_WAITING])
        return EX_TEMPFAIL;
    if (sums->of[VALIDATE_FAILED])
        return EX_UNAVAILABLE;
    return sums->of[VALIDATE_NO_PHONE] ? EX_DATAERR : 0;
}

/* ------------------------------------------------------------------ the command */

/* False: the person in front of the terminal would rather not. */
static bool may_go(const struct validate_job *job, size_t phones)
{
    char count[TERM_COUNT_BYTES];
    char cost[COST_TEXT_BYTES];
    char answer[16] = "";
    if (job->yes || phones < PROGRESS_FROM || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return true;
    term_count_text(phones, count);
    cost_text((int64_t)phones * LOOK_UP_COST, cost);
    fprintf(stderr, "Look %s phones up? It costs %s%s. [y/N] ", count, job->force ? "" : "up to ", cost);
    (void)fflush(stderr);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static void on_waiting(void *ctx)
{
    struct validate_job *job = ctx;
    size_t done = 0;
    lines_write(job, false);
    if (!job->progress.shown)
        return;
    for (size_t i = 0; i < job->count; i++)
        done += job->items[i].state != VALIDATE_WAITING;
    term_progress_update(&job->progress, done, clock_mono_now());
}

static int validate_all(struct validate_job *job)
{
    const struct sigaction action = {.sa_handler = on_interrupt};
    const struct validate_order order = {.config = job->config,
                                         .force = job->force,
                                         .stopped = is_interrupted,
                                         .waiting = on_waiting,
                                         .ctx = job};
    struct validate_sums sums = sums_of(job);
    if (!may_go(job, sums.of[VALIDATE_WAITING])) {
        fputs("nothing was looked up\n", stderr);
        return EX_TEMPFAIL;
    }
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    term_progress_init(&job->progress, stderr, "looking phones up", job->count, clock_mono_now());
    job->progress.shown = job->progress.shown && job->count >= PROGRESS_FROM;
    if (sums.of[VALIDATE_WAITING])
        validate_run(&order, job->items, job->count, &job->stop);
    term_progress_finish(&job->progress);
    lines_write(job, true);
    sums = sums_of(job);
    bool whole = job->json || table_write(job);
    sum_write(job, &sums);
    complain(job);
    return whole ? exit_code_of(job, &sums) : EX_OSERR;
}

static int validate_with(struct validate_job *job, const struct common_options *common, char **operands,
                         int count)
{
    struct config *config;
    int code = inputs_take(job, operands, count);
    if (!code && !job->input_count) {
        fputs("signup-worker validate: no phone was given\n", stderr);
        code = EX_USAGE;
    }
    if (!code)
        code = config_open(common, CONFIG_NEEDS_API, &config);
    if (code)
        return code;
    job->config = config;
    if (!config->contacts_api.validation_url[0]) {
        fputs("signup-worker validate: contacts_api.validation_url is not set\n", stderr);
        code = EX_CONFIG;
    } else {
        code = items_make(job) ? validate_all(job) : EX_OSERR;
    }
    config_free(config);
    return code;
}

int command_validate(int argc, char **argv)
{
    struct validate_job job = {0};
    struct common_options common;
    int operand;
    int count = operand_count(argc, argv);
    int code = options_parse(argc, argv, help, count ? count : 1, own, OWN_COUNT, &job, &common, &operand);
    if (code >= 0)
        return code;
    code = validate_with(&job, &common, argv + operand, count);
    job_fini(&job);
    return code;
}
