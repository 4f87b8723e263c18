/*
 * hash_index.c - an open table of hashes and numbers.
 */
#include "base/map/hash_index.h"

#include "base/mem.h"

#include <assert.h>

#define FIRST 16U /* slots */

static void place(struct hash_index *x, struct hash_index_slot s)
{
    uint32_t at = s.hash & x->mask;

    assert(s.number != 0);
    assert(x->n < x->mask);
    while (x->slots[at].number != 0)
        at = (at + 1) & x->mask;
    x->slots[at] = s;
}

static void grow(struct hash_index *x)
{
    struct hash_index_slot *old = x->slots;
    size_t n_old = old == NULL ? 0 : (size_t)x->mask + 1;
    size_t n = n_old == 0 ? FIRST : 2 * n_old;

    assert(n - 1 <= UINT32_MAX);
    x->slots = mem_zalloc(n * sizeof(*old));
    x->mask = (uint32_t)(n - 1);
    for (size_t i = 0; i < n_old; i++)
        if (old[i].number != 0)
            place(x, old[i]);
    mem_free(old);
}

void hash_index_put(struct hash_index *x, uint64_t hash, uint32_t number)
{
    assert(number <= HASH_INDEX_MAX);
    if (x->slots == NULL || x->n + 1 > x->mask / 4 * 3)
        grow(x);
    place(x, (struct hash_index_slot){(uint32_t)hash, number + 1});
    x->n++;
}

void hash_index_remove(struct hash_index *x, uint64_t hash, uint32_t number)
{
    uint32_t at = (uint32_t)hash & x->mask, hole;

    assert(x->n > 0);
    while (x->slots[at].number != number + 1) {
        assert(x->slots[at].number != 0);
        at = (at + 1) & x->mask;
    }
    /* Whoever would not be found behind the hole moves into it. */
    for (hole = at; at = (at + 1) & x->mask, x->slots[at].number != 0;) {
        uint32_t home = x->slots[at].hash & x->mask;

        if (((at - home) & x->mask) < ((at - hole) & x->mask))
            continue;
        x->slots[hole] = x->slots[at];
        hole = at;
    }
    x->slots[hole] = (struct hash_index_slot){0, 0};
    x->n--;
}

void hash_index_close(struct hash_index *x)
{
    MEM_FREE(x->slots);
    x->mask = x->n = 0;
}
