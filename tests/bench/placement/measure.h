/*
 * measure.h - what is to be measured, by several threads.
 */
#ifndef PELORUS_BENCH_MEASURE_H
#define PELORUS_BENCH_MEASURE_H

#include "tests/bench/placement/table.h"

struct plan {
    const char *scenario, *variant; /* NULL: the default table */
    const struct policy *policies[64];
    size_t n_policies; /* 0: all; references are added */
    bool acks, heartbeats;
    size_t n_seeds;
    uint32_t n_workers;
    /* instead of the scenarios' own; 0: theirs */
    double heartbeat, mean, rho, settle, measured;
    uint32_t jobs;         /* threads */
    const char *directory; /* for the CSV and the chart; NULL: none */
};

struct results {
    size_t n_blocks;
    struct block *blocks;
    struct scenario *scenarios; /* as they are measured */
};

/* The blocks, still empty. False: no such scenario or variant. */
bool measure_begin(const struct plan *plan, struct results *out);
/* Fill one: every policy on every seed. The outcome does not depend on the
 * number of threads. What hears no acknowledgements is taken from the block
 * measured before (NULL: none) if that differs in nothing else. */
void measure_block(const struct plan *plan, struct block *b,
                   const struct block *before);
void measure_end(struct results *results);

#endif
