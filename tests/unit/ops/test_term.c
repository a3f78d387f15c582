/* What people see: widths, tables, figures, and a progress line that only a terminal gets. */
#include "support.h"

#include "signup/ops/term.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>

static void test_width(void **state)
{
    (void)state;
    assert_int_equal(term_width(""), 0);
    assert_int_equal(term_width("abc"), 3);
    assert_int_equal(term_width("caf\xc3\xa9"), 4);
    assert_int_equal(term_width("cafe\xcc\x81"), 4);             /* combining acute */
    assert_int_equal(term_width("\xe6\xbc\xa2\xe5\xad\x97"), 4); /* two Han characters */
    assert_int_equal(term_width("\xf0\x9f\x98\x80"), 2);         /* an emoji */
    assert_int_equal(term_width("a\xff"
                                "b\xc3"),
                     4);                             /* stray bytes */
    assert_int_equal(term_width("\xe2\x80\xa6"), 1); /* an ellipsis */
}

static void test_figures(void **state)
{
    (void)state;
    char count[TERM_COUNT_BYTES];
    char duration[TERM_DURATION_BYTES];
    static const struct {
        uint64_t value;
        const char *text;
    } counts[] = {{0, "0"},
                  {999, "999"},
                  {1000, "1,000"},
                  {1234567, "1,234,567"},
                  {UINT64_MAX, "18,446,744,073,709,551,615"}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        term_count_text(counts[i].value, count);
        assert_string_equal(count, counts[i].text);
    }
    static const struct {
        int64_t us;
        const char *text;
    } durations[] = {{-1, "0.0 s"},
                     {3240000, "3.2 s"},
                     {59990000, "59.9 s"},
                     {245 * US_PER_S, "4 min 05 s"},
                     {7800 * US_PER_S, "2 h 10 min"},
                     {INT64_MAX, "2562047788 h 00 min"}};
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        term_duration_text(durations[i].us, duration);
        assert_string_equal(duration, durations[i].text);
    }
}

static void test_table(void **state)
{
    (void)state;
    static const struct term_column columns[] = {{"code", false}, {"events", true}, {"meaning", false}};
    struct term_table table;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    term_table_init(&table, columns, 3);
    term_table_add(&table, TERM_GOOD, (const char *const[]){"accepted", "12,000", "the API took it"});
    term_table_add(&table, TERM_BAD, (const char *const[]){"\xe6\xbc\xa2", "7", NULL});
    term_table_add(&table, TERM_PLAIN, (const char *const[]){"x", "", "two\nlines\033[31m"});
    assert_true(term_table_write(&table, out));
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "code      events  meaning\n"
                              "accepted  12,000  the API took it\n"
                              "\xe6\xbc\xa2             7  \n"
                              "x                 two lines [31m\n");
    free(text);
    for (int i = 0; i < 100; i++)
        term_table_add(&table, TERM_PLAIN, (const char *const[]){"a", "b", "c"});
    assert_int_equal(table.row_count, 103);
    term_table_fini(&table);
}

/* ------------------------------------------------------------------ a terminal */

struct terminal {
    int master;
    FILE *slave;
};

static void terminal_open(struct terminal *terminal, unsigned short columns)
{
    struct termios raw;
    terminal->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(terminal->master >= 0);
    assert_int_equal(grantpt(terminal->master), 0);
    assert_int_equal(unlockpt(terminal->master), 0);
    int fd = open(ptsname(terminal->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(tcgetattr(fd, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(fd, TCSANOW, &raw), 0);
    const struct winsize size = {.ws_col = columns, .ws_row = 24};
    assert_int_equal(ioctl(fd, TIOCSWINSZ, &size), 0);
    terminal->slave = fdopen(fd, "w");
    assert_non_null(terminal->slave);
    assert_int_equal(fcntl(terminal->master, F_SETFL, O_NONBLOCK), 0);
}

/* What was written since the last time; a terminal without a process on it passes bytes at once. */
static const char *terminal_read(struct terminal *terminal)
{
    static char text[4096];
    (void)fflush(terminal->slave);
    (void)tcdrain(fileno(terminal->slave));
    ssize_t got = read(terminal->master, text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    return text;
}

static void terminal_close(struct terminal *terminal)
{
    (void)fclose(terminal->slave);
    (void)close(terminal->master);
}

static void test_colour(void **state)
{
    (void)state;
    struct terminal terminal;
    terminal_open(&terminal, 80);
    assert_int_equal(setenv("TERM", "xterm", 1), 0);
    assert_int_equal(unsetenv("NO_COLOR"), 0);
    assert_true(term_colour(terminal.slave));
    term_write(terminal.slave, TERM_BAD, "no");
    assert_string_equal(terminal_read(&terminal), "\033[31mno\033[0m");
    assert_int_equal(setenv("NO_COLOR", "1", 1), 0);
    assert_false(term_colour(terminal.slave));
    term_write(terminal.slave, TERM_BAD, "no");
    assert_string_equal(terminal_read(&terminal), "no");
    assert_int_equal(setenv("NO_COLOR", "", 1), 0);
    assert_true(term_colour(terminal.slave));
    assert_int_equal(setenv("TERM", "dumb", 1), 0);
    assert_false(term_colour(terminal.slave));
    terminal_close(&terminal);
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(setenv("TERM", "xterm", 1), 0);
    assert_false(term_colour(file));
    assert_int_equal(fclose(file), 0);
}

static mono_us_t at_ms(int64_t ms)
{
    return (mono_us_t){(1000000 + ms) * US_PER_MS};
}

static void test_progress(void **state)
{
    (void)state;
    struct terminal terminal;
    struct term_progress progress;
    terminal_open(&terminal, 80);
    term_progress_init(&progress, terminal.slave, "published", 1000, at_ms(0));
    term_progress_update(&progress, 0, at_ms(0));
    assert_string_equal(terminal_read(&terminal), "\r\033[Kpublished [------------------------]   0%  0  "
                                                  "0/s");
    term_progress_update(&progress, 100, at_ms(50)); /* too soon to draw */
    assert_string_equal(terminal_read(&terminal), "");
    term_progress_update(&progress, 500, at_ms(1000));
    assert_string_equal(terminal_read(&terminal), "\r\033[Kpublished [############------------]  50%  500  "
                                                  "500/s  1.0 s left");
    term_progress_update(&progress, 2000, at_ms(2000)); /* more than was foretold */
    assert_non_null(strstr(terminal_read(&terminal), "100%  2,000  "));
    term_progress_finish(&progress);
    assert_string_equal(terminal_read(&terminal), "\r\033[K");
    term_progress_update(&progress, 3000, at_ms(9000));
    assert_string_equal(terminal_read(&terminal), "");
    terminal_close(&terminal);
}

static void test_progress_narrow_and_without_total(void **state)
{
    (void)state;
    struct terminal terminal;
    struct term_progress progress;
    terminal_open(&terminal, 20);
    term_progress_init(&progress, terminal.slave, "published", 1000, at_ms(0));
    term_progress_update(&progress, 10, at_ms(10));
    assert_int_equal(strlen(terminal_read(&terminal)), 4 + 19);
    term_progress_init(&progress, terminal.slave, "read", 0, at_ms(0));
    term_progress_update(&progress, 10, at_ms(10));
    assert_string_equal(terminal_read(&terminal), "\r\033[Kread  10  1,000/s");
    terminal_close(&terminal);
}

static void test_progress_in_a_file(void **state)
{
    (void)state;
    struct term_progress progress;
    FILE *file = tmpfile();
    assert_non_null(file);
    term_progress_init(&progress, file, "published", 10, at_ms(0));
    term_progress_update(&progress, 5, at_ms(500));
    term_progress_finish(&progress);
    assert_int_equal(ftell(file), 0);
    assert_int_equal(fclose(file), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_colour),
        cmocka_unit_test(test_progress),
        cmocka_unit_test(test_progress_narrow_and_without_total),
        cmocka_unit_test(test_progress_in_a_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
