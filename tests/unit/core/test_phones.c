/* Proves the table of phones alone: one lookup a phone, what its answer leaves behind, and that only so many answers are kept. */
#include "phones.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PHONE SLICE_LITERAL("+14155550100")
#define OTHER SLICE_LITERAL("+14155550101")
#define OK_TEXT SLICE_LITERAL("{\"disposition\":\"ok\",\"cost\":0.003}")
#define RISKY_TEXT SLICE_LITERAL("{\"disposition\":\"risky\",\"cost\":0}")

/* Askers are told apart by their address alone. */
static const struct delivery *asker(int n)
{
    static char deliveries[4];
    return (const struct delivery *)&deliveries[n];
}

static mono_us_t at(int64_t us)
{
    return (mono_us_t){us};
}

static void nothing_is_known_at_first(void **state)
{
    (void)state;
    struct phones phones = {0};
    assert_null(phones_find(&phones, PHONE));
    phones_answer(&phones, PHONE, asker(0), OK_TEXT, true, at(1)); /* nobody has asked */
    assert_null(phones_find(&phones, PHONE));
    assert_int_equal(phones.answer_count, 0);
    phones_fini(&phones);
}

static void one_asks_and_the_answer_stays(void **state)
{
    (void)state;
    struct phones phones = {0};
    struct phone *phone = phones_ask(&phones, PHONE, asker(0));
    assert_non_null(phone);
    assert_ptr_equal(phones_find(&phones, PHONE), phone);
    assert_ptr_equal(phone->asked_by, asker(0));
    assert_null(phone->validation);
    assert_null(phones_find(&phones, OTHER));
    phones_answer(&phones, PHONE, asker(0), OK_TEXT, true, at(77));
    assert_ptr_equal(phones_find(&phones, PHONE), phone);
    assert_null(phone->asked_by);
    assert_int_equal(phone->validation_len, OK_TEXT.len);
    assert_string_equal(phone->validation, OK_TEXT.ptr);
    assert_true(phone->fresh);
    assert_int_equal(phone->learnt_at.us, 77);
    assert_int_equal(phones.answer_count, 1);
    phones_fini(&phones);
    assert_null(phones.table);
}

static void the_number_is_a_copy(void **state)
{
    (void)state;
    struct phones phones = {0};
    char number[] = "+14155550100";
    char text[] = "{\"disposition\":\"ok\"}";
    assert_non_null(phones_ask(&phones, slice_from_str(number), asker(0)));
    phones_answer(&phones, slice_from_str(number), asker(0), slice_from_str(text), false, at(1));
    memset(number, 'x', sizeof number - 1);
    memset(text, 'x', sizeof text - 1);
    const struct phone *phone = phones_find(&phones, PHONE);
    assert_non_null(phone);
    assert_string_equal(phone->validation, "{\"disposition\":\"ok\"}");
    assert_false(phone->fresh);
    phones_fini(&phones);
}

static void a_failure_leaves_nothing(void **state)
{
    (void)state;
    struct phones phones = {0};
    assert_non_null(phones_ask(&phones, PHONE, asker(0)));
    phones_answer(&phones, PHONE, asker(0), SLICE_ABSENT, false, at(1));
    assert_null(phones_find(&phones, PHONE));
    assert_non_null(phones_ask(&phones, PHONE, asker(1))); /* the next one may ask */
    phones_fini(&phones);
}

/* A fresh lookup that fails does not take away what is known. */
static void a_failure_keeps_the_answer_before(void **state)
{
    (void)state;
    struct phones phones = {0};
    assert_non_null(phones_ask(&phones, PHONE, asker(0)));
    phones_answer(&phones, PHONE, asker(0), OK_TEXT, true, at(5));
    assert_non_null(phones_ask(&phones, PHONE, asker(1)));
    assert_int_equal(phones.answer_count, 0); /* it is in use: not to be dropped */
    phones_answer(&phones, PHONE, asker(1), SLICE_ABSENT, false, at(9));
    const struct phone *phone = phones_find(&phones, PHONE);
    assert_non_null(phone);
    assert_null(phone->asked_by);
    assert_string_equal(phone->validation, OK_TEXT.ptr);
    assert_int_equal(phone->learnt_at.us, 5);
    assert_int_equal(phones.answer_count, 1);
    phones_fini(&phones);
}

static void the_latest_answer_counts(void **state)
{
    (void)state;
    struct phones phones = {0};
    assert_non_null(phones_ask(&phones, PHONE, asker(0)));
    phones_answer(&phones, PHONE, asker(0), OK_TEXT, true, at(5));
    assert_non_null(phones_ask(&phones, PHONE, asker(1)));
    phones_answer(&phones, PHONE, asker(1), RISKY_TEXT, false, at(9));
    const struct phone *phone = phones_find(&phones, PHONE);
    assert_string_equal(phone->validation, RISKY_TEXT.ptr);
    assert_false(phone->fresh);
    assert_int_equal(phone->learnt_at.us, 9);
    phones_fini(&phones);
}

static void another_askers_answer_is_none(void **state)
{
    (void)state;
    struct phones phones = {0};
    struct phone *phone = phones_ask(&phones, PHONE, asker(0));
    phones_answer(&phones, PHONE, asker(1), OK_TEXT, true, at(1));
    assert_ptr_equal(phone->asked_by, asker(0));
    assert_null(phone->validation);
    phones_fini(&phones);
}

static struct slice numbered(char *text, size_t size, int n)
{
    snprintf(text, size, "+1415%07d", n);
    return slice_from_str(text);
}

static void learn(struct phones *phones, int n)
{
    char text[PHONE_E164_BYTES];
    struct slice number = numbered(text, sizeof text, n);
    assert_non_null(phones_ask(phones, number, asker(0)));
    phones_answer(phones, number, asker(0), OK_TEXT, true, at(n));
}

static bool knows(const struct phones *phones, int n)
{
    char text[PHONE_E164_BYTES];
    return phones_find(phones, numbered(text, sizeof text, n)) != NULL;
}

static void only_so_many_answers_are_kept(void **state)
{
    (void)state;
    struct phones phones = {0};
    for (int n = 0; n < PHONES_KEPT; n++)
        learn(&phones, n);
    assert_int_equal(phones.answer_count, PHONES_KEPT);
    assert_true(knows(&phones, 0));
    learn(&phones, 0); /* renewed: the newest now */
    learn(&phones, PHONES_KEPT);
    assert_int_equal(phones.answer_count, PHONES_KEPT);
    assert_int_equal(HASH_COUNT(phones.table), PHONES_KEPT);
    assert_true(knows(&phones, 0));
    assert_false(knows(&phones, 1));
    assert_true(knows(&phones, 2));
    phones_fini(&phones);
}

/* However many answers come: a phone that is being looked up stays. */
static void what_is_asked_is_not_dropped(void **state)
{
    (void)state;
    struct phones phones = {0};
    learn(&phones, 0);
    char text[PHONE_E164_BYTES];
    struct phone *phone = phones_ask(&phones, numbered(text, sizeof text, 0), asker(1));
    for (int n = 1; n <= PHONES_KEPT + 10; n++)
        learn(&phones, n);
    assert_true(knows(&phones, 0));
    assert_ptr_equal(phone->asked_by, asker(1));
    assert_false(knows(&phones, 1));
    phones_answer(&phones, numbered(text, sizeof text, 0), asker(1), RISKY_TEXT, true, at(9));
    assert_true(knows(&phones, 0));
    assert_int_equal(phones.answer_count, PHONES_KEPT);
    phones_fini(&phones);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(one_asks_and_the_answer_stays),
        cmocka_unit_test(the_number_is_a_copy),
        cmocka_unit_test(a_failure_leaves_nothing),
        cmocka_unit_test(a_failure_keeps_the_answer_before),
        cmocka_unit_test(the_latest_answer_counts),
        cmocka_unit_test(another_askers_answer_is_none),
        cmocka_unit_test(only_so_many_answers_are_kept),
        cmocka_unit_test(what_is_asked_is_not_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
