/*
 * tree_priv.h - a tournament tree: which of n slots has the smallest key.
 *
 * Eight-ary, so that the children of a node are one cache line and 100,000
 * slots are six levels. Only keys are stored: the parent's key is the smallest
 * of its children, and the way down to the winner reads the lines that the
 * repair on the way up writes. Not for two threads at once.
 */
#ifndef PELORUS_BALANCER_TREE_PRIV_H
#define PELORUS_BALANCER_TREE_PRIV_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

#define TREE_ARITY     8U
#define TREE_LEVELS    9U
#define TREE_SLOTS_MAX (1U << 24)
#define TREE_TOP_MAX   8U
#define TREE_NONE      UINT64_MAX /* the key of a slot that cannot win */

struct tree {
    uint64_t *level[TREE_LEVELS]; /* level[0] are the slots; one block of
                                     memory that begins there */
    uint32_t size[TREE_LEVELS];   /* multiples of TREE_ARITY */
    uint32_t n_levels;
};

/* Room for `slots`; those that exist keep their keys, new ones are TREE_NONE.
 * A zeroed struct is an empty tree. */
void balancer_tree_resize(struct tree *t, uint32_t slots);
/* Free it; it is an empty tree then. */
void balancer_tree_close(struct tree *t);

/* Write a key without repairing the way up: balancer_tree_repair() follows
 * before the next balancer_tree_top(). */
static inline void tree_put(struct tree *t, uint32_t slot, uint64_t key)
{
    assert(slot < t->size[0]);
    t->level[0][slot] = key;
}

/* Repair above the slots from .. to-1. O(to - from + log n). */
void balancer_tree_repair(struct tree *t, uint32_t from, uint32_t to);

/* Both for one slot. O(log n); ends as soon as a line's winner stays the same.
 */
void balancer_tree_set(struct tree *t, uint32_t slot, uint64_t key);

/* The slots of the `want` smallest keys, smallest first, without those at
 * TREE_NONE; returns how many there are. `want` is 1 .. TREE_TOP_MAX. */
uint32_t balancer_tree_top(const struct tree *t, uint32_t want, uint32_t *out);

#endif
