/* A whole contact for people: what of an answer is believed, what is written of it, and that it keeps the
 * rules of a read. */
#include "world.h"

#include "response.h"

#include <jansson.h>

#define PHONE "+14155550100"
#define LIST "\"list_number\":\"+14155550199\""
#define OTHER "\"list_number\":\"+14155550198\""
#define BODY(lists) "{\"phone_number\":\"" PHONE "\",\"lists\":[" lists "]}"
#define WHOLE                                                                                                \
    "{\"phone_number\":\"" PHONE                                                                             \
    "\",\"carrier\":\"AT&T\",\"line_type\":\"CELL PHONE\",\"timezone\":\"America/New_York\","                \
    "\"is_valid\":true,\"lists\":[{\"list_id\":7," LIST                                                      \
    ",\"active\":false,\"signup_date\":\"2025-03-15T14:30:00\","                                             \
    "\"custom_fields\":{\"a\":\"\xC3\xA9\\\"\",\"b\":0.1,\"c\":true,\"d\":-7},\"send_count\":12,\"click_"    \
    "count\":3},"                                                                                            \
    "{" OTHER ",\"active\":true}]}"
#define NOT_FOUND "{\"error\":\"Contact not found\",\"code\":\"not_found\"}"

/* In the order in which a person reads a row.
 * NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct row {
    int status;
    const char *body;
    enum outcome_class cls;
    const char *code;
    const char *contact; /* NULL: not found; "": the same as the body */
};

static const struct row rows[] = {
    {200, WHOLE, OUTCOME_ACCEPTED, "", ""},
    {200, BODY(""), OUTCOME_ACCEPTED, "", ""},
    {200,
     "{\"lists\":[],\"later\":1,\"phone_number\":\"" PHONE
     "\",\"carrier\":null,\"is_valid\":\"yes\",\"timezone\":7}",
     OUTCOME_ACCEPTED, "", BODY("")},
    {200,
     BODY("{\"active\":true,\"list_id\":1.5," LIST
          ",\"send_count\":\"2\",\"signup_date\":null,\"custom_fields\":[]}"),
     OUTCOME_ACCEPTED, "", BODY("{" LIST ",\"active\":true}")},
    {200,
     BODY("{" LIST ",\"active\":true,\"custom_fields\":{\"x\":null,\"y\":{\"z\":1},\"v\":[1],\"w\":\"kept\","
                   "\"t\":1e3}}"),
     OUTCOME_ACCEPTED, "",
     BODY("{" LIST ",\"active\":true,\"custom_fields\":{\"w\":\"kept\",\"t\":1000.0}}")},
    {200, BODY("{" LIST ",\"active\":true,\"custom_fields\":{}}"), OUTCOME_ACCEPTED, "", ""},
    {404, NOT_FOUND, OUTCOME_ACCEPTED, "not_found", NULL},
    {404, "{\"error\":\"x\"}", OUTCOME_REJECTED, "", NULL},
    {404, "<html>Not Found</html>", OUTCOME_REJECTED, "", NULL},
    {200, NOT_FOUND, OUTCOME_SERVER, "broken_body", NULL},
    {200, "{\"phone_number\":\"+14155550101\",\"lists\":[]}", OUTCOME_SERVER, "wrong_contact", NULL},
    {200, "{\"phone_number\":14155550100,\"lists\":[]}", OUTCOME_SERVER, "broken_body", NULL},
    {200, "{\"phone_number\":\"" PHONE "\"}", OUTCOME_SERVER, "broken_body", NULL},
    {200, "{\"phone_number\":\"" PHONE "\",\"lists\":{}}", OUTCOME_SERVER, "broken_body", NULL},
    {200, BODY("{" LIST "}"), OUTCOME_SERVER, "broken_body", NULL},
    {200, BODY("{" LIST ",\"active\":1}"), OUTCOME_SERVER, "broken_body", NULL},
    {200, BODY("{\"active\":true}"), OUTCOME_SERVER, "broken_body", NULL},
    {200, BODY("{" LIST ",\"active\":true},null"), OUTCOME_SERVER, "broken_body", NULL},
    {200, BODY("{" LIST ",\"active\":true,\"active\":true}"), OUTCOME_SERVER, "broken_body", NULL},
    {200, WHOLE "x", OUTCOME_SERVER, "broken_body", NULL},
    {200, "", OUTCOME_SERVER, "broken_body", NULL},
    {200, "[]", OUTCOME_SERVER, "broken_body", NULL},
    {401, "{\"error\":\"x\",\"code\":\"unauthorized\"}", OUTCOME_UNAUTHORIZED, "unauthorized", NULL},
    {400, "{\"error\":\"x\",\"code\":\"invalid_phone\"}", OUTCOME_REJECTED, "invalid_phone", NULL},
    {301, WHOLE, OUTCOME_MISROUTED, "redirected", NULL},
    {429, "", OUTCOME_THROTTLED, "", NULL},
    {500, "{\"error\":\"x\",\"code\":\"internal_error\"}", OUTCOME_SERVER, "internal_error", NULL},
    {503, "", OUTCOME_PROVIDER, "", NULL},
};

static void look_up_answer(struct contacts_look_up_op *op, struct arena *arena, int status, struct slice body)
{
    const struct answer answer = {.status = status, .body = body};
    memset(op, 0x55, sizeof *op);
    op->phone_number = SLICE_LITERAL(PHONE);
    op->arena = arena;
    response_look_up(&answer, op);
}

static bool json_same(struct slice text, const char *wanted)
{
    json_t *a = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    json_t *b = json_loads(wanted, 0, NULL);
    bool same = a && b && json_equal(a, b);
    json_decref(a);
    json_decref(b);
    return same;
}

static void every_answer_says_what_it_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        struct contacts_look_up_op op;
        struct arena arena;
        arena_init(&arena, 1 << 16);
        look_up_answer(&op, &arena, row->status, slice_from_str(row->body));
        bool right = row->contact
                         ? op.found && json_same(op.contact, *row->contact ? row->contact : row->body)
                         : !op.found && !slice_present(op.contact);
        if (op.outcome.cls != row->cls || strcmp(op.outcome.code, row->code) != 0 || !right ||
            op.outcome.maybe_sent)
            fail_msg("row %zu (%d %s): %s %s, %.*s", i, row->status, row->body,
                     outcome_class_str(op.outcome.cls), op.outcome.code, (int)op.contact.len,
                     slice_present(op.contact) ? op.contact.ptr : "");
        assert_int_equal(op.outcome.message[0] == '\0', op.found);
        arena_fini(&arena);
    }
}

static void it_is_written_in_the_documented_order_and_no_digit_is_added(void **state)
{
    struct contacts_look_up_op op;
    struct arena arena;
    (void)state;
    arena_init(&arena, 1 << 16);
    look_up_answer(&op, &arena, 200, SLICE_LITERAL(WHOLE));
    assert_true(slice_is(op.contact, WHOLE));
    arena_fini(&arena);
}

static void a_full_arena_is_no_answer(void **state)
{
    struct contacts_look_up_op op;
    struct arena arena;
    (void)state;
    arena_init(&arena, 0);
    look_up_answer(&op, &arena, 200, SLICE_LITERAL(WHOLE));
    assert_int_equal(op.outcome.cls, OUTCOME_TRANSPORT);
    assert_string_equal(op.outcome.code, "client_failed");
    assert_false(op.found || slice_present(op.contact));
}

/* ------------------------------------------------------------------ on the wire */

static void answer_whole(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    raw_answer(conn, 200, "", WHOLE);
}

static void answer_nothing(struct raw_server *server, struct raw_conn *conn)
{
    (void)server;
    (void)conn;
}

static void look_up_done(struct contacts_look_up_op *op)
{
    (*(int *)op->owner)++;
}

static void the_request_is_a_plain_read(void **state)
{
    struct world world;
    struct arena arena;
    int done = 0;
    (void)state;
    world_begin(&world, answer_whole);
    arena_init(&arena, 1 << 16);
    struct contacts_look_up_op op = {
        .phone_number = SLICE_LITERAL(PHONE), .arena = &arena, .done = look_up_done, .owner = &done};
    assert_int_equal(contacts_look_up(world.contacts, &op), PORT_OK);
    assert_int_equal(done, 0);
    world_until(&world, &done, 1);
    assert_memory_equal(world.server.last, "GET /api/v2/contacts/%2B14155550100 HTTP/1.1\r\n", 46);
    assert_true(op.found && slice_is(op.contact, WHOLE));
    assert_true(op.outcome.duration_us > 0);
    op.phone_number = SLICE_LITERAL("14155550100");
    assert_int_equal(contacts_look_up(world.contacts, &op), PORT_AWAY);
    assert_int_equal(done, 1);
    arena_fini(&arena);
    world_end(&world);
}

static void closing_completes_it(void **state)
{
    struct world world;
    struct arena arena;
    int done = 0;
    (void)state;
    world_begin(&world, answer_nothing);
    arena_init(&arena, 1 << 16);
    struct contacts_look_up_op op = {
        .phone_number = SLICE_LITERAL(PHONE), .arena = &arena, .done = look_up_done, .owner = &done};
    assert_int_equal(contacts_look_up(world.contacts, &op), PORT_OK);
    world_until(&world, &world.server.requests, 1);
    contacts_close(world.contacts, world_on_closed, &world);
    world.contacts = NULL;
    world_until(&world, &done, 1);
    assert_string_equal(op.outcome.code, "cancelled");
    assert_false(op.found || op.outcome.maybe_sent);
    arena_fini(&arena);
    world_end(&world);
    assert_true(world.closed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_says_what_it_says),
        cmocka_unit_test(it_is_written_in_the_documented_order_and_no_digit_is_added),
        cmocka_unit_test(a_full_arena_is_no_answer),
        cmocka_unit_test(the_request_is_a_plain_read),
        cmocka_unit_test(closing_completes_it),
    };
    return cmocka_run_group_tests_name("contacts: look up", tests, NULL, NULL);
}
