/* Preloaded into a worker: once SIGUSR2 has come, the FAIL_NTH-th allocation of the process, on whatever thread, finds no memory. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static atomic_bool armed;
static atomic_long left;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&armed, 1);
}

__attribute__((constructor)) static void start(void)
{
    const char *text = getenv("FAIL_NTH");
    atomic_store(&left, text ? strtol(text, NULL, 10) : 0);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR2, &action, NULL);
}

static int refused(void)
{
    if (!atomic_load(&armed) || atomic_fetch_sub(&left, 1) != 1)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return refused() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return refused() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return refused() ? NULL : __libc_realloc(old, size);
}
