/* /status and /readyz: the snapshot as JSON for people and scripts, and as one word with its reasons for
 * probes. */
#include "signup/ops/status.h"

#include <inttypes.h>
#include <string.h>

/* ------------------------------------------------------------------ JSON */

/* How many bytes of `text` make one UTF-8 character; 0: they make none (Unicode 15, table 3-7). */
static size_t utf8_len(const unsigned char *text, size_t len)
{
    unsigned char c = text[0];
    if (c < 0x80)
        return 1;
    size_t need = c >= 0xc2 && c <= 0xdf ? 2 : c >= 0xe0 && c <= 0xef ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (!need || need > len)
        return 0;
    unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return need;
}

/* A server's message may come in another encoding: what is no UTF-8 becomes a question mark. */
static void write_text(struct buf *out, struct slice text)
{
    struct buf clean;
    buf_init(&clean, text.len + 1);
    for (size_t i = 0; i < text.len;) {
        size_t len = utf8_len((const unsigned char *)text.ptr + i, text.len - i);
        if (len)
            buf_append(&clean, text.ptr + i, len);
        else
            buf_append_char(&clean, '?');
        i += len ? len : 1;
    }
    buf_append_json_string(out, buf_ok(&clean) ? buf_slice(&clean) : SLICE_LITERAL(""));
    buf_fini(&clean);
}

static void write_str(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "\"%s\":", name);
    write_text(out, slice_from_str(text ? text : ""));
}

static const char *bool_str(bool value)
{
    return value ? "true" : "false";
}

/* "name":"2025-03-15T14:30:00.123Z" or null for an unknown time. */
static void write_time(struct buf *out, const char *name, wall_us_t t)
{
    char text[WALL_TEXT_MS_BYTES];
    if (!t.us) {
        buf_printf(out, "\"%s\":null", name);
        return;
    }
    wall_format_utc_ms(t, text);
    buf_printf(out, "\"%s\":\"%s\"", name, text);
}

static void write_seconds(struct buf *out, const char *name, int64_t us)
{
    buf_printf(out, "\"%s\":", name);
    int64_t ms = us > 0 ? us / US_PER_MS : 0;
    buf_append_json_real(out, (double)ms / 1000.0);
}

/* Monotonic to wall, as of the snapshot. */
static wall_us_t wall_of(const struct ops_snapshot *s, mono_us_t t)
{
    return (wall_us_t){s->wall.us - (s->now.us - t.us)};
}

static void write_offset(struct buf *out, const char *name, int64_t offset)
{
    if (offset < 0)
        buf_printf(out, ",\"%s\":null", name);
    else
        buf_printf(out, ",\"%s\":%" PRId64, name, offset);
}

/* ------------------------------------------------------------------ parts */

static void write_servers(struct buf *out, const struct ops_snapshot *s)
{
    buf_append_str(out, "\"servers\":[");
    for (size_t i = 0; i < s->server_count; i++) {
        const struct snapshot_server *server = &s->servers[i];
        buf_append_str(out, i ? ",{" : "{");
        write_str(out, "name", server->name);
        buf_printf(out, ",\"connected\":%s,", bool_str(server->connected));
        write_str(out, "state", server->state);
        buf_append_char(out, ',');
        write_time(out, "since", server->since);
        buf_append_char(out, ',');
        write_str(out, "why", server->why);
        buf_append_char(out, '}');
    }
    buf_append_str(out, "]");
}

static void write_gates(struct buf *out, const struct ops_snapshot *s)
{
    bool first = true;
    buf_append_str(out, "\"gates\":[");
    for (size_t i = 0; i < PIPELINE_GATES; i++) {
        const struct pipeline_gate_status *gate = &s->status.gates[i];
        if (!gate->route)
            continue;
        buf_append_str(out, first ? "{" : ",{");
        first = false;
        write_str(out, "route", gate->route);
        buf_printf(out, ",\"open\":%s,", bool_str(gate->open));
        write_str(out, "why", gate->why);
        buf_append_char(out, ',');
        write_time(out, "closed_since", gate->open ? (wall_us_t){0} : wall_of(s, gate->closed_since));
        buf_append_char(out, ',');
        write_seconds(out, "closed_seconds", gate->open ? 0 : s->now.us - gate->closed_since.us);
        buf_printf(out, ",\"in_flight\":%zu,\"limit\":%zu,\"limit_max\":%zu}", gate->in_flight, gate->limit,
                   gate->limit_max);
    }
    buf_append_str(out, "]");
}

static void write_backlog(struct buf *out, const struct ops_snapshot *s)
{
    const struct snapshot_backlog *backlog = &s->backlog;
    buf_append_str(out, "\"backlog\":");
    if (!backlog->known) {
        buf_append_str(out, "null");
        return;
    }
    buf_printf(out, "{\"parked\":%" PRIu64 ",\"parked_due\":%" PRIu64 ",", backlog->parked,
               backlog->parked_due);
    write_seconds(out, "oldest_parked_due_seconds", backlog->oldest_parked_due_us);
    buf_printf(out, ",\"dead_unpublished\":%" PRIu64 ",", backlog->dead_unpublished);
    write_seconds(out, "oldest_unpublished_seconds", backlog->oldest_unpublished_us);
    buf_printf(out, ",\"outcomes_unpublished\":%" PRIu64 ",", backlog->outcomes_unpublished);
    write_seconds(out, "oldest_outcome_seconds", backlog->oldest_outcome_us);
    buf_append_char(out, ',');
    write_time(out, "as_of", wall_of(s, backlog->as_of));
    buf_append_char(out, '}');
}

static void write_partitions(struct buf *out, const struct ops_snapshot *s)
{
    buf_append_str(out, "\"partitions\":[");
    for (size_t i = 0; i < s->partition_count; i++) {
        const struct pipeline_partition_status *status = &s->partitions[i].status;
        buf_append_str(out, i ? ",{\"topic\":" : "{\"topic\":");
        write_text(out, status->partition.topic);
        buf_printf(out, ",\"partition\":%" PRId32, status->partition.partition);
        write_offset(out, "watermark", status->watermark);
        write_offset(out, "committed", status->committed);
        write_offset(out, "last_delivered", status->last_delivered);
        write_offset(out, "lag", s->partitions[i].lag);
        buf_printf(out, ",\"unfinished\":%zu,\"paused\":%s}", status->unfinished, bool_str(status->paused));
    }
    buf_append_str(out, "]");
}

/* Why the oldest event is not finished: a closed route explains more than the event's own state. */
static void write_why(struct buf *out, const struct ops_snapshot *s)
{
    const struct pipeline_status *status = &s->status;
    struct buf text;
    buf_init(&text, 1024);
    buf_append_str(&text, status->oldest_state ? status->oldest_state : "");
    if (status->oldest_code && status->oldest_code[0])
        buf_printf(&text, "; the last try ended with %.64s", status->oldest_code);
    for (size_t i = 0; i < PIPELINE_GATES; i++)
        if (status->gates[i].route && !status->gates[i].open)
            buf_printf(&text, "; %s is closed: %.200s", status->gates[i].route,
                       status->gates[i].why ? status->gates[i].why : "");
    buf_append_str(out, ",\"why\":");
    write_text(out, buf_ok(&text) ? buf_slice(&text) : SLICE_LITERAL(""));
    buf_fini(&text);
}

static void write_oldest(struct buf *out, const struct ops_snapshot *s)
{
    const struct pipeline_status *status = &s->status;
    buf_append_str(out, "\"oldest_unfinished\":");
    if (!status->has_oldest) {
        buf_append_str(out, "null");
        return;
    }
    buf_append_str(out, "{\"topic\":");
    write_text(out, status->oldest_partition.topic);
    buf_printf(out, ",\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",", status->oldest_partition.partition,
               status->oldest_offset);
    write_time(out, "since", wall_of(s, status->oldest_since));
    buf_append_char(out, ',');
    write_seconds(out, "age_seconds", s->now.us - status->oldest_since.us);
    buf_append_char(out, ',');
    write_str(out, "state", status->oldest_state);
    buf_printf(out, ",\"attempts\":%d,", status->oldest_attempts);
    write_str(out, "last_code", status->oldest_code);
    write_why(out, s);
    buf_append_char(out, '}');
}

/* "name":12.5, exact: money is counted in millionths of a US dollar. */
static void write_usd(struct buf *out, const char *name, int64_t millionths)
{
    buf_printf(out, "\"%s\":%" PRId64 ".%06" PRId64, name, millionths / 1000000, millionths % 1000000);
}

/* Null: the ledger has not said yet. */
static void write_spend(struct buf *out, const struct ops_snapshot *s)
{
    const struct pipeline_spend *spend = &s->status.spend;
    buf_append_str(out, "\"spend\":");
    if (!spend->known) {
        buf_append_str(out, "null");
        return;
    }
    buf_append_char(out, '{');
    write_usd(out, "spent_usd", spend->spent);
    buf_append_char(out, ',');
    if (spend->budget == BUDGET_NONE)
        buf_append_str(out, "\"budget_usd\":null");
    else
        write_usd(out, "budget_usd", spend->budget);
    buf_printf(out, ",\"exhausted\":%s,", bool_str(spend->exhausted));
    write_time(out, "day_ends_at", (wall_us_t){s->wall.us + spend->day_ends_in_us});
    buf_append_char(out, '}');
}

static void write_lists(struct buf *out, const char *name, const struct snapshot_lists *lists)
{
    uint64_t total = lists ? lists->other : 0;
    for (size_t i = 0; lists && i < lists->count; i++)
        total += lists->lists[i].count;
    buf_printf(out, "\"%s\":{\"total\":%" PRIu64 ",\"other\":%" PRIu64 ",\"lists\":[", name, total,
               lists ? lists->other : 0);
    for (size_t i = 0; lists && i < lists->count; i++)
        buf_printf(out, "%s{\"list_number\":\"%s\",\"count\":%" PRIu64 "}", i ? "," : "",
                   lists->lists[i].number, lists->lists[i].count);
    buf_append_str(out, "]}");
}

static void write_counters(struct buf *out, const struct pipeline_counters *counters)
{
    buf_append_str(out, "\"counters\":{");
    if (counters) {
#define X(name, help)                          \
    if (strcmp(#name, "validation_cost") != 0) \
        buf_printf(out, "\"" #name "\":%" PRIu64 ",", counters->name);
        PIPELINE_COUNTERS(X)
#undef X
        write_usd(out, "validation_cost_usd", (int64_t)counters->validation_cost);
        buf_append_char(out, ',');
        buf_append_str(out, "\"answers\":{");
        for (enum outcome_class cls = 0; cls < OUTCOME_CLASS_COUNT; cls++)
            buf_printf(out, "%s\"%s\":%" PRIu64, cls ? "," : "", outcome_class_str(cls),
                       counters->by_class[cls]);
        buf_append_char(out, '}');
    }
    buf_append_char(out, '}');
}

static void write_reasons(struct buf *out, const struct ops_snapshot *s)
{
    buf_append_str(out, "\"reasons\":[");
    for (size_t i = 0; i < s->reason_count; i++) {
        if (i)
            buf_append_char(out, ',');
        write_text(out, slice_from_str(s->reasons[i]));
    }
    buf_append_str(out, "]");
}

void status_render(struct buf *out, const struct ops_snapshot *s)
{
    const struct pipeline_status *status = &s->status;
    buf_append_char(out, '{');
    write_str(out, "version", SIGNUP_VERSION);
    buf_append_char(out, ',');
    write_time(out, "now", s->wall);
    buf_append_char(out, ',');
    write_time(out, "started_at", s->started);
    buf_append_char(out, ',');
    write_seconds(out, "uptime_seconds", s->uptime_us);
    buf_printf(out, ",\"ready\":%s,", bool_str(s->ready));
    write_reasons(out, s);
    buf_printf(out, ",\"draining\":%s,\"intake\":{\"open\":%s,", bool_str(status->draining),
               bool_str(status->intake_open));
    write_str(out, "why", status->intake_why);
    buf_printf(out, "},\"deliveries\":%zu,\"in_flight\":%zu,", status->deliveries, status->calls_in_flight);
    buf_printf(out, "\"waiting\":{\"retry\":%zu,\"claim\":%zu},\"taken_up\":%zu,", status->waiting_retry,
               status->waiting_claim, status->taken_up);
    buf_printf(out, "\"fuse_blown\":%s,\"dead_letter_alarm\":%s,", bool_str(status->fuse_blown),
               bool_str(snapshot_letters_alarm(s)));
    buf_printf(out, "\"lanes\":%zu,\"memory_bytes\":%zu,\"validating\":%zu,", status->lanes,
               status->memory_bytes, status->validating);
    write_spend(out, s);
    buf_append_char(out, ',');
    write_lists(out, "journeys_missed", s->journeys_missed);
    buf_append_char(out, ',');
    write_lists(out, "list_not_found", s->list_not_found);
    buf_append_char(out, ',');
    write_oldest(out, s);
    buf_append_char(out, ',');
    write_gates(out, s);
    buf_append_char(out, ',');
    write_backlog(out, s);
    buf_append_char(out, ',');
    write_servers(out, s);
    buf_append_char(out, ',');
    write_partitions(out, s);
    buf_append_char(out, ',');
    write_counters(out, s->counters);
    buf_append_str(out, "}\n");
}

/* What a closed gate means to whoever reads the probe's answer. */
static const char *gate_meaning(const char *route)
{
    static const struct {
        const char *route;
        const char *meaning;
    } meanings[] = {
        {"upsert", "no signup is sent, one call at a time probes"},
        {"validate", "no phone is validated, signups without validation go on"},
        {"ledger", "nothing is consumed and nobody is called"},
        {"dead_letter", "dead letters wait in the ledger, signups go on"},
        {"outcomes", "outcomes wait in the ledger, signups go on"},
    };
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
        if (strcmp(route, meanings[i].route) == 0)
            return meanings[i].meaning;
    return "it admits nothing";
}

/* One line, whatever a server has said. */
static void write_line(struct buf *out, const char *text)
{
    for (const char *c = text; *c; c++)
        buf_append(out, (unsigned char)*c < 0x20 ? " " : c, 1);
    buf_append_char(out, '\n');
}

static void write_closed_gates(struct buf *out, const struct ops_snapshot *s)
{
    for (size_t i = 0; i < PIPELINE_GATES; i++) {
        const struct pipeline_gate_status *gate = &s->status.gates[i];
        char since[WALL_TEXT_BYTES];
        if (!gate->route || gate->open)
            continue;
        wall_format_utc(wall_of(s, gate->closed_since), since);
        buf_printf(out, "gate %s: closed since %s: %s: ", gate->route, since, gate_meaning(gate->route));
        write_line(out, gate->why ? gate->why : "");
    }
}

/* No gate, but it explains why validating events do not move. */
static void write_spent_budget(struct buf *out, const struct ops_snapshot *s)
{
    const struct pipeline_spend *spend = &s->status.spend;
    char until[WALL_TEXT_BYTES];
    if (!spend->known || !spend->exhausted)
        return;
    wall_format_utc((wall_us_t){s->wall.us + spend->day_ends_in_us}, until);
    buf_printf(out,
               "validation budget: spent until %s: validation.on_budget_spent says what becomes of events "
               "that validate, the others go on\n",
               until);
}

void status_render_ready(struct buf *out, const struct ops_snapshot *snapshot)
{
    buf_append_str(out, snapshot->ready ? "ready\n" : "not ready\n");
    for (size_t i = 0; i < snapshot->reason_count && !snapshot->ready; i++)
        write_line(out, snapshot->reasons[i]);
    write_closed_gates(out, snapshot);
    write_spent_budget(out, snapshot);
}
