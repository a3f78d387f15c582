/* Want of memory while an event is read: the n-th allocation of our own code fails, for every n. The signup is the one
 * that it would have been, or the process ends, and the record is read again by another; it never dies of what is the
 * machine's trouble. */
#include "reading.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static long fail_at; /* counts down; 0: never */
static bool fail_mmap;

static bool refused(void)
{
    return fail_at && --fail_at == 0;
}

/* The linker puts these between our rooms and the library (tests/CMakeLists.txt). */
void *__real_malloc(size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset);

void *__wrap_malloc(size_t size)
{
    return refused() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return refused() ? NULL : __real_realloc(old, size);
}

void *__wrap_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    return fail_mmap ? MAP_FAILED : __real_mmap(at, len, protection, flags, fd, offset);
}

/* Much of what an event may have: a click id, consent, custom fields to be dropped, kept and cut, a long text. */
static const char event[] =
    "{'phone_number':'(415) 555-1234','list_number':'8335550100','event_id':'e-1','email':'A@Example.com',"
    "'url':'https://example.com/?gclid=abc&utm_source=x','ip_address':'203.0.113.7','signup_date':'2026-05-01',"
    "'consent':{'text':'I agree, \\u00fc','version':3,'deep':{'a':[1,2,{'b':null}]}},"
    "'custom_fields':{'a':'1','b':2.5,'c':{'d':1},'e':null,'f':true,'g':'"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'}}";

static bool is_same(const struct signup *a, const struct signup *b)
{
    return a->death == DEATH_NONE && b->death == DEATH_NONE && slice_equal(a->body, b->body) &&
           slice_equal(a->event_id, b->event_id) && slice_equal(a->consent, b->consent) &&
           slice_equal(a->attribution, b->attribution) && warnings_count(a) == warnings_count(b) &&
           memcmp(a->digest, b->digest, SIGNUP_DIGEST_BYTES) == 0;
}

enum ending { SAME, ENDED, WRONG };

/* Reads the event once more, in a process of its own; `wanted` is what it should be. */
static enum ending read_failing_at(long nth, const struct signup *wanted)
{
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        struct reading r;
        signal(SIGABRT, SIG_DFL);
        if (null >= 0)
            dup2(null, STDERR_FILENO);
        reading_init_event(&r, event);
        fail_at = nth;
        reading_run(&r);
        fail_at = 0;
        _exit(is_same(&r.signup, wanted) ? SAME : WRONG);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFEXITED(status))
        return WEXITSTATUS(status) == SAME ? SAME : WRONG;
    return WTERMSIG(status) == SIGABRT ? ENDED : WRONG;
}

static void an_event_does_not_die_of_the_machines_want(void **state)
{
    (void)state;
    struct reading wanted;
    long ended = 0;
    reading_of(&wanted, event);
    for (long nth = 1, same = 0; same < 20; nth++) {
        enum ending ending = read_failing_at(nth, &wanted.signup);
        if (ending == WRONG)
            fail_msg("the signup is another when allocation %ld fails", nth);
        ended += ending == ENDED;
        same = ending == SAME ? same + 1 : 0; /* so many in a row: beyond the last one */
    }
    assert_in_range(ended, 3, 10000);
    reading_fini(&wanted);
}

static void without_address_space_it_does_not_begin(void **state)
{
    int status;
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        fail_mmap = true;
        event_prepare();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_address_space_it_does_not_begin), /* first: before the region is there */
        cmocka_unit_test(an_event_does_not_die_of_the_machines_want),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
