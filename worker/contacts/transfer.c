/* What libcurl is told about a transfer, and what it calls back: the caps, the guards and the evidence. */
#include "transfer.h"

#include "signup/base/crash.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <strings.h>
#include <utlist.h>

#define READ_BUFFER_BYTES 4096L /* an answer has some hundred bytes; 256 transfers should cost little */
#define IDLE_SECONDS_MAX                                                                                     \
    30L /* below what servers keep an idle connection for (nginx 75 s, load balancers 60 s) */
#define LIFETIME_SECONDS_MAX 300L /* so that a change of addresses in DNS is followed */
#define CA_CACHE_SECONDS 300L     /* a replaced bundle is read again within this */

void transfer_move(struct transfer *t, enum transfer_state to)
{
    DL_DELETE(t->client->lists[t->state], t);
    t->state = to;
    DL_APPEND(t->client->lists[to], t);
}

/* ------------------------------------------------------------------ what libcurl calls */

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    size_t len = size * count;
    t->client->stats.bytes_received += len;
    buf_append(&t->body, data, len);
    if (!buf_ok(&t->body)) {
        t->over_cap = true;
        return len ? 0 : 1; /* not what was offered: libcurl ends the transfer */
    }
    return len;
}

/* Keeps the value of a header line; a later line of the same name wins. */
static bool header_keep(const char *line, size_t len, const char *name, char *value, size_t size)
{
    size_t name_len = strlen(name);
    if (len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
        return false;
    size_t from = name_len + 1;
    while (from < len && (line[from] == ' ' || line[from] == '\t'))
        from++;
    while (len > from && strchr("\r\n \t", line[len - 1]))
        len--;
    size_t keep = len - from < size ? len - from : size - 1;
    memcpy(value, line + from, keep);
    value[keep] = '\0';
    return true;
}

static void head_forget(struct transfer *t)
{
    t->head_ended = false;
    t->encoded = false;
    t->has_retry_after = t->has_date = t->has_location = false;
}

static void header_read(struct transfer *t, const char *line, size_t len)
{
    char coding[16];
    switch (line[0] | 0x20) {
    case 'c':
        if (header_keep(line, len, "content-encoding", coding, sizeof coding) &&
            strcasecmp(coding, "identity") != 0)
            t->encoded = true;
        break;
    case 'd':
        t->has_date |= header_keep(line, len, "date", t->date, sizeof t->date);
        break;
    case 'l':
        t->has_location |= header_keep(line, len, "location", t->location, sizeof t->location);
        break;
    case 'r':
        t->has_retry_after |= header_keep(line, len, "retry-after", t->retry_after, sizeof t->retry_after);
        break;
    default:
        break;
    }
}

static size_t on_header(char *line, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    size_t len = size * count;
    t->client->stats.bytes_received += len;
    t->head_bytes += len; /* over interim answers too: an endless row of them must end */
    if (t->head_bytes > HTTP_HEAD_BYTES_MAX) {
        t->over_cap = true;
        return 0;
    }
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        head_forget(t); /* an interim answer's headers are not the answer's */
        t->headed = true;
    } else if (line[0] == '\r' || line[0] == '\n') {
        t->head_ended = true;
    } else if (!t->head_ended) { /* what comes after the end are trailers */
        header_read(t, line, len);
    }
    return len;
}

/* G1, G2 and G7: libcurl is about to send. */
static int on_before_send(void *ctx, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
    struct transfer *t = ctx;
    (void)remote_ip;
    (void)local_ip;
    if (t->asked++) {
        t->resend_refused = true;
        t->client->stats.resends_refused++;
        return CURL_PREREQFUNC_ABORT;
    }
    if (mono_reached(clock_mono_now(), mono_add(t->since, t->client->timeout_ms * US_PER_MS))) {
        t->lapsed = true;
        t->client->stats.lapsed++;
        return CURL_PREREQFUNC_ABORT;
    }
    if (sockets_look(&t->client->sockets, local_port, remote_port, !t->plain) != SOCKETS_QUIET) {
        t->stray = true;
        t->client->stats.strays_refused++;
        return CURL_PREREQFUNC_ABORT;
    }
    t->passed++;
    CRASH_ARM(AFTER_CALL_SENT);
    return CURL_PREREQFUNC_OK;
}

static curl_socket_t on_open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct transfer *t = ctx;
    if (purpose != CURLSOCKTYPE_IPCXN)
        return CURL_SOCKET_BAD;
    curl_socket_t fd = sockets_open(&t->client->sockets, address, t->plain);
    if (fd == CURL_SOCKET_BAD)
        t->open_errno = errno;
    return fd;
}

/* Outlives the transfer that opened the connection: its context is the client. */
static int on_close_socket(void *ctx, curl_socket_t fd)
{
    struct http_client *client = ctx;
    return sockets_close(&client->sockets, fd);
}

/* ------------------------------------------------------------------ transfers */

#define SET(option, value) (curl_easy_setopt(easy, CURLOPT_##option, value) == CURLE_OK)

static bool transfer_set_callbacks(struct transfer *t)
{
    CURL *easy = t->easy;
    return SET(WRITEFUNCTION, on_body) && SET(WRITEDATA, t) && SET(HEADERFUNCTION, on_header) &&
           SET(HEADERDATA, t) && SET(PREREQFUNCTION, on_before_send) && SET(PREREQDATA, t) &&
           SET(OPENSOCKETFUNCTION, on_open_socket) && SET(OPENSOCKETDATA, t) &&
           SET(CLOSESOCKETFUNCTION, on_close_socket) && SET(CLOSESOCKETDATA, t->client) && SET(PRIVATE, t) &&
           SET(ERRORBUFFER, t->detail);
}

static bool transfer_set_network(struct transfer *t)
{
    CURL *easy = t->easy;
    struct http_client *client = t->client;
    return SET(HTTP_VERSION, CURL_HTTP_VERSION_1_1) && SET(PROTOCOLS_STR, "http,https") &&
           SET(FOLLOWLOCATION, 0L) && SET(PROXY, "") && SET(NOPROXY, "*") && SET(NETRC, CURL_NETRC_IGNORED) &&
           SET(HTTP09_ALLOWED, 0L) && SET(NOSIGNAL, 1L) && SET(QUICK_EXIT, 1L) && SET(TCP_NODELAY, 1L) &&
           SET(DNS_CACHE_TIMEOUT, 60L) && SET(TIMEOUT_MS, client->timeout_ms) &&
           SET(CONNECTTIMEOUT_MS, client->connect_timeout_ms) && SET(MAXAGE_CONN, IDLE_SECONDS_MAX) &&
           SET(MAXLIFETIME_CONN, LIFETIME_SECONDS_MAX) && SET(BUFFERSIZE, READ_BUFFER_BYTES) &&
           SET(UPLOAD_BUFFERSIZE, 16384L) && SET(NOPROGRESS, 1L) &&
           SET(USERAGENT, "signup-worker/" SIGNUP_VERSION);
}

/* OpenSSL keeps 16 KiB a connection for reading and as much for writing unless told to let go of them between records. */
static CURLcode on_tls_context(CURL *easy, void *context, void *ctx)
{
    (void)easy;
    (void)ctx;
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    return CURLE_OK;
}

/* CAPATH must go: with Debian's default one every new connection costs 19 ms of CPU. */
static bool transfer_set_tls(struct transfer *t)
{
    CURL *easy = t->easy;
    return SET(SSL_VERIFYPEER, 1L) && SET(SSL_VERIFYHOST, 2L) && SET(CAINFO, t->client->ca_file) &&
           SET(CAPATH, NULL) && SET(CA_CACHE_TIMEOUT, CA_CACHE_SECONDS) &&
           SET(SSLVERSION, CURL_SSLVERSION_TLSv1_2) && SET(SSL_CTX_FUNCTION, on_tls_context);
}

void transfer_destroy(struct transfer *t)
{
    curl_easy_cleanup(t->easy);
    buf_fini(&t->body);
    free(t->url);
    free(t);
}

struct transfer *transfer_create(struct http_client *client)
{
    struct transfer *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->client = client;
    t->easy = curl_easy_init();
    buf_init(&t->body, HTTP_BODY_BYTES_MAX);
    if (!t->easy || !transfer_set_callbacks(t) || !transfer_set_network(t) || !transfer_set_tls(t)) {
        transfer_destroy(t);
        return NULL;
    }
    client->transfer_count++;
    DL_APPEND(client->lists[TRANSFER_IDLE], t);
    return t;
}

static bool transfer_set_url(struct transfer *t, const char *url)
{
    CURL *easy = t->easy;
    if (t->url && strcmp(t->url, url) == 0)
        return true;
    free(t->url);
    t->url = strdup(url);
    t->plain = strncmp(url, "http://", 7) == 0;
    return t->url && SET(URL, url);
}

bool transfer_set_request(struct transfer *t, const struct http_request *request)
{
    CURL *easy = t->easy;
    if (!transfer_set_url(t, request->url) || !SET(HTTPHEADER, request->headers))
        return false;
    if (request->get)
        return SET(HTTPGET, 1L);
    return SET(POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len) && SET(POSTFIELDS, request->body.ptr);
}

void transfer_forget(struct transfer *t)
{
    t->asked = t->passed = 0;
    t->stray = t->lapsed = t->resend_refused = t->headed = t->over_cap = false;
    t->open_errno = 0;
    t->head_bytes = 0;
    t->detail[0] = '\0';
    head_forget(t);
    buf_reset(&t->body);
}

bool transfer_add(struct transfer *t)
{
    return curl_multi_add_handle(t->client->multi, t->easy) == CURLM_OK;
}

bool transfer_set_fresh(struct transfer *t, bool fresh, long timeout_ms)
{
    CURL *easy = t->easy;
    return SET(FRESH_CONNECT, fresh ? 1L : 0L) && SET(TIMEOUT_MS, timeout_ms);
}
