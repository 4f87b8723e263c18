/*
 * membership_window.c - windows of silence in a binary heap. When a window
 * counts, and when it begins again: pauses.h.
 */
#include "cluster/membership_priv.h"

#include "base/mem.h"

static mono_ms window_end(const struct window *w)
{
    assert(w->span >= 0);
    return w->since + w->span;
}

static void put(struct windows *ws, size_t place, struct window *w)
{
    assert(place >= 1);
    assert(place <= ws->n);
    ws->heap[place - 1] = w;
    w->place = (uint32_t)place;
}

static void rise(struct windows *ws, struct window *w)
{
    size_t place = w->place;

    assert(w->place != 0);
    while (place > 1 && window_end(ws->heap[place / 2 - 1]) > window_end(w)) {
        put(ws, place, ws->heap[place / 2 - 1]);
        place /= 2;
    }
    put(ws, place, w);
}

static void sink(struct windows *ws, struct window *w)
{
    size_t place = w->place, child;

    assert(w->place != 0);
    while ((child = place * 2) <= ws->n) {
        if (child < ws->n &&
            window_end(ws->heap[child]) < window_end(ws->heap[child - 1]))
            child++;
        if (window_end(ws->heap[child - 1]) >= window_end(w))
            break;
        put(ws, place, ws->heap[child - 1]);
        place = child;
    }
    put(ws, place, w);
}

void windows_start(struct windows *ws, struct window *w, enum window_type type,
                   mono_ms now, int64_t span)
{
    assert(span >= 0);
    if (w->place == 0) {
        if (ws->n == ws->cap) {
            ws->cap = ws->cap == 0 ? 64 : ws->cap * 2;
            ws->heap = mem_regrow(ws->heap, ws->cap, sizeof(struct window *));
        }
        put(ws, ++ws->n, w);
    }
    if (ws->shortest == 0 || span < ws->shortest)
        ws->shortest = span;
    w->type = type;
    w->since = now;
    w->span = span;
    rise(ws, w);
    sink(ws, w);
    assert(ws->heap[w->place - 1] == w);
}

void windows_stop(struct windows *ws, struct window *w)
{
    size_t place = w->place;
    struct window *last;

    if (place == 0)
        return;
    assert(place <= ws->n && ws->heap[place - 1] == w);
    last = ws->heap[--ws->n];
    w->place = 0;
    if (last == w)
        return;
    put(ws, place, last);
    rise(ws, last);
    sink(ws, last);
}

struct window *windows_due(const struct windows *ws, mono_ms answered)
{
    assert(ws->n <= ws->cap);
    return windows_end(ws) > answered ? NULL : ws->heap[0];
}

mono_ms windows_end(const struct windows *ws)
{
    return ws->n == 0 ? INT64_MAX : window_end(ws->heap[0]);
}

int64_t windows_span(const struct windows *ws)
{
    int64_t shortest = INT64_MAX;

    for (size_t i = 0; i < ws->n; i++)
        if (ws->heap[i]->span < shortest)
            shortest = ws->heap[i]->span;
    return shortest;
}

static void order(struct windows *ws)
{
    for (size_t place = ws->n / 2; place > 0; place--)
        sink(ws, ws->heap[place - 1]);
}

void windows_late(struct windows *ws, mono_ms now, int64_t absent)
{
    bool any = false;

    assert(absent >= 0);
    if (absent <= ws->shortest / 3)
        return;
    for (size_t i = 0; i < ws->n; i++) {
        struct window *w = ws->heap[i];

        if (registry_pause_restarts(w->since, w->span, now, absent)) {
            w->since = now;
            any = true;
        }
    }
    if (any)
        order(ws);
}

void windows_restart(struct windows *ws, mono_ms now)
{
    for (size_t i = 0; i < ws->n; i++)
        ws->heap[i]->since = now;
    order(ws);
}
