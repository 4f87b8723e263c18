/*
 * tree_priv.h - a tournament tree: which of n slots has the smallest key.
 *
 * Eight-ary, so that the children of a node are one cache line and 100,000
 * slots are six levels and a root. Only keys are stored: the parent's key is
 * the smallest of its children.
 *
 * Who wins is not looked up by going down the tree for each winner. The
 * smallest slots, some forty of them, stand in a front, in order, and are not
 * in the tree meanwhile: all of the front comes before all of the tree. They
 * are moved there in one walk that takes each level at once, so that the lines
 * of one level are fetched beside each other, and the tree above them is
 * repaired once for all. A winner leaves the front as its key grows, and enters
 * the tree again where it touches little, because others there are smaller. So
 * a pick with its alternates reads three entries, and a walk is due once in
 * thirty picks or so. Those in the front that will win soon are known before
 * they do, so that whoever picks can fetch what they need (group.c).
 *
 * Slots with the same key are in the order of their numbers. Not for two
 * threads at once.
 */
#ifndef PELORUS_BALANCER_TREE_PRIV_H
#define PELORUS_BALANCER_TREE_PRIV_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

#define TREE_ARITY     8U
#define TREE_LEVELS    9U
#define TREE_SLOTS_MAX (1U << 24)
#define TREE_NONE      UINT64_MAX /* the key of a slot that cannot win */

/* A walk looks for so many; with those that were there before they find room.
 */
#define TREE_FRONT_WALK 40U
#define TREE_FRONT_MAX  52U

/* The `n` smallest slots in order, from [at] on, and their keys. */
struct tree_front {
    uint64_t key[TREE_FRONT_MAX];
    uint32_t slot[TREE_FRONT_MAX];
    uint32_t at, n;
    uint64_t span; /* from the first key on, about TREE_FRONT_WALK are in it */
};

struct tree {
    uint64_t *level[TREE_LEVELS]; /* level[0] are the slots, those in the front
                                     at TREE_NONE; the last one is the root;
                                     one block of memory that begins there */
    uint32_t size[TREE_LEVELS];   /* multiples of TREE_ARITY, and 1 */
    uint32_t n_levels;
    struct tree_front front;
};

/* Room for `slots`; those that exist keep their keys, new ones are TREE_NONE.
 * A zeroed struct is an empty tree. */
void balancer_tree_resize(struct tree *t, uint32_t slots);
/* Free it; it is an empty tree then. */
void balancer_tree_close(struct tree *t);

/* Write a key without repairing the way up: balancer_tree_repair() follows
 * before anything else is asked of the tree. */
static inline void tree_put(struct tree *t, uint32_t slot, uint64_t key)
{
    assert(slot < t->size[0]);
    t->level[0][slot] = key;
}

/* Repair above the slots from .. to-1, after tree_put() of each of them: what
 * stood in the front of those has no key else. O(to - from + log n). */
void balancer_tree_repair(struct tree *t, uint32_t from, uint32_t to);

/* Both for one slot. O(log n), and mostly less for the first one of the front,
 * whose key grows. */
void balancer_tree_set(struct tree *t, uint32_t slot, uint64_t key);

/* Of a slot, wherever it stands. */
uint64_t balancer_tree_key(const struct tree *t, uint32_t slot);

/* See that at least `want` (1 .. TREE_FRONT_WALK) slots stand in the front, if
 * there are as many; what stands there is good until the tree changes. O(log n)
 * for each that is new. */
void balancer_tree_fill(struct tree *t, uint32_t want);
static inline const struct tree_front *balancer_tree_front(struct tree *t,
                                                           uint32_t want)
{
    if (t->front.n < want)
        balancer_tree_fill(t, want);
    return &t->front;
}

#endif
