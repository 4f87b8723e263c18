/*
 * roster.c - an array in order of coming, and an index into it.
 */
#include "base/map/roster.h"

#include "base/mem.h"
#include "base/rand.h"

#include <string.h>

#define FIRST   64U /* places */
#define SQUEEZE 64U /* places of those that went, at least */

static uint64_t hash_of(const char *name)
{
    return hash_quick(name, strlen(name));
}

struct roster_item *roster_find(const struct roster *r, const char *name)
{
    struct hash_index_walk w = hash_index_walk(&r->index, hash_of(name));
    uint32_t at;

    while (hash_index_next(&w, &at)) {
        assert(at < r->n);
        if (strcmp(r->name(r->all[at]), name) == 0)
            return r->all[at];
    }
    return NULL;
}

void roster_add(struct roster *r, struct roster_item *item)
{
    assert(r->name != NULL);
    assert(item->place == 0);
    if (r->n == r->cap) {
        r->cap = r->cap < FIRST ? FIRST : r->cap + r->cap / 2;
        r->all = mem_regrow(r->all, r->cap, sizeof(struct roster_item *));
    }
    hash_index_put(&r->index, hash_of(r->name(item)), r->n);
    r->all[r->n] = item;
    item->place = ++r->n;
}

/* Those that are there move together, in their order. */
static void squeeze(struct roster *r)
{
    uint32_t n = 0;

    hash_index_close(&r->index);
    for (uint32_t i = 0; i < r->n; i++) {
        struct roster_item *item = r->all[i];

        if (item == NULL)
            continue;
        hash_index_put(&r->index, hash_of(r->name(item)), n);
        r->all[n] = item;
        item->place = ++n;
    }
    r->n = r->cap = n;
    r->all = mem_regrow(r->all, n, sizeof(struct roster_item *));
    assert(r->index.n == n);
}

void roster_remove(struct roster *r, struct roster_item *item)
{
    uint32_t at = item->place - 1;

    assert(item->place > 0 && item->place <= r->n);
    assert(r->all[at] == item);
    hash_index_remove(&r->index, hash_of(r->name(item)), at);
    r->all[at] = NULL;
    item->place = 0;
    if (r->n - r->index.n > r->index.n + SQUEEZE)
        squeeze(r);
}

struct roster_item *roster_next(const struct roster *r,
                                const struct roster_item *item)
{
    assert(item == NULL || r->all[item->place - 1] == item);
    for (uint32_t i = item == NULL ? 0 : item->place; i < r->n; i++)
        if (r->all[i] != NULL)
            return r->all[i];
    return NULL;
}

void roster_close(struct roster *r)
{
    hash_index_close(&r->index);
    MEM_FREE(r->all);
    r->n = r->cap = 0;
}
