/* What needs no server: binary parameters, headers as JSON, error classes, addresses, the schema's name in
 * SQL. */
#include "address.h"
#include "fault.h"
#include "headers.h"
#include "params.h"
#include "sql.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void arrays_are_as_the_server_reads_them(void **state)
{
    (void)state;
    static const char wire[] = "\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\2\0\0\0\1\0\0\0\2ab\xff\xff\xff\xff";
    struct params params;
    params_init(&params, 1 << 16);
    params_begin(&params, PG_TEXT);
    params_put_text(&params, SLICE_LITERAL("ab"));
    params_put_text(&params, SLICE_ABSENT);
    params_end(&params);
    params_begin(&params, PG_INT8);
    params_end(&params);
    params_scalar_int8(&params, -2);
    assert_true(params_finish(&params));
    assert_int_equal(params.count, 3);
    assert_int_equal(params.lengths[0], sizeof wire - 1);
    assert_memory_equal(params.values[0], wire, sizeof wire - 1);
    assert_int_equal(params.lengths[1], 12);
    assert_memory_equal(params.values[1], "\0\0\0\0\0\0\0\0\0\0\0\x14", 12);
    assert_memory_equal(params.values[2], "\xff\xff\xff\xff\xff\xff\xff\xfe", 8);
    params_fini(&params);
}

static void full_buffer_is_latched(void **state)
{
    (void)state;
    struct params params;
    char big[600];
    memset(big, 'x', sizeof big);
    params_init(&params, 512);
    params_begin(&params, PG_BYTEA);
    params_put_bytes(&params, big, sizeof big);
    params_end(&params);
    assert_false(params_finish(&params));
    params_reset(&params);
    params_scalar_int8(&params, 1);
    assert_true(params_finish(&params));
    params_fini(&params);
}

static void headers_survive(struct record_header *headers, size_t count, bool ascii)
{
    struct buf json;
    struct arena arena;
    struct record from = {.headers = headers, .header_count = count};
    struct record to;
    buf_init(&json, 1 << 20);
    arena_init(&arena, 1 << 20);
    headers_write(&from, ascii, &json);
    assert_true(buf_ok(&json));
    assert_true(text_is_storable(buf_slice(&json)));
    assert_true(!ascii || text_is_plain(buf_slice(&json)));
    assert_true(headers_read(buf_slice(&json), &arena, &to));
    assert_int_equal(to.header_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_true(slice_equal(to.headers[i].name, headers[i].name));
        assert_true(slice_equal(to.headers[i].value, headers[i].value));
    }
    arena_fini(&arena);
    buf_fini(&json);
}

static void any_header_survives(void **state)
{
    (void)state;
    unsigned seed = 42;
    for (int round = 0; round < 3000; round++) {
        char bytes[8][16];
        struct record_header headers[4];
        for (int i = 0; i < 8; i++) {
            size_t len = (size_t)rand_r(&seed) % 16;
            for (size_t k = 0; k < len; k++)
                bytes[i][k] = (char)(rand_r(&seed) % (round % 2 ? 256 : 100));
            struct slice text = {bytes[i], len};
            if (i % 2)
                headers[i / 2].value = rand_r(&seed) % 5 ? text : SLICE_ABSENT;
            else
                headers[i / 2].name = text;
        }
        headers_survive(headers, (size_t)rand_r(&seed) % 5, round % 3 == 0);
    }
}

static void foreign_headers_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"{}",
                                        "[1]",
                                        "[{}]",
                                        "[{\"name\":\"a\"}]",
                                        "[{\"name\":\"a\",\"base64\":\"a\"}]",
                                        "[{\"name\":\"a\",\"base64\":\"a=bc\"}]",
                                        "not json"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct arena arena;
        struct record record;
        arena_init(&arena, 1 << 16);
        assert_false(headers_read(slice_from_str(texts[i]), &arena, &record));
        arena_fini(&arena);
    }
}

static void storable_is_what_a_text_column_takes(void **state)
{
    (void)state;
    assert_true(text_is_storable(SLICE_LITERAL("\u00fc\u20ac\U0001F600 \x7f\x01")));
    assert_false(text_is_storable(SLICE_LITERAL("a\0b")));
    assert_false(text_is_storable(SLICE_LITERAL("\xc0\x80")));         /* overlong NUL */
    assert_false(text_is_storable(SLICE_LITERAL("\xed\xa0\x80")));     /* surrogate */
    assert_false(text_is_storable(SLICE_LITERAL("\xf4\x90\x80\x80"))); /* beyond U+10FFFF */
    assert_false(text_is_storable(SLICE_LITERAL("\xe2\x82")));         /* cut */
    assert_false(text_is_storable(SLICE_LITERAL("\xff")));
    assert_true(text_is_plain(SLICE_LITERAL("not_sendable: 1")));
    assert_false(text_is_plain(SLICE_LITERAL("\u00fc")));
}

static void errors_have_classes(void **state)
{
    (void)state;
    static const struct {
        const char *sqlstate;
        enum fault fault;
    } cases[] = {
        {NULL, FAULT_AWAY},      {"", FAULT_AWAY},        {"57P01", FAULT_AWAY},   {"57P03", FAULT_AWAY},
        {"57014", FAULT_AWAY},   {"08006", FAULT_AWAY},   {"53100", FAULT_AWAY},   {"53300", FAULT_AWAY},
        {"25006", FAULT_AWAY},   {"26000", FAULT_AWAY},   {"XX000", FAULT_AWAY},   {"40P01", FAULT_RETRY},
        {"40001", FAULT_RETRY},  {"55P03", FAULT_RETRY},  {"55006", FAULT_AWAY},   {"22021", FAULT_POISON},
        {"22P05", FAULT_POISON}, {"23514", FAULT_POISON}, {"54000", FAULT_POISON}, {"28P01", FAULT_DENIED},
        {"3D000", FAULT_DENIED}, {"42501", FAULT_DENIED}, {"3F000", FAULT_SCHEMA}, {"42P01", FAULT_SCHEMA},
        {"42601", FAULT_AWAY},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(fault_of_sqlstate(cases[i].sqlstate), cases[i].fault);
}

static void schema_name_is_quoted(void **state)
{
    (void)state;
    char *sql = sql_render("SELECT {schema}.a, {schema}.b", "x\"y");
    assert_string_equal(sql, "SELECT \"x\"\"y\".a, \"x\"\"y\".b");
    free(sql);
    char long_name[80];
    memset(long_name, 'n', sizeof long_name);
    long_name[64] = '\0';
    assert_false(sql_schema_name_ok(long_name));
    long_name[63] = '\0';
    assert_true(sql_schema_name_ok(long_name));
    assert_false(sql_schema_name_ok(""));
    struct sql_texts texts;
    assert_true(sql_render_all(&texts, "signup"));
    for (int i = 0; i < SQL_COUNT; i++)
        assert_null(strchr(texts.text[i], '{') && strstr(texts.text[i], "{schema}") ? texts.text[i] : NULL);
    sql_free_all(&texts);
}

static const char *param_value(const struct address_params *params, const char *key)
{
    for (size_t i = 0; params->keys[i]; i++) {
        if (strcmp(params->keys[i], key) == 0)
            return params->values[i];
    }
    return "";
}

static void dsn_is_taken_apart(void **state)
{
    (void)state;
    struct address_book book;
    struct address_params params;
    char error[256];
    char text[ADDRESS_TEXT_BYTES];
    assert_true(address_book_init(
        &book, "postgresql://me:secret@db1:6543,db2:6544/sign?sslmode=verify-full&client_encoding=latin1",
        error, sizeof error));
    assert_int_equal(book.host_count, 2);
    struct address_candidate candidate = {
        .host = book.hosts[1].host, .hostaddr = "192.0.2.7", .port = book.hosts[1].port};
    address_params_fill(&book, &candidate, &params);
    assert_string_equal(param_value(&params, "host"), "db2");
    assert_string_equal(param_value(&params, "hostaddr"), "192.0.2.7");
    assert_string_equal(param_value(&params, "port"), "6544");
    assert_string_equal(param_value(&params, "password"), "secret");
    assert_string_equal(param_value(&params, "sslmode"), "verify-full");
    assert_string_equal(param_value(&params, "client_encoding"), "UTF8");
    assert_string_equal(param_value(&params, "target_session_attrs"), "read-write");
    address_text(&book, &candidate, text, sizeof text);
    assert_string_equal(text, "db2:6544/sign");
    address_book_fini(&book);

    assert_false(address_book_init(&book, "host=a,b port=1,2,3", error, sizeof error));
    assert_false(address_book_init(&book, "password=hunter2 nonsense", error, sizeof error));
    assert_null(strstr(error, "hunter2"));
}

static void environment_fills_the_gaps(void **state)
{
    (void)state;
    struct address_book book;
    char error[256];
    setenv("PGHOST", "from-env", 1);
    setenv("PGPORT", "7777", 1);
    assert_true(address_book_init(&book, "dbname=x", error, sizeof error));
    assert_string_equal(book.hosts[0].host, "from-env");
    assert_string_equal(book.hosts[0].port, "7777");
    address_book_fini(&book);
    assert_true(address_book_init(&book, "host=mine", error, sizeof error));
    assert_string_equal(book.hosts[0].host, "mine");
    address_book_fini(&book);
    unsetenv("PGHOST");
    unsetenv("PGPORT");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_are_as_the_server_reads_them),
        cmocka_unit_test(full_buffer_is_latched),
        cmocka_unit_test(any_header_survives),
        cmocka_unit_test(foreign_headers_are_refused),
        cmocka_unit_test(storable_is_what_a_text_column_takes),
        cmocka_unit_test(errors_have_classes),
        cmocka_unit_test(schema_name_is_quoted),
        cmocka_unit_test(dsn_is_taken_apart),
        cmocka_unit_test(environment_fills_the_gaps),
    };
    return cmocka_run_group_tests_name("ledger/codec", tests, NULL, NULL);
}
