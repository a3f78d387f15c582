/* The line that a gate writes when it closes, and the one when it opens: who, why, since when, and what the worker does meanwhile. And what is
 * counted and said by sending list. */
#include "observer.h"

#include "signup/base/clock.h"
#include "signup/base/log.h"
#include "signup/core/delivery.h"
#include "signup/ops/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A delivery as an observer sees it. */
struct delivery {
    struct signup signup;
    struct outcome outcome;
};

const struct signup *delivery_signup(const struct delivery *dl)
{
    return &dl->signup;
}

const struct outcome *delivery_outcome(const struct delivery *dl)
{
    return &dl->outcome;
}

int delivery_attempts(const struct delivery *dl)
{
    (void)dl;
    return 1;
}

static char said[4096];

/* What one observation writes to standard error. */
static const char *observe_seen(const struct observation *seen)
{
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);
    assert_non_null(file);
    assert_true(kept >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    observer_port()->observe(NULL, seen);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    assert_int_equal(close(kept), 0);
    rewind(file);
    size_t len = fread(said, 1, sizeof said - 1, file);
    said[len] = '\0';
    assert_int_equal(fclose(file), 0);
    return said;
}

static const char *observe(enum observed what, const char *route, const char *detail, int64_t number)
{
    const struct observation seen = {
        .what = what, .from = "", .to = "", .text = route, .detail = detail, .number = number};
    return observe_seen(&seen);
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
    {"outcomes", "the outcomes topic takes no records", "warn", "kafka", {"outcomes wait in the ledger", "signups go on"}},
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
    observer_configure(ON_BILLING_PARK, ON_BUDGET_PARK_UNTIL_TOMORROW);
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
    observer_configure(ON_BILLING_WITHOUT_VALIDATION, ON_BUDGET_PARK_UNTIL_TOMORROW);
    observe(OBSERVED_WAIT, "validate", "billing: payment_failed", 0);
    assert_says("validate", "billing", "signups go without it meanwhile");
    assert_null(strstr(said, "validating events wait"));
    observe(OBSERVED_WAIT, "validate", "provider: provider_error", 0);
    assert_says("validate", "provider", "validating events wait");
    observe(OBSERVED_WAIT, "upsert", "billing: suspended", 0);
    assert_says("upsert", "billing", "billing is blocked");
    observer_configure(ON_BILLING_PARK, ON_BUDGET_PARK_UNTIL_TOMORROW);
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
                  {"outcomes", "the outcomes topic takes records again"},
                  {"budget", "there is budget for phone validation again"},
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

static void a_spent_budget_says_until_when_and_what_now(void **state)
{
    (void)state;
    char until[WALL_TEXT_BYTES];
    char later[WALL_TEXT_BYTES];
    char field[2][WALL_TEXT_BYTES + 8];
    for (int skipped = 0; skipped < 2; skipped++) {
        observer_configure(ON_BILLING_PARK, skipped ? ON_BUDGET_WITHOUT_VALIDATION : ON_BUDGET_PARK_UNTIL_TOMORROW);
        wall_format_utc((wall_us_t){clock_wall_now().us + 3600 * US_PER_S}, until);
        const char *line = observe(OBSERVED_WAIT, "budget", "the day's validation budget is spent", 3600 * US_PER_S);
        wall_format_utc((wall_us_t){clock_wall_now().us + 3600 * US_PER_S}, later);
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        assert_says("budget", "", " level=warn room=contacts ");
        assert_says("budget", "", "the day's budget for phone validation is spent");
        assert_says("budget", "", skipped ? "go without" : "wait in the ledger");
        assert_null(strstr(line, skipped ? "wait in the ledger" : "go without"));
        (void)snprintf(field[0], sizeof field[0], " until=%s", until);
        (void)snprintf(field[1], sizeof field[1], " until=%s", later);
        assert_true(strstr(line, field[0]) || strstr(line, field[1]));
    }
    observer_configure(ON_BILLING_PARK, ON_BUDGET_PARK_UNTIL_TOMORROW);
}

/* ---- by sending list */

/* One delivery to `list` is settled; `warning` NULL: without one. */
static const char *settle(const char *fate, const char *code, const char *list, const char *warning)
{
    struct warning note = {.source = WARNING_API, .code = slice_from_str(warning), .message = SLICE_LITERAL("x")};
    struct warning before = {.next = &note, .source = WARNING_WORKER, .code = SLICE_LITERAL("field_dropped"), .message = SLICE_LITERAL("y")};
    struct delivery dl = {.signup = {.event_id = SLICE_LITERAL("e-1"),
                                     .position = SLICE_LITERAL("signups:0:1"),
                                     .phone_number = SLICE_LITERAL("+14155550123"),
                                     .list_number = slice_from_str(list),
                                     .warnings = warning ? &before : NULL}};
    outcome_set(&dl.outcome, strcmp(fate, "accepted") == 0 ? OUTCOME_ACCEPTED : OUTCOME_REJECTED, 400, code, "no such list", false);
    const struct observation seen = {.what = OBSERVED_SETTLED, .delivery = &dl, .from = "", .to = "", .text = fate, .detail = code};
    return observe_seen(&seen);
}

static uint64_t count_of(const struct snapshot_lists *lists, const char *number)
{
    for (size_t i = 0; i < lists->count; i++)
        if (strcmp(lists->lists[i].number, number) == 0)
            return lists->lists[i].count;
    return 0;
}

static void missed_journeys_are_counted_by_list(void **state)
{
    (void)state;
    const struct snapshot_lists *missed = observer_journeys_missed();
    assert_string_equal(settle("accepted", "", "+18005550100", "journeys_not_used"), "");
    settle("accepted", "", "+18005550100", "journeys_not_used");
    settle("accepted", "", "+18005550101", "journeys_not_used");
    settle("accepted", "", "+18005550102", "api_warning");
    settle("accepted", "", "+18005550102", NULL);
    settle("dead", "not_sendable", "+18005550102", "journeys_not_used");
    settle("abandoned", "", "+18005550102", "journeys_not_used");
    assert_int_equal(missed->count, 2);
    assert_int_equal(count_of(missed, "+18005550100"), 2);
    assert_int_equal(count_of(missed, "+18005550101"), 1);
    assert_int_equal(missed->other, 0);
}

static void a_list_that_is_not_there_is_said_once(void **state)
{
    (void)state;
    const struct snapshot_lists *lists = observer_list_not_found();
    const char *line = settle("dead", "list_not_found", "+18005550199", NULL);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1); /* one line, and no second one about the event */
    assert_says("", "", " level=error room=contacts ");
    assert_says("", "", "the account has no sending list +18005550199: its signups die with list_not_found until");
    assert_says("", "", " list=+18005550199 event_id=e-1");
    assert_null(strstr(line, "4155550123"));
    assert_string_equal(settle("dead", "list_not_found", "+18005550199", NULL), "");
    assert_string_equal(settle("dead", "list_not_found", "+18005550199", NULL), "");
    assert_int_equal(count_of(lists, "+18005550199"), 3);
    settle("dead", "list_not_found", "+18005550198", NULL);
    assert_says("", "", "no sending list +18005550198");
    /* Other deaths are said one by one. */
    settle("dead", "not_sendable", "+18005550199", NULL);
    assert_says("", "", "an event is dead");
    /* It is there again, and gone again. */
    settle("accepted", "", "+18005550199", NULL);
    assert_says("", "", "the account has the sending list again");
    assert_string_equal(settle("accepted", "", "+18005550199", NULL), "");
    settle("dead", "list_not_found", "+18005550199", NULL);
    assert_says("", "", "no sending list +18005550199");
    assert_int_equal(count_of(lists, "+18005550199"), 4);
}

static void beyond_the_table_lists_are_counted_together(void **state)
{
    (void)state;
    const struct snapshot_lists *lists = observer_list_not_found();
    char number[16];
    size_t lines = 0;
    for (size_t i = lists->count; i < SNAPSHOT_LISTS_MAX; i++) {
        (void)snprintf(number, sizeof number, "+1900555%04zu", i);
        lines += strlen(settle("dead", "list_not_found", number, NULL)) > 0;
    }
    assert_int_equal(lists->count, SNAPSHOT_LISTS_MAX);
    assert_int_equal(lines, SNAPSHOT_LISTS_MAX - 2);
    settle("dead", "list_not_found", "+19005559998", NULL);
    assert_says("", "", "still more of the lists");
    assert_string_equal(settle("dead", "list_not_found", "+19005559999", NULL), "");
    assert_int_equal(lists->other, 2);
    assert_int_equal(lists->count, SNAPSHOT_LISTS_MAX);
    settle("dead", "list_not_found", "+19005550063", NULL);
    assert_int_equal(count_of(lists, "+19005550063"), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_closed_gate_says_who_why_and_what_now),
        cmocka_unit_test(an_unpaid_validation_says_what_the_configuration_does),
        cmocka_unit_test(an_open_gate_says_for_how_long_it_was_closed),
        cmocka_unit_test(a_spent_budget_says_until_when_and_what_now),
        cmocka_unit_test(missed_journeys_are_counted_by_list),
        cmocka_unit_test(a_list_that_is_not_there_is_said_once),
        cmocka_unit_test(beyond_the_table_lists_are_counted_together),
    };
    return cmocka_run_group_tests_name("cli: observer", tests, NULL, NULL);
}
