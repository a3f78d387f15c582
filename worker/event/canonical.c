/* Canonical JSON text of a jansson tree. jansson's own writer is not used: it prints 0.1 as
 * 0.10000000000000001. */
#include "canonical.h"

#include "scratch.h"

#include <stdlib.h>
#include <string.h>

static int member_compare(const void *a, const void *b)
{
    return strcmp(((const struct canonical_member *)a)->name, ((const struct canonical_member *)b)->name);
}

struct canonical_member *canonical_members(json_t *object, size_t *count)
{
    *count = json_object_size(object);
    if (!*count)
        return NULL;
    struct canonical_member *members = scratch_alloc(*count * sizeof *members);
    if (!members)
        return NULL;
    size_t n = 0;
    bool sorted = true;
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        members[n].name = json_object_iter_key(at);
        members[n].value = json_object_iter_value(at);
        sorted = sorted && (n == 0 || strcmp(members[n - 1].name, members[n].name) < 0);
        n++;
    }
    if (!sorted)
        qsort(members, n, sizeof *members, member_compare);
    return members;
}

static void append_object(struct buf *out, json_t *object)
{
    size_t count;
    struct canonical_member *members = canonical_members(object, &count);
    if (count && !members) {
        out->failed = true;
        return;
    }
    buf_append_char(out, '{');
    for (size_t i = 0; i < count; i++) {
        if (i)
            buf_append_char(out, ',');
        buf_append_json_string(out, slice_from_str(members[i].name));
        buf_append_char(out, ':');
        canonical_append(out, members[i].value);
    }
    buf_append_char(out, '}');
    scratch_free(members);
}

static void append_array(struct buf *out, json_t *array)
{
    buf_append_char(out, '[');
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i)
            buf_append_char(out, ',');
        canonical_append(out, json_array_get(array, i));
    }
    buf_append_char(out, ']');
}

void canonical_append(struct buf *out, json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        append_object(out, value);
        break;
    case JSON_ARRAY:
        append_array(out, value);
        break;
    case JSON_STRING:
        buf_append_json_string(out, (struct slice){json_string_value(value), json_string_length(value)});
        break;
    case JSON_INTEGER:
        buf_append_int(out, json_integer_value(value));
        break;
    case JSON_REAL:
        buf_append_json_real(out, json_real_value(value));
        break;
    case JSON_TRUE:
        buf_append_str(out, "true");
        break;
    case JSON_FALSE:
        buf_append_str(out, "false");
        break;
    case JSON_NULL:
        buf_append_str(out, "null");
        break;
    }
}
