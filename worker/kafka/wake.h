/* librdkafka's queues woken on the loop: an eventfd that the library writes to and the loop watches. Private
 * to the room. */
#ifndef SIGNUP_KAFKA_WAKE_H
#define SIGNUP_KAFKA_WAKE_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <uv.h>

struct wake {
    int fd;
    uv_poll_t poll;
    void (*ready)(void *owner);
    void (*closed)(void *owner);
    void *owner;
};

/* `ready` is called on the loop after a watched queue went from empty to not empty: drain it then. False: no
 * descriptor to be had. */
bool wake_init(struct wake *wake, struct uv_loop_s *loop, void (*ready)(void *owner), void *owner)
    __attribute__((warn_unused_result));

void wake_watch(struct wake *wake, rd_kafka_queue_t *queue);

/* `closed` follows on the loop; the struct is borrowed until then. `keep_fd`: a library that was left behind
 * may still write to it, so its number must not be given to anybody else. */
void wake_close(struct wake *wake, bool keep_fd, void (*closed)(void *owner));

#endif
