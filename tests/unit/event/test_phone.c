/* phone.cc: spellings, impossible numbers, the exact shapes and the countries against the library's own answers. What is cleaned off
 * is in table_phones.h. */
#include "reading.h"

#include "phone_library.h"
#include "phone_text.h"
#include "signup/event/phone.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

struct row {
    const char *text;
    const char *country;
    const char *e164; /* NULL: not possible */
};

static const struct row rows[] = {
    {"4155551234", "US", "+14155551234"},
    {"14155551234", "US", "+14155551234"},
    {"+14155551234", "US", "+14155551234"},
    {"+1 415 555 1234", "US", "+14155551234"},
    {"+1 (415) 555-1234", "US", "+14155551234"},
    {"+1-415-555-1234", "US", "+14155551234"},
    {"(415) 555-1234", "US", "+14155551234"},
    {"(415)555-1234", "US", "+14155551234"},
    {"415-555-1234", "US", "+14155551234"},
    {"415.555.1234", "US", "+14155551234"},
    {"415 555 1234", "US", "+14155551234"},
    {"1-415-555-1234", "US", "+14155551234"},
    {"1 (415) 555 1234", "US", "+14155551234"},
    {"001 415 555 1234", "GB", "+14155551234"},
    {"tel:+1-415-555-1234", "US", "+14155551234"},
    {"415-555-1234 ext. 9", "US", "+14155551234"},
    {"+14155551234x77", "US", "+14155551234"},
    {"  4155551234  ", "US", "+14155551234"},
    {"４１５５５５１２３４", "US", "+14155551234"},
    {"\xC2\xA0+1\xC2\xA0" "415\xC2\xA0" "555\xC2\xA0" "1234", "US", "+14155551234"},
    {"+44 20 7946 0958", "US", "+442079460958"},
    {"011 44 20 7946 0958", "US", "+442079460958"},
    {"020 7946 0958", "GB", "+442079460958"},
    {"+49 30 901820", "US", "+4930901820"},
    {"030 901820", "DE", "+4930901820"},
    {"+39 06 698 1234", "US", "+39066981234"},
    {"4165551234", "CA", "+14165551234"},
    /* possible is the gate, not valid: an area code that no plan knows yet */
    {"+12005551234", "US", "+12005551234"},
    {"9995551234", "US", "+19995551234"},
    {"+12221112222", "US", "+12221112222"},
    /* too short, too long, no number */
    {"5551234", "US", NULL},
    {"555-1234", "US", NULL},
    {"+15551234", "US", NULL},
    {"415555123", "US", NULL},
    {"41555512345", "US", NULL},
    {"+141555512345", "US", NULL},
    {"+1415555123", "US", NULL},
    {"1415555123", "US", "+11415555123"}, /* ten digits: possible by length, and the API is the judge */
    {"", "US", NULL},
    {"   ", "US", NULL},
    {"+", "US", NULL},
    {"+1", "US", NULL},
    {"0", "US", NULL},
    {"911", "US", NULL},
    {"12", "US", NULL},
    {"nobody", "US", NULL},
    {"n/a", "US", NULL},
    {"ada@example.com", "US", NULL},
    {"+999 123 456 789", "US", NULL},
    {"+0 415 555 1234", "US", NULL},
    {"020 7946 0958", "XX", NULL},
    {"00000000000000000000000000000000", "US", NULL},
    {"111111111111111111111111111111111111111111111111111111111111", "US", NULL},
};

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char out[PHONE_E164_BYTES];
        size_t len = phone_to_e164(slice_from_str(rows[i].text), rows[i].country, out);
        if (!rows[i].e164) {
            ROW_CHECK(len == 0, rows[i].text);
            continue;
        }
        ROW_CHECK(strcmp(out, rows[i].e164) == 0 && len == strlen(out), rows[i].text);
        /* Once normalized, a number stays what it is, also as one of another country. */
        ROW_CHECK(phone_to_e164(slice_from_str(rows[i].e164), "DE", out) && strcmp(out, rows[i].e164) == 0,
                  rows[i].text);
    }
}

static void test_odd_arguments(void **state)
{
    (void)state;
    char out[PHONE_E164_BYTES];
    char longest[400];
    assert_int_equal(phone_to_e164(SLICE_ABSENT, "US", out), 0);
    memset(longest, '1', sizeof longest);
    assert_int_equal(phone_to_e164((struct slice){longest, sizeof longest}, "US", out), 0);
    assert_int_equal(phone_to_e164(SLICE_LITERAL("\xff\xfe+14155551234"), "", out), 0);
}

static void test_countries(void **state)
{
    (void)state;
    assert_true(phone_country_known("US"));
    assert_true(phone_country_known("GB"));
    assert_false(phone_country_known("us"));
    assert_false(phone_country_known("XX"));
    assert_false(phone_country_known(""));
    assert_false(phone_country_known("001"));
    assert_false(phone_country_known(NULL));
}

static uint64_t seed = UINT64_C(0x9E3779B97F4A7C15);

/* xorshift64*: the same strings in every run. */
static unsigned pick(unsigned below)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (unsigned)((seed * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % below;
}

static void fill(char *text, const char *pattern)
{
    size_t i = 0;
    for (; pattern[i]; i++) {
        text[i] = pattern[i];
        if (pattern[i] == 'X')
            text[i] = "0123456789"[pick(10)];
    }
    text[i] = '\0';
}

/* Now and then a character is changed, doubled or lost: near misses are where a fast path goes wrong. */
static void damage(char *text)
{
    static const char alphabet[] = "0123456789+-() .x#/;,A\t";
    size_t len = strlen(text);
    size_t at = pick((unsigned)len);
    switch (pick(6)) {
    case 0:
        text[at] = alphabet[pick(sizeof alphabet - 1)];
        break;
    case 1:
        memmove(text + at + 1, text + at, len - at + 1);
        break;
    case 2:
        memmove(text + at, text + at + 1, len - at);
        break;
    default:
        break;
    }
}

#if defined(__SANITIZE_ADDRESS__)
#define SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLOW 1
#endif
#endif
#ifdef SLOW
#define COMPARED 25000 /* the library takes five times as long there, and the plain build compares them all */
#define AREA_NUMBERS 1
#else
#define COMPARED 100000
#define AREA_NUMBERS 5
#endif

/* The exact shapes against the library, and the whole against the library's answer to the cleaned text, where nothing else is asked of
 * it: no letters, no prefix of another country. */
static void test_shapes_agree_with_the_library(void **state)
{
    (void)state;
    static const char *const patterns[] = {
        "+1XXXXXXXXXX",     "XXXXXXXXXX",       "1XXXXXXXXXX",      "(XXX) XXX-XXXX",    "XXX-XXX-XXXX",
        "XXX.XXX.XXXX",
        "XXX XXX XXXX",     "+1 XXX XXX XXXX",  "+1 XXX-XXX-XXXX",  "+1-XXX-XXX-XXXX",   "+1 (XXX) XXX-XXXX",
        "+XXXXXXXXXXXX",    "XXXXXXXXXXX",      "(XXX)XXX-XXXX",
    };
    static const char *const countries[] = {"US", "US", "US", "CA", "GB", "AG", "MX", "XX"};
    size_t possible = 0;
    size_t shaped = 0;
    for (unsigned i = 0; i < COMPARED; i++) {
        char text[32];
        char ours[PHONE_E164_BYTES];
        char library[PHONE_E164_BYTES];
        struct phone_text cleaned;
        fill(text, patterns[pick(COUNT_OF(patterns))]);
        damage(text);
        const char *country = countries[pick(COUNT_OF(countries))];
        size_t len = phone_by_shape(slice_from_str(text), country, ours);
        if (len) {
            shaped++;
            ROW_CHECK(phone_to_e164_by_library(slice_from_str(text), country, library) == len, text);
            ROW_CHECK(strcmp(ours, library) == 0, text);
        }
        bool number = phone_text_clean(slice_from_str(text), &cleaned);
        struct phone_text abroad;
        if (number && (cleaned.letters || phone_text_from_abroad(&cleaned, &abroad)))
            continue;
        len = phone_to_e164(slice_from_str(text), country, ours);
        size_t wanted = number ? phone_to_e164_by_library(slice_from_str(cleaned.text), country, library) : 0;
        ROW_CHECK(len == wanted && (!len || strcmp(ours, library) == 0), text);
        possible += len > 0;
    }
    /* A comparison of refusals alone would prove nothing. */
    assert_true(possible > COMPARED / 4 && possible < COMPARED && shaped > COMPARED / 8);
}

/* Every area code and exchange, in the two shapes that matter most. */
static void test_every_prefix_agrees(void **state)
{
    (void)state;
    for (unsigned prefix = 0; prefix < 1000; prefix++) {
        for (unsigned shape = 0; shape < 2; shape++) {
            char text[32];
            char fast[PHONE_E164_BYTES];
            char slow[PHONE_E164_BYTES];
            snprintf(text, sizeof text, "%s%03u%03u%04u", shape ? "+1" : "", prefix, pick(1000), pick(10000));
            size_t len = phone_to_e164(slice_from_str(text), "US", fast);
            ROW_CHECK(len == phone_to_e164_by_library(slice_from_str(text), "US", slow), text);
            ROW_CHECK(!len || strcmp(fast, slow) == 0, text);
        }
    }
}

static void check_country(const char *e164, const char *country)
{
    char out[3];
    bool known = phone_country(slice_from_str(e164), out);
    ROW_CHECK(known == (country != NULL), e164);
    ROW_CHECK(strcmp(out, country ? country : "") == 0, e164);
}

static void test_country_of_a_number(void **state)
{
    (void)state;
    static const char *const numbers[][2] = {
        {"+14155551234", "US"},  {"+14165550123", "CA"},  {"+18762101234", "JM"}, {"+17872345678", "PR"},
        {"+18092345678", "DO"},  {"+18003569377", "US"},  {"+12005551234", "US"}, /* no plan knows it yet */
        {"+442079460958", "GB"}, {"+447400123456", "GB"}, {"+441481960194", "GG"}, {"+441534456789", "JE"},
        {"+4930901820", "DE"},   {"+390669812345", "VA"}, {"+390212345678", "IT"}, {"+79123456789", "RU"},
        {"+77710009998", "KZ"},  {"+4740612345", "NO"},   {"+4779123456", "SJ"},  {"+61412345678", "AU"},
        {"+358412345678", "FI"}, {"+35818123456", "AX"},  {"+212650123456", "MA"}, {"+59995181234", "CW"},
        {"+819012345678", "JP"}, {"+85251234567", "HK"},  {"+448888888888", "GB"}, /* nobody's: the first of its code */
    };
    static const char *const nowhere[] = {"", "+", "+1", "4155551234", "+0123456789", "+99912345678", "+80012345678",
                                          "+881612345678", "+1415555123", "+141555512345", "+1x155551234", "+44x",
                                          "+4420794609581234567"};
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        check_country(numbers[i][0], numbers[i][1]);
    for (size_t i = 0; i < COUNT_OF(nowhere); i++)
        check_country(nowhere[i], NULL);
    char out[3];
    assert_false(phone_country(SLICE_ABSENT, out));
}

/* What phone_country() remembers by area code and one digit more is what the library says of each of their numbers: all 8,000, several
 * numbers each; and of every calling code. */
static void test_countries_agree_with_the_library(void **state)
{
    (void)state;
    char e164[PHONE_E164_BYTES];
    char ours[3];
    char library[3];
    size_t countries = 0;
    for (unsigned area = 2000; area < 10000; area++) {
        for (unsigned i = 0; i < AREA_NUMBERS; i++) {
            snprintf(e164, sizeof e164, "+1%04u%06u", area, pick(1000000));
            ROW_CHECK(phone_country(slice_from_str(e164), ours), e164);
            ROW_CHECK(phone_country_by_library(slice_from_str(e164), library), e164);
            ROW_CHECK(strcmp(ours, library) == 0, e164);
        }
    }
    for (unsigned code = 2; code < 1000; code++) {
        for (unsigned i = 0; i < 60; i++) {
            char text[PHONE_E164_BYTES];
            snprintf(text, sizeof text, "+%u%04u%0*u", code, pick(10000), 3 + (int)i % 5, pick(1000));
            if (text[1] == '1' || !phone_to_e164(slice_from_str(text), "US", e164))
                continue;
            bool known = phone_country(slice_from_str(e164), ours);
            ROW_CHECK(known == phone_country_by_library(slice_from_str(e164), library), e164);
            ROW_CHECK(!known || strcmp(ours, library) == 0, e164);
            countries += known;
        }
    }
    assert_true(countries > 5000);
}

/* Standard output belongs to the program: the library must not write there. */
static void test_library_is_silent(void **state)
{
    (void)state;
    char out[PHONE_E164_BYTES];
    FILE *caught = tmpfile();
    assert_non_null(caught);
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    assert_true(kept >= 0 && dup2(fileno(caught), STDOUT_FILENO) >= 0);
    phone_to_e164(SLICE_LITERAL("\xff\xfe not a number"), "XX", out);
    phone_to_e164(SLICE_LITERAL("+999999"), "", out);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    assert_int_equal(lseek(fileno(caught), 0, SEEK_END), 0);
    fclose(caught);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_odd_arguments),
        cmocka_unit_test(test_countries),
        cmocka_unit_test(test_country_of_a_number),
        cmocka_unit_test(test_countries_agree_with_the_library),
        cmocka_unit_test(test_library_is_silent),
        cmocka_unit_test(test_every_prefix_agrees),
        cmocka_unit_test(test_shapes_agree_with_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
