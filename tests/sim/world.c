/* Chance, virtual time, memory of a run, and how a run fails: with its trace. */
#include "parts.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)262144)
#define TRACE_TEXT_BYTES 200
#define TRACE_LINES_SHOWN 160

struct sim_block {
    struct sim_block *older;
    size_t used;
    size_t size;
    _Alignas(max_align_t) char data[];
};

struct sim_trace_line {
    int64_t at_us;
    struct sim_whom whom;
    char text[TRACE_TEXT_BYTES];
};

static const char *const fault_names[] = {
#define X(name, text) text,
    SIM_FAULTS(X)
#undef X
};

const char *sim_fault_str(enum sim_fault fault)
{
    return fault < SIM_FAULT_COUNT ? fault_names[fault] : "unknown";
}

bool sim_fault_parse(const char *text, enum sim_fault *out)
{
    for (size_t i = 0; i < SIM_FAULT_COUNT; i++) {
        if (strcmp(text, fault_names[i]) == 0) {
            *out = (enum sim_fault)i;
            return true;
        }
    }
    return false;
}

/* ---- chance: splitmix64, one stream for everything */

uint64_t sim_random(struct sim *sim)
{
    uint64_t z = (sim->random += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

int sim_below(struct sim *sim, int n)
{
    return n < 2 ? 0 : (int)(sim_random(sim) % (uint64_t)n);
}

int64_t sim_between(struct sim *sim, int64_t low, int64_t high)
{
    return high <= low ? low : low + (int64_t)(sim_random(sim) % (uint64_t)(high - low + 1));
}

bool sim_chance(struct sim *sim, int chance)
{
    return chance > 0 && sim_below(sim, 10000) < chance;
}

bool sim_strikes(const struct sim *sim, enum sim_fault fault)
{
    return !sim->healed && (sim->known >> fault & 1);
}

/* ---- time: a binary heap by (time, random tie, order) */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    if (a->at_us != b->at_us)
        return a->at_us < b->at_us;
    if (a->tie != b->tie)
        return a->tie < b->tie;
    return a->order < b->order;
}

void sim_at(struct sim *sim, int64_t at_us, sim_fn fn, void *arg, uint32_t stamp)
{
    if (sim->heap_count == sim->heap_size) {
        sim->heap_size = sim->heap_size ? sim->heap_size * 2 : 256;
        sim->heap = realloc(sim->heap, sim->heap_size * sizeof *sim->heap);
        if (!sim->heap)
            abort();
    }
    struct sim_event event = {.at_us = at_us < sim->now_us ? sim->now_us : at_us,
                              .tie = (uint32_t)sim_random(sim),
                              .stamp = stamp,
                              .order = sim->order++,
                              .fn = fn,
                              .arg = arg};
    size_t at = sim->heap_count++;
    while (at && before(&event, &sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = event;
}

bool sim_step_once(struct sim *sim)
{
    if (!sim->heap_count)
        return false;
    struct sim_event first = sim->heap[0];
    struct sim_event last = sim->heap[--sim->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= sim->heap_count)
            break;
        if (child + 1 < sim->heap_count && before(&sim->heap[child + 1], &sim->heap[child]))
            child++;
        if (before(&last, &sim->heap[child]))
            break;
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    if (sim->heap_count)
        sim->heap[at] = last;
    assert(first.at_us >= sim->now_us);
    sim->now_us = first.at_us;
    first.fn(sim, first.arg, first.stamp);
    return true;
}

/* ---- memory: thrown away whole */

void *sim_alloc(struct sim *sim, size_t bytes)
{
    size_t padded = (bytes + _Alignof(max_align_t) - 1) / _Alignof(max_align_t) * _Alignof(max_align_t);
    struct sim_block *block = sim->blocks;
    if (!block || block->size - block->used < padded) {
        size_t size = padded > BLOCK_BYTES ? padded : BLOCK_BYTES;
        block = malloc(sizeof *block + size);
        if (!block)
            abort();
        block->older = sim->blocks;
        block->used = 0;
        block->size = size;
        sim->blocks = block;
    }
    void *out = block->data + block->used;
    block->used += padded;
    memset(out, 0, padded);
    return out;
}

char *sim_copy(struct sim *sim, const void *bytes, size_t len)
{
    char *out = sim_alloc(sim, len + 1);
    if (len)
        memcpy(out, bytes, len);
    return out;
}

void sim_fini(struct sim *sim)
{
    while (sim->blocks) {
        struct sim_block *older = sim->blocks->older;
        free(sim->blocks);
        sim->blocks = older;
    }
    free(sim->heap);
    free(sim->trace);
}

/* ---- trace and failure */

struct sim_whom sim_whom_record(const struct sim_record *record, int worker)
{
    if (!record)
        return sim_whom_worker(worker);
    return (struct sim_whom){record, record->content->contact, record->part->index, worker};
}

struct sim_whom sim_whom_row(const struct sim_row *row, int worker)
{
    struct sim_whom whom = sim_whom_record(row->record, worker);
    if (!row->record)
        whom.contact = row->contact;
    return whom;
}

struct sim_whom sim_whom_part(const struct sim_partition *part, int worker)
{
    return (struct sim_whom){NULL, -1, part->index, worker};
}

struct sim_whom sim_whom_contact(int contact, int worker)
{
    return (struct sim_whom){NULL, contact < 0 ? -1 : contact, -1, worker};
}

struct sim_whom sim_whom_worker(int worker)
{
    return (struct sim_whom){NULL, -1, -1, worker};
}

void sim_trace_write(struct sim *sim, struct sim_whom whom, const char *format, ...)
{
    if (sim->trace_count == sim->trace_size) {
        sim->trace_size = sim->trace_size ? sim->trace_size * 2 : 1024;
        sim->trace = realloc(sim->trace, sim->trace_size * sizeof *sim->trace);
        if (!sim->trace)
            abort();
    }
    struct sim_trace_line *line = &sim->trace[sim->trace_count++];
    line->at_us = sim->now_us;
    line->whom = whom;
    va_list args;
    va_start(args, format);
    vsnprintf(line->text, sizeof line->text, format, args);
    va_end(args);
    if (sim->options->trace_all) {
        printf("%12.6f %s\n", (double)line->at_us / 1e6, line->text);
        fflush(stdout);
    }
}

/* A line explains the failure when it speaks of the same event, contact or partition, or of everybody. */
static bool line_explains(const struct sim_trace_line *line, struct sim_whom whom)
{
    const struct sim_whom *l = &line->whom;
    if (l->record) {
        if (whom.record && (l->record == whom.record || strcmp(l->record->id, whom.record->id) == 0))
            return true;
        if (whom.contact >= 0)
            return l->contact == whom.contact;
        return !whom.record && whom.part >= 0 ? l->part == whom.part : !whom.record && whom.worker < 0;
    }
    if (l->part >= 0)
        return whom.part < 0 || l->part == whom.part;
    if (l->contact >= 0)
        return whom.contact < 0 || l->contact == whom.contact;
    return true;
}

static void trace_print(const struct sim *sim, struct sim_whom whom)
{
    size_t shown = 0;
    size_t first = sim->trace_count;
    while (first && shown < TRACE_LINES_SHOWN)
        shown += line_explains(&sim->trace[--first], whom);
    for (size_t i = first; i < sim->trace_count; i++) {
        if (line_explains(&sim->trace[i], whom))
            printf("%12.6f %s\n", (double)sim->trace[i].at_us / 1e6, sim->trace[i].text);
    }
}

void sim_fail(struct sim *sim, const char *check, struct sim_whom whom, const char *format, ...)
{
    struct sim_result *result = sim->result;
    result->failed = true;
    result->at_us = sim->now_us;
    result->totals = sim->totals;
    snprintf(result->check, sizeof result->check, "%s", check);
    va_list args;
    va_start(args, format);
    vsnprintf(result->text, sizeof result->text, format, args);
    va_end(args);
    if (sim->options->trace) {
        if (!sim->options->trace_all)
            trace_print(sim, whom);
        printf("%12.6f FAILED %s: %s\n", (double)sim->now_us / 1e6, check, result->text);
        fflush(stdout);
    }
    _exit(SIM_EXIT_FAILED);
}
