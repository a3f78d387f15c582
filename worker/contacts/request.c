/* Addresses and header lines of requests. */
#include "request.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The host as libcurl's own parser reads it, which is the one that connects: "0x7f.1" is 127.0.0.1 to both.
 */
static bool host_is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    char bare[64];
    if (strcasecmp(host, "localhost") ==
        0) /* libcurl resolves this name itself, to the loopback addresses only */
        return true;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    size_t len = strlen(host);
    if (len < 3 || len >= sizeof bare || host[0] != '[' || host[len - 1] != ']')
        return false;
    memcpy(bare, host + 1, len - 2);
    bare[len - 2] = '\0';
    return inet_pton(AF_INET6, bare, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool part_is_present(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool present = curl_url_get(url, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return present;
}

/* What is wrong with the URL, or NULL. */
static const char *url_fault(CURLU *url)
{
    char *scheme = NULL;
    char *host = NULL;
    const char *fault = NULL;
    if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        fault = "has no scheme or no host; it looks like https://app.tracklysms.com/api/v2";
    else if (strcmp(scheme, "https") != 0 && strcmp(scheme, "http") != 0)
        fault = "must begin with https://";
    else if (strcmp(scheme, "http") == 0 && !host_is_loopback(host))
        fault = "must begin with https://: the key would travel in the clear (http is for loopback addresses "
                "only)";
    else if (part_is_present(url, CURLUPART_USER) || part_is_present(url, CURLUPART_PASSWORD))
        fault = "must not hold a user or a password";
    else if (part_is_present(url, CURLUPART_QUERY) || part_is_present(url, CURLUPART_FRAGMENT))
        fault = "must not hold a query or a fragment";
    curl_free(scheme);
    curl_free(host);
    return fault;
}

bool request_url_check(const char *name, const char *url, char out[REQUEST_URL_BYTES],
                       char error[REQUEST_ERROR_BYTES])
{
    char *whole = NULL;
    const char *fault = "is not a URL; it looks like https://app.tracklysms.com/api/v2";
    CURLU *parsed = curl_url();
    if (!parsed)
        fault = "cannot be read: no memory";
    else if (url && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK)
        fault = url_fault(parsed);
    if (!fault && (curl_url_get(parsed, CURLUPART_URL, &whole, 0) != CURLUE_OK || !whole))
        fault = "cannot be read";
    size_t len = whole ? strlen(whole) : 0;
    while (len && whole[len - 1] == '/')
        len--;
    if (!fault && len > REQUEST_URL_BYTES - 64) /* room for a path and a query behind it */
        fault = "is too long";
    if (fault)
        snprintf(error, REQUEST_ERROR_BYTES, "%s %s", name, fault);
    else
        snprintf(out, REQUEST_URL_BYTES, "%.*s", (int)len, whole);
    curl_free(whole);
    curl_url_cleanup(parsed);
    return !fault;
}

bool request_is_e164(struct slice phone)
{
    if (!slice_present(phone) || phone.len < 2 || phone.len > 16 || phone.ptr[0] != '+')
        return false;
    for (size_t i = 1; i < phone.len; i++)
        if (phone.ptr[i] < '0' || phone.ptr[i] > '9')
            return false;
    return true;
}

char *request_contact_url(const char *contacts_url, struct slice phone)
{
    char *url = NULL;
    if (!request_is_e164(phone) ||
        asprintf(&url, "%s/%%2B%.*s", contacts_url, (int)phone.len - 1, phone.ptr + 1) < 0)
        return NULL;
    return url;
}

struct slice request_validation_body(struct slice phone, bool force, char out[REQUEST_VALIDATION_BYTES])
{
    assert(request_is_e164(phone));
    int len = snprintf(out, REQUEST_VALIDATION_BYTES, "{\"phone\":\"%.*s\",\"force\":%s}", (int)phone.len,
                       phone.ptr, force ? "true" : "false");
    assert(len > 0 && len < REQUEST_VALIDATION_BYTES);
    return (struct slice){out, (size_t)len};
}

struct request_headers *request_headers_create(struct key_secret *secret)
{
    static char content_type[] = "Content-Type: application/json";
    static char accept[] = "Accept: application/json";
    static char no_expect[] = "Expect:"; /* libcurl would wait up to a second for "100 Continue" */
    struct request_headers *headers = malloc(sizeof *headers);
    if (!headers)
        return NULL;
    headers->refs = 1;
    headers->secret = key_secret_hold(secret);
    headers->nodes[0] = (struct curl_slist){content_type, &headers->nodes[1]};
    headers->nodes[1] = (struct curl_slist){accept, &headers->nodes[2]};
    headers->nodes[2] = (struct curl_slist){no_expect, &headers->nodes[3]};
    headers->nodes[3] = (struct curl_slist){secret->line, NULL};
    headers->post = &headers->nodes[0];
    headers->get = &headers->nodes[1];
    return headers;
}

struct request_headers *request_headers_hold(struct request_headers *headers)
{
    assert(headers->refs > 0);
    headers->refs++;
    return headers;
}

void request_headers_drop(struct request_headers *headers)
{
    assert(headers->refs > 0);
    if (--headers->refs)
        return;
    key_secret_drop(headers->secret);
    free(headers);
}

static bool is_lower_hex(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!((text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f')))
            return false;
    return true;
}

/* version "-" trace-id "-" parent-id "-" flags; a later version may append "-…". */
static bool is_traceparent(struct slice value)
{
    static const char zeros[] = "00000000000000000000000000000000";
    const char *p = value.ptr;
    if (!p || value.len < 55 || value.len > 128 || p[2] != '-' || p[35] != '-' || p[52] != '-')
        return false;
    if (!is_lower_hex(p, 2) || !is_lower_hex(p + 3, 32) || !is_lower_hex(p + 36, 16) ||
        !is_lower_hex(p + 53, 2))
        return false;
    if (memcmp(p, "ff", 2) == 0 || memcmp(p + 3, zeros, 32) == 0 || memcmp(p + 36, zeros, 16) == 0)
        return false;
    if (value.len > 55 && (memcmp(p, "00", 2) == 0 || p[55] != '-'))
        return false;
    for (size_t i = 55; i < value.len; i++)
        if (p[i] <= 0x20 || p[i] >= 0x7F)
            return false;
    return true;
}

bool request_trace_line(struct slice value, char line[REQUEST_TRACE_BYTES])
{
    if (!is_traceparent(value))
        return false;
    snprintf(line, REQUEST_TRACE_BYTES, "traceparent: %.*s", (int)value.len, value.ptr);
    return true;
}
