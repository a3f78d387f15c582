/* Proves the table of design section 5 row by row, and the order of the configuration's re-mappings. */
#include "signup/core/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct outcome answer(int status, const char *code, bool believed)
{
    struct outcome outcome;
    outcome_set(&outcome, outcome_class_of_status(status, believed), status, code, "", false);
    return outcome;
}

static void every_status_has_its_row(void **state)
{
    (void)state;
    static const struct {
        int status;
        bool believed;
        enum verdict verdict;
        bool counts;
        bool systemic;
    } rows[] = {
        {200, true, VERDICT_ACCEPTED, true, false}, {201, true, VERDICT_ACCEPTED, true, false},
        {200, false, VERDICT_RETRY, true, true},    {400, true, VERDICT_DEAD, true, false},
        {404, true, VERDICT_DEAD, true, false},     {405, true, VERDICT_DEAD, true, false},
        {409, true, VERDICT_DEAD, true, false},     {413, true, VERDICT_DEAD, true, false},
        {422, true, VERDICT_DEAD, true, false},     {451, true, VERDICT_DEAD, true, false},
        {301, true, VERDICT_HOLD, false, true},     {307, true, VERDICT_HOLD, false, true},
        {401, true, VERDICT_HOLD, false, true},     {403, true, VERDICT_HOLD, false, true},
        {402, true, VERDICT_RETRY, true, false},    {429, true, VERDICT_RETRY, false, false},
        {503, true, VERDICT_RETRY, true, true},     {408, true, VERDICT_RETRY, true, true},
        {425, true, VERDICT_RETRY, true, true},     {500, true, VERDICT_RETRY, true, true},
        {502, true, VERDICT_RETRY, true, true},     {504, true, VERDICT_RETRY, true, true},
        {599, true, VERDICT_RETRY, true, true},     {100, true, VERDICT_RETRY, true, true},
        {999, true, VERDICT_RETRY, true, true},     {99, true, VERDICT_RETRY, true, true},
    };
    const struct policy none = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct outcome outcome = answer(rows[i].status, "", rows[i].believed);
        struct ruling ruling = policy_rule_on(&none, &outcome);
        assert_int_equal(ruling.verdict, rows[i].verdict);
        assert_int_equal(ruling.counts, rows[i].counts);
        assert_int_equal(ruling.systemic, rows[i].systemic);
    }
}

static void what_never_left_spends_no_attempt(void **state)
{
    (void)state;
    const struct policy none = {0};
    struct outcome outcome;
    outcome_set(&outcome, OUTCOME_TRANSPORT, 0, "connect_failed", "", false);
    assert_false(policy_rule_on(&none, &outcome).counts);
    outcome.maybe_sent = true;
    assert_true(policy_rule_on(&none, &outcome).counts);
    assert_int_equal(policy_rule_on(&none, &outcome).verdict, VERDICT_RETRY);
}

static void a_code_beats_a_status_beats_the_table(void **state)
{
    (void)state;
    struct policy_rule rules[2] = {{.http_status = 400, .verdict = VERDICT_RETRY},
                                   {.http_status = 0, .verdict = VERDICT_ACCEPTED}};
    strcpy(rules[1].code, "not_sendable");
    const struct policy policy = {rules, 2};
    struct outcome plain = answer(400, "invalid_phone", true);
    struct outcome special = answer(400, "not_sendable", true);
    struct outcome other = answer(404, "", true);
    assert_int_equal(policy_rule_on(&policy, &plain).verdict, VERDICT_RETRY);
    assert_int_equal(policy_rule_on(&policy, &special).verdict, VERDICT_ACCEPTED);
    assert_int_equal(policy_rule_on(&policy, &other).verdict, VERDICT_DEAD);
}

static void a_remapped_hold_speaks_of_the_route(void **state)
{
    (void)state;
    const struct policy_rule rule = {.http_status = 402, .verdict = VERDICT_HOLD};
    const struct policy policy = {&rule, 1};
    struct outcome outcome = answer(402, "suspended", true);
    assert_int_equal(policy_rule_on(&policy, &outcome).verdict, VERDICT_HOLD);
    assert_true(policy_rule_on(&policy, &outcome).systemic);
}

static void the_fuse_counts_what_need_not_speak_of_the_event(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *code;
        bool vague;
    } rows[] = {
        {400, "invalid_phone", false},     {400, "missing_phone_number", false}, {400, "not_sendable", false},
        {400, "invalid_list_number", false}, {413, "payload_too_large", false},  {400, "list_not_found", true},
        {400, "", true},                   {400, "something_new", true},         {404, "not_found", true},
        {404, "", true},                   {405, "", true},                      {422, "", true},
        {413, "", true},                   {401, "unauthorized", false},         {503, "provider_error", false},
    };
    const struct policy none = {0};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct outcome outcome = answer(rows[i].status, rows[i].code, true);
        assert_int_equal(policy_rule_on(&none, &outcome).vague, rows[i].vague);
    }
    struct policy_rule rule = {.verdict = VERDICT_DEAD};
    strcpy(rule.code, "list_not_found");
    const struct policy decided = {&rule, 1};
    struct outcome outcome = answer(400, "list_not_found", true);
    assert_false(policy_rule_on(&decided, &outcome).vague); /* the operator has said what it means */
}

static void verdicts_read_back(void **state)
{
    (void)state;
    for (int v = VERDICT_ACCEPTED; v <= VERDICT_DEAD; v++) {
        enum verdict out;
        assert_true(verdict_parse(verdict_str((enum verdict)v), &out));
        assert_int_equal(out, v);
    }
    enum verdict out;
    assert_false(verdict_parse("maybe", &out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_row),
        cmocka_unit_test(what_never_left_spends_no_attempt),
        cmocka_unit_test(a_code_beats_a_status_beats_the_table),
        cmocka_unit_test(a_remapped_hold_speaks_of_the_route),
        cmocka_unit_test(the_fuse_counts_what_need_not_speak_of_the_event),
        cmocka_unit_test(verdicts_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
