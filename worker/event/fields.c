/* From the tree to the fields of an event, by their names. */
#include "fields.h"

#include <string.h>

const char *event_field_str(enum event_field field)
{
    static const char *const names[] = {
#define X(name, text) text,
        EVENT_FIELDS(X)
#undef X
    };
    return names[field];
}

bool event_field_parse(struct slice name, enum event_field *out)
{
    for (int field = 0; field < EVENT_FIELD_COUNT; field++) {
        if (slice_is(name, event_field_str((enum event_field)field))) {
            *out = (enum event_field)field;
            return true;
        }
    }
    return false;
}

void fields_assign(struct reader *reader, json_t *root)
{
    for (void *at = json_object_iter(root); at; at = json_object_iter_next(root, at)) {
        json_t *value = json_object_iter_value(at);
        enum event_field field;
        if (!json_is_null(value) && event_field_parse(slice_from_str(json_object_iter_key(at)), &field))
            reader->field[field] = value;
    }
}
