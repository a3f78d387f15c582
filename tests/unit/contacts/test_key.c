/* The key: where it comes from, what is refused, when the file is read again, and that it stays out of core
 * dumps. */
#include "key.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY_A "trk_0123456789abcdefghijABCDEFGHIJ01"
#define KEY_B "trk_ZYXWVUTSRQzyxwvutsrq0123456789ab"

struct place {
    char dir[32];
    char path[64];
};

static void place_make(struct place *place)
{
    strcpy(place->dir, "/tmp/key-test-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    snprintf(place->path, sizeof place->path, "%s/key", place->dir);
}

static void place_write(const struct place *place, const void *bytes, size_t len)
{
    FILE *file = fopen(place->path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

static void place_remove(const struct place *place)
{
    unlink(place->path);
    assert_int_equal(rmdir(place->dir), 0);
}

static void assert_key(const struct key_store *store, const char *key)
{
    assert_non_null(store->secret);
    assert_memory_equal(store->secret->line, "X-Api-Key: ", 11);
    assert_string_equal(store->secret->line + 11, key);
}

static void a_value_is_trimmed_and_preferred(void **state)
{
    static const char *const spellings[] = {KEY_A, " " KEY_A, KEY_A "\n", "\t" KEY_A "\r\n\n ", KEY_A " "};
    struct key_store store;
    char error[KEY_ERROR_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof spellings / sizeof spellings[0]; i++) {
        assert_int_equal(key_init(&store, spellings[i], "/nowhere", error), KEY_OK);
        assert_key(&store, KEY_A);
        assert_true(key_has_usual_form(store.secret));
        assert_int_equal(key_refresh(&store, true, error), KEY_UNCHANGED);
        key_fini(&store);
    }
}

static void only_keys_are_taken(void **state)
{
    static char long_key[600];
    static const struct {
        const char *text;
        enum key_result result;
        bool usual;
    } rows[] = {
        {" \n", KEY_BAD, false},
        {"trk_two words", KEY_BAD, false},
        {"trk_line\r\nX-Evil: 1", KEY_BAD, false},
        {"trk_\xC3\xA9", KEY_BAD, false},
        {"trk_\x7F", KEY_BAD, false},
        {"trk_\x01", KEY_BAD, false},
        {long_key, KEY_BAD, false},
        {"anything-else", KEY_OK, false},
        {"trk_short", KEY_OK, false},
        {KEY_A "x", KEY_OK, false},
        {"trk_0123456789abcdefghijABCDEFGHIJ0-", KEY_OK, false},
        {"\"" KEY_A "\"", KEY_OK, false},
        {KEY_B, KEY_OK, true},
    };
    (void)state;
    memset(long_key, 'k', sizeof long_key - 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct key_store store;
        char error[KEY_ERROR_BYTES] = "";
        assert_int_equal(key_init(&store, rows[i].text, NULL, error), rows[i].result);
        if (rows[i].result == KEY_OK)
            assert_int_equal(key_has_usual_form(store.secret), rows[i].usual);
        else
            assert_true(*error && !strstr(error, "trk_"));
        key_fini(&store);
    }
}

static void a_file_is_read_again_when_it_changes(void **state)
{
    struct place place;
    struct key_store store;
    char error[KEY_ERROR_BYTES];
    char other[80];
    (void)state;
    place_make(&place);
    place_write(&place, " " KEY_A "\n", 38);
    assert_int_equal(key_init(&store, "", place.path, error), KEY_OK);
    assert_key(&store, KEY_A);
    assert_int_equal(key_refresh(&store, false, error), KEY_UNCHANGED);
    assert_int_equal(key_refresh(&store, true, error), KEY_UNCHANGED); /* read, and the same */

    struct key_secret *held = key_secret_hold(store.secret);
    place_write(&place, KEY_B, 36); /* another size */
    assert_int_equal(key_refresh(&store, false, error), KEY_OK);
    assert_key(&store, KEY_B);
    assert_string_equal(held->line + 11, KEY_A); /* of a request that is still on its way */
    key_secret_drop(held);

    snprintf(other, sizeof other, "%s/new",
             place.dir); /* same size, another inode: a secret that is swapped by rename */
    FILE *file = fopen(other, "w");
    assert_non_null(file);
    fputs(KEY_A, file);
    fclose(file);
    assert_int_equal(rename(other, place.path), 0);
    assert_int_equal(key_refresh(&store, false, error), KEY_OK);
    assert_key(&store, KEY_A);

    struct stat before; /* same size, inode and time: only a forced reading sees it */
    assert_int_equal(stat(place.path, &before), 0);
    place_write(&place, KEY_B, 36);
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    assert_int_equal(utimensat(AT_FDCWD, place.path, times, 0), 0);
    assert_int_equal(key_refresh(&store, false, error), KEY_UNCHANGED);
    assert_int_equal(key_refresh(&store, true, error), KEY_OK);
    assert_key(&store, KEY_B);
    key_fini(&store);
    place_remove(&place);
}

static void a_bad_file_keeps_the_old_key_and_is_told_once(void **state)
{
    static const char with_nul[] = "trk_0123\0004567";
    struct place place;
    struct key_store store;
    char error[KEY_ERROR_BYTES];
    (void)state;
    place_make(&place);
    place_write(&place, KEY_A, 36);
    assert_int_equal(key_init(&store, NULL, place.path, error), KEY_OK);
    place_write(&place, "", 0);
    assert_int_equal(key_refresh(&store, false, error), KEY_BAD);
    assert_non_null(strstr(error, "is empty"));
    assert_key(&store, KEY_A);
    assert_int_equal(key_refresh(&store, false, error), KEY_UNCHANGED);
    assert_int_equal(key_refresh(&store, true, error), KEY_UNCHANGED);
    place_write(&place, with_nul, sizeof with_nul - 1);
    assert_int_equal(key_refresh(&store, false, error), KEY_UNCHANGED);
    assert_key(&store, KEY_A);
    unlink(place.path);
    assert_int_equal(key_refresh(&store, false, error), KEY_UNCHANGED);
    place_write(&place, KEY_B "\n", 37);
    assert_int_equal(key_refresh(&store, false, error), KEY_OK);
    assert_key(&store, KEY_B);
    unlink(place.path);
    assert_int_equal(key_refresh(&store, false, error), KEY_NO_FILE);
    assert_non_null(strstr(error, place.path));
    assert_int_equal(key_refresh(&store, false, error), KEY_UNCHANGED);
    assert_key(&store, KEY_B);
    key_fini(&store);
    place_remove(&place);
}

static void what_is_no_file_is_refused(void **state)
{
    struct place place;
    struct key_store store;
    char error[KEY_ERROR_BYTES];
    (void)state;
    place_make(&place);
    assert_int_equal(key_init(&store, NULL, NULL, error), KEY_BAD);
    assert_int_equal(key_init(&store, NULL, place.path, error), KEY_NO_FILE);
    assert_int_equal(key_init(&store, NULL, place.dir, error), KEY_NO_FILE);
    assert_int_equal(mkfifo(place.path, 0600), 0); /* would block a careless reader for ever */
    assert_int_equal(key_init(&store, NULL, place.path, error), KEY_NO_FILE);
    place_remove(&place);
}

/* The page's own line of /proc/self/smaps carries the flag "dd": do not dump. */
static void the_key_is_left_out_of_core_dumps(void **state)
{
    struct key_store store;
    char error[KEY_ERROR_BYTES];
    char line[512];
    bool inside = false;
    bool flagged = false;
    (void)state;
    assert_int_equal(key_init(&store, KEY_A, NULL, error), KEY_OK);
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = (unsigned long)(uintptr_t)store.secret->line >= from &&
                     (unsigned long)(uintptr_t)store.secret->line < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            flagged = strstr(line, " dd") != NULL;
    }
    fclose(maps);
    assert_true(flagged);
    key_fini(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_trimmed_and_preferred),
        cmocka_unit_test(only_keys_are_taken),
        cmocka_unit_test(a_file_is_read_again_when_it_changes),
        cmocka_unit_test(a_bad_file_keeps_the_old_key_and_is_told_once),
        cmocka_unit_test(what_is_no_file_is_refused),
        cmocka_unit_test(the_key_is_left_out_of_core_dumps),
    };
    return cmocka_run_group_tests_name("contacts: key", tests, NULL, NULL);
}
