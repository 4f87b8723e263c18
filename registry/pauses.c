/*
 * pauses.c - see pauses.h.
 *
 * Pauses are kept as a staircase: a long one that is long over hides nothing
 * from a short one that came after it, and everything from those before it
 * that were shorter. When the steps do not suffice the two oldest become one,
 * which errs to the living's side.
 */
#include "registry/pauses.h"

#include <assert.h>
#include <string.h>

/* Turns come every 50 to 100 ms; less than this is no absence of ours. */
#define JITTER_MS 250

void registry_pauses_init(struct registry_pauses *p, mono_ms now)
{
    memset(p, 0, sizeof(*p));
    p->last = now;
}

static int64_t usual(const struct registry_pauses *p, int64_t planned_ms)
{
    int64_t shortest = INT64_MAX;

    if (p->n_gaps < REGISTRY_PAUSES_GAPS)
        return planned_ms;
    for (unsigned i = 0; i < REGISTRY_PAUSES_GAPS; i++)
        shortest = p->gaps[i] < shortest ? p->gaps[i] : shortest;
    return shortest > planned_ms ? shortest : planned_ms;
}

bool registry_pauses_overdue(const struct registry_pauses *p, mono_ms now,
                             int64_t planned_ms, int64_t least_ms)
{
    int64_t gap = now - p->last;

    return gap > least_ms && gap > 2 * usual(p, planned_ms);
}

static int64_t length(const struct registry_pauses *p, unsigned i)
{
    assert(i < p->n_pauses);
    return p->pauses[i].over - p->pauses[i].began;
}

static void remember(struct registry_pauses *p, int64_t ms, mono_ms over)
{
    assert(ms > 0);
    while (p->n_pauses > 0 && length(p, p->n_pauses - 1) <= ms)
        p->n_pauses--;
    if (p->n_pauses == REGISTRY_PAUSES_MAX) {
        p->pauses[0].over = p->pauses[1].over;
        memmove(&p->pauses[1], &p->pauses[2],
                (REGISTRY_PAUSES_MAX - 2) * sizeof(p->pauses[0]));
        p->n_pauses--;
    }
    p->pauses[p->n_pauses].began = over - ms;
    p->pauses[p->n_pauses].over = over;
    p->n_pauses++;
    assert(p->n_pauses > 0);
    assert(p->n_pauses <= REGISTRY_PAUSES_MAX);
}

int64_t registry_pauses_tick(struct registry_pauses *p, mono_ms now,
                             int64_t planned_ms)
{
    int64_t gap = now - p->last;
    bool paused;

    assert(gap >= 0);
    paused = registry_pauses_overdue(p, now, planned_ms, JITTER_MS);
    p->last = now;
    p->gaps[p->n_gaps % REGISTRY_PAUSES_GAPS] = gap;
    p->n_gaps++;
    if (p->n_gaps == 2 * REGISTRY_PAUSES_GAPS) /* it only counts to that */
        p->n_gaps = REGISTRY_PAUSES_GAPS;
    if (!paused)
        return 0;
    remember(p, gap, now);
    return gap;
}

bool registry_pause_restarts(mono_ms since, int64_t span, mono_ms now,
                             int64_t paused)
{
    int64_t within = now - since < paused ? now - since : paused;

    return within > span / 3;
}

mono_ms registry_pauses_window_start(const struct registry_pauses *p,
                                     mono_ms since, int64_t span)
{
    for (unsigned i = p->n_pauses; i > 0; i--) {
        mono_ms over = p->pauses[i - 1].over;

        if (over > since &&
            registry_pause_restarts(since, span, over, length(p, i - 1)))
            return over;
    }
    return since;
}
