/* A thread of our own for the calls of librdkafka that may wait: jobs in order, results on the loop. Private
 * to the room.
 *
 * uv_queue_work() would not do: libuv joins its pool at exit, and a job that librdkafka never returns from
 * would then hold up the end of the process. An aide can be left behind. */
#ifndef SIGNUP_KAFKA_AIDE_H
#define SIGNUP_KAFKA_AIDE_H

#include <stdbool.h>

struct uv_loop_s;
struct aide;

/* Embedded at the start of a job's own struct. `run` is called on the thread and touches nothing but the job;
 * then `done` is called on the loop. `drop` frees a job whose `done` will never be called because the aide
 * was abandoned; it may be called on either thread. */
struct aide_job {
    void (*run)(struct aide_job *job);
    void (*done)(struct aide_job *job);
    void (*drop)(struct aide_job *job);
    struct aide_job *next;
};

/* NULL: no memory or no thread to be had. */
struct aide *aide_create(struct uv_loop_s *loop);

/* Takes the job until `done` or `drop`. */
void aide_submit(struct aide *aide, struct aide_job *job);

/* No job is waiting, running or not yet reported. */
bool aide_idle(const struct aide *aide);

/* Ends the thread and frees the aide. The aide must be idle; `closed` is called on the loop, later. */
void aide_close(struct aide *aide, void (*closed)(void *owner), void *owner);

/* As aide_close() for one that is not idle: the thread is left to itself; no `done` follows. */
void aide_abandon(struct aide *aide, void (*closed)(void *owner), void *owner);

#endif
