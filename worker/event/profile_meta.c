/* Meta lead ads (Facebook, Instagram): the lead object of the Graph API, as GET /{lead-id} gives it
 * (https://developers.facebook.com/docs/marketing-api/guides/lead-ads/retrieving). */
#include "shape.h"

#include "decode.h"
#include "fields.h"
#include "shape_lead.h"

/* What Meta's lead ads testing tool fills into every question. */
#define TEST_ANSWER "<test lead: dummy data"

static const struct lead_member attribution[] = {
    {"id", "lead_id"},
    {"leadgen_id", "lead_id"},
    {"form_id", "form_id"},
    {"ad_id", "ad_id"},
    {"ad_name", "ad_name"},
    {"adset_id", "adset_id"},
    {"adset_name", "adset_name"},
    {"campaign_id", "campaign_id"},
    {"campaign_name", "campaign_name"},
    {"platform", "platform"},
    {"is_organic", "is_organic"},
    {"partner_name", "partner_name"},
    {"retailer_item_id", "retailer_item_id"},
    {NULL, NULL},
};

static const struct lead_network network = {
    .prefix = "meta",
    .source = "facebook",
    .ids = (const char *const[]){"id", "leadgen_id", NULL},
    .date = "created_time",
    .ad_ids = (const char *const[]){"campaign_id", "adset_id", "ad_id", NULL},
    .phones = (const char *const[]){"phone_number", "phone", "mobile_number", "mobile_phone",
                                    "work_phone_number", NULL},
    .attribution = attribution,
};

/* Neighbours of the lead object, which end up on such topics; NULL: it is none of them. */
static const char *neighbour(const json_t *root)
{
    if (json_is_string(json_object_get(root, "object")) && json_is_array(json_object_get(root, "entry")))
        return "the webhook's notification, which has the lead's id and nothing of the contact. Fetch the "
               "lead from the Graph API (GET /{leadgen_id}) and publish the object that it answers with";
    if (json_is_array(json_object_get(root, "data")))
        return "a page of leads. Publish each of its leads in a record of its own";
    if (json_is_object(json_object_get(root, "error")))
        return "an error that the Graph API answered with. Look at the program that fetches the leads";
    return NULL;
}

static bool check_frame(struct reader *reader, const json_t *root)
{
    const char *other = neighbour(root);
    if (!json_is_array(json_object_get(root, "field_data")) && other) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD, "The record is no lead but %s.", other);
        return false;
    }
    if (!json_is_array(json_object_get(root, "field_data"))) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The record is no lead object of Meta's Graph API: it has no list field_data. Publish "
                   "what GET /{lead-id} answers with, field_data among its fields.");
        return false;
    }
    if (!reader_member(root, "id") && !reader_member(root, "leadgen_id")) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The lead object has no id, by which a second copy of it would be known. Publish what the "
                   "Graph API's GET /{lead-id} answers with, id among its fields.");
        return false;
    }
    return true;
}

static void judge_test(struct reader *reader)
{
    const size_t len = sizeof TEST_ANSWER - 1;
    for (void *at = json_object_iter(reader->answers); at; at = json_object_iter_next(reader->answers, at)) {
        struct slice answer = reader_string(json_object_iter_value(at));
        if (answer.len < len || memcmp(answer.ptr, TEST_ANSWER, len) != 0)
            continue;
        reader_die(reader, DEATH_TEST_LEAD,
                   "This is a test lead of Meta's lead ads testing tool, not a person. It shows that the "
                   "connection works.");
        return;
    }
}

json_t *profile_meta(struct reader *reader, struct slice bytes)
{
    json_t *root = decode_json(reader, bytes);
    if (!root)
        return NULL;
    if (!check_frame(reader, root) || !lead_begin(reader, root)) {
        json_decref(root);
        return NULL;
    }
    size_t i;
    const json_t *answer;
    json_array_foreach(json_object_get(root, "field_data"), i, answer)
    {
        json_t *values = json_object_get(answer, "values");
        lead_answer(reader, json_object_get(answer, "name"),
                    values ? values : json_object_get(answer, "value"));
    }
    judge_test(reader);
    shape_note(reader, "lead object, %zu answers", json_object_size(reader->answers));
    return root;
}

void profile_meta_fill(struct reader *reader, json_t *root)
{
    static const char disclaimers[] = "custom_disclaimer_responses";
    bool consent_free = !reader->field[EVENT_CONSENT];
    lead_fill(reader, &network, root, "");
    /* Which boxes of the form were ticked: evidence. */
    if (consent_free)
        member_put(reader, EVENT_CONSENT, disclaimers, reader_member(root, disclaimers),
                   fields_origin(reader, "profile meta_lead_ads: /%s", disclaimers));
}
