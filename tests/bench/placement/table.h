/*
 * table.h - the outcomes of all settings, policies and seeds, and how they are
 * shown.
 */
#ifndef PELORUS_BENCH_TABLE_H
#define PELORUS_BENCH_TABLE_H

#include "tests/bench/placement/placement.h"

#include <stdio.h>

/* One setting, measured. */
struct block {
    struct setting setting;
    size_t n_policies;
    const struct policy **policies;
    const struct policy *oracle; /* what the ratios are to */
    size_t n_seeds;
    struct outcome *outcomes; /* [policy * n_seeds + seed] */
};

struct measured { /* one policy in one setting, over the seeds */
    struct estimate mean, p50, p99, p999, late, max_use, mean_use, overload;
    struct estimate mean_ratio, p99_ratio; /* to the oracle, paired */
};

void block_measure(const struct block *b, size_t policy, struct measured *out);

/* To the terminal. */
void table_print(const struct block *b, FILE *out);
void csv_begin(FILE *out);
void csv_print(const struct block *b, FILE *out);

#endif
