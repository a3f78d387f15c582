/* The API's own reading of a request body (contacts-api.md section 1), strict: shared by the unit tests
 * and the fuzzer. */
#ifndef SIGNUP_TESTS_EVENT_BODY_CHECK_H
#define SIGNUP_TESTS_EVENT_BODY_CHECK_H

#include "signup/base/slice.h"
#include "signup/event/signup.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>
#include <strings.h>

static inline bool body_check_e164(const json_t *value)
{
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    return text && len > 4 && len <= 16 /* E.164: fifteen digits */ && text[0] == '+' && strspn(text + 1, "0123456789") == len - 1;
}

static inline bool body_check_date(const json_t *value)
{
    int year;
    int month;
    int day;
    int hour;
    int minute;
    int second;
    char end;
    const char *text = json_string_value(value);
    return text && strlen(text) == 20 &&
           sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%c", &year, &month, &day, &hour, &minute, &second,
                  &end) == 7 &&
           end == 'Z' && month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour < 24 &&
           minute < 60 && second < 60;
}

static inline bool body_check_ip(const json_t *value)
{
    struct in6_addr address;
    const char *text = json_string_value(value);
    return text && (inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1);
}

static inline bool body_check_url(const json_t *value)
{
    const char *text = json_string_value(value);
    return text && (strncasecmp(text, "http://", 7) == 0 || strncasecmp(text, "https://", 8) == 0);
}

/* A custom field's name: neither blank nor longer than 255 bytes, no blanks around it, no control characters. */
static inline bool body_check_name(const char *name)
{
    size_t len = strlen(name);
    if (!len || len > 255 || name[0] == ' ' || name[len - 1] == ' ')
        return false;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7F)
            return false;
    }
    return true;
}

static inline bool body_check_flat(json_t *value)
{
    const char *name;
    json_t *member;
    if (!json_is_object(value))
        return false;
    json_object_foreach(value, name, member)
    {
        if (!json_is_string(member) && !json_is_number(member) && !json_is_boolean(member))
            return false;
        if (!body_check_name(name))
            return false;
    }
    return true;
}

static inline bool body_check_member(const char *name, json_t *value, bool validates)
{
    if (strcmp(name, "phone_number") == 0 || strcmp(name, "list_number") == 0)
        return body_check_e164(value);
    if (strcmp(name, "use_journeys") == 0 || strcmp(name, "skip_journey_if_exists") == 0 ||
        strcmp(name, "override_custom_fields") == 0 || strcmp(name, "use_validation") == 0)
        return json_is_boolean(value);
    if (strcmp(name, "force") == 0)
        return json_is_boolean(value) && validates;
    if (strcmp(name, "signup_date") == 0)
        return body_check_date(value);
    if (strcmp(name, "ip_address") == 0)
        return body_check_ip(value);
    if (strcmp(name, "url") == 0)
        return body_check_url(value);
    if (strcmp(name, "custom_fields") == 0)
        return body_check_flat(value);
    return (strcmp(name, "ad_network_source") == 0 || strcmp(name, "ad_network_id") == 0) &&
           json_is_string(value) && strspn(json_string_value(value), " \t\n\v\f\r") < json_string_length(value);
}

/* NULL: the API would take it. Otherwise the name of the member that it would not, in `room`, or what is
 * wrong with the whole. */
static inline const char *body_check(struct slice body, char room[64])
{
    json_error_t error;
    if (!slice_present(body) || body.len > CONTACT_BYTES_MAX)
        return "absent or too large";
    json_t *root = json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(root))
        return "not a JSON object";
    const char *complaint = NULL;
    bool validates = json_is_true(json_object_get(root, "use_validation"));
    const char *name;
    json_t *value;
    if (!json_object_get(root, "phone_number") || !json_object_get(root, "list_number"))
        complaint = "no contact key";
    json_object_foreach(root, name, value)
    {
        if (!complaint && !body_check_member(name, value, validates)) {
            snprintf(room, 64, "%s", name);
            complaint = room;
        }
    }
    json_decref(root);
    return complaint;
}

#endif
