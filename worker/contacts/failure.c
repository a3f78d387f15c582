/* The one table from libcurl's result codes to our names. Facts per code: measured against libcurl 7.88.1. */
#include "failure.h"

#include <curl/curl.h>
#include <stdio.h>

static const struct {
    const char *code;
    const char *text;
} names[] = {
#define X(name, code, text) {code, text},
    HTTP_FAILURES(X)
#undef X
};

const char *http_failure_str(enum http_failure failure)
{
    return failure < HTTP_FAILURE_COUNT ? names[failure].code : "unknown";
}

const char *http_failure_text(enum http_failure failure)
{
    return failure < HTTP_FAILURE_COUNT ? names[failure].text : "";
}

/* Before anything left this machine the code speaks of the way to the server. */
static enum http_failure failure_before_sending(int curl_code)
{
    switch (curl_code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return HTTP_FAILURE_DNS;
    case CURLE_COULDNT_CONNECT:
    case CURLE_INTERFACE_FAILED:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
        return HTTP_FAILURE_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_USE_SSL_FAILED:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_SHUTDOWN_FAILED:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
        return HTTP_FAILURE_TLS;
    case CURLE_OPERATION_TIMEDOUT:
        return HTTP_FAILURE_TIMEOUT;
    default:
        return HTTP_FAILURE_LOCAL;
    }
}

/* Afterwards it speaks of the answer, or of how it ended. */
static enum http_failure failure_after_sending(int curl_code, bool headed)
{
    switch (curl_code) {
    case CURLE_OPERATION_TIMEDOUT:
        return HTTP_FAILURE_TIMEOUT;
    case CURLE_WRITE_ERROR:
    case CURLE_FILESIZE_EXCEEDED:
        return HTTP_FAILURE_TOO_LARGE;
    case CURLE_UNSUPPORTED_PROTOCOL: /* no HTTP at all, or a status below 100 */
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_HTTP2:
        return HTTP_FAILURE_BROKEN;
    case CURLE_OUT_OF_MEMORY: /* a header line beyond libcurl's own cap, not our memory */
        return headed ? HTTP_FAILURE_BROKEN : HTTP_FAILURE_LOST;
    default:
        return HTTP_FAILURE_LOST;
    }
}

enum http_failure http_failure_of(int curl_code, bool sent, bool headed)
{
    if (curl_code == CURLE_OK)
        return HTTP_FAILURE_NONE;
    return sent ? failure_after_sending(curl_code, headed) : failure_before_sending(curl_code);
}

/* libcurl's own words help where they name a host, a certificate or an error of the system; elsewhere they
 * confuse. */
static bool detail_helps(enum http_failure failure)
{
    return failure == HTTP_FAILURE_DNS || failure == HTTP_FAILURE_CONNECT || failure == HTTP_FAILURE_TLS ||
           failure == HTTP_FAILURE_LOST || failure == HTTP_FAILURE_BROKEN || failure == HTTP_FAILURE_LOCAL;
}

void http_failure_describe(enum http_failure failure, const char *detail, bool maybe_sent, char *out,
                           size_t size)
{
    bool helps = detail && *detail && detail_helps(failure);
    snprintf(out, size, "%s%s%.180s%s", http_failure_text(failure), helps ? ": " : "", helps ? detail : "",
             maybe_sent ? "" : "; nothing was sent");
}
