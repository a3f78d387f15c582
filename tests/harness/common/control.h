/*
 * A control socket: a unix socket on which a test says one command per line and gets one line back.
 *
 * The socket is one file descriptor (an epoll set) to watch for readability, whatever loop the program
 * has; everything happens inside control_process(). Nothing here blocks on a client: an answer that does
 * not fit into a client's socket buffer ends that client.
 */
#ifndef SIGNUP_HARNESS_CONTROL_H
#define SIGNUP_HARNESS_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

/* Longest command line and longest answer, in bytes, with the newline. */
#define CONTROL_LINE_BYTES 8192
/* Most words of a command. */
#define CONTROL_WORDS_MAX 256

struct control;

/* The answer to one command: "ok ..." or "error ...", written by control_ok() or control_error(). */
struct control_answer {
    char line[CONTROL_LINE_BYTES];
};

/* Obeys one command of `count` >= 1 words; *borrows* them during the call. Writes exactly one answer. */
typedef void control_handler(void *context, int count, char **words, struct control_answer *answer);

/* Listens on `path`, taking the place of a socket file that a dead process left; NULL with errno set. */
struct control *control_create(const char *path, control_handler *handler, void *context);

/* Closes all clients and removes the socket file. */
void control_destroy(struct control *control);

/* The descriptor to watch for readability; stays the property of `control`. */
int control_fd(const struct control *control);

/* Accepts, reads, obeys and answers whatever is ready; never blocks. */
void control_process(struct control *control);

void control_ok(struct control_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void control_error(struct control_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Reads a decimal number within [low, high]; false, with the answer written, if `word` is not one. */
bool control_number(const char *word, long long low, long long high, long long *number,
                    struct control_answer *answer);

/*
 * The other side, for shells: sends each of `commands` to the socket at `path` and prints its answer.
 * Returns an exit status: 0, 1 when a command was answered with an error, 69 when nobody listens.
 */
int control_send(const char *path, int count, char **commands);

#endif
