/* Bytes to JSON: size, byte order mark, blanks, strict parsing, and messages that never quote the payload. */
#include "decode.h"

#include "shape.h"

#include <stdio.h>

static struct slice skip_bom(struct slice bytes)
{
    if (bytes.len >= 3 && memcmp(bytes.ptr, "\xEF\xBB\xBF", 3) == 0)
        return (struct slice){bytes.ptr + 3, bytes.len - 3};
    return bytes;
}

/* Nothing but JSON's white space (RFC 8259 section 2). */
static bool all_blank(struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        char c = bytes.ptr[i];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            return false;
    }
    return true;
}

/* jansson's own texts quote what stands near the fault, which may be a phone number: these do not. */
static const char *fault_str(enum json_error_code code)
{
    switch (code) {
    case json_error_invalid_utf8:
        return "a byte that is not UTF-8";
    case json_error_premature_end_of_input:
        return "the text ends too early";
    case json_error_end_of_input_expected:
        return "something follows behind the object";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "a NUL character (\\u0000)";
    case json_error_duplicate_key:
        return "a field that is there twice";
    case json_error_numeric_overflow:
        return "a number that does not fit into 64 bits";
    case json_error_stack_overflow:
        return "too many levels of nesting";
    default:
        return "a character that does not belong there";
    }
}

static void die_malformed(struct reader *reader, const json_error_t *error)
{
    enum json_error_code code = json_error_code(error);
    if (code == json_error_out_of_memory) {
        reader_die(reader, DEATH_EVENT_TOO_LARGE,
                   "The event has too many parts to be read. Send fewer fields and lists in one event.");
        return;
    }
    reader_die(reader, DEATH_MALFORMED_JSON,
               "The record is not valid JSON: line %d, column %d: %s. Send one JSON object in UTF-8.",
               error->line, error->column, fault_str(code));
}

static void die_empty(struct reader *reader)
{
    reader_die(reader, DEATH_EMPTY_EVENT, "The record has no value. Send the signup as a JSON object.");
}

json_t *decode_json(struct reader *reader, struct slice bytes)
{
    bytes = skip_bom(bytes);
    if (all_blank(bytes)) {
        die_empty(reader);
        return NULL;
    }
    json_error_t error;
    json_t *root = json_loadb(bytes.ptr, bytes.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!root) {
        die_malformed(reader, &error);
        return NULL;
    }
    if (!json_is_object(root)) {
        reader_die(reader, DEATH_NOT_AN_OBJECT,
                   "The record is valid JSON but %s. Send the signup as one JSON object per record.",
                   reader_type_str(root));
        json_decref(root);
        return NULL;
    }
    return root;
}

static void note_bytes(const struct reader *reader)
{
    char text[64];
    if (!reader->trace)
        return;
    size_t headers = reader->record->header_count;
    snprintf(text, sizeof text, "%zu bytes, %zu header%s", reader->record->value.len, headers,
             headers == 1 ? "" : "s");
    reader_note(reader, "bytes", "", slice_from_str(text), "the record");
}

json_t *decode_event(struct reader *reader)
{
    struct slice value = reader->record->value;
    note_bytes(reader);
    if (value.len > EVENT_BYTES_MAX) {
        reader_die(reader, DEATH_EVENT_TOO_LARGE,
                   "The event is larger than 256 KiB (262,144 bytes), the most that one may have. Send less "
                   "in it.");
        return NULL;
    }
    if (all_blank(skip_bom(value))) { /* whatever the topic's profile */
        die_empty(reader);
        return NULL;
    }
    return shape_decode(reader, value);
}
