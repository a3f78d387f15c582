/* Where the server is: reads the dsn, looks its host names up without blocking the loop, and lists the
 * addresses to try one by one. */
#ifndef SIGNUP_LEDGER_ADDRESS_H
#define SIGNUP_LEDGER_ADDRESS_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define ADDRESS_TEXT_BYTES 256
#define ADDRESS_CANDIDATES_MAX 16
#define ADDRESS_OPTIONS_MAX 64

/* A place as configured: a host name, an IP address, or the directory of a unix socket. */
struct address_host {
    char *host;     /* NULL: libpq's own default */
    char *hostaddr; /* NULL: to be looked up, unless the host is a directory */
    char *port;     /* NULL: libpq's own default */
};

struct address_book {
    PQconninfoOption *options; /* of the dsn */
    struct address_host hosts[ADDRESS_CANDIDATES_MAX];
    size_t host_count;
    char dbname[64]; /* for people */
};

/* One address to connect to. */
struct address_candidate {
    const char *host;  /* borrows from the book */
    char hostaddr[64]; /* "": none */
    const char *port;  /* borrows from the book */
};

/* False: `error` says why; it never repeats the dsn, which may hold a password. */
bool address_book_init(struct address_book *book, const char *dsn, char *error, size_t error_size);
void address_book_fini(struct address_book *book);

/* The parameters of PQconnectStartParams()/PQconnectdbParams() for one candidate; NULL: leave host and port
 * as libpq finds them. The arrays borrow from the book and the candidate. */
struct address_params {
    const char *keys[ADDRESS_OPTIONS_MAX + 1];
    const char *values[ADDRESS_OPTIONS_MAX + 1];
};
void address_params_fill(const struct address_book *book, const struct address_candidate *candidate,
                         struct address_params *out);

/* "host:port/dbname", for people. */
void address_text(const struct address_book *book, const struct address_candidate *candidate, char *text,
                  size_t size);

/* ---- looking up */

struct address_lookup;

/* Called once, later on the loop. `count` 0: `why` says which name could not be found. The candidates are
 * borrowed for the call. */
typedef void (*address_found_cb)(void *ctx, const struct address_candidate *candidates, size_t count,
                                 const char *why);

/* Starts; NULL when out of memory. A resolver that hangs holds nobody up: abandon the lookup and it frees
 * itself when it can. */
struct address_lookup *address_lookup_start(uv_loop_t *loop, const struct address_book *book,
                                            address_found_cb found, void *ctx);
void address_lookup_abandon(struct address_lookup *lookup);

#endif
