/* Any configuration, from a file's bytes and from the environment: it is in force whole, or refused with
 * complaints and a code of sysexits.h; and no secret is in anything that is written.
 *
 * The input is parts ended by 0x1E: the YAML, then one byte that says which it is and its bytes:
 *   V an environment string, K the API key, D the password of a connection string in URI form, P the same in
 *   keyword form, S sasl.password, F the bytes of a secret's file, N what the command needs (a digit),
 *   M a connection string to be masked.
 * Secrets get a word into their middle that is looked for. They stand in the YAML, before the input's own,
 * or, with a small letter (k, d, p, s), in the environment. */
#include "fuzz.h"

#include "signup/ops/config.h"

#include <fcntl.h>
#include <libpq-fe.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>
#include <yaml.h>

#define PART_END '\x1E'
#define SECRET "xyzzy-squeamish"
#define ENVIRONMENT_MAX 24
#define SECRET_FILE_FD 777
#define SECRET_FILE "/proc/self/fd/777" /* a secret alone */
#define DSN_FILE_FD 778
#define DSN_FILE "/proc/self/fd/778" /* a connection string with it */
#define TEXT_BYTES 2048

struct input {
    struct slice yaml;
    const char *environment[ENVIRONMENT_MAX + 1];
    size_t environment_count;
    char *whole; /* the secrets' YAML and the input's own; malloc'd, exactly as long */
    size_t whole_len;
    unsigned needs;
};

/* ------------------------------------------------------------------ writing the input */

/* `text` with the word in its middle. */
static void secret_make(struct slice text, char out[TEXT_BYTES])
{
    int half = (int)(text.len > 400 ? 200 : text.len / 2);
    int rest = (int)(text.len > 400 ? 200 : text.len - text.len / 2);
    snprintf(out, TEXT_BYTES, "%.*s" SECRET "%.*s", half, text.ptr, rest, text.ptr + half);
}

/* Each of `characters` gives way to a dash. */
static void clean(char *text, const char *characters)
{
    for (text += strcspn(text, characters); *text; text += strcspn(text, characters))
        *text = '-';
}

static void yaml_put(FILE *out, const char *text)
{
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if (*c == '"' || *c == '\\' || *c < ' ' || *c > '~')
            fprintf(out, "\\x%02x", *c);
        else
            fputc(*c, out);
    fputs("\"\n", out);
}

static void environment_put(struct input *input, const char *name, const char *value, size_t len)
{
    if (input->environment_count == ENVIRONMENT_MAX)
        return;
    char *entry = malloc(strlen(name) + len + 1);
    REQUIRE(entry);
    memcpy(entry, name, strlen(name));
    memcpy(entry + strlen(name), value, len);
    entry[strlen(name) + len] = '\0';
    input->environment[input->environment_count++] = entry;
}

static void secret_put(struct input *input, FILE *yaml, char kind, struct slice text)
{
    static const char letters[] = "KDPS";
    static const char *const variables[] = {"SIGNUP_CONTACTS_API_KEY=", "SIGNUP_POSTGRES_DSN=",
                                            "SIGNUP_POSTGRES_DSN=", "SIGNUP_KAFKA_PROPERTIES="};
    static const char *const keys[] = {"contacts_api:\n  key: ", "postgres:\n  dsn: ", "postgres:\n  dsn: ",
                                       "kafka:\n  properties:\n    sasl.password: "};
    static const char *const forms[] = {"%s", "postgresql://user:%s@localhost/signup",
                                        "host=localhost password='%s' dbname=signup", "%s"};
    bool in_yaml = kind >= 'A' && kind <= 'Z';
    const char *at = strchr(letters, in_yaml ? kind : kind - 'a' + 'A');
    char secret[TEXT_BYTES];
    char value[2 * TEXT_BYTES];
    secret_make(text, secret);
    /* What ends the password ends the secret. In a URI a bare / or ? is a mistake that must not be printed
     * either; both of them cannot be told from a path and a query. */
    const char *uri_ends = strchr(secret, '/') ? "@?" : "@";
    const char *ends = at[0] == 'P' ? "'\\" : at[0] == 'D' ? uri_ends : "";
    clean(secret, ends);
    if (at[0] == 'S' && !in_yaml) {
        clean(secret, "="); /* behind a comma it would begin another property, which is no secret */
        snprintf(value, sizeof value, "sasl.password=%s", secret);
    } else {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(value, sizeof value, forms[at - letters], secret);
#pragma GCC diagnostic pop
    }
    if (in_yaml) {
        fputs(keys[at - letters], yaml);
        yaml_put(yaml, value);
    } else {
        environment_put(input, variables[at - letters], value, strlen(value));
    }
}

static void file_write(int wanted, const char *text)
{
    if (fcntl(wanted, F_GETFD) < 0) {
        int fd = memfd_create("secret", 0);
        REQUIRE(fd >= 0 && dup2(fd, wanted) == wanted);
        close(fd);
    }
    REQUIRE(ftruncate(wanted, 0) == 0);
    REQUIRE(pwrite(wanted, text, strlen(text), 0) == (ssize_t)strlen(text));
}

static void secret_file_put(struct slice text)
{
    char secret[TEXT_BYTES];
    char dsn[2 * TEXT_BYTES];
    secret_make(text, secret);
    file_write(SECRET_FILE_FD, secret);
    clean(secret, "@?");
    snprintf(dsn, sizeof dsn, "postgresql://user:%s@localhost/signup", secret);
    file_write(DSN_FILE_FD, dsn);
}

/* ------------------------------------------------------------------ masks */

static bool ends_in_password(const char *keyword)
{
    size_t len = strlen(keyword);
    return len >= 8 && strcmp(keyword + len - 8, "password") == 0;
}

/* libpq reads no password out of what is left of a connection string. */
static void check_mask(const char *dsn)
{
    char *masked = config_mask_dsn(dsn);
    REQUIRE(masked);
    PQconninfoOption *before = PQconninfoParse(dsn, NULL);
    PQconninfoOption *after = before ? PQconninfoParse(masked, NULL) : NULL;
    for (const PQconninfoOption *b = before; b && b->keyword; b++) {
        if (!b->val || strlen(b->val) < 4 || !ends_in_password(b->keyword))
            continue;
        for (const PQconninfoOption *a = after; a && a->keyword; a++)
            if (strcmp(a->keyword, b->keyword) == 0)
                REQUIRE(!a->val || strcmp(a->val, "***") == 0);
    }
    PQconninfoFree(before);
    PQconninfoFree(after);
    free(masked);
}

static void mask_put(struct slice text)
{
    char dsn[TEXT_BYTES];
    snprintf(dsn, sizeof dsn, "%.*s", text.len < TEXT_BYTES ? (int)text.len : TEXT_BYTES - 1, text.ptr);
    /* The other texts never come so far: config_load() refuses them. */
    if (!fuzz_has_control(slice_from_str(dsn)))
        check_mask(dsn);
}

static void input_read(struct slice rest, struct input *input)
{
    FILE *yaml = open_memstream(&input->whole, &input->whole_len);
    REQUIRE(yaml);
    input->yaml = fuzz_take_part(&rest, PART_END);
    secret_file_put(SLICE_LITERAL("file"));
    while (rest.len) {
        struct slice part = fuzz_take_part(&rest, PART_END);
        if (!part.len)
            continue;
        struct slice text = {part.ptr + 1, part.len - 1};
        switch (part.ptr[0]) {
        case 'V': environment_put(input, "", text.ptr, text.len); break;
        case 'F': secret_file_put(text); break;
        case 'M': mask_put(text); break;
        case 'N': input->needs = text.len ? (unsigned char)text.ptr[0] & 7U : 7U; break;
        default:
            if (strchr("KDPSkdps", part.ptr[0]) && part.ptr[0])
                secret_put(input, yaml, part.ptr[0], text);
        }
    }
    fwrite(input->yaml.ptr, 1, input->yaml.len, yaml);
    REQUIRE(fclose(yaml) == 0);
}

static void input_free(struct input *input)
{
    for (size_t i = 0; i < input->environment_count; i++)
        free((void *)input->environment[i]);
    free(input->whole);
}

/* ------------------------------------------------------------------ checks */

static const char *property_refused(const char *name)
{
    return strcmp(name, "group.id") == 0 ? "is set by the worker itself; use kafka.group" : NULL;
}

static void check_complaints(const char *text, size_t len, int code)
{
    struct slice rest = {text, len};
    REQUIRE((len > 0) == (code != 0));
    REQUIRE(!memmem(text, len, SECRET, strlen(SECRET)));
    REQUIRE(len == 0 || text[len - 1] == '\n');
    while (rest.len) {
        struct slice line = fuzz_take_part(&rest, '\n');
        REQUIRE(line.len > 0 && !fuzz_has_control(line));
    }
}

static void check_is_yaml(const char *text, size_t len)
{
    yaml_parser_t parser;
    yaml_event_t event;
    bool over = false;
    REQUIRE(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    while (!over) {
        bool good = yaml_parser_parse(&parser, &event);
        if (!good)
            fprintf(stderr, "%s in\n%.*s\n", parser.problem, (int)len, text);
        REQUIRE(good);
        over = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
}

static char *print(const struct config *config, size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    REQUIRE(out);
    config_print(config, out);
    REQUIRE(fclose(out) == 0);
    return text;
}

/* What is printed is the same configuration, and printed the same again. */
static void check_reads_back(const char *text, size_t len)
{
    struct config *config = NULL;
    char *complaints = NULL;
    size_t complaints_len = 0;
    FILE *out = open_memstream(&complaints, &complaints_len);
    REQUIRE(out);
    const struct config_request request = {.complaints = out};
    int code = config_load_buffer("printed.yaml", text, len, &request, &config);
    REQUIRE(fclose(out) == 0);
    if (code)
        fprintf(stderr, "%s of\n%.*s\n", complaints, (int)len, text);
    REQUIRE(code == 0);
    size_t again_len;
    char *again = print(config, &again_len);
    REQUIRE(again_len == len && memcmp(text, again, len) == 0);
    free(again);
    free(complaints);
    config_free(config);
}

static void check_printed(const struct config *config)
{
    size_t len;
    char *text = print(config, &len);
    REQUIRE(!memmem(text, len, SECRET, strlen(SECRET)));
    if (fuzz_is_utf8((struct slice){text, len})) { /* the environment takes any byte, YAML does not */
        check_is_yaml(text, len);
        /* A masked secret is another one, and a connection string that comes from a file is printed as none. */
        if (!memmem(text, len, "***", 3) && config->postgres.dsn[0])
            check_reads_back(text, len);
    }
    free(text);
}

/* ------------------------------------------------------------------ the trees */

static bool is_e164(struct slice number)
{
    return number.len > 3 && number.len <= 16 && number.ptr[0] == '+' && strspn(number.ptr + 1, "0123456789") == number.len - 1;
}

/* NUL-terminated behind its length, in one line. */
static void check_text(struct slice text, size_t max)
{
    REQUIRE(text.ptr && text.len <= max && strlen(text.ptr) == text.len && !fuzz_has_control(text));
}

static void check_topic(const struct config *config, struct slice topic)
{
    bool found = false;
    for (size_t i = 0; i < config->kafka.topics.count; i++)
        found = found || slice_is(topic, config->kafka.topics.items[i]);
    REQUIRE(found);
}

static void check_names(const struct config_names *names, size_t max)
{
    REQUIRE(names->count <= max);
    for (size_t i = 0; i < names->count; i++) {
        REQUIRE(names->items[i].parameter.len > 0 && names->items[i].source.len > 0);
        check_text(names->items[i].parameter, 64);
        check_text(names->items[i].source, 255);
    }
}

static void check_constant(const struct event_constant *constant)
{
    check_text(constant->text, 1000);
    REQUIRE(constant->kind != EVENT_CONSTANT_REAL || (constant->real - constant->real) == 0); /* finite */
}

static void check_expression(const struct event_expression *expression, unsigned depth)
{
    bool list = expression->operation == EVENT_FIRST_OF || expression->operation == EVENT_JOIN;
    bool leaf = expression->operation == EVENT_POINTER || expression->operation == EVENT_CONSTANT || expression->operation == EVENT_HEADER;
    REQUIRE(depth < EVENT_EXPRESSION_DEPTH_MAX);
    REQUIRE(leaf ? expression->part_count == 0 : expression->part_count >= 1);
    REQUIRE(expression->part_count <= (list ? 32 : 1));
    if (expression->operation == EVENT_POINTER)
        REQUIRE(expression->pointer.count <= 64 && slice_present(expression->pointer.text));
    if (expression->operation == EVENT_CONSTANT)
        check_constant(&expression->constant);
    if (expression->operation == EVENT_HEADER || expression->operation == EVENT_JOIN)
        check_text(expression->text, 249);
    for (size_t i = 0; i < expression->part_count; i++)
        check_expression(&expression->parts[i], depth + 1);
}

static void check_shape(const struct config *config, const struct event_topic *topic)
{
    check_topic(config, topic->topic);
    REQUIRE(topic->profile < EVENT_PROFILE_COUNT && topic->assignment_count <= 256);
    for (size_t i = 0; i < topic->assignment_count; i++) {
        const struct event_assignment *item = &topic->assignments[i];
        REQUIRE(item->field < EVENT_FIELD_COUNT);
        REQUIRE(!slice_present(item->member) || (item->field >= EVENT_FIRST_OBJECT && item->member.len > 0));
        check_expression(&item->expression, 0);
    }
}

static void check_route(const struct config *config, const struct event_route *route)
{
    check_text(route->name, 128);
    REQUIRE(route->name.len > 0 && (!slice_present(route->list_number) || is_e164(route->list_number)));
    for (size_t i = 0; i < route->topic_count; i++)
        check_topic(config, route->topics[i]);
    for (size_t i = 0; i < route->url_count; i++)
        check_text(route->urls[i], 1024);
    for (size_t i = 0; i < route->ad_network_source_count; i++)
        check_text(route->ad_network_sources[i], 128);
    for (size_t i = 0; i < route->country_count; i++)
        REQUIRE(route->countries[i].len == 2);
    for (size_t i = 0; i < route->custom_field_count; i++) {
        check_text(route->custom_fields[i].name, 255);
        check_constant(&route->custom_fields[i].value);
    }
}

static void check_trees(const struct config *config)
{
    REQUIRE(config->validation.gate_allow.count >= 1 && config->validation.gate_allow.count <= 5);
    for (size_t i = 0; i < config->validation.lists.count; i++)
        REQUIRE(is_e164(config->validation.lists.items[i].list_number));
    for (size_t i = 0; i < config->consent.require.count; i++)
        check_text(config->consent.require.items[i], 64);
    check_names(&config->consent.to_custom_fields, 32);
    check_names(&config->attribution.click_ids, 64);
    REQUIRE(config->mapping.shapes.count <= config->kafka.topics.count && config->routes.table.count <= 1000);
    for (size_t i = 0; i < config->mapping.shapes.count; i++)
        check_shape(config, &config->mapping.shapes.items[i]);
    for (size_t i = 0; i < config->routes.table.count; i++)
        check_route(config, &config->routes.table.items[i]);
}

static void check_config(const struct config *config)
{
    const char *urls[] = {config->contacts_api.base_url, config->contacts_api.validation_url};
    const char *list = config->defaults.list_number;
    for (size_t i = 0; i < 2; i++)
        REQUIRE(urls[i][0] && urls[i][strlen(urls[i]) - 1] != '/');
    REQUIRE(!list[0] || (list[0] == '+' && list[strspn(list + 1, "0123456789") + 1] == '\0'));
    REQUIRE(strlen(config->defaults.country) == 2);
    REQUIRE(config->kafka.topics.count > 0 && config->kafka.brokers[0] && config->kafka.group[0]);
    for (size_t i = 0; i < config->kafka.topics.count; i++)
        REQUIRE(strcmp(config->kafka.topics.items[i], config->kafka.dead_letter_topic) != 0 &&
                strcmp(config->kafka.topics.items[i], config->kafka.outcomes_topic) != 0);
    REQUIRE(config->validation.daily_budget >= CONFIG_MONEY_NONE);
    check_trees(config);
    REQUIRE(config->retry.inline_base_us <= config->retry.inline_cap_us);
    REQUIRE(config->retry.park_base_us <= config->retry.park_cap_us);
    REQUIRE(config->limits.lease_us > config->contacts_api.timeout_us);
    REQUIRE(!fuzz_has_control(slice_from_str(config->postgres.dsn)));
    check_mask(config->postgres.dsn);
    check_printed(config);
}

/* Only these are opened: a fuzzer should not read, let alone open, whatever path it thinks of. */
static bool path_is_ours(const char *path)
{
    return !path[0] || strcmp(path, SECRET_FILE) == 0 || strcmp(path, DSN_FILE) == 0 ||
           strcmp(path, "/dev/null") == 0 || strncmp(path, "/nonexistent/", 13) == 0;
}

static bool paths_are_ours(const struct config *config)
{
    /* A connection string that is not of our making may hold the word beside its password. */
    return strcmp(config->postgres.dsn_file, SECRET_FILE) != 0 &&
           path_is_ours(config->contacts_api.key_file) && path_is_ours(config->postgres.dsn_file) &&
           path_is_ours(config->kafka.password_file) && path_is_ours(config->contacts_api.ca_file);
}

/* True when it is worth a second load that reads the files. */
static bool check_load(const struct input *input, unsigned needs)
{
    struct config *config = NULL;
    char *complaints = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&complaints, &len);
    REQUIRE(out);
    const struct config_request request = {
        .environment = input->environment,
        .needs = needs,
        .property_refused = property_refused,
        .complaints = out,
    };
    int code = config_load_buffer("signup.yaml", input->whole, input->whole_len, &request, &config);
    REQUIRE(fclose(out) == 0);
    REQUIRE(code == 0 || code == EX_CONFIG || (needs && code == EX_NOINPUT));
    REQUIRE((code == 0) == (config != NULL));
    check_complaints(complaints, len, code);
    if (config)
        check_config(config);
    bool again = config && paths_are_ours(config);
    config_free(config);
    free(complaints);
    return again;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {0};
    if (size && memmem(data, size, SECRET, strlen(SECRET)))
        return -1; /* the fuzzer has seen the word compared: elsewhere than in a secret it is none */
    input_read((struct slice){(const char *)data, size}, &input);
    if (check_load(&input, 0) && input.needs)
        (void)check_load(&input, input.needs);
    input_free(&input);
    return 0;
}
