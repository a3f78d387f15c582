/* Scratch memory under jansson: bump allocation in one reserved region, so that parsing an event costs no
 * malloc per field and cannot take more than the region holds.
 *
 * json_set_alloc_funcs() is for the whole process, and other rooms parse JSON too: the region serves only
 * between scratch_begin() and scratch_end(), and a block is known by its address when it is freed,
 * whenever that is. */
#include "scratch.h"

#include "signup/base/log.h"

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Pages beyond this go back to the system after an event that needed them. */
#define KEEP_BYTES ((size_t)1 << 20)
#define ALIGNMENT alignof(max_align_t)

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SCRATCH_POISONS 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SCRATCH_POISONS 1
#endif
#ifdef SCRATCH_POISONS
#include <sanitizer/asan_interface.h>
#define GAP_BYTES ALIGNMENT
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define GAP_BYTES ((size_t)0)
#endif

static char *region;
static size_t used;
static bool prepared;
static _Thread_local bool reading;

void *scratch_alloc(size_t bytes)
{
    if (!reading)
        return malloc(bytes);
    if (bytes > SCRATCH_BYTES)
        return NULL;
    size_t padded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + GAP_BYTES;
    if (padded > SCRATCH_BYTES - used)
        return NULL;
    void *memory = region + used;
    used += padded;
    ASAN_UNPOISON_MEMORY_REGION(memory, bytes);
    return memory;
}

void scratch_free(void *memory)
{
    uintptr_t at = (uintptr_t)memory;
    uintptr_t start = (uintptr_t)region;
    if (region && at >= start && at - start < SCRATCH_BYTES)
        return;
    free(memory);
}

void scratch_prepare(void)
{
    if (prepared)
        return;
    prepared = true;
    void *mapped = mmap(NULL, SCRATCH_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) {
        LOG_AT(LOG_ERROR, "event", "no address space to read events in: the process ends; raise its limit",
               LOG_NUM("bytes", SCRATCH_BYTES));
        abort();
    }
    region = mapped;
    ASAN_POISON_MEMORY_REGION(region, SCRATCH_BYTES);
    json_set_alloc_funcs(scratch_alloc, scratch_free);
    /* Now, and not inside the first event: jansson seeds its hash tables from the system once. */
    json_object_seed(0);
}

void scratch_begin(void)
{
    assert(prepared && !reading && used == 0);
    reading = true;
}

void scratch_end(void)
{
    assert(reading);
    reading = false;
    ASAN_POISON_MEMORY_REGION(region, used);
    if (used > KEEP_BYTES)
        madvise(region + KEEP_BYTES, SCRATCH_BYTES - KEEP_BYTES, MADV_DONTNEED);
    used = 0;
}
