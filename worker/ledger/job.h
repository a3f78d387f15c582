/* The batch engine: cuts an operation into statements, repeats what collided, bisects what is refused until
 * the single rows that no database takes are found, and completes the operation once.
 *
 * A job is one operation. A piece is one statement of it: a range of the job's items. A row's answer is
 * written when its piece has been answered; the job ends when no piece is left. */
#ifndef SIGNUP_LEDGER_JOB_H
#define SIGNUP_LEDGER_JOB_H

#include "conn.h"
#include "params.h"
#include "signup/base/buf.h"
#include "signup/core/ports.h"

#include <stddef.h>
#include <stdint.h>

struct job;
struct piece;

struct job_methods {
    const char *name;
    /* Writes the parameters of `piece`, in the order of its items. */
    void (*encode)(const struct piece *piece, struct params *params, struct buf *scratch);
    /* Writes the parameters of a second statement, which goes with the first in one transaction and whose
     * answer is not read, and gives true; NULL: never one. */
    bool (*follow)(const struct piece *piece, enum sql_id *sql, struct params *params);
    /* Reads the answer of a piece. May start further pieces of the same job. */
    void (*decode)(struct piece *piece, const PGresult *result);
    /* The database refuses this one item. NULL: no item of the kind can be refused; the operation fails. */
    void (*refuse)(struct job *job, uint32_t item);
    /* Bytes that an item adds to its statement, beyond some hundred; NULL: none worth counting. */
    size_t (*weigh)(const struct job *job, uint32_t item);
    /* The event id of an item; NULL: the kind is not answered row by row. */
    struct slice (*id_of)(const struct job *job, uint32_t item);
    void (*complete)(struct job *job, enum ledger_result result);
};
extern const struct job_methods job_claim_methods;
extern const struct job_methods job_record_methods;
extern const struct job_methods job_extend_methods;
extern const struct job_methods job_due_take_methods;
extern const struct job_methods job_outbox_take_methods;
extern const struct job_methods job_outbox_mark_methods;
extern const struct job_methods job_outcome_take_methods;
extern const struct job_methods job_outcome_mark_methods;
extern const struct job_methods job_spend_methods;
extern const struct job_methods job_counts_methods;

struct job_queue;

struct job {
    const struct job_methods *methods;
    struct job_queue *queue;
    void *op;        /* the port's operation, borrowed until complete() */
    uint32_t pieces; /* not yet answered */
    bool failed;     /* completes with LEDGER_AWAY */
    uint32_t count;
    uint32_t items[]; /* indices into the operation's items, in statement order */
};

struct piece {
    struct conn_request request; /* first: the answer finds the piece by it */
    struct piece *next;
    struct job *job;
    enum sql_id sql;
    uint32_t low; /* job->items[low … high) */
    uint32_t high;
    unsigned tries;
    uint64_t due_ms; /* of a repetition, by the loop's clock */
};

/* All jobs of one connection. */
struct job_queue {
    struct conn *conn;
    struct piece *ready;
    struct piece *ready_tail;
    struct piece *later; /* repetitions, until due */
    uv_timer_t timer;
    struct params params;
    struct params follow_params;
    struct buf scratch;
    uint8_t worker[16]; /* whose spending it is: drawn at random */
    bool due_lost; /* the answer of the last due_take, which had this token */
    struct claim_token due_lost_token;
    size_t jobs;
    uint64_t retries;
    uint64_t bisections;
    uint64_t successes;                          /* statements answered well */
    void (*completed)(void *ctx);                /* after each job */
    void (*trouble)(void *ctx, const char *why); /* a statement failed for a reason that is the server's */
    void *ctx;
};

void job_queue_init(struct job_queue *queue, struct conn *conn, void (*completed)(void *ctx),
                    void (*trouble)(void *ctx, const char *why), void *ctx);
/* All jobs are completed; closes the timer (closed callback: none needed, `queue` outlives it by being freed
 * after the connection). */
void job_queue_fini(struct job_queue *queue);

/* A job with its items 0 … count-1 in that order. NULL: out of memory. */
struct job *job_new(struct job_queue *queue, const struct job_methods *methods, void *op, size_t count);
/* Adds a statement over items [low, high) to the end of the queue. */
void job_add_piece(struct job *job, enum sql_id sql, uint32_t low, uint32_t high, unsigned tries);
/* Sends what there is room for. After all first pieces of a job are added. Completes nothing. */
void job_pump(struct job_queue *queue);
/* The connection is gone: what waits to be sent fails, too. What is under way fails by its requests. */
void job_fail_waiting(struct job_queue *queue);

/* Empties the op, before its first pieces. */
void job_counts_begin(struct ledger_counts_op *op);

/* The statement of a claim: one that looks at what is known of phones costs more. */
enum sql_id job_claim_statement(const struct claim_op *op);

/* The statement that a due_take begins with: after a lost answer its rows may be ours already. */
enum sql_id job_due_statement(const struct job_queue *queue, const struct due_take_op *op);

#define JOB_NOT_FOUND UINT32_MAX
/* The place (low … high-1) of the item with that id in a piece, or JOB_NOT_FOUND. `cursor` starts at
 * piece->low and makes answers in the order of the items cheap. */
uint32_t job_find(const struct piece *piece, uint32_t *cursor, struct slice event_id);

/* True when one more repetition is allowed; counts it. Otherwise the job fails. */
bool job_may_repeat(struct piece *piece);

#endif
