/*
 * heap.c - the binary heap as in every textbook (Williams 1964, built in O(n)
 * as by Floyd 1964), with places counted from 1 as there.
 */
#include "base/map/heap.h"

#include "base/mem.h"

#include <assert.h>

#define FIRST 64 /* slots */

static struct heap_slot *slot(const struct heap *h, size_t place)
{
    return &h->slots[place - 1];
}

static void put(struct heap *h, size_t place, struct heap_slot s)
{
    assert(place >= 1 && place <= h->n);
    *slot(h, place) = s;
    s.item->place = (uint32_t)place;
}

/* The place is free: what of `s` and those above it belongs there. */
static void rise(struct heap *h, size_t place, struct heap_slot s)
{
    for (; place > 1 && slot(h, place / 2)->due > s.due; place /= 2)
        put(h, place, *slot(h, place / 2));
    put(h, place, s);
}

/* Likewise of those below it. */
static void sink(struct heap *h, size_t place, struct heap_slot s)
{
    for (size_t below; (below = 2 * place) <= h->n; place = below) {
        if (below < h->n && slot(h, below + 1)->due < slot(h, below)->due)
            below++;
        if (slot(h, below)->due >= s.due)
            break;
        put(h, place, *slot(h, below));
    }
    put(h, place, s);
}

static void settle(struct heap *h, size_t place, struct heap_slot s)
{
    if (place > 1 && slot(h, place / 2)->due > s.due)
        rise(h, place, s);
    else
        sink(h, place, s);
}

void heap_set(struct heap *h, struct heap_item *item, int64_t due)
{
    struct heap_slot s = {.due = due, .item = item};

    if (item->place > 0) {
        assert(slot(h, item->place)->item == item);
        settle(h, item->place, s);
        return;
    }
    if (h->n == h->cap) {
        h->cap = h->cap == 0 ? FIRST : 2 * h->cap;
        h->slots = mem_regrow(h->slots, h->cap, sizeof(s));
    }
    h->n++;
    assert(h->n <= UINT32_MAX);
    rise(h, h->n, s);
}

void heap_remove(struct heap *h, struct heap_item *item)
{
    size_t place = item->place;
    struct heap_slot last;

    if (place == 0)
        return;
    assert(place <= h->n);
    assert(slot(h, place)->item == item);
    item->place = 0;
    last = *slot(h, h->n);
    h->n--;
    if (last.item != item)
        settle(h, place, last);
}

struct heap_item *heap_first(const struct heap *h)
{
    return h->n == 0 ? NULL : h->slots[0].item;
}

int64_t heap_due(const struct heap *h)
{
    return h->n == 0 ? INT64_MAX : h->slots[0].due;
}

int64_t heap_due_of(const struct heap *h, const struct heap_item *item)
{
    assert(item->place >= 1 && item->place <= h->n);
    assert(slot(h, item->place)->item == item);
    return slot(h, item->place)->due;
}

void heap_order(struct heap *h)
{
    assert(h->n <= h->cap);
    for (size_t place = h->n / 2; place > 0; place--)
        sink(h, place, *slot(h, place));
}

void heap_close(struct heap *h)
{
    MEM_FREE(h->slots);
    h->n = h->cap = 0;
}
