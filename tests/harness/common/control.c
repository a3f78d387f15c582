/* The control socket of the harness's servers, and the client that speaks to it. */
#include "control.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS_MAX 32

struct client {
    int fd; /* -1: this place is free */
    size_t used;
    char line[CONTROL_LINE_BYTES];
};

struct control {
    int epoll_fd;
    int listen_fd;
    control_handler *handler;
    void *context;
    struct sockaddr_un address;
    struct client clients[CLIENTS_MAX];
};

static bool address_fill(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(address->sun_path)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(address->sun_path, path, strlen(path) + 1);
    return true;
}

static bool watch(const struct control *control, int fd, void *tag)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = tag};
    return epoll_ctl(control->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* A file that nobody answers on is left over from a dead process; one that is answered stays. */
static bool unlink_if_dead(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    int alive = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
    close(fd);
    if (alive) {
        errno = EADDRINUSE;
        return false;
    }
    return unlink(address->sun_path) == 0 || errno == ENOENT;
}

static bool control_listen(struct control *control)
{
    control->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    control->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return control->epoll_fd >= 0 && control->listen_fd >= 0 && unlink_if_dead(&control->address) &&
           bind(control->listen_fd, (struct sockaddr *)&control->address, sizeof(control->address)) == 0 &&
           listen(control->listen_fd, CLIENTS_MAX) == 0 && watch(control, control->listen_fd, control);
}

struct control *control_create(const char *path, control_handler *handler, void *context)
{
    struct control *control = calloc(1, sizeof(*control));
    if (control == NULL) {
        return NULL;
    }
    control->epoll_fd = control->listen_fd = -1;
    control->handler = handler;
    control->context = context;
    for (int i = 0; i < CLIENTS_MAX; i++) {
        control->clients[i].fd = -1;
    }
    if (!address_fill(&control->address, path) || !control_listen(control)) {
        int saved = errno;
        close(control->epoll_fd);
        close(control->listen_fd);
        free(control);
        errno = saved;
        return NULL;
    }
    return control;
}

static void client_close(struct client *client)
{
    close(client->fd); /* leaves the epoll set with it */
    client->fd = -1;
    client->used = 0;
}

void control_destroy(struct control *control)
{
    if (control == NULL) {
        return;
    }
    for (int i = 0; i < CLIENTS_MAX; i++) {
        if (control->clients[i].fd >= 0) {
            client_close(&control->clients[i]);
        }
    }
    close(control->listen_fd);
    close(control->epoll_fd);
    unlink(control->address.sun_path);
    free(control);
}

int control_fd(const struct control *control)
{
    return control->epoll_fd;
}

static void client_accept(struct control *control)
{
    int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return;
    }
    for (int i = 0; i < CLIENTS_MAX; i++) {
        struct client *client = &control->clients[i];
        if (client->fd < 0 && watch(control, fd, client)) {
            client->fd = fd;
            return;
        }
    }
    close(fd);
}

/* Splits `line` in place at blanks. */
static int split(char *line, char **words)
{
    int count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(line, " \t\r", &rest); word != NULL; word = strtok_r(NULL, " \t\r", &rest)) {
        if (count == CONTROL_WORDS_MAX) {
            return -1;
        }
        words[count++] = word;
    }
    return count;
}

/* Obeys one line; false when the client cannot take the answer. */
static bool client_obey(const struct control *control, const struct client *client, char *line)
{
    static struct control_answer answer;
    char *words[CONTROL_WORDS_MAX];
    int count = split(line, words);
    answer.line[0] = '\0';
    if (count < 0) {
        control_error(&answer, "too many words");
    } else if (count == 0) {
        control_error(&answer, "empty command");
    } else {
        control->handler(control->context, count, words, &answer);
    }
    size_t length = strlen(answer.line);
    assert(length > 0 && answer.line[length - 1] == '\n');
    return send(client->fd, answer.line, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static void client_read(const struct control *control, struct client *client)
{
    ssize_t got = recv(client->fd, client->line + client->used, sizeof(client->line) - client->used, 0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            client_close(client);
        }
        return;
    }
    client->used += (size_t)got;
    char *start = client->line;
    char *newline;
    while ((newline = memchr(start, '\n', client->used - (size_t)(start - client->line))) != NULL) {
        *newline = '\0';
        if (!client_obey(control, client, start)) {
            client_close(client);
            return;
        }
        start = newline + 1;
    }
    client->used -= (size_t)(start - client->line);
    memmove(client->line, start, client->used);
    if (client->used == sizeof(client->line)) {
        client_close(client); /* no command is that long */
    }
}

void control_process(struct control *control)
{
    struct epoll_event events[CLIENTS_MAX];
    int count = epoll_wait(control->epoll_fd, events, CLIENTS_MAX, 0);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == control) {
            client_accept(control);
        } else {
            client_read(control, events[i].data.ptr);
        }
    }
}

__attribute__((format(printf, 3, 0))) static void answer_write(struct control_answer *answer, const char *verdict,
                                                               const char *format, va_list arguments)
{
    char text[CONTROL_LINE_BYTES - 16]; /* what is longer is cut, the newline always fits */
    vsnprintf(text, sizeof(text), format, arguments);
    snprintf(answer->line, sizeof(answer->line), "%s%s%s\n", verdict, text[0] == '\0' ? "" : " ", text);
}

void control_ok(struct control_answer *answer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    answer_write(answer, "ok", format, arguments);
    va_end(arguments);
}

void control_error(struct control_answer *answer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    answer_write(answer, "error", format, arguments);
    va_end(arguments);
}

bool control_number(const char *word, long long low, long long high, long long *number,
                    struct control_answer *answer)
{
    char *end = NULL;
    errno = 0;
    *number = strtoll(word, &end, 10);
    if (errno != 0 || end == word || *end != '\0' || *number < low || *number > high) {
        control_error(answer, "not a number from %lld to %lld: %.64s", low, high, word);
        return false;
    }
    return true;
}

int control_send(const char *path, int count, char **commands)
{
    struct sockaddr_un address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || !address_fill(&address, path) ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return 69;
    }
    FILE *stream = fdopen(fd, "r+");
    if (stream == NULL) {
        close(fd);
        return 70;
    }
    int status = 0;
    char line[CONTROL_LINE_BYTES + 1];
    for (int i = 0; i < count && status != 69; i++) {
        fprintf(stream, "%s\n", commands[i]);
        fflush(stream);
        if (fgets(line, sizeof(line), stream) == NULL) {
            fprintf(stderr, "%s: closed without an answer\n", path);
            status = 69;
        } else {
            fputs(line, stdout);
            status = strncmp(line, "ok", 2) == 0 ? status : 1;
        }
    }
    fclose(stream);
    return status;
}
