/*
 * A TCP proxy on loopback whose link can be told to misbehave. One thread, one epoll set.
 *
 * Each connection is two pipes: UP carries what the client says to the target, DOWN the answers. A pipe
 * reads chunks from its source, keeps each until it is due, and writes it to its destination. Faults are
 * rules of a direction and hold for all connections, present and future, until they are changed.
 */
#ifndef SIGNUP_HARNESS_CHAOS_PROXY_PROXY_H
#define SIGNUP_HARNESS_CHAOS_PROXY_PROXY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { PROXY_UP = 0, PROXY_DOWN = 1, PROXY_DIRECTIONS = 2 };

/* What may be wrong with one direction; proxy_rule_none() is a healthy link. */
struct proxy_rule {
    int64_t delay_us;          /* each chunk leaves this much later than it came */
    int64_t rate_bytes_per_s;  /* per connection; 0: unlimited */
    bool blackhole;            /* nothing is read or written; what waits flows on once it is over */
    bool drop;                 /* what is read is thrown away */
    int64_t rst_after_bytes;   /* connection is reset when it has forwarded so many; -1: off */
    int64_t rst_times;         /* connections that this still befalls; -1: all */
    int64_t corrupt_at_byte;   /* this byte, counted from 0 since the rule was made, is inverted; -1: off */
    int64_t corrupt_times;     /* bytes that are still to be inverted, one a connection; -1: on all */
};

struct proxy_stats {
    uint64_t accepted;
    uint64_t open;
    uint64_t connect_failures; /* the target refused; the client was reset */
    uint64_t resets;           /* connections that ended by reset, for whatever reason */
    uint64_t corrupted;
    uint64_t bytes[PROXY_DIRECTIONS]; /* forwarded */
};

struct connection;

struct proxy {
    int epoll_fd;
    int listen_fd; /* -1 while connections are refused */
    struct sockaddr_in listen_address;
    struct sockaddr_in target;
    struct proxy_rule rules[PROXY_DIRECTIONS];
    struct proxy_stats stats;
    struct connection *connections;
    struct connection *dead; /* closed in this tick, freed at its end: events may still name them */
    bool quit;
};

struct proxy_rule proxy_rule_none(void);

/* Reads "HOST:PORT", HOST a numeric IPv4 address or "localhost". */
bool proxy_address_parse(const char *text, struct sockaddr_in *address);

/* Listens on `listen` (port 0: a free one, see listen_address) for `target`; false with errno set. */
bool proxy_init(struct proxy *proxy, const struct sockaddr_in *listen, const struct sockaddr_in *target);
void proxy_fini(struct proxy *proxy);

/* Serves until `quit`; `control_fd` is watched too and `on_control` called when it is readable. */
void proxy_run(struct proxy *proxy, int control_fd, void (*on_control)(void *context), void *context);

/* To be called after `rules` were changed: byte counts start anew and all pipes look again. */
void proxy_rules_changed(struct proxy *proxy);

/* Stops listening, so that the kernel refuses; or listens again on the same port (false with errno set). */
void proxy_refuse(struct proxy *proxy);
bool proxy_listen(struct proxy *proxy);

/* Ends all present connections, orderly or by reset; returns how many. */
int proxy_close_all(struct proxy *proxy, bool reset);

/* Tells the destinations of `direction` that no more will come, while the other way stays open. */
int proxy_half_close(struct proxy *proxy, int direction);

#endif
