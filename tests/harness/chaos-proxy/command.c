/* Turns one line of the control socket into a change of the proxy's rules or connections. */
#include "command.h"

#include "proxy.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define DAY_MS (24LL * 3600 * 1000)

const char chaos_command_help[] =
    "  pass                         heal everything: no faults, listening; connections stay\n"
    "  delay DIR MS                 each chunk leaves MS later; 0 is none\n"
    "  rate DIR BYTES_PER_S         per connection; 0 is unlimited\n"
    "  blackhole DIR [off]          move nothing, not even an end, as if the cable were cut\n"
    "  drop DIR [off]               read and throw away\n"
    "  rst-after DIR BYTES [TIMES]  reset a connection once it has forwarded BYTES more, TIMES connections (all)\n"
    "  corrupt DIR BYTE [TIMES]     invert byte number BYTE (from 0), on TIMES connections (1)\n"
    "  half-close up|down           end that direction of the present connections, the other stays open\n"
    "  rst | close                  end the present connections, by reset | orderly\n"
    "  refuse | listen              let the kernel refuse new connections | accept them again\n"
    "  target HOST:PORT             where new connections go\n"
    "  stats                        counters as JSON\n"
    "  quit\n"
    "DIR is up (to the target), down (to the client) or both. Bytes are counted per connection from the moment\n"
    "of the last command that changed a rule. A target that is away shows as a reset right after the connect.\n";

/* Reads DIR into the inclusive range of directions that it means. */
static bool read_directions(const char *word, int *first, int *last, struct control_answer *answer)
{
    *first = strcmp(word, "down") == 0 ? PROXY_DOWN : PROXY_UP;
    *last = strcmp(word, "up") == 0 ? PROXY_UP : PROXY_DOWN;
    if (strcmp(word, "up") != 0 && strcmp(word, "down") != 0 && strcmp(word, "both") != 0) {
        control_error(answer, "up, down or both, not %.64s", word);
        return false;
    }
    return true;
}

static void do_pass(struct proxy *proxy, int count, char **words, struct control_answer *answer)
{
    (void)count;
    (void)words;
    for (int d = 0; d < PROXY_DIRECTIONS; d++) {
        proxy->rules[d] = proxy_rule_none();
    }
    proxy_rules_changed(proxy);
    if (proxy_listen(proxy)) {
        control_ok(answer, "%s", "");
    } else {
        control_error(answer, "listen: %s", strerror(errno));
    }
}

/* delay, rate, rst-after, corrupt: a direction, a number, and for the last two how often. */
static void do_measure(struct proxy *proxy, int count, char **words, struct control_answer *answer)
{
    int first, last;
    long long value, times = strcmp(words[0], "corrupt") == 0 ? 1 : -1;
    if (!read_directions(words[1], &first, &last, answer) ||
        !control_number(words[2], 0, strcmp(words[0], "delay") == 0 ? DAY_MS : INT64_MAX / 2, &value, answer) ||
        (count == 4 && !control_number(words[3], 1, INT32_MAX, &times, answer))) {
        return;
    }
    for (int d = first; d <= last; d++) {
        struct proxy_rule *rule = &proxy->rules[d];
        if (strcmp(words[0], "delay") == 0) {
            rule->delay_us = value * 1000;
        } else if (strcmp(words[0], "rate") == 0) {
            rule->rate_bytes_per_s = value;
        } else if (strcmp(words[0], "rst-after") == 0) {
            rule->rst_after_bytes = value;
            rule->rst_times = times;
        } else {
            rule->corrupt_at_byte = value;
            rule->corrupt_times = times;
        }
    }
    proxy_rules_changed(proxy);
    control_ok(answer, "%s", "");
}

/* blackhole, drop: a direction, and off. */
static void do_switch(struct proxy *proxy, int count, char **words, struct control_answer *answer)
{
    int first, last;
    if (!read_directions(words[1], &first, &last, answer)) {
        return;
    }
    if (count == 3 && strcmp(words[2], "off") != 0) {
        control_error(answer, "off or nothing, not %.64s", words[2]);
        return;
    }
    for (int d = first; d <= last; d++) {
        if (strcmp(words[0], "drop") == 0) {
            proxy->rules[d].drop = count == 2;
        } else {
            proxy->rules[d].blackhole = count == 2;
        }
    }
    proxy_rules_changed(proxy);
    control_ok(answer, "%s", "");
}

static void do_half_close(struct proxy *proxy, int count, char **words, struct control_answer *answer)
{
    int first, last;
    (void)count;
    if (!read_directions(words[1], &first, &last, answer)) {
        return;
    }
    if (first != last) {
        control_error(answer, "both is a close");
        return;
    }
    control_ok(answer, "%d", proxy_half_close(proxy, first));
}

static void do_close(struct proxy *proxy, int count, char **words, struct control_answer *answer)
{
    (void)count;
    control_ok(answer, "%d", proxy_close_all(proxy, strcmp(words[0], "rst") == 0));
}

static void do_refuse(struct proxy *proxy, int count, char **words, struct control_answer *answer)
{
    (void)count;
    (void)words;
    proxy_refuse(proxy);
    control_ok(answer, "%s", "");
}

static void do_listen(struct proxy *proxy, int count, char **words, struct control_answer *answer)
{
    (void)count;
    (void)words;
    if (proxy_listen(proxy)) {
        control_ok(answer, "%s", "");
    } else {
        control_error(answer, "listen: %s", strerror(errno));
    }
}

static void do_target(struct proxy *proxy, int count, char **words, struct control_answer *answer)
{
    struct sockaddr_in target;
    (void)count;
    if (proxy_address_parse(words[1], &target) && target.sin_port != 0) {
        proxy->target = target;
        control_ok(answer, "%s", "");
    } else {
        control_error(answer, "not HOST:PORT: %.64s", words[1]);
    }
}

static void do_stats(struct proxy *proxy, int count, char **words, struct control_answer *answer)
{
    const struct proxy_stats *stats = &proxy->stats;
    (void)count;
    (void)words;
    control_ok(answer,
               "{\"accepted\":%ju,\"open\":%ju,\"connect_failures\":%ju,\"resets\":%ju,\"corrupted\":%ju,"
               "\"up_bytes\":%ju,\"down_bytes\":%ju}",
               (uintmax_t)stats->accepted, (uintmax_t)stats->open, (uintmax_t)stats->connect_failures,
               (uintmax_t)stats->resets, (uintmax_t)stats->corrupted, (uintmax_t)stats->bytes[PROXY_UP],
               (uintmax_t)stats->bytes[PROXY_DOWN]);
}

static void do_quit(struct proxy *proxy, int count, char **words, struct control_answer *answer)
{
    (void)count;
    (void)words;
    proxy->quit = true;
    control_ok(answer, "%s", "");
}

struct command {
    const char *name;
    int words_min; /* with the name */
    int words_max;
    void (*run)(struct proxy *proxy, int count, char **words, struct control_answer *answer);
};

static const struct command commands[] = {
    {"pass", 1, 1, do_pass},           {"delay", 3, 3, do_measure},   {"rate", 3, 3, do_measure},
    {"blackhole", 2, 3, do_switch},    {"drop", 2, 3, do_switch},     {"rst-after", 3, 4, do_measure},
    {"corrupt", 3, 4, do_measure},     {"half-close", 2, 2, do_half_close}, {"rst", 1, 1, do_close},
    {"close", 1, 1, do_close},         {"refuse", 1, 1, do_refuse},   {"listen", 1, 1, do_listen},
    {"target", 2, 2, do_target},       {"stats", 1, 1, do_stats},     {"quit", 1, 1, do_quit},
};

void chaos_command_obey(void *context, int count, char **words, struct control_answer *answer)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(words[0], commands[i].name) != 0) {
            continue;
        }
        if (count < commands[i].words_min || count > commands[i].words_max) {
            control_error(answer, "wrong number of words for %s", commands[i].name);
        } else {
            commands[i].run(context, count, words, answer);
        }
        return;
    }
    control_error(answer, "unknown command: %.64s", words[0]);
}
