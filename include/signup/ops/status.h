/* /status and /readyz: the snapshot as JSON for people and scripts, and as one word with its reasons for
 * probes. */
#ifndef SIGNUP_OPS_STATUS_H
#define SIGNUP_OPS_STATUS_H

#include "signup/base/buf.h"
#include "signup/ops/snapshot.h"

/* Appends one JSON object and a newline; the caller asks buf_ok(). Text that is not UTF-8 is repaired. */
void status_render(struct buf *out, const struct ops_snapshot *snapshot);

/* Appends "ready", or "not ready" and one reason a line; then one line for each gate that is closed, also for those that
 * do not make the worker unready. */
void status_render_ready(struct buf *out, const struct ops_snapshot *snapshot);

#endif
