/* The record for the outcomes topic (schemas/signup-outcome.schema.json): what became of an event, without what only the ledger may know. */
#include "state.h"

#define ANNOUNCEMENT_BYTES_MAX ((size_t)64 << 10)
#define WARNINGS_TOLD_MAX 32

static void add_name(struct buf *out, const char *name)
{
    buf_append_str(out, ",\"");
    buf_append_str(out, name);
    buf_append_str(out, "\":");
}

static void add_text(struct buf *out, const char *name, struct slice text)
{
    if (!slice_present(text) || !text.len)
        return;
    add_name(out, name);
    buf_append_json_string(out, text);
}

static void add_number(struct buf *out, const char *name, int64_t number)
{
    add_name(out, name);
    buf_append_int(out, number);
}

static void add_flag(struct buf *out, const char *name, bool flag)
{
    add_name(out, name);
    buf_append_str(out, flag ? "true" : "false");
}

static bool is_told(const struct warning *first, const struct warning *warning)
{
    for (const struct warning *w = first; w != warning; w = w->next) {
        if (slice_equal(w->code, warning->code))
            return true;
    }
    return false;
}

static void add_warnings(struct buf *out, const struct warning *warnings)
{
    size_t told = 0;
    for (const struct warning *w = warnings; w && told < WARNINGS_TOLD_MAX; w = w->next) {
        if (is_told(warnings, w))
            continue;
        if (!told)
            add_name(out, "warnings");
        buf_append_char(out, told++ ? ',' : '[');
        buf_append_json_string(out, w->code);
    }
    if (told)
        buf_append_char(out, ']');
}

static void add_reply(struct buf *out, const struct upsert_reply *reply)
{
    add_text(out, "contact_id", reply->contact_id);
    add_text(out, "list_contact_id", reply->list_contact_id);
    add_flag(out, "is_new_contact", reply->is_new_contact);
    add_flag(out, "is_new_list_contact", reply->is_new_list_contact);
    add_number(out, "journeys_enrolled", reply->journeys_enrolled);
}

static void add_signup(struct buf *out, const struct delivery *dl)
{
    const struct signup *signup = &dl->signup;
    add_text(out, "ad_network_source", signup->ad_network_source);
    add_text(out, "ad_network_id", signup->ad_network_id);
    if (slice_present(signup->attribution)) {
        add_name(out, "attribution");
        buf_append_slice(out, signup->attribution);
    }
    if (slice_present(dl->validation))
        add_text(out, "disposition", validation_disposition(dl->validation));
    add_text(out, "route", signup->route);
    add_warnings(out, signup->warnings);
    if (!signup->has_signup_date)
        return;
    char date[WALL_TEXT_BYTES];
    wall_format_utc(signup->signup_date, date);
    add_text(out, "signup_date", (struct slice){date, WALL_TEXT_BYTES - 1});
}

/* `least`: only what is short and surely harmless, because the whole is too long, or the database refuses something of this event. */
static void write_record(const struct pipeline *pipeline, const struct delivery *dl, bool least, struct buf *out)
{
    const struct signup *signup = &dl->signup;
    bool accepted = dl->fate == RECORD_ACCEPTED;
    buf_append_str(out, "{\"version\":1");
    add_text(out, "event_id", signup->event_id);
    add_text(out, "source", signup->position);
    add_text(out, "state", accepted ? SLICE_LITERAL("accepted") : SLICE_LITERAL("dead"));
    if (dl->has_outcome) {
        add_text(out, "code", slice_from_str(dl->outcome.code));
        if (dl->outcome.http_status)
            add_number(out, "http_status", dl->outcome.http_status);
        if (!accepted)
            add_text(out, "error_class", slice_from_str(outcome_class_str(dl->outcome.cls)));
    }
    add_number(out, "attempts", dl->attempts);
    if (!least) {
        add_text(out, "list_number", signup->list_number);
        if (pipeline->config.tell_phone)
            add_text(out, "phone_number", signup->phone_number);
    }
    if (accepted && slice_present(dl->call.reply.contact_id)) /* it is not there where the policy takes another answer for accepted */
        add_reply(out, &dl->call.reply);
    if (!least)
        add_signup(out, dl);
}

struct slice announcement_write(const struct pipeline *pipeline, struct delivery *dl)
{
    struct buf buf;
    buf_init(&buf, ANNOUNCEMENT_BYTES_MAX);
    write_record(pipeline, dl, dl->bare, &buf);
    if (!buf_ok(&buf)) {
        buf_reset(&buf);
        write_record(pipeline, dl, true, &buf);
    }
    struct slice text = buf_ok(&buf) ? arena_copy(&dl->arena, buf_slice(&buf)) : SLICE_ABSENT;
    buf_fini(&buf);
    return text;
}
