/* The admin endpoints on the loop: /livez, /readyz, /metrics, /status over HTTP. */
#ifndef SIGNUP_OPS_ADMIN_H
#define SIGNUP_OPS_ADMIN_H

#include "signup/ops/snapshot.h"

#include <stddef.h>

struct uv_loop_s;
struct admin;

struct admin_config {
    const char *listen; /* admin.listen of the configuration; "" or "off": nothing listens. Borrowed until
                           create has returned. */
    /* Fills the zeroed snapshot; on the loop, once for each request but /livez. What it points at must last
     * until it is called again. */
    void (*fill)(void *ctx, struct ops_snapshot *snapshot);
    void *ctx;
};

#define ADMIN_ERROR_BYTES 256

/* Listens at once. Gives 0 and the admin (NULL where nothing is to listen), or a code of sysexits.h and a
 * sentence in `error`: EX_UNAVAILABLE (69) the address is in use or not ours, EX_NOPERM (77) the port is not
 * for this user, EX_CONFIG (78) `listen` is no address, EX_OSERR (71). `loop` is borrowed until the callback
 * of admin_close(). */
int admin_create(struct uv_loop_s *loop, const struct admin_config *config, struct admin **out,
                 char error[ADMIN_ERROR_BYTES]) __attribute__((warn_unused_result));

/* The port that is listened on, also when 0 was asked for. `admin` may be NULL: 0. */
int admin_port(const struct admin *admin);

/* Stops listening and drops the connections at once; frees the admin on the loop, then calls `closed` (may be
 * NULL), never inside this call. Once. */
void admin_close(struct admin *admin, void (*closed)(void *ctx), void *ctx);

#endif
