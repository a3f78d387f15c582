/* A small HTTP client on the loop: a request in, then one complete answer or one failure with our own
 * evidence of whether it left.
 *
 * What it guards against, each measured against libcurl 7.88.1:
 * - G1: no hidden resend. libcurl repeats a POST by itself when a reused connection dies before the first byte;
 *   the second attempt of a transfer is stopped where libcurl asks before sending (CURLOPT_PREREQFUNCTION).
 * - G2: no late answer taken for another request's. A connection on which anything waits to be read before the
 *   request is sent is refused; the request, which surely did not leave, goes once more on a new connection.
 * - G3: "not sent" only on our own count: `maybe_sent` is true from the moment a transfer was allowed to send.
 * - G4: an answer is complete only when its head has ended, whatever libcurl's result says.
 * - G5: bounded. Head and body have caps, the whole has one deadline, DNS never blocks the loop.
 * - G6: the key stays with the host it is meant for. No redirects, no proxies, TLS verified, plain http to
 *   loopback only.
 * - G7: nothing leaves late. A process may stand still for seconds between two of its instructions (a suspended
 *   machine, SIGSTOP, a starved host). A request whose timeout reaches beyond `answer_by`, or that is older than
 *   its timeout when libcurl asks before sending, is given up with HTTP_FAILURE_LAPSED. */
#ifndef SIGNUP_CONTACTS_HTTP_H
#define SIGNUP_CONTACTS_HTTP_H

#include "failure.h"
#include "signup/base/clock.h"
#include "signup/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct uv_loop_s;
struct curl_slist;
struct http_client;

#define HTTP_BODY_BYTES_MAX 65536
#define HTTP_HEAD_BYTES_MAX 32768

struct http_config {
    struct uv_loop_s *loop;
    const char *ca_file; /* PEM bundle; copied */
    int64_t timeout_ms;  /* of a whole request, from its dispatch */
    int64_t connect_timeout_ms;
    size_t max_in_flight;       /* requests and connections at a time; further requests wait here */
    void (*settled)(void *ctx); /* after a batch of `done`; may be NULL */
    void *ctx;
};

/* Everything is borrowed until `done` has been called. */
struct http_result {
    enum http_failure failure; /* NONE: status, body and headers are those of one complete answer */
    bool maybe_sent;
    int status; /* with a failure: 0, or a hint */
    struct slice body;
    struct slice retry_after; /* header values, absent where the answer has none */
    struct slice date;
    struct slice location;
    bool encoded;        /* has a Content-Encoding, which nobody asked for: the body is not to be read */
    const char *detail;  /* libcurl's words about a failure, "" none */
    int64_t duration_us; /* from dispatch */
};

struct http_request {
    const char *url;
    bool get;                         /* else POST */
    struct slice body;                /* POST: borrowed until done, not copied */
    const struct curl_slist *headers; /* borrowed until done */
    mono_us_t answer_by;              /* see G7; {0}: whenever */
    void (*done)(struct http_request *request, const struct http_result *result);
    void *owner;
    struct http_request *next; /* the client's */
};

/* NULL: no memory, or libcurl refused a setting. */
struct http_client *http_create(const struct http_config *config);

/* Gives false when the client is closing: `done` will not be called. Else `done` is called once, later, never
 * before this returns. */
bool http_submit(struct http_client *client, struct http_request *request)
    __attribute__((warn_unused_result));

/* Completes everything pending with HTTP_FAILURE_CANCELLED in a later turn of the loop, closes all
 * connections, frees the client, then calls `closed`. Once. */
void http_close(struct http_client *client, void (*closed)(void *ctx), void *ctx);

struct http_stats {
    uint64_t requests; /* dispatched */
    uint64_t connections_opened;
    uint64_t connections_open;
    uint64_t bytes_sent; /* heads and bodies, without TLS */
    uint64_t bytes_received;
    uint64_t resends_refused; /* G1 */
    uint64_t strays_refused;  /* G2 */
    uint64_t lapsed;          /* G7 */
};
void http_read_stats(const struct http_client *client, struct http_stats *out);

#endif
