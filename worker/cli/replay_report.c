/* What a replay has done, or would do: tables for people, one JSON object for scripts. Phones are masked in
 * both. */
#include "replay_job.h"

#include "signup/base/log.h"
#include "signup/ops/term.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMED_MAX 20 /* events that are named one by one for people; --json names all */

static const char *text_or(struct slice text, const char *otherwise)
{
    return slice_present(text) ? text.ptr : otherwise; /* the plan's texts end with NUL */
}

/* Why this one has not gone; NULL: it has, or it may yet. */
static const char *why_not(const struct plan_event *event)
{
    switch (event->fate) {
    case PLAN_UNSUBSCRIBED:
        return "unsubscribed from the list since";
    case PLAN_SUPERSEDED:
        return "a newer event of the contact was accepted";
    case PLAN_WITHOUT_ORIGINAL:
        return "its original is not kept: there is nothing to send";
    case PLAN_NOT_DEAD:
        return event->letter == PLAN_NO_LETTER ? "not dead any more" : "already there, and not dead";
    case PLAN_UNKNOWN:
        return "its contact could not be looked up";
    case PLAN_REFUSED:
        return "the database refuses its data";
    default:
        return NULL;
    }
}

static const char *detail_of(const struct plan_event *event)
{
    bool known = event->fate == PLAN_UNKNOWN && event->contact && event->contact->why;
    return known ? event->contact->why : "";
}

static int by_size(const void *a, const void *b)
{
    const struct plan_group *x = *(const struct plan_group *const *)a;
    const struct plan_group *y = *(const struct plan_group *const *)b;
    if (x->events != y->events)
        return x->events < y->events ? 1 : -1;
    size_t common = x->key_len < y->key_len ? x->key_len : y->key_len;
    return memcmp(x->key, y->key, common);
}

/* The groups, largest first, for free(); NULL: out of memory. */
static const struct plan_group **groups_of(const struct plan *plan, size_t *count)
{
    *count = HASH_COUNT(plan->groups);
    const struct plan_group **groups = calloc(*count + 1, sizeof *groups);
    size_t i = 0;
    for (const struct plan_group *g = plan->groups; groups && g; g = g->hh.next)
        groups[i++] = g;
    if (groups)
        qsort(groups, *count, sizeof *groups, by_size);
    return groups;
}

static uint64_t would_go(const struct replay_job *job)
{
    uint64_t ready = job->plan.fates[PLAN_READY];
    return job->options.limit && job->options.limit < ready ? job->options.limit : ready;
}

/* ------------------------------------------------------------------ for people: dry run */

struct figures {
    char text[8][TERM_COUNT_BYTES];
};

static const char *figure(char *out, uint64_t value)
{
    if (value)
        term_count_text(value, out);
    else
        snprintf(out, TERM_COUNT_BYTES, "-");
    return out;
}

static void add_group(struct term_table *table, const struct plan_group *group)
{
    struct figures f;
    char status[16] = "-";
    char oldest[WALL_TEXT_BYTES];
    char newest[WALL_TEXT_BYTES];
    if (group->http_status)
        snprintf(status, sizeof status, "%d", group->http_status);
    wall_format_utc(group->oldest, oldest);
    wall_format_utc(group->newest, newest);
    const char *cells[] = {
        text_or(group->code, "-"),
        status,
        text_or(group->list_number, "-"),
        text_or(group->ad_network, "-"),
        figure(f.text[0], group->events),
        figure(f.text[1], group->fates[PLAN_READY]),
        figure(f.text[2], group->fates[PLAN_UNSUBSCRIBED]),
        figure(f.text[3], group->fates[PLAN_SUPERSEDED]),
        figure(f.text[4], group->fates[PLAN_WITHOUT_ORIGINAL]),
        figure(f.text[5], group->fates[PLAN_NOT_DEAD] + group->fates[PLAN_UNKNOWN]),
        oldest,
        newest,
    };
    term_table_add(table, TERM_PLAIN, cells);
}

static void add_total(struct term_table *table, const struct plan *plan)
{
    struct figures f;
    const char *cells[] = {
        "all",
        "",
        "",
        "",
        figure(f.text[0], plan->count),
        figure(f.text[1], plan->fates[PLAN_READY]),
        figure(f.text[2], plan->fates[PLAN_UNSUBSCRIBED]),
        figure(f.text[3], plan->fates[PLAN_SUPERSEDED]),
        figure(f.text[4], plan->fates[PLAN_WITHOUT_ORIGINAL]),
        figure(f.text[5], plan->fates[PLAN_NOT_DEAD] + plan->fates[PLAN_UNKNOWN]),
        "",
        "",
    };
    term_table_add(table, TERM_BOLD, cells);
}

static void write_dry_run(const struct replay_job *job)
{
    static const struct term_column columns[] = {
        {"code", false},       {"status", true},   {"list", false},        {"ad network", false},
        {"dead", true},        {"would go", true}, {"unsubscribed", true}, {"superseded", true},
        {"no original", true}, {"other", true},    {"oldest", false},      {"newest", false}};
    struct term_table table;
    size_t count = 0;
    const struct plan_group **groups = groups_of(&job->plan, &count);
    term_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; groups && i < count; i++)
        add_group(&table, groups[i]);
    add_total(&table, &job->plan);
    term_table_write(&table, stdout);
    term_table_fini(&table);
    free(groups);
    char text[TERM_COUNT_BYTES];
    term_count_text(would_go(job), text);
    printf("\ndry run: %s would go%s; nothing was changed\n", text,
           would_go(job) < job->plan.fates[PLAN_READY] ? " (--limit)" : "");
}

/* ------------------------------------------------------------------ for people: what was done */

static void line(uint64_t value, enum term_style style, const char *text)
{
    char figures[TERM_COUNT_BYTES];
    char whole[160];
    if (!value)
        return;
    term_count_text(value, figures);
    snprintf(whole, sizeof whole, "%12s  %s\n", figures, text);
    term_write(stdout, style, whole);
}

static void write_named(const struct replay_job *job)
{
    size_t named = 0;
    size_t all = 0;
    for (size_t i = 0; i < job->plan.count; i++) {
        const struct plan_event *event = &job->plan.events[i];
        char phone[PHONE_MASK_BYTES] = "";
        if (!why_not(event) || ++all > NAMED_MAX)
            continue;
        if (event->contact)
            phone_mask(event->contact->phone_number, phone);
        const char *detail = detail_of(event);
        printf("%s%s%s%s: %s%s%s%s\n", named++ ? "  " : "\n  ", event->event_id.ptr, phone[0] ? " " : "",
               phone, why_not(event), detail[0] ? " (" : "", detail, detail[0] ? ")" : "");
    }
    if (all > named)
        printf("  … and %zu more; --json names them all\n", all - named);
}

static const char *left_text(const struct replay_job *job)
{
    if (job->interrupted)
        return "left, because it was interrupted: run it again to go on";
    if (job->beyond_limit)
        return "left beyond --limit: run it again to go on";
    return "left: run it again once that is mended";
}

static void write_done(const struct replay_job *job)
{
    const struct plan *plan = &job->plan;
    if (job->replay_id)
        printf("replay %lld by %s\n", (long long)job->replay_id, job->who);
    line(plan->count, TERM_PLAIN, job->letters ? "dead letters selected" : "dead events selected");
    line(plan->fates[PLAN_REPLAYED], TERM_GOOD, "replayed: the running workers take them up");
    line(plan->fates[PLAN_UNSUBSCRIBED], TERM_PLAIN, "skipped: unsubscribed from the list since");
    line(plan->fates[PLAN_SUPERSEDED], TERM_PLAIN, "skipped: superseded by a newer accepted event");
    line(plan->fates[PLAN_NOT_DEAD], TERM_PLAIN,
         job->letters ? "skipped: already there" : "skipped: not dead any more");
    line(plan->fates[PLAN_WITHOUT_ORIGINAL], TERM_WARN, "cannot go: the original is not kept");
    line(plan->fates[PLAN_REFUSED], TERM_BAD, "cannot go: the database refuses their data");
    line(plan->fates[PLAN_UNKNOWN], TERM_BAD, "left dead: the contact could not be looked up");
    line(plan->fates[PLAN_READY], TERM_WARN, left_text(job));
}

static void write_letters(const struct replay_job *job)
{
    const struct kafka_letters_counts *counts = letters_counts(job->letters);
    uint64_t unreadable = letters_unreadable(job->letters);
    printf("read %llu records of %s", (unsigned long long)counts->given, job->options.from_topic);
    if (counts->pointers)
        printf(", %llu of them pointers without the original", (unsigned long long)counts->pointers);
    if (unreadable)
        printf(", %llu no letters of ours: left alone", (unsigned long long)unreadable);
    putchar('\n');
}

static void write_outcomes(const struct replay_job *job)
{
    static const struct term_column columns[] = {
        {"outcome", false}, {"code", false}, {"status", true}, {"events", true}};
    struct term_table table;
    char events[TERM_COUNT_BYTES];
    char status[16];
    putchar('\n');
    term_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (const struct replay_outcome *o = job->outcomes; o; o = o->hh.next) {
        snprintf(status, sizeof status, "%d", o->http_status);
        term_count_text(o->events, events);
        const char *cells[] = {o->accepted ? "accepted" : "dead again", replay_outcome_code(o),
                               o->http_status ? status : "-", events};
        term_table_add(&table, o->accepted ? TERM_GOOD : TERM_BAD, cells);
    }
    if (job->waiting) {
        term_count_text(job->waiting, events);
        const char *cells[] = {"not final yet", "", "", events};
        term_table_add(&table, TERM_WARN, cells);
    }
    term_table_write(&table, stdout);
    term_table_fini(&table);
}

static void write_ids_given(const struct replay_job *job)
{
    size_t given = job->options.event_ids.count;
    if (given && !job->letters && job->plan.count != given)
        printf("%zu event ids were given, %zu of them are dead and selected\n", given, job->plan.count);
}

/* ------------------------------------------------------------------ for scripts */

static json_t *json_slice(struct slice text)
{
    json_t *json = slice_present(text) ? json_stringn(text.ptr, text.len) : NULL;
    return json ? json : json_null();
}

static json_t *json_time(wall_us_t time)
{
    char text[WALL_TEXT_BYTES];
    wall_format_utc(time, text);
    return json_string(text);
}

static json_t *json_count(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *json_status(int status)
{
    return status ? json_integer(status) : json_null();
}

static json_t *json_fates(const uint64_t *fates)
{
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "replayed", json_count(fates[PLAN_REPLAYED]),
                     "unsubscribed", json_count(fates[PLAN_UNSUBSCRIBED]), "superseded",
                     json_count(fates[PLAN_SUPERSEDED]), "without_original",
                     json_count(fates[PLAN_WITHOUT_ORIGINAL]), "not_dead", json_count(fates[PLAN_NOT_DEAD]),
                     "failed", json_count(fates[PLAN_UNKNOWN] + fates[PLAN_REFUSED]), "left",
                     json_count(fates[PLAN_READY]));
}

static json_t *json_groups(const struct replay_job *job)
{
    json_t *list = json_array();
    size_t count = 0;
    const struct plan_group **groups = groups_of(&job->plan, &count);
    for (size_t i = 0; groups && i < count; i++) {
        json_t *group = json_fates(groups[i]->fates);
        json_object_set_new(group, "code", json_slice(groups[i]->code));
        json_object_set_new(group, "status", json_status(groups[i]->http_status));
        json_object_set_new(group, "list_number", json_slice(groups[i]->list_number));
        json_object_set_new(group, "ad_network_source", json_slice(groups[i]->ad_network));
        json_object_set_new(group, "events", json_count(groups[i]->events));
        json_object_set_new(group, "oldest", json_time(groups[i]->oldest));
        json_object_set_new(group, "newest", json_time(groups[i]->newest));
        json_array_append_new(list, group);
    }
    free(groups);
    return list;
}

static json_t *json_not_replayed(const struct plan *plan)
{
    json_t *list = json_array();
    for (size_t i = 0; i < plan->count; i++) {
        const struct plan_event *event = &plan->events[i];
        char phone[PHONE_MASK_BYTES] = "";
        if (!why_not(event))
            continue;
        if (event->contact)
            phone_mask(event->contact->phone_number, phone);
        json_t *item = json_pack("{s:o,s:s,s:s}", "event_id", json_slice(event->event_id), "why",
                                 plan_fate_str(event->fate), "detail", detail_of(event));
        if (phone[0])
            json_object_set_new(item, "phone_number", json_string(phone));
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *json_outcomes(const struct replay_job *job)
{
    json_t *list = json_array();
    for (const struct replay_outcome *o = job->outcomes; o; o = o->hh.next)
        json_array_append_new(list, json_pack("{s:s,s:s,s:o,s:o}", "state", o->accepted ? "accepted" : "dead",
                                              "code", replay_outcome_code(o), "status",
                                              json_status(o->http_status), "events", json_count(o->events)));
    return list;
}

static json_t *json_letters(const struct replay_job *job)
{
    const struct kafka_letters_counts *counts = letters_counts(job->letters);
    return json_pack("{s:s,s:o,s:o,s:o}", "topic", job->options.from_topic, "read", json_count(counts->given),
                     "pointers", json_count(counts->pointers), "unreadable",
                     json_count(letters_unreadable(job->letters)));
}

static void write_json(const struct replay_job *job)
{
    const struct replay_options *options = &job->options;
    json_t *report = json_fates(job->plan.fates);
    json_object_set_new(report, "dry_run", json_boolean(options->dry_run));
    json_object_set_new(report, "replay_id", job->replay_id ? json_integer(job->replay_id) : json_null());
    json_object_set_new(report, "who", json_string(job->who));
    json_object_set_new(report, "selected", json_count(job->plan.count));
    json_object_set_new(report, "interrupted", json_boolean(job->interrupted));
    json_object_set_new(report, "exit_code", json_integer(job->exit_code));
    json_object_set_new(report, "groups", json_groups(job));
    json_object_set_new(report, "not_replayed", json_not_replayed(&job->plan));
    if (options->dry_run)
        json_object_set_new(report, "would_go", json_count(would_go(job)));
    if (options->wait) {
        json_object_set_new(report, "outcomes", json_outcomes(job));
        json_object_set_new(report, "waiting", json_count(job->waiting));
    }
    if (job->letters)
        json_object_set_new(report, "letters", json_letters(job));
    json_dumpf(report, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(report);
}

void replay_report(const struct replay_job *job)
{
    if (job->options.json) {
        write_json(job);
        return;
    }
    if (job->letters)
        write_letters(job);
    write_ids_given(job);
    if (!job->plan.count) {
        puts(job->letters ? "no dead letter is selected: nothing to do"
                          : "no dead event is selected: nothing to do");
        return;
    }
    if (job->options.dry_run)
        write_dry_run(job);
    else
        write_done(job);
    write_named(job);
    if (job->options.wait && job->plan.fates[PLAN_REPLAYED])
        write_outcomes(job);
}
