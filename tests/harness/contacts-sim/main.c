/* contacts-sim: a contacts API that keeps a book and misbehaves on command. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>

#include "control.h"
#include "plan.h"
#include "server.h"
#include "sim.h"

static void main_raise_file_limit(void)
{
    struct rlimit limit;
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static struct options options;
    static struct sim sim;
    static struct server server;
    options_parse(&options, argc, argv);
    main_raise_file_limit();
    sim.options = &options;
    sim.latency_min_ms = options.latency_min_ms;
    sim.latency_max_ms = options.latency_max_ms;
    state_init(&sim.state);
    faults_init(&sim.faults, options.seed);
    control_reset_account(&sim);
    if (!book_open(&sim.book, options.book, options.book_bodies)) {
        fprintf(stderr, "contacts-sim: cannot open %s: %s\n", options.book, strerror(errno));
        return EX_CANTCREAT;
    }
    int status = EX_UNAVAILABLE;
    if (server_init(&server, &sim)) {
        server_run(&server);
        status = EXIT_SUCCESS;
    }
    server_fini(&server);
    book_close(&sim.book);
    faults_clear(&sim.faults);
    state_fini(&sim.state);
    control_set_keys(&sim, NULL, 0);
    free(sim.billing_code);
    plan_free_bomb();
    return status;
}
