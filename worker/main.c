/* signup-worker: subcommands. */
#include "cli/command.h"

#include "signup/base/crash.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static void overview(FILE *out)
{
    fputs("signup-worker consumes signup events from Kafka, upserts each as a contact through the contacts API,\n"
          "and writes what became of it to a PostgreSQL ledger.\n\n"
          "usage: signup-worker COMMAND [--config FILE] [options]\n\ncommands:\n",
          out);
#define X(name, line) fprintf(out, "  %-9s %s\n", #name, line);
    COMMANDS(X)
#undef X
    fputs("\n  signup-worker COMMAND --help   says more, with examples\n"
          "  signup-worker --version\n\n"
          "exit codes: 0 well, 64 usage, 66 a file is missing, 69 a server is away, 70 a bug, 71 the system,\n"
          "            75 restart me, 77 refused, 78 configuration\n",
          out);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    CRASH_START();
    if (argc < 2) {
        overview(stderr);
        return EX_USAGE;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        overview(stdout);
        return 0;
    }
    if (strcmp(word, "--version") == 0) {
        puts("signup-worker " SIGNUP_VERSION);
        return 0;
    }
#define X(name, line)                                                                                                  \
    if (strcmp(word, #name) == 0)                                                                                      \
        return command_##name(argc - 1, argv + 1);
    COMMANDS(X)
#undef X
    fprintf(stderr, "signup-worker: there is no command \"%s\"; see signup-worker --help\n", word);
    return EX_USAGE;
}
