/* signup-worker load: the lines of a file to a topic, keyed so that a contact's events stay in order. */
#include "command.h"

#include "signup/base/clock.h"
#include "signup/event/signup.h"
#include "signup/kafka/load.h"
#include "signup/ops/term.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#define BROKER_TIMEOUT_MS 15000
#define PUSH_TIMEOUT_MS 60000
#define FLUSH_TIMEOUT_MS 120000

#define READING_BYTES ((size_t)64 << 20) /* of one line while it is read */

static const char help[] =
    "usage: signup-worker load FILE [--config FILE] [--topic TOPIC]\n\n"
    "Publishes each line of FILE as the value of one record (\"-\" reads standard input): JSON, the body of a form, or whatever\n"
    "shape the configuration says that the topic has (mapping). The lines are published as they are: what is wrong with one of\n"
    "them is for the worker to say. Blank lines are skipped. The record's key is the event's phone number in its normal form,\n"
    "read as the worker would read it, so that the events of one contact stay in order.\n"
    "  --topic TOPIC   instead of the first of kafka.topics\n\n"
    "examples:\n"
    "  signup-worker load signups.ndjson --config /etc/signup-worker.yaml\n"
    "  signup-worker load forms.txt --topic leads.forms --config /etc/signup-worker.yaml\n"
    "  zcat march.ndjson.gz | signup-worker load - --config /etc/signup-worker.yaml\n\n"
    "exit codes: 0 every line was acknowledged by the broker, 66 the file cannot be read, 69 Kafka is away or refused a line,\n"
    "            78 configuration\n";

struct load_job {
    const char *topic;
    struct event_rules rules;
    struct kafka_load *load;
    struct term_progress progress;
    FILE *file;
    uint64_t lines;
    uint64_t refused;
};

static bool apply_topic(void *ctx, const char *value)
{
    ((struct load_job *)ctx)->topic = value;
    return value[0] != '\0';
}

/* The phone of a line in E.164; absent where it has none. Lives in `arena`. */
static struct slice line_key(const struct load_job *job, struct slice line, struct arena *arena)
{
    const wall_us_t now = clock_wall_now();
    const struct record record = {
        .topic = slice_from_str(job->topic), .value = line, .timestamp_ms = now.us / US_PER_MS};
    struct signup signup;
    signup_read(&job->rules, &record, now, arena, &signup);
    return signup.phone_number;
}

static bool is_blank(const char *line, size_t len)
{
    return strspn(line, " \t\r") >= len;
}

static void show(struct load_job *job)
{
    struct kafka_load_counts counts;
    kafka_load_poll(job->load);
    kafka_load_counts(job->load, &counts);
    term_progress_update(&job->progress, counts.delivered + counts.failed, clock_mono_now());
}

static void flush_progress(void *ctx, const struct kafka_load_counts *counts)
{
    struct load_job *job = ctx;
    term_progress_update(&job->progress, counts->delivered + counts->failed, clock_mono_now());
}

static void publish_line(struct load_job *job, struct slice line)
{
    struct arena arena;
    arena_init(&arena, READING_BYTES);
    const struct kafka_load_record record = {
        .key = line_key(job, line, &arena), .value = line, .timestamp_ms = -1};
    job->lines++;
    if (!kafka_load_push(job->load, &record, PUSH_TIMEOUT_MS) && job->refused++ == 0)
        fprintf(stderr, "signup-worker load: line %llu: %s\n", (unsigned long long)job->lines,
                kafka_load_error(job->load));
    arena_fini(&arena);
}

/* Every line until the end. False: reading failed. */
static bool publish_lines(struct load_job *job)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t got;
    while ((got = getline(&line, &size, job->file)) >= 0) {
        size_t len = (size_t)got;
        while (len && (line[len - 1] == '\n' || line[len - 1] == '\r'))
            len--;
        line[len] = '\0';
        if (is_blank(line, len))
            continue;
        publish_line(job, (struct slice){line, len});
        if (job->lines % 512 == 0)
            show(job);
    }
    free(line);
    return !ferror(job->file);
}

static uint64_t lines_of(FILE *file)
{
    struct stat about;
    if (fstat(fileno(file), &about) || !S_ISREG(about.st_mode))
        return 0;
    char chunk[65536];
    uint64_t lines = 0;
    size_t got;
    while ((got = fread(chunk, 1, sizeof chunk, file)) > 0) {
        for (size_t i = 0; i < got; i++)
            lines += chunk[i] == '\n';
    }
    rewind(file);
    return lines;
}

static int summary(const struct load_job *job, bool read_well, int64_t took_us)
{
    struct kafka_load_counts counts;
    kafka_load_counts(job->load, &counts);
    double seconds = (double)took_us / (double)US_PER_S;
    printf("%llu events published to %s in %.1f s (%.0f a second)", (unsigned long long)counts.delivered, job->topic,
           seconds, seconds > 0 ? (double)counts.delivered / seconds : 0);
    if (counts.failed)
        printf(", %llu failed: %s", (unsigned long long)counts.failed, kafka_load_error(job->load));
    putchar('\n');
    if (!read_well)
        return EX_NOINPUT;
    return counts.failed || counts.delivered != job->lines ? EX_UNAVAILABLE : 0;
}

static int load_file(struct load_job *job, const struct config *config)
{
    struct kafka_config kafka;
    struct kafka_property *properties;
    char error[512] = "";
    if (!kafka_config_from(config, &kafka, &properties))
        return EX_OSERR;
    if (!job->topic)
        job->topic = kafka.topics[0];
    job->rules = event_rules_from(config);
    event_prepare();
    job->load = kafka_load_create(&kafka, job->topic, BROKER_TIMEOUT_MS, error, sizeof error);
    free(properties);
    if (!job->load) {
        fprintf(stderr, "signup-worker load: %s\n", error);
        return EX_UNAVAILABLE;
    }
    mono_us_t begin = clock_mono_now();
    term_progress_init(&job->progress, stderr, "publishing events", lines_of(job->file), begin);
    bool read_well = publish_lines(job);
    if (!read_well)
        fprintf(stderr, "signup-worker load: the file cannot be read to its end: %s\n", strerror(errno));
    bool all = kafka_load_flush(job->load, FLUSH_TIMEOUT_MS, flush_progress, job);
    term_progress_finish(&job->progress);
    int code = summary(job, read_well, clock_mono_now().us - begin.us);
    kafka_load_destroy(job->load);
    return code ? code : all ? 0 : EX_UNAVAILABLE;
}

int command_load(int argc, char **argv)
{
    struct load_job job = {0};
    static const struct command_option own[] = {{"topic", true, apply_topic}};
    struct common_options common;
    int operand;
    int code = options_parse(argc, argv, help, 1, own, 1, &job, &common, &operand);
    if (code >= 0)
        return code;
    bool from_stdin = strcmp(argv[operand], "-") == 0;
    job.file = from_stdin ? stdin : fopen(argv[operand], "re");
    if (!job.file) {
        fprintf(stderr, "signup-worker load: %s: %s\n", argv[operand], strerror(errno));
        return EX_NOINPUT;
    }
    struct config *config;
    code = config_open(&common, CONFIG_NEEDS_KAFKA, &config);
    if (code == 0) {
        code = load_file(&job, config);
        config_free(config);
    }
    if (!from_stdin)
        fclose(job.file);
    return code;
}
