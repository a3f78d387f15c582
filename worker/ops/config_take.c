/* What the readers of the trees have in common: texts, switches, words, phones, constants, each with its
 * bounds and its complaint. */
#include "config_tree.h"

#include "signup/event/phone.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CONSTANT_BYTES 1000 /* beyond that a custom field is too much of the API's 4,000 bytes */
#define FIELD_NAME_BYTES 255

void *config_tree_alloc(struct config_loader *loader, size_t count, size_t size)
{
    if (!count)
        return NULL;
    void *out = arena_alloc_zero(&loader->config->arena, count * size);
    if (!out)
        config_complain_memory(loader);
    return out;
}

bool config_tree_copy(struct config_loader *loader, struct slice text, struct slice *out)
{
    *out = arena_copy(&loader->config->arena, text);
    if (!slice_present(*out))
        config_complain_memory(loader);
    return slice_present(*out);
}

/* ------------------------------------------------------------------ texts */

static bool text_is_plain(const struct config_spot *at, struct slice text, size_t min, size_t max)
{
    char quoted[CONFIG_QUOTED_BYTES];
    config_quote(text, quoted);
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 127) {
            config_spot_complain(
                at, "%s has a line break or another control character in it; write it in one line", quoted);
            return false;
        }
    if (text.len >= min && text.len <= max)
        return true;
    if (!text.len)
        config_spot_complain(at, "is empty; write %zu to %zu bytes of text", min, max);
    else
        config_spot_complain(at, "%s has %zu bytes; write %zu to %zu", quoted, text.len, min, max);
    return false;
}

bool config_take_text(const struct config_spot *at, size_t min, size_t max, const char *wanted,
                      struct slice *out)
{
    if (at->node->kind != CONFIG_NODE_TEXT) {
        config_spot_refuse(at, wanted);
        return false;
    }
    return text_is_plain(at, at->node->text, min, max) && config_tree_copy(at->loader, at->node->text, out);
}

bool config_take_field_name(const struct config_spot *at, struct slice text, struct slice *out)
{
    return text_is_plain(at, text, 1, FIELD_NAME_BYTES) && config_tree_copy(at->loader, text, out);
}

/* ------------------------------------------------------------------ choices */

bool config_take_bool(const struct config_spot *at, bool *out)
{
    struct config_wrong wrong = {0};
    if (at->node->kind != CONFIG_NODE_TEXT) {
        config_spot_refuse(at, "true or false");
        return false;
    }
    if (config_bool_read(at->node->text, out, &wrong))
        return true;
    config_spot_complain(at, "%s", wrong.text);
    return false;
}

void config_words_join(const char *const *words, const char *last, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; words[i] && len < size; i++) {
        const char *joint = i == 0 ? "" : words[i + 1] ? ", " : last;
        len += (size_t)snprintf(out + len, size - len, "%s%s", joint, words[i]);
    }
}

bool config_take_word(const struct config_spot *at, const char *const *words, int *out)
{
    char quoted[CONFIG_QUOTED_BYTES];
    char known[256];
    config_words_join(words, " or ", known, sizeof known);
    if (at->node->kind != CONFIG_NODE_TEXT) {
        config_spot_refuse(at, known);
        return false;
    }
    *out = config_word_find(words, at->node->text);
    if (*out >= 0)
        return true;
    const char *meant = config_nearest_word(at->node->text.ptr, words);
    config_quote(at->node->text, quoted);
    if (meant)
        config_spot_complain(at, "%s is not known; did you mean %s? There are %s", quoted, meant, known);
    else
        config_spot_complain(at, "%s is not known; write %s", quoted, known);
    return false;
}

bool config_take_mode(const struct config_spot *at, enum event_validation *out)
{
    int mode;
    if (!config_take_word(at, config_keys[CONFIG_ID_validation_mode].words, &mode))
        return false;
    *out = (enum event_validation)mode;
    return true;
}

int config_take_key(const struct config_spot *at, const char *const *words)
{
    char known[256];
    for (int i = 0; words[i]; i++)
        if (slice_is(at->node->name, words[i]))
            return i;
    const char *meant = config_nearest_word(at->node->name.ptr, words);
    config_words_join(words, " and ", known, sizeof known);
    if (meant)
        config_spot_complain_name(at, "unknown key; did you mean %s?", meant);
    else
        config_spot_complain_name(at, "unknown key; there are %s", known);
    return -1;
}

bool config_is_map(const struct config_spot *at, const char *wanted)
{
    if (at->node->kind == CONFIG_NODE_MAP || at->node->kind == CONFIG_NODE_NULL)
        return true;
    config_spot_refuse(at, wanted);
    return false;
}

/* ------------------------------------------------------------------ phones and topics */

bool config_take_phone(const struct config_spot *at, struct slice text, struct slice *out)
{
    struct config_loader *loader = at->loader;
    char e164[PHONE_E164_BYTES];
    if (loader->origins[CONFIG_ID_defaults_country].bad)
        return false; /* told; the number may be one */
    size_t len = text.len <= 64 ? phone_to_e164(text, loader->config->defaults.country, e164) : 0;
    if (!len) {
        config_spot_complain(at, "the value is no full phone number; write it like \"+14155550100\"");
        return false;
    }
    return config_tree_copy(loader, (struct slice){e164, len}, out);
}

bool config_take_list_number(const struct config_spot *at, struct slice *out)
{
    if (at->node->kind == CONFIG_NODE_TEXT)
        return config_take_phone(at, at->node->text, out);
    config_spot_refuse(at, "a phone number, like \"+14155550100\"");
    return false;
}

bool config_take_topic(const struct config_spot *at, unsigned line, struct slice text, struct slice *out)
{
    struct config_loader *loader = at->loader;
    const struct config_list *topics = &loader->config->kafka.topics;
    char known[256] = "";
    size_t len = 0;
    for (size_t i = 0; i < topics->count; i++)
        if (slice_is(text, topics->items[i]))
            return config_tree_copy(loader, text, out);
    if (loader->origins[CONFIG_ID_kafka_topics].bad)
        return false; /* told; the topic may have been among them */
    for (size_t i = 0; i < topics->count && len < sizeof known; i++)
        len += (size_t)snprintf(known + len, sizeof known - len, "%s%s", i ? ", " : "", topics->items[i]);
    struct config_node told = *at->node;
    struct config_spot spot = *at;
    char quoted[CONFIG_QUOTED_BYTES];
    told.line = line;
    spot.node = &told;
    config_quote(text, quoted);
    const char *meant = config_nearest_of(text.ptr, (const char *const *)topics->items, topics->count);
    if (meant)
        config_spot_complain(&spot, "%s is not one of kafka.topics (%s); did you mean %s?", quoted, known,
                             meant);
    else
        config_spot_complain(&spot, "%s is not one of kafka.topics (%s); write one of them, or add it there",
                             quoted, known);
    return false;
}

/* ------------------------------------------------------------------ constants */

/* A number by JSON's grammar (RFC 8259, section 6), which leaves 007 and +1800… what they are: text. Gives 0
 * for none, 1 for a whole one, 2 for one with a fraction or an exponent. */
static int number_shape(const char *text)
{
    const char *at = text + (*text == '-');
    int shape = 1;
    if (!isdigit((unsigned char)*at) || (*at == '0' && isdigit((unsigned char)at[1])))
        return 0;
    at += strspn(at, "0123456789");
    if (*at == '.') {
        shape = 2;
        size_t digits = strspn(++at, "0123456789");
        if (!digits)
            return 0;
        at += digits;
    }
    if (*at == 'e' || *at == 'E') {
        shape = 2;
        at++;
        at += *at == '+' || *at == '-';
        size_t digits = strspn(at, "0123456789");
        if (!digits)
            return 0;
        at += digits;
    }
    return *at ? 0 : shape;
}

static bool read_number(const struct config_spot *at, int shape, struct event_constant *out)
{
    errno = 0;
    if (shape == 1) {
        out->integer = strtoll(out->text.ptr, NULL, 10);
        if (errno == 0)
            out->kind = EVENT_CONSTANT_INTEGER; /* a longer one keeps its digits, as text */
        return true;
    }
    out->kind = EVENT_CONSTANT_REAL;
    out->real = strtod(out->text.ptr, NULL);
    if (isfinite(out->real))
        return true;
    config_spot_complain(at, "the number is too large; write a smaller one, or quotes around it");
    return false;
}

bool config_take_constant(const struct config_spot *at, struct event_constant *out)
{
    struct slice text;
    *out = (struct event_constant){.kind = EVENT_CONSTANT_TEXT};
    if (!config_take_text(at, 0, CONSTANT_BYTES, "one value: text, a number, true or false", &text))
        return false;
    out->text = text;
    if (!at->node->plain)
        return true;
    if (strcasecmp(text.ptr, "true") == 0 || strcasecmp(text.ptr, "false") == 0) {
        out->kind = EVENT_CONSTANT_BOOLEAN;
        out->boolean = tolower((unsigned char)text.ptr[0]) == 't';
        return true;
    }
    int shape = number_shape(text.ptr);
    return !shape || read_number(at, shape, out);
}
