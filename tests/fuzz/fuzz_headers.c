/* Record headers to JSON and back, without loss; and any text of a database column as such JSON.
 *
 * The first byte chooses: '[' the input is the column's text, else the rest is names and values in turn, each
 * ended by 0x1E, a value of a single 0x1F being a header without one. */
#include "fuzz.h"

#include "headers.h"

#define ARENA_BYTES ((size_t)8 << 20)
#define BUF_BYTES ((size_t)8 << 20)
#define PART_END '\x1E'
#define HEADERS_MAX 64

static void check_equal(const struct record *a, const struct record *b)
{
    REQUIRE(a->header_count == b->header_count);
    for (size_t i = 0; i < a->header_count; i++) {
        REQUIRE(slice_equal(a->headers[i].name, b->headers[i].name));
        REQUIRE(slice_equal(a->headers[i].value, b->headers[i].value));
    }
}

/* What is written is JSON that PostgreSQL takes, and reads back the same. */
static void check_round(const struct record *record, bool ascii)
{
    struct buf out;
    struct arena arena;
    struct record again = {0};
    buf_init(&out, BUF_BYTES);
    arena_init(&arena, ARENA_BYTES);
    headers_write(record, ascii, &out);
    REQUIRE(buf_ok(&out));
    /* Refuses \u0000, as PostgreSQL does. */
    json_t *list = json_loadb(out.data, out.len, JSON_REJECT_DUPLICATES, NULL);
    REQUIRE(json_is_array(list) && json_array_size(list) == record->header_count);
    json_decref(list);
    REQUIRE(!memchr(out.data, '\0', out.len));
    REQUIRE(!ascii || text_is_plain(buf_slice(&out)));
    REQUIRE(headers_read(buf_slice(&out), &arena, &again));
    check_equal(record, &again);
    arena_fini(&arena);
    buf_fini(&out);
}

static void check_column(struct slice text)
{
    struct arena arena;
    struct record record = {0};
    arena_init(&arena, ARENA_BYTES);
    if (headers_read(text, &arena, &record)) {
        REQUIRE(slice_present(text));
        for (size_t i = 0; i < record.header_count; i++)
            REQUIRE(slice_present(record.headers[i].name));
        check_round(&record, false);
        check_round(&record, true);
    }
    arena_fini(&arena);
    arena_init(&arena, text.len % 5 * 64); /* too small, or just not */
    bool fits = headers_read(text, &arena, &record);
    REQUIRE(!fits || record.header_count == 0 || record.headers);
    arena_fini(&arena);
}

static void check_headers(struct slice rest)
{
    struct record_header headers[HEADERS_MAX];
    struct record record = {.headers = headers};
    while (rest.len && record.header_count < HEADERS_MAX) {
        struct record_header *header = &headers[record.header_count++];
        header->name = fuzz_take_part(&rest, PART_END);
        header->value = fuzz_take_part(&rest, PART_END);
        if (slice_is(header->value, "\x1F"))
            header->value = SLICE_ABSENT;
    }
    check_round(&record, false);
    check_round(&record, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = {(const char *)data, size};
    REQUIRE(text_is_storable(input) == (fuzz_is_utf8(input) && !(size && memchr(data, '\0', size))));
    if (size && data[0] != '[') {
        input.ptr++;
        input.len--;
        check_headers(input);
    } else if (size) {
        check_column(input);
    }
    return 0;
}
