/* clean.c: IP addresses and URLs. */
#include "reading.h"

#include "clean.h"

struct row {
    const char *text;
    const char *cleaned; /* NULL: dropped */
};

static const struct row ips[] = {
    {"203.0.113.7", "203.0.113.7"},
    {" 203.0.113.7\t", "203.0.113.7"},
    {"203.0.113.7:443", "203.0.113.7"},
    {"[203.0.113.7]", "203.0.113.7"},
    {"[203.0.113.7]:8080", "203.0.113.7"},
    {"0.0.0.0", "0.0.0.0"},
    {"255.255.255.255", "255.255.255.255"},
    {"2001:db8::1", "2001:db8::1"},
    {"2001:DB8::1", "2001:DB8::1"},
    {"[2001:db8::1]", "2001:db8::1"},
    {"[2001:db8::1]:443", "2001:db8::1"},
    {"[ 2001:db8::1 ]", "2001:db8::1"},
    {" [2001:db8::1]:65535 ", "2001:db8::1"},
    {"::1", "::1"},
    {"::", "::"},
    {"::ffff:203.0.113.7", "::ffff:203.0.113.7"},
    {"fe80::1%eth0", "fe80::1"},
    {"[fe80::1%25eth0]:80", "fe80::1"},
    {"2001:0db8:0000:0000:0000:0000:0000:0001", "2001:0db8:0000:0000:0000:0000:0000:0001"},
    {"", NULL},
    {"   ", NULL},
    {"localhost", NULL},
    {"unknown", NULL},
    {"203.0.113", NULL},
    {"203.0.113.256", NULL},
    {"203.0.113.07", NULL},
    {"203.0.113.7.1", NULL},
    {"203.0.113.7:", NULL},
    {"203.0.113.7:65536", NULL},
    {"203.0.113.7:http", NULL},
    {"203.0.113.7:443:1", NULL},
    {"203.0.113.7/24", NULL},
    {"203.0.113.7, 198.51.100.1", NULL},
    {"203.0.113.7%eth0", NULL},
    {"203. 0.113.7", NULL},
    {"3405803783", NULL},
    {"0xcb.0.0.1", NULL},
    {"[203.0.113.7", NULL},
    {"203.0.113.7]", NULL},
    {"[2001:db8::1]443", NULL},
    {"[2001:db8::1]:", NULL},
    {"[2001:db8::1]:x", NULL},
    {"[]", NULL},
    {"[", NULL},
    {"%eth0", NULL},
    {"2001:db8::1::2", NULL},
    {"2001:db8:::1", NULL},
    {"g::1", NULL},
    {"2001:db8::1/64", NULL},
    {"2001:0db8:0000:0000:0000:0000:0000:0001:0002:0003:0004:0005", NULL},
    {"203.0.113.7 (proxy)", NULL},
};

static const struct row urls[] = {
    {"https://example.com", "https://example.com"},
    {"http://example.com/", "http://example.com/"},
    {"HTTPS://Example.COM/Path?x=1#top", "HTTPS://Example.COM/Path?x=1#top"},
    {"  https://example.com/a \n", "https://example.com/a"},
    {"https://example.com?x=1", "https://example.com?x=1"},
    {"https://example.com#top", "https://example.com#top"},
    {"https://example.com:8443/x", "https://example.com:8443/x"},
    {"https://example.com:/x", "https://example.com:/x"},
    {"https://example.com./x", "https://example.com./x"},
    {"https://user:secret@example.com/x", "https://user:secret@example.com/x"},
    {"https://203.0.113.7/x", "https://203.0.113.7/x"},
    {"https://[2001:db8::1]/x", "https://[2001:db8::1]/x"},
    {"https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"},
    {"http://localhost:3000", "http://localhost:3000"},
    {"https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"},
    {"https://bücher.example/ä", "https://bücher.example/ä"},
    {"https://my_shop.example/", "https://my_shop.example/"},
    {"https://example.com/a b?utm_campaign=spring sale", "https://example.com/a b?utm_campaign=spring sale"},
    {"https://example.com/?n=http://other.example/@x", "https://example.com/?n=http://other.example/@x"},
    {"", NULL},
    {"   ", NULL},
    {"example.com", NULL},
    {"www.example.com/x", NULL},
    {"/landing", NULL},
    {"//example.com/x", NULL},
    {"ftp://example.com/x", NULL},
    {"javascript:alert(1)", NULL},
    {"mailto:ada@example.com", NULL},
    {"file:///etc/passwd", NULL},
    {"data:text/html,x", NULL},
    {"http:/example.com", NULL},
    {"http:example.com", NULL},
    {"https//example.com", NULL},
    {"http://", NULL},
    {"https://", NULL},
    {"https:///path", NULL},
    {"https://?x=1", NULL},
    {"https://#x", NULL},
    {"https://:443/", NULL},
    {"https://user@/x", NULL},
    {"https://./x", NULL},
    {"https://.example.com/", NULL},
    {"https://example..com/", NULL},
    {"https://exa mple.com/", NULL},
    {"https:// example.com/", NULL},
    {"https://exa<mple.com/", NULL},
    {"https://exam\\ple.com/", NULL},
    {"https://a b@example.com/", NULL},
    {"https://example.com:port/", NULL},
    {"https://example.com:99999/", NULL},
    {"https://[2001:db8::1/x", NULL},
    {"https://[not-an-ip]/", NULL},
    {"https://[2001:db8::1]x/", NULL},
    {"https://example.com/a\nb", NULL},
    {"https://example.com/\x7f", NULL},
    {"xhttps://example.com/", NULL},
};

static void check_rows(const struct row *rows, size_t count, struct slice (*clean)(struct slice text))
{
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(rows[i].text);
        char *exact = malloc(len ? len : 1); /* no NUL behind it */
        assert_non_null(exact);
        memcpy(exact, rows[i].text, len);
        struct slice cleaned = clean((struct slice){exact, len});
        ROW_CHECK(slice_present(cleaned) == (rows[i].cleaned != NULL), rows[i].text);
        if (rows[i].cleaned)
            ROW_CHECK(slice_is(cleaned, rows[i].cleaned), rows[i].text);
        free(exact);
    }
}

static void test_ips(void **state)
{
    (void)state;
    check_rows(ips, COUNT_OF(ips), clean_ip);
    assert_false(slice_present(clean_ip(SLICE_LITERAL("203.0.113.7\0"))));
}

static void test_urls(void **state)
{
    (void)state;
    check_rows(urls, COUNT_OF(urls), clean_url);
}

static void test_blanks(void **state)
{
    (void)state;
    assert_true(slice_is(clean_blanks(SLICE_LITERAL(" \t\r\n\v\fa b ")), "a b"));
    assert_true(slice_is(clean_blanks(SLICE_LITERAL("  ")), ""));
    assert_true(slice_is(clean_blanks(SLICE_LITERAL("")), ""));
    assert_false(slice_present(clean_blanks(SLICE_ABSENT)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ips),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_blanks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
