/* TikTok leads: what the webhook of a LEAD subscription posts (object 1, one entry a lead, answers in its
 * `changes`), or what GET /lead/get/ answers with (lead_data, meta_data). API for Business v1.3,
 * https://business-api.tiktok.com/portal/docs. */
#include "shape.h"

#include "decode.h"
#include "shape_lead.h"

static const struct lead_member attribution[] = {
    {"id", "lead_id"},
    {"lead_id", "lead_id"},
    {"page_id", "form_id"},
    {"page_name", "form_name"},
    {"library_id", "library_id"},
    {"advertiser_id", "advertiser_id"},
    {"campaign_id", "campaign_id"},
    {"campaign_name", "campaign_name"},
    {"adgroup_id", "adgroup_id"},
    {"adgroup_name", "adgroup_name"},
    {"ad_id", "ad_id"},
    {"ad_name", "ad_name"},
    {"lead_source", "lead_source"},
    {"ttclid", "ttclid"},
    {NULL, NULL},
};

static const struct lead_network network = {
    .prefix = "tiktok",
    .source = "tiktok",
    .ids = (const char *const[]){"id", "lead_id", NULL},
    .date = "create_time",
    .ad_ids = (const char *const[]){"campaign_id", "adgroup_id", "ad_id", NULL},
    .phones = (const char *const[]){"phone_number", "phone", "mobile_number", "mobile", NULL},
    .attribution = attribution,
};

/* Where the ids of the lead stand: in the webhook's one entry or in meta_data. NULL: nowhere. */
static json_t *find_lead(json_t *root, const char **path)
{
    json_t *entry = json_array_get(json_object_get(root, "entry"), 0);
    if (json_is_object(entry)) {
        *path = "/entry/0";
        return entry;
    }
    json_t *data = json_object_get(root, "data");
    *path = json_is_object(data) ? "/data/meta_data" : "/meta_data";
    json_t *meta = json_object_get(json_is_object(data) ? data : root, "meta_data");
    return json_is_object(meta) ? meta : NULL;
}

static json_t *find_answers(json_t *root)
{
    json_t *data = json_object_get(root, "data");
    json_t *answers = json_object_get(json_is_object(data) ? data : root, "lead_data");
    return json_is_object(answers) ? answers : NULL;
}

/* 1 is a lead; the same address hears of reviewed ads and tired creatives, too. */
static bool is_lead_object(const json_t *value)
{
    if (!value)
        return true;
    return json_is_integer(value) ? json_integer_value(value) == 1
                                  : json_is_string(value) && slice_is(reader_string(value), "1");
}

static bool check_webhook(struct reader *reader, const json_t *root, const json_t *entries)
{
    const json_t *changes = json_object_get(json_array_get(entries, 0), "changes");
    if (!is_lead_object(reader_member(root, "object"))) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The record is a notification of TikTok that is not about a lead (its object is not 1). "
                   "Publish only those of the LEAD subscription.");
        return false;
    }
    if (json_array_size(entries) > 1) {
        reader_die(
            reader, DEATH_MALFORMED_PAYLOAD,
            "The record has %zu leads of TikTok in its list entry. Publish each in a record of its own.",
            json_array_size(entries));
        return false;
    }
    if (!json_is_array(changes)) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The lead of TikTok has no list changes in its entry, where the answers stand. Publish "
                   "the body of the webhook's request as it came.");
        return false;
    }
    return true;
}

static bool check_frame(struct reader *reader, json_t *root)
{
    const char *path;
    const json_t *entries = json_object_get(root, "entry");
    if (json_is_array(entries) && !check_webhook(reader, root, entries))
        return false;
    const json_t *lead = find_lead(root, &path);
    if (!lead || (!json_is_array(entries) && !find_answers(root))) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The record is no lead of TikTok: it has neither a list entry, as the webhook of a LEAD "
                   "subscription posts it, nor lead_data and meta_data, as /lead/get/ answers.");
        return false;
    }
    if (!reader_member(lead, "id") && !reader_member(lead, "lead_id")) {
        reader_die(reader, DEATH_MALFORMED_PAYLOAD,
                   "The lead of TikTok has no id, by which a second copy of it would be known. Publish the "
                   "body of the webhook's request as it came.");
        return false;
    }
    return true;
}

static void read_answers(struct reader *reader, json_t *root)
{
    size_t i;
    const json_t *change;
    json_array_foreach(json_object_get(json_array_get(json_object_get(root, "entry"), 0), "changes"), i,
                       change)
        lead_answer(reader, json_object_get(change, "field"), json_object_get(change, "value"));
    json_t *answers = find_answers(root);
    for (void *at = json_object_iter(answers); at; at = json_object_iter_next(answers, at)) {
        json_t *name = reader_own(reader, json_string(json_object_iter_key(at)));
        if (name)
            lead_answer(reader, name, json_object_iter_value(at));
    }
}

json_t *profile_tiktok(struct reader *reader, struct slice bytes)
{
    json_t *root = decode_json(reader, bytes);
    if (!root)
        return NULL;
    if (!check_frame(reader, root) || !lead_begin(reader, root)) {
        json_decref(root);
        return NULL;
    }
    read_answers(reader, root);
    shape_note(reader, "%s, %zu answers",
               json_object_get(root, "entry") ? "webhook of one lead" : "answer of /lead/get/",
               json_object_size(reader->answers));
    return root;
}

void profile_tiktok_fill(struct reader *reader, json_t *root)
{
    const char *path;
    json_t *lead = find_lead(root, &path);
    lead_fill(reader, &network, lead, path);
}
