/*
 * many.h - many runs, some of them side by side, each in a process of its own.
 *
 * A run spends most of its time waiting, so several fit on one machine. Its
 * process starts its own coordinators, and when it has been in time simulates
 * the other policies on the same arrivals, at a lower priority than what is
 * measured beside it. A run that was late, or failed, is repeated; what was
 * late each time is told, and not valid.
 */
#ifndef PELORUS_BENCH_MANY_H
#define PELORUS_BENCH_MANY_H

#include "tests/bench/live/live.h"
#include "tests/bench/placement/table.h"

#include <sys/types.h>

#define MANY_TRIES 3U /* of one run */

enum many_state { MANY_WAITS, MANY_RUNS, MANY_ENDED };

struct many_run { /* one seed of a block */
    struct live_stats stats;
    bool complete; /* its outcomes are there */
    enum many_state state;
    uint32_t tries;
    pid_t pid; /* while it runs */
};

/* The first policy of the block is policy_http. Runs and outcomes are in memory
 * that is shared with their processes: many_block_init() after the rest of it
 * is known. */
struct many_block {
    struct block block;
    struct scenario scenario; /* the block's */
    const struct policy *policies[12];
    struct many_run *runs; /* one a seed */
};

void many_block_init(struct many_block *b);
void many_block_close(struct many_block *b);
/* It was in time. */
bool many_run_is_valid(const struct many_run *r);

struct many {
    const char *program, *more; /* as in struct live_option */
    uint64_t first;             /* seed */
    uint32_t jobs;              /* side by side */
    /* Told of each try that has ended, and of each block with no run left, in
     * their order. */
    void (*tried)(const struct many_block *b, uint64_t seed,
                  const struct many_run *r);
    void (*ended)(void *arg, const struct many_block *b);
    void *arg;
};

/* Runs all of them. False: a run of some block is not valid. */
bool many_measure(const struct many *m, struct many_block *blocks, size_t n);

#endif
