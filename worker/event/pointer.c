/* JSON Pointers (RFC 6901): taken apart once, followed for each event. */
#include "pointer.h"

#define INDEX_DIGITS_MAX 9 /* an event has fewer elements */

/* Unescapes one token to `out`; false: a "~" that escapes nothing. */
static bool unescape(struct slice raw, char *out, size_t *len)
{
    size_t n = 0;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.ptr[i];
        if (c == '~') {
            i++;
            if (i == raw.len || (raw.ptr[i] != '0' && raw.ptr[i] != '1'))
                return false;
            c = raw.ptr[i] == '0' ? '~' : '/';
        }
        out[n++] = c;
    }
    out[n] = '\0';
    *len = n;
    return true;
}

static size_t count_tokens(struct slice text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == '/';
    return count;
}

/* Behind the slash at `*at` up to the next one. */
static struct slice next_token(struct slice text, size_t *at)
{
    size_t start = *at + 1;
    size_t end = start;
    while (end < text.len && text.ptr[end] != '/')
        end++;
    *at = end;
    return (struct slice){text.ptr + start, end - start};
}

static bool refuse(const char **why, const char *text)
{
    *why = text;
    return false;
}

bool event_pointer_parse(struct arena *arena, struct slice text, struct event_pointer *out, const char **why)
{
    static const char out_of_memory[] = "there is no memory for it";
    *out = (struct event_pointer){0};
    if (text.len && text.ptr[0] != '/')
        return refuse(why,
                      "a JSON pointer begins with \"/\": write /contact/phone for the member phone of the "
                      "member contact");
    if (text.len && memchr(text.ptr, '\0', text.len))
        return refuse(why, "a JSON pointer has no NUL character");
    out->text = arena_copy(arena, slice_present(text) ? text : SLICE_LITERAL(""));
    if (!slice_present(out->text))
        return refuse(why, out_of_memory);
    size_t count = count_tokens(text);
    if (!count)
        return true;
    struct slice *tokens = arena_alloc(arena, count * sizeof *tokens);
    char *space = arena_alloc(arena, text.len + 1); /* each slash makes room for a NUL */
    if (!tokens || !space)
        return refuse(why, out_of_memory);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t len;
        if (!unescape(next_token(text, &at), space, &len))
            return refuse(why, "\"~\" in a JSON pointer stands only in ~0 (for ~) and ~1 (for /)");
        tokens[i] = (struct slice){space, len};
        space += len + 1;
    }
    out->tokens = tokens;
    out->count = count;
    return true;
}

/* Digits without a leading zero; "-" and everything else is no element that is there. */
static bool index_value(struct slice token, size_t *index)
{
    if (!token.len || token.len > INDEX_DIGITS_MAX || (token.len > 1 && token.ptr[0] == '0'))
        return false;
    *index = 0;
    for (size_t i = 0; i < token.len; i++) {
        if (token.ptr[i] < '0' || token.ptr[i] > '9')
            return false;
        *index = *index * 10 + (size_t)(token.ptr[i] - '0');
    }
    return true;
}

json_t *pointer_find(json_t *root, const struct event_pointer *pointer)
{
    json_t *at = root;
    for (size_t i = 0; at && i < pointer->count; i++) {
        size_t index;
        if (json_is_object(at))
            at = json_object_getn(at, pointer->tokens[i].ptr, pointer->tokens[i].len);
        else if (json_is_array(at) && index_value(pointer->tokens[i], &index))
            at = json_array_get(at, index);
        else
            at = NULL;
    }
    return json_is_null(at) ? NULL : at;
}
