/* What a request says besides its body: addresses and header lines. */
#ifndef SIGNUP_CONTACTS_REQUEST_H
#define SIGNUP_CONTACTS_REQUEST_H

#include "key.h"
#include "signup/base/slice.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

#define REQUEST_URL_BYTES 1024
#define REQUEST_ERROR_BYTES 256
#define REQUEST_TRACE_BYTES 160 /* "traceparent: " and its value, NUL included */
#define REQUEST_VALIDATION_BYTES 64

/* Checks a configured base URL and writes it without a trailing slash. https, or http to a loopback address;
 * no user, no query, no fragment. False: `error` says what is wrong with the setting called `name`. */
bool request_url_check(const char *name, const char *url, char out[REQUEST_URL_BYTES],
                       char error[REQUEST_ERROR_BYTES]) __attribute__((warn_unused_result));

/* The address of one contact: "<contacts_url>/%2B<digits>", the plus encoded (contacts-api.md section 3).
 * *Gives* it, to be freed. NULL: `phone` is not E.164 (a plus and up to 15 digits), or no memory. */
char *request_contact_url(const char *contacts_url, struct slice phone) __attribute__((warn_unused_result));

/* A plus and up to 15 digits. */
bool request_is_e164(struct slice phone);

/* Writes the body of POST /v1/phone/validate (contacts-api.md section 2: `force` is a strict boolean). Gives
 * a view of `out`. `phone` is E.164. */
struct slice request_validation_body(struct slice phone, bool force, char out[REQUEST_VALIDATION_BYTES]);

/* The header lines of one key, built once and borrowed by every request until the key changes. The nodes are
 * ours: libcurl's own list would copy the key into ordinary memory. */
struct request_headers {
    struct curl_slist *post; /* for requests with a JSON body */
    struct curl_slist *get;
    struct curl_slist nodes[4];
    struct key_secret *secret;
    unsigned refs;
};

/* Holds `secret` for as long as it lives. NULL: no memory. */
struct request_headers *request_headers_create(struct key_secret *secret);
struct request_headers *request_headers_hold(struct request_headers *headers);
void request_headers_drop(struct request_headers *headers);

/* Writes "traceparent: <value>" when `value` is one (W3C Trace Context, section 3.2): it comes from a
 * record's header, so nothing else may reach the wire. False: it is absent or none, `line` is untouched. */
bool request_trace_line(struct slice value, char line[REQUEST_TRACE_BYTES])
    __attribute__((warn_unused_result));

#endif
