/* Why a request got no complete answer: one name each, from libcurl's code and from our own evidence. */
#ifndef SIGNUP_CONTACTS_FAILURE_H
#define SIGNUP_CONTACTS_FAILURE_H

#include <stdbool.h>
#include <stddef.h>

/* name, code in the ledger and the metrics, sentence for people */
#define HTTP_FAILURES(X)                                                                                     \
    X(NONE, "", "")                                                                                          \
    X(DNS, "dns_failed", "the API's host name could not be resolved")                                        \
    X(CONNECT, "connect_failed", "no connection to the API")                                                 \
    X(TLS, "tls_failed", "no trusted TLS connection to the API")                                             \
    X(TIMEOUT, "timed_out", "the API did not answer in time")                                                \
    X(LOST, "connection_lost", "the connection to the API was lost before its answer was complete")          \
    X(BROKEN, "broken_answer", "what came back is not a valid HTTP answer")                                  \
    X(TOO_LARGE, "answer_too_large", "the answer is larger than any the API gives")                          \
    X(STRAY, "stray_answer", "the connection held bytes that nobody had asked for")                          \
    X(CANCELLED, "cancelled", "the worker stopped before the answer came")                                   \
    X(LAPSED, "lapsed", "the worker stood still until it was too late to send the request")                  \
    X(LOCAL, "client_failed", "the request could not be made on this machine")

enum http_failure {
#define X(name, code, text) HTTP_FAILURE_##name,
    HTTP_FAILURES(X)
#undef X
        HTTP_FAILURE_COUNT
};

const char *http_failure_str(enum http_failure failure);
const char *http_failure_text(enum http_failure failure);

/* Names what a libcurl result means. `sent`: the request was handed to a connection at least once, by our own
 * count: then the trouble of a later, hidden connection (refused, TLS) says nothing but that the first one
 * was lost. `headed`: a status line was seen. HTTP_FAILURE_NONE only for CURLE_OK. */
enum http_failure http_failure_of(int curl_code, bool sent, bool headed);

/* "<sentence>: <detail>; nothing was sent", cut to `size`. `detail` may be NULL or "". */
void http_failure_describe(enum http_failure failure, const char *detail, bool maybe_sent, char *out,
                           size_t size);

#endif
