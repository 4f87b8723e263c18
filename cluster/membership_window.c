/*
 * membership_window.c - windows of silence in a heap. When a window counts, and
 * when it begins again: pauses.h.
 */
#include "cluster/membership_priv.h"

static struct window *window_at(const struct windows *ws, size_t i)
{
    assert(i < ws->heap.n);
    return CONTAINER_OF(ws->heap.slots[i].item, struct window, item);
}

void windows_start(struct windows *ws, struct window *w, enum window_type type,
                   mono_ms now, int64_t span)
{
    assert(span >= 0);
    if (ws->shortest == 0 || span < ws->shortest)
        ws->shortest = span;
    w->type = type;
    w->since = now;
    w->span = span;
    heap_set(&ws->heap, &w->item, now + span);
    assert(window_runs(w));
}

void windows_stop(struct windows *ws, struct window *w)
{
    heap_remove(&ws->heap, &w->item);
    assert(!window_runs(w));
}

struct window *windows_due(const struct windows *ws, mono_ms answered)
{
    return windows_end(ws) > answered ? NULL : window_at(ws, 0);
}

mono_ms windows_end(const struct windows *ws)
{
    return heap_due(&ws->heap);
}

int64_t windows_span(const struct windows *ws)
{
    int64_t shortest = INT64_MAX;

    for (size_t i = 0; i < ws->heap.n; i++)
        if (window_at(ws, i)->span < shortest)
            shortest = window_at(ws, i)->span;
    return shortest;
}

/* The heap is to be ordered after this. */
static void begin_again(struct windows *ws, size_t i, mono_ms now)
{
    struct window *w = window_at(ws, i);

    assert(w->since <= now);
    w->since = now;
    ws->heap.slots[i].due = now + w->span;
}

bool windows_late(struct windows *ws, mono_ms now, int64_t absent)
{
    bool any = false;

    assert(absent >= 0);
    if (absent <= ws->shortest / 3)
        return false;
    for (size_t i = 0; i < ws->heap.n; i++) {
        const struct window *w = window_at(ws, i);

        if (registry_pause_restarts(w->since, w->span, now, absent)) {
            begin_again(ws, i, now);
            any = true;
        }
    }
    ws->began += any;
    if (any)
        heap_order(&ws->heap);
    return any;
}

void windows_restart(struct windows *ws, mono_ms now)
{
    for (size_t i = 0; i < ws->heap.n; i++)
        begin_again(ws, i, now);
    ws->began++;
    heap_order(&ws->heap);
}
