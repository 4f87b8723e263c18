/* outcome.c - what a run comes to, and the lines that it waits in. */
#include "tests/bench/placement/run_priv.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

#define LATE_S  1.0
#define NOTHING 1e-9 /* a wait that only rounding made */

void line_init(struct line *l, size_t cap)
{
    *l = (struct line){.cap = cap + 1};
    l->items = mem_array(l->cap, sizeof(*l->items));
    assert(l->items != NULL);
}

void line_add(struct line *l, double at, uint32_t of)
{
    if (l->n == l->cap) {
        l->cap *= 2;
        l->items = mem_regrow(l->items, l->cap, sizeof(*l->items));
    }
    assert(l->n < l->cap);
    assert(l->n == 0 || at >= l->items[l->n - 1].at);
    l->items[l->n].at = at;
    l->items[l->n++].of = of;
}

uint32_t line_take(struct line *l)
{
    assert(l->first < l->n);
    return l->items[l->first++].of;
}

void outcome_add(struct run *run, double wait)
{
    assert(run->left > 0);
    assert(wait > -NOTHING);
    run->left--;
    run->out->measured++;
    if (wait <= NOTHING)
        return;
    run->waits[run->n_waits++] = wait;
    run->out->of[METRIC_MEAN] += wait;
    run->out->of[METRIC_LATE] += wait > LATE_S;
}

/* The one at place k if they were sorted (Hoare, Algorithm 65: Find, 1961).
 * Changes their order. */
static double find(double *x, size_t n, size_t k)
{
    size_t low = 0, high = n - 1;

    assert(k < n);
    while (low < high) {
        double pivot = x[low + (high - low) / 2];
        size_t i = low, j = high;

        for (;; i++, j--) {
            while (x[i] < pivot)
                i++;
            while (x[j] > pivot)
                j--;
            if (i >= j)
                break;
            double swap = x[i];

            x[i] = x[j];
            x[j] = swap;
        }
        /* low .. j are at most the pivot, j+1 .. high at least */
        if (k <= j)
            high = j;
        else
            low = j + 1;
    }
    return x[k];
}

/* All waits that are not kept are zero. */
static double quantile(const struct run *run, double q)
{
    uint64_t rank = (uint64_t)ceil(q * (double)run->out->measured);
    uint64_t zero = run->out->measured - run->n_waits;

    assert(rank >= 1);
    assert(rank <= run->out->measured);
    return rank <= zero ? 0 : find(run->waits, run->n_waits, rank - zero - 1);
}

void outcome_close(struct run *run)
{
    const struct world *w = run->world;
    struct outcome *out = run->out;
    double used = 0, overloaded = 0;

    assert(out->measured > 0);
    out->of[METRIC_MEAN] /= (double)out->measured;
    out->of[METRIC_LATE] /= (double)out->measured;
    out->of[METRIC_P50] = quantile(run, .5);
    out->of[METRIC_P99] = quantile(run, .99);
    out->of[METRIC_P999] = quantile(run, .999);
    for (uint32_t i = 0; i < w->n_workers; i++) {
        const struct worker *k = &run->workers[i];

        out->of[METRIC_MAX_USE] =
            fmax(out->of[METRIC_MAX_USE], k->used / k->slots);
        used += k->used;
        overloaded += k->overloaded;
    }
    out->of[METRIC_MAX_USE] /= w->end - w->settle;
    out->of[METRIC_MEAN_USE] = used / w->slots / (w->end - w->settle);
    out->of[METRIC_OVERLOAD] =
        overloaded / (double)w->n_workers / (w->end - w->settle);
    assert(out->of[METRIC_MEAN_USE] <= 1 + NOTHING);
}

/* Of the last ones the half that met the most similar number of tasks. Sorted
 * by insertion: they are few, and it is asked for with every probe. */
double run_latency(const struct run *run, uint32_t worker)
{
    const struct worker *k = &run->workers[worker];
    uint32_t n = k->n_took < TOOK ? k->n_took : TOOK, half = (n + 1) / 2;
    int64_t now = run_at_worker(run, worker);
    int64_t distance[TOOK];
    float s[TOOK];

    assert(worker < run->world->n_workers);
    if (n == 0)
        return 0;
    for (uint32_t i = 0, j; i < n; i++) {
        int64_t d = llabs(k->met[i] - now);

        for (j = i; j > 0 && distance[j - 1] > d; j--) {
            distance[j] = distance[j - 1];
            s[j] = s[j - 1];
        }
        distance[j] = d;
        s[j] = k->took[i];
    }
    for (uint32_t i = 1, j; i < half; i++) {
        float took = s[i];

        for (j = i; j > 0 && s[j - 1] > took; j--)
            s[j] = s[j - 1];
        s[j] = took;
    }
    return (double)s[half / 2];
}
