/* One request on its way through libcurl, and the client that owns it: shared by http.c and transfer.c only.
 */
#ifndef SIGNUP_CONTACTS_TRANSFER_H
#define SIGNUP_CONTACTS_TRANSFER_H

#include "http.h"
#include "sockets.h"

#include "signup/base/buf.h"
#include "signup/base/clock.h"

#include <curl/curl.h>
#include <uv.h>

enum transfer_state { TRANSFER_IDLE, TRANSFER_ACTIVE, TRANSFER_ENDED, TRANSFER_DELIVERING, TRANSFER_STATES };

struct transfer {
    struct http_client *client;
    struct transfer *prev;
    struct transfer *next;
    enum transfer_state state; /* names the list */
    CURL *easy;
    char *url; /* what the handle is set to; ours */
    bool get;
    bool plain; /* http:// */
    struct http_request *request;
    enum http_failure end; /* of an ended transfer */
    mono_us_t since;
    /* Evidence. */
    unsigned asked;  /* how often libcurl was about to send */
    unsigned passed; /* how often it was allowed to */
    bool stray;      /* refused by G2 */
    bool lapsed;     /* refused by G7 */
    bool again;      /* this is the second try after that */
    bool resend_refused;
    int open_errno;
    /* The answer. */
    bool headed; /* a status line was seen */
    bool head_ended;
    bool encoded;
    bool over_cap;
    size_t head_bytes;
    bool has_retry_after, has_date, has_location;
    char retry_after[64];
    char date[64];
    char location[256];
    struct buf body;
    char detail[CURL_ERROR_SIZE];
};

struct http_client {
    uv_loop_t *loop;
    CURLM *multi;
    struct sockets sockets;
    uv_timer_t timer; /* libcurl's */
    uv_idle_t idle;   /* runs on_idle() in the next turn while something is ended */
    unsigned own_handles;
    char *ca_file;
    long timeout_ms;
    long connect_timeout_ms;
    size_t max_in_flight;
    size_t transfer_count; /* created so far; never more than max_in_flight */
    struct transfer *lists[TRANSFER_STATES];
    struct http_request *queue; /* waits for a transfer */
    struct http_request **queue_end;
    void (*settled)(void *ctx);
    void *settled_ctx;
    bool closing;
    bool torn_down;
    void (*closed)(void *ctx);
    void *closed_ctx;
    struct http_stats stats;
};

/* A new idle transfer with everything set that does not change between requests. NULL: no memory. */
struct transfer *transfer_create(struct http_client *client);
void transfer_destroy(struct transfer *t);

/* The one function that moves a transfer from list to list. */
void transfer_move(struct transfer *t, enum transfer_state to);

/* Sets what is the request's own. False: no memory. */
bool transfer_set_request(struct transfer *t, const struct http_request *request);

/* Forgets the evidence and the answer of the try before; for each try, before transfer_add(). */
void transfer_forget(struct transfer *t);

/* Hands the transfer to libcurl. False: it did not take it. */
bool transfer_add(struct transfer *t);

/* For one repetition: a connection of its own and `timeout_ms`; or back to the usual. */
bool transfer_set_fresh(struct transfer *t, bool fresh, long timeout_ms);

#endif
