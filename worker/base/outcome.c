/* Outcomes: names, filling, and the class of a status. */
#include "signup/base/outcome.h"

#include <string.h>

const char *outcome_class_str(enum outcome_class cls)
{
    static const char *const names[] = {
#define X(name, text) text,
        OUTCOME_CLASSES(X)
#undef X
    };
    return cls < OUTCOME_CLASS_COUNT ? names[cls] : "unknown";
}

/* Cuts at a character's boundary, so that what reaches a text column or a header stays valid UTF-8. */
static void text_cut(char *to, size_t size, const char *from)
{
    size_t len = from ? strlen(from) : 0;
    if (len >= size) {
        len = size - 1;
        while (len && ((unsigned char)from[len] & 0xC0) == 0x80)
            len--;
    }
    if (len)
        memcpy(to, from, len);
    to[len] = '\0';
}

void outcome_set(struct outcome *outcome, enum outcome_class cls, int http_status, const char *code,
                 const char *message, bool maybe_sent)
{
    outcome->cls = cls;
    outcome->http_status = http_status;
    outcome->maybe_sent = maybe_sent;
    outcome->retry_after_us = -1;
    outcome->duration_us = 0;
    text_cut(outcome->code, sizeof outcome->code, code);
    text_cut(outcome->message, sizeof outcome->message, message);
}

enum outcome_class outcome_class_of_status(int http_status, bool body_believed)
{
    if (http_status >= 200 && http_status <= 299)
        return body_believed ? OUTCOME_ACCEPTED : OUTCOME_SERVER;
    if (http_status >= 300 && http_status <= 399)
        return OUTCOME_MISROUTED;
    switch (http_status) {
    case 401:
    case 403:
        return OUTCOME_UNAUTHORIZED;
    case 402:
        return OUTCOME_BILLING;
    case 429:
        return OUTCOME_THROTTLED;
    case 503:
        return OUTCOME_PROVIDER;
    case 408:
    case 425:
        return OUTCOME_SERVER;
    default:
        return http_status >= 400 && http_status <= 499 ? OUTCOME_REJECTED : OUTCOME_SERVER;
    }
}
