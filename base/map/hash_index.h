/*
 * hash_index.h - finds things by a hash of their name: for each a number of
 * the caller's, in 8 bytes a slot. What the number stands for, and whether it
 * has the name, the caller looks up: several may share a hash.
 *
 * Open addressing with linear probing, at most three quarters full, and
 * without tombstones: what stands behind one that is removed moves up (Knuth,
 * The Art of Computer Programming, volume 3, 6.4, algorithm R). A tenth of
 * what uthash.h takes, for what needs no order. Not for two threads at once.
 */
#ifndef PELORUS_BASE_MAP_HASH_INDEX_H
#define PELORUS_BASE_MAP_HASH_INDEX_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HASH_INDEX_MAX (UINT32_MAX - 1) /* the highest number */

struct hash_index_slot {
    uint32_t hash;
    uint32_t number; /* counted from 1; 0: free */
};

/* All zero is an empty one. */
struct hash_index {
    struct hash_index_slot *slots;
    uint32_t mask; /* slots less one; a power of two of them */
    uint32_t n;
};

/* `hash` is well mixed, as hash_quick() gives it (rand.h); both numbers come in
 * pairs that are not in it yet. O(1). */
void hash_index_put(struct hash_index *x, uint64_t hash, uint32_t number);

/* It is in it. */
void hash_index_remove(struct hash_index *x, uint64_t hash, uint32_t number);

/* The numbers of this hash (and, rarely, of others), one after the other:
 *
 *   struct hash_index_walk w = hash_index_walk(x, hash);
 *   while (hash_index_next(&w, &number)) ...
 *
 * Nothing is put or removed meanwhile. */
struct hash_index_walk {
    const struct hash_index *x;
    uint32_t hash, at;
};

static inline struct hash_index_walk hash_index_walk(const struct hash_index *x,
                                                     uint64_t hash)
{
    return (struct hash_index_walk){
        .x = x, .hash = (uint32_t)hash, .at = (uint32_t)hash & x->mask};
}

static inline bool hash_index_next(struct hash_index_walk *w, uint32_t *number)
{
    const struct hash_index_slot *s = NULL;

    if (w->x->slots == NULL)
        return false;
    for (; (s = &w->x->slots[w->at])->number != 0;
         w->at = (w->at + 1) & w->x->mask) {
        if (s->hash != w->hash)
            continue;
        *number = s->number - 1;
        w->at = (w->at + 1) & w->x->mask;
        return true;
    }
    return false;
}

void hash_index_close(struct hash_index *x); /* empty again */

#endif
