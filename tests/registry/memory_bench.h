/*
 * memory_bench.h - a memory store with two connected clients, for tests that
 * move its time by hand.
 */
#ifndef PELORUS_TESTS_REGISTRY_MEMORY_BENCH_H
#define PELORUS_TESTS_REGISTRY_MEMORY_BENCH_H

#include "tests/lib/memory/memory.h"
#include "tests/registry/conformance.h"

#define BENCH_TIMEOUT_MS 10000

struct bench {
    struct clock clock;
    struct memory_store *store;
    struct registry *a, *b;
};

void bench_open(struct bench *w, uint64_t seed);
void bench_close(struct bench *w); /* clients that are left, and the store */
void bench_run(struct bench *w, int64_t ms);

/* Begin to put a persistent key; `g` is cleared first. */
void bench_put(struct registry *r, const char *key, const char *value,
               struct got *g);

#endif
