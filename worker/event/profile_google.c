/* Google Ads lead forms: what their webhook posts
 * (https://developers.google.com/google-ads/webhook/docs/implementation). */
#include "shape.h"

#include "decode.h"
#include "shape_lead.h"

static const struct lead_member attribution[] = {
    {"lead_id", "lead_id"},       {"form_id", "form_id"},         {"campaign_id", "campaign_id"},
    {"adgroup_id", "adgroup_id"}, {"creative_id", "creative_id"}, {"asset_group_id", "asset_group_id"},
    {"gcl_id", "gclid"},          {"lead_stage", "lead_stage"},   {NULL, NULL},
};

static const struct lead_network network = {
    .prefix = "google",
    .source = "adwords",
    .ids = (const char *const[]){"lead_id", NULL},
    .date = "lead_submit_time",
    .ad_ids = (const char *const[]){"campaign_id", "adgroup_id", "creative_id", NULL},
    .phones = (const char *const[]){"phone_number", "work_phone", "work_phone_number", NULL},
    .attribution = attribution,
};

static bool check_frame(struct reader *reader, const json_t *root)
{
    if (!json_is_array(json_object_get(root, "user_column_data"))) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The record is not what the webhook of a Google Ads lead form posts: it has no list "
                   "user_column_data. Publish the body of the webhook's request as it came.");
        return false;
    }
    if (!reader_member(root, "lead_id")) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The lead of Google Ads has no lead_id, by which a second copy of it would be known. "
                   "Publish the body of the webhook's request as it came.");
        return false;
    }
    return true;
}

static bool is_test(const json_t *root)
{
    const json_t *value = json_object_get(root, "is_test");
    return json_is_true(value) || (json_is_string(value) && slice_is(reader_string(value), "true"));
}

json_t *profile_google(struct reader *reader, struct slice bytes)
{
    json_t *root = decode_json(reader, bytes);
    if (!root)
        return NULL;
    /* By which the webhook proves that it is Google: a secret, out of reach of mappings and of the trace. */
    json_object_del(root, "google_key");
    if (!check_frame(reader, root) || !lead_begin(reader, root)) {
        json_decref(root);
        return NULL;
    }
    size_t i;
    const json_t *column;
    json_array_foreach(json_object_get(root, "user_column_data"), i, column)
    {
        const json_t *id = reader_member(column, "column_id");
        lead_answer(reader, id ? id : reader_member(column, "column_name"),
                    json_object_get(column, "string_value"));
    }
    if (is_test(root))
        reader_die(
            reader, DEATH_TEST_LEAD,
            "This is a test lead of Google Ads (is_test), not a person. It shows that the connection works.");
    shape_note(reader, "webhook of a lead form, %zu answers", json_object_size(reader->answers));
    return root;
}

void profile_google_fill(struct reader *reader, json_t *root)
{
    lead_fill(reader, &network, root, "");
}
