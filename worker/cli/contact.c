/* signup-worker contact: what the API knows about one contact, for people. */
#include "command.h"
#include "phone_operand.h"
#include "service.h"

#include "signup/base/arena.h"
#include "signup/contacts/contacts.h"
#include "signup/event/phone.h"
#include "signup/ops/term.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <uv.h>

#define ARENA_BYTES ((size_t)1 << 20)
#define EXIT_UNKNOWN 1 /* as grep's: the question was answered, there is nobody */

static const char help[] =
    "usage: signup-worker contact PHONE [--json] [--config FILE]\n\n"
    "Shows what the API knows about one contact: the phone, and every list that it is on, with its state\n"
    "(active, or unsubscribed), signup date, custom fields, messages sent and clicks. The phone may be\n"
    "spelled in any usual way; one without a country code is one of defaults.country; \"-\" is a line of\n"
    "standard input. Reading changes nothing and costs nothing.\n"
    "  --json   the API's fields as one JSON object\n\n"
    "examples:\n"
    "  signup-worker contact '(415) 555-1234' --config /etc/signup-worker.yaml\n"
    "  signup-worker contact +14155551234 --json | jq '.lists[] | select(.active)'\n\n"
    "exit codes: 0 the contact was found, 1 the API does not know it, 64 usage, 65 not a phone number,\n"
    "            66 a file is missing, 69 the API is away, 77 the key is refused, 78 configuration\n";

struct contact_job {
    bool json;
    uv_loop_t loop;
    struct contacts *api;
    struct arena arena;
    struct contacts_look_up_op op;
    bool answered;
};

static bool apply_json(void *ctx, const char *value)
{
    (void)value;
    return ((struct contact_job *)ctx)->json = true;
}

/* ------------------------------------------------------------------ asking */

static void looked_up(struct contacts_look_up_op *op)
{
    struct contact_job *job = op->owner;
    job->answered = true;
    uv_stop(&job->loop); /* else a turn that began with the answer would wait for more */
}

static bool is_temporary(const struct outcome *outcome)
{
    return outcome->cls == OUTCOME_TRANSPORT || outcome->cls == OUTCOME_SERVER ||
           outcome->cls == OUTCOME_PROVIDER || outcome->cls == OUTCOME_THROTTLED;
}

/* Between two tries of somebody who waits in front of a screen. */
static void nap(const struct config *config, const struct outcome *outcome, int tries)
{
    int64_t wait_us = config->retry.inline_base_us;
    for (int i = 1; i < tries && wait_us < config->retry.inline_cap_us; i++)
        wait_us *= 2;
    if (outcome->retry_after_us > wait_us)
        wait_us = outcome->retry_after_us;
    if (wait_us > config->retry.inline_cap_us)
        wait_us = config->retry.inline_cap_us;
    nanosleep(&(struct timespec){.tv_sec = (time_t)(wait_us / US_PER_S),
                                 .tv_nsec = (long)(wait_us % US_PER_S) * 1000},
              NULL);
}

/* The op's outcome is filled when this returns. */
static void ask(struct contact_job *job, const struct config *config, const char *phone)
{
    for (int tries = 1;; tries++) {
        job->answered = false;
        job->op = (struct contacts_look_up_op){
            .phone_number = slice_from_str(phone), .arena = &job->arena, .done = looked_up, .owner = job};
        outcome_set(&job->op.outcome, OUTCOME_TRANSPORT, 0, "client_failed", "the call could not be made",
                    false);
        if (contacts_look_up(job->api, &job->op) == PORT_OK)
            while (!job->answered)
                uv_run(&job->loop, UV_RUN_DEFAULT);
        if (!is_temporary(&job->op.outcome) || tries >= config->retry.inline_attempts)
            return;
        nap(config, &job->op.outcome, tries);
        uv_update_time(&job->loop);
    }
}

/* ------------------------------------------------------------------ telling */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static const char *count_of(const json_t *object, const char *name, char out[24])
{
    const json_t *value = json_object_get(object, name);
    snprintf(out, 24, "%" PRId64, (int64_t)json_integer_value(value));
    return json_is_integer(value) ? out : "";
}

static bool facts_write(const json_t *contact, const char *phone)
{
    const struct term_column columns[] = {{"phone", false}, {phone, false}};
    const json_t *valid = json_object_get(contact, "is_valid");
    const char *rows[][2] = {
        {"carrier", text_of(contact, "carrier")},
        {"line type", text_of(contact, "line_type")},
        {"time zone", text_of(contact, "timezone")},
        {"valid", json_is_true(valid)    ? "yes"
                  : json_is_false(valid) ? "no"
                                         : ""},
    };
    struct term_table table;
    term_table_init(&table, columns, 2);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        term_table_add(&table, TERM_PLAIN,
                       (const char *const[]){rows[i][0], rows[i][1][0] ? rows[i][1] : "not known"});
    bool whole = term_table_write(&table, stdout);
    term_table_fini(&table);
    return whole;
}

static bool lists_write(const json_t *lists)
{
    static const struct term_column columns[] = {
        {"list", false}, {"state", false}, {"signed up (UTC)", false}, {"sends", true}, {"clicks", true}};
    struct term_table table;
    term_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < json_array_size(lists); i++) {
        const json_t *list = json_array_get(lists, i);
        bool active = json_is_true(json_object_get(list, "active"));
        char sends[24];
        char clicks[24];
        term_table_add(&table, active ? TERM_PLAIN : TERM_WARN,
                       (const char *const[]){text_of(list, "list_number"), active ? "active" : "unsubscribed",
                                             text_of(list, "signup_date"),
                                             count_of(list, "send_count", sends),
                                             count_of(list, "click_count", clicks)});
    }
    putchar('\n');
    bool whole = term_table_write(&table, stdout);
    term_table_fini(&table);
    return whole;
}

static void field_add(struct term_table *table, const char *list, const char *name, const json_t *value)
{
    char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    term_table_add(table, TERM_PLAIN,
                   (const char *const[]){list, name, text ? text : json_string_value(value)});
    free(text);
}

static bool fields_write(const json_t *lists)
{
    static const struct term_column columns[] = {{"list", false}, {"custom field", false}, {"value", false}};
    struct term_table table;
    term_table_init(&table, columns, sizeof columns / sizeof columns[0]);
    for (size_t i = 0; i < json_array_size(lists); i++) {
        const json_t *list = json_array_get(lists, i);
        json_t *fields = json_object_get(list, "custom_fields");
        const char *name;
        json_t *value;
        json_object_foreach(fields, name, value)
            field_add(&table, text_of(list, "list_number"), name, value);
    }
    bool whole = true;
    if (table.row_count) {
        putchar('\n');
        whole = term_table_write(&table, stdout);
    }
    term_table_fini(&table);
    return whole;
}

static int contact_tell(const struct contact_job *job, const char *phone)
{
    struct slice text = job->op.contact;
    if (job->json) {
        printf("%.*s\n", (int)text.len, text.ptr);
        return 0;
    }
    json_t *contact = json_loadb(text.ptr, text.len, 0, NULL);
    const json_t *lists = json_object_get(contact, "lists");
    bool whole = contact && facts_write(contact, phone);
    if (whole && json_array_size(lists))
        whole = lists_write(lists) && fields_write(lists);
    else if (whole)
        puts("\non no list");
    json_decref(contact);
    return whole ? 0 : EX_OSERR;
}

static int nobody_tell(const struct contact_job *job, const char *phone)
{
    if (job->json)
        printf("{\"phone_number\":\"%s\",\"error\":\"the API does not know this "
               "contact\",\"code\":\"not_found\"}\n",
               phone);
    else
        printf("the API does not know %s\n", phone);
    return EXIT_UNKNOWN;
}

static int failure_tell(const struct outcome *outcome)
{
    static const char *const what[OUTCOME_CLASS_COUNT] = {
        [OUTCOME_UNAUTHORIZED] = "the API refuses the key: look at contacts_api.key_file",
        [OUTCOME_MISROUTED] = "contacts_api.base_url is wrong",
        [OUTCOME_TRANSPORT] = "the API is away",
        [OUTCOME_REJECTED] = "the API refuses the question",
    };
    fprintf(stderr, "signup-worker contact: %s (%s%s%s)\n",
            what[outcome->cls] ? what[outcome->cls] : "the API is there but does not answer the question",
            outcome->code, outcome->code[0] ? ": " : "", outcome->message);
    if (outcome->http_status == 400 && strcmp(outcome->code, "invalid_phone") == 0)
        return EX_DATAERR;
    return outcome->cls == OUTCOME_UNAUTHORIZED ? EX_NOPERM
           : outcome->cls == OUTCOME_MISROUTED  ? EX_CONFIG
                                                : EX_UNAVAILABLE;
}

static int tell(const struct contact_job *job, const char *phone)
{
    if (job->op.outcome.cls != OUTCOME_ACCEPTED)
        return failure_tell(&job->op.outcome);
    return job->op.found ? contact_tell(job, phone) : nobody_tell(job, phone);
}

/* ------------------------------------------------------------------ the command */

static int show(struct contact_job *job, const struct config *config, const char *spelled)
{
    char phone[PHONE_E164_BYTES];
    if (!phone_to_e164(slice_from_str(spelled), config->defaults.country, phone)) {
        phone_operand_complain("contact", "not a phone number", spelled);
        return EX_DATAERR;
    }
    if (uv_loop_init(&job->loop))
        return EX_OSERR;
    const struct contacts_config contacts = contacts_config_from(config);
    struct contacts_error error;
    int code;
    job->api = contacts_create(&job->loop, &contacts, &error);
    if (job->api) {
        arena_init(&job->arena, ARENA_BYTES);
        ask(job, config, phone);
        code = tell(job, phone);
        arena_fini(&job->arena);
        contacts_close(job->api, NULL, NULL);
    } else {
        fprintf(stderr, "signup-worker contact: contacts_api: %s\n", error.text);
        code = contacts_exit_code(error.fault);
    }
    uv_run(&job->loop, UV_RUN_DEFAULT);
    uv_loop_close(&job->loop);
    return code;
}

int command_contact(int argc, char **argv)
{
    static const struct command_option own[] = {{"json", false, apply_json}};
    struct contact_job job = {0};
    struct common_options common;
    struct config *config;
    int operand;
    int code = options_parse(argc, argv, help, 1, own, 1, &job, &common, &operand);
    if (code >= 0)
        return code;
    char phone[PHONE_OPERAND_BYTES];
    if (!phone_operand_take("contact", argv[operand], phone))
        return EX_NOINPUT;
    code = config_open(&common, CONFIG_NEEDS_API, &config);
    if (code)
        return code;
    code = show(&job, config, phone);
    config_free(config);
    return code;
}
