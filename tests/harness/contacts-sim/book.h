/* The book: an append-only NDJSON file of everything the simulator was asked and did.
 *
 * Lines gather in memory during one turn of the loop; book_flush writes them before any answer of that
 * turn leaves, so whatever a client has seen is in the file, also after kill -9 of the simulator. A book
 * that cannot be written ends the process. Phases, joined by `seq`:
 *   received     once per complete request, with the request's facts, its effect if it had one, and the `code` by
 *                which the contract refuses it ("": it does not; a fault may answer otherwise); `host` is "validation" on
 *                the port of that host, left out elsewhere
 *   effect       an effect after the arrival: each contact of a bulk, or a call whose rule said apply "late"
 *   answered     an answer starts to leave: `status` on the wire, `whole` false if a fault spoiled it
 *   dropped      a fault leaves the call without an answer
 *   client_gone  the client left before the answer
 *   undelivered  the client left before the whole answer was handed to the kernel
 *   incomplete   a connection ended inside a request · malformed  what came was not HTTP
 *   fault        a fault of a connection before its request was read
 *   unsolicited  bytes that answer no request · control  a command to the simulator
 * Effects are the lines with `applied` true: one per effect, in the order of the effects. */
#ifndef SIGNUP_CONTACTS_SIM_BOOK_H
#define SIGNUP_CONTACTS_SIM_BOOK_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "call.h"

struct book {
    int fd; /* -1: no book is kept */
    bool with_bodies;
    struct buf pending;
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
};

/* False with errno set when the file cannot be opened; `path` NULL keeps no book. */
bool book_open(struct book *book, const char *path, bool with_bodies);
void book_close(struct book *book);

/* Everything so far is with the kernel when this returns. */
void book_flush(struct book *book);

void book_note_received(struct book *book, const struct call *call);
void book_note_answered(struct book *book, const struct call *call, int64_t at_us, bool whole);
/* `phase` is dropped, client_gone or undelivered. */
void book_note_end(struct book *book, const struct call *call, int64_t at_us, const char *phase);
/* `index` is the position in a bulk request, -1 elsewhere; `code` why it had no effect, NULL if it had. */
void book_note_effect(struct book *book, const struct call *call, int64_t at_us,
                      const struct call_effect *effect,
                      long index, uint64_t phone, uint64_t list, const char *code);
/* What happened to a connection: phases fault, incomplete, malformed, unsolicited. `seq` 0 is left out. */
void book_note_connection(struct book *book, uint64_t conn_id, int64_t at_us, const char *phase, uint64_t seq,
                          const char *fault);
void book_note_control(struct book *book, const struct call *call);

#endif
