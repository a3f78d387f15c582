/* A thread beside the loop that runs librdkafka's waiting calls one after the other, and that can be left
 * behind. */
#include "aide.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

struct queue {
    struct aide_job *first;
    struct aide_job *last;
};

/* What the thread shares with the loop. An abandoned one is freed by its thread, if that ever comes back. */
struct shared {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct queue todo;
    struct queue finished;
    bool ending;
    bool abandoned;
    uv_async_t *news; /* not touched any more once `abandoned` */
};

struct aide {
    struct shared *shared;
    uv_async_t news; /* data: the aide */
    pthread_t thread;
    size_t pending; /* submitted, not yet reported; the loop's alone */
    void (*closed)(void *owner);
    void *owner;
};

static void queue_push(struct queue *queue, struct aide_job *job)
{
    job->next = NULL;
    if (queue->last)
        queue->last->next = job;
    else
        queue->first = job;
    queue->last = job;
}

static struct aide_job *queue_take(struct queue *queue)
{
    struct aide_job *job = queue->first;
    if (job && !(queue->first = job->next))
        queue->last = NULL;
    return job;
}

static void shared_free(struct shared *shared)
{
    struct aide_job *job;
    while ((job = queue_take(&shared->todo)) || (job = queue_take(&shared->finished)))
        job->drop(job);
    pthread_mutex_destroy(&shared->lock);
    pthread_cond_destroy(&shared->wake);
    free(shared);
}

static void *thread_main(void *arg)
{
    struct shared *shared = arg;
    pthread_mutex_lock(&shared->lock);
    for (;;) {
        while (!shared->todo.first && !shared->ending && !shared->abandoned)
            pthread_cond_wait(&shared->wake, &shared->lock);
        if (shared->ending || shared->abandoned)
            break;
        struct aide_job *job = queue_take(&shared->todo);
        pthread_mutex_unlock(&shared->lock);
        job->run(job);
        pthread_mutex_lock(&shared->lock);
        queue_push(&shared->finished, job);
        if (!shared->abandoned)
            uv_async_send(shared->news); /* under the lock: the handle cannot be closed meanwhile */
    }
    bool mine = shared->abandoned;
    pthread_mutex_unlock(&shared->lock);
    if (mine)
        shared_free(shared);
    return NULL;
}

static void report(uv_async_t *handle)
{
    struct aide *aide = handle->data;
    pthread_mutex_lock(&aide->shared->lock);
    struct queue finished = aide->shared->finished;
    aide->shared->finished = (struct queue){0};
    pthread_mutex_unlock(&aide->shared->lock);
    struct aide_job *job;
    while ((job = queue_take(&finished))) {
        aide->pending--;
        job->done(job);
    }
}

/* Signals belong to the loop's thread. */
static int thread_start(struct aide *aide)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&aide->thread, NULL, thread_main, aide->shared);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

static void forget(uv_handle_t *handle)
{
    struct aide *aide = handle->data;
    if (aide->closed)
        aide->closed(aide->owner);
    free(aide);
}

struct aide *aide_create(struct uv_loop_s *loop)
{
    struct aide *aide = calloc(1, sizeof *aide);
    struct shared *shared = calloc(1, sizeof *shared);
    if (!aide || !shared || uv_async_init(loop, &aide->news, report)) {
        free(aide);
        free(shared);
        return NULL;
    }
    pthread_mutex_init(&shared->lock, NULL);
    pthread_cond_init(&shared->wake, NULL);
    shared->news = &aide->news;
    aide->shared = shared;
    aide->news.data = aide;
    if (thread_start(aide)) {
        shared_free(shared);
        uv_close((uv_handle_t *)&aide->news, forget);
        return NULL;
    }
    return aide;
}

void aide_submit(struct aide *aide, struct aide_job *job)
{
    aide->pending++;
    pthread_mutex_lock(&aide->shared->lock);
    queue_push(&aide->shared->todo, job);
    pthread_cond_signal(&aide->shared->wake);
    pthread_mutex_unlock(&aide->shared->lock);
}

bool aide_idle(const struct aide *aide)
{
    return aide->pending == 0;
}

static void close_news(struct aide *aide, void (*closed)(void *owner), void *owner)
{
    aide->closed = closed;
    aide->owner = owner;
    uv_close((uv_handle_t *)&aide->news, forget);
}

void aide_close(struct aide *aide, void (*closed)(void *owner), void *owner)
{
    assert(aide_idle(aide));
    pthread_mutex_lock(&aide->shared->lock);
    aide->shared->ending = true;
    pthread_cond_signal(&aide->shared->wake);
    pthread_mutex_unlock(&aide->shared->lock);
    pthread_join(aide->thread, NULL); /* it has nothing to do: it returns at once */
    shared_free(aide->shared);
    close_news(aide, closed, owner);
}

void aide_abandon(struct aide *aide, void (*closed)(void *owner), void *owner)
{
    pthread_detach(aide->thread);
    pthread_mutex_lock(&aide->shared->lock);
    aide->shared->abandoned = true;
    pthread_cond_signal(&aide->shared->wake);
    pthread_mutex_unlock(&aide->shared->lock);
    close_news(aide, closed, owner);
}
