/* From bytes to a complete request: http_parser's callbacks fill the call. */
#include <assert.h>
#include <string.h>
#include <strings.h>

#include "api.h"
#include "conn.h"

static int conn_http_on_begin(http_parser *parser)
{
    struct conn *conn = parser->data;
    conn->in_request = true;
    if (conn->late_needs_idle)
        timer_stop(&conn->server->timers, &conn->late_timer);
    return 0;
}

static int conn_http_on_url(http_parser *parser, const char *bytes, size_t len)
{
    struct conn *conn = parser->data;
    buf_append(&conn->call.target, bytes, len);
    return 0;
}

static bool conn_http_name_is(const struct conn *conn, const char *name)
{
    return conn->header_name.len == strlen(name) &&
           !strncasecmp(conn->header_name.data, name, conn->header_name.len);
}

/* The header gathered so far is complete. */
static void conn_http_take_header(struct conn *conn)
{
    struct call *call = &conn->call;
    struct buf *to = NULL;
    if (conn_http_name_is(conn, "x-api-key")) {
        call->key_count++;
        to = &call->key;
    } else if (conn_http_name_is(conn, "content-type")) {
        to = &call->content_type;
    } else if (conn_http_name_is(conn, "traceparent")) {
        to = &call->traceparent;
    } else if (conn_http_name_is(conn, "expect")) {
        conn->expects_continue = conn->header_value.len == 12 &&
                                 !strncasecmp(conn->header_value.data, "100-continue", 12);
    }
    if (to) {
        buf_clear(to);
        buf_append(to, conn->header_value.data, conn->header_value.len);
    }
    buf_clear(&conn->header_name);
    buf_clear(&conn->header_value);
    conn->header_has_value = false;
}

static int conn_http_on_field(http_parser *parser, const char *bytes, size_t len)
{
    struct conn *conn = parser->data;
    if (conn->header_has_value)
        conn_http_take_header(conn);
    buf_append(&conn->header_name, bytes, len);
    return 0;
}

static int conn_http_on_value(http_parser *parser, const char *bytes, size_t len)
{
    struct conn *conn = parser->data;
    conn->header_has_value = true; /* also when it is empty */
    buf_append(&conn->header_value, bytes, len);
    return 0;
}

static int conn_http_on_headers(http_parser *parser)
{
    struct conn *conn = parser->data;
    conn_http_take_header(conn);
    if (conn->expects_continue) {
        buf_append_str(&conn->out, "HTTP/1.1 100 Continue\r\n\r\n");
        server_mark_dirty(conn);
    }
    return 0;
}

static int conn_http_on_body(http_parser *parser, const char *bytes, size_t len)
{
    struct conn *conn = parser->data;
    struct call *call = &conn->call;
    if (call->body_too_large || call->body.len + len > API_BODY_BYTES_MAX) {
        call->body_too_large = true; /* the rest is read and thrown away, so that the 413 arrives */
        return 0;
    }
    buf_append(&call->body, bytes, len);
    return 0;
}

static int conn_http_on_complete(http_parser *parser)
{
    struct conn *conn = parser->data;
    conn->message_complete = true;
    conn->call.method = http_method_str((enum http_method)parser->method);
    conn->call.keep_alive = http_should_keep_alive(parser);
    http_parser_pause(parser, 1);
    return 0;
}

void conn_http_begin(struct conn *conn)
{
    http_parser_init(&conn->parser, HTTP_REQUEST);
    conn->parser.data = conn;
    conn->in_request = false;
    conn->message_complete = false;
    conn->expects_continue = false;
    conn->header_has_value = false;
    buf_clear(&conn->header_name);
    buf_clear(&conn->header_value);
    call_clear(&conn->call);
}

long conn_http_feed(struct conn *conn, const char *bytes, size_t len)
{
    static const http_parser_settings settings = {
        .on_message_begin = conn_http_on_begin,
        .on_url = conn_http_on_url,
        .on_header_field = conn_http_on_field,
        .on_header_value = conn_http_on_value,
        .on_headers_complete = conn_http_on_headers,
        .on_body = conn_http_on_body,
        .on_message_complete = conn_http_on_complete,
    };
    assert(len && !conn->message_complete);
    size_t taken = http_parser_execute(&conn->parser, &settings, bytes, len);
    enum http_errno error = HTTP_PARSER_ERRNO(&conn->parser);
    if (conn->message_complete && (error == HPE_PAUSED || error == HPE_OK) && !conn->parser.upgrade)
        return (long)taken;
    if (error != HPE_OK || conn->parser.upgrade)
        return -1;
    return (long)taken;
}
