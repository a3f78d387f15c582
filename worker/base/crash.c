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

static int chosen = CRASH_POINT_COUNT; /* none */
static unsigned long passings_left;
static bool armed[CRASH_POINT_COUNT];

static _Noreturn void refuse(const char *text)
{
    fprintf(stderr, "SIGNUP_CRASH_AT: not a crash point: %s\nname[:n] with one of these names:\n", text);
    for (int i = 0; i < CRASH_POINT_COUNT; i++)
        fprintf(stderr, "  %-20s %s\n", points[i].name, points[i].help);
    exit(EX_CONFIG);
}

void crash_start(void)
{
    const char *text = getenv("SIGNUP_CRASH_AT");
    if (!text)
        return;
    size_t len = strcspn(text, ":");
    for (int i = 0; i < CRASH_POINT_COUNT; i++)
        if (strlen(points[i].name) == len && strncmp(points[i].name, text, len) == 0)
            chosen = i;
    char *end = NULL;
    passings_left = text[len] ? strtoul(text + len + 1, &end, 10) : 1;
    if (chosen == CRASH_POINT_COUNT || !passings_left || (end && *end))
        refuse(text);
}

void crash_pass(enum crash_point point)
{
    if ((int)point != chosen || --passings_left)
        return;
    raise(SIGKILL);
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
