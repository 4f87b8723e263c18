/*
 * heap.h - what happens next: a binary heap of timed events.
 *
 * Events at the same time come out in the order they were put in, so that a
 * run depends on nothing but its seed.
 */
#ifndef PELORUS_BENCH_HEAP_H
#define PELORUS_BENCH_HEAP_H

#include "base/compiler.h"

#include <stddef.h>
#include <stdint.h>

struct event {
    double at;
    uint32_t order; /* of equal times */
    uint32_t what;  /* the caller's */
    uint32_t of;
};

struct heap {
    struct event *events;
    size_t n, cap;
    uint32_t order;
};

void heap_init(struct heap *h);
void heap_close(struct heap *h);
void heap_put(struct heap *h, double at, uint32_t what, uint32_t of);
/* Not empty. */
struct event heap_take(struct heap *h);

/* Of the earliest; infinity when empty. */
static inline double heap_next(const struct heap *h)
{
    return h->n > 0 ? h->events[0].at : __builtin_inf();
}

#endif
