/* Crash points, see crash.h. */
#include "signup/base/crash.h"

#ifdef SIGNUP_CRASH_POINTS

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static const struct {
    const char *name;
    const char *help;
} points[] = {
#define X(name, text, help) {text, help},
    CRASH_POINTS(X)
#undef X
};

struct choice {
    int point;
    unsigned long passings_left;
};
static struct choice crash = {.point = CRASH_POINT_COUNT}; /* none */
static struct choice stop = {.point = CRASH_POINT_COUNT};
static bool armed[CRASH_POINT_COUNT];

static _Noreturn void refuse(const char *variable, const char *text)
{
    fprintf(stderr, "%s: not a crash point: %s\nname[:n] with one of these names:\n", variable, text);
    for (int i = 0; i < CRASH_POINT_COUNT; i++)
        fprintf(stderr, "  %-20s %s\n", points[i].name, points[i].help);
    exit(EX_CONFIG);
}

static void choose(const char *variable, struct choice *choice)
{
    const char *text = getenv(variable);
    if (!text)
        return;
    size_t len = strcspn(text, ":");
    for (int i = 0; i < CRASH_POINT_COUNT; i++)
        if (strlen(points[i].name) == len && strncmp(points[i].name, text, len) == 0)
            choice->point = i;
    char *end = NULL;
    choice->passings_left = text[len] ? strtoul(text + len + 1, &end, 10) : 1;
    if (choice->point == CRASH_POINT_COUNT || !choice->passings_left || (end && *end))
        refuse(variable, text);
}

void crash_start(void)
{
    choose("SIGNUP_CRASH_AT", &crash);
    choose("SIGNUP_STOP_AT", &stop);
}

static bool is_due(struct choice *choice, enum crash_point point)
{
    return (int)point == choice->point && choice->passings_left && --choice->passings_left == 0;
}

void crash_pass(enum crash_point point)
{
    if (is_due(&crash, point))
        raise(SIGKILL);
    if (is_due(&stop, point))
        raise(SIGSTOP);
}

void crash_arm(enum crash_point point)
{
    armed[point] = true;
}

bool crash_disarm(enum crash_point point)
{
    bool was = armed[point];
    armed[point] = false;
    return was;
}

#else

/* A file must hold something. */
extern const int crash_points_are_off;
const int crash_points_are_off = 1;

#endif
