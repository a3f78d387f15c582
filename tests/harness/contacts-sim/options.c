/* The command line. */
#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "faults.h"
#include "phone.h"

#define OPTIONS_DEFAULT_KEY "trk_0123456789abcdefghijklmnopqrstuv"

static const char options_help[] =
    "contacts-sim: a contacts API that keeps a book and misbehaves on command.\n"
    "\n"
    "  --listen ADDR:PORT      where to listen (127.0.0.1:0; port 0 picks one)\n"
    "  --tls-cert F --tls-key F  PEM files; TLS on --listen, or on --tls-listen if that is given\n"
    "  --tls-listen ADDR:PORT  a second port with TLS\n"
    "  --validation-listen ADDR:PORT  a port of the validation host: v1 alone\n"
    "  --validation-tls-listen ADDR:PORT  the same with TLS\n"
    "  --strict-hosts          the other ports serve v2 alone (without it: both)\n"
    "  --control-listen ADDR:PORT  a port for control calls alone, which never misbehaves\n"
    "  --port-file F           one port a line: listen, tls-listen, validation-listen, validation-tls-listen,\n"
    "                          control-listen, as far as they are given\n"
    "  --key KEY               an accepted key, repeatable (" OPTIONS_DEFAULT_KEY ")\n"
    "  --latency-ms N | A..B   before each answer; a range is drawn uniformly\n"
    "  --seed N                of latencies and probabilities (1)\n"
    "  --book F                append the book to F, one JSON object a line (see book.h)\n"
    "  --book-bodies           with the raw bodies of the requests\n"
    "  --lists A,B             the account's sending lists (every +1 number)\n"
    "  --journeys N            active Welcome Journeys of every list (1)\n"
    "  --lenient               ignore unknown fields, take US spellings and any Content-Type\n"
    "\n"
    "Base URLs are http://ADDR:PORT/api/v2 and http://ADDR:PORT/api/v1.\n"
    "\n"
    "Lookups are decided by the last four digits of a number: 9001 fixed line (unreachable), 9002 voip\n"
    "(unreachable), 9003 do-not-call (risky), 9004 invalid, 9005 unknown, 9006 the provider cannot be\n"
    "reached (503), 9007 voip that the account rejects (an upsert with use_validation: 400 not_sendable),\n"
    "all others ok; or, number by number, by POST /_sim/phone. The first lookup of a number costs $0.003, for\n"
    "all keys together; from then on the account is told the same again for nothing, without the provider,\n"
    "unless `force` asks for a fresh one. A contact that was set inactive stays so: an upsert updates it, enrols\n"
    "nobody and says so in `warnings`.\n"
    "\n"
    "Control, no key needed:\n"
    "  GET  /_sim/stats                            counters\n"
    "  POST /_sim/faults  [RULE, ...]              adds rules; GET lists them, DELETE removes all\n"
    "  POST /_sim/reset                            forgets contacts, counters, rules; options as at first\n"
    "  POST /_sim/keys    [\"trk_...\"]              the accepted keys from now on\n"
    "  POST /_sim/latency {\"min_ms\":N,\"max_ms\":N}\n"
    "  POST /_sim/billing {\"code\":\"suspended\"}     402 where validation is asked for; null or \"\" ends it\n"
    "  POST /_sim/lists   [\"+1...\"]               the account's sending lists from now on; []: every +1 number\n"
    "  POST /_sim/journeys {\"list\":\"+1..\",\"journeys\":N}  active Welcome Journeys of a list; without a list: of all\n"
    "  POST /_sim/phone   {\"phone\":\"+1..\", ...}  what lookups of it find out from now on: disposition (with all that\n"
    "                     goes with it), line_type, carrier, carrier_raw, country, state, city, valid, ported,\n"
    "                     on_dnc, provider_error, not_sendable; \"validated\": as if it had been looked up, or never;\n"
    "                     the phone alone: what its last four digits say\n"
    "  GET  /_sim/contact?phone=+1...&list=+1...   enrolments, calls, values of the custom field seq\n"
    "  POST /_sim/contact {\"phone\":..,\"list\":..,\"active\":false}  unsubscribes it (true: subscribes it again);\n"
    "                     with \"create\":true also one that is not on the list yet, as an import would\n"
    "\n"
    "RULE: {\"op\":\"upsert|validate|validate_batch|read|list|bulk|other|any\", \"phone\":\"+1..\",\n"
    "  \"list\":\"+1..\", \"probability\":1.0, \"after\":N, \"count\":N, \"reused\":bool,\n"
    "  \"action\":ACTION}. The first rule that fires counts.\n"
    "ACTION: {\"kind\":.., \"at\":.., \"apply\":true|false|\"late\", \"delay_ms\":N, \"status\":N,\n"
    "  \"code\":.., \"error\":.., \"message\":.., \"headers\":{..}, \"body\":\"raw\", ...}\n"
    "  apply: whether the call takes effect; late: just before the answer would leave, also when the client\n"
    "  has gone. Left out: yes where the client gets (part of) a good answer.\n"
    "  accept and before_read meet every connection, so a rule for them names no op; control calls are let\n"
    "  through at before_read, but not at accept: use --control-listen or a count.\n"
    "Kinds:\n";

static _Noreturn void options_print_help(void)
{
    fputs(options_help, stdout);
#define X(name, text, help) printf("  %-17s %s\n", text, help);
    FAULT_KINDS(X)
#undef X
    exit(EXIT_SUCCESS);
}

static _Noreturn void options_reject(const char *why, const char *value)
{
    fprintf(stderr, "contacts-sim: %s: %s (see --help)\n", why, value);
    exit(EX_USAGE);
}

static bool options_parse_number(const char *text, const char **end, unsigned long long most,
                                 unsigned long long *value)
{
    char *stop;
    *value = strtoull(text, &stop, 10);
    *end = stop;
    return *text >= '0' && *text <= '9' && *value <= most;
}

bool options_parse_latency(const char *text, unsigned *min_ms, unsigned *max_ms)
{
    const char *rest;
    unsigned long long low, high;
    if (!options_parse_number(text, &rest, 86400000, &low))
        return false;
    high = low;
    if (!strncmp(rest, "..", 2) && !options_parse_number(rest + 2, &rest, 86400000, &high))
        return false;
    *min_ms = (unsigned)low;
    *max_ms = (unsigned)high;
    return !*rest && high >= low;
}

static void options_parse_lists(struct options *options, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, ",");
        if (options->list_count == OPTIONS_MAX_LISTS ||
            !phone_parse_e164(text, len, &options->lists[options->list_count++]))
            options_reject("not an E.164 list number", text);
        text += len + (text[len] == ',');
    }
    if (!options->list_count)
        options_reject("--lists needs a list", "");
}

static unsigned long long options_number(const char *text, unsigned long long most)
{
    const char *rest;
    unsigned long long value;
    if (!options_parse_number(text, &rest, most, &value) || *rest)
        options_reject("not a number", text);
    return value;
}

enum options_id {
    OPTION_LISTEN = 1000,
    OPTION_TLS_LISTEN,
    OPTION_VALIDATION_LISTEN,
    OPTION_VALIDATION_TLS_LISTEN,
    OPTION_STRICT_HOSTS,
    OPTION_CONTROL_LISTEN,
    OPTION_PORT_FILE,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY,
    OPTION_KEY,
    OPTION_LATENCY,
    OPTION_SEED,
    OPTION_BOOK,
    OPTION_BOOK_BODIES,
    OPTION_LISTS,
    OPTION_JOURNEYS,
    OPTION_LENIENT,
    OPTION_HELP,
};

static void options_take(struct options *options, int id, const char *value)
{
    switch (id) {
    case OPTION_LISTEN: options->listen = value; break;
    case OPTION_TLS_LISTEN: options->tls_listen = value; break;
    case OPTION_VALIDATION_LISTEN: options->validation_listen = value; break;
    case OPTION_VALIDATION_TLS_LISTEN: options->validation_tls_listen = value; break;
    case OPTION_STRICT_HOSTS: options->strict_hosts = true; break;
    case OPTION_CONTROL_LISTEN: options->control_listen = value; break;
    case OPTION_PORT_FILE: options->port_file = value; break;
    case OPTION_TLS_CERT: options->tls_cert = value; break;
    case OPTION_TLS_KEY: options->tls_key = value; break;
    case OPTION_KEY:
        if (options->key_count == OPTIONS_MAX_KEYS)
            options_reject("too many keys", value);
        options->keys[options->key_count++] = value;
        break;
    case OPTION_LATENCY:
        if (!options_parse_latency(value, &options->latency_min_ms, &options->latency_max_ms))
            options_reject("not a latency", value);
        break;
    case OPTION_SEED: options->seed = options_number(value, UINT64_MAX); break;
    case OPTION_BOOK: options->book = value; break;
    case OPTION_BOOK_BODIES: options->book_bodies = true; break;
    case OPTION_LISTS: options_parse_lists(options, value); break;
    case OPTION_JOURNEYS: options->journeys = (unsigned)options_number(value, 1000); break;
    case OPTION_LENIENT: options->lenient = true; break;
    case OPTION_HELP: options_print_help();
    default: exit(EX_USAGE); /* getopt has said why */
    }
}

void options_parse(struct options *options, int argc, char **argv)
{
    static const struct option known[] = {
        {"listen", required_argument, NULL, OPTION_LISTEN},
        {"tls-listen", required_argument, NULL, OPTION_TLS_LISTEN},
        {"validation-listen", required_argument, NULL, OPTION_VALIDATION_LISTEN},
        {"validation-tls-listen", required_argument, NULL, OPTION_VALIDATION_TLS_LISTEN},
        {"strict-hosts", no_argument, NULL, OPTION_STRICT_HOSTS},
        {"control-listen", required_argument, NULL, OPTION_CONTROL_LISTEN},
        {"port-file", required_argument, NULL, OPTION_PORT_FILE},
        {"tls-cert", required_argument, NULL, OPTION_TLS_CERT},
        {"tls-key", required_argument, NULL, OPTION_TLS_KEY},
        {"key", required_argument, NULL, OPTION_KEY},
        {"latency-ms", required_argument, NULL, OPTION_LATENCY},
        {"seed", required_argument, NULL, OPTION_SEED},
        {"book", required_argument, NULL, OPTION_BOOK},
        {"book-bodies", no_argument, NULL, OPTION_BOOK_BODIES},
        {"lists", required_argument, NULL, OPTION_LISTS},
        {"journeys", required_argument, NULL, OPTION_JOURNEYS},
        {"lenient", no_argument, NULL, OPTION_LENIENT},
        {"help", no_argument, NULL, OPTION_HELP},
        {0},
    };
    int id;
    *options = (struct options){.listen = "127.0.0.1:0", .seed = 1, .journeys = 1};
    while ((id = getopt_long(argc, argv, "", known, NULL)) != -1)
        options_take(options, id, optarg);
    if (optind < argc)
        options_reject("unexpected argument", argv[optind]);
    if (!options->tls_cert != !options->tls_key)
        options_reject("--tls-cert and --tls-key belong together", "one is missing");
    if (options->tls_listen && !options->tls_cert)
        options_reject("--tls-listen needs --tls-cert", options->tls_listen);
    if (options->validation_tls_listen && !options->tls_cert)
        options_reject("--validation-tls-listen needs --tls-cert", options->validation_tls_listen);
    if (options->strict_hosts && !options->validation_listen && !options->validation_tls_listen)
        options_reject("--strict-hosts needs a validation host", "nobody would serve v1");
    if (!options->key_count)
        options->keys[options->key_count++] = OPTIONS_DEFAULT_KEY;
}
