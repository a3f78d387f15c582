/* consent.require.
 *
 * Only what the event says itself is evidence: an address that was dropped is missing, a date that only the
 * record has is missing; an ad network that its own page's URL names is there. A member of `consent` is
 * evidence when it is a scalar that is not blank. `false` is none: a box that was not ticked must not pass
 * for one that was. */
#include "consent.h"

#include "signup/base/log.h"
#include "unicode.h"

#include <stdio.h>

#define LISTED_BYTES 160 /* of the parts that a message names; more are counted */
#define NAME_BYTES 64

/* The text of one of our own fields, absent where there is none. */
static struct slice own_field(const struct reader *reader, enum event_field field, struct evidence *out)
{
    const struct signup *signup = reader->out;
    switch (field) {
    case EVENT_EVENT_ID:
        return signup->id_from_position ? SLICE_ABSENT : signup->event_id;
    case EVENT_PHONE_NUMBER:
    case EVENT_PHONE:
        return signup->phone_number;
    case EVENT_LIST_NUMBER:
        return signup->list_number;
    case EVENT_IP_ADDRESS:
        return signup->ip_address;
    case EVENT_URL:
        return signup->url;
    case EVENT_AD_NETWORK_SOURCE:
        return signup->ad_network_source;
    case EVENT_AD_NETWORK_ID:
        return signup->ad_network_id;
    case EVENT_CONSENT:
        return signup->consent;
    case EVENT_ATTRIBUTION:
        return signup->attribution;
    case EVENT_SIGNUP_DATE:
        if (!signup->signup_date_from_event)
            return SLICE_ABSENT;
        wall_format_utc(signup->signup_date, out->date);
        return (struct slice){out->date, WALL_TEXT_BYTES - 1};
    default:
        return SLICE_ABSENT;
    }
}

bool consent_part(const struct reader *reader, struct slice name, struct evidence *out)
{
    enum event_field field;
    out->text = SLICE_ABSENT;
    out->value = NULL;
    if (event_field_parse(name, &field)) {
        out->text = own_field(reader, field, out);
        return slice_present(out->text);
    }
    json_t *value = json_object_getn(reader->field[EVENT_CONSENT], name.ptr, name.len);
    out->value = value;
    if (json_is_string(value))
        return unicode_trim(reader_string(value)).len > 0;
    return json_is_number(value) || json_is_true(value);
}

/* The missing parts for people: "ip_address, consent.text and 2 more". */
struct list {
    char text[LISTED_BYTES + 32];
    size_t len;
    size_t more;
};

static void list_add(struct list *list, struct slice name, bool own)
{
    char shown[NAME_BYTES];
    text_mask_phones(name, shown, sizeof shown);
    size_t bytes = strlen(shown) + (own ? 0 : strlen("consent.")) + 2;
    if (list->more || list->len + bytes > LISTED_BYTES) {
        list->more++;
        return;
    }
    int len = snprintf(list->text + list->len, sizeof list->text - list->len, "%s%s%s", list->len ? ", " : "",
                       own ? "" : "consent.", shown);
    list->len += (size_t)len;
}

void consent_require(struct reader *reader)
{
    const struct event_consent *rules = &reader->rules->consent;
    struct list missing = {.len = 0};
    for (size_t i = 0; i < rules->require_count; i++) {
        struct evidence part;
        enum event_field field;
        struct slice name = rules->require[i];
        bool there = consent_part(reader, name, &part);
        reader_note(reader, "consent", "", name, there ? "required, and there" : "required, and missing");
        if (!there)
            list_add(&missing, name, event_field_parse(name, &field));
    }
    if (!missing.len && !missing.more)
        return;
    if (missing.more)
        snprintf(missing.text + missing.len, sizeof missing.text - missing.len, " and %zu more",
                 missing.more);
    if (rules->warn_only)
        reader_warn(reader, SIGNUP_WARNING_CONSENT,
                    "the event lacks evidence that consent.require asks for: %s", missing.text);
    else
        reader_die(
            reader, DEATH_MISSING_CONSENT,
            "The event lacks evidence of consent that consent.require asks for: %s. Send it with the event, "
            "or ask for less in the configuration.",
            missing.text);
}
