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
    size_t n_seeds;
    struct outcome *outcomes; /* [policy * n_seeds + seed] */
};

struct measured { /* one policy in one setting, over the seeds */
    struct estimate of[METRICS];
    struct estimate mean_ratio, p99_ratio; /* to the reference, paired */
};

/* SIZE_MAX: not in it. */
size_t block_find(const struct block *b, const char *policy);
/* Paired. */
struct estimate block_ratio(const struct block *b, size_t policy, size_t to,
                            enum metric metric);
void block_measure(const struct block *b, size_t policy, struct measured *out);

/* To the terminal; then, of all blocks, how the ledger stands to what it is to
 * reach (targets.c). */
void table_print(const struct block *b, FILE *out);
void targets_print(const struct block *blocks, size_t n, FILE *out);
/* Likewise of one block over HTTP (the policy `http`), beside the simulation of
 * the same. */
void live_targets_print(const struct block *b, FILE *out);
void csv_begin(FILE *out);
void csv_print(const struct block *b, FILE *out);
/* Likewise over HTTP: the ratio to the simulation (the policy `ledger`) is in
 * it as well. */
void live_csv_begin(FILE *out);
void live_csv_print(const struct block *b, FILE *out);
/* A chart of mean and p99 (svg.c): of the scenarios as they are, or of the
 * variants of one. */
void svg_print(const struct block *blocks, size_t n, bool variants, FILE *out);

#endif
