/* What can be wrong with one answer, whatever was asked: the bytes, and the outcome that they become. */
#ifndef SIGNUP_TEST_ANSWER_FAULTS_H
#define SIGNUP_TEST_ANSWER_FAULTS_H

#include "world.h"

#define OK_HEAD "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"

struct fault {
    const char *name;
    const char *bytes; /* what the server says to a request */
    enum { THEN_STAY, THEN_CLOSE, THEN_RESET } then;
    enum outcome_class cls;
    const char *code;
};

static const struct fault *current;

static void answer_fault(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    raw_say(conn, current->bytes);
    if (current->then == THEN_CLOSE)
        raw_close(conn);
    else if (current->then == THEN_RESET)
        raw_reset(conn);
}

static const struct fault faults[] = {
    {"close after read", "", THEN_CLOSE, OUTCOME_TRANSPORT, "connection_lost"},
    {"reset after read", "", THEN_RESET, OUTCOME_TRANSPORT, "connection_lost"},
    {"end inside the status line", "HTTP/1.1 20", THEN_CLOSE, OUTCOME_TRANSPORT, "connection_lost"},
    {"end inside the head", "HTTP/1.1 200 OK\r\nContent-Ty", THEN_CLOSE, OUTCOME_TRANSPORT, "broken_answer"},
    {"end before the blank line", OK_HEAD, THEN_CLOSE, OUTCOME_TRANSPORT, "broken_answer"},
    {"reset inside the head", OK_HEAD, THEN_RESET, OUTCOME_TRANSPORT, "connection_lost"},
    {"reset inside the body", OK_HEAD "Content-Length: 500\r\n\r\n{\"succ", THEN_RESET, OUTCOME_TRANSPORT,
     "connection_lost"},
    {"short body", OK_HEAD "Content-Length: 500\r\n\r\n" RAW_OK_BODY("c-1"), THEN_CLOSE, OUTCOME_TRANSPORT,
     "connection_lost"},
    {"truncated chunk", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n40\r\n{\"succ", THEN_CLOSE,
     OUTCOME_TRANSPORT, "connection_lost"},
    {"no last chunk", OK_HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", THEN_CLOSE, OUTCOME_TRANSPORT,
     "connection_lost"},
    {"bad chunk size", OK_HEAD "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n", THEN_STAY, OUTCOME_TRANSPORT,
     "connection_lost"},
    {"garbage", "\x16\x03\x01 who are you\r\n\r\n", THEN_CLOSE, OUTCOME_TRANSPORT, "broken_answer"},
    {"a page without a head", "<html>hello</html>", THEN_CLOSE, OUTCOME_TRANSPORT, "broken_answer"},
    {"status 099", "HTTP/1.1 099 Low\r\nContent-Length: 0\r\n\r\n", THEN_STAY, OUTCOME_TRANSPORT,
     "broken_answer"},
    {"status 999", "HTTP/1.1 999 High\r\nContent-Length: 0\r\n\r\n", THEN_STAY, OUTCOME_SERVER, ""},
    {"an interim answer and the end", "HTTP/1.1 100 Continue\r\n\r\n", THEN_CLOSE, OUTCOME_TRANSPORT,
     "connection_lost"},
    {"two lengths that differ", OK_HEAD "Content-Length: 5\r\nContent-Length: 9\r\n\r\n{}   {}  ", THEN_CLOSE,
     OUTCOME_SERVER, ""},
    {"empty 200", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", THEN_STAY, OUTCOME_SERVER, "broken_body"},
    {"no content", "HTTP/1.1 204 None\r\n\r\n", THEN_STAY, OUTCOME_SERVER, "broken_body"},
    {"a page with 200", "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>hi</html>", THEN_STAY,
     OUTCOME_SERVER, "broken_body"},
    {"body cut by the end of the connection",
     "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"success\":true,", THEN_CLOSE, OUTCOME_SERVER,
     "broken_body"},
    {"a body that says gzip", OK_HEAD "Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08 ",
     THEN_STAY, OUTCOME_SERVER, "broken_body"},
    {"a plain body that says gzip",
     OK_HEAD "Content-Encoding: gzip\r\nConnection: close\r\n\r\n" RAW_OK_BODY("c-1"), THEN_CLOSE,
     OUTCOME_SERVER, "broken_body"},
    {"error", "HTTP/1.1 500 No\r\nContent-Length: 38\r\n\r\n{\"error\":\"x\",\"code\":\"internal_error\"}  ",
     THEN_STAY, OUTCOME_SERVER, "internal_error"},
};

#endif
