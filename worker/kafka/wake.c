/* The eventfd between librdkafka's threads and the loop. */
#include "wake.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void drain(uv_poll_t *poll, int status, int events)
{
    struct wake *wake = poll->data;
    uint64_t count;
    (void)status;
    (void)events;
    if (read(wake->fd, &count, sizeof count) < 0)
        return; /* EAGAIN: nothing was written after all */
    wake->ready(wake->owner);
}

bool wake_init(struct wake *wake, struct uv_loop_s *loop, void (*ready)(void *owner), void *owner)
{
    wake->ready = ready;
    wake->owner = owner;
    wake->poll.data = wake;
    wake->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (wake->fd < 0)
        return false;
    if (uv_poll_init(loop, &wake->poll, wake->fd)) {
        close(wake->fd);
        return false;
    }
    uv_poll_start(&wake->poll, UV_READABLE, drain);
    return true;
}

void wake_watch(struct wake *wake, rd_kafka_queue_t *queue)
{
    static const uint64_t ONE = 1; /* what an eventfd takes */
    rd_kafka_queue_io_event_enable(queue, wake->fd, &ONE, sizeof ONE);
}

static void poll_closed(uv_handle_t *handle)
{
    struct wake *wake = handle->data;
    wake->closed(wake->owner);
}

void wake_close(struct wake *wake, bool keep_fd, void (*closed)(void *owner))
{
    wake->closed = closed;
    uv_poll_stop(&wake->poll);
    uv_close((uv_handle_t *)&wake->poll, poll_closed);
    if (!keep_fd)
        close(wake->fd);
}
