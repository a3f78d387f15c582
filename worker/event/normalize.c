/* Identity, phone numbers, flags and the date of an event. */
#include "normalize.h"

#include "date.h"
#include "route.h"
#include "signup/event/phone.h"
#include "unicode.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

/* ":digits" at the end of `text`: cuts it off. */
static bool cut_number(struct slice *text)
{
    size_t end = text->len;
    while (end && text->ptr[end - 1] >= '0' && text->ptr[end - 1] <= '9')
        end--;
    if (end == text->len || !end || text->ptr[end - 1] != ':')
        return false;
    text->len = end - 1;
    return true;
}

/* "topic:partition:offset" of a topic that we read: such an id could meet the row of another record. */
static bool looks_like_position(const struct reader *reader, struct slice id)
{
    if (!cut_number(&id) || !cut_number(&id))
        return false;
    for (size_t i = 0; i < reader->rules->topic_count; i++) {
        if (slice_is(id, reader->rules->topics[i]))
            return true;
    }
    return slice_equal(id, reader->record->topic);
}

static void read_event_id(struct reader *reader)
{
    const json_t *value = reader->field[EVENT_EVENT_ID];
    if (!value)
        return;
    if (!json_is_string(value)) {
        reader_die(reader, DEATH_INVALID_EVENT_ID,
                   "event_id is %s. Send it as text of 1 to 200 bytes, or leave it out.",
                   reader_type_str(value));
        return;
    }
    struct slice id = reader_string(value);
    if (!id.len || id.len > EVENT_ID_BYTES_MAX) {
        reader_die(reader, DEATH_INVALID_EVENT_ID,
                   "event_id is %s. Send it as text of 1 to 200 bytes, or leave it out.",
                   id.len ? "longer than 200 bytes" : "empty");
        return;
    }
    if (looks_like_position(reader, id)) {
        reader_die(reader, DEATH_INVALID_EVENT_ID,
                   "event_id looks like a position of a topic (topic:partition:offset), which names events "
                   "that have no id. Send an id of your own, or leave it out.");
        return;
    }
    struct slice kept = reader_keep(reader, id);
    if (!slice_present(kept))
        return;
    reader->out->event_id = kept;
    reader->out->id_from_position = false;
}

/* NULL where there is no value, or only blanks in it: a form's empty field says nothing. */
static const json_t *number_field(const struct reader *reader, enum event_field field)
{
    const json_t *value = reader->field[field];
    if (json_is_string(value) && !unicode_trim(reader_string(value)).len)
        return NULL;
    return value;
}

/* Text or a JSON integer to E.164 in the arena; otherwise the event dies of `code`. */
static void read_number(struct reader *reader, const json_t *value, const char *name, enum death_code code,
                        struct slice *out)
{
    char digits[24];
    char e164[PHONE_E164_BYTES];
    struct slice text;
    if (json_is_string(value)) {
        text = reader_string(value);
    } else if (json_is_integer(value) && json_integer_value(value) >= 0) {
        int len = snprintf(digits, sizeof digits, "%" PRId64, (int64_t)json_integer_value(value));
        text = (struct slice){digits, (size_t)len};
    } else {
        reader_die(reader, code, "%s is %s. Send the phone number as text, with its country or area code.",
                   name, json_is_integer(value) ? "a negative number" : reader_type_str(value));
        return;
    }
    bool extension;
    size_t len = phone_read(text, reader->rules->country, e164, &extension);
    if (!len) {
        reader_die(
            reader, code,
            "%s is not a possible phone number: it has too few or too many digits, or is none (a date, "
            "two numbers). Send all digits, with the area code, or with + and the country code (without "
            "that it is read as a number of %s).",
            name, reader->rules->country);
        return;
    }
    if (extension) {
        reader_note(reader, "dropped", name, text, "its extension");
        reader_warn(reader, SIGNUP_WARNING_FIELD,
                    "%s: its extension was dropped, because a number that takes messages has none", name);
    }
    *out = reader_keep(reader, (struct slice){e164, len});
}

static void read_phone(struct reader *reader)
{
    const char *name = "phone_number";
    const json_t *value = number_field(reader, EVENT_PHONE_NUMBER);
    if (!value) {
        name = "phone";
        value = number_field(reader, EVENT_PHONE);
    }
    if (value)
        read_number(reader, value, name, DEATH_INVALID_PHONE, &reader->out->phone_number);
    else
        reader_die(reader, DEATH_MISSING_PHONE_NUMBER, "The event has no phone number. %s",
                   reader->shape && reader->shape->assignment_count
                       ? "Where the topic's mapping looks for it there is none: send it there, or correct the mapping of "
                         "phone_number."
                       : "Send the contact's number in the field phone_number.");
}

static void read_list(struct reader *reader)
{
    const json_t *value = number_field(reader, EVENT_LIST_NUMBER);
    struct slice of_route = reader->route ? reader->route->list_number : SLICE_ABSENT;
    bool by_route = slice_present(of_route) && (!value || reader->route->override);
    if (by_route)
        reader->out->list_number = reader_keep(reader, of_route);
    else if (value)
        read_number(reader, value, "list_number", DEATH_INVALID_LIST_NUMBER, &reader->out->list_number);
    else if (slice_present(reader->rules->list_number))
        reader->out->list_number = reader_keep(reader, reader->rules->list_number);
    else
        reader_die(reader, DEATH_MISSING_LIST_NUMBER,
                   "The event names no sending list and the configuration has no default one. Send the "
                   "list's phone number in the field list_number, or set defaults.list_number.");
    if (by_route)
        reader_note(reader, "route", "list_number", of_route, "chosen by the route");
}

static bool word_is(struct slice text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.ptr, word, text.len) == 0;
}

/* False: the value means neither true nor false. */
static bool flag_value(const json_t *value, bool *out)
{
    static const char *const words[2][3] = {{"false", "0", "no"}, {"true", "1", "yes"}};
    if (json_is_boolean(value)) {
        *out = json_is_true(value);
        return true;
    }
    if (json_is_integer(value)) {
        *out = json_integer_value(value) == 1;
        return *out || json_integer_value(value) == 0;
    }
    if (!json_is_string(value))
        return false;
    struct slice text = reader_string(value);
    for (size_t i = 0; i < 3; i++) {
        if (word_is(text, words[0][i]) || word_is(text, words[1][i])) {
            *out = word_is(text, words[1][i]);
            return true;
        }
    }
    return false;
}

/* Whether the event says it; `flag` keeps its value where not. */
static bool read_flag(struct reader *reader, enum event_field field, bool *flag)
{
    const json_t *value = reader->field[field];
    if (!value)
        return false;
    if (!flag_value(value, flag))
        reader_die(reader, DEATH_INVALID_FIELD,
                   "%s is %s that means neither true nor false, and a guess could enrol somebody or cost "
                   "money. Send true or false.",
                   event_field_str(field), reader_type_str(value));
    return true;
}

/* The same where a route may choose it. */
static void read_routed_flag(struct reader *reader, enum event_field field, enum event_flag of_route,
                             bool *flag)
{
    bool by_route = of_route != EVENT_FLAG_UNSET && route_overrides(reader);
    if (!by_route && !read_flag(reader, field, flag))
        by_route = of_route != EVENT_FLAG_UNSET;
    if (!by_route)
        return;
    *flag = of_route == EVENT_FLAG_TRUE;
    reader_note(reader, "route", event_field_str(field),
                *flag ? SLICE_LITERAL("true") : SLICE_LITERAL("false"), "chosen by the route");
}

/* What the configuration says of the list, or else of all lists. */
static enum event_validation validation_of_list(const struct reader *reader)
{
    const struct event_rules *rules = reader->rules;
    for (size_t i = 0; i < rules->list_count; i++) {
        if (rules->lists[i].validation != EVENT_VALIDATION_UNSET &&
            slice_equal(rules->lists[i].list_number, reader->out->list_number))
            return rules->lists[i].validation;
    }
    return rules->validation;
}

static void take_validation_of_route(struct reader *reader, enum event_validation of_route)
{
    static const char *const modes[] = {"off", "inline", "gate"};
    reader->out->validation = of_route;
    reader_note(reader, "route", "validation", slice_from_str(modes[of_route]), "chosen by the route");
}

/* The event, then the route, the list, the mode; the route first where it overrides. */
static void read_validation(struct reader *reader)
{
    struct signup *out = reader->out;
    enum event_validation of_route = reader->route ? reader->route->validation : EVENT_VALIDATION_UNSET;
    bool validates = false;
    bool by_route = of_route != EVENT_VALIDATION_UNSET && route_overrides(reader);
    if (!by_route && read_flag(reader, EVENT_USE_VALIDATION, &validates))
        out->validation = validates ? EVENT_VALIDATION_INLINE : EVENT_VALIDATION_OFF;
    else if (of_route == EVENT_VALIDATION_UNSET)
        out->validation = validation_of_list(reader);
    else
        take_validation_of_route(reader, of_route);
    out->use_validation = out->validation == EVENT_VALIDATION_INLINE;
}

static void read_flags(struct reader *reader)
{
    struct signup *out = reader->out;
    const struct event_route *route = reader->route;
    read_routed_flag(reader, EVENT_USE_JOURNEYS, route ? route->use_journeys : EVENT_FLAG_UNSET,
                     &out->use_journeys);
    read_routed_flag(reader, EVENT_SKIP_JOURNEY_IF_EXISTS,
                     route ? route->skip_journey_if_exists : EVENT_FLAG_UNSET, &out->skip_journey_if_exists);
    read_flag(reader, EVENT_OVERRIDE_CUSTOM_FIELDS, &out->override_custom_fields);
    read_validation(reader);
    read_flag(reader, EVENT_FORCE, &out->asks_force);
    out->force = out->asks_force && out->use_validation;
}

static bool date_value(const json_t *value, wall_us_t *out)
{
    if (json_is_string(value))
        return date_from_text(reader_string(value), out);
    if (json_is_integer(value))
        return date_from_integer(json_integer_value(value), out);
    return json_is_real(value) && date_from_real(json_real_value(value), out);
}

/* The event's own date where it can be used. */
static bool read_own_date(struct reader *reader)
{
    const json_t *value = reader->field[EVENT_SIGNUP_DATE];
    wall_us_t date;
    if (!value)
        return false;
    if (!date_value(value, &date)) {
        reader_note(reader, "dropped", "signup_date",
                    json_is_string(value) ? reader_string(value) : SLICE_ABSENT, "unreadable");
        reader_warn(reader, SIGNUP_WARNING_DATE,
                    "signup_date cannot be read as ISO 8601 or as an epoch: the time of the record was "
                    "taken instead");
        return false;
    }
    if (date.us > reader->now.us + SIGNUP_FUTURE_US) {
        reader_note(reader, "dropped", "signup_date",
                    json_is_string(value) ? reader_string(value) : SLICE_ABSENT, "of the future");
        reader_warn(reader, SIGNUP_WARNING_DATE,
                    "signup_date lies in the future: the time of the record was taken instead");
        return false;
    }
    reader->out->signup_date = date;
    return true;
}

static void read_date(struct reader *reader)
{
    struct signup *out = reader->out;
    out->signup_date_from_event = read_own_date(reader);
    out->has_signup_date = out->signup_date_from_event ||
                           (reader->record->timestamp_ms >= 0 &&
                            date_from_milliseconds(reader->record->timestamp_ms, &out->signup_date));
}

void normalize_contact(struct reader *reader)
{
    read_event_id(reader);
    read_phone(reader);
}

void normalize_call(struct reader *reader)
{
    read_list(reader);
    read_flags(reader);
    read_date(reader);
}
