/*
 * known.h - what a coordinator knows of the workers: the reports that arrived.
 *
 * For the policies that are here for comparison. Whoever says BUSY is not
 * open, for all of them: DolphinScheduler's masters pick among NORMAL workers
 * only, and ours do by default.
 */
#ifndef PELORUS_BENCH_KNOWN_H
#define PELORUS_BENCH_KNOWN_H

#include "tests/bench/placement/placement.h"

struct known {
    const struct run *run;
    struct rand rand;
    struct report last[WORKERS_MAX];
    double reported[WORKERS_MAX]; /* s */
    bool here[WORKERS_MAX];
    uint32_t open[WORKERS_MAX]; /* here and not BUSY, in order */
    uint32_t n_open;
    double
        below[WORKERS_MAX]; /* sum of the perfect weights up to each of them */
};

void known_init(struct known *k, const struct run *run, uint64_t seed);
/* True: the worker is new here. */
bool known_report(struct known *k, uint32_t worker, const struct report *r,
                  double now);
void known_leave(struct known *k, uint32_t worker);

/* What part of it the last report says is in use. */
double known_usage(const struct known *k, uint32_t worker);
/* The slots that others leave free, as wrong as weights are told. */
double known_perfect_weight(const struct known *k, uint32_t worker);
/* One of the open ones, by chance, all alike or in proportion to the perfect
 * weights; there are some. */
uint32_t known_any(struct known *k);
uint32_t known_any_weighted(struct known *k);

#endif
