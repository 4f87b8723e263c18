/* heap.c - see heap.h. */
#include "tests/bench/placement/heap.h"

#include "base/mem.h"

#include <stdbool.h>

#define FIRST 1024U

void heap_init(struct heap *h)
{
    *h = (struct heap){.cap = FIRST};
    h->events = mem_array(h->cap, sizeof(*h->events));
    assert(h->events != NULL);
}

void heap_close(struct heap *h)
{
    assert(h->n <= h->cap);
    MEM_FREE(h->events);
    h->n = h->cap = 0;
}

static bool before(const struct event *a, const struct event *b)
{
    return a->at < b->at || (a->at == b->at && a->order < b->order);
}

void heap_put(struct heap *h, double at, uint32_t what, uint32_t of)
{
    struct event e = {at, h->order++, what, of};
    size_t i = h->n++;

    assert(at >= 0);
    if (h->n > h->cap) {
        h->cap *= 2;
        h->events = mem_regrow(h->events, h->cap, sizeof(*h->events));
    }
    assert(h->n <= h->cap);
    for (; i > 0 && before(&e, &h->events[(i - 1) / 2]); i = (i - 1) / 2)
        h->events[i] = h->events[(i - 1) / 2];
    h->events[i] = e;
}

struct event heap_take(struct heap *h)
{
    assert(h->n > 0);
    struct event first = h->events[0], e = h->events[--h->n];
    size_t i = 0, child;

    while ((child = 2 * i + 1) < h->n) {
        if (child + 1 < h->n &&
            before(&h->events[child + 1], &h->events[child]))
            child++;
        if (!before(&h->events[child], &e))
            break;
        h->events[i] = h->events[child];
        i = child;
    }
    if (h->n > 0)
        h->events[i] = e;
    assert(h->n == 0 || first.at <= h->events[0].at);
    return first;
}
