/* Options: --config and --help for all commands, their own beside them; and the reading of the configuration that follows. */
#include "command.h"

#include <assert.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define OPTIONS_MAX 32
#define OWN_FIRST 1000 /* getopt's values of a command's own options */

extern char **environ;

int options_parse(int argc, char **argv, const char *help, int operands, const struct command_option *own, size_t own_count, void *ctx,
                  struct common_options *common, int *operand)
{
    struct option options[OPTIONS_MAX + 3] = {{"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'}};
    *common = (struct common_options){0};
    assert(own_count <= OPTIONS_MAX);
    for (size_t i = 0; i < own_count; i++)
        options[2 + i] = (struct option){own[i].name, own[i].has_value ? required_argument : no_argument, NULL,
                                         OWN_FIRST + (int)i};
    int got;
    optind = 1;
    while ((got = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        if (got == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (got == 'c') {
            common->config_path = optarg;
            continue;
        }
        if (got < OWN_FIRST) {
            fprintf(stderr, "see signup-worker %s --help\n", argv[0]);
            return EX_USAGE;
        }
        const struct command_option *option = &own[got - OWN_FIRST];
        if (!option->apply(ctx, optarg)) {
            fprintf(stderr, "signup-worker %s: --%s does not take \"%s\"; see signup-worker %s --help\n", argv[0],
                    option->name, optarg ? optarg : "", argv[0]);
            return EX_USAGE;
        }
    }
    *operand = optind;
    if (argc - optind == operands)
        return -1;
    if (argc - optind > operands)
        fprintf(stderr, "signup-worker %s: \"%s\" is one word too many", argv[0], argv[optind + operands]);
    else
        fprintf(stderr, "signup-worker %s: something is missing behind it", argv[0]);
    fprintf(stderr, "; see signup-worker %s --help\n", argv[0]);
    return EX_USAGE;
}

static struct event_attribution attribution_from(const struct config *config)
{
    return (struct event_attribution){
        .from_url = config->attribution.from_url,
        .click_ids = config->attribution.click_ids.items,
        .click_id_count = config->attribution.click_ids.count,
        .source_parameters = config->attribution.source_parameters.items,
        .source_parameter_count = config->attribution.source_parameters.count,
        .id_parameters = config->attribution.id_parameters.items,
        .id_parameter_count = config->attribution.id_parameters.count,
    };
}

static struct event_consent consent_from(const struct config *config)
{
    return (struct event_consent){
        .require = config->consent.require.items,
        .require_count = config->consent.require.count,
        .warn_only = config->consent.on_missing == CONFIG_ON_MISSING_WARN,
        .to_custom_fields = config->consent.to_custom_fields.items,
        .to_custom_field_count = config->consent.to_custom_fields.count,
    };
}

struct event_rules event_rules_from(const struct config *config)
{
    const char *list = config->defaults.list_number;
    return (struct event_rules){
        .country = config->defaults.country,
        .list_number = list[0] ? slice_from_str(list) : SLICE_ABSENT,
        .use_journeys = config->defaults.use_journeys,
        .skip_journey_if_exists = config->defaults.skip_journey_if_exists,
        .validation = (enum event_validation)config->validation.mode,
        .lists = config->validation.lists.items,
        .list_count = config->validation.lists.count,
        .topics = (const char *const *)config->kafka.topics.items,
        .topic_count = config->kafka.topics.count,
        .shapes = config->mapping.shapes.items,
        .shape_count = config->mapping.shapes.count,
        .routes = config->routes.table.items,
        .route_count = config->routes.table.count,
        .attribution = attribution_from(config),
        .consent = consent_from(config),
        .overflow = (enum event_overflow)config->limits.custom_fields_overflow,
    };
}

/* The words of the configuration stand in the order of the enums that they become. */
_Static_assert((int)CONFIG_VALIDATION_OFF == (int)EVENT_VALIDATION_OFF && (int)CONFIG_VALIDATION_INLINE == (int)EVENT_VALIDATION_INLINE &&
                   (int)CONFIG_VALIDATION_GATE == (int)EVENT_VALIDATION_GATE,
               "validation modes");
_Static_assert((int)CONFIG_OVERFLOW_DEAD == (int)EVENT_OVERFLOW_DEAD && (int)CONFIG_OVERFLOW_DROP_LARGEST == (int)EVENT_OVERFLOW_DROP_LARGEST,
               "overflow");

bool kafka_config_from(const struct config *config, struct kafka_config *out, struct kafka_property **properties)
{
    size_t count = config->kafka.properties.count;
    *properties = calloc(count + 1, sizeof **properties);
    if (!*properties)
        return false;
    for (size_t i = 0; i < count; i++)
        (*properties)[i] = (struct kafka_property){config->kafka.properties.items[i].name,
                                                   config->kafka.properties.items[i].value};
    *out = (struct kafka_config){
        .brokers = config->kafka.brokers,
        .topics = (const char *const *)config->kafka.topics.items,
        .topic_count = config->kafka.topics.count,
        .group = config->kafka.group,
        .start = config->kafka.start == CONFIG_START_EARLIEST ? KAFKA_START_EARLIEST : KAFKA_START_LATEST,
        .dead_letter_topic = config->kafka.dead_letter_topic,
        .outcomes_topic = config->kafka.outcomes_topic,
        .properties = *properties,
        .property_count = count,
    };
    return true;
}

static int kafka_judge(const struct common_options *common, const struct config *config)
{
    struct kafka_config kafka;
    struct kafka_property *properties;
    if (!kafka_config_from(config, &kafka, &properties))
        return EX_OSERR;
    char why[512];
    bool well = kafka_config_check(&kafka, why, sizeof why);
    free(properties);
    if (well)
        return 0;
    fprintf(stderr, "%s: kafka: %s\n", common->config_path ? common->config_path : "environment", why);
    return EX_CONFIG;
}

int config_open(const struct common_options *common, unsigned needs, struct config **out)
{
    const struct config_request request = {
        .path = common->config_path,
        .environment = (const char *const *)environ,
        .needs = needs,
        .property_refused = kafka_property_refused,
        .complaints = stderr,
    };
    int code = config_load(&request, out);
    config_forget_environment();
    if (code == 0 && (code = kafka_judge(common, *out)) != 0) {
        config_free(*out);
        *out = NULL;
    }
    return code;
}
