/* The command line of `replay`: reads it, judges it, and says it again as JSON for the record. */
#include "replay_options.h"

#include "signup/base/outcome.h"
#include "signup/event/phone.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#define IDS_IN_RECORD 100 /* more event ids than these are only counted in the record */

static const char help[] =
    "usage: signup-worker replay SELECTION [--dry-run] [options] [--config FILE]\n\n"
    "Brings dead events back: each goes to the running workers as a parked event that is due now. Events of one contact\n"
    "keep their order. Before an event goes, its contact is looked up: one who has unsubscribed from that list since is\n"
    "left alone. So is an event that a newer accepted one of the same contact has overtaken. Running it again, also at\n"
    "the same time, brings nothing back twice; interrupted with Ctrl-C it finishes its batch, and run again it goes on.\n\n"
    "selection: what is given must all apply; of an option given more than once, one is enough\n"
    "  --code CODE         the error code, e.g. not_sendable\n"
    "  --status N          the HTTP status; 0: there was none\n"
    "  --class CLASS       rejected, misrouted, unauthorized, billing, throttled, provider, server, transport\n"
    "  --list NUMBER       the sending list\n"
    "  --ad-network NAME   ad_network_source\n"
    "  --ad-id ID          ad_network_id\n"
    "  --since TIME        died at this time or later: 2025-03-15T14:30:00Z, 2025-03-15, or 24h ago as 24h\n"
    "  --until TIME        died before this time\n"
    "  --event ID          one event\n"
    "  --events-from FILE  the events named in FILE, one id a line (\"-\" reads standard input)\n"
    "  --all               every dead event\n\n"
    "options:\n"
    "  --dry-run           say what would go, in groups; change nothing\n"
    "  --limit N           at most N events go\n"
    "  --rate N/s          at most N events, and N look-ups, a second (also N/min, N/h)\n"
    "  --include-unsubscribed   also those who have unsubscribed; nobody is looked up\n"
    "  --include-superseded     also those that a newer accepted event has overtaken\n"
    "  --wait              wait until the workers are through, say what became of them\n"
    "  --reason TEXT       why, for the record in signup.replay\n"
    "  --by NAME           who, instead of the user of this process and its host\n"
    "  --from-topic TOPIC  take the dead letters of TOPIC instead of the ledger's dead events: for when the ledger is gone\n"
    "  --json              say everything as one JSON object, for scripts\n\n"
    "examples:\n"
    "  signup-worker replay --code list_not_found --since 24h --dry-run\n"
    "  signup-worker replay --code list_not_found --since 24h --wait --reason \"the list was renamed\"\n"
    "  signup-worker replay --class billing --list +18335550100 --rate 50/s\n"
    "  signup-worker replay --event lp-42-000017\n"
    "  signup-worker replay --from-topic signups.dlq --all --dry-run\n\n"
    "exit codes: 0 everything selected has gone, or was left alone for a reason that was said; 64 usage; 65 something\n"
    "            cannot go (its original is not kept, or a letter cannot be read), or with --wait something died again;\n"
    "            66 a file is missing; 69 a server is away; 75 not everything has gone: interrupted, or a contact could not\n"
    "            be looked up (run it again); 77 the key or a login is refused; 78 configuration\n";

/* ------------------------------------------------------------------ values */

static bool strings_add(struct replay_strings *strings, const char *text, size_t len)
{
    char **items = reallocarray(strings->items, strings->count + 1, sizeof *items);
    if (!items)
        return false;
    strings->items = items;
    items[strings->count] = strndup(text, len);
    return items[strings->count] && ++strings->count;
}

static void strings_fini(struct replay_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        free(strings->items[i]);
    free(strings->items);
}

static bool add_text(struct replay_strings *strings, const char *value)
{
    return value[0] && strings_add(strings, value, strlen(value));
}

#define TEXT_OPTION(field)                                                                                   \
    static bool apply_##field(void *ctx, const char *value)                                                  \
    {                                                                                                        \
        return add_text(&((struct replay_options *)ctx)->field, value);                                      \
    }
TEXT_OPTION(codes)
TEXT_OPTION(lists)
TEXT_OPTION(ad_networks)
TEXT_OPTION(ad_ids)
TEXT_OPTION(event_ids)

static bool apply_class(void *ctx, const char *value)
{
    struct replay_options *options = ctx;
    for (int cls = OUTCOME_ACCEPTED + 1; cls < OUTCOME_CLASS_COUNT; cls++) {
        if (strcmp(value, outcome_class_str((enum outcome_class)cls)) == 0)
            return add_text(&options->classes, value);
    }
    return false;
}

static bool whole_number(const char *text, uint64_t max, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return isdigit((unsigned char)text[0]) && !*end && errno == 0 && *out <= max;
}

static bool apply_status(void *ctx, const char *value)
{
    struct replay_options *options = ctx;
    uint64_t status;
    if (!whole_number(value, 999, &status) || (status && status < 100))
        return false;
    int *statuses = reallocarray(options->statuses, options->status_count + 1, sizeof *statuses);
    if (!statuses)
        return false;
    options->statuses = statuses;
    statuses[options->status_count++] = (int)status;
    return true;
}

static bool apply_limit(void *ctx, const char *value)
{
    struct replay_options *options = ctx;
    return whole_number(value, INT64_MAX, &options->limit) && options->limit > 0;
}

static bool apply_rate(void *ctx, const char *value)
{
    struct replay_options *options = ctx;
    char *unit;
    double number = strtod(value, &unit);
    double seconds = !*unit || strcmp(unit, "/s") == 0 ? 1
                     : strcmp(unit, "/min") == 0       ? 60
                     : strcmp(unit, "/h") == 0         ? 3600
                                                       : 0;
    options->rate = seconds > 0 ? number / seconds : 0;
    return isdigit((unsigned char)value[0]) && isfinite(number) && options->rate > 0;
}

static bool apply_since(void *ctx, const char *value)
{
    struct replay_options *options = ctx;
    return options->has_since = replay_time_read(value, options->now, &options->since);
}

static bool apply_until(void *ctx, const char *value)
{
    struct replay_options *options = ctx;
    return options->has_until = replay_time_read(value, options->now, &options->until);
}

#define WORD_OPTION(field)                                                                                   \
    static bool apply_##field(void *ctx, const char *value)                                                  \
    {                                                                                                        \
        ((struct replay_options *)ctx)->field = value;                                                       \
        return value[0] != '\0';                                                                             \
    }
WORD_OPTION(reason)
WORD_OPTION(by)
WORD_OPTION(from_topic)
WORD_OPTION(events_from)

#define FLAG_OPTION(field)                                                                                   \
    static bool apply_##field(void *ctx, const char *value)                                                  \
    {                                                                                                        \
        (void)value;                                                                                         \
        return ((struct replay_options *)ctx)->field = true;                                                 \
    }
FLAG_OPTION(all)
FLAG_OPTION(dry_run)
FLAG_OPTION(include_unsubscribed)
FLAG_OPTION(include_superseded)
FLAG_OPTION(wait)
FLAG_OPTION(json)

static const struct command_option own[] = {
    {"code", true, apply_codes},
    {"status", true, apply_status},
    {"class", true, apply_class},
    {"list", true, apply_lists},
    {"ad-network", true, apply_ad_networks},
    {"ad-id", true, apply_ad_ids},
    {"since", true, apply_since},
    {"until", true, apply_until},
    {"event", true, apply_event_ids},
    {"events-from", true, apply_events_from},
    {"all", false, apply_all},
    {"dry-run", false, apply_dry_run},
    {"limit", true, apply_limit},
    {"rate", true, apply_rate},
    {"include-unsubscribed", false, apply_include_unsubscribed},
    {"include-superseded", false, apply_include_superseded},
    {"wait", false, apply_wait},
    {"reason", true, apply_reason},
    {"by", true, apply_by},
    {"from-topic", true, apply_from_topic},
    {"json", false, apply_json},
};

/* ------------------------------------------------------------------ times */

static bool ago_read(const char *text, int64_t *us)
{
    static const char units[] = "smhdw";
    static const int64_t seconds[] = {1, 60, 3600, 86400, 604800};
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    const char *unit = *end && isdigit((unsigned char)text[0]) ? strchr(units, *end) : NULL;
    if (!unit || end[1] || errno || number > 1000000000)
        return false;
    *us = number * seconds[unit - units] * US_PER_S;
    return true;
}

/* What stands behind the time: nothing, Z, ±hh, ±hhmm, ±hh:mm. */
static bool zone_read(const char *text, int *minutes)
{
    *minutes = 0;
    if (!*text || ((*text == 'Z' || *text == 'z') && !text[1]))
        return true;
    unsigned hours = 0;
    unsigned rest = 0;
    int end = 0;
    const char *digits = text + 1;
    bool read = (*text == '+' || *text == '-') && isdigit((unsigned char)*digits) &&
                ((sscanf(digits, "%2u:%2u%n", &hours, &rest, &end) == 2 && end == 5) ||
                 (sscanf(digits, "%2u%2u%n", &hours, &rest, &end) == 2 && end == 4) ||
                 (rest = 0, sscanf(digits, "%2u%n", &hours, &end) == 1 && end == 2));
    *minutes = (int)(hours * 60 + rest) * (*text == '-' ? -1 : 1);
    return read && !digits[end] && hours < 24 && rest < 60;
}

bool replay_time_read(const char *text, wall_us_t now, wall_us_t *out)
{
    int64_t ago;
    if (ago_read(text, &ago)) {
        out->us = now.us - ago;
        return true;
    }
    struct tm tm = {0};
    const char *rest = isdigit((unsigned char)text[0]) ? strptime(text, "%Y-%m-%d", &tm) : NULL;
    int day = tm.tm_mday;
    if (rest && (*rest == 'T' || *rest == 't' || *rest == ' ')) {
        rest = strptime(rest + 1, "%H:%M", &tm);
        if (rest && *rest == ':')
            rest = strptime(rest + 1, "%S", &tm);
        if (rest && *rest == '.' && isdigit((unsigned char)rest[1]))
            rest += 1 + strspn(rest + 1, "0123456789");
    } else if (rest && *rest) {
        return false;
    }
    int minutes;
    if (!rest || !zone_read(rest, &minutes))
        return false;
    time_t seconds = timegm(&tm);
    out->us = ((int64_t)seconds - (int64_t)minutes * 60) * US_PER_S;
    return tm.tm_mday == day; /* 30 February is no day */
}

/* ------------------------------------------------------------------ reading */

static int events_read(struct replay_options *options)
{
    bool from_stdin = strcmp(options->events_from, "-") == 0;
    FILE *file = from_stdin ? stdin : fopen(options->events_from, "re");
    char *line = NULL;
    size_t size = 0;
    bool room = true;
    while (file && room && getline(&line, &size, file) >= 0) {
        size_t len = strcspn(line, "\r\n");
        room = !len || strings_add(&options->event_ids, line, len);
    }
    bool well = file && room && !ferror(file);
    if (!well)
        fprintf(stderr, "signup-worker replay: %s: %s\n", options->events_from,
                strerror(room ? errno : ENOMEM));
    free(line);
    if (file && !from_stdin)
        fclose(file);
    return well ? 0 : EX_NOINPUT;
}

static bool selects(const struct replay_options *o)
{
    return o->codes.count || o->classes.count || o->lists.count || o->ad_networks.count || o->ad_ids.count ||
           o->event_ids.count || o->status_count || o->has_since || o->has_until || o->events_from;
}

static int usage(const char *what)
{
    fprintf(stderr, "signup-worker replay: %s; see signup-worker replay --help\n", what);
    return EX_USAGE;
}

int replay_options_read(int argc, char **argv, struct replay_options *out)
{
    *out = (struct replay_options){.now = clock_wall_now()};
    int operand;
    int code =
        options_parse(argc, argv, help, 0, own, sizeof own / sizeof own[0], out, &out->common, &operand);
    if (code >= 0)
        return code;
    if (!selects(out) && !out->all)
        return usage("say which dead events (--code, --since, --event, …), or --all of them");
    if (selects(out) && out->all)
        return usage("--all and a narrower selection exclude each other");
    if (out->dry_run && out->wait)
        return usage("--dry-run brings nothing back that --wait could wait for");
    if (out->has_since && out->has_until && out->since.us >= out->until.us)
        return usage("--since is not before --until");
    if (out->events_from && (code = events_read(out)) != 0)
        return code;
    if (out->events_from && !out->event_ids.count)
        return usage("--events-from names no event");
    return -1;
}

void replay_options_fini(struct replay_options *options)
{
    struct replay_strings *all[] = {&options->codes,       &options->classes, &options->lists,
                                    &options->ad_networks, &options->ad_ids,  &options->event_ids};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        strings_fini(all[i]);
    free(options->statuses);
}

bool replay_options_lists(struct replay_options *options, const char *country)
{
    for (size_t i = 0; i < options->lists.count; i++) {
        char e164[PHONE_E164_BYTES];
        char *copy = NULL;
        if (phone_to_e164(slice_from_str(options->lists.items[i]), country, e164))
            copy = strdup(e164);
        if (!copy) {
            fprintf(stderr, "signup-worker replay: --list %s is not a phone number\n",
                    options->lists.items[i]);
            return false;
        }
        free(options->lists.items[i]);
        options->lists.items[i] = copy;
    }
    return true;
}

static struct replay_texts texts_of(const struct replay_strings *strings)
{
    return (struct replay_texts){(const char *const *)strings->items, strings->count};
}

struct replay_filter replay_options_filter(const struct replay_options *options)
{
    return (struct replay_filter){
        .codes = texts_of(&options->codes),
        .classes = texts_of(&options->classes),
        .lists = texts_of(&options->lists),
        .ad_networks = texts_of(&options->ad_networks),
        .ad_ids = texts_of(&options->ad_ids),
        .event_ids = texts_of(&options->event_ids),
        .statuses = options->statuses,
        .status_count = options->status_count,
        .has_since = options->has_since,
        .has_until = options->has_until,
        .since = options->since,
        .until = options->until,
        .superseded_too = options->include_superseded,
    };
}

/* ------------------------------------------------------------------ the record */

static void json_put_texts(json_t *object, const char *name, const struct replay_strings *strings)
{
    if (!strings->count)
        return;
    json_t *list = json_array();
    for (size_t i = 0; i < strings->count; i++)
        json_array_append_new(list, json_string(strings->items[i]));
    json_object_set_new(object, name, list);
}

static void json_put_time(json_t *object, const char *name, bool present, wall_us_t time)
{
    char text[WALL_TEXT_BYTES];
    wall_format_utc(time, text);
    if (present)
        json_object_set_new(object, name, json_string(text));
}

static void json_put_flag(json_t *object, const char *name, bool flag)
{
    if (flag)
        json_object_set_new(object, name, json_true());
}

static void json_put_statuses(json_t *object, const struct replay_options *options)
{
    json_t *list = json_array();
    for (size_t i = 0; i < options->status_count; i++)
        json_array_append_new(list, json_integer(options->statuses[i]));
    if (options->status_count)
        json_object_set(object, "status", list);
    json_decref(list);
}

char *replay_options_json(const struct replay_options *options)
{
    json_t *object = json_object();
    json_put_flag(object, "all", options->all);
    json_put_texts(object, "code", &options->codes);
    json_put_statuses(object, options);
    json_put_texts(object, "class", &options->classes);
    json_put_texts(object, "list", &options->lists);
    json_put_texts(object, "ad_network", &options->ad_networks);
    json_put_texts(object, "ad_id", &options->ad_ids);
    if (options->event_ids.count <= IDS_IN_RECORD)
        json_put_texts(object, "event", &options->event_ids);
    else
        json_object_set_new(object, "events_named", json_integer((json_int_t)options->event_ids.count));
    json_put_time(object, "since", options->has_since, options->since);
    json_put_time(object, "until", options->has_until, options->until);
    if (options->limit)
        json_object_set_new(object, "limit", json_integer((json_int_t)options->limit));
    if (options->rate > 0)
        json_object_set_new(object, "rate_per_second", json_real(options->rate));
    if (options->from_topic)
        json_object_set_new(object, "from_topic", json_string(options->from_topic));
    json_put_flag(object, "include_unsubscribed", options->include_unsubscribed);
    json_put_flag(object, "include_superseded", options->include_superseded);
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}
