/* signup-worker forget: erases one person from the ledger, but for the proof that it was done. */
#include "command.h"
#include "phone_operand.h"
#include "service.h"

#include "signup/event/phone.h"
#include "signup/ledger/people.h"
#include "signup/ops/term.h"

#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static const char help[] =
    "usage: signup-worker forget PHONE [--yes] [--dry-run] [options] [--config FILE]\n\n"
    "Erases one person from the ledger. PHONE in any spelling; national ones are of defaults.country; \"-\" is a line of\n"
    "standard input. The rows of their events are emptied, not deleted, so that reading the topic again does not sign them\n"
    "up again; their warnings, attempts and validation are deleted; a proof is left in signup.erasure: who, when, why, and a\n"
    "salted hash of the phone. It says what it will erase, asks, does it in one transaction while the workers go on, and\n"
    "says what remains elsewhere. Once more, it says that it was done.\n\n"
    "While one of their events is in flight nothing is erased: run it again a moment later. An event that is parked, and\n"
    "that nobody works on, is erased, too: it will not be sent.\n\n"
    "  --yes           do not ask; needed where there is no terminal\n"
    "  --dry-run       say what would be erased; change nothing\n"
    "  --who NAME      who erases, for the proof, instead of the user of this process and its host\n"
    "  --reason TEXT   why, for the proof\n"
    "  --abandoned     also what nobody holds, but a worker would take up: events whose worker died, letters and outcomes\n"
    "                  that are not published. They will not be sent or published. For a ledger whose workers are gone\n\n"
    "examples:\n"
    "  signup-worker forget \"(202) 555-0117\" --dry-run\n"
    "  signup-worker forget +12025550117 --who dpo@example.com --reason \"request of 2025-03-15\" --yes\n\n"
    "exit codes: 0 erased, now or before, or the ledger holds nothing of the phone; 64 usage; 66 a file is missing;\n"
    "            69 PostgreSQL is away (run it again: it says whether it was done); 75 nothing was erased: something is in\n"
    "            flight, or the answer was no; 77 PostgreSQL refuses the user (it must be allowed to DELETE);\n"
    "            78 configuration\n";

struct forget {
    struct common_options common;
    struct forget_order order;
    bool yes;
    bool dry_run;
    char phone[PHONE_E164_BYTES];
    char who[256];
    struct people_ledger *ledger;
    char error[LEDGER_ERROR_BYTES];
    unsigned erasures; /* done before */
};

/* ------------------------------------------------------------------ options */

static bool apply_yes(void *ctx, const char *value)
{
    (void)value;
    return ((struct forget *)ctx)->yes = true;
}

static bool apply_dry_run(void *ctx, const char *value)
{
    (void)value;
    return ((struct forget *)ctx)->dry_run = true;
}

static bool apply_abandoned(void *ctx, const char *value)
{
    (void)value;
    return ((struct forget *)ctx)->order.abandoned_too = true;
}

static bool apply_who(void *ctx, const char *value)
{
    ((struct forget *)ctx)->order.who = value;
    return value[0] != '\0';
}

static bool apply_reason(void *ctx, const char *value)
{
    ((struct forget *)ctx)->order.reason = value;
    return value[0] != '\0';
}

static const struct command_option own[] = {{"yes", false, apply_yes},
                                            {"dry-run", false, apply_dry_run},
                                            {"who", true, apply_who},
                                            {"reason", true, apply_reason},
                                            {"abandoned", false, apply_abandoned}};

static int usage(const char *what, const char *value)
{
    fprintf(stderr, "signup-worker forget: %s%s; see signup-worker forget --help\n", what, value);
    return EX_USAGE;
}

static void who_fill(struct forget *job)
{
    char host[HOST_NAME_MAX + 1] = "";
    const struct passwd *user = getpwuid(getuid());
    gethostname(host, sizeof host - 1);
    if (user)
        snprintf(job->who, sizeof job->who, "%s@%s", user->pw_name, host);
    else
        snprintf(job->who, sizeof job->who, "%u@%s", (unsigned)getuid(), host);
    if (!job->order.who)
        job->order.who = job->who;
}

/* The proof must not hold what it is the erasure of. */
static int order_read(struct forget *job, const char *phone, const char *country)
{
    if (!phone_to_e164(slice_from_str(phone), country, job->phone)) {
        phone_operand_complain("forget", "not a phone number", phone);
        return EX_USAGE;
    }
    job->order.phone_number = job->phone;
    who_fill(job);
    if (ledger_holds_phone(job->order.who, job->phone))
        return usage("--who names the phone that is to be forgotten", "");
    if (job->order.reason && ledger_holds_phone(job->order.reason, job->phone))
        return usage("--reason names the phone that is to be forgotten", "");
    return 0;
}

/* ------------------------------------------------------------------ what is said */

static void line(uint64_t value, const char *one, const char *many)
{
    char figure[TERM_COUNT_BYTES];
    if (!value)
        return;
    term_count_text(value, figure);
    printf("%12s  %s\n", figure, value == 1 ? one : many);
}

static void say_counts(const struct forget_counts *counts)
{
    char first[WALL_TEXT_BYTES];
    char last[WALL_TEXT_BYTES];
    wall_format_utc(counts->first_at, first);
    wall_format_utc(counts->last_at, last);
    line(counts->events, "event", "events");
    line(counts->accepted, "of them accepted", "of them accepted");
    line(counts->dead, "of them dead", "of them dead");
    line(counts->waiting, "of them waiting: it will not be sent", "of them waiting: they will not be sent");
    line(counts->in_work + counts->abandoned, "of them in flight", "of them in flight");
    line(counts->renamed, "event id that holds the phone: replaced by its position",
         "event ids that hold the phone: replaced by their positions");
    line(counts->warnings, "warning", "warnings");
    line(counts->attempts, "recorded attempt", "recorded attempts");
    line(counts->outcomes, "outcome that is not published", "outcomes that are not published");
    line(counts->validations, "remembered validation", "remembered validations");
    if (counts->dated)
        printf("  received from %s to %s\n", first, last);
}

static void obstacle(uint64_t value, const char *one, const char *many)
{
    if (value)
        fprintf(stderr, "  %" PRIu64 " %s\n", value, value == 1 ? one : many);
}

static int refuse(const struct forget *job, const struct forget_counts *counts)
{
    bool live = counts->in_work || counts->letters_leased || counts->outcomes_leased;
    fflush(stdout);
    fprintf(stderr, "signup-worker forget: nothing was erased: this person has something in flight\n");
    obstacle(counts->in_work, "event is being worked on", "events are being worked on");
    obstacle(counts->abandoned, "event lost its worker: the next one takes it up",
             "events lost their worker: the next one takes them up");
    obstacle(counts->letters, "dead letter is not on its topic yet",
             "dead letters are not on their topic yet");
    obstacle(counts->outcomes, "outcome is not on its topic yet", "outcomes are not on their topic yet");
    fputs("Run it again in a moment, while a worker runs.", stderr);
    if (!live && !job->order.abandoned_too)
        fputs(" Where no worker will come back, --abandoned drops them.", stderr);
    fputc('\n', stderr);
    return EX_TEMPFAIL;
}

static void say_topics(const struct config *config)
{
    fputs("  Kafka: ", stdout);
    for (size_t i = 0; i < config->kafka.topics.count; i++)
        printf("%s%s", i ? ", " : "", config->kafka.topics.items[i]);
    printf(" and %s", config->kafka.dead_letter_topic);
    if (config->kafka.outcomes_topic[0] && config->kafka.outcomes_phone)
        printf(" and %s", config->kafka.outcomes_topic);
    puts(" hold their events until the topics' retention ends; read again, those in the\n"
         "    ledger are settled without a call");
}

static void say_remains(const struct config *config)
{
    puts("\nWhat remains elsewhere:");
    say_topics(config);
    puts(
        "  the vendor: the contact, its consent record and its opt-out are there; ask for their erasure there");
    puts(
        "  PostgreSQL: backups, standbys that are behind, and the write-ahead log; deleted bytes until VACUUM");
    puts("  the ledger: dead events whose phone could not be read are nobody's; look for the number in\n"
         "    signup.dead_letter.payload_text WHERE phone_number IS NULL");
}

static void note_erasure(void *ctx, const struct people_erasure *erasure)
{
    struct forget *job = ctx;
    char at[WALL_TEXT_BYTES];
    wall_format_utc(erasure->at, at);
    if (!job->erasures++)
        printf("%s was forgotten at %s by %.*s (erasure %" PRId64 ", %" PRIu64 " events)\n", job->phone, at,
               (int)erasure->who.len, erasure->who.ptr, erasure->erasure_id, erasure->events);
}

/* ------------------------------------------------------------------ the run */

static int complain(const struct forget *job, enum ledger_verdict verdict)
{
    fflush(stdout);
    fprintf(stderr, "signup-worker forget: %s\n", job->error);
    return ledger_exit_code(verdict);
}

static bool is_confirmed(void)
{
    char answer[16] = "";
    fputs("\nThis cannot be undone. Erase it? [yes/no] ", stdout);
    fflush(stdout);
    return fgets(answer, sizeof answer, stdin) && strcmp(answer, "yes\n") == 0;
}

static int nothing_there(const struct forget *job)
{
    printf(job->erasures ? "nothing of %s has come to the ledger since\n"
                         : "the ledger holds nothing of %s\n",
           job->phone);
    return 0;
}

static int erase(struct forget *job, const struct config *config)
{
    struct forget_counts counts;
    enum forget_answer answer = FORGET_LOCKED;
    int64_t erasure_id = 0;
    enum ledger_verdict verdict = ledger_forget(job->ledger, &job->order, &answer, &counts, &erasure_id);
    if (verdict != LEDGER_VERDICT_WELL)
        return complain(job, verdict);
    switch (answer) {
    case FORGET_NOTHING: /* somebody else was quicker */
        return nothing_there(job);
    case FORGET_REFUSED:
        return refuse(job, &counts);
    case FORGET_LOCKED:
        fputs(
            "signup-worker forget: nothing was erased: the rows, or the table, were locked by others for too long; run it"
            " again\n",
            stderr);
        return EX_TEMPFAIL;
    case FORGET_DONE:
        break;
    }
    printf("\n%s is forgotten: %" PRIu64 " %s emptied, erasure %" PRId64 " by %s\n", job->phone,
           counts.events, counts.events == 1 ? "event" : "events", erasure_id, job->order.who);
    say_remains(config);
    return 0;
}

static int run(struct forget *job, const struct config *config)
{
    struct forget_counts counts;
    enum ledger_verdict verdict = ledger_people_erasures(job->ledger, job->phone, note_erasure, job);
    if (verdict == LEDGER_VERDICT_WELL)
        verdict = ledger_forget_look(job->ledger, job->phone, &counts);
    if (verdict != LEDGER_VERDICT_WELL)
        return complain(job, verdict);
    if (!counts.events && !counts.validations)
        return nothing_there(job);
    printf("of %s the ledger holds\n", job->phone);
    say_counts(&counts);
    if (ledger_forget_is_refused(&job->order, &counts))
        return refuse(job, &counts);
    if (job->dry_run) {
        puts("\ndry run: nothing was changed");
        return 0;
    }
    if (!job->yes && !is_confirmed()) {
        puts("nothing was erased");
        return EX_TEMPFAIL;
    }
    return erase(job, config);
}

int command_forget(int argc, char **argv)
{
    struct forget job = {0};
    int operand;
    int code =
        options_parse(argc, argv, help, 1, own, sizeof own / sizeof own[0], &job, &job.common, &operand);
    if (code >= 0)
        return code;
    if (!job.yes && !job.dry_run && isatty(STDIN_FILENO) != 1)
        return usage("there is no terminal to ask on: say --yes, or --dry-run", "");
    char phone[PHONE_OPERAND_BYTES];
    if (!phone_operand_take("forget", argv[operand], phone))
        return EX_NOINPUT;
    struct config *config;
    code = config_open(&job.common, CONFIG_NEEDS_POSTGRES, &config);
    if (code)
        return code;
    const struct ledger_config ledger_config = ledger_config_from(config);
    code = order_read(&job, phone, config->defaults.country);
    if (code == 0) {
        enum ledger_verdict verdict = ledger_people_open(&ledger_config, &job.ledger, job.error);
        code = verdict == LEDGER_VERDICT_WELL ? run(&job, config) : complain(&job, verdict);
        ledger_people_close(job.ledger);
    }
    config_free(config);
    return code;
}
