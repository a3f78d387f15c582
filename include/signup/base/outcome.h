/* What became of one call (or of one local check), as a value: who is at fault, what was said, may it have taken effect. */
#ifndef SIGNUP_BASE_OUTCOME_H
#define SIGNUP_BASE_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

/* The classes of design section 5, in its order. */
#define OUTCOME_CLASSES(X)                                                                                             \
    X(ACCEPTED, "accepted")                                                                                            \
    X(REJECTED, "rejected")                                                                                            \
    X(MISROUTED, "misrouted")                                                                                          \
    X(UNAUTHORIZED, "unauthorized")                                                                                    \
    X(BILLING, "billing")                                                                                              \
    X(THROTTLED, "throttled")                                                                                          \
    X(PROVIDER, "provider")                                                                                            \
    X(SERVER, "server")                                                                                                \
    X(TRANSPORT, "transport")

enum outcome_class {
#define X(name, text) OUTCOME_##name,
    OUTCOME_CLASSES(X)
#undef X
        OUTCOME_CLASS_COUNT
};

/* "accepted", "rejected", … never NULL. */
const char *outcome_class_str(enum outcome_class cls);

#define OUTCOME_CODE_BYTES 64
#define OUTCOME_MESSAGE_BYTES 320

struct outcome {
    enum outcome_class cls;
    int http_status;                     /* 0: no complete answer */
    char code[OUTCOME_CODE_BYTES];       /* machine code, the API's or ours; "" when the API gave none */
    char message[OUTCOME_MESSAGE_BYTES]; /* for people; phones masked */
    bool maybe_sent;                     /* the call may have taken effect although it was not confirmed */
    int64_t retry_after_us;              /* from Retry-After, not clamped; -1: absent or unreadable */
    int64_t duration_us;
};

/* Fills all of it; `code` and `message` may be NULL, are cut to size at a UTF-8 boundary. */
void outcome_set(struct outcome *outcome, enum outcome_class cls, int http_status, const char *code,
                 const char *message, bool maybe_sent);

/* The class of a complete answer with this HTTP status (design section 5). A 2xx is only OUTCOME_ACCEPTED once its body has been
 * believed: the caller says so by `body_believed`, else it is OUTCOME_SERVER. */
enum outcome_class outcome_class_of_status(int http_status, bool body_believed);

#endif
