/* Rule sets by name, as a configuration would say them: what the rows of the tables are read under. */
#ifndef SIGNUP_TESTS_EVENT_TABLE_SETTINGS_H
#define SIGNUP_TESTS_EVENT_TABLE_SETTINGS_H

#include "signup/event/rules.h"

#define LIST_OF(items) (items), sizeof(items) / sizeof((items)[0])
#define NAME(text) SLICE_LITERAL(text)

/* attribution: the defaults of the configuration */
static const struct event_click_id setting_click_ids[] = {
    {NAME("gclid"), NAME("adwords")},   {NAME("wbraid"), NAME("adwords")},
    {NAME("gbraid"), NAME("adwords")},  {NAME("fbclid"), NAME("facebook")},
    {NAME("ttclid"), NAME("tiktok")},   {NAME("msclkid"), NAME("microsoft")},
    {NAME("li_fat_id"), NAME("linkedin")}, {NAME("twclid"), NAME("twitter")},
    {NAME("ScCid"), NAME("snapchat")},
};
static const struct slice setting_sources[] = {NAME("utm_source")};
static const struct slice setting_ids[] = {NAME("utm_id"), NAME("utm_campaign")};
static const struct slice setting_many_sources[] = {NAME("src"), NAME("utm_source")};
#define SETTING_ADS {true, LIST_OF(setting_click_ids), LIST_OF(setting_sources), LIST_OF(setting_ids)}
#define SETTING_SRC {true, LIST_OF(setting_click_ids), LIST_OF(setting_many_sources), LIST_OF(setting_ids)}
#define SETTING_NO_URL {false, LIST_OF(setting_click_ids), LIST_OF(setting_sources), LIST_OF(setting_ids)}

/* routes */
static const struct slice setting_topic_leads[] = {NAME("leads")};
static const struct slice setting_topic_two[] = {NAME("leads"), NAME("signups")};
static const struct slice setting_url_ca[] = {NAME("*.example.com/ca/*"), NAME("example.ca")};
static const struct slice setting_url_shop[] = {NAME("https://shop.example.com:443/*?x=y#z")};
static const struct slice setting_url_any[] = {NAME("*checkout*")};
static const struct slice setting_social[] = {NAME("facebook"), NAME("TikTok")};
static const struct slice setting_canada[] = {NAME("CA")};
static const struct slice setting_britain[] = {NAME("GB"), NAME("IE")};
static const struct event_custom_field setting_fields[] = {
    {NAME("campaign"), {.kind = EVENT_CONSTANT_TEXT, .text = NAME("winter")}},
    {NAME("wave"), {.kind = EVENT_CONSTANT_INTEGER, .integer = 3}},
};
static const struct event_custom_field setting_kinds[] = {
    {NAME("yes"), {.kind = EVENT_CONSTANT_BOOLEAN, .boolean = true}},
    {NAME("half"), {.kind = EVENT_CONSTANT_REAL, .real = 0.5}},
    {NAME("endless"), {.kind = EVENT_CONSTANT_REAL, .real = __builtin_inf()}},
};
#define NOTHING_CHOSEN \
    .use_journeys = EVENT_FLAG_UNSET, .skip_journey_if_exists = EVENT_FLAG_UNSET, .validation = EVENT_VALIDATION_UNSET

static const struct event_route setting_routes[] = {
    {.name = NAME("leads from social"), .topics = setting_topic_leads, .topic_count = 1,
     .ad_network_sources = setting_social, .ad_network_source_count = 2, NOTHING_CHOSEN},
    {.name = NAME("california"), .urls = setting_url_ca, .url_count = 2, .list_number = NAME("+18005550101"),
     .use_journeys = EVENT_FLAG_FALSE, .skip_journey_if_exists = EVENT_FLAG_FALSE, .validation = EVENT_VALIDATION_GATE,
     .custom_fields = setting_fields, .custom_field_count = 2},
    {.name = NAME("shop"), .urls = setting_url_shop, .url_count = 1, NOTHING_CHOSEN},
    {.name = NAME("checkout"), .urls = setting_url_any, .url_count = 1, NOTHING_CHOSEN},
    {.name = NAME("social"), .topics = setting_topic_two, .topic_count = 2, .ad_network_sources = setting_social,
     .ad_network_source_count = 2, .use_journeys = EVENT_FLAG_UNSET, .skip_journey_if_exists = EVENT_FLAG_UNSET,
     .validation = EVENT_VALIDATION_INLINE},
    {.name = NAME("canada"), .countries = setting_canada, .country_count = 1, .list_number = NAME("+18005550102"),
     .use_journeys = EVENT_FLAG_UNSET, .skip_journey_if_exists = EVENT_FLAG_UNSET, .validation = EVENT_VALIDATION_UNSET},
    {.name = NAME("islands"), .countries = setting_britain, .country_count = 2, .custom_fields = setting_kinds,
     .custom_field_count = 3, NOTHING_CHOSEN},
};
static const struct event_route setting_override[] = {
    {.name = NAME("override"), .override = true, .list_number = NAME("+18005550109"), .use_journeys = EVENT_FLAG_FALSE,
     .skip_journey_if_exists = EVENT_FLAG_UNSET, .validation = EVENT_VALIDATION_OFF, .custom_fields = setting_fields,
     .custom_field_count = 2},
};
static const struct event_route setting_last[] = {
    {.name = NAME("everything else"), .list_number = NAME("+18005550108"), .use_journeys = EVENT_FLAG_TRUE,
     .skip_journey_if_exists = EVENT_FLAG_TRUE, .validation = EVENT_VALIDATION_UNSET},
};

/* validation */
static const struct event_list_mode setting_lists[] = {
    {NAME("+18335550100"), EVENT_VALIDATION_GATE},
    {NAME("+18005550101"), EVENT_VALIDATION_INLINE},
    {NAME("+18005550108"), EVENT_VALIDATION_INLINE},
};

/* consent */
static const struct slice setting_require[] = {NAME("ip_address"), NAME("url"), NAME("signup_date"), NAME("text")};
static const struct slice setting_require_ads[] = {NAME("ad_network_source"), NAME("ad_network_id")};
static const struct slice setting_require_many[] = {
    NAME("text"), NAME("text_version"), NAME("user_agent"), NAME("certificate_url"), NAME("a_part_with_quite_a_long_name"),
    NAME("another_part_with_quite_a_long_name"), NAME("yet_another_part_with_quite_a_long_name"), NAME("session")};
static const struct event_click_id setting_copies[] = {
    {NAME("text_version"), NAME("consent_version")}, {NAME("signup_date"), NAME("signed_up")},
    {NAME("ip_address"), NAME("ip")},                {NAME("text"), NAME("consent_text")},
    {NAME("ticked"), NAME("ticked")},
};

/* NULL: there is no such set. */
static inline const struct event_rules *setting_named(const char *name)
{
#define RULES .country = "US", .use_journeys = true, .skip_journey_if_exists = true
    static const struct {
        const char *name;
        struct event_rules rules;
    } sets[] = {
        {"", {RULES}},
        {"ads", {RULES, .attribution = SETTING_ADS}},
        {"src", {RULES, .attribution = SETTING_SRC}},
        {"no url", {RULES, .attribution = SETTING_NO_URL}},
        {"routes", {RULES, .attribution = SETTING_ADS, .routes = setting_routes, .route_count = 7}},
        {"override", {RULES, .routes = setting_override, .route_count = 1}},
        {"last", {RULES, .routes = setting_last, .route_count = 1, .lists = setting_lists, .list_count = 3}},
        {"lists", {RULES, .lists = setting_lists, .list_count = 3}},
        {"gate", {RULES, .validation = EVENT_VALIDATION_GATE}},
        {"inline", {RULES, .validation = EVENT_VALIDATION_INLINE}},
        {"require", {RULES, .consent = {.require = setting_require, .require_count = 4}}},
        {"require many", {RULES, .consent = {.require = setting_require_many, .require_count = 8}}},
        {"require ads",
         {RULES, .attribution = SETTING_ADS, .consent = {.require = setting_require_ads, .require_count = 2}}},
        {"warn", {RULES, .consent = {.require = setting_require, .require_count = 4, .warn_only = true}}},
        {"copy", {RULES, .consent = {.to_custom_fields = setting_copies, .to_custom_field_count = 5}}},
        {"copy and route",
         {RULES, .routes = setting_override, .route_count = 1,
          .consent = {.to_custom_fields = setting_copies, .to_custom_field_count = 5}}},
        {"drop", {RULES, .overflow = EVENT_OVERFLOW_DROP_LARGEST}},
    };
#undef RULES
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (strcmp(sets[i].name, name) == 0)
            return &sets[i].rules;
    }
    return NULL;
}

#endif
