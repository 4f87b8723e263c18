/*
 * heap.h - a binary heap of things that are due at a time, the earliest on
 * top: what comes next is known at once, and to put, move or take out one of n
 * costs O(log n).
 *
 * What waits has a `struct heap_item` in it and belongs to its owner (see
 * CONTAINER_OF): the heap only points there. The time stands in the heap
 * itself, so that to order it reads nothing else. Those that are due at one
 * time are in no certain order, but always in the same after the same calls.
 * Grows as needed and never shrinks. Not for two threads at once.
 */
#ifndef PELORUS_BASE_MAP_HEAP_H
#define PELORUS_BASE_MAP_HEAP_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In whatever waits. All zero before it is set for the first time; not to be
 * moved or freed while it is in a heap. */
struct heap_item {
    uint32_t place; /* counted from 1; 0: in none */
};

struct heap_slot {
    int64_t due; /* in whatever the owner counts, mostly a mono_ms */
    struct heap_item *item;
};

/* All zero is an empty one. The slots may be read, and their `due` changed
 * where heap_order() follows. */
struct heap {
    struct heap_slot *slots;
    size_t n, cap;
};

/* Put it in, or move it if it is there. */
void heap_set(struct heap *h, struct heap_item *item, int64_t due);

/* Take it out; nothing if it is in none. */
void heap_remove(struct heap *h, struct heap_item *item);

/* The earliest, and its time; none: NULL, INT64_MAX. */
struct heap_item *heap_first(const struct heap *h);
int64_t heap_due(const struct heap *h);

/* That of one that is in it. */
int64_t heap_due_of(const struct heap *h, const struct heap_item *item);

static inline bool heap_has(const struct heap_item *item)
{
    return item->place != 0;
}

/* After the `due` of many was changed in their slots: O(n). */
void heap_order(struct heap *h);

/* Frees the slots: empty again. Those that are still in it are not told. */
void heap_close(struct heap *h);

#endif
