/* IP addresses and URLs as they arrive from forms, proxies and scripts. */
#include "clean.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static struct slice slice_from(struct slice text, size_t start, size_t end)
{
    return (struct slice){text.ptr + start, end - start};
}

/* Index of the first `c`, or `text.len`. */
static size_t find_char(struct slice text, char c)
{
    const char *at = text.len ? memchr(text.ptr, c, text.len) : NULL;
    return at ? (size_t)(at - text.ptr) : text.len;
}

struct slice clean_blanks(struct slice text)
{
    size_t start = 0;
    size_t end = text.len;
    while (start < end && is_blank(text.ptr[start]))
        start++;
    while (end > start && is_blank(text.ptr[end - 1]))
        end--;
    return slice_present(text) ? slice_from(text, start, end) : text;
}

static bool is_port(struct slice text)
{
    unsigned value = 0;
    if (!text.len || text.len > 5)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.ptr[i]))
            return false;
        value = value * 10 + (unsigned)(text.ptr[i] - '0');
    }
    return value <= 65535;
}

static bool is_ip_literal(int family, struct slice text)
{
    char literal[INET6_ADDRSTRLEN];
    struct in6_addr address; /* large enough for either family */
    if (!text.len || text.len >= sizeof literal || find_char(text, '\0') < text.len)
        return false;
    memcpy(literal, text.ptr, text.len);
    literal[text.len] = '\0';
    return inet_pton(family, literal, &address) == 1;
}

/* An IPv6 literal, its zone ("%eth0") cut. */
static struct slice without_zone(struct slice text)
{
    size_t zone = find_char(text, '%');
    struct slice address = slice_from(text, 0, zone);
    return is_ip_literal(AF_INET6, address) ? address : SLICE_ABSENT;
}

/* "[address]" and what may follow it: nothing or ":port". */
static struct slice ip_in_brackets(struct slice text)
{
    size_t close = find_char(text, ']');
    if (close == text.len)
        return SLICE_ABSENT;
    struct slice rest = slice_from(text, close + 1, text.len);
    if (rest.len && (rest.ptr[0] != ':' || !is_port(slice_from(rest, 1, rest.len))))
        return SLICE_ABSENT;
    struct slice inner = clean_blanks(slice_from(text, 1, close));
    return is_ip_literal(AF_INET, inner) ? inner : without_zone(inner);
}

struct slice clean_ip(struct slice text)
{
    text = clean_blanks(text);
    if (!text.len)
        return SLICE_ABSENT;
    if (text.ptr[0] == '[')
        return ip_in_brackets(text);
    size_t colon = find_char(text, ':');
    struct slice head = slice_from(text, 0, colon);
    if (is_ip_literal(AF_INET, head))
        return colon == text.len || is_port(slice_from(text, colon + 1, text.len)) ? head : SLICE_ABSENT;
    return without_zone(text);
}

/* A host name: labels of letters, digits, hyphens, underscores or raw UTF-8, none of them empty; a dot may
 * end it. */
static bool is_host_name(struct slice host)
{
    size_t label = 0;
    for (size_t i = 0; i < host.len; i++) {
        unsigned char c = (unsigned char)host.ptr[i];
        if (c == '.') {
            if (!label)
                return false;
            label = 0;
            continue;
        }
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !is_digit((char)c) && c != '-' && c != '_' && c < 0x80)
            return false;
        label++;
    }
    return host.len && host.ptr[0] != '.';
}

/* [user@]host[:port] */
static bool is_authority(struct slice authority)
{
    size_t start = 0;
    for (size_t i = 0; i < authority.len; i++) {
        if (authority.ptr[i] == ' ' || authority.ptr[i] == '\\')
            return false;
        if (authority.ptr[i] == '@')
            start = i + 1;
    }
    struct slice host = slice_from(authority, start, authority.len);
    struct slice port = SLICE_ABSENT;
    size_t colon;
    if (host.len && host.ptr[0] == '[') {
        size_t close = find_char(host, ']');
        if (close == host.len || !is_ip_literal(AF_INET6, slice_from(host, 1, close)))
            return false;
        colon = close + 1;
        if (colon < host.len && host.ptr[colon] != ':')
            return false;
    } else {
        colon = find_char(host, ':');
        if (!is_host_name(slice_from(host, 0, colon)))
            return false;
    }
    if (colon < host.len)
        port = slice_from(host, colon + 1, host.len);
    return !port.len || is_port(port); /* RFC 3986 allows an empty port */
}

/* Length of "http://" or "https://" at the start, any case, or 0. */
static size_t scheme_length(struct slice text)
{
    if (text.len >= 7 && strncasecmp(text.ptr, "http://", 7) == 0)
        return 7;
    if (text.len >= 8 && strncasecmp(text.ptr, "https://", 8) == 0)
        return 8;
    return 0;
}

struct slice clean_url(struct slice text)
{
    text = clean_blanks(text);
    size_t start = scheme_length(text);
    if (!start)
        return SLICE_ABSENT;
    size_t end = start;
    while (end < text.len && text.ptr[end] != '/' && text.ptr[end] != '?' && text.ptr[end] != '#')
        end++;
    if (!is_authority(slice_from(text, start, end)))
        return SLICE_ABSENT;
    for (size_t i = start; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c < 0x20 || c == 0x7F)
            return SLICE_ABSENT;
    }
    return text;
}
