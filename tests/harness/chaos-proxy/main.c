/* chaos-proxy: a TCP proxy between a program and one of its servers that can be told to misbehave. */
#include "command.h"
#include "control.h"
#include "proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

struct options {
    const char *listen;
    const char *target;
    const char *control_path;
    const char *port_path;
    bool die_with_parent;
};

static void usage(FILE *out)
{
    fprintf(out,
            "usage: chaos-proxy --listen HOST:PORT --target HOST:PORT --control SOCKET [--port-file FILE]\n"
            "                   [--die-with-parent]\n"
            "       chaos-proxy --send SOCKET COMMAND...\n"
            "\n"
            "Forwards TCP connections and prints its own address; port 0 is a free one. FILE gets the port once the\n"
            "proxy accepts. --send obeys one command per argument.\n"
            "\n"
            "Commands, one per line of the control socket, each answered by `ok ...` or `error ...`:\n%s"
            "\n"
            "  chaos-proxy --listen 127.0.0.1:0 --target 127.0.0.1:5432 --control /tmp/chaos.sock &\n"
            "  chaos-proxy --send /tmp/chaos.sock 'delay both 50' 'rst-after down 1000 1' stats\n",
            chaos_command_help);
}

static bool parse_options(int argc, char **argv, struct options *options)
{
    static const struct option table[] = {
        {"listen", required_argument, NULL, 'l'},    {"target", required_argument, NULL, 't'},
        {"control", required_argument, NULL, 'c'},   {"port-file", required_argument, NULL, 'p'},
        {"die-with-parent", no_argument, NULL, 'd'}, {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (option) {
        case 'l':
            options->listen = optarg;
            break;
        case 't':
            options->target = optarg;
            break;
        case 'c':
            options->control_path = optarg;
            break;
        case 'p':
            options->port_path = optarg;
            break;
        case 'd':
            options->die_with_parent = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc && options->listen != NULL && options->target != NULL && options->control_path != NULL;
}

/* The file appears whole, by rename: whoever waits for it may read it at once. */
static bool write_port(const char *path, int port)
{
    char part[4096];
    if (snprintf(part, sizeof(part), "%s.part", path) >= (int)sizeof(part)) {
        return false;
    }
    FILE *file = fopen(part, "we");
    if (file == NULL) {
        return false;
    }
    bool written = fprintf(file, "%d\n", port) > 0;
    return fclose(file) == 0 && written && rename(part, path) == 0;
}

static void on_control(void *context)
{
    control_process(context);
}

static int serve(struct proxy *proxy, const struct options *options)
{
    struct control *control = control_create(options->control_path, chaos_command_obey, proxy);
    if (control == NULL) {
        fprintf(stderr, "chaos-proxy: %s: %s\n", options->control_path, strerror(errno));
        return 73;
    }
    int port = ntohs(proxy->listen_address.sin_port);
    int status = 0;
    if (options->port_path != NULL && !write_port(options->port_path, port)) {
        fprintf(stderr, "chaos-proxy: %s: %s\n", options->port_path, strerror(errno));
        status = 73;
    } else {
        char host[INET_ADDRSTRLEN] = "";
        inet_ntop(AF_INET, &proxy->listen_address.sin_addr, host, sizeof(host));
        printf("%s:%d\n", host, port);
        fflush(stdout);
        proxy_run(proxy, control_fd(control), on_control, control);
    }
    control_destroy(control);
    return status;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    struct sockaddr_in listen_address, target;
    struct proxy proxy;
    if (argc >= 4 && strcmp(argv[1], "--send") == 0) {
        return control_send(argv[2], argc - 3, argv + 3);
    }
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        usage(stdout);
        return 0;
    }
    if (!parse_options(argc, argv, &options) || !proxy_address_parse(options.listen, &listen_address) ||
        !proxy_address_parse(options.target, &target)) {
        usage(stderr);
        return 64;
    }
    if (options.die_with_parent) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    }
    signal(SIGPIPE, SIG_IGN);
    if (!proxy_init(&proxy, &listen_address, &target)) {
        fprintf(stderr, "chaos-proxy: %s: %s\n", options.listen, strerror(errno));
        return 71;
    }
    int status = serve(&proxy, &options);
    proxy_fini(&proxy);
    return status;
}
