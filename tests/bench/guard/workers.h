/*
 * workers.h - a coordinator on a memory registry, and 1,000 workers that
 * report to it as those of DolphinScheduler do: every ten seconds, evenly.
 */
#ifndef PELORUS_TESTS_BENCH_GUARD_WORKERS_H
#define PELORUS_TESTS_BENCH_GUARD_WORKERS_H

#include "tests/unit/coordinator_world.h"

#define GUARD_WORKERS   1000U
#define GUARD_PERIOD_MS 10000
#define GUARD_STEP_MS   100

/* `w` is a world_open() one: let ten seconds pass, each worker reporting once.
 * What they say differs from round to round. */
void guard_reports(struct world *w, unsigned round);

#endif
