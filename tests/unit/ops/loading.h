/* A load of text with its complaints, for the tests of the configuration. */
#ifndef SIGNUP_TESTS_OPS_LOADING_H
#define SIGNUP_TESTS_OPS_LOADING_H

#include "support.h"

#include "signup/ops/config.h"

#include <sysexits.h>

static char complaints[1 << 16];

static const char *refuse_reset(const char *name)
{
    return strcmp(name, "auto.offset.reset") == 0 ? "belongs to the worker; use kafka.start" : NULL;
}

static int load_full(const char *yaml, size_t len, const char *const *environment, unsigned needs,
                     struct config **out)
{
    memset(complaints, 0, sizeof complaints);
    FILE *file = fmemopen(complaints, sizeof complaints - 1, "w");
    assert_non_null(file);
    const struct config_request request = {
        .environment = environment, .needs = needs, .property_refused = refuse_reset, .complaints = file};
    int code = yaml ? config_load_buffer("c.yaml", yaml, len, &request, out) : config_load(&request, out);
    assert_int_equal(fclose(file), 0);
    assert_true((code == 0) == (*out != NULL));
    assert_true((code == 0) == (complaints[0] == '\0'));
    return code;
}

__attribute__((unused)) static struct config *load_good(const char *yaml, const char *const *environment)
{
    struct config *config;
    int code = load_full(yaml, yaml ? strlen(yaml) : 0, environment, 0, &config);
    if (code)
        fail_msg("refused: %s\n%s", yaml ? yaml : "(no file)", complaints);
    return config;
}

/* True when a line of the complaints begins so. */
__attribute__((unused)) static bool complained(const char *beginning)
{
    const char *at = complaints;
    while ((at = strstr(at, beginning)) != NULL) {
        if (at == complaints || at[-1] == '\n')
            return true;
        at++;
    }
    return false;
}

__attribute__((unused)) static char *printed(const struct config *config)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    config_print(config, out);
    assert_int_equal(fclose(out), 0);
    return text;
}

#endif
