/* One contact object of an upsert, checked field by field against section 1 of the contract. */
#include "contact_request.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "phone.h"

static bool contact_request_check_names(const struct sim *sim, json_t *object, struct api_refusal *refusal)
{
    static const char *const known[] = {
        "phone_number", "list_number", "use_journeys", "skip_journey_if_exists", "signup_date", "ip_address",
        "url", "custom_fields", "override_custom_fields", "ad_network_source", "ad_network_id",
        "use_validation", "force"};
    const char *name;
    json_t *value;
    if (sim->options->lenient)
        return true;
    json_object_foreach(object, name, value) {
        size_t i = 0;
        while (i < sizeof known / sizeof known[0] && strcmp(known[i], name) != 0)
            i++;
        if (i == sizeof known / sizeof known[0]) {
            api_refuse(refusal, 400, "invalid_field", "Unknown field: %.80s", name);
            return false;
        }
    }
    return true;
}

static bool contact_request_read_number(const struct sim *sim, const json_t *object, const char *name,
                                        const char *missing, const char *invalid, uint64_t *number,
                                        struct api_refusal *refusal)
{
    const json_t *value = json_object_get(object, name);
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (!value || json_is_null(value) || (text && !len)) {
        api_refuse(refusal, 400, missing, "%s is required", name);
        return false;
    }
    bool good = text && (sim->options->lenient ? phone_parse_loose(text, len, number)
                                               : phone_parse_e164(text, len, number));
    if (!good)
        api_refuse(refusal, 400, invalid, "%s must be an E.164 string", name);
    return good;
}

/* True when the list is one of the account's. */
static bool contact_request_owns_list(const struct sim *sim, uint64_t list)
{
    for (size_t i = 0; i < sim->list_count; i++)
        if (sim->lists[i] == list)
            return true;
    char text[PHONE_TEXT_BYTES];
    phone_format(list, text);
    return !sim->list_count && text[1] == '1';
}

static unsigned contact_request_journeys(const struct sim *sim, uint64_t list)
{
    for (size_t i = 0; i < sim->journeys_count; i++)
        if (sim->journeys[i].list == list)
            return sim->journeys[i].active;
    return sim->journeys_usual;
}

static bool contact_request_read_flags(const json_t *object, struct contact_request *request,
                                       struct api_refusal *refusal)
{
    struct {
        const char *name;
        bool *to;
        bool fallback;
    } flags[] = {{"use_journeys", &request->upsert.use_journeys, false},
                 {"skip_journey_if_exists", &request->upsert.skip_journey_if_exists, true},
                 {"override_custom_fields", &request->upsert.override_custom_fields, false},
                 {"use_validation", &request->use_validation, false},
                 {"force", &request->force, false}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        const json_t *value = json_object_get(object, flags[i].name);
        if (value && !json_is_boolean(value)) {
            api_refuse(refusal, 400, "invalid_field", "%s must be a boolean", flags[i].name);
            return false;
        }
        *flags[i].to = value ? json_is_true(value) : flags[i].fallback;
    }
    return true;
}

/* YYYY-MM-DDTHH:MM:SS[.fraction]Z, a date that exists. */
static bool contact_request_parse_date(const char *text, int64_t *seconds)
{
    struct tm tm = {0};
    int used = 0;
    if (strspn(text, "0123456789") != 4 ||
        sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &used) != 6 || used != 19 || strpbrk(text, " +"))
        return false;
    const char *rest = text + used;
    if (*rest == '.') {
        size_t digits = strspn(rest + 1, "0123456789");
        if (!digits)
            return false;
        rest += 1 + digits;
    }
    if (strcmp(rest, "Z") != 0)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    struct tm wanted = tm;
    *seconds = timegm(&tm);
    return tm.tm_year == wanted.tm_year && tm.tm_mon == wanted.tm_mon && tm.tm_mday == wanted.tm_mday &&
           tm.tm_hour == wanted.tm_hour && tm.tm_min == wanted.tm_min && tm.tm_sec == wanted.tm_sec;
}

static bool contact_request_text_is_good(const char *name, const char *text, struct contact_request *request)
{
    unsigned char address[16];
    if (!strcmp(name, "signup_date")) {
        request->upsert.signup_given = true;
        return contact_request_parse_date(text, &request->upsert.signup_s);
    }
    if (!strcmp(name, "ip_address"))
        return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
    if (!strcmp(name, "url")) {
        size_t scheme = !strncasecmp(text, "https://", 8) ? 8 : !strncasecmp(text, "http://", 7) ? 7 : 0;
        return scheme && text[scheme] && !strchr("/?# ", text[scheme]);
    }
    return true;
}

static bool contact_request_read_texts(const json_t *object, struct contact_request *request,
                                       struct api_refusal *refusal)
{
    static const char *const names[] = {"signup_date", "ip_address", "url", "ad_network_source",
                                        "ad_network_id"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const json_t *value = json_object_get(object, names[i]);
        if (!value)
            continue;
        if (!json_is_string(value)) {
            api_refuse(refusal, 400, "invalid_field", "%s must be a string", names[i]);
            return false;
        }
        if (!contact_request_text_is_good(names[i], json_string_value(value), request)) {
            api_refuse(refusal, 400, "invalid_field", "%s is not valid", names[i]);
            return false;
        }
    }
    return true;
}

static bool contact_request_read_custom_fields(const json_t *object, struct contact_request *request,
                                               struct api_refusal *refusal)
{
    json_t *fields = json_object_get(object, "custom_fields");
    const char *name;
    json_t *value;
    if (fields && !json_is_object(fields)) {
        api_refuse(refusal, 400, "invalid_field", "custom_fields must be an object");
        return false;
    }
    json_object_foreach(fields, name, value) {
        if (!json_is_string(value) && !json_is_number(value) && !json_is_boolean(value)) {
            api_refuse(refusal, 400, "invalid_field",
                       "custom_fields.%.80s must be a string, number or boolean", name);
            return false;
        }
    }
    request->upsert.custom_fields = fields;
    return true;
}

bool contact_request_read(const struct sim *sim, json_t *object, size_t bytes,
                          struct contact_request *request, struct api_refusal *refusal)
{
    *request = (struct contact_request){
        .upsert = {.signup_s = sim->wall_us / 1000000},
    };
    if (!json_is_object(object)) {
        api_refuse(refusal, 400, "invalid_field", "A contact must be an object");
        return false;
    }
    if (bytes > API_CONTACT_BYTES_MAX) {
        api_refuse(refusal, 413, "payload_too_large", "Contact object exceeds 4,000 bytes");
        return false;
    }
    if (!contact_request_read_number(sim, object, "phone_number", "missing_phone_number", "invalid_phone",
                                     &request->upsert.phone, refusal) ||
        !contact_request_read_number(sim, object, "list_number", "missing_list_number", "invalid_list_number",
                                     &request->upsert.list, refusal) ||
        !contact_request_check_names(sim, object, refusal) ||
        !contact_request_read_flags(object, request, refusal) ||
        !contact_request_read_texts(object, request, refusal) ||
        !contact_request_read_custom_fields(object, request, refusal))
        return false;
    if (!contact_request_owns_list(sim, request->upsert.list)) {
        api_refuse(refusal, 400, "list_not_found", "No such sending list on this account");
        return false;
    }
    request->upsert.journeys = contact_request_journeys(sim, request->upsert.list);
    return true;
}
