/* The HTTP client: transfers (reused easy handles) on one multi handle, driven by the loop's descriptors and
 * one timer.
 *
 * A transfer is on exactly one list: idle → active → delivering → idle, or active → ended → delivering → idle
 * for what ends outside of libcurl's own events (a refused submit, closing). `done` is only ever called from
 * the loop: from pump() or from on_idle(). */
#include "transfer.h"

#include "signup/base/crash.h"

#include <assert.h>
#include <stdlib.h>
#include <utlist.h>

#define BODY_KEEP_BYTES 4096 /* a body buffer that grew further is given back */

/* ------------------------------------------------------------------ what libcurl calls */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *per_socket)
{
    struct http_client *client = ctx;
    (void)easy;
    (void)per_socket;
    sockets_want(&client->sockets, fd, what);
    return 0;
}

static void on_timer(uv_timer_t *timer);

static int on_timer_change(CURLM *multi, long timeout_ms, void *ctx)
{
    struct http_client *client = ctx;
    (void)multi;
    if (client->torn_down)
        return 0;
    if (timeout_ms < 0)
        uv_timer_stop(&client->timer);
    else /* 0: in the next turn, because libcurl must not be entered from here */
        uv_timer_start(&client->timer, on_timer, (uint64_t)timeout_ms, 0);
    return 0;
}

/* ------------------------------------------------------------------ starting */

static void on_idle(uv_idle_t *idle);

/* The transfer could not be handed to libcurl, or is cancelled: it completes in the next turn of the loop. */
static void transfer_end_later(struct transfer *t, enum http_failure failure)
{
    t->end = failure;
    transfer_move(t, TRANSFER_ENDED);
    uv_idle_start(&t->client->idle, on_idle);
}

static void transfer_start(struct transfer *t, struct http_request *request)
{
    t->request = request;
    t->since = clock_mono_now();
    t->again = false;
    transfer_forget(t);
    t->client->stats.requests++;
    transfer_move(t, TRANSFER_ACTIVE);
    if (request->answer_by.us && mono_add(t->since, t->client->timeout_ms * US_PER_MS).us > request->answer_by.us) {
        t->client->stats.lapsed++;
        transfer_end_later(t, HTTP_FAILURE_LAPSED);
        return;
    }
    if (!transfer_set_request(t, request) || !transfer_add(t))
        transfer_end_later(t, HTTP_FAILURE_LOCAL);
}

/* An idle transfer, made if there may be one more. NULL: all are busy. */
static struct transfer *transfer_take(struct http_client *client)
{
    struct transfer *t = client->lists[TRANSFER_IDLE];
    if (!t && client->transfer_count < client->max_in_flight)
        t = transfer_create(client);
    return t;
}

static void queue_put(struct http_client *client, struct http_request *request)
{
    request->next = NULL;
    *client->queue_end = request;
    client->queue_end = &request->next;
}

static struct http_request *queue_take(struct http_client *client)
{
    struct http_request *request = client->queue;
    if (request) {
        client->queue = request->next;
        if (!client->queue)
            client->queue_end = &client->queue;
        request->next = NULL;
    }
    return request;
}

static void queue_start(struct http_client *client)
{
    struct transfer *t;
    while (client->queue && !client->closing && (t = transfer_take(client)) != NULL)
        transfer_start(t, queue_take(client));
}

/* ------------------------------------------------------------------ completion */

static struct slice value_or_absent(bool has, const char *value)
{
    return has ? slice_from_str(value) : SLICE_ABSENT;
}

static enum http_failure transfer_judge(const struct transfer *t, CURLcode code, int status)
{
    bool sent = t->passed > 0;
    if (t->stray)
        return HTTP_FAILURE_STRAY;
    if (t->lapsed)
        return HTTP_FAILURE_LAPSED;
    if (t->over_cap)
        return HTTP_FAILURE_TOO_LARGE;
    if (t->open_errno && !sent && code == CURLE_COULDNT_CONNECT)
        return HTTP_FAILURE_CONNECT;
    enum http_failure failure = http_failure_of(code, sent, t->headed);
    /* G4: libcurl calls an answer whose head was cut off a success. */
    bool whole = sent && t->head_ended && status > 0;
    return failure == HTTP_FAILURE_NONE && !whole ? HTTP_FAILURE_BROKEN : failure;
}

static const char *transfer_detail(const struct transfer *t)
{
    if (t->resend_refused)
        return ""; /* libcurl's words would blame our own guard */
    return t->open_errno && !t->passed ? strerror(t->open_errno) : t->detail;
}

static void transfer_deliver(struct transfer *t, enum http_failure failure)
{
    struct http_client *client = t->client;
    struct http_request *request = t->request;
    long status = 0;
    long sent_bytes = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (curl_easy_getinfo(t->easy, CURLINFO_REQUEST_SIZE, &sent_bytes) == CURLE_OK && t->passed)
        client->stats.bytes_sent += (uint64_t)sent_bytes;
    const struct http_result result = {
        .failure = failure,
        .maybe_sent = t->passed > 0,
        .status = t->headed ? (int)status : 0,
        .body = buf_slice(&t->body),
        .retry_after = value_or_absent(t->has_retry_after, t->retry_after),
        .date = value_or_absent(t->has_date, t->date),
        .location = value_or_absent(t->has_location, t->location),
        .encoded = t->encoded,
        .detail = transfer_detail(t),
        .duration_us = clock_mono_now().us - t->since.us,
    };
    /* Not idle before `done` has returned: the result lies in it, and `done` may submit the next request. */
    transfer_move(t, TRANSFER_DELIVERING);
    t->request = NULL;
    request->done(request, &result);
    transfer_move(t, TRANSFER_IDLE);
    if (t->body.size > BODY_KEEP_BYTES)
        buf_fini(&t->body);
    queue_start(client);
}

/* G2: the request surely did not leave, so it may go once more within its time, on a connection of its own. */
static bool transfer_try_again(struct transfer *t)
{
    int64_t left_ms = t->client->timeout_ms - (clock_mono_now().us - t->since.us) / US_PER_MS;
    if (t->again || t->client->closing || left_ms <= 0 || !transfer_set_fresh(t, true, (long)left_ms))
        return false;
    t->again = true;
    transfer_forget(t);
    return transfer_add(t);
}

static void transfer_finish(struct transfer *t, CURLcode code)
{
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    enum http_failure failure = transfer_judge(t, code, (int)status);
    if (failure == HTTP_FAILURE_STRAY && transfer_try_again(t))
        return;
    if (t->again) {
        bool restored = transfer_set_fresh(t, false, t->client->timeout_ms);
        assert(restored); /* plain numbers: libcurl has nothing to refuse */
        (void)restored;
    }
    transfer_deliver(t, failure);
}

/* Takes out what has finished. After every entry into libcurl, the one for time-outs too: what is left lying
 * there stalls. */
static void pump(struct http_client *client)
{
    CRASH_POINT_ARMED(AFTER_CALL_SENT);
    CURLMsg *message;
    int left;
    bool any = false;
    while ((message = curl_multi_info_read(client->multi, &left)) != NULL) {
        assert(message->msg == CURLMSG_DONE);
        CURLcode code = message->data.result; /* the message dies with the removal */
        struct transfer *t = NULL;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        curl_multi_remove_handle(client->multi, t->easy);
        assert(t->state == TRANSFER_ACTIVE);
        transfer_finish(t, code);
        any = true;
    }
    if (any && client->settled)
        client->settled(client->settled_ctx);
}

static void on_ready(void *ctx, curl_socket_t fd, int flags)
{
    struct http_client *client = ctx;
    int running;
    curl_multi_socket_action(client->multi, fd, flags, &running);
    pump(client);
}

static void on_timer(uv_timer_t *timer)
{
    struct http_client *client = timer->data;
    int running;
    curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    pump(client);
}

/* ------------------------------------------------------------------ life */

static void client_free(struct http_client *client)
{
    void (*closed)(void *) = client->closed;
    void *ctx = client->closed_ctx;
    sockets_fini(&client->sockets);
    free(client->ca_file);
    free(client);
    curl_global_cleanup();
    if (closed)
        closed(ctx);
}

static void client_free_if_done(void *ctx)
{
    struct http_client *client = ctx;
    if (client->own_handles == 0 && client->sockets.handles == 0)
        client_free(client);
}

static void on_own_closed(uv_handle_t *handle)
{
    struct http_client *client = handle->data;
    assert(client->own_handles > 0);
    client->own_handles--;
    client_free_if_done(client);
}

/* Nothing is under way any more: libcurl closes its connections, then the loop lets go of the handles. */
static void client_tear_down(struct http_client *client)
{
    struct transfer *t, *next;
    client->torn_down = true;
    DL_FOREACH_SAFE(client->lists[TRANSFER_IDLE], t, next)
    {
        transfer_destroy(t);
    }
    client->lists[TRANSFER_IDLE] = NULL;
    curl_multi_cleanup(client->multi);
    client->multi = NULL;
    sockets_release_all(&client->sockets);
    client->sockets.emptied = client_free_if_done;
    uv_close((uv_handle_t *)&client->timer, on_own_closed);
    uv_close((uv_handle_t *)&client->idle, on_own_closed);
}

static void request_cancel(struct http_request *request)
{
    const struct http_result result = {
        .failure = HTTP_FAILURE_CANCELLED, .body = SLICE_LITERAL(""), .detail = ""};
    request->done(request, &result);
}

static void on_idle(uv_idle_t *idle)
{
    struct http_client *client = idle->data;
    struct http_request *request;
    uv_idle_stop(idle); /* before `done`, which may end another transfer */
    struct transfer *t, *next, *ended = client->lists[TRANSFER_ENDED];
    DL_FOREACH_SAFE(ended, t, next)
    {
        transfer_deliver(t, t->end);
    }
    while (client->closing && (request = queue_take(client)) != NULL)
        request_cancel(request);
    if (client->settled)
        client->settled(client->settled_ctx);
    if (client->closing && !client->lists[TRANSFER_ENDED] && !client->torn_down)
        client_tear_down(client);
}

static bool client_set_up_multi(struct http_client *client)
{
    CURLM *multi = client->multi;
#define SET_MULTI(option, value) (curl_multi_setopt(multi, CURLMOPT_##option, value) == CURLM_OK)
    return SET_MULTI(SOCKETFUNCTION, on_socket) && SET_MULTI(SOCKETDATA, client) &&
           SET_MULTI(TIMERFUNCTION, on_timer_change) && SET_MULTI(TIMERDATA, client) &&
           SET_MULTI(PIPELINING, (long)CURLPIPE_NOTHING) &&
           SET_MULTI(MAX_TOTAL_CONNECTIONS, (long)client->max_in_flight) &&
           SET_MULTI(MAXCONNECTS, (long)client->max_in_flight);
#undef SET_MULTI
}

static struct http_client *client_give_up(struct http_client *client)
{
    if (client->lists[TRANSFER_IDLE])
        transfer_destroy(client->lists[TRANSFER_IDLE]);
    if (client->multi)
        curl_multi_cleanup(client->multi);
    sockets_fini(&client->sockets);
    free(client->ca_file);
    free(client);
    curl_global_cleanup();
    return NULL;
}

struct http_client *http_create(const struct http_config *config)
{
    assert(config->max_in_flight > 0 && config->timeout_ms > 0);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return NULL;
    struct http_client *client = calloc(1, sizeof *client);
    if (!client) {
        curl_global_cleanup();
        return NULL;
    }
    client->loop = config->loop;
    client->timeout_ms = (long)config->timeout_ms;
    client->connect_timeout_ms = (long)config->connect_timeout_ms;
    client->max_in_flight = config->max_in_flight;
    client->settled = config->settled;
    client->settled_ctx = config->ctx;
    client->queue_end = &client->queue;
    client->ca_file = strdup(config->ca_file);
    client->multi = curl_multi_init();
    /* One transfer from the start: then the queue always moves, also when memory is short later. */
    if (!sockets_init(&client->sockets, client->loop, client->max_in_flight, on_ready, client) ||
        !client->ca_file || !client->multi || !client_set_up_multi(client) || !transfer_create(client))
        return client_give_up(client);
    uv_timer_init(client->loop, &client->timer);
    uv_idle_init(client->loop, &client->idle);
    client->timer.data = client->idle.data = client;
    client->own_handles = 2;
    return client;
}

bool http_submit(struct http_client *client, struct http_request *request)
{
    if (client->closing)
        return false;
    struct transfer *t = client->queue ? NULL : transfer_take(client);
    if (t)
        transfer_start(t, request);
    else
        queue_put(client, request);
    return true;
}

void http_close(struct http_client *client, void (*closed)(void *ctx), void *ctx)
{
    assert(!client->closing);
    client->closing = true;
    client->closed = closed;
    client->closed_ctx = ctx;
    struct transfer *t, *next;
    DL_FOREACH_SAFE(client->lists[TRANSFER_ACTIVE], t, next)
    {
        curl_multi_remove_handle(client->multi, t->easy);
        transfer_end_later(t, HTTP_FAILURE_CANCELLED);
    }
    uv_idle_start(&client->idle, on_idle);
}

void http_read_stats(const struct http_client *client, struct http_stats *out)
{
    *out = client->stats;
    out->connections_opened = client->sockets.opened;
    out->connections_open = client->sockets.open;
}
