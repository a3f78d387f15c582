/* Reads the dsn with libpq's own parser. Facts: PQconnectStart() would look names up in a blocking way, so
 * every name is given to libpq with its address (hostaddr); PostgreSQL documentation, "34.1.2 Parameter Key
 * Words". */
#include "address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *option_value(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *o = options; o && o->keyword; o++) {
        if (strcmp(o->keyword, keyword) == 0 && o->val && *o->val)
            return o->val;
    }
    return NULL;
}

static size_t comma_count(const char *list)
{
    size_t count = 1;
    for (; *list; list++)
        count += *list == ',';
    return count;
}

/* The nth element of a comma-separated list, malloc'ed; NULL where the list is absent or the element empty.
 */
static char *comma_nth(const char *list, size_t nth)
{
    if (!list)
        return NULL;
    while (nth--) {
        list = strchr(list, ',');
        if (!list)
            return NULL;
        list++;
    }
    size_t len = strcspn(list, ",");
    return len ? strndup(list, len) : NULL;
}

static bool book_hosts(struct address_book *book, const char *host, const char *hostaddr, const char *port,
                       char *error, size_t error_size)
{
    size_t count = hostaddr ? comma_count(hostaddr) : host ? comma_count(host) : 1;
    size_t ports = port ? comma_count(port) : 1;
    if (count > ADDRESS_CANDIDATES_MAX) {
        snprintf(error, error_size, "postgres.dsn names more than %d hosts", ADDRESS_CANDIDATES_MAX);
        return false;
    }
    if ((host && hostaddr && comma_count(host) != count) || (ports != 1 && ports != count)) {
        snprintf(error, error_size,
                 "postgres.dsn: as many hosts as addresses, and one port or as many as hosts");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        book->hosts[i] = (struct address_host){
            .host = comma_nth(host, i),
            .hostaddr = comma_nth(hostaddr, i),
            .port = comma_nth(port, ports == 1 ? 0 : i),
        };
    }
    book->host_count = count;
    return true;
}

/* A message of libpq's parser quotes what it could not read: shown only where that cannot be a secret. */
static void parse_error(const char *dsn, const char *message, char *error, size_t error_size)
{
    bool secret = strstr(dsn, "password") || strchr(dsn, '@') || strstr(dsn, "://");
    snprintf(error, error_size,
             "postgres.dsn cannot be read%s%s: it is a postgresql:// URI or key=value pairs",
             secret || !message ? "" : ": ", secret || !message ? "" : message);
    for (char *c = error; *c; c++) {
        if (*c == '\n')
            *c = ' ';
    }
}

bool address_book_init(struct address_book *book, const char *dsn, char *error, size_t error_size)
{
    memset(book, 0, sizeof *book);
    char *message = NULL;
    book->options = PQconninfoParse(dsn, &message);
    if (!book->options) {
        parse_error(dsn, message, error, error_size);
        PQfreemem(message);
        return false;
    }
    PQconninfoOption *defaults = PQconndefaults();
    const char *host = option_value(book->options, "host");
    const char *hostaddr = option_value(book->options, "hostaddr");
    const char *port = option_value(book->options, "port");
    /* A service file named by the dsn may give the host: libpq reads it, so nothing is put over it. */
    if (!option_value(book->options, "service")) {
        if (!host && !hostaddr) {
            host = option_value(defaults, "host");
            hostaddr = option_value(defaults, "hostaddr");
        }
        if (!port)
            port = option_value(defaults, "port");
    }
    const char *dbname = option_value(book->options, "dbname");
    if (!dbname)
        dbname = option_value(defaults, "dbname");
    snprintf(book->dbname, sizeof book->dbname, "%s", dbname ? dbname : "");
    bool ok = book_hosts(book, host, hostaddr, port, error, error_size);
    PQconninfoFree(defaults);
    if (!ok)
        address_book_fini(book);
    return ok;
}

void address_book_fini(struct address_book *book)
{
    for (size_t i = 0; i < book->host_count; i++) {
        free(book->hosts[i].host);
        free(book->hosts[i].hostaddr);
        free(book->hosts[i].port);
    }
    PQconninfoFree(book->options);
    memset(book, 0, sizeof *book);
}

static void params_add(struct address_params *out, size_t *count, const char *key, const char *value)
{
    if (!value || !*value || *count == ADDRESS_OPTIONS_MAX)
        return;
    out->keys[*count] = key;
    out->values[(*count)++] = value;
}

/* Ours to decide, whatever the dsn says. */
static bool is_ours(const char *keyword)
{
    static const char *const ours[] = {"host", "hostaddr", "port", "client_encoding", "target_session_attrs"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (strcmp(keyword, ours[i]) == 0)
            return true;
    }
    return false;
}

void address_params_fill(const struct address_book *book, const struct address_candidate *candidate,
                         struct address_params *out)
{
    memset(out, 0, sizeof *out);
    size_t count = 0;
    for (const PQconninfoOption *o = book->options; o->keyword; o++) {
        if (!is_ours(o->keyword) || (!candidate && strcmp(o->keyword, "client_encoding") != 0 &&
                                     strcmp(o->keyword, "target_session_attrs") != 0))
            params_add(out, &count, o->keyword, o->val);
    }
    if (candidate) {
        params_add(out, &count, "host", candidate->host);
        params_add(out, &count, "hostaddr", candidate->hostaddr);
        params_add(out, &count, "port", candidate->port);
    }
    params_add(out, &count, "client_encoding", "UTF8");
    /* A standby, or an old primary made read-only, is no ledger. */
    params_add(out, &count, "target_session_attrs", "read-write");
    params_add(out, &count, "fallback_application_name", "signup-worker");
    /* libpq would ask the Kerberos library first, which may block. */
    if (!option_value(book->options, "gssencmode") && !getenv("PGGSSENCMODE"))
        params_add(out, &count, "gssencmode", "disable");
}

void address_text(const struct address_book *book, const struct address_candidate *candidate, char *text,
                  size_t size)
{
    const char *host = candidate ? candidate->host : book->host_count ? book->hosts[0].host : NULL;
    const char *port = candidate ? candidate->port : book->host_count ? book->hosts[0].port : NULL;
    const char *addr = candidate && candidate->hostaddr[0] ? candidate->hostaddr : NULL;
    snprintf(text, size, "%s:%s/%s", host ? host : addr ? addr : "local", port ? port : "5432", book->dbname);
}

/* ------------------------------------------------------------------ looking up, one host after the other */

struct address_lookup {
    uv_getaddrinfo_t request; /* first: the callback finds the lookup by it */
    uv_loop_t *loop;
    uv_idle_t *idle; /* answers later where there is nothing to ask */
    const struct address_book *book;
    size_t next_host;
    struct address_candidate candidates[ADDRESS_CANDIDATES_MAX];
    size_t count;
    char why[160];
    address_found_cb found; /* NULL: abandoned */
    void *ctx;
};

static void lookup_continue(struct address_lookup *lookup);

static void candidate_add(struct address_lookup *lookup, const struct address_host *host,
                          const char *hostaddr)
{
    if (lookup->count == ADDRESS_CANDIDATES_MAX)
        return;
    struct address_candidate *c = &lookup->candidates[lookup->count++];
    c->host = host->host;
    c->port = host->port;
    snprintf(c->hostaddr, sizeof c->hostaddr, "%s", hostaddr ? hostaddr : "");
}

static bool needs_lookup(const struct address_host *host)
{
    unsigned char ip[sizeof(struct in6_addr)];
    return host->host && !host->hostaddr && host->host[0] != '/' && host->host[0] != '@' &&
           inet_pton(AF_INET, host->host, ip) != 1 && inet_pton(AF_INET6, host->host, ip) != 1;
}

static void on_addrinfo(uv_getaddrinfo_t *request, int status, struct addrinfo *result)
{
    struct address_lookup *lookup = (struct address_lookup *)request;
    if (!lookup->found) {
        uv_freeaddrinfo(result);
        free(lookup);
        return;
    }
    const struct address_host *host = &lookup->book->hosts[lookup->next_host++];
    if (status)
        snprintf(lookup->why, sizeof lookup->why, "the host name \"%.80s\" cannot be found: %s", host->host,
                 uv_strerror(status));
    for (const struct addrinfo *a = result; a; a = a->ai_next) {
        char text[64];
        if (getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) == 0)
            candidate_add(lookup, host, text);
    }
    uv_freeaddrinfo(result);
    lookup_continue(lookup);
}

static void on_idle_closed(uv_handle_t *handle)
{
    free(handle);
}

static void lookup_finish(struct address_lookup *lookup)
{
    address_found_cb found = lookup->found;
    if (found)
        found(lookup->ctx, lookup->candidates, lookup->count, lookup->why);
    free(lookup);
}

static void on_idle(uv_idle_t *idle)
{
    struct address_lookup *lookup = idle->data;
    uv_idle_stop(idle);
    uv_close((uv_handle_t *)idle, on_idle_closed);
    lookup->idle = NULL;
    if (lookup->found)
        lookup_continue(lookup);
    else
        free(lookup);
}

static void lookup_continue(struct address_lookup *lookup)
{
    static const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    while (lookup->next_host < lookup->book->host_count) {
        const struct address_host *host = &lookup->book->hosts[lookup->next_host];
        if (!needs_lookup(host)) {
            candidate_add(lookup, host, host->hostaddr);
            lookup->next_host++;
            continue;
        }
        int error = uv_getaddrinfo(lookup->loop, &lookup->request, on_addrinfo, host->host, NULL, &hints);
        if (!error)
            return;
        snprintf(lookup->why, sizeof lookup->why, "the host name \"%.80s\" cannot be looked up: %s",
                 host->host, uv_strerror(error));
        lookup->next_host++;
    }
    lookup_finish(lookup);
}

struct address_lookup *address_lookup_start(uv_loop_t *loop, const struct address_book *book,
                                            address_found_cb found, void *ctx)
{
    struct address_lookup *lookup = calloc(1, sizeof *lookup);
    uv_idle_t *idle = calloc(1, sizeof *idle);
    if (!lookup || !idle) {
        free(lookup);
        free(idle);
        return NULL;
    }
    lookup->loop = loop;
    lookup->book = book;
    lookup->found = found;
    lookup->ctx = ctx;
    lookup->idle = idle;
    idle->data = lookup;
    uv_idle_init(loop, idle);
    uv_idle_start(idle, on_idle);
    return lookup;
}

void address_lookup_abandon(struct address_lookup *lookup)
{
    lookup->found = NULL;
    if (!lookup->idle)
        uv_cancel((uv_req_t *)&lookup->request); /* the callback follows either way and frees */
}
