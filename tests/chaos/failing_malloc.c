/* Preloaded into a worker: once SIGUSR2 has come, the FAIL_NTH-th allocation of the process, on whatever thread, finds no memory.
 *
 * ICU, which libphonenumber matches with, writes through one that it has not got (RegexMatcher::resetStack, ICU 72). That end is turned into an
 * abort, which is how other libraries end; everybody else's stays what it is. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

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

enum { FRAME_HANDLER, FRAME_TRAMPOLINE, FRAME_FAULT, FRAMES };

static void on_fault(int number)
{
    void *frames[FRAMES];
    Dl_info where;
    bool of_icu = backtrace(frames, FRAMES) == FRAMES && dladdr(frames[FRAME_FAULT], &where) && strstr(where.dli_fname, "/libicu");
    signal(number, SIG_DFL);
    raise(of_icu ? SIGABRT : number);
}

__attribute__((constructor)) static void start(void)
{
    void *none[1];
    backtrace(none, 1); /* loads what it needs while there is memory */
    signal(SIGSEGV, on_fault);
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
