/* The line that a gate writes when it closes, and the one when it opens: who, why, since when, and what the worker does meanwhile. */
#include "observer.h"

#include "signup/base/clock.h"
#include "signup/base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char said[4096];

/* What one observation writes to standard error. */
static const char *observe(enum observed what, const char *route, const char *detail, int64_t number)
{
    const struct observation seen = {
        .what = what, .from = "", .to = "", .text = route, .detail = detail, .number = number};
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);
    assert_non_null(file);
    assert_true(kept >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    observer_port()->observe(NULL, &seen);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    assert_int_equal(close(kept), 0);
    rewind(file);
    size_t len = fread(said, 1, sizeof said - 1, file);
    said[len] = '\0';
    assert_int_equal(fclose(file), 0);
    return said;
}

static void assert_says(const char *route, const char *detail, const char *part)
{
    if (!strstr(said, part))
        fail_msg("of %s, \"%s\": no \"%s\" in %s", route, detail, part, said);
}

struct turn {
    const char *route;
    const char *detail;
    const char *level;
    const char *room;
    const char *parts[4]; /* of the line */
};

static const struct turn turns[] = {
    {"upsert", "transport: connect_failed", "warn", "contacts", {"the contacts API fails for everybody: it is away", "intake pauses"}},
    {"upsert", "server: internal_error", "warn", "contacts", {"it is away", "one probe at a time"}},
    {"upsert", "server", "warn", "contacts", {"it is away"}},
    {"upsert", "provider: provider_error", "warn", "contacts", {"it is away"}},
    {"upsert", "unauthorized: invalid_api_key", "error", "contacts", {"contacts_api.key_file", "the key file is read again, no restart needed"}},
    {"upsert", "unauthorized", "error", "contacts", {"refuses the key or the account"}},
    {"upsert", "misrouted: redirected", "error", "contacts", {"contacts_api.base_url is wrong", "intake pauses"}},
    {"upsert", "fuse: list_not_found", "error", "contacts", {"the fuse is blown", "contacts_api.base_url", "list_number"}},
    {"upsert", "fuse", "error", "contacts", {"the fuse is blown"}},
    {"upsert", "billing: suspended", "error", "contacts", {"billing is blocked"}},
    {"upsert", "throttled: rate_limited", "warn", "contacts", {"asks for fewer calls"}},
    {"upsert", "rejected: not_sendable", "error", "contacts", {"the section policy"}},
    {"upsert", "unauthorizedly", "warn", "contacts", {"it is away"}},
    {"validate", "billing: no_payment_method", "error", "contacts", {"validating events wait", "the others go on", "no restart needed"}},
    {"validate", "provider: provider_error", "warn", "contacts", {"provider is away", "validating events wait, the others go on"}},
    {"ledger", "PostgreSQL does not answer", "warn", "ledger", {"consuming nothing and calling nobody"}},
    {"dead_letter", "the dead-letter topic takes no letters", "warn", "kafka", {"dead letters wait in the ledger", "signups go on"}},
    {"another", "why", "warn", "pipeline", {"a route is closed"}},
};

static bool has_since(const char *line, wall_us_t from, wall_us_t to)
{
    char first[WALL_TEXT_BYTES + 8] = "since=";
    char last[WALL_TEXT_BYTES + 8] = "since=";
    wall_format_utc(from, first + 6);
    wall_format_utc(to, last + 6);
    return strstr(line, first) || strstr(line, last);
}

static void a_closed_gate_says_who_why_and_what_now(void **state)
{
    (void)state;
    observer_configure(ON_BILLING_PARK);
    for (size_t i = 0; i < sizeof turns / sizeof turns[0]; i++) {
        const struct turn *turn = &turns[i];
        char field[128];
        wall_us_t before = clock_wall_now();
        const char *line = observe(OBSERVED_WAIT, turn->route, turn->detail, 0);
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1); /* one line */
        (void)snprintf(field, sizeof field, " level=%s room=%s ", turn->level, turn->room);
        assert_says(turn->route, turn->detail, field);
        (void)snprintf(field, sizeof field, " gate=%s why=", turn->route);
        assert_says(turn->route, turn->detail, field);
        assert_says(turn->route, turn->detail, turn->detail);
        for (size_t part = 0; part < 4 && turn->parts[part]; part++)
            assert_says(turn->route, turn->detail, turn->parts[part]);
        assert_true(has_since(line, before, clock_wall_now()));
    }
}

static void an_unpaid_validation_says_what_the_configuration_does(void **state)
{
    (void)state;
    observer_configure(ON_BILLING_WITHOUT_VALIDATION);
    observe(OBSERVED_WAIT, "validate", "billing: payment_failed", 0);
    assert_says("validate", "billing", "signups go without it meanwhile");
    assert_null(strstr(said, "validating events wait"));
    observe(OBSERVED_WAIT, "validate", "provider: provider_error", 0);
    assert_says("validate", "provider", "validating events wait");
    observe(OBSERVED_WAIT, "upsert", "billing: suspended", 0);
    assert_says("upsert", "billing", "billing is blocked");
    observer_configure(ON_BILLING_PARK);
}

static void an_open_gate_says_for_how_long_it_was_closed(void **state)
{
    static const struct {
        const char *route;
        const char *message;
    } clears[] = {{"upsert", "the contacts API answers again"},
                  {"validate", "phone validation works again"},
                  {"ledger", "the ledger takes statements again"},
                  {"dead_letter", "the route of the dead letters is open again"},
                  {"another", "a route is open again"}};
    (void)state;
    for (size_t i = 0; i < sizeof clears / sizeof clears[0]; i++) {
        wall_us_t before = {clock_wall_now().us - 90500000};
        const char *line = observe(OBSERVED_RESUME, clears[i].route, "", 90500000);
        assert_says(clears[i].route, "", clears[i].message);
        assert_says(clears[i].route, "", " level=info ");
        assert_says(clears[i].route, "", " away_ms=90500");
        assert_true(has_since(line, before, (wall_us_t){clock_wall_now().us - 90500000}));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_gate_says_who_why_and_what_now),
        cmocka_unit_test(an_unpaid_validation_says_what_the_configuration_does),
        cmocka_unit_test(an_open_gate_says_for_how_long_it_was_closed),
    };
    return cmocka_run_group_tests_name("cli: observer", tests, NULL, NULL);
}
