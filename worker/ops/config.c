/* One load from beginning to end: defaults, file, environment, cross-checks; its complaints and its exit
 * code. */
#include "signup/ops/config.h"

#include "config_tree.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define FILE_BYTES (1U << 20) /* a configuration is a page of text; more is the wrong file */
#define COMPLAINTS_SHOWN 50U
#define ARENA_BYTES (256U << 20) /* beyond what the longest file with the shortest values makes of it */

/* ------------------------------------------------------------------ complaints */

static void complain(struct config_loader *loader, unsigned line, const char *subject, const char *format,
                     va_list args) __attribute__((format(printf, 4, 0)));
static void complain(struct config_loader *loader, unsigned line, const char *subject, const char *format,
                     va_list args)
{
    FILE *out = loader->request->complaints;
    if (loader->complaints + loader->missing > COMPLAINTS_SHOWN)
        return;
    if (line && loader->name)
        (void)fprintf(out, "%s:%u: ", loader->name, line);
    (void)fprintf(out, "%s: ", subject);
    (void)vfprintf(out, format, args);
    (void)fputc('\n', out);
}

void config_complain_args(struct config_loader *loader, unsigned line, const char *subject,
                          const char *format, va_list args)
{
    loader->complaints++;
    complain(loader, line, subject, format, args);
}

void config_complain(struct config_loader *loader, unsigned line, const char *subject, const char *format,
                     ...)
{
    va_list args;
    loader->complaints++;
    va_start(args, format);
    complain(loader, line, subject, format, args);
    va_end(args);
}

/* Who is to blame for a key's value: the variable, or the key in its line. */
static const char *subject_of(const struct config_loader *loader, const struct config_key *key,
                              char variable[CONFIG_VARIABLE_BYTES])
{
    if (loader->origins[config_key_id(key)].layer != CONFIG_LAYER_ENVIRONMENT)
        return key->path;
    config_key_variable(key, variable);
    return variable;
}

void config_complain_key(struct config_loader *loader, const struct config_key *key, const char *format, ...)
{
    char variable[CONFIG_VARIABLE_BYTES];
    va_list args;
    loader->complaints++;
    va_start(args, format);
    complain(loader, loader->origins[config_key_id(key)].line, subject_of(loader, key, variable), format,
             args);
    va_end(args);
}

static void complain_plain(struct config_loader *loader, unsigned line, const char *subject,
                           const char *format, ...) __attribute__((format(printf, 4, 5)));
static void complain_plain(struct config_loader *loader, unsigned line, const char *subject,
                           const char *format, ...)
{
    va_list args;
    va_start(args, format);
    complain(loader, line, subject, format, args);
    va_end(args);
}

void config_complain_missing(struct config_loader *loader, const struct config_key *key, const char *why)
{
    char variable[CONFIG_VARIABLE_BYTES];
    loader->missing++;
    complain_plain(loader, loader->origins[config_key_id(key)].line, subject_of(loader, key, variable), "%s",
                   why);
}

void config_complain_memory(struct config_loader *loader)
{
    if (!loader->out_of_memory)
        config_complain(loader, 0, "the configuration",
                        "does not fit into memory; give the process more of it");
    loader->out_of_memory = true;
}

void config_complain_wrong(struct config_loader *loader, unsigned line, const char *subject,
                           const struct config_wrong *wrong)
{
    loader->out_of_memory = loader->out_of_memory || wrong->out_of_memory;
    config_complain(loader, line, subject, "%s", wrong->text);
}

/* ------------------------------------------------------------------ the load */

static bool set_defaults(struct config_loader *loader)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        struct config_wrong wrong = {0};
        const struct config_key *key = &config_keys[i];
        struct slice text = slice_from_str(key->fallback);
        bool good = true;
        if (config_kind_is_list(key->kind))
            good = config_value_set_parts(loader->config, key, text, &wrong);
        else if (config_kind_is_scalar(key->kind))
            good = config_value_set(loader->config, key, text, &wrong);
        else if (config_kind_is_tree(key->kind))
            config_tree_set(loader, key, config_node_from_text(loader, key, text, 0), false);
        assert(good || wrong.out_of_memory); /* the table agrees with itself */
        if (!good)
            return false;
    }
    return !loader->out_of_memory;
}

static int finish(struct config_loader *loader, struct config **out)
{
    unsigned all = loader->complaints + loader->missing;
    int code = 0;
    arena_fini(&loader->scratch);
    if (all > COMPLAINTS_SHOWN)
        (void)fprintf(loader->request->complaints, "%u more complaints follow these\n",
                      all - COMPLAINTS_SHOWN);
    if (loader->out_of_memory)
        code = EX_OSERR;
    else if (loader->complaints)
        code = EX_CONFIG;
    else if (loader->missing)
        code = EX_NOINPUT;
    if (code) {
        config_free(loader->config);
        loader->config = NULL;
    }
    *out = loader->config;
    return code;
}

/* `bytes` NULL: no file. */
static int load(const char *name, const char *bytes, size_t len, const struct config_request *request,
                struct config **out)
{
    struct config_loader loader = {.request = request, .name = name};
    loader.config = calloc(1, sizeof *loader.config);
    arena_init(&loader.scratch, ARENA_BYTES);
    if (loader.config)
        arena_init(&loader.config->arena, ARENA_BYTES);
    if (!loader.config || !set_defaults(&loader)) {
        loader.out_of_memory = true;
        return finish(&loader, out);
    }
    if (bytes)
        config_read_yaml(&loader, bytes, len);
    config_read_environment(&loader);
    config_settle(&loader);
    return finish(&loader, out);
}

int config_load_buffer(const char *name, const char *bytes, size_t len, const struct config_request *request,
                       struct config **out)
{
    *out = NULL;
    if (len > FILE_BYTES) {
        (void)fprintf(request->complaints,
                      "%s: is larger than 1 MiB, which no configuration is; name another file\n", name);
        return EX_CONFIG;
    }
    return load(name, bytes, len, request, out);
}

int config_load(const struct config_request *request, struct config **out)
{
    *out = NULL;
    if (!request->path)
        return load(NULL, NULL, 0, request, out);
    char *bytes = malloc(FILE_BYTES + 1);
    if (!bytes)
        return EX_OSERR;
    FILE *file = fopen(request->path, "re");
    size_t len = file ? fread(bytes, 1, FILE_BYTES + 1, file) : 0;
    int code = EX_NOINPUT;
    if (!file || ferror(file))
        (void)fprintf(request->complaints, "%s: %s; name a readable file with --config\n", request->path,
                      strerror(errno));
    else
        code = config_load_buffer(request->path, bytes, len, request, out);
    if (file)
        (void)fclose(file);
    explicit_bzero(bytes, len);
    free(bytes);
    return code;
}

void config_free(struct config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        config_value_clear(config, &config_keys[i]);
    arena_fini(&config->arena);
    free(config);
}
