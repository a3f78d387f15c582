/* What leaves the simulator for one call, byte by byte: the true answer, or what a fault makes of it. */
#ifndef SIGNUP_CONTACTS_SIM_PLAN_H
#define SIGNUP_CONTACTS_SIM_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "call.h"

enum plan_end {
    PLAN_KEEP,  /* wait for the next request */
    PLAN_CLOSE, /* FIN */
    PLAN_RESET, /* RST */
    PLAN_HANG,  /* nothing more, connection open */
    PLAN_DRAIN, /* FIN, and what still comes in is thrown away: a FIN that no RST overtakes */
};

struct plan {
    struct buf bytes;
    size_t at;         /* so far handed out */
    size_t paced_from; /* from this byte on step_bytes each step_ms, when step_ms is set */
    size_t step_bytes;
    unsigned step_ms;
    const char *filler; /* repeated after the bytes */
    size_t filler_len;
    uint64_t filler_left; /* bytes; UINT64_MAX never ends */
    enum plan_end end;
    bool whole; /* a client may take it for a complete HTTP response */
    /* after the end of the answer, while the connection is idle */
    bool has_late;
    bool late_needs_idle; /* a new request calls it off */
    unsigned late_ms;
    struct buf late;
    enum plan_end late_end;
};

/* `{0}` is an empty plan; a plan without bytes and filler answers nothing. `date` is an HTTP date. Sets the
 * status of the call to the one on the wire (0 when there is none). */
void plan_build(struct plan *plan, struct call *call, const char *date);
bool plan_answers(const struct plan *plan);

/* Appends the next portion to `out`; false at the end. `pace_ms` is how long to wait before the next one. */
bool plan_next(struct plan *plan, struct buf *out, unsigned *pace_ms);

void plan_clear(struct plan *plan);
void plan_fini(struct plan *plan);

/* A complete error response for what is no call (malformed HTTP); closes. */
void plan_build_refusal(struct plan *plan, int status, const char *date);

/* Builds the gzip bomb ahead: it takes a moment that no call should pay. */
void plan_prepare_bomb(uint64_t expanded_bytes);
void plan_free_bomb(void);

/* For plan.c, from plan_body.c. Both borrow static memory until the next call with another size. */
const struct buf *plan_body_bomb(uint64_t expanded_bytes);
/* The body that speaks of another contact. */
void plan_body_other_contact(const struct call *call, struct buf *out);

#endif
