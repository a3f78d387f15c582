/* The command line. */
#ifndef SIGNUP_CONTACTS_SIM_OPTIONS_H
#define SIGNUP_CONTACTS_SIM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OPTIONS_MAX_KEYS 32
#define OPTIONS_MAX_LISTS 256

/* The texts are borrowed from argv. */
struct options {
    const char *listen;         /* address:port, port 0 picks one */
    const char *tls_listen;     /* NULL: none */
    const char *validation_listen; /* NULL: none; a port that serves v1 alone */
    const char *validation_tls_listen; /* the same with TLS */
    bool strict_hosts;             /* the other ports serve v2 alone */
    const char *control_listen; /* NULL: none; this port never misbehaves */
    const char *port_file;
    const char *tls_cert;
    const char *tls_key;
    const char *keys[OPTIONS_MAX_KEYS];
    size_t key_count;
    uint64_t lists[OPTIONS_MAX_LISTS];
    size_t list_count; /* 0: every +1 number is a list of the account */
    unsigned latency_min_ms;
    unsigned latency_max_ms;
    uint64_t seed;
    const char *book;
    bool book_bodies;
    bool lenient;
    unsigned journeys; /* active Welcome Journeys of every list */
};

/* Fills `options`; ends the process after --help (0) and on a wrong usage (64). */
void options_parse(struct options *options, int argc, char **argv);

/* "5" or "5..20", milliseconds. */
bool options_parse_latency(const char *text, unsigned *min_ms, unsigned *max_ms);

#endif
