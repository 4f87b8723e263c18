/*
 * attention.c - see attention.h.
 *
 * Absences are kept as a staircase: a long one that is long over hides nothing
 * from a short one that came after it, and everything from those before it
 * that were shorter. When the steps do not suffice the two oldest become one,
 * which errs to the living's side.
 */
#include "registry/attention.h"

#include <assert.h>
#include <string.h>

/* Turns come every 50 to 100 ms; less than this is no absence of ours. */
#define JITTER_MS 250

void registry_attention_init(struct attention *a, mono_ms now)
{
    memset(a, 0, sizeof(*a));
    a->last = now;
}

static int64_t usual(const struct attention *a, int64_t planned_ms)
{
    int64_t shortest = INT64_MAX;

    if (a->n_gaps < ATTENTION_GAPS)
        return planned_ms;
    for (unsigned i = 0; i < ATTENTION_GAPS; i++)
        shortest = a->gaps[i] < shortest ? a->gaps[i] : shortest;
    return shortest > planned_ms ? shortest : planned_ms;
}

bool registry_attention_late(const struct attention *a, mono_ms now,
                             int64_t planned_ms, int64_t least_ms)
{
    int64_t gap = now - a->last;

    return gap > least_ms && gap > 2 * usual(a, planned_ms);
}

static int64_t length(const struct attention *a, unsigned i)
{
    assert(i < a->n_breaks);
    return a->breaks[i].over - a->breaks[i].began;
}

static void remember(struct attention *a, int64_t ms, mono_ms over)
{
    assert(ms > 0);
    while (a->n_breaks > 0 && length(a, a->n_breaks - 1) <= ms)
        a->n_breaks--;
    if (a->n_breaks == ATTENTION_BREAKS) {
        a->breaks[0].over = a->breaks[1].over;
        memmove(&a->breaks[1], &a->breaks[2],
                (ATTENTION_BREAKS - 2) * sizeof(a->breaks[0]));
        a->n_breaks--;
    }
    a->breaks[a->n_breaks].began = over - ms;
    a->breaks[a->n_breaks].over = over;
    a->n_breaks++;
    assert(a->n_breaks > 0);
    assert(a->n_breaks <= ATTENTION_BREAKS);
}

int64_t registry_attention_mark(struct attention *a, mono_ms now,
                                int64_t planned_ms)
{
    int64_t gap = now - a->last;
    bool absent;

    assert(gap >= 0);
    absent = registry_attention_late(a, now, planned_ms, JITTER_MS);
    a->last = now;
    a->gaps[a->n_gaps % ATTENTION_GAPS] = gap;
    a->n_gaps++;
    if (a->n_gaps == 2 * ATTENTION_GAPS) /* it only counts to that */
        a->n_gaps = ATTENTION_GAPS;
    if (!absent)
        return 0;
    remember(a, gap, now);
    return gap;
}

bool registry_attention_breaks(mono_ms since, int64_t span, mono_ms now,
                               int64_t absent)
{
    int64_t within = now - since < absent ? now - since : absent;

    return within > span / 3;
}

mono_ms registry_attention_began(const struct attention *a, mono_ms since,
                                 int64_t span)
{
    for (unsigned i = a->n_breaks; i > 0; i--) {
        mono_ms over = a->breaks[i - 1].over;

        if (over > since &&
            registry_attention_breaks(since, span, over, length(a, i - 1)))
            return over;
    }
    return since;
}
