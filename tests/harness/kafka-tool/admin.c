/* Topics: create, extend, delete, list, close to writers. Each change of a topic is over only when the metadata shows it. */
#include "client.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* True when the topic has `partitions` partitions that all have a leader; 0 means: when it is gone. */
static bool topic_has(rd_kafka_t *handle, const struct options *options, int64_t partitions)
{
    const struct rd_kafka_metadata *metadata = client_metadata(handle, options->topic, options, true);
    bool exists = metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR;
    bool has = exists && metadata->topics[0].partition_cnt == partitions;
    for (int i = 0; has && i < metadata->topics[0].partition_cnt; i++) {
        has = metadata->topics[0].partitions[i].leader >= 0;
    }
    bool gone = metadata->topic_cnt == 0 || metadata->topics[0].err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    rd_kafka_metadata_destroy(metadata);
    return partitions == 0 ? gone : has;
}

static void wait_topic(rd_kafka_t *handle, const struct options *options, int64_t partitions)
{
    int64_t deadline_ms = client_now_ms() + options->timeout_ms;
    while (!topic_has(handle, options, partitions)) {
        if (client_now_ms() >= deadline_ms) {
            client_die(EXIT_NOT_IN_TIME, "topic %s: the change does not show in the metadata", options->topic);
        }
        client_pause_ms(10);
    }
}

/* The results of an admin request about topics, whichever it was. */
static const rd_kafka_topic_result_t **event_topics(rd_kafka_event_t *event, size_t *count)
{
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_CREATETOPICS_RESULT:
        return rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), count);
    case RD_KAFKA_EVENT_CREATEPARTITIONS_RESULT:
        return rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(event), count);
    case RD_KAFKA_EVENT_DELETETOPICS_RESULT:
        return rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), count);
    default:
        *count = 0;
        return NULL;
    }
}

/* Waits for the one result of an admin request; dies unless it is success or `tolerated`. */
static void await_result(rd_kafka_queue_t *queue, const struct options *options, rd_kafka_resp_err_t tolerated)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, (int)options->timeout_ms + 1000);
    if (event == NULL) {
        client_die(EXIT_UNAVAILABLE, "no answer from %s", options->brokers);
    }
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        client_die(EXIT_UNAVAILABLE, "%s", rd_kafka_event_error_string(event));
    }
    size_t count;
    const rd_kafka_topic_result_t **topics = event_topics(event, &count);
    if (count != 1) {
        client_die(EXIT_SOFTWARE, "%zu results for one topic", count);
    }
    rd_kafka_resp_err_t error = rd_kafka_topic_result_error(topics[0]);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR && error != tolerated) {
        const char *text = rd_kafka_topic_result_error_string(topics[0]);
        client_die(EXIT_DATA, "topic %s: %s", options->topic, text == NULL ? rd_kafka_err2str(error) : text);
    }
    rd_kafka_event_destroy(event);
}

static rd_kafka_AdminOptions_t *request_options(rd_kafka_t *handle, const struct options *options)
{
    char text[256];
    rd_kafka_AdminOptions_t *request = rd_kafka_AdminOptions_new(handle, RD_KAFKA_ADMIN_OP_ANY);
    if (rd_kafka_AdminOptions_set_request_timeout(request, (int)options->timeout_ms, text, sizeof(text)) != 0) {
        client_die(EXIT_USAGE, "--timeout: %s", text);
    }
    return request;
}

static void require_topic(const struct options *options, bool with_partitions)
{
    if (options->topic == NULL || (with_partitions && options->partitions < 1)) {
        client_die(EXIT_USAGE, "--topic%s is missing", with_partitions ? " or --partitions" : "");
    }
}

static rd_kafka_NewTopic_t *new_topic(const struct options *options)
{
    char text[256];
    rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(options->topic, (int)options->partitions,
                                                       (int)options->replication, text, sizeof(text));
    if (topic == NULL) {
        client_die(EXIT_USAGE, "%s", text);
    }
    for (int i = 0; i < options->topic_config_count; i++) {
        char name[128];
        const char *equals = strchr(options->topic_configs[i], '=');
        if (equals == NULL || (size_t)(equals - options->topic_configs[i]) >= sizeof(name)) {
            client_die(EXIT_USAGE, "not NAME=VALUE: %s", options->topic_configs[i]);
        }
        memcpy(name, options->topic_configs[i], (size_t)(equals - options->topic_configs[i]));
        name[equals - options->topic_configs[i]] = '\0';
        rd_kafka_NewTopic_set_config(topic, name, equals + 1);
    }
    return topic;
}

int admin_create_topic(const struct options *options)
{
    require_topic(options, true);
    rd_kafka_t *handle = client_create(RD_KAFKA_PRODUCER, client_conf(options));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_AdminOptions_t *request = request_options(handle, options);
    rd_kafka_NewTopic_t *topic = new_topic(options);
    rd_kafka_CreateTopics(handle, &topic, 1, request, queue);
    await_result(queue, options,
                 options->if_not_exists ? RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS : RD_KAFKA_RESP_ERR_NO_ERROR);
    if (!options->if_not_exists) { /* one that was there may have another count */
        wait_topic(handle, options, options->partitions);
    }
    rd_kafka_NewTopic_destroy(topic);
    rd_kafka_AdminOptions_destroy(request);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(handle);
    return 0;
}

int admin_add_partitions(const struct options *options)
{
    char text[256];
    require_topic(options, true);
    rd_kafka_t *handle = client_create(RD_KAFKA_PRODUCER, client_conf(options));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_AdminOptions_t *request = request_options(handle, options);
    rd_kafka_NewPartitions_t *more =
        rd_kafka_NewPartitions_new(options->topic, (size_t)options->partitions, text, sizeof(text));
    if (more == NULL) {
        client_die(EXIT_USAGE, "%s", text);
    }
    rd_kafka_CreatePartitions(handle, &more, 1, request, queue);
    await_result(queue, options, RD_KAFKA_RESP_ERR_NO_ERROR);
    wait_topic(handle, options, options->partitions);
    rd_kafka_NewPartitions_destroy(more);
    rd_kafka_AdminOptions_destroy(request);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(handle);
    return 0;
}

int admin_delete_topic(const struct options *options)
{
    require_topic(options, false);
    rd_kafka_t *handle = client_create(RD_KAFKA_PRODUCER, client_conf(options));
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_AdminOptions_t *request = request_options(handle, options);
    rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(options->topic);
    rd_kafka_DeleteTopics(handle, &topic, 1, request, queue);
    await_result(queue, options, RD_KAFKA_RESP_ERR_NO_ERROR);
    wait_topic(handle, options, 0);
    rd_kafka_DeleteTopic_destroy(topic);
    rd_kafka_AdminOptions_destroy(request);
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(handle);
    return 0;
}

/* --- rights --- */

static void allow_or_deny(rd_kafka_t *handle, const struct options *options, rd_kafka_AclOperation_t operation,
                          rd_kafka_AclPermissionType_t permission)
{
    char text[256];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_AdminOptions_t *request = request_options(handle, options);
    rd_kafka_AclBinding_t *binding =
        rd_kafka_AclBinding_new(RD_KAFKA_RESOURCE_TOPIC, options->topic, RD_KAFKA_RESOURCE_PATTERN_LITERAL, "User:*", "*",
                                operation, permission, text, sizeof(text));
    if (binding == NULL) {
        client_die(EXIT_USAGE, "%s", text);
    }
    rd_kafka_CreateAcls(handle, &binding, 1, request, queue);
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, (int)options->timeout_ms + 1000);
    if (event == NULL || rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        client_die(EXIT_UNAVAILABLE, "%s", event == NULL ? "no answer" : rd_kafka_event_error_string(event));
    }
    size_t count;
    const rd_kafka_acl_result_t **results =
        rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(event), &count);
    const rd_kafka_error_t *error = count == 1 ? rd_kafka_acl_result_error(results[0]) : NULL;
    if (count != 1 || error != NULL) {
        client_die(EXIT_DATA, "topic %s: %s", options->topic, error == NULL ? "no result" : rd_kafka_error_string(error));
    }
    rd_kafka_event_destroy(event);
    rd_kafka_AclBinding_destroy(binding);
    rd_kafka_AdminOptions_destroy(request);
    rd_kafka_queue_destroy(queue);
}

/* The first rule of a topic ends what everybody may do without one: so the others' right to look is a rule, too. */
int admin_deny_write(const struct options *options)
{
    require_topic(options, false);
    rd_kafka_t *handle = client_create(RD_KAFKA_PRODUCER, client_conf(options));
    allow_or_deny(handle, options, RD_KAFKA_ACL_OPERATION_DESCRIBE, RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW);
    allow_or_deny(handle, options, RD_KAFKA_ACL_OPERATION_WRITE, RD_KAFKA_ACL_PERMISSION_TYPE_DENY);
    rd_kafka_destroy(handle);
    return 0;
}

/* --- looking --- */

static json_t *topic_json(const struct rd_kafka_metadata_topic *topic)
{
    json_t *partitions = json_array();
    for (int i = 0; i < topic->partition_cnt; i++) {
        const struct rd_kafka_metadata_partition *partition = &topic->partitions[i];
        json_array_append_new(partitions, json_pack("{s:i, s:i, s:i, s:i}", "partition", partition->id, "leader",
                                                    partition->leader, "replicas", partition->replica_cnt,
                                                    "in_sync", partition->isr_cnt));
    }
    json_t *object = json_pack("{s:s, s:o}", "topic", topic->topic, "partitions", partitions);
    if (topic->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
        json_object_set_new(object, "error", json_string(rd_kafka_err2name(topic->err)));
    }
    return object;
}

int admin_metadata(const struct options *options)
{
    rd_kafka_t *handle = client_create(RD_KAFKA_PRODUCER, client_conf(options));
    const struct rd_kafka_metadata *metadata = client_metadata(handle, options->topic, options, true);
    json_t *brokers = json_array();
    json_t *topics = json_array();
    for (int i = 0; i < metadata->broker_cnt; i++) {
        json_array_append_new(brokers, json_pack("{s:i, s:s, s:i}", "id", metadata->brokers[i].id, "host",
                                                 metadata->brokers[i].host, "port", metadata->brokers[i].port));
    }
    for (int i = 0; i < metadata->topic_cnt; i++) {
        json_array_append_new(topics, topic_json(&metadata->topics[i]));
    }
    json_t *all = json_pack("{s:o, s:o}", "brokers", brokers, "topics", topics);
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_destroy(handle);
    return 0;
}
