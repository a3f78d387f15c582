/* A private PostgreSQL of the test: made in a temporary folder, reached by a unix socket or by TCP on
 * loopback, gone with the test, also when the test crashes. */
#ifndef SIGNUP_TESTS_PG_CLUSTER_H
#define SIGNUP_TESTS_PG_CLUSTER_H

#include <errno.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLUSTER_CHECK(condition)                                                                             \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #condition, strerror(errno));             \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

struct cluster {
    char folder[64];
    char bin[256];
    char dsn[256];
    int port;
    pid_t postmaster;
    PGconn *admin;
    char answer[4096];
};

static inline double cluster_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* PostgreSQL refuses to run as root. */
static inline void cluster_become_postgres(void)
{
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (getuid() != 0)
        return;
    struct passwd *user = getpwnam("postgres");
    CLUSTER_CHECK(user && initgroups("postgres", user->pw_gid) == 0 && setgid(user->pw_gid) == 0 &&
                  setuid(user->pw_uid) == 0);
    prctl(PR_SET_PDEATHSIG, SIGQUIT); /* changing the user had cleared it */
}

static inline pid_t cluster_spawn(const struct cluster *cluster, const char *log, const char *const *argv)
{
    pid_t pid = fork();
    CLUSTER_CHECK(pid >= 0);
    if (pid)
        return pid;
    cluster_become_postgres();
    char path[512];
    snprintf(path, sizeof path, "%s/%s", cluster->folder, log);
    if (chdir(cluster->folder) != 0 || !freopen(path, "a", stdout) || dup2(1, 2) < 0)
        _exit(126);
    snprintf(path, sizeof path, "%s/%s", cluster->bin, argv[0]);
    execv(argv[0][0] == '/' ? argv[0] : path, (char *const *)argv);
    _exit(127);
}

static inline void cluster_find_bin(struct cluster *cluster)
{
    glob_t found;
    CLUSTER_CHECK(glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) == 0 && found.gl_pathc > 0);
    snprintf(cluster->bin, sizeof cluster->bin, "%s", found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
}

static inline PGresult *cluster_exec(struct cluster *cluster, const char *sql)
{
    if (!cluster->admin || PQstatus(cluster->admin) != CONNECTION_OK) {
        PQfinish(cluster->admin);
        cluster->admin = PQconnectdb(cluster->dsn);
    }
    PGresult *result = PQexec(cluster->admin, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        fprintf(stderr, "%s: %s\n", sql, PQerrorMessage(cluster->admin));
        abort();
    }
    return result;
}

/* The first column of the first row; "" where null or no row. Valid until the next call. */
__attribute__((format(printf, 2, 3))) static inline const char *cluster_ask(struct cluster *cluster,
                                                                            const char *format, ...)
{
    char sql[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(sql, sizeof sql, format, args);
    va_end(args);
    PGresult *result = cluster_exec(cluster, sql);
    snprintf(cluster->answer, sizeof cluster->answer, "%s",
             PQntuples(result) ? PQgetvalue(result, 0, 0) : "");
    PQclear(result);
    return cluster->answer;
}

static inline int cluster_free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CLUSTER_CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 &&
                  getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    close(fd);
    return ntohs(address.sin_port);
}

static inline void cluster_launch(struct cluster *cluster)
{
    char data[128];
    char port[16];
    snprintf(data, sizeof data, "%s/data", cluster->folder);
    snprintf(port, sizeof port, "%d", cluster->port);
    const char *argv[] = {"postgres",
                          "-D",
                          data,
                          "-k",
                          cluster->folder,
                          "-p",
                          port,
                          "-c",
                          "listen_addresses=127.0.0.1",
                          "-c",
                          "fsync=off",
                          "-c",
                          "deadlock_timeout=200ms",
                          "-c",
                          "max_connections=40",
                          NULL};
    cluster->postmaster = cluster_spawn(cluster, "server.log", argv);
    for (double end = cluster_now() + 30; PQping(cluster->dsn) != PQPING_OK;) {
        CLUSTER_CHECK(cluster_now() < end && waitpid(cluster->postmaster, NULL, WNOHANG) == 0);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
}

static inline void cluster_run(const struct cluster *cluster, const char *log, const char *const *argv)
{
    pid_t pid = cluster_spawn(cluster, log, argv);
    int status = 0;
    CLUSTER_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static inline void cluster_prepare(struct cluster *cluster)
{
    memset(cluster, 0, sizeof *cluster);
    snprintf(cluster->folder, sizeof cluster->folder, "/tmp/signup-pg-XXXXXX");
    CLUSTER_CHECK(mkdtemp(cluster->folder) && chmod(cluster->folder, 0777) == 0);
    cluster_find_bin(cluster);
    cluster->port = cluster_free_port();
    snprintf(cluster->dsn, sizeof cluster->dsn, "host=%s port=%d user=postgres dbname=postgres",
             cluster->folder, cluster->port);
}

/* A standby of `primary` that follows it. */
static inline void cluster_follow(struct cluster *cluster, const struct cluster *primary)
{
    char port[16];
    cluster_prepare(cluster);
    snprintf(port, sizeof port, "%d", primary->port);
    const char *argv[] = {
        "pg_basebackup", "-h", primary->folder, "-p", port, "-U", "postgres", "-D", "data", "-R", "-X",
        "stream",        "-c", "fast",          "-N", NULL};
    cluster_run(cluster, "basebackup.log", argv);
    cluster_launch(cluster);
}

static inline void cluster_start(struct cluster *cluster)
{
    cluster_prepare(cluster);
    const char *argv[] = {"initdb", "-D", "data", "-U",         "postgres", "-A",
                          "trust",  "-E", "UTF8", "--locale=C", "-N",       NULL};
    cluster_run(cluster, "initdb.log", argv);
    cluster_launch(cluster);
}

/* SIGINT: fast, SIGQUIT: immediate (as a crash). */
static inline void cluster_halt(struct cluster *cluster, int sig)
{
    PQfinish(cluster->admin);
    cluster->admin = NULL;
    CLUSTER_CHECK(kill(cluster->postmaster, sig) == 0);
    CLUSTER_CHECK(waitpid(cluster->postmaster, NULL, 0) == cluster->postmaster);
    cluster->postmaster = 0;
}

static inline void cluster_destroy(struct cluster *cluster)
{
    if (cluster->postmaster)
        cluster_halt(cluster, SIGQUIT);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", cluster->folder);
    CLUSTER_CHECK(system(command) == 0);
}

#endif
