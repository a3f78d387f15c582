/* Checks of URLs and network addresses as people write them. No name is looked up. Private to the room. */
#ifndef SIGNUP_OPS_NET_TEXT_H
#define SIGNUP_OPS_NET_TEXT_H

#include "signup/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

/* NULL when `url` is an absolute https URL (http: only to a loopback address) without user, query and
 * fragment; else what is wrong with it and what would be right, without a word of the URL itself: it may hold
 * a password. */
const char *net_url_wrong(struct slice url);

/* As net_url_wrong() for one broker: [protocol://]host[:port]. */
const char *net_broker_wrong(struct slice broker);

/* Fills the address for "127.0.0.1:9464", "[::1]:0", "localhost:9464", ":9464" or "*:9464" (the last two:
 * every IPv4 and IPv6 address). NULL, or what is wrong. */
const char *net_listen_parse(const char *text, struct sockaddr_storage *address, socklen_t *len);

/* "off" or "": nothing listens. */
bool net_listen_is_off(const char *text);

/* True for localhost, 127.0.0.0/8 and ::1, also in brackets and mapped into IPv6. */
bool net_host_is_loopback(struct slice host);

#endif
