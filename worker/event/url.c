/* Queries and patterns of URLs. */
#include "url.h"

#include <strings.h>

static struct slice slice_from(struct slice text, size_t start, size_t end)
{
    return (struct slice){text.ptr + start, end - start};
}

static size_t find_char(struct slice text, char c)
{
    const char *at = text.len ? memchr(text.ptr, c, text.len) : NULL;
    return at ? (size_t)(at - text.ptr) : text.len;
}

/* Index of the first of the characters `any`, or text.len. */
static size_t find_any(struct slice text, const char *any)
{
    for (; *any; any++)
        text.len = find_char(text, *any);
    return text.len;
}

struct slice url_query(struct slice url)
{
    size_t start = find_char(url, '?');
    size_t fragment = find_char(url, '#');
    if (start == url.len || fragment < start)
        return SLICE_ABSENT;
    return slice_from(url, start + 1, fragment);
}

bool url_next_parameter(struct slice *rest, struct slice *name, struct slice *value)
{
    while (rest->len && rest->ptr[0] == '&')
        *rest = slice_from(*rest, 1, rest->len);
    if (!rest->len)
        return false;
    size_t end = find_char(*rest, '&');
    struct slice whole = slice_from(*rest, 0, end);
    if (whole.len >= 4 && strncasecmp(whole.ptr, "amp;", 4) == 0)
        whole = slice_from(whole, 4, whole.len);
    size_t equals = find_char(whole, '=');
    *name = slice_from(whole, 0, equals);
    *value = equals < whole.len ? slice_from(whole, equals + 1, whole.len)
                                : slice_from(whole, whole.len, whole.len);
    *rest = slice_from(*rest, end, rest->len);
    return true;
}

bool url_is_encoded(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '%' || text.ptr[i] == '+')
            return true;
    }
    return false;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t url_decode(struct slice text, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '+') {
            c = ' ';
        } else if (c == '%' && text.len - i > 2) {
            int high = hex_value(text.ptr[i + 1]);
            int low = hex_value(text.ptr[i + 2]);
            if (high >= 0 && low >= 0) {
                c = (char)(high * 16 + low);
                i += 2;
            }
        }
        out[len++] = c;
    }
    return len;
}

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

/* The port without the zeros in front of it; empty where it is the scheme's own. */
static struct slice port_of(struct slice port, bool tls)
{
    while (port.len && port.ptr[0] == '0')
        port = slice_from(port, 1, port.len);
    return slice_is(port, tls ? "443" : "80") ? SLICE_LITERAL("") : port;
}

void url_append_address(struct buf *out, struct slice url)
{
    bool tls = url.len > 4 && (url.ptr[4] == 's' || url.ptr[4] == 'S');
    size_t start = tls ? 8 : 7; /* "https://" */
    struct slice rest = slice_from(url, start, url.len);
    size_t end = find_any(rest, "/?#");
    struct slice authority = slice_from(rest, 0, end);
    for (size_t at = find_char(authority, '@'); at < authority.len; at = find_char(authority, '@'))
        authority = slice_from(authority, at + 1, authority.len);
    /* The colons of an IPv6 address stand between brackets. */
    size_t bracket = find_char(authority, ']');
    size_t from = bracket < authority.len ? bracket : 0;
    size_t colon = from + find_char(slice_from(authority, from, authority.len), ':');
    struct slice host = slice_from(authority, 0, colon);
    struct slice port =
        colon < authority.len ? slice_from(authority, colon + 1, authority.len) : SLICE_LITERAL("");
    if (host.len && host.ptr[host.len - 1] == '.')
        host.len--;
    for (size_t i = 0; i < host.len; i++)
        buf_append_char(out, lower(host.ptr[i]));
    port = port_of(port, tls);
    if (port.len) {
        buf_append_char(out, ':');
        buf_append_slice(out, port);
    }
    struct slice path = slice_from(rest, end, end + find_any(slice_from(rest, end, rest.len), "?#"));
    if (!path.len)
        buf_append_char(out, '/');
    buf_append_slice(out, path);
}

/* `*` is any run of characters; up to `folded` in `text` letters are the same in any case. Where a part
 * behind a star does not fit, the star takes one character more: an earlier one need never be asked again. */
static bool glob(struct slice pattern, struct slice text, size_t folded)
{
    size_t p = 0;
    size_t t = 0;
    size_t star = SIZE_MAX;
    size_t star_text = 0;
    while (t < text.len) {
        bool same =
            p < pattern.len && pattern.ptr[p] != '*' &&
            (pattern.ptr[p] == text.ptr[t] || (t < folded && lower(pattern.ptr[p]) == lower(text.ptr[t])));
        if (same) {
            p++;
            t++;
        } else if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            star_text = t;
            if (p == pattern.len)
                return true;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++star_text;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

/* Host and path of a pattern: its scheme ("https://", "*://", "//") and what follows the path are left out.
 */
static struct slice pattern_address(struct slice pattern)
{
    size_t end = find_any(pattern, "?#");
    pattern = slice_from(pattern, 0, end);
    size_t slash = find_char(pattern, '/');
    if (slash + 1 < pattern.len && pattern.ptr[slash + 1] == '/' &&
        (slash == 0 || pattern.ptr[slash - 1] == ':'))
        pattern = slice_from(pattern, slash + 2, pattern.len);
    return pattern;
}

static bool address_matches(struct slice pattern, struct slice address)
{
    size_t host = find_char(address, '/');
    if (glob(pattern, address, host))
        return true;
    return find_char(pattern, '/') == pattern.len && glob(pattern, slice_from(address, 0, host), host);
}

bool url_matches(struct slice pattern, struct slice address)
{
    char room[1024];
    pattern = pattern_address(pattern);
    if (address_matches(pattern, address))
        return true;
    /* Written with a port that addresses do not say. */
    size_t slash = find_char(pattern, '/');
    size_t colon = find_char(slice_from(pattern, 0, slash), ':');
    if (colon == slash)
        return false;
    struct slice port = slice_from(pattern, colon, slash);
    if ((!slice_is(port, ":443") && !slice_is(port, ":80")) || pattern.len > sizeof room)
        return false;
    memcpy(room, pattern.ptr, colon);
    memcpy(room + colon, pattern.ptr + slash, pattern.len - slash);
    return address_matches((struct slice){room, pattern.len - port.len}, address);
}
