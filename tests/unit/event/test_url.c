/* url.c: queries, decoding, and patterns, the latter also against a matcher that is too simple to be wrong.
 */
#include "reading.h"

#include "clean.h"
#include "url.h"

#include <stdio.h>

static void test_query(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"https://a.test/?b=c", "b=c"}, {"https://a.test?b=c#d?e=f", "b=c"},
        {"https://a.test/", NULL},      {"https://a.test/#?b=c", NULL},
        {"https://a.test/?", ""},       {"https://a.test/?a?b", "a?b"},
        {"https://a.test/?#", ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice query = url_query(slice_from_str(rows[i][0]));
        ROW_CHECK(rows[i][1] ? slice_is(query, rows[i][1]) : !slice_present(query), rows[i][0]);
    }
}

static void test_parameters(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"a=1&b=2", "a:1|b:2|"},
        {"a", "a:|"},
        {"a=", "a:|"},
        {"=1", ":1|"},
        {"&&a=1&&", "a:1|"},
        {"a=1=2", "a:1=2|"},
        {"", ""},
        {"&", ""},
        {"a=1&amp;b=2", "a:1|b:2|"},
        {"a=1&AMP;b=2", "a:1|b:2|"},
        {"amp;", ":|"},
        {"a=1;b=2", "a:1;b=2|"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char found[128] = "";
        size_t len = 0;
        struct slice rest = slice_from_str(rows[i][0]);
        struct slice name;
        struct slice value;
        while (url_next_parameter(&rest, &name, &value))
            len += (size_t)snprintf(found + len, sizeof found - len, "%.*s:%.*s|", (int)name.len, name.ptr,
                                    (int)value.len, value.ptr);
        ROW_CHECK(strcmp(found, rows[i][1]) == 0, rows[i][0]);
    }
}

static void test_decoding(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"abc", "abc"},         {"a+b", "a b"}, {"a%20b", "a b"}, {"%41%7a", "Az"},
        {"%c3%A9", "\xC3\xA9"}, {"%", "%"},     {"%4", "%4"},     {"%4g", "%4g"},
        {"%g4", "%g4"},         {"%%41", "%A"}, {"%2525", "%25"}, {"100%+1", "100% 1"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char out[64];
        struct slice text = slice_from_str(rows[i][0]);
        size_t len = url_decode(text, out);
        ROW_CHECK(len <= text.len && slice_is((struct slice){out, len}, rows[i][1]), rows[i][0]);
        ROW_CHECK(url_is_encoded(text) || slice_is(text, rows[i][1]), rows[i][0]);
    }
}

static void address_of(const char *url, char out[256])
{
    struct buf text;
    struct slice cleaned = clean_url(slice_from_str(url));
    buf_init(&text, 256);
    assert_true(slice_present(cleaned));
    url_append_address(&text, cleaned);
    buf_append_char(&text, '\0');
    assert_true(buf_ok(&text));
    memcpy(out, text.data, text.len);
    buf_fini(&text);
}

static void test_addresses(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"https://Example.COM", "example.com/"},
        {"http://example.com./A/b?c#d", "example.com/A/b"},
        {"https://example.com?x=/y", "example.com/"},
        {"https://example.com#/x", "example.com/"},
        {"https://u:p@ex.test:8443/", "ex.test:8443/"},
        {"https://u@v@ex.test/", "ex.test/"},
        {"HTTPS://ex.test:443/", "ex.test/"},
        {"http://ex.test:80/", "ex.test/"},
        {"http://ex.test:443/", "ex.test:443/"},
        {"https://ex.test:80/", "ex.test:80/"},
        {"https://ex.test:/a", "ex.test/a"},
        {"https://ex.test:00443/a", "ex.test/a"},
        {"https://[2001:DB8::1]/a", "[2001:db8::1]/a"},
        {"https://[2001:db8::1]:443/a", "[2001:db8::1]/a"},
        {"https://[2001:db8::1]:8443/a", "[2001:db8::1]:8443/a"},
        {"https://b\xC3\xBC"
         "cher.test/\xC3\xBC",
         "b\xC3\xBC"
         "cher.test/\xC3\xBC"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char address[256];
        address_of(rows[i][0], address);
        ROW_CHECK(strcmp(address, rows[i][1]) == 0, rows[i][0]);
    }
}

static void test_patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *address;
        bool matches;
    } rows[] = {
        {"*", "example.com/", true},
        {"example.com", "example.com/", true},
        {"example.com", "example.com/any", true},
        {"example.com/", "example.com/any", false},
        {"example.com/*", "example.com/any", true},
        {"EXAMPLE.com/any", "example.com/any", true},
        {"example.com/ANY", "example.com/any", false},
        {"*.example.com", "www.example.com/x", true},
        {"*.example.com", "example.com/x", false},
        {"*example.com", "badexample.com/x", true},
        {"example.*", "example.co.uk/x", true},
        {"*/ca/*", "example.com/us/ca/x", true},
        {"*/ca/*", "example.com/ca", false},
        {"https://example.com/a", "example.com/a", true},
        {"*://example.com/a", "example.com/a", true},
        {"//example.com/a", "example.com/a", true},
        {"example.com//a", "example.com//a", true},
        {"example.com/a?b", "example.com/a", true},
        {"example.com/a#b", "example.com/a", true},
        {"example.com:443/a", "example.com/a", true},
        {"example.com:443", "example.com/a", true},
        {"example.com:80/a", "example.com/a", true},
        {"example.com:443/a", "example.com:443/a", true},
        {"example.com:8443/a", "example.com/a", false},
        {"example.com:8443/a", "example.com:8443/a", true},
        {"*a*b*c*", "xaxbxc/", true},
        {"*a*b*c", "xaxcxb/", false},
        {"**", "a/", true},
        {"", "a/", false},
        {"a", "a/", true},
        {"a", "ab/", false},
        {"a*", "a/", true},
        {"*a", "a/", true},
        {"*aab", "aaaab/", true},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        ROW_CHECK(url_matches(slice_from_str(rows[i].pattern), slice_from_str(rows[i].address)) ==
                      rows[i].matches,
                  rows[i].pattern);
}

/* By the definition of a star, whatever it costs. */
static bool plain_glob(const char *pattern, const char *text)
{
    if (!*pattern)
        return !*text;
    if (*pattern == '*')
        return plain_glob(pattern + 1, text) || (*text && plain_glob(pattern, text + 1));
    return *text == *pattern && plain_glob(pattern + 1, text + 1);
}

static uint64_t seed = UINT64_C(0xA0761D6478BD642F);

static unsigned pick(unsigned below)
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (unsigned)((seed * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % below;
}

static void test_globs_like_a_plain_one(void **state)
{
    (void)state;
    size_t matches = 0;
    for (size_t i = 0; i < 200000; i++) {
        char pattern[16] = "h/";
        char address[24] = "h/";
        size_t len = 2 + pick(8);
        for (size_t k = 2; k < len; k++)
            pattern[k] = "ab***"[pick(5)];
        pattern[len] = '\0';
        len = 2 + pick(12);
        for (size_t k = 2; k < len; k++)
            address[k] = "ab"[pick(2)];
        address[len] = '\0';
        bool wanted = plain_glob(pattern, address);
        ROW_CHECK(url_matches(slice_from_str(pattern), slice_from_str(address)) == wanted, pattern);
        matches += wanted;
    }
    assert_true(matches > 20000 && matches < 180000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query),    cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_decoding), cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_patterns), cmocka_unit_test(test_globs_like_a_plain_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
