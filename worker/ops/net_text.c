/* Checks of URLs and network addresses as people write them. No name is looked up. */
#include "net_text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define HOST_BYTES 256

static bool slice_copy(struct slice text, char *out, size_t size)
{
    if (text.len >= size || memchr(text.ptr, '\0', text.len))
        return false;
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return true;
}

static bool take_prefix(struct slice *text, const char *prefix)
{
    size_t len = strlen(prefix);
    if (text->len < len || strncasecmp(text->ptr, prefix, len) != 0)
        return false;
    text->ptr += len;
    text->len -= len;
    return true;
}

/* 1 to 65535; -1 otherwise. `zero` allows 0: any free port. */
static int port_parse(struct slice text, bool zero)
{
    if (!text.len || text.len > 5)
        return -1;
    int port = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return -1;
        port = port * 10 + (text.ptr[i] - '0');
    }
    return port > 65535 || (port == 0 && !zero) ? -1 : port;
}

/* Splits host[:port]; brackets around an IPv6 host are taken off. False: a bracket is missing or too much. */
static bool host_split(struct slice text, struct slice *host, struct slice *port)
{
    *port = SLICE_ABSENT;
    if (text.len && text.ptr[0] == '[') {
        const char *end = memchr(text.ptr, ']', text.len);
        if (!end)
            return false;
        *host = (struct slice){text.ptr + 1, (size_t)(end - text.ptr) - 1};
        size_t used = host->len + 2;
        if (used == text.len)
            return true;
        if (text.ptr[used] != ':')
            return false;
        *port = (struct slice){text.ptr + used + 1, text.len - used - 1};
        return true;
    }
    const char *colon = memchr(text.ptr, ':', text.len);
    if (!colon) {
        *host = text;
        return true;
    }
    *host = (struct slice){text.ptr, (size_t)(colon - text.ptr)};
    *port = (struct slice){colon + 1, text.len - host->len - 1};
    return true;
}

/* A DNS name, an IPv4 address, or (when it stood in brackets) an IPv6 one. */
static bool host_is_good(struct slice host, bool bracketed)
{
    char text[HOST_BYTES];
    if (!host.len || !slice_copy(host, text, sizeof text))
        return false;
    if (bracketed)
        return inet_pton(AF_INET6, text, &(struct in6_addr){0}) == 1;
    for (const char *c = text; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-' && *c != '.' && *c != '_')
            return false;
    return text[0] != '.' && text[0] != '-';
}

bool net_host_is_loopback(struct slice host)
{
    char text[HOST_BYTES];
    struct in_addr v4;
    struct in6_addr v6;
    if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
        host = (struct slice){host.ptr + 1, host.len - 2};
    if (!slice_copy(host, text, sizeof text))
        return false;
    if (strcasecmp(text, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, text, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, text, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
    return false;
}

const char *net_url_wrong(struct slice url)
{
    for (size_t i = 0; i < url.len; i++)
        if ((unsigned char)url.ptr[i] <= ' ' || (unsigned char)url.ptr[i] >= 127)
            return "has a blank or a character that no URL has; write it as https://host/path";
    struct slice rest = url;
    bool clear = take_prefix(&rest, "http://");
    if (!clear && !take_prefix(&rest, "https://"))
        return "is not an https URL; write it as https://host/path";
    if (memchr(rest.ptr, '?', rest.len) || memchr(rest.ptr, '#', rest.len))
        return "has a query or a fragment; end it with its path";
    const char *slash = memchr(rest.ptr, '/', rest.len);
    struct slice authority = {rest.ptr, slash ? (size_t)(slash - rest.ptr) : rest.len};
    if (memchr(authority.ptr, '@', authority.len))
        return "has a user or password in it; the API knows only its key, leave them out";
    struct slice host;
    struct slice port;
    bool bracketed = authority.len && authority.ptr[0] == '[';
    if (!host_split(authority, &host, &port) || !host_is_good(host, bracketed))
        return "has no valid host; write it as https://host/path";
    if (slice_present(port) && port_parse(port, false) < 0)
        return "has no valid port; write 1 to 65535 behind the colon";
    if (clear && !net_host_is_loopback(host))
        return "is http to another machine, where the API key could be read on the way; write https://";
    return NULL;
}

const char *net_broker_wrong(struct slice broker)
{
    static const char *const protocols[] = {"plaintext://", "ssl://", "sasl_plaintext://", "sasl_ssl://"};
    for (size_t i = 0; i < sizeof protocols / sizeof protocols[0]; i++)
        if (take_prefix(&broker, protocols[i]))
            break;
    struct slice host;
    struct slice port;
    bool bracketed = broker.len && broker.ptr[0] == '[';
    if (!host_split(broker, &host, &port) || !host_is_good(host, bracketed))
        return "is not host:port; write it as broker-1.example.com:9092";
    if (slice_present(port) && port_parse(port, false) < 0)
        return "has no valid port; write 1 to 65535 behind the colon, Kafka's own is 9092";
    return NULL;
}

bool net_listen_is_off(const char *text)
{
    return !text[0] || strcasecmp(text, "off") == 0 || strcasecmp(text, "false") == 0 ||
           strcasecmp(text, "no") == 0;
}

static bool address_fill(const char *host, int port, struct sockaddr_storage *address, socklen_t *len)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *len = sizeof *v4;
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        *len = sizeof *v6;
        return true;
    }
    return false;
}

const char *net_listen_parse(const char *text, struct sockaddr_storage *address, socklen_t *len)
{
    static const char shape[] = "is not address:port; write 127.0.0.1:9464, [::1]:9464, :9464 for every "
                                "address, or off";
    struct slice whole = slice_from_str(text);
    struct slice host;
    struct slice port_text;
    char name[HOST_BYTES];
    if (!host_split(whole, &host, &port_text) || !slice_present(port_text) ||
        !slice_copy(host, name, sizeof name))
        return shape;
    int port = port_parse(port_text, true);
    if (port < 0)
        return "has no valid port; write 1 to 65535 behind the colon, 0 for any free one";
    if (!name[0] || strcmp(name, "*") == 0)
        (void)snprintf(name, sizeof name, "::");
    else if (strcasecmp(name, "localhost") == 0)
        (void)snprintf(name, sizeof name, "127.0.0.1");
    if (!address_fill(name, port, address, len))
        return "names no IP address of this machine; write the address itself, like 127.0.0.1:9464, or :9464 "
               "for every one";
    return NULL;
}
