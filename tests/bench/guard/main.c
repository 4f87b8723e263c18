/*
 * main.c - `guard COURSE` runs it and prints how often it did its work; `guard`
 * alone says what built it, because counts are a compiler's and a libc's.
 */
#include "tests/bench/guard/guard.h"

#include "base/compiler.h"

#include <gnu/libc-version.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#ifndef GUARD_FLAGS
#define GUARD_FLAGS ""
#endif

static struct timespec now = {.tv_sec = 1000};

/* Instead of libc's, for the libraries as well. */
int clock_gettime(clockid_t id, struct timespec *out)
{
    (void)id;
    *out = now;
    return 0;
}

void guard_set_time(mono_ms mono)
{
    assert(mono >= 0);
    now.tv_sec = mono / 1000;
    now.tv_nsec = mono % 1000 * 1000000;
}

__attribute__((noinline)) void guard_measured(void (*body)(void *arg),
                                              void *arg)
{
    body(arg);
    __asm__ volatile("" ::: "memory"); /* it is a call, and no tail call */
}

static const struct {
    const char *name;
    guard_course_f *run;
} courses[] = {
    {"pick", guard_pick},     {"affinity", guard_affinity},
    {"batch", guard_batch},   {"report", guard_report},
    {"answer", guard_answer}, {"move", guard_move},
};

static void print_build(void)
{
    (void)printf("gcc %d", __GNUC__);
    (void)printf(" " GUARD_FLAGS ", %s, glibc %s\n",
                 sizeof(void *) == 8
#ifdef __x86_64__
                     ? "x86_64"
#else
                     ? "another machine"
#endif
                     : "32 bits",
                 gnu_get_libc_version());
}

int main(int argc, char **argv)
{
    if (argc == 1) {
        print_build();
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(courses); i++)
        if (argc == 2 && strcmp(argv[1], courses[i].name) == 0) {
            (void)printf("%zu times\n", courses[i].run());
            return 0;
        }
    (void)fprintf(stderr, "guard: there is no course %s\n", argv[1]);
    return 2;
}
