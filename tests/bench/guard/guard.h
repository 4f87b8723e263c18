/*
 * guard.h - what the product pays for one pick, one report, one answer and one
 * move, in instructions: a course of each, to be run under callgrind.
 *
 * A course makes its world, warms it up, and does its work once inside
 * guard_measured(), or (answer.c) in calls of a function of the product that
 * callgrind is told to count in. guard.py sums what the product's files paid
 * there, so that a course may use test code for its world. Nothing in it
 * depends on the time, on addresses or on the machine: clock_gettime() tells
 * what main.c says.
 */
#ifndef PELORUS_TESTS_BENCH_GUARD_GUARD_H
#define PELORUS_TESTS_BENCH_GUARD_GUARD_H

#include "base/clock.h"

#include <stddef.h>

/* Run body(arg), counted. Not from within itself. */
void guard_measured(void (*body)(void *arg), void *arg);

/* What every clock of the process says from now on. */
void guard_set_time(mono_ms mono);

/* Each returns how many it did. */
typedef size_t guard_course_f(void);
guard_course_f guard_pick;     /* with two alternates, of 1,000 workers */
guard_course_f guard_affinity; /* with a key, of 1,000 workers */
guard_course_f guard_batch;    /* in batches of 64, of 1,000 workers */
guard_course_f guard_report;   /* from its event to its place in a snapshot: of
                                  1,000 workers that report every ten seconds */
guard_course_f guard_answer;   /* GET /v1/workers/best, of 1,000 workers: all in
                                  http_serve() */
guard_course_f guard_move;     /* an item of a master that died */

#endif
