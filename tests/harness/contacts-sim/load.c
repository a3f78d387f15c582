/* contacts-sim-load: upserts over N keep-alive connections as fast as the other side answers. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <http_parser.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"

#define LOAD_LATENCY_SLOTS 100000u /* of 10 us each; the last one holds all that is longer */

struct load_options {
    uint16_t port;
    unsigned connections;
    uint64_t requests; /* 0: until the seconds are over */
    double seconds;
    uint64_t phones;
    uint64_t first_phone;
    const char *list;
    const char *key;
    const char *ca_file;
    bool tls;
};

struct load {
    struct load_options options;
    SSL_CTX *tls;
    int epoll_fd;
    uint64_t started;  /* requests */
    uint64_t finished;
    uint64_t failed;   /* answers that are no success */
    uint64_t end_us;   /* no new request after this */
    unsigned open;
    uint32_t latency[LOAD_LATENCY_SLOTS];
};

struct load_conn {
    struct load *load;
    int fd;
    SSL *ssl;
    http_parser parser;
    bool answered;
    bool wants_write;
    bool closing;
    struct buf out;
    size_t out_at;
    uint64_t sent_us;
};

static _Noreturn void load_die(const char *what)
{
    fprintf(stderr, "contacts-sim-load: %s: %s\n", what, errno ? strerror(errno) : "failed");
    ERR_print_errors_fp(stderr);
    exit(EX_UNAVAILABLE);
}

static uint64_t load_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void load_watch(struct load_conn *conn, int operation)
{
    struct epoll_event event = {.events = EPOLLIN | (conn->wants_write ? EPOLLOUT : 0u), .data.ptr = conn};
    if (epoll_ctl(conn->load->epoll_fd, operation, conn->fd, &event))
        load_die("epoll_ctl");
}

static void load_send(struct load_conn *conn)
{
    bool wanted = conn->wants_write;
    while (conn->out_at < conn->out.len) {
        const char *bytes = conn->out.data + conn->out_at;
        size_t len = conn->out.len - conn->out_at;
        ssize_t sent = conn->ssl ? SSL_write(conn->ssl, bytes, (int)len) : send(conn->fd, bytes, len,
                                                                      MSG_NOSIGNAL);
        bool full = sent <= 0 && (conn->ssl ? SSL_get_error(conn->ssl, (int)sent) == SSL_ERROR_WANT_WRITE
                                            : errno == EAGAIN);
        if (sent <= 0 && !full)
            load_die("send");
        if (full)
            break;
        conn->out_at += (size_t)sent;
    }
    conn->wants_write = conn->out_at < conn->out.len;
    if (conn->wants_write != wanted)
        load_watch(conn, EPOLL_CTL_MOD);
}

static bool load_start_request(struct load_conn *conn)
{
    struct load *load = conn->load;
    const struct load_options *options = &load->options;
    uint64_t now_us = load_now_us();
    if ((options->requests && load->started >= options->requests) || now_us >= load->end_us)
        return false;
    unsigned long long number = load->started++;
    char body[512];
    int len = snprintf(body, sizeof body,
        "{\"phone_number\":\"+%llu\",\"list_number\":\"%s\",\"use_journeys\":true,"
        "\"skip_journey_if_exists\":true,"
        "\"signup_date\":\"2025-03-15T14:30:00Z\",\"ip_address\":\"203.0.113.7\","
        "\"url\":\"https://example.com/offer\","
        "\"custom_fields\":{\"first_name\":\"Ada\",\"seq\":%llu},\"ad_network_source\":\"adwords\","
        "\"ad_network_id\":\"cmp-1042\"}",
        options->first_phone + number % options->phones, options->list, number);
    buf_clear(&conn->out);
    conn->out_at = 0;
    buf_append_format(&conn->out,
        "POST /api/v2/contacts HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nX-Api-Key: %s\r\n"
        "Content-Type: application/json\r\n"
        "Content-Length: %d\r\n\r\n%s", options->port, options->key, len, body);
    conn->answered = false;
    conn->sent_us = now_us;
    http_parser_init(&conn->parser, HTTP_RESPONSE);
    conn->parser.data = conn;
    load_send(conn);
    return true;
}

static int load_on_complete(http_parser *parser)
{
    struct load_conn *conn = parser->data;
    struct load *load = conn->load;
    uint64_t slot = (load_now_us() - conn->sent_us) / 10;
    load->latency[slot < LOAD_LATENCY_SLOTS ? slot : LOAD_LATENCY_SLOTS - 1]++;
    load->finished++;
    load->failed += parser->status_code < 200 || parser->status_code > 299;
    conn->answered = true;
    return 0;
}

static void load_close(struct load_conn *conn)
{
    SSL_free(conn->ssl);
    close(conn->fd);
    buf_fini(&conn->out);
    conn->load->open--;
    free(conn);
}

static void load_read(struct load_conn *conn)
{
    static const http_parser_settings settings = {.on_message_complete = load_on_complete};
    char bytes[16384];
    for (;;) {
        ssize_t got = conn->ssl ? SSL_read(conn->ssl, bytes, sizeof bytes) : recv(conn->fd, bytes,
                                                                      sizeof bytes, 0);
        if (got <= 0) {
            bool later = conn->ssl ? SSL_get_error(conn->ssl, (int)got) == SSL_ERROR_WANT_READ
                                   : got < 0 && errno == EAGAIN;
            if (later)
                return;
            errno = got ? errno : 0;
            load_die("connection closed by the server");
        }
        if (http_parser_execute(&conn->parser, &settings, bytes, (size_t)got) != (size_t)got)
            load_die("answer is not HTTP");
        if (conn->answered && !load_start_request(conn)) {
            load_close(conn);
            return;
        }
        if (!conn->ssl)
            return;
    }
}

/* Connects and, over TLS, shakes hands; both block: the measurement has not begun. */
static struct load_conn *load_connect(struct load *load)
{
    struct load_conn *conn = buf_alloc_zeroed(sizeof *conn);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(load->options.port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    conn->load = load;
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&address, sizeof address))
        load_die("connect");
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (load->tls) {
        conn->ssl = SSL_new(load->tls);
        if (!conn->ssl || !SSL_set_fd(conn->ssl, conn->fd) || !SSL_set1_host(conn->ssl, "localhost") ||
            SSL_connect(conn->ssl) != 1)
            load_die("TLS");
    }
    if (fcntl(conn->fd, F_SETFL, O_NONBLOCK))
        load_die("fcntl");
    load_watch(conn, EPOLL_CTL_ADD);
    load->open++;
    return conn;
}

static double load_quantile_ms(const struct load *load, double share)
{
    uint64_t wanted = (uint64_t)((double)load->finished * share);
    uint64_t seen = 0;
    for (unsigned slot = 0; slot < LOAD_LATENCY_SLOTS; slot++) {
        seen += load->latency[slot];
        if (seen > wanted)
            return slot * 0.01;
    }
    return LOAD_LATENCY_SLOTS * 0.01;
}

static void load_run(struct load *load)
{
    struct epoll_event events[256];
    struct load_conn **conns = buf_alloc_zeroed(load->options.connections * sizeof(struct load_conn *));
    for (unsigned i = 0; i < load->options.connections; i++)
        conns[i] = load_connect(load);
    uint64_t begun_us = load_now_us();
    load->end_us = begun_us + (uint64_t)(load->options.seconds * 1e6);
    for (unsigned i = 0; i < load->options.connections; i++)
        if (!load_start_request(conns[i]))
            load_close(conns[i]);
    free(conns);
    while (load->open) {
        int count = epoll_wait(load->epoll_fd, events, 256, 10000);
        if (count <= 0)
            load_die("no answer within 10 s");
        for (int i = 0; i < count; i++) {
            struct load_conn *conn = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                load_send(conn);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                load_read(conn);
        }
    }
    double seconds = (double)(load_now_us() - begun_us) / 1e6;
    printf("%llu requests, %llu not successful, %.2f s, %.0f req/s, p50 %.2f ms, p99 %.2f ms\n",
           (unsigned long long)load->finished, (unsigned long long)load->failed, seconds,
           (double)load->finished / seconds, load_quantile_ms(load, 0.5), load_quantile_ms(load, 0.99));
}

static _Noreturn void load_print_usage(int status)
{
    fputs("contacts-sim-load --port N [--connections N (64)] [--requests N | --seconds S (5)]\n"
          "    [--phones N (1000000)]"
          " [--first-phone DIGITS (12125000000)] [--list +1... (+18005550100)] [--key KEY]\n"
          "    [--tls --cafile F]   the certificate must name localhost\n", status ? stderr : stdout);
    exit(status);
}

static void load_parse(struct load_options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"port", required_argument, NULL, 'p'},   {"connections", required_argument, NULL, 'c'},
        {"requests", required_argument, NULL, 'n'}, {"seconds", required_argument, NULL, 's'},
        {"phones", required_argument, NULL, 'm'}, {"first-phone", required_argument, NULL, 'f'},
        {"list", required_argument, NULL, 'l'},   {"key", required_argument, NULL, 'k'},
        {"tls", no_argument, NULL, 't'},          {"cafile", required_argument, NULL, 'a'},
        {"help", no_argument, NULL, 'h'},         {0},
    };
    int id;
    while ((id = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (id) {
        case 'p': options->port = (uint16_t)strtoul(optarg, NULL, 10); break;
        case 'c': options->connections = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'n': options->requests = strtoull(optarg, NULL, 10); options->seconds = 3600; break;
        case 's': options->seconds = strtod(optarg, NULL); break;
        case 'm': options->phones = strtoull(optarg, NULL, 10); break;
        case 'f': options->first_phone = strtoull(optarg, NULL, 10); break;
        case 'l': options->list = optarg; break;
        case 'k': options->key = optarg; break;
        case 't': options->tls = true; break;
        case 'a': options->ca_file = optarg; break;
        case 'h': load_print_usage(EXIT_SUCCESS);
        default: load_print_usage(EX_USAGE);
        }
    }
    if (!options->port || !options->connections || !options->phones || optind < argc ||
        options->tls != (options->ca_file != NULL))
        load_print_usage(EX_USAGE);
}

int main(int argc, char **argv)
{
    static struct load load = {
        .options = {.connections = 64, .seconds = 5, .phones = 1000000, .first_phone = 12125000000,
                    .list = "+18005550100", .key = "trk_0123456789abcdefghijklmnopqrstuv"},
    };
    load_parse(&load.options, argc, argv);
    load.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (load.options.tls) {
        load.tls = SSL_CTX_new(TLS_client_method());
        if (!load.tls || SSL_CTX_load_verify_locations(load.tls, load.options.ca_file, NULL) != 1)
            load_die("CA file");
        SSL_CTX_set_verify(load.tls, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_mode(load.tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    load_run(&load);
    SSL_CTX_free(load.tls);
    close(load.epoll_fd);
    return load.failed ? EX_PROTOCOL : EXIT_SUCCESS;
}
