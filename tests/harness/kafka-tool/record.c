/* Kafka records to and from JSON. */
#include "record.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

/* --- to JSON --- */

static json_t *base64_string(const void *data, size_t size)
{
    char *text = malloc(4 * ((size + 2) / 3) + 1);
    if (text == NULL) {
        abort();
    }
    EVP_EncodeBlock((unsigned char *)text, data, (int)size);
    json_t *string = json_string(text);
    free(text);
    return string;
}

/* Sets object[name], or object[name_base64] where the bytes are no text. */
static void set_bytes(json_t *object, const char *name, const void *data, size_t size)
{
    if (data == NULL) {
        json_object_set_new(object, name, json_null());
        return;
    }
    json_t *text = memchr(data, '\0', size) != NULL ? NULL : json_stringn(data, size);
    if (text != NULL) {
        json_object_set_new(object, name, text);
        return;
    }
    char long_name[64];
    snprintf(long_name, sizeof(long_name), "%s_base64", name);
    json_object_set_new(object, long_name, base64_string(data, size));
}

json_t *record_to_json(const rd_kafka_message_t *message)
{
    rd_kafka_timestamp_type_t type;
    json_t *object = json_pack("{s:s, s:i, s:I, s:I}", "topic", rd_kafka_topic_name(message->rkt), "partition",
                               (int)message->partition, "offset", (json_int_t)message->offset, "timestamp_ms",
                               (json_int_t)rd_kafka_message_timestamp(message, &type));
    set_bytes(object, "key", message->key, message->key_len);
    set_bytes(object, "value", message->payload, message->len);
    json_t *list = json_array();
    rd_kafka_headers_t *headers;
    if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        const char *name;
        const void *value;
        size_t size;
        for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &size) == 0; i++) {
            json_t *header = json_object();
            set_bytes(header, "name", name, strlen(name));
            set_bytes(header, "value", value, size);
            json_array_append_new(list, header);
        }
    }
    json_object_set_new(object, "headers", list);
    return object;
}

/* --- from JSON --- */

/* Decodes base64; false when it is none. EVP_DecodeBlock counts the padding as bytes. */
static bool decode_base64(const char *text, struct bytes *bytes)
{
    size_t length = strlen(text);
    if (length % 4 != 0) {
        return false;
    }
    bytes->data = malloc(length / 4 * 3 + 1);
    if (bytes->data == NULL) {
        return false;
    }
    int size = EVP_DecodeBlock((unsigned char *)bytes->data, (const unsigned char *)text, (int)length);
    if (size < 0) {
        free(bytes->data);
        bytes->data = NULL;
        return false;
    }
    size_t padding = length == 0 ? 0 : (size_t)(text[length - 1] == '=') + (size_t)(text[length - 2] == '=');
    bytes->size = (size_t)size - padding;
    return true;
}

/* Reads object[name], or object[name_base64]; null and absent are null. */
static bool get_bytes(const json_t *object, const char *name, struct bytes *bytes)
{
    char long_name[64];
    snprintf(long_name, sizeof(long_name), "%s_base64", name);
    const json_t *encoded = json_object_get(object, long_name);
    const json_t *plain = json_object_get(object, name);
    *bytes = (struct bytes){NULL, 0};
    if (encoded != NULL) {
        return json_is_string(encoded) && decode_base64(json_string_value(encoded), bytes);
    }
    if (plain == NULL || json_is_null(plain)) {
        return true;
    }
    if (!json_is_string(plain)) {
        return false;
    }
    bytes->size = json_string_length(plain);
    bytes->data = malloc(bytes->size + 1);
    if (bytes->data == NULL) {
        return false;
    }
    memcpy(bytes->data, json_string_value(plain), bytes->size + 1);
    return true;
}

static bool get_headers(const json_t *list, struct record *record)
{
    size_t index;
    json_t *header;
    record->headers = rd_kafka_headers_new(json_array_size(list));
    json_array_foreach(list, index, header) {
        const char *name = json_string_value(json_object_get(header, "name"));
        struct bytes value;
        if (name == NULL || !get_bytes(header, "value", &value)) {
            return false;
        }
        rd_kafka_header_add(record->headers, name, -1, value.data, (ssize_t)value.size);
        free(value.data);
    }
    return true;
}

bool record_from_json(const json_t *object, struct record *record, const char **problem)
{
    const json_t *partition = json_object_get(object, "partition");
    const json_t *timestamp = json_object_get(object, "timestamp_ms");
    const json_t *headers = json_object_get(object, "headers");
    *record = (struct record){.partition = partition == NULL ? -1 : (int32_t)json_integer_value(partition),
                              .timestamp_ms = json_integer_value(timestamp)};
    *problem = NULL;
    if (!json_is_object(object)) {
        *problem = "not an object";
    } else if (!get_bytes(object, "key", &record->key)) {
        *problem = "key is neither text nor null, or key_base64 not base64";
    } else if (!get_bytes(object, "value", &record->value)) {
        *problem = "value is neither text nor null, or value_base64 not base64";
    } else if (headers != NULL && (!json_is_array(headers) || !get_headers(headers, record))) {
        *problem = "headers is not an array of {\"name\", \"value\"}";
    }
    if (*problem != NULL) {
        record_fini(record);
    }
    return *problem == NULL;
}

void record_fini(struct record *record)
{
    free(record->key.data);
    free(record->value.data);
    if (record->headers != NULL) {
        rd_kafka_headers_destroy(record->headers);
    }
    *record = (struct record){.partition = -1};
}
